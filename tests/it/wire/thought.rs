//! Calls that are thought of with the session behind them, and the same calls when they come.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::decisions::tollbridge;
use super::peer::{SDP, with_body};
use super::{Call, Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const POOL: &str = r#"
[[pools]]
id = "visitors"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101"]
"#;
/// Only what a session says lets a call in: its callers are of no state that is known.
const SET: [&str; 2] = [
    r#"targets.alone.filters={ all = [{ tag = "geo.state", op = "eq", value = "OH" }] }"#,
    "campaigns.alone.callers={ repeat_after_s = 0 }",
];
const SETUP: Setup<'_> = Setup { set: &SET, more: POOL, tls: false, arguments: &[] };

#[test]
fn a_call_of_a_live_session_is_thought_of_as_it_then_comes() {
    play_with(SETUP, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let ping = json!({ "pool": "visitors", "state": "OH", "caller_id": "+12125550188" });
        let opened: Value = http::post(stage.api, "/v1/pings", &ping.to_string())?.json()?;
        let text = |name: &str| opened[name].as_str().map(str::to_owned).context(name.to_owned());
        let (session, ping) = (text("session_id")?, text("ping_id")?);
        let address = ping.replace("png_", "bid_");

        for (asked, method) in [
            (json!({ "session": { "id": session } }), "caller_lease"),
            (json!({ "address": address }), "address"),
            (json!({ "address": session }), "address"),
        ] {
            let thought = thought(stage, &asked)?;
            ensure!(thought["first"] == json!({ "alone": 1 }), "{asked}: {thought:#}");
            let attribution = &thought["decision"]["attribution"];
            ensure!(attribution["session_id"] == session, "{asked}: {attribution:#}");
            ensure!(attribution["method"] == method, "{asked}: {attribution:#}");
        }
        let nobody = thought(stage, &json!({ "dialed": "+18005550150" }))?;
        ensure!(nobody["refused"] == json!({ "filter.missing_tag": 1 }), "{nobody:#}");

        // And so it comes, by the address that was thought of.
        let invite = stage.invite_to(&address);
        caller.send(with_body(&caller, &invite, "named", &[], SDP))?;
        Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)?;
        let record = wait_for("the record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.into_iter().find(api::Call::is_over))
        })?;
        ensure!(record.attempts[0].target == "alone", "{record:?}");
        let shown: Value =
            http::get(stage.api, &format!("/v1/calls/{}", record.call_id))?.json()?;
        ensure!(shown["session_id"] == session && shown["match_method"] == "address", "{shown:#}");

        let unknown = json!({ "session": { "id": "ses_01954f2e7d1e70008000000000000002" } });
        let reply = http::post(stage.api, "/v1/simulate/call", &unknown.to_string())?;
        ensure!(reply.status == 422 && reply.body.contains("/session/id"), "{}", reply.body);
        stage.is_clean()
    });
}

#[test]
fn a_session_may_be_assumed_by_the_server_and_without_one() {
    play_with(SETUP, |stage| {
        let of_ohio = || json!({ "tags": { "geo.state": "OH" }, "age_s": 14 });
        let own = json!({
            "campaign": "alone", "publisher": "tests", "tags": { "geo.state": "OH" },
        });
        for (asked, method) in [
            (json!({ "pool": "visitors", "session": of_ohio() }), "pool_lease"),
            (
                json!({ "dialed": "+16145550101", "caller": "+12125550188", "session": of_ohio() }),
                "caller_lease",
            ),
            (json!({ "session": own }), "address"),
        ] {
            let thought = thought(stage, &asked)?;
            ensure!(thought["first"] == json!({ "alone": 1 }), "{asked}: {thought:#}");
            ensure!(thought["decision"]["attribution"]["method"] == method, "{thought:#}");
        }
        let paused = json!({
            "pool": "visitors", "session": of_ohio(), "assume": { "buyers_paused": ["tests"] },
        });
        let paused = thought(stage, &paused)?;
        ensure!(paused["refused"] == json!({ "target.paused": 1 }), "{paused:#}");

        let reply = http::post(
            stage.api,
            "/v1/simulate/call",
            &json!({
                "dialed": "+18005550150", "pool": "visitors",
                "assume": {
                    "buyers_paused": ["nobody"], "credit": { "tests": "1.00" },
                    "ready_agents": { "target/alone/concurrency": 1 },
                },
            })
            .to_string(),
        )?;
        ensure!(reply.status == 422, "{}", reply.body);
        let problem: Value = reply.json()?;
        let places: Vec<_> = problem["errors"].as_array().context("errors")?.iter().collect();
        let places: Vec<_> = places.iter().filter_map(|it| it["pointer"].as_str()).collect();
        let expected = [
            "/assume/ready_agents/target~1alone~1concurrency",
            "/assume/buyers_paused",
            "/assume/credit/tests",
            "/dialed",
        ];
        ensure!(places == expected, "{problem:#}");

        let assumed = ["--pool", "visitors", "--session-tag", "geo.state=OH"];
        let told = tollbridge(stage, &[&["simulate"][..], &assumed[..]].concat());
        // The command line sees the file alone, without the filter that this server was started with.
        ensure!(told?.contains("by pool_lease"), "a session is told");
        let own = ["simulate", "--session-of", "alone:tests", "--paused", "tests"];
        let told = tollbridge(stage, &own)?;
        ensure!(told.contains("by address") && told.contains("target.paused"), "{told}");
        for (wrong, what) in [
            (["--paused", "nobody"], "there is no such buyer"),
            (["--credit", "tests=1.00"], "no buyer with a limit of credit"),
            (["--ready", "target/alone/concurrency=1"], "there is no such concurrency"),
            (["--used", "target/alone/connected/daily=1"], "there is no such cap"),
            (["--tag", "=warm"], "write it as NAME=VALUE"),
        ] {
            let told =
                tollbridge(stage, &[&["simulate", "--pool", "visitors"][..], &wrong[..]].concat());
            let told = told.unwrap_err().to_string();
            ensure!(told.contains(what) && told.starts_with("exit status: 2"), "{told}");
        }
        Ok(())
    });
}

#[test]
fn a_call_to_an_address_is_thought_of_as_one_that_comes_too_soon_and_its_ping_is_not() {
    let set = [SET[0], "campaigns.alone.callers={ repeat_after_s = 60 }"];
    play_with(Setup { set: &set, ..SETUP }, |stage| {
        let ping = json!({ "pool": "visitors", "state": "OH", "caller_id": "+16145550188" });
        let opened: Value = http::post(stage.api, "/v1/pings", &ping.to_string())?.json()?;
        let address = opened["sip_user"].as_str().context("no address")?;
        let from = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
        super::call(stage, address, "before", &[from])?;

        let asked = json!({ "address": address, "caller": "+16145550188" });
        let number = opened["number"].as_str().context("no number")?;
        let by_number = json!({ "dialed": number, "caller": "+16145550188" });
        for asked in [asked, by_number] {
            let thought = thought(stage, &asked)?;
            let refused = json!({ "gate.repeat_too_soon": 1 });
            ensure!(thought["refused"] == refused, "{asked}: {thought:#}");
        }
        let trial = json!({ "pool": "visitors", "state": "OH", "caller_id": "+16145550188",
            "test": true });
        let trial = http::post(stage.api, "/v1/pings", &trial.to_string())?.json::<Value>()?;
        let plan = &trial["call"]["decision"]["plan"];
        ensure!(plan[0]["target"] == "alone", "{trial:#}");
        Ok(())
    });
}

#[test]
fn a_session_that_is_not_that_of_the_call_is_told_and_what_to_do_about_it() {
    play_with(SETUP, |stage| {
        let of_ohio = json!({ "tags": { "geo.state": "OH" } });
        // A static number's session is found by who calls.
        let number = "+18005550150";
        let not_counted =
            "the session that is assumed is not that of the call, and what it says does not count";
        let remedy = format!("{not_counted}: say who calls, it is matched by its caller");
        for (asked, unmatched) in [
            (json!({ "dialed": number, "session": of_ohio }), Some(remedy.as_str())),
            (json!({ "dialed": number, "caller": "+12125550188", "session": of_ohio }), None),
            (
                json!({ "dialed": number, "caller": "+12125550188", "session": {
                    "campaign": "failover", "publisher": "tests", "tags": { "geo.state": "OH" },
                } }),
                Some(not_counted),
            ),
            (json!({ "dialed": number }), None),
            (json!({ "dialed": "+16145550101", "session": of_ohio }), None),
        ] {
            let told = thought(stage, &asked)?;
            ensure!(told["session_unmatched"].as_str() == unmatched, "{asked}: {told:#}");
            let is_called = told["first"] == json!({ "alone": 1 });
            ensure!(is_called == (asked["session"].is_object() && unmatched.is_none()), "{told:#}");
        }

        let simulate = |more: &[&str]| {
            let assumed = ["simulate", "--dialed", number, "--session-tag", "geo.state=OH"];
            tollbridge(stage, &[&assumed[..], more].concat())
        };
        let told = simulate(&[])?;
        ensure!(told.lines().any(|line| line == remedy), "{told}");
        let told = simulate(&["--caller", "+12125550188"])?;
        ensure!(!told.contains(not_counted) && told.contains("by caller_ping"), "{told}");
        let told: Value = serde_json::from_str(&simulate(&["--json"])?)?;
        ensure!(told["session_unmatched"] == remedy, "{told:#}");
        Ok(())
    });
}

#[test]
fn of_a_thought_the_limits_behind_the_check_that_failed_are_read_too() {
    let set = [
        SET[0],
        SET[1],
        r#"buyers.tests.credit={ limit = "300.00" }"#,
        r#"targets.alone.conversion={ seconds = 60, revenue = "12.50" }"#,
    ];
    play_with(Setup { set: &set, ..SETUP }, |stage| {
        let key = "buyer/tests/credit";
        let otherwise = |decision: &Value| {
            let told = &decision["would_have_been_called"][0];
            (told["text"].as_str().map(str::to_owned), told["room_in"].clone())
        };
        let read = |text: String| (Some(text), json!([]));
        let asked = json!({ "dialed": "+18005550150" });
        let rich = read(String::from("geo.state OH"));
        let told = thought(stage, &asked)?;
        ensure!(otherwise(&told["decision"]) == rich, "{told:#}");
        let assumed =
            json!({ "dialed": "+18005550150", "assume": { "credit": { "tests": "12.00" } } });
        let told = thought(stage, &assumed)?;
        let poor = read(format!("geo.state OH and cap {key} +0.50"));
        ensure!(otherwise(&told["decision"]) == poor, "{told:#}");

        let trial = json!({ "pool": "visitors", "caller_id": "+12125550188", "test": true });
        let told: Value = http::post(stage.api, "/v1/pings", &trial.to_string())?.json()?;
        ensure!(otherwise(&told["call"]["decision"]) == rich, "a ping that is tried: {told:#}");

        // A call is not kept waiting for that: its record says what nobody looked at.
        let mut caller = stage.udp()?;
        let withheld = ["From: <sip:anonymous@anonymous.invalid>;tag=w"];
        caller.send(with_body(&caller, &stage.invite(), "real", &withheld, SDP))?;
        caller.expect("480 INVITE")?;
        let record = wait_for("the record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.into_iter().find(api::Call::is_over))
        })?;
        let path = format!("/v1/calls/{}/explain", record.call_id);
        let told: Value = http::get(stage.api, &path)?.json()?;
        let unread = format!("geo.state OH, and there was room in {key}");
        ensure!(otherwise(&told) == (Some(unread), json!([key])), "{told:#}");

        let sets = set.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>();
        let simulate = ["simulate", "--dialed", "+18005550150"];
        for (credit, expected) in [
            ("tests=12.00", format!("geo.state OH and cap {key} +0.50")),
            ("tests=12.50", String::from("geo.state OH")),
        ] {
            let told = tollbridge(stage, &[&simulate[..], &sets, &["--credit", credit]].concat())?;
            let line = format!("alone: would have been called if: {expected}");
            ensure!(told.lines().any(|it| it == line), "{told}");
        }
        stage.is_clean()
    });
}

fn thought(stage: &Stage, asked: &Value) -> Result<Value> {
    let reply = http::post(stage.api, "/v1/simulate/call", &asked.to_string())?;
    ensure!(reply.status == 200, "{asked}: {} {}", reply.status, reply.body);
    reply.json()
}
