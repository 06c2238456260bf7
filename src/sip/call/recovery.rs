//! A target that hangs up at once after its answer: the call goes on to the next one
//! (spec/domain §2.11).
//!
//! The caller has been answered and stays so. It hears nothing while the next target rings, and is
//! connected to it by a re-INVITE, as one who was answered before any target.

use crate::time::Mono;

use super::plan::Attempt;
use super::report::Report;
use super::{Call, Output, Outputs, State};

impl Call {
    /// Whoever hangs up from now on ends the call.
    pub fn forgo_recovery(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.recoveries = 0;
        }
    }

    /// The target has hung up. Goes on to the next one if that was soon enough and there is one.
    pub(super) fn recovers(&mut self, q850: Option<u8>, now: Mono, out: &mut Outputs) -> bool {
        let State::Connected { attempt, answered_at, confirmed, .. } = self.state else {
            return false;
        };
        // A caller who is still being asked to hear this target would hear it when it is gone.
        if self.taken && !confirmed {
            return false;
        }
        let Some(planned) = self.attempt(attempt) else { return false };
        if now.since(answered_at) >= planned.recovers_within {
            return false;
        }
        // Those that rang beside it have had their turn; what it named, and another way to it, are no
        // other target.
        let is_other =
            |Attempt { manner, .. }: &Attempt| !manner.beside && !manner.named && !manner.instead;
        let behind = (attempt + 1..).map_while(|number| Some((number, self.attempt(number)?)));
        let next = behind.filter(|(_, planned)| is_other(planned)).map(|(number, _)| number).next();
        let Some(next) = next else { return false };
        let Some(plan) = self.plan.as_mut().filter(|plan| plan.recoveries > 0) else {
            return false;
        };
        plan.recoveries -= 1;
        self.taken = true;
        out.push(Output::Report(Report::EndedEarly { attempt, q850 }));
        // One who has not taken this answer yet cannot be offered another (RFC 3261 §14.1).
        self.state = State::Left { next, until: now + self.limits.max_call };
        if confirmed {
            self.call_next(now, out);
        }
        true
    }

    /// The next target is called, for as long as the plan allows from now on.
    pub(super) fn call_next(&mut self, now: Mono, out: &mut Outputs) {
        let (State::Left { next, .. }, Some(plan)) = (&self.state, &self.plan) else { return };
        self.ring_until = now + plan.ring_budget;
        self.next_attempt(next - 1, now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{AttemptNumber, Party};
    use super::super::tests::{feed, new, plan, recovering};
    use super::super::{Input, plan::Plan};
    use super::*;
    use crate::reason::Reason;
    use crate::sip::leg::event::{Command, LegEvent};

    #[test]
    fn the_next_target_is_called_and_the_caller_connected_to_it() {
        let (mut call, mut seen) = answered(recovering(2, 1));
        feed(&mut call, 14_999, hung_up(), &mut seen);
        assert_eq!(seen, [early(1), Output::PlaceHold { attempt: 2 }]);
        seen.clear();

        answer(&mut call, 16_000, 2, &mut seen);

        let connect = Output::ToCaller(Command::Connect { body: None });
        assert!(seen.contains(&connect), "it has been answered before: {seen:?}");
        assert!(call.is_answered());
    }

    #[test]
    fn a_target_that_hangs_up_later_or_is_the_last_one_ends_the_call() {
        for (plan, hangs_up_at) in [
            (recovering(2, 1), 15_000),
            (recovering(2, 0), 1_000),
            (recovering(1, 1), 1_000),
            (plan(2), 1_000),
        ] {
            let (mut call, mut seen) = answered(plan);
            feed(&mut call, hangs_up_at, hung_up(), &mut seen);
            let (party, reason) = (Party::Target, Reason::TargetHungUp);
            let ended = Report::Ended { party, reason, status: 200, q850: None };
            assert_eq!(seen.last(), Some(&Output::Report(ended)));
            assert!(call.is_ended());
        }
    }

    #[test]
    fn nobody_who_had_a_turn_gets_another() {
        for (beside, named) in [(true, false), (false, true)] {
            let mut plan = recovering(3, 1);
            plan.attempts[1].manner.named = named;
            let (mut call, mut seen) = answered(plan);
            if let Some(plan) = &mut call.plan {
                // It rang together with the first, or was named by it.
                plan.attempts[1].manner.beside = beside;
            }
            feed(&mut call, 1_000, hung_up(), &mut seen);
            assert_eq!(seen, [early(1), Output::PlaceHold { attempt: 3 }]);
        }
    }

    #[test]
    fn the_next_target_waits_for_the_ack_of_the_answer_before() {
        let (mut call, mut seen) = unconfirmed();
        feed(&mut call, 10, hung_up(), &mut seen);
        assert_eq!(seen, [early(1)]);
        // What is still said by one that is gone.
        let lost = LegEvent::Lost { reason: Reason::PeerUnreachable };
        feed(&mut call, 20, Input::Target(lost), &mut seen);
        feed(&mut call, 200, Input::Caller(LegEvent::Confirmed), &mut seen);
        // That ACK is not of the next one's answer: nothing is told of it.
        assert_eq!(seen, [early(1), Output::PlaceHold { attempt: 2 }]);
    }

    #[test]
    fn a_caller_who_is_still_to_be_connected_is_not_connected_to_another() {
        let (mut call, mut seen) = answered(recovering(3, 2));
        feed(&mut call, 1_000, hung_up(), &mut seen);
        feed(&mut call, 1_000, Input::HoldPlaced, &mut seen);
        feed(&mut call, 1_000, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 1_000, Input::Durable, &mut seen);
        feed(&mut call, 1_500, hung_up(), &mut seen);
        assert!(call.is_ended());
    }

    #[test]
    fn a_caller_who_never_confirms_is_not_connected_anew() {
        let reason = Reason::AckMissing;
        let (mut call, mut seen) = unconfirmed();
        feed(&mut call, 10, hung_up(), &mut seen);
        feed(&mut call, 32_000, Input::Caller(LegEvent::Lost { reason }), &mut seen);
        let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
        assert_eq!(seen.last(), Some(&Output::Report(ended)));
        assert!(!seen.contains(&Output::PlaceHold { attempt: 2 }));
    }

    #[test]
    fn it_is_done_as_often_as_the_plan_says() {
        let (mut call, mut seen) = answered(recovering(4, 2));
        for attempt in 1..=2 {
            let now = u64::from(attempt) * 2_000;
            feed(&mut call, now, hung_up(), &mut seen);
            answer(&mut call, now + 1_000, attempt + 1, &mut seen);
        }
        assert!(call.is_answered());
        feed(&mut call, 6_000, hung_up(), &mut seen);
        assert!(call.is_ended());
    }

    #[test]
    fn a_caller_whom_nobody_else_takes_is_told_by_a_bye() {
        let (mut call, mut seen) = answered(recovering(2, 1));
        feed(&mut call, 1_000, hung_up(), &mut seen);
        feed(&mut call, 1_000, Input::HoldPlaced, &mut seen);
        seen.clear();
        let mut out = Outputs::new();
        call.handle_timeout(call.deadline().unwrap(), &mut out);
        seen.extend(out);

        let is_bye = |it: &Output| matches!(it, Output::ToCaller(Command::HangUp { .. }));
        assert!(seen.iter().any(is_bye), "{seen:?}");
        let (party, reason) = (Party::System, Reason::AttemptNoResponse);
        let ended = Report::Ended { party, reason, status: 200, q850: None };
        assert_eq!(seen.last(), Some(&Output::Report(ended)));
    }

    #[test]
    fn the_caller_may_leave_while_the_next_one_rings() {
        let (mut call, mut seen) = answered(recovering(2, 1));
        feed(&mut call, 1_000, hung_up(), &mut seen);
        feed(&mut call, 1_000, Input::HoldPlaced, &mut seen);
        seen.clear();
        feed(
            &mut call,
            2_000,
            Input::Caller(LegEvent::HungUp { why: None, q850: None }),
            &mut seen,
        );
        assert_eq!(seen[0], Output::Abandon { why: None });
        let (party, reason) = (Party::Caller, Reason::CallerAbandoned);
        let ended = Report::Ended { party, reason, status: 200, q850: None };
        assert_eq!(seen.last(), Some(&Output::Report(ended)));
    }

    /// Answered by the first of two targets; the caller's ACK is still to come.
    fn unconfirmed() -> (Call, Vec<Output>) {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(recovering(2, 1)), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 0, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 0, Input::Durable, &mut seen);
        (call, vec![])
    }

    fn answered(plan: Box<Plan>) -> (Call, Vec<Output>) {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        answer(&mut call, 0, 1, &mut seen);
        assert!(call.is_answered());
        seen.clear();
        (call, seen)
    }

    fn answer(call: &mut Call, now: u64, attempt: AttemptNumber, seen: &mut Vec<Output>) {
        feed(call, now, Input::HoldPlaced, seen);
        assert_eq!(seen.last(), Some(&Output::Dial { attempt }));
        feed(call, now, Input::Target(LegEvent::Answered { body: None }), seen);
        feed(call, now, Input::Durable, seen);
        feed(call, now, Input::Caller(LegEvent::Confirmed), seen);
    }

    fn hung_up() -> Input {
        Input::Target(LegEvent::HungUp { why: None, q850: None })
    }

    fn early(attempt: AttemptNumber) -> Output {
        Output::Report(Report::EndedEarly { attempt, q850: None })
    }
}
