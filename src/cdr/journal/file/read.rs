//! Reading segments back: in order, each fact once, around damage.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalError;
use super::disk::{Disk, DiskReader};
use super::segment::{self, SegmentName};
use crate::cdr::journal::format::{self, HEADER_LEN, Parsed};
use crate::cdr::journal::{Entry, Gap, Lsn};

/// Bytes read from a segment at once.
const WINDOW: usize = 256 << 10;

/// Segments could not be read. Damaged contents are no error but a [`Gap`].
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    List(#[from] JournalError),
}

/// Reads facts from segments, also while the journal is being written.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    node: u32,
    /// Last fact given out.
    position: Lsn,
    /// Segments to come.
    queue: VecDeque<SegmentName>,
    current: Option<(SegmentName, Cursor)>,
    gaps: Vec<Gap>,
    undecodable: u64,
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, node: u32, after: Lsn) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            node,
            position: after,
            queue: VecDeque::new(),
            current: None,
            gaps: Vec::new(),
            undecodable: 0,
        }
    }

    /// Appends at most `max` facts to `out`, none after `until`, and returns how many. Zero means
    /// that there is nothing more up to there. Reading beyond what is known to be written
    /// (`until`) may mistake a record that is just being written for a damaged one.
    pub fn read(
        &mut self,
        max: usize,
        until: Lsn,
        out: &mut Vec<Entry>,
    ) -> Result<usize, ReadError> {
        let before = out.len();
        let mut is_listed = false;
        while out.len() - before < max && self.position < until {
            let Some((name, cursor)) = &mut self.current else {
                if self.queue.is_empty() {
                    if is_listed {
                        break;
                    }
                    is_listed = true;
                    self.queue = self.unread(until)?.into();
                }
                self.open_next()?;
                continue;
            };
            let found = cursor.find(self.position.seq, name.quarantined);
            let Some(len) = found.map_err(io_error(&cursor.path))? else {
                self.current = None;
                continue;
            };
            let record = cursor.record(len);
            let lsn = Lsn { epoch: name.epoch, seq: record.seq };
            if lsn > until {
                break;
            }
            if lsn > self.position {
                let expected = self.position.seq + 1;
                let repeats = |next: &SegmentName| next.rewrite > 0 && next.first_seq <= expected;
                if lsn.seq > expected && self.queue.front().is_some_and(repeats) {
                    // What is missing here is there, and so is what follows.
                    self.current = None;
                    continue;
                }
                if lsn.seq > expected && self.position != Lsn::default() {
                    self.gaps.push(Gap { first_seq: expected, count: lsn.seq - expected });
                }
                self.position = lsn;
                match record.fact() {
                    Ok(fact) => out.push(Entry { lsn, fact }),
                    Err(_) => self.undecodable += 1,
                }
            }
            cursor.advance(len);
        }
        Ok(out.len() - before)
    }

    /// Goes on after `position` if that is further.
    pub(super) fn skip_to(&mut self, position: Lsn) {
        self.position = position.max(self.position);
    }

    /// Sequence numbers that were missing between facts read so far.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Records this version cannot decode, so far.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Opens the next segment of the queue, if there is one.
    fn open_next(&mut self) -> Result<(), ReadError> {
        let Some(name) = self.queue.pop_front() else { return Ok(()) };
        let path = name.path(&self.dir, self.node);
        match Cursor::open(&*self.disk, &path) {
            Ok(cursor) => self.current = Some((name, cursor)),
            // Consumed by every projection and deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&path)(error)),
        }
        Ok(())
    }

    /// Segments that may hold something after the position and up to `until`.
    fn unread(&self, until: Lsn) -> Result<Vec<SegmentName>, ReadError> {
        let mut segments = segment::list(&*self.disk, &self.dir, self.node)?;
        let begin = |name: &SegmentName| Lsn { epoch: name.epoch, seq: name.first_seq };
        segments.retain(|name| begin(name) <= until);
        let next = Lsn { seq: self.position.seq + 1, ..self.position };
        // A rewritten segment overlaps the one before it, which may go on further.
        let start = segments.iter().rposition(|name| begin(name) <= next && name.rewrite == 0);
        Ok(segments.split_off(start.unwrap_or(0)))
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError::Io { path, source }
}

/// A place in a segment.
struct Cursor {
    path: PathBuf,
    file: Box<dyn DiskReader>,
    /// Where in the file `window` begins.
    offset: u64,
    window: Vec<u8>,
    at: usize,
    /// The window reaches the end of the file.
    whole: bool,
}

impl Cursor {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.reader(path)?;
        let offset = HEADER_LEN as u64;
        let path = path.to_owned();
        Ok(Self { path, file, offset, window: Vec::new(), at: 0, whole: false })
    }

    /// Length of the next intact record, `None` at the end of the segment. After damage, or in a
    /// damaged segment after a hole, the search goes on for a record newer than `after_seq`.
    fn find(&mut self, after_seq: u64, damaged: bool) -> io::Result<Option<usize>> {
        // What was read before may have been written meanwhile: believe only what is fresh.
        let mut fresh = false;
        loop {
            match format::parse(&self.window[self.at..], self.whole) {
                Parsed::Record(_, len) => return Ok(Some(len)),
                Parsed::Footer(_) => return Ok(None),
                Parsed::Incomplete { needed } => self.fill(needed.max(WINDOW))?,
                Parsed::End | Parsed::Damaged if !fresh => {
                    self.fill(WINDOW)?;
                    fresh = true;
                }
                Parsed::End if !damaged => return Ok(None),
                Parsed::End | Parsed::Damaged => {
                    let rest = self.file.size()?.saturating_sub(self.offset);
                    self.fill(usize::try_from(rest).unwrap_or(usize::MAX).max(WINDOW))?;
                    match format::resync(&self.window, 1, after_seq) {
                        Some(at) => self.at = at,
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// The record [`Cursor::find`] found.
    fn record(&self, len: usize) -> format::Record<'_> {
        format::record_in(&self.window[self.at..self.at + len])
    }

    fn advance(&mut self, len: usize) {
        self.at += len;
    }

    /// Reads `len` bytes from the present place on, fewer at the end of the file.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        self.offset += self.at as u64;
        self.at = 0;
        self.window.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            let from = self.offset + filled as u64;
            match self.file.read_at(&mut self.window[filled..], from) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.window.truncate(filled);
        self.whole = filled < len;
        Ok(())
    }
}
