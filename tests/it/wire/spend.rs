//! Caps on money, as calls meet them (spec/sip S10).

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Dialog, Line, SDP, response, with_body};
use super::program::Program;
use super::{Call, Stage, play};
use crate::support::{api, wait_for};

/// Money for one call of two.
const CAP: &str =
    r#"targets.alone.caps=[{ metric = "revenue", window = "total", limit = "20.00" }]"#;

/// The carrier takes REFER.
const REFERS: &str = "trunks.loopback.dialog={ refer = { send = true } }";

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

/// Its cap counts it from its conversion on, though it talks on: the next call meets that. So it does
/// after a crash, and its end counts it no second time.
#[test]
fn a_call_that_converts_is_used_while_it_is_up_and_once_over_a_crash() {
    let caps = r#"targets.alone.caps=[
        { metric = "converted", window = "total", limit = 1, mode = "soft" },
        { metric = "revenue", window = "total", limit = "100.00" },
    ]"#;
    let price = r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#;
    play(&[caps, price], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let is = |stage: &Stage, used: [u64; 2], held: u64| {
            wait_for(&format!("{used:?} used"), Duration::from_secs(5), || {
                let caps = api::caps(stage.api)?;
                let [calls, money] = ["converted", "revenue"]
                    .map(|metric| caps[&format!("target/alone/{metric}/total")]);
                let is = [calls.used, money.used] == used && money.held == held;
                Ok(is.then_some(()))
            })
        };
        let mut call = Call::up(stage, &mut caller, &mut target, "converts", &[])?;
        is(stage, [0, 0], 12_500_000)?;
        is(stage, [1, 12_500_000], 0)?;
        is_full(stage, &mut other, "while-it-talks")?;
        std::thread::sleep(Duration::from_millis(300));

        stage.restart(Program::kill)?;
        is_full(stage, &mut other, "after-a-crash")?;
        caller.send(call.caller.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;
        wait_for("the true end to be on record", Duration::from_secs(5), || {
            let calls = api::calls(stage.api)?;
            Ok(calls.iter().any(|call| call.state == "closed" && call.is_answered()).then_some(()))
        })?;
        // Routing hears of it a moment after the book.
        std::thread::sleep(Duration::from_millis(200));
        ensure!(api::caps(stage.api)?["target/alone/converted/total"].used == 1, "counted twice");
        stage.restart(Program::kill)?;
        is_full(stage, &mut other, "by-the-book")?;
        stage.is_clean()
    });
}

/// What a carrier makes of a call that it was given nobody tells, so it could pass the cap.
#[test]
fn a_call_that_counts_in_a_cap_on_money_is_bridged_whatever_its_delivery() {
    let price = r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#;
    let redirect =
        ["trunks.loopback.delivery=redirect", "trunks.loopback.dialog={ redirect_ok = true }"];
    let refer = ["trunks.loopback.delivery=refer", REFERS];
    for delivery in [redirect, refer] {
        play(&[&[CAP, price], &delivery[..]].concat(), |stage| {
            let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
            for n in 0..2 {
                let id = format!("bridged{n}");
                let call = Call::up(stage, &mut caller, &mut target, &id, &[])?;
                is_full(stage, &mut other, &format!("beside{n}"))?;
                call.end(&mut caller, &mut target)?;
            }
            let why = "calls to a target are bridged";
            let told = stage.log().lines().filter(|line| line.contains(why)).count();
            ensure!(told == 1, "the operator was told {told} times");
            stage.is_clean()
        });
    }
}

/// One that was answered before its target takes the target's answer by its response to our
/// re-INVITE. All that happened before the target was called bears on that.
#[test]
fn a_caller_that_never_took_the_target_s_answer_uses_up_no_cap_on_conversions() {
    let cap = r#"targets.second.caps=[{ metric = "converted", window = "total", limit = 1 }]"#;
    let price = r#"targets.second.conversion={ seconds = 1, revenue = "12.50" }"#;
    let set = [cap, price, "trunks.loopback.delivery=refer", REFERS];
    play(&set, |stage| {
        let second = UdpSocket::bind((Ipv4Addr::LOCALHOST, stage.spare_port))?;
        let mut second = Line::udp(second, stage.sip)?;
        for n in 0..2 {
            let mut caller = stage.udp()?;
            let mut dialog = referred_in_vain(stage, &mut caller, &format!("never-took{n}"))?;
            let invite = second.expect("INVITE").context("at the next target")?;
            second.send(response(&second, &invite, "200 OK", &[], SDP))?;
            caller.expect("INVITE").context("that connects the caller to it")?;
            std::thread::sleep(Duration::from_millis(1_100));
            caller.send(dialog.next(&caller, "BYE"))?;
            second.expect("ACK")?;
            let bye = second.expect("BYE")?;
            second.send(response(&second, &bye, "200 OK", &[], ""))?;
        }
        Ok(())
    });
}

/// The answer waits for the PRACK of a description, which never comes.
#[test]
fn a_caller_that_leaves_before_it_could_hear_the_answer_is_connected_and_converted_to_nobody() {
    let price = r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#;
    play(&[CAP, price], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let reliable = ["Require: 100rel"];
        caller.send(with_body(&caller, &stage.invite(), "unheard", &reliable, SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(response(&target, &invite, "183 Session Progress", &[], SDP))?;
        let mut dialog = Dialog::of_caller(&caller.expect("183 INVITE")?)?;
        target.send(response(&target, &invite, "200 OK", &[], SDP))?;
        target.expect("ACK")?;
        std::thread::sleep(Duration::from_millis(1_100));
        caller.send(dialog.next(&caller, "BYE"))?;
        let bye = target.expect("BYE")?;
        target.send(response(&target, &bye, "200 OK", &[], ""))?;

        let call = wait_for("the record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.into_iter().find(api::Call::is_over))
        })?;
        call.audit()?;
        ensure!(!call.is_answered(), "{call:?}");
        ensure!(call.outcome.as_deref() == Some("no_answer"), "{call:?}");
        ensure!(call.attempts[0].result == "abandoned", "{call:?}");
        let converted = api::metrics(stage.api)?.get("tollbridge_conversions_total").copied();
        ensure!(converted.unwrap_or(0.0) == 0.0, "{converted:?} conversions");
        // All of its money is there for the next one.
        let mut other = stage.udp()?;
        let next = Call::up(stage, &mut other, &mut target, "next", &[])?;
        next.end(&mut other, &mut target)
    });
}

/// A call that is answered, and sent to its first target by a REFER that comes to nothing.
fn referred_in_vain(stage: &Stage, caller: &mut Line, call_id: &str) -> Result<Dialog> {
    let invite = stage.invite_to("+18005550100");
    caller.send(with_body(caller, &invite, call_id, &[], SDP))?;
    let mut dialog = Dialog::of_caller(&caller.expect("200 INVITE")?)?;
    caller.send(dialog.ack(caller))?;
    let refer = caller.expect("REFER")?;
    caller.send(response(caller, &refer, "202 Accepted", &[], ""))?;
    let fields = [
        &*format!("Contact: {}", caller.contact()),
        "Event: refer",
        "Subscription-State: terminated;reason=noresource",
        "Content-Type: message/sipfrag;version=2.0",
    ];
    let told = "SIP/2.0 503 Service Unavailable\r\n";
    caller.send(dialog.next_with(caller, "NOTIFY", &fields, told))?;
    caller.expect("200 NOTIFY")?;
    Ok(dialog)
}

/// A further call is refused for want of money.
fn is_full(stage: &Stage, line: &mut Line, call_id: &str) -> Result<()> {
    line.send(with_body(line, &stage.invite(), call_id, &[], SDP))?;
    line.expect("486 INVITE").map(drop)
}
