//! A cap that is paced by what its calls of late came to, as calls meet it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::circuit::refuse;
use super::program::Program;
use super::ranking::replayed;
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

/// Most of what it has for ten years may be used by now.
const BY_LIVE_RATE: &str = r#"targets.alone.caps=[{
    metric = "connected", window = "period:2020-01-01/2029-12-31", limit = 1000, mode = "paced",
    assumed_rate = "live" }]"#;

#[test]
fn a_cap_goes_by_how_many_of_its_calls_are_answered_also_over_a_crash() {
    play(&[BY_LIVE_RATE], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        comes_to(stage, &json!("100%"), &json!(0))?;
        Call::up(stage, &mut caller, &mut target, "good", &[])?.end(&mut caller, &mut target)?;
        for number in 2..=32 {
            let name = format!("busy-{number}");
            refuse(stage, &mut caller, &mut target, &name, "486 Busy Here")?;
            if number == 29 {
                comes_to(stage, &json!("100%"), &json!(29))?;
            }
        }

        // One of 32, with one that might have been: 6.1 %, and three times 4.1.
        comes_to(stage, &json!("20%"), &json!(32))?;
        wait_for("all calls to be on record", Duration::from_secs(10), || {
            let over = api::calls(stage.api)?.iter().filter(|call| call.is_over()).count();
            Ok((over == 32).then_some(()))
        })?;
        let replayed = replayed(stage)?;
        ensure!(replayed["same"] == true, "{replayed}");
        stage.restart(Program::kill)?;
        comes_to(stage, &json!("20%"), &json!(32))?;
        stage.is_clean()
    });
}

/// Once no call holds any room, so much of what calls hold is taken to count, from so many calls.
fn comes_to(stage: &Stage, rate: &Value, calls: &Value) -> Result<()> {
    wait_for("the cap to have heard of all", Duration::from_secs(5), || {
        let caps = http::get(stage.api, "/v1/caps")?.json::<Value>()?;
        let cap = caps["items"].as_array().into_iter().flatten();
        let mut cap = cap.filter(|cap| cap["mode"] == "paced");
        let cap = cap.next().context("no cap is paced")?;
        let is_it = cap["held"] == "0" && cap["rate"] == *rate && cap["rate_calls"] == *calls;
        Ok(is_it.then_some(()))
    })
}
