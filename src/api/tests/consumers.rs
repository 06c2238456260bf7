//! Facts that failed at a consumer are shown, tried again and given up; sums are told apart.

use serde_json::json;

use super::records::{call_id, ended, record};
use super::world::START;
use super::{Fixture, refused, refused_whole};
use crate::cdr::consumer::letter::{Letter, LetterState, SealedFact};
use crate::cdr::fact::{Fact, Stamp};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::rollup::Resolution;
use crate::time::{Mono, Wall};

#[test]
fn consumers_are_listed_with_what_they_wait_for() {
    let listed = Fixture::new().get("/v1/consumers").json();

    let well = json!({
        "consumer": "rollups", "epoch": 3, "seq": 104_112, "at": START.to_rfc3339(),
        "lag_facts": 0, "waits_for": null, "retrying": 0, "dead": 0,
    });
    let late = json!({
        "consumer": "ship:audit", "epoch": 3, "seq": 104_112, "at": null, "lag_facts": 17,
        "waits_for": "the store does not answer", "retrying": 1, "dead": 2,
    });
    assert_eq!(listed, json!({ "items": [well, late] }));
}

#[test]
fn dead_letters_are_listed_newest_first_by_pages_and_filters() {
    let fixture = with_letters();

    let page = fixture.get("/v1/dead-letters?limit=2");
    let ids = |json: &serde_json::Value| {
        let letters = json["dead_letters"].as_array().unwrap().iter();
        letters.map(|letter| letter["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&page.json()), [3, 2]);
    let next = page.json()["next"].as_str().unwrap().to_owned();
    let rest = fixture.get(&format!("/v1/dead-letters?limit=2&cursor={next}"));
    assert_eq!(ids(&rest.json()), [1]);
    let other = fixture.get(&format!("/v1/dead-letters?limit=2&state=dead&cursor={next}"));
    assert_eq!(other.problem(), refused(400, "query.cursor_invalid", "cursor", "invalid"));

    assert_eq!(ids(&fixture.get("/v1/dead-letters?class=panic").json()), [3]);
    assert_eq!(ids(&fixture.get("/v1/dead-letters?state=dead&consumer=rollups").json()), [2, 1]);
    let wrong = fixture.get("/v1/dead-letters?state=gone");
    assert_eq!(wrong.problem(), refused(400, "query.malformed", "state", "malformed"));
}

#[test]
fn a_dead_letter_shows_all_of_its_fact() {
    let fixture = with_letters();

    let shown = fixture.get("/v1/dead-letters/1").json();

    let contents = shown["fact"]["contents"].as_str().unwrap();
    assert!(contents.contains("CallerHungUp"), "{contents}");
    assert_eq!(shown["fact"]["kind"], "call.ended");
    assert_eq!(shown["fact"]["lsn"], json!({ "epoch": 1, "seq": 101 }));
    assert_eq!(shown["fact"]["call_id"], call_id(1).to_string());
    assert_eq!(shown["first_at"], START.to_rfc3339());
    let unknown = fixture.get("/v1/dead-letters/9");
    assert_eq!(unknown.problem(), refused_whole(404, "dead_letter.not_found"));
    assert_eq!(fixture.get("/v1/dead-letters/x").problem().1, "path.malformed");
}

#[test]
fn dead_letters_are_tried_again_one_by_one_by_range_and_by_class() {
    let fixture = with_letters();
    let replay = |body: &str| fixture.post("/v1/dead-letters:replay", body);

    assert_eq!(replay(r#"{"first": 2, "last": 2}"#).json(), json!({ "count": 1 }));
    let shown = fixture.get("/v1/dead-letters/2").json();
    assert_eq!(shown["state"], "retrying");
    assert_eq!(shown["word"], json!({ "by": "ops", "at": START.to_rfc3339(), "reason": null }));
    assert_eq!(replay(r#"{"first": 1, "last": 2}"#).json(), json!({ "count": 2 }));
    assert_eq!(replay(r#"{"class": "panic"}"#).json(), json!({ "count": 1 }));
    assert_eq!(replay("{}").problem(), refused_whole(422, "dead_letter.unmeant"));
    let turned = replay(r#"{"first": 2, "last": 1}"#).problem();
    assert_eq!(turned, refused(422, "dead_letter.unmeant", "/last", "malformed"));
    assert_eq!(replay(r#"{"id": 2}"#).problem().1, "body.mistyped");
}

#[test]
fn a_dead_letter_is_given_up_for_a_reason() {
    let fixture = with_letters();
    let discard = |body: &str| fixture.post("/v1/dead-letters:discard", body);

    let silent = discard(r#"{"first": 1, "last": 1, "reason": " "}"#).problem();
    assert_eq!(silent, refused(422, "dead_letter.unmeant", "/reason", "malformed"));
    let given_up = discard(r#"{"first": 1, "last": 1, "reason": "billed by hand"}"#);
    assert_eq!(given_up.json(), json!({ "count": 1 }));

    let shown = fixture.get("/v1/dead-letters/1").json();
    assert_eq!(shown["state"], "discarded");
    assert_eq!(shown["word"]["reason"], "billed by hand");
    assert_eq!(shown["word"]["by"], "ops");
}

#[test]
fn rollups_tell_apart_what_they_are_asked_to() {
    let fixture = Fixture::new();
    let day = "from=2026-03-17T00:00:00Z&to=2026-03-18T00:00:00Z";

    let hourly = fixture.get(&format!("/v1/rollups?{day}")).json();
    let by_campaign =
        fixture.get(&format!("/v1/rollups?{day}&resolution=day&group_by=campaign,target")).json();

    let row = &hourly["items"][0];
    assert_eq!((&row["at"], &row["calls"]), (&json!("2026-03-17T15:04:00.000Z"), &json!(3)));
    assert_eq!((&row["revenue"], row.get("campaign")), (&json!("41.50"), None));
    let row = &by_campaign["items"][0];
    assert_eq!((&row["campaign"], row.get("at")), (&json!("cmp_hvac"), None));
    assert_eq!(row.get("target"), Some(&json!(null)));
    let asked = fixture.world.state.lock().summed.clone();
    let told: Vec<_> = asked.iter().map(|it| (it.resolution, it.by, it.by_time)).collect();
    let expected = [
        (Resolution::Hour, [false; 4], true),
        (Resolution::Day, [true, false, false, true], false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_calls_look_like_is_told_of_publishers_and_of_targets() {
    let fixture = Fixture::new();

    let publishers = fixture.get("/v1/fraud/publishers").json();
    let day = "from=2026-03-17T23:00:00Z&to=2026-03-17T00:00:00Z";
    let targets = fixture.get(&format!("/v1/fraud/targets?{day}")).json();

    let (nobody, own) = (&publishers["items"][0], &publishers["items"][1]);
    assert_eq!((&nobody["publisher"], &nobody["calls"]), (&json!(null), &json!(0)));
    let expected = json!({
        "publisher": "pub_bright", "calls": 50, "high": 3,
        "reasons": [{ "reason": "velocity.caller", "calls": 5, "percent": 10 }],
        "durations": {
            "bins": [7, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0],
            "calls": 67, "here": 60, "beside": 0, "suspicious": true,
        },
    });
    assert_eq!(*own, expected);
    // One day, and its watched bin is the one before.
    assert_eq!(targets["items"][1]["target"], "pub_bright");
    assert_eq!(
        targets["items"][1]["durations"]["bins"],
        json!([1, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0])
    );
    for (query, name) in
        [("from=2026-03-18T00:00:00Z&to=2026-03-17T23:00:00Z", "to"), ("from=yesterday", "from")]
    {
        let answer = fixture.get(&format!("/v1/fraud/publishers?{query}"));
        let expected = refused(400, "query.malformed", name, "malformed");
        assert_eq!(answer.problem(), expected, "{query}");
    }
}

#[test]
fn a_stored_call_is_shown_with_its_score_and_why() {
    let fixture = Fixture::new();
    let call = call_id(1);
    let record = record(call, &ended());
    fixture.world.state.lock().stored.insert(call, record);

    let listed = fixture.get("/v1/calls").json();
    let shown = fixture.get(&format!("/v1/calls/{call}")).json();

    assert_eq!(listed["calls"][0]["fraud_score"], 30);
    assert_eq!(shown["fraud_score"], 30);
    let expected = json!({
        "score": 30,
        "reasons": [{
            "reason": "velocity.caller", "points": 30, "have": "11.4", "want": "10",
            "text": "the caller calls more often of late than people do",
        }],
    });
    assert_eq!(shown["fraud"], expected);
}

#[test]
fn rollups_without_a_time_or_with_too_many_rows_are_refused() {
    let fixture = Fixture::new();

    for (query, place) in [
        ("to=2026-03-18T00:00:00Z", "from"),
        ("from=2026-03-18T00:00:00Z", "to"),
        ("from=2026-03-18T00:00:00Z&to=2026-03-18T00:00:00Z", "to"),
        ("from=2026-03-17T00:00:00Z&to=2026-03-18T00:00:00Z&group_by=colour", "group_by"),
        ("from=2026-03-17T00:00:00Z&to=2026-03-18T00:00:00Z&resolution=week", "resolution"),
    ] {
        let answer = fixture.get(&format!("/v1/rollups?{query}"));
        assert_eq!(answer.problem(), refused(400, "query.malformed", place, "malformed"));
    }
    let all = "from=2026-03-17T00:00:00Z&to=2026-03-18T00:00:00Z&resolution=minute";
    let answer = fixture.get(&format!("/v1/rollups?{all}"));
    assert_eq!(answer.problem(), refused_whole(422, "rollup.too_many"));
}

/// Three facts failed: two for good, one in a panic.
fn with_letters() -> Fixture {
    let fixture = Fixture::new();
    let letters = [("record_damaged", LetterState::Dead), ("record_damaged", LetterState::Dead)];
    let letters = letters.into_iter().chain([("panic", LetterState::Retrying)]);
    for ((class, state), n) in letters.zip(1_u8..) {
        let (_, body) = ended().pop().unwrap();
        let at = Stamp::new(START, Mono(0));
        let lsn = Lsn { epoch: 1, seq: 100 + u64::from(n) };
        let entry = Entry { lsn, fact: Fact { call: Some(call_id(n)), at, body } };
        fixture.world.state.lock().letters.push(Letter {
            id: n.into(),
            consumer: "rollups".into(),
            lsn,
            fact: SealedFact::of(&entry),
            state,
            tries: 1,
            class: class.into(),
            error: "not CBOR".into(),
            first_at: START,
            last_at: START,
            next_at: (state == LetterState::Retrying).then_some(Wall(START.0 + 1_000)),
            word: None,
        });
    }
    fixture
}
