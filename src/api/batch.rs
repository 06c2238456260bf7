//! Many pings in one request.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Sent;
use super::caller::{Caller, Sender};
use super::error::{Code, Place, Problem};
use super::openapi::publisher_faults;
use super::pings::{PingAnswer, PingBody, not_known};
use super::request::{BODY_BYTES_MAX, IdempotencyKey, ListBody, parse, parse_one};
use super::router::Api;
use crate::routing::ping::{PingRequest, Reference};

/// Pings of one request.
const PINGS_MAX: usize = 500;

/// What became of each ping of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// How many were taken, those that came before among them.
    #[schema(example = 1)]
    accepted: usize,
    #[schema(example = 0)]
    refused: usize,
    /// In the order of the request.
    items: Vec<BatchItem>,
}

/// What became of one ping: an answer, or a problem.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchItem {
    /// The HTTP status the ping would have had alone.
    #[schema(example = 202)]
    status: u16,
    /// The same request came before.
    #[schema(example = false)]
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<PingAnswer>,
    /// Pointers in it begin at the ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// When to send it again, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 5)]
    retry_after_s: Option<u32>,
}

publisher_faults!(
    BatchFaults: HeaderMalformed, BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge, BodyMediaType, BodyEncoding,
    BatchTooLarge
);

/// Send many pings
///
/// Up to 500, as a list or with one on each line (NDJSON). Each is taken or refused by itself, as if it
/// had been sent alone, and all that were taken are on disk when the answer comes. A ping is known again by
/// its `request_id`, and one without by the `Idempotency-Key` of the batch and its place in it; a batch that
/// is sent again is answered ping by ping, and takes those that were refused before if they can be taken now.
#[utoipa::path(
    post,
    path = "/v1/pings:batch",
    operation_id = "send_pings",
    tag = "pings",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "By what pings without a `request_id` are known again, 1 to 255 printable characters")),
    request_body(
        content(
            (Vec<PingBody> = "application/json"),
            (String = "application/x-ndjson"),
        ),
        description = "At most 500 pings, 65536 bytes each and 1048576 in all",
    ),
    responses(
        (status = 202, description = "What became of each", body = BatchAnswer),
        BatchFaults,
    ),
)]
pub(super) async fn accept(
    State(api): State<Arc<Api>>,
    Sender(caller): Sender,
    IdempotencyKey(key): IdempotencyKey,
    body: ListBody,
) -> Result<(StatusCode, Json<BatchAnswer>), Problem> {
    let read = match &body {
        ListBody::Json(bytes) => {
            let list: Vec<&RawValue> = parse(bytes)?;
            few_enough(list.len())?;
            list.into_iter().map(|item| read(item.get().as_bytes(), &caller)).collect::<Vec<_>>()
        }
        ListBody::Lines(bytes) => {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
            few_enough(lines.len())?;
            lines.into_iter().map(|line| read(line, &caller)).collect()
        }
    };
    let of_batch = |place: u32, ping: &PingRequest| {
        let key = key.as_ref().filter(|_| ping.request_id.is_none());
        let key = key.map(|key| Reference::Item(key.clone(), place));
        Sent { ping: ping.clone(), key, price: None }
    };
    let sent = (0..).zip(&read);
    let sent = sent.filter_map(|(n, ping)| ping.as_ref().ok().map(|ping| of_batch(n, ping)));
    let sent = sent.collect();
    let mut answers = api.services.pings.accept_all(sent).await.into_iter();
    let items: Vec<_> = read
        .into_iter()
        .map(|ping| {
            let answer = ping.and_then(|ping| match answers.next() {
                Some(Ok(accepted)) => Ok((accepted, not_known(&ping))),
                Some(Err(error)) => Err(error.into()),
                None => Err(Code::InternalError.into()),
            });
            match answer {
                Ok((accepted, not_known)) => BatchItem {
                    status: StatusCode::ACCEPTED.as_u16(),
                    replayed: accepted.repeated,
                    ping: Some(PingAnswer::new(accepted, not_known)),
                    problem: None,
                    retry_after_s: None,
                },
                Err(problem) => BatchItem {
                    status: problem.status(),
                    replayed: false,
                    ping: None,
                    retry_after_s: problem.retries_after_s(),
                    problem: Some(problem),
                },
            }
        })
        .collect();
    let accepted = items.iter().filter(|item| item.ping.is_some()).count();
    let refused = items.len() - accepted;
    tracing::debug!(accepted, refused, "took a batch of pings");
    Ok((StatusCode::ACCEPTED, Json(BatchAnswer { accepted, refused, items })))
}

fn few_enough(count: usize) -> Result<(), Problem> {
    if count <= PINGS_MAX {
        return Ok(());
    }
    let detail = format!("{count} pings are more than {PINGS_MAX}");
    Err(Problem::at(Code::BatchTooLarge, Place::Body(String::new()), "too_large", detail))
}

fn read(bytes: &[u8], caller: &Caller) -> Result<PingRequest, Problem> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(Code::BodyTooLarge.into());
    }
    let mut ping: PingRequest = parse_one(bytes)?;
    caller.sign(&mut ping.publisher)?;
    Ok(ping)
}
