//! Calls: lists, one call, its explanation, its end.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use super::records::{admitted, answered, call_id, ended, record};
use super::world::Broken;
use super::{CALLER, Fixture, refused, refused_whole, request};
use crate::cdr::record::{CallState, Outcome};
use crate::cdr::store::CallFilter;
use crate::id::SessionId;
use crate::reason::Reason;
use crate::time::Wall;

#[test]
fn a_list_is_read_page_by_page_newest_first() {
    let fixture = with_stored(5);

    let first = fixture.get("/v1/calls?limit=2&campaign=cmp_hvac");
    assert_eq!(ids(&first.json()), [4, 3].map(|n| call_id(n).to_string()));
    let link = first.header("link").unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let cursor = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(next, format!("/v1/calls?limit=2&campaign=cmp_hvac&cursor={cursor}"));

    let second = fixture.get(next);
    assert_eq!(ids(&second.json()), [2, 1].map(|n| call_id(n).to_string()));
    let next = second.json()["next"].as_str().unwrap().to_owned();

    // The number of calls per page may change on the way.
    let third = fixture.get(&format!("/v1/calls?cursor={next}&campaign=cmp_hvac&limit=50"));
    assert_eq!(ids(&third.json()), [call_id(0).to_string()]);
    assert_eq!(third.json()["next"], Value::Null);
    assert_eq!(third.header("link"), None);
}

#[test]
fn calls_that_come_while_a_list_is_read_do_not_shift_its_pages() {
    let fixture = with_stored(3);
    let first = fixture.get("/v1/calls?limit=1").json();
    fixture.world.state.lock().stored.insert(call_id(9), record(call_id(9), &ended()));

    let cursor = first["next"].as_str().unwrap();
    let second = fixture.get(&format!("/v1/calls?limit=1&cursor={cursor}")).json();

    assert_eq!(ids(&second), [call_id(1).to_string()]);
}

#[test]
fn every_filter_reaches_the_store() {
    let fixture = Fixture::new();

    let session = SessionId::from_bytes([3; 16]);
    let answer = fixture.get(&format!(
        "/v1/calls?campaign=c&publisher=p&buyer=b&target=t&trunk=k&caller=%2B16145550163\
         &did=%2B16145550104&session={session}&state=orphan_closed&outcome=no_answer&reason=cap.full\
         &since=2026-03-17T15:04:12.318Z&until=2026-03-17T17:00:00%2B01:00&fraud_min=50"
    ));

    assert_eq!(answer.json(), json!({"calls": [], "next": null}));
    let expected = CallFilter {
        campaign: Some("c".into()),
        publisher: Some("p".into()),
        buyer: Some("b".into()),
        target: Some("t".into()),
        trunk: Some("k".into()),
        caller: CALLER.parse().ok(),
        did: "+16145550104".parse().ok(),
        session: Some(session),
        state: Some(CallState::OrphanClosed),
        outcome: Some(Outcome::NoAnswer),
        reason: Some(Reason::CapFull),
        since: Some(Wall(1_773_759_852_318)),
        until: Some(Wall(1_773_763_200_000)),
        fraud_min: Some(50),
    };
    assert_eq!(fixture.world.state.lock().asked, [expected]);
}

#[test]
fn what_cannot_be_asked_of_a_list_is_refused_with_the_parameter() {
    let fixture = with_stored(3);
    let cursor = fixture.get("/v1/calls?limit=1").json()["next"].as_str().unwrap().to_owned();
    let malformed = |name| refused(400, "query.malformed", name, "malformed");
    let stale = refused(400, "query.cursor_invalid", "cursor", "invalid");
    let cases = [
        ("colour=red", refused(400, "query.unknown", "colour", "unknown")),
        ("Campaign=c", refused(400, "query.unknown", "Campaign", "unknown")),
        ("state=open&state=closed", refused(400, "query.repeated", "state", "repeated")),
        ("limit=0", malformed("limit")),
        ("limit=201", malformed("limit")),
        ("limit=ten", malformed("limit")),
        ("campaign=", malformed("campaign")),
        ("caller=bob", malformed("caller")),
        ("did=12", malformed("did")),
        ("session=cal_01954f2e7d1e70008000000000000001", malformed("session")),
        ("state=over", malformed("state")),
        ("outcome=", malformed("outcome")),
        ("reason=", malformed("reason")),
        ("reason=cap.fool", malformed("reason")),
        ("since=yesterday", malformed("since")),
        ("fraud_min=101", malformed("fraud_min")),
        ("since=2026-03-17T00:00:00Z&until=2026-03-17T00:00:00Z", malformed("until")),
        ("cursor=1", stale.clone()),
        (&format!("cursor={}", cursor.replace(&cursor[..2], "ff")), stale.clone()),
        // Of the list with another filter.
        (&format!("cursor={cursor}&state=closed"), stale.clone()),
    ];
    for (query, expected) in cases {
        assert_eq!(fixture.get(&format!("/v1/calls?{query}")).problem(), expected, "{query}");
        assert_eq!(fixture.get(&format!("/v1/calls/live?{query}")).problem(), expected, "{query}");
    }
    // Of the other list.
    assert_eq!(fixture.get(&format!("/v1/calls/live?cursor={cursor}")).problem(), stale);
}

#[test]
fn the_live_list_has_pages_and_filters_too() {
    let fixture = Fixture::new();
    let mut state = fixture.world.state.lock();
    for n in 0..4 {
        let facts = if n == 2 { admitted() } else { answered() };
        state.live.insert(call_id(n), Arc::new(record(call_id(n), &facts)));
    }
    drop(state);

    let first = fixture.get("/v1/calls/live?target=tgt_cool&limit=2").json();
    assert_eq!(ids(&first), [3, 1].map(|n| call_id(n).to_string()));
    let cursor = first["next"].as_str().unwrap();
    let path = format!("/v1/calls/live?target=tgt_cool&limit=2&cursor={cursor}");
    let second = fixture.get(&path).json();
    assert_eq!(ids(&second), [call_id(0).to_string()]);
    assert_eq!(second["next"], Value::Null);
}

#[test]
fn a_call_that_is_over_is_shown_in_full() {
    let fixture = with_stored(1);

    let mut shown = fixture.get(&format!("/v1/calls/{}", call_id(0))).json();
    let mut take = |name| shown.as_object_mut().unwrap().remove(name).unwrap();
    let (attempts, timeline) = (take("attempts"), take("timeline"));
    assert_eq!((take("codec"), take("denied")), (json!("PCMU/8000"), json!([])));
    assert_eq!((take("no_route"), take("first_match")), (Value::Null, Value::Null));
    assert_eq!((&take("fraud")["score"], take("fraud_score")), (&json!(30), json!(30)));

    let expected = json!({
        "call_id": "cal_019cfc536f1e70008000000000000000",
        "rev": 8,
        "state": "closed",
        "outcome": "converted",
        "campaign": "cmp_hvac",
        "publisher": "pub_bright",
        "trunk": "trk_a",
        "dialed": "sip:+16145550104@edge.example",
        "did": "+16145550104",
        "caller": "+16145550163",
        "started_at": "2026-03-17T15:04:12.318Z",
        "answered_at": "2026-03-17T15:04:16.418Z",
        "ended_at": "2026-03-17T15:09:05.886Z",
        "setup_ms": 4100,
        "pdd_ms": 500,
        "ring_ms": 3099,
        "talk_ms": 289_468,
        "end_party": "caller",
        "end_reason": "end.caller_hung_up",
        "sip_status": 200,
        "target": "tgt_cool",
        "buyer": "buy_cool",
        "money": {
            "currency": "USD",
            "revenue": "41.50",
            "payout": "33.20",
            "no_payout_reason": null,
            "cost": null,
            "margin": "8.30",
        },
        "conversion": "settled",
        "session_id": "ses_03030303030303030303030303030303",
        "match_method": "pool_lease",
        "config_rev": 418,
        "flags": [],
        "handover": null,
        "taken_at": null,
        "sip_call_id": "a84b4c76e66710@198.51.100.7",
        "carrier_call_id": "CA17",
        "captured": { "header.x-lead": "7" },
        "source": "udp:198.51.100.7:5060",
        "confidence": 0.99,
        "refused": null,
        "q850": 16,
        "decided_at": "2026-03-17T15:04:12.325Z",
        "confirmed_at": "2026-03-17T15:04:16.468Z",
        "converted_at": "2026-03-17T15:05:46.418Z",
        "billed_s": null,
    });
    assert_eq!(shown, expected);
    let expected = json!([
        {
            "n": 1,
            "target": "tgt_summit",
            "buyer": "buy_summit",
            "dest": "sip:tgt_summit@192.0.2.10",
            "trunk": null,
            "started_at": "2026-03-17T15:04:12.327Z",
            "result": "failed",
            "sip": 486,
            "q850": 17,
            "reason": "attempt.busy",
            "ring_ms": null,
            "pdd_ms": null,
        },
        {
            "n": 2,
            "target": "tgt_cool",
            "buyer": "buy_cool",
            "dest": "sip:tgt_cool@192.0.2.10",
            "trunk": null,
            "started_at": "2026-03-17T15:04:12.819Z",
            "result": "answered",
            "sip": 200,
            "q850": null,
            "reason": null,
            "ring_ms": 3099,
            "pdd_ms": 500,
        },
    ]);
    assert_eq!(attempts, expected);
    let expected = json!([
        event("15:04:12.318", "call.admitted", "on trk_a"),
        event("15:04:12.325", "route.decided", "campaign cmp_hvac"),
        event("15:04:12.327", "attempt.started", "number 1 to tgt_summit"),
        event(
            "15:04:12.818",
            "attempt.failed",
            "tgt_summit: 486; the target is busy (attempt.busy)"
        ),
        event("15:04:12.819", "attempt.started", "number 2 to tgt_cool"),
        event("15:04:13.319", "attempt.ringing", "tgt_cool rings"),
        event("15:04:16.418", "call.answered", "by tgt_cool"),
        event("15:04:16.468", "call.confirmed", "the caller's ACK came"),
        event("15:05:46.418", "conversion.reached", "revenue 41.50"),
        event("15:09:05.886", "call.ended", "200; the caller hung up (end.caller_hung_up)"),
    ]);
    assert_eq!(timeline, expected);
}

#[test]
fn a_call_is_shown_from_its_admission_on() {
    let fixture = Fixture::new();
    let young = record(call_id(0), &admitted());
    fixture.world.state.lock().live.insert(call_id(0), Arc::new(young));

    let shown = fixture.get(&format!("/v1/calls/{}", call_id(0))).json();

    assert_eq!((&shown["state"], &shown["outcome"]), (&json!("open"), &json!("in_progress")));
    assert_eq!(shown["match_method"], Value::Null);
    assert_eq!(shown["money"]["currency"], Value::Null);
    assert_eq!(shown["timeline"], json!([event("15:04:12.318", "call.admitted", "on trk_a")]));
}

#[test]
fn while_a_call_is_up_the_live_record_goes_before_the_stored_one() {
    let fixture = Fixture::new();
    let mut state = fixture.world.state.lock();
    state.live.insert(call_id(0), Arc::new(record(call_id(0), &answered())));
    state.stored.insert(call_id(0), record(call_id(0), &admitted()));
    drop(state);

    let shown = fixture.get(&format!("/v1/calls/{}", call_id(0))).json();

    assert_eq!(shown["target"], "tgt_cool");
}

#[test]
fn an_explanation_tells_what_became_of_every_target() {
    let fixture = with_stored(1);
    fixture.world.decide(call_id(0), "KY");
    fixture.world.state.lock().stored.get_mut(&call_id(0)).unwrap().explain_ref = Some(11);

    let shown = fixture.get(&format!("/v1/calls/{}/explain", call_id(0))).json();

    let candidates = json!([
        {
            "target": "tgt_summit",
            "rank": null,
            "dialed": false,
            "reason": "filter.mismatch",
            "code": "filter.geo.state",
            "reason_text": "the call's tags are not what the target wants",
            "shortage": null,
        },
        {
            "target": "tgt_cool",
            "rank": 1,
            "dialed": true,
            "reason": null,
            "code": null,
            "reason_text": null,
            "shortage": null,
        },
    ]);
    assert_eq!(shown["candidates"], candidates);
    assert_eq!(shown["config_rev"], 418);
    assert_eq!(shown["attribution"]["method"], "static_mapping");
    assert_eq!(shown["plan"][0]["target"], "tgt_cool");
    assert_eq!(shown["plan"][0]["terms"]["revenue"], "41.50");
    let mismatch = json!({
        "target": "tgt_summit",
        "check": "filter",
        "subject": "geo.state",
        "verdict": "refused",
        "reason": "filter.mismatch",
        "code": "filter.geo.state",
        "limit": null,
        "have": "KY",
        "want": "in OH, PA",
        "basis": "declared",
        "confidence": 0.95,
    });
    assert!(shown["steps"].as_array().unwrap().contains(&mismatch), "{shown}");
    let text = shown["text"].as_array().unwrap();
    assert!(text[1].as_str().unwrap().starts_with("tgt_summit: not dialled"), "{text:?}");
    assert_eq!(shown["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn what_was_not_decided_or_cannot_be_read_is_not_explained() {
    let fixture = with_stored(1);
    let path = format!("/v1/calls/{}/explain", call_id(0));
    let explain_ref = |explain_ref| {
        fixture.world.state.lock().stored.get_mut(&call_id(0)).unwrap().explain_ref = explain_ref;
    };

    explain_ref(None);
    assert_eq!(fixture.get(&path).problem(), refused_whole(404, "call.no_decision"));
    // On its way to the store.
    explain_ref(Some(12));
    let answer = fixture.get(&path);
    assert_eq!(answer.problem(), refused_whole(404, "call.no_decision"));
    assert_eq!(answer.header("retry-after"), Some("1"));

    fixture.world.state.lock().decisions.insert(12, Bytes::from_static(b"{}"));
    assert_eq!(fixture.get(&path).problem(), refused_whole(500, "store.damaged"));
}

#[test]
fn only_a_call_that_is_up_is_ended_and_one_that_cannot_be_told_is_no_unknown_one() {
    let fixture = with_stored(1);
    let live = Arc::new(record(call_id(7), &answered()));
    fixture.world.state.lock().live.insert(call_id(7), live);
    let hang_up = |n| {
        let path = format!("/v1/calls/{}/hangup", call_id(n));
        fixture.ask(request(Method::POST, &path).body(Body::empty()).unwrap())
    };

    let answer = hang_up(7);

    assert_eq!(answer.status, 202);
    let expected = json!({"call_id": call_id(7).to_string(), "status": "ending"});
    assert_eq!(answer.json(), expected);
    assert_eq!(hang_up(0).problem(), refused_whole(404, "call.not_live"));
    assert_eq!(fixture.world.state.lock().hung_up, [call_id(7)]);

    fixture.world.breaks(Broken::Behind);
    let answer = hang_up(7);
    assert_eq!(answer.problem(), refused_whole(503, "call.not_told"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(hang_up(0).problem(), refused_whole(404, "call.not_live"));
}

#[test]
fn an_unknown_call_and_a_malformed_id_are_told_apart() {
    let fixture = Fixture::new();
    for suffix in ["", "/explain"] {
        let get = |id: &str| fixture.get(&format!("/v1/calls/{id}{suffix}")).problem();

        assert_eq!(get(&call_id(1).to_string()), refused_whole(404, "call.not_found"));
        for id in ["1", "png_01954f2e7d1e70008000000000000001", "cal_xyz", "cal_%ff"] {
            assert_eq!(get(id), refused(400, "path.malformed", "id", "malformed"), "{id}");
        }
    }
}

#[test]
fn a_store_that_fails_is_told_apart_from_a_record_that_is_damaged() {
    let fixture = with_stored(1);
    for path in ["/v1/calls".to_owned(), format!("/v1/calls/{}", call_id(0))] {
        fixture.world.breaks(Broken::Database);
        let answer = fixture.get(&path);
        assert_eq!(answer.problem(), refused_whole(503, "store.unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));

        fixture.world.breaks(Broken::Row);
        assert_eq!(fixture.get(&path).problem(), refused_whole(500, "store.damaged"));
    }
}

pub(super) fn with_stored(calls: u8) -> Fixture {
    let fixture = Fixture::new();
    let records = (0..calls).map(|n| (call_id(n), record(call_id(n), &ended())));
    fixture.world.state.lock().stored.extend(records);
    fixture
}

fn ids(page: &Value) -> Vec<String> {
    let calls = page["calls"].as_array().unwrap().iter();
    calls.map(|call| call["call_id"].as_str().unwrap().to_owned()).collect()
}

fn event(time: &str, event: &str, detail: &str) -> Value {
    json!({"at": format!("2026-03-17T{time}Z"), "event": event, "detail": detail})
}
