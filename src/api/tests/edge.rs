//! What every request passes: keys, limits, and what goes wrong.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use parking_lot::Mutex;
use serde_json::json;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

use super::records::{answered, call_id, record};
use super::world::Broken;
use super::{CALLER, Fixture, KEY, refused, refused_whole, request};
use crate::api::{PressureShown, document};

#[test]
fn everything_but_health_and_the_script_for_pages_needs_a_key() {
    let fixture = Fixture::new();
    let document = serde_json::to_value(document()).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let of_dialects = operation["tags"] == serde_json::json!(["dialects"]);
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let path = path.replace("{id}", &call_id(1).to_string());
            let keyless = Request::builder().method(method.clone()).uri(&path);
            let keyless = fixture.ask(keyless.body(Body::empty()).unwrap());
            let keyed = fixture.ask(request(method, &path).body(Body::empty()).unwrap());

            if ["/healthz", "/readyz", "/v1/dni.js"].contains(&path.as_str()) {
                assert_eq!(keyless.status, 200);
            } else if of_dialects {
                // No key of ours opens it, and whoever has none is told so in its words.
                for answer in [&keyless, &keyed] {
                    assert_eq!(answer.status, 200, "{path}");
                    assert!(answer.body.contains("auth.key_unknown"), "{path}: {answer:?}");
                }
            } else {
                assert_eq!(keyless.problem(), refused_whole(401, "auth.key_missing"), "{path}");
                let challenge = Some("Bearer realm=\"tollbridge\"");
                assert_eq!(keyless.header("www-authenticate"), challenge);
            }
            assert_ne!(keyed.status, 401);
            asked += 1;
        }
    }
    assert_eq!(asked, 58);
}

#[test]
fn a_key_is_taken_from_either_header_and_a_wrong_one_from_none() {
    let fixture = Fixture::new();
    let ask = |name: &str, value: &str| {
        let request = Request::builder().uri("/v1/calls").header(name, value);
        fixture.ask(request.body(Body::empty()).unwrap())
    };

    assert_eq!(ask("authorization", &format!("Bearer {KEY}")).status, 200);
    assert_eq!(ask("x-api-key", KEY).status, 200);
    for value in ["Bearer nonsense", "Bearer "] {
        let wrong = ask("authorization", value);
        assert_eq!(wrong.problem(), refused_whole(401, "auth.key_unknown"));
    }
    assert_eq!(ask("x-api-key", "ops").problem(), refused_whole(401, "auth.key_unknown"));
    let basic = ask("authorization", "Basic b3BzOm9wcw==");
    assert_eq!(basic.problem(), refused_whole(401, "auth.key_missing"));
}

#[test]
fn what_there_is_not_is_refused_as_a_problem() {
    let fixture = Fixture::new();
    for path in ["/", "/v1", "/v1/calls/", "/v2/calls", "/v1/calls/x/y", "/healthz/"] {
        assert_eq!(fixture.get(path).problem(), refused_whole(404, "route.not_found"), "{path}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/calls", "GET,HEAD"),
        (Method::GET, "/v1/pings", "POST"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = fixture.ask(request(method, path).body(Body::empty()).unwrap());
        assert_eq!(answer.problem(), refused_whole(405, "route.method_not_allowed"));
        assert_eq!(answer.header("allow"), Some(allowed));
    }
    // Without a key not even that is told.
    let keyless = fixture.ask(Request::builder().uri("/v2").body(Body::empty()).unwrap());
    assert_eq!(keyless.problem(), refused_whole(401, "auth.key_missing"));
}

#[test]
fn a_body_in_a_coding_is_not_read() {
    let fixture = Fixture::new();
    let send = |coding: &'static str, body: &'static [u8]| {
        let request = request(Method::POST, "/v1/pings").header("content-type", "application/json");
        let request = request.header("content-encoding", coding);
        fixture.ask(request.body(Body::from(body)).unwrap())
    };
    for coding in ["gzip", "br", "identity, deflate"] {
        let answer = send(coding, &[0x1f, 0x8b, 8, 0]);
        assert_eq!(
            answer.problem(),
            refused(415, "body.encoding", "Content-Encoding", "unsupported")
        );
        let name = coding.split(", ").last().unwrap();
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && detail.contains("without that header"), "{detail}");
    }
    assert_eq!(send("Identity", br#"{"pool": "pool_hvac"}"#).status, 202);
}

#[test]
fn health_tells_the_version_and_readiness_the_reasons() {
    let fixture = Fixture::new();
    let version = env!("CARGO_PKG_VERSION");
    let calm =
        |status| json!({"status": status, "version": version, "pressure_level": 0, "pressure": []});
    assert_eq!(fixture.get("/healthz").json(), calm("ok"));
    assert_eq!(fixture.get("/readyz").json(), calm("ready"));

    let causes = vec![String::from("the disk runs low")];
    fixture.world.state.lock().pressure = PressureShown { level: 3, causes };
    fixture.world.state.lock().hold_store = Some("away");
    fixture.world.state.lock().session_store = Some("open");
    let without = json!({
        "status": "ready",
        "version": version,
        "hold_store": "away",
        "session_store": "open",
        "pressure_level": 3,
        "pressure": ["the disk runs low"],
    });
    assert_eq!(fixture.get("/readyz").json(), without, "calls go on");

    fixture.world.state.lock().unready = vec!["draining".into(), "disk full".into()];

    assert_eq!(fixture.get("/healthz").status, 200);
    let answer = fixture.get("/readyz");
    let reason = || (String::new(), String::from("not_ready"));
    let expected = (503, String::from("server.not_ready"), vec![reason(), reason()]);
    assert_eq!(answer.problem(), expected);
    let errors = answer.json()["errors"].clone();
    assert_eq!(
        (&errors[0]["detail"], &errors[1]["detail"]),
        (&json!("draining"), &json!("disk full"))
    );
}

#[test]
fn the_configuration_is_read_again_or_refused_with_all_its_faults() {
    let fixture = Fixture::new();
    let answer = fixture.post("/v1/config:reload", "");
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({"revision": 2, "closed": [], "hold_store": null}))
    );

    fixture.world.state.lock().faults = vec!["t1 is wrong".into(), "t2 is wrong".into()];

    let answer = fixture.post("/v1/config:reload", "");
    let fault = || (String::new(), String::from("config"));
    assert_eq!(answer.problem(), (422, String::from("config.refused"), vec![fault(), fault()]));
    assert_eq!(answer.json()["errors"][1]["detail"], "t2 is wrong");
}

#[test]
fn metrics_are_prometheus_text() {
    let answer = Fixture::new().get("/metrics");
    assert_eq!(answer.body, "tollbridge_calls_active 0\n");
    let media_type = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.header("content-type"), media_type);
}

#[test]
fn no_answer_is_kept_or_guessed_at_by_a_browser() {
    let fixture = Fixture::new();
    for path in ["/v1/calls", "/v2", "/healthz"] {
        let answer = fixture.get(path);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn a_panic_is_answered_as_a_problem() {
    let fixture = Fixture::new();
    fixture.world.breaks(Broken::Metrics);
    assert_eq!(fixture.get("/metrics").problem(), refused_whole(500, "server.error"));
}

#[test]
fn an_answer_that_does_not_come_is_given_up() {
    let fixture = Fixture::hasty(Duration::ZERO);
    fixture.world.breaks(Broken::Stuck);

    let answer = fixture.post("/v1/pings", r#"{"pool": "pool_hvac"}"#);

    assert_eq!(answer.problem(), refused_whole(503, "server.timeout"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn logs_name_the_key_and_the_call_but_no_number_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone());

    let dispatch = Dispatch::new(subscriber.finish());
    // With one subscriber only, a test on another thread, which has none, could switch an event
    // off for all.
    let _another = Dispatch::new(NoSubscriber::new());
    tracing::dispatcher::with_default(&dispatch, || {
        let fixture = Fixture::new();
        let live = Arc::new(record(call_id(1), &answered()));
        fixture.world.state.lock().live.insert(call_id(1), live);
        fixture.get("/v1/calls?caller=%2B16145550163");
        fixture.get("/v1/calls?caller=%2B16145550163x");
        fixture.get("/v1/calls/16145550163");
        let path = format!("/v1/calls/{}/hangup", call_id(1));
        fixture.ask(request(Method::POST, &path).body(Body::empty()).unwrap());
        for campaign in ["cmp_hvac", "none"] {
            let body = json!({"campaign": campaign, "caller_id": CALLER});
            fixture.post("/v1/pings", &body.to_string());
        }
        fixture.post("/v1/pings", r#"{"ttl_s": "16145550163"}"#);
        fixture.world.breaks(Broken::Database);
        fixture.get("/v1/calls?caller=%2B16145550163");
    });

    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    let span = "api{method=\"GET\" route=\"/v1/calls\" key_id=\"ops\"}";
    for present in [span, &format!("call_id={}", call_id(1)), "ping_id=png_01"] {
        assert!(log.contains(present), "{present} is missing in {log}");
    }
    for absent in ["6145550163", KEY] {
        assert!(!log.contains(absent), "{absent} is in {log}");
    }
}

/// A file in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
