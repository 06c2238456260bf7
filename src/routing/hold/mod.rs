//! Caps and concurrency as reservations, never as bare counters (spec/domain §2.6, §2.7).
//!
//! What counts at once (an INVITE, an answer) is settled when it happens. What a call comes to (its
//! conversion, money, talk time) is known when it is over: until then the most it may come to is
//! held, and then what it did come to is used and the rest free again.
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
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::codec;
use crate::money::Money;
use crate::time::Wall;

use super::config::Metric;
use super::request::Usage;

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
    /// The highest `used + held` allowed, in the unit of `counts`.
    #[n(2)]
    pub limit: u64,
    /// Room asked for: 1 call, or the most the call may come to in the unit of `counts`.
    #[n(3)]
    pub amount: u64,
    /// When the window is over and the bucket may be forgotten; absent: never.
    #[n(4)]
    pub ends_at: Option<Wall>,
}

/// How what is held is used up, and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Counts {
    /// Never: it is given back when the call ends (concurrency). Calls.
    #[n(0)]
    Live,
    /// At the INVITE. Calls.
    #[n(1)]
    Attempted,
    /// At the answer. Calls.
    #[n(2)]
    Connected,
    /// When the call is over, if it converted. Calls.
    #[n(3)]
    Converted,
    /// When the call is over: what the buyer owes. Micros.
    #[n(4)]
    Revenue,
    /// When the call is over: what the publisher is owed. Micros.
    #[n(5)]
    Payout,
    /// When the call is over: how long it talked. Milliseconds.
    #[n(6)]
    Talk,
}

/// The most a call may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    pub revenue: Money,
    pub payout: Money,
    pub talk_ms: u32,
}

impl Counts {
    /// Room that a call takes; zero if it cannot count here.
    pub fn room(self, stake: &Stake) -> u64 {
        match self {
            Self::Live | Self::Attempted | Self::Connected | Self::Converted => 1,
            Self::Revenue => stake.revenue.0.try_into().unwrap_or(0),
            Self::Payout => stake.payout.0.try_into().unwrap_or(0),
            Self::Talk => stake.talk_ms.into(),
        }
    }

    /// Whether only the end of the call tells how much of it is used.
    pub fn is_known_at_end(self) -> bool {
        match self {
            Self::Live | Self::Attempted | Self::Connected => false,
            Self::Converted | Self::Revenue | Self::Payout | Self::Talk => true,
        }
    }

    /// How full a bucket is, for people: `3 used, 2 held`.
    pub fn show_usage(self, usage: Usage) -> SmolStr {
        format_smolstr!("{} used, {} held", self.show(usage.used), self.show(usage.held))
    }

    /// An amount for people: `3`, `42.00` or `90:05 min`.
    pub fn show(self, amount: u64) -> SmolStr {
        match self {
            Self::Live | Self::Attempted | Self::Connected | Self::Converted => amount.to_smolstr(),
            Self::Revenue | Self::Payout => {
                Money(i64::try_from(amount).unwrap_or(i64::MAX)).to_smolstr()
            }
            Self::Talk => {
                let seconds = amount.div_ceil(1_000);
                format_smolstr!("{}:{:02} min", seconds / 60, seconds % 60)
            }
        }
    }
}

impl From<Metric> for Counts {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Attempted => Self::Attempted,
            Metric::Connected => Self::Connected,
            Metric::Converted => Self::Converted,
            Metric::Revenue => Self::Revenue,
            Metric::Payout => Self::Payout,
            Metric::Minutes => Self::Talk,
        }
    }
}
