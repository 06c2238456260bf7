//! Values that may be written in more than one way.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::{SmolStr, ToSmolStr};

use crate::id::PublisherId;

/// One number or an inclusive range: `"+18005550100-+18005550149"`, or a table
/// `{ number = "…", publisher = "…" }` to name its publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NumberConfig {
    pub number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherId>,
}

/// One value or several. Numbers and booleans are compared as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterValue {
    One(SmolStr),
    Many(Vec<SmolStr>),
}

/// How sure a match is, in hundredths. Written as a fraction such as `0.9`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode,
)]
#[cbor(transparent)]
pub struct Confidence(#[n(0)] pub u8);

impl Default for Confidence {
    fn default() -> Self {
        Self(90)
    }
}

/// As it is written.
impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Confidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 100.0)
    }
}

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fraction = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&fraction) {
            return Err(de::Error::custom("is no fraction from 0 to 1; write one such as 0.9"));
        }
        // In range by the check above, so the cast only rounds.
        Ok(Self((fraction * 100.0).round() as u8))
    }
}

impl<'de> Deserialize<'de> for NumberConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            number: String,
            #[serde(default)]
            publisher: Option<PublisherId>,
        }

        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = NumberConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a number, a range of numbers, or a table with `number` and `publisher`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NumberConfig, E> {
                Ok(NumberConfig { number: text.to_owned(), publisher: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NumberConfig, A::Error> {
                let Table { number, publisher } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NumberConfig { number, publisher })
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

impl Serialize for FilterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(text) => text.serialize(serializer),
            Self::Many(texts) => texts.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FilterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = FilterValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, a boolean, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FilterValue, E> {
                Ok(FilterValue::One(SmolStr::new(text)))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<FilterValue, E> {
                Ok(FilterValue::One(value.to_smolstr()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<FilterValue, E> {
                Ok(FilterValue::One(value.to_smolstr()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<FilterValue, E> {
                Ok(FilterValue::One(value.to_smolstr()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<FilterValue, E> {
                Ok(FilterValue::One(value.to_smolstr()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FilterValue, A::Error> {
                let mut texts = vec![];
                while let Some(value) = seq.next_element()? {
                    match value {
                        FilterValue::One(text) => texts.push(text),
                        FilterValue::Many(_) => {
                            return Err(de::Error::custom("a list within a list"));
                        }
                    }
                }
                Ok(FilterValue::Many(texts))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_value_may_be_one_or_several_of_any_kind() {
        let read = |text| serde_json::from_str::<FilterValue>(text).unwrap();
        assert_eq!(read("\"OH\""), FilterValue::One("OH".into()));
        assert_eq!(read("true"), FilterValue::One("true".into()));
        assert_eq!(read("[50, 80.5]"), FilterValue::Many(vec!["50".into(), "80.5".into()]));
        assert!(serde_json::from_str::<FilterValue>("[[1]]").is_err());
    }
}
