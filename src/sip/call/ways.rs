//! Several ways to one target (spec/domain §2.11), each an attempt of its own: when one fails before the
//! target has been reached, the call goes on another way, and only then to the next target. What the
//! target's caps hold for the call stays held. Once it has rung, no other way is tried: nobody rings twice.

use crate::reason::Reason;
use crate::time::Mono;

use super::report::{AttemptNumber, Report};
use super::{Call, Failure, Output, Outputs};

impl Call {
    /// Whether an attempt is another way to the target of the one before it.
    pub(super) fn is_another_way(&self, attempt: AttemptNumber) -> bool {
        self.attempt(attempt).is_some_and(|planned| planned.manner.instead)
    }

    /// Whether the target of an attempt that has failed, or could not be made, is to be reached another
    /// way. A place that the target has named tells that it was reached.
    pub(super) fn has_another_way(
        &self,
        attempt: AttemptNumber,
        failure: &Failure,
        now: Mono,
    ) -> bool {
        let is_named = || self.attempt(attempt).is_some_and(|planned| planned.manner.named);
        self.is_another_way(attempt + 1)
            && self.is_of_the_way(attempt, failure)
            && self.may_go_elsewhere(attempt, now)
            && !is_named()
    }

    /// It speaks of an address, or the way there has no room.
    fn is_of_the_way(&self, attempt: AttemptNumber, failure: &Failure) -> bool {
        failure.reason == Reason::AttemptRateFull || self.is_of_the_address(attempt, failure)
    }

    /// Goes on another way to the target of an attempt that has failed.
    pub(super) fn go_another_way(
        &mut self,
        attempt: AttemptNumber,
        failure: Failure,
        now: Mono,
        out: &mut Outputs,
    ) {
        out.push(Output::Report(failure.way_report(attempt)));
        self.last_failure = Some(Box::new(failure));
        self.make_attempt(attempt + 1, now, out);
    }
}

impl Failure {
    pub(super) fn way_report(&self, attempt: AttemptNumber) -> Report {
        let Self { status, reason, q850, .. } = *self;
        Report::WayFailed { attempt, status, q850, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Failover, Plan};
    use super::super::tests::{failed, feed, new, plan, recovering, timeout};
    use super::super::{Input, Output};
    use super::*;
    use crate::sip::leg::event::LegEvent;

    #[test]
    fn what_speaks_of_the_way_leads_another_way_and_at_last_to_the_next_target() {
        for status in [408, 500, 502, 503, 504] {
            let (mut call, mut seen) = dialing(by_ways(&[2, 1]));
            feed(&mut call, 10, refused(status), &mut seen);
            let reason = super::super::hunt::refusal_reason(status);
            let left = way_failed(1, Some(status), reason);
            assert_eq!(seen, [left, Output::PlaceHold { attempt: 2 }], "{status}");
            seen.clear();

            feed(&mut call, 10, Input::HoldPlaced, &mut seen);
            feed(&mut call, 20, refused(503), &mut seen);

            assert_eq!(
                seen,
                [
                    Output::Report(Report::AttemptStarted { attempt: 2 }),
                    Output::Dial { attempt: 2 },
                    failed(2, Some(503), Reason::AttemptCarrierFailed),
                    Output::PlaceHold { attempt: 3 },
                ]
            );
        }
    }

    #[test]
    fn silence_a_late_ring_and_nobody_there_lead_another_way() {
        let (mut call, mut seen) = dialing(by_ways(&[2, 1]));
        timeout(&mut call, 2_000, &mut seen);
        let abandon = Output::Abandon { why: None };
        let left = |reason| way_failed(1, None, reason);
        let next = Output::PlaceHold { attempt: 2 };
        assert_eq!(seen, [abandon.clone(), left(Reason::AttemptNoResponse), next.clone()]);

        let mut slow = by_ways(&[2, 1]);
        slow.attempts[0].ring_timeout = std::time::Duration::from_secs(30);
        let (mut call, mut seen) = dialing(slow);
        feed(&mut call, 10, Input::Target(LegEvent::Trying), &mut seen);
        timeout(&mut call, 8_000, &mut seen);
        assert_eq!(seen, [abandon, left(Reason::AttemptNoRinging), next.clone()]);

        let (mut call, mut seen) = dialing(by_ways(&[2, 1]));
        let lost = LegEvent::Lost { reason: Reason::AttemptCarrierFailed };
        feed(&mut call, 5, Input::Target(lost), &mut seen);
        assert_eq!(seen, [left(Reason::AttemptCarrierFailed), next]);
    }

    #[test]
    fn who_refuses_or_rings_out_does_so_for_all_ways() {
        for status in [486, 600, 603, 480, 404, 403] {
            let mut plan = by_ways(&[2, 1]);
            plan.advance_on = [status].into();
            let (mut call, mut seen) = dialing(plan);
            feed(&mut call, 10, refused(status), &mut seen);
            assert_eq!(seen.last(), Some(&Output::PlaceHold { attempt: 3 }), "{status}: {seen:?}");
        }
        let (mut call, mut seen) = dialing(by_ways(&[2, 1]));
        feed(&mut call, 10, Input::Target(LegEvent::Trying), &mut seen);
        timeout(&mut call, 6_000, &mut seen);
        assert_eq!(seen.last(), Some(&Output::PlaceHold { attempt: 3 }), "{seen:?}");
    }

    #[test]
    fn each_way_says_itself_which_codes_lead_on_and_where() {
        let codes = |next_way_on: &[u16], advance_on: Option<&[u16]>| {
            let (next_way_on, advance_on) = (next_way_on.into(), advance_on.map(Into::into));
            Some(Box::new(Failover { next_way_on, advance_on }))
        };
        let (way, target) = (Output::PlaceHold { attempt: 2 }, Output::PlaceHold { attempt: 3 });
        for (failover, status, leads) in [
            (codes(&[480], None), 480, Some(&way)),
            (codes(&[480], None), 503, Some(&target)),
            (codes(&[], Some(&[603])), 603, Some(&target)),
            (codes(&[], Some(&[603])), 486, None),
            (codes(&[503], Some(&[])), 503, Some(&way)),
        ] {
            let mut plan = by_ways(&[2, 1]);
            plan.attempts[0].manner.failover = failover.clone();
            let (mut call, mut seen) = dialing(plan);

            feed(&mut call, 10, refused(status), &mut seen);

            let next = seen.iter().find(|it| matches!(it, Output::PlaceHold { .. }));
            assert_eq!(next, leads, "{failover:?} after {status}");
            assert_eq!(call.is_ended(), leads.is_none(), "{failover:?} after {status}");
        }
    }

    #[test]
    fn a_target_that_has_rung_is_called_no_other_way() {
        let lost = LegEvent::Lost { reason: Reason::AttemptCarrierFailed };
        for fails in [refused(503), refused(408), Input::Target(lost)] {
            let (mut call, mut seen) = dialing(by_ways(&[2, 1]));
            let rings = LegEvent::Progress { status: 180, body: None };
            feed(&mut call, 10, Input::Target(rings), &mut seen);
            feed(&mut call, 20, fails, &mut seen);
            assert_eq!(seen.last(), Some(&Output::PlaceHold { attempt: 3 }), "{seen:?}");
        }
    }

    #[test]
    fn a_way_without_room_or_address_leads_another_way_and_a_full_cap_does_not() {
        let placed = |reason| {
            let (mut call, mut seen) = (new(), vec![]);
            feed(&mut call, 0, Input::Decided(by_ways(&[2, 1])), &mut seen);
            feed(&mut call, 0, Input::HoldDenied(reason), &mut seen);
            seen
        };
        let ask = |attempt| Output::PlaceHold { attempt };
        let full = Reason::AttemptRateFull;
        assert_eq!(placed(full), [ask(1), way_failed(1, None, full), ask(2)]);
        let capped = Reason::CapFull;
        assert_eq!(placed(capped), [ask(1), failed(1, None, capped), ask(3)]);

        let mut plan = by_ways(&[3]);
        plan.attempts[0].destination = None;
        plan.attempts[1].destination = None;
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        let nowhere = |attempt| way_failed(attempt, None, Reason::AttemptUnresolved);
        let started = |attempt| Output::Report(Report::AttemptStarted { attempt });
        assert_eq!(seen, [started(1), nowhere(1), started(2), nowhere(2), ask(3)]);
    }

    #[test]
    fn one_of_those_that_ring_side_by_side_goes_another_way_without_the_others() {
        let mut plan = by_ways(&[2, 2]);
        for attempt in &mut plan.attempts[1..] {
            attempt.manner.beside = true;
        }
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        let dialed = |seen: &[Output]| {
            let dialed = seen.iter().filter_map(|output| {
                let Output::DialBranch { attempt } = output else { return None };
                Some(*attempt)
            });
            dialed.collect::<Vec<_>>()
        };
        assert_eq!(dialed(&seen), [1, 3], "one way to each");
        seen.clear();

        let refused = LegEvent::Refused { status: 503, q850: None, why: None };
        feed(&mut call, 10, Input::Branch(1, refused.clone()), &mut seen);
        feed(&mut call, 10, Input::Branch(3, refused), &mut seen);
        feed(&mut call, 11, Input::HoldPlaced, &mut seen);
        feed(&mut call, 12, Input::HoldPlaced, &mut seen);

        let failed = |attempt| way_failed(attempt, Some(503), Reason::AttemptCarrierFailed);
        assert_eq!(dialed(&seen), [2, 4], "each once: {seen:?}");
        assert_eq!(seen[..3], [failed(1), Output::PlaceHold { attempt: 2 }, failed(3)]);
        seen.clear();
        for attempt in [2, 4] {
            let busy = LegEvent::Refused { status: 486, q850: None, why: None };
            feed(&mut call, 20, Input::Branch(attempt, busy), &mut seen);
        }
        assert!(call.is_ended(), "nobody is left: {seen:?}");
    }

    #[test]
    fn a_way_that_waits_when_another_answers_is_never_gone() {
        let mut plan = by_ways(&[2, 1]);
        for attempt in &mut plan.attempts[1..] {
            attempt.manner.beside = true;
        }
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        let refused = LegEvent::Refused { status: 503, q850: None, why: None };
        feed(&mut call, 10, Input::Branch(1, refused), &mut seen);
        feed(&mut call, 11, Input::Branch(3, LegEvent::Answered { body: None }), &mut seen);
        seen.clear();

        feed(&mut call, 12, Input::HoldPlaced, &mut seen);

        assert_eq!(seen, []);
        assert!(call.is_answered());
    }

    #[test]
    fn another_way_is_no_other_target_when_one_hangs_up_at_once() {
        let mut plan = recovering(3, 1);
        plan.attempts[1].manner.instead = true;
        let (mut call, mut seen) = dialing(plan);
        feed(&mut call, 1_000, Input::Target(LegEvent::Answered { body: None }), &mut seen);
        feed(&mut call, 1_000, Input::Durable, &mut seen);
        feed(&mut call, 1_100, Input::Caller(LegEvent::Confirmed), &mut seen);

        let over = LegEvent::HungUp { why: None, q850: None };
        feed(&mut call, 1_200, Input::Target(over), &mut seen);

        assert_eq!(seen.last(), Some(&Output::PlaceHold { attempt: 3 }));
    }

    /// A call whose first target has just been called in the first way.
    fn dialing(plan: Box<Plan>) -> (Call, Vec<Output>) {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        (call, vec![])
    }

    /// Targets to which there are so many ways each.
    fn by_ways(ways: &[usize]) -> Box<Plan> {
        let mut plan = plan(ways.iter().sum());
        let mut first = 0;
        for count in ways {
            for attempt in &mut plan.attempts[first + 1..first + count] {
                attempt.manner.instead = true;
            }
            first += count;
        }
        plan
    }

    fn way_failed(attempt: AttemptNumber, status: Option<u16>, reason: Reason) -> Output {
        Output::Report(Report::WayFailed { attempt, status, q850: None, reason })
    }

    fn refused(status: u16) -> Input {
        Input::Target(LegEvent::Refused { status, q850: None, why: None })
    }
}
