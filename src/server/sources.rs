//! Who may speak to us, decided on the raw datagram (spec/sip S1).

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::sip::endpoint::Origin;
use crate::sip::flow::{Flow, ListenerId, TlsPeer, Transport};
use crate::sip::transport::has_own_call_id;
use crate::sip::trunk::{TrunkIndex, Trunks};

use super::addresses::Addresses;
use super::tls::TlsParties;

/// Trunks by their networks or certificates, targets by their addresses.
pub struct Sources {
    trunks: ArcSwap<Trunks>,
    addresses: Arc<ArcSwap<Addresses>>,
    /// What transport a listener speaks, by its id.
    listeners: Vec<Transport>,
    parties: ArcSwap<TlsParties>,
}

impl Sources {
    pub fn new(
        trunks: Arc<Trunks>,
        addresses: Arc<ArcSwap<Addresses>>,
        listeners: Vec<Transport>,
        parties: Arc<TlsParties>,
    ) -> Self {
        let (trunks, parties) = (ArcSwap::new(trunks), ArcSwap::new(parties));
        Self { trunks, addresses, listeners, parties }
    }

    /// From now on these trunks may call.
    pub fn configure(&self, trunks: Arc<Trunks>, parties: Arc<TlsParties>) {
        self.trunks.store(trunks);
        self.parties.store(parties);
    }

    /// Those that may call.
    pub fn trunks(&self) -> Arc<Trunks> {
        self.trunks.load_full()
    }

    /// `None` is a stranger: nothing it sends is parsed or answered. A message with a Call-ID of
    /// ours is let in from anywhere, because a target may answer from another address than it was
    /// called at; unless it fits a call exactly it gets no answer either.
    pub fn origin(&self, flow: &Flow, message: &[u8]) -> Option<Origin> {
        let (listener, transport, ip) = (flow.listener, flow.transport, flow.peer.ip());
        let trunks = self.trunks.load();
        let (trunk, was_trunk) = match (transport, flow.tls) {
            // Found at the handshake. One that is no trunk any more keeps the calls it has, and so
            // its connection a voice in them: no number is ever given to somebody else.
            (Transport::Tls, Some(peer)) => {
                let parties = self.parties.load();
                (parties.trunk(peer), parties.knew(peer))
            }
            (Transport::Tls, None) => (None, false),
            (Transport::Udp | Transport::Tcp, _) => {
                (trunks.identify(listener, transport, ip), false)
            }
        };
        if let Some(trunk) = trunk {
            return Some(Origin::Trunk(trunk));
        }
        let is_peer = was_trunk
            || self.addresses.load().is_target(ip)
            || trunks.knew(listener, transport, ip);
        if is_peer {
            return Some(Origin::Peer);
        }
        has_own_call_id(message).then_some(Origin::Stranger)
    }

    /// Whether a connection is let in, before a byte of it is read.
    pub fn admits(&self, listener: ListenerId, ip: IpAddr) -> bool {
        let transport = self.listeners.get(usize::from(listener.0)).copied();
        let trunks = self.trunks.load();
        transport
            .is_some_and(|it| trunks.may_connect(listener, it, ip) || trunks.knew(listener, it, ip))
            || self.addresses.load().is_target(ip)
    }

    /// Who is at the other end of an accepted TLS connection, by the names in its certificate or,
    /// if none of these is a trunk's, by its address. `None` is a stranger.
    pub fn tls_peer(
        &self,
        listener: ListenerId,
        ip: IpAddr,
        names: &[String],
    ) -> Option<Option<TlsPeer>> {
        let trunks = self.trunks.load();
        let by_name = || {
            let names = names.iter().map(String::as_str);
            trunks.identify_certified(listener, ip, names)
        };
        let by_address = || trunks.identify(listener, Transport::Tls, ip);
        let trunk: Option<TrunkIndex> = by_name().or_else(by_address);
        match trunk {
            Some(trunk) => Some(self.parties.load().peer_of(trunk)),
            // Whose network was a trunk's may connect again for the calls that it has.
            None => {
                let is_peer = self.addresses.load().is_target(ip)
                    || trunks.knew(listener, Transport::Tls, ip);
                is_peer.then_some(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sip::trunk::{Carriers, TrunkListener};

    #[test]
    fn a_network_that_was_a_trunks_may_connect_over_tls_for_its_calls_and_opens_none() {
        let listener = TrunkListener {
            id: ListenerId(0),
            transport: Transport::Tls,
            name: "tls:203.0.113.1:5061".into(),
        };
        let trunks = |network: &str| {
            let trunk = json!([{ "id": network, "inbound": { "cidrs": [network] } }]);
            let configs: Vec<_> = serde_json::from_value(trunk).unwrap();
            let listeners = std::slice::from_ref(&listener);
            Trunks::compile(&configs, listeners, &Carriers::built_in()).unwrap()
        };
        let before = trunks("192.0.2.1/32");
        let now = Arc::new(trunks("192.0.2.2/32").following(&before));
        let sources = Sources::new(now, Arc::default(), vec![Transport::Tls], Arc::default());
        let met = |ip: &str| {
            let peer = std::net::SocketAddr::new(ip.parse().unwrap(), 5061);
            let shown = sources.tls_peer(listener.id, peer.ip(), &[])?;
            let flow = Flow { tls: shown, ..Flow::new(listener.id, Transport::Tls, peer) };
            Some(sources.origin(&flow, b"INVITE sip:a SIP/2.0\r\nCall-ID: b\r\n\r\n"))
        };

        assert_eq!(met("192.0.2.1"), Some(Some(Origin::Peer)));
        assert_eq!(met("192.0.2.9"), None);
    }
}
