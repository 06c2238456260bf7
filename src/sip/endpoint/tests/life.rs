//! How long a call lives: one whose party is gone ends when that was last heard (spec/sip §3, bug
//! 13), and nothing of one that is over lasts.

use super::*;

const S: Duration = Duration::from_secs(1);

/// spec/sip O12.
#[test]
fn a_call_that_is_over_leaves_no_deadline_that_outlasts_its_transactions() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.pass(10 * S);
    caller.request(&mut rig, "BYE", "");
    target.respond(&mut rig, 200, "");
    rig.pass(33 * S);

    let endpoint = &rig.endpoint;
    assert_eq!((endpoint.calls(), endpoint.transactions(), endpoint.deadlines()), (0, 0, 0));
}

#[test]
fn a_call_has_one_deadline_however_often_it_was_armed() {
    let mut rig = Rig::new();
    let _parties = rig.connected();

    rig.pass(100 * S);

    assert_eq!((rig.endpoint.transactions(), rig.endpoint.deadlines()), (0, 1));
}

#[test]
fn a_party_that_answers_no_probe_was_there_until_it_was_last_heard() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.pass(301 * S);
    caller.respond(&mut rig, 200, "");
    target.respond(&mut rig, 200, "");
    rig.pass(100 * S);
    target.request(&mut rig, "INFO", "Signal=1");
    caller.respond(&mut rig, 200, "");
    let last_word = rig.now;
    rig.pass(200 * S);
    caller.respond(&mut rig, 200, "");
    rig.pass(40 * S);

    assert_eq!(ended(&rig), Some(Reason::PeerUnreachable));
    assert_eq!(rig.last_heard, Some(last_word));
}

#[test]
fn a_party_that_has_forgotten_the_call_was_there_until_its_last_answer() {
    for status in [481, 408] {
        let mut rig = Rig::new();
        let (mut caller, mut target) = rig.connected();
        rig.pass(301 * S);
        caller.respond(&mut rig, 200, "");
        target.respond(&mut rig, 200, "");
        let last_answer = rig.now;
        rig.pass(300 * S);
        target.respond(&mut rig, 200, "");
        caller.respond(&mut rig, status, "");

        assert_eq!(ended(&rig), Some(Reason::DialogLost));
        assert_eq!(rig.last_heard, Some(last_answer));
    }
}

#[test]
fn a_party_that_lets_its_session_expire_was_there_until_its_last_refresh() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.extra = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nAllow: UPDATE\r\n";
    caller.send_invite(&mut rig);
    rig.route();
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    caller.ack(&mut rig);
    rig.pass(45 * S);
    caller.fields = String::from("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    caller.request(&mut rig, "UPDATE", "");
    let refreshed = rig.now;
    rig.pass(70 * S);

    assert_eq!(ended(&rig), Some(Reason::SessionExpired));
    assert_eq!(rig.last_heard, Some(refreshed));
}

#[test]
fn a_request_that_the_other_party_no_longer_knows_ends_the_call_when_that_was_last_heard() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    let answered = rig.now;
    rig.pass(100 * S);
    caller.request(&mut rig, "INFO", "Signal=1");
    target.respond(&mut rig, 481, "");

    assert_eq!(ended(&rig), Some(Reason::DialogLost));
    assert_eq!(rig.last_heard, Some(answered));
}

#[test]
fn a_party_that_never_confirms_an_answer_was_there_when_it_asked_for_it() {
    let mut rig = Rig::new();
    rig.invite("a");
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    let answered = rig.now;
    rig.pass(33 * S);

    assert_eq!(ended(&rig), Some(Reason::AckMissing));
    assert_eq!(rig.last_heard, Some(answered));

    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.pass(100 * S);
    caller.request(&mut rig, "INVITE", SDP_A);
    let asked = rig.now;
    rig.pass(S);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    rig.pass(33 * S);

    assert_eq!(ended(&rig), Some(Reason::AckMissing));
    assert_eq!(rig.last_heard, Some(asked), "nobody pays for our patience");
}

#[test]
fn no_call_ends_before_its_caller_took_the_answer() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    caller.statuses(&mut rig);
    rig.pass(2 * S);
    caller.ack(&mut rig);
    let taken = rig.now;
    target.requests(&mut rig);
    rig.pass(10 * S);
    caller.request(&mut rig, "INFO", "Signal=1");
    target.respond(&mut rig, 481, "");

    assert_eq!(ended(&rig), Some(Reason::DialogLost));
    assert_eq!(rig.last_heard, Some(taken));
}

#[test]
fn an_end_that_somebody_told_is_not_inferred() {
    let mut rig = Rig::new();
    let (mut caller, _) = rig.connected();
    rig.pass(100 * S);
    caller.request(&mut rig, "BYE", "");

    assert_eq!(ended(&rig), Some(Reason::CallerHungUp));
    assert_eq!(rig.last_heard, None);

    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    for _ in 0..11 {
        rig.pass(301 * S);
        caller.respond(&mut rig, 200, "");
        target.respond(&mut rig, 200, "");
    }
    rig.pass(300 * S);

    assert_eq!(ended(&rig), Some(Reason::MaxDuration), "both were there");
    assert_eq!(rig.last_heard, None);
}

fn ended(rig: &Rig) -> Option<Reason> {
    match rig.reports().last() {
        Some(Report::Ended { reason, .. }) => Some(*reason),
        _ => None,
    }
}
