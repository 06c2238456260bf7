//! Who the caller is said to be, and for whom the call was before (spec/sip B24, S9, C4, C12, P12).
//!
//! Without a policy a target sees the number and name in From, or `anonymous`, and nothing else.

use bytes::Bytes;
use smol_str::SmolStr;

use super::config::{Carry, IdentityPolicy, NumberHeader, Redirection};
use super::{Lines, PolicyFault, Source};
use crate::phone::PhoneNumber;
use crate::sip::message::{HeaderName, NameAddr, Request, Uri};

/// An identity policy, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityRules {
    caller: Vec<NumberHeader>,
    pub(super) trusted: bool,
    name: bool,
    signature: Carry,
    diversion: Redirection,
    history_info: Redirection,
    caller_params: Vec<SmolStr>,
    dialed_params: Vec<SmolStr>,
}

impl Default for IdentityRules {
    fn default() -> Self {
        Self {
            caller: vec![NumberHeader::From],
            trusted: false,
            name: true,
            signature: Carry::Strip,
            diversion: Redirection::None,
            history_info: Redirection::None,
            caller_params: Vec::new(),
            dialed_params: Vec::new(),
        }
    }
}

/// Parameters of a number that may be kept (RFC 3966, RFC 4694, RFC 4904, and in use between
/// carriers).
const PARAMS: [&str; 11] = [
    "cic",
    "cpc",
    "isub",
    "isup-oli",
    "npdi",
    "oli",
    "phone-context",
    "rn",
    "tgrp",
    "trunk-context",
    "verstat",
];

/// Who stands in From where nobody is named (RFC 3323 §4.1.1.3).
const ANONYMOUS: &[u8] = b"\"Anonymous\" <sip:anonymous@anonymous.invalid>";

impl IdentityRules {
    /// `reads` is where the carrier reads the caller's number, the surest first; may be empty.
    ///
    /// # Errors
    /// Parameters that are none of a telephone number.
    pub fn compile(
        policy: &IdentityPolicy,
        reads: Option<NumberHeader>,
    ) -> Result<Self, Vec<PolicyFault>> {
        let lists =
            [("caller_params", &policy.caller_params), ("dialed_params", &policy.dialed_params)];
        let mut faults = Vec::new();
        for (list, params) in lists {
            for (position, param) in params.iter().enumerate() {
                if !PARAMS.contains(&param.as_str()) {
                    faults.push(PolicyFault::new(
                        format!("identity.{list}[{position}]"),
                        param.as_str(),
                        "is no parameter of a telephone number",
                        format!("there are {}", PARAMS.join(", ")),
                    ));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let caller = match (&policy.caller, reads) {
            (Some(headers), _) => headers.clone(),
            (None, Some(first)) => vec![first, NumberHeader::From],
            (None, None) => vec![NumberHeader::From],
        };
        Ok(Self {
            caller,
            trusted: policy.trusted,
            name: policy.name.unwrap_or(true),
            signature: policy.signature,
            diversion: policy.diversion,
            history_info: policy.history_info,
            caller_params: policy.caller_params.clone(),
            dialed_params: policy.dialed_params.clone(),
        })
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The fields that this policy writes.
    pub(super) fn writes(&self, name: HeaderName) -> bool {
        let diverted = self.diversion != Redirection::None;
        let has_history = self.history_info != Redirection::None;
        (name == HeaderName::Diversion && diverted)
            || (name == HeaderName::HistoryInfo && has_history)
    }

    /// From without its tag.
    pub(super) fn from(&self, source: &Source<'_>) -> Bytes {
        let shown = source
            .caller
            .number
            .filter(|_| !source.caller.withheld && self.caller.contains(&NumberHeader::From));
        match shown {
            Some(number) => Bytes::from(self.address(number, source)),
            None => Bytes::from_static(ANONYMOUS),
        }
    }

    /// Appends everything else that names the caller, or whom the call was for.
    pub(super) fn write(&self, source: &Source<'_>, lines: &mut Lines) {
        let withheld = source.caller.withheld;
        if !withheld || self.trusted {
            self.write_number(source, lines);
            if self.signature == Carry::Pass {
                // RFC 8224 §4: the signature covers numbers and date as they stand, and so does
                // the value, quotes, blanks and all.
                for name in [HeaderName::Identity, HeaderName::IdentityInfo, HeaderName::Date] {
                    let values = source.invite.lines(name);
                    lines.extend(values.map(|it| line(name, source.invite.slice_of(it))));
                }
            }
        }
        if withheld {
            lines.push(line(HeaderName::Privacy, Bytes::from_static(b"id")));
        }
        self.write_redirections(source, lines);
    }

    /// The Request-URI with the parameters of the dialled number that are kept.
    pub(super) fn uri(&self, source: &Source<'_>) -> Option<Bytes> {
        if self.dialed_params.is_empty() {
            return None;
        }
        let dialed = source.invite.parsed_uri().ok()?;
        let kept = kept(&dialed, &self.dialed_params);
        // Without a user part, or with parameters of its own, the URI does not want any.
        let at = memchr::memchr(b'@', source.uri)?;
        let (user, host) = source.uri.split_at(at);
        let plain = !kept.is_empty() && !user.contains(&b';');
        plain.then(|| Bytes::from([user, &kept[..], host].concat()))
    }

    fn write_number(&self, source: &Source<'_>, lines: &mut Lines) {
        let Some(number) = source.caller.number else { return };
        let withheld = source.caller.withheld;
        for header in &self.caller {
            match header {
                NumberHeader::From => {}
                NumberHeader::Pai => {
                    let value = self.address(number, source);
                    lines.push(line(HeaderName::PAssertedIdentity, Bytes::from(value)));
                }
                NumberHeader::Rpid => {
                    let mut value = self.address(number, source);
                    value.extend_from_slice(b";party=calling;privacy=");
                    value.extend_from_slice(if withheld { b"full" } else { b"off" });
                    lines.push(line(HeaderName::RemotePartyId, Bytes::from(value)));
                }
            }
        }
    }

    /// `"Name" <sip:+16145550163;verstat=…@host>`
    fn address(&self, number: PhoneNumber, source: &Source<'_>) -> Vec<u8> {
        let display = if self.name { source.display } else { b"" };
        let space: &[u8] = if display.is_empty() { b"" } else { b" " };
        let number_text = number.to_e164();
        let params = match &self.caller_params[..] {
            [] => None,
            wanted => caller_uri(source.invite, Some(number))
                .and_then(|uri| Uri::parse(uri).ok())
                .map(|uri| kept(&uri, wanted)),
        };
        let params = params.unwrap_or_default();
        let (number, host) = (number_text.as_bytes(), source.own_host);
        [display, space, b"<sip:", number, &params[..], b"@", host, b">"].concat()
    }

    fn write_redirections(&self, source: &Source<'_>, lines: &mut Lines) {
        let dialed = || {
            let uri = source.invite.parsed_uri().ok()?;
            Some([b"<sip:", uri.user_part()?, b"@", source.own_host, b">"].concat())
        };
        match self.diversion {
            Redirection::None => {}
            Redirection::Dialed => lines.extend(dialed().map(|mut value| {
                value.extend_from_slice(b";reason=unconditional");
                line(HeaderName::Diversion, Bytes::from(value))
            })),
            Redirection::Pass => pass_addresses(HeaderName::Diversion, source, lines),
        }
        match self.history_info {
            Redirection::None => {}
            Redirection::Dialed => lines.extend(dialed().map(|mut value| {
                value.extend_from_slice(b";index=1");
                line(HeaderName::HistoryInfo, Bytes::from(value))
            })),
            Redirection::Pass => pass_addresses(HeaderName::HistoryInfo, source, lines),
        }
    }
}

/// A parameter of the caller's URI; empty if it has no value.
pub fn caller_param(invite: &Request, number: Option<PhoneNumber>, name: &[u8]) -> Option<Vec<u8>> {
    let uri = Uri::parse(caller_uri(invite, number)?).ok()?;
    uri.number_param(name).map(|value| value.unwrap_or_default().to_vec())
}

/// The URI that named the caller: of those the INVITE holds, the first with the caller's number.
fn caller_uri(invite: &Request, number: Option<PhoneNumber>) -> Option<&[u8]> {
    let wanted = number?.digits().to_string();
    let asserted = [HeaderName::PAssertedIdentity, HeaderName::RemotePartyId].into_iter();
    let asserted = asserted
        .flat_map(|name| invite.values(name))
        .filter_map(|value| NameAddr::parse(value).ok().map(|it| it.uri()));
    asserted.chain([invite.from().uri()]).find(|uri| {
        let user = Uri::parse(uri).ok().and_then(|uri| uri.user_part()).unwrap_or_default();
        let digits: Vec<u8> = user.iter().copied().filter(u8::is_ascii_digit).collect();
        // A national number is the end of the E.164 one.
        digits.len() >= 7 && wanted.as_bytes().ends_with(&digits)
    })
}

/// `;name=value` of each parameter in `wanted` that the number has, in the order of `wanted`.
fn kept(uri: &Uri<'_>, wanted: &[SmolStr]) -> Vec<u8> {
    let mut text = Vec::new();
    for name in wanted {
        let Some(value) = uri.number_param(name.as_bytes()) else { continue };
        text.push(b';');
        text.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            text.push(b'=');
            text.extend_from_slice(value);
        }
    }
    text
}

/// The values of an address field with our host in place of theirs, and without what a host may
/// hide in. Values that are no addresses are left out.
fn pass_addresses(name: HeaderName, source: &Source<'_>, lines: &mut Lines) {
    for value in source.invite.values(name) {
        let Ok(address) = NameAddr::parse(value) else { continue };
        let Some(user) = address.parsed_uri().ok().and_then(|uri| uri.user_part()) else {
            continue;
        };
        let mut value = [b"<sip:", user, b"@", source.own_host, b">"].concat();
        for (param, text) in address.params().iter() {
            let known = [&b"reason"[..], b"counter", b"privacy", b"index", b"rc", b"mp", b"np"];
            if known.iter().any(|it| param.eq_ignore_ascii_case(it)) {
                value.push(b';');
                value.extend_from_slice(param);
                if let Some(text) = text {
                    value.push(b'=');
                    value.extend_from_slice(text);
                }
            }
        }
        lines.push(line(name, Bytes::from(value)));
    }
}

fn line(name: HeaderName, value: Bytes) -> (SmolStr, Bytes) {
    (SmolStr::new_static(name.name()), value)
}
