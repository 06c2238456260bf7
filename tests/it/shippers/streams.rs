//! Events in streams of Redis, with either side killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::cmd;
use serde_json::{Value, json};

use super::{PATIENCE, Told, each_is_told_once, metric, ping, pings_of, waits_for};
use crate::support::authority::Authority;
use crate::support::redis::{Cluster, Redis};
use crate::support::{http, wait_for};
use crate::wire::program::Program;
use crate::wire::{Setup, Stage};

/// A shipper of JSON; `more` is what else its `redis` says.
fn shipper(urls: &str, more: &str) -> String {
    format!(
        "[[shippers]]\nid = \"audit\"\nform = \"json\"\ncallers = {{ tell = \"hash\", key = \
         \"pepper-pepper-16\" }}\n\n[shippers.redis]\nurls = [{urls}]\n{more}\n"
    )
}

fn stage(redis: &Redis, more: &str) -> Stage {
    let shipper = shipper(&format!("\"redis://{}\"", redis.address()), more);
    let setup = Setup { more: &shipper, ..Setup::default() };
    Stage::start(setup).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A failure shows the server's log.
fn check(stage: &Stage, outcome: Result<()>) {
    if let Err(error) = outcome {
        panic!("{error:#}\nlog of the server:\n{}", stage.log());
    }
}

/// All that is in the streams; an event is in one of them, and once.
fn read(redis: &Redis) -> Result<Vec<Told>> {
    let client = redis::Client::open(format!("redis://{}", redis.address()))?;
    let mut connection = client.get_connection()?;
    let mut told = Vec::new();
    for stream in 0..64 {
        let key = format!("q:{{p{stream:02}}}");
        let entries: Vec<(String, BTreeMap<String, String>)> =
            cmd("XRANGE").arg(&key).arg("-").arg("+").query(&mut connection)?;
        for (_, fields) in entries {
            let event: Value = serde_json::from_str(&fields["event"])?;
            ensure!(fields["content-type"] == "application/json", "{fields:?}");
            ensure!(event["shard"].as_u64().map(|it| it % 64) == Some(stream), "{event}");
            told.push(Told { id: fields["id"].clone(), kind: fields["type"].clone(), event });
        }
    }
    let ids: BTreeSet<&str> = told.iter().map(|it| it.id.as_str()).collect();
    ensure!(ids.len() == told.len(), "{} events have {} ids", told.len(), ids.len());
    Ok(told)
}

#[test]
fn a_call_is_told_in_order_and_its_caller_as_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::alone(folder.path()).unwrap();
    let stage = stage(&redis, "");
    let play = || -> Result<()> {
        stage.is_well("told")?;

        let told = wait_for("the call to be told", PATIENCE, || {
            let told = read(&redis)?;
            Ok(told.iter().any(|it| it.kind == "call.ended").then_some(told))
        })?;

        let kinds: Vec<&str> = told.iter().map(|it| it.kind.as_str()).collect();
        let expected =
            ["call.admitted", "route.decided", "attempt.started", "call.answered", "call.ended"];
        ensure!(kinds == expected, "{kinds:?}");
        let record = &told[4].event["call_ended"]["record"];
        ensure!(record["outcome"] == "connected" && record["target"] == "alone", "{record:#}");
        ensure!(record["caller_hash"].as_str().is_some_and(|it| it.len() == 32), "{record:#}");
        ensure!(record["caller"] == Value::Null, "{record:#}");
        ensure!(record["caller_hash"] == told[0].event["call_admitted"]["caller_hash"]);
        ensure!(metric(stage.api, "tollbridge_shipper_events_total", "ship:audit")? >= 5.0);
        stage.is_clean()
    };
    check(&stage, play());
}

#[test]
fn nothing_is_lost_or_told_twice_when_redis_and_the_server_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::lasting(folder.path()).unwrap();
    let mut stage = stage(&redis, "");
    let play = |stage: &mut Stage, redis: &mut Redis| -> Result<()> {
        let mut pings = BTreeSet::new();
        for round in 0..6 {
            let (api, done) = (stage.api, AtomicBool::new(false));
            let more = std::thread::scope(|scope| -> Result<BTreeSet<String>> {
                let sender = scope.spawn(|| {
                    let mut accepted = BTreeSet::new();
                    let mut caller = 16_145_550_000 + round * 1_000;
                    while !done.load(Ordering::Relaxed) && caller % 1_000 < 900 {
                        caller += 1;
                        // While the server is away nobody answers.
                        accepted.extend(ping(api, caller));
                    }
                    accepted
                });
                let before = read(redis)?.len();
                wait_for("some to be told", PATIENCE, || {
                    Ok((read(redis)?.len() > before + 20).then_some(()))
                })?;
                let killed = match round % 3 {
                    0 => redis.restart(),
                    1 => stage.restart(Program::kill),
                    _ => redis.kill().and_then(|()| stage.restart(Program::kill)),
                };
                done.store(true, Ordering::Relaxed);
                let accepted = sender.join().expect("whoever pings does not panic");
                killed?;
                if round % 3 == 2 {
                    redis.restart()?;
                }
                Ok(accepted)
            })?;
            ensure!(!more.is_empty(), "nothing was accepted in round {round}");
            pings.extend(more);
        }

        each_is_told_once(&pings, || read(redis))?;
        // What was shipped last is offered again by a server that starts: Redis had it.
        wait_for("something to be offered in vain", PATIENCE, || {
            let repeated =
                metric(stage.api, "tollbridge_shipper_repeated_events_total", "ship:audit")?;
            Ok((repeated >= 1.0).then_some(()))
        })?;
        each_is_told_once(&pings, || read(redis)).map(drop)
    };
    let outcome = play(&mut stage, &mut redis);
    check(&stage, outcome);
}

#[test]
fn what_redis_had_taken_and_lost_is_told_again_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // What it has not saved is gone when it is killed.
    let mut redis = Redis::alone(folder.path()).unwrap();
    let stage = stage(&redis, "repeat_s = 120");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        let send = |from: u64, pings: &mut BTreeSet<String>| -> Result<()> {
            for caller in from..from + 40 {
                pings.insert(ping(stage.api, caller)?);
            }
            Ok(())
        };
        send(16_145_551_000, &mut pings)?;
        each_is_told_once(&pings, || read(&redis))?;
        ensure!(redis.ask(&["save"])? == "OK");
        send(16_145_552_000, &mut pings)?;
        each_is_told_once(&pings, || read(&redis))?;

        redis.restart()?;
        let kept = pings_of(&read(&redis)?).len();
        ensure!(kept == 40, "Redis was to lose what it had not saved, and has {kept}");
        send(16_145_553_000, &mut pings)?;

        each_is_told_once(&pings, || read(&redis))?;
        let repeated = metric(stage.api, "tollbridge_shipper_repeated_events_total", "ship:audit")?;
        ensure!(repeated >= 40.0, "{repeated} were offered in vain");
        Ok(())
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn a_backlog_that_redis_took_and_lost_is_told_again_however_old_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // All of it is gone when it is killed.
    let mut redis = Redis::alone(folder.path()).unwrap();
    let repeat = Duration::from_secs(8);
    let stage = stage(&redis, "repeat_s = 8");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        redis.kill()?;
        // More than one portion each, and the first is older than what is offered again.
        pings.extend(many(stage.api, 16_145_560_000)?);
        let first = Instant::now();
        wait_for("the first to be old", PATIENCE, || {
            Ok((first.elapsed() > repeat + Duration::from_secs(1)).then_some(()))
        })?;
        pings.extend(many(stage.api, 16_145_570_000)?);
        redis.restart()?;
        each_is_told_once(&pings, || read(&redis))?;

        // The second time it loses what was only just offered again.
        for caller in [16_145_580_001, 16_145_580_002] {
            redis.restart()?;
            ensure!(read(&redis)?.is_empty(), "Redis was to lose everything");
            pings.insert(ping(stage.api, caller)?);
            each_is_told_once(&pings, || read(&redis))?;
        }
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

/// Has 2,500 pings accepted.
fn many(api: SocketAddr, from: u64) -> Result<Vec<String>> {
    let mut accepted = Vec::new();
    for first in (from..from + 2_500).step_by(500) {
        let of = |caller| json!({ "campaign": "alone", "caller_id": format!("+{caller}") });
        let batch: Vec<Value> = (first..first + 500).map(of).collect();
        let reply = http::post(api, "/v1/pings:batch", &json!(batch).to_string())?;
        let reply: Value = reply.json()?;
        for item in reply["items"].as_array().context("no items")? {
            let id =
                item["ping"]["ping_id"].as_str().with_context(|| format!("refused: {item}"))?;
            accepted.push(id.to_owned());
        }
    }
    Ok(accepted)
}

#[test]
fn a_data_directory_restored_from_a_copy_ships_nothing_under_its_old_name() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::alone(folder.path()).unwrap();
    let mut stage = stage(&redis, "");
    let play = |stage: &mut Stage| -> Result<()> {
        let data = stage.work.path().join("data");
        let copy = stage.work.path().join("copy");
        let mut pings = BTreeSet::from([ping(stage.api, 16_145_550_001)?]);
        each_is_told_once(&pings, || read(&redis))?;
        stage.end(Program::stop)?;
        copied(&data, &copy)?;
        stage.serve()?;
        pings.insert(ping(stage.api, 16_145_550_002)?);
        each_is_told_once(&pings, || read(&redis))?;
        stage.end(Program::stop)?;

        std::fs::remove_dir_all(&data)?;
        copied(&copy, &data)?;
        stage.serve()?;
        let third = ping(stage.api, 16_145_550_003)?;
        wait_for("the shipper to say that it cannot", PATIENCE, || {
            let waits = waits_for(stage.api)?.unwrap_or_default();
            Ok(waits.contains("restored from a copy. Remove JOURNAL_ID").then_some(()))
        })?;
        ensure!(!pings_of(&read(&redis)?).contains_key(&third));

        stage.end(Program::stop)?;
        std::fs::remove_file(data.join("JOURNAL_ID"))?;
        stage.serve()?;
        pings.insert(third);
        wait_for("the third to be told", PATIENCE, || {
            let told = pings_of(&read(&redis)?);
            Ok(pings.iter().all(|ping| told.contains_key(ping)).then_some(()))
        })
    };
    let outcome = play(&mut stage);
    check(&stage, outcome);
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[test]
fn while_redis_is_away_pings_and_calls_go_on_and_the_lag_shows() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::lasting(folder.path()).unwrap();
    let stage = stage(&redis, "");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::from([ping(stage.api, 16_145_550_001)?]);
        each_is_told_once(&pings, || read(&redis))?;
        // It is there and does not answer.
        redis.signal("STOP")?;

        for caller in 16_145_554_000..16_145_554_050 {
            let asked = Instant::now();
            pings.insert(ping(stage.api, caller)?);
            let took = asked.elapsed();
            ensure!(took < Duration::from_secs(2), "a ping took {took:?}");
        }
        stage.is_well("meanwhile")?;
        wait_for("the lag to show", PATIENCE, || {
            let lag = metric(stage.api, "tollbridge_consumer_lag_facts", "ship:audit")?;
            let outages = metric(stage.api, "tollbridge_shipper_outages_total", "ship:audit")?;
            let waits = waits_for(stage.api)?.is_some();
            Ok((lag >= 50.0 && outages >= 1.0 && waits).then_some(()))
        })?;

        // Nobody it is any more; then it is back.
        redis.kill()?;
        redis.restart()?;
        each_is_told_once(&pings, || read(&redis))?;
        wait_for("the lag to be gone", PATIENCE, || {
            let lag = metric(stage.api, "tollbridge_consumer_lag_facts", "ship:audit")?;
            Ok((lag == 0.0 && waits_for(stage.api)?.is_none()).then_some(()))
        })?;
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn a_full_stream_holds_the_shipper_until_its_groups_have_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::alone(folder.path()).unwrap();
    let stage = stage(&redis, "entries_max = 100\nkeep_s = 0");
    let play = || -> Result<()> {
        let client = redis::Client::open(format!("redis://{}", redis.address()))?;
        let mut connection = client.get_connection()?;
        for stream in 0..64 {
            let mut create = cmd("XGROUP");
            create.arg("CREATE").arg(format!("q:{{p{stream:02}}}")).arg("g").arg("0");
            create.arg("MKSTREAM").exec(&mut connection)?;
            // As if somebody had filled it.
            for _ in 0..100 {
                cmd("XADD")
                    .arg(format!("q:{{p{stream:02}}}"))
                    .arg("*")
                    .arg("other")
                    .arg("1")
                    .exec(&mut connection)?;
            }
        }
        let pinged = ping(stage.api, 16_145_550_001)?;
        wait_for("the shipper to say that it cannot", PATIENCE, || {
            let waits = waits_for(stage.api)?.unwrap_or_default();
            Ok(waits.contains("raise redis.entries_max").then_some(()))
        })?;

        for stream in 0..64 {
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg("g").arg("c").arg("NOACK").arg("COUNT").arg(100);
            read.arg("STREAMS").arg(format!("q:{{p{stream:02}}}")).arg(">");
            read.exec(&mut connection)?;
        }

        wait_for("the ping to be told", PATIENCE, || {
            let mut total = 0;
            for stream in 0..64 {
                let mut range = cmd("XREVRANGE");
                range.arg(format!("q:{{p{stream:02}}}")).arg("+").arg("-").arg("COUNT").arg(1);
                let last: Vec<(String, Vec<String>)> = range.query(&mut connection)?;
                total += last.iter().filter(|(_, it)| it.concat().contains(&pinged)).count();
            }
            Ok((total == 1).then_some(()))
        })
    };
    check(&stage, play());
}

#[test]
fn the_streams_of_a_cluster_are_found_again_after_a_failover() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error:#}"));
    let urls: Vec<String> =
        cluster.seeds().iter().map(|address| format!("\"redis://{address}\"")).collect();
    let shipper = shipper(&urls.join(", "), "");
    let stage = Stage::start(Setup { more: &shipper, ..Setup::default() }).unwrap();
    let read = || -> Result<Vec<Told>> {
        let mut told = Vec::new();
        for node in &cluster.nodes {
            if !node.ask(&["role"])?.starts_with("master") {
                continue;
            }
            for key in node.ask(&["keys", "q:*"])?.lines().filter(|key| !key.is_empty()) {
                let client = redis::Client::open(format!("redis://{}", node.address()))?;
                let entries: Vec<(String, BTreeMap<String, String>)> = cmd("XRANGE")
                    .arg(key)
                    .arg("-")
                    .arg("+")
                    .query(&mut client.get_connection()?)?;
                for (_, fields) in entries {
                    let event = serde_json::from_str(&fields["event"])?;
                    let (id, kind) = (fields["id"].clone(), fields["type"].clone());
                    told.push(Told { id, kind, event });
                }
            }
        }
        Ok(told)
    };
    let play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        for caller in 16_145_550_000..16_145_550_100 {
            pings.insert(ping(stage.api, caller)?);
        }
        let told = each_is_told_once(&pings, read)?;
        let shards: BTreeSet<_> = told.iter().map(|it| it.event["shard"].as_u64()).collect();
        ensure!(shards.len() > 50, "{} shards", shards.len());

        cluster.fail_over(0)?;
        for caller in 16_145_551_000..16_145_551_100 {
            pings.insert(ping(stage.api, caller)?);
        }
        each_is_told_once(&pings, read).map(drop)
    };
    check(&stage, play());
}

#[test]
fn streams_are_written_over_tls_by_a_user_who_may_do_no_more_than_that() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let (redis, port) =
        Redis::encrypted(folder.path(), &ours).unwrap_or_else(|error| panic!("{error:#}"));
    let user = "on >a-secret ~q:* ~off:* +@read +@write +time +eval +evalsha +script|load +info";
    let made = [&["acl", "setuser", "edge"][..], &user.split(' ').collect::<Vec<_>>()].concat();
    assert_eq!(redis.ask(&made).unwrap(), "OK");
    let shown = ours.issue(&["edge.example"]);
    let file = |path: &Path| format!("{:?}", path.display().to_string());
    let more = format!(
        "username = \"edge\"\npassword = \"a-secret\"\nextra_ca = {}\nclient_cert = {}\nclient_key \
         = {}\n",
        file(&ours.file),
        file(&shown.chain),
        file(&shown.key)
    );
    let shipper = shipper(&format!("\"rediss://127.0.0.1:{port}\""), &more);
    let stage = Stage::start(Setup { more: &shipper, ..Setup::default() }).unwrap();
    let play = || -> Result<()> {
        let pings = BTreeSet::from([ping(stage.api, 16_145_550_001)?]);
        each_is_told_once(&pings, || read(&redis))?;
        let shown = http::get(stage.api, "/metrics")?.body;
        ensure!(!stage.log().contains("a-secret") && !shown.contains("a-secret"));
        Ok(())
    };
    check(&stage, play().context("over TLS"));
}
