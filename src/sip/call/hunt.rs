//! The hunt: one target after the other, until one answers or none is left.

use std::mem;

use crate::reason::Reason;
use crate::sip::leg::event::{Command, LegEvent};
use crate::time::Mono;

use super::plan::{self, FailedAs, Plan};
use super::report::{AttemptNumber, Party, Report};
use super::signs::Signs;
use super::{Call, Failure, Output, Outputs, State};

impl Call {
    pub(super) fn decided(&mut self, plan: Box<Plan>, now: Mono, out: &mut Outputs) {
        if !matches!(self.state, State::Deciding { .. }) {
            return;
        }
        self.ring_until = now + plan.ring_budget;
        self.plan = Some(plan);
        self.next_attempt(0, now, out);
    }

    /// Asks for the hold of the attempt after `last` that is at another target, or at a place that was
    /// named; ends a hunt that has none.
    pub(super) fn next_attempt(&mut self, last: AttemptNumber, now: Mono, out: &mut Outputs) {
        let mut attempt = last + 1;
        while self.is_another_way(attempt) {
            attempt += 1;
        }
        self.make_attempt(attempt, now, out);
    }

    /// Asks for the hold of an attempt, or ends a hunt that has no such.
    pub(super) fn make_attempt(&mut self, attempt: AttemptNumber, now: Mono, out: &mut Outputs) {
        if let Some(planned) = self.attempt(attempt)
            && now < self.ring_until
        {
            if self.attempt(attempt + 1).is_some_and(|next| next.manner.beside) {
                self.ring_side_by_side(attempt, now, out);
                return;
            }
            if let Some(reason) = undialable(planned) {
                // No hold: what cannot be dialled must not use up a cap.
                self.begin(attempt, out);
                self.attempt_failed(attempt, Failure::of(reason), now, out);
                return;
            }
            self.state = State::Holding { attempt, until: now + self.limits.decision };
            out.push(Output::PlaceHold { attempt });
            return;
        }
        let failure = match self.last_failure.take() {
            Some(failure) => *failure,
            None => Failure::of(Reason::NoneEligible),
        };
        self.give_up(Party::System, failure, out);
    }

    pub(super) fn begin(&mut self, attempt: AttemptNumber, out: &mut Outputs) {
        self.tried = true;
        out.push(Output::Report(Report::AttemptStarted { attempt }));
    }

    /// The hunt got to nobody.
    pub(super) fn give_up(&mut self, party: Party, failure: Failure, out: &mut Outputs) {
        let told = self.plan.as_ref().and_then(|plan| {
            let FailedAs { tried, denied } = plan.failed;
            if self.tried { tried } else { denied }
        });
        self.end_unanswered(party, Failure { told, ..failure }, out);
    }

    pub(super) fn dial(&mut self, now: Mono, out: &mut Outputs) {
        let State::Holding { attempt, .. } = self.state else { return };
        if self.hands_over(attempt, now, out) {
            return;
        }
        self.begin(attempt, out);
        self.ring(attempt, now, out);
    }

    pub(super) fn ring(&mut self, attempt: AttemptNumber, now: Mono, out: &mut Outputs) {
        let Some(planned) = self.attempt(attempt) else { return };
        let rings_out = now + planned.ring_timeout;
        // A caller who was answered hears no ringing that could last too long.
        let ring_until = if self.taken { rings_out } else { rings_out.min(self.ring_until) };
        let signs = Signs::of(planned, now);
        self.state = State::Dialing { attempt, signs, ring_until, progressed: false };
        self.told.media = false;
        out.push(Output::Dial { attempt });
    }

    pub(super) fn target_while_dialing(&mut self, event: LegEvent, now: Mono, out: &mut Outputs) {
        let budget = self.ring_until;
        let State::Dialing { attempt, signs, ring_until, progressed } = &mut self.state else {
            return;
        };
        let attempt = *attempt;
        signs.seen(&event);
        match event {
            LegEvent::Trying => {}
            LegEvent::Progress { status, body } => {
                if !mem::replace(progressed, true) {
                    out.push(Output::Report(Report::AttemptProgress { attempt, status }));
                }
                let manner = self
                    .plan
                    .as_ref()
                    .and_then(|plan| plan.attempts.get(usize::from(attempt) - 1))
                    .map(|planned| (planned.manner.progress, planned.manner.leaves_progress));
                let (rules, leaves_progress) = manner.unwrap_or_default();
                if !leaves_progress && (status == 183 || body.is_some()) {
                    *ring_until = budget.max(*ring_until);
                }
                let shown = rules.show(status, body.is_some(), &mut self.told);
                if let Some(shown) = shown.filter(|_| !self.taken) {
                    let body = body.filter(|_| shown.with_body);
                    out.push(Output::ToCaller(Command::Progress { status: shown.status, body }));
                }
            }
            LegEvent::Answered { body } => {
                let Some(ends_at) = self.ends_at(attempt, now) else { return };
                let until = now + self.limits.answer_wait;
                self.state = State::Answering { attempt, until, body, ends_at, answered_at: now };
                out.push(Output::Report(Report::Answered { attempt }));
                out.push(Output::AwaitDurable);
            }
            LegEvent::Refused { status, q850, why } => {
                let reason = refusal_reason(status);
                let failure = Failure { status: Some(status), q850, why, ..Failure::of(reason) };
                self.attempt_failed(attempt, failure, now, out);
            }
            LegEvent::Redirected { status, contacts } => {
                self.redirected(attempt, status, contacts, now, out);
            }
            LegEvent::Lost { reason } => {
                self.attempt_failed(attempt, Failure::of(reason), now, out);
            }
            LegEvent::HungUp { .. } => {
                // A BYE in an early dialog: the target refuses (RFC 3261 §15 allows it only to the
                // caller of a dialog, but it happens).
                out.push(Output::Abandon { why: None });
                self.attempt_failed(attempt, Failure::of(Reason::AttemptRejected), now, out);
            }
            LegEvent::Confirmed
            | LegEvent::Cancelled { .. }
            | LegEvent::ReferAnswered { .. }
            | LegEvent::Notified { .. } => {}
        }
    }

    /// When a call that is answered now must be over.
    pub(super) fn ends_at(&self, attempt: AttemptNumber, now: Mono) -> Option<Mono> {
        let planned = self.attempt(attempt)?;
        Some(now + planned.max_duration.min(self.limits.max_call))
    }

    pub(super) fn attempt_failed(
        &mut self,
        attempt: AttemptNumber,
        failure: Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        if self.moves_on_to_next_address(attempt, &failure, now, out) {
            self.ring(attempt, now, out);
            return;
        }
        if self.has_another_way(attempt, &failure, now) {
            self.go_another_way(attempt, failure, now, out);
            return;
        }
        self.attempt_over(attempt, &failure, now, out);
        self.move_on(attempt, failure, now, out);
    }

    /// After attempt `last`: to the next one, unless this failure ends the hunt.
    pub(super) fn move_on(
        &mut self,
        last: AttemptNumber,
        failure: Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        if self.stops(last, &failure) {
            self.give_up(Party::Target, failure, out);
        } else {
            self.last_failure = Some(Box::new(failure));
            self.next_attempt(last, now, out);
        }
    }

    /// Writes off an attempt; what follows is up to the caller of this.
    pub(super) fn attempt_over(
        &mut self,
        attempt: AttemptNumber,
        failure: &Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        out.push(Output::Report(failure.report(attempt)));
        // The attempt has had its end, and must not get another one on the way out.
        self.state = State::Holding { attempt, until: now };
    }

    /// Whether no other target may be tried after this failure of an attempt.
    pub(super) fn stops(&self, attempt: AttemptNumber, failure: &Failure) -> bool {
        let codes = self.attempt(attempt).and_then(|planned| planned.manner.failover.as_deref());
        let of_way = codes.and_then(|codes| codes.advance_on.as_ref());
        let advance_on = of_way.or_else(|| self.plan.as_ref().map(|plan| &plan.advance_on));
        failure.status.is_some_and(|status| advance_on.is_none_or(|it| !it.contains(&status)))
    }
}

/// Why an attempt cannot even be begun.
pub(super) fn undialable(planned: &plan::Attempt) -> Option<Reason> {
    if planned.manner.barred {
        Some(Reason::AttemptBarred)
    } else if planned.destination.is_none() {
        Some(Reason::AttemptUnresolved)
    } else {
        None
    }
}

/// What a target's final status says.
pub(super) fn refusal_reason(status: u16) -> Reason {
    match status {
        300..400 => Reason::AttemptRedirected,
        486 | 600 => Reason::AttemptBusy,
        408 => Reason::AttemptNoAnswer,
        500..600 => Reason::AttemptCarrierFailed,
        _ => Reason::AttemptRejected,
    }
}
