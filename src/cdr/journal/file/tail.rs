//! Reading along: what was written reaches a projection in order, without gaps, once.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::disk::Disk;
use super::read::{ReadError, Reader};
use crate::cdr::journal::{Entry, Gap, Lsn};

/// Facts read from disk at once when a tail lags.
const CHUNK: usize = 1_000;

/// Follows the journal. Facts come in order and each once.
pub struct Tail {
    batches: Receiver<Vec<Entry>>,
    /// Last fact given out.
    position: Lsn,
    /// Everything up to here has to be read from disk: it was written before this tail existed,
    /// or came when its queue was full.
    on_disk: Arc<Mutex<Lsn>>,
    reader: Reader,
}

impl Tail {
    /// The next facts, at least one; `None` once the journal is closed and all was given out.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, ReadError> {
        loop {
            if let Some(entries) = self.next_on_disk()? {
                return Ok(Some(entries));
            }
            let Some(mut entries) = self.batches.recv().await else {
                // What did not fit the queue before the end is on disk.
                return self.next_on_disk();
            };
            entries.retain(|entry| entry.lsn > self.position);
            let Some(last) = entries.last() else { continue };
            // A batch before this one may just have found the queue full.
            if *self.on_disk.lock() > self.position {
                continue;
            }
            self.position = last.lsn;
            return Ok(Some(entries));
        }
    }

    /// What was written before the tail began and was not given out yet, in portions; `None` when
    /// there is no more. Lets a start replay before it takes part.
    pub fn next_on_disk(&mut self) -> Result<Option<Vec<Entry>>, ReadError> {
        let until = *self.on_disk.lock();
        if until <= self.position {
            return Ok(None);
        }
        self.reader.skip_to(self.position);
        let mut entries = Vec::new();
        self.reader.read(CHUNK, until, &mut entries)?;
        match entries.last() {
            Some(last) => self.position = last.lsn,
            // All that is left up to there is lost or cannot be read.
            None => self.position = until,
        }
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    }

    /// Last fact given out.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Facts that were missing on disk, so far.
    pub fn gaps(&self) -> &[Gap] {
        self.reader.gaps()
    }

    /// Records on disk that this version cannot read, so far.
    pub fn undecodable(&self) -> u64 {
        self.reader.undecodable()
    }
}

/// The committer's end of a tail.
pub(super) struct Subscriber {
    batches: Sender<Vec<Entry>>,
    on_disk: Arc<Mutex<Lsn>>,
}

impl Subscriber {
    /// False if the tail lags and has to read these facts from disk.
    pub(super) fn give(&self, entries: Vec<Entry>) -> bool {
        let Some(last) = entries.last().map(|entry| entry.lsn) else { return true };
        // Held while sending, so that the tail cannot miss that a batch did not fit.
        let mut on_disk = self.on_disk.lock();
        let given = self.batches.try_send(entries).is_ok();
        if !given {
            *on_disk = last;
        }
        given
    }

    pub(super) fn is_open(&self) -> bool {
        !self.batches.is_closed()
    }
}

pub(super) fn channel(
    batches: usize,
    disk: Arc<dyn Disk>,
    dir: &Path,
    node: u32,
    after: Lsn,
    written: Lsn,
) -> (Subscriber, Tail) {
    let (sender, receiver) = mpsc::channel(batches);
    let on_disk = Arc::new(Mutex::new(written));
    let reader = Reader::new(disk, dir, node, after);
    let subscriber = Subscriber { batches: sender, on_disk: Arc::clone(&on_disk) };
    (subscriber, Tail { batches: receiver, position: after, on_disk, reader })
}
