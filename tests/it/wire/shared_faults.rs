//! Servers that share sessions, and what becomes of these when an answer of Redis is late or lost, or whoever
//! asked goes away.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::NUMBER;
use super::program::Program;
use super::sessions::ping;
use super::shared::{check, redis};
use super::shared_sessions::{
    BID_KEY, BIDS, is_of, numbers_apart, pool, server, server_with, text,
};
use crate::support::redis::Redis;
use crate::support::relay::{Relay, What};
use crate::support::{http, wait_for};

/// Only whoever opens a session says so to Redis.
const SHOWN: &str = "keep\r\n";

/// Of a request, up to how long it is.
const HEAD: &str = "Host: a\r\nAuthorization: Bearer dev\r\nContent-Type: application/json\r\n\
                    Content-Length: ";

/// A way to Redis, and what keeps it open.
fn way_to(redis: &Redis) -> Result<(Runtime, Relay)> {
    let runtime = Runtime::new()?;
    let relay = runtime.block_on(Relay::to(redis.address()))?;
    Ok((runtime, relay))
}

/// Redis has lent a number and could not say so; the visitor is shown another.
#[test]
fn a_number_that_was_shown_stays_its_visitors_though_an_answer_of_redis_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (runtime, relay) = way_to(&redis).unwrap();
    let first = server_with(&relay.address().to_string(), 1, &pool(32), &[]).unwrap();
    let second = server(&redis, 2, &pool(32)).unwrap();
    let pings = || -> Result<()> {
        numbers_apart(&first, 2)?;
        // By how long it is lent the question is known.
        relay.hold_back(What::Answer, "777000");
        let said = json!({ "pool": "pool", "ttl_s": 777 });
        let session = thread::scope(|scope| {
            let asking = scope.spawn(|| ping(&first, &said));
            runtime.block_on(relay.has_caught_it())?;
            relay.lose();
            asking.join().map_err(|_| anyhow!("the client panicked"))?
        })?;
        ensure!(session["number_status"] == "leased", "{session:#}");
        let number = text(&session["number"])?;

        wait_for("the other to know whose it is", Duration::from_secs(10), || {
            let its: Value = http::get(second.api, &format!("/v1/numbers/{number}"))?.json()?;
            Ok((its["session"] == session["session_id"]).then_some(()))
        })?;
        wait_for("the number nobody was shown to be free", Duration::from_secs(10), || {
            let pools: Value = http::get(second.api, "/v1/pools")?.json()?;
            Ok((pools["items"][0]["leased"] == 1).then_some(()))
        })?;
        for (call_id, stage) in [("there", &second), ("here", &first)] {
            super::call(stage, &number, call_id, &[])?;
            is_of(stage, call_id, "pool_lease", &session)?;
        }
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = pings();
    check(&[&first, &second], outcome);
}

/// While Redis is told of a session, another request finds it.
#[test]
fn a_session_that_was_answered_twice_outlives_a_kill_though_redis_had_not_heard_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (runtime, relay) = way_to(&redis).unwrap();
    let set = [
        "redis.timeout_ms=3000",
        "decision.deadline_ms=15000",
        "targets.alone.conversion={ seconds = 90, revenue = \"41.50\" }",
    ];
    let mut stage = server_with(&relay.address().to_string(), 1, BIDS, &set).unwrap();
    let mut bids = || -> Result<()> {
        let (to, asked) = (stage.api, json!({ "key": BID_KEY, "caller_number": "+16145550188" }));
        let ask = || http::post(to, "/rtbs.json", &asked.to_string());
        relay.hold_back(What::Answer, SHOWN);
        let bid = thread::scope(|scope| {
            let first = scope.spawn(ask);
            runtime.block_on(relay.has_caught_it())?;
            let second = ask()?;
            ensure!(!first.is_finished(), "the first was not waiting");
            stage.end(Program::kill)?;
            // Nobody answers it.
            let _cut_off = first.join().map_err(|_| anyhow!("the client panicked"))?;
            second.json::<Value>()
        })?;
        ensure!(bid["status"] == "reserved", "{bid:#}");

        relay.lose();
        redis.ask(&["flushall"])?;
        stage.serve()?;
        let uuid = bid["uuid"].as_str().context("no uuid")?;
        let body = json!({ "key": BID_KEY, "status": "confirmed" }).to_string();
        let json = [("Content-Type", "application/json")];
        let confirmed = http::ask(to, ("PUT", &format!("/rtbs/{uuid}.json")), &body, &json)?;
        ensure!(confirmed.json::<Value>()?["status"] == "confirmed", "{confirmed:?}");
        stage.is_clean()
    };
    let outcome = bids();
    check(&[&stage], outcome);
}

#[test]
fn a_visitor_who_goes_away_before_the_answer_leaves_a_session_that_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (runtime, relay) = way_to(&redis).unwrap();
    let mut stage = server_with(&relay.address().to_string(), 1, &pool(8), &[]).unwrap();
    let mut visits = || -> Result<()> {
        let visit = json!({ "pool": "pool", "visitor_id": "v1" }).to_string();
        relay.hold_back(What::Answer, SHOWN);
        let mut visitor = TcpStream::connect(stage.api)?;
        let length = visit.len();
        write!(visitor, "POST /v1/sessions HTTP/1.1\r\n{HEAD}{length}\r\n\r\n{visit}")?;
        runtime.block_on(relay.has_caught_it())?;
        drop(visitor);
        // Nothing says that the server has seen it.
        thread::sleep(Duration::from_millis(300));

        let again = http::post(stage.api, "/v1/sessions", &visit)?;
        ensure!(again.status == 200, "{again:?}");
        let session: Value = again.json()?;
        stage.end(Program::kill)?;
        relay.lose();
        redis.ask(&["flushall"])?;
        stage.serve()?;
        let path = format!("/v1/sessions/{}", text(&session["session_id"])?);
        let found = http::get(stage.api, &path)?;
        ensure!(found.status == 200, "{found:?}");
        ensure!(found.json::<Value>()?["number"] == session["number"], "{found:?} {session:#}");
        Ok(())
    };
    let outcome = visits();
    check(&[&stage], outcome);
}

#[test]
fn a_batch_whose_sender_goes_away_leaves_sessions_that_all_servers_know() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (runtime, relay) = way_to(&redis).unwrap();
    let first = server_with(&relay.address().to_string(), 1, &pool(8), &[]).unwrap();
    let second = server(&redis, 2, &pool(8)).unwrap();
    let pings = || -> Result<()> {
        let batch = json!([
            { "campaign": "alone", "caller_id": "+16145550188" },
            { "pool": "pool", "ttl_s": 777 },
        ])
        .to_string();
        relay.hold_back(What::Answer, "777000");
        let mut sender = TcpStream::connect(first.api)?;
        let length = batch.len();
        write!(sender, "POST /v1/pings:batch HTTP/1.1\r\n{HEAD}{length}\r\n\r\n{batch}")?;
        runtime.block_on(relay.has_caught_it())?;
        drop(sender);
        thread::sleep(Duration::from_millis(300));
        relay.let_go();

        let from = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
        let mut nth = 0;
        wait_for("the other to know the session", Duration::from_secs(10), || {
            nth += 1;
            let call_id = format!("call-{nth}");
            super::call(&second, NUMBER, &call_id, &[from])?;
            let found = super::detail(&second, &call_id)?;
            Ok((found["match_method"] == "caller_ping").then_some(()))
        })?;
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = pings();
    check(&[&first, &second], outcome);
}

#[test]
fn visits_of_a_visitor_at_once_take_one_number() {
    const VISITORS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stage = server(&redis, 1, &pool(200)).unwrap();
    let visits = || -> Result<()> {
        let to = stage.api;
        thread::scope(|scope| {
            let visit = move || -> Result<()> {
                for nth in 0..VISITORS {
                    let visit = json!({ "pool": "pool", "visitor_id": format!("v{nth}") });
                    let reply = http::post(to, "/v1/sessions", &visit.to_string())?;
                    ensure!(reply.status == 200 || reply.status == 201, "{reply:?}");
                }
                Ok(())
            };
            let visitors: Vec<_> = (0..4).map(|_| scope.spawn(visit)).collect();
            visitors.into_iter().try_for_each(|visitor| {
                visitor.join().map_err(|_| anyhow!("a visitor panicked"))?
            })
        })?;
        let lent = || -> Result<Value> {
            let pools: Value = http::get(stage.api, "/v1/pools")?.json()?;
            Ok(pools["items"][0]["leased"].clone())
        };
        let given_back = wait_for("one number each to be lent", Duration::from_secs(8), || {
            Ok((lent()? == VISITORS).then_some(()))
        });
        given_back.with_context(|| format!("{:?} of {VISITORS}", lent()))?;
        stage.is_clean()
    };
    let outcome = visits();
    check(&[&stage], outcome);
}
