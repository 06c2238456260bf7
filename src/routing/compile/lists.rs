//! Lists of callers, from the configuration and from files. Nothing that is said of them repeats what
//! stands in them.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::suggest::suggestion;
use crate::time::Wall;

use super::sets::LINES_TOLD_MAX;
use super::{Compiler, index};
use crate::routing::config::{
    CallerEntry, CallerListConfig, ListCategory, ListHash, ListKind, NumberForm, RoutingConfig,
};
use crate::routing::list::{Entries, Form, ListRules, Lists};
use crate::routing::snapshot::{Campaign, Target};

impl Compiler<'_> {
    pub(super) fn lists(&mut self, config: &RoutingConfig) -> Lists {
        let ids = config.caller_lists.iter().map(|list| list.id.as_str()).collect();
        index("caller_lists", ids, &mut self.faults);
        let mut lists = Lists::default();
        for (l, list) in config.caller_lists.iter().enumerate() {
            let path = format!("caller_lists[{l}]");
            if list.category != ListCategory::Blocked && list.kind != ListKind::Block {
                let problem = "is said of a list that blocks nobody";
                self.fault(&path, "category", "litigator", problem, "leave it out");
            }
            let form = self.form(&path, list, config);
            let entries = (!config.is_kept).then(|| self.entries(&path, list, &form, config));
            lists.add(list.id.clone(), list.kind, list.category, form, entries);
        }
        lists
    }

    /// What the lists that `path` names mean together.
    pub(super) fn list_rules(&mut self, path: &str, names: &[SmolStr], lists: &Lists) -> ListRules {
        let (mut rules, mut accept) = (ListRules::default(), vec![]);
        for (n, name) in names.iter().enumerate() {
            let path = format!("{path}[{n}]");
            let Some(place) = lists.all.iter().position(|list| list.id == *name) else {
                let known: Vec<_> = lists.all.iter().map(|list| list.id.as_str()).collect();
                let remedy = match known.is_empty() {
                    true => String::from("add it to `caller_lists`"),
                    false => suggestion(name, known.into_iter()),
                };
                self.fault_at(&path, name, "names no list of callers", &remedy);
                continue;
            };
            match lists.all[place].kind {
                ListKind::Suppress => rules.suppress.push(place),
                ListKind::Accept => accept.push(place),
                ListKind::Block => {
                    let problem = "is a list that holds for every call";
                    let remedy = "leave it out, or make its kind \"suppress\"";
                    self.fault_at(&path, name, problem, remedy);
                }
            }
        }
        rules.accept.extend((!accept.is_empty()).then_some(accept));
        rules
    }

    /// Gives campaigns and targets the rules of the lists they name. If there were faults before, some
    /// may be missing.
    pub(super) fn name_lists(
        &mut self,
        config: &RoutingConfig,
        lists: &Lists,
        campaigns: &mut [Campaign],
        targets: &mut [Target],
    ) {
        for (c, written) in config.campaigns.iter().enumerate() {
            let path = format!("campaigns[{c}].callers.lists");
            let rules = self.list_rules(&path, &written.callers.lists, lists);
            if let Some(campaign) = campaigns.get_mut(c) {
                campaign.lists = rules;
            }
        }
        let of_buyers: BTreeMap<_, _> = config
            .buyers
            .iter()
            .enumerate()
            .map(|(b, buyer)| {
                let rules = self.list_rules(&format!("buyers[{b}].lists"), &buyer.lists, lists);
                (&buyer.id, rules)
            })
            .collect();
        // Those without a fault, in the order of the file.
        let mut targets = targets.iter_mut().peekable();
        for (t, written) in config.targets.iter().enumerate() {
            let mut rules = self.list_rules(&format!("targets[{t}].lists"), &written.lists, lists);
            if let Some(of_buyer) = of_buyers.get(&written.buyer) {
                rules.suppress.extend(&of_buyer.suppress);
                rules.accept.extend(of_buyer.accept.iter().cloned());
            }
            if let Some(target) = targets.next_if(|it| it.id == written.id) {
                target.lists = rules;
            }
        }
    }

    fn form(&mut self, path: &str, list: &CallerListConfig, config: &RoutingConfig) -> Form {
        let Some(hash) = list.hash else {
            if let Some(key) = &list.key_env {
                self.fault(path, "key_env", key, "has no use without `hash`", "leave it out");
            }
            if list.form != NumberForm::E164 {
                let problem = "is said of numbers that are not hashed";
                self.fault(path, "form", list.form.name(), problem, "leave it out");
            }
            return Form::Number;
        };
        let key = match &list.key_env {
            None => {
                if hash == ListHash::HmacSha256 {
                    let remedy = "add key_env, the environment variable that holds its key";
                    self.fault(path, "hash", "hmac-sha256", "needs a key", remedy);
                }
                None
            }
            Some(name) => {
                let key = config.keys.get(name).cloned();
                // Who was found is in the records; nobody is looked for.
                if key.is_none() && !config.is_kept {
                    let problem = "is not set in the environment, or empty";
                    self.fault(path, "key_env", name, problem, "set it to the key of the list");
                }
                key
            }
        };
        Form::Hashed { hash, key, form: list.form }
    }

    fn entries(
        &mut self,
        path: &str,
        list: &CallerListConfig,
        form: &Form,
        config: &RoutingConfig,
    ) -> Entries {
        let mut entries = Entries::default();
        let mut is_sound = true;
        match (&list.callers, &list.file) {
            (Some(_), Some(file)) => {
                let file = file.display();
                self.fault(path, "file", file, "stands beside `callers`", "keep one of the two");
                is_sound = false;
            }
            (None, None) => {
                let remedy = "write `callers`, or name a `file`";
                self.fault_at(path, &list.id, "is a list of nobody", remedy);
                is_sound = false;
            }
            (Some(callers), None) => {
                for (c, CallerEntry(entry)) in callers.iter().enumerate() {
                    if let Err(problem) = add(&mut entries, form, entry) {
                        let path = format!("{path}.callers[{c}]");
                        self.fault_at(&path, "(not shown)", problem, form.remedy());
                        is_sound = false;
                    }
                }
            }
            (None, Some(file)) => {
                let path = format!("{path}.file");
                let shown = file.display();
                let Some(text) = self.text(&path, file, config) else { return entries };
                let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
                let lines =
                    (1..).zip(lines).filter(|(_, it)| !it.is_empty() && !it.starts_with('#'));
                let mut faults = 0;
                for (number, line) in lines {
                    let Err(problem) = add(&mut entries, form, line) else { continue };
                    faults += 1;
                    if faults <= LINES_TOLD_MAX {
                        let problem = format!("line {number} {problem}");
                        self.fault_at(&path, &shown, &problem, form.remedy());
                    }
                }
                if faults > LINES_TOLD_MAX {
                    let problem = format!("has {} more such lines", faults - LINES_TOLD_MAX);
                    self.fault_at(&path, shown, &problem, "correct them too");
                }
                is_sound = faults == 0;
            }
        }
        if is_sound && entries.is_empty() && list.kind == ListKind::Accept {
            let problem = "accepts nobody, as it is empty";
            self.fault_at(path, &list.id, problem, "add a caller, or leave the list out");
        }
        entries.sort();
        entries
    }
}

/// An entry: a number or a hash and, after a comma, the last day on which it holds.
fn add(entries: &mut Entries, form: &Form, entry: &str) -> Result<(), &'static str> {
    let (name, last_day) = match entry.split_once(',') {
        Some((name, day)) => (name.trim_end(), Some(day.trim())),
        None => (entry, None),
    };
    let until = last_day.map(end_of).transpose()?;
    let name = form.read(name).ok_or_else(|| form.problem())?;
    entries.add(name, until);
    Ok(())
}

/// Midnight after the day, in UTC.
fn end_of(day: &str) -> Result<Wall, &'static str> {
    let next = day.parse::<jiff::civil::Date>().ok().and_then(|day| day.tomorrow().ok());
    let zoned = next.and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let zoned = zoned.ok_or("has no date such as 2026-12-31 after its comma")?;
    Ok(Wall(zoned.timestamp().as_millisecond()))
}

impl Form {
    fn problem(&self) -> &'static str {
        match self {
            Self::Number => "is no telephone number",
            Self::Hashed { .. } => "is no hash of 64 hexadecimal digits",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Number => "write +18005550100, or +18005550100,2026-12-31 for one that ends",
            Self::Hashed { .. } => {
                "write what was hashed as 64 hexadecimal digits, or leave out `hash`"
            }
        }
    }
}
