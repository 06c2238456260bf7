//! What is read from a request before a handler sees it: ids in the path, JSON bodies.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use smol_str::SmolStr;

use super::error::{Code, Place, Problem};
use super::json;

/// Largest body that is read, and largest item of a list.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// Largest list that is read.
pub(super) const LIST_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to arrive (spec/data §2.9). Shorter than a request may take in all, so that it
/// is the slow sender who is told.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The `{id}` of a path.
pub(super) struct Id<T>(pub(super) T);

impl<S: Send + Sync, T: FromStr<Err: ToString>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let malformed = |detail: String| {
            let place = Place::Parameter(String::from("id"));
            Problem::at(Code::PathMalformed, place, "malformed", detail)
        };
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|e| malformed(format!("cannot be read: {}", e.body_text())))?;
        text.parse().map(Self).map_err(|e: T::Err| malformed(e.to_string()))
    }
}

/// Longest `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 255;

/// Of a `Content-Encoding` that is not read so much is told.
const CODING_CHARS_MAX: usize = 40;

/// The `Idempotency-Key` of a request, if it has one.
pub(super) struct IdempotencyKey(pub(super) Option<SmolStr>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let malformed = |detail: &str| {
            let place = Place::Header("Idempotency-Key");
            Problem::at(Code::HeaderMalformed, place, "malformed", detail)
        };
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let Some(key) = keys.next() else { return Ok(Self(None)) };
        if keys.next().is_some() {
            return Err(malformed("is given twice; send one"));
        }
        let key = key.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
        let key =
            key.ok_or_else(|| malformed("must have 1 to 255 printable characters of ASCII"))?;
        Ok(Self(Some(key.into())))
    }
}

/// A body in JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() != Some("application/json") {
            return Err(Code::BodyMediaType.into());
        }
        let bytes = read(request, state).await?;
        parse_one(&bytes).map(Self)
    }
}

/// A body with many things in it.
pub(super) enum ListBody {
    /// A list in JSON.
    Json(Bytes),
    /// A line of JSON for each.
    Lines(Bytes),
}

impl<S: Send + Sync> FromRequest<S> for ListBody {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        DefaultBodyLimit::max(LIST_BYTES_MAX).apply(&mut request);
        let body = match media_type(request.headers()).as_deref() {
            Some("application/json") => Self::Json,
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
                Self::Lines
            }
            Some(_) | None => return Err(Code::BodyMediaType.into()),
        };
        read(request, state).await.map(body)
    }
}

/// What a page sends: JSON, also as plain text, which is what it may send while it is left; or
/// nothing.
pub(super) struct PageBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for PageBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = media_type(request.headers());
        let is_known =
            media_type.as_deref().is_none_or(|it| it == "application/json" || it == "text/plain");
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_known || media_type.is_none() {
            return Err(Code::BodyMediaType.into());
        }
        parse_one(&bytes).map(Self)
    }
}

pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    is_plain(request.headers())?;
    let bytes = tokio::time::timeout(BODY_TIME_MAX, Bytes::from_request(request, state)).await;
    let bytes = bytes.map_err(|_| Code::BodySlow)?.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        _ => Code::BodyIncomplete,
    })?;
    Ok(bytes)
}

/// No coding of a body is undone: what it comes to could be far more than what was sent.
fn is_plain(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|value| {
        value.to_str().unwrap_or("something other than ASCII").split(',').map(str::trim)
    });
    let mut unknown = codings.filter(|it| !it.is_empty() && !it.eq_ignore_ascii_case("identity"));
    let Some(coding) = unknown.next() else { return Ok(()) };
    let coding: String = coding.chars().take(CODING_CHARS_MAX).collect();
    let detail = format!(
        "`Content-Encoding: {coding}` is not read here; send the body as it is, without that header"
    );
    let place = Place::Header("Content-Encoding");
    Err(Problem::new(Code::BodyEncoding, detail.as_str()).with(place, "unsupported", detail))
}

/// Without parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(|it| it.trim().to_ascii_lowercase())
}

/// Reads an object in JSON. A name stands once in each object of it. Fields of any name take texts as well as
/// numbers: those have numbers as they were sent where no number of ours is the same.
pub(super) fn parse_one<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A struct would take a list too, as its fields in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let place = Place::Body(String::new());
        return Err(Problem::at(Code::BodyMistyped, place, "mistyped", "the body is a list"));
    }
    let value = parse(bytes)?;
    let look = json::look(bytes);
    let Some(pointer) = look.repeated else {
        // A field of ours that takes such a number takes no text.
        let as_sent = look.quoted(bytes).and_then(|quoted| parse(&quoted).ok());
        return Ok(as_sent.unwrap_or(value));
    };
    let (place, detail) = (Place::Body(pointer), "stands twice in its object; send it once");
    Err(Problem::at(Code::BodyMistyped, place, "mistyped", detail))
}

/// Reads JSON, or says where it goes wrong.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let place = Place::Body(pointer(e.path()));
        let cause = e.into_inner();
        if cause.is_data() {
            Problem::at(Code::BodyMistyped, place, "mistyped", cause.to_string())
        } else {
            syntax(place, &cause)
        }
    })?;
    json.end().map_err(|e| syntax(Place::Body(String::new()), &e))?;
    Ok(value)
}

/// `place`: what was being read.
fn syntax(place: Place, cause: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: {cause}");
    Problem::new(Code::BodySyntax, detail.as_str()).with(place, "syntax", cause.to_string())
}

/// A name within a JSON pointer, RFC 6901 §3.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}
