//! Caps on money, as calls meet them (spec/sip S10).

use std::time::Duration;

use anyhow::Result;

use super::peer::{Line, SDP, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::{api, wait_for};

/// Money for one call of two.
const CAP: &str =
    r#"targets.alone.caps=[{ metric = "revenue", window = "total", limit = "20.00" }]"#;

#[test]
fn money_for_one_call_is_held_while_it_is_up_and_used_by_one_that_converts() {
    let price = r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#;
    play(&[CAP, price], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        is_full(stage, &mut other, "beside")?;
        // Over before it converts: nothing is owed.
        first.end(&mut caller, &mut target)?;
        let second = Call::up(stage, &mut caller, &mut target, "second", &[])?;
        std::thread::sleep(Duration::from_millis(1_100));
        second.end(&mut caller, &mut target)?;
        is_full(stage, &mut other, "after")?;
        wait_for("the money to be on record", Duration::from_secs(5), || {
            let calls = api::calls(stage.api)?;
            let converted = Some("converted");
            Ok(calls.iter().any(|call| call.outcome.as_deref() == converted).then_some(()))
        })?;

        stage.restart(Program::kill)?;
        is_full(stage, &mut other, "after-a-crash")?;
        stage.is_clean()
    });
}

#[test]
fn money_for_a_call_that_a_crash_left_up_is_held_until_its_true_end_is_known() {
    let price = r#"targets.alone.conversion={ seconds = 60, revenue = "12.50" }"#;
    play(&[CAP, price], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let mut call = Call::up(stage, &mut caller, &mut target, "left-up", &[])?;
        std::thread::sleep(Duration::from_millis(300));

        stage.restart(Program::kill)?;
        is_full(stage, &mut other, "left-up-beside")?;
        caller.send(call.caller.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;

        wait_for("the true end to be on record", Duration::from_secs(5), || {
            let calls = api::calls(stage.api)?;
            Ok(calls.iter().any(|call| call.state == "closed").then_some(()))
        })?;
        // Routing hears of it a moment after the book.
        std::thread::sleep(Duration::from_millis(200));

        let call = Call::up(stage, &mut other, &mut target, "again", &[])?;
        call.end(&mut other, &mut target)?;
        stage.is_clean()
    });
}

/// A further call is refused for want of money.
fn is_full(stage: &Stage, line: &mut Line, call_id: &str) -> Result<()> {
    line.send(with_body(line, &stage.invite(), call_id, &[], SDP))?;
    line.expect("486 INVITE").map(drop)
}
