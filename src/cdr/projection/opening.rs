//! A start: what a process finds in the book and in the rest of the journal, and what becomes of calls
//! whose process died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::{Live, Projection, ProjectionError, Settings, Slot, Violations, told_more_of};
use crate::cdr::due::{CapCount, HeldBack};
use crate::cdr::fact::{CapReset, Dialogs, Fact, Farewells, OrphanClosed, Stamp};
use crate::cdr::journal::file::{AppendError, Journal};
use crate::cdr::journal::{Durability, Gap, Lsn};
use crate::cdr::record::CallRecord;
use crate::cdr::store::{Batch, Book, CapUsage, Progress, StoredSession};
use crate::cdr::timeline;
use crate::id::{CallId, TargetId, TrunkId};
use crate::time::Wall;

/// What a start found in the book and in the rest of the journal.
#[derive(Debug, Default)]
pub struct Opening {
    /// Facts read again from the journal.
    pub replayed: u64,
    /// Calls that were up when their process died, being closed now.
    pub orphans: usize,
    /// These and those of earlier starts whose end is still not known.
    pub awaited: Vec<Awaited>,
    /// What is to be sent to the ends of all these.
    pub farewells: Vec<Parting>,
    /// Use of every cap window that may be current, with what the calls that are closed now count.
    pub usage: Vec<CapUsage>,
    /// Caps that began anew in windows that may be current, and when they did.
    pub resets: Vec<(CapReset, Wall)>,
    /// What calls whose end is not known may yet come to, and the places they take.
    pub held_back: Vec<HeldBack>,
    /// Ping sessions, and with them number leases, that have not expired.
    pub sessions: Vec<StoredSession>,
    /// Facts that were missing on the way.
    pub gaps: Vec<Gap>,
    /// Records this version cannot read.
    pub undecodable: u64,
}

/// A call that was closed because its process died, and that may be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    pub call: CallId,
    pub dialogs: Dialogs,
    /// How long it counts as talked as long as nobody says otherwise, milliseconds.
    pub talk_ms: u64,
}

/// A call that is closed because its process died, and how its ends are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    pub trunk: Option<TrunkId>,
    /// The target that answered, and the place of the way to it.
    pub target: Option<(TargetId, u8)>,
    pub farewells: Farewells,
}

impl Projection {
    /// Catches up with `journal`, and closes the calls of processes that died.
    ///
    /// Open the journal with `resume` set to the offset of [`Book::progress`].
    pub async fn open(
        book: Arc<dyn Book>,
        journal: &Journal,
        settings: Settings,
        now: Stamp,
    ) -> Result<(Self, Opening), ProjectionError> {
        let none = Progress { offset: Lsn::default(), replay_after: Lsn::default() };
        let progress = book.progress().await?.unwrap_or(none);
        let mut projection = Self {
            tail: journal.tail(progress.replay_after),
            watermark: journal.watermark(progress.replay_after),
            settings,
            live: Live::default(),
            young: BTreeMap::new(),
            changed: BTreeSet::new(),
            checkpoint: None,
            orphans: BTreeMap::new(),
            progress,
            batch: Batch { node: settings.node, ..Batch::default() },
            now,
            pruned: now,
            failed: None,
            taken: None,
            past: BTreeMap::new(),
            onward: None,
            unpassed: Vec::new(),
            corrections: Vec::new(),
            violations: Violations::default(),
            absorbed: progress.replay_after,
            book,
        };
        let mut opening = Opening::default();
        projection.unpark().await?;
        while let Some(entries) = projection.tail.next_on_disk()? {
            opening.replayed += entries.len() as u64;
            let news = entries.last().is_some_and(|last| last.lsn > progress.offset);
            projection.past = told_more_of(&*projection.book, &entries).await?;
            projection.absorb(&entries);
            if news {
                projection.write().await?;
            }
        }
        opening.gaps = projection.tail.gaps().to_vec();
        opening.undecodable = projection.tail.undecodable();
        projection.recall_orphans().await?;
        opening.awaited = projection.awaited(now);
        opening.farewells = projection.farewells(journal);
        let (orphans, closed) = projection.close_orphans(journal, now)?;
        opening.orphans = orphans;
        opening.usage = projection.book.usage().await?;
        opening.resets = projection.book.resets(now.wall()).await?;
        opening.held_back = projection.hold_back(closed, &mut opening.usage);
        // They are in the book.
        projection.corrections.clear();
        let back = i64::try_from(projection.settings.sessions_back.as_millis()).unwrap_or(i64::MAX);
        let since = Wall(now.wall().0.saturating_sub(back));
        opening.sessions = projection.book.sessions(now.wall(), since).await?;
        Ok((projection, opening))
    }

    async fn unpark(&mut self) -> Result<(), ProjectionError> {
        let parked = self.book.open_calls().await?;
        let slot = |record: CallRecord| Slot {
            written: record.admitted,
            record: Arc::new(record),
            parked: true,
        };
        let mut calls = self.live.calls.lock();
        calls.extend(parked.into_iter().map(|record| (record.call, slot(record))));
        Ok(())
    }

    /// Calls that earlier starts have closed.
    async fn recall_orphans(&mut self) -> Result<(), ProjectionError> {
        let stored = self.book.orphans(self.awaited_since()).await?;
        self.orphans.extend(stored.into_iter().map(|record| (record.call, Arc::new(record))));
        Ok(())
    }

    fn awaited(&self, now: Stamp) -> Vec<Awaited> {
        let calls = self.live.calls.lock();
        let open = calls.values().map(|slot| &slot.record);
        open.chain(self.orphans.values())
            .filter_map(|record| {
                let talk_ms = || timeline::orphan_talk_ms(record, self.settings.orphans, now);
                let (call, dialogs) = (record.call, record.dialogs?);
                Some(Awaited { call, dialogs, talk_ms: record.talk_ms.unwrap_or_else(talk_ms) })
            })
            .collect()
    }

    fn farewells(&self, journal: &Journal) -> Vec<Parting> {
        let calls = self.live.calls.lock();
        let open = calls.values().map(|slot| &slot.record);
        open.chain(self.orphans.values())
            .filter(|record| record.first.epoch < journal.epoch())
            .filter_map(|record| {
                Some(Parting {
                    trunk: record.trunk.clone(),
                    target: record.attempt().map(|it| (it.target.clone(), it.dial)),
                    farewells: record.farewells.clone()?,
                })
            })
            .collect()
    }

    /// Writes their end, and returns how many there are and what becomes of those that count in caps or
    /// take places.
    fn close_orphans(
        &self,
        journal: &Journal,
        now: Stamp,
    ) -> Result<(usize, Vec<CallRecord>), AppendError> {
        let policy = self.settings.orphans;
        let calls = self.live.calls.lock();
        let orphans = calls.values().filter(|slot| slot.record.first.epoch < journal.epoch());
        let facts: Vec<Fact> = orphans
            .map(|slot| {
                let talk_ms = timeline::orphan_talk_ms(&slot.record, policy, now);
                Fact::of_call(slot.record.call, now, OrphanClosed { talk_ms, policy })
            })
            .collect();
        let count = facts.len();
        let counting = facts.iter().filter_map(|fact| {
            let mut record = CallRecord::clone(&calls.get(&fact.call?)?.record);
            record.occupies().then(|| timeline::foresee(&mut record, fact))?;
            Some(record)
        });
        let closed = counting.collect();
        journal.appender().append_all(facts, Durability::Durable)?;
        Ok((count, closed))
    }

    /// Counts the calls that are being closed, and says what these and others may yet come to, and
    /// which places they take.
    fn hold_back(&self, closed: Vec<CallRecord>, usage: &mut Vec<CapUsage>) -> Vec<HeldBack> {
        let mut held_back = Vec::new();
        let longest = self.settings.orphan_wait;
        let mut keep = |record: &CallRecord| held_back.extend(record.held_back(longest));
        let mut used: BTreeMap<(SmolStr, SmolStr), i64> = BTreeMap::new();
        for mut record in closed {
            for CapCount { cap, window, amount, .. } in record.count_caps() {
                *used.entry((cap, window)).or_default() += amount;
            }
            keep(&record);
        }
        for known in usage.iter_mut() {
            let more = used.remove(&(known.cap.clone(), known.window.clone()));
            known.used = known.used.saturating_add(more.unwrap_or_default());
        }
        usage.extend(used.into_iter().map(|((cap, window), used)| CapUsage { cap, window, used }));
        self.orphans.values().for_each(|record| keep(record));
        held_back
    }
}
