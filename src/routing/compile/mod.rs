//! From the configuration as written to the snapshot; finds every fault on the way.

mod access;
mod account;
mod callers;
mod campaigns;
mod caps;
mod circuit;
mod concurrency;
mod doors;
mod enrichers;
mod filters;
mod geo;
mod lists;
mod modes;
mod named;
mod no_route;
mod numbers;
mod openings;
mod plans;
mod price;
mod publishers;
mod quota;
mod rooms;
mod scopes;
mod scorers;
mod selection;
mod sets;
mod settings;
mod targets;
mod trunks;
mod verticals;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::phone::PhoneNumber;

use super::config::{ConfigFault, RoutingConfig, Source};
use super::enrich::Enricher;
use super::filter::{Filters, Patterns};
use super::hold::{Counts, PaceSteps};
use super::limits::Zones;
use super::performance::rate::LOOKBACK_DAYS;
use super::schedule::Schedule;
use super::scorer::{KnownScorer, ScoredBy};
use super::set::Sets;
use super::snapshot::{Buyer, Cap, NumberRange, RoutingSnapshot, Tier};
use super::vertical::Vertical;
use named::Named;

const WEEK_S: u32 = 604_800;

pub(super) fn compile(
    config: &RoutingConfig,
    revision: u64,
) -> Result<RoutingSnapshot, Vec<ConfigFault>> {
    let mut compiler = Compiler::new(config);
    compiler.schedules(config);
    let account = compiler.account(&config.account);
    let publishers = compiler.publishers(&config.publishers);
    let shared = compiler.shared(config);
    let buyers = config.buyers.iter().enumerate().map(|(b, it)| {
        let credit = shared.credit(b).cloned();
        Buyer { id: it.id.clone(), name: it.name.clone(), credit }
    });
    let buyers = buyers.collect();
    compiler.sets = compiler.sets(config);
    compiler.filter_sets(config);
    let lists = compiler.lists(config);
    compiler.verticals = compiler.verticals(config);
    compiler.scorers = compiler.scorers(config);
    compiler.enrichers = compiler.enrichers(config);
    compiler.plans(config);
    for (b, buyer) in config.buyers.iter().enumerate() {
        if let Some(dedupe) = &buyer.dedupe {
            compiler.dedupe(&format!("buyers[{b}]"), dedupe);
        }
        if let Some(circuit) = &buyer.circuit {
            compiler.circuit(&format!("buyers[{b}]"), circuit);
        }
    }
    compiler.shared_settings(config);
    compiler.unpaid_duplicates(config);
    compiler.losses(config);
    compiler.floors_can_be_met(config);
    compiler.payouts_can_be_due(config);
    compiler.shared_caps_leave_room(config);
    let mut targets = compiler.targets(config, &shared);
    let mut campaigns = compiler.campaigns(&config.campaigns, config.defaults.allow_loss);
    compiler.agree(config, &campaigns, &mut targets);
    compiler.name_lists(config, &lists, &mut campaigns, &mut targets);
    let pools = compiler.pools(&config.pools);
    let access = compiler.access(config);
    let trunk_caps = compiler.trunk_caps(&config.trunks);
    let of_all = config.defaults.circuit.as_ref();
    let trunks = compiler.trunks(&config.trunks, of_all);
    let (host_circuit, host_circuit_from) =
        (circuit::in_use(of_all), Source::of(false, false, of_all.is_some()));
    let numbers = compiler.sorted_numbers();
    let number_limits = compiler.number_limits(&config.numbers, &numbers);
    compiler.stand_in_numbers(config, &numbers);
    let doors = compiler.doors(config, &numbers);
    let geo = compiler.geo(config);
    let lines = compiler.line_records(config);
    let history_limits = compiler.history_limits(config.history);
    if !compiler.faults.is_empty() {
        return Err(compiler.faults);
    }
    let caps_calls = !account.caps.is_empty()
        || account.concurrency.is_some()
        || !trunk_caps.is_empty()
        || !number_limits.is_empty()
        || !shared.pairs.is_empty()
        || publishers.iter().any(|it| !it.caps.is_empty() || it.concurrency.is_some())
        || campaigns.iter().any(|it| !it.caps.is_empty() || it.concurrency.is_some());
    let counts_offered = (account.caps.iter())
        .chain(trunk_caps.values().flatten())
        .chain(number_limits.iter().flat_map(|it| &it.caps))
        .chain(publishers.iter().flat_map(|it| &it.caps))
        .chain(campaigns.iter().flat_map(|it| &it.caps))
        .any(|cap| cap.counts == Counts::Offered);
    let by_performance = selection::lookback_days(&campaigns);
    for range in numbers.iter().filter(|range| range.pool.is_none()) {
        let first = PhoneNumber::from_digits(*range.digits.start());
        let stand_ins = &mut campaigns[range.campaign].stand_ins;
        if let (Entry::Vacant(free), Some(first)) = (stand_ins.entry(range.publisher), first) {
            free.insert(first);
        }
    }
    let mut snapshot = RoutingSnapshot {
        revision,
        access,
        doors,
        account,
        performance_days: by_performance,
        asks: compiler.scorers.values().any(|it| matches!(it.by, ScoredBy::Asked(_))),
        counts_offered,
        publishers,
        buyers,
        targets,
        campaigns,
        pools,
        numbers,
        geo,
        lines,
        zones: compiler.zones,
        publisher_index: owned(compiler.publisher_index),
        target_index: owned(compiler.target_index),
        campaign_index: owned(compiler.campaign_index),
        pool_index: owned(compiler.pool_index),
        pairs: shared.pairs,
        lists,
        trunk_caps,
        number_limits,
        trunks_name_sessions: trunks.values().any(|it| it.publisher.is_some()),
        trunks,
        host_circuit,
        host_circuit_from,
        caps_calls,
        on_store_down: BTreeMap::new(),
        history: callers::history(config),
        history_limits,
    };
    snapshot.on_store_down = snapshot.kept_for_store_down();
    if snapshot.caps().any(Cap::is_by_live_rate) {
        snapshot.performance_days = by_performance.max(Some(LOOKBACK_DAYS));
    }
    Ok(snapshot)
}

struct Compiler<'a> {
    faults: Vec<ConfigFault>,
    /// Whether it was in force before.
    is_kept: bool,
    zones: Zones,
    sets: Sets,
    schedules: Named<Schedule>,
    filter_sets: Named<Filters>,
    plans: Named<[Tier]>,
    patterns: Patterns,
    verticals: BTreeMap<SmolStr, Arc<Vertical>>,
    scorers: BTreeMap<SmolStr, Arc<KnownScorer>>,
    enrichers: BTreeMap<SmolStr, Arc<Enricher>>,
    /// The `z` of paced caps, by rate, limit and how probable it may be that it is passed.
    paces: BTreeMap<(u32, u64, u32), u32>,
    /// The same for rates that are measured, by limit and probability.
    pace_steps: BTreeMap<(u64, u32), Arc<PaceSteps>>,
    publisher_index: Index<'a>,
    buyer_index: Index<'a>,
    target_index: Index<'a>,
    campaign_index: Index<'a>,
    pool_index: Index<'a>,
    /// Every number claimed, and where.
    claims: Vec<(NumberRange, String)>,
}

/// Names in the configuration and their places.
type Index<'a> = BTreeMap<&'a str, usize>;

impl<'a> Compiler<'a> {
    fn new(config: &'a RoutingConfig) -> Self {
        let mut faults = vec![];
        let zones = Zones::new(account::zone(&config.account, &mut faults));
        let mut index = |section, ids: Vec<&'a str>| index(section, ids, &mut faults);
        Self {
            publisher_index: index(
                "publishers",
                config.publishers.iter().map(|p| p.id.as_str()).collect(),
            ),
            buyer_index: index("buyers", config.buyers.iter().map(|b| b.id.as_str()).collect()),
            target_index: index("targets", config.targets.iter().map(|t| t.id.as_str()).collect()),
            campaign_index: index(
                "campaigns",
                config.campaigns.iter().map(|c| c.id.as_str()).collect(),
            ),
            pool_index: index("pools", config.pools.iter().map(|p| p.id.as_str()).collect()),
            zones,
            sets: Sets::new(),
            schedules: Named::none("schedule", "schedules"),
            filter_sets: Named::none("filter set", "filter_sets"),
            plans: Named::none("plan", "plans"),
            patterns: Patterns::new(),
            verticals: BTreeMap::new(),
            scorers: BTreeMap::new(),
            enrichers: BTreeMap::new(),
            paces: BTreeMap::new(),
            pace_steps: BTreeMap::new(),
            claims: vec![],
            is_kept: config.is_kept,
            faults,
        }
    }

    fn publisher(&mut self, path: &str, id: &str) -> Option<usize> {
        let known = self.publisher_index.get(id).copied();
        if known.is_none() {
            self.dangling(path, "publisher", id);
        }
        known
    }

    fn campaign(&mut self, path: &str, id: &str) -> Option<usize> {
        let known = self.campaign_index.get(id).copied();
        if known.is_none() {
            self.dangling(path, "campaign", id);
        }
        known
    }

    fn dangling(&mut self, path: &str, kind: &str, id: &str) {
        let problem = format!("names no {kind} of this configuration");
        self.fault_at(path, id, &problem, &format!("add the {kind}, or correct the name"));
    }

    fn within(&mut self, path: &str, field: &str, value: u32, range: RangeInclusive<u32>) {
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            let remedy = match *high {
                u32::MAX => format!("write {low} or more, or leave it out for no limit"),
                _ => format!("write {low} to {high}"),
            };
            self.fault(path, field, value, "is out of range", &remedy);
        }
    }

    fn fault(&mut self, path: &str, field: &str, value: impl Display, problem: &str, remedy: &str) {
        self.fault_at(&format!("{path}.{field}"), value, problem, remedy);
    }

    /// Of what is sound in each part and not together. A configuration that was in force once was taken
    /// so: decisions on it are made again as they were.
    fn contradiction(&mut self, path: &str, value: impl Display, problem: &str, remedy: &str) {
        if !self.is_kept {
            self.fault_at(path, value, problem, remedy);
        }
    }

    fn fault_at(&mut self, path: &str, value: impl Display, problem: &str, remedy: &str) {
        self.faults.push(ConfigFault {
            path: path.to_owned(),
            value: value.to_string(),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

/// Where each name stands. A name that is empty or given twice is a fault.
fn index<'a>(section: &str, ids: Vec<&'a str>, faults: &mut Vec<ConfigFault>) -> Index<'a> {
    let mut index = Index::new();
    for (place, id) in ids.into_iter().enumerate() {
        let (problem, remedy) = if id.is_empty() {
            ("is empty".to_owned(), "write a name of your choice")
        } else if let Some(first) = index.insert(id, place) {
            (format!("is the name of {section}[{first}] already"), "give each its own name")
        } else {
            continue;
        };
        faults.push(ConfigFault {
            path: format!("{section}[{place}].id"),
            value: id.to_owned(),
            problem,
            remedy: remedy.to_owned(),
        });
    }
    index
}

fn owned<Id: for<'a> From<&'a str> + Ord>(index: Index<'_>) -> BTreeMap<Id, usize> {
    index.into_iter().map(|(id, place)| (Id::from(id), place)).collect()
}

fn named(name: &str, id: &str) -> String {
    (if name.is_empty() { id } else { name }).to_owned()
}

fn ms(seconds: u32) -> u32 {
    seconds.saturating_mul(1_000)
}

#[cfg(test)]
mod tests;
