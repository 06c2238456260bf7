//! How many different numbers were dialled of late: the last few of them, by hashes.

use minicbor::{Decode, Encode};

use crate::time::Wall;

/// Most that are told apart; more are as bad as so many.
pub const TOLD_MAX: usize = 64;

/// Numbers, each with the instant at which it was dialled last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Distinct {
    #[n(0)]
    seen: Vec<(u32, i64)>,
}

impl Distinct {
    /// Takes in a number, forgets those that were dialled longer ago than the window, and says how many
    /// there are.
    pub fn add(&mut self, number: u32, now: Wall, window_ms: i64) -> usize {
        let since = now.0.saturating_sub(window_ms);
        self.seen.retain(|(known, at)| *known != number && *at > since);
        if self.seen.len() >= TOLD_MAX {
            self.seen.remove(0);
        }
        self.seen.push((number, now.0));
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_once_and_for_as_long_as_the_window_is() {
        let mut distinct = Distinct::default();
        let mut add = |number, at| distinct.add(number, Wall(at), 100);
        assert_eq!((add(1, 0), add(1, 50), add(2, 60)), (1, 1, 2));
        // The first was dialled last at 50.
        assert_eq!((add(3, 149), add(4, 150)), (3, 3));
        for number in 0..1_000 {
            assert!(add(number, 151) <= TOLD_MAX);
        }
    }
}
