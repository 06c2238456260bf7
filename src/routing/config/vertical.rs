//! What the calls of one trade say about themselves.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::FilterValue;

/// The tags that pings for the campaigns of one trade may and must carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerticalConfig {
    pub id: SmolStr,
    /// What becomes of a tag that is not among `tags`.
    #[serde(default)]
    pub unknown: UnknownTags,
    pub tags: Vec<TagConfig>,
}

/// What becomes of tags that nobody described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownTags {
    /// They are taken as they are. No filter can ask for them.
    #[default]
    Keep,
    /// They are forgotten.
    Drop,
    /// The ping is refused.
    Refuse,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagConfig {
    /// As filters name it, such as `lead.age`.
    pub name: SmolStr,
    #[serde(rename = "type")]
    pub kind: TagKind,
    /// Of an `enum`: what it may say. Compared in any case, kept as it is written here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<SmolStr>,
    /// A ping without it is refused.
    #[serde(default)]
    pub required: bool,
    /// Least number, amount or date; of a text the least count of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<FilterValue>,
    /// Most, as `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<FilterValue>,
    /// Of a `text`: a regular expression that is somewhere in it, unless it says `^` or `$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Says who somebody is: explanations do not show it.
    #[serde(default)]
    pub pii: bool,
    /// Further names under which pings may send it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<SmolStr>,
}

/// What a tag may say. A ping may write it in several ways, and it is kept in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagKind {
    /// Anything, kept as it came.
    Text,
    /// Decimal, with at most six places.
    Number,
    Integer,
    /// `true` or `false`; also yes, no, y, n, 1, 0, on, off.
    Boolean,
    /// One of `values`.
    Enum,
    /// A state or province, by its two letters or its name; kept as two letters.
    State,
    /// A US ZIP code; of one with nine digits five are kept.
    Zip,
    /// A telephone number, kept in E.164; ten digits are a North American one.
    Phone,
    /// Year, month and day, `2026-03-17`.
    Date,
    /// An amount, also with a `$` before it; kept with at least two places.
    Money,
}
