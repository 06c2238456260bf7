//! The near side of the journal: what call threads touch.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::disk::Disk;
use super::tail::{Subscriber, Tail};
use super::{Settings, Stats, count};
use crate::cdr::fact::Fact;
use crate::cdr::journal::format::{self, FactTooLong};
use crate::cdr::journal::{Durability, Entry, Lsn, Pressure};

/// Why a fact was not appended. Nothing of the same call to `append` was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the journal holds as many facts in memory as it may")]
    Full,
    #[error("the journal is closed")]
    Closed,
    #[error(transparent)]
    TooLong(#[from] FactTooLong),
}

/// A fact that was not appended, given back unless it can never be.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    pub error: AppendError,
    pub fact: Option<Box<Fact>>,
}

/// Puts facts into the journal, from any thread, without blocking on the disk. Cheap to clone.
#[derive(Clone)]
pub struct Appender {
    shared: Arc<Shared>,
}

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Appends one fact and returns its position. It is durable once a [`Durable`] of at least
    /// that position is announced.
    ///
    /// [`Durable`]: crate::cdr::journal::Durable
    pub fn append(&self, fact: Fact, durability: Durability) -> Result<Lsn, Refused> {
        let mut fact = Some(fact);
        let appended = self.append_all(std::iter::from_fn(|| fact.take()), durability);
        appended.map_err(|error| Refused { error, fact: fact.map(Box::new) })
    }

    /// Appends `facts` next to each other, all or none, and returns the position of the last (or
    /// [`Appender::end`] if there are none).
    pub fn append_all(
        &self,
        facts: impl IntoIterator<Item = Fact>,
        durability: Durability,
    ) -> Result<Lsn, AppendError> {
        let shared = &*self.shared;
        let mut pending = shared.pending.lock();
        if pending.closed {
            return Err(AppendError::Closed);
        }
        let unsynced = shared.stats.unsynced_bytes.load(Ordering::Relaxed);
        if pending.bytes.len() as u64 + unsynced >= shared.bytes_max {
            count(&shared.stats.refused, 1);
            return Err(AppendError::Full);
        }

        let before = (pending.bytes.len(), pending.entries.len());
        for fact in facts {
            let lsn = Lsn { epoch: shared.epoch, seq: pending.next_seq };
            if let Err(error) = format::write_record(&mut pending.bytes, lsn.seq, &fact) {
                pending.bytes.truncate(before.0);
                pending.next_seq -= (pending.entries.len() - before.1) as u64;
                pending.entries.truncate(before.1);
                return Err(error.into());
            }
            pending.entries.push(Entry { lsn, fact });
            pending.next_seq += 1;
        }
        let last = Lsn { epoch: shared.epoch, seq: pending.next_seq - 1 };
        if durability == Durability::Durable {
            pending.sync_wanted = true;
            pending.promised = last.seq;
        }
        let (first, full) = (before.1 == 0 && !pending.is_empty(), shared.full(&pending));
        drop(pending);
        // The committer sleeps until there is something, then until there is enough.
        if first || full {
            shared.wake.notify_one();
        }
        Ok(last)
    }

    /// The position of the last fact, with which all before it are now wanted on the disk.
    pub fn end(&self) -> Lsn {
        let mut pending = self.shared.pending.lock();
        pending.sync_wanted = true;
        Lsn { epoch: self.shared.epoch, seq: pending.next_seq - 1 }
    }

    /// Returns once everything up to `lsn` is durable; fails if the journal is closed before.
    pub async fn wait(&self, lsn: Lsn) -> Result<(), AppendError> {
        let mut durable = self.shared.durable.subscribe();
        let reached = durable.wait_for(|state| state.up_to >= lsn || state.closed).await;
        match reached {
            Ok(state) if state.up_to >= lsn => Ok(()),
            Ok(_) | Err(_) => Err(AppendError::Closed),
        }
    }

    /// The last position known to be durable.
    pub fn durable(&self) -> Lsn {
        self.shared.durable.borrow().up_to
    }

    /// The position of the last fact that was appended to become durable at once; of buffered ones
    /// behind it nobody knows when they are.
    pub fn promised(&self) -> Lsn {
        Lsn { epoch: self.shared.epoch, seq: self.shared.pending.lock().promised }
    }

    /// What the server must refuse at the moment.
    pub fn pressure(&self) -> Pressure {
        self.shared.pressure()
    }
}

/// What appenders, committer and tails have in common.
pub(super) struct Shared {
    pub(super) epoch: u64,
    pub(super) stats: Arc<Stats>,
    pub(super) watermarks: Mutex<Vec<Arc<Mutex<Lsn>>>>,
    pub(super) follower_marks: Mutex<Vec<Arc<Mutex<Lsn>>>>,
    pending: Mutex<Pending>,
    wake: Condvar,
    durable: watch::Sender<DurableState>,
    pressure: AtomicU8,
    failed: AtomicBool,
    tails: Mutex<Tails>,
    bytes_max: u64,
    batch_bytes: usize,
    batch_records: usize,
    tail_batches: usize,
}

#[derive(Clone, Copy, Debug)]
struct DurableState {
    up_to: Lsn,
    closed: bool,
}

struct Tails {
    subscribers: Vec<Subscriber>,
    /// Last fact that was handed over; what follows reaches every subscriber.
    handed: Lsn,
}

/// Records waiting for the committer.
#[derive(Default)]
pub(super) struct Pending {
    /// Encoded records.
    pub(super) bytes: Vec<u8>,
    /// The same facts, for the tails.
    pub(super) entries: Vec<Entry>,
    pub(super) sync_wanted: bool,
    next_seq: u64,
    /// See [`Appender::promised`].
    promised: u64,
    closed: bool,
}

impl Pending {
    /// Empty, with the memory of `bytes`.
    pub(super) fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What the committer got to do.
pub(super) enum Work {
    Batch(Pending),
    /// Nothing new: look at the clock.
    Tick,
    /// Write the rest and end.
    Close(Pending),
}

impl Shared {
    pub(super) fn new(epoch: u64, next_seq: u64, settings: &Settings) -> Self {
        let before = Lsn { epoch, seq: next_seq - 1 };
        Self {
            epoch,
            stats: Arc::default(),
            watermarks: Mutex::default(),
            follower_marks: Mutex::default(),
            pending: Mutex::new(Pending { next_seq, promised: before.seq, ..Pending::default() }),
            wake: Condvar::new(),
            durable: watch::Sender::new(DurableState { up_to: before, closed: false }),
            pressure: AtomicU8::new(0),
            failed: AtomicBool::new(false),
            tails: Mutex::new(Tails { subscribers: Vec::new(), handed: before }),
            bytes_max: settings.unsynced_bytes_max as u64,
            batch_bytes: settings.batch_bytes,
            batch_records: settings.batch_records,
            tail_batches: settings.tail_batches,
        }
    }

    /// Waits for work: at most `tick` for the first record, then for more as long as `linger` says
    /// once that is there. `spare` are emptied buffers to be filled next.
    pub(super) fn collect(
        &self,
        tick: Duration,
        linger: impl FnOnce() -> Duration,
        spare: Pending,
    ) -> Work {
        let mut pending = self.pending.lock();
        if pending.is_empty() && !pending.closed && !tick.is_zero() {
            self.wake.wait_for(&mut pending, tick);
        }
        let linger = if pending.is_empty() { Duration::ZERO } else { linger() };
        if !linger.is_zero() && !pending.is_empty() && !pending.closed && !self.full(&pending) {
            self.wake.wait_for(&mut pending, linger);
        }
        if pending.is_empty() && !pending.closed {
            return Work::Tick;
        }
        let next = Pending {
            entries: Vec::with_capacity(pending.entries.len()),
            next_seq: pending.next_seq,
            promised: pending.promised,
            closed: pending.closed,
            ..spare
        };
        // Counted as unsynced before the lock is released, so that the bound holds throughout.
        count(&self.stats.unsynced_bytes, pending.bytes.len());
        let taken = std::mem::replace(&mut *pending, next);
        if taken.closed { Work::Close(taken) } else { Work::Batch(taken) }
    }

    /// Whether something waits for the committer.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    pub(super) fn close(&self) {
        self.pending.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn announce(&self, up_to: Lsn) {
        self.durable.send_modify(|state| state.up_to = up_to);
    }

    pub(super) fn announce_closed(&self) {
        self.durable.send_modify(|state| state.closed = true);
    }

    pub(super) fn pressure(&self) -> Pressure {
        if self.durable.borrow().closed {
            return Pressure::Failing;
        }
        if self.failed.load(Ordering::Relaxed) {
            return Pressure::Failing;
        }
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Low,
            _ => Pressure::Reserve,
        }
    }

    /// Stores how full the disk is; failing is told by [`Shared::set_failed`].
    pub(super) fn set_pressure(&self, pressure: Pressure) {
        let level = match pressure {
            Pressure::None => 0,
            Pressure::Low => 1,
            Pressure::Reserve | Pressure::Failing => 2,
        };
        self.pressure.store(level, Ordering::Relaxed);
    }

    pub(super) fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Relaxed);
    }

    /// A tail that gets everything after `after` from disk or from later hand-overs.
    pub(super) fn subscribe(&self, disk: Arc<dyn Disk>, dir: &Path, node: u32, after: Lsn) -> Tail {
        let mut tails = self.tails.lock();
        let (subscriber, tail) =
            super::tail::channel(self.tail_batches, disk, dir, node, after, tails.handed);
        tails.subscribers.push(subscriber);
        tail
    }

    /// Gives written facts to every tail.
    pub(super) fn hand_over(&self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.lsn) else { return };
        let mut tails = self.tails.lock();
        tails.handed = last;
        tails.subscribers.retain(Subscriber::is_open);
        let Some((final_one, others)) = tails.subscribers.split_last() else { return };
        for subscriber in others {
            count(&self.stats.tail_lags, usize::from(!subscriber.give(entries.clone())));
        }
        count(&self.stats.tail_lags, usize::from(!final_one.give(entries)));
    }

    /// Lets tails end after what they were given.
    pub(super) fn end_tails(&self) {
        self.tails.lock().subscribers.clear();
    }

    fn full(&self, pending: &Pending) -> bool {
        pending.bytes.len() >= self.batch_bytes || pending.entries.len() >= self.batch_records
    }
}
