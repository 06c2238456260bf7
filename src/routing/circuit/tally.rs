//! Counts of attempts over the last while.

use std::time::Duration;

use crate::routing::config::CircuitConfig;
use crate::time::Mono;

use super::{AttemptEnd, Attempted, Before};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) attempts: u32,
    pub(super) answered: u32,
    pub(super) failed: u32,
    /// Those that rang, or were answered.
    pub(super) rang: u32,
    /// Of those, the ones that took too long.
    pub(super) slow: u32,
    /// Answered calls that are over.
    pub(super) talks: u32,
    pub(super) short: u32,
}

/// The last while in slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Slices<Tally, 10>);

/// The last seven days.
#[derive(Clone, Debug, Default)]
pub(super) struct Baseline(Slices<Tally, 7>);

/// A span of time in `N` parts, of which the oldest is forgotten as a whole.
#[derive(Clone, Debug)]
pub(super) struct Slices<T, const N: usize> {
    parts: [T; N],
    /// The number of the newest part since the clock's zero.
    newest: u64,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Tally {
    pub(super) fn attempted(&mut self, attempted: Attempted, rules: &CircuitConfig) {
        let Attempted { end, pdd_ms } = attempted;
        self.attempts += 1;
        self.answered += u32::from(end == AttemptEnd::Answered);
        self.failed += u32::from(end == AttemptEnd::Failed);
        self.rang += u32::from(pdd_ms.is_some());
        self.slow += u32::from(pdd_ms.is_some_and(|ms| ms > rules.max_pdd_ms));
    }

    pub(super) fn talked(&mut self, is_short: bool) {
        self.talks += 1;
        self.short += u32::from(is_short);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.answered += other.answered;
        self.failed += other.failed;
        self.rang += other.rang;
        self.slow += other.slow;
        self.talks += other.talks;
        self.short += other.short;
    }
}

impl Recent {
    /// Where what happens now is counted, in a window of this length.
    pub(super) fn at(&mut self, now: Mono, window: Duration) -> &mut Tally {
        self.0.at(now, window / 10)
    }

    pub(super) fn total(&mut self, now: Mono, window: Duration) -> Tally {
        self.0.at(now, window / 10);
        self.0.total()
    }
}

impl Baseline {
    pub(super) fn add(&mut self, now: Mono, one: &Tally) {
        self.0.at(now, DAY).add(one);
    }

    /// What was counted before there was this.
    pub(super) fn restore(&mut self, now: Mono, before: Before) {
        let Before { days_ago, attempts, answered } = before;
        if let Some(part) = self.0.back(now, DAY, u64::from(days_ago)) {
            part.add(&Tally { attempts, answered, ..Tally::default() });
        }
    }

    /// All that was counted in seven days, today's part among them.
    pub(super) fn before(&mut self, now: Mono) -> Tally {
        self.0.at(now, DAY);
        self.0.total()
    }
}

/// What adds up over the parts of a span.
pub(super) trait Sum: Copy + Default {
    fn add(&mut self, other: &Self);
}

impl Sum for Tally {
    fn add(&mut self, other: &Self) {
        Self::add(self, other);
    }
}

impl<T: Sum, const N: usize> Default for Slices<T, N> {
    fn default() -> Self {
        Self { parts: [T::default(); N], newest: 0 }
    }
}

impl<T: Sum, const N: usize> Slices<T, N> {
    pub(super) fn at(&mut self, now: Mono, length: Duration) -> &mut T {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let number = (now.0 / length).max(self.newest);
        let passed = (number - self.newest).min(N as u64);
        for next in 1..=passed {
            self.parts[index::<N>(self.newest + next)] = T::default();
        }
        if number - self.newest > passed {
            self.parts = [T::default(); N];
        }
        self.newest = number;
        &mut self.parts[index::<N>(number)]
    }

    /// The part that lies so many parts back from now; `None`: it is forgotten.
    fn back(&mut self, now: Mono, length: Duration, parts: u64) -> Option<&mut T> {
        let older = (N as u64).checked_sub(parts).filter(|it| *it > 0)?;
        self.at(now, length);
        // The clock may be younger than that.
        Some(&mut self.parts[index::<N>(self.newest + older)])
    }

    pub(super) fn total(&self) -> T {
        let mut total = T::default();
        self.parts.iter().for_each(|part| total.add(part));
        total
    }
}

fn index<const N: usize>(number: u64) -> usize {
    usize::try_from(number % N as u64).expect("it is below N")
}
