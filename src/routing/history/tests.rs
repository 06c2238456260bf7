use super::prior::{Asking, PriorCall, PriorCalls, PriorToBuyer, PriorToTarget};
use super::*;

const ALICE: u64 = 16_145_550_163;
const BOB: u64 = 16_145_550_164;

#[test]
fn a_caller_is_known_by_the_calls_it_made_the_latest_first() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(ALICE), call(1, 1_000));
    history.begin(&number(BOB), call(2, 1_500));
    history.begin(&number(ALICE), call(3, 2_000));

    assert_eq!(history.calls(&number(ALICE), None), [call(3, 2_000), call(1, 1_000)]);
    assert_eq!(history.calls(&number(ALICE), Some(Wall(1_001))), [call(3, 2_000)]);
    assert_eq!(history.len(), 2);
}

#[test]
fn what_becomes_of_a_call_is_remembered_until_it_is_over() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(ALICE), call(1, 1_000));

    history.connected(id(1), &"t".into(), &"b".into(), Wall(5_000));
    let (seconds, payout_seconds) = (90, 60);
    let (revenue, payout) = (Money(42_000_000), Money(24_000_000));
    let owed = Terms { seconds, revenue, payout_seconds, payout, no_payout: None, promised: false };
    history.owed(id(1), Some(owed));
    history.converted(id(1), Wall(95_000));
    history.ended(id(1), Some(100_000));
    // It is over: nothing changes any more.
    history.connected(id(1), &"other".into(), &"b".into(), Wall(200_000));

    let past = PastCall {
        connected: Some(Connected { target: "t".into(), buyer: "b".into(), at: Wall(5_000) }),
        converted_at: Some(Wall(95_000)),
        talk_ms: Some(100_000),
        charges: true,
        pays_after_ms: Some(60_000),
        ..call(1, 1_000)
    };
    assert_eq!(past.charged_at(), Some(Wall(95_000)));
    assert_eq!(past.paid_at(Wall(200_000)), Some(Wall(65_000)));
    assert_eq!(PastCall { talk_ms: None, ..past.clone() }.paid_at(Wall(64_999)), None);
    assert_eq!(history.calls(&number(ALICE), None), [past]);
    assert!(history.live.is_empty());
}

#[test]
fn whoever_hung_up_at_once_is_remembered_beside_who_took_the_call_then() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    let with = |target: &str, at| Connected { target: target.into(), buyer: "b".into(), at };
    let known = |history: &CallerHistory| history.calls(&number(ALICE), None).remove(0);
    let (seconds, payout_seconds) = (90, 60);
    let (revenue, payout) = (Money(42_000_000), Money(24_000_000));
    let owed = Terms { seconds, revenue, payout_seconds, payout, no_payout: None, promised: false };
    history.begin(&number(ALICE), call(1, 1_000));
    history.connected(id(1), &"t1".into(), &"b".into(), Wall(5_000));
    history.owed(id(1), Some(owed));

    history.left(id(1), 3_000);

    let first = Left { with: with("t1", Wall(5_000)), talk_ms: 3_000 };
    let hunting = PastCall { left: vec![first.clone()], ..call(1, 1_000) };
    assert_eq!(known(&history), hunting, "it talks to nobody, who owes nothing");
    assert_eq!(hunting.paid_at(Wall(500_000)), None);
    assert_eq!(hunting.talked_longest_ms(Wall(500_000)), Some(3_000));

    // Nobody else takes it.
    let mut alone = history.clone();
    alone.ended(id(1), None);
    let connected = Some(first.with.clone());
    assert_eq!(known(&alone), PastCall { connected, talk_ms: Some(3_000), ..call(1, 1_000) });

    history.connected(id(1), &"t2".into(), &"b".into(), Wall(9_000));
    history.ended(id(1), Some(100_000));
    let connected = Some(with("t2", Wall(9_000)));
    let over = PastCall { connected, talk_ms: Some(100_000), ..hunting };
    assert_eq!(known(&history), over);
    let by: Vec<_> = over.answered_by().map(|it| it.target.as_str()).collect();
    assert_eq!(by, ["t2", "t1"]);

    let (now, campaign) = (Wall(200_000), CampaignId::new("cmp"));
    let asking = Asking { dialed: over.dialed, campaign: &campaign, at: now };
    let windows = PriorWindows::from(HistoryConfig::default());
    let prior = PriorCalls::of(&[over], asking, &windows);
    assert_eq!(prior.to_buyers, [PriorToBuyer { buyer: "b".into(), calls: 1 }], "of one call");
    let targets: Vec<_> =
        prior.to_targets.iter().map(|it| (it.target.as_str(), it.calls)).collect();
    assert_eq!(targets, [("t1", 1), ("t2", 1)]);
    assert_eq!(prior.last_connected.unwrap().target, TargetId::new("t2"));
}

#[test]
fn each_fact_about_earlier_calls_looks_as_far_back_as_it_is_told() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    let now = Wall(1_000_000);
    let connected = |target: &str, buyer: &str, at: i64| {
        Some(Connected { target: target.into(), buyer: buyer.into(), at: Wall(at) })
    };
    let other = PhoneNumber::from_digits(18_005_550_101).unwrap();
    for past in [
        PastCall {
            connected: connected("t1", "b", 500_000),
            converted_at: Some(Wall(590_000)),
            talk_ms: Some(90_000),
            ..call(1, 499_000)
        },
        PastCall { connected: connected("t2", "b", 900_000), dialed: other, ..call(2, 899_000) },
        PastCall { campaign: "other".into(), ..call(3, 950_000) },
        // A shard whose clock is a moment ahead has admitted it.
        call(4, 1_000_500),
    ] {
        history.restore(&number(ALICE), past);
    }
    let prior = |windows: PriorWindows| {
        let campaign = CampaignId::new("cmp");
        let asking = Asking { dialed: call(1, 0).dialed, campaign: &campaign, at: now };
        PriorCalls::of(&history.calls(&number(ALICE), None), asking, &windows)
    };
    let all = PriorWindows {
        number: Span::Seconds(1_000),
        campaign: Span::Seconds(1_000),
        buyer: Span::Seconds(1_000),
        target: Span::Seconds(1_000),
    };
    let last = |call, target: &str, at| PriorCall {
        call,
        target: target.into(),
        buyer: "b".into(),
        at: Wall(at),
    };
    let expected = PriorCalls {
        to_number: 3,
        to_campaign: 3,
        to_buyers: vec![PriorToBuyer { buyer: "b".into(), calls: 2 }],
        to_targets: vec![
            PriorToTarget { target: "t1".into(), calls: 1 },
            PriorToTarget { target: "t2".into(), calls: 1 },
        ],
        last_connected: Some(last(id(2), "t2", 900_000)),
        last_converted: Some(last(id(1), "t1", 590_000)),
        is_partial: false,
    };
    assert_eq!(prior(all), expected);
    let near = PriorWindows {
        number: Span::Seconds(100),
        campaign: Span::Seconds(101),
        buyer: Span::Seconds(100),
        target: Span::Seconds(0),
    };
    let expected = PriorCalls {
        to_number: 2,
        to_campaign: 2,
        to_buyers: vec![PriorToBuyer { buyer: "b".into(), calls: 1 }],
        to_targets: vec![],
        ..expected
    };
    assert_eq!(prior(near), expected);
    let campaign = CampaignId::new("cmp");
    let asking = Asking { dialed: other, campaign: &campaign, at: now };
    assert!(PriorCalls::of(&history.calls(&number(BOB), None), asking, &all).is_nobody());
}

#[test]
fn all_callers_are_told_little_by_little() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(BOB), call(2, 1_500));
    history.begin(&number(ALICE), call(1, 1_000));
    history.begin(&number(ALICE), call(3, 2_000));
    let anonymous = Caller::AnonymousOf("hvac".into());
    history.begin(&anonymous, call(4, 3_000));

    let (mut told, mut last) = (vec![], None);
    while let Some((calls, behind)) = history.after(last.as_ref(), 1) {
        told.push(
            calls.iter().map(|(caller, past)| (caller.clone(), past.call)).collect::<Vec<_>>(),
        );
        last = Some(behind);
    }
    let of = |caller: &Caller, n| (caller.clone(), id(n));
    let (alice, bob) = (number(ALICE), number(BOB));
    assert_eq!(
        told,
        [vec![of(&alice, 1), of(&alice, 3)], vec![of(&bob, 2)], vec![of(&anonymous, 4)]]
    );
    assert_eq!(history.of_live(id(2)), Some((bob.clone(), call(2, 1_500))));
    assert_eq!(history.ended(id(2), None), Some((bob, call(2, 1_500))));
    assert_eq!(history.of_live(id(2)), None);
}

#[test]
fn of_callers_with_many_calls_fewer_are_told_at_once() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    for n in 0..90 {
        history.begin(&number(ALICE + u64::from(n / 10)), call(n, 1_000 + i64::from(n)));
    }
    let (mut told, mut last) = (vec![], None);
    while let Some((calls, behind)) = history.after(last.as_ref(), 25) {
        told.push(calls.len());
        last = Some(behind);
    }
    assert_eq!(told, [30; 3], "of three callers each time");
}

#[test]
fn a_caller_who_never_heard_the_answer_was_connected_to_nobody() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(ALICE), call(1, 1_000));
    history.connected(id(1), &"t".into(), &"b".into(), Wall(5_000));
    history.ended(id(1), None);
    assert_eq!(history.calls(&number(ALICE), None), [call(1, 1_000)]);
}

#[test]
fn the_anonymous_callers_of_a_campaign_are_one() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    let of = |campaign: &str| Caller::AnonymousOf(campaign.into());
    history.begin(&of("hvac"), call(1, 1_000));

    assert_eq!(history.calls(&of("hvac"), None).len(), 1);
    assert!(history.calls(&of("roofing"), None).is_empty());
}

#[test]
fn who_has_not_called_for_longest_is_forgotten_first() {
    let mut history = CallerHistory::new(HistoryLimits { callers_max: 2, calls_max: 32 });
    history.begin(&number(ALICE), call(1, 1_000));
    history.begin(&number(BOB), call(2, 2_000));
    history.begin(&number(ALICE), call(3, 3_000));
    history.begin(&number(3_333_333_333), call(4, 4_000));

    assert!(history.calls(&number(BOB), None).is_empty());
    assert_eq!(history.calls(&number(ALICE), None).len(), 2);

    history.forget(Wall(3_001));
    assert_eq!(history.len(), 1);
    assert_eq!(history.order.len(), 1);
}

#[test]
fn of_too_many_calls_those_go_first_that_say_nothing() {
    let mut history = CallerHistory::new(HistoryLimits { callers_max: 9, calls_max: 3 });
    let mut answered = |n: u8, at: i64, target: &str| {
        history.begin(&number(ALICE), call(n, at));
        history.connected(id(n), &target.into(), &"b".into(), Wall(at + 1));
    };
    answered(1, 1_000, "first");
    answered(2, 2_000, "second");
    history.begin(&number(ALICE), call(3, 3_000));
    history.ended(id(3), None);

    let ids = |history: &CallerHistory| -> Vec<_> {
        history.calls(&number(ALICE), None).into_iter().map(|past| past.call).collect()
    };
    history.begin(&number(ALICE), call(4, 4_000));
    assert_eq!(ids(&history), [id(4), id(2), id(1)], "nobody answered the third");

    history.connected(id(4), &"first".into(), &"b".into(), Wall(4_001));
    history.begin(&number(ALICE), call(5, 5_000));
    history.connected(id(5), &"third".into(), &"b".into(), Wall(5_001));
    assert_eq!(ids(&history), [id(5), id(4), id(2)], "the fourth stands for the first");
}

#[test]
fn what_is_beyond_lower_limits_is_forgotten_as_calls_come_in() {
    let limits = |callers_max, calls_max| HistoryLimits { callers_max, calls_max };
    let mut history = CallerHistory::new(limits(9, 9));
    let third = 3_333_333_333;
    for (n, caller) in (1..).zip([ALICE, BOB, ALICE, BOB, BOB, third]) {
        history.begin(&number(caller), call(n, i64::from(n) * 1_000));
        history.ended(id(n), None);
    }
    let ids = |history: &CallerHistory, caller| -> Vec<_> {
        history.calls(&number(caller), None).into_iter().map(|past| past.call).collect()
    };

    history.limit(limits(1, 2));
    assert_eq!(ids(&history, BOB), [id(5), id(4), id(2)]);
    history.begin(&number(BOB), call(7, 7_000));
    assert_eq!(ids(&history, BOB), [id(7), id(5)], "two at a time");
    assert_eq!(history.len(), 3);

    // One that is new makes room for itself and for one more.
    history.begin(&number(4_444_444_444), call(8, 8_000));
    assert_eq!((history.len(), history.order.len()), (2, 2));
    assert_eq!((ids(&history, ALICE), ids(&history, third)), (vec![], vec![]));
    history.begin(&number(5_555_555_555), call(9, 9_000));
    assert_eq!((history.len(), history.order.len()), (1, 1));
}

#[test]
fn what_is_put_back_twice_counts_once_and_stands_in_its_place() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(ALICE), call(2, 2_000));
    for _ in 0..2 {
        history.restore(&number(ALICE), call(1, 1_000));
    }
    assert_eq!(history.calls(&number(ALICE), None), [call(2, 2_000), call(1, 1_000)]);
    assert_eq!(history.order.len(), 1);
}

#[test]
fn what_is_known_of_a_call_once_it_is_over_goes_before_what_was_known_of_it() {
    let mut history = CallerHistory::new(HistoryConfig::default().into());
    history.begin(&number(ALICE), call(1, 1_000));
    let connected = Some(Connected { target: "t".into(), buyer: "b".into(), at: Wall(2_000) });
    let over = PastCall { connected, talk_ms: Some(5_000), ..call(1, 1_000) };
    history.restore(&number(ALICE), over.clone());
    // Neither does an older reading of it count.
    history.restore(&number(ALICE), call(1, 1_000));

    assert_eq!(history.calls(&number(ALICE), None), [over]);
    assert!(history.live.is_empty());
}

#[test]
fn a_call_that_rings_is_not_forgotten_for_one_that_nobody_answered() {
    let mut history = CallerHistory::new(HistoryLimits { callers_max: 9, calls_max: 2 });
    history.begin(&number(ALICE), call(1, 1_000));
    history.begin(&number(ALICE), call(2, 2_000));
    history.ended(id(2), None);
    history.begin(&number(ALICE), call(3, 3_000));

    history.connected(id(1), &"t".into(), &"b".into(), Wall(4_000));
    let known: Vec<_> = history.calls(&number(ALICE), None).iter().map(|it| it.call).collect();
    assert_eq!(known, [id(3), id(1)]);
}

fn number(digits: u64) -> Caller {
    Caller::Number(PhoneNumber::from_digits(digits).unwrap())
}

fn id(n: u8) -> CallId {
    CallId::from_bytes([n; 16])
}

fn call(n: u8, at: i64) -> PastCall {
    PastCall {
        call: id(n),
        at: Wall(at),
        dialed: PhoneNumber::from_digits(18_005_550_100).unwrap(),
        campaign: "cmp".into(),
        publisher: "pub".into(),
        connected: None,
        converted_at: None,
        talk_ms: None,
        charges: false,
        pays_after_ms: None,
        left: vec![],
    }
}
