//! Handing a call over on the wire: 302, the answer that takes a call so that it can be referred,
//! REFER and what comes back of it, and the re-INVITE that connects a caller who was answered
//! before its target (spec/sip R1 to R7).

use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call;
use crate::sip::call::plan::Handover;
use crate::sip::call::report::AttemptNumber;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, TransactionKey};
use crate::sip::leg::LegState;
use crate::sip::leg::event::{Body, LegEvent};
use crate::sip::leg::placeholder::placeholder;
use crate::sip::message::{HeaderName, Method, Request, Response, Writer};
use crate::time::Mono;

use super::rare::Rare;
use super::requests::body_of;
use super::wire::{Owner, Wire};
use super::{CallEntry, Endpoint, Side};

/// Before a re-INVITE that met another one is tried again. The caller's carrier owns the Call-ID,
/// so we are the ones who wait less than two seconds (RFC 3261 §14.1).
const GLARE_PAUSE: Duration = Duration::from_millis(700);
const GLARES_MAX: u8 = 4;

/// How long the caller may think about the offer that connects it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(32);

/// The caller is to be connected to its target by a re-INVITE.
pub(super) struct Connecting {
    offer: Option<Body>,
    /// When it is tried again; `None` while it is on its way.
    again_at: Option<Mono>,
    glares: u8,
}

impl Rare {
    pub(super) fn deadline(&self) -> Option<Mono> {
        let again_at = self.connecting.as_ref().and_then(|it| it.again_at);
        let transfer = self.transfer.as_ref().and_then(|it| it.deadline());
        [self.linger_until, again_at, transfer].into_iter().flatten().min()
    }

    /// Whether the call has to be kept although it is over.
    pub(super) fn holds(&self) -> bool {
        self.linger_until.is_some() || self.transfer.is_some()
    }
}

impl Endpoint {
    pub(super) fn rare_timeout(&mut self, key: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(rare) = &mut entry.rare else { return };
        rare.linger_until.take_if(|until| *until <= now);
        let again = rare.connecting.as_mut();
        let due = again.and_then(|it| it.again_at.take_if(|at| *at <= now)).is_some();
        if due {
            entry.send_connect(key, &mut self.wire, now);
        }
        self.transfer_timeout(key, now);
    }

    /// The carrier's answer to our REFER; 408 if there was none.
    pub(super) fn refer_answered(&mut self, call: CallKey, status: u16, now: Mono) {
        if status == 481 {
            self.lost(call, Side::Caller, Reason::DialogLost, now);
            return;
        }
        self.drive(call, call::Input::Caller(LegEvent::ReferAnswered { status }), now);
    }

    /// NOTIFY in a dialog of ours (RFC 6665 §4.1.3, RFC 3515 §2.4).
    pub(super) fn notified(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        now: Mono,
    ) {
        let event = match request.event() {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => {
                self.wire.reply(request, flow, 400, now);
                return;
            }
        };
        if !event.token.eq_ignore_ascii_case(b"refer") {
            self.inform(call, side, request, flow, now);
            return;
        }
        let rare = self.calls.get(call).and_then(|entry| entry.rare.as_ref());
        if side == Side::Caller && rare.is_some_and(|rare| rare.relayed_refer.is_some()) {
            self.relay(call, side, request, flow, now);
            return;
        }
        let Some(cseq) = rare.and_then(|rare| rare.refer).filter(|_| side == Side::Caller) else {
            self.wire.reply(request, flow, 481, now);
            return;
        };
        // Of an earlier REFER it is heard and means nothing any more (RFC 3515 §2.4.6).
        let id = event.params.value(b"id").and_then(|id| std::str::from_utf8(id).ok());
        let is_current = id.and_then(|id| id.parse().ok()).is_none_or(|id: u32| id == cseq);
        let state = request.subscription_state().ok().flatten();
        let over = state.is_some_and(|it| it.token.eq_ignore_ascii_case(b"terminated"));
        let status = fragment_status(request.body());
        self.wire.reply(request, flow, 200, now);
        if is_current {
            self.drive(call, call::Input::Caller(LegEvent::Notified { status, over }), now);
        }
    }

    /// The caller answered the re-INVITE that connects it.
    pub(super) fn connect_answered(
        &mut self,
        call: CallKey,
        transaction: TransactionKey,
        response: &Response,
        now: Mono,
    ) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(entry) = self.calls.get_mut(call) else { return };
        entry.caller.reinvite = None;
        entry.caller.reinvite_until = None;
        if (200..300).contains(&status) {
            if let Some(dialog) = &mut entry.caller.dialog {
                dialog.refresh_target(response);
                let cseq = response.cseq().number;
                self.wire.acknowledge(transaction, dialog, cseq, None);
            }
            if let Some(rare) = &mut entry.rare {
                rare.connecting = None;
            }
            entry.took_effect(Side::Caller, response, &self.wire, now);
            entry.release_ack(Side::Target, body_of(response), &mut self.wire);
            if entry.new_call_connected() {
                // Only now has the caller taken what its target answered.
                self.drive(call, call::Input::Caller(LegEvent::Confirmed), now);
                return;
            }
            self.transferred(call, now);
            self.settle(call, now);
            return;
        }
        let connecting = entry.rare.as_mut().and_then(|rare| rare.connecting.as_mut());
        match (status, connecting) {
            (491, Some(connecting)) if connecting.glares < GLARES_MAX => {
                connecting.glares += 1;
                connecting.again_at = Some(now + GLARE_PAUSE);
                self.settle(call, now);
            }
            (481 | 408, _) => self.lost(call, Side::Caller, Reason::DialogLost, now),
            _ => self.connect_failed(call, now),
        }
    }

    /// The caller cannot be connected to what the target offers.
    pub(super) fn connect_failed(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        entry.caller.reinvite = None;
        entry.caller.reinvite_until = None;
        if let Some(rare) = &mut entry.rare {
            rare.connecting = None;
            if rare.transfer.is_some() {
                self.transfer_failed(call, 488, Reason::AttemptRejected, now);
                return;
            }
        }
        self.drive(call, call::Input::End(Reason::ConnectFailed), now);
    }
}

impl CallEntry {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether the re-INVITE connected the call's first target, and not one that replaces it.
    fn new_call_connected(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.transfer.is_none())
    }

    /// The call has ended: what a REFER left behind is waited for, what is being set up is not.
    pub(super) fn rare_ended(&mut self, wire: &mut Wire, now: Mono) {
        self.end_transfer(wire, now);
        let patience = wire.settings.timers.patience();
        if let Some(rare) = &mut self.rare {
            rare.connecting = None;
            rare.linger_until = rare.refer.map(|_| now + patience);
        }
    }

    /// 302 with the places to call, the preferred one first (spec/sip R1).
    pub(super) fn redirect_caller(&mut self, contacts: &[Bytes], wire: &mut Wire, now: Mono) {
        if self.caller.state != LegState::Early {
            return;
        }
        let more = |writer: &mut Writer, _: &Request| {
            for (position, uri) in contacts.iter().enumerate() {
                let tenths = 10_usize.saturating_sub(position).max(1);
                let q = format!(">;q={}.{}", tenths / 10, tenths % 10);
                writer.header_parts(HeaderName::Contact, &[b"<", uri, q.as_bytes()]);
            }
        };
        wire.respond(self.caller.invite, 302, Some(&self.caller.tag), more, None, now);
        self.caller.state = LegState::Settled;
    }

    /// Answers the caller without a target, so that it can be referred. Returns what the call has
    /// to hear if that is of no use: the carrier says that it takes no REFER, or offers something
    /// that cannot be answered with silence.
    pub(super) fn take_caller(&mut self, wire: &mut Wire, now: Mono) -> Option<call::Input> {
        let refused = Some(call::Input::Caller(LegEvent::ReferAnswered { status: 405 }));
        let entry = wire.transactions.get(self.caller.invite);
        let Some((flow, pending)) = entry.and_then(|it| Some((it.flow, it.request.as_ref()?)))
        else {
            return refused;
        };
        let request = &pending.request;
        if request.has(HeaderName::Allow) && !request.has_option(HeaderName::Allow, b"REFER") {
            return refused;
        }
        let address = wire.settings.listener(flow.listener).map(|it| it.address);
        let body = address.and_then(|address| placeholder(self.onward.offer.as_ref(), address));
        let Some(body) = body else { return refused };
        // While a description waits for its PRACK nobody is answered (RFC 3262 §3), and by then the
        // caller may have left: it is bridged.
        let body = match self.caller.provisionals_mut() {
            Some(provisionals) if provisionals.holds_answers() => return refused,
            Some(provisionals) => provisionals.answer(Some(body)).flatten(),
            None => Some(body),
        };
        // It is still the offer that the target gets, if we bridge after all.
        let (offer, display) = (self.onward.offer.clone(), self.onward.display.clone());
        self.open_caller_dialog(wire);
        self.answer_caller(body, wire, now);
        (self.onward.offer, self.onward.display) = (offer, display);
        None
    }

    /// Sends the REFER of an attempt. Returns what the call has to hear if that cannot be done.
    pub(super) fn refer_caller(
        &mut self,
        attempt: AttemptNumber,
        key: CallKey,
        wire: &mut Wire,
        now: Mono,
    ) -> Option<call::Input> {
        let refused = Some(call::Input::Caller(LegEvent::ReferAnswered { status: 481 }));
        let handover = self.call.attempt(attempt).and_then(|it| it.handover.as_deref());
        let Some(Handover::Refer(referral)) = handover else { return refused };
        let Some(dialog) = &mut self.caller.dialog else { return refused };
        let contact = wire.contact(dialog.flow(), dialog.is_secure());
        let more = |writer: &mut Writer| {
            writer.header_parts(HeaderName::ReferTo, &[b"<", &referral.refer_to, b">"]);
            if referral.referred_by {
                writer.header(HeaderName::ReferredBy, &contact);
            }
            writer.header(HeaderName::Contact, &contact);
        };
        wire.request(dialog, Method::Refer, Owner::Refer { call: key }, more, None, now);
        let cseq = dialog.local_cseq();
        self.rare().refer = Some(cseq);
        None
    }

    /// Connects a caller who was answered before to what its target said.
    pub(super) fn connect_caller(
        &mut self,
        offer: Option<Body>,
        key: CallKey,
        wire: &mut Wire,
        now: Mono,
    ) {
        self.onward.offer = None;
        self.onward.display = Bytes::new();
        self.rare().connecting = Some(Connecting { offer, again_at: None, glares: 0 });
        self.send_connect(key, wire, now);
    }

    fn send_connect(&mut self, key: CallKey, wire: &mut Wire, now: Mono) {
        let busy = self.caller.reinvite.is_some() || self.caller.confirmation.is_some();
        if self.caller.state != LegState::Answered {
            return;
        }
        let Some(rare) = &mut self.rare else { return };
        let Some(connecting) = &mut rare.connecting else { return };
        if busy {
            connecting.again_at = Some(now + GLARE_PAUSE);
            return;
        }
        let offer = connecting.offer.clone();
        let flow = self.caller.dialog.as_ref().map(|dialog| dialog.flow());
        let address = flow.and_then(|flow| wire.settings.listener(flow.listener));
        let address = address.map(|it| it.address);
        let sent = self.caller.sdp.rewrite_any(offer.clone(), address);
        self.describe(Side::Caller, sent, None);
        let owner = Owner::Connect { call: key };
        self.send_reinvite(Side::Caller, offer, owner, CONNECT_PATIENCE, wire, now);
    }
}

/// The status in a body of type message/sipfrag (RFC 3420).
fn fragment_status(body: &[u8]) -> Option<u16> {
    let rest = body.strip_prefix(b"SIP/2.0 ")?;
    let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
    digits.parse().ok().filter(|status| (100..700).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_begins_with_a_status_line() {
        assert_eq!(fragment_status(b"SIP/2.0 200 OK\r\n"), Some(200));
        assert_eq!(fragment_status(b"SIP/2.0 503"), Some(503));
        for text in
            [&b""[..], b"SIP/2.0 ", b"SIP/2.0 9x9 a", b"INVITE sip:a SIP/2.0", b"SIP/2.0 999"]
        {
            assert_eq!(fragment_status(text), None);
        }
    }
}
