//! Requests that are too long for a datagram (spec/sip T9).

use super::*;

#[test]
fn a_long_invite_goes_over_tcp_where_the_target_takes_it_and_says_so_in_via_and_contact() {
    let mut rig = rig(Some(5071));
    let mut caller = invite(&mut rig, 1_600);

    let (transport, peer, text) = last_invite(&rig);
    assert_eq!((transport, peer), (Transport::Tcp, addr("198.51.100.1:5071")));
    assert!(header(&text, "Via").starts_with("SIP/2.0/TCP 203.0.113.1:5060;"), "{text}");
    assert_eq!(header(&text, "Contact"), "<sip:203.0.113.1:5060;transport=tcp>");
    assert_eq!(rig.endpoint.take_counters().long_requests, [1, 0, 0]);
    assert!(rig.fragmented.is_empty());
    assert_eq!(caller.statuses(&mut rig), [100]);
}

#[test]
fn a_short_one_stays_a_datagram() {
    let mut rig = rig(Some(5071));
    invite(&mut rig, 100);

    assert_eq!(last_invite(&rig).0, Transport::Udp);
    assert_eq!(rig.endpoint.take_counters().long_requests, [0; 3]);
}

#[test]
fn where_nobody_takes_tcp_it_becomes_a_datagram_within_the_same_attempt() {
    let mut rig = rig(Some(5070));
    let mut caller = invite(&mut rig, 1_600);
    let (_, _, refused) = last_invite(&rig);

    let flow = Flow { transport: Transport::Tcp, ..Flow::udp(ListenerId(1), addr(TARGET)) };
    rig.input(Input::FlowFailed { flow });

    let (transport, peer, text) = last_invite(&rig);
    assert_eq!((transport, peer), (Transport::Udp, addr(TARGET)));
    assert_eq!(header(&text, "Call-ID"), header(&refused, "Call-ID"));
    assert_ne!(header(&text, "Via"), header(&refused, "Via"));
    assert_eq!(rig.endpoint.take_counters().long_requests, [1, 1, 1]);
    assert_eq!(rig.reports(), [Report::AttemptStarted { attempt: 1 }]);
    rig.target(TARGET).respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
}

#[test]
fn one_of_those_that_ring_side_by_side_that_cannot_become_a_datagram_has_failed() {
    let mut rig = rig(Some(5070));
    rig.plan.attempts[1].manner.beside = true;
    invite(&mut rig, 1_600);

    // Nothing of ours sends datagrams any more.
    rig.endpoint.wire.settings.listeners[0].transport = Transport::Tcp;
    let flow = Flow { transport: Transport::Tcp, ..Flow::udp(ListenerId(1), addr(TARGET)) };
    rig.input(Input::FlowFailed { flow });

    let (status, q850, reason) = (None, None, Reason::AttemptCarrierFailed);
    let failed = Report::AttemptFailed { attempt: 1, status, q850, reason };
    assert_eq!(rig.reports().last(), Some(&failed));
}

#[test]
fn to_a_target_without_tcp_it_is_a_datagram_that_is_counted_and_told_of() {
    let mut rig = rig(None);
    invite(&mut rig, 1_600);

    let (transport, _, text) = last_invite(&rig);
    assert_eq!(transport, Transport::Udp);
    rig.pass(Duration::from_millis(1_600));
    assert_eq!(rig.fragmented, [text.len()]);
    let counters = rig.endpoint.take_counters();
    assert_eq!(counters.retransmissions_out, 2);
    assert_eq!(counters.long_requests, [0, 1, 0], "once, however often it is repeated");
}

/// The first target takes TCP at this port.
fn rig(tcp_port: Option<u16>) -> Rig {
    let mut rig = Rig::new();
    let destination = rig.plan.attempts[0].destination.as_mut().unwrap();
    destination.tcp_port = tcp_port;
    rig
}

/// A call whose session description is so long.
fn invite(rig: &mut Rig, bytes: usize) -> Side_ {
    let mut caller = rig.caller("a");
    let padding = "a=x-padding:0123456789\r\n".repeat(bytes / 24);
    caller.offer = Box::leak(format!("{SDP_A}{padding}").into_boxed_str());
    caller.send_invite(rig);
    caller
}

fn last_invite(rig: &Rig) -> (Transport, SocketAddr, String) {
    let at = rig.all.iter().rposition(|(_, text)| text.starts_with("INVITE")).unwrap();
    let (peer, text) = rig.all[at].clone();
    (rig.transports[at], peer, text)
}
