//! How many calls a trunk may send and a target takes, and how fast they may come (spec/sip C10).
//!
//! A call that is a little early waits for its turn, a second at most; one that would wait longer
//! is refused at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::sip::policy::Targets;
use crate::sip::trunk::{TrunkIndex, Trunks};
use crate::time::Mono;

/// A trunk may send the calls of this span at once, if it was quiet before.
const TRUNK_BURST: Duration = Duration::from_secs(1);

/// So may we towards a target: carriers count in shorter spans than they say.
const TARGET_BURST: Duration = Duration::from_millis(100);

/// Whether a call may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    At(Mono),
    /// Not within the time it may wait.
    Full,
}

/// Counts of all trunks, shared by all shards.
pub(super) struct TrunkLimits {
    /// By index; each keeps its counts when its limits change.
    trunks: ArcSwap<Vec<Limit>>,
}

/// Counts of all targets that have limits, shared by all shards.
#[derive(Default)]
pub(super) struct TargetLimits {
    /// By what those who share a limit have in common.
    shared: BTreeMap<SmolStr, Arc<Limit>>,
    by_target: BTreeMap<SmolStr, Arc<Limit>>,
    /// Of ways to targets that have limits of their own, by the place of the way.
    by_way: BTreeMap<(SmolStr, u8), Arc<Limit>>,
}

/// Calls at a time, and new ones per second.
#[derive(Debug)]
pub(super) struct Limit {
    channels_max: Option<u32>,
    /// Time between two calls at the highest rate.
    interval_ns: Option<u64>,
    burst_ns: u64,
    queue_ns: u64,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    live: AtomicU32,
    /// When what was allowed is used up, in nanoseconds of boot time: the theoretical arrival time
    /// of the generic cell rate algorithm.
    used_up_to_ns: AtomicU64,
    /// Turns to come that nobody waits for any more.
    given_back: Mutex<Vec<Mono>>,
}

impl TrunkLimits {
    pub(super) fn new(trunks: &Trunks) -> Self {
        let limits = Self { trunks: ArcSwap::default() };
        limits.configure(trunks);
        limits
    }

    /// The limits of these trunks from now on. A trunk with the index of one that was there before
    /// has its calls.
    pub(super) fn configure(&self, trunks: &Trunks) {
        let before = self.trunks.load();
        let limit = |(index, trunk): (TrunkIndex, &crate::sip::trunk::Trunk)| {
            Limit::new(trunk.channels_max, trunk.cps_max, TRUNK_BURST, trunk.queue)
                .following(before.get(usize::from(index.0)))
        };
        self.trunks.store(Arc::new(trunks.iter().map(limit).collect()));
    }

    /// Counts a call in; it is to be counted out whatever the answer.
    pub(super) fn enter(&self, trunk: TrunkIndex, now: Mono) -> Turn {
        match self.trunks.load().get(usize::from(trunk.0)) {
            Some(limit) => limit.enter(now),
            None => Turn::Full,
        }
    }

    pub(super) fn leave(&self, trunk: TrunkIndex) {
        if let Some(limit) = self.trunks.load().get(usize::from(trunk.0)) {
            limit.leave();
        }
    }
}

impl TargetLimits {
    pub(super) fn new(targets: &Targets) -> Self {
        Self::following(targets, &Self::default())
    }

    /// Those who had a limit before keep its counts.
    pub(super) fn following(targets: &Targets, before: &Self) -> Self {
        let mut shared: BTreeMap<SmolStr, Arc<Limit>> = BTreeMap::new();
        let (mut by_target, mut by_way) = (BTreeMap::new(), BTreeMap::new());
        for (id, way, target) in targets.iter() {
            let Some(limits) = &target.limits else { continue };
            let limit = shared.entry(limits.shared_by.clone()).or_insert_with(|| {
                let (channels, cps) = (limits.channels_max, limits.cps_max);
                let limit = Limit::new(channels, cps, TARGET_BURST, limits.queue);
                let known = before.shared.get(&limits.shared_by);
                Arc::new(limit.following(known.map(|limit| &**limit)))
            });
            let limit = Arc::clone(limit);
            match way {
                Some(way) => by_way.insert((id.clone(), way), limit),
                None => by_target.insert(id.clone(), limit),
            };
        }
        Self { shared, by_target, by_way }
    }

    /// `way`: by its place in the configuration. `None`: there are no limits.
    pub(super) fn of(&self, target: &str, way: u8) -> Option<&Arc<Limit>> {
        let of_way = match self.by_way.is_empty() {
            true => None,
            false => self.by_way.get(&(SmolStr::new(target), way)),
        };
        of_way.or_else(|| self.by_target.get(target))
    }
}

impl Limit {
    fn new(
        channels_max: Option<u32>,
        cps_max: Option<u32>,
        burst: Duration,
        queue: Duration,
    ) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            channels_max,
            interval_ns: cps_max.map(|cps| 1_000_000_000 / u64::from(cps.max(1))),
            burst_ns: ns(burst),
            queue_ns: ns(queue),
            counts: Arc::default(),
        }
    }

    /// Goes on counting where `before` is.
    fn following(self, before: Option<&Self>) -> Self {
        let counts = before.map_or(self.counts, |before| Arc::clone(&before.counts));
        Self { counts, ..self }
    }

    /// Counts a call in; it is to be counted out whatever the answer.
    pub(super) fn enter(&self, now: Mono) -> Turn {
        let live = self.counts.live.fetch_add(1, Ordering::Relaxed) + 1;
        if self.channels_max.is_some_and(|max| live > max) {
            return Turn::Full;
        }
        let Some(interval) = self.interval_ns else { return Turn::Now };
        // While there is one, nobody's turn is at once.
        if let Some(turn) = self.counts.earliest_given_back(now) {
            return Turn::At(turn);
        }
        let free_until = now.0.saturating_add(self.burst_ns.max(interval));
        let step = |used_up_to: u64| {
            let next = used_up_to.max(now.0) + interval;
            (next <= free_until.saturating_add(self.queue_ns)).then_some(next)
        };
        let used_up_to = &self.counts.used_up_to_ns;
        let entered = used_up_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        match entered.map(|before| before.max(now.0) + interval) {
            Ok(next) if next <= free_until => Turn::Now,
            Ok(next) => Turn::At(now + Duration::from_nanos(next - free_until)),
            Err(_) => Turn::Full,
        }
    }

    pub(super) fn leave(&self) {
        self.counts.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// The turn of a call that will not take it is the next one's. Calls that wait keep theirs.
    pub(super) fn give_back(&self, turn: Mono) {
        self.counts.given_back.lock().push(turn);
    }
}

impl Counts {
    fn earliest_given_back(&self, now: Mono) -> Option<Mono> {
        let mut turns = self.given_back.lock();
        if turns.is_empty() {
            return None;
        }
        turns.retain(|turn| *turn > now);
        let (place, _) = turns.iter().enumerate().min_by_key(|(_, turn)| **turn)?;
        Some(turns.swap_remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 60_000_000_000;

    #[test]
    fn a_trunk_has_so_many_calls_at_a_time_and_no_more() {
        let limit = Limit::new(Some(2), None, TRUNK_BURST, Duration::ZERO);

        assert_eq!(limit.enter(Mono(0)), Turn::Now);
        assert_eq!(limit.enter(Mono(0)), Turn::Now);
        assert_eq!(limit.enter(Mono(0)), Turn::Full);
        limit.leave();
        limit.leave();
        assert_eq!(limit.enter(Mono(0)), Turn::Now);
    }

    #[test]
    fn a_trunk_may_send_the_calls_of_a_second_at_once_and_then_at_its_rate() {
        let limit = Limit::new(None, Some(10), TRUNK_BURST, Duration::ZERO);
        let passed =
            |ms: u64, tries: usize| (0..tries).filter(|_| limit.enter(at(ms)) == Turn::Now).count();

        assert_eq!(passed(0, 100), 10);
        assert_eq!(passed(99, 5), 0);
        assert_eq!(passed(300, 100), 3);
        assert_eq!(passed(5_000, 100), 10);
    }

    #[test]
    fn a_burst_towards_a_target_is_spread_over_a_second_and_the_rest_refused() {
        let limit = Limit::new(None, Some(20), TARGET_BURST, Duration::from_secs(1));
        let turns: Vec<_> = (0..30).map(|_| limit.enter(at(0))).collect();

        assert_eq!(turns[..2], [Turn::Now; 2]);
        assert_eq!(turns[2], Turn::At(at(50)));
        assert_eq!(turns[21], Turn::At(at(1_000)));
        assert_eq!(turns[22..], [Turn::Full; 8]);
        assert_eq!(limit.enter(at(1_050)), Turn::Now);
    }

    #[test]
    fn a_turn_that_is_given_back_is_the_next_one_s_until_it_is_past() {
        let limit = Limit::new(None, Some(20), TARGET_BURST, Duration::from_secs(1));
        let turns: Vec<_> = (0..30).map(|_| limit.enter(at(0))).collect();
        assert_eq!([turns[2], turns[5]], [Turn::At(at(50)), Turn::At(at(200))]);
        limit.give_back(at(200));
        limit.give_back(at(50));

        assert_eq!(limit.enter(at(10)), Turn::At(at(50)));
        assert_eq!(limit.enter(at(10)), Turn::At(at(200)));
        assert_eq!(limit.enter(at(10)), Turn::Full, "the others wait for theirs");
        limit.give_back(at(200));
        assert_eq!(limit.enter(at(200)), Turn::At(at(1_050)), "it is past");
    }

    fn at(ms: u64) -> Mono {
        Mono(START + ms * 1_000_000)
    }
}
