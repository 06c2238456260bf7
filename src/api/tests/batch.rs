//! Many pings in one request.

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

use super::world::Broken;
use super::{Answer, CALLER, Fixture, refused, refused_whole, request};

#[test]
fn each_ping_of_a_batch_is_answered_by_itself() {
    let fixture = Fixture::new();
    let named = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "request_id": "r-1"});
    let pings = json!([
        named,
        {"campaign": "none", "caller_id": CALLER},
        {"ttl_s": "soon"},
        7,
        named,
        {"pool": "pool_hvac"},
        {"pool": "pool_hvac"},
    ]);

    let answer = fixture.post("/v1/pings:batch", &pings.to_string());

    assert_eq!(answer.status, 202);
    let answer = answer.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(3), &json!(4)));
    assert_eq!(statuses(&answer), [202, 422, 400, 400, 202, 202, 429]);
    let items = &answer["items"];
    assert_eq!(items[0]["ping"]["ping_id"], items[4]["ping"]["ping_id"]);
    assert_eq!((&items[0]["replayed"], &items[4]["replayed"]), (&json!(false), &json!(true)));
    assert_eq!(items[1]["problem"]["errors"][0]["pointer"], "/campaign");
    assert_eq!(items[2]["problem"]["errors"][0]["pointer"], "/ttl_s");
    assert_eq!(items[3]["problem"]["code"], "body.mistyped");
    assert_eq!(items[5]["ping"]["number"], "+16145550121");
    assert_eq!(items[6]["retry_after_s"], 5);
}

#[test]
fn a_batch_may_have_a_ping_on_each_line() {
    let fixture = Fixture::new();
    let lines = "{\"pool\": \"pool_hvac\"}\r\n\n{\"pool\": \n{\"pool\": \"pool_hvac\"}";

    let answer = lined(&fixture, lines);

    assert_eq!(answer.status, 202);
    assert_eq!(statuses(&answer.json()), [202, 400, 202]);
    assert_eq!(answer.json()["items"][1]["problem"]["code"], "body.syntax");
}

#[test]
fn a_batch_that_cannot_be_read_opens_nothing() {
    let fixture = Fixture::new();
    let ping = r#"{"pool": "pool_hvac"}"#;
    let mistyped = refused(400, "body.mistyped", "", "mistyped");
    assert_eq!(fixture.post("/v1/pings:batch", ping).problem(), mistyped);
    let broken = fixture.post("/v1/pings:batch", &format!("[{ping}, {{]"));
    assert_eq!(broken.problem(), refused(400, "body.syntax", "/1", "syntax"));
    assert!(broken.json()["detail"].as_str().unwrap().contains("line 1 column 26"), "{broken:?}");

    let many = |count| format!("[{}]", vec!["{}"; count].join(","));
    let too_many = refused(413, "batch.too_large", "", "too_large");
    assert_eq!(fixture.post("/v1/pings:batch", &many(501)).problem(), too_many);
    assert_eq!(lined(&fixture, &"{}\n".repeat(501)).problem(), too_many);
    let full = fixture.post("/v1/pings:batch", &many(500)).json();
    assert_eq!((&full["accepted"], &full["refused"]), (&json!(0), &json!(500)));

    let beyond = fixture.post("/v1/pings:batch", &" ".repeat((1 << 20) + 1));
    assert_eq!(beyond.problem(), refused_whole(413, "body.too_large"));
    let large = format!("[{{\"pool\": \"{}\"}}, {ping}]", "x".repeat(65_536));
    assert_eq!(statuses(&fixture.post("/v1/pings:batch", &large).json()), [413, 202]);
    let request = request(Method::POST, "/v1/pings:batch").header("content-type", "text/csv");
    let other = fixture.ask(request.body(Body::empty()).unwrap());
    assert_eq!(other.problem(), refused_whole(415, "body.media_type"));
}

#[test]
fn a_batch_that_cannot_be_written_is_refused_ping_by_ping() {
    let fixture = Fixture::new();
    fixture.world.breaks(Broken::Journal);
    let answer = fixture.post("/v1/pings:batch", r#"[{"pool": "pool_hvac"}]"#).json();
    assert_eq!(statuses(&answer), [503]);
    assert_eq!(answer["items"][0]["retry_after_s"], 30);
}

#[test]
fn a_batch_that_is_sent_again_is_answered_ping_by_ping() {
    let fixture = Fixture::new();
    let send = |body: &Value| {
        let request = request(Method::POST, "/v1/pings:batch")
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", "b-1");
        fixture.ask(request.body(Body::from(body.to_string())).unwrap()).json()
    };
    let ping = |state: &str| json!({"campaign": "cmp_hvac", "caller_id": CALLER, "state": state});
    let own = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "request_id": "r-1"});
    let first = send(&json!([ping("OH"), own, {"campaign": "none"}]));
    assert_eq!(statuses(&first), [202, 202, 422]);

    let again = send(&json!([ping("OH"), own, {"campaign": "none"}]));
    let other = send(&json!([ping("KY"), own, ping("OH")]));

    assert_eq!(statuses(&again), [202, 202, 422]);
    for n in [0, 1] {
        assert_eq!(again["items"][n]["ping"], first["items"][n]["ping"]);
        assert_eq!(again["items"][n]["replayed"], true);
    }
    // What was refused is taken if it can be; here two sessions are as many as may be.
    assert_eq!(statuses(&other), [422, 202, 429]);
    assert_eq!(other["items"][0]["problem"]["code"], "idempotency.mismatch");
    // The publisher's own reference is the same wherever it is sent.
    let alone = fixture.post("/v1/pings", &own.to_string());
    assert_eq!(alone.json(), first["items"][1]["ping"]);
}

fn lined(fixture: &Fixture, lines: &str) -> Answer {
    let request = request(Method::POST, "/v1/pings:batch");
    let request = request.header(header::CONTENT_TYPE, "application/x-ndjson");
    fixture.ask(request.body(Body::from(lines.to_owned())).unwrap())
}

fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| item["status"].as_u64().unwrap()).collect()
}
