//! The OpenAPI document, made from the code it describes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::example::Example;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, ObjectBuilder, Ref, RefOr, Type};
use utoipa::{Modify, OpenApi};

use super::error::{Code, MEDIA_TYPE, Problem};
use super::router::{Api, Routes, routes};
use super::sessions;

/// Declares what an operation may refuse with besides what every operation behind a key may.
macro_rules! faults {
    ($name:ident $(: $($code:ident),+)?) => {
        $crate::api::openapi::open_faults!(
            $name: KeyMissing, KeyUnknown, KeyForbidden $($(, $code)+)?
        );
    };
}

/// Declares what an operation may refuse with besides what every operation of publishers may.
macro_rules! publisher_faults {
    ($name:ident $(: $($code:ident),+)?) => {
        $crate::api::openapi::faults!($name: OriginForbidden $($(, $code)+)?);
    };
}

/// Declares what an operation without a key may refuse with besides what every operation may.
macro_rules! open_faults {
    ($name:ident $(: $($code:ident),+)?) => {
        /// Refusals, for the documentation.
        pub(super) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                use $crate::api::error::Code;
                $crate::api::openapi::refusals(
                    &[Code::InternalError, Code::Overtime $($(, Code::$code)+)?],
                )
            }
        }
    };
}

pub(super) use {faults, open_faults, publisher_faults};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollbridge",
        description = "Calls and pings of a pay-per-call routing server. Errors are RFC 9457 \
            problem documents whose `code` stays the same. Times are RFC 3339 in UTC, amounts \
            decimal texts.",
    ),
    components(schemas(Problem)),
    paths(sessions::heartbeat, sessions::release),
    modifiers(&Secured),
    security(("bearer" = []), ("key" = [])),
    tags(
        (name = "calls", description = "What was called, who answered, why, and what it earned"),
        (name = "pings", description = "What publishers tell about a caller before the call"),
        (name = "dialects", description = "Pings of publishers whose systems speak another platform's API: \
            they show their key where that has it, and are always answered with 200"),
        (name = "sessions", description = "Visitors, and the numbers they see"),
        (name = "consumers", description = "What works from the journal behind the calls, and fails"),
        (name = "configuration", description = "Who gets calls and who may send them"),
        (name = "health", description = "How the server is doing"),
    ),
)]
struct Document;

/// The document of all routes, as `/openapi.json` serves it.
pub fn document() -> utoipa::openapi::OpenApi {
    let Routes { of_operators, of_publishers, open, of_dialects } = routes();
    let mut document = Document::openapi();
    document.merge(open.into_openapi());
    document.merge(of_operators.into_openapi());
    document.merge(of_publishers.into_openapi());
    document.merge(of_dialects.into_openapi());
    document
}

faults!(ShowFaults);

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "show_openapi",
    tag = "health",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object, example = json!({"openapi": "3.1.0"})),
        ShowFaults,
    ),
)]
pub(super) async fn show(State(api): State<Arc<Api>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "application/json")], api.document.clone())
}

struct Secured;

impl Modify for Secured {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let header = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
        components
            .add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("key", SecurityScheme::ApiKey(header));
    }
}

/// The schema of a word out of these, of which `example` is one.
pub(super) fn word_of<T: Serialize>(all: &[T], example: &T, description: &str) -> Object {
    word(Type::String.into(), all.iter().map(written).collect(), example, description)
}

/// The same where there may be none.
pub(super) fn word_or_null<T: Serialize>(all: &[T], example: &T, description: &str) -> Object {
    let words = all.iter().map(written).chain([Value::Null]).collect();
    word(SchemaType::from_iter([Type::String, Type::Null]), words, example, description)
}

fn word<T: Serialize>(
    kind: SchemaType,
    words: Vec<Value>,
    example: &T,
    description: &str,
) -> Object {
    let object = ObjectBuilder::new().schema_type(kind).enum_values(Some(words));
    object.examples([written(example)]).description(Some(description)).build()
}

fn written<T: Serialize>(word: &T) -> Value {
    serde_json::to_value(word).expect("a word can be written")
}

/// One response per status, with an example per code.
pub(super) fn refusals(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<_, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.as_str().to_owned(), RefOr::T(refusal(&codes))))
        .collect()
}

fn refusal(codes: &[Code]) -> Response {
    let lines: Vec<_> = codes.iter().map(|it| format!("`{}`: {}", it.name(), it.text())).collect();
    let examples = codes.iter().map(|code| {
        let problem = serde_json::to_value(Problem::from(*code)).expect("a problem can be written");
        (code.name(), Example::builder().summary(code.text()).value(Some(problem)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new().description(lines.join("; ")).content(MEDIA_TYPE, content).build()
}
