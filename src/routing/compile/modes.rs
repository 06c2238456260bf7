//! Whether and how caps may be passed.

use super::Compiler;
use std::sync::Arc;

use crate::routing::config::{CapConfig, CapMode, Metric, Percent, WindowKind};
use crate::routing::hold::WHOLE_PPM;
use crate::routing::schedule::Schedule;
use crate::routing::snapshot::{Mode, Pacing};

/// For how probable it may be that a limit is passed: how many standard deviations lie between what
/// is expected and the limit, in thousandths, rounded up.
const Z_MILLI: [(Percent, u32); 6] = [
    (Percent(1_000), 3_091),
    (Percent(5_000), 2_576),
    (ONE_PERCENT, 2_327),
    (Percent(20_000), 2_054),
    (Percent(50_000), 1_645),
    (Percent(100_000), 1_282),
];
const ONE_PERCENT: Percent = Percent(10_000);

impl Compiler<'_> {
    pub(super) fn mode(
        &mut self,
        path: &str,
        config: &CapConfig,
        schedule: Option<&Arc<Schedule>>,
    ) -> Mode {
        if config.mode != CapMode::Paced {
            self.only_paced(path, config);
        }
        match config.mode {
            CapMode::Strict => Mode::Strict,
            CapMode::Soft => Mode::Soft,
            CapMode::Paced => Mode::Paced(self.pacing(path, config, schedule)),
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
        if rate == Percent(0) {
            let remedy = "write the share of calls that come to count, such as \"30%\"";
            self.fault(path, "assumed_rate", rate, "lets in any number of calls", remedy);
        }
        let probability = config.max_over_prob.unwrap_or(ONE_PERCENT);
        if config.max_over_prob.is_some() && config.assumed_rate.is_none() {
            let remedy = "add assumed_rate, or leave it out";
            self.fault(path, "max_over_prob", probability, "says nothing by itself", remedy);
        }
        let known = Z_MILLI.iter().find(|(known, _)| *known == probability);
        if known.is_none() {
            let values = Z_MILLI.map(|(known, _)| known.to_string()).join(", ");
            let remedy = format!("write one of {values}");
            self.fault(path, "max_over_prob", probability, "is none of those there are", &remedy);
        }
        debug_assert_eq!(Percent::WHOLE.0, WHOLE_PPM);
        let z_milli = known.map_or(0, |(_, z_milli)| *z_milli);
        Pacing { rate_ppm: rate.0, z_milli, schedule: schedule.cloned() }
    }
}
