//! What the parties of a call hear of the process that follows the one that died (spec/sip O8).

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::ensure;

use super::peer::{Line, response};
use super::program::Program;
use super::{Call, play};
use crate::support::{api, wait_for};

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

#[test]
fn after_a_crash_both_ends_are_told_if_that_is_configured() {
    play(&["cdr.orphan_bye=true", "cdr.orphan_bill=zero"], |stage| {
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let contact = format!("Contact: <sip:127.0.0.1:{port};transport=tcp>");
        let call = Call::up(stage, &mut caller, &mut target, "left-up", &[&contact])?;
        let mut over = stage.udp()?;
        let ended = Call::up(stage, &mut over, &mut target, "over", &[])?;
        ended.end(&mut over, &mut target)?;
        std::thread::sleep(Duration::from_millis(300));

        stage.restart(Program::kill)?;
        let bye = target.expect("BYE")?;
        ensure!(bye.header("Call-ID") == call.offered.header("Call-ID"), "{}", bye.text);
        ensure!(bye.text.contains("Reason: Q.850;cause=41"), "{}", bye.text);
        target.send(response(&target, &bye, "200 OK", &[], ""))?;
        // The connection has died with the process: a new one leads to the Contact.
        let mut caller = Line::accepted(&listener, stage.sip)?;
        let bye = caller.expect("BYE")?;
        ensure!(bye.header("Call-ID") == Some("left-up"), "{}", bye.text);
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        // Once is enough, if that it was done is on disk.
        wait_for("the record of the orphan", Duration::from_secs(3), || {
            let calls = api::calls(stage.api)?;
            Ok(calls.iter().any(|call| call.state == "orphan_closed").then_some(()))
        })?;
        stage.restart(Program::kill)?;
        target.expect_silence(Duration::from_millis(500))?;
        stage.is_clean()
    });
}
