//! Caps of whoever has some.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::format_smolstr;

use crate::id::TrunkId;
use crate::money::Money;

use super::Compiler;
use super::modes::scope_of;
use crate::routing::config::{
    CapConfig, CapLimit, CreditConfig, Metric, OnFull, OnStoreDown, TargetConfig, TrunkConfig,
    WindowKind,
};
use crate::routing::hold::Counts;
use crate::routing::performance::Scope;
use crate::routing::schedule::{Schedule, bundled_zone};
use crate::routing::snapshot::{Cap, Mode};

const MINUTE_MS: u64 = 60_000;

/// The zone in which windows begin and end, and the hours by which they pass.
#[derive(Clone, Copy)]
pub(super) struct Clock<'a> {
    pub(super) zone: usize,
    /// Absent: all.
    pub(super) schedule: Option<&'a Arc<Schedule>>,
}

impl Clock<'_> {
    pub(super) const OF_ACCOUNT: Self = Self { zone: 0, schedule: None };
}

impl Compiler<'_> {
    /// A target's own caps, in the zone of its schedule and paced by it.
    pub(super) fn target_caps(
        &mut self,
        path: &str,
        config: &TargetConfig,
        place: &Clock<'_>,
    ) -> Vec<Cap> {
        let owner = format!("target/{}", config.id);
        let mut caps = self.caps(path, &owner, &config.caps, place);
        for (c, cap) in config.caps.iter().enumerate() {
            self.leaves_room(&format!("{path}.caps[{c}]"), cap, config);
        }
        for cap in &mut caps {
            cap.label = cap.key[owner.len() + 1..].into();
        }
        caps
    }

    pub(super) fn trunk_caps(&mut self, configs: &[TrunkConfig]) -> BTreeMap<TrunkId, Vec<Cap>> {
        let mut of_trunks = BTreeMap::new();
        for (t, config) in configs.iter().enumerate().filter(|(_, it)| !it.caps.is_empty()) {
            let owner = format!("trunk/{}", config.id);
            let caps = self.caps(&format!("trunks[{t}]"), &owner, &config.caps, &Clock::OF_ACCOUNT);
            of_trunks.insert(config.id.clone(), caps);
        }
        of_trunks
    }

    /// The caps of `owner`, such as `campaign/cmp_hvac`, at `path`; in the zone of `clock` unless they
    /// say another.
    pub(super) fn caps(
        &mut self,
        path: &str,
        owner: &str,
        configs: &[CapConfig],
        clock: &Clock<'_>,
    ) -> Vec<Cap> {
        self.caps_on(path, (owner, scope_of(owner)), configs, clock)
    }

    /// The same, on calls that are counted together; `None`: nobody counts them.
    pub(super) fn caps_on(
        &mut self,
        path: &str,
        (owner, scope): (&str, Option<Scope>),
        configs: &[CapConfig],
        clock: &Clock<'_>,
    ) -> Vec<Cap> {
        let mut caps: Vec<Cap> = vec![];
        for (c, config) in configs.iter().enumerate() {
            let path = format!("{path}.caps[{c}]");
            let (metric, window) = (config.metric.name(), config.window.name());
            let key = format_smolstr!("{owner}/{metric}/{window}");
            if caps.iter().any(|known| known.key == key) {
                let problem = "is capped already for this metric";
                self.fault(&path, "window", &window, problem, "keep one of the two");
            }
            let zone = match &config.time_zone {
                None => clock.zone,
                Some(name) => self.zone(&path, name),
            };
            let (counts, window) = (Counts::from(config.metric), config.window);
            let (limit, label) = (self.cap_limit(&path, config), key.clone());
            self.counts_there(&path, owner, config);
            let mode = self.mode(&path, config, limit, scope.as_ref(), clock.schedule);
            let stops_paying = self.stops_paying(&path, owner, config);
            let raised_by = None;
            caps.push(Cap {
                counts,
                window,
                limit,
                key,
                label,
                mode,
                stops_paying,
                raised_by,
                zone,
                on_store_down: config.on_store_down,
            });
        }
        caps
    }

    /// Calls that come and pings are counted before any target is thought of.
    fn counts_there(&mut self, path: &str, owner: &str, config: &CapConfig) {
        let of = owner.split('/').next().unwrap_or_default();
        let (is_there, whose) = match config.metric {
            Metric::Pinged => (
                matches!(of, "account" | "publisher" | "campaign"),
                "the account, publishers and campaigns",
            ),
            Metric::Offered => (
                matches!(of, "account" | "publisher" | "campaign" | "trunk" | "number"),
                "the account, publishers, campaigns, trunks and numbers",
            ),
            Metric::Attempted
            | Metric::Connected
            | Metric::Converted
            | Metric::Revenue
            | Metric::Payout
            | Metric::Minutes => return,
        };
        if !is_there {
            let problem = format!("is counted only of {whose}");
            let remedy = "write attempted, or put the cap there";
            self.fault(path, "metric", config.metric.name(), &problem, remedy);
        }
    }

    fn stops_paying(&mut self, path: &str, owner: &str, config: &CapConfig) -> bool {
        let Some(on_full) = config.on_full else { return false };
        let value = match on_full {
            OnFull::StopTraffic => "stop_traffic",
            OnFull::StopPaying => "stop_paying",
        };
        if !owner.starts_with("publisher/") {
            let problem = "is only of a publisher's caps";
            self.fault(path, "on_full", value, problem, "leave it out");
        } else if !matches!(config.metric, Metric::Payout | Metric::Converted) {
            let problem = "is only of caps on payout or converted";
            self.fault(path, "on_full", value, problem, "leave it out, or cap one of the two");
        }
        on_full == OnFull::StopPaying
    }

    /// What a buyer may owe, as a cap of all time.
    pub(super) fn credit(&mut self, path: &str, owner: &str, config: &CreditConfig) -> Cap {
        if config.limit < Money::ZERO {
            let remedy = "write 0.00 or more";
            self.fault(path, "credit.limit", config.limit, "is negative", remedy);
        }
        self.no_more_than(path, "credit.limit", config.limit, Money::OF_A_LIMIT_MAX);
        let key = format_smolstr!("{owner}/credit");
        Cap {
            counts: Counts::Credit,
            window: WindowKind::Total,
            limit: u64::try_from(config.limit.0).unwrap_or(0),
            label: key.clone(),
            key,
            mode: Mode::Strict,
            stops_paying: false,
            raised_by: Some(format_smolstr!("{owner}/deposits")),
            zone: 0,
            on_store_down: OnStoreDown::default(),
        }
    }

    /// Amounts are added up, and the sums have to fit.
    pub(super) fn no_more_than(&mut self, path: &str, field: &str, amount: Money, max: Money) {
        if amount > max {
            let problem = format!("is more than is reckoned with, {max}");
            self.fault(path, field, amount, &problem, &format!("write {max} or less"));
        }
    }

    pub(super) fn zone(&mut self, path: &str, name: &str) -> usize {
        if let Some(zone) = bundled_zone(name) {
            return self.zones.intern(&zone);
        }
        let remedy = "write an IANA name such as America/New_York";
        self.fault(path, "time_zone", name, "is no known time zone", remedy);
        0
    }

    fn cap_limit(&mut self, path: &str, config: &CapConfig) -> u64 {
        match (config.metric, config.limit) {
            (Metric::Revenue | Metric::Payout, CapLimit::Money(money)) => {
                if money <= Money::ZERO {
                    let remedy = "write 0.01 or more, or leave it out for no limit";
                    self.fault(path, "limit", money, "is out of range", remedy);
                }
                self.no_more_than(path, "limit", money, Money::OF_A_LIMIT_MAX);
                u64::try_from(money.0).unwrap_or(0)
            }
            (Metric::Revenue | Metric::Payout, CapLimit::Count(count)) => {
                let remedy = format!("write it in quotes, as \"{count}.00\"");
                self.fault(path, "limit", count, "is no amount of money", &remedy);
                0
            }
            (
                Metric::Pinged
                | Metric::Offered
                | Metric::Attempted
                | Metric::Connected
                | Metric::Converted
                | Metric::Minutes,
                CapLimit::Money(money),
            ) => {
                let unit = match config.metric {
                    Metric::Minutes => "minutes",
                    Metric::Pinged => "pings",
                    Metric::Offered
                    | Metric::Attempted
                    | Metric::Connected
                    | Metric::Converted
                    | Metric::Revenue
                    | Metric::Payout => "calls",
                };
                let remedy = format!("write a whole number of {unit}, without quotes");
                self.fault(path, "limit", money, "is an amount of money", &remedy);
                0
            }
            (metric, CapLimit::Count(count)) => {
                self.within(path, "limit", count, 1..=u32::MAX);
                let unit = if metric == Metric::Minutes { MINUTE_MS } else { 1 };
                u64::from(count) * unit
            }
        }
    }

    /// A cap into which not one call fits keeps a target from all calls.
    fn leaves_room(&mut self, path: &str, cap: &CapConfig, target: &TargetConfig) {
        match (cap.metric, cap.limit) {
            (Metric::Minutes, CapLimit::Count(minutes)) => {
                let longest = (*target.max_duration_s).div_ceil(60);
                if (1..longest).contains(&minutes) {
                    let problem = format!("is less than the longest call takes, {longest} minutes");
                    let remedy = format!("write {longest} or more, or a lower max_duration_s");
                    self.fault(path, "limit", minutes, &problem, &remedy);
                }
            }
            (Metric::Revenue, limit) => match &target.conversion {
                None => {
                    let problem = "is not counted for a target without `conversion`";
                    self.fault(path, "metric", "revenue", problem, "add one, or leave the cap out");
                }
                Some(conversion) => {
                    let revenue = conversion.revenue;
                    if matches!(limit, CapLimit::Money(it) if Money::ZERO < it && it < revenue) {
                        let problem = format!("is less than one call earns, {revenue}");
                        self.fault(
                            path,
                            "limit",
                            limit,
                            &problem,
                            &format!("write {revenue} or more"),
                        );
                    }
                }
            },
            (
                Metric::Pinged
                | Metric::Offered
                | Metric::Attempted
                | Metric::Connected
                | Metric::Converted
                | Metric::Payout
                | Metric::Minutes,
                _,
            ) => {}
        }
    }
}
