//! One side of a call as its messages show it: what we sent, what came, and what that allows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Due, SLACK, Verdict, check};
use crate::sim::party::{PATIENCE, Role};
use crate::sim::text::{Glance, show};
use crate::sip::call::report::AttemptNumber;
use crate::sip::message::Method;
use crate::time::Mono;

/// How long an INVITE may be without a response.
const TRYING_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) role: Role,
    pub(super) attempt: AttemptNumber,
    pub(super) call_id: Bytes,
    pub(super) address: SocketAddr,
    pub(super) our_tag: Option<Bytes>,
    pub(super) sent: Vec<Sent>,
    pub(super) received: Vec<Received>,
    /// Why nothing but ACK, BYE and final responses may leave any more.
    pub(super) over: Option<&'static str>,
    /// By the tag of the peer: the routes our requests need, and our last number.
    pub(super) dialogs: BTreeMap<Bytes, Dialog>,
    /// The peer said that it does not know the call.
    pub(super) forgotten: bool,
    pub(super) last_serial: u64,
    /// Serials of the descriptions that were sent.
    pub(super) described: BTreeSet<u64>,
    /// The tag of the answer that was reported.
    pub(super) bridged: Option<Bytes>,
    /// What its 3xx has named.
    pub(super) named: Vec<String>,
    /// Of a process that died: nothing but responses may leave, and a farewell.
    pub(super) is_left: bool,
    /// Dialogs of processes that died, by our tag and the peer's.
    bereaved: BTreeMap<(Bytes, Bytes), Dialog>,
}

#[derive(Debug, Default)]
pub(super) struct Dialog {
    pub(super) routes: Vec<Bytes>,
    pub(super) cseq: u32,
    pub(super) answered: bool,
    pub(super) ended: bool,
    /// Of the last reliable provisional response in this dialog, heard or sent, and of the last that
    /// was confirmed.
    pub(super) rseq: Option<u32>,
    pub(super) pracked: Option<u32>,
    /// The one with that number has a description.
    pub(super) describes: bool,
}

/// A request of ours.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) message: Glance,
    pub(super) at: Mono,
    /// It made the leg.
    pub(super) is_first: bool,
    pub(super) provisional: bool,
    /// There was one that says more than 100.
    pub(super) progressed: bool,
    pub(super) outcome: Option<(u16, Mono)>,
    pub(super) cancelled_at: Option<Mono>,
    /// ACKs by the tag they were for.
    pub(super) acks: BTreeMap<Bytes, u32>,
    /// Successes that wait for the other side's ACK with the answer to their offer.
    pub(super) held: Vec<Bytes>,
}

/// A request of the peer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) message: Glance,
    pub(super) is_first: bool,
    pub(super) responded: bool,
    pub(super) outcome: Option<(u16, Mono, Bytes)>,
    pub(super) acked: bool,
    pub(super) last: Option<Bytes>,
}

impl Leg {
    pub(super) fn new(
        role: Role,
        attempt: AttemptNumber,
        call_id: Bytes,
        address: SocketAddr,
    ) -> Self {
        Self {
            role,
            attempt,
            call_id,
            address,
            our_tag: None,
            sent: vec![],
            received: vec![],
            over: None,
            dialogs: BTreeMap::new(),
            forgotten: false,
            last_serial: 0,
            described: BTreeSet::new(),
            bridged: None,
            named: vec![],
            is_left: false,
            bereaved: BTreeMap::new(),
        }
    }

    /// Takes over the dialogs of a leg whose process died.
    pub(super) fn mourn(&mut self, dead: &mut Self) {
        self.bereaved = std::mem::take(&mut dead.bereaved);
        let Some(ours) = &dead.our_tag else { return };
        let dialogs = std::mem::take(&mut dead.dialogs).into_iter();
        self.bereaved.extend(dialogs.map(|(theirs, it)| ((ours.clone(), theirs), it)));
    }

    /// Whether this is the BYE that a dead process left for the next one to send (spec/sip O8).
    pub(super) fn is_farewell(&self, message: &Glance) -> Result<bool, String> {
        let Some(tag) = &message.to_tag else { return Ok(false) };
        let tags = (message.from_tag.clone(), tag.clone());
        let Some(dialog) = self.bereaved.get(&tags) else { return Ok(false) };
        check(dialog.answered, || String::from("a farewell without an answer"))?;
        check(message.routes == dialog.routes, || String::from("a farewell on another route"))?;
        check(dialog.cseq < message.cseq, || String::from("a farewell with an old number"))?;
        Ok(true)
    }

    /// Whether the request that this answers still waits for it.
    pub(super) fn waits_for(&self, response: &Glance, now: Mono) -> bool {
        let sent = self.sent_by(&response.branch, response.cseq_method);
        sent.is_some_and(|sent| sent.outcome.is_none() && sent.waits_at(now))
    }

    pub(super) fn sent_by(&self, branch: &[u8], method: Method) -> Option<&Sent> {
        self.sent.iter().find(|it| it.method == method && it.message.branch == branch)
    }

    pub(super) fn received_by(&self, branch: &[u8], method: Method) -> Option<&Received> {
        self.received.iter().find(|it| it.method == method && it.message.branch == branch)
    }

    pub(super) fn received_request(
        &mut self,
        method: Method,
        message: &Glance,
        at: usize,
        now: Mono,
    ) -> Option<Due> {
        let (branch, leg) = (message.branch.clone(), at);
        if self.received_by(&branch, method).is_none() {
            let is_first = method == Method::Invite
                && message.to_tag.is_none()
                && !self.received.iter().any(|it| it.is_first);
            if is_first {
                let dialog = self.dialogs.entry(message.from_tag.clone()).or_default();
                dialog.routes.clone_from(&message.record_routes);
            }
            self.received.push(Received {
                method,
                message: message.clone(),
                is_first,
                responded: false,
                outcome: None,
                acked: false,
                last: None,
            });
        }
        if method == Method::Prack {
            self.received_prack(message);
        }
        match method {
            Method::Bye | Method::Cancel | Method::Options | Method::Notify => {
                Some(Due::Final { leg, branch, method })
            }
            Method::Invite => Some(Due::Response { leg, branch, by: now + TRYING_WITHIN }),
            _ => None,
        }
    }

    pub(super) fn received_ack(&mut self, ack: &Glance) -> Option<Due> {
        let mut invites = self.received.iter_mut().filter(|it| it.method == Method::Invite);
        let invite = invites.find(|it| it.message.cseq == ack.cseq && it.outcome.is_some())?;
        if invite.is_first && ack.to_tag != self.our_tag {
            return None;
        }
        invite.acked = true;
        None
    }

    pub(super) fn received_response(
        &mut self,
        status: u16,
        message: &Glance,
        at: usize,
        now: Mono,
    ) -> Option<Due> {
        let method = message.cseq_method;
        let sent = self
            .sent
            .iter_mut()
            .find(|it| it.method == method && it.message.branch == message.branch)?;
        if status < 200 {
            sent.provisional |= sent.waits_at(now);
            sent.progressed |= sent.waits_at(now) && status > 100;
            let is_reliable = sent.is_first && sent.waits_at(now) && sent.outcome.is_none();
            let offered = !sent.message.body.is_empty();
            return if is_reliable { self.heard_reliable(message, offered, at) } else { None };
        }
        if matches!(status, 481 | 408) && method != Method::Bye && method != Method::Cancel {
            self.forgotten = true;
        }
        let before = sent.outcome;
        if !sent.waits_at(now) {
            return None;
        }
        sent.outcome.get_or_insert((status, now));
        if method != Method::Invite {
            return None;
        }
        let tag = message.to_tag.clone().unwrap_or_default();
        let sent_before = sent.acks.get(&tag).copied().unwrap_or_default();
        if status >= 300 {
            if before.is_some_and(|(status, _)| status < 300) {
                return None;
            }
            if sent.is_first {
                if matches!(status, 300..=302) {
                    self.named = message.contact_uris().collect();
                }
                self.over.get_or_insert("the target's final response");
            }
        } else {
            if before.is_some_and(|(status, _)| status >= 300) {
                return None;
            }
            let is_offer = sent.message.body.is_empty() && !message.body.is_empty();
            if sent.is_first {
                let dialog = self.dialogs.entry(tag.clone()).or_default();
                dialog.routes = message.record_routes.iter().rev().cloned().collect();
                dialog.cseq = dialog.cseq.max(sent.message.cseq);
                dialog.answered = true;
            }
            if is_offer && sent_before == 0 {
                sent.held.push(tag);
                return None;
            }
        }
        Some(Due::Ack { leg: at, branch: message.branch.clone(), tag, sent_before })
    }

    pub(super) fn sent_ack(&mut self, ack: &Glance, now: Mono) -> Result<bool, String> {
        let tag = ack.to_tag.clone().ok_or("an ACK without a tag")?;
        check(ack.max_forwards.is_some(), || String::from("no Max-Forwards"))?;
        let invites = self.sent.iter_mut().filter(|it| it.method == Method::Invite);
        let Some(invite) = invites.rev().find(|it| it.message.cseq == ack.cseq) else {
            return Err(String::from("an ACK to no INVITE"));
        };
        let Some((status, at)) = invite.outcome else {
            return Err(String::from("an ACK before the final response"));
        };
        check(now >= at, || String::from("an ACK before its time"))?;
        let count = invite.acks.entry(tag.clone()).or_default();
        *count += 1;
        let is_new = *count == 1;
        invite.held.retain(|held| *held != tag);
        if status >= 300 {
            check(ack.branch == invite.message.branch, || String::from("another branch"))?;
            check(ack.uri() == invite.message.uri(), || String::from("another Request-URI"))?;
            check(ack.routes == invite.message.routes, || String::from("another Route"))?;
        } else {
            check(ack.branch != invite.message.branch, || String::from("the INVITE's branch"))?;
            self.has_routes(ack)?;
        }
        self.is_ours(&ack.from_tag)?;
        Ok(is_new)
    }

    pub(super) fn is_ours(&mut self, tag: &Bytes) -> Verdict {
        let ours = self.our_tag.get_or_insert_with(|| tag.clone());
        check(ours == tag, || String::from("not our tag in From"))
    }

    /// RFC 3261 §9.1.
    pub(super) fn may_cancel(&mut self, message: &Glance, now: Mono) -> Verdict {
        let mut sent = self.sent.iter_mut();
        let invite =
            sent.find(|it| it.method == Method::Invite && it.message.branch == message.branch);
        let invite = invite.ok_or("a CANCEL of no INVITE")?;
        check(invite.provisional, || String::from("a CANCEL before any response"))?;
        check(invite.outcome.is_none(), || String::from("a CANCEL after the final response"))?;
        check(invite.message.uri() == message.uri(), || String::from("another Request-URI"))?;
        check(invite.message.to == message.to, || String::from("another To"))?;
        check(message.routes == invite.message.routes, || String::from("another Route"))?;
        invite.cancelled_at = Some(now);
        if invite.is_first {
            self.over.get_or_insert("our CANCEL");
        }
        Ok(())
    }

    /// RFC 3261 §15: not from the UAS side before the ACK, or 64·T1.
    pub(super) fn may_bye(&self, now: Mono) -> Verdict {
        let first = self.received.iter().find(|it| it.is_first);
        let Some((_, at, _)) = first.filter(|it| !it.acked).and_then(|it| it.outcome.as_ref())
        else {
            return Ok(());
        };
        check(now.since(*at) >= PATIENCE, || String::from("a BYE before the ACK"))
    }

    pub(super) fn in_dialog(&mut self, message: &Glance) -> Verdict {
        let tag = message.to_tag.as_ref().ok_or("no To tag in a dialog")?;
        self.has_routes(message)?;
        let dialog = self.dialogs.entry(tag.clone()).or_default();
        let last = std::mem::replace(&mut dialog.cseq, message.cseq);
        check(last < message.cseq, || format!("number {} after {last}", message.cseq))
    }

    /// Every request in a dialog carries its route set (spec/sip D1).
    pub(super) fn has_routes(&self, message: &Glance) -> Verdict {
        let dialog = message.to_tag.as_ref().and_then(|tag| self.dialogs.get(tag));
        let dialog = dialog.ok_or("a request in no dialog")?;
        check(message.routes == dialog.routes, || {
            format!("routes {:?}, not {:?}", message.routes, dialog.routes)
        })
    }

    pub(super) fn why_over(&self, tag: Option<&Bytes>) -> Option<&'static str> {
        let ended = tag.and_then(|tag| self.dialogs.get(tag)).is_some_and(|dialog| dialog.ended);
        self.over.or_else(|| ended.then_some("the BYE"))
    }

    pub(super) fn end_dialog(&mut self, tag: Option<&Bytes>) {
        if let Some(tag) = tag {
            self.dialogs.entry(tag.clone()).or_default().ended = true;
        }
    }

    pub(super) fn at_rest(&self) -> Verdict {
        for received in &self.received {
            let method = received.method;
            check(method != Method::Invite || received.outcome.is_some(), || {
                format!("INVITE {} has no final response", received.message.cseq)
            })?;
        }
        for sent in &self.sent {
            check(sent.held.is_empty(), || String::from("a success was never acknowledged"))?;
        }
        for (tag, dialog) in &self.dialogs {
            check(!dialog.answered || dialog.ended || self.forgotten, || {
                format!("the dialog with {} has no BYE", show(tag))
            })?;
        }
        Ok(())
    }
}

impl Sent {
    pub(super) fn new(method: Method, message: Glance, is_first: bool, at: Mono) -> Self {
        Self {
            method,
            message,
            at,
            is_first,
            provisional: false,
            progressed: false,
            outcome: None,
            cancelled_at: None,
            acks: BTreeMap::new(),
            held: vec![],
        }
    }

    /// Whether the client transaction is still there: timers B, D and M, and a CANCEL that nobody
    /// heeds.
    pub(super) fn waits_at(&self, now: Mono) -> bool {
        let since = match (self.outcome, self.cancelled_at) {
            (Some((_, at)), _) => at,
            (None, Some(at)) => at,
            (None, None) if self.provisional => return true,
            (None, None) => self.at,
        };
        now.since(since) + SLACK < PATIENCE
    }
}

impl Received {
    /// RFC 3261 §8.2.6.2, §12.1.1.
    pub(super) fn mirrors(&self, status: u16, response: &Glance) -> Verdict {
        let request = &self.message;
        check(response.from == request.from, || String::from("another From"))?;
        check(response.cseq == request.cseq, || String::from("another CSeq"))?;
        check(response.to.starts_with(&request.to), || String::from("another To"))?;
        check(response.vias.len() == request.vias.len(), || String::from("other Vias"))?;
        check(status == 100 || response.to_tag.is_some(), || String::from("no To tag"))?;
        if self.method == Method::Invite && (200..300).contains(&status) {
            check(response.contact.is_some(), || String::from("no Contact"))?;
        }
        if self.is_first && (101..300).contains(&status) {
            check(response.record_routes == request.record_routes, || {
                String::from("other Record-Routes")
            })?;
        }
        Ok(())
    }
}
