//! Whom the server works for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::faults;
use super::router::Api;
use crate::id::AccountId;
use crate::money::Currency;

/// All calls of the server are the account's. Its caps are listed with the others.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountView {
    #[schema(value_type = String, example = "default")]
    id: AccountId,
    #[schema(example = "Harbor Calls")]
    name: String,
    /// Of all amounts, ISO 4217.
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// Of caps, concurrency and schedules that say no other.
    #[schema(example = "America/New_York")]
    time_zone: String,
    /// The configuration it is of.
    #[schema(example = 418)]
    config_rev: u64,
}

faults!(ShowFaults);

/// Show the account
///
/// Whom this server works for, as the configuration in force says.
#[utoipa::path(
    get,
    path = "/v1/account",
    operation_id = "show_account",
    tag = "configuration",
    responses((status = 200, description = "The account", body = AccountView), ShowFaults),
)]
pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<AccountView> {
    let snapshot = api.services.routing.in_force();
    let account = snapshot.account();
    Json(AccountView {
        id: account.id.clone(),
        name: account.name.clone(),
        currency: account.currency.clone(),
        time_zone: snapshot.time_zone().to_owned(),
        config_rev: snapshot.revision(),
    })
}
