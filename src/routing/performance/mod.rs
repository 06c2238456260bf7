//! How well targets do: calls that were tried, answered and converted, counted by whom they
//! concerned (spec/domain §2.5), and of campaigns, publishers and all together, for their caps.
//!
//! Owns: the counts, by scope and by day of UTC. Does not own: what is made of them, which is
//! [`estimate`]'s, [`rate`]'s and selection's. A call counts on the day it was admitted, whatever happens to it
//! later, so that what is put back from the CDRs after a restart is what was there.

pub(super) mod estimate;
pub mod rate;

use std::collections::{BTreeMap, VecDeque};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::{BuyerId, CallId, CampaignId, PublisherId, TargetId};
use crate::time::{Mono, Wall};

use rate::{LOOKBACK_DAYS, Lately};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Scope {
    #[n(0)]
    TargetPublisherCampaign(#[n(0)] TargetId, #[n(1)] PublisherId, #[n(2)] CampaignId),
    #[n(1)]
    TargetCampaign(#[n(0)] TargetId, #[n(1)] CampaignId),
    #[n(2)]
    Target(#[n(0)] TargetId),
    #[n(3)]
    Buyer(#[n(0)] BuyerId),
    #[n(4)]
    Campaign(#[n(0)] CampaignId),
    #[n(5)]
    Publisher(#[n(0)] PublisherId),
    /// All calls of the account.
    #[n(6)]
    All,
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
    /// How long it took those to convert, in all, from their answers on. Milliseconds.
    #[cbor(n(3), default)]
    pub won_ms: u64,
    /// How long those talked, in all, that were connected, are over and did not convert. Milliseconds.
    #[cbor(n(4), default)]
    pub lost_ms: u64,
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
    answered_by: Option<Answered>,
}

#[derive(Clone, Debug)]
struct Answered {
    target: TargetId,
    buyer: BuyerId,
    at: Mono,
    is_converted: bool,
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

    /// Each in which a call counts.
    fn each_of(concerned: &Concerned) -> impl Iterator<Item = Self> {
        let Concerned { campaign, publisher, .. } = concerned.clone();
        let wide = [Self::Campaign(campaign), Self::Publisher(publisher), Self::All];
        ScopeKind::ALL.into_iter().map(|kind| Self::of(kind, concerned)).chain(wide)
    }
}

impl Tally {
    const NONE: Self = Self { dialed: 0, connected: 0, converted: 0, won_ms: 0, lost_ms: 0 };
    pub const DIALED: Self = Self { dialed: 1, ..Self::NONE };
    pub const CONNECTED: Self = Self { connected: 1, ..Self::NONE };
    pub const CONVERTED: Self = Self { converted: 1, ..Self::NONE };

    fn add(&mut self, more: Self) {
        self.dialed = self.dialed.saturating_add(more.dialed);
        self.connected = self.connected.saturating_add(more.connected);
        self.converted = self.converted.saturating_add(more.converted);
        self.won_ms = self.won_ms.saturating_add(more.won_ms);
        self.lost_ms = self.lost_ms.saturating_add(more.lost_ms);
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
        for scope in Scope::each_of(&concerned) {
            let days = self.days.get_mut(&scope);
            let mut days = days.into_iter().flatten();
            if let Some((_, tally)) = days.find(|(it, _)| *it == day) {
                tally.dialed = tally.dialed.saturating_sub(1);
            }
        }
    }

    /// A target has answered it.
    pub fn connected(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId, now: Mono) {
        self.count(call, target, buyer, Tally::CONNECTED);
        if let Some(live) = self.live.get_mut(&call) {
            let (target, buyer) = (target.clone(), buyer.clone());
            live.answered_by = Some(Answered { target, buyer, at: now, is_converted: false });
        }
    }

    /// The buyer owes for it.
    pub fn converted(&mut self, call: CallId, now: Mono) {
        let answered_by = self.live.get_mut(&call).and_then(|live| live.answered_by.as_mut());
        if let Some(answered) = answered_by {
            answered.is_converted = true;
            let won_ms = now.ms_since(answered.at);
            let (target, buyer) = (answered.target.clone(), answered.buyer.clone());
            self.count(call, &target, &buyer, Tally { won_ms, ..Tally::CONVERTED });
        }
    }

    /// It is over, after so long a talk with whoever answered last.
    pub fn ended(&mut self, call: CallId, talk_ms: u64) {
        let answered_by = self.live.get(&call).and_then(|live| live.answered_by.clone());
        if let Some(Answered { target, buyer, is_converted: false, .. }) = answered_by {
            self.count(call, &target, &buyer, Tally { lost_ms: talk_ms, ..Tally::NONE });
        }
        self.live.remove(&call);
    }

    /// Puts back counts of before.
    pub fn restore(&mut self, concerned: &Concerned, day: i64, tally: Tally) {
        for scope in Scope::each_of(concerned) {
            self.add(scope, day, tally);
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

    /// How calls of a scope went in the days up to that of `at`.
    pub fn lately(&self, scope: &Scope, at: Wall) -> Lately {
        let today = day_of(at);
        let since = today + 1 - i64::from(LOOKBACK_DAYS);
        let mut lately = Lately::default();
        for (day, tally) in self.days.get(scope).into_iter().flatten() {
            if *day >= since {
                lately.whole.add(*tally);
            }
            if *day >= today {
                lately.today.add(*tally);
            }
        }
        lately
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
    use std::time::Duration;

    use super::*;

    const NOON: Wall = Wall(20_000 * DAY_MS + DAY_MS / 2);

    #[test]
    fn a_call_counts_in_each_scope_on_the_day_it_was_admitted() {
        let mut book = Performance::default();
        let call = begin(&mut book, 1, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.dialed(call, &"u".into(), &"b".into());
        let answered = Mono(7_000_000);
        book.connected(call, &"u".into(), &"b".into(), answered);
        book.converted(call, answered + Duration::from_secs(90));
        book.ended(call, 200_000);

        let u = concerned("u");
        for kind in
            [ScopeKind::TargetPublisherCampaign, ScopeKind::TargetCampaign, ScopeKind::Target]
        {
            let won = Tally { won_ms: 90_000, ..tally(1, 1, 1) };
            assert_eq!(book.tally(&Scope::of(kind, &u), 20_000), won, "{kind:?}");
            assert_eq!(book.tally(&Scope::of(kind, &u), 20_001), tally(0, 0, 0), "{kind:?}");
        }
        assert_eq!(book.tally(&Scope::Target("t".into()), 0), tally(1, 0, 0));
        let both = Tally { won_ms: 90_000, ..tally(2, 1, 1) };
        for wide in [
            Scope::Buyer("b".into()),
            Scope::Campaign("c".into()),
            Scope::Publisher("p".into()),
            Scope::All,
        ] {
            assert_eq!(book.tally(&wide, 0), both, "{wide:?}");
        }
    }

    #[test]
    fn what_was_talked_by_a_call_that_did_not_convert_is_lost() {
        let mut book = Performance::default();
        let call = begin(&mut book, 1, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.ended(call, 7_000);
        assert_eq!(book.tally(&Scope::All, 0), tally(1, 0, 0), "nobody answered");
        let call = begin(&mut book, 2, NOON);
        book.dialed(call, &"t".into(), &"b".into());
        book.connected(call, &"t".into(), &"b".into(), Mono(7));
        book.ended(call, 7_000);
        let lost = Tally { lost_ms: 7_000, ..tally(2, 1, 0) };
        assert_eq!(book.tally(&Scope::All, 0), lost);
    }

    /// As tallies were written before times were kept.
    #[derive(Encode)]
    struct OldTally {
        #[n(0)]
        dialed: u32,
        #[n(1)]
        connected: u32,
        #[n(2)]
        converted: u32,
    }

    #[test]
    fn a_tally_of_before_is_read() {
        let old = OldTally { dialed: 9, connected: 5, converted: 1 };
        let read: Tally = minicbor::decode(&minicbor::to_vec(&old).unwrap()).unwrap();
        assert_eq!(read, tally(9, 5, 1));
    }

    #[test]
    fn lately_is_fourteen_days_and_of_them_today() {
        let mut book = Performance::default();
        for (day, dialed) in [(19_986, 1), (19_987, 10), (19_999, 100), (20_000, 1_000)] {
            book.restore(&concerned("t"), day, tally(dialed, 0, 0));
        }
        let lately = book.lately(&Scope::Target("t".into()), NOON);
        assert_eq!(lately, Lately { whole: tally(1_110, 0, 0), today: tally(1_000, 0, 0) });
        assert_eq!(book.lately(&Scope::Target("u".into()), NOON), Lately::default());
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
        book.ended(call, 0);
        book.connected(call, &"t".into(), &"b".into(), Mono(7));
        book.converted(call, Mono(7));
        book.dialed(CallId::of_simulation(1, 2), &"t".into(), &"b".into());
        assert_eq!(book.tally(&Scope::Target("t".into()), 0), tally(1, 0, 0));
        assert!(book.live.is_empty());
    }

    #[test]
    fn no_more_scopes_are_counted_than_allowed() {
        // The first brings seven.
        let mut book = Performance::new(9);
        for target in ["a", "b", "c"] {
            book.restore(&concerned(target), 20_000, tally(1, 0, 0));
        }
        assert_eq!(book.days.len(), 9);
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
        Tally { dialed, connected, converted, ..Tally::NONE }
    }
}
