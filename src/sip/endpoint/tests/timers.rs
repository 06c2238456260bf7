//! Session timers: who refreshes, by which method, and what happens if nobody does (spec/sip D12
//! to D16, bug 24).

use super::*;
use crate::sip::leg::session_timer::Policy;

const S: Duration = Duration::from_secs(1);
/// Half of 90 s, and the wheel's resolution.
const HALF: Duration = Duration::from_millis(45_010);

/// Who refreshes a leg, as its peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refreshes {
    Peer,
    Us,
    /// There is no timer.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Invite,
    Update,
    /// Not at all.
    Missed,
}

const MATRIX: [(Refreshes, By); 9] = [
    (Refreshes::Peer, By::Invite),
    (Refreshes::Peer, By::Update),
    (Refreshes::Peer, By::Missed),
    (Refreshes::Us, By::Invite),
    (Refreshes::Us, By::Update),
    (Refreshes::Us, By::Missed),
    (Refreshes::Nobody, By::Invite),
    (Refreshes::Nobody, By::Update),
    (Refreshes::Nobody, By::Missed),
];

#[test]
fn every_refresh_of_the_caller_s_leg_resets_its_clock_and_a_missed_one_ends_the_call() {
    for case in MATRIX {
        let (mut rig, mut caller, mut target) = with_timer_of_caller(case);

        let is_up = go_through(case, &mut rig, &mut caller, SDP_A, &mut target);

        assert_eq!(is_up, case.1 != By::Missed || case.0 == Refreshes::Nobody, "{case:?}");
    }
}

#[test]
fn every_refresh_of_the_target_s_leg_resets_its_clock_and_a_missed_one_ends_the_call() {
    for case in MATRIX {
        let (mut rig, mut caller, mut target) = with_timer_of_target(case);

        let is_up = go_through(case, &mut rig, &mut target, SDP_B, &mut caller);

        assert_eq!(is_up, case.1 != By::Missed || case.0 == Refreshes::Nobody, "{case:?}");
    }
}

#[test]
fn a_session_that_nobody_refreshed_ends_with_a_reason_on_both_legs() {
    let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Peer, By::Missed));

    rig.pass(59 * S);
    assert_eq!(rig.endpoint.calls(), 1);
    rig.pass(2 * S);

    for party in [&mut caller, &mut target] {
        let byes = party.news(&mut rig, 1);
        let bye = byes.iter().find(|text| text.starts_with("BYE ")).unwrap();
        assert!(bye.contains("Reason: Q.850;cause=102;"), "{bye}");
    }
    let reason = Reason::SessionExpired;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn both_legs_may_have_timers_of_their_own() {
    let policy = asking(120);
    let mut rig = Rig::with(serde_json::json!({}), policy);
    let mut caller = rig.caller("a");
    caller.extra = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: UPDATE\r\n";
    caller.send_invite(&mut rig);
    rig.route();
    let mut target = rig.target(TARGET);
    assert_eq!(header(&target.invite, "Session-Expires"), "120");
    assert_eq!(header(&target.invite, "Supported"), "timer");
    target.fields = String::from("Session-Expires: 100;refresher=uas\r\nAllow: UPDATE\r\n");
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    target.requests(&mut rig);

    // Ours at 45 s, the target's at 50 s; neither hears of the other's.
    for _ in 0..4 {
        rig.pass(HALF);
        assert_eq!(caller.requests(&mut rig), ["UPDATE"]);
        caller.fields = String::from("Session-Expires: 90;refresher=uac\r\n");
        caller.respond(&mut rig, 200, "");
        target.fields = String::from("Supported: timer\r\nSession-Expires: 100;refresher=uac\r\n");
        target.request(&mut rig, "UPDATE", "");
        assert_eq!(target.statuses(&mut rig), [200]);
        assert_eq!(target.requests(&mut rig), Vec::<String>::new());
    }
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn the_caller_is_told_who_refreshes_and_how_often() {
    for (extra, expected) in [
        ("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", Some("90;refresher=uac")),
        ("Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n", Some("300;refresher=uas")),
        ("Supported: timer\r\n", Some("300;refresher=uac")),
        ("", Some("300;refresher=uas")),
    ] {
        let dialog = serde_json::json!({ "session_timer": { "se_s": 300 } });
        let mut rig = Rig::with(dialog, LegPolicy::default());
        let mut caller = rig.caller("a");
        caller.extra = extra;
        caller.send_invite(&mut rig);
        rig.target(TARGET).respond(&mut rig, 200, SDP_B);

        let ok = caller.news(&mut rig, 0).pop().unwrap();
        let told = ok.lines().find_map(|line| line.strip_prefix("Session-Expires: "));
        assert_eq!(told, expected, "{extra}");
        let requires = ok.contains("Require: timer\r\n");
        assert_eq!(requires, expected.is_some_and(|it| it.ends_with("uac")), "{extra}");
    }
}

#[test]
fn a_call_without_timers_is_told_nothing_of_them() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);

    let ok = caller.news(&mut rig, 0).pop().unwrap();
    assert!(!ok.contains("Session-Expires") && !ok.contains("Require"), "{ok}");
}

#[test]
fn a_trunk_without_timers_refuses_who_requires_them_and_ignores_who_asks() {
    let none = || serde_json::json!({ "session_timer": { "supported": false } });
    let mut rig = Rig::with(none(), LegPolicy::default());
    let mut caller = rig.caller("a");
    caller.extra = "Require: timer\r\nSession-Expires: 90\r\n";
    caller.send_invite(&mut rig);
    assert_eq!(caller.statuses(&mut rig), [420]);

    let mut caller = rig.caller("b");
    caller.extra = "Supported: timer\r\nSession-Expires: 90\r\n";
    caller.send_invite(&mut rig);
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    assert!(!caller.news(&mut rig, 0).pop().unwrap().contains("Session-Expires"));
}

#[test]
fn too_short_a_session_is_refused_with_what_we_take() {
    let dialog = serde_json::json!({ "session_timer": { "min_se_s": 600 } });
    let mut rig = Rig::with(dialog, LegPolicy::default());
    let mut caller = rig.caller("a");
    caller.extra = "Supported: timer\r\nSession-Expires: 300\r\n";
    caller.send_invite(&mut rig);

    let refused = caller.news(&mut rig, 0).pop().unwrap();
    assert!(refused.starts_with("SIP/2.0 422 "), "{refused}");
    assert_eq!(header(&refused, "Min-SE"), "600");
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn too_short_a_refresh_is_refused_and_does_no_harm() {
    for (method, body) in [("INVITE", SDP_A), ("UPDATE", "")] {
        let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Peer, By::Update));
        caller.fields = String::from("Supported: timer\r\nSession-Expires: 30;refresher=uac\r\n");
        caller.request(&mut rig, method, body);

        let refused = caller.news(&mut rig, 0).pop().unwrap();
        assert!(refused.starts_with("SIP/2.0 422 "), "{refused}");
        assert_eq!(header(&refused, "Min-SE"), "90");
        assert_eq!(target.requests(&mut rig), Vec::<String>::new());
        assert_eq!(rig.endpoint.calls(), 1);
    }
}

#[test]
fn a_target_s_422_is_met_with_the_interval_it_wants_in_the_same_attempt() {
    let mut rig = Rig::with(serde_json::json!({}), asking(90));
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    let first = target.invite.clone();
    target.fields = String::from("Min-SE: 600\r\n");
    target.respond(&mut rig, 422, "");
    assert_eq!(target.requests(&mut rig), ["ACK", "INVITE"]);

    let mut target = rig.target(TARGET);
    let second = target.invite.clone();
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "From"), header(&first, "From"));
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert_ne!(header(&second, "Via"), header(&first, "Via"));
    assert_eq!(header(&second, "Session-Expires"), "600");
    assert_eq!(header(&second, "Min-SE"), "600");
    assert_eq!(body_of_text(&second), body_of_text(&first));

    target.fields = String::from("Session-Expires: 600;refresher=uac\r\nAllow: UPDATE\r\n");
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    caller.ack(&mut rig);
    let ack = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    let started = Report::AttemptStarted { attempt: 1 };
    assert_eq!(rig.reports().iter().filter(|report| **report == started).count(), 1);
    assert!(!rig.reports().iter().any(|report| matches!(report, Report::AttemptFailed { .. })));

    rig.pass(301 * S);
    let refresh = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(header(&refresh, "Min-SE"), "600", "{refresh}");
}

#[test]
fn a_422_that_asks_for_nothing_new_is_a_refusal() {
    for min_se in ["", "Min-SE: 90\r\n", "Min-SE: soon\r\n"] {
        let mut rig = Rig::with(serde_json::json!({}), asking(90));
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.fields = String::from(min_se);
        target.respond(&mut rig, 422, "");

        assert_eq!(target.requests(&mut rig), ["ACK"], "{min_se}");
        assert_eq!(caller.statuses(&mut rig), [100, 500], "{min_se}");
    }
}

#[test]
fn a_target_that_always_wants_more_is_not_asked_for_ever() {
    let mut rig = Rig::with(serde_json::json!({}), asking(90));
    let mut caller = rig.invite("a");
    for wanted in [100, 200, 300, 400] {
        let mut target = rig.target(TARGET);
        target.fields = format!("Min-SE: {wanted}\r\n");
        target.respond(&mut rig, 422, "");
    }

    assert_eq!(caller.statuses(&mut rig), [100, 500]);
}

#[test]
fn a_cancel_reaches_the_invite_that_was_sent_again() {
    let mut rig = Rig::with(serde_json::json!({}), asking(90));
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.fields = String::from("Min-SE: 600\r\n");
    target.respond(&mut rig, 422, "");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.cancel(&mut rig);

    let cancel = target.news(&mut rig, 1).pop().unwrap();
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    assert_eq!(header(&cancel, "Via"), header(&target.invite, "Via"));
    assert_eq!(header(&cancel, "CSeq"), "2 CANCEL");
}

#[test]
fn a_422_to_our_refresh_is_met_at_once() {
    for by in [By::Update, By::Invite] {
        let (mut rig, mut caller, _) = with_timer_of_caller((Refreshes::Us, by));
        rig.pass(HALF);
        caller.requests(&mut rig);
        caller.fields = String::from("Min-SE: 200\r\n");
        caller.respond(&mut rig, 422, "");

        let again = caller.news(&mut rig, 1).pop().unwrap();
        assert_eq!(header(&again, "Session-Expires"), "200;refresher=uac");
        assert_eq!(header(&again, "Min-SE"), "200");
        caller.fields = String::from("Session-Expires: 200;refresher=uac\r\n");
        caller.respond(&mut rig, 200, if by == By::Invite { SDP_A } else { "" });
        rig.pass(99 * S);
        let due = caller.news(&mut rig, 1);
        assert!(due.iter().all(|text| text.starts_with("ACK ")), "the clock was reset");
        rig.pass(Duration::from_millis(1_200));
        assert_eq!(caller.requests(&mut rig).len(), 1);
        assert_eq!(rig.endpoint.calls(), 1);
    }
}

#[test]
fn a_refresh_that_meets_glare_is_tried_again() {
    for (case, wait) in [
        (with_timer_of_caller((Refreshes::Us, By::Invite)), 0..2000_u64),
        (with_timer_of_target((Refreshes::Us, By::Invite)), 2100..4000),
    ] {
        let (mut rig, caller, target) = case;
        let is_caller = wait.start == 0;
        let mut party = if is_caller { caller } else { target };
        rig.pass(HALF);
        assert_eq!(party.requests(&mut rig), ["INVITE"]);
        party.respond(&mut rig, 491, "");
        assert_eq!(party.requests(&mut rig), ["ACK"]);

        rig.pass(Duration::from_millis(wait.start.saturating_sub(50)));
        assert_eq!(party.requests(&mut rig), Vec::<String>::new());
        rig.pass(Duration::from_millis(wait.end - wait.start + 100));
        assert_eq!(party.requests(&mut rig)[..1], ["INVITE"]);
        assert_eq!(rig.endpoint.calls(), 1);
    }
}

#[test]
fn a_refresh_by_update_that_is_not_taken_after_all_becomes_a_reinvite() {
    let (mut rig, mut caller, _) = with_timer_of_caller((Refreshes::Us, By::Update));
    rig.pass(HALF);
    assert_eq!(caller.requests(&mut rig), ["UPDATE"]);
    caller.respond(&mut rig, 501, "");

    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_until_the_session_is_over() {
    let (mut rig, mut caller, _) = with_timer_of_caller((Refreshes::Us, By::Update));
    rig.pass(HALF);
    caller.respond(&mut rig, 503, "");
    rig.pass(Duration::from_millis(5_100));
    assert_eq!(caller.requests(&mut rig), ["UPDATE", "UPDATE"]);
    caller.respond(&mut rig, 500, "");
    rig.pass(10 * S);

    assert_eq!(caller.requests(&mut rig).last().map(String::as_str), Some("BYE"));
}

#[test]
fn a_peer_that_forgot_the_call_ends_it_when_refreshed() {
    for status in [481, 408] {
        let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Us, By::Update));
        rig.pass(HALF);
        caller.respond(&mut rig, status, "");

        assert_eq!(target.requests(&mut rig), ["BYE"]);
        let reason = Reason::DialogLost;
        let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
        assert_eq!(rig.reports().last(), Some(&ended));
    }
}

#[test]
fn a_success_without_session_expires_ends_the_timer_and_probing_begins() {
    let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Us, By::Update));
    rig.pass(HALF);
    caller.requests(&mut rig);
    caller.fields = String::new();
    caller.respond(&mut rig, 200, "");
    rig.pass(256 * S);
    assert_eq!(target.requests(&mut rig)[..1], ["OPTIONS"], "it never had a timer");
    target.respond(&mut rig, 200, "");
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
    assert_eq!(rig.endpoint.calls(), 1);

    rig.pass(45 * S);
    assert_eq!(caller.requests(&mut rig)[..1], ["OPTIONS"]);
}

#[test]
fn a_leg_with_a_timer_is_not_probed() {
    let case = (Refreshes::Peer, By::Update);
    let (mut rig, mut caller, mut target) = with_timer_of_caller(case);
    for _ in 0..8 {
        rig.pass(40 * S);
        refresh_by_peer(By::Update, &mut rig, &mut caller, SDP_A);
    }

    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
    assert_eq!(target.requests(&mut rig)[..1], ["OPTIONS"], "the other leg has none");
}

#[test]
fn a_refresh_repeats_the_description_that_is_in_force() {
    let (mut rig, mut caller, mut target) = with_timer_of_target((Refreshes::Us, By::Invite));
    let first = body_of_text(&target.invite).to_owned();
    rig.pass(HALF);
    let refresh = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(body_of_text(&refresh), first, "o= included");
    target.fields = String::from("Session-Expires: 90;refresher=uac\r\n");
    target.respond(&mut rig, 200, SDP_B);
    target.requests(&mut rig);

    // The caller moves its media: from now on that is what is refreshed.
    caller.request(&mut rig, "INVITE", &SDP_A.replace("4000", "4444"));
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    let moved = target.news(&mut rig, 1);
    assert!(moved[0].contains("Session-Expires: 90;refresher=uac\r\n"), "{}", moved[0]);
    rig.pass(HALF);
    let refresh = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(body_of_text(&refresh), body_of_text(&moved[0]));
    assert!(body_of_text(&refresh).contains("m=audio 4444"));
}

#[test]
fn a_description_that_moves_with_a_refresh_is_offered_to_the_other_side() {
    let (mut rig, mut caller, mut target) = with_timer_of_target((Refreshes::Us, By::Invite));
    rig.pass(HALF);
    target.requests(&mut rig);
    target.fields = String::from("Session-Expires: 90;refresher=uac\r\n");
    target.respond(&mut rig, 200, &SDP_B.replace("6000", "6666"));

    let offer = caller.news(&mut rig, 1).pop().unwrap();
    assert!(offer.starts_with("INVITE ") && offer.contains("m=audio 6666"), "{offer}");
    caller.respond(&mut rig, 200, &SDP_A.replace("4000", "4444"));
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    assert_eq!(target.requests(&mut rig), ["ACK"], "there is no end to it otherwise");
}

#[test]
fn a_relayed_offer_refreshes_both_legs() {
    let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Peer, By::Update));
    for _ in 0..3 {
        rig.pass(50 * S);
        caller.fields = String::from("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
        let moved = SDP_A.replace("4000", &format!("{}", 5000 + rig.now.0 % 1000));
        caller.request(&mut rig, "INVITE", &moved);
        target.respond(&mut rig, 200, SDP_B);
        let ok = caller.news(&mut rig, 0).pop().unwrap();
        assert_eq!(header(&ok, "Session-Expires"), "90;refresher=uac");
        caller.ack(&mut rig);
    }
    assert_eq!(rig.endpoint.calls(), 1);

    // And one that the other side starts.
    rig.pass(50 * S);
    target.request(&mut rig, "INVITE", &SDP_B.replace("6000", "6666"));
    let offered = caller.news(&mut rig, 1).pop().unwrap();
    assert_eq!(header(&offered, "Session-Expires"), "90;refresher=uas");
    caller.fields = String::from("Session-Expires: 90;refresher=uas\r\n");
    caller.respond(&mut rig, 200, SDP_A);
    target.statuses(&mut rig);
    target.ack(&mut rig);
    rig.pass(50 * S);
    assert_eq!(rig.endpoint.calls(), 1);
    rig.pass(11 * S);
    assert_eq!(caller.requests(&mut rig).last().map(String::as_str), Some("BYE"));
}

#[test]
fn a_422_to_a_relayed_reinvite_is_met_by_us() {
    let (mut rig, mut caller, mut target) = with_timer_of_target((Refreshes::Us, By::Invite));
    caller.request(&mut rig, "INVITE", &SDP_A.replace("4000", "4444"));
    target.requests(&mut rig);
    target.fields = String::from("Min-SE: 200\r\n");
    target.respond(&mut rig, 422, "");
    let again = target.news(&mut rig, 1);
    assert!(again[0].starts_with("ACK ") && again[1].starts_with("INVITE "), "{again:?}");
    assert_eq!(header(&again[1], "Session-Expires"), "200;refresher=uac");
    assert!(again[1].contains("m=audio 4444"));
    target.fields = String::from("Session-Expires: 200;refresher=uac\r\n");
    target.respond(&mut rig, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200]);
}

#[test]
fn a_target_refreshed_during_a_reinvite_waits_for_its_end() {
    let (mut rig, mut caller, mut target) = with_timer_of_target((Refreshes::Us, By::Invite));
    rig.pass(44 * S);
    caller.request(&mut rig, "INVITE", &SDP_A.replace("4000", "4444"));
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.respond(&mut rig, 100, "");
    rig.pass(2 * S);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
    target.fields = String::from("Session-Expires: 90;refresher=uac\r\n");
    target.respond(&mut rig, 200, SDP_B);
    rig.pass(2 * S);

    assert_eq!(target.requests(&mut rig), ["ACK"], "which refreshed it, too");
}

#[test]
fn a_bye_during_a_refresh_leaves_nothing_behind() {
    for by in [By::Update, By::Invite] {
        let (mut rig, mut caller, mut target) = with_timer_of_caller((Refreshes::Us, by));
        rig.pass(HALF);
        target.request(&mut rig, "BYE", "");
        caller.respond_to_all(&mut rig, 200);
        rig.pass(80 * S);
        caller.respond_to_all(&mut rig, 200);

        rig.pass(80 * S);
        assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0), "{by:?}");
    }
}

#[test]
fn two_of_us_in_a_row_keep_a_call_with_timers_alive() {
    // Every leg has a timer: the caller's, the one between us, the target's.
    let mut chain = Chain::new(asking(90), asking(100));
    let mut caller = chain.first.caller("a");
    caller.extra = "Supported: timer\r\nSession-Expires: 120;refresher=uas\r\n";
    caller.send_invite(&mut chain.first);
    chain.carry();
    let mut target = chain.second.target(TARGET);
    target.fields = String::from("Session-Expires: 100;refresher=uac\r\nAllow: UPDATE\r\n");
    target.respond(&mut chain.second, 200, SDP_B);
    chain.carry();
    caller.statuses(&mut chain.first);
    caller.ack(&mut chain.first);
    chain.carry();

    let mut refreshes = [0; 2];
    for _ in 0..1200 {
        chain.pass(Duration::from_millis(500));
        caller.fields = String::from("Session-Expires: 120;refresher=uac\r\n");
        refreshes[0] += answer_all(&mut chain.first, &mut caller, SDP_A);
        refreshes[1] += answer_all(&mut chain.second, &mut target, SDP_B);
    }

    assert_eq!((chain.first.endpoint.calls(), chain.second.endpoint.calls()), (1, 1));
    // By re-INVITE every 60 s and by UPDATE every 50 s, give or take the last one.
    assert!((9..=10).contains(&refreshes[0]) && (11..=12).contains(&refreshes[1]), "{refreshes:?}");
    caller.request(&mut chain.first, "BYE", "");
    chain.carry();
    assert_eq!(target.requests(&mut chain.second), ["BYE"]);
}

#[test]
fn a_strict_router_before_the_target_gets_every_request_in_its_own_name() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.fields = String::from("Record-Route: <sip:198.51.100.8;lr>, <sip:198.51.100.9>\r\n");
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    caller.request(&mut rig, "INVITE", SDP_A);
    caller.request(&mut rig, "BYE", "");

    let routed = rig.to("198.51.100.9:5060");
    let methods: Vec<_> = routed.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(methods[..3], ["ACK", "INVITE", "BYE"]);
    for text in &routed {
        assert!(text.contains(" sip:198.51.100.9 SIP/2.0\r\n"), "{text}");
        let route = "Route: <sip:198.51.100.8;lr>\r\nRoute: <sip:198.51.100.1:5070>\r\n";
        assert!(text.contains(route), "{text}");
    }
}

#[test]
fn an_update_with_an_offer_goes_on_as_what_the_other_side_takes() {
    for (allow, method) in [("Allow: INVITE, UPDATE\r\n", "UPDATE"), ("", "INVITE")] {
        let mut rig = Rig::new();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.fields = String::from(allow);
        target.respond(&mut rig, 200, SDP_B);
        caller.statuses(&mut rig);
        caller.ack(&mut rig);
        target.requests(&mut rig);

        caller.request(&mut rig, "UPDATE", &SDP_A.replace("4000", "4444"));
        let offered = target.news(&mut rig, 1).pop().unwrap();
        assert!(offered.starts_with(method) && offered.contains("m=audio 4444"), "{offered}");
        target.respond(&mut rig, 200, SDP_B);
        let ok = caller.news(&mut rig, 0);
        assert_eq!(ok.len(), 1, "{ok:?}");
        assert!(ok[0].starts_with("SIP/2.0 200 ") && ok[0].contains("m=audio 6000"), "{ok:?}");
        assert_eq!(header(&ok[0], "CSeq"), "2 UPDATE");
        let acks = usize::from(method == "INVITE");
        assert_eq!(target.requests(&mut rig), vec!["ACK"; acks]);
    }
}

#[test]
fn an_update_that_offers_nothing_is_answered_before_and_after_the_answer() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.statuses(&mut rig);
    caller.request(&mut rig, "UPDATE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [200]);
    caller.ack(&mut rig);
    caller.request(&mut rig, "UPDATE", "");

    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn a_wedged_call_is_taken_away_and_both_sides_are_told() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    // A call that has forgotten when it ends.
    wedge(&mut rig);
    let (_, entry) = rig.endpoint.calls.iter_mut().next().unwrap();
    rig.endpoint.wire.settings.probe_interval = None;
    entry.caller.probe_at = None;
    entry.target.as_mut().unwrap().probe_at = None;

    rig.pass(Duration::from_secs(3600));
    assert_eq!(rig.endpoint.calls(), 1);
    rig.pass(Duration::from_secs(41));

    assert_eq!(rig.endpoint.calls(), 0);
    for party in [&mut caller, &mut target] {
        let bye = party.news(&mut rig, 1).into_iter().find(|text| text.starts_with("BYE "));
        assert!(bye.unwrap().contains("Reason: Q.850;cause=102;"));
    }
    let reason = Reason::MaxDuration;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
    assert_eq!(rig.endpoint.take_counters().reaped, 1);
}

#[test]
fn a_wedged_call_that_nobody_answered_leaves_no_ringing_target_and_no_place_behind() {
    for beside in [false, true] {
        let mut rig = Rig::new();
        rig.plan.attempts[1].manner.beside = beside;
        let mut caller = rig.invite("a");
        let addresses = if beside { &[TARGET, SECOND][..] } else { &[TARGET] };
        for address in addresses {
            rig.target(address).respond(&mut rig, 180, "");
        }
        wedge(&mut rig);
        assert_eq!(rig.endpoint.half_open(), 1);

        rig.pass(Duration::from_secs(14_400 + 3_601));

        assert_eq!((rig.endpoint.calls(), rig.endpoint.half_open()), (0, 0));
        assert_eq!(caller.statuses(&mut rig).last(), Some(&500));
        let Some(Report::Ended { status, .. }) = rig.reports.last() else { panic!("no end") };
        assert_eq!(*status, 500, "as the caller was told");
        for address in addresses {
            let last = rig.to(address).into_iter().find(|text| text.starts_with("CANCEL "));
            assert!(
                last.is_some_and(|text| text.contains("Reason: Q.850;cause=102;")),
                "{address}"
            );
        }
    }
}

/// The only call forgets when it ends.
fn wedge(rig: &mut Rig) {
    let (_, entry) = rig.endpoint.calls.iter_mut().next().unwrap();
    let never = CallLimits {
        decision: Duration::from_secs(1_000_000),
        answer_wait: Duration::from_secs(1),
        max_call: Duration::from_secs(1_000_000),
    };
    entry.call = Call::new(never, Arc::new(FailureMap::default()), rig.now);
}

/// Two endpoints: the second is the first one's target.
struct Chain {
    first: Rig,
    second: Rig,
    /// What of theirs has been carried to the other.
    carried: [usize; 2],
}

impl Chain {
    fn new(between: LegPolicy, last: LegPolicy) -> Self {
        let first = Rig::with(serde_json::json!({}), between);
        let mut second = Rig::with(serde_json::json!({}), last);
        second.endpoint.wire.ids = IdSource::new(8, 0);
        second.endpoint.wire.settings.loop_token = Bytes::from("beef");
        Self { first, second, carried: [0; 2] }
    }

    fn carry(&mut self) {
        let ours = [TARGET, CARRIER, "203.0.113.1:5060"].map(addr);
        while self.carried != [self.first.all.len(), self.second.all.len()] {
            if let Some((to, text)) = self.first.all.get(self.carried[0]).cloned() {
                self.carried[0] += 1;
                if to == ours[0] || to == ours[2] {
                    self.second.receive(CARRIER, &text);
                }
            } else if let Some((to, text)) = self.second.all.get(self.carried[1]).cloned() {
                self.carried[1] += 1;
                if to == ours[1] || to == ours[2] {
                    self.first.receive(TARGET, &text);
                }
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.first.pass(duration);
        self.second.pass(duration);
        self.carry();
    }
}

/// Answers what this party was asked with success. Returns how many refreshes there were.
fn answer_all(rig: &mut Rig, party: &mut Side_, sdp: &str) -> usize {
    let requests = party.news(rig, 1);
    let mut refreshes = 0;
    for request in requests.iter().filter(|text| !text.starts_with("SIP/2.0")) {
        let method = request.split(' ').next().unwrap();
        refreshes += usize::from(matches!(method, "INVITE" | "UPDATE"));
        match method {
            "ACK" => {}
            "INVITE" => party.respond_to(rig, request, 200, sdp),
            _ => party.respond_to(rig, request, 200, ""),
        }
    }
    refreshes
}

/// A call whose caller's leg has a timer of 90 s.
fn with_timer_of_caller((refreshes, by): (Refreshes, By)) -> (Rig, Side_, Side_) {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.extra = match (refreshes, by) {
        (Refreshes::Peer, _) => {
            "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nAllow: INVITE, UPDATE\r\n"
        }
        (Refreshes::Us, By::Invite) => {
            "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE\r\n"
        }
        (Refreshes::Us, By::Update | By::Missed) => {
            "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE, UPDATE\r\n"
        }
        (Refreshes::Nobody, _) => "Supported: timer\r\nAllow: INVITE, UPDATE\r\n",
    };
    caller.send_invite(&mut rig);
    rig.route();
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    target.requests(&mut rig);
    (rig, caller, target)
}

/// A call whose target's leg has a timer of 90 s.
fn with_timer_of_target((refreshes, by): (Refreshes, By)) -> (Rig, Side_, Side_) {
    let mut rig = Rig::with(serde_json::json!({}), asking(90));
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    let expires = match refreshes {
        Refreshes::Peer => "Session-Expires: 90;refresher=uas\r\n",
        Refreshes::Us => "Session-Expires: 90;refresher=uac\r\n",
        Refreshes::Nobody => "",
    };
    let allow = if by == By::Invite { "INVITE" } else { "INVITE, UPDATE" };
    target.fields = format!("{expires}Allow: {allow}\r\n");
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    target.requests(&mut rig);
    target.fields = String::new();
    (rig, caller, target)
}

/// Five refreshes 45 s apart on `party`'s leg, or none for 100 s. Returns whether the call is
/// still up. `other` must hear nothing of it.
fn go_through(
    (refreshes, by): (Refreshes, By),
    rig: &mut Rig,
    party: &mut Side_,
    sdp: &str,
    other: &mut Side_,
) -> bool {
    if by == By::Missed {
        rig.pass(100 * S);
        return rig.endpoint.calls() == 1 && !other.requests(rig).contains(&String::from("BYE"));
    }
    for _ in 0..5 {
        rig.pass(HALF);
        match refreshes {
            Refreshes::Us => {
                let requests = party.requests(rig);
                party.fields = String::from("Session-Expires: 90;refresher=uac\r\n");
                match by {
                    By::Invite => {
                        assert_eq!(requests, ["INVITE"]);
                        party.respond(rig, 200, sdp);
                        assert_eq!(party.requests(rig), ["ACK"]);
                    }
                    By::Update | By::Missed => {
                        assert_eq!(requests, ["UPDATE"]);
                        party.respond(rig, 200, "");
                    }
                }
            }
            Refreshes::Peer => refresh_by_peer(by, rig, party, sdp),
            Refreshes::Nobody => {
                // Nothing is agreed on, so an INVITE may mean anything and is passed on.
                if by == By::Update {
                    party.request(rig, "UPDATE", "");
                    assert_eq!(party.statuses(rig), [200], "{:?}", rig.reports());
                }
            }
        }
        assert_eq!(other.requests(rig), Vec::<String>::new(), "the other leg hears nothing");
    }
    rig.endpoint.calls() == 1
}

fn refresh_by_peer(by: By, rig: &mut Rig, party: &mut Side_, sdp: &str) {
    party.fields = String::from("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    match by {
        By::Invite => {
            party.request(rig, "INVITE", sdp);
            let responses = party.news(rig, 0);
            let ok = responses.last().unwrap();
            assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
            assert_eq!(header(ok, "Session-Expires"), "90;refresher=uac");
            assert!(ok.contains("m=audio "), "{ok}");
            party.ack(rig);
        }
        By::Update | By::Missed => {
            party.request(rig, "UPDATE", "");
            let ok = party.news(rig, 0).pop().unwrap();
            assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
            assert_eq!(header(&ok, "Session-Expires"), "90;refresher=uac");
        }
    }
}

/// Timers of so many seconds are asked for.
fn asking(interval_s: u32) -> LegPolicy {
    let session = Policy { interval_s: Some(interval_s), ..Policy::default() };
    LegPolicy { session, ..LegPolicy::default() }
}

fn body_of_text(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
