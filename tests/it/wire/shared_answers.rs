//! The same request at several servers that share sessions through Redis (spec/data §2.6).

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::dialects::{detail, explanation};
use super::program::Program;
use super::shared::{check, redis};
use super::shared_sessions::{BID_KEY, BIDS, pool, server, server_with, store_is};
use crate::support::redis::Redis;
use crate::support::relay::{Relay, What};
use crate::support::{api, http, wait_for};

/// Numbers to lend, and who asks for bids.
fn more() -> String {
    pool(3) + BIDS
}

/// A server whose target pays for calls.
fn paying(redis: &Redis, node: u32) -> Stage {
    let pays = ["targets.alone.conversion={ seconds = 90, revenue = \"41.50\" }"];
    server_with(&redis.address().to_string(), node, &more(), &pays).unwrap()
}

#[test]
fn the_same_request_at_two_servers_is_one_session_with_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let mut first = server(&redis, 1, &more()).unwrap();
    let second = server(&redis, 2, &more()).unwrap();
    let mut requests = || -> Result<()> {
        let body = json!({ "request_id": "click-1", "pool": "pool" });
        let replies = thread::scope(|scope| {
            let body = &body;
            let many = |stage| scope.spawn(move || (0..20).map(|_| send(stage, body)).collect());
            let senders = [&first, &second, &first, &second].map(many);
            let sent = senders.into_iter().map(|sender| sender.join().expect("it does not panic"));
            sent.collect::<Result<Vec<Vec<http::Reply>>>>()
        })?;
        let (taken, in_progress): (Vec<_>, Vec<_>) =
            replies.into_iter().flatten().partition(|reply| reply.status == 202);
        ensure!(in_progress.iter().all(|it| it.status == 409), "{in_progress:?}");
        let new = taken.iter().filter(|it| it.header("idempotent-replayed").is_none()).count();
        ensure!(new == 1, "{new} of {} are new", taken.len());
        let answer = taken[0].json::<Value>()?;
        for reply in &taken {
            ensure!(reply.json::<Value>()? == answer, "{reply:?} is not {answer:#}");
        }
        let mut accepted = 0.0;
        for stage in [&first, &second] {
            let counted = api::series(stage.api)?;
            accepted += counted.get(r#"tollbridge_pings_total{result="accepted"}"#).unwrap_or(&0.0);
        }
        ensure!(accepted == 1.0, "{accepted} were accepted");
        for stage in [&first, &second] {
            let mut other = body.clone();
            other["zip"] = json!("43215");
            let other = send(stage, &other)?;
            ensure!(
                other.status == 422 && other.body.contains("idempotency.mismatch"),
                "{other:?}"
            );
        }

        // What is refused may be mended and sent again, also to the other.
        let wrong = json!({ "request_id": "click-2", "campaign": "none", "sip_ok": true });
        ensure!(send(&first, &wrong)?.status == 422);
        let mended = json!({ "request_id": "click-2", "campaign": "alone", "sip_ok": true });
        let mended = wait_for("the other to hear of it", Duration::from_secs(5), || {
            let reply = send(&second, &mended)?;
            Ok((reply.status == 202).then_some(reply))
        })?;
        ensure!(mended.header("idempotent-replayed").is_none(), "{mended:?}");

        // And a visit, by its key.
        let visit = json!({ "campaign": "alone", "page_url": "https://a.example/?gclid=g1" });
        let keyed = |stage: &Stage| {
            let headers = [("Idempotency-Key", "k-1")];
            http::post_with(stage.api, "/v1/sessions", &visit.to_string(), &headers)
        };
        let (there, here) = (keyed(&first)?, keyed(&second)?);
        ensure!(there.status == 201, "{there:?}");
        ensure!(here.json::<Value>()? == there.json::<Value>()?, "{here:?} is not {there:?}");
        ensure!(here.header("idempotent-replayed") == Some("true"), "{here:?}");

        let requests = |redis: &Redis| -> Result<BTreeSet<String>> {
            let keys = redis.ask(&["keys", "rq:*"])?;
            Ok(keys.lines().map(str::to_owned).filter(|key| key.starts_with("rq:")).collect())
        };
        let earlier = wait_for("both clicks and the visit", Duration::from_secs(5), || {
            Ok(Some(requests(&redis)?).filter(|keys| keys.len() == 3))
        })?;

        // A store that has lost everything is told by a server that starts again.
        first.end(Program::kill)?;
        redis.ask(&["flushall"])?;
        first.serve()?;
        wait_for("what was answered to be told", Duration::from_secs(10), || {
            Ok(requests(&redis)?.pop_first().map(drop))
        })?;
        let again = send(&second, &body)?;
        ensure!(again.header("idempotent-replayed") == Some("true"), "{again:?}");
        ensure!(again.json::<Value>()? == answer, "{again:?} is not {answer:#}");

        // Without it each goes by what it knows.
        redis.kill()?;
        let later = json!({ "request_id": "click-3", "campaign": "alone", "sip_ok": true });
        let (one, same) = (send(&first, &later)?, send(&first, &later)?);
        ensure!((one.status, same.status) == (202, 202), "{one:?}, {same:?}");
        ensure!(same.header("idempotent-replayed") == Some("true"), "{same:?}");
        let is_seen = |state: &str| store_is(&second, state, Duration::from_secs(15));
        is_seen("away")?;
        redis.restart()?;
        wait_for("the other to hear of it", Duration::from_secs(15), || {
            Ok(requests(&redis)?.difference(&earlier).next().map(drop))
        })?;
        is_seen("open")?;
        let told = send(&second, &later)?;
        ensure!(told.json::<Value>()? == one.json::<Value>()?, "{told:?} is not {one:?}");
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = requests();
    check(&[&first, &second], outcome);
}

#[test]
fn a_price_that_one_server_promised_is_confirmed_by_another_until_its_call_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let [first, second] = [1, 2].map(|node| paying(&redis, node));
    let bids = || -> Result<()> {
        let ask = json!({ "key": BID_KEY, "caller_number": "+16145550188" }).to_string();
        let bid = http::post(first.api, "/rtbs.json", &ask)?.json::<Value>()?;
        ensure!(bid["status"] == "reserved" && bid["retreaver_payout"] == 33.2, "{bid:#}");
        let uuid = bid["uuid"].as_str().context("no uuid")?.to_owned();
        let confirm = |stage: &Stage| -> Result<Value> {
            let body = json!({ "key": BID_KEY, "status": "confirmed" }).to_string();
            let json = [("Content-Type", "application/json")];
            http::ask(stage.api, ("PUT", &format!("/rtbs/{uuid}.json")), &body, &json)?.json()
        };
        for stage in [&second, &first] {
            let confirmed = confirm(stage)?;
            ensure!(confirmed["status"] == "confirmed", "{confirmed:#}");
            ensure!(confirmed["retreaver_payout"] == bid["retreaver_payout"], "{confirmed:#}");
        }
        // A stranger's call is not the one that it was promised to.
        let address = format!("bid_{}", uuid.replace('-', ""));
        let stranger = "P-Asserted-Identity: <sip:+16145550177@127.0.0.1>";
        super::call(&second, &address, "stranger", &[stranger])?;
        let explained = explanation(&second, &detail(&second, "stranger")?)?.to_string();
        ensure!(explained.contains("match.caller_mismatch"), "{explained}");
        for stage in [&second, &first] {
            let confirmed = confirm(stage)?;
            ensure!(confirmed["status"] == "confirmed", "{confirmed:#}");
        }
        let from = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
        super::call(&first, "+18005550250", "its-call", &[from])?;
        wait_for("the use to be known", Duration::from_secs(5), || {
            Ok((confirm(&second)?["status"] == "no-target").then_some(()))
        })?;
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = bids();
    check(&[&first, &second], outcome);
}

#[test]
fn the_same_priced_ping_at_two_servers_is_one_session_and_one_promise() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let [first, second] = [1, 2].map(|node| paying(&redis, node));
    let mut bids = || -> Result<()> {
        let bid = |stage: &Stage, caller: &str| -> Result<String> {
            let ask = json!({
                "key": BID_KEY, "caller_number": caller,
            });
            let told = http::post(stage.api, "/rtbs.json", &ask.to_string())?.json::<Value>()?;
            ensure!(told["status"] == "reserved", "{told:#}");
            Ok(told["uuid"].as_str().context("no uuid")?.to_owned())
        };
        const CALLER: &str = "+16145550188";
        let bids = thread::scope(|scope| {
            let many = |stage| scope.spawn(move || (0..5).map(|_| bid(stage, CALLER)).collect());
            let senders = [&first, &second, &first, &second].map(many);
            let sent = senders.into_iter().map(|sender| sender.join().expect("it does not panic"));
            sent.collect::<Result<Vec<Vec<String>>>>()
        })?;
        let mut bids: BTreeSet<String> = bids.into_iter().flatten().collect();
        ensure!(bids.len() == 1, "{bids:?}");
        // Whoever else calls is another.
        ensure!(bids.insert(bid(&second, "+16145550177")?), "{bids:?}");

        // Once its call has come a ping asks for another.
        let from = format!("P-Asserted-Identity: <sip:{CALLER}@127.0.0.1>");
        super::call(&first, "+18005550250", "its-call", &[&from])?;
        wait_for("the use to be known", Duration::from_secs(5), || {
            Ok(bids.insert(bid(&second, CALLER)?).then_some(()))
        })?;
        let again = bid(&first, CALLER)?;
        ensure!(bids.len() == 3 && bids.contains(&again), "{again} of {bids:?}");

        // Without the store each promises what it can.
        redis.kill()?;
        ensure!(bid(&second, CALLER)? == again, "it has the session itself");
        bid(&first, CALLER)?;
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = bids();
    check(&[&first, &second], outcome);
}

#[test]
fn what_one_server_is_asked_again_and_again_another_promises_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let [first, second] = [1, 2].map(|node| paying(&redis, node));
    let bids = || -> Result<()> {
        let ask = json!({ "key": BID_KEY, "caller_number": "+16145550188" }).to_string();
        let bid = |stage: &Stage| http::post(stage.api, "/rtbs.json", &ask)?.json::<Value>();
        let promised = bid(&first)?;
        ensure!(promised["status"] == "reserved", "{promised:#}");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // Each claims it for three seconds more, and leaves it a twentieth of one after its answer.
            let asking = scope.spawn(|| -> Result<u32> {
                let mut times = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let again = bid(&first)?;
                    ensure!(again["uuid"] == promised["uuid"], "{again:#}");
                    times += 1;
                }
                Ok(times)
            });
            let asked = || -> Result<()> {
                wait_for("the first to be at it", Duration::from_secs(5), || {
                    Ok((redis.ask(&["exists", &its_claim(&redis)?])? == "1").then_some(()))
                })?;
                for _ in 0..5 {
                    let told = bid(&second)?;
                    ensure!(told["status"] == "reserved", "{told:#}");
                    ensure!(told["uuid"] == promised["uuid"], "{told:#}");
                    for name in ["retreaver_payout", "retreaver_seconds"] {
                        ensure!(told[name] == promised[name], "{told:#} {promised:#}");
                    }
                }
                Ok(())
            };
            let told = asked();
            is_over.store(true, Ordering::Relaxed);
            let times = asking.join().expect("it does not panic")?;
            told?;
            ensure!(times >= 5, "it was asked {times} times");
            Ok(())
        })?;
        for stage in [&first, &second] {
            let counted = api::series(stage.api)?;
            let accepted = counted.get(r#"tollbridge_pings_total{result="accepted"}"#);
            let own = if stage.api == first.api { 1.0 } else { 0.0 };
            ensure!(accepted.copied().unwrap_or_default() == own, "{accepted:?}");
            stage.is_clean()?;
        }
        Ok(())
    };
    let outcome = bids();
    check(&[&first, &second], outcome);
}

#[test]
fn an_answer_whose_client_went_away_while_others_were_told_is_given_by_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be started");
    let relay = runtime.block_on(Relay::to(redis.address())).unwrap();
    // The store is not given up on: whatever others hear later, they hear for another reason.
    let patient = ["redis.timeout_ms=5000", "decision.deadline_ms=30000"];
    let first = server_with(&relay.address().to_string(), 1, "", &patient).unwrap();
    let second = server(&redis, 2, "").unwrap();
    let body = json!({
        "campaign": "alone", "caller_id": "+16145550188", "request_id": "the-same"
    });
    let answered = |stage: &Stage| -> Result<Value> {
        wait_for("an answer", Duration::from_secs(10), || {
            let reply = send(stage, &body)?;
            ensure!([202, 409].contains(&reply.status), "{reply:?}");
            let is_repeated = reply.header("Idempotent-Replayed") == Some("true");
            ensure!(reply.status == 409 || is_repeated, "{reply:?}");
            (reply.status == 202).then(|| reply.json()).transpose()
        })
    };
    let play = || -> Result<()> {
        // What is said of the answer to a request: the last of its keys ends so.
        relay.hold_back(What::Question, "}\r\n$4\r\nkeep\r\n");
        let (mut client, body) = (TcpStream::connect(first.api)?, body.to_string());
        write!(
            client,
            "POST /v1/pings HTTP/1.1\r\nHost: tests\r\nAuthorization: Bearer dev\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        runtime.block_on(relay.has_caught_it())?;
        client.shutdown(Shutdown::Both)?;
        drop(client);
        // As soon as nobody answers it any more, whoever asks again here is told.
        let at_first = answered(&first)?;
        relay.lose();

        let at_second = answered(&second)?;

        ensure!(at_second["session_id"] == at_first["session_id"], "{at_first:#} {at_second:#}");
        Ok(())
    };
    let played = play();
    check(&[&first, &second], played);
}

/// The key of the only request that is claimed.
fn its_claim(redis: &Redis) -> Result<String> {
    let keys = redis.ask(&["keys", "rq:*"])?;
    Ok(keys.lines().next().unwrap_or("none").to_owned())
}

fn send(stage: &Stage, body: &Value) -> Result<http::Reply> {
    http::post(stage.api, "/v1/pings", &body.to_string())
}
