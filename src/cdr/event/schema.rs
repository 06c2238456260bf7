//! Events as they are written: Protobuf by `proto/events.proto`, which says what each field is, and
//! JSON with the same names, in which an absent field is left out and numbers are numbers.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde::Serialize;

/// Of the schema. A change that would break a reader raises it.
pub const SCHEMA: u32 = 1;

/// A fact as others are told of it.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Event {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint32, tag = "2")]
    pub schema: u32,
    #[prost(string, tag = "3")]
    pub r#type: String,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    #[prost(uint32, tag = "5")]
    pub node: u32,
    #[prost(string, tag = "6")]
    pub account: String,
    #[prost(uint32, tag = "7")]
    pub shard: u32,
    #[prost(uint64, tag = "8")]
    pub epoch: u64,
    #[prost(uint64, tag = "9")]
    pub seq: u64,
    #[prost(string, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    #[prost(
        oneof = "Body",
        tags = "20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, \
                36, 37, 38"
    )]
    #[serde(flatten)]
    pub body: Option<Body>,
}

/// What happened.
#[derive(Clone, PartialEq, Oneof, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    #[prost(message, tag = "20")]
    PingAccepted(PingAccepted),
    #[prost(message, tag = "21")]
    SessionTouched(SessionTouched),
    #[prost(message, tag = "22")]
    SessionReleased(SessionReleased),
    #[prost(message, tag = "23")]
    SessionConsumed(SessionConsumed),
    #[prost(message, tag = "24")]
    CallAdmitted(CallAdmitted),
    #[prost(message, tag = "25")]
    RouteDecided(RouteDecided),
    #[prost(message, tag = "26")]
    AttemptStarted(AttemptStarted),
    #[prost(message, tag = "27")]
    AttemptFailed(AttemptFailed),
    #[prost(message, tag = "28")]
    AttemptEndedEarly(AttemptEndedEarly),
    #[prost(message, tag = "29")]
    CallAnswered(CallAnswered),
    #[prost(message, tag = "30")]
    CallTransferred(CallTransferred),
    #[prost(message, tag = "31")]
    CallHandedOver(CallHandedOver),
    #[prost(message, tag = "32")]
    ConversionReached(ConversionReached),
    #[prost(message, tag = "33")]
    CallEnded(CallEnded),
    #[prost(message, tag = "34")]
    CallOrphanClosed(CallOrphanClosed),
    #[prost(message, tag = "35")]
    BuyerDeposited(BuyerDeposited),
    #[prost(message, tag = "36")]
    SessionEnriched(SessionEnriched),
    #[prost(message, tag = "37")]
    CapReset(CapReset),
    #[prost(message, tag = "38")]
    CallRematched(CallRematched),
}

/// A ping was accepted, or a page or form opened a session.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct PingAccepted {
    #[prost(string, tag = "1")]
    pub ping_id: String,
    #[prost(string, tag = "2")]
    pub session_id: String,
    #[prost(string, tag = "3")]
    pub publisher: String,
    #[prost(string, tag = "4")]
    pub campaign: String,
    #[prost(string, tag = "5")]
    pub opener: String,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_hash: Option<String>,
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[prost(string, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub tags: BTreeMap<String, String>,
    #[prost(int64, tag = "11")]
    pub expires_at_ms: i64,
    #[prost(string, optional, tag = "12")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[prost(string, optional, tag = "13")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
    #[prost(btree_map = "string, string", tag = "14")]
    pub extra: BTreeMap<String, String>,
}

/// What came of asking an enricher about the caller of a session.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct SessionEnriched {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub outcome: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub tags: BTreeMap<String, String>,
    #[prost(int64, tag = "5")]
    pub cost_micros: i64,
}

/// A visitor is still there.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct SessionTouched {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(int64, tag = "2")]
    pub expires_at_ms: i64,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    #[prost(bool, tag = "4")]
    pub number_lost: bool,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_hash: Option<String>,
}

/// A visitor has left.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct SessionReleased {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(int64, tag = "2")]
    pub expires_at_ms: i64,
}

/// A call used a session up.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct SessionConsumed {
    #[prost(string, tag = "1")]
    pub session_id: String,
}

/// An INVITE was accepted as a call.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallAdmitted {
    #[prost(string, tag = "1")]
    pub trunk: String,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_hash: Option<String>,
    #[prost(string, tag = "5")]
    pub sip_call_id: String,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier_call_id: Option<String>,
}

/// Routing chose where the call goes, or refused it.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RouteDecided {
    #[prost(uint64, tag = "1")]
    pub config_rev: u64,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[prost(string, tag = "5")]
    pub match_method: String,
    #[prost(uint32, tag = "6")]
    pub confidence_pct: u32,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// An INVITE left for a target.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AttemptStarted {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(string, tag = "3")]
    pub buyer: String,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}

/// An attempt ended without an answer, or never began.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AttemptFailed {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(uint32, tag = "2")]
    pub status: u32,
    #[prost(uint32, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u32>,
    #[prost(string, tag = "4")]
    pub reason: String,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}

/// The target hung up so soon that the call goes on to the next one.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AttemptEndedEarly {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(uint32, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u32>,
}

/// A target answered.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallAnswered {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

/// The target that had answered was replaced by this attempt.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallTransferred {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
}

/// The carrier was told whom to call.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallHandedOver {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(string, tag = "2")]
    pub by: String,
    #[prost(uint32, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
}

/// The call is long enough for its buyer, and still up.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ConversionReached {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
}

/// The call is over.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallEnded {
    #[prost(string, tag = "1")]
    pub party: String,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(uint32, tag = "3")]
    pub status: u32,
    #[prost(uint32, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u32>,
    #[prost(message, optional, boxed, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Record>>,
}

/// The server had died during the call; the next one closed it.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallOrphanClosed {
    #[prost(string, tag = "1")]
    pub policy: String,
    #[prost(message, optional, boxed, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Record>>,
}

/// A buyer has paid in.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct BuyerDeposited {
    #[prost(string, tag = "1")]
    pub buyer: String,
    #[prost(int64, tag = "2")]
    pub amount_micros: i64,
    #[prost(string, tag = "3")]
    pub key: String,
}

/// An operator has had a cap begin anew in its window.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CapReset {
    #[prost(string, tag = "1")]
    pub cap: String,
    #[prost(string, tag = "2")]
    pub window: String,
    #[prost(uint64, tag = "3")]
    pub amount: u64,
    #[prost(string, tag = "4")]
    pub by: String,
    #[prost(string, tag = "5")]
    pub why: String,
}

/// All that is known of a call: its CDR.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Record {
    #[prost(uint32, tag = "1")]
    pub rev: u32,
    #[prost(string, tag = "2")]
    pub state: String,
    #[prost(string, tag = "3")]
    pub outcome: String,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[prost(string, tag = "8")]
    pub match_method: String,
    #[prost(uint64, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_rev: Option<u64>,
    #[prost(string, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    #[prost(string, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    #[prost(string, optional, tag = "12")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_hash: Option<String>,
    #[prost(string, tag = "13")]
    pub sip_call_id: String,
    #[prost(string, optional, tag = "14")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier_call_id: Option<String>,
    #[prost(int64, tag = "15")]
    pub started_at_ms: i64,
    #[prost(int64, optional, tag = "16")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "17")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<i64>,
    #[prost(uint64, optional, tag = "18")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<u64>,
    #[prost(uint64, optional, tag = "19")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talk_ms: Option<u64>,
    #[prost(string, optional, tag = "20")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_party: Option<String>,
    #[prost(string, optional, tag = "21")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    #[prost(uint32, optional, tag = "22")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_status: Option<u32>,
    #[prost(uint32, optional, tag = "23")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u32>,
    #[prost(string, optional, tag = "24")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    #[prost(string, optional, tag = "25")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[prost(string, optional, tag = "26")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer: Option<String>,
    #[prost(message, repeated, tag = "27")]
    pub attempts: Vec<Attempt>,
    #[prost(message, optional, tag = "28")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<CallHandedOver>,
    #[prost(string, tag = "29")]
    pub conversion: String,
    #[prost(int64, tag = "30")]
    pub revenue_micros: i64,
    #[prost(int64, tag = "31")]
    pub payout_micros: i64,
    #[prost(int64, optional, tag = "32")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<i64>,
    #[prost(string, tag = "33")]
    pub currency: String,
    #[prost(string, optional, tag = "34")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_payout: Option<String>,
    #[prost(string, repeated, tag = "35")]
    pub flags: Vec<String>,
    #[prost(string, optional, tag = "36")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    #[prost(message, repeated, tag = "37")]
    pub denied: Vec<Denial>,
    #[prost(string, optional, tag = "38")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_route: Option<String>,
    #[prost(message, optional, tag = "39")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_match: Option<FirstMatch>,
}

/// What a call was matched to at first.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct FirstMatch {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[prost(string, tag = "2")]
    pub match_method: String,
    #[prost(uint32, tag = "3")]
    pub confidence_pct: u32,
    #[prost(int64, tag = "4")]
    pub until_ms: i64,
}

/// Whose a call was became known after its end.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct CallRematched {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[prost(string, tag = "2")]
    pub match_method: String,
    #[prost(uint32, tag = "3")]
    pub confidence_pct: u32,
    #[prost(message, optional, boxed, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Record>>,
}

/// One target that was not called for want of room.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Denial {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(uint64, tag = "3")]
    pub at_ms: u64,
    #[prost(string, tag = "4")]
    pub reason: String,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}

/// One target that was tried.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Attempt {
    #[prost(uint32, tag = "1")]
    pub leg: u32,
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(string, tag = "3")]
    pub buyer: String,
    #[prost(string, tag = "4")]
    pub result: String,
    #[prost(uint64, tag = "5")]
    pub started_ms: u64,
    #[prost(uint64, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing_ms: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u32>,
    #[prost(string, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[prost(uint64, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talk_ms: Option<u64>,
    #[prost(string, optional, tag = "12")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}
