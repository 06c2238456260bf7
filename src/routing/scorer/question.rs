//! What scorers elsewhere are asked before a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use smol_str::SmolStr;

use crate::id::{BuyerId, CallId, CampaignId, PublisherId, TargetId, TrunkId};
use crate::money::Money;

use super::super::attribution::{attribute, owner};
use super::super::decider::{Known, decide, merged_tags, terms};
use super::super::decision::{Check, Step};
use super::super::duplicate::Dues;
use super::super::facts::Facts;
use super::super::quote::Owed;
use super::super::request::{RouteRequest, UsageReader};
use super::super::selection::{Distribution, Rotation};
use super::super::snapshot::{Campaign, RoutingSnapshot, Tier, TierMember};
use super::{AskedScorer, Features as _, ScoredBy};

/// What one scorer is sent, as JSON. The caller's number is not in it.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    #[serde(skip)]
    pub scorer: Arc<AskedScorer>,
    pub call: CallId,
    /// RFC 3339.
    pub at: String,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub trunk: TrunkId,
    /// Those that the scorer is told and that are known.
    pub features: BTreeMap<SmolStr, SmolStr>,
    /// All targets of its tiers that are not switched off, whether or not they can take the call now:
    /// that may change before it is decided.
    pub candidates: Vec<AskedTarget>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AskedTarget {
    pub target: TargetId,
    pub buyer: BuyerId,
    pub tier: i32,
    pub weight: u32,
    pub revenue: Money,
    pub payout: Money,
}

/// What is to be asked before a call is decided; empty: nothing.
///
/// The call is decided as if nobody had answered, on what the decision itself will read. Only a tier
/// in which that had two targets or more to put in order is asked about.
pub fn questions<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    known: Known<'_>,
    usage: &U,
    rotation: &Rotation,
) -> Vec<Question> {
    let mut questions: Vec<Question> = vec![];
    let sessions = known.sessions;
    let Some(owner) = owner(snapshot, request, sessions) else { return questions };
    let asked = asked(owner.campaign);
    if asked.is_empty() {
        return questions;
    }
    let mut rotation = rotation.of(&owner.campaign.id);
    let decision = decide(snapshot, request, known, usage, &mut rotation);
    let ranked: BTreeSet<_> = decision.steps.iter().filter_map(ranked).collect();
    let (_, session) = attribute(&owner, snapshot.trunk_word(request), request, sessions);
    let tags = merged_tags(request, session);
    let owed = Owed::of(owner.publisher.payouts.get(&owner.campaign.id), session, request);
    let facts = Facts::new(&tags, request.caller, &snapshot.geo).enriched(session);
    let facts = facts.on_record(snapshot.line(request.caller, usage));
    let dues = Dues::of_a_first_call(&owner.campaign.id, &owner.publisher.id);
    for (tier, scorer) in asked {
        let is_ranked = |member: &&TierMember| ranked.contains(&snapshot.targets[member.target].id);
        if tier.members.iter().filter(is_ranked).nth(1).is_none() {
            continue;
        }
        let members = tier.members.iter().filter(|member| member.weight > 0);
        let candidates = members.filter_map(|member| {
            let target = &snapshot.targets[member.target];
            let terms = terms(target, &owed, (&dues, false), Money::ZERO);
            (!target.paused).then(|| AskedTarget {
                target: target.id.clone(),
                buyer: target.buyer.clone(),
                tier: tier.tier,
                weight: member.weight,
                revenue: terms.map(|terms| terms.revenue).unwrap_or_default(),
                payout: terms.map(|terms| terms.payout).unwrap_or_default(),
            })
        });
        let known = questions.iter_mut().find(|question| question.scorer.id == scorer.id);
        match known {
            Some(question) => question.candidates.extend(candidates),
            None => questions.push(Question {
                call: request.call,
                at: request.at.to_rfc3339(),
                campaign: owner.campaign.id.clone(),
                publisher: owner.publisher.id.clone(),
                trunk: request.trunk.clone(),
                features: scorer
                    .features
                    .iter()
                    .filter_map(|name| Some((name.clone(), facts.feature(name)?)))
                    .collect(),
                candidates: candidates.collect(),
                scorer: Arc::clone(scorer),
            }),
        }
    }
    questions
}

/// The target of this step, if something spoke for its place in the order of its tier.
fn ranked(step: &Step) -> Option<&TargetId> {
    let is_ranked = step.check == Check::Selection && step.have.is_some();
    step.target.as_ref().filter(|_| is_ranked)
}

impl RoutingSnapshot {
    /// The scorers that tiers ask, some of them several times.
    pub fn asked_scorers(&self) -> impl Iterator<Item = &SmolStr> {
        let of_tiers = self.campaigns.iter().flat_map(asked);
        of_tiers.map(|(_, scorer)| &scorer.id)
    }
}

/// The tiers of a campaign whose scorers are asked.
fn asked(campaign: &Campaign) -> Vec<(&Tier, &Arc<AskedScorer>)> {
    let asked = campaign.tiers.iter().filter_map(|tier| match &tier.distribution {
        Distribution::Scored(rules) => match &rules.scorer.by {
            ScoredBy::Asked(scorer) => Some((tier, scorer)),
            ScoredBy::Logistic(_) | ScoredBy::Table(_) => None,
        },
        Distribution::Smooth | Distribution::Random | Distribution::Performance(_) => None,
    });
    asked.collect()
}
