//! Caps: how full they are, and what raises and lowers them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, ToSmolStr as _, format_smolstr};
use utoipa::ToSchema;

use super::auth::KeyId;
use super::error::{Code, Place, Problem};
use super::openapi::faults;
use super::request::{Id, IdempotencyKey, JsonBody};
use super::router::Api;
use super::{DepositError, Deposited, Metered, ResetError, ResetRequest, WasReset};
use crate::id::BuyerId;
use crate::money::{Currency, Money};
use crate::routing::config::Percent;
use crate::routing::hold::{Counts, Reset};
use crate::routing::meter::Meter;
use crate::time::Wall;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CapList {
    /// By their names.
    items: Vec<CapView>,
    /// Where servers share limits through Redis: `open`, it was asked just now; `away`, it did not answer,
    /// and they are at least so full, as far as this server knows. Null: it shares none.
    #[schema(example = "open")]
    hold_store: Option<&'static str>,
    /// Of all money, ISO 4217.
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// The configuration they are of.
    #[schema(example = 418)]
    config_rev: u64,
}

/// A cap, or concurrency, in its current window. Amounts are texts: calls, money, or minutes and
/// seconds of talk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CapView {
    /// Whose, what is counted, and in which window.
    #[schema(value_type = String, example = "target/tgt_summit/connected/daily")]
    cap: SmolStr,
    #[schema(value_type = String, example = "connected")]
    counts: Counts,
    /// `strict`, `soft` or `paced`.
    #[schema(example = "strict")]
    mode: &'static str,
    #[schema(value_type = String, example = "d:2026-03-17")]
    window: SmolStr,
    #[schema(value_type = String, example = "61")]
    used: SmolStr,
    /// By calls in flight that may still count, or by live calls; and what other servers keep for when
    /// Redis is away.
    #[schema(value_type = String, example = "4")]
    held: SmolStr,
    /// How much of `held` is for calls that were up when this server's process was killed, and whose end
    /// it does not know yet.
    #[schema(value_type = String, example = "0")]
    awaited: SmolStr,
    /// As it is now: by the hour, by deposits and by agents that are ready.
    #[schema(value_type = String, example = "80")]
    limit: SmolStr,
    /// Of a paced cap how much may be used by now; null: all.
    #[schema(value_type = Option<String>, example = json!(null))]
    by_now: Option<SmolStr>,
    /// Of a paced cap with `assumed_rate`: which part of the calls that hold room is taken to come to
    /// count, 2% to 100%, or as it is written; null: all.
    #[schema(value_type = Option<String>, example = json!(null))]
    rate: Option<SmolStr>,
    /// Where that is `live`: from how many calls it is, of those that the cap counts, in the last 14 days.
    /// With fewer than 30 it is 100%. Null: it is written in the configuration.
    #[schema(example = json!(null))]
    rate_calls: Option<u32>,
    /// When the next window begins; null: never, or it moves along with time.
    #[schema(example = "2026-03-18T04:00:00.000Z")]
    resets_at: Option<String>,
    /// How it began anew last within the window, `POST /v1/caps/{cap}/reset`; null: it has not.
    reset: Option<ResetView>,
}

/// How a cap began anew.
#[derive(Debug, Serialize, ToSchema)]
struct ResetView {
    #[schema(example = "2026-03-17T15:04:12.318Z")]
    at: String,
    /// The name of the API key that asked for it.
    #[schema(value_type = String, example = "ops")]
    by: SmolStr,
    #[schema(value_type = String, example = "calls of a test")]
    why: SmolStr,
    /// What had counted until then, and does not any more.
    #[schema(value_type = String, example = "61")]
    amount: SmolStr,
}

impl ResetView {
    fn new(reset: Reset, counts: Counts) -> Self {
        let Reset { at, by, why, amount, .. } = reset;
        Self { at: at.to_rfc3339(), by, why, amount: counts.show(amount) }
    }
}

impl From<Meter> for CapView {
    fn from(meter: Meter) -> Self {
        let show = |amount| meter.counts.show(amount);
        Self {
            used: show(meter.used),
            held: show(meter.held),
            awaited: show(meter.awaited),
            limit: show(meter.limit),
            by_now: meter.by_now.map(show),
            rate: meter.rate_ppm.map(|ppm| Percent(ppm).to_smolstr()),
            rate_calls: meter.rate_calls,
            resets_at: meter.resets_at.map(Wall::to_rfc3339),
            reset: meter.reset.map(|reset| ResetView::new(reset, meter.counts)),
            cap: meter.key,
            counts: meter.counts,
            mode: meter.mode,
            window: meter.window,
        }
    }
}

faults!(ListFaults);

/// List caps
///
/// All caps and all concurrency of the configuration in force, as full as they are.
#[utoipa::path(
    get,
    path = "/v1/caps",
    operation_id = "list_caps",
    tag = "configuration",
    responses((status = 200, description = "The caps", body = CapList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<CapList> {
    let snapshot = api.services.routing.in_force();
    let (currency, config_rev) = (snapshot.account().currency.clone(), snapshot.revision());
    let Metered { meters, hold_store } = api.services.routing.meters().await;
    let items = meters.into_iter().map(CapView::from).collect();
    Json(CapList { items, hold_store, currency, config_rev })
}

/// Why a cap is to begin anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewReset {
    /// 1 to 200 characters.
    #[schema(value_type = String, example = "calls of a test")]
    why: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetAnswer {
    #[schema(value_type = String, example = "target/tgt_summit/connected/daily")]
    cap: SmolStr,
    /// In which it began anew.
    #[schema(value_type = String, example = "d:2026-03-17")]
    window: SmolStr,
    reset: ResetView,
    /// The same request came before, and was done once.
    #[schema(example = false)]
    repeated: bool,
}

/// Longest reason, in characters.
const WHY_MAX: usize = 200;

faults!(
    ResetFaults: PathMalformed, HeaderMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow,
    BodyTooLarge, BodyMediaType, BodyEncoding, CapNotFound, CapNotResettable, CapResetRefused, CapsUnavailable
);

/// Have a cap begin anew
///
/// Nothing that it has used in its current window counts any more. What calls in flight hold is held still.
/// It is answered once it is on disk, with who asked for it and why. With an `Idempotency-Key` a request is
/// done once, however often it comes and to whichever of the servers that share limits, until another one has
/// the cap begin anew in the same window, or the window has been over for two hours. Two servers that are asked
/// at the same instant may both do it.
#[utoipa::path(
    post,
    path = "/v1/caps/{id}/reset",
    operation_id = "reset_cap",
    tag = "configuration",
    params(
        ("id" = String, Path, description = "Name of the cap, with `%2F` for each `/`",
            example = "target%2Ftgt_summit%2Fconnected%2Fdaily"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Tells this request from others of the cap, 1 to 255 printable characters"),
    ),
    request_body(content = NewReset, description = "At most 65536 bytes"),
    responses((status = 200, description = "It has begun anew", body = ResetAnswer), ResetFaults),
)]
pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    axum::Extension(who): axum::Extension<KeyId>,
    Id(cap): Id<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(NewReset { why }): JsonBody<NewReset>,
) -> Result<Json<ResetAnswer>, Problem> {
    let why = why.trim();
    if !(1..=WHY_MAX).contains(&why.chars().count()) {
        let place = Place::Body(String::from("/why"));
        let detail = format!("has to have 1 to {WHY_MAX} characters");
        return Err(Problem::at(Code::CapResetRefused, place, "malformed", detail));
    }
    let request = ResetRequest { cap: cap.into(), by: who.0.clone(), why: why.into(), key };
    let done = api.services.resets.reset(request).await;
    let WasReset { reset, counts, repeated } = done.map_err(|error| match error {
        ResetError::Unknown => Problem::from(Code::CapNotFound),
        ResetError::NotResettable(why) => Problem::new(Code::CapNotResettable, why.to_string()),
        ResetError::Unavailable(reason) => {
            Problem::new(Code::CapsUnavailable, reason).retry_after(5)
        }
    })?;
    let (cap, window) = (reset.bucket.cap.clone(), reset.bucket.window.clone());
    tracing::info!(key_id = %who.0, %cap, %window, repeated, "a cap begins anew");
    Ok(Json(ResetAnswer { cap, window, reset: ResetView::new(reset, counts), repeated }))
}

/// How many calls at once can be taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyAgents {
    /// Those that talk already among them.
    #[schema(example = 12)]
    count: u32,
}

/// What was said of how many calls at once can be taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadyAnswer {
    #[schema(value_type = String, example = "target/tgt_summit/concurrency")]
    concurrency: SmolStr,
    #[schema(example = 12)]
    count: u32,
}

faults!(
    ReadyFaults: PathMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge,
    BodyMediaType, BodyEncoding, ConcurrencyNotFound
);

/// Say how many agents of a target are ready
///
/// For two minutes the target gets no more calls at once than this, however high its concurrency is. At
/// servers that share limits with this one it holds within a second.
#[utoipa::path(
    put,
    path = "/v1/targets/{id}/ready_agents",
    operation_id = "set_ready_agents_of_target",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the target", example = "tgt_summit")),
    request_body(content = ReadyAgents, description = "At most 65536 bytes"),
    responses((status = 200, description = "It counts from now on", body = ReadyAnswer), ReadyFaults),
)]
pub(super) async fn target_ready(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
    JsonBody(ready): JsonBody<ReadyAgents>,
) -> Result<Json<ReadyAnswer>, Problem> {
    ready_agents(&api, &format_smolstr!("target/{id}/concurrency"), &ready)
}

/// Say how many agents of a buyer are ready
///
/// For two minutes its targets together get no more calls at once than this, however high its
/// concurrency is. At servers that share limits with this one it holds within a second.
#[utoipa::path(
    put,
    path = "/v1/buyers/{id}/ready_agents",
    operation_id = "set_ready_agents_of_buyer",
    tag = "configuration",
    params(("id" = String, Path, description = "Id of the buyer", example = "buy_summit")),
    request_body(content = ReadyAgents, description = "At most 65536 bytes"),
    responses((status = 200, description = "It counts from now on", body = ReadyAnswer), ReadyFaults),
)]
pub(super) async fn buyer_ready(
    State(api): State<Arc<Api>>,
    Id(id): Id<String>,
    JsonBody(ready): JsonBody<ReadyAgents>,
) -> Result<Json<ReadyAnswer>, Problem> {
    ready_agents(&api, &format_smolstr!("buyer/{id}/concurrency"), &ready)
}

fn ready_agents(
    api: &Api,
    key: &SmolStr,
    ready: &ReadyAgents,
) -> Result<Json<ReadyAnswer>, Problem> {
    if !api.services.routing.set_ready(key, ready.count) {
        return Err(Code::ConcurrencyNotFound.into());
    }
    Ok(Json(ReadyAnswer { concurrency: key.clone(), count: ready.count }))
}

/// Money that a buyer has paid in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDeposit {
    /// A decimal text, more than nothing.
    #[schema(value_type = String, example = "500.00")]
    amount: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DepositAnswer {
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    /// This one.
    #[schema(value_type = String, example = "500.00")]
    amount: Money,
    /// All there were, with this one.
    #[schema(value_type = String, example = "1500.00")]
    deposited: Money,
    /// The same deposit came before, and counts once.
    #[schema(example = false)]
    repeated: bool,
}

faults!(
    DepositFaults: PathMalformed, HeaderMalformed, BodySyntax, BodyMistyped, BodyIncomplete,
    BodySlow, BodyTooLarge, BodyMediaType, BodyEncoding, CreditNotFound, DepositRefused, DepositConflict,
    DepositsUnavailable
);

/// Deposit money of a buyer
///
/// Raises what the buyer may owe. It is answered once it is on disk, and is never forgotten. The same
/// `Idempotency-Key` of a buyer deposits once in 30 days; after them it is a new one.
#[utoipa::path(
    post,
    path = "/v1/buyers/{id}/deposits",
    operation_id = "deposit",
    tag = "configuration",
    params(
        ("id" = String, Path, description = "Id of the buyer", example = "buy_summit"),
        ("Idempotency-Key" = String, Header,
            description = "Tells this deposit from the buyer's others of the last 30 days, 1 to 64 printable \
                characters"),
    ),
    request_body(content = NewDeposit, description = "At most 65536 bytes"),
    responses((status = 201, description = "It counts", body = DepositAnswer), DepositFaults),
)]
pub(super) async fn deposit(
    State(api): State<Arc<Api>>,
    axum::Extension(who): axum::Extension<KeyId>,
    Id(buyer): Id<String>,
    headers: axum::http::HeaderMap,
    JsonBody(deposit): JsonBody<NewDeposit>,
) -> Result<(StatusCode, Json<DepositAnswer>), Problem> {
    let buyer = BuyerId::new(&buyer);
    let malformed = || {
        let place = Place::Header("Idempotency-Key");
        let detail = "has to be there, with 1 to 64 printable characters";
        Problem::at(Code::HeaderMalformed, place, "malformed", detail)
    };
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.filter(|key| (1..=64).contains(&key.len())).ok_or_else(malformed)?;
    let wrong = |code, detail: String| {
        let place = Place::Body(String::from("/amount"));
        Problem::at(Code::DepositRefused, place, code, detail)
    };
    let malformed = |detail| wrong("malformed", detail);
    let amount: Money = deposit.amount.parse().map_err(|error| malformed(format!("{error}")))?;
    if amount <= Money::ZERO {
        return Err(malformed(String::from("has to be more than nothing")));
    }
    let done = api.services.credit.deposit(buyer.clone(), amount, key.into()).await;
    let Deposited { deposited, repeated } = done.map_err(|error| match error {
        DepositError::NoCredit => Problem::from(Code::CreditNotFound),
        DepositError::Conflict => Problem::from(Code::DepositConflict),
        DepositError::TooMuch(_) => wrong("too_large", error.to_string()),
        DepositError::Unavailable(reason) => {
            Problem::new(Code::DepositsUnavailable, reason).retry_after(5)
        }
    })?;
    tracing::info!(key_id = %who.0, buyer.id = %buyer, %amount, repeated, "a deposit counts");
    Ok((StatusCode::CREATED, Json(DepositAnswer { buyer, amount, deposited, repeated })))
}
