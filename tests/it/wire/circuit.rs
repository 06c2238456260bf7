//! A target whose calls go badly rests, and comes back (spec/domain §2.11).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::peer::{Line, SDP, response, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::{http, wait_for};

const RULES: &str =
    "targets.alone.circuit={ min_attempts = 5, cool_down_s = 1, trial_attempts = 2 }";

#[test]
fn a_target_that_fails_rests_is_still_tried_alone_and_comes_back() {
    play(&[RULES], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for number in 0..5 {
            ensure!(condition(stage)? == ("well".into(), Value::Null));
            fail(stage, &mut caller, &mut target, &format!("bad-{number}"))?;
        }
        let (state, why) = condition(stage)?;
        ensure!(why == "circuit open: 5 of 5 attempts failed" && state == "circuit_open", "{why}");

        wait_for("the rest to be over", Duration::from_secs(5), || {
            Ok((condition(stage)?.0 == "on_trial").then_some(()))
        })?;
        // There is no other target, so all its calls are trials.
        for name in ["good", "better"] {
            Call::up(stage, &mut caller, &mut target, name, &[])?.end(&mut caller, &mut target)?;
        }
        ensure!(condition(stage)? == ("well".into(), Value::Null));
        stage.is_clean()
    });
}

#[test]
fn how_a_target_answered_before_a_crash_is_what_a_drop_is_told_by() {
    play(&[RULES], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for number in 0..22 {
            let name = format!("good-{number}");
            Call::up(stage, &mut caller, &mut target, &name, &[])?.end(&mut caller, &mut target)?;
        }
        stage.restart(Program::kill)?;

        for number in 0..5 {
            ensure!(condition(stage)? == ("well".into(), Value::Null));
            let name = format!("busy-{number}");
            refuse(stage, &mut caller, &mut target, &name, "486 Busy Here")?;
        }
        let (state, why) = condition(stage)?;
        let told = "circuit open: 5 of 5 attempts were not answered";
        ensure!(why == told && state == "circuit_open", "{state}: {why}");
        stage.is_clean()
    });
}

fn fail(stage: &Stage, caller: &mut Line, target: &mut Line, name: &str) -> Result<()> {
    refuse(stage, caller, target, name, "500 Server Internal Error")
}

pub(super) fn refuse(
    stage: &Stage,
    caller: &mut Line,
    target: &mut Line,
    name: &str,
    with: &str,
) -> Result<()> {
    caller.send(with_body(caller, &stage.invite(), name, &[], SDP))?;
    let invite = target.expect("INVITE")?;
    target.send(response(target, &invite, with, &[], ""))?;
    target.expect("ACK")?;
    let status = with.split(' ').next().unwrap_or_default();
    caller.expect(&format!("{status} INVITE"))?;
    Ok(())
}

/// What is thought of the target, and why.
fn condition(stage: &Stage) -> Result<(String, Value)> {
    let reply = http::get(stage.api, "/v1/targets")?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
    let listed: Value = serde_json::from_str(&reply.body)?;
    let items = listed["items"].as_array().into_iter().flatten();
    let alone = items.into_iter().find(|item| item["id"] == "alone").cloned().unwrap_or_default();
    Ok((alone["condition"].as_str().unwrap_or_default().to_owned(), alone["why"].clone()))
}
