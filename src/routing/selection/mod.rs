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
mod rotation;

use crate::id::{CampaignId, TargetId};

use super::decision::{Check, Readings};
use super::request::RouteRequest;
use super::snapshot::Tier;

pub use rotation::{AbsenceReading, Rotation, RotationReading};

/// By what the targets of a tier are put in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// By whose turn it is: exact shares over any stretch of calls.
    #[default]
    Smooth,
    /// Drawn for each call: exact shares in the long run, and nobody can tell who is next.
    Random,
}

/// A tier as a call finds it.
pub(super) struct Entrants<'a> {
    pub(super) campaign: &'a CampaignId,
    pub(super) tier: &'a Tier,
    /// With their weights.
    pub(super) eligible: Vec<(&'a TargetId, u32)>,
    /// Those that can take no call at all. Empty where no shares are held.
    pub(super) absent: &'a [(&'a TargetId, u32)],
}

/// How a tier takes part in a plan.
pub(super) struct Turn<'a> {
    /// Indices into the eligible.
    pub(super) order: Vec<usize>,
    /// Whose turn it was: one that is away, and whose share is held.
    pub(super) held_for: Option<&'a TargetId>,
}

impl<'a> Entrants<'a> {
    /// Whose turn it is. Moves `rotation` on by one call.
    pub(super) fn turn(
        self,
        request: &RouteRequest,
        rotation: &mut Rotation,
        readings: &mut Readings,
    ) -> Turn<'a> {
        let Self { campaign, tier, eligible, absent } = self;
        let (present, mut entrants) = (eligible.len(), eligible);
        if tier.hold_share_ms > 0 {
            let eligible = entrants.iter().map(|(target, _)| *target);
            let hold = (tier.tier, tier.hold_share_ms);
            let read = &mut readings.absent;
            let held = rotation.absent(campaign, hold, eligible, absent, request.at, read);
            if present > 0 {
                entrants.extend(held.into_iter().map(|index| absent[index]));
            }
        }
        let mut order = match &tier.distribution {
            Distribution::Smooth => {
                rotation.order(campaign, tier.tier, &entrants, &mut readings.rotation)
            }
            Distribution::Random => {
                let entrants: Vec<_> =
                    entrants.iter().map(|(target, weight)| (*target, u64::from(*weight))).collect();
                draw::order(request.call, &entrants)
            }
        };
        let first = order.first().copied();
        let held_for = first.filter(|first| *first >= present).map(|first| entrants[first].0);
        order.retain(|index| *index < present);
        Turn { order, held_for }
    }
}

/// Whether a target that is refused by this check can take no call at all for now.
pub(super) fn makes_absent(check: Check) -> bool {
    match check {
        Check::State | Check::Schedule | Check::Cap | Check::Concurrency | Check::Health => true,
        Check::Number
        | Check::Session
        | Check::Campaign
        | Check::Publisher
        | Check::Weight
        | Check::Filter
        | Check::Selection
        | Check::Caller
        | Check::Duplicate
        | Check::History => false,
    }
}
