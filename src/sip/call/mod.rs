//! The B2BUA: one caller, an ordered hunt over targets, one exit.
//!
//! `Call` hears [`LegEvent`]s from both legs and answers with [`Command`]s; it never sees a header.
//! It asks for a decision, for holds and for durability, and does not know who grants them.
//!
//! ```text
//! Deciding ─► Holding(n) ─► Dialing(n) ─► Answering ─► Connected ─► Ended
//!     │            │ denied      │ refused, rang out, dead │     ▲
//!     │            └──► n+1 ◄────┴──────── hung up at once ┘     │
//!     └─────────────────── teardown: the one exit ───────────────┘
//! ```
//!
//! Targets that ring side by side are one state, [`parallel`]; the rest is the same.
//!
//! Invariants, whatever arrives in whatever order: the caller's INVITE gets one final response;
//! there is one [`Report::Ended`], and it is last; no attempt starts after the caller gave up.

mod addresses;
pub mod cause;
mod handover;
mod hunt;
mod parallel;
pub mod plan;
mod recovery;
pub mod redirect;
pub mod report;
mod signs;
mod teardown;
mod ways;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::reason::Reason;
use crate::sip::leg::event::{Body, Command, LegEvent};
use crate::sip::policy::Variables;
use crate::sip::policy::progress::Told;
use crate::sip::trunk::FailureMap;
use crate::time::Mono;

pub(in crate::sip) use teardown::own_reason;

use handover::Phase;
use parallel::Parallel;
use plan::{Plan, Refusal};
use report::{AttemptNumber, Party, ReasonValue, Report};
use signs::Signs;

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    state: State,
    limits: CallLimits,
    failures: Arc<FailureMap>,
    plan: Option<Box<Plan>>,
    /// When all ringing must be over.
    ring_until: Mono,
    /// What became of the latest target to fail: the caller's answer if no other target is left.
    last_failure: Option<Box<Failure>>,
    /// What the caller has heard of ringing.
    told: Told,
    /// The caller was answered before any target, so that it could be referred.
    taken: bool,
    /// An attempt was begun.
    tried: bool,
}

/// Why a call, or an attempt, is not answered.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    /// The target's final status, if it gave one.
    status: Option<u16>,
    reason: Reason,
    /// Cause of ITU-T Q.850, if a party gave one.
    q850: Option<u8>,
    /// The party's Reason, for the other one (spec/sip B6).
    why: ReasonValue,
    /// What the caller is answered unless the trunk's failure map says otherwise.
    told: Option<u16>,
}

impl Failure {
    fn of(reason: Reason) -> Self {
        Self { status: None, reason, q850: None, why: None, told: None }
    }
}

/// Times that do not depend on the decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallLimits {
    /// From the INVITE to the decision (spec/sip B12).
    pub decision: Duration,
    /// How long an answer waits for the journal before it goes on without it (spec/data §1.2).
    pub answer_wait: Duration,
    /// The longest answered call, whatever its target allows (spec/sip D16).
    pub max_call: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Decided(Box<Plan>),
    Refused(Refusal),
    /// The hold of the attempt asked for stands.
    HoldPlaced,
    /// It does not: the target is full after all.
    HoldDenied(Reason),
    /// What was reported up to `AwaitDurable` is on disk.
    Durable,
    Caller(LegEvent),
    /// From the leg of this attempt; events of an attempt that is over never reach the call.
    Target(LegEvent),
    /// From one of the legs that ring side by side.
    Branch(AttemptNumber, LegEvent),
    /// An operator, a drain or a fault ends the call.
    End(Reason),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    PlaceHold {
        attempt: AttemptNumber,
    },
    Dial {
        attempt: AttemptNumber,
    },
    /// CANCEL the attempt in progress; whatever still comes from it is settled without the call.
    Abandon {
        why: ReasonValue,
    },
    /// Like `Dial`, beside the attempts that ring already.
    DialBranch {
        attempt: AttemptNumber,
    },
    /// Like `Abandon`, one of several.
    AbandonBranch {
        attempt: AttemptNumber,
        why: ReasonValue,
    },
    ToCaller(Command),
    ToTarget(Command),
    AwaitDurable,
    Report(Report),
}

pub type Outputs = SmallVec<[Output; 4]>;

/// What a carrier that got a 503 is asked to wait before it tries this server again.
pub const RETRY_AFTER_S: u32 = 5;

#[derive(Clone, Debug, PartialEq)]
enum State {
    Deciding {
        until: Mono,
    },
    Holding {
        attempt: AttemptNumber,
        until: Mono,
    },
    Dialing {
        attempt: AttemptNumber,
        signs: Signs,
        ring_until: Mono,
        progressed: bool,
    },
    Ringing(Box<Parallel>),
    /// The carrier is told whom to call.
    Handing {
        attempt: AttemptNumber,
        phase: Phase,
        until: Mono,
    },
    Answering {
        attempt: AttemptNumber,
        until: Mono,
        body: Option<Body>,
        ends_at: Mono,
        answered_at: Mono,
    },
    Connected {
        attempt: AttemptNumber,
        ends_at: Mono,
        answered_at: Mono,
        /// The caller has taken the answer.
        confirmed: bool,
    },
    /// The target left before the caller took its answer, which is waited for.
    Left {
        next: AttemptNumber,
        until: Mono,
    },
    Ended,
}

impl Call {
    /// Waits for a decision.
    ///
    /// `failures` says what the caller's carrier is answered when the call fails.
    pub fn new(limits: CallLimits, failures: Arc<FailureMap>, now: Mono) -> Self {
        Self {
            state: State::Deciding { until: now + limits.decision },
            limits,
            failures,
            plan: None,
            ring_until: now,
            last_failure: None,
            told: Told::default(),
            taken: false,
            tried: false,
        }
    }

    pub fn handle(&mut self, input: Input, now: Mono, out: &mut Outputs) {
        match input {
            Input::Decided(plan) => self.decided(plan, now, out),
            Input::Refused(refusal) => {
                if matches!(self.state, State::Deciding { .. }) {
                    let Refusal { reason, status } = refusal;
                    let failure = Failure { told: status, ..Failure::of(reason) };
                    self.end_unanswered(Party::System, failure, out);
                }
            }
            Input::HoldPlaced if matches!(self.state, State::Ringing(_)) => {
                self.dial_branch(now, out);
            }
            Input::HoldPlaced => self.dial(now, out),
            Input::HoldDenied(reason) => {
                if let State::Holding { attempt, .. } = self.state {
                    let failure = Failure::of(reason);
                    if self.has_another_way(attempt, &failure, now) {
                        self.go_another_way(attempt, failure, now, out);
                        return;
                    }
                    out.push(Output::Report(failure.report(attempt)));
                    self.last_failure = Some(Box::new(failure));
                    self.next_attempt(attempt, now, out);
                } else {
                    self.deny_branch(reason, now, out);
                }
            }
            Input::Durable => {
                if let State::Handing { attempt, phase: Phase::Written, .. } = self.state {
                    self.redirect_caller(attempt, out);
                } else {
                    self.relay_answer(out);
                }
            }
            Input::Caller(LegEvent::Confirmed) if matches!(self.state, State::Left { .. }) => {
                self.call_next(now, out);
            }
            Input::Caller(event) => {
                if let Some(event) = self.caller_while_handing(event, now, out) {
                    self.caller(event, out);
                }
            }
            Input::Target(event) => self.target(event, now, out),
            Input::Branch(attempt, event) => self.branch(attempt, event, now, out),
            Input::End(reason) => self.end(Party::System, Failure::of(reason), out),
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Deciding { until }
            | State::Holding { until, .. }
            | State::Handing { until, .. }
            | State::Answering { until, .. }
            | State::Left { until, .. } => Some(*until),
            State::Dialing { signs, ring_until, .. } => {
                Some(signs.deadline().map_or(*ring_until, |by| by.min(*ring_until)))
            }
            State::Ringing(parallel) => Some(parallel.deadline()),
            State::Connected { ends_at, .. } => Some(*ends_at),
            State::Ended => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.state {
            State::Deciding { .. } => {
                let failure = Failure::of(Reason::DecisionTimeout);
                self.end_unanswered(Party::System, failure, out);
            }
            State::Holding { attempt, .. } => {
                let failure = Failure::of(Reason::DecisionTimeout);
                out.push(Output::Report(failure.report(*attempt)));
                self.end_unanswered(Party::System, failure, out);
            }
            State::Dialing { attempt, ring_until, signs, .. } => {
                let attempt = *attempt;
                let reason = signs.reason(*ring_until, now);
                out.push(Output::Abandon { why: None });
                self.attempt_failed(attempt, Failure::of(reason), now, out);
            }
            State::Ringing(_) => self.branches_timeout(now, out),
            State::Handing { attempt, phase, .. } => {
                let (attempt, phase) = (*attempt, *phase);
                self.handing_timed_out(attempt, phase, now, out);
            }
            State::Answering { .. } => self.relay_answer(out),
            State::Connected { .. } => {
                self.end(Party::System, Failure::of(Reason::MaxDuration), out);
            }
            State::Left { .. } => self.end(Party::System, Failure::of(Reason::AckMissing), out),
            State::Ended => {}
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the hold of this attempt is waited for.
    pub fn asks_for(&self, attempt: AttemptNumber) -> bool {
        match &self.state {
            State::Holding { attempt: asked, .. } => *asked == attempt,
            State::Ringing(parallel) => parallel.asks_for(attempt),
            State::Deciding { .. }
            | State::Dialing { .. }
            | State::Handing { .. }
            | State::Answering { .. }
            | State::Connected { .. }
            | State::Left { .. }
            | State::Ended => false,
        }
    }

    /// Whether the target answered and the caller was, or is about to be, told.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Answering { .. } | State::Connected { .. })
    }

    /// What the target said with its answer, while the caller has yet to hear it.
    pub fn answer(&self) -> Option<&Body> {
        match &self.state {
            State::Answering { body, .. } => body.as_ref(),
            State::Deciding { .. }
            | State::Holding { .. }
            | State::Dialing { .. }
            | State::Ringing(_)
            | State::Handing { .. }
            | State::Connected { .. }
            | State::Left { .. }
            | State::Ended => None,
        }
    }

    /// The plan's entry of an attempt.
    pub fn attempt(&self, attempt: AttemptNumber) -> Option<&plan::Attempt> {
        self.plan.as_ref()?.attempts.get(usize::from(attempt).checked_sub(1)?)
    }

    /// Whether the attempt rings beside others.
    pub fn is_in_group(&self, attempt: AttemptNumber) -> bool {
        let beside = |attempt| self.attempt(attempt).is_some_and(|it| it.manner.beside);
        beside(attempt) || beside(attempt + 1)
    }

    /// What templates of targets' policies may say of the call.
    pub fn variables(&self) -> Option<&Variables> {
        self.plan.as_ref()?.variables.as_deref()
    }

    /// Where a target may send its call on: the place, if `uri` is allowed, see
    /// [`plan::Attempt::admits`].
    pub fn admits(
        &self,
        attempt: AttemptNumber,
        uri: &[u8],
        hosts: &[SmolStr],
    ) -> Option<redirect::Moved> {
        self.attempt(attempt)?.admits(uri, hosts, &self.plan.as_ref()?.known)
    }

    /// Everything that is or was planned.
    pub fn attempts(&self) -> impl Iterator<Item = &plan::Attempt> {
        self.plan.iter().flat_map(|plan| &plan.attempts)
    }

    /// Plans one more attempt behind all others, like attempt `like` but elsewhere. `None` if
    /// there are too many.
    pub fn extend(&mut self, like: AttemptNumber, to: redirect::Moved) -> Option<AttemptNumber> {
        let like = self.attempt(like)?.clone();
        let plan = self.plan.as_mut()?;
        let number = AttemptNumber::try_from(plan.attempts.len() + 1).ok()?;
        let destination = Some(to.destination);
        let (beside, named, instead) = (false, true, false);
        let manner = plan::Manner { beside, named, instead, ..like.manner };
        let (uri, further, handover) = (to.uri, None, None);
        let attempt = plan::Attempt { uri, destination, further, handover, manner, ..like };
        plan.attempts.push(attempt);
        Some(number)
    }

    fn caller(&mut self, event: LegEvent, out: &mut Outputs) {
        match event {
            LegEvent::Cancelled { why, q850 } => {
                // Once the target has answered, the answer wins: it is in the journal, and the
                // caller will end the call it opens (RFC 3261 §9.1, spec/sip X10).
                if !self.is_answered() && !self.taken {
                    let failure = Failure { q850, why, ..Failure::of(Reason::CallerAbandoned) };
                    self.end_unanswered(Party::Caller, failure, out);
                }
            }
            LegEvent::Confirmed => {
                if let State::Connected { confirmed, .. } = &mut self.state {
                    *confirmed = true;
                }
                if !self.is_ended() {
                    out.push(Output::Report(Report::Confirmed));
                }
            }
            LegEvent::HungUp { why, q850 } => {
                self.end_with_cause(Party::Caller, Reason::CallerHungUp, q850, why, out);
            }
            LegEvent::Lost { reason } => self.end(Party::System, Failure::of(reason), out),
            LegEvent::Trying
            | LegEvent::Progress { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Refused { .. }
            | LegEvent::Redirected { .. }
            | LegEvent::ReferAnswered { .. }
            | LegEvent::Notified { .. } => {}
        }
    }

    fn target(&mut self, event: LegEvent, now: Mono, out: &mut Outputs) {
        match &mut self.state {
            State::Dialing { .. } => self.target_while_dialing(event, now, out),
            State::Answering { .. } | State::Connected { .. } => match event {
                LegEvent::HungUp { why, q850 } => {
                    if !self.recovers(q850, now, out) {
                        self.end_with_cause(Party::Target, Reason::TargetHungUp, q850, why, out);
                    }
                }
                LegEvent::Lost { reason } => self.end(Party::System, Failure::of(reason), out),
                LegEvent::Trying
                | LegEvent::Progress { .. }
                | LegEvent::Answered { .. }
                | LegEvent::Confirmed
                | LegEvent::Refused { .. }
                | LegEvent::Redirected { .. }
                | LegEvent::ReferAnswered { .. }
                | LegEvent::Notified { .. }
                | LegEvent::Cancelled { .. } => {}
            },
            State::Deciding { .. }
            | State::Holding { .. }
            | State::Ringing(_)
            | State::Handing { .. }
            | State::Left { .. }
            | State::Ended => {}
        }
    }

    /// The answer is on disk, or has waited long enough.
    fn relay_answer(&mut self, out: &mut Outputs) {
        self.state = match mem::replace(&mut self.state, State::Ended) {
            State::Answering { attempt, body, ends_at, answered_at, .. } => {
                out.push(Output::ToCaller(if self.taken {
                    Command::Connect { body }
                } else {
                    Command::Answer { body }
                }));
                State::Connected { attempt, ends_at, answered_at, confirmed: false }
            }
            unchanged @ (State::Deciding { .. }
            | State::Holding { .. }
            | State::Dialing { .. }
            | State::Ringing(_)
            | State::Handing { .. }
            | State::Connected { .. }
            | State::Left { .. }
            | State::Ended) => unchanged,
        };
    }
}

impl Failure {
    fn report(&self, attempt: AttemptNumber) -> Report {
        let Self { status, reason, q850, .. } = *self;
        Report::AttemptFailed { attempt, status, q850, reason }
    }
}

#[cfg(test)]
mod tests;
