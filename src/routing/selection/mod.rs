//! In which order the eligible targets of a tier are tried (spec/domain §2.5).
//!
//! Owns: whose turn it is ([`Rotation`]), what is drawn, and whose share is held while they are
//! away. Does not own: who is eligible, and how the tiers follow one another.
//!
//! Held shares: where a tier says `hold_share_s`, a member that can take no call at all takes part
//! for that long after the first call that found it so. A call whose turn is that of such a member
//! goes to the tiers after; the others of its tier come last, for want of any other. What a call
//! itself is like (its tags, its caller, its price) makes no member absent.

mod draw;
mod performance;
mod rotation;
mod scored;

use std::sync::Arc;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{CampaignId, PublisherId, TargetId};

use super::config::PerformanceConfig;
use super::decision::{Check, Readings, Terms};
use super::performance::Tallies;
use super::request::{RouteRequest, UsageReader};
use super::scorer::Features;
use super::snapshot::{Target, Tier, TierMember};

pub(super) use draw::order as drawn;
pub use rotation::{AbsenceReading, Explored, Rotation, RotationReading};
pub use scored::ScoredRules;

/// By what the targets of a tier are put in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Distribution {
    /// By whose turn it is: exact shares over any stretch of calls.
    #[default]
    Smooth,
    /// Drawn for each call: exact shares in the long run, and nobody can tell who is next.
    Random,
    /// By what a call is expected to bring.
    Performance(Arc<PerformanceConfig>),
    /// By what a scorer says.
    Scored(Arc<ScoredRules>),
}

/// How a target had done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PerformanceReading {
    #[n(0)]
    pub target: TargetId,
    /// In the order of [`ScopeKind::ALL`](super::performance::ScopeKind::ALL).
    #[n(1)]
    pub tallies: Tallies,
}

/// What a scorer that is asked said of a target.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScoreReading {
    #[cbor(n(0), with = "codec::text")]
    pub scorer: SmolStr,
    #[n(1)]
    pub target: TargetId,
    /// In millionths.
    #[n(2)]
    pub score: i64,
}

/// The call for which targets are put in order.
pub(super) struct Scene<'a, U: ?Sized> {
    pub(super) request: &'a RouteRequest,
    pub(super) campaign: &'a CampaignId,
    pub(super) publisher: &'a PublisherId,
    /// Its tags and places.
    pub(super) facts: &'a dyn Features,
    pub(super) usage: &'a U,
}

/// A target that can take the call.
pub(super) struct Entrant<'a> {
    pub(super) target: &'a Target,
    pub(super) member: TierMember,
    pub(super) terms: Option<Terms>,
}

/// Who takes part in a rotation or a draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share<'a> {
    pub(super) target: &'a TargetId,
    pub(super) weight: u32,
    /// Its place by its id among all that may take part.
    pub(super) rank: usize,
}

impl<'a> Share<'a> {
    pub(super) fn of(target: &'a TargetId, member: TierMember) -> Self {
        Self { target, weight: member.weight, rank: member.rank }
    }
}

/// How a tier takes part in a plan.
pub(super) struct Turn<'a> {
    /// Indices into the eligible.
    pub(super) order: Vec<usize>,
    /// Whose turn it was: one that is away, and whose share is held.
    pub(super) held_for: Option<&'a TargetId>,
    /// What spoke for each of the eligible, where more than its weight did.
    pub(super) notes: Vec<SmolStr>,
}

/// Targets in order, by index, and what spoke for each.
struct Ranked {
    order: Vec<usize>,
    notes: Vec<SmolStr>,
}

impl<U: UsageReader + ?Sized> Scene<'_, U> {
    /// Whose turn it is in a tier. Moves `rotation` on by one call. `absent` are those that can take
    /// no call at all, with their weights, where shares are held; `None`: no share is held for anybody.
    pub(super) fn turn<'a>(
        &self,
        tier: &Tier,
        eligible: impl Iterator<Item = Entrant<'a>>,
        absent: Option<&[Share<'a>]>,
        rotation: &mut Rotation,
        readings: &mut Readings,
    ) -> Turn<'a> {
        let shares = |it: Entrant<'a>| Share::of(&it.target.id, it.member);
        let ranked = |Ranked { order, notes }| Turn { order, held_for: None, notes };
        match &tier.distribution {
            Distribution::Smooth | Distribution::Random => {
                let (by, entrants) = (&tier.distribution, eligible.map(shares).collect());
                self.by_share(tier, by, entrants, absent, rotation, readings)
            }
            Distribution::Performance(rules) => {
                let eligible: Vec<_> = eligible.collect();
                ranked(performance::order(rules, self, &eligible, rotation, readings))
            }
            Distribution::Scored(rules) => {
                let eligible: Vec<_> = eligible.collect();
                match scored::order(rules, self, &eligible, readings) {
                    Ok(order) => ranked(order),
                    Err(why) => {
                        let notes = vec![why; eligible.len()];
                        let entrants = eligible.into_iter().map(shares).collect();
                        let by = &rules.otherwise;
                        let turn = self.by_share(tier, by, entrants, None, rotation, readings);
                        Turn { notes, ..turn }
                    }
                }
            }
        }
    }

    fn by_share<'a>(
        &self,
        tier: &Tier,
        distribution: &Distribution,
        eligible: Vec<Share<'a>>,
        absent: Option<&[Share<'a>]>,
        rotation: &mut Rotation,
        readings: &mut Readings,
    ) -> Turn<'a> {
        let (present, mut entrants) = (eligible.len(), eligible);
        if let Some(absent) = absent.filter(|_| tier.hold_share_ms > 0) {
            let eligible = entrants.iter().map(|it| it.target);
            let (hold, at) = ((tier.tier, tier.hold_share_ms), self.request.at);
            let read = &mut readings.absent;
            let held = rotation.absent(self.campaign, hold, eligible, absent, at, read);
            if present > 0 {
                entrants.extend(held.into_iter().map(|index| absent[index]));
            }
        }
        let mut order = match distribution {
            Distribution::Random => {
                let entrants = entrants.iter().map(|it| (it.target.as_str(), it.weight.into()));
                draw::order(self.request.call, &entrants.collect::<Vec<_>>())
            }
            Distribution::Smooth | Distribution::Performance(_) | Distribution::Scored(_) => {
                let read = &mut readings.rotation;
                rotation.order(self.campaign, tier.tier, &entrants, read)
            }
        };
        let first = order.first().copied();
        let held_for = first.filter(|first| *first >= present).map(|first| entrants[first].target);
        order.retain(|index| *index < present);
        Turn { order, held_for, notes: vec![] }
    }
}

/// Whether a target that is refused by this check can take no call at all for now.
pub(super) fn makes_absent(check: Check) -> bool {
    match check {
        Check::State | Check::Schedule | Check::Cap | Check::Concurrency | Check::Health => true,
        Check::Number
        | Check::Session
        | Check::Campaign
        | Check::Account
        | Check::Publisher
        | Check::Weight
        | Check::Filter
        | Check::Selection
        | Check::Caller
        | Check::Duplicate
        | Check::Payout
        | Check::History
        | Check::Trunk
        | Check::Price
        | Check::List
        | Check::Way => false,
    }
}
