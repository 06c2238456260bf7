//! Who may speak to us, decided on the raw datagram (spec/sip S1).

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::sip::endpoint::Origin;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::transport::has_own_call_id;
use crate::sip::trunk::Trunks;

use super::addresses::Addresses;

/// Trunks by their networks, targets by their addresses.
pub struct Sources {
    trunks: Arc<Trunks>,
    addresses: Arc<ArcSwap<Addresses>>,
}

impl Sources {
    pub fn new(trunks: Arc<Trunks>, addresses: Arc<ArcSwap<Addresses>>) -> Self {
        Self { trunks, addresses }
    }

    /// `None` is a stranger: nothing it sends is parsed or answered. A message with a Call-ID of
    /// ours is let in from anywhere, because a target may answer from another address than it was
    /// called at; unless it fits a call exactly it gets no answer either.
    pub fn origin(&self, flow: &Flow, message: &[u8]) -> Option<Origin> {
        if let Some(trunk) = self.trunks.identify(flow.listener, flow.transport, flow.peer.ip()) {
            return Some(Origin::Trunk(trunk));
        }
        if self.addresses.load().is_target(flow.peer.ip()) {
            return Some(Origin::Peer);
        }
        has_own_call_id(message).then_some(Origin::Stranger)
    }

    /// Whether a connection is let in, before a byte of it is read.
    pub fn admits(&self, listener: ListenerId, ip: IpAddr) -> bool {
        self.trunks.identify(listener, Transport::Tcp, ip).is_some()
            || self.addresses.load().is_target(ip)
    }
}
