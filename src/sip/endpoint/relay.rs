//! Requests within a call that one party means for the other: re-INVITE, UPDATE, INFO, MESSAGE.
//!
//! A request is passed on as a new one of the other leg's dialog, and its response comes back the
//! same way. The call hears only of what ends it.

use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, TransactionKey};
use crate::sip::leg::confirmation::Confirmation;
use crate::sip::leg::event::Body;
use crate::sip::leg::{HeldAck, LegState, Reinvite};
use crate::sip::message::{HeaderName, Method, Request, Response, Writer};
use crate::sip::trunk::failure::relayed;
use crate::time::Mono;

use super::caller::is_session;
use super::requests::body_of;
use super::wire::{ALLOW, Machine, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

/// How long a party may think about an offer after it said that it is there.
const REINVITE_PATIENCE: Duration = Duration::from_secs(60);

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
        if !entry.both_answered() {
            // Before the answer there is nothing to change, and nobody to inform (RFC 3311 §5.2).
            let status = if negotiates { 491 } else { 480 };
            self.wire.reply(request, flow, status, now);
            return;
        }
        if negotiates && let Some(status) = entry.glare(side) {
            let more = |writer: &mut Writer| {
                if status == 500 {
                    writer.header_number(HeaderName::RetryAfter, 1);
                }
            };
            self.wire.reply_with(request, flow, status, more, now);
            return;
        }
        if negotiates && !is_session(&request) {
            let more = |writer: &mut Writer| writer.header(HeaderName::Accept, b"application/sdp");
            self.wire.reply_with(request, flow, 415, more, now);
            return;
        }
        if method == Method::Invite {
            entry.relay_invite(call, side, request, flow, &mut self.wire, now);
        } else {
            entry.relay_other(call, side, request, flow, &mut self.wire, now);
        }
        self.settle(call);
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
        let is_invite = response.cseq().method() == Method::Invite;
        let Some(entry) = self.calls.get_mut(call) else { return };
        self.current = Some(call);
        if is_invite && status >= 200 {
            entry.reinvite_done(side, transaction, response, &mut self.wire);
        } else if (200..300).contains(&status)
            && let Some(dialog) = entry.leg(side).and_then(|leg| leg.dialog.as_mut())
        {
            dialog.refresh_target(response);
        }
        let shown = if status < 300 { status } else { relayed(status) };
        entry.relay_response(side.other(), answer, shown, body_of(response), &mut self.wire, now);
        if matches!(status, 481 | 408) {
            self.lost(call, side, Reason::DialogLost, now);
        } else {
            self.settle(call);
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
        entry.relay_response(side.other(), answer, 408, None, &mut self.wire, now);
        self.lost(call, side, Reason::PeerUnreachable, now);
    }
}

impl CallEntry {
    /// Whether a new offer on `side` crosses one in progress, and what it is answered: 500 if the
    /// same party overlaps itself, 491 if the other one, or we, negotiate (RFC 3261 §14.2).
    fn glare(&mut self, side: Side) -> Option<u16> {
        let unconfirmed = |leg: &crate::sip::leg::Leg| leg.confirmation.is_some();
        let own = self.leg(side)?;
        match own.reinvite {
            Some(Reinvite::Theirs(_)) => return Some(500),
            Some(Reinvite::Ours(_)) => return Some(491),
            None if unconfirmed(own) => return Some(491),
            None => {}
        }
        let other = self.leg(side.other())?;
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
        let body = body_of(&request);
        let carried: Vec<(HeaderName, Bytes)> = CARRIED
            .iter()
            .filter_map(|name| Some((*name, Bytes::copy_from_slice(request.line(*name)?))))
            .collect();
        let answer = wire.accept(request, flow, now);
        let to = side.other();
        let Some(leg) = self.leg(to) else { return };
        let Some(dialog) = &mut leg.dialog else { return };
        let contact = wire.contact(dialog.flow());
        let address = wire.settings.listener(dialog.flow().listener).map(|it| it.address);
        let body = leg.sdp.rewrite_any(body, address);
        let more = |writer: &mut Writer| {
            if method == Method::Update {
                writer.header(HeaderName::Contact, &contact);
            }
            for (name, value) in &carried {
                writer.header(*name, value);
            }
        };
        let owner = Owner::Relay { call, side: to, answer };
        wire.request(dialog, method, owner, more, body.as_ref(), now);
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
        let offer = body_of(&request);
        let key = wire.keys.of(&request, Method::Invite, request.method_bytes());
        let owner = Owner::Reinvite { call, side };
        let answer = wire.accept_invite(request, flow, owner, [Some(key), None], now);
        if let Some(leg) = self.leg(side) {
            leg.reinvite = Some(Reinvite::Theirs(answer));
        }
        let to = side.other();
        let Some(leg) = self.leg(to) else { return };
        let has_offer = offer.is_some();
        let Some(dialog) = &mut leg.dialog else { return };
        let flow = wire.settings.reach(dialog.flow()).unwrap_or_else(|| dialog.flow());
        let contact = wire.contact(flow);
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let offer = leg.sdp.rewrite_any(offer, address);
        leg.offered = has_offer;
        let write = |writer: &mut Writer, via: Bytes| {
            dialog.begin_request(Method::Invite.name().as_bytes(), &via, writer);
            writer.header(HeaderName::Contact, &contact);
            writer.header(HeaderName::Allow, ALLOW);
            let request = match &offer {
                Some(body) => writer.finish_with(&body.content_type, &body.bytes),
                None => writer.finish(),
            };
            (dialog.invite_head(via), request)
        };
        let ours = wire.invite(flow, Owner::Relay { call, side: to, answer }, write, now);
        leg.reinvite = Some(Reinvite::Ours(ours));
        leg.reinvite_until = Some(now + REINVITE_PATIENCE);
    }

    /// Our re-INVITE on `side` has its final response.
    fn reinvite_done(
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
        if status < 300
            && matches!(request.method(), Method::Invite | Method::Update)
            && let Some(dialog) = self.leg(side).and_then(|leg| leg.dialog.as_mut())
        {
            dialog.refresh_target(request);
        }
        let contact = wire.contact(flow);
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let Some(leg) = self.leg(side) else { return };
        let body = leg.sdp.rewrite_any(body, address);
        let more = |writer: &mut Writer, request: &Request| {
            let method = request.method();
            if status < 300 && matches!(method, Method::Invite | Method::Update) {
                writer.header(HeaderName::Contact, &contact);
                writer.header(HeaderName::Allow, ALLOW);
            }
        };
        let message = wire.respond(answer, status, None, more, body.as_ref(), now);
        if !is_invite || status < 200 {
            return;
        }
        if status >= 300 {
            leg.reinvite = None;
        }
        if let Some(ok) = message.filter(|_| status < 300) {
            let timers = wire.settings.timers;
            leg.confirmation = Some(Box::new(Confirmation::new(cseq, ok, flow, timers, now)));
        }
    }
}
