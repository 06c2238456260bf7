//! Those who are asked about callers: how they are doing at this server.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::error::Problem;
use super::openapi::faults;
use super::router::Api;
use crate::money::Money;
use crate::routing::enrich::Standing;
use crate::routing::enrich::breaker::Condition;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnricherList {
    items: Vec<EnricherView>,
}

/// An enricher that some campaign has asked, as this server knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnricherView {
    #[schema(value_type = String, example = "lineinfo")]
    id: SmolStr,
    /// `well`; `resting`: it failed too often in a row, and is not asked; `on_trial`: it has rested, and one
    /// question tells how it is.
    #[schema(value_type = String, example = "well")]
    state: &'static str,
    /// In a row; null: it is not well.
    #[schema(example = 0)]
    failures: Option<u32>,
    /// Failures in a row after which it rests.
    #[schema(example = 5)]
    failures_max: u32,
    /// How long it still rests, seconds; null: it does not.
    #[schema(example = json!(null))]
    rests_s: Option<u64>,
    /// Questions of this day of UTC.
    #[schema(example = 1204)]
    asked_today: u64,
    /// How many there may be; null: as many as come.
    #[schema(example = 50_000)]
    calls_per_day: Option<u64>,
    /// What they cost.
    #[schema(value_type = String, example = "4.816")]
    cost_today: Money,
    /// How much that may be; null: as much as they cost.
    #[schema(value_type = Option<String>, example = "200.00")]
    cost_per_day: Option<Money>,
    /// Of one question.
    #[schema(value_type = String, example = "0.004")]
    cost: Money,
    /// Callers of whom it is kept what was said.
    #[schema(example = 1100)]
    cached_callers: usize,
    /// For how long an answer holds, seconds; 0: for its session alone.
    #[schema(example = 86_400)]
    cache_s: u64,
    /// How often it came to what since the process started, by the outcome as in a session's `enriched`; those that
    /// never came are left out. `cached` are answers that cost nothing.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"told": 1204, "cached": 310}))]
    outcomes: BTreeMap<&'static str, u64>,
}

faults!(ListFaults: StoreUnavailable, StoreDamaged);

/// List enrichers
///
/// Who is asked about the callers of sessions: whether they answer, what was spent on them today, and how
/// often an earlier answer did.
#[utoipa::path(
    get,
    path = "/v1/enrichers",
    operation_id = "list_enrichers",
    tag = "consumers",
    responses((status = 200, description = "The enrichers", body = EnricherList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<EnricherList>, Problem> {
    let standings = api.services.enrichers.standings().await?;
    Ok(Json(EnricherList { items: standings.into_iter().map(EnricherView::from).collect() }))
}

impl From<Standing> for EnricherView {
    fn from(standing: Standing) -> Self {
        let Standing { enricher, condition, spent, cached, outcomes } = standing;
        let (state, failures, rests_s) = match condition {
            Condition::Well { failures } => ("well", Some(failures), None),
            Condition::Resting(left) => ("resting", None, Some(left.as_millis().div_ceil(1_000))),
            Condition::OnTrial => ("on_trial", None, None),
        };
        Self {
            id: enricher.id.clone(),
            state,
            failures,
            failures_max: enricher.breaker.failures_max,
            rests_s: rests_s.and_then(|seconds| u64::try_from(seconds).ok()),
            asked_today: spent.asked,
            calls_per_day: enricher.budget.calls_per_day,
            cost_today: spent.cost,
            cost_per_day: enricher.budget.cost_per_day,
            cost: enricher.budget.cost,
            cached_callers: cached,
            cache_s: enricher.holds.as_secs(),
            outcomes,
        }
    }
}
