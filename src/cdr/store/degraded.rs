//! Calls that were matched without the store that servers share, until they have been looked at again.

use sqlx::{Row, SqliteConnection};

use super::rows;
use super::sqlite::SqliteStore;
use super::{Answer, Batch, StoreError};
use crate::id::CallId;

/// What is to be looked at again. The projection enters a call with its record, and takes it out with the fact
/// that says what came of it.
pub trait DegradedCalls: Send + Sync {
    /// Calls that are over, the earliest first, at most `limit`.
    fn degraded(&self, limit: u32) -> Answer<'_, Vec<CallId>>;
}

impl DegradedCalls for SqliteStore {
    fn degraded(&self, limit: u32) -> Answer<'_, Vec<CallId>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT call_id FROM degraded_call ORDER BY call_id LIMIT ?")
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(|row| call_of(row.try_get("call_id")?)).collect()
        })
    }
}

fn call_of(id: &[u8]) -> Result<CallId, StoreError> {
    let bytes = <[u8; 16]>::try_from(id).map_err(|_| StoreError::Damaged {
        table: "degraded_call",
        row: rows::hex(id),
        detail: format!("an id has 16 bytes, and this has {}", id.len()),
    })?;
    Ok(CallId::from_bytes(bytes))
}

/// The same twice is once.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<(), StoreError> {
    let enter = "INSERT INTO degraded_call (call_id) VALUES (?) ON CONFLICT (call_id) DO NOTHING";
    let take_out = "DELETE FROM degraded_call WHERE call_id = ?";
    for (sql, calls) in [(enter, &batch.degraded), (take_out, &batch.rematched)] {
        for call in calls {
            sqlx::query(sql).bind(call.as_bytes().to_vec()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::testing::{book_of_calls, call_id};

    #[tokio::test]
    async fn a_call_is_there_once_until_it_was_looked_at() {
        let (_dir, store) = book_of_calls(0).await;
        let ids = |all: &[u64]| all.iter().map(|n| call_id(*n)).collect::<Vec<_>>();
        let batch = |degraded: &[u64], rematched: &[u64]| Batch {
            degraded: ids(degraded),
            rematched: ids(rematched),
            ..Batch::default()
        };
        for written in [batch(&[3, 1, 2], &[]), batch(&[2, 4, 5], &[1, 5])] {
            let mut writer = store.writer.lock().await;
            write(&mut writer, &written).await.unwrap();
        }

        assert_eq!(store.degraded(2).await.unwrap(), ids(&[2, 3]));
        assert_eq!(store.degraded(9).await.unwrap(), ids(&[2, 3, 4]));
    }
}
