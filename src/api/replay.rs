//! Decisions made again: on the configuration they were made on, or on another.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::error::{Code, Place, Problem};
use super::openapi::faults;
use super::request::{Id, JsonBody};
use super::router::Api;
use crate::cdr::store::LastDecisions;
use crate::id::CallId;
use crate::money::Money;
use crate::routing::comparison::Comparison;
use crate::routing::replay::{self, Difference};

/// Decisions that are compared at most.
const COMPARED_MAX: u32 = 10_000;
const COMPARED: u32 = 1_000;
/// For so long at most.
const COMPARED_FOR: Duration = Duration::from_secs(10);

/// A decision made again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replayed {
    #[schema(value_type = String, example = "cal_01954f2e7d1e70008000000000000001")]
    call_id: CallId,
    /// The configuration it was made on.
    #[schema(example = 418)]
    config_rev: u64,
    /// Whether it came out the same.
    same: bool,
    /// Where it first comes out differently; null: nowhere.
    difference: Option<ReplayedDifference>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReplayedDifference {
    /// Such as `steps[3]`.
    #[schema(example = "steps[3]")]
    at: String,
    /// Null: the record has nothing there.
    recorded: Option<String>,
    /// Null: there is nothing now.
    recomputed: Option<String>,
}

faults!(
    ReplayFaults: PathMalformed, CallNotFound, DecisionNotFound, RevisionNotFound,
    RevisionOutdated, StoreUnavailable, StoreDamaged
);

/// Decide about a call again
///
/// Makes the decision again from what was recorded, on the configuration it was made on, and compares
/// the two step by step. They are the same, unless this version of the server decides by other rules or
/// other built-in places than the one that made it, or there is a fault in it.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}/replay",
    operation_id = "replay_call",
    tag = "calls",
    params(("id" = String, Path, description = "Id of the call",
        example = "cal_01954f2e7d1e70008000000000000001")),
    responses((status = 200, description = "The two decisions compared", body = Replayed), ReplayFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Id(id): Id<CallId>,
) -> Result<Json<Replayed>, Problem> {
    let record = api.decision(id).await?;
    let config_rev = record.decision.revision;
    let snapshot = api.snapshot(Some(config_rev)).await?;
    let difference = replay::replay(&snapshot, &record).difference;
    if let Some(Difference { at, .. }) = &difference {
        tracing::error!(call_id = %id, at, "a decision comes out differently when it is made again");
    }
    let (same, difference) = (difference.is_none(), difference.map(Into::into));
    Ok(Json(Replayed { call_id: id, config_rev, same, difference }))
}

/// Two configurations to be compared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compare {
    /// The configuration the calls are decided on again; absent: the one in force.
    #[serde(default)]
    #[schema(example = 419)]
    revision: Option<u64>,
    /// The configuration it is compared with, on which the calls are decided again too; absent: what was
    /// decided, on whatever each call was decided on.
    #[serde(default)]
    #[schema(example = 418)]
    from: Option<u64>,
    /// How many of the latest decisions are looked at, at most 10,000; absent: 1,000.
    #[serde(default)]
    #[schema(example = 1000)]
    last: Option<u32>,
}

/// What another configuration would have changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Compared {
    /// The configuration the calls were decided on again.
    #[schema(example = 419)]
    revision: u64,
    /// The configuration it was compared with; null: what was decided.
    #[schema(example = 418)]
    from: Option<u64>,
    /// Decisions that were looked at: the earlier of them if all took longer than ten seconds.
    #[schema(example = 1000)]
    calls: u32,
    /// Calls that would have been planned for other targets, or for the same in another order.
    #[schema(example = 12)]
    moved: u32,
    /// Of these: offered to another target first.
    #[schema(example = 9)]
    moved_first: u32,
    /// Calls that would have been planned for the same targets in the same order, on other terms at one
    /// of them: what is owed, or after how many seconds.
    #[schema(example = 140)]
    repriced: u32,
    /// Calls that would have been refused, and were not.
    #[schema(example = 0)]
    refused_now: u32,
    /// Calls that were refused, and would not have been.
    #[schema(example = 3)]
    taken_now: u32,
    /// How much more the first targets would owe if every call converted with its first.
    #[schema(value_type = String, example = "126.00")]
    revenue_delta: Money,
    /// The same of what publishers would be owed.
    #[schema(value_type = String, example = "0.00")]
    payout_delta: Money,
    /// The first of the calls that are counted as one of these.
    #[schema(value_type = Vec<String>, example = json!(["cal_01954f2e7d1e70008000000000000001"]))]
    examples: Vec<CallId>,
}

faults!(
    DiffFaults: BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge, BodyMediaType, BodyEncoding,
    ComparisonRefused, RevisionNotFound, RevisionOutdated, StoreUnavailable, StoreDamaged
);

/// Compare with another configuration
///
/// Makes the latest decisions again on another configuration, or on two, and tells what would have come
/// out differently. Each has what was read when it was made. Of what was not read then, because it is new or
/// nobody asked, the best is assumed: caps are unused, targets and ways well, callers on no list, and there
/// are no earlier calls but those the old rules looked back at. So fewer calls may be taken in truth, and
/// the difference in money may be more or less than it would have been: a target that comes first is counted
/// though it may have had no room, and one behind it that is not counted may have brought more.
#[utoipa::path(
    post,
    path = "/v1/config:diff",
    operation_id = "diff_configuration",
    tag = "configuration",
    request_body = Compare,
    responses((status = 200, description = "What would be different", body = Compared), DiffFaults),
)]
pub(super) async fn diff(
    State(api): State<Arc<Api>>,
    JsonBody(body): JsonBody<Compare>,
) -> Result<Json<Compared>, Problem> {
    let snapshot = api.snapshot(body.revision).await?;
    let before = match body.from {
        Some(revision) => Some(api.snapshot(Some(revision)).await?),
        None => None,
    };
    let last = body.last.unwrap_or(COMPARED);
    if last > COMPARED_MAX {
        let detail = format!("must be at most {COMPARED_MAX}; `tollbridge replay` takes more");
        return Err(Problem::at(
            Code::ComparisonRefused,
            Place::Body("/last".into()),
            "malformed",
            detail,
        ));
    }
    let mut pages = LastDecisions::new(api.services.routing.decisions(), last);
    let mut compared = Comparison::default();
    let give_up = Instant::now() + COMPARED_FOR;
    while Instant::now() < give_up {
        let page = pages.page().await?;
        if page.is_empty() {
            break;
        }
        let (before, snapshot) = (before.clone(), Arc::clone(&snapshot));
        // Many decisions take a while, in which this thread has others to serve.
        let comparing = tokio::task::spawn_blocking(move || {
            let (page, in_time) = (page.iter().map(AsRef::as_ref), || Instant::now() < give_up);
            let done = compared.add_while(before.as_deref(), &snapshot, page, in_time);
            done.map(|()| compared)
        });
        compared = comparing.await.map_err(|_| Code::InternalError)?.map_err(|error| {
            tracing::error!(%error, "reading a routing decision failed");
            Code::StoreDamaged
        })?;
    }
    let Comparison { calls, moved, moved_first, repriced, refused_now, taken_now, .. } = compared;
    let Comparison { revenue_delta, payout_delta, examples, .. } = compared;
    Ok(Json(Compared {
        revision: snapshot.revision(),
        from: body.from,
        calls,
        moved,
        moved_first,
        repriced,
        refused_now,
        taken_now,
        revenue_delta,
        payout_delta,
        examples,
    }))
}

impl From<Difference> for ReplayedDifference {
    fn from(difference: Difference) -> Self {
        let Difference { at, recorded, recomputed } = difference;
        Self { at, recorded, recomputed }
    }
}
