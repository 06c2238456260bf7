//! Targets that ask to be replaced (spec/sip R8 to R12, bug 30).

use super::*;
use crate::sip::call::report::Place;
use crate::sip::policy::Destinations;
use crate::sip::policy::config::DestinationPolicy;
use crate::sip::target::{TargetConfig, TargetRules};

const NEW: &str = "198.51.100.1:5099";
const REFER_TO: &str = "Refer-To: <sip:colleague@198.51.100.1:5099>\r\n";
const SDP_C: &str = "v=0\r\no=c 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\n";

#[test]
fn a_target_is_replaced_and_leaves_only_after_it_has_heard_so() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    assert_eq!(target.statuses(&mut rig), [202]);
    assert_eq!(notified(&mut target, &mut rig), ["100"]);
    target.respond_to_all(&mut rig, 200);
    let mut new = rig.target(NEW);
    assert!(!rig.to(NEW)[0].contains("m=audio"), "the new party makes the offer");
    new.respond(&mut rig, 180, "");
    new.respond(&mut rig, 180, "");
    assert_eq!(notified(&mut target, &mut rig), ["180"], "each status once");
    new.respond_to_invite(&mut rig, 200, SDP_C);
    assert_eq!(new.requests(&mut rig), Vec::<String>::new(), "the caller's answer is to come");
    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    assert!(rig.to(CARRIER).pop().unwrap().contains("m=audio 7000"));
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    assert_eq!(new.requests(&mut rig), ["ACK"]);
    assert!(rig.to(NEW).pop().unwrap().contains("m=audio 4000"));

    assert_eq!(notified(&mut target, &mut rig), ["200"], "no BYE beside it");
    let last = rig.to(TARGET).pop().unwrap();
    assert_eq!(header(&last, "Subscription-State"), "terminated;reason=noresource");
    target.respond(&mut rig, 200, "");
    assert_eq!(target.requests(&mut rig), ["BYE"]);
    target.respond(&mut rig, 200, "");
    new.request(&mut rig, "BYE", "");
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    caller.respond(&mut rig, 200, "");

    assert_eq!(
        rig.reports()[3..],
        [
            Report::TransferStarted {
                attempt: 3,
                uri: Place("sip:colleague@198.51.100.1:5099".into())
            },
            Report::Transferred { attempt: 3 },
            Report::Ended {
                party: Party::Target,
                reason: Reason::TargetHungUp,
                status: 200,
                q850: None
            },
        ]
    );
    is_forgotten(&mut rig);
}

#[test]
fn a_final_notify_that_is_never_answered_does_not_keep_the_target() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    rig.target(NEW).respond(&mut rig, 200, SDP_C);
    caller.respond(&mut rig, 200, SDP_A);
    target.requests(&mut rig);
    rig.pass(Duration::from_secs(33));

    assert!(target.requests(&mut rig).contains(&String::from("BYE")));
    assert_eq!(rig.endpoint.calls(), 1, "the caller talks to the new party");
}

#[test]
fn a_new_party_that_refuses_leaves_the_call_as_it_was() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    let mut new = rig.target(NEW);
    new.respond(&mut rig, 486, "");

    assert_eq!(notified(&mut target, &mut rig), ["100", "486"]);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
    target.respond_to_all(&mut rig, 200);
    caller.request(&mut rig, "INFO", "Signal=5");
    assert_eq!(target.requests(&mut rig), ["INFO"]);
    let failed =
        Report::TransferFailed { attempt: 3, status: 486, reason: Reason::AttemptRejected };
    assert!(rig.reports().contains(&failed));
}

#[test]
fn a_new_party_that_rings_out_or_is_dead_leaves_the_call_as_it_was() {
    for rings in [true, false] {
        let (mut rig, _, mut target) = connected("accept");
        refer(&mut target, &mut rig, REFER_TO);
        target.statuses(&mut rig);
        let mut new = rig.target(NEW);
        if rings {
            new.respond(&mut rig, 180, "");
        }
        rig.pass(Duration::from_millis(6_100));

        let told = notified(&mut target, &mut rig);
        assert_eq!(told.last().map(String::as_str), Some("408"), "{told:?}");
        assert_eq!(new.requests(&mut rig).contains(&String::from("CANCEL")), rings);
        assert_eq!(rig.endpoint.calls(), 1);
    }
}

#[test]
fn a_new_party_to_whom_nothing_can_be_sent_leaves_the_call_as_it_was_at_once() {
    let (mut rig, _, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    rig.input(Input::FlowFailed { flow: Flow::udp(ListenerId(0), addr(NEW)) });

    assert_eq!(notified(&mut target, &mut rig), ["100", "503"]);
    let (attempt, status, reason) = (3, 503, Reason::AttemptCarrierFailed);
    let failed = Report::TransferFailed { attempt, status, reason };
    assert_eq!(rig.reports().last(), Some(&failed));

    let (mut rig, _, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    rig.target(NEW).respond(&mut rig, 180, "");
    rig.input(Input::FlowFailed { flow: Flow::udp(ListenerId(0), addr(NEW)) });

    assert_eq!(notified(&mut target, &mut rig), ["100", "180"], "it is there");
}

#[test]
fn a_challenged_notify_is_sent_again_and_what_follows_counts_on() {
    let (mut rig, mut caller, mut target) = connected_as(serde_json::json!({
        "refer": { "policy": "accept" },
        "credentials": { "username": "harbor", "password": "hunter2" }
    }));
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    let challenge = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n";
    target.fields = challenge.to_owned();
    target.respond(&mut rig, 401, "");
    target.fields = challenge.replace("n1", "n2").replace("qop", "stale=true, qop");
    let mut new = rig.target(NEW);
    new.respond(&mut rig, 180, "");
    new.respond_to_invite(&mut rig, 200, SDP_C);
    caller.respond(&mut rig, 200, SDP_A);
    target.respond(&mut rig, 401, "");
    target.fields.clear();
    target.respond(&mut rig, 200, "");

    let sent: Vec<String> = target
        .news(&mut rig, 1)
        .iter()
        .filter(|text| !text.starts_with("SIP/2.0") && !text.starts_with("ACK"))
        .map(|text| {
            let fragment = text.split("\r\n\r\nSIP/2.0 ").nth(1);
            format!("{} {}", header(text, "CSeq"), fragment.map_or("", |it| &it[..3]))
        })
        .collect();
    let notifies = ["2 NOTIFY 100", "3 NOTIFY 100", "4 NOTIFY 180", "5 NOTIFY 200", "6 NOTIFY 200"];
    assert_eq!(sent, [&notifies[..], &["7 BYE "]].concat());
}

#[test]
fn a_caller_that_refuses_the_new_session_stays_with_the_target() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    let mut new = rig.target(NEW);
    new.respond(&mut rig, 200, SDP_C);
    caller.respond(&mut rig, 488, "");

    assert_eq!(new.requests(&mut rig), ["ACK", "BYE"]);
    assert_eq!(notified(&mut target, &mut rig), ["100", "488"]);
    caller.requests(&mut rig);
    target.request(&mut rig, "INFO", "Signal=5");
    assert_eq!(caller.requests(&mut rig), ["INFO"]);
}

#[test]
fn a_referrer_that_hangs_up_early_does_not_take_the_caller_along() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    let mut new = rig.target(NEW);
    target.request(&mut rig, "BYE", "");
    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
    new.respond(&mut rig, 200, SDP_C);
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(new.requests(&mut rig), ["ACK"]);
    caller.request(&mut rig, "BYE", "");
    assert_eq!(new.requests(&mut rig), ["BYE"]);
    new.respond(&mut rig, 200, "");
    is_forgotten(&mut rig);
}

#[test]
fn a_referrer_that_hung_up_leaves_nobody_if_its_replacement_fails() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    let mut new = rig.target(NEW);
    target.request(&mut rig, "BYE", "");
    new.respond(&mut rig, 486, "");

    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    caller.respond(&mut rig, 200, "");
    assert!(matches!(rig.reports().last(), Some(Report::Ended { party: Party::Target, .. })));
    is_forgotten(&mut rig);
}

#[test]
fn a_caller_who_was_passed_on_is_not_passed_to_the_next_target_too() {
    for policy in ["relay", "accept"] {
        let (mut rig, mut caller, mut target) = recovering(policy);
        refer(&mut target, &mut rig, REFER_TO);
        let mut last = target.clone();
        if policy == "accept" {
            last = rig.target(NEW);
            last.respond(&mut rig, 200, SDP_C);
            caller.respond(&mut rig, 200, SDP_A);
            assert_eq!(last.requests(&mut rig), ["ACK"]);
        } else {
            caller.respond(&mut rig, 202, "");
        }
        caller.requests(&mut rig);
        last.request(&mut rig, "BYE", "");

        assert_eq!(caller.requests(&mut rig), ["BYE"], "{policy}");
        assert_eq!(rig.to(SECOND), Vec::<String>::new(), "{policy}");
        let ended = rig.reports().last().cloned();
        assert!(matches!(ended, Some(Report::Ended { party: Party::Target, .. })), "{policy}");
    }
}

#[test]
fn a_referrer_may_hang_up_right_after_the_final_notify() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    rig.target(NEW).respond(&mut rig, 200, SDP_C);
    caller.respond(&mut rig, 200, SDP_A);
    target.statuses(&mut rig);
    target.requests(&mut rig);
    target.request(&mut rig, "BYE", "");

    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_caller_that_hangs_up_during_the_transfer_ends_all_of_it() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    let mut new = rig.target(NEW);
    new.respond(&mut rig, 180, "");
    caller.request(&mut rig, "BYE", "");

    assert_eq!(new.requests(&mut rig), ["CANCEL"]);
    new.respond(&mut rig, 200, "");
    new.respond_to_invite(&mut rig, 487, "");
    assert!(target.requests(&mut rig).contains(&String::from("BYE")));
    target.respond_to_all(&mut rig, 200);
    target.respond(&mut rig, 200, "");
    is_forgotten(&mut rig);
}

#[test]
fn a_new_party_that_answers_too_late_is_ended() {
    let (mut rig, mut caller, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    let mut new = rig.target(NEW);
    new.respond(&mut rig, 180, "");
    rig.pass(Duration::from_millis(6_100));
    new.requests(&mut rig);
    new.respond_to_invite(&mut rig, 200, SDP_C);

    assert_eq!(new.requests(&mut rig), ["ACK", "BYE"]);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn a_refer_to_anywhere_is_refused() {
    for (lines, status) in [
        ("Refer-To: <sip:+447911123456@premium.example>\r\n", 403),
        ("Refer-To: <sip:x@203.0.113.200>\r\n", 403),
        ("Refer-To: <tel:+447911123456>\r\n", 403),
        ("Refer-To: <sip:+18005550100@198.51.100.1:5070>\r\n", 403),
        ("Refer-To: <sip:x@198.51.100.1;method=BYE>\r\n", 403),
        ("Refer-To: <sip:x@198.51.100.1?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>\r\n", 501),
        ("Refer-To: <sip:x@198.51.100.1>\r\nRefer-To: <sip:y@198.51.100.1>\r\n", 400),
        ("Refer-To: nonsense\r\n", 400),
        ("", 400),
    ] {
        let (mut rig, _, mut target) = connected("accept");
        let before = rig.all.len();
        refer(&mut target, &mut rig, lines);

        assert_eq!(target.statuses(&mut rig), [status], "{lines}");
        assert_eq!(rig.all.len(), before + 1, "nothing else is sent: {lines}");
        assert_eq!(rig.endpoint.calls(), 1);
    }
}

#[test]
fn a_refer_to_ourselves_or_to_a_barred_number_is_refused() {
    for user in ["x@203.0.113.1", "+19005550163@198.51.100.1:5099"] {
        let (mut rig, _, mut target) = connected_as(serde_json::json!({
            "refer": { "policy": "accept", "hosts": ["203.0.113.1"] }
        }));
        refer(&mut target, &mut rig, &format!("Refer-To: <sip:{user}>\r\n"));

        assert_eq!(target.statuses(&mut rig), [403], "{user}");
    }
}

#[test]
fn who_may_refer_is_said_by_the_target_s_rules() {
    let (mut rig, mut caller, mut target) = connected("reject");
    refer(&mut target, &mut rig, REFER_TO);
    assert_eq!(target.statuses(&mut rig), [403]);

    let text = with(&caller, REFER_TO);
    caller.cseq += 1;
    rig.receive(CARRIER, &text);
    assert_eq!(caller.statuses(&mut rig), [403], "a caller may not refer");

    let outside = caller.invite_like("REFER").replace("z9hG4bKa", "z9hG4bKnew");
    rig.receive(CARRIER, &outside.replace("callid-a", "callid-z"));
    assert!(rig.to(CARRIER).pop().unwrap().starts_with("SIP/2.0 403 "), "nor outside of a call");
}

#[test]
fn a_second_refer_waits_for_the_first() {
    let (mut rig, _, mut target) = connected("accept");
    refer(&mut target, &mut rig, REFER_TO);
    target.statuses(&mut rig);
    refer(&mut target, &mut rig, "Refer-To: <sip:other@198.51.100.1:5098>\r\n");

    assert_eq!(target.statuses(&mut rig), [491]);
}

#[test]
fn a_relayed_refer_and_its_notifies_pass_from_leg_to_leg() {
    let (mut rig, mut caller, mut target) = connected("relay");
    target.cseq = 40;
    refer(&mut target, &mut rig, &format!("{REFER_TO}Referred-By: <sip:agent@10.0.0.7>\r\n"));
    assert_eq!(caller.requests(&mut rig), ["REFER"]);
    let relayed = rig.to(CARRIER).pop().unwrap();
    assert_eq!(header(&relayed, "Refer-To"), "<sip:colleague@198.51.100.1:5099>");
    assert!(!relayed.contains("agent@10.0.0.7"), "the carrier is not told who asked: {relayed}");
    caller.respond(&mut rig, 202, "");
    assert_eq!(target.statuses(&mut rig), [202]);

    let lines = "Event: refer;id=1\r\nSubscription-State: terminated\r\nContact:";
    let fragment = "SIP/2.0 200 OK\r\nCall-ID: the-carriers-own\r\n";
    let notify = caller.text("NOTIFY", fragment).replace("Contact:", lines);
    caller.cseq += 1;
    rig.receive(CARRIER, &notify);
    assert_eq!(target.requests(&mut rig), ["NOTIFY"]);
    let relayed = rig.to(TARGET).pop().unwrap();
    assert_eq!(header(&relayed, "Event"), "refer;id=41", "as who asked knows it");
    assert!(relayed.ends_with("\r\n\r\nSIP/2.0 200 OK\r\n"), "{relayed}");
    target.respond(&mut rig, 200, "");
    assert_eq!(caller.statuses(&mut rig), [200]);
}

fn connected(policy: &str) -> (Rig, Side_, Side_) {
    connected_as(serde_json::json!({ "refer": { "policy": policy } }))
}

/// A second target is called if the first hangs up at once.
fn recovering(policy: &str) -> (Rig, Side_, Side_) {
    let mut rig = Rig::new();
    rig.plan.recoveries = 1;
    rig.plan.attempts[0].recovers_within = Duration::from_secs(15);
    connected_in(rig, serde_json::json!({ "refer": { "policy": policy } }))
}

fn connected_as(config: serde_json::Value) -> (Rig, Side_, Side_) {
    connected_in(Rig::new(), config)
}

/// Numbers of premium services are barred.
fn connected_in(mut rig: Rig, config: serde_json::Value) -> (Rig, Side_, Side_) {
    let config: TargetConfig = serde_json::from_value(config).unwrap();
    let planned = &mut rig.plan.attempts[0];
    planned.rules = Some(Arc::new(TargetRules::compile("t", &config).unwrap()));
    let barred = DestinationPolicy { deny: vec!["premium".into()], ..Default::default() };
    let barred = Arc::new(Destinations::compile(&barred).unwrap());
    planned.manner.destinations = [Some(barred), None];
    let (caller, target) = rig.connected();
    (rig, caller, target)
}

fn refer(target: &mut Side_, rig: &mut Rig, lines: &str) {
    let text = with(target, lines);
    target.cseq += 1;
    let from = target.address.to_string();
    rig.receive(&from, &text);
}

fn with(side: &Side_, lines: &str) -> String {
    side.text("REFER", "").replace("Contact:", &format!("{lines}Contact:"))
}

/// The statuses of the NOTIFYs to this party since it last looked; nothing else must have come.
fn notified(side: &mut Side_, rig: &mut Rig) -> Vec<String> {
    side.news(rig, 1)
        .iter()
        .filter(|text| !text.starts_with("SIP/2.0"))
        .map(|text| {
            assert!(text.starts_with("NOTIFY "), "{text}");
            let fragment = text.split("\r\n\r\n").nth(1).unwrap();
            fragment.split(' ').nth(1).unwrap().to_owned()
        })
        .collect()
}

pub(super) fn is_forgotten(rig: &mut Rig) {
    rig.pass(Duration::from_secs(70));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}
