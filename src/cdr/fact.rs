//! Facts: the only thing the call path writes. What moves money, a cap or a session is one of
//! these; what is not a fact is not in the CDR.
//!
//! A body is stored as CBOR under a kind number. It evolves by addition only: a new field is
//! optional and takes the next index, an index is never used twice, and a reader skips what it
//! does not know.

use std::time::Duration;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{
    BuyerId, CallId, CampaignId, HoldId, PingId, PoolId, PublisherId, SessionId, TargetId, TrunkId,
};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::{Mono, Wall};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Absent for what concerns no single call: pings, checkpoints, the node itself.
    pub call: Option<CallId>,
    pub at: Stamp,
    pub body: FactBody,
}

/// Both clocks at the moment the message was received. Durations come from `boot_ns` alone; the
/// wall time of later facts only serves to notice that the wall clock was stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch, UTC.
    #[n(0)]
    pub wall_ms: i64,
    /// Nanoseconds of `CLOCK_BOOTTIME`. Comparable only until the machine restarts.
    #[n(1)]
    pub boot_ns: u64,
}

impl Stamp {
    pub fn new(wall: Wall, boot: Mono) -> Self {
        Self { wall_ms: wall.0, boot_ns: boot.0 }
    }

    pub fn wall(self) -> Wall {
        Wall(self.wall_ms)
    }

    pub fn boot(self) -> Mono {
        Mono(self.boot_ns)
    }

    /// Boot time passed since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.boot().since(earlier.boot())
    }
}

impl Fact {
    pub fn of_call(call: CallId, at: Stamp, body: impl Into<FactBody>) -> Self {
        Self { call: Some(call), at, body: body.into() }
    }

    pub fn of_node(at: Stamp, body: impl Into<FactBody>) -> Self {
        Self { call: None, at, body: body.into() }
    }
}

/// Why stored bytes are not a fact body.
#[derive(Debug, thiserror::Error)]
pub enum DecodeFactError {
    /// Written by a newer version: skipped, not lost.
    #[error("fact kind {0} is not known to this version")]
    UnknownKind(u16),
    #[error("fact of kind {kind} is malformed: {source}")]
    Malformed { kind: u16, source: minicbor::decode::Error },
}

/// Declares the kinds of fact with the number each has in the journal.
macro_rules! kinds {
    ($($number:literal $name:ident = $text:literal;)*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq)]
        pub enum FactBody { $($name($name),)* }

        impl FactBody {
            /// The number stored in the record header.
            pub fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $number,)* }
            }

            /// The name used in logs and metrics, such as `call.answered`.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)* }
            }

            /// Appends the body as CBOR.
            pub fn encode_into(&self, out: &mut Vec<u8>) {
                let encoded = match self { $(Self::$name(body) => minicbor::encode(body, out),)* };
                encoded.expect("writing to memory does not fail");
            }

            /// Reads what [`FactBody::encode_into`] wrote under `kind`, by any version.
            pub fn decode(kind: u16, payload: &[u8]) -> Result<Self, DecodeFactError> {
                match kind {
                    $($number => minicbor::decode(payload)
                        .map(Self::$name)
                        .map_err(|source| DecodeFactError::Malformed { kind, source }),)*
                    _ => Err(DecodeFactError::UnknownKind(kind)),
                }
            }
        }

        $(impl From<$name> for FactBody {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

kinds! {
    1 Admitted = "call.admitted";
    2 Decided = "route.decided";
    3 HoldPlaced = "hold.placed";
    4 HoldSettled = "hold.settled";
    5 HoldReleased = "hold.released";
    6 AttemptStarted = "attempt.started";
    7 AttemptProgress = "attempt.progress";
    8 AttemptFailed = "attempt.failed";
    9 Answered = "call.answered";
    10 Confirmed = "call.confirmed";
    11 Converted = "conversion.reached";
    12 Ended = "call.ended";
    13 Checkpoint = "call.checkpoint";
    14 OrphanClosed = "call.orphan_closed";
    15 PingAccepted = "ping.accepted";
    16 SessionConsumed = "session.consumed";
    17 NodeStarted = "node.started";
    18 HandedOver = "call.handed_over";
    19 Taken = "call.taken";
    20 Transferred = "call.transferred";
    21 Referred = "call.referred";
    22 AddressFailed = "attempt.address_failed";
    23 Farewells = "call.farewells";
}

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

/// What a hold still held is free again.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HoldReleased {
    #[n(0)]
    pub hold: HoldId,
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

/// An attempt ended without an answer.
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

/// Proof of life of every answered call, written every 30 s.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Checkpoint {
    /// Milliseconds since the answer, per answered call.
    #[cbor(n(0), with = "codec::elapsed")]
    pub live: Vec<(CallId, u32)>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_survives_the_round_trip() {
        for body in samples() {
            let mut bytes = Vec::new();
            body.encode_into(&mut bytes);

            let read = FactBody::decode(body.kind(), &bytes).unwrap();

            assert_eq!(read, body, "{}", body.name());
        }
    }

    #[test]
    fn a_body_of_a_newer_version_is_read_without_its_new_fields() {
        #[derive(Encode)]
        struct AnsweredLater {
            #[n(0)]
            leg: u16,
            #[n(1)]
            dialogs: Option<Dialogs>,
            #[n(2)]
            codec: Option<&'static str>,
            #[n(3)]
            more: &'static str,
        }
        let later = AnsweredLater { leg: 2, dialogs: None, codec: None, more: "unknown" };
        let bytes = minicbor::to_vec(later).unwrap();

        let read = FactBody::decode(9, &bytes).unwrap();

        assert_eq!(read, Answered { leg: 2, dialogs: None, codec: None }.into());
    }

    #[test]
    fn an_optional_field_an_older_version_did_not_write_is_absent() {
        let bytes = minicbor::to_vec((0_u8, "system.error", 500_u16)).unwrap();

        let read = FactBody::decode(12, &bytes).unwrap();

        let (party, reason) = (Party::Caller, Reason::InternalError);
        let ended = Ended { party, reason, status: 500, q850: None, talk_ms: None };
        assert_eq!(read, ended.into());
    }

    #[test]
    fn an_unknown_kind_is_told_apart_from_a_broken_body() {
        assert!(matches!(FactBody::decode(999, &[0x80]), Err(DecodeFactError::UnknownKind(999))));
        assert!(matches!(
            FactBody::decode(9, &[0xff]),
            Err(DecodeFactError::Malformed { kind: 9, .. })
        ));
    }

    fn samples() -> Vec<FactBody> {
        let call = CallId::from_bytes([7; 16]);
        let hold = HoldId::of(call, 1, "target/tgt_summit");
        let number = PhoneNumber::from_digits(18_005_550_100);
        let bucket = Bucket {
            cap: "target/tgt_summit/connected".into(),
            window: "d:2026-03-17".into(),
            amount: 1,
            at_end: None,
        };
        vec![
            Admitted {
                trunk: "trk_a".into(),
                sip_call_id: "a84b4c76e66710@198.51.100.7".into(),
                dialed: "sip:+18005550100@edge.example".into(),
                did: number,
                caller: None,
                source: "udp:198.51.100.7:5060".into(),
                captured: vec![("header.x-lead".into(), "7".into())],
                carrier_call_id: Some("CA17".into()),
            }
            .into(),
            Decided {
                config_rev: 418,
                campaign: Some("cmp_hvac".into()),
                publisher: Some("pub_brightpath".into()),
                session: Some(SessionId::from_bytes([3; 16])),
                match_method: "pool_lease".into(),
                confidence_pct: 99,
                record: Bytes::from_static(b"{}"),
                refused: Some(Reason::CapFull),
            }
            .into(),
            HoldPlaced { hold, target: "tgt_summit".into(), buckets: vec![bucket.clone()] }.into(),
            HoldSettled { hold, buckets: vec![bucket.clone()] }.into(),
            HoldReleased { hold }.into(),
            AttemptStarted {
                leg: 1,
                target: "tgt_summit".into(),
                buyer: "buy_summit".into(),
                uri: "sip:summit@192.0.2.9".into(),
                terms: Some(Terms {
                    seconds: 90,
                    revenue: Money(41_500_000),
                    payout: Money(33_200_000),
                    currency: "USD".into(),
                    payout_seconds: 60,
                }),
            }
            .into(),
            AttemptProgress { leg: 1, status: 180 }.into(),
            AddressFailed {
                leg: 1,
                address: "udp:192.0.2.7:5060".into(),
                status: Some(503),
                reason: Reason::AttemptCarrierFailed,
            }
            .into(),
            AttemptFailed { leg: 1, status: 486, q850: Some(17), reason: Reason::AttemptBusy }
                .into(),
            Answered {
                leg: 2,
                dialogs: Some(Dialogs { caller: u64::MAX, target: 7 }),
                codec: Some("PCMU/8000".into()),
            }
            .into(),
            Confirmed::default().into(),
            Confirmed { codec: Some("PCMA/8000".into()) }.into(),
            Farewells {
                caller: Farewell { to: "udp:192.0.2.1:5060".into(), message: "BYE a".into() },
                target: Farewell { to: "tls:[::1]:5061".into(), message: "BYE b".into() },
            }
            .into(),
            Converted { leg: 2 }.into(),
            Ended {
                party: Party::Target,
                reason: Reason::TargetHungUp,
                status: 200,
                q850: Some(16),
                talk_ms: Some(12_000),
            }
            .into(),
            Checkpoint { live: vec![(call, 30_000), (CallId::from_bytes([9; 16]), 0)] }.into(),
            OrphanClosed { talk_ms: 30_000, policy: OrphanPolicy::Checkpoint }.into(),
            PingAccepted {
                ping: PingId::from_bytes([1; 16]),
                session: SessionId::from_bytes([2; 16]),
                publisher: "pub_brightpath".into(),
                campaign: "cmp_hvac".into(),
                caller: number,
                pool: Some("pool_hvac".into()),
                number,
                tags: vec![("zip".into(), "43215".into())],
                expires_at_ms: 1_773_759_852_318,
                request_id: Some("r-1".into()),
            }
            .into(),
            SessionConsumed { session: SessionId::from_bytes([2; 16]) }.into(),
            NodeStarted { version: "0.1.0".into() }.into(),
            HandedOver { leg: 1, by: Means::Refer, status: Some(200) }.into(),
            Taken {}.into(),
            Transferred { leg: 2, dialogs: Some(Dialogs { caller: 7, target: 9 }) }.into(),
            Referred {
                leg: 1,
                hold: Some(hold),
                buckets: vec![Bucket { at_end: Some(AtEnd::HandedOver), ..bucket }],
            }
            .into(),
        ]
    }
}
