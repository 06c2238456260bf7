//! Calls that were matched while Redis was away are matched again once it is back, and nothing else of them
//! changes (spec/data §3.5).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::program::Program;
use super::sessions::{call, detail, ping};
use super::shared::{check, redis};
use super::shared_sessions::{pool, server_with, text};
use super::{NUMBER, Stage};
use crate::support::redis::Redis;
use crate::support::{api, http, wait_for};

const CALLER: &str = "+16145550188";
const FROM: &str = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
/// A lease after the store is back, and what it takes to notice.
const SOON: Duration = Duration::from_secs(40);

fn start(redis: &Redis, node: u32, pool: &str, lease_s: u32) -> Stage {
    let set = [
        &*format!("redis.lease_s={lease_s}"),
        &format!("account.stand_in_number=\"{NUMBER}\""),
        r#"targets.alone.conversion={ seconds = 0, revenue = "41.50" }"#,
        r#"publishers.tests.payouts=[{ campaign = "alone", amount = "33.20" }]"#,
        r#"targets.alone.caps=[{ metric = "connected", window = "total", limit = 50, on_store_down = "open" }]"#,
    ];
    server_with(&redis.address().to_string(), node, pool, &set).unwrap()
}

/// It was matched by its number alone.
fn is_plain(stage: &Stage, call_id: &str) -> Result<Value> {
    let found = detail(stage, call_id)?;
    ensure!(found["match_method"] == "static_mapping", "{call_id}: {found:#}");
    ensure!(found["session_id"].is_null() && found["first_match"].is_null(), "{found:#}");
    ensure!(found["flags"] == json!(["match_degraded"]), "{found:#}");
    ensure!(found["money"]["revenue"] == "41.50", "{found:#}");
    Ok(found)
}

/// It is the session's by now, and otherwise as it was.
fn becomes(stage: &Stage, before: &Value, method: &str, session: &Value) -> Result<Value> {
    let id = text(&before["call_id"])?;
    let found = wait_for("the call to be matched again", SOON, || {
        let found: Value = http::get(stage.api, &format!("/v1/calls/{id}"))?.json()?;
        Ok((found["rev"] != before["rev"]).then_some(found))
    })?;
    ensure!(found["rev"].as_u64() == before["rev"].as_u64().map(|rev| rev + 1), "{found:#}");
    ensure!(found["session_id"] == session["session_id"], "{session:#} {found:#}");
    ensure!(found["match_method"] == method, "{found:#}");
    let first = &found["first_match"];
    ensure!(first["match_method"] == "static_mapping" && first["confidence"] == 0.0, "{found:#}");
    ensure!(first["session_id"].is_null() && first["until"].is_string(), "{found:#}");
    ensure!(found["flags"] == json!(["match_degraded", "rematched"]), "{found:#}");
    let events = found["timeline"].as_array().context("no timeline")?;
    ensure!(events.last().is_some_and(|it| it["event"] == "call.rematched"), "{found:#}");
    let same = [
        "campaign",
        "publisher",
        "target",
        "buyer",
        "money",
        "conversion",
        "talk_ms",
        "attempts",
        "state",
        "outcome",
        "started_at",
        "ended_at",
        "did",
        "caller",
    ];
    for name in same {
        ensure!(found[name] == before[name], "{name}: {found:#} {before:#}");
    }
    Ok(found)
}

fn looked_at(stage: &Stage, outcome: &str) -> Result<f64> {
    let name = format!("tollbridge_session_store_rematched_total{{outcome=\"{outcome}\"}}");
    Ok(api::series(stage.api)?.get(&*name).copied().unwrap_or_default())
}

fn lent(stage: &Stage, said: &Value) -> Result<Value> {
    let session = ping(stage, said)?;
    ensure!(session["number_status"] == "leased", "{session:#}");
    Ok(session)
}

#[test]
fn calls_that_were_matched_without_redis_are_matched_again_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::lasting(folder.path()).unwrap();
    let pool = pool(8);
    let first = start(&redis, 1, &pool, 4);
    let mut second = start(&redis, 2, &pool, 4);
    let mut play = || -> Result<()> {
        let by_number = lent(&first, &json!({ "pool": "pool" }))?;
        let by_caller = ping(&first, &json!({ "campaign": "alone", "caller_id": CALLER }))?;
        let by_name = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        redis.kill()?;
        call(&second, &text(&by_number["number"])?, "number", &[])?;
        call(&second, NUMBER, "caller", &[FROM])?;
        call(&second, &text(&by_name["sip_user"])?, "name", &[])?;
        // The caller's session is not of this number.
        let numbers = ["+16145550206", "+16145550207"];
        let nobodys = numbers.into_iter().find(|it| by_number["number"] != **it);
        call(&second, nobodys.context("a number")?, "nobody", &[])?;
        let before = ["number", "caller", "name", "nobody"].map(|id| is_plain(&second, id));
        let [of_number, of_caller, of_name, of_nobody] = before;
        let (of_number, of_caller, of_name) = (of_number?, of_caller?, of_name?);
        let of_nobody = of_nobody?;

        // What is to be looked at outlives the server.
        second.end(Program::kill)?;
        redis.restart()?;
        second.serve()?;
        let of_number = becomes(&second, &of_number, "pool_lease", &by_number)?;
        ensure!(of_number["confidence"] == 0.99, "{of_number:#}");
        becomes(&second, &of_caller, "caller_ping", &by_caller)?;
        becomes(&second, &of_name, "address", &by_name)?;
        wait_for("all to be looked at", SOON, || {
            let (found, same) = (looked_at(&second, "found")?, looked_at(&second, "same")?);
            Ok((found == 3.0 && same == 1.0).then_some(()))
        })?;
        ensure!(is_plain(&second, "nobody")?["rev"] == of_nobody["rev"], "{of_nobody:#}");
        wait_for("four calls to be counted", Duration::from_secs(10), || {
            let caps = api::caps(second.api)?;
            let cap = caps.get("target/alone/connected/total").context("no cap")?;
            Ok(((cap.used, cap.held) == (4, 0)).then_some(()))
        })?;
        let path = format!("/v1/calls/{}/explain", text(&of_number["call_id"])?);
        let told: Value = http::get(second.api, &path)?.json()?;
        ensure!(told["rematched"]["session_id"] == by_number["session_id"], "{told:#}");
        ensure!(told["attribution"]["session_id"].is_null(), "as it was decided: {told:#}");
        ensure!(told["text"].to_string().contains("looked at again at"), "{told:#}");
        // A use is of a call that was promised something.
        let ping: Value =
            http::get(first.api, &format!("/v1/pings/{}", text(&by_caller["ping_id"])?))?.json()?;
        ensure!(ping["consumed_at"].is_null(), "{ping:#}");
        let by_session = format!("/v1/calls?session={}", text(&by_number["session_id"])?);
        let listed: Value = http::get(second.api, &by_session)?.json()?;
        ensure!(listed["calls"][0]["call_id"] == of_number["call_id"], "{listed:#}");

        second.restart(Program::kill)?;
        for (call_id, rev) in [("number", &of_number["rev"]), ("nobody", &of_nobody["rev"])] {
            ensure!(detail(&second, call_id)?["rev"] == *rev, "once is enough");
        }
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn a_call_is_of_who_had_its_number_though_somebody_else_has_it_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::lasting(folder.path()).unwrap();
    let pool = pool(1).replace("quarantine_s = 600", "quarantine_s = 0");
    // Longer than it takes until another has the number.
    let (first, second) = (start(&redis, 1, &pool, 12), start(&redis, 2, &pool, 12));
    let mut play = || -> Result<()> {
        let had = lent(&first, &json!({ "pool": "pool", "ttl_s": 4 }))?;
        redis.kill()?;
        call(&second, &text(&had["number"])?, "early", &[])?;
        let before = is_plain(&second, "early")?;

        redis.restart()?;
        let has = wait_for("the number to be lent anew", Duration::from_secs(12), || {
            let session = ping(&first, &json!({ "pool": "pool" }))?;
            Ok((session["number_status"] == "leased").then_some(session))
        })?;
        ensure!(has["number"] == had["number"], "{has:#}");
        ensure!(detail(&second, "early")?["rev"] == before["rev"], "it is looked at too soon");
        call(&second, &text(&has["number"])?, "late", &[])?;
        ensure!(detail(&second, "late")?["session_id"] == has["session_id"]);
        becomes(&second, &before, "pool_lease", &had)?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn a_call_stays_as_it_is_whose_session_nobody_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let pool = pool(8);
    let (mut first, second) = (start(&redis, 1, &pool, 4), start(&redis, 2, &pool, 4));
    let mut play = || -> Result<()> {
        let session = lent(&first, &json!({ "pool": "pool" }))?;
        redis.kill()?;
        call(&second, &text(&session["number"])?, "call", &[])?;
        let before = is_plain(&second, "call")?;

        // It comes back with nothing, and who had the session does not.
        first.end(Program::kill)?;
        redis.restart()?;
        wait_for("the call to be looked at", SOON, || {
            Ok((looked_at(&second, "forgotten")? == 1.0).then_some(()))
        })?;
        ensure!(is_plain(&second, "call")?["rev"] == before["rev"], "{before:#}");
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}
