//! Asking an address now and then whether it is there (spec/sip C6): so many failures in a row make
//! it down, so many answers make it up again.

use std::time::Duration;

use crate::time::Mono;

/// How an address is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRules {
    /// From one question to the next; each is up to a tenth earlier or later.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row after which it is down.
    pub down_after: u8,
    /// Answers in a row after which it is up again.
    pub up_after: u8,
}

/// The probing of one address. It begins as up: nothing is known against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    rules: ProbeRules,
    state: State,
    down: bool,
    /// Results in a row that speak against what is thought of it.
    against: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be asked then.
    Waiting { until: Mono },
    /// Asked; an answer may take until then. The next question is due at `next`.
    Asked { until: Mono, next: Mono },
}

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send OPTIONS.
    Ask,
    /// Forget the one that was sent. With what the address is thought to be from now on, if that is
    /// news.
    GiveUp(Option<Verdict>),
}

/// What an address is thought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Up,
    Down,
}

impl Probe {
    /// `chance` is any number; the first question comes within one interval, so that many addresses
    /// are not asked at once.
    pub fn new(rules: ProbeRules, chance: u64, now: Mono) -> Self {
        let until = now + part(rules.interval, chance);
        Self { rules, state: State::Waiting { until }, down: false, against: 0 }
    }

    pub fn rules(&self) -> &ProbeRules {
        &self.rules
    }

    pub fn is_down(&self) -> bool {
        self.down
    }

    pub fn deadline(&self) -> Mono {
        match self.state {
            State::Waiting { until } | State::Asked { until, .. } => until,
        }
    }

    pub fn handle_timeout(&mut self, chance: u64, now: Mono) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match self.state {
            State::Waiting { .. } => {
                let interval = self.rules.interval;
                let next = now + (interval - interval / 10 + part(interval / 5, chance));
                self.state = State::Asked { until: now + self.rules.timeout, next };
                Some(Step::Ask)
            }
            State::Asked { next, .. } => {
                self.state = State::Waiting { until: next };
                Some(Step::GiveUp(self.judge(false)))
            }
        }
    }

    /// A final response came, or (`None`) the question could not be sent. Any response is a sign of
    /// life, but 503 says that it takes no calls and 408 that nobody behind it answers. Returns what
    /// the address is thought to be from now on, if that is news.
    pub fn answered(&mut self, status: Option<u16>) -> Option<Verdict> {
        let State::Asked { next, .. } = self.state else { return None };
        self.state = State::Waiting { until: next };
        self.judge(status.is_some_and(|status| !matches!(status, 408 | 503)))
    }

    fn judge(&mut self, is_up: bool) -> Option<Verdict> {
        if is_up != self.down {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let enough = if is_up { self.rules.up_after } else { self.rules.down_after };
        if self.against < enough {
            return None;
        }
        (self.down, self.against) = (!is_up, 0);
        Some(if is_up { Verdict::Up } else { Verdict::Down })
    }
}

/// A part of a time, by chance.
fn part(whole: Duration, chance: u64) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(chance)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ProbeRules = ProbeRules {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(2),
        down_after: 3,
        up_after: 2,
    };

    /// The middle of what chance may be.
    const MIDDLE: u64 = 1 << 63;

    #[test]
    fn the_first_question_comes_by_chance_within_an_interval_and_the_next_an_interval_later() {
        let mut probe = Probe::new(RULES, MIDDLE, at(0));

        assert_eq!(probe.deadline(), at(15_000));
        assert_eq!(probe.handle_timeout(MIDDLE, at(15_000)), Some(Step::Ask));
        probe.answered(Some(200));
        assert_eq!(probe.deadline(), at(45_000));
        assert_eq!(Probe::new(RULES, 0, at(0)).deadline(), at(0));

        for (chance, next) in [(0, 27_000), (u64::MAX, 32_999)] {
            let mut probe = Probe::new(RULES, 0, at(0));
            probe.handle_timeout(chance, at(0));
            probe.answered(Some(200));
            assert_eq!(probe.deadline().ms_since(at(0)), next);
        }
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_down_and_so_many_answers_up_again() {
        let mut probe = Probe::new(RULES, 0, at(0));

        let verdicts: Vec<_> = [503, 503, 200, 503, 408, 503, 200, 503, 200, 200]
            .into_iter()
            .map(|status| ask(&mut probe, Some(status)))
            .collect();

        let mut expected = vec![None; 10];
        (expected[5], expected[9]) = (Some(Verdict::Down), Some(Verdict::Up));
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn silence_and_a_question_that_cannot_be_sent_are_failures() {
        let mut probe = Probe::new(RULES, 0, at(0));

        assert_eq!(ask(&mut probe, None), None);
        for expected in [Step::GiveUp(None), Step::GiveUp(Some(Verdict::Down))] {
            let asked = probe.deadline();
            assert_eq!(probe.handle_timeout(0, asked), Some(Step::Ask));
            assert_eq!(probe.deadline(), asked + RULES.timeout);
            assert_eq!(probe.handle_timeout(0, asked + RULES.timeout), Some(expected));
        }
        assert!(probe.is_down());
    }

    #[test]
    fn a_refusal_of_the_question_is_a_sign_of_life() {
        for status in [200, 401, 404, 405, 481, 500, 603] {
            let mut probe = Probe::new(ProbeRules { down_after: 1, ..RULES }, 0, at(0));
            assert_eq!(ask(&mut probe, Some(status)), None, "{status}");
        }
    }

    #[test]
    fn an_answer_nobody_waits_for_changes_nothing() {
        let mut probe = Probe::new(ProbeRules { down_after: 1, ..RULES }, 0, at(0));

        assert_eq!(probe.answered(Some(503)), None);
        assert!(!probe.is_down());
    }

    fn ask(probe: &mut Probe, status: Option<u16>) -> Option<Verdict> {
        assert_eq!(probe.handle_timeout(0, probe.deadline()), Some(Step::Ask));
        probe.answered(status)
    }

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
}
