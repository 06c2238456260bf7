//! A whole decision where servers share what they know: in a Redis on the same machine, with a replica.
//!
//! `cargo bench --bench decision`. Starts a `redis-server` and its replica. A call to a pool number is asked
//! for its session and its caller's earlier calls, decided about among ten targets, and takes room in a limit
//! on money, which a replica has to have, a cap and a limit on calls at once. What a call waits for is shown,
//! one after the other; an auction there is not. Read it on a machine that does nothing else.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and tells")]

mod redis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollbridge::id::{CallId, SessionId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::ping::Session;
use tollbridge::routing::{Decision, RouteRequest, RoutingSnapshot, Tags};
use tollbridge::server::clock;
use tollbridge::server::deciding::Deciding;
use tollbridge::server::holds::SharedHolds;
use tollbridge::server::holds::redis::RedisStore;
use tollbridge::server::redis::Address;
use tollbridge::server::sessions::redis::RedisSessions;
use tollbridge::server::sessions::{Candidates, Looked, SessionStore, SharedSessions};

use redis::{show, start_redis, start_replica};

const CALLS: u64 = 20_000;
const NUMBERS: u64 = 1_000;
const TARGETS: u64 = 10;
const LIFE: Duration = Duration::from_secs(3_600);
/// Nobody waits that long on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() {
    let (mut master, address) = start_redis();
    let mut replica = start_replica(&address);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(decide_all(address));
    for server in [&mut replica, &mut master] {
        server.kill().and_then(|()| server.wait()).expect("redis-server ends");
    }
}

async fn decide_all(address: Address) {
    let config = toml::from_str(&config()).expect("it is well-formed");
    let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).expect("it compiles"));
    let snapshot = deciding.snapshot();
    let sessions = RedisSessions::new(redis::sessions(&address, LIFE, PATIENCE));
    sessions.connect().await.expect("redis-server is there");
    sessions.keep_gates().await.expect("it answers");
    let shared = RedisSessions::new(redis::sessions(&address, LIFE, PATIENCE));
    deciding.share_sessions(Arc::new(SharedSessions::new(shared, LIFE)));
    let store = RedisStore::new(redis::holds(&address, "bench", PATIENCE));
    let holds = Arc::new(SharedHolds::new(store, LIFE, CallId::from_bytes([7; 16])));
    deciding.share(Arc::clone(&holds));
    holds.begin(&deciding).await;
    let numbers = open_sessions(&sessions, &snapshot).await;

    let (mut whole, mut looking, mut thinking, mut holding) = (vec![], vec![], vec![], vec![]);
    for (nth, number) in (0..CALLS).zip(numbers.iter().cycle()) {
        let request = RouteRequest {
            call: CallId(uuid::Uuid::from_u64_pair(99, nth)),
            at: clock::wall(),
            dialed: *number,
            caller: Some(caller(nth)),
            trunk: "trk".into(),
            tags: Tags::default(),
            named: None,
            announced: false,
        };
        let began = Instant::now();
        let earlier = snapshot.caller_of(&request).expect("callers are remembered");
        let (found, calls) =
            tokio::join!(sessions.lookup(&snapshot, &request), sessions.calls(&earlier));
        let Candidates { readings, are_all } = found.expect("it answers");
        let calls = Some(calls.expect("it answers"));
        let looked = Looked { readings, is_all: are_all, calls };
        let asked = Instant::now();
        let decided = deciding.decide(&request, clock::mono(), &[], None, Some(&looked));
        let Decision { plan, attribution, refused, .. } = &decided.decision;
        let planned = plan.first().unwrap_or_else(|| panic!("nobody takes it: {refused:?}"));
        let attribution = attribution.as_ref();
        assert!(attribution.is_some_and(|it| it.session.is_some()), "it is known whose call it is");
        let (hold, wanted) = deciding
            .wanted(request.call, 1, planned, planned.terms, None, request.at)
            .expect("it has caps");
        let thought = Instant::now();
        deciding.ask(&holds, hold, &wanted).await.expect("there is room");
        let held = Instant::now();
        whole.push(held - began);
        looking.push(asked - began);
        thinking.push(thought - asked);
        holding.push(held - thought);
    }
    show("a whole decision", whole);
    show("its sessions and earlier calls", looking);
    show("the decision among ten targets", thinking);
    show("room on money, which a replica has", holding);
}

/// One of a visitor for each number.
async fn open_sessions(store: &RedisSessions, snapshot: &RoutingSnapshot) -> Vec<PhoneNumber> {
    let pool = snapshot.pool(&"pool".into()).expect("it is configured");
    let now = clock::wall();
    store.announce(pool, now).await.expect("it answers");
    let mut numbers = vec![];
    for nth in 0..NUMBERS {
        let id = SessionId(uuid::Uuid::from_u64_pair(98, nth));
        let lease = store.lend(pool, id, LIFE, now).await.expect("it answers");
        let number = lease.expect("there are numbers").number;
        let (pool, number) = (Some(pool.id.clone()), Some(number));
        let session = Session { pool, number, ..redis::session(id, now, LIFE) };
        store.put(snapshot, &session, now).await.expect("it answers");
        numbers.extend(number);
    }
    numbers
}

fn caller(nth: u64) -> PhoneNumber {
    PhoneNumber::from_digits(12_000_000_000 + nth).expect("it is a number")
}

/// Ten targets with hours, a filter, caps on money and calls, and a campaign that knows its callers again.
fn config() -> String {
    let numbers: Vec<_> =
        (0..NUMBERS).map(|nth| format!("\"+1614{:07}\"", nth + 2_000_000)).collect();
    let mut config = format!(
        r#"
        publishers = [{{ id = "p" }}]
        buyers = [{{ id = "b", credit = {{ limit = "90000000.00" }} }}]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        callers = {{ duplicates = {{ window_s = 86400, route = "original" }} }}
        routing = {{ tiers = [{{ targets = [{}] }}] }}
        [[pools]]
        id = "pool"
        campaign = "c"
        publisher = "p"
        numbers = [{}]
        "#,
        (0..TARGETS).map(|nth| format!("{{ target = \"t{nth}\" }}")).collect::<Vec<_>>().join(", "),
        numbers.join(", ")
    );
    let hours = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        .map(|day| format!("{{ day = \"{day}\", open = \"00:00\", close = \"24:00\" }}"));
    let hours = hours.join(", ");
    for nth in 0..TARGETS {
        config += &format!(
            r#"
            [[targets]]
            id = "t{nth}"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:192.0.2.1" }}
            ring_timeout_s = 6
            first_response_ms = 2000
            conversion = {{ seconds = 60, revenue = "42.00" }}
            concurrency = {{ limit = 1000000 }}
            schedule = {{ time_zone = "UTC", hours = [{hours}] }}
            filters = {{ all = [{{ tag = "geo.state", op = "in", value = ["OH", "PA"] }}] }}
            caps = [
                {{ metric = "revenue", window = "daily", limit = "90000000.00" }},
                {{ metric = "connected", window = "daily", limit = 1000000 }},
            ]
            "#
        );
    }
    config
}
