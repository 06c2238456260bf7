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
    /// Nothing has been sent for a while: hand in a 100 (Trying).
    SendTrying,
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

/// Base values, RFC 3261 §17.1.1.2 and table 4. Every machine carries them, and machines linger by
/// the ten thousand, hence whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timers {
    /// Estimated round-trip time.
    pub t1_ms: u32,
    /// Longest interval between repeats.
    pub t2_ms: u32,
    /// How long a message stays in the network.
    pub t4_ms: u32,
    /// Whether the transport repeats by itself (TCP, TLS).
    pub reliable: bool,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1_ms: 500, t2_ms: 4_000, t4_ms: 5_000, reliable: false }
    }
}

impl Timers {
    pub fn t1(self) -> Duration {
        ms(self.t1_ms)
    }

    pub fn t2(self) -> Duration {
        ms(self.t2_ms)
    }

    fn t4(self) -> Duration {
        ms(self.t4_ms)
    }

    /// Timers B, F, H, J, L and M: 64·T1.
    pub fn patience(self) -> Duration {
        64 * self.t1()
    }

    fn first_resend(self, now: Mono) -> Option<Resend> {
        (!self.reliable).then(|| Resend { at: now + self.t1(), interval_ms: self.t1_ms })
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
    interval_ms: u32,
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

impl Resend {
    /// Doubles without end (timer A).
    fn doubled(self, now: Mono) -> Self {
        self.doubled_up_to(u32::MAX, now)
    }

    /// Doubles up to `longest` (timers E and G).
    fn doubled_up_to(self, longest_ms: u32, now: Mono) -> Self {
        let interval_ms = self.interval_ms.saturating_mul(2).min(longest_ms);
        Self { at: now + ms(interval_ms), interval_ms }
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
