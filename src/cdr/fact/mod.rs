//! Facts: the only thing the call path writes. What moves money, a cap or a session is one of
//! these; what is not a fact is not in the CDR.
//!
//! A body is stored as CBOR under a kind number. It evolves by addition only: a new field is
//! optional and takes the next index, an index is never used twice, and a reader skips what it
//! does not know.

mod call;
mod hold;
mod node;
mod rematch;
mod session;

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::id::CallId;
use crate::time::{Mono, Wall};

pub use call::{
    AddressFailed, Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Confirmed,
    Converted, Decided, Dialogs, Ended, EndedEarly, Farewell, Farewells, HandedOver, Means,
    OrphanClosed, OrphanPolicy, Party, Referred, Shortage, Taken, Terms, Transferred,
};
pub use hold::{AtEnd, Bucket, CapReset, HoldPlaced, HoldReleased, HoldSettled, ResetPart};
pub use node::{Checkpoint, Deposited, NodeStarted, PingAccepted, Promised, SessionConsumed};
pub use rematch::{Rematch, Rematched};
pub use session::{Lookup, Opener, Reply, SessionEnriched, SessionReleased, SessionTouched};

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
    24 EndedEarly = "attempt.ended_early";
    25 Deposited = "buyer.deposited";
    26 SessionTouched = "session.touched";
    27 SessionReleased = "session.released";
    28 SessionEnriched = "session.enriched";
    29 CapReset = "cap.reset";
    30 Rematched = "call.rematched";
}

#[cfg(test)]
pub(in crate::cdr) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{HoldId, PingId, SessionId};
    use crate::money::Money;
    use crate::phone::PhoneNumber;
    use crate::reason::{NoRoute, Reason};

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

    /// One of each kind at least.
    pub(in crate::cdr) fn samples() -> Vec<FactBody> {
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
                no_route: Some(NoRoute::NoCapacity),
                degraded: true,
            }
            .into(),
            HoldPlaced { hold, target: "tgt_summit".into(), buckets: vec![bucket.clone()] }.into(),
            HoldSettled { hold, buckets: vec![bucket.clone()] }.into(),
            HoldReleased { hold }.into(),
            CapReset {
                cap: "target/tgt_summit/connected/daily".into(),
                window: "d:2026-03-17".into(),
                ends_at_ms: Some(1_773_806_400_000),
                amount: 61,
                parts: vec![
                    ResetPart { node: None, slice: None, level: 40 },
                    ResetPart { node: Some("2".into()), slice: Some(7), level: 21 },
                ],
                by: "ops".into(),
                why: "calls of a test".into(),
                key: Some("k".into()),
            }
            .into(),
            AttemptStarted {
                leg: 1,
                target: "tgt_summit".into(),
                buyer: "buy_summit".into(),
                uri: "sip:summit@192.0.2.9".into(),
                way: Some("trunk/trk_b".into()),
                dial: 1,
                terms: Some(Terms {
                    seconds: 90,
                    revenue: Money(41_500_000),
                    payout: Money(33_200_000),
                    currency: "USD".into(),
                    payout_seconds: 60,
                    no_payout: None,
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
            AttemptFailed {
                leg: 1,
                status: 486,
                q850: Some(17),
                reason: Reason::AttemptBusy,
                target: Some("tgt_summit".into()),
                shortage: None,
                way: None,
            }
            .into(),
            AttemptFailed {
                leg: 2,
                status: 486,
                q850: None,
                reason: Reason::CapFull,
                target: Some("tgt_cool".into()),
                shortage: Some(Shortage {
                    cap: "target/tgt_cool/connected/daily".into(),
                    limit: 80,
                    used: 77,
                    held: 3,
                }),
                way: Some("trunk/trk_b".into()),
            }
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
            EndedEarly { leg: 1, q850: Some(16) }.into(),
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
                visitor: Some("v_8c1f0b7e".into()),
                opener: Some(Opener::Form),
                reply: Some(Reply {
                    key: [5; 16],
                    fingerprint: [6; 16],
                    shared: true,
                    heartbeat_s: Some(60),
                    left_out: vec!["gclid".into()],
                }),
                promise: Some(Promised {
                    payout: Money(24_000_000),
                    payout_seconds: 90,
                    until_ms: 1_773_759_912_318,
                    no_duplicates: true,
                }),
                extra: vec![("colour".into(), "red".into())],
            }
            .into(),
            SessionTouched {
                session: SessionId::from_bytes([2; 16]),
                expires_at_ms: 1_773_759_852_318,
                number,
                tags: vec![("page.path".into(), "/".into())],
                has_lost_number: false,
                caller: number,
            }
            .into(),
            SessionReleased { session: SessionId::from_bytes([2; 16]), expires_at_ms: 7 }.into(),
            SessionEnriched {
                session: SessionId::from_bytes([2; 16]),
                source: "lineinfo".into(),
                lookup: Lookup::Told,
                tags: vec![("line_type".into(), "mobile".into())],
                cost: Money(4_000),
            }
            .into(),
            SessionConsumed { session: SessionId::from_bytes([2; 16]) }.into(),
            NodeStarted { version: "0.1.0".into() }.into(),
            Deposited { buyer: "buy_cool".into(), amount: Money(5), key: "k".into() }.into(),
            HandedOver { leg: 1, by: Means::Refer, status: Some(200) }.into(),
            Rematched {
                outcome: Rematch::Found,
                session: Some(SessionId::from_bytes([3; 16])),
                match_method: "pool_lease".into(),
                confidence_pct: 99,
            }
            .into(),
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
