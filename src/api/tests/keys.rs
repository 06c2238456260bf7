//! Publishers' keys and those of pages: what they open, and what they do not.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Answer, CALLER, Fixture, refused, refused_whole};
use crate::api::document;

const BRIGHT: &str = "the key of bright";
const OTHER: &str = "the key of another";
const SITE: &str = "the site key of bright";

#[test]
fn a_publisher_s_key_opens_pings_and_nothing_else() {
    let fixture = Fixture::new();
    let document = serde_json::to_value(document()).unwrap();
    let opened = ["/v1/pings", "/v1/pings:batch", "/v1/pings/{id}", "/v1/p", "/v1/sessions"];
    for (path, item) in document["paths"].as_object().unwrap() {
        if ["/healthz", "/readyz", "/v1/dni.js"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"] == json!(["dialects"]) {
                continue;
            }
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let asked = path.replace("{id}", "png_01010101010101010101010101010101");
            let answer = ask(&fixture, BRIGHT, method, &asked, "");
            if opened.contains(&path.as_str()) || path.starts_with("/v1/sessions/") {
                assert!(![401, 403].contains(&answer.status.as_u16()), "{path}: {answer:?}");
            } else {
                assert_eq!(answer.problem(), refused_whole(403, "auth.key_forbidden"), "{path}");
            }
        }
    }
}

#[test]
fn a_publisher_need_not_say_who_it_is_and_cannot_be_another() {
    let fixture = Fixture::new();
    let by_caller = json!({"campaign": "cmp_hvac", "caller_id": CALLER});

    let own = ping(&fixture, OTHER, &by_caller);
    assert_eq!(own.status, 202);
    let shown = fixture.get(own.header("location").unwrap()).json();
    assert_eq!(shown["publisher"], "pub_other", "not the campaign's own");

    let named = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "publisher": "pub_other"});
    assert_eq!(ping(&fixture, OTHER, &named).status, 202);
    let forbidden = refused(403, "auth.publisher_forbidden", "/publisher", "forbidden");
    assert_eq!(ping(&fixture, BRIGHT, &named).problem(), forbidden);
    let of_another = json!({"pool": "pool_hvac"});
    let mismatch = refused(422, "ping.refused", "/publisher", "mismatch");
    assert_eq!(ping(&fixture, OTHER, &of_another).problem(), mismatch);
}

#[test]
fn another_publisher_s_ping_is_as_if_it_were_not_there() {
    let fixture = Fixture::new();
    let answer = ping(&fixture, BRIGHT, &json!({"pool": "pool_hvac"}));
    let location = answer.header("location").unwrap();

    assert_eq!(ask(&fixture, BRIGHT, Method::GET, location, "").status, 200);
    let unknown = refused_whole(404, "ping.not_found");
    assert_eq!(ask(&fixture, OTHER, Method::GET, location, "").problem(), unknown);
    assert_eq!(fixture.get(location).status, 200, "an operator sees all");
}

#[test]
fn what_is_found_out_about_callers_is_for_operators_alone() {
    let fixture = Fixture::new();
    let answer = ping(&fixture, BRIGHT, &json!({"pool": "pool_hvac"}));
    let session = format!("/v1/sessions/{}", answer.json()["session_id"].as_str().unwrap());
    for path in [answer.header("location").unwrap(), &session] {
        let own = ask(&fixture, BRIGHT, Method::GET, path, "").json();
        assert_eq!((&own["enriched"], &own["fraud"]), (&json!([]), &Value::Null), "{path}");
        let all = fixture.get(path).json();
        assert_eq!(all["enriched"][1]["source"], "lineinfo", "{path}");
        assert_eq!(all["fraud"]["score"], 20, "{path}");
    }
}

#[test]
fn a_forged_key_opens_nothing() {
    let fixture = Fixture::new();
    for forged in ["the key of brighT", "the key of bright ", "main", "pub_bright", ""] {
        let answer = ping(&fixture, &format!("{forged}."), &json!({"pool": "pool_hvac"}));
        assert_eq!(answer.problem(), refused_whole(401, "auth.key_unknown"), "{forged}");
    }
}

#[test]
fn a_site_key_opens_no_pings_and_only_for_its_pages() {
    let fixture = Fixture::new();
    let from = |origin: Option<&str>| {
        let request = Request::builder().method(Method::POST).uri("/v1/pings");
        let request = request.header("x-api-key", SITE);
        let request = match origin {
            Some(origin) => request.header(header::ORIGIN, origin),
            None => request,
        };
        fixture.ask(request.body(Body::from("{}")).unwrap())
    };
    let its_own = from(Some("https://bright.example"));
    assert_eq!(its_own.problem(), refused_whole(403, "auth.key_forbidden"));
    for origin in [None, Some("https://bright.example.evil.example"), Some("null")] {
        assert_eq!(from(origin).problem(), refused_whole(403, "auth.origin_forbidden"));
    }
}

#[test]
fn browsers_are_told_which_pages_may_ask() {
    let fixture = Fixture::new();
    let preflight = |origin: &str| {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/pings")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
        let request = request.body(Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(fixture.router.clone().oneshot(request)).unwrap()
    };

    let known = preflight("https://bright.example");
    assert_eq!(known.status(), 200);
    let header = |name| known.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("access-control-allow-origin"), Some("https://bright.example"));
    assert_eq!(header("access-control-allow-methods"), Some("POST"));
    let fields: Vec<_> = header("access-control-allow-headers").unwrap().split(',').collect();
    assert_eq!(fields, ["content-type", "authorization", "x-api-key", "idempotency-key"]);
    assert!(header("vary").unwrap().contains("origin"));

    let body = json!({ "publisher": "bright", "campaign": "hvac", "kind": "page_view" });
    let asked = Request::builder()
        .method(Method::POST)
        .uri("/v1/sessions")
        .header(header::ORIGIN, "https://bright.example")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    let answer = fixture.ask(asked.unwrap());
    let readable = answer.header("access-control-expose-headers");
    assert_eq!(readable, Some("retry-after,idempotent-replayed"));

    let other = preflight("https://other.example");
    assert_eq!(other.headers().get("access-control-allow-origin"), None);
}

fn ping(fixture: &Fixture, key: &str, body: &Value) -> Answer {
    ask(fixture, key, Method::POST, "/v1/pings", &body.to_string())
}

fn ask(fixture: &Fixture, key: &str, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("x-api-key", key);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    fixture.ask(request.body(Body::from(body.to_owned())).unwrap())
}
