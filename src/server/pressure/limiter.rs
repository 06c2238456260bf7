//! How many requests with pings are answered at a time. Pure.
//!
//! What the machine can bear nobody knows beforehand, so it is found out from how long they take: as
//! long as that stays what it usually is, more are let in; when it grows, there is a queue somewhere, and
//! fewer are (the gradient of Netflix's `concurrency-limits`). Requests beyond are refused at once,
//! which costs nothing, instead of waiting where calls might wait behind them.
//!
//! A request waits for its commit, which it shares: the first to come waits for the whole time between two
//! commits, the last for nothing. So a single request says nothing, only as many as may be there at a time
//! do, and all that are answered [`PROMPT`]ly are alike. One slow sync is one piece of news, however many
//! waited for it.

use std::time::Duration;

/// Fewer are never let in, however slow everything is.
const LEAST: f64 = 16.0;
/// With how many it begins, if it may.
const FIRST: f64 = 1_024.0;
/// Times the usual that a request may take before it says that there is a queue.
const TOLERANCE: f64 = 1.5;
/// Nothing that is measured says that there should be less than half.
const STEEPEST: f64 = 0.5;
/// How much is made of one measurement: for the limit, and for what is usual.
const WEIGHT: f64 = 0.5;
const USUAL_WEIGHT: f64 = 0.01;
/// What is usual is no less than this, in seconds: company for a commit, the commit before, and a disk
/// that is no faster than the ladder asks for. Nobody was promised more.
const PROMPT: f64 = 0.03;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limiter {
    limit: f64,
    max: f64,
    in_progress: u32,
    /// How long requests usually take, in seconds.
    usual_s: f64,
    /// Answered since the last measurement: how many, how long they took together, and whether half as many
    /// as may be were there at a time.
    answered: f64,
    took_s: f64,
    is_crowded: bool,
}

impl Limiter {
    pub(super) fn new(max: u32) -> Self {
        let max = f64::from(max).max(LEAST);
        Self {
            limit: FIRST.min(max),
            max,
            in_progress: 0,
            usual_s: PROMPT,
            answered: 0.0,
            took_s: 0.0,
            is_crowded: false,
        }
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
        let Some(took) = took else { return };
        self.answered += 1.0;
        self.took_s += took.as_secs_f64();
        self.is_crowded |= f64::from(were) >= self.limit / 2.0;
        if self.answered >= self.limit {
            self.measure();
        }
    }

    fn measure(&mut self) {
        let took = (self.took_s / self.answered).max(PROMPT);
        let is_crowded = self.is_crowded;
        (self.answered, self.took_s, self.is_crowded) = (0.0, 0.0, false);
        let gradient = (TOLERANCE * self.usual_s / took).clamp(STEEPEST, 1.0);
        self.usual_s += (took - self.usual_s) * USUAL_WEIGHT;
        // When few are there, it is not their number that makes them slow or fast.
        if is_crowded {
            let wanted = self.limit * gradient + self.limit.sqrt();
            self.limit += (wanted - self.limit) * WEIGHT;
            self.limit = self.limit.clamp(LEAST, self.max);
        }
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

    const MS: Duration = Duration::from_millis(1);
    const USUAL: Duration = Duration::from_millis(5);

    #[test]
    fn as_long_as_nothing_gets_slower_more_are_let_in() {
        let mut limiter = Limiter::new(4_000);
        assert_eq!(limiter.limit(), 1_024);
        crowd(&mut limiter, 500_000, USUAL);
        assert_eq!(limiter.limit(), 4_000);
    }

    #[test]
    fn when_they_get_slower_fewer_are_let_in_until_that_is_over() {
        let mut limiter = Limiter::new(1_000);
        crowd(&mut limiter, 5_000, USUAL * 20);
        assert!(limiter.limit() < 100, "{}", limiter.limit());
        crowd(&mut limiter, 25_000, USUAL);
        assert!(limiter.limit() > 500, "{}", limiter.limit());
    }

    #[test]
    fn a_machine_that_is_slower_for_good_is_got_used_to() {
        let mut limiter = Limiter::new(1_000);
        crowd(&mut limiter, 100_000, USUAL * 20);
        assert_eq!(limiter.limit(), 1_000);
    }

    #[test]
    fn those_that_share_a_commit_are_no_queue_and_a_slow_sync_is_one_piece_of_news() {
        const EACH: u64 = 75;
        let mut limiter = Limiter::new(4_096);
        let commit = |limiter: &mut Limiter, took_ms: u64| {
            let come = EACH * took_ms / 15;
            let entered = (0..come).filter(|_| limiter.enter()).count() as u64;
            for nth in 0..entered {
                limiter.leave(Some(MS * 2 + MS * (took_ms as u32) * (nth as u32) / (come as u32)));
            }
            entered == come
        };
        for _ in 0..1_000 {
            assert!(commit(&mut limiter, 15));
        }
        commit(&mut limiter, 200);
        for nth in 0..1_000 {
            assert!(commit(&mut limiter, 15), "commit {nth} after the slow one: {limiter:?}");
        }
    }

    #[test]
    fn a_few_slow_requests_say_nothing_about_many() {
        let mut limiter = Limiter::new(1_000);
        for _ in 0..1_000 {
            assert!(limiter.enter());
            limiter.leave(Some(USUAL * 20));
        }
        assert_eq!(limiter.limit(), 1_000);
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
