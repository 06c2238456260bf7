//! Which connections exist, and how many of whose.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::options::TcpOptions;
use super::outbox::Outbox;
use crate::sip::flow::{ConnectionId, Flow, ListenerId, Transport};

/// One connection, being opened or open.
#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub listener: ListenerId,
    pub peer: SocketAddr,
    pub origin: Origin,
    pub outbox: Outbox,
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
    /// The flow of what arrives on it, and of answers to that.
    pub(super) fn flow(&self) -> Flow {
        Flow {
            listener: self.listener,
            transport: Transport::Tcp,
            peer: self.peer,
            connection: Some(self.id),
        }
    }
}

impl Registry {
    pub(super) fn add(
        &mut self,
        listener: ListenerId,
        peer: SocketAddr,
        origin: Origin,
        options: &TcpOptions,
    ) -> Result<Arc<Connection>, OverLimit> {
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
        let connection = Arc::new(Connection { id, listener, peer, origin, outbox });
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
    /// the same listener and peer.
    pub(super) fn leading_to(&self, flow: &Flow) -> impl Iterator<Item = &Arc<Connection>> {
        let own = flow.connection;
        let first = (flow.listener, flow.peer, ConnectionId(0));
        let last = (flow.listener, flow.peer, ConnectionId(u64::MAX));
        let others = self.by_peer.range(first..=last).rev().map(|&(_, _, id)| id);
        let others = others.filter(move |id| Some(*id) != own);
        own.into_iter().chain(others).filter_map(|id| self.connections.get(&id))
    }

    pub(super) fn add_listener(&mut self, listener: ListenerId, address: SocketAddr) {
        self.listeners.insert(listener, address);
    }

    pub(super) fn listener_address(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(&listener).copied()
    }
}
