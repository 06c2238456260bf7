//! Challenges of targets and carriers: a request that meets one is sent again with a proof.

use super::*;
use crate::sip::target::{TargetConfig, TargetRules};
use crate::sip::trunk::profile::Support;

const WWW: &str = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n";
const STALE: &str =
    "WWW-Authenticate: Digest realm=\"a\", nonce=\"n2\", qop=\"auth\", stale=true\r\n";
const PROXY: &str =
    "Proxy-Authenticate: Digest realm=\"p\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"\r\n";
const BOTH: &str = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n\
    Proxy-Authenticate: Digest realm=\"p\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"\r\n";

#[test]
fn a_challenged_invite_is_sent_again_with_a_proof_and_is_no_failed_attempt() {
    for (status, lines, fields) in [
        (401, WWW, &["Authorization"][..]),
        (407, PROXY, &["Proxy-Authorization"][..]),
        (401, BOTH, &["Authorization", "Proxy-Authorization"][..]),
        (407, BOTH, &["Authorization", "Proxy-Authorization"][..]),
    ] {
        let mut rig = rig();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        let first = rig.to(TARGET).pop().unwrap();
        challenge(&mut target, &mut rig, status, lines);
        assert_eq!(target.requests(&mut rig), ["ACK", "INVITE"]);
        let again = rig.to(TARGET).pop().unwrap();

        for field in fields {
            assert!(header(&again, field).starts_with("Digest username=\"harbor\""), "{again}");
        }
        assert_eq!(header(&again, "Call-ID"), header(&first, "Call-ID"));
        assert_eq!(header(&again, "From"), header(&first, "From"));
        assert_eq!(header(&again, "To"), header(&first, "To"), "no tag of the refusal");
        assert_eq!(header(&again, "CSeq"), "2 INVITE");
        assert_ne!(header(&again, "Via"), header(&first, "Via"));
        assert_eq!(again.split("\r\n\r\n").nth(1), first.split("\r\n\r\n").nth(1));
        target.respond(&mut rig, 200, SDP_B);
        assert_eq!(caller.statuses(&mut rig), [100, 200]);
        let ack = rig.to(TARGET).pop().unwrap();
        assert_eq!(header(&ack, "CSeq"), "2 ACK");
        assert_eq!(
            rig.reports(),
            [Report::AttemptStarted { attempt: 1 }, Report::Answered { attempt: 1 }]
        );
    }
}

#[test]
fn a_challenge_after_a_provisional_response_is_answered_too() {
    let mut rig = rig();
    rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 100, "");
    target.respond(&mut rig, 183, SDP_B);
    challenge(&mut target, &mut rig, 407, PROXY);

    assert_eq!(target.requests(&mut rig), ["ACK", "INVITE"]);
}

#[test]
fn a_proxy_and_the_peer_behind_it_may_challenge_in_turn() {
    let mut rig = rig();
    rig.invite("a");
    let mut target = rig.target(TARGET);
    challenge(&mut target, &mut rig, 407, PROXY);
    challenge(&mut target, &mut rig, 401, WWW);

    let last = rig.to(TARGET).pop().unwrap();
    assert_eq!(header(&last, "CSeq"), "3 INVITE");
    assert!(header(&last, "Authorization").contains("realm=\"a\""));
    assert!(header(&last, "Proxy-Authorization").contains("nc=00000002"), "{last}");
}

#[test]
fn a_nonce_that_ran_out_is_renewed_and_a_wrong_password_is_a_refusal() {
    let mut rig = rig();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    challenge(&mut target, &mut rig, 401, WWW);
    challenge(&mut target, &mut rig, 401, STALE);
    target.requests(&mut rig);
    assert!(header(&rig.to(TARGET).pop().unwrap(), "Authorization").contains("nonce=\"n2\""));

    challenge(&mut target, &mut rig, 401, WWW);

    assert_eq!(target.requests(&mut rig), ["ACK"], "the same password is not tried again");
    assert_eq!(caller.statuses(&mut rig), [100, 500]);
}

#[test]
fn endless_staleness_ends_after_three_rounds() {
    let mut rig = rig();
    rig.invite("a");
    let mut target = rig.target(TARGET);
    for _ in 0..6 {
        challenge(&mut target, &mut rig, 401, STALE);
    }

    let invites = rig.to(TARGET).iter().filter(|text| text.starts_with("INVITE")).count();
    assert_eq!(invites, 4);
}

#[test]
fn every_request_in_the_dialog_is_sent_again_when_challenged() {
    for (method, ours, body) in [
        ("BYE", "BYE", ""),
        ("INFO", "INFO", "Signal=5"),
        ("UPDATE", "UPDATE", SDP_A),
        ("INVITE", "INVITE", SDP_A),
        ("MESSAGE", "MESSAGE", "hello"),
    ] {
        let mut rig = rig();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.fields = String::from("Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n");
        target.respond(&mut rig, 200, SDP_B);
        target.fields.clear();
        caller.statuses(&mut rig);
        caller.ack(&mut rig);
        target.requests(&mut rig);
        caller.request(&mut rig, method, body);
        assert_eq!(target.requests(&mut rig), [ours]);
        let first = rig.to(TARGET).pop().unwrap();
        challenge(&mut target, &mut rig, 401, WWW);
        let sent = target.requests(&mut rig);
        assert_eq!(sent.last().map(String::as_str), Some(ours), "{sent:?}");
        let again = rig.to(TARGET).pop().unwrap();
        assert!(header(&again, "Authorization").contains("nc=00000001"), "{again}");
        let number = |text: &str| -> u32 {
            header(text, "CSeq").split(' ').next().unwrap().parse().unwrap()
        };
        assert_eq!(number(&again), number(&first) + 1);
        target.respond(&mut rig, 200, if method == "INVITE" { SDP_B } else { "" });
        let statuses = caller.statuses(&mut rig);
        assert_eq!(statuses.last(), Some(&200), "{method}: {statuses:?}");
        if method == "INVITE" {
            assert_eq!(target.requests(&mut rig), ["ACK"]);
        }
    }
}

#[test]
fn a_challenged_prack_is_sent_again_and_the_dialog_counts_on() {
    let mut rig = rig();
    for attempt in &mut rig.plan.attempts {
        attempt.dialog.reliable = Some(Support::Supported);
    }
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.fields = String::from("Require: 100rel\r\nRSeq: 7\r\n");
    target.respond(&mut rig, 183, SDP_B);
    challenge(&mut target, &mut rig, 401, WWW);
    assert_eq!(target.requests(&mut rig), ["PRACK", "PRACK"]);
    let again = rig.to(TARGET).pop().unwrap();
    assert!(header(&again, "Authorization").contains("nc=00000001"), "{again}");
    assert_eq!((header(&again, "CSeq"), header(&again, "RAck")), ("3 PRACK", "7 1 INVITE"));
    target.respond(&mut rig, 200, "");
    target.respond_to_invite(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");

    assert_eq!(target.requests(&mut rig), ["ACK", "BYE"]);
    assert_eq!(header(&rig.to(TARGET).pop().unwrap(), "CSeq"), "4 BYE");
}

#[test]
fn a_probe_that_is_challenged_is_a_sign_of_life() {
    let mut rig = rig();
    let (mut caller, mut target) = rig.connected();
    rig.pass(Duration::from_millis(300_100));
    caller.respond_to_all(&mut rig, 200);
    challenge(&mut target, &mut rig, 401, WWW);

    assert_eq!(target.requests(&mut rig), ["OPTIONS", "OPTIONS"]);
    target.respond(&mut rig, 200, "");
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn what_was_asked_once_is_answered_at_once_from_then_on() {
    let mut rig = rig();
    rig.invite("a");
    let mut target = rig.target(TARGET);
    challenge(&mut target, &mut rig, 401, WWW);
    target.respond(&mut rig, 200, SDP_B);
    let mut caller = rig.invite("b");
    let second = rig.to(TARGET).pop().unwrap();
    assert!(header(&second, "Authorization").contains("nc=00000002"), "{second}");
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");

    let bye = rig.to(TARGET).pop().unwrap();
    assert!(bye.starts_with("BYE") && header(&bye, "Authorization").contains("nc=00000003"));
}

/// Bug 33 of spec/sip §3.
#[test]
fn a_nonce_that_changes_every_few_calls_costs_a_round_and_no_call() {
    let nonces = [
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"0\", qop=\"auth\", stale=true\r\n",
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"1\", qop=\"auth\", stale=true\r\n",
        // Some do not say that it has run out.
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"2\", qop=\"auth\"\r\n",
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"3\", qop=\"auth\"\r\n",
    ];
    let mut rig = rig();
    let mut rounds = 0;
    for call in 0..40_usize {
        let name: &'static str = format!("call{call}").leak();
        let mut caller = rig.invite(name);
        let current = call / 4 % nonces.len();
        let mut target = rig.target(TARGET);
        let carries = rig.to(TARGET).pop().unwrap().contains(&format!("nonce=\"{current}\""));
        if !carries {
            challenge(&mut target, &mut rig, 401, nonces[current]);
            rounds += 1;
        }
        target.respond(&mut rig, 200, SDP_B);
        assert_eq!(caller.statuses(&mut rig), [100, 200], "call {call}");
    }

    assert_eq!(rounds, 10, "one for each change");
}

#[test]
fn a_carrier_may_challenge_our_bye() {
    let mut rig = Rig::trunk(
        serde_json::json!({ "credentials": { "username": "harbor", "password": "hunter2" } }),
    );
    let (mut caller, mut target) = rig.connected();
    target.request(&mut rig, "BYE", "");
    challenge(&mut caller, &mut rig, 407, PROXY);

    assert_eq!(caller.requests(&mut rig), ["BYE", "BYE"]);
    let bye = rig.to(CARRIER).pop().unwrap();
    assert!(header(&bye, "Proxy-Authorization").contains("algorithm=SHA-256"), "{bye}");
    caller.respond(&mut rig, 200, "");
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn the_bye_of_an_answer_that_came_too_late_is_sent_again_too() {
    let mut rig = rig();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    challenge(&mut target, &mut rig, 401, WWW);
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.cancel(&mut rig);
    target.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(target.requests(&mut rig), ["CANCEL", "ACK", "BYE"]);
    challenge(&mut target, &mut rig, 401, STALE);

    assert_eq!(target.requests(&mut rig), ["BYE"]);
}

#[test]
fn the_bye_of_a_fork_that_answered_second_is_sent_again_too() {
    for (status, lines, field) in
        [(401, STALE, "Authorization"), (407, PROXY, "Proxy-Authorization")]
    {
        let mut rig = rig();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.respond(&mut rig, 200, SDP_B);
        assert_eq!(caller.statuses(&mut rig), [100, 200]);
        assert_eq!(target.requests(&mut rig), ["ACK"]);
        target.tag = String::from("fork");
        target.respond_to_invite(&mut rig, 200, SDP_B);
        assert_eq!(target.requests(&mut rig), ["ACK", "BYE"]);
        challenge(&mut target, &mut rig, status, lines);

        assert_eq!(target.requests(&mut rig), ["BYE"], "{status}");
        let bye = rig.to(TARGET).pop().unwrap();
        assert_eq!(tag_of(header(&bye, "To")), "fork");
        assert!(header(&bye, field).starts_with("Digest username=\"harbor\""), "{bye}");
        target.respond(&mut rig, 200, "");
        assert_eq!(rig.endpoint.calls(), 1, "the call with the first goes on");
    }
}

#[test]
fn without_an_account_a_challenge_is_a_refusal() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    challenge(&mut target, &mut rig, 401, WWW);

    assert_eq!(target.requests(&mut rig), ["ACK"]);
    assert_eq!(caller.statuses(&mut rig), [100, 500]);
}

#[test]
fn an_attempt_that_was_given_up_answers_no_challenge() {
    let mut rig = rig();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 180, "");
    caller.cancel(&mut rig);
    target.requests(&mut rig);
    target.fields = WWW.to_owned();
    target.respond_to_invite(&mut rig, 401, "");

    assert_eq!(target.requests(&mut rig), ["ACK"]);
    caller.ack_failure(&mut rig);
    target.fields.clear();
    target.respond(&mut rig, 200, "");
    rig.pass(Duration::from_secs(40));
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

/// Answers our newest request with a challenge.
fn challenge(side: &mut Side_, rig: &mut Rig, status: u16, lines: &'static str) {
    side.fields = lines.to_owned();
    side.respond(rig, status, "");
    side.fields.clear();
}

/// A rig whose targets know us.
fn rig() -> Rig {
    let mut rig = Rig::new();
    let config: TargetConfig = serde_json::from_value(serde_json::json!({
        "credentials": { "username": "harbor", "password": "hunter2" }
    }))
    .unwrap();
    let rules = Arc::new(TargetRules::compile("t", &config).unwrap());
    for attempt in &mut rig.plan.attempts {
        attempt.rules = Some(Arc::clone(&rules));
    }
    rig
}
