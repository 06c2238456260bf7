//! Where a message came from or goes to: the pair of our socket and the peer's address, and for
//! stream transports the connection (RFC 5626 §2 calls this a flow).

use std::fmt;
use std::net::SocketAddr;

/// A configured listening address, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// One accepted or opened stream connection; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// Whose certificate the other end of a TLS connection has, or must have: a trunk or a target, by
/// its number in the transport's table of such peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsPeer(pub u16);

/// The timers that were agreed for a peer, by their position in the endpoint's table of them; the
/// first are those of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pace(pub u8);

/// A listener and a peer, over a datagram or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Our side: messages leave from this listener's socket, so that answers find their way back
    /// through a NAT (RFC 3581 §4).
    pub listener: ListenerId,
    pub transport: Transport,
    pub peer: SocketAddr,
    /// The connection a stream message arrived on. `None` for datagrams, and for a stream that is
    /// still to be opened.
    pub connection: Option<ConnectionId>,
    /// Who it is at the other end of a TLS connection, and, where one is still to be opened, who
    /// it must be. `None` on other transports, and for a peer that did not have to say.
    pub tls: Option<TlsPeer>,
    /// How patient transactions with the peer are. The endpoint's business alone: transports give
    /// the process's own and look at none.
    pub pace: Pace,
}

impl Transport {
    /// The token of a Via header field, RFC 3261 §20.42.
    pub fn via_token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The value of the `transport` URI parameter and of metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Whether the transport itself repeats what is lost (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self.is_stream()
    }

    /// Whether messages share a connection, as opposed to each being a datagram.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }

    /// Where a peer listens that names no port (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl Flow {
    /// Between a listener and a peer, over no connection yet.
    pub fn new(listener: ListenerId, transport: Transport, peer: SocketAddr) -> Self {
        Self { listener, transport, peer, connection: None, tls: None, pace: Pace::default() }
    }

    /// Datagrams between a listener and a peer.
    pub fn udp(listener: ListenerId, peer: SocketAddr) -> Self {
        Self::new(listener, Transport::Udp, peer)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
