//! A target's leg: our INVITE to it, its answer, and its end.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::sip::call::report::AttemptNumber;
use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::ids::{self, CallKey, TransactionKey};
use crate::sip::leg::event::{Body, Command};
use crate::sip::leg::offer_answer::SdpOrigin;
use crate::sip::leg::{HeldAck, Leg, LegState};
use crate::sip::message::{HeaderName, Method, Response, Writer};
use crate::sip::transaction::InviteHead;
use crate::time::Mono;

use super::caller::{LOOP_HEADER, Onward};
use super::wire::{ALLOW, Owner, Wire};
use super::{CallEntry, Side};

/// The number of the first request on a leg that we open.
pub(super) const FIRST_CSEQ: u32 = 1;

impl CallEntry {
    /// Sends the INVITE of an attempt. Everything that names this leg is new (spec/sip B1).
    pub(super) fn dial(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        wire: &mut Wire,
        now: Mono,
    ) -> Result<(), Reason> {
        let planned = self.call.attempt(attempt).ok_or(Reason::DecisionFailed)?;
        let destination = planned.destination.ok_or(Reason::AttemptUnresolved)?;
        let flow = Flow {
            listener: ListenerId(0),
            transport: destination.transport,
            peer: destination.peer,
            connection: None,
        };
        let flow = wire.settings.reach(flow).ok_or(Reason::AttemptUnresolved)?;
        let uri = planned.uri.clone();
        let listener = wire.settings.listener(flow.listener).ok_or(Reason::AttemptUnresolved)?;
        let (advertised, address) = (listener.advertised.clone(), listener.address);

        let tag = ids::tag(key, attempt, wire.ids.random());
        let mut sdp = SdpOrigin::new(wire.ids.random());
        let offer = self.onward.offer.clone().map(|body| sdp.rewrite(body, address));
        let contact = wire.contact(flow);
        let user_agent = wire.settings.user_agent.clone();
        let call_id = wire.ids.sip_call_id();
        let onward = &self.onward;
        let write = |writer: &mut Writer, via: Bytes| {
            let head = InviteHead {
                to: Bytes::from([b"<", &uri[..], b">"].concat()),
                uri,
                via,
                from: onward.from(&advertised, &tag),
                call_id,
                cseq: FIRST_CSEQ,
                route: SmallVec::new(),
            };
            let request = onward.write_invite(writer, &head, &contact, user_agent, offer.as_ref());
            (head, request)
        };
        let transaction = wire.invite(flow, Owner::Attempt { call: key, attempt }, write, now);
        self.target = Some(Leg::new(attempt, transaction, tag, sdp));
        Ok(())
    }

    /// The target answered. Opens the dialog and acknowledges, at once unless the caller's ACK has
    /// yet to bring the answer to the target's offer. `false` if there is nothing to acknowledge.
    pub(super) fn answered(
        &mut self,
        transaction: TransactionKey,
        response: &Response,
        flow: Flow,
        wire: &mut Wire,
        now: Mono,
    ) -> bool {
        let late_offer = self.onward.offer.is_none() && !response.body().is_empty();
        let Some(leg) = &mut self.target else { return false };
        // Where the INVITE went, if the answer names no Contact.
        let uri = self.call.attempt(leg.number).map(|it| it.uri.clone()).unwrap_or_default();
        let head = InviteHead {
            uri,
            via: Bytes::new(),
            from: Bytes::copy_from_slice(response.line(HeaderName::From).unwrap_or_default()),
            to: Bytes::new(),
            call_id: Bytes::copy_from_slice(response.call_id()),
            cseq: response.cseq().number,
            route: SmallVec::new(),
        };
        let Some(dialog) = Dialog::with_callee(&head, &leg.tag, response, flow) else {
            return false;
        };
        leg.state = LegState::Answered;
        leg.probe_at = wire.settings.probe_interval.map(|every| now + every);
        if late_offer {
            leg.held_ack = Some(HeldAck { transaction, cseq: head.cseq });
        } else {
            wire.acknowledge(transaction, &dialog, head.cseq, None);
        }
        leg.dialog = Some(Box::new(dialog));
        true
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
            Command::Progress { .. } | Command::Answer { .. } | Command::Refuse { .. } => {}
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
    }
}

impl Onward {
    /// From as the target sees it: the caller's number and name, our address, our tag.
    fn from(&self, advertised: &[u8], tag: &[u8]) -> Bytes {
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
        contact: &[u8],
        user_agent: Option<Bytes>,
        offer: Option<&Body>,
    ) -> Bytes {
        writer.request(Method::Invite.name().as_bytes(), &head.uri);
        writer.header(HeaderName::Via, &head.via);
        writer.header_number(HeaderName::MaxForwards, u64::from(self.max_forwards));
        writer.header(HeaderName::From, &head.from);
        writer.header(HeaderName::To, &head.to);
        writer.header(HeaderName::CallId, &head.call_id);
        writer.header_parts(HeaderName::CSeq, &[b"1 INVITE"]);
        writer.header(HeaderName::Contact, contact);
        writer.header(HeaderName::Allow, ALLOW);
        if self.caller.withheld {
            writer.header(HeaderName::Privacy, b"id");
        }
        if let Some(user_agent) = user_agent {
            writer.header(HeaderName::UserAgent, &user_agent);
        }
        writer.named(LOOP_HEADER, &self.loop_tokens);
        match offer {
            Some(offer) => writer.finish_with(&offer.content_type, &offer.bytes),
            None => writer.finish(),
        }
    }
}
