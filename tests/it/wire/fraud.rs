//! What looks like fraud is told of calls, sessions and publishers, once, and refuses nothing (spec/domain §1M).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::program::Program;
use super::{Call, NUMBER, Setup, Stage, play_with};
use crate::support::{http, wait_for};

const CALLER: &str = "+16145550188";
const POOL: &str = r#"
[[pools]]
id = "pool"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101", "+16145550102"]
"#;

#[test]
fn a_caller_who_calls_again_and_again_is_suspected_over_a_crash_and_every_call_counts_once() {
    play_with(Setup { set: &["fraud.caller_calls=3"], ..Setup::default() }, |stage| {
        for n in 0..3 {
            let call_id = format!("honest-{n}");
            call(stage, CALLER, NUMBER, &call_id)?;
            let found = scored(stage, &call_id)?;
            ensure!(reasons(&found) == ["short_call"], "{found:#}");
        }
        stage.restart(Program::kill)?;

        call(stage, CALLER, NUMBER, "fourth")?;
        let fourth = scored(stage, "fourth")?;
        ensure!(reasons(&fourth) == ["velocity.caller", "short_call"], "{fourth:#}");
        ensure!(fourth["fraud"]["score"] == 40, "{fourth:#}");
        let why = &fourth["fraud"]["reasons"][0];
        ensure!(why["want"] == "3" && why["have"].as_str().is_some_and(|it| it >= "3.9"), "{why}");
        call(stage, "+16145550199", NUMBER, "another")?;
        ensure!(reasons(&scored(stage, "another")?) == ["short_call"]);

        stage.restart(Program::kill)?;
        let suspected: Value = http::get(stage.api, "/v1/calls?fraud_min=40")?.json()?;
        let suspected = suspected["calls"].as_array().context("no calls")?;
        ensure!(suspected.len() == 1 && suspected[0]["sip_call_id"] == "fourth", "{suspected:?}");
        let told: Value = http::get(stage.api, "/v1/fraud/publishers")?.json()?;
        let tests = &told["items"][0];
        ensure!(tests["publisher"] == "tests" && tests["calls"] == 5, "{told:#}");
        let shares = json!([
            { "reason": "velocity.caller", "calls": 1, "percent": 20 },
            { "reason": "short_call", "calls": 5, "percent": 100 },
        ]);
        ensure!(tests["reasons"] == shares, "{told:#}");
        stage.is_clean()
    });
}

#[test]
fn a_call_that_does_not_fit_its_session_and_one_to_a_number_of_nobody_say_so() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        call(stage, CALLER, "+16145550101", "unleased")?;
        let found = scored(stage, "unleased")?;
        ensure!(reasons(&found) == ["harvest.unleased", "short_call"], "{found:#}");

        let said = json!({ "pool": "pool", "caller_id": CALLER, "state": "KY" });
        let ping = http::post(stage.api, "/v1/pings", &said.to_string())?.json::<Value>()?;
        let number = ping["number"].as_str().context("no number")?;
        call(stage, "+18005550177", number, "misfit")?;
        let found = scored(stage, "misfit")?;
        let expected = ["caller.impossible", "mismatch.caller", "short_call"];
        ensure!(reasons(&found) == expected, "{found:#}");
        call(stage, CALLER, number, "elsewhere")?;
        let found = scored(stage, "elsewhere")?;
        ensure!(reasons(&found) == ["mismatch.state", "short_call"], "{found:#}");
        let moved = &found["fraud"]["reasons"][0];
        ensure!(moved["have"] == "OH" && moved["want"] == "KY", "{moved}");

        let said = json!({ "pool": "pool", "visitor_id": "v" }).to_string();
        let visit = http::post(stage.api, "/v1/sessions", &said)?.json::<Value>()?;
        let number = visit["number"].as_str().context("no number")?;
        call(stage, "+16145550177", number, "dialled-at-once")?;
        let found = scored(stage, "dialled-at-once")?;
        ensure!(reasons(&found) == ["timing.too_soon", "short_call"], "{found:#}");

        let mut line = stage.udp()?;
        line.send(with_body(&line, &stage.invite_to("+12125550100"), "nobodys", &[], SDP))?;
        line.expect("404 INVITE")?;
        let found = scored(stage, "nobodys")?;
        ensure!(reasons(&found) == ["harvest.unknown"], "{found:#}");
        stage.is_clean()
    });
}

#[test]
fn sessions_of_a_caller_who_is_announced_again_and_again_and_calls_that_nobody_vouches_for_are_told()
 {
    let set = [
        "fraud.caller_pings=1",
        "fraud.points={ short_call = 0 }",
        "trunks.loopback.inbound.params_capture=[\"verstat\"]",
    ];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let said = json!({ "campaign": "alone", "caller_id": CALLER }).to_string();
        let pings: Vec<Value> = (0..2)
            .map(|_| http::post(stage.api, "/v1/pings", &said)?.json())
            .collect::<Result<_>>()?;
        let mut seen = vec![];
        for ping in &pings {
            let path = format!("/v1/pings/{}", ping["ping_id"].as_str().context("no id")?);
            seen.push(wait_for("the score", Duration::from_secs(8), || {
                let shown: Value = http::get(stage.api, &path)?.json()?;
                Ok((!shown["fraud"].is_null()).then_some(shown))
            })?);
        }
        ensure!(reasons(&seen[0]).is_empty(), "{:#}", seen[0]);
        ensure!(reasons(&seen[1]) == ["velocity.pings"], "{:#}", seen[1]);

        for (verstat, call_id, expected) in [
            ("", "before", &[][..]),
            (";verstat=TN-Validation-Failed", "forged", &["attestation.failed"]),
            ("", "after", &["attestation.missing"]),
        ] {
            let from = format!("P-Asserted-Identity: <sip:+16145550177{verstat}@127.0.0.1>");
            call_with(stage, NUMBER, call_id, &from)?;
            let found = scored(stage, call_id)?;
            ensure!(reasons(&found) == expected, "{call_id}: {found:#}");
        }
        stage.is_clean()
    });
}

#[test]
fn where_nothing_is_to_be_scored_nothing_is() {
    play_with(Setup { set: &["fraud.enabled=false"], ..Setup::default() }, |stage| {
        call(stage, CALLER, NUMBER, "unscored")?;
        stage.has_a_record()?;
        let consumers: Value = http::get(stage.api, "/v1/consumers")?.json()?;
        ensure!(!consumers.to_string().contains("\"fraud\""), "{consumers:#}");
        let calls: Value = http::get(stage.api, "/v1/calls")?.json()?;
        ensure!(calls["calls"][0]["fraud_score"].is_null(), "{calls:#}");
        stage.is_clean()
    });
}

/// A call that is answered and ended by its caller at once.
fn call(stage: &Stage, caller: &str, number: &str, call_id: &str) -> Result<()> {
    let from = format!("P-Asserted-Identity: <sip:{caller}@127.0.0.1>");
    call_with(stage, number, call_id, &from)
}

fn call_with(stage: &Stage, number: &str, call_id: &str, from: &str) -> Result<()> {
    let (mut line, mut target) = (stage.udp()?, stage.target()?);
    line.send(with_body(&line, &stage.invite_to(number), call_id, &[from], SDP))?;
    let call = Call::answered(&mut line, &mut target).with_context(|| call_id.to_owned())?;
    call.end(&mut line, &mut target)
}

/// The call, once it has a score.
fn scored(stage: &Stage, call_id: &str) -> Result<Value> {
    let call = wait_for("the score", Duration::from_secs(8), || {
        let page: Value = http::get(stage.api, "/v1/calls?limit=200")?.json()?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| !call["fraud_score"].is_null()))
    })?;
    let id = call["call_id"].as_str().context("no call_id")?;
    http::get(stage.api, &format!("/v1/calls/{id}"))?.json()
}

fn reasons(shown: &Value) -> Vec<&str> {
    let reasons = shown["fraud"]["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(|found| found["reason"].as_str()).collect()
}
