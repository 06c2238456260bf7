//! Decisions that outlive the process and its configuration: explained, made again, compared.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::program::Program;
use super::{Call, Setup, Stage, play, play_with};
use crate::support::{api, http, wait_for};

#[test]
fn what_was_decided_is_decided_again_the_same_on_what_it_was_decided_on() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "first", &[])?.end(&mut caller, &mut target)?;
        let before = on_record(stage, 1)?.remove(0);

        // The only target closes for this caller's calls, and the server starts anew.
        let path = stage.work.path().join("config.toml");
        let config = std::fs::read_to_string(&path)?;
        let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
        ensure!(config.contains(alone), "the example has a target `alone`");
        let paused = config.replace(alone, &format!("{alone}paused = true\n"));
        std::fs::write(&path, &paused)?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?.json::<Value>()?;
        ensure!(reply == json!({ "revision": 2, "closed": [], "hold_store": null }), "{reply}");
        caller.send(with_body(&caller, &stage.invite(), "second", &[], SDP))?;
        caller.expect("480 INVITE")?;
        on_record(stage, 2)?;
        stage.restart(Program::kill)?;

        let replayed = get(stage, &format!("/v1/calls/{before}/replay"))?;
        ensure!(replayed["same"] == true && replayed["config_rev"] == 1, "{replayed}");
        // It counts on over the restart, and stays where nothing changes.
        let reply = http::post(stage.api, "/v1/config:reload", "")?.json::<Value>()?;
        ensure!(reply == json!({ "revision": 2, "closed": [], "hold_store": null }), "{reply}");
        let compared = http::post(stage.api, "/v1/config:diff", "{}")?.json::<Value>()?;
        ensure!(compared["calls"] == 2 && compared["refused_now"] == 1, "{compared}");
        let compared = http::post(stage.api, "/v1/config:diff", "{ \"revision\": 1 }")?;
        let compared = compared.json::<Value>()?;
        ensure!(compared["taken_now"] == 1 && compared["examples"][0] != before, "{compared}");
        // Of both calls on both, whichever each was decided on.
        let both = http::post(stage.api, "/v1/config:diff", r#"{ "from": 1, "revision": 2 }"#)?;
        let both = both.json::<Value>()?;
        ensure!(both["calls"] == 2 && both["refused_now"] == 2, "{both}");
        let back = http::post(stage.api, "/v1/config:diff", r#"{ "from": 2, "revision": 1 }"#)?;
        let back = back.json::<Value>()?;
        ensure!(back["taken_now"] == 2 && back["refused_now"] == 0, "{back}");

        let thought = r#"{ "dialed": "+18005550150", "revision": 1, "count": 3 }"#;
        let thought = http::post(stage.api, "/v1/simulate/call", thought)?.json::<Value>()?;
        ensure!(thought["first"] == json!({ "alone": 3 }), "{thought}");
        ensure!(on_record(stage, 2)?.len() == 2, "what is thought of leaves no record");

        let told = tollbridge(stage, &["replay"])?;
        let all =
            "2 decisions: 2 the same, 0 different, 0 on a configuration that is not on record";
        ensure!(told.contains(all), "{told}");
        let told = tollbridge(stage, &["replay", "--against"])?;
        let all = "2 decisions: 0 would go to another target first, 0 to other targets or in another \
                   order behind it, 0 on other terms, 1 would be refused";
        ensure!(told.contains(all), "{told}");
        stage.is_clean()
    });
}

#[test]
fn a_call_is_thought_of_without_a_server() {
    play(&[], |stage| {
        let told = tollbridge(stage, &["simulate", "--dialed", "+18005550198", "--count", "2"])?;
        ensure!(told.contains("2 of 2 first to single"), "{told}");
        let full = ["--used", "target/single/concurrency=1"];
        let told = tollbridge(
            stage,
            &[&["simulate", "--dialed", "+18005550198"][..], &full[..]].concat(),
        )?;
        let otherwise = "single: would have been called if: cap target/single/concurrency +1";
        ensure!(told.contains(otherwise), "{told}");

        let wrong = ["simulate", "--dialed", "+18005550198", "--used", "target/nobody/x=1"];
        let told = tollbridge(stage, &wrong).unwrap_err().to_string();
        ensure!(
            told.contains("there is no such cap; there are target/single/concurrency"),
            "{told}"
        );
        Ok(())
    });
}

#[test]
fn more_decisions_than_one_request_compares_are_refused() {
    play(&[], |stage| {
        let reply = http::post(stage.api, "/v1/config:diff", r#"{ "last": 10001 }"#)?;
        ensure!(reply.status == 422, "{}: {}", reply.status, reply.body);
        ensure!(reply.body.contains("must be at most 10000"), "{}", reply.body);
        let reply = http::post(stage.api, "/v1/config:diff", r#"{ "last": 10000 }"#)?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
        Ok(())
    });
}

#[test]
fn each_setting_is_told_with_its_value_and_its_source() {
    play(&["defaults.max_attempts=5"], |stage| {
        let told = get(stage, "/v1/targets/first/effective")?;
        let ring = &told["settings"][0];
        ensure!(ring["setting"] == "ring_timeout_s" && ring["value"] == 6, "{told:#}");
        ensure!(ring["from"] == "own", "{told:#}");
        let told = get(stage, "/v1/campaigns/alone/effective")?;
        let attempts = &told["settings"][1];
        ensure!(attempts["value"] == 5 && attempts["from"] == "defaults", "{told:#}");
        let tier = told["settings"].as_array().into_iter().flatten();
        let tier: Vec<_> = tier.filter(|it| it["setting"] == "tiers.1.distribution").collect();
        ensure!(tier.len() == 1 && tier[0]["from"] == "built_in", "{told:#}");
        let of_tests = get(stage, "/v1/campaigns/alone/effective?publisher=tests")?;
        ensure!(of_tests == told, "it is the campaign's own publisher");
        let number = get(stage, "/v1/numbers/+18005550150/effective")?;
        let publisher = &number["settings"][1];
        ensure!(publisher["value"] == "tests" && publisher["from"] == "campaign", "{number:#}");
        let publisher = get(stage, "/v1/publishers/tests/effective")?;
        ensure!(publisher["settings"][0]["setting"] == "quota", "{publisher:#}");
        let trunk = get(stage, "/v1/trunks/loopback/effective")?;
        let settings: Vec<_> = trunk["settings"].as_array().into_iter().flatten().collect();
        let networks = settings.iter().find(|it| it["setting"] == "inbound.cidrs");
        ensure!(networks.is_some_and(|it| it["from"] == "carrier"), "{trunk:#}");
        for path in [
            "/v1/trunks/nobody/effective",
            "/v1/targets/nobody/effective",
            "/v1/campaigns/first/effective",
            "/v1/campaigns/alone/effective?publisher=nobody",
            "/v1/publishers/nobody/effective",
            "/v1/pools/nobody/effective",
            "/v1/numbers/+18005550999/effective",
        ] {
            ensure!(http::get(stage.api, path)?.status == 404, "{path}");
        }
        let told = tollbridge(stage, &["check", "--effective", "alone"])?;
        ensure!(told.contains("ring_timeout_s = 30 (own)"), "{told}");
        ensure!(told.contains("max_duration_s = 14400 (built_in)"), "{told}");
        let told = tollbridge(stage, &["check", "--effective", "+18005550150"])?;
        ensure!(told.contains("publisher = \"tests\" (campaign)"), "{told}");
        Ok(())
    });
}

#[test]
fn schedules_filter_sets_and_plans_are_meant_where_they_are_named() {
    let more = r#"
        [[schedules]]
        id = "always"
        time_zone = "America/New_York"
        always_open = true
        [[schedules]]
        id = "idle"
        always_open = true
        [[filter_sets]]
        id = "warm"
        all = [{ tag = "geo.country", op = "required" }, { tag = "temper", op = "eq", value = "warm" }]
        [[plans]]
        id = "solo"
        tiers = [{ targets = [{ target = "alone" }] }]
    "#;
    let sets = [
        "targets.alone.schedule=always",
        "targets.alone.filters.all=[{ set = \"warm\" }]",
        "campaigns.alone.routing=solo",
        "campaigns.single.routing=solo",
    ];
    play_with(Setup { more, set: &sets, ..Setup::default() }, |stage| {
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite(), "cold", &[], SDP))?;
        caller.expect("480 INVITE")?;
        let call = on_record(stage, 1)?.remove(0);
        let told = get(stage, &format!("/v1/calls/{call}/explain"))?.to_string();
        ensure!(told.contains("eq warm (entry 2 of the filter set warm)"), "{told}");
        let told = get(stage, "/v1/targets/alone/effective")?;
        let zone = json!({
            "setting": "time_zone", "value": "America/New_York", "from": "schedule",
        });
        ensure!(told["settings"].as_array().is_some_and(|it| it.contains(&zone)), "{told:#}");
        let warning = "the schedule idle is named by no target, buyer or price";
        ensure!(stage.log().contains(warning), "{}", stage.log());
        ensure!(!stage.log().contains("the schedule always"), "{}", stage.log());
        let body = r#"{ "dialed": "+18005550198", "caller": "+16145550188", "tags": { "temper": "warm" } }"#;
        let reply = http::post(stage.api, "/v1/simulate/call", body)?;
        ensure!(reply.body.contains("\"alone\""), "{}", reply.body);
        Ok(())
    });
}

#[test]
fn a_campaign_that_goes_by_what_no_trunk_keeps_is_warned_about() {
    let asks = ["campaigns.alone.callers={ min_attestation = \"B\" }"];
    play(&asks, |stage| {
        ensure!(stage.log().contains("campaign alone asks for an attestation"), "{}", stage.log());
        Ok(())
    });
    let keeps = [asks[0], "trunks.loopback.inbound.params_capture=[\"Verstat\"]"];
    play(&keeps, |stage| {
        ensure!(!stage.log().contains("asks for an attestation"), "{}", stage.log());
        Ok(())
    });
}

/// Ids of the calls on record, the oldest first.
fn on_record(stage: &Stage, count: usize) -> Result<Vec<String>> {
    wait_for("the calls to be on record", Duration::from_secs(5), || {
        let mut calls = api::calls(stage.api)?;
        calls.reverse();
        let ids: Vec<_> = calls.into_iter().map(|call| call.call_id).collect();
        Ok((ids.len() == count).then_some(ids))
    })
}

fn get(stage: &Stage, path: &str) -> Result<Value> {
    http::get(stage.api, path)?.json()
}

/// What a command prints about the stage's configuration.
pub(super) fn tollbridge(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let (command, more) = arguments.split_first().context("a command")?;
    let output = Command::new(env!("CARGO_BIN_EXE_tollbridge"))
        .arg(command)
        .arg("--config")
        .arg(stage.work.path().join("config.toml"))
        .arg("--set")
        .arg(format!("store.dir={}", stage.work.path().join("data").display()))
        .args(more)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(told)
}
