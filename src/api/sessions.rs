//! Sessions of visitors: opened by a page or a form, kept while the page is open, let go when it is
//! closed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};

use super::caller::{Caller, Sender, Visiting};
use super::error::{Code, Place, Problem};
use super::openapi::publisher_faults;
use super::pings::{REPLAYED, SessionStatus, status_name};
use super::request::{Id, IdempotencyKey, PageBody};
use super::router::Api;
use super::{Arrived, PingError};
use crate::id::{ParseIdError, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    NumberStatus, Reference, Session, SessionKind, Touched, Visit, VisitKind, VisitRequest,
    VisitUpdate,
};

/// Where sessions are.
pub(super) const PATH: &str = "/v1/sessions";
/// One of them, and what is done to it.
pub(super) const ONE: &str = "/v1/sessions/{id}";

/// The fields of a visit's body.
const FIELDS: [&str; 21] = [
    "key",
    "type",
    "visitor_id",
    "publisher",
    "campaign",
    "pool",
    "want",
    "page_url",
    "referrer",
    "user_agent",
    "form_id",
    "submitted_at",
    "phone_hash",
    "caller_id",
    "zip",
    "state",
    "sub_id",
    "lead",
    "consent",
    "tags",
    "strict",
];

/// A visitor's session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    /// To be kept by the page: it brings back the session.
    #[schema(value_type = String, example = "v_8c1f0b7e")]
    visitor_id: SmolStr,
    /// The number to show, in E.164. Left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550104")]
    number: Option<PhoneNumber>,
    /// As people write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "(614) 555-0104")]
    display: Option<String>,
    /// For a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "tel:+16145550104")]
    click_to_call: Option<String>,
    /// As in the answer to a ping.
    #[schema(value_type = String, example = "leased")]
    number_status: &'static str,
    /// The user part of the session's own SIP address.
    #[schema(example = "bid_01954f2e7d1e70008000000000000003")]
    sip_user: String,
    /// Until when the session lives without a sign of life.
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    /// How often to give one.
    #[schema(example = 60)]
    heartbeat_every_s: u32,
    /// What of this is of the number, if it was lent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseView>,
    /// The number is one that all share for whom the pool has none left.
    #[schema(example = false)]
    overflow: bool,
    /// Names of what the page said and that is not kept, such as a click id that is too long: the first few.
    #[schema(value_type = Vec<String>, example = json!([]))]
    left_out: Vec<SmolStr>,
}

/// A number that was lent to a visitor.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LeaseView {
    #[schema(value_type = String, example = "leased")]
    state: &'static str,
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    #[schema(example = 60)]
    heartbeat_every_s: u32,
}

/// A session after a sign of life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeartbeatAnswer {
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    /// The number to show: another one if the visitor's was taken away; absent: none is left for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550104")]
    number: Option<PhoneNumber>,
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    #[schema(example = 60)]
    heartbeat_every_s: u32,
    #[schema(value_type = Vec<String>, example = json!([]))]
    left_out: Vec<SmolStr>,
}

/// A session whose page was closed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseAnswer {
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    /// When its number begins to rest, unless the page gives another sign of life.
    #[schema(example = "2026-03-17T15:09:12.318Z")]
    expires_at: String,
}

publisher_faults!(
    OpenFaults: HeaderMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge,
    BodyMediaType, BodyEncoding, PublisherForbidden, PingRefused, KeyReused, KeyInProgress, PingsOverQuota, PingsOverShare, PingsFull, PingsCapped, PingsUnavailable
);

/// Open a session of a visitor
///
/// For a page view, which is lent a number of a pool, or a form that was sent in. A visitor who has a live
/// session gets it back, with its number. What the page's address says of the click becomes tags. A page
/// sends this itself with a site key, in a header, the query or the body, which may also be `text/plain`.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    operation_id = "open_session",
    tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "By what a request that opens a session is known again for 24 hours, 1 to 255 \
            printable characters; a visitor with a session needs none")),
    request_body(content = VisitBody, description = "At most 65536 bytes"),
    responses(
        (status = 201, description = "The session is open", body = SessionAnswer, headers(
            ("Location" = String, description = "Where the session can be read"),
            ("Idempotent-Replayed" = Option<String>,
                description = "`true`: the same request came before, and this is what it was answered"),
        )),
        (status = 200, description = "The visitor has a session", body = SessionAnswer),
        OpenFaults,
    ),
)]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    visiting: Visiting,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    PageBody(mut visit): PageBody<VisitRequest>,
) -> Result<Response, Problem> {
    let snapshot = api.services.routing.in_force();
    let caller = visiting.caller(visit.key.take().as_deref(), snapshot.access())?;
    if let Caller::Page { pool, .. } = &caller {
        of_page(&mut visit, pool.as_ref())?;
        if visit.user_agent.is_none() {
            let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
            visit.user_agent = agent.map(str::to_owned);
        }
    }
    caller.sign(&mut visit.publisher)?;
    let arrival = api.services.visitors.visit(visit, key.map(Reference::Visit));
    let Arrived { visit, replayed } = arrival.await.map_err(problem)?;
    tracing::debug!(session_id = %visit.accepted.session, "a visitor has a session");
    let status = if visit.accepted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let answer = SessionAnswer::from(visit);
    let location = HeaderValue::try_from(format!("{PATH}/{}", answer.session_id));
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, location.expect("ids are printable"));
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok((status, headers, Json(answer)).into_response())
}

publisher_faults!(ShowFaults: PathMalformed, SessionNotFound, SessionsAway, StoreUnavailable, StoreDamaged);

/// Show a session
///
/// Whatever opened it. It is found until it expires.
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}",
    operation_id = "show_session",
    tag = "sessions",
    params(("id" = String, Path, description = "Id of the session",
        example = "ses_01954f2e7d1e70008000000000000002")),
    responses((status = 200, description = "The session", body = SessionStatus), ShowFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Sender(caller): Sender,
    Id(id): Id<SessionId>,
) -> Result<Json<SessionStatus>, Problem> {
    let found = api.services.visitors.session(id).await?;
    let found = found.filter(|it| caller.sees(&it.publisher));
    Ok(Json(api.status(found.ok_or(Code::SessionNotFound)?, &caller).await?))
}

/// What is done to a session: `ID:heartbeat` or `ID:release`.
pub(super) async fn act(
    state: State<Arc<Api>>,
    visiting: Visiting,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    match path.split_once(':') {
        Some((id, "heartbeat")) => {
            let update = PageBody::from_request(request, &state).await?;
            let answer = heartbeat(state, visiting, id.to_owned(), update).await;
            answer.map(IntoResponse::into_response)
        }
        Some((id, "release")) => {
            let update = PageBody::from_request(request, &state).await?;
            let answer = release(state, visiting, id.to_owned(), update).await;
            answer.map(IntoResponse::into_response)
        }
        Some(_) | None => Err(Code::RouteNotFound.into()),
    }
}

publisher_faults!(
    HeartbeatFaults: PathMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow,
    BodyTooLarge, BodyMediaType, BodyEncoding, SessionNotFound, SessionsAway, SessionTooOften, PingRefused, PingsUnavailable
);

/// Keep a session
///
/// A sign of life, and what is new: the session lives on from now, and keeps its number. It is not waited
/// for until it is on disk. Without a body nothing is new. New tags are taken ten times at once and once a
/// second, and not while the server takes no pings: otherwise they are refused and to be sent again, while
/// a sign of life without them goes on to be answered.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}:heartbeat",
    operation_id = "keep_session",
    tag = "sessions",
    params(("id" = String, Path, description = "Id of the session",
        example = "ses_01954f2e7d1e70008000000000000002")),
    request_body(content = Option<UpdateBody>, description = "At most 65536 bytes"),
    responses((status = 200, description = "The session lives on", body = HeartbeatAnswer), HeartbeatFaults),
)]
pub(super) async fn heartbeat(
    State(api): State<Arc<Api>>,
    visiting: Visiting,
    id: String,
    PageBody(mut update): PageBody<VisitUpdate>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let id = api.own(visiting, update.key.take().as_deref(), &id).await?;
    let touched = api.services.visitors.touch(id, update).await.map_err(problem)?;
    let Touched { session, number, expires_at, heartbeat_s, left_out, .. } =
        touched.ok_or(Code::SessionNotFound)?;
    Ok(Json(HeartbeatAnswer {
        session_id: session,
        number,
        expires_at: expires_at.to_rfc3339(),
        heartbeat_every_s: heartbeat_s,
        left_out,
    }))
}

publisher_faults!(
    ReleaseFaults: PathMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow,
    BodyTooLarge, BodyMediaType, BodyEncoding, SessionNotFound, SessionsAway, PingsUnavailable
);

/// Let a session go
///
/// The page was closed. The session lives on for the `closed_browser_delay_s` of its pool, then its number
/// rests; a visitor who is back sooner keeps both.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}:release",
    operation_id = "release_session",
    tag = "sessions",
    params(("id" = String, Path, description = "Id of the session",
        example = "ses_01954f2e7d1e70008000000000000002")),
    request_body(content = Option<UpdateBody>, description = "Nothing but a key, if that"),
    responses((status = 200, description = "The session is about to end", body = ReleaseAnswer), ReleaseFaults),
)]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    visiting: Visiting,
    id: String,
    PageBody(mut update): PageBody<VisitUpdate>,
) -> Result<Json<ReleaseAnswer>, Problem> {
    let id = api.own(visiting, update.key.take().as_deref(), &id).await?;
    let released = api.services.visitors.release(id).await.map_err(problem)?;
    let expires_at = released.ok_or(Code::SessionNotFound)?.to_rfc3339();
    Ok(Json(ReleaseAnswer { session_id: id, expires_at }))
}

impl Api {
    /// A live session that the caller may speak for. Whoever shows no key is told nothing else.
    async fn own(
        &self,
        visiting: Visiting,
        key: Option<&str>,
        id: &str,
    ) -> Result<SessionId, Problem> {
        let snapshot = self.services.routing.in_force();
        let caller = visiting.caller(key, snapshot.access())?;
        let id = id.parse().map_err(|e: ParseIdError| {
            let place = Place::Parameter(String::from("id"));
            Problem::at(Code::PathMalformed, place, "malformed", e.to_string())
        })?;
        let found = self.services.visitors.session(id).await?;
        let is_theirs = |session: &Session| {
            caller.sees(&session.publisher)
                && match &caller {
                    Caller::Page { pool, .. } => {
                        session.kind == SessionKind::PageView
                            && (pool.is_none() || *pool == session.pool)
                    }
                    Caller::Operator | Caller::Publisher(_) | Caller::KeyInBody => true,
                }
        };
        found.filter(is_theirs).map(|_| id).ok_or_else(|| Code::SessionNotFound.into())
    }
}

/// What anybody may write who reads a page must not become another's call, or a form.
fn of_page(visit: &mut VisitRequest, pool: Option<&PoolId>) -> Result<(), Problem> {
    let forbidden = |field: &str, detail: &str| {
        let place = Place::Body(format!("/{field}"));
        Problem::at(Code::KeyForbidden, place, "forbidden", detail)
    };
    if visit.kind != VisitKind::PageView {
        return Err(forbidden("type", "a site key opens page views alone"));
    }
    if visit.caller_id.is_some() {
        return Err(forbidden("caller_id", "a site key names no caller"));
    }
    match (&visit.pool, pool) {
        (Some(named), Some(own)) if named != own => {
            Err(forbidden("pool", "the site key is another pool's"))
        }
        (Some(_), _) | (None, None) => Ok(()),
        (None, Some(own)) => {
            visit.pool = Some(own.clone());
            Ok(())
        }
    }
}

fn problem(error: PingError) -> Problem {
    match error {
        PingError::Refused(refusals) => Problem::of_refusals(&refusals, &FIELDS),
        other @ (PingError::NoBid(_)
        | PingError::OverQuota(_)
        | PingError::OverShare(_)
        | PingError::InProgress(_)
        | PingError::OtherBody(_)
        | PingError::TooOften
        | PingError::StoreAway
        | PingError::Unavailable { .. }) => other.into(),
    }
}

/// `(614) 555-0104` of North America, else E.164.
fn display(number: PhoneNumber) -> String {
    match number.nanp_area_code() {
        Some(area) => {
            let digits = number.digits() % 10_000_000;
            format!("({area:03}) {:03}-{:04}", digits / 10_000, digits % 10_000)
        }
        None => number.to_e164(),
    }
}

impl From<Visit> for SessionAnswer {
    fn from(visit: Visit) -> Self {
        let accepted = visit.accepted;
        let lease = (accepted.number_status == NumberStatus::Leased).then(|| LeaseView {
            state: status_name(accepted.number_status),
            expires_at: accepted.expires_at.to_rfc3339(),
            heartbeat_every_s: visit.heartbeat_s,
        });
        Self {
            session_id: accepted.session,
            visitor_id: visit.visitor,
            number: accepted.number,
            display: accepted.number.map(display),
            click_to_call: accepted.number.map(|number| format!("tel:{}", number.to_e164())),
            number_status: status_name(accepted.number_status),
            sip_user: SessionKey::address_of(accepted.ping),
            expires_at: accepted.expires_at.to_rfc3339(),
            heartbeat_every_s: visit.heartbeat_s,
            lease,
            overflow: accepted.number_status == NumberStatus::Shared,
            left_out: visit.left_out,
        }
    }
}

/// Describes [`VisitRequest`], as [`PingBody`](super::pings::PingBody) a ping.
pub(super) struct VisitBody;

/// Describes [`VisitUpdate`].
pub(super) struct UpdateBody;

impl ToSchema for VisitBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "VisitRequest".into()
    }
}

impl ToSchema for UpdateBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "VisitUpdate".into()
    }
}

impl utoipa::PartialSchema for VisitBody {
    fn schema() -> RefOr<Schema> {
        page_fields(ObjectBuilder::new().schema_type(Type::Object))
            .property("type", one_of(&["page_view", "form"], "Left out: `page_view`"))
            .property(
                "visitor_id",
                text("The visitor's own id, which brings back its session. Left out: one is made")
                    .max_length(Some(128)),
            )
            .property("publisher", text("Left out: whose key or pool it is"))
            .property("campaign", text("May be left out when `pool` is given"))
            .property("pool", text("Left out: the publisher's pool for the campaign"))
            .property(
                "want",
                one_of(
                    &["number", "nothing"],
                    "Left out: a number for a page view, none for a form",
                ),
            )
            .property("user_agent", text("Becomes the tag `user_agent`"))
            .property("form_id", text("Becomes the tag `form_id`"))
            .property(
                "submitted_at",
                text("When the page says it was sent: kept as a tag, and used for nothing"),
            )
            .property("phone_hash", text("Becomes the tag `phone_hash`"))
            .property("caller_id", text("In E.164 or with the usual separators; ten digits without `+` are of North America"))
            .property("zip", text("Becomes the tags `geo.zip` and `geo.zip3`"))
            .property("state", text("Becomes the tag `geo.state`, in capitals"))
            .property("sub_id", text("Becomes the tag `sub_id`"))
            .property("lead", map("Each field becomes a tag `lead.NAME`"))
            .property("consent", map("Each field becomes a tag `consent.NAME`"))
            .property(
                "strict",
                ObjectBuilder::new().schema_type(Type::Boolean).description(Some(
                    "Whether fields that are not known here are refused. Left out: if the publisher's \
                     `strict_pings` has it",
                )),
            )
            .description(Some(
                "A visit of a page, or a form that was sent in. Fields that are not known here are kept as \
                 `extra`, as those of a ping; `page_url` may be called `landing_url`",
            ))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .examples([serde_json::json!({
                "pool": "pool_hvac",
                "visitor_id": "v_8c1f0b7e",
                "page_url": "https://columbus-hvac.example/repair?utm_source=google&gclid=Cj0",
            })])
            .into()
    }
}

impl utoipa::PartialSchema for UpdateBody {
    fn schema() -> RefOr<Schema> {
        page_fields(ObjectBuilder::new().schema_type(Type::Object))
            .description(Some(
                "What is new of a visit. Fields that are not known here are not kept, and named as `left_out`",
            ))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .examples([serde_json::json!({"page_url": "https://columbus-hvac.example/prices"})])
            .into()
    }
}

fn page_fields(body: ObjectBuilder) -> ObjectBuilder {
    body.property("key", text("A publisher's or a site key, of whoever can send no header"))
        .property(
            "page_url",
            text("Becomes `page.host`, `page.path`, and a tag for each `utm_…` and click id in it"),
        )
        .property("referrer", text("Becomes `referrer.host`"))
        .property("tags", map("Each field becomes a tag of its name"))
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn one_of(values: &[&str], description: &str) -> ObjectBuilder {
    text(description).enum_values(Some(values.to_vec()))
}

fn map(description: &str) -> ObjectBuilder {
    let anything = AdditionalProperties::FreeForm(true);
    let object = ObjectBuilder::new().schema_type(Type::Object).description(Some(description));
    object.additional_properties(Some(anything))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documented_body_has_the_fields_of_a_visit() {
        let filled: VisitRequest = serde_json::from_value(serde_json::json!({
            "key": "k", "type": "form", "visitor_id": "v", "publisher": "p", "campaign": "c", "pool": "p",
            "want": "nothing", "page_url": "u", "referrer": "r", "user_agent": "a", "form_id": "f",
            "submitted_at": "s", "phone_hash": "h", "caller_id": "1", "zip": "1", "state": "OH",
            "sub_id": "s", "lead": {"a": 1}, "consent": {"a": 1}, "tags": {"a": 1}, "strict": false,
        }))
        .unwrap();
        let fields = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
        };

        let schema = serde_json::to_value(<VisitBody as utoipa::PartialSchema>::schema()).unwrap();

        let mut known = fields(&serde_json::to_value(filled).unwrap());
        // It is never written.
        known.insert(String::from("key"));
        assert_eq!(fields(&schema["properties"]), known);
        assert_eq!(BTreeSet::from(FIELDS.map(str::to_owned)), known);
    }

    #[test]
    fn a_number_is_shown_as_people_write_it() {
        assert_eq!(display("+16145550104".parse().unwrap()), "(614) 555-0104");
        assert_eq!(display("+442079460018".parse().unwrap()), "+442079460018");
    }
}
