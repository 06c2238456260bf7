//! Calls and pings at a steady rate while Redis is killed and comes back.
//!
//! `make bench-outage`. `CALLS` a second (500) by SIPp and `PINGS` a second (2,000) for `SECONDS` (45), to a
//! server that shares what it knows through a `redis-server`. After a third of the time that is killed by
//! SIGKILL, and after two thirds started again on what it had written down. Calls go to a target whose cap is
//! half of them, and otherwise to one without a cap.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::load::{Connection, Load};
use super::number;
use super::peers::{Redis, Sipp};
use super::server::{Server, free_port};

/// Nobody waits that long for a store that is there.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How soon the stores are open again once Redis is back (spec/data §3.6).
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    let (rate, pings, seconds): (u32, u32, u32) =
        (number("CALLS", 500)?, number("PINGS", 2_000)?, number("SECONDS", 45)?);
    let (all, third) = (rate * seconds, Duration::from_secs(seconds.into()) / 3);
    let work = tempfile::tempdir()?;
    let mut redis = Redis::start(work.path(), free_port()?)?;
    let (sip, advertiser) = (free_port()?, free_port()?);
    let server = Server::with(work.path(), &config(redis.port, advertiser, all / 2), sip)?;
    until_open(server.address).context("before the load")?;

    let load = Load { rate: pings, time: third * 3, connections: 32 };
    let _advertiser = Sipp::advertiser(work.path(), advertiser)?;
    let carrier = Sipp::carrier(work.path(), sip, rate, all)?;
    let (started, address) = (Instant::now(), server.address);
    let pinged = thread::spawn(move || load.put_on(address));
    thread::sleep(third);
    redis.kill()?;
    thread::sleep((third * 2).saturating_sub(started.elapsed()));
    redis.start_again()?;
    let back = Instant::now();
    until_open(address).context("after the outage")?;
    let open_after = back.elapsed();

    let mut pinged = pinged.join().expect("the load does not panic")?;
    let (admitted, failed) = carrier.told()?;
    pinged.took.sort_unstable();
    let p99 = pinged.took.get(pinged.took.len() * 99 / 100).copied().unwrap_or_default();
    let (used, over) = cap_of(address)?;
    println!(
        "calls            {admitted} of {} talked to somebody, {failed} failed",
        admitted + failed
    );
    println!(
        "pings            {} taken, {} refused, P99 {p99:.1?}",
        pinged.acknowledged.len(),
        pinged.refused
    );
    println!("the store        open again {open_after:.2?} after it was back");
    println!("the strict cap   {used} used of {}, passed by {over}", all / 2);
    ensure!(
        u64::from(admitted) * 1_000 >= u64::from(admitted + failed) * 999,
        "too many calls failed"
    );
    ensure!(pinged.refused == 0 && over == 0, "a ping was refused, or the cap passed");
    ensure!(open_after < RECOVERED_WITHIN, "the stores took too long to open again");
    Ok(())
}

/// Waits until the server uses all that it shares.
fn until_open(server: SocketAddr) -> Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let told: Value = serde_json::from_str(&get(server, "/readyz")?)?;
        let stores = ["hold_store", "session_store"].map(|store| &told[store]);
        if stores.iter().all(|state| **state == "open") {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "the stores are not in use: {told}");
        thread::sleep(LOOK_EVERY);
    }
}

/// What is answered to a question.
fn get(server: SocketAddr, path: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (status, body) = Connection::to(server).await?.ask("GET", path, "").await?;
        ensure!(status == 200 || status == 503, "{path}: {status} {body}");
        Ok(body)
    })
}

/// How many calls the capped target has had, and how often its cap was passed.
fn cap_of(server: SocketAddr) -> Result<(u64, u64)> {
    let told: Value = serde_json::from_str(&get(server, "/v1/caps")?)?;
    let caps = told["items"].as_array().context("there are caps")?;
    let cap = caps.iter().find(|it| it["cap"].as_str().is_some_and(|cap| cap.contains("capped")));
    let used = cap.and_then(|cap| cap["used"].as_str()).context("the cap is shown")?.parse()?;
    let metrics = get(server, "/metrics")?;
    let over = metrics.lines().filter(|line| line.starts_with("tollbridge_cap_overshoot_total"));
    let over = over.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    Ok((used, over))
}

fn config(redis: u16, advertiser: u16, limit: u32) -> String {
    format!(
        r#"
        publishers = [{{ id = "p" }}]
        buyers = [{{ id = "b" }}]
        api.keys = [{{ id = "dev", key = "dev" }}]
        redis.urls = ["redis://127.0.0.1:{redis}"]
        [[trunks]]
        id = "loopback"
        carrier = "loopback"
        [[targets]]
        id = "capped"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:127.0.0.1:{advertiser}" }}
        caps = [{{ metric = "connected", window = "daily", limit = {limit} }}]
        [[targets]]
        id = "open"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:127.0.0.1:{advertiser}" }}
        [[campaigns]]
        id = "pinged"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = {{ tiers = [
            {{ tier = 1, targets = [{{ target = "capped" }}] }},
            {{ tier = 2, targets = [{{ target = "open" }}] }},
        ] }}
        [[pools]]
        id = "lent"
        campaign = "pinged"
        publisher = "p"
        numbers = ["+18012000000-+18012019999"]
        "#
    )
}
