//! Policies through the running server, from its configuration to the wire and the record
//! (spec/sip B3, B6, B22, B24, C10, C11, C15, P16, S9, S10).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{Heard, Line, SDP, response, with_body};
use super::{Call, Setup, Stage, play, play_with};
use crate::support::{http, wait_for};

#[test]
fn what_a_target_is_told_and_what_is_kept_follow_the_configuration() {
    let set = [
        "trunks.loopback.inbound.headers_capture=[\"X-Lead\"]",
        "trunks.loopback.inbound.params_capture=[\"verstat\"]",
        "trunks.loopback.inbound.call_id_header=X-Twilio-CallSid",
        "trunks.loopback.inbound.headers={ pass = [\"X-Buyer-*\"] }",
        "targets.alone.sip={ \
           headers = { pass = [\"X-Keep\"], add = { \
             \"X-Call\" = \"{call.campaign};{call.publisher};{call.target};{call.did}\", \
             \"User-to-User\" = \"{tag.header.x-lead:hex};encoding=hex\", \
             \"X-Stir\" = \"{tag.caller.verstat}\" } }, \
           identity = { caller = [\"pai\", \"from\"], diversion = \"dialed\" } }",
    ];
    play(&set, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let asserted = format!(
            "P-Asserted-Identity: \"Ann\" <sip:+16145550188;verstat=TN-Validation-Passed@{}>",
            caller.local
        );
        let fields = [
            "X-Lead: 4711",
            "X-Keep: kept",
            "X-Drop: dropped",
            "X-Twilio-CallSid: CA0123",
            &asserted,
        ];
        caller.send(with_body(&caller, &stage.invite(), "policy", &fields, SDP))?;
        let call = Call::answered_with(&mut caller, &mut target, &["X-Buyer-Ref: 9", "X-Else: 1"])?;
        let invite = &call.offered;
        let own = stage.sip;
        for (name, value) in [
            ("X-Keep", "kept"),
            ("X-Call", "alone;tests;alone;+18005550150"),
            ("User-to-User", "34373131;encoding=hex"),
            ("X-Stir", "TN-Validation-Passed"),
            ("P-Asserted-Identity", &format!("<sip:+16145550188@{own}>")),
            ("Diversion", &format!("<sip:+18005550150@{own}>;reason=unconditional")),
        ] {
            ensure!(invite.header(name) == Some(value), "{name}: {}", invite.text);
        }
        ensure!(invite.header("X-Drop").is_none() && invite.header("X-Lead").is_none());
        call.end(&mut caller, &mut target)?;
        let record = record(stage, "policy")?;
        ensure!(record["carrier_call_id"] == "CA0123", "{record:#}");
        let id = record["call_id"].as_str().context("no id")?;
        let detail: Value = http::get(stage.api, &format!("/v1/calls/{id}"))?.json()?;
        let captured = serde_json::json!({
            "header.x-lead": "4711", "caller.verstat": "TN-Validation-Passed",
        });
        ensure!(detail["captured"] == captured, "{detail:#}");
        stage.is_clean()
    });
}

#[test]
fn what_the_target_says_comes_back_as_far_as_the_trunk_lets_it() {
    play(&["trunks.loopback.inbound.headers={ pass = [\"X-Buyer-*\"] }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "back", &[], SDP))?;
        let offered = target.expect("INVITE")?;
        let said = ["X-Buyer-Ref: 9", "X-Else: 1", "Server: secret-pbx"];
        target.send(response(&target, &offered, "180 Ringing", &said, ""))?;
        let ringing = caller.expect("180 INVITE")?;
        ensure!(ringing.header("X-Buyer-Ref") == Some("9"), "{}", ringing.text);
        ensure!(!ringing.text.contains("X-Else") && !ringing.text.contains("secret-pbx"));
        let busy = ["Reason: Q.850;cause=17;text=\"User busy\""];
        target.send(response(&target, &offered, "486 Busy Here", &busy, ""))?;
        target.expect("ACK")?;
        let refused = caller.expect("486 INVITE")?;
        let reason = refused.header("Reason");
        ensure!(reason == Some("Q.850;cause=17;text=\"User busy\""), "{}", refused.text);
        confirm(stage, &mut caller, "back", &refused)
    });
}

#[test]
fn a_caller_who_withholds_its_number_is_named_in_the_record_only() {
    let identity = "targets.alone.sip.identity={ caller = [\"pai\", \"rpid\", \"from\"], \
                    signature = \"pass\" }";
    play(&[identity], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let from = format!("From: \"Anonymous\" <sip:anonymous@{}>;tag=anon", caller.local);
        let pai = format!("P-Asserted-Identity: \"Ann\" <sip:+16145550188@{}>", caller.local);
        let fields = [&from, "Privacy: id", &pai, "Identity: eyJ.e30.c2ln;info=<https://c/p>"];
        let call = Call::up(stage, &mut caller, &mut target, "private", &fields)?;
        let invite = &call.offered;
        ensure!(
            !invite.text.contains("6145550188") && !invite.text.contains("Ann"),
            "{}",
            invite.text
        );
        ensure!(invite.header("Identity").is_none(), "{}", invite.text);
        ensure!(invite.header("Privacy") == Some("id"), "{}", invite.text);
        call.end(&mut caller, &mut target)?;
        let record = record(stage, "private")?;
        ensure!(record["caller"] == "+16145550188", "{record:#}");
        Ok(())
    });
}

#[test]
fn numbers_that_may_not_be_called_are_not() {
    for set in [
        "targets.alone.sip.destinations={ deny = [\"+1800\"] }",
        "trunks.loopback.inbound.destinations={ allow = [\"+44\"] }",
    ] {
        play(&[set], |stage| {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            caller.send(with_body(&caller, &stage.invite(), "barred", &[], SDP))?;
            let refused = caller.expect("403 INVITE")?;
            confirm(stage, &mut caller, "barred", &refused)?;
            target.expect_silence(Duration::from_millis(50)).context("at the target")?;
            let record = record(stage, "barred")?;
            let reason = &record["attempts"][0]["reason"];
            ensure!(reason == "attempt.destination_barred", "{record:#}");
            Ok(())
        });
    }
}

const TOGETHER: &str = r#"
[[campaigns]]
id = "together"
publisher = "tests"
numbers = ["+18005550250"]
routing = { tiers = [{ ring = "parallel", targets = [{ target = "first" }, { target = "second" }] }] }
"#;

#[test]
fn a_late_answer_of_one_that_rang_beside_the_winner_is_ended() {
    play_with(Setup { more: TOGETHER, ..Setup::default() }, |stage| {
        let (mut caller, mut first) = (stage.udp()?, stage.target()?);
        let second = UdpSocket::bind(("127.0.0.1", stage.spare_port))?;
        let mut second = Line::udp(second, stage.sip)?;
        let invite = stage.invite_to("+18005550250");
        caller.send(with_body(&caller, &invite, "together", &[], SDP))?;
        let (one, other) = (first.expect("INVITE")?, second.expect("INVITE")?);
        ensure!(one.header("Call-ID") != other.header("Call-ID"), "{}", other.text);
        first.send(response(&first, &one, "180 Ringing", &[], ""))?;
        caller.expect("180 INVITE")?;
        second.send(response(&second, &other, "200 OK", &[], SDP))?;
        second.expect("ACK")?;
        let answered = caller.expect("200 INVITE")?;
        let cancel = first.expect("CANCEL")?;
        let why = cancel.header("Reason");
        ensure!(why == Some("SIP;cause=200;text=\"Call completed elsewhere\""), "{}", cancel.text);
        // It answers all the same.
        first.send(response(&first, &cancel, "200 OK", &[], ""))?;
        first.send(response(&first, &one, "200 OK", &[], SDP))?;
        first.expect("ACK")?;
        let bye = first.expect("BYE")?;
        first.send(response(&first, &bye, "200 OK", &[], ""))?;

        let mut dialog = super::peer::Dialog::of_caller(&answered)?;
        caller.send(dialog.ack(&caller))?;
        caller.send(dialog.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;
        let bye = second.expect("BYE")?;
        second.send(response(&second, &bye, "200 OK", &[], ""))?;
        let record = record(stage, "together")?;
        let results: Vec<_> = record["attempts"]
            .as_array()
            .context("no attempts")?
            .iter()
            .map(|it| (it["target"].as_str(), it["result"].as_str(), it["reason"].as_str()))
            .collect();
        let expected = [
            (Some("first"), Some("failed"), Some("attempt.answered_elsewhere")),
            (Some("second"), Some("answered"), None),
        ];
        ensure!(results == expected, "{record:#}");
        let metrics = crate::support::api::metrics(stage.api)?;
        ensure!(metrics.get("tollbridge_holds_active") == Some(&0.0));
        stage.is_clean()
    });
}

#[test]
fn calls_to_a_target_wait_a_moment_for_their_turn_and_no_longer() {
    play(&["targets.alone.sip={ max_cps_per_ip = 2 }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let begin = Instant::now();
        for n in 0..5 {
            caller.send(with_body(&caller, &stage.invite(), &format!("turn{n}"), &[], SDP))?;
        }
        let mut waited = vec![];
        while let Some(heard) = target.hear(Duration::from_millis(1_500))? {
            if heard.kind() == "INVITE" {
                waited.push(begin.elapsed().as_millis());
                target.send(response(&target, &heard, "486 Busy Here", &[], ""))?;
            }
        }
        ensure!(waited.len() == 3, "{waited:?}");
        ensure!(waited[1] >= 400 && waited[2] >= 900, "{waited:?}");
        // Which two it is depends on the shards they came to.
        let mut refused = 0;
        for n in 0..5 {
            let record = record(stage, &format!("turn{n}"))?;
            let reason = &record["attempts"][0]["reason"];
            if reason.is_null() || reason == "attempt.rate_full" {
                ensure!(record["sip_status"] == 503, "{record:#}");
                refused += 1;
            }
        }
        ensure!(refused == 2, "{refused} calls were refused");
        Ok(())
    });
}

#[test]
fn a_turn_whose_call_another_target_took_is_the_next_call_s() {
    let set = ["targets.second.sip={ max_cps_per_ip = 1 }"];
    // The first goes first in every call.
    let more = TOGETHER.replace("\"second\" }", "\"second\", weight = 1 }");
    play_with(Setup { set: &set, more: &more, ..Setup::default() }, |stage| {
        let (mut caller, mut first) = (stage.udp()?, stage.target()?);
        let second = UdpSocket::bind(("127.0.0.1", stage.spare_port))?;
        let mut second = Line::udp(second, stage.sip)?;
        let invite = stage.invite_to("+18005550250");
        caller.send(with_body(&caller, &invite, "turn-used", &[], SDP))?;
        let one = first.expect("INVITE")?;
        let used = second.expect("INVITE")?;
        // The second target's turn in this call is a second away, and the first answers at once.
        caller.send(with_body(&caller, &invite, "turn-left", &[], SDP))?;
        let two = first.expect("INVITE")?;
        first.send(response(&first, &two, "200 OK", &[], SDP))?;
        first.expect("ACK")?;

        caller.send(with_body(&caller, &invite, "turn-taken", &[], SDP))?;
        let three = first.expect("INVITE")?;
        let offered = second.expect("INVITE").context("the turn that was left is free")?;
        for (line, refused) in [(&mut first, [one, three]), (&mut second, [used, offered])] {
            for refused in refused {
                line.send(response(line, &refused, "486 Busy Here", &[], ""))?;
                line.expect("ACK")?;
            }
        }
        let record = record(stage, "turn-taken")?;
        let ends: Vec<_> = record["attempts"]
            .as_array()
            .context("no attempts")?
            .iter()
            .map(|it| (it["target"].as_str(), it["reason"].as_str()))
            .collect();
        let busy = Some("attempt.busy");
        ensure!(ends == [(Some("first"), busy), (Some("second"), busy)], "{record:#}");
        Ok(())
    });
}

#[test]
fn a_trunk_s_calls_wait_a_moment_if_it_is_allowed_to() {
    let set = ["trunks.loopback.max_cps=4", "trunks.loopback.limits.queue_ms=500"];
    play(&set, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for n in 0..8 {
            caller.send(with_body(&caller, &stage.invite(), &format!("queued{n}"), &[], SDP))?;
        }
        let mut offered = 0;
        while let Some(heard) = target.hear(Duration::from_millis(1_000))? {
            if heard.kind() == "INVITE" {
                offered += 1;
                target.send(response(&target, &heard, "486 Busy Here", &[], ""))?;
            }
        }
        ensure!(offered == 6, "four at once, two within half a second: {offered}");
        Ok(())
    });
}

#[test]
fn a_policy_that_cannot_be_is_told_with_its_place() {
    for (set, told) in [
        (
            "targets.alone.sip.headers={ pass = [\"Route\"] }",
            "sip.headers.pass[0] = Route: is a field that each leg has of its own",
        ),
        ("targets.alone.sip.heders={}", "sip.heders"),
        ("targets.alone.sip.carrier=nobody", "names no carrier file"),
        (
            "trunks.loopback.inbound.headers={ add = { \"X-A\" = \"{call.id}\" } }",
            "headers.add.X-A",
        ),
        ("trunks.loopback.inbound.destinations.deny=[\"44\"]", "inbound.destinations.deny[0]"),
        ("trunks.loopback.inbound.contact_bytes_max=10", "inbound.contact_bytes_max"),
        ("trunks.loopback.limits.queue_ms=9000", "limits.queue_ms"),
    ] {
        let refused = Stage::start(Setup { set: &[set], ..Setup::default() });
        let error = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(told), "{set}: {error}");
    }
}

/// The record of the call with the carrier's Call-ID, once it is over.
fn record(stage: &Stage, call_id: &str) -> Result<Value> {
    wait_for("the record", Duration::from_secs(5), || {
        let page: Value = http::get(stage.api, "/v1/calls?limit=200")?.json()?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| call["state"] != "open"))
    })
}

/// ACKs a refusal.
fn confirm(stage: &Stage, caller: &mut Line, call_id: &str, refused: &Heard) -> Result<()> {
    let to = format!("To: {}", refused.header("To").unwrap_or_default());
    let ack = stage.invite().replace("INVITE", "ACK");
    caller.send(super::peer::request(caller, &ack, call_id, &[&to]))
}
