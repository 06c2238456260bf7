//! Filling a cap evenly over its window, to its limit and hardly ever beyond.

use minicbor::{Decode, Encode};

use crate::routing::request::Usage;

/// A whole, in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;
/// The smallest `p` that can be reckoned with.
pub const RATE_LEAST_PPM: u32 = 10_000;

/// Of more room than this each further place lets in one call only.
const ROOM_MAX: u64 = 100;
/// Limits for which `z` is reckoned: that of the next greater one is on the safe side.
const LIMITS: [u64; 11] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, ROOM_MAX];
/// With this `z` no more are let in than there is room for, whatever `p`.
const Z_MOST_MILLI: u32 = 20_000;

/// The probabilities to which one that is measured is rounded up, in millionths. Beyond the last all
/// calls are taken to count.
const STEPS_PPM: [u32; STEPS] = [
    20_000, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000, 350_000, 400_000, 450_000,
    500_000, 550_000, 600_000, 650_000, 700_000, 750_000, 800_000, 850_000, 900_000, 950_000,
];
const STEPS: usize = 20;

/// The `z` of a cap for each probability that may be measured: it takes too long to reckon for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaceSteps([u32; STEPS]);

/// What a paced cap knows at one moment.
///
/// Each of the `n` calls that are held, the new one among them, counts with the probability `p`,
/// whatever becomes of the others. A call is let in if `used + n·p + z·√(n·p·(1-p))` is within the
/// limit, and within what may be used by now (normal bound, spec/domain §2.6); and always if there is
/// room for all `n`. All of it is reckoned in millionths, as whole numbers; the root is rounded up.
///
/// That is asked for each call anew, and each answer is a risk of its own: with the `z` that stands
/// for 1 % in tables, one window in eight would have passed a limit of 300 by its end, at 30 %. So
/// `z` is [`Pace::z_milli_for`] the end of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pace {
    /// How much may be used by now, in the unit of the cap.
    #[n(0)]
    pub by_now: u64,
    /// `p`. Below a million only where calls are counted.
    #[n(1)]
    pub rate_ppm: u32,
    /// `z`, in thousandths.
    #[n(2)]
    pub z_milli: u32,
    /// From how many calls of late `p` is reckoned; absent: it is what the configuration says.
    #[n(3)]
    pub calls: Option<u32>,
}

impl PaceSteps {
    /// For caps with this limit; see [`Pace::z_milli_for`].
    pub fn reckon(limit: u64, over_ppm: u32) -> Self {
        Self(STEPS_PPM.map(|rate_ppm| Pace::z_milli_for(rate_ppm, limit, over_ppm)))
    }

    /// The step that is at least this probability, and its `z` in thousandths.
    pub fn at(&self, rate_ppm: u32) -> (u32, u32) {
        let step = STEPS_PPM.partition_point(|step| *step < rate_ppm);
        match (STEPS_PPM.get(step), self.0.get(step)) {
            (Some(rate_ppm), Some(z_milli)) => (*rate_ppm, *z_milli),
            (None, _) | (_, None) => (WHOLE_PPM, 0),
        }
    }
}

impl Pace {
    /// The least `z`, in thousandths, with which the probability that more than `limit` have come to
    /// count by the end of a window is at most `over_ppm`, however many calls come and whenever. `rate_ppm`
    /// is from [`RATE_LEAST_PPM`] on.
    pub fn z_milli_for(rate_ppm: u32, limit: u64, over_ppm: u32) -> u32 {
        let limit = Self::reckoned_limit(limit);
        let most = f64::from(over_ppm) / f64::from(WHOLE_PPM);
        let is_safe = |z_milli| {
            let pace = Self { by_now: u64::MAX, rate_ppm, z_milli, calls: None };
            pace.over_probability(limit) <= most
        };
        // Downwards: the less it is, the more are let in, and the more there is to reckon with.
        let mut safe = Z_MOST_MILLI;
        for step in [1_000, 100, 10] {
            while safe > step && is_safe(safe - step) {
                safe -= step;
            }
        }
        safe
    }

    /// The limit for which `z` is reckoned: caps with the same have the same.
    pub fn reckoned_limit(limit: u64) -> u64 {
        LIMITS.into_iter().find(|it| *it >= limit).unwrap_or(ROOM_MAX)
    }

    /// How probable it is that more than `limit` come to count, if there are always more calls than are
    /// let in: no order in which fewer come is worse, for more calls in flight are never the safer.
    ///
    /// With room for `r` more there are at most `n(r)` in flight. One that comes to nothing is replaced,
    /// so sooner or later one counts: `V(r, n(r)) = V(r-1, n(r)-1)`. Are there more, because there was
    /// more room, none is let in: `V(r, n) = p·V(r-1, n-1) + (1-p)·V(r, n-1)`, and without any room
    /// `V(0, n) = 1-(1-p)^n`. Of more room than [`ROOM_MAX`] nothing changes: `n(r) = n(r-1) + 1`.
    fn over_probability(&self, limit: u64) -> f64 {
        let rate = f64::from(self.rate_ppm) / f64::from(WHOLE_PPM);
        let limit = limit.min(ROOM_MAX);
        let mut most = 0;
        let mut in_flight = vec![];
        for room in 0..=limit {
            while self.admits(Usage { used: 0, held: most }, 1, room) {
                most += 1;
            }
            in_flight.push(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let mut over: Vec<f64> = Vec::with_capacity(in_flight[in_flight.len() - 1] + 1);
        let mut none = 1.0;
        for _ in 0..=most {
            over.push(1.0 - none);
            none *= 1.0 - rate;
        }
        for &most in in_flight.iter().skip(1) {
            let at_most = over[most - 1];
            let mut fewer = at_most;
            let mut left = at_most;
            for (n, it) in over.iter_mut().enumerate() {
                // `left` is what there was for one fewer, with less room.
                let less_room = std::mem::replace(&mut left, *it);
                if n > most {
                    fewer = rate * less_room + (1.0 - rate) * fewer;
                }
                *it = fewer;
            }
        }
        over[over.len() - 1]
    }

    pub(super) fn admits(&self, usage: Usage, asked: u64, limit: u64) -> bool {
        let limit = limit.min(self.by_now);
        self.bound_ppm(usage, asked, limit) <= u128::from(limit) * u128::from(WHOLE_PPM)
    }

    /// Whether all that is held comes to count.
    pub fn is_certain(&self) -> bool {
        self.rate_ppm == WHOLE_PPM
    }

    /// `p`, if it was said or reckoned.
    pub fn rate_taken_ppm(&self) -> Option<u32> {
        (self.calls.is_some() || !self.is_certain()).then_some(self.rate_ppm)
    }

    /// What may come to be used of `limit`, in millionths, if `asked` is let in.
    pub fn bound_ppm(&self, usage: Usage, asked: u64, limit: u64) -> u128 {
        let (rate, whole) = (u128::from(self.rate_ppm), u128::from(WHOLE_PPM));
        let room = limit.min(self.by_now).saturating_sub(usage.used);
        let calls = u128::from(usage.held) + u128::from(asked);
        let sure = calls.min(room.saturating_sub(ROOM_MAX).into());
        let open = calls - sure;
        let variance = open * rate * whole.saturating_sub(rate);
        let doubt = (u128::from(self.z_milli) * root_up(variance)).div_ceil(1_000);
        let counting = sure * whole + (open * rate + doubt).min(open * whole);
        u128::from(usage.used) * whole + counting
    }
}

/// The least whole number whose square is at least `n`.
fn root_up(n: u128) -> u128 {
    let root = n.isqrt();
    root + u128::from(root * root < n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_calls_are_let_in_than_there_is_room_for_as_not_all_of_them_count() {
        let pace = Pace { by_now: 10, ..pace(300_000, 2_327) };
        // 16 * 0.3 + 2.327 * √(16 * 0.21) = 9.07, and with 17: 9.50, 18: 9.93, 19: 10.35.
        assert_eq!(most(pace, 10), 18);
        assert_eq!(
            pace.bound_ppm(Usage { used: 2, held: 15 }, 1, 10),
            2_000_000 + 4_800_000 + 4_265_464
        );
        let certain = Pace { rate_ppm: WHOLE_PPM, ..pace };
        assert!(certain.admits(Usage { used: 2, held: 7 }, 1, 10));
        assert!(!certain.admits(Usage { used: 3, held: 7 }, 1, 10));
    }

    #[test]
    fn a_call_that_there_is_room_for_is_let_in_whatever_the_doubt() {
        let pace = pace(300_000, 4_000);
        for limit in 1..=3 {
            assert_eq!(most(pace, limit), limit);
        }
        assert_eq!(pace.bound_ppm(Usage { used: 8, held: 1 }, 1, 10), 10_000_000);
    }

    #[test]
    fn of_more_room_than_was_reckoned_with_each_place_is_one_call() {
        let pace = pace(300_000, 3_300);
        let reckoned = most(pace, ROOM_MAX);
        assert!(reckoned > 2 * ROOM_MAX);
        assert_eq!(most(pace, ROOM_MAX + 700), reckoned + 700);
    }

    #[test]
    fn no_more_is_let_in_than_may_be_used_by_now() {
        let pace = Pace { by_now: 3, ..pace(WHOLE_PPM, 2_327) };
        assert!(pace.admits(Usage { used: 1, held: 1 }, 1, 10));
        assert!(!pace.admits(Usage { used: 1, held: 2 }, 1, 10));
        assert!(!pace.admits(Usage { used: 0, held: 1 }, 1, 1));
    }

    #[test]
    fn any_amount_of_money_is_reckoned_without_overflow() {
        let pace = pace(WHOLE_PPM, 3_091);
        assert!(!pace.admits(Usage { used: u64::MAX, held: u64::MAX }, u64::MAX, u64::MAX));
        assert!(pace.admits(Usage { used: u64::MAX - 1, held: 0 }, 1, u64::MAX));
    }

    #[test]
    fn with_the_z_of_tables_windows_pass_their_limits_far_more_often_than_it_says() {
        let table = |limit, rate_ppm| {
            let pace = pace(rate_ppm, 2_327);
            (pace.over_probability(limit) * 1_000.0).round()
        };
        assert_eq!(
            [table(10, 300_000), table(100, 300_000), table(100, 50_000)],
            [33.0, 94.0, 220.0]
        );
    }

    /// Windows are played many times: calls come as long as any is let in, and each comes to count or
    /// does not.
    #[test]
    fn at_the_end_of_a_window_the_limit_is_passed_no_more_often_than_was_promised() {
        const WINDOWS: u32 = 600;
        let mut rng = fastrand::Rng::with_seed(0x0F_F1CE);
        for (rate_ppm, limit, over_ppm) in [
            (300_000, 10, 10_000),
            (300_000, 100, 50_000),
            (50_000, 40, 100_000),
            (500_000, 250, 20_000),
            (800_000, 30, 100_000),
            (10_000, 5, 100_000),
        ] {
            let z_milli = Pace::z_milli_for(rate_ppm, limit, over_ppm);
            let pace = pace(rate_ppm, z_milli);
            let mut over = 0;
            for _ in 0..WINDOWS {
                let mut usage = Usage::default();
                loop {
                    while pace.admits(usage, 1, limit) {
                        usage.held += 1;
                    }
                    if usage.held == 0 {
                        break;
                    }
                    usage.held -= 1;
                    usage.used += u64::from(rng.u32(0..WHOLE_PPM) < rate_ppm);
                }
                assert!(usage.used >= limit, "it is filled");
                over += u32::from(usage.used > limit);
            }
            let promised = f64::from(WINDOWS) * f64::from(over_ppm) / f64::from(WHOLE_PPM);
            let reckoned = f64::from(WINDOWS) * pace.over_probability(limit);
            assert!(reckoned <= promised && reckoned > promised / 10.0, "{reckoned} {promised}");
            let near = 4.0 * reckoned.sqrt() + 1.0;
            assert!((f64::from(over) - reckoned).abs() < near, "{over} of {reckoned}, {rate_ppm}");
        }
    }

    #[test]
    fn the_smaller_the_probability_the_fewer_are_let_in() {
        let z = |over_ppm| Pace::z_milli_for(300_000, 100, over_ppm);
        assert!(z(1_000) > z(10_000) && z(10_000) > z(100_000));
        let z = |limit| Pace::z_milli_for(300_000, limit, 10_000);
        assert!(z(100) > z(10) && z(5_000) == z(100) && z(8) == z(10));
    }

    #[test]
    fn what_is_measured_is_rounded_up_to_a_step_whose_z_is_known() {
        let steps = PaceSteps::reckon(8, 20_000);
        for (ppm, step) in [
            (0, 20_000),
            (20_000, 20_000),
            (20_001, 50_000),
            (301_000, 350_000),
            (950_000, 950_000),
        ] {
            assert_eq!(steps.at(ppm), (step, Pace::z_milli_for(step, 8, 20_000)), "{ppm}");
        }
        assert_eq!(steps.at(950_001), (WHOLE_PPM, 0));
    }

    #[test]
    fn roots_are_rounded_up() {
        assert_eq!([0, 1, 2, 4, 5, 9, 10].map(root_up), [0, 1, 2, 2, 3, 3, 4]);
    }

    /// With all of the limit to be used by now.
    fn pace(rate_ppm: u32, z_milli: u32) -> Pace {
        Pace { by_now: u64::MAX, rate_ppm, z_milli, calls: None }
    }

    /// How many may be held of a limit of which nothing is used.
    fn most(pace: Pace, limit: u64) -> u64 {
        (0..).find(|held| !pace.admits(Usage { used: 0, held: *held }, 1, limit)).unwrap()
    }
}
