//! How often a pool is asked for a number, and how many numbers it would need.

use std::time::Duration;

use crate::time::Wall;

const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 24;

/// What a pool was asked for in the last 24 hours, the present one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Sessions that had no number of the pool and wanted one, each once while it lives.
    pub asked: u64,
    /// Of those, for whom none was left when they first wanted it.
    pub missed: u64,
    /// Numbers lent that were those of visitors who had shown no sign of life.
    pub taken: u64,
    /// Fewest free numbers at any time.
    pub min_free: usize,
    /// Most that asked within one hour of the clock.
    pub peak_per_hour: u64,
    /// How long a number is away on average, its rest included.
    pub hold: Duration,
    /// Numbers of which one is free at about 99.9 % of all times: λT + 3·√(λT), with λ of the busiest
    /// hour (spec/domain §2.3).
    pub suggested_size: u64,
}

/// One slot for each hour of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hours([Hour; HOURS]);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hour {
    /// Since the epoch.
    number: i64,
    asked: u64,
    missed: u64,
    taken: u64,
    min_free: Option<usize>,
    ended: u64,
    held_ms: u64,
}

impl Hours {
    /// A session wants a number. `found`: whether that was taken away from another. `free`: how many
    /// are free before.
    pub(super) fn asked(&mut self, now: Wall, found: Option<bool>, free: usize) {
        let hour = self.at(now);
        hour.asked += 1;
        hour.missed += u64::from(found.is_none());
        self.asked_again(now, found, free);
    }

    /// The same, of one that was counted before.
    pub(super) fn asked_again(&mut self, now: Wall, found: Option<bool>, free: usize) {
        let hour = self.at(now);
        let left = free.saturating_sub(1);
        hour.taken += u64::from(found == Some(true));
        hour.min_free = Some(hour.min_free.map_or(left, |fewest| fewest.min(left)));
    }

    /// A lease of that length is over.
    pub(super) fn ended(&mut self, at: Wall, held_ms: u64) {
        let hour = self.at(at);
        hour.ended += 1;
        hour.held_ms = hour.held_ms.saturating_add(held_ms);
    }

    /// `hold`: how long a lease and the rest after it last when no lease has ended yet to tell it.
    pub(super) fn demand(&self, free: usize, hold: Hold, now: Wall) -> Demand {
        let newest = now.0.div_euclid(HOUR_MS);
        let in_day = |hour: &&Hour| (0..HOURS as i64).contains(&(newest - hour.number));
        let hours: Vec<_> = self.0.iter().filter(in_day).collect();
        let sum = |of: fn(&Hour) -> u64| hours.iter().map(|hour| of(hour)).sum::<u64>();
        let peak_per_hour = hours.iter().map(|hour| hour.asked).max().unwrap_or(0);
        let lent_ms = sum(|hour| hour.held_ms).checked_div(sum(|hour| hour.ended));
        let hold = lent_ms.map_or(hold.lease, Duration::from_millis) + hold.rest;
        Demand {
            asked: sum(|hour| hour.asked),
            missed: sum(|hour| hour.missed),
            taken: sum(|hour| hour.taken),
            min_free: hours.iter().filter_map(|hour| hour.min_free).fold(free, usize::min),
            peak_per_hour,
            hold,
            suggested_size: size(peak_per_hour, hold),
        }
    }

    fn at(&mut self, now: Wall) -> &mut Hour {
        let number = now.0.div_euclid(HOUR_MS);
        let slot = usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or(0);
        let hour = &mut self.0[slot];
        if hour.number != number {
            *hour = Hour { number, ..Hour::default() };
        }
        hour
    }
}

/// How long a number is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// With its session.
    pub lease: Duration,
    /// In quarantine.
    pub rest: Duration,
}

fn size(per_hour: u64, hold: Duration) -> u64 {
    let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
    // Thousandths of sessions that have a number at a time.
    let busy = per_hour.saturating_mul(hold_ms) / 3_600;
    let deviation = busy.saturating_mul(1_000).isqrt();
    busy.saturating_add(3 * deviation).div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Hold = Hold { lease: Duration::from_secs(300), rest: Duration::from_secs(900) };

    #[test]
    fn a_pool_is_as_large_as_the_busiest_hour_asks_for() {
        for (per_hour, hold_s, needed) in [(900, 1_200, 352), (7_200, 600, 1_304), (180, 600, 47)] {
            assert_eq!(size(per_hour, Duration::from_secs(hold_s)), needed);
        }
        assert_eq!(size(0, Duration::from_secs(600)), 0);
    }

    #[test]
    fn an_hour_counts_for_a_day() {
        let mut hours = Hours::default();
        for minute in 0..60 {
            hours.asked(at(10, minute), Some(minute == 59), 61 - minute as usize);
        }
        hours.asked(at(12, 0), None, 0);
        hours.ended(at(12, 0), 100_000);

        let demand = hours.demand(5, HOLD, at(33, 59));
        assert_eq!((demand.asked, demand.missed, demand.taken), (61, 1, 1));
        assert_eq!((demand.peak_per_hour, demand.min_free), (60, 0));
        assert_eq!(demand.hold, Duration::from_secs(1_000));
        let later = hours.demand(5, HOLD, at(34, 0));
        assert_eq!((later.asked, later.peak_per_hour, later.min_free), (1, 1, 0));
        let forgotten = hours.demand(5, HOLD, at(36, 0));
        assert_eq!((forgotten.asked, forgotten.min_free), (0, 5));
        assert_eq!(forgotten.hold, Duration::from_secs(1_200), "as the pool says");
    }

    fn at(hour: i64, minute: i64) -> Wall {
        Wall(hour * HOUR_MS + minute * 60_000)
    }
}
