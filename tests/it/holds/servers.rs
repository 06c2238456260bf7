//! What holds in Redis do beyond the contract: with a server that is new, emptied, full or has lost its
//! replica, and with messages that overtake each other.

use std::time::Duration;

use anyhow::{Result, ensure};
use tollbridge::id::HoldId;
use tollbridge::routing::Usage;
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts, GAP};
use tollbridge::routing::request::ReadyWord;
use tollbridge::server::clock;
use tollbridge::server::holds::redis::{Claim, Deposit, KeySpace, Known, RedisStore, TakenOver};
use tollbridge::server::holds::{Cause, Change, Counted, HoldStore, NotGranted};
use tollbridge::server::redis::StoreFault;
use tollbridge::time::Wall;

use super::stores;
use crate::support::redis::{Cluster, Redis};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_release_that_overtakes_its_hold_keeps_it_from_being_placed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let store = node(&redis, "1").await?;

    store.tell(&[Change::Release { hold: hold(1) }], LEASE).await?;

    let placed = store.reserve(hold(1), &[request(Counts::Connected, 1)], LEASE).await;
    assert_eq!(placed, Err(NotGranted::Ended));
    Ok(())
}

#[tokio::test]
async fn a_new_server_is_closed_until_all_nodes_have_told_it_what_they_know() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    // As a replica has it that was made master.
    redis.ask(&["hset", "gate:{servers}:caps", "run", "the one before"])?;

    let asked = [request(Counts::Connected, 1)];
    assert_eq!(first.reserve(hold(1), &asked, LEASE).await, Err(NotGranted::NotOpen));
    assert!(!stores::join(&first, LEASE).await?, "the second has yet to speak");
    assert_eq!(first.reserve(hold(1), &asked, LEASE).await, Err(NotGranted::NotOpen));
    assert!(stores::join(&second, LEASE).await?);
    first.reserve(hold(1), &asked, LEASE).await?;

    // Nobody waits for one that has left.
    redis.ask(&["hset", "gate:{servers}:caps", "run", "another"])?;
    second.leave().await?;
    assert!(stores::join(&first, LEASE).await?);
    assert_eq!(first.still_knows().await, Ok(()));

    redis.ask(&["flushall"])?;
    assert_eq!(first.reserve(hold(2), &asked, LEASE).await, Err(NotGranted::NotOpen));
    assert_eq!(first.still_knows().await, Err(StoreFault::NotOpen));
    Ok(())
}

#[tokio::test]
async fn an_emptied_server_is_told_all_by_nodes_that_told_it_before() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let asked = [request(Counts::Connected, 1)];

    // It is emptied while it is told, and others come first.
    redis.ask(&["flushall"])?;
    let emptied = first.announce(LEASE).await?;
    redis.ask(&["flushall"])?;
    assert_eq!(first.join(LEASE).await, Err(StoreFault::NotOpen), "what it told is gone");
    assert!(stores::join(&second, LEASE).await?, "it is the only one that spoke");
    assert_eq!(first.join(LEASE).await, Err(StoreFault::NotOpen));
    // Open, but not to who has yet to tell it.
    assert_eq!(first.reserve(hold(1), &asked, LEASE).await, Err(NotGranted::NotOpen));
    assert_eq!(first.still_knows().await, Err(StoreFault::NotOpen));
    assert_ne!(first.announce(LEASE).await?, emptied);
    assert!(first.join(LEASE).await?);

    // Nobody opens it without one that has said that it is there, however long it tells.
    redis.ask(&["flushall"])?;
    first.announce(LEASE).await?;
    assert!(!stores::join(&second, LEASE).await?);
    assert!(first.join(LEASE).await?);
    first.reserve(hold(1), &asked, LEASE).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_node_has_used_only_ever_raises_its_own_part() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let asked = request(Counts::Connected, 100);
    let known = |used| [Known { bucket: asked.bucket.clone(), used, ends_at: None }];
    for (store, used, raises) in
        [(&first, 5, 1), (&second, 3, 1), (&first, 5, 0), (&first, 2, 0), (&second, 4, 1)]
    {
        assert_eq!(store.restore(&known(used)).await?, raises);
    }
    let used = first.usage(&[(asked.bucket, asked.counts)]).await?;
    assert_eq!(used, [Usage { used: 9, held: 0 }]);
    Ok(())
}

#[tokio::test]
async fn a_process_takes_over_from_one_that_died_in_one_step() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (dead, other) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let (connected, line) = (request(Counts::Connected, 4), live(9));
    for n in 1..=3 {
        dead.reserve(hold(n), &[connected.clone(), line.clone()], LEASE).await?;
    }
    other.reserve(hold(4), &[connected.clone(), line.clone()], LEASE).await?;
    // Of two answers the store had heard; of the third the journal alone has.
    for n in 1..=2 {
        dead.tell(&[counted(n, &connected)], LEASE).await?;
    }
    let looked = async |store: &RedisStore| {
        let buckets = [&connected, &line].map(|it| (it.bucket.clone(), it.counts));
        store.usage(&buckets).await
    };
    let usage = |used, held| Usage { used, held };
    assert_eq!(looked(&other).await?, [usage(2, 2), usage(0, 4)]);

    // The first call is up, and the others are over.
    let next = node(&redis, "1").await?;
    let used = [Known { bucket: connected.bucket.clone(), used: 3, ends_at: None }];
    let kept = [(hold(1), vec![line.clone()])];
    for raised in [1, 0] {
        let done = next.take_over(&kept, &used, LEASE).await?;
        assert_eq!(done, TakenOver { raised, ..TakenOver::default() });
        assert_eq!(looked(&other).await?, [usage(3, 1), usage(0, 2)]);
    }
    let full = other.reserve(hold(5), std::slice::from_ref(&connected), LEASE).await;
    assert!(matches!(full, Err(NotGranted::Full { .. })), "what was used is used");
    // One that goes on ends as any, and those of others are as before.
    assert!(next.tell(&[Change::Release { hold: hold(1) }], LEASE).await?[0].done);
    assert_eq!(looked(&other).await?[1], usage(0, 1));
    assert_eq!(other.renew(&[hold(4)], LEASE).await?, []);
    Ok(())
}

fn live(limit: u64) -> BucketRequest {
    let line = request(Counts::Live, limit);
    let bucket = Bucket { cap: "target/a/concurrency".into(), window: "live".into() };
    BucketRequest { bucket, ..line }
}

#[tokio::test]
async fn a_key_of_a_buyer_deposits_once_whichever_node_is_asked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let (ten, five) = (deposit("ten", 10), deposit("five", 5));

    assert_eq!(first.claim(&ten, 1).await?, Claim::Ours);
    assert_eq!(first.claim(&ten, 1).await?, Claim::Ours, "its answer may have been lost");
    assert_eq!(second.claim(&ten, 1).await?, Claim::Elsewhere);
    assert_eq!(of_buyer(&second).await?, 0, "it is not written down yet");
    for _ in 0..2 {
        assert_eq!(first.took(&ten, 10).await?, 10);
    }
    assert_eq!(second.claim(&ten, 1).await?, Claim::Taken { amount: 10, all: 10 });
    assert_eq!(second.claim(&five, 1).await?, Claim::Ours);
    assert_eq!(second.took(&five, 5).await?, 15);
    assert_eq!(first.claim(&five, 1).await?, Claim::Taken { amount: 5, all: 15 });

    // One that could not be written down is anybody's.
    let failed = deposit("failed", 7);
    assert_eq!(first.claim(&failed, 1).await?, Claim::Ours);
    first.drop_claim(&failed, 1).await?;
    assert_eq!(second.claim(&failed, 1).await?, Claim::Ours);
    first.drop_claim(&failed, 1).await?;
    assert_eq!(first.claim(&failed, 1).await?, Claim::Elsewhere, "it was not the first's to drop");

    // Its key is as good as new some day.
    let short = Deposit { forgotten_at: Wall(clock::wall().0 + 200), ..deposit("short", 1) };
    assert_eq!(first.claim(&short, 1).await?, Claim::Ours);
    first.took(&short, 11).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(second.claim(&short, 1).await?, Claim::Ours);
    assert_eq!(of_buyer(&second).await?, 16);
    Ok(())
}

#[tokio::test]
async fn a_claim_that_came_to_nothing_takes_no_later_one_with_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let ten = deposit("ten", 10);

    // Nobody heard the answer to the first; that it is dropped is told late.
    for serial in [1, 2] {
        assert_eq!(first.claim(&ten, serial).await?, Claim::Ours);
    }
    first.drop_claim(&ten, 1).await?;
    assert_eq!(second.claim(&ten, 1).await?, Claim::Elsewhere, "it is being written down");
    // Nor if it comes to the server after the second.
    first.claim(&ten, 1).await?;
    first.drop_claim(&ten, 1).await?;
    assert_eq!(second.claim(&ten, 1).await?, Claim::Elsewhere);

    // A process that begins knows what to think of all of them.
    let next = node(&redis, "1").await?;
    assert_eq!(next.claim(&ten, 1).await?, Claim::Ours);
    first.drop_claim(&ten, 1).await?;
    assert_eq!(second.claim(&ten, 1).await?, Claim::Elsewhere, "another process claimed it");
    next.drop_claim(&ten, 1).await?;
    assert_eq!(second.claim(&ten, 1).await?, Claim::Ours);
    assert_eq!(first.claim(&ten, 3).await?, Claim::Elsewhere);
    second.drop_claim(&ten, 1).await?;
    assert_eq!(first.claim(&ten, 4).await?, Claim::Ours);
    first.drop_claim(&ten, 3).await?;
    next.begin_deposits().await?;
    assert_eq!(second.claim(&ten, 2).await?, Claim::Ours, "the process that claimed it is over");
    Ok(())
}

#[tokio::test]
async fn a_claim_that_is_being_written_down_is_told_to_an_emptied_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let (ten, five) = (deposit("ten", 10), deposit("five", 5));
    assert_eq!(first.claim(&ten, 1).await?, Claim::Ours);
    redis.ask(&["flushall"])?;

    first.announce(LEASE).await?;
    first.keep_claim(&ten, 1).await?;
    assert!(first.join(LEASE).await?);
    stores::join(&second, LEASE).await?;
    assert_eq!(second.claim(&ten, 1).await?, Claim::Elsewhere);
    assert_eq!(first.took(&ten, 10).await?, 10);
    first.keep_claim(&ten, 1).await?;
    assert_eq!(second.claim(&ten, 2).await?, Claim::Taken { amount: 10, all: 10 });
    // It is not another node's to keep.
    assert_eq!(second.claim(&five, 3).await?, Claim::Ours);
    first.keep_claim(&five, 2).await?;
    assert_eq!(first.claim(&five, 3).await?, Claim::Elsewhere);
    Ok(())
}

#[tokio::test]
async fn what_a_node_claimed_before_it_died_is_settled_by_its_journal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let (written, lost, going_on) = (deposit("written", 10), deposit("lost", 5), deposit("on", 1));
    for claimed in [&written, &lost] {
        assert_eq!(first.claim(claimed, 1).await?, Claim::Ours);
    }

    let next = node(&redis, "1").await?;
    assert_eq!(next.claim(&going_on, 1).await?, Claim::Ours);
    next.know_deposits(std::slice::from_ref(&written)).await?;
    next.begin_deposits().await?;

    assert_eq!(second.claim(&written, 1).await?, Claim::Taken { amount: 10, all: 0 });
    assert_eq!(second.claim(&lost, 1).await?, Claim::Ours);
    assert_eq!(second.claim(&going_on, 1).await?, Claim::Elsewhere);
    Ok(())
}

#[tokio::test]
async fn nothing_is_deposited_while_the_nodes_have_yet_to_say_what_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let ten = deposit("ten", 10);
    first.claim(&ten, 1).await?;
    first.took(&ten, 10).await?;
    redis.ask(&["flushall"])?;

    let claimed = second.claim(&ten, 1).await;
    assert_eq!(claimed, Err(StoreFault::NotOpen));
    first.know_deposits(std::slice::from_ref(&ten)).await?;
    first.begin_deposits().await?;
    let bucket = Deposit::of_buyer(&ten.buyer);
    first.restore(&[Known { bucket, used: 10, ends_at: None }]).await?;
    stores::join(&first, LEASE).await?;
    stores::join(&second, LEASE).await?;

    assert_eq!(second.claim(&ten, 1).await?, Claim::Taken { amount: 10, all: 10 });
    assert_eq!(of_buyer(&second).await?, 10);
    Ok(())
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_forgets_nothing_that_counts_for_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (right, ahead) = (node(&redis, "1").await?, node(&redis, "2").await?);
    // A minute has slices of a second.
    let at = |second: i64| {
        let request = request(Counts::Connected, 2);
        let window = format!("rolling:60/{second}").into();
        BucketRequest { bucket: Bucket { window, ..request.bucket }, ..request }
    };
    let now = clock::wall().0 / 1_000;
    for number in 1..=2 {
        right.reserve(hold(number), &[at(now)], LEASE).await?;
        right.tell(&[counted(number, &at(now))], LEASE).await?;
    }

    let hour = at(now + 3_600);
    ahead.reserve(hold(3), std::slice::from_ref(&hour), LEASE).await?;
    ahead.tell(&[counted(3, &hour)], LEASE).await?;

    let full = right.reserve(hold(4), &[at(now + 1)], LEASE).await;
    let is_full = matches!(&full, Err(NotGranted::Full { denied, .. }) if denied.used == 3);
    ensure!(is_full, "{full:?}");
    // What has left the window by both clocks is kept for nobody.
    let before = at(now - 3_600);
    right.tell(&[counted(5, &before)], LEASE).await?;
    right.tell(&[counted(6, &at(now))], LEASE).await?;
    let is_kept = || -> Result<bool> {
        let slices = redis.ask(&["hkeys", "cap:{servers}:target/t/Connected:rolling:60"])?;
        Ok(slices.contains(&format!("s:{}:", now - 3_600)))
    };
    ensure!(!is_kept()?, "it has left the window");
    // A node remembers it for longer, and tells it to a server that is new.
    let known = Known { bucket: before.bucket, used: 1, ends_at: None };
    ensure!(right.restore(&[known]).await? == 0 && !is_kept()?, "it counts no more");
    Ok(())
}

#[tokio::test]
async fn attempts_of_nodes_whose_clocks_differ_are_as_far_apart_as_spacing_says() -> Result<()> {
    const GAP_MS: u64 = 2_000;
    const HOUR_MS: i64 = 3_600_000;
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (right, ahead, behind) =
        (node(&redis, "1").await?, node(&redis, "2").await?, node(&redis, "3").await?);
    let cap = "target/t/spacing";
    let by = |ahead_ms: i64| -> Result<BucketRequest> {
        let amount = u64::try_from(clock::wall().0 + ahead_ms)?;
        let bucket = Bucket { cap: cap.into(), window: GAP.into() };
        Ok(BucketRequest { bucket, amount, ..request(Counts::Spacing, GAP_MS) })
    };
    let is_too_soon = async |store: &RedisStore, number, ahead_ms| {
        let asked = by(ahead_ms)?;
        let answer = store.reserve(hold(number), std::slice::from_ref(&asked), LEASE).await;
        let Err(NotGranted::Full { denied, .. }) = answer else {
            anyhow::bail!("{ahead_ms} ms ahead: {answer:?}");
        };
        let ago = asked.amount.checked_sub(denied.used);
        ensure!(ago.is_some_and(|ago| ago < GAP_MS), "{ago:?} ms ago by the clock of who asked");
        anyhow::Ok(())
    };
    let gap = Duration::from_millis(GAP_MS);

    right.reserve(hold(1), &[by(0)?], LEASE).await?;
    for (number, store, ahead_ms) in [(2, &ahead, HOUR_MS), (3, &behind, -HOUR_MS), (4, &right, 0)]
    {
        is_too_soon(store, number, ahead_ms).await?;
    }
    tokio::time::sleep(gap).await;
    let attempt = by(-HOUR_MS)?;
    behind.reserve(hold(5), std::slice::from_ref(&attempt), LEASE).await?;
    is_too_soon(&right, 6, 0).await?;
    tokio::time::sleep(gap).await;
    // That it was made is said when another might be, and changes nothing.
    let cause = Cause::Event(Counts::Attempted);
    let counted = vec![Counted::all_of(&attempt)];
    let told = behind.tell(&[Change::Count { hold: hold(5), cause, counted }], LEASE).await?;
    let last = told[0].seen[0].1.used;
    ensure!(last.abs_diff(attempt.amount) < GAP_MS / 2, "{last} by a clock that shows {attempt:?}");
    right.reserve(hold(7), &[by(0)?], LEASE).await?;
    tokio::time::sleep(gap).await;
    // One that Redis did not hear of is told by the clock of its node, which is ahead.
    let requests = vec![by(HOUR_MS)?];
    ahead.tell(&[Change::Keep { hold: hold(8), requests }], LEASE).await?;
    is_too_soon(&behind, 9, -HOUR_MS).await?;
    let bucket = Bucket { cap: cap.into(), window: GAP.into() };
    let known = Known { bucket, used: by(HOUR_MS)?.amount, ends_at: None };
    ahead.restore(&[known]).await?;
    tokio::time::sleep(gap).await;
    behind.reserve(hold(10), &[by(-HOUR_MS)?], LEASE).await?;
    Ok(())
}

#[tokio::test]
async fn scripts_are_said_again_to_a_server_that_has_forgotten_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let store = node(&redis, "1").await?;
    redis.ask(&["script", "flush"])?;
    store.reserve(hold(1), &[request(Counts::Connected, 1)], LEASE).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_full_grants_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let store = node(&redis, "1").await?;
    redis.ask(&["config", "set", "maxmemory", "1"])?;
    let refused = store.reserve(hold(1), &[request(Counts::Connected, 1)], LEASE).await;
    let is_oom =
        |fault: &StoreFault| matches!(fault, StoreFault::Refused(why) if why.contains("OOM"));
    ensure!(matches!(&refused, Err(NotGranted::Fault(fault)) if is_oom(fault)), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_hold_on_money_is_none_until_a_replica_has_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let replica = Redis::replica_of(&redis, folder.path())?;
    redis.wait_for_replica()?;
    let store = node(&redis, "1").await?;
    store.reserve(hold(1), &[request(Counts::Revenue, 100)], LEASE).await?;

    replica.signal("STOP")?;
    let money = store.reserve(hold(2), &[request(Counts::Revenue, 100)], LEASE).await;
    let calls = store.reserve(hold(3), &[request(Counts::Connected, 100)], LEASE).await;
    replica.signal("CONT")?;

    assert_eq!(money, Err(NotGranted::Fault(StoreFault::Unconfirmed)));
    assert!(calls.is_ok());
    Ok(())
}

#[tokio::test]
async fn an_attempt_asks_once_in_however_many_limits_it_has_to_have_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let _replica = Redis::replica_of(&redis, folder.path())?;
    redis.wait_for_replica()?;
    let store = node(&redis, "1").await?;
    let calls = [Counts::Live, Counts::Attempted, Counts::Connected, Counts::Converted];
    let calls = calls.map(|counts| request(counts, 1_000));
    let all = [&calls[..], &[request(Counts::Revenue, 1_000)]].concat();
    // Whatever a connection begins with.
    store.reserve(hold(0), &all, LEASE).await?;
    let run = |name: &str| -> Result<u64> {
        let told = redis.ask(&["info", "commandstats"])?;
        let of = told.lines().find_map(|it| it.strip_prefix(&format!("cmdstat_{name}:calls=")));
        Ok(of.and_then(|it| it.split(',').next()).map_or(Ok(0), str::parse)?)
    };

    for (asked, waits) in [(&calls[..], 0), (&all[..], 100)] {
        redis.ask(&["config", "resetstat"])?;
        for number in 1..=100 {
            let number = if waits > 0 { number + 100 } else { number };
            store.reserve(hold(number), asked, LEASE).await?;
        }
        assert_eq!((run("evalsha")?, run("eval")?, run("wait")?), (100, 0, waits));
    }
    Ok(())
}

/// Everything it touches has to be there, or it would stop in the middle and be said again.
#[tokio::test]
async fn nothing_is_half_done_while_keys_are_on_their_way_to_another_node() -> Result<()> {
    let cluster = Cluster::start()?;
    let seeds = || stores::settings(cluster.seeds(), "servers", "1");
    let store = stores::open(seeds(), LEASE).await?;
    let both = [request(Counts::Connected, 10), request(Counts::Converted, 10)];
    for number in 1..=3 {
        store.reserve(hold(number), &both, LEASE).await?;
    }
    let counted = both.iter().map(Counted::all_of).collect();
    let cause = Cause::Event(Counts::Connected);
    let changes = [
        Change::Count { hold: hold(1), cause, counted },
        Change::Release { hold: hold(1) },
        Change::Release { hold: hold(2) },
    ];

    let moving = cluster.start_moving(KeySpace::new("servers").slot())?;
    let bucket = |counts: &str| format!("cap:{{servers}}:target/t/{counts}:total");
    moving.carry(&[&bucket("Converted")])?;
    for _ in 0..3 {
        let told = store.tell(&changes, LEASE).await;
        ensure!(matches!(told, Err(StoreFault::Elsewhere(_))), "{told:?}");
        let placed = store.reserve(hold(4), &both, LEASE).await;
        let is_elsewhere = matches!(placed, Err(NotGranted::Fault(StoreFault::Elsewhere(_))));
        ensure!(is_elsewhere, "{placed:?}");
        let looked = store.usage(&[(both[1].bucket.clone(), both[1].counts)]).await;
        ensure!(matches!(looked, Err(StoreFault::Elsewhere(_))), "{looked:?}");
    }
    moving.carry(&[
        &bucket("Connected"),
        "exp:{servers}:holds",
        &format!("hold:{{servers}}:{}", hold(1).0.as_simple()),
        &format!("hold:{{servers}}:{}", hold(2).0.as_simple()),
        &format!("hold:{{servers}}:{}", hold(3).0.as_simple()),
    ])?;
    moving.end()?;
    store.connect().await?;
    store.tell(&changes, LEASE).await?;

    let usage = store.usage(&both.map(|it| (it.bucket, it.counts))).await?;
    assert_eq!(usage, [Usage { used: 1, held: 1 }; 2]);
    Ok(())
}

#[tokio::test]
async fn a_replica_names_the_server_to_ask() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let replica = Redis::replica_of(&redis, folder.path())?;
    let store = RedisStore::new(stores::settings(vec![replica.address()], "servers", "1"));
    assert_eq!(store.connect().await?, redis.address());
    Ok(())
}

#[tokio::test]
async fn the_latest_word_of_ready_agents_is_kept_until_it_is_stale() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (first, second) = (node(&redis, "1").await?, node(&redis, "2").await?);
    let kept = Duration::from_secs(60);
    let word = |of: &str, count, at| ReadyWord {
        concurrency: format!("target/{of}/concurrency").into(),
        count,
        at: Wall(at),
    };

    assert_eq!(first.ready(&[word("a", 3, 1_000)], Wall(0), kept).await?, [word("a", 3, 1_000)]);
    assert_eq!(second.ready(&[], Wall(0), kept).await?, [word("a", 3, 1_000)]);
    let later = [word("a", 0, 1_001), word("b", 12, 900)];
    let mut told = second.ready(&later, Wall(0), kept).await?;
    told.sort_by(|a, b| a.concurrency.cmp(&b.concurrency));
    assert_eq!(told, later);
    // What it had said before says nothing new, however often it is told.
    let mut told = first.ready(&[word("a", 3, 1_000)], Wall(0), kept).await?;
    told.sort_by(|a, b| a.concurrency.cmp(&b.concurrency));
    assert_eq!(told, later);
    assert_eq!(first.ready(&[], Wall(1_001), kept).await?, [word("a", 0, 1_001)]);
    assert_eq!(first.ready(&[], Wall(0), kept).await?, [word("a", 0, 1_001)], "it is forgotten");
    let left: i64 = redis.ask(&["pttl", "ready:{servers}:words"])?.trim().parse()?;
    assert!((1..=60_000).contains(&left), "{left}");
    Ok(())
}

async fn node(redis: &Redis, name: &str) -> Result<RedisStore> {
    stores::open(stores::settings(vec![redis.address()], "servers", name), LEASE).await
}

fn deposit(key: &str, amount: u64) -> Deposit {
    let forgotten_at = Wall(clock::wall().0 + 86_400_000);
    Deposit { buyer: "buy_a".into(), key: key.into(), amount, forgotten_at }
}

async fn of_buyer(store: &RedisStore) -> Result<u64> {
    let bucket = Deposit::of_buyer(&"buy_a".into());
    Ok(store.usage(&[(bucket, Counts::Credit)]).await?[0].used)
}

fn counted(number: u8, request: &BucketRequest) -> Change {
    let cause = Cause::Event(request.counts);
    Change::Count { hold: hold(number), cause, counted: vec![Counted::all_of(request)] }
}

fn hold(number: u8) -> HoldId {
    HoldId::from_bytes([number; 16])
}

fn request(counts: Counts, limit: u64) -> BucketRequest {
    let bucket = Bucket { cap: format!("target/t/{counts:?}").into(), window: "total".into() };
    BucketRequest { bucket, counts, limit, amount: 1, ends_at: None, leeway: None }
}
