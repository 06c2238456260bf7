//! Targets, and what is thought of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::faults;
use super::router::Api;
use crate::id::{BuyerId, TargetId};
use crate::routing::circuit::Condition;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetList {
    /// In the order of the configuration.
    items: Vec<TargetView>,
    /// The configuration they are of.
    #[schema(example = 418)]
    config_rev: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct TargetView {
    #[schema(value_type = String, example = "tgt_summit")]
    id: TargetId,
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    #[schema(example = "Summit, first line")]
    name: String,
    /// It takes no calls because the configuration says so.
    #[schema(example = false)]
    paused: bool,
    /// `well`; `down`: probes find none of its addresses; `circuit_open`: its calls went badly, and
    /// it is tried only for want of others; `on_trial`: and a few calls try whether they still do.
    #[schema(example = "well")]
    condition: &'static str,
    /// Why it is not well; null: it is.
    #[schema(example = "circuit open: 31 of 60 attempts failed")]
    why: Option<String>,
}

faults!(ListFaults);

/// List targets
///
/// All targets of the configuration in force, with what calls to them and probes have shown.
#[utoipa::path(
    get,
    path = "/v1/targets",
    operation_id = "list_targets",
    tag = "configuration",
    responses((status = 200, description = "The targets", body = TargetList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<TargetList> {
    let snapshot = api.services.routing.in_force();
    let conditions = api.services.routing.conditions();
    let items = snapshot.targets().iter().map(|target| {
        let condition = conditions.get(&target.id).copied().unwrap_or_default();
        let (id, buyer) = (target.id.clone(), target.buyer.clone());
        let why = (condition != Condition::Well).then(|| condition.to_string());
        let (name, paused) = (target.name.clone(), target.paused);
        TargetView { id, buyer, name, paused, condition: word(condition), why }
    });
    Json(TargetList { items: items.collect(), config_rev: snapshot.revision() })
}

pub(super) fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Well => "well",
        Condition::Down => "down",
        Condition::Open(_) => "circuit_open",
        Condition::OnTrial(..) => "on_trial",
    }
}
