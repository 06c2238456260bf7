//! What holds for targets, campaigns, publishers, pools, numbers and trunks, and who said so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use serde_json::Value;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::openapi::faults;
use super::query::Parameters;
use super::request::Id;
use super::router::Api;
use crate::id::PublisherId;
use crate::phone::PhoneNumber;
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
    /// As it is written. Of one of several its name stands between: `tiers.1.distribution`,
    /// `payouts.cmp_hvac`, `terms.tgt_summit.revenue`.
    #[schema(value_type = String, example = "ring_timeout_s")]
    setting: SmolStr,
    /// As it would be written; null: none.
    #[schema(value_type = Value, example = json!(30))]
    value: Value,
    /// Who said it, the nearest first: `own`, what is asked about (of a tier, the tier); `trunk`, over which
    /// the target is called; `schedule`, the
    /// one that the target names; `plan`, the campaign's `routing`; `target`, `pool`, `publisher` and
    /// `campaign`, of what is not theirs alone; `buyer`, that of the target; `carrier`, the file of a
    /// trunk's carrier; `defaults` and `account`, the sections of the configuration; `built_in`.
    #[schema(example = "defaults")]
    from: &'static str,
}

faults!(TargetFaults: PathMalformed, TargetNotFound);

/// Show what holds for a target
///
/// Each setting that may be written with the target, its buyer or in `[defaults]`, and the zone of its
/// clock, with its value and where it came from. What a trunk says in the target's place is told by its id:
/// `dial.trk_a.next_way_on`.
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

faults!(
    CampaignFaults: PathMalformed, QueryMalformed, QueryRepeated, QueryUnknown, CampaignNotFound,
    PublisherNotFound
);

/// Show what holds for a campaign
///
/// Each setting that may be written with the campaign or in `[defaults]`, and the zone of its clock; how each
/// of its tiers shares calls; what calls of a publisher have to bring, where it is said by both the
/// publisher's word; and what such a call comes to at each target if it converts. All with value and
/// where it came from.
#[utoipa::path(
    get,
    path = "/v1/campaigns/{id}/effective",
    operation_id = "show_effective_campaign",
    tag = "configuration",
    params(
        ("id" = String, Path, description = "Id of the campaign", example = "cmp_hvac"),
        ("publisher" = Option<String>, Query, example = "pub_brightpath",
            description = "Whose calls prices and terms are of; absent: the campaign's own publisher"),
    ),
    responses((status = 200, description = "The settings", body = EffectiveSettings), CampaignFaults),
)]
pub(super) async fn campaign(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
    uri: Uri,
) -> Result<Json<EffectiveSettings>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let publisher: Option<PublisherId> = given.take_name("publisher")?;
    given.finish()?;
    let snapshot = api.services.routing.in_force();
    let campaign = id.as_str().into();
    snapshot.campaign(&campaign).ok_or(Code::CampaignNotFound)?;
    let found = snapshot.effective_campaign(&campaign, publisher.as_ref());
    let settings = found.ok_or(Code::PublisherNotFound)?;
    Ok(Json(EffectiveSettings::new(id, snapshot.revision(), settings)))
}

faults!(PublisherFaults: PathMalformed, PublisherNotFound);

/// Show what holds for a publisher
///
/// Its quota of pings, whether they are read strictly, and its payouts, with where they came from.
#[utoipa::path(
    get,
    path = "/v1/publishers/{id}/effective",
    operation_id = "show_effective_publisher",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the publisher", example = "pub_brightpath")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), PublisherFaults),
)]
pub(super) async fn publisher(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let snapshot = api.services.routing.in_force();
    let found = snapshot.effective_publisher(&id.as_str().into());
    let settings = found.ok_or(Code::PublisherNotFound)?;
    Ok(Json(EffectiveSettings::new(id, snapshot.revision(), settings)))
}

faults!(PoolFaults: PathMalformed, PoolNotFound);

/// Show what holds for a pool
///
/// Each setting of a pool of numbers, with its value and where it came from.
#[utoipa::path(
    get,
    path = "/v1/pools/{id}/effective",
    operation_id = "show_effective_pool",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the pool", example = "pool_hvac")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), PoolFaults),
)]
pub(super) async fn pool(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let snapshot = api.services.routing.in_force();
    let settings = snapshot.effective_pool(&id.as_str().into()).ok_or(Code::PoolNotFound)?;
    Ok(Json(EffectiveSettings::new(id, snapshot.revision(), settings)))
}

faults!(TrunkFaults: PathMalformed, TrunkNotFound);

/// Show what holds for a trunk
///
/// Each field that is written of it, in the configuration or in its carrier's file, and the circuit of what is
/// called over it; what is not listed is as if it were written nowhere.
#[utoipa::path(
    get,
    path = "/v1/trunks/{id}/effective",
    operation_id = "show_effective_trunk",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the trunk", example = "trk_a")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), TrunkFaults),
)]
pub(super) async fn trunk(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let routing = &api.services.routing;
    let settings = routing.effective_trunk(&id.as_str().into()).ok_or(Code::TrunkNotFound)?;
    Ok(Json(EffectiveSettings::new(id, routing.in_force().revision(), settings)))
}

faults!(NumberFaults: PathMalformed, NumberNotFound);

/// Show what holds for a number
///
/// Its campaign and publisher, and of a pool's number the settings of the pool, with where each came
/// from.
#[utoipa::path(
    get,
    path = "/v1/numbers/{number}/effective",
    operation_id = "show_effective_number",
    tag = "configuration",
    params(("number" = String, Path, description = "In E.164", example = "+16145550121")),
    responses((status = 200, description = "The settings", body = EffectiveSettings), NumberFaults),
)]
pub(super) async fn number(
    State(api): State<Arc<Api>>,
    Id(number): Id<PhoneNumber>,
) -> Result<Json<EffectiveSettings>, Problem> {
    let snapshot = api.services.routing.in_force();
    let settings = snapshot.effective_number(number).ok_or(Code::NumberNotFound)?;
    Ok(Json(EffectiveSettings::new(number.to_e164(), snapshot.revision(), settings)))
}

impl EffectiveSettings {
    fn new(id: String, config_rev: u64, settings: Vec<effective::Effective>) -> Self {
        let settings = settings.into_iter().map(|effective::Effective { setting, value, from }| {
            EffectiveSetting { setting, value, from: from.name() }
        });
        Self { id, config_rev, settings: settings.collect() }
    }
}
