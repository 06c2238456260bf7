//! Sums by minute, hour and day.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::error::{Code, Problem};
use super::openapi::faults;
use super::query::{Parameters, instant, malformed, one_of, parameter};
use super::router::Api;
use crate::cdr::rollup::{Counts, MINUTE_MS, Resolution, RollupKey, RollupQuery};
use crate::money::Money;
use crate::time::Wall;

/// Most rows of an answer.
const ROWS_MAX: usize = 10_000;

const RESOLUTIONS: [(&str, Resolution); 3] =
    [("minute", Resolution::Minute), ("hour", Resolution::Hour), ("day", Resolution::Day)];

/// What rollups can be told apart by.
const GROUPS: [&str; 5] = ["campaign", "publisher", "buyer", "target", "time"];

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RollupList {
    /// By time, then by campaign, publisher, buyer and target.
    items: Vec<RollupRow>,
}

/// What happened in a time. Calls count where they were admitted, once they are over, and pings where
/// they were accepted. Amounts are decimal texts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RollupRow {
    /// When the bucket begins; absent: times are not told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-03-17T15:00:00.000Z")]
    at: Option<String>,
    /// Absent, as are the next three: not told apart. Null: what has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "cmp_hvac")]
    campaign: Option<Option<SmolStr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "pub_brightpath")]
    publisher: Option<Option<SmolStr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "buy_summit")]
    buyer: Option<Option<SmolStr>>,
    /// The target that answered, else the last one tried; of `attempts` the one that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "tgt_summit")]
    target: Option<Option<SmolStr>>,
    /// Pings that were accepted, each of which opened a session. They are of no buyer and no target.
    #[schema(example = 120)]
    pings: i64,
    /// Of these such as got a number of a pool.
    #[schema(example = 80)]
    numbers: i64,
    /// Of these such as asked a pool for a number when none was free.
    #[schema(example = 2)]
    pool_misses: i64,
    #[schema(example = 41)]
    calls: i64,
    /// Calls that were matched to a session.
    #[schema(example = 37)]
    matched: i64,
    #[schema(example = 33)]
    answered: i64,
    #[schema(example = 21)]
    converted: i64,
    /// Targets that were tried.
    #[schema(example = 52)]
    attempts: i64,
    #[schema(example = 33)]
    attempts_answered: i64,
    /// From answers to ends, all added up.
    #[schema(example = 6_120_000)]
    talk_ms: i64,
    /// From buyers.
    #[schema(value_type = String, example = "871.50")]
    revenue: Money,
    /// To publishers.
    #[schema(value_type = String, example = "697.20")]
    payout: Money,
    /// To carriers, as far as there is a tariff.
    #[schema(value_type = String, example = "1.02")]
    cost: Money,
}

faults!(ListFaults: QueryUnknown, QueryRepeated, QueryMalformed, RollupsTooMany, StoreUnavailable);

/// Sum up what happened
///
/// Kept for as long as `[rollups]` says: by the minute for days, by the hour for months, by the day for
/// years. At most 10,000 rows; half a second or so behind.
#[utoipa::path(
    get,
    path = "/v1/rollups",
    operation_id = "list_rollups",
    tag = "calls",
    params(RollupsAsked),
    responses((status = 200, description = "The sums", body = RollupList), ListFaults),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<Json<RollupList>, Problem> {
    let RollupsAsked(query) = RollupsAsked::read(&uri)?;
    let (by, by_time) = (query.by, query.by_time);
    let rows = api.services.rollups.rollups(query, ROWS_MAX + 1).await?;
    if rows.len() > ROWS_MAX {
        return Err(Code::RollupsTooMany.into());
    }
    let items = rows.into_iter().map(|(key, counts)| RollupRow::new(key, &counts, by, by_time));
    Ok(Json(RollupList { items: items.collect() }))
}

impl RollupRow {
    fn new(key: RollupKey, counts: &Counts, by: [bool; 4], by_time: bool) -> Self {
        let told = |is_told: bool, id: SmolStr| is_told.then(|| (!id.is_empty()).then_some(id));
        let [campaign, publisher, buyer, target] = by;
        Self {
            at: by_time.then(|| Wall(key.minute.saturating_mul(MINUTE_MS)).to_rfc3339()),
            campaign: told(campaign, key.campaign),
            publisher: told(publisher, key.publisher),
            buyer: told(buyer, key.buyer),
            target: told(target, key.target),
            pings: counts.pings,
            numbers: counts.numbers,
            pool_misses: counts.pool_misses,
            calls: counts.calls,
            matched: counts.matched,
            answered: counts.answered,
            converted: counts.converted,
            attempts: counts.attempts,
            attempts_answered: counts.attempts_answered,
            talk_ms: counts.talk_ms,
            revenue: Money(counts.revenue_micros),
            payout: Money(counts.payout_micros),
            cost: Money(counts.cost_micros),
        }
    }
}

/// What rollups are asked for.
pub(super) struct RollupsAsked(RollupQuery);

impl RollupsAsked {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let resolution = given.take_with("resolution", |text| one_of(&RESOLUTIONS, text))?;
        let from = given.take_with("from", instant)?;
        let to = given.take_with("to", instant)?;
        let groups =
            given.take_with("group_by", groups)?.unwrap_or([false, false, false, false, true]);
        let [campaign, publisher, buyer, target, by_time] = groups;
        let query = RollupQuery {
            resolution: resolution.unwrap_or(Resolution::Hour),
            from: from.ok_or_else(|| malformed("from", "has to be there"))?,
            to: to.ok_or_else(|| malformed("to", "has to be there"))?,
            campaign: given.take_name("campaign")?,
            publisher: given.take_name("publisher")?,
            buyer: given.take_name("buyer")?,
            target: given.take_name("target")?,
            by: [campaign, publisher, buyer, target],
            by_time,
        };
        given.finish()?;
        if query.to <= query.from {
            return Err(malformed("to", "must be after `from`"));
        }
        Ok(Self(query))
    }
}

fn groups(text: &str) -> Result<[bool; 5], String> {
    let mut told = [false; 5];
    for name in text.split(',') {
        let at = GROUPS.iter().position(|group| *group == name);
        let at = at.ok_or_else(|| format!("must be names out of {}", GROUPS.join(", ")))?;
        told[at] = true;
    }
    Ok(told)
}

impl utoipa::IntoParams for RollupsAsked {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = |name: &str, example: &str, description: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
            parameter(name, description, schema)
        };
        let resolutions = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(RESOLUTIONS.map(|(name, _)| name)))
            .default(Some("hour".into()));
        vec![
            parameter("resolution", "How long a bucket is", resolutions),
            text("from", "2026-03-17T00:00:00Z", "Buckets that begin at or after; has to be there"),
            text("to", "2026-03-18T00:00:00Z", "Buckets that begin before; has to be there"),
            text(
                "group_by",
                "campaign,time",
                "What is told apart, of `campaign`, `publisher`, `buyer`, `target` and `time`, \
                 separated by commas; `time` if it is left out",
            ),
            text("campaign", "cmp_hvac", "Only this campaign"),
            text("publisher", "pub_brightpath", "Only this publisher"),
            text("buyer", "buy_summit", "Only this buyer"),
            text("target", "tgt_summit", "Only this target"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_resolutions_are_theirs() {
        for (name, resolution) in RESOLUTIONS {
            assert_eq!(resolution.name(), name);
        }
    }

    #[test]
    fn what_is_told_apart_is_a_list_of_names() {
        assert_eq!(groups("time,buyer"), Ok([false, false, true, false, true]));
        assert!(groups("buyer,colour").is_err());
        assert!(groups("buyer,").is_err());
    }
}
