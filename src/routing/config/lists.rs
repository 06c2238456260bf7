//! Lists of callers: those nobody is to hear from, and those a buyer has or wants.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

/// Callers who are treated alike.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerListConfig {
    pub id: SmolStr,
    pub kind: ListKind,
    /// Of `kind = "block"`: why.
    #[serde(default)]
    pub category: ListCategory,
    /// The callers, or a file of them. Kept nowhere: they are numbers of people.
    #[serde(default, skip_serializing)]
    pub callers: Option<Vec<CallerEntry>>,
    /// A caller on each line. A relative path starts at the working directory.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What stands there in place of numbers; absent: numbers.
    #[serde(default)]
    pub hash: Option<ListHash>,
    /// The environment variable that holds the key of `hmac-sha256`, or what precedes the number in
    /// `sha256`.
    #[serde(default)]
    pub key_env: Option<SmolStr>,
    /// How a number was written when it was hashed.
    #[serde(default)]
    pub form: NumberForm,
}

/// A number or its hash, and perhaps a date. As text or as an integer; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerEntry(pub(in crate::routing) String);

/// What follows for those who are on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// None of their calls is taken, whatever it is for.
    Block,
    /// Campaigns, buyers and targets that name the list do not take them.
    Suppress,
    /// Campaigns, buyers and targets that name the list take nobody else.
    Accept,
}

/// Why callers are blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListCategory {
    #[default]
    Blocked,
    /// They are known to sue.
    Litigator,
}

/// How a list says whom it means without saying their numbers. In hexadecimal, 64 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ListHash {
    #[serde(rename = "sha256")]
    Sha256,
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

/// One number, `+16145550188`, as it may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberForm {
    /// `+16145550188`
    #[default]
    E164,
    /// `16145550188`
    Digits,
    /// `6145550188`, of North American numbers alone.
    National,
}

/// What a key is; never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey(Box<[u8]>);

impl SecretKey {
    /// The bytes of the text.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// What it is. To be shown to whom it is meant for, and to nobody else.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl<'de> Deserialize<'de> for SecretKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

impl NumberForm {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::E164 => "e164",
            Self::Digits => "digits",
            Self::National => "national",
        }
    }
}

/// Anything is taken: what is wrong with it is told without repeating it.
impl<'de> Deserialize<'de> for CallerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl Visitor<'_> for Anything {
            type Value = CallerEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CallerEntry, E> {
                Ok(CallerEntry(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CallerEntry, E> {
                Ok(CallerEntry(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<CallerEntry, E> {
                Ok(CallerEntry(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<CallerEntry, E> {
                Ok(CallerEntry(String::new()))
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

impl fmt::Debug for CallerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerEntry")
    }
}

/// Without the callers.
impl fmt::Debug for CallerListConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerListConfig").field("id", &self.id).finish_non_exhaustive()
    }
}
