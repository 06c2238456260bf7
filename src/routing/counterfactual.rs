//! What would have had to be otherwise for a target to get a call that it did not get.
//!
//! Nothing is guessed: a change is told only if the decision, made again with it, plans the target.

use std::collections::BTreeMap;
use std::fmt;

use smol_str::SmolStr;

use crate::id::TargetId;
use crate::reason::Reason;
use crate::time::Wall;

use super::decider::{Known, decide, terms};
use super::decision::{Check, Decision, Step, Verdict};
use super::history::PastCall;
use super::hold::{Bucket, Counts, Stake};
use super::replay::DecisionRecord;
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::selection::Rotation;
use super::snapshot::{CallScope, Cap, RoutingSnapshot};

/// Changes that are tried for one target, one upon the other.
const CHANGES_MAX: usize = 4;
const MINUTE_MS: i64 = 60_000;
/// How far another time of the call may lie, in minutes.
const SHIFT_MAX: i64 = 8 * 24 * 60;

/// A target that would have been in the plan with these changes, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterfactual {
    pub target: TargetId,
    pub changes: Vec<Change>,
}

/// One thing that would have been otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The limit of a cap, or of concurrency, was higher.
    Raised { cap: SmolStr, counts: Counts, by: u64 },
    /// The call came at another time, so many milliseconds later.
    Shifted { by_ms: i64 },
    /// A tag had this value.
    Tagged { tag: SmolStr, value: SmolStr },
    /// The caller had never called before.
    Unknown,
}

/// For people: `cap target/t/connected/daily +1`, `7 minutes earlier`, `geo.state OH`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raised { cap, counts, by } => write!(f, "cap {cap} +{}", counts.show(*by)),
            Self::Shifted { by_ms } => {
                let minutes = by_ms.abs() / MINUTE_MS;
                let direction = if *by_ms < 0 { "earlier" } else { "later" };
                match (minutes / 60, minutes % 60) {
                    (0, 1) => write!(f, "1 minute {direction}"),
                    (0, minutes) => write!(f, "{minutes} minutes {direction}"),
                    (hours, minutes) => write!(f, "{hours} h {minutes} min {direction}"),
                }
            }
            Self::Tagged { tag, value } => write!(f, "{tag} {value}"),
            Self::Unknown => f.write_str("the caller's first call"),
        }
    }
}

/// For each target that was refused, the changes with which it would have been called, if such can
/// be found. `snapshot` is that of the recorded revision.
pub fn counterfactuals(snapshot: &RoutingSnapshot, record: &DecisionRecord) -> Vec<Counterfactual> {
    let decision = &record.decision;
    let Some(attribution) = &decision.attribution else { return vec![] };
    let Some(campaign) = snapshot.campaign(&attribution.campaign) else { return vec![] };
    let targets = campaign.tiers.iter().flat_map(|tier| &tier.members);
    let targets = targets.map(|member| &snapshot.targets[member.target].id);
    targets
        .filter(|target| !decision.plan.iter().any(|planned| planned.target == **target))
        .filter_map(|target| {
            let changes = World::of(snapshot, record).changes_for(target)?;
            Some(Counterfactual { target: target.clone(), changes })
        })
        .collect()
}

/// Everything a decision is made from, to be changed.
struct World<'a> {
    snapshot: &'a RoutingSnapshot,
    request: RouteRequest,
    sessions: &'a [SessionReading],
    calls: &'a [PastCall],
    rotation: Rotation,
    usage: BTreeMap<Bucket, Usage>,
    /// By how much limits are higher.
    raised: BTreeMap<SmolStr, u64>,
}

impl UsageReader for World<'_> {
    /// A higher limit leaves as much room as a lower use.
    fn usage(&self, bucket: &Bucket) -> Usage {
        let Usage { used, held } = self.usage.get(bucket).copied().unwrap_or_default();
        let raised = self.raised.get(&bucket.cap).copied().unwrap_or(0);
        let left = raised.saturating_sub(used);
        Usage { used: used.saturating_sub(raised), held: held.saturating_sub(left) }
    }
}

impl<'a> World<'a> {
    fn of(snapshot: &'a RoutingSnapshot, record: &'a DecisionRecord) -> Self {
        let readings = &record.decision.readings;
        let usage = readings.usage.iter().map(|it| (it.bucket.clone(), it.usage)).collect();
        let rotation =
            record.decision.attribution.as_ref().map(|attribution| {
                Rotation::from_readings(&attribution.campaign, &readings.rotation)
            });
        Self {
            snapshot,
            request: record.request.clone(),
            sessions: &record.sessions,
            calls: &record.calls,
            rotation: rotation.unwrap_or_default(),
            usage,
            raised: BTreeMap::new(),
        }
    }

    fn decide(&self) -> Decision {
        let known = Known { sessions: self.sessions, calls: self.calls };
        decide(self.snapshot, &self.request, known, self, &mut self.rotation.clone())
    }

    fn changes_for(mut self, target: &TargetId) -> Option<Vec<Change>> {
        let mut changes = vec![];
        loop {
            let decision = self.decide();
            if decision.plan.iter().any(|planned| planned.target == *target) {
                return Some(changes);
            }
            // The check that stopped the target, else the one that stopped the call.
            let of_target = |step: &&Step| step.target.as_ref() == Some(target);
            let refused = |step: &&Step| step.verdict == Verdict::Refused;
            let mut steps = decision.steps.iter().rev().filter(refused);
            let of_call = decision.steps.last().filter(|step| step.target.is_none());
            let step = steps.find(of_target).or(of_call)?;
            let change = self.propose(&decision, step)?;
            if changes.len() == CHANGES_MAX || changes.contains(&change) {
                return None;
            }
            self.apply(&change);
            changes.push(change);
        }
    }

    /// What lets a call pass the check at which it failed.
    fn propose(&self, decision: &Decision, step: &Step) -> Option<Change> {
        match step.check {
            Check::Cap | Check::Concurrency => self.more_room(decision, step.target.as_ref()?),
            Check::Publisher => self.more_for_publisher(decision, step),
            Check::Schedule => self.another_time(step.target.as_ref()?),
            Check::Filter => self.another_tag(decision, step.target.as_ref()?),
            Check::History | Check::Duplicate => Some(Change::Unknown),
            Check::Caller if step.reason == Some(Reason::RepeatTooSoon) => Some(Change::Unknown),
            Check::Caller if step.reason == Some(Reason::AttestationBelow) => {
                let (tag, value) = ("caller.verstat", "TN-Validation-Passed-A");
                Some(Change::Tagged { tag: tag.into(), value: value.into() })
            }
            // What an operator has switched off, what is not there, and what is too many.
            Check::Caller
            | Check::Number
            | Check::Session
            | Check::Campaign
            | Check::State
            | Check::Weight
            | Check::Selection
            | Check::Health => None,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Raised { cap, by, .. } => {
                *self.raised.entry(cap.clone()).or_default() += by;
            }
            Change::Shifted { by_ms } => {
                self.request.at = Wall(self.request.at.0.saturating_add(*by_ms));
            }
            Change::Tagged { tag, value } => {
                self.request.tags.insert(tag.clone(), value.clone());
            }
            Change::Unknown => self.calls = &[],
        }
    }

    fn more_room(&self, decision: &Decision, target: &TargetId) -> Option<Change> {
        let (target, scope) = (self.snapshot.target(target)?, self.scope(decision)?);
        let payout = self.snapshot.publisher(&scope.publisher)?.payouts.get(&scope.campaign);
        let stake = Stake::new(terms(target, payout, false), target.max_duration_ms);
        let mut windows = self.snapshot.windows(self.request.at);
        let holds = target.holds(self.snapshot.call_caps(&scope), &stake, &mut windows);
        holds.into_iter().find_map(|hold| {
            let usage = self.usage(&hold.bucket);
            let by = (usage.used + usage.held + hold.amount).checked_sub(hold.limit)?;
            (by > 0).then_some(Change::Raised { cap: hold.bucket.cap, counts: hold.counts, by })
        })
    }

    fn more_for_publisher(&self, decision: &Decision, step: &Step) -> Option<Change> {
        let publisher = self.snapshot.publisher(&self.scope(decision)?.publisher)?;
        let is_named = |cap: &&Cap| Some(&cap.label) == step.subject.as_ref();
        let cap = publisher.caps.iter().find(is_named)?;
        let usage = self.usage(&self.snapshot.windows(self.request.at).bucket(cap));
        let by = (usage.used + usage.held + 1).checked_sub(cap.limit)?;
        Some(Change::Raised { cap: cap.key.clone(), counts: cap.counts, by })
    }

    /// The nearest at which the target is open.
    fn another_time(&self, target: &TargetId) -> Option<Change> {
        let schedule = self.snapshot.target(target)?.schedule.as_ref()?;
        let is_open = |by_ms: i64| schedule.check(Wall(self.request.at.0 + by_ms)).is_ok();
        let shifts = (1..=SHIFT_MAX).flat_map(|minutes| [-minutes, minutes]);
        let by_ms = shifts.map(|minutes| minutes * MINUTE_MS).find(|by_ms| is_open(*by_ms))?;
        Some(Change::Shifted { by_ms })
    }

    /// One of the values that the first filter which fails asks for.
    fn another_tag(&self, decision: &Decision, target: &TargetId) -> Option<Change> {
        let filters = &self.snapshot.target(target)?.filters;
        let is_at_fault = |step: &&Step| {
            step.check == Check::Filter
                && step.verdict == Verdict::Refused
                && step.target.as_ref() == Some(target)
        };
        let fault = decision.steps.iter().find(is_at_fault)?;
        let passed = decision.steps.iter().filter(|step| {
            step.check == Check::Filter
                && step.verdict == Verdict::Passed
                && step.target.as_ref() == Some(target)
        });
        let group = filters.groups.get(passed.count())?;
        let named = group.rules.iter().filter(|rule| Some(&rule.tag) == fault.subject.as_ref());
        named
            .chain(&group.rules)
            .find_map(|rule| Some(Change::Tagged { tag: rule.tag.clone(), value: rule.example()? }))
    }

    fn scope(&self, decision: &Decision) -> Option<CallScope> {
        let attribution = decision.attribution.as_ref()?;
        Some(CallScope {
            campaign: attribution.campaign.clone(),
            publisher: attribution.publisher.clone(),
            trunk: self.request.trunk.clone(),
        })
    }
}
