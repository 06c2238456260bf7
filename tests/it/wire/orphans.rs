//! What the parties of a call hear of the process that follows the one that died (spec/sip O8).

use std::time::Duration;

use anyhow::ensure;

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
