//! A target that answers and hangs up at once is followed by the next one (spec/domain §2.11).

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{Dialog, Heard, Line, SDP, response, with_body};
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

const RECOVERY: &str = "campaigns.failover.recovery={ within_s = 10 }";
const NUMBER: &str = "+18005550100";

#[test]
fn the_caller_is_connected_to_the_next_target_and_the_record_tells_both() {
    let concurrency = "targets.first.concurrency={ limit = 1 }";
    play(&[RECOVERY, concurrency], |stage| {
        let (mut caller, mut second, offered) = recovering(stage, "recovered")?;

        let answer = response(&second, &offered, "200 OK", &[], SDP);
        second.send(&answer)?;
        let connect = caller.expect("INVITE").context("the caller should be connected")?;
        caller.send(response(&caller, &connect, "200 OK", &[], SDP))?;
        caller.expect("ACK")?;
        let ack = second.expect("ACK")?;
        ensure!(ack.body().contains("m=audio"), "it hears what the caller speaks");
        let mut with_second = Dialog::of_target(&offered, &answer)?;

        // The first one is free again while the call goes on.
        let mut first = stage.target()?;
        caller.send(with_body(&caller, &stage.invite_to(NUMBER), "beside", &[], SDP))?;
        Call::answered(&mut caller, &mut first)?.end(&mut caller, &mut first)?;

        second.send(with_second.next(&second, "BYE"))?;
        second.expect("200 BYE")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        let record = record(stage, "recovered")?;
        let results: Vec<_> = record.attempts.iter().map(|it| (&*it.target, &*it.result)).collect();
        ensure!(results == [("first", "ended_early"), ("second", "answered")], "{results:?}");
        ensure!(record.outcome.as_deref() == Some("connected"), "{record:?}");
        stage.is_clean()
    });
}

#[test]
fn a_crash_while_the_next_one_rings_leaves_a_record_of_the_first() {
    play(&[RECOVERY], |stage| {
        let _ringing = recovering(stage, "cut-off")?;
        stage.restart(super::program::Program::kill)?;
        let record = record(stage, "cut-off")?;
        ensure!(record.state == "orphan_closed" && record.is_answered(), "{record:?}");
        let results: Vec<_> = record.attempts.iter().map(|it| &*it.result).collect();
        ensure!(results == ["ended_early", "abandoned"], "{results:?}");
        Ok(())
    });
}

#[test]
fn a_target_that_hung_up_at_once_is_not_called_again_by_a_caller_it_takes_once() {
    let once = "targets.first.dedupe={ after = \"connected\" }";
    play(&[RECOVERY, once], |stage| {
        let (mut caller, mut second, offered) = recovering(stage, "recovered")?;
        // Also while the next one rings.
        let beside = to_second(stage, &mut caller, &mut second, "beside")?;
        beside.end(&mut caller, &mut second)?;
        let answer = response(&second, &offered, "200 OK", &[], SDP);
        second.send(&answer)?;
        let connect = caller.expect("INVITE").context("the caller should be connected")?;
        caller.send(response(&caller, &connect, "200 OK", &[], SDP))?;
        caller.expect("ACK")?;
        second.expect("ACK")?;
        let mut with_second = Dialog::of_target(&offered, &answer)?;
        second.send(with_second.next(&second, "BYE"))?;
        second.expect("200 BYE")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        record(stage, "recovered")?;

        let after = to_second(stage, &mut caller, &mut second, "after")?;
        after.end(&mut caller, &mut second)?;
        says_both(stage, "after")?;
        stage.restart(super::program::Program::kill)?;
        let after = to_second(stage, &mut caller, &mut second, "after-a-crash")?;
        after.end(&mut caller, &mut second)?;
        says_both(stage, "after-a-crash")?;
        stage.is_clean()
    });
}

#[test]
fn of_a_call_that_nobody_else_took_the_one_who_hung_up_is_remembered() {
    let once = "targets.first.dedupe={ after = \"connected\" }";
    play(&[RECOVERY, once], |stage| {
        let (mut caller, mut second, offered) = recovering(stage, "alone")?;
        second.send(response(&second, &offered, "486 Busy Here", &[], ""))?;
        second.expect("ACK")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        let record = record(stage, "alone")?;
        ensure!(record.is_answered(), "{record:?}");

        let after = to_second(stage, &mut caller, &mut second, "after")?;
        after.end(&mut caller, &mut second)?;
        stage.restart(super::program::Program::kill)?;
        let after = to_second(stage, &mut caller, &mut second, "after-a-crash")?;
        after.end(&mut caller, &mut second)?;
        stage.is_clean()
    });
}

/// A further call of the same caller, which the first target does not take.
fn to_second(stage: &Stage, caller: &mut Line, second: &mut Line, call_id: &str) -> Result<Call> {
    caller.send(with_body(caller, &stage.invite_to(NUMBER), call_id, &[], SDP))?;
    Call::answered(caller, second).with_context(|| format!("the call {call_id}"))
}

/// What is told of the calls before this one: both targets have had the caller.
fn says_both(stage: &Stage, call_id: &str) -> Result<()> {
    let record = record(stage, call_id)?;
    let told = http::get(stage.api, &format!("/v1/calls/{}/explain", record.call_id))?;
    let told: Value = told.json()?;
    let targets = told["prior_calls"]["targets"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = targets.iter().filter_map(|it| it["target"].as_str()).collect();
    ensure!(names == ["first", "second"], "{:#}", told["prior_calls"]);
    ensure!(targets[0]["calls"] == 1, "{targets:?}");
    Ok(())
}

/// A call whose first target has hung up, with the second that rings.
fn recovering(stage: &Stage, call_id: &str) -> Result<(Line, Line, Heard)> {
    let (mut caller, mut first) = (stage.udp()?, stage.target()?);
    let second = UdpSocket::bind(("127.0.0.1", stage.spare_port))?;
    let mut second = Line::udp(second, stage.sip)?;
    caller.send(with_body(&caller, &stage.invite_to(NUMBER), call_id, &[], SDP))?;
    let mut call = Call::answered(&mut caller, &mut first)?;
    first.send(call.target.next(&first, "BYE"))?;
    first.expect("200 BYE")?;
    let offered = second.expect("INVITE").context("the next target should be called")?;
    second.send(response(&second, &offered, "180 Ringing", &[], ""))?;
    caller.expect_silence(Duration::from_millis(50)).context("who was answered hears no 180")?;
    Ok((caller, second, offered))
}

fn record(stage: &Stage, call_id: &str) -> Result<api::Call> {
    wait_for("the record", Duration::from_secs(5), || {
        let mut calls = api::calls(stage.api)?.into_iter();
        Ok(calls.find(|it| it.sip_call_id.starts_with(call_id) && it.is_over()))
    })
}
