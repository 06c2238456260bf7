//! The far side of the journal: the one thread that writes.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::append::{Pending, Shared, Work};
use super::disk::{Disk, DiskFile, Space};
use super::recover::{ClosedSegment, Recovered};
use super::segment::SegmentName;
use super::{Commit, Hooks, JournalError, Settings, count};
use crate::cdr::fact::Stamp;
use crate::cdr::journal::format::{
    self, Closure, FOOTER_LEN, HEADER_LEN, SegmentFooter, SegmentHeader,
};
use crate::cdr::journal::{Durable, Entry, Lsn, Pressure};

/// How often the disk's free space and the retention are looked at, and how long to wait before
/// a failing disk is tried again.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Size of a segment while the disk is full.
const CRAMPED_SEGMENT: u64 = 1 << 20;

/// Buffers kept for reuse.
const SPARES_MAX: usize = 4;

/// A tail that has this part of a full batch waiting is busy, and its batches may take this many
/// times as long to fill.
const TAIL_BUSY_SHARE: usize = 10;
const TAIL_BUSY_PATIENCE: u32 = 10;

/// Where the committer writes.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) node: u32,
    pub(super) epoch: u64,
}

pub(super) struct Committer {
    place: Place,
    settings: Settings,
    hooks: Hooks,
    shared: Arc<Shared>,
    /// Absent before the first record, and after a fault.
    segment: Option<OpenSegment>,
    closed: VecDeque<ClosedSegment>,
    chain: u64,
    /// Faults so far; numbers the segments that repeat what may not have been stored.
    faults: u32,
    /// The next segment is such a one.
    repeating: bool,
    /// Batches that are not yet durable, oldest first.
    unsynced: VecDeque<Batch>,
    /// When the oldest of them was taken, in boot time.
    unsynced_since: Option<Stamp>,
    sync_wanted: bool,
    /// Facts written but not yet handed to the tails.
    outgoing: Vec<Entry>,
    outgoing_since: Stamp,
    spares: Vec<Pending>,
    emergency: bool,
    /// There is no room for a whole segment, only for what closes live calls.
    cramped: bool,
    housekept: Stamp,
    /// When the last commit began.
    committed: Stamp,
    /// When the disk last failed; it is left alone for a while.
    failed_at: Option<Stamp>,
    pressure: Pressure,
}

/// What was taken from the appenders at once.
struct Batch {
    bytes: Vec<u8>,
    records: u64,
    first_seq: u64,
    /// Emptied when the batch was handed on to the tails.
    entries: Vec<Entry>,
    written: bool,
}

/// The segment being written.
struct OpenSegment {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    opened: Stamp,
    /// Bytes reserved on disk.
    size: u64,
    len: u64,
    records: u64,
    last_seq: u64,
    payload_crc: u32,
}

impl Committer {
    pub(super) fn new(
        place: Place,
        settings: Settings,
        hooks: Hooks,
        shared: Arc<Shared>,
        recovered: Recovered,
    ) -> Self {
        let now = (hooks.clock)();
        let mut committer = Self {
            place,
            settings,
            hooks,
            shared,
            segment: None,
            closed: recovered.segments.into(),
            chain: recovered.chain,
            faults: 0,
            repeating: false,
            unsynced: VecDeque::new(),
            unsynced_since: None,
            sync_wanted: false,
            outgoing: Vec::new(),
            outgoing_since: now,
            spares: Vec::new(),
            emergency: false,
            cramped: false,
            housekept: now,
            committed: Stamp::default(),
            failed_at: None,
            pressure: Pressure::None,
        };
        committer.watch_space();
        committer
    }

    /// Starts the thread; it ends when the journal is closed.
    pub(super) fn start(self) -> Result<JoinHandle<Result<(), JournalError>>, JournalError> {
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let _end = EndOfWrites(Arc::clone(&self.shared));
                self.run()
            })
            .map_err(JournalError::Thread)
    }

    fn run(mut self) -> Result<(), JournalError> {
        loop {
            let spare = self.spares.pop().unwrap_or_default();
            let tick = self.tick((self.hooks.clock)());
            let work = self.shared.collect(tick, || self.linger((self.hooks.clock)()), spare);
            if let Some(end) = self.turn(work) {
                return end;
            }
        }
    }

    /// One turn without waiting for anything.
    pub(super) fn step(&mut self) {
        let spare = self.spares.pop().unwrap_or_default();
        let work = self.shared.collect(Duration::ZERO, || Duration::ZERO, spare);
        // Whoever steps never closes.
        let _end = self.turn(work);
    }

    /// How long until [`Committer::step`] has something to do.
    pub(super) fn next_step(&self) -> Duration {
        let now = (self.hooks.clock)();
        if self.shared.has_pending() {
            return self.linger(now);
        }
        self.tick(now)
    }

    /// How long a commit that has something to do waits for more.
    fn linger(&self, now: Stamp) -> Duration {
        let pace = self.settings.pace.saturating_sub(now.since(self.committed));
        self.settings.linger.max(pace)
    }

    /// The outcome of all, if this is the end.
    fn turn(&mut self, work: Work) -> Option<Result<(), JournalError>> {
        let now = (self.hooks.clock)();
        match work {
            Work::Batch(batch) => {
                self.take(batch, now);
                self.commit(now, false);
            }
            Work::Tick => self.commit(now, false),
            Work::Close(rest) => {
                self.take(rest, now);
                self.commit(now, true);
                return Some(self.end(now));
            }
        }
        self.hand_over(now, false);
        if now.since(self.housekept) >= HOUSEKEEPING {
            self.housekept = now;
            self.watch_space();
            self.roll_if_old(now);
            self.delete_consumed(now);
        }
        None
    }

    /// How long there is nothing to do unless something is appended.
    fn tick(&self, now: Stamp) -> Duration {
        let left = |since: Stamp, limit: Duration| limit.saturating_sub(now.since(since));
        let sync = self.unsynced_since.map(|since| left(since, self.settings.sync_interval));
        let tails =
            (!self.outgoing.is_empty()).then(|| left(self.outgoing_since, self.tail_delay()));
        let retry = self.failed_at.map(|at| left(at, HOUSEKEEPING));
        [sync.filter(|_| self.failed_at.is_none()), tails, retry]
            .into_iter()
            .flatten()
            .fold(HOUSEKEEPING, Duration::min)
    }

    /// Where much comes, tails get more at once: their work costs less per fact then.
    fn tail_delay(&self) -> Duration {
        let is_busy = self.outgoing.len() >= self.settings.tail_records / TAIL_BUSY_SHARE;
        self.settings.tail_delay * if is_busy { TAIL_BUSY_PATIENCE } else { 1 }
    }

    fn take(&mut self, batch: Pending, now: Stamp) {
        let Pending { bytes, entries, sync_wanted, .. } = batch;
        let Some(first) = entries.first() else { return };
        self.sync_wanted |= sync_wanted;
        self.unsynced_since.get_or_insert(now);
        self.unsynced.push_back(Batch {
            records: entries.len() as u64,
            first_seq: first.lsn.seq,
            bytes,
            entries,
            written: false,
        });
    }

    /// Writes what is not written, and syncs if a durable fact waits, a buffered one is old
    /// enough, or `all` is asked for. After a fault everything not durable is written again to a
    /// new segment, once at once and then as often as housekeeping is due.
    fn commit(&mut self, now: Stamp, all: bool) {
        let failed_just_now = self.failed_at.is_some_and(|at| now.since(at) < HOUSEKEEPING);
        if self.unsynced.is_empty() || failed_just_now && !all {
            return;
        }
        let new = || self.unsynced.iter().filter(|batch| !batch.written);
        let (records, bytes) = (
            new().map(|batch| batch.records as usize).sum(),
            new().map(|batch| batch.bytes.len()).sum(),
        );
        let is_old = |since| now.since(since) >= self.settings.sync_interval;
        let sync = all || self.sync_wanted || self.unsynced_since.is_some_and(is_old);
        if records == 0 && !sync {
            return;
        }

        self.committed = now;
        let outcome = self.persist(now, sync).or_else(|error| {
            self.fault(&error);
            self.persist(now, true).inspect_err(|error| self.fault(error))
        });

        match outcome {
            Ok(took) => {
                self.failed_at = None;
                self.shared.set_failed(false);
                count(&self.shared.stats.commits, 1);
                count(&self.shared.stats.records, records);
                count(&self.shared.stats.bytes, bytes);
                (self.hooks.on_commit)(&Commit { records, bytes, sync: took });
            }
            Err(_) => {
                self.failed_at = Some(now);
                self.shared.set_failed(true);
            }
        }
        self.tell_pressure();
    }

    fn persist(&mut self, now: Stamp, sync: bool) -> io::Result<Option<Duration>> {
        let next = |batches: &VecDeque<Batch>| batches.iter().position(|batch| !batch.written);
        while let Some(at) = next(&self.unsynced) {
            let Batch { bytes, first_seq, .. } = &self.unsynced[at];
            self.make_room((bytes.len() + FOOTER_LEN) as u64, *first_seq, now)?;
            // Closing the segment before may have taken batches off the front.
            let at = next(&self.unsynced).expect("only written batches are taken off");
            let batch = &mut self.unsynced[at];
            let segment = self.segment.as_mut().expect("make_room opens one");
            segment.write(batch)?;
            batch.written = true;
            if self.outgoing.is_empty() {
                self.outgoing_since = now;
            }
            self.outgoing.append(&mut batch.entries);
        }
        if !sync {
            return Ok(None);
        }
        let Some(segment) = self.segment.as_mut() else { return Ok(None) };
        let began = (self.hooks.clock)();
        segment.file.sync()?;
        let took = (self.hooks.clock)().since(began);
        count(&self.shared.stats.syncs, 1);
        self.synced();
        Ok(Some(took))
    }

    /// Makes sure that `needed` bytes, which begin with fact `first_seq`, fit the open segment.
    fn make_room(&mut self, needed: u64, first_seq: u64, now: Stamp) -> io::Result<()> {
        let closure = self.segment.as_ref().and_then(|segment| {
            if segment.records == 0 {
                None
            } else if segment.len + needed > segment.size {
                Some(Closure::Size)
            } else {
                (now.since(segment.opened) >= self.settings.segment_age).then_some(Closure::Time)
            }
        });
        if let Some(closure) = closure {
            self.close_segment(closure, now)?;
        }
        if self.segment.is_none() {
            let wanted = if self.cramped { CRAMPED_SEGMENT } else { self.settings.segment_bytes };
            let size = wanted.max(HEADER_LEN as u64 + needed);
            self.segment = Some(self.open_segment(first_seq, size, now)?);
            self.repeating = false;
        }
        Ok(())
    }

    fn open_segment(&self, first_seq: u64, size: u64, now: Stamp) -> io::Result<OpenSegment> {
        let Place { disk, dir, node, epoch } = &self.place;
        let header = SegmentHeader {
            node: *node,
            epoch: *epoch,
            first_seq,
            opened_at_ms: now.wall_ms,
            prev_chain: self.chain,
            writer: env!("CARGO_PKG_VERSION").into(),
        };
        let rewrite = if self.repeating { self.faults } else { 0 };
        let name = SegmentName { epoch: *epoch, first_seq, rewrite, quarantined: false };
        let path = name.path(dir, *node);
        let mut file = disk.create(&path, size)?;
        file.write_at(&header.to_bytes(), 0)?;
        file.sync()?;
        disk.sync_dir(dir)?;
        count(&self.shared.stats.segments_opened, 1);
        Ok(OpenSegment {
            path,
            file,
            opened: now,
            size,
            len: HEADER_LEN as u64,
            records: 0,
            last_seq: first_seq.saturating_sub(1),
            payload_crc: 0,
            header,
        })
    }

    /// Ends the open segment with its footer and syncs it. What it holds is durable then.
    fn close_segment(&mut self, reason: Closure, now: Stamp) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        self.chain = segment.close(reason, now)?;
        count(&self.shared.stats.syncs, 1);
        self.closed.push_back(ClosedSegment {
            path: segment.path.clone(),
            last: Lsn { epoch: self.place.epoch, seq: segment.last_seq },
            last_append_ms: now.wall_ms,
            bytes: segment.len + FOOTER_LEN as u64,
            quarantined: false,
        });
        self.segment = None;
        self.synced();
        Ok(())
    }

    /// What was written is durable: tell, and reuse the buffers.
    fn synced(&mut self) {
        let mut up_to = None;
        while let Some(batch) = self.unsynced.pop_front_if(|batch| batch.written) {
            up_to = Some(batch.first_seq + batch.records - 1);
            let bytes = batch.bytes.len() as u64;
            self.shared.stats.unsynced_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if self.spares.len() < SPARES_MAX {
                self.spares.push(Pending::reusing(batch.bytes));
            }
        }
        if self.unsynced.is_empty() {
            self.unsynced_since = None;
            self.sync_wanted = false;
        }
        if let Some(seq) = up_to {
            let up_to = Lsn { epoch: self.place.epoch, seq };
            self.shared.announce(up_to);
            (self.hooks.on_durable)(Durable { up_to });
        }
    }

    /// Gives the segment up. The kernel may have dropped pages it could not write, so the same
    /// file is never synced again (spec/data §1.2); all that is not durable is written elsewhere.
    fn fault(&mut self, error: &io::Error) {
        tracing::error!(%error, faults = self.faults + 1, "failed to write the journal");
        count(&self.shared.stats.errors, 1);
        self.faults += 1;
        self.segment = None;
        self.repeating = true;
        for batch in &mut self.unsynced {
            batch.written = false;
        }
        if error.kind() == io::ErrorKind::StorageFull {
            self.cramped = true;
            self.release_emergency();
        }
    }

    fn hand_over(&mut self, now: Stamp, all: bool) {
        let is_due = self.outgoing.len() >= self.settings.tail_records
            || now.since(self.outgoing_since) >= self.tail_delay();
        if !self.outgoing.is_empty() && (all || is_due) {
            let next = Vec::with_capacity(self.outgoing.len());
            self.shared.hand_over(std::mem::replace(&mut self.outgoing, next));
        }
    }

    fn roll_if_old(&mut self, now: Stamp) {
        let is_old = |segment: &OpenSegment| {
            segment.records > 0 && now.since(segment.opened) >= self.settings.segment_age
        };
        if self.segment.as_ref().is_some_and(is_old)
            && let Err(error) = self.close_segment(Closure::Time, now)
        {
            self.fault(&error);
        }
    }

    fn end(&mut self, now: Stamp) -> Result<(), JournalError> {
        if self.unsynced.is_empty()
            && let Err(error) = self.close_segment(Closure::Shutdown, now)
        {
            // All records are durable; the next start puts the footer.
            self.fault(&error);
        }
        self.hand_over(now, true);
        let left: u64 = self.unsynced.iter().map(|batch| batch.records).sum();
        if left > 0 { Err(JournalError::Unsynced(left as usize)) } else { Ok(()) }
    }

    /// Looks at the disk's free space: sets the pressure, gives the emergency file back when the
    /// reserve is touched, and takes it again when there is room.
    fn watch_space(&mut self) {
        let Ok(Space { free, total }) = self.place.disk.space(&self.place.dir) else { return };
        let low = self.settings.low_water_bytes.min(total / 20);
        let reserve = self.settings.reserve_water_bytes.min(total / 100);
        let level = if free < reserve {
            Pressure::Reserve
        } else if free < low {
            Pressure::Low
        } else {
            Pressure::None
        };
        self.shared.set_pressure(level);
        match level {
            Pressure::Reserve | Pressure::Failing => self.release_emergency(),
            Pressure::None | Pressure::Low => {
                self.cramped = false;
                if level == Pressure::None && !self.emergency {
                    self.take_emergency();
                }
            }
        }
        self.tell_pressure();
    }

    fn take_emergency(&mut self) {
        let path = self.place.dir.join("emergency.bin");
        self.emergency = match self.place.disk.create(&path, self.settings.emergency_bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
        };
    }

    fn release_emergency(&mut self) {
        let path = self.place.dir.join("emergency.bin");
        // Kept from an earlier process perhaps, so removed without asking whether we made it.
        if self.place.disk.remove(&path).is_ok() {
            tracing::warn!("journal disk is nearly full, the emergency reserve is released");
        }
        self.emergency = false;
    }

    fn tell_pressure(&mut self) {
        let pressure = self.shared.pressure();
        if pressure != self.pressure {
            self.pressure = pressure;
            (self.hooks.on_pressure)(pressure);
        }
    }

    /// Deletes segments that every projection has passed and that are old enough. For followers they
    /// are kept longer, as far as there is room.
    fn delete_consumed(&mut self, now: Stamp) {
        let least = |marks: &Mutex<Vec<Arc<Mutex<Lsn>>>>| {
            marks.lock().iter().map(|mark| *mark.lock()).min()
        };
        let Some(passed) = least(&self.shared.watermarks) else { return };
        let followed = least(&self.shared.follower_marks);
        let keep_ms = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let is_consumed = |segment: &ClosedSegment| {
            segment.last <= passed && now.wall_ms.saturating_sub(segment.last_append_ms) >= keep_ms
        };
        let is_read = |segment: &ClosedSegment| followed.is_none_or(|it| segment.last <= it);
        let is_roomy = self.shared.pressure() == Pressure::None;
        let backlog_max = if is_roomy { self.settings.backlog_bytes_max } else { 0 };
        let consumed = self.closed.iter().take_while(|segment| is_consumed(segment));
        let mut backlog: u64 = consumed.map(|segment| segment.bytes).sum();
        while let Some(segment) = self.closed.pop_front_if(|segment| {
            is_consumed(segment) && (is_read(segment) || backlog > backlog_max)
        }) {
            backlog = backlog.saturating_sub(segment.bytes);
            if segment.quarantined {
                continue;
            }
            if !is_read(&segment) {
                count(&self.shared.stats.segments_unread, 1);
                tracing::error!(
                    path = %segment.path.display(),
                    "a journal segment is deleted that a consumer has not read: it is too far behind"
                );
            }
            match self.place.disk.remove(&segment.path) {
                Ok(()) => count(&self.shared.stats.segments_deleted, 1),
                Err(error) => tracing::warn!(%error, "failed to delete a journal segment"),
            }
        }
    }
}

/// Tells everyone that nothing becomes durable any more, also if the thread panics.
struct EndOfWrites(Arc<Shared>);

impl Drop for EndOfWrites {
    fn drop(&mut self) {
        self.0.close();
        self.0.end_tails();
        self.0.announce_closed();
    }
}

impl OpenSegment {
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.file.write_at(&batch.bytes, self.len)?;
        self.len += batch.bytes.len() as u64;
        self.records += batch.records;
        self.last_seq = batch.first_seq + batch.records - 1;
        self.payload_crc = crc32c::crc32c_append(self.payload_crc, &batch.bytes);
        Ok(())
    }

    /// Writes the footer, frees what was preallocated beyond it, and returns the chain value.
    fn close(&mut self, reason: Closure, now: Stamp) -> io::Result<u64> {
        let SegmentHeader { prev_chain, epoch, first_seq, .. } = self.header;
        let chain = format::chain(prev_chain, epoch, first_seq, self.records, self.payload_crc);
        let footer = SegmentFooter {
            reason,
            count: self.records,
            last_seq: self.last_seq,
            last_append_ms: now.wall_ms,
            payload_crc: self.payload_crc,
            chain,
        };
        self.file.write_at(&footer.to_bytes(), self.len)?;
        self.file.set_len(self.len + FOOTER_LEN as u64)?;
        self.file.sync()?;
        Ok(chain)
    }
}
