//! From the journal to the book: opens both, closes what a crash left open, and keeps the book up
//! to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{PastSessions, Standings};
use crate::cdr::due::HeldBack;
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{CapReset, Fact, NodeStarted, Opener, OrphanPolicy, PingAccepted, Stamp};
use crate::cdr::journal::file::{self, Appender, Commit, Hooks, Journal, Recovery};
use crate::cdr::journal::{Durability, Lsn, Pressure};
use crate::cdr::projection::{
    self, Awaited, Correction, Live, Opening, Parting, Projection, Violations,
};
use crate::cdr::record::CallRecord;
use crate::cdr::store::consumers::{ConsumerBook, Keep, Letters, RollupStore};
use crate::cdr::store::degraded::DegradedCalls;
use crate::cdr::store::enrichments::{Enrichments, Spending};
use crate::cdr::store::fraud::{FraudBook, Scores};
use crate::cdr::store::sqlite::SqliteStore;
use crate::cdr::store::{
    Answer, Book, CallFilter, CallStore, CapUsage, CountedCalls, Decisions, EarlierCall, Progress,
    Revisions, StoreError, StoredSession, TriedTarget, TriedWay,
};
use crate::config::{OrphanBill, RollupSettings, Settings};
use crate::id::{BuyerId, SessionId};
use crate::routing::config::Span;
use crate::routing::hold::{Bucket, Juncture};
use crate::routing::performance::{begin_of, day_of};
use crate::routing::ping::{EnrichedBy, Session, SessionKind};
use crate::time::{Mono, Wall};

use super::bridge::DurableMark;
use super::consumers::{Consumers, Feed, LetterDesk, Post};
use super::deciding::Deciding;
use super::error::StartError;
use super::mailbox::Mailbox;
use super::pressure::Pressures;
use super::{clock, metrics as names, resetting, translate};

/// Commits under load are no farther apart than this, however long an answer may wait: pings wait
/// for them too.
const PACE_MAX: Duration = Duration::from_millis(15);

/// Calls that are told to routing at the start, and at a time.
const REMEMBERED_MAX: usize = 4_000_000;
const REMEMBERED_PAGE: u32 = 10_000;

/// What the book's windows of deposits begin with.
const DEPOSIT_KEY: &str = "key:";

/// How long the projection waits after the book refused a batch.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub struct Accounting {
    journal: Journal,
    store: Arc<SqliteStore>,
    live: Live,
    consumers: Consumers,
    task: JoinHandle<()>,
    awaited: Vec<Awaited>,
    partings: Vec<Parting>,
}

/// Counts of the journal that are read, not pushed.
pub struct Gauges {
    appender: Appender,
    live: Live,
    stats: JournalStats,
    feed: Arc<Feed>,
}

/// What becomes of the calls that are not over by the book.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfOpen {
    GoOn,
    /// Their process died.
    CutOff,
}

/// The calls of before, wherever they are kept.
pub(super) struct Past {
    book: Arc<dyn Book>,
    live: Live,
}

type JournalStats = Arc<file::Stats>;

impl Accounting {
    /// Recovers the journal, closes the calls of processes that died, and gives routing back what
    /// it knew.
    pub(super) async fn open(
        settings: &Settings,
        deciding: &Arc<Deciding>,
        durable: Arc<DurableMark>,
        shards: Vec<Mailbox>,
        pressures: Arc<Pressures>,
    ) -> Result<Self, StartError> {
        let dir = &settings.store.dir;
        std::fs::create_dir_all(dir)
            .map_err(|cause| StartError::DataDir { path: dir.clone(), cause })?;
        let path = book_path(settings);
        let store = SqliteStore::open(&path)
            .await
            .map_err(|cause| StartError::Store { path: path.clone(), cause })?;
        let store = Arc::new(store);
        let progress = store
            .progress()
            .await
            .map_err(|cause| StartError::Store { path: path.clone(), cause })?;

        let journal_settings = journal_settings(settings, progress);
        let hooks = hooks(durable, shards, pressures);
        let node = settings.node.id;
        let (journal, recovery) =
            Journal::open(&dir.join("journal"), node, journal_settings, hooks)?;
        report(&recovery);

        let sessions_back = deciding.snapshot().sessions_back();
        let projection_settings =
            projection::Settings { sessions_back, ..projection_settings(settings) };
        let book: Arc<dyn Book> = Arc::clone(&store) as Arc<dyn Book>;
        let (mut projection, opening) =
            Projection::open(book, &journal, projection_settings, stamp()).await?;
        let started = NodeStarted { version: env!("CARGO_PKG_VERSION").into() };
        if let Err(error) =
            journal.appender().append(Fact::of_node(stamp(), started), Durability::Durable)
        {
            tracing::error!(%error, "the start could not be journaled");
        }
        if opening.orphans > 0 {
            tracing::warn!(calls = opening.orphans, "closed calls that a crash had left open");
            counter!(names::ORPHANS).increment(opening.orphans as u64);
        }
        for gap in &opening.gaps {
            tracing::error!(first = gap.first_seq, count = gap.count, "facts are missing");
        }
        let Opening { awaited, farewells: partings, sessions, usage, resets, held_back, .. } =
            opening;
        give_back(deciding, sessions, usage, stamp().wall());
        begin_anew(deciding, resets);
        keep_room(deciding, &held_back, stamp());
        tell_violations(projection.take_violations());
        let live = projection.live();
        let past = Past { book: Arc::clone(&store) as Arc<dyn Book>, live: live.clone() };
        let told = match past.tell(deciding, OfOpen::CutOff).await {
            Ok(()) => past.count(deciding, OfOpen::CutOff, stamp().wall()).await,
            Err(cause) => Err(cause),
        };
        let told = match told {
            Ok(()) => past.rate(deciding, stamp()).await,
            Err(cause) => Err(cause),
        };
        deciding.awaits_answers();
        told.map_err(|cause| StartError::Store { path, cause })?;
        let consumers = Consumers::new(&journal, projection.offset(), stamp());
        projection.pass_on(Box::new(consumers.outlet()));
        let task = tokio::spawn(follow(projection, Arc::clone(deciding)));
        Ok(Self { journal, store, live, consumers, task, awaited, partings })
    }

    /// Starts what works from the facts in the book.
    pub(super) fn consume(
        &mut self,
        settings: &Settings,
        posts: Vec<Post>,
        seed: u128,
        ended: &watch::Receiver<bool>,
    ) {
        let book = Arc::clone(&self.store) as Arc<dyn ConsumerBook>;
        let RollupSettings { minute_days, hour_days, day_days } = settings.rollups;
        let keep = Keep { minute_days, hour_days, day_days };
        self.consumers.start(posts, &self.journal, &book, keep, seed, ended);
    }

    /// Facts that failed at a consumer.
    pub fn letters(&self) -> Arc<dyn Letters> {
        let store = Arc::clone(&self.store) as Arc<dyn Letters>;
        Arc::new(LetterDesk { store, word: self.consumers.word() })
    }

    /// Where consumers stand that were started by now.
    pub fn standings(&self) -> Arc<dyn Standings> {
        Arc::new(self.consumers.standings())
    }

    pub fn enrichments(&self) -> Arc<dyn Enrichments> {
        Arc::clone(&self.store) as Arc<dyn Enrichments>
    }

    pub fn spending(&self) -> Arc<dyn Spending> {
        Arc::clone(&self.store) as Arc<dyn Spending>
    }

    pub fn scores(&self) -> Arc<dyn Scores> {
        Arc::clone(&self.store) as Arc<dyn Scores>
    }

    pub fn fraud(&self) -> Arc<dyn FraudBook> {
        Arc::clone(&self.store) as Arc<dyn FraudBook>
    }

    pub fn rollups(&self) -> Arc<dyn RollupStore> {
        Arc::clone(&self.store) as Arc<dyn RollupStore>
    }

    /// Calls that a crash left up and whose end is not known.
    pub fn awaited(&mut self) -> Vec<Awaited> {
        std::mem::take(&mut self.awaited)
    }

    /// How both ends of calls are told that a crash has cut off.
    pub fn partings(&mut self) -> Vec<Parting> {
        std::mem::take(&mut self.partings)
    }

    pub fn appender(&self) -> Appender {
        self.journal.appender()
    }

    /// Which start of the journal this is.
    pub fn epoch(&self) -> u64 {
        self.journal.epoch()
    }

    pub fn live(&self) -> Live {
        self.live.clone()
    }

    pub fn store(&self) -> Arc<dyn CallStore> {
        Arc::clone(&self.store) as Arc<dyn CallStore>
    }

    pub(super) fn degraded(&self) -> Arc<dyn DegradedCalls> {
        Arc::clone(&self.store) as Arc<dyn DegradedCalls>
    }

    pub fn decisions(&self) -> Arc<dyn Decisions> {
        Arc::clone(&self.store) as Arc<dyn Decisions>
    }

    pub fn revisions(&self) -> Arc<dyn Revisions> {
        Arc::clone(&self.store) as Arc<dyn Revisions>
    }

    pub(super) fn past(&self) -> Past {
        Past { book: Arc::clone(&self.store) as Arc<dyn Book>, live: self.live() }
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            appender: self.journal.appender(),
            live: self.live.clone(),
            stats: self.journal.stats_handle(),
            feed: self.consumers.feed(),
        }
    }

    /// Closes the journal and writes the book to its end.
    pub async fn close(self) {
        let Self { journal, store, task, consumers, .. } = self;
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::error!(%error, "failed to close the journal");
        }
        if let Err(error) = task.await {
            tracing::error!(%error, "the projection ended by panic");
        }
        consumers.close().await;
        // The API may still hold the store for a moment; then dropping it closes the file.
        if let Ok(store) = Arc::try_unwrap(store)
            && let Err(error) = store.close().await
        {
            tracing::error!(%error, "failed to close the call records");
        }
    }
}

impl PastSessions for Past {
    fn past(&self, session: SessionId) -> Answer<'_, Option<Session>> {
        Box::pin(self.session(session))
    }
}

impl Past {
    /// Tells routing of the calls its rules look back at: those in the book, and those on their way
    /// there.
    ///
    /// # Errors
    /// The book cannot be read.
    pub(super) async fn tell(
        &self,
        deciding: &Deciding,
        of_open: OfOpen,
    ) -> Result<(), StoreError> {
        if deciding.history().is_none() {
            return Ok(());
        }
        let open = self.live.list(&CallFilter::default(), usize::MAX);
        let open = open.iter().filter_map(|record| EarlierCall::of(record));
        // While the book takes no writes that may be many, and for long.
        let closing = self.live.closing();
        let closing = closing.iter().filter_map(|record| EarlierCall::of(record));
        match of_open {
            OfOpen::GoOn => deciding.remember_open(open.map(translate::past_call)),
            // How long it talked is not known any better than that it did.
            OfOpen::CutOff => deciding.remember(open.map(|earlier| {
                let talk_ms = earlier.answered.as_ref().map(|_| earlier.talk_ms.unwrap_or(0));
                translate::past_call(EarlierCall { talk_ms, ..earlier })
            })),
        }
        deciding.remember(closing.map(translate::past_call));
        self.tell_of_book(deciding, deciding.rules_look_back()).await
    }

    /// Tells routing of all other calls that it remembers, of which decisions state facts. Calls are taken
    /// meanwhile.
    ///
    /// # Errors
    /// The book cannot be read.
    pub(super) async fn tell_rest(&self, deciding: &Deciding) -> Result<(), StoreError> {
        self.tell_of_book(deciding, deciding.history()).await?;
        deciding.remembers_all();
        Ok(())
    }

    /// Puts back the answers of before to requests that may be sent again, which wait for it.
    ///
    /// # Errors
    /// The book cannot be read.
    pub(super) async fn bring_back_answers(&self, deciding: &Deciding) -> Result<(), StoreError> {
        deciding.bring_back_answers(&*self.book, stamp().wall()).await
    }

    /// A session as the book has it.
    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.book.session(id).await?.map(session))
    }

    async fn tell_of_book(
        &self,
        deciding: &Deciding,
        span: Option<Span>,
    ) -> Result<(), StoreError> {
        let Some(span) = span else { return Ok(()) };
        let since = span.keeps_from(stamp().wall()).unwrap_or_default();
        let (mut before, mut read) = (None, 0);
        while read < REMEMBERED_MAX {
            let page = self.book.earlier_calls(since, before, REMEMBERED_PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.call);
            read += page.len();
            deciding.remember(page.into_iter().map(translate::past_call));
        }
        Ok(())
    }
}

impl Past {
    /// Tells routing how calls went that were admitted before `until`.
    ///
    /// # Errors
    /// The book cannot be read.
    pub(super) async fn count(
        &self,
        deciding: &Deciding,
        of_open: OfOpen,
        until: Wall,
    ) -> Result<(), StoreError> {
        let Some(days) = deciding.performance_days() else { return Ok(()) };
        let first_day = day_of(until) + 1 - i64::from(days);
        // The book may get these while it is read.
        let closing = self.live.closing();
        let but = closing.iter().map(|record| record.call).collect();
        let counted = self.book.counted(begin_of(first_day), until, but).await?;
        deciding.restore_performance(counted.into_iter().map(translate::counted));
        let is_counted = |record: &&Arc<CallRecord>| {
            let at = record.started_at();
            at < until && day_of(at) >= first_day
        };
        let counted = closing.iter().filter(is_counted).flat_map(|it| CountedCalls::of(it));
        deciding.restore_performance(counted.map(translate::counted));
        if let OfOpen::CutOff = of_open {
            let open = self.live.list(&CallFilter::default(), usize::MAX);
            let counted = open.iter().flat_map(|record| CountedCalls::of(record));
            deciding.restore_performance(counted.map(translate::counted));
        }
        Ok(())
    }
}

impl Past {
    /// Tells routing how attempts at targets went in the last week that a process before this made.
    ///
    /// # Errors
    /// The book cannot be read.
    async fn rate(&self, deciding: &Deciding, now: Stamp) -> Result<(), StoreError> {
        let open = || self.live.list(&CallFilter::default(), usize::MAX);
        if deciding.has_circuits() {
            let (booked, open) = (self.book.tried(now.wall()).await?, open());
            let open = open.iter().flat_map(|record| TriedTarget::of(record, now.wall()));
            let tried = booked.into_iter().chain(open).map(translate::tried);
            deciding.restore_circuits(tried, now.boot());
        }
        if deciding.has_way_circuits() {
            let (booked, open) = (self.book.tried_ways(now.wall()).await?, open());
            let open = open.iter().flat_map(|record| TriedWay::of(record, now.wall()));
            let tried = booked.into_iter().chain(open).map(translate::tried_way);
            deciding.restore_ways(tried, now.boot());
        }
        Ok(())
    }
}

impl Gauges {
    /// How far the book has come.
    pub(super) fn booked(&self) -> Lsn {
        self.feed.reached().lsn
    }

    pub fn publish(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        counter!(names::JOURNAL_ERRORS).absolute(self.stats.errors.load(Relaxed));
        gauge!(names::JOURNAL_UNSYNCED).set(self.stats.unsynced_bytes.load(Relaxed) as f64);
        let unread = self.stats.segments_unread.load(Relaxed);
        counter!(names::SEGMENTS_UNREAD).absolute(unread);
        counter!(names::JOURNAL_BYTES).absolute(self.stats.bytes.load(Relaxed));
        gauge!(names::JOURNAL_PRESSURE).set(f64::from(self.appender.pressure() as u8));
        gauge!(names::OPEN_RECORDS).set(self.live.count() as f64);
    }
}

/// Where call records are.
pub fn book_path(settings: &Settings) -> PathBuf {
    settings.store.dir.join("tollbridge.db")
}

/// `progress` is that of the book.
pub(super) fn journal_settings(settings: &Settings, progress: Option<Progress>) -> file::Settings {
    file::Settings {
        linger: settings.journal.linger,
        // Leaves the sync time to be done within the wait for it.
        pace: (settings.journal.answer_wait * 3 / 4).min(PACE_MAX),
        segment_bytes: settings.journal.segment_bytes,
        segment_age: settings.journal.segment_age,
        low_water_bytes: settings.journal.low_water_bytes,
        reserve_water_bytes: settings.journal.reserve_water_bytes,
        backlog_bytes_max: settings.consumers.backlog_bytes_max,
        resume: progress.map(|progress| progress.offset),
        ..file::Settings::default()
    }
}

pub(super) fn projection_settings(settings: &Settings) -> projection::Settings {
    projection::Settings {
        orphans: match settings.cdr.orphan_bill {
            OrphanBill::Checkpoint => OrphanPolicy::Checkpoint,
            OrphanBill::Zero => OrphanPolicy::Zero,
            OrphanBill::UntilRestart => OrphanPolicy::UntilRestart,
        },
        orphan_wait: settings.sip.max_call,
        ..projection::Settings::new(settings.node.id)
    }
}

/// Tells routing what it knew before the restart.
pub(super) fn give_back(
    deciding: &Deciding,
    sessions: Vec<StoredSession>,
    usage: Vec<CapUsage>,
    now: Wall,
) {
    let (made, usage): (Vec<_>, Vec<_>) =
        usage.into_iter().partition(|it| it.window.starts_with(DEPOSIT_KEY));
    deciding.restore_deposits(made.iter().filter_map(deposit));
    let (spent, usage): (Vec<_>, Vec<_>) =
        usage.into_iter().partition(|it| it.window.starts_with(translate::EXPLORED));
    deciding.restore_explored(spent.iter().filter_map(translate::explored_before));
    let (sessions, usage) =
        (sessions.into_iter().map(session), usage.into_iter().filter_map(self::usage));
    deciding.restore(sessions, usage, now);
}

/// Tells routing which caps began anew before the restart.
pub(super) fn begin_anew(deciding: &Deciding, resets: Vec<(CapReset, Wall)>) {
    resets.into_iter().for_each(|reset| deciding.reset(&resetting::read(reset)));
}

/// Keeps room for calls that a crash left up, for as long as their end may become known.
pub(super) fn keep_room(deciding: &Deciding, held_back: &[HeldBack], now: Stamp) {
    for held in held_back.iter().filter(|held| held.until > now.wall()) {
        let left_ms = u64::try_from(held.until.0.saturating_sub(now.wall_ms)).unwrap_or(0);
        let until = now.boot() + Duration::from_millis(left_ms);
        deciding.adopt(held.hold, translate::awaited(held), until);
    }
}

/// Tells routing what became of them.
pub(super) fn correct(deciding: &Deciding, corrections: Vec<Correction>, now: Mono) {
    for Correction { hold, counts } in corrections {
        deciding.conclude(hold, Juncture::Corrected, &translate::used(&counts), now);
    }
}

fn hooks(durable: Arc<DurableMark>, shards: Vec<Mailbox>, pressures: Arc<Pressures>) -> Hooks {
    let commit_seconds = histogram!(names::JOURNAL_COMMIT);
    let batch_records = histogram!(names::JOURNAL_BATCH);
    Hooks {
        clock: Arc::new(stamp),
        on_durable: Box::new(move |reached| {
            durable.set(reached.up_to);
            for shard in &shards {
                shard.durable();
            }
        }),
        on_commit: Box::new(move |commit: &Commit| {
            batch_records.record(commit.records as f64);
            if let Some(took) = commit.sync {
                commit_seconds.record(took);
                pressures.committed(took, clock::mono());
            }
        }),
        on_pressure: Box::new(|pressure| match pressure {
            Pressure::None => tracing::info!("the journal's disk has room again"),
            Pressure::Low => tracing::warn!("the journal's disk runs low: pings are refused"),
            Pressure::Reserve => {
                tracing::error!("the journal's disk is full: new calls are refused; make room");
            }
            Pressure::Failing => {
                tracing::error!("the journal cannot be written: new calls are refused");
            }
        }),
    }
}

async fn follow(mut projection: Projection, deciding: Arc<Deciding>) {
    loop {
        let stepped = projection.step().await;
        correct(&deciding, projection.take_corrections(), clock::mono());
        tell_violations(projection.take_violations());
        match stepped {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "failed to write call records; trying again");
                let mut pause = tokio::time::interval(RETRY_AFTER);
                pause.tick().await;
                pause.tick().await;
            }
        }
    }
}

fn tell_violations(found: Violations) {
    for (name, count) in found.by_name().into_iter().filter(|(_, count)| *count > 0) {
        tracing::error!(invariant = name, count, "an invariant is broken: tell the maintainers");
        counter!(names::VIOLATIONS, "inv" => name).increment(count);
    }
}

fn report(recovery: &Recovery) {
    tracing::info!(
        epoch = recovery.epoch,
        segments = recovery.segments,
        records = recovery.records,
        "the journal is open"
    );
    if recovery.truncated_bytes > 0 {
        tracing::warn!(bytes = recovery.truncated_bytes, "cut off an unfinished write at the end");
    }
    for path in &recovery.quarantined {
        tracing::error!(path = %path.display(), "set a damaged segment aside");
        counter!(names::VIOLATIONS, "inv" => "I2").increment(1);
    }
    if recovery.lost() > 0 {
        tracing::error!(facts = recovery.lost(), "facts are missing from the journal");
        counter!(names::FACT_GAP).increment(recovery.lost());
        counter!(names::VIOLATIONS, "inv" => "I2").increment(1);
    }
}

fn session(stored: StoredSession) -> Session {
    let StoredSession { ping, accepted_at, consumed_at, enriched } = stored;
    let answered =
        |it: Enrichment| EnrichedBy { enricher: it.source, tags: it.tags.into_iter().collect() };
    let PingAccepted {
        ping,
        session,
        publisher,
        campaign,
        caller,
        pool,
        number,
        tags,
        expires_at_ms,
        request_id,
        visitor,
        opener,
        reply: _,
        promise,
        extra,
    } = ping;
    Session {
        session,
        ping,
        publisher,
        campaign,
        caller,
        pool,
        number,
        tags: tags.into_iter().collect(),
        extra: extra.into_iter().collect(),
        request_id,
        visitor,
        kind: match opener {
            None => SessionKind::Ping,
            Some(Opener::PageView) => SessionKind::PageView,
            Some(Opener::Form) => SessionKind::Form,
        },
        created_at: accepted_at,
        expires_at: Wall(expires_at_ms),
        consumed_at,
        promise: promise.map(translate::promise).map(Box::new),
        enriched: enriched.into_iter().map(answered).collect(),
    }
}

fn usage(usage: CapUsage) -> Option<(Bucket, u64, Option<Wall>)> {
    let used = u64::try_from(usage.used).ok()?;
    Some((Bucket { cap: usage.cap, window: usage.window }, used, None))
}

/// A deposit as the book has it: of `buyer/buy_summit/deposit`, in `key:1773759852318:first`.
fn deposit(usage: &CapUsage) -> Option<(BuyerId, SmolStr, u64, Wall)> {
    let buyer = usage.cap.strip_prefix("buyer/")?.strip_suffix("/deposit")?;
    let (at, key) = usage.window.strip_prefix(DEPOSIT_KEY)?.split_once(':')?;
    Some((buyer.into(), key.into(), usage.used.try_into().ok()?, Wall(at.parse().ok()?)))
}

/// Both clocks now.
pub fn stamp() -> Stamp {
    Stamp::new(clock::wall(), clock::mono())
}

/// Where the data directory's parts are; for the tools that read them.
pub fn journal_dir(store_dir: &Path) -> PathBuf {
    store_dir.join("journal")
}
