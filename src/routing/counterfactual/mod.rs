//! What would have had to be otherwise for a target to get a call that it did not get.
//!
//! Nothing is guessed: changes are told only if the decision, made again with all of them, plans the target.
//! Limits that the decision did not look at, such as those of a target that failed an earlier check, are
//! taken for unused, and named with the changes; a call that is only thought of has them read
//! ([`besides`]). Of a target that was planned and found no room when its turn came, the change is to the
//! limit it met; its others had room when the call was decided.

mod besides;
mod change;

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::id::TargetId;
use crate::money::Money;
use crate::reason::Reason;
use crate::time::Wall;

use super::circuit::Condition;
use super::course::Course;
use super::decider::{Known, decide, terms};
use super::decision::{Check, Decision, PlannedAttempt, Readings, Step, Verdict};
use super::dial::{Unreached, Way};
use super::duplicate::Dues;
use super::geo::LineRecord;
use super::history::PastCall;
use super::history::prior::PriorCalls;
use super::hold::{Bucket, BucketRequest, Counts, LIVE, Leeway, Pace, Stake, WHOLE_PPM};
use super::paying;
use super::performance::rate::Lately;
use super::performance::{Concerned, Scope, Tallies};
use super::price::Prices;
use super::quote::Owed;
use super::replay::{DecisionRecord, Recorded};
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::selection::Rotation;
use super::shortage::{Bound, FullLimit};
use super::snapshot::{CallScope, RoutingSnapshot, Target};

pub use besides::besides;
pub use change::{Change, Counterfactual};

/// Targets that are looked at: for each the decision is made again several times.
const TARGETS_MAX: usize = 100;
/// Fewer where there are so many more candidates: each is looked at again in each of those decisions.
const CANDIDATES_MAX: usize = 100_000;
/// Things that are changed for one target, one upon the other.
const CHANGES_MAX: usize = 8;
/// How often one is changed, or changed again.
const TRIES_MAX: usize = 16;
const MINUTE_MS: i64 = 60_000;
/// How far another time of the call may lie, in minutes.
const SHIFT_MAX: i64 = 8 * 24 * 60;

/// For each target that was refused, of many the first hundred (fewer of more than a thousand), and for each
/// that was planned and found no room, the changes with which it would have been called, if such can be
/// found. `snapshot` is that of the recorded revision.
pub fn counterfactuals(
    snapshot: &RoutingSnapshot,
    record: &DecisionRecord,
    course: &Course,
) -> Vec<Counterfactual> {
    let decision = &record.decision;
    let short = course.short().filter_map(|(target, shortage)| {
        let full = shortage.full(decision, target)?;
        let changes = match full.request.counts.is_concurrency() {
            true => more_places(snapshot, full, shortage.at)?,
            false => vec![raise(full)?],
        };
        Some(Counterfactual { target: target.clone(), changes, unread: vec![] })
    });
    let mut all: Vec<_> = short.collect();
    all.extend(of_refused(snapshot, record));
    all
}

fn of_refused(snapshot: &RoutingSnapshot, record: &DecisionRecord) -> Vec<Counterfactual> {
    let decision = &record.decision;
    let mut readings = decision.readings.clone();
    readings.add(&record.besides);
    let looked_at = readings.usage.iter().map(|reading| &reading.bucket);
    let planned = decision.plan.iter().flat_map(|planned| &planned.holds);
    let looked_at: BTreeSet<_> = looked_at.chain(planned.map(|hold| &hold.bucket)).collect();
    let scene = Scene { snapshot, record, readings: &readings, looked_at };
    refused(snapshot, decision).filter_map(|target| scene.otherwise(target)).collect()
}

/// Targets of the campaign that were not planned, of many the first.
fn refused<'a>(
    snapshot: &'a RoutingSnapshot,
    decision: &'a Decision,
) -> impl Iterator<Item = &'a Target> {
    let attribution = decision.attribution.as_ref();
    let campaign = attribution.and_then(|it| snapshot.campaign(&it.campaign));
    let members = move || {
        campaign.into_iter().flat_map(|it| it.tiers.iter()).flat_map(|it| it.members.iter())
    };
    let most = (CANDIDATES_MAX / members().count().max(1)).clamp(1, TARGETS_MAX);
    let targets = members().map(|member| &snapshot.targets[member.target]);
    targets
        .filter(|target| !decision.plan.iter().any(|planned| planned.target == target.id))
        .take(most)
}

/// A decision as it was made.
struct Scene<'a> {
    snapshot: &'a RoutingSnapshot,
    record: &'a DecisionRecord,
    /// Of the decision, and what was read besides.
    readings: &'a Readings,
    /// Limits of which it is known how full they were.
    looked_at: BTreeSet<&'a Bucket>,
}

impl Scene<'_> {
    fn otherwise(&self, target: &Target) -> Option<Counterfactual> {
        let mut changes: Vec<Change> = vec![];
        for _ in 0..=TRIES_MAX {
            let world = World::of(self, target, &changes);
            let decision = world.decide();
            if let Some(planned) = decision.plan.iter().find(|it| it.target == target.id) {
                // That it is there is nothing that could be changed.
                let is_changed = !changes.is_empty();
                return is_changed.then(|| Counterfactual {
                    target: target.id.clone(),
                    unread: self.unread(target, planned),
                    changes,
                });
            }
            // The check that stopped the target, else the one that stopped the call.
            let of_target = |step: &&Step| step.target.as_ref() == Some(&target.id);
            let refused = |step: &&Step| step.verdict == Verdict::Refused;
            let mut steps = decision.steps.iter().rev().filter(refused);
            let of_call = decision.steps.last().filter(|step| step.target.is_none());
            let step = steps.find(of_target).or(of_call)?;
            let next = world.propose(&decision, step)?;
            let both = |(place, it): (usize, &Change)| Some((place, it.followed_by(&next)?));
            match changes.iter().enumerate().find_map(both) {
                Some((place, both)) if both != changes[place] => changes[place] = both,
                None if changes.len() < CHANGES_MAX => changes.push(next),
                Some(_) | None => return None,
            }
            changes.retain(|change| *change != Change::Shifted { by_ms: 0 });
        }
        None
    }

    /// Limits of the target that nobody looked at when the call was decided, and in which it now has a place.
    fn unread(&self, target: &Target, planned: &PlannedAttempt) -> Vec<SmolStr> {
        let recorded = &self.record.decision;
        let is_look = |step: &&Step| {
            let is_limit = matches!(step.check, Check::Cap | Check::Concurrency);
            is_limit && step.target.as_ref() == Some(&target.id)
        };
        let looked = recorded.steps.iter().filter(is_look).count();
        let of_call = World::of(self, target, &[]);
        let looked_at = of_call.needs(recorded, target).into_iter().take(looked);
        let looked_at: BTreeSet<_> = looked_at.collect();
        let is_unread = |it: &Bucket| !looked_at.contains(it) && !self.looked_at.contains(it);
        let buckets = planned.holds.iter().map(|hold| &hold.bucket);
        buckets.filter(|it| is_unread(it)).map(|it| it.cap.clone()).collect()
    }
}

/// Everything a decision is made from, to be changed.
struct World<'a> {
    snapshot: &'a RoutingSnapshot,
    request: RouteRequest,
    sessions: &'a [SessionReading],
    calls: &'a [PastCall],
    rotation: Rotation,
    recorded: Recorded<'a>,
    /// By how much limits are higher.
    raised: BTreeMap<SmolStr, u64>,
    /// How high limits are at least.
    at_least: BTreeMap<SmolStr, u64>,
    /// How many more are ready to take a call.
    more_ready: BTreeMap<SmolStr, u32>,
    /// Whether the caller is on a list, whatever is.
    listed: BTreeMap<SmolStr, bool>,
    floor_lower: Money,
    /// Caps of which it is known what other servers have taken.
    known: BTreeSet<SmolStr>,
    /// What the target that is asked about pays on top.
    more: Option<(TargetId, Money)>,
}

impl UsageReader for World<'_> {
    /// A higher limit leaves as much room as a lower use, but where it is not the limit alone that counts.
    fn usage(&self, bucket: &Bucket) -> Usage {
        let Usage { used, held } = self.recorded.usage(bucket);
        if bucket.window == LIVE {
            return Usage { used, held };
        }
        let raised = self.raised.get(&bucket.cap).copied().unwrap_or(0);
        let left = raised.saturating_sub(used);
        Usage { used: used.saturating_sub(raised), held: held.saturating_sub(left) }
    }

    fn condition(&self, target: &TargetId) -> Condition {
        self.recorded.condition(target)
    }

    fn way(&self, way: &Way) -> Condition {
        self.recorded.way(way)
    }

    fn unreached(&self, target: &TargetId, place: u8, uri: &str) -> Option<Unreached> {
        self.recorded.unreached(target, place, uri)
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        let more = self.more_ready.get(concurrency).copied().unwrap_or(0);
        self.recorded.ready(concurrency).map(|ready| ready.saturating_add(more))
    }

    fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        self.recorded.tallies(concerned, since)
    }

    fn lately(&self, scope: &Scope, at: Wall) -> Lately {
        self.recorded.lately(scope, at)
    }

    fn lists(&self, list: &str, found: Option<bool>) -> bool {
        let changed = self.listed.get(list).copied();
        changed.unwrap_or_else(|| self.recorded.lists(list, found))
    }

    fn prior(&self) -> Option<PriorCalls> {
        self.recorded.prior()
    }

    fn line(&self, found: Option<Option<LineRecord>>) -> Option<LineRecord> {
        self.recorded.line(found)
    }

    fn withheld(&self, bucket: &Bucket) -> bool {
        self.recorded.withheld(bucket) && !self.known.contains(&bucket.cap)
    }

    fn at_least(&self, cap: &str) -> Option<u64> {
        self.at_least.get(cap).copied()
    }

    fn raised(&self, concurrency: &str) -> u64 {
        self.raised.get(concurrency).copied().unwrap_or(0)
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        self.recorded.score(scorer, target)
    }

    fn floor_lower(&self) -> Money {
        self.floor_lower
    }

    fn pays_more(&self, target: &TargetId) -> Money {
        let more = self.more.as_ref().filter(|(of, _)| of == target);
        more.map_or(Money::ZERO, |(_, by)| *by)
    }
}

impl<'a> World<'a> {
    /// With these changes, for the target.
    fn of(scene: &'a Scene<'_>, target: &Target, changes: &[Change]) -> Self {
        let Scene { snapshot, record, readings, .. } = scene;
        let attribution = record.decision.attribution.as_ref();
        let rotation = attribution.map(|it| Rotation::from_readings(&it.campaign, readings));
        let mut world = Self {
            snapshot,
            request: record.request.clone(),
            sessions: &record.sessions,
            calls: &record.calls,
            rotation: rotation.unwrap_or_default(),
            recorded: Recorded::of(readings),
            raised: BTreeMap::new(),
            at_least: BTreeMap::new(),
            more_ready: BTreeMap::new(),
            listed: BTreeMap::new(),
            floor_lower: Money::ZERO,
            known: BTreeSet::new(),
            more: None,
        };
        changes.iter().for_each(|change| world.apply(&target.id, change));
        world
    }

    fn decide(&self) -> Decision {
        let known = Known { sessions: self.sessions, calls: self.calls };
        decide(self.snapshot, &self.request, known, self, &mut self.rotation.clone())
    }

    /// What an attempt at the target asks room of, in the order in which it is looked at.
    fn needs(&self, decision: &Decision, target: &Target) -> Vec<Bucket> {
        let stake = self.stake(decision, &target.id);
        let Some((stake, scope)) = stake.zip(self.scope(decision)) else { return vec![] };
        let limits = self.snapshot.call_limits(&scope);
        let (mut needs, mut unnoted) = (vec![], Readings::default());
        let mut windows = self.snapshot.windows(self.request.at);
        target.needs(&limits, &stake, &mut windows, self, &mut unnoted, &mut needs);
        needs.into_iter().map(|need| need.request.bucket).collect()
    }

    /// What lets a call pass the check at which it failed.
    fn propose(&self, decision: &Decision, step: &Step) -> Option<Change> {
        if step.reason == Some(Reason::CapFullHere) {
            let cap = decision.readings.withheld.last()?.cap.clone();
            return Some(Change::RoomKnown { cap });
        }
        match step.check {
            // Of those, what is no limit was switched off, or is not there.
            Check::Cap
            | Check::Concurrency
            | Check::Publisher
            | Check::Account
            | Check::Trunk
            | Check::Number
            | Check::Campaign
            | Check::Payout => {
                let full = step.full.as_deref()?;
                // How full it is here says nothing of how full it is.
                let is_known = !self.known.contains(&full.request.bucket.cap);
                let change = || {
                    let paced = self.once_paced(&full.request);
                    paced.or_else(|| raise(full.clone())).or_else(|| self.with_more(&full.request))
                };
                is_known.then(change).flatten()
            }
            Check::Schedule => self.another_time(step.target.as_ref()?),
            Check::Filter => self.another_tag(decision, step.target.as_ref()?),
            Check::History | Check::Duplicate => Some(Change::Unknown),
            // Of several that would do, the first.
            Check::List => Some(Change::Listed {
                list: step.subject.as_ref()?.split(" or ").next()?.into(),
                on: step.have.as_deref() != Some("listed"),
            }),
            Check::Price => self.a_better_price(decision, step),
            Check::Caller if step.reason == Some(Reason::RepeatTooSoon) => Some(Change::Unknown),
            Check::Caller if step.reason == Some(Reason::AttestationBelow) => {
                let (tag, value) = ("caller.verstat", "TN-Validation-Passed-A");
                Some(Change::Tagged { tag: tag.into(), value: value.into() })
            }
            // What an operator has switched off, what is not there, and what is too many.
            Check::Caller
            | Check::Session
            | Check::State
            | Check::Weight
            | Check::Selection
            | Check::Health
            | Check::Way => None,
        }
    }

    fn apply(&mut self, target: &TargetId, change: &Change) {
        match change {
            Change::Raised { cap, by, .. } => {
                self.raised.insert(cap.clone(), *by);
            }
            Change::AtLeast { cap, limit, .. } => {
                self.at_least.insert(cap.clone(), *limit);
            }
            Change::Ready { concurrency, by } => {
                self.more_ready.insert(concurrency.clone(), *by);
            }
            Change::Shifted { by_ms } => {
                self.request.at = Wall(self.request.at.0.saturating_add(*by_ms));
            }
            Change::Tagged { tag, value } => {
                self.request.tags.insert(tag.clone(), value.clone());
            }
            Change::Unknown => self.calls = &[],
            Change::Listed { list, on } => {
                self.listed.insert(list.clone(), *on);
            }
            Change::FloorLowered { by } => self.floor_lower = *by,
            Change::PaidMore { by } => self.more = Some((target.clone(), *by)),
            Change::RoomKnown { cap } => {
                self.known.insert(cap.clone());
            }
        }
    }

    /// The nearest at which as much of a paced cap may be used as lets the call in, in the same window.
    fn once_paced(&self, request: &BucketRequest) -> Option<Change> {
        let is_ahead = |pace: &Pace| pace.by_now < request.limit;
        let Some(Leeway::Paced(_)) = request.leeway.filter(|leeway| match leeway {
            Leeway::Paced(pace) => is_ahead(pace),
            Leeway::Soft => false,
        }) else {
            return None;
        };
        let cap = self.snapshot.caps().find(|cap| cap.key == request.bucket.cap)?;
        let admits = |minutes: i64| {
            let mut windows = self.snapshot.windows(Wall(self.request.at.0 + minutes * MINUTE_MS));
            let (amount, mut unnoted) = (request.amount, Readings::default());
            let need = cap.need(amount, &mut windows, self, &mut unnoted);
            need.is_some_and(|it| {
                let usage = self.usage(&it.request.bucket);
                it.request.bucket == request.bucket && it.request.admits(usage, amount)
            })
        };
        let last = (request.ends_at?.0 - 1 - self.request.at.0) / MINUTE_MS;
        let (mut too_soon, mut soon) = (0, last.min(SHIFT_MAX));
        if !admits(soon) {
            return None;
        }
        while too_soon + 1 < soon {
            let between = too_soon.midpoint(soon);
            *(if admits(between) { &mut soon } else { &mut too_soon }) = between;
        }
        Some(Change::Shifted { by_ms: soon * MINUTE_MS })
    }

    /// How high the limit of a paced cap would have to be, where no part of the window that has passed is
    /// enough for this one.
    fn with_more(&self, request: &BucketRequest) -> Option<Change> {
        // How many calls may be let in beyond the limit goes by the limit, where not all of them count.
        let BucketRequest { bucket, counts, amount, leeway, .. } = request;
        let is_certain = matches!(leeway, Some(Leeway::Paced(pace)) if pace.is_certain());
        if !is_certain {
            return None;
        }
        let cap = self.snapshot.caps().find(|cap| cap.key == bucket.cap)?;
        let Usage { used, held } = self.usage(bucket);
        let wanted = used.saturating_add(held).saturating_add(*amount);
        let limit = cap.limit_for(wanted, &mut self.snapshot.windows(self.request.at))?;
        Some(Change::AtLeast { cap: bucket.cap.clone(), counts: *counts, limit, hour: false })
    }

    /// A lower floor, if that is all, else more of the target.
    fn a_better_price(&self, decision: &Decision, step: &Step) -> Option<Change> {
        let target = step.target.as_ref()?;
        let stake = self.stake(decision, target)?;
        let scope = self.scope(decision)?;
        let publisher = self.snapshot.publisher(&scope.publisher)?;
        let campaign = self.snapshot.campaign(&scope.campaign)?;
        let prices = Prices::of(publisher, campaign, self.request.at);
        let prices = prices.lowered(self.floor_lower);
        if step.reason == Some(Reason::PriceBelowFloor)
            && let Some(by) = prices.is_floor_alone_too_high(&stake)
        {
            return Some(Change::FloorLowered { by });
        }
        let soft = step.reason == Some(Reason::PriceBelowSoftFloor);
        Some(Change::PaidMore { by: prices.short_of(&stake, soft)? })
    }

    /// What the call would come to at the target.
    fn stake(&self, decision: &Decision, target: &TargetId) -> Option<Stake> {
        let (target, scope) = (self.snapshot.target(target)?, self.scope(decision)?);
        let payout = self.snapshot.publisher(&scope.publisher)?.payouts.get(&scope.campaign);
        let is_mark = |step: &Step| step.target.is_none() && step.check == Check::Duplicate;
        let is_duplicate = decision.steps.iter().any(is_mark);
        let session = decision.attribution.as_ref().and_then(|it| it.session);
        let session = self.sessions.iter().find(|it| Some(it.session) == session);
        let owed = Owed::of(payout, session, &self.request);
        let rule = self.snapshot.campaign(&scope.campaign)?.callers.duplicates.as_ref();
        let (campaign, publisher) = (&scope.campaign, &scope.publisher);
        let (at, calls) = (self.request.at, self.calls);
        let dues = Dues { at, campaign, publisher, rule, calls, is_duplicate };
        let is_unpaid = owed.payout.as_ref().is_some_and(|it| dues.unpaid(it).is_some());
        let terms = terms(target, &owed, (&dues, is_unpaid), self.pays_more(&target.id));
        let (limits, mut unnoted) = (self.snapshot.call_limits(&scope), Readings::default());
        let mut windows = self.snapshot.windows(self.request.at);
        let (terms, _) = paying::settle(terms, limits.publisher?, &mut windows, self, &mut unnoted);
        Some(Stake::new(terms, target.max_duration_ms))
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
            .chain(group.rules.iter())
            .find_map(|rule| Some(Change::Tagged { tag: rule.tag.clone(), value: rule.example()? }))
    }

    fn scope(&self, decision: &Decision) -> Option<CallScope> {
        let attribution = decision.attribution.as_ref()?;
        Some(CallScope {
            campaign: attribution.campaign.clone(),
            publisher: attribution.publisher.clone(),
            trunk: self.request.trunk.clone(),
            number: self.request.dialed,
        })
    }
}

/// What lets a call in that found this concurrency full at that time: of agents who are too few, and of a
/// limit that is too low behind them, both.
fn more_places(snapshot: &RoutingSnapshot, full: FullLimit, at: Wall) -> Option<Vec<Change>> {
    let key = &full.request.bucket.cap;
    let concurrency = snapshot.concurrency().find(|it| it.key == *key);
    let written = concurrency.map(|it| it.written(&snapshot.windows(at)));
    if full.bound != Bound::Ready {
        // As it is written, unless it has been written anew since the decision.
        let bound = written.filter(|(limit, _)| *limit == full.request.limit).map(|it| it.1);
        return Some(vec![raise(FullLimit { bound: bound.unwrap_or(full.bound), ..full })?]);
    }
    let behind = written.and_then(|(limit, bound)| {
        let request = BucketRequest { limit, ..full.request.clone() };
        raise(FullLimit { request, bound, ..full.clone() })
    });
    Some([raise(full)?].into_iter().chain(behind).collect())
}

/// By how much more a limit lets a call in that has no room in it.
fn raise(full: FullLimit) -> Option<Change> {
    let FullLimit { request, usage, bound, .. } = full;
    let Usage { used, held } = usage;
    let over = |wanted: u64| wanted.checked_sub(request.limit).filter(|by| *by > 0);
    let by = match &request.leeway {
        _ if request.counts == Counts::Spacing => return later(&request, used),
        None => over(used.saturating_add(held).saturating_add(request.amount))?,
        Some(Leeway::Soft) => over(used.saturating_add(1))?,
        // A pace is that of the time, which is another thing to change.
        Some(Leeway::Paced(pace)) if pace.by_now < request.limit => return None,
        Some(Leeway::Paced(pace)) => {
            let raised = |by: &u64| BucketRequest {
                limit: request.limit.saturating_add(*by),
                leeway: Some(Leeway::Paced(Pace { by_now: u64::MAX, ..*pace })),
                ..request.clone()
            };
            let bound = pace.bound_ppm(usage, request.amount, request.limit);
            let bound = u64::try_from(bound.div_ceil(WHOLE_PPM.into())).ok()?;
            let by = bound.checked_sub(request.limit)?;
            // Of much room less is let in beyond it.
            let all = || over(used.saturating_add(held).saturating_add(request.amount));
            Some(by).filter(|by| raised(by).admits(usage, request.amount)).or_else(all)?
        }
    };
    let fits = request.admits(Usage::default(), request.amount);
    let limit = request.limit.saturating_add(by);
    let (cap, counts) = (request.bucket.cap, request.counts);
    let hour = match bound {
        Bound::Ready => {
            return Some(Change::Ready { concurrency: cap, by: u32::try_from(by).ok()? });
        }
        Bound::Hours => true,
        Bound::Limit | Bound::Gate => false,
    };
    Some(match fits {
        true => Change::Raised { cap, counts, by, hour },
        // Nothing that is less used would let it in.
        false => Change::AtLeast { cap, counts, limit, hour },
    })
}

/// Whole minutes, like any other shift.
fn later(request: &BucketRequest, last: u64) -> Option<Change> {
    let left_ms = last.checked_add(request.limit)?.checked_sub(request.amount)?;
    let minutes = i64::try_from(left_ms.div_ceil(MINUTE_MS.unsigned_abs())).ok()?;
    (minutes > 0).then_some(Change::Shifted { by_ms: minutes * MINUTE_MS })
}

#[cfg(test)]
mod tests;
