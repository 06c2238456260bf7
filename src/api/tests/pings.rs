//! Pings: taken, repeated, refused, found again.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::world::Broken;
use super::{Answer, CALLER, Fixture, refused, refused_whole, request};
use crate::id::PingId;
use crate::routing::attribution::SessionKey;

#[test]
fn a_ping_with_a_pool_is_lent_a_number() {
    let fixture = Fixture::new();

    let answer = ping(&fixture, &json!({"pool": "pool_hvac"}));

    assert_eq!(answer.status, 202);
    let expected = json!({
        "ping_id": "png_01010101010101010101010101010101",
        "session_id": "ses_01010101010101010101010101010101",
        "number": "+16145550121",
        "sip_user": "bid_01010101010101010101010101010101",
        "sip_user_digits": SessionKey::digits_of(PingId::from_bytes([1; 16])),
        "number_status": "leased",
        "expires_at": "2026-03-17T15:34:12.318Z",
    });
    assert_eq!(answer.json(), expected);
    let location = "/v1/pings/png_01010101010101010101010101010101";
    assert_eq!(answer.header("location"), Some(location));
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[test]
fn a_ping_without_a_free_number_is_taken_without_one() {
    let fixture = Fixture::new();
    ping(&fixture, &json!({"pool": "pool_hvac"}));

    let exhausted = ping(&fixture, &json!({"pool": "pool_hvac"})).json();

    assert_eq!(exhausted["number_status"], "exhausted");
    assert!(!exhausted.as_object().unwrap().contains_key("number"));
}

#[test]
fn a_repeated_ping_gets_the_same_answer_by_its_key_or_else_by_its_reference() {
    let fixture = Fixture::new();
    let body = json!({"campaign": "cmp_hvac", "caller_id": CALLER});
    let named = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "request_id": "r-1"});
    let first = ping(&fixture, &named);
    let spaced = json!({"request_id": "r-1", "caller_id": CALLER, "campaign": "cmp_hvac"});
    for again in [ping(&fixture, &named), ping(&fixture, &spaced)] {
        assert_eq!((again.status.as_u16(), again.json()), (202, first.json()));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let other = json!({"pool": "pool_hvac", "request_id": "r-1"});
    let mismatch = refused(422, "idempotency.mismatch", "/request_id", "mismatch");
    assert_eq!(ping(&fixture, &other).problem(), mismatch);

    // The header is what counts, and a key of its own.
    let by_key = keyed(&fixture, &["r-1"], &body);
    assert_ne!(by_key.json()["ping_id"], first.json()["ping_id"]);
    let again = keyed(&fixture, &["r-1"], &body);
    assert_eq!((again.status.as_u16(), again.json()), (202, by_key.json()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let mismatch = refused(422, "idempotency.mismatch", "Idempotency-Key", "mismatch");
    assert_eq!(keyed(&fixture, &["r-1"], &named).problem(), mismatch);
}

#[test]
fn a_key_that_cannot_be_kept_is_refused() {
    let fixture = Fixture::new();
    let body = json!({"campaign": "cmp_hvac", "caller_id": CALLER});
    let malformed = refused(400, "header.malformed", "Idempotency-Key", "malformed");
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    for keys in [&[""][..], &[&too_long], &["a", "b"], &["k\u{e9}"]] {
        assert_eq!(keyed(&fixture, keys, &body).problem(), malformed, "{keys:?}");
    }
    assert_eq!(keyed(&fixture, &[&longest], &body).status, 202);
}

#[test]
fn a_ping_that_was_refused_may_be_mended_and_sent_again() {
    let fixture = Fixture::new();
    let wrong = json!({"campaign": "cmp_hvac", "caller_id": "bob", "request_id": "r-1"});
    assert_eq!(ping(&fixture, &wrong).status, 422);
    let mended = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "request_id": "r-1"});
    let taken = ping(&fixture, &mended);
    assert_eq!((taken.status.as_u16(), taken.header("idempotent-replayed")), (202, None));
}

fn keyed(fixture: &Fixture, keys: &[&str], body: &Value) -> Answer {
    let mut request = request(Method::POST, "/v1/pings")
        .header("content-type", "application/json; charset=utf-8");
    for key in keys {
        request = request.header("Idempotency-Key", key.as_bytes());
    }
    fixture.ask(request.body(Body::from(body.to_string())).unwrap())
}

#[test]
fn a_ping_that_cannot_be_taken_is_refused_with_the_field() {
    let fixture = Fixture::new();
    let long = "x".repeat(300);
    let nested = |depth| (0..depth).fold(json!(1), |value, _| json!([value]));
    let unprocessable = |place, fault| refused(422, "ping.refused", place, fault);
    let cases = [
        (json!({}), unprocessable("/caller_id", "missing")),
        (json!({"caller_id": CALLER}), unprocessable("/campaign", "missing")),
        (
            json!({"campaign": "cmp_hvac", "caller_id": "bob"}),
            unprocessable("/caller_id", "malformed"),
        ),
        (json!({"campaign": "none", "caller_id": CALLER}), unprocessable("/campaign", "unknown")),
        (
            json!({"campaign": "cmp_paused", "caller_id": CALLER}),
            unprocessable("/campaign", "paused"),
        ),
        (
            json!({"campaign": "cmp_paused", "pool": "pool_hvac"}),
            unprocessable("/campaign", "mismatch"),
        ),
        (
            json!({"pool": "pool_hvac", "lead": {"age": long}}),
            unprocessable("/lead/age", "too_large"),
        ),
        (json!({"pool": "pool_hvac", "deep": nested(9)}), unprocessable("/deep", "too_large")),
        (
            json!({"pool": "pool_hvac", "tags": {"utm": long}}),
            unprocessable("/tags/utm", "too_large"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(ping(&fixture, &body).problem(), expected, "{body}");
    }
    assert_eq!(ping(&fixture, &json!({"pool": "pool_hvac", "deep": nested(8)})).status, 202);
}

#[test]
fn a_body_that_is_no_ping_is_refused_with_where_it_goes_wrong() {
    let fixture = Fixture::new();
    let mistyped = |place| refused(400, "body.mistyped", place, "mistyped");
    let syntax = refused(400, "body.syntax", "", "syntax");
    let cases = [
        ("", syntax.clone()),
        ("{", syntax.clone()),
        (r#"{"pool": "a"} {}"#, syntax.clone()),
        (r#"{"pool": "a",}"#, syntax),
        (r#"{"pool": tru}"#, refused(400, "body.syntax", "/pool", "syntax")),
        (
            r#"{"pool": "a", "lead": {"age": 3, "zip": tru}}"#,
            refused(400, "body.syntax", "/lead/zip", "syntax"),
        ),
        ("[]", mistyped("")),
        ("7", mistyped("")),
        (r#"{"ttl_s": "soon"}"#, mistyped("/ttl_s")),
        (r#"{"ttl_s": -1}"#, mistyped("/ttl_s")),
        (r#"{"lead": 3}"#, mistyped("/lead")),
        (r#"{"pool": "pool_hvac", "strict": true, "colour/~.a": 3}"#, mistyped("/colour~1~0.a")),
        (r#"{"strict": 3}"#, mistyped("/strict")),
        (r#"{"pool": "a", "pool": "b"}"#, mistyped("")),
        (r#"{"pool": "pool_hvac", "tags": {"a": 1, "b": 2, "a": 1}}"#, mistyped("/tags/a")),
        (r#"{"pool": "pool_hvac", "lead": {"a": {"b": 1, "b": 2}}}"#, mistyped("/lead/a/b")),
        (r#"{"pool": "pool_hvac", "colour": "red", "colour": "blue"}"#, mistyped("/colour")),
    ];
    for (body, expected) in cases {
        assert_eq!(fixture.post("/v1/pings", body).problem(), expected, "{body}");
    }
}

#[test]
fn numbers_of_tags_and_unknown_fields_are_kept_as_they_were_sent() {
    let fixture = Fixture::new();
    let body = r#"{"pool": "pool_hvac", "ttl_s": 60, "n": 18446744073709551616, "list": [1.10, 2],
        "tags": {"click": 18446744073709551616, "most": 18446744073709551615, "rate": 1.10,
            "income": 1e5},
        "lead": {"deep": {"cents": 0.00}}}"#;
    let accepted = fixture.post("/v1/pings", body);
    assert_eq!(accepted.status, 202, "{accepted:?}");

    let shown = fixture.get(accepted.header("location").unwrap()).json();

    let tags = json!({
        "click": "18446744073709551616", "most": "18446744073709551615", "rate": "1.10",
        "income": "100000.0", "lead.deep.cents": "0.00",
    });
    assert_eq!(shown["tags"], tags);
    assert_eq!(shown["extra"], json!({"n": "18446744073709551616", "list": r#"["1.10",2]"#}));
    let mistyped = fixture.post("/v1/pings", r#"{"pool": "pool_hvac", "ttl_s": 1.10}"#);
    assert_eq!(mistyped.problem(), refused(400, "body.mistyped", "/ttl_s", "mistyped"));
}

#[test]
fn a_body_of_another_kind_or_beyond_64_kib_is_refused() {
    let fixture = Fixture::new();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let request = request(Method::POST, "/v1/pings").header("content-type", media_type);
        let answer = fixture.ask(request.body(Body::from("{}")).unwrap());
        assert_eq!(answer.problem(), refused_whole(415, "body.media_type"), "{media_type}");
    }

    let padded = |bytes: usize| String::from(r#"{"pool": "pool_hvac"}"#) + &" ".repeat(bytes - 21);
    assert_eq!(fixture.post("/v1/pings", &padded(65_536)).status, 202);
    let beyond = fixture.post("/v1/pings", &padded(65_537));
    assert_eq!(beyond.problem(), refused_whole(413, "body.too_large"));
}

#[test]
fn pings_beyond_what_can_be_held_or_written_are_asked_to_come_later() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        assert_eq!(ping(&fixture, &json!({"pool": "pool_hvac"})).status, 202);
    }
    let full = ping(&fixture, &json!({"pool": "pool_hvac"}));
    assert_eq!(full.problem(), refused_whole(429, "ping.full"));
    assert_eq!(full.header("retry-after"), Some("5"));

    fixture.world.breaks(Broken::Journal);
    let unwritten = ping(&fixture, &json!({"pool": "pool_hvac"}));
    assert_eq!(unwritten.problem(), refused_whole(503, "ping.unavailable"));
    assert_eq!(unwritten.header("retry-after"), Some("30"));
    assert_eq!(unwritten.json()["detail"], "the journal's disk is nearly full");
}

#[test]
fn the_session_of_a_ping_can_be_read() {
    let fixture = Fixture::new();
    let body = json!({
        "request_id": "r-1",
        "campaign": "cmp_hvac",
        "caller_id": "1-614-555-0163",
        "state": "oh",
        "ttl_s": 60,
        "colour": "red",
    });
    let accepted = ping(&fixture, &body);

    let shown = fixture.get(accepted.header("location").unwrap());

    let expected = json!({
        "ping_id": "png_01010101010101010101010101010101",
        "session_id": "ses_01010101010101010101010101010101",
        "status": "live",
        "type": "ping",
        "visitor_id": null,
        "request_id": "r-1",
        "publisher": "pub_bright",
        "campaign": "cmp_hvac",
        "caller_id": CALLER,
        "pool": null,
        "number": null,
        "tags": {"geo.state": "OH"},
        "extra": {"colour": "red"},
        "created_at": "2026-03-17T15:04:12.318Z",
        "expires_at": "2026-03-17T15:05:12.318Z",
        "consumed_at": null,
        "enriched": [
            {
                "source": "embedded", "outcome": "derived", "tags": {"geo.state": "OH"},
                "cost": "0.00", "at": "2026-03-17T15:04:12.318Z", "late_ms": null,
            },
            {
                "source": "lineinfo", "outcome": "told", "tags": {"line_type": "mobile"},
                "cost": "0.004", "at": "2026-03-17T15:04:12.358Z", "late_ms": null,
            },
        ],
        "fraud": {
            "score": 20,
            "reasons": [{
                "reason": "velocity.pings", "points": 20, "have": "11.4", "want": "10",
                "text": "the caller is announced more often of late than people call",
            }],
        },
    });
    assert_eq!(shown.json(), expected);
}

#[test]
fn an_unknown_ping_and_a_malformed_id_are_told_apart() {
    let fixture = Fixture::new();
    let unknown = fixture.get("/v1/pings/png_01010101010101010101010101010101");
    assert_eq!(unknown.problem(), refused_whole(404, "ping.not_found"));
    let malformed = fixture.get("/v1/pings/ses_01010101010101010101010101010101");
    assert_eq!(malformed.problem(), refused(400, "path.malformed", "id", "malformed"));
}

fn ping(fixture: &Fixture, body: &Value) -> Answer {
    fixture.post("/v1/pings", &body.to_string())
}

#[test]
fn a_pool_tells_how_full_it_is_and_how_many_numbers_it_needs() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        ping(&fixture, &json!({"pool": "pool_hvac"}));
    }
    let pools = fixture.get("/v1/pools").json();
    let pool = &pools["items"][0];
    let expected = json!({
        "id": "pool_hvac", "campaign": "cmp_hvac", "publisher": "pub_bright",
        "status": "exhausted", "size": 1, "free": 0, "leased": 1, "quarantined": 0,
        "overflow_number": null, "sharing": 0,
        "last_24h": {
            "asked": 2, "missed": 1, "taken": 0, "min_free": 0, "peak_per_hour": 2,
            "peak_at_once": 2, "hold_s": 2700,
        },
        "suggested_size": 6, "missing": 5, "missing_cost": null,
    });
    assert_eq!(*pool, expected);
}

#[test]
fn a_number_tells_whose_it_is_and_who_has_it() {
    let fixture = Fixture::new();
    ping(&fixture, &json!({"pool": "pool_hvac"}));
    let number = fixture.get("/v1/numbers/+16145550121").json();
    let expected = json!({
        "number": "+16145550121", "campaign": "cmp_hvac", "publisher": "pub_bright",
        "pool": "pool_hvac", "session": "ses_01010101010101010101010101010101",
        "leased_until": "2026-03-17T15:34:12.318Z", "sharing": 0, "history": [],
    });
    assert_eq!(number, expected);

    let unknown = fixture.get("/v1/numbers/+16145559999");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["code"], "number.not_found");
    assert_eq!(fixture.get("/v1/numbers/nonsense").status, 400);
}
