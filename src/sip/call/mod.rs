//! The B2BUA: one caller, an ordered hunt over targets, one exit.
//!
//! `Call` hears [`LegEvent`]s from both legs and answers with [`Command`]s; it never sees a header.
//! It asks for a decision, for holds and for durability, and does not know who grants them.
//!
//! ```text
//! Deciding ─► Holding(n) ─► Dialing(n) ─► Answering ─► Connected ─► Ended
//!     │            │ denied      │ refused, rang out, dead   ▲
//!     │            └──► n+1 ◄────┘                           │
//!     └─────────────────── teardown: the one exit ───────────┘
//! ```
//!
//! Invariants, whatever arrives in whatever order: the caller's INVITE gets one final response;
//! there is one [`Report::Ended`], and it is last; no attempt starts after the caller gave up.

pub mod plan;
pub mod report;
mod teardown;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::reason::Reason;
use crate::sip::leg::event::{Body, Command, LegEvent};
use crate::sip::trunk::FailureMap;
use crate::time::Mono;

pub(in crate::sip) use teardown::own_reason;

use plan::{Plan, Refusal};
use report::{AttemptNumber, Party, ReasonValue, Report};

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    state: State,
    limits: CallLimits,
    failures: Arc<FailureMap>,
    plan: Option<Box<Plan>>,
    /// When all ringing must be over.
    ring_until: Mono,
    /// What the latest target to fail answered: the caller's answer if no other target is left.
    last_failure: Option<(Option<u16>, Reason)>,
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
        first_response_by: Option<Mono>,
        ring_until: Mono,
        progressed: bool,
    },
    Answering {
        attempt: AttemptNumber,
        until: Mono,
        body: Option<Body>,
        ends_at: Mono,
    },
    Connected {
        ends_at: Mono,
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
        }
    }

    pub fn handle(&mut self, input: Input, now: Mono, out: &mut Outputs) {
        match input {
            Input::Decided(plan) => self.decided(plan, now, out),
            Input::Refused(refusal) => {
                if matches!(self.state, State::Deciding { .. }) {
                    self.end_unanswered(Party::System, refusal.reason, None, None, out);
                }
            }
            Input::HoldPlaced => self.dial(now, out),
            Input::HoldDenied(reason) => {
                if let State::Holding { attempt, .. } = self.state {
                    out.push(Output::Report(Report::AttemptFailed {
                        attempt,
                        status: None,
                        q850: None,
                        reason,
                    }));
                    self.last_failure = Some((None, reason));
                    self.next_attempt(attempt, now, out);
                }
            }
            Input::Durable => self.relay_answer(out),
            Input::Caller(event) => self.caller(event, out),
            Input::Target(event) => self.target(event, now, out),
            Input::End(reason) => self.end(Party::System, reason, None, None, out),
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Deciding { until }
            | State::Holding { until, .. }
            | State::Answering { until, .. } => Some(*until),
            State::Dialing { first_response_by, ring_until, .. } => {
                Some(first_response_by.map_or(*ring_until, |by| by.min(*ring_until)))
            }
            State::Connected { ends_at } => Some(*ends_at),
            State::Ended => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, out: &mut Outputs) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.state {
            State::Deciding { .. } | State::Holding { .. } => {
                self.end_unanswered(Party::System, Reason::DecisionTimeout, None, None, out);
            }
            State::Dialing { attempt, ring_until, .. } => {
                let attempt = *attempt;
                let reason = if now >= *ring_until {
                    Reason::AttemptNoAnswer
                } else {
                    Reason::AttemptNoResponse
                };
                out.push(Output::Abandon { why: None });
                self.attempt_failed(attempt, None, None, reason, now, out);
            }
            State::Answering { .. } => self.relay_answer(out),
            State::Connected { .. } => {
                self.end(Party::System, Reason::MaxDuration, None, None, out)
            }
            State::Ended => {}
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the target answered and the caller was, or is about to be, told.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Answering { .. } | State::Connected { .. })
    }

    /// The plan's entry of an attempt.
    pub fn attempt(&self, attempt: AttemptNumber) -> Option<&plan::Attempt> {
        self.plan.as_ref()?.attempts.get(usize::from(attempt).checked_sub(1)?)
    }

    fn decided(&mut self, plan: Box<Plan>, now: Mono, out: &mut Outputs) {
        if !matches!(self.state, State::Deciding { .. }) {
            return;
        }
        self.ring_until = now + plan.ring_budget;
        self.plan = Some(plan);
        self.next_attempt(0, now, out);
    }

    /// Asks for the hold of the attempt after `last`, or ends a hunt that has none.
    fn next_attempt(&mut self, last: AttemptNumber, now: Mono, out: &mut Outputs) {
        let attempt = last + 1;
        if let Some(planned) = self.attempt(attempt)
            && now < self.ring_until
        {
            if planned.destination.is_none() {
                // No hold: what cannot be dialled must not use up a cap.
                out.push(Output::Report(Report::AttemptStarted { attempt }));
                self.attempt_failed(attempt, None, None, Reason::AttemptUnresolved, now, out);
                return;
            }
            self.state = State::Holding { attempt, until: now + self.limits.decision };
            out.push(Output::PlaceHold { attempt });
            return;
        }
        let (status, reason) = self.last_failure.unwrap_or((None, Reason::NoneEligible));
        self.end_unanswered(Party::System, reason, status, None, out);
    }

    fn dial(&mut self, now: Mono, out: &mut Outputs) {
        let State::Holding { attempt, .. } = self.state else { return };
        let Some(planned) = self.attempt(attempt) else { return };
        out.push(Output::Report(Report::AttemptStarted { attempt }));
        let ring_until = (now + planned.ring_timeout).min(self.ring_until);
        let first_response_by = Some(now + planned.first_response);
        self.state = State::Dialing { attempt, first_response_by, ring_until, progressed: false };
        out.push(Output::Dial { attempt });
    }

    fn caller(&mut self, event: LegEvent, out: &mut Outputs) {
        match event {
            LegEvent::Cancelled { why } => {
                // Once the target has answered, the answer wins: it is in the journal, and the
                // caller will end the call it opens (RFC 3261 §9.1, spec/sip X10).
                if !self.is_answered() {
                    self.end_unanswered(Party::Caller, Reason::CallerAbandoned, None, why, out);
                }
            }
            LegEvent::Confirmed => {
                if !self.is_ended() {
                    out.push(Output::Report(Report::Confirmed));
                }
            }
            LegEvent::HungUp { why, q850 } => {
                self.end_with_cause(Party::Caller, Reason::CallerHungUp, q850, why, out);
            }
            LegEvent::Lost { reason } => self.end(Party::System, reason, None, None, out),
            LegEvent::Trying
            | LegEvent::Progress { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Refused { .. } => {}
        }
    }

    fn target(&mut self, event: LegEvent, now: Mono, out: &mut Outputs) {
        match &mut self.state {
            State::Dialing { .. } => self.target_while_dialing(event, now, out),
            State::Answering { .. } | State::Connected { .. } => match event {
                LegEvent::HungUp { why, q850 } => {
                    self.end_with_cause(Party::Target, Reason::TargetHungUp, q850, why, out);
                }
                LegEvent::Lost { reason } => self.end(Party::System, reason, None, None, out),
                LegEvent::Trying
                | LegEvent::Progress { .. }
                | LegEvent::Answered { .. }
                | LegEvent::Confirmed
                | LegEvent::Refused { .. }
                | LegEvent::Cancelled { .. } => {}
            },
            State::Deciding { .. } | State::Holding { .. } | State::Ended => {}
        }
    }

    fn target_while_dialing(&mut self, event: LegEvent, now: Mono, out: &mut Outputs) {
        let State::Dialing { attempt, first_response_by, progressed, .. } = &mut self.state else {
            return;
        };
        let attempt = *attempt;
        *first_response_by = None;
        match event {
            LegEvent::Trying => {}
            LegEvent::Progress { status, body } => {
                if !mem::replace(progressed, true) {
                    out.push(Output::Report(Report::AttemptProgress { attempt, status }));
                }
                out.push(Output::ToCaller(Command::Progress { status, body }));
            }
            LegEvent::Answered { body } => {
                let Some(planned) = self.attempt(attempt) else { return };
                let ends_at = now + planned.max_duration.min(self.limits.max_call);
                let until = now + self.limits.answer_wait;
                self.state = State::Answering { attempt, until, body, ends_at };
                out.push(Output::Report(Report::Answered { attempt }));
                out.push(Output::AwaitDurable);
            }
            LegEvent::Refused { status, q850 } => {
                self.attempt_failed(attempt, Some(status), q850, refusal_reason(status), now, out);
            }
            LegEvent::Lost { reason } => {
                self.attempt_failed(attempt, None, None, reason, now, out);
            }
            LegEvent::HungUp { .. } => {
                // A BYE in an early dialog: the target refuses (RFC 3261 §15 allows it only to the
                // caller of a dialog, but it happens).
                out.push(Output::Abandon { why: None });
                self.attempt_failed(attempt, None, None, Reason::AttemptRejected, now, out);
            }
            LegEvent::Confirmed | LegEvent::Cancelled { .. } => {}
        }
    }

    fn attempt_failed(
        &mut self,
        attempt: AttemptNumber,
        status: Option<u16>,
        q850: Option<u8>,
        reason: Reason,
        now: Mono,
        out: &mut Outputs,
    ) {
        out.push(Output::Report(Report::AttemptFailed { attempt, status, q850, reason }));
        self.last_failure = Some((status, reason));
        // The attempt has had its end, and must not get another one on the way out.
        self.state = State::Holding { attempt, until: now };
        let stops = status.is_some_and(|status| {
            self.plan.as_ref().is_none_or(|plan| !plan.advance_on.contains(&status))
        });
        if stops {
            self.end_unanswered(Party::Target, reason, status, None, out);
        } else {
            self.next_attempt(attempt, now, out);
        }
    }

    /// The answer is on disk, or has waited long enough.
    fn relay_answer(&mut self, out: &mut Outputs) {
        self.state = match mem::replace(&mut self.state, State::Ended) {
            State::Answering { body, ends_at, .. } => {
                out.push(Output::ToCaller(Command::Answer { body }));
                State::Connected { ends_at }
            }
            unchanged @ (State::Deciding { .. }
            | State::Holding { .. }
            | State::Dialing { .. }
            | State::Connected { .. }
            | State::Ended) => unchanged,
        };
    }
}

/// What a target's final status says.
fn refusal_reason(status: u16) -> Reason {
    match status {
        300..400 => Reason::AttemptRedirected,
        486 | 600 => Reason::AttemptBusy,
        408 => Reason::AttemptNoAnswer,
        500..600 => Reason::AttemptCarrierFailed,
        _ => Reason::AttemptRejected,
    }
}

#[cfg(test)]
mod tests;
