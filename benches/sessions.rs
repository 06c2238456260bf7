//! Looking up the sessions of a call, lending numbers, and the memory of a million sessions: in the
//! process, and in a Redis on the same machine.
//!
//! `cargo bench --bench sessions`. Starts a `redis-server` of its own, which needs a gigabyte. What a
//! call or a ping waits for is shown, not what it costs. Read it on a machine that does nothing else.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and tells")]

mod redis;

use std::time::{Duration, Instant};

use tollbridge::id::{CallId, SessionId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::ping::{Desk, DeskLimits, Session};
use tollbridge::routing::{RouteRequest, RoutingSnapshot, Tags};
use tollbridge::server::clock;
use tollbridge::server::redis::Address;
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::RedisSessions;
use tollbridge::time::Wall;

use redis::{show, start_redis};

/// That of the server: its pieces are what a session takes.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SESSIONS: u64 = 1_000_000;
const ASKED: u64 = 20_000;
const NUMBERS: u64 = 10_000;
const AT_ONCE: usize = 500;
const LIFE: Duration = Duration::from_secs(3_600);
/// Nobody waits that long on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    let config = toml::from_str(&config()).expect("it is well-formed");
    let snapshot = RoutingSnapshot::compile(config, 1).expect("it compiles");
    in_process(&snapshot);
    let (mut redis, address) = start_redis();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(in_redis(&snapshot, address));
    redis.kill().and_then(|()| redis.wait()).expect("redis-server ends");
}

fn in_process(snapshot: &RoutingSnapshot) {
    let limits = DeskLimits { sessions_max: usize::MAX, ..DeskLimits::default() };
    let mut desk = Desk::new(limits);
    desk.configure(snapshot);
    let (before, now) = (memory(), clock::wall());
    for nth in 0..SESSIONS {
        desk.put(session(nth, now), now);
    }
    let each = (memory() - before) / SESSIONS;
    println!("in the process: {each} bytes each of {SESSIONS} sessions that name a caller");
    let took = (0..ASKED).map(|nth| {
        let request = of_caller(nth * 37 % SESSIONS, now);
        let started = Instant::now();
        let found = desk.candidates(snapshot, &request);
        let took = started.elapsed();
        assert_eq!(found.len(), 1);
        took
    });
    show("in the process, the sessions of a caller", took.collect());
    let pool = "pool".into();
    let took = (0..NUMBERS).map(|nth| {
        let started = Instant::now();
        desk.lend(&pool, id(nth), LIFE, now).expect("there are numbers");
        started.elapsed()
    });
    show("in the process, a number", took.collect());
}

async fn in_redis(snapshot: &RoutingSnapshot, address: Address) {
    let store = RedisSessions::new(redis::sessions(&address, LIFE, PATIENCE));
    store.connect().await.expect("redis-server is there");
    store.keep_gates().await.expect("it answers");
    let pool = snapshot.pool(&"pool".into()).expect("it is configured");
    let now = clock::wall();
    store.announce(pool, now).await.expect("it answers");
    let (mut numbers, mut took) = (vec![], vec![]);
    for nth in 0..NUMBERS {
        let started = Instant::now();
        let lease = store.lend(pool, id(SESSIONS + nth), LIFE, now).await.expect("it answers");
        took.push(started.elapsed());
        let number = lease.expect("there are numbers").number;
        let opened = Session {
            pool: Some(pool.id.clone()),
            number: Some(number),
            caller: None,
            ..session(SESSIONS + nth, now)
        };
        store.put(snapshot, &opened, now).await.expect("it answers");
        numbers.push(number);
    }
    show("in redis, a number", took);

    let before = used(&address);
    let all: Vec<Session> = (0..SESSIONS).map(|nth| session(nth, now)).collect();
    for some in all.chunks(AT_ONCE) {
        store.restore(snapshot, some, now).await.expect("it answers");
    }
    let each = (used(&address) - before) / SESSIONS;
    println!("in redis: {each} bytes each of {SESSIONS} sessions that name a caller");

    let mut took = vec![];
    for nth in 0..ASKED {
        let request = of_caller(nth * 37 % SESSIONS, now);
        let started = Instant::now();
        let found = store.lookup(snapshot, &request).await.expect("it answers");
        took.push(started.elapsed());
        assert_eq!(found.readings.len(), 1);
    }
    show("in redis, the sessions of a caller", took);
    let mut took = vec![];
    for number in numbers {
        let request = RouteRequest { dialed: number, ..of_caller(0, now) };
        let started = Instant::now();
        let found = store.lookup(snapshot, &request).await.expect("it answers");
        took.push(started.elapsed());
        assert_eq!(found.readings.len(), 2);
    }
    show("in redis, those of a number and a caller", took);
}

fn config() -> String {
    let numbers: Vec<_> =
        (0..NUMBERS).map(|nth| format!("\"+1614{:07}\"", nth + 2_000_000)).collect();
    format!(
        r#"
        publishers = [{{ id = "p" }}]
        buyers = [{{ id = "b" }}]
        [[targets]]
        id = "t"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:192.0.2.1" }}
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
        [[pools]]
        id = "pool"
        campaign = "c"
        publisher = "p"
        numbers = [{}]
        "#,
        numbers.join(", ")
    )
}

fn id(nth: u64) -> SessionId {
    SessionId(uuid::Uuid::from_u64_pair(0x0195_4f2e_7d1e_7000 + nth, 0x8000_0000_0000_0000 | nth))
}

fn caller(nth: u64) -> PhoneNumber {
    PhoneNumber::from_digits(12_000_000_000 + nth).expect("it is a number")
}

fn session(nth: u64, now: Wall) -> Session {
    Session { caller: Some(caller(nth)), ..redis::session(id(nth), now, LIFE) }
}

fn of_caller(nth: u64, at: Wall) -> RouteRequest {
    RouteRequest {
        call: CallId::from_bytes([7; 16]),
        at,
        dialed: "+18005550100".parse().expect("it is a number"),
        caller: Some(caller(nth)),
        trunk: "trk".into(),
        tags: Tags::default(),
        named: None,
        announced: false,
    }
}

/// Bytes of this process.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has one");
    let kib = line.split_whitespace().next().and_then(|it| it.parse::<u64>().ok());
    kib.expect("it is a number") * 1_024
}

/// Bytes that Redis uses.
fn used(address: &Address) -> u64 {
    redis::told(address, "memory", "used_memory").parse().expect("it is a number")
}
