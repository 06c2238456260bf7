//! Pings that are trials, and fields of pings that are not known.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::program::Program;
use super::{Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const MORE: &str = r#"
[[targets]]
id = "ohio"
buyer = "tests"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
filters = { all = [{ tag = "geo.state", op = "eq", value = "OH" }] }
conversion = { seconds = 60, revenue = "30.00" }
caps = [{ metric = "attempted", window = "daily", limit = 3 }]

[[publishers]]
id = "strict"
strict_pings = true
keys = [{ id = "main", key = "the key of the strict" }]

[[publishers]]
id = "few"
quota = { per_second = 1, burst = 2 }
payouts = [{ campaign = "ohio", amount = "20.00", seconds = 45 }]
price = { allow_loss = true }
caps = [{ metric = "pinged", window = "daily", limit = 2 }]

[[campaigns]]
id = "ohio"
publisher = "few"
routing = { tiers = [{ targets = [{ target = "ohio" }] }] }

[[pools]]
id = "ohio"
campaign = "ohio"
publisher = "few"
numbers = ["+16145550101"]
"#;

#[test]
fn a_trial_is_told_what_then_happens_and_leaves_no_trace() {
    play_with(Setup { more: MORE, ..Setup::default() }, |stage| {
        let body = json!({ "pool": "ohio", "state": "OH", "request_id": "r-1" });
        let mut trial = body.clone();
        trial["test"] = json!(true);
        let before = wait_for("everything to be counted", Duration::from_secs(10), || {
            let traces = traces(stage)?;
            let counted = |name: &str| !traces["counted"][name].is_null();
            let names = ["tollbridge_sessions_active", "tollbridge_journal_written_bytes_total"];
            Ok(names.into_iter().all(counted).then_some(traces))
        })?;

        // More than the quota, the cap, the pool or the target would take.
        let mut told = vec![];
        for _ in 0..8 {
            let reply = send(stage, &trial)?;
            ensure!(reply.status == 200, "{reply:?}");
            told.push(reply.json::<Value>()?);
        }
        ensure!(traces(stage)? == before, "{:#}\n{before:#}", traces(stage)?);
        for told in &told {
            ensure!(told["status"] == 202 && told["number_status"] == "leased", "{told:#}");
            let call = &told["call"];
            ensure!((&call["payout"], &call["payout_seconds"]) == (&json!("20.00"), &json!(45)));
            let target = &call["decision"]["plan"][0]["target"];
            ensure!(target == "ohio", "{call:#}");
        }

        let real = send(stage, &body)?;
        ensure!(real.status == 202, "{real:?}");
        let real = real.json::<Value>()?;
        ensure!(real["number_status"] == "leased", "{real:#}");
        let again = send(stage, &trial)?.json::<Value>()?;
        ensure!(again["replays"] == real["ping_id"], "{again:#}");
        trial["state"] = json!("KY");
        let other = send(stage, &trial)?.json::<Value>()?;
        ensure!(other["problem"]["code"] == "idempotency.mismatch", "{other:#}");
        trial["request_id"] = json!("r-2");
        let elsewhere = send(stage, &trial)?.json::<Value>()?;
        ensure!(elsewhere["number_status"] == "exhausted", "{elsewhere:#}");
        let call = &elsewhere["call"];
        ensure!(call["no_payout"] == "filter.mismatch", "{call:#}");
        ensure!(call["payout_seconds"].is_null() && call["payout"] == "0.00", "{call:#}");

        // The second of two is the last that the quota and the cap on pings have room for.
        let last = json!({ "campaign": "ohio", "sip_ok": true });
        ensure!(send(stage, &last)?.status == 202);
        trial["request_id"] = json!("r-3");
        let full = send(stage, &trial)?.json::<Value>()?;
        let refused = send(stage, &last)?;
        ensure!(full["status"] == refused.status && refused.status == 429, "{full:#}, {refused:?}");
        stage.is_clean()
    });
}

#[test]
fn what_is_not_known_of_a_ping_is_on_record_and_the_strict_are_told() {
    play_with(Setup { more: MORE, ..Setup::default() }, |stage| {
        let odd = json!({ "campaign": "alone", "sip_ok": true, "colour": "red", "n": { "a": 1 } });
        let taken = send(stage, &odd)?;
        ensure!(taken.status == 202, "{taken:?}");
        let at = taken.header("location").context("no location")?.to_owned();
        let shown = |stage: &Stage| -> Result<Value> { http::get(stage.api, &at)?.json() };
        let before = shown(stage)?;
        ensure!(before["extra"] == json!({ "colour": "red", "n": "{\"a\":1}" }), "{before:#}");
        ensure!(before["tags"] == json!({ "sip_ok": "true" }), "{before:#}");

        stage.restart(Program::kill)?;

        let after = shown(stage)?;
        ensure!(after["extra"] == before["extra"], "{after:#}");
        let asked = ("POST", "/v1/pings");
        let key = [("X-Api-Key", "the key of the strict"), ("Content-Type", "application/json")];
        let strict = http::ask(stage.api, asked, &odd.to_string(), &key)?;
        ensure!(strict.status == 400, "{strict:?}");
        let problem = strict.json::<Value>()?;
        let places: Vec<_> = problem["errors"]
            .as_array()
            .context("no errors")?
            .iter()
            .map(|it| it["pointer"].clone())
            .collect();
        ensure!(places == ["/colour", "/n"], "{problem:#}");
        let mut lax = odd.clone();
        lax["strict"] = json!(false);
        let taken = http::ask(stage.api, asked, &lax.to_string(), &key)?;
        ensure!(taken.status == 202, "{taken:?}");
        stage.is_clean()
    });
}

#[test]
fn a_publisher_that_tries_too_often_waits_and_its_pings_are_taken() {
    play_with(Setup { more: MORE, ..Setup::default() }, |stage| {
        let body = json!({ "campaign": "alone", "caller_id": "+16145550188", "test": true });
        // Far more than may be in the time that so many take.
        let refused = (0..1_000).map(|_| send(stage, &body)).find(|reply| {
            let status = reply.as_ref().map(|reply| reply.status);
            status.is_ok_and(|status| status != 200)
        });
        let refused = refused.context("all were thought of")??;
        ensure!(refused.status == 429, "{refused:?}");
        ensure!(refused.header("Retry-After") == Some("1"), "{refused:?}");
        let problem = refused.json::<Value>()?;
        ensure!(problem["detail"] == "more than 10 trials a second", "{problem:#}");
        let other = send(stage, &json!({ "pool": "ohio", "state": "OH", "test": true }))?;
        ensure!(other.status == 200, "another publisher's: {other:?}");
        let real = send(stage, &json!({ "campaign": "alone", "caller_id": "+16145550188" }))?;
        ensure!(real.status == 202, "{real:?}");
        stage.is_clean()
    });
}

/// All that a ping may leave behind.
fn traces(stage: &Stage) -> Result<Value> {
    let caps = http::get(stage.api, "/v1/caps")?.json::<Value>()?;
    let pools = http::get(stage.api, "/v1/pools")?.json::<Value>()?;
    let series = api::series(stage.api)?;
    let counted = series.into_iter().filter(|(name, _)| {
        ["_pings", "_sessions", "_pool", "_journal_written", "_holds"]
            .iter()
            .any(|part| name.contains(&format!("tollbridge{part}")))
    });
    let counted: serde_json::Map<_, _> = counted.map(|(name, it)| (name, json!(it))).collect();
    Ok(json!({ "caps": caps["items"], "pools": pools["items"], "counted": counted }))
}

fn send(stage: &Stage, body: &Value) -> Result<http::Reply> {
    http::post(stage.api, "/v1/pings", &body.to_string())
}
