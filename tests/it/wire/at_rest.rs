//! After whatever calls came to, the server holds nothing of them (spec/sip O12).

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Dialog, Line, SDP, request, response, with_body};
use super::{Call, Stage, play};
use crate::support::{api, http, wait_for};

/// A target that takes one call at a time.
const SINGLE: &str = "+18005550198";
/// One that is silent here has another behind it, where nobody is.
const FAILOVER: &str = "+18005550100";

/// Times short enough to wait for: transactions last 6.4 s.
const SHORT: [&str; 8] = [
    "sip.t1_ms=100",
    "sip.t2_ms=400",
    "sip.t4_ms=400",
    "sip.max_call_s=5",
    "decision.deadline_ms=1000",
    "targets.alone.ring_timeout_s=3",
    "targets.single.ring_timeout_s=3",
    "targets.single.first_response_ms=1000",
];

/// What counts things that are held.
const GAUGES: [&str; 4] = [
    "tollbridge_calls_active",
    "tollbridge_sip_transactions_active",
    "tollbridge_holds_active",
    "tollbridge_cdr_open",
];

fn nothing_is_held(stage: &Stage) -> Result<()> {
    let mut held = vec![];
    let outcome = wait_for("nothing to be held", Duration::from_secs(40), || {
        let metrics = api::metrics(stage.api)?;
        held.clear();
        for name in GAUGES {
            let count = metrics.get(name).with_context(|| format!("no {name}"))?;
            if *count != 0.0 {
                held.push(format!("{name} {count}"));
            }
        }
        let text = http::get(stage.api, "/metrics")?.body;
        let objects = text.lines().filter(|line| line.starts_with("tollbridge_objects_active{"));
        // The deadline of a call that is over, such as that of its session, is let go when it
        // comes; nothing is searched for before.
        let objects = objects.filter(|line| !line.contains("\"deadline\"")).collect::<Vec<_>>();
        ensure!(objects.len() == 4, "{objects:?}");
        held.extend(objects.iter().filter(|line| !line.ends_with(" 0")).map(|it| (*it).to_owned()));
        Ok(held.is_empty().then_some(()))
    });
    outcome.with_context(|| held.join(", "))?;
    // What was said to the silent meanwhile.
    let mut target = stage.target()?;
    while target.hear(Duration::from_millis(50))?.is_some() {}
    Ok(())
}

/// An INVITE as the target gets it.
fn offer(
    stage: &Stage,
    caller: &mut Line,
    target: &mut Line,
    number: &str,
    call_id: &str,
) -> Result<super::peer::Heard> {
    caller.send(with_body(caller, &stage.invite_to(number), call_id, &[], SDP))?;
    target.expect("INVITE").with_context(|| format!("of {call_id}, at the target"))
}

/// Calls that go as they should.
fn orderly(stage: &Stage, round: usize) -> Result<()> {
    let mut target = stage.target()?;
    for n in 0..5 {
        let mut caller = if n % 2 == 0 { stage.udp()? } else { stage.tcp()? };
        let id = format!("good{round}{n}");
        Call::up(stage, &mut caller, &mut target, &id, &[])?.end(&mut caller, &mut target)?;
    }
    let mut caller = stage.udp()?;
    let offered = offer(stage, &mut caller, &mut target, SINGLE, &format!("busy{round}"))?;
    target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
    target.expect("ACK")?;
    caller.expect("486 INVITE")?;
    let call_id = format!("cancelled{round}");
    let offered = offer(stage, &mut caller, &mut target, SINGLE, &call_id)?;
    target.send(response(&target, &offered, "180 Ringing", &[], ""))?;
    caller.expect("180 INVITE")?;
    let cancel = stage.invite_to(SINGLE).replace("INVITE", "CANCEL");
    caller.send(request(&caller, &cancel, &call_id, &[]))?;
    let cancelled = target.expect("CANCEL")?;
    target.send(response(&target, &cancelled, "200 OK", &[], ""))?;
    target.send(response(&target, &offered, "487 Request Terminated", &[], ""))?;
    target.expect("ACK").map(drop)
}

/// Parties that fall silent where an answer is owed. None of them says another word.
fn broken_off(stage: &Stage, round: usize) -> Result<()> {
    let mut target = stage.target()?;
    let mut caller = stage.udp()?;
    // The answer is never acknowledged.
    let unconfirmed = offer(stage, &mut caller, &mut target, SINGLE, &format!("unacked{round}"))?;
    target.send(response(&target, &unconfirmed, "200 OK", &[], SDP))?;
    target.expect("ACK")?;
    // The BYE to the target, a re-INVITE and an INFO to it are never answered.
    for method in ["BYE", "INVITE", "INFO"] {
        let mut caller = stage.udp()?;
        let id = format!("unanswered{method}{round}");
        let mut call = Call::up(stage, &mut caller, &mut target, &id, &[])?;
        let body = if method == "INVITE" { SDP } else { "" };
        caller.send(call.caller.next_with(&caller, method, &[], body))?;
        target.expect(method)?;
    }
    // The caller's connection is gone when the target hangs up.
    let mut stream = stage.tcp()?;
    let mut call = Call::up(stage, &mut stream, &mut target, &format!("gone{round}"), &[])?;
    drop(stream);
    target.send(call.target.next(&target, "BYE"))?;
    target.expect("200 BYE")?;
    // Answered although the caller has given up, and then not acknowledged.
    let call_id = format!("crossed{round}");
    let offered = offer(stage, &mut caller, &mut target, super::stage::NUMBER, &call_id)?;
    let cancel = stage.invite().replace("INVITE", "CANCEL");
    target.send(response(&target, &offered, "180 Ringing", &[], ""))?;
    caller.send(request(&caller, &cancel, &call_id, &[]))?;
    target.expect("CANCEL")?;
    let answer = response(&target, &offered, "200 OK", &[], SDP);
    target.send(&answer)?;
    ensure!(Dialog::of_target(&offered, &answer).is_ok(), "the target should have a dialog");
    // Ringing for ever, and nobody there at all.
    let ringing = format!("ringing{round}");
    caller.send(with_body(&caller, &stage.invite(), &ringing, &[], SDP))?;
    caller.send(with_body(
        &caller,
        &stage.invite_to(FAILOVER),
        &format!("none{round}"),
        &[],
        SDP,
    ))?;
    // No number, no acknowledgement; and no request at all.
    let nowhere = stage.invite_to("+18005559999");
    caller.send(with_body(&caller, &nowhere, &format!("nowhere{round}"), &[], SDP))?;
    caller.send(b"INVITE sip:a SIP/2.0\r\n\r\n")
}

#[test]
fn after_whatever_happened_nothing_is_held() {
    play(&SHORT, |stage| {
        for round in 0..2 {
            orderly(stage, round)?;
            broken_off(stage, round)?;
            nothing_is_held(stage).with_context(|| format!("round {round}"))?;
        }
        // What the silent had of a cap is free again.
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let offered = offer(stage, &mut caller, &mut target, SINGLE, "free-again")?;
        target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
        caller.expect("486 INVITE")?;
        stage.is_clean()
    });
}
