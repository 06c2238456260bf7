//! Money as integer micros of one currency; rates as nanos per minute. Nothing here is a float.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// An amount in millionths of the account's currency. May be negative (a correction).
///
/// Written and read as a decimal string such as `"38.00"`, at least two and at most six places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i64);

/// What a minute costs, in billionths of the account's currency.
///
/// Written and read as a decimal string such as `"0.0060"`, at most nine places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RatePerMinute(pub i64);

/// What amounts are of, as ISO 4217 writes it, such as `USD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Currency(SmolStr);

/// A text that is no currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no currency: write the three capital letters of ISO 4217, such as USD")]
pub struct ParseCurrencyError;

/// Why a decimal string is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    #[error("`{0}` is not a decimal amount such as \"38.00\"")]
    NotDecimal(String),
    #[error("`{0}` has more than {1} decimal places; write {1} or fewer")]
    TooPrecise(String, usize),
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl Money {
    pub const ZERO: Self = Self(0);

    /// Micros in one unit of currency.
    pub const UNIT: i64 = 1_000_000;

    /// What one call may earn or pay at most: the sum of a billion calls fits into 64 bits then.
    pub const OF_A_CALL_MAX: Self = Self(9_000 * Self::UNIT);

    /// What a limit on money may be at most, and what a buyer may deposit in all: stores that servers
    /// share reckon exactly up to nine times as much.
    pub const OF_A_LIMIT_MAX: Self = Self(1_000_000_000 * Self::UNIT);

    /// `None` on overflow, which is ±9.2 × 10¹² units away.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl RatePerMinute {
    pub const ZERO: Self = Self(0);
}

impl Currency {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// US dollars.
impl Default for Currency {
    fn default() -> Self {
        Self(SmolStr::new_static("USD"))
    }
}

impl FromStr for Currency {
    type Err = ParseCurrencyError;

    fn from_str(text: &str) -> Result<Self, ParseCurrencyError> {
        let fits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        fits.then(|| Self(SmolStr::new(text))).ok_or(ParseCurrencyError)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl FromStr for Money {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, 6).map(Self)
    }
}

impl FromStr for RatePerMinute {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, 9).map(Self)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, 6)
    }
}

impl fmt::Display for RatePerMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, 9)
    }
}

macro_rules! as_decimal_string {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_decimal_string!(Money);
as_decimal_string!(RatePerMinute);

fn parse_scaled(text: &str, places: usize) -> Result<i64, ParseAmountError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !decimal(whole) || !decimal(fraction) {
        return Err(ParseAmountError::NotDecimal(text.to_owned()));
    }
    if fraction.len() > places {
        return Err(ParseAmountError::TooPrecise(text.to_owned(), places));
    }
    let mut value: i64 = 0;
    let padding = std::iter::repeat_n(b'0', places - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or_else(|| ParseAmountError::TooLarge(text.to_owned()))?;
    }
    Ok(if negative { -value } else { value })
}

/// Prints at least two places and no further trailing zeros.
fn write_scaled(f: &mut fmt::Formatter<'_>, value: i64, places: usize) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let kept = fraction.trim_end_matches('0').len().max(2);
    f.pad(&format!("{sign}{whole}.{}", &fraction[..kept]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_string_survives_the_round_trip() {
        for (text, micros) in
            [("38.00", 38_000_000), ("0.006", 6_000), ("-12.345678", -12_345_678), ("0.00", 0)]
        {
            assert_eq!(text.parse(), Ok(Money(micros)));
            assert_eq!(Money(micros).to_string(), text);
        }
        assert_eq!("0.0060".parse(), Ok(RatePerMinute(6_000_000)));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_the_reason() {
        assert_eq!("1,5".parse::<Money>(), Err(ParseAmountError::NotDecimal("1,5".into())));
        assert_eq!(".5".parse::<Money>(), Err(ParseAmountError::NotDecimal(".5".into())));
        assert_eq!(
            "0.1234567".parse::<Money>(),
            Err(ParseAmountError::TooPrecise("0.1234567".into(), 6))
        );
        assert_eq!(
            "9999999999999999".parse::<Money>(),
            Err(ParseAmountError::TooLarge("9999999999999999".into()))
        );
    }
}
