//! From the configuration as written to the snapshot; finds every fault on the way.

mod callers;
mod caps;
mod circuit;
mod concurrency;
mod geo;
mod lists;
mod modes;
mod price;
mod scopes;
mod scorers;
mod selection;
mod sets;
mod settings;
mod trunks;
mod verticals;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::phone::PhoneNumber;
use crate::suggest::suggestion;

use super::config::{
    BuyerConfig, CallersConfig, CampaignConfig, ConfigFault, DefaultsConfig, NumberConfig,
    PoolConfig, PublisherConfig, RoutingConfig, RoutingPlanConfig, Source, TargetConfig,
};
use super::decision::Recovery;
use super::dial::DialTemplate;
use super::effective::{CampaignSources, TargetSources};
use super::filter::{Filters, Lookups, Patterns};
use super::limits::Zones;
use super::list::ListRules;
use super::schedule::Schedule;
use super::scorer::{KnownScorer, ScoredBy};
use super::set::Sets;
use super::snapshot::{
    Buyer, Campaign, Conversion, NumberRange, Payout, Pool, Publisher, RoutingSnapshot, Target,
    Tier, TierMember,
};
use super::vertical::Vertical;
use caps::Clock;
use scopes::{Owned, Shared};

/// Numbers a range may span.
const RANGE_MAX: u64 = 1_000_000;
const WEEK_S: u32 = 604_800;

pub(super) fn compile(
    config: &RoutingConfig,
    revision: u64,
) -> Result<RoutingSnapshot, Vec<ConfigFault>> {
    let mut compiler = Compiler::new(config);
    let publishers = compiler.publishers(&config.publishers);
    let buyers = config.buyers.iter();
    let buyers = buyers.map(|b| Buyer { id: b.id.clone(), name: b.name.clone() }).collect();
    let shared = compiler.shared(config);
    compiler.sets = compiler.sets(config);
    let lists = compiler.lists(config);
    compiler.verticals = compiler.verticals(config);
    compiler.scorers = compiler.scorers(config);
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
    let mut targets = compiler.targets(config, &shared);
    let mut campaigns = compiler.campaigns(&config.campaigns);
    compiler.agree(config, &campaigns, &mut targets);
    compiler.name_lists(config, &lists, &mut campaigns, &mut targets);
    let pools = compiler.pools(&config.pools);
    let trunk_caps = compiler.trunk_caps(&config.trunks);
    let trunks = compiler.trunks(&config.trunks);
    let numbers = compiler.sorted_numbers();
    let geo = compiler.geo(config);
    if !compiler.faults.is_empty() {
        return Err(compiler.faults);
    }
    let caps_calls = !trunk_caps.is_empty()
        || !shared.pairs.is_empty()
        || publishers.iter().any(|it| !it.caps.is_empty() || it.concurrency.is_some())
        || campaigns.iter().any(|it| !it.caps.is_empty() || it.concurrency.is_some());
    let performance_days = selection::lookback_days(&campaigns);
    for range in numbers.iter().filter(|range| range.pool.is_none()) {
        let first = PhoneNumber::from_digits(*range.digits.start());
        let stand_ins = &mut campaigns[range.campaign].stand_ins;
        if let (Entry::Vacant(free), Some(first)) = (stand_ins.entry(range.publisher), first) {
            free.insert(first);
        }
    }
    let mut snapshot = RoutingSnapshot {
        revision,
        performance_days,
        asks: compiler.scorers.values().any(|it| matches!(it.by, ScoredBy::Asked(_))),
        publishers,
        buyers,
        targets,
        campaigns,
        pools,
        numbers,
        geo,
        zones: compiler.zones,
        publisher_index: owned(compiler.publisher_index),
        target_index: owned(compiler.target_index),
        campaign_index: owned(compiler.campaign_index),
        pool_index: owned(compiler.pool_index),
        pairs: shared.pairs,
        lists,
        trunk_caps,
        trunks_name_sessions: trunks.values().any(|it| it.publisher.is_some()),
        trunks,
        caps_calls,
        on_store_down: BTreeMap::new(),
        history: callers::history(config),
    };
    snapshot.on_store_down = snapshot.kept_for_store_down();
    Ok(snapshot)
}

struct Compiler<'a> {
    faults: Vec<ConfigFault>,
    zones: Zones,
    sets: Sets,
    patterns: Patterns,
    verticals: BTreeMap<SmolStr, Arc<Vertical>>,
    scorers: BTreeMap<SmolStr, Arc<KnownScorer>>,
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
            zones: Zones::new(),
            sets: Sets::new(),
            patterns: Patterns::new(),
            verticals: BTreeMap::new(),
            scorers: BTreeMap::new(),
            claims: vec![],
            faults,
        }
    }

    fn publishers(&mut self, configs: &[PublisherConfig]) -> Vec<Publisher> {
        let mut publishers = vec![];
        for (p, config) in configs.iter().enumerate() {
            let mut payouts = BTreeMap::new();
            for (n, payout) in config.payouts.iter().enumerate() {
                let path = format!("publishers[{p}].payouts[{n}]");
                self.campaign(&format!("{path}.campaign"), payout.campaign.as_str());
                if payout.amount.0 < 0 {
                    self.fault(&path, "amount", payout.amount, "is negative", "write 0.00 or more");
                }
                let terms = Payout {
                    amount: payout.amount,
                    seconds: payout.seconds,
                    duplicates: payout.duplicates,
                };
                if payouts.insert(payout.campaign.clone(), terms).is_some() {
                    self.fault(
                        &path,
                        "campaign",
                        &payout.campaign,
                        "has a payout already",
                        "keep one payout per campaign",
                    );
                }
            }
            let (path, owner) = (format!("publishers[{p}]"), format!("publisher/{}", config.id));
            publishers.push(Publisher {
                id: config.id.clone(),
                name: named(&config.name, config.id.as_str()),
                paused: config.paused,
                payouts,
                price: self.price(&path, config.price.as_ref()),
                caps: self.caps(&path, &owner, &config.caps, &Clock::UTC),
                concurrency: self.concurrency(
                    &path,
                    &owner,
                    config.concurrency.as_ref(),
                    &Clock::UTC,
                ),
            });
        }
        publishers
    }

    fn targets(&mut self, config: &RoutingConfig, shared: &Shared) -> Vec<Target> {
        let targets = config.targets.iter().enumerate();
        targets
            .filter_map(|(t, target)| {
                self.target(t, target, (&config.buyers, &config.defaults), shared)
            })
            .collect()
    }

    /// `None` only together with a fault.
    fn target(
        &mut self,
        place: usize,
        config: &TargetConfig,
        (buyers, defaults): (&[BuyerConfig], &DefaultsConfig),
        shared: &Shared,
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
        let dial = match DialTemplate::compile(&config.dial) {
            Ok(dial) => Some(dial),
            Err((problem, remedy)) => {
                self.fault(path, "dial.uri", &config.dial.uri, problem, remedy);
                None
            }
        };
        let schedule = config.schedule.as_ref().and_then(|schedule| {
            Schedule::compile(schedule, &format!("{path}.schedule"), &mut self.faults)
        });
        let zone = schedule.as_ref().map_or(0, |schedule| self.zones.intern(schedule.zone()));
        let clock = Clock { zone, schedule: schedule.as_ref() };
        let mut own = self.own_limits(path, config, &clock);
        shared.extend(place, buyer, &mut own);
        let Owned { caps, gaps, concurrency, pairs } = own;
        let conversion = config.conversion.as_ref().map(|conversion| {
            if conversion.revenue.0 < 0 {
                let revenue = conversion.revenue;
                let remedy = "write 0.00 or more";
                self.fault(path, "conversion.revenue", revenue, "is negative", remedy);
            }
            Conversion {
                seconds: conversion.seconds,
                revenue: conversion.revenue,
                duplicates: conversion.duplicates,
            }
        });
        let buyer = buyer.map(|buyer| &buyers[buyer]);
        let of_buyer = buyer.and_then(|buyer| buyer.dedupe.as_ref());
        let of_all = defaults.dedupe.as_ref();
        let dedupe = self.target_dedupe(path, config, of_buyer, of_all);
        let (own, buyers) = (config.dedupe.is_some(), of_buyer.is_some());
        let dedupe_from = Source::of(own, buyers, of_all.is_some());
        let of_buyer = buyer.and_then(|buyer| buyer.circuit.as_ref());
        let of_all = defaults.circuit.as_ref();
        let circuit = self.target_circuit(path, config, of_buyer.or(of_all));
        let (own, buyers) = (config.circuit.is_some(), of_buyer.is_some());
        let circuit_from = Source::of(own, buyers, of_all.is_some());
        let filters = Filters::compile(
            &config.filters,
            &format!("{path}.filters"),
            Lookups { sets: &self.sets, patterns: &mut self.patterns },
            &mut self.faults,
        );
        Some(Target {
            id: config.id.clone(),
            buyer: config.buyer.clone(),
            name: named(&config.name, config.id.as_str()),
            dial: dial?,
            tls: config.dial.tls.clone(),
            ring_timeout_ms: ms(*config.ring_timeout_s),
            first_response_ms: *config.first_response_ms,
            max_pdd_ms: *config.max_pdd_ms,
            ring_timeout_covers_progress: *config.ring_timeout_covers_progress,
            max_duration_ms: ms(*config.max_duration_s),
            paused: config.paused,
            schedule,
            caps,
            gaps,
            concurrency,
            pairs,
            filters,
            dedupe,
            from: TargetSources::of(config, dedupe_from, circuit_from),
            lists: ListRules::default(),
            conversion,
            circuit,
        })
    }

    fn campaigns(&mut self, configs: &[CampaignConfig]) -> Vec<Campaign> {
        let mut campaigns = vec![];
        for (c, config) in configs.iter().enumerate() {
            let path = format!("campaigns[{c}]");
            if let Some(publisher) = &config.publisher {
                self.publisher(&format!("{path}.publisher"), publisher.as_str());
            }
            let vertical = config.vertical.as_ref().and_then(|id| {
                let known = self.verticals.get(id).cloned();
                if known.is_none() {
                    let known = self.verticals.keys().map(SmolStr::as_str);
                    let remedy = match self.verticals.is_empty() {
                        true => String::from("add it to `verticals`"),
                        false => suggestion(id, known),
                    };
                    let problem = "names no vertical of this configuration";
                    self.fault(&path, "vertical", id, problem, &remedy);
                }
                known
            });
            self.setting(&path, "max_attempts", &config.max_attempts, settings::MAX_ATTEMPTS);
            let budget = &config.total_ring_budget_s;
            self.setting(&path, "total_ring_budget_s", budget, settings::TOTAL_RING_BUDGET_S);
            let own = !config.advance_on.is_inherited();
            for (n, &code) in config.advance_on.iter().enumerate().filter(|_| own) {
                self.within(&path, &format!("advance_on[{n}]"), code.into(), 300..=699);
            }
            for (n, number) in config.numbers.iter().enumerate() {
                self.static_number(&format!("{path}.numbers[{n}]"), c, number, config);
            }
            let owner = format!("campaign/{}", config.id);
            campaigns.push(Campaign {
                id: config.id.clone(),
                name: named(&config.name, config.id.as_str()),
                publisher: config.publisher.clone(),
                vertical,
                paused: config.paused,
                tiers: self.tiers(&format!("{path}.routing"), &config.routing),
                advance_on: config.advance_on.as_slice().into(),
                max_attempts: *config.max_attempts,
                total_ring_budget_ms: ms(*config.total_ring_budget_s),
                recovery: config.recovery.map(|recovery| {
                    self.within(&path, "recovery.within_s", recovery.within_s, 1..=60);
                    self.within(&path, "recovery.max", recovery.max.into(), 1..=5);
                    Recovery { within_ms: ms(recovery.within_s), max: recovery.max }
                }),
                min_match_confidence: *config.min_match_confidence,
                caps: self.caps(&path, &owner, &config.caps, &Clock::UTC),
                concurrency: self.concurrency(
                    &path,
                    &owner,
                    config.concurrency.as_ref(),
                    &Clock::UTC,
                ),
                callers: match config.callers.is_inherited() {
                    true => CallersConfig::clone(&config.callers),
                    false => self.callers(&path, &config.callers),
                },
                from: CampaignSources {
                    advance_on: config.advance_on.from(),
                    max_attempts: config.max_attempts.from(),
                    total_ring_budget_s: config.total_ring_budget_s.from(),
                    min_match_confidence: config.min_match_confidence.from(),
                    callers: config.callers.from(),
                },
                lists: ListRules::default(),
                stand_ins: BTreeMap::new(),
                price: self.price(&path, config.price.as_ref()),
            });
        }
        campaigns
    }

    fn tiers(&mut self, path: &str, plan: &RoutingPlanConfig) -> Vec<Tier> {
        let configs = &plan.tiers;
        if configs.is_empty() {
            self.fault(path, "tiers", "[]", "leads nowhere", "add a tier with a target");
        }
        self.plan_selection(path, plan);
        let mut tiers: BTreeMap<i32, Tier> = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (t, config) in configs.iter().enumerate() {
            let path = format!("{path}.tiers[{t}]");
            if config.targets.is_empty() {
                self.fault(&path, "targets", "[]", "is empty", "add a target");
            }
            if tiers.contains_key(&config.tier) {
                let remedy = "put the targets of one tier into one list";
                self.fault(&path, "tier", config.tier, "stands in the plan twice", remedy);
            }
            let entry = tiers.entry(config.tier);
            let tier = entry.or_insert_with(|| self.tier_selection(&path, config, plan));
            for (n, member) in config.targets.iter().enumerate() {
                let path = format!("{path}.targets[{n}]");
                self.within(&path, "weight", member.weight, 0..=1_000);
                let id = member.target.as_str();
                let Some(&target) = self.target_index.get(id) else {
                    self.dangling(&format!("{path}.target"), "target", id);
                    continue;
                };
                if let Some(first) = seen.insert(target, path.clone()) {
                    let problem = format!("stands in the plan already, at {first}");
                    self.fault(&path, "target", id, &problem, "keep one of the two");
                }
                tier.members.push(TierMember { target, weight: member.weight });
            }
        }
        tiers.into_values().collect()
    }

    fn static_number(
        &mut self,
        path: &str,
        campaign: usize,
        config: &NumberConfig,
        owner: &CampaignConfig,
    ) {
        let digits = match number_range(&config.number) {
            Ok(digits) => Some(digits),
            Err(problem) => {
                let remedy = "write +18005550100 or +18005550100-+18005550149";
                self.fault_at(path, &config.number, &problem, remedy);
                None
            }
        };
        let publisher = match (&config.publisher, &owner.publisher) {
            (Some(publisher), _) => {
                self.publisher(&format!("{path}.publisher"), publisher.as_str())
            }
            // A dangling name of the campaign is a fault of the campaign, found there.
            (None, Some(publisher)) => self.publisher_index.get(publisher.as_str()).copied(),
            (None, None) => {
                let remedy = "name one here, or as the campaign's `publisher`";
                self.fault_at(path, &config.number, "belongs to no publisher", remedy);
                None
            }
        };
        if let (Some(digits), Some(publisher)) = (digits, publisher) {
            let range = NumberRange { digits, campaign, publisher, pool: None };
            self.claims.push((range, path.to_owned()));
        }
    }

    fn pools(&mut self, configs: &[PoolConfig]) -> Vec<Pool> {
        let mut pools = vec![];
        for (p, config) in configs.iter().enumerate() {
            let path = format!("pools[{p}]");
            let campaign = self.campaign(&format!("{path}.campaign"), config.campaign.as_str());
            let publisher = self.publisher(&format!("{path}.publisher"), config.publisher.as_str());
            self.setting(&path, "session_ttl_s", &config.session_ttl_s, settings::SESSION_TTL_S);
            self.setting(&path, "quarantine_s", &config.quarantine_s, settings::QUARANTINE_S);
            if config.numbers.is_empty() {
                self.fault(&path, "numbers", "[]", "is empty", "add a number");
            }
            if let (Some(campaign), Some(publisher)) = (campaign, publisher) {
                let claims = config.numbers.iter().enumerate().map(|(n, number)| {
                    let digits = number.digits()..=number.digits();
                    let range = NumberRange { digits, campaign, publisher, pool: Some(p) };
                    (range, format!("{path}.numbers[{n}]"))
                });
                self.claims.extend(claims);
            }
            pools.push(Pool {
                id: config.id.clone(),
                campaign: config.campaign.clone(),
                publisher: config.publisher.clone(),
                numbers: config.numbers.clone(),
                session_ttl: Duration::from_secs((*config.session_ttl_s).into()),
                quarantine: Duration::from_secs((*config.quarantine_s).into()),
            });
        }
        pools
    }

    /// All claims in ascending order; a number claimed twice is a fault.
    fn sorted_numbers(&mut self) -> Vec<NumberRange> {
        let mut claims = std::mem::take(&mut self.claims);
        claims.sort_by_key(|(range, _)| *range.digits.start());
        // Against the claim that reaches furthest so far, so that a number within a long range
        // is found however many ranges lie between.
        let mut furthest: Option<&(NumberRange, String)> = None;
        for claim in &claims {
            let (range, path) = claim;
            if let Some((other, other_path)) = furthest
                && range.digits.start() <= other.digits.end()
            {
                let problem = format!("is claimed already at {other_path}");
                let value = format!("+{}", range.digits.start());
                self.fault_at(path, value, &problem, "let each number stand in one place");
            }
            if furthest.is_none_or(|(other, _)| other.digits.end() < range.digits.end()) {
                furthest = Some(claim);
            }
        }
        claims.into_iter().map(|(range, _)| range).collect()
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

/// Reads `+18005550100` or `+18005550100-+18005550149`.
fn number_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parse = |part: &str| {
        let number: Result<PhoneNumber, _> = part.trim().parse();
        number.map(PhoneNumber::digits).map_err(|e| e.to_string())
    };
    // Only a hyphen before a `+` separates: hyphens also group the digits of one number.
    let (first, last) = match text.split_once("-+") {
        Some((first, last)) => (parse(first)?, parse(last)?),
        None => {
            let number = parse(text)?;
            (number, number)
        }
    };
    match last.checked_sub(first) {
        None => Err("ends before it begins".to_owned()),
        Some(span) if span >= RANGE_MAX => Err(format!("spans more than {RANGE_MAX} numbers")),
        Some(_) => Ok(first..=last),
    }
}

fn named(name: &str, id: &str) -> String {
    (if name.is_empty() { id } else { name }).to_owned()
}

fn ms(seconds: u32) -> u32 {
    seconds.saturating_mul(1_000)
}

#[cfg(test)]
mod tests;
