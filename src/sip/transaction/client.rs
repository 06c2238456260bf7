//! Client transaction of every method but INVITE and ACK: RFC 3261 §17.1.2.

use std::mem;

use bytes::Bytes;

use super::{Output, Outputs, Resend, Timers};
use crate::time::Mono;

#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    state: State,
    timers: Timers,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Trying { request: Bytes, resend: Option<Resend>, give_up_at: Mono },
    Proceeding { request: Bytes, resend: Option<Resend>, give_up_at: Mono },
    Completed { until: Mono },
    Terminated,
}

impl Client {
    pub fn new(request: Bytes, timers: Timers, now: Mono, out: &mut Outputs) -> Self {
        out.push(Output::Send(request.clone()));
        let give_up_at = now + timers.patience();
        Self {
            state: State::Trying { request, resend: timers.first_resend(now), give_up_at },
            timers,
        }
    }

    /// A response arrived. Provisional ones are not handed on: nobody waits for them.
    pub fn handle_response(&mut self, status: u16, now: Mono, out: &mut Outputs) {
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Trying { request, resend, give_up_at }
            | State::Proceeding { request, resend, give_up_at } => {
                if status < 200 {
                    State::Proceeding { request, resend, give_up_at }
                } else {
                    out.push(Output::PassUp);
                    State::Completed { until: now + self.timers.unless_reliable(self.timers.t4()) }
                }
            }
            unchanged @ (State::Completed { .. } | State::Terminated) => unchanged,
        }
    }

    /// The request, while it waits for an answer.
    pub fn unanswered(&self) -> Option<Bytes> {
        match &self.state {
            State::Trying { request, .. } | State::Proceeding { request, .. } => {
                Some(request.clone())
            }
            State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Whether nothing more can come: finished, and its linger is up.
    pub fn is_over(&self, now: Mono) -> bool {
        matches!(self.state, State::Completed { until, .. } if until <= now)
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Trying { resend, give_up_at, .. }
            | State::Proceeding { resend, give_up_at, .. } => {
                Some(resend.map_or(*give_up_at, |resend| resend.at.min(*give_up_at)))
            }
            State::Completed { until } => Some(*until),
            State::Terminated => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Trying { request, resend: Some(resend), give_up_at } if now < give_up_at => {
                out.push(Output::Resend(request.clone()));
                let resend = Some(resend.doubled_up_to(self.timers.t2_ms, now));
                State::Trying { request, resend, give_up_at }
            }
            State::Proceeding { request, resend: Some(_), give_up_at } if now < give_up_at => {
                out.push(Output::Resend(request.clone()));
                let resend = Resend { at: now + self.timers.t2(), interval_ms: self.timers.t2_ms };
                let resend = Some(resend);
                State::Proceeding { request, resend, give_up_at }
            }
            State::Trying { .. } | State::Proceeding { .. } => {
                out.extend([Output::TimedOut, Output::Terminated]);
                State::Terminated
            }
            State::Completed { .. } => {
                out.push(Output::Terminated);
                State::Terminated
            }
            State::Terminated => State::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::tests_support::*;
    use super::*;

    #[test]
    fn repeats_ten_times_at_most_four_seconds_apart_then_times_out() {
        let transaction = RefCell::new(sent(false));

        let seen = run_until_idle(
            || transaction.borrow().deadline(),
            |now, out| transaction.borrow_mut().handle_timeout(now, out),
        );

        let repeats = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
        let mut expected: Vec<_> =
            repeats.iter().map(|ms| (*ms, Output::Resend(bytes("bye")))).collect();
        expected.extend([(32_000, Output::TimedOut), (32_000, Output::Terminated)]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_provisional_slows_the_repeats_to_t2() {
        let (mut transaction, mut out) = (sent(false), Outputs::new());

        transaction.handle_response(100, at(400), &mut out);
        transaction.handle_timeout(at(500), &mut out);

        assert_eq!(out.as_slice(), [Output::Resend(bytes("bye"))]);
        assert_eq!(transaction.deadline(), Some(at(4_500)));
    }

    #[test]
    fn a_final_response_is_handed_on_once() {
        let (mut transaction, mut out) = (sent(false), Outputs::new());

        transaction.handle_response(200, at(100), &mut out);
        transaction.handle_response(200, at(200), &mut out);
        transaction.handle_timeout(at(5_100), &mut out);

        assert_eq!(out.as_slice(), [Output::PassUp, Output::Terminated]);
    }

    #[test]
    fn a_reliable_transport_repeats_nothing() {
        assert_eq!(sent(true).deadline(), Some(at(32_000)));
    }

    fn sent(reliable: bool) -> Client {
        let timers = Timers { reliable, ..Timers::default() };
        Client::new(bytes("bye"), timers, START, &mut Outputs::new())
    }
}
