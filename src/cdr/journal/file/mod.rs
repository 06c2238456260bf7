//! The journal's directory: open and recover it, append to it, read along.
//!
//! ```text
//! EPOCH                               counter of process starts
//! LOCK                                held while a process owns the directory
//! j-<node>-<epoch>-<first seq>.log    segments, preallocated
//! j-….r<n>.log                        a segment that repeats what another may not have stored
//! j-….log.quarantined                 a segment with damage in its middle; still read
//! emergency.bin                       space given back when the disk is full
//! ```
//!
//! Appenders put records into one bounded buffer; when it is full they get [`AppendError::Full`]
//! and the server stops admitting. A thread of its own takes the buffer 2 ms after it was
//! empty (10 ms under load), or at 256 KiB or 1,024 records, writes it, and syncs it when a durable fact is in it or a buffered one is 1 s
//! old. What was written is handed to the [`Tail`]s; a tail that does not keep up reads the
//! segments instead, so it holds nothing back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Durable, Gap, Lsn, Pressure};
use crate::cdr::fact::Stamp;

mod append;
mod committer;
pub mod disk;
mod epoch;
#[cfg(test)]
mod flaky;
mod read;
mod recover;
mod segment;
mod tail;
#[cfg(test)]
mod tests;

pub use append::{AppendError, Appender, Refused};
pub use read::{ReadError, Reader};
pub use tail::Tail;

use append::Shared;
use committer::Committer;
use disk::{Disk, RealDisk};

/// Reads both clocks. The server passes its own, tests a made-up one.
pub type Clock = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// How the journal writes. The defaults are those of spec/data §11.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a commit waits for company.
    pub linger: Duration,
    /// Commits that follow each other closely begin no sooner than this after each other: a sync
    /// costs as much CPU as a whole call, so under load it is shared by more of them.
    pub pace: Duration,
    /// A commit does not wait any longer once it holds this much.
    pub batch_bytes: usize,
    pub batch_records: usize,
    /// Most bytes in memory that are not yet synced; appends beyond fail.
    pub unsynced_bytes_max: usize,
    /// Oldest a written fact may be that is not synced.
    pub sync_interval: Duration,
    /// Segments are rolled at this size…
    pub segment_bytes: u64,
    /// …or age.
    pub segment_age: Duration,
    /// Free space below which pings are refused; at most a twentieth of the disk counts.
    pub low_water_bytes: u64,
    /// Free space below which calls are refused; at most a hundredth of the disk counts.
    pub reserve_water_bytes: u64,
    /// Size of `emergency.bin`.
    pub emergency_bytes: u64,
    /// Least age of a segment that is deleted, however far the projections are.
    pub retention: Duration,
    /// Most bytes of older segments that are kept for followers which have not read them. None are
    /// while the disk runs low.
    pub backlog_bytes_max: u64,
    /// Most facts handed to a tail at once…
    pub tail_records: usize,
    /// …and the longest they wait for each other, or ten times that while many come.
    pub tail_delay: Duration,
    /// Batches a tail may lag before it has to read the segments.
    pub tail_batches: usize,
    /// How far the oldest projection has durably read. Segments beyond are verified at start, and
    /// numbering goes on after it even if the directory was lost.
    pub resume: Option<Lsn>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(2),
            pace: Duration::from_millis(10),
            batch_bytes: 256 << 10,
            batch_records: 1_024,
            unsynced_bytes_max: 64 << 20,
            sync_interval: Duration::from_secs(1),
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(60),
            low_water_bytes: 2 << 30,
            reserve_water_bytes: 256 << 20,
            emergency_bytes: 16 << 20,
            retention: Duration::from_secs(24 * 3600),
            backlog_bytes_max: 4 << 30,
            tail_records: 20_000,
            tail_delay: Duration::from_millis(200),
            tail_batches: 64,
            resume: None,
        }
    }
}

/// What the journal calls back. All run on the committer's thread and must not block.
pub struct Hooks {
    pub clock: Clock,
    /// Called after each sync, and never for a position lower than before.
    pub on_durable: Box<dyn Fn(Durable) + Send>,
    /// Called after each commit.
    pub on_commit: Box<dyn Fn(&Commit) + Send>,
    /// Called when [`Pressure`] changes.
    pub on_pressure: Box<dyn Fn(Pressure) + Send>,
}

impl Hooks {
    /// Hooks that do nothing.
    pub fn silent(clock: Clock) -> Self {
        Self {
            clock,
            on_durable: Box::new(|_| {}),
            on_commit: Box::new(|_| {}),
            on_pressure: Box::new(|_| {}),
        }
    }
}

/// One turn of the committer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub records: usize,
    pub bytes: usize,
    /// How long the sync took, if there was one.
    pub sync: Option<Duration>,
}

/// Counters since the journal was opened, for the server to export.
#[derive(Debug, Default)]
pub struct Stats {
    pub commits: AtomicU64,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    pub syncs: AtomicU64,
    /// Failed writes, syncs and creations of segments.
    pub errors: AtomicU64,
    pub segments_opened: AtomicU64,
    pub segments_deleted: AtomicU64,
    /// Of these such as a follower had not read to their ends.
    pub segments_unread: AtomicU64,
    /// Appends refused because the buffer was full.
    pub refused: AtomicU64,
    /// Batches a tail had to read from disk because it lagged.
    pub tail_lags: AtomicU64,
    /// Bytes written but not yet synced, or not yet written.
    pub unsynced_bytes: AtomicU64,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recovery {
    /// Epoch of this process.
    pub epoch: u64,
    /// Number the next fact gets.
    pub next_seq: u64,
    pub segments: usize,
    /// Records verified, i.e. those after `Settings::resume`.
    pub records: u64,
    /// Bytes cut off the last segment because they were no whole record.
    pub truncated_bytes: u64,
    /// Segments newly set aside because of damage in their middle. I2 is violated.
    pub quarantined: Vec<PathBuf>,
    /// Facts after `Settings::resume` that are nowhere, oldest first.
    pub missing: Vec<Gap>,
    /// First sequence numbers of segments that do not continue the one before them.
    pub chain_breaks: Vec<u64>,
    /// Facts a projection has seen that were never durable here and are gone after power loss.
    pub behind_projection: u64,
}

impl Recovery {
    /// Number of facts that are lost, exactly.
    pub fn lost(&self) -> u64 {
        self.missing.iter().map(|gap| gap.count).sum()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: another process owns this journal", .0.display())]
    InUse(PathBuf),
    #[error("{0} facts could not be made durable")]
    Unsynced(usize),
    #[error("start the committer's thread: {0}")]
    Thread(io::Error),
}

impl JournalError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// An open journal. Dropping it closes it, like [`Journal::close`].
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    node: u32,
    shared: Arc<Shared>,
    /// Absent if it has no thread, or has ended.
    committer: Option<JoinHandle<Result<(), JournalError>>>,
    _claim: Box<dyn Send + Sync>,
}

impl Journal {
    /// Recovers what a previous process left in `dir`, begins a new epoch, and starts the
    /// committer.
    pub fn open(
        dir: &Path,
        node: u32,
        settings: Settings,
        hooks: Hooks,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::open_on(Arc::new(RealDisk), dir, node, settings, hooks)
    }

    /// [`Journal::open`] on a disk of the caller's choice.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node: u32,
        settings: Settings,
        hooks: Hooks,
    ) -> Result<(Self, Recovery), JournalError> {
        let (mut journal, committer, report) = Self::recover_on(disk, dir, node, settings, hooks)?;
        journal.committer = Some(committer.start()?);
        Ok((journal, report))
    }

    /// [`Journal::open_on`] without a thread: whoever opens it commits, by [`Steps::turn`].
    pub fn stepped(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node: u32,
        settings: Settings,
        hooks: Hooks,
    ) -> Result<(Self, Steps, Recovery), JournalError> {
        let (journal, committer, report) = Self::recover_on(disk, dir, node, settings, hooks)?;
        Ok((journal, Steps { committer }, report))
    }

    fn recover_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node: u32,
        settings: Settings,
        hooks: Hooks,
    ) -> Result<(Self, Committer, Recovery), JournalError> {
        let claim = disk.claim(dir)?;
        let mut recovered = recover::recover(&*disk, dir, node, settings.resume)?;
        let epoch = epoch::bump(&*disk, dir, recovered.epoch_seen)?;
        recovered.report.epoch = epoch;
        let report = recovered.report.clone();

        let shared = Arc::new(Shared::new(epoch, report.next_seq, &settings));
        let dir = dir.to_owned();
        let place = committer::Place { disk: Arc::clone(&disk), dir: dir.clone(), node, epoch };
        let committer = Committer::new(place, settings, hooks, Arc::clone(&shared), recovered);
        Ok((Self { disk, dir, node, shared, committer: None, _claim: claim }, committer, report))
    }

    /// Epoch of this process.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    pub fn appender(&self) -> Appender {
        Appender::new(Arc::clone(&self.shared))
    }

    /// Follows the journal from just after `after`: first what is on disk, then what is written.
    pub fn tail(&self, after: Lsn) -> Tail {
        self.shared.subscribe(Arc::clone(&self.disk), &self.dir, self.node, after)
    }

    /// Reads what is on disk after `after`.
    pub fn reader(&self, after: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.disk), &self.dir, self.node, after)
    }

    /// The same for whoever outlives this value.
    pub fn readers(&self) -> Readers {
        Readers { disk: Arc::clone(&self.disk), dir: self.dir.clone(), node: self.node }
    }

    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// The same for whoever outlives this value.
    pub fn stats_handle(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// Registers a projection. No segment is deleted that it has not passed.
    pub fn watermark(&self, reached: Lsn) -> Watermark {
        let mark = Arc::new(Mutex::new(reached));
        self.shared.watermarks.lock().push(Arc::clone(&mark));
        Watermark { mark }
    }

    /// Registers a follower, who must not fill the disk: segments that it has not passed are kept for
    /// it, but only so many bytes of them.
    pub fn follower_mark(&self, reached: Lsn) -> Watermark {
        let mark = Arc::new(Mutex::new(reached));
        self.shared.follower_marks.lock().push(Arc::clone(&mark));
        Watermark { mark }
    }

    /// Writes and syncs what is pending, closes the segment with its footer, and ends the
    /// committer. Later appends fail.
    ///
    /// Fails with [`JournalError::Unsynced`] if the disk does not take the rest.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), JournalError> {
        let Some(committer) = self.committer.take() else { return Ok(()) };
        self.shared.close();
        committer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "failed to close the journal");
        }
    }
}

/// The committer of a journal without a thread. Dropped, it is a process that was killed.
pub struct Steps {
    committer: Committer,
}

impl Steps {
    /// Commits what was appended, and what else is due now. Calls the hooks.
    pub fn turn(&mut self) {
        self.committer.step();
    }

    /// How long from now until [`Steps::turn`] has something to do: the linger of a commit if
    /// something was appended.
    pub fn next(&self) -> Duration {
        self.committer.next_step()
    }
}

/// Reads what is on disk, from wherever one likes.
#[derive(Clone)]
pub struct Readers {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    node: u32,
}

impl Readers {
    /// Reads what is on disk after `after`.
    pub fn after(&self, after: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.disk), &self.dir, self.node, after)
    }
}

/// How far a projection has durably read; see [`Journal::watermark`].
#[derive(Clone, Debug)]
pub struct Watermark {
    mark: Arc<Mutex<Lsn>>,
}

impl Watermark {
    pub fn advance(&self, reached: Lsn) {
        let mut mark = self.mark.lock();
        *mark = reached.max(*mark);
    }
}

fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
