//! Pools of numbers: how full they are, whether they suffice, and who has which number.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::openapi::faults;
use super::request::Id;
use super::router::Api;
use crate::id::{CampaignId, PoolId, PublisherId, SessionId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::ping::PoolState;
use crate::routing::pool::PastLease;
use crate::routing::snapshot::Pool;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoolList {
    /// In the order of the configuration.
    items: Vec<PoolView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PoolView {
    #[schema(value_type = String, example = "pool_hvac")]
    id: PoolId,
    #[schema(value_type = String, example = "cmp_hvac")]
    campaign: CampaignId,
    #[schema(value_type = String, example = "pub_brightpath")]
    publisher: PublisherId,
    /// `ok`; `short`: with less than `suggested_size` numbers it will be empty at times; `exhausted`:
    /// no number is free.
    #[schema(example = "short")]
    status: &'static str,
    /// Numbers it has.
    #[schema(example = 20)]
    size: usize,
    #[schema(example = 3)]
    free: usize,
    #[schema(example = 12)]
    leased: usize,
    /// Numbers that rest after a lease.
    #[schema(example = 5)]
    quarantined: usize,
    /// What sessions are shown for whom none is left.
    #[schema(value_type = Option<String>, example = "+16145550140")]
    overflow_number: Option<PhoneNumber>,
    /// Live sessions that are shown it: a call there is of each by one part of so many.
    #[schema(example = 0)]
    sharing: usize,
    last_24h: DemandView,
    /// Numbers of which one is free at about 99.9 % of all times, by the busiest hour: λT + 3·√(λT); never
    /// less than `peak_at_once`.
    #[schema(example = 352)]
    suggested_size: u64,
    /// How many it has less.
    #[schema(example = 332)]
    missing: u64,
    /// What those would cost in a month; null: the pool has no `number_cost`.
    #[schema(value_type = Option<String>, example = "332.00")]
    missing_cost: Option<Money>,
}

/// How it was asked for, by the clock's hours: here as far as this process remembers, and at other servers that
/// lend its numbers as they said some seconds ago.
#[derive(Debug, Serialize, ToSchema)]
struct DemandView {
    /// Sessions that wanted a number, each once while it lives.
    #[schema(example = 4211)]
    asked: u64,
    /// Of those, for whom none was left when they first wanted it.
    #[schema(example = 17)]
    missed: u64,
    /// Numbers lent that were those of visitors who had shown no sign of life.
    #[schema(example = 0)]
    taken: u64,
    /// Fewest free numbers at any time.
    #[schema(example = 0)]
    min_free: usize,
    /// Most that asked within an hour.
    #[schema(example = 900)]
    peak_per_hour: u64,
    /// Most numbers that were wanted at one time: those lent or resting, and one more for each session for
    /// which none was left, for as long as it would have kept it from others. Where several servers lend
    /// them it may be somewhat too high: what each had at most within an hour is added.
    #[schema(example = 311)]
    peak_at_once: u64,
    /// How long a number is away on average, its rest included.
    #[schema(example = 1200)]
    hold_s: u64,
}

faults!(ListFaults);

/// List pools
///
/// How full each pool is, how it was asked for in the last 24 hours, and how many numbers it needs.
#[utoipa::path(
    get,
    path = "/v1/pools",
    operation_id = "list_pools",
    tag = "pings",
    responses((status = 200, description = "The pools", body = PoolList), ListFaults),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<PoolList> {
    let snapshot = api.services.routing.in_force();
    let states = api.services.pools.pools();
    let items = snapshot.pools().iter().zip(states).map(|(pool, state)| view(pool, state));
    Json(PoolList { items: items.collect() })
}

/// A number, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NumberView {
    #[schema(value_type = String, example = "+16145550121")]
    number: PhoneNumber,
    #[schema(value_type = String, example = "cmp_hvac")]
    campaign: CampaignId,
    #[schema(value_type = String, example = "pub_brightpath")]
    publisher: PublisherId,
    /// Null: a static number.
    #[schema(value_type = Option<String>, example = "pool_hvac")]
    pool: Option<PoolId>,
    /// The session that has it.
    #[schema(value_type = Option<String>, example = "ses_01954f2e7d1e70008000000000000002")]
    session: Option<SessionId>,
    /// Until when.
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    leased_until: Option<String>,
    /// Live sessions that are shown it since their pool had none left.
    #[schema(example = 0)]
    sharing: usize,
    /// Those that had it in the last week, eight at most, the newest first.
    history: Vec<PastView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PastView {
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000001")]
    session: SessionId,
    #[schema(example = "2026-03-17T14:02:11.002Z")]
    from: String,
    #[schema(example = "2026-03-17T14:32:11.002Z")]
    to: String,
    /// Nobody else had it before this.
    #[schema(example = "2026-03-17T14:47:11.002Z")]
    rested_until: String,
}

faults!(ShowFaults: PathMalformed, NumberNotFound);

/// Show a number
///
/// Whose it is, which session has it, and which had it before. Of numbers that several servers lend it is what
/// their store says, or this server alone while that does not answer.
#[utoipa::path(
    get,
    path = "/v1/numbers/{number}",
    operation_id = "show_number",
    tag = "pings",
    params(("number" = String, Path, description = "In E.164", example = "+16145550121")),
    responses((status = 200, description = "The number", body = NumberView), ShowFaults),
)]
pub(super) async fn number(
    State(api): State<Arc<Api>>,
    Id(number): Id<PhoneNumber>,
) -> Result<Json<NumberView>, Problem> {
    let snapshot = api.services.routing.in_force();
    let owner = snapshot.number(number).ok_or(Code::NumberNotFound)?;
    let state = api.services.pools.number(number).await;
    Ok(Json(NumberView {
        number,
        campaign: owner.campaign.id.clone(),
        publisher: owner.publisher.id.clone(),
        pool: owner.pool.map(|pool| pool.id.clone()),
        session: state.lease.map(|lease| lease.session),
        leased_until: state.lease.map(|lease| lease.expires_at.to_rfc3339()),
        sharing: state.sharing,
        history: state.past.into_iter().rev().map(PastView::from).collect(),
    }))
}

impl From<PastLease> for PastView {
    fn from(past: PastLease) -> Self {
        Self {
            session: past.session,
            from: past.began_at.to_rfc3339(),
            to: past.ended.ended_at.to_rfc3339(),
            rested_until: past.ended.rests_until.to_rfc3339(),
        }
    }
}

fn view(pool: &Pool, state: PoolState) -> PoolView {
    let (numbers, demand, missing) = (state.numbers, state.demand, state.missing());
    PoolView {
        id: pool.id.clone(),
        campaign: pool.campaign.clone(),
        publisher: pool.publisher.clone(),
        status: match (numbers.free, missing) {
            (0, _) => "exhausted",
            (_, 0) => "ok",
            (_, _) => "short",
        },
        size: pool.numbers.len(),
        free: numbers.free,
        leased: numbers.leased,
        quarantined: numbers.quarantined,
        overflow_number: pool.overflow,
        sharing: state.sharing,
        last_24h: DemandView {
            asked: demand.asked,
            missed: demand.missed,
            taken: demand.taken,
            min_free: demand.min_free,
            peak_per_hour: demand.peak_per_hour,
            peak_at_once: demand.peak_at_once,
            hold_s: demand.hold.as_secs(),
        },
        suggested_size: demand.suggested_size,
        missing,
        missing_cost: pool.cost_of(missing),
    }
}
