//! What a call's tags must say for a target to take it: all of several groups, and of each group
//! one rule (spec/domain §2.4).
//!
//! A rule about a tag that is not there does not hold, with `not` neither, unless its `on_missing`
//! says otherwise; the same is true of a tag that cannot be compared, such as a word with a number.
//! What is known with less certainty than a rule demands does not hold either.

mod contradiction;
mod operator;
mod wildcard;

use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use crate::reason::Reason;

use super::config::{Confidence, ConfigFault, FilterConfig, FilterOp, GroupConfig, OnMissing};
use super::facts::{Facts, LINE_TYPE, is_place};
use super::geo::Basis;

use operator::{Flaw, Test, shown};

pub(super) use operator::{Lookups, Measure, Pattern, Patterns};

/// Every group must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    pub groups: Vec<Group>,
}

/// One of the rules must hold. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Targets that name one filter set share them.
    pub rules: Arc<[Filter]>,
    /// The rule, or all of them, in words; of a filter set with its name.
    pub want: SmolStr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub tag: SmolStr,
    /// The rule in words, such as `in OH, PA`.
    pub want: SmolStr,
    /// What the tag says is not for explanations.
    pub is_private: bool,
    test: Test,
    negated: bool,
    passes_missing: bool,
    min_basis: Basis,
    min_confidence: Confidence,
}

/// Why a group does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss<'a> {
    pub reason: Reason,
    /// The rule that came closest: one whose tag is there, if there is such a one.
    pub filter: &'a Filter,
    /// The rule, or all of the group, in words.
    pub want: SmolStr,
}

/// How a tag compares, from what holds on to what is farthest from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Yes,
    No,
    /// It is known, but not as surely as the rule demands.
    Unsure,
    Missing,
}

impl Filters {
    /// Keeps what these tags say out of explanations. A group to which this is news is not shared any
    /// more: of another target's calls the same may be said.
    pub(super) fn hide(&mut self, is_private: impl Fn(&str) -> bool) {
        let is_news = |filter: &Filter| !filter.is_private && is_private(&filter.tag);
        let with_news = |group: &&mut Group| group.rules.iter().any(is_news);
        for group in self.groups.iter_mut().filter(with_news) {
            for filter in Arc::make_mut(&mut group.rules) {
                filter.is_private |= is_private(&filter.tag);
            }
        }
    }
}

impl Group {
    /// `path` is where the entry stands, for the faults. Of one that names a set nothing is compiled.
    pub(super) fn compile(
        config: &GroupConfig,
        path: &str,
        mut known: Lookups<'_>,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        if config.rules().is_empty() {
            faults.push(ConfigFault {
                path: path.to_owned(),
                value: "[]".to_owned(),
                problem: "is a list of no rules, so that no call could pass".to_owned(),
                remedy: "add a rule, or leave it out".to_owned(),
            });
        }
        let mut rules = vec![];
        for (place, rule) in config.rules().iter().enumerate() {
            match Filter::compile(rule, &mut known) {
                Ok(filter) => rules.push(filter),
                Err(Flaw { field, problem, remedy }) => {
                    let path = config.path(path, place) + "." + field;
                    let value = rule.written(field);
                    faults.push(ConfigFault { path, value, problem, remedy });
                }
            }
        }
        let want = match &rules[..] {
            [only] => only.want.clone(),
            rules => {
                let rules: Vec<_> =
                    rules.iter().map(|rule| format!("{} {}", rule.tag, rule.want)).collect();
                format_smolstr!("one of: {}", rules.join("; "))
            }
        };
        Self { rules: rules.into(), want }
    }

    /// The entry of a filter set, counted from 1.
    pub(super) fn of_set(self, entry: usize, set: &str) -> Self {
        let want = format_smolstr!("{} (entry {entry} of the filter set {set})", self.want);
        Self { want, ..self }
    }

    /// The first rule that holds, or why none does.
    pub fn check(&self, facts: &Facts<'_>) -> Result<&Filter, Miss<'_>> {
        let mut closest: Option<(Answer, &Filter)> = None;
        for filter in self.rules.iter() {
            match filter.check(facts) {
                Answer::Yes => return Ok(filter),
                answer if closest.is_none_or(|(known, _)| answer < known) => {
                    closest = Some((answer, filter));
                }
                Answer::No | Answer::Unsure | Answer::Missing => {}
            }
        }
        let (answer, filter) = closest.expect("a group has a rule");
        let reason = match answer {
            Answer::Missing => Reason::FilterMissingTag,
            Answer::Unsure => Reason::FilterBasis,
            Answer::Yes | Answer::No => Reason::FilterMismatch,
        };
        Err(Miss { reason, filter, want: self.want.clone() })
    }
}

impl Group {
    /// Why the group does not hold, whatever tags may yet be told; what is not there may pass.
    pub(super) fn check_known(&self, facts: &Facts<'_>) -> Result<(), Miss<'_>> {
        match self.check(facts) {
            Ok(_) => Ok(()),
            Err(_) if self.rules.iter().any(|it| it.check(facts) == Answer::Missing) => Ok(()),
            Err(miss) => Err(miss),
        }
    }
}

impl Filter {
    fn compile(config: &FilterConfig, known: &mut Lookups<'_>) -> Result<Self, Flaw> {
        if config.tag.is_empty() {
            return Err(Flaw::new("tag", "names no tag", "write a tag such as geo.state"));
        }
        let test = Test::compile(config, known)?;
        config.check_certainty()?;
        let of_the_op = matches!(config.op, FilterOp::Ne | FilterOp::NotIn);
        Ok(Self {
            tag: config.tag.clone(),
            want: config.in_words(),
            is_private: false,
            test,
            negated: config.not != of_the_op,
            passes_missing: config.on_missing == Some(OnMissing::Pass),
            min_basis: config.min_basis.unwrap_or(Basis::Npa),
            min_confidence: config.min_confidence.unwrap_or(Confidence(0)),
        })
    }

    /// A value of the tag that would pass, if one can be named.
    pub fn example(&self) -> Option<SmolStr> {
        let example = self.test.example().filter(|_| !self.negated)?;
        (self.test.holds(&example) == Some(true)).then_some(example)
    }

    pub fn check(&self, facts: &Facts<'_>) -> Answer {
        let Some(fact) = facts.get(&self.tag) else {
            // Of `required`, whether it is there is all that is asked.
            let is_asked = self.test == Test::Present;
            let holds = if is_asked { self.negated } else { self.passes_missing };
            return if holds { Answer::Yes } else { Answer::Missing };
        };
        if fact.basis < self.min_basis || fact.basis.confidence() < self.min_confidence {
            return Answer::Unsure;
        }
        match self.test.holds(fact.value) {
            Some(holds) if holds != self.negated => Answer::Yes,
            Some(_) | None => Answer::No,
        }
    }
}

impl FilterConfig {
    /// Of what is no place the number tells nothing, and whoever told it knows it.
    fn check_certainty(&self) -> Result<(), Flaw> {
        let is_derived = is_place(&self.tag) || self.tag == LINE_TYPE;
        let given = [
            ("min_basis", self.min_basis.is_some()),
            ("min_confidence", self.min_confidence.is_some()),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, is_given)| *is_given && !is_derived) {
            let problem =
                format!("has no meaning for `{}`, of which the number tells nothing", self.tag);
            return Err(Flaw::new(field, problem, "leave it out"));
        }
        if self.min_confidence.is_some_and(|it| it > Basis::Declared.confidence()) {
            let most = Basis::Declared.confidence().0;
            let problem = "is more than anything is known with, so that no call could pass";
            let remedy = format!("write 0.{most} or less");
            return Err(Flaw::new("min_confidence", problem, remedy));
        }
        Ok(())
    }

    fn in_words(&self) -> SmolStr {
        let not = if self.not { "not " } else { "" };
        let op = self.op.name();
        let value = self.value.as_ref().map(|value| format!(" {}", shown(value)));
        let case = if self.ignore_case { " in any case" } else { "" };
        let missing = if self.on_missing == Some(OnMissing::Pass) { ", or missing" } else { "" };
        let basis = self.min_basis.map(|basis| format!(", known by {} or better", basis.name()));
        let sure = self.min_confidence.map(|sure| format!(", {sure} sure"));
        let (basis, sure) = (basis.unwrap_or_default(), sure.unwrap_or_default());
        format_smolstr!("{not}{op}{}{case}{basis}{sure}{missing}", value.unwrap_or_default())
    }

    /// What stands in one of its fields.
    fn written(&self, field: &str) -> String {
        match field {
            "tag" => self.tag.to_string(),
            "value" => self.value.as_ref().map(shown).unwrap_or_default().to_string(),
            "on_missing" => match self.on_missing {
                Some(OnMissing::Pass) => "pass".to_owned(),
                Some(OnMissing::Fail) | None => "fail".to_owned(),
            },
            "min_basis" => self.min_basis.map(Basis::name).unwrap_or_default().to_owned(),
            "min_confidence" => self.min_confidence.unwrap_or_default().to_string(),
            _ => "true".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
