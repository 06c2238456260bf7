//! Parameters: `;name`, `;name=value`, `;name="quoted value"`.

use std::borrow::Cow;
use std::fmt;

use super::HeaderError;
use super::chars::{TOKEN, VALUE, quoted_len, trim, trim_start};

/// The parameters of a header field or URI, in order. Reading never fails: what is malformed is
/// skipped or given as it stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// Empty, or begins with `;` after optional blanks.
    text: &'a [u8],
}

impl<'a> Params<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// `None` if there is no such parameter, `Some(None)` if it has no value. Names compare
    /// without case; a quoted value keeps its quotes, see [`unquote`].
    pub fn get(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of a parameter that has one and is not empty.
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).flatten().filter(|value| !value.is_empty())
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Name and value of each parameter, blanks around them removed.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            loop {
                let [_, after @ ..] = trim_start(rest) else { return None };
                let (param, next) = split_param(after);
                rest = next;
                let param = trim(param);
                if param.is_empty() {
                    continue;
                }
                return Some(match memchr::memchr(b'=', param) {
                    Some(at) => (trim(&param[..at]), Some(trim(&param[at + 1..]))),
                    None => (param, None),
                });
            }
        })
    }

    /// The text as received, beginning with `;` unless empty.
    pub fn raw(&self) -> &'a [u8] {
        self.text
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl fmt::Debug for Params<'_> {
    /// Names only: values may hold numbers of callers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()))
            .finish()
    }
}

/// The text of a quoted string without its quotes and backslashes; other text as it is.
pub fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = text else { return Cow::Borrowed(text) };
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    Cow::Owned(plain)
}

/// Splits at the next `;` outside quotes; the second part begins with it.
fn split_param(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(step) = memchr::memchr2(b';', b'"', &text[at..]) {
        at += step;
        if text[at] == b';' {
            return text.split_at(at);
        }
        match quoted_len(&text[at..]) {
            Some(len) => at += len,
            None => break,
        }
    }
    (text, &[])
}

/// Checks every parameter of a header field against RFC 3261 §25.1 (`generic-param`, values a
/// little wider) and returns the value of the one named `wanted`, which may appear once only and
/// must then have an unquoted value.
pub(super) fn check<'a>(
    mut text: &'a [u8],
    wanted: &[u8],
) -> Result<Option<&'a [u8]>, HeaderError> {
    let mut found = None;
    loop {
        text = trim_start(text);
        let [semicolon, after @ ..] = text else { return Ok(found) };
        if *semicolon != b';' {
            return Err(HeaderError::Param);
        }
        let after = trim_start(after);
        let (name, after) = TOKEN.split(after);
        if name.is_empty() {
            return Err(HeaderError::Param);
        }
        let after = trim_start(after);
        let value = match after {
            [b'=', after @ ..] => {
                let after = trim_start(after);
                let len = match after {
                    [b'"', ..] => quoted_len(after).ok_or(HeaderError::Quote)?,
                    _ => VALUE.run(after),
                };
                let (value, after) = after.split_at(len);
                text = after;
                value
            }
            _ => {
                text = after;
                &[]
            }
        };
        if name.len() == wanted.len() && name.eq_ignore_ascii_case(wanted) {
            if found.is_some() || matches!(value, [] | [b'"', ..]) {
                return Err(HeaderError::Param);
            }
            found = Some(value);
        }
    }
}

/// The values of a list field's line: split at commas outside quotes and `<>`, empty ones left
/// out.
pub(super) fn split_list(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let (value, next) = split_value(text);
            rest = next;
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
    })
}

/// The text before the first comma of a list, and what follows the comma.
pub(super) fn split_value(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    if memchr::memchr(b',', text).is_none() {
        return (text, None);
    }
    let mut at = 0;
    while let Some(step) = memchr::memchr3(b',', b'"', b'<', &text[at..]) {
        at += step;
        let skip = match text[at] {
            b',' => return (&text[..at], Some(&text[at + 1..])),
            b'"' => quoted_len(&text[at..]),
            _ => memchr::memchr(b'>', &text[at..]).map(|end| end + 1),
        };
        match skip {
            Some(len) => at += len,
            None => break,
        }
    }
    (text, None)
}

/// `text` without its leading blanks, and whether there was one.
pub(super) fn skip_lws(text: &[u8]) -> (&[u8], bool) {
    let rest = trim_start(text);
    (rest, rest.len() < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_without_regard_to_case() {
        let params = Params::new(b";LR;Transport=tcp ; text = \"a;b=c\";x=");
        assert_eq!(params.get(b"lr"), Some(None));
        assert_eq!(params.get(b"transport"), Some(Some(&b"tcp"[..])));
        assert_eq!(params.get(b"text"), Some(Some(&b"\"a;b=c\""[..])));
        assert_eq!(params.get(b"x"), Some(Some(&b""[..])));
        assert_eq!(params.value(b"x"), None);
        assert_eq!(params.get(b"b"), None);
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn an_unterminated_quote_is_the_rest() {
        let params = Params::new(b";a=\"x;tag=1");
        assert_eq!(params.get(b"tag"), None);
        assert_eq!(params.get(b"a"), Some(Some(&b"\"x;tag=1"[..])));
    }

    #[test]
    fn the_checked_parameter_appears_once_and_has_a_plain_value() {
        assert_eq!(check(b" ;\ttag = a ; other", b"tag"), Ok(Some(&b"a"[..])));
        assert_eq!(check(b";x=\"tag=b;tag=c\"", b"tag"), Ok(None));
        for bad in
            [";tag=a;TAG=b", ";tag", ";tag=", ";tag=\"a\"", ";;tag=a", "; ,", "tag=a", ";x=a b"]
        {
            assert_eq!(check(bad.as_bytes(), b"tag"), Err(HeaderError::Param), "{bad}");
        }
        assert_eq!(check(b";x=\"a", b"tag"), Err(HeaderError::Quote));
    }

    #[test]
    fn a_list_is_split_at_commas_outside_quotes_and_brackets() {
        let line = br#""a, \", b" <sip:a,b@c;x="> , ,<sip:d>;p="x,y" ,e"#;
        let values: Vec<_> = split_list(line).collect();
        assert_eq!(values, [&br#""a, \", b" <sip:a,b@c;x=">"#[..], br#"<sip:d>;p="x,y""#, b"e"]);
    }

    #[test]
    fn unquoting_removes_quotes_and_backslashes() {
        assert_eq!(*unquote(br#""a \"b\" \\""#), *br#"a "b" \"#);
        assert_eq!(*unquote(b"plain"), *b"plain");
        assert_eq!(*unquote(b"\""), *b"\"");
        assert_eq!(*unquote(br#""a\""#), *b"a");
    }
}
