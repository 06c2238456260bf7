//! What becomes of holds whose servers are not heard of any more.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::Usage;
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts, LIVE};
use tollbridge::server::holds::redis::{RedisStore, RedisStoreSettings};
use tollbridge::server::holds::{Cause, Change, Counted, HoldStore, NotGranted};

use super::stores;
use crate::support::redis::Redis;

const LEASE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_a_call_may_come_to_stays_held_past_its_lease_and_its_line_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let far = open(&redis, "far", Duration::from_secs(60)).await?;
    let near = open(&redis, "near", Duration::from_secs(60)).await?;
    far.reserve(hold(1), &[cap(), line()], LEASE).await?;

    until_granted(&near, hold(2), line()).await?;
    is_full(&near, hold(3)).await?;
    // Its server is back.
    assert_eq!(far.renew(&[hold(1)], LEASE).await?, [hold(1)]);
    let cause = Cause::Event(Counts::Connected);
    let counted = vec![Counted::all_of(&cap())];
    let told =
        far.tell(&[Change::Count { hold: hold(1), cause, counted }, release(1)], LEASE).await?;

    assert_eq!((told[0].late, told[0].overshoots, told[1].done), (false, 0, true));
    let usage = near.usage(&[(cap().bucket, Counts::Connected)]).await?;
    assert_eq!(usage, [Usage { used: 1, held: 0 }]);
    Ok(())
}

#[tokio::test]
async fn what_lapsed_is_free_when_no_call_can_be_up_and_what_counts_then_is_late() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let call_max = Duration::from_secs(1);
    let far = open(&redis, "far", call_max).await?;
    let near = open(&redis, "near", call_max).await?;
    let began = Instant::now();
    far.reserve(hold(1), &[cap()], LEASE).await?;

    until_granted(&near, hold(2), cap()).await?;
    let took = began.elapsed();
    ensure!(took >= LEASE + call_max, "{took:?}");
    let cause = Cause::Event(Counts::Connected);
    let counted = vec![Counted::all_of(&cap())];
    let told = far.tell(&[Change::Count { hold: hold(1), cause, counted }], LEASE).await?;
    assert_eq!((told[0].late, told[0].overshoots), (true, 1));
    Ok(())
}

#[tokio::test]
async fn the_next_process_of_a_server_gives_back_what_lapsed_and_nothing_of_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let far = open(&redis, "far", Duration::from_secs(60)).await?;
    let near = open(&redis, "near", Duration::from_secs(60)).await?;
    let other = BucketRequest {
        bucket: Bucket { cap: "target/other/connected".into(), window: "total".into() },
        ..cap()
    };
    far.reserve(hold(1), &[cap(), line()], LEASE).await?;
    until_granted(&near, hold(2), line()).await?;
    near.reserve(hold(3), std::slice::from_ref(&other), Duration::from_secs(60)).await?;
    is_full(&near, hold(4)).await?;

    let next = open(&redis, "far", Duration::from_secs(60)).await?;
    next.take_over(&[], &[], LEASE).await?;

    near.reserve(hold(4), &[cap()], LEASE).await?;
    let usage = near.usage(&[(other.bucket, Counts::Connected)]).await?;
    assert_eq!(usage, [Usage { used: 0, held: 1 }]);
    Ok(())
}

async fn open(redis: &Redis, node: &str, call_max: Duration) -> Result<RedisStore> {
    let settings = stores::settings(vec![redis.address()], "lapsed", node);
    stores::open(RedisStoreSettings { call_max, ..settings }, Duration::from_secs(60)).await
}

async fn until_granted(store: &RedisStore, hold: HoldId, request: BucketRequest) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(10);
    while store.reserve(hold, std::slice::from_ref(&request), LEASE).await.is_err() {
        ensure!(Instant::now() < give_up, "nobody gives the place back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn is_full(store: &RedisStore, hold: HoldId) -> Result<()> {
    let placed = store.reserve(hold, &[cap()], LEASE).await;
    ensure!(matches!(placed, Err(NotGranted::Full { .. })), "{placed:?}");
    Ok(())
}

fn hold(number: u8) -> HoldId {
    HoldId::of(CallId::from_bytes([number; 16]), 1, "target/t")
}

fn release(number: u8) -> Change {
    Change::Release { hold: hold(number) }
}

fn cap() -> BucketRequest {
    let bucket = Bucket { cap: "target/t/connected".into(), window: "total".into() };
    let counts = Counts::Connected;
    BucketRequest { bucket, counts, limit: 1, amount: 1, ends_at: None, leeway: None }
}

fn line() -> BucketRequest {
    let bucket = Bucket { cap: "target/t/concurrency".into(), window: LIVE.into() };
    BucketRequest { bucket, counts: Counts::Live, ..cap() }
}
