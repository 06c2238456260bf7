//! What the tags of a target's calls must say.

use crate::routing::config::{FiltersConfig, GroupConfig};
use crate::routing::filter::{Filters, Group, Lookups};

use super::Compiler;

impl Compiler<'_> {
    pub(super) fn filters(&mut self, path: &str, config: &FiltersConfig) -> Filters {
        let (mut groups, mut entries) = (Vec::with_capacity(config.all.len()), vec![]);
        let faults = self.faults.len();
        let path = format!("{path}.filters");
        for (n, entry) in config.all.iter().enumerate() {
            let path = format!("{path}.all[{n}]");
            match entry {
                GroupConfig::Set { set } => {
                    let set = self.filter_set(&format!("{path}.set"), set);
                    groups.extend(set.into_iter().flat_map(|set| set.groups.clone()));
                }
                GroupConfig::Rule(_) | GroupConfig::OneOf(_) => {
                    let known = Lookups { sets: &self.sets, patterns: &mut self.patterns };
                    groups.push(Group::compile(entry, &path, known, &mut self.faults));
                }
            }
            entries.resize(groups.len(), n);
        }
        let filters = Filters { groups };
        if self.faults.len() == faults {
            self.can_be_passed(&path, &filters, &entries);
        }
        filters
    }

    /// That no entry excludes another. `entries` has the place at which each stands.
    pub(super) fn can_be_passed(&mut self, path: &str, filters: &Filters, entries: &[usize]) {
        for (first, second) in filters.contradictions() {
            // What is in a set that is at fault is not known.
            if self.faults.iter().any(|fault| fault.path.starts_with("sets[")) {
                return;
            }
            let [first_want, second_want] = [first, second].map(|it| filters.groups[it].in_words());
            let problem = format!(
                "lets nobody through whom all[{}] lets through, {first_want}, so that no call could \
                 pass",
                entries[first]
            );
            let remedy =
                "leave one of them out, or make one list of both, of which one has to hold";
            let path = format!("{path}.all[{}]", entries[second]);
            self.contradiction(&path, &second_want, &problem, remedy);
        }
    }
}
