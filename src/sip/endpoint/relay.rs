//! Requests within a call that one party means for the other: re-INVITE, UPDATE, INFO, MESSAGE.
//!
//! A request is passed on as a new one of the other leg's dialog, and its response comes back the
//! same way. The call hears only of what ends it.

use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::dialog::is_secure;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, TransactionKey};
use crate::sip::leg::confirmation::Confirmation;
use crate::sip::leg::event::Body;
use crate::sip::leg::offer_answer::digest;
use crate::sip::leg::session_timer::{Terms, TooShort};
use crate::sip::leg::{HeldAck, LegState, Reinvite, takes_update};
use crate::sip::message::{HeaderName, Method, Request, Response, Writer};
use crate::sip::trunk::failure::relayed;
use crate::time::Mono;

use super::requests::body_of;
use super::screening::screen_body;
use super::transfer::refer_along;
use super::wire::{ALLOW, Asked, Machine, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

/// How long a party may think about an offer after it said that it is there.
pub(super) const REINVITE_PATIENCE: Duration = Duration::from_secs(60);
/// The same if it was offered in an UPDATE, whose sender has less patience.
const UPDATE_PATIENCE: Duration = Duration::from_secs(20);

/// Header fields that a relayed request takes along.
const CARRIED: [HeaderName; 3] =
    [HeaderName::InfoPackage, HeaderName::ContentDisposition, HeaderName::Subject];

impl Endpoint {
    /// `request` arrived on `side` and fits its dialog.
    pub(super) fn relay(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let method = request.method();
        let negotiates = matches!(method, Method::Invite | Method::Update);
        if entry.call.is_ended() {
            self.wire.reply(request, flow, 481, now);
            return;
        }
        if negotiates {
            self.negotiate(call, side, request, flow, now);
        } else if entry.both_answered() {
            entry.relay_other(call, side, request, flow, &mut self.wire, now);
        } else {
            // Before the answer there is nobody to inform.
            self.wire.reply(request, flow, 480, now);
        }
        self.settle(call, now);
    }

    /// A re-INVITE or UPDATE: a refresh of its leg, or an offer for the other one.
    fn negotiate(&mut self, call: CallKey, side: Side, request: Request, flow: Flow, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let wire = &mut self.wire;
        if let Err(TooShort { min_s }) = entry.session_asked(side, &request) {
            let more =
                |writer: &mut Writer| writer.header_number(HeaderName::MinSe, u64::from(min_s));
            wire.reply_with(request, flow, 422, more, now);
            return;
        }
        let (is_update, repeats) =
            (request.method() == Method::Update, entry.repeats(side, &request));
        let asks_nothing = is_update && request.body().is_empty();
        if !asks_nothing && !entry.both_answered() {
            if is_update {
                entry.offer_early(call, side, request, flow, wire, now);
            } else {
                // An INVITE within the one that is not answered yet (RFC 3261 §14.2).
                wire.reply(request, flow, 491, now);
            }
            return;
        }
        if !asks_nothing && let Some(status) = entry.glare(side, repeats) {
            let more = |writer: &mut Writer| {
                if status == 500 {
                    writer.header_number(HeaderName::RetryAfter, 1);
                }
            };
            wire.reply_with(request, flow, status, more, now);
            return;
        }
        let Some(request) = screen_body(request, flow, wire, now) else { return };
        if request.has(HeaderName::Allow)
            && let Some(leg) = entry.leg(side)
        {
            leg.takes_update = takes_update(&request);
        }
        if repeats {
            entry.answer_refresh(call, side, request, flow, wire, now);
        } else if is_update {
            entry.relay_other(call, side, request, flow, wire, now);
        } else {
            entry.relay_invite(call, side, request, flow, wire, now);
        }
    }

    /// The other party answered what we passed on to `side`.
    pub(super) fn relayed_response(
        &mut self,
        call: CallKey,
        side: Side,
        transaction: TransactionKey,
        answer: TransactionKey,
        response: &Response,
        now: Mono,
    ) {
        let status = response.status();
        if status == 100 {
            return;
        }
        let method = response.cseq().method();
        let Some(entry) = self.calls.get_mut(call) else { return };
        self.current = Some(call);
        let is_early = entry.leg(side).is_some_and(|leg| leg.state == LegState::Early);
        if method == Method::Invite && status >= 200 {
            entry.reinvite_done(side, transaction, response, &mut self.wire);
        } else if (200..300).contains(&status)
            && let Some(dialog) = entry.leg(side).and_then(|leg| leg.dialog.as_mut())
        {
            dialog.refresh_target(response);
        }
        let again = match status {
            422 => entry.raise_interval(side, response).then_some(method),
            // What the peer said of itself was wrong.
            405 | 501 if method == Method::Update && !is_early => {
                entry.leg(side).map(|leg| leg.takes_update = false).map(|()| Method::Invite)
            }
            _ => None,
        };
        if let Some(method) = again {
            entry.forward(call, side, answer, method, &mut self.wire, now);
            self.settle(call, now);
            return;
        }
        if (200..300).contains(&status)
            && matches!(method, Method::Invite | Method::Update)
            && !is_early
        {
            entry.relayed_with_success(side, answer, response, &self.wire, now);
        }
        let shown = if status < 300 { status } else { relayed(status) };
        entry.relay_response(side.other(), answer, shown, body_of(response), &mut self.wire, now);
        if matches!(status, 481 | 408) && !is_early {
            self.lost(call, side, Reason::DialogLost, now);
        } else {
            self.settle(call, now);
        }
    }

    pub(super) fn relay_timed_out(
        &mut self,
        call: CallKey,
        side: Side,
        transaction: TransactionKey,
        answer: TransactionKey,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        if let Some(leg) = entry.leg(side)
            && leg.reinvite == Some(Reinvite::Ours(transaction))
        {
            leg.reinvite = None;
            leg.reinvite_until = None;
        }
        let is_early = entry.leg(side).is_some_and(|leg| leg.state == LegState::Early);
        entry.relay_response(side.other(), answer, 408, None, &mut self.wire, now);
        if is_early {
            // The INVITE will tell.
            return;
        }
        self.lost(call, side, Reason::PeerUnreachable, now);
    }
}

impl CallEntry {
    /// Whether a new offer on `side` crosses one in progress, and what it is answered: 500 if the
    /// same party overlaps itself, 491 if the other one, or we, negotiate (RFC 3261 §14.2). What
    /// is done on the other leg does not matter to an offer that `repeats` what is in force.
    fn glare(&mut self, side: Side, repeats: bool) -> Option<u16> {
        let unconfirmed = |leg: &crate::sip::leg::Leg| leg.confirmation.is_some();
        let own = self.leg(side)?;
        match own.reinvite {
            Some(Reinvite::Theirs(_)) => return Some(500),
            Some(Reinvite::Ours(_)) => return Some(491),
            None if unconfirmed(own) => return Some(491),
            None => {}
        }
        // The caller is about to be offered what its target answered, and would have that last.
        let is_offered = self.rare.as_ref().is_some_and(|rare| rare.connecting.is_some());
        if !repeats && (is_offered || self.call.is_to_connect()) {
            return Some(491);
        }
        let other = self.leg(side.other()).filter(|_| !repeats)?;
        (other.reinvite.is_some() || unconfirmed(other) || other.held_ack.is_some()).then_some(491)
    }

    fn relay_other(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) {
        let method = request.method();
        let answer = wire.accept(request, flow, now);
        self.forward(call, side.other(), answer, method, wire, now);
    }

    fn relay_invite(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) {
        let key = wire.keys.of(&request, Method::Invite, request.method_bytes());
        let owner = Owner::Reinvite { call, side };
        let answer = wire.accept_invite(request, flow, owner, [Some(key), None], now);
        if let Some(leg) = self.leg(side) {
            leg.reinvite = Some(Reinvite::Theirs(answer));
        }
        self.forward(call, side.other(), answer, Method::Invite, wire, now);
    }

    /// Passes the request that waits in `answer` on to `to`, as a request of this method. An
    /// UPDATE that the peer would not take becomes a re-INVITE (RFC 3311 §4).
    fn forward(
        &mut self,
        call: CallKey,
        to: Side,
        answer: TransactionKey,
        method: Method,
        wire: &mut Wire,
        now: Mono,
    ) {
        let referred = self.rare.as_ref().and_then(|rare| rare.relayed_refer);
        let Some(leg) = self.leg(to) else { return };
        let pending = wire.transactions.get(answer).and_then(|entry| entry.request.as_ref());
        let Some(request) = pending.map(|pending| &pending.request) else { return };
        let body = body_of(request);
        let owner = Owner::Leg { call, leg: leg.number, asked: Asked::Relay { answer } };
        let takes_it = method != Method::Update || leg.takes_update;
        if method == Method::Invite || !takes_it {
            let is_waited_for_long = request.method() == Method::Invite;
            let patience = if is_waited_for_long { REINVITE_PATIENCE } else { UPDATE_PATIENCE };
            self.send_reinvite(to, body, owner, patience, wire, now);
            return;
        }
        let mut carried: Vec<(HeaderName, Bytes)> = CARRIED
            .iter()
            .filter_map(|name| Some((*name, Bytes::copy_from_slice(request.line(*name)?))))
            .collect();
        let body = refer_along(request, referred, &mut carried, body);
        let Some(dialog) = &mut leg.dialog else { return };
        let contact = wire.contact(dialog.flow(), dialog.is_secure());
        let address = wire.settings.listener(dialog.flow().listener).map(|it| it.address);
        let body = leg.sdp.rewrite_any(body, address);
        let session = leg.session.as_deref();
        let more = |writer: &mut Writer| {
            if matches!(method, Method::Update | Method::Refer | Method::Notify) {
                writer.header(HeaderName::Contact, &contact);
            }
            if method == Method::Update
                && let Some(session) = session
            {
                session.timer.write_request(writer);
            }
            for (name, value) in &carried {
                writer.header(*name, value);
            }
        };
        wire.request(dialog, method, owner, more, body.as_ref(), now);
    }

    /// Sends a re-INVITE to `to`, which is given up after `patience`.
    pub(super) fn send_reinvite(
        &mut self,
        to: Side,
        offer: Option<Body>,
        owner: Owner,
        patience: Duration,
        wire: &mut Wire,
        now: Mono,
    ) {
        let Some(leg) = self.leg(to) else { return };
        let has_offer = offer.is_some();
        let Some(dialog) = &mut leg.dialog else { return };
        let session = leg.session.as_deref();
        let flow = wire.settings.reach(dialog.flow()).unwrap_or_else(|| dialog.flow());
        let contact = wire.contact(flow, dialog.is_secure());
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let offer = leg.sdp.rewrite_any(offer, address);
        let proofs = wire.proofs_in(dialog, Method::Invite);
        let write = |writer: &mut Writer, via: Bytes| {
            dialog.begin_request(Method::Invite.name().as_bytes(), &via, writer);
            writer.header(HeaderName::Contact, &contact);
            writer.header(HeaderName::Allow, ALLOW);
            for (name, proof) in &proofs {
                writer.header(*name, proof);
            }
            if let Some(session) = session {
                session.timer.write_request(writer);
            }
            let request = match &offer {
                Some(body) => writer.finish_with(&body.content_type, &body.bytes),
                None => writer.finish(),
            };
            (dialog.invite_head(via), request)
        };
        let ours = wire.invite(flow, owner, write, now);
        wire.challenges.entrust(ours, dialog.account());
        leg.offered = has_offer;
        leg.reinvite = Some(Reinvite::Ours(ours));
        leg.reinvite_until = Some(now + patience);
    }

    /// What we asked of `side` succeeded there: its session is refreshed on the terms returned, and
    /// what it describes is in force. `None`: it has no session timer, or is over.
    pub(super) fn took_effect(
        &mut self,
        side: Side,
        response: &Response,
        wire: &Wire,
        now: Mono,
    ) -> Option<Terms> {
        let leg = self.leg(side).filter(|leg| leg.state == LegState::Answered)?;
        if response.has(HeaderName::Allow) {
            leg.takes_update = takes_update(response);
        }
        let number = leg.number;
        let terms = self.policy_of(number).session.agreed(response);
        self.agree(side, terms, wire, now);
        self.describe(side, None, digest(body_of(response).as_ref()));
        terms
    }

    /// The same of what we passed on to `side`: what it was offered is in force, too.
    fn relayed_with_success(
        &mut self,
        side: Side,
        answer: TransactionKey,
        response: &Response,
        wire: &Wire,
        now: Mono,
    ) {
        if self.took_effect(side, response, wire, now).is_none() {
            return;
        }
        let pending = wire.transactions.get(answer).and_then(|entry| entry.request.as_ref());
        let offer = pending.and_then(|pending| body_of(&pending.request));
        let Some(leg) = self.leg(side) else { return };
        let flow = leg.dialog.as_ref().map(|dialog| dialog.flow());
        let address = flow.and_then(|flow| wire.settings.listener(flow.listener));
        let sent = leg.sdp.rewrite_any(offer, address.map(|it| it.address));
        self.describe(side, sent, None);
    }

    /// Our re-INVITE on `side` has its final response.
    pub(super) fn reinvite_done(
        &mut self,
        side: Side,
        transaction: TransactionKey,
        response: &Response,
        wire: &mut Wire,
    ) {
        let Some(leg) = self.leg(side) else { return };
        leg.reinvite = None;
        leg.reinvite_until = None;
        let (offered, ending) = (leg.offered, leg.state != LegState::Answered);
        let Some(dialog) = &mut leg.dialog else { return };
        if !(200..300).contains(&response.status()) {
            return;
        }
        dialog.refresh_target(response);
        let cseq = response.cseq().number;
        if offered || ending || response.body().is_empty() {
            wire.acknowledge(transaction, dialog, cseq, None);
        } else {
            leg.held_ack = Some(HeldAck { transaction, cseq });
        }
    }

    /// Passes a response back on `side`.
    fn relay_response(
        &mut self,
        side: Side,
        answer: TransactionKey,
        status: u16,
        body: Option<Body>,
        wire: &mut Wire,
        now: Mono,
    ) {
        let Some(entry) = wire.transactions.get(answer) else { return };
        let is_invite = matches!(entry.machine, Machine::InviteServer(_));
        let flow = entry.flow;
        let Some(pending) = &entry.request else { return };
        if status == 408 && !is_invite {
            // Its client has found out by itself (RFC 4320 §4.2).
            return;
        }
        let request = &pending.request;
        let cseq = request.cseq().number;
        let secure = is_secure(request.uri());
        if status < 200 && (!is_invite || request.has_option(HeaderName::Require, b"100rel")) {
            // Only what may be lost without harm, and is not our own invention, is passed back.
            return;
        }
        let negotiates = matches!(request.method(), Method::Invite | Method::Update);
        let mut terms = None;
        if status < 300
            && negotiates
            && let Some(leg) = self.leg(side)
        {
            if let Some(dialog) = leg.dialog_of(request) {
                dialog.refresh_target(request);
            }
            if status >= 200 && leg.state == LegState::Answered {
                terms = self.session_answer(side, request);
                self.agree(side, terms, wire, now);
            }
        }
        let heard = digest(body_of(request).as_ref()).filter(|_| terms.is_some());
        let contact = wire.contact(flow, secure);
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let Some(leg) = self.leg(side) else { return };
        let body = leg.sdp.rewrite_any(body, address);
        let more = |writer: &mut Writer, request: &Request| {
            let method = request.method();
            if status < 300 && matches!(method, Method::Invite | Method::Update) {
                writer.header(HeaderName::Contact, &contact);
                writer.header(HeaderName::Allow, ALLOW);
            }
            if let Some(terms) = terms {
                terms.write_answer(writer);
            }
        };
        let message = wire.respond(answer, status, None, more, body.as_ref(), now);
        if terms.is_some() {
            self.describe(side, body, heard);
        }
        if !is_invite || status < 200 {
            return;
        }
        let Some(leg) = self.leg(side) else { return };
        if status >= 300 {
            leg.reinvite = None;
        }
        if let Some(ok) = message.filter(|_| status < 300) {
            let timers = wire.paces.timers_for(flow);
            leg.confirmation = Some(Box::new(Confirmation::new(cseq, ok, flow, timers, now)));
        }
    }
}
