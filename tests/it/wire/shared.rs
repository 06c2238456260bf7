//! Servers that share limits through Redis, and what they do without it (spec/data §1.7, §3.5).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::limits::{deposit_of, is_refused};
use super::peer::{Dialog, Line, SDP, response, with_body};
use super::program::Program;
use super::sessions::ping;
use super::{Call, Setup, Stage};
use crate::support::authority::Authority;
use crate::support::redis::Redis;
use crate::support::{api, http, wait_for};

const ONE_CALL: &str =
    r#"targets.alone.caps=[{ metric = "connected", window = "total", limit = 1 }]"#;
const ONE_CALL_S_KEY: &str = "cap:{default}:target/alone/connected/total:total";
const ONE_LINE: &str = "targets.alone.concurrency={ limit = 1 }";

/// A server of those that share a store.
pub(super) fn server(redis: &Redis, node: u32, set: &[&str]) -> Result<Stage> {
    let node = format!("node.id={node}");
    let urls = format!("redis.urls=[\"redis://{}\"]", redis.address());
    // Generous: the machine of a test does other things as well.
    let times = [
        "redis.call_timeout_ms=500",
        "redis.slow_ms=500",
        "redis.timeout_ms=1000",
        "redis.open_after_ms=100",
        "decision.deadline_ms=8000",
    ];
    let set = [&[node.as_str(), &urls], &times[..], set].concat();
    Stage::start(Setup { set: &set, ..Setup::default() })
}

/// A failure shows the logs.
pub(crate) fn check(stages: &[&Stage], outcome: Result<()>) {
    if let Err(error) = outcome {
        let logs: Vec<_> = stages.iter().map(|stage| stage.log()).collect();
        panic!("{error:#}\nlogs of the servers:\n{}", logs.join("\n---\n"));
    }
}

pub(super) fn redis(folder: &Path) -> Redis {
    Redis::alone(folder).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn agents_that_are_ready_by_one_server_are_so_at_all_and_without_the_store_at_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let lines = "targets.alone.concurrency={ limit = 5 }";
    let (first, second) = (server(&redis, 1, &[lines]), server(&redis, 2, &[lines]));
    let (first, second) = (first.unwrap(), second.unwrap());
    let say = |stage: &Stage, count: u32| -> Result<()> {
        let body = json!({ "count": count }).to_string();
        let asked = ("PUT", "/v1/targets/alone/ready_agents");
        let json = [("Content-Type", "application/json"), ("Authorization", "Bearer dev")];
        let reply = http::ask(stage.api, asked, &body, &json)?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(())
    };
    let limit = |stage: &Stage| -> Result<String> {
        let caps: Value = http::get(stage.api, "/v1/caps")?.json()?;
        let caps = caps["items"].as_array().cloned().unwrap_or_default();
        let of = caps.iter().find(|cap| cap["cap"] == "target/alone/concurrency");
        Ok(of.and_then(|cap| cap["limit"].as_str()).unwrap_or_default().to_owned())
    };
    let until = |stage: &Stage, expected: &str| {
        let what = format!("the limit to be {expected}");
        wait_for(&what, Duration::from_secs(10), || Ok((limit(stage)? == expected).then_some(())))
    };
    let mut play = || -> Result<()> {
        say(&first, 0)?;
        until(&second, "0")?;
        is_refused(&second, &mut second.udp()?, "nobody-is-ready", "486 INVITE")?;
        // Whoever speaks last is heard, wherever that is.
        say(&second, 2)?;
        until(&first, "2")?;
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let call = Call::up(&first, &mut caller, &mut target, "somebody-is", &[])?;
        call.end(&mut caller, &mut target)?;
        redis.kill()?;
        say(&first, 1)?;
        ensure!(limit(&first)? == "1", "what it was told itself holds at once");
        wait_for("the other to see it", Duration::from_secs(10), || {
            let health: Value = http::get(second.api, "/healthz")?.json()?;
            Ok((health["hold_store"] == "away").then_some(()))
        })?;
        ensure!(limit(&second)? == "2", "and the other goes by what it knew");
        Ok(())
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn of_calls_to_two_servers_exactly_one_gets_the_last_place_they_share() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, &[ONE_CALL]).unwrap();
    let second = server(&redis, 2, &[ONE_CALL]).unwrap();
    let race = || -> Result<()> {
        let mut callers = Vec::new();
        for n in 0..20 {
            let stage = [&first, &second][n % 2];
            let mut caller = stage.udp()?;
            caller.send(with_body(&caller, &stage.invite(), &format!("race{n}"), &[], SDP))?;
            callers.push(caller);
        }
        let mut targets = [first.target()?, second.target()?];
        let moment = Duration::from_millis(20);
        let taken = wait_for("one of them to call its target", Duration::from_secs(5), || {
            for (n, target) in targets.iter_mut().enumerate() {
                if let Some(invite) = target.hear(moment)? {
                    target.send(response(target, &invite, "200 OK", &[], SDP))?;
                    return Ok(Some(n));
                }
            }
            Ok(None)
        })?;
        let mut answered = 0;
        for (n, caller) in callers.iter_mut().enumerate() {
            let last = wait_for("a final response", Duration::from_secs(5), || {
                let heard = caller.hear(moment)?.and_then(|heard| heard.status());
                Ok(heard.filter(|status| *status >= 200))
            })?;
            ensure!(last == 486 || (last == 200 && n % 2 == taken), "call {n} got {last}");
            answered += u32::from(last == 200);
        }
        ensure!(answered == 1, "{answered} calls were let through");
        Ok(())
    };
    check(&[&first, &second], race());
}

#[test]
fn a_line_that_is_free_again_is_free_for_all_servers() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, &[ONE_LINE, "redis.lease_s=4"]).unwrap();
    let mut second = server(&redis, 2, &[ONE_LINE, "redis.lease_s=4"]).unwrap();
    let mut calls = || -> Result<()> {
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let (mut other, mut others_target) = (second.udp()?, second.target()?);
        let call = Call::up(&first, &mut caller, &mut target, "first", &[])?;
        is_full(&second, &mut other, "beside")?;
        call.end(&mut caller, &mut target)?;
        let call = comes_through(&second, &mut other, &mut others_target, "after")?;
        is_full(&first, &mut caller, "beside2")?;
        // What a server held that is gone is free when its lease is over.
        drop(call);
        second.end(Program::kill)?;
        let call = comes_through(&first, &mut caller, &mut target, "after-a-crash")?;
        call.end(&mut caller, &mut target)?;
        first.is_clean()
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

/// I6: media goes on between carrier and target while their server is started again.
#[test]
fn a_line_stays_taken_over_a_crash_until_one_of_its_parties_hangs_up() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, &[ONE_LINE, "redis.lease_s=4"]).unwrap();
    let mut second = server(&redis, 2, &[ONE_LINE, "redis.lease_s=4"]).unwrap();
    let mut calls = || -> Result<()> {
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let (mut other, mut others_target) = (second.udp()?, second.target()?);
        let mut call = Call::up(&second, &mut other, &mut others_target, "up", &[])?;
        second.restart(Program::kill)?;
        let line = "conc:{default}:target/alone/concurrency";
        let ends_at = || -> Result<f64> {
            let all = redis.ask(&["zrange", line, "0", "-1", "withscores"])?;
            Ok(all.split_whitespace().last().unwrap_or_default().parse()?)
        };
        // Twice the lease of the process that died is over.
        for _ in 0..2 {
            let before = ends_at()?;
            wait_for("the lease to be renewed", Duration::from_secs(5), || {
                Ok((ends_at()? >= before + 2_000.0).then_some(()))
            })?;
        }
        is_full(&first, &mut caller, "at-the-other")?;
        is_full(&second, &mut other, "at-the-next-process")?;
        let held = |stage: &Stage| -> Result<(u64, u64)> {
            let line = api::caps(stage.api)?["target/alone/concurrency"];
            Ok((line.held, line.awaited))
        };
        ensure!(held(&second)? == (1, 1), "{:?}", held(&second)?);

        others_target.send(call.target.next(&others_target, "BYE"))?;
        others_target.expect("200 BYE")?;
        let call = comes_through(&first, &mut caller, &mut target, "after-it")?;
        call.end(&mut caller, &mut target)?;
        wait_for("nothing to be held", Duration::from_secs(2), || {
            Ok((held(&second)? == (0, 0)).then_some(()))
        })?;
        second.is_clean()
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

/// I1: of what is not on disk yet nobody is told, neither the carrier nor Redis.
#[test]
fn an_answer_that_a_crash_keeps_from_the_journal_takes_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    // Facts are on disk after a second, and answers wait for them.
    let slowly = ["journal.linger_ms=1000", "journal.answer_wait_ms=5000"];
    let mut stage = server(&redis, 1, &[&[ONE_CALL], &slowly[..]].concat()).unwrap();
    let mut calls = || -> Result<()> {
        let has = || redis.ask(&["hmget", ONE_CALL_S_KEY, "used", "held"]);
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "lost", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(response(&target, &invite, "200 OK", &[], SDP))?;
        target.expect("ACK")?;
        let give_up = Instant::now() + Duration::from_millis(300);
        while Instant::now() < give_up {
            ensure!(has()? == "1", "{:?} used and held", has()?);
        }
        while let Some(heard) = caller.hear(Duration::ZERO)? {
            ensure!(heard.status() != Some(200), "the answer is on disk");
        }
        stage.restart(Program::kill)?;

        ensure!(has()? == "0", "{:?} used and held", has()?);
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let call = comes_through(&stage, &mut caller, &mut target, "after")?;
        is_full(&stage, &mut stage.udp()?, "beside")?;
        call.end(&mut caller, &mut target)?;
        wait_for("the store to know", Duration::from_secs(5), || {
            Ok((has()? == "1\n0").then_some(()))
        })
    };
    let outcome = calls();
    check(&[&stage], outcome);
}

#[test]
fn money_for_one_call_is_one_call_s_on_all_servers() {
    let cap = r#"targets.alone.caps=[{ metric = "revenue", window = "total", limit = "20.00" }]"#;
    let price = r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#;
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, &[cap, price]).unwrap();
    let second = server(&redis, 2, &[cap, price]).unwrap();
    let calls = || -> Result<()> {
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let (mut other, mut others_target) = (second.udp()?, second.target()?);
        let call = Call::up(&first, &mut caller, &mut target, "too-short", &[])?;
        is_full(&second, &mut other, "beside")?;
        call.end(&mut caller, &mut target)?;
        let call = comes_through(&second, &mut other, &mut others_target, "long-enough")?;
        std::thread::sleep(Duration::from_millis(1_100));
        call.end(&mut other, &mut others_target)?;
        is_full(&first, &mut caller, "after")?;
        let cap = "cap:{default}:target/alone/revenue/total:total";
        wait_for("the store to know", Duration::from_secs(2), || {
            Ok((redis.ask(&["hget", cap, "used"])? == "12500000").then_some(()))
        })
    };
    check(&[&first, &second], calls());
}

#[test]
fn without_redis_calls_go_on_as_far_as_a_server_has_room_of_its_own_and_all_count_afterwards() {
    let cap = r#"targets.alone.caps=[{ metric = "connected", window = "total", limit = 200 }]"#;
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &[cap]).unwrap();
    let mut calls = || -> Result<()> {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(&stage, &mut caller, &mut target, "with", &[])?.end(&mut caller, &mut target)?;
        wait_for("tokens", Duration::from_secs(5), || {
            let metrics = api::metrics(stage.api)?;
            Ok((metrics.get("tollbridge_hold_store_tokens") >= Some(&5.0)).then_some(()))
        })?;

        redis.kill()?;
        let mut through = 0;
        for n in 0..10 {
            let id = format!("without{n}");
            caller.send(with_body(&caller, &stage.invite(), &id, &[], SDP))?;
            let Some(invite) = target.hear(Duration::from_millis(1_500))? else { break };
            through += 1;
            target.send(response(&target, &invite, "200 OK", &[], SDP))?;
            target.expect("ACK")?;
            let mut dialog = Dialog::of_caller(&caller.expect("200 INVITE")?)?;
            caller.send(dialog.ack(&caller))?;
            caller.send(dialog.next(&caller, "BYE"))?;
            caller.expect("200 BYE")?;
            let bye = target.expect("BYE")?;
            target.send(response(&target, &bye, "200 OK", &[], ""))?;
        }
        ensure!(through == 5, "{through} calls went through without Redis");
        let ready = http::get(stage.api, "/readyz")?;
        let told: Value = ready.json()?;
        ensure!(told["status"] == "ready" && told["hold_store"] == "away", "{told}");
        let call = api::calls(stage.api)?.into_iter().find(|call| call.state == "closed");
        ensure!(call.is_some(), "there are records");

        redis.restart()?;
        let call = comes_through(&stage, &mut caller, &mut target, "with-again")?;
        call.end(&mut caller, &mut target)?;
        // It had forgotten all of them.
        wait_for("all to be counted", Duration::from_secs(5), || {
            let used = redis.ask(&["hget", ONE_CALL_S_KEY, "used"])?;
            Ok((used == (through + 2).to_string()).then_some(()))
        })?;
        stage.is_clean()
    };
    let outcome = calls();
    check(&[&stage], outcome);
}

#[test]
fn a_cap_says_whether_calls_go_on_without_redis() {
    for (down, goes_on) in [("open", true), ("closed", false)] {
        let cap = format!(
            r#"targets.alone.caps=[{{ metric = "connected", window = "total", limit = 900,
               on_store_down = "{down}" }}]"#
        );
        let folder = tempfile::tempdir().unwrap();
        let mut redis = redis(folder.path());
        let stage = server(&redis, 1, &[&cap]).unwrap();
        let mut calls = || -> Result<()> {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            let call = Call::up(&stage, &mut caller, &mut target, "with", &[])?;
            call.end(&mut caller, &mut target)?;
            redis.kill()?;
            caller.send(with_body(&caller, &stage.invite(), "without", &[], SDP))?;
            if !goes_on {
                return caller.expect("486 INVITE").map(drop);
            }
            Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)
        };
        let outcome = calls();
        check(&[&stage], outcome);
    }
}

/// I9: a lease was over while its call went on, and another has had its room.
#[test]
fn a_buyer_that_is_taken_beyond_its_credit_is_counted_by_the_server_that_took_it() {
    let credit = [
        r#"buyers.tests.credit={ limit = "20.00" }"#,
        r#"targets.alone.conversion={ seconds = 1, revenue = "12.50" }"#,
    ];
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, &credit).unwrap();
    let second = server(&redis, 2, &credit).unwrap();
    let calls = || -> Result<()> {
        let found = |stage: &Stage| -> Result<[f64; 2]> {
            let series = api::series(stage.api)?;
            let of = |inv| format!("tollbridge_invariant_violations_total{{inv=\"{inv}\"}}");
            Ok(["I5", "I9"].map(|inv| series.get(&of(inv)).copied().unwrap_or(f64::NAN)))
        };
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let (mut other, mut others_target) = (second.udp()?, second.target()?);
        let one = Call::up(&first, &mut caller, &mut target, "one", &[])?;
        let hold = redis.ask(&["keys", "hold:{default}:*"])?;
        redis.ask(&["hset", &hold, "st", "expired"])?;
        let credit = "cap:{default}:buyer/tests/credit:total";
        ensure!(redis.ask(&["hincrby", credit, "held", "-12500000"])? == "0");
        let another = Call::up(&second, &mut other, &mut others_target, "another", &[])?;
        ensure!(found(&first)? == [0.0, 0.0] && found(&second)? == [0.0, 0.0]);

        std::thread::sleep(Duration::from_millis(1_100));
        one.end(&mut caller, &mut target)?;
        wait_for("it to be found", Duration::from_secs(5), || {
            Ok((found(&first)? == [1.0, 1.0]).then_some(()))
        })?;
        another.end(&mut other, &mut others_target)?;
        wait_for("all to be counted", Duration::from_secs(5), || {
            Ok((redis.ask(&["hget", credit, "used"])? == "25000000").then_some(()))
        })?;
        ensure!(found(&second)? == [0.0, 0.0], "what it took it had room for");
        Ok(())
    };
    check(&[&first, &second], calls());
}

#[test]
fn a_deposit_at_one_server_is_credit_at_all_and_outlives_a_redis_that_lost_it() {
    let credit = [
        r#"buyers.tests.credit={ limit = "0.00" }"#,
        r#"targets.alone.conversion={ seconds = 3600, revenue = "12.50" }"#,
        "redis.lease_s=4",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let mut first = server(&redis, 1, &credit).unwrap();
    let second = server(&redis, 2, &credit).unwrap();
    let mut calls = || -> Result<()> {
        let deposit = |stage: &Stage, key: &str, amount: &str, all: &str, repeated: bool| {
            let told = deposit_of(stage, key, amount)?.json::<Value>()?;
            let is_it = told["deposited"] == all && told["repeated"] == repeated;
            ensure!(is_it, "{key} {amount}: {told}");
            Ok(())
        };
        let (mut other, mut others_target) = (second.udp()?, second.target()?);
        is_refused(&second, &mut other, "nothing-deposited", "480 INVITE")?;
        deposit(&first, "one", "20.00", "20.00", false)?;
        deposit(&second, "one", "20.00", "20.00", true)?;
        let conflict = deposit_of(&second, "one", "20.01")?;
        ensure!(conflict.status == 409, "{conflict:?}");
        let call = credited(&second, &mut other, &mut others_target, "paid-for")?;
        is_refused(&second, &mut other, "beside", "480 INVITE")?;
        call.end(&mut other, &mut others_target)?;
        deposit(&second, "two", "5.00", "25.00", false)?;

        // It has forgotten all of them, and one who knew half of them ends.
        redis.restart()?;
        first.restart(Program::kill)?;
        wait_for("the store", Duration::from_secs(15), || {
            let open = [&first, &second].map(|stage| -> Result<bool> {
                let told: Value = http::get(stage.api, "/readyz")?.json()?;
                Ok(told["hold_store"] == "open")
            });
            let [first, second] = open;
            Ok((first? && second?).then_some(()))
        })?;
        deposit(&first, "two", "5.00", "25.00", true)?;
        deposit(&second, "one", "20.00", "25.00", true)?;
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        let one = credited(&first, &mut caller, &mut target, "half-of-all")?;
        let both = credited(&second, &mut other, &mut others_target, "all-of-it")?;
        is_refused(&second, &mut other, "more-than-all", "480 INVITE")?;
        one.end(&mut caller, &mut target)?;
        both.end(&mut other, &mut others_target)?;

        // Whether another server has it nobody can say.
        redis.kill()?;
        deposit(&first, "one", "20.00", "25.00", true)?;
        let unknown = deposit_of(&first, "three", "1.00")?;
        ensure!(unknown.status == 503, "{unknown:?}");
        Ok(())
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

/// A call that waits for credit from elsewhere to be seen, a second at most, and for what was held to
/// be given back.
fn credited(stage: &Stage, caller: &mut Line, target: &mut Line, call_id: &str) -> Result<Call> {
    let mut tries = 0;
    wait_for("credit", Duration::from_secs(10), || {
        tries += 1;
        let id = format!("{call_id}-{tries}");
        caller.send(with_body(caller, &stage.invite(), &id, &[], SDP))?;
        let give_up = Instant::now() + Duration::from_millis(300);
        while let Some(heard) = caller.hear(give_up.saturating_duration_since(Instant::now()))? {
            if heard.status().is_some_and(|it| it >= 300) && heard.text.contains(&id) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    Call::answered(caller, target)
}

#[test]
fn limits_are_shared_over_tls_with_a_user_who_may_do_no_more_than_that() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let (redis, port) =
        Redis::encrypted(folder.path(), &ours).unwrap_or_else(|error| panic!("{error:#}"));
    let user = "on >a-secret ~*:{default}:* ~*:{default/*}* +@read +@write +time +eval +evalsha \
                +script|load +info";
    let made =
        [&["acl", "setuser", "edge"][..], &user.split_whitespace().collect::<Vec<_>>()].concat();
    assert_eq!(redis.ask(&made).unwrap(), "OK");
    let shown = ours.issue(&["edge.example"]);
    let file = |field: &str, path: &Path| format!("redis.{field}={:?}", path.display().to_string());
    let urls = format!("redis.urls=[\"rediss://127.0.0.1:{port}\"]");
    let fields = [
        urls.as_str(),
        "redis.username=\"edge\"",
        "redis.password=\"a-secret\"",
        &file("client_cert", &shown.chain),
        &file("client_key", &shown.key),
    ];
    let trusting = |authority: &Authority, node: u32| {
        let ca = file("extra_ca", &authority.file);
        server(&redis, node, &[&fields[..], &[&ca, ONE_CALL]].concat())
    };
    let first = trusting(&ours, 1).unwrap();
    let calls = || -> Result<()> {
        let (mut caller, mut target) = (first.udp()?, first.target()?);
        Call::up(&first, &mut caller, &mut target, "encrypted", &[])?
            .end(&mut caller, &mut target)?;
        is_full(&first, &mut caller, "one-too-many")?;
        ensure!(redis.ask(&["hget", ONE_CALL_S_KEY, "used"])? == "1", "it was told");
        let said = json!({ "campaign": "alone", "caller_id": "+16145550188" });
        ping(&first, &said)?;
        let metrics = api::metrics(first.api)?;
        ensure!(metrics.get("tollbridge_session_store_lookup_seconds_count") > Some(&0.0));
        let faults = metrics.get("tollbridge_session_store_faults_total");
        ensure!(faults.is_none_or(|it| *it == 0.0), "it may do what it has to: {faults:?}");
        first.is_clean()
    };
    check(&[&first], calls());

    // Somebody else is there.
    let stranger = trusting(&Authority::new(folder.path(), "theirs"), 2).unwrap();
    let told: Value = http::get(stranger.api, "/readyz").unwrap().json().unwrap();
    assert_eq!((&told["status"], &told["hold_store"]), (&"ready".into(), &"away".into()), "{told}");
    assert!(stranger.log().contains("invalid peer certificate"), "{}", stranger.log());
}

#[test]
fn a_reload_reads_the_files_again_that_the_store_is_known_by() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let (mut redis, port) =
        Redis::encrypted(folder.path(), &ours).unwrap_or_else(|error| panic!("{error:#}"));
    let shown = ours.issue(&["edge.example"]);
    let file = |field: &str, path: &Path| format!("redis.{field}={:?}", path.display().to_string());
    let fields = [
        format!("redis.urls=[\"rediss://127.0.0.1:{port}\"]"),
        file("extra_ca", &ours.file),
        file("client_cert", &shown.chain),
        file("client_key", &shown.key),
    ];
    // With a short lease it looks often whether the store is there.
    let more = [ONE_CALL, "redis.lease_s=4"];
    let fields: Vec<&str> = fields.iter().map(String::as_str).chain(more).collect();
    let stage = server(&redis, 1, &fields).unwrap();
    let is = |state: &str| {
        wait_for(&format!("the store to be {state}"), Duration::from_secs(15), || {
            let told: Value = http::get(stage.api, "/readyz")?.json()?;
            Ok((told["hold_store"] == state).then_some(()))
        })
    };
    let reload = || {
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        anyhow::Ok((reply.status, reply.body))
    };
    let mut plot = || -> Result<()> {
        is("open")?;
        // Another authority vouches for the store from now on, and asks for its own certificates.
        let theirs = Authority::new(folder.path(), "theirs");
        theirs.issue(&["127.0.0.1"]);
        std::fs::copy(&theirs.file, &ours.file)?;
        std::fs::write(&shown.key, "no key")?;
        redis.restart()?;
        is("away")?;
        let (status, told) = reload()?;
        ensure!(status == 422 && told.contains("redis.client_key"), "{status}: {told}");
        is("away")?;

        theirs.issue(&["edge.example"]);
        let (status, told) = reload()?;
        ensure!(status == 200, "{status}: {told}");
        is("open")?;
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(&stage, &mut caller, &mut target, "renewed", &[])?
            .end(&mut caller, &mut target)?;
        is_full(&stage, &mut caller, "one-too-many")?;
        stage.is_clean()
    };
    let outcome = plot();
    check(&[&stage], outcome);
}

/// A call is refused until what stood in its way is known to be gone.
fn comes_through(
    stage: &Stage,
    caller: &mut Line,
    target: &mut Line,
    call_id: &str,
) -> Result<Call> {
    let mut tries = 0;
    wait_for("a call to come through", Duration::from_secs(15), || {
        tries += 1;
        let id = format!("{call_id}-{tries}");
        caller.send(with_body(caller, &stage.invite(), &id, &[], SDP))?;
        let give_up = Instant::now() + Duration::from_millis(700);
        while let Some(heard) = caller.hear(give_up.saturating_duration_since(Instant::now()))? {
            if heard.status() == Some(486) && heard.text.contains(&id) {
                return Ok(None);
            }
        }
        // Its target is asked.
        Ok(Some(()))
    })?;
    Call::answered(caller, target)
}

/// A further call is refused: there is no room for it.
fn is_full(stage: &Stage, line: &mut Line, call_id: &str) -> Result<()> {
    line.send(with_body(line, &stage.invite(), call_id, &[], SDP))?;
    line.expect("486 INVITE").map(drop)
}
