//! Caps that count calls and pings as they come, on servers that share them through Redis: room is had
//! before anything is decided (spec/data §0.4).

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::limits::is_refused;
use super::peer::{Line, SDP, request, response, with_body};
use super::shared::{check, redis, server};
use super::{Call, Stage};
use crate::support::redis::Redis;
use crate::support::{api, http, wait_for};

/// A question waits for longer than a test stops the store, and it is the first: sessions are not looked
/// for.
const PATIENT: [&str; 4] = [
    "redis.call_timeout_ms=1500",
    "redis.slow_ms=1500",
    "decision.deadline_ms=10000",
    "redis.sessions=false",
];

/// A cap of the campaign of all calls.
struct Cap {
    /// How a server is told of it.
    setting: String,
    /// Where the store counts.
    key: String,
}

impl Cap {
    fn of(metric: &str, limit: u64) -> Self {
        let caps = format!(r#"[{{ metric = "{metric}", window = "total", limit = {limit} }}]"#);
        Self {
            setting: format!("campaigns.alone.caps={caps}"),
            key: format!("cap:{{default}}:campaign/alone/{metric}/total:total"),
        }
    }

    /// So many were counted, and room of a server's own may be held.
    fn has_counted(&self, redis: &Redis, used: u64) -> Result<()> {
        wait_for("the store to know", Duration::from_secs(10), || {
            Ok((redis.ask(&["hget", &self.key, "used"])? == used.to_string()).then_some(()))
        })
    }

    /// So many were counted, and nothing is held any more.
    fn counts(&self, redis: &Redis, used: u64) -> Result<()> {
        wait_for("the store to know", Duration::from_secs(5), || {
            let count = |field| -> Result<u64> {
                let told = redis.ask(&["hget", &self.key, field])?;
                Ok(if told.is_empty() { 0 } else { told.parse()? })
            };
            Ok((count("used")? == used && count("held")? == 0).then_some(()))
        })
    }
}

fn passed(stage: &Stage) -> Result<f64> {
    Ok(*api::metrics(stage.api)?.get("tollbridge_cap_overshoot_total").unwrap_or(&0.0))
}

#[test]
fn a_server_that_has_heard_of_no_call_lets_none_through_that_is_too_many() {
    let cap = Cap::of("offered", 2);
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stages = [1, 2, 3].map(|node| server(&redis, node, &[&cap.setting]).unwrap());
    let [first, second, third] = &stages;
    let calls = || -> Result<()> {
        for (stage, used) in [(first, 1), (second, 2)] {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            let call = Call::up(stage, &mut caller, &mut target, "offered", &[])?;
            call.end(&mut caller, &mut target)?;
            cap.counts(&redis, used)?;
        }
        for stage in [first, second, third] {
            is_refused(stage, &mut stage.udp()?, "one-too-many", "480 INVITE")?;
            ensure!(passed(stage)? == 0.0, "{:?}", passed(stage)?);
        }
        cap.counts(&redis, 2)
    };
    check(&[first, second, third], calls());
}

#[test]
fn of_calls_that_come_to_two_servers_at_once_no_more_are_taken_than_may_come() {
    let cap = Cap::of("offered", 3);
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stages = [1, 2].map(|node| server(&redis, node, &[&cap.setting]).unwrap());
    let [first, second] = &stages;
    let calls = || -> Result<()> {
        let mut callers = Vec::new();
        for n in 0..20 {
            let stage = &stages[n % 2];
            let mut caller = stage.udp()?;
            caller.send(with_body(&caller, &stage.invite(), &format!("race{n}"), &[], SDP))?;
            callers.push((caller, None));
        }
        let mut targets = [first.target()?, second.target()?];
        let moment = Duration::from_millis(5);
        wait_for("all to be answered", Duration::from_secs(10), || {
            for target in &mut targets {
                if let Some(invite) = target.hear(moment)?.filter(|it| it.kind() == "INVITE") {
                    target.send(response(target, &invite, "486 Busy Here", &[], ""))?;
                }
            }
            for (caller, last) in &mut callers {
                let heard = caller.hear(moment)?.and_then(|heard| heard.status());
                *last = last.or(heard.filter(|status| *status >= 200));
            }
            Ok(callers.iter().all(|(_, last)| last.is_some()).then_some(()))
        })?;
        cap.counts(&redis, 3)?;
        ensure!(passed(first)? + passed(second)? == 0.0, "more than may come");
        let reasons = [first, second].map(|stage| refused_for(stage, "campaign_capped", 10));
        let refused: usize = reasons.into_iter().sum::<Result<usize>>()?;
        ensure!(refused == 17, "{refused} were refused");
        Ok(())
    };
    check(&[first, second], calls());
}

/// How many calls were refused for this, once all of so many are told.
fn refused_for(stage: &Stage, reason: &str, all: usize) -> Result<usize> {
    let calls = wait_for("all calls to be told", Duration::from_secs(5), || {
        let calls = api::calls(stage.api)?;
        Ok((calls.len() == all).then_some(calls))
    })?;
    let mut refused = 0;
    for call in calls {
        let reply = http::get(stage.api, &format!("/v1/calls/{}/explain", call.call_id))?;
        refused += usize::from(reply.body.contains(reason));
    }
    Ok(refused)
}

#[test]
fn of_pings_to_two_servers_no_more_are_taken_than_may_come() {
    let cap = Cap::of("pinged", 3);
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stages = [1, 2].map(|node| server(&redis, node, &[&cap.setting]).unwrap());
    let [first, second] = &stages;
    let pings = || -> Result<()> {
        let ping = |n: usize| {
            let body = json!({ "campaign": "alone", "request_id": n.to_string(), "sip_ok": true });
            http::post(stages[n % 2].api, "/v1/pings", &body.to_string())
        };
        for n in 0..3 {
            let taken = ping(n)?;
            ensure!(taken.status == 202, "{taken:?}");
        }
        for n in 3..6 {
            let refused = ping(n)?;
            ensure!(refused.body.contains("has all of its 3"), "{refused:?}");
        }
        // What came before is answered, and not counted again.
        let again = ping(1)?;
        ensure!(again.status == 202, "{again:?}");
        cap.counts(&redis, 3)
    };
    check(&[first, second], pings());
}

#[test]
fn of_pings_that_come_to_two_servers_at_once_no_more_are_taken_than_may_come() {
    let cap = Cap::of("pinged", 3);
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stages = [1, 2].map(|node| server(&redis, node, &[&cap.setting]).unwrap());
    let [first, second] = &stages;
    let pings = || -> Result<()> {
        let ping = |api| http::post(api, "/v1/pings", r#"{"campaign": "alone", "sip_ok": true}"#);
        let answers = thread::scope(|scope| {
            let all: Vec<_> = (0..20)
                .map(|n| stages[n % 2].api)
                .map(|api| scope.spawn(move || ping(api)))
                .collect();
            all.into_iter().map(|it| it.join().expect("no panic")).collect::<Result<Vec<_>>>()
        })?;
        let taken = answers.iter().filter(|it| it.status == 202).count();
        // One that has counted some of them itself says how many these are; the others are held then.
        let refused = "campaign/alone/pinged/total has ";
        let is_refused = |it: &&http::Reply| it.status == 429 && it.body.contains(refused);
        let refused = answers.iter().filter(is_refused).count();
        ensure!((taken, refused) == (3, 17), "{answers:?}");
        ensure!(passed(first)? + passed(second)? == 0.0, "more than may come");
        cap.counts(&redis, 3)
    };
    check(&[first, second], pings());
}

/// Five calls a server may take without asking.
#[test]
fn without_the_store_a_server_takes_what_it_had_reserved_and_says_why_no_more() {
    let cap = Cap::of("offered", 200);
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &[&cap.setting]).unwrap();
    let mut calls = || -> Result<()> {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(&stage, &mut caller, &mut target, "with", &[])?.end(&mut caller, &mut target)?;
        wait_for("room of its own", Duration::from_secs(5), || {
            Ok((redis.ask(&["hget", &cap.key, "held"])? == "5").then_some(()))
        })?;

        redis.kill()?;

        for n in 1..=5 {
            let id = format!("without{n}");
            Call::up(&stage, &mut caller, &mut target, &id, &[])?.end(&mut caller, &mut target)?;
        }
        is_refused(&stage, &mut caller, "one-too-many", "486 INVITE")?;
        wait_for("the refusal to be told", Duration::from_secs(5), || {
            for call in api::calls(stage.api)? {
                let path = format!("/v1/calls/{}/explain", call.call_id);
                if http::get(stage.api, &path)?.body.contains("cap.full_here") {
                    let again = format!("/v1/calls/{}/replay", call.call_id);
                    let again = http::get(stage.api, &again)?;
                    ensure!(again.body.contains("\"same\":true"), "{again:?}");
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;

        redis.restart()?;

        cap.has_counted(&redis, 6)
    };
    let outcome = calls();
    check(&[&stage], outcome);
}

/// The store is stopped and nobody knows it yet: a call's question is on its way.
fn while_room_is_asked_for(
    redis: &Redis,
    stage: &Stage,
    call_id: &str,
    meanwhile: impl FnOnce(&mut Line) -> Result<()>,
) -> Result<Line> {
    let mut caller = stage.udp()?;
    redis.signal("STOP")?;
    let asked = caller
        .send(with_body(&caller, &stage.invite(), call_id, &[], SDP))
        .and_then(|()| is_tried(&mut caller))
        .and_then(|()| meanwhile(&mut caller));
    redis.signal("CONT")?;
    asked.map(|()| caller)
}

fn is_tried(caller: &mut Line) -> Result<()> {
    let first = caller.hear(Duration::from_secs(5))?;
    ensure!(first.as_ref().and_then(|it| it.status()) == Some(100), "{first:?}");
    Ok(())
}

#[test]
fn a_caller_that_gives_up_while_room_is_asked_for_leaves_none_taken() {
    let cap = Cap::of("offered", 1);
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stage = server(&redis, 1, &[&[&*cap.setting][..], &PATIENT].concat()).unwrap();
    let calls = || -> Result<()> {
        while_room_is_asked_for(&redis, &stage, "gives-up", |caller| {
            let cancel = stage.invite().replace("INVITE", "CANCEL");
            caller.send(request(caller, &cancel, "gives-up", &[]))?;
            caller.expect("200 CANCEL")?;
            caller.expect("487 INVITE").map(drop)
        })?;
        cap.counts(&redis, 0)?;
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(&stage, &mut caller, &mut target, "after", &[])?.end(&mut caller, &mut target)?;
        cap.counts(&redis, 1)?;
        stage.is_clean()
    };
    check(&[&stage], calls());
}

/// The one that came with the reload was not asked for, so nobody can say that it has room.
#[test]
fn a_cap_that_comes_while_room_is_asked_for_another_has_none_for_that_call_and_then_has() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let cap = Cap::of("offered", 5);
    let stage = server(&redis, 1, &[&[&*cap.setting][..], &PATIENT].concat()).unwrap();
    let publisher = "[[publishers]]\nid = \"tests\"\n";
    let capped =
        format!("{publisher}caps = [{{ metric = \"offered\", window = \"total\", limit = 5 }}]\n");
    let calls = || -> Result<()> {
        let mut caller = while_room_is_asked_for(&redis, &stage, "between", |_| {
            stage.reload_with(publisher, &capped).map(drop)
        })?;
        caller.expect("486 INVITE")?;
        ensure!(refused_for(&stage, "cap.full_here", 1)? == 1, "nobody was asked about it");
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(&stage, &mut caller, &mut target, "after", &[])?.end(&mut caller, &mut target)?;
        wait_for("both to have counted it", Duration::from_secs(5), || {
            let of_publisher = "cap:{default}:publisher/tests/offered/total:total";
            let counted = [&*cap.key, of_publisher].map(|key| redis.ask(&["hget", key, "used"]));
            Ok(counted.into_iter().all(|it| it.is_ok_and(|used| used == "1")).then_some(()))
        })?;
        stage.is_clean()
    };
    check(&[&stage], calls());
}
