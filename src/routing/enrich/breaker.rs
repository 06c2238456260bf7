//! Leaves an enricher alone for a while that fails, and then asks once to see whether it is well again.

use std::time::Duration;

use crate::time::Mono;

/// When it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row.
    pub failures_max: u32,
    pub rest: Duration,
}

/// How an enricher is thought to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well {
        failures: u32,
    },
    Resting {
        until: Mono,
    },
    /// One question is on its way; if nothing is ever heard of it, another one goes out then.
    OnTrial {
        until: Mono,
    },
}

/// Whether an enricher is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Well {
        /// In a row.
        failures: u32,
    },
    /// It failed, and is left alone for so long.
    Resting(Duration),
    /// It was left alone: the next question, or the one that is on its way, tells how it is.
    OnTrial,
}

/// What a question changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It rests from now on.
    Rests,
    /// It is well again.
    Recovered,
}

impl Default for State {
    fn default() -> Self {
        Self::Well { failures: 0 }
    }
}

impl Breaker {
    /// Whether a question may be asked now. Who is told yes asks it.
    pub fn lets_ask(&mut self, rules: &BreakerRules, now: Mono) -> bool {
        match self.state {
            State::Well { .. } => true,
            State::Resting { until } | State::OnTrial { until } if now < until => false,
            State::Resting { .. } | State::OnTrial { .. } => {
                self.state = State::OnTrial { until: now + rules.rest };
                true
            }
        }
    }

    /// A question was answered, or was not. What was asked before a rest says nothing that is new.
    pub fn heard(&mut self, is_well: bool, rules: &BreakerRules, now: Mono) -> Option<Turn> {
        let rests = State::Resting { until: now + rules.rest };
        match (self.state, is_well) {
            (State::Well { .. }, true) => {
                self.state = State::default();
                None
            }
            (State::Well { failures }, false) if failures + 1 < rules.failures_max => {
                self.state = State::Well { failures: failures + 1 };
                None
            }
            (State::Well { .. }, false) => {
                self.state = rests;
                Some(Turn::Rests)
            }
            (State::OnTrial { .. }, true) => {
                self.state = State::default();
                Some(Turn::Recovered)
            }
            (State::OnTrial { .. }, false) => {
                self.state = rests;
                None
            }
            (State::Resting { .. }, true | false) => None,
        }
    }

    pub fn condition(&self, now: Mono) -> Condition {
        match self.state {
            State::Well { failures } => Condition::Well { failures },
            State::Resting { until } if now < until => Condition::Resting(until.since(now)),
            State::Resting { .. } | State::OnTrial { .. } => Condition::OnTrial,
        }
    }

    pub fn is_well(&self) -> bool {
        matches!(self.state, State::Well { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules { failures_max: 3, rest: Duration::from_secs(30) };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_question_tells_when_it_is_over() {
        let mut breaker = Breaker::default();
        let fail = |breaker: &mut Breaker, now| breaker.heard(false, &RULES, at(now));
        assert_eq!(fail(&mut breaker, 1), None);
        assert_eq!(fail(&mut breaker, 1), None);
        assert_eq!(breaker.heard(true, &RULES, at(1)), None);
        assert_eq!(fail(&mut breaker, 2), None);
        assert_eq!(fail(&mut breaker, 2), None);
        assert!(breaker.lets_ask(&RULES, at(2)) && breaker.is_well());
        assert_eq!(fail(&mut breaker, 2), Some(Turn::Rests));
        assert!(!breaker.lets_ask(&RULES, at(31)) && !breaker.is_well());

        assert!(breaker.lets_ask(&RULES, at(32)));
        assert!(!breaker.lets_ask(&RULES, at(33)), "one at a time");
        assert_eq!(fail(&mut breaker, 34), None);
        assert!(!breaker.lets_ask(&RULES, at(63)));
        assert!(breaker.lets_ask(&RULES, at(64)));
        assert_eq!(breaker.heard(true, &RULES, at(64)), Some(Turn::Recovered));
        assert!(breaker.lets_ask(&RULES, at(64)) && breaker.is_well());
    }

    #[test]
    fn a_trial_of_which_nothing_is_heard_is_followed_by_another() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.heard(false, &RULES, at(0));
        }
        // What was asked before the rest ends late.
        assert_eq!(breaker.heard(true, &RULES, at(1)), None);
        assert!(!breaker.lets_ask(&RULES, at(29)));
        assert!(breaker.lets_ask(&RULES, at(30)));
        assert!(!breaker.lets_ask(&RULES, at(59)));
        assert!(breaker.lets_ask(&RULES, at(60)));
    }
}
