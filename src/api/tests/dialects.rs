//! Pings in the forms of other platforms, where the server cannot do what it should.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::Broken;
use super::{Answer, CALLER, Fixture, document};

const PATHS: [&str; 4] = [
    "/v1/production/the%20id%20of%20bidders.json",
    "/rtbs.json",
    "/api/v1/inbound_webhooks/ping/the%20id%20of%20bidders",
    "/api/bid/the%20id%20of%20bidders",
];

#[test]
fn a_bid_is_told_in_the_words_of_each_platform() {
    let fixture = Fixture::new();
    let told = PATHS.map(|path| ask(&fixture, path));
    assert_eq!(
        told[0],
        json!({
            "bidId": "RTB01010101010101010101010101010101",
            "bidAmount": 33.2,
            "expireInSeconds": 60,
            "bidExpireDT": "3/17/2026 3:05:12 PM +00:00",
            "bidExpireEpoch": 1_773_759_912_318_i64,
            "sipAddress": "bid_01010101010101010101010101010101@sip.example.com",
            "bidTerms": [{
                "code": 100,
                "callMinDuration": 90,
                "description": "Minimum call duration in seconds",
            }],
            "warnings": [{"code": 205, "description": "Sending calls via SIP is preferred."}],
        })
    );
    let shown = fixture.get("/v1/pings/png_01010101010101010101010101010101").json();
    let quote = json!({
        "payout": "33.20", "seconds": 90, "until": "2026-03-17T15:05:12.318Z", "no_duplicates": false,
    });
    assert_eq!(shown["quote"], quote);
    // One caller, one session: the others ask for the same of the same publisher.
    assert_eq!(told[1]["retreaver_ping_shield"], true);
    assert_eq!(told[1]["uuid"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(told[2]["buyers"][0]["payout"], 33.2);
    assert_eq!((&told[3]["code"], &told[3]["dynamicBid"]), (&json!(1000), &json!(33.2)));
}

#[test]
fn a_server_that_takes_no_pings_or_hangs_says_that_there_is_no_bid() {
    for broken in [Broken::Journal, Broken::Stuck] {
        let fixture = Fixture::new();
        fixture.world.breaks(broken);
        let told = PATHS.map(|path| ask(&fixture, path));
        assert_eq!(told[0]["bidAmount"], 0.0);
        assert_eq!(told[0]["rejectReason"], "Disabled (Code: 1001)");
        assert_eq!(told[0]["reasonCode"], "ping.unavailable");
        assert_eq!(told[1]["status"], "no-target");
        assert_eq!(
            (&told[2]["success"], &told[2]["status"]),
            (&json!(false), &json!("unavailable"))
        );
        assert_eq!(told[3]["code"], 3000);
    }
}

#[test]
fn what_cannot_be_read_or_is_too_much_is_no_bid_either() {
    let fixture = Fixture::new();
    let long = format!("{{\"CID\": \"{}\"}}", "1".repeat(70_000));
    for (body, code) in [
        (long.as_str(), 1002),
        ("{\"CID\": [\"+16145550163\"]}", 1004),
        ("{\"CID\": \"+16145550163\", \"a\": [1]}", 1002),
        ("[]", 1002),
        ("{\"CID\": \"0\"}", 1004),
    ] {
        let told = send(&fixture, Method::POST, PATHS[0], body).json();
        let reason = told["rejectReason"].as_str().unwrap();
        assert!(reason.ends_with(&format!("(Code: {code})")), "{body:.40}: {told}");
        assert_eq!(told["bidAmount"], 0.0);
    }
    let paused = send(&fixture, Method::GET, "/api/bid/the%20id%20of%20the%20paused", "").json();
    assert_eq!((&paused["code"], &paused["message"]), (&json!(4002), &json!("Campaign is Paused")));
    let wrong = send(&fixture, Method::DELETE, PATHS[0], "");
    assert_eq!(wrong.problem().1, "route.method_not_allowed");
}

#[test]
fn a_head_opens_no_session_wherever_a_get_does() {
    let fixture = Fixture::new();
    let document = fixture.get("/openapi.json").json();
    let mut looked_at = vec![];
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods["get"]["tags"] != json!(["dialects"]) {
            continue;
        }
        let at = path.replace("{id}", "the%20id%20of%20bidders.json");
        let at = at.replace("{uri}", "the%20id%20of%20bidders").replace("{grid}", "no%20one");
        for method in [Method::HEAD, Method::DELETE] {
            let request = Request::builder().method(method).uri(&at).body(Body::empty()).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let answer = runtime.block_on(fixture.router.clone().oneshot(request)).unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()["allow"], "GET,POST", "{path}");
        }
        looked_at.push(path);
    }
    assert_eq!(looked_at.len(), 4, "{looked_at:?}");
}

#[test]
fn a_body_in_a_coding_is_refused_in_the_words_of_the_platform() {
    let fixture = Fixture::new();
    let request = Request::builder().method(Method::POST).uri(PATHS[0]);
    let request = request.header("content-encoding", "gzip");
    let request = request.body(Body::from(vec![0x1f, 0x8b, 8, 0])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let told = runtime.block_on(async {
        let response = fixture.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()
    });
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert!(told["rejectReason"].as_str().unwrap().ends_with("(Code: 1002)"), "{told}");
    assert!(told.to_string().contains("`Content-Encoding: gzip`"), "{told}");
}

fn ask(fixture: &Fixture, path: &str) -> Value {
    let mut own = match path {
        "/rtbs.json" => json!({ "key": "the id of bidders", "caller_number": CALLER }),
        path if path.starts_with("/v1/production") => json!({ "CID": CALLER }),
        path if path.starts_with("/api/bid") => json!({ "CallerId": CALLER }),
        _ => json!({ "caller_id": CALLER }),
    };
    own["State"] = json!("OH");
    let answer = send(fixture, Method::POST, path, &own.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Without a key of ours, in a time in which whoever waits has waited.
fn send(fixture: &Fixture, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method.clone()).uri(path);
    let request = request.header("content-type", "application/json");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let response = fixture.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    });
    document::hold_against(&method, path, &answer);
    answer
}
