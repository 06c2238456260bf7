//! Reliable provisional responses (RFC 3262) on either leg, whatever the other leg does, and
//! UPDATE before the answer (RFC 3311).
//!
//! ```text
//! target 18x + RSeq ─► early dialog, PRACK ─► Progress ─► caller 18x + RSeq of ours ─► its PRACK
//! ```
//!
//! The two sides meet in two cases only: the caller sent no offer, so the offer in the target's
//! response is answered by the caller's PRACK and then by ours; and a PRACK or UPDATE that offers
//! something new is passed on as an UPDATE, if both legs are so far.

use crate::reason::Reason;
use crate::sip::flow::Flow;
use crate::sip::ids::CallKey;
use crate::sip::leg::confirmation::Overdue;
use crate::sip::leg::early::{EarlyDialogs, Heard};
use crate::sip::leg::event::{Body, LegEvent};
use crate::sip::leg::provisional::{Provisional, Provisionals};
use crate::sip::leg::{LegState, Reliable, takes_update};
use crate::sip::message::{HeaderName, Headers, Method, Request, Response, Writer};
use crate::sip::trunk::profile::Support;
use crate::time::Mono;

use super::requests::body_of;
use super::screening::screen_body;
use super::target::early_dialog;
use super::wire::{Asked, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

impl Endpoint {
    /// `request` is a PRACK on `side` that fits its dialog.
    pub(super) fn prack(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let Ok(Some(rack)) = request.rack() else {
            self.wire.reply(request, flow, 400, now);
            return;
        };
        let Some(leg) = entry.leg(side) else { return };
        let cseq = leg.invite_cseq;
        let known = leg.provisionals_mut().and_then(|it| it.acknowledge(&rack, cseq));
        let Some(acknowledged) = known else {
            self.wire.reply(request, flow, 481, now);
            return;
        };
        let offered_by_us = entry.onward.offer.is_none() && acknowledged.has_body;
        if request.body().is_empty() || offered_by_us {
            let answer = body_of(&request);
            self.wire.reply(request, flow, 200, now);
            if offered_by_us {
                entry.release_prack(answer, &mut self.wire, now);
            }
        } else {
            entry.offer_early(call, side, request, flow, &mut self.wire, now);
        }
        entry.go_on_after_prack(&mut self.wire, now);
        self.settle(call, now);
    }

    /// Repeats a provisional response, or gives the call up that nobody confirms (RFC 3262 §3).
    /// `true` if it did the latter.
    pub(super) fn provisional_timeout(&mut self, key: CallKey, side: Side, now: Mono) -> bool {
        let Some(leg) = self.calls.get_mut(key).and_then(|entry| entry.leg(side)) else {
            return false;
        };
        let Some(provisionals) = leg.provisionals_mut() else { return false };
        match provisionals.handle_timeout(now) {
            Some(Overdue::Resend) => {
                if let Some((flow, message)) = provisionals.unacknowledged() {
                    self.wire.resend(flow, message);
                }
                false
            }
            Some(Overdue::GiveUp) => {
                let lost = LegEvent::Lost { reason: Reason::PrackMissing };
                self.drive(key, side.event(lost), now);
                true
            }
            None => false,
        }
    }
}

impl CallEntry {
    /// Whether provisional responses to the caller are reliable.
    pub(super) fn is_reliable_to_caller(&self, wire: &Wire) -> bool {
        if self.caller.reliable.is_some() {
            return true;
        }
        let pending = wire.transactions.get(self.caller.invite).and_then(|it| it.request.as_ref());
        pending.is_some_and(|pending| match self.onward.policy.reliable {
            Some(Support::No) => false,
            Some(Support::Supported | Support::Required) => offers_reliability(&pending.request),
            None => pending.request.has_option(HeaderName::Require, b"100rel"),
        })
    }

    /// Sends a provisional response to the caller that its PRACK confirms, now or in its turn.
    pub(super) fn progress_reliably(
        &mut self,
        provisional: Provisional,
        wire: &mut Wire,
        now: Mono,
    ) {
        if self.caller.reliable.is_none() {
            let provisionals = Provisionals::new(wire.ids.random());
            self.caller.reliable = Some(Box::new(Reliable::Sent(provisionals)));
        }
        let next = self.caller.provisionals_mut().and_then(|it| it.offer(provisional));
        if let Some(next) = next {
            self.send_provisional(next, wire, now);
        }
    }

    fn send_provisional(&mut self, provisional: Provisional, wire: &mut Wire, now: Mono) {
        let Some(rseq) = self.caller.provisionals().map(Provisionals::rseq) else { return };
        let Some(flow) = wire.transactions.get(self.caller.invite).map(|it| it.flow) else {
            return;
        };
        let more = |writer: &mut Writer| {
            writer.header(HeaderName::Require, b"100rel");
            writer.header_number(HeaderName::RSeq, u64::from(rseq));
        };
        let Provisional { status, body } = provisional;
        let sent = self.respond_to_caller(status, body, more, wire, now);
        let timers = wire.paces.timers_for(flow);
        if let Some((message, body)) = sent
            && let Some(provisionals) = self.caller.provisionals_mut()
        {
            provisionals.sent(message, flow, body, timers, now);
        }
    }

    /// A PRACK came: says what has waited for it.
    fn go_on_after_prack(&mut self, wire: &mut Wire, now: Mono) {
        if self.caller.state != LegState::Early {
            return;
        }
        let Some(provisionals) = self.caller.provisionals_mut() else { return };
        if let Some(next) = provisionals.next_due() {
            self.send_provisional(next, wire, now);
        } else if let Some(answer) = provisionals.held_answer() {
            self.answer_caller(answer, wire, now);
        }
    }

    /// A reliable provisional response of the target. Returns the description for the caller;
    /// `None` if the response is to be ignored.
    pub(super) fn hear_reliably(
        &mut self,
        response: &Response,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) -> Option<Option<Body>> {
        let rseq = response.rseq().ok().flatten()?;
        let invite_has_offer = self.onward.offer.is_some();
        let caller_answers = !invite_has_offer && self.is_reliable_to_caller(wire);
        let leg = self.target.as_mut()?;
        let planned = self.call.attempt(leg.number);
        let account = planned.and_then(|it| it.account().cloned());
        let uri = planned.map(|it| it.uri.clone()).unwrap_or_default();
        let (tag, invite_cseq) = (leg.tag.clone(), leg.invite_cseq);
        if leg.reliable.is_none() {
            leg.reliable = Some(Box::new(Reliable::Heard(EarlyDialogs::default())));
        }
        let open = || {
            let mut dialog = early_dialog(uri, &tag, response, flow)?;
            dialog.set_account(account);
            Some(dialog)
        };
        let Heard::New(early) = leg.early()?.hear(rseq, response, open) else { return None };
        if response.has(HeaderName::Allow) {
            early.takes_update = takes_update(response);
        }
        let body = body_of(response);
        if early.described.is_none() {
            early.described.clone_from(&body);
        }
        if body.is_some() && caller_answers {
            early.held_prack = Some(rseq);
        } else {
            let rack = rack(rseq, invite_cseq);
            let more = |writer: &mut Writer| writer.header(HeaderName::RAck, &rack);
            wire.request(&mut early.dialog, Method::Prack, Owner::Nobody, more, None, now);
        }
        Some(body)
    }

    /// The description in a provisional response that may be lost. If the caller sent no offer,
    /// this cannot be one: it would have to be answered, and the target would never know.
    pub(super) fn preview(&self, response: &Response, wire: &Wire) -> Option<Body> {
        let body = body_of(response)?;
        (self.onward.offer.is_some() || !self.is_reliable_to_caller(wire)).then_some(body)
    }

    /// Sends the PRACK that waited for the caller's answer to the target's offer.
    fn release_prack(&mut self, answer: Option<Body>, wire: &mut Wire, now: Mono) {
        let Some(leg) = &mut self.target else { return };
        let invite_cseq = leg.invite_cseq;
        let Some(Reliable::Heard(early)) = leg.reliable.as_deref_mut() else { return };
        let Some(early) = early.current() else { return };
        let Some(rseq) = early.held_prack.take() else { return };
        let flow = early.dialog.flow();
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let answer = leg.sdp.rewrite_any(answer, address);
        let rack = rack(rseq, invite_cseq);
        let more = |writer: &mut Writer| writer.header(HeaderName::RAck, &rack);
        wire.request(&mut early.dialog, Method::Prack, Owner::Nobody, more, answer.as_ref(), now);
        self.hear_answer(answer.as_ref());
    }

    /// A PRACK or UPDATE on `side` offers something new before the answer. It goes to the other
    /// side as an UPDATE if that side is so far and takes it. Otherwise the offer is refused, and
    /// what was agreed on stands (RFC 3311 §5.2).
    pub(super) fn offer_early(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) {
        let Some(request) = screen_body(request, flow, wire, now) else { return };
        let from_current = match side {
            Side::Caller => true,
            Side::Target => {
                let tag = request.from_tag().unwrap_or_default();
                self.target
                    .as_mut()
                    .and_then(|leg| leg.early())
                    .is_some_and(|it| it.is_current(tag))
            }
        };
        let caller_is_settled = self.caller.provisionals().is_some_and(Provisionals::is_settled);
        if side == Side::Caller && !caller_is_settled {
            // Our answer to its first offer is still to come.
            let more = |writer: &mut Writer| writer.header_number(HeaderName::RetryAfter, 2);
            wire.reply_with(request, flow, 500, more, now);
            return;
        }
        let target_is_settled =
            self.target.as_mut().and_then(|leg| leg.early()).is_some_and(|it| {
                it.current().is_some_and(|it| it.described.is_some() && it.held_prack.is_none())
            });
        let other_takes_it = match side {
            Side::Caller => {
                let early = self.target.as_mut().and_then(|leg| leg.early());
                early.and_then(|it| it.current()).is_some_and(|it| it.takes_update)
            }
            Side::Target => self.caller.takes_update,
        };
        if from_current && caller_is_settled && target_is_settled && other_takes_it {
            self.forward_early(call, side, request, flow, wire, now);
        } else {
            wire.reply(request, flow, 488, now);
        }
    }

    fn forward_early(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) {
        let offer = body_of(&request);
        let answer = wire.accept(request, flow, now);
        let to = side.other();
        let Some(leg) = self.leg(to) else { return };
        let dialog = match to {
            Side::Caller => leg.dialog.as_deref_mut(),
            Side::Target => match leg.reliable.as_deref_mut() {
                Some(Reliable::Heard(early)) => early.current().map(|it| &mut it.dialog),
                Some(Reliable::Sent(_)) | None => None,
            },
        };
        let Some(dialog) = dialog else { return };
        let contact = wire.contact(dialog.flow(), dialog.is_secure());
        let address = wire.settings.listener(dialog.flow().listener).map(|it| it.address);
        let offer = leg.sdp.rewrite_any(offer, address);
        let more = |writer: &mut Writer| writer.header(HeaderName::Contact, &contact);
        let owner = Owner::Leg { call, leg: leg.number, asked: Asked::Relay { answer } };
        wire.request(dialog, Method::Update, owner, more, offer.as_ref(), now);
    }
}

/// Whether the sender of an INVITE takes reliable provisional responses.
pub(super) fn offers_reliability(invite: &Headers) -> bool {
    invite.has_option(HeaderName::Supported, b"100rel")
        || invite.has_option(HeaderName::Require, b"100rel")
}

/// Whether a provisional response is to be confirmed. Most are not, and have no number.
pub(super) fn is_reliable(response: &Response) -> bool {
    response.has(HeaderName::RSeq)
        && response.has_option(HeaderName::Require, b"100rel")
        && response.to_tag().is_some()
}

/// The value of RAck, which also names the INVITE.
fn rack(rseq: u32, invite_cseq: u32) -> Vec<u8> {
    format!("{rseq} {invite_cseq} INVITE").into_bytes()
}
