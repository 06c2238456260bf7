//! Consumers of the facts: where they stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::openapi::faults;
use super::router::Api;
use crate::cdr::consumer::Standing;
use crate::time::Wall;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsumerList {
    items: Vec<ConsumerView>,
}

/// What works from the journal behind the call records, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsumerView {
    /// `rollups`, or `ship:` and the id of a shipper.
    #[schema(value_type = String, example = "ship:audit")]
    consumer: SmolStr,
    /// The last fact it is done with: process start and number.
    #[schema(example = 3)]
    epoch: u64,
    #[schema(example = 104_112)]
    seq: u64,
    /// When that happened; null: nothing was read since the process started.
    #[schema(example = "2026-03-17T15:04:12.318Z")]
    at: Option<String>,
    /// Facts it has not read yet.
    #[schema(example = 17)]
    lag_facts: u64,
    /// What it waits for; null: it is at work.
    #[schema(example = json!(null))]
    waits_for: Option<String>,
    /// Facts that failed and are tried again by themselves.
    #[schema(example = 0)]
    retrying: u64,
    /// Facts that wait for somebody's word: `GET /v1/dead-letters`.
    #[schema(example = 0)]
    dead: u64,
}

impl From<Standing> for ConsumerView {
    fn from(standing: Standing) -> Self {
        Self {
            consumer: standing.consumer,
            epoch: standing.position.epoch,
            seq: standing.position.seq,
            at: standing.at.map(Wall::to_rfc3339),
            lag_facts: standing.lag_facts,
            waits_for: standing.waits_for,
            retrying: standing.letters.retrying,
            dead: standing.letters.dead,
        }
    }
}

faults!(ListFaults);

/// List consumers
///
/// What works from the journal's facts behind the call records, shippers among them, with how far each
/// has come and what it waits for.
#[utoipa::path(
    get,
    path = "/v1/consumers",
    operation_id = "list_consumers",
    tag = "consumers",
    responses((status = 200, description = "The consumers", body = ConsumerList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<ConsumerList> {
    let items = api.services.consumers.standings().into_iter().map(ConsumerView::from).collect();
    Json(ConsumerList { items })
}
