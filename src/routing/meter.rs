//! How full every cap is.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::time::Wall;

use super::decision::Readings;
use super::hold::{Bucket, BucketRequest, Counts, Leeway, Pace, Reset};
use super::request::{Usage, UsageReader};
use super::snapshot::RoutingSnapshot;

/// A cap, or concurrency, in its current window. Amounts are in the unit of `counts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Such as `target/tgt_summit/connected/daily`.
    pub key: SmolStr,
    pub counts: Counts,
    /// `strict`, `soft` or `paced`.
    pub mode: &'static str,
    /// Such as `d:2026-11-22`; of concurrency `live`.
    pub window: SmolStr,
    pub used: u64,
    pub held: u64,
    /// How much of that is held for calls that a crash of this server left up.
    pub awaited: u64,
    /// As it is now: by the hour, by deposits and by agents that are ready.
    pub limit: u64,
    /// How much of it may be used by now; absent: all.
    pub by_now: Option<u64>,
    /// More is used and held than the limit, by so much that no call is taken until that is less. A paced
    /// cap takes some as long as not all that is held may come to count.
    pub is_closed: bool,
    /// Which part of what is held is taken to come to count, in millionths; absent: all.
    pub rate_ppm: Option<u32>,
    /// From how many calls of late that is reckoned; absent: it is from none.
    pub rate_calls: Option<u32>,
    /// When all of it is free again; absent: never, or bit by bit.
    pub resets_at: Option<Wall>,
    /// How it began anew last within the window; absent: it has not.
    pub reset: Option<Reset>,
}

impl Meter {
    fn new<U: UsageReader + ?Sized>(request: &BucketRequest, reader: &U) -> Self {
        let bucket = &request.bucket;
        let usage = reader.usage(bucket);
        let (mode, pace) = match &request.leeway {
            None => ("strict", None),
            Some(Leeway::Soft) => ("soft", None),
            Some(Leeway::Paced(pace)) => ("paced", Some(pace)),
        };
        let whole_window = |pace: &Pace| Leeway::Paced(Pace { by_now: request.limit, ..*pace });
        let leeway = pace.map(whole_window).or(request.leeway);
        let is_passed = usage.used.saturating_add(usage.held) > request.limit;
        let is_rolling = request.bucket.stored().1.is_some();
        Self {
            key: request.bucket.cap.clone(),
            counts: request.counts,
            mode,
            window: request.bucket.window.clone(),
            used: usage.used,
            held: usage.held,
            awaited: reader.awaited(bucket),
            limit: request.limit,
            is_closed: is_passed && !BucketRequest { leeway, ..request.clone() }.admits(usage, 1),
            by_now: pace.map(|pace| pace.by_now.min(request.limit)),
            rate_ppm: pace.and_then(Pace::rate_taken_ppm),
            rate_calls: pace.and_then(|pace| pace.calls),
            resets_at: request.ends_at.filter(|_| !is_rolling),
            reset: reader.latest_reset(bucket),
        }
    }
}

impl RoutingSnapshot {
    /// All caps and all concurrency as they are at `at`, by their keys.
    pub fn meters<U: UsageReader + ?Sized>(&self, usage: &U, at: Wall) -> BTreeMap<SmolStr, Meter> {
        let (mut windows, mut unnoted) = (self.windows(at), Readings::default());
        let mut meters = BTreeMap::new();
        let mut add = |request: &BucketRequest| {
            let meter = || Meter::new(request, usage);
            meters.entry(request.bucket.cap.clone()).or_insert_with(meter);
        };
        for cap in self.caps() {
            let need = cap.need(1, &mut windows, usage, &mut unnoted);
            need.iter().for_each(|need| add(&need.request));
        }
        for concurrency in self.concurrency() {
            add(&concurrency.need(&windows, usage, &mut unnoted).request);
        }
        meters
    }
}

impl RoutingSnapshot {
    /// The current window of a cap that may begin anew, what it counts, and when it is over.
    ///
    /// # Errors
    /// There is no such cap, or none that may.
    pub fn resettable(
        &self,
        cap: &str,
        at: Wall,
    ) -> Result<(Bucket, Counts, Option<Wall>), NotResettable> {
        if let Some(cap) = self.caps().find(|it| it.key == cap) {
            if cap.counts == Counts::Credit {
                return Err(NotResettable::Owed);
            }
            let unread = BTreeMap::<Bucket, Usage>::new();
            let mut windows = self.windows(at);
            let need = cap.need(1, &mut windows, &unread, &mut Readings::default());
            let request = need.ok_or(NotResettable::OtherTime)?.request;
            return Ok((request.bucket, request.counts, request.ends_at));
        }
        match self.cap_keys().any(|known| known == cap) {
            true => Err(NotResettable::Live),
            false => Err(NotResettable::Unknown),
        }
    }
}

/// Why a limit cannot begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotResettable {
    #[error("the configuration has no such cap")]
    Unknown,
    /// Concurrency and spacing.
    #[error("what is up, or was a moment ago, is no count that could begin anew")]
    Live,
    #[error("what a buyer owes is settled by a deposit")]
    Owed,
    #[error("the cap is of another time")]
    OtherTime,
}

/// Caps whose limit was lowered so far below what is used and held that they take no call until that is less.
pub fn closed(before: &BTreeMap<SmolStr, Meter>, now: &BTreeMap<SmolStr, Meter>) -> Vec<Meter> {
    let was_higher =
        |meter: &Meter| before.get(&meter.key).is_none_or(|before| before.limit > meter.limit);
    now.values().filter(|meter| meter.is_closed && was_higher(meter)).cloned().collect()
}

/// Caps that take no call, and of which more is used and held than their limit: it was lowered, or their mode
/// lets calls pass it.
pub fn passed(now: &BTreeMap<SmolStr, Meter>) -> Vec<Meter> {
    let is_over = |it: &&Meter| it.is_closed && it.used.saturating_add(it.held) > it.limit;
    now.values().filter(is_over).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::hold::{HoldLedger, LedgerLimits, ResetPart};

    /// Tuesday 2026-03-17, 11:04 in New York.
    const OPEN: Wall = Wall(1_773_759_852_318);

    #[test]
    fn a_meter_says_what_is_used_held_and_allowed_and_when_that_is_over() {
        let used = [
            (bucket("target/t/connected/daily", "d:2026-03-17"), Usage { used: 3, held: 2 }),
            (bucket("target/t/concurrency", "live"), Usage { used: 0, held: 2 }),
            (bucket("buyer/b/deposits", "total"), Usage { used: 5_000_000, held: 0 }),
        ];
        let meters = snapshot(9).meters(&BTreeMap::from(used), OPEN);

        let told: Vec<_> = meters
            .values()
            .map(|it| (it.key.as_str(), it.mode, it.used, it.held, it.limit, it.by_now))
            .collect();
        assert_eq!(
            told,
            [
                ("buyer/b/credit", "strict", 0, 0, 15_000_000, None),
                ("campaign/c/attempted/daily", "paced", 0, 0, 24, Some(16)),
                ("target/t/concurrency", "strict", 0, 2, 4, None),
                ("target/t/connected/daily", "strict", 3, 2, 9, None),
                ("target/t/connected/rolling:3600", "soft", 0, 0, 7, None),
            ]
        );
        let resets = |key: &str| meters[key].resets_at.map(Wall::to_rfc3339);
        let midnight = Some("2026-03-18T00:00:00.000Z".to_owned());
        assert_eq!(resets("target/t/connected/daily"), midnight);
        assert_eq!(resets("target/t/connected/rolling:3600"), None);
    }

    #[test]
    fn a_limit_that_was_lowered_below_what_is_used_and_held_is_told_of() {
        let used = BTreeMap::from([(
            bucket("target/t/connected/daily", "d:2026-03-17"),
            Usage { used: 3, held: 2 },
        )]);
        let closed = |before, now| {
            let meters = |limit| snapshot(limit).meters(&used, OPEN);
            let closed = closed(&meters(before), &meters(now));
            closed.into_iter().map(|it| (it.key, it.limit)).collect::<Vec<_>>()
        };
        assert_eq!(closed(9, 4), [("target/t/connected/daily".into(), 4)]);
        assert_eq!(closed(9, 5), [], "full, as any cap is in the end");
        assert_eq!(closed(4, 4), [], "it was told of before");
        assert_eq!(closed(3, 4), []);
    }

    /// Of what is held a paced cap expects a part to count, so it goes on beyond its limit.
    #[test]
    fn a_paced_cap_is_told_of_when_it_takes_no_call_any_more() {
        let cap = "target/t/connected/daily";
        let used = Usage { used: 300, held: 200 };
        let used = BTreeMap::from([(bucket(cap, "d:2026-03-17"), used)]);
        let closed = |mode: &str, limit: u32| {
            let meters = |limit| {
                let written = format!("limit = {limit}, mode = {mode}");
                let config = config(9).replace("limit = 9", &written);
                compiled(&config).meters(&used, OPEN)
            };
            !closed(&meters(900), &meters(limit)).is_empty()
        };

        let some_count = "\"paced\", assumed_rate = \"30%\"";
        // By noon it has used more than it may by then, as it could with any limit.
        assert_eq!([450, 400, 330].map(|limit| closed(some_count, limit)), [false, false, true]);
        assert_eq!([500, 499].map(|limit| closed("\"paced\"", limit)), [false, true]);
        assert_eq!([500, 499].map(|limit| closed("\"strict\"", limit)), [false, true]);
        // Nothing is held for calls of a soft one; these began when it was strict.
        assert_eq!([301, 300].map(|limit| closed("\"soft\"", limit)), [false, true]);
    }

    #[test]
    fn a_cap_may_begin_anew_unless_it_is_what_is_owed_or_what_is_up() {
        let snapshot = snapshot(9);
        let daily = bucket("target/t/connected/daily", "d:2026-03-17");
        let (found, counts, ends_at) = snapshot.resettable(&daily.cap, OPEN).unwrap();
        assert_eq!((&found, counts), (&daily, Counts::Connected));
        assert_eq!(ends_at.unwrap().to_rfc3339(), "2026-03-18T00:00:00.000Z");
        let (rolling, ..) = snapshot.resettable("target/t/connected/rolling:3600", OPEN).unwrap();
        assert_eq!(rolling.window, "rolling:3600/29562664");
        for (cap, why) in [
            ("target/t/connected/hourly", NotResettable::Unknown),
            ("target/t/concurrency", NotResettable::Live),
            ("buyer/b/credit", NotResettable::Owed),
        ] {
            assert_eq!(snapshot.resettable(cap, OPEN).unwrap_err(), why, "{cap}");
        }
    }

    #[test]
    fn a_meter_says_how_its_cap_began_anew() {
        let daily = bucket("target/t/connected/daily", "d:2026-03-17");
        let mut ledger = HoldLedger::new(LedgerLimits::default());
        ledger.restore(daily.clone(), 7, None);
        let reset = Reset {
            bucket: daily.clone(),
            ends_at: None,
            at: OPEN,
            by: "ops".into(),
            why: "test calls".into(),
            key: None,
            amount: 7,
            parts: vec![ResetPart { node: None, slice: None, level: 5 }],
        };
        ledger.reset(&reset);

        let meters = snapshot(9).meters(&ledger, OPEN);

        let meter = &meters[&daily.cap];
        assert_eq!((meter.used, meter.reset.as_ref()), (2, Some(&reset)));
        assert_eq!(meters["buyer/b/credit"].reset, None);
    }

    fn snapshot(limit: u32) -> RoutingSnapshot {
        compiled(&config(limit))
    }

    fn compiled(config: &str) -> RoutingSnapshot {
        RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1).unwrap()
    }

    fn config(limit: u32) -> String {
        format!(
            r#"
            publishers = [{{ id = "p" }}]
            buyers = [{{ id = "b", credit = {{ limit = "10.00" }} }}]
            [[targets]]
            id = "t"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:a" }}
            concurrency = {{ limit = 4 }}
            caps = [
                {{ metric = "connected", window = "daily", limit = {limit} }},
                {{ metric = "connected", window = "rolling:3600", limit = 7, mode = "soft" }},
            ]
            [[campaigns]]
            id = "c"
            publisher = "p"
            numbers = ["+18005550100"]
            caps = [{{ metric = "attempted", window = "daily", limit = 24, mode = "paced" }}]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            "#
        )
    }

    fn bucket(cap: &str, window: &str) -> Bucket {
        Bucket { cap: cap.into(), window: window.into() }
    }
}
