//! Deposits that servers share: any of them takes one, once, and all give credit for it.

use std::sync::atomic::Ordering;

use crate::routing::Usage;
use crate::routing::hold::{Bucket, Counts};
use crate::server::clock;
use crate::server::redis::StoreFault;

use super::super::redis::{Claim, Deposit};
use super::super::store::HoldStore;
use super::{Inner, OwnHolds, SharedHolds, State};

/// Buyers whose deposits are looked at by one script.
const LOOKED_AT_ONCE: usize = 200;

/// What has become of a claim, to be told when the store is there.
#[derive(Clone, Debug)]
pub(super) enum Claimed {
    /// The journal has it, and so many micros of its buyer.
    Taken(Deposit, u64),
    /// The claim with this serial came to nothing.
    Dropped(Deposit, u64),
}

impl SharedHolds {
    /// Asks for a deposit that this server has not taken. It is to be followed by [`Self::took`] or
    /// [`Self::dropped`].
    ///
    /// # Errors
    /// Nobody can say whether another server has taken it.
    pub(in crate::server) async fn claim(&self, deposit: &Deposit) -> Result<Claim, StoreFault> {
        if self.state() != State::Open {
            return Err(StoreFault::Away(String::from("not connected")));
        }
        let generation = self.inner.lock().generation;
        let serial = self.claims.fetch_add(1, Ordering::Relaxed);
        let claimed = self.store.claim(deposit, serial).await;
        match &claimed {
            Ok(Claim::Taken { all, .. }) => self.have_all(deposit, *all),
            Ok(Claim::Ours) => {
                let mut inner = self.inner.lock();
                if inner.generation == generation {
                    inner.claims.push((deposit.clone(), serial));
                } else {
                    // The store has been told everything since, but not of this.
                    inner.claimed.push_back(Claimed::Dropped(deposit.clone(), serial));
                    return Err(StoreFault::NotOpen);
                }
            }
            Ok(Claim::Elsewhere) => {}
            // Nothing was claimed.
            Err(StoreFault::NotOpen) => self.failed(&StoreFault::NotOpen),
            Err(fault) => {
                self.failed(fault);
                self.tell_dropped(deposit.clone(), serial).await;
            }
        }
        claimed
    }

    /// The journal has it, and `all` micros of its buyer.
    pub(in crate::server) async fn took(&self, deposit: Deposit, all: u64) {
        {
            let mut inner = self.inner.lock();
            let _serial = inner.written(&deposit);
            inner.claimed.push_back(Claimed::Taken(deposit, all));
        }
        self.tell_claimed_if_open().await;
    }

    /// A claim was for nothing.
    pub(in crate::server) async fn dropped(&self, deposit: Deposit) {
        let serial = self.inner.lock().written(&deposit);
        if let Some(serial) = serial {
            self.tell_dropped(deposit, serial).await;
        }
    }

    async fn tell_dropped(&self, deposit: Deposit, serial: u64) {
        self.inner.lock().claimed.push_back(Claimed::Dropped(deposit, serial));
        self.tell_claimed_if_open().await;
    }

    /// All servers have so much of its buyer.
    fn have_all(&self, deposit: &Deposit, all: u64) {
        let usage = Usage { used: all, held: 0 };
        self.answered(&[(Deposit::of_buyer(&deposit.buyer), usage)]);
    }

    pub(super) async fn tell_claimed_if_open(&self) {
        if self.state() == State::Open
            && let Err(fault) = self.tell_claimed().await
        {
            self.failed(&fault);
        }
    }

    /// Tells what has become of claims. What is not told stays.
    pub(super) async fn tell_claimed(&self) -> Result<(), StoreFault> {
        loop {
            // Telling it twice, or beside somebody else who does, changes nothing.
            let Some(claimed) = self.inner.lock().claimed.pop_front() else { return Ok(()) };
            let told = match &claimed {
                Claimed::Taken(deposit, here) => {
                    let told = self.store.took(deposit, *here).await;
                    told.map(|all| self.have_all(deposit, all))
                }
                Claimed::Dropped(deposit, serial) => self.store.drop_claim(deposit, *serial).await,
            };
            if let Err(fault) = told {
                self.inner.lock().claimed.push_front(claimed);
                return Err(fault);
            }
        }
    }

    /// Sees what all servers have taken of those who have credit.
    pub(super) async fn look_at_deposits(&self, own: &dyn OwnHolds) -> Result<(), StoreFault> {
        let buckets: Vec<(Bucket, Counts)> =
            own.credits().into_iter().map(|bucket| (bucket, Counts::Credit)).collect();
        for some in buckets.chunks(LOOKED_AT_ONCE) {
            let usages = self.store.usage(some).await?;
            let seen = some.iter().map(|(bucket, _)| bucket.clone()).zip(usages);
            let seen: Vec<_> = seen.collect();
            self.inner.lock().near.note(&seen, clock::mono());
        }
        Ok(())
    }
}

impl Inner {
    /// A deposit is not being written down any more: the serial of its claim.
    fn written(&mut self, deposit: &Deposit) -> Option<u64> {
        let is_it =
            |(known, _): &(Deposit, u64)| known.buyer == deposit.buyer && known.key == deposit.key;
        let place = self.claims.iter().position(is_it)?;
        Some(self.claims.swap_remove(place).1)
    }
}
