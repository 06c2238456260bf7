//! What a call's tags must say for a target to take it: all of several groups, and of each group
//! one rule (spec/domain §2.4).
//!
//! A rule about a tag that is not there does not hold, with `not` neither, unless its `on_missing`
//! says otherwise; the same is true of a tag that cannot be compared, such as a word with a number.

mod operator;
mod wildcard;

use smol_str::{SmolStr, format_smolstr};

use crate::reason::Reason;

use super::config::{ConfigFault, FilterConfig, FilterOp, FiltersConfig, OnMissing};
use super::request::Tags;
use super::set::Sets;

use operator::{Flaw, Test, shown};

/// Every group must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    pub groups: Vec<Group>,
}

/// One of the rules must hold. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub rules: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub tag: SmolStr,
    /// The rule in words, such as `in OH, PA`.
    pub want: SmolStr,
    test: Test,
    negated: bool,
    passes_missing: bool,
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

/// How a tag compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    Missing,
}

impl Filters {
    /// `path` is where the filters stand, for the faults.
    pub(super) fn compile(
        config: &FiltersConfig,
        path: &str,
        sets: &Sets,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        let mut groups = vec![];
        for (index, group) in config.all.iter().enumerate() {
            let path = format!("{path}.all[{index}]");
            if group.rules().is_empty() {
                faults.push(ConfigFault {
                    path: path.clone(),
                    value: "[]".to_owned(),
                    problem: "is a list of no rules, so that no call could pass".to_owned(),
                    remedy: "add a rule, or leave it out".to_owned(),
                });
            }
            let mut rules = vec![];
            for (place, rule) in group.rules().iter().enumerate() {
                match Filter::compile(rule, sets) {
                    Ok(filter) => rules.push(filter),
                    Err(Flaw { field, problem, remedy }) => {
                        let path = group.path(&path, place) + "." + field;
                        let value = rule.written(field);
                        faults.push(ConfigFault { path, value, problem, remedy });
                    }
                }
            }
            groups.push(Group { rules });
        }
        Self { groups }
    }
}

impl Group {
    /// The first rule that holds, or why none does.
    pub fn check(&self, tags: &Tags) -> Result<&Filter, Miss<'_>> {
        let mut closest = None;
        for filter in &self.rules {
            match (filter.check(tags), closest) {
                (Answer::Yes, _) => return Ok(filter),
                (Answer::No, None | Some((Answer::Missing, _))) => {
                    closest = Some((Answer::No, filter));
                }
                (Answer::Missing, None) => closest = Some((Answer::Missing, filter)),
                (Answer::No | Answer::Missing, Some(_)) => {}
            }
        }
        let (answer, filter) = closest.expect("a group has a rule");
        let reason = match answer {
            Answer::Missing => Reason::FilterMissingTag,
            Answer::Yes | Answer::No => Reason::FilterMismatch,
        };
        let want = match &self.rules[..] {
            [only] => only.want.clone(),
            rules => {
                let rules: Vec<_> =
                    rules.iter().map(|rule| format!("{} {}", rule.tag, rule.want)).collect();
                format_smolstr!("one of: {}", rules.join("; "))
            }
        };
        Err(Miss { reason, filter, want })
    }
}

impl Filter {
    fn compile(config: &FilterConfig, sets: &Sets) -> Result<Self, Flaw> {
        if config.tag.is_empty() {
            return Err(Flaw::new("tag", "names no tag", "write a tag such as geo.state"));
        }
        let test = Test::compile(config, sets)?;
        let of_the_op = matches!(config.op, FilterOp::Ne | FilterOp::NotIn);
        Ok(Self {
            tag: config.tag.clone(),
            want: config.in_words(),
            test,
            negated: config.not != of_the_op,
            passes_missing: config.on_missing == Some(OnMissing::Pass),
        })
    }

    pub fn check(&self, tags: &Tags) -> Answer {
        let holds = match (tags.get(&self.tag), &self.test) {
            (Some(have), test) => test.holds(have).is_some_and(|holds| holds != self.negated),
            // Whether it is there is all that is asked.
            (None, Test::Present) => self.negated,
            (None, _) => self.passes_missing,
        };
        match tags.contains_key(&self.tag) {
            _ if holds => Answer::Yes,
            true => Answer::No,
            false => Answer::Missing,
        }
    }
}

impl FilterConfig {
    fn in_words(&self) -> SmolStr {
        let not = if self.not { "not " } else { "" };
        let op = self.op.name();
        let value = self.value.as_ref().map(|value| format!(" {}", shown(value)));
        let case = if self.ignore_case { " in any case" } else { "" };
        let missing = if self.on_missing == Some(OnMissing::Pass) { ", or missing" } else { "" };
        format_smolstr!("{not}{op}{}{case}{missing}", value.unwrap_or_default())
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
            _ => "true".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
