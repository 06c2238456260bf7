//! Via values (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::IpAddr;

use super::chars::{DIGIT, TOKEN, number, trim_end, trim_start};
use super::params::{check, skip_lws};
use super::{HeaderError, Params, uri};

/// One hop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    pub(super) raw: &'a [u8],
    pub(super) transport: &'a [u8],
    pub(super) sent_by: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) port: Option<u16>,
    pub(super) params: &'a [u8],
    pub(super) branch: Option<&'a [u8]>,
}

/// The `rport` parameter, RFC 3581.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// The sender asks for its source port.
    Empty,
    Port(u16),
}

impl<'a> Via<'a> {
    /// The magic cookie that marks a branch as unique (RFC 3261 §8.1.1.7).
    pub const COOKIE: &'static [u8] = b"z9hG4bK";

    /// Reads one value, not a list. Any protocol name and version pass: who cares looks.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let via = Self::parse_hop(value)?;
        Ok(Self { branch: check(via.params, b"branch")?, ..via })
    }

    /// A value with malformed parameters still says whom to tell so.
    pub(super) fn parse_for_refusal(value: &'a [u8]) -> Option<Self> {
        let via = Self::parse_hop(value).ok()?;
        let branch = via.params().value(b"branch");
        matches!(via.params, [] | [b';', ..]).then_some(Self { branch, ..via })
    }

    /// Everything but the parameters, which begin where host and port end.
    fn parse_hop(value: &'a [u8]) -> Result<Self, HeaderError> {
        let raw = trim_end(trim_start(value));
        let after = match raw.strip_prefix(b"SIP/2.0/") {
            Some(after) => after,
            None => skip_protocol(raw)?,
        };
        let (transport, after) = TOKEN.split(after);
        let (sent_by, blank) = skip_lws(after);
        if transport.is_empty() || !blank {
            return Err(HeaderError::Protocol);
        }
        let (host, after) = uri::split_host(sent_by)?;
        let (port, params) = match trim_start(after) {
            [b':', after @ ..] => {
                let after = trim_start(after);
                let (digits, params) = DIGIT.split(after);
                (Some(uri::port(digits)?), params)
            }
            params => (None, params),
        };
        let sent_by = trim_end(&sent_by[..sent_by.len() - params.len()]);
        Ok(Self { raw, transport, sent_by, host, port, params, branch: None })
    }

    /// The transport token as received, such as `UDP`.
    pub fn transport(&self) -> &'a [u8] {
        self.transport
    }

    /// Host and port as received, such as `[2001:db8::1]:5060`.
    pub fn sent_by(&self) -> &'a [u8] {
        self.sent_by
    }

    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The host if it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        uri::ip(self.host)
    }

    /// `None` means the transport's default.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch
    }

    /// Whether the branch is unique by RFC 3261: the cookie and something after it. Older
    /// senders need the matching rules of RFC 2543.
    pub fn has_cookie(&self) -> bool {
        self.branch.is_some_and(|branch| {
            branch.len() > Self::COOKIE.len()
                && branch[..Self::COOKIE.len()].eq_ignore_ascii_case(Self::COOKIE)
        })
    }

    /// `None` if the parameter is missing, or has a value that is no port.
    pub fn rport(&self) -> Option<Rport> {
        match self.params().get(b"rport")? {
            None | Some(b"") => Some(Rport::Empty),
            Some(digits) => Some(Rport::Port(u16::try_from(number(digits)?).ok()?)),
        }
    }

    /// The address the hop after this one saw; IPv6 with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<&'a [u8]> {
        self.params().value(b"received")
    }

    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The whole value.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl fmt::Debug for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({})", String::from_utf8_lossy(self.raw))
    }
}

/// `SIP / 2.0 /` with blanks anywhere the grammar lets them be.
fn skip_protocol(mut text: &[u8]) -> Result<&[u8], HeaderError> {
    for _ in 0..2 {
        let after = TOKEN.split(text).1;
        let [b'/', rest @ ..] = trim_start(after) else { return Err(HeaderError::Protocol) };
        if after.len() == text.len() {
            return Err(HeaderError::Protocol);
        }
        text = trim_start(rest);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Via<'_> {
        Via::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_usual_value_is_taken_apart() {
        let via = parse("SIP/2.0/UDP 192.0.2.7:5080;rport;branch=z9hG4bK7%41;received=192.0.2.9");
        assert_eq!(via.transport(), b"UDP");
        assert_eq!(via.sent_by(), b"192.0.2.7:5080");
        assert_eq!(via.host(), b"192.0.2.7");
        assert_eq!(via.host_ip(), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(via.port(), Some(5080));
        assert_eq!(via.branch(), Some(&b"z9hG4bK7%41"[..]));
        assert_eq!(via.rport(), Some(Rport::Empty));
        assert_eq!(via.received(), Some(&b"192.0.2.9"[..]));
        assert!(via.has_cookie());
    }

    #[test]
    fn blanks_may_stand_around_every_separator() {
        let via = parse("SIP  / 2.0  / TCP     edge.example.com : 5061  ;  branch  =   b1  ");
        assert_eq!(via.transport(), b"TCP");
        assert_eq!(via.host(), b"edge.example.com");
        assert_eq!(via.port(), Some(5061));
        assert_eq!(via.branch(), Some(&b"b1"[..]));
        assert!(!via.has_cookie());
    }

    #[test]
    fn ipv6_stands_in_brackets_and_received_need_not() {
        let via =
            parse("SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;branch=z9hG4bKx");
        assert_eq!(via.host(), b"[2001:db8::9:1]");
        assert_eq!(via.host_ip(), Some("2001:db8::9:1".parse().unwrap()));
        assert_eq!(via.port(), Some(6050));
        assert_eq!(via.received(), Some(&b"2001:db8::9:255"[..]));
        assert_eq!(via.rport(), None);
    }

    #[test]
    fn the_bare_cookie_is_no_unique_branch() {
        assert!(!parse("SIP/2.0/UDP a;branch=z9hG4bK").has_cookie());
    }

    #[test]
    fn malformed_values_are_refused() {
        for (value, error) in [
            ("", HeaderError::Protocol),
            ("SIP/2.0/UDP", HeaderError::Protocol),
            ("SIP/2.0 a", HeaderError::Protocol),
            ("/2.0/UDP a", HeaderError::Protocol),
            ("SIP/2.0/UDP ;branch=x", HeaderError::Host),
            ("SIP/2.0/UDP [2001:db8::1;branch=x", HeaderError::Host),
            ("SIP/2.0/UDP a:;branch=x", HeaderError::Port),
            ("SIP/2.0/UDP a:65536", HeaderError::Port),
            ("SIP/2.0/UDP a;;branch=x", HeaderError::Param),
            ("SIP/2.0/UDP a;branch=x;branch=y", HeaderError::Param),
            ("SIP/2.0/UDP a b", HeaderError::Param),
        ] {
            assert_eq!(Via::parse(value.as_bytes()), Err(error), "{value}");
        }
    }
}
