//! What the book forgets.

use sqlx::Sqlite;

use super::resets;
use super::sqlite::{SqliteStore, first_id_at};
use super::{Answer, DAY_MS, StoreError};
use crate::time::Wall;

/// How long a deposit is told from a repetition by its key.
const DEPOSIT_KEY_DAYS: i64 = 30;

/// How long a session is kept after it expired: callers may be known by it for 30 days.
const SESSION_HISTORY_DAYS: i64 = 31;
/// Rows that are forgotten in one transaction.
const STEP: i64 = 5_000;
const SESSIONS_OVER: &str = "DELETE FROM ping_session WHERE session_id IN
     (SELECT session_id FROM ping_session WHERE expires_at < ? LIMIT ?)";
const ENRICHMENTS_OVER: &str = "DELETE FROM enrichment WHERE (session_id, source) IN
     (SELECT session_id, source FROM enrichment WHERE session_id < ? LIMIT ?)";
/// Of a call that is older nothing is found out any more, though nobody may have looked at it.
const DEGRADED_DAYS: i64 = 8;
const DEGRADED_OVER: &str = "DELETE FROM degraded_call WHERE call_id IN
     (SELECT call_id FROM degraded_call WHERE call_id < ? LIMIT ?)";
/// How long it is known what enrichers have cost.
const SPENT_DAYS: i64 = 400;

impl SqliteStore {
    /// See [`Book::prune`](super::Book::prune).
    pub(super) fn forget_what_is_over(&self, now: Wall) -> Answer<'_, ()> {
        Box::pin(async move {
            let days_ago = |days: i64| now.0 - days * DAY_MS;
            let mut writer = self.writer.lock().await;
            let windows = [
                ("i:*", 1),
                ("h:*", 2),
                ("d:*", 8),
                ("w:*", 15),
                ("m:*", 40),
                // The last attempt, of those that are to be so far apart.
                ("gap/*", 2),
                ("explored:*", 2),
            ];
            for (windows, days) in windows {
                sqlx::query("DELETE FROM cap_usage WHERE win GLOB ? AND updated_at < ?")
                    .bind(windows)
                    .bind(days_ago(days))
                    .execute(&mut *writer)
                    .await?;
            }
            // `e:14d/FROM` is as long as it says, and `p:FROM/TO` lasts until then on some clock.
            sqlx::query(
                "DELETE FROM cap_usage WHERE win GLOB 'e:*' AND updated_at < ? - 172800000 - 3600000 \
                 * CAST(substr(win, 3) AS INTEGER) * iif(instr(win, 'd/') > 0, 24, 1)",
            )
            .bind(now.0)
            .execute(&mut *writer)
            .await?;
            sqlx::query(
                "DELETE FROM cap_usage WHERE win GLOB 'p:*' \
                 AND substr(win, instr(win, '/') + 1) < strftime('%Y-%m-%d', ? / 1000, 'unixepoch')",
            )
            .bind(days_ago(2))
            .execute(&mut *writer)
            .await?;
            // A slice of `rolling:SECONDS/SLICE` counts as long as its window is, and a sixtieth more.
            sqlx::query(
                "DELETE FROM cap_usage WHERE win GLOB 'rolling:*' \
                 AND updated_at < ? - 2000 * CAST(substr(win, 9) AS INTEGER)",
            )
            .bind(now.0)
            .execute(&mut *writer)
            .await?;
            // A deposit, `key:MADE_AT:KEY`.
            sqlx::query(
                "DELETE FROM cap_usage WHERE win GLOB 'key:*' \
                 AND CAST(substr(win, 5) AS INTEGER) <= ?",
            )
            .bind(days_ago(DEPOSIT_KEY_DAYS))
            .execute(&mut *writer)
            .await?;
            resets::prune(&mut writer, now).await?;
            sqlx::query("DELETE FROM enricher_spent WHERE day < ?")
                .bind(days_ago(SPENT_DAYS).div_euclid(DAY_MS))
                .execute(&mut *writer)
                .await?;
            drop(writer);
            let degraded = first_id_at(Wall(days_ago(DEGRADED_DAYS)));
            self.forget_in_steps(DEGRADED_OVER, degraded).await?;
            self.forget_in_steps(SESSIONS_OVER, days_ago(SESSION_HISTORY_DAYS)).await?;
            // No session is longer than a week.
            let first = first_id_at(Wall(days_ago(SESSION_HISTORY_DAYS + 7)));
            self.forget_in_steps(ENRICHMENTS_OVER, first).await
        })
    }

    /// Of pings there are many: whoever else writes is let in between.
    async fn forget_in_steps<T>(&self, sql: &'static str, bound: T) -> Result<(), StoreError>
    where
        T: Clone + Send + sqlx::Type<Sqlite> + for<'q> sqlx::Encode<'q, Sqlite> + 'static,
    {
        loop {
            let query = sqlx::query(sql).bind(bound.clone()).bind(STEP);
            let forgotten = query.execute(&mut *self.writer.lock().await).await?.rows_affected();
            if forgotten < STEP.unsigned_abs() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cdr::enrichment::Enrichment;
    use crate::cdr::fact::{Lookup, PingAccepted};
    use crate::cdr::store::degraded::DegradedCalls;
    use crate::cdr::store::{Batch, Book, CapUsage};
    use crate::cdr::testing::{START_MS, book_of_calls, call_id, ping};
    use crate::id::SessionId;
    use crate::money::Money;

    #[tokio::test]
    async fn calls_that_nobody_has_looked_at_again_wait_for_eight_days() {
        let (_dir, store) = book_of_calls(0).await;
        let batch = Batch { degraded: vec![call_id(1), call_id(2)], ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();
        for (ms, left) in [(1, vec![call_id(1), call_id(2)]), (2, vec![call_id(2)])] {
            store.prune(Wall(START_MS + DEGRADED_DAYS * DAY_MS + ms)).await.unwrap();
            assert_eq!(store.degraded(9).await.unwrap(), left);
        }
    }

    #[tokio::test]
    async fn sessions_of_long_ago_are_forgotten_however_many_there_are() {
        let (_dir, store) = book_of_calls(0).await;
        let count = u16::try_from(STEP).unwrap() * 2 + 7;
        let sessions = (0..=count).map(|n| {
            let mut id = [0; 16];
            id[2..4].copy_from_slice(&n.to_be_bytes());
            let session = SessionId::from_bytes(id);
            // The last one lives a day longer.
            let expires_at_ms = START_MS + if n == count { DAY_MS } else { 0 };
            (PingAccepted { session, expires_at_ms, ..ping(1, 0) }, Wall(START_MS))
        });
        let enriched = (0..count).map(|n| {
            let mut id = [0; 16];
            id[2..4].copy_from_slice(&n.to_be_bytes());
            Enrichment {
                session: SessionId::from_bytes(id),
                source: "a".into(),
                at: Wall(START_MS),
                lookup: Lookup::Told,
                tags: vec![],
                cost: Money::ZERO,
            }
        });
        let batch = Batch {
            sessions: sessions.collect(),
            enriched: enriched.collect(),
            ..Batch::default()
        };
        store.write(Arc::new(batch)).await.unwrap();

        store.prune(Wall(START_MS + SESSION_HISTORY_DAYS * DAY_MS + 1)).await.unwrap();

        let mut left = vec![];
        for table in ["ping_session", "enrichment"] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            left.push(sqlx::query_scalar::<_, i64>(sql).fetch_one(&store.readers).await.unwrap());
        }
        assert_eq!(left, [1, 0]);
    }

    #[tokio::test]
    async fn windows_that_are_over_are_forgotten_and_totals_are_not() {
        let (_dir, store) = book_of_calls(0).await;
        let day_ms = 24 * 3_600_000;
        let [old, new] =
            [21 * day_ms, 21 * day_ms - 1].map(|ago| format!("key:{}:9:a", START_MS - ago));
        let used = [
            old.as_str(),
            new.as_str(),
            "d:2026-03-17",
            "m:2026-03",
            "e:12h/2026-03-17",
            "e:6d/2026-03-17",
            "e:7d/2026-03-17",
            "p:2026-03-01/2026-03-23T09:00",
            "p:2026-03-01/2026-03-24",
            "total",
            "gap/1773759852318",
            "rolling:3600/29562664",
            "rolling:2678400/39735",
        ];
        let used = used.map(|window| (("target/a".into(), window.into()), 3));
        let batch = Batch { used: used.into(), recorded_at: Wall(START_MS), ..Batch::default() };
        store.write(Arc::new(batch)).await.unwrap();

        store.prune(Wall(START_MS + 9 * day_ms)).await.unwrap();

        let left = [
            "e:7d/2026-03-17",
            new.as_str(),
            "m:2026-03",
            "p:2026-03-01/2026-03-24",
            "rolling:2678400/39735",
            "total",
        ]
        .map(|window| CapUsage { cap: "target/a".into(), window: window.into(), used: 3 });
        assert_eq!(store.usage().await.unwrap(), left);
    }
}
