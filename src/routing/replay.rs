//! Keeping a decision with everything it was made from, and making it again.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::decider::decide;
use super::decision::Decision;
use super::hold::Bucket;
use super::request::{RouteRequest, SessionReading, Usage};
use super::selection::Rotation;
use super::snapshot::RoutingSnapshot;

/// A decision with everything it was made from, as it is stored with the CDR. Holds the caller's
/// number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    pub request: RouteRequest,
    #[serde(default)]
    pub sessions: Vec<SessionReading>,
    pub decision: Decision,
    /// SHA-256, in hexadecimal, of the compact JSON of the fields above.
    pub digest: String,
}

/// Why a text is no decision record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not a decision record: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the record is not what was written: its digest is another")]
    Altered,
}

/// The fields that the digest covers, in their order.
#[derive(Serialize)]
struct Body<'a> {
    request: &'a RouteRequest,
    sessions: &'a [SessionReading],
    decision: &'a Decision,
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

/// The JSON of a [`DecisionRecord`], written in one pass: this is done for every call.
pub fn record_json(
    request: &RouteRequest,
    sessions: &[SessionReading],
    decision: &Decision,
) -> Vec<u8> {
    let mut json = body(request, sessions, decision);
    let digest = hex(&json);
    json.pop();
    json.extend_from_slice(br#","digest":""#);
    json.extend_from_slice(digest.as_bytes());
    json.extend_from_slice(br#""}"#);
    json
}

impl DecisionRecord {
    /// Reads a record and checks its digest. White space between the fields does not matter.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(json)?;
        let Self { request, sessions, decision, digest } = &record;
        if hex(&body(request, sessions, decision)) == *digest {
            Ok(record)
        } else {
            Err(RecordError::Altered)
        }
    }
}

/// Decides again. With the snapshot of the recorded revision any difference is a bug; with another
/// it is what the change of configuration would have changed.
pub fn replay(snapshot: &RoutingSnapshot, record: &DecisionRecord) -> Replay {
    let recorded = &record.decision;
    let usage: BTreeMap<Bucket, Usage> = recorded
        .readings
        .usage
        .iter()
        .map(|reading| (reading.bucket.clone(), reading.usage))
        .collect();
    let mut rotation = match &recorded.attribution {
        Some(attribution) => {
            Rotation::from_readings(&attribution.campaign, &recorded.readings.rotation)
        }
        None => Rotation::default(),
    };
    let decision = decide(snapshot, &record.request, &record.sessions, &usage, &mut rotation);
    let difference = first_difference(recorded, &decision);
    Replay { decision, difference }
}

fn first_difference(recorded: &Decision, recomputed: &Decision) -> Option<Difference> {
    one("attribution", &recorded.attribution, &recomputed.attribution)
        .or_else(|| each("steps", &recorded.steps, &recomputed.steps))
        .or_else(|| each("plan", &recorded.plan, &recomputed.plan))
        .or_else(|| one("rules", &recorded.rules, &recomputed.rules))
        .or_else(|| one("refused", &recorded.refused, &recomputed.refused))
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

fn body(request: &RouteRequest, sessions: &[SessionReading], decision: &Decision) -> Vec<u8> {
    // Typical records have one to four KiB.
    let mut json = Vec::with_capacity(4_096);
    serde_json::to_writer(&mut json, &Body { request, sessions, decision })
        .expect("values with string keys, written to memory, cannot fail to serialise");
    json
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
