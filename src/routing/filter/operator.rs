//! How one tag is compared.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds as _};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;
use regex::{Regex, RegexBuilder};
use smol_str::{SmolStr, ToSmolStr};

use crate::money::Money;
use crate::routing::config::{FilterConfig, FilterOp, FilterValue};
use crate::routing::set::{Sets, ValueSet};
use crate::suggest::suggestion;

use super::wildcard::is_like;

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What rules share.
pub(in crate::routing) struct Lookups<'s> {
    pub(in crate::routing) sets: &'s Sets,
    /// Regular expressions, by their text and whether they ignore case: thousands of targets may
    /// have the same.
    pub(in crate::routing) patterns: &'s mut Patterns,
}

pub(in crate::routing) type Patterns = BTreeMap<(SmolStr, bool), Pattern>;

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::routing) struct Flaw {
    /// The field at fault.
    pub(super) field: &'static str,
    pub(in crate::routing) problem: String,
    pub(in crate::routing) remedy: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Present,
    Text {
        want: Text,
        /// Then what is wanted is in small letters.
        ignore_case: bool,
    },
    Regex(Pattern),
    Within(Bound<Measure>, Bound<Measure>),
    InSet(Arc<ValueSet>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Is(SmolStr),
    OneOf(BTreeSet<SmolStr>),
    Contains(SmolStr),
    Begins(SmolStr),
    Ends(SmolStr),
    Like(SmolStr),
}

/// What has an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::routing) enum Measure {
    /// In millionths.
    Number(i64),
    Date(Date),
}

/// Two are the same if they are written the same.
#[derive(Clone, Debug)]
pub(in crate::routing) struct Pattern(Regex);

impl Test {
    pub(super) fn compile(config: &FilterConfig, known: &mut Lookups<'_>) -> Result<Self, Flaw> {
        let op = config.op;
        if config.ignore_case && !op.compares_text() {
            return Err(Flaw::new(
                "ignore_case",
                format!("has no meaning for `{}`", op.name()),
                if op == FilterOp::InSet { "say it of the set" } else { "leave it out" },
            ));
        }
        if op == FilterOp::Required {
            return match &config.value {
                None if config.on_missing.is_none() => Ok(Self::Present),
                None => {
                    let problem = "has no meaning for `required`, which asks just that";
                    Err(Flaw::new("on_missing", problem, "leave it out"))
                }
                Some(_) => {
                    let problem = "is not compared with anything by `required`";
                    Err(Flaw::new("value", problem, "leave it out, or use the op `eq`"))
                }
            };
        }
        let Some(value) = &config.value else {
            let problem = format!("is missing, which `{}` compares with", op.name());
            return Err(Flaw::new("value", problem, "add it"));
        };
        let fold = |text: &SmolStr| match config.ignore_case {
            true => SmolStr::from(text.to_lowercase()),
            false => text.clone(),
        };
        let written = || match value {
            FilterValue::One(text) => Ok(text),
            FilterValue::Many(_) => {
                Err(Flaw::new("value", "is a list", "write one value, or use the op `in`"))
            }
        };
        let one = || written().map(fold);
        let many = || match value {
            FilterValue::Many(texts) if !texts.is_empty() => Ok(texts.iter().map(fold).collect()),
            FilterValue::Many(_) | FilterValue::One(_) => {
                let is_empty = matches!(value, FilterValue::Many(_));
                let problem = if is_empty { "is an empty list" } else { "is no list of values" };
                Err(Flaw::new("value", problem, "write a list such as [\"OH\", \"PA\"]"))
            }
        };
        let want = match op {
            FilterOp::Eq | FilterOp::Ne => Text::Is(one()?),
            FilterOp::In | FilterOp::NotIn => Text::OneOf(many()?),
            FilterOp::Contains => Text::Contains(one()?),
            FilterOp::BeginsWith => Text::Begins(one()?),
            FilterOp::EndsWith => Text::Ends(one()?),
            FilterOp::Match => Text::Like(one()?),
            FilterOp::Regex => {
                // The expression as it is written: in small letters `\W` would be `\w`.
                return known.pattern(written()?, config.ignore_case).map(Self::Regex);
            }
            FilterOp::InSet => return set(&one()?, known.sets).map(Self::InSet),
            FilterOp::Gt | FilterOp::Ge | FilterOp::Lt | FilterOp::Le | FilterOp::Between => {
                return range(op, value);
            }
            FilterOp::Required => return Ok(Self::Present),
        };
        Ok(Self::Text { want, ignore_case: config.ignore_case })
    }

    /// `None` if `have` cannot be compared.
    pub(super) fn holds(&self, have: &str) -> Option<bool> {
        Some(match self {
            Self::Present => true,
            Self::Text { want, ignore_case: false } => want.fits(have),
            Self::Text { want, ignore_case: true } => want.fits(&folded(have)),
            Self::Regex(pattern) => pattern.fits(have),
            Self::Within(low, high) => {
                let have = Measure::parse(have)?;
                let kind = |end: &Bound<Measure>| match end {
                    Bound::Included(end) | Bound::Excluded(end) => end.is_alike(have),
                    Bound::Unbounded => true,
                };
                if !kind(low) || !kind(high) {
                    return None;
                }
                (*low, *high).contains(&have)
            }
            Self::InSet(set) => set.contains(have),
        })
    }
}

impl Test {
    /// A value that may fit.
    pub(super) fn example(&self) -> Option<SmolStr> {
        match self {
            Self::Present => Some(SmolStr::new_static("1")),
            Self::Text { want, .. } => want.example(),
            Self::Regex(_) => None,
            Self::Within(low, high) => match (low, high) {
                (Bound::Included(end), _) | (Bound::Unbounded, Bound::Included(end)) => {
                    Some(end.shown())
                }
                (Bound::Excluded(end), _) => end.next(1),
                (Bound::Unbounded, Bound::Excluded(end)) => end.next(-1),
                (Bound::Unbounded, Bound::Unbounded) => None,
            },
            Self::InSet(set) => set.example(),
        }
    }
}

impl Text {
    fn example(&self) -> Option<SmolStr> {
        match self {
            Self::Is(text) | Self::Contains(text) | Self::Begins(text) | Self::Ends(text) => {
                Some(text.clone())
            }
            Self::OneOf(texts) => texts.first().cloned(),
            Self::Like(pattern) => Some(pattern.replace('*', "").replace('?', "0").into()),
        }
    }

    fn fits(&self, have: &str) -> bool {
        match self {
            Self::Is(want) => have == want,
            Self::OneOf(wanted) => wanted.contains(have),
            Self::Contains(part) => have.contains(part.as_str()),
            Self::Begins(start) => have.starts_with(start.as_str()),
            Self::Ends(end) => have.ends_with(end.as_str()),
            Self::Like(pattern) => is_like(have, pattern),
        }
    }
}

impl Measure {
    /// A number with at most six decimal places, which is also how amounts are written, or a date.
    pub(in crate::routing) fn parse(text: &str) -> Option<Self> {
        let number = text.parse::<Money>().ok().map(|scaled| Self::Number(scaled.0));
        number.or_else(|| text.parse().ok().map(Self::Date))
    }

    /// A whole number or a day further on, or back.
    fn next(self, by: i8) -> Option<SmolStr> {
        let next = match self {
            Self::Number(scaled) => Self::Number(scaled.checked_add(i64::from(by) * Money::UNIT)?),
            Self::Date(date) => Self::Date(date.checked_add(i64::from(by).days()).ok()?),
        };
        Some(next.shown())
    }

    pub(in crate::routing) fn whole(count: usize) -> Option<Self> {
        i64::try_from(count).ok()?.checked_mul(Money::UNIT).map(Self::Number)
    }

    /// For people.
    pub(in crate::routing) fn shown(self) -> SmolStr {
        match self {
            Self::Number(scaled) => {
                let text = Money(scaled).to_smolstr();
                text.strip_suffix(".00").map_or_else(|| text.clone(), SmolStr::new)
            }
            Self::Date(date) => date.to_smolstr(),
        }
    }

    pub(super) fn is_alike(self, other: Self) -> bool {
        matches!((self, other), (Self::Number(_), Self::Number(_)) | (Self::Date(_), Self::Date(_)))
    }
}

impl Lookups<'_> {
    fn pattern(&mut self, text: &SmolStr, ignore_case: bool) -> Result<Pattern, Flaw> {
        let key = (text.clone(), ignore_case);
        if let Some(pattern) = self.patterns.get(&key) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::compile(text, ignore_case)?;
        self.patterns.insert(key, pattern.clone());
        Ok(pattern)
    }
}

impl Pattern {
    pub(in crate::routing) fn text(&self) -> &str {
        self.0.as_str()
    }

    pub(in crate::routing) fn fits(&self, have: &str) -> bool {
        self.0.is_match(have)
    }

    pub(in crate::routing) fn compile(text: &str, ignore_case: bool) -> Result<Self, Flaw> {
        let regex = RegexBuilder::new(text)
            .case_insensitive(ignore_case)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build();
        regex.map(Self).map_err(|error| {
            if matches!(error, regex::Error::CompiledTooBig(_)) {
                let remedy = "repeat less, or use several rules or a set";
                return Flaw::new("value", "is too large a regular expression", remedy);
            }
            // The last line of many says what is wrong; those before show where.
            let message = error.to_string();
            let cause = message.lines().last().unwrap_or_default();
            let cause = cause.trim_start_matches("error:").trim();
            let problem = format!("is no regular expression: {cause}");
            Flaw::new("value", problem, "correct it; look-around and back-references are not known")
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Flaw {
    pub(super) fn new(
        field: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { field, problem: problem.into(), remedy: remedy.into() }
    }
}

impl FilterOp {
    pub(in crate::routing) fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Contains => "contains",
            Self::BeginsWith => "begins_with",
            Self::EndsWith => "ends_with",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Between => "between",
            Self::Match => "match",
            Self::Regex => "regex",
            Self::Required => "required",
            Self::InSet => "in_set",
        }
    }

    fn compares_text(self) -> bool {
        match self {
            Self::Eq
            | Self::Ne
            | Self::In
            | Self::NotIn
            | Self::Contains
            | Self::BeginsWith
            | Self::EndsWith
            | Self::Match
            | Self::Regex => true,
            Self::Gt
            | Self::Ge
            | Self::Lt
            | Self::Le
            | Self::Between
            | Self::Required
            | Self::InSet => false,
        }
    }
}

fn set(id: &SmolStr, sets: &Sets) -> Result<Arc<ValueSet>, Flaw> {
    sets.get(id).cloned().ok_or_else(|| {
        let remedy = match sets.is_empty() {
            true => String::from("add it to `sets`"),
            false => suggestion(id, sets.keys().map(SmolStr::as_str)),
        };
        Flaw::new("value", "names no set of this configuration", remedy)
    })
}

fn range(op: FilterOp, value: &FilterValue) -> Result<Test, Flaw> {
    let measure = |text: &SmolStr| {
        Measure::parse(text).ok_or_else(|| {
            let remedy = "write a decimal number, or a date such as \"2026-03-17\"";
            Flaw::new("value", "is neither a number nor a date", remedy)
        })
    };
    let ends = match (op, value) {
        (FilterOp::Between, FilterValue::Many(ends)) if ends.len() == 2 => {
            let (low, high) = (measure(&ends[0])?, measure(&ends[1])?);
            if !low.is_alike(high) || low > high {
                let problem = "does not go from less to more";
                return Err(Flaw::new("value", problem, "write the lower end first"));
            }
            (Bound::Included(low), Bound::Included(high))
        }
        (FilterOp::Between, _) => {
            let remedy = "write a list such as [50, 80]";
            return Err(Flaw::new("value", "is not two numbers or dates", remedy));
        }
        (_, FilterValue::Many(_)) => {
            let remedy = "write one value, or use the op `between`";
            return Err(Flaw::new("value", "is a list", remedy));
        }
        (FilterOp::Gt, FilterValue::One(text)) => {
            (Bound::Excluded(measure(text)?), Bound::Unbounded)
        }
        (FilterOp::Ge, FilterValue::One(text)) => {
            (Bound::Included(measure(text)?), Bound::Unbounded)
        }
        (FilterOp::Lt, FilterValue::One(text)) => {
            (Bound::Unbounded, Bound::Excluded(measure(text)?))
        }
        (_, FilterValue::One(text)) => (Bound::Unbounded, Bound::Included(measure(text)?)),
    };
    Ok(Test::Within(ends.0, ends.1))
}

/// In small letters.
fn folded(text: &str) -> Cow<'_, str> {
    let is_folded = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_folded { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

/// The first few values, for people.
pub(super) fn shown(value: &FilterValue) -> SmolStr {
    const SHOWN_MAX: usize = 8;
    match value {
        FilterValue::One(text) => text.clone(),
        FilterValue::Many(texts) => {
            let first: Vec<_> = texts.iter().take(SHOWN_MAX).map(SmolStr::as_str).collect();
            let first = first.join(", ");
            match texts.len().saturating_sub(SHOWN_MAX) {
                0 => first.to_smolstr(),
                more => smol_str::format_smolstr!("{first} and {more} more"),
            }
        }
    }
}
