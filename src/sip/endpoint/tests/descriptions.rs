//! Session descriptions that are not as they should be (spec/sip P15).

use super::*;

/// A stream without an address.
const UNUSABLE: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

#[test]
fn an_offer_nobody_could_use_is_refused_before_a_target_rings() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.offer = UNUSABLE;
    caller.send_invite(&mut rig);

    let refused = rig.to(CARRIER).pop().unwrap();
    assert!(refused.starts_with("SIP/2.0 488 "), "{refused}");
    let warning = header(&refused, "Warning");
    assert_eq!(warning, "399 - \"the session description has a stream without an address\"");
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));
}

#[test]
fn one_within_a_call_is_refused_and_the_call_goes_on() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    for method in ["INVITE", "UPDATE"] {
        caller.request(&mut rig, method, UNUSABLE);
        target.request(&mut rig, method, UNUSABLE);

        assert_eq!(caller.statuses(&mut rig), [488], "{method}");
        assert_eq!(target.statuses(&mut rig), [488], "{method}");
        assert_eq!(target.requests(&mut rig), Vec::<String>::new(), "{method}");
        assert_eq!(caller.requests(&mut rig), Vec::<String>::new(), "{method}");
    }
    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(target.requests(&mut rig), ["INVITE"]);
}

#[test]
fn what_a_carrier_leaves_out_a_target_is_told() {
    let mut rig = Rig::new();
    let mut caller = rig.caller("a");
    caller.offer = "v=0\no=- 1 1 IN IP4 192.0.2.9\nc=IN IP4 203.0.113.9\nm=audio 4000 RTP/AVP 0\n";
    caller.send_invite(&mut rig);
    rig.route();

    let target = rig.target(TARGET);
    let (_, body) = target.invite.split_once("\r\n\r\n").unwrap();
    let (origin, rest) = body.split_once("\r\ns=").unwrap();
    assert!(origin.starts_with("v=0\r\no=- "), "{body}");
    assert_eq!(rest, "-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n");
}
