//! What a call has to bring.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::money::Money;

use super::{NamedOr, ScheduleConfig};

/// What a target has to bring to be offered a call, if the call converts. What is not owed, as for a
/// duplicate, does not count. Each field that a publisher writes goes before that of its campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceConfig {
    /// Targets whose revenue is less are refused with `price.below_floor`. Absent: there is no floor.
    pub min_revenue: Option<Money>,
    /// Floors for some hours, which go before `min_revenue`: the first that is open counts.
    pub hourly: Option<Vec<HourlyFloorConfig>>,
    /// Targets whose revenue is less are tried only for want of others
    /// (`price.below_soft_floor`).
    pub soft_min_revenue: Option<Money>,
    /// Revenue less payout; targets with less are refused with `price.margin_below_min`.
    pub min_margin: Option<MarginConfig>,
    /// Whether a payout may be more than the revenue, or due before it. Where it may not, what is always so is a fault, and a
    /// target for which it would be so is refused with `price.loss`. Absent: as `[defaults]` say, else it
    /// may not.
    pub allow_loss: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourlyFloorConfig {
    pub during: NamedOr<ScheduleConfig>,
    pub min_revenue: Money,
}

/// An amount such as `"5.00"`, or a part of the revenue such as `"20%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarginConfig {
    Amount(Money),
    /// In millionths of a percent.
    Percent(Money),
}

/// As it is written.
impl PriceConfig {
    /// Of its hourly floors.
    pub(super) fn schedules(&self) -> impl Iterator<Item = &NamedOr<ScheduleConfig>> {
        self.hourly.iter().flatten().map(|floor| &floor.during)
    }
}

impl fmt::Display for MarginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            Self::Percent(percent) => {
                let text = percent.to_string();
                write!(f, "{}%", text.strip_suffix(".00").unwrap_or(&text))
            }
        }
    }
}

impl FromStr for MarginConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is neither an amount such as 5.00 nor a part such as 20%");
        match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().map(Self::Percent).map_err(|_| wrong()),
            None => text.parse().map(Self::Amount).map_err(|_| wrong()),
        }
    }
}

impl Serialize for MarginConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MarginConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_an_amount_or_a_part_and_is_kept_as_it_is_written() {
        for (written, margin) in [
            ("5.00", MarginConfig::Amount(Money(5_000_000))),
            ("20%", MarginConfig::Percent(Money(20_000_000))),
            ("12.50%", MarginConfig::Percent(Money(12_500_000))),
        ] {
            assert_eq!(written.parse(), Ok(margin));
            assert_eq!(margin.to_string(), written);
        }
        assert!("a fifth".parse::<MarginConfig>().unwrap_err().contains("20%"));
        assert!("%".parse::<MarginConfig>().is_err());
    }
}
