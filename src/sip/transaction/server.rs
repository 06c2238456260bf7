//! Server transaction of every method but INVITE and ACK: RFC 3261 §17.2.2.

use std::mem;

use bytes::Bytes;

use super::{Output, Outputs, Timers};
use crate::time::Mono;

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    state: State,
    timers: Timers,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The same request again.
    Request,
    Respond {
        status: u16,
        message: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Trying { give_up_at: Mono },
    Proceeding { last: Bytes, give_up_at: Mono },
    Completed { last: Bytes, until: Mono },
    Terminated,
}

impl Server {
    /// A request that nobody answered in 64·T1 is forgotten: by then its client has given up
    /// (RFC 4320 §4.2 forbids a late 408).
    pub fn new(timers: Timers, now: Mono) -> Self {
        Self { state: State::Trying { give_up_at: now + timers.patience() }, timers }
    }

    pub fn handle(&mut self, input: Input, now: Mono, out: &mut Outputs) {
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Trying { give_up_at } => match input {
                Input::Request => State::Trying { give_up_at },
                Input::Respond { status, message } => {
                    self.respond(status, message, give_up_at, now, out)
                }
            },
            State::Proceeding { last, give_up_at } => match input {
                Input::Request => {
                    out.push(Output::Resend(last.clone()));
                    State::Proceeding { last, give_up_at }
                }
                Input::Respond { status, message } => {
                    self.respond(status, message, give_up_at, now, out)
                }
            },
            State::Completed { last, until } => {
                match input {
                    Input::Request => out.push(Output::Resend(last.clone())),
                    Input::Respond { .. } => {}
                }
                State::Completed { last, until }
            }
            State::Terminated => State::Terminated,
        }
    }

    /// Whether nothing more can come: finished, and its linger is up.
    pub fn is_over(&self, now: Mono) -> bool {
        matches!(self.state, State::Completed { until, .. } if until <= now)
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Trying { give_up_at } | State::Proceeding { give_up_at, .. } => {
                Some(*give_up_at)
            }
            State::Completed { until, .. } => Some(*until),
            State::Terminated => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.state = State::Terminated;
            out.push(Output::Terminated);
        }
    }

    fn respond(
        &self,
        status: u16,
        message: Bytes,
        give_up_at: Mono,
        now: Mono,
        out: &mut Outputs,
    ) -> State {
        out.push(Output::Send(message.clone()));
        if status < 200 {
            return State::Proceeding { last: message, give_up_at };
        }
        let until = now + self.timers.unless_reliable(self.timers.patience());
        State::Completed { last: message, until }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::*;
    use super::*;

    #[test]
    fn a_repeated_request_gets_the_same_answer_for_32_seconds() {
        let mut out = Outputs::new();
        let mut transaction = Server::new(Timers::default(), START);

        transaction.handle(Input::Request, at(10), &mut out);
        transaction.handle(Input::Respond { status: 200, message: bytes("ok") }, at(20), &mut out);
        transaction.handle(Input::Request, at(30), &mut out);
        transaction.handle_timeout(at(32_020), &mut out);

        let ok = || bytes("ok");
        assert_eq!(out.as_slice(), [Output::Send(ok()), Output::Resend(ok()), Output::Terminated]);
    }

    #[test]
    fn a_request_nobody_answers_is_forgotten_in_silence() {
        let mut out = Outputs::new();
        let mut transaction = Server::new(Timers::default(), START);

        transaction.handle_timeout(at(31_999), &mut out);
        assert_eq!(out.as_slice(), []);
        transaction.handle_timeout(at(32_000), &mut out);

        assert_eq!(out.as_slice(), [Output::Terminated]);
    }
}
