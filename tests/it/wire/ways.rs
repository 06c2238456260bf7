//! A target to which there are several ways: the next one is gone when one fails before the target is
//! reached, each is a leg of the record, and its caps count the call once (spec/domain §2.11).

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{Line, SDP, response, with_body};
use super::{Call, Setup, Stage, detail, play_with};
use crate::support::{api, http, ports, wait_for};

/// Whose carrier is behind the second way.
const TRUNK: &str = r#"
[[trunks]]
id = "over"
inbound = { cidrs = ["127.0.0.3/32"] }
credentials = { username = "edge", password = "secret" }
outbound = { headers = { add = { "X-Over" = "the trunk" } } }
"#;

#[test]
fn a_target_is_called_another_way_as_its_trunk_wants_and_counted_once() {
    let cap = r#"targets.alone.caps=[{ metric = "attempted", window = "total", limit = 1 }]"#;
    two_ways(&[cap], |stage, mut caller, mut first, mut second| {
        caller.send(with_body(&caller, &stage.invite(), "ways", &[], SDP))?;
        let refused = first.expect("INVITE").context("in the first way")?;
        ensure!(refused.header("X-Over").is_none(), "no trunk is on this way: {}", refused.text);
        first.send(response(&first, &refused, "503 Service Unavailable", &[], ""))?;
        first.expect("ACK")?;
        let challenged = second.expect("INVITE").context("in the second way")?;
        ensure!(challenged.header("X-Over") == Some("the trunk"), "{}", challenged.text);
        let ask = "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n\", algorithm=MD5";
        let status = "407 Proxy Authentication Required";
        second.send(response(&second, &challenged, status, &[ask], ""))?;
        second.expect("ACK")?;
        let call = Call::answered(&mut caller, &mut second)?;
        let proof = call.offered.header("Proxy-Authorization").unwrap_or_default();
        ensure!(proof.contains("username=\"edge\""), "by the trunk's credentials: {proof}");
        call.end(&mut caller, &mut second)?;

        let record = detail(stage, "ways")?;
        let legs: Vec<_> = record["attempts"].as_array().into_iter().flatten().collect();
        let told = legs.iter().map(|leg| (&leg["n"], &leg["target"], &leg["trunk"], &leg["sip"]));
        let (alone, over) = (json!("alone"), json!("over"));
        let expected = [
            (&json!(1), &alone, &Value::Null, &json!(503)),
            (&json!(2), &alone, &over, &json!(200)),
        ];
        ensure!(told.collect::<Vec<_>>() == expected, "{record}");
        let explained = explained(stage, &record)?;
        let planned = &explained["plan"][0];
        ensure!(
            planned["trunk"].is_null() && planned["further"][0]["trunk"] == "over",
            "{planned}"
        );
        ensure!(explained["plan"].as_array().is_some_and(|it| it.len() == 1), "one target");

        let caps = http::get(stage.api, "/v1/caps")?.json::<Value>()?;
        let cap = caps["items"].as_array().into_iter().flatten();
        let mut cap = cap.filter(|cap| cap["cap"] == "target/alone/attempted/total");
        let cap = cap.next().context("the cap is told of")?;
        ensure!(cap["used"] == "1" && cap["held"] == "0", "{cap}");
        caller.send(with_body(&caller, &stage.invite(), "full", &[], SDP))?;
        caller.expect("486 INVITE")?;
        stage.is_clean()
    });
}

#[test]
fn silence_leads_another_way_when_its_time_is_over() {
    two_ways(
        &["targets.alone.first_response_ms=300"],
        |stage, mut caller, mut first, mut second| {
            caller.send(with_body(&caller, &stage.invite(), "silent", &[], SDP))?;
            first.expect("INVITE").context("in the first way")?;
            let call = Call::answered(&mut caller, &mut second)?;
            call.end(&mut caller, &mut second)?;
            let record = detail(stage, "silent")?;
            ensure!(record["attempts"][0]["reason"] == "attempt.no_response", "{record}");
            stage.is_clean()
        },
    );
}

#[test]
fn how_long_a_caller_would_wait_is_what_calls_over_the_way_have_shown() {
    two_ways(&[], |stage, mut caller, mut first, _| {
        let way = first.local.to_string();
        let estimate = |stage: &Stage| -> Result<Value> {
            let asked = json!({ "dialed": super::NUMBER }).to_string();
            let thought = http::post(stage.api, "/v1/simulate/call", &asked)?.json::<Value>()?;
            Ok(thought["latency_estimate"].clone())
        };
        let before = estimate(stage)?;
        let expected = json!({
            "target": "alone", "way": way, "pdd_p50_ms": null, "pdd_p99_ms": null,
            "pdd_window_s": 900, "first_response_ms": 10_000, "max_pdd_ms": 8_000,
            "ring_timeout_ms": 30_000, "ring_budget_ms": 60_000,
        });
        ensure!(before == expected, "{before:#}");
        caller.send(with_body(&caller, &stage.invite(), "rings", &[], SDP))?;
        let call = Call::answered(&mut caller, &mut first)?;
        call.end(&mut caller, &mut first)?;
        let after = estimate(stage)?;
        let (half, most) = (after["pdd_p50_ms"].as_u64(), after["pdd_p99_ms"].as_u64());
        ensure!(half.is_some() && half == most, "of one call: {after:#}");
        stage.is_clean()
    });
}

#[test]
fn a_target_that_was_reached_is_called_no_other_way() {
    two_ways(&[], |stage, mut caller, mut first, mut second| {
        for (name, rings, with) in
            [("rang", true, "503 Service Unavailable"), ("busy", false, "486 Busy Here")]
        {
            caller.send(with_body(&caller, &stage.invite(), name, &[], SDP))?;
            let invite = first.expect("INVITE").context("in the first way")?;
            if rings {
                first.send(response(&first, &invite, "180 Ringing", &[], ""))?;
                caller.expect("180 INVITE")?;
            }
            first.send(response(&first, &invite, with, &[], ""))?;
            first.expect("ACK")?;
            caller.expect(if rings { "500 INVITE" } else { "486 INVITE" })?;
            second.expect_silence(Duration::from_millis(100))?;
        }
        stage.is_clean()
    });
}

#[test]
fn a_way_whose_trunk_takes_no_more_calls_is_left_for_the_other() {
    let dial = |uri: &str| format!(r#"{{ kind = "sip", uri = "{uri}", trunk = "over" }}"#);
    let port = ports::block(1).unwrap();
    let ways = [
        dial(&format!("sip:127.0.0.3:{port}")),
        format!(r#"{{ kind = "sip", uri = "sip:127.0.0.2:{port}" }}"#),
    ];
    let dial = format!("targets.alone.dial=[{}]", ways.join(", "));
    let limit = "trunks.over.outbound.max_channels=1";
    let set = [dial.as_str(), limit];
    play_with(Setup { set: &set, more: TRUNK, ..Setup::default() }, |stage| {
        let (mut caller, mut over, mut other) =
            (stage.udp()?, host(stage, 3, port)?, host(stage, 2, port)?);
        let one = Call::up(stage, &mut caller, &mut over, "one", &[])?;
        let two = Call::up(stage, &mut caller, &mut other, "two", &[])?;
        one.end(&mut caller, &mut over)?;
        two.end(&mut caller, &mut other)?;
        let record = detail(stage, "two")?;
        ensure!(record["denied"][0]["reason"] == "attempt.rate_full", "{record}");
        ensure!(record["denied"][0]["trunk"] == "over", "{record}");
        Call::up(stage, &mut caller, &mut over, "three", &[])?.end(&mut caller, &mut over)?;
        stage.is_clean()
    });
}

#[test]
fn an_attempt_that_finds_no_room_on_its_next_way_is_denied() {
    two_ways(
        &["trunks.over.outbound.max_channels=1"],
        |stage, mut caller, mut first, mut second| {
            let fails = |first: &mut Line| -> Result<()> {
                let invite = first.expect("INVITE").context("in the first way")?;
                let failed = response(first, &invite, "500 Server Internal Error", &[], "");
                first.send(failed)?;
                first.expect("ACK").map(drop)
            };
            caller.send(with_body(&caller, &stage.invite(), "has-it", &[], SDP))?;
            fails(&mut first)?;
            let call = Call::answered(&mut caller, &mut second)?;
            let denied = r#"tollbridge_cap_denied_total{kind="attempt.rate_full"}"#;
            let count = || -> Result<f64> {
                Ok(api::series(stage.api)?.get(denied).copied().unwrap_or(0.0))
            };
            ensure!(count()? == 0.0, "it had room");

            let mut other = stage.udp()?;
            other.send(with_body(&other, &stage.invite(), "has-none", &[], SDP))?;
            fails(&mut first)?;
            let record = detail(stage, "has-none")?;
            ensure!(record["denied"][0]["reason"] == "attempt.rate_full", "{record:#}");
            wait_for("it to be counted", Duration::from_secs(10), || {
                Ok((count()? == 1.0).then_some(()))
            })?;
            call.end(&mut caller, &mut second)?;
            stage.is_clean()
        },
    );
}

#[test]
fn a_way_where_nobody_is_is_tried_last_for_a_while_and_said_to_be() {
    two_ways(
        &["targets.alone.first_response_ms=300"],
        |stage, mut caller, mut first, mut second| {
            caller.send(with_body(&caller, &stage.invite(), "gone", &[], SDP))?;
            first.expect("INVITE").context("in the first way")?;
            Call::answered(&mut caller, &mut second)?.end(&mut caller, &mut second)?;

            let call = Call::up(stage, &mut caller, &mut second, "next", &[])?;
            call.end(&mut caller, &mut second)?;

            let record = detail(stage, "next")?;
            ensure!(record["attempts"].as_array().is_some_and(|legs| legs.len() == 1), "{record}");
            let explained = explained(stage, &record)?;
            let steps = explained["steps"].as_array().cloned().unwrap_or_default();
            let step = steps.iter().find(|step| step["check"] == "way").context("a step")?;
            ensure!(step["reason"] == "way.unreached", "{step}");
            ensure!(step["have"] == "its address failed of late", "{step}");
            let host = step["subject"].as_str().context("a way")?;
            ensure!(host.starts_with("127.0.0.2:"), "{step}");
            let words = format!("{host} left for last, its address failed of late");
            let told = explained["text"].as_array().into_iter().flatten();
            let mut told = told.filter_map(Value::as_str);
            ensure!(told.any(|line| line.contains(&words)), "{explained:#}");
            let leg = &record["attempts"][0];
            ensure!(leg["trunk"] == "over", "{leg}");
            stage.is_clean()
        },
    );
}

#[test]
fn a_trunk_over_which_it_rings_too_late_is_left_and_comes_back_on_trial() {
    let port = ports::block(1).unwrap();
    let dial = format!(
        r#"targets.alone.dial=[{{ kind = "sip", uri = "sip:127.0.0.3:{port}", trunk = "over" }},
           {{ kind = "sip", uri = "sip:127.0.0.2:{port}" }}]"#
    );
    // Short against what is slow here, and long for a machine with much else to do.
    let rules = "trunks.over.circuit={ min_attempts = 5, max_pdd_ms = 2000, cool_down_s = 6, \
                 trial_percent = 100, trial_attempts = 2 }";
    let set = [dial.as_str(), rules];
    play_with(Setup { set: &set, more: TRUNK, ..Setup::default() }, |stage| {
        let (mut over, mut other) = (host(stage, 3, port)?, host(stage, 2, port)?);
        let mut caller = stage.udp()?;
        for n in 0..5 {
            ensure!(trunk(stage)?["condition"] == "well", "only {n} calls were slow");
            caller.send(with_body(&caller, &stage.invite(), &format!("slow-{n}"), &[], SDP))?;
            let invite = over.expect("INVITE").context("over the trunk")?;
            over.send(response(&over, &invite, "100 Trying", &[], ""))?;
            // Longer than it may take to ring.
            over.expect_silence(Duration::from_secs(3))?;
            over.send(response(&over, &invite, "180 Ringing", &[], ""))?;
            caller.expect("180 INVITE")?;
            over.send(response(&over, &invite, "486 Busy Here", &[], ""))?;
            over.expect("ACK")?;
            caller.expect("486 INVITE")?;
        }
        let left = trunk(stage)?;
        ensure!(left["condition"] == "circuit_open", "{left}");
        ensure!(left["why"] == "circuit open: 5 of 5 attempts rang too late", "{left}");
        ensure!(left["pdd_p99_ms"].as_u64().is_some_and(|ms| ms >= 3_000), "{left}");

        Call::up(stage, &mut caller, &mut other, "left", &[])?.end(&mut caller, &mut other)?;
        let explained = explained(stage, &detail(stage, "left")?)?;
        let steps = explained["steps"].as_array().cloned().unwrap_or_default();
        let step = steps.into_iter().find(|step| step["check"] == "way").context("a step")?;
        ensure!(step["subject"] == "trunk/over" && step["reason"] == "way.circuit_open", "{step}");

        wait_for("the rest to be over", Duration::from_secs(20), || {
            Ok((trunk(stage)?["condition"] == "on_trial").then_some(()))
        })?;
        for name in ["good", "better"] {
            Call::up(stage, &mut caller, &mut over, name, &[])?.end(&mut caller, &mut over)?;
        }
        ensure!(trunk(stage)?["condition"] == "well", "{}", trunk(stage)?);
        stage.is_clean()
    });
}

#[test]
fn a_talk_that_its_target_ends_at_once_speaks_against_its_way_also_where_the_call_goes_on() {
    let port = ports::block(1).unwrap();
    let dial = format!(
        r#"targets.first.dial={{ kind = "sip", uri = "sip:127.0.0.3:{port}", trunk = "over" }}"#
    );
    let recovery = "campaigns.failover.recovery={ within_s = 10 }";
    let rules = "trunks.over.circuit={ min_attempts = 5, max_short_percent = 50 }";
    let set = [dial.as_str(), recovery, rules];
    play_with(Setup { set: &set, more: TRUNK, ..Setup::default() }, |stage| {
        let (mut caller, mut over) = (stage.udp()?, host(stage, 3, port)?);
        let next = UdpSocket::bind(("127.0.0.1", stage.spare_port))?;
        let mut next = Line::udp(next, stage.sip)?;
        for n in 0..5 {
            ensure!(trunk(stage)?["condition"] == "well", "only {n} talks were short");
            let invite = stage.invite_to("+18005550100");
            caller.send(with_body(&caller, &invite, &format!("short-{n}"), &[], SDP))?;
            let mut call = Call::answered(&mut caller, &mut over)?;
            over.send(call.target.next(&over, "BYE"))?;
            over.expect("200 BYE")?;
            let offered = next.expect("INVITE").context("the next target")?;
            next.send(response(&next, &offered, "486 Busy Here", &[], ""))?;
            next.expect("ACK")?;
            let bye = caller.expect("BYE")?;
            caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        }
        let left = trunk(stage)?;
        ensure!(left["why"] == "circuit open: 5 of 5 answered calls were short", "{left}");
        stage.is_clean()
    });
}

#[test]
fn a_code_leads_another_way_or_nowhere_as_the_target_says() {
    two_ways(&["targets.alone.next_way_on=[480]"], |stage, mut caller, mut first, mut second| {
        caller.send(with_body(&caller, &stage.invite(), "way", &[], SDP))?;
        let invite = first.expect("INVITE").context("in the first way")?;
        first.send(response(&first, &invite, "480 Temporarily Unavailable", &[], ""))?;
        first.expect("ACK")?;
        Call::answered(&mut caller, &mut second)?.end(&mut caller, &mut second)?;
        let record = detail(stage, "way")?;
        ensure!(record["attempts"][0]["sip"] == 480, "{record}");

        caller.send(with_body(&caller, &stage.invite(), "nowhere", &[], SDP))?;
        let invite = first.expect("INVITE").context("in the first way")?;
        first.send(response(&first, &invite, "503 Service Unavailable", &[], ""))?;
        first.expect("ACK")?;
        caller.expect("500 INVITE")?;
        second.expect_silence(Duration::from_millis(100))?;
        stage.is_clean()
    });
}

#[test]
fn a_trunk_says_which_codes_lead_to_the_next_target() {
    let port = ports::block(1).unwrap();
    let over = format!(
        r#"targets.first.dial={{ kind = "sip", uri = "sip:127.0.0.3:{port}", trunk = "over" }}"#
    );
    let next = format!("targets.second.dial.uri=sip:127.0.0.2:{port}");
    let set = [over.as_str(), &next, "trunks.over.advance_on=[603]"];
    play_with(Setup { set: &set, more: TRUNK, ..Setup::default() }, |stage| {
        let (mut over, mut next) = (host(stage, 3, port)?, host(stage, 2, port)?);
        let mut caller = stage.udp()?;
        let failover = stage.invite_to("+18005550100");
        caller.send(with_body(&caller, &failover, "declined", &[], SDP))?;
        let invite = over.expect("INVITE").context("over the trunk")?;
        over.send(response(&over, &invite, "603 Decline", &[], ""))?;
        over.expect("ACK")?;
        Call::answered(&mut caller, &mut next)?.end(&mut caller, &mut next)?;

        caller.send(with_body(&caller, &failover, "busy", &[], SDP))?;
        let invite = over.expect("INVITE").context("over the trunk")?;
        over.send(response(&over, &invite, "486 Busy Here", &[], ""))?;
        over.expect("ACK")?;
        caller.expect("486 INVITE")?;
        next.expect_silence(Duration::from_millis(100))?;

        let said = |path: &str, setting: &str| {
            let told = http::get(stage.api, path)?.json::<Value>()?;
            let mut found = told["settings"].as_array().cloned().unwrap_or_default().into_iter();
            let found = found.find(|it| it["setting"] == setting).context("it is told of")?;
            Ok::<_, anyhow::Error>((found["value"].clone(), found["from"].clone()))
        };
        let trunk = "/v1/trunks/over/effective";
        ensure!(said(trunk, "advance_on")? == (json!([603]), json!("own")));
        let (circuit, from) = said(trunk, "circuit")?;
        ensure!(circuit["max_pdd_ms"] == 6_000 && from == "built_in", "{circuit} {from}");
        let target = "/v1/targets/first/effective";
        ensure!(said(target, "dial.over.advance_on")? == (json!([603]), json!("trunk")));
        let usual = json!([408, 500, 502, 503, 504]);
        ensure!(said(target, "next_way_on")? == (usual, json!("built_in")));
        stage.is_clean()
    });
}

/// What calls have shown of the trunk.
fn trunk(stage: &Stage) -> Result<Value> {
    let ways = http::get(stage.api, "/v1/ways")?.json::<Value>()?;
    let items = ways["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|item| item["trunk"] == "over").context("the trunk is a way")
}

/// The target is at 127.0.0.2, and over the trunk at 127.0.0.3.
fn two_ways(set: &[&str], part: impl FnOnce(&mut Stage, Line, Line, Line) -> Result<()>) {
    let port = ports::block(1).unwrap();
    let dial = format!(
        r#"targets.alone.dial=[{{ kind = "sip", uri = "sip:127.0.0.2:{port}" }},
           {{ kind = "sip", uri = "sip:127.0.0.3:{port}", trunk = "over" }}]"#
    );
    let set = [&[dial.as_str()], set].concat();
    play_with(Setup { set: &set, more: TRUNK, ..Setup::default() }, |stage| {
        let (first, second) = (host(stage, 2, port)?, host(stage, 3, port)?);
        let caller = stage.udp()?;
        part(stage, caller, first, second)
    });
}

fn host(stage: &Stage, last: u8, port: u16) -> Result<Line> {
    Line::udp(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), port))?, stage.sip)
}

fn explained(stage: &Stage, record: &Value) -> Result<Value> {
    let id = record["call_id"].as_str().context("a record has an id")?;
    let reply = http::get(stage.api, &format!("/v1/calls/{id}/explain"))?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
    reply.json()
}
