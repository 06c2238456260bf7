//! Pings that are trials, and fields that are not known.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::{Answer, CALLER, Fixture, refused};

const BRIGHT: &str = "the key of bright";
const OTHER: &str = "the key of another";

#[test]
fn a_trial_is_told_what_would_come_of_it_and_has_no_effect() {
    let fixture = Fixture::new();
    let body = json!({
        "campaign": "cmp_hvac", "publisher": "pub_rtb", "caller_id": CALLER, "state": "oh",
        "colour": "red", "test": true,
    });

    let tried = fixture.post("/v1/pings", &body.to_string());

    assert_eq!((tried.status.as_u16(), tried.header("location")), (200, None));
    let mut tried = tried.json();
    let decision = tried["call"]["decision"].take();
    let expected = json!({
        "test": true,
        "status": 202,
        "problem": null,
        "retry_after_s": null,
        "replays": null,
        "number_status": "not_asked",
        "not_known": ["colour"],
        "call": {
            "campaign": "cmp_hvac",
            "publisher": "pub_rtb",
            "tags": {"geo.state": "OH"},
            "expires_at": "2026-03-17T15:34:12.318Z",
            "payout": "33.20",
            "payout_seconds": 90,
            "no_payout": null,
            "decision": null,
        },
    });
    assert_eq!(tried, expected);
    let plan = decision["plan"].as_array().unwrap().iter().map(|it| it["target"].as_str());
    let plan: BTreeSet<_> = plan.collect();
    assert_eq!(plan, ["tgt_cool", "tgt_summit"].map(Some).into(), "{decision:#}");
    // As many real ones are taken as if it had never come.
    for _ in 0..2 {
        assert_eq!(fixture.post("/v1/pings", r#"{"pool": "pool_hvac"}"#).status, 202);
    }
}

#[test]
fn a_trial_that_would_be_refused_is_told_so_and_a_publisher_nothing_of_targets() {
    let fixture = Fixture::new();
    let unknown = json!({"campaign": "none", "caller_id": CALLER, "test": true});
    let unknown = by(&fixture, BRIGHT, &unknown).json();
    assert_eq!(
        (&unknown["status"], &unknown["call"], &unknown["number_status"]),
        (&json!(422), &Value::Null, &Value::Null)
    );
    assert_eq!(unknown["problem"]["errors"][0]["pointer"], "/campaign");

    for _ in 0..2 {
        assert_eq!(fixture.post("/v1/pings", r#"{"pool": "pool_hvac"}"#).status, 202);
    }
    let full = by(&fixture, BRIGHT, &json!({"pool": "pool_hvac", "test": true})).json();
    assert_eq!((&full["status"], &full["retry_after_s"]), (&json!(429), &json!(5)));
    assert_eq!(full["problem"]["code"], "ping.full");
    let call = &full["call"];
    assert_eq!((&call["decision"], &call["no_payout"]), (&Value::Null, &json!("payout.none")));
}

#[test]
fn a_trial_may_be_a_get_and_is_no_part_of_a_batch() {
    let fixture = Fixture::new();
    let query = "campaign=cmp_hvac&caller_id=%2B16145550163&test=1";
    let tried = fixture.get(&format!("/v1/p?{query}")).json();
    assert_eq!((&tried["status"], &tried["test"]), (&json!(204), &json!(true)));
    let tried = fixture.get(&format!("/v1/p?{query}&format=json")).json();
    assert_eq!(tried["status"], 200);
    let refused = fixture.get("/v1/p?campaign=none&caller_id=%2B16145550163&test=1").json();
    assert_eq!(refused["status"], 422);
    assert_eq!(refused["problem"]["errors"][0]["parameter"], "campaign");

    let batch = json!([{"pool": "pool_hvac", "test": true}, {"pool": "pool_hvac"}]);
    let answer = fixture.post("/v1/pings:batch", &batch.to_string()).json();
    let problem = &answer["items"][0]["problem"];
    assert_eq!((&problem["code"], &answer["accepted"]), (&json!("ping.refused"), &json!(1)));
    assert_eq!(problem["errors"][0]["pointer"], "/test");
}

#[test]
fn a_field_that_is_not_known_is_kept_and_named_or_refused_where_that_is_asked_for() {
    let fixture = Fixture::new();
    let ping = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "a.b": {"n": [1]}, "odd": null});

    let kept = by(&fixture, BRIGHT, &ping);

    assert_eq!((kept.status.as_u16(), &kept.json()["not_known"]), (202, &json!(["a.b"])));
    let shown = fixture.get(kept.header("location").unwrap()).json();
    assert_eq!((&shown["extra"], &shown["tags"]), (&json!({"a.b": r#"{"n":[1]}"#}), &json!({})));
    let batch = fixture.post("/v1/pings:batch", &json!([ping]).to_string()).json();
    assert_eq!(batch["items"][0]["ping"]["not_known"], json!(["a.b"]));

    // The publisher's configuration says no, and the ping may say otherwise.
    let mistyped = refused(400, "body.mistyped", "/odd", "mistyped");
    let odd = |strict: Value| json!({"campaign": "cmp_hvac", "caller_id": CALLER, "odd": 1, "strict": strict});
    assert_eq!(by(&fixture, OTHER, &odd(Value::Null)).problem(), mistyped);
    assert_eq!(by(&fixture, BRIGHT, &odd(json!(true))).problem(), mistyped);
    let trial = json!({"campaign": "cmp_hvac", "caller_id": CALLER, "odd": 1, "test": true});
    assert_eq!(by(&fixture, OTHER, &trial).json()["status"], 400);
    // It has the last place there is.
    let fixture = Fixture::new();
    assert_eq!(by(&fixture, OTHER, &odd(json!(false))).status, 202);

    let many: serde_json::Map<_, _> = (0..33).map(|n| (format!("f{n:02}"), json!(n))).collect();
    let mut large = json!({"campaign": "cmp_hvac", "caller_id": CALLER});
    large.as_object_mut().unwrap().extend(many);
    let too_large = refused(422, "ping.refused", "/f32", "too_large");
    assert_eq!(by(&fixture, BRIGHT, &large).problem(), too_large);
}

fn by(fixture: &Fixture, key: &str, body: &Value) -> Answer {
    let request = Request::post("/v1/pings")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json");
    fixture.ask(request.body(Body::from(body.to_string())).unwrap())
}
