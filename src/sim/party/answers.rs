//! What a party does about the requests that reach it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Act, Awaits, Deed, Party, Phase, Serials, T1};
use crate::sim::habits::{Habits, OnCancel, Reply};
use crate::sim::text::{self, Glance};
use crate::sip::message::Method;
use crate::time::Mono;

impl Party {
    pub(super) fn hear_request(
        &mut self,
        request: &Rc<Glance>,
        method: Method,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        if method == Method::Ack {
            self.hear_ack(request, out);
            return;
        }
        let known = |(branch, of, _): &&(Bytes, Method, Option<Bytes>)| {
            *branch == request.branch && *of == method
        };
        if let Some((_, _, reply)) = self.replies.iter().find(known) {
            out.extend(reply.clone().map(Act::Send));
            return;
        }
        self.replies.push((request.branch.clone(), method, None));
        let then = |steps: &[(Duration, u16)], out: &mut Vec<Act>| {
            let mut at = Duration::ZERO;
            for (wait, status) in steps {
                at += *wait;
                out.push(Act::Later(at, Deed::Reply(request.clone(), *status)));
            }
        };
        match method {
            Method::Cancel => self.hear_cancel(request, serials, now, out),
            Method::Prack => self.hear_prack(request, serials, now, out),
            Method::Bye => {
                self.phase = Phase::Over;
                let tag = request.to_tag.as_deref().map(text::show).unwrap_or_default();
                self.repeats
                    .retain(|it| !matches!(&it.awaits, Awaits::Ack { tag: of, .. } if *of == tag));
                if let Reply::With(steps) = self.habits.on_bye.clone() {
                    then(&steps, out);
                }
            }
            Method::Invite if request.to_tag.is_none() => {
                let Habits { steps, vanish, .. } = &self.habits;
                out.extend(steps.iter().map(|(at, status)| Act::Later(*at, Deed::Step(*status))));
                out.extend(vanish.map(|at| Act::Later(at, Deed::Vanish)));
            }
            _ if self.phase == Phase::Over => then(&[(Duration::ZERO, 481)], out),
            Method::Refer => self.hear_refer(request, out),
            Method::Invite => {
                if let Reply::With(steps) = self.habits.on_reinvite.clone() {
                    then(&steps, out);
                }
            }
            _ => {
                if let Reply::With(steps) = self.habits.on_request.clone() {
                    then(&steps, out);
                }
            }
        }
    }

    pub(super) fn hear_ack(&mut self, ack: &Glance, out: &mut Vec<Act>) {
        let tag = ack.to_tag.as_deref().map(text::show).unwrap_or_default();
        let awaits = Awaits::Ack { cseq: ack.cseq, tag };
        let awaited = self.repeats.len();
        self.repeats.retain(|it| it.awaits != awaits);
        if self.repeats.len() == awaited || self.phase != Phase::Answered {
            return;
        }
        self.phase = Phase::Up;
        for n in 0..self.habits.repeats_answer {
            out.push(Act::Later(T1 * u32::from(n), Deed::AnswerAgain));
        }
        self.begin_talk(out);
    }

    pub(super) fn hear_cancel(
        &mut self,
        cancel: &Rc<Glance>,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let is_ours = self.invite.as_ref().is_some_and(|invite| invite.branch == cancel.branch);
        if !is_ours || self.habits.on_cancel == OnCancel::Deny {
            self.reply(cancel, 481, serials, now, out);
            return;
        }
        if self.habits.on_cancel == OnCancel::Ignore {
            return;
        }
        if self.phase == Phase::Early {
            // From now on the plan is another.
            self.cancelled = true;
        }
        match self.habits.on_cancel {
            OnCancel::Answer(wait) if wait.is_zero() => self.answer(200, serials, now, out),
            OnCancel::Answer(wait) => out.push(Act::Later(wait, Deed::Step(200))),
            OnCancel::Obey(wait) => out.push(Act::Later(wait, Deed::Step(487))),
            OnCancel::Acknowledge | OnCancel::Deny | OnCancel::Ignore => {}
        }
        self.reply(cancel, 200, serials, now, out);
    }

    /// The next response to the INVITE, unless a CANCEL has changed the plan.
    pub(super) fn step(
        &mut self,
        status: u16,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let planned = self.habits.steps.iter().any(|(_, step)| *step == status);
        let overtaken = self.cancelled
            && match self.habits.on_cancel {
                OnCancel::Answer(_) => status != 200,
                OnCancel::Obey(_) => status != 487,
                OnCancel::Acknowledge => true,
                OnCancel::Deny | OnCancel::Ignore => !planned,
            };
        if overtaken {
            return;
        }
        if self.must_wait(status) {
            out.push(Act::Later(Duration::from_millis(100), Deed::Step(status)));
            return;
        }
        self.answer(status, serials, now, out);
    }

    pub(super) fn answer(
        &mut self,
        status: u16,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let Some(invite) = self.invite.clone().filter(|_| self.phase == Phase::Early) else {
            return;
        };
        if status >= 200 && self.habits.changes_tag {
            self.tag.push_str("-changed");
        }
        if self.is_reliable(&invite, status) {
            self.progress_reliably(&invite, status, serials, now, out);
            return;
        }
        // What was described reliably is not described again, but for another dialog.
        let is_told = self.described && !self.habits.changes_tag;
        // Early media comes with every second 18x that is not 180.
        let describes = status == 183 || (status == 200 && !is_told);
        let body = if describes { self.sdp(serials) } else { String::new() };
        let message = self.response(&invite, status, &self.tag, &body);
        self.keep_reply(&invite, &message);
        out.push(Act::Send(message.clone()));
        if status < 200 {
            return;
        }
        self.repeats.retain(|it| !matches!(it.awaits, Awaits::Prack { .. }));
        self.phase = if status < 300 { Phase::Answered } else { Phase::Over };
        self.keep(Awaits::Ack { cseq: invite.cseq, tag: self.tag.clone() }, message, now, out);
        if status < 300
            && let Some(wait) = self.habits.second_answer
        {
            out.push(Act::Later(wait, Deed::SecondAnswer));
        }
    }

    pub(super) fn answer_again(&self, out: &mut Vec<Act>) {
        let invite = self.replies.iter().find(|(_, method, _)| *method == Method::Invite);
        out.extend(invite.and_then(|(.., answer)| answer.clone()).map(Act::Send));
    }

    /// Another branch of a fork answers too.
    pub(super) fn second_answer(&mut self, serials: &mut Serials, now: Mono, out: &mut Vec<Act>) {
        let Some(invite) = self.invite.clone() else { return };
        let tag = format!("tag-{}-fork", self.name);
        let body = self.sdp(serials);
        let message = self.response(&invite, 200, &tag, &body);
        out.push(Act::Send(message.clone()));
        self.keep(Awaits::Ack { cseq: invite.cseq, tag }, message, now, out);
    }

    pub(super) fn reply(
        &mut self,
        request: &Rc<Glance>,
        status: u16,
        serials: &mut Serials,
        now: Mono,
        out: &mut Vec<Act>,
    ) {
        let method = request.cseq_method;
        let negotiates = matches!(method, Method::Invite | Method::Update);
        let body = if status == 200 && negotiates { self.sdp(serials) } else { String::new() };
        let message = self.response(request, status, &self.tag, &body);
        self.keep_reply(request, &message);
        out.push(Act::Send(message.clone()));
        if method == Method::Invite && status >= 200 {
            let tag = request.to_tag.as_deref().map(text::show).unwrap_or_default();
            self.keep(Awaits::Ack { cseq: request.cseq, tag }, message, now, out);
        }
    }

    pub(super) fn keep_reply(&mut self, request: &Glance, message: &Bytes) {
        let method = request.cseq_method;
        let asked = self.replies.iter_mut().find(|it| it.0 == request.branch && it.1 == method);
        if let Some((.., last)) = asked {
            *last = Some(message.clone());
        }
    }
}
