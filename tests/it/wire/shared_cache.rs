//! What is counted of what servers keep of the sessions that they share through Redis.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::shared::{check, redis};
use super::shared_sessions::{pool, server, text};
use crate::support::redis::Redis;
use crate::support::{api, http, wait_for};

const READS: &str = "tollbridge_session_cache_reads_total";
const CHANGES: &str = "tollbridge_session_cache_invalidations_total";
const DROPS: &str = "tollbridge_session_cache_drops_total";

#[test]
fn what_is_kept_of_the_store_is_counted_as_it_is_used_and_as_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (first, second) =
        (server(&redis, 1, &pool(4)).unwrap(), server(&redis, 2, &pool(4)).unwrap());
    let play = || -> Result<()> {
        let visit = json!({ "pool": "pool", "visitor_id": "v1" });
        let visit = http::post(first.api, "/v1/sessions", &visit.to_string())?;
        let path = format!("/v1/sessions/{}", text(&visit.json::<Value>()?["session_id"])?);
        let shown = || -> Result<()> {
            let reply = http::get(second.api, &path)?;
            ensure!(reply.status == 200, "{reply:?}");
            Ok(())
        };
        let reads = || -> Result<[f64; 2]> {
            Ok([of(&second, READS, "result=\"hit\"")?, of(&second, READS, "result=\"miss\"")?])
        };
        ensure!(reads()? == [0.0, 0.0], "{:?}", reads()?);
        shown()?;
        ensure!(reads()? == [0.0, 1.0], "{:?}", reads()?);
        shown()?;
        shown()?;
        ensure!(reads()? == [2.0, 1.0], "{:?}", reads()?);

        ensure!(of(&second, CHANGES, "")? == 0.0);
        let beat = http::post(first.api, &format!("{path}:heartbeat"), "")?;
        ensure!(beat.status == 200, "{beat:?}");
        wait_for("the change to be told", Duration::from_secs(5), || {
            Ok((of(&second, CHANGES, "")? == 1.0).then_some(()))
        })?;
        shown()?;
        ensure!(reads()? == [2.0, 2.0], "{:?}", reads()?);

        // Nothing is left of it, until the first tells it again.
        redis.ask(&["flushall"])?;
        wait_for("all of it to be dropped", Duration::from_secs(5), || {
            Ok((of(&second, DROPS, "reason=\"emptied\"")? == 1.0).then_some(()))
        })?;
        wait_for("the session to be told again", Duration::from_secs(10), || Ok(shown().ok()))?;
        ensure!(of(&second, DROPS, "reason=\"connection_lost\"")? == 0.0);
        lose_tracking(&redis)?;
        wait_for("the connection to be missed", Duration::from_secs(5), || {
            Ok((of(&second, DROPS, "reason=\"connection_lost\"")? == 1.0).then_some(()))
        })?;
        shown()?;
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

/// A counter with this label, or without any; zero where nothing was counted yet.
fn of(stage: &Stage, name: &str, label: &str) -> Result<f64> {
    let label = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
    Ok(api::series(stage.api)?.get(&format!("{name}{label}")).copied().unwrap_or(0.0))
}

/// Closes the connections on which the store says what changes.
fn lose_tracking(redis: &Redis) -> Result<()> {
    let clients = redis.ask(&["client", "list"])?;
    for client in clients.lines().filter(|line| line.contains(" flags=t ")) {
        let id = client.strip_prefix("id=").and_then(|rest| rest.split(' ').next());
        redis.ask(&["client", "kill", "id", id.context("an id")?])?;
    }
    Ok(())
}
