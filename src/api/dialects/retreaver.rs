//! Retreaver's real-time bidding: `/rtbs.json`, then `/rtbs/UUID.json`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::openapi::open_faults;
use super::super::router::Api;
use super::fields::Fields;
use super::refusal::Refusal;
use super::{Amount, Bid, Said, in_time, of_nothing};
use crate::id::PingId;
use crate::phone::PhoneNumber;
use crate::routing::config::Dialect;

/// A reservation, or that there is none: then `status` is `no-target`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RetreaverReply {
    #[schema(value_type = String, example = "01954f2e-7d1e-7000-8000-000000000003")]
    uuid: Uuid,
    /// `reserved`, `confirmed` or `no-target`.
    #[schema(example = "reserved")]
    status: &'static str,
    /// What the publisher is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 33.2)]
    retreaver_payout: Option<Amount>,
    /// Seconds from the answer at which it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 90)]
    retreaver_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550121")]
    inbound_number: Option<PhoneNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bid_01954f2e7d1e70008000000000000003@sip.example.com")]
    sip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-03-17T15:04:58.447Z")]
    expires_at: Option<String>,
    /// True: the reservation was made by an earlier request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    retreaver_ping_shield: Option<bool>,
    /// Our own code of why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "schedule.closed")]
    reason_code: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the target is closed at this hour")]
    reason_detail: Option<String>,
}

open_faults!(Faults);

/// Ask for a reservation as Retreaver has it
///
/// `key` is the postback key, `caller_number` the caller's number, `inbound_number` a static number of
/// the campaign at which the call will come; `publisher_id` and `source_id` are read and change nothing;
/// anything else is a tag.
#[utoipa::path(
    post,
    path = "/rtbs.json",
    operation_id = "retreaver_reserve",
    tag = "dialects",
    request_body(content = Object, description = "JSON or a form",
        example = json!({"key": "7fc40342-…", "publisher_id": "pub", "caller_number": "+16145550188"})),
    responses(
        (status = 200, description = "A reservation, or that there is none", body = RetreaverReply),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn reserve(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Json<RetreaverReply> {
    let reserved = in_time(reserved(&api, request)).await;
    Json(match reserved {
        Ok(bid) => granted(&bid, "reserved"),
        Err(refusal) => none(of_nothing(api.now(), "rtbs"), &refusal),
    })
}

async fn reserved(api: &Api, request: Request) -> Result<Bid, Refusal> {
    let mut fields = Fields::read(request).await?;
    let key = fields.take("key");
    let door = api.door(Dialect::Retreaver, key.as_deref(), None)?;
    let (caller, number) = (fields.take("caller_number"), fields.take("inbound_number"));
    fields.drop_platforms_own(&door, &["publisher_id", "source_id"]);
    api.price(&door, Said { caller, sip_ok: None, number }, fields).await
}

/// Confirm a reservation as Retreaver has it
///
/// Says whether the price still holds and some target would still take the call. Nothing is reserved by
/// it.
#[utoipa::path(
    put,
    path = "/rtbs/{uuid}",
    operation_id = "retreaver_confirm",
    tag = "dialects",
    params(("uuid" = String, Path, description = "The reservation, with `.json` or without")),
    request_body(content = Object, description = "JSON or a form",
        example = json!({"key": "7fc40342-…", "status": "confirmed"})),
    responses(
        (status = 200, description = "It stands, or not", body = RetreaverReply),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn confirm(
    state: State<Arc<Api>>,
    uuid: Path<String>,
    request: Request,
) -> Json<RetreaverReply> {
    confirmation(state, uuid, request).await
}

/// Confirm a reservation as Retreaver has it, as a change
///
/// The same as with PUT.
#[utoipa::path(
    patch,
    path = "/rtbs/{uuid}",
    operation_id = "retreaver_confirm_as_patch",
    tag = "dialects",
    params(("uuid" = String, Path, description = "The reservation, with `.json` or without")),
    request_body(content = Object, description = "JSON or a form",
        example = json!({"key": "7fc40342-…", "status": "confirmed"})),
    responses(
        (status = 200, description = "It stands, or not", body = RetreaverReply),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn confirm_as_patch(
    state: State<Arc<Api>>,
    uuid: Path<String>,
    request: Request,
) -> Json<RetreaverReply> {
    confirmation(state, uuid, request).await
}

async fn confirmation(
    State(api): State<Arc<Api>>,
    Path(uuid): Path<String>,
    request: Request,
) -> Json<RetreaverReply> {
    let uuid = uuid.strip_suffix(".json").unwrap_or(&uuid);
    let uuid = uuid.parse().unwrap_or(Uuid::nil());
    let confirmed = in_time(confirmed(&api, uuid, request)).await;
    Json(match confirmed {
        Ok(bid) => granted(&bid, "confirmed"),
        Err(refusal) => none(uuid, &refusal),
    })
}

async fn confirmed(api: &Api, uuid: Uuid, request: Request) -> Result<Bid, Refusal> {
    let mut fields = Fields::read(request).await?;
    let key = fields.take("key");
    let door = api.door(Dialect::Retreaver, key.as_deref(), None)?;
    match fields.take("status").as_deref() {
        Some("confirmed") => api.confirmed(&door, PingId(uuid)).await.map(|(bid, _)| bid),
        Some(_) | None => Err(Refusal::Unreadable(String::from("`status` must be `confirmed`"))),
    }
}

fn granted(bid: &Bid, status: &'static str) -> RetreaverReply {
    RetreaverReply {
        uuid: bid.ping.0,
        status,
        retreaver_payout: Some(bid.promise.payout.into()),
        retreaver_seconds: Some(bid.promise.payout_seconds),
        inbound_number: bid.number,
        sip_address: bid.sip.clone(),
        expires_at: Some(bid.promise.until.to_rfc3339()),
        retreaver_ping_shield: bid.repeated.then_some(true),
        reason_code: None,
        reason_detail: None,
    }
}

fn none(uuid: Uuid, refusal: &Refusal) -> RetreaverReply {
    RetreaverReply {
        uuid,
        status: "no-target",
        retreaver_payout: None,
        retreaver_seconds: None,
        inbound_number: None,
        sip_address: None,
        expires_at: None,
        retreaver_ping_shield: None,
        reason_code: Some(refusal.code()),
        reason_detail: Some(refusal.detail()),
    }
}
