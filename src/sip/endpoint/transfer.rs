//! A target that asks to be replaced: REFER in the dialog of an answered call (spec/sip R8 to
//! R12).
//!
//! ```text
//! REFER ─► 202 ─► NOTIFY 100 ─► INVITE to the new party ─ refused ─► NOTIFY with its status;
//!                                      │ answered                   the call is as it was
//!                                      ▼
//!              re-INVITE to the caller ─► NOTIFY 200 ─ answered ─► BYE to the referrer
//! ```
//!
//! The new party is called without an offer, so that the caller sees what it offers and answers
//! it: nobody gets a description that was made for somebody else (RFC 3725 §4.1).

use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call;
use crate::sip::call::redirect::{Moved, same_uri};
use crate::sip::call::report::{Place, ReasonValue, Report};
use crate::sip::dialog::is_secure;
use crate::sip::flow::Flow;
use crate::sip::ids::{self, CallKey, TransactionKey};
use crate::sip::leg::event::{Body, LegEvent};
use crate::sip::leg::{Leg, LegState};
use crate::sip::message::reason_phrase;
use crate::sip::message::{HeaderName, Method, NameAddr, Request, Response, Uri, Writer};
use crate::sip::target::ReferPolicy;
use crate::time::Mono;

use super::requests::reason_of;
use super::wire::{Owner, Wire};
use super::{CallEntry, Endpoint, Side};

/// Replacements tried in one call.
const TRANSFERS_MAX: u8 = 3;

/// How long the referrer's subscription is said to last; the new party rings less long.
const SUBSCRIPTION_S: u32 = 300;

/// One replacement.
pub(super) struct Transfer {
    /// The new party, until it has answered.
    leg: Option<Leg>,
    /// Who asked, once the new party has taken its place.
    referrer: Option<Leg>,
    /// Who asked has hung up before.
    gone: Option<(ReasonValue, Option<u8>)>,
    number: u8,
    /// The number of the REFER, by which a NOTIFY names it.
    cseq: u32,
    /// The status last told, so that none is told twice.
    told: u16,
    ring_until: Option<Mono>,
}

/// How a REFER is followed.
enum Following {
    /// The carrier is asked instead.
    Relay,
    /// We call whom it names.
    Call(Moved),
}

impl Transfer {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.ring_until
    }

    pub(super) fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.leg.iter_mut().chain(&mut self.referrer)
    }
}

impl Endpoint {
    /// REFER in a dialog. Outside of one nobody may refer anybody: that is answered 403 or 481.
    pub(super) fn referred(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        now: Mono,
    ) {
        match self.screen_refer(call, side, &request) {
            Err(status) => self.wire.reply(request, flow, status, now),
            Ok(Following::Relay) => {
                let cseq = request.cseq().number;
                self.relay(call, side, request, flow, now);
                if let Some(entry) = self.calls.get_mut(call) {
                    entry.rare().relayed_refer = Some(cseq);
                    // The caller may be with somebody else when the target hangs up.
                    entry.call.forgo_recovery();
                }
            }
            Ok(Following::Call(moved)) => self.transfer(call, request, moved, flow, now),
        }
    }

    /// Whether a REFER is followed, and how.
    fn screen_refer(&self, call: CallKey, side: Side, request: &Request) -> Result<Following, u16> {
        let entry = self.calls.get(call).ok_or(481_u16)?;
        let target = entry.target.as_ref().filter(|_| side == Side::Target).ok_or(403_u16)?;
        let planned = entry.call.attempt(target.number).ok_or(403_u16)?;
        let rules = planned.rules.as_ref().ok_or(403_u16)?;
        if rules.refer.policy == ReferPolicy::Reject {
            return Err(403);
        }
        // RFC 3515 §2.4.2.
        let mut values = request.lines(HeaderName::ReferTo);
        let (Some(value), None) = (values.next(), values.next()) else { return Err(400) };
        let refer_to = NameAddr::parse(value).map_err(|_| 400_u16)?;
        let uri = refer_to.parsed_uri().map_err(|_| 400_u16)?;
        if names_a_dialog(&uri) {
            return Err(501);
        }
        if entry.call.is_ended() || !entry.both_answered() {
            return Err(481);
        }
        let rare = entry.rare.as_ref();
        if rare.is_some_and(|rare| rare.transfer.is_some()) || entry.caller.reinvite.is_some() {
            return Err(491);
        }
        let allowed = entry.call.admits(target.number, refer_to.uri(), &rules.refer.hosts);
        let tried = entry.call.attempts().any(|it| same_uri(&it.uri, refer_to.uri()));
        let spent = rare.is_some_and(|rare| rare.transfers >= TRANSFERS_MAX);
        let elsewhere = allowed.filter(|it| !self.wire.settings.is_ours(&it.destination));
        let moved = elsewhere.filter(|_| !tried && !spent).ok_or(403_u16)?;
        Ok(match rules.refer.policy {
            ReferPolicy::Relay => Following::Relay,
            ReferPolicy::Accept | ReferPolicy::Reject => Following::Call(moved),
        })
    }

    /// Calls the new party. The 202 goes out first (spec/sip R8).
    fn transfer(&mut self, call: CallKey, request: Request, moved: Moved, flow: Flow, now: Mono) {
        let cseq = request.cseq().number;
        let contact = self.wire.contact(flow, is_secure(request.uri()));
        let more = |writer: &mut Writer| writer.header(HeaderName::Contact, &contact);
        self.wire.reply_with(request, flow, 202, more, now);

        let Some(entry) = self.calls.get_mut(call) else { return };
        let Some(target) = entry.target.as_ref().map(|leg| leg.number) else { return };
        let uri = Place(moved.uri.clone());
        let Some(number) = entry.call.extend(target, moved) else { return };
        let report = Report::TransferStarted { attempt: number, uri };
        entry.tell(call, report, &mut self.wire, now);
        let ring = entry.call.attempt(number).map(|it| it.ring_timeout);
        let leg = entry.dial(call, number, &mut self.wire, now).ok();
        let failed = leg.is_none();
        let rare = entry.rare();
        rare.transfers += 1;
        rare.transfer = Some(Box::new(Transfer {
            leg,
            referrer: None,
            gone: None,
            number,
            cseq,
            told: 0,
            ring_until: Some(now + ring.unwrap_or(Duration::ZERO)),
        }));
        entry.tell_referrer(call, 100, &mut self.wire, now);
        if failed {
            self.transfer_failed(call, 503, Reason::AttemptUnresolved, now);
        } else {
            self.settle(call, now);
        }
    }

    /// Whether the response was the new party's.
    pub(super) fn transfer_response(
        &mut self,
        call: CallKey,
        transaction: TransactionKey,
        response: &Response,
        flow: Flow,
        now: Mono,
    ) -> bool {
        let Some(entry) = self.calls.get_mut(call) else { return false };
        let transfer = entry.rare.as_mut().and_then(|rare| rare.transfer.as_mut());
        let Some(transfer) = transfer else { return false };
        let Some(mut leg) = transfer.leg.take_if(|leg| leg.invite == transaction) else {
            return false;
        };
        leg.heard = true;
        self.current = Some(call);
        let status = response.status();
        if !(200..300).contains(&status) {
            if status < 200 {
                transfer.leg = Some(leg);
                if status > 100 {
                    entry.tell_referrer(call, status, &mut self.wire, now);
                }
            } else {
                self.transfer_failed(call, status, Reason::AttemptRejected, now);
            }
            return true;
        }
        let answered = entry.target.replace(leg);
        transfer.ring_until = None;
        transfer.referrer = answered.filter(|_| transfer.gone.is_none());
        let offer = entry.answered(transaction, response, flow, &mut self.wire, now).flatten();
        // Without a Contact or an offer there is nothing to connect to.
        if offer.is_some() {
            entry.connect_caller(offer, call, &mut self.wire, now);
        } else {
            self.transfer_failed(call, 488, Reason::AttemptRejected, now);
        }
        self.settle(call, now);
        true
    }

    pub(super) fn transfer_timeout(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let transfer = entry.rare.as_mut().and_then(|rare| rare.transfer.as_mut());
        let rang_out = transfer.is_some_and(|it| it.ring_until.is_some_and(|until| until <= now));
        if rang_out {
            self.transfer_failed(call, 408, Reason::AttemptNoAnswer, now);
        }
    }

    /// The transaction of the new party's INVITE has timed out.
    pub(super) fn transfer_lost(&mut self, call: CallKey, transaction: TransactionKey, now: Mono) {
        let transfer = self.calls.get(call).and_then(|it| it.rare.as_ref()?.transfer.as_ref());
        let leg = transfer.and_then(|transfer| transfer.leg.as_ref());
        if leg.is_some_and(|leg| leg.invite == transaction) {
            self.transfer_failed(call, 408, Reason::AttemptNoResponse, now);
        }
    }

    /// The caller is connected to the new party.
    pub(super) fn transferred(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let transfer = entry.rare.as_mut().and_then(|rare| rare.transfer.as_mut());
        let Some(transfer) = transfer.filter(|it| it.leg.is_none()) else { return };
        let (attempt, waits) = (transfer.number, transfer.referrer.is_some());
        // The target has served the caller: whoever took its place ends the call.
        entry.call.forgo_recovery();
        entry.tell(call, Report::Transferred { attempt }, &mut self.wire, now);
        if waits {
            entry.tell_referrer(call, 200, &mut self.wire, now);
        } else if let Some(rare) = &mut entry.rare {
            rare.transfer = None;
        }
    }

    /// The call goes on with who was there before; if that one has left, it ends.
    pub(super) fn transfer_failed(
        &mut self,
        call: CallKey,
        status: u16,
        reason: Reason,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let Some(mut transfer) = entry.rare.as_mut().and_then(|rare| rare.transfer.take()) else {
            return;
        };
        match transfer.leg.take() {
            Some(leg) => self.wire.cancel(leg.invite, None, now),
            None if transfer.ring_until.is_none() => {
                // It had answered.
                entry.release_ack(Side::Target, None, &mut self.wire);
                if let Some(mut leg) =
                    std::mem::replace(&mut entry.target, transfer.referrer.take())
                {
                    hang_up(&mut leg, &mut self.wire, now);
                }
            }
            None => {}
        }
        let report = Report::TransferFailed { attempt: transfer.number, status, reason };
        entry.tell(call, report, &mut self.wire, now);
        let gone = transfer.gone.take();
        entry.rare().transfer = Some(transfer);
        entry.tell_referrer(call, status, &mut self.wire, now);
        entry.rare().transfer = None;
        match gone {
            Some((why, q850)) => {
                self.drive(call, call::Input::Target(LegEvent::HungUp { why, q850 }), now);
            }
            None => self.settle(call, now),
        }
    }

    /// The referrer hangs up while its replacement is called: the caller waits for that one
    /// (spec/sip R10). `false`: no replacement is called.
    pub(super) fn referrer_hung_up(
        &mut self,
        call: CallKey,
        side: Side,
        why: &ReasonValue,
        q850: Option<u8>,
        now: Mono,
    ) -> bool {
        let Some(entry) = self.calls.get_mut(call) else { return false };
        let transfer = entry.rare.as_mut().and_then(|rare| rare.transfer.as_mut());
        let ringing = transfer.filter(|it| side == Side::Target && it.leg.is_some());
        let Some(transfer) = ringing else { return false };
        transfer.gone = Some((why.clone(), q850));
        entry.end_by_peer(Side::Target, &mut self.wire, now);
        self.settle(call, now);
        true
    }

    /// A request of a referrer whose place has been taken. `None`: it was none.
    pub(super) fn referrer_request(
        &mut self,
        request: Request,
        flow: Flow,
        now: Mono,
    ) -> Option<Request> {
        let key = request.to_tag().and_then(ids::read_tag);
        let entry = key.and_then(|(call, _)| self.calls.get_mut(call));
        let transfer = entry.and_then(|entry| entry.rare.as_mut()?.transfer.as_mut());
        let Some(transfer) = transfer else { return Some(request) };
        let dialog = transfer.referrer.as_ref().and_then(|leg| leg.dialog.as_ref());
        if !dialog.is_some_and(|dialog| dialog.matches(&request)) {
            return Some(request);
        }
        let status = if request.method() == Method::Bye {
            let (why, q850) = reason_of(&request);
            transfer.gone = Some((why, q850));
            transfer.referrer = None;
            200
        } else {
            // It has asked to leave, and it will be told that it may.
            491
        };
        self.wire.reply(request, flow, status, now);
        None
    }

    /// The referrer has heard the outcome, or does not answer any more: it may go (spec/sip R9).
    pub(super) fn referrer_told(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        entry.end_transfer(&mut self.wire, now);
        self.settle(call, now);
    }
}

impl CallEntry {
    /// Nothing more is done about a replacement: one that rings is cancelled, and whoever was
    /// replaced is hung up.
    pub(super) fn end_transfer(&mut self, wire: &mut Wire, now: Mono) {
        let transfer = self.rare.as_mut().and_then(|rare| rare.transfer.take());
        let Some(transfer) = transfer else { return };
        let Transfer { leg, referrer, .. } = *transfer;
        if let Some(leg) = leg {
            wire.cancel(leg.invite, None, now);
        }
        if let Some(mut leg) = referrer {
            hang_up(&mut leg, wire, now);
        }
    }

    /// The leg of a party that is called to replace the target.
    pub(super) fn new_party(&self) -> Option<&Leg> {
        self.rare.as_ref()?.transfer.as_ref()?.leg.as_ref()
    }

    pub(super) fn new_party_mut(&mut self) -> Option<&mut Leg> {
        self.rare.as_mut()?.transfer.as_mut()?.leg.as_mut()
    }

    /// NOTIFY with a status, once each (spec/sip R8).
    fn tell_referrer(&mut self, key: CallKey, status: u16, wire: &mut Wire, now: Mono) {
        let Some(transfer) = self.rare.as_mut().and_then(|rare| rare.transfer.as_mut()) else {
            return;
        };
        if transfer.told >= status && status < 200 {
            return;
        }
        transfer.told = status;
        let leg = transfer.referrer.as_mut().or(self.target.as_mut());
        let Some(leg) = leg.filter(|leg| leg.state == LegState::Answered) else { return };
        let Some(dialog) = &mut leg.dialog else { return };
        let contact = wire.contact(dialog.flow(), dialog.is_secure());
        let event = format!("refer;id={}", transfer.cseq);
        let state = match status {
            ..200 => format!("active;expires={SUBSCRIPTION_S}"),
            200.. => String::from("terminated;reason=noresource"),
        };
        let fragment = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let more = |writer: &mut Writer| {
            writer.header(HeaderName::Event, event.as_bytes());
            writer.header(HeaderName::SubscriptionState, state.as_bytes());
            writer.header(HeaderName::Contact, &contact);
        };
        let body = Body {
            content_type: Bytes::from_static(b"message/sipfrag;version=2.0"),
            bytes: Bytes::from(fragment),
        };
        let last = status == 200;
        let owner = if last { Owner::Notify { call: key } } else { Owner::Nobody };
        wire.request(dialog, Method::Notify, owner, more, Some(&body), now);
    }
}

/// What a relayed REFER or NOTIFY takes along. `referred` is the number of the REFER in the dialog
/// of who asked, by which that one knows it. Of the carrier's own signalling a NOTIFY of a REFER
/// may tell nothing but the status (spec/sip S8).
pub(super) fn refer_along(
    request: &Request,
    referred: Option<u32>,
    carried: &mut Vec<(HeaderName, Bytes)>,
    body: Option<Body>,
) -> Option<Body> {
    let line = |name| Some((name, Bytes::copy_from_slice(request.line(name)?)));
    if request.method() == Method::Refer {
        carried.extend(line(HeaderName::ReferTo));
    }
    if request.method() != Method::Notify {
        return body;
    }
    let event = request.event().ok().flatten();
    if !event.is_some_and(|event| event.token.eq_ignore_ascii_case(b"refer")) {
        carried.extend(line(HeaderName::Event));
        carried.extend(line(HeaderName::SubscriptionState));
        return body;
    }
    let event = referred.map_or_else(|| "refer".into(), |cseq| format!("refer;id={cseq}"));
    carried.push((HeaderName::Event, Bytes::from(event)));
    carried.extend(line(HeaderName::SubscriptionState));
    let status_line = |body: Body| {
        let end = body.bytes.iter().position(|byte| b"\r\n".contains(byte));
        let line = &body.bytes[..end.unwrap_or(body.bytes.len())];
        Body { bytes: Bytes::from([line, b"\r\n"].concat()), ..body }
    };
    body.map(status_line)
}

/// BYE on a leg that is no part of its call any more.
fn hang_up(leg: &mut Leg, wire: &mut Wire, now: Mono) {
    let Some(dialog) = leg.dialog.as_mut().filter(|_| leg.state == LegState::Answered) else {
        return;
    };
    wire.request(dialog, Method::Bye, Owner::Nobody, |_| {}, None, now);
}

/// Whether a Refer-To asks to replace a call, which is not done (RFC 3891).
fn names_a_dialog(uri: &Uri<'_>) -> bool {
    uri.header_fields().any(|(name, _)| name.eq_ignore_ascii_case(b"Replaces"))
}
