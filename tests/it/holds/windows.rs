//! A window that ends while the store is away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::hold::{BucketRequest, Counts};
use tollbridge::server::clock;
use tollbridge::server::holds::{HoldStore, State};
use tollbridge::time::Wall;

use super::edge::Edge;
use super::stores;
use super::until;
use super::ways::Ways;
use crate::support::redis::Redis;

/// Nothing is over while the test runs but the window.
const LEASE: Duration = Duration::from_secs(600);
const LIMIT: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// What begins does so with a minute: so long is there for all that comes before it, at least.
const BEFORE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_end_of_a_window_calls_go_on_without_the_store_as_far_as_was_reserved()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let ways = Ways::to(&[redis.address()]).await?;
    let begins = next_minute(BEFORE)?;
    // By the minute there is no other window to begin soon.
    let window =
        format!("every:6h@{}", Timestamp::from_millisecond(begins.0)?.strftime("%Y-%m-%dT%H:%M"));
    let (config, cap) = (config(&window), format!("target/t/connected/{window}"));
    let mut edges = vec![];
    for (number, node) in [(1, "a"), (2, "b")] {
        let settings = stores::settings(vec![ways.begin[0].clone()], "servers", node);
        edges.push(Edge::configured(&config, Some(settings), number, LEASE).await?);
    }
    let asked = |at: Wall| {
        let snapshot = edges[0].deciding.snapshot();
        let (bucket, counts, ends_at) = snapshot.resettable(&cap, at)?;
        let (limit, amount, leeway) = (LIMIT, 1, None);
        Ok::<_, anyhow::Error>(BucketRequest { bucket, counts, limit, amount, ends_at, leeway })
    };
    let (before, after) = (asked(clock::wall())?, asked(begins)?);
    assert_ne!(before.bucket, after.bucket);
    assert_eq!(before.ends_at, Some(begins));

    for (number, edge) in (1..).zip(&edges) {
        assert!(edge.place(hold(number), &before).await, "there is room");
    }
    let key = format!("cap:{{servers}}:{}:{}", after.bucket.cap, after.bucket.window);
    until(PATIENCE, "two tokens of each", || Ok(redis.ask(&["hget", &key, "held"])? == "4"))
        .await?;
    ways.cut_all();
    until(PATIENCE, "both to see it", || Ok(edges.iter().all(|it| !it.is_open()))).await?;
    ensure!(clock::wall() < begins, "the machine is too slow for this test");
    while clock::wall() < begins {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let mut placed = vec![];
    for (number, edge) in (3..).zip([&edges[0], &edges[1]].repeat(3)) {
        placed.push(edge.place(hold(number), &after).await);
    }
    assert_eq!(placed, [true, true, true, true, false, false], "two tokens each");

    ways.mend();
    until(PATIENCE, "the store", || Ok(edges.iter().all(Edge::is_open))).await?;
    let other = stores::settings(vec![redis.address()], "servers", "other");
    let other = stores::open(other, LEASE).await?;
    let of_window = [(after.bucket.clone(), Counts::Connected)];
    let usage = other.usage(&of_window).await?[0];
    assert!((4..=LIMIT).contains(&usage.held), "{usage:?}");
    // Whoever is called has the rest, and no more.
    let (mut all, mut number) = (4, 100);
    let give_up = Instant::now() + Duration::from_secs(10);
    while all < LIMIT {
        ensure!(Instant::now() < give_up, "{all} of {LIMIT} have room");
        let edge = &edges[usize::from(number % 2)];
        all += u64::from(edge.place(hold(number), &after).await);
        number = if number == u8::MAX { 100 } else { number + 1 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (number, edge) in (50..).zip(&edges) {
        assert!(!edge.place(hold(number), &after).await, "it is full");
    }
    let usage = other.usage(&of_window).await?[0];
    assert_eq!((usage.used, usage.held), (0, LIMIT));
    for edge in &edges {
        ensure!(edge.shared.as_ref().is_some_and(|it| it.state() == State::Open));
        edge.end().await?;
    }
    Ok(())
}

/// The beginning of one that is not sooner than this.
fn next_minute(from_now: Duration) -> Result<Wall> {
    let least = clock::wall().0 + i64::try_from(from_now.as_millis()).context("it is short")?;
    Ok(Wall((least.div_euclid(60_000) + 1) * 60_000))
}

fn config(window: &str) -> String {
    format!(
        r#"
        account = {{ time_zone = "UTC" }}
        publishers = [{{ id = "p" }}]
        buyers = [{{ id = "b" }}]
        [[targets]]
        id = "t"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:a" }}
        caps = [{{ metric = "connected", window = "{window}", limit = {LIMIT} }}]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
        "#
    )
}

fn hold(number: u8) -> HoldId {
    HoldId::of(CallId::from_bytes([number; 16]), 1, "target/t")
}
