//! Policies, Reason, bodies of several parts, and targets that ring side by side, on the wire.

use super::*;
use crate::sip::policy::{ProgressRules, TargetConfig, Targets};

const THIRD: &str = "198.51.100.3:5090";

#[test]
fn a_target_s_policy_shapes_its_invite_and_no_other() {
    let mut rig = Rig::new();
    rig.plan.attempts[0].manner = manner(serde_json::json!({
        "headers": { "pass": ["X-Lead"], "add": { "X-Of": "{call.campaign|none}" } },
        "identity": { "caller": ["pai", "from"] },
    }));
    let mut caller = rig.caller("a");
    caller.extra = "X-Lead: 7\r\nX-Other: 8\r\n";
    caller.send_invite(&mut rig);
    let mut first = rig.target(TARGET);
    assert!(first.invite.contains("\r\nX-Lead: 7\r\nX-Of: none\r\n"), "{}", first.invite);
    assert!(
        first.invite.contains("\r\nP-Asserted-Identity: <sip:+12125550111@203.0.113.1:5060>\r\n"),
        "{}",
        first.invite
    );
    assert!(!first.invite.contains("X-Other"), "{}", first.invite);
    first.respond(&mut rig, 486, "");
    let second = rig.target(SECOND);
    for name in ["X-Lead", "X-Of", "P-Asserted-Identity"] {
        assert!(!second.invite.contains(name), "{}", second.invite);
    }
}

#[test]
fn what_the_trunk_lets_through_comes_back_to_the_carrier() {
    let mut rig = Rig::with_trunk(serde_json::json!({
        "headers": { "pass": ["X-Buyer"], "add": { "X-Edge": "1" } }
    }));
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.fields = String::from("X-Buyer: b7\r\nX-Secret: s\r\n");
    target.respond(&mut rig, 180, "");
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 180, 200]);
    let answers = rig.to(CARRIER);
    assert!(!answers[0].contains("X-"), "{}", answers[0]);
    for answer in &answers[1..] {
        assert!(answer.contains("\r\nX-Buyer: b7\r\nX-Edge: 1\r\n"), "{answer}");
        assert!(!answer.contains("X-Secret"), "{answer}");
    }
}

#[test]
fn early_media_becomes_ringing_where_the_policy_says_so() {
    let mut rig = Rig::new();
    let policy = |json| serde_json::from_value(json).unwrap();
    rig.plan.attempts[0].manner.progress = ProgressRules::new(
        &policy(serde_json::json!({ "early_media": "ringing" })),
        &policy(serde_json::json!({ "empty_progress": "drop" })),
    );
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 183, "");
    target.respond(&mut rig, 183, SDP_B);
    target.respond(&mut rig, 183, "");
    target.respond(&mut rig, 199, "");

    assert_eq!(caller.statuses(&mut rig), [100, 180, 180], "ringback is never lost");
    assert!(!rig.to(CARRIER).iter().any(|text| text.contains("m=audio")));
    let progress = Report::AttemptProgress { attempt: 1, status: 183 };
    assert_eq!(rig.reports()[1], progress, "the record has what the target said");
}

#[test]
fn what_the_trunk_wants_kept_is_kept() {
    let mut rig = Rig::with_trunk(serde_json::json!({
        "headers_capture": ["X-Lead", "X-None"], "params_capture": ["verstat"],
        "call_id_header": "X-Twilio-CallSid",
    }));
    let mut caller = rig.caller("a");
    caller.extra = "X-Twilio-CallSid: CA17\r\nx-lead: 7\r\n\
        P-Asserted-Identity: <sip:+12125550111;verstat=No-TN-Validation@192.0.2.1>\r\n";
    let invite = caller.invite_like("INVITE");
    let flow = Flow::udp(ListenerId(0), addr(CARRIER));
    let origin = Origin::Trunk(TrunkIndex(0));
    rig.input(Input::Received { flow, origin, wall: Wall(1), message: invite.into() });

    let Some(Output::Admitted(admission)) = rig.other.pop() else { panic!("no call") };
    let expected = Captured {
        tags: vec![
            ("header.x-lead".into(), "7".into()),
            ("caller.verstat".into(), "No-TN-Validation".into()),
        ],
        carrier_call_id: Some("CA17".into()),
    };
    assert_eq!(admission.captured.as_deref(), Some(&expected));
}

/// Spec/sip B6: what a party gives as its reason, what the other is told, and what is recorded.
#[test]
fn reasons_cross_the_call_and_reach_the_record() {
    for (given, q850) in [
        ("Q.850;cause=17;text=\"User busy\"", Some(17)),
        ("SIP;cause=486;text=\"Busy Here\", Q.850;cause=21", Some(21)),
        ("SIP;cause=404", Some(1)),
        ("SIP;cause=200;text=\"Call completed elsewhere\"", Some(26)),
        ("X-Own;cause=3", None),
    ] {
        let line = format!("Reason: {given}\r\n");
        // A target's refusal.
        let mut rig = Rig::new();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.fields = line.clone();
        target.respond(&mut rig, 603, "");
        assert_eq!(caller.statuses(&mut rig), [100, 603]);
        assert_eq!(header(rig.to(CARRIER).last().unwrap(), "Reason"), given);
        assert!(matches!(rig.reports()[1], Report::AttemptFailed { q850: it, .. } if it == q850));
        assert!(matches!(rig.reports()[2], Report::Ended { q850: it, .. } if it == q850));

        // The caller's CANCEL.
        let mut rig = Rig::new();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.respond(&mut rig, 180, "");
        caller.extra = line.clone().leak();
        caller.cancel(&mut rig);
        assert_eq!(target.requests(&mut rig), ["CANCEL"]);
        assert_eq!(header(rig.to(TARGET).last().unwrap(), "Reason"), given);
        assert!(!rig.to(CARRIER).last().unwrap().contains("Reason"), "its own words");
        let last = rig.reports().last();
        assert!(matches!(last, Some(Report::Ended { q850: it, .. }) if *it == q850), "{last:?}");

        // The BYE of either.
        for ended_by_caller in [true, false] {
            let mut rig = Rig::new();
            let (mut caller, mut target) = rig.connected();
            let (one, other) = if ended_by_caller {
                (&mut caller, &mut target)
            } else {
                (&mut target, &mut caller)
            };
            let bye = one.text("BYE", "").replace("Max-Forwards", &format!("{line}Max-Forwards"));
            rig.receive(&one.address.to_string(), &bye);
            assert_eq!(other.requests(&mut rig), ["BYE"]);
            assert_eq!(header(&rig.to(&other.address.to_string()).pop().unwrap(), "Reason"), given);
            let last = rig.reports().last();
            assert!(matches!(last, Some(Report::Ended { q850: it, .. }) if *it == q850));
        }
    }
}

#[test]
fn a_reason_of_an_earlier_target_is_not_the_last_one_s() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut first = rig.target(TARGET);
    first.fields = String::from("Reason: Q.850;cause=17\r\n");
    first.respond(&mut rig, 486, "");
    let mut second = rig.target(SECOND);
    second.respond(&mut rig, 603, "");

    assert_eq!(caller.statuses(&mut rig), [100, 603]);
    assert!(!rig.to(CARRIER).last().unwrap().contains("Reason"));
}

#[test]
fn an_offer_among_other_parts_is_found_and_the_others_stay_behind() {
    for (sip, passes) in [
        (serde_json::json!({}), false),
        (serde_json::json!({ "body_parts": ["application/isup"] }), true),
    ] {
        let mut rig = Rig::new();
        rig.plan.attempts[0].manner = manner(sip);
        let mut caller = rig.caller("a");
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP_A}\r\n--b\r\n\
             Content-Type: application/isup;version=itu-t92+\r\n\r\nISUP-OF-A\r\n--b\r\n\
             Content-Type: application/pidf+xml\r\n\r\nWHERE-A-IS\r\n--b--\r\n"
        );
        caller.offer = body.leak();
        let invite = caller.invite_like("INVITE").replace(
            "application/sdp\r\nContent-Length",
            "multipart/mixed;boundary=b\r\nContent-Length",
        );
        rig.receive(CARRIER, &invite);
        let mut target = rig.target(TARGET);
        let sent = target.invite.clone();
        assert!(sent.contains("m=audio 4000") && !sent.contains("session-of-a"), "{sent}");
        assert!(!sent.contains("WHERE-A-IS") && sent.contains("ISUP-OF-A") == passes, "{sent}");
        let kind = header(&sent, "Content-Type");
        assert_eq!(kind.starts_with("multipart/mixed;boundary=tb"), passes, "{kind}");

        // So may the answer be.
        target.kind = "multipart/mixed;boundary=z";
        target.respond(
            &mut rig,
            200,
            &format!("--z\r\nContent-Type: application/sdp\r\n\r\n{SDP_B}\r\n--z--\r\n"),
        );
        assert_eq!(caller.statuses(&mut rig), [100, 200]);
        let answer = rig.to(CARRIER).pop().unwrap();
        assert_eq!(header(&answer, "Content-Type"), "application/sdp");
        assert!(answer.contains("m=audio 6000") && !answer.contains("--z"), "{answer}");
    }
}

#[test]
fn the_first_to_answer_has_the_call_and_the_others_are_told() {
    let mut rig = Rig::new();
    rig.plan = side_by_side();
    let mut caller = rig.invite("a");
    let mut legs = [TARGET, SECOND, THIRD].map(|address| rig.target(address));
    let call_ids: Vec<_> = legs.iter().map(|leg| leg.call_id.clone()).collect();
    assert!(call_ids[0] != call_ids[1] && call_ids[1] != call_ids[2], "{call_ids:?}");
    legs[0].respond(&mut rig, 180, "");
    legs[1].respond(&mut rig, 183, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 180], "nobody is heard yet, all ring");
    assert!(!rig.to(CARRIER).last().unwrap().contains("m=audio"));

    legs[1].respond_to_invite(&mut rig, 200, SDP_B);

    assert_eq!(legs[1].requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(legs[0].requests(&mut rig), ["CANCEL"]);
    let cancel = rig.to(TARGET).pop().unwrap();
    assert_eq!(header(&cancel, "Reason"), "SIP;cause=200;text=\"Call completed elsewhere\"");
    assert_eq!(legs[2].requests(&mut rig), Vec::<String>::new(), "RFC 3261 §9.1");

    // One answers all the same, crossing its CANCEL; one has not said anything yet.
    legs[0].respond_to_invite(&mut rig, 200, SDP_A);
    assert_eq!(legs[0].requests(&mut rig), ["ACK", "BYE"]);
    legs[2].respond(&mut rig, 180, "");
    assert_eq!(legs[2].requests(&mut rig), ["CANCEL"]);
    legs[2].respond_to_invite(&mut rig, 487, "");
    assert_eq!(legs[2].requests(&mut rig), ["ACK"]);

    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");
    assert_eq!(legs[1].requests(&mut rig), ["BYE"]);
    for leg in &mut legs {
        leg.seen = [0; 2];
        leg.respond_to_all(&mut rig, 200);
    }
    rig.pass(Duration::from_secs(80));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
    let lost = |attempt| Report::AttemptFailed {
        attempt,
        status: None,
        q850: None,
        reason: Reason::AnsweredElsewhere,
    };
    assert_eq!(
        rig.reports()[5..9],
        [Report::Answered { attempt: 2 }, lost(1), lost(3), Report::Confirmed]
    );
}

#[test]
fn a_cancel_ends_all_that_ring() {
    let mut rig = Rig::new();
    rig.plan = side_by_side();
    let mut caller = rig.invite("a");
    let mut legs = [TARGET, SECOND, THIRD].map(|address| rig.target(address));
    for leg in &mut legs {
        leg.respond(&mut rig, 180, "");
    }
    caller.cancel(&mut rig);

    assert_eq!(caller.statuses(&mut rig), [100, 180, 200, 487]);
    for leg in &mut legs {
        assert_eq!(leg.requests(&mut rig), ["CANCEL"]);
        leg.respond_to_all(&mut rig, 200);
        leg.respond_to_invite(&mut rig, 487, "");
    }
    caller.ack_failure(&mut rig);
    rig.pass(Duration::from_secs(40));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn the_hunt_goes_on_behind_those_that_all_refuse() {
    let mut rig = Rig::new();
    rig.plan = side_by_side();
    rig.plan.attempts[2].manner.beside = false;
    let mut caller = rig.invite("a");
    let [mut first, mut second] = [TARGET, SECOND].map(|address| rig.target(address));
    first.respond(&mut rig, 486, "");
    second.respond(&mut rig, 503, "");
    let mut third = rig.target(THIRD);
    third.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
}

#[test]
fn a_refusal_for_all_ends_the_race() {
    let mut rig = Rig::new();
    rig.plan = side_by_side();
    let mut caller = rig.invite("a");
    let mut legs = [TARGET, SECOND, THIRD].map(|address| rig.target(address));
    legs[0].respond(&mut rig, 180, "");
    legs[1].respond(&mut rig, 603, "");

    assert_eq!(caller.statuses(&mut rig), [100, 180, 603]);
    assert_eq!(legs[0].requests(&mut rig), ["CANCEL"]);
}

/// Three targets at once.
fn side_by_side() -> Box<Plan> {
    side_by_side_with(LegPolicy::default())
}

pub(super) fn side_by_side_with(dialog: LegPolicy) -> Box<Plan> {
    let mut plan = plan(dialog);
    let mut third = plan.attempts[1].clone();
    third.destination =
        plan.attempts[1].destination.map(|it| Destination { peer: addr(THIRD), ..it });
    plan.attempts.push(third);
    for attempt in &mut plan.attempts[1..] {
        attempt.manner.beside = true;
    }
    plan
}

/// What a target's `sip` table comes to.
pub(super) fn manner(sip: serde_json::Value) -> Manner {
    let serde_json::Value::Object(sip) = sip else { panic!("a table") };
    let config = TargetConfig { id: "tgt", buyer: "buy", sip: &sip, trunks: vec![] };
    let targets = Targets::compile([config], &Carriers::built_in(), 40).unwrap();
    let policy = targets.get("tgt").and_then(|it| it.policy.clone());
    Manner { policy, ..Manner::default() }
}
