//! Whether the process is alive, whether it wants work, and what it counts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;
use utoipa::ToSchema;

use super::PressureShown;
use super::error::{Code, Place, Problem};
use super::openapi::{faults, open_faults};
use super::router::Api;

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `ok`, or `ready` where readiness is asked for.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// How the store is that servers share caps through: `open`, `recovering` or `away`. Absent:
    /// there is none.
    #[schema(value_type = Option<String>, example = "open")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_store: Option<&'static str>,
    /// The same of the store that they share sessions and numbers through.
    #[schema(value_type = Option<String>, example = "open")]
    #[serde(skip_serializing_if = "Option::is_none")]
    session_store: Option<&'static str>,
    /// What the server gives up at the moment, each level what those before it do too: 0 nothing, 1 nothing yet
    /// (it is strained), 2 pings of publishers beyond their share, 3 all pings, 4 new calls.
    #[schema(example = 0)]
    pressure_level: u8,
    /// Why, the gravest first, a sentence each.
    #[schema(value_type = Vec<String>, example = json!([]))]
    pressure: Vec<String>,
}

impl HealthAnswer {
    fn new(status: &'static str, api: &Api) -> Json<Self> {
        let health = &api.services.health;
        let (hold_store, session_store) = (health.hold_store(), health.session_store());
        let PressureShown { level: pressure_level, causes: pressure } = health.pressure();
        let version = env!("CARGO_PKG_VERSION");
        Json(Self { status, version, hold_store, session_store, pressure_level, pressure })
    }
}

open_faults!(AliveFaults);

/// Is the process alive?
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "show_health",
    tag = "health",
    security(()),
    responses((status = 200, description = "It is", body = HealthAnswer), AliveFaults),
)]
pub(super) async fn alive(State(api): State<Arc<Api>>) -> Json<HealthAnswer> {
    HealthAnswer::new("ok", &api)
}

open_faults!(ReadyFaults: NotReady);

/// Does the process want new work?
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "show_readiness",
    tag = "health",
    security(()),
    responses((status = 200, description = "It does", body = HealthAnswer), ReadyFaults),
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Json<HealthAnswer>, Problem> {
    let unready = |reasons: Vec<String>| {
        let problem = Problem::new(Code::NotReady, reasons.join("; "));
        reasons
            .into_iter()
            .fold(problem, |problem, reason| problem.with(Place::Whole, "not_ready", reason))
    };
    api.services.health.ready().map(|()| HealthAnswer::new("ready", &api)).map_err(unready)
}

faults!(MetricsFaults);

/// Metrics in the Prometheus text format
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "show_metrics",
    tag = "health",
    responses(
        (status = 200, description = "All metrics", body = String, content_type = "text/plain",
            example = "tollbridge_calls_active 17\n"),
        MetricsFaults,
    ),
)]
pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.services.health.metrics())
}
