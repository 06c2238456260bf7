//! What a TCP connection bears: how messages are told apart on it, and which calls live on it
//! (spec/sip T4 to T8).

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::peer::{Line, PATIENCE, SDP, request, response, with_body};
use super::{Call, STRANGERS, play};

#[test]
fn a_message_without_content_length_is_refused_and_ends_the_connection() {
    play(&[], |stage| {
        let mut line = stage.tcp()?;
        let uri = stage.uri("tollbridge");
        let start = format!("OPTIONS {uri} SIP/2.0");
        line.send(request(&line, &start, "no-length", &["Content-Length"]))?;
        line.expect("400 OPTIONS")?;
        line.expect_end()
    });
}

#[test]
fn whoever_speaks_http_hears_nothing() {
    play(&[], |stage| {
        for probe in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01\0\x01"] {
            let mut line = stage.tcp()?;
            line.send(probe)?;
            line.expect_end()?;
        }
        stage.is_well("after-http")
    });
}

#[test]
fn a_thousand_messages_in_a_row_are_all_answered() {
    const COUNT: usize = 1_000;
    play(&[], |stage| {
        let mut line = stage.tcp()?;
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        let mut bytes = String::new();
        for n in 0..COUNT {
            bytes.push_str(&request(&line, &start, &format!("row{n}"), &[]));
        }
        line.send(bytes)?;
        let mut answered = std::collections::BTreeSet::new();
        while answered.len() < COUNT {
            let heard = line.hear(PATIENCE)?;
            let heard = heard.with_context(|| format!("{} answers came", answered.len()))?;
            ensure!(heard.status() == Some(200), "{}", heard.text);
            answered.insert(heard.header("Call-ID").unwrap_or_default().to_owned());
        }
        Ok(())
    });
}

#[test]
fn a_call_can_be_made_byte_by_byte() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        let invite = with_body(&caller, &stage.invite(), "bytewise", &[], SDP);
        caller.send_bytewise(invite.as_bytes())?;
        Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn a_ping_gets_its_pong_and_blank_lines_do_no_harm() {
    play(&[], |stage| {
        let mut line = stage.tcp()?;
        line.send("\r\n\r\n")?;
        line.expect_bytes(b"\r\n")?;
        line.send("\r\n")?;
        line.expect_silence(Duration::from_millis(50))?;
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        line.send(request(&line, &start, "after-ping", &[]))?;
        line.expect("200 OPTIONS").map(drop)
    });
}

#[test]
fn a_call_over_a_connection_is_ended_on_that_connection() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        // Nothing listens there: only on the connection can the BYE arrive.
        let contact = format!("Contact: <sip:127.0.0.1:{};transport=tcp>", stage.spare_port);
        let mut call = Call::up(stage, &mut caller, &mut target, "reused", &[&contact])?;
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        stage.is_clean()
    });
}

#[test]
fn when_its_connection_is_gone_a_call_is_ended_at_the_contact() {
    play(&[], |stage| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, stage.spare_port))?;
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        let contact = format!("Contact: <sip:127.0.0.1:{};transport=tcp>", stage.spare_port);
        let mut call = Call::up(stage, &mut caller, &mut target, "reopened", &[&contact])?;
        // The ACK is behind us when this is answered.
        caller.send(call.caller.next(&caller, "OPTIONS"))?;
        caller.expect("200 OPTIONS")?;
        drop(caller);
        target.expect_silence(Duration::from_millis(100)).context("the call should go on")?;
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let mut caller = Line::accepted(&listener, stage.sip)?;
        let bye = caller.expect("BYE")?;
        ensure!(bye.start().contains(&stage.spare_port.to_string()), "{}", bye.start());
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        stage.is_clean()
    });
}

#[test]
fn a_stranger_is_closed_before_it_can_speak() {
    play(&STRANGERS, |stage| {
        // Either fails if the connection is closed already.
        let Ok(mut line) = stage.tcp() else { return Ok(()) };
        let _ = line.send(request(&line, &stage.invite(), "stranger", &[]));
        line.expect_end()
    });
}

#[test]
fn a_target_that_takes_a_connection_and_closes_it_is_passed_over_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let first = format!("targets.first.dial.uri=sip:127.0.0.1:{port};transport=tcp");
    play(&[&first, "targets.first.first_response_ms=4000"], |stage| {
        let mut caller = stage.udp()?;
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, stage.spare_port))?;
        let mut second = Line::udp(socket, stage.sip)?;
        let start = stage.invite_to("+18005550100");
        let began = Instant::now();
        caller.send(with_body(&caller, &start, "closed-on", &[], SDP))?;
        let mut silent = Line::accepted(&listener, stage.sip)?;
        silent.expect("INVITE")?;
        drop(silent);
        let offered = second.expect("INVITE").context("at the second target")?;
        ensure!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        second.send(response(&second, &offered, "486 Busy Here", &[], ""))?;
        second.expect("ACK")?;
        caller.expect("486 INVITE")?;
        stage.is_clean()
    });
}
