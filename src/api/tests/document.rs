//! The OpenAPI document: complete, and true of every answer the other tests get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::Method;
use serde_json::Value;

use super::{Answer, Fixture};
use crate::api::document;
use crate::routing::attribution::{CandidateVerdict, Method as Matched};
use crate::routing::decision::{Check, Verdict};
use crate::routing::geo::Basis;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(document()).unwrap());

#[test]
fn it_is_served_as_openapi_3_1() {
    let served = Fixture::new().get("/openapi.json").json();
    assert_eq!(served, *DOCUMENT);
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn it_lists_every_route() {
    let routes: Vec<_> = operations().map(|(path, method, _)| format!("{method} {path}")).collect();
    insta::assert_snapshot!(routes.join("\n"), @r"
    get /api/bid/{grid}
    post /api/bid/{grid}
    get /api/v1/inbound_webhooks/ping/{uri}
    post /api/v1/inbound_webhooks/ping/{uri}
    get /api/v1/inbound_webhooks/post/{uri}
    post /api/v1/inbound_webhooks/post/{uri}
    get /healthz
    get /metrics
    get /openapi.json
    get /readyz
    post /rtbs.json
    patch /rtbs/{uuid}
    put /rtbs/{uuid}
    get /v1/account
    post /v1/buyers/{id}/deposits
    put /v1/buyers/{id}/ready_agents
    get /v1/calls
    get /v1/calls/live
    get /v1/calls/{id}
    get /v1/calls/{id}/explain
    post /v1/calls/{id}/hangup
    get /v1/calls/{id}/replay
    get /v1/campaigns/{id}/effective
    get /v1/caps
    post /v1/caps/{id}/reset
    post /v1/config:diff
    post /v1/config:reload
    get /v1/consumers
    get /v1/dead-letters
    get /v1/dead-letters/{id}
    post /v1/dead-letters:discard
    post /v1/dead-letters:replay
    get /v1/dni.js
    get /v1/enrichers
    get /v1/fraud/publishers
    get /v1/fraud/targets
    get /v1/numbers/{number}
    get /v1/numbers/{number}/effective
    get /v1/p
    post /v1/pings
    get /v1/pings/{id}
    post /v1/pings:batch
    get /v1/pools
    get /v1/pools/{id}/effective
    get /v1/production/{id}
    post /v1/production/{id}
    get /v1/publishers/{id}/effective
    get /v1/rollups
    post /v1/sessions
    get /v1/sessions/{id}
    post /v1/sessions/{id}:heartbeat
    post /v1/sessions/{id}:release
    post /v1/simulate/call
    get /v1/targets
    get /v1/targets/{id}/effective
    put /v1/targets/{id}/ready_agents
    get /v1/trunks/{id}/effective
    get /v1/ways
    ");
}

#[test]
fn every_operation_has_a_summary_and_examples_of_what_it_answers_and_refuses() {
    let mut names = BTreeSet::new();
    for (path, _, operation) in operations() {
        assert!(!text(&operation["summary"]).is_empty(), "{path}");
        assert!(names.insert(text(&operation["operationId"])), "two operations have one id");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(!text(&response["description"]).is_empty(), "{path} {status}");
            let is_error = status.starts_with(['4', '5']);
            if ["204", "304"].contains(&status.as_str()) {
                assert!(response["content"].is_null(), "{path}");
                continue;
            }
            let media_types = response["content"].as_object().unwrap();
            for (media_type, content) in media_types {
                assert!(content["schema"].is_object(), "{path} {status}");
                assert_eq!(media_type == "application/problem+json", is_error);
                if is_error {
                    check_examples(status, content);
                }
            }
        }
    }
}

#[test]
fn every_field_and_parameter_is_described_or_shown_by_an_example() {
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        let fields = properties(schema);
        assert!(!fields.is_empty() || schema["oneOf"].is_array(), "{name}");
        for (field, schema) in fields {
            let told = ["description", "example", "$ref", "items", "oneOf"];
            assert!(told.iter().any(|it| !schema[it].is_null()), "{name}.{field}");
        }
    }
    for (path, _, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(!text(&parameter["description"]).is_empty(), "{path} {parameter}");
        }
    }
}

/// Whoever adds a word to a decision adds it to the list that the document is made from: each is known by
/// its number in records.
#[test]
fn the_words_of_decisions_are_all_in_the_document() {
    fn whole<T: for<'b> minicbor::Decode<'b, ()> + PartialEq + std::fmt::Debug>(all: &[T]) {
        let written = (0..=u8::MAX).map(|number| {
            let mut bytes = vec![];
            minicbor::encode(number, &mut bytes).unwrap();
            bytes
        });
        let known: Vec<T> = written.filter_map(|bytes| minicbor::decode(&bytes).ok()).collect();
        assert!(known.iter().all(|word| all.contains(word)), "{all:?} lacks one of {known:?}");
        assert_eq!(known.len(), all.len());
    }
    whole(Matched::ALL);
    whole(CandidateVerdict::ALL);
    whole(Check::ALL);
    whole(Verdict::ALL);
    whole(Basis::ALL);
    let words = |name: &str, field: &str| {
        let schema = &properties(&DOCUMENT["components"]["schemas"][name])[field];
        schema["enum"].as_array().unwrap_or_else(|| panic!("{name}.{field}")).len()
    };
    assert_eq!(words("ExplainedStep", "check"), Check::ALL.len());
    assert_eq!(words("ExplainedStep", "verdict"), Verdict::ALL.len());
    assert_eq!(words("ExplainedStep", "basis"), Basis::ALL.len() + 1);
    assert_eq!(words("ExplainedAttribution", "method"), Matched::ALL.len());
    assert_eq!(words("ExplainedSession", "method"), Matched::ALL.len() + 1);
    assert_eq!(words("ExplainedSession", "verdict"), CandidateVerdict::ALL.len());
    assert_eq!(words("CallSummary", "match_method"), Matched::ALL.len() + 1);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&DOCUMENT, &mut found);
    assert!(found.len() > 5);
    for reference in found {
        assert!(DOCUMENT.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[test]
fn only_health_the_script_for_pages_and_what_has_its_key_elsewhere_are_open() {
    let open: Vec<_> = operations()
        .filter(|(_, _, operation)| operation["security"] == serde_json::json!([{}]))
        .filter(|(_, _, operation)| operation["tags"] != serde_json::json!(["dialects"]))
        .map(|(path, _, _)| path)
        .collect();
    assert_eq!(open, ["/healthz", "/readyz", "/v1/dni.js"]);
    assert_eq!(DOCUMENT["security"], serde_json::json!([{"bearer": []}, {"key": []}]));
    for scheme in ["bearer", "key"] {
        assert!(DOCUMENT["components"]["securitySchemes"][scheme].is_object());
    }
}

/// Holds an answer of the API against what the document says about it.
pub(super) fn hold_against(method: &Method, path: &str, answer: &Answer) {
    let code = answer.json_or_null()["code"].as_str().unwrap_or_default().to_owned();
    if code.starts_with("route.") {
        return;
    }
    let method = method.as_str().to_ascii_lowercase();
    let Some((_, _, operation)) = operations()
        .find(|(template, documented, _)| *documented == method && fits(template, path))
    else {
        assert!(code == "auth.key_missing", "{method} {path} is not documented: {answer:?}");
        return;
    };
    let response = &operation["responses"][answer.status.as_str()];
    if [204, 304].contains(&answer.status.as_u16()) {
        assert!(response.is_object() && answer.body.is_empty(), "{method} {path}: {answer:?}");
        return;
    }
    let media_type = answer.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    let content = &response["content"][media_type];
    assert!(content.is_object(), "{method} {path} does not say it answers {answer:?}");
    if !code.is_empty() {
        assert!(content["examples"][&code].is_object(), "{method} {path} has no example of {code}");
    }
    if let Ok(json) = serde_json::from_str(&answer.body) {
        check(&content["schema"], &json, path);
    }
}

impl Answer {
    fn json_or_null(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Fixed paths come before those with parameters, as in the router.
fn fits(template: &str, path: &str) -> bool {
    let fixed = DOCUMENT["paths"].get(path).is_some();
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment))
                if wanted == segment || (!fixed && stands_for(wanted, segment)) => {}
            _ => return false,
        }
    }
}

/// `{id}`, or with something behind it that is to be done.
fn stands_for(wanted: &str, segment: &str) -> bool {
    let Some((name, action)) = wanted.split_once('}') else { return false };
    name.starts_with('{')
        && segment.split_once(':').map_or("", |(_, it)| it) == action.trim_start_matches(':')
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn check_examples(status: &str, content: &Value) {
    let examples = content["examples"].as_object().unwrap();
    assert!(!examples.is_empty());
    for (code, example) in examples {
        let problem = &example["value"];
        assert_eq!(text(&problem["code"]), code);
        assert_eq!(problem["status"].to_string(), status);
        check(&content["schema"], problem, code);
    }
}

/// Whether `value` is what `schema` allows, as far as the schemas of this document go.
fn check(schema: &Value, value: &Value, at: &str) {
    let schema = resolve(schema);
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let has_all =
            |choice: &&Value| required(choice).into_iter().all(|name| value.get(name).is_some());
        let mut fitting = choices.iter().filter(|choice| admits(resolve(choice), value));
        let fitting = fitting.find(has_all);
        let fitting = fitting.unwrap_or_else(|| panic!("{at}: {value} fits none of {choices:?}"));
        return check(fitting, value, at);
    }
    assert!(admits(schema, value), "{at}: {value} is not {schema}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| check(&schema["items"], item, at));
        }
        Value::Object(fields) => {
            let known = properties(schema);
            if known.is_empty() {
                return;
            }
            for (name, value) in fields {
                let schema = known.get(name.as_str());
                let schema = schema.unwrap_or_else(|| panic!("{at}.{name} is not documented"));
                check(schema, value, &format!("{at}.{name}"));
            }
            for name in required(schema) {
                assert!(fields.contains_key(name), "{at}.{name} is missing");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the type is right, without looking inside.
fn admits(schema: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::String(wanted) => wanted == name,
        Value::Array(wanted) => wanted.iter().any(|wanted| wanted == name),
        // A combination of objects.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            schema.get("allOf").is_some() && value.is_object()
        }
    }
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolve(DOCUMENT.pointer(&reference[1..]).unwrap()),
        None => schema,
    }
}

/// The fields of an object, with those it takes over from others.
fn properties(schema: &Value) -> BTreeMap<&str, &Value> {
    let schema = resolve(schema);
    let own = schema["properties"].as_object().into_iter().flatten();
    let taken = schema["allOf"].as_array().into_iter().flatten().flat_map(properties);
    own.map(|(name, schema)| (name.as_str(), schema)).chain(taken).collect()
}

fn required(schema: &Value) -> Vec<&str> {
    let schema = resolve(schema);
    let own = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    own.chain(schema["allOf"].as_array().into_iter().flatten().flat_map(required)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
