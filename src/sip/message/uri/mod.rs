//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966) and their escapes; `compare` says when two
//! are one.

mod compare;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::chars::{DIGIT, HOST, IPV6, SCHEME, URI, number, split_before};
use super::{HeaderError, Params};

/// A URI taken apart. Nothing is unescaped: see [`unescape`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    raw: &'a [u8],
    scheme: Scheme,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
    headers: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Well-formed, but not one this server speaks: 416 in a Request-URI.
    Other,
}

impl<'a> Uri<'a> {
    /// Reads a URI without `<>`. Of a scheme other than sip, sips and tel only the scheme and the
    /// characters are checked, and only [`Uri::raw`] tells more.
    pub fn parse(raw: &'a [u8]) -> Result<Self, HeaderError> {
        let scheme_len = scheme_len(raw).ok_or(HeaderError::Scheme)?;
        if !URI.has_all(raw) {
            return Err(HeaderError::UriCharacter);
        }
        let scheme = Scheme::from_bytes(&raw[..scheme_len]);
        let empty = Self {
            raw,
            scheme,
            user: None,
            password: None,
            host: &[],
            port: None,
            params: &[],
            headers: None,
        };
        let after = &raw[scheme_len + 1..];
        match scheme {
            Scheme::Sip | Scheme::Sips => empty.with_sip(after),
            Scheme::Tel => empty.with_tel(after),
            Scheme::Other => Ok(empty),
        }
    }

    fn with_sip(self, text: &'a [u8]) -> Result<Self, HeaderError> {
        let (userinfo, after) = match memchr::memchr(b'@', text) {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        let (user, password) = match userinfo {
            Some([] | [b':', ..]) => return Err(HeaderError::User),
            Some(info) => match memchr::memchr(b':', info) {
                Some(at) => (Some(&info[..at]), Some(&info[at + 1..])),
                None => (Some(info), None),
            },
            None => (None, None),
        };
        let (host, after) = split_host(after)?;
        let (port, after) = match after {
            [b':', after @ ..] => {
                let (digits, after) = DIGIT.split(after);
                (Some(port(digits)?), after)
            }
            _ => (None, after),
        };
        let (params, headers) = match memchr::memchr(b'?', after) {
            Some(at) => (&after[..at], Some(&after[at + 1..])),
            None => (after, None),
        };
        if !matches!(params, [] | [b';', ..]) {
            return Err(HeaderError::Host);
        }
        Ok(Self { user, password, host, port, params, headers, ..self })
    }

    fn with_tel(self, text: &'a [u8]) -> Result<Self, HeaderError> {
        let (digits, params) = split_before(text, b';');
        let local = digits.strip_prefix(b"+").unwrap_or(digits);
        let valid = local.iter().all(|byte| {
            byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#') || is_visual(*byte)
        });
        if local.is_empty() || !valid {
            return Err(HeaderError::User);
        }
        Ok(Self { user: Some(digits), params, ..self })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user of a sip or sips URI without its password, the number of a tel URI.
    pub fn user(&self) -> Option<&'a [u8]> {
        self.user
    }

    /// [`Uri::user`] up to its first `;`: the number of
    /// `sip:+16145550163;phone-context=example.com@gw;user=phone`.
    pub fn user_part(&self) -> Option<&'a [u8]> {
        self.user.map(|user| split_before(user, b';').0)
    }

    /// What follows [`Uri::user_part`] inside the user: `;phone-context`, `;rn`, `;npdi`
    /// (RFC 3261 §19.1.6).
    pub fn user_params(&self) -> Params<'a> {
        let user = self.user.unwrap_or_default();
        Params::new(split_before(user, b';').1)
    }

    /// A parameter of the number, wherever the sender put it: in the user of a sip URI, or after
    /// the number of a tel URI or the host of a sip URI. Several carriers write `;rn=` and
    /// `;isup-oli=` behind the host.
    pub fn number_param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.user_params().get(name).or_else(|| self.params().get(name))
    }

    /// Deprecated by RFC 3261 §19.1.1; kept because it must not be taken for a port.
    pub fn password(&self) -> Option<&'a [u8]> {
        self.password
    }

    /// A name, an IPv4 address, or an IPv6 address in brackets. Empty unless sip or sips.
    pub fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The host if it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// `None` means the transport's default.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// What follows `?`, such as `Replaces=…` in a Refer-To.
    pub fn headers(&self) -> Option<&'a [u8]> {
        self.headers
    }

    /// Name and value of each of [`Uri::headers`], still escaped.
    pub fn header_fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let fields = self.headers.unwrap_or_default().split(|byte| *byte == b'&');
        fields.filter(|field| !field.is_empty()).map(|field| match memchr::memchr(b'=', field) {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &field[..0]),
        })
    }

    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl fmt::Debug for Uri<'_> {
    /// Hides the user: it may be a caller's number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uri")
            .field("scheme", &self.scheme)
            .field("user_bytes", &self.user.map(<[u8]>::len))
            .field("host", &String::from_utf8_lossy(self.host))
            .field("port", &self.port)
            .field("params", &self.params())
            .finish()
    }
}

impl Scheme {
    fn from_bytes(scheme: &[u8]) -> Self {
        if scheme.eq_ignore_ascii_case(b"sip") {
            Self::Sip
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            Self::Sips
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            Self::Tel
        } else {
            Self::Other
        }
    }
}

/// Replaces `%41` by `A`. `%00` becomes a NUL byte and stays one; `%` without two hexadecimal
/// digits stays as it is.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%'
            && let Some((value, after)) = escaped_byte(after)
        {
            plain.push(value);
            rest = after;
        } else {
            plain.push(*byte);
        }
    }
    Cow::Owned(plain)
}

/// The byte that two hexadecimal digits at the start of `text` mean, and what follows them.
fn escaped_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

/// Length of the scheme before its colon. `None` if there is none.
pub(in crate::sip::message) fn scheme_len(uri: &[u8]) -> Option<usize> {
    let len = SCHEME.run(uri);
    let valid = uri.first()?.is_ascii_alphabetic() && uri.get(len) == Some(&b':');
    valid.then_some(len)
}

/// Splits a host off the start of `text`; IPv6 keeps its brackets.
pub(in crate::sip::message) fn split_host(text: &[u8]) -> Result<(&[u8], &[u8]), HeaderError> {
    let len = match text {
        [b'[', inner @ ..] => {
            let address = IPV6.run(inner);
            if inner.get(address) != Some(&b']') || address < 2 {
                return Err(HeaderError::Host);
            }
            address + 2
        }
        _ => HOST.run(text),
    };
    if len == 0 { Err(HeaderError::Host) } else { Ok(text.split_at(len)) }
}

pub(in crate::sip::message) fn port(digits: &[u8]) -> Result<u16, HeaderError> {
    number(digits).and_then(|port| u16::try_from(port).ok()).ok_or(HeaderError::Port)
}

/// The address a host is, brackets or not. Takes the three colons that RFC 3261's grammar
/// produces before an IPv4 part for the two that are meant (RFC 5118 §4.10).
pub(in crate::sip::message) fn ip(host: &[u8]) -> Option<IpAddr> {
    let host = std::str::from_utf8(host).ok()?;
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner
            .parse::<Ipv6Addr>()
            .or_else(|_| inner.replacen(":::", "::", 1).parse())
            .ok()
            .map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A separator in a telephone number that means nothing (RFC 3966 §3).
fn is_visual(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_sip_uri_is_taken_apart() {
        let uri = parse("sip:+16145550163;npdi:pw@[2001:db8::10]:5070;user=phone;lr?Subject=a&b=c");
        assert_eq!(uri.scheme(), Scheme::Sip);
        assert_eq!(uri.user(), Some(&b"+16145550163;npdi"[..]));
        assert_eq!(uri.user_part(), Some(&b"+16145550163"[..]));
        assert_eq!(uri.user_params().get(b"npdi"), Some(None));
        assert_eq!(uri.password(), Some(&b"pw"[..]));
        assert_eq!(uri.host(), b"[2001:db8::10]");
        assert_eq!(uri.host_ip(), Some("2001:db8::10".parse().unwrap()));
        assert_eq!(uri.port(), Some(5070));
        assert_eq!(uri.params().value(b"user"), Some(&b"phone"[..]));
        assert_eq!(uri.headers(), Some(&b"Subject=a&b=c"[..]));
        assert_eq!(uri.header_fields().last(), Some((&b"b"[..], &b"c"[..])));
    }

    #[test]
    fn number_parameters_are_found_on_either_side_of_the_host() {
        for text in [
            "sip:+16145550163;isup-oli=62@gw.example.com;user=phone",
            "sip:+16145550163@gw.example.com;user=phone;isup-oli=62",
            "tel:+1-614-555-0163;isup-oli=62",
        ] {
            assert_eq!(parse(text).number_param(b"ISUP-OLI"), Some(Some(&b"62"[..])), "{text}");
        }
    }

    #[test]
    fn a_tel_uri_gives_its_number_as_user() {
        let uri = parse("tel:863-1234;phone-context=+1-914-555;rn=+16145550000;npdi;cpc=ordinary");
        assert_eq!(uri.scheme(), Scheme::Tel);
        assert_eq!(uri.user(), Some(&b"863-1234"[..]));
        assert_eq!(uri.host(), b"");
        assert_eq!(uri.params().value(b"phone-context"), Some(&b"+1-914-555"[..]));
        assert_eq!(uri.params().get(b"npdi"), Some(None));
    }

    #[test]
    fn a_user_part_may_hold_what_ends_a_host() {
        let uri = parse("sip:user;par=u%40x?/:secret;x@example.com");
        assert_eq!(uri.user(), Some(&b"user;par=u%40x?/"[..]));
        assert_eq!(uri.host(), b"example.com");
        assert!(uri.params().is_empty());
    }

    #[test]
    fn an_escaped_scheme_is_no_scheme() {
        let uri = parse("sip:sips%3Aagent%40example.org@example.net");
        assert_eq!(uri.scheme(), Scheme::Sip);
        assert_eq!(*unescape(uri.user().unwrap()), *b"sips:agent@example.org");
        assert_eq!(uri.host(), b"example.net");
    }

    #[test]
    fn other_schemes_pass_unread() {
        assert_eq!(parse("urn:service:sos").scheme(), Scheme::Other);
        assert_eq!(parse("soap.beep://192.0.2.3:3002").scheme(), Scheme::Other);
    }

    #[test]
    fn malformed_uris_are_refused() {
        for (text, error) in [
            ("", HeaderError::Scheme),
            ("example.com", HeaderError::Scheme),
            ("1sip:a", HeaderError::Scheme),
            ("sip:", HeaderError::Host),
            ("sip:@a", HeaderError::User),
            ("sip::pw@a", HeaderError::User),
            ("sip:a@b@c", HeaderError::Host),
            ("sip:a b@c", HeaderError::UriCharacter),
            ("sip:a@[2001:db8::1", HeaderError::Host),
            ("sip:a@[]", HeaderError::Host),
            ("sip:2001:db8::10", HeaderError::Port),
            ("sip:a@b:", HeaderError::Port),
            ("sip:a@b:70000", HeaderError::Port),
            ("sip:a@b/c", HeaderError::Host),
            ("tel:", HeaderError::User),
            ("tel:+", HeaderError::User),
            ("tel:bob", HeaderError::User),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn three_colons_before_an_ipv4_part_read_as_two() {
        let uri = parse("sip:a@[2001:db8:::192.0.2.1]");
        assert_eq!(uri.host_ip(), Some("2001:db8::192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn unescaping_keeps_nul_and_broken_escapes() {
        assert_eq!(*unescape(b"a%00b%41%4"), *b"a\0bA%4");
        assert_eq!(*unescape(b"%zz%"), *b"%zz%");
        assert!(matches!(unescape(b"plain"), Cow::Borrowed(b"plain")));
    }

    #[test]
    fn debug_hides_the_user() {
        assert!(!format!("{:?}", parse("sip:+16145550163@a;x=+16145550163")).contains("614"));
    }
}
