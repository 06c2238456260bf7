//! Reliable provisional responses on one leg, the other, or both, and early dialogs (spec/sip D9,
//! B16, B17, bug 32).

use super::*;
use crate::sip::trunk::profile::Support;

const S: Duration = Duration::from_secs(1);

#[test]
fn a_target_s_reliable_response_is_confirmed_in_its_early_dialog() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    assert_eq!(header(&target.invite, "Supported"), "timer, 100rel");
    target.fields = String::from(
        "Require: 100rel\r\nRSeq: 77\r\nRecord-Route: <sip:198.51.100.8;lr>, <sip:198.51.100.9;lr>\r\n",
    );
    target.respond(&mut rig, 183, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 183]);
    let routed: Vec<_> = rig.to("198.51.100.9:5060");
    let prack = routed.last().unwrap();
    assert!(prack.starts_with("PRACK sip:198.51.100.1:5070 "), "{prack}");
    assert_eq!(header(prack, "RAck"), "77 1 INVITE");
    assert_eq!(header(prack, "CSeq"), "2 PRACK");
    assert!(header(prack, "To").ends_with(";tag=target"), "{prack}");
    let routes = "Route: <sip:198.51.100.9;lr>\r\nRoute: <sip:198.51.100.8;lr>\r\n";
    assert!(prack.contains(routes), "{prack}");
}

#[test]
fn what_is_spoken_is_told_with_the_answer_that_says_it() {
    let spoken = [Some(SmolStr::new_static("PCMU/8000"))];
    let mut rig = Rig::new();
    rig.connected();
    assert_eq!(rig.codecs, spoken);

    let (mut rig, _, mut target) = offering(Support::Supported);
    progress(&mut rig, &mut target, 1, SDP_B);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, "");
    assert_eq!(rig.codecs, spoken, "it had been said before");

    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.offer = "";
    caller.send_invite(&mut rig);
    rig.route();
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    assert_eq!(rig.codecs, [None], "that is an offer, and the answer is yet to come");
    caller.statuses(&mut rig);
    caller.ack_with(&mut rig, &SDP_A.replace("RTP/AVP 0", "RTP/AVP 8"));
    assert_eq!(rig.codecs[1..], [Some(SmolStr::new_static("PCMA/8000"))]);

    let (mut rig, mut caller, mut target) = reliable_on_both_legs("");
    progress(&mut rig, &mut target, 9, SDP_B);
    let offer = caller.news(&mut rig, 0).pop().unwrap();
    prack(&mut rig, &mut caller, header(&offer, "RSeq").parse().unwrap(), SDP_A);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, "");
    assert_eq!(rig.codecs, spoken, "the PRACK was the answer");
}

#[test]
fn requests_after_the_answer_count_on_from_the_pracks() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    for rseq in [1, 2, 3] {
        progress(&mut rig, &mut target, rseq, "");
    }
    assert_eq!(target.requests(&mut rig), ["PRACK", "PRACK", "PRACK"]);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");

    let requests = target.news(&mut rig, 1);
    assert_eq!(header(&requests[0], "CSeq"), "1 ACK");
    assert_eq!(header(&requests[1], "CSeq"), "5 BYE");
}

#[test]
fn the_bye_to_an_answer_that_comes_too_late_counts_on_from_the_pracks() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    for rseq in [1, 2, 3] {
        progress(&mut rig, &mut target, rseq, "");
    }
    caller.cancel(&mut rig);
    target.news(&mut rig, 1);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, SDP_B);

    let requests = target.news(&mut rig, 1);
    let [ack, bye] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(header(ack, "CSeq"), "1 ACK");
    let number = header(bye, "CSeq").strip_suffix(" BYE").unwrap();
    assert!(number.parse::<u32>().unwrap() > 4, "{bye}");
}

#[test]
fn a_repeated_response_is_neither_confirmed_nor_passed_on_again() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    progress(&mut rig, &mut target, 5, "");
    progress(&mut rig, &mut target, 5, "");
    progress(&mut rig, &mut target, 7, "");

    assert_eq!(target.requests(&mut rig), ["PRACK"], "5 again, and 7 before 6");
    assert_eq!(caller.statuses(&mut rig), [100, 180]);
}

#[test]
fn equal_numbers_of_forks_are_different_responses() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    for tag in ["fork-a", "fork-b"] {
        target.tag = String::from(tag);
        progress(&mut rig, &mut target, 1, SDP_B);
    }

    let pracks = target.news(&mut rig, 1);
    let tags: Vec<_> = pracks.iter().map(|text| tag_of(header(text, "To"))).collect();
    assert_eq!(tags, ["fork-a", "fork-b"]);
    assert_eq!(caller.statuses(&mut rig), [100, 183, 183]);
    // Each counts for itself: the answer comes from the first.
    target.tag = String::from("fork-a");
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, "");
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");
    let requests = target.news(&mut rig, 1);
    assert_eq!(header(&requests[1], "CSeq"), "3 BYE");
    assert_eq!(tag_of(header(&requests[1], "To")), "fork-a");
}

#[test]
fn ringing_progress_and_answer_may_have_a_tag_each() {
    for reliable in [false, true] {
        let (mut rig, mut caller, mut target) = offering(Support::Supported);
        for (tag, status, body) in [("a", 180, ""), ("b", 183, SDP_B), ("c", 200, SDP_B)] {
            target.tag = String::from(tag);
            let fields = "Require: 100rel\r\nRSeq: 9\r\n";
            target.fields = String::from(if reliable && status < 200 { fields } else { "" });
            target.respond_to_invite(&mut rig, status, body);
        }
        assert_eq!(caller.statuses(&mut rig), [100, 180, 183, 200]);
        caller.ack(&mut rig);
        caller.request(&mut rig, "BYE", "");

        let requests = target.news(&mut rig, 1);
        let bye = requests.last().unwrap();
        assert_eq!(tag_of(header(bye, "To")), "c");
        assert_eq!(header(bye, "CSeq"), "2 BYE");
        assert_eq!(requests.len(), if reliable { 4 } else { 2 });
    }
}

#[test]
fn an_answer_without_a_description_passes_on_the_one_before() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    progress(&mut rig, &mut target, 1, SDP_B);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, "");

    let ok = caller.news(&mut rig, 0).pop().unwrap();
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains("m=audio 6000"), "{ok}");
}

#[test]
fn a_target_may_be_made_to_confirm() {
    let (_, _, target) = offering(Support::Required);

    assert_eq!(header(&target.invite, "Require"), "100rel");
}

#[test]
fn a_caller_who_requires_it_gets_reliable_responses_although_the_target_sends_none() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 180, "");

    let ringing = caller.news(&mut rig, 0).pop().unwrap();
    assert!(ringing.contains("Require: 100rel\r\n"), "{ringing}");
    let rseq: u32 = header(&ringing, "RSeq").parse().unwrap();
    assert!((1..1 << 31).contains(&rseq));
    prack(&mut rig, &mut caller, rseq, "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "its leg has no PRACK");

    target.respond(&mut rig, 183, SDP_B);
    let progress = caller.news(&mut rig, 0).pop().unwrap();
    assert_eq!(header(&progress, "RSeq"), (rseq + 1).to_string());
}

#[test]
fn a_caller_who_offers_it_gets_it_if_its_trunk_says_so() {
    for (policy, extra, statuses, is_reliable) in [
        (Some("supported"), "Supported: 100rel\r\n", vec![100, 180], true),
        (Some("supported"), "", vec![100, 180], false),
        (Some("no"), "Supported: 100rel\r\n", vec![100, 180], false),
        (Some("no"), "Require: 100rel\r\n", vec![420], false),
        (Some("required"), "Supported: 100rel\r\n", vec![100, 180], true),
        (Some("required"), "", vec![421], false),
        (None, "Supported: 100rel\r\n", vec![100, 180], false),
        (None, "Require: 100rel\r\n", vec![100, 180], true),
    ] {
        let mut dialog = serde_json::json!({});
        if let Some(policy) = policy {
            dialog["100rel"] = policy.into();
        }
        let mut rig = Rig::with(dialog, LegPolicy::default());
        let mut caller = rig.caller("a");
        caller.extra = extra;
        caller.send_invite(&mut rig);
        if statuses.len() > 1 {
            rig.target(TARGET).respond(&mut rig, 180, "");
        }

        let last = rig.to(CARRIER).pop().unwrap();
        assert_eq!(caller.statuses(&mut rig), statuses, "{policy:?} {extra}");
        assert_eq!(last.contains("RSeq: "), is_reliable, "{policy:?} {extra}");
    }
}

#[test]
fn an_unconfirmed_response_is_repeated_and_at_last_the_call_refused() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 183, SDP_B);
    // Its ring time would be over before.
    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 183], "the answer waits for the PRACK");
    assert_eq!(target.requests(&mut rig), ["ACK"], "the target does not");
    rig.pass(33 * S);

    let statuses = caller.statuses(&mut rig);
    assert_eq!(statuses[..6], [183; 6]);
    assert_eq!(statuses[6], 500);
    assert_eq!(target.requests(&mut rig)[..1], ["BYE"]);
    let reason = Reason::PrackMissing;
    let ended = Report::Ended { party: Party::System, reason, status: 500, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended), "what the caller heard");
}

#[test]
fn ringing_that_nobody_confirms_is_refused_before_the_answer_too() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    // Patient targets only.
    target.respond(&mut rig, 180, "");
    let (_, entry) = rig.endpoint.calls.iter_mut().next().unwrap();
    let limits = rig.endpoint.wire.settings.call;
    let mut patient = *plan(LegPolicy::default());
    patient.attempts[0].ring_timeout = Duration::from_secs(100);
    patient.attempts[0].max_pdd = Duration::from_secs(100);
    patient.ring_budget = Duration::from_secs(100);
    let mut call = Call::new(limits, Arc::new(FailureMap::default()), rig.now);
    let mut orders = call::Outputs::new();
    call.handle(call::Input::Decided(Box::new(patient)), rig.now, &mut orders);
    call.handle(call::Input::HoldPlaced, rig.now, &mut orders);
    call.handle(call::Input::Target(LegEvent::Trying), rig.now, &mut orders);
    entry.call = call;
    rig.pass(33 * S);

    assert_eq!(caller.statuses(&mut rig).last(), Some(&504));
    assert_eq!(target.requests(&mut rig)[..1], ["CANCEL"]);
}

#[test]
fn a_lost_prack_is_answered_when_it_comes_again_and_a_wrong_one_is_unknown() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 183, SDP_B);
    let rseq: u32 = header(&caller.news(&mut rig, 0).pop().unwrap(), "RSeq").parse().unwrap();
    prack(&mut rig, &mut caller, rseq + 1, "");
    assert_eq!(caller.statuses(&mut rig), [481]);
    rig.pass(4 * S);
    assert_eq!(caller.statuses(&mut rig), [183, 183, 183]);
    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new());
    prack(&mut rig, &mut caller, rseq, "");

    assert_eq!(caller.statuses(&mut rig), [200, 200], "to the PRACK, then to the INVITE");
    caller.fields = String::new();
    prack(&mut rig, &mut caller, rseq, "");
    assert_eq!(caller.statuses(&mut rig), [481], "it was confirmed before");
}

#[test]
fn a_prack_without_a_number_is_malformed() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 180, "");
    caller.statuses(&mut rig);
    caller.request(&mut rig, "PRACK", "");

    assert_eq!(caller.statuses(&mut rig), [400]);
}

#[test]
fn responses_wait_for_their_turn() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 180, "");
    target.respond(&mut rig, 183, SDP_B);
    target.respond(&mut rig, 183, SDP_B);
    let first = caller.news(&mut rig, 0);
    assert_eq!(first.len(), 2, "100 and 180: {first:?}");
    let rseq: u32 = header(&first[1], "RSeq").parse().unwrap();
    prack(&mut rig, &mut caller, rseq, "");
    assert_eq!(caller.statuses(&mut rig), [200, 183]);
    prack(&mut rig, &mut caller, rseq + 1, "");

    assert_eq!(caller.statuses(&mut rig), [200], "the same news is told once");
}

#[test]
fn an_answer_need_not_wait_for_the_prack_of_mere_ringing() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 180, "");
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 180, 200]);
    caller.ack(&mut rig);
    rig.pass(40 * S);

    assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "nothing is repeated");
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_caller_who_leaves_while_the_answer_waits_is_answered_all_the_same() {
    for method in ["CANCEL", "BYE"] {
        let (mut rig, mut caller, mut target) = required_by_caller();
        target.respond(&mut rig, 183, SDP_B);
        target.respond_to_invite(&mut rig, 200, SDP_B);
        caller.statuses(&mut rig);
        if method == "CANCEL" {
            caller.cancel(&mut rig);
        } else {
            caller.request(&mut rig, "BYE", "");
        }
        rig.pass(40 * S);

        let statuses = caller.statuses(&mut rig);
        let heard = statuses.iter().find(|it| matches!(it, 487 | 500));
        assert!(heard.is_some(), "{method}: {statuses:?}");
        let Some(Report::Ended { status: told, .. }) = rig.reports().last() else {
            panic!("{method}: {:?}", rig.reports())
        };
        assert_eq!(Some(told), heard, "{method}");
        assert!(target.requests(&mut rig).contains(&String::from("BYE")), "{method}");
        target.respond_to_all(&mut rig, 200);
        rig.pass(80 * S);
        assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0), "{method}");
    }
}

#[test]
fn a_target_that_hangs_up_while_the_answer_waits_leaves_a_call_that_was_refused() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.respond(&mut rig, 183, SDP_B);
    target.respond_to_invite(&mut rig, 200, SDP_B);
    target.request(&mut rig, "BYE", "");

    assert_eq!(caller.statuses(&mut rig), [100, 183, 500]);
    let (party, reason) = (Party::Target, Reason::TargetHungUp);
    let ended = Report::Ended { party, reason, status: 500, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

#[test]
fn both_legs_may_be_reliable_and_count_for_themselves() {
    let (mut rig, mut caller, mut target) = reliable_on_both_legs(SDP_A);
    progress(&mut rig, &mut target, 4000, SDP_B);
    assert_eq!(target.requests(&mut rig), ["PRACK"], "it does not wait for the caller's");
    let progress = caller.news(&mut rig, 0).pop().unwrap();
    assert_ne!(header(&progress, "RSeq"), "4000");
    let rseq: u32 = header(&progress, "RSeq").parse().unwrap();
    prack(&mut rig, &mut caller, rseq, "");

    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_by_the_pracks() {
    let (mut rig, mut caller, mut target) = reliable_on_both_legs("");
    progress(&mut rig, &mut target, 9, SDP_B);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "there is no answer yet");
    let offer = caller.news(&mut rig, 0).pop().unwrap();
    assert!(offer.contains("m=audio 6000"), "{offer}");
    let rseq: u32 = header(&offer, "RSeq").parse().unwrap();
    prack(&mut rig, &mut caller, rseq, SDP_A);
    let confirmed = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(header(&confirmed, "RAck"), "9 1 INVITE");
    assert!(confirmed.contains("m=audio 4000") && !confirmed.contains("session-of-a"));
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 200, "");

    assert_eq!(target.requests(&mut rig), ["ACK"], "at once: nothing is left to answer");
    assert_eq!(caller.statuses(&mut rig), [200, 200]);
}

#[test]
fn a_target_is_not_asked_for_an_offer_that_an_unreliable_caller_could_not_answer() {
    let policy = LegPolicy { reliable: Some(Support::Supported), ..LegPolicy::default() };
    let mut rig = Rig::with(serde_json::json!({}), policy);
    let mut caller = rig.caller("a");
    caller.offer = "";
    caller.send_invite(&mut rig);

    assert_eq!(header(&rig.target(TARGET).invite, "Supported"), "timer");
}

#[test]
fn a_preview_of_an_offer_is_kept_from_a_caller_who_would_answer_it() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.offer = "";
    caller.extra = "Require: 100rel\r\n";
    caller.send_invite(&mut rig);
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 183, SDP_B);

    let progress = caller.news(&mut rig, 0).pop().unwrap();
    assert!(progress.starts_with("SIP/2.0 183 ") && !progress.contains("m=audio"), "{progress}");
}

#[test]
fn an_early_update_passes_between_legs_that_are_so_far() {
    let (mut rig, mut caller, mut target) = reliable_on_both_legs(SDP_A);
    target.fields = String::from("Require: 100rel\r\nRSeq: 1\r\nAllow: INVITE, UPDATE, PRACK\r\n");
    target.respond_to_invite(&mut rig, 183, SDP_B);
    let rseq: u32 = header(&caller.news(&mut rig, 0).pop().unwrap(), "RSeq").parse().unwrap();
    caller.request(&mut rig, "UPDATE", &SDP_A.replace("4000", "4444"));
    let early = caller.news(&mut rig, 0).pop().unwrap();
    assert!(early.starts_with("SIP/2.0 500 ") && early.contains("Retry-After: "), "{early}");
    prack(&mut rig, &mut caller, rseq, "");
    target.requests(&mut rig);
    caller.statuses(&mut rig);

    target.fields = String::new();
    caller.fields = String::new();
    caller.request(&mut rig, "UPDATE", &SDP_A.replace("4000", "4444"));
    let update = target.news(&mut rig, 1).pop().unwrap();
    assert!(update.starts_with("UPDATE ") && update.contains("m=audio 4444"), "{update}");
    target.respond(&mut rig, 200, SDP_B);
    let ok = caller.news(&mut rig, 0).pop().unwrap();
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains("m=audio 6000"), "{ok}");

    target.cseq = 10;
    target.request(&mut rig, "UPDATE", &SDP_B.replace("6000", "6666"));
    let update = caller.news(&mut rig, 1).pop().unwrap();
    assert!(update.starts_with("UPDATE ") && update.contains("m=audio 6666"), "{update}");
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(target.statuses(&mut rig), [200]);
    target.respond_to_invite(&mut rig, 200, "");
    assert_eq!(caller.statuses(&mut rig), [200]);
}

#[test]
fn a_new_offer_in_a_prack_goes_on_as_an_update_or_is_refused() {
    for (allow, statuses) in [("Allow: UPDATE\r\n", vec![200]), ("", vec![488])] {
        let (mut rig, mut caller, mut target) = reliable_on_both_legs(SDP_A);
        target.fields = format!("Require: 100rel\r\nRSeq: 1\r\n{allow}");
        target.respond_to_invite(&mut rig, 183, SDP_B);
        target.fields = String::new();
        let rseq: u32 = header(&caller.news(&mut rig, 0).pop().unwrap(), "RSeq").parse().unwrap();
        target.requests(&mut rig);
        prack(&mut rig, &mut caller, rseq, &SDP_A.replace("4000", "4444"));
        if !allow.is_empty() {
            assert_eq!(target.requests(&mut rig), ["UPDATE"]);
            target.respond(&mut rig, 200, SDP_B);
        }
        assert_eq!(caller.statuses(&mut rig), statuses, "{allow}");

        rig.pass(5 * S);
        assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "it was confirmed either way");
    }
}

#[test]
fn a_call_that_is_cancelled_while_a_prack_is_out_leaves_nothing_behind() {
    let (mut rig, mut caller, mut target) = offering(Support::Supported);
    progress(&mut rig, &mut target, 1, SDP_B);
    caller.cancel(&mut rig);
    target.fields = String::new();
    target.respond_to_invite(&mut rig, 487, "");
    caller.statuses(&mut rig);
    caller.ack_failure(&mut rig);

    rig.pass(80 * S);
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn a_description_that_moves_between_ringing_and_answer_is_offered_after_the_answer() {
    let (mut rig, mut caller, mut target) = required_by_caller();
    target.tag = String::from("fork-a");
    target.respond(&mut rig, 183, SDP_B);
    let rseq: u32 = header(&caller.news(&mut rig, 0).pop().unwrap(), "RSeq").parse().unwrap();
    prack(&mut rig, &mut caller, rseq, "");
    caller.statuses(&mut rig);
    target.tag = String::from("fork-b");
    target.respond_to_invite(&mut rig, 200, &SDP_B.replace("6000", "6666"));
    let ok = caller.news(&mut rig, 0).pop().unwrap();
    assert!(ok.starts_with("SIP/2.0 200 ") && !ok.contains("m=audio"), "{ok}");
    caller.cseq = 1;
    caller.ack(&mut rig);

    let offer = caller.news(&mut rig, 1).pop().unwrap();
    assert!(offer.starts_with("INVITE ") && offer.contains("m=audio 6666"), "{offer}");
    caller.fields = String::new();
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    assert_eq!(target.requests(&mut rig), ["ACK"], "nothing but that to the answer");
}

/// A routed call to a target that is offered reliable responses.
fn offering(reliable: Support) -> (Rig, Side_, Side_) {
    let policy = LegPolicy { reliable: Some(reliable), ..LegPolicy::default() };
    let mut rig = Rig::with(serde_json::json!({}), policy);
    let caller = rig.invite("a");
    let target = rig.target(TARGET);
    (rig, caller, target)
}

fn required_by_caller() -> (Rig, Side_, Side_) {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.extra = "Require: 100rel\r\n";
    caller.send_invite(&mut rig);
    let target = rig.target(TARGET);
    (rig, caller, target)
}

fn reliable_on_both_legs(offer: &'static str) -> (Rig, Side_, Side_) {
    let policy = LegPolicy { reliable: Some(Support::Supported), ..LegPolicy::default() };
    let mut rig = Rig::with(serde_json::json!({}), policy);
    let mut caller = rig.caller("a");
    caller.extra = "Require: 100rel\r\nAllow: INVITE, UPDATE\r\n";
    caller.offer = offer;
    caller.send_invite(&mut rig);
    let target = rig.target(TARGET);
    (rig, caller, target)
}

/// A reliable 180, or 183 with a description.
fn progress(rig: &mut Rig, target: &mut Side_, rseq: u32, body: &str) {
    target.fields = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
    target.respond_to_invite(rig, if body.is_empty() { 180 } else { 183 }, body);
}

fn prack(rig: &mut Rig, caller: &mut Side_, rseq: u32, body: &str) {
    caller.fields = format!("RAck: {rseq} 1 INVITE\r\n");
    caller.request(rig, "PRACK", body);
}
