//! INVITE server transaction: RFC 3261 §17.2.1, changed by RFC 6026 §7.1.
//!
//! Answers a retransmitted INVITE and repeats a failure until its ACK arrives. Success responses
//! are repeated by the caller leg, not here (RFC 3261 §13.3.1.4).
//!
//! 100 (Trying) is owed only where nothing else is sent within 200 ms (§17.2.1): it may wait, and
//! a target that rings by then saves it.

use std::mem;
use std::time::Duration;

use bytes::Bytes;

use super::{Output, Outputs, Resend, Timers};
use crate::time::Mono;

#[derive(Clone, Debug, PartialEq)]
pub struct InviteServer {
    state: State,
    timers: Timers,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The caller sent the same INVITE again.
    Invite,
    Ack,
    /// The leg wants this response sent.
    Respond {
        status: u16,
        message: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Nothing has been sent; 100 goes out at `trying_at`, if it has not been asked for yet.
    Silent {
        trying_at: Option<Mono>,
    },
    Proceeding {
        last: Bytes,
    },
    Completed {
        last: Bytes,
        resend: Option<Resend>,
        give_up_at: Mono,
    },
    Confirmed {
        until: Mono,
    },
    Accepted {
        until: Mono,
    },
    Terminated,
}

impl InviteServer {
    /// Asks for 100 when nothing has been sent for `trying_after`; zero: at once.
    pub fn new(timers: Timers, trying_after: Duration, now: Mono, out: &mut Outputs) -> Self {
        let trying_at = (!trying_after.is_zero()).then(|| now + trying_after);
        if trying_at.is_none() {
            out.push(Output::SendTrying);
        }
        Self { state: State::Silent { trying_at }, timers }
    }

    pub fn handle(&mut self, input: Input, now: Mono, out: &mut Outputs) {
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Silent { trying_at } => match input {
                Input::Invite => {
                    out.push(Output::SendTrying);
                    State::Silent { trying_at: None }
                }
                Input::Ack => State::Silent { trying_at },
                Input::Respond { status, message } => self.respond(status, message, now, out),
            },
            State::Proceeding { last } => match input {
                Input::Invite => {
                    out.push(Output::Resend(last.clone()));
                    State::Proceeding { last }
                }
                Input::Ack => State::Proceeding { last },
                Input::Respond { status, message } => self.respond(status, message, now, out),
            },
            State::Completed { last, resend, give_up_at } => match input {
                Input::Invite => {
                    out.push(Output::Resend(last.clone()));
                    State::Completed { last, resend, give_up_at }
                }
                Input::Ack => {
                    State::Confirmed { until: now + self.timers.unless_reliable(self.timers.t4()) }
                }
                Input::Respond { .. } => State::Completed { last, resend, give_up_at },
            },
            State::Accepted { until } => {
                match input {
                    Input::Invite => {}
                    Input::Ack => out.push(Output::PassUp),
                    Input::Respond { message, .. } => out.push(Output::Resend(message)),
                }
                State::Accepted { until }
            }
            unchanged @ (State::Confirmed { .. } | State::Terminated) => unchanged,
        }
    }

    /// Whether nothing more can come: finished, and its linger is up.
    pub fn is_over(&self, now: Mono) -> bool {
        matches!(self.state, State::Confirmed { until, .. } if until <= now)
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Silent { trying_at } => *trying_at,
            State::Proceeding { .. } | State::Terminated => None,
            State::Completed { resend, give_up_at, .. } => {
                Some(resend.map_or(*give_up_at, |resend| resend.at.min(*give_up_at)))
            }
            State::Confirmed { until } | State::Accepted { until } => Some(*until),
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Silent { .. } => {
                out.push(Output::SendTrying);
                State::Silent { trying_at: None }
            }
            State::Completed { last, resend: Some(resend), give_up_at } if now < give_up_at => {
                out.push(Output::Resend(last.clone()));
                let resend = Some(resend.doubled_up_to(self.timers.t2_ms, now));
                State::Completed { last, resend, give_up_at }
            }
            State::Completed { .. } => {
                out.extend([Output::AckMissing, Output::Terminated]);
                State::Terminated
            }
            State::Confirmed { .. } | State::Accepted { .. } => {
                out.push(Output::Terminated);
                State::Terminated
            }
            unchanged @ (State::Proceeding { .. } | State::Terminated) => unchanged,
        }
    }

    /// Whether a final response is still owed.
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Silent { .. } | State::Proceeding { .. })
    }

    fn respond(&self, status: u16, message: Bytes, now: Mono, out: &mut Outputs) -> State {
        out.push(Output::Send(message.clone()));
        match status {
            100..200 => State::Proceeding { last: message },
            200..300 => State::Accepted { until: now + self.timers.patience() },
            _ => State::Completed {
                last: message,
                resend: self.timers.first_resend(now),
                give_up_at: now + self.timers.patience(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::tests_support::*;
    use super::*;

    #[test]
    fn repeats_a_failure_ten_times_in_32_seconds_then_gives_up() {
        let (transaction, _) = after_response(486, "busy", false);
        let transaction = RefCell::new(transaction);

        let seen = run_until_idle(
            || transaction.borrow().deadline(),
            |now, out| transaction.borrow_mut().handle_timeout(now, out),
        );

        let repeats = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
        let mut expected: Vec<_> =
            repeats.iter().map(|ms| (*ms, Output::Resend(bytes("busy")))).collect();
        expected.extend([(32_000, Output::AckMissing), (32_000, Output::Terminated)]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_reliable_transport_repeats_nothing() {
        let (transaction, _) = after_response(486, "busy", true);

        assert_eq!(transaction.deadline(), Some(at(32_000)));
    }

    #[test]
    fn an_ack_stops_the_repeats_and_lingers_for_t4() {
        let (mut transaction, mut out) = after_response(486, "busy", false);

        transaction.handle(Input::Ack, at(100), &mut out);
        transaction.handle(Input::Invite, at(200), &mut out);
        assert_eq!(transaction.deadline(), Some(at(5_100)));
        transaction.handle_timeout(at(5_100), &mut out);

        assert_eq!(out.as_slice(), [Output::Terminated]);
    }

    #[test]
    fn a_retransmitted_invite_gets_the_last_provisional_again() {
        let (mut transaction, mut out) = after_response(180, "ringing", false);

        transaction.handle(Input::Invite, at(500), &mut out);

        assert_eq!(out.as_slice(), [Output::Resend(bytes("ringing"))]);
        assert_eq!(transaction.deadline(), None);
    }

    #[test]
    fn trying_is_sent_when_nothing_else_was_for_a_tenth_of_a_second() {
        let (mut transaction, mut out) = silent();
        assert_eq!(transaction.deadline(), Some(at(100)));

        transaction.handle_timeout(at(100), &mut out);
        transaction.handle(
            Input::Respond { status: 100, message: bytes("trying") },
            at(100),
            &mut out,
        );
        transaction.handle(Input::Invite, at(500), &mut out);

        let trying = bytes("trying");
        let expected = [Output::SendTrying, Output::Send(trying.clone()), Output::Resend(trying)];
        assert_eq!(out.as_slice(), expected);
        assert_eq!(transaction.deadline(), None);
    }

    #[test]
    fn a_repeated_invite_gets_trying_at_once() {
        let (mut transaction, mut out) = silent();

        transaction.handle(Input::Invite, at(10), &mut out);

        assert_eq!(out.as_slice(), [Output::SendTrying]);
        assert_eq!(transaction.deadline(), None);
    }

    #[test]
    fn after_a_success_invites_are_absorbed_and_acks_handed_on() {
        let (mut transaction, mut out) = after_response(200, "ok", false);

        transaction.handle(Input::Invite, at(500), &mut out);
        assert_eq!(out.as_slice(), []);
        transaction.handle(Input::Ack, at(600), &mut out);
        transaction.handle(Input::Respond { status: 200, message: bytes("ok") }, at(700), &mut out);
        assert_eq!(out.as_slice(), [Output::PassUp, Output::Resend(bytes("ok"))]);
        assert_eq!(transaction.deadline(), Some(at(32_000)));
    }

    fn silent() -> (InviteServer, Outputs) {
        let mut out = Outputs::new();
        let after = Duration::from_millis(100);
        let transaction = InviteServer::new(Timers::default(), after, START, &mut out);
        assert_eq!(out.as_slice(), []);
        (transaction, out)
    }

    fn after_response(status: u16, text: &'static str, reliable: bool) -> (InviteServer, Outputs) {
        let mut out = Outputs::new();
        let timers = Timers { reliable, ..Timers::default() };
        let after = Duration::from_millis(100);
        let mut transaction = InviteServer::new(timers, after, START, &mut out);
        transaction.handle(Input::Respond { status, message: bytes(text) }, START, &mut out);
        assert_eq!(out.as_slice(), [Output::Send(bytes(text))]);
        out.clear();
        (transaction, out)
    }
}
