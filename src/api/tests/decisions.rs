//! Decisions made again, compared, and made for the sake of an answer.

use serde_json::json;

use super::calls::with_stored;
use super::records::call_id;
use super::world::{Broken, CONFIG, OUTDATED};
use super::{Fixture, refused_whole};
use crate::routing::RoutingSnapshot;

#[test]
fn an_explanation_says_what_would_have_had_to_be_otherwise() {
    let fixture = explained("KY");
    let shown = fixture.get(&format!("/v1/calls/{}/explain", call_id(0))).json();
    assert_eq!(
        shown["would_have_been_called"],
        json!([{
            "target": "tgt_summit",
            "changes": [{
                "change": "tag", "cap": null, "by": null, "of_hour": null, "later_by_s": null, "limit": null,
                "list": null, "tag": "geo.state", "value": "OH",
            }],
            "room_in": [],
            "text": "geo.state OH",
        }])
    );
    let text = shown["text"].as_array().unwrap();
    let last = "tgt_summit: would have been called if: geo.state OH";
    assert!(text.contains(&json!(last)), "{text:?}");
}

#[test]
fn a_call_is_decided_about_again_the_same() {
    let fixture = explained("OH");
    let path = format!("/v1/calls/{}/replay", call_id(0));
    let replayed = json!({
        "call_id": call_id(0).to_string(), "config_rev": 418, "same": true, "difference": null,
    });
    assert_eq!(fixture.get(&path).json(), replayed);

    // As if the server decided otherwise than it did then.
    let config = CONFIG.replace(r#"["OH", "PA"]"#, r#"["PA"]"#);
    fixture.world.decide_on(&compiled(&config, 418), call_id(0), "OH", 11);
    let shown = fixture.get(&path).json();
    assert_eq!((&shown["same"], &shown["difference"]["at"]), (&json!(false), &json!("steps[4]")));

    fixture.world.decide_on(&compiled(CONFIG, 7), call_id(0), "OH", 11);
    assert_eq!(fixture.get(&path).problem(), refused_whole(404, "config.unknown_revision"));
    fixture.world.decide_on(&compiled(CONFIG, OUTDATED), call_id(0), "OH", 11);
    let outdated = fixture.get(&path);
    assert_eq!(outdated.problem(), refused_whole(410, "config.outdated_revision"));
    let says = "revision 5 of the configuration was kept by another version, and this one does not";
    assert!(outdated.json()["detail"].as_str().unwrap().starts_with(says));
    assert_eq!(fixture.get(&path.replace("replay", "explain")).status, 200, "it is on record");
}

#[test]
fn configurations_are_compared_over_the_calls_there_were() {
    let fixture = explained("OH");
    // Decided when the second target was paused, and when nobody took callers from Ohio.
    let one = CONFIG.replace("id = \"tgt_cool\"", "id = \"tgt_cool\"\n    paused = true");
    let none = one.replace(r#"["OH", "PA"]"#, r#"["PA"]"#);
    fixture.world.decide_on(&compiled(&one, 1), call_id(1), "OH", 12);
    fixture.world.decide_on(&compiled(&none, 2), call_id(2), "OH", 13);

    let all = fixture.post("/v1/config:diff", "{}").json();
    assert_eq!(
        all,
        json!({
            "revision": 418, "from": null, "calls": 3,
            "moved": 1, "moved_first": 1, "repriced": 0, "refused_now": 0, "taken_now": 1,
            "revenue_delta": "83.00", "payout_delta": "0.00",
            "examples": [call_id(1).to_string(), call_id(2).to_string()],
        })
    );
    let last = fixture.post("/v1/config:diff", r#"{ "last": 1, "revision": 418 }"#).json();
    assert_eq!((&last["calls"], &last["taken_now"]), (&json!(1), &json!(1)));

    let both = fixture.post("/v1/config:diff", r#"{ "from": 418, "revision": 418 }"#).json();
    let moved = (&both["from"], &both["calls"], &both["moved"], &both["taken_now"]);
    assert_eq!(moved, (&json!(418), &json!(3), &json!(0), &json!(0)));

    for unknown in [r#"{ "revision": 3 }"#, r#"{ "from": 3 }"#] {
        let unknown = fixture.post("/v1/config:diff", unknown);
        assert_eq!(unknown.problem(), refused_whole(404, "config.unknown_revision"));
    }
    fixture.world.breaks(Broken::Database);
    let down = fixture.post("/v1/config:diff", "{}");
    assert_eq!(down.problem(), refused_whole(503, "store.unavailable"));
}

#[test]
fn targets_are_listed_with_what_is_thought_of_them() {
    let listed = Fixture::new().get("/v1/targets").json();
    assert_eq!(
        listed,
        json!({ "config_rev": 418, "items": [
            { "id": "tgt_summit", "buyer": "buy_summit", "name": "tgt_summit", "paused": false,
              "condition": "well", "why": null },
            { "id": "tgt_cool", "buyer": "buy_cool", "name": "tgt_cool", "paused": false,
              "condition": "circuit_open", "why": "circuit open: 31 of 60 attempts failed" },
            { "id": "tgt_idle", "buyer": "buy_idle", "name": "tgt_idle", "paused": false,
              "condition": "well", "why": null },
        ] })
    );
}

#[test]
fn ways_to_targets_are_listed_with_what_calls_have_shown_of_them() {
    let listed = Fixture::new().get("/v1/ways").json();
    assert_eq!(listed["config_rev"], 418);
    let ways: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|it| it["way"].as_str().unwrap()).collect();
    assert_eq!(ways, ["192.0.2.30", "192.0.2.31:5070"]);
    let mut first = listed["items"][0].clone();
    let circuit = first.as_object_mut().unwrap().remove("circuit").unwrap();
    assert_eq!((&circuit["max_pdd_ms"], &circuit["cool_down_s"]), (&json!(6_000), &json!(120)));
    assert_eq!(
        first,
        json!({
            "way": "192.0.2.30", "trunk": null, "condition": "circuit_open",
            "why": "circuit open: 2 of 60 attempts rang too late", "attempts": 60, "answered": 40,
            "failed": 3, "week_attempts": 4_000, "week_answered": 2_600, "pdd_p50_ms": 900,
            "pdd_p99_ms": 6_400, "circuit_from": "built_in",
        })
    );
}

#[test]
fn a_call_can_be_thought_of() {
    let fixture = Fixture::new();
    let body = r#"{ "dialed": "+16145550104", "tags": { "geo.state": "OH" }, "count": 10 }"#;
    let shown = fixture.post("/v1/simulate/call", body).json();
    assert_eq!(shown["first"], json!({ "tgt_cool": 5, "tgt_summit": 5 }));
    assert_eq!(shown["calls"], 10);
    assert_eq!(shown["scorers"], json!([]));
    assert_eq!(shown["refused"], json!({}));
    assert_eq!(shown["decision"]["plan"].as_array().unwrap().len(), 2);
    assert_eq!(shown["decision"]["decided_at"], "2026-03-17T15:04:12.318Z");

    let body = r#"{
        "dialed": "+16145550104", "caller": "+16145550163", "at": "2027-01-01T00:00:00Z",
        "assume": { "targets_down": ["tgt_summit"] }
    }"#;
    let shown = fixture.post("/v1/simulate/call", body).json();
    assert_eq!(shown["first"], json!({ "tgt_cool": 1 }));
    assert_eq!(shown["money"], json!({ "revenue": "41.50", "payout": "0.00", "margin": "41.50" }));
    assert_eq!(shown["decision"]["decided_at"], "2027-01-01T00:00:00.000Z");
    assert_eq!(
        shown["sip_preview"],
        json!({
            "target": "tgt_cool", "delivery": "bridge", "reason": null,
            "invite": {
                "transport": "udp", "to": "192.0.2.20:5060",
                "start_line": "INVITE sip:+16145550104@192.0.2.20 SIP/2.0",
                "headers": [{ "name": "Max-Forwards", "value": "69" }], "body": "v=0\r\n",
            },
        })
    );
    assert_eq!(
        shown["latency_estimate"],
        json!({
            "target": "tgt_cool", "way": null, "pdd_p50_ms": null, "pdd_p99_ms": null,
            "pdd_window_s": null, "first_response_ms": 1_500, "max_pdd_ms": 8_000,
            "ring_timeout_ms": 30_000, "ring_budget_ms": 60_000,
        })
    );

    let nobody = fixture.post("/v1/simulate/call", r#"{ "dialed": "+18005550100" }"#).json();
    assert_eq!(nobody["refused"], json!({ "gate.number_unknown": 1 }));
    for none in ["money", "sip_preview", "latency_estimate"] {
        assert_eq!(nobody[none], json!(null), "{none}");
    }
}

#[test]
fn what_cannot_be_thought_of_is_refused_with_every_fault() {
    let fixture = Fixture::new();
    let body = r#"{
        "dialed": "five", "caller": "0614", "at": "yesterday", "count": 0,
        "assume": { "targets_down": ["nobody"], "caps_used": { "target/x/connected/daily": 1 },
            "scores": { "learned": { "nobody": 1e12 } } }
    }"#;
    let answer = fixture.post("/v1/simulate/call", body);
    let (status, code, errors) = answer.problem();
    assert_eq!((status, code.as_str()), (422, "simulation.refused"));
    let places: Vec<_> = errors.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(
        places,
        [
            "/dialed",
            "/caller",
            "/at",
            "/count",
            "/assume/targets_down",
            "/assume/caps_used/target~1x~1connected~1daily",
            "/assume/scores/learned",
            "/assume/scores/learned/nobody",
            "/assume/scores/learned/nobody",
        ]
    );
}

/// The call 0 from `state`, with its decision.
fn explained(state: &str) -> Fixture {
    let fixture = with_stored(1);
    fixture.world.decide(call_id(0), state);
    fixture.world.state.lock().stored.get_mut(&call_id(0)).unwrap().explain_ref = Some(11);
    fixture
}

fn compiled(config: &str, revision: u64) -> RoutingSnapshot {
    RoutingSnapshot::compile(toml::from_str(config).unwrap(), revision).unwrap()
}
