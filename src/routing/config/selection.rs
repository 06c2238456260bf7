//! How the targets of a tier share its calls.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// By what the targets of a tier are put in order (spec/domain §2.5). Written as a name such as
/// `"random"`, or as a table `{ by = "random" }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum DistributionConfig {
    /// Smooth weighted rotation: exact shares over any stretch of calls.
    #[default]
    Smooth,
    /// A weighted draw for each call, which can be made again.
    Random,
}

impl<'de> Deserialize<'de> for DistributionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
        enum Table {
            Smooth {},
            Random {},
        }

        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = DistributionConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a distribution, or a table with `by`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<DistributionConfig, E> {
                match name {
                    "smooth" => Ok(DistributionConfig::Smooth),
                    "random" => Ok(DistributionConfig::Random),
                    _ => Err(E::unknown_variant(name, &["smooth", "random"])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DistributionConfig, A::Error> {
                Ok(match Table::deserialize(MapAccessDeserializer::new(map))? {
                    Table::Smooth {} => DistributionConfig::Smooth,
                    Table::Random {} => DistributionConfig::Random,
                })
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_a_name_or_a_table() {
        let read = |text| serde_json::from_str::<DistributionConfig>(text);
        assert_eq!(read(r#""random""#).unwrap(), DistributionConfig::Random);
        assert_eq!(read(r#"{ "by": "smooth" }"#).unwrap(), DistributionConfig::Smooth);
        let error = read(r#""randon""#).unwrap_err().to_string();
        assert!(error.contains("`smooth` or `random`"), "{error}");
        assert!(read(r#"{ "by": "smooth", "seed": 1 }"#).is_err());
    }
}
