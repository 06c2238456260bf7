//! Targets that ring side by side (spec/sip B22; RFC 3261 §16.7): the first to answer has the call,
//! the others are told that it was taken. One is asked for and dialled after the other, so that
//! each has its hold before it rings.
//!
//! ```text
//! hold 1 ─► dial 1, hold 2 ─► dial 2, hold 3 ─► …      all ring; the first answer ends the race
//! ```
//!
//! A refusal that ends a hunt ends it here once nobody is left who may answer; 6xx, which speaks
//! for all, ends it at once. Nobody is heard before one has answered: early media is ringing.

use std::mem;

use bytes::Bytes;
use smallvec::SmallVec;

use super::hunt::{refusal_reason, undialable};
use super::report::{AttemptNumber, Party, Report};
use super::signs::Signs;
use super::{Call, Failure, Output, Outputs, State};
use crate::reason::Reason;
use crate::sip::leg::event::{Command, LegEvent};
use crate::time::Mono;

/// Attempts that ring side by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parallel {
    branches: SmallVec<[Branch; 2]>,
    /// The attempt whose hold was asked for, and until when the answer is waited for.
    holding: Option<(AttemptNumber, Mono)>,
    /// The attempt whose turn to be asked for is next.
    next: AttemptNumber,
    /// Other ways to targets that were not reached, which wait to be asked for.
    ways: SmallVec<[AttemptNumber; 1]>,
    /// The last attempt of the group.
    last: AttemptNumber,
    /// What is told of the group if all of it fails: a refusal that ends the hunt goes before one
    /// that does not.
    failure: Option<Failure>,
    /// The answer about a hold never came: nothing more is asked.
    stalled: bool,
}

/// One that rings.
#[derive(Clone, Debug, PartialEq)]
struct Branch {
    attempt: AttemptNumber,
    signs: Signs,
    ring_until: Mono,
    progressed: bool,
}

/// RFC 3326 §3.1 as used by RFC 3261 §16.7: the target did not miss this call.
const ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

impl Parallel {
    pub(super) fn deadline(&self) -> Mono {
        let branches = self.branches.iter().map(Branch::deadline);
        let holding = self.holding.map(|(_, until)| until);
        // A group with neither is over, and was left at once.
        branches.chain(holding).min().unwrap_or(Mono(0))
    }

    pub(super) fn has_progressed(&self, attempt: AttemptNumber) -> bool {
        self.branches.iter().any(|branch| branch.attempt == attempt && branch.progressed)
    }

    pub(super) fn asks_for(&self, attempt: AttemptNumber) -> bool {
        self.holding.is_some_and(|(asked, _)| asked == attempt)
    }

    /// CANCELs and reports all that ring.
    pub(super) fn abandon_all(&self, failure: &Failure, why: Option<&Bytes>, out: &mut Outputs) {
        for branch in &self.branches {
            let attempt = branch.attempt;
            out.push(Output::AbandonBranch { attempt, why: why.cloned() });
            out.push(Output::Report(failure.report(attempt)));
        }
    }

    fn is_over(&self) -> bool {
        self.branches.is_empty() && self.holding.is_none()
    }

    /// Whose hold is to be asked for: first those of targets that have had no turn.
    fn take_next(&mut self) -> Option<AttemptNumber> {
        if self.next > self.last {
            return self.ways.pop();
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl Branch {
    fn deadline(&self) -> Mono {
        self.signs.deadline().map_or(self.ring_until, |by| by.min(self.ring_until))
    }
}

impl Call {
    /// Begins the group that `first` leads.
    pub(super) fn ring_side_by_side(&mut self, first: AttemptNumber, now: Mono, out: &mut Outputs) {
        let mut last = first;
        while self.attempt(last + 1).is_some_and(|next| next.manner.beside) {
            last += 1;
        }
        self.told.media = false;
        let (branches, ways, holding) = (SmallVec::new(), SmallVec::new(), None);
        let (next, failure, stalled) = (first, None, false);
        let parallel = Parallel { branches, holding, next, ways, last, failure, stalled };
        self.state = State::Ringing(Box::new(parallel));
        self.hold_branch(now, out);
    }

    /// Asks for the hold of the next attempt that can be dialled, unless one is being asked for.
    fn hold_branch(&mut self, now: Mono, out: &mut Outputs) {
        let until = now + self.limits.decision;
        loop {
            let State::Ringing(parallel) = &mut self.state else { return };
            if parallel.holding.is_some() {
                return;
            }
            let is_of_a_target = parallel.next <= parallel.last;
            let next = if parallel.stalled { None } else { parallel.take_next() };
            let Some(attempt) = next else { break };
            if is_of_a_target && self.is_another_way(attempt) {
                continue;
            }
            let undialable = self.attempt(attempt).and_then(undialable);
            let Some(reason) = undialable else {
                let State::Ringing(parallel) = &mut self.state else { return };
                parallel.holding = Some((attempt, until));
                out.push(Output::PlaceHold { attempt });
                return;
            };
            self.begin(attempt, out);
            self.branch_is_not_made(attempt, Failure::of(reason), now, out);
        }
        self.leave_if_over(now, out);
    }

    /// An attempt of the group has failed before any INVITE left.
    fn branch_is_not_made(
        &mut self,
        attempt: AttemptNumber,
        failure: Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        let has_another_way = self.has_another_way(attempt, &failure, now);
        let State::Ringing(parallel) = &mut self.state else { return };
        if has_another_way {
            out.push(Output::Report(failure.way_report(attempt)));
            parallel.ways.push(attempt + 1);
        } else {
            out.push(Output::Report(failure.report(attempt)));
        }
        parallel.failure.get_or_insert(failure);
    }

    /// The hold asked for stands.
    pub(super) fn dial_branch(&mut self, now: Mono, out: &mut Outputs) {
        let State::Ringing(parallel) = &mut self.state else { return };
        let Some((attempt, _)) = parallel.holding.take() else { return };
        self.begin(attempt, out);
        self.ring_branch(attempt, now, out);
        self.hold_branch(now, out);
    }

    fn ring_branch(&mut self, attempt: AttemptNumber, now: Mono, out: &mut Outputs) {
        let budget = self.ring_until;
        let State::Ringing(parallel) = &mut self.state else { return };
        let planned = self.plan.as_ref().and_then(|plan| plan.attempts.get(index(attempt)));
        let Some(planned) = planned else { return };
        parallel.branches.push(Branch {
            attempt,
            signs: Signs::of(planned, now),
            ring_until: (now + planned.ring_timeout).min(budget),
            progressed: false,
        });
        out.push(Output::DialBranch { attempt });
    }

    /// The hold asked for does not stand.
    pub(super) fn deny_branch(&mut self, reason: Reason, now: Mono, out: &mut Outputs) {
        let State::Ringing(parallel) = &mut self.state else { return };
        let Some((attempt, _)) = parallel.holding.take() else { return };
        self.branch_is_not_made(attempt, Failure::of(reason), now, out);
        self.hold_branch(now, out);
    }

    /// Something happened on the leg of one of the group.
    pub(super) fn branch(
        &mut self,
        attempt: AttemptNumber,
        event: LegEvent,
        now: Mono,
        out: &mut Outputs,
    ) {
        let budget = self.ring_until;
        let State::Ringing(parallel) = &mut self.state else { return };
        let Some(branch) = parallel.branches.iter_mut().find(|it| it.attempt == attempt) else {
            return;
        };
        branch.signs.seen(&event);
        match event {
            LegEvent::Trying => {}
            LegEvent::Progress { status, body } => {
                if !mem::replace(&mut branch.progressed, true) {
                    out.push(Output::Report(Report::AttemptProgress { attempt, status }));
                }
                let planned = self.plan.as_ref().and_then(|plan| plan.attempts.get(index(attempt)));
                let Some(planned) = planned else { return };
                if !planned.manner.leaves_progress && (status == 183 || body.is_some()) {
                    branch.ring_until = budget;
                }
                let rules = planned.manner.progress.without_media();
                let rang = self.told.ringing;
                let shown = rules.show(status, body.is_some(), &mut self.told);
                // One that rings is heard; that more do adds nothing.
                if let Some(shown) = shown.filter(|shown| !(rang && shown.status == 180)) {
                    let command = Command::Progress { status: shown.status, body: None };
                    out.push(Output::ToCaller(command));
                }
            }
            LegEvent::Answered { body } => {
                let Some(ends_at) = self.ends_at(attempt, now) else { return };
                let until = now + self.limits.answer_wait;
                let state = State::Answering { attempt, until, body, ends_at, answered_at: now };
                let State::Ringing(mut parallel) = mem::replace(&mut self.state, state) else {
                    return;
                };
                parallel.branches.retain(|branch| branch.attempt != attempt);
                out.push(Output::Report(Report::Answered { attempt }));
                let lost = Failure::of(Reason::AnsweredElsewhere);
                parallel.abandon_all(&lost, Some(&Bytes::from_static(ELSEWHERE)), out);
                out.push(Output::AwaitDurable);
            }
            LegEvent::Refused { status, q850, why } => {
                let reason = refusal_reason(status);
                let failure = Failure { status: Some(status), q850, why, ..Failure::of(reason) };
                self.branch_failed(attempt, failure, now, out);
            }
            LegEvent::Lost { reason } => {
                self.branch_failed(attempt, Failure::of(reason), now, out);
            }
            LegEvent::HungUp { .. } => {
                out.push(Output::AbandonBranch { attempt, why: None });
                self.branch_failed(attempt, Failure::of(Reason::AttemptRejected), now, out);
            }
            // Those are for targets that ring alone, and for callers.
            LegEvent::Redirected { .. }
            | LegEvent::ReferAnswered { .. }
            | LegEvent::Notified { .. }
            | LegEvent::Confirmed
            | LegEvent::Cancelled { .. } => {}
        }
    }

    /// Some have rung out or are dead, or the answer about a hold is late.
    pub(super) fn branches_timeout(&mut self, now: Mono, out: &mut Outputs) {
        while let State::Ringing(parallel) = &mut self.state {
            let due = parallel.branches.iter().find(|branch| branch.deadline() <= now);
            if let Some(branch) = due {
                let reason = branch.signs.reason(branch.ring_until, now);
                let attempt = branch.attempt;
                out.push(Output::AbandonBranch { attempt, why: None });
                self.branch_failed(attempt, Failure::of(reason), now, out);
            } else if let Some((late, _)) = parallel.holding.take_if(|(_, until)| *until <= now) {
                out.push(Output::Report(Failure::of(Reason::DecisionTimeout).report(late)));
                // Its answer may still come, and must not be taken for that of another.
                parallel.stalled = true;
                self.leave_if_over(now, out);
            } else {
                return;
            }
        }
    }

    fn branch_failed(
        &mut self,
        attempt: AttemptNumber,
        failure: Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        if self.moves_on_to_next_address(attempt, &failure, now, out) {
            if let State::Ringing(parallel) = &mut self.state {
                parallel.branches.retain(|branch| branch.attempt != attempt);
            }
            self.ring_branch(attempt, now, out);
            return;
        }
        if self.has_another_way(attempt, &failure, now) {
            out.push(Output::Report(failure.way_report(attempt)));
            if let State::Ringing(parallel) = &mut self.state {
                parallel.branches.retain(|branch| branch.attempt != attempt);
                parallel.ways.push(attempt + 1);
                parallel.failure.get_or_insert(failure);
            }
            self.hold_branch(now, out);
            return;
        }
        out.push(Output::Report(failure.report(attempt)));
        let stops = self.stops(attempt, &failure);
        let speaks_for_all = stops && failure.status.is_some_and(|status| status >= 600);
        let State::Ringing(parallel) = &mut self.state else { return };
        parallel.branches.retain(|branch| branch.attempt != attempt);
        if speaks_for_all {
            self.give_up(Party::Target, failure, out);
            return;
        }
        let State::Ringing(parallel) = &mut self.state else { return };
        if stops || parallel.failure.as_ref().is_none_or(|it| it.status.is_none()) {
            parallel.failure = Some(failure);
        }
        self.leave_if_over(now, out);
    }

    /// Once nobody of the group is left, the hunt goes on or ends.
    fn leave_if_over(&mut self, now: Mono, out: &mut Outputs) {
        let State::Ringing(parallel) = &mut self.state else { return };
        if !parallel.is_over() {
            return;
        }
        let last = parallel.last;
        if parallel.stalled {
            self.end_unanswered(Party::System, Failure::of(Reason::DecisionTimeout), out);
            return;
        }
        let failure = parallel.failure.take().unwrap_or_else(|| Failure::of(Reason::NoneEligible));
        self.state = State::Holding { attempt: last, until: now };
        self.move_on(last, failure, now, out);
    }
}

/// Where an attempt stands in the plan; attempts count from 1.
fn index(attempt: AttemptNumber) -> usize {
    usize::from(attempt) - 1
}
