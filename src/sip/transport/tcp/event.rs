//! What the transport tells the shards.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::steer::Steering;
use super::framing::FramingError;
use crate::sip::flow::{ConnectionId, Flow};

/// What happened on a stream. Each names the connection, so that the receiver needs no state of
/// its own to tell whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpEvent {
    /// One whole message. `flow.connection` is the connection to answer on.
    Message { flow: Flow, message: Bytes },
    /// The peer lost the bounds of its messages; nothing more is read from it. If `fault` has a
    /// head, a refusal sent within [`TcpOptions::linger`](super::TcpOptions::linger) still leaves.
    Unframed { flow: Flow, fault: FramingError },
    /// A message accepted by [`Tcp::send`](super::Tcp::send) did not leave, or not whole.
    /// `flow.connection` is the one it was queued on.
    SendFailed { flow: Flow, message: Bytes, cause: CloseCause },
    /// A connection that we opened is gone, and its peer never said a word: what was written to it
    /// was not taken. With TLS 1.3 a client is refused that way (RFC 8446 §4.4.2.4). Told to every
    /// shard, before `Closed`.
    Unheard { flow: Flow, cause: CloseCause },
    /// The connection is gone, and with it whatever was under way on it. Told once to every shard,
    /// for every connection that was opened or named by `send`.
    Closed { connection: ConnectionId, peer: SocketAddr, cause: CloseCause },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseCause {
    #[error("the peer closed it")]
    Peer,
    #[error("the network or the peer reset it")]
    Reset,
    #[error("nothing listens at the peer's port")]
    ConnectRefused,
    #[error("the peer could not be reached")]
    Unreachable,
    #[error("it was not established in time")]
    ConnectTimeout,
    /// Not TLS, no common ground, or a certificate that does not do.
    #[error("the TLS handshake failed")]
    Handshake,
    #[error("the peer does not read what we write")]
    Slow,
    #[error("nothing was said for long")]
    Idle,
    #[error("a message was not completed in time")]
    MessageTimeout,
    #[error("a ping was not answered in time")]
    PongTimeout,
    /// A refusal could be sent before.
    #[error("a message could not be framed")]
    Framing,
    #[error("what arrived is not SIP")]
    NotSip,
    #[error("we are shutting down")]
    Shutdown,
}

impl CloseCause {
    pub const ALL: [Self; 13] = [
        Self::Peer,
        Self::Reset,
        Self::ConnectRefused,
        Self::Unreachable,
        Self::ConnectTimeout,
        Self::Handshake,
        Self::Slow,
        Self::Idle,
        Self::MessageTimeout,
        Self::PongTimeout,
        Self::Framing,
        Self::NotSip,
        Self::Shutdown,
    ];

    /// The value of the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Reset => "reset",
            Self::ConnectRefused => "connect_refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::MessageTimeout => "message_timeout",
            Self::PongTimeout => "pong_timeout",
            Self::Framing => "framing",
            Self::NotSip => "not_sip",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The bounded inboxes of the shards. When one is full, the connection that has something for it
/// stops reading until there is room: TCP then slows the peer down. Nothing is dropped.
#[derive(Clone)]
pub struct TcpSink {
    steering: Steering,
    shards: Vec<mpsc::Sender<TcpEvent>>,
}

impl TcpSink {
    /// `shards[n]` is the inbox of shard `n`; there is one for each shard of `steering`.
    pub fn new(steering: Steering, shards: Vec<mpsc::Sender<TcpEvent>>) -> Self {
        assert_eq!(shards.len(), usize::from(steering.shards()), "one inbox for each shard");
        Self { steering, shards }
    }

    /// Waits for room. A shard that is gone gets nothing.
    pub(super) async fn deliver(&self, event: TcpEvent) {
        let message = match &event {
            TcpEvent::Message { message, .. } | TcpEvent::SendFailed { message, .. } => message,
            TcpEvent::Unframed { fault, .. } => match fault.head() {
                Some(head) => head,
                None => return self.deliver_to(0, event).await,
            },
            TcpEvent::Unheard { .. } | TcpEvent::Closed { .. } => {
                for shard in 1..self.shards.len() {
                    self.deliver_to(shard, event.clone()).await;
                }
                return self.deliver_to(0, event).await;
            }
        };
        self.deliver_to(usize::from(self.steering.shard_of(message)), event).await;
    }

    async fn deliver_to(&self, shard: usize, event: TcpEvent) {
        // The only error is that the shard has ended, as it does before us at shutdown.
        let _ = self.shards[shard].send(event).await;
    }
}

impl fmt::Debug for TcpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSink").field("steering", &self.steering).finish_non_exhaustive()
    }
}
