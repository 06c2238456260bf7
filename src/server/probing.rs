//! Which addresses are probed (spec/sip C6): those of the targets that are to be, each once.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::TargetId;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::sip::call::plan::Destination;
use crate::sip::endpoint::ProbeTarget;
use crate::sip::flow::Transport;
use crate::sip::message::{Scheme, Uri};
use crate::sip::policy::Targets;

use super::addresses::{Addresses, Place, destination};
use super::standing::Address;
use super::tls::TlsParties;

/// Whom to probe, and where each target is that is probed. Where several targets are at one
/// address, the rules of the first hold.
pub(super) fn targets(
    snapshot: &RoutingSnapshot,
    addresses: &Addresses,
    settings: &Targets,
    tls: &TlsParties,
) -> (Vec<ProbeTarget>, BTreeMap<TargetId, Vec<Address>>) {
    let mut probed: BTreeMap<Address, ProbeTarget> = BTreeMap::new();
    let mut places = BTreeMap::new();
    let Some(any) = PhoneNumber::from_digits(18_005_550_100) else { return Default::default() };
    for target in snapshot.targets() {
        let Some(rules) = settings.get(target.id.as_str()).and_then(|it| it.probe) else {
            continue;
        };
        let dialed = target.dial.uri(any);
        let Some(uri) = host_uri(&dialed) else { continue };
        let found: Vec<Destination> = match addresses.find(&dialed) {
            None => Vec::new(),
            Some(Place::Here(destination)) => vec![destination],
            Some(Place::There(locations)) => locations.iter().map(destination).collect(),
        };
        let mut at = Vec::new();
        for mut place in found {
            if place.transport == Transport::Tls {
                place.tls = tls.target(&target.id);
            }
            let address = (place.transport, place.peer);
            at.push(address);
            let uri = uri.clone();
            probed.entry(address).or_insert(ProbeTarget { at: place, uri, rules });
        }
        if !at.is_empty() {
            places.insert(target.id.clone(), at);
        }
    }
    (probed.into_values().collect(), places)
}

/// A target's URI without its user: the question is for the host (RFC 3261 §11.1).
fn host_uri(uri: &str) -> Option<Bytes> {
    let parsed = Uri::parse(uri.as_bytes()).ok()?;
    let scheme = if parsed.scheme() == Scheme::Sips { "sips:" } else { "sip:" };
    let host = String::from_utf8_lossy(parsed.host());
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(Bytes::from(format!("{scheme}{host}{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_for_the_host_and_not_for_a_user_of_it() {
        let of = |uri| host_uri(uri).map(|uri| String::from_utf8_lossy(&uri).into_owned());

        assert_eq!(of("sip:+18005550100@b.example;x=y").as_deref(), Some("sip:b.example"));
        assert_eq!(of("sips:q@[2001:db8::1]:5071").as_deref(), Some("sips:[2001:db8::1]:5071"));
        assert_eq!(of("nonsense"), None);
    }
}
