//! Targets with several addresses, and places that targets name (spec/sip T16, B23): one leg at a
//! time, each address once, each with a branch of its own.

use std::net::SocketAddr;

use bytes::Bytes;

use super::leg::{Dialog, Leg};
use super::{Audit, Due, Verdict, check};
use crate::sim::party::Role;
use crate::sim::text::{Glance, Start};
use crate::sip::call::report::{AttemptNumber, Place};
use crate::sip::message::Method;

impl Audit {
    pub(super) fn leg_at(&self, call_id: &Bytes, address: SocketAddr) -> Option<usize> {
        let is_it = |leg: &Leg| leg.address == address && leg.call_id == *call_id;
        self.legs.iter().position(is_it)
    }

    /// The attempt that a leg with this Call-ID is of.
    pub(crate) fn attempt_of(&self, call_id: &Bytes) -> Option<AttemptNumber> {
        let mut legs = self.legs.iter().skip(1);
        legs.find(|leg| leg.call_id == *call_id && !leg.is_left).map(|leg| leg.attempt)
    }

    /// At how many addresses the attempt was made before, and how many its target has.
    pub(crate) fn addresses_of(&self, attempt: AttemptNumber) -> (usize, usize) {
        let all = self.route.place(attempt).map_or(0, |place| place.at.len());
        (self.legs_of(attempt).count(), all)
    }

    /// Whether the attempt is at a place that a target has named.
    pub(crate) fn is_named(&self, attempt: AttemptNumber) -> bool {
        self.route.place(attempt).is_some_and(|place| place.is_named)
    }

    /// An attempt goes on at another address under the same names (RFC 3263 §4.3), on a new branch,
    /// and only once nothing is to be expected of the last one any more.
    pub(super) fn may_go_on_at(&self, attempt: AttemptNumber, invite: &Glance) -> Verdict {
        let (before, _) = self.addresses_of(attempt);
        let left = self.attempts.get(&attempt).map_or(0, |it| it.left);
        check(before <= left, || format!("attempt {attempt} has two INVITEs"))?;
        for leg in self.legs_of(attempt) {
            check(leg.call_id == invite.call_id, || String::from("another Call-ID elsewhere"))?;
            check(leg.sent_by(&invite.branch, Method::Invite).is_none(), || {
                String::from("elsewhere with a branch that was used before")
            })?;
            check(!leg.rings(), || String::from("two addresses of a target ring at once"))?;
        }
        // One that was left before may ring late, and is called off then.
        let has_rung = self.legs_of(attempt).last().is_some_and(Leg::has_rung);
        check(!has_rung, || String::from("a target that has rung rings elsewhere"))
    }

    /// The INVITE of an attempt leaves: to what was planned or named, and not there again, unless
    /// it was refused for what it said (RFC 3261 §22.2, RFC 4028 §7.3).
    pub(super) fn may_call(&self, at: usize, message: &Glance) -> Verdict {
        let leg = &self.legs[at];
        let mut before = leg.sent.iter().filter(|it| it.is_first);
        let may = before.all(|it| matches!(it.outcome, Some((401 | 407 | 422, _))));
        check(may, || String::from("an address is called twice"))?;
        if leg.is_left {
            return Ok(());
        }
        self.route.leads(leg.attempt, message, leg.address)?;
        self.may_bridge(leg.attempt)
    }

    /// An address is given up: the one that was called, or one that cannot be.
    pub(super) fn is_left(&mut self, attempt: AttemptNumber, address: SocketAddr) -> Verdict {
        let last = self.legs_of(attempt).last();
        let is_last = last.is_none_or(|leg| leg.address == address || self.is_unsent(address));
        let place = self.route.place(attempt);
        let is_its = place.is_some_and(|place| place.at.contains(&address));
        self.attempts.entry(attempt).or_default().left += 1;
        check(is_last && is_its, || format!("{address} is given up and was not called"))
    }

    fn is_unsent(&self, address: SocketAddr) -> bool {
        !self.legs.iter().any(|leg| leg.address == address)
    }

    /// The target of an attempt has named places that are called.
    pub(super) fn extended(&mut self, after: AttemptNumber, uris: &[Place]) -> Verdict {
        let leg = self.legs_of(after).last();
        let (named, here) =
            leg.map(|leg| (leg.named.clone(), leg.address)).ok_or("a redirection of nobody")?;
        let uris: Vec<_> = uris.iter().map(Place::text).collect();
        self.route.extend(after, &uris, &named, here)
    }

    /// Redirections that named what may not be named.
    pub(crate) fn forbidden(&self) -> u64 {
        let legs = self.legs.iter().skip(1);
        let forbids = |leg: &&Leg| {
            leg.named.iter().any(|uri| self.route.forbids(leg.attempt, leg.address, uri))
        };
        legs.filter(forbids).count() as u64
    }

    /// Of an answer that comes when its attempt is over, or went on elsewhere, the BYE is due: there
    /// are never two legs up.
    pub(super) fn must_end(&self, due: Option<&Due>, message: &Glance) -> Option<Due> {
        let Some(Due::Ack { leg: at, tag, .. }) = due else { return None };
        let leg = &self.legs[*at];
        let is_answer = matches!(message.start, Start::Response { status: 200..300 });
        let sent = leg.sent_by(&message.branch, Method::Invite)?;
        if !is_answer || !sent.is_first || leg.role != Role::Target || leg.is_left {
            return None;
        }
        let is_last = self.legs_of(leg.attempt).last().is_some_and(|it| it.address == leg.address);
        let attempt = self.attempts.get(&leg.attempt);
        let is_open = attempt.is_some_and(|it| it.started && !it.ended);
        let is_bridged = leg.bridged.as_ref() == Some(tag);
        let is_awaited = is_last && is_open;
        (!is_bridged && !is_awaited).then(|| Due::Bye { leg: *at, tag: tag.clone() })
    }

    /// The attempt is the one that is answered.
    pub(super) fn note_bridged(&mut self, attempt: AttemptNumber) {
        let mut legs = self.legs.iter_mut().skip(1).rev();
        let Some(leg) = legs.find(|leg| leg.attempt == attempt && !leg.is_left) else { return };
        let is_up = |(_, dialog): &(&Bytes, &Dialog)| dialog.answered && !dialog.ended;
        leg.bridged = leg.dialogs.iter().find(is_up).map(|(tag, _)| tag.clone());
    }

    pub(super) fn legs_of(&self, attempt: AttemptNumber) -> impl Iterator<Item = &Leg> {
        let legs = self.legs.iter().skip(1);
        legs.filter(move |leg| leg.attempt == attempt && !leg.is_left)
    }
}

impl Leg {
    /// Something may still come of its INVITE that was not called off.
    pub(super) fn rings(&self) -> bool {
        let mut invites = self.sent.iter().filter(|it| it.is_first);
        invites.any(|it| it.provisional && it.outcome.is_none() && it.cancelled_at.is_none())
    }

    /// Its target has said more than 100.
    pub(super) fn has_rung(&self) -> bool {
        self.sent.iter().any(|it| it.is_first && it.progressed)
    }
}
