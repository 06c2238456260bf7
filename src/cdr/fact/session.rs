//! Sessions: opened by visitors, kept, let go, and what others know of their callers.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::SessionId;
use crate::money::Money;
use crate::phone::PhoneNumber;

/// What opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Opener {
    #[n(0)]
    PageView,
    #[n(1)]
    Form,
}

/// What a request that opened a session is known by, and was answered besides what the session is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// Of the publisher and its key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 16],
    /// Of the body.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub fingerprint: [u8; 16],
    /// The number is shown to others too.
    #[n(2)]
    pub shared: bool,
    /// Seconds; absent: it was no visit.
    #[n(3)]
    pub heartbeat_s: Option<u32>,
    /// What a page said and that is not kept.
    #[cbor(n(4), with = "codec::texts")]
    pub left_out: Vec<SmolStr>,
}

/// A sign of life of a visitor. May be lost with the last second before a crash: then the session ends
/// as the one before had said.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionTouched {
    #[n(0)]
    pub session: SessionId,
    /// Milliseconds since the Unix epoch.
    #[n(1)]
    pub expires_at_ms: i64,
    /// A number that the session was lent only now.
    #[n(2)]
    pub number: Option<PhoneNumber>,
    /// All its tags as they are now; empty: as before.
    #[cbor(n(3), with = "codec::tags")]
    pub tags: Vec<(SmolStr, SmolStr)>,
    /// Another visitor has the number that the session had, and there is none for it.
    #[cbor(n(4), default)]
    pub has_lost_number: bool,
    /// Who calls, told only now.
    #[n(5)]
    pub caller: Option<PhoneNumber>,
}

/// A visitor's page was closed.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionReleased {
    #[n(0)]
    pub session: SessionId,
    /// Milliseconds since the Unix epoch.
    #[n(1)]
    pub expires_at_ms: i64,
}

/// Somebody was asked about the caller of a session, and what was answered; durable before a call can go by
/// it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionEnriched {
    #[n(0)]
    pub session: SessionId,
    /// Who was asked: one of `enrichers`.
    #[cbor(n(1), with = "codec::text")]
    pub source: SmolStr,
    #[n(2)]
    pub lookup: Lookup,
    /// What of the answer is kept.
    #[cbor(n(3), with = "codec::tags")]
    pub tags: Vec<(SmolStr, SmolStr)>,
    /// Of this question.
    #[n(4)]
    pub cost: Money,
}

/// What became of a look at somebody's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Lookup {
    #[n(0)]
    Told,
    /// By what was told of the caller before.
    #[n(1)]
    Cached,
    /// Nothing was answered in time.
    #[n(2)]
    Late,
    /// What was answered is no answer, or nobody was there.
    #[n(3)]
    Failed,
    /// Nobody was asked, after failures.
    #[n(4)]
    Resting,
    /// Nobody was asked: the day's budget is spent.
    #[n(5)]
    OverBudget,
    /// Nobody was asked: no target would take a call of the session.
    #[n(6)]
    Unwanted,
    /// Nobody was asked: the session was over.
    #[n(7)]
    Expired,
    /// By the form of the number alone.
    #[n(8)]
    Derived,
}

impl Lookup {
    pub const ALL: [Self; 9] = [
        Self::Told,
        Self::Cached,
        Self::Late,
        Self::Failed,
        Self::Resting,
        Self::OverBudget,
        Self::Unwanted,
        Self::Expired,
        Self::Derived,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Cached => "cached",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Resting => "resting",
            Self::OverBudget => "over_budget",
            Self::Unwanted => "unwanted",
            Self::Expired => "expired",
            Self::Derived => "derived",
        }
    }
}
