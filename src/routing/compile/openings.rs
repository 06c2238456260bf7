//! When targets take calls: as they say themselves, else their buyer, else `[defaults]`.

use std::sync::Arc;

use crate::routing::config::{NamedOr, RoutingConfig, ScheduleConfig, Source, TargetConfig};
use crate::routing::schedule::Schedule;

use super::Compiler;

/// A schedule, and who says it.
#[derive(Clone)]
pub(super) struct Opening {
    /// `None`: always open, or it is at fault.
    pub(super) schedule: Option<Arc<Schedule>>,
    /// As it is written; `None`: nobody says any.
    pub(super) written: Option<Arc<NamedOr<ScheduleConfig>>>,
    pub(super) from: Source,
    /// Who says its zone, if it is not whoever says that of all.
    pub(super) zone_from: Option<Source>,
}

/// What holds where targets say nothing.
pub(super) struct OthersOpenings {
    of_buyers: Vec<Option<Opening>>,
    of_all: Option<Opening>,
}

impl Opening {
    const ALWAYS: Self =
        Self { schedule: None, written: None, from: Source::BuiltIn, zone_from: None };
}

impl Compiler<'_> {
    pub(super) fn openings_of_others(&mut self, config: &RoutingConfig) -> OthersOpenings {
        let buyers = config.buyers.iter().enumerate();
        let of_buyers = buyers.map(|(b, buyer)| {
            let written = buyer.schedule.as_ref()?;
            Some(self.said(&format!("buyers[{b}]"), written, Source::Buyer, config))
        });
        let of_buyers = of_buyers.collect();
        let written = config.defaults.schedule.as_ref();
        let of_all = written.map(|it| self.said("defaults", it, Source::Defaults, config));
        OthersOpenings { of_buyers, of_all }
    }

    /// `path` and `buyer` are the target's.
    pub(super) fn opening(
        &mut self,
        path: &str,
        target: &TargetConfig,
        buyer: Option<usize>,
        others: &OthersOpenings,
        all: &RoutingConfig,
    ) -> Opening {
        if let Some(written) = &target.schedule {
            return self.said(path, written, Source::Own, all);
        }
        let of_buyer = buyer.and_then(|buyer| others.of_buyers[buyer].as_ref());
        of_buyer.or(others.of_all.as_ref()).cloned().unwrap_or(Opening::ALWAYS)
    }

    fn said(
        &mut self,
        path: &str,
        written: &NamedOr<ScheduleConfig>,
        from: Source,
        all: &RoutingConfig,
    ) -> Opening {
        let schedule = self.schedule(&format!("{path}.schedule"), written);
        let (config, said_by) = match written {
            NamedOr::Written(config) => (Some(&**config), from),
            NamedOr::Named(id) => {
                let place = self.schedules.place(id);
                (place.map(|place| &all.schedules[place]), Source::Schedule)
            }
        };
        let zone_from = config.and_then(|config| config.time_zone.as_ref()).map(|_| said_by);
        Opening { schedule, written: Some(Arc::new(written.clone())), from, zone_from }
    }
}
