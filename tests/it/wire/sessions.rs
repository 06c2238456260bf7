//! How calls find the sessions that pings opened (spec/domain §2.2).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::program::Program;
use super::{Call, NUMBER, Setup, Stage, play_with};
use crate::support::{http, wait_for};

/// A pool of one number that is lent for two seconds, of a campaign that is content with little.
const POOL: &str = r#"
[[pools]]
id = "pool"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101"]
"#;
const CONTENT: &str = "campaigns.alone.min_match_confidence=0.7";
const CALLER: &str = "+16145550188";
const FROM: &str = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";

#[test]
fn a_call_to_a_session_s_own_address_is_the_session_s() {
    play_with(Setup::default(), |stage| {
        let session = ping(stage, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let user = session["sip_user"].as_str().context("no address")?.to_owned();
        let shouted = user.to_uppercase().replace('_', "%5F");
        let digits = session["sip_user_digits"].as_str().context("no digits")?.to_owned();
        for (call_id, user) in [("as-told", &user), ("shouted", &shouted), ("digits", &digits)] {
            call(stage, user, call_id, &[])?;
            let found = detail(stage, call_id)?;
            ensure!(found["match_method"] == "address", "{found:#}");
            ensure!(found["confidence"] == 1.0, "{found:#}");
            ensure!(found["session_id"] == session["session_id"], "{found:#}");
            ensure!(found["campaign"] == "alone" && found["publisher"] == "tests", "{found:#}");
        }

        // Nobody was ever given this one.
        let (mut caller, unknown) = (stage.udp()?, format!("bid_{}", "0".repeat(32)));
        caller.send(with_body(&caller, &stage.invite_to(&unknown), "unknown", &[], SDP))?;
        caller.expect("404 INVITE")?;
        let found = detail(stage, "unknown")?;
        ensure!(found["end_reason"] == "gate.session_unknown", "{found:#}");
        stage.is_clean()
    });
}

#[test]
fn a_number_behind_a_prefix_is_no_session_s_address_though_it_looks_like_one() {
    let set = ["trunks.loopback.inbound.tech_prefix=\"0123\""];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let session = ping(stage, &json!({ "campaign": "alone", "sip_ok": true }))?;
        call(stage, "012318005550199", "prefixed", &[])?;
        let found = detail(stage, "prefixed")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        ensure!(found["campaign"] == "alone", "{found:#}");

        // The trunk's rules make a number of what names the session, and it is named all the same.
        let digits = session["sip_user_digits"].as_str().context("no digits")?;
        call(stage, digits, "named", &[])?;
        let found = detail(stage, "named")?;
        ensure!(found["match_method"] == "address", "{found:#}");
        stage.is_clean()
    });
}

#[test]
fn a_publisher_s_trunk_names_the_session_in_a_header() {
    let set = ["trunks.loopback.publisher=tests", "trunks.loopback.session_header=User-to-User"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let session = ping(stage, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let id = session["ping_id"].as_str().context("no id")?;
        let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
        let header = format!("User-to-User: {hex};encoding=hex");
        call(stage, NUMBER, "told", &[&header])?;
        let found = detail(stage, "told")?;
        ensure!(found["match_method"] == "header", "{found:#}");
        ensure!(found["session_id"] == session["session_id"], "{found:#}");
        stage.is_clean()
    });
}

#[test]
fn a_carrier_s_header_names_no_session() {
    let set = ["trunks.loopback.inbound.headers_capture=[\"X-Ping-Id\"]"];
    play_with(Setup { set: &set, ..Setup::default() }, |stage| {
        let session = ping(stage, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let header = format!("X-Ping-Id: {}", session["ping_id"].as_str().context("no id")?);
        call(stage, NUMBER, "told", &[&header])?;
        let found = detail(stage, "told")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        stage.is_clean()
    });
}

#[test]
fn a_number_that_is_lent_for_one_caller_is_the_session_s_for_that_caller_alone() {
    play_with(Setup::default(), |stage| {
        let lent = json!({ "campaign": "alone", "number": NUMBER, "caller_id": CALLER });
        let session = ping(stage, &lent)?;
        ensure!(session["number"] == NUMBER, "{session:#}");
        call(stage, NUMBER, "its", &[FROM])?;
        let found = detail(stage, "its")?;
        ensure!(found["match_method"] == "caller_lease", "{found:#}");
        ensure!(found["confidence"] == 0.99, "{found:#}");

        call(stage, NUMBER, "another", &["P-Asserted-Identity: <sip:+16145550199@127.0.0.1>"])?;
        let found = detail(stage, "another")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        stage.is_clean()
    });
}

/// By the rate of the hour one number is enough, and the pool was told empty before anybody was turned away.
#[test]
fn a_pool_that_turns_visitors_away_is_told_with_what_the_missing_numbers_cost() {
    let pool = &format!("{POOL}session_ttl_s = 60\nquarantine_s = 0\nnumber_cost = \"1.50\"");
    play_with(Setup { set: &[], more: pool, ..Setup::default() }, |stage| {
        let told = |what: &str, fields: &[&str]| {
            let log = stage.log();
            let mut lines = log.lines().filter(|line| line.contains(what));
            Ok(lines.any(|line| fields.iter().all(|it| line.contains(it))).then_some(()))
        };
        let lent = ping(stage, &json!({ "pool": "pool" }))?;
        ensure!(lent["number_status"] == "leased", "{lent:#}");
        wait_for("the pool to be told empty", Duration::from_secs(10), || {
            told("a pool has no number left", &["missing=0"])
        })?;
        for _ in 0..2 {
            let none = ping(stage, &json!({ "pool": "pool" }))?;
            ensure!(none["number_status"] == "exhausted", "{none:#}");
        }
        let pools = http::get(stage.api, "/v1/pools")?.json::<Value>()?;
        let pool = &pools["items"][0];
        ensure!(pool["suggested_size"] == 3 && pool["missing_cost"] == "3.00", "{pool:#}");
        wait_for("what is missing to be told", Duration::from_secs(10), || {
            told(
                "a pool has fewer numbers than it needs",
                &["missing=", "monthly_cost_of_missing="],
            )
        })?;
        stage.is_clean()
    });
}

#[test]
fn who_finds_no_number_free_shares_one_with_all_others() {
    let pool = &format!("{POOL}overflow_number = \"+16145550140\"\nnumber_cost = \"1.50\"");
    play_with(Setup { set: &[], more: pool, ..Setup::default() }, |stage| {
        let sessions: Vec<_> =
            (0..3).map(|_| ping(stage, &json!({ "pool": "pool" }))).collect::<Result<_>>()?;
        let told: Vec<_> =
            sessions.iter().map(|it| (&it["number"], &it["number_status"])).collect();
        let (lent, shared) = (json!("+16145550101"), json!("+16145550140"));
        let words = [json!("leased"), json!("shared")];
        let expected = [(&lent, &words[0]), (&shared, &words[1]), (&shared, &words[1])];
        ensure!(told == expected, "{told:?}");

        call(stage, "+16145550140", "shared", &[])?;
        let found = detail(stage, "shared")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        ensure!(found["campaign"] == "alone" && found["publisher"] == "tests", "{found:#}");
        let explained = explanation(stage, &found)?;
        let newest = &explained["attribution"]["sessions"][0];
        ensure!(newest["session_id"] == sessions[2]["session_id"], "{explained:#}");
        ensure!(
            newest["method"] == "shared_number" && newest["confidence"] == 0.5,
            "{explained:#}"
        );

        let pools = http::get(stage.api, "/v1/pools")?.json::<Value>()?;
        let pool = &pools["items"][0];
        ensure!(pool["status"] == "exhausted" && pool["sharing"] == 2, "{pool:#}");
        ensure!(pool["last_24h"]["missed"] == 2, "{pool:#}");
        ensure!(pool["last_24h"]["peak_at_once"] == 3, "{pool:#}");
        ensure!(pool["missing_cost"].as_str().is_some_and(|it| it != "0.00"), "{pool:#}");
        let number = http::get(stage.api, "/v1/numbers/+16145550101")?.json::<Value>()?;
        ensure!(number["session"] == sessions[0]["session_id"], "{number:#}");
        wait_for("the warning", Duration::from_secs(10), || {
            Ok(stage.log().contains("a pool has no number left").then_some(()))
        })?;
        let size = |field: &str| pool[field].as_f64().unwrap_or_default();
        let missing = size("suggested_size") - size("size");
        ensure!(missing > 0.0, "{pool:#}");
        // Pools are looked at every few seconds.
        wait_for("the gauges", Duration::from_secs(10), || {
            let series = crate::support::api::series(stage.api)?;
            let of_pool = |name: &str| series.get(&format!("{name}{{pool=\"pool\"}}")).copied();
            let told = of_pool("tollbridge_pool_missing_numbers") == Some(missing);
            let cost = of_pool("tollbridge_pool_missing_cost_micros");
            Ok((told && cost == Some(missing * 1_500_000.0)).then_some(()))
        })?;
        stage.is_clean()
    });
}

#[test]
fn a_number_that_rests_leads_to_its_last_visitor_after_a_crash_too() {
    play_with(Setup { set: &[CONTENT], more: POOL, ..Setup::default() }, |stage| {
        let session = ping(stage, &json!({ "pool": "pool", "ttl_s": 1 }))?;
        let number = session["number"].as_str().context("no number")?;
        std::thread::sleep(Duration::from_millis(1_100));
        for call_id in ["rests", "after-a-crash"] {
            call(stage, number, call_id, &[])?;
            let found = detail(stage, call_id)?;
            ensure!(found["match_method"] == "quarantine", "{found:#}");
            ensure!(found["confidence"] == 0.7, "{found:#}");
            ensure!(found["session_id"] == session["session_id"], "{found:#}");
            let explained = explanation(stage, &found)?;
            let considered = &explained["attribution"]["sessions"][0];
            ensure!(considered["method"] == "quarantine", "{explained:#}");
            ensure!(considered["confidence"] == 0.7, "{explained:#}");
            stage.restart(Program::kill)?;
        }
        stage.is_clean()
    });
}

#[test]
fn a_match_that_is_less_sure_than_asked_for_is_told_and_not_used() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        let session = ping(stage, &json!({ "pool": "pool", "ttl_s": 1 }))?;
        std::thread::sleep(Duration::from_millis(1_100));
        call(stage, session["number"].as_str().context("no number")?, "unsure", &[])?;
        let found = detail(stage, "unsure")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        ensure!(found["session_id"].is_null(), "{found:#}");
        let explained = explanation(stage, &found)?;
        ensure!(
            explained["attribution"]["sessions"][0]["verdict"] == "below_minimum",
            "{explained:#}"
        );
        let text = explained["text"][0].as_str().unwrap_or_default();
        ensure!(text.contains("(0.70), less surely than the campaign asks for"), "{text}");
        stage.is_clean()
    });
}

pub(super) fn ping(stage: &Stage, body: &Value) -> Result<Value> {
    let reply = http::post(stage.api, "/v1/pings", &body.to_string())?;
    ensure!(reply.status == 202, "{}: {}", reply.status, reply.body);
    reply.json()
}

/// A call that is answered and ended by its caller.
pub(crate) fn call(stage: &Stage, user: &str, call_id: &str, fields: &[&str]) -> Result<()> {
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    caller.send(with_body(&caller, &stage.invite_to(user), call_id, fields, SDP))?;
    Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)
}

/// The record of a call, once it is over.
pub(crate) fn detail(stage: &Stage, call_id: &str) -> Result<Value> {
    let call = wait_for("the record", Duration::from_secs(5), || {
        let page: Value = http::get(stage.api, "/v1/calls?limit=200")?.json()?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| call["state"] != "open"))
    })?;
    let id = call["call_id"].as_str().context("no call_id")?;
    http::get(stage.api, &format!("/v1/calls/{id}"))?.json()
}

fn explanation(stage: &Stage, call: &Value) -> Result<Value> {
    let id = call["call_id"].as_str().context("no call_id")?;
    wait_for("the explanation", Duration::from_secs(5), || {
        let reply = http::get(stage.api, &format!("/v1/calls/{id}/explain"))?;
        if reply.status == 200 { reply.json().map(Some) } else { Ok(None) }
    })
}
