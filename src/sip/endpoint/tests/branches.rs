//! Targets that ring side by side and say something before one of them has won.

use super::policy::side_by_side_with;
use super::*;
use crate::sip::trunk::profile::Support;

#[test]
fn each_of_those_that_ring_is_confirmed_and_answered_in_its_own_early_dialog() {
    let mut rig = ringing_reliably();
    let mut legs = [TARGET, SECOND].map(|address| early(&mut rig, address));
    for leg in &mut legs {
        leg.request(&mut rig, "UPDATE", "");
        leg.request(&mut rig, "OPTIONS", "");
        leg.request(&mut rig, "INFO", "Signal=1");
        leg.request(&mut rig, "UPDATE", SDP_B);
        leg.request(&mut rig, "INVITE", SDP_B);

        assert_eq!(leg.statuses(&mut rig), [200, 200, 480, 488, 491]);
    }
    assert_eq!(rig.endpoint.calls(), 1);

    // The winner's dialog counts on.
    legs[0].respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(legs[0].requests(&mut rig), ["ACK"]);
    assert_eq!(legs[1].requests(&mut rig), ["CANCEL"]);
    legs[0].request(&mut rig, "OPTIONS", "");
    assert_eq!(legs[0].statuses(&mut rig), [200]);
}

#[test]
fn one_that_hangs_up_before_it_answered_has_refused() {
    let mut rig = ringing_reliably();
    let mut first = early(&mut rig, TARGET);
    let mut second = early(&mut rig, SECOND);
    first.request(&mut rig, "BYE", "");

    assert_eq!(first.statuses(&mut rig), [200]);
    assert_eq!(first.requests(&mut rig), ["CANCEL"]);
    second.respond_to_invite(&mut rig, 200, SDP_B);
    assert_eq!(second.requests(&mut rig), ["ACK"]);
}

#[test]
fn a_request_with_the_tag_of_another_s_dialog_fits_none() {
    let mut rig = ringing_reliably();
    let mut first = early(&mut rig, TARGET);
    first.tag = String::from("somebody");
    first.request(&mut rig, "UPDATE", "");

    assert_eq!(first.statuses(&mut rig), [481]);
}

#[test]
fn the_hold_of_an_attempt_that_nobody_asks_about_any_more_dials_nobody() {
    let mut rig = Rig::new();
    rig.grants = false;
    rig.invite("a");
    let Some(Output::PlaceHold { call, attempt: 1 }) = rig.other.pop() else { panic!() };
    for outcome in [Ok(()), Err(Reason::CapFull)] {
        rig.input(Input::Held { call, attempt: 2, outcome });
        assert!(!rig.all.iter().any(|(_, text)| text.starts_with("INVITE")));
        assert_eq!(rig.reports(), []);
    }

    rig.input(Input::Held { call, attempt: 1, outcome: Ok(()) });
    rig.target(TARGET);
}

/// Three targets ring; what they say may be reliable.
fn ringing_reliably() -> Rig {
    let mut rig = Rig::new();
    rig.plan =
        side_by_side_with(LegPolicy { reliable: Some(Support::Supported), ..LegPolicy::default() });
    rig.invite("a");
    rig
}

/// The target at this address, its reliable 183 confirmed.
fn early(rig: &mut Rig, address: &str) -> Side_ {
    let mut leg = rig.target(address);
    leg.fields = String::from("Require: 100rel\r\nRSeq: 1\r\n");
    leg.respond_to_invite(rig, 183, SDP_B);
    assert_eq!(leg.requests(rig), ["PRACK"]);
    leg.fields = String::new();
    leg.respond(rig, 200, "");
    leg
}
