//! Caps that begin anew because an operator says so, as calls meet them (spec/domain §1D 34).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::limits::is_refused;
use super::peer::{SDP, response, with_body};
use super::program::Program;
use super::shared::{check, redis, server};
use super::{Call, Setup, Stage, play_with};
use crate::support::{http, wait_for};

/// One call of the number in a hundred years.
const OF_NUMBER: &str = r#"
[[numbers]]
number = "+18005550150"
caps = [{ metric = "connected", window = "every:3660d@2026-01-01T06:00", limit = 1 }]
"#;
const NUMBER_S_CAP: &str = "number/+18005550150/connected/every:3660d@2026-01-01T06:00";
const ONE_CALL: &str =
    r#"targets.alone.caps=[{ metric = "connected", window = "total", limit = 1 }]"#;
const TARGET_S_CAP: &str = "target/alone/connected/total";

fn reset(stage: &Stage, cap: &str, key: &str) -> Result<Value> {
    let path = format!("/v1/caps/{}/reset", cap.replace('/', "%2F").replace('+', "%2B"));
    let body = json!({ "why": "calls of a test" }).to_string();
    let reply = http::post_with(stage.api, &path, &body, &[("Idempotency-Key", key)])?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
    reply.json()
}

/// As `GET /v1/caps` shows it.
fn shown(stage: &Stage, cap: &str) -> Result<Value> {
    let caps: Value = http::get(stage.api, "/v1/caps")?.json()?;
    let items = caps["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().find(|item| item["cap"] == cap).unwrap_or_default())
}

fn counts(stage: &Stage, cap: &str, used: &str) -> Result<()> {
    wait_for("the cap to show it", Duration::from_secs(10), || {
        let cap = shown(stage, cap)?;
        Ok((cap["used"] == used && cap["held"] == "0").then_some(()))
    })
}

fn one_call(stage: &Stage, call_id: &str) -> Result<()> {
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    Call::up(stage, &mut caller, &mut target, call_id, &[])?.end(&mut caller, &mut target)
}

#[test]
fn a_cap_of_a_number_begins_anew_once_for_a_request_and_stays_so_over_crashes() {
    play_with(Setup { more: OF_NUMBER, ..Setup::default() }, |stage| {
        one_call(stage, "first")?;
        counts(stage, NUMBER_S_CAP, "1")?;
        is_refused(stage, &mut stage.udp()?, "full", "480 INVITE")?;

        let told = reset(stage, NUMBER_S_CAP, "one")?;
        ensure!(told["repeated"] == false && told["reset"]["amount"] == "1", "{told}");
        counts(stage, NUMBER_S_CAP, "0")?;
        let known = shown(stage, NUMBER_S_CAP)?["reset"].clone();
        ensure!(known == told["reset"] && known["why"] == "calls of a test", "{known}");
        one_call(stage, "after")?;
        is_refused(stage, &mut stage.udp()?, "full-again", "480 INVITE")?;
        let again = reset(stage, NUMBER_S_CAP, "one")?;
        ensure!(again["repeated"] == true && again["reset"] == known, "{again}");
        is_refused(stage, &mut stage.udp()?, "full-still", "480 INVITE")?;

        // Once from the journal, once from the book.
        for n in 0..2 {
            stage.restart(Program::kill)?;
            counts(stage, NUMBER_S_CAP, "1")?;
            ensure!(shown(stage, NUMBER_S_CAP)?["reset"] == known, "after {n} crashes");
            is_refused(stage, &mut stage.udp()?, &format!("full-after-{n}"), "480 INVITE")?;
        }
        let again = reset(stage, NUMBER_S_CAP, "one")?;
        ensure!(again["repeated"] == true, "{again}");
        reset(stage, NUMBER_S_CAP, "two")?;
        one_call(stage, "last")?;
        stage.is_clean()
    });
}

#[test]
fn what_a_call_in_flight_holds_is_held_over_a_reset() {
    play_with(Setup { set: &[ONE_CALL], ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "rings", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        reset(stage, TARGET_S_CAP, "one")?;
        let cap = shown(stage, TARGET_S_CAP)?;
        ensure!(cap["held"] == "1" && cap["used"] == "0", "{cap}");
        is_refused(stage, &mut stage.udp()?, "beside", "486 INVITE")?;
        target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
        caller.expect("486 INVITE")?;
        counts(stage, TARGET_S_CAP, "0")
    });
}

#[test]
fn a_cap_that_servers_share_begins_anew_at_all_of_them_whichever_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let mut first = server(&redis, 1, &[ONE_CALL]).unwrap();
    let second = server(&redis, 2, &[ONE_CALL]).unwrap();
    let mut calls = || -> Result<()> {
        one_call(&first, "first")?;
        is_refused(&second, &mut second.udp()?, "full", "486 INVITE")?;

        let told = reset(&second, TARGET_S_CAP, "one")?;
        ensure!(told["reset"]["amount"] == "1", "{told}");
        wait_for("the other server to know", Duration::from_secs(5), || {
            let cap = shown(&first, TARGET_S_CAP)?;
            Ok((cap["used"] == "0" && cap["reset"] == told["reset"]).then_some(()))
        })?;
        one_call(&first, "after")?;
        is_refused(&second, &mut second.udp()?, "full-again", "486 INVITE")?;
        is_refused(&first, &mut first.udp()?, "full-again", "486 INVITE")?;

        // A store that has forgotten everything is told what was used, and that some of it does not count.
        redis.ask(&["flushall"])?;
        first.restart(Program::kill)?;
        let used = "cap:{default}:target/alone/connected/total:total";
        wait_for("the store to know", Duration::from_secs(10), || {
            Ok((redis.ask(&["hget", used, "used"])? == "1").then_some(()))
        })?;
        is_refused(&first, &mut first.udp()?, "full-after-all", "486 INVITE")?;
        is_refused(&second, &mut second.udp()?, "full-after-all", "486 INVITE")?;
        let again = reset(&second, TARGET_S_CAP, "one")?;
        ensure!(again["repeated"] == true, "{again}");
        let told = reset(&first, TARGET_S_CAP, "two")?;
        // At once: nobody has told this one.
        let again = reset(&second, TARGET_S_CAP, "two")?;
        ensure!(again["repeated"] == true && again["reset"] == told["reset"], "{again}");
        one_call(&first, "last")
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

#[test]
fn a_cap_does_not_begin_anew_while_nobody_knows_what_others_have_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &[ONE_CALL]).unwrap();
    let mut ask = || -> Result<()> {
        one_call(&stage, "first")?;
        counts(&stage, TARGET_S_CAP, "1")?;
        redis.kill()?;
        wait_for("the server to see it", Duration::from_secs(10), || {
            let health: Value = http::get(stage.api, "/healthz")?.json()?;
            Ok((health["hold_store"] == "away").then_some(()))
        })?;
        let path = format!("/v1/caps/{}/reset", TARGET_S_CAP.replace('/', "%2F"));
        let reply = http::post(stage.api, &path, r#"{ "why": "a test" }"#)?;
        let problem: Value = reply.json()?;
        ensure!(reply.status == 503 && problem["code"] == "cap.unavailable", "{problem}");
        ensure!(shown(&stage, TARGET_S_CAP)?["reset"].is_null(), "nothing has changed");
        Ok(())
    };
    check(&[&stage], ask());
}
