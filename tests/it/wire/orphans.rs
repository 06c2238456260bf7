//! What the parties of a call hear of the process that follows the one that died (spec/sip O8).

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Line, SDP, response, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::api::Cap;
use crate::support::{api, http, wait_for};

#[test]
fn after_a_crash_whoever_hangs_up_is_answered_and_the_record_has_the_true_end() {
    play(&["cdr.orphan_bill=zero"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut first = Call::up(stage, &mut caller, &mut target, "crash-caller", &[])?;
        let mut second = Call::up(stage, &mut caller, &mut target, "crash-target", &[])?;
        let third = Call::up(stage, &mut caller, &mut target, "crash-nobody", &[])?;
        std::thread::sleep(Duration::from_millis(300));

        // Twice: what is awaited is not forgotten by the next crash.
        stage.restart(Program::kill)?;
        stage.restart(Program::kill)?;
        caller.send(first.caller.next(&caller, "OPTIONS"))?;
        caller.expect("481 OPTIONS")?;
        caller.send(first.caller.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;
        target.send(first.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        target.send(second.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let mut forged = third.caller.clone();
        forged.from = forged.from.replace(";tag=c", ";tag=d");
        caller.send(forged.next(&caller, "BYE"))?;
        caller.expect("481 BYE")?;

        let calls = wait_for("the true ends to be on record", Duration::from_secs(5), || {
            let calls = api::calls(stage.api)?;
            let closed = calls.iter().filter(|call| call.state == "closed").count();
            Ok((closed == 2).then_some(calls))
        })?;
        for call in &calls {
            call.audit()?;
            let talked = call.talk_ms.unwrap_or(0);
            if call.sip_call_id == "crash-nobody" {
                ensure!((call.state.as_str(), talked) == ("orphan_closed", 0), "{call:?}");
            } else {
                ensure!(talked >= 300, "talked longer: {call:?}");
            }
        }
        ensure!(calls.len() == 3, "{calls:?}");
        let ended = api::metrics(stage.api)?.get("tollbridge_orphans_ended_total").copied();
        ensure!(ended == Some(2.0), "{ended:?}");
        stage.is_clean()
    });
}

/// I6: media goes on between carrier and target.
#[test]
fn a_place_stays_taken_over_crashes_until_one_of_the_parties_hangs_up() {
    play(&["targets.alone.concurrency={ limit = 2 }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut first = Call::up(stage, &mut caller, &mut target, "place-caller", &[])?;
        let mut second = Call::up(stage, &mut caller, &mut target, "place-target", &[])?;
        is_full(stage, &mut caller, "before")?;

        // Twice: what is held is not forgotten by the next crash.
        stage.restart(Program::kill)?;
        stage.restart(Program::kill)?;
        is_full(stage, &mut caller, "after")?;
        let line = line_of(stage)?;
        ensure!((line.held, line.awaited) == (2, 2), "{line:?}");
        let refused = wait_for("it to be on record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.into_iter().find(|call| call.sip_call_id == "after"))
        })?;
        let explained = http::get(stage.api, &format!("/v1/calls/{}/explain", refused.call_id))?;
        let told = "2 live, of which 2 from before a crash";
        ensure!(explained.body.contains(told), "{}", explained.body);

        for (hangs_up, dialog, id) in
            [(&mut caller, &mut first.caller, "one"), (&mut target, &mut second.target, "two")]
        {
            hangs_up.send(dialog.next(hangs_up, "BYE"))?;
            hangs_up.expect("200 BYE").with_context(|| format!("number {id}"))?;
        }
        wait_for("the places to be free", Duration::from_secs(5), || {
            Ok((line_of(stage)?.held == 0).then_some(()))
        })?;
        let call = Call::up(stage, &mut caller, &mut target, "afterwards", &[])?;
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

/// A target that nobody calls any more does not know that.
#[test]
fn the_place_of_a_call_that_rang_at_a_crash_is_kept_as_long_as_it_may_ring_on() {
    play(&["targets.alone.concurrency={ limit = 1 }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "rings", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(response(&target, &invite, "180 Ringing", &[], ""))?;
        caller.expect("180 INVITE")?;
        // What is read from the journal is on disk.
        wait_for("it to be on disk", Duration::from_secs(5), || {
            let live = http::get(stage.api, "/v1/calls/live")?;
            Ok(live.body.contains("\"target\":\"alone\"").then_some(()))
        })?;

        stage.restart(Program::kill)?;
        let mut other = stage.udp()?;
        is_full(stage, &mut other, "beside")?;

        ensure!(line_of(stage)?.awaited == 1, "{:?}", line_of(stage)?);
        Ok(())
    });
}

#[test]
fn after_a_crash_both_ends_are_told_if_that_is_configured() {
    let line = "targets.alone.concurrency={ limit = 1 }";
    play(&["cdr.orphan_bye=true", "cdr.orphan_bill=zero", line], |stage| {
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let contact = format!("Contact: <sip:127.0.0.1:{port};transport=tcp>");
        let mut other = stage.udp()?;
        Call::up(stage, &mut other, &mut target, "over", &[])?.end(&mut other, &mut target)?;
        let mut call = Call::up(stage, &mut caller, &mut target, "left-up", &[&contact])?;
        std::thread::sleep(Duration::from_millis(300));

        stage.restart(Program::kill)?;
        let bye = target.expect("BYE")?;
        ensure!(bye.header("Call-ID") == call.offered.header("Call-ID"), "{}", bye.text);
        ensure!(bye.text.contains("Reason: Q.850;cause=41"), "{}", bye.text);
        is_full(stage, &mut other, "not-told-yet")?;
        target.send(response(&target, &bye, "200 OK", &[], ""))?;
        // The connection has died with the process: a new one leads to the Contact.
        let mut caller = Line::accepted(&listener, stage.sip)?;
        let bye = caller.expect("BYE")?;
        ensure!(bye.header("Call-ID") == Some("left-up"), "{}", bye.text);
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        // It had hung up before it heard that, while no process was there: its BYE comes again.
        is_full(stage, &mut other, "not-told-by-them")?;
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;

        // Once is enough, if that it was done is on disk.
        let call = wait_for("the record of the orphan", Duration::from_secs(3), || {
            let mut calls = api::calls(stage.api)?.into_iter();
            Ok(calls.find(|call| call.sip_call_id == "left-up" && call.state == "closed"))
        })?;
        ensure!(call.end_reason.as_deref() == Some("end.target_hung_up"), "{call:?}");
        ensure!(call.talk_ms >= Some(300), "the true end counts: {call:?}");
        wait_for("its place to be free", Duration::from_secs(3), || {
            Ok((line_of(stage)?.held == 0).then_some(()))
        })?;
        stage.restart(Program::kill)?;
        target.expect_silence(Duration::from_millis(500))?;
        ensure!(line_of(stage)?.held == 0, "{:?}", line_of(stage)?);
        stage.is_clean()
    });
}

fn is_full(stage: &Stage, caller: &mut Line, call_id: &str) -> Result<()> {
    caller.send(with_body(caller, &stage.invite(), call_id, &[], SDP))?;
    caller.expect("486 INVITE").map(drop)
}

fn line_of(stage: &Stage) -> Result<Cap> {
    let line = api::caps(stage.api)?.get("target/alone/concurrency").copied();
    line.context("the target has a limit")
}
