//! Tables that stand where they are meant, or under a name where several can name them.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use super::{GroupConfig, PriceConfig, RoutingConfig};

/// A table, or the name of one of its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NamedOr<T> {
    Named(SmolStr),
    Written(Box<T>),
}

impl<T> NamedOr<T> {
    pub fn name(&self) -> Option<&SmolStr> {
        match self {
            Self::Named(name) => Some(name),
            Self::Written(_) => None,
        }
    }

    pub fn written(&self) -> Option<&T> {
        match self {
            Self::Named(_) => None,
            Self::Written(table) => Some(table),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NamedOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrName<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableOrName<T> {
            type Value = NamedOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or the name of one")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<NamedOr<T>, E> {
                Ok(NamedOr::Named(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NamedOr<T>, A::Error> {
                let table = T::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NamedOr::Written(Box::new(table)))
            }
        }

        deserializer.deserialize_any(TableOrName(PhantomData))
    }
}

impl RoutingConfig {
    /// What has a name, and nobody names it; as sentences.
    pub fn unused(&self) -> Vec<String> {
        let schedules = self.schedules.iter().map(|it| &it.id);
        let of_targets = self.targets.iter().filter_map(|it| it.schedule.as_ref());
        let of_publishers = self.publishers.iter().filter_map(|it| it.price.as_ref());
        let of_campaigns = self.campaigns.iter().filter_map(|it| it.price.as_ref());
        let of_prices = of_publishers.chain(of_campaigns).flat_map(PriceConfig::schedules);
        let of_buyers = self.buyers.iter().filter_map(|it| it.schedule.as_ref());
        let of_owners = of_targets.chain(of_buyers).chain(&self.defaults.schedule);
        let by_schedule = of_owners.chain(of_prices).filter_map(NamedOr::name).collect();

        let filter_sets = self.filter_sets.iter().map(|it| &it.id);
        let entries = self.targets.iter().flat_map(|it| &it.filters.all);
        let by_filter = entries.filter_map(GroupConfig::set).collect();

        let plans = self.plans.iter().map(|it| &it.id);
        let by_plan = self.campaigns.iter().filter_map(|it| it.routing.name()).collect();

        let enrichers = self.enrichers.iter().map(|it| &it.id);
        let by_enrich = self.campaigns.iter().flat_map(|it| &it.enrich).collect();

        let schedules = unnamed("schedule", "target, buyer or price", schedules, &by_schedule);
        let filter_sets = unnamed("filter set", "target", filter_sets, &by_filter);
        let plans = unnamed("plan", "campaign", plans, &by_plan);
        let enrichers = unnamed("enricher", "campaign", enrichers, &by_enrich);
        schedules.chain(filter_sets).chain(plans).chain(enrichers).collect()
    }
}

fn unnamed<'a>(
    kind: &'a str,
    who: &'a str,
    ids: impl Iterator<Item = &'a SmolStr>,
    named: &BTreeSet<&SmolStr>,
) -> impl Iterator<Item = String> {
    let unnamed: Vec<_> = ids.filter(|id| !named.contains(id)).collect();
    unnamed.into_iter().map(move |id| format!("the {kind} {id} is named by no {who}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_names_is_told() {
        let config: RoutingConfig = toml::from_str(
            r#"
            schedules = [{ id = "days", always_open = true }, { id = "nights", always_open = true },
                { id = "noons", always_open = true }]
            buyers = [{ id = "b", schedule = "noons" }]
            filter_sets = [{ id = "ohio", all = [] }, { id = "iowa", all = [] }]
            plans = [{ id = "one", tiers = [] }, { id = "two", tiers = [] }]
            publishers = [{ id = "p", price = { hourly = [{ min_revenue = "1.00", during = "days" }] } }]
            [[targets]]
            id = "t"
            buyer = "b"
            dial = { kind = "sip", uri = "sip:a" }
            filters.all = [{ set = "ohio" }]
            [[campaigns]]
            id = "c"
            routing = "one"
            "#,
        )
        .unwrap();
        assert_eq!(
            config.unused(),
            [
                "the schedule nights is named by no target, buyer or price",
                "the filter set iowa is named by no target",
                "the plan two is named by no campaign",
            ]
        );
    }
}
