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

    /// `None` is a stranger: nothing it sends is parsed or answered. A message with a Call-ID of
    /// ours is let in from anywhere, because a target may answer from another address than it was
    /// called at; unless it fits a call exactly it gets no answer either.
    pub fn origin(&self, flow: &Flow, message: &[u8]) -> Option<Origin> {
        let (listener, transport, ip) = (flow.listener, flow.transport, flow.peer.ip());
        let trunks = self.trunks.load();
        let trunk = match transport {
            // Found at the handshake.
            Transport::Tls => flow.tls.and_then(|peer| self.parties.load().trunk(peer)),
            Transport::Udp | Transport::Tcp => trunks.identify(listener, transport, ip),
        };
        if let Some(trunk) = trunk {
            return Some(Origin::Trunk(trunk));
        }
        if self.addresses.load().is_target(ip) || trunks.knew(listener, transport, ip) {
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
            None => self.addresses.load().is_target(ip).then_some(None),
        }
    }
}
