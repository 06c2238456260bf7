//! TrackDrive's ping and post: `/api/v1/inbound_webhooks/ping/URI`, then `post/URI`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::openapi::open_faults;
use super::super::router::Api;
use super::fields::Fields;
use super::refusal::{Class, Refusal};
use super::{Amount, Bid, Said, in_time};
use crate::id::PingId;
use crate::phone::PhoneNumber;
use crate::routing::config::Dialect;
use crate::routing::door::Door;

/// Parameters that say what the platform knows without them.
const PLATFORMS_OWN: [&str; 4] =
    ["trackdrive_number", "traffic_source_id", "buyer_id", "lead_token"];

/// What a ping is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TrackdrivePing {
    #[schema(example = true)]
    success: bool,
    /// `accepted`, or why not.
    #[schema(example = "accepted")]
    status: &'static str,
    /// To be posted for the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "01954f2e7d1e70008000000000000003")]
    try_all_buyers_ping_id: Option<String>,
    /// The same once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    try_all_buyers: Option<TrackdriveTry>,
    /// One, who stands for whoever takes the call; empty: nobody does.
    buyers: Vec<TrackdriveBuyer>,
    /// For people.
    #[schema(example = json!([]))]
    errors: Vec<String>,
    /// Our own code of why nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "schedule.closed")]
    reason_code: Option<&'static str>,
}

/// What to post.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TrackdriveTry {
    #[schema(example = "01954f2e7d1e70008000000000000003")]
    ping_id: String,
}

/// Who takes the call, for how much.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TrackdriveBuyer {
    #[schema(example = "01954f2e7d1e70008000000000000003")]
    ping_id: String,
    /// Always 1.
    #[schema(example = 1)]
    id: u8,
    /// Always 1.
    #[schema(example = 1)]
    buyer_id: u8,
    /// Of nobody in particular.
    #[schema(example = "any buyer")]
    name: &'static str,
    /// What the publisher is paid.
    #[schema(value_type = f64, example = 33.2)]
    payout: Amount,
    /// The same.
    #[schema(value_type = f64, example = 33.2)]
    bid: Amount,
    /// The same.
    #[schema(value_type = f64, example = 33.2)]
    bid_price: Amount,
    /// Seconds from the answer at which it is due.
    #[schema(example = 90)]
    duration: u32,
    #[schema(example = "2026-03-17T15:04:58.447Z")]
    expires_at: String,
}

/// What a post is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TrackdrivePost {
    #[schema(example = true)]
    success: bool,
    /// `accepted`, or why not.
    #[schema(example = "accepted")]
    status: &'static str,
    /// Whom to call, without `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "16145550121")]
    forwarding_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "accepted")]
    forwarding_number_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bid_01954f2e7d1e70008000000000000003@sip.example.com")]
    forwarding_number_sip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "01954f2e7d1e70008000000000000003")]
    ping_id: Option<String>,
    /// What the publisher is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 33.2)]
    payout: Option<Amount>,
    /// Seconds from the answer at which it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 90)]
    duration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-03-17T15:04:58.447Z")]
    expires_at: Option<String>,
    /// For people.
    #[schema(example = json!([]))]
    errors: Vec<String>,
    /// Our own code of why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "schedule.closed")]
    reason_code: Option<&'static str>,
}

open_faults!(Faults);

/// Ask who takes a call as TrackDrive has it
///
/// `caller_id` is the caller's number, `auth_token` what the configuration asks for;
/// `trackdrive_number`, `traffic_source_id`, `buyer_id` and `lead_token` are read and change nothing;
/// anything else is a tag.
#[utoipa::path(
    post,
    path = "/api/v1/inbound_webhooks/ping/{uri}",
    operation_id = "trackdrive_ping",
    tag = "dialects",
    params(("uri" = String, Path, description = "The vanity URI")),
    request_body(content = Object, description = "JSON or a form",
        example = json!({"caller_id": "16145550188", "zip": "43215"})),
    responses(
        (status = 200, description = "Who takes the call, or nobody", body = TrackdrivePing),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn ping(
    api: State<Arc<Api>>,
    uri: Path<String>,
    request: Request,
) -> Json<TrackdrivePing> {
    pinged(api, uri, request).await
}

/// Ask who takes a call as TrackDrive has it, in the query
///
/// The parameters are those of the body.
#[utoipa::path(
    get,
    path = "/api/v1/inbound_webhooks/ping/{uri}",
    operation_id = "trackdrive_ping_as_get",
    tag = "dialects",
    params(
        ("uri" = String, Path, description = "The vanity URI"),
        ("caller_id" = Option<String>, Query, description = "The caller's number"),
    ),
    responses(
        (status = 200, description = "Who takes the call, or nobody", body = TrackdrivePing),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn ping_as_get(
    api: State<Arc<Api>>,
    uri: Path<String>,
    request: Request,
) -> Json<TrackdrivePing> {
    pinged(api, uri, request).await
}

async fn pinged(
    State(api): State<Arc<Api>>,
    Path(uri): Path<String>,
    request: Request,
) -> Json<TrackdrivePing> {
    let bid = in_time(async {
        let (door, fields) = opened(&api, &uri, request).await?;
        priced(&api, &door, fields).await
    });
    Json(match bid.await {
        Ok(bid) => offered(&bid),
        Err(refusal) => TrackdrivePing {
            success: false,
            status: status(&refusal),
            try_all_buyers_ping_id: None,
            try_all_buyers: None,
            buyers: vec![],
            errors: vec![refusal.detail()],
            reason_code: Some(refusal.code()),
        },
    })
}

/// Ask whom to call as TrackDrive has it
///
/// `ping_id` is that of a ping; without one, or with a caller whom the ping did not name, the call is
/// priced now. Otherwise as with a ping.
#[utoipa::path(
    post,
    path = "/api/v1/inbound_webhooks/post/{uri}",
    operation_id = "trackdrive_post",
    tag = "dialects",
    params(("uri" = String, Path, description = "The vanity URI")),
    request_body(content = Object, description = "JSON or a form",
        example = json!({"ping_id": "01954f2e7d1e70008000000000000003", "caller_id": "16145550188"})),
    responses(
        (status = 200, description = "Whom to call, or why nobody", body = TrackdrivePost),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn post(
    api: State<Arc<Api>>,
    uri: Path<String>,
    request: Request,
) -> Json<TrackdrivePost> {
    posted(api, uri, request).await
}

/// Ask whom to call as TrackDrive has it, in the query
///
/// The parameters are those of the body.
#[utoipa::path(
    get,
    path = "/api/v1/inbound_webhooks/post/{uri}",
    operation_id = "trackdrive_post_as_get",
    tag = "dialects",
    params(
        ("uri" = String, Path, description = "The vanity URI"),
        ("ping_id" = Option<String>, Query, description = "That of a ping"),
        ("caller_id" = Option<String>, Query, description = "The caller's number"),
    ),
    responses(
        (status = 200, description = "Whom to call, or why nobody", body = TrackdrivePost),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn post_as_get(
    api: State<Arc<Api>>,
    uri: Path<String>,
    request: Request,
) -> Json<TrackdrivePost> {
    posted(api, uri, request).await
}

async fn posted(
    State(api): State<Arc<Api>>,
    Path(uri): Path<String>,
    request: Request,
) -> Json<TrackdrivePost> {
    let bid = in_time(async {
        let (door, mut fields) = opened(&api, &uri, request).await?;
        let Some(ping) = fields.take("ping_id") else { return priced(&api, &door, fields).await };
        let ping: Uuid = ping.parse().map_err(|_| {
            Refusal::Unreadable(String::from("`ping_id` is none that a ping was answered with"))
        })?;
        complete(&api, &door, PingId(ping), fields).await
    });
    Json(match bid.await {
        Ok(bid) => forwarded(&bid),
        Err(refusal) => TrackdrivePost {
            success: false,
            status: status(&refusal),
            forwarding_number: None,
            forwarding_number_status: None,
            forwarding_number_sip_address: None,
            ping_id: None,
            payout: None,
            duration: None,
            expires_at: None,
            errors: vec![refusal.detail()],
            reason_code: Some(refusal.code()),
        },
    })
}

async fn opened(api: &Api, uri: &str, request: Request) -> Result<(Door, Fields), Refusal> {
    let mut fields = Fields::read(request).await?;
    let token = fields.take("auth_token");
    let door = api.door(Dialect::Trackdrive, Some(uri), token.as_deref())?;
    fields.drop_platforms_own(&door, &PLATFORMS_OWN);
    Ok((door, fields))
}

async fn priced(api: &Api, door: &Door, mut fields: Fields) -> Result<Bid, Refusal> {
    let caller = fields.take("caller_id");
    api.price(door, Said { caller, sip_ok: None, number: None }, fields).await
}

/// What a ping was promised, if the post is of the caller that it named.
async fn complete(
    api: &Api,
    door: &Door,
    ping: PingId,
    mut fields: Fields,
) -> Result<Bid, Refusal> {
    let (bid, session) = api.confirmed(door, ping).await?;
    let caller = fields.take("caller_id");
    let number = caller.as_deref().and_then(|text| PhoneNumber::from_text(text).ok());
    if caller.is_none() || (number.is_some() && number == session.caller) {
        return Ok(bid);
    }
    if session.caller.is_some() {
        let detail = "`caller_id` is another than that of the ping; ping again for it";
        return Err(Refusal::Unreadable(detail.to_owned()));
    }
    // Who calls is only known now, and what a call of theirs would be paid.
    let told = session.tags.iter().filter(|(name, _)| *name != "sip_ok");
    fields.behind(told.map(|(name, value)| (name.to_string(), value.to_string())));
    api.price(door, Said { caller, sip_ok: None, number: None }, fields).await
}

fn offered(bid: &Bid) -> TrackdrivePing {
    let id = || bid.ping.0.as_simple().to_string();
    let payout = || bid.promise.payout.into();
    let buyer = TrackdriveBuyer {
        ping_id: id(),
        id: 1,
        buyer_id: 1,
        name: "any buyer",
        payout: payout(),
        bid: payout(),
        bid_price: payout(),
        duration: bid.promise.payout_seconds,
        expires_at: bid.promise.until.to_rfc3339(),
    };
    TrackdrivePing {
        success: true,
        status: "accepted",
        try_all_buyers_ping_id: Some(id()),
        try_all_buyers: Some(TrackdriveTry { ping_id: id() }),
        buyers: vec![buyer],
        errors: vec![],
        reason_code: None,
    }
}

fn forwarded(bid: &Bid) -> TrackdrivePost {
    TrackdrivePost {
        success: true,
        status: "accepted",
        forwarding_number: bid.number.map(|number| number.digits().to_string()),
        forwarding_number_status: bid.number.map(|_| "accepted"),
        forwarding_number_sip_address: bid.sip.clone(),
        ping_id: Some(bid.ping.0.as_simple().to_string()),
        payout: Some(bid.promise.payout.into()),
        duration: Some(bid.promise.payout_seconds),
        expires_at: Some(bid.promise.until.to_rfc3339()),
        errors: vec![],
        reason_code: None,
    }
}

fn status(refusal: &Refusal) -> &'static str {
    match refusal.class() {
        Class::Disabled => "unauthorized",
        Class::Malformed | Class::CallerMalformed | Class::CallerMissing => "invalid",
        Class::Caller => "caller_number_suppressed",
        Class::Duplicate => "duplicate",
        Class::Rate => "rate_limited",
        Class::Over => "expired",
        Class::Unavailable => "unavailable",
        Class::Paused
        | Class::Tags
        | Class::Capped
        | Class::Closed
        | Class::Capacity
        | Class::TargetsCapped
        | Class::NoNumber => "no_buyers_available",
    }
}
