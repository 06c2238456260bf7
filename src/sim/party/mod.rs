//! A carrier's caller or a target: a user agent that knows enough SIP for one call and shares no
//! code with the one under test.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::sip::message::Method;
use crate::time::Mono;
use bytes::Bytes;

use super::habits::Habits;
use super::moves::{Elsewhere, Notify};
use super::text::{self, Glance, Request};

mod answers;
mod refer;
mod reliable;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
pub(crate) const PATIENCE: Duration = Duration::from_secs(32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Caller,
    Target,
}

/// What a party wants.
#[derive(Debug)]
pub(crate) enum Act {
    Send(Bytes),
    /// Call [`Party::act`] with this, then.
    Later(Duration, Deed),
}

#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Repeat(u32),
    Invite,
    Cancel,
    HangUp,
    Acknowledge {
        cseq: u32,
    },
    /// Confirm a provisional response; one that offers something is answered.
    Prack {
        rseq: u32,
        answers: bool,
    },
    Say(Method),
    /// Tell what came of a REFER.
    Notify(Notify),
    /// Answer the INVITE that made the call.
    Step(u16),
    AnswerAgain,
    SecondAnswer,
    /// Answer a request within the call.
    Reply(Rc<Glance>, u16),
    Vanish,
}

#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) role: Role,
    pub(crate) call: usize,
    pub(crate) address: SocketAddr,
    pub(crate) call_id: String,
    pub(crate) tag: String,
    host: String,
    /// In every identifier this party makes: it must not be seen by the other side.
    name: String,
    habits: Habits,
    phase: Phase,
    gone: bool,
    /// The tag of the endpoint, and where it wants its requests.
    peer_tag: String,
    remote: String,
    remote_name: String,
    cseq: u32,
    branches: u32,
    /// The INVITE that made the call, as received (target).
    invite: Option<Rc<Glance>>,
    invites: Vec<SentInvite>,
    cancelled: bool,
    rang: bool,
    repeats: Vec<Repeat>,
    repeat_number: u32,
    /// Of the last reliable provisional response, sent (target) or heard (caller).
    rseq: Option<u32>,
    /// One of those that were sent had a description.
    described: bool,
    /// What was answered to what; a request that comes again gets it again.
    replies: Vec<(Bytes, Method, Option<Bytes>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No final response to the INVITE yet.
    Early,
    /// Answered, not acknowledged (target).
    Answered,
    Up,
    Over,
}

#[derive(Debug)]
struct SentInvite {
    cseq: u32,
    branch: String,
    uri: String,
    to: String,
    has_offer: bool,
    /// The ACK to the success, once it was sent.
    ack: Option<Bytes>,
    succeeded: bool,
}

#[derive(Debug)]
struct Repeat {
    number: u32,
    awaits: Awaits,
    message: Bytes,
    interval: Duration,
    until: Mono,
}

#[derive(Clone, Debug, PartialEq)]
enum Awaits {
    Response { cseq: u32, method: Method },
    Ack { cseq: u32, tag: String },
    Prack { rseq: u32 },
}

/// The Call-ID that the caller of a call uses.
pub(crate) fn call_id_of(call: usize, address: SocketAddr) -> String {
    format!("callid-aleg{call}@{address}")
}

/// Numbers that are given once in a world.
pub(crate) type Serials = u64;

impl Party {
    /// A caller that is about to send its INVITE to `number`.
    pub(crate) fn caller(
        call: usize,
        address: SocketAddr,
        number: &str,
        habits: Habits,
        out: &mut Vec<Act>,
    ) -> Self {
        let mut party = Self::new(Role::Caller, call, address, format!("aleg{call}"), habits);
        party.call_id = call_id_of(call, address);
        party.remote = format!("sip:{number}@203.0.113.1");
        party.remote_name = format!("<sip:{number}@203.0.113.1>");
        party.cseq = 100;
        out.push(Act::Later(Duration::ZERO, Deed::Invite));
        let Habits { cancel, vanish, forked_upstream, .. } = party.habits;
        if let Some(cancel) = cancel {
            out.push(Act::Later(cancel, Deed::Cancel));
        }
        if let Some(vanish) = vanish {
            out.push(Act::Later(vanish, Deed::Vanish));
        }
        if forked_upstream {
            out.push(Act::Later(Duration::from_millis(3), Deed::Invite));
        }
        party
    }

    /// A target that is about to get this INVITE: of this call, as this attempt, which was made at
    /// so many addresses before.
    pub(crate) fn target(
        (call, attempt, nth): (usize, u8, usize),
        address: SocketAddr,
        habits: Habits,
        invite: &Rc<Glance>,
    ) -> Self {
        let name = match nth {
            0 => format!("bleg{call}-{attempt}"),
            nth => format!("bleg{call}-{attempt}.{nth}"),
        };
        let mut party = Self::new(Role::Target, call, address, name, habits);
        party.call_id = text::show(&invite.call_id);
        party.peer_tag = text::show(&invite.from_tag);
        party.remote = invite.contact.as_deref().map(text::show).unwrap_or_default();
        party.remote_name = text::show(&invite.from);
        party.invite = Some(invite.clone());
        party
    }

    fn new(role: Role, call: usize, address: SocketAddr, name: String, habits: Habits) -> Self {
        Self {
            role,
            call,
            address,
            call_id: String::new(),
            tag: format!("tag-{name}"),
            host: address.to_string(),
            name,
            habits,
            phase: Phase::Early,
            gone: false,
            peer_tag: String::new(),
            remote: String::new(),
            remote_name: String::new(),
            cseq: 0,
            branches: 0,
            invite: None,
            invites: vec![],
            cancelled: false,
            rang: false,
            repeats: vec![],
            repeat_number: 0,
            rseq: None,
            described: false,
            replies: vec![],
        }
    }

    pub(crate) fn contact(&self) -> String {
        format!("sip:user-{}@{}", self.name, self.host)
    }

    /// The proxies that this side's messages have passed, nearest to the endpoint first.
    pub(crate) fn record_routes(&self) -> Vec<String> {
        (0..self.habits.proxies)
            .rev()
            .map(|n| format!("<sip:{};lr;cookie={}-{n}>", self.address, self.name))
            .collect()
    }

    pub(crate) fn hear(
        &mut self,
        message: &Rc<Glance>,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        if self.gone {
            return;
        }
        match message.start {
            text::Start::Response { status } => {
                self.hear_response(message, status, serials, now, out)
            }
            text::Start::Request { method, .. } => {
                self.hear_request(message, method, serials, now, out)
            }
        }
    }

    pub(crate) fn act(&mut self, deed: Deed, serials: &mut Serials, now: Mono, out: &mut Vec<Act>) {
        if self.gone {
            return;
        }
        match deed {
            Deed::Repeat(number) => self.repeat(number, now, out),
            Deed::Invite => self.send_invite(serials, now, out),
            Deed::Cancel => self.send_cancel(now, out),
            Deed::HangUp => self.hang_up(serials, now, out),
            Deed::Acknowledge { cseq } => self.acknowledge(cseq, serials, out),
            Deed::Prack { rseq, answers } => self.prack(rseq, answers, serials, now, out),
            Deed::Say(method) => self.say(method, serials, now, out),
            Deed::Notify(notify) => self.notify(notify, now, out),
            Deed::Step(status) => self.step(status, serials, now, out),
            Deed::AnswerAgain => self.answer_again(out),
            Deed::SecondAnswer => self.second_answer(serials, now, out),
            Deed::Reply(request, status) => self.reply(&request, status, serials, now, out),
            Deed::Vanish => self.gone = true,
        }
    }

    fn send_invite(&mut self, serials: &mut Serials, now: Mono, out: &mut Vec<Act>) {
        let is_copy = !self.invites.is_empty();
        let branch = self.new_branch();
        let offer = if self.habits.late_offer { String::new() } else { self.sdp(serials) };
        let message = self.request(Method::Invite, self.cseq, &branch, &offer);
        out.push(Act::Send(message.clone()));
        if is_copy {
            return;
        }
        self.keep_invite(branch, !offer.is_empty());
        self.keep(Awaits::Response { cseq: self.cseq, method: Method::Invite }, message, now, out);
    }

    fn keep_invite(&mut self, branch: String, has_offer: bool) {
        self.invites.push(SentInvite {
            cseq: self.cseq,
            branch,
            uri: self.remote.clone(),
            to: self.to(),
            has_offer,
            ack: None,
            succeeded: false,
        });
    }

    fn send_cancel(&mut self, now: Mono, out: &mut Vec<Act>) {
        if self.cancelled || self.phase != Phase::Early {
            return;
        }
        let Some(invite) = self.invites.first() else { return };
        self.cancelled = true;
        let message = Request {
            method: Method::Cancel,
            uri: &invite.uri,
            host: if self.habits.cancels_through_nat { "10.1.2.3:1024" } else { &self.host },
            branch: &invite.branch,
            from: &self.from(),
            to: &invite.to,
            call_id: &self.call_id,
            cseq: invite.cseq,
            contact: &self.contact(),
            record_routes: &[],
            more: "",
            body: "",
        }
        .write();
        let awaits = Awaits::Response { cseq: invite.cseq, method: Method::Cancel };
        out.push(Act::Send(message.clone()));
        self.keep(awaits, message, now, out);
    }

    fn hang_up(&mut self, serials: &mut Serials, now: Mono, out: &mut Vec<Act>) {
        let may = match self.role {
            // A caller may end an early dialog with BYE (RFC 3261 §15).
            Role::Caller => self.phase != Phase::Over && !self.peer_tag.is_empty(),
            Role::Target => self.phase == Phase::Up,
        };
        if may {
            self.say(Method::Bye, serials, now, out);
            self.phase = Phase::Over;
        }
    }

    /// A request within the call.
    fn say(&mut self, method: Method, serials: &mut Serials, now: Mono, out: &mut Vec<Act>) {
        if self.phase != Phase::Up && method != Method::Bye {
            return;
        }
        if method == Method::Invite && self.is_negotiating() {
            return;
        }
        self.cseq += 1;
        let branch = self.new_branch();
        let body = match method {
            // Every fourth offers nothing.
            Method::Invite if self.cseq.is_multiple_of(4) => String::new(),
            Method::Invite | Method::Update => self.sdp(serials),
            Method::Info => {
                *serials += 1;
                format!("Signal=5\r\nserial-{serials}\r\n")
            }
            _ => String::new(),
        };
        let message = self.request(method, self.cseq, &branch, &body);
        if method == Method::Invite {
            self.keep_invite(branch, !body.is_empty());
        }
        out.push(Act::Send(message.clone()));
        self.keep(Awaits::Response { cseq: self.cseq, method }, message, now, out);
    }

    fn is_negotiating(&self) -> bool {
        self.repeats.iter().any(|repeat| match &repeat.awaits {
            Awaits::Response { method, .. } => *method == Method::Invite,
            Awaits::Ack { .. } => true,
            Awaits::Prack { .. } => false,
        })
    }

    fn hear_response(
        &mut self,
        response: &Rc<Glance>,
        status: u16,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let (cseq, method) = (response.cseq, response.cseq_method);
        if status >= 200 || method == Method::Invite {
            self.repeats.retain(|it| it.awaits != Awaits::Response { cseq, method });
        }
        if method != Method::Invite {
            return;
        }
        let is_first =
            self.role == Role::Caller && self.invites.first().is_some_and(|it| it.cseq == cseq);
        let Some(invite) = self.invites.iter_mut().find(|it| it.cseq == cseq) else { return };
        if status >= 300 {
            if response.branch != invite.branch {
                return;
            }
            let ack = Request {
                method: Method::Ack,
                uri: &invite.uri.clone(),
                host: &self.host,
                branch: &invite.branch.clone(),
                from: &self.from(),
                to: &text::show(&response.to),
                call_id: &self.call_id,
                cseq,
                contact: &self.contact(),
                record_routes: &[],
                more: "",
                body: "",
            };
            out.push(Act::Send(ack.write()));
            if is_first {
                self.phase = Phase::Over;
            }
            return;
        }
        if is_first && status > 100 {
            self.peer_tag = response.to_tag.as_deref().map(text::show).unwrap_or_default();
            self.remote_name = text::show(&response.to);
            if let Some(contact) = &response.contact {
                self.remote = text::show(contact);
            }
        }
        if status < 200 {
            self.hear_reliable(response, out);
            if is_first && status > 100 && !std::mem::replace(&mut self.rang, true) {
                let habits = &self.habits;
                out.extend(habits.cancel_when_ringing.map(|at| Act::Later(at, Deed::Cancel)));
                out.extend(habits.bye_when_ringing.map(|at| Act::Later(at, Deed::HangUp)));
            }
            return;
        }
        let Some(invite) = self.invites.iter_mut().find(|it| it.cseq == cseq) else { return };
        if let Some(ack) = &invite.ack {
            out.push(Act::Send(ack.clone()));
            return;
        }
        if std::mem::replace(&mut invite.succeeded, true) {
            return;
        }
        if !is_first {
            self.acknowledge(cseq, serials, out);
            return;
        }
        if self.phase == Phase::Early {
            self.phase = Phase::Up;
            self.begin_talk(out);
        }
        match self.habits.ack {
            Some(wait) if wait.is_zero() => self.acknowledge(cseq, serials, out),
            Some(wait) => out.push(Act::Later(wait, Deed::Acknowledge { cseq })),
            None => {}
        }
        if self.cancelled {
            self.hang_up(serials, now, out);
        }
    }

    fn begin_talk(&self, out: &mut Vec<Act>) {
        for (at, method) in &self.habits.says {
            out.push(Act::Later(*at, Deed::Say(*method)));
        }
        if let Some(talk) = self.habits.talk {
            out.push(Act::Later(talk, Deed::HangUp));
        }
    }

    fn acknowledge(&mut self, cseq: u32, serials: &mut Serials, out: &mut Vec<Act>) {
        let branch = self.new_branch();
        let Some(at) = self.invites.iter().position(|it| it.cseq == cseq) else { return };
        let answer = if self.invites[at].has_offer { String::new() } else { self.sdp(serials) };
        let ack = self.request(Method::Ack, cseq, &branch, &answer);
        self.invites[at].ack = Some(ack.clone());
        out.push(Act::Send(ack));
    }

    /// Sends again until what it awaits has come.
    fn keep(&mut self, awaits: Awaits, message: Bytes, now: Mono, out: &mut Vec<Act>) {
        self.repeat_number += 1;
        let number = self.repeat_number;
        let until = now + PATIENCE;
        self.repeats.push(Repeat { number, awaits, message, interval: T1, until });
        out.push(Act::Later(T1, Deed::Repeat(number)));
    }

    fn repeat(&mut self, number: u32, now: Mono, out: &mut Vec<Act>) {
        let Some(at) = self.repeats.iter().position(|it| it.number == number) else { return };
        if now >= self.repeats[at].until {
            self.repeats.remove(at);
            return;
        }
        let repeat = &mut self.repeats[at];
        repeat.interval = match repeat.awaits {
            Awaits::Response { method: Method::Invite, .. } => repeat.interval * 2,
            Awaits::Prack { .. } => repeat.interval * 2,
            Awaits::Response { .. } | Awaits::Ack { .. } => (repeat.interval * 2).min(T2),
        };
        out.push(Act::Send(repeat.message.clone()));
        out.push(Act::Later(repeat.interval, Deed::Repeat(number)));
    }

    fn new_branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK-{}-{}", self.name, self.branches)
    }

    fn sdp(&self, serials: &mut Serials) -> String {
        *serials += 1;
        text::sdp(&self.name, *serials)
    }

    fn from(&self) -> String {
        match &self.invite {
            Some(invite) => format!("{};tag={}", text::show(&invite.to), self.tag),
            None => format!("\"Jane\" <sip:+12125550111@{}>;tag={}", self.host, self.tag),
        }
    }

    fn to(&self) -> String {
        self.remote_name.clone()
    }

    fn request(&self, method: Method, cseq: u32, branch: &str, body: &str) -> Bytes {
        let is_first = self.role == Role::Caller && method == Method::Invite && cseq == 100;
        let record_routes = if is_first { self.record_routes() } else { vec![] };
        let Habits { reliable, insists_on_reliable, session, referral, .. } = &self.habits;
        let allow = referral.allow;
        let more = match (is_first, reliable, insists_on_reliable) {
            (true, Some(_), true) => format!("Require: 100rel\r\n{session}{allow}"),
            (true, Some(_), false) => format!("Supported: 100rel\r\n{session}{allow}"),
            (true, None, _) => format!("{session}{allow}"),
            (false, ..) => String::new(),
        };
        self.request_with(method, cseq, branch, &record_routes, &more, body)
    }

    fn request_with(
        &self,
        method: Method,
        cseq: u32,
        branch: &str,
        record_routes: &[String],
        more: &str,
        body: &str,
    ) -> Bytes {
        Request {
            method,
            uri: &self.remote,
            host: &self.host,
            branch,
            from: &self.from(),
            to: &self.to(),
            call_id: &self.call_id,
            cseq,
            contact: &self.contact(),
            record_routes,
            more,
            body,
        }
        .write()
    }

    fn response(&self, request: &Glance, status: u16, tag: &str, body: &str) -> Bytes {
        let is_first = self.invite.as_ref().is_some_and(|it| it.branch == request.branch);
        let is_timed = is_first && (200..300).contains(&status);
        let is_timed = is_timed && request.supported.iter().any(|option| option == "timer");
        let more = match status {
            300..400 if is_first => {
                let own = text::show(&request.uri());
                Elsewhere::lines(&self.habits.elsewhere, self.call, &self.host, &own)
            }
            _ if is_timed => self.habits.session.to_owned(),
            _ => String::new(),
        };
        self.response_with(request, status, tag, &more, body)
    }

    fn response_with(
        &self,
        request: &Glance,
        status: u16,
        tag: &str,
        more: &str,
        body: &str,
    ) -> Bytes {
        let is_first = self.invite.as_ref().is_some_and(|it| it.branch == request.branch);
        let record_routes = if is_first && status > 100 { self.record_routes() } else { vec![] };
        text::respond(request, status, tag, &self.contact(), &record_routes, more, body)
    }
}
