//! What benchmarks beside a Redis share: a server of their own, and how what it took is shown.
#![allow(dead_code, reason = "each of them uses a part of it")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use thin_vec::ThinVec;

use tollbridge::id::{PingId, SessionId};
use tollbridge::routing::ping::{KeptTags, Session, SessionKind};
use tollbridge::server::holds::redis::RedisStoreSettings;
use tollbridge::server::redis::{Address, LinkSettings};
use tollbridge::server::sessions::redis::{RedisSessionsSettings, TimeOfNumbers};
use tollbridge::time::Wall;

/// A server that keeps nothing; whoever starts it ends it.
pub(crate) fn start_redis() -> (Child, Address) {
    start(&[])
}

/// A replica of another, which has all that has by now.
pub(crate) fn start_replica(of: &Address) -> Child {
    // Straight into its memory: it leaves no file.
    let in_memory = ["--repl-diskless-load", "swapdb"];
    let of = ["--replicaof", &of.host, &of.port.to_string()];
    let (replica, address) = start(&[&of[..], &in_memory].concat());
    while told(&address, "replication", "master_link_status") != "up" {
        std::thread::sleep(Duration::from_millis(10));
    }
    replica
}

fn start(more: &[&str]) -> (Child, Address) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    let port = free.expect("a port is free").port();
    let redis = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: apt-get install redis-server");
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        std::thread::yield_now();
    }
    (redis, Address { host: "127.0.0.1".into(), port })
}

/// What Redis says of itself under a name.
pub(crate) fn told(address: &Address, section: &str, name: &str) -> String {
    let told = Command::new("redis-cli")
        .args(["-p", &address.port.to_string(), "info", section])
        .output()
        .expect("redis-cli is installed: apt-get install redis-tools");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut lines = told.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find_map(|(of, value)| (of == name).then_some(value.trim()));
    value.unwrap_or_default().to_owned()
}

/// Limits of an account, as a server shares them that waits for all there is to wait for.
pub(crate) fn holds(address: &Address, account: &str, patience: Duration) -> RedisStoreSettings {
    RedisStoreSettings {
        link: link(address, patience),
        account: account.into(),
        node: "1".into(),
        process: "1".into(),
        call_timeout: patience,
        timeout: patience,
        replica_timeout: patience,
        open_after: Duration::ZERO,
        call_max: Duration::ZERO,
        slow: patience,
    }
}

/// Sessions, in the same way.
pub(crate) fn sessions(
    address: &Address,
    life: Duration,
    patience: Duration,
) -> RedisSessionsSettings {
    RedisSessionsSettings {
        link: link(address, patience),
        account: "bench".into(),
        node: "1".into(),
        call_timeout: patience,
        timeout: patience,
        lease: life,
        apart_for: life,
        open_after: Duration::ZERO,
        time: TimeOfNumbers::Server,
        kept_max: 10_000,
    }
}

/// The way there.
fn link(address: &Address, patience: Duration) -> LinkSettings {
    LinkSettings {
        seeds: vec![address.clone()],
        username: None,
        password: None,
        connect_timeout: patience,
        tls: None,
    }
}

/// As a ping opens one that says four things of its caller, and neither who that is nor a number.
pub(crate) fn session(session: SessionId, now: Wall, life: Duration) -> Session {
    let tags = [("geo.state", "OH"), ("zip", "43215"), ("utm_source", "search"), ("age", "44")];
    Session {
        session,
        ping: PingId(session.0),
        publisher: "p".into(),
        campaign: "c".into(),
        caller: None,
        pool: None,
        number: None,
        tags: tags.map(|(name, value)| (name.into(), value.into())).into(),
        extra: KeptTags::default(),
        request_id: None,
        kind: SessionKind::Ping,
        visitor: None,
        created_at: now,
        expires_at: now + life,
        consumed_at: None,
        promise: None,
        enriched: ThinVec::new(),
    }
}

/// How long it took in the middle and at the end of all that there were.
pub(crate) fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 1_000].as_nanos() as f64 / 1_000.0;
    println!(
        "{what:<45} p50 {:>8.1} µs  p99 {:>8.1} µs  p99.9 {:>8.1} µs",
        at(500),
        at(990),
        at(999)
    );
}
