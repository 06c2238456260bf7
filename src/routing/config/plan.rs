//! Who may take the calls of campaigns, and in which order.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::TargetId;

use super::{DistributionConfig, built_in};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingPlanConfig {
    /// Of one in `plans`, which others name.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub id: SmolStr,
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
