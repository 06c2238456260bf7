//! Calls that the carrier is told to take elsewhere (spec/sip R1 to R7, bug 30).

use super::*;
use crate::sip::call::plan::{Handover, Referral};
use crate::sip::call::report::Means;

const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY\r\n";

#[test]
fn a_302_names_the_targets_and_ends_the_call() {
    let mut rig = Rig::new();
    for attempt in &mut rig.plan.attempts {
        attempt.handover = Some(Box::new(Handover::Redirect { counted: false }));
    }
    let mut caller = rig.invite("a");

    let moved = rig.to(CARRIER).pop().unwrap();
    assert!(moved.starts_with("SIP/2.0 302 "), "{moved}");
    assert!(moved.contains("Contact: <sip:+18005550100@198.51.100.1:5070>;q=1.0\r\nContact: <sip:+18005550100@198.51.100.2:5080>;q=0.9\r\n"), "{moved}");
    assert_eq!(caller.statuses(&mut rig), [100, 302]);
    caller.ack_failure(&mut rig);
    assert_eq!(
        rig.reports(),
        [
            Report::AttemptStarted { attempt: 1 },
            Report::HandedOver { attempt: 1, by: Means::Redirect, status: None },
            ended(Party::System, Reason::HandedOver, 302),
        ]
    );
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn a_caller_that_leaves_by_cancel_or_bye_before_its_302_is_written_hears_the_302() {
    for leaves in ["CANCEL", "BYE"] {
        let mut rig = Rig::new();
        rig.plan.attempts[1].handover = Some(Box::new(Handover::Redirect { counted: false }));
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.respond(&mut rig, 180, "");
        rig.writes = false;
        target.respond(&mut rig, 486, "");
        assert_eq!(caller.statuses(&mut rig), [100, 180], "the 302 waits for the disk");
        match leaves {
            "BYE" => caller.request(&mut rig, "BYE", ""),
            _ => caller.cancel(&mut rig),
        }
        assert_eq!(caller.statuses(&mut rig), [200, 302], "{leaves}");
        caller.ack_failure(&mut rig);

        rig.writes = true;
        rig.route();
        assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "{leaves}");
        let told = rig.reports().last();
        assert!(matches!(told, Some(Report::Ended { status: 302, .. })), "{leaves}: {told:?}");
        rig.pass(Duration::from_secs(70));
        assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0), "{leaves}");
    }
}

#[test]
fn a_refer_follows_the_ack_and_its_last_notify_ends_the_call() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);

    assert_eq!(caller.requests(&mut rig), ["REFER"]);
    let refer = rig.to(CARRIER).pop().unwrap();
    assert_eq!(header(&refer, "Refer-To"), "<sip:+16145550163@sip.carrier.example>");
    assert_eq!(header(&refer, "Referred-By"), "<sip:203.0.113.1:5060>");
    caller.respond(&mut rig, 202, "");
    notify(&mut caller, &mut rig, "active;expires=60", "SIP/2.0 100 Trying\r\n");
    assert_eq!(caller.statuses(&mut rig), [200]);
    notify(&mut caller, &mut rig, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n");
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    caller.respond(&mut rig, 200, "");

    assert_eq!(
        rig.reports()[3..],
        [
            Report::HandedOver { attempt: 1, by: Means::Refer, status: Some(200) },
            ended(Party::System, Reason::HandedOver, 200),
        ]
    );
    // A NOTIFY that comes after our BYE is heard too (spec/sip R6).
    notify(&mut caller, &mut rig, "terminated", "SIP/2.0 200 OK\r\n");
    assert_eq!(caller.statuses(&mut rig), [200]);
    rig.pass(Duration::from_secs(70));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn the_caller_is_answered_with_silence_that_fits_its_offer() {
    let mut rig = referring();
    taken(&mut rig);

    let ok = rig.to(CARRIER).into_iter().find(|text| text.starts_with("SIP/2.0 200")).unwrap();
    assert!(ok.ends_with("m=audio 9 RTP/AVP 0\r\na=inactive\r\n"), "{ok}");
}

#[test]
fn other_events_are_bad_and_a_notify_without_event_is_malformed() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 202, "");

    caller.request(&mut rig, "NOTIFY", "");
    assert_eq!(caller.statuses(&mut rig), [400]);
    let text = caller.text("NOTIFY", "").replace("Contact:", "Event: presence\r\nContact:");
    caller.cseq += 1;
    rig.receive(CARRIER, &text);
    assert_eq!(caller.statuses(&mut rig), [489]);
}

#[test]
fn a_carrier_that_refuses_the_refer_is_bridged_to_the_target() {
    for status in [405, 403, 501, 603] {
        let mut rig = referring();
        let mut caller = taken(&mut rig);
        caller.requests(&mut rig);
        caller.respond(&mut rig, status, "");
        let mut target = rig.target(TARGET);
        target.respond(&mut rig, 180, "");
        assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "it has been answered");
        target.respond(&mut rig, 200, SDP_B);
        assert_eq!(target.requests(&mut rig), ["ACK"]);
        assert_eq!(caller.requests(&mut rig), ["INVITE"]);
        let reinvite = rig.to(CARRIER).pop().unwrap();
        assert!(reinvite.contains("m=audio 6000 RTP/AVP 0"), "{reinvite}");
        caller.respond(&mut rig, 200, SDP_A);
        assert_eq!(caller.requests(&mut rig), ["ACK"]);
        caller.request(&mut rig, "BYE", "");
        assert_eq!(target.requests(&mut rig), ["BYE"]);
        target.respond(&mut rig, 200, "");

        assert_eq!(
            rig.reports(),
            [
                Report::AttemptStarted { attempt: 1 },
                Report::Taken,
                Report::AttemptProgress { attempt: 1, status: 180 },
                Report::Answered { attempt: 1 },
                // Not before it has taken what the target answered (spec/sip R15).
                Report::Confirmed,
                ended(Party::Caller, Reason::CallerHungUp, 200),
            ]
        );
        rig.pass(Duration::from_secs(70));
        assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
    }
}

#[test]
fn a_late_offer_is_answered_by_the_connected_caller() {
    let mut rig = referring();
    let mut caller = rig.caller("a");
    caller.offer = "";
    caller.extra = ALLOW;
    caller.send_invite(&mut rig);
    rig.route();
    caller.statuses(&mut rig);
    caller.ack_with(&mut rig, SDP_A);
    caller.requests(&mut rig);
    caller.respond(&mut rig, 405, "");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "the answer is to come");
    caller.respond(&mut rig, 200, SDP_A);

    assert_eq!(target.requests(&mut rig), ["ACK"]);
    assert!(rig.to(TARGET).pop().unwrap().contains("m=audio 4000"));
}

#[test]
fn a_carrier_that_does_not_allow_refer_is_not_answered_early() {
    let mut rig = referring();
    let mut caller = rig.caller("a");
    caller.extra = "Allow: INVITE, ACK, BYE, CANCEL\r\n";
    caller.send_invite(&mut rig);
    rig.route();
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    assert!(rig.to(CARRIER).pop().unwrap().contains("m=audio 6000"));
}

#[test]
fn a_challenged_refer_is_sent_again() {
    let mut rig = Rig::trunk(
        serde_json::json!({ "credentials": { "username": "harbor", "password": "hunter2" } }),
    );
    refer(&mut rig);
    let mut caller = taken(&mut rig);
    caller.fields =
        String::from("WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n");
    caller.respond(&mut rig, 401, "");
    caller.fields.clear();

    assert_eq!(caller.requests(&mut rig), ["REFER", "REFER"]);
    let again = rig.to(CARRIER).pop().unwrap();
    assert!(header(&again, "Authorization").contains("realm=\"a\""));
    caller.respond(&mut rig, 202, "");
    // The subscription is named after the number of the REFER that was accepted.
    let id = header(&again, "CSeq").split(' ').next().unwrap();
    let text = notify_text(&caller, &format!("refer;id={id}"), "terminated", "SIP/2.0 200 OK");
    caller.cseq += 1;
    rig.receive(CARRIER, &text);
    let handed = Report::HandedOver { attempt: 1, by: Means::Refer, status: Some(200) };
    assert!(rig.reports().contains(&handed));
}

#[test]
fn a_failed_transfer_leads_to_the_next_target() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 202, "");
    notify(&mut caller, &mut rig, "terminated", "SIP/2.0 503 Service Unavailable\r\n");
    let mut second = rig.target(SECOND);
    second.respond(&mut rig, 200, SDP_B);

    caller.statuses(&mut rig);
    assert_eq!(caller.requests(&mut rig), ["REFER", "INVITE"]);
    assert_eq!(second.requests(&mut rig), ["ACK"]);
}

#[test]
fn a_caller_that_owes_the_prack_of_a_description_is_bridged_and_not_taken() {
    let (mut rig, mut caller, described) = described_before_the_refer();
    let mut second = rig.target(SECOND);
    assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "RFC 3262 §3");

    confirm(&mut rig, &mut caller, &described);
    second.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [200, 200], "of the PRACK and of the INVITE");
    caller.cseq = 1;
    caller.ack(&mut rig);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn a_caller_that_has_confirmed_a_description_is_taken_and_told_nothing_twice() {
    let mut rig = by_refer_second();
    let mut caller = describing_caller(&mut rig);
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 183, SDP_B);
    let described = caller.news(&mut rig, 0).pop().unwrap();
    confirm(&mut rig, &mut caller, &described);
    target.respond(&mut rig, 486, "");

    assert_eq!(caller.statuses(&mut rig), [200, 200], "of the PRACK and of the INVITE");
    caller.cseq = 1;
    caller.ack(&mut rig);
    assert_eq!(caller.requests(&mut rig), ["REFER"], "not what stands in for a description, too");
}

#[test]
fn without_a_notify_the_call_is_let_go_and_its_outcome_said_to_be_unknown() {
    for trying in [false, true] {
        let mut rig = referring();
        let mut caller = taken(&mut rig);
        caller.respond(&mut rig, 202, "");
        if trying {
            notify(&mut caller, &mut rig, "active", "SIP/2.0 100 Trying\r\n");
        }
        caller.requests(&mut rig);
        rig.pass(Duration::from_millis(if trying { 60_100 } else { 5_100 }));

        assert_eq!(caller.requests(&mut rig), ["BYE"]);
        let unknown = Report::HandedOver { attempt: 1, by: Means::Refer, status: None };
        assert!(rig.reports().contains(&unknown));
    }
}

#[test]
fn a_carrier_that_hangs_up_first_is_believed() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 202, "");
    caller.request(&mut rig, "BYE", "");

    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(rig.reports().last(), Some(&ended(Party::Caller, Reason::HandedOver, 200)));
    rig.pass(Duration::from_secs(70));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn a_caller_who_hangs_up_while_the_target_rings_ends_the_attempt() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 405, "");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.request(&mut rig, "BYE", "");

    assert_eq!(target.requests(&mut rig), ["CANCEL"]);
    target.respond(&mut rig, 200, "");
    target.respond_to_invite(&mut rig, 487, "");
    assert_eq!(rig.reports().last(), Some(&ended(Party::Caller, Reason::CallerAbandoned, 200)));
    rig.pass(Duration::from_secs(70));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn a_glare_with_the_connecting_offer_is_tried_again() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 405, "");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    caller.requests(&mut rig);
    caller.respond(&mut rig, 491, "");
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    rig.pass(Duration::from_millis(800));

    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
}

/// Else the caller would be offered what the target first answered upon what it says now.
#[test]
fn an_offer_that_comes_before_the_caller_is_connected_is_to_come_again() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 405, "");
    let mut target = rig.target(TARGET);
    rig.writes = false;
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    caller.requests(&mut rig);

    let moved = SDP_B.replace("6000", "6666");
    target.request(&mut rig, "UPDATE", &moved);
    assert_eq!(target.statuses(&mut rig), [491], "the answer is not on disk yet");
    caller.request(&mut rig, "INVITE", &SDP_A.replace("4000", "4444"));
    assert_eq!(caller.statuses(&mut rig), [491]);
    caller.ack(&mut rig);

    rig.writes = true;
    rig.route();
    let offered = caller.news(&mut rig, 1).pop().unwrap();
    assert!(offered.starts_with("INVITE ") && offered.contains("m=audio 6000"), "{offered}");
    caller.respond(&mut rig, 491, "");
    target.request(&mut rig, "UPDATE", &moved);
    assert_eq!(target.statuses(&mut rig), [491], "it is offered again soon");
    rig.pass(Duration::from_millis(800));
    caller.requests(&mut rig);
    caller.respond(&mut rig, 200, SDP_A);

    target.request(&mut rig, "UPDATE", &moved);
    let offered = caller.news(&mut rig, 1).pop().unwrap();
    assert!(offered.contains("m=audio 6666"), "{offered}");
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(target.statuses(&mut rig), [200]);
}

#[test]
fn a_caller_that_cannot_be_connected_is_hung_up_with_its_target() {
    let mut rig = referring();
    let mut caller = taken(&mut rig);
    caller.respond(&mut rig, 405, "");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    caller.respond(&mut rig, 488, "");

    assert_eq!(caller.requests(&mut rig).last().map(String::as_str), Some("BYE"));
    assert_eq!(target.requests(&mut rig), ["ACK", "BYE"]);
}

/// Only the second target is called by REFER.
fn by_refer_second() -> Rig {
    let mut rig = referring();
    rig.plan.attempts[1].handover = rig.plan.attempts[0].handover.take();
    rig
}

/// Its responses are reliable.
fn describing_caller(rig: &mut Rig) -> Side_ {
    let mut caller = rig.caller("a");
    caller.extra = "Require: 100rel\r\nAllow: INVITE, REFER, NOTIFY\r\n";
    caller.send_invite(rig);
    caller.extra = "";
    caller
}

/// The first target has described itself and is busy; the caller has yet to confirm the former.
fn described_before_the_refer() -> (Rig, Side_, String) {
    let mut rig = by_refer_second();
    let mut caller = describing_caller(&mut rig);
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 183, SDP_B);
    let described = caller.news(&mut rig, 0).pop().unwrap();
    target.respond(&mut rig, 486, "");
    (rig, caller, described)
}

fn confirm(rig: &mut Rig, caller: &mut Side_, described: &str) {
    caller.fields = format!("RAck: {} 1 INVITE\r\n", header(described, "RSeq"));
    caller.request(rig, "PRACK", "");
    caller.fields = String::new();
}

/// A carrier whose call is to be referred, and was answered for that.
fn taken(rig: &mut Rig) -> Side_ {
    let mut caller = rig.caller("a");
    caller.extra = ALLOW;
    caller.send_invite(rig);
    rig.route();
    caller.extra = "";
    assert_eq!(caller.statuses(rig), [100, 200]);
    assert_eq!(caller.requests(rig), Vec::<String>::new(), "REFER waits for the ACK");
    caller.ack(rig);
    caller
}

fn referring() -> Rig {
    let mut rig = Rig::new();
    refer(&mut rig);
    rig
}

/// The first target by REFER.
fn refer(rig: &mut Rig) {
    rig.plan.attempts[0].handover = Some(Box::new(Handover::Refer(Referral {
        refer_to: Bytes::from("sip:+16145550163@sip.carrier.example"),
        referred_by: true,
        first_notify: Duration::from_secs(5),
        final_notify: Duration::from_secs(60),
    })));
}

fn notify(caller: &mut Side_, rig: &mut Rig, state: &str, fragment: &str) {
    let text = notify_text(caller, "refer", state, fragment);
    caller.cseq += 1;
    rig.receive(CARRIER, &text);
}

fn notify_text(caller: &Side_, event: &str, state: &str, fragment: &str) -> String {
    let lines = format!("Event: {event}\r\nSubscription-State: {state}\r\nContact:");
    caller
        .text("NOTIFY", fragment)
        .replace("Contact:", &lines)
        .replace("application/dtmf-relay", "message/sipfrag")
}

fn ended(party: Party, reason: Reason, status: u16) -> Report {
    Report::Ended { party, reason, status, q850: None }
}
