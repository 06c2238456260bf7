//! What is kept of how sessions were enriched, and of what that cost.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{self, StoredTags, integer};
use super::sqlite::{SqliteStore, decode_column, unsigned};
use super::{Answer, StoreError};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::Lookup;
use crate::id::SessionId;
use crate::money::Money;
use crate::time::Wall;

/// What sources said of callers, for whoever reads it.
pub trait Enrichments: Send + Sync {
    /// Of one session, in the order of their names.
    fn of_session(&self, session: SessionId) -> Answer<'_, Vec<Enrichment>>;
}

/// What questions have cost.
pub trait Spending: Send + Sync {
    /// How many were asked on a day of UTC, counted from the Unix epoch, and what they cost.
    fn spent(&self, enricher: &str, day: i64) -> Answer<'_, (u64, Money)>;

    /// Writes down what all of the day come to. To be done before the last of them is asked.
    fn spend(&self, enricher: &str, day: i64, asked: u64, cost: Money) -> Answer<'_, ()>;
}

/// Of sessions that expire at the bound instant or later what answers there are, a session's in their order.
pub(super) const ANSWERED: &str = "SELECT e.* FROM ping_session AS p
     JOIN enrichment AS e ON e.session_id = p.session_id
     WHERE p.expires_at >= ? AND e.lookup < 4 ORDER BY e.at, e.session_id, e.source";

impl Enrichments for SqliteStore {
    fn of_session(&self, session: SessionId) -> Answer<'_, Vec<Enrichment>> {
        Box::pin(async move {
            let sql = "SELECT * FROM enrichment WHERE session_id = ? ORDER BY source";
            let query = sqlx::query(sql).bind(session.as_bytes().to_vec());
            let rows = query.fetch_all(&self.readers).await?;
            rows.iter().map(read).collect()
        })
    }
}

impl Spending for SqliteStore {
    fn spent(&self, enricher: &str, day: i64) -> Answer<'_, (u64, Money)> {
        let enricher = enricher.to_owned();
        Box::pin(async move {
            let sql =
                "SELECT asked, cost_micros FROM enricher_spent WHERE enricher = ? AND day = ?";
            let query = sqlx::query(sql).bind(enricher).bind(day);
            let row = query.fetch_optional(&self.readers).await?;
            let Some(row) = row else { return Ok((0, Money::ZERO)) };
            Ok((unsigned(&row, "asked")?, Money(row.try_get("cost_micros")?)))
        })
    }

    fn spend(&self, enricher: &str, day: i64, asked: u64, cost: Money) -> Answer<'_, ()> {
        let enricher = enricher.to_owned();
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            sqlx::query(
                "INSERT INTO enricher_spent (enricher, day, asked, cost_micros) VALUES (?, ?, ?, ?)
                 ON CONFLICT (enricher, day) DO UPDATE SET
                     asked = max(asked, excluded.asked),
                     cost_micros = max(cost_micros, excluded.cost_micros)",
            )
            .bind(enricher)
            .bind(day)
            .bind(integer(asked))
            .bind(cost.0)
            .execute(&mut *writer)
            .await?;
            Ok(())
        })
    }
}

pub(super) fn read(row: &SqliteRow) -> Result<Enrichment, StoreError> {
    let session: &[u8] = row.try_get("session_id")?;
    let damaged = |detail: &str| StoreError::Damaged {
        table: "enrichment",
        row: rows::hex(session),
        detail: detail.to_owned(),
    };
    let lookup: i64 = row.try_get("lookup")?;
    let known = Lookup::ALL.into_iter().find(|it| *it as i64 == lookup);
    let StoredTags(tags) = decode_column(row, "tags", "enrichment")?;
    Ok(Enrichment {
        session: SessionId::from_bytes(
            session.try_into().map_err(|_| damaged("its session_id has not 16 bytes"))?,
        ),
        source: row.try_get::<&str, _>("source")?.into(),
        at: Wall(row.try_get("at")?),
        lookup: known.ok_or_else(|| damaged("its lookup is none of those that are known"))?,
        tags,
        cost: Money(row.try_get("cost_micros")?),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cdr::consumer::Effects;
    use crate::cdr::journal::Lsn;
    use crate::cdr::store::consumers::{Advance, Commit, Committed, ConsumerBook};
    use crate::cdr::store::{Batch, Book, Progress};

    fn enrichment(source: &str, lookup: Lookup, value: &str) -> Enrichment {
        Enrichment {
            session: SessionId::from_bytes([7; 16]),
            source: source.into(),
            at: Wall(1_000),
            lookup,
            tags: vec![("line_type".into(), value.into())],
            cost: Money(4_000),
        }
    }

    async fn store() -> (tempfile::TempDir, SqliteStore) {
        let dir = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(&dir.path().join("book.db")).await.unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn what_a_fact_says_stays_and_goes_before_what_a_consumer_found_without_one() {
        let (_dir, store) = store().await;
        let at = Lsn { epoch: 1, seq: 9 };
        let commit = |from, enriched| Commit {
            consumer: "enrichment".into(),
            advance: Some(Advance { from, to: Progress { offset: at, replay_after: at } }),
            effects: Effects { enriched, ..Effects::default() },
            letter: None,
            at: Wall(9),
        };
        let told = enrichment("a", Lookup::Told, "mobile");
        let batch = Batch { enriched: vec![told.clone()], ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();
        let found = vec![
            enrichment("a", Lookup::Resting, "nothing"),
            enrichment("b", Lookup::Resting, "nothing"),
        ];

        let committed = store.commit(commit(None, found.clone())).await.unwrap();
        // As after a crash, by somebody who does not know.
        let again = store.commit(commit(None, vec![enrichment("c", Lookup::Told, "x")])).await;

        assert_eq!((committed, again.unwrap()), (Committed::Written, Committed::Stale));
        let session = SessionId::from_bytes([7; 16]);
        assert_eq!(store.of_session(session).await.unwrap(), [told.clone(), found[1].clone()]);

        let later = enrichment("b", Lookup::Told, "landline");
        let batch = Batch { enriched: vec![later.clone(), later.clone()], ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();
        assert_eq!(store.of_session(session).await.unwrap(), [told, later]);
    }

    #[tokio::test]
    async fn what_was_spent_is_known_by_day_and_never_less_than_it_was() {
        let (_dir, store) = store().await;
        store.spend("a", 20_000, 3, Money(12_000)).await.unwrap();
        store.spend("a", 20_000, 2, Money(8_000)).await.unwrap();
        store.spend("a", 20_001, 1, Money(4_000)).await.unwrap();

        assert_eq!(store.spent("a", 20_000).await.unwrap(), (3, Money(12_000)));
        assert_eq!(store.spent("a", 20_001).await.unwrap(), (1, Money(4_000)));
        assert_eq!(store.spent("b", 20_000).await.unwrap(), (0, Money::ZERO));
    }
}
