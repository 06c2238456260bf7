//! A call from its INVITE to its BYE, and what may cross on the way.

use super::*;

#[test]
fn a_call_is_bridged_and_hung_up_by_the_caller() {
    let mut rig = Rig::new();

    let mut caller = rig.invite("a");
    assert_eq!(caller.statuses(&mut rig), [100]);
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [180, 200]);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), ["BYE"]);
    target.respond(&mut rig, 200, "");

    assert_eq!(rig.endpoint.calls(), 0);
    assert_eq!(
        rig.reports(),
        [
            Report::AttemptStarted { attempt: 1 },
            Report::AttemptProgress { attempt: 1, status: 180 },
            Report::Answered { attempt: 1 },
            Report::Confirmed,
            Report::Ended {
                party: Party::Caller,
                reason: Reason::CallerHungUp,
                status: 200,
                q850: None
            },
        ]
    );
}

#[test]
fn everything_is_forgotten_after_a_while() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "BYE", "");
    target.respond_to_all(&mut rig, 200);

    rig.pass(Duration::from_secs(40));

    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
    assert_eq!(rig.endpoint.deadline(), None);
}

#[test]
fn the_target_learns_nothing_that_identifies_the_caller_s_leg() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INFO", "Signal=5");
    target.respond_to_all(&mut rig, 200);
    caller.request(&mut rig, "BYE", "");

    let to_target: Vec<_> = rig.all.iter().filter(|(to, _)| *to == addr(TARGET)).collect();
    assert_eq!(to_target.len(), 4, "INVITE, ACK, INFO, BYE");
    let tokens = ["callid-a", "tag-a", "z9hG4bKa", "192.0.2.1", "carrier-user", "session-of-a"];
    for (_, text) in to_target {
        for token in tokens {
            assert!(!text.contains(token), "{token} in {text}");
        }
        assert!(!text.contains(caller.our_tag().as_str()), "{text}");
    }
}

#[test]
fn a_retransmitted_invite_gets_the_same_answer_and_makes_no_second_call() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let first = rig.to(CARRIER);
    caller.send_invite(&mut rig);

    assert_eq!(rig.to(CARRIER), [first.clone(), first].concat());
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_caller_hears_trying_when_nobody_rings_for_a_tenth_of_a_second() {
    for (rings, statuses) in [(true, [180]), (false, [100])] {
        let mut rig = Rig::new();
        rig.endpoint.wire.settings.trying_after = Duration::from_millis(100);
        let mut caller = rig.invite("a");
        if rings {
            rig.target(TARGET).respond(&mut rig, 180, "");
        }
        rig.pass(Duration::from_millis(110));

        assert_eq!(caller.statuses(&mut rig), statuses);
    }
}

#[test]
fn a_busy_target_fails_over_and_its_failure_is_acknowledged() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut busy = rig.target(TARGET);
    busy.respond(&mut rig, 486, "");
    assert_eq!(busy.requests(&mut rig), ["ACK"]);
    let mut second = rig.target(SECOND);
    second.respond(&mut rig, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    assert_ne!(busy.call_id(), second.call_id());
}

#[test]
fn a_cancel_reaches_the_target_once_it_has_given_a_sign_of_life() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    caller.cancel(&mut rig);
    assert_eq!(caller.statuses(&mut rig), [100, 200, 487]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "RFC 3261 §9.1");

    target.respond(&mut rig, 180, "");
    assert_eq!(target.requests(&mut rig), ["CANCEL"]);
    target.respond(&mut rig, 200, "");
    target.respond_to_invite(&mut rig, 487, "");
    assert_eq!(target.requests(&mut rig), ["ACK"]);

    caller.ack_failure(&mut rig);
    rig.pass(Duration::from_secs(40));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.cancel(&mut rig);
    assert_eq!(target.requests(&mut rig), ["CANCEL"]);

    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["ACK", "BYE"]);
    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["ACK"], "a repeated answer is acknowledged again");
    assert_eq!(caller.statuses(&mut rig), [100, 180, 200, 487]);
}

#[test]
fn a_late_answer_of_the_first_target_is_ended_and_the_second_bridged() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut first = rig.target(TARGET);
    first.respond(&mut rig, 180, "");
    rig.pass(Duration::from_millis(6010));
    assert_eq!(first.requests(&mut rig), ["CANCEL"]);
    let mut second = rig.target(SECOND);
    first.respond_to_invite(&mut rig, 200, SDP_B);
    second.respond(&mut rig, 200, SDP_B);

    assert_eq!(first.requests(&mut rig), ["ACK", "BYE"]);
    assert_eq!(second.requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [100, 180, 200]);
}

#[test]
fn an_answer_nobody_acknowledges_is_repeated_and_ended_on_both_legs() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    target.requests(&mut rig);
    rig.pass(Duration::from_secs(33));

    let statuses = caller.statuses(&mut rig);
    assert_eq!(statuses, [vec![100], vec![200; 11]].concat());
    assert_eq!(caller.requests(&mut rig)[..1], ["BYE"]);
    assert_eq!(target.requests(&mut rig)[..1], ["BYE"]);
    let reason = Reason::AckMissing;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn a_target_that_hangs_up_before_the_ack_waits_for_it() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    target.requests(&mut rig);
    target.request(&mut rig, "BYE", "");
    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new(), "RFC 3261 §15");

    caller.statuses(&mut rig);
    caller.ack(&mut rig);

    assert_eq!(caller.requests(&mut rig), ["BYE"]);
}

#[test]
fn both_parties_may_hang_up_at_once() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "BYE", "");
    target.request(&mut rig, "BYE", "");

    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.statuses(&mut rig), [200]);
    target.respond_to_all(&mut rig, 481);
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn a_second_answer_with_another_tag_is_acknowledged_and_ended() {
    let mut rig = Rig::new();
    let (_, mut target) = rig.connected();
    target.tag = String::from("fork");
    target.respond_to_invite(&mut rig, 200, SDP_B);

    assert_eq!(target.requests(&mut rig), ["ACK", "BYE"]);
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_reinvite_goes_to_the_other_side_and_back() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(caller.statuses(&mut rig), [100]);
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [200]);
    caller.ack(&mut rig);

    target.request(&mut rig, "INVITE", SDP_B);
    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    caller.respond(&mut rig, 488, "");
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    assert_eq!(target.statuses(&mut rig), [100, 488]);
    assert_eq!(rig.endpoint.calls(), 1, "a refused offer changes nothing");
}

#[test]
fn crossing_reinvites_are_refused_with_491() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    target.request(&mut rig, "INVITE", SDP_B);

    assert_eq!(target.statuses(&mut rig), [491]);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.offer = "";
    caller.send_invite(&mut rig);
    rig.route();
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
    caller.statuses(&mut rig);
    caller.ack_with(&mut rig, SDP_A);

    assert_eq!(target.requests(&mut rig), ["ACK"]);
    let ack = rig.all.last().unwrap();
    assert!(ack.1.contains("m=audio 4000"), "{}", ack.1);
}

#[test]
fn a_call_ends_when_a_side_no_longer_knows_it() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.pass(Duration::from_millis(300_010));
    assert_eq!(caller.requests(&mut rig)[..1], ["OPTIONS"]);
    assert_eq!(target.requests(&mut rig)[..1], ["OPTIONS"]);
    caller.respond(&mut rig, 200, "");
    target.respond(&mut rig, 481, "");

    assert_eq!(caller.requests(&mut rig).last().map(String::as_str), Some("BYE"));
    let reason = Reason::DialogLost;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn what_fits_no_call_is_refused_or_absorbed() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("x");
    caller.peer_tag = String::from("0000000000000001000000000000000000");

    caller.request(&mut rig, "BYE", "");
    caller.ack(&mut rig);
    caller.cancel(&mut rig);

    assert_eq!(caller.statuses(&mut rig), [481, 481]);
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn a_copy_of_an_invite_that_took_another_way_is_refused() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    caller.statuses(&mut rig);
    caller.branch = String::from("z9hG4bKother");
    caller.send_invite(&mut rig);

    assert_eq!(caller.statuses(&mut rig), [482]);
}

#[test]
fn our_own_invite_coming_back_is_a_loop() {
    let mut rig = Rig::new();
    rig.invite("a");
    let ours = rig.target(TARGET).invite.clone();
    let back = ours.replace("Call-ID: ", "Call-ID: x").replace("z9hG4bK", "z9hG4bKx");
    rig.receive(CARRIER, &back);

    assert!(rig.to(CARRIER).last().unwrap().starts_with("SIP/2.0 482 "));
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    rig.origin = Origin::Stranger;
    caller.send_invite(&mut rig);
    caller.request(&mut rig, "OPTIONS", "");
    rig.receive(CARRIER, "INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKq\r\n\r\n");

    assert_eq!(rig.to(CARRIER), Vec::<String>::new());
}

#[test]
fn extensions_and_methods_we_do_not_know_are_named() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.extra = "Require: timer, sec-agree\r\n";
    caller.send_invite(&mut rig);
    assert!(
        rig.to(CARRIER)[0].contains("SIP/2.0 420 ")
            && rig.to(CARRIER)[0].contains("Unsupported: sec-agree\r\n")
    );
    let mut register = rig.caller("b");
    register.extra = "";
    register.request(&mut rig, "REGISTER", "");

    let last = rig.to(CARRIER).pop().unwrap();
    assert!(last.contains("SIP/2.0 405 ") && last.contains("Allow: INVITE, ACK"), "{last}");
}

#[test]
fn a_malformed_message_in_a_call_does_no_harm() {
    let mut rig = Rig::new();
    let (caller, _) = rig.connected();
    let bad = caller.text("BYE", "").replace("CSeq: 2 BYE", "CSeq: 2 INVITE");
    rig.receive(CARRIER, &bad);

    assert!(rig.to(CARRIER).last().unwrap().starts_with("SIP/2.0 400 "));
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_cancel_that_crossed_a_nat_still_finds_its_invite() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    caller.statuses(&mut rig);
    let cancel = caller.invite_like("CANCEL").replace("UDP 192.0.2.1:5060", "UDP 10.9.9.9:1024");
    rig.receive(CARRIER, &cancel);

    assert_eq!(caller.statuses(&mut rig), [487]);
    assert!(rig.to("192.0.2.1:1024")[0].starts_with("SIP/2.0 200 "), "where its Via says");
}

#[test]
fn draining_refuses_new_calls_and_keeps_the_old() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.input(Input::Drain);
    let mut late = rig.caller("late");
    late.send_invite(&mut rig);
    let answers = rig.to(CARRIER);
    assert!(answers.last().unwrap().starts_with("SIP/2.0 503 "));
    assert!(answers.last().unwrap().contains("Retry-After: "));

    caller.seen = [rig.all.len(); 2];
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), ["BYE"]);
}
