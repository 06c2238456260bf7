//! What is wrong with pings, batches and visits, each told with its status and its place; and nothing is
//! left of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Setup, Stage, play_with};
use crate::support::{api, http};

const TRADE: &str = r#"
[[verticals]]
id = "auto"
unknown = "refuse"
tags = [
  { name = "lead.insured", type = "enum", values = ["yes", "no"], required = true },
  { name = "lead.age", type = "integer", min = 18 },
]

[[publishers]]
id = "other"
keys = [{ id = "main", key = "the key of another" }]

[[pools]]
id = "pool"
campaign = "single"
publisher = "tests"
numbers = ["+16145550101"]
browser = { site_key = "the key of the site", origins = ["https://www.example.com"] }
"#;
const SET: [&str; 1] = ["campaigns.alone.vertical=auto"];

/// Where pings and visits are sent, as it is done there.
const PING: &str = "/v1/pings";
const BATCH: &str = "/v1/pings:batch";
const VISIT: &str = "/v1/sessions";

#[test]
fn whatever_is_wrong_with_a_body_is_told_where_it_is_sent_and_opens_nothing() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let deep = (0..9).fold(json!(1), |inner, _| json!({ "x": inner }));
        let many: Value =
            (0..65).map(|n| (format!("t{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
        let wrong = [
            (json!({ "campaign": "nope" }), 422, "/campaign", "unknown"),
            (json!({ "campaign": 7 }), 400, "/campaign", "mistyped"),
            (json!({ "pool": "nope" }), 422, "/pool", "unknown"),
            (json!({ "caller_id": "12" }), 422, "/caller_id", "malformed"),
            (json!({ "caller_id": "+1614555x188" }), 422, "/caller_id", "malformed"),
            (json!({ "caller_id": 16_145_550_188_u64 }), 400, "/caller_id", "mistyped"),
            (json!({ "tags": [1] }), 400, "/tags", "mistyped"),
            (json!({ "tags": { "a": [1] } }), 422, "/tags/a", "malformed"),
            (json!({ "tags": { "a": "x".repeat(257) } }), 422, "/tags/a", "too_large"),
            (json!({ "lead": { "a": deep } }), 422, "/lead/a/x/x/x/x/x/x/x", "too_large"),
            (json!({ "tags": many }), 422, "/tags", "too_large"),
            (json!({ "colour": 1, "strict": true }), 400, "/colour", "mistyped"),
        ];
        for (fault, status, pointer, code) in wrong {
            for path in [PING, BATCH, VISIT] {
                let mut body = sound(path);
                let fields = body.as_object_mut().context("an object")?;
                fields.extend(fault.as_object().context("an object")?.clone());
                if fault.get("pool").is_some() {
                    fields.remove("campaign");
                }
                let (found, problem) = sent(stage, path, &body)?;
                ensure!(found == status, "{path} {fault}: {found} {problem:#}");
                let error = &problem["errors"][0];
                ensure!(error["code"] == code, "{path} {fault}: {problem:#}");
                ensure!(error["pointer"] == pointer, "{path} {fault}: {problem:#}");
            }
        }
        is_untouched(stage)
    });
}

#[test]
fn a_body_that_cannot_be_read_is_told_from_one_that_says_too_much() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let nested =
            format!(r#"{{"tags": {{"a": {}1{}}}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        let large = format!(r#"{{"campaign": "{}"}}"#, "x".repeat(70_000));
        for path in [PING, VISIT] {
            for (body, status, code) in [
                ("", 400, "body.syntax"),
                (r#"{"campaign": "alone",}"#, 400, "body.syntax"),
                (r#"{"campaign": "alone"} {}"#, 400, "body.syntax"),
                (r#"{"campaign": "a", "campaign": "b"}"#, 400, "body.mistyped"),
                ("[]", 400, "body.mistyped"),
                (nested.as_str(), 400, "body.syntax"),
                (large.as_str(), 413, "body.too_large"),
            ] {
                let shown = &body[..body.len().min(40)];
                if path == VISIT && body.is_empty() {
                    continue;
                }
                let reply = http::post(stage.api, path, body)?;
                ensure!(reply.status == status, "{path} {shown}: {reply:?}");
                ensure!(reply.body.contains(code), "{path} {shown}: {reply:?}");
            }
        }
        // Of a batch the one that cannot be read is refused, and the others are taken.
        let good = sound(PING).to_string();
        let lines = format!("{good}\n{{\"campaign\":\n{nested}\n{good}\n");
        let headers = [("Authorization", "Bearer dev"), ("Content-Type", "application/x-ndjson")];
        let reply = http::ask(stage.api, ("POST", BATCH), &lines, &headers)?;
        let answer = reply.json::<Value>()?;
        let items = answer["items"].as_array().context("no items")?;
        let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64()).collect();
        ensure!(statuses == [202, 400, 400, 202].map(Some), "{answer:#}");
        let too_many = format!("[{}]", vec!["{}"; 501].join(","));
        let reply = http::post(stage.api, BATCH, &too_many)?;
        ensure!(reply.status == 413 && reply.body.contains("batch.too_large"), "{reply:?}");
        stage.is_clean()
    });
}

#[test]
fn tags_that_a_vertical_does_not_take_are_told_by_field_of_each_ping_and_of_a_form() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let wrong = json!({ "age": 17, "colour": "red" });
        for path in [PING, BATCH, VISIT] {
            let mut body = sound(path);
            body["lead"] = wrong.clone();
            body["campaign"] = json!("alone");
            if path == VISIT {
                body["type"] = json!("form");
            }
            let (status, problem) = sent(stage, path, &body)?;
            ensure!(status == 422, "{path}: {problem:#}");
            let errors = problem["errors"].as_array().cloned().unwrap_or_default();
            let told: BTreeSet<_> = errors
                .iter()
                .filter_map(|error| Some((error["pointer"].as_str()?, error["code"].as_str()?)))
                .collect();
            let expected = [
                ("/lead/age", "malformed"),
                ("/lead/colour", "unknown"),
                ("/lead/insured", "missing"),
            ];
            ensure!(told == BTreeSet::from(expected), "{path}: {problem:#}");
        }
        is_untouched(stage)
    });
}

#[test]
fn keys_that_are_forged_or_another_s_open_nothing() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let body =
            json!({ "publisher": "tests", "campaign": "single", "sip_ok": true }).to_string();
        let visit = json!({ "publisher": "tests", "pool": "pool" }).to_string();
        let json = ("Content-Type", "application/json");
        let other = "the key of another";
        let cut = &other[..other.len() - 1];
        for (key, status, code) in [
            ("", 401, "auth.key_unknown"),
            (cut, 401, "auth.key_unknown"),
            ("THE KEY OF ANOTHER", 401, "auth.key_unknown"),
            ("the key of the site", 403, "auth.origin_forbidden"),
            (other, 403, "auth.publisher_forbidden"),
        ] {
            for (path, body) in [(PING, &body), (VISIT, &visit)] {
                let headers = [("X-Api-Key", key), json];
                let reply = http::ask(stage.api, ("POST", path), body, &headers)?;
                ensure!(reply.status == status, "{path} {key}: {reply:?}");
                ensure!(reply.body.contains(code), "{path} {key}: {reply:?}");
            }
        }
        // Each ping of a batch is signed for itself.
        let batch = format!("[{body}]");
        let reply = http::ask(stage.api, ("POST", BATCH), &batch, &[("X-Api-Key", other), json])?;
        let answer = reply.json::<Value>()?;
        let problem = &answer["items"][0]["problem"];
        ensure!(problem["code"] == "auth.publisher_forbidden", "{answer:#}");
        // A page may say whose it is; not with another's key, nor from elsewhere.
        for (key, origin, status) in [
            ("the key of the site", "https://evil.example", 403),
            ("the key of a site", "https://www.example.com", 401),
        ] {
            let visit = json!({ "key": key }).to_string();
            let headers = [("Origin", origin), ("Content-Type", "text/plain")];
            let reply = http::ask(stage.api, ("POST", VISIT), &visit, &headers)?;
            ensure!(reply.status == status, "{reply:?}");
        }
        is_untouched(stage)
    });
}

#[test]
fn what_a_payload_says_of_the_time_is_kept_and_believed_by_nobody() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let now = jiff::Timestamp::now().as_millisecond();
        for said in ["1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "yesterday", "-1"] {
            let visit = json!({
                "type": "form", "campaign": "single", "caller_id": "+16145550188", "submitted_at": said,
            });
            let ping = json!({
                "campaign": "single", "caller_id": "+16145550188", "ttl_s": 60,
                "tags": { "submitted_at": said },
            });
            for (path, body, status) in [(VISIT, visit, 201), (PING, ping, 202)] {
                let reply = http::post(stage.api, path, &body.to_string())?;
                ensure!(reply.status == status, "{path} {said}: {reply:?}");
                let location = reply.header("location").context("no location")?;
                let shown = http::get(stage.api, location)?.json::<Value>()?;
                ensure!(shown["tags"]["submitted_at"] == said, "{shown:#}");
                let created: jiff::Timestamp =
                    shown["created_at"].as_str().context("no time")?.parse()?;
                let apart_ms = (created.as_millisecond() - now).abs();
                ensure!(apart_ms < 120_000, "{apart_ms} ms: {shown:#}");
            }
        }
        stage.is_clean()
    });
}

#[test]
fn a_client_that_never_ends_its_header_is_left_and_others_are_served() {
    play_with(Setup { more: TRADE, set: &SET, ..Setup::default() }, |stage| {
        let mut slow = TcpStream::connect(stage.api)?;
        slow.set_read_timeout(Some(Duration::from_millis(200)))?;
        slow.write_all(b"POST /v1/pings HTTP/1.1\r\nHost: a\r\n")?;
        let began = Instant::now();
        let is_closed = loop {
            // A byte now and then is a sign of life, and no header.
            let said = slow.write_all(b"X");
            match slow.read(&mut [0; 100]) {
                Ok(0) => break true,
                Ok(_) => break false,
                Err(error) if is_time_out(&error) && said.is_ok() => {}
                Err(_) => break true,
            }
            let ping = http::post(stage.api, PING, &sound(PING).to_string())?;
            ensure!(ping.status == 202, "{ping:?}");
            ensure!(began.elapsed() < Duration::from_secs(30), "it is still open");
        };
        ensure!(is_closed, "it was answered");
        ensure!(began.elapsed() > Duration::from_secs(4), "it had no time");
        stage.is_clean()
    });
}

fn is_time_out(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

/// A body that is taken there.
fn sound(path: &str) -> Value {
    match path {
        VISIT => json!({ "campaign": "single", "caller_id": "+16145550188", "want": "nothing" }),
        _ => json!({ "campaign": "single", "sip_ok": true }),
    }
}

/// Status and problem of what is sent, of a batch those of its one ping.
fn sent(stage: &Stage, path: &str, body: &Value) -> Result<(u64, Value)> {
    let text = if path == BATCH { json!([body]).to_string() } else { body.to_string() };
    let reply = http::post(stage.api, path, &text)?;
    let answer = reply.json::<Value>()?;
    if path != BATCH {
        return Ok((reply.status.into(), answer));
    }
    ensure!(reply.status == 202, "{reply:?}");
    let item = &answer["items"][0];
    Ok((item["status"].as_u64().context("no status")?, item["problem"].clone()))
}

/// No session was opened, and no number lent.
fn is_untouched(stage: &Stage) -> Result<()> {
    let accepted = r#"tollbridge_pings_total{result="accepted"}"#;
    let series = api::series(stage.api)?;
    ensure!(series.get(accepted).is_none_or(|count| *count == 0.0), "{series:?}");
    let pools = http::get(stage.api, "/v1/pools")?.json::<Value>()?;
    ensure!(pools["items"][0]["free"] == 1, "{pools:#}");
    stage.is_clean()
}
