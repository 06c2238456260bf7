//! What pings that are worth nothing cost servers that share sessions through Redis.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::shared::{check, redis};
use super::shared_sessions::server_with;
use crate::support::redis::Redis;
use crate::support::{http, wait_for};

const KEY: &str = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41";
const KENTUCKY: &str = r#"
[[targets]]
id = "kentucky"
buyer = "tests"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
conversion = { seconds = 90, revenue = "41.50" }
filters = { all = [{ tag = "geo.state", op = "eq", value = "KY" }] }

[[campaigns]]
id = "kentucky"
publisher = "tests"
numbers = ["+18005550270"]
ping_filter = "on"
routing = { tiers = [{ targets = [{ target = "kentucky" }] }] }

[[pools]]
id = "kentucky"
campaign = "kentucky"
publisher = "tests"
numbers = ["+16145550101"]

[[dialects]]
id = "retreaver"
dialect = "retreaver"
key = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41"
publisher = "tests"
campaign = "kentucky"
number = "+18005550270"
"#;
const PINGS: u64 = 40;

#[test]
fn a_worthless_ping_costs_the_store_nothing_or_one_look_whether_it_was_answered_before() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let payout = [r#"publishers.tests.payouts=[{ campaign = "kentucky", amount = "33.20" }]"#];
    let start = |node| server_with(&redis.address().to_string(), node, KENTUCKY, &payout).unwrap();
    let (first, second) = (start(1), start(2));
    let play = || -> Result<()> {
        let from = |state: &str| json!({ "campaign": "kentucky", "sip_ok": true, "state": state });
        let of_pool = json!({ "pool": "kentucky", "state": "OH" });
        for body in [from("OH"), of_pool] {
            let cost = cost(&redis, || is_worthless(&first, &body, &[]))?;
            ensure!(cost == 0, "{body} costs {cost} commands");
        }
        // One that asks for a price has no key either, and is the same at all servers.
        let bid = |state: &str| {
            let ask = json!({ "key": KEY, "caller_number": "+16065550188", "state": state });
            http::post(first.api, "/rtbs.json", &ask.to_string())?.json::<Value>()
        };
        let priced = || {
            let told = bid("OH")?;
            ensure!(told["reason_code"] == "filter.mismatch", "{told:#}");
            Ok(())
        };
        let cost_of_priced = cost(&redis, priced)?;
        ensure!(cost_of_priced == 0, "a priced one costs {cost_of_priced} commands");
        let reserved = bid("KY")?;
        ensure!(reserved["status"] == "reserved", "{reserved:#}");
        wait_for("its claim to be left", Duration::from_secs(5), || {
            Ok(redis.ask(&["keys", "rq:*"])?.is_empty().then_some(()))
        })?;

        // What may have been answered before is looked for, and nobody is told that it came.
        let mut nth = 0;
        let keyed = || {
            nth += 1;
            is_worthless(&first, &from("OH"), &[("Idempotency-Key", &format!("k-{nth}"))])
        };
        let cost_of_keyed = cost(&redis, keyed)?;
        ensure!(cost_of_keyed == PINGS, "{cost_of_keyed} commands for {PINGS} with a key");
        ensure!(redis.ask(&["keys", "rq:*"])?.is_empty(), "{}", redis.ask(&["keys", "rq:*"])?);

        // And has its answer, whatever has become of it since, at all servers.
        let again = [("Idempotency-Key", "again")];
        let taken = send(&first, &from("KY"), &again)?;
        ensure!(taken.status == 202, "{taken:?}");
        for stage in [&first, &second] {
            stage.reload_with(r#"value = "KY""#, r#"value = "PA""#)?;
        }
        for stage in [&second, &first, &second] {
            let answer = send(stage, &from("KY"), &again)?;
            ensure!(answer.header("idempotent-replayed") == Some("true"), "{answer:?}");
            ensure!(answer.body == taken.body, "{answer:?} is not {taken:?}");
            let other = send(stage, &from("OH"), &again)?;
            ensure!(other.body.contains("idempotency.mismatch"), "{other:?}");
            is_worthless(stage, &from("KY"), &[("Idempotency-Key", "another")])?;
        }
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

/// How many values were read and written while that was done as often as [`PINGS`]. Nothing else reads or
/// writes any.
fn cost(redis: &Redis, mut act: impl FnMut() -> Result<()>) -> Result<u64> {
    let count = || -> Result<u64> {
        let told = redis.ask(&["info", "commandstats"])?;
        let of = |name: &str| {
            let prefix = format!("cmdstat_{name}:calls=");
            let line = told.lines().find_map(|line| line.strip_prefix(&prefix));
            line.and_then(|line| line.split(',').next()).map_or(Ok(0), str::parse::<u64>)
        };
        Ok(of("get")? + of("set")? + of("del")?)
    };
    let before = count()?;
    (0..PINGS).try_for_each(|_| act())?;
    // What is told by and by.
    std::thread::sleep(Duration::from_millis(300));
    Ok(count()? - before)
}

fn is_worthless(stage: &Stage, body: &Value, headers: &[(&str, &str)]) -> Result<()> {
    let refused = send(stage, body, headers)?;
    let code = refused.json::<Value>().context("a problem")?["code"].clone();
    ensure!(refused.status == 422 && code == "ping.worthless", "{refused:?}");
    Ok(())
}

fn send(stage: &Stage, body: &Value, headers: &[(&str, &str)]) -> Result<http::Reply> {
    http::post_with(stage.api, "/v1/pings", &body.to_string(), headers)
}
