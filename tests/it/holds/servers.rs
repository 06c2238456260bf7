//! What holds in Redis do beyond the contract: with a server that is new, emptied, full or has lost its
//! replica, and with messages that overtake each other.

use std::time::Duration;

use anyhow::{Result, ensure};
use tollbridge::id::HoldId;
use tollbridge::routing::Usage;
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts};
use tollbridge::server::holds::redis::{KeySpace, Known, RedisStore};
use tollbridge::server::holds::{Cause, Change, Counted, HoldStore, NotGranted, StoreFault};

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
    assert!(!first.join(LEASE).await?, "the second has yet to speak");
    assert_eq!(first.reserve(hold(1), &asked, LEASE).await, Err(NotGranted::NotOpen));
    assert!(second.join(LEASE).await?);
    first.reserve(hold(1), &asked, LEASE).await?;

    // Nobody waits for one that has left.
    redis.ask(&["hset", "gate:{servers}:caps", "run", "another"])?;
    second.leave().await?;
    assert!(first.join(LEASE).await?);

    redis.ask(&["flushall"])?;
    assert_eq!(first.reserve(hold(2), &asked, LEASE).await, Err(NotGranted::NotOpen));
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
    assert_eq!(store.connect().await?.address, redis.address());
    Ok(())
}

async fn node(redis: &Redis, name: &str) -> Result<RedisStore> {
    stores::open(stores::settings(vec![redis.address()], "servers", name), LEASE).await
}

fn hold(number: u8) -> HoldId {
    HoldId::from_bytes([number; 16])
}

fn request(counts: Counts, limit: u64) -> BucketRequest {
    let bucket = Bucket { cap: format!("target/t/{counts:?}").into(), window: "total".into() };
    BucketRequest { bucket, counts, limit, amount: 1, ends_at: None, leeway: None }
}
