use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::*;
use crate::cdr::consumer::renews_a_record;
use crate::cdr::fact::tests::samples;
use crate::cdr::fact::{Fact, Rematch, Rematched};
use crate::cdr::journal::Lsn;
use crate::cdr::testing::{START_MS, Script, call_id, stamp};
use crate::reason::Reason;

const DOCUMENT: &str = include_str!("../../../docs/events.md");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/events.proto");

#[test]
fn both_forms_of_an_event_are_what_the_schema_says() {
    let pool = schema();
    let message = pool.get_message_by_name("tollbridge.events.v1.Event").unwrap();
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut bodies = BTreeSet::new();

    for event in everything() {
        let written = Form::Protobuf.write(&event);
        let read = DynamicMessage::decode(message.clone(), written.as_slice()).unwrap();

        assert_eq!(read.unknown_fields().count(), 0, "{}", event.r#type);
        let mut by_schema = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut by_schema);
        read.serialize_with_options(&mut writer, &options).unwrap();
        let by_schema: Value = serde_json::from_slice(&by_schema).unwrap();
        let json: Value = serde_json::from_slice(&Form::Json.write(&event)).unwrap();
        assert_eq!(json, by_schema);
        assert_eq!(Event::decode(written.as_slice()).unwrap(), event);
        bodies.extend(json.as_object().unwrap().keys().cloned());
    }

    let oneof = message.oneofs().next().unwrap();
    for field in oneof.fields() {
        assert!(bodies.contains(field.name()), "no fact is told as {}", field.name());
    }
}

#[test]
fn the_document_shows_every_event_as_it_is_written() {
    for event in everything() {
        let json = serde_json::to_string_pretty(&event).unwrap();
        let block = format!("```json\n{json}\n```\n");
        assert!(DOCUMENT.contains(&block), "docs/events.md lacks\n{block}");
    }
}

#[test]
fn the_document_shows_an_event_in_bytes() {
    let event = everything().into_iter().find(|it| it.r#type == "session.released").unwrap();

    let bytes = Form::Protobuf.write(&event);

    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = hex.chunks(24).map(|line| line.join(" ")).collect();
    let block = format!("```text\n{}\n```\n", lines.join("\n"));
    assert!(DOCUMENT.contains(&block), "docs/events.md lacks\n{block}");
}

#[test]
fn an_event_has_the_id_of_its_fact_and_the_shard_of_its_call() {
    let script = Script::new().dial(1).answer_at(1_000).end_at(90_000);
    let events: Vec<_> = script.entries().iter().filter_map(|it| teller().tell(it, None)).collect();

    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "7d0c5a1802f1-1-1",
            "7d0c5a1802f1-1-2",
            "7d0c5a1802f1-1-3",
            "7d0c5a1802f1-1-4",
            "7d0c5a1802f1-1-5"
        ]
    );
    let shards: BTreeSet<_> = events.iter().map(|event| event.shard).collect();
    assert_eq!(shards.len(), 1);
    let call = call_id(1);
    assert_eq!(shards.first(), Some(&(crc32c::crc32c(call.as_bytes()) % 1_024)));
}

#[test]
fn callers_are_told_as_was_asked_for_and_not_otherwise() {
    let script = Script::new().end_at(9);
    let told = |callers: Callers| -> Vec<String> {
        let teller = Teller { callers, ..teller() };
        let record = script.record();
        let events = script.entries().iter().filter_map(|it| teller.tell(it, Some(&record)));
        events.map(|event| serde_json::to_string(&event).unwrap()).collect()
    };
    let count = |told: &[String], what: &str| -> usize {
        told.iter().map(|event| event.matches(what).count()).sum()
    };
    let number = "16145550001";
    // HMAC-SHA-256, key `pepper-pepper-16`, of `+16145550001`.
    let hash = "e2179a69cb1592f9e6e80f5aa98a4add";

    let nothing = told(Callers::Nothing);
    assert_eq!((count(&nothing, number), count(&nothing, "caller_hash")), (0, 0));
    let hashed = told(Callers::hashed_with(b"pepper-pepper-16"));
    assert_eq!((count(&hashed, number), count(&hashed, hash)), (0, 2));
    let numbers = told(Callers::Numbers);
    assert_eq!((count(&numbers, number), count(&numbers, "caller_hash")), (2, 0));
}

#[test]
fn tags_are_told_by_name() {
    let tags = [("zip".into(), "43215".into()), ("email".into(), "a@example.com".into())];

    let told = |which: Tags| which.tell(&tags).into_keys().collect::<Vec<_>>();

    assert_eq!(told(Tags::Named(vec![])), [""; 0]);
    assert_eq!(told(Tags::Named(vec!["zip".into(), "age".into()])), ["zip"]);
    assert_eq!(told(Tags::All), ["email", "zip"]);
}

/// An event of each fact that is told, of calls that ended in different ways.
fn everything() -> Vec<Event> {
    let teller = teller();
    let mut events = Vec::new();
    for body in samples() {
        let renews = renews_a_record(&body);
        let kind = body.kind();
        let at = stamp(START_MS + i64::from(kind));
        let is_of_call = matches!(
            body.name().split_once('.'),
            Some(("call" | "route" | "attempt" | "conversion", _))
        ) || matches!(body, FactBody::SessionConsumed(_));
        let fact = Fact { call: is_of_call.then(|| call_id(1)), at, body };
        if !renews {
            let lsn = Lsn { epoch: 3, seq: 1_000 + u64::from(kind) };
            events.extend(teller.tell(&Entry { lsn, fact }, None));
        }
    }
    let denied = Script::new().deny_at(7, 1, "tgt_cool", Reason::CapFull);
    let busy = denied.dial(2).ring_at(400).fail_at(900, 486, Reason::AttemptBusy);
    let converted = busy.dial(3).ring_at(1_300).answer_at(4_124).convert_at(94_124).end_at(293_592);
    let orphan = Script::of(2).dial(1).answer_at(2_000).orphan(30_000);
    let found = Rematched {
        outcome: Rematch::Found,
        session: Some(SessionId::from_bytes([3; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
    };
    let degraded = Script::degraded(3).dial(1).answer_at(2_000).end_at(32_000);
    let rematched = degraded.then(900_000, found);
    for script in [converted, orphan, rematched] {
        let record = script.record();
        let last = script.entries().last().unwrap();
        events.extend(teller.tell(last, Some(&record)));
    }
    events
}

fn teller() -> Teller {
    Teller {
        journal: "7d0c5a1802f1".into(),
        node: 1,
        account: "default".into(),
        callers: Callers::hashed_with(b"pepper-pepper-16"),
        tags: Tags::Named(vec!["zip".into(), "colour".into(), "line_type".into()]),
    }
}

fn schema() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files = protox::compile([PROTO], [folder]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}
