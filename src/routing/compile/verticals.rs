//! Tags of trades, and whether filters ask for what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;

use crate::id::CampaignId;
use crate::routing::config::{
    FilterConfig, FilterOp, FilterValue, GroupConfig, RoutingConfig, SetKind, TagConfig, TagKind,
    VerticalConfig,
};
use crate::routing::facts::LINE_TYPE;
use crate::routing::filter::{Measure, Pattern};
use crate::routing::snapshot::{Campaign, Target};
use crate::routing::vertical::{Tag, Vertical};

use super::{Compiler, index};

impl Compiler<'_> {
    pub(super) fn verticals(&mut self, config: &RoutingConfig) -> BTreeMap<SmolStr, Arc<Vertical>> {
        let ids = config.verticals.iter().map(|vertical| vertical.id.as_str()).collect();
        index("verticals", ids, &mut self.faults);
        let verticals = config.verticals.iter().enumerate();
        verticals.map(|(v, it)| (it.id.clone(), Arc::new(self.vertical(v, it)))).collect()
    }

    fn vertical(&mut self, place: usize, config: &VerticalConfig) -> Vertical {
        let mut vertical = Vertical::new(config.id.clone(), config.unknown);
        let mut names = BTreeMap::new();
        for (t, tag) in config.tags.iter().enumerate() {
            let path = format!("verticals[{place}].tags[{t}]");
            let aliases = tag.aliases.iter().enumerate();
            let aliases = aliases.map(|(a, alias)| (format!("{path}.aliases[{a}]"), alias));
            for (path, name) in [(format!("{path}.name"), &tag.name)].into_iter().chain(aliases) {
                if name.is_empty() {
                    self.fault_at(&path, name, "names no tag", "write a tag such as lead.age");
                } else if let Some(first) = names.insert(name.clone(), path.clone()) {
                    let problem = format!("is a name already, at {first}");
                    self.fault_at(&path, name, &problem, "keep one of the two");
                } else if *name != tag.name {
                    if Vertical::common(name).is_some() {
                        let problem = "is a tag that every vertical has";
                        self.fault_at(&path, name, problem, "choose another name");
                    }
                    vertical.aliases.insert(name.clone(), tag.name.clone());
                }
            }
            let common = Vertical::common(&tag.name);
            if let Some(kind) = common.filter(|kind| !may_become(*kind, tag.kind)) {
                let problem = format!("is not what `{}` says everywhere", tag.name);
                let remedy = format!("write \"{}\"", kind.name());
                self.fault(&path, "type", tag.kind.name(), &problem, &remedy);
            }
            let compiled = self.tag(&path, tag);
            vertical.tags.insert(tag.name.clone(), compiled);
        }
        vertical
    }

    fn tag(&mut self, path: &str, config: &TagConfig) -> Tag {
        let kind = config.kind;
        match (kind == TagKind::Enum, config.values.is_empty()) {
            (true, true) => {
                let remedy = "write a list such as [\"yes\", \"no\"]";
                self.fault(path, "values", "[]", "are missing, of which an enum is one", remedy);
            }
            (false, false) => self.means_nothing(path, "values", &config.values[0], kind, "enum"),
            (true, false) | (false, true) => {}
        }
        let mut seen = BTreeSet::new();
        for (v, value) in config.values.iter().enumerate() {
            if value.trim().is_empty() || value.trim() != value {
                let problem = "is empty, or has blanks around it";
                self.fault(path, &format!("values[{v}]"), value, problem, "write the word alone");
            } else if !seen.insert(value.to_lowercase()) {
                let problem = "stands in the list already, in some case";
                self.fault(path, &format!("values[{v}]"), value, problem, "keep one of the two");
            }
        }
        let min = self.limit(path, "min", config.min.as_ref(), kind);
        let max = self.limit(path, "max", config.max.as_ref(), kind);
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            let remedy = "write the lower one as min";
            self.fault(path, "max", high.shown(), "is less than min", remedy);
        }
        let pattern = config.pattern.as_ref().and_then(|text| {
            if kind != TagKind::Text {
                self.means_nothing(path, "pattern", text, kind, "text");
                return None;
            }
            let pattern = Pattern::compile(text, false);
            pattern
                .map_err(|flaw| self.fault(path, "pattern", text, &flaw.problem, &flaw.remedy))
                .ok()
        });
        Tag {
            kind,
            values: config.values.clone(),
            required: config.required,
            min,
            max,
            pattern,
            pii: config.pii,
        }
    }

    fn limit(
        &mut self,
        path: &str,
        field: &str,
        limit: Option<&FilterValue>,
        kind: TagKind,
    ) -> Option<Measure> {
        let (measure, shown) = match limit? {
            FilterValue::One(text) => (Measure::parse(text), text.clone()),
            FilterValue::Many(_) => (None, SmolStr::new_static("a list")),
        };
        if !kind.has_order() && kind != TagKind::Text {
            self.means_nothing(path, field, &shown, kind, "text, a number or a date");
            return None;
        }
        let is_date = matches!(measure, Some(Measure::Date(_)));
        match measure {
            Some(measure) if is_date == (kind == TagKind::Date) => Some(measure),
            Some(_) | None => {
                let (problem, remedy) = match kind == TagKind::Date {
                    true => ("is no date", "write one such as \"2026-03-17\""),
                    false => ("is no number", "write a decimal number"),
                };
                self.fault(path, field, shown, problem, remedy);
                None
            }
        }
    }

    fn means_nothing(&mut self, path: &str, field: &str, value: &str, kind: TagKind, of: &str) {
        let problem = format!("has no meaning for the type `{}`", kind.name());
        let remedy = format!("leave it out; it is of {of}");
        self.fault(path, field, value, &problem, &remedy);
    }

    /// Whether filters ask for tags that the calls of their campaigns have, and in the way in which
    /// those are kept. Marks what explanations must not show.
    pub(super) fn agree(
        &mut self,
        config: &RoutingConfig,
        campaigns: &[Campaign],
        targets: &mut [Target],
    ) {
        let (mut asked, mut asked_sets) = (BTreeSet::new(), BTreeSet::new());
        // What an enricher tells needs no description.
        let mut told: BTreeMap<SmolStr, BTreeSet<SmolStr>> = BTreeMap::new();
        for campaign in campaigns {
            let Some(vertical) = &campaign.vertical else { continue };
            let tags = campaign.enrich.iter().flat_map(|enricher| enricher.tags().cloned());
            told.entry(vertical.id.clone()).or_default().extend(tags);
        }
        for (c, campaign) in campaigns.iter().enumerate() {
            let Some(vertical) = &campaign.vertical else { continue };
            let members = campaign.tiers.iter().flat_map(|tier| &tier.members);
            for target in members.map(|member| member.target) {
                if asked.insert((&vertical.id, target)) {
                    let filters = &config.targets[target].filters.all;
                    let path = format!("targets[{target}].filters");
                    let (vertical, campaign) = (&**vertical, &config.campaigns[c].id);
                    let told = &told[&vertical.id];
                    self.agrees(filters, &path, campaign, (vertical, told));
                    let sets = filters.iter().filter_map(|it| self.filter_sets.place(it.set()?));
                    for set in sets.collect::<Vec<_>>() {
                        if asked_sets.insert((&vertical.id, set)) {
                            let filters = &config.filter_sets[set].all;
                            let path = format!("filter_sets[{set}]");
                            self.agrees(filters, &path, campaign, (vertical, told));
                        }
                    }
                    if self.faults.is_empty() {
                        let is_private = |tag: &str| vertical.tag(tag).is_some_and(|tag| tag.pii);
                        targets[target].filters.hide(is_private);
                    }
                }
            }
        }
        let asked = asked.into_iter().map(|(_, target)| target).collect();
        let asked_sets = asked_sets.into_iter().map(|(_, set)| set).collect();
        self.have_no_slips(config, &asked, &asked_sets);
    }

    /// That filters which no vertical was asked about do not miss one of the server's own tags by a
    /// letter: what publishers say there is not known.
    fn have_no_slips(
        &mut self,
        config: &RoutingConfig,
        asked: &BTreeSet<usize>,
        asked_sets: &BTreeSet<usize>,
    ) {
        let targets = config.targets.iter().enumerate().filter(|(t, _)| !asked.contains(t));
        let targets = targets.map(|(t, it)| (format!("targets[{t}].filters"), &it.filters.all));
        let sets = config.filter_sets.iter().enumerate().filter(|(s, _)| !asked_sets.contains(s));
        let sets = sets.map(|(s, it)| (format!("filter_sets[{s}]"), &it.all));
        for (path, filters) in targets.chain(sets) {
            for (g, group) in filters.iter().enumerate() {
                for (r, rule) in group.rules().iter().enumerate() {
                    let path = group.path(&format!("{path}.all[{g}]"), r);
                    self.is_no_slip(&path, "tag", &rule.tag, Vertical::place_meant_by(&rule.tag));
                }
            }
        }
    }

    /// That a name is meant as it stands, which is near to one that is known.
    pub(super) fn is_no_slip(&mut self, path: &str, field: &str, name: &str, near: Option<&str>) {
        if let Some(remedy) = self.slip(name, near) {
            let problem = "is no tag that the server makes, and no vertical describes it";
            self.contradiction(&format!("{path}.{field}"), name, problem, &remedy);
        }
    }

    /// What to write instead of a name that is near to one that is known, unless it is known as well.
    pub(super) fn slip(&self, name: &str, near: Option<&str>) -> Option<String> {
        let near = near?;
        let is_known = self.verticals.values().any(|vertical| vertical.describes(name));
        let remedy = || format!("write `{near}`; if publishers say it, describe it in a vertical");
        (!is_known).then(remedy)
    }

    fn agrees(
        &mut self,
        filters: &[GroupConfig],
        path: &str,
        campaign: &CampaignId,
        (of, told): (&Vertical, &BTreeSet<SmolStr>),
    ) {
        for (g, group) in filters.iter().enumerate() {
            for (r, rule) in group.rules().iter().enumerate() {
                let path = group.path(&format!("{path}.all[{g}]"), r);
                match of.tag(&rule.tag) {
                    Some(tag) => self.rule_agrees(&path, rule, tag, &of.id),
                    None if rule.tag.is_empty() || Vertical::is_of_trunks(&rule.tag) => {}
                    // The records of lines tell it.
                    None if rule.tag == LINE_TYPE => {}
                    None if told.contains(&rule.tag) => {}
                    None => {
                        let problem = format!(
                            "is no tag of `{}`, the vertical of the campaign {campaign}",
                            of.id
                        );
                        self.fault(&path, "tag", &rule.tag, &problem, &of.suggestion(&rule.tag));
                    }
                }
            }
        }
    }

    fn rule_agrees(&mut self, path: &str, rule: &FilterConfig, tag: &Tag, vertical: &str) {
        let says = format!("`{}` is of the type {} in `{vertical}`", rule.tag, tag.kind.name());
        let op = rule.op;
        let of_no_use = match op {
            FilterOp::Gt | FilterOp::Ge | FilterOp::Lt | FilterOp::Le | FilterOp::Between => {
                (!tag.kind.has_order()).then_some("use `eq` or `in`")
            }
            FilterOp::Contains
            | FilterOp::BeginsWith
            | FilterOp::EndsWith
            | FilterOp::Match
            | FilterOp::Regex => (!tag.kind.has_parts()).then_some("use `eq`, `in` or `between`"),
            FilterOp::Eq
            | FilterOp::Ne
            | FilterOp::In
            | FilterOp::NotIn
            | FilterOp::Required
            | FilterOp::InSet => None,
        };
        if let Some(remedy) = of_no_use {
            let problem = format!("cannot compare it: {says}");
            return self.fault(path, "op", op.name(), &problem, remedy);
        }
        let values = match &rule.value {
            None => &[][..],
            Some(FilterValue::One(value)) => std::slice::from_ref(value),
            Some(FilterValue::Many(values)) => values,
        };
        match op {
            FilterOp::Eq | FilterOp::Ne | FilterOp::In | FilterOp::NotIn => {
                for value in values {
                    match tag.kept(value) {
                        Err(must) => {
                            let problem = format!("is never said: {says}");
                            self.fault(path, "value", value, &problem, &format!("it {must}"));
                        }
                        Ok(kept) if kept != *value && !rule.ignore_case => {
                            let problem = "is kept in another form, so that no call could pass";
                            self.fault(path, "value", value, problem, &format!("write {kept}"));
                        }
                        Ok(_) => {}
                    }
                }
            }
            FilterOp::Gt | FilterOp::Ge | FilterOp::Lt | FilterOp::Le | FilterOp::Between => {
                let is_date =
                    |value: &SmolStr| matches!(Measure::parse(value), Some(Measure::Date(_)));
                let misfit = values.iter().find(|it| is_date(it) != (tag.kind == TagKind::Date));
                if let Some(value) = misfit {
                    let (problem, remedy) = match tag.kind == TagKind::Date {
                        true => ("is no date", "write one such as \"2026-03-17\""),
                        false => ("is no number", "write a decimal number"),
                    };
                    let problem = format!("{problem}, and {says}");
                    self.fault(path, "value", value, &problem, remedy);
                }
            }
            FilterOp::InSet => {
                let set = values.first().and_then(|id| self.sets.get(id)).cloned();
                if let Some(set) = set.filter(|set| !can_be_in(tag.kind, set.kind())) {
                    let problem = format!("is a set of the kind {}, and {says}", set.kind().name());
                    self.fault(path, "value", &values[0], &problem, "name a set of that kind");
                }
            }
            FilterOp::Contains
            | FilterOp::BeginsWith
            | FilterOp::EndsWith
            | FilterOp::Match
            | FilterOp::Regex
            | FilterOp::Required => {}
        }
    }
}

/// A tag of the server's own that is a text may be narrowed to a list.
fn may_become(common: TagKind, kind: TagKind) -> bool {
    common == kind || common == TagKind::Text && kind == TagKind::Enum
}

fn can_be_in(tag: TagKind, set: SetKind) -> bool {
    match set {
        SetKind::Zip => matches!(tag, TagKind::Zip | TagKind::Text),
        SetKind::State => matches!(tag, TagKind::State | TagKind::Enum | TagKind::Text),
        SetKind::Npa | SetKind::NpaNxx => tag == TagKind::Text,
        SetKind::Text => tag.has_parts(),
    }
}
