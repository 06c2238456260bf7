//! INVITE client transaction: RFC 3261 §17.1.1, changed by RFC 6026 §7.2.
//!
//! Acknowledges failures itself. Of a success it keeps the ACK that the leg made, so that every
//! repeat of the success is acknowledged again, also when the call is long over.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Output, Outputs, Resend, Timers};
use crate::sip::message::{HeaderName, Response, Writer};
use crate::time::Mono;

#[derive(Clone, Debug, PartialEq)]
pub struct InviteClient {
    state: State,
    timers: Timers,
}

/// The header fields an INVITE shares with its CANCEL and with the ACK to its failure
/// (RFC 3261 §9.1, §17.1.1.3). Values as they stand on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct InviteHead {
    pub uri: Bytes,
    /// The one Via value, with its branch.
    pub via: Bytes,
    pub from: Bytes,
    pub to: Bytes,
    pub call_id: Bytes,
    pub cseq: u32,
    pub route: SmallVec<[Bytes; 1]>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Calling {
        call: Box<Calling>,
        resend: Option<Resend>,
        give_up_at: Mono,
    },
    /// `give_up_at`: 64·T1 after our CANCEL (RFC 3261 §9.1).
    Proceeding {
        call: Box<Calling>,
        give_up_at: Option<Mono>,
    },
    Completed {
        ack: Bytes,
        until: Mono,
    },
    Accepted {
        to_tag: Box<[u8]>,
        ack: Option<Bytes>,
        forks: Vec<Box<[u8]>>,
        until: Mono,
    },
    Terminated,
}

#[derive(Clone, Debug, PartialEq)]
struct Calling {
    head: InviteHead,
    request: Bytes,
    cancel: Cancel,
}

/// Further answers to one INVITE that are ended; no sane proxy forks to more.
const FORKS_MAX: usize = 8;

/// A CANCEL may only follow a provisional response (RFC 3261 §9.1).
#[derive(Clone, Debug, PartialEq)]
enum Cancel {
    No,
    WhenProvisional { why: Option<Bytes> },
    Sent,
}

/// A CANCEL to be sent now: what it is written from, and the value of its Reason.
#[derive(Clone, Debug, PartialEq)]
pub struct DueCancel {
    pub head: InviteHead,
    pub why: Option<Bytes>,
}

impl InviteClient {
    /// `request` is the INVITE that `head` describes.
    pub fn new(
        head: InviteHead,
        request: Bytes,
        timers: Timers,
        now: Mono,
        out: &mut Outputs,
    ) -> Self {
        out.push(Output::Send(request.clone()));
        let state = State::Calling {
            call: Box::new(Calling { head, request, cancel: Cancel::No }),
            resend: timers.first_resend(now),
            give_up_at: now + timers.patience(),
        };
        Self { state, timers }
    }

    /// The leg gives up. Returns the CANCEL if it may be sent now; if no provisional response came
    /// yet, [`InviteClient::handle_response`] returns it later.
    pub fn cancel(&mut self, why: Option<Bytes>, now: Mono) -> Option<DueCancel> {
        match &mut self.state {
            State::Calling { call, resend, .. } => {
                call.cancel = Cancel::WhenProvisional { why };
                // What has not been heard yet need not be heard any more.
                *resend = None;
                None
            }
            State::Proceeding { call, give_up_at } if call.cancel == Cancel::No => {
                call.cancel = Cancel::Sent;
                *give_up_at = Some(now + self.timers.patience());
                Some(DueCancel { head: call.head.clone(), why })
            }
            State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => None,
        }
    }

    /// A response arrived. Returns a CANCEL that has waited for it.
    pub fn handle_response(
        &mut self,
        response: &Response,
        now: Mono,
        writer: &mut Writer,
        out: &mut Outputs,
    ) -> Option<DueCancel> {
        let mut due = None;
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Calling { call, .. } | State::Proceeding { call, .. }
                if response.status() >= 200 =>
            {
                out.push(Output::PassUp);
                self.settle(&call, response, now, writer, out)
            }
            State::Calling { mut call, .. } => {
                out.push(Output::PassUp);
                let mut give_up_at = None;
                if let Cancel::WhenProvisional { why } = &mut call.cancel {
                    let why = why.take();
                    call.cancel = Cancel::Sent;
                    give_up_at = Some(now + self.timers.patience());
                    due = Some(DueCancel { head: call.head.clone(), why });
                }
                State::Proceeding { call, give_up_at }
            }
            unchanged @ State::Proceeding { .. } => {
                out.push(Output::PassUp);
                unchanged
            }
            State::Completed { ack, until } => {
                if response.status() >= 300 {
                    out.push(Output::Resend(ack.clone()));
                }
                State::Completed { ack, until }
            }
            State::Accepted { to_tag, ack, mut forks, until } => {
                if (200..300).contains(&response.status()) {
                    let tag = response.to_tag().unwrap_or_default();
                    if forks.iter().any(|fork| **fork == *tag) {
                        out.push(Output::ForkedAgain);
                    } else if *tag != *to_tag {
                        if forks.len() < FORKS_MAX {
                            forks.push(tag.into());
                            out.push(Output::Forked);
                        }
                    } else if let Some(ack) = &ack {
                        out.push(Output::Resend(ack.clone()));
                    }
                }
                State::Accepted { to_tag, ack, forks, until }
            }
            State::Terminated => State::Terminated,
        };
        due
    }

    /// The leg has sent this ACK to the success; repeats of the success get it again.
    pub fn acknowledged(&mut self, message: Bytes) {
        if let State::Accepted { ack, .. } = &mut self.state {
            *ack = Some(message);
        }
    }

    /// The first final response came.
    fn settle(
        &self,
        call: &Calling,
        response: &Response,
        now: Mono,
        writer: &mut Writer,
        out: &mut Outputs,
    ) -> State {
        if response.status() < 300 {
            return State::Accepted {
                to_tag: response.to_tag().unwrap_or_default().into(),
                ack: None,
                forks: Vec::new(),
                until: now + self.timers.patience(),
            };
        }
        let ack = call.head.ack_failure(response, writer);
        out.push(Output::Send(ack.clone()));
        let linger = Duration::from_secs(32).min(self.timers.patience());
        State::Completed { ack, until: now + self.timers.unless_reliable(linger) }
    }

    /// The request, while it waits for a final answer.
    pub fn unanswered(&self) -> Option<Bytes> {
        match &self.state {
            State::Calling { call, .. } | State::Proceeding { call, .. } => {
                Some(call.request.clone())
            }
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }

    /// Whether nothing more can come: finished, and its linger is up.
    pub fn is_over(&self, now: Mono) -> bool {
        matches!(self.state, State::Completed { until, .. } if until <= now)
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Calling { resend, give_up_at, .. } => {
                Some(resend.map_or(*give_up_at, |resend| resend.at.min(*give_up_at)))
            }
            State::Completed { until, .. } | State::Accepted { until, .. } => Some(*until),
            State::Proceeding { give_up_at, .. } => *give_up_at,
            State::Terminated => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.state = match mem::replace(&mut self.state, State::Terminated) {
            State::Calling { call, resend: Some(resend), give_up_at } if now < give_up_at => {
                out.push(Output::Resend(call.request.clone()));
                State::Calling { call, resend: Some(resend.doubled(now)), give_up_at }
            }
            State::Calling { .. } | State::Proceeding { give_up_at: Some(_), .. } => {
                out.extend([Output::TimedOut, Output::Terminated]);
                State::Terminated
            }
            State::Completed { .. } | State::Accepted { .. } => {
                out.push(Output::Terminated);
                State::Terminated
            }
            unchanged @ (State::Proceeding { .. } | State::Terminated) => unchanged,
        }
    }
}

impl InviteHead {
    /// RFC 3261 §9.1: everything of the INVITE but its number's method, and no more.
    /// `why` is the value of a Reason header field (RFC 3326).
    pub fn cancel(&self, why: Option<&[u8]>, writer: &mut Writer) -> Bytes {
        self.follow_up(b"CANCEL", &self.to, why, writer)
    }

    /// RFC 3261 §17.1.1.3: the same branch, and the To of the response.
    fn ack_failure(&self, response: &Response, writer: &mut Writer) -> Bytes {
        let to = response.line(HeaderName::To).unwrap_or_default();
        self.follow_up(b"ACK", to, None, writer)
    }

    fn follow_up(
        &self,
        method: &[u8],
        to: &[u8],
        why: Option<&[u8]>,
        writer: &mut Writer,
    ) -> Bytes {
        writer.request(method, &self.uri);
        writer.header(HeaderName::Via, &self.via);
        for route in &self.route {
            writer.header(HeaderName::Route, route);
        }
        writer.header(HeaderName::MaxForwards, b"70");
        writer.header(HeaderName::From, &self.from);
        writer.header(HeaderName::To, to);
        writer.header(HeaderName::CallId, &self.call_id);
        let mut number = itoa::Buffer::new();
        let number = number.format(self.cseq).as_bytes();
        writer.header_parts(HeaderName::CSeq, &[number, b" ", method]);
        if let Some(why) = why {
            writer.header(HeaderName::Reason, why);
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::tests_support::*;
    use super::*;
    use crate::sip::message::{Limits, Message};

    #[test]
    fn doubles_the_interval_until_64_t1_then_times_out() {
        let transaction = RefCell::new(calling(false));

        let seen = run_until_idle(
            || transaction.borrow().deadline(),
            |now, out| transaction.borrow_mut().handle_timeout(now, out),
        );

        let repeats = [500, 1500, 3500, 7500, 15_500, 31_500];
        let mut expected: Vec<_> =
            repeats.iter().map(|ms| (*ms, Output::Resend(bytes("invite")))).collect();
        expected.extend([(32_000, Output::TimedOut), (32_000, Output::Terminated)]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_failure_is_acknowledged_on_the_same_branch_as_often_as_it_comes() {
        let mut transaction = calling(false);

        let first = respond(&mut transaction, 486, "b", 10);
        let again = respond(&mut transaction, 486, "b", 600);

        let [Output::PassUp, Output::Send(ack)] = first.as_slice() else { panic!("{first:?}") };
        assert_eq!(again.as_slice(), [Output::Resend(ack.clone())]);
        let expected = "ACK sip:sales@192.0.2.9 SIP/2.0\r\n\
            Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n\
            Route: <sip:192.0.2.3;lr>\r\n\
            Max-Forwards: 70\r\n\
            From: <sip:me@192.0.2.1>;tag=a\r\n\
            To: <sip:sales@192.0.2.9>;tag=b\r\n\
            Call-ID: c\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(std::str::from_utf8(ack), Ok(expected));
    }

    #[test]
    fn a_cancel_waits_for_a_provisional_response() {
        let mut transaction = calling(false);

        assert_eq!(transaction.cancel(Some(bytes("why")), START), None);
        let mut out = Outputs::new();
        let held =
            transaction.handle_response(&response(100, ""), at(10), &mut Writer::new(), &mut out);

        assert_eq!(held, Some(DueCancel { head: head(), why: Some(bytes("why")) }));
        assert_eq!(transaction.cancel(None, at(20)), None, "one CANCEL is enough");
        assert_eq!(transaction.deadline(), Some(at(32_010)), "RFC 3261 §9.1: 64·T1 and no more");
        let cancel = head().cancel(None, &mut Writer::new());
        assert!(cancel.starts_with(
            b"CANCEL sip:sales@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n"
        ));
    }

    #[test]
    fn a_repeated_success_is_acknowledged_again() {
        let mut transaction = calling(false);

        assert_eq!(respond(&mut transaction, 200, "b", 10).as_slice(), [Output::PassUp]);
        assert_eq!(respond(&mut transaction, 200, "b", 20).as_slice(), []);
        transaction.acknowledged(bytes("ack"));
        assert_eq!(
            respond(&mut transaction, 200, "b", 500).as_slice(),
            [Output::Resend(bytes("ack"))]
        );
    }

    #[test]
    fn a_second_success_with_another_tag_is_a_fork() {
        let mut transaction = calling(false);

        respond(&mut transaction, 200, "b", 10);

        assert_eq!(respond(&mut transaction, 200, "z", 20).as_slice(), [Output::Forked]);
        assert_eq!(transaction.deadline(), Some(at(32_010)));
    }

    fn calling(reliable: bool) -> InviteClient {
        let timers = Timers { reliable, ..Timers::default() };
        InviteClient::new(head(), bytes("invite"), timers, START, &mut Outputs::new())
    }

    fn respond(transaction: &mut InviteClient, status: u16, tag: &str, ms: u64) -> Outputs {
        let mut out = Outputs::new();
        transaction.handle_response(&response(status, tag), at(ms), &mut Writer::new(), &mut out);
        out
    }

    fn head() -> InviteHead {
        InviteHead {
            uri: bytes("sip:sales@192.0.2.9"),
            via: bytes("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"),
            from: bytes("<sip:me@192.0.2.1>;tag=a"),
            to: bytes("<sip:sales@192.0.2.9>"),
            call_id: bytes("c"),
            cseq: 7,
            route: SmallVec::from_iter([bytes("<sip:192.0.2.3;lr>")]),
        }
    }

    fn response(status: u16, tag: &str) -> Response {
        let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n\
             From: <sip:me@192.0.2.1>;tag=a\r\nTo: <sip:sales@192.0.2.9>{tag}\r\n\
             Call-ID: c\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        match Message::parse(Bytes::from(text), &Limits::default()) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}
