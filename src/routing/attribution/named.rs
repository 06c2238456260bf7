//! Sessions that a call names itself (spec/domain §2.2, orders 1 and 2): in the user part of its
//! address, `sip:bid_…@edge`, or in a header that a publisher's trunk sends.
//!
//! Carriers change the case of what they pass on, escape it, and trade one separator for another.
//! None of that matters here.

use std::fmt;

use minicbor::{Decode, Encode};
use smallvec::SmallVec;

use crate::id::{PingId, SessionId};

/// What names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum SessionKey {
    #[n(0)]
    Ping(#[n(0)] PingId),
    #[n(1)]
    Session(#[n(0)] SessionId),
}

/// A session that the address of a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Named {
    #[n(0)]
    pub key: SessionKey,
    /// The call names no number besides: the one it is said to have dialled only stands in for it,
    /// and whose call it is the session tells.
    #[n(1)]
    pub is_all: bool,
}

/// A prefix, a separator, 32 digits: all of it may be escaped, three bytes each.
const BYTES_MAX: usize = 3 * (3 + 1 + DIGITS);
const DIGITS: usize = 32;

impl SessionKey {
    /// Reads the user part of a URI as it stands on the wire: `bid_` or `png_` and the 32 digits of a
    /// ping, `ses_` and those of a session. `None`: it is something else.
    pub fn from_user(user: &[u8]) -> Option<Self> {
        // Nearly all user parts are numbers.
        if !user.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'%') {
            return None;
        }
        let end = user.iter().position(|byte| matches!(byte, b';' | b':')).unwrap_or(user.len());
        Self::parse(&unescaped(user.get(..end).filter(|it| it.len() <= BYTES_MAX)?))
    }

    /// Reads a header: the name itself, or a User-to-User that holds it as it is or in hexadecimal
    /// (RFC 7433 §4.1).
    pub fn from_header(value: &str) -> Option<Self> {
        let data = value.split(';').next()?.trim().trim_matches('"');
        let data = data.as_bytes().get(..data.len().min(BYTES_MAX))?;
        Self::parse(data).or_else(|| Self::parse(&unhexed(data)?))
    }

    /// The user part that names the session of a ping.
    pub fn address_of(ping: PingId) -> String {
        format!("bid_{}", ping.0.as_simple())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (prefix, rest) = text.split_first_chunk::<3>()?;
        let digits = rest.strip_prefix(b"_").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
        let bytes: [u8; 16] = unhexed(digits)?.as_slice().try_into().ok()?;
        match &prefix.to_ascii_lowercase()[..] {
            // Each ping is offered once, so the offer has its digits.
            b"bid" | b"png" => Some(Self::Ping(PingId::from_bytes(bytes))),
            b"ses" => Some(Self::Session(SessionId::from_bytes(bytes))),
            _ => None,
        }
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(ping) => ping.fmt(f),
            Self::Session(session) => session.fmt(f),
        }
    }
}

type Text = SmallVec<[u8; 48]>;

fn unescaped(text: &[u8]) -> Text {
    let (mut plain, mut rest) = (Text::new(), text);
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(unhexed);
        match escaped {
            Some(escaped) => {
                plain.extend(escaped);
                rest = &after[2..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// The bytes of pairs of hexadecimal digits.
fn unhexed(digits: &[u8]) -> Option<Text> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGITS: &str = "01954f2e7d1e70008000000000abcdef";

    #[test]
    fn a_session_is_named_however_a_carrier_writes_it() {
        let ping = SessionKey::Ping(format!("png_{DIGITS}").parse().unwrap());
        let session = SessionKey::Session(format!("ses_{DIGITS}").parse().unwrap());
        let shouted = DIGITS.to_uppercase();
        for (user, key) in [
            (format!("bid_{DIGITS}"), ping),
            (format!("png_{DIGITS}"), ping),
            (format!("BID_{shouted}"), ping),
            (format!("bid-{DIGITS}"), ping),
            (format!("bid{DIGITS}"), ping),
            (format!("%62id%5F{DIGITS}"), ping),
            (format!("bid_{DIGITS};user=phone"), ping),
            (format!("bid_{DIGITS}:secret"), ping),
            (format!("ses_{DIGITS}"), session),
        ] {
            assert_eq!(SessionKey::from_user(user.as_bytes()), Some(key), "{user}");
        }
        let SessionKey::Ping(id) = ping else { panic!("a ping") };
        assert_eq!(SessionKey::from_user(SessionKey::address_of(id).as_bytes()), Some(ping));
    }

    #[test]
    fn a_header_names_it_too_in_hexadecimal_if_it_must() {
        let ping = SessionKey::Ping(format!("png_{DIGITS}").parse().unwrap());
        let hex: String = format!("bid_{DIGITS}").bytes().map(|it| format!("{it:02x}")).collect();
        for value in [
            format!("png_{DIGITS}"),
            format!(" Bid_{DIGITS} "),
            format!("{hex};encoding=hex;purpose=isdn-uui"),
            format!("\"bid_{DIGITS}\";encoding=text"),
        ] {
            assert_eq!(SessionKey::from_header(&value), Some(ping), "{value}");
        }
    }

    #[test]
    fn what_names_no_session_is_something_else() {
        for user in ["", "+18005550100", "bid_", "bid_0195", "cal_01954f2e7d1e70008000000000abcdef"]
        {
            assert_eq!(SessionKey::from_user(user.as_bytes()), None, "{user}");
            assert_eq!(SessionKey::from_header(user), None, "{user}");
        }
        assert_eq!(SessionKey::from_user(format!("bid_{DIGITS}0").as_bytes()), None);
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd_to_be_read(user in prop::collection::vec(any::<u8>(), 0..200)) {
            SessionKey::from_user(&user);
            SessionKey::from_header(&String::from_utf8_lossy(&user));
        }
    }
}
