//! Watches one call from outside the endpoint: what goes in, what comes out, and whether that may
//! be. Everything is judged where it passes the endpoint, so what the network loses is not held
//! against it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sip::call::plan::Plan;
use crate::sip::call::report::{AttemptNumber, Report};
use crate::sip::message::{Limits, Message, Method};
use crate::time::Mono;
use bytes::Bytes;

use crate::sim::party::Role;
use crate::sim::text::{Glance, Start};

mod addresses;
mod handover;
mod leg;
mod reliable;
mod route;
mod ways;

use handover::Telling;
use leg::{Leg, Sent};
use route::Route;

pub(crate) use handover::Seen;

/// The wheel's resolution, and some more.
const SLACK: Duration = Duration::from_millis(20);

/// What is wrong, in words.
pub(crate) type Verdict = Result<(), String>;

/// A call as it is seen from outside.
#[derive(Debug)]
pub(crate) struct Audit {
    admissions: u32,
    pub(crate) reports: Vec<Report>,
    /// The caller's leg first, then one for each INVITE to a target.
    legs: Vec<Leg>,
    attempts: BTreeMap<AttemptNumber, Attempt>,
    /// The caller gave up before it was answered.
    given_up: bool,
    answered_at: Option<Mono>,
    durable: bool,
    answer_wait: Duration,
    /// What must have left when the input at hand has been handled.
    due: Vec<Due>,
    /// Serials by their place in the order in which the endpoint last got them.
    serials: BTreeMap<u64, u64>,
    heard: u64,
    route: Route,
    telling: Telling,
}

#[derive(Debug, Default)]
struct Attempt {
    granted: bool,
    started: bool,
    ended: bool,
    /// It never reached its target, to which there is another way.
    way_failed: bool,
    /// Addresses of its target that were given up.
    left: usize,
}

#[derive(Debug)]
enum Due {
    Ack {
        leg: usize,
        branch: Bytes,
        tag: Bytes,
        sent_before: u32,
    },
    /// Any response to an INVITE, in time (RFC 3261 §17.2.1).
    Response {
        leg: usize,
        branch: Bytes,
        by: Mono,
    },
    Final {
        leg: usize,
        branch: Bytes,
        method: Method,
    },
    Cancelled,
    /// An attempt whose REFER was refused is bridged.
    Bridge {
        attempt: AttemptNumber,
    },
    /// Of an answer that is not bridged.
    Bye {
        leg: usize,
        tag: Bytes,
    },
    /// Of a reliable provisional response.
    Prack {
        leg: usize,
        tag: Bytes,
        rseq: u32,
    },
}

impl Audit {
    pub(crate) fn new(call_id: String, address: SocketAddr, answer_wait: Duration) -> Self {
        Self {
            admissions: 0,
            reports: vec![],
            legs: vec![Leg::new(Role::Caller, 0, Bytes::from(call_id), address)],
            attempts: BTreeMap::new(),
            given_up: false,
            answered_at: None,
            durable: false,
            answer_wait,
            due: vec![],
            serials: BTreeMap::new(),
            heard: 0,
            route: Route::default(),
            telling: Telling::default(),
        }
    }

    /// The call's first INVITE to this target, or to this address of it, is about to be judged.
    pub(crate) fn add_target(
        &mut self,
        attempt: AttemptNumber,
        invite: &Glance,
        address: SocketAddr,
    ) -> Verdict {
        let verdict = self.may_go_on_at(attempt, invite);
        self.legs.push(Leg::new(Role::Target, attempt, invite.call_id.clone(), address));
        verdict
    }

    /// This was decided.
    pub(crate) fn decided(&mut self, plan: &Plan) {
        self.route = Route::of(plan);
    }

    /// The number of the newest attempt.
    pub(crate) fn last_started(&self) -> Option<AttemptNumber> {
        self.reports.iter().rev().find_map(|report| match report {
            Report::AttemptStarted { attempt } => Some(*attempt),
            _ => None,
        })
    }

    /// The process died. The next one knows nothing of what was said, but its parties do: it may
    /// answer them, and take a repeated INVITE for a new call.
    pub(crate) fn process_died(&mut self) {
        // That it was answered may be on disk before the caller has heard so: whoever reads that
        // cannot know.
        let is_answered = self.answered_at.is_some();
        self.legs[0].dialogs.values_mut().for_each(|dialog| dialog.answered |= is_answered);
        let legs = self.legs.iter_mut().enumerate().map(|(at, dead)| {
            let mut leg = Leg::new(dead.role, 0, dead.call_id.clone(), dead.address);
            leg.is_left = at > 0;
            leg.mourn(dead);
            leg
        });
        let legs = legs.collect();
        let call_id = String::new();
        let fresh = Self::new(call_id, self.legs[0].address, self.answer_wait);
        *self = Self { legs, ..fresh };
    }

    /// The endpoint has admitted the call.
    pub(crate) fn admitted(&mut self) -> Verdict {
        self.admissions += 1;
        check(self.admissions == 1, || String::from("admitted twice"))
    }

    pub(crate) fn granted(&mut self, attempt: AttemptNumber) {
        self.attempts.entry(attempt).or_default().granted = true;
    }

    pub(crate) fn made_durable(&mut self) {
        self.durable = true;
    }

    /// The endpoint is about to handle this.
    pub(crate) fn received(&mut self, message: &Glance, from: SocketAddr, now: Mono) {
        let Some(at) = self.leg_at(&message.call_id, from) else { return };
        if let Some(serial) = message.serial() {
            self.heard += 1;
            self.serials.insert(serial, self.heard);
        }
        let due = match message.start {
            Start::Request { method: Method::Ack, .. } => self.legs[at].received_ack(message),
            Start::Request { method, .. } => {
                self.legs[at].received_request(method, message, at, now)
            }
            Start::Response { status } => {
                let is_refer = message.cseq_method == Method::Refer && status >= 200;
                if is_refer && self.legs[at].waits_for(message, now) {
                    self.refer_answered(status);
                }
                self.legs[at].received_response(status, message, at, now)
            }
        };
        if message.method() == Some(Method::Bye) && at == 0 {
            self.caller_hung_up();
        }
        self.due.extend(self.must_end(due.as_ref(), message));
        self.due.extend(due);
    }

    /// The endpoint sends this.
    pub(crate) fn sent(&mut self, message: &Glance, to: SocketAddr, now: Mono) -> Verdict {
        if let Err(malformed) = Message::parse(message.raw.clone(), &Limits::default()) {
            return Err(format!("it does not parse: {malformed:?}"));
        }
        let at = self.leg_at(&message.call_id, to).ok_or("a message of no leg")?;
        self.keeps_secrets(at, message)?;
        let is_new = match message.start {
            Start::Request { method: Method::Ack, .. } => self.legs[at].sent_ack(message, now)?,
            Start::Request { method, .. } => self.sent_request(at, method, message, now)?,
            Start::Response { status } => self.sent_response(at, status, message, now)?,
        };
        if let Some(serial) = message.serial().filter(|_| is_new)
            && let Some(order) = self.serials.get(&serial)
        {
            let leg = &mut self.legs[at];
            // Descriptions are said again: after a reliable 183, and where a session is refreshed.
            let describes = message.body.starts_with(b"v=");
            let is_again = describes && !leg.described.insert(serial);
            // One that is another than that of the 183 is offered after the ACK, however late.
            let moves = describes && leg.dialogs.values().any(|dialog| dialog.rseq.is_some());
            if !is_again && !moves {
                let last = std::mem::replace(&mut leg.last_serial, *order);
                check(last < *order, || String::from("it is passed on after one that came later"))?;
            }
        }
        Ok(())
    }

    pub(crate) fn reported(&mut self, report: &Report, now: Mono) -> Verdict {
        let over = matches!(self.reports.last(), Some(Report::Ended { .. }));
        self.reports.push(report.clone());
        check(!over, || String::from("a report after Ended"))?;
        self.told_truly(report, now)?;
        match report {
            Report::AttemptStarted { attempt } => {
                check(!self.given_up, || {
                    String::from("an attempt starts after the caller gave up")
                })?;
                self.is_next(*attempt)?;
                let state = self.attempts.entry(*attempt).or_default();
                check(!state.started, || String::from("an attempt starts twice"))?;
                state.started = true;
            }
            Report::AttemptProgress { attempt, .. } => {
                let state = self.attempts.entry(*attempt).or_default();
                check(state.started && !state.ended, || String::from("progress of no attempt"))?;
            }
            Report::AttemptFailed { attempt, .. } | Report::HandedOver { attempt, .. } => {
                self.end_attempt(*attempt)?;
            }
            Report::WayFailed { attempt, status, .. } => {
                self.end_attempt(*attempt)?;
                self.fails_on_its_way(*attempt, *status)?;
            }
            Report::AddressFailed { attempt, at, status, .. } => {
                self.is_left(*attempt, at.peer)?;
                self.speaks_of_the_way(*attempt, *status)?;
                let state = self.attempts.entry(*attempt).or_default();
                check(state.started && !state.ended, || String::from("an address of no attempt"))?;
            }
            Report::Extended { after, uris } => self.extended(*after, uris)?,
            Report::Taken
            | Report::Referred { .. }
            | Report::TransferStarted { .. }
            | Report::TransferFailed { .. }
            | Report::Transferred { .. } => {}
            Report::Answered { attempt } => {
                self.end_attempt(*attempt)?;
                check(self.answered_at.is_none(), || String::from("answered twice"))?;
                self.note_bridged(*attempt);
                self.answered_at = Some(now);
            }
            Report::EndedEarly { attempt, .. } => self.ended_early(*attempt, now)?,
            Report::Confirmed => {
                check(self.caller_final() == Some(200) && self.is_confirmed(), || {
                    String::from("confirmed, not answered")
                })?;
            }
            Report::Ended { status, .. } => {
                let open = self.attempts.values().any(|it| it.started && !it.ended);
                check(!open, || String::from("the call ends before its attempt"))?;
                let answer = self.caller_final();
                check(answer == Some(*status), || {
                    format!("Ended says {status}, the caller was answered {answer:?}")
                })?;
                for leg in &mut self.legs {
                    leg.over.get_or_insert("the call has ended");
                }
            }
        }
        Ok(())
    }

    /// The input at hand has been handled: what had to be done by now must have been done.
    pub(crate) fn handled(&mut self, now: Mono) -> Verdict {
        for due in std::mem::take(&mut self.due) {
            match due {
                Due::Ack { leg, branch, tag, sent_before } => {
                    let invite = self.legs[leg].sent_by(&branch, Method::Invite);
                    let acks = invite.and_then(|it| it.acks.get(&tag)).copied().unwrap_or_default();
                    check(acks > sent_before, || String::from("a final response got no ACK"))?;
                }
                Due::Response { leg, branch, by } => {
                    let request = self.legs[leg].received_by(&branch, Method::Invite);
                    if request.is_some_and(|it| !it.responded) {
                        check(now < by, || String::from("INVITE got no response in time"))?;
                        self.due.push(Due::Response { leg, branch, by });
                    }
                }
                Due::Final { leg, branch, method } => {
                    let request = self.legs[leg].received_by(&branch, method);
                    check(request.is_none_or(|it| it.outcome.is_some()), || {
                        format!("{} got no final response at once", method.name())
                    })?;
                }
                Due::Prack { leg, tag, rseq } => {
                    let leg = &self.legs[leg];
                    let pracked = leg.dialogs.get(&tag).and_then(|dialog| dialog.pracked);
                    check(pracked == Some(rseq) || leg.over.is_some(), || {
                        String::from("a reliable response got no PRACK")
                    })?;
                }
                Due::Bridge { attempt } => self.is_bridged(attempt)?,
                Due::Bye { leg, tag } => {
                    let leg = &self.legs[leg];
                    let ended = leg.dialogs.get(&tag).is_some_and(|dialog| dialog.ended);
                    check(ended || leg.forgotten, || {
                        String::from("an answer that is not bridged got no BYE")
                    })?;
                }
                Due::Cancelled => check(self.caller_final() == Some(487), || {
                    String::from("the CANCEL got 200 but the INVITE no 487")
                })?,
            }
        }
        Ok(())
    }

    /// Nothing can happen any more.
    pub(crate) fn at_rest(&self) -> Verdict {
        if self.admissions > 0 {
            check(self.caller_final().is_some(), || {
                String::from("the INVITE has no final response")
            })?;
            check(matches!(self.reports.last(), Some(Report::Ended { .. })), || {
                String::from("the call was never reported as ended")
            })?;
        }
        let caller = &self.legs[0];
        let is_barred = caller.dialogs.values().any(reliable::bars_answer);
        if self.answered_at.is_some() && !is_barred {
            check(self.caller_final() == Some(200), || {
                String::from("answered, but no 200 was sent")
            })?;
        }
        for leg in &self.legs {
            leg.at_rest().map_err(|what| format!("{what} (leg {})", leg.attempt))?;
        }
        Ok(())
    }

    /// The caller got its 200, and not before the answer was on disk.
    pub(crate) fn is_answered_durably(&self) -> bool {
        self.durable && self.caller_final() == Some(200)
    }

    pub(crate) fn caller_final(&self) -> Option<u16> {
        let first = self.legs[0].received.iter().find(|it| it.is_first)?;
        first.outcome.as_ref().map(|(status, ..)| *status)
    }

    /// Whether a request still waits for its response, or its sender for an end.
    pub(crate) fn has_open_transaction(&self) -> bool {
        let open = |leg: &Leg| {
            leg.sent.iter().any(|it| it.outcome.is_none())
                || leg.received.iter().any(|it| it.method == Method::Invite && it.outcome.is_none())
        };
        self.legs.iter().any(open)
    }

    /// Answers of targets that were not bridged.
    pub(crate) fn late_answers(&self) -> u64 {
        let bridged = u64::from(self.answered_at.is_some());
        let dialogs = self.legs.iter().skip(1).flat_map(|leg| leg.dialogs.values());
        (dialogs.filter(|dialog| dialog.answered).count() as u64).saturating_sub(bridged)
    }

    fn end_attempt(&mut self, attempt: AttemptNumber) -> Verdict {
        let state = self.attempts.entry(attempt).or_default();
        check(!state.ended, || format!("attempt {attempt} ends twice"))?;
        state.ended = true;
        Ok(())
    }

    /// Nothing that names one leg is seen on another (spec/sip B1, S8): not its party's name, which
    /// is in its tags, branches, Contact, software and session descriptions, not its addresses, also
    /// those behind a NAT, and not our own identifiers on it.
    fn keeps_secrets(&self, at: usize, message: &Glance) -> Verdict {
        let (mark, net): (&[u8], &[u8]) = match self.legs[at].role {
            Role::Caller => (b"bleg", b"198.51.100."),
            Role::Target => (b"aleg", b"192.0.2."),
        };
        let named = handover::without_named(message);
        let names = |token: &[u8]| memchr::memmem::find(&named, token).is_some();
        check(!names(mark) && !names(net), || String::from("it names the other side"))?;
        let behind_nat = names(b"10.9.9.9") || (at > 0 && names(b"10.1.2.3"));
        check(!behind_nat, || String::from("it names an inner address of the other side"))?;
        for leg in self.legs.iter().filter(|leg| leg.call_id != message.call_id) {
            let tag = leg.our_tag.as_deref().unwrap_or(b"\0");
            check(!names(&leg.call_id) && !names(tag), || String::from("it names another leg"))?;
        }
        Ok(())
    }

    /// Whether the request is new, not a repeat.
    fn sent_request(
        &mut self,
        at: usize,
        method: Method,
        message: &Glance,
        now: Mono,
    ) -> Result<bool, String> {
        if let Some(known) = self.legs[at].sent_by(&message.branch, method) {
            check(known.message.raw == message.raw, || String::from("a repeat that differs"))?;
            return Ok(false);
        }
        check(message.max_forwards.is_some(), || String::from("no Max-Forwards"))?;
        session_is_long(message)?;
        let is_first = method == Method::Invite && message.to_tag.is_none();
        match method {
            Method::Refer => self.may_refer(at, message)?,
            Method::Invite if is_first => self.may_call(at, message)?,
            Method::Invite => self.may_connect(at, message, now)?,
            _ => {}
        }
        let leg = &mut self.legs[at];
        if method == Method::Bye && leg.is_farewell(message)? {
            leg.sent.push(Sent::new(method, message.clone(), false, now));
            return Ok(true);
        }
        leg.is_ours(&message.from_tag)?;
        check(!leg.is_left, || String::from("a request of a process that is dead"))?;
        if let Some(over) = leg.why_over(message.to_tag.as_ref()) {
            let may = matches!(method, Method::Bye | Method::Cancel | Method::Prack);
            check(may, || format!("{} leaves after {over}", method.name()))?;
        }
        match method {
            Method::Cancel => leg.may_cancel(message, now)?,
            Method::Bye => leg.may_bye(now)?,
            Method::Prack => leg.may_prack(message)?,
            Method::Update => leg.may_update(message)?,
            Method::Invite => check(message.contact.is_some(), || String::from("no Contact"))?,
            _ => {}
        }
        if is_first {
            let attempt = self.attempts.get(&leg.attempt);
            let may = attempt.is_some_and(|it| it.granted && it.started && !it.ended);
            let may = may && !self.given_up;
            check(may, || String::from("an INVITE of no attempt"))?;
        } else if method != Method::Cancel {
            leg.in_dialog(message)?;
        }
        if method == Method::Bye {
            leg.end_dialog(message.to_tag.as_ref());
        }
        leg.sent.push(Sent::new(method, message.clone(), is_first, now));
        Ok(true)
    }

    fn sent_response(
        &mut self,
        at: usize,
        status: u16,
        message: &Glance,
        now: Mono,
    ) -> Result<bool, String> {
        let method = message.cseq_method;
        let (answered_at, durable, wait) = (self.answered_at, self.durable, self.answer_wait);
        let is_redirected = self.telling.by_302.is_some();
        let leg = &mut self.legs[at];
        let over = leg.why_over(Some(&message.from_tag));
        let Some(request) = leg
            .received
            .iter_mut()
            .find(|it| it.method == method && it.message.branch == message.branch)
        else {
            return Err(String::from("a response to nothing"));
        };
        request.mirrors(status, message)?;
        session_is_long(message)?;
        check(status != 422 || message.min_session_s.is_some(), || {
            String::from("422 without Min-SE (RFC 4028 §6)")
        })?;
        request.responded = true;
        if let Some((first, _, outcome)) = &request.outcome {
            // A CANCEL that overtakes its INVITE is refused without state (RFC 3261 §8.2.7, §9.2).
            // Its repeat finds the INVITE, and has to: the call would ring on.
            let overtook = method == Method::Cancel && outcome.starts_with(b"SIP/2.0 481");
            check(overtook || *first == status, || String::from("two different final responses"))?;
            check(overtook || *outcome == message.raw, || {
                String::from("a final response is repeated with a change")
            })?;
            return Ok(false);
        }
        if status < 200 {
            let is_new =
                request.last.replace(message.raw.clone()).is_none_or(|last| last != message.raw);
            let may = over.is_none() || !is_new;
            check(may, || format!("{status} leaves after {}", over.unwrap_or_default()))?;
            let is_first = request.is_first;
            if status > 100 && is_first {
                leg.our_tag.clone_from(&message.to_tag);
                if is_new {
                    leg.sent_provisional(message)?;
                }
            }
            return Ok(is_new);
        }
        check(method == Method::Invite || status != 408, || {
            String::from("408 to a request that is no INVITE (RFC 4320 §4.2)")
        })?;
        request.outcome = Some((status, now, message.raw.clone()));
        let is_first = request.is_first;
        let notify = request.message.raw.clone();
        if is_first && status < 300 {
            leg.may_answer(&message.from_tag)?;
        }
        if is_first && status < 300 {
            match answered_at {
                Some(at) => check(durable || now.since(at) + SLACK >= wait, || {
                    String::from("200 before the answer was durable")
                })?,
                None => self.takes()?,
            }
        }
        if is_first && (300..400).contains(&status) {
            self.moves_caller(message, now)?;
        }
        if method == Method::Notify && at == 0 {
            self.notify_answered(status, &notify, now)?;
        }
        let leg = &mut self.legs[at];
        if is_first {
            leg.our_tag.clone_from(&message.to_tag);
            if status >= 300 {
                leg.over.get_or_insert("the final response");
            } else {
                leg.dialogs.entry(message.from_tag.clone()).or_default().answered = true;
            }
        }
        if method == Method::Bye && status == 200 {
            let tag = message.from_tag.clone();
            leg.end_dialog(Some(&tag));
        }
        let cancels = method == Method::Cancel && status == 200 && at == 0;
        let is_settled = self.answered_at.is_some() || is_redirected;
        if cancels && self.caller_final().is_none() && !is_settled {
            self.given_up = true;
            self.due.push(Due::Cancelled);
        }
        Ok(true)
    }
}

/// RFC 4028 §5.
fn session_is_long(message: &Glance) -> Verdict {
    let shortest = message.session_s.into_iter().chain(message.min_session_s).min();
    check(shortest.is_none_or(|it| it >= 90), || {
        format!("a session of {} s", shortest.unwrap_or_default())
    })
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}
