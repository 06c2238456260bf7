//! Targets at several addresses on the wire (spec/sip T16, T17).

use super::*;
use crate::sip::call::plan::Destination;

const THIRD: &str = "198.51.100.3:5080";

#[test]
fn the_next_address_gets_the_same_invite_under_a_new_branch_after_the_503_was_acknowledged() {
    let mut rig = rig(&[SECOND, THIRD]);
    let mut caller = rig.invite("a");

    let mut first = rig.target(TARGET);
    first.fields = "Retry-After: 9\r\n".into();
    first.respond(&mut rig, 503, "");

    assert_eq!(first.requests(&mut rig), ["ACK"]);
    let (before, after) = (rig.to(TARGET), rig.to(SECOND));
    let (before, after) = (&before[0], &after[0]);
    for name in ["Call-ID", "From", "To", "CSeq"] {
        assert_eq!(header(before, name), header(after, name), "{name}");
    }
    assert_ne!(header(before, "Via"), header(after, "Via"));
    let sent = |address: &str| {
        rig.all
            .iter()
            .position(|(to, text)| *to == addr(address) && !text.starts_with("SIP"))
            .unwrap()
    };
    let acknowledged = rig.all.iter().position(|(_, text)| text.starts_with("ACK")).unwrap();
    assert!(acknowledged < sent(SECOND), "the ACK goes first");
    let retry_after = Some(Duration::from_secs(9));
    assert_eq!(rig.rated, [rated(TARGET, Err(Failing::Unavailable { retry_after }))]);

    rig.target(SECOND).respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    assert_eq!(rig.rated[1..], [rated(SECOND, Ok(()))]);
    let started = |it: &&Report| matches!(it, Report::AttemptStarted { .. });
    assert_eq!(rig.reports().iter().filter(started).count(), 1, "one attempt");
    assert_eq!(rig.to(THIRD), Vec::<String>::new());
}

#[test]
fn a_silent_address_is_left_after_its_time_and_its_late_answer_is_ended() {
    let mut rig = rig(&[SECOND]);
    let mut caller = rig.invite("a");
    let mut silent = rig.target(TARGET);

    rig.pass(Duration::from_millis(2_100));
    let mut second = rig.target(SECOND);
    second.respond(&mut rig, 180, "");
    assert_eq!(rig.rated, [rated(TARGET, Err(Failing::Gone))]);

    // It was only slow: the answer is taken from whom it is expected now.
    silent.tag = String::from("slow");
    silent.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(silent.requests(&mut rig).last().map(String::as_str), Some("BYE"));
    assert!(silent.requests(&mut rig).is_empty());
    second.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 180, 200]);
    caller.ack(&mut rig);

    // Timer B of the INVITE that was left must not touch the call.
    rig.pass(Duration::from_secs(40));
    assert!(!rig.reports().iter().any(|it| matches!(it, Report::Ended { .. })));
}

#[test]
fn a_slow_sign_of_life_of_an_address_that_was_left_is_answered_by_cancel() {
    let mut rig = rig(&[SECOND]);
    let mut caller = rig.invite("a");
    let mut silent = rig.target(TARGET);
    rig.pass(Duration::from_millis(2_100));

    silent.respond_to_invite(&mut rig, 180, "");

    assert_eq!(silent.requests(&mut rig).last().map(String::as_str), Some("CANCEL"));
    assert_eq!(caller.statuses(&mut rig), [100], "nobody hears its ringing");
}

#[test]
fn nobody_there_leads_to_the_next_address_at_once_and_a_late_word_of_it_harms_nobody() {
    let mut rig = rig(&[SECOND]);
    let mut caller = rig.invite("a");
    let gone = Flow::udp(ListenerId(0), addr(TARGET));

    rig.input(Input::FlowFailed { flow: gone });
    rig.input(Input::FlowFailed { flow: gone });

    let mut second = rig.target(SECOND);
    second.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    assert_eq!(rig.rated, [rated(TARGET, Err(Failing::Gone)), rated(SECOND, Ok(()))]);
}

#[test]
fn when_all_addresses_are_gone_the_hunt_goes_on() {
    let mut rig = rig(&[SECOND]);
    rig.plan.attempts[1].destination = Some(place(THIRD));
    let mut caller = rig.invite("a");

    for address in [TARGET, SECOND] {
        rig.input(Input::FlowFailed { flow: Flow::udp(ListenerId(0), addr(address)) });
        rig.route();
    }
    rig.target(THIRD).respond(&mut rig, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    let at_address = |it: &&Report| matches!(it, Report::AddressFailed { .. });
    let of_attempt = |it: &&Report| matches!(it, Report::AttemptFailed { attempt: 1, .. });
    assert_eq!(rig.reports().iter().filter(at_address).count(), 1, "the first of two");
    assert_eq!(rig.reports().iter().filter(of_attempt).count(), 1, "then both");
}

#[test]
fn an_address_is_tried_when_it_is_called_and_not_when_that_is_planned() {
    let mut rig = rig(&[THIRD]);
    rig.plan.attempts[1].further = Some(vec![place(THIRD)]);
    rig.invite("a");
    assert_eq!(rig.tried, [addr(TARGET)]);

    rig.target(TARGET).respond(&mut rig, 503, "");
    assert_eq!(rig.tried, [TARGET, THIRD].map(addr));
    rig.target(THIRD).respond(&mut rig, 486, "");
    assert_eq!(rig.tried, [TARGET, THIRD, SECOND].map(addr));
}

#[test]
fn a_target_with_one_address_is_not_rated() {
    let mut rig = Rig::new();
    rig.invite("a");

    rig.target(TARGET).respond(&mut rig, 503, "");

    assert_eq!((rig.rated, rig.tried), (vec![], vec![]));
}

/// The first target is at these addresses, too.
fn rig(further: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.plan.attempts[0].further = Some(further.iter().rev().map(|it| place(it)).collect());
    rig
}

fn place(address: &str) -> Destination {
    Destination { transport: Transport::Udp, peer: addr(address), tls: None, tcp_port: None }
}

fn rated(address: &str, how: Result<(), Failing>) -> (SocketAddr, Result<(), Failing>) {
    (addr(address), how)
}
