//! Faults that have cost other servers money (spec/sip §3), each as one small scene, and rows of
//! the specification that a scene of their own shows best.

use super::*;
use crate::sip::endpoint::wire::TransactionEntry;

#[test]
fn a_100_of_the_target_goes_no_further() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    assert_eq!(caller.statuses(&mut rig), [100]);
    let mut target = rig.target(TARGET);

    target.respond(&mut rig, 100, "");

    assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new());
}

#[test]
fn a_target_that_cannot_be_reached_is_left_at_once_and_tried_again_by_the_next_call() {
    let mut rig = Rig::new();
    rig.invite("a");
    let tried = rig.to(TARGET).len();

    rig.input(Input::FlowFailed { flow: Flow::udp(ListenerId(0), addr(TARGET)) });
    rig.route();
    assert!(rig.to(SECOND)[0].starts_with("INVITE"), "in no time at all");
    rig.invite("b");

    assert_eq!(rig.to(TARGET).len(), tried + 1, "one failure is nobody else's");
}

#[test]
fn after_sixteen_minutes_either_side_may_still_renegotiate_and_hang_up() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    for _ in 0..3 {
        rig.pass(Duration::from_millis(300_010));
        for side in [&mut caller, &mut target] {
            side.respond_to_all(&mut rig, 200);
            assert_eq!(side.requests(&mut rig), ["OPTIONS"]);
        }
    }
    rig.pass(Duration::from_secs(60));

    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    caller.ack(&mut rig);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    target.request(&mut rig, "INVITE", SDP_B);
    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(target.statuses(&mut rig), [100, 200]);
    target.ack(&mut rig);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);

    target.request(&mut rig, "BYE", "");
    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    let reason = Reason::TargetHungUp;
    let ended = Report::Ended { party: Party::Target, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn an_offer_that_rings_and_is_refused_leaves_the_call_as_it_was() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(target.requests(&mut rig), ["INVITE"]);

    target.respond(&mut rig, 180, "");
    target.respond(&mut rig, 488, "");

    assert_eq!(target.requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [100, 180, 488]);
    caller.request(&mut rig, "BYE", "");
    assert!(caller.statuses(&mut rig).contains(&200));
    assert_eq!(target.requests(&mut rig), ["BYE"]);
}

#[test]
fn an_offer_refused_for_glare_is_made_again_and_taken() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    target.requests(&mut rig);
    target.respond(&mut rig, 491, "");
    assert_eq!(caller.statuses(&mut rig), [100, 491]);

    rig.pass(Duration::from_secs(3));
    target.requests(&mut rig);
    caller.request(&mut rig, "INVITE", SDP_A);

    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig).last(), Some(&200));
}

#[test]
fn an_offer_on_top_of_one_s_own_is_refused_and_told_when_to_come_back() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    caller.request(&mut rig, "INVITE", SDP_A);

    assert_eq!(caller.statuses(&mut rig), [100, 500]);
    let refusal = rig.to(CARRIER).pop().unwrap();
    assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
    assert_eq!(target.requests(&mut rig), ["INVITE"], "RFC 3261 §14.2");
}

#[test]
fn a_request_for_an_offer_is_acknowledged_with_the_answer_in_both_directions() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();

    caller.request(&mut rig, "INVITE", "");
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "the answer is still to come");
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    caller.ack_with(&mut rig, SDP_A);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
    let ack = rig.to(TARGET).pop().unwrap();
    assert!(ack.contains("m=audio 4000"), "{ack}");

    target.request(&mut rig, "INVITE", "");
    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new(), "the answer is still to come");
    target.ack_with(&mut rig, SDP_B);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    let ack = rig.to(CARRIER).pop().unwrap();
    assert!(ack.contains("m=audio 6000"), "{ack}");
}

#[test]
fn a_digit_and_an_offer_at_the_same_time_are_both_passed_on() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INVITE", SDP_A);
    let offer = rig.to(TARGET).pop().unwrap();
    caller.request(&mut rig, "INFO", "Signal=5");
    assert_eq!(target.requests(&mut rig), ["INVITE", "INFO"]);

    target.respond(&mut rig, 200, "");
    target.respond_to(&mut rig, &offer, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200, 200]);
    assert_eq!(target.requests(&mut rig), ["ACK"]);
}

#[test]
fn an_offer_moves_the_contact_of_its_sender_and_a_digit_does_not() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    let mut say_from_elsewhere = |rig: &mut Rig, method: &str, body: &str| {
        let text = caller.text(method, body).replace("<sip:carrier-user@", "<sip:moved@");
        caller.cseq += 1;
        rig.receive(CARRIER, &text);
    };
    let mut called_at = |rig: &mut Rig| {
        target.request(rig, "INFO", "Signal=1");
        let request = rig.to(CARRIER).pop().unwrap();
        request.split(' ').nth(1).unwrap().to_owned()
    };

    say_from_elsewhere(&mut rig, "INFO", "Signal=5");
    assert_eq!(called_at(&mut rig), "sip:carrier-user@192.0.2.1:5060");
    say_from_elsewhere(&mut rig, "INVITE", SDP_A);
    let offer = rig.to(TARGET).into_iter().rfind(|text| text.starts_with("INVITE")).unwrap();
    rig.target(TARGET).respond_to(&mut rig, &offer, 200, SDP_B);

    assert_eq!(called_at(&mut rig), "sip:moved@192.0.2.1:5060");
}

#[test]
fn a_side_that_answers_481_to_what_was_passed_on_has_lost_the_call() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INFO", "Signal=5");

    target.respond(&mut rig, 481, "");

    assert_eq!(caller.statuses(&mut rig), [481]);
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    let reason = Reason::DialogLost;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn after_a_fault_of_ours_a_call_ends_on_both_sides_and_no_other_does() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    let faulty = rig.endpoint.calls.keys().next();
    rig.invite("b");

    rig.fault_in(faulty);

    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    assert_eq!(target.requests(&mut rig), ["BYE"]);
    let reason = Reason::InternalError;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().iter().filter(|report| **report == ended).count(), 1);
    caller.respond(&mut rig, 200, "");
    target.respond(&mut rig, 200, "");
    assert_eq!(rig.endpoint.calls(), 1, "the other one");
    assert_eq!(rig.endpoint.take_counters().panics, 1);
}

/// By the status is known whether anybody owes anything for it.
#[test]
fn a_call_that_has_to_be_dropped_ends_as_its_caller_heard() {
    let mut rig = Rig::new();
    rig.connected();
    rig.invite("b");
    let calls: Vec<_> = rig.endpoint.calls.keys().collect();
    for call in calls {
        let mut out = vec![];
        rig.endpoint.abandon(call, rig.now, &mut out);
        rig.take(out);
    }

    let status = |report: &Report| {
        let Report::Ended { status, .. } = report else { return None };
        Some(*status)
    };
    let told: Vec<_> = rig.reports().iter().filter_map(status).collect();
    assert_eq!(told, [200, 500], "the one that was up, and the one that rang");
}

#[test]
fn after_a_fault_of_ours_an_unanswered_call_still_gets_its_final_response() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let faulty = rig.endpoint.calls.keys().next();

    rig.fault_in(faulty);

    assert_eq!(caller.statuses(&mut rig), [100, 500]);
    let reports = rig.reports();
    let ends = reports.iter().filter(|report| matches!(report, Report::Ended { .. }));
    assert_eq!(ends.count(), 1);
}

#[test]
fn two_hundred_offers_in_a_call_leave_nothing_behind() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    for _ in 0..200 {
        caller.request(&mut rig, "INVITE", SDP_A);
        target.respond(&mut rig, 200, SDP_B);
        caller.ack(&mut rig);
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(caller.statuses(&mut rig).iter().filter(|status| **status == 200).count(), 200);

    rig.pass(Duration::from_secs(40));

    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (1, 0));
}

#[test]
fn what_lingers_of_a_transaction_is_small() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "BYE", "");
    target.respond_to_all(&mut rig, 200);

    assert!(rig.endpoint.transactions() > 0);
    for entry in rig.endpoint.wire.transactions.values() {
        assert!(entry.request.is_none(), "the request goes with its final response");
    }
    assert!(size_of::<TransactionEntry>() <= 512, "{}", size_of::<TransactionEntry>());
}

#[test]
fn peers_are_told_the_advertised_address_and_no_other() {
    let mut rig = Rig::new();
    rig.endpoint.wire.settings.listeners[0].advertised = Bytes::from("edge.example.org:5080");
    rig.connected();

    let invite = rig.to(TARGET).remove(0);
    let ok = rig.to(CARRIER).into_iter().rfind(|text| text.starts_with("SIP/2.0 200 ")).unwrap();
    for value in [header(&invite, "Via"), header(&invite, "Contact"), header(&ok, "Contact")] {
        assert!(
            value.contains("edge.example.org:5080") && !value.contains("203.0.113.1"),
            "{value}"
        );
    }
}

#[test]
fn a_full_server_sends_new_calls_away_and_serves_those_it_has() {
    let mut rig = Rig::new();
    rig.endpoint.wire.settings.caps.calls_max = 1;
    let (mut caller, mut target) = rig.connected();

    let mut late = rig.caller("late");
    late.send_invite(&mut rig);
    assert_eq!(late.statuses(&mut rig), [503]);
    assert!(rig.to(CARRIER).pop().unwrap().contains("\r\nRetry-After: "));
    assert_eq!(rig.endpoint.calls(), 1, "a refusal leaves no state");

    caller.request(&mut rig, "INVITE", SDP_A);
    target.respond(&mut rig, 200, SDP_B);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");
    target.respond(&mut rig, 200, "");
    assert_eq!(caller.statuses(&mut rig), [100, 200, 200]);
    let mut next = rig.invite("next");
    assert_eq!(next.statuses(&mut rig), [100]);
}

impl Rig {
    /// What the server does when a handler panics while it handles an event of this call.
    fn fault_in(&mut self, call: Option<CallKey>) {
        assert!(call.is_some());
        self.endpoint.current = call;
        let mut out = vec![];
        self.endpoint.recover(self.now, &mut out);
        self.take(out);
    }
}
