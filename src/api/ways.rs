//! Ways to targets: trunks and hosts, and what calls over them have shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::openapi::faults;
use super::router::Api;
use super::targets::word;
use crate::id::TrunkId;
use crate::routing::circuit::{Condition, WaySeen};

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WayList {
    /// Trunks, then hosts.
    items: Vec<WayView>,
    /// The configuration they are of.
    #[schema(example = 418)]
    config_rev: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct WayView {
    /// `trunk/` and the id of a trunk, or a host with its port.
    #[schema(example = "trunk/trk_b")]
    way: String,
    /// Null: the way is a host.
    #[schema(value_type = Option<String>, example = "trk_b")]
    trunk: Option<TrunkId>,
    /// `well`; `circuit_open`: calls over it went badly, and targets are called another way first;
    /// `on_trial`: and a few calls try whether they still do.
    #[schema(example = "circuit_open")]
    condition: &'static str,
    /// Why it is not well; null: it is.
    #[schema(example = "circuit open: 2 of 60 attempts rang too late")]
    why: Option<String>,
    /// Attempts in the circuit's window that say something of it; the next two are among them.
    #[schema(example = 60)]
    attempts: u32,
    #[schema(example = 40)]
    answered: u32,
    /// By silence, for want of an address, or with a 5xx.
    #[schema(example = 3)]
    failed: u32,
    /// Attempts of the last seven days, by which a drop of the share that is answered is told.
    #[schema(example = 4_000)]
    week_attempts: u32,
    #[schema(example = 2_600)]
    week_answered: u32,
    /// Half of those that rang did within this time, an eighth too high at most; null: none has rung.
    #[schema(example = 900)]
    pdd_p50_ms: Option<u32>,
    /// And 99 of a hundred within this.
    #[schema(example = 6_400)]
    pdd_p99_ms: Option<u32>,
    /// The rules of its circuit that hold, as they are written.
    #[schema(value_type = Object, example = json!({ "enabled": true, "max_pdd_ms": 6000 }))]
    circuit: Value,
    /// Who says them: `own`, `defaults` or `built_in`.
    #[schema(example = "built_in")]
    circuit_from: &'static str,
}

faults!(ListFaults);

/// List ways to targets
///
/// The trunks over which targets are called, and the hosts of targets to which there are several ways.
#[utoipa::path(
    get,
    path = "/v1/ways",
    operation_id = "list_ways",
    tag = "configuration",
    responses((status = 200, description = "The ways", body = WayList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<WayList> {
    let snapshot = api.services.routing.in_force();
    let seen: BTreeMap<_, _> = api.services.routing.ways().into_iter().collect();
    let items = snapshot.ways().into_iter().map(|way| {
        let WaySeen {
            condition,
            attempts,
            answered,
            failed,
            week_attempts,
            week_answered,
            p50_ms: pdd_p50_ms,
            p99_ms: pdd_p99_ms,
        } = seen.get(way).copied().unwrap_or_default();
        let circuit = snapshot.way_circuit(way);
        WayView {
            way: way.to_string(),
            trunk: way.trunk().cloned(),
            condition: word(condition),
            why: (condition != Condition::Well).then(|| condition.to_string()),
            attempts,
            answered,
            failed,
            week_attempts,
            week_answered,
            pdd_p50_ms,
            pdd_p99_ms,
            circuit: circuit.map_or_else(|| json!({ "enabled": false }), |it| json!(**it)),
            circuit_from: snapshot.way_circuit_from(way).name(),
        }
    });
    Json(WayList { items: items.collect(), config_rev: snapshot.revision() })
}
