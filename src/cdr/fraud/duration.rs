//! When calls end around the instant at which they begin to be worth money: a histogram, and whether
//! suspiciously many end just past it, or just short of it (spec/domain §1M).
//!
//! Talk times are spread smoothly over a few seconds, unless somebody looks at the clock. Under that, of
//! the calls that end in two neighbouring bins each is as likely in one as in the other; how far a bin is
//! above a neighbour is then known in standard deviations, the square root of their sum.

use smol_str::SmolStr;

use super::super::fact::Party;

/// Bins on each side.
pub const SIDE: usize = 6;
pub const BINS: usize = 2 * SIDE;

/// The bin just past the threshold.
const PAST: usize = SIDE;
/// The one just short of it.
const SHORT: usize = SIDE - 1;

/// Whose histogram it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Of calls that their callers ended, around the payout.
    Publisher,
    /// Of calls that the target ended, around the revenue.
    Target,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Publisher, Self::Target];

    pub fn number(self) -> u8 {
        match self {
            Self::Publisher => 1,
            Self::Target => 2,
        }
    }

    /// Who has to have hung up.
    pub fn ended_by(self) -> Party {
        match self {
            Self::Publisher => Party::Caller,
            Self::Target => Party::Target,
        }
    }
}

/// Calls by how far from the threshold they ended, the earliest first.
pub type Bins = [u64; BINS];

/// When a histogram is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpikeRules {
    /// Calls in the histogram, or nothing is said.
    pub min_calls: u64,
    /// Standard deviations above both neighbours.
    pub deviations: u64,
}

/// How a histogram looks around its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Calls in all bins.
    pub calls: u64,
    /// In the bin in question.
    pub here: u64,
    /// In the fuller one of its neighbours.
    pub beside: u64,
    pub is_suspicious: bool,
}

/// One call in a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binned {
    pub side: Side,
    /// Of the publisher or the target.
    pub id: SmolStr,
    pub bin: usize,
}

/// The bin of a call that talked so long; `None`: it ended far from the threshold.
pub fn bin(talk_ms: u64, threshold_s: u32, bin_s: u32) -> Option<usize> {
    let width = i64::from(bin_s.max(1)) * 1_000;
    let off = i64::try_from(talk_ms).ok()? - i64::from(threshold_s) * 1_000;
    let bin = off.div_euclid(width) + SIDE as i64;
    usize::try_from(bin).ok().filter(|bin| *bin < BINS)
}

impl Side {
    /// The bin in which calls end of whoever watches the clock.
    pub fn suspect(self) -> usize {
        match self {
            Self::Publisher => PAST,
            Self::Target => SHORT,
        }
    }

    pub fn spike(self, bins: &Bins, rules: &SpikeRules) -> Spike {
        let at = self.suspect();
        let (calls, here) = (bins.iter().sum(), bins[at]);
        let beside = bins[at - 1].max(bins[at + 1]);
        let stands_out = here > beside && {
            let (above, both) = (u128::from(here - beside), u128::from(here + beside));
            above * above >= u128::from(rules.deviations * rules.deviations) * both
        };
        Spike { calls, here, beside, is_suspicious: calls >= rules.min_calls && stands_out }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const RULES: SpikeRules = SpikeRules { min_calls: 50, deviations: 4 };

    #[test]
    fn a_bin_begins_at_the_threshold() {
        let of = |talk_ms| bin(talk_ms, 90, 5);
        assert_eq!((of(59_999), of(60_000), of(89_999)), (None, Some(0), Some(SHORT)));
        assert_eq!((of(90_000), of(94_999), of(95_000)), (Some(PAST), Some(PAST), Some(PAST + 1)));
        assert_eq!((of(119_999), of(120_000), of(u64::MAX)), (Some(11), None, None));
        assert_eq!(bin(0, 10, 5), Some(SIDE - 2));
    }

    #[test]
    fn what_is_needed_is_enough_calls_and_a_bin_far_above_both_neighbours() {
        let spike = |here, before, after, rest| {
            let mut bins = [0; BINS];
            (bins[PAST], bins[PAST - 1], bins[PAST + 1], bins[0]) = (here, before, after, rest);
            Side::Publisher.spike(&bins, &RULES)
        };
        let found = spike(40, 5, 5, 0);
        assert_eq!(found, Spike { calls: 50, here: 40, beside: 5, is_suspicious: true });
        assert!(!spike(39, 5, 5, 0).is_suspicious, "too few calls");
        assert!(!spike(40, 5, 20, 0).is_suspicious, "many go on");
        assert!(!spike(40, 20, 5, 0).is_suspicious, "many end before");
        assert!(!spike(0, 0, 0, 900).is_suspicious);
        // 16 calls of whom none is beside: four deviations, exactly.
        assert!(spike(16, 0, 0, 34).is_suspicious && !spike(15, 0, 0, 35).is_suspicious);
    }

    #[test]
    fn a_target_is_suspected_just_short_of_the_threshold_and_a_publisher_just_past_it() {
        let mut bins = [0; BINS];
        bins[SHORT] = 60;
        assert!(Side::Target.spike(&bins, &RULES).is_suspicious);
        assert!(!Side::Publisher.spike(&bins, &RULES).is_suspicious);
    }

    /// Calls that end at random, with any smooth density, are as good as never taken for padded ones; of
    /// those of which one in ten watches the clock, nearly all are found.
    #[test]
    fn honest_callers_are_not_suspected_and_those_who_watch_the_clock_are() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let (mut wrong, mut found) = (0, 0);
        for _ in 0..400 {
            let mean = rng.f64() * 200_000.0 + 40_000.0;
            let mut fill = |clock_watchers: bool| {
                let mut bins = [0; BINS];
                for _ in 0..3_000 {
                    let honest = (-mean * (1.0 - rng.f64()).ln()) as u64;
                    let watches = clock_watchers && rng.u8(0..10) == 0;
                    let talk = if watches { 90_000 + rng.u64(0..4_000) } else { honest };
                    if let Some(bin) = bin(talk, 90, 5) {
                        bins[bin] += 1;
                    }
                }
                bins
            };
            let (honest, padded) = (fill(false), fill(true));
            wrong += u32::from(Side::Publisher.spike(&honest, &RULES).is_suspicious);
            found += u32::from(Side::Publisher.spike(&padded, &RULES).is_suspicious);
        }
        assert!(wrong <= 2 && found >= 390, "{wrong} and {found} of 400, seed {seed}");
    }
}
