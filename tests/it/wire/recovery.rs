//! A target that answers and hangs up at once is followed by the next one (spec/domain §2.11).

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Dialog, Heard, Line, SDP, response, with_body};
use super::{Call, Stage, play};
use crate::support::{api, wait_for};

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
