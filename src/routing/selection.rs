//! In which order the eligible targets of a tier are tried (spec/domain §2.5).
//!
//! Smooth weighted rotation: every target's counter grows by its weight, the highest goes first
//! and pays back the sum of the weights. The shares come out right over any stretch of calls, give
//! or take a call, and nothing is drawn at random.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::id::{CampaignId, TargetId};

use super::snapshot::RoutingSnapshot;

/// The rotation counters of every tier: input and output of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    campaigns: BTreeMap<CampaignId, BTreeMap<i32, BTreeMap<TargetId, i64>>>,
}

/// A counter as it was before a decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RotationReading {
    #[n(0)]
    pub tier: i32,
    #[n(1)]
    pub target: TargetId,
    #[n(2)]
    pub counter: i64,
}

impl Rotation {
    /// The counters a decision about `campaign` had read.
    pub fn from_readings(campaign: &CampaignId, readings: &[RotationReading]) -> Self {
        let mut tiers: BTreeMap<i32, BTreeMap<TargetId, i64>> = BTreeMap::new();
        for RotationReading { tier, target, counter } in readings {
            tiers.entry(*tier).or_default().insert(target.clone(), *counter);
        }
        Self { campaigns: [(campaign.clone(), tiers)].into() }
    }

    /// The counters of one campaign.
    pub fn of(&self, campaign: &CampaignId) -> Self {
        let tiers = self.campaigns.get(campaign).cloned();
        Self { campaigns: tiers.map(|tiers| (campaign.clone(), tiers)).into_iter().collect() }
    }

    /// Forgets what is no longer configured, so that the counters stay as many as the targets.
    pub fn retain(&mut self, snapshot: &RoutingSnapshot) {
        self.campaigns.retain(|campaign, tiers| {
            let Some(campaign) = snapshot.campaign(campaign) else { return false };
            tiers.retain(|number, targets| {
                let Some(tier) = campaign.tiers.iter().find(|tier| tier.tier == *number) else {
                    return false;
                };
                let members: Vec<_> =
                    tier.members.iter().map(|member| &snapshot.targets[member.target].id).collect();
                targets.retain(|target, _| members.contains(&target));
                true
            });
            true
        });
    }

    /// Puts the eligible targets of one tier, given with their weights, in the order to try them
    /// in, and moves the rotation on by one call. Returns indices into `eligible` and appends what
    /// was read to `readings`.
    pub(super) fn order(
        &mut self,
        campaign: &CampaignId,
        tier: i32,
        eligible: &[(&TargetId, u32)],
        readings: &mut Vec<RotationReading>,
    ) -> Vec<usize> {
        if !self.campaigns.contains_key(campaign) {
            self.campaigns.insert(campaign.clone(), BTreeMap::new());
        }
        let counters = self.campaigns.entry(campaign.clone()).or_default().entry(tier).or_default();
        let mut grown = vec![];
        for &(target, weight) in eligible {
            let counter = counters.get(target).copied().unwrap_or(0);
            readings.push(RotationReading { tier, target: target.clone(), counter });
            grown.push(counter.saturating_add(i64::from(weight)));
        }
        let mut order: Vec<_> = (0..eligible.len()).collect();
        order.sort_by_key(|&index| (Reverse(grown[index]), eligible[index].0));
        let total: i64 = eligible.iter().map(|(_, weight)| i64::from(*weight)).sum();
        if let Some(&first) = order.first() {
            grown[first] = grown[first].saturating_sub(total);
        }
        for (&(target, _), counter) in eligible.iter().zip(grown) {
            match counters.get_mut(target) {
                Some(known) => *known = counter,
                None => {
                    counters.insert(target.clone(), counter);
                }
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seventy_to_thirty_is_exact_in_every_ten_calls() {
        let mut firsts = Tier::new(&[70, 30]);
        let ten: Vec<_> = (0..10).map(|_| firsts.next()).collect();
        assert_eq!(ten, [0, 1, 0, 0, 0, 1, 0, 0, 1, 0]);
        assert_eq!((0..10).map(|_| firsts.next()).collect::<Vec<_>>(), ten);
    }

    #[test]
    fn equal_counters_are_ordered_by_id() {
        let (a, b) = (TargetId::new("a"), TargetId::new("b"));
        let order = Rotation::default().order(&"c".into(), 1, &[(&b, 100), (&a, 100)], &mut vec![]);
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn a_target_that_is_left_out_keeps_its_counter() {
        let (a, b) = (TargetId::new("a"), TargetId::new("b"));
        let (mut rotation, campaign) = (Rotation::default(), CampaignId::new("c"));
        rotation.order(&campaign, 1, &[(&a, 50), (&b, 50)], &mut vec![]);
        rotation.order(&campaign, 1, &[(&a, 50)], &mut vec![]);

        let mut readings = vec![];
        rotation.order(&campaign, 1, &[(&a, 50), (&b, 50)], &mut readings);

        assert_eq!(readings.iter().map(|r| r.counter).collect::<Vec<_>>(), [-50, 50]);
    }

    proptest! {
        #[test]
        fn no_target_strays_two_calls_from_its_share(
            weights in prop::collection::vec(1_u32..=1_000, 2..12),
            calls in 1_usize..600,
        ) {
            let mut tier = Tier::new(&weights);
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            for call in 1..=calls {
                counts[tier.next()] += 1;
                for (count, weight) in counts.iter().zip(&weights) {
                    let share = call as f64 * f64::from(*weight) / f64::from(total);
                    prop_assert!((f64::from(*count) - share).abs() < 2.0);
                }
            }
        }
    }

    struct Tier {
        rotation: Rotation,
        targets: Vec<(TargetId, u32)>,
    }

    impl Tier {
        fn new(weights: &[u32]) -> Self {
            let name = |n| TargetId::new(&format!("t{n:02}"));
            let targets = weights.iter().enumerate().map(|(n, w)| (name(n), *w)).collect();
            Self { rotation: Rotation::default(), targets }
        }

        /// The target that goes first for the next call.
        fn next(&mut self) -> usize {
            let eligible: Vec<_> = self.targets.iter().map(|(t, w)| (t, *w)).collect();
            self.rotation.order(&"c".into(), 1, &eligible, &mut vec![])[0]
        }
    }
}
