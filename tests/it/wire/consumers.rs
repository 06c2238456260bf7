//! What works from the journal behind the calls: sums, and what becomes of facts that fail
//! (spec/data §2.5, §2.8).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use super::program::Program;
use super::{Stage, play};
use crate::support::{http, wait_for};

#[test]
fn sums_are_there_after_calls_and_a_crash_adds_nothing_to_them() {
    play(&[], |stage| {
        stage.is_well("first")?;
        stage.is_well("second")?;
        let ping = json!({ "campaign": "alone", "caller_id": "+16145550188" });
        let reply = http::post(stage.api, "/v1/pings", &ping.to_string())?;
        ensure!(reply.status == 202, "{}", reply.body);
        summed(stage, "group_by=campaign", |sums| {
            sums["campaign"] == "alone" && sums["calls"] == 2 && sums["pings"] == 1
        })?;

        stage.restart(Program::kill)?;
        stage.is_well("third")?;

        let sums = summed(stage, "group_by=target&resolution=day", |sums| sums["calls"] == 3)?;
        ensure!(sums["answered"] == 3 && sums["attempts"] == 3, "{sums:#}");
        ensure!(sums["talk_ms"].as_i64().is_some_and(|ms| ms > 0), "{sums:#}");
        stage.is_clean()
    });
}

#[test]
fn a_fact_that_fails_is_a_dead_letter_until_somebody_has_it_tried_again() {
    play(&[], |stage| {
        stage.is_well("whole")?;
        stage.is_well("damaged")?;
        summed(stage, "group_by=campaign", |sums| sums["calls"] == 2)?;

        // As on a day when everything has to be summed up again, and a record cannot be read.
        stage.end(Program::stop)?;
        let record = in_the_database(stage, async |database| {
            for sql in ["DELETE FROM consumer_offset", "DELETE FROM rollup"] {
                sqlx::query(sql).execute(&mut *database).await?;
            }
            let sql = "SELECT record FROM cdr WHERE sip_call_id = 'damaged'";
            let record: Vec<u8> = sqlx::query_scalar(sql).fetch_one(&mut *database).await?;
            let sql = "UPDATE cdr SET record = x'00' WHERE sip_call_id = 'damaged'";
            sqlx::query(sql).execute(&mut *database).await?;
            Ok(record)
        })?;
        stage.serve()?;

        summed(stage, "group_by=campaign", |sums| sums["calls"] == 1)?;
        let letter = letter(stage, "dead")?;
        ensure!(letter["consumer"] == "rollups", "{letter:#}");
        ensure!(letter["class"] == "record_damaged", "{letter:#}");
        ensure!(letter["fact"]["kind"] == "call.ended", "{letter:#}");
        let dead = "tollbridge_consumer_dead_letters{consumer=\"rollups\",state=\"dead\"} 1";
        wait_for("the gauge of dead letters", Duration::from_secs(8), || {
            let metrics = http::get(stage.api, "/metrics")?.body;
            Ok(metrics.contains(dead).then_some(()))
        })?;

        // Nothing is repaired: it fails once more.
        let id = letter["id"].as_u64().context("no id")?;
        say(stage, "replay", &json!({ "first": id, "last": id }))?;
        wait_for("the letter to be dead again", Duration::from_secs(5), || {
            let shown: Value = http::get(stage.api, &format!("/v1/dead-letters/{id}"))?.json()?;
            Ok((shown["state"] == "dead" && shown["word"]["by"] != Value::Null).then_some(()))
        })?;
        in_the_database(stage, async |database| {
            let sql = "UPDATE cdr SET record = ? WHERE sip_call_id = 'damaged'";
            sqlx::query(sql).bind(record).execute(&mut *database).await?;
            Ok(())
        })?;
        say(stage, "replay", &json!({ "consumer": "rollups", "class": "record_damaged" }))?;

        summed(stage, "group_by=campaign", |sums| sums["calls"] == 2)?;
        self::letter(stage, "done")?;
        // Whoever reads no records does not fail at them.
        let others: Value = http::get(stage.api, "/v1/dead-letters?consumer=enrichment")?.json()?;
        ensure!(others["dead_letters"] == json!([]), "{others:#}");
        stage.is_clean()
    });
}

/// Waits for sums of today that are as they should be.
fn summed(stage: &Stage, query: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut seen = Value::Null;
    let days = "from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";
    let found = wait_for("the sums", Duration::from_secs(8), || {
        let path = format!("/v1/rollups?{days}&{query}");
        seen = http::get(stage.api, &path)?.json()?;
        let items = seen["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().find(&wanted))
    });
    found.with_context(|| format!("{seen:#}"))
}

fn letter(stage: &Stage, state: &str) -> Result<Value> {
    wait_for("a dead letter", Duration::from_secs(8), || {
        let page: Value =
            http::get(stage.api, &format!("/v1/dead-letters?consumer=rollups&state={state}"))?
                .json()?;
        Ok(page["dead_letters"].as_array().and_then(|letters| letters.first().cloned()))
    })
}

fn say(stage: &Stage, what: &str, meant: &Value) -> Result<()> {
    let reply = http::post(stage.api, &format!("/v1/dead-letters:{what}"), &meant.to_string())?;
    ensure!(reply.json::<Value>()? == json!({ "count": 1 }), "{}: {}", reply.status, reply.body);
    Ok(())
}

fn in_the_database<T>(
    stage: &Stage,
    part: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> Result<T>,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = stage.work.path().join("data/tollbridge.db");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut database = options.busy_timeout(Duration::from_secs(5)).connect().await?;
        let done = part(&mut database).await?;
        database.close().await?;
        Ok(done)
    })
}
