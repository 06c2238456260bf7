//! How often a pool is asked for a number, and how many numbers it would need.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::routing::snapshot::Pool;
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
    /// Most numbers that were wanted at one time: those lent or resting, and one more for each session that
    /// was turned away, for as long as it would have kept it from others. Of several servers at least that:
    /// the sum of what each had at most within an hour.
    pub peak_at_once: u64,
    /// How long a number is away on average, its rest included.
    pub hold: Duration,
    /// Numbers of which one is free at about 99.9 % of all times: λT + 3·√(λT), with λ of the busiest
    /// hour (spec/domain §2.3). An hour that has just begun says little, and a burst is lost in it: so never
    /// less than were wanted at one time.
    pub suggested_size: u64,
}

/// What a pool was asked for within an hour of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedHour {
    /// Hours since the epoch.
    pub hour: i64,
    /// As in [`Demand`], as the next two.
    pub asked: u64,
    pub missed: u64,
    pub taken: u64,
    /// Absent: nothing was lent.
    pub min_free: Option<usize>,
    /// Leases that ended in it.
    pub ended: u64,
    /// How long these had lasted together.
    pub held_ms: u64,
    /// Most numbers that were wanted at one time in it, as in [`Demand::peak_at_once`].
    pub wanted: u64,
}

/// What a pool was asked for in the hours of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hours {
    /// One for each hour.
    slots: [AskedHour; HOURS],
    /// Numbers that are wanted, and the hour in which that was last noted.
    wanted: u64,
    noted: i64,
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

    /// So many numbers are wanted from now on.
    pub(super) fn wanted(&mut self, now: Wall, numbers: u64) {
        let (hour, before) = (hour_of(now), self.wanted);
        if before > 0 {
            // Until now they were as many as before.
            for number in (self.noted + 1).max(hour + 1 - HOURS as i64)..=hour {
                let slot = self.slot(number);
                slot.wanted = slot.wanted.max(before);
            }
        }
        let slot = self.slot(hour);
        slot.wanted = slot.wanted.max(numbers);
        (self.wanted, self.noted) = (numbers, hour);
    }

    /// A lease of that length is over.
    pub(super) fn ended(&mut self, at: Wall, held_ms: u64) {
        let hour = self.at(at);
        hour.ended += 1;
        hour.held_ms = hour.held_ms.saturating_add(held_ms);
    }

    /// Those of the last 24 in which anything was.
    pub(super) fn of_day(&self, now: Wall) -> Vec<AskedHour> {
        let is_empty = |it: &AskedHour| *it == AskedHour { hour: it.hour, ..AskedHour::default() };
        self.slots.iter().filter(|it| it.is_of_day(now) && !is_empty(it)).copied().collect()
    }

    fn at(&mut self, now: Wall) -> &mut AskedHour {
        self.slot(hour_of(now))
    }

    fn slot(&mut self, number: i64) -> &mut AskedHour {
        let slot = usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or(0);
        let hour = &mut self.slots[slot];
        if hour.hour != number {
            *hour = AskedHour { hour: number, ..AskedHour::default() };
        }
        hour
    }
}

impl AskedHour {
    fn is_of_day(&self, now: Wall) -> bool {
        (0..HOURS as i64).contains(&(hour_of(now) - self.hour))
    }
}

impl Demand {
    /// Of one server's hours or of several ones'. `hold`: how long a lease and the rest after it last when no
    /// lease has ended yet to tell it.
    pub fn of(hours: &[AskedHour], free: usize, hold: Hold, now: Wall) -> Self {
        let hours: Vec<_> = hours.iter().filter(|hour| hour.is_of_day(now)).collect();
        let sum = |of: fn(&AskedHour) -> u64| hours.iter().map(|hour| of(hour)).sum::<u64>();
        let most = |of: fn(&AskedHour) -> u64| {
            let mut by_hour: BTreeMap<i64, u64> = BTreeMap::new();
            for hour in &hours {
                *by_hour.entry(hour.hour).or_default() += of(hour);
            }
            by_hour.into_values().max().unwrap_or(0)
        };
        let (peak_per_hour, peak_at_once) = (most(|hour| hour.asked), most(|hour| hour.wanted));
        let lent_ms = sum(|hour| hour.held_ms).checked_div(sum(|hour| hour.ended));
        let hold = lent_ms.map_or(hold.lease, Duration::from_millis) + hold.rest;
        Self {
            asked: sum(|hour| hour.asked),
            missed: sum(|hour| hour.missed),
            taken: sum(|hour| hour.taken),
            min_free: hours.iter().filter_map(|hour| hour.min_free).fold(free, usize::min),
            peak_per_hour,
            peak_at_once,
            hold,
            suggested_size: size(peak_per_hour, hold).max(peak_at_once),
        }
    }
}

fn hour_of(now: Wall) -> i64 {
    now.0.div_euclid(HOUR_MS)
}

/// How long a number is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// With its session.
    pub lease: Duration,
    /// In quarantine.
    pub rest: Duration,
}

impl Hold {
    /// As the pool says.
    pub fn of(pool: &Pool) -> Self {
        Self { lease: pool.session_ttl, rest: pool.quarantine }
    }
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

        let demand = told(&hours, at(33, 59));
        assert_eq!((demand.asked, demand.missed, demand.taken), (61, 1, 1));
        assert_eq!((demand.peak_per_hour, demand.min_free), (60, 0));
        assert_eq!(demand.hold, Duration::from_secs(1_000));
        let later = told(&hours, at(34, 0));
        assert_eq!((later.asked, later.peak_per_hour, later.min_free), (1, 1, 0));
        let forgotten = told(&hours, at(36, 0));
        assert_eq!((forgotten.asked, forgotten.min_free), (0, 5));
        assert_eq!(forgotten.hold, Duration::from_secs(1_200), "as the pool says");
    }

    #[test]
    fn several_servers_are_asked_in_one_hour() {
        let (mut one, mut other) = (Hours::default(), Hours::default());
        for _ in 0..4 {
            one.asked(at(10, 0), Some(false), 9);
            other.asked(at(11, 0), Some(false), 7);
        }
        other.asked(at(10, 30), None, 0);
        other.ended(at(11, 0), 400_000);
        one.ended(at(11, 0), 200_000);

        let (now, mut all) = (at(12, 0), one.of_day(at(12, 0)));
        all.extend(other.of_day(now));
        let demand = Demand::of(&all, 5, HOLD, now);
        assert_eq!((demand.asked, demand.missed, demand.peak_per_hour), (9, 1, 5));
        assert_eq!((demand.min_free, demand.hold), (0, Duration::from_secs(300 + 900)));
        assert_eq!(all.len(), 4, "hours in which nothing was are left out");
    }

    #[test]
    fn what_is_wanted_is_wanted_until_it_is_less() {
        let mut hours = Hours::default();
        hours.wanted(at(10, 0), 4);
        hours.wanted(at(10, 1), 1_290);
        hours.wanted(at(13, 5), 7);
        hours.wanted(at(15, 0), 0);
        hours.wanted(at(17, 0), 0);

        let by_hour: Vec<_> =
            hours.of_day(at(17, 0)).iter().map(|it| (it.hour, it.wanted)).collect();

        let whole = [(10, 1_290), (11, 1_290), (12, 1_290), (13, 1_290), (14, 7), (15, 7)];
        assert_eq!(by_hour, whole);
        let demand = told(&hours, at(36, 59));
        assert_eq!((demand.peak_at_once, demand.suggested_size), (1_290, 1_290));
        let later = told(&hours, at(37, 0));
        assert_eq!((later.peak_at_once, later.suggested_size), (7, 7));
    }

    #[test]
    fn what_servers_want_in_one_hour_they_may_want_at_once() {
        let of = |hour, wanted| AskedHour { hour, wanted, ..AskedHour::default() };
        let hours = [of(10, 40), of(11, 30), of(11, 20), of(12, 45)];
        let demand = Demand::of(&hours, 5, HOLD, at(12, 0));
        assert_eq!((demand.peak_at_once, demand.suggested_size), (50, 50));
    }

    #[test]
    fn a_busy_hour_asks_for_more_than_were_wanted_at_once() {
        let hour = AskedHour { hour: 10, asked: 900, wanted: 310, ..AskedHour::default() };
        let demand = Demand::of(&[hour], 5, HOLD, at(10, 0));
        assert_eq!((demand.peak_at_once, demand.suggested_size), (310, 352));
    }

    fn told(hours: &Hours, now: Wall) -> Demand {
        Demand::of(&hours.of_day(now), 5, HOLD, now)
    }

    fn at(hour: i64, minute: i64) -> Wall {
        Wall(hour * HOUR_MS + minute * 60_000)
    }
}
