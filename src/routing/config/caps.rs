//! Caps and concurrency, as they are written.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::Money;

/// How much of something is taken per window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapConfig {
    pub metric: Metric,
    pub window: WindowKind,
    pub limit: CapLimit,
    #[serde(default)]
    pub mode: CapMode,
    /// The zone whose clock begins and ends the window, such as `America/New_York`. Absent: that of
    /// the target's schedule, else UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// What a cap counts. Money and minutes are counted when a call is over; until then it holds the most
/// that it may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// INVITEs that were sent.
    Attempted,
    /// Calls the target answered.
    Connected,
    /// Calls that passed the conversion threshold.
    Converted,
    /// What buyers owe.
    Revenue,
    /// What publishers are owed.
    Payout,
    /// Talk time. A call holds the target's `max_duration_s`.
    Minutes,
}

/// Of money an amount in quotes, such as `"6000.00"`; else a number of calls or minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapLimit {
    Count(u32),
    Money(Money),
}

/// The span a cap counts in, by the wall clock of its zone. A week begins on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    Minute,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// All time.
    Total,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapMode {
    /// Never over: every call in flight that may still count is held against the limit.
    #[default]
    Strict,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyConfig {
    /// Calls at once, from 1.
    pub limit: u32,
    #[serde(default)]
    pub count_from: CountFrom,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountFrom {
    /// A call counts from the INVITE to the target.
    #[default]
    Invite,
}

impl Metric {
    /// As in the configuration, such as `connected`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Connected => "connected",
            Self::Converted => "converted",
            Self::Revenue => "revenue",
            Self::Payout => "payout",
            Self::Minutes => "minutes",
        }
    }
}

impl fmt::Display for CapLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Money(money) => money.fmt(f),
        }
    }
}

impl Serialize for CapLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(serializer),
            Self::Money(money) => money.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CapLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountOrMoney;

        impl Visitor<'_> for CountOrMoney {
            type Value = CapLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or an amount of money in quotes such as \"6000.00\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CapLimit, E> {
                text.parse().map(CapLimit::Money).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<CapLimit, E> {
                let count = u32::try_from(count)
                    .map_err(|_| E::custom(format!("{count} is more than {}", u32::MAX)))?;
                Ok(CapLimit::Count(count))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<CapLimit, E> {
                let count =
                    u64::try_from(count).map_err(|_| E::custom(format!("{count} is negative")))?;
                self.visit_u64(count)
            }
        }

        deserializer.deserialize_any(CountOrMoney)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_an_amount_in_quotes() {
        let read = |text| serde_json::from_str::<CapLimit>(text);
        assert_eq!(read("80").unwrap(), CapLimit::Count(80));
        assert_eq!(read("\"6000.00\"").unwrap(), CapLimit::Money(Money(6_000_000_000)));
        for (wrong, says) in [
            ("6000.5", "an amount of money in quotes"),
            ("\"80 calls\"", "80 calls"),
            ("-1", "-1 is negative"),
            ("5000000000", "is more than"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
