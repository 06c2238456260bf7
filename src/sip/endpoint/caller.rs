//! The caller's leg: taking its INVITE, answering it, and ending it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::auth::Account;
use crate::sip::call::Call;
use crate::sip::call::report::ReasonValue;
use crate::sip::dialog::{Dialog, is_secure};
use crate::sip::flow::Flow;
use crate::sip::ids::{self, CallKey};
use crate::sip::leg::confirmation::{Confirmation, Overdue};
use crate::sip::leg::description;
use crate::sip::leg::event::{Body, Command};
use crate::sip::leg::offer_answer::{SdpOrigin, digest, is_sdp};
use crate::sip::leg::policy::LegPolicy;
use crate::sip::leg::provisional::{Provisional, Provisionals};
use crate::sip::leg::session_timer::TooShort;
use crate::sip::leg::{Leg, LegState, Reinvite, takes_update};
use crate::sip::message::{HeaderName, Headers, Method, NameAddr, Request, Scheme, Uri, Writer};
use crate::sip::policy::write_lines;
use crate::sip::transaction::ServerKey;
use crate::sip::trunk::profile::Support;
use crate::sip::trunk::{Caller, Identity, IdentityHeader, Trunk, TrunkIndex};
use crate::time::{Mono, Wall};

use super::rare::{Rare, session_part};
use super::reliable::offers_reliability;
use super::requests::is_foreign;
use super::wire::{ALLOW, Owner, Pending, Wire};
use super::{Admission, CallEntry, Endpoint, Origin, Output, Side};

/// Names the nodes a call has passed, so that one that comes back is noticed (spec/sip B2). A
/// Max-Forwards that falls ends any other loop.
pub(super) const LOOP_HEADER: &[u8] = b"X-Loop-Token";

/// A call that its own rules have not ended so long after they should have is stuck.
pub(super) const REAP_AFTER_END: Duration = Duration::from_secs(40);
/// The same before the answer, when nobody knows yet how long it may ring.
const REAP_AFTER_ADMISSION: Duration = Duration::from_secs(3600);

/// What goes on from the caller's INVITE to the targets'.
pub(super) struct Onward {
    /// Of the caller's leg.
    pub(super) policy: LegPolicy,
    /// When the call is taken away whatever state it is in (spec/sip D16).
    pub(super) reap_at: Mono,
    /// What the caller was told though its call was answered: the answer waited for its PRACK.
    pub(super) failed: Option<u16>,
    pub(super) max_forwards: u8,
    pub(super) caller: Caller,
    /// Display name of From as written, with its quotes.
    pub(super) display: Bytes,
    pub(super) offer: Option<Body>,
    /// Value of the loop header with our token at its end.
    pub(super) loop_tokens: Bytes,
    /// Whose call it is.
    pub(super) trunk: TrunkIndex,
    /// Where the call came from, until its caller has confirmed the answer.
    pub(super) half_open: Option<IpAddr>,
    /// What the carrier's challenges are answered with.
    pub(super) account: Option<Arc<Account>>,
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
            Err(rejection) => {
                self.wire.reject(&request, flow, &rejection);
                return;
            }
        };
        let source = flow.peer.ip();
        if let Err(busy) = self.room_for_call(source, now) {
            self.refuse_busy(&request, flow, busy);
            return;
        }
        // Whose call it is comes before what they may ask for.
        let trunk = self.trunks.claimed(trunk, flow, &request);
        let Some(rules) = self.trunks.get(trunk) else { return };
        if let Some(users) = &rules.users
            && let Err(unauthorized) = self.doorkeeper.admit(users, &request, now)
        {
            self.wire.respond_stateless(&request, flow, 401, "Unauthorized", |writer| {
                for challenge in &unauthorized.challenges {
                    writer.header(HeaderName::WwwAuthenticate, challenge);
                }
            });
            return;
        }
        if let Err(rejection) = screen_content(&request, &rules.dialog) {
            self.wire.reject(&request, flow, &rejection);
            return;
        }
        let flow = Flow { pace: self.wire.paces.of(rules.dialog.timers), ..flow };
        let caller = caller_of(&request, rules);
        let captured = super::capture::capture(&request, caller, &rules.profile.inbound);
        let rare = rules
            .answers
            .clone()
            .map(|answers| Box::new(Rare { answers: Some(answers), ..Rare::default() }));
        let (dialed, number) = dialed_of(&request, rules);
        let id = self.wire.ids.call_id(wall);
        let merged = self.wire.keys.of_merged(&request);
        let limits = self.wire.settings.call;
        let onward = Box::new(Onward {
            policy: rules.dialog,
            reap_at: now + limits.max_call + REAP_AFTER_ADMISSION,
            failed: None,
            max_forwards: request.max_forwards().unwrap_or(70) - 1,
            caller,
            display: Bytes::copy_from_slice(request.from().display()),
            offer: super::requests::body_of(&request),
            loop_tokens: with_loop_token(&request, &self.wire.settings.loop_token),
            trunk,
            half_open: Some(source),
            account: rules.account.clone(),
        });
        self.gate.opened(source, now);
        let sip_call_id = Bytes::copy_from_slice(request.call_id());
        let (invite_cseq, takes_update) = (request.cseq().number, takes_update(&request));

        let wire = &mut self.wire;
        let failures = self.failures[usize::from(trunk.0)].clone();
        let key = self.calls.insert_with_key(|call| {
            let keys = [Some(key), Some(merged)];
            let transaction = wire.accept_invite(request, flow, Owner::Call(call), keys, now);
            let tag = ids::tag(call, 0, wire.ids.random());
            let sdp = SdpOrigin::new(wire.ids.random());
            let mut caller = Leg::new(0, (transaction, invite_cseq), tag, sdp);
            caller.takes_update = takes_update;
            CallEntry {
                id,
                call: Call::new(limits, failures, now),
                caller,
                target: None,
                onward,
                rare,
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
            captured,
        })));
        self.settle(key, now);
    }

    /// What is refused whoever sends it, in the order of RFC 3261 §8.2.
    fn screen(&self, request: &Request, origin: Origin) -> Result<TrunkIndex, Rejection> {
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
        Ok(trunk)
    }

    /// Repeats and ends what is owed on a leg, and asks whether it is still there.
    pub(super) fn leg_timeout(&mut self, key: CallKey, side: Side, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        if leg.reliable.is_some() && self.provisional_timeout(key, side, now) {
            return;
        }
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        let paces = &self.wire.paces;
        let overdue = leg.confirmation.as_mut().and_then(|it| {
            let timers = paces.timers_for(it.flow);
            it.handle_timeout(timers, now)
        });
        match overdue {
            Some(Overdue::Resend) => {
                if let Some(confirmation) = &leg.confirmation {
                    self.wire.resend(confirmation.flow, confirmation.ok.clone());
                }
            }
            Some(Overdue::GiveUp) => {
                let hang_up = leg.confirmation.take().and_then(|it| it.hang_up);
                match hang_up {
                    Some(why) => entry.say_bye(side, why, key, &mut self.wire, now),
                    None => {
                        self.lost(key, side, Reason::AckMissing, now);
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
        if entry.leg(side).is_some_and(|leg| leg.session.is_some()) {
            self.session_timeout(key, side, now);
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
                if self.is_reliable_to_caller(wire) {
                    self.progress_reliably(Provisional { status, body }, wire, now);
                } else {
                    self.respond_to_caller(status, body, |_| {}, wire, now);
                }
            }
            Command::Answer { body } => {
                self.open_caller_dialog(wire);
                let body = match self.caller.provisionals_mut() {
                    Some(provisionals) => provisionals.answer(body),
                    None => Some(body),
                };
                if let Some(body) = body {
                    self.answer_caller(body, wire, now);
                }
            }
            Command::Refuse { status, retry_after_s, why } => {
                let more = |writer: &mut Writer, _: &Request| {
                    if let Some(why) = &why {
                        writer.header(HeaderName::Reason, why);
                    }
                    if let Some(seconds) = retry_after_s {
                        writer.header_number(HeaderName::RetryAfter, u64::from(seconds));
                    }
                };
                wire.respond(self.caller.invite, status, Some(&self.caller.tag), more, None, now);
                self.caller.state = LegState::Settled;
                self.caller.rest();
            }
            Command::HangUp { .. } if self.caller.state == LegState::Early => {
                self.fail_caller(500, wire, now);
            }
            // Those are not answers: see `handover`.
            Command::Redirect { .. }
            | Command::Take
            | Command::Refer { .. }
            | Command::Connect { .. } => {}
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

    /// The 200 to the caller.
    pub(super) fn answer_caller(&mut self, body: Option<Body>, wire: &mut Wire, now: Mono) {
        let Some(entry) = wire.transactions.get(self.caller.invite) else { return };
        let flow = entry.flow;
        let policy = self.onward.policy.session;
        let request = entry.request.as_ref().map(|pending| &pending.request);
        let terms = request.and_then(|request| policy.answer(request, None).ok().flatten());
        let more = |writer: &mut Writer| {
            if let Some(terms) = terms {
                terms.write_answer(writer);
            }
        };
        let body = match self.caller.provisionals_mut() {
            Some(provisionals) => provisionals.description_of_answer(body),
            None => body,
        };
        let ok = self.respond_to_caller(200, body, more, wire, now);
        self.caller.state = LegState::Answered;
        self.caller.last_heard = now;
        self.caller.probe_at = wire.settings.probe_interval.map(|every| now + every);
        let (ok, sent) = ok.map_or((None, None), |(ok, body)| (Some(ok), body));
        if let Some(ok) = ok {
            let timers = wire.paces.timers_for(flow);
            let confirmation = Confirmation::new(self.caller.invite_cseq, ok, flow, timers, now);
            self.caller.confirmation = Some(Box::new(confirmation));
        }
        if let Some(terms) = terms {
            let described = self.caller.provisionals().and_then(Provisionals::described).cloned();
            let heard = digest(self.onward.offer.as_ref());
            self.agree(Side::Caller, Some(terms), wire, now);
            self.describe(Side::Caller, sent.or(described), heard);
        }
        // The offer has done its part.
        self.onward.offer = None;
        self.onward.display = Bytes::new();
    }

    /// A final failure for a caller who still waits for its answer, although the call is over: the
    /// answer was held back, and now it is too late for it.
    pub(super) fn fail_caller(&mut self, status: u16, wire: &mut Wire, now: Mono) {
        wire.respond(self.caller.invite, status, Some(&self.caller.tag), |_, _| {}, None, now);
        self.onward.failed = Some(status);
        self.caller.state = LegState::Settled;
        self.caller.rest();
    }

    /// Our dialog with the caller, from the first response that carries our tag.
    pub(super) fn open_caller_dialog(&mut self, wire: &Wire) {
        if self.caller.dialog.is_some() {
            return;
        }
        let Some(entry) = wire.transactions.get(self.caller.invite) else { return };
        let Some(pending) = &entry.request else { return };
        let Pending { request, source } = &**pending;
        // Requests in the dialog go to the Contact; the flow says from where and over what.
        let flow = Flow { peer: *source, ..entry.flow };
        self.caller.dialog = Dialog::with_caller(request, &self.caller.tag, flow).map(Box::new);
        if let Some(dialog) = &mut self.caller.dialog {
            dialog.set_account(self.onward.account.clone());
        }
    }

    /// Returns the response and the body that went with it.
    pub(super) fn respond_to_caller(
        &mut self,
        status: u16,
        body: Option<Body>,
        more: impl FnOnce(&mut Writer),
        wire: &mut Wire,
        now: Mono,
    ) -> Option<(Bytes, Option<Body>)> {
        let entry = wire.transactions.get(self.caller.invite)?;
        let flow = entry.flow;
        let secure = entry.request.as_ref().is_some_and(|it| is_secure(it.request.uri()));
        let contact = wire.contact(flow, secure);
        let address = wire.settings.listener(flow.listener).map(|listener| listener.address);
        let body = self.caller.sdp.rewrite_any(body, address);
        let rare = &self.rare;
        let more = |writer: &mut Writer, _: &Request| {
            writer.header(HeaderName::Contact, &contact);
            if status >= 200 {
                writer.header(HeaderName::Allow, ALLOW);
            }
            if let Some(rare) = rare {
                write_lines(&rare.lines, writer);
            }
            more(writer);
        };
        let (invite, tag) = (self.caller.invite, &self.caller.tag);
        let response = wire.respond(invite, status, Some(tag), more, body.as_ref(), now)?;
        Some((response, body))
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
            leg.rest();
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
        leg.rest();
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

impl Wire {
    /// Refuses an INVITE. No state for what is refused (spec/sip S5); its ACK is absorbed.
    fn reject(&mut self, request: &Request, flow: Flow, rejection: &Rejection) {
        let Rejection { status, reason, .. } = *rejection;
        self.respond_stateless(request, flow, status, reason, |writer| rejection.explain(writer));
    }
}

/// More nodes than this in a row are named no longer; Max-Forwards still ends the loop.
const LOOP_TOKENS_MAX: usize = 16;

impl Rejection {
    fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, header: None }
    }

    /// Writes the header field that says what would be taken.
    fn explain(&self, writer: &mut Writer) {
        if let Some((name, value)) = &self.header {
            writer.header(*name, value);
        }
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

/// The value of the loop header with our token at its end.
fn with_loop_token(request: &Headers, own: &[u8]) -> Bytes {
    let mut tokens: Vec<&[u8]> = loop_tokens(request).collect();
    tokens.truncate(LOOP_TOKENS_MAX - 1);
    tokens.push(own);
    Bytes::from(tokens.join(&b", "[..]))
}

/// What its trunk takes no INVITE with, or nobody.
fn screen_content(request: &Request, policy: &LegPolicy) -> Result<(), Rejection> {
    screen_extensions(request, policy)?;
    check_body(request)?;
    if !matches!(request.contact(), Ok(Some(_))) {
        return Err(Rejection::new(400, "Missing or Malformed Contact"));
    }
    Ok(())
}

/// What an INVITE asks for and its trunk does not allow (RFC 3262 §3, RFC 4028 §9).
fn screen_extensions(request: &Request, policy: &LegPolicy) -> Result<(), Rejection> {
    let refused = |tag: &[u8]| match tag {
        b"timer" => !policy.session.supported,
        b"100rel" => policy.reliable == Some(Support::No),
        _ => true,
    };
    if let Some(unsupported) = unsupported(request, refused) {
        let name = HeaderName::Unsupported;
        return Err(Rejection::with(420, "Bad Extension", name, unsupported));
    }
    if policy.reliable == Some(Support::Required) && !offers_reliability(request) {
        let (name, value) = (HeaderName::Require, Bytes::from_static(b"100rel"));
        return Err(Rejection::with(421, "Extension Required", name, value));
    }
    if let Err(TooShort { min_s }) = policy.session.answer(request, None) {
        let (name, value) = (HeaderName::MinSe, Bytes::from(min_s.to_string()));
        return Err(Rejection::with(422, "Session Interval Too Small", name, value));
    }
    Ok(())
}

/// The option tags of Require that we do not take: those that `refused` names, and all of
/// Proxy-Require (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Headers, refused: impl Fn(&[u8]) -> bool) -> Option<Bytes> {
    if !request.has(HeaderName::Require) && !request.has(HeaderName::ProxyRequire) {
        return None;
    }
    let required = request.values(HeaderName::Require).filter(|tag| refused(tag));
    let refused: Vec<&[u8]> = required.chain(request.values(HeaderName::ProxyRequire)).collect();
    (!refused.is_empty()).then(|| Bytes::from(refused.join(&b", "[..])))
}

/// Within a call, what we know we take.
pub(super) fn unknown_in_dialog(tag: &[u8]) -> bool {
    !matches!(tag, b"timer" | b"100rel")
}

/// No body, or one that describes a session, alone or among other parts. Those go nowhere unless a
/// policy says so: they may hold the caller's number, or where it is.
fn is_session(request: &Headers) -> bool {
    let Some(content_type) = request.content_type().filter(|_| !request.body().is_empty()) else {
        return true;
    };
    is_sdp(content_type) || session_part(request).is_some()
}

/// Whether the body that comes with an offer describes a session, and one that somebody could use
/// (spec/sip P15).
fn check_body(request: &Headers) -> Result<(), Rejection> {
    if !is_session(request) {
        let accept = Bytes::from_static(b"application/sdp");
        return Err(Rejection::with(415, "Unsupported Media Type", HeaderName::Accept, accept));
    }
    let described = super::requests::body_of(request).filter(|body| is_sdp(&body.content_type));
    if let Some(Err(unusable)) = described.map(|body| description::check(&body.bytes)) {
        // RFC 3261 §20.43; who warns is nobody's business.
        let warning = Bytes::from(format!("399 - \"the session description {unusable}\""));
        return Err(Rejection::with(488, "Not Acceptable Here", HeaderName::Warning, warning));
    }
    Ok(())
}

/// [`check_body`] of a request within a call, which is refused if it has to be.
pub(super) fn screen_body(
    request: Request,
    flow: Flow,
    wire: &mut Wire,
    now: Mono,
) -> Option<Request> {
    let Err(rejection) = check_body(&request) else { return Some(request) };
    let more = |writer: &mut Writer| rejection.explain(writer);
    wire.reply_with(request, flow, rejection.status, more, now);
    None
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
