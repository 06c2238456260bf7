//! What was decided, and every step that led there.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::{SmolStr, format_smolstr};

use crate::codec;
use crate::id::{BuyerId, CallId, HoldId, TargetId, TrunkId};
use crate::money::Money;
use crate::reason::{NoPayout, NoRoute, Reason};
use crate::time::Wall;

use super::attribution::Attribution;
use super::circuit::Condition;
use super::dial::{Failover, Unreached, Way};
use super::geo::{Ground, LineRecord};
use super::history::prior::PriorCalls;
use super::hold::{Bucket, BucketRequest};
use super::performance::Scope;
use super::performance::rate::Lately;
use super::request::Usage;
use super::selection::{
    AbsenceReading, Explored, PerformanceReading, RotationReading, ScoreReading,
};
use super::shortage::FullLimit;

/// Where a call goes, and why: what `explain` shows. With what went in it is stored as a [`DecisionRecord`](super::replay::DecisionRecord).
///
/// `plan` is empty exactly if `refused` says why.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    #[n(0)]
    pub call: CallId,
    #[n(1)]
    pub at: Wall,
    /// Revision of the configuration it was made with.
    #[n(2)]
    pub revision: u64,
    /// Absent: the dialled number belongs to no campaign.
    #[n(3)]
    pub attribution: Option<Attribution>,
    /// Targets in the order they are to be tried.
    #[n(4)]
    pub plan: Vec<PlannedAttempt>,
    #[n(5)]
    pub rules: HuntRules,
    #[n(6)]
    pub refused: Option<Reason>,
    #[n(7)]
    pub steps: Vec<Step>,
    #[n(8)]
    pub readings: Readings,
    /// What counts the call as one that came. It is used at once.
    #[cbor(n(9), default)]
    pub offered: Vec<BucketRequest>,
    /// Why none of the campaign's targets takes the call. With a plan: it goes to whom the campaign says
    /// for that.
    #[n(10)]
    pub no_route: Option<NoRoute>,
    /// What the caller is answered for that, if the campaign says it.
    #[n(11)]
    pub status: Option<u16>,
}

/// One target to try.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlannedAttempt {
    #[n(0)]
    pub target: TargetId,
    #[n(1)]
    pub buyer: BuyerId,
    #[n(2)]
    pub tier: i32,
    /// The SIP URI to send the INVITE to.
    #[n(3)]
    pub uri: String,
    #[n(4)]
    pub ring_timeout_ms: u32,
    /// The target is dead when it has sent nothing at all by then.
    #[n(5)]
    pub first_response_ms: u32,
    #[n(6)]
    pub max_duration_ms: u32,
    /// What is owed if the call converts; absent: nothing.
    #[n(7)]
    pub terms: Option<Terms>,
    /// To be reserved, all or none, when the attempt starts.
    #[n(8)]
    pub holds: Vec<BucketRequest>,
    /// Whether `ring_timeout_ms` also ends an attempt that has shown progress.
    #[cbor(n(9), default)]
    pub ring_timeout_covers_progress: bool,
    /// Rings at the same time as the one before it.
    #[cbor(n(10), default)]
    pub beside: bool,
    /// The target is passed over when it has not rung by then.
    #[n(11)]
    pub max_pdd_ms: u32,
    /// Which of its target's ways `uri` is, by its place in the configuration.
    #[cbor(n(12), default)]
    pub dial: u8,
    /// What that way has in common with those of other targets; absent: it is the only one.
    #[n(13)]
    pub way: Option<Way>,
    /// The target's other ways, in the order in which they are tried when one fails.
    #[cbor(n(14), default)]
    pub further: Vec<PlannedDial>,
    /// What final responses mean; absent: the usual.
    #[n(15)]
    pub failover: Option<Failover>,
}

/// Another way to a planned target.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlannedDial {
    #[n(0)]
    pub dial: u8,
    #[n(1)]
    pub uri: String,
    #[n(2)]
    pub way: Option<Way>,
    #[n(3)]
    pub failover: Option<Failover>,
}

impl PlannedAttempt {
    /// Whose carrier is called; absent: nobody's.
    pub fn trunk(&self) -> Option<&TrunkId> {
        self.way.as_ref().and_then(Way::trunk)
    }

    /// Whether a cap counts of it what only the end of the call tells.
    pub fn is_counted_at_end(&self) -> bool {
        self.holds.iter().any(|request| request.counts.is_known_at_end())
    }
}

/// What a call is worth. Seconds count from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Terms {
    /// The buyer owes `revenue` when the call is still up at this many seconds.
    #[n(0)]
    pub seconds: u32,
    #[n(1)]
    pub revenue: Money,
    /// The publisher is owed `payout` when the call is still up at this many seconds.
    #[n(2)]
    pub payout_seconds: u32,
    #[n(3)]
    pub payout: Money,
    /// Why `payout` is nothing; absent: it is what was agreed.
    #[n(4)]
    pub no_payout: Option<NoPayout>,
    /// The payout was promised to the publisher: it is paid, or the call is not taken.
    #[cbor(n(5), default)]
    pub promised: bool,
}

impl Terms {
    /// The publisher is owed nothing.
    #[must_use]
    pub fn unpaid(self, why: NoPayout) -> Self {
        Self { payout: Money::ZERO, no_payout: Some(why), ..self }
    }
}

/// How the plan is worked off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct HuntRules {
    /// Final responses that lead to the next target; ring time-out and a dead target always do.
    #[cbor(n(0), with = "codec::statuses")]
    pub advance_on: Arc<[u16]>,
    /// How long the caller hears ringing over all attempts.
    #[n(1)]
    pub total_ring_budget_ms: u32,
    /// Absent: whoever hangs up ends the call.
    #[n(2)]
    pub recovery: Option<Recovery>,
    /// What the caller is answered if targets were called and none answered; absent: what the last one
    /// did.
    #[n(3)]
    pub none_answered: Option<u16>,
    /// The same if each of them had no room when its turn came.
    #[n(4)]
    pub no_capacity: Option<u16>,
}

/// When a target that hangs up is followed by the next one (spec/domain §2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recovery {
    /// Since the answer.
    #[n(0)]
    pub within_ms: u32,
    /// Times in one call.
    #[n(1)]
    pub max: u8,
}

impl HuntRules {
    /// How soon after its answer a target has to hang up for the next one to be called; zero: never.
    /// Whoever owes something for the call by then has had it.
    pub fn recovers_within_ms(&self, planned: &PlannedAttempt) -> u32 {
        let due = planned.terms.map(|terms| terms.seconds.min(terms.payout_seconds));
        let due_ms = due.map_or(u32::MAX, |seconds| seconds.saturating_mul(1_000));
        self.recovery.map_or(0, |recovery| recovery.within_ms.min(due_ms))
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Step {
    /// Absent: the check was about the call.
    #[n(0)]
    pub target: Option<TargetId>,
    #[n(1)]
    pub check: Check,
    /// Which of several, such as the tag `geo.state` or the cap `connected/daily`.
    #[cbor(n(2), with = "codec::optional_text", has_nil)]
    pub subject: Option<SmolStr>,
    #[n(3)]
    pub verdict: Verdict,
    #[n(4)]
    pub reason: Option<Reason>,
    #[cbor(n(5), with = "codec::optional_text", has_nil)]
    pub have: Option<SmolStr>,
    #[cbor(n(6), with = "codec::optional_text", has_nil)]
    pub want: Option<SmolStr>,
    /// How what was found is known; absent: it was declared, or it is no matter of belief.
    #[n(7)]
    pub ground: Option<Ground>,
    /// The limit that had no room. Then there is no `have` and no `want`: [`Step::words`] makes them.
    #[n(8)]
    pub full: Option<Box<FullLimit>>,
}

/// The checks (spec/domain §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Check {
    #[n(0)]
    Number,
    #[n(1)]
    Session,
    #[n(2)]
    Campaign,
    #[n(3)]
    Publisher,
    #[n(4)]
    State,
    #[n(5)]
    Weight,
    #[n(6)]
    Schedule,
    #[n(7)]
    Filter,
    #[n(8)]
    Cap,
    #[n(9)]
    Concurrency,
    #[n(10)]
    Selection,
    /// What probes and earlier calls say of the target.
    #[n(11)]
    Health,
    /// Who calls, and how soon again.
    #[n(12)]
    Caller,
    /// Whether the call is a duplicate, and what follows.
    #[n(13)]
    Duplicate,
    /// Whether the target takes the caller again.
    #[n(14)]
    History,
    /// Whether the publisher is paid for the call.
    #[n(18)]
    Payout,
    /// Whether the configuration has the call's trunk, and the trunk may send one more.
    #[n(15)]
    Trunk,
    /// What the target pays.
    #[n(16)]
    Price,
    /// On which lists the caller is.
    #[n(17)]
    List,
    /// Whether the account takes one more.
    #[n(19)]
    Account,
    /// What earlier calls say of a way to the target.
    #[n(20)]
    Way,
}

impl Check {
    /// Each of them.
    pub const ALL: &[Self] = &[
        Self::Number,
        Self::Session,
        Self::Campaign,
        Self::Publisher,
        Self::State,
        Self::Weight,
        Self::Schedule,
        Self::Filter,
        Self::Cap,
        Self::Concurrency,
        Self::Selection,
        Self::Health,
        Self::Caller,
        Self::Duplicate,
        Self::History,
        Self::Payout,
        Self::Trunk,
        Self::Price,
        Self::List,
        Self::Account,
        Self::Way,
    ];
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Verdict {
    #[default]
    #[n(0)]
    Passed,
    /// The end for this target, or for the call if the step names none. Has a reason.
    #[n(1)]
    Refused,
    /// The target got a place in the plan.
    #[n(2)]
    Planned,
}

impl Verdict {
    /// Each of them.
    pub const ALL: &[Self] = &[Self::Passed, Self::Refused, Self::Planned];
}

/// What was read from outside the configuration, for making the decision again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Readings {
    /// Empty buckets are left out.
    #[n(0)]
    pub usage: Vec<UsageReading>,
    /// What targets were owed before.
    #[n(1)]
    pub rotation: Vec<RotationReading>,
    /// What was thought of targets of which it was not all well.
    #[cbor(n(2), default)]
    pub conditions: Vec<ConditionReading>,
    /// Targets that could take no call, where their shares are held.
    #[cbor(n(3), default)]
    pub absent: Vec<AbsenceReading>,
    /// What was said of how many calls can be taken.
    #[cbor(n(4), default)]
    pub ready: Vec<ReadyReading>,
    /// How targets had done.
    #[cbor(n(5), default)]
    pub performance: Vec<PerformanceReading>,
    /// What exploration had cost before; absent: the call was not for that.
    #[n(6)]
    pub explored: Option<Explored>,
    /// Lists on which the caller was found.
    #[cbor(n(7), default, with = "codec::texts")]
    pub listed: Vec<SmolStr>,
    /// What scorers that were asked had said.
    #[cbor(n(8), default)]
    pub scores: Vec<ScoreReading>,
    /// Buckets of which nobody could say whether others had taken what was left.
    #[cbor(n(9), default)]
    pub withheld: Vec<Bucket>,
    /// What was on record of the caller's line; absent: nothing.
    #[n(10)]
    pub line: Option<LineRecord>,
    /// What was known of the caller's earlier calls; absent: nothing was kept of them, or the call was
    /// stopped before anybody asked.
    #[n(11)]
    pub prior: Option<PriorCalls>,
    /// What was thought of ways to targets of which it was not all well.
    #[cbor(n(12), default)]
    pub ways: Vec<WayReading>,
    /// Ways on which nobody would have been found.
    #[cbor(n(13), default)]
    pub unreached: Vec<UnreachedReading>,
    /// How calls of caps went that are paced by them, by scope and each once.
    #[cbor(n(14), default)]
    pub rates: Vec<RateReading>,
}

/// How calls of a scope went of late.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RateReading {
    #[n(0)]
    pub scope: Scope,
    #[n(1)]
    pub lately: Lately,
}

/// A way to a target, by its place in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UnreachedReading {
    #[n(0)]
    pub target: TargetId,
    #[n(1)]
    pub place: u8,
    #[n(2)]
    pub unreached: Unreached,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WayReading {
    #[n(0)]
    pub way: Way,
    #[n(1)]
    pub condition: Condition,
}

/// How many calls at once can be taken, as whoever takes them says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadyReading {
    /// Of which concurrency, such as `target/tgt_summit/concurrency`.
    #[cbor(n(0), with = "codec::text")]
    pub key: SmolStr,
    #[n(1)]
    pub ready: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConditionReading {
    #[n(0)]
    pub target: TargetId,
    #[n(1)]
    pub condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UsageReading {
    #[n(0)]
    pub bucket: Bucket,
    #[n(1)]
    pub usage: Usage,
    /// How much of what is held is held for calls that a crash left up, where that was asked: in a bucket
    /// without room.
    #[n(2)]
    pub awaited: Option<u64>,
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
    /// The same more closely; see [`Step::code`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<SmolStr>,
    /// What had no room for it, when the call was decided or when its turn came.
    #[serde(skip)]
    pub full: Option<Box<FullLimit>>,
}

/// What a check found, for its step. Checks that pass say little: what was read is among the
/// readings, and a record is written for every call.
#[derive(Clone, Debug, Default)]
pub(super) struct Finding {
    pub(super) subject: Option<SmolStr>,
    pub(super) have: Option<SmolStr>,
    pub(super) want: Option<SmolStr>,
    pub(super) ground: Option<Ground>,
    pub(super) full: Option<Box<FullLimit>>,
}

impl Finding {
    /// That a limit, `label` if it has one, had no room.
    pub(super) fn full(label: Option<&SmolStr>, full: FullLimit) -> Self {
        Self { subject: label.cloned(), full: Some(Box::new(full)), ..Self::default() }
    }

    pub(super) fn have(have: SmolStr) -> Self {
        Self { have: Some(have), ..Self::default() }
    }
}

impl Readings {
    /// A cap may be asked for each of its targets.
    pub(super) fn each_rate_once(&mut self) {
        self.rates.sort_unstable_by(|a, b| a.scope.cmp(&b.scope));
        self.rates.dedup_by(|a, b| a.scope == b.scope);
    }
}

impl Decision {
    /// Writes down that the call passed a check.
    pub(super) fn pass_call(&mut self, check: Check, finding: Finding) {
        self.steps.push(Step::new(None, check, Verdict::Passed, None, finding));
    }

    /// Writes down that the call goes nowhere. Returns the reason.
    pub(super) fn refuse_call(&mut self, check: Check, reason: Reason, finding: Finding) -> Reason {
        self.steps.push(Step::new(None, check, Verdict::Refused, Some(reason), finding));
        self.refused = Some(reason);
        self.no_route = reason.no_route();
        reason
    }
}

impl Step {
    pub(super) fn new(
        target: Option<TargetId>,
        check: Check,
        verdict: Verdict,
        reason: Option<Reason>,
        finding: Finding,
    ) -> Self {
        let Finding { subject, have, want, ground, full } = finding;
        Self { target, check, subject, verdict, reason, have, want, ground, full }
    }

    /// The reason with what it is about, where there are several of its kind: `cap.connected.daily`
    /// of `cap.full`, `filter.geo.state` of `filter.mismatch`; else its code. Absent: it has none.
    pub fn code(&self) -> Option<SmolStr> {
        let reason = self.reason?;
        Some(match &self.subject {
            Some(tag) if matches!(reason, Reason::FilterMismatch | Reason::FilterBasis) => {
                format_smolstr!("filter.{tag}")
            }
            Some(_) | None => code(reason, self.full.as_deref()),
        })
    }

    /// What was found, and what was asked for, for people.
    pub fn words(&self) -> (Option<SmolStr>, Option<SmolStr>) {
        match &self.full {
            None => (self.have.clone(), self.want.clone()),
            Some(full) => {
                let (have, want) = full.words();
                (Some(have), Some(want))
            }
        }
    }
}

/// A reason's code, more closely of a cap that is known.
pub(super) fn code(reason: Reason, full: Option<&FullLimit>) -> SmolStr {
    let of_cap = full.filter(|_| reason == Reason::CapFull).and_then(FullLimit::code);
    of_cap.unwrap_or_else(|| SmolStr::new_static(reason.code()))
}

impl PlannedAttempt {
    /// The hold of this attempt when it is leg `leg` of `call`. On other terms than those of the plan
    /// it is another: the first one may have been placed all the same, where its answer was lost.
    pub fn hold_id(&self, call: CallId, leg: u16, terms: Option<Terms>) -> HoldId {
        let kind = if terms == self.terms { "target" } else { "unpaid" };
        HoldId::of(call, leg, &format!("{kind}/{}", self.target))
    }
}
