//! What few calls have: policies of the trunk for our responses, of a target for its INVITE, targets
//! that ring side by side, and calls that are handed over or transferred. All of it costs a plain
//! call one empty pointer.

use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::sip::call::report::{AttemptNumber, ReasonValue};
use crate::sip::leg::Leg;
use crate::sip::leg::event::Body;
use crate::sip::message::{BodyPart, Headers, Response, body_parts, is_multipart, write_multipart};
use crate::sip::policy::{AnswerPolicy, InviteExtras, Lines, Source, TargetPolicy, Variables};
use crate::time::Mono;

use super::CallEntry;
use super::handover::Connecting;
use super::rating::Names;
use super::transfer::Transfer;
use super::wire::Wire;

#[derive(Default)]
pub(super) struct Rare {
    /// Of attempts at targets with several addresses.
    pub(super) names: Vec<Names>,
    /// Legs of attempts that ring side by side, until one has answered.
    pub(super) branches: Vec<Leg>,
    pub(super) answers: Option<Arc<AnswerPolicy>>,
    /// What our next response to the caller says besides what SIP needs.
    pub(super) lines: Lines,
    /// The number of our newest REFER to the caller.
    pub(super) refer: Option<u32>,
    /// Until when a call that is over is kept, because a NOTIFY may still come (spec/sip R6).
    pub(super) linger_until: Option<Mono>,
    pub(super) connecting: Option<Connecting>,
    pub(super) transfer: Option<Box<Transfer>>,
    /// The number of the target's REFER that was passed on; the carrier's NOTIFYs are passed back.
    pub(super) relayed_refer: Option<u32>,
    /// Replacements of the target that were tried.
    pub(super) transfers: u8,
    /// What is spoken, where the caller's answer to its target's offer said it: until it is told.
    pub(super) spoken: Option<SmolStr>,
    /// When the party was last heard whose silence ends the call.
    pub(super) last_heard: Option<Mono>,
}

impl CallEntry {
    /// The leg of an attempt that is not over.
    pub(super) fn attempt_leg(&mut self, attempt: AttemptNumber) -> Option<&mut Leg> {
        let branches = self.rare.as_mut().map(|rare| &mut rare.branches);
        let mut legs = self.target.iter_mut().chain(branches.into_iter().flatten());
        legs.find(|leg| leg.number == attempt)
    }

    /// Every leg that there is a dialog on.
    pub(super) fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        let rare = self.rare.as_deref_mut();
        let rare = rare.map(|rare| (&mut rare.branches, rare.transfer.as_deref_mut()));
        let (branches, transfer) = rare.unzip();
        let transfer = transfer.flatten().map(Transfer::legs_mut);
        iter::once(&mut self.caller)
            .chain(&mut self.target)
            .chain(branches.into_iter().flatten())
            .chain(transfer.into_iter().flatten())
    }

    /// Whether this attempt rings beside others.
    pub(super) fn is_branch(&self, attempt: AttemptNumber) -> bool {
        let branches = self.rare.as_ref().map(|rare| &rare.branches);
        branches.is_some_and(|branches| branches.iter().any(|leg| leg.number == attempt))
    }

    /// Takes the leg of an attempt away: it is over, or it has won.
    pub(super) fn take_leg(&mut self, attempt: AttemptNumber) -> Option<Leg> {
        if let Some(leg) = self.target.take_if(|leg| leg.number == attempt) {
            return Some(leg);
        }
        let branches = self.branches_mut()?;
        let at = branches.iter().position(|leg| leg.number == attempt)?;
        Some(branches.swap_remove(at))
    }

    /// Puts the leg that was looked at back among those that ring side by side, if it is of them.
    pub(super) fn put_back(&mut self, is_branch: bool) {
        if is_branch && let Some(leg) = self.target.take() {
            self.add_branch(leg);
        }
    }

    pub(super) fn add_branch(&mut self, leg: Leg) {
        self.rare.get_or_insert_default().branches.push(leg);
    }

    /// CANCEL to one of those that ring side by side.
    pub(super) fn abandon_branch(
        &mut self,
        attempt: AttemptNumber,
        why: ReasonValue,
        wire: &mut Wire,
        now: Mono,
    ) {
        if let Some(leg) = self.take_leg(attempt) {
            wire.cancel(leg.invite, why, now);
        }
    }

    /// Keeps what goes to the caller of a target's response.
    pub(super) fn keep_lines(&mut self, response: &Response) {
        if let Some(rare) = &mut self.rare
            && let Some(answers) = &rare.answers
        {
            rare.lines = answers.lines(response);
        }
    }

    /// What the target's policy makes of its INVITE.
    pub(super) fn extras(
        &self,
        policy: &TargetPolicy,
        uri: &[u8],
        own_host: &[u8],
        wire: &Wire,
    ) -> Option<InviteExtras> {
        let entry = wire.transactions.get(self.caller.invite)?;
        let invite = &entry.request.as_ref()?.request;
        let none = Variables::new();
        let onward = &self.onward;
        let variables = self.call.variables().unwrap_or(&none);
        let (caller, display) = (onward.caller, &onward.display[..]);
        Some(policy.invite(&Source { invite, caller, display, variables, own_host, uri }))
    }

    /// The body of an INVITE to a target that takes more than a session description (RFC 5621).
    /// `offer` is the session description as this leg has it.
    pub(super) fn body_with_parts(
        &self,
        policy: &TargetPolicy,
        offer: Body,
        wire: &mut Wire,
    ) -> Body {
        let boundary = format!("tb{:016x}", wire.ids.random());
        let entry = wire.transactions.get(self.caller.invite);
        let request = entry.and_then(|entry| entry.request.as_ref()).map(|it| &it.request);
        let parts: Vec<BodyPart<'_>> = request
            .map(|request| body_parts(request.content_type().unwrap_or_default(), request.body()))
            .unwrap_or_default();
        let wanted = |part: &BodyPart<'_>| {
            let mut kinds = policy.body_parts.iter();
            kinds.any(|kind| part.essence().eq_ignore_ascii_case(kind.as_bytes()))
        };
        let others: Vec<_> =
            parts.into_iter().filter(|part| !part.is_session() && wanted(part)).collect();
        if others.is_empty() {
            return offer;
        }
        let bytes = Bytes::from(write_multipart(&offer.bytes, &others, boundary.as_bytes()));
        let content_type = Bytes::from(format!("multipart/mixed;boundary={boundary}"));
        Body { content_type, bytes }
    }

    fn branches_mut(&mut self) -> Option<&mut Vec<Leg>> {
        self.rare.as_mut().map(|rare| &mut rare.branches)
    }
}

/// The session description among the parts of a body (spec/sip P16), sharing the message's memory.
pub(super) fn session_part(headers: &Headers) -> Option<Body> {
    let content_type = headers.content_type().filter(|it| is_multipart(it))?;
    let parts = body_parts(content_type, headers.body());
    let part = parts.iter().find(|part| part.is_session())?;
    let content_type = Bytes::from_static(b"application/sdp");
    Some(Body { content_type, bytes: headers.slice_of(part.body) })
}
