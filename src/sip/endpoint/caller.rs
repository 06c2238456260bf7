//! The caller's leg: taking its INVITE, answering it, and ending it.

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call::report::ReasonValue;
use crate::sip::call::{Call, RETRY_AFTER_S};
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::ids::{self, CallKey};
use crate::sip::leg::confirmation::{Confirmation, Overdue};
use crate::sip::leg::event::{Body, Command, LegEvent};
use crate::sip::leg::offer_answer::SdpOrigin;
use crate::sip::leg::{Leg, LegState, Reinvite};
use crate::sip::message::{HeaderName, Headers, Method, NameAddr, Request, Scheme, Uri, Writer};
use crate::sip::transaction::ServerKey;
use crate::sip::trunk::{Caller, Identity, IdentityHeader, Trunk};
use crate::time::{Mono, Wall};

use super::requests::is_foreign;
use super::wire::{ALLOW, Owner, Pending, Wire};
use super::{Admission, CallEntry, Endpoint, Origin, Output, Side};

/// Names the nodes a call has passed, so that one that comes back is noticed (spec/sip B2). A
/// Max-Forwards that falls ends any other loop.
pub(super) const LOOP_HEADER: &[u8] = b"X-Loop-Token";

/// What goes on from the caller's INVITE to the targets'.
pub(super) struct Onward {
    pub(super) invite_cseq: u32,
    pub(super) max_forwards: u8,
    pub(super) caller: Caller,
    /// Display name of From as written, with its quotes.
    pub(super) display: Bytes,
    pub(super) offer: Option<Body>,
    /// Value of the loop header with our token at its end.
    pub(super) loop_tokens: Bytes,
}

/// Why an INVITE is refused before it is a call.
struct Rejection {
    status: u16,
    reason: &'static str,
    header: Option<(HeaderName, Bytes)>,
}

impl Endpoint {
    pub(super) fn invite(
        &mut self,
        request: Request,
        key: ServerKey,
        flow: Flow,
        origin: Origin,
        wall: Wall,
        now: Mono,
    ) {
        let trunk = match self.screen(&request, origin) {
            Ok(trunk) => trunk,
            Err(Rejection { status, reason, header }) => {
                // No state for what is refused (spec/sip S5); its ACK is absorbed.
                self.wire.respond_stateless(&request, flow, status, reason, |writer| {
                    if let Some((name, value)) = &header {
                        writer.header(*name, value);
                    }
                });
                return;
            }
        };
        let Some(rules) = self.trunks.get(trunk) else { return };
        let caller = caller_of(&request, rules);
        let (dialed, number) = dialed_of(&request, rules);
        let id = self.wire.ids.call_id(wall);
        let merged = self.wire.keys.of_merged(&request);
        let onward = Box::new(Onward::new(&request, caller, &self.wire.settings.loop_token));
        let sip_call_id = Bytes::copy_from_slice(request.call_id());

        let limits = self.wire.settings.call;
        let wire = &mut self.wire;
        let failures = self.failures[usize::from(trunk.0)].clone();
        let key = self.calls.insert_with_key(|call| {
            let keys = [Some(key), Some(merged)];
            let transaction = wire.accept_invite(request, flow, Owner::Call(call), keys, now);
            let tag = ids::tag(call, 0, wire.ids.random());
            let sdp = SdpOrigin::new(wire.ids.random());
            CallEntry {
                id,
                call: Call::new(limits, failures, now),
                caller: Leg::new(0, transaction, tag, sdp),
                target: None,
                onward,
                armed: None,
            }
        });
        self.current = Some(key);
        self.wire.out.push(Output::Admitted(Box::new(Admission {
            call: key,
            id,
            at: now,
            wall,
            trunk,
            sip_call_id,
            dialed,
            number,
            caller,
            flow,
        })));
        self.settle(key);
    }

    /// RFC 3261 §8.2, in its order, then our own limits.
    fn screen(&self, request: &Request, origin: Origin) -> Result<super::TrunkIndex, Rejection> {
        let Origin::Trunk(trunk) = origin else {
            return Err(Rejection::new(403, "Forbidden"));
        };
        if is_foreign(request) {
            return Err(Rejection::new(416, "Unsupported URI Scheme"));
        }
        if request.max_forwards() == Some(0) {
            return Err(Rejection::new(483, "Too Many Hops"));
        }
        if loop_tokens(request).any(|token| token == &self.wire.settings.loop_token[..]) {
            return Err(Rejection::new(482, "Loop Detected"));
        }
        if self.wire.find(self.wire.keys.of_merged(request)).is_some() {
            return Err(Rejection::new(482, "Loop Detected"));
        }
        if let Some(unsupported) = unsupported(request) {
            return Err(Rejection::with(
                420,
                "Bad Extension",
                HeaderName::Unsupported,
                unsupported,
            ));
        }
        if !is_session(request) {
            let accept = Bytes::from_static(b"application/sdp");
            return Err(Rejection::with(415, "Unsupported Media Type", HeaderName::Accept, accept));
        }
        if !matches!(request.contact(), Ok(Some(_))) {
            return Err(Rejection::new(400, "Missing or Malformed Contact"));
        }
        if self.draining || self.calls.len() >= self.wire.settings.calls_max {
            let seconds = Bytes::from(RETRY_AFTER_S.to_string());
            return Err(Rejection::with(
                503,
                "Service Unavailable",
                HeaderName::RetryAfter,
                seconds,
            ));
        }
        Ok(trunk)
    }

    /// Repeats and ends what is owed on a leg, and asks whether it is still there.
    pub(super) fn leg_timeout(&mut self, key: CallKey, side: Side, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        let timers = self.wire.settings.timers;
        let overdue = leg.confirmation.as_mut().and_then(|it| it.handle_timeout(timers, now));
        match overdue {
            Some(Overdue::Resend) => {
                if let Some(confirmation) = &leg.confirmation {
                    self.wire.counters.retransmissions_out += 1;
                    self.wire.send(confirmation.flow, confirmation.ok.clone());
                }
            }
            Some(Overdue::GiveUp) => {
                let hang_up = leg.confirmation.take().and_then(|it| it.hang_up);
                match hang_up {
                    Some(why) => entry.say_bye(side, why, key, &mut self.wire, now),
                    None => {
                        self.drive(
                            key,
                            side.event(LegEvent::Lost { reason: Reason::AckMissing }),
                            now,
                        );
                        return;
                    }
                }
            }
            None => {}
        }
        let Some(entry) = self.calls.get_mut(key) else { return };
        if let Some(leg) = entry.leg(side)
            && leg.reinvite_until.take_if(|until| *until <= now).is_some()
            && let Some(Reinvite::Ours(invite)) = leg.reinvite
        {
            self.wire.cancel(invite, None, now);
        }
        if entry.leg(side).is_some_and(|leg| leg.probe_at.is_some_and(|at| at <= now)) {
            entry.probe(side, key, &mut self.wire, now);
        }
    }
}

impl CallEntry {
    pub(super) fn command_caller(&mut self, command: Command, wire: &mut Wire, now: Mono) {
        if self.caller.state != LegState::Early && !matches!(command, Command::HangUp { .. }) {
            return;
        }
        match command {
            Command::Progress { status, body } => {
                self.open_caller_dialog(wire);
                self.respond_to_caller(status, body, wire, now);
            }
            Command::Answer { body } => {
                self.open_caller_dialog(wire);
                let flow = wire.transactions.get(self.caller.invite).map(|entry| entry.flow);
                let ok = self.respond_to_caller(200, body, wire, now);
                self.caller.state = LegState::Answered;
                if let (Some(ok), Some(flow)) = (ok, flow) {
                    let cseq = self.onward.invite_cseq;
                    let timers = wire.settings.timers;
                    self.caller.confirmation =
                        Some(Box::new(Confirmation::new(cseq, ok, flow, timers, now)));
                }
                self.caller.probe_at = wire.settings.probe_interval.map(|every| now + every);
                // The offer has done its part.
                self.onward.offer = None;
                self.onward.display = Bytes::new();
            }
            Command::Refuse { status, retry_after_s } => {
                let more = |writer: &mut Writer, _: &Request| {
                    if let Some(seconds) = retry_after_s {
                        writer.header_number(HeaderName::RetryAfter, u64::from(seconds));
                    }
                };
                wire.respond(self.caller.invite, status, Some(&self.caller.tag), more, None, now);
                self.caller.state = LegState::Settled;
            }
            Command::HangUp { why } => {
                // A BYE may not overtake the ACK to our answer (RFC 3261 §15).
                match &mut self.caller.confirmation {
                    Some(confirmation) if self.caller.state == LegState::Answered => {
                        confirmation.hang_up = Some(why);
                    }
                    _ => self.hang_up(Side::Caller, why, wire, now),
                }
            }
        }
    }

    /// Our dialog with the caller, from the first response that carries our tag.
    fn open_caller_dialog(&mut self, wire: &Wire) {
        if self.caller.dialog.is_some() {
            return;
        }
        let Some(entry) = wire.transactions.get(self.caller.invite) else { return };
        let Some(pending) = &entry.request else { return };
        let Pending { request, source } = &**pending;
        // Requests in the dialog go to the Contact; the flow says from where and over what.
        let flow = Flow { peer: *source, ..entry.flow };
        self.caller.dialog = Dialog::with_caller(request, &self.caller.tag, flow).map(Box::new);
    }

    fn respond_to_caller(
        &mut self,
        status: u16,
        body: Option<Body>,
        wire: &mut Wire,
        now: Mono,
    ) -> Option<Bytes> {
        let flow = wire.transactions.get(self.caller.invite)?.flow;
        let contact = wire.contact(flow);
        let address = wire.settings.listener(flow.listener).map(|listener| listener.address);
        let body = body.map(|body| match address {
            Some(address) => self.caller.sdp.rewrite(body, address),
            None => body,
        });
        let more = |writer: &mut Writer, _: &Request| {
            writer.header(HeaderName::Contact, &contact);
            if status >= 200 {
                writer.header(HeaderName::Allow, ALLOW);
            }
        };
        wire.respond(self.caller.invite, status, Some(&self.caller.tag), more, body.as_ref(), now)
    }

    /// Ends a leg that may get a BYE now.
    pub(super) fn hang_up(&mut self, side: Side, why: ReasonValue, wire: &mut Wire, now: Mono) {
        // The key is in the leg's own tag.
        let key = self.leg(side).and_then(|leg| ids::read_tag(&leg.tag)).map(|(call, _)| call);
        if let Some(key) = key {
            self.say_bye(side, why, key, wire, now);
        }
    }

    /// The peer ended the leg or has lost it: nothing more is sent on it but what it is owed.
    pub(super) fn end_by_peer(&mut self, side: Side, wire: &mut Wire, now: Mono) {
        self.release_ack(side, None, wire);
        self.give_up_reinvite(side, wire, now);
        if let Some(leg) = self.leg(side) {
            leg.state = LegState::Settled;
            leg.confirmation = None;
            leg.probe_at = None;
        }
    }

    /// The leg ends during a re-INVITE: theirs is answered, ours is cancelled (spec/sip B19).
    fn give_up_reinvite(&mut self, side: Side, wire: &mut Wire, now: Mono) {
        let Some(leg) = self.leg(side) else { return };
        leg.reinvite_until = None;
        match leg.reinvite {
            Some(Reinvite::Theirs(answer)) => {
                leg.reinvite = None;
                wire.respond(answer, 487, None, |_, _| {}, None, now);
            }
            // A success all the same needs an ACK of this dialog: the leg stays for it.
            Some(Reinvite::Ours(invite)) => wire.cancel(invite, None, now),
            None => {}
        }
    }

    pub(super) fn say_bye(
        &mut self,
        side: Side,
        why: ReasonValue,
        key: CallKey,
        wire: &mut Wire,
        now: Mono,
    ) {
        self.release_ack(side, None, wire);
        self.give_up_reinvite(side, wire, now);
        let Some(leg) = self.leg(side) else { return };
        if leg.state != LegState::Answered {
            return;
        }
        leg.probe_at = None;
        let Some(dialog) = &mut leg.dialog else {
            leg.state = LegState::Settled;
            return;
        };
        leg.state = LegState::Ending;
        let more = |writer: &mut Writer| {
            if let Some(why) = &why {
                writer.header(HeaderName::Reason, why);
            }
        };
        wire.request(dialog, Method::Bye, Owner::Bye { call: key, side }, more, None, now);
    }

    /// Asks the peer whether it still knows the call. Any answer but 481 or silence says yes.
    fn probe(&mut self, side: Side, key: CallKey, wire: &mut Wire, now: Mono) {
        let every = wire.settings.probe_interval;
        let Some(leg) = self.leg(side) else { return };
        leg.probe_at = every.map(|every| now + every);
        if leg.state != LegState::Answered || leg.confirmation.is_some() {
            return;
        }
        if let Some(dialog) = &mut leg.dialog {
            let owner = Owner::Probe { call: key, side };
            wire.request(dialog, Method::Options, owner, |_| {}, None, now);
        }
    }
}

impl Onward {
    fn new(request: &Request, caller: Caller, own_token: &[u8]) -> Self {
        let mut tokens: Vec<&[u8]> = loop_tokens(request).collect();
        tokens.truncate(LOOP_TOKENS_MAX - 1);
        tokens.push(own_token);
        Self {
            invite_cseq: request.cseq().number,
            max_forwards: request.max_forwards().unwrap_or(70) - 1,
            caller,
            display: Bytes::copy_from_slice(request.from().display()),
            offer: super::requests::body_of(request),
            loop_tokens: Bytes::from(tokens.join(&b", "[..])),
        }
    }
}

/// More nodes than this in a row are named no longer; Max-Forwards still ends the loop.
const LOOP_TOKENS_MAX: usize = 16;

impl Rejection {
    fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, header: None }
    }

    fn with(status: u16, reason: &'static str, name: HeaderName, value: Bytes) -> Self {
        Self { status, reason, header: Some((name, value)) }
    }
}

fn loop_tokens(request: &Headers) -> impl Iterator<Item = &[u8]> {
    request
        .iter()
        .filter(|(name, written, _)| {
            *name == HeaderName::Other && written.eq_ignore_ascii_case(LOOP_HEADER)
        })
        .flat_map(|(_, _, value)| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}

/// The option tags of Require that we do not know: all of them (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Headers) -> Option<Bytes> {
    let wanted: Vec<&[u8]> = request
        .values(HeaderName::Require)
        .chain(request.values(HeaderName::ProxyRequire))
        .collect();
    (!wanted.is_empty()).then(|| Bytes::from(wanted.join(&b", "[..])))
}

/// No body, or one that describes a session. A multipart body may hold more than a session: the
/// caller's number in an ISUP part, its location. It is refused as long as it is not taken apart.
pub(super) fn is_session(request: &Headers) -> bool {
    let Some(content_type) = request.content_type().filter(|_| !request.body().is_empty()) else {
        return true;
    };
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/sdp")
}

/// The dialled user part, and the number the trunk's rules read out of it.
fn dialed_of(
    request: &Request,
    trunk: &Trunk,
) -> (Bytes, Result<crate::phone::PhoneNumber, crate::sip::trunk::NumberFault>) {
    let ruri = request.parsed_uri().ok().and_then(|uri| uri.user()).unwrap_or_default();
    let to = request.to();
    let to = to.parsed_uri().ok().and_then(|uri| uri.user()).unwrap_or_default();
    (Bytes::copy_from_slice(ruri), trunk.numbers.dialed_number(ruri, to))
}

fn caller_of(request: &Request, trunk: &Trunk) -> Caller {
    let from = request.from();
    let mut identities: smallvec::SmallVec<[Identity<'_>; 4]> = smallvec::SmallVec::new();
    let headers = [
        (HeaderName::PAssertedIdentity, IdentityHeader::Pai),
        (HeaderName::RemotePartyId, IdentityHeader::Rpid),
    ];
    for (name, header) in headers {
        for value in request.values(name) {
            if let Some(user) = NameAddr::parse(value).ok().and_then(|it| user_of(it.uri())) {
                identities.push(Identity { header, user });
            }
        }
    }
    if let Some(user) = user_of(from.uri()) {
        identities.push(Identity { header: IdentityHeader::From, user });
    }
    trunk.numbers.caller_number(&identities, request.line(HeaderName::Privacy))
}

fn user_of(uri: &[u8]) -> Option<&[u8]> {
    let uri = Uri::parse(uri).ok()?;
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => uri.user(),
        Scheme::Other => None,
    }
}
