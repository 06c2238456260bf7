//! A target's leg: our INVITE to it, its answer, and its end.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::sip::call::report::AttemptNumber;
use crate::sip::dialog::{Dialog, is_secure};
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::ids::{self, CallKey, TransactionKey};
use crate::sip::leg::event::{Body, Command};
use crate::sip::leg::offer_answer::{SdpOrigin, digest};
use crate::sip::leg::policy::LegPolicy;
use crate::sip::leg::{HeldAck, Leg, LegState, Reliable, takes_update};
use crate::sip::message::{HeaderName, Method, Response, Writer};
use crate::sip::policy::{InviteExtras, write_lines};
use crate::sip::transaction::InviteHead;
use crate::sip::trunk::profile::Support;
use crate::time::Mono;

use super::inviting::{Onward, REAP_AFTER_END};
use super::long::Parts;
use super::requests::body_of;
use super::screening::LOOP_HEADER;
use super::wire::{ALLOW, Owner, Wire};
use super::{CallEntry, Side};

/// The number of the first request on a leg that we open.
const FIRST_CSEQ: u32 = 1;

/// An INVITE that is refused for its session interval is sent again no more often than this.
const CSEQ_LAST: u32 = FIRST_CSEQ + 3;

impl CallEntry {
    /// Sends the INVITE of an attempt; returns its leg. Everything that names it is new (spec/sip
    /// B1), or as it was at another address of the same target.
    pub(super) fn dial(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        wire: &mut Wire,
        now: Mono,
    ) -> Result<Leg, Reason> {
        let sdp = SdpOrigin::new(wire.ids.random());
        let (call_id, tag, cseq) = match self.names_of(attempt) {
            Some(names) => (names.call_id.clone(), names.tag.clone(), names.cseq),
            None => {
                let tag = ids::tag(key, attempt, wire.ids.random());
                (wire.ids.sip_call_id(), tag, FIRST_CSEQ)
            }
        };
        self.keep_names(attempt, &call_id, &tag, cseq);
        let mut leg = Leg::new(attempt, (TransactionKey::default(), cseq), tag, sdp);
        leg.invite = self.send_invite(key, &mut leg, call_id, wire, now)?;
        self.tell_trial(attempt, wire);
        Ok(leg)
    }

    /// The INVITE of the attempt in progress was refused for its session interval: it is sent once
    /// more with the one that was asked for (RFC 4028 §7.3). `false` if that cannot help.
    pub(super) fn dial_again(
        &mut self,
        key: CallKey,
        response: &Response,
        wire: &mut Wire,
        now: Mono,
    ) -> bool {
        let Some(wanted) = response.min_se().ok().flatten() else { return false };
        let Some(mut leg) = self.target.take() else { return false };
        let policy = self.policy_of(leg.number).session;
        let asked = policy.interval_s.unwrap_or(0).max(leg.min_se_s);
        let helps = policy.supported && wanted > asked && leg.invite_cseq < CSEQ_LAST;
        if helps {
            leg.min_se_s = wanted;
            leg.invite_cseq += 1;
            let call_id = Bytes::copy_from_slice(response.call_id());
            if let Ok(invite) = self.send_invite(key, &mut leg, call_id, wire, now) {
                leg.invite = invite;
                leg.reliable = None;
                self.target = Some(leg);
                return true;
            }
        }
        self.target = Some(leg);
        false
    }

    fn send_invite(
        &self,
        key: CallKey,
        leg: &mut Leg,
        call_id: Bytes,
        wire: &mut Wire,
        now: Mono,
    ) -> Result<TransactionKey, Reason> {
        let attempt = leg.number;
        let planned = self.call.attempt(attempt).ok_or(Reason::DecisionFailed)?;
        let destination = planned.destination.ok_or(Reason::AttemptUnresolved)?;
        let flow = Flow {
            tls: destination.tls,
            pace: wire.paces.of(planned.dialog.timers),
            ..Flow::new(ListenerId(0), destination.transport, destination.peer)
        };
        let flow = wire.settings.reach(flow).ok_or(Reason::AttemptUnresolved)?;
        self.send_invite_on(flow, key, leg, call_id, wire, now)
    }

    fn send_invite_on(
        &self,
        flow: Flow,
        key: CallKey,
        leg: &mut Leg,
        call_id: Bytes,
        wire: &mut Wire,
        now: Mono,
    ) -> Result<TransactionKey, Reason> {
        let attempt = leg.number;
        let planned = self.call.attempt(attempt).ok_or(Reason::DecisionFailed)?;
        let listener = wire.settings.listener(flow.listener).ok_or(Reason::AttemptUnresolved)?;
        let (advertised, address) = (listener.advertised.clone(), listener.address);
        let mut offer = self.onward.offer.clone().map(|body| leg.sdp.rewrite(body, address));
        let mut policy = planned.dialog;
        let is_heard = self.is_reliable_to_caller(wire) && !self.call.is_in_group(attempt);
        if offer.is_none() && !is_heard {
            // The target's offer would want an answer that the caller gives only in its ACK.
            policy.reliable = None;
        }
        let mut uri = planned.uri.clone();
        let mut extras = None;
        if let Some(told) = planned.manner.policy.as_deref() {
            extras = self.extras(told, &uri, &advertised, wire);
            if !told.body_parts.is_empty() {
                offer = offer.map(|body| self.body_with_parts(told, body, wire));
            }
            if let Some(changed) = extras.as_mut().and_then(|extras| extras.uri.take()) {
                uri = changed;
            }
        }
        if let Some(destination) = planned.destination.filter(|it| it.tcp_port.is_some()) {
            let parts = Parts {
                uri: &uri,
                own_host: &advertised,
                extras: extras.as_ref(),
                offer: offer.as_ref(),
                has_proof: planned.account().is_some(),
            };
            if let Some(flow) = self.onward.long_way(flow, destination, &parts, wire) {
                return self.send_invite_on(flow, key, leg, call_id, wire, now);
            }
        }
        let contact = wire.contact(flow, is_secure(&uri));
        let user_agent = wire.settings.user_agent.clone();
        let proofs = wire.proofs(planned.account(), Method::Invite, &uri);
        let (onward, extras) = (&self.onward, extras.as_ref());
        let mut bytes = 0;
        let write = |writer: &mut Writer, via: Bytes| {
            let head = InviteHead {
                to: Bytes::from([b"<", &uri[..], b">"].concat()),
                uri,
                via,
                from: onward.from(&advertised, &leg.tag, extras),
                call_id,
                cseq: leg.invite_cseq,
                route: SmallVec::new(),
            };
            let extensions = |writer: &mut Writer| {
                for (name, proof) in &proofs {
                    writer.header(*name, proof);
                }
                write_extensions(&policy, leg.min_se_s, writer);
            };
            let fields = Fields { contact: &contact, user_agent, extras };
            let request = onward.write_invite(writer, &head, fields, extensions, offer.as_ref());
            bytes = request.len();
            (head, request)
        };
        let invite = wire.invite(flow, Owner::Attempt { call: key, attempt }, write, now);
        wire.challenges.entrust(invite, planned.account());
        Self::note_length(key, attempt, flow, bytes, wire);
        wire.counters.invite_sent(onward.trunk, bytes);
        Ok(invite)
    }

    /// The target answered. Opens the dialog and acknowledges, at once unless the caller's ACK has
    /// yet to bring the answer to the target's offer. Returns the description for the caller;
    /// `None` if there is nothing to acknowledge.
    pub(super) fn answered(
        &mut self,
        transaction: TransactionKey,
        response: &Response,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) -> Option<Option<Body>> {
        let mut body = body_of(response);
        let leg = self.target.as_mut()?;
        // Where the INVITE went, if the answer names no Contact.
        let planned = self.call.attempt(leg.number);
        let policy = planned.map_or_else(Default::default, |it| it.dialog.session);
        let account = planned.and_then(|it| it.account().cloned());
        let uri = planned.map(|it| it.uri.clone()).unwrap_or_default();
        let ends_after = planned.map_or(Duration::ZERO, |it| it.max_duration);
        let mut dialog = early_dialog(uri, &leg.tag, response, flow)?;
        let mut described = false;
        if let Some(Reliable::Heard(early)) = leg.reliable.take().map(|it| *it)
            && let Some(early) = early.confirm(response.to_tag().unwrap_or_default())
        {
            dialog.continue_from(&early.dialog);
            described = early.described.is_some();
            body = body.or(early.described);
        }
        leg.state = LegState::Answered;
        leg.last_heard = now;
        leg.takes_update = takes_update(response);
        leg.probe_at = wire.settings.probe_interval.map(|every| now + every);
        let late_offer = self.onward.offer.is_none() && body.is_some() && !described;
        let cseq = response.cseq().number;
        if late_offer {
            leg.held_ack = Some(HeldAck { transaction, cseq });
        } else {
            wire.acknowledge(transaction, &dialog, cseq, None);
        }
        dialog.set_account(account);
        leg.dialog = Some(Box::new(dialog));
        let terms = policy.agreed(response);
        if terms.is_some() {
            let address = wire.settings.listener(flow.listener).map(|it| it.address);
            let sent = leg.sdp.rewrite_any(self.onward.offer.clone(), address);
            self.agree(Side::Target, terms, wire, now);
            self.describe(Side::Target, sent, digest(body.as_ref()));
        }
        let longest = ends_after.min(wire.settings.call.max_call);
        self.onward.reap_at = now + longest + REAP_AFTER_END;
        Some(body)
    }

    pub(super) fn command_target(
        &mut self,
        command: Command,
        key: CallKey,
        wire: &mut Wire,
        now: Mono,
    ) {
        match command {
            Command::HangUp { why } => self.say_bye(Side::Target, why, key, wire, now),
            // Only the caller's INVITE is ours to answer.
            Command::Progress { .. }
            | Command::Answer { .. }
            | Command::Redirect { .. }
            | Command::Take
            | Command::Refer { .. }
            | Command::Connect { .. }
            | Command::Refuse { .. } => {}
        }
    }

    /// Sends the ACK that waited for the other leg's, with the answer that came in it.
    pub(super) fn release_ack(&mut self, side: Side, body: Option<Body>, wire: &mut Wire) {
        let Some(leg) = self.leg(side) else { return };
        let Some(held) = leg.held_ack.take() else { return };
        let Some(dialog) = &leg.dialog else { return };
        let address = wire.settings.listener(dialog.flow().listener).map(|it| it.address);
        let body = leg.sdp.rewrite_any(body, address);
        wire.acknowledge(held.transaction, dialog, held.cseq, body.as_ref());
        self.describe(side, body, None);
    }
}

/// Fields of an INVITE that are neither the dialog's nor the caller's.
struct Fields<'a> {
    contact: &'a [u8],
    user_agent: Option<Bytes>,
    extras: Option<&'a InviteExtras>,
}

impl Onward {
    /// From as the target sees it: the caller's number and name, our address, our tag.
    fn from(&self, advertised: &[u8], tag: &[u8], extras: Option<&InviteExtras>) -> Bytes {
        if let Some(extras) = extras {
            return Bytes::from([&extras.from, &b";tag="[..], tag].concat());
        }
        let number = self.caller.number.filter(|_| !self.caller.withheld);
        let text = match number {
            Some(number) => {
                let space: &[u8] = if self.display.is_empty() { b"" } else { b" " };
                let user = number.to_e164();
                [&self.display, space, b"<sip:", user.as_bytes(), b"@", advertised, b">;tag=", tag]
                    .concat()
            }
            // RFC 3323 §4.1.1.3.
            None => [&b"\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="[..], tag].concat(),
        };
        Bytes::from(text)
    }

    fn write_invite(
        &self,
        writer: &mut Writer,
        head: &InviteHead,
        Fields { contact, user_agent, extras }: Fields<'_>,
        extensions: impl FnOnce(&mut Writer),
        offer: Option<&Body>,
    ) -> Bytes {
        writer.request(Method::Invite.name().as_bytes(), &head.uri);
        writer.header(HeaderName::Via, &head.via);
        writer.header_number(HeaderName::MaxForwards, u64::from(self.max_forwards));
        writer.header(HeaderName::From, &head.from);
        writer.header(HeaderName::To, &head.to);
        writer.header(HeaderName::CallId, &head.call_id);
        let mut number = itoa::Buffer::new();
        let number = number.format(head.cseq).as_bytes();
        writer.header_parts(HeaderName::CSeq, &[number, b" INVITE"]);
        writer.header(HeaderName::Contact, contact);
        writer.header(HeaderName::Allow, ALLOW);
        extensions(writer);
        // A policy writes it where it wants it.
        if self.caller.withheld && extras.is_none() {
            writer.header(HeaderName::Privacy, b"id");
        }
        if let Some(user_agent) = user_agent {
            writer.header(HeaderName::UserAgent, &user_agent);
        }
        writer.named(LOOP_HEADER, &self.loop_tokens);
        if let Some(extras) = extras {
            write_lines(&extras.lines, writer);
        }
        match offer {
            Some(offer) => writer.finish_with(&offer.content_type, &offer.bytes),
            None => writer.finish(),
        }
    }
}

/// A dialog that a response with a To tag opens. `uri` is where the INVITE went.
pub(super) fn early_dialog(
    uri: Bytes,
    local_tag: &Bytes,
    response: &Response,
    flow: Flow,
) -> Option<Dialog> {
    let head = InviteHead {
        uri,
        via: Bytes::new(),
        from: Bytes::copy_from_slice(response.line(HeaderName::From).unwrap_or_default()),
        to: Bytes::new(),
        call_id: Bytes::copy_from_slice(response.call_id()),
        cseq: response.cseq().number,
        route: SmallVec::new(),
    };
    Dialog::with_callee(&head, local_tag, response, flow)
}

/// Supported, Require, and what is asked for a session timer.
fn write_extensions(policy: &LegPolicy, min_se_s: u32, writer: &mut Writer) {
    let timer = policy.session.supported;
    let offered = policy.reliable == Some(Support::Supported);
    let supported: &[u8] = match (timer, offered) {
        (true, true) => b"timer, 100rel",
        (true, false) => b"timer",
        (false, true) => b"100rel",
        (false, false) => b"",
    };
    if !supported.is_empty() {
        writer.header(HeaderName::Supported, supported);
    }
    if policy.reliable == Some(Support::Required) {
        writer.header(HeaderName::Require, b"100rel");
    }
    if timer {
        policy.session.write_ask(min_se_s, writer);
    }
}
