//! Watches one call from outside the endpoint: what goes in, what comes out, and whether that may
//! be. Everything is judged where it passes the endpoint, so what the network loses is not held
//! against it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tollbridge::sip::call::report::{AttemptNumber, Report};
use tollbridge::sip::message::{Limits, Message, Method};
use tollbridge::time::Mono;

use super::party::{PATIENCE, Role};
use super::text::{Glance, Start, show};

/// The wheel's resolution, and some more.
const SLACK: Duration = Duration::from_millis(20);

/// What is wrong, in words.
pub(super) type Verdict = Result<(), String>;

/// A call as it is seen from outside.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) admissions: u32,
    pub(super) reports: Vec<Report>,
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
}

#[derive(Debug, Default)]
struct Attempt {
    granted: bool,
    started: bool,
    ended: bool,
}

#[derive(Debug)]
struct Leg {
    role: Role,
    attempt: AttemptNumber,
    call_id: Bytes,
    address: SocketAddr,
    our_tag: Option<Bytes>,
    sent: Vec<Sent>,
    received: Vec<Received>,
    /// Why nothing but ACK, BYE and final responses may leave any more.
    over: Option<&'static str>,
    /// By the tag of the peer: the routes our requests need, and our last number.
    dialogs: BTreeMap<Bytes, Dialog>,
    /// The peer said that it does not know the call.
    forgotten: bool,
    last_serial: u64,
}

#[derive(Debug, Default)]
struct Dialog {
    routes: Vec<Bytes>,
    cseq: u32,
    answered: bool,
    ended: bool,
}

/// A request of ours.
#[derive(Debug)]
struct Sent {
    method: Method,
    message: Glance,
    at: Mono,
    /// It made the leg.
    is_first: bool,
    provisional: bool,
    outcome: Option<(u16, Mono)>,
    cancelled_at: Option<Mono>,
    /// ACKs by the tag they were for.
    acks: BTreeMap<Bytes, u32>,
    /// Successes that wait for the other side's ACK with the answer to their offer.
    held: Vec<Bytes>,
}

/// A request of the peer.
#[derive(Debug)]
struct Received {
    method: Method,
    message: Glance,
    is_first: bool,
    responded: bool,
    outcome: Option<(u16, Mono, Bytes)>,
    acked: bool,
    last: Option<Bytes>,
}

/// How long an INVITE may be without a response.
const TRYING_WITHIN: Duration = Duration::from_millis(200);

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
}

impl Audit {
    pub(super) fn new(call_id: &str, address: SocketAddr, answer_wait: Duration) -> Self {
        Self {
            admissions: 0,
            reports: vec![],
            legs: vec![Leg::new(Role::Caller, 0, Bytes::from(call_id.to_owned()), address)],
            attempts: BTreeMap::new(),
            given_up: false,
            answered_at: None,
            durable: false,
            answer_wait,
            due: vec![],
            serials: BTreeMap::new(),
            heard: 0,
        }
    }

    /// The call's first INVITE to this target is about to be judged.
    pub(super) fn add_target(
        &mut self,
        attempt: AttemptNumber,
        invite: &Glance,
        address: SocketAddr,
    ) -> Verdict {
        let known = self.legs.iter().any(|leg| leg.attempt == attempt);
        self.legs.push(Leg::new(Role::Target, attempt, invite.call_id.clone(), address));
        check(!known, || format!("attempt {attempt} has two INVITEs"))
    }

    /// The number of the newest attempt.
    pub(super) fn last_started(&self) -> Option<AttemptNumber> {
        self.reports.iter().rev().find_map(|report| match report {
            Report::AttemptStarted { attempt } => Some(*attempt),
            _ => None,
        })
    }

    pub(super) fn granted(&mut self, attempt: AttemptNumber) {
        self.attempts.entry(attempt).or_default().granted = true;
    }

    pub(super) fn made_durable(&mut self) {
        self.durable = true;
    }

    /// The endpoint is about to handle this.
    pub(super) fn received(&mut self, message: &Glance, now: Mono) {
        let Some(at) = self.legs.iter().position(|leg| leg.call_id == message.call_id) else {
            return;
        };
        if let Some(serial) = message.serial() {
            self.heard += 1;
            self.serials.insert(serial, self.heard);
        }
        let due = match message.start {
            Start::Request { method: Method::Ack, .. } => self.legs[at].received_ack(message),
            Start::Request { method, .. } => {
                self.legs[at].received_request(method, message, at, now)
            }
            Start::Response { status } => self.legs[at].received_response(status, message, at, now),
        };
        self.due.extend(due);
    }

    /// The endpoint sends this.
    pub(super) fn sent(&mut self, message: &Glance, to: SocketAddr, now: Mono) -> Verdict {
        if let Err(malformed) = Message::parse(message.raw.clone(), &Limits::default()) {
            return Err(format!("it does not parse: {malformed:?}"));
        }
        let Some(at) = self.legs.iter().position(|leg| leg.call_id == message.call_id) else {
            return Err(String::from("a message of no leg"));
        };
        check(self.legs[at].address == to, || format!("it goes to {to}"))?;
        self.keeps_secrets(at, message)?;
        let is_new = match message.start {
            Start::Request { method: Method::Ack, .. } => self.legs[at].sent_ack(message, now)?,
            Start::Request { method, .. } => self.sent_request(at, method, message, now)?,
            Start::Response { status } => self.sent_response(at, status, message, now)?,
        };
        if is_new && let Some(order) = message.serial().and_then(|it| self.serials.get(&it)) {
            let last = std::mem::replace(&mut self.legs[at].last_serial, *order);
            check(last < *order, || String::from("it is passed on after one that came later"))?;
        }
        Ok(())
    }

    pub(super) fn reported(&mut self, report: &Report, now: Mono) -> Verdict {
        let over = matches!(self.reports.last(), Some(Report::Ended { .. }));
        self.reports.push(report.clone());
        check(!over, || String::from("a report after Ended"))?;
        match report {
            Report::AttemptStarted { attempt } => {
                check(!self.given_up, || {
                    String::from("an attempt starts after the caller gave up")
                })?;
                let last = self.attempts.iter().rev().find(|(_, it)| it.started || it.ended);
                let next = last.map_or(1, |(number, _)| number + 1);
                check(*attempt == next, || format!("attempt {attempt} starts, not {next}"))?;
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
            Report::AddressFailed { attempt, .. } => {
                let state = self.attempts.entry(*attempt).or_default();
                check(state.started && !state.ended, || String::from("an address of no attempt"))?;
            }
            Report::Extended { .. }
            | Report::Taken
            | Report::Referred { .. }
            | Report::TransferStarted { .. }
            | Report::TransferFailed { .. }
            | Report::Transferred { .. } => {}
            Report::Answered { attempt } => {
                self.end_attempt(*attempt)?;
                check(self.answered_at.is_none(), || String::from("answered twice"))?;
                self.answered_at = Some(now);
            }
            Report::Confirmed => {
                check(self.caller_final() == Some(200), || {
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
    pub(super) fn handled(&mut self, now: Mono) -> Verdict {
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
                Due::Cancelled => check(self.caller_final() == Some(487), || {
                    String::from("the CANCEL got 200 but the INVITE no 487")
                })?,
            }
        }
        Ok(())
    }

    /// Nothing can happen any more.
    pub(super) fn at_rest(&self) -> Verdict {
        if self.admissions > 0 {
            check(self.caller_final().is_some(), || {
                String::from("the INVITE has no final response")
            })?;
            check(matches!(self.reports.last(), Some(Report::Ended { .. })), || {
                String::from("the call was never reported as ended")
            })?;
        }
        if self.answered_at.is_some() {
            check(self.caller_final() == Some(200), || {
                String::from("answered, but no 200 was sent")
            })?;
        }
        for leg in &self.legs {
            leg.at_rest().map_err(|what| format!("{what} (leg {})", leg.attempt))?;
        }
        Ok(())
    }

    pub(super) fn caller_final(&self) -> Option<u16> {
        let first = self.legs[0].received.iter().find(|it| it.is_first)?;
        first.outcome.as_ref().map(|(status, ..)| *status)
    }

    /// Whether a request still waits for its response, or its sender for an end.
    pub(super) fn has_open_transaction(&self) -> bool {
        let open = |leg: &Leg| {
            leg.sent.iter().any(|it| it.outcome.is_none())
                || leg.received.iter().any(|it| it.method == Method::Invite && it.outcome.is_none())
        };
        self.legs.iter().any(open)
    }

    /// Answers of targets that were not bridged.
    pub(super) fn late_answers(&self) -> u64 {
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
        let names = |token: &[u8]| memchr::memmem::find(&message.raw, token).is_some();
        check(!names(mark) && !names(net), || String::from("it names the other side"))?;
        let behind_nat = names(b"10.9.9.9") || (at > 0 && names(b"10.1.2.3"));
        check(!behind_nat, || String::from("it names an inner address of the other side"))?;
        for (_, leg) in self.legs.iter().enumerate().filter(|(n, _)| *n != at) {
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
        let leg = &mut self.legs[at];
        if let Some(known) = leg.sent_by(&message.branch, method) {
            check(known.message.raw == message.raw, || String::from("a repeat that differs"))?;
            return Ok(false);
        }
        check(message.max_forwards.is_some(), || String::from("no Max-Forwards"))?;
        leg.is_ours(&message.from_tag)?;
        let is_first = method == Method::Invite && message.to_tag.is_none();
        if let Some(over) = leg.why_over(message.to_tag.as_ref()) {
            let may = matches!(method, Method::Bye | Method::Cancel);
            check(may, || format!("{} leaves after {over}", method.name()))?;
        }
        match method {
            Method::Cancel => leg.may_cancel(message, now)?,
            Method::Bye => leg.may_bye(now)?,
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
        leg.sent.push(Sent {
            method,
            message: message.clone(),
            at: now,
            is_first,
            provisional: false,
            outcome: None,
            cancelled_at: None,
            acks: BTreeMap::new(),
            held: vec![],
        });
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
        request.responded = true;
        if let Some((_, _, outcome)) = &request.outcome {
            // A CANCEL that overtakes its INVITE is refused without state (RFC 3261 §8.2.7, §9.2).
            // Its repeat finds the INVITE, and has to: the call would ring on.
            let overtook = method == Method::Cancel && outcome.starts_with(b"SIP/2.0 481");
            check(overtook || *outcome == message.raw, || {
                String::from("two different final responses")
            })?;
            return Ok(false);
        }
        if status < 200 {
            let is_new =
                request.last.replace(message.raw.clone()).is_none_or(|last| last != message.raw);
            let may = over.is_none() || !is_new;
            check(may, || format!("{status} leaves after {}", over.unwrap_or_default()))?;
            if status > 100 && request.is_first {
                leg.our_tag.clone_from(&message.to_tag);
            }
            return Ok(is_new);
        }
        check(method == Method::Invite || status != 408, || {
            String::from("408 to a request that is no INVITE (RFC 4320 §4.2)")
        })?;
        request.outcome = Some((status, now, message.raw.clone()));
        let is_first = request.is_first;
        if is_first && status < 300 {
            let answered_at = answered_at.ok_or("200 without an Answered report")?;
            check(durable || now.since(answered_at) + SLACK >= wait, || {
                String::from("200 before the answer was durable")
            })?;
        }
        if is_first {
            leg.our_tag.clone_from(&message.to_tag);
            if status >= 300 {
                leg.over.get_or_insert("the final response");
            } else {
                let tag = request.message.from_tag.clone();
                leg.dialogs.entry(tag).or_default().answered = true;
            }
        }
        if method == Method::Bye && status == 200 {
            let tag = message.from_tag.clone();
            leg.end_dialog(Some(&tag));
        }
        let cancels = method == Method::Cancel && status == 200 && at == 0;
        if cancels && self.caller_final().is_none() && self.answered_at.is_none() {
            self.given_up = true;
            self.due.push(Due::Cancelled);
        }
        Ok(true)
    }
}

impl Leg {
    fn new(role: Role, attempt: AttemptNumber, call_id: Bytes, address: SocketAddr) -> Self {
        Self {
            role,
            attempt,
            call_id,
            address,
            our_tag: None,
            sent: vec![],
            received: vec![],
            over: None,
            dialogs: BTreeMap::new(),
            forgotten: false,
            last_serial: 0,
        }
    }

    fn sent_by(&self, branch: &[u8], method: Method) -> Option<&Sent> {
        self.sent.iter().find(|it| it.method == method && it.message.branch == branch)
    }

    fn received_by(&self, branch: &[u8], method: Method) -> Option<&Received> {
        self.received.iter().find(|it| it.method == method && it.message.branch == branch)
    }

    fn received_request(
        &mut self,
        method: Method,
        message: &Glance,
        at: usize,
        now: Mono,
    ) -> Option<Due> {
        let (branch, leg) = (message.branch.clone(), at);
        if self.received_by(&branch, method).is_none() {
            let is_first = method == Method::Invite
                && message.to_tag.is_none()
                && !self.received.iter().any(|it| it.is_first);
            if is_first {
                let dialog = self.dialogs.entry(message.from_tag.clone()).or_default();
                dialog.routes.clone_from(&message.record_routes);
            }
            self.received.push(Received {
                method,
                message: message.clone(),
                is_first,
                responded: false,
                outcome: None,
                acked: false,
                last: None,
            });
        }
        match method {
            Method::Bye | Method::Cancel | Method::Options => {
                Some(Due::Final { leg, branch, method })
            }
            Method::Invite => Some(Due::Response { leg, branch, by: now + TRYING_WITHIN }),
            _ => None,
        }
    }

    fn received_ack(&mut self, ack: &Glance) -> Option<Due> {
        let mut invites = self.received.iter_mut().filter(|it| it.method == Method::Invite);
        let invite = invites.find(|it| it.message.cseq == ack.cseq && it.outcome.is_some())?;
        if invite.is_first && ack.to_tag != self.our_tag {
            return None;
        }
        invite.acked = true;
        None
    }

    fn received_response(
        &mut self,
        status: u16,
        message: &Glance,
        at: usize,
        now: Mono,
    ) -> Option<Due> {
        let method = message.cseq_method;
        let sent = self
            .sent
            .iter_mut()
            .find(|it| it.method == method && it.message.branch == message.branch)?;
        if status < 200 {
            sent.provisional |= sent.waits_at(now);
            return None;
        }
        if matches!(status, 481 | 408) && method != Method::Bye && method != Method::Cancel {
            self.forgotten = true;
        }
        let before = sent.outcome;
        if !sent.waits_at(now) {
            return None;
        }
        sent.outcome.get_or_insert((status, now));
        if method != Method::Invite {
            return None;
        }
        let tag = message.to_tag.clone().unwrap_or_default();
        let sent_before = sent.acks.get(&tag).copied().unwrap_or_default();
        if status >= 300 {
            if before.is_some_and(|(status, _)| status < 300) {
                return None;
            }
            if sent.is_first {
                self.over.get_or_insert("the target's final response");
            }
        } else {
            if before.is_some_and(|(status, _)| status >= 300) {
                return None;
            }
            let is_offer = sent.message.body.is_empty() && !message.body.is_empty();
            if sent.is_first {
                let dialog = self.dialogs.entry(tag.clone()).or_default();
                dialog.routes = message.record_routes.iter().rev().cloned().collect();
                dialog.cseq = dialog.cseq.max(sent.message.cseq);
                dialog.answered = true;
            }
            if is_offer && sent_before == 0 {
                sent.held.push(tag);
                return None;
            }
        }
        Some(Due::Ack { leg: at, branch: message.branch.clone(), tag, sent_before })
    }

    fn sent_ack(&mut self, ack: &Glance, now: Mono) -> Result<bool, String> {
        let tag = ack.to_tag.clone().ok_or("an ACK without a tag")?;
        check(ack.max_forwards.is_some(), || String::from("no Max-Forwards"))?;
        let invites = self.sent.iter_mut().filter(|it| it.method == Method::Invite);
        let Some(invite) = invites.rev().find(|it| it.message.cseq == ack.cseq) else {
            return Err(String::from("an ACK to no INVITE"));
        };
        let Some((status, at)) = invite.outcome else {
            return Err(String::from("an ACK before the final response"));
        };
        check(now >= at, || String::from("an ACK before its time"))?;
        let count = invite.acks.entry(tag.clone()).or_default();
        *count += 1;
        let is_new = *count == 1;
        invite.held.retain(|held| *held != tag);
        if status >= 300 {
            check(ack.branch == invite.message.branch, || String::from("another branch"))?;
            check(ack.uri() == invite.message.uri(), || String::from("another Request-URI"))?;
            check(ack.routes == invite.message.routes, || String::from("another Route"))?;
        } else {
            check(ack.branch != invite.message.branch, || String::from("the INVITE's branch"))?;
            self.has_routes(ack)?;
        }
        self.is_ours(&ack.from_tag)?;
        Ok(is_new)
    }

    fn is_ours(&mut self, tag: &Bytes) -> Verdict {
        let ours = self.our_tag.get_or_insert_with(|| tag.clone());
        check(ours == tag, || String::from("not our tag in From"))
    }

    /// RFC 3261 §9.1.
    fn may_cancel(&mut self, message: &Glance, now: Mono) -> Verdict {
        let mut sent = self.sent.iter_mut();
        let invite =
            sent.find(|it| it.method == Method::Invite && it.message.branch == message.branch);
        let invite = invite.ok_or("a CANCEL of no INVITE")?;
        check(invite.provisional, || String::from("a CANCEL before any response"))?;
        check(invite.outcome.is_none(), || String::from("a CANCEL after the final response"))?;
        check(invite.message.uri() == message.uri(), || String::from("another Request-URI"))?;
        check(invite.message.to == message.to, || String::from("another To"))?;
        check(message.routes == invite.message.routes, || String::from("another Route"))?;
        invite.cancelled_at = Some(now);
        if invite.is_first {
            self.over.get_or_insert("our CANCEL");
        }
        Ok(())
    }

    /// RFC 3261 §15: not from the UAS side before the ACK, or 64·T1.
    fn may_bye(&self, now: Mono) -> Verdict {
        let first = self.received.iter().find(|it| it.is_first);
        let Some((_, at, _)) = first.filter(|it| !it.acked).and_then(|it| it.outcome.as_ref())
        else {
            return Ok(());
        };
        check(now.since(*at) >= PATIENCE, || String::from("a BYE before the ACK"))
    }

    fn in_dialog(&mut self, message: &Glance) -> Verdict {
        let tag = message.to_tag.as_ref().ok_or("no To tag in a dialog")?;
        self.has_routes(message)?;
        let dialog = self.dialogs.entry(tag.clone()).or_default();
        let last = std::mem::replace(&mut dialog.cseq, message.cseq);
        check(last < message.cseq, || format!("number {} after {last}", message.cseq))
    }

    /// Every request in a dialog carries its route set (spec/sip D1).
    fn has_routes(&self, message: &Glance) -> Verdict {
        let dialog = message.to_tag.as_ref().and_then(|tag| self.dialogs.get(tag));
        let dialog = dialog.ok_or("a request in no dialog")?;
        check(message.routes == dialog.routes, || {
            format!("routes {:?}, not {:?}", message.routes, dialog.routes)
        })
    }

    fn why_over(&self, tag: Option<&Bytes>) -> Option<&'static str> {
        let ended = tag.and_then(|tag| self.dialogs.get(tag)).is_some_and(|dialog| dialog.ended);
        self.over.or_else(|| ended.then_some("the BYE"))
    }

    fn end_dialog(&mut self, tag: Option<&Bytes>) {
        if let Some(tag) = tag {
            self.dialogs.entry(tag.clone()).or_default().ended = true;
        }
    }

    fn at_rest(&self) -> Verdict {
        for received in &self.received {
            let method = received.method;
            check(method != Method::Invite || received.outcome.is_some(), || {
                format!("INVITE {} has no final response", received.message.cseq)
            })?;
        }
        for sent in &self.sent {
            check(sent.held.is_empty(), || String::from("a success was never acknowledged"))?;
        }
        for (tag, dialog) in &self.dialogs {
            check(!dialog.answered || dialog.ended || self.forgotten, || {
                format!("the dialog with {} has no BYE", show(tag))
            })?;
        }
        Ok(())
    }
}

impl Sent {
    /// Whether the client transaction is still there: timers B, D and M, and a CANCEL that nobody
    /// heeds.
    fn waits_at(&self, now: Mono) -> bool {
        let since = match (self.outcome, self.cancelled_at) {
            (Some((_, at)), _) => at,
            (None, Some(at)) => at,
            (None, None) if self.provisional => return true,
            (None, None) => self.at,
        };
        now.since(since) + SLACK < PATIENCE
    }
}

impl Received {
    /// RFC 3261 §8.2.6.2, §12.1.1.
    fn mirrors(&self, status: u16, response: &Glance) -> Verdict {
        let request = &self.message;
        check(response.from == request.from, || String::from("another From"))?;
        check(response.cseq == request.cseq, || String::from("another CSeq"))?;
        check(response.to.starts_with(&request.to), || String::from("another To"))?;
        check(response.vias.len() == request.vias.len(), || String::from("other Vias"))?;
        check(status == 100 || response.to_tag.is_some(), || String::from("no To tag"))?;
        if self.method == Method::Invite && (200..300).contains(&status) {
            check(response.contact.is_some(), || String::from("no Contact"))?;
        }
        if self.is_first && (101..300).contains(&status) {
            check(response.record_routes == request.record_routes, || {
                String::from("other Record-Routes")
            })?;
        }
        Ok(())
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}
