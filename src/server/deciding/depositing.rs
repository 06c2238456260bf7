//! What buyers deposit.

use smol_str::SmolStr;

use crate::id::BuyerId;
use crate::routing::UsageReader;
use crate::time::Wall;

use super::super::clock;
use super::super::holds::redis::Deposit;
use super::Deciding;

/// What is known of a buyer's deposits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepositsKnown {
    /// All of them, in micros.
    pub all: u64,
    /// The one with this key; absent: there is none that is still known.
    pub this: Option<u64>,
}

impl Deciding {
    /// What a buyer has deposited, and with this key; `None`: it has no credit.
    pub fn deposited(&self, buyer: &BuyerId, key: &SmolStr, now: Wall) -> Option<DepositsKnown> {
        let snapshot = self.snapshot.load();
        snapshot.buyers().iter().find(|known| known.id == *buyer)?.credit.as_ref()?;
        let state = self.state.lock();
        let bucket = Deposit::of_buyer(buyer);
        let all = state.ledger.usage(&bucket);
        let shared = self.shared();
        let all = shared.map_or(all, |shared| shared.usage(&bucket, all, clock::mono()));
        Some(DepositsKnown { all: all.used, this: state.deposits.with(buyer, key, now) })
    }

    /// Whether the keys of all deposits can be known if there are so many more.
    pub fn has_room_for_deposit(&self, more: usize) -> bool {
        !self.state.lock().deposits.is_full(more)
    }

    /// A deposit of so many micros, made at `at`, is on disk. Returns how much
    /// was deposited in all, at this server.
    pub fn deposit(&self, buyer: &BuyerId, key: &SmolStr, amount: u64, at: Wall) -> u64 {
        let all = Deposit::of_buyer(buyer);
        let mut state = self.state.lock();
        let deposited = state.ledger.usage(&all).used.saturating_add(amount);
        state.ledger.restore(all, deposited, None);
        state.deposits.remember(buyer.clone(), key.clone(), amount, at);
        deposited
    }

    /// Puts back deposits of before, with their keys and when they were made.
    pub fn restore_deposits(&self, made: impl IntoIterator<Item = (BuyerId, SmolStr, u64, Wall)>) {
        let deposits = &mut self.state.lock().deposits;
        for (buyer, key, amount, at) in made {
            deposits.remember(buyer, key, amount, at);
        }
    }
}
