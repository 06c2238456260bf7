//! The grammatical points of RFC 4475 and RFC 5118, in messages of our own, each with what must come
//! back: over UDP, over TCP in one piece, byte by byte, and all of them at once. Meanwhile a hundred
//! calls are up, and they stay up; after each message the server answers another (spec/sip P1 to P4,
//! P7).

mod rfc4475;
mod rfc5118;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::peer::{Line, PATIENCE, SDP, request};
use super::{Call, Crowd, Stage, play};

/// What a message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// A final response with this status, and no other.
    Status(u16),
    /// These, of two messages in one.
    Both(u16, u16),
    Nothing,
    /// The status, then the end of the connection.
    StatusAndEnd(u16),
}

use Want::{Both, Nothing, Status, StatusAndEnd};

struct Case {
    /// Section of its RFC.
    section: &'static str,
    udp: Want,
    tcp: Want,
    /// From the line it will be sent on and its Call-ID.
    message: fn(&Line, &str) -> Vec<u8>,
}

const fn case(section: &'static str, want: Want, message: fn(&Line, &str) -> Vec<u8>) -> Case {
    Case { section, udp: want, tcp: want, message }
}

const INVITE: &str = "INVITE sip:sales@example.org SIP/2.0";
const OPTIONS: &str = "OPTIONS sip:sales@example.org SIP/2.0";
const REGISTER: &str = "REGISTER sip:example.org SIP/2.0";

/// Finals that come back for `id` until `wanted` has come, and those that come with it.
fn finals(line: &mut Line, id: &str, wanted: &[u16]) -> Result<BTreeSet<u16>> {
    let mut found = BTreeSet::new();
    let give_up = Instant::now() + PATIENCE;
    // Of one Call-ID, what comes later is answered later.
    if wanted.is_empty() {
        line.send(request(line, OPTIONS, id, &["CSeq: 77 OPTIONS"]))?;
    }
    loop {
        let is_complete = wanted.iter().all(|status| found.contains(status));
        let left = give_up.saturating_duration_since(Instant::now());
        let limit =
            if is_complete && !wanted.is_empty() { Duration::from_millis(10) } else { left };
        let Some(heard) = line.hear(limit)? else { return Ok(found) };
        if heard.header("Call-ID") != Some(id) {
            continue;
        }
        if heard.header("CSeq") == Some("77 OPTIONS") {
            return Ok(found);
        }
        found.extend(heard.status().filter(|status| *status >= 200));
    }
}

fn check(case: &Case, want: Want, line: &mut Line, id: &str) -> Result<()> {
    let expected: &[u16] = match &want {
        Status(status) | StatusAndEnd(status) => &[*status],
        Both(first, second) => &[*first, *second],
        Nothing => &[],
    };
    // On a stream, what is sent after half a message is taken for the rest of it.
    let found = if want == Nothing && case.udp != Nothing {
        line.expect_silence(Duration::from_millis(100))?;
        BTreeSet::new()
    } else {
        finals(line, id, expected)?
    };
    ensure!(found == expected.iter().copied().collect(), "{found:?} instead of {want:?}");
    if matches!(want, StatusAndEnd(_)) {
        line.expect_end()?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Udp,
    Tcp,
    Bytewise,
}

/// Calls that are up meanwhile.
const CALLS: usize = 100;

/// All messages; a Call-ID is made of the number.
fn cases() -> impl Iterator<Item = (String, &'static Case)> {
    let cases = rfc4475::CASES.iter().chain(rfc5118::CASES);
    cases.enumerate().map(|(n, case)| (format!("case{n}"), case))
}

/// All cases, each alone. After each, somebody else gets an answer.
fn all_cases(stage: &Stage, way: Way) -> Result<()> {
    let mut crowd = Crowd::up(stage, CALLS)?;
    let mut deviations = vec![];
    let (mut datagrams, mut other) = (stage.udp()?, stage.udp()?);
    for (id, case) in cases() {
        let outcome = match way {
            Way::Udp => {
                let message = (case.message)(&datagrams, &id);
                datagrams.send(message).and_then(|()| check(case, case.udp, &mut datagrams, &id))
            }
            Way::Tcp | Way::Bytewise => {
                let mut line = stage.tcp()?;
                let message = (case.message)(&line, &id);
                let sent = match way {
                    Way::Bytewise => line.send_bytewise(&message),
                    Way::Udp | Way::Tcp => line.send(message),
                };
                sent.and_then(|()| check(case, case.tcp, &mut line, &id))
            }
        };
        let outcome = outcome.and_then(|()| stage.is_alive(&mut other, &id));
        deviations.extend(outcome.err().map(|error| format!("{}: {error:#}", case.section)));
    }
    crowd.is_unharmed()?;
    crowd.end()?;
    ensure!(deviations.is_empty(), "{way:?}:\n{}", deviations.join("\n"));
    stage.is_clean()
}

#[test]
fn odd_and_wrong_datagrams_get_what_the_rfcs_ask_for() {
    play(&[], |stage| all_cases(stage, Way::Udp));
}

#[test]
fn odd_and_wrong_messages_on_a_connection_get_the_same() {
    play(&[], |stage| all_cases(stage, Way::Tcp));
}

#[test]
fn it_does_not_matter_how_a_message_is_cut() {
    play(&[], |stage| all_cases(stage, Way::Bytewise));
}

/// All cases with nothing heard between them, over TCP in one write.
fn all_at_once(stage: &Stage, mut line: Line) -> Result<()> {
    let mut crowd = Crowd::up(stage, CALLS)?;
    let (mut messages, mut expected) = (vec![], BTreeMap::new());
    for (id, case) in cases() {
        let statuses = match if line.is_stream() { case.tcp } else { case.udp } {
            Status(status) => vec![status],
            Both(first, second) => vec![first, second],
            // Half a message swallows what follows, and a stream that ends ends it all.
            StatusAndEnd(_) => continue,
            Nothing if case.udp != Nothing => continue,
            Nothing => vec![],
        };
        messages.push((case.message)(&line, &id));
        if !statuses.is_empty() {
            expected.insert(id, BTreeSet::from_iter(statuses));
        }
    }
    if line.is_stream() {
        messages = vec![messages.concat()];
    }
    messages.iter().try_for_each(|message| line.send(message))?;
    let mut found: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let give_up = Instant::now() + PATIENCE;
    while found != expected {
        let left = give_up.saturating_duration_since(Instant::now());
        let Some(heard) = line.hear(left)? else {
            bail!("{found:?}\ninstead of\n{expected:?}");
        };
        if let Some(status) = heard.status().filter(|status| *status >= 200) {
            let id = heard.header("Call-ID").unwrap_or_default();
            found.entry(id.to_owned()).or_default().insert(status);
        }
    }
    stage.is_alive(&mut stage.udp()?, "after-all")?;
    crowd.is_unharmed()?;
    crowd.end()?;
    stage.is_clean()
}

#[test]
fn what_comes_in_one_write_is_answered_one_by_one() {
    play(&[], |stage| all_at_once(stage, stage.tcp()?));
}

#[test]
fn what_comes_in_a_burst_of_datagrams_is_answered_one_by_one() {
    play(&[], |stage| all_at_once(stage, stage.udp()?));
}

#[test]
fn wrong_requests_within_a_call_do_not_end_it() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut call = Call::up(stage, &mut caller, &mut target, "hurt-inside", &[])?;
        call.caller.cseq = 100;
        let dialog = call.caller.clone();
        // The number of each stays its own, so that none is taken for a repetition.
        let other_tag = format!("From: {}x", dialog.from);
        let twice = format!("Call-ID: {}\r\nCall-ID: another", dialog.call_id);
        let attempts: &[(&str, &[&str], &str, u16)] = &[
            ("BYE", &["Content-Length: -1", "CSeq: 101 BYE"], "", 400),
            ("BYE", &["Content-Length: 99", "CSeq: 102 BYE"], "short", 400),
            ("BYE", &["CSeq: 103 INVITE"], "", 400),
            ("BYE", &["CSeq: 104 BYE", "Max-Forwards: 999"], "", 400),
            ("BYE", &["CSeq: 105 BYE", &twice], "", 400),
            ("BYE", &["CSeq: 106 BYE", &other_tag], "", 481),
            ("BYE", &["CSeq: 107 BYE", "To: <sip:a@b>;tag=nobody"], "", 481),
            ("NOVERB", &["CSeq: 108 NOVERB"], "", 405),
            ("REFER", &["CSeq: 109 REFER", "Refer-To: <sip:x@example.org>"], "", 403),
            ("NOTIFY", &["CSeq: 110 NOTIFY"], "", 400),
            ("NOTIFY", &["CSeq: 111 NOTIFY", "Event: talk"], "", 489),
            ("SUBSCRIBE", &["CSeq: 112 SUBSCRIBE", "Event: talk"], "", 489),
            ("BYE", &["CSeq: 50 BYE"], "", 500),
        ];
        for (n, (method, fields, body, status)) in attempts.iter().enumerate() {
            let via = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKhurt{n}", caller.local);
            let fields = [&[via.as_str()][..], fields].concat();
            caller.send(dialog.say(&caller, method, &fields, body))?;
            let kind = if fields.contains(&"CSeq: 103 INVITE") { "INVITE" } else { method };
            let answer = caller.expect(&format!("{status} {kind}"));
            answer.with_context(|| format!("{method} {fields:?}"))?;
        }
        for garbage in [&b"\0\xff\xfe"[..], b"BYE", b"\r\n\r\n\r\n", b"INVITE sip:a SIP/2.0\r\n"] {
            caller.send(garbage)?;
        }
        target.expect_silence(Duration::from_millis(50)).context("at the target")?;
        call.caller.cseq = 200;
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn an_extension_nobody_knows_is_refused_within_a_call_too() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut call = Call::up(stage, &mut caller, &mut target, "requires", &[])?;
        let invite = call.caller.next_with(&caller, "INVITE", &["Require: magic"], SDP);
        caller.send(invite)?;
        let refused = caller.expect("420 INVITE")?;
        ensure!(refused.header("Unsupported") == Some("magic"), "{}", refused.text);
        caller.send(call.caller.ack(&caller))?;
        target.expect_silence(Duration::from_millis(50)).context("at the target")?;
        call.end(&mut caller, &mut target)
    });
}
