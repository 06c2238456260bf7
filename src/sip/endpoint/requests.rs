//! Requests from the wire: retransmission, dialog, or something new.

use crate::sip::admission::Busy;
use crate::sip::call;
use crate::sip::call::cause::q850_of;
use crate::sip::call::report::ReasonValue;
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::ids::{self, CallKey, TransactionKey};
use crate::sip::leg::event::{Body, LegEvent};
use crate::sip::leg::offer_answer::digest;
use crate::sip::leg::provisional::Provisionals;
use crate::sip::leg::{LegState, Reinvite, Reliable};
use crate::sip::message::{HeaderName, Headers, Method, Reason, Request, Scheme, Writer};
use crate::sip::transaction::{Outputs as Effects, ServerKey, invite_server, server};
use crate::sip::trunk::profile::OptionsPolicy;
use crate::time::{Mono, Wall};

use super::rare::session_part;
use super::screening::{unknown_in_dialog, unsupported};
use super::wire::{ALLOW, Machine, Owner, Wire};
use super::{Endpoint, Origin, Side};

impl Endpoint {
    pub(super) fn request(
        &mut self,
        request: Request,
        flow: Flow,
        origin: Origin,
        wall: Wall,
        now: Mono,
    ) {
        self.wire.counters.request_in(request.method_bytes());
        let key = self.wire.keys.of(&request, request.method(), request.method_bytes());
        if request.method() == Method::Ack {
            self.ack(&request, key, now);
            return;
        }
        if self.absorb(&request, key, now) {
            return;
        }
        if request.to_tag().is_some() && request.method() != Method::Cancel {
            self.in_dialog(request, flow, origin, now);
            return;
        }
        if origin == Origin::Stranger {
            self.wire.counters.strays += 1;
            return;
        }
        if request.method() != Method::Cancel && !self.is_within_rate(&request, flow, origin, now) {
            return;
        }
        match request.method() {
            Method::Invite => self.invite(request, key, flow, origin, wall, now),
            Method::Cancel => self.cancel(request, flow, now),
            Method::Options => self.options(request, flow, origin, now),
            // Nothing outside a dialog knows what these speak of.
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => {
                self.wire.reply(request, flow, 481, now);
            }
            Method::Subscribe => {
                let more = |writer: &mut Writer| {
                    writer.header(HeaderName::AllowEvents, b"");
                };
                self.wire.reply_with(request, flow, 489, more, now);
            }
            // Whoever has no call here cannot have us call somebody (spec/sip R12).
            Method::Refer => self.wire.reply(request, flow, 403, now),
            Method::Register | Method::Message | Method::Publish | Method::Ack | Method::Other => {
                self.not_allowed(request, flow, now)
            }
        }
    }

    pub(super) fn not_allowed(&mut self, request: Request, flow: Flow, now: Mono) {
        let more = |writer: &mut Writer| {
            writer.header(HeaderName::Allow, ALLOW);
        };
        self.wire.reply_with(request, flow, 405, more, now);
    }

    /// A request that was here before gets what it got before.
    fn absorb(&mut self, request: &Request, key: ServerKey, now: Mono) -> bool {
        let Some(transaction) = self.wire.find(key) else { return false };
        self.wire.counters.retransmissions_in += 1;
        let mut effects = Effects::new();
        if let Some(entry) = self.wire.transactions.get_mut(transaction) {
            match &mut entry.machine {
                Machine::InviteServer(machine) if request.method() == Method::Invite => {
                    machine.handle(invite_server::Input::Invite, now, &mut effects);
                }
                Machine::Server(machine) => {
                    machine.handle(server::Input::Request, now, &mut effects);
                }
                Machine::InviteServer(_) | Machine::InviteClient(_) | Machine::Client(_) => {}
            }
        }
        self.wire.apply(transaction, effects, now);
        true
    }

    /// An ACK is never answered. It confirms a failure to its transaction, or a success to its leg
    /// (RFC 3261 §13.3.1.4, §17.2.1); any other is absorbed.
    fn ack(&mut self, ack: &Request, key: ServerKey, now: Mono) {
        if let Some(transaction) = self.wire.find(key) {
            let mut effects = Effects::new();
            if let Some(entry) = self.wire.transactions.get_mut(transaction)
                && let Machine::InviteServer(machine) = &mut entry.machine
            {
                machine.handle(invite_server::Input::Ack, now, &mut effects);
            }
            if !self.wire.apply(transaction, effects, now).pass_up {
                return;
            }
        }
        match self.find_dialog(ack) {
            Some((call, side)) => self.confirmed(call, side, ack, now),
            None => self.wire.counters.strays += 1,
        }
    }

    /// The call and leg of a request that carries our tag: Call-ID and both tags must be right.
    pub(super) fn find_dialog(&mut self, request: &Headers) -> Option<(CallKey, Side)> {
        let (call, number) = ids::read_tag(request.to_tag()?)?;
        let entry = self.calls.get_mut(call)?;
        let side = entry.side_of(number)?;
        entry.leg(side)?.dialog_of(request).map(|_| (call, side))
    }

    fn in_dialog(&mut self, request: Request, flow: Flow, origin: Origin, now: Mono) {
        let Some((call, side)) = self.find_dialog(&request) else {
            let Some(request) = self.branch_request(request, flow, now) else { return };
            let Some(request) = self.referrer_request(request, flow, now) else { return };
            self.in_no_dialog(request, flow, origin, now);
            return;
        };
        self.current = Some(call);
        let Some(entry) = self.calls.get_mut(call) else { return };
        let Some(leg) = entry.leg(side) else { return };
        leg.last_heard = now;
        let Some(dialog) = leg.dialog_of(&request) else { return };
        let taken = self.wire.take_in_dialog(request, flow, dialog, now);
        let Some((request, flow)) = taken else { return };
        match request.method() {
            Method::Bye => {
                let (why, q850) = reason_of(&request);
                self.wire.reply(request, flow, 200, now);
                self.hung_up(call, side, why, q850, now);
            }
            Method::Options => self.wire.reply_with(request, flow, 200, capabilities, now),
            Method::Invite | Method::Update => self.relay(call, side, request, flow, now),
            Method::Info | Method::Message => self.inform(call, side, request, flow, now),
            Method::Notify => self.notified(call, side, request, flow, now),
            Method::Refer => self.referred(call, side, request, flow, now),
            // Nothing in our dialogs can be subscribed to but by REFER (RFC 6665 §4.4).
            Method::Subscribe => self.wire.reply(request, flow, 489, now),
            Method::Prack => self.prack(call, side, request, flow, now),
            Method::Register | Method::Publish | Method::Ack | Method::Cancel | Method::Other => {
                self.not_allowed(request, flow, now)
            }
        }
    }

    /// Found by branch and Call-ID, like a retransmission of its INVITE, so a Via that a NAT rewrote
    /// does no harm (spec/sip X3).
    fn cancel(&mut self, cancel: Request, flow: Flow, now: Mono) {
        let invite = self.wire.keys.of_cancelled(&cancel);
        let found = self.wire.find(invite).filter(|it| self.may_cancel(&cancel, flow, *it));
        let Some(transaction) = found else {
            // Without state, or a forged CANCEL would stand in the way of the true one.
            let reason = "Call/Transaction Does Not Exist";
            self.wire.respond_stateless(&cancel, flow, 481, reason, |_| {});
            return;
        };
        let (why, q850) = reason_of(&cancel);
        let entry = self.wire.transactions.get(transaction);
        let owner = entry.map_or(Owner::Nobody, |entry| entry.owner);
        let called = if let Owner::Call(call) = owner { self.calls.get(call) } else { None };
        let tag = called.map(|entry| entry.caller.tag.clone());
        // Of a call that is over only the transaction is left; a To tag is owed all the same.
        let tag = tag.unwrap_or_else(|| self.wire.stateless_tag(&cancel));
        let answer = self.wire.accept(cancel, flow, now);
        self.wire.respond(answer, 200, Some(&tag), |_, _| {}, None, now);
        match owner {
            Owner::Call(call) => {
                self.drive(call, call::Input::Caller(LegEvent::Cancelled { why, q850 }), now);
            }
            Owner::Reinvite { call, side } => {
                // The other party is asked to stop; its answer comes back as any other.
                let other = self.calls.get_mut(call).and_then(|entry| entry.leg(side.other()));
                if let Some(Reinvite::Ours(invite)) = other.and_then(|leg| leg.reinvite) {
                    self.wire.cancel(invite, why, now);
                }
            }
            Owner::Nobody
            | Owner::Attempt { .. }
            | Owner::Leg { .. }
            | Owner::Refer { .. }
            | Owner::Connect { .. }
            | Owner::Notify { .. }
            | Owner::Registration(_)
            | Owner::Prober(_)
            | Owner::Farewell => {}
        }
    }

    /// Whether a CANCEL is of the INVITE it names: it has its tag and number (RFC 3261 §9.1), and it
    /// comes from where that came from, or from another address of the same trunk. Branch and
    /// Call-ID alone may be guessed by whoever knows how a carrier counts them.
    fn may_cancel(&self, cancel: &Request, flow: Flow, invite: TransactionKey) -> bool {
        let Some(entry) = self.wire.transactions.get(invite) else { return false };
        let trunk =
            |flow: Flow| self.trunks.identify(flow.listener, flow.transport, flow.peer.ip());
        let is_near = entry.flow.peer.ip() == flow.peer.ip()
            || trunk(flow).is_some_and(|it| trunk(entry.flow) == Some(it));
        let is_meant = entry.request.as_ref().is_none_or(|pending| {
            pending.request.cseq().number == cancel.cseq().number
                && pending.request.from_tag() == cancel.from_tag()
        });
        is_near && is_meant
    }

    fn options(&mut self, request: Request, flow: Flow, origin: Origin, now: Mono) {
        let Origin::Trunk(trunk) = origin else {
            self.wire.reply(request, flow, 403, now);
            return;
        };
        let policy = self.trunks.get(trunk).map(|trunk| trunk.profile.inbound.options);
        if policy.is_some_and(|policy| policy != OptionsPolicy::Answer) {
            return;
        }
        // Body-less and without state (spec/sip C5). Max-Forwards zero is fine for the last hop.
        if self.draining {
            self.refuse_busy(&request, flow, Busy::Draining);
        } else if let Some(unsupported) = unsupported(&request, unknown_in_dialog) {
            self.wire.respond_stateless(&request, flow, 420, "Bad Extension", |writer| {
                writer.header(HeaderName::Unsupported, &unsupported);
            });
        } else if is_foreign(&request) {
            self.wire.respond_stateless(&request, flow, 416, "Unsupported URI Scheme", |_| {});
        } else {
            self.wire.respond_stateless(&request, flow, 200, "OK", capabilities);
        }
    }

    fn confirmed(&mut self, call: CallKey, side: Side, ack: &Request, now: Mono) {
        self.current = Some(call);
        let Some(entry) = self.calls.get_mut(call) else { return };
        let Some(leg) = entry.leg(side) else { return };
        leg.last_heard = now;
        let number = ack.cseq().number;
        let Some(confirmation) = leg.confirmation.take_if(|it| it.cseq == number) else { return };
        leg.reinvite.take_if(|reinvite| matches!(reinvite, Reinvite::Theirs(_)));
        let initial = side == Side::Caller && number == leg.invite_cseq;
        let moved = match leg.reliable.take_if(|_| initial).map(|it| *it) {
            Some(Reliable::Sent(provisionals)) => provisionals.moved(),
            Some(Reliable::Heard(_)) | None => None,
        };
        if initial && let Some(ip) = entry.onward.half_open.take() {
            self.gate.settled(ip);
        }
        let body = body_of(ack);
        entry.describe(side, None, digest(body.as_ref()));
        if initial {
            entry.hear_answer(body.as_ref());
        }
        entry.release_ack(side.other(), body, &mut self.wire);
        if let Some(why) = confirmation.hang_up {
            entry.say_bye(side, why, call, &mut self.wire, now);
        // One that is referred or connected anew at once need not be told that there is nobody.
        } else if let Some(description) = moved.filter(|_| !entry.call.awaits_target()) {
            entry.tell_of_move(call, side, description, &mut self.wire, now);
        }
        if initial {
            self.drive(call, call::Input::Caller(LegEvent::Confirmed), now);
        } else {
            self.settle(call, now);
        }
    }

    fn hung_up(
        &mut self,
        call: CallKey,
        side: Side,
        why: ReasonValue,
        q850: Option<u8>,
        now: Mono,
    ) {
        if self.referrer_hung_up(call, side, &why, q850, now) {
            return;
        }
        let Some(entry) = self.calls.get_mut(call) else { return };
        if side == Side::Caller && entry.caller.state == LegState::Early {
            if entry.call.is_answered() {
                if entry.caller.provisionals().is_some_and(Provisionals::holds_answers) {
                    // The answer cannot be told: a PRACK is missing.
                    entry.fail_caller(487, &mut self.wire, now);
                }
                // The answer is in the journal: the caller is told, and the BYE that ends what it
                // opened waits for the ACK.
                self.drive(call, side.event(LegEvent::HungUp { why, q850 }), now);
                let Some(entry) = self.calls.get_mut(call) else { return };
                if let Some(confirmation) = entry.caller.confirmation.as_mut() {
                    confirmation.hang_up = Some(None);
                }
                return;
            }
            if entry.call.is_redirected() {
                // The redirect is in the journal: it is the final response, as after a CANCEL.
                self.drive(call, side.event(LegEvent::Cancelled { why, q850 }), now);
                return;
            }
            // The INVITE is still owed its final response (RFC 3261 §15.1.2).
            let tag = entry.caller.tag.clone();
            self.wire.respond(entry.caller.invite, 487, Some(&tag), |_, _| {}, None, now);
        }
        let awaits_prack = entry.caller.provisionals().is_some_and(Provisionals::holds_answers);
        if awaits_prack || entry.is_negotiating() {
            // What one of them was asked is still to be answered: that belongs to this target.
            entry.call.forgo_recovery();
        }
        entry.end_by_peer(side, &mut self.wire, now);
        self.drive(call, side.event(LegEvent::HungUp { why, q850 }), now);
    }
}

impl Wire {
    /// A request of this dialog. Its number must rise, and it may not want what we do not take
    /// (RFC 3261 §8.2.2.3, §12.2.2): else it is refused, and nothing is returned.
    pub(super) fn take_in_dialog(
        &mut self,
        request: Request,
        mut flow: Flow,
        dialog: &mut Dialog,
        now: Mono,
    ) -> Option<(Request, Flow)> {
        flow.pace = dialog.flow().pace;
        if dialog.take_cseq(request.cseq().number).is_err() {
            self.reply(request, flow, 500, now);
            return None;
        }
        dialog.heard_on(flow);
        // What ends a call ends it.
        if request.method() != Method::Bye
            && let Some(unsupported) = unsupported(&request, unknown_in_dialog)
        {
            let more = |writer: &mut Writer| writer.header(HeaderName::Unsupported, &unsupported);
            self.reply_with(request, flow, 420, more, now);
            return None;
        }
        Some((request, flow))
    }
}

/// What we answer to OPTIONS.
pub(super) fn capabilities(writer: &mut Writer) {
    writer.header(HeaderName::Allow, ALLOW);
    writer.header(HeaderName::Accept, b"application/sdp");
    writer.header(HeaderName::Supported, b"timer, 100rel");
}

/// Whether the Request-URI has a scheme that is not for us.
pub(super) fn is_foreign(request: &Request) -> bool {
    request.parsed_uri().map_or(true, |uri| matches!(uri.scheme(), Scheme::Other))
}

/// The body, if there is one; of several parts the session description.
pub(super) fn body_of(headers: &Headers) -> Option<Body> {
    if let Some(session) = session_part(headers) {
        return Some(session);
    }
    let bytes = headers.body_bytes();
    let content_type = headers.content_type().filter(|_| !bytes.is_empty())?;
    Some(Body { content_type: headers.slice_of(content_type), bytes })
}

/// The Reason header fields as they stand, and their Q.850 cause: given as such, or what stands for
/// the SIP status they give (spec/sip B6).
pub(super) fn reason_of(headers: &Headers) -> (ReasonValue, Option<u8>) {
    if !headers.has(HeaderName::Reason) {
        return (None, None);
    }
    let mut lines = headers.lines(HeaderName::Reason);
    let first = lines.next().unwrap_or_default();
    let value = lines.fold(first.to_vec(), |mut value, line| {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
        value
    });
    let cause = |protocol: &[u8]| {
        let reasons = headers.values(HeaderName::Reason).filter_map(|it| Reason::parse(it).ok());
        let mut causes = reasons
            .filter(|it| it.protocol.eq_ignore_ascii_case(protocol))
            .filter_map(|it| it.cause);
        causes.next()
    };
    let q850 = cause(b"Q.850").and_then(|cause| u8::try_from(cause).ok());
    let sip = || cause(b"SIP").and_then(|status| q850_of(u16::try_from(status).ok()?));
    (Some(bytes::Bytes::from(value)), q850.or_else(sip))
}
