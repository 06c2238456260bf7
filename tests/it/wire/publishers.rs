//! What publishers send with keys of their own, and what they are told.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::program::Program;
use super::{Setup, Stage, play_with};
use crate::support::{api, http};

const KEYS: &str = r#"publishers.tests.keys=[{ id = "main", key = "the key of tests" }]"#;
const OTHER: &str = r#"
[[publishers]]
id = "other"
keys = [{ id = "main", key = "the key of another" }]
"#;

#[test]
fn a_publisher_s_key_opens_its_own_pings_until_a_reload_takes_it_away() {
    play_with(Setup { set: &[], more: OTHER, ..Setup::default() }, |stage| {
        let ping = json!({ "campaign": "alone", "sip_ok": true }).to_string();
        let sent = keyed(stage, "the key of another", ("POST", "/v1/pings"), &ping)?;
        ensure!(sent.status == 202, "{sent:?}");
        let location = sent.header("location").context("no location")?.to_owned();
        let shown = http::get(stage.api, &location)?.json::<Value>()?;
        ensure!(shown["publisher"] == "other", "{shown:#}");
        for (path, status) in [("/v1/calls", 403), ("/metrics", 403), (location.as_str(), 200)] {
            let reply = keyed(stage, "the key of another", ("GET", path), "")?;
            ensure!(reply.status == status, "{path}: {reply:?}");
        }

        stage.reload_with("the key of another", "the key it has now")?;

        let old = keyed(stage, "the key of another", ("GET", &location), "")?;
        ensure!(old.status == 401 && old.body.contains("auth.key_unknown"), "{old:?}");
        let new = keyed(stage, "the key it has now", ("GET", &location), "")?;
        ensure!(new.status == 200, "{new:?}");
        stage.is_clean()
    });
}

#[test]
fn a_batch_is_on_disk_when_it_is_answered() {
    play_with(Setup { set: &[KEYS], more: OTHER, ..Setup::default() }, |stage| {
        let pings: Vec<_> = (0..500)
            .map(|n| match n % 100 {
                99 => json!({ "campaign": "alone", "caller_id": "nobody" }),
                _ => json!({ "campaign": "alone", "sip_ok": true, "tags": { "n": n } }),
            })
            .collect();
        let commits = commits(stage)?;

        let path = ("POST", "/v1/pings:batch");
        let reply = keyed(stage, "the key of tests", path, &json!(pings).to_string())?;

        ensure!(reply.status == 202, "{reply:?}");
        let waited = self::commits(stage)? - commits;
        ensure!(waited <= 20.0, "{waited} commits for one batch");
        let answer = reply.json::<Value>()?;
        ensure!((&answer["accepted"], &answer["refused"]) == (&json!(495), &json!(5)), "{answer}");
        let items = answer["items"].as_array().context("no items")?;
        stage.restart(Program::kill)?;
        for (n, item) in items.iter().enumerate().filter(|(n, _)| n % 100 != 99) {
            let id = item["ping"]["ping_id"].as_str().context("no id")?;
            let path = format!("/v1/pings/{id}");
            let shown = keyed(stage, "the key of tests", ("GET", &path), "")?.json::<Value>()?;
            ensure!(shown["tags"]["n"].as_str() == Some(&n.to_string()), "{shown:#}");
            let others = keyed(stage, "the key of another", ("GET", &path), "")?;
            ensure!(others.status == 404, "{others:?}");
        }
        stage.is_clean()
    });
}

#[test]
fn a_ping_may_be_a_get_with_its_key_in_the_query() {
    play_with(Setup { set: &[KEYS], ..Setup::default() }, |stage| {
        let path = "/v1/p?key=the+key+of+tests&campaign=alone&sip_ok=1&utm_source=search";
        let silent = http::ask(stage.api, ("GET", path), "", &[])?;
        ensure!(silent.status == 204 && silent.body.is_empty(), "{silent:?}");
        ensure!(silent.header("cache-control") == Some("no-store"), "{silent:?}");

        let told = http::ask(stage.api, ("GET", &format!("{path}&format=json")), "", &[])?;
        ensure!(told.status == 200, "{told:?}");
        let id = told.json::<Value>()?["ping_id"].as_str().context("no id")?.to_owned();
        let shown = http::get(stage.api, &format!("/v1/pings/{id}"))?.json::<Value>()?;
        ensure!(shown["tags"]["utm_source"] == "search", "{shown:#}");
        let log = std::fs::read_to_string(stage.work.path().join("server.log"))?;
        ensure!(!log.contains("the key of") && !log.contains("the+key"), "{log}");
        stage.is_clean()
    });
}

/// A pool of one number, which pages of `https://www.example.com` may ask for.
const POOL: &str = r#"
[[pools]]
id = "pool"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101"]
browser = { site_key = "the key of the site", origins = ["https://www.example.com"] }
"#;

#[test]
fn a_visitor_s_session_outlives_a_crash_with_what_it_said_since() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        let visit = json!({ "key": "the key of the site", "visitor_id": "v_1" }).to_string();
        let page = [("Origin", "https://www.example.com"), ("Content-Type", "text/plain")];
        let opened = http::ask(stage.api, ("POST", "/v1/sessions"), &visit, &page)?;
        ensure!(opened.status == 201, "{opened:?}");
        let allowed = opened.header("access-control-allow-origin");
        ensure!(allowed == Some("https://www.example.com"), "{opened:?}");
        let path = opened.header("location").context("no location")?.to_owned();
        let opened = opened.json::<Value>()?;
        ensure!(opened["number"] == "+16145550101", "{opened:#}");

        let update = json!({ "page_url": "https://www.example.com/prices?gclid=g1" }).to_string();
        let kept = http::post(stage.api, &format!("{path}:heartbeat"), &update)?;
        ensure!(kept.status == 200, "{kept:?}");
        let form = json!({ "visitor_id": "v_1", "type": "form", "pool": "pool",
                           "caller_id": "+16145550188", "colour": "red" });
        let sent = http::post(stage.api, "/v1/sessions", &form.to_string())?;
        ensure!(sent.status == 200, "{sent:?}");
        let sent = sent.json::<Value>()?;
        ensure!(sent["session_id"] == opened["session_id"], "{sent:#}");
        ensure!(sent["left_out"] == json!(["colour"]), "{sent:#}");
        let released = http::post(stage.api, &format!("{path}:release"), "")?.json::<Value>()?;
        // What waits for the disk takes along what does not.
        let ping = json!({ "campaign": "alone", "sip_ok": true }).to_string();
        ensure!(http::post(stage.api, "/v1/pings", &ping)?.status == 202);
        stage.restart(Program::kill)?;

        let shown = http::get(stage.api, &path)?.json::<Value>()?;
        ensure!(shown["tags"]["gclid"] == "g1", "{shown:#}");
        ensure!(shown["tags"]["page.path"] == "/prices", "{shown:#}");
        ensure!(shown["caller_id"] == "+16145550188", "{shown:#}");
        ensure!(shown["expires_at"] == released["expires_at"], "{shown:#} {released:#}");
        let again = http::ask(stage.api, ("POST", "/v1/sessions"), &visit, &page)?;
        ensure!(again.status == 200, "{again:?}");
        let again = again.json::<Value>()?;
        ensure!(again["session_id"] == opened["session_id"], "{again:#}");
        ensure!(again["number"] == opened["number"], "{again:#}");
        stage.is_clean()
    });
}

fn keyed(stage: &Stage, key: &str, asked: (&str, &str), body: &str) -> Result<http::Reply> {
    let headers = [("X-Api-Key", key), ("Content-Type", "application/json")];
    http::ask(stage.api, asked, body, &headers)
}

/// How often the journal was synced.
fn commits(stage: &Stage) -> Result<f64> {
    let metrics = api::metrics(stage.api)?;
    Ok(metrics.get("tollbridge_journal_commit_seconds_count").copied().unwrap_or_default())
}
