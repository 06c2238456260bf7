//! What is given up under pressure: pings first, live calls never (spec/data §2.7).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, raw_sql};
use tokio::runtime::Runtime;

use super::peer::{SDP, with_body};
use super::program::Program;
use super::{Call, Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const SMALL: &str = "[[publishers]]\nid = \"small\"";

#[test]
fn call_records_that_fall_behind_cost_shares_of_pings_then_all_of_them_and_no_call() {
    let set = ["pressure.facts_behind_max=100"];
    play_with(Setup { set: &set, more: SMALL, ..Setup::default() }, |stage| {
        let book = Held::of(stage)?;
        let many = json!(vec![body("tests"); 72]).to_string();
        let many = http::post(stage.api, "/v1/pings:batch", &many)?.json::<Value>()?;
        ensure!(many["accepted"] == 72, "{many:#}");
        let health = until_level(stage, 2)?;
        ensure!(health["pressure"][0].as_str().is_some_and(|it| it.contains("behind")), "{health}");

        // Nothing has gone into the book in two seconds: there is room for one ping a second of each.
        std::thread::sleep(Duration::from_millis(2_600));
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..3 {
            for _ in 0..10 {
                let reply = ping(stage, "tests")?;
                match reply.status {
                    202 => taken += 1,
                    429 => refused += 1,
                    _ => ensure!(false, "{reply:?}"),
                }
                if reply.status == 429 {
                    ensure!(reply.body.contains("ping.over_share"), "{reply:?}");
                    ensure!(reply.body.contains("each publisher has 1 a second"), "{reply:?}");
                    ensure!(reply.header("retry-after") == Some("1"), "{reply:?}");
                }
            }
            let small = ping(stage, "small")?;
            ensure!(small.status == 202, "who sends one a second is protected: {small:?}");
            std::thread::sleep(Duration::from_millis(1_050));
        }
        ensure!(taken <= 8 && refused >= 22, "{taken} were taken, {refused} refused");
        let over = r#"tollbridge_pings_over_share_total{publisher="tests"}"#;
        ensure!(api::series(stage.api)?.get(over) == Some(&f64::from(refused)));

        // Calls are written, too, and go on as before.
        for n in 0..10 {
            stage.is_well(&format!("rationed{n}"))?;
        }
        until_level(stage, 3)?;
        let visit = json!({ "publisher": "small", "campaign": "alone", "want": "nothing" });
        let visit = http::post(stage.api, "/v1/sessions", &visit.to_string())?;
        for reply in [ping(stage, "small")?, ping(stage, "tests")?, visit] {
            ensure!(reply.status == 503, "{reply:?}");
            ensure!(reply.body.contains("ping.unavailable"), "{reply:?}");
            ensure!(reply.header("retry-after") == Some("5"), "{reply:?}");
        }
        stage.is_well("refused")?;
        ensure!(api::metrics(stage.api)?.get("tollbridge_pressure_level") == Some(&3.0));
        ensure!(stage.log().contains("pings are refused"), "nobody was told");

        drop(book);
        until_level(stage, 0)?;
        let reply = ping(stage, "tests")?;
        ensure!(reply.status == 202, "{reply:?}");
        stage.is_clean()
    });
}

#[test]
fn a_journal_that_cannot_be_written_costs_new_calls_and_none_that_is_up() {
    // Something is to be written each second, and to another segment.
    let set = ["journal.segment_age_s=1", "journal.checkpoint_interval_s=1"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let up = Call::up(stage, &mut caller, &mut target, "before", &[])?;
        let journal = stage.work.path().join("data/journal");
        let away = stage.work.path().join("data/away");
        fs::rename(&journal, &away)?;
        let health = until_level(stage, 4)?;
        ensure!(health["pressure"][0] == "the journal cannot be written", "{health}");

        let mut late = stage.udp()?;
        late.send(with_body(&late, &stage.invite(), "late", &[], SDP))?;
        let refused = late.expect("503 INVITE")?;
        ensure!(refused.text.contains("Retry-After: "), "{}", refused.text);
        let reply = ping(stage, "tests")?;
        ensure!(reply.status == 503 && reply.header("retry-after") == Some("5"), "{reply:?}");
        up.end(&mut caller, &mut target)?;

        fs::rename(&away, &journal)?;
        until_level(stage, 0)?;
        stage.is_well("after")?;
        ensure!(ping(stage, "tests")?.status == 202);
        // Both calls are in the book, the one that ended meanwhile among them.
        for call_id in ["before", "after"] {
            super::detail(stage, call_id)?;
        }
        Ok(())
    });
}

#[test]
fn a_ping_that_hangs_on_the_disk_is_the_same_when_it_is_sent_again() {
    let set = ["journal.segment_age_s=1", "journal.checkpoint_interval_s=1"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let keyed = |key: &str| {
            json!({ "publisher": "tests", "campaign": "alone", "sip_ok": true, "request_id": key })
                .to_string()
        };
        // One after the other on each line, so that some are on their way when the disk fails.
        let api = stage.api;
        let lines: Vec<_> = (0..8)
            .map(|line| {
                std::thread::spawn(move || -> Result<(String, String)> {
                    for n in 0.. {
                        let key = format!("{line}-{n}");
                        let answer = patiently(api, &keyed(&key))?;
                        if !answer.starts_with("HTTP/1.0 202") {
                            return Ok((key, answer));
                        }
                    }
                    unreachable!("keys do not end")
                })
            })
            .collect();
        let (journal, away) = (stage.work.path().join("data/journal"), "data/away");
        let away = stage.work.path().join(away);
        std::thread::sleep(Duration::from_millis(300));
        fs::rename(&journal, &away)?;
        let mut hung = vec![];
        for line in lines {
            let (key, answer) = line.join().map_err(|_| anyhow::anyhow!("a line panicked"))??;
            ensure!(answer.starts_with("HTTP/1.0 503"), "{answer}");
            if answer.contains("server.timeout") {
                hung.push(key);
            }
        }
        ensure!(!hung.is_empty(), "none was on its way");
        fs::rename(&away, &journal)?;
        until_level(stage, 0)?;

        for key in hung {
            let again = http::post(stage.api, "/v1/pings", &keyed(&key))?;
            ensure!(again.status == 202, "{key}: {again:?}");
            ensure!(again.header("idempotent-replayed") == Some("true"), "{key}: {again:?}");
            let id = again.json::<Value>()?["ping_id"].as_str().context("no id")?.to_owned();
            let shown = http::get(stage.api, &format!("/v1/pings/{id}"))?;
            ensure!(shown.status == 200, "{shown:?}");
        }
        stage.is_clean()
    });
}

#[test]
fn no_more_requests_with_pings_are_answered_at_a_time_than_can_be() {
    // Each waits a second for company on its way to the disk.
    let set = ["pressure.pings_at_once_max=16", "journal.linger_ms=1000"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let api = stage.api;
        let one = body("tests").to_string();
        let asking: Vec<_> = (0..48)
            .map(|_| {
                let one = one.clone();
                std::thread::spawn(move || http::post(api, "/v1/pings", &one))
            })
            .collect();
        let mut by_status = [0, 0];
        for asked in asking {
            let reply = asked.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            match reply.status {
                202 => by_status[0] += 1,
                503 => {
                    by_status[1] += 1;
                    ensure!(reply.header("retry-after") == Some("1"), "{reply:?}");
                    ensure!(reply.body.contains("at a time"), "{reply:?}");
                }
                _ => ensure!(false, "{reply:?}"),
            }
        }
        ensure!(by_status[0] >= 16 && by_status[1] > 0, "{by_status:?}");
        ensure!(ping(stage, "tests")?.status == 202, "there is room again");
        wait_for("none to be in progress", Duration::from_secs(3), || {
            let metrics = api::metrics(api)?;
            Ok((metrics.get("tollbridge_pings_in_progress") == Some(&0.0)).then_some(()))
        })?;
        stage.is_clean()
    });
}

#[test]
fn sessions_that_fill_up_are_told_before_they_are_refused_and_cost_no_call() {
    let set = ["sessions.max=10", "sessions.answers_max=2"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let keyed = |key: &str| -> Result<http::Reply> {
            let body = json!({ "publisher": "tests", "campaign": "alone", "sip_ok": true,
                               "request_id": key });
            http::post(stage.api, "/v1/pings", &body.to_string())
        };
        for key in ["one", "two", "three"] {
            ensure!(keyed(key)?.status == 202);
        }
        let health = until_level(stage, 1)?;
        let why = health["pressure"].to_string();
        ensure!(why.contains("sessions.answers_max"), "{health:#}");
        // Of so many answers the oldest is forgotten: it is a new request.
        let again = keyed("three")?;
        ensure!(again.header("idempotent-replayed") == Some("true"), "{again:?}");
        let forgotten = keyed("one")?;
        ensure!(forgotten.header("idempotent-replayed").is_none(), "{forgotten:?}");

        for _ in 4..10 {
            ensure!(ping(stage, "tests")?.status == 202);
        }
        wait_for("the sessions to be told of", Duration::from_secs(5), || {
            let why = level(stage)?["pressure"].to_string();
            Ok(why.contains("10 sessions are live, and more than 10").then_some(()))
        })?;
        let metrics = api::metrics(stage.api)?;
        let told = ["tollbridge_sessions_active", "tollbridge_sessions_max"];
        let shown = told.map(|name| metrics.get(name).copied());
        ensure!(shown[1] == Some(10.0), "{shown:?}");
        let full = ping(stage, "tests")?;
        ensure!(full.status == 429 && full.body.contains("ping.full"), "{full:?}");
        stage.is_well("while-full")?;
        ensure!(stage.log().contains("the server is strained"), "nobody was told");
        stage.is_clean()
    });
}

/// The path of a session that a page has opened.
fn visitor(stage: &Stage) -> Result<String> {
    let visit = json!({ "publisher": "tests", "campaign": "alone", "want": "nothing",
                        "caller_id": "+16145550188" });
    let opened = http::post(stage.api, "/v1/sessions", &visit.to_string())?;
    ensure!(opened.status == 201, "{opened:?}");
    let id = opened.json::<Value>()?["session_id"].as_str().context("no id")?.to_owned();
    Ok(format!("/v1/sessions/{id}"))
}

#[test]
fn signs_of_life_keep_sessions_under_pressure_and_fill_no_journal() {
    let set = ["pressure.facts_behind_max=100"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let path = visitor(stage)?;
        let said = |nth: u32| -> Result<http::Reply> {
            let body = json!({ "tags": { "color": format!("{nth}") } });
            http::post(stage.api, &format!("{path}:heartbeat"), &body.to_string())
        };
        let color = || -> Result<Value> {
            let shown: Value = http::get(stage.api, &path)?.json()?;
            Ok(shown["tags"]["color"].clone())
        };

        // Ten at once, and then one a second.
        let replies = (0..40).map(said).collect::<Result<Vec<_>>>()?;
        let taken = replies.iter().filter(|reply| reply.status == 200).count();
        ensure!((10..25).contains(&taken), "{taken} of 40 were taken");
        let refused = replies.iter().find(|reply| reply.status != 200).context("none refused")?;
        ensure!(refused.status == 429, "{refused:?}");
        ensure!(refused.body.contains("session.too_often"), "{refused:?}");
        ensure!(refused.header("retry-after") == Some("1"), "{refused:?}");
        let alive = http::post(stage.api, &format!("{path}:heartbeat"), "")?;
        ensure!(alive.status == 200, "a sign of life says nothing new: {alive:?}");

        let book = Held::of(stage)?;
        let many = json!(vec![body("tests"); 95]).to_string();
        ensure!(http::post(stage.api, "/v1/pings:batch", &many)?.status == 202);
        until_level(stage, 3)?;
        std::thread::sleep(Duration::from_millis(1_100));
        let before = color()?;
        let new = said(99)?;
        ensure!(new.status == 503 && new.body.contains("ping.unavailable"), "{new:?}");
        ensure!(color()? == before, "it was refused");
        let page = json!({ "page_url": "https://a.example/?utm_source=x" }).to_string();
        let alive = http::post(stage.api, &format!("{path}:heartbeat"), &page)?;
        ensure!(alive.status == 200, "{alive:?}");
        let until = |reply: &http::Reply| reply.json::<Value>().map(|it| it["expires_at"].clone());
        let shown = http::get(stage.api, &path)?;
        ensure!(until(&shown)? == until(&alive)?, "{shown:?} {alive:?}");
        let released = http::post(stage.api, &format!("{path}:release"), "")?;
        ensure!(released.status == 200, "{released:?}");

        drop(book);
        until_level(stage, 0)?;
        wait_for("what is new to be taken", Duration::from_secs(5), || {
            Ok((said(100)?.status == 200).then_some(()))
        })?;
        ensure!(color()? == "100");
        stage.is_clean()
    });
}

#[test]
fn signs_of_life_that_say_nothing_else_are_not_written_down_while_there_is_strain() {
    // The third answer fills more than eight tenths of two.
    play_with(Setup { set: &["sessions.answers_max=2"], ..Setup::default() }, |stage| {
        let path = visitor(stage)?;
        let alive = |said: Value| -> Result<Value> {
            let reply = http::post(stage.api, &format!("{path}:heartbeat"), &said.to_string())?;
            ensure!(reply.status == 200, "{reply:?}");
            Ok(reply.json::<Value>()?["expires_at"].clone())
        };
        let left_out = || -> Result<Option<f64>> {
            let metric = "tollbridge_signs_of_life_left_out_total";
            Ok(api::metrics(stage.api)?.get(metric).copied())
        };
        std::thread::sleep(Duration::from_millis(1_100));
        let written = alive(json!({}))?;
        ensure!(left_out()?.is_none_or(|count| count == 0.0));
        for key in ["one", "two", "three"] {
            let keyed = json!({ "publisher": "tests", "campaign": "alone", "sip_ok": true,
                                "request_id": key });
            ensure!(http::post(stage.api, "/v1/pings", &keyed.to_string())?.status == 202);
        }
        until_level(stage, 1)?;

        std::thread::sleep(Duration::from_millis(1_100));
        let later = alive(json!({}))?;
        ensure!(later.as_str() > written.as_str(), "{later} {written}");
        ensure!(left_out()? == Some(1.0));
        let shown: Value = http::get(stage.api, &path)?.json()?;
        ensure!(shown["expires_at"] == later, "it lives on: {shown}");
        // What is new is written down as ever.
        alive(json!({ "tags": { "color": "red" } }))?;
        ensure!(left_out()? == Some(1.0));
        // A ping waits for the journal, and what was said before it is on disk with it.
        ensure!(ping(stage, "tests")?.status == 202);

        stage.restart(Program::kill)?;
        let shown: Value = http::get(stage.api, &path)?.json()?;
        ensure!(shown["tags"]["color"] == "red", "{shown}");
        stage.is_clean()
    });
}

/// What a ping is answered, by a server that may take its time.
fn patiently(to: SocketAddr, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/pings HTTP/1.0\r\nHost: {to}\r\nAuthorization: Bearer dev\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The book, in which nobody else can write until this is dropped.
pub(super) struct Held {
    connection: Option<SqliteConnection>,
    runtime: Runtime,
}

impl Held {
    pub(super) fn of(stage: &Stage) -> Result<Self> {
        let runtime = Runtime::new()?;
        let book = stage.work.path().join("data/tollbridge.db");
        let options = SqliteConnectOptions::new().filename(book);
        let connection = runtime.block_on(async {
            let mut connection = options.connect().await?;
            raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
            anyhow::Ok(connection)
        })?;
        Ok(Self { connection: Some(connection), runtime })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // What was begun ends with the connection.
            let _closed = self.runtime.block_on(connection.close());
        }
    }
}

fn until_level(stage: &Stage, wanted: u8) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait_for("the pressure to change", Duration::from_secs(15), || {
        last = level(stage)?;
        Ok((last["pressure_level"] == wanted).then(|| last.clone()))
    });
    found.with_context(|| format!("{last:#}"))
}

fn level(stage: &Stage) -> Result<Value> {
    http::get(stage.api, "/healthz")?.json()
}

fn body(publisher: &str) -> Value {
    json!({ "publisher": publisher, "campaign": "alone", "sip_ok": true })
}

fn ping(stage: &Stage, publisher: &str) -> Result<http::Reply> {
    http::post(stage.api, "/v1/pings", &body(publisher).to_string())
}
