//! The samples of the carrier files as INVITEs, replayed through the endpoint as if they came from
//! one of the carrier's addresses (spec/sip C16).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::sip::endpoint::{Endpoint, Input, Origin, Output};
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::ids::IdSource;
use crate::sip::trunk::profile::{Profile, Sample};
use crate::sip::trunk::{Carriers, Trunks};
use crate::time::{Mono, Wall};
use bytes::Bytes;

use crate::sim::stage::{flow, listeners, settings};

/// Stands for the network of a carrier that has no public one.
const ACCOUNT: &str = "192.0.2.8/30";

#[test]
fn the_invites_of_every_carrier_are_calls_with_the_numbers_they_mean() {
    let now = Mono(1_000_000_000);
    for carrier in Carriers::built_in().iter() {
        let (trunks, peer) = at_home(carrier);
        let trunk = trunks.identify(ListenerId(0), Transport::Udp, peer.ip());
        let origin = Origin::Trunk(trunk.unwrap_or_else(|| panic!("{}: {peer}", carrier.name)));
        let mut endpoint = Endpoint::new(settings(), trunks, IdSource::new(9, 0), now);
        for (n, sample) in carrier.tests.iter().enumerate() {
            let message = invite(sample, flow(peer), n);
            let input = Input::Received { flow: flow(peer), origin, wall: Wall(0), message };
            let mut out = vec![];
            endpoint.handle(input, now, &mut out);

            let admission = out.iter().find_map(|output| match output {
                Output::Admitted(admission) => Some(admission),
                _ => None,
            });
            let name = format!("{} sample {n}", carrier.name);
            let admission = admission.unwrap_or_else(|| panic!("{name} is refused: {out:?}"));
            assert_eq!(admission.number.ok(), sample.did, "{name}");
            assert_eq!(admission.caller.number, sample.caller, "{name}");
            assert_eq!(admission.caller.withheld, sample.withheld, "{name}");
        }
        assert_eq!(endpoint.calls(), carrier.tests.len(), "{}", carrier.name);
    }
}

/// A trunk of this carrier alone, and an address it sends from.
fn at_home(carrier: &Profile) -> (Arc<Trunks>, SocketAddr) {
    let public = carrier.inbound.cidrs.iter().map(|cidr| cidr.0.network()).find(IpAddr::is_ipv4);
    let mut config = serde_json::json!({ "id": "home", "carrier": carrier.name.as_str() });
    if public.is_none() {
        config["inbound"] = serde_json::json!({ "cidrs": [ACCOUNT] });
    }
    let config = serde_json::from_value(config).unwrap();
    let trunks = Trunks::compile(&[config], &listeners(), &Carriers::built_in()).unwrap();
    let ip = public.unwrap_or_else(|| IpAddr::from([192, 0, 2, 9]));
    (Arc::new(trunks), SocketAddr::new(ip, 5060))
}

fn invite(sample: &Sample, flow: Flow, n: usize) -> Bytes {
    let Sample { ruri, to, pai, rpid, from, privacy, .. } = sample;
    let (peer, to) = (flow.peer, if to.is_empty() { ruri } else { to });
    let mut text = format!(
        "INVITE sip:{ruri}@203.0.113.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {peer};rport;branch=z9hG4bKreplay{n}\r\nMax-Forwards: 69\r\n\
         From: \"A Caller\" <sip:{from}@{peer}>;tag=r{n}\r\nTo: <sip:{to}@203.0.113.1>\r\n\
         Call-ID: replay-{n}@{peer}\r\nCSeq: {} INVITE\r\nContact: <sip:{peer}>\r\n",
        1_000 + n
    );
    for user in pai {
        write!(text, "P-Asserted-Identity: <sip:{user}@{peer}>\r\n").unwrap();
    }
    if let Some(user) = rpid {
        write!(text, "Remote-Party-ID: <sip:{user}@{peer}>;party=calling\r\n").unwrap();
    }
    if let Some(value) = privacy {
        write!(text, "Privacy: {value}\r\n").unwrap();
    }
    text.push_str("Supported: 100rel, timer\r\nContent-Length: 0\r\n\r\n");
    text.into()
}
