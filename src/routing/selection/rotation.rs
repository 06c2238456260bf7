//! Smooth weighted rotation: each target's turn comes when its share of the calls says, and nothing
//! is drawn at random.
//!
//! Every call owes each of the targets that can take it a part of itself, by weight, and is paid to
//! one. That is the chairman assignment problem, and the rule here is R. Tijdeman's: of the targets
//! that are owed enough, the one goes first that would be owed a whole call soonest. With `n`
//! targets none ever strays by more than `1 - 1/(2n - 2)` of a call from its exact share, where
//! "the highest counter goes first" strays by one and a half.
//!
//! Who can take a call changes, and nobody can know how: then no rule keeps all within a call. (Two
//! pairs of equal targets take a call each, and both that went without are the next pair.) What is
//! owed is kept through such changes, so that nothing adds up.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::id::{CampaignId, TargetId};
use crate::money::Money;
use crate::time::Wall;

use super::super::decision::Readings;
use super::super::snapshot::RoutingSnapshot;
use super::Share;

/// A call, in the unit of what is owed. A share is rounded by less than this part of a call, once
/// per call.
const CALL: i64 = 1 << 48;

/// What selection remembers from call to call: input and output of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    campaigns: BTreeMap<CampaignId, BTreeMap<i32, BTreeMap<TargetId, Place>>>,
    /// Of campaigns that explore.
    explored: BTreeMap<CampaignId, Explored>,
}

/// What exploration has cost a campaign on one day: the difference to the best target, as expected
/// then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Explored {
    /// Of UTC, counted from the Unix epoch.
    #[n(0)]
    pub day: i64,
    #[n(1)]
    pub spent: Money,
}

/// How a target stands in its tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    owed: i64,
    /// Since when calls find it absent; kept where shares are held.
    absent_since: Option<Wall>,
}

/// What a target was owed before a decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RotationReading {
    #[n(0)]
    pub tier: i32,
    #[n(1)]
    pub target: TargetId,
    /// In 2^-48 of a call; below zero: it is ahead of its share.
    #[n(2)]
    pub owed: i64,
}

/// A target that a decision found absent where shares are held.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AbsenceReading {
    #[n(0)]
    pub tier: i32,
    #[n(1)]
    pub target: TargetId,
    /// Since when it had been absent before; absent: this call is the first to find it so.
    #[n(2)]
    pub since: Option<Wall>,
}

impl Rotation {
    /// What a decision about `campaign` had read.
    pub fn from_readings(campaign: &CampaignId, readings: &Readings) -> Self {
        let mut tiers: BTreeMap<i32, BTreeMap<TargetId, Place>> = BTreeMap::new();
        for RotationReading { tier, target, owed } in &readings.rotation {
            tiers.entry(*tier).or_default().entry(target.clone()).or_default().owed = *owed;
        }
        for AbsenceReading { tier, target, since } in &readings.absent {
            let place = tiers.entry(*tier).or_default().entry(target.clone()).or_default();
            place.absent_since = *since;
        }
        let explored = readings.explored.map(|it| (campaign.clone(), it)).into_iter().collect();
        Self { campaigns: [(campaign.clone(), tiers)].into(), explored }
    }

    /// What is remembered of one campaign.
    pub fn of(&self, campaign: &CampaignId) -> Self {
        let tiers = self.campaigns.get(campaign).cloned();
        let explored = self.explored.get(campaign).map(|it| (campaign.clone(), *it));
        Self {
            campaigns: tiers.map(|tiers| (campaign.clone(), tiers)).into_iter().collect(),
            explored: explored.into_iter().collect(),
        }
    }

    /// What exploration has cost a campaign on the last day it did.
    pub fn explored(&self, campaign: &CampaignId) -> Option<Explored> {
        self.explored.get(campaign).copied()
    }

    /// Puts back what exploration had cost a campaign before; of several days the last counts.
    pub fn restore_explored(&mut self, campaign: CampaignId, before: Explored) {
        let known = self.explored.entry(campaign).or_default();
        if known.day < before.day {
            *known = before;
        }
    }

    /// Forgets what is no longer configured, so that no more is remembered than there are targets.
    pub fn retain(&mut self, snapshot: &RoutingSnapshot) {
        self.explored.retain(|campaign, _| snapshot.campaign(campaign).is_some());
        self.campaigns.retain(|campaign, tiers| {
            let Some(campaign) = snapshot.campaign(campaign) else { return false };
            tiers.retain(|number, places| {
                let Some(tier) = campaign.tiers.iter().find(|tier| tier.tier == *number) else {
                    return false;
                };
                let members = tier.members.iter().map(|member| &snapshot.targets[member.target].id);
                let members: BTreeSet<_> = members.collect();
                places.retain(|target, _| members.contains(target));
                true
            });
            true
        });
    }

    /// Puts the targets of one tier that take part, given with their weights, in the order to try
    /// them in, and moves the rotation on by one call. Returns indices into `entrants` and appends
    /// what was read to `readings`.
    pub(super) fn order(
        &mut self,
        campaign: &CampaignId,
        tier: i32,
        entrants: &[Share<'_>],
        readings: &mut Vec<RotationReading>,
    ) -> Vec<usize> {
        let places = self.places(campaign, tier);
        let total: i64 = entrants.iter().map(|it| i64::from(it.weight)).sum();
        let share = |weight: u32| (CALL * i64::from(weight)).checked_div(total).unwrap_or(0);
        let mut order: Vec<_> = (0..entrants.len()).collect();
        order.sort_unstable_by_key(|&index| entrants[index].rank);

        // By rank the places pass by in one walk, where a look for each would take a search by name.
        let (mut before, mut new) = (vec![0; entrants.len()], vec![]);
        let mut known = places.iter_mut().peekable();
        for &index in &order {
            let Share { target, weight, .. } = entrants[index];
            while known.next_if(|(id, _)| *id < target).is_some() {}
            match known.next_if(|(id, _)| *id == target) {
                Some((_, place)) => {
                    before[index] = place.owed;
                    place.owed = place.owed.saturating_add(share(weight));
                }
                None => new.push(index),
            }
        }
        for index in new {
            let Share { target, weight, .. } = entrants[index];
            places.insert(target.clone(), Place { owed: share(weight), absent_since: None });
        }

        readings.reserve(entrants.len());
        let mut urgencies = Vec::with_capacity(entrants.len());
        for (&Share { target, weight, .. }, before) in entrants.iter().zip(before) {
            readings.push(RotationReading { tier, target: target.clone(), owed: before });
            let owed = before.saturating_add(share(weight));
            urgencies.push(urgency(owed, weight, entrants.len()));
        }
        // Of those that are as urgent the first by its id.
        order.sort_by_key(|&index| urgencies[index]);
        if let Some(place) = order.first().and_then(|&it| places.get_mut(entrants[it].target)) {
            place.owed = place.owed.saturating_sub(CALL);
        }
        order
    }

    /// Takes note of who of a tier is there for a call at `at`, and returns which of `absent` have
    /// not been away for `hold_ms` yet, as indices.
    pub(super) fn absent<'t>(
        &mut self,
        campaign: &CampaignId,
        (tier, hold_ms): (i32, i64),
        present: impl Iterator<Item = &'t TargetId>,
        absent: &[Share<'_>],
        at: Wall,
        readings: &mut Vec<AbsenceReading>,
    ) -> Vec<usize> {
        let places = self.places(campaign, tier);
        for target in present {
            if let Some(place) = places.get_mut(target) {
                place.absent_since = None;
            }
        }
        let mut held = vec![];
        for (index, &Share { target, .. }) in absent.iter().enumerate() {
            let place = places.entry(target.clone()).or_default();
            readings.push(AbsenceReading {
                tier,
                target: target.clone(),
                since: place.absent_since,
            });
            let since = *place.absent_since.get_or_insert(at);
            if at.0.saturating_sub(since.0) < hold_ms {
                held.push(index);
            }
        }
        held
    }

    /// Spends `loss` on exploration on `day`. Whether the day's limit lets it.
    pub(super) fn explore(
        &mut self,
        campaign: &CampaignId,
        day: i64,
        loss: Money,
        limit: Option<Money>,
        readings: &mut Readings,
    ) -> bool {
        let known = self.explored.get(campaign).copied().filter(|known| known.day == day);
        let explored = known.unwrap_or(Explored { day, spent: Money::ZERO });
        readings.explored.get_or_insert(explored);
        let spent = explored.spent + loss;
        let is_within = limit.is_none_or(|limit| spent <= limit);
        if is_within {
            self.explored.insert(campaign.clone(), Explored { day, spent });
        }
        is_within
    }

    fn places(&mut self, campaign: &CampaignId, tier: i32) -> &mut BTreeMap<TargetId, Place> {
        if !self.campaigns.contains_key(campaign) {
            self.campaigns.insert(campaign.clone(), BTreeMap::new());
        }
        self.campaigns.entry(campaign.clone()).or_default().entry(tier).or_default()
    }
}

/// How soon a target has to have its turn among `count` that take part; the lowest goes first.
/// First come those that are owed enough, by how many calls it takes until they are owed too much;
/// then the others, by what they are owed.
fn urgency(owed: i64, weight: u32, count: usize) -> (bool, i64) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let enough = CALL / count.saturating_mul(2).saturating_sub(2).max(1);
    let left = CALL.saturating_sub(enough).saturating_sub(owed);
    match owed >= enough {
        true => (false, left / i64::from(weight.max(1))),
        false => (true, owed.saturating_neg()),
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
    fn those_owed_the_same_are_ordered_by_id() {
        let (a, b) = (TargetId::new("a"), TargetId::new("b"));
        let both = [share(&b, 100, 1), share(&a, 100, 0)];
        let order = Rotation::default().order(&"c".into(), 1, &both, &mut vec![]);
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn a_target_that_is_left_out_is_owed_what_it_was() {
        let (a, b) = (TargetId::new("a"), TargetId::new("b"));
        let (mut rotation, campaign) = (Rotation::default(), CampaignId::new("c"));
        let both = [share(&a, 50, 0), share(&b, 50, 1)];
        rotation.order(&campaign, 1, &both, &mut vec![]);
        rotation.order(&campaign, 1, &both[..1], &mut vec![]);

        let mut readings = vec![];
        rotation.order(&campaign, 1, &both, &mut readings);

        assert_eq!(readings.iter().map(|r| r.owed).collect::<Vec<_>>(), [-CALL / 2, CALL / 2]);
    }

    /// Of these weights "the highest counter goes first" strays by 1.48.
    #[test]
    fn a_few_heavy_among_many_light_keep_to_their_shares() {
        let strays = strays(&[19, 1_000, 1, 6, 19, 1, 1, 1, 1_000, 1], 3_000);
        assert!(strays < 1.0, "{strays}");
    }

    #[test]
    fn while_who_can_take_a_call_changes_nothing_adds_up() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let weights: Vec<_> = (0..12).map(|_| random.u32(1..=1_000)).collect();
            let mut tier = Tier::new(&weights);
            let mut owed = [0.0; 12];
            let mut is_there = [true; 12];
            for _ in 0..3_000 {
                for there in &mut is_there {
                    *there ^= random.f64() < 0.05;
                }
                let present: Vec<_> = (0..12).filter(|index| is_there[*index]).collect();
                let Some(first) = tier.next_of(&present) else { continue };
                let total: u32 = present.iter().map(|index| weights[*index]).sum();
                for &index in &present {
                    owed[index] += f64::from(weights[index]) / f64::from(total);
                }
                owed[first] -= 1.0;
                assert!(owed.iter().all(|owed| owed.abs() < 2.0), "seed {seed}: {owed:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_target_strays_a_full_call_from_its_exact_share(
            weights in prop::collection::vec(
                prop_oneof![1_u32..=1_000, 1_u32..=20, Just(1), Just(1_000)], 2..=50,
            ),
        ) {
            let strays = strays(&weights, 3_000);
            let bound = 1.0 - 1.0 / (2.0 * weights.len() as f64 - 2.0);
            prop_assert!(strays < bound + 1e-6 && strays < 1.0, "{}", strays);
        }
    }

    /// As the rule is written down: each is looked for by its name, and of those that are as urgent
    /// the first name goes first.
    fn by_name(
        owed: &mut BTreeMap<TargetId, i64>,
        entrants: &[Share<'_>],
    ) -> (Vec<i64>, Vec<usize>) {
        let total: i64 = entrants.iter().map(|it| i64::from(it.weight)).sum();
        let before = entrants.iter().map(|it| owed.get(it.target).copied().unwrap_or(0)).collect();
        for Share { target, weight, .. } in entrants {
            *owed.entry((*target).clone()).or_default() += CALL * i64::from(*weight) / total;
        }
        let mut order: Vec<_> = (0..entrants.len()).collect();
        order.sort_by_key(|&index| {
            let Share { target, weight, .. } = entrants[index];
            (urgency(owed[target], weight, entrants.len()), target)
        });
        *owed.get_mut(entrants[order[0]].target).expect("it takes part") -= CALL;
        (before, order)
    }

    #[test]
    fn in_whatever_order_they_are_listed_each_is_owed_what_it_is_by_name() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let names: Vec<_> = (0..30).map(|n| TargetId::new(&format!("t{n}"))).collect();
            let mut sorted = names.clone();
            sorted.sort();
            let rank = |name| sorted.binary_search(name).expect("it is one of them");
            let (mut rotation, mut owed) = (Rotation::default(), BTreeMap::new());
            for call in 0..100 {
                let mut present = names.iter().collect::<Vec<_>>();
                random.shuffle(&mut present);
                present.truncate(random.usize(1..=30));
                let weight = |name| if rank(name) % 3 == 0 { 7 } else { 100 };
                let entrants = present.into_iter().map(|it| share(it, weight(it), rank(it)));
                let entrants: Vec<_> = entrants.collect();

                let mut readings = vec![];
                let order = rotation.order(&"c".into(), 1, &entrants, &mut readings);

                let before = readings.iter().map(|reading| reading.owed).collect::<Vec<_>>();
                let wanted = by_name(&mut owed, &entrants);
                assert_eq!((before, order), wanted, "seed {seed}, call {call}");
                let read = readings.iter().map(|reading| &reading.target);
                assert!(read.eq(entrants.iter().map(|it| it.target)), "in the order listed");
            }
        }
    }

    /// The farthest that any target ever is from its exact share.
    fn strays(weights: &[u32], calls: u32) -> f64 {
        let mut tier = Tier::new(weights);
        let total = f64::from(weights.iter().sum::<u32>());
        let mut counts = vec![0_u32; weights.len()];
        let mut farthest: f64 = 0.0;
        for call in 1..=calls {
            counts[tier.next()] += 1;
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(call) * f64::from(*weight) / total;
                farthest = farthest.max((f64::from(*count) - share).abs());
            }
        }
        farthest
    }

    fn share(target: &TargetId, weight: u32, rank: usize) -> Share<'_> {
        Share { target, weight, rank }
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
            let all: Vec<_> = (0..self.targets.len()).collect();
            self.next_of(&all).expect("there is a target")
        }

        fn next_of(&mut self, present: &[usize]) -> Option<usize> {
            let entrants: Vec<_> = present
                .iter()
                .map(|&index| share(&self.targets[index].0, self.targets[index].1, index))
                .collect();
            let order = self.rotation.order(&"c".into(), 1, &entrants, &mut vec![]);
            order.first().map(|first| present[*first])
        }
    }
}
