//! Session timers (RFC 4028) of both legs: refreshes of ours, answers to those of the peer, and
//! the end of a session that nobody refreshed. One leg's refresh never reaches the other, so media
//! is not touched by it (spec/sip D12, D14).

use std::time::Duration;

use crate::reason::Reason;
use crate::sip::dialog::is_secure;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, LegNumber, TransactionKey};
use crate::sip::leg::confirmation::Confirmation;
use crate::sip::leg::event::Body;
use crate::sip::leg::offer_answer::digest;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::leg::session_timer::{Due, Session, SessionTimer, Terms, TooShort};
use crate::sip::leg::{LegState, Reinvite};
use crate::sip::message::{HeaderName, Headers, Method, Request, Response, Writer};
use crate::time::Mono;

use super::relay::REINVITE_PATIENCE;
use super::requests::body_of;
use super::wire::{ALLOW, Asked, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

/// When a refresh is tried again that could not be sent because something else is under way.
const BUSY: Duration = Duration::from_secs(1);
/// When a refresh is tried again that was refused for another reason than glare.
const REFUSED: Duration = Duration::from_secs(5);

impl Endpoint {
    /// The session timer of a leg may be due.
    pub(super) fn session_timeout(&mut self, key: CallKey, side: Side, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        let due = leg.session.as_mut().and_then(|session| session.timer.handle_timeout(now));
        match due {
            Some(Due::Refresh) => entry.refresh(key, side, &mut self.wire, now),
            Some(Due::Expired) => self.lost(key, side, Reason::SessionExpired, now),
            None => {}
        }
    }

    /// The peer answered our refresh.
    pub(super) fn refreshed(
        &mut self,
        call: CallKey,
        side: Side,
        transaction: TransactionKey,
        response: &Response,
        now: Mono,
    ) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(entry) = self.calls.get_mut(call) else { return };
        let method = response.cseq().method();
        if method == Method::Invite {
            entry.reinvite_done(side, transaction, response, &mut self.wire);
        }
        if matches!(status, 408 | 481) {
            self.lost(call, side, Reason::DialogLost, now);
            return;
        }
        if entry.leg(side).is_some_and(|leg| leg.state == LegState::Answered) {
            entry.refresh_answered(call, side, method, response, &mut self.wire, now);
        }
        self.settle(call, now);
    }

    /// The peer answered our re-INVITE with the other party's new description. A refusal changes
    /// nothing: the old one stays in force on this leg.
    pub(super) fn moved(
        &mut self,
        call: CallKey,
        side: Side,
        transaction: TransactionKey,
        response: &Response,
        now: Mono,
    ) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(entry) = self.calls.get_mut(call) else { return };
        entry.reinvite_done(side, transaction, response, &mut self.wire);
        if matches!(status, 408 | 481) {
            self.lost(call, side, Reason::DialogLost, now);
            return;
        }
        if (200..300).contains(&status) {
            entry.took_effect(side, response, &self.wire, now);
        }
        self.settle(call, now);
    }

    /// RFC 4028 §10: a refresh that nobody answers ends the session.
    pub(super) fn refresh_timed_out(
        &mut self,
        call: CallKey,
        side: Side,
        transaction: TransactionKey,
        now: Mono,
    ) {
        let leg = self.calls.get_mut(call).and_then(|entry| entry.leg(side));
        if let Some(leg) = leg
            && leg.reinvite == Some(Reinvite::Ours(transaction))
        {
            leg.reinvite = None;
            leg.reinvite_until = None;
        }
        self.lost(call, side, Reason::PeerUnreachable, now);
    }
}

impl CallEntry {
    pub(super) fn policy_of(&self, leg: LegNumber) -> LegPolicy {
        match leg {
            0 => self.onward.policy,
            attempt => self.call.attempt(attempt).map(|it| it.dialog).unwrap_or_default(),
        }
    }

    /// What the peer's request asks of the session timer of its leg.
    pub(super) fn session_asked(
        &mut self,
        side: Side,
        request: &Headers,
    ) -> Result<Option<Terms>, TooShort> {
        let Some(leg) = self.leg(side) else { return Ok(None) };
        if leg.session.is_none() && !request.has(HeaderName::SessionExpires) {
            // A timer that nobody wanted when the leg was opened is not begun unasked.
            return Ok(None);
        }
        let (number, session) = (leg.number, leg.session.as_ref().map(|it| it.timer.clone()));
        self.policy_of(number).session.answer(request, session.as_ref())
    }

    /// The session of a leg was opened or refreshed on these terms; `None` ends its timer.
    pub(super) fn agree(&mut self, side: Side, terms: Option<Terms>, wire: &Wire, now: Mono) {
        let every = wire.settings.probe_interval;
        let Some(number) = self.leg(side).map(|leg| leg.number) else { return };
        let policy = self.policy_of(number).session;
        let Some(leg) = self.leg(side) else { return };
        match (terms, &mut leg.session) {
            (Some(terms), Some(session)) => session.timer.renew(terms, now),
            (Some(terms), None) => {
                let mut timer = SessionTimer::new(terms, policy, now);
                timer.peer_wants_at_least(leg.min_se_s);
                leg.session = Some(Box::new(Session { timer, sent: None, heard: None }));
                // The timer finds out what a probe would.
                leg.probe_at = None;
            }
            (None, Some(_)) => {
                leg.session = None;
                leg.probe_at = every.map(|every| now + every);
            }
            (None, None) => {}
        }
    }

    /// Descriptions that came into force on a leg with a session timer.
    pub(super) fn describe(&mut self, side: Side, sent: Option<Body>, heard: Option<u64>) {
        if let Some(session) = self.leg(side).and_then(|leg| leg.session.as_mut()) {
            session.sent = sent.or_else(|| session.sent.take());
            session.heard = heard.or(session.heard);
        }
    }

    /// Whether a re-INVITE or UPDATE changes nothing and so does not concern the other leg: it
    /// describes no session, or on a leg with a session timer the one that is in force.
    pub(super) fn repeats(&mut self, side: Side, request: &Request) -> bool {
        if request.body().is_empty() {
            // An INVITE without an offer asks for one, and for an answer.
            return request.method() == Method::Update;
        }
        let Some(session) = self.leg(side).and_then(|leg| leg.session.as_ref()) else {
            return false;
        };
        let heard = digest(body_of(request).as_ref());
        session.sent.is_some() && heard.is_some() && session.heard == heard
    }

    /// Answers a re-INVITE or UPDATE that changes nothing.
    pub(super) fn answer_refresh(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) {
        let is_invite = request.method() == Method::Invite;
        let cseq = request.cseq().number;
        let Some(leg) = self.leg(side) else { return };
        let has_timer = leg.state == LegState::Answered;
        let described = leg.session.as_ref().and_then(|session| session.sent.clone());
        let described = described.filter(|_| !request.body().is_empty());
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let body = leg.sdp.rewrite_any(described, address);
        if let Some(dialog) = leg.dialog_of(&request) {
            dialog.refresh_target(&request);
        }
        let terms = if has_timer { self.session_answer(side, &request) } else { None };
        let secure = is_secure(request.uri());
        let answer = if is_invite {
            let key = wire.keys.of(&request, Method::Invite, request.method_bytes());
            let owner = Owner::Reinvite { call, side };
            wire.accept_invite(request, flow, owner, [Some(key), None], now)
        } else {
            wire.accept(request, flow, now)
        };
        let flow = wire.transactions.get(answer).map_or(flow, |entry| entry.flow);
        let contact = wire.contact(flow, secure);
        let more = |writer: &mut Writer, _: &Request| {
            writer.header(HeaderName::Contact, &contact);
            writer.header(HeaderName::Allow, ALLOW);
            if let Some(terms) = terms {
                terms.write_answer(writer);
            }
        };
        let ok = wire.respond(answer, 200, None, more, body.as_ref(), now);
        if has_timer {
            self.agree(side, terms, wire, now);
        }
        if let Some(ok) = ok.filter(|_| is_invite)
            && let Some(leg) = self.leg(side)
        {
            leg.reinvite = Some(Reinvite::Theirs(answer));
            let timers = wire.paces.timers_for(flow);
            let confirmation = Confirmation::new(cseq, ok, flow, timers, now);
            leg.confirmation = Some(Box::new(confirmation));
        }
    }

    /// Like [`CallEntry::session_asked`] of a request that is going to succeed.
    pub(super) fn session_answer(&mut self, side: Side, request: &Headers) -> Option<Terms> {
        let min_s = request.min_se().ok().flatten();
        if let (Some(min_s), Some(session)) =
            (min_s, self.leg(side).and_then(|leg| leg.session.as_mut()))
        {
            session.timer.peer_wants_at_least(min_s);
        }
        self.session_asked(side, request).ok().flatten()
    }

    /// Sends a refresh: an UPDATE without a description if the peer takes it, else a re-INVITE
    /// with the description that is in force (RFC 4028 §7.4).
    fn refresh(&mut self, call: CallKey, side: Side, wire: &mut Wire, now: Mono) {
        let Some(leg) = self.leg(side) else { return };
        if leg.state != LegState::Answered {
            return;
        }
        let busy = leg.confirmation.is_some() || leg.held_ack.is_some() || leg.reinvite.is_some();
        let (Some(dialog), Some(session)) = (&mut leg.dialog, &mut leg.session) else { return };
        if busy {
            session.timer.retry(now + BUSY);
            return;
        }
        let owner = Owner::Leg { call, leg: leg.number, asked: Asked::Refresh };
        if leg.takes_update {
            let contact = wire.contact(dialog.flow(), dialog.is_secure());
            let more = |writer: &mut Writer| {
                writer.header(HeaderName::Contact, &contact);
                session.timer.write_request(writer);
            };
            wire.request(dialog, Method::Update, owner, more, None, now);
        } else {
            let description = session.sent.clone();
            self.send_reinvite(side, description, owner, REINVITE_PATIENCE, wire, now);
            if let Some(leg) = self.leg(side) {
                // Without a description there is none to answer either.
                leg.offered = true;
            }
        }
    }

    fn refresh_answered(
        &mut self,
        call: CallKey,
        side: Side,
        method: Method,
        response: &Response,
        wire: &mut Wire,
        now: Mono,
    ) {
        let status = response.status();
        let Some(leg) = self.leg(side) else { return };
        let Some(session) = &mut leg.session else { return };
        if (200..300).contains(&status) {
            if method == Method::Update
                && let Some(dialog) = &mut leg.dialog
            {
                dialog.refresh_target(response);
            }
            let described = body_of(response);
            let heard = digest(described.as_ref());
            let has_moved = heard.is_some() && session.heard.is_some() && session.heard != heard;
            self.took_effect(side, response, wire, now);
            if let Some(described) = described.filter(|_| has_moved) {
                self.tell_of_move(call, side.other(), described, wire, now);
            }
            return;
        }
        match status {
            422 => {
                if self.raise_interval(side, response) {
                    self.refresh(call, side, wire, now);
                } else {
                    self.retry_refresh(side, REFUSED, now);
                }
            }
            405 | 501 if method == Method::Update => {
                leg.takes_update = false;
                self.refresh(call, side, wire, now);
            }
            491 => {
                let wait = glare_wait(side, wire.ids.random());
                self.retry_refresh(side, wait, now);
            }
            _ => {
                let wait = response.retry_after().ok().flatten().unwrap_or(0).into();
                self.retry_refresh(side, REFUSED.max(Duration::from_secs(wait)), now);
            }
        }
    }

    /// The other party of `side` describes its session anew and did not ask: it gave another
    /// answer than before. `side` is offered it, and its answer goes no further.
    pub(super) fn tell_of_move(
        &mut self,
        call: CallKey,
        side: Side,
        description: Body,
        wire: &mut Wire,
        now: Mono,
    ) {
        let Some(leg) = self.leg(side) else { return };
        let busy = leg.reinvite.is_some() || leg.confirmation.is_some() || leg.held_ack.is_some();
        if leg.state != LegState::Answered || busy {
            // What is under way describes the session anyway.
            return;
        }
        let address = leg.dialog.as_ref().and_then(|it| wire.settings.listener(it.flow().listener));
        let sent = leg.sdp.rewrite_any(Some(description.clone()), address.map(|it| it.address));
        let owner = Owner::Leg { call, leg: leg.number, asked: Asked::Move };
        self.describe(side, sent, None);
        self.send_reinvite(side, Some(description), owner, REINVITE_PATIENCE, wire, now);
    }

    fn retry_refresh(&mut self, side: Side, wait: Duration, now: Mono) {
        if let Some(session) = self.leg(side).and_then(|leg| leg.session.as_mut()) {
            session.timer.retry(now + wait);
        }
    }

    /// A 422 to a request of ours: `true` if the same request may succeed with what it asks for.
    pub(super) fn raise_interval(&mut self, side: Side, response: &Response) -> bool {
        let wanted = response.min_se().ok().flatten();
        let session = self.leg(side).and_then(|leg| leg.session.as_mut());
        let (Some(wanted), Some(session)) = (wanted, session) else { return false };
        let is_news = session.timer.is_news(wanted);
        if is_news {
            session.timer.peer_wants_at_least(wanted);
        }
        is_news
    }
}

/// How long to wait after a 491: whoever made the Call-ID waits longer, so that the two do not
/// meet again (RFC 3261 §14.1). We made that of a target's leg.
fn glare_wait(side: Side, random: u64) -> Duration {
    let tens = match side {
        Side::Caller => random % 200,
        Side::Target => 210 + random % 190,
    };
    Duration::from_millis(10 * tens)
}
