//! What holds for a target or a campaign, and who said so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::openapi::faults;
use super::request::Id;
use super::router::Api;
use crate::routing::effective;

/// Settings that may be written in several places.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EffectiveSettings {
    #[schema(example = "tgt_summit")]
    id: String,
    /// The configuration they are of.
    #[schema(example = 418)]
    config_rev: u64,
    settings: Vec<EffectiveSetting>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EffectiveSetting {
    #[schema(example = "ring_timeout_s")]
    setting: &'static str,
    /// As it would be written; null: none.
    #[schema(value_type = Value, example = json!(30))]
    value: Value,
    /// Who said it, the nearest first: `own`, the target or the campaign itself; `schedule`, the
    /// one that the target names; `buyer`, that of the target; `defaults` and `account`, the sections of
    /// the configuration; `built_in`.
    #[schema(example = "defaults")]
    from: &'static str,
}

faults!(TargetFaults: PathMalformed, TargetNotFound);

/// Show what holds for a target
///
/// Each setting that may be written with the target, its buyer or in `[defaults]`, and the zone of its
/// clock, with its value and where it came from.
#[utoipa::path(
    get,
    path = "/v1/targets/{id}/effective",
    operation_id = "show_effective_target",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the target", example = "tgt_summit")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), TargetFaults),
)]
pub(super) async fn target(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let snapshot = api.services.routing.in_force();
    let settings = snapshot.effective_target(&id.as_str().into()).ok_or(Code::TargetNotFound)?;
    Ok(Json(EffectiveSettings::new(id, snapshot.revision(), settings)))
}

faults!(CampaignFaults: PathMalformed, CampaignNotFound);

/// Show what holds for a campaign
///
/// Each setting that may be written with the campaign or in `[defaults]`, and the zone of its clock,
/// with its value and where it came from.
#[utoipa::path(
    get,
    path = "/v1/campaigns/{id}/effective",
    operation_id = "show_effective_campaign",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the campaign", example = "cmp_hvac")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), CampaignFaults),
)]
pub(super) async fn campaign(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let snapshot = api.services.routing.in_force();
    let found = snapshot.effective_campaign(&id.as_str().into());
    let settings = found.ok_or(Code::CampaignNotFound)?;
    Ok(Json(EffectiveSettings::new(id, snapshot.revision(), settings)))
}

impl EffectiveSettings {
    fn new(id: String, config_rev: u64, settings: Vec<effective::Effective>) -> Self {
        let settings = settings.into_iter().map(|effective::Effective { setting, value, from }| {
            EffectiveSetting { setting, value, from: from.name() }
        });
        Self { id, config_rev, settings: settings.collect() }
    }
}
