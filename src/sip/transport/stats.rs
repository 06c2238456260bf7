//! Counters of the transports. They only grow, except where a gauge is named; readers compute
//! rates.

use std::sync::atomic::{AtomicU64, Ordering};

use super::tcp::CloseCause;

/// A number many threads add to and a metrics reader loads. Relaxed: no other memory hangs on it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// For gauges.
    pub(super) fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// One UDP socket. The socket counts what passes it; its reader reports what it dropped and why.
#[derive(Debug, Default)]
pub struct UdpStats {
    pub datagrams_in: Counter,
    pub bytes_in: Counter,
    pub datagrams_out: Counter,
    pub bytes_out: Counter,
    /// System calls, so that datagrams per call can be computed.
    pub receive_calls: Counter,
    pub send_calls: Counter,
    /// Times the send buffer of the kernel was full.
    pub send_blocked: Counter,
    /// Datagrams the kernel refused to send to their peer.
    pub send_failed: Counter,
    /// ICMP errors that named an earlier datagram of ours.
    pub unreachable: Counter,
    dropped: [Counter; DatagramDrop::ALL.len()],
}

/// Why a received or queued datagram went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramDrop {
    /// No trunk has this source address.
    UnknownSource,
    /// Neither SIP nor a keepalive.
    Garbage,
    /// CRLF, NUL or empty: it has done its work by arriving.
    Keepalive,
    Stun,
    /// The inbox of the shard that owns the call was full.
    InboxFull,
    /// Our own message: the send queue was full.
    SendQueueFull,
}

impl DatagramDrop {
    pub const ALL: [Self; 6] = [
        Self::UnknownSource,
        Self::Garbage,
        Self::Keepalive,
        Self::Stun,
        Self::InboxFull,
        Self::SendQueueFull,
    ];

    /// The value of the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::Garbage => "garbage",
            Self::Keepalive => "keepalive",
            Self::Stun => "stun",
            Self::InboxFull => "inbox_full",
            Self::SendQueueFull => "send_queue_full",
        }
    }
}

impl UdpStats {
    pub fn drop_one(&self, why: DatagramDrop) {
        self.dropped[why as usize].add(1);
    }

    pub fn dropped(&self, why: DatagramDrop) -> u64 {
        self.dropped[why as usize].value()
    }
}

/// All TCP and TLS listeners and connections of one [`Tcp`](super::Tcp).
#[derive(Debug, Default)]
pub struct TcpStats {
    pub messages_in: Counter,
    pub bytes_in: Counter,
    pub messages_out: Counter,
    pub bytes_out: Counter,
    pub pings_in: Counter,
    pub pings_out: Counter,
    /// Gauge: connections open or being opened now, in either direction.
    pub open: Counter,
    pub accepted: Counter,
    pub connected: Counter,
    pub connect_failed: Counter,
    /// Closed at once because no trunk has this source address.
    pub refused_source: Counter,
    /// Closed at once because this source has as many connections as it may.
    pub refused_source_limit: Counter,
    /// Closed at once, or not opened, because there are as many connections as may be.
    pub refused_total_limit: Counter,
    /// Messages accepted for sending that did not leave.
    pub send_failed: Counter,
    /// TLS handshakes that succeeded, of accepted and of opened connections.
    pub tls_accepted: Counter,
    pub tls_connected: Counter,
    /// TLS handshakes that failed, of accepted and of opened connections.
    pub tls_accept_failed: Counter,
    pub tls_connect_failed: Counter,
    /// Connections opened to peers that are not verified, because the configuration says so.
    pub tls_unverified: Counter,
    closed: [Counter; CloseCause::ALL.len()],
}

impl TcpStats {
    /// Connections, established or not, that ended for this reason.
    pub fn closed(&self, cause: CloseCause) -> u64 {
        self.closed[cause as usize].value()
    }

    pub(super) fn count_closed(&self, cause: CloseCause) {
        self.closed[cause as usize].add(1);
    }
}
