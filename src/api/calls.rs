//! Calls: lists, one call, and its end.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::HangUpError;
use super::auth::KeyId;
use super::error::{Code, Problem, RETRY_SOON_S};
use super::openapi::faults;
use super::page::{CallPage, Cursors, next_link};
use super::query::{Parameters, instant, malformed, one_of, parameter};
use super::record::{CallDetail, CallSummary};
use super::request::Id;
use super::router::Api;
use crate::cdr::record::{CallRecord, CallState, Outcome};
use crate::cdr::store::{CallFilter, PAGE_MAX};
use crate::id::CallId;
use crate::reason::Reason;

const PAGE_DEFAULT: usize = 50;

const STATES: [(&str, CallState); 3] = [
    ("open", CallState::Open),
    ("closed", CallState::Closed),
    ("orphan_closed", CallState::OrphanClosed),
];

const OUTCOMES: [(&str, Outcome); 6] = [
    ("in_progress", Outcome::InProgress),
    ("converted", Outcome::Converted),
    ("connected", Outcome::Connected),
    ("no_answer", Outcome::NoAnswer),
    ("refused", Outcome::Refused),
    ("handed_over", Outcome::HandedOver),
];

faults!(
    ListFaults: QueryUnknown, QueryRepeated, QueryMalformed, CursorInvalid, StoreUnavailable,
    StoreDamaged
);

/// List calls on record, newest first
///
/// A call is listed once its record is stored: when it is over, or after a while when it is long.
/// `/v1/calls/live` lists those that are up.
#[utoipa::path(
    get,
    path = "/v1/calls",
    operation_id = "list_calls",
    tag = "calls",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of calls", body = CallPage,
            headers(("Link" = String, description = "`rel=\"next\"`: the page after this one"))),
        ListFaults,
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<(HeaderMap, Json<CallPage>), Problem> {
    let query = ListQuery::read("calls", &uri, &api.cursors)?;
    let (filter, after, limit) = (query.filter, query.after, query.limit);
    let records = api.services.calls.list(filter, after, limit).await?;
    let ids = records.iter().map(|record| record.call).collect();
    let scores: BTreeMap<_, _> = api.services.scores.of_calls(ids).await?.into_iter().collect();
    // A full page may be followed by an empty one: asking for one record more is not possible at
    // the largest limit.
    let last = (records.len() == limit).then(|| records.last().map(|it| it.call)).flatten();
    let next = last.map(|last| api.cursors.seal(&query.list, last));
    let calls = records.iter().map(|record| {
        let mut summary = CallSummary::from(record);
        summary.fraud_score = scores.get(&record.call).map(|scored| scored.score);
        summary
    });
    Ok(page(&uri, calls.collect(), next))
}

faults!(LiveFaults: QueryUnknown, QueryRepeated, QueryMalformed, CursorInvalid);

/// List calls that are up, newest first
///
/// Takes the same filters as `/v1/calls`, and may still show a call that ended this moment.
#[utoipa::path(
    get,
    path = "/v1/calls/live",
    operation_id = "list_live_calls",
    tag = "calls",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of calls", body = CallPage,
            headers(("Link" = String, description = "`rel=\"next\"`: the page after this one"))),
        LiveFaults,
    ),
)]
pub(super) async fn live(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<(HeaderMap, Json<CallPage>), Problem> {
    let query = ListQuery::read("live", &uri, &api.cursors)?;
    let mut records = api.services.live.live();
    records.retain(|record| {
        query.after.is_none_or(|after| record.call < after) && query.filter.matches(record)
    });
    records.sort_unstable_by_key(|record| Reverse(record.call));
    let more = records.len() > query.limit;
    records.truncate(query.limit);
    let last = records.last().filter(|_| more).map(|record| record.call);
    let next = last.map(|last| api.cursors.seal(&query.list, last));
    Ok(page(&uri, records.iter().map(|it| CallSummary::from(&**it)).collect(), next))
}

faults!(ShowFaults: PathMalformed, CallNotFound, StoreUnavailable, StoreDamaged);

/// Show a call with its attempts and its timeline
///
/// A call is found from its admission on, whether it is up or over.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}",
    operation_id = "show_call",
    tag = "calls",
    params(("id" = String, Path, description = "Id of the call",
        example = "cal_01954f2e7d1e70008000000000000001")),
    responses((status = 200, description = "The call", body = CallDetail), ShowFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Id(id): Id<CallId>,
) -> Result<Json<CallDetail>, Problem> {
    let record = api.record(id).await?;
    let scored = api.services.scores.of_calls(vec![id]).await?.pop();
    let scored = scored.map(|(_, scored)| scored);
    Ok(Json(CallDetail::from(&*record).scored(scored)))
}

/// The end of a call was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HangUp {
    #[schema(value_type = String, example = "cal_01954f2e7d1e70008000000000000001")]
    call_id: CallId,
    /// Always `ending`.
    #[schema(value_type = String, example = "ending")]
    status: &'static str,
}

faults!(HangUpFaults: PathMalformed, CallNotLive, CallNotTold);

/// End a call
///
/// Both sides are told to hang up. The call ends with the reason `end.operator` shortly after
/// the answer.
#[utoipa::path(
    post,
    path = "/v1/calls/{id}/hangup",
    operation_id = "hang_up_call",
    tag = "calls",
    params(("id" = String, Path, description = "Id of the call",
        example = "cal_01954f2e7d1e70008000000000000001")),
    responses((status = 202, description = "The call is being ended", body = HangUp), HangUpFaults),
)]
pub(super) async fn hang_up(
    State(api): State<Arc<Api>>,
    axum::Extension(key): axum::Extension<KeyId>,
    Id(id): Id<CallId>,
) -> Result<(StatusCode, Json<HangUp>), Problem> {
    let asked = api.services.live.hang_up(id);
    if asked != Err(HangUpError::NotUp) {
        // One that may not have been told ends all the same if it was.
        tracing::info!(call_id = %id, key_id = %key.0, "an operator ends a call");
    }
    match asked {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(HangUp { call_id: id, status: "ending" }))),
        Err(HangUpError::NotUp) => Err(Code::CallNotLive.into()),
        Err(HangUpError::Busy) => Err(Problem::from(Code::CallNotTold).retry_after(RETRY_SOON_S)),
    }
}

impl Api {
    /// The record of a call, up or over.
    pub(super) async fn record(&self, id: CallId) -> Result<Arc<CallRecord>, Problem> {
        // In this order: a call leaves the live view after the store has its closed record.
        if let Some(record) = self.services.live.find(id) {
            return Ok(record);
        }
        let stored = self.services.calls.find(id).await?;
        stored.map(Arc::new).ok_or_else(|| Code::CallNotFound.into())
    }
}

/// What a list of calls is asked for.
pub(super) struct ListQuery {
    filter: CallFilter,
    /// The last call of the page before.
    after: Option<CallId>,
    limit: usize,
    /// What cursors of this list are bound to.
    list: String,
}

impl ListQuery {
    /// Reads the parameters for the list named `kind`.
    fn read(kind: &str, uri: &Uri, cursors: &Cursors) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let limit = given.take_with("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.ok_or_else(|| format!("must be 1 to {PAGE_MAX}"))
        })?;
        let cursor = given.take_with("cursor", |text| Ok(text.to_owned()))?;
        let list = format!("{kind} {}", given.fingerprint());
        let filter = filter(&mut given)?;
        given.finish()?;
        let after = cursor.map(|cursor| cursors.continued(&list, &cursor)).transpose()?;
        Ok(Self { filter, after, limit: limit.unwrap_or(PAGE_DEFAULT), list })
    }
}

fn filter(given: &mut Parameters) -> Result<CallFilter, Problem> {
    let filter = CallFilter {
        campaign: given.take_name("campaign")?,
        publisher: given.take_name("publisher")?,
        buyer: given.take_name("buyer")?,
        target: given.take_name("target")?,
        trunk: given.take_name("trunk")?,
        caller: given.take("caller")?,
        did: given.take("did")?,
        session: given.take("session")?,
        state: given.take_with("state", |text| one_of(&STATES, text))?,
        outcome: given.take_with("outcome", |text| one_of(&OUTCOMES, text))?,
        reason: given.take_with("reason", |text| {
            let unknown =
                || String::from("must be a reason code, such as `end_reason` of a call has");
            Reason::from_code(text).ok_or_else(unknown)
        })?,
        since: given.take_with("since", instant)?,
        until: given.take_with("until", instant)?,
        fraud_min: given.take_with("fraud_min", |text| {
            let score = text.parse().ok().filter(|score| (0..=100).contains(score));
            score.ok_or_else(|| String::from("must be 0 to 100"))
        })?,
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && until <= since
    {
        return Err(malformed("until", "must be after `since`"));
    }
    Ok(filter)
}

/// The page, and where the next one is (RFC 8288).
fn page(uri: &Uri, calls: Vec<CallSummary>, next: Option<String>) -> (HeaderMap, Json<CallPage>) {
    (next_link(uri, next.as_deref()), Json(CallPage { calls, next }))
}

impl utoipa::IntoParams for ListQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = |name: &str, example: &str, description: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
            parameter(name, description, schema)
        };
        let choice = |name: &str, description: &str, names: Vec<&str>| {
            let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
            parameter(name, description, schema)
        };
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(PAGE_MAX))
            .default(Some(PAGE_DEFAULT.into()));
        vec![
            parameter("limit", "Calls per page at most", limit),
            text(
                "cursor",
                "019cfc536f1e700080000000000000005d41402abc4b2a76b9719d911017c592",
                "`next` of the page before; the filters must be the same",
            ),
            text("campaign", "cmp_hvac", "Id of the campaign"),
            text("publisher", "pub_brightpath", "Id of the publisher"),
            text("buyer", "buy_summit", "Id of the buyer that answered, else of the last tried"),
            text("target", "tgt_summit", "Id of the target that answered, else of the last tried"),
            text("trunk", "trk_a", "Id of the trunk the call came in on"),
            text("caller", "+16145550163", "The caller's number"),
            text("did", "+16145550104", "The dialled number"),
            text("session", "ses_01954f2e7d1e70008000000000000002", "Id of the ping session"),
            choice("state", "Whether it is over", STATES.map(|(name, _)| name).to_vec()),
            choice("outcome", "How it came out", OUTCOMES.map(|(name, _)| name).to_vec()),
            choice(
                "reason",
                "Why it ended or was refused, as `end_reason` says it",
                Reason::ALL.iter().map(|reason| reason.code()).collect(),
            ),
            text("since", "2026-03-17T00:00:00Z", "Admitted at or after"),
            text("until", "2026-03-18T00:00:00Z", "Admitted before"),
            parameter(
                "fraud_min",
                "With a fraud score of so much or more; calls that are up have none",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(0))
                    .maximum(Some(100))
                    .examples([50]),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_states_and_outcomes_are_those_of_the_records() {
        for (name, state) in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
        for (name, outcome) in OUTCOMES {
            assert_eq!(serde_json::to_value(outcome).unwrap(), name);
        }
    }
}
