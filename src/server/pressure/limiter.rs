//! How many requests with pings are answered at a time. Pure.
//!
//! What the machine can bear nobody knows beforehand, so it is found out from how long they take: as
//! long as that stays what it usually is, more are let in; when it grows, there is a queue somewhere, and
//! fewer are (the gradient of Netflix's `concurrency-limits`). Requests beyond are refused at once,
//! which costs nothing, instead of waiting where calls might wait behind them.

use std::time::Duration;

/// Fewer are never let in, however slow everything is.
const LEAST: f64 = 16.0;
/// With how many it begins, if it may.
const FIRST: f64 = 256.0;
/// Times the usual that a request may take before it says that there is a queue.
const TOLERANCE: f64 = 1.5;
/// No request says that there should be less than half.
const STEEPEST: f64 = 0.5;
/// How much a single request counts: for the limit, and for what is usual.
const WEIGHT: f64 = 0.2;
const USUAL_WEIGHT: f64 = 1.0 / 600.0;
/// What is usual falls faster than it rises when everything is fast again.
const FORGETS: f64 = 0.95;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limiter {
    limit: f64,
    max: f64,
    in_progress: u32,
    /// How long requests usually take, in seconds. Absent: none was measured.
    usual_s: Option<f64>,
}

impl Limiter {
    pub(super) fn new(max: u32) -> Self {
        let max = f64::from(max).max(LEAST);
        Self { limit: FIRST.min(max), max, in_progress: 0, usual_s: None }
    }

    /// Whether one more is let in; then [`Limiter::leave`] has to follow.
    pub(super) fn enter(&mut self) -> bool {
        let has_room = self.in_progress < self.limit();
        self.in_progress += u32::from(has_room);
        has_room
    }

    /// One is answered. `took` is absent if how long it took says nothing.
    pub(super) fn leave(&mut self, took: Option<Duration>) {
        let were = self.in_progress;
        self.in_progress = were.saturating_sub(1);
        let Some(took) = took.map(|took| took.as_secs_f64().max(1e-6)) else { return };
        let usual = self.usual_s.unwrap_or(took);
        let usual = usual + (took - usual) * USUAL_WEIGHT;
        self.usual_s = Some(if usual > took * 2.0 { usual * FORGETS } else { usual });
        // When few are there, it is not their number that makes them slow or fast.
        if f64::from(were) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * usual / took).clamp(STEEPEST, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.limit += (wanted - self.limit) * WEIGHT;
        self.limit = self.limit.clamp(LEAST, self.max);
    }

    pub(super) fn limit(&self) -> u32 {
        // At most `max`, which was one.
        self.limit as u32
    }

    pub(super) fn in_progress(&self) -> u32 {
        self.in_progress
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: Duration = Duration::from_millis(5);

    #[test]
    fn as_long_as_nothing_gets_slower_more_are_let_in() {
        let mut limiter = Limiter::new(1_000);
        assert_eq!(limiter.limit(), 256);
        crowd(&mut limiter, 300, USUAL);
        assert_eq!(limiter.limit(), 1_000);
    }

    #[test]
    fn when_they_get_slower_fewer_are_let_in_until_that_is_over() {
        let mut limiter = Limiter::new(1_000);
        crowd(&mut limiter, 300, USUAL);

        crowd(&mut limiter, 30, USUAL * 20);
        assert!(limiter.limit() < 100, "{}", limiter.limit());
        crowd(&mut limiter, 500, USUAL);
        assert!(limiter.limit() > 500, "{}", limiter.limit());
    }

    #[test]
    fn a_machine_that_is_slower_for_good_is_got_used_to() {
        let mut limiter = Limiter::new(1_000);
        crowd(&mut limiter, 300, USUAL);
        crowd(&mut limiter, 5_000, USUAL * 20);
        assert_eq!(limiter.limit(), 1_000);
    }

    #[test]
    fn a_few_slow_requests_say_nothing_about_many() {
        let mut limiter = Limiter::new(1_000);
        for _ in 0..1_000 {
            assert!(limiter.enter());
            limiter.leave(Some(USUAL * 20));
        }
        assert_eq!(limiter.limit(), 256);
    }

    proptest! {
        #[test]
        fn no_more_are_in_progress_than_may_be_and_some_always_may(
            max in 1_u32..2_000,
            steps in prop::collection::vec((any::<bool>(), 0_u64..2_000_000), 1..500),
        ) {
            let mut limiter = Limiter::new(max);
            let bound = max.max(16);
            for (comes, micros) in steps {
                if comes {
                    let before = (limiter.in_progress(), limiter.limit());
                    prop_assert_eq!(limiter.enter(), before.0 < before.1);
                } else {
                    limiter.leave((micros > 0).then(|| Duration::from_micros(micros)));
                }
                prop_assert!(limiter.in_progress() <= bound);
                prop_assert!((16..=bound).contains(&limiter.limit()));
            }
        }
    }

    /// Lets in as many as may be, `rounds` times, each of which takes so long.
    fn crowd(limiter: &mut Limiter, rounds: u32, took: Duration) {
        for _ in 0..rounds {
            while limiter.enter() {}
            limiter.leave(Some(took));
        }
        while limiter.in_progress() > 0 {
            limiter.leave(None);
        }
    }
}
