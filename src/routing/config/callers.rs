//! What a caller has to be, and what its earlier calls mean (spec/domain §2.4, §2.8).

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use smol_str::SmolStr;

use crate::time::Wall;

/// Which callers a campaign takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallersConfig {
    pub anonymous: Anonymous,
    /// A caller who calls the same number again within so many seconds is refused, at most 3,600;
    /// 0: never. One without a number never is, whatever `anonymous` says. Default 2.
    pub repeat_after_s: u32,
    /// The weakest attestation (STIR/SHAKEN) that is taken. Absent: any, and failed ones too.
    pub min_attestation: Option<Attestation>,
    /// Of calls of which the carrier says nothing, if `min_attestation` is set.
    pub unattested: Unattested,
    /// Absent: no call is a duplicate.
    pub duplicates: Option<DuplicatesConfig>,
    /// Lists of callers whose calls it does not take, or alone takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<SmolStr>,
}

impl Default for CallersConfig {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Allow,
            repeat_after_s: 2,
            min_attestation: None,
            unattested: Unattested::Allow,
            duplicates: None,
            lists: vec![],
        }
    }
}

/// What becomes of a caller without a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anonymous {
    /// Taken, and never known again.
    #[default]
    Allow,
    Refuse,
    /// Taken, and all of a campaign's anonymous callers are one caller.
    AsOne,
}

/// How sure the carrier was of the caller's number; A is the surest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Attestation {
    C,
    B,
    A,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unattested {
    #[default]
    Allow,
    Refuse,
}

/// Which calls are duplicates, and where they go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicatesConfig {
    /// How far an earlier call must have come.
    #[serde(default)]
    pub mark_on: MarkOn,
    /// Of `mark_on = "talked"`: at least so many seconds.
    #[serde(default)]
    pub talk_s: u32,
    /// How long ago it may have been; by default 30 days.
    #[serde(default)]
    pub window_s: Span,
    #[serde(default)]
    pub within: DuplicatesWithin,
    #[serde(default)]
    pub route: DuplicateRoute,
    /// Whether `route` leaves no other way.
    #[serde(default)]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkOn {
    /// It came in.
    Incoming,
    /// A target answered it.
    #[default]
    Connected,
    /// It talked for `talk_s`.
    Talked,
    /// The buyer owed for it.
    Converted,
}

/// Which earlier calls count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicatesWithin {
    /// Those to the same number.
    Number,
    /// Those of the same campaign.
    #[default]
    Campaign,
    /// Those of the same publisher.
    Publisher,
    /// All.
    Account,
}

/// Where a duplicate goes. The original target is the last that the caller talked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateRoute {
    #[default]
    Normal,
    /// To the original target first; with `strict` to no other.
    Original,
    /// To the original target last; with `strict` not at all.
    Different,
}

/// Whom a buyer or a target does not take again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupeConfig {
    pub after: DedupeAfter,
    /// Whose earlier calls count. Default: of a buyer's rule those of the buyer, of a target's
    /// those of the target.
    #[serde(default)]
    pub by: Option<DedupeBy>,
    #[serde(default)]
    pub window_s: Span,
    #[serde(default)]
    pub campaigns: DedupeCampaigns,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupeAfter {
    /// Nobody is left out, whatever the buyer's rule says.
    #[default]
    Off,
    Connected,
    Converted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupeBy {
    /// Any target of the buyer.
    Buyer,
    Target,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupeCampaigns {
    /// Calls of the same campaign.
    #[default]
    Same,
    All,
}

/// Whether money is owed for a caller who has called before, in the same words for what publishers are
/// paid and what buyers owe (spec/domain §2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayDuplicates {
    pub policy: PayPolicy,
    /// Of `once_per`: how long after a call for which money was owed none is; by default 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<Span>,
    /// Which earlier calls count. Default: of `once_per` those of the same campaign for a payout, those
    /// of the same buyer for what it owes; of `never_pay_duplicates` those that the campaign's rule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<PayScope>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayPolicy {
    #[default]
    PayAll,
    /// Nothing for what the campaign's rule (`callers.duplicates`) marks as a duplicate.
    NeverPayDuplicates,
    /// Once for each caller in the window.
    OncePer,
}

/// Whose earlier calls count. A payout has no target and no buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayScope {
    /// Those that the same target answered.
    Target,
    /// Those that any target of the same buyer answered.
    Buyer,
    /// Those that the same publisher sent.
    Publisher,
    Campaign,
    /// All.
    Account,
}

impl PayDuplicates {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

impl PayPolicy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::PayAll => "pay_all",
            Self::NeverPayDuplicates => "never_pay_duplicates",
            Self::OncePer => "once_per",
        }
    }
}

impl PayScope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Buyer => "buyer",
            Self::Publisher => "publisher",
            Self::Campaign => "campaign",
            Self::Account => "account",
        }
    }
}

/// A length of time that may have no end. Written in seconds, or as `"forever"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Seconds(u32),
    Forever,
}

impl Span {
    const MONTH_S: u32 = 30 * 86_400;

    /// Whether `then` is no longer ago than this.
    pub fn reaches(self, then: Wall, now: Wall) -> bool {
        self.begins(now).is_none_or(|since| then >= since)
    }

    /// From when on calls have to be known: one may have been answered, or owed for, up to a day after
    /// it came in. `None`: from ever.
    pub fn keeps_from(self, now: Wall) -> Option<Wall> {
        self.begins(now).map(|since| Wall(since.0.saturating_sub(86_400_000)))
    }

    /// When it began that ends now; `None`: always.
    pub fn begins(self, now: Wall) -> Option<Wall> {
        match self {
            Self::Seconds(seconds) => Some(Wall(now.0.saturating_sub(i64::from(seconds) * 1_000))),
            Self::Forever => None,
        }
    }
}

/// 30 days (spec/domain §2.8).
impl Default for Span {
    fn default() -> Self {
        Self::Seconds(Self::MONTH_S)
    }
}

/// As people say it: `30 days`, `90 s`, `ever`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) if *seconds >= 86_400 && seconds % 86_400 == 0 => {
                let days = seconds / 86_400;
                write!(f, "{days} day{}", if days == 1 { "" } else { "s" })
            }
            Self::Seconds(seconds) => write!(f, "{seconds} s"),
            Self::Forever => f.write_str("ever"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => seconds.serialize(serializer),
            Self::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsOrForever;

        impl Visitor<'_> for SecondsOrForever {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or \"forever\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                match text {
                    "forever" => Ok(Span::Forever),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                u32::try_from(seconds).map(Span::Seconds).map_err(|_| {
                    E::custom(format!("is more than {} s; write \"forever\"", u32::MAX))
                })
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                let seconds = u64::try_from(seconds)
                    .map_err(|_| E::custom("is negative; write 0 or more, or \"forever\""))?;
                self.visit_u64(seconds)
            }
        }

        deserializer.deserialize_any(SecondsOrForever)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seconds_or_forever() {
        let read = |text| serde_json::from_str::<Span>(text);
        assert_eq!(read("90").unwrap(), Span::Seconds(90));
        assert_eq!(read("\"forever\"").unwrap(), Span::Forever);
        for (wrong, says) in [
            ("\"a month\"", "a number of seconds, or \"forever\""),
            ("-1", "is negative; write 0 or more"),
            ("5000000000", "write \"forever\""),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_span_reaches_back_to_its_beginning_and_no_further() {
        let now = Wall(100_000);
        assert!(Span::Seconds(90).reaches(Wall(10_000), now));
        assert!(!Span::Seconds(90).reaches(Wall(9_999), now));
        assert!(Span::Forever.reaches(Wall(0), now));
    }

    #[test]
    fn a_span_is_shown_in_days_where_it_has_whole_ones() {
        let shown = [Span::default(), Span::Seconds(86_400), Span::Seconds(90), Span::Forever];
        assert_eq!(shown.map(|span| span.to_string()), ["30 days", "1 day", "90 s", "ever"]);
    }
}
