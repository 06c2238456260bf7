//! Callers who have called before, as calls meet their rules (spec/domain §2.8).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{Line, SDP, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

const ONCE: &str = r#"targets.alone.dedupe={ after = "connected" }"#;

#[test]
fn a_target_that_takes_a_caller_once_knows_it_again_after_a_crash() {
    play(&[ONCE], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        // Nobody answers: that does not count.
        caller.send(with_body(&caller, &stage.invite(), "unanswered", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(super::peer::response(&target, &invite, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("486 INVITE")?;

        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        // It is known while the call is up, too.
        is_refused(stage, &mut caller, "beside")?;
        first.end(&mut caller, &mut target)?;
        is_refused(stage, &mut caller, "after")?;
        says_why(stage)?;

        stage.restart(Program::kill)?;
        is_refused(stage, &mut caller, "after-a-crash")?;
        stage.is_clean()
    });
}

#[test]
fn a_call_that_a_crash_cut_off_is_remembered() {
    play(&[ONCE], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "cut-off", &[])?;
        // An answer is on disk before the caller hears of it.

        stage.restart(Program::kill)?;
        is_refused(stage, &mut caller, "after-a-crash")?;
        stage.is_clean()
    });
}

#[test]
fn a_rule_that_comes_with_a_reload_knows_the_calls_of_before() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "before", &[])?.end(&mut caller, &mut target)?;
        stage.has_a_record()?;
        let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
        let rule = format!("{alone}dedupe = {{ after = \"connected\" }}\n");
        stage.reload_with(alone, &rule)?;

        is_refused(stage, &mut caller, "after")?;
        stage.is_clean()
    });
}

#[test]
fn a_caller_who_dials_again_at_once_is_busy() {
    // Longer than the machine of a test may be busy with something else.
    play(&["defaults.callers={ repeat_after_s = 60 }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        caller.send(with_body(&caller, &stage.invite(), "again", &[], SDP))?;
        caller.expect("486 INVITE")?;
        first.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn callers_without_a_number_are_let_in_beside_each_other() {
    let as_one = r#"defaults.callers={ repeat_after_s = 60, anonymous = "as_one",
        duplicates = { mark_on = "incoming" } }"#;
    play(&[as_one], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let withheld = ["From: <sip:anonymous@anonymous.invalid>;tag=w"];
        let one = Call::up(stage, &mut caller, &mut target, "one", &withheld)?;
        let other = Call::up(stage, &mut caller, &mut target, "other", &withheld)?;
        one.end(&mut caller, &mut target)?;
        other.end(&mut caller, &mut target)?;
        let other = on_record(stage, "other")?;
        let told = http::get(stage.api, &format!("/v1/calls/{}/explain", id(&other)))?.body;
        ensure!(told.contains("\"check\":\"duplicate\""), "they are one all the same: {told}");
        stage.is_clean()
    });
}

#[test]
fn a_caller_who_dials_again_after_two_seconds_is_let_in_if_nothing_is_said() {
    play(&["defaults.callers={}"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "first", &[])?.end(&mut caller, &mut target)?;
        std::thread::sleep(Duration::from_millis(2_100));
        let call = Call::up(stage, &mut caller, &mut target, "later", &[])?;
        call.end(&mut caller, &mut target)?;
        let later = on_record(stage, "later")?;
        let told = http::get(stage.api, &format!("/v1/calls/{}/explain", id(&later)))?;
        let told: Value = told.json()?;
        let steps = told["steps"].as_array().cloned().unwrap_or_default();
        let repeat = steps.into_iter().find(|step| step["subject"] == "repeat").unwrap_or_default();
        let words = (&repeat["verdict"], &repeat["want"]);
        ensure!(words == (&json!("passed"), &json!("no sooner than 2 s")), "{told:#}");
        stage.is_clean()
    });
}

#[test]
fn a_publisher_is_paid_for_a_caller_once_and_each_decision_tells_of_the_calls_before() {
    let payout = r#"publishers.tests.payouts=[{ campaign = "alone", amount = "5.00",
        dedupe = { policy = "once_per" } }]"#;
    let owed = r#"targets.alone.conversion={ seconds = 0, revenue = "9.00" }"#;
    play(&[payout, owed], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "first", &[])?.end(&mut caller, &mut target)?;
        Call::up(stage, &mut caller, &mut target, "second", &[])?.end(&mut caller, &mut target)?;
        let first = on_record(stage, "first")?;
        ensure!(
            first["money"]["payout"] == "5.00" && first["money"]["no_payout_reason"].is_null(),
            "{first:#}"
        );
        let second = on_record(stage, "second")?;
        ensure!(
            second["money"]["payout"] == "0.00" && second["money"]["revenue"] == "9.00",
            "{second:#}"
        );
        ensure!(second["money"]["no_payout_reason"] == "duplicate", "{second:#}");

        stage.restart(Program::kill)?;
        Call::up(stage, &mut caller, &mut target, "third", &[])?.end(&mut caller, &mut target)?;
        let third = on_record(stage, "third")?;
        ensure!(third["money"]["no_payout_reason"] == "duplicate", "{third:#}");
        let told = http::get(stage.api, &format!("/v1/calls/{}/explain", id(&third)))?.body;
        let told: Value = serde_json::from_str(&told)?;
        let prior = &told["prior_calls"];
        let counts = (&prior["number"], &prior["campaign"], &prior["partial"]);
        ensure!(counts == (&json!(2), &json!(2), &json!(false)), "{prior:#}");
        ensure!(prior["targets"] == json!([{ "target": "alone", "calls": 2 }]), "{prior:#}");
        ensure!(prior["buyers"] == json!([{ "buyer": "tests", "calls": 2 }]), "{prior:#}");
        ensure!(prior["last_connected"]["call_id"] == second["call_id"], "{prior:#}");
        ensure!(prior["last_converted"]["buyer"] == "tests", "{prior:#}");
        let said = told["text"].to_string();
        ensure!(said.contains("2 of its calls were to the number, 2 to the campaign"), "{said}");
        ensure!(said.contains("a caller is paid for once per 30 days"), "{said}");
        let first = http::get(stage.api, &format!("/v1/calls/{}/explain", id(&first)))?.body;
        let first: Value = serde_json::from_str(&first)?;
        ensure!(first["prior_calls"]["number"] == 0, "{first:#}");
        let replayed = http::get(stage.api, &format!("/v1/calls/{}/replay", id(&third)))?.body;
        ensure!(replayed.contains("\"same\":true"), "{replayed}");
        stage.is_clean()
    });
}

fn id(call: &Value) -> &str {
    call["call_id"].as_str().unwrap_or_default()
}

/// The record of the call with the carrier's Call-ID, once it is over.
fn on_record(stage: &Stage, call_id: &str) -> Result<Value> {
    wait_for("the record", Duration::from_secs(5), || {
        let page: Value = http::get(stage.api, "/v1/calls?limit=200")?.json()?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| call["state"] != "open"))
    })
}

/// A further call of the same caller finds no target.
fn is_refused(stage: &Stage, line: &mut Line, call_id: &str) -> Result<()> {
    line.send(with_body(line, &stage.invite(), call_id, &[], SDP))?;
    line.expect("480 INVITE").map(drop).with_context(|| format!("the call {call_id}"))
}

/// The last call's decision names the rule.
fn says_why(stage: &Stage) -> Result<()> {
    wait_for("the refused call to be explained", Duration::from_secs(5), || {
        for call in api::calls(stage.api)? {
            let path = format!("/v1/calls/{}/explain", call.call_id);
            let reply = http::get(stage.api, &path)?;
            if reply.body.contains("dedupe.target.connected") {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
}
