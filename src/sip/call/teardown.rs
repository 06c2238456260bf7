//! The one exit. Hang-up, CANCEL, failure, time-out, drain and fault all end here, and nothing else
//! ends a call.

use std::mem;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::leg::event::Command;
use crate::sip::trunk::Cause;

use super::handover::Phase;
use super::report::{Party, ReasonValue, Report};
use super::{Call, Failure, Output, Outputs, RETRY_AFTER_S, State};

impl Call {
    /// Ends the call in whatever state it is.
    pub(super) fn end(&mut self, party: Party, failure: Failure, out: &mut Outputs) {
        if self.is_answered() {
            let Failure { reason, q850, why, .. } = failure;
            self.end_with_cause(party, reason, q850, why, out);
        } else {
            self.end_unanswered(party, failure, out);
        }
    }

    /// Ends a call with the Q.850 cause a party gave. A caller's BYE before the answer is taken
    /// for a CANCEL (RFC 3261 §15 allows it in an early dialog).
    pub(super) fn end_with_cause(
        &mut self,
        party: Party,
        reason: Reason,
        q850: Option<u8>,
        why: ReasonValue,
        out: &mut Outputs,
    ) {
        if !self.is_answered() {
            let failure = Failure { q850, why, ..Failure::of(Reason::CallerAbandoned) };
            self.end_unanswered(party, failure, out);
            return;
        }
        if matches!(self.state, State::Answering { .. }) {
            // The target hung up before the caller was told of its answer. The caller is told all
            // the same: the answer is a fact, and its end follows.
            self.relay_answer(out);
        }
        self.state = State::Ended;
        let why = why.or_else(|| (party == Party::System).then(|| own_reason(reason)));
        if party != Party::Caller {
            out.push(Output::ToCaller(Command::HangUp { why: why.clone() }));
        }
        if party != Party::Target {
            out.push(Output::ToTarget(Command::HangUp { why }));
        }
        out.push(Output::Report(Report::Ended { party, reason, status: 200, q850 }));
    }

    /// Ends a call that nobody answered: the caller's INVITE gets its final response. The trunk's
    /// failure map says what its carrier hears of a target's status (spec/sip B5). A caller's Reason
    /// goes to the targets that ring, a target's to the caller (B6).
    pub(super) fn end_unanswered(&mut self, party: Party, failure: Failure, out: &mut Outputs) {
        let Failure { status, reason, q850, why, told: as_said } = failure;
        let (to_targets, to_caller) = match party {
            Party::Caller => (why, None),
            Party::Target | Party::System => (None, why),
        };
        match mem::replace(&mut self.state, State::Ended) {
            State::Ended => return,
            State::Dialing { attempt, .. } => {
                out.push(Output::Abandon { why: to_targets });
                out.push(Output::Report(Failure::of(reason).report(attempt)));
            }
            State::Ringing(parallel) => {
                parallel.abandon_all(&Failure::of(reason), to_targets.as_ref(), out);
            }
            State::Handing { attempt, phase: Phase::Accepted, .. } => {
                self.handed_over(attempt, None, party, out);
                return;
            }
            State::Handing { attempt, phase: Phase::Written, .. } => {
                self.redirect_caller(attempt, out);
                return;
            }
            State::Handing { attempt, .. } => {
                out.push(Output::Report(Failure::of(reason).report(attempt)));
            }
            State::Deciding { .. }
            | State::Holding { .. }
            | State::Answering { .. }
            | State::Connected { .. }
            | State::Left { .. } => {}
        }
        if self.taken {
            if party != Party::Caller {
                let told = || status.map(|status| Bytes::from(format!("SIP;cause={status}")));
                let why = to_caller.or_else(told).or_else(|| Some(own_reason(reason)));
                out.push(Output::ToCaller(Command::HangUp { why }));
            }
            out.push(Output::Report(Report::Ended { party, reason, status: 200, q850 }));
            return;
        }
        let status = match (reason, status) {
            (Reason::CallerAbandoned, _) => reason.status(),
            (_, Some(status)) => self.failures.carrier_status(Cause::Target(status), as_said),
            (_, None) => self.failures.carrier_status(Cause::Own(reason), as_said),
        };
        let retry_after_s = (status == 503).then_some(RETRY_AFTER_S);
        out.push(Output::ToCaller(Command::Refuse { status, retry_after_s, why: to_caller }));
        out.push(Output::Report(Report::Ended { party, reason, status, q850 }));
    }
}

/// What both sides are told of an end that neither of them made, as a Q.850 cause (RFC 3326).
pub(in crate::sip) fn own_reason(reason: Reason) -> Bytes {
    let times_out = matches!(
        reason,
        Reason::MaxDuration
            | Reason::AckMissing
            | Reason::PrackMissing
            | Reason::PeerUnreachable
            | Reason::SessionExpired
    );
    Bytes::from_static(if reason == Reason::HungUpByOperator {
        b"Q.850;cause=16;text=\"Normal call clearing\""
    } else if times_out {
        b"Q.850;cause=102;text=\"Recovery on timer expiry\""
    } else {
        b"Q.850;cause=41;text=\"Temporary failure\""
    })
}
