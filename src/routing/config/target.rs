//! Where buyers take calls.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{BuyerId, TargetId};
use crate::money::Money;

use super::{
    CapConfig, CircuitConfig, ConcurrencyConfig, DedupeConfig, DialsConfig, FiltersConfig, NamedOr,
    PayDuplicates, ScheduleConfig, Setting, built_in,
};

/// Where a buyer takes calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    pub id: TargetId,
    pub buyer: BuyerId,
    #[serde(default)]
    pub name: String,
    /// Where it is called, or the ways in which it is, each a table.
    pub dial: DialsConfig,
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
    /// SIP final responses (300 to 699) after which it is called at its next address, or another way, as
    /// long as it has not rung; silence and nobody there always lead on. A trunk that a way goes over goes
    /// before it.
    #[serde(default = "built_in::next_way_on", skip_serializing_if = "Setting::is_inherited")]
    pub next_way_on: Setting<Vec<u16>>,
    /// Whether `ring_timeout_s` also ends an attempt that has shown progress (183, or early media).
    /// Else such a one rings on up to the campaign's `total_ring_budget_s`.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub ring_timeout_covers_progress: Setting<bool>,
    /// The longest an answered call lasts, 1 to 86,400 s.
    #[serde(default = "built_in::max_duration_s", skip_serializing_if = "Setting::is_inherited")]
    pub max_duration_s: Setting<u32>,
    #[serde(default)]
    pub paused: bool,
    /// When it takes calls, or the name of one of `schedules`. Absent: as its buyer says, else as
    /// `[defaults]` say, else always, and cap windows are those of the account's zone.
    #[serde(default)]
    pub schedule: Option<NamedOr<ScheduleConfig>>,
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
    /// Whether it owes for callers who have called before.
    #[serde(default, skip_serializing_if = "PayDuplicates::is_all")]
    pub dedupe: PayDuplicates,
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
