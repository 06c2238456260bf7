//! Limits and times of TCP connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::framing::FramingLimits;
use crate::sip::flow::{ListenerId, TlsPeer};

/// Whether a connection from this address is let in on this listener. Asked before any byte is
/// read; runs on the accepting task, so it must not block.
pub type SourceCheck = Arc<dyn Fn(ListenerId, IpAddr) -> bool + Send + Sync>;

/// Who an accepted TLS connection is from, by listener, address and the names in its certificate
/// (none if it showed none): `Ok(None)` for one that is let in without a name, `Err` for one that
/// is not. Runs on the connection's task, so it must not block.
pub type PeerCheck =
    Arc<dyn Fn(ListenerId, IpAddr, &[String]) -> Result<Option<TlsPeer>, Stranger> + Send + Sync>;

/// Nobody we deal with has such a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger;

/// How [`Tcp`](super::Tcp) treats its connections. The default suits trunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    pub framing: FramingLimits,
    /// From the first byte of a message to its last; also for the TLS handshake of a connection
    /// that was accepted.
    pub message_timeout: Duration,
    /// After a framing error: how long a refusal may still be sent.
    pub linger: Duration,
    /// Nothing received and no message sent for so long ends a connection. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// `None`: we send no pings.
    pub keepalive: Option<Keepalive>,
    /// From `send` to an established connection, waiting for a turn and TLS handshake included.
    pub connect_timeout: Duration,
    /// Connections that may be in the making at once; further ones wait for a turn.
    pub connecting_max: usize,
    /// Bytes that may wait for one peer to read; more and it counts as slow and is closed.
    pub queue_bytes_max: usize,
    /// Something waits to be written and the peer has taken nothing for so long: it is closed.
    pub write_timeout: Duration,
    /// Open connections of all listeners, in both directions.
    pub connections_max: usize,
    /// Open connections accepted from one IP address.
    pub connections_per_source_max: usize,
}

/// Double-CRLF pings on quiet connections (RFC 5626 §3.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Nothing received for so long: a ping goes out.
    pub interval: Duration,
    /// Nothing received for so long after a ping: the connection is closed. `None` for peers that
    /// do not speak RFC 5626 and hence do not answer.
    pub pong_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            framing: FramingLimits::default(),
            message_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            idle_timeout: Some(Duration::from_secs(3600)),
            keepalive: Some(Keepalive { interval: Duration::from_secs(90), pong_timeout: None }),
            connect_timeout: Duration::from_secs(2),
            connecting_max: 64,
            queue_bytes_max: 256 * 1024,
            write_timeout: Duration::from_secs(10),
            connections_max: 10_000,
            connections_per_source_max: 100,
        }
    }
}
