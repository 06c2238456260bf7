//! Settings that may be written in more than one place, and where each value came from.
//!
//! One rule for all: what is written nearest to where it holds goes first. A trunk goes before the targets and
//! the campaigns whose calls go over it, a target before its buyer, a
//! tier before the plan it stands in, a number before its campaign, a publisher before a campaign in what
//! calls have to bring; each of them before `[defaults]`, and `[defaults]` before what is built in. A table
//! that is inherited is inherited whole. The time zone of a cap, of concurrency and of a schedule is its own, else that of the
//! schedule that holds for the target, else the account's, else UTC.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallersConfig, CircuitConfig, Confidence, DedupeConfig, NamedOr, PingFilter, QuotaConfig,
    RoutingConfig, ScheduleConfig,
};

/// A value, and who said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<T> {
    value: T,
    from: Source,
}

/// Where a value came from, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It is written where it holds: with the target, the campaign or the pool.
    Own,
    /// The trunk that a way to the target goes over.
    Trunk,
    /// The schedule that the target names.
    Schedule,
    /// The `routing` of a campaign, or one of `plans`: what it says of all its tiers.
    Plan,
    /// The target, of what is told for a campaign.
    Target,
    /// The pool that lends a number.
    Pool,
    /// The publisher, of what is told for a campaign.
    Publisher,
    /// The campaign, of what is told for one of its numbers.
    Campaign,
    /// The target's buyer.
    Buyer,
    /// The file of a trunk's carrier.
    Carrier,
    /// The section `[defaults]`.
    Defaults,
    /// The section `[account]`.
    Account,
    BuiltIn,
}

/// What holds where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_timeout_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_response_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pdd_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_way_on: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_timeout_covers_progress: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<NamedOr<ScheduleConfig>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<DedupeConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advance_on: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ring_budget_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_match_confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<CallersConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_ttl_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_browser_delay_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_pings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_filter: Option<PingFilter>,
    /// Of campaigns and publishers whose `price` does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_loss: Option<bool>,
}

impl<T> Setting<T> {
    pub fn built_in(value: T) -> Self {
        Self { value, from: Source::BuiltIn }
    }

    pub fn from(&self) -> Source {
        self.from
    }

    /// Whether it is written somewhere else, or nowhere.
    pub fn is_inherited(&self) -> bool {
        self.from != Source::Own
    }
}

impl<T: Clone> Setting<T> {
    /// Takes the value of the first who says one, unless it is written here.
    fn inherit<const N: usize>(&mut self, from: [(Source, Option<&T>); N]) {
        if self.from != Source::BuiltIn {
            return;
        }
        let said = from.into_iter().find_map(|(from, value)| Some((from, value?)));
        if let Some((from, value)) = said {
            *self = Self { value: value.clone(), from };
        }
    }
}

impl Source {
    /// As the API and people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Trunk => "trunk",
            Self::Schedule => "schedule",
            Self::Plan => "plan",
            Self::Target => "target",
            Self::Pool => "pool",
            Self::Publisher => "publisher",
            Self::Campaign => "campaign",
            Self::Buyer => "buyer",
            Self::Carrier => "carrier",
            Self::Defaults => "defaults",
            Self::Account => "account",
            Self::BuiltIn => "built_in",
        }
    }

    /// Of a table that the first of these says.
    pub(in crate::routing) fn of(own: bool, buyer: bool, defaults: bool) -> Self {
        match (own, buyer, defaults) {
            (true, _, _) => Self::Own,
            (false, true, _) => Self::Buyer,
            (false, false, true) => Self::Defaults,
            (false, false, false) => Self::BuiltIn,
        }
    }
}

impl RoutingConfig {
    /// Gives every setting that is not written where it holds the value of the nearest who says one.
    pub(in crate::routing) fn inherit(&mut self) {
        let Self { targets, buyers, campaigns, pools, publishers, defaults, .. } = self;
        let buyers: BTreeMap<_, _> = buyers.iter().map(|buyer| (&buyer.id, buyer)).collect();
        for target in targets {
            let buyer = buyers.get(&target.buyer);
            macro_rules! inherit {
                ($($setting:ident)*) => { $(
                    let of_buyer = buyer.and_then(|buyer| buyer.$setting.as_ref());
                    let of_all = defaults.$setting.as_ref();
                    target.$setting.inherit([(Source::Buyer, of_buyer), (Source::Defaults, of_all)]);
                )* };
            }
            inherit! {
                ring_timeout_s first_response_ms max_pdd_ms next_way_on
                ring_timeout_covers_progress max_duration_s
            }
        }
        macro_rules! inherit {
            ($of:ident: $($setting:ident)*) => { $(
                $of.$setting.inherit([(Source::Defaults, defaults.$setting.as_ref())]);
            )* };
        }
        for campaign in campaigns {
            inherit! {
                campaign: advance_on max_attempts total_ring_budget_s min_match_confidence callers
                ping_filter
            }
        }
        for pool in pools {
            inherit! { pool: session_ttl_s quarantine_s heartbeat_s closed_browser_delay_s }
        }
        for publisher in publishers {
            inherit! { publisher: quota strict_pings }
        }
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> Default for Setting<T> {
    fn default() -> Self {
        Self::built_in(T::default())
    }
}

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self { value, from: Source::Own })
    }
}
