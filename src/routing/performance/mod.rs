//! How well targets do: calls that were tried, answered and converted, counted by whom they
//! concerned (spec/domain §2.5).
//!
//! Owns: the counts, by scope and by day of UTC. Does not own: what is made of them, which is
//! [`estimate`]'s and selection's. A call counts on the day it was admitted, whatever happens to it
//! later, so that what is put back from the CDRs after a restart is what was there.

pub(super) mod estimate;

use std::collections::{BTreeMap, VecDeque};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::{BuyerId, CallId, CampaignId, PublisherId, TargetId};
use crate::time::Wall;

const DAY_MS: i64 = 86_400_000;

/// What counts of calls are kept apart by, the narrowest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum ScopeKind {
    /// Target, publisher and campaign.
    #[n(0)]
    TargetPublisherCampaign,
    #[n(1)]
    TargetCampaign,
    #[n(2)]
    Target,
    #[n(3)]
    Buyer,
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    TargetPublisherCampaign(TargetId, PublisherId, CampaignId),
    TargetCampaign(TargetId, CampaignId),
    Target(TargetId),
    Buyer(BuyerId),
}

/// Counts of calls. A call that was converted was connected, and one that was connected was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    pub dialed: u32,
    #[n(1)]
    pub connected: u32,
    #[n(2)]
    pub converted: u32,
}

/// Counts of each scope, in the order of [`ScopeKind::ALL`].
pub type Tallies = [Tally; 4];

/// Whom an attempt concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerned {
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub target: TargetId,
    pub buyer: BuyerId,
}

/// The counts of all, and which calls may still add to them.
#[derive(Clone, Debug)]
pub struct Performance {
    scopes_max: usize,
    /// Oldest day first.
    days: BTreeMap<Scope, VecDeque<(i64, Tally)>>,
    live: BTreeMap<CallId, Live>,
}

#[derive(Clone, Debug)]
struct Live {
    campaign: CampaignId,
    publisher: PublisherId,
    day: i64,
    answered_by: Option<(TargetId, BuyerId)>,
}

/// Scopes that are counted, unless told otherwise.
const SCOPES_MAX: usize = 200_000;

impl ScopeKind {
    /// The narrowest first.
    pub const ALL: [Self; 4] =
        [Self::TargetPublisherCampaign, Self::TargetCampaign, Self::Target, Self::Buyer];

    /// As explanations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TargetPublisherCampaign => "target, publisher and campaign",
            Self::TargetCampaign => "target and campaign",
            Self::Target => "target",
            Self::Buyer => "buyer",
        }
    }
}

impl Scope {
    pub fn of(kind: ScopeKind, concerned: &Concerned) -> Self {
        let Concerned { campaign, publisher, target, buyer } = concerned.clone();
        match kind {
            ScopeKind::TargetPublisherCampaign => {
                Self::TargetPublisherCampaign(target, publisher, campaign)
            }
            ScopeKind::TargetCampaign => Self::TargetCampaign(target, campaign),
            ScopeKind::Target => Self::Target(target),
            ScopeKind::Buyer => Self::Buyer(buyer),
        }
    }
}

impl Tally {
    pub const DIALED: Self = Self { dialed: 1, connected: 0, converted: 0 };
    pub const CONNECTED: Self = Self { dialed: 0, connected: 1, converted: 0 };
    pub const CONVERTED: Self = Self { dialed: 0, connected: 0, converted: 1 };

    fn add(&mut self, more: Self) {
        self.dialed = self.dialed.saturating_add(more.dialed);
        self.connected = self.connected.saturating_add(more.connected);
        self.converted = self.converted.saturating_add(more.converted);
    }
}

impl Default for Performance {
    fn default() -> Self {
        Self::new(SCOPES_MAX)
    }
}

impl Performance {
    /// Counts at most `scopes_max` scopes; what came first is counted, the rest is seen in the wider
    /// scopes it is part of, if those came first.
    pub fn new(scopes_max: usize) -> Self {
        Self { scopes_max, days: BTreeMap::new(), live: BTreeMap::new() }
    }

    /// A call was decided.
    pub fn begin(&mut self, call: CallId, campaign: CampaignId, publisher: PublisherId, at: Wall) {
        self.live.insert(call, Live { campaign, publisher, day: day_of(at), answered_by: None });
    }

    /// It is tried at a target.
    pub fn dialed(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId) {
        self.count(call, target, buyer, Tally::DIALED);
    }

    /// A carrier was told to try it there itself, and nobody may ever tell what became of that: such
    /// an attempt says nothing of the target.
    pub fn handed_over(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId) {
        let Some(live) = self.live.get(&call) else { return };
        let (day, concerned) = (live.day, live.concerned(target, buyer));
        for kind in ScopeKind::ALL {
            let days = self.days.get_mut(&Scope::of(kind, &concerned));
            let mut days = days.into_iter().flatten();
            if let Some((_, tally)) = days.find(|(it, _)| *it == day) {
                tally.dialed = tally.dialed.saturating_sub(1);
            }
        }
    }

    /// A target has answered it.
    pub fn connected(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId) {
        self.count(call, target, buyer, Tally::CONNECTED);
        if let Some(live) = self.live.get_mut(&call) {
            live.answered_by = Some((target.clone(), buyer.clone()));
        }
    }

    /// The buyer owes for it.
    pub fn converted(&mut self, call: CallId) {
        let answered_by = self.live.get(&call).and_then(|live| live.answered_by.clone());
        if let Some((target, buyer)) = answered_by {
            self.count(call, &target, &buyer, Tally::CONVERTED);
        }
    }

    pub fn ended(&mut self, call: CallId) {
        self.live.remove(&call);
    }

    /// Puts back counts of before.
    pub fn restore(&mut self, concerned: &Concerned, day: i64, tally: Tally) {
        for kind in ScopeKind::ALL {
            self.add(Scope::of(kind, concerned), day, tally);
        }
    }

    /// How calls of those concerned went on the day `since` and later.
    pub fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        ScopeKind::ALL.map(|kind| self.tally(&Scope::of(kind, concerned), since))
    }

    /// What was counted of a scope on the day `since` and later.
    pub fn tally(&self, scope: &Scope, since: i64) -> Tally {
        let mut sum = Tally::default();
        for (_, tally) in self.days.get(scope).into_iter().flatten().filter(|it| it.0 >= since) {
            sum.add(*tally);
        }
        sum
    }

    /// Forgets the days before `since`.
    pub fn forget(&mut self, since: i64) {
        self.days.retain(|_, days| {
            while days.front().is_some_and(|(day, _)| *day < since) {
                days.pop_front();
            }
            !days.is_empty()
        });
    }

    fn count(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId, tally: Tally) {
        let Some(live) = self.live.get(&call) else { return };
        let (day, concerned) = (live.day, live.concerned(target, buyer));
        self.restore(&concerned, day, tally);
    }

    fn add(&mut self, scope: Scope, day: i64, tally: Tally) {
        if !self.days.contains_key(&scope) && self.days.len() >= self.scopes_max {
            return;
        }
        let days = self.days.entry(scope).or_default();
        let at = days.partition_point(|(it, _)| *it < day);
        match days.get_mut(at).filter(|(it, _)| *it == day) {
            Some((_, known)) => known.add(tally),
            None => days.insert(at, (day, tally)),
        }
    }
}

impl Live {
    fn concerned(&self, target: &TargetId, buyer: &BuyerId) -> Concerned {
        Concerned {
            campaign: self.campaign.clone(),
            publisher: self.publisher.clone(),
            target: target.clone(),
            buyer: buyer.clone(),
        }
    }
}

/// The day of UTC, counted from the Unix epoch.
pub fn day_of(at: Wall) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// When a day begins.
pub fn begin_of(day: i64) -> Wall {
    Wall(day.saturating_mul(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Wall = Wall(20_000 * DAY_MS + DAY_MS / 2);

    #[test]
    fn a_call_counts_in_each_scope_on_the_day_it_was_admitted() {
        let mut book = Performance::default();
        let call = begin(&mut book, 1, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.dialed(call, &"u".into(), &"b".into());
        book.connected(call, &"u".into(), &"b".into());
        book.converted(call);

        let u = concerned("u");
        for kind in
            [ScopeKind::TargetPublisherCampaign, ScopeKind::TargetCampaign, ScopeKind::Target]
        {
            assert_eq!(book.tally(&Scope::of(kind, &u), 20_000), tally(1, 1, 1), "{kind:?}");
            assert_eq!(book.tally(&Scope::of(kind, &u), 20_001), tally(0, 0, 0), "{kind:?}");
        }
        assert_eq!(book.tally(&Scope::Target("t".into()), 0), tally(1, 0, 0));
        assert_eq!(book.tally(&Scope::Buyer("b".into()), 0), tally(2, 1, 1));
    }

    #[test]
    fn what_is_looked_back_at_is_whole_days() {
        let mut book = Performance::default();
        for day in [20_003, 20_000, 20_001, 20_001] {
            book.restore(&concerned("t"), day, tally(10, 5, 1));
        }
        let since = |day| book.tally(&Scope::Target("t".into()), day).dialed;
        assert_eq!([20_000, 20_001, 20_002, 20_003, 20_004].map(since), [40, 30, 10, 10, 0]);

        book.forget(20_001);
        assert_eq!(book.tally(&Scope::Target("t".into()), 0).dialed, 30);
    }

    #[test]
    fn what_a_carrier_was_told_to_do_itself_says_nothing() {
        let mut book = Performance::default();
        let call = begin(&mut book, 1, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.handed_over(call, &"t".into(), &"b".into());
        assert_eq!(book.tally(&Scope::Target("t".into()), 0), tally(0, 0, 0));
    }

    #[test]
    fn a_call_that_is_over_or_was_never_decided_counts_no_more() {
        let mut book = Performance::default();
        let call = begin(&mut book, 1, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.ended(call);
        book.connected(call, &"t".into(), &"b".into());
        book.converted(call);
        book.dialed(CallId::of_simulation(1, 2), &"t".into(), &"b".into());
        assert_eq!(book.tally(&Scope::Target("t".into()), 0), tally(1, 0, 0));
        assert!(book.live.is_empty());
    }

    #[test]
    fn no_more_scopes_are_counted_than_allowed() {
        let mut book = Performance::new(6);
        for target in ["a", "b", "c"] {
            book.restore(&concerned(target), 20_000, tally(1, 0, 0));
        }
        assert_eq!(book.days.len(), 6);
        assert_eq!(book.tally(&Scope::Buyer("b".into()), 0).dialed, 3);
        assert_eq!(book.tally(&Scope::Target("c".into()), 0).dialed, 0);
    }

    fn begin(book: &mut Performance, number: u32, at: Wall) -> CallId {
        let call = CallId::of_simulation(1, number);
        book.begin(call, "c".into(), "p".into(), at);
        call
    }

    fn concerned(target: &str) -> Concerned {
        Concerned {
            campaign: "c".into(),
            publisher: "p".into(),
            target: target.into(),
            buyer: "b".into(),
        }
    }

    fn tally(dialed: u32, connected: u32, converted: u32) -> Tally {
        Tally { dialed, connected, converted }
    }
}
