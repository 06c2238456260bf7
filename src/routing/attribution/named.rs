//! Sessions that a call names itself (spec/domain §2.2, orders 1 and 2): in the user part of its
//! address, `sip:bid_…@edge`, or in a header that a publisher's trunk sends.
//!
//! Carriers change the case of what they pass on, escape it, and trade one separator for another.
//! None of that matters here.

use std::fmt;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::id::{PingId, SessionId};

/// What names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum SessionKey {
    #[n(0)]
    Ping(#[n(0)] PingId),
    #[n(1)]
    Session(#[n(0)] SessionId),
    /// The session of the ping of which this is the alias.
    #[n(2)]
    Alias(#[n(0)] u64),
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
/// The digits and four dashes.
const UUID_CHARS: usize = DIGITS + 4;
/// An alias is written with a leading zero, as no number in E.164 is, and so many digits in all.
const ALIAS_DIGITS: usize = 15;

impl SessionKey {
    /// Reads the user part of a URI as it stands on the wire: `bid_`, `png_` or `rtb` and the 32 digits of a
    /// ping, these alone as a UUID with its dashes, `ses_` and the digits of a session, or an alias. `None`:
    /// it is something else.
    pub fn from_user(user: &[u8]) -> Option<Self> {
        let bare = user.strip_prefix(b"+").unwrap_or(user);
        if bare.first() == Some(&b'0')
            && let Some(alias) = Self::parse_alias(bare)
        {
            return Some(alias);
        }
        // Nearly all user parts are numbers, which are shorter than a UUID.
        let is_word = user.first().is_some_and(|it| it.is_ascii_alphabetic() || *it == b'%');
        if !is_word && user.len() < UUID_CHARS {
            return None;
        }
        let end = user.iter().position(|byte| matches!(byte, b';' | b':')).unwrap_or(user.len());
        let text = unescaped(user.get(..end).filter(|it| it.len() <= BYTES_MAX)?);
        Self::parse(&text).or_else(|| Self::parse_uuid(&text))
    }

    /// Reads a header: the name itself, or a User-to-User that holds it as it is or in hexadecimal
    /// (RFC 7433 §4.1). A UUID alone is none: headers have those of other things.
    pub fn from_header(value: &str) -> Option<Self> {
        let data = value.split(';').next()?.trim().trim_matches('"');
        let data = data.as_bytes().get(..data.len().min(BYTES_MAX))?;
        Self::parse(data).or_else(|| Self::parse(&unhexed(data)?))
    }

    /// The user part that names the session of a ping.
    pub fn address_of(ping: PingId) -> String {
        format!("bid_{}", ping.0.as_simple())
    }

    /// Another user part that names it: digits alone, for those who take an address for a number.
    pub fn digits_of(ping: PingId) -> String {
        format!("{:0ALIAS_DIGITS$}", Self::alias_of(ping))
    }

    /// Of a hundred million million. Two live sessions that have the same are told apart by the rest of
    /// their addresses only: the earlier one has the alias.
    pub fn alias_of(ping: PingId) -> u64 {
        let digest = Sha256::digest(ping.0.as_bytes());
        let (first, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
        u64::from_be_bytes(*first) % 10_u64.pow(ALIAS_DIGITS as u32 - 1)
    }

    fn parse_alias(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| matches!(byte, b';' | b':')).unwrap_or(text.len());
        let digits = str::from_utf8(text.get(..end).filter(|it| it.len() == ALIAS_DIGITS)?).ok()?;
        digits.parse().ok().map(Self::Alias)
    }

    fn parse_uuid(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok().filter(|it| it.len() == UUID_CHARS)?;
        // A text of this length is one in this form, if it is one at all.
        Uuid::try_parse(text).ok().map(|uuid| Self::Ping(PingId(uuid)))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (prefix, rest) = text.split_first_chunk::<3>()?;
        let digits = rest.strip_prefix(b"_").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
        let bytes: [u8; 16] = unhexed(digits)?.as_slice().try_into().ok()?;
        match &prefix.to_ascii_lowercase()[..] {
            // Each ping is offered once, so the offer has its digits.
            b"bid" | b"png" | b"rtb" => Some(Self::Ping(PingId::from_bytes(bytes))),
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
            Self::Alias(alias) => write!(f, "{alias:0ALIAS_DIGITS$}"),
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
    const DASHED: &str = "01954f2e-7d1e-7000-8000-000000abcdef";

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
            (format!("RTB{DIGITS}"), ping),
            (format!("rtb{shouted}"), ping),
            (format!("rtb_{DIGITS}"), ping),
            (DASHED.to_owned(), ping),
            (DASHED.to_uppercase(), ping),
            (DASHED.replace('-', "%2D"), ping),
            (format!("{DASHED};user=phone"), ping),
            (format!("ses_{DIGITS}"), session),
        ] {
            assert_eq!(SessionKey::from_user(user.as_bytes()), Some(key), "{user}");
        }
        let SessionKey::Ping(id) = ping else { panic!("a ping") };
        assert_eq!(SessionKey::from_user(SessionKey::address_of(id).as_bytes()), Some(ping));
    }

    #[test]
    fn digits_that_are_no_number_name_it_too() {
        let ping: PingId = format!("png_{DIGITS}").parse().unwrap();
        let digits = SessionKey::digits_of(ping);
        assert_eq!(digits.len(), 15);
        let alias = Some(SessionKey::Alias(SessionKey::alias_of(ping)));
        for user in [digits.clone(), format!("+{digits}"), format!("{digits};phone-context=x")] {
            assert_eq!(SessionKey::from_user(user.as_bytes()), alias, "{user}");
        }
        for user in [&digits[..14], &format!("{digits}0"), "0a2345678901234", "118005550100123"] {
            assert_eq!(SessionKey::from_user(user.as_bytes()), None, "{user}");
        }
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
        for user in [
            format!("bid_{DIGITS}0"),
            format!("RTB{DIGITS}0"),
            format!("RTB{}", &DIGITS[1..]),
            format!("RTB{DASHED}"),
            DIGITS.to_owned(),
            format!("+{DASHED}"),
            format!("{DASHED}0"),
            DASHED.replacen('-', "", 1),
            DASHED.replace('-', "_"),
            DASHED.replacen("2e-7", "-2e7", 1),
            format!("1-800-555-0100{}", " ".repeat(22)),
        ] {
            assert_eq!(SessionKey::from_user(user.as_bytes()), None, "{user}");
        }
        assert_eq!(SessionKey::from_header(DASHED), None, "a carrier's own id may look so");
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd_to_be_read(user in prop::collection::vec(any::<u8>(), 0..200)) {
            SessionKey::from_user(&user);
            SessionKey::from_header(&String::from_utf8_lossy(&user));
        }
    }
}
