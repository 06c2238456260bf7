//! What has a name so that several can name it: compiled once, and shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::routing::config::{ConfigFault, NamedOr, RoutingConfig, ScheduleConfig};
use crate::routing::filter::{Filters, Group, Lookups};
use crate::routing::schedule::Schedule;
use crate::routing::snapshot::Tier;
use crate::suggest::suggestion;

use super::{Compiler, index};

/// All of one kind, by their names.
pub(super) struct Named<T: ?Sized> {
    /// As people say it, such as `schedule`.
    kind: &'static str,
    /// Where they stand, such as `schedules`.
    section: &'static str,
    known: BTreeMap<SmolStr, Place<T>>,
}

struct Place<T: ?Sized> {
    place: usize,
    /// `None`: it is at fault, which is told where it stands.
    compiled: Option<Arc<T>>,
}

impl<T: ?Sized> Named<T> {
    pub(super) fn none(kind: &'static str, section: &'static str) -> Self {
        Self { kind, section, known: BTreeMap::new() }
    }

    pub(super) fn place(&self, id: &SmolStr) -> Option<usize> {
        self.known.get(id).map(|it| it.place)
    }

    fn insert(&mut self, id: &SmolStr, place: usize, compiled: Option<Arc<T>>) {
        self.known.entry(id.clone()).or_insert(Place { place, compiled });
    }

    /// What `path` names.
    fn find(&self, path: &str, id: &SmolStr, faults: &mut Vec<ConfigFault>) -> Option<Arc<T>> {
        if let Some(known) = self.known.get(id) {
            return known.compiled.clone();
        }
        faults.push(ConfigFault {
            path: path.to_owned(),
            value: id.to_string(),
            problem: format!("names no {} of this configuration", self.kind),
            remedy: match self.known.is_empty() {
                true => format!("add it to `{}`", self.section),
                false => suggestion(id, self.known.keys().map(SmolStr::as_str)),
            },
        });
        None
    }
}

impl Compiler<'_> {
    pub(super) fn schedules(&mut self, config: &RoutingConfig) {
        let ids = config.schedules.iter().map(|it| it.id.as_str()).collect();
        index("schedules", ids, &mut self.faults);
        for (place, config) in config.schedules.iter().enumerate() {
            let compiled = self.written_schedule(&format!("schedules[{place}]"), config);
            self.schedules.insert(&config.id, place, compiled);
        }
    }

    fn written_schedule(&mut self, path: &str, config: &ScheduleConfig) -> Option<Arc<Schedule>> {
        let zone = self.zones.of_account();
        let (schedule, contradictions) = Schedule::compile(config, path, zone, &mut self.faults)?;
        for ConfigFault { path, value, problem, remedy } in contradictions {
            self.contradiction(&path, value, &problem, &remedy);
        }
        Some(Arc::new(schedule))
    }

    pub(super) fn filter_sets(&mut self, config: &RoutingConfig) {
        let ids = config.filter_sets.iter().map(|it| it.id.as_str()).collect();
        index("filter_sets", ids, &mut self.faults);
        for (place, config) in config.filter_sets.iter().enumerate() {
            let path = format!("filter_sets[{place}]");
            if config.all.is_empty() {
                self.fault(&path, "all", "[]", "says nothing", "add a rule, or leave the set out");
            }
            let (mut groups, faults) = (vec![], self.faults.len());
            for (n, entry) in config.all.iter().enumerate() {
                let path = format!("{path}.all[{n}]");
                if let Some(set) = entry.set() {
                    let remedy = "write out the entries of that one";
                    self.fault(&path, "set", set, "is named by another set", remedy);
                    continue;
                }
                let known = Lookups { sets: &self.sets, patterns: &mut self.patterns };
                let group = Group::compile(entry, &path, known, &mut self.faults);
                groups.push(group.of_set(n + 1, &config.id));
            }
            let filters = Filters { groups };
            let entries: Vec<_> = (0..filters.groups.len()).collect();
            if self.faults.len() == faults {
                self.can_be_passed(&path, &filters, &entries);
            }
            let compiled = (self.faults.len() == faults).then(|| Arc::new(filters));
            self.filter_sets.insert(&config.id, place, compiled);
        }
    }

    pub(super) fn plans(&mut self, config: &RoutingConfig) {
        let ids = config.plans.iter().map(|it| it.id.as_str()).collect();
        index("plans", ids, &mut self.faults);
        for (place, plan) in config.plans.iter().enumerate() {
            let tiers = self.tiers(&format!("plans[{place}]"), plan);
            self.plans.insert(&plan.id, place, Some(tiers.into()));
        }
    }

    /// `None` only together with a fault.
    pub(super) fn schedule(
        &mut self,
        path: &str,
        config: &NamedOr<ScheduleConfig>,
    ) -> Option<Arc<Schedule>> {
        match config {
            NamedOr::Named(id) => self.schedules.find(path, id, &mut self.faults),
            NamedOr::Written(config) => {
                self.is_nameless(path, &config.id, "schedules");
                self.written_schedule(path, config)
            }
        }
    }

    pub(super) fn filter_set(&mut self, path: &str, id: &SmolStr) -> Option<Arc<Filters>> {
        self.filter_sets.find(path, id, &mut self.faults)
    }

    pub(super) fn plan(&mut self, path: &str, id: &SmolStr) -> Option<Arc<[Tier]>> {
        self.plans.find(path, id, &mut self.faults)
    }

    /// What is written where it is meant has no name.
    pub(super) fn is_nameless(&mut self, path: &str, id: &SmolStr, section: &str) {
        if !id.is_empty() {
            let remedy =
                format!("leave it out, or write all of it to `{section}` and its name here");
            self.fault(path, "id", id, "is the name of what nobody else can name", &remedy);
        }
    }
}
