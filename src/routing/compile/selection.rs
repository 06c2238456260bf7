//! How the targets of tiers share their calls.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::routing::config::{
    DistributionConfig, Otherwise, RoutingPlanConfig, ScoredConfig, Source, TierConfig,
};
use crate::routing::effective::TierSources;
use crate::routing::selection::{Distribution, ScoredRules};
use crate::routing::snapshot::{Campaign, Tier};
use crate::suggest::suggestion;

use super::{Compiler, WEEK_S};

const LOOKBACK_DAYS_MAX: u32 = 90;

impl Compiler<'_> {
    /// What a plan says of all its tiers.
    pub(super) fn plan_selection(&mut self, path: &str, plan: &RoutingPlanConfig) {
        self.within(path, "hold_share_s", plan.hold_share_s.unwrap_or(0), 0..=WEEK_S);
        self.distribution(path, plan.distribution.as_ref());
    }

    /// A tier without its members: what it says itself, else what its plan says, each field as
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
            distribution: self.ordered_by(path, distribution, hold_share_s),
            hold_share_ms: i64::from(hold_share_s) * 1_000,
            from: TierSources {
                distribution: said(config.distribution.is_some(), plan.distribution.is_some()),
                hold_share_s: said(config.hold_share_s.is_some(), plan.hold_share_s.is_some()),
            },
            members: vec![],
        }
    }

    fn ordered_by(
        &mut self,
        path: &str,
        config: Option<&DistributionConfig>,
        hold_share_s: u32,
    ) -> Distribution {
        let distribution = match config {
            None | Some(DistributionConfig::Smooth) => return Distribution::Smooth,
            Some(DistributionConfig::Random) => return Distribution::Random,
            Some(DistributionConfig::Performance(rules)) => {
                Distribution::Performance(Arc::new(rules.clone()))
            }
            Some(DistributionConfig::Scorer(rules)) => self.scored(rules),
        };
        if hold_share_s > 0 {
            let problem = "is for shares, and no target of this tier has one";
            let remedy = "write 0, or distribute the tier by smooth or random";
            self.fault(path, "hold_share_s", hold_share_s, problem, remedy);
        }
        distribution
    }

    /// A scorer that is not known is a fault of whoever named it first.
    fn scored(&mut self, rules: &ScoredConfig) -> Distribution {
        let otherwise = match rules.otherwise {
            Otherwise::Smooth => Distribution::Smooth,
            Otherwise::Random => Distribution::Random,
        };
        let Some(scorer) = self.scorers.get(&rules.scorer) else { return otherwise };
        Distribution::Scored(Arc::new(ScoredRules {
            scorer: Arc::clone(scorer),
            order: rules.order,
            times: rules.times,
            otherwise: Box::new(otherwise),
        }))
    }

    fn distribution(&mut self, path: &str, config: Option<&DistributionConfig>) {
        let path = format!("{path}.distribution");
        if let Some(DistributionConfig::Scorer(rules)) = config
            && !self.scorers.contains_key(&rules.scorer)
        {
            let remedy = match self.scorers.is_empty() {
                true => String::from("add it to `scorers`"),
                false => suggestion(&rules.scorer, self.scorers.keys().map(SmolStr::as_str)),
            };
            let problem = "names no scorer of this configuration";
            self.fault(&path, "scorer", &rules.scorer, problem, &remedy);
        }
        let Some(DistributionConfig::Performance(rules)) = config else { return };
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

/// By whom, of what a tier and its plan may say.
fn said(by_tier: bool, by_plan: bool) -> Source {
    match (by_tier, by_plan) {
        (true, _) => Source::Own,
        (false, true) => Source::Plan,
        (false, false) => Source::BuiltIn,
    }
}

/// How far back tiers that go by performance look, in days; `None`: none does.
pub(super) fn lookback_days(campaigns: &[Campaign]) -> Option<u32> {
    let tiers = campaigns.iter().flat_map(|campaign| campaign.tiers.iter());
    let days = tiers.filter_map(|tier| match &tier.distribution {
        Distribution::Performance(rules) => Some(rules.lookback_days),
        Distribution::Smooth | Distribution::Random | Distribution::Scored(_) => None,
    });
    days.max()
}
