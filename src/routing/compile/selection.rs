//! How the targets of tiers share their calls.

use std::sync::Arc;

use crate::routing::config::{DistributionConfig, RoutingPlanConfig, TierConfig};
use crate::routing::selection::Distribution;
use crate::routing::snapshot::{Campaign, Tier};

use super::{Compiler, WEEK_S};

const LOOKBACK_DAYS_MAX: u32 = 90;

impl Compiler<'_> {
    /// What a campaign says of all its tiers.
    pub(super) fn plan_selection(&mut self, path: &str, plan: &RoutingPlanConfig) {
        self.within(path, "hold_share_s", plan.hold_share_s.unwrap_or(0), 0..=WEEK_S);
        self.distribution(path, plan.distribution.as_ref());
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
        self.distribution(path, config.distribution.as_ref());
        let hold_share_s = config.hold_share_s.or(plan.hold_share_s).unwrap_or(0);
        let distribution = config.distribution.as_ref().or(plan.distribution.as_ref());
        Tier {
            tier: config.tier,
            ring: config.ring,
            distribution: match distribution {
                None | Some(DistributionConfig::Smooth) => Distribution::Smooth,
                Some(DistributionConfig::Random) => Distribution::Random,
                Some(DistributionConfig::Performance(rules)) => {
                    if hold_share_s > 0 {
                        let problem = "is for shares, and by performance none has a share";
                        let remedy = "write 0, or distribute the tier by smooth or random";
                        self.fault(path, "hold_share_s", hold_share_s, problem, remedy);
                    }
                    Distribution::Performance(Arc::new(rules.clone()))
                }
            },
            hold_share_ms: i64::from(hold_share_s) * 1_000,
            members: vec![],
        }
    }

    fn distribution(&mut self, path: &str, config: Option<&DistributionConfig>) {
        let Some(DistributionConfig::Performance(rules)) = config else { return };
        let path = format!("{path}.distribution");
        for (field, value, range) in [
            ("min_calls", rules.min_calls, 1..=100_000),
            ("desired_calls", rules.desired_calls, 0..=1_000_000),
            ("lookback_days", rules.lookback_days, 1..=LOOKBACK_DAYS_MAX),
            ("exploration_pct", rules.exploration_pct, 0..=100),
            ("default_connect_pct", rules.default_connect_pct, 0..=100),
            ("default_convert_pct", rules.default_convert_pct, 0..=100),
            ("default_calls", rules.default_calls, 0..=100_000),
            ("new_bonus_pct", rules.new_bonus_pct, 0..=1_000),
            ("behind_bonus_pct", rules.behind_bonus_pct, 0..=1_000),
        ] {
            self.within(&path, field, value, range);
        }
        if let Some(daily) = rules.exploration_daily.filter(|daily| daily.0 < 0) {
            let remedy = "write 0.00 or more";
            self.fault(&path, "exploration_daily", daily, "is negative", remedy);
        }
        if rules.track_by.is_empty() {
            let remedy = "name a scope such as target, or leave it out for all";
            self.fault(&path, "track_by", "[]", "tracks nothing", remedy);
        }
    }
}

/// How far back tiers that go by performance look, in days; `None`: none does.
pub(super) fn lookback_days(campaigns: &[Campaign]) -> Option<u32> {
    let tiers = campaigns.iter().flat_map(|campaign| &campaign.tiers);
    let days = tiers.filter_map(|tier| match &tier.distribution {
        Distribution::Performance(rules) => Some(rules.lookback_days),
        Distribution::Smooth | Distribution::Random => None,
    });
    days.max()
}
