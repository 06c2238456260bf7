//! Where responses go and what they hold, and when a request is a new one (spec/sip P6, T2, T3, X3,
//! X12, S1).

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Heard, Line, SDP, request, response, with_body};
use super::{STRANGERS, Stage, play};

fn options(stage: &Stage) -> String {
    format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"))
}

#[test]
fn a_stranger_gets_no_byte() {
    play(&STRANGERS, |stage| {
        let mut line = stage.udp()?;
        for (n, start) in [options(stage), stage.invite()].iter().enumerate() {
            line.send(request(&line, start, &format!("stranger{n}"), &[]))?;
        }
        for scan in [&b"garbage"[..], b"INVITE sip:1 SIP/2.0\r\n\r\n", b"\r\n\r\n", b"\0\0\0\0"] {
            line.send(scan)?;
        }
        line.expect_silence(Duration::from_millis(300))
    });
}

#[test]
fn with_rport_the_response_goes_where_the_request_came_from() {
    play(&[], |stage| {
        let mut line = stage.udp()?;
        let via = "Via: SIP/2.0/UDP pbx.example.net:1;rport;branch=z9hG4bKrport";
        line.send(request(&line, &options(stage), "rport", &[via]))?;
        let heard = line.expect("200 OPTIONS")?;
        // From the port the request was sent to (RFC 3581 §4).
        ensure!(heard.from == stage.sip, "it came from {}", heard.from);
        let via = heard.header("Via").context("no Via")?;
        ensure!(via.contains(";received=127.0.0.1"), "{via}");
        ensure!(via.contains(&format!(";rport={}", line.local.port())), "{via}");
        Ok(())
    });
}

#[test]
fn without_rport_the_response_goes_to_the_port_in_via_at_the_source_address() {
    play(&[], |stage| {
        let (mut asking, mut named) = (stage.udp()?, stage.udp()?);
        for (n, host) in ["192.0.2.1", "pbx.example.net"].iter().enumerate() {
            let port = named.local.port();
            let via = format!("Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKsentby{n}");
            asking.send(request(&asking, &options(stage), &format!("sent-by{n}"), &[&via]))?;
            let heard = named.expect("200 OPTIONS")?;
            ensure!(heard.from == stage.sip, "it came from {}", heard.from);
            let via = heard.header("Via").context("no Via")?;
            ensure!(via.contains(";received=127.0.0.1"), "{via}");
        }
        asking.expect_silence(Duration::from_millis(50))
    });
}

#[test]
fn an_address_to_multicast_to_is_not_honoured() {
    play(&[], |stage| {
        let mut line = stage.udp()?;
        let port = line.local.port();
        let via = format!("Via: SIP/2.0/UDP 127.0.0.1:{port};maddr=239.1.2.3;branch=z9hG4bKmaddr");
        line.send(request(&line, &options(stage), "maddr", &[&via]))?;
        line.expect("200 OPTIONS").map(drop)
    });
}

/// The Vias and Record-Routes of the responses to an INVITE, then the Routes of the BYE to its
/// caller, and those of the ACK and the BYE to its target.
fn told(stage: &Stage, call_id: &str, vias: &[&str], routes: &[&str]) -> Result<Vec<Vec<String>>> {
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    let at = |line: &Line, text: &&str| text.replace("HERE", &line.local.to_string());
    let fields = vias.iter().chain(routes).map(|field| at(&caller, field)).collect::<Vec<_>>();
    let fields = fields.iter().map(String::as_str).collect::<Vec<_>>();
    caller.send(with_body(&caller, &stage.invite(), call_id, &fields, SDP))?;
    let offered = target.expect("INVITE")?;
    let theirs = routes.iter().map(|field| at(&target, field)).collect::<Vec<_>>();
    let theirs = theirs.iter().map(String::as_str).collect::<Vec<_>>();
    target.send(response(&target, &offered, "180 Ringing", &theirs, ""))?;
    let ringing = caller.expect("180 INVITE")?;
    let answer = response(&target, &offered, "200 OK", &theirs, SDP);
    target.send(&answer)?;
    let ack = target.expect("ACK")?;
    let answered = caller.expect("200 INVITE")?;
    let dialog = super::peer::Dialog::of_caller(&answered)?;
    caller.send(dialog.ack(&caller))?;
    let mut callee = super::peer::Dialog::of_target(&offered, &answer)?;
    target.send(callee.next(&target, "BYE"))?;
    target.expect("200 BYE")?;
    let to_caller = caller.expect("BYE")?;
    caller.send(response(&caller, &to_caller, "200 OK", &[], ""))?;
    let plain = |heard: &Heard, name, line: &Line| -> Vec<String> {
        let port = line.local.to_string();
        heard.values(name).iter().map(|value| value.replace(&port, "HERE")).collect()
    };
    Ok(vec![
        plain(&ringing, "Via", &caller),
        plain(&answered, "Via", &caller),
        plain(&ringing, "Record-Route", &caller),
        plain(&answered, "Record-Route", &caller),
        plain(&to_caller, "Route", &caller),
        plain(&ack, "Route", &target),
    ])
}

#[test]
fn a_list_in_one_line_is_the_same_as_one_in_several() {
    play(&[], |stage| {
        let repeated = told(
            stage,
            "repeated",
            &[
                "Via: SIP/2.0/UDP HERE;branch=z9hG4bKlist1",
                "Via: SIP/2.0/TCP b.example.net;branch=z9hG4bKb",
                "Via: SIP/2.0/UDP c.example.net;branch=z9hG4bKc",
            ],
            &["Record-Route: <sip:HERE;lr>", "Record-Route: <sip:r2.example.net;lr;x=1>"],
        )?;
        // Another branch, as it is another call; the rest is the same.
        let joined = told(
            stage,
            "joined",
            &["v: SIP/2.0/UDP HERE;branch=z9hG4bKlist2,SIP/2.0/TCP b.example.net;branch=z9hG4bKb,\
               SIP/2.0/UDP c.example.net;branch=z9hG4bKc"],
            &["Record-Route: <sip:HERE;lr> ,\r\n <sip:r2.example.net;lr;x=1>"],
        )?;
        let joined: Vec<Vec<String>> = joined
            .iter()
            .map(|list| list.iter().map(|value| value.replace("list2", "list1")).collect())
            .collect();
        ensure!(repeated == joined, "{repeated:#?}\nand\n{joined:#?}");
        let counts: Vec<usize> = repeated.iter().map(Vec::len).collect();
        ensure!(counts == [3, 3, 2, 2, 2, 2], "{repeated:#?}");
        ensure!(repeated[4][0].contains("HERE"), "a callee's route keeps its order: {repeated:#?}");
        // A caller's is turned round, so the far one comes first (RFC 3261 §12.1.2).
        ensure!(repeated[5][1].contains("HERE"), "{repeated:#?}");
        stage.is_clean()
    });
}

#[test]
fn a_request_that_came_two_ways_is_refused_the_second_time() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "merged", &[], SDP))?;
        let offered = target.expect("INVITE")?;
        let via = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKotherway", caller.local);
        caller.send(with_body(&caller, &stage.invite(), "merged", &[&via], SDP))?;
        let refused = caller.expect("482 INVITE")?;
        let to = format!("To: {}", refused.header("To").unwrap_or_default());
        caller.send(request(
            &caller,
            &stage.invite().replace("INVITE", "ACK"),
            "merged",
            &[&via, &to],
        ))?;
        target.expect_silence(Duration::from_millis(50)).context("at the target")?;
        target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("486 INVITE").map(drop)
    });
}

#[test]
fn a_cancel_finds_its_invite_though_its_via_was_rewritten() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let port = caller.local.port();
        let via = |host: &str| format!("Via: SIP/2.0/UDP {host};rport;branch=z9hG4bKnatted");
        let from =
            [via("10.0.0.7:5060"), String::from("From: <sip:+16145550188@10.0.0.7>;tag=nat")];
        let from = from.each_ref().map(String::as_str);
        caller.send(with_body(&caller, &stage.invite(), "natted", &from, SDP))?;
        let offered = target.expect("INVITE")?;
        target.send(response(&target, &offered, "180 Ringing", &[], ""))?;
        caller.expect("180 INVITE")?;
        let rewritten = via(&format!("203.0.113.9:{port}"));
        let cancel = stage.invite().replace("INVITE", "CANCEL");
        let reason = "Reason: SIP;cause=487";
        caller.send(request(&caller, &cancel, "natted", &[&rewritten, from[1], reason]))?;
        caller.expect("200 CANCEL")?;
        let ended = caller.expect("487 INVITE")?;
        let to = format!("To: {}", ended.header("To").unwrap_or_default());
        let ack = stage.invite().replace("INVITE", "ACK");
        caller.send(request(&caller, &ack, "natted", &[from[0], from[1], &to]))?;
        let cancel = target.expect("CANCEL")?;
        target.send(response(&target, &cancel, "200 OK", &[], ""))?;
        target.send(response(&target, &offered, "487 Request Terminated", &[], ""))?;
        target.expect("ACK")?;
        stage.is_clean()
    });
}
