//! Keeping a decision with everything it was made from, and making it again.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use minicbor::{Decode, Encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

use crate::id::TargetId;
use crate::time::Wall;

use super::circuit::Condition;
use super::decider::{Known, decide};
use super::decision::{
    ConditionReading, Decision, RateReading, Readings, ReadyReading, UnreachedReading, WayReading,
};
use super::dial::{Unreached, Way};
use super::geo::LineRecord;
use super::history::PastCall;
use super::history::prior::PriorCalls;
use super::hold::Bucket;
use super::performance::rate::Lately;
use super::performance::{Concerned, Scope, Tallies};
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::selection::{PerformanceReading, Rotation, ScoreReading};
use super::snapshot::RoutingSnapshot;

/// A decision with everything it was made from, as it is stored with the CDR. Holds the caller's
/// number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    pub request: RouteRequest,
    pub sessions: Vec<SessionReading>,
    /// The caller's earlier calls, the latest first.
    pub calls: Vec<PastCall>,
    pub decision: Decision,
    pub digest: Digest,
    /// Limits that were read besides, of a decision for the sake of an answer: it stops at the first check
    /// that fails. They are not stored.
    pub besides: Readings,
}

/// SHA-256 of a record's CBOR. Shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_LEN]);

const DIGEST_LEN: usize = 32;

/// Why bytes are no decision record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not a decision record: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    #[error("the record is not what was written: its digest is another")]
    Altered,
}

/// What the digest covers. Evolves by addition only, like facts.
#[derive(Decode)]
struct Body {
    #[n(0)]
    request: RouteRequest,
    #[n(1)]
    sessions: Vec<SessionReading>,
    #[n(2)]
    decision: Decision,
    #[cbor(n(3), default)]
    calls: Vec<PastCall>,
}

/// [`Body`] before it is written.
#[derive(Encode)]
struct BodyRef<'a> {
    #[n(0)]
    request: &'a RouteRequest,
    #[n(1)]
    sessions: &'a [SessionReading],
    #[n(2)]
    decision: &'a Decision,
    #[n(3)]
    calls: &'a [PastCall],
}

/// A decision made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub decision: Decision,
    /// Where it first departs from the record; absent: it is the same.
    pub difference: Option<Difference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Such as `steps[3]`.
    pub at: String,
    /// Absent where the record had nothing.
    pub recorded: Option<String>,
    /// Absent where there is nothing now.
    pub recomputed: Option<String>,
}

/// Writes a [`DecisionRecord`]: CBOR, then its digest. This is done for every call.
pub fn record_bytes(request: &RouteRequest, known: Known<'_>, decision: &Decision) -> Vec<u8> {
    // Typical records have half a KiB to two.
    let mut bytes = Vec::with_capacity(2_048);
    let Known { sessions, calls } = known;
    minicbor::encode(BodyRef { request, sessions, decision, calls }, &mut bytes)
        .expect("writing to memory does not fail");
    let Digest(digest) = Digest::of(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

impl DecisionRecord {
    /// The record of a decision that is not stored.
    pub fn new(request: &RouteRequest, known: Known<'_>, decision: &Decision) -> Self {
        let bytes = record_bytes(request, known, decision);
        Self::from_bytes(&bytes).expect("what was written can be read")
    }

    /// Reads what [`record_bytes`] wrote, by any version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let (body, digest) = bytes.split_last_chunk().ok_or(RecordError::Altered)?;
        let digest = Digest(*digest);
        if Digest::of(body) != digest {
            return Err(RecordError::Altered);
        }
        let Body { request, sessions, decision, calls } = minicbor::decode(body)?;
        let besides = Readings::default();
        Ok(Self { request, sessions, calls, decision, digest, besides })
    }
}

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Decides again. With the snapshot of the recorded revision any difference is a bug; with another
/// it is what the change of configuration would have changed.
pub fn replay(snapshot: &RoutingSnapshot, record: &DecisionRecord) -> Replay {
    let recorded = &record.decision;
    let readings = Recorded::of(&recorded.readings);
    let mut rotation = match &recorded.attribution {
        Some(attribution) => Rotation::from_readings(&attribution.campaign, &recorded.readings),
        None => Rotation::default(),
    };
    let known = Known { sessions: &record.sessions, calls: &record.calls };
    let decision = decide(snapshot, &record.request, known, &readings, &mut rotation);
    let difference = first_difference(recorded, &decision);
    Replay { decision, difference }
}

/// What was read then.
pub(super) struct Recorded<'a> {
    usage: BTreeMap<Bucket, Usage>,
    /// Where some of it was held for calls that a crash had left up.
    awaited: BTreeMap<Bucket, u64>,
    conditions: &'a [ConditionReading],
    ready: &'a [ReadyReading],
    performance: &'a [PerformanceReading],
    listed: &'a [SmolStr],
    scores: &'a [ScoreReading],
    withheld: &'a [Bucket],
    line: Option<&'a LineRecord>,
    prior: Option<&'a PriorCalls>,
    ways: &'a [WayReading],
    unreached: &'a [UnreachedReading],
    rates: &'a [RateReading],
}

impl<'a> Recorded<'a> {
    pub(super) fn of(readings: &'a Readings) -> Self {
        let usage = readings.usage.iter();
        let usage = usage.map(|reading| (reading.bucket.clone(), reading.usage)).collect();
        let awaited = readings.usage.iter();
        let awaited = awaited.filter_map(|it| Some((it.bucket.clone(), it.awaited?))).collect();
        let Readings { conditions, ready, performance, listed, scores, withheld, .. } = readings;
        let Readings { ways, unreached, rates, .. } = readings;
        let (line, prior) = (readings.line.as_ref(), readings.prior.as_ref());
        Self {
            usage,
            awaited,
            conditions,
            ready,
            performance,
            listed,
            scores,
            withheld,
            ways,
            unreached,
            rates,
            line,
            prior,
        }
    }
}

impl UsageReader for Recorded<'_> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        self.usage.usage(bucket)
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        self.awaited.get(bucket).copied().unwrap_or(0)
    }

    fn withheld(&self, bucket: &Bucket) -> bool {
        self.withheld.contains(bucket)
    }

    fn condition(&self, target: &TargetId) -> Condition {
        let reading = self.conditions.iter().find(|reading| reading.target == *target);
        reading.map_or(Condition::Well, |reading| reading.condition)
    }

    fn way(&self, way: &Way) -> Condition {
        let reading = self.ways.iter().find(|reading| reading.way == *way);
        reading.map_or(Condition::Well, |reading| reading.condition)
    }

    fn unreached(&self, target: &TargetId, place: u8, _uri: &str) -> Option<Unreached> {
        let is_it = |it: &&UnreachedReading| it.target == *target && it.place == place;
        self.unreached.iter().find(is_it).map(|reading| reading.unreached)
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        self.ready.iter().find(|reading| reading.key == concurrency).map(|it| it.ready)
    }

    fn tallies(&self, concerned: &Concerned, _since: i64) -> Tallies {
        let of_target = |reading: &&PerformanceReading| reading.target == concerned.target;
        self.performance.iter().find(of_target).map(|it| it.tallies).unwrap_or_default()
    }

    fn lately(&self, scope: &Scope, _at: Wall) -> Lately {
        let place = self.rates.binary_search_by(|reading| reading.scope.cmp(scope));
        place.map_or_else(|_| Lately::default(), |place| self.rates[place].lately)
    }

    fn lists(&self, list: &str, found: Option<bool>) -> bool {
        found.unwrap_or_else(|| self.listed.iter().any(|listed| listed == list))
    }

    fn prior(&self) -> Option<PriorCalls> {
        self.prior.cloned()
    }

    fn line(&self, found: Option<Option<LineRecord>>) -> Option<LineRecord> {
        found.unwrap_or_else(|| self.line.cloned())
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        let of_both = |it: &&ScoreReading| it.scorer == scorer && it.target == *target;
        self.scores.iter().find(of_both).map(|it| it.score)
    }
}

fn first_difference(recorded: &Decision, recomputed: &Decision) -> Option<Difference> {
    one("attribution", &recorded.attribution, &recomputed.attribution)
        .or_else(|| each("steps", &recorded.steps, &recomputed.steps))
        .or_else(|| each("plan", &recorded.plan, &recomputed.plan))
        .or_else(|| one("rules", &recorded.rules, &recomputed.rules))
        .or_else(|| each("offered", &recorded.offered, &recomputed.offered))
        .or_else(|| one("refused", &recorded.refused, &recomputed.refused))
        .or_else(|| one("no_route", &recorded.no_route, &recomputed.no_route))
        .or_else(|| one("status", &recorded.status, &recomputed.status))
        .or_else(|| one("readings", &recorded.readings, &recomputed.readings))
}

fn one<T: PartialEq + Debug>(at: &str, recorded: &T, recomputed: &T) -> Option<Difference> {
    (recorded != recomputed).then(|| Difference {
        at: at.to_owned(),
        recorded: Some(format!("{recorded:?}")),
        recomputed: Some(format!("{recomputed:?}")),
    })
}

fn each<T: PartialEq + Debug>(at: &str, recorded: &[T], recomputed: &[T]) -> Option<Difference> {
    let longest = recorded.len().max(recomputed.len());
    (0..longest).find_map(|index| {
        let (was, is) = (recorded.get(index), recomputed.get(index));
        (was != is).then(|| Difference {
            at: format!("{at}[{index}]"),
            recorded: was.map(|was| format!("{was:?}")),
            recomputed: is.map(|is| format!("{is:?}")),
        })
    })
}
