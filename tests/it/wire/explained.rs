//! Explanations of what became of a plan after the call was decided: targets that had no room when
//! their turn came, that redirected the call, or were passed over.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{Heard, Line, SDP, response, with_body};
use super::shared::{check, redis, server};
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

/// Two targets in a row.
const NUMBER: &str = "+18005550100";
const RECOVERY: &str = "campaigns.failover.recovery={ within_s = 10 }";

#[test]
fn a_target_whose_way_is_full_is_not_called_and_the_next_one_is() {
    play(&["targets.first.sip={ max_channels = 1 }"], |stage| {
        let (mut caller, mut first, mut second) = (stage.udp()?, stage.target()?, second(stage)?);
        invite(stage, &mut caller, "full")?;
        let full = Call::answered(&mut caller, &mut first)?;

        let mut other = stage.udp()?;
        invite(stage, &mut other, "denied")?;
        let call = Call::answered(&mut other, &mut second)?;
        let up = explained(stage, "denied")?;
        let told = [("first", false, json!("attempt.rate_full")), ("second", true, json!(null))];
        expect(&up, &told)?;
        call.end(&mut other, &mut second)?;
        full.end(&mut caller, &mut first)?;

        let over = over(stage, "denied")?;
        ensure!(over.attempts.len() == 1 && over.attempts[0].target == "second", "{over:?}");
        let shown = get(stage, &format!("/v1/calls/{}", over.call_id))?;
        let denied = &shown["denied"][0];
        let of_first = (&denied["n"], &denied["target"], &denied["reason"]);
        ensure!(of_first == (&json!(1), &json!("first"), &json!("attempt.rate_full")), "{shown:#}");
        let events: Vec<_> = shown["timeline"].as_array().into_iter().flatten().collect();
        ensure!(events.iter().any(|it| it["event"] == "attempt.denied"), "{shown:#}");
        let explained = explained(stage, "denied")?;
        expect(&explained, &told)?;
        let line = "first: number 1 in the plan; the way to the target takes no more calls at the \
                    moment (attempt.rate_full)";
        says(&explained, line)?;
        says(&explained, "second: dialled as number 2")?;

        // One INVITE went to each, and none is counted where none went.
        let counted = attempts_counted(stage, 2)?;
        ensure!(counted == [("first".into(), 1), ("second".into(), 1)], "{counted:?}");
        let series = api::series(stage.api)?;
        let wrong =
            series.keys().find(|it| it.contains("attempts_total") && it.contains("rate_full"));
        ensure!(wrong.is_none(), "{wrong:?}");
        stage.is_clean()
    });
}

#[test]
fn when_every_target_of_the_plan_is_full_each_is_told_as_that() {
    let full = ["first", "second"].map(|it| format!("targets.{it}.sip={{ max_channels = 1 }}"));
    play(&full.each_ref().map(String::as_str), |stage| {
        let (mut caller, mut first, mut second) = (stage.udp()?, stage.target()?, second(stage)?);
        let mut other = stage.udp()?;
        invite(stage, &mut caller, "one")?;
        let one = Call::answered(&mut caller, &mut first)?;
        invite(stage, &mut other, "two")?;
        let two = Call::answered(&mut other, &mut second)?;

        let mut third = stage.udp()?;
        invite(stage, &mut third, "three")?;
        third.expect("503 INVITE")?;
        let record = over(stage, "three")?;
        ensure!(record.attempts.is_empty(), "{record:?}");
        ensure!(record.outcome.as_deref() == Some("refused"), "{record:?}");
        let full = || json!("attempt.rate_full");
        expect(
            &explained(stage, "three")?,
            &[("first", false, full()), ("second", false, full())],
        )?;

        one.end(&mut caller, &mut first)?;
        two.end(&mut other, &mut second)?;
        stage.is_clean()
    });
}

/// The second target had room when the call was decided. While the first one rings, another call takes
/// it.
#[test]
fn a_target_whose_last_place_another_call_takes_meanwhile_would_have_been_called_with_one_more() {
    let cap = r#"targets.second.caps=[{ metric = "attempted", window = "total", limit = 1 }]"#;
    denied_meanwhile(cap, "cap.full", "target/second/attempted/total", "1 used, 0 held");
    let concurrency = "targets.second.concurrency={ limit = 1 }";
    denied_meanwhile(concurrency, "concurrency.full", "target/second/concurrency", "1 live");
}

fn denied_meanwhile(limit: &str, reason: &str, cap: &str, has: &str) {
    play(&[limit], |stage| {
        let (mut caller, mut first, mut second) = (stage.udp()?, stage.target()?, second(stage)?);
        let mut other = stage.udp()?;
        invite(stage, &mut caller, "denied")?;
        let rings = first.expect("INVITE")?;
        invite(stage, &mut other, "taker")?;
        let refused = first.expect("INVITE")?;
        is_busy(&mut first, &refused)?;
        let taker = Call::answered(&mut other, &mut second)?;

        is_busy(&mut first, &rings)?;
        caller.expect("486 INVITE")?;

        over(stage, "denied")?;
        let explained = explained(stage, "denied")?;
        expect(&explained, &[("first", true, json!(null)), ("second", false, json!(reason))])?;
        let second_told = &explained["candidates"][1];
        let expected = match cap.ends_with("concurrency") {
            true => json!({
                "cap": cap, "metric": "concurrency", "window": null, "limit": 1, "used": 0, "held": 1,
                "live": 1, "reserved": 0, "rate": null, "rate_calls": null, "resets_at": null,
            }),
            false => json!({
                "cap": cap, "metric": "attempted", "window": "total", "limit": 1, "used": 1, "held": 0,
                "live": null, "reserved": null, "rate": null, "rate_calls": null, "resets_at": null,
            }),
        };
        ensure!(second_told["shortage"] == expected, "{second_told:#}");
        let closely = if reason == "cap.full" { "cap.attempted.total" } else { reason };
        ensure!(second_told["code"] == closely, "{second_told:#}");
        says(&explained, &format!("({reason}): {cap} has {has}, at most 1"))?;
        says(&explained, &format!("second: would have been called if: cap {cap} +1"))?;
        ensure!(explained["would_have_been_called"][0]["changes"][0]["by"] == 1, "{explained:#}");
        taker.end(&mut other, &mut second)?;
        let taker = self::explained(stage, "taker")?;
        expect(&taker, &[("first", true, json!(null)), ("second", true, json!(null))])?;
        stage.is_clean()
    });
}

/// A call is up, another rings, and each cap has room for two.
#[test]
fn a_cap_that_is_full_is_told_with_its_figures_and_when_it_begins_anew() {
    let caps = r#"targets.alone.caps=[{ metric = "connected", window = "daily", limit = 2 }]"#;
    let of_caller = "campaigns.alone.callers={ repeat_after_s = 0 }";
    play(&[caps, of_caller], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let up = Call::up(stage, &mut caller, &mut target, "up", &[])?;
        other.send(with_body(&other, &stage.invite(), "rings", &[], SDP))?;
        let rings = target.expect("INVITE")?;
        let mut third = stage.udp()?;
        third.send(with_body(&third, &stage.invite(), "full", &[], SDP))?;
        third.expect("486 INVITE")?;

        over(stage, "full")?;
        let explained = explained(stage, "full")?;
        let caps = get(stage, "/v1/caps")?;
        let cap = "target/alone/connected/daily";
        let shown = caps["items"].as_array().into_iter().flatten().find(|it| it["cap"] == cap);
        let resets_at = &shown.context("the cap is listed")?["resets_at"];
        ensure!(resets_at.is_string(), "{caps:#}");
        let figures = json!({
            "cap": cap, "metric": "connected", "window": "daily", "limit": 2, "used": 1, "held": 1,
            "live": null, "reserved": null, "rate": null, "rate_calls": null, "resets_at": resets_at,
        });
        let steps = explained["steps"].as_array().context("there are steps")?;
        let refused = steps.iter().find(|it| it["verdict"] == "refused").context("one refused")?;
        ensure!(refused["limit"] == figures, "{refused:#}");
        let reasons = (&refused["reason"], &refused["code"]);
        ensure!(reasons == (&json!("cap.full"), &json!("cap.connected.daily")), "{refused:#}");
        let words = (&refused["have"], &refused["want"]);
        ensure!(words == (&json!("1 used, 1 held"), &json!("at most 2")), "{refused:#}");
        let candidate = &explained["candidates"][0];
        ensure!(candidate["shortage"] == figures, "{candidate:#}");
        ensure!(candidate["code"] == "cap.connected.daily", "{candidate:#}");
        says(&explained, "connected/daily has 1 used, 1 held, at most 2")?;
        says(&explained, &format!("alone: would have been called if: cap {cap} +1"))?;

        is_busy(&mut target, &rings)?;
        other.expect("486 INVITE")?;
        up.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

/// One agent is ready, and has a call. The limit lets three calls come at once.
#[test]
fn a_call_for_whom_no_agent_is_ready_would_have_been_taken_with_one_more_of_them() {
    let lines = "targets.alone.concurrency={ limit = 3 }";
    let of_caller = "campaigns.alone.callers={ repeat_after_s = 0 }";
    play(&[lines, of_caller], |stage| {
        let asked = ("PUT", "/v1/targets/alone/ready_agents");
        let json = [("Content-Type", "application/json"), ("Authorization", "Bearer dev")];
        let reply = http::ask(stage.api, asked, r#"{ "count": 1 }"#, &json)?;
        ensure!(reply.status == 200, "{reply:?}");
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let up = Call::up(stage, &mut caller, &mut target, "up", &[])?;
        other.send(with_body(&other, &stage.invite(), "full", &[], SDP))?;
        other.expect("486 INVITE")?;

        over(stage, "full")?;
        let explained = explained(stage, "full")?;
        let key = "target/alone/concurrency";
        says(&explained, "(concurrency.full): 1 live, at most 1 ready to take a call")?;
        let told = &explained["would_have_been_called"][0];
        ensure!(told["text"] == format!("1 agent more ready for {key}"), "{explained:#}");
        let change = &told["changes"][0];
        let expected = (&json!("agents_ready"), &json!(key), &json!(1));
        ensure!((&change["change"], &change["cap"], &change["by"]) == expected, "{explained:#}");
        up.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

/// The store is gone, and a cap that is closed without it has no room, though the decision saw some.
#[test]
fn a_target_that_has_no_room_without_the_store_is_told_as_that_and_the_next_as_called() {
    let cap = r#"targets.first.caps=[
        { metric = "connected", window = "total", limit = 9, on_store_down = "closed" }]"#;
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &[cap]).unwrap();
    let mut calls = || -> Result<()> {
        let (mut caller, mut first, mut second) = (stage.udp()?, stage.target()?, second(&stage)?);
        invite(&stage, &mut caller, "with")?;
        Call::answered(&mut caller, &mut first)?.end(&mut caller, &mut first)?;

        redis.kill()?;
        invite(&stage, &mut caller, "without")?;
        Call::answered(&mut caller, &mut second)?.end(&mut caller, &mut second)?;

        over(&stage, "without")?;
        let explained = explained(&stage, "without")?;
        let full = json!("cap.full_here");
        expect(&explained, &[("first", false, full), ("second", true, json!(null))])?;
        ensure!(explained["would_have_been_called"] == json!([]), "{explained:#}");
        redis.restart()
    };
    let outcome = calls();
    check(&[&stage], outcome);
}

#[test]
fn a_redirected_call_was_not_sent_to_the_target_behind_it() {
    play(&[], |stage| {
        let (mut caller, mut first) = (stage.udp()?, stage.target()?);
        let (mut elsewhere, mut second) = (stage.udp()?, second(stage)?);
        invite(stage, &mut caller, "redirected")?;
        let offered = first.expect("INVITE")?;
        // Its only contact is elsewhere.
        let moved = response(&first, &offered, "302 Moved Temporarily", &[], "");
        first.send(moved.replace(&first.contact(), &format!("<sip:queue@{}>", elsewhere.local)))?;
        first.expect("ACK")?;
        Call::answered(&mut caller, &mut elsewhere)?.end(&mut caller, &mut elsewhere)?;

        let record = over(stage, "redirected")?;
        ensure!(record.attempts.len() == 2, "{record:?}");
        let explained = explained(stage, "redirected")?;
        let not_reached = json!("selection.not_reached");
        expect(&explained, &[("first", true, json!(null)), ("second", false, not_reached)])?;
        second.expect_silence(Duration::from_millis(20))?;
        stage.is_clean()
    });
}

/// `second` would ring beside `alone`, and the store has yet to say whether it may when `alone` has
/// answered and hung up: its turn is over, and `first` is called.
#[test]
fn a_target_that_was_passed_over_when_the_call_recovered_was_not_called() {
    let routing = r#"campaigns.failover.routing={ tiers = [
        { tier = 1, ring = "parallel",
          targets = [{ target = "alone", weight = 9 }, { target = "second", weight = 1 }] },
        { tier = 2, targets = [{ target = "first" }] },
    ] }"#;
    let cap = r#"targets.second.caps=[{ metric = "connected", window = "total", limit = 9 }]"#;
    let times = [
        "redis.call_timeout_ms=2000",
        "redis.slow_ms=2000",
        "decision.deadline_ms=10000",
        "redis.sessions=false",
    ];
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stage =
        server(&redis, 1, &[routing, cap, RECOVERY, times[0], times[1], times[2], times[3]])
            .unwrap();
    let calls = || -> Result<()> {
        let (mut caller, mut target, mut second) = (stage.udp()?, stage.target()?, second(&stage)?);
        redis.signal("STOP")?;
        let recovered = invite(&stage, &mut caller, "passed-over").and_then(|()| {
            let mut call = Call::answered(&mut caller, &mut target)?;
            target.send(call.target.next(&target, "BYE"))?;
            target.expect("200 BYE")?;
            target.expect("INVITE").context("the target of the next tier should be called")
        });
        redis.signal("CONT")?;
        is_busy(&mut target, &recovered?)?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        over(&stage, "passed-over")?;
        let told = [
            ("alone", true, json!(null)),
            ("second", false, json!("selection.not_reached")),
            ("first", true, json!(null)),
        ];
        expect(&explained(&stage, "passed-over")?, &told)?;
        second.expect_silence(Duration::from_millis(20))
    };
    check(&[&stage], calls());
}

fn second(stage: &Stage) -> Result<Line> {
    Line::udp(UdpSocket::bind(("127.0.0.1", stage.spare_port))?, stage.sip)
}

fn invite(stage: &Stage, caller: &mut Line, call_id: &str) -> Result<()> {
    caller.send(with_body(caller, &stage.invite_to(NUMBER), call_id, &[], SDP))
}

fn is_busy(target: &mut Line, offered: &Heard) -> Result<()> {
    target.send(response(target, offered, "486 Busy Here", &[], ""))?;
    target.expect("ACK").map(drop)
}

fn over(stage: &Stage, call_id: &str) -> Result<api::Call> {
    wait_for("the record", Duration::from_secs(5), || {
        Ok(find(stage, call_id)?.filter(api::Call::is_over))
    })
}

fn find(stage: &Stage, call_id: &str) -> Result<Option<api::Call>> {
    let mut calls = api::calls(stage.api)?.into_iter();
    Ok(calls.find(|it| it.sip_call_id.starts_with(call_id)))
}

/// Of a call that is up, too.
fn explained(stage: &Stage, call_id: &str) -> Result<Value> {
    wait_for("an explanation", Duration::from_secs(5), || {
        let live = get(stage, "/v1/calls/live")?;
        let live =
            live["calls"].as_array().into_iter().flatten().find(|it| {
                it["sip_call_id"].as_str().is_some_and(|found| found.starts_with(call_id))
            });
        let id = match live {
            Some(live) => live["call_id"].as_str().map(str::to_owned),
            None => find(stage, call_id)?.map(|it| it.call_id),
        };
        let Some(id) = id else { return Ok(None) };
        let reply = http::get(stage.api, &format!("/v1/calls/{id}/explain"))?;
        (reply.status == 200).then(|| reply.json()).transpose()
    })
}

/// Target, whether it was dialled, and why not, of each candidate.
fn expect(explained: &Value, told: &[(&str, bool, Value)]) -> Result<()> {
    let candidates = explained["candidates"].as_array().context("there are candidates")?;
    let found: Vec<_> = candidates
        .iter()
        .map(|it| (it["target"].as_str().unwrap_or_default(), it["dialed"] == true, &it["reason"]))
        .collect();
    let told: Vec<_> = told.iter().map(|(target, dialed, why)| (*target, *dialed, why)).collect();
    ensure!(found == told, "{explained:#}");
    Ok(())
}

fn says(explained: &Value, what: &str) -> Result<()> {
    let lines = explained["text"].as_array().into_iter().flatten();
    ensure!(lines.filter_map(Value::as_str).any(|it| it.contains(what)), "{explained:#}");
    Ok(())
}

/// Attempts at each target that are summed up, once so many calls are.
fn attempts_counted(stage: &Stage, calls: i64) -> Result<Vec<(String, i64)>> {
    let path = "/v1/rollups?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&group_by=target";
    wait_for("the sums", Duration::from_secs(8), || {
        let sums = get(stage, path)?;
        let items: Vec<_> = sums["items"].as_array().into_iter().flatten().collect();
        let summed: i64 = items.iter().filter_map(|it| it["calls"].as_i64()).sum();
        let of_target =
            |it: &&Value| Some((it["target"].as_str()?.into(), it["attempts"].as_i64()?));
        Ok((summed == calls).then(|| items.iter().filter_map(of_target).collect()))
    })
}

fn get(stage: &Stage, path: &str) -> Result<Value> {
    http::get(stage.api, path)?.json()
}
