//! Whether and how caps may be passed.

use super::Compiler;
use std::sync::Arc;

use crate::routing::config::{CapConfig, CapMode, Metric, Percent, WindowKind};
use crate::routing::hold::{Pace, RATE_LEAST_PPM, WHOLE_PPM};
use crate::routing::schedule::Schedule;
use crate::routing::snapshot::{Mode, Pacing};

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

impl Compiler<'_> {
    pub(super) fn mode(
        &mut self,
        path: &str,
        config: &CapConfig,
        limit: u64,
        schedule: Option<&Arc<Schedule>>,
    ) -> Mode {
        if config.mode != CapMode::Paced {
            self.only_paced(path, config);
        }
        match config.mode {
            CapMode::Strict => Mode::Strict,
            CapMode::Soft => Mode::Soft,
            CapMode::Paced => Mode::Paced(self.pacing(path, config, limit, schedule)),
        }
    }

    fn only_paced(&mut self, path: &str, config: &CapConfig) {
        let remedy = "write mode = \"paced\", or leave it out";
        let shares =
            [("assumed_rate", config.assumed_rate), ("max_over_prob", config.max_over_prob)];
        for (field, share) in shares {
            if let Some(share) = share {
                self.fault(path, field, share, "is only of a paced cap", remedy);
            }
        }
    }

    fn pacing(
        &mut self,
        path: &str,
        config: &CapConfig,
        limit: u64,
        schedule: Option<&Arc<Schedule>>,
    ) -> Pacing {
        if matches!(config.window, WindowKind::Total | WindowKind::Rolling(_)) {
            let remedy = "write a window that ends, such as daily, or another mode";
            self.fault(path, "mode", "paced", "needs a window that begins and ends", remedy);
        }
        let rate = config.assumed_rate.unwrap_or(Percent::WHOLE);
        if config.assumed_rate.is_some()
            && !matches!(config.metric, Metric::Connected | Metric::Converted)
        {
            let problem = "is only of calls that may come to be connected or converted";
            self.fault(path, "assumed_rate", rate, problem, "leave it out");
        }
        if rate.0 < RATE_LEAST_PPM {
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
        let is_doubtful = is_known && (RATE_LEAST_PPM..WHOLE_PPM).contains(&rate.0);
        let z_milli = if is_doubtful { self.z_milli(rate, limit, probability) } else { 0 };
        Pacing { rate_ppm: rate.0, z_milli, schedule: schedule.cloned() }
    }

    /// Caps of one kind are often on many targets.
    fn z_milli(&mut self, rate: Percent, limit: u64, probability: Percent) -> u32 {
        let limit = Pace::reckoned_limit(limit);
        let reckon = || Pace::z_milli_for(rate.0, limit, probability.0);
        *self.paces.entry((rate.0, limit, probability.0)).or_insert_with(reckon)
    }
}
