//! What the tags of a target's calls must say.

use crate::routing::config::{FiltersConfig, GroupConfig};
use crate::routing::filter::{Filters, Group, Lookups};

use super::Compiler;

impl Compiler<'_> {
    pub(super) fn filters(&mut self, path: &str, config: &FiltersConfig) -> Filters {
        let mut groups = Vec::with_capacity(config.all.len());
        for (n, entry) in config.all.iter().enumerate() {
            let path = format!("{path}.filters.all[{n}]");
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
        }
        Filters { groups }
    }
}
