//! Numbers that rest, and those that are set apart for a server, whatever becomes of the store (spec/data §3.5).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::sessions::ping;
use super::shared::{check, redis};
use super::shared_sessions::{numbers_apart, pool, server, text};
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
