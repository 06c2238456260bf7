//! Holds that are shared with other nodes: what the ledger of this one tells the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::super::clock;
use super::super::holds::redis::{Claim, Deposit, Known};
use super::super::holds::shared::{Everything, OwnHolds};
use super::super::holds::{Counted, Counting, SharedHolds, State};
use super::super::redis::StoreFault;
use super::Deciding;
use crate::id::HoldId;
use crate::routing::hold::{Bucket, BucketRequest, Counts, NoRoom, Reset};
use crate::routing::meter::Meter;
use crate::routing::request::ReadyWord;
use crate::time::Wall;

impl Deciding {
    /// Room is asked of this store from now on, not of the ledger alone. Said once, before any call.
    pub fn share(&self, shared: Arc<SharedHolds>) {
        let _said_before = self.shared.set(shared);
    }

    pub(in crate::server) fn shared(&self) -> Option<&Arc<SharedHolds>> {
        self.shared.get()
    }

    /// Something is counted from here on whose fact is in the journal when this is dropped; `None`: nobody
    /// else is told.
    pub(in crate::server) fn counting(&self) -> Option<Counting> {
        self.shared().map(|shared| shared.counting())
    }

    /// Takes room for an attempt where other nodes take theirs, all or nothing.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(
        &self,
        shared: &SharedHolds,
        hold: HoldId,
        requests: &[BucketRequest],
    ) -> Result<(), NoRoom> {
        let snapshot = self.snapshot();
        let on_store_down = |bucket: &Bucket| snapshot.on_store_down(&bucket.cap);
        shared.place(self, hold, requests, &on_store_down).await
    }

    /// How full all caps and all concurrency are, by their keys, as the store has them; and whether it has
    /// said so. `None`: nothing is shared.
    pub async fn meters_of_all(&self, at: Wall) -> (BTreeMap<SmolStr, Meter>, Option<State>) {
        let meters = self.meters(at);
        let Some(shared) = self.shared() else { return (meters, None) };
        let bucket = |meter: &Meter| {
            let bucket = Bucket { cap: meter.key.clone(), window: meter.window.clone() };
            (bucket, meter.counts)
        };
        let buckets: Vec<_> = meters.values().map(bucket).collect();
        match shared.look_at(&buckets).await {
            true => (self.meters(at), Some(State::Open)),
            false => (meters, Some(State::Away)),
        }
    }

    /// Asks whether this server may take a deposit, which it has not taken. Where nothing is shared it
    /// may.
    ///
    /// # Errors
    /// Nobody can say whether another server has.
    pub async fn claim_deposit(&self, deposit: &Deposit) -> Result<Claim, StoreFault> {
        match self.shared() {
            None => Ok(Claim::Ours),
            Some(shared) => shared.claim(deposit).await,
        }
    }

    /// A deposit that was claimed counts here: `Some` with all of its buyer here, or it could not be
    /// written down. Other servers are told.
    pub async fn share_deposit(&self, deposit: Deposit, all: Option<u64>) {
        let Some(shared) = self.shared() else { return };
        match all {
            Some(all) => shared.took(deposit, all).await,
            None => shared.dropped(deposit).await,
        }
    }

    /// What happened was used at once, in `buckets`: the store is told.
    pub(super) fn tell_counted(
        &self,
        hold: HoldId,
        event: Counts,
        requests: &[BucketRequest],
        buckets: &[Bucket],
    ) {
        let Some(shared) = self.shared.get() else { return };
        let counted = requests.iter().zip(buckets).map(|(request, bucket)| Counted {
            bucket: bucket.clone(),
            ..Counted::all_of(request)
        });
        shared.counted(hold, event, counted.collect());
    }

    /// What is told to the store of an event that was counted in `buckets`; `kept` is what its hold
    /// kept until then.
    pub(super) fn tell_settled(
        &self,
        hold: HoldId,
        event: Counts,
        kept: Vec<BucketRequest>,
        buckets: Vec<Bucket>,
    ) {
        let Some(shared) = self.shared.get().filter(|_| !buckets.is_empty()) else { return };
        let counted = buckets.into_iter().map(|bucket| {
            let due = kept.iter().find(|it| it.bucket.cap == bucket.cap && it.is_due(event));
            match due {
                // It has one state, whenever the attempt was.
                Some(due) if due.counts == Counts::Spacing => Counted::all_of(due),
                Some(due) => Counted { bucket, ..Counted::all_of(due) },
                // The lease was over. An event counts one call.
                None => Counted::of(bucket, event, 1),
            }
        });
        shared.counted(hold, event, counted.collect());
    }
}

impl OwnHolds for Deciding {
    fn granted(
        &self,
        hold: HoldId,
        requests: &[BucketRequest],
        is_valid: &dyn Fn() -> bool,
    ) -> bool {
        let mut state = self.state.lock();
        let is_valid = is_valid();
        if is_valid {
            let now = clock::mono();
            state.holds(now).grant(hold, requests.to_vec(), now);
        }
        is_valid
    }

    fn everything(&self, told: &mut dyn FnMut(Everything)) {
        let state = self.state.lock();
        let held = state.ledger.held().map(|(hold, requests)| (hold, requests.to_vec())).collect();
        let used = state.ledger.used().into_iter();
        let used = used.map(|(bucket, used, ends_at)| Known { bucket, used, ends_at }).collect();
        told(Everything { held, used });
    }

    fn deposits(&self, after: Option<&Deposit>, most: usize) -> Vec<Deposit> {
        let after = after.map(|it| (it.buyer.clone(), it.key.clone()));
        let state = self.state.lock();
        let known = state.deposits.known_after(after).take(most);
        let known = known.map(|(buyer, key, amount, until)| Deposit {
            buyer: buyer.clone(),
            key: key.clone(),
            amount,
            forgotten_at: until,
        });
        known.collect()
    }

    fn following(&self, ending: &[BucketRequest], at: Wall) -> Vec<Option<BucketRequest>> {
        self.snapshot().following(ending, at)
    }

    fn live(&self) -> Vec<HoldId> {
        self.state.lock().ledger.held().map(|(hold, _)| hold).collect()
    }

    fn held_by(&self, holds: &[HoldId]) -> Vec<(HoldId, Vec<BucketRequest>)> {
        let state = self.state.lock();
        let held = holds.iter().map(|hold| (*hold, state.ledger.held_by(*hold).to_vec()));
        held.filter(|(_, requests)| !requests.is_empty()).collect()
    }

    fn resets(&self) -> Vec<Reset> {
        self.state.lock().ledger.resets().all().cloned().collect()
    }

    fn learn_reset(&self, reset: &Reset) {
        self.reset(reset);
    }

    fn ready(&self) -> Vec<ReadyWord> {
        self.ready.words(clock::wall())
    }

    fn heard_ready(&self, words: Vec<ReadyWord>) {
        self.ready.hear(words);
    }

    fn credits(&self) -> BTreeSet<Bucket> {
        let snapshot = self.snapshot();
        let credited = snapshot.buyers().iter().filter(|buyer| buyer.credit.is_some());
        credited.map(|buyer| Deposit::of_buyer(&buyer.id)).collect()
    }
}
