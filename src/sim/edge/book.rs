//! A book in memory that keeps what the SQL one keeps, and refuses when it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::cdr::fact::{CapReset, PingAccepted};
use crate::cdr::record::{CallRecord, CallState};
use crate::cdr::store::{
    Answer, Batch, Book, CapUsage, CountedCalls, EarlierCall, Progress, StoreError, StoredSession,
    TriedTarget, TriedWay,
};
use crate::id::{CallId, SessionId};
use crate::time::Wall;

#[derive(Debug, Default)]
pub(crate) struct MemoryBook {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refuses: bool,
    /// Takes every batch twice.
    doubles: bool,
    /// Loses the next closed record.
    loses: bool,
    /// Tells nothing of windows whose names begin with this.
    forgets: Option<&'static str>,
    progress: Option<Progress>,
    calls: BTreeMap<CallId, CallRecord>,
    open: BTreeMap<CallId, CallRecord>,
    used: BTreeMap<(SmolStr, SmolStr), i64>,
    resets: Vec<(CapReset, Wall)>,
}

impl MemoryBook {
    pub(crate) fn set_refusing(&self, refuses: bool) {
        self.state.lock().refuses = refuses;
    }

    pub(crate) fn double_batches(&self) {
        self.state.lock().doubles = true;
    }

    pub(crate) fn lose_a_record(&self) {
        self.state.lock().loses = true;
    }

    pub(crate) fn forget_windows(&self, prefix: &'static str) {
        self.state.lock().forgets = Some(prefix);
    }

    pub(crate) fn records(&self) -> Vec<CallRecord> {
        self.state.lock().calls.values().cloned().collect()
    }

    pub(crate) fn used(&self) -> BTreeMap<(SmolStr, SmolStr), i64> {
        self.state.lock().used.clone()
    }
}

impl State {
    fn take(&mut self, batch: &Batch) {
        for record in &batch.calls {
            let known = self.calls.get(&record.call);
            let is_news = known.is_none_or(|known| record.rev > known.rev);
            if is_news && !std::mem::take(&mut self.loses) {
                self.calls.insert(record.call, CallRecord::clone(record));
            }
        }
        let parked = batch.parked.iter().map(|record| (record.call, CallRecord::clone(record)));
        self.open.extend(parked);
        for call in &batch.unparked {
            self.open.remove(call);
        }
        for (bucket, amount) in &batch.used {
            *self.used.entry(bucket.clone()).or_default() += amount;
        }
        self.resets.extend(batch.resets.iter().cloned());
        self.progress = batch.progress.or(self.progress);
    }
}

/// An answer that is there at once.
fn now<'a, T: Send + 'a>(answer: Result<T, StoreError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Book for MemoryBook {
    fn progress(&self) -> Answer<'_, Option<Progress>> {
        now(Ok(self.state.lock().progress))
    }

    fn open_calls(&self) -> Answer<'_, Vec<CallRecord>> {
        now(Ok(self.state.lock().open.values().cloned().collect()))
    }

    fn orphans(&self, since: Wall) -> Answer<'_, Vec<CallRecord>> {
        let state = self.state.lock();
        let is_orphan = |record: &&CallRecord| {
            record.state == CallState::OrphanClosed && record.started_at() >= since
        };
        now(Ok(state.calls.values().filter(is_orphan).cloned().collect()))
    }

    fn usage(&self) -> Answer<'_, Vec<CapUsage>> {
        let state = self.state.lock();
        let usage = |((cap, window), used): (&(SmolStr, SmolStr), &i64)| CapUsage {
            cap: cap.clone(),
            window: window.clone(),
            used: *used,
        };
        let is_told = |((_, window), _): &(&(SmolStr, SmolStr), &i64)| {
            !state.forgets.is_some_and(|prefix| window.starts_with(prefix))
        };
        now(Ok(state.used.iter().filter(is_told).map(usage).collect()))
    }

    fn resets(&self, _: Wall) -> Answer<'_, Vec<(CapReset, Wall)>> {
        now(Ok(self.state.lock().resets.clone()))
    }

    fn sessions(&self, _: Wall, _: Wall) -> Answer<'_, Vec<StoredSession>> {
        now(Ok(vec![]))
    }

    fn session(&self, _: SessionId) -> Answer<'_, Option<StoredSession>> {
        now(Ok(None))
    }

    fn replied(
        &self,
        _: Wall,
        _: Option<SessionId>,
        _: u32,
    ) -> Answer<'_, Vec<(PingAccepted, Wall)>> {
        now(Ok(vec![]))
    }

    fn records_of(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>> {
        let state = self.state.lock();
        now(Ok(calls.iter().filter_map(|call| state.calls.get(call).cloned()).collect()))
    }

    fn earlier_calls(
        &self,
        since: Wall,
        before: Option<CallId>,
        limit: u32,
    ) -> Answer<'_, Vec<EarlierCall>> {
        let state = self.state.lock();
        let is_before = |record: &&CallRecord| {
            record.started_at() >= since && before.is_none_or(|before| record.call < before)
        };
        let calls = state.calls.values().rev().filter(is_before).filter_map(EarlierCall::of);
        now(Ok(calls.take(limit as usize).collect()))
    }

    fn counted(&self, since: Wall, until: Wall, but: Vec<CallId>) -> Answer<'_, Vec<CountedCalls>> {
        let state = self.state.lock();
        let is_meant = |record: &&CallRecord| {
            let is_over = record.state != CallState::Open && !but.contains(&record.call);
            is_over && (since..until).contains(&record.started_at())
        };
        now(Ok(state.calls.values().filter(is_meant).flat_map(CountedCalls::of).collect()))
    }

    fn tried(&self, now: Wall) -> Answer<'_, Vec<TriedTarget>> {
        let state = self.state.lock();
        let over = state.calls.values().filter(|record| record.state != CallState::Open);
        self::now(Ok(over.flat_map(|record| TriedTarget::of(record, now)).collect()))
    }

    fn tried_ways(&self, now: Wall) -> Answer<'_, Vec<TriedWay>> {
        let state = self.state.lock();
        let over = state.calls.values().filter(|record| record.state != CallState::Open);
        self::now(Ok(over.flat_map(|record| TriedWay::of(record, now)).collect()))
    }

    fn write(&self, batch: Arc<Batch>) -> Answer<'_, ()> {
        let mut state = self.state.lock();
        if state.refuses {
            return now(Err(StoreError::Database(String::from("the disk is full"))));
        }
        state.take(&batch);
        if state.doubles {
            state.take(&batch);
        }
        now(Ok(()))
    }

    fn prune(&self, _: Wall) -> Answer<'_, ()> {
        now(Ok(()))
    }
}
