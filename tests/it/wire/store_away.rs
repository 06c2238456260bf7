//! What is said and done about sessions of other servers while the store that they share does not answer
//! (spec/data §3.5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tollbridge::server::sessions::redis::KeySpace;

use super::peer::{SDP, with_body};
use super::program::Program;
use super::sessions::{call, detail, ping};
use super::shared::{check, redis};
use super::shared_sessions::{BID_KEY, is_of, lookups_without, pool, server_with, store_is, text};
use super::{Call, NUMBER, Stage};
use crate::support::redis::{Cluster, Redis};
use crate::support::{http, wait_for};

const TOKEN: &str = "a token of sixteen or more";
const DOORS: &str = r#"
[[dialects]]
id = "retreaver"
dialect = "retreaver"
key = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41"
publisher = "tests"
campaign = "alone"

[[dialects]]
id = "trackdrive"
dialect = "trackdrive"
key = "my_endpoint"
token = "a token of sixteen or more"
publisher = "tests"
campaign = "alone"
"#;
const CALLER: &str = "+16145550188";
/// Nobody pings for it.
const STAND_IN: &str = "+18005550260";
const OTHERS: &str = r#"
[[campaigns]]
id = "others"
publisher = "tests"
numbers = ["+18005550260"]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }
"#;

fn start(redis: &Redis, node: u32, more: &str, set: &[&str]) -> Stage {
    server_with(&redis.address().to_string(), node, more, set).unwrap()
}

fn is(stage: &Stage, state: &str) -> Result<()> {
    store_is(stage, state, Duration::from_secs(15))
}

/// Without a pool and a call nothing is asked of it, but who keeps what, every 15 s.
#[test]
fn that_the_store_has_gone_is_seen_though_nobody_calls() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = start(&redis, 1, "", &[]);
    let mut play = || -> Result<()> {
        is(&stage, "open")?;
        redis.kill()?;
        store_is(&stage, "away", Duration::from_secs(8))?;
        redis.restart()?;
        is(&stage, "open")
    };
    check(&[&stage], play());
}

#[test]
fn a_session_of_another_server_is_not_over_because_the_store_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let more = pool(4) + DOORS;
    let payout = [
        "account.sip_host=sip.example.com",
        r#"targets.alone.conversion={ seconds = 90, revenue = "41.50" }"#,
        r#"publishers.tests.payouts=[{ campaign = "alone", amount = "33.20" }]"#,
    ];
    let (first, second) = (start(&redis, 1, &more, &payout), start(&redis, 2, &more, &payout));
    let mut play = || -> Result<()> {
        let visit = json!({ "pool": "pool", "visitor_id": "v1" });
        let visit = http::post(first.api, "/v1/sessions", &visit.to_string())?;
        ensure!(visit.status == 201, "{visit:?}");
        let id = text(&visit.json::<Value>()?["session_id"])?;
        let opened = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let reserved = {
            let ask = json!({ "key": BID_KEY, "caller_number": "+16145550188" });
            let priced = http::post(first.api, "/rtbs.json", &ask.to_string())?;
            text(&priced.json::<Value>()?["uuid"])?
        };
        let put = |stage: &Stage| -> Result<Value> {
            let confirm = json!({ "key": BID_KEY, "status": "confirmed" }).to_string();
            let asked = ("PUT", &*format!("/rtbs/{reserved}.json"));
            http::ask(stage.api, asked, &confirm, &[("Content-Type", "application/json")])?.json()
        };
        let base = "/api/v1/inbound_webhooks";
        let ask = json!({ "auth_token": TOKEN, "caller_id": "+16145550177" });
        let priced = http::post(first.api, &format!("{base}/ping/my_endpoint"), &ask.to_string())?;
        let named = priced.json::<Value>()?["try_all_buyers_ping_id"].clone();
        let ask = json!({
            "auth_token": TOKEN, "caller_id": "+16145550177", "ping_id": named,
        });
        let post = |stage: &Stage| -> Result<Value> {
            http::post(stage.api, &format!("{base}/post/my_endpoint"), &ask.to_string())?.json()
        };
        let paths = [
            ("GET", format!("/v1/sessions/{id}")),
            ("GET", format!("/v1/pings/{}", text(&opened["ping_id"])?)),
            ("POST", format!("/v1/sessions/{id}:heartbeat")),
            ("POST", format!("/v1/sessions/{id}:release")),
        ];
        let ask = |stage: &Stage, (method, path): &(&str, String)| match *method {
            "GET" => http::get(stage.api, path),
            _ => http::post(stage.api, path, ""),
        };
        let all_answer = |stage: &Stage| -> Result<()> {
            for asked in &paths {
                let reply = ask(stage, asked)?;
                ensure!(reply.status == 200, "{asked:?}: {reply:?}");
            }
            ensure!(put(stage)?["status"] == "confirmed", "{:#}", put(stage)?);
            ensure!(post(stage)?["success"] == true, "{:#}", post(stage)?);
            Ok(())
        };
        all_answer(&first)?;
        all_answer(&second)?;

        redis.kill()?;
        // At once, but for what was just read there, and once the server knows.
        for skipped in [2, 0] {
            for asked in paths.iter().skip(skipped) {
                let reply = ask(&second, asked)?;
                ensure!(reply.status == 503, "{asked:?}: {reply:?}");
                let again: u32 = reply.header("retry-after").context("no time")?.parse()?;
                ensure!((1..=5).contains(&again), "{reply:?}");
                let told: Value = reply.json()?;
                ensure!(told["code"] == "session.store_away", "{asked:?}: {told:#}");
            }
            ensure!(put(&second)?["reason_code"] == "ping.unavailable", "{:#}", put(&second)?);
            let posted = post(&second)?;
            ensure!(posted.to_string().contains("unavailable"), "{posted:#}");
            all_answer(&first)?;
            is(&second, "away")?;
        }
        // Whoever shows no key learns nothing.
        let reply = http::ask(second.api, ("POST", &paths[2].1), "", &[])?;
        ensure!(reply.status == 401, "{reply:?}");

        redis.restart()?;
        is(&first, "open")?;
        is(&second, "open")?;
        all_answer(&second)?;
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn what_an_emptied_store_does_not_know_is_over_once_all_have_had_the_time_to_tell_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let patient = ["redis.open_after_ms=3000"];
    let (mut first, second) =
        (start(&redis, 1, &pool(4), &patient), start(&redis, 2, &pool(4), &patient));
    let mut play = || -> Result<()> {
        let visit = json!({ "pool": "pool", "visitor_id": "v1" });
        let visit = http::post(first.api, "/v1/sessions", &visit.to_string())?;
        let path = format!("/v1/sessions/{}", text(&visit.json::<Value>()?["session_id"])?);
        let asked = || -> Result<[u16; 3]> {
            let beat = http::post(second.api, &format!("{path}:heartbeat"), "")?;
            let release = http::post(second.api, &format!("{path}:release"), "")?;
            Ok([http::get(second.api, &path)?.status, beat.status, release.status])
        };
        ensure!(asked()? == [200; 3], "{:?}", asked()?);

        // Nobody is left who could tell it.
        first.end(Program::kill)?;
        redis.kill()?;
        is(&second, "away")?;
        redis.restart()?;
        is(&second, "open")?;
        ensure!(asked()? == [503; 3], "{:?}", asked()?);
        wait_for("it to be over", Duration::from_secs(10), || {
            Ok((asked()? == [404; 3]).then_some(()))
        })?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

/// Emptied under connections that live on, it says that there is nothing, and nobody has noticed yet.
#[test]
fn nobody_is_told_that_a_session_is_over_in_the_moment_in_which_the_store_has_lost_it() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let stand_in = format!("account.stand_in_number=\"{STAND_IN}\"");
    // Whoever waits for the next look of the other waits for long.
    let set = [&*stand_in, "redis.open_after_ms=8000"];
    let (first, second) = (start(&redis, 1, OTHERS, &set), start(&redis, 2, OTHERS, &set));
    let unknown = format!("/v1/sessions/ses_{}", "0".repeat(32));
    let play = || -> Result<()> {
        for round in 0..3 {
            wait_for("what nobody knows to be over", Duration::from_secs(20), || {
                Ok((http::get(second.api, &unknown)?.status == 404).then_some(()))
            })?;
            let said = json!({ "campaign": "alone", "caller_id": CALLER, "sip_ok": true });
            let session = ping(&first, &said)?;
            let path = format!("/v1/sessions/{}", text(&session["session_id"])?);

            redis.ask(&["flushall"])?;

            match round {
                0 => {
                    let reply = http::post(second.api, &format!("{path}:heartbeat"), "")?;
                    ensure!([200, 503].contains(&reply.status), "{reply:?}");
                }
                1 => {
                    call(&second, &text(&session["sip_user"])?, "named", &[])?;
                    let found = detail(&second, "named")?;
                    let is_its = found["session_id"] == session["session_id"];
                    ensure!(is_its || found["campaign"] == "others", "{found:#}");
                }
                _ => {
                    let from = format!("P-Asserted-Identity: <sip:{CALLER}@127.0.0.1>");
                    call(&second, NUMBER, "its-caller", &[&from])?;
                    let found = detail(&second, "its-caller")?;
                    let is_its = found["session_id"] == session["session_id"];
                    let flags = found["flags"].as_array().context("no flags")?;
                    let is_doubted = flags.contains(&json!("match_degraded"));
                    ensure!(is_its || is_doubted, "{found:#}");
                }
            }
            wait_for("the session to be told again", Duration::from_secs(5), || {
                let reply = http::get(second.api, &path)?;
                ensure!([200, 503].contains(&reply.status), "{reply:?}");
                Ok((reply.status == 200).then_some(()))
            })?;
            let reply = http::get(second.api, &unknown)?;
            ensure!(reply.status == 503, "others may have yet to tell it: {reply:?}");
        }
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn a_call_to_the_address_of_another_server_s_session_is_not_refused_because_the_store_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stand_in = format!("account.stand_in_number=\"{STAND_IN}\"");
    let first = start(&redis, 1, OTHERS, &[&stand_in]);
    let second = start(&redis, 2, OTHERS, &[&stand_in]);
    let none = start(&redis, 3, OTHERS, &[]);
    let mut play = || -> Result<()> {
        let session = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let (user, digits) = (text(&session["sip_user"])?, text(&session["sip_user_digits"])?);
        let mut without = lookups_without(&second)?;
        redis.kill()?;
        // At once, and once the server knows.
        for turn in ["soon", "later"] {
            for (name, user) in [("user", &user), ("digits", &digits)] {
                let call_id = format!("{turn}-{name}");
                call(&second, user, &call_id, &[])?;
                let found = detail(&second, &call_id)?;
                ensure!(found["match_method"] == "static_mapping", "{found:#}");
                ensure!(found["campaign"] == "others", "{found:#}");
                ensure!(found["session_id"].is_null(), "{found:#}");
                ensure!(lookups_without(&second)? > without, "it is counted as one without");
                without = lookups_without(&second)?;
                // Whoever opened it knows it.
                let call_id = format!("{call_id}-own");
                call(&first, user, &call_id, &[])?;
                is_of(&first, &call_id, "address", &session)?;
            }
            is(&second, "away")?;
        }
        // Where nothing is configured for it, it cannot be anybody's.
        let mut caller = none.udp()?;
        caller.send(with_body(&caller, &none.invite_to(&user), "none", &[], SDP))?;
        caller.expect("404 INVITE")?;
        ensure!(detail(&none, "none")?["end_reason"] == "gate.session_unknown");

        redis.restart()?;
        is(&first, "open")?;
        is(&second, "open")?;
        call(&second, &user, "again", &[])?;
        is_of(&second, "again", "address", &session)?;
        // What nobody has ever opened is nobody's, once all have had the time to tell what they know.
        let unknown = "0".repeat(32);
        wait_for("it to be over", Duration::from_secs(10), || {
            let reply = http::get(second.api, &format!("/v1/sessions/ses_{unknown}"))?;
            Ok((reply.status == 404).then_some(()))
        })?;
        let (mut caller, unknown) = (second.udp()?, format!("bid_{unknown}"));
        caller.send(with_body(&caller, &second.invite_to(&unknown), "unknown", &[], SDP))?;
        caller.expect("404 INVITE")?;
        first.is_clean()?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second, &none], played);
}

#[test]
fn while_one_master_of_a_cluster_is_away_the_others_are_told_of_calls_as_before() {
    let cluster = Cluster::start().unwrap();
    for node in &cluster.nodes {
        let user = ["acl", "setuser", "edge", "on", ">secret", "~*", "+@all"];
        assert_eq!(node.ask(&user).unwrap(), "OK");
    }
    let seeds: Vec<_> = cluster.seeds().iter().map(|it| format!("redis://{it}")).collect();
    let seeds = seeds.join("\",\"");
    let set = ["redis.lease_s=4", "redis.username=edge", "redis.password=secret"];
    let stage = server_with(seeds.trim_start_matches("redis://"), 1, &pool(4), &set).unwrap();
    let play = || -> Result<()> {
        let lent = ping(&stage, &json!({ "pool": "pool" }))?;
        let number = text(&lent["number"])?;
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite_to(&number), "long", &[], SDP))?;
        let call = Call::answered(&mut caller, &mut target)?;

        // Another master is there for others alone.
        let its = cluster.master_of(KeySpace::new("default").slot_of_pool(&"pool".into()))?;
        let other = (0..3).find(|place| *place != its).context("another master")?;
        cluster.nodes[other].ask(&["acl", "setuser", "edge", "off"])?;
        cluster.nodes[other].ask(&["client", "kill", "user", "edge"])?;
        is(&stage, "away")?;
        // Longer than a lease.
        std::thread::sleep(Duration::from_secs(6));
        let digits = number.trim_start_matches('+');
        let asked = ["zscore", "np:{default/pool}:pinned", digits];
        let until: i64 = cluster.nodes[its].ask(&asked)?.parse().context("it is pinned")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        ensure!(u128::try_from(until)? > now, "nobody says any more that a call is on the number");

        call.end(&mut caller, &mut target)?;
        is_of(&stage, "long", "pool_lease", &lent)?;
        wait_for("the call to be off the number", Duration::from_secs(5), || {
            Ok(cluster.nodes[its].ask(&asked)?.is_empty().then_some(()))
        })
    };
    let played = play();
    check(&[&stage], played);
}

#[test]
fn a_call_to_an_address_waits_longer_for_a_slow_store_than_a_call_to_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let (first, second) = (start(&redis, 1, "", &[]), start(&redis, 2, "", &[]));
    let play = || -> Result<()> {
        let session = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        // Longer than `redis.call_timeout_ms`, and shorter than three times that.
        ensure!(redis.ask(&["client", "pause", "800", "all"])? == "OK");
        call(&second, &text(&session["sip_user"])?, "slow", &[])?;
        is_of(&second, "slow", "address", &session)?;
        second.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}
