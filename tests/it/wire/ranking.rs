//! In which order targets are tried, as calls meet it (spec/domain §2.5).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::peer::{SDP, response, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

/// Nothing is thought of it beforehand, so what is expected is what happened.
const BY_PERFORMANCE: &str = r#"campaigns.alone.routing={
    distribution = { by = "performance", min_calls = 1, exploration_pct = 0, default_calls = 0 },
    tiers = [{ targets = [{ target = "alone" }] }] }"#;

#[test]
fn how_calls_went_is_counted_and_known_after_a_crash() {
    play(&[BY_PERFORMANCE], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        ensure!(expected(stage)?.ends_with("by default, for want of calls"));
        caller.send(with_body(&caller, &stage.invite(), "busy", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("486 INVITE")?;
        Call::up(stage, &mut caller, &mut target, "good", &[])?.end(&mut caller, &mut target)?;

        let two = "connects 50.0 % ± 28.9, converts 0.0 % ± 0.0, by 2 calls of target, publisher \
                   and campaign";
        let told = expected(stage)?;
        ensure!(told.contains(two), "{told}");

        // One was on record, one was not.
        Call::up(stage, &mut caller, &mut target, "cut-off", &[])?;
        stage.restart(Program::kill)?;
        let told = expected(stage)?;
        ensure!(told.contains("connects 66.7 %") && told.contains("by 3 calls"), "{told}");
        stage.is_clean()
    });
}

#[test]
fn a_tier_that_goes_by_performance_from_a_reload_on_knows_the_calls_of_before() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "before", &[])?.end(&mut caller, &mut target)?;
        wait_for("the call to be on record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.iter().any(api::Call::is_over).then_some(()))
        })?;

        let path = stage.work.path().join("config.toml");
        let config = std::fs::read_to_string(&path)?;
        let plain = "routing = { tiers = [{ tier = 1, targets = [{ target = \"alone\" }] }] }";
        ensure!(config.contains(plain), "the example has a campaign `alone`");
        let ranked = BY_PERFORMANCE.replace("campaigns.alone.routing=", "routing = ");
        std::fs::write(&path, config.replace(plain, &ranked))?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);

        let told = expected(stage)?;
        ensure!(told.contains("connects 100.0 %") && told.contains("by 1 call of"), "{told}");
        stage.is_clean()
    });
}

/// What is said for the target of a call that is only thought of.
fn expected(stage: &Stage) -> Result<String> {
    let reply = http::post(stage.api, "/v1/simulate/call", r#"{ "dialed": "+18005550150" }"#)?;
    let thought: Value = serde_json::from_str(&reply.body)?;
    let lines = thought["decision"]["text"].as_array().into_iter().flatten();
    let of_target = |line: &&str| line.starts_with("alone: number 1");
    Ok(lines.filter_map(Value::as_str).find(of_target).unwrap_or(&reply.body).to_owned())
}
