//! From targets that can take a call to the order in which they are tried, each with its ways.

use std::ops::Range;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::id::TargetId;
use crate::reason::Reason;
use crate::routing::circuit::Condition;
use crate::routing::config::Ring;
use crate::routing::decision::{
    Check, Decision, Finding, PlannedAttempt, PlannedDial, Step, Terms, UnreachedReading, Verdict,
    WayReading,
};
use crate::routing::dial::{Unreached, Way};
use crate::routing::duplicate;
use crate::routing::hold::BucketRequest;
use crate::routing::request::UsageReader;
use crate::routing::selection::{Entrant, Rotation, Scene, Share, Turn};
use crate::routing::snapshot::{Campaign, Target, Tier, TierMember};

/// Puts targets that can take the call in the order in which they are tried.
pub(super) struct Planner<'p, 'a, U: ?Sized> {
    pub(super) decision: &'p mut Decision,
    pub(super) scene: Scene<'p, U>,
    pub(super) campaign: &'a Campaign,
    /// What attempts have to reserve, one after the other.
    pub(super) holds: &'p [BucketRequest],
    /// What is said of those for whom no place is left; absent: of none yet.
    pub(super) no_place: Option<SmolStr>,
    pub(super) steps: &'p mut Vec<Step>,
    /// The tier of which the next target rings beside the last.
    pub(super) ringing: Option<i32>,
}

/// What spoke for the place of each.
fn note(candidates: &mut [Candidate<'_>], notes: Vec<SmolStr>) {
    for (candidate, note) in candidates.iter_mut().zip(notes) {
        candidate.note = Some(note);
    }
}

/// The targets of one tier.
pub(super) struct TierPool<'a> {
    pub(super) tier: &'a Tier,
    /// Those that can take the call.
    pub(super) eligible: Vec<Candidate<'a>>,
    /// Those that can take none, where their shares are held.
    pub(super) absent: Vec<Share<'a>>,
}

/// A target that can take the call.
pub(super) struct Candidate<'a> {
    pub(super) target: &'a Target,
    pub(super) member: TierMember,
    pub(super) terms: Option<Terms>,
    /// Where among all holds its own are: only those that are tried take them.
    pub(super) holds: Range<usize>,
    /// What spoke for its place.
    pub(super) note: Option<SmolStr>,
}

impl<'a, U: UsageReader + ?Sized> Planner<'_, 'a, U> {
    pub(super) fn plan(
        &mut self,
        tiers: Vec<TierPool<'a>>,
        way: &duplicate::Way<'_>,
        rotation: &mut Rotation,
    ) {
        let mut tiers = tiers;
        if let Some(original) = way.first() {
            for TierPool { tier, eligible, .. } in &mut tiers {
                if let Some(candidate) = remove(eligible, original) {
                    self.join(tier, candidate);
                }
            }
            // Whoever comes next does not ring beside it.
            self.ringing = None;
        }
        let (mut last, mut put_off) = (None, vec![]);
        for TierPool { tier, mut eligible, absent } in tiers {
            if let Some(candidate) = way.last().and_then(|it| remove(&mut eligible, it)) {
                last = Some((tier, candidate));
            }
            let Turn { order, held_for, notes } =
                self.turn(tier, &eligible, Some(&absent), rotation);
            note(&mut eligible, notes);
            if let Some(held_for) = held_for {
                self.steps.push(share_held(tier, held_for));
                put_off.push((tier, eligible, order));
                continue;
            }
            self.join_all(tier, eligible, order);
        }
        for (tier, eligible, order) in put_off {
            self.join_all(tier, eligible, order);
        }
        if let Some((tier, candidate)) = last {
            self.ringing = None;
            self.join(tier, candidate);
        }
    }

    fn turn(
        &mut self,
        tier: &Tier,
        eligible: &[Candidate<'a>],
        absent: Option<&[Share<'a>]>,
        rotation: &mut Rotation,
    ) -> Turn<'a> {
        if self.is_full() {
            // Nothing of this tier will be tried, so its rotation stands still.
            let order = (0..eligible.len()).collect();
            return Turn { order, held_for: None, notes: vec![] };
        }
        let entrant =
            |it: &Candidate<'a>| Entrant { target: it.target, member: it.member, terms: it.terms };
        let readings = &mut self.decision.readings;
        self.scene.turn(tier, eligible.iter().map(entrant), absent, rotation, readings)
    }

    fn join_all(&mut self, tier: &Tier, candidates: Vec<Candidate<'_>>, order: Vec<usize>) {
        let mut candidates: Vec<_> = candidates.into_iter().map(Some).collect();
        for index in order {
            if let Some(candidate) = candidates[index].take() {
                self.join(tier, candidate);
            }
        }
    }

    /// Those that are tried only for want of others: who pays little before who is ill, and who is both
    /// last.
    pub(super) fn plan_others(
        &mut self,
        spare: Vec<(&'a Tier, Candidate<'a>, Finding)>,
        ill: Vec<(&'a Tier, Candidate<'a>, Condition)>,
        ill_spare: Vec<(&'a Tier, Candidate<'a>, Finding, Condition)>,
        rotation: &mut Rotation,
    ) {
        let has_better = !self.decision.plan.is_empty();
        self.plan_spare(spare, rotation);
        let has_well = !self.decision.plan.is_empty();
        self.plan_ill(ill, rotation);
        // Whoever is in the plan, and is not of the well that pay little, pays enough.
        let has_paying = has_better || (!has_well && !self.decision.plan.is_empty());
        let mut wanted = vec![];
        for (tier, candidate, finding, condition) in ill_spare {
            self.steps.push(pays_little(candidate.target, finding, !has_paying));
            if has_paying {
                continue;
            }
            self.steps.push(health(candidate.target, condition, !has_well));
            wanted.push((tier, candidate));
        }
        if !has_paying && !has_well {
            self.plan_wanted(wanted, rotation);
        }
    }

    fn plan_spare(
        &mut self,
        spare: Vec<(&'a Tier, Candidate<'a>, Finding)>,
        rotation: &mut Rotation,
    ) {
        let for_want_of_others = self.decision.plan.is_empty();
        let mut wanted = vec![];
        for (tier, candidate, finding) in spare {
            self.steps.push(pays_little(candidate.target, finding, for_want_of_others));
            wanted.push((tier, candidate));
        }
        if for_want_of_others {
            self.plan_wanted(wanted, rotation);
        }
    }

    /// What is thought of a target may be wrong, and a call that fails is no worse than one that is
    /// not tried.
    fn plan_ill(
        &mut self,
        ill: Vec<(&'a Tier, Candidate<'a>, Condition)>,
        rotation: &mut Rotation,
    ) {
        let for_want_of_others = self.decision.plan.is_empty();
        let mut wanted = vec![];
        for (tier, candidate, condition) in ill {
            self.steps.push(health(candidate.target, condition, for_want_of_others));
            wanted.push((tier, candidate));
        }
        if for_want_of_others {
            self.plan_wanted(wanted, rotation);
        }
    }

    /// Those that are wanted after all share the calls as they would if they were well. They come tier
    /// by tier.
    fn plan_wanted(&mut self, wanted: Vec<(&'a Tier, Candidate<'a>)>, rotation: &mut Rotation) {
        let mut wanted = wanted.into_iter().peekable();
        while let Some((tier, first)) = wanted.next() {
            let mut members = vec![first];
            while let Some((_, next)) = wanted.next_if(|(next, _)| next.tier == tier.tier) {
                members.push(next);
            }
            let Turn { order, notes, .. } = self.turn(tier, &members, None, rotation);
            note(&mut members, notes);
            self.join_all(tier, members, order);
        }
    }

    /// Takes the next place of the plan, if there is one left.
    fn join(&mut self, tier: &Tier, candidate: Candidate<'_>) {
        let is_full = self.is_full();
        let no_place = is_full.then(|| self.no_place());
        self.steps.push(place(candidate.target, candidate.note.clone(), no_place));
        if is_full {
            return;
        }
        let beside = tier.ring == Ring::Parallel && self.ringing == Some(tier.tier);
        self.try_last(tier.tier, beside, candidate);
        self.ringing = Some(tier.tier);
    }

    /// Has a place of its own behind all others, in a tier of its own.
    pub(super) fn overflow(&mut self, candidate: Candidate<'_>) {
        self.steps.push(place(candidate.target, candidate.note.clone(), None));
        let last = self.campaign.tiers.last().map_or(0, |tier| tier.tier);
        self.try_last(last.saturating_add(1), false, candidate);
    }

    fn try_last(&mut self, tier: i32, beside: bool, candidate: Candidate<'_>) {
        let holds = self.holds[candidate.holds.clone()].to_vec();
        let ways = self.ways(candidate.target);
        let planned = candidate.planned(ways, tier);
        self.decision.plan.push(PlannedAttempt { beside, holds, ..planned });
    }

    /// The ways to a target in the order in which they are tried. Those that calls went badly over come
    /// last, unless they are all there is, and behind them those on which nobody would be found.
    fn ways(&mut self, target: &Target) -> Vec<PlannedDial> {
        let Scene { request, usage, .. } = self.scene;
        let (mut ways, mut left) = (vec![], vec![]);
        for place in target.order_of_dials(request.call) {
            let Some(dial) = target.dial(place) else { continue };
            let (uri, way) = (dial.template.uri(request.dialed), dial.way.clone());
            let failover = dial.failover.clone();
            let planned = PlannedDial { dial: place, uri, way, failover };
            let asked = dial.way.as_ref().filter(|_| target.dials.len() > 1);
            let found = asked.map(|way| (way, usage.way(way)));
            let Some((way, condition)) = found.filter(|(_, it)| *it != Condition::Well) else {
                ways.push(planned);
                continue;
            };
            let readings = &mut self.decision.readings.ways;
            if !readings.iter().any(|reading| reading.way == *way) {
                readings.push(WayReading { way: way.clone(), condition });
            }
            if condition.takes(request.call, &format!("{}#{place}", target.id)) {
                self.steps.push(way_step(target, way, condition, false));
                ways.push(planned);
            } else {
                left.push((planned, way, condition));
            }
        }
        let has_others = !ways.is_empty();
        for (planned, way, condition) in left {
            self.steps.push(way_step(target, way, condition, has_others));
            ways.push(planned);
        }
        self.unreached_last(target, ways)
    }

    fn unreached_last(&mut self, target: &Target, ways: Vec<PlannedDial>) -> Vec<PlannedDial> {
        if ways.len() < 2 {
            return ways;
        }
        let usage = self.scene.usage;
        let found = |planned: PlannedDial| {
            let unreached = usage.unreached(&target.id, planned.dial, &planned.uri);
            (planned, unreached)
        };
        let found = ways.into_iter().map(found);
        let (left, mut ways): (Vec<_>, Vec<_>) = found.partition(|(_, it)| it.is_some());
        let has_others = !ways.is_empty();
        for (planned, unreached) in &left {
            let Some(unreached) = *unreached else { continue };
            let (target_id, place) = (target.id.clone(), planned.dial);
            let reading = UnreachedReading { target: target_id, place, unreached };
            self.decision.readings.unreached.push(reading);
            self.steps.push(unreached_step(target, planned, unreached, has_others));
        }
        ways.extend(left);
        ways.into_iter().map(|(planned, _)| planned).collect()
    }

    fn is_full(&self) -> bool {
        self.decision.plan.len() >= usize::from(self.campaign.max_attempts)
    }

    fn no_place(&mut self) -> SmolStr {
        let max = self.campaign.max_attempts;
        self.no_place.get_or_insert_with(|| format_smolstr!("at most {max} targets")).clone()
    }
}

impl Candidate<'_> {
    /// Without its holds.
    fn planned(self, ways: Vec<PlannedDial>, tier: i32) -> PlannedAttempt {
        let target = self.target;
        let mut ways = ways.into_iter();
        let PlannedDial { dial, uri, way, failover } =
            ways.next().expect("a target has a way to it");
        PlannedAttempt {
            target: target.id.clone(),
            buyer: target.buyer.clone(),
            tier,
            uri,
            dial,
            way,
            further: ways.collect(),
            failover,
            ring_timeout_ms: target.ring_timeout_ms,
            first_response_ms: target.first_response_ms,
            max_pdd_ms: target.max_pdd_ms,
            ring_timeout_covers_progress: target.ring_timeout_covers_progress,
            beside: false,
            max_duration_ms: target.max_duration_ms,
            terms: self.terms,
            holds: vec![],
        }
    }
}

fn remove<'a>(eligible: &mut Vec<Candidate<'a>>, target: &TargetId) -> Option<Candidate<'a>> {
    let index = eligible.iter().position(|it| it.target.id == *target)?;
    Some(eligible.remove(index))
}

/// That a target pays little, and whether that decides.
fn pays_little(target: &Target, finding: Finding, is_tried: bool) -> Step {
    let (verdict, reason) = match is_tried {
        true => (Verdict::Passed, None),
        false => (Verdict::Refused, Some(Reason::PriceBelowSoftFloor)),
    };
    Step::new(Some(target.id.clone()), Check::Price, verdict, reason, finding)
}

/// What is thought of a target, and whether that decides.
pub(super) fn health(target: &Target, condition: Condition, is_tried: bool) -> Step {
    let (verdict, reason) =
        if is_tried { (Verdict::Passed, None) } else { (Verdict::Refused, condition.reason()) };
    let finding = Finding::have(condition.to_smolstr());
    Step::new(Some(target.id.clone()), Check::Health, verdict, reason, finding)
}

/// What is thought of a way to a target, and whether it is tried after the others for that.
fn way_step(target: &Target, way: &Way, condition: Condition, is_left: bool) -> Step {
    let reason = condition.way_reason().filter(|_| is_left);
    let finding =
        Finding { subject: Some(way.to_smolstr()), ..Finding::have(condition.to_smolstr()) };
    Step::new(Some(target.id.clone()), Check::Way, Verdict::Passed, reason, finding)
}

/// That nobody would be found on a way to a target, and whether it is tried after the others for that.
fn unreached_step(
    target: &Target,
    planned: &PlannedDial,
    unreached: Unreached,
    is_left: bool,
) -> Step {
    let reason = is_left.then_some(Reason::WayUnreached);
    let subject = planned.way.as_ref().map(ToSmolStr::to_smolstr);
    let finding = Finding { subject, ..Finding::have(unreached.to_smolstr()) };
    Step::new(Some(target.id.clone()), Check::Way, Verdict::Passed, reason, finding)
}

/// That the call was not for this tier.
fn share_held(tier: &Tier, held_for: &TargetId) -> Step {
    let finding = Finding {
        subject: Some(format_smolstr!("tier {}", tier.tier)),
        have: Some(format_smolstr!("the turn of {held_for}, whose share is held")),
        ..Finding::default()
    };
    Step::new(None, Check::Selection, Verdict::Passed, None, finding)
}

/// The last step of an eligible target: its place in the plan, or that there was none left.
fn place(target: &Target, note: Option<SmolStr>, no_place: Option<SmolStr>) -> Step {
    let (verdict, reason) = match no_place {
        None => (Verdict::Planned, None),
        Some(_) => (Verdict::Refused, Some(Reason::TooManyCandidates)),
    };
    let finding = Finding { have: note, want: no_place, ..Finding::default() };
    Step::new(Some(target.id.clone()), Check::Selection, verdict, reason, finding)
}
