//! Deposits by their keys, by which a repeated one is told from another.
//!
//! What a buyer has deposited in all is kept for good, in a bucket as the use of caps is. A key is
//! kept for [`KEPT_MS`] of the wall clock from its deposit on, in this process and in any that
//! follows it, and is then as new as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use smol_str::SmolStr;

use crate::id::BuyerId;
use crate::time::Wall;

/// How long the key of a deposit is known: 30 days, in milliseconds.
pub const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Keys that are known at once at most; a further deposit is refused until one of them is forgotten.
pub const KEYS_MAX: usize = 1_000_000;

/// Deposits whose keys are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deposits {
    by_key: BTreeMap<(BuyerId, SmolStr), Known>,
    ends: BTreeSet<(Wall, BuyerId, SmolStr)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Micros.
    amount: u64,
    until: Wall,
}

impl Deposits {
    /// How much was deposited with this key, in micros; `None`: nothing that is known at `now`.
    pub fn with(&self, buyer: &BuyerId, key: &SmolStr, now: Wall) -> Option<u64> {
        let known = self.by_key.get(&(buyer.clone(), key.clone()))?;
        (now < known.until).then_some(known.amount)
    }

    /// So many micros were deposited at `at`.
    pub fn remember(&mut self, buyer: BuyerId, key: SmolStr, amount: u64, at: Wall) {
        let until = Wall(at.0.saturating_add(KEPT_MS));
        let id = (buyer.clone(), key.clone());
        // One that was forgotten, or is about to be.
        if let Some(before) = self.by_key.insert(id, Known { amount, until }) {
            self.ends.remove(&(before.until, buyer.clone(), key.clone()));
        }
        self.ends.insert((until, buyer, key));
    }

    /// Those whose keys are known, behind one of them or from the first: buyer, key, micros, and until
    /// when. In an order that others coming or going do not change.
    pub fn known_after(
        &self,
        after: Option<(BuyerId, SmolStr)>,
    ) -> impl Iterator<Item = (&BuyerId, &SmolStr, u64, Wall)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.by_key.range((from, Bound::Unbounded));
        known.map(|((buyer, key), known)| (buyer, key, known.amount, known.until))
    }

    /// Forgets the keys whose time is over.
    pub fn forget(&mut self, now: Wall) {
        while self.ends.first().is_some_and(|(until, ..)| *until <= now) {
            if let Some((_, buyer, key)) = self.ends.pop_first() {
                self.by_key.remove(&(buyer, key));
            }
        }
    }

    /// Whether so many more would be too many.
    pub fn is_full(&self, more: usize) -> bool {
        self.by_key.len() + more >= KEYS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Wall = Wall(1_773_759_852_318);

    #[test]
    fn a_key_is_known_for_thirty_days_and_new_after_them() {
        let (buyer, key) = (BuyerId::from("b"), SmolStr::new("one"));
        let mut deposits = Deposits::default();
        deposits.remember(buyer.clone(), key.clone(), 20, AT);
        let after = |ms: i64| Wall(AT.0 + ms);
        let known = |deposits: &Deposits, ms| deposits.with(&buyer, &key, after(ms));

        assert_eq!(known(&deposits, 0), Some(20));
        assert_eq!(known(&deposits, -60_000), Some(20), "the clock was set back");
        assert_eq!(known(&deposits, KEPT_MS - 1), Some(20));
        assert_eq!(known(&deposits, KEPT_MS), None, "whether it was cleared away or not");
        assert_eq!(deposits.with(&"c".into(), &key, AT), None);

        deposits.remember(buyer.clone(), key.clone(), 7, after(KEPT_MS));
        deposits.forget(after(2 * KEPT_MS - 1));
        assert_eq!(known(&deposits, KEPT_MS), Some(7), "it is the new one's time that counts");
        deposits.forget(after(2 * KEPT_MS));
        assert_eq!(deposits, Deposits::default(), "nothing is left of it");
    }

    #[test]
    fn there_is_room_for_as_many_as_are_allowed() {
        let mut deposits = Deposits::default();
        deposits.remember("b".into(), "one".into(), 1, AT);
        assert!(!deposits.is_full(KEYS_MAX - 2));
        assert!(deposits.is_full(KEYS_MAX - 1));
    }
}
