use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::plan::{Attempt, Destination, FailedAs, Manner};
use super::*;
use crate::sip::flow::Transport;
use crate::sip::leg::policy::LegPolicy;

#[test]
fn the_first_target_answers_and_the_caller_hangs_up() {
    let (mut call, mut seen) = (new(), vec![]);

    feed(&mut call, 0, Input::Decided(plan(2)), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 50, Input::Target(LegEvent::Progress { status: 180, body: None }), &mut seen);
    feed(&mut call, 900, Input::Target(LegEvent::Answered { body: None }), &mut seen);
    feed(&mut call, 905, Input::Durable, &mut seen);
    feed(&mut call, 950, Input::Caller(LegEvent::Confirmed), &mut seen);
    feed(&mut call, 9000, Input::Caller(LegEvent::HungUp { why: None, q850: Some(16) }), &mut seen);

    assert_eq!(
        seen,
        [
            Output::PlaceHold { attempt: 1 },
            Output::Report(Report::AttemptStarted { attempt: 1 }),
            Output::Dial { attempt: 1 },
            Output::Report(Report::AttemptProgress { attempt: 1, status: 180 }),
            Output::ToCaller(Command::Progress { status: 180, body: None }),
            Output::Report(Report::Answered { attempt: 1 }),
            Output::AwaitDurable,
            Output::ToCaller(Command::Answer { body: None }),
            Output::Report(Report::Confirmed),
            Output::ToTarget(Command::HangUp { why: None }),
            ended(Party::Caller, Reason::CallerHungUp, 200, Some(16)),
        ]
    );
}

#[test]
fn a_busy_target_leads_to_the_next_one() {
    let (mut call, mut seen) = dialing(2);

    feed(&mut call, 10, refused(486), &mut seen);

    assert_eq!(
        seen,
        [failed(1, Some(486), Reason::AttemptBusy), Output::PlaceHold { attempt: 2 },]
    );
}

#[test]
fn a_status_that_stops_the_hunt_reaches_the_caller() {
    let (mut call, mut seen) = dialing(2);

    feed(&mut call, 10, refused(603), &mut seen);

    assert_eq!(
        seen,
        [
            failed(1, Some(603), Reason::AttemptRejected),
            Output::ToCaller(Command::Refuse { status: 603, retry_after_s: None, why: None }),
            ended(Party::Target, Reason::AttemptRejected, 603, None),
        ]
    );
}

/// As a campaign says what its callers are answered that get to nobody.
#[test]
fn a_hunt_that_gets_to_nobody_is_answered_as_the_plan_says() {
    let failed = FailedAs { tried: Some(404), denied: Some(410) };
    let answered = |inputs: &[Input], told: FailedAs| {
        let (mut call, mut seen) = (new(), vec![]);
        feed(&mut call, 0, Input::Decided(Box::new(Plan { failed: told, ..*plan(1) })), &mut seen);
        inputs.iter().for_each(|input| feed(&mut call, 10, input.clone(), &mut seen));
        let told = |output: &Output| {
            let Output::Report(Report::Ended { reason, status, .. }) = output else { return None };
            Some((*reason, *status))
        };
        seen.iter().find_map(told)
    };
    let full = Input::HoldDenied(Reason::CapFull);
    let busy = [Input::HoldPlaced, refused(486)];
    let given_up = Input::Caller(LegEvent::Cancelled { why: None, q850: None });
    for (inputs, reason, as_said, else_said) in [
        (&busy[..], Reason::AttemptBusy, 404, 486),
        (&[Input::HoldPlaced, refused(603)], Reason::AttemptRejected, 404, 603),
        (&[full], Reason::CapFull, 410, 486),
        // Those are no answers of targets.
        (&[Input::HoldPlaced, given_up], Reason::CallerAbandoned, 487, 487),
        (&[Input::HoldPlaced, Input::End(Reason::Draining)], Reason::Draining, 503, 503),
    ] {
        assert_eq!(answered(inputs, failed), Some((reason, as_said)));
        assert_eq!(answered(inputs, FailedAs::default()), Some((reason, else_said)));
    }
    let (mut call, mut seen) = (new(), vec![]);
    let refusal = Refusal { reason: Reason::ScheduleClosed, status: Some(404) };
    feed(&mut call, 0, Input::Refused(refusal), &mut seen);
    assert!(seen.contains(&ended(Party::System, Reason::ScheduleClosed, 404, None)), "{seen:?}");
}

#[test]
fn a_challenge_of_a_target_never_reaches_the_caller() {
    let (mut call, mut seen) = dialing(1);

    feed(&mut call, 10, refused(407), &mut seen);

    assert!(seen.contains(&ended(Party::Target, Reason::AttemptRejected, 500, None)), "{seen:?}");
}

#[test]
fn a_target_that_takes_the_call_and_does_not_ring_in_time_is_passed_over() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(ringing_within(4)), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 100, Input::Target(LegEvent::Trying), &mut seen);
    assert_eq!(call.deadline(), Some(at(4_000)));
    seen.clear();

    timeout(&mut call, 4_000, &mut seen);

    let late = failed(1, None, Reason::AttemptNoRinging);
    let next = Output::PlaceHold { attempt: 2 };
    assert_eq!(seen, [Output::Abandon { why: None }, late, next]);
}

#[test]
fn once_it_rings_it_may_ring_as_long_as_it_may() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(ringing_within(4)), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 100, Input::Target(LegEvent::Trying), &mut seen);
    let rings = LegEvent::Progress { status: 180, body: None };
    feed(&mut call, 3_999, Input::Target(rings), &mut seen);
    assert_eq!(call.deadline(), Some(at(6_000)), "its ring time");
}

fn ringing_within(seconds: u64) -> Box<Plan> {
    let mut plan = plan(2);
    plan.attempts[0].max_pdd = std::time::Duration::from_secs(seconds);
    plan
}

#[test]
fn a_dead_target_is_left_after_its_first_response_time() {
    let (mut call, mut seen) = dialing(2);

    assert_eq!(call.deadline(), Some(at(2000)));
    timeout(&mut call, 2000, &mut seen);

    assert_eq!(
        seen,
        [
            Output::Abandon { why: None },
            failed(1, None, Reason::AttemptNoResponse),
            Output::PlaceHold { attempt: 2 },
        ]
    );
}

#[test]
fn a_target_without_an_address_is_passed_over_at_once() {
    let (mut call, mut seen, mut plan) = (new(), vec![], plan(2));
    plan.attempts[0].destination = None;

    feed(&mut call, 10, Input::Decided(plan), &mut seen);

    assert_eq!(
        seen,
        [
            Output::Report(Report::AttemptStarted { attempt: 1 }),
            failed(1, None, Reason::AttemptUnresolved),
            Output::PlaceHold { attempt: 2 },
        ]
    );
}

#[test]
fn a_target_that_rings_has_its_whole_ring_time() {
    let (mut call, mut seen) = dialing(1);

    feed(&mut call, 10, Input::Target(LegEvent::Trying), &mut seen);
    assert_eq!(call.deadline(), Some(at(6000)));
    timeout(&mut call, 6000, &mut seen);

    assert_eq!(
        seen,
        [
            Output::Abandon { why: None },
            failed(1, None, Reason::AttemptNoAnswer),
            Output::ToCaller(Command::Refuse { status: 480, retry_after_s: None, why: None }),
            ended(Party::System, Reason::AttemptNoAnswer, 480, None),
        ]
    );
}

#[test]
fn a_cancel_ends_the_attempt_and_no_other_follows() {
    let (mut call, mut seen) = dialing(2);

    feed(&mut call, 10, Input::Caller(LegEvent::Cancelled { why: None, q850: None }), &mut seen);
    feed(&mut call, 20, refused(487), &mut seen);

    assert_eq!(
        seen,
        [
            Output::Abandon { why: None },
            failed(1, None, Reason::CallerAbandoned),
            Output::ToCaller(Command::Refuse { status: 487, retry_after_s: None, why: None }),
            ended(Party::Caller, Reason::CallerAbandoned, 487, None),
        ]
    );
}

#[test]
fn an_answer_wins_over_a_cancel_that_crosses_it() {
    let (mut call, mut seen) = dialing(1);

    feed(&mut call, 10, Input::Target(LegEvent::Answered { body: None }), &mut seen);
    feed(&mut call, 11, Input::Caller(LegEvent::Cancelled { why: None, q850: None }), &mut seen);
    feed(&mut call, 12, Input::Durable, &mut seen);

    assert_eq!(seen.last(), Some(&Output::ToCaller(Command::Answer { body: None })));
}

#[test]
fn an_answer_waits_for_the_journal_and_no_longer_than_it_may() {
    let (mut call, mut seen) = dialing(1);

    feed(&mut call, 10, Input::Target(LegEvent::Answered { body: None }), &mut seen);
    assert_eq!(call.deadline(), Some(at(30)));
    timeout(&mut call, 30, &mut seen);

    assert_eq!(seen.last(), Some(&Output::ToCaller(Command::Answer { body: None })));
}

#[test]
fn without_a_decision_the_caller_is_answered_at_the_deadline() {
    let (mut call, mut seen) = (new(), vec![]);

    timeout(&mut call, 3000, &mut seen);
    feed(&mut call, 3001, Input::Decided(plan(1)), &mut seen);

    assert_eq!(
        seen,
        [
            Output::ToCaller(Command::Refuse {
                status: 503,
                retry_after_s: Some(RETRY_AFTER_S),
                why: None
            }),
            ended(Party::System, Reason::DecisionTimeout, 503, None),
        ]
    );
}

#[test]
fn a_target_whose_hold_nobody_tells_of_in_time_is_told_as_not_called_for_that() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(plan(2)), &mut seen);
    seen.clear();

    timeout(&mut call, 3000, &mut seen);

    let status = 503;
    let (retry_after_s, why) = (Some(RETRY_AFTER_S), None);
    assert_eq!(
        seen,
        [
            failed(1, None, Reason::DecisionTimeout),
            Output::ToCaller(Command::Refuse { status, retry_after_s, why }),
            ended(Party::System, Reason::DecisionTimeout, 503, None),
        ]
    );
}

#[test]
fn a_denied_hold_leads_to_the_next_target() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(plan(1)), &mut seen);
    seen.clear();

    feed(&mut call, 0, Input::HoldDenied(Reason::ConcurrencyFull), &mut seen);

    assert_eq!(
        seen,
        [
            failed(1, None, Reason::ConcurrencyFull),
            Output::ToCaller(Command::Refuse { status: 486, retry_after_s: None, why: None }),
            ended(Party::System, Reason::ConcurrencyFull, 486, None),
        ]
    );
}

#[test]
fn the_longest_duration_ends_both_legs() {
    let (mut call, mut seen) = dialing(1);
    feed(&mut call, 10, Input::Target(LegEvent::Answered { body: None }), &mut seen);
    feed(&mut call, 10, Input::Durable, &mut seen);
    seen.clear();

    timeout(&mut call, 60_010, &mut seen);

    let why = Some(Bytes::from_static(b"Q.850;cause=102;text=\"Recovery on timer expiry\""));
    assert_eq!(
        seen,
        [
            Output::ToCaller(Command::HangUp { why: why.clone() }),
            Output::ToTarget(Command::HangUp { why }),
            ended(Party::System, Reason::MaxDuration, 200, None),
        ]
    );
}

#[test]
fn a_target_that_shows_progress_is_not_left_at_its_ring_time() {
    let (mut call, mut seen) = dialing(2);
    feed(&mut call, 1000, progress(183), &mut seen);
    assert_eq!(call.deadline(), Some(at(60_000)), "all attempts together");
    feed(&mut call, 20_000, Input::Target(LegEvent::Answered { body: None }), &mut seen);
    assert!(call.is_answered());
}

#[test]
fn unless_the_plan_says_so() {
    let (mut call, mut seen) = (new(), vec![]);
    let mut plan = plan(1);
    plan.attempts[0].manner.leaves_progress = true;
    feed(&mut call, 0, Input::Decided(plan), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 1000, progress(183), &mut seen);
    assert_eq!(call.deadline(), Some(at(6000)));
}

#[test]
fn ringing_alone_does_not_prolong_the_ring_time() {
    let (mut call, mut seen) = dialing(1);
    feed(&mut call, 1000, progress(180), &mut seen);
    assert_eq!(call.deadline(), Some(at(6000)));
}

#[test]
fn a_number_that_may_not_be_called_takes_no_hold() {
    let (mut call, mut seen) = (new(), vec![]);
    let mut plan = plan(2);
    plan.attempts[0].manner.barred = true;
    feed(&mut call, 0, Input::Decided(plan), &mut seen);
    assert_eq!(
        seen,
        [
            Output::Report(Report::AttemptStarted { attempt: 1 }),
            failed(1, None, Reason::AttemptBarred),
            Output::PlaceHold { attempt: 2 },
        ]
    );
}

#[test]
fn targets_of_a_group_are_held_and_dialled_one_after_the_other() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(group(3)), &mut seen);
    feed(&mut call, 5, Input::HoldPlaced, &mut seen);
    feed(&mut call, 9, Input::HoldDenied(Reason::ConcurrencyFull), &mut seen);
    feed(&mut call, 12, Input::HoldPlaced, &mut seen);
    assert_eq!(
        seen,
        [
            Output::PlaceHold { attempt: 1 },
            Output::Report(Report::AttemptStarted { attempt: 1 }),
            Output::DialBranch { attempt: 1 },
            Output::PlaceHold { attempt: 2 },
            failed(2, None, Reason::ConcurrencyFull),
            Output::PlaceHold { attempt: 3 },
            Output::Report(Report::AttemptStarted { attempt: 3 }),
            Output::DialBranch { attempt: 3 },
        ]
    );
    assert_eq!(call.deadline(), Some(at(2005)), "the first is dead then");
}

#[test]
fn each_of_a_group_has_its_own_times_and_the_worst_refusal_counts() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(group(2)), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    feed(&mut call, 10, Input::Branch(2, LegEvent::Trying), &mut seen);
    seen.clear();
    timeout(&mut call, 2000, &mut seen);
    let refused = LegEvent::Refused { status: 488, q850: Some(88), why: None };
    feed(&mut call, 2500, Input::Branch(2, refused), &mut seen);
    assert_eq!(
        seen,
        [
            Output::AbandonBranch { attempt: 1, why: None },
            failed(1, None, Reason::AttemptNoResponse),
            Output::Report(Report::AttemptFailed {
                attempt: 2,
                status: Some(488),
                q850: Some(88),
                reason: Reason::AttemptRejected,
            }),
            Output::ToCaller(Command::Refuse { status: 488, retry_after_s: None, why: None }),
            ended(Party::Target, Reason::AttemptRejected, 488, Some(88)),
        ]
    );
}

#[test]
fn a_hold_that_is_never_answered_ends_a_group_that_has_nobody_left() {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(group(2)), &mut seen);
    timeout(&mut call, 3000, &mut seen);
    assert!(seen.contains(&failed(1, None, Reason::DecisionTimeout)), "{seen:?}");
    feed(&mut call, 3001, Input::HoldPlaced, &mut seen);
    assert_eq!(seen.last(), Some(&ended(Party::System, Reason::DecisionTimeout, 503, None)));
}

fn any_input() -> impl Strategy<Value = Input> {
    let why = || None;
    prop_oneof![
        (1_usize..4).prop_map(|n| Input::Decided(plan(n))),
        (2_usize..4, 1_u8..3).prop_map(|(n, times)| Input::Decided(recovering(n, times))),
        (2_usize..4).prop_map(|n| Input::Decided(group(n))),
        (2_usize..4).prop_map(|n| Input::Decided(by_ways(plan(n)))),
        (2_usize..4).prop_map(|n| Input::Decided(by_ways(group(n)))),
        (1_u8..4, any_event()).prop_map(|(attempt, event)| Input::Branch(attempt, event)),
        Just(Input::Refused(Refusal::from(Reason::NumberUnknown))),
        Just(Input::HoldPlaced),
        Just(Input::HoldDenied(Reason::CapFull)),
        Just(Input::Durable),
        Just(Input::Caller(LegEvent::Confirmed)),
        Just(Input::Caller(LegEvent::Cancelled { why: why(), q850: None })),
        Just(Input::Caller(LegEvent::HungUp { why: why(), q850: None })),
        Just(Input::Caller(LegEvent::Lost { reason: Reason::AckMissing })),
        Just(Input::Target(LegEvent::Trying)),
        Just(Input::Target(LegEvent::Progress { status: 183, body: None })),
        Just(Input::Target(LegEvent::Answered { body: None })),
        prop_oneof![Just(302_u16), Just(407), Just(486), Just(503), Just(603)].prop_map(refused),
        Just(Input::Target(LegEvent::HungUp { why: why(), q850: None })),
        Just(Input::Target(LegEvent::Lost { reason: Reason::DialogLost })),
        Just(Input::End(Reason::Draining)),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one final response, one end, nothing dialled after it.
    #[test]
    fn one_exit(steps in prop::collection::vec((any_input(), 0_u64..4000), 0..40)) {
        let (mut call, mut seen, mut now) = (new(), vec![], 0);
        for (input, wait) in steps {
            now += wait;
            timeout(&mut call, now, &mut seen);
            feed(&mut call, now, input, &mut seen);
        }
        while !call.is_ended() {
            let next = call.deadline().expect("a call that is not over has a deadline");
            now = now.max(next.0 / 1_000_000);
            timeout(&mut call, now, &mut seen);
        }
        let count = |wanted: fn(&Output) -> bool| seen.iter().filter(|it| wanted(it)).count();
        let finals = count(|it| matches!(
            it,
            Output::ToCaller(
                Command::Answer { .. } | Command::Refuse { .. } | Command::Take
                    | Command::Redirect { .. }
            )
        ));
        prop_assert_eq!(finals, 1);
        prop_assert_eq!(count(|it| matches!(it, Output::Report(Report::Ended { .. }))), 1);
        let is_end = matches!(seen.last(), Some(Output::Report(Report::Ended { .. })));
        prop_assert!(is_end, "{:?}", seen.last());
        for number in 1..4 {
            let mut ends = 0;
            let mut asked = 0;
            for output in &seen {
                match output {
                    Output::PlaceHold { attempt } if *attempt == number => asked += 1,
                    Output::Report(
                        Report::AttemptFailed { attempt, .. }
                        | Report::WayFailed { attempt, .. }
                        | Report::Answered { attempt },
                    ) if *attempt == number => ends += 1,
                    Output::PlaceHold { .. }
                    | Output::Dial { .. }
                    | Output::DialBranch { .. }
                    | Output::Abandon { .. }
                    | Output::AbandonBranch { .. }
                    | Output::ToCaller(_)
                    | Output::ToTarget(_)
                    | Output::AwaitDurable
                    | Output::Report(_) => {}
                }
            }
            prop_assert!(asked <= 1 && ends <= asked, "attempt {number}: {asked} begun, {ends} ended");
            let rang = |it: &Output| matches!(
                it,
                Output::Report(Report::AttemptProgress { attempt, .. }) if *attempt == number
            );
            let left = |it: &Output| matches!(
                it,
                Output::Report(Report::WayFailed { attempt, .. }) if *attempt == number
            );
            let is_left_ringing = seen.iter().any(rang) && seen.iter().any(left);
            prop_assert!(!is_left_ringing, "attempt {number} rang, and its target another way");
        }
    }
}

pub(super) fn new() -> Call {
    let limits = CallLimits {
        decision: Duration::from_secs(3),
        answer_wait: Duration::from_millis(20),
        max_call: Duration::from_secs(14_400),
    };
    Call::new(limits, Arc::new(FailureMap::default()), at(0))
}

/// A call whose first of `attempts` targets has just been sent an INVITE.
fn dialing(attempts: usize) -> (Call, Vec<Output>) {
    let (mut call, mut seen) = (new(), vec![]);
    feed(&mut call, 0, Input::Decided(plan(attempts)), &mut seen);
    feed(&mut call, 0, Input::HoldPlaced, &mut seen);
    (call, vec![])
}

pub(super) fn plan(attempts: usize) -> Box<Plan> {
    let attempt = Attempt {
        uri: Bytes::from_static(b"sip:192.0.2.9"),
        destination: Some(Destination {
            transport: Transport::Udp,
            peer: "192.0.2.9:5060".parse().unwrap(),
            tls: None,
            tcp_port: None,
        }),
        further: None,
        ring_timeout: Duration::from_secs(6),
        first_response: Duration::from_secs(2),
        max_pdd: Duration::from_secs(8),
        max_duration: Duration::from_secs(60),
        recovers_within: Duration::ZERO,
        dialog: LegPolicy::default(),
        manner: Manner::default(),
        rules: None,
        handover: None,
    };
    Box::new(Plan {
        attempts: SmallVec::from_elem(attempt, attempts),
        advance_on: Arc::from([408, 480, 486, 500, 503]),
        ring_budget: Duration::from_secs(60),
        variables: None,
        known: vec![],
        redirects: 0,
        recoveries: 0,
        failed: FailedAs::default(),
    })
}

/// All at once.
fn group(attempts: usize) -> Box<Plan> {
    let mut plan = plan(attempts);
    for attempt in &mut plan.attempts[1..] {
        attempt.manner.beside = true;
    }
    plan
}

/// Each second attempt is another way to the target of the one before it.
fn by_ways(mut plan: Box<Plan>) -> Box<Plan> {
    for attempt in plan.attempts.iter_mut().skip(1).step_by(2) {
        attempt.manner.instead = true;
    }
    plan
}

fn progress(status: u16) -> Input {
    Input::Target(LegEvent::Progress { status, body: None })
}

/// Each target may hang up early, so often in all.
pub(super) fn recovering(targets: usize, recoveries: u8) -> Box<Plan> {
    let mut plan = plan(targets);
    plan.recoveries = recoveries;
    for attempt in &mut plan.attempts {
        attempt.recovers_within = Duration::from_secs(15);
    }
    plan
}

fn any_event() -> impl Strategy<Value = LegEvent> {
    prop_oneof![
        Just(LegEvent::Trying),
        Just(LegEvent::Progress { status: 180, body: None }),
        Just(LegEvent::Answered { body: None }),
        Just(LegEvent::Refused { status: 486, q850: None, why: None }),
        Just(LegEvent::Refused { status: 603, q850: None, why: None }),
        Just(LegEvent::HungUp { why: None, q850: None }),
        Just(LegEvent::Lost { reason: Reason::AttemptCarrierFailed }),
    ]
}

pub(super) fn feed(call: &mut Call, ms: u64, input: Input, seen: &mut Vec<Output>) {
    let mut out = Outputs::new();
    call.handle(input, at(ms), &mut out);
    seen.extend(out);
}

pub(super) fn timeout(call: &mut Call, ms: u64, seen: &mut Vec<Output>) {
    let mut out = Outputs::new();
    call.handle_timeout(at(ms), &mut out);
    seen.extend(out);
}

fn refused(status: u16) -> Input {
    Input::Target(LegEvent::Refused { status, q850: None, why: None })
}

pub(super) fn failed(attempt: AttemptNumber, status: Option<u16>, reason: Reason) -> Output {
    Output::Report(Report::AttemptFailed { attempt, status, q850: None, reason })
}

pub(super) fn ended(party: Party, reason: Reason, status: u16, q850: Option<u8>) -> Output {
    Output::Report(Report::Ended { party, reason, status, q850 })
}

pub(super) fn at(ms: u64) -> Mono {
    Mono(0) + Duration::from_millis(ms)
}
