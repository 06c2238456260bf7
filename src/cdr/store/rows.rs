//! What is written to which column, many rows to a statement.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

use super::{Batch, Moved, StoreError};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::PingAccepted;
use crate::cdr::record::{Attempt, CallRecord};
use crate::cdr::rollup::{Counts, RollupKey};
use crate::codec;
use crate::id::{CallId, SessionId};
use crate::time::Wall;

/// Rows per statement: few sizes, so that each statement is prepared once and reused.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Version of what `cdr.record` holds.
const SCHEMA_VERSION: i64 = 1;

/// Statements that write many rows.
pub(super) struct Tables {
    cdr: Statement,
    cdr_leg: Statement,
    decision: Statement,
    open_call: Statement,
    open_call_over: Statement,
    cap_usage: Statement,
    ping_session: Statement,
    ping_session_consumed: Statement,
    rollup: Statement,
    ping_session_moved: Statement,
    enrichment: Statement,
}

/// A statement over many rows, in each of the sizes of [`CHUNKS`].
struct Statement {
    sizes: [Arc<str>; CHUNKS.len()],
    /// Values per row.
    width: usize,
}

impl Statement {
    fn new(head: &str, row: &str, tail: &str) -> Self {
        let sizes = CHUNKS.map(|rows| format!("{head}{}{tail}", vec![row; rows].join(",")).into());
        Self { sizes, width: row.matches('?').count() }
    }

    /// `columns` are separated by blanks; `conflict` is what follows the rows.
    fn insert(table: &str, columns: &str, conflict: &str) -> Self {
        let columns: Vec<&str> = columns.split_whitespace().collect();
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        let columns = columns.join(",");
        Self::new(&format!("INSERT INTO {table} ({columns}) VALUES "), &row, conflict)
    }

    /// Writes only rows that are new or of a higher `rev`.
    fn insert_newer(table: &str, columns: &str, key: &str) -> Self {
        let set: Vec<String> =
            columns.split_whitespace().map(|name| format!("{name} = excluded.{name}")).collect();
        let set = set.join(", ");
        let guard =
            format!(" ON CONFLICT ({key}) DO UPDATE SET {set} WHERE excluded.rev > {table}.rev");
        Self::insert(table, columns, &guard)
    }

    /// Adds `sums` to those of the row with the same `key`, columns separated by blanks.
    fn insert_sums(table: &str, key: &str, sums: &[&str]) -> Self {
        let set: Vec<_> =
            sums.iter().map(|name| format!("{name} = {name} + excluded.{name}")).collect();
        let conflict = key.split_whitespace().collect::<Vec<_>>().join(", ");
        let guard = format!(" ON CONFLICT ({conflict}) DO UPDATE SET {}", set.join(", "));
        Self::insert(table, &format!("{key} {}", sums.join(" ")), &guard)
    }

    async fn write<T>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Row, &T),
    ) -> Result<(), StoreError> {
        for (size, statement) in CHUNKS.iter().zip(&self.sizes) {
            while rows.len() >= *size {
                let (chunk, rest) = rows.split_at(*size);
                let mut row = Row::default();
                row.0.reserve(size * self.width, 0);
                for item in chunk {
                    bind(&mut row, item);
                }
                sqlx::query_with(AssertSqlSafe(Arc::clone(statement)), row.0)
                    .execute(&mut *connection)
                    .await?;
                rows = rest;
            }
        }
        Ok(())
    }
}

/// Values in the order of the columns.
#[derive(Default)]
struct Row(SqliteArguments);

impl Row {
    fn put<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        self.0.add(value).expect("integers, texts and byte strings can all be bound");
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.put(Arc::<str>::from(text))
    }

    fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.put(None::<i64>),
        }
    }

    fn maybe(&mut self, number: Option<u64>) -> &mut Self {
        self.put(number.map(integer))
    }
}

const CDR: &str = "call_id started_at rev state node_id node_epoch seq trunk_id sip_call_id did \
    caller publisher_id campaign_id session_id match_method buyer_id target_id leg_count sip_code \
    q850 end_party end_reason setup_ms pdd_ms ring_ms talk_ms billed_s cost_micros revenue_micros \
    payout_micros currency conversion_state flags explain_ref recorded_at schema_ver record codec converted_ms \
    paid_after_ms";

const CDR_LEG: &str = "call_id leg rev target_id buyer_id uri started_at pdd_ms ring_ms result \
    sip_code q850 reason way way_failed";

const ROLLUP_KEY: &str = "minutes bucket campaign_id publisher_id buyer_id target_id";

const ENRICHMENT: &str = "session_id source at lookup cost_micros tags";

const PING_SESSION: &str = "session_id ping_id publisher_id campaign_id caller number accepted_at \
    expires_at record has_reply";

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            cdr: Statement::insert_newer("cdr", CDR, "call_id"),
            cdr_leg: Statement::insert_newer("cdr_leg", CDR_LEG, "call_id, leg"),
            decision: Statement::insert(
                "decision",
                "ref record",
                " ON CONFLICT (ref) DO UPDATE SET record = excluded.record",
            ),
            open_call: Statement::insert(
                "open_call",
                "call_id record",
                " ON CONFLICT (call_id) DO UPDATE SET record = excluded.record",
            ),
            open_call_over: Statement::new("DELETE FROM open_call WHERE call_id IN (", "?", ")"),
            cap_usage: Statement::insert(
                "cap_usage",
                "cap win used updated_at",
                // A sum of integers that does not fit is a float, and is kept as what does.
                " ON CONFLICT (cap, win) DO UPDATE SET
                     used = CASE typeof(used + excluded.used) WHEN 'integer'
                         THEN used + excluded.used
                         ELSE 9223372036854775807 END,
                     updated_at = excluded.updated_at",
            ),
            ping_session: Statement::insert(
                "ping_session",
                PING_SESSION,
                " ON CONFLICT (session_id) DO NOTHING",
            ),
            ping_session_consumed: Statement::new(
                "WITH consumed (id, at) AS (VALUES ",
                "(?,?)",
                ") UPDATE ping_session SET consumed_at = consumed.at FROM consumed
                     WHERE session_id = consumed.id AND consumed_at IS NULL",
            ),
            // What a fact says goes before what a consumer found without one.
            enrichment: Statement::insert(
                "enrichment",
                ENRICHMENT,
                " ON CONFLICT (session_id, source) DO UPDATE SET at = excluded.at,
                     lookup = excluded.lookup, cost_micros = excluded.cost_micros,
                     tags = excluded.tags WHERE excluded.lookup < 4 AND enrichment.lookup >= 4",
            ),
            rollup: Statement::insert_sums("rollup", ROLLUP_KEY, &Counts::NAMES),
            ping_session_moved: Statement::new(
                "WITH moved (id, until, number, has_lost, caller, tags) AS (VALUES ",
                "(?,?,?,?,?,?)",
                ") UPDATE ping_session SET expires_at = moved.until,
                     number = CASE moved.has_lost WHEN 0
                         THEN coalesce(moved.number, ping_session.number) END,
                     caller = coalesce(ping_session.caller, moved.caller),
                     tags = coalesce(moved.tags, ping_session.tags)
                     FROM moved WHERE session_id = moved.id",
            ),
        }
    }

    pub(super) async fn write_calls(
        &self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let bind = |row: &mut Row, call: &Arc<CallRecord>| bind_call(row, call, batch);
        self.cdr.write(connection, &batch.calls, bind).await?;

        let legs: Vec<(&CallRecord, &Attempt)> = batch
            .calls
            .iter()
            .flat_map(|call| call.attempts.iter().map(|attempt| (&**call, attempt)))
            .collect();
        self.cdr_leg.write(connection, &legs, |row, (call, leg)| bind_leg(row, call, leg)).await?;

        let bind = |row: &mut Row, (key, record): &(u64, bytes::Bytes)| {
            row.put(integer(*key)).put(lz4_flex::compress_prepend_size(record));
        };
        self.decision.write(connection, &batch.decisions, bind).await
    }

    pub(super) async fn write_open(
        &self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let bind = |row: &mut Row, call: &Arc<CallRecord>| {
            row.put(call.call.as_bytes().to_vec()).put(to_cbor(&**call));
        };
        self.open_call.write(connection, &batch.parked, bind).await?;
        let bind = |row: &mut Row, call: &CallId| {
            row.put(call.as_bytes().to_vec());
        };
        self.open_call_over.write(connection, &batch.unparked, bind).await
    }

    pub(super) async fn write_usage(
        &self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let used: Vec<_> = batch.used.iter().collect();
        let bind = |row: &mut Row, ((cap, window), used): &(&(_, _), &i64)| {
            let (cap, window): (&smol_str::SmolStr, &smol_str::SmolStr) = (cap, window);
            row.text(cap).text(window).put(**used).put(batch.recorded_at.0);
        };
        self.cap_usage.write(connection, &used, bind).await
    }

    pub(super) async fn write_sessions(
        &self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let bind = |row: &mut Row, (ping, at): &(PingAccepted, Wall)| {
            row.put(ping.session.as_bytes().to_vec())
                .put(ping.ping.as_bytes().to_vec())
                .text(ping.publisher.as_str())
                .text(ping.campaign.as_str())
                .maybe(ping.caller.map(|number| number.digits()))
                .maybe(ping.number.map(|number| number.digits()))
                .put(at.0)
                .put(ping.expires_at_ms)
                .put(to_cbor(ping))
                .put(i64::from(ping.reply.is_some()));
        };
        self.ping_session.write(connection, &batch.sessions, bind).await?;
        let moved: Vec<_> = batch.moved.iter().collect();
        let bind = |row: &mut Row, (session, moved): &(&SessionId, &Moved)| {
            let tags = (!moved.tags.is_empty()).then(|| to_cbor(&StoredTags(moved.tags.clone())));
            row.put(session.as_bytes().to_vec())
                .put(moved.expires_at.0)
                .maybe(moved.number.map(|number| number.digits()))
                .put(i64::from(moved.has_lost_number))
                .maybe(moved.caller.map(|number| number.digits()))
                .put(tags);
        };
        self.ping_session_moved.write(connection, &moved, bind).await?;
        let bind = |row: &mut Row, (session, at): &(SessionId, Wall)| {
            row.put(session.as_bytes().to_vec()).put(at.0);
        };
        self.ping_session_consumed.write(connection, &batch.consumed, bind).await
    }

    pub(super) async fn write_enriched(
        &self,
        connection: &mut SqliteConnection,
        enriched: &[Enrichment],
    ) -> Result<(), StoreError> {
        let bind = |row: &mut Row, it: &Enrichment| {
            row.put(it.session.as_bytes().to_vec())
                .text(&it.source)
                .put(it.at.0)
                .put(it.lookup as i64)
                .put(it.cost.0)
                .put(to_cbor(&StoredTags(it.tags.clone())));
        };
        self.enrichment.write(connection, enriched, bind).await
    }

    /// Adds to buckets of so many minutes.
    pub(super) async fn write_rollups(
        &self,
        connection: &mut SqliteConnection,
        minutes: i64,
        buckets: &[(RollupKey, Counts)],
    ) -> Result<(), StoreError> {
        let bind = |row: &mut Row, (key, counts): &(RollupKey, Counts)| {
            row.put(minutes).put(key.minute);
            for id in [&key.campaign, &key.publisher, &key.buyer, &key.target] {
                row.text(id);
            }
            for value in counts.values() {
                row.put(value);
            }
        };
        self.rollup.write(connection, buckets, bind).await
    }
}

/// What `ping_session.tags` holds.
#[derive(minicbor::Encode, minicbor::Decode)]
pub(super) struct StoredTags(
    #[cbor(n(0), with = "codec::tags")] pub(super) Vec<(smol_str::SmolStr, smol_str::SmolStr)>,
);

fn bind_call(row: &mut Row, call: &CallRecord, batch: &Batch) {
    let attempt = call.attempt();
    row.put(call.call.as_bytes().to_vec())
        .put(call.started_at().0)
        .put(i64::from(call.rev))
        .put(call.state as i64)
        .put(i64::from(batch.node))
        .put(integer(call.last.epoch))
        .put(integer(call.last.seq))
        .maybe_text(call.trunk.as_ref().map(|id| id.as_str()))
        .text(&call.sip_call_id)
        .maybe(call.did.map(|number| number.digits()))
        .maybe(call.caller.map(|number| number.digits()))
        .maybe_text(call.publisher.as_ref().map(|id| id.as_str()))
        .maybe_text(call.campaign.as_ref().map(|id| id.as_str()))
        .put(call.session.map(|id| id.as_bytes().to_vec()))
        .text(&call.match_method)
        .maybe_text(attempt.map(|attempt| attempt.buyer.as_str()))
        .maybe_text(attempt.map(|attempt| attempt.target.as_str()))
        .put(integer(call.attempts.len() as u64))
        .maybe(call.status.map(u64::from))
        .maybe(call.q850.map(u64::from))
        .maybe(call.end_party.map(|party| party as u64))
        .maybe_text(call.end_reason.map(|reason| reason.code()))
        .maybe(call.setup_ms())
        .maybe(attempt.and_then(Attempt::pdd_ms))
        .maybe(attempt.and_then(Attempt::ring_ms))
        .maybe(call.talk_ms)
        .maybe(call.billed_s)
        .put(call.cost.map(|cost| cost.0))
        .put(call.revenue.0)
        .put(call.payout.0)
        .text(&call.currency)
        .put(call.conversion as i64)
        .put(i64::from(call.flags.0))
        .maybe(call.explain_ref)
        .put(batch.recorded_at.0)
        .put(SCHEMA_VERSION)
        .put(to_cbor(call))
        .maybe_text(call.codec.as_deref())
        .maybe(call.converted_ms)
        .maybe(call.paid_after_ms().map(u64::from));
}

fn bind_leg(row: &mut Row, call: &CallRecord, leg: &Attempt) {
    row.put(call.call.as_bytes().to_vec())
        .put(i64::from(leg.leg))
        .put(i64::from(call.rev))
        .text(leg.target.as_str())
        .text(leg.buyer.as_str())
        .text(&leg.uri)
        .put(call.wall(leg.started_ms).0)
        .maybe(leg.pdd_ms())
        .maybe(leg.ring_ms())
        .put(leg.result as i64)
        .maybe(leg.status.map(u64::from))
        .maybe(leg.q850.map(u64::from))
        .maybe_text(leg.reason.map(|reason| reason.code()))
        .maybe_text(leg.way.as_deref())
        .put(i64::from(call.went_on_another_way(leg)));
}

pub(super) fn to_cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    minicbor::encode(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SQLite has signed integers only; nothing stored comes near their end.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
