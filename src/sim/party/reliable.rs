//! Provisional responses that are confirmed (RFC 3262), sent by a target or heard by a caller.

use std::rc::Rc;

use super::{Act, Awaits, Deed, Party, Phase, Serials};
use crate::sim::text::Glance;
use crate::sip::message::Method;
use crate::time::Mono;

impl Party {
    /// A provisional response that wants to be confirmed is, in its turn (RFC 3262 §4).
    pub(super) fn hear_reliable(&mut self, response: &Glance, out: &mut Vec<Act>) {
        let Some(wait) = self.habits.reliable else { return };
        let Some(rseq) = response.rseq.filter(|_| response.requires("100rel")) else { return };
        if self.rseq.is_some_and(|last| rseq != last + 1) {
            return;
        }
        self.rseq = Some(rseq);
        let Some(invite) = self.invites.first_mut() else { return };
        let answers = !invite.has_offer && !response.body.is_empty();
        // The ACK has nothing to answer then.
        invite.has_offer |= answers;
        out.push(Act::Later(wait, Deed::Prack { rseq, answers }));
    }

    pub(super) fn prack(
        &mut self,
        rseq: u32,
        answers: bool,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        self.cseq += 1;
        let branch = self.new_branch();
        let body = if answers { self.sdp(serials) } else { String::new() };
        let invite = self.invites.first().map_or(0, |invite| invite.cseq);
        let more = format!("RAck: {rseq} {invite} INVITE\r\n");
        let message = self.request_with(Method::Prack, self.cseq, &branch, &[], &more, &body);
        out.push(Act::Send(message.clone()));
        let awaits = Awaits::Response { cseq: self.cseq, method: Method::Prack };
        self.keep(awaits, message, now, out);
    }

    pub(super) fn hear_prack(
        &mut self,
        prack: &Rc<Glance>,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let waiting = self.repeats.len();
        let awaited = prack.rack.map(|rseq| Awaits::Prack { rseq });
        self.repeats.retain(|it| Some(&it.awaits) != awaited.as_ref());
        let known = self.repeats.len() < waiting && self.phase != Phase::Over;
        self.reply(prack, if known { 200 } else { 481 }, serials, now, out);
    }

    /// Whether this is not yet to be said, because a response before it is not confirmed (RFC 3262
    /// §3).
    pub(super) fn must_wait(&self, status: u16) -> bool {
        (101..300).contains(&status)
            && self.phase == Phase::Early
            && self.repeats.iter().any(|it| matches!(it.awaits, Awaits::Prack { .. }))
    }

    pub(super) fn is_reliable(&self, invite: &Glance, status: u16) -> bool {
        (101..200).contains(&status) && self.habits.reliable.is_some() && invite.takes_reliable()
    }

    pub(super) fn progress_reliably(
        &mut self,
        invite: &Rc<Glance>,
        status: u16,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let rseq = self.rseq.map_or(7, |last| last + 1);
        self.rseq = Some(rseq);
        let describes = status == 183 && !self.described;
        self.described |= describes;
        let body = if describes { self.sdp(serials) } else { String::new() };
        let more = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        let message = self.response_with(invite, status, &self.tag, &more, &body);
        self.keep_reply(invite, &message);
        out.push(Act::Send(message.clone()));
        self.keep(Awaits::Prack { rseq }, message, now, out);
    }
}
