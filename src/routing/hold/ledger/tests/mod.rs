//! The invariants of holds, one by one and over any history.

use proptest::prelude::*;

use super::super::{Leeway, Pace, pace};
use super::*;
use crate::id::CallId;

mod model;

const LEASE: Duration = Duration::from_secs(90);
const AT: Wall = Wall(500);

#[test]
fn of_a_thousand_reservations_on_a_limit_of_ten_exactly_ten_are_granted() {
    let mut ledger = ledger();
    let granted =
        (0..1_000).filter(|n| ledger.reserve(hold(*n), &[cap("a", 10)], Mono(0)).is_ok()).count();
    assert_eq!(granted, 10);
    assert_eq!(ledger.usage(&cap("a", 10).bucket), Usage { used: 0, held: 10 });
}

#[test]
fn all_buckets_are_taken_or_none() {
    let mut ledger = ledger();
    ledger.reserve(hold(1), &[cap("b", 1)], Mono(0)).unwrap();

    let refused = ledger.reserve(hold(2), &[cap("a", 5), cap("b", 1)], Mono(0));

    let denied = Denied {
        bucket: cap("b", 1).bucket,
        counts: Counts::Connected,
        used: 0,
        held: 1,
        limit: 1,
    };
    assert_eq!(refused, Err(Refused::Full(denied)));
    assert_eq!(ledger.usage(&cap("a", 5).bucket), Usage::default());
}

#[test]
fn a_bucket_named_twice_needs_room_for_both() {
    let mut ledger = ledger();
    assert!(ledger.reserve(hold(1), &[cap("a", 1), cap("a", 1)], Mono(0)).is_err());
    assert!(ledger.reserve(hold(2), &[cap("a", 2), cap("a", 2)], Mono(0)).is_ok());
    assert_eq!(ledger.usage(&cap("a", 2).bucket).held, 2);
    ledger.release(hold(2));
    assert_eq!(ledger.usage(&cap("a", 2).bucket).held, 0);
}

#[test]
fn a_hold_is_granted_once_however_often_it_is_asked_for() {
    let mut ledger = ledger();
    let first = ledger.reserve(hold(1), &[cap("a", 1)], Mono(0)).unwrap();
    let again = ledger.reserve(hold(1), &[cap("a", 1)], Mono(5)).unwrap();
    assert_eq!(again, Placed { repeated: true, ..first });

    assert!(ledger.release(hold(1)));
    assert!(!ledger.release(hold(1)));
    assert_eq!(ledger.reserve(hold(1), &[cap("a", 1)], Mono(9)), Err(Refused::Ended));
    assert_eq!(ledger.usage(&cap("a", 1).bucket), Usage::default());
}

#[test]
fn what_is_settled_stays_used_and_the_rest_is_given_back() {
    let mut ledger = ledger();
    let connected = cap("a", 3);
    let converted = BucketRequest { counts: Counts::Converted, ..cap("b", 3) };
    ledger.reserve(hold(1), &[connected.clone(), converted.clone(), live(3)], Mono(0)).unwrap();

    let settled = ledger.settle(hold(1), Counts::Connected, Mono(1), AT);
    let again = ledger.settle(hold(1), Counts::Connected, Mono(2), AT);

    assert_eq!(settled, Settled { buckets: vec![connected.bucket.clone()], late: false });
    assert_eq!(again, Settled::default());
    assert_eq!(ledger.usage(&connected.bucket), Usage { used: 1, held: 0 });
    assert_eq!(ledger.usage(&live(3).bucket), Usage { used: 0, held: 1 });

    ledger.release(hold(1));
    assert_eq!(ledger.usage(&connected.bucket), Usage { used: 1, held: 0 });
    assert_eq!(ledger.usage(&converted.bucket), Usage::default());
    assert_eq!(ledger.usage(&live(3).bucket), Usage::default());
    assert_eq!(ledger.settle(hold(1), Counts::Converted, Mono(3), AT), Settled::default());
}

#[test]
fn a_hold_that_is_not_renewed_expires_and_a_late_settle_is_counted() {
    let mut ledger = ledger();
    ledger.reserve(hold(1), &[cap("a", 1), live(1)], Mono(0)).unwrap();
    assert!(ledger.renew(hold(1), Mono(0) + LEASE / 2));
    assert_eq!(ledger.expire(Mono(0) + LEASE), 0);
    assert_eq!(ledger.deadline(), Some(Mono(0) + LEASE * 3 / 2));
    assert_eq!(ledger.expire(Mono(0) + LEASE * 2), 1);
    assert!(!ledger.renew(hold(1), Mono(0) + LEASE * 2));
    ledger.reserve(hold(2), &[cap("a", 1), live(1)], Mono(0) + LEASE * 2).unwrap();

    let settled = ledger.settle(hold(1), Counts::Connected, Mono(0) + LEASE * 2, AT);

    assert_eq!(settled, Settled { buckets: vec![cap("a", 1).bucket], late: true });
    assert_eq!(ledger.usage(&cap("a", 1).bucket), Usage { used: 1, held: 1 });
    let LedgerCounters { late_settles, overshoots, .. } = ledger.counters();
    assert_eq!((late_settles, overshoots), (1, 1));
    let again = ledger.settle(hold(1), Counts::Connected, Mono(0) + LEASE * 2, AT);
    assert_eq!(again, Settled::default());
}

#[test]
fn holds_outlast_the_time_in_which_nobody_could_renew_them() {
    let mut ledger = ledger();
    ledger.reserve(hold(1), &[live(1)], Mono(0)).unwrap();
    ledger.adopt(hold(2), vec![live(1)], Mono(0) + LEASE);

    ledger.prolong(LEASE * 3);

    assert_eq!(ledger.expire(Mono(0) + LEASE), 1, "what a crash left up has its own end");
    let awoken = Mono(0) + LEASE * 3 + LEASE / 2;
    assert!(ledger.reserve(hold(3), &[live(1)], awoken).is_err());
    assert!(ledger.renew(hold(1), awoken));
    assert_eq!(ledger.expire(awoken + LEASE), 1);
}

#[test]
fn of_thirty_calls_on_money_for_one_exactly_one_is_granted() {
    let mut ledger = ledger();
    let bid = spend("a", 20_000_000, 39_999_999);
    let granted = (0..30)
        .filter(|n| ledger.reserve(hold(*n), std::slice::from_ref(&bid), Mono(0)).is_ok())
        .count();
    assert_eq!(granted, 1);
    assert_eq!(ledger.usage(&bid.bucket), Usage { used: 0, held: 20_000_000 });

    let denied = ledger.reserve(hold(30), std::slice::from_ref(&bid), Mono(0)).unwrap_err();

    let (counts, limit) = (Counts::Revenue, 39_999_999);
    let denied_by = Denied { bucket: bid.bucket, counts, used: 0, held: 20_000_000, limit };
    assert_eq!(denied, Refused::Full(denied_by));
}

#[test]
fn what_a_call_came_to_is_used_and_the_rest_of_what_was_held_is_free() {
    let mut ledger = ledger();
    let (money, talk) = (spend("a", 20, 50), spend("b", 600, 1_000));
    ledger.reserve(hold(1), &[money.clone(), talk.clone(), live(3)], Mono(0)).unwrap();

    assert!(ledger.conclude(hold(1), Juncture::Ended, &[(talk.bucket.clone(), 90)], Mono(1)));

    assert_eq!(ledger.usage(&money.bucket), Usage::default());
    assert_eq!(ledger.usage(&talk.bucket), Usage { used: 90, held: 0 });
    assert_eq!(ledger.usage(&live(3).bucket), Usage::default());
    let reading = ledger.readings().next().unwrap();
    assert_eq!(reading.ends_at, talk.ends_at, "its window is known");
    assert!(!ledger.release(hold(1)));
    assert_eq!(ledger.reserve(hold(1), &[money], Mono(2)), Err(Refused::Ended));
}

#[test]
fn money_that_was_spent_counts_also_when_its_hold_had_expired() {
    let mut ledger = ledger();
    let bid = spend("a", 20, 30);
    ledger.reserve(hold(1), std::slice::from_ref(&bid), Mono(0)).unwrap();
    ledger.reserve(hold(2), std::slice::from_ref(&bid), Mono(0) + LEASE).unwrap();

    assert!(!ledger.conclude(
        hold(1),
        Juncture::Ended,
        &[(bid.bucket.clone(), 20)],
        Mono(0) + LEASE
    ));

    assert_eq!(ledger.usage(&bid.bucket), Usage { used: 20, held: 20 });
    let LedgerCounters { late_settles, overshoots, .. } = ledger.counters();
    assert_eq!((late_settles, overshoots), (1, 1));
}

#[test]
fn room_for_a_call_that_a_crash_left_up_is_kept_until_its_time_is_over() {
    let mut ledger = ledger();
    let bid = spend("a", 20, 30);
    ledger.adopt(
        hold(1),
        vec![BucketRequest { limit: u64::MAX, ..bid.clone() }],
        Mono(0) + LEASE * 9,
    );

    assert!(ledger.reserve(hold(2), std::slice::from_ref(&bid), Mono(0) + LEASE * 8).is_err());
    assert_eq!((ledger.live(), ledger.awaited()), (1, 1));
    assert_eq!(ledger.readings().next().unwrap().awaited, 20);
    assert!(ledger.reserve(hold(3), &[bid], Mono(0) + LEASE * 9).is_ok());
    assert_eq!(ledger.awaited(), 0);
}

#[test]
fn a_place_of_a_call_that_a_crash_left_up_is_free_as_soon_as_its_end_is_known() {
    let mut ledger = ledger();
    for n in 1..=2 {
        ledger.adopt(hold(n), vec![BucketRequest { limit: u64::MAX, ..live(2) }], Mono(0) + LEASE);
    }
    let place = live(3);
    ledger.reserve(hold(3), std::slice::from_ref(&place), Mono(0)).unwrap();
    assert!(ledger.reserve(hold(4), std::slice::from_ref(&place), Mono(0)).is_err());
    assert_eq!((ledger.usage(&place.bucket).held, ledger.awaited_in(&place.bucket)), (3, 2));

    assert!(ledger.conclude(hold(1), Juncture::Ended, &[], Mono(0)));

    assert_eq!((ledger.usage(&place.bucket).held, ledger.awaited_in(&place.bucket)), (2, 1));
    assert!(ledger.reserve(hold(4), std::slice::from_ref(&place), Mono(0)).is_ok());
    ledger.release(hold(2));
    ledger.release(hold(3));
    assert_eq!((ledger.usage(&place.bucket).held, ledger.awaited_in(&place.bucket)), (1, 0));
}

#[test]
fn a_lowered_limit_takes_nothing_back_and_grants_nothing_more() {
    let mut ledger = ledger();
    for n in 0..5 {
        ledger.reserve(hold(n), &[cap("a", 5)], Mono(0)).unwrap();
    }
    assert!(ledger.reserve(hold(5), &[cap("a", 3)], Mono(0)).is_err());
    for n in 0..3 {
        ledger.release(hold(n));
    }
    assert!(ledger.reserve(hold(6), &[cap("a", 3)], Mono(0)).is_ok());
    assert!(ledger.reserve(hold(7), &[cap("a", 3)], Mono(0)).is_err());
}

#[test]
fn usage_from_before_a_restart_counts() {
    let mut ledger = ledger();
    let cap = cap("a", 10);
    ledger.restore(cap.bucket.clone(), 9, cap.ends_at);
    ledger.restore(cap.bucket.clone(), 4, cap.ends_at);
    assert!(ledger.reserve(hold(1), std::slice::from_ref(&cap), Mono(0)).is_ok());
    assert!(ledger.reserve(hold(2), &[cap], Mono(0)).is_err());
}

#[test]
fn a_reset_is_known_again_after_a_restart_in_whatever_order_it_and_what_was_used_come_back() {
    let bucket = cap("a", 3).bucket;
    let reset = Reset {
        bucket: bucket.clone(),
        ends_at: None,
        at: AT,
        by: "ops".into(),
        why: "calls of a test".into(),
        key: None,
        amount: 2,
        parts: vec![
            ResetPart { node: None, slice: None, level: 2 },
            // Of another server, whose calls are in its own journal.
            ResetPart { node: Some("2".into()), slice: None, level: 9 },
        ],
    };
    for is_first in [true, false] {
        let mut ledger = ledger();
        if is_first {
            ledger.reset(&reset);
        }
        ledger.restore(bucket.clone(), 3, None);
        ledger.reset(&reset);

        assert_eq!(ledger.usage(&bucket), Usage { used: 1, held: 0 });
        assert_eq!(ledger.used(), [(bucket.clone(), 3, None)], "what is told is what was used");
        let parts = [ResetPart { node: None, slice: None, level: 3 }];
        assert_eq!(ledger.parts(&bucket), parts, "the next one goes on from here");
    }
}

#[test]
fn what_is_held_by_nobody_is_found() {
    let mut ledger = ledger();
    let (line, talking) = (live(5), BucketRequest { counts: Counts::Talking, ..live(5) });
    ledger.reserve(hold(1), &[cap("a", 5), talking], Mono(0)).unwrap();
    ledger.settle(hold(1), Counts::Connected, Mono(0), AT);
    ledger.tend(None, usize::MAX, AT);
    ledger.release(hold(1));
    ledger.tend(None, usize::MAX, AT);
    assert_eq!(ledger.counters().leaked, 0, "it was held by a hold, and is no more");

    let tally = ledger.buckets.entry(line.bucket.clone()).or_default();
    tally.take(hold(2), &line, None);
    ledger.tend(None, usize::MAX, AT);
    assert_eq!(ledger.counters().leaked, 1);
}

#[test]
fn a_hold_that_is_asked_for_after_its_end_is_counted() {
    let mut ledger = ledger();
    ledger.reserve(hold(1), &[cap("a", 5)], Mono(0)).unwrap();
    ledger.release(hold(1));
    assert_eq!(ledger.reserve(hold(1), &[cap("a", 5)], Mono(0)), Err(Refused::Ended));
    assert_eq!(ledger.counters().reused, 1);
}

#[test]
fn a_call_that_comes_to_more_than_was_held_for_it_may_pass_a_limit_and_is_counted() {
    let credit = |amount| BucketRequest { counts: Counts::Credit, ..spend("owed", amount, 100) };
    let came_to = |amount| [(credit(0).bucket, amount)];
    let mut ledger = ledger();
    for n in 1..=2 {
        ledger.reserve(hold(n), &[credit(50)], Mono(0)).unwrap();
    }
    assert!(ledger.conclude(hold(1), Juncture::Ended, &came_to(50), Mono(0)));
    let counters = ledger.counters();
    assert_eq!((counters.overshoots, counters.overdrawn), (0, 0), "as much as was held");

    assert!(ledger.conclude(hold(2), Juncture::Ended, &came_to(51), Mono(0)));
    let counters = ledger.counters();
    assert_eq!((counters.overshoots, counters.overdrawn, counters.late_settles), (1, 1, 0));
}

#[test]
fn what_a_call_came_to_that_had_given_back_its_room_counts_once_and_may_pass_a_limit() {
    let money = spend("a", 20, 30);
    let mut ledger = ledger();
    ledger.reserve(hold(1), std::slice::from_ref(&money), Mono(0)).unwrap();
    ledger.release(hold(1));
    ledger.reserve(hold(2), std::slice::from_ref(&money), Mono(0)).unwrap();

    for is_news in [true, false] {
        let came_to = [(money.bucket.clone(), 20)];
        assert_eq!(ledger.come_to(hold(1), Juncture::Ended, &came_to, Mono(0)), is_news);
        assert_eq!(ledger.settle(hold(1), Counts::Revenue, Mono(0), AT), Settled::default());
    }

    assert_eq!(ledger.usage(&money.bucket), Usage { used: 20, held: 20 });
    let LedgerCounters { late_settles, overshoots, .. } = ledger.counters();
    assert_eq!((late_settles, overshoots), (1, 1));
}

#[test]
fn what_was_said_of_a_hold_that_nobody_knows_is_known_from_then_on() {
    let mut ledger = ledger();
    let came_to = [(spend("a", 0, 30).bucket, 20)];
    for is_news in [true, false] {
        assert_eq!(ledger.come_to(hold(1), Juncture::Corrected, &came_to, Mono(0)), is_news);
        assert!(!ledger.conclude(hold(2), Juncture::Ended, &[], Mono(0)));
    }
    assert_eq!(ledger.usage(&came_to[0].0).used, 20);
    assert_eq!(ledger.ended.holds.len(), 1, "of the other there is nothing to remember");
}

#[test]
fn what_a_call_that_goes_on_has_come_to_is_used_out_of_what_is_held_or_awaited() {
    let (money, line) = (spend("a", 20, 30), live(1));
    let came_to = [(money.bucket.clone(), 15)];
    for is_awaited in [false, true] {
        let mut ledger = ledger();
        match is_awaited {
            true => ledger.adopt(hold(1), vec![money.clone(), line.clone()], Mono(0) + LEASE),
            false => drop(ledger.reserve(hold(1), &[money.clone(), line.clone()], Mono(0))),
        }
        ledger.come_to(hold(1), Juncture::Converted, &came_to, Mono(0));

        assert_eq!(ledger.usage(&money.bucket), Usage { used: 15, held: 5 });
        assert_eq!(ledger.usage(&line.bucket), Usage { used: 0, held: 1 });
        assert_eq!(ledger.awaited_in(&money.bucket), if is_awaited { 5 } else { 0 });
        assert!(ledger.reserve(hold(2), &[spend("a", 11, 30)], Mono(0)).is_err());
        assert!(ledger.reserve(hold(2), &[spend("a", 10, 30)], Mono(0)).is_ok());
        assert!(ledger.conclude(hold(1), Juncture::Ended, &[], Mono(0)));
        assert_eq!(ledger.usage(&money.bucket), Usage { used: 15, held: 10 });
        assert_eq!(ledger.awaited_in(&money.bucket), 0);
    }
}

#[test]
fn buckets_are_seen_to_some_at_a_time_and_all_of_them() {
    let mut ledger = ledger();
    for n in 0..25 {
        let bucket = cap(&format!("{n:02}"), 9).bucket;
        ledger.restore(bucket, 1, Some(Wall(if n % 3 == 0 { 0 } else { i64::MAX })));
    }
    let (mut seen, mut pieces) = (None, 0);
    loop {
        seen = ledger.tend(seen.as_ref(), 10, Wall(7_200_000));
        pieces += 1;
        if seen.is_none() {
            break;
        }
    }
    assert_eq!((pieces, ledger.readings().count()), (3, 16));
}

#[test]
fn a_window_is_forgotten_two_hours_after_its_end_if_nothing_is_held_in_it() {
    const FORGOTTEN: i64 = 1_000 + 2 * 3_600_000;
    let mut ledger = ledger();
    ledger.reserve(hold(1), &[cap("a", 2)], Mono(0)).unwrap();
    ledger.restore(cap("b", 2).bucket, 2, Some(Wall(1_000)));
    ledger.restore(Bucket { window: "total".into(), ..cap("c", 2).bucket }, 1, None);

    ledger.tend(None, usize::MAX, Wall(FORGOTTEN - 1));
    assert_eq!(ledger.readings().count(), 3);
    ledger.tend(None, usize::MAX, Wall(FORGOTTEN));
    assert_eq!(ledger.readings().count(), 2);
    ledger.release(hold(1));
    ledger.tend(None, usize::MAX, Wall(FORGOTTEN));
    assert_eq!(ledger.readings().count(), 1);
}

#[test]
fn a_reset_of_a_total_holds_also_for_what_is_restored_after_it() {
    let bucket = Bucket { window: "total".into(), ..cap("a", 9).bucket };
    let mut ledger = ledger();
    ledger.reset(&Reset {
        bucket: bucket.clone(),
        ends_at: None,
        at: Wall(1_000),
        by: "ops".into(),
        why: "calls of a test".into(),
        key: None,
        amount: 5,
        parts: vec![ResetPart { node: None, slice: None, level: 5 }],
    });
    ledger.tend(None, usize::MAX, Wall(2_000));
    ledger.restore(bucket.clone(), 7, None);
    assert_eq!(ledger.usage(&bucket), Usage { used: 2, held: 0 });
}

#[test]
fn a_clock_that_goes_ahead_and_is_set_back_gives_a_rolling_window_no_second_limit() {
    const HOUR: i64 = 3_600_000;
    let mut ledger = ledger();
    let asked = |n, at| (hold(n), [rolling("a", 2, at)]);
    let mut call = |n, at: i64, counts| {
        let (hold, requests) = asked(n, at);
        let is_let_in = ledger.reserve(hold, &requests, Mono(0)).is_ok();
        if is_let_in && counts {
            ledger.settle(hold, Counts::Connected, Mono(0), Wall(at));
        }
        ledger.release(hold);
        is_let_in
    };
    assert!(call(1, 0, true) && call(2, 500, true));

    assert!(call(3, HOUR, false), "it has left the window");
    assert!(!call(4, 20_000, true), "it has not, as it turns out");
    assert!(call(5, HOUR, true) && !call(6, 59_000, true));

    // What was counted meanwhile counts until a clock shows that it has left the window, too.
    assert!(call(7, 62_000, true) && !call(8, 62_000, true));
    assert!(call(9, HOUR + 62_000, true));
    let (used, bucket) = (ledger.usage(&rolling("a", 2, HOUR + 62_000).bucket).used, "rolling:60");
    let reading = ledger.readings().find(|it| it.bucket.window == bucket).unwrap();
    assert_eq!((used, reading.usage.used), (1, 1), "it is read as it is now");
    let slices = |ledger: &HoldLedger| ledger.used().len();
    assert_eq!(slices(&ledger), 4);
    let mut call = |n, at: i64| ledger.reserve(hold(n), &[rolling("a", 2, at)], Mono(0)).is_ok();
    assert!(call(10, 3 * HOUR + 111_000));
    assert_eq!(slices(&ledger), 1, "what left the window two hours before is forgotten");
}

#[test]
fn a_full_ledger_refuses_and_forgets_only_what_has_ended() {
    let limits = LedgerLimits { holds_max: 2, remembered_max: 1, ..LedgerLimits::default() };
    let mut ledger = HoldLedger::new(limits);
    for n in 1..=2 {
        ledger.reserve(hold(n), &[cap("a", 9)], Mono(0)).unwrap();
    }
    assert_eq!(ledger.reserve(hold(3), &[cap("a", 9)], Mono(0)), Err(Refused::LedgerFull));
    ledger.release(hold(1));
    ledger.release(hold(2));
    assert_eq!(ledger.ended.holds.len(), 1);

    let limits = LedgerLimits { buckets_max: 1, ..LedgerLimits::default() };
    let mut ledger = HoldLedger::new(limits);
    ledger.reserve(hold(1), &[cap("a", 9)], Mono(0)).unwrap();
    assert_eq!(ledger.reserve(hold(2), &[cap("b", 9)], Mono(0)), Err(Refused::LedgerFull));
}

#[test]
fn what_happens_at_once_is_counted_however_full_the_memory_is() {
    for limits in [
        LedgerLimits { holds_max: 1, ..LedgerLimits::default() },
        LedgerLimits { buckets_max: 1, ..LedgerLimits::default() },
    ] {
        let mut ledger = HoldLedger::new(limits);
        ledger.reserve(hold(1), &[cap("a", 9)], Mono(0)).unwrap();
        let offered = BucketRequest { counts: Counts::Offered, ..cap("b", 2) };
        let requests = std::slice::from_ref(&offered);
        let mut let_in = 0;
        while ledger.check_room(requests).is_ok() {
            assert_eq!(ledger.count(requests, AT), std::slice::from_ref(&offered.bucket));
            let_in += 1;
        }
        assert_eq!((let_in, ledger.usage(&offered.bucket).used), (2, 2));
    }
}

#[test]
fn of_a_thousand_simultaneous_calls_on_a_limit_of_one_exactly_one_is_granted_in_any_strict_way() {
    let certain = Pace { by_now: 1, rate_ppm: pace::WHOLE_PPM, z_milli: 2_327, calls: None };
    let talking = BucketRequest { counts: Counts::Talking, ..live(1) };
    let paced = BucketRequest { leeway: Some(Leeway::Paced(certain)), ..cap("a", 1) };
    for one in [cap("a", 1), live(1), talking, paced, rolling("a", 1, 0), spaced("a", 30_000, 90)] {
        let mut ledger = ledger();
        let granted = (0..1_000)
            .filter(|n| ledger.reserve(hold(*n), std::slice::from_ref(&one), Mono(0)).is_ok());
        assert_eq!(granted.count(), 1, "{one:?}");
    }
}

#[test]
fn a_soft_cap_lets_calls_in_until_it_is_used_up_and_holds_nothing() {
    let mut ledger = ledger();
    let soft = BucketRequest { leeway: Some(Leeway::Soft), ..cap("a", 2) };
    for n in 0..5 {
        ledger.reserve(hold(n), std::slice::from_ref(&soft), Mono(0)).unwrap();
    }
    assert_eq!(ledger.usage(&soft.bucket), Usage::default());
    for n in 0..3 {
        let settled = ledger.settle(hold(n), Counts::Connected, Mono(0), AT);
        assert_eq!(settled.buckets, std::slice::from_ref(&soft.bucket));
    }
    assert_eq!(ledger.usage(&soft.bucket), Usage { used: 3, held: 0 });
    assert!(ledger.reserve(hold(9), std::slice::from_ref(&soft), Mono(0)).is_err());
    assert_eq!(ledger.readings().next().unwrap().ends_at, soft.ends_at);
    assert_eq!(ledger.counters().overshoots, 0, "it is what such a cap is about");
}

#[test]
fn attempts_are_so_far_apart_whatever_becomes_of_them() {
    let mut ledger = ledger();
    let at = |at| spaced("a", 30_000, at);
    ledger.reserve(hold(1), &[at(1_000_000), cap("b", 1)], Mono(0)).unwrap();
    ledger.release(hold(1));
    assert!(ledger.reserve(hold(2), &[at(1_029_999)], Mono(0)).is_err());
    // One that is refused for another reason has not taken place.
    ledger.restore(cap("b", 1).bucket, 1, None);
    assert!(ledger.reserve(hold(3), &[at(1_030_000), cap("b", 1)], Mono(0)).is_err());
    assert!(ledger.reserve(hold(4), &[at(1_030_000)], Mono(0)).is_ok());
    let settled = ledger.settle(hold(4), Counts::Attempted, Mono(0), AT);
    assert_eq!(settled.buckets[0].window, "gap/1030000");

    let mut after = self::ledger();
    after.restore(settled.buckets[0].clone(), 1, None);
    assert!(after.reserve(hold(5), &[at(1_059_999)], Mono(0)).is_err());
    // The clock has been set back by an hour.
    assert!(after.reserve(hold(6), &[at(900_000)], Mono(0)).is_ok());
}

#[test]
fn a_call_that_rings_takes_a_place_and_counts_as_live_when_it_is_answered() {
    let mut ledger = ledger();
    let talking = BucketRequest { counts: Counts::Talking, ..live(2) };
    for n in 1..=2 {
        ledger.reserve(hold(n), std::slice::from_ref(&talking), Mono(0)).unwrap();
    }
    let settled = ledger.settle(hold(1), Counts::Connected, Mono(0), AT);
    ledger.settle(hold(1), Counts::Connected, Mono(0), AT);
    assert_eq!(settled, Settled::default(), "no cap counts it");
    assert_eq!(ledger.usage(&talking.bucket), Usage { used: 1, held: 1 });
    assert!(ledger.reserve(hold(3), std::slice::from_ref(&talking), Mono(0)).is_err());
    ledger.release(hold(1));
    assert_eq!(ledger.usage(&talking.bucket), Usage { used: 0, held: 1 });
    ledger.conclude(hold(2), Juncture::Ended, &[], Mono(0));
    assert_eq!(ledger.usage(&talking.bucket), Usage::default());
}

/// What can happen to a hold, and the limits of that moment.
#[derive(Clone, Debug)]
enum Event {
    Reserve { hold: u32, caps: Vec<(u8, u64)>, live: u64 },
    Settle { hold: u32, converted: bool },
    Release { hold: u32 },
    Renew { hold: u32 },
    Wait { seconds: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let hold = 0_u32..40;
    prop_oneof![
        4 => (hold.clone(), prop::collection::vec((0_u8..3, 1_u64..6), 0..3), 1_u64..5)
            .prop_map(|(hold, caps, live)| Event::Reserve { hold, caps, live }),
        2 => (hold.clone(), any::<bool>())
            .prop_map(|(hold, converted)| Event::Settle { hold, converted }),
        2 => hold.clone().prop_map(|hold| Event::Release { hold }),
        1 => hold.prop_map(|hold| Event::Renew { hold }),
        1 => (1_u64..60).prop_map(|seconds| Event::Wait { seconds }),
    ]
}

proptest! {
    /// I5, I6 and I7 over any history.
    #[test]
    fn nothing_is_granted_beyond_its_limit_and_every_hold_ends_once(
        events in prop::collection::vec(event(), 1..300),
    ) {
        let mut ledger = ledger();
        let mut now = Mono(0);
        let mut used_before: BTreeMap<Bucket, u64> = BTreeMap::new();
        for event in events {
            match event {
                Event::Reserve { hold: n, caps, live: limit } => {
                    let mut requests: Vec<_> = caps
                        .iter()
                        .map(|(cap_no, limit)| BucketRequest {
                            counts: [Counts::Connected, Counts::Converted]
                                [usize::from(*cap_no % 2)],
                            ..cap(&cap_no.to_string(), *limit)
                        })
                        .collect();
                    requests.push(live(limit));
                    let before = ledger.clone();
                    match ledger.reserve(hold(n), &requests, now) {
                        Ok(Placed { repeated: false, .. }) => {
                            for request in &requests {
                                let Usage { used, held } = ledger.usage(&request.bucket);
                                prop_assert!(used + held <= request.limit);
                            }
                        }
                        Ok(_) => prop_assert!(before.live.contains_key(&hold(n))),
                        Err(_) => {
                            prop_assert_eq!(&ledger.live, &before.live);
                            prop_assert_eq!(&ledger.buckets, &before.buckets);
                        }
                    }
                }
                Event::Settle { hold: n, converted } => {
                    let counts = if converted { Counts::Converted } else { Counts::Connected };
                    ledger.settle(hold(n), counts, now, AT);
                    prop_assert_eq!(ledger.settle(hold(n), counts, now, AT), Settled::default());
                }
                Event::Release { hold: n } => {
                    ledger.release(hold(n));
                    prop_assert!(!ledger.release(hold(n)));
                }
                Event::Renew { hold: n } => {
                    ledger.renew(hold(n), now);
                }
                Event::Wait { seconds } => {
                    now = now + Duration::from_secs(seconds);
                    ledger.expire(now);
                }
            }
            let counters = ledger.counters();
            prop_assert_eq!(
                counters.placed,
                ledger.live() as u64 + counters.released + counters.expired
            );
            for (bucket, tally) in &ledger.buckets {
                let Usage { used, held } = tally.usage(bucket);
                prop_assert_eq!(held, tally.leases().map(|(_, amount)| amount).sum::<u64>());
                prop_assert!(tally.leases().all(|(hold, _)| ledger.live.contains_key(hold)));
                prop_assert!(used_before.get(bucket).is_none_or(|before| *before <= used));
                used_before.insert(bucket.clone(), used);
            }
            if ledger.live() == 0 {
                prop_assert_eq!(ledger.usage(&live(1).bucket), Usage::default());
            }
        }
    }
}

/// What befalls calls on money: one begins, one ends, or the process dies and the next one knows
/// from its journal what was used and which calls may be up.
#[derive(Clone, Debug)]
enum Spending {
    Begin {
        stakes: [u64; 2],
    },
    /// The `nth` of those that are up ends, and came to so many hundredths of its stakes.
    End {
        nth: usize,
        percent: u64,
    },
    Crash,
    Wait {
        seconds: u64,
    },
}

fn spending() -> impl Strategy<Value = Spending> {
    prop_oneof![
        6 => [0_u64..40, 1_u64..40].prop_map(|stakes| Spending::Begin { stakes }),
        5 => (0_usize..9, 0_u64..=100).prop_map(|(nth, percent)| Spending::End { nth, percent }),
        1 => Just(Spending::Crash),
        1 => (1_u64..40).prop_map(|seconds| Spending::Wait { seconds }),
    ]
}

proptest! {
    /// I5 for money, at any interleaving of calls and crashes.
    #[test]
    fn money_is_never_used_or_held_beyond_its_limit(
        limits in [50_u64..120, 50_u64..120],
        events in prop::collection::vec(spending(), 1..200),
    ) {
        let names = ["a", "b"];
        let mut ledger = ledger();
        let (mut now, mut begun) = (Mono(0), 0);
        let mut used = [0_u64; 2];
        let mut up: Vec<(HoldId, [u64; 2])> = vec![];
        let mut left_up: BTreeSet<HoldId> = BTreeSet::new();
        for event in events {
            match event {
                Spending::Begin { stakes } => {
                    begun += 1;
                    let requests: Vec<_> =
                        (0..2).map(|n| spend(names[n], stakes[n], limits[n])).collect();
                    if ledger.reserve(hold(begun), &requests, now).is_ok() {
                        up.push((hold(begun), stakes));
                    }
                }
                Spending::End { nth, percent } => {
                    if nth < up.len() {
                        let (hold, stakes) = up.remove(nth);
                        let came_to = stakes.map(|stake| stake * percent / 100);
                        let counts = (0..2)
                            .map(|n| (cap(names[n], 0).bucket, i64::try_from(came_to[n]).unwrap()));
                        prop_assert!(ledger.conclude(hold, Juncture::Ended, &counts.collect::<Vec<_>>(), now));
                        used = [used[0] + came_to[0], used[1] + came_to[1]];
                    }
                }
                Spending::Crash => {
                    ledger = self::ledger();
                    for (n, name) in names.into_iter().enumerate() {
                        ledger.restore(cap(name, 0).bucket, used[n], None);
                    }
                    for (hold, stakes) in &up {
                        let held = (0..2).map(|n| spend(names[n], stakes[n], u64::MAX));
                        ledger.adopt(*hold, held.collect(), now + LEASE * 100);
                    }
                    left_up = up.iter().map(|(hold, _)| *hold).collect();
                }
                Spending::Wait { seconds } => {
                    now = now + Duration::from_secs(seconds);
                    for (hold, _) in &up {
                        ledger.renew(*hold, now);
                    }
                    ledger.expire(now);
                }
            }
            for n in 0..2 {
                let held: u64 = up.iter().map(|(_, stakes)| stakes[n]).sum();
                let usage = ledger.usage(&cap(names[n], 0).bucket);
                prop_assert_eq!(usage, Usage { used: used[n], held });
                prop_assert!(usage.used + usage.held <= limits[n]);
                let awaited = up.iter().filter(|(hold, _)| left_up.contains(hold));
                let awaited: u64 = awaited.map(|(_, stakes)| stakes[n]).sum();
                prop_assert_eq!(ledger.awaited_in(&cap(names[n], 0).bucket), awaited);
            }
            prop_assert_eq!(ledger.live(), up.len());
        }
    }
}

fn ledger() -> HoldLedger {
    HoldLedger::new(LedgerLimits { lease: LEASE, ..LedgerLimits::default() })
}

fn hold(n: u32) -> HoldId {
    HoldId::of(CallId::from_bytes([0; 16]), 1, &n.to_string())
}

fn cap(name: &str, limit: u64) -> BucketRequest {
    BucketRequest {
        bucket: Bucket { cap: name.into(), window: "d:2026-11-22".into() },
        counts: Counts::Connected,
        limit,
        amount: 1,
        ends_at: Some(Wall(1_000)),
        leeway: None,
    }
}

/// Money, or any other thing that is counted at the end.
fn spend(name: &str, amount: u64, limit: u64) -> BucketRequest {
    BucketRequest { counts: Counts::Revenue, amount, ..cap(name, limit) }
}

/// In the last minute.
fn rolling(name: &str, limit: u64, at: i64) -> BucketRequest {
    let window = format_smolstr!("rolling:60/{}", at.div_euclid(1_000));
    BucketRequest { bucket: Bucket { cap: name.into(), window }, ..cap(name, limit) }
}

/// Attempts at least so far apart, of which one is now.
fn spaced(name: &str, gap_ms: u64, at_ms: u64) -> BucketRequest {
    BucketRequest {
        bucket: Bucket { cap: name.into(), window: GAP.into() },
        counts: Counts::Spacing,
        amount: at_ms,
        ends_at: Some(Wall(i64::try_from(at_ms + gap_ms).unwrap())),
        ..cap(name, gap_ms)
    }
}

fn live(limit: u64) -> BucketRequest {
    BucketRequest {
        bucket: Bucket { cap: "live".into(), window: "live".into() },
        counts: Counts::Live,
        limit,
        amount: 1,
        ends_at: None,
        leeway: None,
    }
}
