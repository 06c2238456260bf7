//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route, Refer-To, Diversion,
//! P-Asserted-Identity and their kin (RFC 3261 §20.10, §20.20, §25.1).

use std::fmt;

use super::chars::{BARE_URI, DISPLAY, TOKEN, URI, is_lws, quoted_len, trim_end, trim_start};
use super::params::check;
use super::{HeaderError, Params, Uri};

/// An address with an optional display name and the field's own parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    pub(super) display: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) params: &'a [u8],
    pub(super) tag: Option<&'a [u8]>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value, not a list. Without `<>` everything after the first `;` belongs to the
    /// field, and a `?` or `,` is an error (RFC 3261 §20). The URI's characters and scheme are
    /// checked, its parts are not: see [`NameAddr::parsed_uri`].
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim_start(value);
        let (display, after) = match value {
            [] => return Err(HeaderError::Empty),
            b"*" => return Err(HeaderError::Star),
            [b'<', ..] => (&value[..0], value),
            [b'"', ..] => {
                let (display, after) = value.split_at(quoted_len(value).ok_or(HeaderError::Quote)?);
                (display, trim_start(after))
            }
            _ => {
                let (display, after) = DISPLAY.split(value);
                if let [b':', ..] = after {
                    return Self::parse_bare(value);
                }
                (trim_end(display), after)
            }
        };
        let [b'<', inner @ ..] = after else { return Err(HeaderError::DisplayName) };
        let (uri, after) = URI.split(inner);
        let [b'>', params @ ..] = after else {
            return Err(match memchr::memchr(b'>', after) {
                Some(_) => HeaderError::UriCharacter,
                None => HeaderError::Bracket,
            });
        };
        Self::assemble(display, uri, params)
    }

    fn parse_bare(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (uri, params) = BARE_URI.split(value);
        match trim_start(params) {
            [] | [b';', ..] => Self::assemble(&value[..0], uri, params),
            [b'?' | b',', ..] => Err(HeaderError::BareUri),
            _ => Err(HeaderError::UriCharacter),
        }
    }

    fn assemble(display: &'a [u8], uri: &'a [u8], params: &'a [u8]) -> Result<Self, HeaderError> {
        if super::uri::scheme_len(uri).is_none() {
            return Err(HeaderError::Scheme);
        }
        let tag = check(params, b"tag")?;
        Ok(Self { display, uri, params, tag })
    }

    /// The display name as received: with its quotes if it has some, else tokens and blanks.
    /// Empty if there is none. Not necessarily UTF-8.
    pub fn display(&self) -> &'a [u8] {
        self.display
    }

    /// The URI without `<` and `>`.
    pub fn uri(&self) -> &'a [u8] {
        self.uri
    }

    pub fn parsed_uri(&self) -> Result<Uri<'a>, HeaderError> {
        Uri::parse(self.uri)
    }

    /// The field's parameters, not the URI's.
    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag
    }
}

impl fmt::Debug for NameAddr<'_> {
    /// Hides display name and user part: they identify a caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameAddr")
            .field("display_bytes", &self.display.len())
            .field("uri", &self.parsed_uri())
            .field("params", &self.params())
            .field("tag", &self.tag.map(String::from_utf8_lossy))
            .finish()
    }
}

/// Writes a display name so that it can stand before `<`: quoted, with quotes and backslashes
/// escaped and control characters made blanks. Empty text gives nothing.
pub fn quote_display(name: &[u8], out: &mut Vec<u8>) {
    if name.iter().all(|byte| TOKEN.has(*byte) || is_lws(*byte)) {
        out.extend_from_slice(name);
        return;
    }
    out.push(b'"');
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..=0x1f | 0x7f => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> NameAddr<'_> {
        NameAddr::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_display_name_cannot_forge_a_tag() {
        let addr = parse(r#""evil <x>;tag=bad" <sip:a@b>;tag=ft1"#);
        assert_eq!(addr.tag(), Some(&b"ft1"[..]));
        assert_eq!(addr.display(), br#""evil <x>;tag=bad""#);
        assert_eq!(addr.uri(), b"sip:a@b");
    }

    #[test]
    fn a_uri_parameter_is_no_header_parameter_inside_brackets() {
        let addr = parse("<sip:a@b;tag=uri;lr>;tag=field");
        assert_eq!(addr.tag(), Some(&b"field"[..]));
        assert_eq!(addr.uri(), b"sip:a@b;tag=uri;lr");
        assert_eq!(addr.parsed_uri().unwrap().params().get(b"lr"), Some(None));
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_field() {
        let addr = parse("sip:a@b ;  tag = x");
        assert_eq!(addr.uri(), b"sip:a@b");
        assert_eq!(addr.tag(), Some(&b"x"[..]));
        for value in ["sip:a@b?Subject=x", "sip:a@b, sip:c@d"] {
            assert_eq!(NameAddr::parse(value.as_bytes()), Err(HeaderError::BareUri), "{value}");
        }
    }

    #[test]
    fn display_names_are_tokens_or_quoted() {
        assert_eq!(parse("caller<sip:a@b>").display(), b"caller");
        assert_eq!(parse("A. G.  Bell <sip:a@b>").display(), b"A. G.  Bell");
        assert_eq!(parse("<sip:a@b>").display(), b"");
        assert_eq!(
            NameAddr::parse(b"Bell, A <sip:a@b>"),
            Err(HeaderError::DisplayName),
            "a comma needs quotes"
        );
        assert_eq!(NameAddr::parse(b"\"Bell <sip:a@b>"), Err(HeaderError::Quote));
        assert_eq!(NameAddr::parse(b"\"Bell\" sip:a@b"), Err(HeaderError::DisplayName));
    }

    #[test]
    fn bytes_outside_utf_8_pass_untouched() {
        assert_eq!(NameAddr::parse(b"\"Jos\xe9\" <sip:a@b>").unwrap().display(), b"\"Jos\xe9\"");
        assert_eq!(NameAddr::parse(b"Jos\xe9 <sip:a@b>").unwrap().display(), b"Jos\xe9");
    }

    #[test]
    fn blanks_inside_brackets_are_refused() {
        assert_eq!(NameAddr::parse(b"< sip:a@b >"), Err(HeaderError::UriCharacter));
        assert_eq!(NameAddr::parse(b"<sip:a@b"), Err(HeaderError::Bracket));
        assert_eq!(NameAddr::parse(b"<a@b>"), Err(HeaderError::Scheme));
        assert_eq!(NameAddr::parse(b"*"), Err(HeaderError::Star));
        assert_eq!(NameAddr::parse(b"  "), Err(HeaderError::Empty));
    }

    #[test]
    fn a_written_display_name_reads_back() {
        let mut out = Vec::new();
        quote_display(b"A \"B\" \\\r\nC", &mut out);
        assert_eq!(out, br#""A \"B\" \\  C""#);
        out.extend_from_slice(b" <sip:a@b>");
        assert_eq!(NameAddr::parse(&out).unwrap().uri(), b"sip:a@b");
    }
}
