//! What hangs on the disk of one server others do not answer by (spec/data §1.2): nobody is promised what no
//! journal has.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::program::Program;
use super::shared::{check, redis};
use super::shared_sessions::{BID_KEY, BIDS, pool, server_with, text};
use crate::support::{api, http, wait_for};

/// Nothing is written but what a test sends, each time to another segment, and what is sent within a second at
/// once.
const ITS_OWN: [&str; 4] = [
    "journal.segment_age_s=1",
    "journal.checkpoint_interval_s=3600",
    "journal.linger_ms=1000",
    "targets.alone.conversion={ seconds = 90, revenue = \"41.50\" }",
];
/// Whoever does not answer by then what it should not has had the time to.
const LONG: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn an_answer_that_hangs_on_the_disk_is_given_by_no_other_server_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let start = |node| server_with(&redis.address().to_string(), node, "", &ITS_OWN).unwrap();
    let (first, second) = (start(1), start(2));
    let body = json!({
        "campaign": "alone", "caller_id": "+16145550188", "request_id": "the-same"
    })
    .to_string();
    let play = || -> Result<()> {
        let disk = Hung::of(&first)?;
        let client = send(&first, "/v1/pings", &body)?;
        disk.is_noticed(&first)?;
        // It was cut off, and asks elsewhere.
        drop(client);

        let asked = Instant::now();
        while asked.elapsed() < LONG {
            let reply = http::post(second.api, "/v1/pings", &body)?;
            ensure!(reply.status == 409, "the first may yet lose it: {reply:?}");
        }
        disk.goes_on()?;
        let at_second = wait_for("an answer", PATIENCE, || {
            let reply = http::post(second.api, "/v1/pings", &body)?;
            ensure!([202, 409].contains(&reply.status), "{reply:?}");
            Ok((reply.status == 202).then_some(reply))
        })?;

        ensure!(at_second.header("idempotent-replayed") == Some("true"), "{at_second:?}");
        let at_second: Value = at_second.json()?;
        let at_first = wait_for("the first to take pings again", PATIENCE, || {
            let reply = http::post(first.api, "/v1/pings", &body)?;
            Ok((reply.status == 202).then_some(reply))
        })?;
        ensure!(at_first.json::<Value>()? == at_second, "{at_first:?} {at_second:#}");
        let path = format!("/v1/sessions/{}", text(&at_second["session_id"])?);
        for stage in [&first, &second] {
            wait_for("the session to be seen", PATIENCE, || {
                Ok((http::get(stage.api, &path)?.status == 200).then_some(()))
            })?;
        }
        Ok(())
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn what_another_server_promises_it_has_itself_though_one_that_hangs_on_its_disk_was_asked_first() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let more = pool(8) + BIDS;
    let start = |node| server_with(&redis.address().to_string(), node, &more, &ITS_OWN).unwrap();
    let (mut first, second) = (start(1), start(2));
    let bid = json!({ "key": BID_KEY, "caller_number": "+16145550188" }).to_string();
    let visit = json!({ "pool": "pool", "visitor_id": "v1" }).to_string();
    let mut play = || -> Result<()> {
        let disk = Hung::of(&first)?;
        let asked = send(&first, "/rtbs.json", &bid)?;
        let visitor = send(&first, "/v1/sessions", &visit)?;
        disk.is_noticed(&first)?;
        drop(visitor);

        // As soon as it is answered at all: the first has asked, and then has not.
        let reserved = wait_for("a bid", PATIENCE, || {
            let told = http::post(second.api, "/rtbs.json", &bid)?.json::<Value>()?;
            Ok((told["status"] == "reserved").then_some(told))
        })?;
        let opened = http::post(second.api, "/v1/sessions", &visit)?;
        ensure!(opened.status == 201, "{opened:?}");
        let opened: Value = opened.json()?;
        drop(asked);
        first.end(Program::kill)?;
        redis.ask(&["flushall"])?;

        let uuid = text(&reserved["uuid"])?;
        let confirm = json!({ "key": BID_KEY, "status": "confirmed" }).to_string();
        wait_for("the promise to be confirmed", PATIENCE, || {
            let asked = ("PUT", &*format!("/rtbs/{uuid}.json"));
            let json = [("Content-Type", "application/json")];
            let told = http::ask(second.api, asked, &confirm, &json)?.json::<Value>()?;
            Ok((told["status"] == "confirmed").then_some(()))
        })?;
        let path = format!("/v1/sessions/{}", text(&opened["session_id"])?);
        wait_for("the visit to be found", PATIENCE, || {
            Ok((http::get(second.api, &path)?.status == 200).then_some(()))
        })
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn a_priced_ping_whose_client_went_away_is_answered_by_others_as_it_was_once_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let start = |node| server_with(&redis.address().to_string(), node, BIDS, &ITS_OWN).unwrap();
    let (first, second) = (start(1), start(2));
    let bid = json!({ "key": BID_KEY, "caller_number": "+16145550188" }).to_string();
    let reserved = |stage: &Stage| {
        wait_for("a bid", PATIENCE, || {
            let told = http::post(stage.api, "/rtbs.json", &bid)?.json::<Value>()?;
            Ok((told["status"] == "reserved").then_some(told))
        })
    };
    let play = || -> Result<()> {
        // A second passes until it is on disk.
        let asked = send(&first, "/rtbs.json", &bid)?;
        let claim = wait_for("the first to be at it", PATIENCE, || {
            let keys = redis.ask(&["keys", "rq:*"])?;
            Ok(keys.lines().find(|key| key.starts_with("rq:")).map(str::to_owned))
        })?;
        thread::sleep(LONG / 4);
        drop(asked);

        let at_second = reserved(&second)?;

        let at_first = reserved(&first)?;
        ensure!(at_first["uuid"] == at_second["uuid"], "{at_first:#} {at_second:#}");
        let counted = api::series(second.api)?;
        let accepted = counted.get(r#"tollbridge_pings_total{result="accepted"}"#);
        ensure!(accepted.is_none_or(|it| *it == 0.0), "the second opened one of its own");

        // A third is at it: what all can see is on disk, and is promised again.
        redis.ask(&["set", &claim, "C3/1", "px", "60000"])?;
        ensure!(reserved(&second)?["uuid"] == at_first["uuid"], "it is not the same any more");
        // What the third promises nobody else sees yet.
        let keys = redis.ask(&["keys", "s:*"])?;
        let sessions: Vec<&str> = keys.lines().collect();
        ensure!(redis.ask(&[&["del"], &sessions[..]].concat())? == "1", "{sessions:?}");
        let told = http::post(second.api, "/rtbs.json", &bid)?.json::<Value>()?;
        ensure!(told["status"] != "reserved", "{told:#}");
        Ok(())
    };
    let played = play();
    check(&[&first, &second], played);
}

/// The disk of a server's journal, which takes nothing.
struct Hung {
    journal: PathBuf,
    away: PathBuf,
}

impl Hung {
    fn of(stage: &Stage) -> Result<Self> {
        let data = stage.work.path().join("data");
        let (journal, away) = (data.join("journal"), data.join("away"));
        // What was written at the start is in a segment that is over by then.
        thread::sleep(LONG + LONG / 10);
        fs::rename(&journal, &away)?;
        Ok(Self { journal, away })
    }

    /// What was sent has been tried in vain.
    fn is_noticed(&self, stage: &Stage) -> Result<()> {
        wait_for("the journal to hang", PATIENCE, || {
            let health: Value = http::get(stage.api, "/healthz")?.json()?;
            Ok((health["pressure_level"] == 4).then_some(()))
        })
    }

    fn goes_on(&self) -> Result<()> {
        fs::rename(&self.away, &self.journal).context("the journal is where it was put")
    }
}

/// Sends it, and waits for no answer.
fn send(stage: &Stage, path: &str, body: &str) -> Result<TcpStream> {
    let mut client = TcpStream::connect(stage.api)?;
    let length = body.len();
    write!(
        client,
        "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer dev\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    Ok(client)
}
