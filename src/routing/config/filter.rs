//! Filters on tags, and the lists they may name.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use crate::routing::geo::Basis;

use super::{Confidence, FilterValue};

/// What a call's tags must say: every entry must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiltersConfig {
    pub all: Vec<GroupConfig>,
}

/// What several targets have, under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterSetConfig {
    pub id: SmolStr,
    pub all: Vec<GroupConfig>,
}

/// A rule, a list of rules of which one must hold, or all that a filter set says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum GroupConfig {
    Set { set: SmolStr },
    Rule(Box<FilterConfig>),
    OneOf(Vec<FilterConfig>),
}

/// What one tag must say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    pub tag: SmolStr,
    pub op: FilterOp,
    /// What the tag is compared with. None for `required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<FilterValue>,
    /// The rule holds where it would not otherwise.
    #[serde(default)]
    pub not: bool,
    /// Capitals and small letters are the same. Only for comparisons of text.
    #[serde(default)]
    pub ignore_case: bool,
    /// Whether the rule holds for a call without the tag; `not` does not turn this round. Default:
    /// `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_missing: Option<OnMissing>,
    /// How a place (`geo.…`) or `line_type` has to be known at least. Default: by the area code of the
    /// caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_basis: Option<Basis>,
    /// How surely it has to be known, 0 to 0.95. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_confidence: Option<Confidence>,
}

/// How a tag is compared. Text compares exactly, unless `ignore_case` is set. Numbers are decimal,
/// with at most six places, dates are written `2026-03-17`; a tag that is neither is not compared,
/// so that the rule does not hold, with `not` neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterOp {
    Eq,
    Ne,
    In,
    NotIn,
    Contains,
    BeginsWith,
    EndsWith,
    /// More than a number, or after a date.
    Gt,
    Ge,
    Lt,
    Le,
    /// From the first to the second of two numbers or dates, both included.
    Between,
    /// As a whole like a pattern, in which `*` is any text and `?` is any one character.
    Match,
    /// Like a regular expression, anywhere in the tag unless it says `^` or `$`.
    Regex,
    /// The tag is there, whatever it says.
    Required,
    /// Is in one of `sets`, which `value` names.
    InSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    Pass,
    Fail,
}

/// A list that filters name, such as the ZIP codes of a region. It is written out, or stands in a
/// file with one value on each line; a line that begins with `#` is a comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    pub id: SmolStr,
    pub kind: SetKind,
    /// Codes of digits may be ranges, such as `43000-43299`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<FilterValue>,
    /// A relative path starts at the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Capitals and small letters are the same. Only for `text`; a state is the same in any case.
    #[serde(default)]
    pub ignore_case: bool,
}

/// What is in a set. Those of digits are bitmaps, and take the memory that is said, however full
/// they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetKind {
    /// US ZIP codes of five digits. 12.5 kB.
    Zip,
    /// North American area codes. 125 bytes.
    Npa,
    /// Area code and exchange, six digits. 125 kB.
    NpaNxx,
    /// States and provinces, by their two letters.
    State,
    Text,
}

impl GroupConfig {
    /// Its own.
    pub fn rules(&self) -> &[FilterConfig] {
        match self {
            Self::Set { .. } => &[],
            Self::Rule(rule) => std::slice::from_ref(rule),
            Self::OneOf(rules) => rules,
        }
    }

    /// The filter set that it names.
    pub fn set(&self) -> Option<&SmolStr> {
        match self {
            Self::Set { set } => Some(set),
            Self::Rule(_) | Self::OneOf(_) => None,
        }
    }

    /// Where a rule stands if the entry stands at `path`.
    pub(in crate::routing) fn path(&self, path: &str, place: usize) -> String {
        match self {
            Self::Rule(_) | Self::Set { .. } => path.to_owned(),
            Self::OneOf(_) => format!("{path}[{place}]"),
        }
    }
}

impl<'de> Deserialize<'de> for GroupConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RuleOrList;

        impl<'de> Visitor<'de> for RuleOrList {
            type Value = GroupConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule, a list of rules of which one must hold, or { set = \"name\" }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GroupConfig, A::Error> {
                let first: Option<SmolStr> = map.next_key()?;
                if first.as_deref() == Some("set") {
                    let set = map.next_value()?;
                    if map.next_key::<SmolStr>()?.is_some() {
                        let stands_alone =
                            "`set` names all that a filter set says, and stands alone";
                        return Err(A::Error::custom(stands_alone));
                    }
                    return Ok(GroupConfig::Set { set });
                }
                let map = Resumed { first, rest: map };
                let rule = FilterConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(GroupConfig::Rule(Box::new(rule)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<GroupConfig, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(GroupConfig::OneOf)
            }
        }

        deserializer.deserialize_any(RuleOrList)
    }
}

/// A map of which one key has been read.
struct Resumed<A> {
    first: Option<SmolStr>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Resumed<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_rule_or_a_list_of_alternatives() {
        let filters: FiltersConfig = toml::from_str(
            r#"all = [
                { tag = "a", op = "eq", value = 1 },
                [{ tag = "b", op = "required" }, { tag = "c", op = "required", not = true }],
            ]"#,
        )
        .unwrap();

        let tags = |group: &GroupConfig| {
            group.rules().iter().map(|rule| rule.tag.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(filters.all.iter().map(tags).collect::<Vec<_>>(), [vec!["a"], vec!["b", "c"]]);
    }
}
