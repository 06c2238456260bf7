//! CallGrid's bid API: `/api/bid/GRID`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::openapi::open_faults;
use super::super::router::Api;
use super::fields::Fields;
use super::refusal::{Class, Refusal};
use super::{Amount, Bid, Said, in_time};
use crate::phone::PhoneNumber;
use crate::routing::config::Dialect;

/// A bid (`code` 1000), or none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct CallgridReply {
    /// 1000: a bid; 2000, 3000, 4001 and on: none.
    #[schema(example = 1000)]
    code: u16,
    #[schema(example = "Bid accepted")]
    message: &'static str,
    /// What the publisher is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 33.2)]
    dynamic_bid: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "01954f2e7d1e70008000000000000003")]
    bid_id: Option<String>,
    /// Seconds from the answer at which it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 90)]
    duration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550121")]
    phone_number: Option<PhoneNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bid_01954f2e7d1e70008000000000000003@sip.example.com")]
    sip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 60)]
    expires_in_seconds: Option<i64>,
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

/// Ask for a bid as CallGrid has it
///
/// `CallerId` is the caller's number, `pstn` says that the call cannot be sent over SIP; anything else is a
/// tag.
#[utoipa::path(
    post,
    path = "/api/bid/{grid}",
    operation_id = "callgrid_bid",
    tag = "dialects",
    params(("grid" = String, Path, description = "The grid id")),
    request_body(content = Object, description = "JSON or a form",
        example = json!({"CallerId": "6145550188", "InboundStateCode": "OH"})),
    responses(
        (status = 200, description = "A bid, or why there is none", body = CallgridReply),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn post(
    api: State<Arc<Api>>,
    grid: Path<String>,
    request: Request,
) -> Json<CallgridReply> {
    answer(api, grid, request).await
}

/// Ask for a bid as CallGrid has it, in the query
///
/// The parameters are those of the body.
#[utoipa::path(
    get,
    path = "/api/bid/{grid}",
    operation_id = "callgrid_bid_as_get",
    tag = "dialects",
    params(
        ("grid" = String, Path, description = "The grid id"),
        ("CallerId" = Option<String>, Query, description = "The caller's number"),
        ("InboundStateCode" = Option<String>, Query, description = "Where the caller is"),
        ("InboundZipCode" = Option<String>, Query, description = "The same, closer"),
        ("pstn" = Option<bool>, Query, description = "A number is needed to call"),
    ),
    responses(
        (status = 200, description = "A bid, or why there is none", body = CallgridReply),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn get(
    api: State<Arc<Api>>,
    grid: Path<String>,
    request: Request,
) -> Json<CallgridReply> {
    answer(api, grid, request).await
}

async fn answer(
    State(api): State<Arc<Api>>,
    Path(grid): Path<String>,
    request: Request,
) -> Json<CallgridReply> {
    let bid = in_time(bid(&api, &grid, request)).await;
    Json(match bid {
        Ok(bid) => accepted(&bid),
        Err(refusal) => declined(&refusal),
    })
}

async fn bid(api: &Api, grid: &str, request: Request) -> Result<Bid, Refusal> {
    let door = api.door(Dialect::Callgrid, Some(grid), None)?;
    let mut fields = Fields::read(request).await?;
    let (caller, pstn) = (fields.take("callerid"), fields.take_flag("pstn"));
    fields.drop_platforms_own(&door, &["exposecallerid"]);
    let said = Said { caller, sip_ok: pstn.map(|pstn| !pstn), number: None };
    let bid = api.price(&door, said, fields).await?;
    match (pstn, bid.number) {
        (Some(true), None) => Err(Refusal::Nowhere),
        (Some(true), Some(_)) => Ok(Bid { sip: None, ..bid }),
        (Some(false) | None, _) => Ok(bid),
    }
}

fn accepted(bid: &Bid) -> CallgridReply {
    CallgridReply {
        code: 1000,
        message: "Bid accepted",
        dynamic_bid: Some(bid.promise.payout.into()),
        bid_id: Some(bid.ping.0.as_simple().to_string()),
        duration: Some(bid.promise.payout_seconds),
        phone_number: bid.number,
        sip_address: bid.sip.clone(),
        expires_in_seconds: Some(bid.seconds_left()),
        reason_code: None,
        reason_detail: None,
    }
}

fn declined(refusal: &Refusal) -> CallgridReply {
    let (code, message) = match refusal.class() {
        Class::Disabled => (4001, "Disabled"),
        Class::Paused => (4002, "Campaign is Paused"),
        Class::CallerMalformed | Class::CallerMissing => (4003, "Invalid caller ID"),
        Class::Capped | Class::Closed | Class::Tags => (4004, "Capacity check failed"),
        Class::Duplicate => (4005, "Duplicate. CallerId already paid out."),
        Class::NoNumber => (4006, "No phone numbers available for PSTN."),
        Class::Capacity | Class::TargetsCapped | Class::Rate | Class::Unavailable => {
            (3000, "No capacity")
        }
        Class::Caller | Class::Malformed | Class::Over => (2000, "Bid declined"),
    };
    CallgridReply {
        code,
        message,
        dynamic_bid: None,
        bid_id: None,
        duration: None,
        phone_number: None,
        sip_address: None,
        expires_in_seconds: None,
        reason_code: Some(refusal.code()),
        reason_detail: Some(refusal.detail()),
    }
}
