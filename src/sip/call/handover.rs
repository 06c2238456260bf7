//! Handing a call to the carrier: by 302 before it is answered, or by REFER after we answered it
//! ourselves (spec/sip R1 to R7).
//!
//! ```text
//! Taking ─ ACK ─► Asked ─ 2xx ─► Accepted ─ NOTIFY 2xx, silence, BYE ─► handed over
//!    │ the carrier   │ │ refused, silent        │ NOTIFY 3xx–6xx          ▲
//!    │ takes no REFER│ ▼                        ▼                         │ 2xx
//!    └───────────────┼► bridged           next attempt                    │
//!                    └ BYE ─► Left ───────────────────────────────────────┘
//! Written ─ on disk ─► 302, handed over
//! ```
//!
//! The outcome is what the last NOTIFY says, not the response to the REFER. Where none comes it is
//! not known, and said to be so: the call may be up at the carrier.

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::leg::event::{Command, LegEvent};
use crate::time::Mono;

use super::hunt::refusal_reason;
use super::plan::{Attempt, Handover, Referral};
use super::report::{AttemptNumber, Means, Party, Report};
use super::{Call, Failure, Output, Outputs, State};

/// How far a REFER has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The caller was answered; its ACK is to come.
    Taking,
    /// The REFER is on its way.
    Asked,
    /// The carrier is at it.
    Accepted,
    /// The caller hung up while the REFER was on its way: whether the carrier took it or the
    /// caller gave up, the answer to the REFER will tell (spec/sip R5).
    Left,
    /// The 302 waits for the fact of it to be on disk.
    Written,
}

/// Longer than a transaction lasts: its end comes first.
const GUARD: std::time::Duration = std::time::Duration::from_secs(60);

impl Call {
    /// Hands the call over if the plan says so. `false`: it is to be bridged.
    pub(super) fn hands_over(
        &mut self,
        attempt: AttemptNumber,
        now: Mono,
        out: &mut Outputs,
    ) -> bool {
        match self.attempt(attempt).and_then(|planned| planned.handover.as_deref()) {
            Some(Handover::Redirect { .. }) if !self.taken => {
                self.begin(attempt, out);
                let by = Means::Redirect;
                out.push(Output::Report(Report::HandedOver { attempt, by, status: None }));
                // What may occupy a cap is on disk before the carrier can act on it.
                out.push(Output::AwaitDurable);
                let until = now + self.limits.answer_wait;
                self.state = State::Handing { attempt, phase: Phase::Written, until };
                true
            }
            Some(Handover::Refer(_)) => {
                self.begin(attempt, out);
                if self.taken {
                    self.refer(attempt, now, out);
                } else {
                    self.taken = true;
                    let until = now + GUARD;
                    self.state = State::Handing { attempt, phase: Phase::Taking, until };
                    out.push(Output::ToCaller(Command::Take));
                }
                true
            }
            Some(Handover::Redirect { .. }) | None => false,
        }
    }

    /// Whether the caller was answered and there is no target that it could hear: it is about to be
    /// referred to one, or its target has left.
    pub fn awaits_target(&self) -> bool {
        matches!(self.state, State::Handing { phase: Phase::Taking, .. } | State::Left { .. })
    }

    /// Whether the target has answered, and a caller who was answered before has yet to be offered what it
    /// said.
    pub fn is_to_connect(&self) -> bool {
        self.taken && matches!(self.state, State::Answering { .. })
    }

    /// Whether the caller is to hear a redirect, once the fact of it is on disk.
    pub fn is_redirected(&self) -> bool {
        matches!(self.state, State::Handing { phase: Phase::Written, .. })
    }

    /// 302 with this target and those behind it that get their calls the same way, as far as they
    /// may be called and nothing counts their calls: holds are placed for the first alone. What
    /// becomes of the call is not known.
    pub(super) fn redirect_caller(&mut self, attempt: AttemptNumber, out: &mut Outputs) {
        let is_redirect =
            |it: &&Attempt| matches!(it.handover.as_deref(), Some(Handover::Redirect { .. }));
        let is_free = |it: &&Attempt| {
            let counted =
                matches!(it.handover.as_deref(), Some(Handover::Redirect { counted: true }));
            !counted && !it.manner.barred && !it.manner.instead
        };
        let from = usize::from(attempt).saturating_sub(1);
        let planned = self.plan.as_ref().map_or(&[][..], |plan| &plan.attempts);
        let mut planned = planned.iter().skip(from).take_while(is_redirect);
        let first = planned.next().into_iter();
        let contacts: Vec<Bytes> =
            first.chain(planned.filter(is_free)).map(|planned| planned.uri.clone()).collect();
        self.state = State::Ended;
        out.push(Output::ToCaller(Command::Redirect { contacts }));
        let reason = Reason::HandedOver;
        let (party, q850) = (Party::System, None);
        out.push(Output::Report(Report::Ended { party, reason, status: 302, q850 }));
    }

    fn refer(&mut self, attempt: AttemptNumber, now: Mono, out: &mut Outputs) {
        self.state = State::Handing { attempt, phase: Phase::Asked, until: now + GUARD };
        out.push(Output::ToCaller(Command::Refer { attempt }));
    }

    /// What the caller's leg says while the call is being handed over. `None`: it has been seen
    /// to; else the event is an ordinary one.
    pub(super) fn caller_while_handing(
        &mut self,
        event: LegEvent,
        now: Mono,
        out: &mut Outputs,
    ) -> Option<LegEvent> {
        let State::Handing { attempt, phase, .. } = self.state else { return Some(event) };
        match (phase, event) {
            (Phase::Taking, LegEvent::Confirmed) => {
                // It has confirmed us, not a target: nothing is owed for that.
                out.push(Output::Report(Report::Taken));
                self.refer(attempt, now, out);
            }
            // Its leg could not even be answered for this.
            (Phase::Taking, LegEvent::ReferAnswered { .. }) => {
                self.taken = false;
                self.bridge_instead(attempt, now, out);
            }
            (Phase::Asked, LegEvent::ReferAnswered { status }) => {
                if (200..300).contains(&status) {
                    out.push(Output::Report(Report::Referred { attempt }));
                    self.wait_for_notify(attempt, |referral| referral.first_notify, now);
                } else {
                    self.bridge_instead(attempt, now, out);
                }
            }
            // A NOTIFY that overtakes the response says that the REFER was accepted.
            (Phase::Asked | Phase::Accepted, LegEvent::Notified { status, over }) => {
                self.notified(attempt, status, over, now, out);
            }
            // The carrier has let go of us: it has the call.
            (Phase::Accepted, LegEvent::HungUp { .. }) => {
                self.handed_over(attempt, None, Party::Caller, out);
            }
            (Phase::Asked, LegEvent::HungUp { .. }) => {
                self.state = State::Handing { attempt, phase: Phase::Left, until: now + GUARD };
            }
            (Phase::Left, LegEvent::ReferAnswered { status: 200..300 })
            | (Phase::Left, LegEvent::Notified { .. }) => {
                self.handed_over(attempt, None, Party::Caller, out);
            }
            (Phase::Left, _) => {
                self.end_unanswered(Party::Caller, Failure::of(Reason::CallerAbandoned), out);
            }
            (_, event) => return Some(event),
        }
        None
    }

    fn notified(
        &mut self,
        attempt: AttemptNumber,
        status: Option<u16>,
        over: bool,
        now: Mono,
        out: &mut Outputs,
    ) {
        match status {
            Some(200..300) => self.handed_over(attempt, status, Party::System, out),
            Some(failure @ 300..) => {
                let reason = refusal_reason(failure);
                let failure = Failure { status: Some(failure), ..Failure::of(reason) };
                self.attempt_failed(attempt, failure, now, out);
            }
            // The subscription ends, and with it what we can know.
            Some(_) | None if over => self.handed_over(attempt, None, Party::System, out),
            Some(_) | None => {
                if let State::Handing { phase: Phase::Asked, .. } = self.state {
                    out.push(Output::Report(Report::Referred { attempt }));
                }
                self.wait_for_notify(attempt, |referral| referral.final_notify, now);
            }
        }
    }

    fn wait_for_notify(
        &mut self,
        attempt: AttemptNumber,
        patience: impl FnOnce(&Referral) -> std::time::Duration,
        now: Mono,
    ) {
        let handover = self.attempt(attempt).and_then(|planned| planned.handover.as_deref());
        let patience = match handover {
            Some(Handover::Refer(referral)) => patience(referral),
            Some(Handover::Redirect { .. }) | None => GUARD,
        };
        self.state = State::Handing { attempt, phase: Phase::Accepted, until: now + patience };
    }

    /// Nothing came in time: from an accepted REFER the call may be up, so it is not tried
    /// elsewhere; else we bridge.
    pub(super) fn handing_timed_out(
        &mut self,
        attempt: AttemptNumber,
        phase: Phase,
        now: Mono,
        out: &mut Outputs,
    ) {
        match phase {
            Phase::Accepted => self.handed_over(attempt, None, Party::System, out),
            Phase::Asked => self.bridge_instead(attempt, now, out),
            Phase::Taking => {
                self.end_unanswered(Party::System, Failure::of(Reason::AckMissing), out);
            }
            Phase::Left => {
                self.end_unanswered(Party::Caller, Failure::of(Reason::CallerAbandoned), out);
            }
            Phase::Written => self.redirect_caller(attempt, out),
        }
    }

    /// The call is the carrier's from now on.
    pub(super) fn handed_over(
        &mut self,
        attempt: AttemptNumber,
        status: Option<u16>,
        party: Party,
        out: &mut Outputs,
    ) {
        self.state = State::Ended;
        if party != Party::Caller {
            out.push(Output::ToCaller(Command::HangUp { why: None }));
        }
        let by = Means::Refer;
        out.push(Output::Report(Report::HandedOver { attempt, by, status }));
        let reason = Reason::HandedOver;
        out.push(Output::Report(Report::Ended { party, reason, status: 200, q850: None }));
    }

    /// The carrier does not do it: we call the target ourselves, as the same attempt.
    fn bridge_instead(&mut self, attempt: AttemptNumber, now: Mono, out: &mut Outputs) {
        let at = usize::from(attempt).wrapping_sub(1);
        if let Some(planned) = self.plan.as_mut().and_then(|plan| plan.attempts.get_mut(at)) {
            planned.handover = None;
        }
        self.ring(attempt, now, out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{at, ended, failed, feed, new, plan, timeout};
    use super::super::{Input, plan::Plan, report::ReasonValue};
    use super::*;

    #[test]
    fn a_302_names_all_targets_that_are_reached_this_way() {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(redirecting(2, 3)), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);

        assert_eq!(
            seen,
            [
                Output::PlaceHold { attempt: 1 },
                Output::Report(Report::AttemptStarted { attempt: 1 }),
                handed_over(Means::Redirect, None),
                Output::AwaitDurable,
            ]
        );
        seen.clear();
        feed(&mut call, 2, Input::Durable, &mut seen);
        assert_eq!(seen, moved(&["sip:192.0.2.1", "sip:192.0.2.2"]));
    }

    #[test]
    fn a_302_waits_for_the_disk_no_longer_than_an_answer_does() {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(redirecting(1, 1)), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        let until = call.deadline().unwrap();
        seen.clear();

        call.handle_timeout(until, &mut Outputs::new());
        feed(&mut call, 900, Input::Durable, &mut seen);
        assert!(call.is_ended());
        assert_eq!(seen, [], "it went when its time was up");
    }

    #[test]
    fn a_caller_that_gives_up_while_the_302_is_written_gets_it_all_the_same() {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(redirecting(1, 1)), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        seen.clear();

        let cancelled = LegEvent::Cancelled { why: None, q850: None };
        feed(&mut call, 1, Input::Caller(cancelled), &mut seen);

        assert_eq!(seen, moved(&["sip:192.0.2.1"]), "the record says that it was handed over");
    }

    #[test]
    fn a_302_names_nobody_who_may_not_be_called_or_has_no_hold() {
        let (mut call, mut seen) = (new(), vec![]);
        let mut plan = redirecting(4, 4);
        plan.attempts[1].manner.barred = true;
        plan.attempts[2].handover = Some(Box::new(Handover::Redirect { counted: true }));

        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        seen.clear();
        feed(&mut call, 2, Input::Durable, &mut seen);

        assert_eq!(seen, moved(&["sip:192.0.2.1", "sip:192.0.2.4"]));
    }

    #[test]
    fn the_outcome_is_what_the_last_notify_says() {
        let (mut call, mut seen) = accepted();
        assert_eq!(call.deadline(), Some(at(5_000)));
        feed(&mut call, 100, notified(Some(100), false), &mut seen);
        assert_eq!(call.deadline(), Some(at(60_100)));
        feed(&mut call, 900, notified(Some(200), true), &mut seen);

        assert_eq!(seen, end_of_handover(Some(200), Party::System));
    }

    #[test]
    fn a_notify_that_overtakes_the_202_says_that_the_call_may_be_up_at_the_carrier() {
        let (mut call, mut seen) = asked();
        feed(&mut call, 10, notified(Some(100), false), &mut seen);
        feed(&mut call, 20, answered(202), &mut seen);
        feed(&mut call, 30, notified(Some(180), false), &mut seen);

        assert_eq!(seen, [Output::Report(Report::Referred { attempt: 1 })], "once");
        assert_eq!(call.deadline(), Some(at(60_030)));
    }

    #[test]
    fn a_notify_of_failure_leads_to_the_next_target_and_it_is_connected_to_the_answered_caller() {
        let (mut call, mut seen) = accepted();
        feed(&mut call, 900, notified(Some(503), true), &mut seen);
        feed(&mut call, 900, Input::HoldPlaced, &mut seen);
        feed(&mut call, 950, progress(), &mut seen);
        feed(&mut call, 1000, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 1000, Input::Durable, &mut seen);

        assert_eq!(
            seen,
            [
                failed(1, Some(503), Reason::AttemptCarrierFailed),
                Output::PlaceHold { attempt: 2 },
                Output::Report(Report::AttemptStarted { attempt: 2 }),
                Output::Dial { attempt: 2 },
                Output::Report(Report::AttemptProgress { attempt: 2, status: 180 }),
                Output::Report(Report::Answered { attempt: 2 }),
                Output::AwaitDurable,
                Output::ToCaller(Command::Connect { body: None }),
            ]
        );
    }

    #[test]
    fn a_refused_refer_is_bridged_as_the_same_attempt() {
        for status in [405, 403, 501, 603, 408] {
            let (mut call, mut seen) = asked();
            feed(&mut call, 50, answered(status), &mut seen);
            assert_eq!(seen, [Output::Dial { attempt: 1 }], "{status}");
        }
    }

    #[test]
    fn a_taken_caller_s_target_keeps_its_ring_time_though_it_shows_progress_late() {
        let (mut call, mut seen) = accepted();
        feed(&mut call, 100, notified(Some(100), false), &mut seen);
        feed(&mut call, 59_000, notified(Some(503), true), &mut seen);
        feed(&mut call, 59_000, Input::HoldPlaced, &mut seen);
        let progress = LegEvent::Progress { status: 183, body: None };
        feed(&mut call, 60_500, Input::Target(progress), &mut seen);

        assert_eq!(call.deadline(), Some(at(65_000)), "the budget of all ringing is long over");
    }

    #[test]
    fn a_carrier_that_takes_no_refer_is_not_answered_before_the_target() {
        let (mut call, mut seen) = taking();
        feed(&mut call, 0, answered(405), &mut seen);
        feed(&mut call, 9, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 9, Input::Durable, &mut seen);

        assert_eq!(
            seen,
            [
                Output::Dial { attempt: 1 },
                Output::Report(Report::Answered { attempt: 1 }),
                Output::AwaitDurable,
                Output::ToCaller(Command::Answer { body: None }),
            ]
        );
    }

    #[test]
    fn without_a_notify_or_with_trying_alone_the_outcome_is_not_known() {
        let (mut call, mut seen) = accepted();
        timeout(&mut call, 5_000, &mut seen);
        assert_eq!(seen, end_of_handover(None, Party::System), "no NOTIFY");

        let (mut call, mut seen) = accepted();
        feed(&mut call, 10, notified(Some(100), false), &mut seen);
        timeout(&mut call, 60_010, &mut seen);
        assert_eq!(seen, end_of_handover(None, Party::System), "100 alone");

        let (mut call, mut seen) = accepted();
        feed(&mut call, 10, notified(Some(100), true), &mut seen);
        assert_eq!(seen, end_of_handover(None, Party::System), "the subscription ends with 100");
    }

    #[test]
    fn a_carrier_that_hangs_up_after_accepting_has_the_call() {
        let (mut call, mut seen) = accepted();
        let why: ReasonValue = None;
        feed(&mut call, 10, Input::Caller(LegEvent::HungUp { why, q850: None }), &mut seen);

        assert_eq!(seen, &end_of_handover(None, Party::Caller)[1..]);
    }

    #[test]
    fn whether_a_caller_that_hangs_up_first_was_referred_the_answer_to_the_refer_tells() {
        let why: ReasonValue = None;
        let left = || {
            let (mut call, mut seen) = asked();
            let hung_up = LegEvent::HungUp { why: why.clone(), q850: None };
            feed(&mut call, 10, Input::Caller(hung_up), &mut seen);
            assert_eq!(seen, []);
            (call, seen)
        };
        for event in [answered(202), notified(Some(100), false), notified(Some(503), true)] {
            let (mut call, mut seen) = left();
            feed(&mut call, 20, event, &mut seen);
            assert_eq!(seen, &end_of_handover(None, Party::Caller)[1..]);
        }

        let gone = [
            failed(1, None, Reason::CallerAbandoned),
            ended(Party::Caller, Reason::CallerAbandoned, 200, None),
        ];
        for event in [answered(405), Input::Caller(LegEvent::Lost { reason: Reason::DialogLost })] {
            let (mut call, mut seen) = left();
            feed(&mut call, 20, event, &mut seen);
            assert_eq!(seen, gone);
        }
        let (mut call, mut seen) = left();
        timeout(&mut call, 60_010, &mut seen);
        assert_eq!(seen, gone);
    }

    #[test]
    fn a_caller_is_confirmed_when_it_is_connected_to_its_target_and_not_when_it_was_taken() {
        let (mut call, mut seen) = asked();
        feed(&mut call, 10, answered(405), &mut seen);
        feed(&mut call, 20, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 20, Input::Durable, &mut seen);
        assert!(!seen.contains(&Output::Report(Report::Confirmed)));

        feed(&mut call, 30, Input::Caller(LegEvent::Confirmed), &mut seen);
        assert_eq!(seen.last(), Some(&Output::Report(Report::Confirmed)));
    }

    #[test]
    fn when_every_target_has_failed_the_answered_caller_is_hung_up() {
        let (mut call, mut seen) = asked();
        feed(&mut call, 10, answered(405), &mut seen);
        let refused = |status| Input::Target(LegEvent::Refused { status, q850: None, why: None });
        feed(&mut call, 20, refused(603), &mut seen);

        let why = Some(Bytes::from_static(b"SIP;cause=603"));
        assert_eq!(
            seen[1..],
            [
                failed(1, Some(603), Reason::AttemptRejected),
                Output::ToCaller(Command::HangUp { why }),
                ended(Party::Target, Reason::AttemptRejected, 200, None),
            ]
        );
    }

    fn taking() -> (Call, Vec<Output>) {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(referring(2)), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        assert_eq!(seen.last(), Some(&Output::ToCaller(Command::Take)));
        (call, vec![])
    }

    fn asked() -> (Call, Vec<Output>) {
        let (mut call, mut seen) = taking();
        feed(&mut call, 0, Input::Caller(LegEvent::Confirmed), &mut seen);
        assert_eq!(
            seen,
            [Output::Report(Report::Taken), Output::ToCaller(Command::Refer { attempt: 1 }),]
        );
        (call, vec![])
    }

    fn accepted() -> (Call, Vec<Output>) {
        let (mut call, mut seen) = asked();
        feed(&mut call, 0, answered(202), &mut seen);
        assert_eq!(seen, [Output::Report(Report::Referred { attempt: 1 })]);
        (call, vec![])
    }

    /// The first target by REFER, the others bridged.
    fn referring(attempts: usize) -> Box<Plan> {
        let mut plan = plan(attempts);
        plan.attempts[0].handover = Some(Box::new(Handover::Refer(Referral {
            refer_to: Bytes::from_static(b"sip:x@carrier"),
            referred_by: false,
            first_notify: Duration::from_secs(5),
            final_notify: Duration::from_secs(60),
        })));
        plan
    }

    /// The first targets by 302, the others bridged.
    fn redirecting(by_302: usize, attempts: usize) -> Box<Plan> {
        let mut plan = plan(attempts);
        for (position, planned) in plan.attempts.iter_mut().enumerate() {
            planned.uri = Bytes::from(format!("sip:192.0.2.{}", position + 1));
            let handover = Box::new(Handover::Redirect { counted: position == 0 });
            planned.handover = (position < by_302).then_some(handover);
        }
        plan
    }

    fn moved(uris: &[&'static str]) -> Vec<Output> {
        let contacts = uris.iter().map(|uri| Bytes::from_static(uri.as_bytes())).collect();
        vec![
            Output::ToCaller(Command::Redirect { contacts }),
            ended(Party::System, Reason::HandedOver, 302, None),
        ]
    }

    fn end_of_handover(status: Option<u16>, party: Party) -> Vec<Output> {
        vec![
            Output::ToCaller(Command::HangUp { why: None }),
            handed_over(Means::Refer, status),
            ended(party, Reason::HandedOver, 200, None),
        ]
    }

    fn handed_over(by: Means, status: Option<u16>) -> Output {
        Output::Report(Report::HandedOver { attempt: 1, by, status })
    }

    fn notified(status: Option<u16>, over: bool) -> Input {
        Input::Caller(LegEvent::Notified { status, over })
    }

    fn answered(status: u16) -> Input {
        Input::Caller(LegEvent::ReferAnswered { status })
    }

    fn progress() -> Input {
        Input::Target(LegEvent::Progress { status: 180, body: None })
    }
}
