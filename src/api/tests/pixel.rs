//! Pings as GET.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tower::ServiceExt;

use super::{Answer, Fixture, refused, refused_whole, request};

#[test]
fn every_field_of_a_ping_may_be_a_parameter() {
    let fixture = Fixture::new();
    let query = "campaign=cmp_hvac&caller_id=%2B16145550163&sip_ok=yes&state=oh&zip=43215&sub_id=a\
                 &source_type=web&lead.age=41&consent.cert.id=x&utm.source=search&empty=&ttl_s=60&tags.gclid=c-1&strict=no";

    let answer = fixture.get(&format!("/v1/p?{query}&request_id=r-1&format=json"));

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let ping = answer.json()["ping_id"].as_str().unwrap().to_owned();
    let shown = fixture.get(&format!("/v1/pings/{ping}")).json();
    let tags = json!({
        "consent.cert.id": "x",
        "geo.state": "OH",
        "geo.zip": "43215",
        "geo.zip3": "432",
        "gclid": "c-1",
        "lead.age": "41",
        "sip_ok": "true",
        "source_type": "web",
        "sub_id": "a",
        "utm.source": "search",
    });
    assert_eq!(shown["tags"], tags);
    assert_eq!(shown["request_id"], "r-1");
    assert_eq!(shown["expires_at"], "2026-03-17T15:05:12.318Z");
}

#[test]
fn it_is_known_again_by_its_key() {
    let fixture = Fixture::new();
    let keyed = |query: &str| {
        let request = request(Method::GET, &format!("/v1/p?campaign=cmp_hvac&format=json&{query}"));
        let request = request.header("Idempotency-Key", "p-1");
        fixture.ask(request.body(Body::empty()).unwrap())
    };
    let (first, again) = (keyed("sip_ok=1"), keyed("sip_ok=1"));
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json(), again.json());
    let replayed = |answer: &Answer| answer.header("idempotent-replayed").map(str::to_owned);
    assert_eq!((replayed(&first), replayed(&again)), (None, Some("true".into())));
    assert_eq!(keyed("sip_ok=1&zip=43215").status, 422);
}

#[test]
fn it_is_known_again_by_its_own_id_also_where_nothing_is_shown() {
    let fixture = Fixture::new();
    let answers = [(); 2].map(|()| fixture.get("/v1/p?pool=pool_hvac&request_id=click-1"));
    let told = answers.each_ref().map(|it| (it.status.as_u16(), it.header("idempotent-replayed")));
    assert_eq!(told, [(204, None), (204, Some("true"))]);
}

#[test]
fn what_is_no_field_is_refused_where_that_is_asked_for() {
    let fixture = Fixture::new();
    let ask = |query: &str| fixture.get(&format!("/v1/p?pool=pool_hvac&{query}"));

    let refused = ask("strict=true&caler_id=6145550163&colour=red&lead.age=41").json();
    assert_eq!((&refused["status"], &refused["code"]), (&json!(400), &json!("query.unknown")));
    let named: Vec<_> =
        refused["errors"].as_array().unwrap().iter().map(|it| &it["parameter"]).collect();
    assert_eq!(named, [&json!("caler_id"), &json!("colour")]);
    let detail = refused["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean `caller_id`?"), "{detail}");

    assert_eq!(ask("strict=true&tags.colour=red&lead.age=41").status, 204);
}

#[test]
fn it_answers_nothing_unless_it_is_asked_for_json() {
    let fixture = Fixture::new();
    let keyed = |accept: &str| {
        let request = Request::builder().uri("/v1/p?pool=pool_hvac&key=the%20key%20of+bright");
        fixture.ask(request.header("accept", accept).body(Body::empty()).unwrap())
    };
    let silent = keyed("image/*");
    assert_eq!((silent.status.as_u16(), silent.body.as_str()), (204, ""));
    assert_eq!(silent.header("cache-control"), Some("no-store"));
    assert_eq!(keyed("application/json").json()["number_status"], "exhausted");
    assert_eq!(keyed("*/*").problem(), refused_whole(429, "ping.full"));
}

#[test]
fn a_get_that_is_no_ping_is_refused_with_the_parameter() {
    let fixture = Fixture::new();
    let cases = [
        ("pool=a&pool=b", refused(400, "query.repeated", "pool", "repeated")),
        ("pool=pool_hvac&ttl_s=soon", refused(400, "query.malformed", "ttl_s", "malformed")),
        ("pool=pool_hvac&sip_ok=maybe", refused(400, "query.malformed", "sip_ok", "malformed")),
        ("pool=pool_hvac&strict=maybe", refused(400, "query.malformed", "strict", "malformed")),
        ("pool=pool_hvac&a=1&tags.a=2", refused(400, "query.repeated", "tags.a", "repeated")),
        ("pool=pool_hvac&tags.=2", refused(400, "query.malformed", "tags.", "malformed")),
        ("pool=none", refused(422, "ping.refused", "pool", "unknown")),
        ("campaign=cmp_hvac&caller_id=bob", refused(422, "ping.refused", "caller_id", "malformed")),
    ];
    for (query, expected) in cases {
        assert_eq!(fixture.get(&format!("/v1/p?{query}")).problem(), expected, "{query}");
    }
    let long = "x".repeat(300);
    for name in ["utm.source", "lead.age"] {
        let answer = fixture.get(&format!("/v1/p?pool=pool_hvac&{name}={long}"));
        assert_eq!(answer.problem(), refused(422, "ping.refused", name, "too_large"));
    }
    let keyless = Request::builder().uri("/v1/p?pool=pool_hvac").body(Body::empty()).unwrap();
    assert_eq!(fixture.ask(keyless).problem(), refused_whole(401, "auth.key_missing"));
    let forged = Request::builder().uri("/v1/p?key=nobody").body(Body::empty()).unwrap();
    assert_eq!(fixture.ask(forged).problem(), refused_whole(401, "auth.key_unknown"));
}

#[test]
fn a_caller_of_ten_digits_is_of_north_america_and_a_plus_may_be_unescaped() {
    for (written, number) in [
        ("6145550171", "+16145550171"),
        ("(614)%20555-0171", "+16145550171"),
        ("%2B6145550172", "+6145550172"),
        ("+4930901820", "+4930901820"),
    ] {
        let fixture = Fixture::new();
        let path = format!("/v1/p?campaign=cmp_hvac&format=json&caller_id={written}");
        let opened = fixture.get(&path).json();
        let shown = format!("/v1/pings/{}", opened["ping_id"].as_str().unwrap());
        assert_eq!(fixture.get(&shown).json()["caller_id"], number, "{written}");
    }
    let wrong = Fixture::new().get("/v1/p?campaign=cmp_hvac&caller_id=1145550171");
    assert_eq!(wrong.problem(), refused(422, "ping.refused", "caller_id", "malformed"));
}

#[test]
fn whoever_only_looks_opens_no_session() {
    let fixture = Fixture::new();
    let head = request(Method::HEAD, "/v1/p?pool=pool_hvac").body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(fixture.router.clone().oneshot(head)).unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET");
    let other = fixture.ask(request(Method::DELETE, "/v1/p").body(Body::empty()).unwrap());
    assert_eq!((other.status.as_u16(), other.header("allow")), (405, Some("GET")));
    assert_eq!(fixture.get("/v1/p?pool=pool_hvac&format=json").json()["number_status"], "leased");
}
