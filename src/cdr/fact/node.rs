//! What concerns no single call: what is up, what was announced, the node itself.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use super::session::{Opener, Reply};
use crate::codec;
use crate::id::{BuyerId, CallId, CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::money::Money;
use crate::phone::PhoneNumber;

/// Proof of life of every answered call, written every 30 s.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Checkpoint {
    /// Milliseconds since the answer, per answered call.
    #[cbor(n(0), with = "codec::elapsed")]
    pub live: Vec<(CallId, u32)>,
}

/// A publisher's ping was accepted; durable before it is acknowledged.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct PingAccepted {
    #[n(0)]
    pub ping: PingId,
    #[n(1)]
    pub session: SessionId,
    #[n(2)]
    pub publisher: PublisherId,
    #[n(3)]
    pub campaign: CampaignId,
    #[n(4)]
    pub caller: Option<PhoneNumber>,
    /// The pool the number was leased from.
    #[n(5)]
    pub pool: Option<PoolId>,
    #[n(6)]
    pub number: Option<PhoneNumber>,
    #[cbor(n(7), with = "codec::tags")]
    pub tags: Vec<(SmolStr, SmolStr)>,
    /// Milliseconds since the Unix epoch.
    #[n(8)]
    pub expires_at_ms: i64,
    /// The publisher's own id of the ping, by which a repetition is recognised.
    #[cbor(n(9), with = "codec::optional_text", has_nil)]
    pub request_id: Option<SmolStr>,
    /// By which the visitor is known again.
    #[cbor(n(10), with = "codec::optional_text", has_nil)]
    pub visitor: Option<SmolStr>,
    /// Absent: a ping.
    #[n(11)]
    pub opener: Option<Opener>,
    /// Present if the same request may come again and is known by a key.
    #[n(12)]
    pub reply: Option<Reply>,
    /// What the publisher was promised for a call; absent: nothing.
    #[n(13)]
    pub promise: Option<Promised>,
    /// What the ping said in fields that are not known here.
    #[cbor(n(14), with = "codec::tags", default)]
    pub extra: Vec<(SmolStr, SmolStr)>,
}

/// What a publisher is paid for the first call of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Promised {
    #[n(0)]
    pub payout: Money,
    /// Seconds after the answer at which it is owed, if the call is still up.
    #[n(1)]
    pub payout_seconds: u32,
    /// The call has to come before this. Milliseconds since the Unix epoch.
    #[n(2)]
    pub until_ms: i64,
    /// Nothing is owed if the call is a duplicate by then.
    #[n(3)]
    pub no_duplicates: bool,
}

/// A buyer has paid in; durable before it is acknowledged.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Deposited {
    #[n(0)]
    pub buyer: BuyerId,
    #[n(1)]
    pub amount: Money,
    /// Tells it from the buyer's other deposits.
    #[cbor(n(2), with = "codec::text")]
    pub key: SmolStr,
}

/// A call used a session up.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionConsumed {
    #[n(0)]
    pub session: SessionId,
}

/// First fact of a process epoch.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct NodeStarted {
    #[cbor(n(0), with = "codec::text")]
    pub version: SmolStr,
}
