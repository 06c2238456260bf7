//! Whether the store answers as soon as calls need it to (spec/data §3.5).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

/// How far back is looked.
const WITHIN: Duration = Duration::from_secs(1);
/// Slow answers among those of that time, at least.
const SLOW_MIN: usize = 3;
/// More than one in so many.
const ONE_IN: usize = 100;
/// Answers looked back at, at most.
const ANSWERS_MAX: usize = 20_000;

/// The answers of the last second that calls waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    answers: VecDeque<(Mono, bool)>,
    slow: usize,
}

impl Health {
    /// There is one more. Whether more than one in a hundred is slow.
    pub(super) fn is_ill(&mut self, is_slow: bool, now: Mono) -> bool {
        self.answers.push_back((now, is_slow));
        self.slow += usize::from(is_slow);
        while let Some((at, was_slow)) = self.answers.front()
            && (*at + WITHIN <= now || self.answers.len() > ANSWERS_MAX)
        {
            self.slow -= usize::from(*was_slow);
            self.answers.pop_front();
        }
        self.slow >= SLOW_MIN && self.slow * ONE_IN > self.answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_in_a_hundred_is_too_many_and_two_are_no_one() {
        for (answers, each_slow, is_ill) in [
            (2, 1, false),
            (3, 1, true),
            (5, 2, true),
            (40, 20, false),
            (299, 100, true),
            (300, 100, false),
            (800, 100, false),
        ] {
            let mut health = Health::default();
            let found = (0..answers).fold(false, |_, n| health.is_ill(n % each_slow == 0, at(n)));
            assert_eq!(found, is_ill, "{answers}, each {each_slow}th slow");
        }
    }

    #[test]
    fn what_was_slow_a_second_ago_is_forgotten() {
        let mut health = Health::default();
        assert!(!health.is_ill(true, at(0)) && !health.is_ill(true, at(1)));
        assert!(!health.is_ill(true, Mono(0) + WITHIN));
        assert!(health.is_ill(true, Mono(0) + WITHIN));
        assert_eq!((health.slow, health.answers.len()), (3, 3));
    }

    fn at(ms: u32) -> Mono {
        Mono(0) + Duration::from_millis(ms.into())
    }
}
