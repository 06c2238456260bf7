//! The routing sections of the configuration, as they are written.
//!
//! Unknown fields are refused. What the fields mean together is checked by
//! [`RoutingSnapshot::compile`](super::snapshot::RoutingSnapshot::compile).

mod access;
mod account;
mod built_in;
mod callers;
mod campaign;
mod caps;
mod circuit;
mod custom;
mod dial;
mod dialect;
mod enricher;
mod filter;
mod history;
mod lists;
mod named;
mod no_route;
mod percent;
mod plan;
mod pool;
mod price;
mod quota;
mod schedule;
mod scorer;
mod selection;
mod setting;
mod target;
mod trunk;
mod values;
mod vertical;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{BuyerId, CampaignId, PublisherId};
use crate::money::Money;

pub use access::{BrowserConfig, PublisherKeyConfig};
pub use account::AccountConfig;
pub use callers::{
    Anonymous, Attestation, CallersConfig, DedupeAfter, DedupeBy, DedupeCampaigns, DedupeConfig,
    DuplicateRoute, DuplicatesConfig, DuplicatesWithin, MarkOn, PayDuplicates, PayPolicy, PayScope,
    Span, Unattested,
};
pub use campaign::{CampaignConfig, PingFilter, Recording, RecoveryConfig};
pub use caps::{
    AssumedRate, CapConfig, CapLimit, CapMode, ConcurrencyConfig, ConcurrencyOnConfig, CountFrom,
    CreditConfig, Metric, NumberLimitsConfig, OnFull, OnStoreDown, PairConfig, TargetGroupConfig,
    WindowKind,
};
pub use circuit::CircuitConfig;
pub use custom::{Every, Period, Step, minute};
pub use dial::{DialConfig, DialKind, DialsConfig, PeerTlsConfig};
pub use dialect::{Dialect, DialectConfig, SipUser};
pub use enricher::EnricherConfig;
pub use filter::{
    FilterConfig, FilterOp, FilterSetConfig, FiltersConfig, GroupConfig, OnMissing, SetConfig,
    SetKind,
};
pub use history::HistoryConfig;
pub use lists::{
    CallerEntry, CallerListConfig, ListCategory, ListHash, ListKind, NumberForm, SecretKey,
};
pub use named::NamedOr;
pub use no_route::{NoRouteActionConfig, NoRouteConfig};
pub use percent::Percent;
pub use plan::{Ring, RoutingPlanConfig, TierConfig, TierTargetConfig};
pub use pool::PoolConfig;
pub use price::{HourlyFloorConfig, MarginConfig, PriceConfig};
pub use quota::{DeliveryConfig, QuotaConfig};
pub use schedule::{BreakConfig, Day, ExceptionConfig, HoursConfig, ScheduleConfig};
pub use scorer::{Otherwise, ScoreTimes, ScoredConfig, ScorerConfig, ScorerKind};
pub use selection::{CountAttempts, DistributionConfig, PerformanceConfig, Ranking};
pub use setting::{DefaultsConfig, Setting, Source};
pub use target::{ConversionConfig, ConversionEvent, ConversionStart, TargetConfig};
pub use trunk::TrunkConfig;
pub use values::{Confidence, FilterValue, NumberConfig};
pub use vertical::{TagConfig, TagKind, UnknownTags, VerticalConfig};

/// Everything that decides who gets a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    pub account: AccountConfig,
    pub publishers: Vec<PublisherConfig>,
    pub buyers: Vec<BuyerConfig>,
    pub targets: Vec<TargetConfig>,
    pub campaigns: Vec<CampaignConfig>,
    pub pools: Vec<PoolConfig>,
    pub groups: Vec<TargetGroupConfig>,
    pub pairs: Vec<PairConfig>,
    /// Limits of single numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumberLimitsConfig>,
    pub trunks: Vec<TrunkConfig>,
    /// Lists that filters name.
    pub sets: Vec<SetConfig>,
    /// Filters that several targets have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_sets: Vec<FilterSetConfig>,
    /// Hours that several targets have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleConfig>,
    /// Tiers of targets that several campaigns have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<RoutingPlanConfig>,
    /// What holds for targets, campaigns and pools that say nothing else.
    pub defaults: DefaultsConfig,
    /// Callers whom rules name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caller_lists: Vec<CallerListConfig>,
    #[serde(skip_serializing_if = "HistoryConfig::is_built_in")]
    pub history: HistoryConfig,
    pub geo: GeoConfig,
    /// Models that rank targets.
    pub scorers: Vec<ScorerConfig>,
    /// Who is asked about callers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enrichers: Vec<EnricherConfig>,
    pub verticals: Vec<VerticalConfig>,
    /// Publishers whose pings come as another platform has them. Kept nowhere.
    #[serde(skip_serializing)]
    pub dialects: Vec<DialectConfig>,
    /// What stands in [`RoutingConfig::files`], or why it cannot be read. Whoever has read the
    /// configuration reads them too.
    #[serde(skip)]
    pub texts: BTreeMap<PathBuf, Result<String, String>>,
    /// What the environment holds under [`RoutingConfig::key_names`], from the same hand.
    #[serde(skip)]
    pub keys: BTreeMap<SmolStr, SecretKey>,
    /// It was kept with a revision, and so without the callers of its lists, and records of lines.
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
        let of_lists = self.caller_lists.iter().filter_map(|list| list.file.as_deref());
        of_lists.chain(self.geo.line_records.as_deref())
    }

    /// The URLs that are asked, each with the field it stands in.
    pub fn urls(&self) -> impl Iterator<Item = (String, &str)> {
        let of_scorers = self.scorers.iter().enumerate();
        let of_scorers = of_scorers
            .filter_map(|(n, scorer)| Some((format!("scorers[{n}].url"), scorer.url.as_deref()?)));
        let of_enrichers = self.enrichers.iter().enumerate();
        let of_enrichers =
            of_enrichers.map(|(n, it)| (format!("enrichers[{n}].url"), it.url.as_str()));
        of_scorers.chain(of_enrichers)
    }

    /// The variables of the environment that hold keys.
    pub fn key_names(&self) -> impl Iterator<Item = &SmolStr> {
        let of_lists = self.caller_lists.iter().filter_map(|list| list.key_env.as_ref());
        let of_publishers = self.publishers.iter().flat_map(|publisher| &publisher.keys);
        let of_publishers = of_publishers.filter_map(|key| key.key_env.as_ref());
        let of_dialects = self.dialects.iter().filter_map(|dialect| dialect.key_env.as_ref());
        let of_enrichers = self.enrichers.iter();
        let of_enrichers = of_enrichers.flat_map(|it| it.key_env.iter().chain(&it.token_env));
        of_lists.chain(of_publishers).chain(of_dialects).chain(of_enrichers)
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
    /// What is on record of single lines: comma-separated values with the column `number` (ten digits, or
    /// the first seven of a block of a thousand numbers) and any of `state`, `zip`, `time_zone`, `country`
    /// and `line_type`, named in the first line. Kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_records: Option<PathBuf>,
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
    /// How many pings it may send.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub quota: Setting<QuotaConfig>,
    /// Whether pings with fields that are not known here are refused, where they do not say themselves.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub strict_pings: Setting<bool>,
    /// By which it sends pings. Kept nowhere.
    #[serde(default, skip_serializing)]
    pub keys: Vec<PublisherKeyConfig>,
    /// Its web pages that may open sessions. Absent: none.
    #[serde(default, skip_serializing)]
    pub browser: Option<BrowserConfig>,
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
    /// Whether it is paid for callers who have called before.
    #[serde(default, skip_serializing_if = "PayDuplicates::is_all")]
    pub dedupe: PayDuplicates,
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
    /// When its targets take calls that do not say it themselves, or the name of one of `schedules`; else
    /// as `[defaults]` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<NamedOr<ScheduleConfig>>,
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
    pub next_way_on: Option<Vec<u16>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused() {
        let error =
            toml::from_str::<RoutingConfig>("[[buyers]]\nid = \"b\"\nkredit = 5").unwrap_err();
        assert!(error.to_string().contains("kredit"), "{error}");
    }
}
