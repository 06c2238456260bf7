//! A journal, a book that may refuse writes, and the projection between them.

use super::*;

/// A journal's directory and a book.
pub(super) struct Desk {
    pub(super) dir: TempDir,
    pub(super) store: Arc<SqliteStore>,
    pub(super) book: Arc<FlakyBook>,
}

impl Desk {
    pub(super) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("book.db")).await.unwrap());
        let book =
            Arc::new(FlakyBook { store: Arc::clone(&store), failures: AtomicU32::default() });
        Self { dir, store, book }
    }

    /// The same journal, and nothing else.
    pub(super) async fn with_another_book(self) -> Self {
        let path = self.dir.path().join("another.db");
        let store = Arc::new(SqliteStore::open(&path).await.unwrap());
        let book = FlakyBook { store: Arc::clone(&store), failures: AtomicU32::default() };
        Self { dir: self.dir, store, book: Arc::new(book) }
    }

    pub(super) async fn start(&self) -> (Journal, Projection, Opening) {
        self.start_with(Settings::new(1)).await
    }

    pub(super) async fn start_with(&self, settings: Settings) -> (Journal, Projection, Opening) {
        let now = stamp(START_MS);
        let progress = self.store.progress().await.unwrap();
        let journal_settings = JournalSettings {
            linger: Duration::ZERO,
            pace: Duration::ZERO,
            segment_bytes: 1 << 16,
            emergency_bytes: 4096,
            tail_delay: Duration::ZERO,
            resume: progress.map(|progress| progress.offset),
            ..JournalSettings::default()
        };
        let hooks = Hooks::silent(Arc::new(move || now));
        let dir = self.dir.path().join("journal");
        let (journal, recovery) = Journal::open(&dir, 1, journal_settings, hooks).unwrap();
        assert_eq!(recovery.lost(), 0);
        let book = Arc::clone(&self.book) as Arc<dyn Book>;
        let (projection, opening) = Projection::open(book, &journal, settings, now).await.unwrap();
        (journal, projection, opening)
    }

    /// Appends, and lets the projection write all that is in the journal.
    pub(super) async fn append(
        &self,
        journal: &Journal,
        projection: &mut Projection,
        facts: Vec<Fact>,
    ) {
        let last = journal.appender().append_all(facts, Durability::Durable).unwrap();
        // Nothing at all was written if this process appended nothing.
        while last.seq > 0 && projection.offset().seq < last.seq {
            assert!(projection.step().await.unwrap());
        }
    }

    pub(super) async fn rows(&self) -> Vec<CallRecord> {
        self.store.list(CallFilter::default(), None, 200).await.unwrap()
    }
}

/// A book that refuses a number of writes.
pub(super) struct FlakyBook {
    pub(super) store: Arc<SqliteStore>,
    pub(super) failures: AtomicU32,
}

impl Book for FlakyBook {
    fn progress(&self) -> Answer<'_, Option<Progress>> {
        self.store.progress()
    }

    fn open_calls(&self) -> Answer<'_, Vec<CallRecord>> {
        self.store.open_calls()
    }

    fn orphans(&self, since: Wall) -> Answer<'_, Vec<CallRecord>> {
        self.store.orphans(since)
    }

    fn usage(&self) -> Answer<'_, Vec<CapUsage>> {
        self.store.usage()
    }

    fn resets(&self, now: Wall) -> Answer<'_, Vec<(CapReset, Wall)>> {
        self.store.resets(now)
    }

    fn sessions(&self, now: Wall, since: Wall) -> Answer<'_, Vec<StoredSession>> {
        self.store.sessions(now, since)
    }

    fn session(&self, session: SessionId) -> Answer<'_, Option<StoredSession>> {
        self.store.session(session)
    }

    fn replied(
        &self,
        since: Wall,
        before: Option<SessionId>,
        limit: u32,
    ) -> Answer<'_, Vec<(PingAccepted, Wall)>> {
        self.store.replied(since, before, limit)
    }

    fn records_of(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Box::pin(async { Err(StoreError::Database("is locked".into())) });
        }
        self.store.records_of(calls)
    }

    fn earlier_calls(
        &self,
        since: Wall,
        before: Option<CallId>,
        limit: u32,
    ) -> Answer<'_, Vec<EarlierCall>> {
        self.store.earlier_calls(since, before, limit)
    }

    fn tried(&self, now: Wall) -> Answer<'_, Vec<TriedTarget>> {
        self.store.tried(now)
    }

    fn tried_ways(&self, now: Wall) -> Answer<'_, Vec<TriedWay>> {
        self.store.tried_ways(now)
    }

    fn counted(&self, since: Wall, until: Wall, but: Vec<CallId>) -> Answer<'_, Vec<CountedCalls>> {
        self.store.counted(since, until, but)
    }

    fn write(&self, batch: Arc<Batch>) -> Answer<'_, ()> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Box::pin(async { Err(StoreError::Database("is locked".into())) });
        }
        self.store.write(batch)
    }

    fn prune(&self, now: Wall) -> Answer<'_, ()> {
        self.store.prune(now)
    }
}
