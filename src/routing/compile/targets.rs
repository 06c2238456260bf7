//! Where buyers take calls.

use crate::money::Money;
use crate::routing::config::{DialConfig, PayScope, RoutingConfig, Source, TargetConfig};
use crate::routing::dial::{DIALS_MAX, Dial, DialTemplate, Failover, Way};
use crate::routing::effective::{InheritedTables, TargetSources};
use crate::routing::list::ListRules;
use crate::routing::snapshot::{Conversion, Target};

use super::caps::Clock;
use super::openings::{Opening, OthersOpenings};
use super::scopes::{Owned, Shared};
use super::{Compiler, ms, named, settings};

impl Compiler<'_> {
    pub(super) fn targets(&mut self, config: &RoutingConfig, shared: &Shared) -> Vec<Target> {
        let others = self.openings_of_others(config);
        let targets = config.targets.iter().enumerate();
        targets.filter_map(|(t, target)| self.target(t, target, config, shared, &others)).collect()
    }

    /// `None` only together with a fault.
    fn target(
        &mut self,
        place: usize,
        config: &TargetConfig,
        all: &RoutingConfig,
        shared: &Shared,
        others: &OthersOpenings,
    ) -> Option<Target> {
        let path = &format!("targets[{place}]");
        let buyer = self.buyer_index.get(config.buyer.as_str()).copied();
        if buyer.is_none() {
            self.dangling(&format!("{path}.buyer"), "buyer", config.buyer.as_str());
        }
        self.setting(path, "ring_timeout_s", &config.ring_timeout_s, settings::RING_TIMEOUT_S);
        self.setting(
            path,
            "first_response_ms",
            &config.first_response_ms,
            settings::FIRST_RESPONSE_MS,
        );
        self.setting(path, "max_pdd_ms", &config.max_pdd_ms, settings::MAX_PDD_MS);
        self.setting(path, "max_duration_s", &config.max_duration_s, settings::MAX_DURATION_S);
        let own = (!config.next_way_on.is_inherited()).then_some(config.next_way_on.as_slice());
        self.codes(path, "next_way_on", own);
        let dials = self.dials(path, config, all);
        let Opening { schedule, written, from, zone_from } =
            self.opening(path, config, buyer, others, all);
        let said = (written, from);
        let zone = schedule.as_ref().map_or(0, |schedule| self.zones.intern(schedule.zone()));
        let clock = Clock { zone, schedule: schedule.as_ref() };
        let mut own = self.own_limits(path, config, &clock);
        shared.extend(place, buyer, &mut own);
        let Owned { caps, gaps, concurrency, pairs } = own;
        let conversion = config.conversion.as_ref().map(|conversion| {
            let revenue = conversion.revenue;
            if revenue.0 < 0 {
                let remedy = "write 0.00 or more";
                self.fault(path, "conversion.revenue", revenue, "is negative", remedy);
            }
            self.no_more_than(path, "conversion.revenue", revenue, Money::OF_A_CALL_MAX);
            let (seconds, longest) = (conversion.seconds, *config.max_duration_s);
            if seconds > longest && settings::MAX_DURATION_S.contains(&longest) {
                let problem = format!(
                    "is never reached: no call lasts longer than max_duration_s, {longest}"
                );
                let remedy = format!("write {longest} or less, or raise max_duration_s");
                self.fault(path, "conversion.seconds", seconds, &problem, &remedy);
            }
            let scopes = [PayScope::Target, PayScope::Buyer, PayScope::Campaign, PayScope::Account];
            self.pay_duplicates(&format!("{path}.conversion"), &conversion.dedupe, &scopes);
            Conversion { seconds: conversion.seconds, revenue, dedupe: conversion.dedupe }
        });
        let buyer = buyer.map(|buyer| &all.buyers[buyer]);
        let of_buyer = buyer.and_then(|buyer| buyer.dedupe.as_ref());
        let of_all = all.defaults.dedupe.as_ref();
        let dedupe = self.target_dedupe(path, config, of_buyer, of_all);
        let (own, buyers) = (config.dedupe.is_some(), of_buyer.is_some());
        let dedupe_from = Source::of(own, buyers, of_all.is_some());
        let of_buyer = buyer.and_then(|buyer| buyer.circuit.as_ref());
        let of_all = all.defaults.circuit.as_ref();
        let circuit = self.target_circuit(path, config, of_buyer.or(of_all));
        let (own, buyers) = (config.circuit.is_some(), of_buyer.is_some());
        let circuit_from = Source::of(own, buyers, of_all.is_some());
        let filters = self.filters(path, &config.filters);
        Some(Target {
            id: config.id.clone(),
            buyer: config.buyer.clone(),
            name: named(&config.name, config.id.as_str()),
            dials: dials?,
            ring_timeout_ms: ms(*config.ring_timeout_s),
            first_response_ms: *config.first_response_ms,
            max_pdd_ms: *config.max_pdd_ms,
            next_way_on: config.next_way_on.to_vec(),
            ring_timeout_covers_progress: *config.ring_timeout_covers_progress,
            max_duration_ms: ms(*config.max_duration_s),
            paused: config.paused,
            schedule,
            written_schedule: said.0,
            caps,
            gaps,
            concurrency,
            pairs,
            filters,
            dedupe,
            from: TargetSources::of(
                config,
                InheritedTables {
                    schedule: said.1,
                    time_zone: zone_from.unwrap_or_else(|| all.account.zone_from()),
                    dedupe: dedupe_from,
                    circuit: circuit_from,
                },
            ),
            lists: ListRules::default(),
            conversion,
            circuit,
        })
    }

    /// `None` only together with a fault.
    fn dials(
        &mut self,
        path: &str,
        target: &TargetConfig,
        all: &RoutingConfig,
    ) -> Option<Vec<Dial>> {
        let config = &target.dial;
        let count = config.iter().count();
        if !(1..=DIALS_MAX).contains(&count) {
            let remedy = format!("list 1 to {DIALS_MAX}");
            let problem = "is not how many ways there can be to a target";
            self.fault(path, "dial", count, problem, &remedy);
        }
        let dials = config.iter().zip(1..).map(|((field, dial), place)| {
            let compiled = self.dial(&format!("{path}.{field}"), dial, place, count, all)?;
            let trunk = all.trunks.iter().find(|it| dial.trunk.as_ref() == Some(&it.id));
            let next_way_on = trunk.and_then(|it| it.next_way_on.as_ref());
            let failover = Failover::of(
                next_way_on.unwrap_or(&target.next_way_on),
                trunk.and_then(|it| it.advance_on.as_deref()),
            );
            Some(Dial { failover, ..compiled })
        });
        // Each is looked at, so that all faults are found.
        let dials: Vec<_> = dials.collect();
        dials.into_iter().collect::<Option<Vec<_>>>().filter(|dials| !dials.is_empty())
    }

    fn dial(
        &mut self,
        path: &str,
        config: &DialConfig,
        place: u16,
        count: usize,
        all: &RoutingConfig,
    ) -> Option<Dial> {
        let DialConfig { uri, trunk, priority, weight, tls, kind: _ } = config;
        if let Some(trunk) = trunk
            && !all.trunks.iter().any(|it| it.id == *trunk)
        {
            self.dangling(&format!("{path}.trunk"), "trunk", trunk.as_str());
        }
        self.within(path, "weight", *weight, 0..=1_000);
        let template = match DialTemplate::compile(config) {
            Ok(template) => template,
            Err((problem, remedy)) => {
                self.fault(path, "uri", uri, problem, remedy);
                return None;
            }
        };
        let way = (count > 1 || trunk.is_some()).then(|| Way::of(trunk.as_ref(), &template));
        let (priority, tls) = (priority.unwrap_or(place), tls.clone());
        Some(Dial {
            template,
            trunk: trunk.clone(),
            priority,
            weight: *weight,
            tls,
            way,
            failover: None,
        })
    }
}
