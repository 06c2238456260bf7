//! What consumers keep: how far they have read and what facts came to, in one transaction.

use std::collections::BTreeMap;

use smol_str::SmolStr;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::rows::{self, integer, to_cbor};
use super::sqlite::{SqliteStore, decode, first_id_at, unsigned};
use super::{Answer, Progress, StoreError, fraud};
use crate::cdr::consumer::Effects;
use crate::cdr::consumer::letter::{
    Letter, LetterCount, LetterFilter, LetterState, SealedFact, Word,
};
use crate::cdr::journal::Lsn;
use crate::cdr::record::CallRecord;
use crate::cdr::rollup::{Counts, Resolution, Rolled, RollupKey, RollupQuery, Sums};
use crate::id::CallId;
use crate::time::Wall;

const DAY_MS: i64 = 86_400_000;

/// How long letters are kept that are done, and those that were given up.
const DONE_DAYS: i64 = 90;
const DISCARDED_DAYS: i64 = 365;
/// How long it is known what calls of publishers and targets looked like.
const FRAUD_DAYS: i64 = 400;
/// Longer than any call.
const ROLLED_CALL_DAYS: i64 = 8;

/// Where consumers keep what they made of the facts.
pub trait ConsumerBook: Send + Sync {
    /// How far a consumer has come; `None`: it has read nothing.
    fn position(&self, consumer: &str) -> Answer<'_, Option<Progress>>;

    /// Writes all of it or nothing.
    fn commit(&self, commit: Commit) -> Answer<'_, Committed>;

    /// The records of calls, of those that have one.
    fn records(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>>;

    /// The fact of a consumer that is to be tried again first.
    fn due(&self, consumer: &str, now: Wall) -> Answer<'_, Option<Letter>>;

    /// What became of a fact of a consumer that failed.
    fn letter(&self, consumer: &str, lsn: Lsn) -> Answer<'_, Option<Letter>>;

    fn count_letters(&self, consumer: &str) -> Answer<'_, LetterCount>;

    /// Forgets what was kept long enough.
    fn prune_consumed(&self, now: Wall, keep: Keep) -> Answer<'_, ()>;
}

/// What operators do with facts that failed.
pub trait Letters: Send + Sync {
    /// Those that match, newest first, at most `limit` with ids below `before`.
    fn list_letters(
        &self,
        filter: LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<Letter>>;

    fn find_letter(&self, id: u64) -> Answer<'_, Option<Letter>>;

    /// Has those that match and are not done tried again from now on. Returns how many.
    fn replay_letters(&self, filter: LetterFilter, by: SmolStr, at: Wall) -> Answer<'_, u64>;

    /// Gives up those that match and wait. Returns how many.
    fn discard_letters(&self, filter: LetterFilter, word: Word) -> Answer<'_, u64>;
}

/// Sums for whoever reads them.
pub trait RollupStore: Send + Sync {
    /// In the order of their keys, at most `limit`. What is not told apart is empty, or zero.
    fn rollups(&self, query: RollupQuery, limit: usize) -> Answer<'_, Vec<(RollupKey, Counts)>>;
}

/// What is written at once for a consumer.
#[derive(Clone, Debug)]
pub struct Commit {
    pub consumer: SmolStr,
    pub advance: Option<Advance>,
    pub effects: Effects,
    pub letter: Option<LetterChange>,
    pub at: Wall,
}

/// A step of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Where it has to stand, or nothing is written.
    pub from: Option<Lsn>,
    pub to: Progress,
}

/// What becomes of a fact that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterChange {
    Failed {
        lsn: Lsn,
        call: Option<CallId>,
        fact: SealedFact,
        tries: u32,
        class: SmolStr,
        error: String,
        /// Absent: it is given up.
        next_at: Option<Wall>,
    },
    /// It has its effects with this.
    Done { lsn: Lsn },
}

/// Whether something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    Written,
    /// The consumer stands elsewhere, or the fact was dealt with: nothing was written.
    Stale,
}

/// How long rollups are kept, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub minute_days: u32,
    pub hour_days: u32,
    pub day_days: u32,
}

impl Keep {
    fn days(self, resolution: Resolution) -> i64 {
        i64::from(match resolution {
            Resolution::Minute => self.minute_days,
            Resolution::Hour => self.hour_days,
            Resolution::Day => self.day_days,
        })
    }
}

impl ConsumerBook for SqliteStore {
    fn position(&self, consumer: &str) -> Answer<'_, Option<Progress>> {
        let consumer = consumer.to_owned();
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM consumer_offset WHERE name = ?")
                .bind(consumer)
                .fetch_optional(&self.readers)
                .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(Progress {
                offset: lsn(&row, "epoch", "seq")?,
                replay_after: lsn(&row, "recall_epoch", "recall_seq")?,
            }))
        })
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = writer.begin().await?;
            let advances = match commit.advance {
                Some(advance) => move_on(&mut transaction, &commit, advance).await?,
                None => true,
            };
            let settles = match &commit.letter {
                Some(change) => write_letter(&mut transaction, &commit, change).await?,
                None => true,
            };
            if !advances || !settles {
                transaction.rollback().await?;
                return Ok(Committed::Stale);
            }
            self.write_rolled(&mut transaction, &commit.effects.rolled).await?;
            self.tables.write_enriched(&mut transaction, &commit.effects.enriched).await?;
            fraud::write(&mut transaction, &commit.effects.fraud).await?;
            transaction.commit().await?;
            Ok(Committed::Written)
        })
    }

    fn records(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(async move {
            let mut records = Vec::with_capacity(calls.len());
            for calls in calls.chunks(500) {
                let mut query =
                    QueryBuilder::new("SELECT call_id, record FROM cdr WHERE call_id IN (");
                let mut ids = query.separated(", ");
                for call in calls {
                    ids.push_bind(call.as_bytes().to_vec());
                }
                query.push(")");
                let rows = query.build().fetch_all(&self.readers).await?;
                for row in &rows {
                    records.push(decode(row, "cdr")?);
                }
            }
            Ok(records)
        })
    }

    fn due(&self, consumer: &str, now: Wall) -> Answer<'_, Option<Letter>> {
        let consumer = consumer.to_owned();
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT * FROM dead_letter WHERE consumer = ? AND state = 0 AND next_at <= ?
                 ORDER BY next_at LIMIT 1",
            )
            .bind(consumer)
            .bind(now.0)
            .fetch_optional(&self.readers)
            .await?;
            row.map(|row| read_letter(&row)).transpose()
        })
    }

    fn letter(&self, consumer: &str, lsn: Lsn) -> Answer<'_, Option<Letter>> {
        let consumer = consumer.to_owned();
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT * FROM dead_letter WHERE consumer = ? AND epoch = ? AND seq = ?",
            )
            .bind(consumer)
            .bind(integer(lsn.epoch))
            .bind(integer(lsn.seq))
            .fetch_optional(&self.readers)
            .await?;
            row.map(|row| read_letter(&row)).transpose()
        })
    }

    fn count_letters(&self, consumer: &str) -> Answer<'_, LetterCount> {
        let consumer = consumer.to_owned();
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT COUNT(*) FILTER (WHERE state = 0) AS retrying,
                     COUNT(*) FILTER (WHERE state = 1) AS dead, MIN(next_at) AS next_at
                 FROM dead_letter WHERE consumer = ? AND state IN (0, 1)",
            )
            .bind(consumer)
            .fetch_one(&self.readers)
            .await?;
            Ok(LetterCount {
                retrying: unsigned(&row, "retrying")?,
                dead: unsigned(&row, "dead")?,
                next_due: row.try_get::<Option<i64>, _>("next_at")?.map(Wall),
            })
        })
    }

    fn prune_consumed(&self, now: Wall, keep: Keep) -> Answer<'_, ()> {
        Box::pin(async move {
            let ago = |days: i64| Wall(now.0.saturating_sub(days * DAY_MS));
            let mut writer = self.writer.lock().await;
            for resolution in Resolution::ALL {
                sqlx::query("DELETE FROM rollup WHERE minutes = ? AND bucket < ?")
                    .bind(resolution.minutes())
                    .bind(ago(keep.days(resolution)).0.div_euclid(60_000))
                    .execute(&mut *writer)
                    .await?;
            }
            sqlx::query("DELETE FROM rolled_call WHERE call_id < ?")
                .bind(first_id_at(ago(ROLLED_CALL_DAYS)))
                .execute(&mut *writer)
                .await?;
            for table in ["fraud_tally", "fraud_duration"] {
                let sql = format!("DELETE FROM {table} WHERE day < ?");
                sqlx::query(sqlx::AssertSqlSafe(sql))
                    .bind(ago(FRAUD_DAYS).0.div_euclid(DAY_MS))
                    .execute(&mut *writer)
                    .await?;
            }
            for (state, days) in
                [(LetterState::Done, DONE_DAYS), (LetterState::Discarded, DISCARDED_DAYS)]
            {
                sqlx::query("DELETE FROM dead_letter WHERE state = ? AND last_at < ?")
                    .bind(state as i64)
                    .bind(ago(days).0)
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(())
        })
    }
}

impl Letters for SqliteStore {
    fn list_letters(
        &self,
        filter: LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<Letter>> {
        Box::pin(async move {
            let mut query = QueryBuilder::new("SELECT * FROM dead_letter WHERE 1");
            narrow(&mut query, &filter);
            if let Some(before) = before {
                query.push(" AND id < ").push_bind(integer(before));
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(integer(limit as u64));
            let rows = query.build().fetch_all(&self.readers).await?;
            rows.iter().map(read_letter).collect()
        })
    }

    fn find_letter(&self, id: u64) -> Answer<'_, Option<Letter>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM dead_letter WHERE id = ?")
                .bind(integer(id))
                .fetch_optional(&self.readers)
                .await?;
            row.map(|row| read_letter(&row)).transpose()
        })
    }

    fn replay_letters(&self, filter: LetterFilter, by: SmolStr, at: Wall) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut query = QueryBuilder::new("UPDATE dead_letter SET state = 0, tries = 0");
            query.push(", next_at = ").push_bind(at.0);
            query.push(", word_at = ").push_bind(at.0);
            query.push(", word_by = ").push_bind(by.to_string());
            query.push(", reason = NULL WHERE state <> 2");
            narrow(&mut query, &filter);
            let mut writer = self.writer.lock().await;
            Ok(query.build().execute(&mut *writer).await?.rows_affected())
        })
    }

    fn discard_letters(&self, filter: LetterFilter, word: Word) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut query = QueryBuilder::new("UPDATE dead_letter SET state = 3, next_at = NULL");
            query.push(", last_at = ").push_bind(word.at.0);
            query.push(", word_at = ").push_bind(word.at.0);
            query.push(", word_by = ").push_bind(word.by.to_string());
            query.push(", reason = ").push_bind(word.reason);
            query.push(" WHERE state IN (0, 1)");
            narrow(&mut query, &filter);
            let mut writer = self.writer.lock().await;
            Ok(query.build().execute(&mut *writer).await?.rows_affected())
        })
    }
}

impl RollupStore for SqliteStore {
    fn rollups(&self, query: RollupQuery, limit: usize) -> Answer<'_, Vec<(RollupKey, Counts)>> {
        Box::pin(async move {
            let mut sql = select_rollups(&query, limit);
            let rows = sql.build().fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    let text = |name| row.try_get::<&str, _>(name).map(SmolStr::new);
                    let key = RollupKey {
                        minute: row.try_get("bucket")?,
                        campaign: text("campaign_id")?,
                        publisher: text("publisher_id")?,
                        buyer: text("buyer_id")?,
                        target: text("target_id")?,
                    };
                    let mut values = [0; Counts::NAMES.len()];
                    for (value, name) in values.iter_mut().zip(Counts::NAMES) {
                        *value = row.try_get(name)?;
                    }
                    Ok((key, Counts::of_values(values)))
                })
                .collect()
        })
    }
}

impl SqliteStore {
    async fn write_rolled(
        &self,
        connection: &mut SqliteConnection,
        rolled: &Rolled,
    ) -> Result<(), StoreError> {
        let mut sums = rolled.sums.clone();
        let mut add = |key: &RollupKey, counts: &Counts| {
            sums.entry(key.clone()).or_default().add(counts);
        };
        for (call, counts) in &rolled.corrected {
            let id = call.as_bytes().to_vec();
            let before = sqlx::query("SELECT call_id, sums FROM rolled_call WHERE call_id = ?")
                .bind(id.clone())
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(row) = before {
                let before: Vec<(RollupKey, Counts)> = read_sums(&row)?;
                before.iter().for_each(|(key, counts)| add(key, &counts.negated()));
            }
            counts.iter().for_each(|(key, counts)| add(key, counts));
            let counts: Vec<_> = counts.iter().collect();
            sqlx::query(
                "INSERT INTO rolled_call (call_id, sums) VALUES (?, ?)
                 ON CONFLICT (call_id) DO UPDATE SET sums = excluded.sums",
            )
            .bind(id)
            .bind(to_cbor(&counts))
            .execute(&mut *connection)
            .await?;
        }
        for resolution in Resolution::ALL {
            let mut buckets: Sums = BTreeMap::new();
            for (key, counts) in &sums {
                let minute = resolution.bucket_of(key.minute);
                buckets.entry(RollupKey { minute, ..key.clone() }).or_default().add(counts);
            }
            let buckets: Vec<_> = buckets.into_iter().collect();
            self.tables.write_rollups(&mut *connection, resolution.minutes(), &buckets).await?;
        }
        Ok(())
    }
}

fn read_sums(row: &SqliteRow) -> Result<Vec<(RollupKey, Counts)>, StoreError> {
    minicbor::decode(row.try_get("sums")?).map_err(|error| StoreError::Damaged {
        table: "rolled_call",
        row: rows::hex(row.try_get("call_id").unwrap_or_default()),
        detail: error.to_string(),
    })
}

/// False if the consumer stands elsewhere.
async fn move_on(
    connection: &mut SqliteConnection,
    commit: &Commit,
    advance: Advance,
) -> Result<bool, StoreError> {
    let Progress { offset, replay_after } = advance.to;
    let (from, is_first) = (advance.from.unwrap_or_default(), advance.from.is_none());
    let sql = if is_first {
        "INSERT INTO consumer_offset (epoch, seq, recall_epoch, recall_seq, updated_at, name)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING"
    } else {
        "UPDATE consumer_offset SET epoch = ?, seq = ?, recall_epoch = ?, recall_seq = ?,
             updated_at = ? WHERE name = ? AND epoch = ? AND seq = ?"
    };
    let mut query = sqlx::query(sql)
        .bind(integer(offset.epoch))
        .bind(integer(offset.seq))
        .bind(integer(replay_after.epoch))
        .bind(integer(replay_after.seq))
        .bind(commit.at.0)
        .bind(commit.consumer.to_string());
    if !is_first {
        query = query.bind(integer(from.epoch)).bind(integer(from.seq));
    }
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// False if a fact that is done with this was dealt with before.
async fn write_letter(
    connection: &mut SqliteConnection,
    commit: &Commit,
    change: &LetterChange,
) -> Result<bool, StoreError> {
    match change {
        LetterChange::Failed { lsn, call, fact, tries, class, error, next_at } => {
            let state = if next_at.is_some() { LetterState::Retrying } else { LetterState::Dead };
            // One that somebody gave up meanwhile stays so.
            sqlx::query(
                "INSERT INTO dead_letter (consumer, epoch, seq, call_id, fact, state, tries, class,
                     error, first_at, last_at, next_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (consumer, epoch, seq) DO UPDATE SET state = excluded.state,
                     tries = excluded.tries, class = excluded.class, error = excluded.error,
                     last_at = excluded.last_at, next_at = excluded.next_at
                     WHERE dead_letter.state = 0",
            )
            .bind(commit.consumer.to_string())
            .bind(integer(lsn.epoch))
            .bind(integer(lsn.seq))
            .bind(call.map(|call| call.as_bytes().to_vec()))
            .bind(fact.0.clone())
            .bind(state as i64)
            .bind(i64::from(*tries))
            .bind(class.to_string())
            .bind(error.clone())
            .bind(commit.at.0)
            .bind(commit.at.0)
            .bind(next_at.map(|at| at.0))
            .execute(connection)
            .await?;
            Ok(true)
        }
        LetterChange::Done { lsn } => {
            let done = sqlx::query(
                "UPDATE dead_letter SET state = 2, last_at = ?, next_at = NULL
                 WHERE consumer = ? AND epoch = ? AND seq = ? AND state = 0",
            )
            .bind(commit.at.0)
            .bind(commit.consumer.to_string())
            .bind(integer(lsn.epoch))
            .bind(integer(lsn.seq))
            .execute(connection)
            .await?;
            Ok(done.rows_affected() == 1)
        }
    }
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &LetterFilter) {
    let LetterFilter { first, last, consumer, state, class, call, since, until } = filter;
    for (condition, text) in [(" AND consumer = ", consumer), (" AND class = ", class)] {
        if let Some(text) = text {
            query.push(condition).push_bind(text.to_string());
        }
    }
    for (condition, number) in [
        (" AND id >= ", first.map(integer)),
        (" AND id <= ", last.map(integer)),
        (" AND state = ", state.map(|state| state as i64)),
        (" AND first_at >= ", since.map(|at| at.0)),
        (" AND first_at < ", until.map(|at| at.0)),
    ] {
        if let Some(number) = number {
            query.push(condition).push_bind(number);
        }
    }
    if let Some(call) = call {
        query.push(" AND call_id = ").push_bind(call.as_bytes().to_vec());
    }
}

fn select_rollups(query: &RollupQuery, limit: usize) -> QueryBuilder<Sqlite> {
    const COLUMNS: [&str; 4] = ["campaign_id", "publisher_id", "buyer_id", "target_id"];
    let told = |is_told: bool, column, otherwise| if is_told { column } else { otherwise };
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(told(query.by_time, "bucket", "0")).push(" AS bucket");
    for (column, is_told) in COLUMNS.into_iter().zip(query.by) {
        sql.push(", ").push(told(is_told, column, "''")).push(" AS ").push(column);
    }
    for name in Counts::NAMES {
        sql.push(", SUM(").push(name).push(") AS ").push(name);
    }
    sql.push(" FROM rollup WHERE minutes = ").push_bind(query.resolution.minutes());
    // A bucket begins at a whole minute.
    let minute = |at: Wall| at.0.saturating_add(59_999).div_euclid(60_000);
    sql.push(" AND bucket >= ").push_bind(minute(query.from));
    sql.push(" AND bucket < ").push_bind(minute(query.to));
    let wanted = [&query.campaign, &query.publisher, &query.buyer, &query.target];
    for (column, wanted) in COLUMNS.into_iter().zip(wanted) {
        if let Some(wanted) = wanted {
            sql.push(" AND rollup.").push(column).push(" = ").push_bind(wanted.to_string());
        }
    }
    // Numbers name the columns of the result.
    sql.push(" GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT ");
    sql.push_bind(integer(limit as u64));
    sql
}

fn lsn(row: &SqliteRow, epoch: &str, seq: &str) -> Result<Lsn, StoreError> {
    Ok(Lsn { epoch: unsigned(row, epoch)?, seq: unsigned(row, seq)? })
}

fn read_letter(row: &SqliteRow) -> Result<Letter, StoreError> {
    let wall = |name| row.try_get::<Option<i64>, _>(name).map(|at| at.map(Wall));
    let id = unsigned(row, "id")?;
    let state: i64 = row.try_get("state")?;
    let state = LetterState::ALL.into_iter().find(|it| *it as i64 == state).ok_or_else(|| {
        let detail = format!("{state} is no state");
        StoreError::Damaged { table: "dead_letter", row: id.to_string(), detail }
    })?;
    let by = row.try_get::<Option<&str>, _>("word_by")?.map(SmolStr::new);
    let word = match (by, wall("word_at")?) {
        (Some(by), Some(at)) => Some(Word { by, at, reason: row.try_get("reason")? }),
        _ => None,
    };
    Ok(Letter {
        id,
        consumer: row.try_get::<&str, _>("consumer")?.into(),
        lsn: lsn(row, "epoch", "seq")?,
        fact: SealedFact(row.try_get("fact")?),
        state,
        tries: u32::try_from(unsigned(row, "tries")?).unwrap_or(u32::MAX),
        class: row.try_get::<&str, _>("class")?.into(),
        error: row.try_get("error")?,
        first_at: Wall(row.try_get("first_at")?),
        last_at: Wall(row.try_get("last_at")?),
        next_at: wall("next_at")?,
        word,
    })
}
