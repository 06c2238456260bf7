//! Caps and concurrency as reservations, never as bare counters (spec/domain §2.6, §2.7).
//!
//! Owns: what is reserved and used per bucket. Does not own: the limits (they come with each
//! request, so a changed configuration holds at once) and which window a call falls into
//! (see [`window`](super::window)).
//!
//! Invariants: nothing is granted that makes `used + held` exceed a limit (I5); live leases of a
//! concurrency bucket never exceed its limit when granted, and are a set, so they cannot be
//! released twice (I6); each hold ends once on each of its buckets (I7).

pub mod ledger;

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::SmolStr;

use crate::codec;
use crate::time::Wall;

use super::config::Metric;

pub use ledger::{Denied, HoldLedger, LedgerLimits, Placed, Refused, Settled};

/// What is counted: a capped thing within one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Bucket {
    /// The cap, such as `target/tgt_summit/connected/daily` or `target/tgt_summit/concurrency`.
    #[cbor(n(0), with = "codec::text")]
    pub cap: SmolStr,
    /// The window, such as `d:2026-11-22`; `live` for concurrency.
    #[cbor(n(1), with = "codec::text")]
    pub window: SmolStr,
}

/// A bucket an attempt needs room in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BucketRequest {
    #[n(0)]
    pub bucket: Bucket,
    #[n(1)]
    pub counts: Counts,
    /// The highest `used + held` allowed.
    #[n(2)]
    pub limit: u64,
    /// Room asked for; a call takes 1.
    #[n(3)]
    pub amount: u64,
    /// When the window is over and the bucket may be forgotten; absent: never.
    #[n(4)]
    pub ends_at: Option<Wall>,
}

/// How what is held is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Counts {
    /// Never: it is given back when the call ends (concurrency).
    #[n(0)]
    Live,
    #[n(1)]
    Attempted,
    #[n(2)]
    Connected,
    #[n(3)]
    Converted,
}

impl From<Metric> for Counts {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Attempted => Self::Attempted,
            Metric::Connected => Self::Connected,
            Metric::Converted => Self::Converted,
        }
    }
}
