//! A server whose configuration changes, and one under a scan (spec/sip O7, S2, S3).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{SDP, request, with_body};
use super::{Call, Setup, Stage, play, play_with};
use crate::support::{api, http, wait_for};

#[test]
fn a_hundred_reloads_fail_no_call() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let before = Call::up(stage, &mut caller, &mut target, "before", &[])?;
        let text = config(stage)?;
        for n in 0..100 {
            // Another order of trunks, another name, a target and a campaign that come and go.
            let more = if n % 2 == 0 { MORE } else { "" };
            let name = format!("name = \"{n}\"");
            let text = text.replace("name = \"5070 alone\"", &name);
            write(stage, &format!("{text}{more}"))?;
            let reply = http::post(stage.api, "/v1/config:reload", "")?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            let revision = serde_json::from_str::<Value>(&reply.body)?["revision"].as_u64();
            ensure!(revision == Some(n + 2), "{}", reply.body);
            if n % 10 == 0 {
                let id = format!("during{n}");
                let call = Call::up(stage, &mut caller, &mut target, &id, &[])?;
                call.end(&mut caller, &mut target)?;
            }
        }
        before.end(&mut caller, &mut target)?;
        let calls = wait_for("all records", Duration::from_secs(3), || {
            let calls = api::calls(stage.api)?;
            Ok((calls.len() == 11).then_some(calls))
        })?;
        ensure!(calls.iter().all(|call| call.is_answered()), "{calls:#?}");
        stage.is_clean()
    });
}

#[test]
fn what_comes_with_a_signal_is_in_force_and_what_went_keeps_its_calls() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let before = Call::up(stage, &mut caller, &mut target, "before", &[])?;
        let text = config(stage)?;
        let elsewhere =
            text.replace("carrier = \"loopback\"", "inbound = { cidrs = [\"192.0.2.0/24\"] }");
        write(stage, &elsewhere.replace("id = \"loopback\"", "id = \"other\""))?;
        stage.server()?.signal("-HUP")?;
        wait_for("the new configuration", Duration::from_secs(5), || {
            let reloads = api::series(stage.api)?;
            Ok((reloads.get(DONE) == Some(&1.0)).then_some(()))
        })?;

        let mut stranger = stage.udp()?;
        let invite = with_body(&stranger, &stage.invite(), "stranger", &[], SDP);
        stranger.send(invite)?;
        stranger.expect("403 INVITE").context("a network that was a trunk's")?;
        before.end(&mut caller, &mut target)?;

        write(stage, &text)?;
        stage.server()?.signal("-HUP")?;
        wait_for("the old configuration", Duration::from_secs(5), || {
            let reloads = api::series(stage.api)?;
            Ok((reloads.get(DONE) == Some(&2.0)).then_some(()))
        })?;
        stage.is_well("after")
    });
}

#[test]
fn a_configuration_that_cannot_be_taken_changes_nothing_and_is_told_why() {
    play(&[], |stage| {
        let text = config(stage)?;
        let cases = [
            ("t1_ms = 500", "t1_ms = 400", "sip.t1_ms"),
            ("currency = \"USD\"", "currency = \"EUR\"", "account.currency"),
            ("buyer = \"tests\"", "buyer = \"nobody\"", "buyer"),
            ("carrier = \"loopback\"", "carrier = \"nobody\"", "trunks[0].carrier"),
            ("[[trunks]]", "[[trunks]", "config.toml"),
        ];
        for (right, wrong, told) in cases {
            write(stage, &text.replacen(right, wrong, 1))?;
            let reply = http::post(stage.api, "/v1/config:reload", "")?;
            ensure!(reply.status == 422, "{wrong}: {} {}", reply.status, reply.body);
            ensure!(reply.body.contains("config.refused"), "{}", reply.body);
            ensure!(reply.body.contains(told), "{wrong}: {}", reply.body);
            stage.is_well(&format!("still{}", told.len()))?;
        }
        write(stage, &text)?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        let revision = serde_json::from_str::<Value>(&reply.body)?["revision"].as_u64();
        // Calls are decided on what they were decided on before.
        ensure!((reply.status, revision) == (200, Some(1)), "{}", reply.body);
        stage.is_clean()
    });
}

/// spec/sip S2, S3.
#[test]
fn a_scanner_at_a_trunks_address_hears_little_and_does_not_cut_the_trunk() {
    let more = ["trunks.loopback.limits={max_requests_per_s=20,max_requests_burst=40}"];
    play_with(Setup { set: &more, arguments: &[], ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let call = Call::up(stage, &mut caller, &mut target, "under-way", &[])?;
        let (mut scanner, mut sent, mut heard) = (stage.udp()?, 0, 0);
        let mut statuses = Vec::new();
        for n in 0..400 {
            let start = format!("OPTIONS {} SIP/2.0", stage.uri("100"));
            let fields = ["User-Agent: friendly-scanner"];
            let probe = request(&scanner, &start, &format!("scan{n}"), &fields);
            sent += probe.len();
            scanner.send(probe)?;
        }
        while let Some(answer) = scanner.hear(Duration::from_millis(300))? {
            heard += answer.text.len();
            statuses.push(answer.status());
        }
        ensure!(heard < sent / 2, "{heard} bytes for {sent}");
        ensure!(statuses.contains(&Some(503)) && statuses.len() < 200, "{statuses:?}");

        call.end(&mut caller, &mut target).context("what is up is not touched")?;
        std::thread::sleep(Duration::from_millis(500));
        stage.is_well("next")
    });
}

const DONE: &str = r#"tollbridge_config_reloads_total{result="done"}"#;

/// A publisher's campaign that nobody calls.
const MORE: &str = r#"
[[targets]]
id = "guest"
buyer = "tests"
dial = { kind = "sip", uri = "sip:127.0.0.1:5999" }

[[campaigns]]
id = "guest"
publisher = "tests"
numbers = ["+18005550777"]
routing = { tiers = [{ tier = 1, targets = [{ target = "guest" }] }] }

[[trunks]]
id = "guest"
inbound = { cidrs = ["198.51.100.0/24"] }
"#;

pub(super) fn config(stage: &Stage) -> Result<String> {
    Ok(fs::read_to_string(stage.work.path().join("config.toml"))?)
}

pub(super) fn write(stage: &Stage, text: &str) -> Result<()> {
    Ok(fs::write(stage.work.path().join("config.toml"), text)?)
}
