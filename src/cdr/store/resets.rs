//! Caps that began anew.

use sqlx::{Row, SqliteConnection};

use super::rows::to_cbor;
use super::sqlite::{SqliteStore, decode};
use super::{Answer, DAY_MS, StoreError};
use crate::cdr::fact::CapReset;
use crate::time::Wall;

/// How long it is known that a cap did whose window is over.
const KEPT_DAYS: i64 = 400;
/// A clock that was ahead may be set back by so much.
const AFTER_WINDOW_DAYS: i64 = 2;

impl SqliteStore {
    /// See [`Book::resets`](super::Book::resets).
    pub(super) fn read_resets(&self, now: Wall) -> Answer<'_, Vec<(CapReset, Wall)>> {
        Box::pin(async move {
            let sql = "SELECT at, record FROM cap_reset WHERE ends_at IS NULL OR ends_at > ?
                 ORDER BY at, cap, win";
            let ended = now.0 - AFTER_WINDOW_DAYS * DAY_MS;
            let rows = sqlx::query(sql).bind(ended).fetch_all(&self.readers).await?;
            let read = |row| Ok((decode(row, "cap_reset")?, Wall(row.try_get("at")?)));
            rows.iter().map(read).collect()
        })
    }
}

/// The same one twice is one.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    resets: &[(CapReset, Wall)],
) -> Result<(), StoreError> {
    for (reset, at) in resets {
        sqlx::query(
            "INSERT INTO cap_reset (cap, win, at, ends_at, record) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (cap, win, at) DO NOTHING",
        )
        .bind(reset.cap.as_str())
        .bind(reset.window.as_str())
        .bind(at.0)
        .bind(reset.ends_at_ms)
        .bind(to_cbor(reset))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(super) async fn prune(connection: &mut SqliteConnection, now: Wall) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM cap_reset WHERE ends_at < ?")
        .bind(now.0 - KEPT_DAYS * DAY_MS)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cdr::fact::ResetPart;
    use crate::cdr::store::{Batch, Book};

    #[tokio::test]
    async fn a_reset_is_told_of_until_its_window_is_over_and_known_for_400_days() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(&dir.path().join("book.db")).await.unwrap();
        let daily = (reset("d:2026-03-17", Some(10 * DAY_MS)), Wall(9 * DAY_MS));
        let total = (reset("total", None), Wall(9 * DAY_MS + 1));
        let resets = vec![total.clone(), daily.clone(), daily.clone()];
        let batch = Arc::new(Batch { resets, ..Batch::default() });
        for _ in 0..2 {
            store.write(Arc::clone(&batch)).await.unwrap();
        }
        let told = async |days: i64| store.resets(Wall(days * DAY_MS)).await.unwrap();

        assert_eq!(told(11).await, [daily, total.clone()]);
        assert_eq!(told(12).await, std::slice::from_ref(&total));

        for (days, left) in [(410, 2), (411, 1)] {
            store.prune(Wall(days * DAY_MS)).await.unwrap();
            let rows = sqlx::query("SELECT count(*) AS n FROM cap_reset");
            let row = rows.fetch_one(&store.readers).await.unwrap();
            assert_eq!(row.get::<i64, _>("n"), left, "after {days} days");
        }
    }

    fn reset(window: &str, ends_at_ms: Option<i64>) -> CapReset {
        CapReset {
            cap: "target/a/connected".into(),
            window: window.into(),
            ends_at_ms,
            amount: 7,
            parts: vec![ResetPart { node: None, slice: None, level: 7 }],
            by: "ops".into(),
            why: "calls of a test".into(),
            key: None,
        }
    }
}
