//! Room of this node's own: what it may still give to calls while the store is away, without passing
//! any limit (spec/data §1.7).
//!
//! The store counts all of it as held, by tokens that were reserved in advance, or by holds whose
//! calls are over but whose end the store has not been told yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::HoldId;
use crate::routing::Usage;
use crate::routing::hold::{Bucket, BucketRequest, Counts};
use crate::time::{Mono, Wall};

use super::super::store::Change;

/// Calls that the tokens of a bucket are for at most.
const CALLS_MAX: u64 = 5;
/// The same of concurrency: its places come back, and each is a call at a time for as long as Redis is away.
const LINES_MAX: u64 = 20;
/// Tokens nobody would have needed for so long are given back.
const IDLE: Duration = Duration::from_secs(60);
/// Buckets that calls ask for, and that tokens are kept in, at most.
const BUCKETS_MAX: usize = 2_000;
/// The same of those that come after them.
const FOLLOWING_MAX: usize = 2_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Spare {
    buckets: BTreeMap<Bucket, Kept>,
    /// Given back by calls that ended while the store was away.
    freed: BTreeMap<Bucket, u64>,
}

#[derive(Clone, Debug)]
struct Kept {
    /// As it was asked for last, or will be.
    request: BucketRequest,
    /// Nobody has asked for it: it comes after one that calls ask for.
    is_following: bool,
    asked_at: Mono,
    tokens: Vec<(HoldId, u64)>,
}

/// What is to be done about the tokens of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many more of this.
    More(u64, BucketRequest),
    /// These are to be given back.
    Fewer(Vec<HoldId>),
}

impl Spare {
    /// A call asks for room: tokens are worth having.
    pub(super) fn asked(&mut self, requests: &[BucketRequest], now: Mono) {
        // Where nothing is held there is no room to keep.
        for request in requests.iter().filter(|it| it.held() > 0) {
            let stored = request.bucket.stored().0;
            if let Some(kept) = self.buckets.get_mut(stored.as_ref()) {
                kept.asked_at = now;
                kept.is_following = false;
                if kept.request != *request {
                    kept.request = request.clone();
                }
            } else if self.buckets.len() < BUCKETS_MAX {
                let kept = Kept::new(request.clone(), false, now);
                self.buckets.insert(stored.into_owned(), kept);
            }
        }
    }

    /// What is kept in windows that are over by then, and when it was asked for.
    pub(super) fn ending(&self, by: Wall) -> (Vec<BucketRequest>, Vec<Mono>) {
        let ends = |request: &BucketRequest| {
            // A rolling window goes on.
            request.ends_at.is_some_and(|it| it <= by) && request.bucket.stored().1.is_none()
        };
        let ending = self.buckets.values().filter(|kept| ends(&kept.request));
        ending.map(|kept| (kept.request.clone(), kept.asked_at)).unzip()
    }

    /// Tokens are worth having of what comes after something that was asked for then, as long as of that:
    /// when its window begins the store may be away.
    pub(super) fn follow(&mut self, request: BucketRequest, asked_at: Mono) {
        if let Some(kept) = self.buckets.get_mut(&request.bucket) {
            if kept.is_following {
                kept.asked_at = kept.asked_at.max(asked_at);
                kept.request = request;
            }
        } else if self.buckets.len() < BUCKETS_MAX + FOLLOWING_MAX {
            let kept = Kept::new(request, true, asked_at);
            self.buckets.insert(kept.request.bucket.clone(), kept);
        }
    }

    /// What this node keeps in tokens.
    pub(super) fn in_tokens(&self, bucket: &Bucket) -> u64 {
        self.buckets.get(bucket.stored().0.as_ref()).map_or(0, Kept::amount)
    }

    /// All room of its own.
    fn room(&self, bucket: &Bucket) -> u64 {
        let freed = self.freed.get(bucket.stored().0.as_ref()).copied().unwrap_or(0);
        self.in_tokens(bucket) + freed
    }

    /// The end of a call gives this back before the store hears of it.
    pub(super) fn free(&mut self, bucket: &Bucket, amount: u64) {
        if amount > 0 {
            *self.freed.entry(bucket.clone()).or_default() += amount;
        }
    }

    /// Takes room for a hold, all or nothing. Returns what the store is to be told, in one piece, or
    /// the first request there is no room for: a limit that has been lowered may be below what was seen
    /// that others have.
    pub(super) fn take<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a BucketRequest> + Clone,
        seen: impl Fn(&Bucket) -> Option<Usage>,
    ) -> Result<Vec<Change>, &'a BucketRequest> {
        let asked = |bucket: &Bucket| -> u64 {
            requests.clone().filter(|it| it.bucket == *bucket).map(|it| it.held()).sum()
        };
        let is_full = |it: &&BucketRequest| {
            let (room, asked) = (self.room(&it.bucket), asked(&it.bucket));
            let all = seen(&it.bucket).map_or(0, |usage| usage.used.saturating_add(usage.held));
            room < asked || all.saturating_sub(room).saturating_add(asked) > it.limit
        };
        if let Some(full) = requests.clone().find(is_full) {
            return Err(full);
        }
        let mut changes = vec![];
        for request in requests {
            let mut wanted = request.held();
            if let Some(freed) = self.freed.get_mut(request.bucket.stored().0.as_ref()) {
                let taken = wanted.min(*freed);
                *freed -= taken;
                wanted -= taken;
            }
            let tokens = self.buckets.get_mut(request.bucket.stored().0.as_ref());
            let tokens = tokens.map(|kept| &mut kept.tokens);
            let Some(tokens) = tokens else { continue };
            while wanted > 0
                && let Some((token, amount)) = tokens.pop()
            {
                changes.push(Change::Release { hold: token });
                // What a token has over goes back with it.
                wanted = wanted.saturating_sub(amount);
            }
        }
        Ok(changes)
    }

    /// The store has been told everything: what was freed is anybody's.
    pub(super) fn nothing_freed(&mut self) {
        self.freed.clear();
    }

    /// All tokens of a bucket, which are no more.
    pub(super) fn give_up(&mut self, bucket: &Bucket) -> Vec<HoldId> {
        let kept = self.buckets.get_mut(bucket.stored().0.as_ref());
        let tokens = kept.map(|kept| std::mem::take(&mut kept.tokens)).unwrap_or_default();
        tokens.into_iter().map(|(token, _)| token).collect()
    }

    pub(super) fn add(&mut self, bucket: &Bucket, token: HoldId, amount: u64) {
        if let Some(kept) = self.buckets.get_mut(bucket.stored().0.as_ref()) {
            kept.tokens.push((token, amount));
        }
    }

    pub(super) fn forget(&mut self, token: HoldId) {
        for kept in self.buckets.values_mut() {
            kept.tokens.retain(|(known, _)| *known != token);
        }
    }

    /// What tokens hold.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (HoldId, BucketRequest)> {
        self.buckets.values().flat_map(|kept| {
            let request = |amount| BucketRequest { amount, ..kept.request.clone() };
            kept.tokens.iter().map(move |(token, amount)| (*token, request(*amount)))
        })
    }

    /// Buckets that tokens are worth having of, with what counts in them.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&Bucket, Counts)> {
        self.buckets.values().map(|kept| (&kept.request.bucket, kept.request.counts))
    }

    /// What is to be done for there to be as many tokens as there should, by what was seen of the
    /// buckets, where so many servers share them. Those to be given back are no more. Who has none
    /// comes first.
    pub(super) fn tend(
        &mut self,
        seen: impl Fn(&Bucket) -> Option<Usage>,
        nodes: u64,
        now: Mono,
    ) -> Vec<Wanted> {
        let mut wanted = vec![];
        self.buckets.retain(|_, kept| {
            if kept.asked_at + IDLE <= now {
                wanted.extend(kept.shrink(0));
                return false;
            }
            let Some(usage) = seen(&kept.request.bucket) else { return true };
            let due = kept.due(usage, nodes);
            let have = u64::try_from(kept.tokens.len()).unwrap_or(u64::MAX);
            match due.checked_sub(have) {
                Some(0) => {}
                Some(more) => wanted.push(Wanted::More(more, kept.request.clone())),
                None => wanted.extend(kept.shrink(due)),
            }
            true
        });
        let have = |wanted: &Wanted| match wanted {
            Wanted::More(_, request) => self.in_tokens(&request.bucket),
            Wanted::Fewer(_) => 0,
        };
        wanted.sort_by_key(have);
        wanted
    }
}

impl Kept {
    fn new(request: BucketRequest, is_following: bool, asked_at: Mono) -> Self {
        Self { request, is_following, asked_at, tokens: vec![] }
    }

    fn amount(&self) -> u64 {
        self.tokens.iter().map(|(_, amount)| amount).sum()
    }

    /// How many tokens there should be: for half of this server's share of the calls that are left. None
    /// where there are not two left for each server: the last places are for whoever is called.
    fn due(&self, usage: Usage, nodes: u64) -> u64 {
        let BucketRequest { limit, amount, counts, .. } = self.request;
        let others = usage.used.saturating_add(usage.held.saturating_sub(self.amount()));
        let left = limit.saturating_sub(others).checked_div(amount).unwrap_or(0);
        let of_two = nodes.max(1).saturating_mul(2);
        if left < of_two {
            return 0;
        }
        let most = if counts.is_concurrency() { LINES_MAX } else { CALLS_MAX };
        left.div_ceil(of_two).min(most)
    }

    fn shrink(&mut self, to: u64) -> Option<Wanted> {
        let to = usize::try_from(to).unwrap_or(usize::MAX).min(self.tokens.len());
        let over: Vec<_> = self.tokens.drain(to..).map(|(token, _)| token).collect();
        (!over.is_empty()).then_some(Wanted::Fewer(over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::hold::LIVE;

    #[test]
    fn half_of_a_server_s_share_of_what_is_left_is_kept_and_five_calls_at_most() {
        for (limit, used, held, nodes, due) in [
            (1, 0, 0, 1, 0),
            (2, 0, 0, 1, 1),
            (3, 0, 0, 2, 0),
            (4, 0, 0, 2, 1),
            (8, 0, 0, 2, 2),
            (40, 0, 0, 2, 5),
            (40, 30, 2, 2, 2),
            (40, 30, 7, 2, 0),
            (40, 45, 0, 2, 0),
            (40, 0, 0, 20, 1),
            (40, 0, 0, 21, 0),
            (9_000, 0, 0, 3, 5),
        ] {
            let (usage, request) = (Usage { used, held }, calls(limit));
            assert_eq!(
                wanted(&request, usage, nodes),
                due,
                "{usage:?} of {limit}, {nodes} servers"
            );
        }
    }

    #[test]
    fn of_concurrency_more_is_kept_because_its_places_come_back() {
        for (limit, held, nodes, due) in
            [(8, 0, 2, 2), (8, 5, 2, 0), (30, 0, 2, 8), (300, 0, 2, 20), (300, 0, 30, 5)]
        {
            let request = lines(limit);
            let usage = Usage { used: 0, held };
            assert_eq!(wanted(&request, usage, nodes), due, "{held} of {limit}, {nodes} servers");
        }
    }

    #[test]
    fn of_money_tokens_are_for_whole_calls() {
        let money = |limit: u64| BucketRequest {
            counts: Counts::Revenue,
            amount: 12_500_000,
            ..calls(limit * 1_000_000)
        };
        for (limit, due) in [(30, 0), (49, 0), (50, 1), (70, 2), (1_000, 5)] {
            assert_eq!(wanted(&money(limit), Usage::default(), 2), due, "{limit}");
        }
    }

    #[test]
    fn who_has_no_token_gets_some_before_others_get_more() {
        let (mut spare, first, second) = (Spare::default(), calls(40), lines(8));
        spare.asked(&[first.clone(), second.clone()], Mono(0));
        spare.add(&second.bucket, token(1), 1);
        let seen = |_: &Bucket| Some(Usage { used: 0, held: 1 });
        let has_none = Wanted::More(5, first.clone());
        assert_eq!(spare.tend(seen, 2, Mono(1)), [has_none, Wanted::More(1, second.clone())]);
        let tokens = spare.give_up(&second.bucket);
        assert_eq!(tokens, [token(1)]);
        spare.add(&first.bucket, token(2), 1);
        let has_none = Wanted::More(2, second);
        assert_eq!(spare.tend(seen, 2, Mono(1)), [has_none, Wanted::More(4, first)]);
    }

    #[test]
    fn tokens_are_given_back_when_little_is_left_or_nobody_asks() {
        let (mut spare, bucket) = (Spare::default(), calls(10).bucket);
        spare.asked(&[calls(10)], Mono(0));
        for n in 1..=3 {
            spare.add(&bucket, token(n), 1);
        }
        assert_eq!(spare.tend(|_| Some(Usage { used: 0, held: 3 }), 2, Mono(1)), []);
        let wanted = spare.tend(|_| Some(Usage { used: 5, held: 4 }), 2, Mono(1));
        assert_eq!(wanted, [Wanted::Fewer(vec![token(2), token(3)])]);
        assert_eq!(spare.in_tokens(&bucket), 1);
        let wanted = spare.tend(|_| None, 2, Mono(0) + IDLE);
        assert_eq!(wanted, [Wanted::Fewer(vec![token(1)])]);
    }

    #[test]
    fn tokens_are_kept_in_the_next_window_as_long_as_in_the_one_that_calls_ask_for() {
        let (mut spare, today, tomorrow) = (Spare::default(), of_day(1, 40), of_day(2, 12));
        spare.asked(&[today.clone(), lines(8)], Mono(0));
        assert_eq!(spare.ending(Wall(DAY_MS - 1)), (vec![], vec![]));
        assert_eq!(spare.ending(Wall(DAY_MS)), (vec![today.clone()], vec![Mono(0)]));

        spare.follow(tomorrow.clone(), Mono(0));
        let of = |wanted: &[Wanted], request: &BucketRequest| {
            let is_it = |it: &&Wanted| matches!(it, Wanted::More(_, of) if of == request);
            wanted.iter().filter(is_it).cloned().collect::<Vec<_>>()
        };
        let wanted = spare.tend(|_| Some(Usage::default()), 2, Mono(1));
        assert_eq!(of(&wanted, &tomorrow), [Wanted::More(3, tomorrow.clone())], "by its own limit");
        spare.add(&tomorrow.bucket, token(1), 1);

        // It is asked for less than a minute ago.
        let later = Mono(0) + (IDLE - Duration::from_secs(1));
        spare.asked(std::slice::from_ref(&today), later);
        spare.follow(of_day(2, 16), later);
        let wanted = spare.tend(|_| Some(Usage::default()), 2, Mono(0) + IDLE);
        let lowered = of_day(2, 16);
        assert_eq!(of(&wanted, &lowered), [Wanted::More(3, lowered)], "as it is configured now");

        // Nobody asks for either.
        let wanted = spare.tend(|_| None, 2, later + IDLE);
        assert_eq!(wanted, [Wanted::Fewer(vec![token(1)])]);
        assert_eq!(spare.ending(Wall(i64::MAX)), (vec![], vec![]));
    }

    #[test]
    fn calls_take_the_tokens_of_the_window_that_has_begun_and_of_no_other() {
        let (mut spare, today, tomorrow) = (Spare::default(), of_day(1, 40), of_day(2, 40));
        spare.asked(std::slice::from_ref(&today), Mono(0));
        spare.add(&today.bucket, token(1), 1);
        spare.follow(tomorrow.clone(), Mono(0));
        spare.add(&tomorrow.bucket, token(2), 1);

        let asked = of_day(2, 30);
        spare.asked(std::slice::from_ref(&asked), Mono(1));
        // What comes after yesterday has been asked for by now.
        spare.follow(tomorrow.clone(), Mono(2));

        assert_eq!(spare.take([&asked].into_iter(), unseen), Ok(vec![release(2)]));
        assert_eq!(spare.take([&asked].into_iter(), unseen), Err(&asked));
        assert_eq!(spare.take([&today].into_iter(), unseen), Ok(vec![release(1)]));
        let request = &spare.buckets[&tomorrow.bucket].request;
        assert_eq!(*request, asked, "as a call asks for it");
    }

    /// Then it shows yesterday again, or a day next week: what is kept ahead is given back.
    #[test]
    fn a_clock_that_is_set_leaves_no_tokens_in_windows_nobody_asks_for() {
        let (mut spare, today, tomorrow) = (Spare::default(), of_day(9, 40), of_day(10, 40));
        spare.asked(std::slice::from_ref(&today), Mono(0));
        spare.follow(tomorrow.clone(), Mono(0));
        spare.add(&tomorrow.bucket, token(1), 1);

        for day in [1, 30] {
            let mut spare = spare.clone();
            spare.asked(&[of_day(day, 40)], Mono(0) + IDLE / 2);
            let wanted = spare.tend(|_| None, 2, Mono(0) + IDLE);
            assert_eq!(wanted, [Wanted::Fewer(vec![token(1)])], "{day}");
            assert_eq!(spare.in_tokens(&tomorrow.bucket), 0);
        }
    }

    #[test]
    fn no_more_is_kept_ahead_than_there_may_be() {
        let mut spare = Spare::default();
        let of_cap = |n: usize, day| {
            let bucket = Bucket { cap: format!("target/{n}").into(), ..of_day(day, 40).bucket };
            BucketRequest { bucket, ..of_day(day, 40) }
        };
        for n in 0..=BUCKETS_MAX {
            spare.asked(&[of_cap(n, 1)], Mono(0));
        }
        assert_eq!(spare.buckets.len(), BUCKETS_MAX);
        for n in 0..=FOLLOWING_MAX {
            spare.follow(of_cap(n, 2), Mono(0));
        }
        assert_eq!(spare.buckets.len(), BUCKETS_MAX + FOLLOWING_MAX);
    }

    #[test]
    fn room_of_its_own_is_given_to_so_many_calls_and_no_more() {
        let (mut spare, request) = (Spare::default(), calls(100));
        spare.asked(std::slice::from_ref(&request), Mono(0));
        spare.add(&request.bucket, token(1), 1);
        spare.free(&request.bucket, 1);

        let mut take = || spare.take([&request].into_iter(), unseen);
        assert_eq!(take(), Ok(vec![]), "what was freed first");
        assert_eq!(take(), Ok(vec![Change::Release { hold: token(1) }]));
        assert_eq!(take(), Err(&request));
    }

    #[test]
    fn a_hold_gets_room_everywhere_or_nowhere() {
        let (mut spare, first) = (Spare::default(), calls(100));
        let second = BucketRequest {
            bucket: Bucket { cap: "other".into(), ..first.bucket.clone() },
            ..first.clone()
        };
        spare.free(&first.bucket, 1);
        assert_eq!(spare.take([&first, &second].into_iter(), unseen), Err(&second));
        assert_eq!(spare.take([&first].into_iter(), unseen), Ok(vec![]));
    }

    #[test]
    fn room_of_its_own_is_given_no_further_than_a_limit_that_was_lowered() {
        let (mut spare, before, lowered) = (Spare::default(), calls(40), calls(13));
        spare.asked(std::slice::from_ref(&before), Mono(0));
        (1..=5).for_each(|n| spare.add(&before.bucket, token(n), 1));
        // Eleven are not its own.
        let seen = |_: &Bucket| Some(Usage { used: 9, held: 7 });
        let mut take = |request| spare.take([request].into_iter(), seen).is_ok();

        assert_eq!([&lowered; 3].map(&mut take), [true, true, false]);
        assert_eq!([&before; 4].map(&mut take), [true, true, true, false], "it was raised again");
    }

    fn unseen(_: &Bucket) -> Option<Usage> {
        None
    }

    fn calls(limit: u64) -> BucketRequest {
        let bucket = Bucket { cap: "target/a/connected/daily".into(), window: "d:1".into() };
        let counts = Counts::Connected;
        BucketRequest { bucket, counts, limit, amount: 1, ends_at: None, leeway: None }
    }

    const DAY_MS: i64 = 86_400_000;

    fn of_day(day: i64, limit: u64) -> BucketRequest {
        let bucket = Bucket { window: format!("d:{day}").into(), ..calls(limit).bucket };
        BucketRequest { bucket, ends_at: Some(Wall(day * DAY_MS)), ..calls(limit) }
    }

    fn release(n: u8) -> Change {
        Change::Release { hold: token(n) }
    }

    fn lines(limit: u64) -> BucketRequest {
        let bucket = Bucket { cap: "target/a/concurrency".into(), window: LIVE.into() };
        BucketRequest { bucket, counts: Counts::Live, ..calls(limit) }
    }

    /// How many tokens whoever has none is to get.
    fn wanted(request: &BucketRequest, usage: Usage, nodes: u64) -> u64 {
        let mut spare = Spare::default();
        spare.asked(std::slice::from_ref(request), Mono(0));
        match &spare.tend(|_| Some(usage), nodes, Mono(1))[..] {
            [] => 0,
            [Wanted::More(more, of)] if of == request => *more,
            other => panic!("{other:?}"),
        }
    }

    fn token(n: u8) -> HoldId {
        HoldId::from_bytes([n; 16])
    }
}
