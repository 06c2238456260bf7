//! Telephone numbers: E.164 inside, whatever form they arrived in.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An E.164 number, at most 15 digits, without its `+`.
///
/// `Debug` shows only the first digits: numbers must not reach a log in clear. Use
/// [`PhoneNumber::to_e164`] where the full number is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(
    /// So that one that may be absent takes no more bytes.
    NonZeroU64,
);

/// Why a text is not a telephone number. Does not repeat the text: it may be a caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNumberError {
    #[error("holds something other than digits after an optional `+`")]
    NotDigits,
    #[error("has {0} digits; E.164 allows 7 to 15")]
    Length(usize),
    #[error("begins with 0; write it in E.164 with its country code, such as +18005550100")]
    NoCountryCode,
    #[error(
        "has ten digits and begins with 1, as no number of North America does; write it in E.164 with `+` and \
         its country code, such as +18005550100"
    )]
    NoAreaCode,
}

impl PhoneNumber {
    /// Reads what people and publishers write: ten digits without `+` are of North America, all else is in
    /// E.164 order.
    pub fn from_text(text: &str) -> Result<Self, ParseNumberError> {
        let text = text.trim();
        let number: Self = text.parse()?;
        match number.digits() {
            _ if text.starts_with('+') => Ok(number),
            1_000_000_000..2_000_000_000 => Err(ParseNumberError::NoAreaCode),
            national @ 2_000_000_000..10_000_000_000 => {
                Ok(Self::from_digits(10_000_000_000 + national).expect("it has eleven digits"))
            }
            _ => Ok(number),
        }
    }

    /// Reads digits in E.164 order, with or without `+`. Visual separators (`-`, `.`, `(`, `)`
    /// and blanks, RFC 3966 §5.1.1) are skipped.
    pub fn from_bytes(text: &[u8]) -> Result<Self, ParseNumberError> {
        let digits = text.strip_prefix(b"+").unwrap_or(text);
        let (mut value, mut count) = (0_u64, 0_usize);
        for &byte in digits {
            match byte {
                b'0'..=b'9' if count < 15 => {
                    if count == 0 && byte == b'0' {
                        return Err(ParseNumberError::NoCountryCode);
                    }
                    value = value * 10 + u64::from(byte - b'0');
                    count += 1;
                }
                b'0'..=b'9' => return Err(ParseNumberError::Length(count + 1)),
                b'-' | b'.' | b'(' | b')' | b' ' => {}
                _ => return Err(ParseNumberError::NotDigits),
            }
        }
        let number = NonZeroU64::new(value).filter(|_| count >= 7);
        number.map(Self).ok_or(ParseNumberError::Length(count))
    }

    /// The digits as one integer: `+18005550100` is `18005550100`.
    pub fn digits(self) -> u64 {
        self.0.get()
    }

    /// From [`PhoneNumber::digits`]; `None` unless 7 to 15 digits long.
    pub fn from_digits(digits: u64) -> Option<Self> {
        let fits = (1_000_000..1_000_000_000_000_000).contains(&digits);
        NonZeroU64::new(digits).filter(|_| fits).map(Self)
    }

    /// `+` and the digits.
    pub fn to_e164(self) -> String {
        format!("+{}", self.0)
    }

    /// The three-digit area code of a North American number (country code 1).
    pub fn nanp_area_code(self) -> Option<u16> {
        let digits = self.digits();
        (10_000_000_000..20_000_000_000)
            .contains(&digits)
            .then(|| u16::try_from(digits / 10_000_000 % 1000).unwrap_or(0))
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        write!(f, "+{}…", &digits[..digits.len().min(4)])
    }
}

impl FromStr for PhoneNumber {
    type Err = ParseNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(text.as_bytes())
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("+{}", self.0))
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_number_are_one() {
        let plus: PhoneNumber = "+18005550100".parse().unwrap();
        let bare: PhoneNumber = "1-800-555-0100".parse().unwrap();
        assert_eq!(plus, bare);
        assert_eq!(plus.to_e164(), "+18005550100");
        assert_eq!(plus.nanp_area_code(), Some(800));
    }

    #[test]
    fn ten_digits_are_of_north_america_unless_a_plus_says_otherwise() {
        for (text, number) in [
            ("6145550171", "+16145550171"),
            ("(614) 555-0171", "+16145550171"),
            (" 614.555.0171 ", "+16145550171"),
            ("16145550171", "+16145550171"),
            ("+6145550171", "+6145550171"),
            ("+4930901820", "+4930901820"),
            ("442079460163", "+442079460163"),
            ("614555017", "+614555017"),
        ] {
            assert_eq!(PhoneNumber::from_text(text).map(PhoneNumber::to_e164), Ok(number.into()));
        }
        for (text, fault) in [
            ("0145550171", ParseNumberError::NoCountryCode),
            ("1145550171", ParseNumberError::NoAreaCode),
            ("614 555 017a", ParseNumberError::NotDigits),
            ("", ParseNumberError::Length(0)),
        ] {
            assert_eq!(PhoneNumber::from_text(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!("".parse::<PhoneNumber>(), Err(ParseNumberError::Length(0)));
        assert_eq!("+1234567890123456".parse::<PhoneNumber>(), Err(ParseNumberError::Length(16)));
        assert_eq!("bob".parse::<PhoneNumber>(), Err(ParseNumberError::NotDigits));
        assert_eq!("0800555010".parse::<PhoneNumber>(), Err(ParseNumberError::NoCountryCode));
    }

    #[test]
    fn debug_masks_the_subscriber() {
        let number: PhoneNumber = "+16145550163".parse().unwrap();
        assert_eq!(format!("{number:?}"), "+1614…");
    }
}
