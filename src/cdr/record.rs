//! The record of a call: what its CDR, the live view and the store are made of (spec/data §1.3).
//! `timeline` folds facts into it.

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::SmolStr;

use super::conversion::ConversionState;
use super::due::CapDue;
use super::fact::{Dialogs, Farewells, Means, Party, Shortage, Stamp, Terms};
use super::journal::{Entry, Lsn};
use super::rating::Tariff;
use crate::codec;
use crate::id::{BuyerId, CallId, CampaignId, PublisherId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::{NoPayout, NoRoute, Reason};
use crate::time::Wall;

/// Whether a call is over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum CallState {
    #[default]
    #[n(0)]
    Open,
    #[n(1)]
    Closed,
    /// Its process died; closed by the next one.
    #[n(2)]
    OrphanClosed,
}

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    InProgress,
    Converted,
    /// Answered, but not converted.
    Connected,
    /// No attempt was answered.
    NoAnswer,
    /// No attempt was made.
    Refused,
    /// The carrier was told whom to call; see [`CallRecord::handover`].
    HandedOver,
}

/// What is odd about a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Flags(#[n(0)] pub u32);

impl Flags {
    /// The wall clock was stepped by more than 2 s during the call.
    pub const CLOCK_SKEW: Self = Self(1);
    /// Closed after a crash.
    pub const ORPHAN: Self = Self(2);
    /// The true end of an orphan became known later.
    pub const ORPHAN_CORRECTED: Self = Self(4);
    /// Answered without terms: no money was decided.
    pub const UNRATED: Self = Self(8);
    /// The admission is missing in the journal.
    pub const INCOMPLETE: Self = Self(16);
    /// Nobody said that the call was over: it ends with the last proof that it was up.
    pub const END_INFERRED: Self = Self(32);
    /// Matched without the store that servers share.
    pub const MATCH_DEGRADED: Self = Self(64);
    /// Whose it was became known later; see [`CallRecord::first_match`].
    pub const REMATCHED: Self = Self(128);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::CLOCK_SKEW, "clock_skew"),
        (Self::ORPHAN, "orphan"),
        (Self::ORPHAN_CORRECTED, "orphan_corrected"),
        (Self::UNRATED, "unrated"),
        (Self::INCOMPLETE, "incomplete"),
        (Self::END_INFERRED, "end_inferred"),
        (Self::MATCH_DEGRADED, "match_degraded"),
        (Self::REMATCHED, "rematched"),
    ];

    pub fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }

    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }
}

impl Serialize for Flags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// What became of an attempt.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum AttemptResult {
    #[default]
    #[n(0)]
    Pending,
    #[n(1)]
    Answered,
    #[n(2)]
    Failed,
    /// The call ended while this target was tried.
    #[n(3)]
    Abandoned,
    /// The carrier was told to call it.
    #[n(4)]
    HandedOver,
    /// It answered, and hung up so soon that the next one was called.
    #[n(5)]
    EndedEarly,
}

/// A call that the carrier took elsewhere on our word. We saw no answer and no end, so nothing is
/// earned by it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Handover {
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub by: Means,
    /// What the target answered, as the carrier told; absent: the outcome is not known.
    #[n(2)]
    pub status: Option<u16>,
}

impl Handover {
    /// Whether anybody told what became of the call.
    pub fn outcome_known(&self) -> bool {
        self.status.is_some()
    }
}

/// What a call was matched to when it was decided, of which it became known later whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct FirstMatch {
    #[n(0)]
    pub session: Option<SessionId>,
    #[cbor(n(1), with = "codec::text")]
    pub method: SmolStr,
    #[n(2)]
    pub confidence_pct: u8,
    /// Until when it stood.
    #[n(3)]
    pub until: Wall,
}

/// One target that was tried.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
pub struct Attempt {
    /// Counts from 1.
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub target: TargetId,
    #[n(2)]
    pub buyer: BuyerId,
    #[cbor(n(3), with = "codec::text")]
    pub uri: SmolStr,
    #[serde(skip)]
    #[n(4)]
    pub terms: Option<Terms>,
    /// Milliseconds since admission, like the two below.
    #[n(5)]
    pub started_ms: u64,
    /// First 180 or 183.
    #[n(6)]
    pub ringing_ms: Option<u64>,
    /// Answered, failed or given up.
    #[n(7)]
    pub settled_ms: Option<u64>,
    #[n(8)]
    pub result: AttemptResult,
    /// Final SIP status.
    #[n(9)]
    pub status: Option<u16>,
    #[n(10)]
    pub q850: Option<u16>,
    #[n(11)]
    pub reason: Option<Reason>,
    /// Addresses of the target at which it could not be reached, in order.
    #[cbor(n(12), default)]
    pub left: Vec<LeftAddress>,
    /// Of one that ended early: milliseconds it talked.
    #[n(13)]
    pub talk_ms: Option<u64>,
    /// What led there: `trunk/trk_a`, or a host with its port. Absent: the target has no other way, and
    /// no trunk is on it.
    #[cbor(n(14), with = "codec::optional_text", has_nil)]
    pub way: Option<SmolStr>,
    /// Which of the target's ways that is, by its place in the configuration.
    #[cbor(n(15), default)]
    pub dial: u8,
}

/// An address that an attempt left for the next one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct LeftAddress {
    /// With its transport, such as `udp:192.0.2.7:5060`.
    #[cbor(n(0), with = "codec::text")]
    pub address: SmolStr,
    /// Milliseconds since admission.
    #[n(1)]
    pub at_ms: u64,
    /// What was answered, if anything was.
    #[n(2)]
    pub status: Option<u16>,
    #[n(3)]
    pub reason: Reason,
}

/// A target whose turn it was, and that was not called.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Denial {
    /// Counts with those of attempts.
    #[n(0)]
    pub leg: u16,
    #[n(1)]
    pub target: TargetId,
    /// Milliseconds since admission.
    #[n(2)]
    pub at_ms: u64,
    #[n(3)]
    pub reason: Reason,
    /// What had no room, where that is known.
    #[n(4)]
    pub shortage: Option<Shortage>,
    /// What would have led there, as of an attempt.
    #[cbor(n(5), with = "codec::optional_text", has_nil)]
    pub way: Option<SmolStr>,
}

impl Denial {
    /// Whose carrier would have been called; `None`: nobody's.
    pub fn trunk(&self) -> Option<TrunkId> {
        trunk_of(self.way.as_ref())
    }
}

/// The trunk that a way is.
pub(super) fn trunk_of(way: Option<&SmolStr>) -> Option<TrunkId> {
    Some(way?.strip_prefix("trunk/")?.into())
}

impl Attempt {
    /// Whose carrier was called; `None`: nobody's.
    pub fn trunk(&self) -> Option<TrunkId> {
        trunk_of(self.way.as_ref())
    }

    /// Milliseconds from the INVITE to the first ringing.
    pub fn pdd_ms(&self) -> Option<u64> {
        self.ringing_ms.map(|at| at.saturating_sub(self.started_ms))
    }

    /// Milliseconds from the first ringing to the answer or end.
    pub fn ring_ms(&self) -> Option<u64> {
        let (from, to) = self.ringing_ms.zip(self.settled_ms)?;
        Some(to.saturating_sub(from))
    }
}

/// Everything known of a call: its CDR.
///
/// Times ending in `_ms` count from admission on the boot clock unless they say otherwise; add
/// them to [`CallRecord::started_at`] for a wall time.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
pub struct CallRecord {
    #[n(0)]
    pub call: CallId,
    /// Counts the facts that changed something billing depends on.
    #[n(1)]
    pub rev: u32,
    #[n(2)]
    pub state: CallState,
    /// First and last fact applied.
    #[n(3)]
    pub first: Lsn,
    #[n(4)]
    pub last: Lsn,
    #[serde(skip)]
    #[n(5)]
    pub(super) admitted: Stamp,
    #[n(6)]
    pub trunk: Option<TrunkId>,
    #[cbor(n(7), with = "codec::text")]
    pub sip_call_id: SmolStr,
    #[cbor(n(8), with = "codec::text")]
    pub dialed: SmolStr,
    #[n(9)]
    pub did: Option<PhoneNumber>,
    #[n(10)]
    pub caller: Option<PhoneNumber>,
    #[cbor(n(11), with = "codec::text")]
    pub source: SmolStr,
    #[n(12)]
    pub config_rev: Option<u64>,
    #[n(13)]
    pub campaign: Option<CampaignId>,
    #[n(14)]
    pub publisher: Option<PublisherId>,
    #[n(15)]
    pub session: Option<SessionId>,
    #[cbor(n(16), with = "codec::text")]
    pub match_method: SmolStr,
    #[n(17)]
    pub confidence_pct: u8,
    /// Why routing refused the call.
    #[n(18)]
    pub refused: Option<Reason>,
    /// Where the store keeps the routing decision record: [`Lsn::key`] of the fact.
    #[n(19)]
    pub explain_ref: Option<u64>,
    #[n(20)]
    pub attempts: Vec<Attempt>,
    #[n(21)]
    pub answered_leg: Option<u16>,
    #[n(22)]
    pub decided_ms: Option<u64>,
    #[n(23)]
    pub answered_ms: Option<u64>,
    /// The caller's ACK.
    #[n(24)]
    pub confirmed_ms: Option<u64>,
    #[n(25)]
    pub converted_ms: Option<u64>,
    #[n(26)]
    pub ended_ms: Option<u64>,
    /// From answer to end; defined once both are.
    #[n(27)]
    pub talk_ms: Option<u64>,
    /// Last proof of life, from the answer on.
    #[serde(skip)]
    #[n(28)]
    pub(super) alive_ms: u64,
    #[n(29)]
    pub end_party: Option<Party>,
    #[n(30)]
    pub end_reason: Option<Reason>,
    /// Final status towards the caller.
    #[n(31)]
    pub status: Option<u16>,
    #[n(32)]
    pub q850: Option<u16>,
    #[n(33)]
    pub conversion: ConversionState,
    #[n(34)]
    pub revenue: Money,
    #[n(35)]
    pub payout: Money,
    #[cbor(n(36), with = "codec::text")]
    pub currency: SmolStr,
    /// Carrier's charge; absent without a tariff.
    #[n(37)]
    pub cost: Option<Money>,
    #[n(38)]
    pub billed_s: Option<u64>,
    #[n(39)]
    pub flags: Flags,
    #[serde(skip)]
    #[n(40)]
    pub(super) answered_boot_ns: u64,
    /// What the trunk wanted kept of the INVITE, by the name of its tag.
    #[cbor(n(41), with = "codec::tags", default)]
    pub captured: Vec<(SmolStr, SmolStr)>,
    /// The carrier's own id of the call, for comparison with its records.
    #[cbor(n(42), with = "codec::optional_text", has_nil)]
    pub carrier_call_id: Option<SmolStr>,
    #[serde(skip)]
    #[n(43)]
    pub(super) dialogs: Option<Dialogs>,
    #[n(44)]
    pub handover: Option<Handover>,
    /// When we answered the caller before any target did.
    #[n(45)]
    pub taken_ms: Option<u64>,
    /// Until the call is over.
    #[serde(skip)]
    #[n(46)]
    pub(super) farewells: Option<Farewells>,
    /// Caps in which it counts when it is over.
    #[serde(skip)]
    #[cbor(n(47), default)]
    pub(super) dues: Vec<CapDue>,
    /// What was spoken on both legs at first, such as `PCMU/8000`; absent: not known.
    #[cbor(n(48), with = "codec::optional_text", has_nil)]
    pub codec: Option<SmolStr>,
    /// Targets that were not called for want of room. They are no attempts, and count nowhere.
    #[cbor(n(49), default)]
    pub denied: Vec<Denial>,
    /// Why none of its campaign's targets takes it, as it was decided.
    #[serde(skip)]
    #[n(50)]
    pub(super) decided_no_route: Option<NoRoute>,
    /// What it was matched to at first; absent: that stands.
    #[n(51)]
    pub first_match: Option<FirstMatch>,
}

impl CallRecord {
    /// The record of a call of which nothing is known but that `first` concerns it.
    pub fn begin(call: CallId, first: &Entry) -> Self {
        Self {
            call,
            rev: 0,
            state: CallState::Open,
            first: first.lsn,
            last: Lsn { seq: first.lsn.seq.saturating_sub(1), ..first.lsn },
            admitted: first.fact.at,
            trunk: None,
            sip_call_id: SmolStr::default(),
            dialed: SmolStr::default(),
            did: None,
            caller: None,
            source: SmolStr::default(),
            config_rev: None,
            campaign: None,
            publisher: None,
            session: None,
            match_method: SmolStr::default(),
            confidence_pct: 0,
            refused: None,
            explain_ref: None,
            attempts: Vec::new(),
            answered_leg: None,
            decided_ms: None,
            answered_ms: None,
            confirmed_ms: None,
            converted_ms: None,
            ended_ms: None,
            talk_ms: None,
            alive_ms: 0,
            end_party: None,
            end_reason: None,
            status: None,
            q850: None,
            conversion: ConversionState::None,
            revenue: Money::ZERO,
            payout: Money::ZERO,
            currency: SmolStr::default(),
            cost: None,
            billed_s: None,
            flags: Flags::INCOMPLETE,
            answered_boot_ns: 0,
            captured: Vec::new(),
            carrier_call_id: None,
            dialogs: None,
            farewells: None,
            handover: None,
            taken_ms: None,
            dues: Vec::new(),
            codec: None,
            denied: Vec::new(),
            decided_no_route: None,
            first_match: None,
        }
    }

    /// Why a call that is over got to nobody; `None`: it did, or it ended for another cause.
    pub fn no_route(&self) -> Option<NoRoute> {
        let end = (self.end_reason?, self.status?);
        NoRoute::of_end(self.decided_no_route, !self.attempts.is_empty(), end)
    }

    /// When the publisher came to be owed for a call that is over, in milliseconds since the answer; `None`:
    /// never.
    pub fn paid_after_ms(&self) -> Option<u32> {
        let talk_ms = self.talk_ms.filter(|_| self.payout > Money::ZERO)?;
        let terms = self.attempt().and_then(|attempt| attempt.terms.as_ref());
        let agreed = terms.map_or(0, |terms| terms.payout_seconds.saturating_mul(1_000));
        Some(agreed.min(u32::try_from(talk_ms).unwrap_or(u32::MAX)))
    }

    /// Notes a checkpoint: the call was up `elapsed_ms` after its answer.
    pub fn seen_alive(&mut self, elapsed_ms: u32) {
        self.alive_ms = self.alive_ms.max(u64::from(elapsed_ms));
    }

    /// Last proof of life of an answered call, in milliseconds since the answer: a checkpoint, or
    /// the conversion it reached.
    pub fn alive_ms(&self) -> u64 {
        let converted = self.converted_ms.zip(self.answered_ms).map(|(at, from)| at - from);
        self.alive_ms.max(converted.unwrap_or(0))
    }

    /// Charges the carrier's side of a closed call.
    pub fn rate(&mut self, tariff: &Tariff) {
        if self.state != CallState::Open {
            let charge = tariff.charge(self.talk_ms.unwrap_or(0));
            self.billed_s = Some(charge.billed_s);
            self.cost = Some(charge.amount);
        }
    }

    /// When the call was admitted, as its id tells.
    pub fn started_at(&self) -> Wall {
        Wall(i64::try_from(self.call.minted_at_ms()).unwrap_or(i64::MAX))
    }

    /// The wall time of one of the `_ms` fields.
    pub fn wall(&self, offset_ms: u64) -> Wall {
        Wall(self.started_at().0.saturating_add_unsigned(offset_ms))
    }

    /// From admission to answer, or end if there was none.
    pub fn setup_ms(&self) -> Option<u64> {
        self.answered_ms.or(self.ended_ms)
    }

    /// The attempt that was answered, else the last one.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self.answered_leg {
            Some(leg) => self.attempts.iter().find(|attempt| attempt.leg == leg),
            None => self.attempts.last(),
        }
    }

    /// Whether an attempt failed on its way, and its target was called another way.
    pub fn went_on_another_way(&self, attempt: &Attempt) -> bool {
        let (target, next) = (&attempt.target, attempt.leg.saturating_add(1));
        let is_other =
            |it: &Attempt| it.leg == next && it.target == *target && it.dial != attempt.dial;
        let had_no_room = |it: &Denial| it.leg == next && it.target == *target;
        attempt.result == AttemptResult::Failed
            && (self.attempts.iter().any(is_other) || self.denied.iter().any(had_no_room))
    }

    /// Whether it was the turn of this attempt, and whatever came of that.
    pub(super) fn knows(&self, leg: u16) -> bool {
        self.attempts.iter().any(|attempt| attempt.leg == leg)
            || self.denied.iter().any(|denial| denial.leg == leg)
    }

    /// Why the publisher is owed nothing by the terms of the attempt; `None`: they say what.
    pub fn no_payout(&self) -> Option<NoPayout> {
        self.attempt()?.terms.as_ref()?.no_payout
    }

    pub fn outcome(&self) -> Outcome {
        match self.conversion {
            _ if self.state == CallState::Open => Outcome::InProgress,
            _ if self.handover.is_some() => Outcome::HandedOver,
            ConversionState::Reached | ConversionState::Settled => Outcome::Converted,
            ConversionState::None | ConversionState::Pending if self.answered_ms.is_some() => {
                Outcome::Connected
            }
            ConversionState::None | ConversionState::Pending if self.attempts.is_empty() => {
                Outcome::Refused
            }
            ConversionState::None | ConversionState::Pending => Outcome::NoAnswer,
        }
    }
}
