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

mod violations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smol_str::{SmolStr, format_smolstr};

use crate::cdr::due::{CapCount, CapDue, HeldBack};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{
    CapReset, Deposited, Dialogs, Fact, FactBody, Farewells, HoldSettled, OrphanClosed,
    OrphanPolicy, Stamp,
};
use crate::cdr::journal::file::{AppendError, Journal, ReadError, Tail, Watermark};
use crate::cdr::journal::{Durability, Entry, Gap, Lsn};
use crate::cdr::rating::Tariff;
use crate::cdr::record::{CallRecord, CallState, Flags};
use crate::cdr::store::{Batch, Book, CallFilter, CapUsage, Progress, StoreError, StoredSession};
use crate::cdr::timeline::{self, Applied};
use crate::id::{CallId, HoldId, TargetId, TrunkId};
use crate::time::Wall;

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

    fn awaited_since(&self) -> Wall {
        let wait_ms = i64::try_from(self.settings.orphan_wait.as_millis()).unwrap_or(i64::MAX);
        Wall(self.now.wall_ms.saturating_sub(wait_ms))
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

    fn absorb(&mut self, entries: &[Entry]) {
        let live = self.live.clone();
        let mut calls = live.calls.lock();
        for entry in entries {
            if entry.lsn <= self.absorbed {
                // What it did is done.
                self.violations.facts_again += 1;
                continue;
            }
            self.absorbed = entry.lsn;
            self.now = entry.fact.at;
            // A fact that is only replayed has had its effect.
            let counts = entry.lsn > self.progress.offset;
            let offset = entry.lsn.max(self.progress.offset);
            self.batch.progress = Some(Progress { offset, ..self.progress });
            match entry.fact.call {
                Some(call) => self.absorb_call(&mut calls, call, entry, counts),
                None => self.absorb_other(&mut calls, entry, counts),
            }
        }
        self.park(&mut calls);
    }

    fn absorb_call(
        &mut self,
        calls: &mut BTreeMap<CallId, Slot>,
        call: CallId,
        entry: &Entry,
        counts: bool,
    ) {
        let begins = match &entry.fact.body {
            FactBody::Admitted(_) => true,
            // Money is not lost because an admission is; the record is flagged.
            FactBody::Answered(_) => counts,
            FactBody::Ended(_) => counts || self.orphans.contains_key(&call),
            FactBody::Decided(decided) => {
                if counts && !decided.record.is_empty() {
                    self.batch.decisions.push((entry.lsn.key(), decided.record.clone()));
                }
                false
            }
            FactBody::HoldSettled(settled) => {
                if counts {
                    self.count(settled);
                }
                return;
            }
            FactBody::HoldPlaced(placed) => {
                if !placed.buckets.iter().any(CapDue::is_made_of) {
                    return;
                }
                false
            }
            FactBody::HoldReleased(_) => return,
            FactBody::Rematched(_) => {
                if counts {
                    self.rematch(call, entry);
                }
                return;
            }
            FactBody::SessionConsumed(consumed) => {
                if counts {
                    self.batch.consumed.push((consumed.session, entry.fact.at.wall()));
                }
                return;
            }
            FactBody::AttemptStarted(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AttemptFailed(_)
            | FactBody::AddressFailed(_)
            | FactBody::Confirmed(_)
            | FactBody::Converted(_)
            | FactBody::HandedOver(_)
            | FactBody::Taken(_)
            | FactBody::Transferred(_)
            | FactBody::EndedEarly(_)
            | FactBody::Referred(_)
            | FactBody::Checkpoint(_)
            | FactBody::OrphanClosed(_)
            | FactBody::PingAccepted(_)
            | FactBody::SessionTouched(_)
            | FactBody::SessionReleased(_)
            | FactBody::SessionEnriched(_)
            | FactBody::Farewells(_)
            | FactBody::Deposited(_)
            | FactBody::CapReset(_)
            | FactBody::NodeStarted(_) => false,
        };
        if begins && !calls.contains_key(&call) {
            let ends = matches!(entry.fact.body, FactBody::Ended(_));
            let known = if ends { self.orphans.remove(&call) } else { None };
            let is_admission = matches!(entry.fact.body, FactBody::Admitted(_));
            if counts && !is_admission && known.is_none() {
                self.violations.calls_unbegun += 1;
            }
            let record = known.unwrap_or_else(|| Arc::new(CallRecord::begin(call, entry)));
            self.young.insert(record.first, call);
            calls.insert(call, Slot { record, parked: false, written: entry.fact.at });
        }
        let Some(slot) = calls.get_mut(&call) else { return };
        let converts = matches!(entry.fact.body, FactBody::Converted(_));
        if counts && converts && slot.record.converted_ms.is_some() {
            self.violations.converted_again += 1;
        }
        match timeline::apply(Arc::make_mut(&mut slot.record), entry) {
            Applied::Nothing => {}
            Applied::Changed => {
                if slot.parked {
                    self.changed.insert(call);
                }
            }
            Applied::Closed => {
                let mut slot = calls.remove(&call).expect("it was found just now");
                self.young.remove(&slot.record.first);
                self.changed.remove(&call);
                if counts && !times_add_up(&slot.record) {
                    self.violations.times_unlike += 1;
                }
                if let Some(tariff) = &self.settings.tariff {
                    Arc::make_mut(&mut slot.record).rate(tariff);
                }
                if slot.parked {
                    self.batch.unparked.push(call);
                }
                if slot.record.occupies() {
                    self.free(Arc::make_mut(&mut slot.record), counts);
                }
                if slot.record.state == CallState::OrphanClosed {
                    self.orphans.insert(call, Arc::clone(&slot.record));
                }
                if counts {
                    let is_corrected = slot.record.flags.contains(Flags::ORPHAN_CORRECTED);
                    if slot.record.flags.contains(Flags::MATCH_DEGRADED) && !is_corrected {
                        self.batch.degraded.push(call);
                    }
                    self.live.closing.lock().insert(call, Arc::clone(&slot.record));
                    self.batch.calls.push(slot.record);
                }
            }
        }
    }

    /// A call that is over was looked at again.
    fn rematch(&mut self, call: CallId, entry: &Entry) {
        self.batch.rematched.push(call);
        let on_its_way = self.live.closing.lock().get(&call).cloned();
        let known = on_its_way.or_else(|| self.orphans.get(&call).cloned());
        let Some(mut record) = known.or_else(|| self.past.remove(&call)) else { return };
        if timeline::apply(Arc::make_mut(&mut record), entry) == Applied::Nothing {
            return;
        }
        if let Some(orphan) = self.orphans.get_mut(&call) {
            *orphan = Arc::clone(&record);
        }
        self.live.closing.lock().insert(call, Arc::clone(&record));
        self.batch.calls.push(record);
    }

    /// What raises a buyer's credit is kept as the use of caps is, and each deposit by its time and
    /// its key.
    fn deposit(&mut self, Deposited { buyer, amount, key }: &Deposited, at: Wall) {
        let all = (format_smolstr!("buyer/{buyer}/deposits"), SmolStr::new_static("total"));
        let key = format_smolstr!("key:{}:{key}", at.0);
        let this = (format_smolstr!("buyer/{buyer}/deposit"), key);
        for bucket in [all, this] {
            self.add(bucket, amount.0);
        }
    }

    fn count(&mut self, settled: &HoldSettled) {
        for bucket in settled.buckets.iter().filter(|bucket| !bucket.window.is_empty()) {
            self.add((bucket.cap.clone(), bucket.window.clone()), bucket.amount);
        }
    }

    /// A call is over that counts in caps or takes places.
    fn free(&mut self, record: &mut CallRecord, counts: bool) {
        let is_corrected = record.flags.contains(Flags::ORPHAN_CORRECTED);
        let holds = match record.counts_in_caps() || is_corrected {
            true => record.conclude(),
            // Whoever gave it its places has taken them back.
            false => vec![],
        };
        if record.state == CallState::Closed {
            record.vacate();
        }
        if !counts {
            return;
        }
        for change in holds.iter().flat_map(|(_, changes)| changes) {
            self.add((change.cap.clone(), change.window.clone()), change.amount);
        }
        if is_corrected {
            let corrections = holds.into_iter().map(|(hold, counts)| Correction { hold, counts });
            self.corrections.extend(corrections);
        }
    }

    /// A sum that does not fit is as much as does: no fact keeps those behind it out of the book.
    fn add(&mut self, bucket: (SmolStr, SmolStr), amount: i64) {
        let used = self.batch.used.entry(bucket).or_default();
        *used = used.saturating_add(amount);
    }

    fn absorb_other(&mut self, calls: &mut BTreeMap<CallId, Slot>, entry: &Entry, counts: bool) {
        let at = entry.fact.at;
        match &entry.fact.body {
            FactBody::Checkpoint(checkpoint) => {
                self.checkpoint = Some(entry.lsn);
                for &(call, elapsed_ms) in &checkpoint.live {
                    let Some(slot) = calls.get_mut(&call) else { continue };
                    let record = Arc::make_mut(&mut slot.record);
                    record.seen_alive(elapsed_ms);
                    if counts && at.since(slot.written) >= self.settings.partial_every {
                        record.rev += 1;
                        slot.written = at;
                        self.batch.calls.push(Arc::clone(&slot.record));
                        self.changed.insert(call);
                    }
                }
            }
            FactBody::PingAccepted(ping) if counts => {
                self.batch.sessions.push((ping.clone(), at.wall()));
            }
            FactBody::SessionConsumed(consumed) if counts => {
                self.batch.consumed.push((consumed.session, at.wall()));
            }
            FactBody::SessionTouched(touched) if counts => self.batch.touch(touched.clone()),
            FactBody::SessionReleased(released) if counts => self.batch.release(released),
            FactBody::SessionEnriched(told) if counts => {
                self.batch.enriched.push(Enrichment::of(told, at.wall()));
            }
            FactBody::HoldSettled(settled) if counts => self.count(settled),
            FactBody::Deposited(deposited) if counts => self.deposit(deposited, at.wall()),
            FactBody::CapReset(reset) if counts => {
                self.batch.resets.push((reset.clone(), at.wall()));
            }
            FactBody::PingAccepted(_)
            | FactBody::SessionTouched(_)
            | FactBody::SessionReleased(_)
            | FactBody::SessionEnriched(_)
            | FactBody::SessionConsumed(_)
            | FactBody::Rematched(_)
            | FactBody::Admitted(_)
            | FactBody::Decided(_)
            | FactBody::HoldPlaced(_)
            | FactBody::HoldSettled(_)
            | FactBody::HoldReleased(_)
            | FactBody::AttemptStarted(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AttemptFailed(_)
            | FactBody::AddressFailed(_)
            | FactBody::Answered(_)
            | FactBody::Confirmed(_)
            | FactBody::Converted(_)
            | FactBody::HandedOver(_)
            | FactBody::Taken(_)
            | FactBody::Transferred(_)
            | FactBody::EndedEarly(_)
            | FactBody::Referred(_)
            | FactBody::Ended(_)
            | FactBody::OrphanClosed(_)
            | FactBody::Farewells(_)
            | FactBody::Deposited(_)
            | FactBody::CapReset(_)
            | FactBody::NodeStarted(_) => {}
        }
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
