//! What a call's tags must say for a target to take it.
//!
//! A missing tag makes every comparison false, `not_in` too (spec/domain §2.4).

use std::collections::BTreeSet;

use smol_str::{SmolStr, format_smolstr};

use crate::money::Money;

use super::config::{ConfigFault, FilterConfig, FilterOp, FilterValue, FiltersConfig};
use super::request::Tags;

/// Every rule of `all` must hold and, unless it is empty, one of `any`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    pub all: Vec<Filter>,
    pub any: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub tag: SmolStr,
    /// The rule in words, such as `in OH, PA`.
    pub want: SmolStr,
    test: Test,
}

/// How a tag compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    Missing,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Eq(SmolStr),
    In(BTreeSet<SmolStr>),
    NotIn(BTreeSet<SmolStr>),
    Contains(SmolStr),
    BeginsWith(SmolStr),
    Gt(Decimal),
    Lt(Decimal),
    Between(Decimal, Decimal),
}

/// A decimal number in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decimal(i64);

impl Filters {
    /// `path` is where the filters stand, for the faults.
    pub(super) fn compile(
        config: &FiltersConfig,
        path: &str,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        let mut group = |name: &str, rules: &[FilterConfig]| -> Vec<Filter> {
            let mut compiled = vec![];
            for (index, rule) in rules.iter().enumerate() {
                match Filter::compile(rule) {
                    Ok(filter) => compiled.push(filter),
                    Err((field, problem, remedy)) => faults.push(ConfigFault {
                        path: format!("{path}.{name}[{index}].{field}"),
                        value: match field {
                            "tag" => rule.tag.to_string(),
                            _ => shown(&rule.value).to_string(),
                        },
                        problem: problem.to_owned(),
                        remedy: remedy.to_owned(),
                    }),
                }
            }
            compiled
        };
        Self { all: group("all", &config.all), any: group("any", &config.any) }
    }
}

impl Filter {
    /// `Err` is the field at fault, the problem, and the remedy.
    fn compile(config: &FilterConfig) -> Result<Self, (&'static str, &'static str, &'static str)> {
        if config.tag.is_empty() {
            return Err(("tag", "names no tag", "write a tag such as geo.state"));
        }
        let one = || match &config.value {
            FilterValue::One(text) => Ok(text.clone()),
            FilterValue::Many(_) => {
                Err(("value", "is a list", "write one value, or use the op `in`"))
            }
        };
        let many = || match &config.value {
            FilterValue::Many(texts) if !texts.is_empty() => Ok(texts.iter().cloned().collect()),
            FilterValue::Many(_) | FilterValue::One(_) => {
                Err(("value", "is no list of values", "write a list such as [\"OH\", \"PA\"]"))
            }
        };
        let number = |text: &str| {
            Decimal::parse(text).ok_or(("value", "is no number", "write a decimal number"))
        };
        let test = match config.op {
            FilterOp::Eq => Test::Eq(one()?),
            FilterOp::In => Test::In(many()?),
            FilterOp::NotIn => Test::NotIn(many()?),
            FilterOp::Contains => Test::Contains(one()?),
            FilterOp::BeginsWith => Test::BeginsWith(one()?),
            FilterOp::Gt => Test::Gt(number(&one()?)?),
            FilterOp::Lt => Test::Lt(number(&one()?)?),
            FilterOp::Between => match &config.value {
                FilterValue::Many(ends) if ends.len() == 2 => {
                    Test::Between(number(&ends[0])?, number(&ends[1])?)
                }
                FilterValue::Many(_) | FilterValue::One(_) => {
                    return Err(("value", "is not two numbers", "write a list such as [50, 80]"));
                }
            },
        };
        let want = format_smolstr!("{} {}", config.op.name(), shown(&config.value));
        Ok(Self { tag: config.tag.clone(), want, test })
    }

    pub fn check(&self, tags: &Tags) -> Match {
        match tags.get(&self.tag) {
            None => Match::Missing,
            Some(have) if self.test.holds(have) => Match::Yes,
            Some(_) => Match::No,
        }
    }
}

impl Test {
    fn holds(&self, have: &SmolStr) -> bool {
        let number = || Decimal::parse(have);
        match self {
            Self::Eq(want) => have == want,
            Self::In(wanted) => wanted.contains(have),
            Self::NotIn(unwanted) => !unwanted.contains(have),
            Self::Contains(part) => have.contains(part.as_str()),
            Self::BeginsWith(start) => have.starts_with(start.as_str()),
            Self::Gt(than) => number().is_some_and(|n| n > *than),
            Self::Lt(than) => number().is_some_and(|n| n < *than),
            Self::Between(low, high) => number().is_some_and(|n| (*low..=*high).contains(&n)),
        }
    }
}

impl Decimal {
    /// At most six decimal places, which is also how amounts are written.
    fn parse(text: &str) -> Option<Self> {
        text.parse::<Money>().ok().map(|scaled| Self(scaled.0))
    }
}

impl FilterOp {
    fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Contains => "contains",
            Self::BeginsWith => "begins_with",
            Self::Gt => "gt",
            Self::Lt => "lt",
            Self::Between => "between",
        }
    }
}

/// The first few values, for people.
fn shown(value: &FilterValue) -> SmolStr {
    const SHOWN_MAX: usize = 8;
    match value {
        FilterValue::One(text) => text.clone(),
        FilterValue::Many(texts) => {
            let first: Vec<_> = texts.iter().take(SHOWN_MAX).map(SmolStr::as_str).collect();
            let first = first.join(", ");
            match texts.len().saturating_sub(SHOWN_MAX) {
                0 => first.into(),
                more => format_smolstr!("{first} and {more} more"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_compares_as_it_says() {
        let cases = [
            (r#"{"tag":"t","op":"eq","value":"OH"}"#, "OH", "oh"),
            (r#"{"tag":"t","op":"in","value":["OH","PA"]}"#, "PA", "MI"),
            (r#"{"tag":"t","op":"not_in","value":["OH","PA"]}"#, "MI", "PA"),
            (r#"{"tag":"t","op":"contains","value":"red"}"#, "tired", "bed"),
            (r#"{"tag":"t","op":"begins_with","value":"43"}"#, "43215", "14321"),
            (r#"{"tag":"t","op":"gt","value":9}"#, "10", "9"),
            (r#"{"tag":"t","op":"lt","value":9.5}"#, "-1", "9.50"),
            (r#"{"tag":"t","op":"between","value":[50, 80]}"#, "80", "80.000001"),
            (r#"{"tag":"t","op":"gt","value":1}"#, "2", "two"),
            (r#"{"tag":"t","op":"eq","value":true}"#, "true", "false"),
        ];
        for (rule, holds, fails) in cases {
            let filter = compile(rule).unwrap();
            assert_eq!(filter.check(&tag(holds)), Match::Yes, "{rule} {holds}");
            assert_eq!(filter.check(&tag(fails)), Match::No, "{rule} {fails}");
            assert_eq!(filter.check(&Tags::new()), Match::Missing, "{rule}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_its_operator_is_a_fault() {
        for rule in [
            r#"{"tag":"","op":"eq","value":"OH"}"#,
            r#"{"tag":"t","op":"eq","value":["OH"]}"#,
            r#"{"tag":"t","op":"in","value":"OH"}"#,
            r#"{"tag":"t","op":"in","value":[]}"#,
            r#"{"tag":"t","op":"gt","value":"many"}"#,
            r#"{"tag":"t","op":"between","value":[1]}"#,
        ] {
            assert!(compile(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn a_long_list_is_shown_in_part() {
        let values: Vec<_> = (430..442).map(|n| format!("\"{n}\"")).collect();
        let rule = format!(r#"{{"tag":"t","op":"in","value":[{}]}}"#, values.join(","));
        assert_eq!(
            compile(&rule).unwrap().want,
            "in 430, 431, 432, 433, 434, 435, 436, 437 and 4 more"
        );
    }

    fn compile(rule: &str) -> Result<Filter, (&'static str, &'static str, &'static str)> {
        Filter::compile(&serde_json::from_str(rule).unwrap())
    }

    fn tag(value: &str) -> Tags {
        [("t".into(), value.into())].into()
    }
}
