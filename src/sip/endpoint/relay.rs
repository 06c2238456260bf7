//! Requests within a call that one party means for the other: re-INVITE, UPDATE, INFO, MESSAGE.
//!
//! A request is passed on as a new one of the other leg's dialog, and its response comes back the
//! same way. The call hears only of what ends it.

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, TransactionKey};
use crate::sip::leg::confirmation::Confirmation;
use crate::sip::leg::event::Body;
use crate::sip::leg::{HeldAck, Reinvite};
use crate::sip::message::{HeaderName, Method, Request, Response, Writer};
use crate::time::Mono;

use super::requests::body_of;
use super::wire::{ALLOW, Machine, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

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
        if negotiates && let Some(dialog) = entry.leg(side).and_then(|leg| leg.dialog.as_mut()) {
            dialog.refresh_target(&request);
        }
        match method {
            Method::Invite => entry.relay_invite(call, side, request, flow, &mut self.wire, now),
            _ => entry.relay_other(call, side, request, flow, &mut self.wire, now),
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
        let Some(entry) = self.calls.get_mut(call) else {
            if is_invite && (200..300).contains(&status) {
                self.acknowledge_orphan(transaction, response);
            }
            return;
        };
        self.current = Some(call);
        if is_invite && status >= 200 {
            entry.reinvite_done(side, transaction, response, &mut self.wire);
        } else if status >= 200
            && status < 300
            && let Some(dialog) = entry.leg(side).and_then(|leg| leg.dialog.as_mut())
        {
            dialog.refresh_target(response);
        }
        entry.relay_response(side.other(), answer, status, body_of(response), &mut self.wire, now);
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
        answer: TransactionKey,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        if let Some(leg) = entry.leg(side) {
            leg.reinvite = None;
        }
        entry.relay_response(side.other(), answer, 408, None, &mut self.wire, now);
        self.lost(call, side, Reason::PeerUnreachable, now);
    }

    /// A success to a re-INVITE of a call that is gone: acknowledged, and that is all.
    fn acknowledge_orphan(&mut self, transaction: TransactionKey, response: &Response) {
        let Some(flow) = self.wire.transactions.get(transaction).map(|entry| entry.flow) else {
            return;
        };
        if let Some(dialog) = crate::sip::dialog::Dialog::with_late_answer(response, flow) {
            self.wire.acknowledge(transaction, &dialog, response.cseq().number, None);
        }
    }
}

impl CallEntry {
    /// Whether a new offer on `side` crosses one in progress, and what it is answered: 500 if the
    /// same party overlaps itself, 491 if the other one, or we, negotiate (RFC 3261 §14.2).
    fn glare(&mut self, side: Side) -> Option<u16> {
        let unconfirmed = |leg: &crate::sip::leg::Leg| leg.confirmation.is_some();
        let own = self.leg(side)?;
        if own.reinvite == Some(Reinvite::Theirs) {
            return Some(500);
        }
        if own.reinvite == Some(Reinvite::Ours) || unconfirmed(own) {
            return Some(491);
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
        let body = match (body, address) {
            (Some(body), Some(address)) => Some(leg.sdp.rewrite(body, address)),
            (body, _) => body,
        };
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
        let answer = wire.accept_invite(request, flow, Owner::Nobody, [Some(key), None], now);
        if let Some(leg) = self.leg(side) {
            leg.reinvite = Some(Reinvite::Theirs);
        }
        let to = side.other();
        let Some(leg) = self.leg(to) else { return };
        leg.reinvite = Some(Reinvite::Ours);
        let has_offer = offer.is_some();
        let Some(dialog) = &mut leg.dialog else { return };
        let flow = wire.settings.reach(dialog.flow()).unwrap_or_else(|| dialog.flow());
        let contact = wire.contact(flow);
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let offer = match (offer, address) {
            (Some(body), Some(address)) => Some(leg.sdp.rewrite(body, address)),
            (body, _) => body,
        };
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
        wire.invite(flow, Owner::Relay { call, side: to, answer }, write, now);
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
        let offered = leg.offered;
        let Some(dialog) = &mut leg.dialog else { return };
        if !(200..300).contains(&response.status()) {
            return;
        }
        dialog.refresh_target(response);
        let cseq = response.cseq().number;
        if offered || response.body().is_empty() {
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
        let Some(cseq) = entry.request.as_ref().map(|it| it.request.cseq().number) else { return };
        let contact = wire.contact(flow);
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let Some(leg) = self.leg(side) else { return };
        let body = match (body, address) {
            (Some(body), Some(address)) => Some(leg.sdp.rewrite(body, address)),
            (body, _) => body,
        };
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
        leg.reinvite = None;
        if let Some(ok) = message.filter(|_| status < 300) {
            let timers = wire.settings.timers;
            leg.confirmation = Some(Box::new(Confirmation::new(cseq, ok, flow, timers, now)));
        }
    }
}
