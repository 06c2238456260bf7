//! How many calls a trunk may have, and how fast they may come (spec/sip C10).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::sip::trunk::{TrunkIndex, Trunks};
use crate::time::Mono;

/// A trunk may send the calls of this span at once, if it was quiet before.
const BURST: Duration = Duration::from_secs(1);

/// Counts of all trunks, shared by all shards.
pub(super) struct TrunkLimits {
    trunks: Vec<TrunkLimit>,
}

struct TrunkLimit {
    channels_max: Option<u32>,
    /// Time between two calls at the highest rate.
    interval_ns: Option<u64>,
    live: AtomicU32,
    /// When the trunk has used up what it was allowed, in nanoseconds of boot time: the
    /// theoretical arrival time of the generic cell rate algorithm.
    used_up_to_ns: AtomicU64,
}

impl TrunkLimits {
    pub(super) fn new(trunks: &Trunks) -> Self {
        let limit = |cps: u32| 1_000_000_000 / u64::from(cps.max(1));
        let trunks = trunks
            .iter()
            .map(|(_, trunk)| TrunkLimit {
                channels_max: trunk.channels_max,
                interval_ns: trunk.cps_max.map(limit),
                live: AtomicU32::new(0),
                used_up_to_ns: AtomicU64::new(0),
            })
            .collect();
        Self { trunks }
    }

    /// Counts a call in. `false`: it is one too many, and is to be counted out all the same.
    pub(super) fn enter(&self, trunk: TrunkIndex, now: Mono) -> bool {
        let Some(limit) = self.trunks.get(usize::from(trunk.0)) else { return false };
        let live = limit.live.fetch_add(1, Ordering::Relaxed) + 1;
        if limit.channels_max.is_some_and(|max| live > max) {
            return false;
        }
        let Some(interval) = limit.interval_ns else { return true };
        let burst = u64::try_from(BURST.as_nanos()).unwrap_or(u64::MAX);
        let step = |used_up_to: u64| {
            let next = used_up_to.max(now.0) + interval;
            (next <= now.0.saturating_add(burst.max(interval))).then_some(next)
        };
        limit.used_up_to_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }

    pub(super) fn leave(&self, trunk: TrunkIndex) {
        if let Some(limit) = self.trunks.get(usize::from(trunk.0)) {
            limit.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_has_so_many_calls_at_a_time_and_no_more() {
        let limits = limits(Some(2), None);

        assert!(limits.enter(TrunkIndex(0), Mono(0)));
        assert!(limits.enter(TrunkIndex(0), Mono(0)));
        assert!(!limits.enter(TrunkIndex(0), Mono(0)));
        limits.leave(TrunkIndex(0));
        limits.leave(TrunkIndex(0));
        assert!(limits.enter(TrunkIndex(0), Mono(0)));
    }

    #[test]
    fn a_trunk_may_send_the_calls_of_a_second_at_once_and_then_at_its_rate() {
        let limits = limits(None, Some(10));
        let passed = |ms: u64, tries: usize| {
            let now = Mono(60_000_000_000 + ms * 1_000_000);
            (0..tries).filter(|_| limits.enter(TrunkIndex(0), now)).count()
        };

        assert_eq!(passed(0, 100), 10);
        assert_eq!(passed(99, 5), 0);
        assert_eq!(passed(300, 100), 3);
        assert_eq!(passed(5_000, 100), 10);
    }

    fn limits(channels_max: Option<u32>, cps_max: Option<u32>) -> TrunkLimits {
        let interval_ns = cps_max.map(|cps| 1_000_000_000 / u64::from(cps));
        let (live, used_up_to_ns) = (AtomicU32::new(0), AtomicU64::new(0));
        TrunkLimits { trunks: vec![TrunkLimit { channels_max, interval_ns, live, used_up_to_ns }] }
    }
}
