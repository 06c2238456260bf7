//! Numbers that rest, and those that are set apart for a server, whatever becomes of the store (spec/data §3.5).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::sessions::{call, ping};
use super::shared::{check, redis};
use super::shared_sessions::{is_of, numbers_apart, pool, server, text};
use super::{Call, Stage};
use crate::support::{http, wait_for};

const MOMENT: Duration = Duration::from_secs(10);

/// A ping that has had a number for a second, and is forgotten.
fn over(stage: &Stage) -> Result<String> {
    let session = ping(stage, &json!({ "pool": "pool", "ttl_s": 1 }))?;
    ensure!(session["number_status"] == "leased", "{session:#}");
    std::thread::sleep(Duration::from_millis(1_100));
    // What is over is forgotten when the next one comes.
    ping(stage, &json!({ "campaign": "alone", "sip_ok": true }))?;
    text(&session["number"])
}

/// All numbers that are left.
fn rest(stage: &Stage) -> Result<BTreeSet<String>> {
    let mut lent = BTreeSet::new();
    loop {
        let session = ping(stage, &json!({ "pool": "pool" }))?;
        if session["number_status"] == "exhausted" {
            return Ok(lent);
        }
        ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
    }
}

#[test]
fn a_number_set_apart_is_lent_once_whether_or_not_the_store_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &pool(8)).unwrap();
    let mut play = || -> Result<()> {
        numbers_apart(&stage, 1)?;
        // With the one that is set apart, which is the last.
        let lent = rest(&stage)?;
        ensure!(lent.len() == 8, "{lent:?}");
        redis.kill()?;
        let more = rest(&stage)?;
        ensure!(more.is_empty(), "{more:?} of {lent:?}");
        stage.is_clean()
    };
    let played = play();
    check(&[&stage], played);
}

#[test]
fn a_number_whose_session_was_over_before_the_store_could_hear_of_it_rests_and_another_is_set_apart()
 {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stage = server(&redis, 1, &pool(8)).unwrap();
    let other = server(&redis, 2, &pool(8)).unwrap();
    let play = || -> Result<()> {
        numbers_apart(&stage, 1)?;
        numbers_apart(&other, 1)?;
        redis.signal("STOP")?;
        let number = over(&stage);
        redis.signal("CONT")?;
        let number = number?;
        // The other knows it from the store.
        wait_for("the number to rest", MOMENT, || {
            let told: Value = http::get(other.api, &format!("/v1/numbers/{number}"))?.json()?;
            let history = told["history"].as_array().map_or(0, Vec::len);
            Ok((history == 1).then_some(()))
        })?;
        numbers_apart(&stage, 1)?;
        // One is set apart for the other.
        let lent = rest(&stage)?;
        ensure!(lent.len() == 6 && !lent.contains(&number), "{number}, {lent:?}");
        stage.is_clean()?;
        other.is_clean()
    };
    let played = play();
    check(&[&stage, &other], played);
}

#[test]
fn a_number_rests_though_the_store_has_lost_all_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stage = server(&redis, 1, &pool(4)).unwrap();
    let play = || -> Result<()> {
        let number = over(&stage)?;
        redis.ask(&["flushall"])?;
        let mut lent = wait_for("the pool to be open", MOMENT, || {
            let session = ping(&stage, &json!({ "pool": "pool" }))?;
            Ok((session["number_status"] == "leased").then_some(session))
        })
        .and_then(|first| Ok(BTreeSet::from([text(&first["number"])?])))?;
        lent.extend(rest(&stage)?);
        ensure!(lent.len() == 3 && !lent.contains(&number), "{number}, {lent:?}");
        stage.is_clean()
    };
    let played = play();
    check(&[&stage], played);
}

#[test]
fn a_number_that_a_reload_moves_to_another_pool_stays_with_its_session_at_all_servers() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let pool = |id: &str, numbers: &str| {
        format!(
            "[[pools]]\nid = \"{id}\"\ncampaign = \"alone\"\npublisher = \"tests\"\n\
             numbers = [{numbers}]\nsession_ttl_s = 600\nquarantine_s = 600\n"
        )
    };
    let before = pool("one", r#""+16145550200", "+16145550202""#);
    let after =
        pool("one", r#""+16145550202""#) + &pool("fresh", r#""+16145550200", "+16145550203""#);
    let (first, second) =
        (server(&redis, 1, &before).unwrap(), server(&redis, 2, &before).unwrap());
    let play = || -> Result<()> {
        let visit = json!({ "pool": "one", "visitor_id": "v1" });
        let visit = http::post(first.api, "/v1/sessions", &visit.to_string())?.json::<Value>()?;
        ensure!(visit["number"] == "+16145550200", "{visit:#}");
        let asked = |stage: &Stage| ping(stage, &json!({ "pool": "fresh" }));
        let moved = ["hget", "np:{default/fresh}:did:16145550200", "st"];
        let pinned = ["zscore", "np:{default/fresh}:pinned", "16145550200"];
        let pinned_until = || Ok::<_, anyhow::Error>(redis.ask(&pinned)?.parse::<f64>().ok());
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let invite = first.invite_to("+16145550200");
        caller.send(with_body(&caller, &invite, "long", &[], SDP))?;
        let long = Call::answered(&mut caller, &mut target)?;

        second.reload_with(&before, &after)?;
        wait_for("the new pool to lend", MOMENT, || {
            let session = asked(&second)?;
            let is_lent = session["number_status"] == "leased";
            ensure!(!is_lent || session["number"] == "+16145550203", "{session:#}");
            Ok(is_lent.then_some(()))
        })?;
        call(&second, "+16145550200", "moved", &[])?;
        is_of(&second, "moved", "pool_lease", &visit)?;
        first.reload_with(&before, &after)?;
        call(&first, "+16145550200", "moved-here", &[])?;
        is_of(&first, "moved-here", "pool_lease", &visit)?;
        let path = format!("/v1/sessions/{}:heartbeat", text(&visit["session_id"])?);
        for stage in [&first, &second] {
            let beat = http::post(stage.api, &path, "")?.json::<Value>()?;
            ensure!(beat["number"] == "+16145550200", "{beat:#}");
            let none = asked(stage)?;
            ensure!(none["number_status"] == "exhausted", "{none:#}");
        }

        // A call that is up is still said to be on it, until it is over.
        let before = pinned_until()?;
        ensure!(before.is_some(), "it came without its call");
        wait_for("the call to be told again", MOMENT, || {
            Ok((pinned_until()? > before).then_some(()))
        })?;
        long.end(&mut caller, &mut target)?;
        wait_for("the call to be off the number", MOMENT, || {
            Ok(pinned_until()?.is_none().then_some(()))
        })?;
        is_of(&first, "long", "pool_lease", &visit)?;

        // Whoever has lent it says so, though its pool was another.
        redis.ask(&["flushall"])?;
        wait_for("its lease to be told", MOMENT, || Ok((redis.ask(&moved)? == "L").then_some(())))?;
        call(&second, "+16145550200", "told-again", &[])?;
        is_of(&second, "told-again", "pool_lease", &visit)?;
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}
