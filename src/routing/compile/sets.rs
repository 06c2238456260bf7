//! The lists that filters name, from the configuration and from files.

use std::path::Path;
use std::sync::Arc;

use crate::routing::config::{FilterValue, RoutingConfig, SetConfig, SetKind};
use crate::routing::set::{NoValue, Sets, ValueSet};

use super::{Compiler, index};

/// Lines of one file of which it is told what is wrong.
pub(super) const LINES_TOLD_MAX: usize = 10;

impl Compiler<'_> {
    pub(super) fn sets(&mut self, config: &RoutingConfig) -> Sets {
        let ids = config.sets.iter().map(|set| set.id.as_str()).collect();
        index("sets", ids, &mut self.faults);
        let sets = config.sets.iter().enumerate();
        sets.map(|(s, set)| (set.id.clone(), Arc::new(self.set(s, set, config)))).collect()
    }

    fn set(&mut self, place: usize, config: &SetConfig, all: &RoutingConfig) -> ValueSet {
        let path = format!("sets[{place}]");
        let mut set = ValueSet::new(config.kind, config.ignore_case);
        let mut is_sound = true;
        if config.ignore_case && config.kind != SetKind::Text {
            let problem = format!("has no meaning for the kind `{}`", config.kind.name());
            self.fault(&path, "ignore_case", true, &problem, "leave it out");
        }
        match (&config.values, &config.file) {
            (Some(_), Some(file)) => {
                let file = file.display();
                self.fault(&path, "file", file, "stands beside `values`", "keep one of the two");
                is_sound = false;
            }
            (None, None) => {
                let remedy = "write `values`, or name a `file`";
                self.fault_at(&path, &config.id, "is a set of nothing", remedy);
                is_sound = false;
            }
            (Some(values), None) => {
                let (values, is_list) = match values {
                    FilterValue::One(value) => (std::slice::from_ref(value), false),
                    FilterValue::Many(values) => (&values[..], true),
                };
                for (v, value) in values.iter().enumerate() {
                    if let Err(NoValue { problem, remedy }) = set.add(value) {
                        let at = if is_list { format!("values[{v}]") } else { "values".to_owned() };
                        self.fault(&path, &at, value, &problem, remedy);
                        is_sound = false;
                    }
                }
            }
            (None, Some(file)) => {
                let path = format!("{path}.file");
                let read = self.lines(&path, file, all, |value| {
                    set.add(value).map_err(|it| (it.problem, it.remedy.to_owned()))
                });
                is_sound = read;
            }
        }
        if is_sound && set.is_empty() {
            self.fault_at(&path, &config.id, "is empty, so that nothing is in it", "add a value");
        }
        set
    }

    /// What stands in a file; `None` together with a fault.
    pub(super) fn text<'c>(
        &mut self,
        path: &str,
        file: &Path,
        config: &'c RoutingConfig,
    ) -> Option<&'c str> {
        let shown = file.display();
        match config.texts.get(file) {
            Some(Ok(text)) => return Some(text),
            Some(Err(cause)) => {
                let problem = format!("cannot be read: {cause}");
                let remedy = "name a text file; a relative path starts at the working directory";
                self.fault_at(path, shown, &problem, remedy);
            }
            None => self.fault_at(path, shown, "was not read", "hand over its text"),
        }
        None
    }

    /// Hands on each line of a file that is neither empty nor a comment. Each that is not taken is
    /// a fault with its problem and its remedy. Whether all were taken.
    pub(super) fn lines(
        &mut self,
        path: &str,
        file: &Path,
        config: &RoutingConfig,
        mut take: impl FnMut(&str) -> Result<(), (String, String)>,
    ) -> bool {
        let shown = file.display();
        let Some(text) = self.text(path, file, config) else { return false };
        let mut faults = 0;
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let value = line.trim();
            if value.is_empty() || value.starts_with('#') {
                continue;
            }
            let Err((problem, remedy)) = take(value) else { continue };
            faults += 1;
            if faults <= LINES_TOLD_MAX {
                let value: String = value.chars().take(40).collect();
                let problem = format!("line {number}: `{value}` {problem}");
                self.fault_at(path, shown.to_string(), &problem, &remedy);
            }
        }
        if faults > LINES_TOLD_MAX {
            let problem = format!("has {} more such lines", faults - LINES_TOLD_MAX);
            self.fault_at(path, shown, &problem, "correct them too");
        }
        faults == 0
    }
}
