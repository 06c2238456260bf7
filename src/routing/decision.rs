//! What was decided, and every step that led there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{BuyerId, CallId, HoldId, TargetId};
use crate::money::Money;
use crate::reason::Reason;
use crate::time::Wall;

use super::attribution::Attribution;
use super::hold::{Bucket, BucketRequest};
use super::request::Usage;
use super::selection::RotationReading;

/// Where a call goes, and why. The JSON of this is what `explain` shows; with what went in it is
/// stored as a [`DecisionRecord`](super::replay::DecisionRecord).
///
/// `plan` is empty exactly if `refused` says why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub call: CallId,
    pub at: Wall,
    /// Revision of the configuration it was made with.
    pub revision: u64,
    /// Absent: the dialled number belongs to no campaign.
    pub attribution: Option<Attribution>,
    /// Targets in the order they are to be tried.
    pub plan: Vec<PlannedAttempt>,
    pub rules: HuntRules,
    pub refused: Option<Reason>,
    pub steps: Vec<Step>,
    pub readings: Readings,
}

/// One target to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAttempt {
    pub target: TargetId,
    pub buyer: BuyerId,
    pub tier: i32,
    /// The SIP URI to send the INVITE to.
    pub uri: String,
    pub ring_timeout_ms: u32,
    /// The target is dead when it has sent nothing at all by then.
    pub first_response_ms: u32,
    pub max_duration_ms: u32,
    /// What is owed if the call converts; absent: nothing.
    pub terms: Option<Terms>,
    /// To be reserved, all or none, when the attempt starts.
    pub holds: Vec<BucketRequest>,
}

/// What a call is worth. Seconds count from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The buyer owes `revenue` when the call is still up at this many seconds.
    pub seconds: u32,
    pub revenue: Money,
    /// The publisher is owed `payout` when the call is still up at this many seconds.
    pub payout_seconds: u32,
    pub payout: Money,
}

/// How the plan is worked off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HuntRules {
    /// Final responses that lead to the next target; ring time-out and a dead target always do.
    pub advance_on: Arc<[u16]>,
    /// How long the caller hears ringing over all attempts.
    pub total_ring_budget_ms: u32,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Absent: the check was about the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetId>,
    pub check: Check,
    /// Which of several, such as the tag `geo.state` or the cap `connected/daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Verdict::is_passed")]
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub want: Option<SmolStr>,
}

/// The checks, in their order (spec/domain §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Number,
    Session,
    Campaign,
    Publisher,
    State,
    Weight,
    Schedule,
    Filter,
    Cap,
    Concurrency,
    Selection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Left out in JSON.
    #[default]
    Passed,
    /// The end for this target, or for the call if the step names none. Has a reason.
    Refused,
    /// The target got a place in the plan.
    Planned,
}

/// What was read from outside the configuration, for making the decision again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readings {
    /// Empty buckets are left out.
    pub usage: Vec<UsageReading>,
    /// The rotation counters as they were before.
    pub rotation: Vec<RotationReading>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReading {
    #[serde(flatten)]
    pub bucket: Bucket,
    #[serde(flatten)]
    pub usage: Usage,
}

/// What became of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub target: TargetId,
    /// Place in the plan, from 1; absent: it got none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u16>,
    pub dialed: bool,
    /// Why it was not dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Verdict {
    fn is_passed(&self) -> bool {
        *self == Self::Passed
    }
}

impl PlannedAttempt {
    /// The hold of this attempt when it is leg `leg` of `call`.
    pub fn hold_id(&self, call: CallId, leg: u16) -> HoldId {
        HoldId::of(call, leg, &format!("target/{}", self.target))
    }
}
