//! Whether and how caps may be passed.

use std::sync::Arc;

use super::Compiler;
use crate::routing::config::{
    AssumedRate, CapConfig, CapMode, Metric, PairConfig, Percent, WindowKind,
};
use crate::routing::hold::{Pace, PaceSteps, RATE_LEAST_PPM, WHOLE_PPM};
use crate::routing::performance::Scope;
use crate::routing::performance::rate::ComesTo;
use crate::routing::schedule::Schedule;
use crate::routing::snapshot::{LiveRate, Mode, PaceRate, Pacing};

/// How probable it may be that a limit is passed.
const MAX_OVER: [Percent; 6] = [
    Percent(1_000),
    Percent(5_000),
    ONE_PERCENT,
    Percent(20_000),
    Percent(50_000),
    Percent(100_000),
];
const ONE_PERCENT: Percent = Percent(10_000);

/// Whose calls the caps of `owner` count, such as `target/tgt_a`; `None`: nobody counts them together.
pub(super) fn scope_of(owner: &str) -> Option<Scope> {
    let (kind, id) = owner.split_once('/').unwrap_or((owner, ""));
    match kind {
        "target" => Some(Scope::Target(id.into())),
        "buyer" => Some(Scope::Buyer(id.into())),
        "campaign" => Some(Scope::Campaign(id.into())),
        "publisher" => Some(Scope::Publisher(id.into())),
        "account" => Some(Scope::All),
        _ => None,
    }
}

/// The same of a pair.
pub(super) fn scope_of_pair(pair: &PairConfig) -> Option<Scope> {
    // The buyer is that of the target.
    let target = pair.target.clone()?;
    match (pair.publisher.clone(), pair.campaign.clone()) {
        (None, None) => Some(Scope::Target(target)),
        (None, Some(campaign)) => Some(Scope::TargetCampaign(target, campaign)),
        (Some(publisher), Some(campaign)) => {
            Some(Scope::TargetPublisherCampaign(target, publisher, campaign))
        }
        (Some(_), None) => None,
    }
}

impl Compiler<'_> {
    pub(super) fn mode(
        &mut self,
        path: &str,
        config: &CapConfig,
        limit: u64,
        scope: Option<&Scope>,
        schedule: Option<&Arc<Schedule>>,
    ) -> Mode {
        if config.mode != CapMode::Paced {
            self.only_paced(path, config);
        }
        match config.mode {
            CapMode::Strict => Mode::Strict,
            CapMode::Soft => Mode::Soft,
            CapMode::Paced => {
                let rate = self.pace_rate(path, config, limit, scope);
                Mode::Paced(Pacing { rate, schedule: schedule.cloned() })
            }
        }
    }

    fn only_paced(&mut self, path: &str, config: &CapConfig) {
        let remedy = "write mode = \"paced\", or leave it out";
        let problem = "is only of a paced cap";
        if let Some(rate) = config.assumed_rate {
            self.fault(path, "assumed_rate", rate, problem, remedy);
        }
        if let Some(probability) = config.max_over_prob {
            self.fault(path, "max_over_prob", probability, problem, remedy);
        }
    }

    fn pace_rate(
        &mut self,
        path: &str,
        config: &CapConfig,
        limit: u64,
        scope: Option<&Scope>,
    ) -> PaceRate {
        if matches!(config.window, WindowKind::Total | WindowKind::Rolling(_)) {
            let remedy = "write a window that ends, such as daily, or another mode";
            self.fault(path, "mode", "paced", "needs a window that begins and ends", remedy);
        }
        let assumed = config.assumed_rate.unwrap_or(AssumedRate::Share(Percent::WHOLE));
        let comes_to = comes_to(config.metric);
        if config.assumed_rate.is_some() && comes_to.is_none() {
            let problem = "is only of calls that may come to be connected or converted";
            self.fault(path, "assumed_rate", assumed, problem, "leave it out");
        }
        if let AssumedRate::Share(rate) = assumed
            && rate.0 < RATE_LEAST_PPM
        {
            let problem = "lets in more calls than can be reckoned with";
            let remedy =
                "write the share of calls that come to count, 1% at least, such as \"30%\"";
            self.fault(path, "assumed_rate", rate, problem, remedy);
        }
        let probability = config.max_over_prob.unwrap_or(ONE_PERCENT);
        if config.max_over_prob.is_some() && config.assumed_rate.is_none() {
            let remedy = "add assumed_rate, or leave it out";
            self.fault(path, "max_over_prob", probability, "says nothing by itself", remedy);
        }
        let is_known = MAX_OVER.contains(&probability);
        if !is_known {
            let values = MAX_OVER.map(|known| known.to_string()).join(", ");
            let remedy = format!("write one of {values}");
            self.fault(path, "max_over_prob", probability, "is none of those there are", &remedy);
        }
        debug_assert_eq!(Percent::WHOLE.0, WHOLE_PPM);
        let certain = PaceRate::Assumed { rate_ppm: WHOLE_PPM, z_milli: 0 };
        match assumed {
            AssumedRate::Share(rate) => {
                let is_doubtful = is_known && (RATE_LEAST_PPM..WHOLE_PPM).contains(&rate.0);
                let z_milli = if is_doubtful { self.z_milli(rate, limit, probability) } else { 0 };
                PaceRate::Assumed { rate_ppm: rate.0, z_milli }
            }
            AssumedRate::Live => {
                let Some(scope) = scope.cloned() else {
                    let problem = "is not known of these: how calls went is counted of targets, buyers, \
                                   campaigns, publishers, the account, and targets for a campaign, of \
                                   one publisher or of all";
                    let remedy = "write the share of calls that come to count, such as \"30%\"";
                    self.fault(path, "assumed_rate", assumed, problem, remedy);
                    return certain;
                };
                let Some(comes_to) = comes_to.filter(|_| is_known) else { return certain };
                let steps = self.pace_steps(limit, probability);
                PaceRate::Live(Arc::new(LiveRate { scope, comes_to, steps }))
            }
        }
    }

    /// Caps of one kind are often on many targets.
    fn z_milli(&mut self, rate: Percent, limit: u64, probability: Percent) -> u32 {
        let limit = Pace::reckoned_limit(limit);
        let reckon = || Pace::z_milli_for(rate.0, limit, probability.0);
        *self.paces.entry((rate.0, limit, probability.0)).or_insert_with(reckon)
    }

    /// The same for each rate that may be measured.
    fn pace_steps(&mut self, limit: u64, probability: Percent) -> Arc<PaceSteps> {
        let limit = Pace::reckoned_limit(limit);
        let reckon = || Arc::new(PaceSteps::reckon(limit, probability.0));
        let steps = self.pace_steps.entry((limit, probability.0)).or_insert_with(reckon);
        Arc::clone(steps)
    }
}

/// What becomes of a call that is held for such a cap; `None`: no part of it is told apart.
fn comes_to(metric: Metric) -> Option<ComesTo> {
    match metric {
        Metric::Connected => Some(ComesTo::Connected),
        Metric::Converted => Some(ComesTo::Converted),
        Metric::Pinged
        | Metric::Offered
        | Metric::Attempted
        | Metric::Revenue
        | Metric::Payout
        | Metric::Minutes => None,
    }
}
