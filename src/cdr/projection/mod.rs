//! Turns the journal into the book: folds open calls in memory, writes what closed, what caps and
//! sessions came to, and the offset, all in one transaction per batch (I11).
//!
//! **Restart.** A call that has been open for a minute is *parked*: its record is stored, and
//! stored again with each batch that changed it. Younger open calls are not stored; the journal is
//! read again from the oldest of them, and from the last checkpoint, which tells how long parked
//! calls were alive. So a restart reads about a minute of journal however long calls last, and a
//! call that is over within a minute is written once. Facts up to the offset are only folded then;
//! their effects are in the book.
//!
//! Calls that are still open after that belong to a process that died: each gets its closing fact,
//! which then takes the same way as any other.

mod absorbing;
mod opening;
mod violations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cdr::due::CapCount;
use crate::cdr::fact::{FactBody, OrphanPolicy, Stamp};
use crate::cdr::journal::file::{AppendError, ReadError, Tail, Watermark};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::rating::Tariff;
use crate::cdr::record::{CallRecord, CallState};
use crate::cdr::store::{Batch, Book, CallFilter, Progress, StoreError};
use crate::id::{CallId, HoldId};
use crate::time::Wall;
use parking_lot::Mutex;

pub use opening::{Awaited, Opening, Parting};
pub use violations::Violations;
use violations::times_add_up;

/// How often windows and sessions that are over are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// How the projection works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: u32,
    /// What calls count as talked that were up at a crash.
    pub orphans: OrphanPolicy,
    /// What carriers charge; without it records carry no cost.
    pub tariff: Option<Tariff>,
    /// Age from which an open call is stored for a restart.
    pub park_after: Duration,
    /// How often the book gets a partial record of a call that goes on.
    pub partial_every: Duration,
    /// How long after its admission the true end of a call that was closed after a crash may still
    /// become known: the longest time a call takes.
    pub orphan_wait: Duration,
    /// How long ago a session may have expired to be told of at the start.
    pub sessions_back: Duration,
}

impl Settings {
    pub fn new(node: u32) -> Self {
        Self {
            node,
            orphans: OrphanPolicy::default(),
            tariff: None,
            park_after: Duration::from_secs(60),
            partial_every: Duration::from_secs(15 * 60),
            orphan_wait: Duration::from_secs(4 * 3_600),
            sessions_back: Duration::ZERO,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("close the calls of a process that died: {0}")]
    Append(#[from] AppendError),
}

/// Who works from what is in the book. Must not block.
pub trait Onward: Send {
    /// These facts are in the book, and so are the records of the calls that ended in them.
    fn pass(&self, facts: Vec<Entry>, ended: Vec<Arc<CallRecord>>);
}

/// Calls that are not in the book, or not as they are, for whoever wants to look. Cheap to clone.
#[derive(Clone, Default)]
pub struct Live {
    calls: Arc<Mutex<BTreeMap<CallId, Slot>>>,
    /// Over, and not yet in the book. Locked after `calls`.
    closing: Arc<Mutex<BTreeMap<CallId, Arc<CallRecord>>>>,
}

/// An open call.
struct Slot {
    record: Arc<CallRecord>,
    /// The book keeps it over a restart.
    parked: bool,
    /// When the book last got it, in boot time.
    written: Stamp,
}

impl Live {
    /// Open calls that match, newest first, at most `limit`.
    pub fn list(&self, filter: &CallFilter, limit: usize) -> Vec<Arc<CallRecord>> {
        let calls = self.calls.lock();
        let records = calls.values().rev().map(|slot| &slot.record);
        records.filter(|record| filter.matches(record)).take(limit).cloned().collect()
    }

    /// Calls that are over and on their way to the book. Look here before you look there.
    pub fn closing(&self) -> Vec<Arc<CallRecord>> {
        self.closing.lock().values().cloned().collect()
    }

    /// A call that is open, or on its way to the book.
    pub fn find(&self, call: CallId) -> Option<Arc<CallRecord>> {
        let open = self.calls.lock().get(&call).map(|slot| Arc::clone(&slot.record));
        open.or_else(|| self.closing.lock().get(&call).cloned())
    }

    pub fn count(&self) -> usize {
        self.calls.lock().len()
    }
}

/// Follows the journal and writes the book.
pub struct Projection {
    book: Arc<dyn Book>,
    tail: Tail,
    watermark: Watermark,
    settings: Settings,
    live: Live,
    /// Open calls that are not parked, by their first fact.
    young: BTreeMap<Lsn, CallId>,
    /// Parked calls that changed since they were stored.
    changed: BTreeSet<CallId>,
    checkpoint: Option<Lsn>,
    /// Closed orphans, for as long as their true end may still become known.
    orphans: BTreeMap<CallId, Arc<CallRecord>>,
    progress: Progress,
    /// Taken from the tail, but not yet in the book.
    batch: Batch,
    /// Both clocks at the newest fact seen: the projection has no clock of its own.
    now: Stamp,
    pruned: Stamp,
    /// A batch the book did not take.
    failed: Option<Arc<Batch>>,
    /// Facts of which the book did not tell the records that they change.
    taken: Option<Vec<Entry>>,
    /// Records of calls that are over, which the next facts tell more of.
    past: BTreeMap<CallId, Arc<CallRecord>>,
    onward: Option<Box<dyn Onward>>,
    /// Facts that are passed on once they are in the book.
    unpassed: Vec<Entry>,
    /// What calls came to that a crash had left up, since that was last asked for.
    corrections: Vec<Correction>,
    violations: Violations,
    /// The last fact that was taken in.
    absorbed: Lsn,
}

/// The true end of a call that a crash had left up has become known: nothing is held for it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    pub hold: HoldId,
    /// By how much more, or less, than was counted at the restart its caps are used.
    pub counts: Vec<CapCount>,
}

impl Projection {
    /// Open calls as of the last batch.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Everything up to here is in the book.
    pub fn offset(&self) -> Lsn {
        self.progress.offset
    }

    /// Takes the next batch from the journal and writes it. False once the journal is closed and
    /// all of it is written. After an error nothing is lost: wait a moment, then step again.
    pub async fn step(&mut self) -> Result<bool, ProjectionError> {
        if self.failed.is_none() {
            let entries = match self.taken.take() {
                Some(entries) => entries,
                None => {
                    let Some(entries) = self.tail.next().await? else { return Ok(false) };
                    entries
                }
            };
            match told_more_of(&*self.book, &entries).await {
                Ok(past) => self.past = past,
                Err(error) => {
                    self.taken = Some(entries);
                    return Err(error.into());
                }
            }
            self.absorb(&entries);
            if self.onward.is_some() {
                self.unpassed = entries;
            }
        }
        let ended = self.write().await?;
        if let Some(onward) = &self.onward {
            onward.pass(std::mem::take(&mut self.unpassed), ended);
        }
        if self.now.since(self.pruned) >= PRUNE_EVERY {
            self.pruned = self.now;
            let until = self.awaited_since();
            self.orphans.retain(|_, record| record.started_at() >= until);
            self.book.prune(self.now.wall()).await?;
        }
        Ok(true)
    }

    /// Tells `onward` of every fact from now on, once it is in the book.
    pub fn pass_on(&mut self, onward: Box<dyn Onward>) {
        self.onward = Some(onward);
    }

    /// What has become known of calls that a crash had left up.
    pub fn take_corrections(&mut self) -> Vec<Correction> {
        std::mem::take(&mut self.corrections)
    }

    /// Invariants that were found broken since that was last asked.
    pub fn take_violations(&mut self) -> Violations {
        std::mem::take(&mut self.violations)
    }

    fn awaited_since(&self) -> Wall {
        let wait_ms = i64::try_from(self.settings.orphan_wait.as_millis()).unwrap_or(i64::MAX);
        Wall(self.now.wall_ms.saturating_sub(wait_ms))
    }

    /// Parks calls that have been open long enough, and takes note of what the book has to keep.
    fn park(&mut self, calls: &mut BTreeMap<CallId, Slot>) {
        while let Some((_, call)) = self.young.first_key_value() {
            let slot = calls.get_mut(call).expect("every young call is open");
            if self.now.since(slot.record.admitted) < self.settings.park_after {
                break;
            }
            slot.parked = true;
            self.changed.insert(*call);
            self.young.pop_first();
        }
        let changed = std::mem::take(&mut self.changed);
        let records = changed.iter().filter_map(|call| calls.get(call));
        self.batch.parked.extend(records.map(|slot| Arc::clone(&slot.record)));
    }

    /// Returns the records of calls that are over, as they are in the book now.
    async fn write(&mut self) -> Result<Vec<Arc<CallRecord>>, ProjectionError> {
        let batch = match self.failed.take() {
            Some(batch) => batch,
            None => {
                let mut batch = std::mem::replace(
                    &mut self.batch,
                    Batch { node: self.settings.node, ..Batch::default() },
                );
                batch.recorded_at = self.now.wall();
                if let Some(progress) = &mut batch.progress {
                    progress.replay_after = self.replay_after(progress.offset);
                }
                Arc::new(batch)
            }
        };
        if let Err(error) = self.book.write(Arc::clone(&batch)).await {
            self.failed = Some(batch);
            return Err(error.into());
        }
        if !batch.calls.is_empty() {
            let mut closing = self.live.closing.lock();
            batch.calls.iter().for_each(|record| drop(closing.remove(&record.call)));
        }
        if let Some(progress) = batch.progress {
            self.progress = progress;
            self.watermark.advance(progress.replay_after);
        }
        let is_over = |record: &&Arc<CallRecord>| record.state != CallState::Open;
        Ok(match &self.onward {
            Some(_) => batch.calls.iter().filter(is_over).cloned().collect(),
            None => Vec::new(),
        })
    }

    /// Where a restart has to begin so that it meets every fact of young calls and the last
    /// checkpoint of parked ones.
    fn replay_after(&self, offset: Lsn) -> Lsn {
        let before = |lsn: Lsn| Lsn { seq: lsn.seq - 1, ..lsn };
        let young = self.young.first_key_value().map(|(first, _)| before(*first));
        let checkpoint = self.checkpoint.map(before);
        [young, checkpoint].into_iter().flatten().fold(offset, Lsn::min)
    }
}

/// Records in the book of calls that are over, and of which these facts tell more.
async fn told_more_of(
    book: &dyn Book,
    entries: &[Entry],
) -> Result<BTreeMap<CallId, Arc<CallRecord>>, StoreError> {
    let told = entries.iter().filter(|it| matches!(it.fact.body, FactBody::Rematched(_)));
    let calls: Vec<CallId> = told.filter_map(|entry| entry.fact.call).collect();
    if calls.is_empty() {
        return Ok(BTreeMap::new());
    }
    let records = book.records_of(calls).await?;
    Ok(records.into_iter().map(|record| (record.call, Arc::new(record))).collect())
}

#[cfg(test)]
mod tests;
