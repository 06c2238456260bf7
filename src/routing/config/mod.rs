//! The routing sections of the configuration, as they are written.
//!
//! Unknown fields are refused. What the fields mean together is checked by
//! [`RoutingSnapshot::compile`](super::snapshot::RoutingSnapshot::compile).

mod callers;
mod caps;
mod circuit;
mod filter;
mod lists;
mod percent;
mod price;
mod scorer;
mod selection;
mod setting;
mod trunk;
mod values;
mod vertical;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{BuyerId, CampaignId, PoolId, PublisherId, TargetId};
use crate::money::Money;
use crate::phone::PhoneNumber;

pub use callers::{
    Anonymous, Attestation, CallersConfig, DedupeAfter, DedupeBy, DedupeCampaigns, DedupeConfig,
    DuplicateRoute, DuplicatesConfig, DuplicatesWithin, MarkOn, PayDuplicates, Span, Unattested,
};
pub use caps::{
    CapConfig, CapLimit, CapMode, ConcurrencyConfig, ConcurrencyOnConfig, CountFrom, CreditConfig,
    Metric, OnFull, OnStoreDown, PairConfig, TargetGroupConfig, WindowKind,
};
pub use circuit::CircuitConfig;
pub use filter::{
    FilterConfig, FilterOp, FiltersConfig, GroupConfig, OnMissing, SetConfig, SetKind,
};
pub use lists::{
    CallerEntry, CallerListConfig, ListCategory, ListHash, ListKey, ListKind, NumberForm,
};
pub use percent::Percent;
pub use price::{HourlyFloorConfig, MarginConfig, PriceConfig};
pub use scorer::{Otherwise, ScoreTimes, ScoredConfig, ScorerConfig, ScorerKind};
pub use selection::{CountAttempts, DistributionConfig, PerformanceConfig, Ranking};
pub use setting::{DefaultsConfig, Setting, Source};
pub use trunk::TrunkConfig;
pub use values::{Confidence, FilterValue, NumberConfig};
pub use vertical::{TagConfig, TagKind, UnknownTags, VerticalConfig};

/// Everything that decides who gets a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    pub publishers: Vec<PublisherConfig>,
    pub buyers: Vec<BuyerConfig>,
    pub targets: Vec<TargetConfig>,
    pub campaigns: Vec<CampaignConfig>,
    pub pools: Vec<PoolConfig>,
    pub groups: Vec<TargetGroupConfig>,
    pub pairs: Vec<PairConfig>,
    pub trunks: Vec<TrunkConfig>,
    /// Lists that filters name.
    pub sets: Vec<SetConfig>,
    /// What holds for targets, campaigns and pools that say nothing else.
    pub defaults: DefaultsConfig,
    /// Callers whom rules name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caller_lists: Vec<CallerListConfig>,
    pub geo: GeoConfig,
    /// Models that rank targets.
    pub scorers: Vec<ScorerConfig>,
    pub verticals: Vec<VerticalConfig>,
    /// What stands in [`RoutingConfig::files`], or why it cannot be read. Whoever has read the
    /// configuration reads them too.
    #[serde(skip)]
    pub texts: BTreeMap<PathBuf, Result<String, String>>,
    /// What the environment holds under [`RoutingConfig::key_names`], from the same hand.
    #[serde(skip)]
    pub keys: BTreeMap<SmolStr, ListKey>,
    /// It was kept with a revision, and so without the callers of its lists.
    #[serde(skip)]
    pub is_kept: bool,
}

impl RoutingConfig {
    /// The files that the configuration names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_sets = self.sets.iter().filter_map(|set| set.file.as_deref());
        let of_scorers = self.scorers.iter().filter_map(|scorer| scorer.file.as_deref());
        let kept = of_sets.chain(self.geo.file.as_deref()).chain(of_scorers);
        kept.chain(self.files_of_callers())
    }

    /// Those that hold callers, and are not kept.
    pub fn files_of_callers(&self) -> impl Iterator<Item = &Path> {
        self.caller_lists.iter().filter_map(|list| list.file.as_deref())
    }

    /// The variables of the environment that hold keys.
    pub fn key_names(&self) -> impl Iterator<Item = &SmolStr> {
        self.caller_lists.iter().filter_map(|list| list.key_env.as_ref())
    }
}

/// Where numbers are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoConfig {
    /// Comma-separated values with the columns `prefix` (area code, or area code and exchange),
    /// `state`, `time_zone` and, if wanted, `zip` and `country`, named in the first line. They go
    /// before what is built in. A relative path starts at the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// Something in the configuration that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} = {value}: {problem}; {remedy}")]
pub struct ConfigFault {
    /// Where, such as `targets[2].schedule.time_zone`.
    pub path: String,
    /// What stands there.
    pub value: String,
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// Who sends callers and is paid for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    pub id: PublisherId,
    #[serde(default)]
    pub name: String,
    /// A paused publisher's calls are refused with `gate.publisher_paused`.
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub payouts: Vec<PayoutConfig>,
    /// On all its calls together.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Of all its calls. Absent: as many at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// What targets have to bring to be offered its calls.
    #[serde(default)]
    pub price: Option<PriceConfig>,
}

/// What a publisher is paid for a converted call of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayoutConfig {
    pub campaign: CampaignId,
    #[serde(default)]
    pub model: PayoutModel,
    pub amount: Money,
    /// Seconds after the answer at which the payout is owed. Absent: when the call converts for
    /// the buyer.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// Whether it is paid for duplicates.
    #[serde(default)]
    pub duplicates: PayDuplicates,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutModel {
    /// The same amount for every converted call.
    #[default]
    Fixed,
}

/// Who pays for calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuyerConfig {
    pub id: BuyerId,
    #[serde(default)]
    pub name: String,
    /// On the calls of all its targets together.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Of the calls of all its targets. Absent: as many at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// How much it may owe beyond what it has deposited. Absent: any amount.
    #[serde(default)]
    pub credit: Option<CreditConfig>,
    /// Seconds between attempts at any of its targets, 1 to 86,400.
    #[serde(default)]
    pub min_gap_s: Option<u32>,
    /// Which callers its targets do not take again.
    #[serde(default)]
    pub dedupe: Option<DedupeConfig>,
    /// Of its targets, where they do not say it themselves; else as `[defaults]` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_timeout_s: Option<u32>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_response_ms: Option<u32>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pdd_ms: Option<u32>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_timeout_covers_progress: Option<bool>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_s: Option<u32>,
    /// Lists of callers whom its targets do not take, or alone take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<SmolStr>,
    /// When its targets are taken out for how their calls go.
    #[serde(default)]
    pub circuit: Option<CircuitConfig>,
}

/// Where a buyer takes calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    pub id: TargetId,
    pub buyer: BuyerId,
    #[serde(default)]
    pub name: String,
    pub dial: DialConfig,
    /// How long it may ring, 1 to 300 s.
    #[serde(default = "built_in::ring_timeout_s", skip_serializing_if = "Setting::is_inherited")]
    pub ring_timeout_s: Setting<u32>,
    /// How long it may give no sign of life at all before it counts as dead, 100 to 32,000 ms.
    #[serde(
        default = "built_in::first_response_ms",
        skip_serializing_if = "Setting::is_inherited"
    )]
    pub first_response_ms: Setting<u32>,
    /// How long it may take until it rings, however soon it has taken the INVITE (its post-dial
    /// delay), 500 to 120,000 ms. Then its next address is tried, or the next target.
    #[serde(default = "built_in::max_pdd_ms", skip_serializing_if = "Setting::is_inherited")]
    pub max_pdd_ms: Setting<u32>,
    /// Whether `ring_timeout_s` also ends an attempt that has shown progress (183, or early media).
    /// Else such a one rings on up to the campaign's `total_ring_budget_s`.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub ring_timeout_covers_progress: Setting<bool>,
    /// The longest an answered call lasts, 1 to 86,400 s.
    #[serde(default = "built_in::max_duration_s", skip_serializing_if = "Setting::is_inherited")]
    pub max_duration_s: Setting<u32>,
    #[serde(default)]
    pub paused: bool,
    /// Absent: always open, and cap windows are those of UTC.
    #[serde(default)]
    pub schedule: Option<ScheduleConfig>,
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Absent: as many calls at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// Seconds between attempts, 1 to 86,400.
    #[serde(default)]
    pub min_gap_s: Option<u32>,
    #[serde(default)]
    pub filters: FiltersConfig,
    /// Which callers it does not take again; goes before what its buyer says.
    #[serde(default)]
    pub dedupe: Option<DedupeConfig>,
    /// Lists of callers, besides those of its buyer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<SmolStr>,
    /// When it is taken out for how its calls go; goes before what its buyer says. Absent: as where
    /// every field of the table is absent.
    #[serde(default)]
    pub circuit: Option<CircuitConfig>,
    /// Absent: the buyer owes nothing for a call.
    #[serde(default)]
    pub conversion: Option<ConversionConfig>,
    /// What is agreed about its leg, such as session timers. No matter of routing: whoever dials
    /// reads it.
    #[serde(default)]
    pub dialog: serde_json::Map<String, serde_json::Value>,
    /// How the SIP side speaks to it; of no interest to routing, and read elsewhere.
    #[serde(default, skip_serializing)]
    pub sip: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialConfig {
    pub kind: DialKind,
    /// A SIP URI. `{number}` in the user part becomes the dialled number in E.164; a URI without a
    /// user part gets the dialled number as its user part.
    pub uri: String,
    /// How the target proves who it is, if the URI leads over TLS.
    #[serde(default)]
    pub tls: DialTlsConfig,
}

/// What a TLS connection to a target takes. Its certificate always has to name the host of the URI,
/// unless `verify` is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialTlsConfig {
    /// Whether chain and name are checked. Default: yes.
    pub verify: bool,
    /// PEM file of authorities besides those of the system.
    pub extra_ca: Option<PathBuf>,
    /// SHA-256 of public keys, hexadecimal, of which its certificate has to have one.
    pub pins: Vec<SmolStr>,
    /// PEM files of the chain we show and of its key; both or neither.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Default for DialTlsConfig {
    fn default() -> Self {
        let (extra_ca, client_cert, client_key) = (None, None, None);
        Self { verify: true, extra_ca, pins: Vec::new(), client_cert, client_key }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialKind {
    Sip,
}

/// When a target takes calls. Times are those of a clock on the wall in `time_zone`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// An IANA name such as `America/New_York`.
    pub time_zone: String,
    #[serde(default)]
    pub always_open: bool,
    #[serde(default)]
    pub hours: Vec<HoursConfig>,
    /// Dates (`2026-12-25`) closed from midnight to midnight.
    #[serde(default)]
    pub holidays: Vec<String>,
    /// Days with hours of their own, in place of those of the week and of any that reach over from the
    /// day before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ExceptionConfig>,
    /// No call is offered when the target closes within this many seconds.
    #[serde(default)]
    pub stop_before_close_s: u32,
}

/// One opening. `close` may be `24:00`; at or before `open` it is on the next day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoursConfig {
    pub day: Day,
    /// `HH:MM`.
    pub open: String,
    pub close: String,
    #[serde(default)]
    pub breaks: Vec<BreakConfig>,
}

/// An opening of one day, `HH:MM` each; `close` may be `24:00`. A day may have several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionConfig {
    /// Such as `2026-11-27`.
    pub date: String,
    pub open: String,
    pub close: String,
}

/// A pause within an opening, `HH:MM` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakConfig {
    pub start: String,
    pub end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// When a buyer owes for a call, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionConfig {
    #[serde(default)]
    pub on: ConversionEvent,
    #[serde(default)]
    pub start: ConversionStart,
    /// The call converts when it is still up this many seconds after its start.
    pub seconds: u32,
    pub revenue: Money,
    /// Whether it owes for duplicates.
    #[serde(default)]
    pub duplicates: PayDuplicates,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversionEvent {
    #[default]
    CallLength,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversionStart {
    #[default]
    OnAnswer,
}

/// What is advertised, and who may take the calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignConfig {
    pub id: CampaignId,
    #[serde(default)]
    pub name: String,
    /// Whose the numbers are that name no publisher themselves.
    #[serde(default)]
    pub publisher: Option<PublisherId>,
    /// What its pings may and must say. Absent: anything.
    #[serde(default)]
    pub vertical: Option<SmolStr>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub numbers: Vec<NumberConfig>,
    pub routing: RoutingPlanConfig,
    /// SIP final responses (300 to 699) after which the next target is tried; any other ends the
    /// hunt. Ring time-out and a dead target always go on.
    #[serde(default = "built_in::advance_on", skip_serializing_if = "Setting::is_inherited")]
    pub advance_on: Setting<Vec<u16>>,
    /// How many targets are tried at most, 1 to 20.
    #[serde(default = "built_in::max_attempts", skip_serializing_if = "Setting::is_inherited")]
    pub max_attempts: Setting<u16>,
    /// How long the caller hears ringing over all attempts, 1 to 600 s.
    #[serde(
        default = "built_in::total_ring_budget_s",
        skip_serializing_if = "Setting::is_inherited"
    )]
    pub total_ring_budget_s: Setting<u32>,
    /// Absent: a target that hangs up ends the call, however soon it does.
    #[serde(default)]
    pub recovery: Option<RecoveryConfig>,
    /// A session matched with less confidence than this is not used, 0 to 1.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub min_match_confidence: Setting<Confidence>,
    #[serde(default)]
    pub recording: Recording,
    /// On all its calls together.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Of all its calls. Absent: as many at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// Which callers it takes.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub callers: Setting<CallersConfig>,
    /// What targets have to bring to be offered its calls.
    #[serde(default)]
    pub price: Option<PriceConfig>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    #[default]
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingPlanConfig {
    pub tiers: Vec<TierConfig>,
    /// Of tiers that do not say it themselves. Absent: `smooth`.
    #[serde(default)]
    pub distribution: Option<DistributionConfig>,
    /// Of tiers that do not say it themselves. Absent: shares are not held.
    #[serde(default)]
    pub hold_share_s: Option<u32>,
}

/// Targets that share the calls by weight. The next tier is tried when this one has none left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierConfig {
    /// Lower first; negative allowed.
    #[serde(default = "built_in::tier")]
    pub tier: i32,
    #[serde(default)]
    pub ring: Ring,
    /// By what its targets are put in order. Absent: as the campaign's `routing` says.
    #[serde(default)]
    pub distribution: Option<DistributionConfig>,
    /// How long the share of a target that can take no call is kept from the others of the tier,
    /// 0 to 604,800 s: calls whose turn is its go to the next tier, and to the others only for want
    /// of one. 0: the others share its calls at once. Absent: as the campaign's `routing` says.
    #[serde(default)]
    pub hold_share_s: Option<u32>,
    pub targets: Vec<TierTargetConfig>,
}

/// How the targets of a tier are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// One after the other.
    #[default]
    Serial,
    /// All at the same time; the first to answer has the call.
    Parallel,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierTargetConfig {
    pub target: TargetId,
    /// 0 to 1,000; 0 drains the target.
    #[serde(default = "built_in::weight")]
    pub weight: u32,
}

/// When a target that answered and hung up is followed by the next one of the plan. The caller stays
/// answered, hears nothing while that one rings, and is connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// How soon after the answer it has to hang up, 1 to 60 s; sooner than anything is owed for the
    /// call in any case.
    pub within_s: u32,
    /// How often in one call, 1 to 5.
    pub max: u8,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self { within_s: 15, max: 2 }
    }
}

/// Numbers lent to sessions of one campaign and publisher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    pub id: PoolId,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub numbers: Vec<PhoneNumber>,
    /// How long a session keeps its number without a sign of life, 1 to 604,800 s.
    #[serde(default = "built_in::session_ttl_s", skip_serializing_if = "Setting::is_inherited")]
    pub session_ttl_s: Setting<u32>,
    /// How long a returned number rests before it is lent again, at most 604,800 s.
    #[serde(default = "built_in::quarantine_s", skip_serializing_if = "Setting::is_inherited")]
    pub quarantine_s: Setting<u32>,
}

/// What a field is when it is not written (spec/domain §2.3, §2.5, §2.11).
mod built_in {
    use super::Setting;

    pub(super) fn ring_timeout_s() -> Setting<u32> {
        Setting::built_in(30)
    }

    pub(super) fn first_response_ms() -> Setting<u32> {
        Setting::built_in(1_500)
    }

    pub(super) fn max_pdd_ms() -> Setting<u32> {
        Setting::built_in(8_000)
    }

    pub(super) fn max_duration_s() -> Setting<u32> {
        Setting::built_in(14_400)
    }

    pub(super) fn advance_on() -> Setting<Vec<u16>> {
        Setting::built_in(vec![403, 404, 408, 480, 486, 500, 502, 503, 504, 600, 603])
    }

    pub(super) fn max_attempts() -> Setting<u16> {
        Setting::built_in(3)
    }

    pub(super) fn total_ring_budget_s() -> Setting<u32> {
        Setting::built_in(60)
    }

    pub(super) fn tier() -> i32 {
        1
    }

    pub(super) fn weight() -> u32 {
        100
    }

    pub(super) fn session_ttl_s() -> Setting<u32> {
        Setting::built_in(1_800)
    }

    pub(super) fn quarantine_s() -> Setting<u32> {
        Setting::built_in(900)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused() {
        let error =
            toml::from_str::<RoutingConfig>("[[buyers]]\nid = \"b\"\nkredit = 5").unwrap_err();
        assert!(error.to_string().contains("kredit"), "{error}");
    }

    #[test]
    fn a_number_names_its_publisher_or_leaves_it_to_the_campaign() {
        let campaign: CampaignConfig = toml::from_str(
            r#"
            id = "c"
            numbers = ["+18005550100-+18005550149", { number = "+18005550199", publisher = "p" }]
            routing = { tiers = [{ targets = [{ target = "t" }] }] }
            min_match_confidence = 0.95
            "#,
        )
        .unwrap();

        assert_eq!(
            campaign.numbers,
            [
                NumberConfig { number: "+18005550100-+18005550149".into(), publisher: None },
                NumberConfig { number: "+18005550199".into(), publisher: Some("p".into()) },
            ]
        );
        assert_eq!(*campaign.min_match_confidence, Confidence(95));
        assert_eq!(campaign.routing.tiers[0].targets[0].weight, 100);
    }
}
