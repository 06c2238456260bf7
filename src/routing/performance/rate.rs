//! Which part of the calls that a cap holds room for comes to count, at most, as far as its calls of
//! late tell.
//!
//! A cap is filled by what it may well be, not by what it most likely is: that too few are let in costs
//! a little time, that too many are lets the cap be passed. So all that is not known is taken for the
//! worse. Calls that are held and not yet decided are taken to count; what is found is the mean of a
//! Beta posterior and [`SPREADS`] of its spreads; today speaks beside the days before it, and whoever says
//! more is heard; and as long as there are too few calls, all are taken to count.
//!
//! Of calls in flight more convert than of calls that were answered: one that is given up leaves early,
//! and one that converts stays until it does. Where `c` of the answered calls convert, after a time `w`,
//! and the others are over after `l`, that is `c·w / (c·w + (1-c)·l)`.

use minicbor::{Decode, Encode};

use super::Tally;
use super::estimate::Chance;

/// Days of UTC that are looked back at, today included.
pub const LOOKBACK_DAYS: u32 = 14;
/// With fewer calls nothing is known.
pub const CALLS_MIN: u32 = 30;
/// How many standard deviations beyond the mean. A rate lies beyond that by about one chance in a
/// thousand, which is little beside what is said of the cap itself.
pub const SPREADS: u32 = 3;

const WHOLE_PPM: u32 = 1_000_000;

/// How calls of a scope went: on all days that are looked back at, and of those today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Lately {
    #[n(0)]
    pub whole: Tally,
    #[n(1)]
    pub today: Tally,
}

/// What a call that is held may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesTo {
    /// It is held until it is answered.
    Connected,
    /// It is held until it has converted.
    Converted,
}

/// Which part of the calls in flight comes to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At most, in millionths.
    pub ppm: u32,
    /// From so many calls: those that were tried, or of conversions those that were answered.
    pub calls: u32,
}

impl Lately {
    /// The rate at most, with so many calls held of which it is not known yet.
    pub fn rate(&self, comes_to: ComesTo, held: u64) -> Rate {
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let whole = at_most(&self.whole, comes_to, held);
        let today = at_most(&self.today, comes_to, held);
        let ppm = whole.map_or(WHOLE_PPM, |whole| whole.max(today.unwrap_or(0)));
        Rate { ppm, calls: of(&self.whole, comes_to) }
    }
}

fn of(tally: &Tally, comes_to: ComesTo) -> u32 {
    match comes_to {
        ComesTo::Connected => tally.dialed,
        ComesTo::Converted => tally.connected,
    }
}

/// `None`: there are too few calls, or none of them came to count.
fn at_most(tally: &Tally, comes_to: ComesTo, held: u32) -> Option<u32> {
    let (of, counted) = match comes_to {
        ComesTo::Connected => (tally.dialed, tally.connected),
        ComesTo::Converted => (tally.connected, tally.converted),
    };
    if of < CALLS_MIN || counted == 0 {
        return None;
    }
    // As if one call had been before all, and had come to count.
    let chance = Chance::of(counted.saturating_add(held), of, WHOLE_PPM, 1);
    let ppm = chance.ppm.saturating_add(SPREADS * chance.spread_ppm).min(WHOLE_PPM);
    Some(match comes_to {
        ComesTo::Connected => ppm,
        ComesTo::Converted => in_flight(ppm, tally),
    })
}

/// The part of the calls that are up which converts, if this part of the answered ones does.
fn in_flight(ppm: u32, tally: &Tally) -> u32 {
    let lost = tally.connected.saturating_sub(tally.converted);
    // Both times are multiplied by both numbers of calls.
    let won = u128::from(tally.won_ms) * u128::from(lost);
    let lost = u128::from(tally.lost_ms) * u128::from(tally.converted);
    if won <= lost {
        return ppm;
    }
    let (converts, leaves) = (u128::from(ppm) * won, u128::from(WHOLE_PPM - ppm) * lost);
    let part = (converts * u128::from(WHOLE_PPM)).div_ceil(converts + leaves);
    u32::try_from(part).unwrap_or(WHOLE_PPM).min(WHOLE_PPM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_of_the_posterior_and_three_of_its_spreads() {
        // 301 of 1,001, and three times the root of 0.3007 × 0.6993 / 1,002.
        let lately = of_whole(tally(1_000, 300, 0));
        let rate = lately.rate(ComesTo::Connected, 0);
        assert_eq!(rate, Rate { ppm: 300_699 + 3 * 14_486, calls: 1_000 });
        let converts = of_whole(tally(5_000, 1_000, 300));
        assert_eq!(converts.rate(ComesTo::Converted, 0), rate);
        // The more there are, the surer.
        let many = of_whole(tally(100_000, 30_000, 0)).rate(ComesTo::Connected, 0);
        assert!((303_000..306_000).contains(&many.ppm), "{many:?}");
    }

    #[test]
    fn all_come_to_count_as_long_as_too_little_is_known() {
        for (tally, comes_to) in [
            (Tally::default(), ComesTo::Connected),
            (tally(29, 1, 0), ComesTo::Connected),
            (tally(1_000, 0, 0), ComesTo::Connected),
            (tally(1_000, 29, 1), ComesTo::Converted),
            (tally(1_000, 1_000, 0), ComesTo::Converted),
        ] {
            assert_eq!(of_whole(tally).rate(comes_to, 0).ppm, 1_000_000, "{tally:?}");
        }
        assert!(of_whole(tally(30, 1, 0)).rate(ComesTo::Connected, 0).ppm < 200_000);
    }

    #[test]
    fn those_that_are_held_are_taken_to_come_to_count() {
        let rate = |held| of_whole(tally(1_000, 1_000, 300)).rate(ComesTo::Converted, held).ppm;
        assert!(rate(0) < rate(100));
        assert_eq!(rate(100), of_whole(tally(1_000, 1_000, 400)).rate(ComesTo::Converted, 0).ppm);
        assert_eq!(rate(u64::MAX), 1_000_000);
    }

    #[test]
    fn a_day_on_which_more_come_to_count_is_heard_at_once_and_one_with_fewer_is_not() {
        let whole = tally(10_000, 2_000, 0);
        let rate = |today| Lately { whole, today }.rate(ComesTo::Connected, 0).ppm;
        let before = of_whole(whole).rate(ComesTo::Connected, 0).ppm;
        assert_eq!(rate(tally(1_000, 100, 0)), before);
        assert_eq!(rate(tally(29, 29, 0)), before, "too few");
        assert!(rate(tally(100, 60, 0)) > 600_000);
    }

    #[test]
    fn of_calls_in_flight_more_convert_as_those_that_do_not_leave_early() {
        let mut tally = tally(1_000, 1_000, 300);
        let rate = |tally| of_whole(tally).rate(ComesTo::Converted, 0).ppm;
        let of_answered = rate(tally);
        // Those that convert take 90 s, and those that do not are over after 30.
        (tally.won_ms, tally.lost_ms) = (300 * 90_000, 700 * 30_000);
        let odds = f64::from(of_answered) / f64::from(1_000_000 - of_answered) * 3.0;
        let part = odds / (odds + 1.0) * 1e6;
        assert!((f64::from(rate(tally)) - part).abs() < 1.0, "{part}");
        // One by whose tallies the others stay longer is not better off.
        tally.lost_ms = 700 * 120_000;
        assert_eq!(rate(tally), of_answered);
        tally.lost_ms = 0;
        assert_eq!(rate(tally), 1_000_000, "all that are up convert");
    }

    fn of_whole(whole: Tally) -> Lately {
        Lately { whole, today: Tally::default() }
    }

    fn tally(dialed: u32, connected: u32, converted: u32) -> Tally {
        Tally { dialed, connected, converted, ..Tally::default() }
    }
}
