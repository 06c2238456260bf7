//! What happens to caps: room is taken, used, given back.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{HoldId, TargetId};

/// What a cap counts of a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum AtEnd {
    /// That the carrier took it to the target on our word.
    #[n(0)]
    HandedOver,
    /// That it converted.
    #[n(1)]
    Converted,
    #[n(2)]
    Revenue,
    #[n(3)]
    Payout,
    #[n(4)]
    Talk,
}

/// Part of a cap or a concurrency limit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bucket {
    /// What is capped, such as `target/tgt_summit/connected`.
    #[cbor(n(0), with = "codec::text")]
    pub cap: SmolStr,
    /// Window id in the owner's zone, such as `d:2026-11-22`. For concurrency, which has no
    /// window, the empty text: such buckets are never counted as used.
    #[cbor(n(1), with = "codec::text")]
    pub window: SmolStr,
    /// Calls; micros where money is capped, milliseconds where talk time is.
    #[n(2)]
    pub amount: i64,
    /// What of the record of the call counts, when it is over. Absent: it is settled by a fact.
    #[n(3)]
    pub at_end: Option<AtEnd>,
}

impl Bucket {
    /// Whether it is a place among live calls.
    pub fn is_place(&self) -> bool {
        self.window.is_empty()
    }
}

/// Part of caps was reserved for an attempt.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HoldPlaced {
    #[n(0)]
    pub hold: HoldId,
    #[n(1)]
    pub target: TargetId,
    #[n(2)]
    pub buckets: Vec<Bucket>,
}

/// The counted event happened: these buckets of a hold are used for good. Append it together
/// with the fact that counts (attempt, answer), so that both survive or neither. What only the end of
/// a call tells is counted from its record.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HoldSettled {
    #[n(0)]
    pub hold: HoldId,
    #[n(1)]
    pub buckets: Vec<Bucket>,
}

/// An operator has had a cap begin anew in its window; durable before it is acted on. What it holds is
/// held still.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CapReset {
    #[cbor(n(0), with = "codec::text")]
    pub cap: SmolStr,
    /// Of a rolling one without a slice, such as `rolling:3600`.
    #[cbor(n(1), with = "codec::text")]
    pub window: SmolStr,
    /// Milliseconds since the Unix epoch. Absent: it is of all time.
    #[n(2)]
    pub ends_at_ms: Option<i64>,
    /// What had counted until then, in the unit of the cap.
    #[n(3)]
    pub amount: u64,
    /// What each server had used by then, up to which nothing counts any more.
    #[n(4)]
    pub parts: Vec<ResetPart>,
    /// The name of the API key that asked for it.
    #[cbor(n(5), with = "codec::text")]
    pub by: SmolStr,
    #[cbor(n(6), with = "codec::text")]
    pub why: SmolStr,
    /// By which the same request is known again; absent: by nothing.
    #[cbor(n(7), with = "codec::optional_text", has_nil)]
    pub key: Option<SmolStr>,
}

/// See [`CapReset`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ResetPart {
    /// Absent: the one whose journal it is in.
    #[cbor(n(0), with = "codec::optional_text", has_nil)]
    pub node: Option<SmolStr>,
    /// Of a rolling window; absent: it does not roll.
    #[n(1)]
    pub slice: Option<i64>,
    #[n(2)]
    pub level: u64,
}

/// What a hold still held is free again.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HoldReleased {
    #[n(0)]
    pub hold: HoldId,
}
