//! What the shell makes of reports that the endpoint gives only in rare weather.

use bytes::Bytes;
use slotmap::SlotMap;

use super::*;
use crate::reason::Reason;
use crate::routing::hold::HoldLedger;
use crate::sip::call::report::Place;
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::trunk::{Caller, TrunkIndex};

#[test]
fn a_place_that_a_target_named_and_that_cannot_be_dialled_keeps_no_hold() {
    let now = Mono(1_000_000_000);
    let (mut edge, admission) = (0..)
        .map(|market| {
            let (edge, _) =
                Edge::new(Faults::NONE, None, Rng::with_seed(1), now, Duration::from_secs(60));
            let mut edge = edge.in_market(market);
            edge.start(now).unwrap().unwrap();
            (edge, admission(now))
        })
        .find_map(|(mut edge, admission)| {
            let bridge = &mut edge.process.as_mut()?.parts.bridge;
            let Admitted::Decided((outcome, None)) = bridge.admit(&admission) else { return None };
            let mut grants = |attempt| bridge.place_hold(admission.call, attempt, now);
            let granted = outcome.is_ok() && matches!(grants(1), Answer::Now(Ok(())));
            (granted && holds(&edge) == 1).then_some((edge, admission))
        })
        .expect("some market has caps");
    let bridge = &mut edge.process.as_mut().unwrap().parts.bridge;
    let failed =
        |attempt, reason| Report::AttemptFailed { attempt, status: None, q850: None, reason };
    let uris = vec![Place(Bytes::from_static(b"sip:elsewhere"))];
    for report in [
        Report::AttemptStarted { attempt: 1 },
        Report::Extended { after: 1, uris },
        failed(1, Reason::AttemptRedirected),
        Report::AttemptStarted { attempt: 2 },
    ] {
        bridge.report(admission.call, admission.id, now, report, None);
    }
    assert_eq!(holds(&edge), 1, "it may still be dialled there");

    let bridge = &mut edge.process.as_mut().unwrap().parts.bridge;
    let unresolved = failed(2, Reason::AttemptUnresolved);
    bridge.report(admission.call, admission.id, now, unresolved, None);
    assert_eq!(holds(&edge), 0);
}

fn holds(edge: &Edge) -> usize {
    edge.process.as_ref().unwrap().parts.deciding.ledger(HoldLedger::live)
}

fn admission(at: Mono) -> Admission {
    let mut keys: SlotMap<CallKey, ()> = SlotMap::with_key();
    let source = "192.0.2.1:5060".parse().unwrap();
    Admission {
        call: keys.insert(()),
        id: CallId::from_bytes([7; 16]),
        at,
        wall: Wall(1_700_000_000_000),
        trunk: TrunkIndex(0),
        sip_call_id: Bytes::from_static(b"a"),
        dialed: Bytes::from_static(b"+18005550100"),
        number: Ok("+18005550100".parse().unwrap()),
        caller: Caller::default(),
        flow: Flow::udp(ListenerId(0), source),
        captured: None,
    }
}
