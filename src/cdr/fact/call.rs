//! What happens in a call, from its admission to its end.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::SmolStr;

use crate::codec;
use crate::id::{BuyerId, CampaignId, HoldId, PublisherId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::{NoPayout, NoRoute, Reason};

use super::Bucket;

/// An INVITE was accepted as a call. Buffered, but durable before any paid action.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Admitted {
    #[n(0)]
    pub trunk: TrunkId,
    /// The carrier's `Call-ID`.
    #[cbor(n(1), with = "codec::text")]
    pub sip_call_id: SmolStr,
    /// User part of the Request-URI as dialled.
    #[cbor(n(2), with = "codec::text")]
    pub dialed: SmolStr,
    /// The dialled number, absent where the user part is none.
    #[n(3)]
    pub did: Option<PhoneNumber>,
    /// Absent for an anonymous caller.
    #[n(4)]
    pub caller: Option<PhoneNumber>,
    /// Transport and address the INVITE came from, such as `udp:192.0.2.7:5060`.
    #[cbor(n(5), with = "codec::text")]
    pub source: SmolStr,
    /// What the trunk wants kept of the INVITE, by the name of its tag.
    #[cbor(n(6), with = "codec::tags", default)]
    pub captured: Vec<(SmolStr, SmolStr)>,
    /// The carrier's own id of the call, if the trunk says where it is (spec/sip C15).
    #[cbor(n(7), with = "codec::optional_text", has_nil)]
    pub carrier_call_id: Option<SmolStr>,
}

/// Routing chose where the call goes, or refused it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Decided {
    /// Revision of the configuration snapshot the decision was made on.
    #[n(0)]
    pub config_rev: u64,
    /// Absent if the number belongs to none.
    #[n(1)]
    pub campaign: Option<CampaignId>,
    #[n(2)]
    pub publisher: Option<PublisherId>,
    /// The ping session the call was matched to.
    #[n(3)]
    pub session: Option<SessionId>,
    /// How the call was attributed, such as `pool_lease`.
    #[cbor(n(4), with = "codec::text")]
    pub match_method: SmolStr,
    /// 0 to 100.
    #[n(5)]
    pub confidence_pct: u8,
    /// The routing decision record as the router wrote it, opaque here.
    #[cbor(n(6), with = "codec::blob")]
    pub record: Bytes,
    #[n(7)]
    pub refused: Option<Reason>,
    /// Why none of the campaign's targets takes it. Without `refused`: it goes to another.
    #[n(8)]
    pub no_route: Option<NoRoute>,
    /// The store that servers share did not say which sessions it may be of.
    #[cbor(n(9), default)]
    pub degraded: bool,
}

/// What one attempt earns and pays once it lasts long enough.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Terms {
    /// The call converts when it talked at least this long.
    #[n(0)]
    pub seconds: u32,
    /// From the buyer.
    #[n(1)]
    pub revenue: Money,
    /// To the publisher.
    #[n(2)]
    pub payout: Money,
    /// ISO 4217.
    #[cbor(n(3), with = "codec::text")]
    pub currency: SmolStr,
    /// The publisher is paid when the call talked at least this long.
    #[n(4)]
    pub payout_seconds: u32,
    /// Why the payout is nothing; absent: it is what was agreed.
    #[n(5)]
    pub no_payout: Option<NoPayout>,
}

/// An INVITE left for a target.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AttemptStarted {
    /// Counts from 1.
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub target: TargetId,
    #[n(2)]
    pub buyer: BuyerId,
    /// Where the INVITE went.
    #[cbor(n(3), with = "codec::text")]
    pub uri: SmolStr,
    #[n(4)]
    pub terms: Option<Terms>,
    /// What led there: `trunk/trk_a`, or a host with its port. Absent: the target has no other way, and
    /// no trunk is on it.
    #[cbor(n(5), with = "codec::optional_text", has_nil)]
    pub way: Option<SmolStr>,
    /// Which of the target's ways that is, by its place in the configuration.
    #[cbor(n(6), default)]
    pub dial: u8,
}

/// A target rang (180) or sent early media (183 with SDP).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AttemptProgress {
    #[n(0)]
    pub leg: u16,
    /// SIP status, 101 to 199.
    #[n(1)]
    pub status: u16,
}

/// An attempt ended without an answer. One that never began was denied: it was its target's turn, and
/// there was no room for it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AttemptFailed {
    #[n(0)]
    pub leg: u16,
    /// The SIP status the target sent, or the one that stands for what it did not send.
    #[n(1)]
    pub status: u16,
    /// Cause of a Q.850 `Reason` header (RFC 6432).
    #[n(2)]
    pub q850: Option<u16>,
    #[n(3)]
    pub reason: Reason,
    #[n(4)]
    pub target: Option<TargetId>,
    /// Of one that was denied, where that is known: what had no room.
    #[n(5)]
    pub shortage: Option<Shortage>,
    /// Of one that was denied: what would have led there, as an attempt that began says it.
    #[cbor(n(6), with = "codec::optional_text", has_nil)]
    pub way: Option<SmolStr>,
}

/// A limit that had no room for an attempt, as it stood then. Amounts are in the unit of what it
/// counts: calls, micros, or milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Shortage {
    /// Such as `target/tgt_summit/connected/daily` or `target/tgt_summit/concurrency`.
    #[cbor(n(0), with = "codec::text")]
    pub cap: SmolStr,
    #[n(1)]
    pub limit: u64,
    #[n(2)]
    pub used: u64,
    #[n(3)]
    pub held: u64,
}

/// An attempt went on at the next address of its target.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AddressFailed {
    #[n(0)]
    pub leg: u16,
    /// Transport and address that were left, such as `udp:192.0.2.7:5060`.
    #[cbor(n(1), with = "codec::text")]
    pub address: SmolStr,
    /// What was answered there, if anything was.
    #[n(2)]
    pub status: Option<u16>,
    #[n(3)]
    pub reason: Reason,
}

/// The target's 200 is about to be relayed: the clock of the money starts. Durable.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Answered {
    #[n(0)]
    pub leg: u16,
    /// Absent where an older version wrote it.
    #[n(1)]
    pub dialogs: Option<Dialogs>,
    /// What is spoken on both legs, such as `PCMU/8000`. Absent where the target's answer does not
    /// say it.
    #[cbor(n(2), with = "codec::optional_text", has_nil)]
    pub codec: Option<SmolStr>,
}

/// What names the two dialogs of an answered call, 64 bits each: by it the next process knows whose
/// BYE comes, should this one die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dialogs {
    #[n(0)]
    pub caller: u64,
    #[n(1)]
    pub target: u64,
}

/// What the next process sends to both ends of the call, should this one die. Written with the
/// answer, and only where the configuration asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Farewells {
    #[n(0)]
    pub caller: Farewell,
    #[n(1)]
    pub target: Farewell,
}

/// A message and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Farewell {
    /// Transport and address, such as `udp:192.0.2.7:5060`.
    #[cbor(n(0), with = "codec::text")]
    pub to: SmolStr,
    #[cbor(n(1), with = "codec::blob")]
    pub message: Bytes,
}

/// The caller's ACK arrived.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Confirmed {
    /// What is spoken on both legs. Absent where the ACK does not say it.
    #[cbor(n(0), with = "codec::optional_text", has_nil)]
    pub codec: Option<SmolStr>,
}

/// The call passed the conversion threshold of its terms while up. Durable.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Converted {
    #[n(0)]
    pub leg: u16,
}

/// Who ended the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Party {
    #[n(0)]
    Caller,
    #[n(1)]
    Target,
    #[n(2)]
    System,
}

/// The carrier was told whom to call. Durable.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HandedOver {
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub by: Means,
    /// What the target answered the carrier, if the carrier said so; absent: nobody knows.
    #[n(2)]
    pub status: Option<u16>,
}

/// The carrier accepted our REFER: from now on it may call the target, whether or not it ever tells
/// what became of that.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Referred {
    #[n(0)]
    pub leg: u16,
    /// What its hold keeps for a connection: used if nothing else becomes of the call.
    #[n(1)]
    pub hold: Option<HoldId>,
    #[cbor(n(2), default)]
    pub buckets: Vec<Bucket>,
}

/// How a carrier is told whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Means {
    #[n(0)]
    Refer,
    #[n(1)]
    Redirect,
}

/// We answered the caller before any target did: the carrier's clock runs.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Taken {}

/// A target that had answered was replaced at its own wish, by this attempt.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Transferred {
    #[n(0)]
    pub leg: u16,
    /// What names the dialogs from now on.
    #[n(1)]
    pub dialogs: Option<Dialogs>,
}

/// The target that had answered hung up so soon that the call goes on to the next one. Durable.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EndedEarly {
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub q850: Option<u16>,
}

/// The one closing fact of a call. Durable.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Ended {
    #[n(0)]
    pub party: Party,
    #[n(1)]
    pub reason: Reason,
    /// Final SIP status towards the caller: 200 for an answered call.
    #[n(2)]
    pub status: u16,
    #[n(3)]
    pub q850: Option<u16>,
    /// Of an end that is only inferred, because a party was found to be gone: milliseconds from the
    /// answer until that party was last heard. Absent: the call talked until now.
    #[n(4)]
    pub talk_ms: Option<u64>,
}

/// A call whose process died was closed by the next one.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct OrphanClosed {
    /// Zero if it was never answered.
    #[n(0)]
    pub talk_ms: u64,
    #[n(1)]
    pub policy: OrphanPolicy,
}

/// How long a call that was up at a crash counts as talked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum OrphanPolicy {
    /// Until the last checkpoint that named it.
    #[default]
    #[n(0)]
    Checkpoint,
    /// Not at all.
    #[n(1)]
    Zero,
    /// Until the restart.
    #[n(2)]
    UntilRestart,
}
