//! The book in one SQLite file: one connection writes, a few read.
//!
//! The journal is the book of record, so a commit is not synced here (`synchronous = NORMAL`): the
//! offset is lost together with the effects, and they are read again. Configurations are in no journal,
//! and are synced. Rows are written many at a
//! time in statements of a few fixed sizes, so that each is prepared once; see `rows`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Row, Sqlite, SqlitePool};
use tokio::sync::Mutex;

use super::consumers::ConsumerBook;
use super::degraded;
use super::enrichments;
use super::resets;
use super::rows::{self, StoredTags, Tables};
use super::{
    Answer, Batch, Book, CallFilter, CallStore, CapUsage, CountedCalls, Decisions, EarlierCall,
    PAGE_MAX, Progress, Revisions, StoreError, StoredSession, TriedTarget, TriedWay,
};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{CapReset, PingAccepted};
use crate::cdr::journal::Lsn;
use crate::cdr::record::{CallRecord, Outcome};
use crate::id::{CallId, SessionId};
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// Name of the row that holds this projection's progress.
const PROJECTION: &str = "cdr";

const READERS: u32 = 2;

/// The state is not bound, or the index of orphans would not be used.
const ORPHANS: &str = "SELECT call_id, record FROM cdr WHERE state = 2 AND call_id >= ?";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(5))
        .page_size(8192)
        .pragma("wal_autocheckpoint", "8000")
        .pragma("cache_size", "-32000")
        .disable_statement_logging()
}

/// Sessions that are over of which a start is told.
const PAST_SESSIONS_MAX: i64 = 250_000;

/// Bound: now, since when they may have expired, now again, and how many of those.
const SESSIONS: &str = "SELECT session_id AS call_id, record, accepted_at, consumed_at, expires_at,
         number, caller, tags FROM ping_session WHERE expires_at > ?
     UNION ALL
     SELECT * FROM (SELECT session_id, record, accepted_at, consumed_at, expires_at, number,
         caller, tags FROM ping_session WHERE expires_at > ? AND expires_at <= ?
             AND (number IS NOT NULL OR caller IS NOT NULL)
         ORDER BY expires_at DESC LIMIT ?)
     ORDER BY accepted_at, call_id";

const SESSION: &str = "SELECT session_id AS call_id, record, accepted_at, consumed_at, expires_at,
         number, caller, tags FROM ping_session WHERE session_id = ?";

/// Most pings have no reply: those that have are found without a look at the others.
const REPLIED: &str = "SELECT session_id AS call_id, record, accepted_at FROM ping_session
     INDEXED BY ping_session_reply
     WHERE has_reply = 1 AND session_id >= ? AND session_id < ? ORDER BY session_id DESC LIMIT ?";

/// CDRs, cap usage and ping sessions in one file.
pub struct SqliteStore {
    pub(super) writer: Mutex<SqliteConnection>,
    pub(super) readers: SqlitePool,
    pub(super) tables: Tables,
}

impl SqliteStore {
    /// Opens or creates the database at `path` and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = options(path);
        let mut writer = options.connect().await?;
        sqlx::migrate!("migrations/sqlite")
            .run(&mut writer)
            .await
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Self::with(writer, options).await
    }

    /// Opens the database at `path` as it is, whether or not a server has it open. Nothing can be
    /// written.
    ///
    /// # Errors
    /// It is not there. That its schema is older shows when what is missing is asked for.
    pub async fn look(path: &Path) -> Result<Self, StoreError> {
        let options = options(path).read_only(true).create_if_missing(false);
        Self::with(options.connect().await?, options).await
    }

    async fn with(
        writer: SqliteConnection,
        options: SqliteConnectOptions,
    ) -> Result<Self, StoreError> {
        let readers = PoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Self { writer: Mutex::new(writer), readers, tables: Tables::new() })
    }

    /// Closes the connections, which folds the write-ahead log into the file.
    pub async fn close(self) -> Result<(), StoreError> {
        self.readers.close().await;
        Ok(self.writer.into_inner().close().await?)
    }

    async fn write_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await?;
        let tables = &self.tables;
        tables.write_calls(&mut transaction, batch).await?;
        tables.write_open(&mut transaction, batch).await?;
        tables.write_usage(&mut transaction, batch).await?;
        resets::write(&mut transaction, &batch.resets).await?;
        degraded::write(&mut transaction, batch).await?;
        tables.write_sessions(&mut transaction, batch).await?;
        tables.write_enriched(&mut transaction, &batch.enriched).await?;
        if let Some(progress) = batch.progress {
            write_progress(&mut transaction, progress).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn page(
        &self,
        filter: CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let mut query = select_calls(&filter, after, limit.min(PAGE_MAX));
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(|row| decode(row, "cdr")).collect()
    }
}

impl CallStore for SqliteStore {
    fn list(
        &self,
        filter: CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(self.page(filter, after, limit))
    }

    fn find(&self, call: CallId) -> Answer<'_, Option<CallRecord>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT call_id, record FROM cdr WHERE call_id = ?")
                .bind(call.as_bytes().to_vec())
                .fetch_optional(&self.readers)
                .await?;
            row.map(|row| decode(&row, "cdr")).transpose()
        })
    }

    fn explain(&self, explain_ref: u64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT ref, record FROM decision WHERE ref = ?")
                .bind(rows::integer(explain_ref))
                .fetch_optional(&self.readers)
                .await?;
            row.map(|row| decision(&row).map(|(_, record)| record)).transpose()
        })
    }
}

impl Book for SqliteStore {
    fn progress(&self) -> Answer<'_, Option<Progress>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM projection WHERE name = ?")
                .bind(PROJECTION)
                .fetch_optional(&self.readers)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let lsn = |epoch, seq| -> Result<Lsn, sqlx::Error> {
                Ok(Lsn { epoch: unsigned(&row, epoch)?, seq: unsigned(&row, seq)? })
            };
            Ok(Some(Progress {
                offset: lsn("epoch", "seq")?,
                replay_after: lsn("replay_epoch", "replay_seq")?,
            }))
        })
    }

    fn open_calls(&self) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(async move {
            let query = sqlx::query("SELECT call_id, record FROM open_call ORDER BY call_id");
            let rows = query.fetch_all(&self.readers).await?;
            rows.iter().map(|row| decode(row, "open_call")).collect()
        })
    }

    fn orphans(&self, since: Wall) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(async move {
            let query = sqlx::query(ORPHANS).bind(first_id_at(since));
            let rows = query.fetch_all(&self.readers).await?;
            rows.iter().map(|row| decode(row, "cdr")).collect()
        })
    }

    fn usage(&self) -> Answer<'_, Vec<CapUsage>> {
        Box::pin(async move {
            let query = sqlx::query("SELECT cap, win, used FROM cap_usage ORDER BY cap, win");
            let rows = query.fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(CapUsage {
                        cap: row.try_get::<&str, _>("cap")?.into(),
                        window: row.try_get::<&str, _>("win")?.into(),
                        used: row.try_get("used")?,
                    })
                })
                .collect()
        })
    }

    fn resets(&self, now: Wall) -> Answer<'_, Vec<(CapReset, Wall)>> {
        self.read_resets(now)
    }

    fn sessions(&self, now: Wall, since: Wall) -> Answer<'_, Vec<StoredSession>> {
        Box::pin(async move {
            let rows = sqlx::query(SESSIONS)
                .bind(now.0)
                .bind(since.0)
                .bind(now.0)
                .bind(PAST_SESSIONS_MAX)
                .fetch_all(&self.readers)
                .await?;
            let mut answered: BTreeMap<SessionId, Vec<Enrichment>> = BTreeMap::new();
            let ends = rows.iter().map(|row| row.try_get::<i64, _>("expires_at"));
            // Of those that are over, no more than the latest are told.
            if let Some(first) = ends.collect::<Result<Vec<_>, _>>()?.into_iter().min() {
                let query = sqlx::query(enrichments::ANSWERED).bind(first);
                for row in query.fetch_all(&self.readers).await? {
                    let enrichment = enrichments::read(&row)?;
                    answered.entry(enrichment.session).or_default().push(enrichment);
                }
            }
            let told = rows.iter().map(|row| {
                let session = stored_session(row)?;
                let enriched = answered.remove(&session.ping.session).unwrap_or_default();
                Ok(StoredSession { enriched, ..session })
            });
            told.collect()
        })
    }

    fn session(&self, session: SessionId) -> Answer<'_, Option<StoredSession>> {
        Box::pin(async move {
            let query = sqlx::query(SESSION).bind(session.as_bytes().to_vec());
            query.fetch_optional(&self.readers).await?.as_ref().map(stored_session).transpose()
        })
    }

    fn replied(
        &self,
        since: Wall,
        before: Option<SessionId>,
        limit: u32,
    ) -> Answer<'_, Vec<(PingAccepted, Wall)>> {
        Box::pin(async move {
            let before = before.map_or_else(|| vec![u8::MAX; 16], |it| it.as_bytes().to_vec());
            let rows = sqlx::query(REPLIED)
                .bind(first_id_at(since))
                .bind(before)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            let read = |row: &SqliteRow| {
                Ok((decode(row, "ping_session")?, Wall(row.try_get("accepted_at")?)))
            };
            rows.iter().map(read).collect()
        })
    }

    fn records_of(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>> {
        self.records(calls)
    }

    fn earlier_calls(
        &self,
        since: Wall,
        before: Option<CallId>,
        limit: u32,
    ) -> Answer<'_, Vec<EarlierCall>> {
        self.read_earlier_calls(since, before, limit)
    }

    fn counted(&self, since: Wall, until: Wall, but: Vec<CallId>) -> Answer<'_, Vec<CountedCalls>> {
        self.read_counted(since, until, but)
    }

    fn tried(&self, now: Wall) -> Answer<'_, Vec<TriedTarget>> {
        self.read_tried(now)
    }

    fn tried_ways(&self, now: Wall) -> Answer<'_, Vec<TriedWay>> {
        self.read_tried_ways(now)
    }

    fn write(&self, batch: Arc<Batch>) -> Answer<'_, ()> {
        Box::pin(async move { self.write_batch(&batch).await })
    }

    fn prune(&self, now: Wall) -> Answer<'_, ()> {
        self.forget_what_is_over(now)
    }
}

impl Revisions for SqliteStore {
    fn latest(&self) -> Answer<'_, Option<(u64, Bytes)>> {
        Box::pin(async move {
            let query = "SELECT revision, document FROM config_revision
                         ORDER BY revision DESC LIMIT 1";
            let row = sqlx::query(query).fetch_optional(&self.readers).await?;
            row.map(|row| {
                let revision: i64 = row.try_get("revision")?;
                let document: Vec<u8> = row.try_get("document")?;
                Ok((revision.cast_unsigned(), document.into()))
            })
            .transpose()
        })
    }

    fn find(&self, revision: u64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT document FROM config_revision WHERE revision = ?")
                .bind(rows::integer(revision))
                .fetch_optional(&self.readers)
                .await?;
            Ok(row.map(|row| row.try_get::<Vec<u8>, _>("document")).transpose()?.map(Bytes::from))
        })
    }

    fn keep(&self, revision: u64, document: Bytes, at: Wall) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            // No journal has it, and facts that are on disk name it.
            sqlx::query("PRAGMA synchronous = FULL").execute(&mut *writer).await?;
            let kept = sqlx::query(
                "INSERT INTO config_revision (revision, taken_at, document) VALUES (?, ?, ?)",
            )
            .bind(rows::integer(revision))
            .bind(at.0)
            .bind(document.to_vec())
            .execute(&mut *writer)
            .await;
            sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *writer).await?;
            kept?;
            Ok(())
        })
    }
}

impl Decisions for SqliteStore {
    fn decisions(&self, after: u64, limit: u32) -> Answer<'_, Vec<(u64, Bytes)>> {
        Box::pin(async move {
            let rows =
                sqlx::query("SELECT ref, record FROM decision WHERE ref > ? ORDER BY ref LIMIT ?")
                    .bind(rows::integer(after))
                    .bind(limit)
                    .fetch_all(&self.readers)
                    .await?;
            rows.iter().map(decision).collect()
        })
    }

    fn before_last(&self, count: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query("SELECT ref FROM decision ORDER BY ref DESC LIMIT 1 OFFSET ?")
                .bind(count)
                .fetch_optional(&self.readers)
                .await?;
            let key = row.map(|row| row.try_get::<i64, _>("ref")).transpose()?;
            Ok(key.unwrap_or(0).cast_unsigned())
        })
    }
}

/// A decision record and its key.
fn decision(row: &SqliteRow) -> Result<(u64, Bytes), StoreError> {
    let key = row.try_get::<i64, _>("ref")?.cast_unsigned();
    let packed: &[u8] = row.try_get("record")?;
    let record = lz4_flex::decompress_size_prepended(packed).map_err(|error| {
        let (row, detail) = (key.to_string(), error.to_string());
        StoreError::Damaged { table: "decision", row, detail }
    })?;
    Ok((key, record.into()))
}

async fn write_progress(
    connection: &mut SqliteConnection,
    progress: Progress,
) -> Result<(), StoreError> {
    let Progress { offset, replay_after } = progress;
    sqlx::query(
        "INSERT INTO projection (name, epoch, seq, replay_epoch, replay_seq)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
             replay_epoch = excluded.replay_epoch, replay_seq = excluded.replay_seq",
    )
    .bind(PROJECTION)
    .bind(rows::integer(offset.epoch))
    .bind(rows::integer(offset.seq))
    .bind(rows::integer(replay_after.epoch))
    .bind(rows::integer(replay_after.seq))
    .execute(connection)
    .await?;
    Ok(())
}

fn select_calls(filter: &CallFilter, after: Option<CallId>, limit: usize) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT call_id, record FROM cdr WHERE 1");
    for (condition, id) in [
        (" AND campaign_id = ", filter.campaign.as_ref().map(|id| id.as_str())),
        (" AND publisher_id = ", filter.publisher.as_ref().map(|id| id.as_str())),
        (" AND buyer_id = ", filter.buyer.as_ref().map(|id| id.as_str())),
        (" AND target_id = ", filter.target.as_ref().map(|id| id.as_str())),
        (" AND trunk_id = ", filter.trunk.as_ref().map(|id| id.as_str())),
    ] {
        if let Some(id) = id {
            query.push(condition).push_bind(id.to_owned());
        }
    }
    for (condition, number) in [
        (" AND caller = ", filter.caller.map(|number| rows::integer(number.digits()))),
        (" AND did = ", filter.did.map(|number| rows::integer(number.digits()))),
        (" AND state = ", filter.state.map(|state| state as i64)),
        (" AND started_at >= ", filter.since.map(|since| since.0)),
        (" AND started_at < ", filter.until.map(|until| until.0)),
    ] {
        if let Some(number) = number {
            query.push(condition).push_bind(number);
        }
    }
    if let Some(fraud_min) = filter.fraud_min {
        // The first part is that of the index.
        query.push(if fraud_min > 0 { " AND fraud_score > 0" } else { "" });
        query.push(" AND fraud_score >= ").push_bind(i64::from(fraud_min));
    }
    if let Some(reason) = filter.reason {
        // The same: that of calls which ended as calls do is not in the index.
        let is_indexed = !reason.code().starts_with("end.");
        query.push(if is_indexed { " AND end_reason NOT GLOB 'end.*'" } else { "" });
        query.push(" AND end_reason = ").push_bind(reason.code());
    }
    if let Some(session) = filter.session {
        query.push(" AND session_id = ").push_bind(session.as_bytes().to_vec());
    }
    // The time range once more on the key, which is ordered by time.
    for (condition, at) in [(" AND call_id >= ", filter.since), (" AND call_id < ", filter.until)] {
        if let Some(at) = at {
            query.push(condition).push_bind(first_id_at(at));
        }
    }
    query.push(match filter.outcome {
        None => "",
        Some(Outcome::InProgress) => " AND state = 0",
        Some(Outcome::Converted) => " AND state <> 0 AND conversion_state >= 2",
        Some(Outcome::Connected) => {
            " AND state <> 0 AND conversion_state < 2 AND talk_ms IS NOT NULL"
        }
        Some(Outcome::NoAnswer) => {
            " AND state <> 0 AND talk_ms IS NULL AND leg_count > 0 AND end_reason <> 'end.handed_over'"
        }
        Some(Outcome::HandedOver) => {
            " AND state <> 0 AND talk_ms IS NULL AND end_reason = 'end.handed_over'"
        }
        Some(Outcome::Refused) => " AND state <> 0 AND talk_ms IS NULL AND leg_count = 0",
    });
    if let Some(after) = after {
        query.push(" AND call_id < ").push_bind(after.as_bytes().to_vec());
    }
    query.push(" ORDER BY call_id DESC LIMIT ").push_bind(rows::integer(limit as u64));
    query
}

/// Without what enrichers said.
fn stored_session(row: &SqliteRow) -> Result<StoredSession, StoreError> {
    let mut ping: PingAccepted = decode(row, "ping_session")?;
    ping.expires_at_ms = row.try_get("expires_at")?;
    let number = |column| -> Result<Option<PhoneNumber>, StoreError> {
        let digits = row.try_get::<Option<i64>, _>(column)?.map(u64::try_from);
        Ok(digits.and_then(Result::ok).and_then(PhoneNumber::from_digits))
    };
    (ping.number, ping.caller) = (number("number")?, number("caller")?);
    if row.try_get::<Option<&[u8]>, _>("tags")?.is_some() {
        StoredTags(ping.tags) = decode_column(row, "tags", "ping_session")?;
    }
    Ok(StoredSession {
        ping,
        accepted_at: Wall(row.try_get("accepted_at")?),
        consumed_at: row.try_get::<Option<i64>, _>("consumed_at")?.map(Wall),
        enriched: vec![],
    })
}

/// The lowest id of a call admitted at `at`.
pub(super) fn first_id_at(at: Wall) -> Vec<u8> {
    let ms = u64::try_from(at.0).unwrap_or(0) << 16;
    [&ms.to_be_bytes()[..6], &[0; 10]].concat()
}

pub(super) fn decode<T>(row: &SqliteRow, table: &'static str) -> Result<T, StoreError>
where
    T: for<'b> minicbor::Decode<'b, ()>,
{
    decode_column(row, "record", table)
}

pub(super) fn decode_column<T>(
    row: &SqliteRow,
    column: &'static str,
    table: &'static str,
) -> Result<T, StoreError>
where
    T: for<'b> minicbor::Decode<'b, ()>,
{
    let record: &[u8] = row.try_get(column)?;
    minicbor::decode(record).map_err(|error| StoreError::Damaged {
        table,
        row: row
            .try_get::<&[u8], _>("call_id")
            .map_or_else(|_| String::from("without a key"), rows::hex),
        detail: error.to_string(),
    })
}

pub(super) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|number| number.unsigned_abs())
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fact::Reply;
    use crate::cdr::record::CallState;
    use crate::cdr::testing::{START_MS, book_of_calls, call_id, ping};
    use crate::phone::PhoneNumber;
    use crate::reason::Reason;

    #[tokio::test]
    async fn pages_follow_each_other_newest_first_without_gap_or_overlap() {
        let (_dir, store) = book_of_calls(450).await;

        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = store.list(CallFilter::default(), after, 1_000).await.unwrap();
            assert!(page.len() <= PAGE_MAX);
            let Some(last) = page.last() else { break };
            after = Some(last.call);
            listed.extend(page.into_iter().map(|record| record.call));
        }

        assert_eq!(listed, (1..=450).rev().map(call_id).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_filter_lists_the_same_calls_from_disk_as_from_memory() {
        let (_dir, store) = book_of_calls(12).await;
        let all = store.list(CallFilter::default(), None, 200).await.unwrap();
        let filters = [
            CallFilter { campaign: Some("cmp_hvac".into()), ..CallFilter::default() },
            CallFilter { campaign: Some("cmp_other".into()), ..CallFilter::default() },
            CallFilter { publisher: Some("pub_brightpath".into()), ..CallFilter::default() },
            CallFilter { buyer: Some("buy_summit".into()), ..CallFilter::default() },
            CallFilter { target: Some("tgt_summit".into()), ..CallFilter::default() },
            CallFilter { trunk: Some("trk_b".into()), ..CallFilter::default() },
            CallFilter {
                caller: PhoneNumber::from_digits(16_145_550_003),
                ..CallFilter::default()
            },
            CallFilter { did: PhoneNumber::from_digits(18_005_550_100), ..CallFilter::default() },
            CallFilter { state: Some(CallState::OrphanClosed), ..CallFilter::default() },
            CallFilter { outcome: Some(Outcome::Converted), ..CallFilter::default() },
            CallFilter { outcome: Some(Outcome::Connected), ..CallFilter::default() },
            CallFilter { outcome: Some(Outcome::NoAnswer), ..CallFilter::default() },
            CallFilter { outcome: Some(Outcome::Refused), ..CallFilter::default() },
            CallFilter { outcome: Some(Outcome::HandedOver), ..CallFilter::default() },
            CallFilter { reason: Some(Reason::TargetHungUp), ..CallFilter::default() },
            CallFilter { reason: Some(Reason::CallerAbandoned), ..CallFilter::default() },
            CallFilter { reason: Some(Reason::CapFull), ..CallFilter::default() },
            CallFilter { since: Some(Wall(START_MS + 5)), ..CallFilter::default() },
            CallFilter { until: Some(Wall(START_MS + 5)), ..CallFilter::default() },
        ];
        for filter in filters {
            let expected: Vec<_> =
                all.iter().filter(|record| filter.matches(record)).cloned().collect();

            let listed = store.list(filter.clone(), None, 200).await.unwrap();

            assert_eq!(listed, expected, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn lists_by_campaign_use_the_index() {
        let (_dir, store) = book_of_calls(1).await;
        let filter = CallFilter { campaign: Some("cmp_hvac".into()), ..CallFilter::default() };
        let sql = select_calls(&filter, Some(call_id(9)), 50).sql().as_str().to_owned();

        let steps = plan_of(&store, &sql).await;

        let expected = "SEARCH cdr USING INDEX cdr_campaign (campaign_id=? AND call_id<?)";
        assert_eq!(steps, [expected]);
    }

    #[tokio::test]
    async fn lists_by_what_calls_failed_for_use_the_index_and_go_on_behind_a_page() {
        let (_dir, store) = book_of_calls(12).await;
        let filter = CallFilter { reason: Some(Reason::CallerAbandoned), ..CallFilter::default() };
        let sql = select_calls(&filter, Some(call_id(9)), 50).sql().as_str().to_owned();

        let steps = plan_of(&store, &sql).await;
        let first = store.list(filter.clone(), None, 3).await.unwrap();
        let rest = store.list(filter, first.last().map(|it| it.call), 3).await.unwrap();

        let expected = "SEARCH cdr USING INDEX cdr_reason (end_reason=? AND call_id<?)";
        assert_eq!(steps, [expected]);
        let listed: Vec<_> = first.iter().chain(&rest).map(|it| it.call).collect();
        assert_eq!(listed, [12, 8, 7, 3, 2].map(call_id));
    }

    #[tokio::test]
    async fn a_start_finds_orphans_without_a_look_at_other_calls() {
        let (_dir, store) = book_of_calls(10).await;

        let steps = plan_of(&store, ORPHANS).await;
        let orphans = store.orphans(Wall(0)).await.unwrap();

        assert_eq!(steps, ["SEARCH cdr USING INDEX cdr_orphan (call_id>?)"]);
        let states: Vec<_> = orphans.iter().map(|record| record.state).collect();
        assert_eq!(states, [CallState::OrphanClosed; 2]);
    }

    #[tokio::test]
    async fn a_sum_that_does_not_fit_is_as_much_as_does() {
        let (_dir, store) = book_of_calls(0).await;
        for (amount, sum) in [(i64::MAX - 5, i64::MAX - 5), (7, i64::MAX), (-3, i64::MAX - 3)] {
            let used = [(("buyer/b/credit".into(), "total".into()), amount)].into();
            store.write(Arc::new(Batch { used, ..Batch::default() })).await.unwrap();
            let usage = store.usage().await.unwrap();
            assert_eq!(usage.iter().map(|it| it.used).collect::<Vec<_>>(), [sum]);
        }
    }

    #[tokio::test]
    async fn a_reopened_book_has_what_was_written() {
        let (dir, store) = book_of_calls(3).await;
        let before = store.list(CallFilter::default(), None, 200).await.unwrap();
        store.close().await.unwrap();

        let store = SqliteStore::open(&dir.path().join("book.db")).await.unwrap();

        assert_eq!(store.list(CallFilter::default(), None, 200).await.unwrap(), before);
    }

    #[tokio::test]
    async fn a_start_finds_pings_that_may_be_sent_again_without_a_look_at_others() {
        let (_dir, store) = book_of_calls(0).await;
        let reply = Reply {
            key: [1; 16],
            fingerprint: [2; 16],
            shared: false,
            heartbeat_s: None,
            left_out: vec![],
        };
        let pings: Vec<PingAccepted> = (0_u8..9)
            .map(|n| PingAccepted { reply: (n % 4 == 1).then(|| reply.clone()), ..ping(n, 60_000) })
            .collect();
        let sessions = pings.iter().map(|ping| (ping.clone(), Wall(START_MS))).collect();
        store.write(Arc::new(Batch { sessions, ..Batch::default() })).await.unwrap();

        let steps = plan_of(&store, REPLIED).await;
        let first = store.replied(Wall(0), None, 1).await.unwrap();
        let rest = store.replied(Wall(0), Some(first[0].0.session), 9).await.unwrap();

        let index = "ping_session USING INDEX ping_session_reply (session_id>? AND session_id<?)";
        assert_eq!(steps, [format!("SEARCH {index}")]);
        let found: Vec<_> = first.iter().chain(&rest).map(|(ping, _)| ping.clone()).collect();
        assert_eq!(found, [pings[5].clone(), pings[1].clone()]);
    }

    /// How the database goes about it.
    async fn plan_of(store: &SqliteStore, sql: &str) -> Vec<String> {
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
            .fetch_all(&store.readers)
            .await
            .unwrap();
        plan.iter().map(|row| row.get("detail")).collect()
    }
}
