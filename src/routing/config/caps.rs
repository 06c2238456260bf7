//! Caps and concurrency, as they are written.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use smol_str::SmolStr;

use super::custom::{Every, Period};
use super::percent::Percent;
use crate::id::{BuyerId, CampaignId, PublisherId, TargetId};
use crate::money::Money;
use crate::rolling::Rolling;

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
    /// the target's schedule, else the account's.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Of a paced cap on `connected` or `converted`: how many of the calls in flight come to count.
    /// Absent: all.
    #[serde(default)]
    pub assumed_rate: Option<AssumedRate>,
    /// Of a cap with `assumed_rate`: how probable it may be that more than the limit have come to count
    /// by the end of a window. One of `0.1%`, `0.5%`, `1%`, `2%`, `5%` and `10%`; absent: 1%.
    #[serde(default)]
    pub max_over_prob: Option<Percent>,
    /// Of a publisher's cap on `payout` or `converted`: what stops when it is full. Absent: its calls.
    #[serde(default)]
    pub on_full: Option<OnFull>,
    #[serde(default)]
    pub on_store_down: OnStoreDown,
}

/// How many of the calls in flight come to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssumedRate {
    /// Always so many, from `1%` on.
    Share(Percent),
    /// As many as its calls of late tell, at most; written `live`.
    Live,
}

/// What a full cap of a publisher stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Its calls are refused.
    StopTraffic,
    /// Its calls go on, and it is paid nothing for them.
    StopPaying,
}

/// What a buyer may owe. A call holds all that it may come to when its target is called; nothing is held again
/// while it goes on, and none is ended for want of credit. After a crash it is held again for calls that were
/// answered, until their true ends are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditConfig {
    /// Beyond its deposits, of all time. `"0.00"`: it pays in advance.
    pub limit: Money,
}

/// What a cap counts. Money and minutes are counted when a call is over; until then it holds the most
/// that it may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Pings that were accepted. Of the account, publishers and campaigns.
    Pinged,
    /// Calls that came, whatever becomes of them: also those of callers whom the campaign does not want,
    /// and none that finds the cap full or the campaign paused. Of the account, publishers, campaigns,
    /// trunks and numbers.
    Offered,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowKind {
    Minute,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// All time.
    Total,
    /// So many seconds up to now, 60 to 2,678,400; written `rolling:3600`.
    Rolling(Rolling),
    /// So many hours or days, counted from a minute on; written `every:14d@2026-01-05T06:00`.
    Every(Every),
    /// From one minute to another, and no other time; written `period:2026-11-23/2026-11-30`.
    Period(Period),
}

/// How [`AssumedRate::Live`] is written.
const LIVE: &str = "live";

/// Those with a name of their own.
const NAMED: [(&str, WindowKind); 7] = [
    ("minute", WindowKind::Minute),
    ("hourly", WindowKind::Hourly),
    ("daily", WindowKind::Daily),
    ("weekly", WindowKind::Weekly),
    ("monthly", WindowKind::Monthly),
    ("yearly", WindowKind::Yearly),
    ("total", WindowKind::Total),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapMode {
    /// Never over: every call in flight that may still count is held against the limit.
    #[default]
    Strict,
    /// Filled evenly over the window, by the hours in which the target is open. With `assumed_rate`
    /// more calls are let in than there is room for, as some will not count.
    Paced,
    /// Calls are let in until the limit is used up. Those in flight by then may pass it.
    Soft,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyConfig {
    /// Calls at once, from 1.
    pub limit: u32,
    #[serde(default)]
    pub count_from: CountFrom,
    /// Limits of single hours: seven days, Sunday first, of 24 hours each. -1 leaves it at `limit`; 0
    /// takes no call. Absent: `limit` at all hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<Vec<i64>>,
    /// Limits of single days. They go before `matrix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ConcurrencyOnConfig>,
    /// The zone whose clock the hours and days are of. Absent: that of the target's schedule, else
    /// the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub on_store_down: OnStoreDown,
}

/// What a limit lets through while the store that servers share it by is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreDown {
    /// As much as this server has room of its own for: what it kept in advance, and what its calls
    /// give back.
    #[default]
    Escrow,
    /// Nothing.
    Closed,
    /// Everything. The limit may be passed.
    Open,
}

/// How many calls at once on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyOnConfig {
    /// Such as `2026-12-25`.
    pub date: String,
    pub limit: u32,
}

/// From when on a call is live. Whatever it is, a call that may come to be live has its place from
/// the attempt on, for else the limit could be passed by calls that are answered at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountFrom {
    /// From when its place is taken: before the INVITE, which may have to wait for its turn.
    Reservation,
    /// From the INVITE to the target.
    #[default]
    Invite,
    /// From the answer. A call that rings is told apart from those that are live.
    Answer,
}

/// Targets that have limits together. A target may be in several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetGroupConfig {
    pub id: SmolStr,
    pub targets: Vec<TargetId>,
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// Seconds between attempts at any of them, 1 to 86,400.
    #[serde(default)]
    pub min_gap_s: Option<u32>,
}

/// Limits on the calls that dial a number, whoever owns it and whichever pool lends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberLimitsConfig {
    /// `+18005550100`, or a range, `+18005550100-+18005550149`, whose numbers share the limits.
    pub number: SmolStr,
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Absent: as many at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
}

/// Caps on the calls that are of all those it names, of which there are two or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    #[serde(default)]
    pub publisher: Option<PublisherId>,
    #[serde(default)]
    pub campaign: Option<CampaignId>,
    #[serde(default)]
    pub buyer: Option<BuyerId>,
    #[serde(default)]
    pub target: Option<TargetId>,
    pub caps: Vec<CapConfig>,
}

impl FromStr for AssumedRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == LIVE {
            return Ok(Self::Live);
        }
        let share = text.parse().map(Self::Share);
        share.map_err(|_| {
            format!(
                "`{text}` is no rate: write \"{LIVE}\", or a share such as \"30%\", from 1% to 100%"
            )
        })
    }
}

impl fmt::Display for AssumedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Live => f.write_str(LIVE),
        }
    }
}

impl Serialize for AssumedRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssumedRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Metric {
    /// As in the configuration, such as `connected`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinged => "pinged",
            Self::Offered => "offered",
            Self::Attempted => "attempted",
            Self::Connected => "connected",
            Self::Converted => "converted",
            Self::Revenue => "revenue",
            Self::Payout => "payout",
            Self::Minutes => "minutes",
        }
    }
}

impl WindowKind {
    /// As in the configuration, such as `daily`.
    pub fn name(self) -> SmolStr {
        match self {
            Self::Minute => SmolStr::new_static("minute"),
            Self::Hourly => SmolStr::new_static("hourly"),
            Self::Daily => SmolStr::new_static("daily"),
            Self::Weekly => SmolStr::new_static("weekly"),
            Self::Monthly => SmolStr::new_static("monthly"),
            Self::Yearly => SmolStr::new_static("yearly"),
            Self::Total => SmolStr::new_static("total"),
            Self::Rolling(rolling) => rolling.name(),
            Self::Every(every) => every.name(),
            Self::Period(period) => period.name(),
        }
    }
}

impl FromStr for WindowKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        let rolling = || match Rolling::read(text) {
            Some((rolling, None)) => Some(Self::Rolling(rolling)),
            Some((_, Some(_))) | None => None,
        };
        let every = || Every::read(text).map(Self::Every);
        let period = || Period::read(text).map(Self::Period);
        named.or_else(rolling).or_else(every).or_else(period).ok_or_else(|| {
            let names = NAMED.map(|(name, _)| name).join(", ");
            let (least, most) = (Rolling::SECONDS.start(), Rolling::SECONDS.end());
            format!(
                "`{text}` is no window: write {names}, rolling:SECONDS with {least} to {most}, \
                 every:14d@2026-01-05 (or every:12h@2026-01-05T06:00), or \
                 period:2026-11-23/2026-11-30T18:00 (ten years at most)"
            )
        })
    }
}

impl Serialize for WindowKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for WindowKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
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
                let count = u32::try_from(count).map_err(|_| {
                    E::custom(format!("is more than is counted to; write {} or less", u32::MAX))
                })?;
                Ok(CapLimit::Count(count))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<CapLimit, E> {
                let count =
                    u64::try_from(count).map_err(|_| E::custom("is negative; write 1 or more"))?;
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
    fn a_window_has_a_name_rolls_over_so_many_seconds_or_begins_when_it_is_said() {
        let read = |text: &str| text.parse::<WindowKind>();
        for (name, kind) in NAMED {
            assert_eq!((read(name).unwrap(), kind.name().as_str()), (kind, name));
        }
        for name in ["rolling:3600", "every:14d@2026-01-05T06:00", "period:2026-11-23/2026-11-30"] {
            assert_eq!(read(name).unwrap().name(), name);
        }
        for wrong in ["fortnightly", "rolling", "rolling:59", "rolling:2678401", "rolling:60/1"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("daily, weekly") && error.contains("60 to 2678400"), "{error}");
            assert!(error.contains("every:14d@2026-01-05"), "{error}");
        }
    }

    #[test]
    fn an_assumed_rate_is_a_share_or_live() {
        for (text, rate) in
            [("30%", AssumedRate::Share(Percent(300_000))), ("live", AssumedRate::Live)]
        {
            assert_eq!(text.parse(), Ok(rate));
            assert_eq!(rate.to_string(), text);
        }
        for wrong in ["30", "Live", "", "101%"] {
            let error = wrong.parse::<AssumedRate>().unwrap_err();
            assert!(error.starts_with(&format!("`{wrong}` is no rate: write \"live\"")), "{error}");
        }
    }

    #[test]
    fn a_limit_is_a_number_or_an_amount_in_quotes() {
        let read = |text| serde_json::from_str::<CapLimit>(text);
        assert_eq!(read("80").unwrap(), CapLimit::Count(80));
        assert_eq!(read("\"6000.00\"").unwrap(), CapLimit::Money(Money(6_000_000_000)));
        for (wrong, says) in [
            ("6000.5", "an amount of money in quotes"),
            ("\"80 calls\"", "80 calls"),
            ("-1", "is negative; write 1 or more"),
            ("5000000000", "is more than is counted to; write 4294967295 or less"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
