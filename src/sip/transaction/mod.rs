//! Transactions: one request and its responses, RFC 3261 §17 as changed by RFC 6026.
//!
//! Each file holds one machine of the RFC. A machine absorbs what the network repeats, repeats
//! what the network may have lost, and hands on the rest. It holds finished messages as bytes: what
//! lingers for 32 seconds after a call is a state, a deadline and at most one short message.
//!
//! ```text
//!  network ──► match (key) ──► invite_server │ server │ invite_client │ client ──► leg
//!  network ◄────────────────── Output::Send ◄┘                                  ◄── leg
//! ```

pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod key;
pub mod server;

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::time::Mono;

pub use client::Client;
pub use invite_client::{DueCancel, InviteClient, InviteHead};
pub use invite_server::InviteServer;
pub use key::ServerKey;
pub use server::Server;

/// What a machine asks for; in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put this on the wire.
    Send(Bytes),
    /// Put this on the wire once more; it has been sent before.
    Resend(Bytes),
    /// The response (or ACK) just handed in is new: the leg wants it.
    PassUp,
    /// A success with a tag of its own: another branch of a fork answered too.
    Forked,
    /// The success of a fork that was [`Output::Forked`] before came again.
    ForkedAgain,
    /// Timer B or F: nobody answered.
    TimedOut,
    /// Timer H: nobody confirmed our failure response.
    AckMissing,
    Terminated,
}

pub type Outputs = SmallVec<[Output; 2]>;

/// Base values, RFC 3261 §17.1.1.2 and table 4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timers {
    /// Estimated round-trip time.
    pub t1: Duration,
    /// Longest interval between repeats.
    pub t2: Duration,
    /// How long a message stays in the network.
    pub t4: Duration,
    /// Whether the transport repeats by itself (TCP, TLS).
    pub reliable: bool,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            reliable: false,
        }
    }
}

impl Timers {
    /// Timers B, F, H, J, L and M: 64·T1.
    pub fn patience(self) -> Duration {
        64 * self.t1
    }

    fn first_resend(self, now: Mono) -> Option<Resend> {
        (!self.reliable).then(|| Resend { at: now + self.t1, interval: self.t1 })
    }

    /// Timers D (RFC 3261 asks for at least 32 s), I, J and K are zero where nothing is repeated.
    fn unless_reliable(self, linger: Duration) -> Duration {
        if self.reliable { Duration::ZERO } else { linger }
    }
}

/// When to repeat next, and how long after the time before.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resend {
    at: Mono,
    interval: Duration,
}

impl Resend {
    /// Doubles without end (timer A).
    fn doubled(self, now: Mono) -> Self {
        let interval = self.interval * 2;
        Self { at: now + interval, interval }
    }

    /// Doubles up to `longest` (timers E and G).
    fn doubled_up_to(self, longest: Duration, now: Mono) -> Self {
        let interval = (self.interval * 2).min(longest);
        Self { at: now + interval, interval }
    }
}

#[cfg(test)]
mod tests_support {
    use super::*;

    pub(super) const START: Mono = Mono(0);

    pub(super) fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Milliseconds since [`START`].
    pub(super) fn at(ms: u64) -> Mono {
        START + Duration::from_millis(ms)
    }

    /// Runs a machine through all its deadlines; returns when each output came.
    pub(super) fn run_until_idle(
        deadline: impl Fn() -> Option<Mono>,
        mut timeout: impl FnMut(Mono, &mut Outputs),
    ) -> Vec<(u64, Output)> {
        let mut seen = vec![];
        while let Some(now) = deadline() {
            let mut out = Outputs::new();
            timeout(now, &mut out);
            assert!(!out.is_empty() || deadline() != Some(now), "the machine does not move on");
            seen.extend(out.into_iter().map(|output| (now.0 / 1_000_000, output)));
        }
        seen
    }
}
