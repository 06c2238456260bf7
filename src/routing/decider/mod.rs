//! From a call to the plan of targets to try.

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::reason::Reason;

use super::attribution::{Attribution, attribute};
use super::config::Ring;
use super::decision::{Check, Decision, HuntRules, PlannedAttempt, Readings, Step, Terms, Verdict};
use super::eligibility::Eligibility;
use super::facts::Facts;
use super::hold::{BucketRequest, Stake};
use super::request::{RouteRequest, SessionReading, UsageReader};
use super::selection::Rotation;
use super::snapshot::{Campaign, NumberOwner, Payout, RoutingSnapshot, Target, Tier};

/// Decides who gets a call. The same arguments give the same decision.
///
/// `sessions` are those the call may belong to, `usage` is how full caps and concurrency are, and
/// `rotation` is moved on by one call.
pub fn decide<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    sessions: &[SessionReading],
    usage: &U,
    rotation: &mut Rotation,
) -> Decision {
    let mut decision = Decision {
        call: request.call,
        at: request.at,
        revision: snapshot.revision(),
        attribution: None,
        plan: vec![],
        rules: HuntRules::default(),
        refused: None,
        steps: vec![],
        readings: Readings::default(),
    };
    match snapshot.number(request.dialed) {
        None => {
            decision.refuse_call(Check::Number, Reason::NumberUnknown);
        }
        Some(owner) => {
            route(snapshot, request, sessions, usage, rotation, owner, &mut decision);
        }
    }
    decision
}

fn route<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    sessions: &[SessionReading],
    usage: &U,
    rotation: &mut Rotation,
    owner: NumberOwner<'_>,
    decision: &mut Decision,
) {
    let campaign = owner.campaign;
    decision.rules = HuntRules {
        advance_on: campaign.advance_on.clone(),
        total_ring_budget_ms: campaign.total_ring_budget_ms,
    };
    let (attribution, session) = attribute(&owner, request, sessions);
    decision.pass_call(Check::Number, Some(campaign.id.0.clone()));
    decision.pass_call(Check::Session, Some(session_found(&attribution)));
    decision.attribution = Some(attribution);
    if campaign.paused {
        return decision.refuse_call(Check::Campaign, Reason::CampaignPaused);
    }
    if owner.publisher.paused {
        return decision.refuse_call(Check::Publisher, Reason::PublisherPaused);
    }

    let merged;
    let tags = match session {
        Some(session) if request.tags.is_empty() => &session.tags,
        Some(session) => {
            let mut tags = session.tags.clone();
            tags.extend(request.tags.iter().map(|(name, value)| (name.clone(), value.clone())));
            merged = tags;
            &merged
        }
        None => &request.tags,
    };
    let mut eligibility = Eligibility {
        at: request.at,
        facts: Facts::new(tags, request.caller, &snapshot.geo),
        usage,
        windows: snapshot.windows(request.at),
        caps: [&campaign.caps, &owner.publisher.caps, snapshot.trunk_caps(&request.trunk)],
        steps: std::mem::take(&mut decision.steps),
        readings: vec![],
    };
    let mut refusals = vec![];
    let mut down = vec![];
    let payout = owner.publisher.payouts.get(&campaign.id);
    for tier in &campaign.tiers {
        let mut eligible: Vec<Option<Candidate<'_>>> = vec![];
        for member in &tier.members {
            let target = &snapshot.targets[member.target];
            let terms = terms(target, payout);
            let stake = Stake::new(terms, target.max_duration_ms);
            match eligibility.check(target, member.weight, &stake) {
                Ok(holds) => {
                    let candidate = Candidate { target, weight: member.weight, terms, holds };
                    if usage.is_down(&target.id) {
                        down.push((tier, candidate));
                    } else {
                        eligible.push(Some(candidate));
                    }
                }
                Err(reason) => refusals.push(reason),
            }
        }
        let weights: Vec<_> = eligible.iter().flatten().map(|c| (&c.target.id, c.weight)).collect();
        let order = if decision.plan.len() < usize::from(campaign.max_attempts) {
            rotation.order(&campaign.id, tier.tier, &weights, &mut decision.readings.rotation)
        } else {
            // Nothing of this tier will be tried, so its rotation stands still.
            (0..eligible.len()).collect()
        };
        for index in order {
            let Some(candidate) = eligible[index].take() else { continue };
            eligibility.steps.push(place(candidate.target, campaign, decision.plan.len()));
            candidate.join(decision, request, campaign, tier);
        }
    }
    // Probes may be wrong, and a call that fails is no worse than one that is not tried.
    let for_want_of_others = decision.plan.is_empty();
    for (tier, candidate) in down {
        let target = candidate.target;
        decision.readings.down.push(target.id.clone());
        eligibility.steps.push(not_there(target, for_want_of_others));
        if for_want_of_others {
            eligibility.steps.push(place(target, campaign, decision.plan.len()));
            candidate.join(decision, request, campaign, tier);
        }
    }
    decision.steps = eligibility.steps;
    decision.readings.usage = eligibility.readings;
    if decision.plan.is_empty() {
        decision.refused = Some(common(&refusals));
    }
}

/// A target that can take the call.
struct Candidate<'a> {
    target: &'a Target,
    weight: u32,
    terms: Option<Terms>,
    holds: Vec<BucketRequest>,
}

impl Candidate<'_> {
    /// Takes the next place of the plan, if there is one left.
    fn join(
        self,
        decision: &mut Decision,
        request: &RouteRequest,
        campaign: &Campaign,
        tier: &Tier,
    ) {
        if decision.plan.len() >= usize::from(campaign.max_attempts) {
            return;
        }
        let same_tier = |planned: &PlannedAttempt| planned.tier == tier.tier;
        let beside = tier.ring == Ring::Parallel && decision.plan.last().is_some_and(same_tier);
        let planned = self.planned(request, tier.tier);
        decision.plan.push(PlannedAttempt { beside, ..planned });
    }

    fn planned(self, request: &RouteRequest, tier: i32) -> PlannedAttempt {
        let target = self.target;
        PlannedAttempt {
            target: target.id.clone(),
            buyer: target.buyer.clone(),
            tier,
            uri: target.dial.uri(request.dialed),
            ring_timeout_ms: target.ring_timeout_ms,
            first_response_ms: target.first_response_ms,
            ring_timeout_covers_progress: target.ring_timeout_covers_progress,
            beside: false,
            max_duration_ms: target.max_duration_ms,
            terms: self.terms,
            holds: self.holds,
        }
    }
}

/// What probes say, and whether that decides.
fn not_there(target: &Target, is_tried: bool) -> Step {
    let (verdict, reason) = if is_tried {
        (Verdict::Passed, None)
    } else {
        (Verdict::Refused, Some(Reason::TargetDown))
    };
    Step {
        target: Some(target.id.clone()),
        check: Check::Health,
        subject: None,
        verdict,
        reason,
        have: Some(SmolStr::new_static("down")),
        want: None,
        ground: None,
    }
}

/// The last step of an eligible target: its place in the plan, or that there was none left.
fn place(target: &Target, campaign: &Campaign, planned: usize) -> Step {
    let target = Some(target.id.clone());
    let max = usize::from(campaign.max_attempts);
    let (verdict, reason) = if planned < max {
        (Verdict::Planned, None)
    } else {
        (Verdict::Refused, Some(Reason::TooManyCandidates))
    };
    Step {
        target,
        check: Check::Selection,
        subject: None,
        verdict,
        reason,
        have: None,
        want: reason.map(|_| format_smolstr!("at most {max} targets")),
        ground: None,
    }
}

/// A payout that does not say after how many seconds falls due with the buyer's conversion.
fn terms(target: &Target, payout: Option<&Payout>) -> Option<Terms> {
    let seconds = target.conversion.map(|conversion| conversion.seconds);
    let payout_seconds = payout.and_then(|payout| payout.seconds).or(seconds)?;
    Some(Terms {
        seconds: seconds.unwrap_or(payout_seconds),
        revenue: target.conversion.map(|conversion| conversion.revenue).unwrap_or_default(),
        payout_seconds,
        payout: payout.map(|payout| payout.amount).unwrap_or_default(),
    })
}

/// The one reason all targets share, so that the caller's trunk hears the true cause.
fn common(refusals: &[Reason]) -> Reason {
    match refusals {
        [first, rest @ ..] if rest.iter().all(|reason| reason == first) => *first,
        _ => Reason::NoneEligible,
    }
}

fn session_found(attribution: &Attribution) -> SmolStr {
    match attribution.session {
        Some(session) => format_smolstr!("{} of {session}", attribution.method.name()),
        None => attribution.method.name().to_smolstr(),
    }
}

impl Decision {
    fn pass_call(&mut self, check: Check, have: Option<SmolStr>) {
        self.steps.push(Step::of_call(check, Verdict::Passed, None, have));
    }

    fn refuse_call(&mut self, check: Check, reason: Reason) {
        self.steps.push(Step::of_call(check, Verdict::Refused, Some(reason), None));
        self.refused = Some(reason);
    }
}

impl Step {
    fn of_call(
        check: Check,
        verdict: Verdict,
        reason: Option<Reason>,
        have: Option<SmolStr>,
    ) -> Self {
        Self { target: None, check, subject: None, verdict, reason, have, want: None, ground: None }
    }
}

#[cfg(test)]
mod tests;
