//! How each rule is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;

use super::Sabotage;
use crate::sim::text::{Glance, Start, show};
use crate::sip::call::report::{Means, Report};
use crate::sip::endpoint::Output;
use crate::sip::flow::Flow;
use crate::sip::message::Method;

/// Stands between the edge and those who watch it.
#[derive(Debug)]
pub(crate) struct Saboteur {
    sabotage: Sabotage,
    /// Where INVITEs went first, and on which branch, by Call-ID.
    invites: BTreeMap<Bytes, (Flow, Bytes)>,
    /// Calls that a BYE of ours has left for.
    left: BTreeSet<Bytes>,
    /// Branches of NOTIFYs that were answered before.
    heard: BTreeSet<Bytes>,
}

impl Saboteur {
    pub(crate) fn new(sabotage: Sabotage) -> Self {
        Self { sabotage, invites: BTreeMap::new(), left: BTreeSet::new(), heard: BTreeSet::new() }
    }

    /// Changes what leaves the edge.
    pub(crate) fn tamper(&mut self, out: &mut Vec<Output>) {
        let mut tampered = Vec::with_capacity(out.len());
        let mut acknowledged = None;
        for output in out.drain(..) {
            let Output::Send { flow, message } = output else {
                self.misreport(output, &mut tampered);
                continue;
            };
            let Ok(glance) = Glance::read(&message) else {
                tampered.push(Output::Send { flow, message });
                continue;
            };
            if let Some(method) = glance.method() {
                let was = acknowledged.replace((method, glance.call_id.clone()));
                let after_ack = was == Some((Method::Ack, glance.call_id.clone()));
                if self.sabotage == Sabotage::LostBye && method == Method::Bye && after_ack {
                    continue;
                }
                if method == Method::Bye {
                    self.left.insert(glance.call_id.clone());
                }
            }
            let is_notify = glance.cseq_method == Method::Notify;
            if is_notify && !self.left.contains(&glance.call_id) {
                self.heard.insert(glance.branch.clone());
            }
            let (flow, message) = self.mislead(flow, message, &glance);
            let (before, instead, after) = self.change(&glance, &message);
            let send = |message| Output::Send { flow, message };
            tampered.extend(before.map(send));
            tampered.extend(instead.map(send));
            tampered.extend(after.map(send));
        }
        *out = tampered;
    }

    /// To where this goes instead, and as what.
    fn mislead(&mut self, flow: Flow, message: Bytes, glance: &Glance) -> (Flow, Bytes) {
        let new_invite = glance.method() == Some(Method::Invite) && glance.to_tag.is_none();
        if new_invite {
            let first = (flow, glance.branch.clone());
            let (known, branch) = self.invites.entry(glance.call_id.clone()).or_insert(first);
            let is_further = known.peer != flow.peer;
            return match self.sabotage {
                Sabotage::SameAddress if is_further => (*known, message),
                Sabotage::KeptBranch if is_further => {
                    let text = show(&message).replace(&show(&glance.branch), &show(branch));
                    (flow, Bytes::from(text))
                }
                _ => (flow, message),
            };
        }
        let strays = self.sabotage == Sabotage::StrayAck && glance.method() == Some(Method::Ack);
        let peer = SocketAddr::from(([198, 51, 100, 99], 5060));
        (if strays { Flow { peer, ..flow } } else { flow }, message)
    }

    /// What is reported instead.
    fn misreport(&self, output: Output, out: &mut Vec<Output>) {
        let Output::Report { call, id, at, report, last_heard } = output else {
            out.push(output);
            return;
        };
        let mut tell = |report| out.push(Output::Report { call, id, at, report, last_heard });
        match (self.sabotage, report) {
            (Sabotage::NamedTwice, Report::Extended { after, uris }) => {
                let uris = [uris.clone(), uris].concat();
                tell(Report::Extended { after, uris });
            }
            (Sabotage::EndlessRedirect, report @ Report::Extended { after, .. }) => {
                tell(report);
                (0..10).for_each(|_| tell(Report::Extended { after, uris: vec![] }));
            }
            (Sabotage::TriedAgain, Report::Referred { attempt }) => {
                tell(Report::Referred { attempt });
                tell(Report::AttemptStarted { attempt: attempt + 1 });
            }
            (
                Sabotage::WrongOutcome,
                Report::HandedOver { attempt, by: by @ Means::Refer, status },
            ) => {
                let status = if status.is_some() { None } else { Some(200) };
                tell(Report::HandedOver { attempt, by, status });
            }
            (Sabotage::UnfailedWay, Report::WayFailed { .. }) => {}
            (Sabotage::BusyWay, Report::WayFailed { attempt, q850, reason, .. }) => {
                tell(Report::WayFailed { attempt, status: Some(486), q850, reason });
            }
            (_, report) => tell(report),
        }
    }

    /// What leaves before this message, in its place, and after it.
    fn change(
        &self,
        glance: &Glance,
        message: &Bytes,
    ) -> (Option<Bytes>, Option<Bytes>, Option<Bytes>) {
        let as_it_is = (None, Some(message.clone()), None);
        let with = |edited: String| (None, Some(Bytes::from(edited)), None);
        let followed = |by: String| (None, Some(message.clone()), Some(Bytes::from(by)));
        let text = show(message);
        let is_invite = glance.cseq_method == Method::Invite;
        let new_invite = glance.method() == Some(Method::Invite) && glance.to_tag.is_none();
        match (self.sabotage, &glance.start) {
            (Sabotage::LostAck, Start::Request { method: Method::Ack, .. }) => (None, None, None),
            (Sabotage::LostFinal, Start::Response { status }) if *status >= 200 && is_invite => {
                (None, None, None)
            }
            (Sabotage::SecondFinal, Start::Response { status: 200 }) if is_invite => {
                followed(text.replacen("SIP/2.0 200 OK", "SIP/2.0 486 Busy Here", 1))
            }
            (Sabotage::EarlyCancel, Start::Request { .. }) if new_invite => {
                followed(without_body(&text).replace("INVITE", "CANCEL"))
            }
            (Sabotage::EarlyBye, Start::Request { .. }) if new_invite => {
                let bye = without_body(&text).replace("INVITE", "BYE");
                let bye = bye.replace("branch=z9hG4bK", "branch=z9hG4bKbye");
                followed(bye.replacen(&show(&glance.to), &format!("{};tag=x", show(&glance.to)), 1))
            }
            (Sabotage::OldNumber, Start::Request { method: Method::Bye, .. }) => {
                with(text.replacen(&format!("CSeq: {} BYE", glance.cseq), "CSeq: 1 BYE", 1))
            }
            (Sabotage::LostRoute, Start::Request { method: Method::Bye, .. }) => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("Route:"));
                with(lines.collect::<Vec<_>>().join("\r\n"))
            }
            (Sabotage::Leak, Start::Request { .. }) if new_invite => {
                with(text.replacen("\r\n", "\r\nX-Caller-Name: aleg\r\n", 1))
            }
            (Sabotage::ChangedRepeat, Start::Response { status: 200 }) if is_invite => {
                followed(text.replacen("\r\n", "\r\nX-Again: yes\r\n", 1))
            }
            (Sabotage::SecondInvite, Start::Request { .. }) if new_invite => {
                let call_id = show(&glance.call_id);
                followed(text.replace(&call_id, &format!("again-{call_id}")))
            }
            (Sabotage::LostPrack, Start::Request { method: Method::Prack, .. }) => {
                (None, None, None)
            }
            (Sabotage::SecondReliable, Start::Response { .. }) if glance.rseq.is_some() => {
                followed(numbered(&text, glance.rseq, 1))
            }
            (Sabotage::SkippedRseq, Start::Response { .. }) if glance.rseq.is_some() => {
                followed(numbered(&text, glance.rseq, 2))
            }
            (Sabotage::UnaskedReliable, Start::Response { status: 180 })
                if glance.rseq.is_none() =>
            {
                with(text.replacen("\r\n", "\r\nRequire: 100rel\r\nRSeq: 7\r\n", 1))
            }
            (Sabotage::EarlyUpdate, Start::Request { method: Method::Prack, .. }) => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("RAck:"));
                let update = lines.collect::<Vec<_>>().join("\r\n").replace("PRACK", "UPDATE");
                (Some(Bytes::from(update)), Some(message.clone()), None)
            }
            (Sabotage::ShortSession, Start::Request { .. }) if new_invite => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("Session-Expires:"));
                let text = lines.collect::<Vec<_>>().join("\r\n");
                with(text.replacen("\r\n", "\r\nSession-Expires: 10\r\n", 1))
            }
            (Sabotage::ForbiddenPlace, Start::Request { .. }) if new_invite => {
                with(text.replacen("@198.51.100.", "@198.51.100.66.", 1))
            }
            (Sabotage::NotBridged, Start::Request { .. }) if new_invite => (None, None, None),
            (Sabotage::WrongContact, Start::Response { status: 302 }) => {
                with(text.replacen("\r\nContact:", "\r\nContact: <sip:x@y>\r\nContact:", 1))
            }
            (Sabotage::WrongReferral, Start::Request { method: Method::Refer, .. }) => {
                with(text.replacen("Refer-To: <sip:", "Refer-To: <sip:not-", 1))
            }
            (Sabotage::EarlyRefer, Start::Response { status: 200 }) if is_invite => {
                followed(early_refer(glance))
            }
            (Sabotage::UnknownNotify, Start::Response { status: 200 })
                if glance.cseq_method == Method::Notify
                    && self.left.contains(&glance.call_id)
                    && !self.heard.contains(&glance.branch) =>
            {
                with(text.replacen("SIP/2.0 200 OK", "SIP/2.0 481 Gone", 1))
            }
            _ => as_it_is,
        }
    }
}

/// The same response with a later RSeq.
fn numbered(text: &str, rseq: Option<u32>, later: u32) -> String {
    let rseq = rseq.unwrap_or_default();
    text.replacen(&format!("RSeq: {rseq}"), &format!("RSeq: {}", rseq + later), 1)
}

/// The header of a message, with an empty body announced.
fn without_body(text: &str) -> String {
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let kept = header.split("\r\n").filter(|line| !line.starts_with("Content-"));
    format!("{}\r\nContent-Length: 0\r\n\r\n", kept.collect::<Vec<_>>().join("\r\n"))
}

/// A REFER in the dialog that this answer opens.
fn early_refer(answer: &Glance) -> String {
    format!(
        "REFER sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKearly\r\n\
         Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 REFER\r\n\
         Refer-To: <sip:x@y>\r\nContact: <sip:y>\r\nContent-Length: 0\r\n\r\n",
        show(&answer.to),
        show(&answer.from),
        show(&answer.call_id),
    )
}
