//! Pings: what publishers tell us about a caller before the call comes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};

use super::caller::{Caller, Sender};
use super::error::{Code, Place, Problem, RETRY_SOON_S};
use super::fraud::Fraud;
use super::openapi::publisher_faults;
use super::request::{Id, IdempotencyKey, JsonBody, escape};
use super::router::Api;
use super::trials::TrialAnswer;
use super::{PingError, Sent};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fraud::Scored;
use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::Tags;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    Accepted, EXTRA_MAX, NumberStatus, PING_FIELDS, PingRefusals, PingRequest, Reference,
    RefusalCode, Session, SessionKind,
};
use crate::routing::quote::Promise;
use crate::time::Wall;

/// Says that an answer was given before.
pub(super) const REPLAYED: &str = "idempotent-replayed";
/// When to try again while all sessions are taken; they live for minutes.
const RETRY_FULL_S: u32 = 5;
/// And while a cap is full, of which the shortest begin anew after a minute.
const RETRY_CAPPED_S: u32 = 60;

/// A ping that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PingAnswer {
    #[schema(value_type = String, example = "png_01954f2e7d1e70008000000000000003")]
    ping_id: PingId,
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    /// The number to show to this visitor, in E.164. Left out if none was lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550121")]
    number: Option<PhoneNumber>,
    /// The user part of the session's own SIP address, `sip:USER@EDGE`: a call there is the session's,
    /// from whomever it comes.
    #[schema(example = "bid_01954f2e7d1e70008000000000000003")]
    sip_user: String,
    /// The same for those who take every user part for a number: digits alone, and no number of E.164.
    #[schema(example = "003141592653589")]
    sip_user_digits: String,
    /// `not_asked`, `leased`, `shared`: the pool has no free number, and others see this one too; or
    /// `exhausted`: it has none, and none that is shown instead.
    #[schema(value_type = String, example = "leased")]
    number_status: &'static str,
    /// Until when a call is matched to the session, and the number is lent.
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    /// Fields of the ping that are not known here: kept with the session, and nothing goes by them. Left
    /// out: there were none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["colour"]))]
    not_known: Vec<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionStatus {
    #[schema(value_type = String, example = "png_01954f2e7d1e70008000000000000003")]
    ping_id: PingId,
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    /// `live`, or `consumed`: a call was matched to it; or `expired`: none was, and it is over. While a price is
    /// promised to the caller whom the ping named, a call of another one does not consume it.
    #[schema(value_type = String, example = "live")]
    status: &'static str,
    /// What opened it: `ping`, `page_view` or `form`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "ping")]
    kind: &'static str,
    /// By which the visitor is known again.
    #[schema(value_type = Option<String>, example = "v_8c1f0b7e")]
    visitor_id: Option<SmolStr>,
    #[schema(value_type = Option<String>, example = "click-8812")]
    request_id: Option<SmolStr>,
    #[schema(value_type = String, example = "pub_brightpath")]
    publisher: PublisherId,
    #[schema(value_type = String, example = "cmp_hvac")]
    campaign: CampaignId,
    #[schema(value_type = Option<String>, example = "+16145550163")]
    caller_id: Option<PhoneNumber>,
    #[schema(value_type = Option<String>, example = "pool_hvac")]
    pool: Option<PoolId>,
    #[schema(value_type = Option<String>, example = "+16145550121")]
    number: Option<PhoneNumber>,
    /// What the ping said about the caller.
    #[schema(value_type = Object, example = json!({"geo.state": "OH"}))]
    tags: Tags,
    /// What it said in fields that are not known here, anything but texts as JSON.
    #[schema(value_type = Object, example = json!({"colour": "red"}))]
    extra: Tags,
    #[schema(example = "2026-03-17T15:04:12.318Z")]
    created_at: String,
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    /// When a call that consumes it was first matched to it.
    #[schema(example = json!(null))]
    consumed_at: Option<String>,
    /// What its publisher was promised for its first call. Left out: it asked for no price.
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<SessionQuote>,
    /// What is known of the caller besides: what the number tells, and what enrichers said. Half a second
    /// or so behind, and for operators alone.
    enriched: Vec<EnrichedStatus>,
    /// How much it looks like fraud, and why; null: it has no caller, is not scored yet, or a publisher
    /// reads it.
    fraud: Option<Fraud>,
}

/// A price that was promised.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionQuote {
    /// What the publisher is paid.
    #[schema(value_type = String, example = "33.20")]
    payout: Money,
    /// Seconds after the answer at which it is due.
    #[schema(example = 90)]
    seconds: u32,
    /// The call has to come before this.
    #[schema(example = "2026-03-17T15:05:12.318Z")]
    until: String,
    /// Nothing is due for a duplicate.
    #[schema(example = true)]
    no_duplicates: bool,
}

/// What one source came to for a session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnrichedStatus {
    /// One of `enrichers`, or `embedded`: what the form of the number tells.
    #[schema(value_type = String, example = "lineinfo")]
    source: SmolStr,
    /// `derived`: by the number alone; `told`; `cached`: by what was told of the caller before; `late`: no answer in time; `failed`; or
    /// nobody was asked: `resting` (after failures), `over_budget`, `unwanted` (no target would take a
    /// call) or `expired` (the session was over).
    #[schema(value_type = String, example = "told")]
    outcome: &'static str,
    /// Of enrichers, what filters go by where neither the ping nor the trunk says it.
    #[schema(value_type = Object, example = json!({"line_type": "mobile"}))]
    tags: Tags,
    /// Of the question.
    #[schema(value_type = String, example = "0.004")]
    cost: Money,
    #[schema(example = "2026-03-17T15:04:12.402Z")]
    at: String,
    /// How long after the session's first call it came, which did not go by it; null: before, or there was
    /// no call.
    #[schema(example = json!(null))]
    late_ms: Option<u64>,
}

publisher_faults!(
    AcceptFaults: HeaderMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow,
    BodyTooLarge, BodyMediaType, BodyEncoding, PublisherForbidden, PingRefused, PingWorthless, KeyReused,
    KeyInProgress, PingsOverQuota, PingsOverShare, PingsFull, PingsCapped, PingsUnavailable
);

/// Send a ping
///
/// Opens a session for a caller who is about to call, and lends a number if a pool is named. It
/// is answered once the session is on disk. The same request of a publisher, known by its
/// `Idempotency-Key` or else by its `request_id`, opens one session and gets one answer, however often
/// it is sent within 24 hours (of more such answers than `sessions.answers_max` the oldest are forgotten); a request
/// that was refused may be mended and sent again. One with `test` has no effect, and is answered with what
/// would have come of it; of these a publisher may send 10 a second, and 20 at once.
#[utoipa::path(
    post,
    path = "/v1/pings",
    operation_id = "send_ping",
    tag = "pings",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "By what the ping is known again, 1 to 255 printable characters. Left out: by its \
            `request_id`, if it has one")),
    request_body(content = PingBody, description = "At most 65536 bytes"),
    responses(
        (status = 200, description = "With `test`: what would have come of it", body = TrialAnswer),
        (status = 202, description = "The session is open", body = PingAnswer, headers(
            ("Location" = String, description = "Where the session can be read"),
            ("Idempotent-Replayed" = Option<String>,
                description = "`true`: the same request came before, and this is what it was answered"),
        )),
        AcceptFaults,
    ),
)]
pub(super) async fn accept(
    State(api): State<Arc<Api>>,
    Sender(caller): Sender,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(mut ping): JsonBody<PingRequest>,
) -> Result<Response, Problem> {
    caller.sign(&mut ping.publisher)?;
    let (is_trial, not_known) = (ping.test, not_known(&ping));
    let sent = Sent { ping, key: key.map(Reference::Header), price: None };
    if is_trial {
        return Ok(Json(api.tried(sent, not_known, &caller).await?).into_response());
    }
    let accepted = api.services.pings.accept(sent).await?;
    tracing::debug!(ping_id = %accepted.ping, repeated = accepted.repeated, "took a ping");
    let mut headers = HeaderMap::new();
    let location = HeaderValue::try_from(format!("/v1/pings/{}", accepted.ping));
    headers.insert(header::LOCATION, location.expect("ids are printable"));
    if accepted.repeated {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let answer = Json(PingAnswer::new(accepted, not_known));
    Ok((StatusCode::ACCEPTED, headers, answer).into_response())
}

publisher_faults!(ShowFaults: PathMalformed, PingNotFound, SessionsAway, StoreUnavailable, StoreDamaged);

/// Show the session a ping opened
///
/// It is found for a month after it expired.
#[utoipa::path(
    get,
    path = "/v1/pings/{id}",
    operation_id = "show_ping",
    tag = "pings",
    params(("id" = String, Path, description = "Id of the ping",
        example = "png_01954f2e7d1e70008000000000000003")),
    responses((status = 200, description = "The session", body = SessionStatus), ShowFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Sender(caller): Sender,
    Id(id): Id<PingId>,
) -> Result<Json<SessionStatus>, Problem> {
    let live = api.services.pings.find(id).await?;
    let is_over = live.is_none();
    let found = match live {
        Some(live) => Some(live),
        // A ping and its session have the same digits.
        None => api.services.past_sessions.past(SessionId(id.0)).await?,
    };
    let found = found.filter(|it| caller.sees(&it.publisher)).ok_or(Code::PingNotFound)?;
    let status = api.status(found, &caller).await?;
    Ok(Json(if is_over { status.over() } else { status }))
}

impl From<PingError> for Problem {
    fn from(error: PingError) -> Self {
        match error {
            PingError::Refused(refusal) => refusal.into(),
            PingError::NoBid(reason) => Self::new(Code::PingWorthless, reason.text()),
            PingError::OverQuota(over) => {
                let detail = over.to_string();
                Self::new(Code::PingsOverQuota, detail).retry_after(over.retry_after_s())
            }
            PingError::OverShare(over) => {
                let detail = over.to_string();
                Self::new(Code::PingsOverShare, detail).retry_after(over.retry_after_s())
            }
            PingError::InProgress(reference) => {
                let (code, place) = (Code::KeyInProgress, place_of(&reference));
                Self::at(code, place, "in_progress", code.text()).retry_after(RETRY_SOON_S)
            }
            PingError::OtherBody(reference) => {
                let (code, place) = (Code::KeyReused, place_of(&reference));
                Self::at(code, place, "mismatch", "came before with another body")
            }
            too_often @ PingError::TooOften => {
                Self::new(Code::SessionTooOften, too_often.to_string()).retry_after(RETRY_SOON_S)
            }
            PingError::StoreAway => Self::from(Code::SessionsAway).retry_after(RETRY_SOON_S),
            PingError::Unavailable { reason, retry_after_s } => {
                Self::new(Code::PingsUnavailable, reason).retry_after(retry_after_s)
            }
        }
    }
}

fn place_of(reference: &Reference) -> Place {
    match reference {
        Reference::Own(_) => Place::Body(String::from("/request_id")),
        Reference::Header(_) | Reference::Item(..) | Reference::Visit(_) => {
            Place::Header("Idempotency-Key")
        }
    }
}

impl From<PingRefusals> for Problem {
    fn from(refusals: PingRefusals) -> Self {
        Self::of_refusals(&refusals, &PING_FIELDS)
    }
}

impl Problem {
    /// What is wrong with a body that has these fields.
    pub(super) fn of_refusals(refusals: &PingRefusals, fields: &[&str]) -> Self {
        let first = refusals.first();
        let code = match first.code {
            RefusalCode::Full => {
                return Self::new(Code::PingsFull, &first.detail).retry_after(RETRY_FULL_S);
            }
            RefusalCode::Capped => {
                return Self::new(Code::PingsCapped, &first.detail).retry_after(RETRY_CAPPED_S);
            }
            RefusalCode::Worthless(_) => Code::PingWorthless,
            RefusalCode::Unexpected => Code::BodyMistyped,
            RefusalCode::Missing
            | RefusalCode::Malformed
            | RefusalCode::TooLarge
            | RefusalCode::Unknown
            | RefusalCode::Mismatch
            | RefusalCode::Paused
            | RefusalCode::Unsupported
            | RefusalCode::ExtraTooLarge => Code::PingRefused,
        };
        let detail = match refusals.iter().len() {
            _ if code == Code::PingWorthless => first.detail.clone(),
            1 => first.to_string(),
            count => format!("{first}; `errors` lists all {count} fields at fault"),
        };
        refusals.iter().fold(Self::new(code, detail), |problem, refusal| {
            let place = match refusal.code {
                RefusalCode::Unexpected | RefusalCode::ExtraTooLarge => {
                    format!("/{}", escape(&refusal.field))
                }
                RefusalCode::Missing
                | RefusalCode::Malformed
                | RefusalCode::TooLarge
                | RefusalCode::Unknown
                | RefusalCode::Mismatch
                | RefusalCode::Paused
                | RefusalCode::Unsupported
                | RefusalCode::Full
                | RefusalCode::Capped
                | RefusalCode::Worthless(_) => pointer(&refusal.field, fields),
            };
            let place = Place::Body(place);
            problem.with(place, fault(refusal.code), refusal.detail.as_str())
        })
    }
}

/// What is wrong with a field, for programs.
fn fault(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Missing => "missing",
        RefusalCode::Malformed => "malformed",
        RefusalCode::TooLarge | RefusalCode::ExtraTooLarge => "too_large",
        RefusalCode::Unknown => "unknown",
        RefusalCode::Mismatch => "mismatch",
        RefusalCode::Paused => "paused",
        RefusalCode::Unsupported => "unsupported",
        RefusalCode::Unexpected => "mistyped",
        RefusalCode::Full => "full",
        RefusalCode::Capped => "capped",
        RefusalCode::Worthless(reason) => reason.code(),
    }
}

/// Where in the body a field is that a refusal names, such as `lead.age`. Tags are named as they
/// are stored.
fn pointer(field: &str, fields: &[&str]) -> String {
    match field {
        "geo.state" => String::from("/state"),
        "geo.zip" | "geo.zip3" => String::from("/zip"),
        _ => {
            let head = field.split('.').next().unwrap_or_default();
            let parent = if fields.contains(&head) { "" } else { "/tags" };
            let path = field.split('.').map(|segment| format!("/{}", escape(segment)));
            path.fold(parent.to_owned(), |pointer, segment| pointer + &segment)
        }
    }
}

pub(super) fn status_name(status: NumberStatus) -> &'static str {
    match status {
        NumberStatus::NotAsked => "not_asked",
        NumberStatus::Leased => "leased",
        NumberStatus::Shared => "shared",
        NumberStatus::Exhausted => "exhausted",
    }
}

/// Fields that are kept, of a ping that is taken.
pub(super) fn not_known(ping: &PingRequest) -> Vec<String> {
    let said = ping.extra.iter().filter(|(_, value)| !value.is_null());
    said.take(EXTRA_MAX).map(|(name, _)| name.clone()).collect()
}

impl PingAnswer {
    pub(super) fn new(accepted: Accepted, not_known: Vec<String>) -> Self {
        Self {
            ping_id: accepted.ping,
            session_id: accepted.session,
            number: accepted.number,
            sip_user: SessionKey::address_of(accepted.ping),
            sip_user_digits: SessionKey::digits_of(accepted.ping),
            number_status: status_name(accepted.number_status),
            expires_at: accepted.expires_at.to_rfc3339(),
            not_known,
        }
    }
}

impl From<Promise> for SessionQuote {
    fn from(promise: Promise) -> Self {
        Self {
            payout: promise.payout,
            seconds: promise.payout_seconds,
            until: promise.until.to_rfc3339(),
            no_duplicates: promise.no_duplicates,
        }
    }
}

impl Api {
    /// A session with all that its reader is to know of it.
    pub(super) async fn status(
        &self,
        session: Session,
        reader: &Caller,
    ) -> Result<SessionStatus, Problem> {
        if *reader != Caller::Operator {
            return Ok(SessionStatus::new(session, vec![], None));
        }
        let enriched = self.services.enrichments.of_session(session.session).await?;
        let scored = self.services.scores.of_session(session.session).await?;
        Ok(SessionStatus::new(session, enriched, scored))
    }
}

impl EnrichedStatus {
    fn new(enrichment: Enrichment, first_call: Option<Wall>) -> Self {
        let late_ms = enrichment.late_ms(first_call);
        Self {
            source: enrichment.source,
            outcome: enrichment.lookup.name(),
            tags: enrichment.tags.into_iter().collect(),
            cost: enrichment.cost,
            at: enrichment.at.to_rfc3339(),
            late_ms,
        }
    }
}

impl SessionStatus {
    /// Of a session that is live nowhere.
    fn over(self) -> Self {
        let status = if self.consumed_at.is_some() { self.status } else { "expired" };
        Self { status, ..self }
    }

    fn new(session: Session, enriched: Vec<Enrichment>, scored: Option<Scored>) -> Self {
        let enriched = enriched.into_iter().map(|it| EnrichedStatus::new(it, session.consumed_at));
        Self {
            enriched: enriched.collect(),
            fraud: scored.map(Fraud::from),
            ping_id: session.ping,
            session_id: session.session,
            status: if session.consumed_at.is_some() { "consumed" } else { "live" },
            kind: match session.kind {
                SessionKind::Ping => "ping",
                SessionKind::PageView => "page_view",
                SessionKind::Form => "form",
            },
            visitor_id: session.visitor,
            request_id: session.request_id,
            publisher: session.publisher,
            campaign: session.campaign,
            caller_id: session.caller,
            pool: session.pool,
            number: session.number,
            tags: session.tags.to_tags(),
            extra: session.extra.to_tags(),
            created_at: session.created_at.to_rfc3339(),
            expires_at: session.expires_at.to_rfc3339(),
            consumed_at: session.consumed_at.map(Wall::to_rfc3339),
            quote: session.promise.map(|promise| SessionQuote::from(*promise)),
        }
    }
}

/// Describes [`PingRequest`], which as part of a pure domain knows nothing of OpenAPI.
pub(super) struct PingBody;

impl ToSchema for PingBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "PingRequest".into()
    }
}

impl utoipa::PartialSchema for PingBody {
    fn schema() -> RefOr<Schema> {
        let field = |kind, description: &str| {
            ObjectBuilder::new().schema_type(kind).description(Some(description))
        };
        let text = |description| field(Type::String, description);
        let flag = |description| field(Type::Boolean, description);
        let map = |description| {
            let anything = AdditionalProperties::FreeForm(true);
            field(Type::Object, description).additional_properties(Some(anything))
        };
        let lifetime = field(
            Type::Integer,
            "Seconds the session lives. Left out: as the pool says, or half an hour",
        );
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "What is known about a caller; `caller_id`, `pool` or `sip_ok` is needed. A name stands once in \
                 each object, and numbers in tags and in fields that are not known are kept as they were sent",
            ))
            .property(
                "request_id",
                text("The publisher's own id of this ping").max_length(Some(128)),
            )
            .property("publisher", text("Left out: whose pool or campaign it is"))
            .property("campaign", text("May be left out when `pool` is given"))
            .property("pool", text("The pool to lend a number from"))
            .property(
                "number",
                text(
                    "A static number of the campaign: this caller's calls to it are the session's",
                ),
            )
            .property("caller_id", text("In E.164 or with the usual separators; ten digits without `+` are of North America"))
            .property("ttl_s", lifetime.minimum(Some(1)).maximum(Some(604_800)))
            .property("sip_ok", flag("The call can be sent over SIP; becomes the tag `sip_ok`"))
            .property("sub_id", text("Becomes the tag `sub_id`"))
            .property("source_type", text("Becomes the tag `source_type`"))
            .property("zip", text("Becomes the tags `geo.zip` and `geo.zip3`"))
            .property("state", text("Becomes the tag `geo.state`, in capitals"))
            .property(
                "lead",
                map("Each field becomes a tag `lead.NAME`, as the vertical of the campaign has it"),
            )
            .property("consent", map("Each field becomes a tag `consent.NAME`"))
            .property("tags", map("Each field becomes a tag of its name"))
            .property("test", flag("A trial: it is told what would come of it, and nothing does. Alone, not in a batch"))
            .property(
                "strict",
                flag(
                    "Whether fields that are not known here are refused. Left out: as the publisher's \
                     `strict_pings` has it",
                ),
            )
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .examples([serde_json::json!({
                "request_id": "click-8812",
                "pool": "pool_hvac",
                "state": "OH",
                "tags": {"utm_source": "search"},
            })])
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documented_body_has_the_fields_of_a_ping() {
        let filled: PingRequest = serde_json::from_value(serde_json::json!({
            "request_id": "r", "publisher": "p", "campaign": "c", "pool": "p", "number": "1", "caller_id": "1",
            "ttl_s": 1, "sip_ok": true, "sub_id": "s", "source_type": "s", "zip": "1",
            "state": "OH", "lead": {"a": 1}, "consent": {"a": 1}, "tags": {"a": 1}, "test": true,
            "strict": true,
        }))
        .unwrap();
        let fields = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
        };

        let schema = serde_json::to_value(<PingBody as utoipa::PartialSchema>::schema()).unwrap();

        let filled = fields(&serde_json::to_value(filled).unwrap());
        assert_eq!(fields(&schema["properties"]), filled);
        assert_eq!(BTreeSet::from(PING_FIELDS.map(str::to_owned)), filled);
    }

    #[test]
    fn a_refused_field_is_pointed_at() {
        assert_eq!(pointer("caller_id", &PING_FIELDS), "/caller_id");
        assert_eq!(pointer("lead.a/b", &PING_FIELDS), "/lead/a~1b");
        assert_eq!(pointer("utm.source", &PING_FIELDS), "/tags/utm/source");
        assert_eq!(pointer("geo.zip3", &PING_FIELDS), "/zip");
    }
}
