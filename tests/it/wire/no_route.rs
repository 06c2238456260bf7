//! Calls that get to nobody: what their callers are answered, who is called in place of the campaign's own
//! targets, and what is told of them (spec/domain §2.4).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{Line, SDP, response, with_body};
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

/// The campaign has the target `alone`; `single` is another's.
const ACTIONS: &str = r#"campaigns.alone.no_route={
    none_match = { status = 404, overflow = "single" },
    all_closed = { status = 410 },
    no_capacity = { status = 480 },
    none_answered = { status = 404 },
}"#;
const REPEATS: &str = "campaigns.alone.callers={ repeat_after_s = 0 }";
const FILTER: &str =
    r#"targets.alone.filters={ all = [{ tag = "geo.state", op = "eq", value = "TX" }] }"#;

#[test]
fn a_call_nobody_can_take_is_answered_as_its_campaign_says_and_classed() {
    let actions = actions();
    let closed = "targets.alone.paused=true";
    play(&[&actions, REPEATS, closed], |stage| {
        let mut caller = stage.udp()?;
        invite(stage, &mut caller, "closed")?;
        caller.expect("410 INVITE")?;
        is_told(
            stage,
            "closed",
            "all_closed",
            "no route: every target that wants such a call is closed (all_closed)",
        )?;
        stage.is_clean()
    });
    let full = "targets.alone.concurrency={ limit = 1 }";
    play(&[&actions, REPEATS, full], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let up = Call::up(stage, &mut caller, &mut target, "up", &[])?;
        invite(stage, &mut other, "full")?;
        other.expect("480 INVITE")?;
        is_told(stage, "full", "no_capacity", "no route: no target had room (no_capacity)")?;
        up.end(&mut caller, &mut target)?;
        // Who was answered got to somebody.
        let answered = find(stage, "up")?;
        ensure!(shown(stage, &answered)?["no_route"] == Value::Null);

        invite(stage, &mut other, "busy")?;
        let offered = target.expect("INVITE")?;
        target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        other.expect("404 INVITE")?;
        let line = "no route: none of the targets answered (none_answered)";
        is_told(stage, "busy", "none_answered", line)?;
        let counted = |class| {
            format!("tollbridge_calls_no_route_total{{campaign=\"alone\",class=\"{class}\"}}")
        };
        let series = api::series(stage.api)?;
        for class in ["no_capacity", "none_answered"] {
            ensure!(series.get(&counted(class)) == Some(&1.0), "{class}: {series:?}");
        }
        stage.is_clean()
    });
}

#[test]
fn a_call_that_no_target_wants_goes_to_the_overflow_of_its_campaign() {
    let actions = actions();
    play(&[&actions, REPEATS, FILTER], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        invite(stage, &mut caller, "over")?;
        let over = Call::answered(&mut caller, &mut target)?;
        // It takes one call at a time.
        invite(stage, &mut other, "too-many")?;
        other.expect("404 INVITE")?;
        is_told(
            stage,
            "too-many",
            "none_match",
            "no route: no target wants such a call (none_match)",
        )?;
        over.end(&mut caller, &mut target)?;

        let record = find(stage, "over")?;
        ensure!(record.attempts.len() == 1 && record.attempts[0].target == "single", "{record:?}");
        ensure!(shown(stage, &record)?["no_route"] == Value::Null);
        let explained = explained(stage, &record)?;
        ensure!(explained["no_route"] == Value::Null, "{explained:#}");
        let line = "single: dialled as number 1; overflow, as no target wants such a call";
        says(&explained, line)?;
        let alone = &explained["candidates"][0];
        ensure!(
            alone["reason"] == "filter.missing_tag" || alone["code"] == "filter.geo.state",
            "{alone:#}"
        );

        // And if that one does not answer either, it is still for want of a match.
        invite(stage, &mut caller, "lost")?;
        let offered = target.expect("INVITE")?;
        target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("404 INVITE")?;
        is_told(stage, "lost", "none_match", "no route: no target wants such a call (none_match)")?;
        stage.is_clean()
    });
}

/// The carrier knows best what its switch makes of a code.
#[test]
fn what_the_trunk_says_of_a_cause_goes_before_what_the_campaign_does() {
    let actions = actions();
    let of_trunk = r#"trunks.loopback.failover.map={ "target.paused" = 603 }"#;
    play(&[&actions, "targets.alone.paused=true", of_trunk], |stage| {
        let mut caller = stage.udp()?;
        invite(stage, &mut caller, "mapped")?;
        caller.expect("603 INVITE")?;
        stage.is_clean()
    });
}

/// As a call is thought of, its class is told as well.
#[test]
fn a_call_that_is_thought_of_has_the_class_that_it_would_have() {
    let actions = actions();
    play(&[&actions, "targets.alone.paused=true"], |stage| {
        let reply = http::post(stage.api, "/v1/simulate/call", r#"{ "dialed": "+18005550150" }"#)?;
        let thought: Value = reply.json()?;
        ensure!(thought["decision"]["no_route"] == "all_closed", "{thought:#}");
        let says_so = says(&thought["decision"], "refused with 410; the target is paused");
        says_so.with_context(|| format!("{thought:#}"))
    });
}

/// On one line, as arguments are.
fn actions() -> String {
    ACTIONS.split_whitespace().collect::<Vec<_>>().join(" ").replace(", }", " }")
}

fn invite(stage: &Stage, caller: &mut Line, call_id: &str) -> Result<()> {
    caller.send(with_body(caller, &stage.invite(), call_id, &[], SDP))
}

/// Record and explanation say the class.
fn is_told(stage: &Stage, call_id: &str, class: &str, line: &str) -> Result<()> {
    let record = find(stage, call_id)?;
    let shown = shown(stage, &record)?;
    ensure!(shown["no_route"] == class, "{shown:#}");
    let explained = explained(stage, &record)?;
    ensure!(explained["no_route"] == class, "{explained:#}");
    says(&explained, line)
}

fn find(stage: &Stage, call_id: &str) -> Result<api::Call> {
    wait_for("the record", Duration::from_secs(5), || {
        let mut calls = api::calls(stage.api)?.into_iter();
        Ok(calls.find(|it| it.sip_call_id.starts_with(call_id) && it.is_over()))
    })
}

fn shown(stage: &Stage, record: &api::Call) -> Result<Value> {
    http::get(stage.api, &format!("/v1/calls/{}", record.call_id))?.json()
}

fn explained(stage: &Stage, record: &api::Call) -> Result<Value> {
    wait_for("an explanation", Duration::from_secs(5), || {
        let reply = http::get(stage.api, &format!("/v1/calls/{}/explain", record.call_id))?;
        (reply.status == 200).then(|| reply.json()).transpose()
    })
}

fn says(explained: &Value, what: &str) -> Result<()> {
    let lines = explained["text"].as_array().into_iter().flatten();
    ensure!(lines.filter_map(Value::as_str).any(|it| it.contains(what)), "{explained:#}");
    Ok(())
}
