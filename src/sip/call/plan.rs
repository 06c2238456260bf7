//! What a decision asks of the call: the targets in the order they are tried, and when to move on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::sip::flow::{TlsPeer, Transport};
use crate::sip::leg::policy::LegPolicy;
use crate::sip::policy::{ProgressRules, TargetPolicy, Variables};

/// An ordered hunt. Empty plans do not exist: a decision without a target is a [`Refusal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub attempts: SmallVec<[Attempt; 2]>,
    /// Final statuses of a target after which the next one is tried; every other one ends the
    /// hunt. A ring time-out or a dead target always moves on.
    pub advance_on: Arc<[u16]>,
    /// How long all attempts together may ring.
    pub ring_budget: Duration,
    /// What templates of the attempts' policies may say of the call; absent: none of them asks.
    pub variables: Option<Box<Variables>>,
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
    pub manner: Manner,
}

/// What of an attempt is not plain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    pub policy: Option<Arc<TargetPolicy>>,
    /// What the caller hears of its provisional responses.
    pub progress: ProgressRules,
    /// The number it would call may not be called (spec/sip S10).
    pub barred: bool,
    /// Its ring time also ends an attempt that has shown progress (183, or early media). Else
    /// such a one rings on as long as all attempts together may (spec/sip B8).
    pub leaves_progress: bool,
    /// It rings at the same time as the attempt before it (spec/sip B22).
    pub beside: bool,
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
