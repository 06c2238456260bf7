//! What Redis may answer instead of doing what it is asked, and what becomes of its keys in a cluster: calls
//! and pings go on, and limits, sessions and numbers are shared again afterwards (spec/data §3.5, §3.6).
//! Prints a line for each fault.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tollbridge::server::holds::redis::KeySpace as HoldKeys;
use tollbridge::server::sessions::redis::KeySpace as SessionKeys;

use super::peer::{SDP, response, with_body};
use super::sessions::{call, detail, ping};
use super::shared::{check, redis};
use super::{NUMBER, Setup, Stage};
use crate::support::redis::{Cluster, Redis};
use crate::support::{cells, http, wait_for};

/// Counts every call, and lets none wait for the store.
const CAP: &str = "targets.alone.caps=[{ metric = \"connected\", window = \"total\", limit = 100000, \
                   on_store_down = \"open\" }]";
const COUNTED: &str = "cap:{default}:target/alone/connected/total:total";
/// A machine of tests does other things as well.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Two servers that share limits and a pool, and what has come of their calls.
struct Fleet {
    stages: [Stage; 2],
    calls: u64,
    with_number: u64,
    /// Calls to numbers that were lent a moment before, and that were not found to be their session's.
    unmatched: u64,
    lent: BTreeSet<String>,
    /// Opened at the first server before anything happened.
    before: Value,
    slowest: Duration,
}

impl Fleet {
    fn start(seeds: &str) -> Result<Self> {
        let numbers: Vec<_> = (0..200).map(|nth| format!("\"+1614555{:04}\"", 200 + nth)).collect();
        let pool = format!(
            "[[pools]]\nid = \"pool\"\ncampaign = \"alone\"\npublisher = \"tests\"\n\
             numbers = [{}]\nsession_ttl_s = 600\nquarantine_s = 600\n",
            numbers.join(", ")
        );
        let urls = format!("redis.urls=[{seeds}]");
        let server = |node: u32| {
            let node = format!("node.id={node}");
            let times = [
                "redis.call_timeout_ms=300",
                "redis.slow_ms=300",
                "redis.timeout_ms=500",
                "redis.open_after_ms=200",
                "redis.lease_s=20",
                "decision.deadline_ms=8000",
            ];
            let set = [&[node.as_str(), &urls, CAP], &times[..]].concat();
            Stage::start(Setup { set: &set, more: &pool, ..Setup::default() })
        };
        let stages = [server(1)?, server(2)?];
        let (lent, before, slowest) = (BTreeSet::new(), Value::Null, Duration::ZERO);
        let mut fleet =
            Self { stages, calls: 0, with_number: 0, unmatched: 0, lent, before, slowest };
        fleet.are_open()?;
        fleet.before = ping(&fleet.stages[0], &json!({ "pool": "pool" }))?;
        ensure!(fleet.before["number_status"] == "leased", "{:#}", fleet.before);
        fleet.lent.insert(number_of(&fleet.before)?);
        fleet.go_on("before", 4)?;
        ensure!(fleet.unmatched == 0, "before anything has happened");
        Ok(fleet)
    }

    /// Pings and calls at both servers; all are answered, and nobody gets a number that another has.
    fn go_on(&mut self, when: &str, turns: u64) -> Result<()> {
        for turn in 0..turns {
            let stage = usize::from(turn % 2 == 1);
            let session = ping(&self.stages[stage], &json!({ "pool": "pool" }))?;
            if session["number_status"] == "leased" {
                let number = number_of(&session)?;
                ensure!(self.lent.insert(number.clone()), "{number} is lent twice: {session:#}");
                self.with_number += 1;
                self.call(stage, &number, &format!("{when}-{turn}"))?;
                let found = detail(&self.stages[stage], &format!("{when}-{turn}"))?;
                self.unmatched += u64::from(found["session_id"] != session["session_id"]);
            }
            self.call(stage, NUMBER, &format!("{when}-static-{turn}"))?;
        }
        Ok(())
    }

    fn call(&mut self, stage: usize, number: &str, call_id: &str) -> Result<()> {
        let began = Instant::now();
        call(&self.stages[stage], number, call_id, &[]).with_context(|| call_id.to_owned())?;
        self.slowest = self.slowest.max(began.elapsed());
        self.calls += 1;
        Ok(())
    }

    /// How long it takes until both servers say that both stores are open.
    fn are_open(&self) -> Result<Duration> {
        let began = Instant::now();
        for stage in &self.stages {
            wait_for("the stores to be open", BACK_WITHIN, || {
                let told: Value = http::get(stage.api, "/healthz")?.json()?;
                let are_open = told["hold_store"] == "open" && told["session_store"] == "open";
                Ok(are_open.then_some(()))
            })?;
        }
        Ok(began.elapsed())
    }

    /// It is over: all is as it was, and everything was counted.
    fn is_over(&mut self, fault: &str, keeper: &Redis) -> Result<()> {
        let began = Instant::now();
        let back = self.are_open()?;
        // A server may have yet to find out, and a pool that is new to its server is closed for a while.
        for round in 0.. {
            let (with_number, unmatched) = (self.with_number, self.unmatched);
            self.go_on(&format!("after-{round}"), 4)?;
            if self.with_number == with_number + 4 && self.unmatched == unmatched {
                break;
            }
            ensure!(began.elapsed() < BACK_WITHIN, "it is not as it was before");
            thread::sleep(Duration::from_millis(100));
        }
        let whole = began.elapsed();
        // At the other server than that which opened it.
        let number = number_of(&self.before)?;
        self.call(1, &number, "of-before")?;
        let found = detail(&self.stages[1], "of-before")?;
        ensure!(found["session_id"] == self.before["session_id"], "{found:#}");
        let calls = self.calls.to_string();
        wait_for("all calls to be counted", Duration::from_secs(10), || {
            Ok((keeper.ask(&["hget", COUNTED, "used"])? == calls).then_some(()))
        })
        .with_context(|| format!("{calls} calls"))?;
        cells::tell(&format!(
            "store fault {fault:<18} calls {calls:>3} pings with a number {:>3} unmatched {:>2} slowest call \
             {:>4} ms open again after {:>5} ms, all as before after {:>5} ms",
            self.with_number,
            self.unmatched,
            self.slowest.as_millis(),
            back.as_millis(),
            whole.as_millis(),
        ))?;
        self.stages.iter().try_for_each(Stage::is_clean)
    }
}

fn number_of(session: &Value) -> Result<String> {
    let number = session["number"].as_str();
    number.map(str::to_owned).with_context(|| format!("no number: {session:#}"))
}

/// While this is done to the only server there is.
fn alone(fault: &str, strike: impl FnOnce(&mut Redis, &mut Fleet) -> Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let mut fleet = Fleet::start(&format!("\"redis://{}\"", redis.address())).unwrap();
    let struck = || -> Result<()> {
        strike(&mut redis, &mut fleet)?;
        fleet.is_over(fault, &redis)
    };
    let outcome = struck();
    check(&[&fleet.stages[0], &fleet.stages[1]], outcome);
}

/// Or to a cluster, of which these slots are ours: that of limits, and that of the pool.
fn of_cluster(fault: &str, strike: impl FnOnce(&mut Cluster, [u16; 2], &mut Fleet) -> Result<()>) {
    let mut cluster = Cluster::start().unwrap();
    let seeds: Vec<_> = cluster.seeds().iter().map(|it| format!("\"redis://{it}\"")).collect();
    let mut fleet = Fleet::start(&seeds.join(",")).unwrap();
    let holds = HoldKeys::new("default").slot();
    let slots = [holds, SessionKeys::new("default").slot_of_pool(&"pool".into())];
    let struck = || -> Result<()> {
        strike(&mut cluster, slots, &mut fleet)?;
        let keeper = cluster.master_of(holds)?;
        fleet.is_over(fault, &cluster.nodes[keeper])
    };
    let outcome = struck();
    check(&[&fleet.stages[0], &fleet.stages[1]], outcome);
}

#[test]
fn while_a_script_of_somebody_else_keeps_redis_busy() {
    alone("BUSY", |redis, fleet| {
        let busy = redis.keep_busy()?;
        fleet.go_on("busy", 8)?;
        drop(busy);
        Ok(())
    });
}

#[test]
fn while_redis_reads_what_it_had_written_down() {
    alone("LOADING", |redis, fleet| {
        thread::scope(|scope| {
            let loading = scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                runtime.block_on(redis.load_again())
            });
            let mut turn = 0;
            while !loading.is_finished() {
                fleet.go_on(&format!("loading-{turn}"), 2)?;
                turn += 1;
            }
            loading.join().map_err(|_| anyhow!("the loader panicked"))?
        })
    });
}

#[test]
fn while_redis_takes_no_writes() {
    alone("READONLY", |redis, fleet| {
        // A replica of nobody who is there.
        redis.ask(&["replicaof", "127.0.0.1", "1"])?;
        fleet.go_on("read-only", 8)?;
        redis.ask(&["replicaof", "no", "one"])?;
        Ok(())
    });
}

#[test]
fn while_redis_has_no_memory_left() {
    alone("OOM", |redis, fleet| {
        redis.ask(&["config", "set", "maxmemory", "1"])?;
        fleet.go_on("no-memory", 8)?;
        redis.ask(&["config", "set", "maxmemory", "0"])?;
        Ok(())
    });
}

#[test]
fn while_replicas_take_over_from_their_masters() {
    of_cluster("CLUSTER FAILOVER", |cluster, slots, fleet| {
        for (nth, slot) in slots.into_iter().enumerate() {
            cluster.fail_over(slot)?;
            fleet.go_on(&format!("failover-{nth}"), 6)?;
        }
        Ok(())
    });
}

#[test]
fn while_slots_move_to_other_masters() {
    of_cluster("slot migration", |cluster, slots, fleet| {
        for (nth, slot) in slots.into_iter().enumerate() {
            let cluster = &*cluster;
            thread::scope(|scope| {
                let moving = scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                    runtime.block_on(cluster.move_slot(slot))
                });
                let mut turn = 0;
                while !moving.is_finished() {
                    fleet.go_on(&format!("moving-{nth}-{turn}"), 2)?;
                    turn += 1;
                }
                moving.join().map_err(|_| anyhow!("the mover panicked"))?
            })?;
            fleet.go_on(&format!("moved-{nth}"), 2)?;
        }
        Ok(())
    });
}

#[test]
fn while_a_master_dies() {
    of_cluster("kill master", |cluster, slots, fleet| {
        let masters: BTreeSet<_> =
            slots.into_iter().map(|slot| cluster.master_of(slot)).collect::<Result<_>>()?;
        // Two of three masters would be no majority.
        let master = *masters.first().context("a master")?;
        cluster.nodes[master].kill()?;
        fleet.go_on("killed", 8)?;
        wait_for("a replica to take over", Duration::from_secs(20), || {
            let is_there = slots
                .into_iter()
                .all(|slot| cluster.master_of(slot).is_ok_and(|place| place != master));
            Ok(is_there.then_some(()))
        })
    });
}

/// The figures of the specification, with the times that a server has unless it is told others. A machine of
/// tests does other things as well: twenty times as long is too long.
#[test]
fn how_soon_a_dead_master_is_found_out_and_how_long_calls_wait_meanwhile() {
    const TOO_LONG: u32 = 20;
    let mut cluster = Cluster::start().unwrap();
    let seeds: Vec<_> = cluster.seeds().iter().map(|it| format!("\"redis://{it}\"")).collect();
    let urls = format!("redis.urls=[{}]", seeds.join(","));
    let set = ["node.id=1", &urls, CAP];
    let stage = Stage::start(Setup { set: &set, ..Setup::default() }).unwrap();
    let slot = HoldKeys::new("default").slot();
    let is = |state: &str| -> Result<bool> {
        let told: Value = http::get(stage.api, "/healthz")?.json()?;
        Ok(told["hold_store"] == state)
    };
    // How long it takes until its target has the INVITE.
    let rings = |id: &str| -> Result<Duration> {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let began = Instant::now();
        caller.send(with_body(&caller, &stage.invite(), id, &[], SDP))?;
        let offered = target.expect("INVITE")?;
        let took = began.elapsed();
        target.send(response(&target, &offered, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("486 INVITE")?;
        Ok(took)
    };
    let mut plot = || -> Result<()> {
        wait_for("the store to be open", BACK_WITHIN, || Ok(is("open")?.then_some(())))?;
        rings("before")?;
        let master = cluster.master_of(slot)?;
        cluster.nodes[master].kill()?;
        let struck = Instant::now();
        let first = rings("first")?;
        let mut calls = 1;
        while !is("away")? {
            calls += 1;
            rings(&format!("call{calls}"))?;
            ensure!(struck.elapsed() < BACK_WITHIN, "nobody finds out");
        }
        let found = struck.elapsed();
        wait_for("a replica to take over", BACK_WITHIN, || {
            Ok(cluster.master_of(slot).is_ok_and(|place| place != master).then_some(()))
        })?;
        let is_up = Instant::now();
        wait_for("the store to be open", BACK_WITHIN, || Ok(is("open")?.then_some(())))?;
        let back = is_up.elapsed();
        cells::tell(&format!(
            "store figures kill master: away after {} ms (100), the first call rings after {} ms (50), open {} ms \
             after another master is up (10000)",
            found.as_millis(),
            first.as_millis(),
            back.as_millis(),
        ))?;
        ensure!(found < Duration::from_millis(100) * TOO_LONG, "found out after {found:?}");
        ensure!(
            first < Duration::from_millis(50) * TOO_LONG,
            "the first call rings after {first:?}"
        );
        ensure!(back < Duration::from_secs(10) * 2, "open after {back:?}");
        stage.is_clean()
    };
    let outcome = plot();
    check(&[&stage], outcome);
}
