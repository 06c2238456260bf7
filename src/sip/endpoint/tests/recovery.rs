//! A target that hangs up at once is followed by the next one (spec/domain §2.11).

use super::transfer::is_forgotten;
use super::*;

const SDP_C: &str = "v=0\r\no=c 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\n";

#[test]
fn the_caller_is_connected_to_the_next_target_by_a_reinvite() {
    let (mut rig, mut caller, mut second) = hung_up_on();
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new(), "the caller waits");
    assert!(!rig.to(SECOND)[0].contains("m=audio"), "the next one makes the offer");
    second.respond(&mut rig, 180, "");
    assert_eq!(caller.statuses(&mut rig), Vec::<u16>::new(), "an answered caller hears no 180");

    second.respond_to_invite(&mut rig, 200, SDP_C);
    assert_eq!(caller.requests(&mut rig), ["INVITE"]);
    assert!(rig.to(CARRIER).pop().unwrap().contains("m=audio 7000"));
    caller.respond(&mut rig, 200, SDP_A);
    assert_eq!(caller.requests(&mut rig), ["ACK"]);
    assert_eq!(second.requests(&mut rig), ["ACK"]);
    assert!(rig.to(SECOND).pop().unwrap().contains("m=audio 4000"));

    second.request(&mut rig, "BYE", "");
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    caller.respond(&mut rig, 200, "");
    let (party, reason) = (Party::Target, Reason::TargetHungUp);
    assert_eq!(
        rig.reports()[3..],
        [
            Report::EndedEarly { attempt: 1, q850: None },
            Report::AttemptStarted { attempt: 2 },
            Report::AttemptProgress { attempt: 2, status: 180 },
            Report::Answered { attempt: 2 },
            Report::Confirmed,
            Report::Ended { party, reason, status: 200, q850: None },
        ]
    );
    is_forgotten(&mut rig);
}

#[test]
fn a_caller_whom_the_next_target_refuses_is_hung_up_on() {
    let (mut rig, mut caller, mut second) = hung_up_on();
    second.respond(&mut rig, 486, "");
    assert_eq!(caller.requests(&mut rig), ["BYE"]);
    caller.respond(&mut rig, 200, "");
    is_forgotten(&mut rig);
}

#[test]
fn a_caller_who_leaves_meanwhile_takes_the_next_target_along() {
    let (mut rig, mut caller, mut second) = hung_up_on();
    second.respond(&mut rig, 180, "");
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    assert_eq!(second.requests(&mut rig), ["CANCEL"]);
    second.respond(&mut rig, 200, "");
    second.respond_to_invite(&mut rig, 487, "");
    is_forgotten(&mut rig);
}

#[test]
fn what_the_gone_target_still_says_concerns_the_next_one_in_nothing() {
    let (mut rig, mut caller, mut target) = recovering();
    caller.request(&mut rig, "INFO", "");
    assert_eq!(target.requests(&mut rig), ["INFO"]);
    let mut asked = target.clone();
    target.request(&mut rig, "BYE", "");
    assert_eq!(target.statuses(&mut rig), [200]);
    let mut second = rig.target(SECOND);
    second.respond_to_invite(&mut rig, 200, SDP_C);
    asked.respond(&mut rig, 481, "");

    assert_eq!(caller.statuses(&mut rig), [481], "nobody answers what it asked the first");
    assert_eq!(caller.requests(&mut rig), ["INVITE"], "and the call goes on");
    assert_eq!(second.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn a_gone_target_is_not_lost_while_the_next_one_s_hold_is_awaited() {
    let (mut rig, mut caller, mut target) = recovering();
    caller.request(&mut rig, "INFO", "");
    assert_eq!(target.requests(&mut rig), ["INFO"]);
    let mut asked = target.clone();
    rig.grants = false;
    target.request(&mut rig, "BYE", "");
    // It says that it is no longer there, as RFC 3261 §12.2.1.2 has it of one that is to end a call.
    asked.respond(&mut rig, 481, "");
    rig.pass(Duration::from_secs(1));
    caller.request(&mut rig, "BYE", "");

    let (party, reason) = (Party::Caller, Reason::CallerAbandoned);
    let ended = Report::Ended { party, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
    assert_eq!(rig.last_heard, None, "its end is known, and not inferred");
}

#[test]
fn a_target_that_leaves_an_offer_open_ends_the_call() {
    let (mut rig, mut caller, mut target) = recovering();
    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
    target.request(&mut rig, "BYE", "");
    let (party, reason) = (Party::Target, Reason::TargetHungUp);
    let ended = Report::Ended { party, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
}

/// The first of two targets has answered, and has hung up.
fn hung_up_on() -> (Rig, Side_, Side_) {
    let (mut rig, caller, mut target) = recovering();
    rig.pass(Duration::from_secs(14));
    target.request(&mut rig, "BYE", "");
    assert_eq!(target.statuses(&mut rig), [200]);
    let second = rig.target(SECOND);
    (rig, caller, second)
}

/// The first of two targets has answered.
fn recovering() -> (Rig, Side_, Side_) {
    let mut rig = Rig::new();
    rig.plan.recoveries = 1;
    rig.plan.attempts[0].recovers_within = Duration::from_secs(15);
    let (caller, target) = rig.connected();
    (rig, caller, target)
}
