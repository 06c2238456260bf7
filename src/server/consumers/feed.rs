//! What consumers read: facts that are in the book, from memory as long as they keep up and from the
//! journal's segments when they do not.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cdr::consumer::Facts;
use crate::cdr::journal::file::{ReadError, Reader, Readers};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::projection::Onward;
use crate::cdr::record::CallRecord;
use crate::time::Wall;

/// Most facts that are kept in memory for all consumers together.
const RECENT_MAX: usize = 20_000;

/// Facts that are read from disk at once.
const CHUNK: usize = 1_000;

/// Facts that are in the book.
pub(in crate::server) struct Feed {
    recent: Mutex<Recent>,
    reached: watch::Sender<Reached>,
    readers: Readers,
}

/// How far the book has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Reached {
    pub(in crate::server) lsn: Lsn,
    /// When the last fact happened.
    pub(super) at: Wall,
    /// No more will come.
    pub(super) is_over: bool,
}

#[derive(Default)]
struct Recent {
    portions: VecDeque<Portion>,
    facts: usize,
}

#[derive(Clone)]
struct Portion {
    /// The fact before the first one.
    after: Lsn,
    entries: Arc<[Entry]>,
    ended: Arc<[Arc<CallRecord>]>,
}

/// The projection's end of the feed. Dropped, it says that no more will come.
pub(crate) struct Outlet(pub(super) Arc<Feed>);

impl Feed {
    /// `reached` is how far the book has come.
    pub(super) fn new(readers: Readers, reached: Lsn, at: Wall) -> Arc<Self> {
        let reached = watch::Sender::new(Reached { lsn: reached, at, is_over: false });
        Arc::new(Self { recent: Mutex::default(), reached, readers })
    }

    pub(in crate::server) fn reached(&self) -> Reached {
        *self.reached.borrow()
    }

    /// Reads on after `position`.
    pub(super) fn follow(self: &Arc<Self>, position: Lsn) -> Follower {
        let reached = self.reached.subscribe();
        Follower { feed: Arc::clone(self), reached, position, reader: None, lost: 0 }
    }

    fn take_in(&self, facts: Vec<Entry>, ended: Vec<Arc<CallRecord>>) {
        let Some(last) = facts.last() else { return };
        let (lsn, at) = (last.lsn, last.fact.at.wall());
        let mut recent = self.recent.lock();
        recent.facts += facts.len();
        let after = self.reached().lsn;
        recent.portions.push_back(Portion { after, entries: facts.into(), ended: ended.into() });
        while recent.facts > RECENT_MAX && recent.portions.len() > 1 {
            let oldest = recent.portions.pop_front().map_or(0, |it| it.entries.len());
            recent.facts -= oldest;
        }
        drop(recent);
        self.reached.send_modify(|reached| (reached.lsn, reached.at) = (lsn, at));
    }

    /// What of the memory follows `position`, at most `max` facts; or where the memory begins.
    fn recent_after(&self, position: Lsn, max: usize) -> Result<Facts, Option<Lsn>> {
        let recent = self.recent.lock();
        let oldest = recent.portions.front().map(|portion| portion.after);
        if oldest.is_none_or(|oldest| position < oldest) {
            return Err(oldest);
        }
        let (mut facts, mut room) = (Facts::default(), max);
        for portion in &recent.portions {
            let begin = portion.entries.partition_point(|entry| entry.lsn <= position);
            let end = portion.entries.len().min(begin + room);
            if begin < end {
                room -= end - begin;
                let entries = Arc::clone(&portion.entries);
                facts.push(entries, begin..end, portion.ended.iter().cloned());
            }
            if room == 0 {
                break;
            }
        }
        Ok(facts)
    }
}

impl Onward for Outlet {
    fn pass(&self, facts: Vec<Entry>, ended: Vec<Arc<CallRecord>>) {
        self.0.take_in(facts, ended);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.reached.send_modify(|reached| reached.is_over = true);
    }
}

/// A consumer's place in the feed.
pub(super) struct Follower {
    feed: Arc<Feed>,
    reached: watch::Receiver<Reached>,
    position: Lsn,
    /// Where the disk is read, as long as that is behind the memory.
    reader: Option<Reader>,
    lost: u64,
}

impl Follower {
    /// What follows, at most `max` facts and none after `until`; none if that is all for now. Facts
    /// that were read from disk come without the records of the calls they end.
    pub(super) fn take(&mut self, max: usize, until: Option<Lsn>) -> Result<Facts, ReadError> {
        let reached = self.feed.reached().lsn;
        let until = until.map_or(reached, |until| until.min(reached));
        while self.position < until {
            let facts = match self.feed.recent_after(self.position, max) {
                Ok(facts) => {
                    self.reader = None;
                    let facts = facts.until(until);
                    if facts.is_empty() {
                        self.position = until;
                    }
                    facts
                }
                Err(oldest) => self.read(max, oldest.map_or(until, |it| it.min(until)))?,
            };
            if let Some(last) = facts.last().map(|last| last.lsn) {
                self.position = last;
                return Ok(facts);
            }
        }
        Ok(Facts::default())
    }

    fn read(&mut self, max: usize, until: Lsn) -> Result<Facts, ReadError> {
        let position = self.position;
        let reader = self.reader.get_or_insert_with(|| self.feed.readers.after(position));
        let (gaps, undecodable) = (reader.gaps().len(), reader.undecodable());
        let mut entries = Vec::new();
        reader.read(max.min(CHUNK), until, &mut entries)?;
        let missing: u64 = reader.gaps()[gaps..].iter().map(|gap| gap.count).sum();
        self.lost += missing;
        if entries.is_empty() {
            // What is left up to there is nowhere, but for what this version cannot read.
            let left = until.seq.saturating_sub(position.seq);
            let unread = (reader.undecodable() - undecodable) + missing;
            if position != Lsn::default() {
                self.lost += left.saturating_sub(unread);
            }
            self.position = until;
            self.reader = None;
        }
        let range = 0..entries.len();
        Ok(Facts::new(entries.into(), range, []))
    }

    /// Waits for more. False if no more will come.
    pub(super) async fn ready(&mut self) -> bool {
        let position = self.position;
        let waited = self.reached.wait_for(|it| it.lsn > position || it.is_over).await;
        waited.is_ok_and(|reached| reached.lsn > position)
    }

    /// Whether all there will ever be was taken.
    pub(super) fn is_over(&self) -> bool {
        let reached = self.feed.reached();
        reached.is_over && reached.lsn <= self.position
    }

    /// How many facts were nowhere to be found since this was last asked.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}
