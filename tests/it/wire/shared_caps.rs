//! How full caps are that servers share, as each of them says.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::limits::reload;
use super::program::Program;
use super::shared::{check, redis, server};
use super::{Call, Stage};
use crate::support::{api, http, wait_for};

const CAP: &str = "target/alone/connected/total";
const ALONE: &str = "id = \"alone\"\nname = \"5070 alone\"\n";

fn limited(limit: u32) -> String {
    let concurrency = "concurrency = { limit = 2 }\n";
    let caps =
        format!("caps = [{{ metric = \"connected\", window = \"total\", limit = {limit} }}]\n");
    format!("{ALONE}{concurrency}{caps}")
}

/// Who says it, and of the cap and the lines what is used, held, and allowed.
fn told(stage: &Stage) -> Result<Value> {
    let caps: Value = http::get(stage.api, "/v1/caps")?.json()?;
    let of = |name: &str| {
        let items = caps["items"].as_array().map_or(&[][..], Vec::as_slice);
        let cap = items.iter().find(|it| it["cap"] == name).cloned().unwrap_or_default();
        json!([cap["used"], cap["held"], cap["limit"]])
    };
    Ok(json!([caps["hold_store"], of(CAP), of("target/alone/concurrency")]))
}

#[test]
fn what_others_have_used_shows_at_all_servers_and_closes_a_cap_whose_limit_is_lowered() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let (first, second) = (server(&redis, 1, &[]).unwrap(), server(&redis, 2, &[]).unwrap());
    let mut plot = || -> Result<()> {
        for stage in [&first, &second] {
            ensure!(reload(stage, ALONE, &limited(3))? == json!([]));
        }
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        Call::up(&first, &mut caller, &mut target, "over", &[])?.end(&mut caller, &mut target)?;
        let up = Call::up(&first, &mut caller, &mut target, "up", &[])?;

        // It has had no call, and asks for none now.
        let is = |stage: &Stage, expected: Value| {
            wait_for(&format!("{expected}"), Duration::from_secs(5), || {
                Ok((told(stage)? == expected).then_some(()))
            })
        };
        for stage in [&first, &second] {
            is(stage, json!(["open", ["2", "0", "3"], ["0", "1", "2"]]))?;
        }
        let closed = reload(&second, &limited(3), &limited(1))?;
        let closed = closed.as_array().map_or(&[][..], Vec::as_slice);
        let told: Vec<_> =
            closed.iter().map(|it| [&it["cap"], &it["used"]].map(Value::as_str)).collect();
        ensure!(told == [[Some(CAP), Some("2")]], "{closed:?}");
        let log = second.log();
        let is_told = |line: &str| line.contains("the cap is closed") && line.contains("open");
        ensure!(log.lines().any(is_told), "{log}");

        redis.kill()?;
        is(&second, json!(["away", ["2", "0", "1"], ["0", "0", "2"]]))?;
        let reply = http::post(second.api, "/v1/config:reload", "")?;
        ensure!(reply.json::<Value>()?["hold_store"] == "away", "{}", reply.body);
        up.end(&mut caller, &mut target)
    };
    let outcome = plot();
    check(&[&first, &second], outcome);
}

/// Others meet it while the call talks on, and it is the same one when its server dies and when it ends.
#[test]
fn a_conversion_of_a_call_that_is_up_is_used_at_all_servers_and_once() {
    // So few that servers keep no room of their own for when Redis is away.
    let cap = r#"targets.alone.caps=[{ metric = "converted", window = "total", limit = 2 }]"#;
    let set = [cap, r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#];
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (mut first, second) = (server(&redis, 1, &set).unwrap(), server(&redis, 2, &set).unwrap());
    let mut plot = || -> Result<()> {
        let is = |stage: &Stage, used: u64, held: u64| {
            wait_for(&format!("{used} used, {held} held"), Duration::from_secs(5), || {
                let cap = api::caps(stage.api)?["target/alone/converted/total"];
                Ok(((cap.used, cap.held) == (used, held)).then_some(()))
            })
        };
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let mut call = Call::up(&first, &mut caller, &mut target, "converts", &[])?;
        is(&second, 0, 1)?;
        is(&second, 1, 0)?;

        first.restart(Program::kill)?;
        is(&first, 1, 0)?;
        caller.send(call.caller.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;
        let again = Call::up(&first, &mut caller, &mut target, "again", &[])?;
        is(&second, 1, 1)?;
        again.end(&mut caller, &mut target)?;
        for stage in [&first, &second] {
            is(stage, 1, 0)?;
        }
        Ok(())
    };
    let outcome = plot();
    check(&[&first, &second], outcome);
}
