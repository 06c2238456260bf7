//! What a decision asks of the call: the targets in the order they are tried, and when to move on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::sip::flow::{TlsPeer, Transport};
use crate::sip::leg::policy::LegPolicy;

/// An ordered hunt. Empty plans do not exist: a decision without a target is a [`Refusal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub attempts: SmallVec<[Attempt; 2]>,
    /// Final statuses of a target after which the next one is tried; every other one ends the
    /// hunt. A ring time-out or a dead target always moves on.
    pub advance_on: Arc<[u16]>,
    /// How long all attempts together may ring.
    pub ring_budget: Duration,
}

/// One target to try.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The Request-URI.
    pub uri: Bytes,
    /// Where that is; `None` when its name could not be resolved (spec/sip B11).
    pub destination: Option<Destination>,
    /// From our INVITE to the answer.
    pub ring_timeout: Duration,
    /// From our INVITE to any response at all.
    pub first_response: Duration,
    /// From the answer to the end.
    pub max_duration: Duration,
    /// Session timer and reliable provisional responses on the target's leg.
    pub dialog: LegPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub transport: Transport,
    pub peer: SocketAddr,
    /// Who must be there, if the transport is TLS.
    pub tls: Option<TlsPeer>,
}

/// The call is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
}
