//! Taking room for a call: in the process, and in a Redis on the same machine.
//!
//! `cargo bench --bench holds`. Starts a `redis-server` of its own. A hold has three buckets, as one of
//! a target with two caps and a limit on calls at once; what a call waits for is shown, not what it
//! costs. Read it on a machine that does nothing else.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and tells")]

mod redis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts, HoldLedger, LedgerLimits};
use tollbridge::routing::{RouteRequest, RoutingSnapshot, Tags};
use tollbridge::server::clock;
use tollbridge::server::deciding::Deciding;
use tollbridge::server::holds::redis::RedisStore;
use tollbridge::server::holds::{Change, HoldStore, SharedHolds};
use tollbridge::server::redis::Address;
use tollbridge::time::{Mono, Wall};

use redis::{show, start_redis};

const HOLDS: u64 = 20_000;
const AT_ONCE: u64 = 32;
const LEASE: Duration = Duration::from_secs(90);
/// Nobody waits that long on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    [[targets]]
    id = "t"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:192.0.2.1" }
    ring_timeout_s = 6
    first_response_ms = 2000
    concurrency = { limit = 1000000 }
    caps = [
      { metric = "connected", window = "daily", limit = 1000000 },
      { metric = "attempted", window = "hourly", limit = 1000000 },
    ]
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = { tiers = [{ tier = 1, targets = [{ target = "t" }] }] }
"#;

fn main() {
    let mut ledger = HoldLedger::new(LedgerLimits::default());
    let requests = three_buckets();
    let took = (0..HOLDS).map(|n| {
        let started = Instant::now();
        ledger.reserve(hold(0, n), &requests, Mono(1)).expect("there is room");
        let took = started.elapsed();
        ledger.release(hold(0, n));
        took
    });
    show("in the process", took.collect());

    let (mut redis, address) = start_redis();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(on_redis(address));
    redis.kill().and_then(|()| redis.wait()).expect("redis-server ends");
}

async fn on_redis(address: Address) {
    let store = RedisStore::new(redis::holds(&address, "bench", PATIENCE));
    store.connect().await.expect("redis-server is there");
    store.announce(LEASE).await.expect("it answers");
    assert!(store.join(LEASE).await.expect("it answers"), "nobody else is there");
    let store = Arc::new(store);
    let mut took = vec![];
    for n in 0..HOLDS {
        took.push(place(&store, hold(1, n)).await);
    }
    show("in redis, one after the other", took);

    let started = Instant::now();
    let tasks = (0..AT_ONCE).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut took = vec![];
            for n in 0..HOLDS / AT_ONCE {
                took.push(place(&store, hold(2 + task, n)).await);
            }
            took
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut took = vec![];
    for task in tasks {
        took.extend(task.await.expect("no task fails"));
    }
    let rate = took.len() as f64 / started.elapsed().as_secs_f64();
    show(&format!("in redis, {AT_ONCE} at a time, {rate:.0} a second"), took);

    let config = toml::from_str(CONFIG).expect("it is well-formed");
    let snapshot = RoutingSnapshot::compile(config, 1).expect("it compiles");
    let deciding = Deciding::new(snapshot);
    let process = CallId::from_bytes([7; 16]);
    let store = RedisStore::new(redis::holds(&address, "decisions", PATIENCE));
    let shared = Arc::new(SharedHolds::new(store, LEASE, process));
    deciding.share(Arc::clone(&shared));
    shared.begin(&deciding).await;
    let mut took = vec![];
    for n in 0..HOLDS {
        let request = RouteRequest {
            call: CallId(uuid::Uuid::from_u64_pair(99, n)),
            at: Wall(1_795_000_000_000),
            dialed: "+18005550100".parse().expect("it is a number"),
            caller: None,
            trunk: "trk".into(),
            tags: Tags::default(),
            named: None,
            announced: false,
        };
        let started = Instant::now();
        let decided = deciding.decide(&request, clock::mono(), &[], None, None);
        let planned = &decided.decision.plan[0];
        let (hold, requests) = deciding
            .wanted(request.call, 1, planned, planned.terms, None, clock::wall())
            .expect("it has caps");
        deciding.ask(&shared, hold, &requests).await.expect("there is room");
        took.push(started.elapsed());
    }
    show("a decision and its hold in redis", took);
}

/// How long it took to place a hold, which is given back.
async fn place(store: &RedisStore, hold: HoldId) -> Duration {
    let started = Instant::now();
    store.reserve(hold, &three_buckets(), LEASE).await.expect("there is room");
    let took = started.elapsed();
    store.tell(&[Change::Release { hold }], LEASE).await.expect("it answers");
    took
}

fn three_buckets() -> Vec<BucketRequest> {
    let request = |cap: &str, window: &str, counts| BucketRequest {
        bucket: Bucket { cap: cap.into(), window: window.into() },
        counts,
        limit: 1_000_000,
        amount: 1,
        ends_at: None,
        leeway: None,
    };
    vec![
        request("target/t/connected/daily", "d:2026-11-22", Counts::Connected),
        request("target/t/converted/daily", "d:2026-11-22", Counts::Converted),
        request("target/t/concurrency", "live", Counts::Live),
    ]
}

fn hold(run: u64, number: u64) -> HoldId {
    HoldId(uuid::Uuid::from_u64_pair(run, number))
}
