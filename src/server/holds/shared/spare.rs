//! Room of this node's own: what it may still give to calls while the store is away, without passing
//! any limit (spec/data §1.7).
//!
//! The store counts all of it as held, by tokens that were reserved in advance, or by holds whose
//! calls are over but whose end the store has not been told yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::HoldId;
use crate::routing::Usage;
use crate::routing::hold::{Bucket, BucketRequest};
use crate::time::Mono;

use super::super::store::Change;

/// Tokens of a bucket at most.
const TOKENS_MAX: u64 = 5;
/// Of what is left of a limit so much is kept in tokens, percent.
const KEPT_PERCENT: u64 = 2;
/// Tokens nobody would have needed for so long are given back.
const IDLE: Duration = Duration::from_secs(60);
/// Buckets with tokens at most.
const BUCKETS_MAX: usize = 2_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Spare {
    buckets: BTreeMap<Bucket, Kept>,
    /// Given back by calls that ended while the store was away.
    freed: BTreeMap<Bucket, u64>,
}

#[derive(Clone, Debug)]
struct Kept {
    /// As it was asked for last.
    request: BucketRequest,
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
                if kept.request != *request {
                    kept.request = request.clone();
                }
            } else if self.buckets.len() < BUCKETS_MAX {
                let kept = Kept { request: request.clone(), asked_at: now, tokens: vec![] };
                self.buckets.insert(stored.into_owned(), kept);
            }
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
    /// the first request there is no room for.
    pub(super) fn take<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a BucketRequest> + Clone,
    ) -> Result<Vec<Change>, &'a BucketRequest> {
        let asked = |bucket: &Bucket| -> u64 {
            requests.clone().filter(|it| it.bucket == *bucket).map(|it| it.held()).sum()
        };
        if let Some(full) = requests.clone().find(|it| self.room(&it.bucket) < asked(&it.bucket)) {
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

    /// What is to be done for there to be as many tokens as there should, by what was seen of the
    /// buckets. Those to be given back are no more.
    pub(super) fn tend(
        &mut self,
        seen: impl Fn(&Bucket) -> Option<Usage>,
        now: Mono,
    ) -> Vec<Wanted> {
        let mut wanted = vec![];
        self.buckets.retain(|_, kept| {
            if kept.asked_at + IDLE <= now {
                wanted.extend(kept.shrink(0));
                return false;
            }
            let Some(usage) = seen(&kept.request.bucket) else { return true };
            let due = kept.due(usage);
            let have = u64::try_from(kept.tokens.len()).unwrap_or(u64::MAX);
            match due.checked_sub(have) {
                Some(0) => {}
                Some(more) => wanted.push(Wanted::More(more, kept.request.clone())),
                None => wanted.extend(kept.shrink(due)),
            }
            true
        });
        wanted
    }
}

impl Kept {
    fn amount(&self) -> u64 {
        self.tokens.iter().map(|(_, amount)| amount).sum()
    }

    /// How many tokens there should be.
    fn due(&self, usage: Usage) -> u64 {
        let BucketRequest { limit, amount, .. } = self.request;
        let others = usage.used.saturating_add(usage.held.saturating_sub(self.amount()));
        let left = limit.saturating_sub(others);
        (left / 100 * KEPT_PERCENT + left % 100 * KEPT_PERCENT / 100)
            .checked_div(amount)
            .unwrap_or(0)
            .min(TOKENS_MAX)
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
    use crate::routing::hold::Counts;

    #[test]
    fn two_percent_of_what_is_left_is_kept_and_five_calls_at_most() {
        for (limit, used, held, due) in
            [(49, 0, 0, 0), (50, 0, 0, 1), (200, 0, 0, 4), (9_000, 0, 0, 5), (200, 100, 50, 1)]
        {
            let mut spare = Spare::default();
            spare.asked(&[calls(limit)], Mono(0));
            let wanted = spare.tend(|_| Some(Usage { used, held }), Mono(1));
            let more = if due > 0 { vec![Wanted::More(due, calls(limit))] } else { vec![] };
            assert_eq!(wanted, more, "{used} and {held} of {limit}");
        }
    }

    #[test]
    fn tokens_are_given_back_when_little_is_left_or_nobody_asks() {
        let (mut spare, bucket) = (Spare::default(), calls(100).bucket);
        spare.asked(&[calls(100)], Mono(0));
        for n in 1..=2 {
            spare.add(&bucket, token(n), 1);
        }
        assert_eq!(spare.tend(|_| Some(Usage { used: 0, held: 2 }), Mono(1)), []);
        let wanted = spare.tend(|_| Some(Usage { used: 40, held: 2 }), Mono(1));
        assert_eq!(wanted, [Wanted::Fewer(vec![token(2)])]);
        assert_eq!(spare.in_tokens(&bucket), 1);
        let wanted = spare.tend(|_| None, Mono(0) + IDLE);
        assert_eq!(wanted, [Wanted::Fewer(vec![token(1)])]);
    }

    #[test]
    fn room_of_its_own_is_given_to_so_many_calls_and_no_more() {
        let (mut spare, request) = (Spare::default(), calls(100));
        spare.asked(std::slice::from_ref(&request), Mono(0));
        spare.add(&request.bucket, token(1), 1);
        spare.free(&request.bucket, 1);

        assert_eq!(spare.take([&request].into_iter()), Ok(vec![]), "what was freed first");
        let release = Change::Release { hold: token(1) };
        assert_eq!(spare.take([&request].into_iter()), Ok(vec![release]));
        assert_eq!(spare.take([&request].into_iter()), Err(&request));
    }

    #[test]
    fn a_hold_gets_room_everywhere_or_nowhere() {
        let (mut spare, first) = (Spare::default(), calls(100));
        let second = BucketRequest {
            bucket: Bucket { cap: "other".into(), ..first.bucket.clone() },
            ..first.clone()
        };
        spare.free(&first.bucket, 1);
        assert_eq!(spare.take([&first, &second].into_iter()), Err(&second));
        assert_eq!(spare.take([&first].into_iter()), Ok(vec![]));
    }

    fn calls(limit: u64) -> BucketRequest {
        let bucket = Bucket { cap: "target/a/connected/daily".into(), window: "d:1".into() };
        let counts = Counts::Connected;
        BucketRequest { bucket, counts, limit, amount: 1, ends_at: None, leeway: None }
    }

    fn token(n: u8) -> HoldId {
        HoldId::from_bytes([n; 16])
    }
}
