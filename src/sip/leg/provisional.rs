//! Reliable provisional responses that we send, RFC 3262 §3: repeated until their PRACK, one at a
//! time, numbered on this leg alone. The other leg may know nothing of them, or number its own.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::confirmation::Overdue;
use super::event::Body;
use super::offer_answer::digest;
use crate::sip::flow::Flow;
use crate::sip::message::{Method, RAck};
use crate::sip::transaction::Timers;
use crate::time::Mono;

/// Responses that wait for the PRACK of the one before; more are not worth telling.
const WAITING_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub struct Provisionals {
    /// Of the next response.
    rseq: u32,
    unacknowledged: Option<Unacknowledged>,
    waiting: VecDeque<Provisional>,
    /// The answer that must wait for the PRACK of a description (RFC 3262 §3).
    held_answer: Option<Option<Body>>,
    /// The description that was sent.
    described: Option<Body>,
    /// The description of the answer, where it is another one: it cannot be part of the answer.
    moved: Option<Body>,
    /// A final response was sent: nothing is repeated any more, and nothing new is sent.
    is_over: bool,
}

/// A response to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Provisional {
    pub status: u16,
    pub body: Option<Body>,
}

#[derive(Clone, Debug, PartialEq)]
struct Unacknowledged {
    rseq: u32,
    message: Bytes,
    flow: Flow,
    has_body: bool,
    resend_at: Mono,
    interval: Duration,
    give_up_at: Mono,
}

/// A PRACK that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The response it is for carried a description.
    pub has_body: bool,
}

impl Provisionals {
    /// `random` gives the first number, which is below 2³¹ (RFC 3262 §3).
    pub fn new(random: u64) -> Self {
        Self {
            rseq: (random as u32 & 0x7fff_ffff).max(1),
            unacknowledged: None,
            waiting: VecDeque::new(),
            held_answer: None,
            described: None,
            moved: None,
            is_over: false,
        }
    }

    /// Returns the response if it may be sent now. One that has to wait comes from
    /// [`Provisionals::next_due`].
    pub fn offer(&mut self, provisional: Provisional) -> Option<Provisional> {
        if self.is_over || self.held_answer.is_some() {
            return None;
        }
        if self.unacknowledged.is_none() {
            return Some(self.described_once(provisional));
        }
        if self.waiting.len() < WAITING_MAX && self.waiting.back() != Some(&provisional) {
            self.waiting.push_back(provisional);
        }
        None
    }

    /// The number of the response that is about to be sent.
    pub fn rseq(&self) -> u32 {
        self.rseq
    }

    /// The response of [`Provisionals::offer`] or [`Provisionals::next_due`] has just been sent, with
    /// this body.
    pub fn sent(
        &mut self,
        message: Bytes,
        flow: Flow,
        body: Option<Body>,
        timers: Timers,
        now: Mono,
    ) {
        self.unacknowledged = Some(Unacknowledged {
            rseq: self.rseq,
            message,
            flow,
            has_body: body.is_some(),
            resend_at: now + timers.t1(),
            interval: timers.t1(),
            give_up_at: now + timers.patience(),
        });
        self.described = self.described.take().or(body);
        self.rseq += 1;
    }

    /// The description that was sent, if one was.
    pub fn described(&self) -> Option<&Body> {
        self.described.as_ref()
    }

    /// A PRACK; `None` if it is for no response that waits for one.
    pub fn acknowledge(&mut self, rack: &RAck<'_>, invite_cseq: u32) -> Option<Acknowledged> {
        let fits = rack.cseq.number == invite_cseq && rack.cseq.method() == Method::Invite;
        let known = self.unacknowledged.take_if(|it| fits && it.rseq == rack.rseq)?;
        Some(Acknowledged { has_body: known.has_body })
    }

    /// What has waited for a PRACK and need wait no longer.
    pub fn next_due(&mut self) -> Option<Provisional> {
        if self.unacknowledged.is_some() || self.is_over {
            return None;
        }
        let next = self.waiting.pop_front()?;
        Some(self.described_once(next))
    }

    /// Returns the answer if it may be sent now; else it comes from
    /// [`Provisionals::held_answer`]. What has not been said before the answer is not said.
    pub fn answer(&mut self, body: Option<Body>) -> Option<Option<Body>> {
        self.waiting.clear();
        if self.holds_answers() {
            self.held_answer = Some(body);
            return None;
        }
        self.is_over = true;
        Some(body)
    }

    /// Whether an answer would have to wait.
    pub fn holds_answers(&self) -> bool {
        self.unacknowledged.as_ref().is_some_and(|it| it.has_body)
    }

    /// The answer, once it may be sent.
    pub fn held_answer(&mut self) -> Option<Option<Body>> {
        if self.unacknowledged.is_some() {
            return None;
        }
        let answer = self.held_answer.take()?;
        self.is_over = true;
        Some(answer)
    }

    /// What the answer may say. The description was given before (RFC 3261 §13.2.1): repeating it
    /// does no harm, another one has to be offered after the answer, see [`Provisionals::moved`].
    pub fn description_of_answer(&mut self, body: Option<Body>) -> Option<Body> {
        if self.described.is_none() || digest(body.as_ref()) == digest(self.described.as_ref()) {
            return body;
        }
        self.moved = body;
        None
    }

    /// What is to be offered once the answer is acknowledged.
    pub fn moved(self) -> Option<Body> {
        self.moved
    }

    /// Whether the description has reached the peer, so that another one may be offered.
    pub fn is_settled(&self) -> bool {
        self.described.is_some() && !self.unacknowledged.as_ref().is_some_and(|it| it.has_body)
    }

    /// The response to repeat, and where it goes.
    pub fn unacknowledged(&self) -> Option<(Flow, Bytes)> {
        self.unacknowledged.as_ref().map(|it| (it.flow, it.message.clone()))
    }

    pub fn deadline(&self) -> Option<Mono> {
        let waits = self.unacknowledged.as_ref().filter(|_| !self.is_over)?;
        Some(waits.resend_at.min(waits.give_up_at))
    }

    /// The interval doubles without end (RFC 3262 §3).
    pub fn handle_timeout(&mut self, now: Mono) -> Option<Overdue> {
        let waits = self.unacknowledged.as_mut().filter(|_| !self.is_over)?;
        if now >= waits.give_up_at {
            self.is_over = true;
            return Some(Overdue::GiveUp);
        }
        if now < waits.resend_at {
            return None;
        }
        waits.interval *= 2;
        waits.resend_at = now + waits.interval;
        Some(Overdue::Resend)
    }

    /// A leg describes its session once before the answer: a second description would be an
    /// offer, and there is no room for one (RFC 3261 §13.2.1).
    fn described_once(&self, provisional: Provisional) -> Provisional {
        Provisional { body: provisional.body.filter(|_| self.described.is_none()), ..provisional }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::flow::ListenerId;

    #[test]
    fn a_response_is_repeated_at_doubling_intervals_for_64_t1() {
        let mut provisionals = sending(183, true);

        let mut seen = vec![];
        while let Some(now) = provisionals.deadline() {
            match provisionals.handle_timeout(now) {
                Some(Overdue::Resend | Overdue::GiveUp) => seen.push(now.0 / 1_000_000),
                None => panic!("the deadline was not one"),
            }
        }

        assert_eq!(seen, [500, 1500, 3500, 7500, 15500, 31500, 32000]);
    }

    #[test]
    fn the_next_response_waits_for_the_prack_and_has_the_next_number() {
        let mut provisionals = sending(183, true);
        let first = provisionals.rseq() - 1;
        assert_eq!(provisionals.offer(provisional(180, false)), None);
        assert_eq!(provisionals.next_due(), None);

        assert_eq!(acknowledge(&mut provisionals, first), Some(Acknowledged { has_body: true }));

        assert_eq!(provisionals.next_due(), Some(provisional(180, false)));
        assert_eq!(provisionals.rseq(), first + 1);
    }

    #[test]
    fn a_prack_for_another_number_request_or_method_fits_nothing() {
        let mut provisionals = sending(183, true);
        let rseq = provisionals.rseq() - 1;
        for (rseq, text) in [(rseq + 1, "1 INVITE"), (rseq, "2 INVITE"), (rseq, "1 UPDATE")] {
            let value = format!("{rseq} {text}");
            let rack = RAck::parse(value.as_bytes()).unwrap();
            assert_eq!(provisionals.acknowledge(&rack, 1), None, "{value}");
        }
        assert!(acknowledge(&mut provisionals, rseq).is_some());
        assert!(acknowledge(&mut provisionals, rseq).is_none());
    }

    #[test]
    fn an_answer_waits_for_the_prack_of_a_description_and_of_nothing_else() {
        let mut described = sending(183, true);
        let rseq = described.rseq() - 1;
        assert_eq!(described.answer(None), None);
        assert_eq!(described.held_answer(), None);
        acknowledge(&mut described, rseq).unwrap();
        assert_eq!(described.held_answer(), Some(None));

        let mut ringing = sending(180, false);
        assert_eq!(ringing.answer(None), Some(None));
        assert_eq!(ringing.deadline(), None, "nothing is repeated after the answer");
    }

    #[test]
    fn only_the_first_description_is_sent() {
        let mut provisionals = sending(183, true);
        let rseq = provisionals.rseq() - 1;
        acknowledge(&mut provisionals, rseq).unwrap();

        assert_eq!(provisionals.offer(provisional(183, true)), Some(provisional(183, false)));
    }

    fn sending(status: u16, has_body: bool) -> Provisionals {
        let flow = Flow::udp(ListenerId(0), "192.0.2.1:5060".parse().unwrap());
        let mut provisionals = Provisionals::new(u64::MAX);
        assert_eq!(
            provisionals.offer(provisional(status, has_body)),
            Some(provisional(status, has_body))
        );
        let body = provisional(status, has_body).body;
        provisionals.sent(Bytes::new(), flow, body, Timers::default(), Mono(0));
        provisionals
    }

    fn provisional(status: u16, has_body: bool) -> Provisional {
        let body = || Body { content_type: "application/sdp".into(), bytes: "v=0".into() };
        Provisional { status, body: has_body.then(body) }
    }

    fn acknowledge(provisionals: &mut Provisionals, rseq: u32) -> Option<Acknowledged> {
        let value = format!("{rseq} 1 INVITE");
        provisionals.acknowledge(&RAck::parse(value.as_bytes()).unwrap(), 1)
    }
}
