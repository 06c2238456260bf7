//! Typed views of field values that are neither addresses nor Vias.

use super::chars::{DIGIT, TOKEN, is_token, number, split_before, trim, trim_end, trim_start};
use super::params::{split_value, unquote};
use super::{HeaderError, Method, Params};
use std::borrow::Cow;

/// `CSeq: 4711 INVITE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    pub number: u32,
    /// As received; see [`CSeq::method`].
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Any number of 32 bits passes, although RFC 3261 §8.1.1.5 wants senders to stay below 2³¹.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (number, method) = split_number(value)?;
        if !is_token(method) {
            return Err(HeaderError::Method);
        }
        Ok(Self { number, method })
    }

    pub fn method(&self) -> Method {
        Method::from_bytes(self.method)
    }
}

/// `RAck: 776656 1 INVITE` (RFC 3262 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    pub rseq: u32,
    pub cseq: CSeq<'a>,
}

impl<'a> RAck<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (rseq, rest) = split_number(value)?;
        Ok(Self { rseq, cseq: CSeq::parse(rest)? })
    }
}

/// A 32-bit number, blanks, and the rest.
fn split_number(value: &[u8]) -> Result<(u32, &[u8]), HeaderError> {
    let value = trim(value);
    let (digits, rest) = DIGIT.split(value);
    let number = number(digits).and_then(|number| u32::try_from(number).ok());
    let rest_trimmed = trim_start(rest);
    if rest_trimmed.len() == rest.len() && !rest.is_empty() {
        return Err(HeaderError::Number);
    }
    Ok((number.ok_or(HeaderError::Number)?, rest_trimmed))
}

/// One value of a Reason field (RFC 3326), such as `Q.850;cause=16;text="Normal call clearing"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    pub protocol: &'a [u8],
    pub cause: Option<u32>,
    text: Option<&'a [u8]>,
}

impl<'a> Reason<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (protocol, params) = split_token(value)?;
        let cause = params.value(b"cause").map(|digits| number(digits).ok_or(HeaderError::Number));
        let cause = cause.transpose()?.and_then(|cause| u32::try_from(cause).ok());
        Ok(Self { protocol, cause, text: params.value(b"text") })
    }

    /// The text without its quotes.
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        self.text.map(unquote)
    }
}

/// Who refreshes a session (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    Uac,
    Uas,
}

/// `Session-Expires: 1800;refresher=uac` (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds; a number too large to mean anything reads as `u32::MAX`.
    pub delta: u32,
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    pub fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        let (digits, params) = split_token(value)?;
        let delta = seconds(digits).ok_or(HeaderError::Number)?;
        let refresher = match params.value(b"refresher") {
            None => None,
            Some(who) if who.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            Some(_) => return Err(HeaderError::Param),
        };
        Ok(Self { delta, refresher })
    }
}

/// `Replaces: call-id;to-tag=a;from-tag=b;early-only` (RFC 3891 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    pub call_id: &'a [u8],
    pub to_tag: &'a [u8],
    pub from_tag: &'a [u8],
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// Reads the value unescaped: in a Refer-To it has to go through
    /// [`unescape`](super::unescape) first.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim(value);
        let (call_id, params) = split_before(value, b';');
        let call_id = trim_end(call_id);
        let params = Params::new(params);
        if call_id.is_empty() {
            return Err(HeaderError::Empty);
        }
        Ok(Self {
            call_id,
            to_tag: params.value(b"to-tag").ok_or(HeaderError::Param)?,
            from_tag: params.value(b"from-tag").ok_or(HeaderError::Param)?,
            early_only: params.has(b"early-only"),
        })
    }
}

/// A token with parameters: Event, Subscription-State, Content-Disposition, Refer-Sub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenParams<'a> {
    pub token: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> TokenParams<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (token, params) = split_token(value)?;
        Ok(Self { token, params })
    }
}

/// Authorization, WWW-Authenticate and their proxy twins: a scheme and parameters with commas
/// between (RFC 3261 §25.1 `challenge` and `credentials`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub scheme: &'a [u8],
    params: &'a [u8],
}

/// A challenge has the shape of credentials.
pub type Challenge<'a> = Credentials<'a>;

impl<'a> Credentials<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim(value);
        let (scheme, params) = TOKEN.split(value);
        if scheme.is_empty() {
            return Err(HeaderError::Empty);
        }
        Ok(Self { scheme, params: trim_start(params) })
    }

    /// Name and value of each parameter; quoted values keep their quotes, see
    /// [`unquote`](super::unquote).
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = Some(self.params);
        std::iter::from_fn(move || {
            loop {
                let (param, next) = split_value(rest?);
                rest = next;
                if let Some(at) = memchr::memchr(b'=', param) {
                    return Some((trim(&param[..at]), trim(&param[at + 1..])));
                }
            }
        })
    }

    /// The first parameter of that name, any case, without quotes.
    pub fn get(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| unquote(value))
    }
}

impl std::fmt::Debug for Credentials<'_> {
    /// The parameters are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", String::from_utf8_lossy(self.scheme))
    }
}

/// Delta-seconds, any parameters or comment after them left out: Retry-After, Expires, Min-SE. A
/// number that does not fit reads as `u32::MAX`.
pub(super) fn delta_seconds(value: &[u8]) -> Result<u32, HeaderError> {
    let value = trim(value);
    let (digits, rest) = DIGIT.split(value);
    match trim_start(rest) {
        [] | [b';' | b'(', ..] => seconds(digits).ok_or(HeaderError::Number),
        _ => Err(HeaderError::Number),
    }
}

fn seconds(digits: &[u8]) -> Option<u32> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| number(digits).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
}

fn split_token(value: &[u8]) -> Result<(&[u8], Params<'_>), HeaderError> {
    let value = trim(value);
    let (token, params) = TOKEN.split(value);
    match trim_start(params) {
        _ if token.is_empty() => Err(HeaderError::Empty),
        params @ ([] | [b';', ..]) => Ok((token, Params::new(params))),
        _ => Err(HeaderError::Character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq_is_a_number_of_32_bits_and_a_method() {
        let cseq = CSeq::parse(b" 0009 \t INVITE ").unwrap();
        assert_eq!((cseq.number, cseq.method()), (9, Method::Invite));
        assert_eq!(CSeq::parse(b"4294967295 X-1").unwrap().method(), Method::Other);
        assert_eq!(CSeq::parse(b"4294967296 ACK"), Err(HeaderError::Number));
        assert_eq!(CSeq::parse(b"1ACK"), Err(HeaderError::Number));
        assert_eq!(CSeq::parse(b"1"), Err(HeaderError::Method));
        assert_eq!(CSeq::parse(b"1 A B"), Err(HeaderError::Method));
        assert_eq!(CSeq::parse(b"-1 ACK"), Err(HeaderError::Number));
    }

    #[test]
    fn rack_names_a_provisional_response() {
        let rack = RAck::parse(b"776656 1 INVITE").unwrap();
        assert_eq!((rack.rseq, rack.cseq.number, rack.cseq.method()), (776_656, 1, Method::Invite));
        assert_eq!(RAck::parse(b"1 INVITE"), Err(HeaderError::Number));
    }

    #[test]
    fn a_reason_has_protocol_cause_and_text() {
        let reason = Reason::parse(b"Q.850 ;cause=16 ;text=\"Normal \\\"call\\\"\"").unwrap();
        assert_eq!(reason.protocol, b"Q.850");
        assert_eq!(reason.cause, Some(16));
        assert_eq!(reason.text().unwrap(), &b"Normal \"call\""[..]);
        assert_eq!(Reason::parse(b"SIP;cause=x"), Err(HeaderError::Number));
        assert_eq!(Reason::parse(b"preemption").unwrap().cause, None);
    }

    #[test]
    fn a_session_has_an_interval_and_perhaps_a_refresher() {
        let parsed = SessionExpires::parse(b"1800; Refresher=UAS").unwrap();
        assert_eq!(parsed, SessionExpires { delta: 1800, refresher: Some(Refresher::Uas) });
        assert_eq!(SessionExpires::parse(b"90").unwrap().refresher, None);
        assert_eq!(SessionExpires::parse(b"90;refresher=me"), Err(HeaderError::Param));
        assert_eq!(SessionExpires::parse(b"soon"), Err(HeaderError::Number));
    }

    #[test]
    fn a_number_beyond_meaning_is_the_largest() {
        assert_eq!(delta_seconds(b"949302838503028349304023988"), Ok(u32::MAX));
        assert_eq!(delta_seconds(b"120 (in a meeting);duration=60"), Ok(120));
        assert_eq!(delta_seconds(b"5;duration=3"), Ok(5));
        assert_eq!(delta_seconds(b"5 x"), Err(HeaderError::Number));
        assert_eq!(delta_seconds(b""), Err(HeaderError::Number));
    }

    #[test]
    fn credentials_keep_commas_inside_quotes() {
        let value = br#"Digest realm="a, b", nonce="x\"y",qop=auth , , nc=00000001"#;
        let credentials = Credentials::parse(value).unwrap();
        assert_eq!(credentials.scheme, b"Digest");
        assert_eq!(*credentials.get(b"REALM").unwrap(), *b"a, b");
        assert_eq!(*credentials.get(b"nonce").unwrap(), *b"x\"y");
        assert_eq!(*credentials.get(b"qop").unwrap(), *b"auth");
        assert_eq!(credentials.get(b"opaque"), None);
        assert_eq!(credentials.iter().count(), 4);
    }

    #[test]
    fn replaces_needs_both_tags() {
        let replaces =
            Replaces::parse(b"425928@phone.example.org;to-tag=7743;from-tag=6472;early-only");
        let replaces = replaces.unwrap();
        assert_eq!(replaces.call_id, b"425928@phone.example.org");
        assert_eq!((replaces.to_tag, replaces.from_tag), (&b"7743"[..], &b"6472"[..]));
        assert!(replaces.early_only);
        assert_eq!(Replaces::parse(b"1;to-tag=a"), Err(HeaderError::Param));
    }
}
