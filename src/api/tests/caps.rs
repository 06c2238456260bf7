//! Caps are shown, agents are said to be ready, money is deposited.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use super::{Answer, Fixture, refused, refused_whole, request};

#[test]
fn every_cap_is_shown_with_what_is_used_held_and_allowed() {
    let fixture = Fixture::new();
    let answer = fixture.get("/v1/caps");

    assert_eq!(answer.status, 200);
    let cap = |cap: &str, counts: &str, window: &str, limit: &str, resets_at: Option<&str>| {
        let used = if counts == "credit" { "0.00" } else { "0" };
        json!({
            "cap": cap, "counts": counts, "mode": "strict", "window": window, "used": used,
            "held": used, "awaited": used, "limit": limit, "by_now": null, "rate": null,
            "rate_calls": null, "resets_at": resets_at, "reset": null,
        })
    };
    let items = [
        cap("buyer/buy_idle/credit", "credit", "total", "100.00", None),
        cap("target/tgt_idle/concurrency", "live", "live", "4", None),
        cap(
            "target/tgt_idle/connected/daily",
            "connected",
            "d:2026-03-17",
            "9",
            Some("2026-03-18T00:00:00.000Z"),
        ),
    ];
    let list = |hold_store: Option<&str>| json!({ "items": items, "hold_store": hold_store, "currency": "USD", "config_rev": 418 });
    assert_eq!(answer.json(), list(None));
    fixture.world.state.lock().hold_store = Some("away");
    assert_eq!(fixture.get("/v1/caps").json(), list(Some("away")));
}

#[test]
fn agents_are_ready_where_there_is_concurrency() {
    let fixture = Fixture::new();
    let ready = |path: &str, body: &str| put(&fixture, path, body);

    let said = ready("/v1/targets/tgt_idle/ready_agents", r#"{"count": 2}"#);
    assert_eq!(said.json(), json!({ "concurrency": "target/tgt_idle/concurrency", "count": 2 }));
    for path in ["/v1/targets/tgt_cool/ready_agents", "/v1/buyers/buy_cool/ready_agents"] {
        let refused = refused_whole(404, "concurrency.not_found");
        assert_eq!(ready(path, r#"{"count": 2}"#).problem(), refused);
    }
    let negative = ready("/v1/targets/tgt_idle/ready_agents", r#"{"count": -1}"#);
    assert_eq!(negative.problem(), refused(400, "body.mistyped", "/count", "mistyped"));
}

#[test]
fn a_deposit_counts_once_for_its_key() {
    let fixture = Fixture::new();
    let deposit = |buyer: &str, key: Option<&str>, amount: &str| {
        let path = format!("/v1/buyers/{buyer}/deposits");
        let mut request = request(Method::POST, &path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = json!({ "amount": amount }).to_string();
        fixture.ask(request.body(Body::from(body)).unwrap())
    };

    let first = deposit("buy_idle", Some("k1"), "500.00");
    assert_eq!(first.status, 201);
    let told = |repeated| {
        json!({
            "buyer": "buy_idle", "amount": "500.00", "deposited": "500.00", "repeated": repeated,
        })
    };
    assert_eq!(first.json(), told(false));
    assert_eq!(deposit("buy_idle", Some("again"), "500.00").json(), told(true));
    for (buyer, key, status, code) in [
        ("buy_idle", "other", 409, "deposit.conflict"),
        ("buy_summit", "k1", 404, "credit.not_found"),
    ] {
        assert_eq!(deposit(buyer, Some(key), "1.00").problem(), refused_whole(status, code));
    }
    for amount in ["0.00", "-1.00", "much"] {
        let problem = deposit("buy_idle", Some("k1"), amount).problem();
        assert_eq!(problem, refused(422, "deposit.refused", "/amount", "malformed"));
    }
    let problem = deposit("buy_idle", Some("vast"), "1.00").problem();
    assert_eq!(problem, refused(422, "deposit.refused", "/amount", "too_large"));
    let problem = deposit("buy_idle", None, "1.00").problem();
    assert_eq!(problem, refused(400, "header.malformed", "Idempotency-Key", "malformed"));
}

#[test]
fn a_cap_begins_anew_if_it_is_said_why() {
    let fixture = Fixture::new();
    let reset = |cap: &str, key: Option<&str>, body: &str| {
        let path = format!("/v1/caps/{}/reset", cap.replace('/', "%2F"));
        let mut request = request(Method::POST, &path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        fixture.ask(request.body(Body::from(body.to_owned())).unwrap())
    };
    let daily = "target/tgt_idle/connected/daily";
    let why = r#"{ "why": " calls of a test " }"#;
    let told = |repeated| {
        json!({
            "cap": daily, "window": "d:2026-03-17", "repeated": repeated,
            "reset": {
                "at": "2026-03-17T15:04:12.318Z", "by": "ops", "why": "calls of a test",
                "amount": "3",
            },
        })
    };

    let first = reset(daily, None, why);
    assert_eq!(first.status, 200);
    assert_eq!(first.json(), told(false));
    assert_eq!(reset(daily, Some("again"), why).json(), told(true));
    for (cap, status, code) in [
        ("target/tgt_idle/connected/weekly", 404, "cap.not_found"),
        ("target/tgt_idle/concurrency", 409, "cap.not_resettable"),
        ("buyer/buy_idle/credit", 409, "cap.not_resettable"),
        ("target/tgt_idle/connected/hourly", 503, "cap.unavailable"),
    ] {
        assert_eq!(reset(cap, None, why).problem(), refused_whole(status, code), "{cap}");
    }
    for wrong in ["", "  ", &"x".repeat(201)] {
        let problem = reset(daily, None, &json!({ "why": wrong }).to_string()).problem();
        assert_eq!(problem, refused(422, "cap.reset_refused", "/why", "malformed"));
    }
    let problem = reset(daily, None, "{}").problem();
    assert_eq!(problem, refused(400, "body.mistyped", "", "mistyped"));
}

fn put(fixture: &Fixture, path: &str, body: &str) -> Answer {
    let request = request(Method::PUT, path).header("content-type", "application/json");
    fixture.ask(request.body(Body::from(body.to_owned())).unwrap())
}
