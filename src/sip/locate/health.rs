//! What is thought of an address after calls to it have failed (spec/sip T17).
//!
//! ```text
//! up ─ failed ─► down for a while ─ the while is over ─► one call tries it ─ answered ─► up
//!                  ▲                                       │
//!                  └──────── twice as long ─── failed ◄────┘
//! ```
//!
//! An address is rated by itself, never with others of its host or target. Calls that have nowhere
//! else to go are sent there all the same.

use std::time::Duration;

use crate::time::Mono;

/// One address. The default is one that nothing bad is known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failures since something was last heard of it.
    strikes: u8,
    /// The last of them.
    failed_at: Mono,
    /// Absent: up, as far as calls know.
    down_until: Option<Mono>,
    /// A probe has found it down, and none has found it up since.
    probed_down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// How long an address is down after a failure.
    pub penalty: Duration,
    /// The longest that it is down after many.
    pub penalty_max: Duration,
}

/// How a call to an address failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Nobody is there, or no response came in time.
    Gone,
    /// 503, with the time it asks to be left alone (RFC 3261 §21.5.4).
    Unavailable { retry_after: Option<Duration> },
}

/// Failures of the kind that says "busy" rather than "gone" that make an address down, if it does
/// not say itself for how long it wants no calls.
const UNAVAILABLE_MAX: u8 = 3;

/// How long the one call that tries an address again has for it.
const TRIAL: Duration = Duration::from_secs(5);

impl Health {
    /// A call goes there. If it was down, its time is over: for other calls it stays down until
    /// this one has heard of it.
    pub fn begin_trial(&mut self, now: Mono) {
        if self.down_until.is_some_and(|until| until <= now) {
            self.down_until = Some(now + TRIAL);
        }
    }

    /// Whether it is to be tried after all others.
    pub fn is_down(&self, now: Mono) -> bool {
        self.probed_down || self.down_until.is_some_and(|until| now < until)
    }

    pub fn failed(&mut self, how: Failing, rules: &HealthRules, now: Mono) {
        self.strikes = self.strikes.saturating_add(1);
        self.failed_at = now;
        let doublings = match how {
            Failing::Unavailable { retry_after: Some(asked) } => {
                self.down_until = Some(now + asked.min(rules.penalty_max));
                return;
            }
            Failing::Unavailable { retry_after: None } if self.strikes < UNAVAILABLE_MAX => return,
            Failing::Unavailable { retry_after: None } => self.strikes - UNAVAILABLE_MAX,
            Failing::Gone => self.strikes - 1,
        };
        let penalty = rules.penalty.saturating_mul(1 << doublings.min(16));
        self.down_until = Some(now + penalty.min(rules.penalty_max));
    }

    /// A response came from it.
    pub fn answered(&mut self) {
        *self = Self { probed_down: self.probed_down, ..Self::default() };
    }

    /// Probes say so.
    pub fn probed(&mut self, up: bool) {
        self.probed_down = !up;
        if up {
            self.answered();
        }
    }

    pub fn is_probed_down(&self) -> bool {
        self.probed_down
    }

    /// Nobody probes it any more.
    pub fn unprobed(&mut self) {
        self.probed_down = false;
    }

    /// Whether its failures are so long ago that they say nothing any more.
    pub fn is_old(&self, rules: &HealthRules, now: Mono) -> bool {
        let last = self.down_until.unwrap_or_default().max(self.failed_at);
        !self.probed_down && last + rules.penalty_max <= now
    }

    /// Whether nothing bad is known of it, so that it need not be remembered.
    pub fn is_spotless(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules =
        HealthRules { penalty: Duration::from_secs(30), penalty_max: Duration::from_secs(300) };

    /// Whether a call that asks goes elsewhere first.
    fn passes_over(health: &mut Health, now: Mono) -> bool {
        let is_down = health.is_down(now);
        if !is_down {
            health.begin_trial(now);
        }
        is_down
    }

    #[test]
    fn a_failure_rates_it_down_for_a_while_and_then_one_call_tries_it() {
        let mut health = Health::default();

        health.failed(Failing::Gone, &RULES, at(0));

        assert!(passes_over(&mut health, at(29)));
        assert!(!passes_over(&mut health, at(30)), "the first call tries it");
        assert!(passes_over(&mut health, at(30)), "the next does not, until it is known");
        health.answered();
        assert!(!passes_over(&mut health, at(31)));
        assert!(health.is_spotless());
    }

    #[test]
    fn a_trial_nobody_hears_of_is_made_again() {
        let mut health = Health::default();
        health.failed(Failing::Gone, &RULES, at(0));

        assert!(!passes_over(&mut health, at(30)));
        assert!(passes_over(&mut health, at(34)));
        assert!(!passes_over(&mut health, at(35)));
    }

    #[test]
    fn each_further_failure_doubles_the_time_up_to_a_limit() {
        let mut health = Health::default();
        let mut now = 0;

        for penalty in [30, 60, 120, 240, 300, 300] {
            health.failed(Failing::Gone, &RULES, at(now));
            assert!(health.is_down(at(now + penalty - 1)), "{penalty}");
            now += penalty;
            assert!(!health.is_down(at(now)), "{penalty}");
        }
    }

    #[test]
    fn one_that_says_how_long_it_is_busy_is_left_alone_for_so_long() {
        let mut health = Health::default();
        let asked = |s| Failing::Unavailable { retry_after: Some(Duration::from_secs(s)) };

        health.failed(asked(7), &RULES, at(0));
        assert!(health.is_down(at(6)) && !health.is_down(at(7)));
        health.failed(asked(86_400), &RULES, at(10));
        assert!(health.is_down(at(309)) && !health.is_down(at(310)), "but not for days");
    }

    #[test]
    fn one_that_is_busy_without_saying_how_long_is_down_when_it_was_so_three_times() {
        let mut health = Health::default();
        let busy = Failing::Unavailable { retry_after: None };

        for now in [0, 1] {
            health.failed(busy, &RULES, at(now));
            for _ in 0..2 {
                assert!(!passes_over(&mut health, at(now)), "by none of the calls that ask");
            }
        }
        health.failed(busy, &RULES, at(2));
        assert!(health.is_down(at(31)) && !health.is_down(at(32)));
    }

    #[test]
    fn what_a_probe_found_down_stays_so_until_a_probe_finds_it_up() {
        let mut health = Health::default();

        health.probed(false);
        health.answered();
        assert!(passes_over(&mut health, at(1_000_000)));
        health.failed(Failing::Gone, &RULES, at(0));
        health.probed(true);
        assert!(health.is_spotless());
    }

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }
}
