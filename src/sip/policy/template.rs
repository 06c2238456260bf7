//! Values of header fields made from what is known of a call.
//!
//! ```text
//! X-Lead: {call.id};zip={tag.zip|unknown}      User-to-User: {call.session:hex};encoding=hex
//! ```
//!
//! `{name}` is a variable, `{name|text}` has a text for when the call does not have it, `:hex` and
//! `:uri` write it in hexadecimal or with what a URI cannot hold escaped. `{{` and `}}` are braces.
//! A template of which a variable is missing gives nothing: half a value misleads.

use bytes::Bytes;
use smol_str::SmolStr;

use super::identity::caller_param;
use super::{Source, Variables};
use crate::sip::message::{HeaderName, Headers, unquote};

/// A value with places for what is known of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

/// What a template may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// An INVITE to a target.
    Invite,
    /// A response to a carrier: only the target's response is at hand.
    Answer,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(SmolStr),
    Value { variable: Variable, form: Form, otherwise: Option<SmolStr> },
}

#[derive(Clone, Debug, PartialEq)]
enum Variable {
    /// E.164 with `+`.
    CallerNumber,
    /// E.164 without.
    CallerDigits,
    CallerName,
    OwnHost,
    /// The first field of that name in the other party's message.
    Header(SmolStr),
    /// A parameter of the caller's URI.
    Param(SmolStr),
    /// What the server knows of the call, such as `call.campaign` or `tag.zip`.
    Named(SmolStr),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Plain,
    Hex,
    Escaped,
}

/// Problem and remedy.
pub type TemplateFault = (String, &'static str);

const NAMES: &str = "there are {call.id}, {call.session}, {call.campaign}, {call.publisher}, \
                     {call.trunk}, {call.did}, {call.target}, {call.buyer}, {caller.number}, \
                     {caller.digits}, {caller.name}, {own.host}, {tag.NAME}, {header.NAME} and \
                     {param.NAME}";

impl Template {
    /// `constants` are variables whose value is known already, such as `call.target`.
    ///
    /// # Errors
    /// A brace without its other half, or a variable nobody knows.
    pub fn compile(
        text: &str,
        scope: Scope,
        constants: &[(&str, &str)],
    ) -> Result<Self, TemplateFault> {
        if text.chars().any(char::is_control) {
            return Err((String::from("holds a control character"), "write one line of text"));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| brace == "{").ok_or_else(|| {
                (format!("has a `{brace}` without its other half"), "write {{ or }} for a brace")
            })?;
            let part = Part::compile(&rest[..end], scope, constants)?;
            rest = &rest[end + 1..];
            match part {
                Part::Text(text) => plain.push_str(&text),
                part @ Part::Value { .. } => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain).into()));
                    }
                    parts.push(part);
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { parts })
    }

    /// Whether it speaks of what only the server knows.
    pub fn wants_variables(&self) -> bool {
        let wants = |part: &Part| matches!(part, Part::Value { variable: Variable::Named(_), .. });
        self.parts.iter().any(wants)
    }

    /// The value for a call; `None` if a variable has none. `of` is the other party's message;
    /// `hidden`: the caller must not be named.
    pub fn render(&self, of: &Headers, hidden: bool, source: Option<&Source<'_>>) -> Option<Bytes> {
        let mut value = Vec::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                Part::Value { variable, form, otherwise } => {
                    let found = variable.read(of, hidden, source).filter(|it| !it.is_empty());
                    match (&found, otherwise) {
                        (Some(found), _) => form.write(found, &mut value),
                        (None, Some(otherwise)) => value.extend_from_slice(otherwise.as_bytes()),
                        (None, None) => return None,
                    }
                }
            }
        }
        Some(Bytes::from(value))
    }
}

impl Part {
    fn compile(
        text: &str,
        scope: Scope,
        constants: &[(&str, &str)],
    ) -> Result<Self, TemplateFault> {
        let (name, otherwise) = match text.split_once('|') {
            Some((name, otherwise)) => (name, Some(SmolStr::new(otherwise))),
            None => (text, None),
        };
        let (name, form) = match name.split_once(':') {
            None => (name, Form::Plain),
            Some((name, "hex")) => (name, Form::Hex),
            Some((name, "uri")) => (name, Form::Escaped),
            Some((_, form)) => {
                return Err((format!("asks for the form `{form}`"), "there are :hex and :uri"));
            }
        };
        if let Some((_, constant)) = constants.iter().find(|(known, _)| *known == name) {
            let mut value = Vec::new();
            form.write(constant.as_bytes(), &mut value);
            return Ok(Self::Text(String::from_utf8_lossy(&value).into()));
        }
        let variable = Variable::compile(name, scope)
            .ok_or_else(|| (format!("speaks of `{name}`, which is not known here"), NAMES))?;
        Ok(Self::Value { variable, form, otherwise })
    }
}

impl Variable {
    fn compile(name: &str, scope: Scope) -> Option<Self> {
        if let Some(header) = name.strip_prefix("header.") {
            return HeaderName::is_valid(header.as_bytes()).then(|| Self::Header(header.into()));
        }
        if scope == Scope::Answer {
            return None;
        }
        if let Some(param) = name.strip_prefix("param.") {
            return (!param.is_empty()).then(|| Self::Param(param.into()));
        }
        match name {
            "caller.number" => Some(Self::CallerNumber),
            "caller.digits" => Some(Self::CallerDigits),
            "caller.name" => Some(Self::CallerName),
            "own.host" => Some(Self::OwnHost),
            "call.id" | "call.session" | "call.campaign" | "call.publisher" | "call.trunk"
            | "call.did" | "call.target" | "call.buyer" => Some(Self::Named(name.into())),
            _ => {
                let tag = name.strip_prefix("tag.").filter(|tag| !tag.is_empty());
                tag.map(|_| Self::Named(name.into()))
            }
        }
    }

    fn read(&self, of: &Headers, hidden: bool, source: Option<&Source<'_>>) -> Option<Vec<u8>> {
        if let Self::Header(name) = self {
            if hidden && names_the_caller(HeaderName::from_bytes(name.as_bytes())) {
                return None;
            }
            return first_line(of, name.as_bytes()).map(<[u8]>::to_vec);
        }
        let source = source?;
        match self {
            Self::OwnHost => Some(source.own_host.to_vec()),
            Self::Named(name) => variable(source.variables, name),
            _ if hidden => None,
            Self::CallerNumber => Some(source.caller.number?.to_e164().into_bytes()),
            Self::CallerDigits => Some(source.caller.number?.digits().to_string().into_bytes()),
            Self::CallerName => Some(unquote(source.display).into_owned()),
            Self::Param(name) => caller_param(source.invite, source.caller.number, name.as_bytes()),
            Self::Header(_) => None,
        }
    }
}

fn variable(variables: &Variables, name: &str) -> Option<Vec<u8>> {
    variables.get(name).map(|value| value.as_bytes().to_vec())
}

/// The first line with this name, in any of its forms.
pub(crate) fn first_line<'a>(headers: &'a Headers, name: &[u8]) -> Option<&'a [u8]> {
    let known = HeaderName::from_bytes(name);
    if known == HeaderName::Other {
        return headers.extension(name).next();
    }
    headers.line(known)
}

/// Whether a field tells who calls.
fn names_the_caller(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::From
            | HeaderName::Contact
            | HeaderName::PAssertedIdentity
            | HeaderName::PPreferredIdentity
            | HeaderName::RemotePartyId
            | HeaderName::PChargeInfo
            | HeaderName::Identity
    )
}

impl Form {
    fn write(self, value: &[u8], out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hex = |byte: u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        match self {
            Self::Plain => out.extend_from_slice(value),
            Self::Hex => out.extend(value.iter().flat_map(|byte| hex(*byte))),
            Self::Escaped => {
                for &byte in value {
                    // RFC 3261 §25.1 `unreserved`.
                    if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
                        out.push(byte);
                    } else {
                        out.push(b'%');
                        out.extend(hex(byte));
                    }
                }
            }
        }
    }
}
