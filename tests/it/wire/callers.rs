//! Callers who have called before, as calls meet their rules (spec/domain §2.8).

use std::time::Duration;

use anyhow::{Context, Result};

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
fn a_caller_who_dials_again_at_once_is_busy_and_a_moment_later_is_not() {
    play(&["campaigns.alone.callers={ repeat_after_s = 1 }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        caller.send(with_body(&caller, &stage.invite(), "again", &[], SDP))?;
        caller.expect("486 INVITE")?;
        first.end(&mut caller, &mut target)?;
        std::thread::sleep(Duration::from_millis(1_100));
        let call = Call::up(stage, &mut caller, &mut target, "later", &[])?;
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
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
