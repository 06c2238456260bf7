//! Which ways to targets lead to nobody, as far as calls and probes have shown of their addresses.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::routing::dial::Unreached;
use crate::time::Mono;

use super::addresses::{Addresses, Place};
use super::standing::Standing;

/// Where URIs lead, and what is thought of the addresses there.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) addresses: Arc<ArcSwap<Addresses>>,
    pub(super) standing: Arc<Standing>,
}

impl Reach {
    /// `None`: the URI has an address that calls may well find somebody at.
    pub(super) fn unreached(&self, uri: &str, now: Mono) -> Option<Unreached> {
        let is_down = |transport, peer| self.standing.is_down((transport, peer), now);
        let (is_unreached, addresses) = match self.addresses.load().find(uri) {
            Some(Place::Here(at)) => (is_down(at.transport, at.peer), 1),
            Some(Place::There(locations)) => {
                (locations.iter().all(|it| is_down(it.transport, it.peer)), locations.len())
            }
            None => (true, 0),
        };
        let addresses = u16::try_from(addresses).unwrap_or(u16::MAX);
        is_unreached.then_some(Unreached { addresses })
    }
}
