//! The same request sent again, while the first is being answered and after a crash.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::program::Program;
use super::{Setup, Stage, play_with};
use crate::support::{api, http};

const OTHER: &str = r#"
[[publishers]]
id = "other"
keys = [{ id = "main", key = "the key of another" }]

[[pools]]
id = "pool"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101", "+16145550102"]
"#;

#[test]
fn a_hundred_times_the_same_ping_at_once_is_one_session() {
    play_with(Setup { more: OTHER, ..Setup::default() }, |stage| {
        let ping = json!({ "request_id": "click-1", "pool": "pool" });
        let replies = thread::scope(|scope| {
            let senders: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| (0..10).map(|_| send(stage, &ping, &[])).collect()))
                .collect();
            let sent = senders.into_iter().map(|sender| sender.join().expect("it does not panic"));
            sent.collect::<Result<Vec<Vec<http::Reply>>>>()
        })?;
        let replies: Vec<_> = replies.into_iter().flatten().collect();

        let mut taken = vec![];
        for reply in &replies {
            match reply.status {
                202 => taken.push(reply),
                409 => {
                    ensure!(reply.body.contains("idempotency.in_progress"), "{reply:?}");
                    ensure!(reply.header("retry-after") == Some("1"), "{reply:?}");
                }
                _ => anyhow::bail!("{reply:?}"),
            }
        }
        let new = taken.iter().filter(|it| it.header("idempotent-replayed").is_none()).count();
        ensure!(new == 1, "{new} of {} are new", taken.len());
        let first = taken[0].json::<Value>()?;
        for reply in taken {
            ensure!(reply.json::<Value>()? == first, "{reply:?}");
        }
        let accepted = r#"tollbridge_pings_total{result="accepted"}"#;
        ensure!(api::series(stage.api)?.get(accepted) == Some(&1.0));

        stage.restart(Program::kill)?;
        let again = send(stage, &ping, &[])?;
        ensure!(again.header("idempotent-replayed") == Some("true"), "{again:?}");
        ensure!(again.json::<Value>()? == first, "{again:?}");
        let other =
            send(stage, &json!({ "request_id": "click-1", "pool": "pool", "zip": "1" }), &[])?;
        ensure!(other.status == 422 && other.body.contains("idempotency.mismatch"), "{other:?}");
        let theirs = json!({ "request_id": "click-1", "campaign": "alone", "sip_ok": true });
        let key = [("X-Api-Key", "the key of another"), ("Content-Type", "application/json")];
        let asked = ("POST", "/v1/pings");
        let theirs = http::ask(stage.api, asked, &theirs.to_string(), &key)?;
        ensure!(theirs.status == 202, "{theirs:?}");
        ensure!(theirs.header("idempotent-replayed").is_none(), "{theirs:?}");
        stage.is_clean()
    });
}

#[test]
fn a_session_and_a_batch_are_known_by_their_keys_after_a_crash() {
    play_with(Setup { more: OTHER, ..Setup::default() }, |stage| {
        let keyed = [("Idempotency-Key", "k-1")];
        let post = |stage: &Stage, path: &str, body: &Value| {
            http::post_with(stage.api, path, &body.to_string(), &keyed)
        };
        let visit = json!({ "pool": "pool", "page_url": "https://a.example/?gclid=g1" });
        let pings = json!([
            { "campaign": "alone", "sip_ok": true },
            { "campaign": "alone", "sip_ok": true },
            { "campaign": "none", "sip_ok": true },
        ]);
        let opened = post(stage, "/v1/sessions", &visit)?;
        ensure!(opened.status == 201, "{opened:?}");
        let batch = post(stage, "/v1/pings:batch", &pings)?.json::<Value>()?;
        ensure!(batch["accepted"] == 2, "{batch:#}");
        let single = send(stage, &pings[0], &keyed)?;
        // The answer is what it was, also when the session has gone on since.
        let path = opened.header("location").context("no location")?.to_owned();
        http::post(stage.api, &format!("{path}:release"), "")?;
        stage.restart(Program::kill)?;

        let again = post(stage, "/v1/sessions", &visit)?;
        ensure!(again.status == 201, "{again:?}");
        ensure!(again.header("idempotent-replayed") == Some("true"), "{again:?}");
        ensure!(again.header("location") == Some(&path), "{again:?}");
        ensure!(again.json::<Value>()? == opened.json::<Value>()?, "{again:?} {opened:?}");
        let again = post(stage, "/v1/pings:batch", &pings)?.json::<Value>()?;
        for n in 0..2 {
            ensure!(again["items"][n]["replayed"] == true, "{again:#}");
            ensure!(again["items"][n]["ping"] == batch["items"][n]["ping"], "{again:#}");
        }
        ensure!(again["items"][2]["status"] == 422, "{again:#}");
        let again = send(stage, &pings[0], &keyed)?;
        ensure!(again.json::<Value>()? == single.json::<Value>()?, "{again:?}");
        stage.is_clean()
    });
}

fn send(stage: &Stage, ping: &Value, headers: &[(&str, &str)]) -> Result<http::Reply> {
    http::post_with(stage.api, "/v1/pings", &ping.to_string(), headers)
}
