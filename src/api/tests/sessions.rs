//! Visitors: known again, kept, let go, and what a page's key may do.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use super::{Answer, CALLER, Fixture, refused, refused_whole, request};

const SITE: &str = "the site key of bright";
const ORIGIN: &str = "https://bright.example";

#[test]
fn a_visitor_is_lent_a_number_and_gets_it_back() {
    let fixture = Fixture::new();
    let visit = json!({
        "pool": "pool_hvac",
        "visitor_id": "v_1",
        "page_url": "https://bright.example/?gclid=g1",
    });

    let first = fixture.post("/v1/sessions", &visit.to_string());
    assert_eq!(first.status, 201);
    let expected = json!({
        "session_id": "ses_01010101010101010101010101010101",
        "visitor_id": "v_1",
        "number": "+16145550121",
        "display": "(614) 555-0121",
        "click_to_call": "tel:+16145550121",
        "number_status": "leased",
        "sip_user": "bid_01010101010101010101010101010101",
        "expires_at": "2026-03-17T15:34:12.318Z",
        "heartbeat_every_s": 60,
        "lease": {
            "state": "leased",
            "expires_at": "2026-03-17T15:34:12.318Z",
            "heartbeat_every_s": 60,
        },
        "overflow": false,
        "left_out": [],
    });
    assert_eq!(first.json(), expected);

    let again = fixture.post("/v1/sessions", &visit.to_string());
    assert_eq!((again.status.as_u16(), again.json()), (200, expected));
    let shown = fixture.get(first.header("location").unwrap()).json();
    assert_eq!((&shown["type"], &shown["visitor_id"]), (&json!("page_view"), &json!("v_1")));
    assert_eq!(shown["tags"]["gclid"], "g1");
}

#[test]
fn what_a_page_says_in_fields_that_are_not_known_is_kept_unless_it_is_to_be_refused() {
    let fixture = Fixture::new();
    let visit = json!({
        "type": "page_view",
        "pool": "pool_hvac",
        "landing_url": "https://bright.example/repair?gclid=g1",
        "user_agent_hash": "sha256:1d7c",
        "ip": "203.0.113.7",
    });
    let opened = fixture.post("/v1/sessions", &visit.to_string());
    assert_eq!(opened.status, 201, "{opened:?}");
    let path = opened.header("location").unwrap();
    let shown = fixture.get(path).json();
    assert_eq!(shown["extra"], json!({"user_agent_hash": "sha256:1d7c", "ip": "203.0.113.7"}));
    assert_eq!(shown["tags"]["page.path"], "/repair");

    let update = json!({"landing_url": "https://bright.example/prices", "scrolled": 3});
    let kept = fixture.post(&format!("{path}:heartbeat"), &update.to_string()).json();
    assert_eq!(kept["left_out"], json!(["scrolled"]));
    assert_eq!(fixture.get(path).json()["tags"]["page.path"], "/prices");

    let strict = json!({"pool": "pool_hvac", "strict": true, "ip": "203.0.113.7"});
    let answer = fixture.post("/v1/sessions", &strict.to_string());
    assert_eq!(answer.problem(), refused(400, "body.mistyped", "/ip", "mistyped"));
}

#[test]
fn a_visit_that_is_sent_again_with_its_key_is_one_session() {
    let fixture = Fixture::new();
    let keyed = |body: &Value| {
        let request = request(Method::POST, "/v1/sessions")
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", "s-1");
        fixture.ask(request.body(Body::from(body.to_string())).unwrap())
    };
    let form = json!({"type": "form", "campaign": "cmp_hvac", "caller_id": CALLER, "form_id": "f"});

    let (first, again) = (keyed(&form), keyed(&form));

    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (201, None));
    assert_eq!((again.status.as_u16(), again.json()), (201, first.json()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    let mismatch = refused(422, "idempotency.mismatch", "Idempotency-Key", "mismatch");
    assert_eq!(keyed(&json!({"pool": "pool_hvac"})).problem(), mismatch);
}

#[test]
fn a_sign_of_life_keeps_the_number_and_a_closed_page_lets_it_go() {
    let fixture = Fixture::new();
    let opened = fixture.post("/v1/sessions", r#"{"pool": "pool_hvac"}"#);
    let path = opened.header("location").unwrap();

    let update = json!({"page_url": "https://bright.example/prices"}).to_string();
    let kept = fixture.post(&format!("{path}:heartbeat"), &update);
    assert_eq!(kept.json()["expires_at"], "2026-03-17T15:35:12.318Z");
    assert_eq!(kept.json()["number"], "+16145550121");
    assert_eq!(fixture.get(path).json()["tags"]["page.path"], "/prices");

    let released = fixture.post(&format!("{path}:release"), "");
    assert_eq!(released.json()["expires_at"], "2026-03-17T15:10:12.318Z");
    let kept = fixture.post(&format!("{path}:heartbeat"), "");
    assert_eq!(kept.json()["expires_at"], "2026-03-17T15:35:12.318Z", "back in time");

    let unknown = format!("/v1/sessions/ses_{}", "09".repeat(16));
    for path in [unknown.clone() + ":heartbeat", unknown.clone() + ":release"] {
        assert_eq!(fixture.post(&path, "").problem(), refused_whole(404, "session.not_found"));
    }
    assert_eq!(fixture.get(&unknown).problem(), refused_whole(404, "session.not_found"));
    let malformed = fixture.post("/v1/sessions/ping:heartbeat", "");
    assert_eq!(malformed.problem(), refused(400, "path.malformed", "id", "malformed"));
    assert_eq!(fixture.post(&format!("{path}:sell"), "").status, 404);
}

#[test]
fn a_visit_that_cannot_be_taken_is_refused_with_the_field() {
    let fixture = Fixture::new();
    let cases = [
        (
            json!({"type": "form", "campaign": "cmp_hvac"}),
            422,
            "ping.refused",
            "/caller_id",
            "missing",
        ),
        (json!({"pool": "none"}), 422, "ping.refused", "/pool", "unknown"),
        (json!({"campaign": "none"}), 422, "ping.refused", "/campaign", "unknown"),
        (json!({"visitor_id": ""}), 422, "ping.refused", "/visitor_id", "malformed"),
        (json!({"page_url": 7}), 400, "body.mistyped", "/page_url", "mistyped"),
        (json!({"type": "robot"}), 400, "body.mistyped", "/type", "mistyped"),
        (json!({"lead": {"a": [1]}}), 422, "ping.refused", "/lead/a", "malformed"),
    ];
    for (body, status, code, place, fault) in cases {
        let answer = fixture.post("/v1/sessions", &body.to_string());
        assert_eq!(answer.problem(), refused(status, code, place, fault), "{body}");
    }
}

#[test]
fn a_page_opens_page_views_with_its_key_wherever_it_can_put_it() {
    let fixture = Fixture::new();
    let visit = json!({"visitor_id": "v_1"});
    let headed = from(&fixture, "/v1/sessions", &visit, Some(SITE));
    assert_eq!(headed.status, 201, "{headed:?}");
    let in_query = "/v1/sessions?key=the%20site%20key%20of%20bright";
    assert_eq!(from(&fixture, in_query, &visit, None).status, 200);
    let in_body = json!({"visitor_id": "v_1", "key": SITE});
    assert_eq!(from(&fixture, "/v1/sessions", &in_body, None).status, 200);
    let path = format!("{}:release", headed.header("location").unwrap());
    assert_eq!(from(&fixture, &path, &json!({"key": SITE}), None).status, 200);

    let keyless = from(&fixture, "/v1/sessions", &visit, None);
    assert_eq!(keyless.problem(), refused_whole(401, "auth.key_missing"));
    let forged = from(&fixture, "/v1/sessions", &json!({"key": "forged"}), None);
    assert_eq!(forged.problem(), refused_whole(401, "auth.key_unknown"));
    for (body, place) in [
        (json!({"type": "form", "caller_id": CALLER}), "/type"),
        (json!({"caller_id": CALLER}), "/caller_id"),
    ] {
        let answer = from(&fixture, "/v1/sessions", &body, Some(SITE));
        assert_eq!(answer.problem(), refused(403, "auth.key_forbidden", place, "forbidden"));
    }
    let read = Request::builder().uri(headed.header("location").unwrap());
    let read = read.header("x-api-key", SITE).header(header::ORIGIN, ORIGIN);
    let read = fixture.ask(read.body(Body::empty()).unwrap());
    assert_eq!(read.problem(), refused_whole(403, "auth.key_forbidden"));
}

#[test]
fn another_publisher_s_session_and_a_ping_s_are_not_a_page_s() {
    let fixture = Fixture::new();
    let opened = fixture.post("/v1/sessions", r#"{"pool": "pool_hvac"}"#);
    let path = format!("{}:heartbeat", opened.header("location").unwrap());
    let by = |path: &str, key: &str| from(&fixture, path, &json!({}), Some(key));
    assert_eq!(by(&path, "the key of another").problem(), refused_whole(404, "session.not_found"));
    assert_eq!(by(&path, "the key of bright").status, 200);

    let ping = json!({"campaign": "cmp_hvac", "caller_id": CALLER}).to_string();
    let pinged = fixture.post("/v1/pings", &ping).json();
    let path = format!("/v1/sessions/{}:heartbeat", pinged["session_id"].as_str().unwrap());
    assert_eq!(by(&path, SITE).problem(), refused_whole(404, "session.not_found"));
    assert_eq!(by(&path, "the key of bright").status, 200);
}

#[test]
fn a_page_may_send_plain_text_and_nothing_else() {
    let fixture = Fixture::new();
    let sent = |media_type: &str, body: &'static str| {
        let request = request(Method::POST, "/v1/sessions");
        let request = request.header(header::CONTENT_TYPE, media_type);
        fixture.ask(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(sent("text/plain;charset=UTF-8", r#"{"pool": "pool_hvac"}"#).status, 201);
    let form = sent("application/x-www-form-urlencoded", "pool=pool_hvac");
    assert_eq!(form.problem(), refused_whole(415, "body.media_type"));
    let broken = sent("text/plain", "{");
    assert_eq!(broken.problem(), refused(400, "body.syntax", "", "syntax"));
}

fn from(fixture: &Fixture, path: &str, body: &Value, key: Option<&str>) -> Answer {
    let request = Request::builder().method(Method::POST).uri(path).header(header::ORIGIN, ORIGIN);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let request = match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    };
    fixture.ask(request.body(Body::from(body.to_string())).unwrap())
}
