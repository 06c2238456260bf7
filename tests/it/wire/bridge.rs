//! What goes from one leg to the other, and what must not (spec/sip B2, P10, P11, P18).

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Heard, Line, SDP, request, response, with_body};
use super::{Call, Setup, Stage, play};

#[test]
fn the_target_is_told_one_hop_less() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for (given, passed) in [(70, "69"), (12, "11"), (1, "0"), (255, "254")] {
            let field = format!("Max-Forwards: {given}");
            let id = format!("hops{given}");
            let call = Call::up(stage, &mut caller, &mut target, &id, &[&field])?;
            let found = call.offered.header("Max-Forwards");
            ensure!(found == Some(passed), "{given} became {found:?}");
            call.end(&mut caller, &mut target)?;
        }
        caller.send(with_body(&caller, &stage.invite(), "nowhere", &["Max-Forwards: 0"], SDP))?;
        caller.expect("483 INVITE")?;
        target.expect_silence(Duration::from_millis(50)).context("at the target")
    });
}

#[test]
fn an_invite_of_twenty_kilobytes_is_a_call() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let identity = |letter: &str| {
            let token = letter.repeat(9_800);
            format!("Identity: {token};info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken")
        };
        let (first, second) = (identity("eyJh"), identity("Qm9i"));
        let (first, second) = (first.split_at(9_900).0, second.split_at(9_900).0);
        let invite = with_body(&caller, &stage.invite(), "long", &[first, second], SDP);
        ensure!(invite.len() > 20_000, "{} bytes", invite.len());
        caller.send(invite)?;
        Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)?;
        // The same on a stream.
        let mut caller = stage.tcp()?;
        let call = Call::up(stage, &mut caller, &mut target, "long-tcp", &[first, second])?;
        call.end(&mut caller, &mut target)
    });
}

#[test]
fn an_invite_in_compact_form_is_a_call() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let invite = format!(
            "{}\r\nv:SIP/2.0/UDP {};branch=z9hG4bKcompact\r\n\
             f:\"Anna\"<sip:+16145550188@a>;tag=c\r\nt:<sip:a@b>\r\ni:compact\r\n\
             CSeq:1 INVITE\r\nm:{}\r\nk:timer\r\ns:x\r\n\
             c:application/sdp\r\nl:{}\r\n\r\n{SDP}",
            stage.invite(),
            caller.local,
            caller.contact(),
            SDP.len()
        );
        caller.send(invite)?;
        let call = Call::answered(&mut caller, &mut target)?;
        let from = call.offered.header("From").unwrap_or_default();
        ensure!(from.starts_with("\"Anna\" <sip:+16145550188@"), "{from}");
        ensure!(call.offered.body().contains("m=audio 40002"), "{}", call.offered.text);
        call.end(&mut caller, &mut target)
    });
}

/// No line of it begins with the forged name, wherever a lenient reader sees the end of a line.
fn is_not_forged(heard: &Heard) -> Result<()> {
    for line in heard.lines() {
        let name = line.trim_start().split(':').next().unwrap_or_default();
        ensure!(!name.eq_ignore_ascii_case("X-Forged"), "forged:\n{:?}", heard.text);
    }
    Ok(())
}

/// Ways to end a line within a value.
const ENDS: [&str; 6] = ["\r", "\n", "\r\n ", "\n\t", "\r\r", "\r\n\t\r\n "];

/// Plays a call whose INVITE has this field; checks whatever the target gets. The INVITE may be
/// refused.
fn with_field(stage: &Stage, target: &mut Line, call_id: &str, field: &str) -> Result<()> {
    let mut caller = stage.udp()?;
    caller.send(with_body(&caller, &stage.invite(), call_id, &[field], SDP))?;
    let first = loop {
        let heard = caller.hear(Duration::from_secs(3))?.context("no answer")?;
        if heard.status() != Some(100) {
            break heard;
        }
        if let Some(offered) = target.hear(Duration::from_secs(3))? {
            is_not_forged(&offered)?;
            target.send(response(target, &offered, "486 Busy Here", &[], ""))?;
            target.expect("ACK").and_then(|ack| is_not_forged(&ack))?;
        }
    };
    ensure!(matches!(first.status(), Some(400 | 415 | 486)), "{}", first.text);
    let to = format!("To: {}", first.header("To").unwrap_or_default());
    let ack = stage.invite().replace("INVITE", "ACK");
    caller.send(request(&caller, &ack, call_id, &[&to]))
}

#[test]
fn no_value_of_the_callers_can_become_a_header_field_of_the_target() {
    play(&[], |stage| {
        let (mut target, mut n) = (stage.target()?, 0);
        for end in ENDS {
            for field in [
                format!("From: \"Eve{end}X-Forged: 1\" <sip:+16145550188@example.org>;tag=e"),
                format!("From: Eve{end}X-Forged: 1 <sip:+16145550188@example.org>;tag=e"),
                format!("Content-Type: application/sdp{end}X-Forged: 1"),
                format!("Content-Type: application/sdp;x=\"{end}X-Forged: 1\""),
                format!("X-Loop-Token: abc{end}X-Forged: 1"),
                format!("P-Asserted-Identity: \"E{end}X-Forged: 1\" <sip:+16145550188@a>"),
                format!("Subject: hello{end}X-Forged: 1"),
            ] {
                n += 1;
                with_field(stage, &mut target, &format!("forged{n}"), &field)
                    .with_context(|| format!("{field:?}"))?;
            }
        }
        stage.is_clean()
    });
}

#[test]
fn no_value_within_a_call_can_become_a_header_field_of_the_other_side() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for (n, end) in ENDS.iter().enumerate() {
            let id = format!("forged-inside{n}");
            let mut call = Call::up(stage, &mut caller, &mut target, &id, &[])?;
            let info = format!("Info-Package: dtmf{end}X-Forged: 1");
            let kind = format!("Content-Type: application/dtmf-relay{end}X-Forged: 1");
            let subject = format!("Subject: a{end}X-Forged: 1");
            caller.send(call.caller.next_with(
                &caller,
                "INFO",
                &[&info, &kind, &subject],
                "Signal=1",
            ))?;
            if let Some(heard) = target.hear(Duration::from_millis(500))? {
                is_not_forged(&heard)?;
                let kind = format!("Content-Type: text/plain{end}X-Forged: 1");
                target.send(response(&target, &heard, "200 OK", &[&kind], "ok"))?;
            }
            is_not_forged(&caller.hear(Duration::from_secs(3))?.context("no answer to INFO")?)?;
            let reason = format!("Reason: Q.850;cause=16;text=\"bye{end}X-Forged: 1\"");
            caller.send(call.caller.next_with(&caller, "BYE", &[&reason], ""))?;
            // Refused, the call is still up, and a plain BYE ends it.
            let heard = caller.hear(Duration::from_secs(3))?.context("no answer to BYE")?;
            is_not_forged(&heard)?;
            if heard.status() != Some(200) {
                ensure!(heard.kind() == "400 BYE", "{}", heard.text);
                caller.send(call.caller.next(&caller, "BYE"))?;
                caller.expect("200 BYE")?;
            }
            let bye = target.expect("BYE").with_context(|| format!("{end:?}"))?;
            is_not_forged(&bye)?;
            target.send(response(&target, &bye, "200 OK", &[], ""))?;
        }
        stage.is_clean()
    });
}

#[test]
fn what_the_target_answers_cannot_become_a_header_field_of_the_caller() {
    play(&[], |stage| {
        let mut target = stage.target()?;
        for (n, end) in ENDS.iter().enumerate() {
            let mut caller = stage.udp()?;
            caller.send(with_body(&caller, &stage.invite(), &format!("answer{n}"), &[], SDP))?;
            let offered = target.expect("INVITE")?;
            let kind = format!("Content-Type: application/sdp{end}X-Forged: 1");
            let reason = format!("Reason: SIP;cause=200;text=\"{end}X-Forged: 1\"");
            target.send(response(&target, &offered, "183 Session Progress", &[&kind], SDP))?;
            target.send(response(&target, &offered, "486 Busy Here", &[&reason], ""))?;
            // What cannot be read is dropped; this is heard then.
            target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
            loop {
                let heard = caller.hear(Duration::from_secs(3))?.context("no final answer")?;
                is_not_forged(&heard).with_context(|| format!("{end:?}"))?;
                if heard.status().is_some_and(|status| status >= 200) {
                    break;
                }
            }
            target.expect("ACK")?;
        }
        Ok(())
    });
}

#[test]
fn what_is_configured_cannot_become_a_header_field() {
    // What the server starts with must not forge; that it does not start is as good.
    for set in [
        r#"sip.user_agent="a
X-Forged: 1""#,
        r#"targets.alone.dial.uri="sip:127.0.0.1:PORT
X-Forged: 1""#,
        r#"targets.alone.dial.uri="sip:a
X-Forged: 1@127.0.0.1:PORT""#,
        r#"sip.advertise={"udp:127.0.0.1:SIP" = "a
X-Forged: 1"}"#,
        r#"sip.advertise={"udp:127.0.0.1:SIP" = "a
X-Forged: 1"}"#,
    ] {
        let refused = Stage::start(Setup { set: &[set], ..Setup::default() })
            .err()
            .map(|error| format!("{error:#}"));
        let refused = refused.unwrap_or_else(|| panic!("the server took {set}"));
        assert!(refused.contains("exit status: 2"), "{set}: {refused}");
    }
}
