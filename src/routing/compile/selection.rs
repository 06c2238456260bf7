//! How the targets of tiers share their calls.

use crate::routing::config::{DistributionConfig, RoutingPlanConfig, TierConfig};
use crate::routing::selection::Distribution;
use crate::routing::snapshot::Tier;

use super::{Compiler, WEEK_S};

impl Compiler<'_> {
    /// What a campaign says of all its tiers.
    pub(super) fn plan_selection(&mut self, path: &str, plan: &RoutingPlanConfig) {
        self.within(path, "hold_share_s", plan.hold_share_s.unwrap_or(0), 0..=WEEK_S);
    }

    /// A tier without its members: what it says itself, else what its campaign says, each field as
    /// a whole.
    pub(super) fn tier_selection(
        &mut self,
        path: &str,
        config: &TierConfig,
        plan: &RoutingPlanConfig,
    ) -> Tier {
        self.within(path, "hold_share_s", config.hold_share_s.unwrap_or(0), 0..=WEEK_S);
        let hold_share_s = config.hold_share_s.or(plan.hold_share_s).unwrap_or(0);
        let distribution = config.distribution.as_ref().or(plan.distribution.as_ref());
        Tier {
            tier: config.tier,
            ring: config.ring,
            distribution: match distribution {
                None | Some(DistributionConfig::Smooth) => Distribution::Smooth,
                Some(DistributionConfig::Random) => Distribution::Random,
            },
            hold_share_ms: i64::from(hold_share_s) * 1_000,
            members: vec![],
        }
    }
}
