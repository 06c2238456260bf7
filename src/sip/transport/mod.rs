//! Bytes between the network and the pure stack: the only I/O under `sip`.
//!
//! Owns UDP sockets, TCP and TLS listeners and connections, their buffers, limits and counters. Does not
//! parse: a datagram or framed message leaves here as bytes, after a scan for what steers it
//! ([`Steering`]) or ends it (`Content-Length`). It does not choose where a message goes either:
//! it is handed a [`Flow`](crate::sip::flow::Flow).
//!
//! ```text
//!  UdpSocket ── RecvBatch ──► classify, Steering ──► shard ──► SendQueue ──► UdpSocket
//!  Tcp: listener ─► connection: reader ─ Framer ─► TcpEvent ─► shard ─ send ─► outbox ─► writer
//!                    └ TLS where the listener or the flow asks for it
//! ```
//!
//! Invariants: every buffer and queue has a bound and says what happens when it is full; trouble
//! with one peer (unreachable, slow, malformed) never delays or loses what another sends or gets;
//! nothing here logs a message or an address found in one.

mod bind;
mod fields;
mod stats;
mod steer;
mod tcp;
mod tls;
mod udp;

pub use bind::{BindCause, BindError};
pub use stats::{Counter, DatagramDrop, TcpStats, UdpStats};
pub use steer::{DatagramKind, Steering, classify, has_own_call_id, is_sip_like, opens_nothing};
pub use tcp::{
    CloseCause, Frame, Framer, FramingError, FramingLimits, Keepalive, PeerCheck, SendError,
    SourceCheck, Stranger, Tcp, TcpEvent, TcpOptions, TcpSink,
};
#[cfg(test)]
pub(crate) use tls::authority;
pub use tls::{
    CertificateFiles, ClientAuth, FileSpec, OwnCertificate, PeerSpec, Pin, Stamp, TlsFault,
    TlsSettings, TlsSpec, TlsVersion, client_config, no_client_config,
};
pub use udp::{QueueFull, RecvBatch, SendFailure, SendFault, SendQueue, UdpOptions, UdpSocket};
