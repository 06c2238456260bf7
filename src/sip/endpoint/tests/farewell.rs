//! What a process that died leaves for the next one to say (spec/sip O8).

use super::*;
use crate::sip::orphan::Orphan;

#[test]
fn a_process_that_died_has_left_a_bye_for_both_ends_which_the_next_one_sends() {
    let mut rig = Rig::new();
    rig.endpoint.write_farewells();
    let (caller, target) = rig.connected();
    let [to_caller, to_target] = rig.farewells.pop().unwrap();

    let mut next = Rig::new();
    next.endpoint.wire.ids = IdSource::new(8, 0);
    for (farewell, party) in [(to_caller, caller), (to_target, target)] {
        let flow = Flow::new(ListenerId(0), farewell.transport, farewell.peer);
        assert_eq!(farewell.peer, party.address);
        next.input(Input::Farewell { flow, bye: farewell.bye.clone() });
        let mut party = Side_ { seen: [0; 2], ..party };
        let sent = party.news(&mut next, 1).pop().unwrap();

        assert!(sent.starts_with("BYE "), "{sent}");
        assert!(header(&sent, "From").ends_with(&format!(";tag={}", party.peer_tag)), "{sent}");
        assert!(header(&sent, "To").ends_with(&format!(";tag={}", party.tag)), "{sent}");
        assert!(header(&sent, "Reason").starts_with("Q.850;cause=41"), "{sent}");
        assert_ne!(
            header(&sent, "Via"),
            header(std::str::from_utf8(&farewell.bye).unwrap(), "Via")
        );
        next.pass(Duration::from_millis(600));
        assert_eq!(party.requests(&mut next), ["BYE"], "repeated until it is answered");
        party.respond(&mut next, 200, "");
    }
    next.pass(Duration::from_secs(10));
    assert_eq!(next.endpoint.transactions(), 0);
    assert_eq!(next.orphans, [], "it knows of no call");
}

#[test]
fn a_call_is_over_when_one_of_its_ends_has_heard_so_or_knew_it() {
    for (status, is_over) in [(200, true), (481, true), (503, false), (401, false)] {
        let mut rig = Rig::new();
        rig.endpoint.write_farewells();
        let (_, target) = rig.connected();
        let [_, farewell] = rig.farewells.pop().unwrap();
        let [_, print] = rig.dialogs.pop().unwrap();
        let mut next = Rig::new();
        let call = CallId::from_bytes([7; 16]);
        let known = [(print, Orphan { call, party: Party::Target })];
        next.endpoint.adopt(Arc::new(Orphans::new(known, next.now + Duration::from_secs(60))));
        let flow = Flow::new(ListenerId(0), farewell.transport, farewell.peer);
        next.input(Input::Farewell { flow, bye: farewell.bye.clone() });
        let mut target = Side_ { seen: [0; 2], ..target };
        assert_eq!(target.requests(&mut next), ["BYE"]);
        assert_eq!(next.orphans, []);

        target.respond(&mut next, status, "");

        let over: &[_] = if is_over { &[(call, Party::System)] } else { &[] };
        assert_eq!(next.orphans, over, "{status}");
    }
}

#[test]
fn unasked_nothing_is_left() {
    let mut rig = Rig::new();
    rig.connected();

    assert_eq!((rig.dialogs.len(), rig.farewells.len()), (1, 0));
}
