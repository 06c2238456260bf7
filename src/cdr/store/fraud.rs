//! What is kept of how much calls look like fraud: scores with their records, sums, and what the next
//! score goes by.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};

use super::rows::{self, integer, to_cbor};
use super::sqlite::{SqliteStore, decode, decode_column, unsigned};
use super::{Answer, StoreError};
use crate::cdr::fact::PingAccepted;
use crate::cdr::fraud::duration::{BINS, Bins, Side};
use crate::cdr::fraud::{
    Changes, Counted, Found, FraudEffects, FraudReason, FraudSums, HIGH, Held, Key, Kind, Scored,
    ScoredCall,
};
use crate::codec;
use crate::id::{CallId, SessionId};
use crate::time::Wall;

/// Reasons of `fraud_tally` that are none.
const ALL: u8 = 0;
const ARE_HIGH: u8 = 255;

/// The kind of the row that holds the key of the hashes.
const HASH_KEY: u8 = 0;

/// Scores for whoever reads them.
pub trait Scores: Send + Sync {
    /// Of those calls that have one.
    fn of_calls(&self, calls: Vec<CallId>) -> Answer<'_, Vec<(CallId, Scored)>>;

    /// Absent: it has none, or has no caller.
    fn of_session(&self, session: SessionId) -> Answer<'_, Option<Scored>>;

    /// What calls came to that were admitted from one day of UTC to another, both among them, by whose
    /// they were. Of targets only when they ended.
    fn sums(&self, side: Side, from: i64, to: i64) -> Answer<'_, BTreeMap<SmolStr, FraudSums>>;
}

/// What scoring goes by.
pub trait FraudBook: Send + Sync {
    /// The key under which numbers are hashed: `new`, if there was none.
    fn hash_key(&self, new: [u8; 16]) -> Answer<'_, [u8; 16]>;

    /// What was kept.
    fn known(&self) -> Answer<'_, Vec<(Key, Held)>>;

    /// Histograms of days from here on.
    fn bins(&self, since: i64) -> Answer<'_, Vec<(Side, SmolStr, i64, Bins)>>;

    /// How sessions were announced, and when.
    fn announced(&self, sessions: Vec<SessionId>) -> Answer<'_, Vec<(PingAccepted, Wall)>>;
}

/// What `cdr.fraud` and `ping_session.fraud` hold.
#[derive(Encode, Decode)]
struct StoredScore {
    #[n(0)]
    score: u8,
    #[n(1)]
    reasons: Vec<StoredReason>,
}

#[derive(Encode, Decode)]
struct StoredReason {
    #[n(0)]
    reason: u8,
    #[n(1)]
    points: u8,
    #[cbor(n(2), with = "codec::optional_text", has_nil)]
    have: Option<SmolStr>,
    #[cbor(n(3), with = "codec::optional_text", has_nil)]
    want: Option<SmolStr>,
}

impl StoredScore {
    fn of(scored: &Scored) -> Self {
        let stored = |it: &Found| StoredReason {
            reason: it.reason.number(),
            points: it.points,
            have: it.have.clone(),
            want: it.want.clone(),
        };
        Self { score: scored.score, reasons: scored.reasons.iter().map(stored).collect() }
    }

    /// Reasons that a newer version knows are left out; the score stays.
    fn read(self) -> Scored {
        let found = |it: StoredReason| {
            let reason = FraudReason::from_number(it.reason)?;
            Some(Found { reason, points: it.points, have: it.have, want: it.want })
        };
        Scored { score: self.score, reasons: self.reasons.into_iter().filter_map(found).collect() }
    }
}

impl Scores for SqliteStore {
    fn of_calls(&self, calls: Vec<CallId>) -> Answer<'_, Vec<(CallId, Scored)>> {
        Box::pin(async move {
            let mut scores = Vec::with_capacity(calls.len());
            for calls in calls.chunks(500) {
                let mut query = QueryBuilder::new(
                    "SELECT call_id, fraud_score, fraud FROM cdr
                     WHERE fraud_score IS NOT NULL AND call_id IN (",
                );
                let mut ids = query.separated(", ");
                for call in calls {
                    ids.push_bind(call.as_bytes().to_vec());
                }
                query.push(")");
                for row in query.build().fetch_all(&self.readers).await? {
                    let id: &[u8] = row.try_get("call_id")?;
                    let id = <[u8; 16]>::try_from(id).map_err(|_| damaged("cdr", id, "its id"))?;
                    let stored = row.try_get::<Option<&[u8]>, _>("fraud")?;
                    let scored = match stored {
                        Some(_) => decode_column::<StoredScore>(&row, "fraud", "cdr")?.read(),
                        None => Scored::default(),
                    };
                    scores.push((CallId::from_bytes(id), scored));
                }
            }
            Ok(scores)
        })
    }

    fn of_session(&self, session: SessionId) -> Answer<'_, Option<Scored>> {
        Box::pin(async move {
            let sql = "SELECT session_id AS call_id, fraud FROM ping_session WHERE session_id = ?";
            let query = sqlx::query(sql).bind(session.as_bytes().to_vec());
            let row = query.fetch_optional(&self.readers).await?;
            let Some(row) = row else { return Ok(None) };
            match row.try_get::<Option<&[u8]>, _>("fraud")? {
                None => Ok(None),
                Some(_) => {
                    let stored: StoredScore = decode_column(&row, "fraud", "ping_session")?;
                    Ok(Some(stored.read()))
                }
            }
        })
    }

    fn sums(&self, side: Side, from: i64, to: i64) -> Answer<'_, BTreeMap<SmolStr, FraudSums>> {
        Box::pin(async move {
            let mut sums: BTreeMap<SmolStr, FraudSums> = BTreeMap::new();
            if side == Side::Publisher {
                let sql = "SELECT publisher, reason, SUM(calls) AS calls FROM fraud_tally
                     WHERE day >= ? AND day <= ? GROUP BY publisher, reason";
                let query = sqlx::query(sql).bind(from).bind(to);
                for row in query.fetch_all(&self.readers).await? {
                    let of = sums.entry(row.try_get::<&str, _>("publisher")?.into()).or_default();
                    let (number, calls) = (unsigned(&row, "reason")?, unsigned(&row, "calls")?);
                    match u8::try_from(number).unwrap_or(u8::MAX - 1) {
                        ALL => of.calls = calls,
                        ARE_HIGH => of.high = calls,
                        number => {
                            if let Some(reason) = FraudReason::from_number(number) {
                                of.by_reason.insert(reason, calls);
                            }
                        }
                    }
                }
            }
            let sql = "SELECT id, bin, SUM(calls) AS calls FROM fraud_duration
                 WHERE day >= ? AND day <= ? AND side = ? GROUP BY id, bin";
            let query = sqlx::query(sql).bind(from).bind(to).bind(i64::from(side.number()));
            for row in query.fetch_all(&self.readers).await? {
                let of = sums.entry(row.try_get::<&str, _>("id")?.into()).or_default();
                put(&mut of.bins, &row)?;
            }
            Ok(sums)
        })
    }
}

impl FraudBook for SqliteStore {
    fn hash_key(&self, new: [u8; 16]) -> Answer<'_, [u8; 16]> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            sqlx::query(
                "INSERT INTO fraud_state (kind, whom, at, state) VALUES (?, 0, 0, ?)
                 ON CONFLICT (kind, whom) DO NOTHING",
            )
            .bind(i64::from(HASH_KEY))
            .bind(new.to_vec())
            .execute(&mut *writer)
            .await?;
            let row = sqlx::query("SELECT state FROM fraud_state WHERE kind = ? AND whom = 0")
                .bind(i64::from(HASH_KEY))
                .fetch_one(&mut *writer)
                .await?;
            let key: &[u8] = row.try_get("state")?;
            key.try_into().map_err(|_| damaged("fraud_state", b"0", "its key has not 16 bytes"))
        })
    }

    fn known(&self) -> Answer<'_, Vec<(Key, Held)>> {
        Box::pin(async move {
            let query = sqlx::query("SELECT * FROM fraud_state WHERE kind <> ? ORDER BY at")
                .bind(i64::from(HASH_KEY));
            let rows = query.fetch_all(&self.readers).await?;
            let read = |row: &SqliteRow| -> Result<Option<(Key, Held)>, StoreError> {
                let kind = unsigned(row, "kind")?;
                // A newer version may count more.
                let Some(kind) = Kind::ALL.into_iter().find(|it| *it as u64 == kind) else {
                    return Ok(None);
                };
                let whom = row.try_get::<i64, _>("whom")?.cast_unsigned();
                let count: Counted = decode_column(row, "state", "fraud_state")?;
                let held = Held { at: Wall(row.try_get("at")?), count };
                Ok(Some((Key { kind, whom }, held)))
            };
            rows.iter().filter_map(|row| read(row).transpose()).collect()
        })
    }

    fn bins(&self, since: i64) -> Answer<'_, Vec<(Side, SmolStr, i64, Bins)>> {
        Box::pin(async move {
            let sql = "SELECT day, side, id, bin, calls FROM fraud_duration WHERE day >= ?
                 ORDER BY day, side, id, bin";
            let rows = sqlx::query(sql).bind(since).fetch_all(&self.readers).await?;
            let mut found: BTreeMap<(i64, Side, SmolStr), Bins> = BTreeMap::new();
            for row in &rows {
                let side = unsigned(row, "side")?;
                let side = Side::ALL.into_iter().find(|it| u64::from(it.number()) == side);
                let Some(side) = side else { continue };
                let key = (row.try_get("day")?, side, row.try_get::<&str, _>("id")?.into());
                put(found.entry(key).or_insert([0; BINS]), row)?;
            }
            Ok(found.into_iter().map(|((day, side, id), bins)| (side, id, day, bins)).collect())
        })
    }

    fn announced(&self, sessions: Vec<SessionId>) -> Answer<'_, Vec<(PingAccepted, Wall)>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(sessions.len());
            for sessions in sessions.chunks(500) {
                let mut query = QueryBuilder::new(
                    "SELECT session_id AS call_id, record, accepted_at FROM ping_session
                     WHERE session_id IN (",
                );
                let mut ids = query.separated(", ");
                for session in sessions {
                    ids.push_bind(session.as_bytes().to_vec());
                }
                query.push(")");
                for row in query.build().fetch_all(&self.readers).await? {
                    let ping = decode(&row, "ping_session")?;
                    found.push((ping, Wall(row.try_get("accepted_at")?)));
                }
            }
            Ok(found)
        })
    }
}

/// Writes what scoring came to.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    effects: &FraudEffects,
) -> Result<(), StoreError> {
    let mut tallies: BTreeMap<(i64, &str, u8), u64> = BTreeMap::new();
    let mut bins: BTreeMap<(i64, u8, &str, usize), u64> = BTreeMap::new();
    for ScoredCall { call, day, publisher, scored, binned } in &effects.calls {
        let why = (!scored.reasons.is_empty()).then(|| to_cbor(&StoredScore::of(scored)));
        let written = sqlx::query(
            "UPDATE cdr SET fraud_score = ?, fraud = ? WHERE call_id = ? AND fraud_score IS NULL",
        )
        .bind(i64::from(scored.score))
        .bind(why)
        .bind(call.as_bytes().to_vec())
        .execute(&mut *connection)
        .await?;
        if written.rows_affected() == 0 {
            continue;
        }
        let high = (scored.score >= HIGH).then_some(ARE_HIGH);
        let reasons = scored.reasons.iter().map(|found| found.reason.number());
        for reason in [ALL].into_iter().chain(high).chain(reasons) {
            *tallies.entry((*day, publisher, reason)).or_default() += 1;
        }
        for binned in binned {
            let key = (*day, binned.side.number(), binned.id.as_str(), binned.bin);
            *bins.entry(key).or_default() += 1;
        }
    }
    for ((day, publisher, reason), calls) in tallies {
        sqlx::query(
            "INSERT INTO fraud_tally (day, publisher, reason, calls) VALUES (?, ?, ?, ?)
             ON CONFLICT (day, publisher, reason) DO UPDATE SET calls = calls + excluded.calls",
        )
        .bind(day)
        .bind(publisher.to_owned())
        .bind(i64::from(reason))
        .bind(integer(calls))
        .execute(&mut *connection)
        .await?;
    }
    for ((day, side, id, bin), calls) in bins {
        sqlx::query(
            "INSERT INTO fraud_duration (day, side, id, bin, calls) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (day, side, id, bin) DO UPDATE SET calls = calls + excluded.calls",
        )
        .bind(day)
        .bind(i64::from(side))
        .bind(id.to_owned())
        .bind(integer(bin as u64))
        .bind(integer(calls))
        .execute(&mut *connection)
        .await?;
    }
    for (session, scored) in &effects.sessions {
        sqlx::query("UPDATE ping_session SET fraud = ? WHERE session_id = ?")
            .bind(to_cbor(&StoredScore::of(scored)))
            .bind(session.as_bytes().to_vec())
            .execute(&mut *connection)
            .await?;
    }
    write_changes(connection, &effects.changes).await
}

async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    for (Key { kind, whom }, held) in &changes.kept {
        sqlx::query(
            "INSERT INTO fraud_state (kind, whom, at, state) VALUES (?, ?, ?, ?)
             ON CONFLICT (kind, whom) DO UPDATE SET at = excluded.at, state = excluded.state",
        )
        .bind(*kind as i64)
        .bind(whom.cast_signed())
        .bind(held.at.0)
        .bind(to_cbor(&held.count))
        .execute(&mut *connection)
        .await?;
    }
    for Key { kind, whom } in &changes.gone {
        sqlx::query("DELETE FROM fraud_state WHERE kind = ? AND whom = ?")
            .bind(*kind as i64)
            .bind(whom.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Adds a row's bin.
fn put(bins: &mut Bins, row: &SqliteRow) -> Result<(), StoreError> {
    let bin = usize::try_from(unsigned(row, "bin")?).unwrap_or(usize::MAX);
    if let Some(bin) = bins.get_mut(bin) {
        *bin += unsigned(row, "calls")?;
    }
    Ok(())
}

fn damaged(table: &'static str, row: &[u8], detail: &str) -> StoreError {
    StoreError::Damaged { table, row: rows::hex(row), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cdr::consumer::Effects;
    use crate::cdr::fraud::day_of;
    use crate::cdr::fraud::duration::Binned;
    use crate::cdr::journal::Lsn;
    use crate::cdr::store::consumers::{Advance, Commit, Committed, ConsumerBook};
    use crate::cdr::store::{Batch, Book, CallFilter, CallStore, Progress};
    use crate::cdr::testing::{START_MS, Script, call_id};

    #[tokio::test]
    async fn a_score_is_kept_with_its_call_and_counts_once_whatever_is_written_again() {
        let (_dir, store) = with_calls(2).await;
        let high = scored(&[(FraudReason::CallerImpossible, 60), (FraudReason::ShortCall, 10)]);
        let effects = FraudEffects {
            calls: vec![of(1, high.clone()), of(2, Scored::default())],
            ..FraudEffects::default()
        };

        commit(&store, 1, effects.clone()).await;
        let lower = scored(&[(FraudReason::ShortCall, 10)]);
        let again = FraudEffects { calls: vec![of(1, lower)], ..FraudEffects::default() };
        commit(&store, 2, again).await;

        let ids = vec![call_id(1), call_id(2), call_id(3)];
        let expected = [(call_id(1), high), (call_id(2), Scored::default())];
        assert_eq!(store.of_calls(ids).await.unwrap(), expected);
        let day = day_of(Wall(START_MS));
        let sums = store.sums(Side::Publisher, day, day).await.unwrap();
        let of_publisher = &sums["p"];
        assert_eq!((of_publisher.calls, of_publisher.high), (2, 1));
        let by_reason = [(FraudReason::CallerImpossible, 1), (FraudReason::ShortCall, 1)];
        assert_eq!(of_publisher.by_reason, by_reason.into());
        assert_eq!(of_publisher.bins[6], 2);
        assert_eq!(store.sums(Side::Publisher, day + 1, day + 9).await.unwrap(), BTreeMap::new());
        assert_eq!(store.sums(Side::Target, day, day).await.unwrap()["t"].bins[5], 2);
        let bins = store.bins(day).await.unwrap();
        assert_eq!(
            bins.iter().map(|(side, id, ..)| (*side, id.as_str())).collect::<Vec<_>>(),
            [(Side::Publisher, "p"), (Side::Target, "t")]
        );
        for (fraud_min, expected) in [(0, 2), (1, 1), (70, 1), (71, 0)] {
            let filter = CallFilter { fraud_min: Some(fraud_min), ..CallFilter::default() };
            let listed = store.list(filter, None, 9).await.unwrap();
            assert_eq!(listed.len(), expected, "{fraud_min}");
        }
    }

    #[tokio::test]
    async fn a_later_revision_of_a_record_leaves_its_score_alone() {
        let (_dir, store) = with_calls(1).await;
        let scored = scored(&[(FraudReason::ShortCall, 10)]);
        let calls = vec![of(1, scored.clone())];
        commit(&store, 1, FraudEffects { calls, ..FraudEffects::default() }).await;
        let mut record = store.find(call_id(1)).await.unwrap().unwrap();
        record.rev += 1;

        let batch = Batch { calls: vec![Arc::new(record)], ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();

        assert_eq!(store.of_calls(vec![call_id(1)]).await.unwrap(), [(call_id(1), scored)]);
    }

    #[tokio::test]
    async fn what_is_known_is_kept_with_the_offset_and_the_key_of_the_hashes_for_good() {
        let (_dir, store) = with_calls(0).await;
        assert_eq!(store.hash_key([1; 16]).await.unwrap(), [1; 16]);
        assert_eq!(store.hash_key([2; 16]).await.unwrap(), [1; 16]);
        let key = |whom| Key { kind: Kind::CallsOfCaller, whom };
        let held = |milli| Held { at: Wall(9), count: Counted::Level(milli) };
        let kept = |kept: Vec<(Key, Held)>, gone| FraudEffects {
            changes: Changes { kept, gone },
            ..FraudEffects::default()
        };

        commit(&store, 1, kept(vec![(key(u64::MAX), held(5)), (key(2), held(6))], vec![])).await;
        commit(&store, 2, kept(vec![(key(2), held(7))], vec![key(u64::MAX)])).await;

        assert_eq!(store.known().await.unwrap(), [(key(2), held(7))]);
    }

    async fn commit(store: &SqliteStore, seq: u64, fraud: FraudEffects) {
        let at = |seq| Lsn { epoch: 1, seq };
        let to = Progress { offset: at(seq), replay_after: at(seq) };
        let from = (seq > 1).then(|| at(seq - 1));
        let commit = Commit {
            consumer: "fraud".into(),
            advance: Some(Advance { from, to }),
            effects: Effects { fraud, ..Effects::default() },
            letter: None,
            at: Wall(9),
        };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Written);
    }

    fn scored(reasons: &[(FraudReason, u8)]) -> Scored {
        let found = |(reason, points): &(FraudReason, u8)| Found {
            reason: *reason,
            points: *points,
            have: Some("7.2".into()),
            want: None,
        };
        let score = reasons.iter().map(|(_, points)| points).sum();
        Scored { score, reasons: reasons.iter().map(found).collect() }
    }

    fn of(call: u64, scored: Scored) -> ScoredCall {
        let binned = |side, id: &str, bin| Binned { side, id: id.into(), bin };
        ScoredCall {
            call: call_id(call),
            day: day_of(Wall(START_MS)),
            publisher: "p".into(),
            scored,
            binned: vec![binned(Side::Publisher, "p", 6), binned(Side::Target, "t", 5)],
        }
    }

    async fn with_calls(count: u64) -> (tempfile::TempDir, SqliteStore) {
        let dir = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(&dir.path().join("book.db")).await.unwrap();
        let calls = (1..=count).map(|n| Arc::new(Script::of(n).abandon_at(10).record()));
        let batch = Batch { calls: calls.collect(), ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();
        (dir, store)
    }
}
