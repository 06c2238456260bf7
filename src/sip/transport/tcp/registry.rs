//! Which connections exist, and how many of whose.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::options::TcpOptions;
use super::outbox::Outbox;
use crate::sip::flow::{ConnectionId, Flow, ListenerId, Pace, TlsPeer, Transport};

/// One connection, being opened or open.
#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub listener: ListenerId,
    pub peer: SocketAddr,
    pub origin: Origin,
    pub transport: Transport,
    /// Who it is at the other end, once that is known.
    pub tls: OnceLock<TlsPeer>,
    pub outbox: Outbox,
    /// A message was written to it.
    pub has_told: AtomicBool,
    /// Anything whole came from it.
    pub has_heard: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    Opened,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    connections: BTreeMap<ConnectionId, Arc<Connection>>,
    by_peer: BTreeSet<(ListenerId, SocketAddr, ConnectionId)>,
    accepted_from: BTreeMap<IpAddr, usize>,
    listeners: BTreeMap<ListenerId, SocketAddr>,
    next_id: u64,
}

/// Why a connection may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverLimit {
    Total,
    Source,
}

impl Connection {
    /// Whether what was written to it has certainly led to nothing: nobody was there who took it.
    pub(super) fn was_unheard(&self) -> bool {
        let [told, heard] = [&self.has_told, &self.has_heard].map(|it| it.load(Ordering::Relaxed));
        self.origin == Origin::Opened && told && !heard
    }

    /// The flow of what arrives on it, and of answers to that.
    pub(super) fn flow(&self) -> Flow {
        Flow {
            listener: self.listener,
            transport: self.transport,
            peer: self.peer,
            connection: Some(self.id),
            tls: self.tls.get().copied(),
            pace: Pace::default(),
        }
    }
}

impl Registry {
    /// Whoever is there is who `flow` says it is, or must turn out to be.
    pub(super) fn add(
        &mut self,
        flow: &Flow,
        origin: Origin,
        options: &TcpOptions,
    ) -> Result<Arc<Connection>, OverLimit> {
        let Flow { listener, transport, peer, .. } = *flow;
        if self.connections.len() >= options.connections_max {
            return Err(OverLimit::Total);
        }
        if origin == Origin::Accepted {
            let from_there = self.accepted_from.entry(peer.ip()).or_default();
            if *from_there >= options.connections_per_source_max {
                return Err(OverLimit::Source);
            }
            *from_there += 1;
        }
        self.next_id += 1;
        let id = ConnectionId(self.next_id);
        let outbox = Outbox::new(options.queue_bytes_max);
        let tls = flow.tls.map_or_else(OnceLock::new, OnceLock::from);
        let (has_told, has_heard) = Default::default();
        let connection =
            Connection { id, listener, peer, origin, transport, tls, outbox, has_told, has_heard };
        let connection = Arc::new(connection);
        self.connections.insert(id, Arc::clone(&connection));
        self.by_peer.insert((listener, peer, id));
        Ok(connection)
    }

    pub(super) fn remove(&mut self, connection: &Connection) {
        let Connection { id, listener, peer, origin, .. } = *connection;
        self.connections.remove(&id);
        self.by_peer.remove(&(listener, peer, id));
        if origin == Origin::Accepted
            && let Some(from_there) = self.accepted_from.get_mut(&peer.ip())
        {
            *from_there -= 1;
            if *from_there == 0 {
                self.accepted_from.remove(&peer.ip());
            }
        }
    }

    /// The connections that lead where `flow` does, the best first: its own, then the youngest of
    /// the same listener and peer. With TLS it has to be the same peer by name, too: many share an
    /// address.
    pub(super) fn leading_to(&self, flow: &Flow) -> impl Iterator<Item = &Arc<Connection>> {
        let own = flow.connection;
        let first = (flow.listener, flow.peer, ConnectionId(0));
        let last = (flow.listener, flow.peer, ConnectionId(u64::MAX));
        let others = self.by_peer.range(first..=last).rev().map(|&(_, _, id)| id);
        let others = others.filter(move |id| Some(*id) != own);
        let known = |id: ConnectionId| self.connections.get(&id);
        let leads_there = move |connection: &&Arc<Connection>| {
            connection.transport == flow.transport && connection.tls.get() == flow.tls.as_ref()
        };
        own.and_then(known).into_iter().chain(others.filter_map(known).filter(leads_there))
    }

    pub(super) fn add_listener(&mut self, listener: ListenerId, address: SocketAddr) {
        self.listeners.insert(listener, address);
    }

    pub(super) fn listener_address(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(&listener).copied()
    }
}
