//! What every store of holds does. One suite: each test names a rule, and is run on the ledger of one
//! process, on Redis alone, and on a cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tollbridge::id::HoldId;
use tollbridge::routing::Usage;
use tollbridge::routing::hold::{
    Bucket, BucketRequest, Counts, Denied, GAP, Juncture, Leeway, Pace, Reset, ResetPart,
};
use tollbridge::server::clock;
use tollbridge::server::holds::{Cause, Change, Counted, HoldStore, NotGranted};

use super::in_process::{AT, InProcess};
use super::stores;
use crate::support::redis::{Cluster, Redis};

const LEASE: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_a_process_keeps_the_contract() -> Result<()> {
    keep(Arc::new(InProcess::new(LEASE))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_alone_keeps_the_contract() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let settings = stores::settings(vec![redis.address()], "contract", "1");
    keep(Arc::new(stores::open(settings, LEASE).await?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_contract() -> Result<()> {
    let cluster = Cluster::start()?;
    let settings = stores::settings(cluster.seeds(), "contract", "1");
    keep(Arc::new(stores::open(settings, LEASE).await?)).await
}

/// All rules, on buckets of their own.
async fn keep<S: HoldStore + 'static>(store: Arc<S>) -> Result<()> {
    one_of_a_thousand_gets_the_last_place(Arc::clone(&store)).await?;
    money_for_one_is_one_of_thirty_calls(Arc::clone(&store)).await?;
    let store = &*store;
    room_is_taken_in_all_buckets_or_in_none(store).await?;
    a_hold_is_placed_once_and_not_again_after_its_end(store).await?;
    what_is_counted_is_used_once(store).await?;
    what_is_given_back_is_given_back_once(store).await?;
    a_call_that_came_to_less_leaves_the_rest(store).await?;
    what_a_call_came_to_may_be_taken_back(store).await?;
    what_a_call_comes_to_counts_once_whenever_it_is_said(store).await?;
    what_a_call_that_goes_on_has_come_to_is_used_and_the_rest_held(store).await?;
    a_lease_that_is_over_gives_room_and_counts_late(store).await?;
    a_late_count_may_overshoot_and_says_so(store).await?;
    a_call_that_came_to_more_than_it_held_may_overshoot_and_says_so(store).await?;
    a_renewed_hold_stays_and_a_lost_one_is_named(store).await?;
    concurrency_is_a_set_of_leases(store).await?;
    amounts_of_money_are_exact(store).await?;
    what_had_been_granted_is_kept_whatever_the_limit(store).await?;
    windows_are_buckets_of_their_own(store).await?;
    a_soft_cap_holds_nothing_and_is_full_when_it_is_used_up(store).await?;
    a_paced_cap_lets_in_as_many_as_its_rule_says(store).await?;
    a_rolling_window_counts_what_lies_in_it(store).await?;
    a_clock_that_was_ahead_gives_a_rolling_window_no_second_limit(store).await?;
    attempts_are_as_far_apart_as_spacing_says(store).await?;
    who_talks_has_a_line_until_the_end(store).await?;
    what_was_used_before_a_reset_counts_no_more_and_what_is_held_does(store).await?;
    a_reset_of_a_rolling_window_is_one_of_each_slice(store).await
}

async fn one_of_a_thousand_gets_the_last_place<S: HoldStore + 'static>(
    store: Arc<S>,
) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            store.reserve(hold(1, n), &[calls("last", 1)], Duration::from_secs(60)).await
        });
    }
    let mut granted = 0;
    while let Some(answer) = tasks.join_next().await {
        match answer? {
            Ok(_) => granted += 1,
            Err(NotGranted::Full { denied, .. }) => assert_eq!((denied.held, denied.limit), (1, 1)),
            Err(other) => return Err(other.into()),
        }
    }
    assert_eq!(granted, 1);
    Ok(())
}

/// A cap on revenue and what a buyer has paid in, at once: neither is enough for two.
async fn money_for_one_is_one_of_thirty_calls<S: HoldStore + 'static>(store: Arc<S>) -> Result<()> {
    let asked = [
        money("for-one", 20_000_000, 12_500_000),
        BucketRequest { counts: Counts::Credit, ..money("paid-in", 24_999_999, 12_500_000) },
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let (store, mut asked) = (Arc::clone(&store), asked.clone());
        // Whichever it meets first.
        asked.rotate_left(usize::from(n % 2));
        let reserved = async move { store.reserve(hold(26, n), &asked, LEASE * 100).await };
        tasks.spawn(async move { (n, reserved.await) });
    }
    let mut granted = vec![];
    while let Some(answer) = tasks.join_next().await {
        match answer? {
            (n, Ok(_)) => granted.push(n),
            (_, Err(NotGranted::Full { denied, .. })) => {
                assert_eq!((denied.used, denied.held), (0, 12_500_000));
            }
            (_, Err(other)) => return Err(other.into()),
        }
    }
    let [winner] = granted[..] else { panic!("{granted:?} were granted") };
    for request in &asked {
        assert_eq!(look(&*store, request).await?, Usage { used: 0, held: 12_500_000 });
    }

    // What it came to leaves too little for another.
    let counted = asked.iter().map(Counted::all_of).collect();
    let end =
        Change::Count { hold: hold(26, winner), cause: Cause::Course(Juncture::Ended), counted };
    store.tell(&[end, Change::Release { hold: hold(26, winner) }], LEASE).await?;
    let further = store.reserve(hold(26, 30), &asked, LEASE).await;
    assert!(matches!(further, Err(NotGranted::Full { denied, .. }) if denied.used == 12_500_000));
    Ok(())
}

async fn room_is_taken_in_all_buckets_or_in_none(store: &impl HoldStore) -> Result<()> {
    let (wide, narrow) = (calls("wide", 5), calls("narrow", 1));
    store.reserve(hold(2, 1), &[wide.clone(), narrow.clone()], LEASE).await?;

    let second = store.reserve(hold(2, 2), &[wide.clone(), narrow.clone()], LEASE).await;

    let held = |held| Usage { used: 0, held };
    let denied = Denied {
        bucket: narrow.bucket.clone(),
        counts: Counts::Connected,
        used: 0,
        held: 1,
        limit: 1,
    };
    let seen = vec![(wide.bucket.clone(), held(1)), (narrow.bucket, held(1))];
    assert_eq!(second, Err(NotGranted::Full { denied, seen }));
    assert_eq!(look(store, &wide).await?, held(1));
    Ok(())
}

async fn a_hold_is_placed_once_and_not_again_after_its_end(store: &impl HoldStore) -> Result<()> {
    let (id, request) = (hold(3, 1), calls("once", 2));
    assert!(!store.reserve(id, std::slice::from_ref(&request), LEASE).await?.repeated);
    assert!(store.reserve(id, std::slice::from_ref(&request), LEASE).await?.repeated);
    assert_eq!(look(store, &request).await?, Usage { used: 0, held: 1 });

    tell(store, Change::Release { hold: id }).await?;

    assert_eq!(store.reserve(id, &[request], LEASE).await, Err(NotGranted::Ended));
    Ok(())
}

async fn what_is_counted_is_used_once(store: &impl HoldStore) -> Result<()> {
    let (id, connected, attempted) = (hold(4, 1), calls("counted", 5), attempts("tried", 5));
    store.reserve(id, &[connected.clone(), attempted.clone()], LEASE).await?;

    let event = count(id, Cause::Event(Counts::Connected), &connected, 1);
    let told = tell(store, event.clone()).await?;
    assert_eq!((told.done, told.late, told.overshoots), (true, false, 0));
    assert_eq!(told.seen, [(connected.bucket.clone(), Usage { used: 1, held: 0 })]);
    assert!(!tell(store, event).await?.done);
    tell(store, Change::Release { hold: id }).await?;

    assert_eq!(look(store, &connected).await?, Usage { used: 1, held: 0 });
    assert_eq!(look(store, &attempted).await?, Usage::default());
    Ok(())
}

async fn what_is_given_back_is_given_back_once(store: &impl HoldStore) -> Result<()> {
    let request = calls("back", 5);
    for n in 1..=2 {
        store.reserve(hold(5, n), std::slice::from_ref(&request), LEASE).await?;
    }
    let release = Change::Release { hold: hold(5, 1) };
    assert!(tell(store, release.clone()).await?.done);
    assert!(!tell(store, release).await?.done);
    assert_eq!(look(store, &request).await?, Usage { used: 0, held: 1 });
    Ok(())
}

async fn a_call_that_came_to_less_leaves_the_rest(store: &impl HoldStore) -> Result<()> {
    let (id, request) = (hold(6, 1), money("less", 100_000_000, 40_000_000));
    store.reserve(id, std::slice::from_ref(&request), LEASE).await?;
    let end = count(id, Cause::Course(Juncture::Ended), &request, 25_000_000);

    let told = store.tell(&[end.clone(), Change::Release { hold: id }], LEASE).await?;
    assert_eq!((told[0].done, told[0].late), (true, false));
    store.tell(&[end, Change::Release { hold: id }], LEASE).await?;

    assert_eq!(look(store, &request).await?, Usage { used: 25_000_000, held: 0 });
    Ok(())
}

async fn what_a_call_came_to_may_be_taken_back(store: &impl HoldStore) -> Result<()> {
    let (id, request) = (hold(7, 1), money("taken-back", 100, 40));
    store.reserve(id, std::slice::from_ref(&request), LEASE).await?;
    for (juncture, amount) in [(Juncture::Ended, 40), (Juncture::Corrected, -40)] {
        let end = count(id, Cause::Course(juncture), &request, amount);
        store.tell(&[end, Change::Release { hold: id }], LEASE).await?;
    }
    assert_eq!(look(store, &request).await?, Usage::default());
    Ok(())
}

/// What a call comes to, in any order, twice, and after its room was given back.
async fn what_a_call_comes_to_counts_once_whenever_it_is_said(
    store: &impl HoldStore,
) -> Result<()> {
    use Juncture::{Converted, Corrected, Ended, EndedEarly};
    let request = money("whenever", 10_000, 100);
    let orders: [&[(Juncture, i64)]; 4] = [
        &[(Converted, 60), (Ended, 20)],
        &[(Ended, 20), (Converted, 60)],
        &[(Converted, 60), (Ended, 20), (Converted, 60), (Ended, 20)],
        &[(EndedEarly, 100), (Corrected, -20), (EndedEarly, 100), (Corrected, -20)],
    ];
    let mut used = 0;
    for (n, order) in orders.into_iter().enumerate() {
        for released_after in 0..=order.len() {
            let id = hold(28, u16::try_from(n * 10 + released_after)?);
            store.reserve(id, std::slice::from_ref(&request), LEASE * 100).await?;
            for (place, (juncture, amount)) in order.iter().enumerate() {
                if place == released_after {
                    tell(store, Change::Release { hold: id }).await?;
                }
                let is_again = order[..place].iter().any(|(said, _)| said == juncture);
                let told = tell(store, count(id, Cause::Course(*juncture), &request, *amount));
                let told = told.await?;
                let is_late = !is_again && place >= released_after;
                assert_eq!((told.done, told.late), (!is_again, is_late), "{order:?}, {place}");
            }
            tell(store, Change::Release { hold: id }).await?;
            used += 80;
            assert_eq!(look(store, &request).await?, Usage { used, held: 0 }, "{order:?}");
        }
    }
    Ok(())
}

/// It converts, and is still up.
async fn what_a_call_that_goes_on_has_come_to_is_used_and_the_rest_held(
    store: &impl HoldStore,
) -> Result<()> {
    let (money, line) = (money("goes-on", 100, 40), live("goes-on", 1));
    let id = hold(29, 1);
    store.reserve(id, &[money.clone(), line.clone()], LEASE * 8).await?;

    let converted = count(id, Cause::Course(Juncture::Converted), &money, 25);
    assert!(tell(store, converted).await?.done);

    assert_eq!(look(store, &money).await?, Usage { used: 25, held: 15 });
    assert_eq!(look(store, &line).await?, Usage { used: 0, held: 1 });
    tell(store, Change::Release { hold: id }).await?;
    assert_eq!(look(store, &money).await?, Usage { used: 25, held: 0 });
    Ok(())
}

async fn a_lease_that_is_over_gives_room_and_counts_late(store: &impl HoldStore) -> Result<()> {
    let (id, request) = (hold(8, 1), calls("late", 2));
    store.reserve(id, std::slice::from_ref(&request), LEASE).await?;
    tokio::time::sleep(LEASE * 3 / 2).await;
    assert_eq!(look(store, &request).await?, Usage::default());

    let event = count(id, Cause::Event(Counts::Connected), &request, 1);
    let told = tell(store, event.clone()).await?;

    assert_eq!((told.done, told.late, told.overshoots), (true, true, 0));
    assert!(!tell(store, event).await?.done);
    assert_eq!(look(store, &request).await?, Usage { used: 1, held: 0 });
    Ok(())
}

async fn a_late_count_may_overshoot_and_says_so(store: &impl HoldStore) -> Result<()> {
    let (late, request) = (hold(9, 1), calls("over", 1));
    store.reserve(late, std::slice::from_ref(&request), LEASE).await?;
    tokio::time::sleep(LEASE * 3 / 2).await;
    store.reserve(hold(9, 2), std::slice::from_ref(&request), LEASE).await?;

    let told = tell(store, count(late, Cause::Event(Counts::Connected), &request, 1)).await?;

    assert_eq!((told.late, told.overshoots, told.overdrawn), (true, 1, 0));
    Ok(())
}

async fn a_call_that_came_to_more_than_it_held_may_overshoot_and_says_so(
    store: &impl HoldStore,
) -> Result<()> {
    for (n, counts, overdrawn) in [(0, Counts::Revenue, 0), (10, Counts::Credit, 1)] {
        let request = request("more", counts, 100, 40);
        for n in [n, n + 1] {
            store.reserve(hold(25, n), std::slice::from_ref(&request), LEASE * 8).await?;
        }
        let end = |n, amount| count(hold(25, n), Cause::Course(Juncture::Ended), &request, amount);
        let told = tell(store, end(n, 60)).await?;
        assert_eq!((told.late, told.overshoots), (false, 0), "there was room for it");
        let told = tell(store, end(n + 1, 41)).await?;
        assert_eq!((told.late, told.overshoots, told.overdrawn), (false, 1, overdrawn));
        assert_eq!(look(store, &request).await?, Usage { used: 101, held: 0 });
    }
    Ok(())
}

async fn a_renewed_hold_stays_and_a_lost_one_is_named(store: &impl HoldStore) -> Result<()> {
    let request = calls("renewed", 5);
    for n in 1..=3 {
        store.reserve(hold(10, n), std::slice::from_ref(&request), LEASE).await?;
    }
    for _ in 0..4 {
        tokio::time::sleep(LEASE / 3).await;
        assert_eq!(store.renew(&[hold(10, 1), hold(10, 2)], LEASE).await?, []);
    }
    assert_eq!(look(store, &request).await?, Usage { used: 0, held: 2 });
    tokio::time::sleep(LEASE * 3 / 2).await;
    assert_eq!(store.renew(&[hold(10, 1)], LEASE).await?, [hold(10, 1)]);
    Ok(())
}

async fn concurrency_is_a_set_of_leases(store: &impl HoldStore) -> Result<()> {
    let live = live("lines", 2);
    for n in 1..=2 {
        store.reserve(hold(11, n), std::slice::from_ref(&live), LEASE).await?;
    }
    let third = store.reserve(hold(11, 3), std::slice::from_ref(&live), LEASE).await;
    assert!(matches!(third, Err(NotGranted::Full { denied, .. }) if denied.held == 2));

    for _ in 0..2 {
        tell(store, Change::Release { hold: hold(11, 1) }).await?;
    }
    assert_eq!(look(store, &live).await?, Usage { used: 0, held: 1 });
    store.reserve(hold(11, 4), std::slice::from_ref(&live), LEASE).await?;
    tokio::time::sleep(LEASE * 3 / 2).await;
    assert_eq!(look(store, &live).await?, Usage::default());
    Ok(())
}

async fn amounts_of_money_are_exact(store: &impl HoldStore) -> Result<()> {
    let million = 1_000_000_000_001;
    let request = money("exact", 3 * million, million);
    for n in 1..=3 {
        store.reserve(hold(12, n), std::slice::from_ref(&request), LEASE).await?;
    }
    let fourth = store.reserve(hold(12, 4), &[money("exact", 3 * million, 1)], LEASE).await;
    assert!(matches!(fourth, Err(NotGranted::Full { .. })));
    let end = count(hold(12, 1), Cause::Course(Juncture::Ended), &request, 999_999_999_999);
    store.tell(&[end, Change::Release { hold: hold(12, 1) }], LEASE).await?;
    assert_eq!(
        look(store, &request).await?,
        Usage { used: 999_999_999_999, held: 2 * u64::try_from(million)? }
    );
    Ok(())
}

async fn what_had_been_granted_is_kept_whatever_the_limit(store: &impl HoldStore) -> Result<()> {
    let request = calls("kept", 1);
    store.reserve(hold(13, 1), std::slice::from_ref(&request), LEASE).await?;
    let keep = Change::Keep { hold: hold(13, 2), requests: vec![request.clone()] };
    assert!(tell(store, keep).await?.done);
    assert_eq!(look(store, &request).await?, Usage { used: 0, held: 2 });
    Ok(())
}

async fn windows_are_buckets_of_their_own(store: &impl HoldStore) -> Result<()> {
    let (today, mut tomorrow) = (calls("windows", 1), calls("windows", 1));
    tomorrow.bucket.window = "d:2026-11-23".into();
    for (n, request) in [&today, &tomorrow].into_iter().enumerate() {
        let id = hold(14, u16::try_from(n)?);
        store.reserve(id, std::slice::from_ref(request), LEASE).await?;
    }
    assert_eq!(look(store, &today).await?, Usage { used: 0, held: 1 });
    Ok(())
}

async fn a_soft_cap_holds_nothing_and_is_full_when_it_is_used_up(
    store: &impl HoldStore,
) -> Result<()> {
    let request = BucketRequest { leeway: Some(Leeway::Soft), ..calls("soft", 2) };
    for n in 1..=3 {
        store.reserve(hold(15, n), std::slice::from_ref(&request), LEASE).await?;
    }
    assert_eq!(look(store, &request).await?, Usage::default());
    for n in 1..=3 {
        let told = tell(store, count(hold(15, n), Cause::Event(Counts::Connected), &request, 1));
        assert_eq!(told.await?.overshoots, 0, "it may be passed");
    }
    assert_eq!(look(store, &request).await?, Usage { used: 3, held: 0 });
    let fourth = store.reserve(hold(15, 4), &[request], LEASE).await;
    assert!(matches!(fourth, Err(NotGranted::Full { denied, .. }) if denied.used == 3));
    Ok(())
}

async fn a_paced_cap_lets_in_as_many_as_its_rule_says(store: &impl HoldStore) -> Result<()> {
    for (test, limit, rate_ppm, by_now, used) in [
        (16, 10, 300_000, 10, 0),
        (17, 10, 1_000_000, 4, 0),
        (18, 10, 50_000, 2, 0),
        // As many as there is room for.
        (30, 10, 300_000, 3, 1),
        // More room than is reckoned with.
        (31, 150, 300_000, 140, 5),
    ] {
        let pace = Pace { by_now, rate_ppm, z_milli: 2_327, calls: None };
        let cap = format!("paced{test}");
        let request = BucketRequest { leeway: Some(Leeway::Paced(pace)), ..calls(&cap, limit) };
        let admits = |held: &u64| request.admits(Usage { used, held: *held }, 1);
        let most = (0..).find(|held| !admits(held)).unwrap();
        for n in 0..used {
            let id = hold(test, u16::try_from(10_000 + n)?);
            store.reserve(id, std::slice::from_ref(&request), LEASE * 4).await?;
            tell(store, count(id, Cause::Event(Counts::Connected), &request, 1)).await?;
        }
        for n in 0..most {
            let id = hold(test, u16::try_from(n)?);
            store.reserve(id, std::slice::from_ref(&request), LEASE * 40).await?;
        }
        let further = hold(test, 9_999);
        let next = store.reserve(further, std::slice::from_ref(&request), LEASE).await;
        assert!(matches!(next, Err(NotGranted::Full { denied, .. }) if denied.held == most));
    }
    Ok(())
}

async fn a_rolling_window_counts_what_lies_in_it(store: &impl HoldStore) -> Result<()> {
    // An hour has slices of a minute, and counts the one that is leaving.
    let now = AT.0 / 60_000;
    let at = |slice| {
        let request = calls("rolling", 2);
        let window = format!("rolling:3600/{slice}").into();
        BucketRequest { bucket: Bucket { window, ..request.bucket }, ..request }
    };
    for n in 1..=2 {
        let id = hold(19, n);
        store.reserve(id, &[at(now)], LEASE).await?;
        tell(store, count(id, Cause::Event(Counts::Connected), &at(now), 1)).await?;
    }
    assert_eq!(look(store, &at(now)).await?, Usage { used: 2, held: 0 });
    let full = store.reserve(hold(19, 3), &[at(now + 60)], LEASE).await;
    assert!(matches!(full, Err(NotGranted::Full { denied, .. }) if denied.used == 2));
    // The slice they lie in has left the window.
    store.reserve(hold(19, 4), &[at(now + 61)], LEASE).await?;
    Ok(())
}

async fn a_clock_that_was_ahead_gives_a_rolling_window_no_second_limit(
    store: &impl HoldStore,
) -> Result<()> {
    // A minute has slices of a second.
    let now = AT.0 / 1_000;
    let at = |second| {
        let request = calls("ahead", 2);
        let window = format!("rolling:60/{second}").into();
        BucketRequest { bucket: Bucket { window, ..request.bucket }, ..request }
    };
    for n in 1..=2 {
        store.reserve(hold(27, n), &[at(now)], LEASE).await?;
        tell(store, count(hold(27, n), Cause::Event(Counts::Connected), &at(now), 1)).await?;
    }
    let hour = hold(27, 3);
    store.reserve(hour, &[at(now + 3_600)], LEASE).await?;
    tell(store, Change::Release { hold: hour }).await?;

    let back = store.reserve(hold(27, 4), &[at(now + 1)], LEASE).await;
    assert!(matches!(back, Err(NotGranted::Full { denied, .. }) if denied.used == 2));
    Ok(())
}

async fn attempts_are_as_far_apart_as_spacing_says(store: &impl HoldStore) -> Result<()> {
    const GAP_MS: u64 = 2_000;
    let now = || -> Result<BucketRequest> {
        let request = request("spaced", Counts::Spacing, GAP_MS, clock::wall().0.try_into()?);
        let bucket = Bucket { window: GAP.into(), ..request.bucket };
        Ok(BucketRequest { bucket, ..request })
    };
    let first = now()?;
    store.reserve(hold(20, 1), std::slice::from_ref(&first), LEASE).await?;
    let soon = store.reserve(hold(20, 2), &[now()?], LEASE).await;
    let is_first = |last: u64| last.abs_diff(first.amount) < GAP_MS / 2;
    assert!(matches!(soon, Err(NotGranted::Full { denied, .. }) if is_first(denied.used)));
    tokio::time::sleep(Duration::from_millis(GAP_MS)).await;
    store.reserve(hold(20, 3), &[now()?], LEASE).await?;
    tell(store, Change::Release { hold: hold(20, 3) }).await?;
    let after = store.reserve(hold(20, 4), &[now()?], LEASE).await;
    assert!(matches!(after, Err(NotGranted::Full { .. })), "it was made all the same");
    Ok(())
}

async fn who_talks_has_a_line_until_the_end(store: &impl HoldStore) -> Result<()> {
    let line = BucketRequest { counts: Counts::Talking, ..live("talking", 1) };
    let id = hold(21, 1);
    store.reserve(id, &[line.clone(), calls("talks", 5)], LEASE).await?;
    tell(store, count(id, Cause::Event(Counts::Connected), &calls("talks", 5), 1)).await?;
    let beside = store.reserve(hold(21, 2), std::slice::from_ref(&line), LEASE).await;
    let is_full = |denied: &Denied| denied.used + denied.held == 1;
    assert!(matches!(beside, Err(NotGranted::Full { denied, .. }) if is_full(&denied)));
    tell(store, Change::Release { hold: id }).await?;
    store.reserve(hold(21, 3), &[line], LEASE).await?;
    Ok(())
}

async fn what_was_used_before_a_reset_counts_no_more_and_what_is_held_does(
    store: &impl HoldStore,
) -> Result<()> {
    let request = calls("reset", 3);
    let connected = |n| count(hold(22, n), Cause::Event(Counts::Connected), &request, 1);
    for n in 1..=3 {
        store.reserve(hold(22, n), std::slice::from_ref(&request), LEASE * 8).await?;
    }
    for n in 1..=2 {
        tell(store, connected(n)).await?;
    }
    assert_eq!(look(store, &request).await?, Usage { used: 2, held: 1 });
    let parts = store.parts(&request.bucket).await?;
    assert_eq!(parts, [ResetPart { node: None, slice: None, level: 2 }]);

    let reset = reset(&request, parts);
    for _ in 0..2 {
        store.reset(&reset).await?;
        assert_eq!(look(store, &request).await?, Usage { used: 0, held: 1 });
    }
    for n in 4..=5 {
        store.reserve(hold(22, n), std::slice::from_ref(&request), LEASE * 8).await?;
    }
    let full = store.reserve(hold(22, 6), std::slice::from_ref(&request), LEASE).await;
    assert!(matches!(full, Err(NotGranted::Full { denied, .. }) if denied.held == 3));
    let told = tell(store, connected(3)).await?;
    assert_eq!((told.late, told.overshoots), (false, 0));
    assert_eq!(look(store, &request).await?, Usage { used: 1, held: 2 });
    // It comes again, late.
    store.reset(&reset).await?;
    assert_eq!(look(store, &request).await?, Usage { used: 1, held: 2 });

    // What had not counted any more is taken back: the next that happens counts.
    let nothing = count(hold(22, 1), Cause::Course(Juncture::Ended), &request, -2);
    store.tell(&[nothing], LEASE).await?;
    assert_eq!(look(store, &request).await?, Usage { used: 0, held: 2 });
    tell(store, connected(4)).await?;
    assert_eq!(look(store, &request).await?, Usage { used: 1, held: 1 });
    Ok(())
}

async fn a_reset_of_a_rolling_window_is_one_of_each_slice(store: &impl HoldStore) -> Result<()> {
    // Of a day a slice has 24 minutes.
    let slice = AT.0 / 1_440_000;
    let request = calls("reset-rolling", 3);
    let window = format!("rolling:86400/{slice}").into();
    let request = BucketRequest { bucket: Bucket { window, ..request.bucket }, ..request };
    for n in 1..=3 {
        store.reserve(hold(23, n), std::slice::from_ref(&request), LEASE * 8).await?;
    }
    for n in 1..=2 {
        let event = count(hold(23, n), Cause::Event(Counts::Connected), &request, 1);
        tell(store, event).await?;
    }
    let parts = store.parts(&request.bucket).await?;
    assert_eq!(parts.iter().map(|part| part.level).sum::<u64>(), 2, "{parts:?}");
    assert!(parts.iter().all(|part| part.node.is_none() && part.slice.is_some()));

    for _ in 0..2 {
        store.reset(&reset(&request, parts.clone())).await?;
        assert_eq!(look(store, &request).await?, Usage { used: 0, held: 1 });
    }
    let event = count(hold(23, 3), Cause::Event(Counts::Connected), &request, 1);
    tell(store, event).await?;
    assert_eq!(look(store, &request).await?, Usage { used: 1, held: 0 });
    Ok(())
}

fn reset(request: &BucketRequest, parts: Vec<ResetPart>) -> Reset {
    Reset {
        bucket: request.bucket.stored().0.into_owned(),
        ends_at: None,
        at: *AT,
        by: "ops".into(),
        why: "calls of a test".into(),
        key: None,
        amount: 2,
        parts,
    }
}

async fn tell(store: &impl HoldStore, change: Change) -> Result<tollbridge::server::holds::Told> {
    Ok(store.tell(&[change], LEASE).await?.remove(0))
}

async fn look(store: &impl HoldStore, request: &BucketRequest) -> Result<Usage> {
    Ok(store.usage(&[(request.bucket.clone(), request.counts)]).await?[0])
}

fn count(hold: HoldId, cause: Cause, request: &BucketRequest, amount: i64) -> Change {
    let counted = Counted { amount, ..Counted::all_of(request) };
    Change::Count { hold, cause, counted: vec![counted] }
}

fn hold(test: u8, number: u16) -> HoldId {
    let [high, low] = number.to_be_bytes();
    HoldId::from_bytes([7, test, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

fn calls(cap: &str, limit: u64) -> BucketRequest {
    request(cap, Counts::Connected, limit, 1)
}

fn attempts(cap: &str, limit: u64) -> BucketRequest {
    request(cap, Counts::Attempted, limit, 1)
}

fn money(cap: &str, limit: i64, amount: i64) -> BucketRequest {
    let micros = |amount: i64| u64::try_from(amount).unwrap();
    request(cap, Counts::Revenue, micros(limit), micros(amount))
}

fn live(cap: &str, limit: u64) -> BucketRequest {
    let mut request = request(cap, Counts::Live, limit, 1);
    request.bucket.window = "live".into();
    request
}

fn request(cap: &str, counts: Counts, limit: u64, amount: u64) -> BucketRequest {
    let cap = format!("target/{cap}/{counts:?}/daily").into();
    let bucket = Bucket { cap, window: "d:2026-11-22".into() };
    BucketRequest { bucket, counts, limit, amount, ends_at: None, leeway: None }
}
