//! The configuration: it can be read again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::KeyId;
use super::caps::CapView;
use super::error::{Code, Place, Problem};
use super::openapi::faults;
use super::router::Api;
use super::{InForce, Metered};

/// A configuration was put in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// The number of what calls are decided on, which decisions name. Where nothing of that changed it
    /// stays, and it outlives the process.
    #[schema(example = 2)]
    revision: u64,
    /// Caps whose limit was lowered so far below what is used and held that they take no call until that is
    /// less. A paced cap that does not expect all that is held to count may take some still: it is not named.
    closed: Vec<CapView>,
    /// Who says how full they are, as in `GET /v1/caps`.
    #[schema(example = "open")]
    hold_store: Option<&'static str>,
}

faults!(ReloadFaults: ConfigRefused);

/// Read the configuration again
///
/// The file the server was started with is read anew, with the same overrides. It is put in force as
/// a whole, for the calls that come, or refused as a whole. What the process was started with
/// (listeners, stores, keys and the other settings) cannot change. SIGHUP does the same.
#[utoipa::path(
    post,
    path = "/v1/config:reload",
    operation_id = "reload_configuration",
    tag = "configuration",
    responses((status = 200, description = "It is in force", body = Reloaded), ReloadFaults),
)]
pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    axum::Extension(key): axum::Extension<KeyId>,
) -> Result<Json<Reloaded>, Problem> {
    tracing::info!(key_id = %key.0, "an operator has the configuration read again");
    let refused = |faults: Vec<String>| {
        let problem = Problem::new(Code::ConfigRefused, faults.join("; "));
        faults
            .into_iter()
            .fold(problem, |problem, fault| problem.with(Place::Whole, "config", fault))
    };
    let InForce { revision, closed } =
        api.services.configuration.reload().await.map_err(refused)?;
    let Metered { meters, hold_store } = closed;
    let closed = meters.into_iter().map(CapView::from).collect();
    Ok(Json(Reloaded { revision, closed, hold_store }))
}
