//! The ping of publishers who can send nothing but a GET.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Sent;
use super::caller::Sender;
use super::error::{Code, Place, Problem};
use super::openapi::publisher_faults;
use super::pings::{PingAnswer, REPLAYED};
use super::query::{self, Parameters};
use super::request::IdempotencyKey;
use super::router::Api;
use super::trials::TrialAnswer;
use crate::routing::ping::{EXTRA_MAX, PING_FIELDS, PingRequest, Reference};
use crate::suggest::suggestion;

/// What it is answered: as a ping, or with `test` as a trial.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum PixelAnswer {
    Taken(PingAnswer),
    Tried(Box<TrialAnswer>),
}

publisher_faults!(
    PixelFaults: HeaderMalformed, QueryUnknown, QueryRepeated, QueryMalformed, PublisherForbidden, MethodNotAllowed, PingRefused,
    PingWorthless, KeyReused, KeyInProgress, PingsOverQuota, PingsOverShare, PingsFull, PingsCapped, PingsUnavailable
);

/// Send a ping as a GET
///
/// For those who can do nothing else, such as a pixel in a page. Every field of a ping is a parameter;
/// `lead.NAME`, `consent.NAME` and `tags.NAME` are fields of these, and any other name is a tag, unless
/// `strict` says that such names are refused. A publisher's key may be given as `key`: whoever sees the
/// address has it, so prefer a header where you can.
#[utoipa::path(
    get,
    path = "/v1/p",
    operation_id = "send_ping_as_get",
    tag = "pings",
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "As with a ping that is sent as a POST, and known with that"),
        ("key" = Option<String>, Query, description = "A publisher's key, in place of a header"),
        ("format" = Option<String>, Query,
            description = "`json`: answer with the session, as does `Accept: application/json`"),
        ("request_id" = Option<String>, Query, description = "The publisher's own id of this ping"),
        ("publisher" = Option<String>, Query, description = "Left out: whose key, pool or campaign it is"),
        ("campaign" = Option<String>, Query, description = "May be left out when `pool` is given"),
        ("pool" = Option<String>, Query, description = "The pool to lend a number from"),
        ("number" = Option<String>, Query, description = "A static number of the campaign"),
        ("caller_id" = Option<String>, Query, description = "In E.164 or with the usual separators; ten digits without `+` are of North America"),
        ("ttl_s" = Option<u32>, Query, description = "Seconds the session lives"),
        ("sip_ok" = Option<bool>, Query, description = "The call can be sent over SIP"),
        ("sub_id" = Option<String>, Query, description = "Becomes the tag `sub_id`"),
        ("source_type" = Option<String>, Query, description = "Becomes the tag `source_type`"),
        ("zip" = Option<String>, Query, description = "Becomes the tags `geo.zip` and `geo.zip3`"),
        ("state" = Option<String>, Query, description = "Becomes the tag `geo.state`"),
        ("test" = Option<bool>, Query,
            description = "It is answered with what would have come of it, and has no effect"),
        ("strict" = Option<bool>, Query,
            description = "Names that are no field of a ping are refused; tags are `tags.NAME` then. Left out: \
                such names are tags, whatever the publisher's `strict_pings`"),
    ),
    responses(
        (status = 200, description = "The session is open; with `test`: what would have come of it",
            body = PixelAnswer, headers(
            ("Idempotent-Replayed" = Option<String>,
                description = "`true`: the same request came before, and this is what it was answered"),
        )),
        (status = 204, description = "The session is open", headers(
            ("Idempotent-Replayed" = Option<String>, description = "`true`: the same request came before"),
        )),
        PixelFaults,
    ),
)]
pub(super) async fn accept(
    State(api): State<Arc<Api>>,
    Sender(caller): Sender,
    IdempotencyKey(key): IdempotencyKey,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::read(&uri)?;
    parameters.discard("key");
    let format: Option<String> = parameters.take("format")?;
    let mut ping = read(parameters)?;
    caller.sign(&mut ping.publisher).map_err(Problem::of_query)?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_json = format.as_deref() == Some("json")
        || accepts.is_some_and(|types| types.contains("application/json"));
    let (is_trial, sent) = (ping.test, Sent { ping, key: key.map(Reference::Header), price: None });
    if is_trial {
        let tried = api.tried(sent, vec![], &caller).await.map_err(Problem::of_query)?;
        let taken = if is_json { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let tried = PixelAnswer::Tried(Box::new(tried.of_query(taken)));
        return Ok(Json(tried).into_response());
    }
    let answer = api.services.pings.accept(sent).await;
    let accepted = answer.map_err(|error| Problem::from(error).of_query())?;
    tracing::debug!(ping_id = %accepted.ping, repeated = accepted.repeated, "took a ping");
    let mut headers = HeaderMap::new();
    if accepted.repeated {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(match is_json {
        true => {
            let answer = Json(PixelAnswer::Taken(PingAnswer::new(accepted, vec![])));
            (headers, answer).into_response()
        }
        false => (StatusCode::NO_CONTENT, headers).into_response(),
    })
}

/// A field that is there and empty is as if it were not: that is how pages fill in what they do not know.
fn read(mut parameters: Parameters) -> Result<PingRequest, Problem> {
    parameters.discard_empty();
    let mut ping = PingRequest {
        request_id: parameters.take_name("request_id")?,
        publisher: parameters.take_name("publisher")?,
        campaign: parameters.take_name("campaign")?,
        pool: parameters.take_name("pool")?,
        number: parameters.take("number")?.map(with_plus),
        caller_id: parameters.take("caller_id")?.map(with_plus),
        ttl_s: parameters.take("ttl_s")?,
        sip_ok: parameters.take::<Flag>("sip_ok")?.map(|flag| flag.0),
        sub_id: parameters.take("sub_id")?,
        source_type: parameters.take("source_type")?,
        zip: parameters.take("zip")?,
        state: parameters.take("state")?,
        test: parameters.take::<Flag>("test")?.is_some_and(|flag| flag.0),
        strict: parameters.take::<Flag>("strict")?.map(|flag| flag.0),
        ..PingRequest::default()
    };
    let mut unknown = vec![];
    for (name, value) in parameters.rest() {
        let (group, field) = match name.split_once('.') {
            Some(("lead", field)) => (&mut ping.lead, field),
            Some(("consent", field)) => (&mut ping.consent, field),
            Some(("tags", field)) => (&mut ping.tags, field),
            Some(_) | None if ping.strict == Some(true) => {
                unknown.push(name);
                continue;
            }
            Some(_) | None => (&mut ping.tags, name.as_str()),
        };
        if field.is_empty() {
            return Err(query::malformed(&name, "has no name"));
        }
        if group.contains_key(field) {
            let detail = format!("is given twice: with `tags.` and without; send `{field}` once");
            return Err(Problem::at(
                Code::QueryRepeated,
                Place::Parameter(name),
                "repeated",
                detail,
            ));
        }
        group.insert(field.to_owned(), Value::from(value));
    }
    if unknown.is_empty() { Ok(ping) } else { Err(unexpected(unknown)) }
}

fn unexpected(names: Vec<String>) -> Problem {
    let whole = Problem::new(Code::QueryUnknown, Code::QueryUnknown.text());
    names.into_iter().take(EXTRA_MAX).fold(whole, |problem, name| {
        let meant = suggestion(&name, PING_FIELDS.into_iter());
        let detail = format!(
            "is no field of a ping that is known here, and a tag is `tags.NAME` with `strict`; {meant}"
        );
        problem.with(Place::Parameter(name), "unknown", detail)
    })
}

/// A `+` that was not escaped arrives as a blank.
fn with_plus(number: String) -> String {
    match number.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|it: char| it.is_ascii_digit()) => format!("+{rest}"),
        Some(_) | None => number,
    }
}

/// As pages write it.
struct Flag(bool);

impl FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "true" | "1" | "yes" => Ok(Self(true)),
            "false" | "0" | "no" => Ok(Self(false)),
            _ => {
                let shown = &text[..text.floor_char_boundary(64)];
                Err(format!("is `{shown}`; must be true or false"))
            }
        }
    }
}
