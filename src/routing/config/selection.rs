//! How the targets of a tier share its calls.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use crate::money::Money;
use crate::routing::performance::ScopeKind;

use super::{Otherwise, ScoreTimes, ScoredConfig};

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
    /// By what a call is expected to bring, as the calls of before say.
    Performance(PerformanceConfig),
    /// By what a model says.
    Scorer(ScoredConfig),
}

/// What is expected of a call at a target: P(connect) × P(convert) × revenue, less payout. Chances
/// are the means of Beta posteriors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceConfig {
    pub order: Ranking,
    /// What attempts are counted by; the narrowest with `min_calls` speaks.
    pub track_by: Vec<ScopeKind>,
    /// Attempts before a scope speaks, 1 to 100,000. Where none has so many, the default does.
    pub min_calls: u32,
    /// Attempts in the narrowest scope from which on a target is no longer new, up to 1,000,000.
    pub desired_calls: u32,
    /// Days of UTC that are looked back at, today included, 1 to 90.
    pub lookback_days: u32,
    /// Of a hundred calls, how many go first to a target that is new, by weight.
    pub exploration_pct: u32,
    /// What they may cost a campaign in a day of UTC, as the difference to the best target that is
    /// expected. Absent: any amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exploration_daily: Option<Money>,
    pub count_attempts_on: CountAttempts,
    /// What is thought of a target of which nothing is known, and how many calls of its own weigh as
    /// much as that thought (0 to 100,000).
    pub default_connect_pct: u32,
    pub default_convert_pct: u32,
    pub default_calls: u32,
    /// What a new target is given in addition, of a hundred of what is expected of it; less with
    /// each call it has had. Up to 1,000.
    pub new_bonus_pct: u32,
    /// What a target is given that is no longer new, and of which less is expected than of the
    /// average.
    pub behind_bonus_pct: u32,
}

/// How scores become an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// The best first.
    #[default]
    Strict,
    /// Drawn, by weight times score.
    Weighted,
}

/// What an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountAttempts {
    #[default]
    Dial,
    /// Only what was connected; a target is then taken to answer.
    Connect,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self {
            order: Ranking::default(),
            track_by: ScopeKind::ALL.to_vec(),
            min_calls: 30,
            desired_calls: 250,
            lookback_days: 14,
            exploration_pct: 5,
            exploration_daily: Some(Money(100 * Money::UNIT)),
            count_attempts_on: CountAttempts::default(),
            default_connect_pct: 60,
            default_convert_pct: 30,
            default_calls: 10,
            new_bonus_pct: 0,
            behind_bonus_pct: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Smooth,
    Random,
    Performance,
    Scorer,
}

/// A distribution as a table, with what any of them may say. Serde would read one with a tag as a whole
/// before it looks into it, and then not tell where in it a fault is.
macro_rules! table {
    ($($field:ident: $type:ty),* $(,)?) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            by: By,
            order: Option<Ranking>,
            exploration_daily: Option<Money>,
            $($field: Option<$type>,)*
            scorer: Option<SmolStr>,
            times: Option<ScoreTimes>,
            otherwise: Option<Otherwise>,
        }

        impl Table {
            const OF_PERFORMANCE: &[&str] =
                &["by", "order", "exploration_daily", $(stringify!($field)),*];
            const OF_SCORER: &[&str] = &["by", "scorer", "order", "times", "otherwise"];

            /// The fields that are there.
            fn written(&self) -> impl Iterator<Item = &'static str> {
                let fields = [
                    ("order", self.order.is_some()),
                    ("exploration_daily", self.exploration_daily.is_some()),
                    $((stringify!($field), self.$field.is_some()),)*
                    ("scorer", self.scorer.is_some()),
                    ("times", self.times.is_some()),
                    ("otherwise", self.otherwise.is_some()),
                ];
                fields.into_iter().filter(|(_, is_there)| *is_there).map(|(field, _)| field)
            }

            fn performance(self) -> PerformanceConfig {
                let built_in = PerformanceConfig::default();
                PerformanceConfig {
                    order: self.order.unwrap_or(built_in.order),
                    exploration_daily: self.exploration_daily.or(built_in.exploration_daily),
                    $($field: self.$field.unwrap_or(built_in.$field),)*
                }
            }
        }
    };
}

table! {
    track_by: Vec<ScopeKind>,
    min_calls: u32,
    desired_calls: u32,
    lookback_days: u32,
    exploration_pct: u32,
    count_attempts_on: CountAttempts,
    default_connect_pct: u32,
    default_convert_pct: u32,
    default_calls: u32,
    new_bonus_pct: u32,
    behind_bonus_pct: u32,
}

impl Table {
    fn scored<E: de::Error>(self) -> Result<ScoredConfig, E> {
        Ok(ScoredConfig {
            scorer: self.scorer.ok_or_else(|| E::missing_field("scorer"))?,
            order: self.order.unwrap_or_default(),
            times: self.times.unwrap_or_default(),
            otherwise: self.otherwise.unwrap_or_default(),
        })
    }
}

impl<'de> Deserialize<'de> for DistributionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                    "performance" => {
                        Ok(DistributionConfig::Performance(PerformanceConfig::default()))
                    }
                    "scorer" => {
                        Err(E::custom("write { by = \"scorer\", scorer = … } to name the scorer"))
                    }
                    _ => Err(E::unknown_variant(name, &["smooth", "random", "performance"])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DistributionConfig, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let of_others = |known: &'static [&'static str]| {
                    let stranger = table.written().find(|field| !known.contains(field));
                    stranger.map_or(Ok(()), |field| Err(de::Error::unknown_field(field, known)))
                };
                match table.by {
                    By::Smooth => of_others(&["by"]).map(|()| DistributionConfig::Smooth),
                    By::Random => of_others(&["by"]).map(|()| DistributionConfig::Random),
                    By::Performance => {
                        of_others(Table::OF_PERFORMANCE)?;
                        Ok(DistributionConfig::Performance(table.performance()))
                    }
                    By::Scorer => {
                        of_others(Table::OF_SCORER)?;
                        table.scored().map(DistributionConfig::Scorer)
                    }
                }
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
        assert!(error.contains("`smooth`, `random`"), "{error}");
        assert!(read(r#"{ "by": "smooth", "seed": 1 }"#).is_err());
        let rules = PerformanceConfig { min_calls: 9, ..PerformanceConfig::default() };
        let written = r#"{ "by": "performance", "min_calls": 9 }"#;
        assert_eq!(read(written).unwrap(), DistributionConfig::Performance(rules));
        assert!(read(r#"{ "by": "performance", "min_call": 9 }"#).is_err());
        let kept = serde_json::to_string(&read(written).unwrap()).unwrap();
        assert_eq!(read(&kept).unwrap(), read(written).unwrap());
        let scored =
            r#"{ "by": "scorer", "scorer": "s", "order": "weighted", "otherwise": "random" }"#;
        let kept = serde_json::to_string(&read(scored).unwrap()).unwrap();
        assert_eq!(read(&kept).unwrap(), read(scored).unwrap());
        for (wrong, says) in [
            (r#"{ "by": "scorer" }"#, "missing field `scorer`"),
            (r#"{ "by": "scorer", "scorer": "s", "min_calls": 9 }"#, "unknown field `min_calls`"),
            (r#"{ "by": "performance", "scorer": "s" }"#, "unknown field `scorer`"),
            (r#"{ "by": "chance" }"#, "unknown variant `chance`"),
            (r#"{ "order": "strict" }"#, "missing field `by`"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn every_field_that_is_said_is_kept_as_it_is() {
        let other = PerformanceConfig {
            order: Ranking::Weighted,
            track_by: vec![],
            min_calls: 1,
            desired_calls: 2,
            lookback_days: 3,
            exploration_pct: 4,
            exploration_daily: Some(Money(5)),
            count_attempts_on: CountAttempts::Connect,
            default_connect_pct: 6,
            default_convert_pct: 7,
            default_calls: 8,
            new_bonus_pct: 9,
            behind_bonus_pct: 10,
        };
        let other = DistributionConfig::Performance(other);
        let kept = serde_json::to_string(&other).unwrap();
        assert_eq!(serde_json::from_str::<DistributionConfig>(&kept).unwrap(), other);
    }
}
