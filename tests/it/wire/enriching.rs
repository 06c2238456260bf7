//! What others say of callers, from the ping to the call that goes by it (spec/data §2.3, spec/domain §1B).

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::program::Program;
use super::ranking::{answer, last_call, may_ask, question};
use super::shared::{check, redis};
use super::shared_sessions::server_with;
use super::{Call, NUMBER, Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const MOBILE: &str = "+16145550181";
const LANDLINE: &str = "+16145550182";
/// Of whom the enricher says what it is to say of nobody.
const LIST: &str = "+16145550183";
const NO_JSON: &str = "+16145550184";
const FAILS: &str = "+16145550185";
const SLOW: &str = "+16145550186";

/// Calls of mobile phones alone, in the campaign `alone`.
const MOBILE_ALONE: &str =
    "targets.alone.filters.all=[{ tag = \"line_type\", op = \"eq\", value = \"mobile\" }]";

#[test]
fn a_call_goes_by_what_an_enricher_says_of_its_caller_and_the_ping_shows_who_said_it_and_for_how_much()
 {
    let enricher = LineInfo::new();
    enricher.play("send_tags = [\"sub_id\"]\ncost = \"0.004\"", |stage| {
        let said = json!({ "sub_id": "7", "tags": { "email": "a@example.com" } });
        let ping = ping(stage, MOBILE, &said)?;
        let told = told(stage, &ping, "told")?;
        ensure!(told["tags"] == json!({ "line_type": "mobile" }), "{told:#}");
        ensure!(told["cost"] == "0.004" && told["late_ms"].is_null(), "{told:#}");
        let asked = enricher.asked()?;
        ensure!(asked["caller"] == MOBILE && asked["tags"] == json!({ "sub_id": "7" }), "{asked}");
        ensure!(asked["session"] == ping["session_id"], "{asked} {ping}");
        let path = format!("/v1/sessions/{}", id(&ping, "session_id")?);
        let session = wait_for("what is built in", Duration::from_secs(5), || {
            let session: Value = http::get(stage.api, &path)?.json()?;
            Ok((session["enriched"][0]["source"] == "embedded").then_some(session))
        })?;
        let embedded = &session["enriched"][0];
        ensure!(embedded["cost"] == "0.00", "{session:#}");
        ensure!(embedded["tags"]["geo.state"] == "OH", "{session:#}");
        ensure!(embedded["tags"]["line_type"] == "unknown", "{session:#}");
        ensure!(session["tags"].get("line_type").is_none(), "{session:#}");

        call(stage, MOBILE, "taken", true)?;
        let steps = http::get(stage.api, &format!("/v1/calls/{}/explain", last_call(stage)?))?;
        let steps: Value = steps.json()?;
        let by = steps["steps"].as_array().into_iter().flatten();
        let by: Vec<_> = by.filter(|step| step["subject"] == "line_type").collect();
        ensure!(by.len() == 1 && by[0]["basis"] == "enriched", "{steps:#}");

        // Another caller, of whom it says something else.
        let other = self::ping(stage, LANDLINE, &json!({}))?;
        self::told(stage, &other, "told")?;
        call(stage, LANDLINE, "refused", false)?;

        // The publisher knows better.
        let declared = json!({ "tags": { "line_type": "mobile" } });
        let third = self::ping(stage, LANDLINE, &declared)?;
        let cached = self::told(stage, &third, "cached")?;
        ensure!(cached["tags"] == json!({ "line_type": "landline" }), "{cached:#}");
        ensure!(cached["cost"] == "0.00", "{cached:#}");
        call(stage, LANDLINE, "declared", true)?;
        ensure!(enricher.asked()?["caller"] == LANDLINE && enricher.asked().is_err());

        let metrics = api::metrics(stage.api)?;
        let cost = metrics.get("tollbridge_enricher_cost_micros_total");
        ensure!(cost == Some(&8_000.0), "{cost:?}");
        stage.is_clean()
    });
}

#[test]
fn what_an_enricher_said_outlives_a_crash_and_nobody_is_asked_twice() {
    let enricher = LineInfo::new();
    enricher.play("", |stage| {
        let ping = ping(stage, MOBILE, &json!({}))?;
        told(stage, &ping, "told")?;
        enricher.asked()?;

        stage.restart(Program::kill)?;

        call(stage, MOBILE, "after-a-crash", true)?;
        // As if the process had died before it wrote down how far it had come.
        stage.end(Program::kill)?;
        forget_offset(stage)?;
        stage.serve()?;
        let later = self::ping(stage, LANDLINE, &json!({}))?;
        told(stage, &later, "told")?;

        ensure!(enricher.asked()?["caller"] == LANDLINE, "asked about the first again");
        ensure!(enricher.asked().is_err());
        let first = told(stage, &ping, "told")?;
        ensure!(first["tags"] == json!({ "line_type": "mobile" }), "{first:#}");
        call(stage, MOBILE, "and-again", true)?;
        stage.is_clean()
    });
}

#[test]
fn an_enricher_that_lies_hangs_or_fails_tells_nothing_and_rests_after_failures_until_it_is_well() {
    let enricher = LineInfo::new();
    let more = "deadline_ms = 100\nfailures_max = 3\nrest_s = 8";
    enricher.play(more, |stage| {
        let list = ping(stage, LIST, &json!({}))?;
        let list = told(stage, &list, "told")?;
        ensure!(list["tags"] == json!({}), "{list:#}");
        call(stage, LIST, "unknown", false)?;
        let refused = "tollbridge_enricher_refused_tags_total";
        ensure!(api::metrics(stage.api)?.get(refused) == Some(&1.0));

        for (caller, outcome) in [(NO_JSON, "failed"), (SLOW, "late"), (FAILS, "failed")] {
            let ping = ping(stage, caller, &json!({}))?;
            told(stage, &ping, outcome)?;
        }
        let resting = ping(stage, MOBILE, &json!({}))?;
        told(stage, &resting, "resting")?;
        call(stage, MOBILE, "resting", false)?;
        let rests = "tollbridge_enricher_resting";
        ensure!(api::metrics(stage.api)?.get(rests) == Some(&1.0));
        let shown = standing(stage)?;
        ensure!(shown["state"] == "resting", "{shown:#}");
        ensure!(shown["rests_s"].as_u64().is_some_and(|it| (1..=8).contains(&it)), "{shown:#}");
        ensure!(shown["failures"].is_null() && shown["failures_max"] == 3, "{shown:#}");

        wait_for("the rest to be over", Duration::from_secs(20), || {
            Ok((standing(stage)?["state"] == "on_trial").then_some(()))
        })?;
        let well = ping(stage, MOBILE, &json!({}))?;
        told(stage, &well, "told")?;
        ensure!(api::metrics(stage.api)?.get(rests) == Some(&0.0));
        let again = ping(stage, MOBILE, &json!({ "sub_id": "again" }))?;
        told(stage, &again, "cached")?;
        let shown = standing(stage)?;
        ensure!(shown["state"] == "well" && shown["failures"] == 0, "{shown:#}");
        let outcomes = json!({ "told": 2, "cached": 1, "failed": 2, "late": 1, "resting": 1 });
        ensure!(shown["outcomes"] == outcomes && shown["cached_callers"] == 2, "{shown:#}");
        call(stage, MOBILE, "well", true)?;
        let callers: Vec<_> = std::iter::from_fn(|| enricher.asked().ok()).collect();
        let callers: Vec<_> =
            callers.iter().map(|it| it["caller"].as_str().unwrap_or("")).collect();
        ensure!(callers == [LIST, NO_JSON, SLOW, FAILS, MOBILE], "{callers:?}");
        stage.is_clean()
    });
}

#[test]
fn a_day_s_budget_holds_over_a_crash() {
    let enricher = LineInfo::new();
    let more = "cost = \"0.30\"\ncost_per_day = \"0.70\"\ncache_s = 0";
    enricher.play(more, |stage| {
        let first = ping(stage, MOBILE, &json!({}))?;
        told(stage, &first, "told")?;
        stage.restart(Program::kill)?;
        let second = ping(stage, MOBILE, &json!({}))?;
        told(stage, &second, "told")?;
        for round in 0..2 {
            let ping = ping(stage, LANDLINE, &json!({}))?;
            told(stage, &ping, "over_budget").with_context(|| format!("round {round}"))?;
            stage.restart(Program::kill)?;
        }
        let shown = standing(stage)?;
        ensure!(shown["asked_today"] == 2 && shown["cost_today"] == "0.60", "{shown:#}");
        ensure!(shown["cost_per_day"] == "0.70" && shown["calls_per_day"].is_null(), "{shown:#}");
        let callers: Vec<_> = std::iter::from_fn(|| enricher.asked().ok()).collect();
        ensure!(callers.len() == 2, "{callers:?}");
        stage.is_clean()
    });
}

#[test]
fn an_answer_that_comes_after_the_call_says_so_and_a_session_that_nobody_would_take_costs_nothing()
{
    let enricher = LineInfo::new();
    enricher.play("deadline_ms = 5000", |stage| {
        let slow = ping(stage, SLOW, &json!({}))?;
        wait_for("the enricher to be asked", Duration::from_secs(5), || Ok(enricher.asked().ok()))?;
        call(stage, SLOW, "too-early", false)?;
        let late = told(stage, &slow, "told")?;
        ensure!(late["late_ms"].as_u64().is_some_and(|ms| ms > 0), "{late:#}");
        ensure!(late["tags"] == json!({ "line_type": "mobile" }), "{late:#}");
        let metric = "tollbridge_enrichments_after_call_total";
        ensure!(api::metrics(stage.api)?.get(metric) == Some(&1.0));
        // For the next one it is there.
        call(stage, SLOW, "in-time", true)?;

        let said = json!({ "tags": { "line_type": "landline" } });
        let unwanted = ping(stage, MOBILE, &said)?;
        told(stage, &unwanted, "unwanted")?;
        ensure!(enricher.asked().is_err(), "it was asked");
        stage.is_clean()
    });
}

#[test]
fn a_name_is_asked_where_it_may_be_and_nowhere_else_that_it_leads_to() {
    let enricher = LineInfo::new();
    // It may lead to ::1 too.
    let [here, elsewhere] = ["127.0.0.1", "::1"].map(|it| may_ask(&[enricher.port], it));
    enricher.play_at("localhost", &here, "", |stage| {
        let ping = ping(stage, MOBILE, &json!({}))?;
        told(stage, &ping, "told")?;
        ensure!(enricher.asked()?["caller"] == MOBILE);
        stage.is_clean()
    });
    enricher.play_at("localhost", &elsewhere, "", |stage| {
        let ping = ping(stage, MOBILE, &json!({}))?;
        told(stage, &ping, "failed")?;
        ensure!(enricher.asked().is_err(), "it was asked");
        let refused = r#"tollbridge_egress_refused_total{class="loopback"}"#;
        let refused = api::series(stage.api)?.get(refused).copied();
        ensure!(refused.is_some_and(|times| times >= 1.0), "{refused:?}");
        stage.is_clean()
    });
}

#[test]
fn whoever_may_not_be_asked_is_refused_at_the_start_and_at_a_reload() {
    let enricher = LineInfo::new();
    enricher.play("", |stage| {
        let (port, path) = (enricher.port, stage.work.path().join("config.toml"));
        let asks = format!("\"http://127.0.0.1:{port}/v1\"");
        let file = std::fs::read_to_string(&path)?;
        ensure!(file.contains(&asks), "{file}");
        for (who, why) in [
            ("http://169.254.169.254", "not public: metadata (link-local, RFC 3927)"),
            ("http://0x7f.1.2.3", "leads to 127.1.2.3, which is not public: loopback"),
            ("http://[::ffff:10.0.0.1]", "not public: private (RFC 1918)"),
            ("https://me:secret@lookup.example", "names a user or a password"),
        ] {
            let url = format!("\"{who}:{port}/v1\"");
            std::fs::write(&path, file.replace(&asks, &url))?;
            let reply = http::post(stage.api, "/v1/config:reload", "")?;
            ensure!(reply.status == 422, "{who}: {}", reply.body);
            ensure!(reply.body.contains("enrichers[0].url = "), "{who}: {}", reply.body);
            ensure!(reply.body.contains(why), "{who}: {}", reply.body);
            ensure!(!reply.body.contains("secret"), "{}", reply.body);
        }
        std::fs::write(&path, &file)?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 200, "{}", reply.body);
        stage.is_clean()
    });
}

/// The first server has asked when the visitor's page tells the second something, and hears later.
#[test]
fn an_answer_takes_nothing_from_what_a_page_has_told_another_server_meanwhile() {
    let enricher = LineInfo::new();
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let address = redis.address().to_string();
    let [http, ports, there] = may_ask(&[enricher.port], "127.0.0.1");
    let set = [&*http, &ports, &there, MOBILE_ALONE, "campaigns.alone.enrich=[\"lineinfo\"]"];
    let more = enricher.configured("127.0.0.1", "deadline_ms = 5000");
    let first = server_with(&address, 1, &more, &set).unwrap();
    let second = server_with(&address, 2, &more, &set).unwrap();
    let play = || -> Result<()> {
        let visit = json!({ "type": "form", "campaign": "alone", "visitor_id": "v1",
                            "caller_id": SLOW });
        let opened = http::post(first.api, "/v1/sessions", &visit.to_string())?;
        ensure!(opened.status == 201, "{opened:?}");
        let path = format!("/v1/sessions/{}", id(&opened.json()?, "session_id")?);
        let told = json!({ "tags": { "color": "red" } }).to_string();
        let kept = http::post(second.api, &format!("{path}:heartbeat"), &told)?;
        ensure!(kept.status == 200, "{kept:?}");

        wait_for("the answer", Duration::from_secs(10), || {
            let shown: Value = http::get(first.api, &path)?.json()?;
            let by = shown["enriched"].as_array().cloned().unwrap_or_default();
            Ok(by.iter().any(|it| it["source"] == "lineinfo").then_some(()))
        })?;
        // Others are told by and by.
        std::thread::sleep(Duration::from_millis(500));
        for stage in [&first, &second] {
            let shown: Value = http::get(stage.api, &path)?.json()?;
            ensure!(shown["tags"]["color"] == "red", "{shown:#}");
            ensure!(shown["expires_at"] == kept.json::<Value>()?["expires_at"], "{shown:#}");
        }
        call(&second, SLOW, "told", true)?;
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn what_is_built_in_waits_for_no_enricher() {
    let enricher = LineInfo::new();
    // One question at a time, and each takes long: the last is answered after seconds.
    enricher.play("deadline_ms = 5000\nconcurrency = 1\ncache_s = 0", |stage| {
        let pings = (0..8).map(|_| ping(stage, SLOW, &json!({}))).collect::<Result<Vec<_>>>()?;
        let path = format!("/v1/pings/{}", id(pings.last().context("there are some")?, "ping_id")?);
        let shown = wait_for("what is built in", Duration::from_secs(5), || {
            let shown: Value = http::get(stage.api, &path)?.json()?;
            Ok((shown["enriched"][0]["source"] == "embedded").then_some(shown))
        })?;
        ensure!(shown["enriched"].as_array().is_some_and(|it| it.len() == 1), "{shown:#}");
        for ping in &pings {
            wait_for("its answer", Duration::from_secs(20), || Ok(told(stage, ping, "told").ok()))?;
        }
        stage.is_clean()
    });
}

/// Says what kind of line callers have.
struct LineInfo {
    port: u16,
    questions: Receiver<Value>,
}

impl LineInfo {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (heard, questions) = mpsc::channel();
        let heard = Arc::new(heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let Ok(asked) = serde_json::from_str::<Value>(&question(&mut stream)) else {
                        return;
                    };
                    let caller = asked["caller"].as_str().unwrap_or_default().to_owned();
                    let _ = heard.send(asked);
                    say(&mut stream, &caller);
                });
            }
        });
        Self { port, questions }
    }

    /// What it was asked next.
    fn asked(&self) -> Result<Value> {
        Ok(self.questions.recv_timeout(Duration::from_millis(50))?)
    }

    /// Plays with a campaign whose target takes mobile phones alone.
    fn play(&self, more: &str, part: impl FnOnce(&mut Stage) -> Result<()>) {
        self.play_at("127.0.0.1", &may_ask(&[self.port], "127.0.0.1"), more, part);
    }

    fn configured(&self, host: &str, more: &str) -> String {
        format!(
            "[[enrichers]]\nid = \"lineinfo\"\nurl = \"http://{host}:{}/v1\"\nsend_caller = true\n\
             tells = {{ line_type = \"/carrier/type\" }}\n{more}\n",
            self.port
        )
    }

    /// It is asked at `host`, by a server that may ask so.
    fn play_at(
        &self,
        host: &str,
        [http, ports, there]: &[String; 3],
        more: &str,
        part: impl FnOnce(&mut Stage) -> Result<()>,
    ) {
        let enricher = self.configured(host, more);
        let set = [http, ports, there, MOBILE_ALONE, "campaigns.alone.enrich=[\"lineinfo\"]"];
        play_with(Setup { set: &set, more: &enricher, ..Setup::default() }, part);
    }
}

fn say(stream: &mut TcpStream, caller: &str) {
    let line = |kind: Value| json!({ "carrier": { "type": kind } }).to_string();
    match caller {
        LANDLINE => answer(stream, &line(json!("landline"))),
        LIST => answer(stream, &line(json!(["mobile"]))),
        NO_JSON => answer(stream, "<html>mobile</html>"),
        FAILS => {
            let refusal = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(refusal.as_bytes());
        }
        SLOW => {
            std::thread::sleep(Duration::from_millis(700));
            answer(stream, &line(json!("mobile")));
        }
        _ => answer(stream, &line(json!("mobile"))),
    }
}

fn ping(stage: &Stage, caller: &str, more: &Value) -> Result<Value> {
    let mut ping = json!({ "campaign": "alone", "caller_id": caller });
    for (name, value) in more.as_object().into_iter().flatten() {
        ping[name] = value.clone();
    }
    let reply = http::post(stage.api, "/v1/pings", &ping.to_string())?;
    ensure!(reply.status == 202, "{}: {}", reply.status, reply.body);
    reply.json()
}

/// What the enricher came to for the session of a ping, once it is this.
fn told(stage: &Stage, ping: &Value, outcome: &str) -> Result<Value> {
    let path = format!("/v1/pings/{}", id(ping, "ping_id")?);
    let mut seen = Value::Null;
    let found = wait_for("the enrichment", Duration::from_secs(8), || {
        seen = http::get(stage.api, &path)?.json()?;
        let enriched = seen["enriched"].as_array().cloned().unwrap_or_default();
        let by = enriched.into_iter().find(|it| it["source"] == "lineinfo");
        Ok(by.filter(|by| by["outcome"] == outcome))
    });
    found.with_context(|| format!("{outcome}: {seen:#}"))
}

/// How the enricher is doing, as the API shows it.
fn standing(stage: &Stage) -> Result<Value> {
    let shown: Value = http::get(stage.api, "/v1/enrichers")?.json()?;
    ensure!(shown["items"].as_array().is_some_and(|items| items.len() == 1), "{shown:#}");
    Ok(shown["items"][0].clone())
}

/// A call from this number, and whether the target takes it.
fn call(stage: &Stage, caller: &str, call_id: &str, is_taken: bool) -> Result<()> {
    let (mut line, mut target) = (stage.udp()?, stage.target()?);
    let from = format!("P-Asserted-Identity: <sip:{caller}@127.0.0.1>");
    line.send(with_body(&line, &stage.invite_to(NUMBER), call_id, &[&from], SDP))?;
    if is_taken {
        Call::answered(&mut line, &mut target)
            .with_context(|| call_id.to_owned())?
            .end(&mut line, &mut target)
    } else {
        let refused = line.expect("480 INVITE").with_context(|| call_id.to_owned())?;
        drop(refused);
        Ok(())
    }
}

fn id<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value[name].as_str().with_context(|| format!("no {name}: {value:#}"))
}

fn forget_offset(stage: &Stage) -> Result<()> {
    use sqlx::{ConnectOptions, Connection};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = stage.work.path().join("data/tollbridge.db");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut database = options.busy_timeout(Duration::from_secs(5)).connect().await?;
        let sql = "DELETE FROM consumer_offset WHERE name = 'enrichment'";
        let deleted = sqlx::query(sql).execute(&mut database).await?.rows_affected();
        database.close().await?;
        ensure!(deleted == 1, "it had no offset");
        Ok(())
    })
}
