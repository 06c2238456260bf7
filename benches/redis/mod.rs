//! What benchmarks beside a Redis share: a server of their own, and how what it took is shown.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tollbridge::server::redis::{Address, LinkSettings};

/// A server that keeps nothing; whoever starts it ends it.
pub(crate) fn start_redis() -> (Child, Address) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    let port = free.expect("a port is free").port();
    let redis = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: apt-get install redis-server");
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        std::thread::yield_now();
    }
    (redis, Address { host: "127.0.0.1".into(), port })
}

/// The way there.
pub(crate) fn link(address: &Address, patience: Duration) -> LinkSettings {
    LinkSettings {
        seeds: vec![address.clone()],
        username: None,
        password: None,
        connect_timeout: patience,
        tls: None,
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
