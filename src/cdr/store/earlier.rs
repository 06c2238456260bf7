//! What is told of earlier calls: to rules about callers, and of how targets and ways to them did.

use smol_str::SmolStr;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows;
use super::sqlite::{SqliteStore, decode_column, first_id_at};
use super::{
    Answer, CountedCalls, DAY_MS, EarlierCall, PATIENCE_MS, StoreError, TRIED_DAYS, TriedTarget,
    TriedWay,
};
use crate::id::CallId;
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// Bound: the least id, the id before which they lie, how many. Calls that are up have rows too, but
/// what is known of those is not in them.
const EARLIER_CALLS: &str = "SELECT call_id, started_at, did, caller, campaign_id, publisher_id, \
     target_id, buyer_id, setup_ms, talk_ms, conversion_state, converted_ms, revenue_micros, \
     payout_micros, paid_after_ms, CASE WHEN leg_count > 1 AND EXISTS (
         SELECT 1 FROM cdr_leg WHERE cdr_leg.call_id = cdr.call_id AND result = 5
     ) THEN record END AS recovered
     FROM cdr WHERE call_id >= ? AND call_id < ? AND state <> 0
         AND did IS NOT NULL AND campaign_id IS NOT NULL AND publisher_id IS NOT NULL
     ORDER BY call_id DESC LIMIT ?";

const COUNTED: &str = "SELECT campaign_id, publisher_id, tried.target_id, tried.buyer_id, \
     started_at / 86400000 AS day, COUNT(*) AS dialed, SUM(connected) AS connected, \
     SUM(conversion_state >= 2 AND cdr.target_id = tried.target_id) AS converted,
     SUM(IIF(conversion_state >= 2 AND cdr.target_id = tried.target_id, \
         MAX(0, converted_ms - setup_ms), 0)) AS won_ms,
     SUM(IIF(conversion_state < 2 AND cdr.target_id = tried.target_id, talk_ms, 0)) AS lost_ms
     FROM (SELECT call_id, target_id, buyer_id, MAX(result IN (1, 5)) AS connected FROM cdr_leg
           WHERE call_id >= ?1 AND call_id < ?2 AND result <> 4
             AND hex(call_id) NOT IN (SELECT value FROM json_each(?3))
           GROUP BY call_id, target_id) AS tried
     JOIN cdr ON cdr.call_id = tried.call_id
     WHERE state <> 0 AND campaign_id IS NOT NULL AND publisher_id IS NOT NULL
     GROUP BY campaign_id, publisher_id, tried.target_id, tried.buyer_id, day";

/// Whom it is grouped by comes before it. Bound: now, the least id, how long a caller waits who says
/// something by giving up. The reasons of attempts that failed by what the target did come behind it.
const TRIED: &str = "AS whom, MAX(0, (?1 - started_at) / 86400000) AS days_ago, \
     COUNT(*) AS attempts, SUM(result IN (1, 5)) AS answered FROM cdr_leg \
     WHERE call_id >= ?2 AND call_id NOT IN (SELECT call_id FROM open_call) AND (result IN (1, 5) OR (result = 3 AND ring_ms >= ?3) \
         OR result = 2 AND reason IN";

impl SqliteStore {
    /// See [`Book::earlier_calls`](super::Book::earlier_calls).
    pub(super) fn read_earlier_calls(
        &self,
        since: Wall,
        before: Option<CallId>,
        limit: u32,
    ) -> Answer<'_, Vec<EarlierCall>> {
        Box::pin(async move {
            let before = before.map_or_else(|| vec![u8::MAX; 16], |it| it.as_bytes().to_vec());
            let rows = sqlx::query(EARLIER_CALLS)
                .bind(first_id_at(since))
                .bind(before)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(earlier_call).collect()
        })
    }

    /// See [`Book::counted`](super::Book::counted).
    pub(super) fn read_counted(
        &self,
        since: Wall,
        until: Wall,
        but: Vec<CallId>,
    ) -> Answer<'_, Vec<CountedCalls>> {
        Box::pin(async move {
            let but: Vec<_> = but.iter().map(|call| format!("{:X}", call.0.simple())).collect();
            let rows = sqlx::query(COUNTED)
                .bind(first_id_at(since))
                .bind(first_id_at(until))
                .bind(serde_json::json!(but).to_string())
                .fetch_all(&self.readers)
                .await?;
            let count = |row: &SqliteRow, column| -> Result<u32, StoreError> {
                Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
            };
            let sum_ms = |row: &SqliteRow, column| -> Result<u64, StoreError> {
                let sum = row.try_get::<Option<i64>, _>(column)?;
                Ok(sum.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0))
            };
            rows.iter()
                .map(|row| {
                    Ok(CountedCalls {
                        campaign: row.try_get::<&str, _>("campaign_id")?.into(),
                        publisher: row.try_get::<&str, _>("publisher_id")?.into(),
                        target: row.try_get::<&str, _>("target_id")?.into(),
                        buyer: row.try_get::<&str, _>("buyer_id")?.into(),
                        day: row.try_get("day")?,
                        dialed: count(row, "dialed")?,
                        connected: count(row, "connected")?,
                        converted: count(row, "converted")?,
                        won_ms: sum_ms(row, "won_ms")?,
                        lost_ms: sum_ms(row, "lost_ms")?,
                    })
                })
                .collect()
        })
    }

    /// See [`Book::tried`](super::Book::tried).
    pub(super) fn read_tried(&self, now: Wall) -> Answer<'_, Vec<TriedTarget>> {
        Box::pin(async move {
            let counted = self.tried_by("target_id", "way_failed = 0", now).await?;
            let tried = |(whom, days_ago, attempts, answered): (SmolStr, u32, u32, u32)| {
                let target = whom.as_str().into();
                TriedTarget { target, days_ago, attempts, answered }
            };
            Ok(counted.into_iter().map(tried).collect())
        })
    }

    /// See [`Book::tried_ways`](super::Book::tried_ways).
    pub(super) fn read_tried_ways(&self, now: Wall) -> Answer<'_, Vec<TriedWay>> {
        Box::pin(async move {
            let counted = self.tried_by("way", "way IS NOT NULL", now).await?;
            let tried = |(way, days_ago, attempts, answered)| TriedWay {
                way,
                days_ago,
                attempts,
                answered,
            };
            Ok(counted.into_iter().map(tried).collect())
        })
    }

    /// How attempts of the last days went that tell something, by a column, where a condition holds: days
    /// ago, attempts, answered.
    async fn tried_by(
        &self,
        column: &str,
        only: &str,
        now: Wall,
    ) -> Result<Vec<(SmolStr, u32, u32, u32)>, StoreError> {
        let reasons = TriedTarget::REASONS.map(|reason| format!("'{}'", reason.code()));
        let reasons = reasons.join(", ");
        let tried =
            format!("SELECT {column} {TRIED} ({reasons})) AND {only} GROUP BY whom, days_ago");
        let since = Wall(now.0.saturating_sub(i64::from(TRIED_DAYS) * DAY_MS));
        let rows = sqlx::query(sqlx::AssertSqlSafe(tried))
            .bind(now.0)
            .bind(first_id_at(since))
            .bind(rows::integer(PATIENCE_MS))
            .fetch_all(&self.readers)
            .await?;
        let count = |row: &SqliteRow, column| -> Result<u32, StoreError> {
            Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
        };
        let counted = |row: &SqliteRow| -> Result<_, StoreError> {
            let whom = SmolStr::new(row.try_get::<&str, _>("whom")?);
            Ok((whom, count(row, "days_ago")?, count(row, "attempts")?, count(row, "answered")?))
        };
        rows.iter().map(counted).collect()
    }
}

fn earlier_call(row: &SqliteRow) -> Result<EarlierCall, StoreError> {
    // Of a call that went on from one target to the next its row does not tell all.
    if row.try_get::<Option<&[u8]>, _>("recovered")?.is_some()
        && let Some(earlier) = EarlierCall::of(&decode_column(row, "recovered", "cdr")?)
    {
        return Ok(earlier);
    }
    let id: [u8; 16] =
        row.try_get::<&[u8], _>("call_id")?.try_into().map_err(|_| StoreError::Damaged {
            table: "cdr",
            row: String::from("?"),
            detail: String::from("its call_id has not 16 bytes"),
        })?;
    let call = CallId::from_bytes(id);
    let number = |column: &str| -> Result<Option<PhoneNumber>, StoreError> {
        let digits: Option<i64> = row.try_get(column)?;
        Ok(digits.and_then(|it| PhoneNumber::from_digits(u64::try_from(it).ok()?)))
    };
    let dialed = number("did")?.ok_or_else(|| StoreError::Damaged {
        table: "cdr",
        row: call.to_string(),
        detail: String::from("its did is no telephone number"),
    })?;
    let at = Wall(row.try_get("started_at")?);
    let talk_ms: Option<i64> = row.try_get("talk_ms")?;
    let setup_ms: i64 = row.try_get::<Option<i64>, _>("setup_ms")?.unwrap_or(0);
    let target: Option<&str> = row.try_get("target_id")?;
    let buyer: Option<&str> = row.try_get("buyer_id")?;
    let answered = talk_ms
        .and_then(|_| target.zip(buyer))
        .map(|(target, buyer)| (target.into(), buyer.into(), Wall(at.0.saturating_add(setup_ms))));
    let converted = row.try_get::<i64, _>("conversion_state")? >= 2;
    // Rows of before say only that it did, which was after the answer.
    let converted_ms = row.try_get::<Option<i64>, _>("converted_ms")?.unwrap_or(setup_ms);
    let converted_at = Wall(at.0.saturating_add(converted_ms));
    // Rows of before say only that it was.
    let paid_after_ms = row.try_get::<Option<i64>, _>("paid_after_ms")?.unwrap_or(0);
    let is_paid = row.try_get::<i64, _>("payout_micros")? > 0;
    Ok(EarlierCall {
        call,
        at,
        caller: number("caller")?,
        dialed,
        campaign: row.try_get::<&str, _>("campaign_id")?.into(),
        publisher: row.try_get::<&str, _>("publisher_id")?.into(),
        answered,
        converted_at: converted.then_some(converted_at),
        talk_ms: talk_ms.and_then(|ms| u64::try_from(ms).ok()),
        charges: row.try_get::<i64, _>("revenue_micros")? > 0,
        pays_after_ms: is_paid.then(|| u32::try_from(paid_after_ms).unwrap_or(u32::MAX)),
        left: vec![],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::cdr::fact::EndedEarly;
    use crate::cdr::record::{CallRecord, CallState};
    use crate::cdr::store::{Batch, Book, CallFilter, CallStore};
    use crate::cdr::testing::{START_MS, Script, book_of_calls, call_id};
    use crate::reason::Reason;

    #[tokio::test]
    async fn an_earlier_call_is_told_as_its_record_has_it() {
        let (_dir, store) = book_of_calls(10).await;
        let records = store.list(CallFilter::default(), None, 200).await.unwrap();
        let expected: Vec<_> = records.iter().filter_map(EarlierCall::of).collect();

        let earlier = store.earlier_calls(Wall(0), None, 100).await.unwrap();

        assert_eq!(earlier, expected);
        let converted: Vec<_> = earlier.iter().filter_map(|call| call.converted_at).collect();
        assert!(!converted.is_empty());
        let answered =
            earlier.iter().filter_map(|it| Some((it.converted_at?, it.answered.as_ref()?.2)));
        assert!(answered.into_iter().all(|(converted, answered)| converted > answered));
        let paid: Vec<_> = earlier.iter().filter_map(|call| call.pays_after_ms).collect();
        assert_eq!(paid, [90_000; 2], "they were owed after 90 s");
    }

    #[tokio::test]
    async fn a_call_that_went_on_is_told_with_whom_it_left() {
        let (_dir, store) = book_of_calls(1).await;
        let left = Script::of(2).dial(1).answer_at(1_000);
        let left = left.then(4_000, EndedEarly { leg: 1, q850: None });
        let nobody = left.clone().end_at(9_000).record();
        let again = left.dial(2).answer_at(6_000).end_at(90_000).record();
        let records = [nobody, CallRecord { call: call_id(3), ..again }];
        let expected = records.each_ref().map(|it| EarlierCall::of(it).unwrap());
        let calls = records.map(Arc::new).to_vec();
        store.write(Arc::new(Batch { calls, ..Batch::default() })).await.unwrap();

        let earlier = store.earlier_calls(Wall(0), None, 2).await.unwrap();

        assert_eq!(earlier, [expected[1].clone(), expected[0].clone()]);
        assert_eq!((expected[0].talk_ms, &expected[0].left[..]), (Some(3_000), &[][..]));
        let of_first = expected[1].left.iter().map(|it| (it.0.as_str(), it.3));
        assert_eq!(of_first.collect::<Vec<_>>(), [("tgt_summit", 3_000)]);
        let (since, until) = (Wall(START_MS), Wall(i64::MAX));
        let counted = store.counted(since, until, vec![]).await.unwrap();
        assert_eq!(
            counted.iter().map(|it| (it.dialed, it.connected)).collect::<Vec<_>>(),
            [(3, 3)]
        );
    }

    #[tokio::test]
    async fn a_call_that_is_up_is_no_earlier_one_however_long_it_has_been() {
        let (_dir, store) = book_of_calls(1).await;
        let up = Script::of(2).dial(1).answer_at(1_000).record();
        assert_eq!(up.state, CallState::Open);
        let calls = vec![Arc::new(up)];
        store.write(Arc::new(Batch { calls, ..Batch::default() })).await.unwrap();

        let earlier = store.earlier_calls(Wall(0), None, 100).await.unwrap();

        assert_eq!(earlier.iter().map(|it| it.call).collect::<Vec<_>>(), [call_id(1)]);
    }

    #[tokio::test]
    async fn attempts_are_told_of_as_their_records_have_them_for_a_week() {
        let (_dir, store) = book_of_calls(10).await;
        let (a, b) = (Some("trunk/a"), Some("192.0.2.9:5070"));
        let first = Script::of(11).dial_over(1, a, 0);
        let both = first.fail_at(900, 503, Reason::AttemptCarrierFailed).dial_over(2, b, 1);
        let both = both.answer_at(1_000).end_at(9_000).record();
        assert_eq!(TriedTarget::of(&both, both.started_at()).len(), 1, "it was reached once");
        let calls = vec![Arc::new(both)];
        store.write(Arc::new(Batch { calls, ..Batch::default() })).await.unwrap();
        let records = store.list(CallFilter::default(), None, 200).await.unwrap();

        for days in [0, 6, 7] {
            let now = Wall(START_MS + 60_000 + days * DAY_MS);
            let mut expected: BTreeMap<_, [u32; 2]> = BTreeMap::new();
            for it in records.iter().flat_map(|record| TriedTarget::of(record, now)) {
                let [attempts, answered] = expected.entry((it.target, it.days_ago)).or_default();
                (*attempts, *answered) = (*attempts + it.attempts, *answered + it.answered);
            }

            let tried = store.tried(now).await.unwrap();

            let counts = |it: TriedTarget| ((it.target, it.days_ago), [it.attempts, it.answered]);
            assert_eq!(tried.into_iter().map(counts).collect::<BTreeMap<_, _>>(), expected);
            assert_eq!(expected.is_empty(), days == 7);

            let of_ways = records.iter().flat_map(|record| TriedWay::of(record, now));
            let mut expected: BTreeMap<_, [u32; 2]> = BTreeMap::new();
            for it in of_ways {
                let [attempts, answered] = expected.entry((it.way, it.days_ago)).or_default();
                (*attempts, *answered) = (*attempts + it.attempts, *answered + it.answered);
            }
            let tried = store.tried_ways(now).await.unwrap();
            let counts = |it: TriedWay| ((it.way, it.days_ago), [it.attempts, it.answered]);
            assert_eq!(tried.into_iter().map(counts).collect::<BTreeMap<_, _>>(), expected);
            assert_eq!(expected.len(), if days == 7 { 0 } else { 2 });
        }
    }
}
