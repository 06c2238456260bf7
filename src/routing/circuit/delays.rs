//! How long it took until it rang, over the last while, as percentiles (RFC 6076 §4.3.1 calls it the
//! session request delay).

use std::time::Duration;

use crate::time::Mono;

use super::tally::{Slices, Sum};

/// Post-dial delays over the last while, counted by length: each class is an eighth of an octave wide, so
/// that what is read is at most an eighth too high.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays(Slices<Classes, 10>);

#[derive(Clone, Copy, Debug)]
struct Classes([u32; CLASSES]);

/// Classes of an octave.
const PER_OCTAVE: u32 = 8;

/// Octaves that are told apart: up to 131 s.
const OCTAVES: u32 = 17;

const CLASSES: usize = (OCTAVES * PER_OCTAVE) as usize;

impl Default for Classes {
    fn default() -> Self {
        Self([0; CLASSES])
    }
}

impl Sum for Classes {
    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, one)| *sum = sum.saturating_add(one));
    }
}

impl Delays {
    pub(super) fn add(&mut self, pdd_ms: u32, now: Mono, window: Duration) {
        let count = &mut self.0.at(now, window / 10).0[class(pdd_ms)];
        *count = count.saturating_add(1);
    }

    /// So many of a hundred were no longer than this, in milliseconds; `None`: there was nothing to ring.
    pub(super) fn percentile(&mut self, percent: u32, now: Mono, window: Duration) -> Option<u32> {
        self.0.at(now, window / 10);
        let Classes(counts) = self.0.total();
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let below = (all * u64::from(percent)).div_ceil(100).max(1);
        let mut so_far = 0;
        let reaches = |count: &u32| {
            so_far += u64::from(*count);
            so_far >= below
        };
        counts.iter().position(reaches).map(longest_of)
    }
}

fn class(pdd_ms: u32) -> usize {
    let ms = pdd_ms.max(1);
    let octave = ms.ilog2().min(OCTAVES - 1);
    let within = (u64::from(ms) * u64::from(PER_OCTAVE)) >> octave;
    let place = u64::from(octave * PER_OCTAVE) + within.saturating_sub(PER_OCTAVE.into());
    usize::try_from(place).unwrap_or(usize::MAX).min(CLASSES - 1)
}

/// The longest delay of a class, in milliseconds.
fn longest_of(class: usize) -> u32 {
    let class = u32::try_from(class).unwrap_or(u32::MAX).saturating_add(1);
    let (octave, within) = (class / PER_OCTAVE, class % PER_OCTAVE);
    let next = (u64::from(PER_OCTAVE + within) << octave).div_ceil(PER_OCTAVE.into());
    u32::try_from(next.saturating_sub(1)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(900);

    #[test]
    fn what_is_longer_ago_than_the_window_is_forgotten() {
        let mut delays = Delays::default();
        delays.add(9_000, Mono(0), WINDOW);
        let later = Mono(0) + WINDOW + WINDOW / 5;
        assert_eq!(delays.percentile(99, later, WINDOW), None);
        delays.add(100, later, WINDOW);
        assert!(delays.percentile(99, later, WINDOW).is_some_and(|ms| ms < 120));
    }

    proptest! {
        /// Never below the true percentile, and an eighth above it at most.
        #[test]
        fn a_percentile_is_what_sorting_says(
            mut all in prop::collection::vec(1_u32..130_000, 1..300),
            percent in prop::sample::select(vec![1_u32, 50, 90, 99, 100]),
        ) {
            let mut delays = Delays::default();
            for ms in &all {
                delays.add(*ms, Mono(0), WINDOW);
            }
            all.sort_unstable();
            let rank = (all.len() * percent as usize).div_ceil(100).max(1);
            let exact = all[rank - 1];

            let read = delays.percentile(percent, Mono(0), WINDOW).unwrap();

            prop_assert!(read >= exact, "{read} is below {exact}");
            prop_assert!(read <= exact + exact / 8 + 1, "{read} is far above {exact}");
        }
    }
}
