//! From a call to the plan of targets to try.

mod planner;

use std::borrow::Cow;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::money::Money;
use crate::reason::{NoPayout, NoRoute, Reason};

use super::attribution::{Attribution, Method, Named, attribute, owner};
use super::circuit::Condition;
use super::decision::{Check, ConditionReading, Decision, Finding, HuntRules, Readings, Terms};
use super::duplicate::{self, Dues, Duplicate};
use super::eligibility::Eligibility;
use super::facts::Facts;
use super::history::PastCall;
use super::hold::{BucketRequest, Stake};
use super::limits::{CallLimits, Windows};
use super::list::Listed;
use super::paying;
use super::price::Prices;
use super::quote::Owed;
use super::request::{RouteRequest, SessionReading, Tags, UsageReader};
use super::selection::{Rotation, Scene, Share, makes_absent};
use super::snapshot::{
    Campaign, Conversion, NumberOwner, RoutingSnapshot, Target, Tier, TierMember,
};
use planner::{Candidate, Planner, TierPool, health};

/// Decides who gets a call. The same arguments give the same decision.
///
/// `known` is what is remembered of the caller, `usage` is how full caps and concurrency are, and
/// `rotation` is moved on by one call.
pub fn decide<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    known: Known<'_>,
    usage: &U,
    rotation: &mut Rotation,
) -> Decision {
    let mut decision = nothing_yet(snapshot, request);
    match owner(snapshot, request, known.sessions) {
        None => {
            decision.refuse_call(Check::Number, Reason::NumberUnknown, Finding::default());
        }
        Some(owner) => {
            let actions = &owner.campaign.no_route;
            // What stops the call is written down where it is found.
            let _ = route(snapshot, request, known, usage, rotation, owner, &mut decision);
            decision.readings.each_rate_once();
            decision.status = decision.no_route.and_then(|class| actions.of(class).status);
        }
    }
    decision
}

/// Finds out whose call it is, and counts it as one that came.
#[expect(clippy::too_many_arguments, reason = "one step of a decision, on all it is made from")]
fn come_in<'a, U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    known: Known<'a>,
    usage: &U,
    owner: &NumberOwner<'_>,
    limits: &CallLimits<'_>,
    windows: &mut Windows<'_>,
    decision: &mut Decision,
) -> Result<Option<&'a SessionReading>, Reason> {
    let campaign = owner.campaign;
    let trunk = snapshot.trunk_word(request);
    let (attribution, session) = attribute(owner, trunk, request, known.sessions);
    decision.pass_call(Check::Number, Finding::have(campaign.id.0.clone()));
    let (method, found) = (attribution.method, session_found(&attribution, campaign));
    decision.attribution = Some(attribution);
    if let Some(Named { key, is_all: true }) = request.named
        && method != Method::Address
    {
        let want = Some(format_smolstr!("{key} to be live, and of this trunk's publisher"));
        let finding = Finding { want, ..found };
        return Err(decision.refuse_call(Check::Session, Reason::SessionUnknown, finding));
    }
    decision.pass_call(Check::Session, found);
    if !snapshot.knows_trunk(&request.trunk) {
        let want = Some(SmolStr::new_static("a trunk of the configuration"));
        let finding = Finding { want, ..Finding::have(request.trunk.0.clone()) };
        return Err(decision.refuse_call(Check::Trunk, Reason::TrunkUnknown, finding));
    }
    if campaign.paused {
        let paused = Reason::CampaignPaused;
        return Err(decision.refuse_call(Check::Campaign, paused, Finding::default()));
    }
    if owner.publisher.paused {
        let paused = Reason::PublisherPaused;
        return Err(decision.refuse_call(Check::Publisher, paused, Finding::default()));
    }
    decision.check_offered(limits, usage, windows)?;
    Ok(session)
}

/// What the call takes in strict caps that count calls as they come, if it finds room there: others
/// may take it as well. Empty: it is not counted, or refused.
pub fn offered<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    known: Known<'_>,
    usage: &U,
) -> Vec<BucketRequest> {
    let Some(owner) = owner(snapshot, request, known.sessions) else { return vec![] };
    let (limits, mut windows) = (limits(snapshot, request, &owner), snapshot.windows(request.at));
    if !limits.counts_offered() {
        return vec![];
    }
    let mut decision = nothing_yet(snapshot, request);
    let _ = come_in(snapshot, request, known, usage, &owner, &limits, &mut windows, &mut decision);
    decision.offered.retain(|request| request.leeway.is_none());
    decision.offered
}

fn nothing_yet(snapshot: &RoutingSnapshot, request: &RouteRequest) -> Decision {
    Decision {
        call: request.call,
        at: request.at,
        revision: snapshot.revision(),
        attribution: None,
        plan: vec![],
        rules: HuntRules::default(),
        refused: None,
        steps: vec![],
        readings: Readings::default(),
        offered: vec![],
        no_route: None,
        status: None,
    }
}

fn limits<'a>(
    snapshot: &'a RoutingSnapshot,
    request: &RouteRequest,
    owner: &NumberOwner<'a>,
) -> CallLimits<'a> {
    CallLimits {
        campaign: Some(owner.campaign),
        publisher: Some(owner.publisher),
        trunk: snapshot.trunk_caps(&request.trunk),
        number: snapshot.number_limits(request.dialed),
        account: Some(&snapshot.account),
        pairs: &snapshot.pairs,
    }
}

/// `Err`: the call was stopped before any target was looked at.
fn route<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    known: Known<'_>,
    usage: &U,
    rotation: &mut Rotation,
    owner: NumberOwner<'_>,
    decision: &mut Decision,
) -> Result<(), Reason> {
    let campaign = owner.campaign;
    decision.rules = HuntRules {
        advance_on: campaign.advance_on.clone(),
        total_ring_budget_ms: campaign.total_ring_budget_ms,
        recovery: campaign.recovery,
        none_answered: campaign.no_route.none_answered.status,
        no_capacity: campaign.no_route.no_capacity.status,
    };
    let (limits, mut windows) = (limits(snapshot, request, &owner), snapshot.windows(request.at));
    let session =
        come_in(snapshot, request, known, usage, &owner, &limits, &mut windows, decision)?;
    decision.readings.prior = usage.prior();
    let of_account = (Check::Account, Reason::AccountCapped);
    decision.check_capped(&snapshot.account.caps, of_account, usage, &mut windows)?;
    let of_publisher = (Check::Publisher, Reason::PublisherCapped);
    decision.check_capped(&owner.publisher.caps, of_publisher, usage, &mut windows)?;
    let of_number = limits.number.map(|it| &it.caps[..]).unwrap_or_default();
    let number = (Check::Number, Reason::NumberCapped);
    decision.check_capped(of_number, number, usage, &mut windows)?;
    let mut listed = Listed::new(&snapshot.lists, usage, request.caller, request.at);
    decision.check_lists(campaign, &mut listed)?;
    decision.check_caller(campaign, request, known.calls)?;
    let rule = campaign.callers.duplicates.as_ref();
    let duplicate = rule.and_then(|rule| Duplicate::find(rule, &owner, request, known.calls));
    if let Some(duplicate) = &duplicate {
        decision.pass_call(Check::Duplicate, duplicate.finding(request.at));
    }

    let owed = Owed::of(owner.publisher.payouts.get(&campaign.id), session, request);
    if let Some(finding) = owed.finding.clone() {
        decision.pass_call(Check::Payout, finding);
    }

    let dues = Dues {
        at: request.at,
        campaign: &campaign.id,
        publisher: &owner.publisher.id,
        rule,
        calls: known.calls,
        is_duplicate: duplicate.is_some(),
    };
    let unpaid = owed.payout.as_ref().and_then(|payout| dues.unpaid(payout));
    let is_unpaid = unpaid.is_some();
    if let Some(finding) = unpaid {
        decision.pass_call(Check::Payout, finding);
    }

    let tags = merged_tags(request, session);
    let prices = Prices::of(owner.publisher, campaign, request.at).lowered(usage.floor_lower());
    let line = snapshot.line(request.caller, usage);
    decision.readings.line.clone_from(&line);
    let facts = Facts::new(&tags, request.caller, &snapshot.geo).enriched(session);
    let mut eligibility = Eligibility {
        at: request.at,
        campaign: &campaign.id,
        calls: known.calls,
        facts: facts.on_record(line),
        usage,
        listed,
        windows,
        limits,
        prices,
        steps: std::mem::take(&mut decision.steps),
        readings: Readings::default(),
        holds: vec![],
        needs: vec![],
    };
    let mut pool = Pool::default();
    let way = duplicate::Way::of(rule, duplicate.as_ref());
    for tier in campaign.tiers.iter() {
        let (mut eligible, mut absent) = (Vec::with_capacity(tier.members.len()), vec![]);
        let begun = eligibility.steps.len();
        for (number, &member) in tier.members.iter().enumerate() {
            if number == 1 {
                // Targets of a tier are mostly alike. One step more says which place each got.
                let each = eligibility.steps.len() - begun + 1;
                eligibility.steps.reserve(each * tier.members.len());
            }
            let target = &snapshot.targets[member.target];
            let more = usage.pays_more(&target.id);
            let terms = terms(target, &owed, (&dues, is_unpaid), more);
            let (terms, paid) = eligibility.pay(target, owner.publisher, terms);
            let stake = Stake::new(terms, target.max_duration_ms);
            let checked = paid.and_then(|()| way.check(target, &mut eligibility));
            match checked.and_then(|()| eligibility.check(target, member.weight, &stake)) {
                Ok(holds) => {
                    let candidate = Candidate { target, member, terms, holds, note: None };
                    let condition = usage.condition(&target.id);
                    let takes = condition.takes(request.call, target.id.as_str());
                    if condition != Condition::Well {
                        let reading = ConditionReading { target: target.id.clone(), condition };
                        decision.readings.conditions.push(reading);
                        if takes {
                            eligibility.steps.push(health(target, condition, true));
                        }
                    }
                    match (takes, prices.is_spare(&stake)) {
                        (true, None) => eligible.push(candidate),
                        (true, Some(finding)) => pool.spare.push((tier, candidate, finding)),
                        (false, None) => {
                            if tier.hold_share_ms > 0 {
                                absent.push(Share::of(&target.id, member));
                            }
                            pool.ill.push((tier, candidate, condition));
                        }
                        (false, Some(finding)) => {
                            pool.ill_spare.push((tier, candidate, finding, condition));
                        }
                    }
                }
                Err(reason) => {
                    let refused = eligibility.steps.last();
                    // Who pays little has no share when it is there, so none is held for it.
                    if tier.hold_share_ms > 0
                        && refused.is_some_and(|it| makes_absent(it.check))
                        && prices.is_spare(&stake).is_none()
                    {
                        absent.push(Share::of(&target.id, member));
                    }
                    pool.refusals.push(reason);
                }
            }
        }
        pool.tiers.push(TierPool { tier, eligible, absent });
    }
    let nobody = pool.has_nobody().then(|| {
        let members = campaign.tiers.iter().flat_map(|tier| tier.members.iter());
        NoRoute::of_targets(members.zip(&pool.refusals).map(|(member, &reason)| {
            if reason.no_route() != Some(NoRoute::AllClosed) {
                return reason;
            }
            // Whether it wants the call was not asked: it is closed whatever the call is.
            let target = &snapshot.targets[member.target];
            let there = terms(target, &owed, (&dues, is_unpaid), usage.pays_more(&target.id));
            let (windows, mut noted) = (&mut eligibility.windows, Readings::default());
            let (there, _) = paying::settle(there, owner.publisher, windows, usage, &mut noted);
            let stake = Stake::new(there, target.max_duration_ms);
            eligibility.unwanted(target, &stake).unwrap_or(reason)
        }))
    });
    let class = nobody.unwrap_or(NoRoute::NoneAnswered);
    let overflow = campaign.no_route.of(class).overflow.and_then(|target| {
        let target = &snapshot.targets[target];
        let terms = terms(target, &owed, (&dues, is_unpaid), usage.pays_more(&target.id));
        let (terms, paid) = eligibility.pay(target, owner.publisher, terms);
        let stake = Stake::new(terms, target.max_duration_ms);
        paid.and_then(|()| way.check(target, &mut eligibility)).ok()?;
        let holds = eligibility.check(target, OVERFLOW.weight, &stake).ok()?;
        let note = Some(format_smolstr!("overflow, as {}", class.text()));
        Some(Candidate { target, member: OVERFLOW, terms, holds, note })
    });
    let scene = Scene {
        request,
        campaign: &campaign.id,
        publisher: &owner.publisher.id,
        facts: &eligibility.facts,
        usage,
    };
    let (steps, holds) = (&mut eligibility.steps, &eligibility.holds[..]);
    let (no_place, ringing) = (None, None);
    let mut planner = Planner { decision, scene, campaign, holds, no_place, steps, ringing };
    planner.plan(pool.tiers, &way, rotation);
    planner.plan_others(pool.spare, pool.ill, pool.ill_spare, rotation);
    if let Some(candidate) = overflow {
        planner.overflow(candidate);
    }
    decision.steps = eligibility.steps;
    decision.readings.usage.append(&mut eligibility.readings.usage);
    decision.readings.ready.append(&mut eligibility.readings.ready);
    decision.readings.rates.append(&mut eligibility.readings.rates);
    decision.readings.listed = eligibility.listed.found;
    decision.no_route = nobody;
    if decision.plan.is_empty() {
        decision.refused = Some(common(&pool.refusals));
    }
    Ok(())
}

/// Nobody has a share in those who are called for want of others.
const OVERFLOW: TierMember = TierMember { target: 0, weight: 1, rank: 0 };

/// What the trunk says of a call, then what its session does.
pub(super) fn merged_tags<'a>(
    request: &'a RouteRequest,
    session: Option<&'a SessionReading>,
) -> Cow<'a, Tags> {
    match session {
        Some(session) if request.tags.is_empty() => Cow::Borrowed(&session.tags),
        Some(session) => {
            let mut tags = session.tags.clone();
            tags.extend(request.tags.iter().map(|(name, value)| (name.clone(), value.clone())));
            Cow::Owned(tags)
        }
        None => Cow::Borrowed(&request.tags),
    }
}

/// What is remembered of a caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Sessions the call may belong to.
    pub sessions: &'a [SessionReading],
    /// The caller's earlier calls, the latest first.
    pub calls: &'a [PastCall],
}

/// The targets of a campaign, checked.
#[derive(Default)]
struct Pool<'a> {
    tiers: Vec<TierPool<'a>>,
    /// Those that pay little.
    spare: Vec<(&'a Tier, Candidate<'a>, Finding)>,
    /// And those of which probes, or their earlier calls, say that they cannot.
    ill: Vec<(&'a Tier, Candidate<'a>, Condition)>,
    /// And those of both kinds.
    ill_spare: Vec<(&'a Tier, Candidate<'a>, Finding, Condition)>,
    refusals: Vec<Reason>,
}

impl Pool<'_> {
    /// Whether none of them can be tried.
    fn has_nobody(&self) -> bool {
        let none = |tier: &TierPool<'_>| tier.eligible.is_empty();
        self.spare.is_empty()
            && self.ill.is_empty()
            && self.ill_spare.is_empty()
            && self.tiers.iter().all(none)
    }
}

/// A payout that does not say after how many seconds falls due with the buyer's conversion.
///
/// `dues` says what the caller's earlier calls make of it, and the flag whether the publisher is owed nothing
/// for them; `more` is what the target pays beyond its configuration.
pub(super) fn terms(
    target: &Target,
    owed_to_publisher: &Owed,
    (dues, is_unpaid): (&Dues<'_>, bool),
    more: Money,
) -> Option<Terms> {
    let payout = owed_to_publisher.payout;
    let conversion = target.conversion;
    let owes = |conversion: Conversion| match dues.is_free(target, &conversion) {
        true => Money::ZERO,
        false => conversion.revenue + more,
    };
    let seconds = conversion.map(|conversion| conversion.seconds);
    let payout_seconds = payout.and_then(|payout| payout.seconds).or(seconds)?;
    Some(Terms {
        seconds: seconds.unwrap_or(payout_seconds),
        revenue: conversion.map(owes).unwrap_or_default(),
        payout_seconds,
        payout: payout.filter(|_| !is_unpaid).map(|it| it.amount).unwrap_or_default(),
        no_payout: is_unpaid.then_some(NoPayout::Duplicate),
        promised: owed_to_publisher.promised,
    })
}

/// The one reason all targets share, so that the caller's trunk hears the true cause.
pub(super) fn common(refusals: &[Reason]) -> Reason {
    match refusals {
        [first, rest @ ..] if rest.iter().all(|reason| reason == first) => *first,
        _ => Reason::NoneEligible,
    }
}

/// By what the call was matched, and what is doubtful about it.
fn session_found(attribution: &Attribution, campaign: &Campaign) -> Finding {
    let matched = |method: Method, session| format_smolstr!("{} of {session}", method.name());
    let doubt = |doubt| Some(SmolStr::new_static(doubt));
    if let Some(found) = attribution.below_minimum() {
        return Finding {
            subject: doubt("match.below_minimum"),
            have: found.method.zip(found.confidence).map(|(method, confidence)| {
                format_smolstr!("{}, sure to {confidence}", matched(method, found.session))
            }),
            want: Some(format_smolstr!("at least {}", campaign.min_match_confidence)),
            ..Finding::default()
        };
    }
    let have = match attribution.session {
        Some(session) => matched(attribution.method, session),
        None => attribution.method.name().to_smolstr(),
    };
    let subject = match (attribution.race, attribution.ambiguous) {
        (true, _) => doubt("match.attribution_race"),
        (false, true) => doubt("match.ambiguous"),
        (false, false) => None,
    };
    Finding { subject, ..Finding::have(have) }
}

#[cfg(test)]
mod tests;
