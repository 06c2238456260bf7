//! Servers that tell others of what happens on them (spec/data §2.4, §2.5).
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

#[cfg(feature = "kafka")]
mod kafka;
mod script;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{http, wait_for};

/// Longer than a shipper waits before it looks again for what was away.
const PATIENCE: Duration = Duration::from_secs(45);

/// An event as JSON, however it came.
#[derive(Clone, Debug)]
struct Told {
    id: String,
    kind: String,
    event: Value,
}

/// Has a ping accepted, and returns its id.
fn ping(api: SocketAddr, caller: u64) -> Result<String> {
    let ping = json!({ "campaign": "alone", "caller_id": format!("+{caller}") });
    let reply = http::post(api, "/v1/pings", &ping.to_string())?;
    ensure!(reply.status == 202, "{}: {}", reply.status, reply.body);
    let accepted: Value = reply.json()?;
    Ok(accepted["ping_id"].as_str().context("no ping_id")?.to_owned())
}

/// Waits until all of these pings were told of, each once.
fn each_is_told_once(
    pings: &BTreeSet<String>,
    mut told: impl FnMut() -> Result<Vec<Told>>,
) -> Result<Vec<Told>> {
    let mut seen = BTreeMap::new();
    let told = wait_for("every ping to be told", PATIENCE, || {
        let told = told()?;
        seen = pings_of(&told);
        Ok(pings.iter().all(|ping| seen.contains_key(ping)).then_some(told))
    });
    let missing = pings.iter().filter(|ping| !seen.contains_key(*ping)).count();
    let told = told.with_context(|| format!("{missing} of {} are missing", pings.len()))?;
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "told twice: {twice:?}");
    Ok(told)
}

/// How often each ping was told of.
fn pings_of(told: &[Told]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for told in told.iter().filter(|it| it.kind == "ping.accepted") {
        let id = told.event["ping_accepted"]["ping_id"].as_str().unwrap_or_default();
        *times.entry(id.to_owned()).or_default() += 1;
    }
    times
}

/// What the shipper waits for, if it does.
fn waits_for(api: SocketAddr) -> Result<Option<String>> {
    let listed: Value = http::get(api, "/v1/consumers")?.json()?;
    let items = listed["items"].as_array().context("no items")?;
    let shipper = items.iter().find(|it| it["consumer"] == "ship:audit").context("no shipper")?;
    Ok(shipper["waits_for"].as_str().map(str::to_owned))
}

/// The value of a metric of a shipper.
fn metric(api: SocketAddr, name: &str, shipper: &str) -> Result<f64> {
    let metrics = http::get(api, "/metrics")?.body;
    let wanted = metrics.lines().find(|line| line.starts_with(name) && line.contains(shipper));
    let value = wanted.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse());
    Ok(value.transpose()?.unwrap_or(0.0))
}
