//! Servers that share sessions and number pools through Redis, and what they do without it (spec/data
//! §3).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tollbridge::server::sessions::redis::KeySpace;

use super::peer::{SDP, with_body};
use super::pressure::Held;
use super::program::Program;
use super::sessions::{call, detail, ping};
use super::shared::{check, redis};
use super::{Call, NUMBER, Setup, Stage};
use crate::support::redis::{Cluster, Redis};
use crate::support::{api, http, wait_for};

const CALLER: &str = "+16145550188";
const FROM: &str = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";

/// Who asks for bids in the form of Retreaver.
pub(super) const BIDS: &str = r#"
[[publishers]]
id = "bright"
payouts = [{ campaign = "bids", amount = "33.20" }]

[[campaigns]]
id = "bids"
publisher = "bright"
numbers = ["+18005550250"]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[dialects]]
id = "retreaver"
dialect = "retreaver"
key = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41"
publisher = "bright"
campaign = "bids"
number = "+18005550250"
"#;
pub(super) const BID_KEY: &str = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41";

/// A pool of so many numbers.
pub(super) fn pool(numbers: u32) -> String {
    let numbers: Vec<_> = (0..numbers).map(|nth| format!("\"+1614555{:04}\"", 200 + nth)).collect();
    format!(
        "[[pools]]\nid = \"pool\"\ncampaign = \"alone\"\npublisher = \"tests\"\n\
         numbers = [{}]\nsession_ttl_s = 600\nquarantine_s = 600\n",
        numbers.join(", ")
    )
}

pub(super) fn server(redis: &Redis, node: u32, more: &str) -> Result<Stage> {
    server_with(&redis.address().to_string(), node, more, &[])
}

pub(crate) fn server_with(address: &str, node: u32, more: &str, set: &[&str]) -> Result<Stage> {
    let node = format!("node.id={node}");
    let urls = format!("redis.urls=[\"redis://{address}\"]");
    // Generous: the machine of a test does other things as well.
    let times = [
        "redis.call_timeout_ms=500",
        "redis.slow_ms=500",
        "redis.timeout_ms=1000",
        "redis.open_after_ms=200",
        "redis.lease_s=20",
        "decision.deadline_ms=8000",
    ];
    let set = [&[node.as_str(), &urls], &times[..], set].concat();
    Stage::start(Setup { set: &set, more, ..Setup::default() })
}

/// Waits until the store of sessions is like this.
pub(super) fn store_is(stage: &Stage, state: &str, within: Duration) -> Result<()> {
    wait_for(&format!("the store to be {state}"), within, || {
        let told: Value = http::get(stage.api, "/healthz")?.json()?;
        Ok((told["session_store"] == state).then_some(()))
    })
}

/// Waits until so many numbers are set apart for the server.
pub(super) fn numbers_apart(stage: &Stage, count: u32) -> Result<()> {
    wait_for("numbers to be set apart", Duration::from_secs(10), || {
        let metrics = api::metrics(stage.api)?;
        let apart = metrics.get("tollbridge_session_store_apart_numbers");
        Ok((apart == Some(&f64::from(count))).then_some(()))
    })
}

#[test]
fn a_caller_who_has_called_one_server_is_known_to_another_and_without_the_store_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let address = redis.address().to_string();
    // Long enough for a slow machine.
    let rules = [
        "campaigns.alone.callers={ repeat_after_s = 60 }",
        "targets.single.dedupe={ after = \"connected\" }",
    ];
    let server = |node| server_with(&address, node, "", &rules);
    let (first, second) = (server(1).unwrap(), server(2).unwrap());
    const SINGLE: &str = "+18005550198";
    let told = |kept: usize| {
        wait_for("the store to be told of the call", Duration::from_secs(5), || {
            let keys = redis.ask(&["keys", "pc:*"])?;
            let Some(key) = keys.split_whitespace().next() else { return Ok(None) };
            let count: usize = redis.ask(&["hlen", key])?.trim().parse()?;
            // Each is told as it begins, and again as more comes of it.
            let before = redis.ask(&["hvals", key])?;
            std::thread::sleep(Duration::from_millis(250));
            Ok((count == kept && redis.ask(&["hvals", key])? == before).then_some(()))
        })
    };
    let prior = |stage: &Stage, call_id: &str| -> Result<Value> {
        let call = detail(stage, call_id)?;
        let id = text(&call["call_id"])?;
        let told: Value = http::get(stage.api, &format!("/v1/calls/{id}/explain"))?.json()?;
        Ok(told["prior_calls"].clone())
    };
    let calls = || -> Result<()> {
        call(&first, NUMBER, "at-first", &[FROM])?;
        told(1)?;
        // Who calls again at once is refused, wherever that is.
        refused(&second, NUMBER, "again-at-second", "486 INVITE")?;
        let known = prior(&second, "again-at-second")?;
        ensure!(known["number"] == 1 && known["partial"] == false, "{known:#}");
        let at_first = detail(&first, "at-first")?;
        ensure!(known["last_connected"]["call_id"] == at_first["call_id"], "{known:#}");
        ensure!(known["targets"] == json!([{ "target": "alone", "calls": 1 }]), "{known:#}");

        // And whom a target has had it has had.
        call(&second, SINGLE, "had", &[FROM])?;
        told(3)?;
        refused(&first, SINGLE, "had-again", "480 INVITE")?;
        let known = prior(&first, "had-again")?;
        ensure!(known["campaign"] == 1 && known["buyers"][0]["calls"] == 2, "{known:#}");

        told(4)
    };
    let checked = calls();
    let mut alone = || -> Result<()> {
        redis.kill()?;
        wait_for("the store to be away", Duration::from_secs(5), || {
            let health: Value = http::get(second.api, "/healthz")?.json()?;
            Ok(health.to_string().contains("away").then_some(()))
        })?;
        refused(&second, NUMBER, "without", "486 INVITE")?;
        let known = prior(&second, "without")?;
        ensure!(known["partial"] == true, "{known:#}");
        Ok(())
    };
    let checked = checked.and_then(|()| alone());
    check(&[&first, &second], checked);
}

/// A call that gets this final response.
fn refused(stage: &Stage, number: &str, call_id: &str, with: &str) -> Result<()> {
    let mut caller = stage.udp()?;
    caller.send(with_body(&caller, &stage.invite_to(number), call_id, &[FROM], SDP))?;
    caller.expect(with).map(drop)
}

#[test]
fn a_session_that_was_opened_at_one_server_is_known_to_calls_at_another() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let pool = pool(4);
    let first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let calls = || -> Result<()> {
        // By its caller, by its number, by its address.
        let said = json!({ "campaign": "alone", "caller_id": CALLER, "zip": "43215" });
        let of_caller = ping(&first, &said)?;
        call(&second, NUMBER, "of-caller", &[FROM])?;
        is_of(&second, "of-caller", "caller_ping", &of_caller)?;

        let lent = ping(&first, &json!({ "pool": "pool" }))?;
        ensure!(lent["number_status"] == "leased", "{lent:#}");
        let number = lent["number"].as_str().context("no number")?;
        call(&second, number, "of-number", &[])?;
        is_of(&second, "of-number", "pool_lease", &lent)?;

        let named = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        for (call_id, address) in [("address", "sip_user"), ("digits", "sip_user_digits")] {
            call(&second, named[address].as_str().context("no address")?, call_id, &[])?;
            is_of(&second, call_id, "address", &named)?;
        }

        // It is shown by any of them.
        for (path, id) in [("pings", &of_caller["ping_id"]), ("sessions", &lent["session_id"])] {
            let shown = http::get(second.api, &format!("/v1/{path}/{}", text(id)?))?;
            ensure!(shown.status == 200, "{}: {}", shown.status, shown.body);
        }
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

#[test]
fn servers_lend_no_number_twice_and_one_that_starts_again_knows_what_it_has_lent() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let pool = pool(6);
    let mut first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let mut pings = || -> Result<()> {
        let mut lent = BTreeSet::new();
        for nth in 0..4 {
            let stage = if nth % 2 == 0 { &first } else { &second };
            let session = ping(stage, &json!({ "pool": "pool" }))?;
            ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
        }
        for stage in [&first, &second] {
            wait_for("what both were asked for", Duration::from_secs(8), || {
                let pools: Value = http::get(stage.api, "/v1/pools")?.json()?;
                let told = &pools["items"][0]["last_24h"];
                Ok(((&told["asked"], &told["min_free"]) == (&json!(4), &json!(2))).then_some(()))
            })?;
        }
        // The store forgets it all while a server is away that knows the half of it.
        first.end(Program::kill)?;
        redis.ask(&["flushall"])?;
        first.serve()?;
        wait_for("the rest to be lent", Duration::from_secs(15), || {
            for stage in [&first, &second] {
                let session = ping(stage, &json!({ "pool": "pool" }))?;
                if session["number_status"] == "leased" {
                    ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
                }
            }
            Ok((lent.len() == 6).then_some(()))
        })?;
        let none_left = ping(&second, &json!({ "pool": "pool" }))?;
        ensure!(none_left["number_status"] == "exhausted", "{none_left:#}");
        wait_for("the pool to be seen empty", Duration::from_secs(8), || {
            let pools: Value = http::get(second.api, "/v1/pools")?.json()?;
            Ok((pools["items"][0]["free"] == 0).then_some(()))
        })
    };
    let outcome = pings();
    check(&[&first, &second], outcome);
}

#[test]
fn a_visitor_is_kept_and_let_go_at_any_server() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let pool = pool(4);
    let first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let visits = || -> Result<()> {
        let visit = json!({ "type": "form", "campaign": "alone", "pool": "pool",
                            "visitor_id": "v1", "want": "number" });
        let visit_at = |stage: &Stage| -> Result<Value> {
            let reply = http::post(stage.api, "/v1/sessions", &visit.to_string())?;
            ensure!(reply.status == 200 || reply.status == 201, "{reply:?}");
            reply.json()
        };
        let opened = visit_at(&first)?;
        let again = visit_at(&second)?;
        ensure!(again["session_id"] == opened["session_id"], "{again:#}");
        ensure!(again["number"] == opened["number"], "{again:#} {opened:#}");

        let path = format!("/v1/sessions/{}", text(&opened["session_id"])?);
        let told = json!({ "tags": { "color": "red" } }).to_string();
        let kept = http::post(second.api, &format!("{path}:heartbeat"), &told)?;
        ensure!(kept.status == 200, "{kept:?}");
        let kept: Value = kept.json()?;
        ensure!(kept["number"] == opened["number"], "{kept:#}");
        let shown: Value = http::get(first.api, &path)?.json()?;
        ensure!(shown["expires_at"] == kept["expires_at"], "{shown:#} {kept:#}");

        let released = http::post(second.api, &format!("{path}:release"), "{}")?;
        ensure!(released.status == 200, "{released:?}");
        let released: Value = released.json()?;
        let shown: Value = http::get(first.api, &path)?.json()?;
        ensure!(shown["expires_at"] == released["expires_at"], "{shown:#} {released:#}");
        ensure!(shown["expires_at"] != kept["expires_at"], "it ends sooner");
        Ok(())
    };
    let outcome = visits();
    check(&[&first, &second], outcome);
}

#[test]
fn a_session_is_used_once_whichever_servers_its_calls_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let first = server(&redis, 1, "").unwrap();
    let second = server(&redis, 2, "").unwrap();
    let calls = || -> Result<()> {
        let said = json!({ "campaign": "alone", "caller_id": CALLER });
        let session = ping(&first, &said)?;
        call(&second, NUMBER, "one", &[FROM])?;
        is_of(&second, "one", "caller_ping", &session)?;
        let path = format!("/v1/pings/{}", text(&session["ping_id"])?);
        let shown = wait_for("the session to be used", Duration::from_secs(5), || {
            let shown: Value = http::get(first.api, &path)?.json()?;
            Ok((!shown["consumed_at"].is_null()).then_some(shown))
        })?;
        call(&first, NUMBER, "two", &[FROM])?;
        is_of(&first, "two", "caller_ping", &session)?;
        let later: Value = http::get(second.api, &path)?.json()?;
        ensure!(later["consumed_at"] == shown["consumed_at"], "{later:#} {shown:#}");
        Ok(())
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

#[test]
fn without_redis_calls_are_matched_and_numbers_lent_by_what_a_server_has_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let pool = pool(32);
    let first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let mut calls = || -> Result<()> {
        for stage in [&first, &second] {
            numbers_apart(stage, 2)?;
        }
        let own = ping(&first, &json!({ "pool": "pool" }))?;
        let others = ping(&second, &json!({ "pool": "pool" }))?;
        redis.kill()?;

        // Each has numbers that the other does not lend.
        let mut lent: BTreeSet<String> = [text(&own["number"])?, text(&others["number"])?].into();
        let mut opened = vec![];
        for stage in [&first, &second, &first, &second] {
            let session = ping(stage, &json!({ "pool": "pool" }))?;
            ensure!(session["number_status"] == "leased", "{session:#}");
            ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
            opened.push(session);
        }
        let none = ping(&first, &json!({ "pool": "pool" }))?;
        ensure!(none["number_status"] == "exhausted", "{none:#}");

        // What this server has opened it finds, and what it has not goes by its number.
        for (session, call_id) in [(&own, "own"), (&opened[0], "meanwhile")] {
            call(&first, &text(&session["number"])?, call_id, &[])?;
            is_of(&first, call_id, "pool_lease", session)?;
        }
        call(&first, &text(&others["number"])?, "others", &[])?;
        let found = detail(&first, "others")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        ensure!(found["campaign"] == "alone" && found["publisher"] == "tests", "{found:#}");
        ensure!(lookups_without(&first)? >= 3.0, "they are counted");
        let health: Value = http::get(first.api, "/healthz")?.json()?;
        ensure!(health["session_store"] == "away", "{health}");

        // It is back, with nothing: all that was opened is known to all.
        redis.restart()?;
        for stage in [&first, &second] {
            store_is(stage, "open", Duration::from_secs(15))?;
        }
        let before = lookups_without(&first)?;
        for (nth, session) in opened.iter().chain([&own, &others]).enumerate() {
            for (name, stage) in [("first", &first), ("second", &second)] {
                let (call_id, number) = (format!("{name}-{nth}"), text(&session["number"])?);
                call(stage, &number, &call_id, &[])?;
                is_of(stage, &call_id, "pool_lease", session)?;
            }
        }
        ensure!(lookups_without(&first)? == before, "they ask again");
        for _ in 0..6 {
            let session = ping(&second, &json!({ "pool": "pool" }))?;
            if session["number_status"] == "leased" {
                ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
            }
        }
        first.is_clean()?;
        second.is_clean()
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

#[test]
fn without_redis_and_the_call_records_calls_and_pings_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let stage = server(&redis, 1, &pool(32)).unwrap();
    let mut calls = || -> Result<()> {
        numbers_apart(&stage, 2)?;
        let book = Held::of(&stage)?;
        redis.kill()?;
        let lent = ping(&stage, &json!({ "pool": "pool" }))?;
        ensure!(lent["number_status"] == "leased", "{lent:#}");
        // Their records come later.
        for (call_id, number) in [("lent", text(&lent["number"])?), ("static", NUMBER.to_owned())] {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            caller.send(with_body(&caller, &stage.invite_to(&number), call_id, &[], SDP))?;
            Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)?;
        }
        redis.restart()?;
        drop(book);
        for call_id in ["lent", "static"] {
            let found = detail(&stage, call_id)?;
            ensure!(found["state"] != "open", "{found:#}");
        }
        is_of(&stage, "lent", "pool_lease", &lent)?;
        stage.is_clean()
    };
    let outcome = calls();
    check(&[&stage], outcome);
}

/// Redis dies under load and comes back with nothing: every call is answered, every ping has its 202.
#[test]
fn calls_and_pings_go_on_while_redis_dies_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let pool = pool(200);
    let first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let third = server(&redis, 3, &pool).unwrap();
    let stages = [&first, &second, &third];
    let mut calls = || -> Result<()> {
        let mut lent = BTreeSet::new();
        let (mut with_number, mut after) = (0, 0);
        for turn in 0..130 {
            match turn {
                30 => redis.kill()?,
                50 => redis.restart()?,
                _ => {}
            }
            let (opener, taker) = (stages[turn % 3], stages[(turn + 1) % 3]);
            let session = ping(opener, &json!({ "pool": "pool" }))?;
            if session["number_status"] == "leased" {
                let number = text(&session["number"])?;
                ensure!(lent.insert(number.clone()), "turn {turn}: {session:#} of {lent:?}");
                with_number += 1;
                call(taker, &number, &format!("turn-{turn}"), &[])?;
            }
            call(opener, NUMBER, &format!("static-{turn}"), &[])?;
            if turn > 50 {
                std::thread::sleep(Duration::from_millis(50));
                let health: Value = http::get(opener.api, "/healthz")?.json()?;
                after += u32::from(health["session_store"] == "open");
            }
        }
        ensure!(with_number > 60, "{with_number} pings had a number");
        ensure!(after > 0, "the store is back");
        stages.iter().try_for_each(|stage| stage.is_clean())
    };
    let outcome = calls();
    check(&stages, outcome);
}

#[test]
fn a_server_that_is_cut_off_lends_what_nobody_else_does_and_tells_it_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let pool = pool(32);
    let user = ["acl", "setuser", "edge", "on", ">secret", "~*", "+@all"];
    assert_eq!(redis.ask(&user).unwrap(), "OK");
    let first = server(&redis, 1, &pool).unwrap();
    let more = ["redis.username=edge", "redis.password=secret"];
    let cut_off = server_with(&redis.address().to_string(), 2, &pool, &more).unwrap();
    let calls = || -> Result<()> {
        numbers_apart(&cut_off, 2)?;
        redis.ask(&["acl", "setuser", "edge", "off"])?;
        redis.ask(&["client", "kill", "user", "edge"])?;
        let mut lent = BTreeSet::new();
        let mut there = vec![];
        for stage in [&cut_off, &first, &cut_off, &first, &first] {
            let session = ping(stage, &json!({ "pool": "pool" }))?;
            ensure!(session["number_status"] == "leased", "{session:#}");
            ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
            there.push(session);
        }
        redis.ask(&["acl", "setuser", "edge", "on"])?;
        store_is(&cut_off, "open", Duration::from_secs(10))?;
        for (nth, session) in there.iter().enumerate() {
            let (call_id, number) = (format!("call-{nth}"), text(&session["number"])?);
            wait_for("the session to be told", Duration::from_secs(5), || {
                let path = format!("/v1/sessions/{}", text(&session["session_id"])?);
                Ok((http::get(first.api, &path)?.status == 200).then_some(()))
            })?;
            let stage = if nth % 2 == 0 { &first } else { &cut_off };
            call(stage, &number, &call_id, &[])?;
            is_of(stage, &call_id, "pool_lease", session)?;
        }
        Ok(())
    };
    let outcome = calls();
    check(&[&first, &cut_off], outcome);
}

/// The store shows sessions, and takes no word of what becomes of them.
#[test]
fn a_first_use_that_the_store_does_not_hear_of_is_told_when_it_listens_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = redis(folder.path());
    let user = ["acl", "setuser", "edge", "on", ">secret", "~*", "+@all"];
    assert_eq!(redis.ask(&user).unwrap(), "OK");
    let first = server(&redis, 1, "").unwrap();
    let more = ["redis.username=edge", "redis.password=secret"];
    let second = server_with(&redis.address().to_string(), 2, "", &more).unwrap();
    let calls = || -> Result<()> {
        let here = ping(&second, &json!({ "campaign": "alone", "caller_id": CALLER }))?;
        let elsewhere = ping(&first, &json!({ "campaign": "alone", "sip_ok": true }))?;
        let status = |session: &Value| -> Result<String> {
            let path = format!("/v1/pings/{}", text(&session["ping_id"])?);
            text(&http::get(first.api, &path)?.json::<Value>()?["status"])
        };
        redis.ask(&["acl", "setuser", "edge", "-eval", "-evalsha", "-script"])?;

        call(&second, NUMBER, "here", &[FROM])?;
        is_of(&second, "here", "caller_ping", &here)?;
        call(&second, &text(&elsewhere["sip_user"])?, "elsewhere", &[])?;
        is_of(&second, "elsewhere", "address", &elsewhere)?;
        for session in [&here, &elsewhere] {
            ensure!(status(session)? == "live", "{session:#} is used, and nobody could say so");
        }

        redis.ask(&["acl", "setuser", "edge", "+@all"])?;
        for session in [&here, &elsewhere] {
            wait_for("the use to be told", Duration::from_secs(5), || {
                Ok((status(session)? == "consumed").then_some(()))
            })?;
        }
        // By the time that a later call comes.
        call(&first, &text(&elsewhere["sip_user"])?, "again", &[])?;
        is_of(&first, "again", "address", &elsewhere)?;
        second.is_clean()?;
        first.is_clean()
    };
    let outcome = calls();
    check(&[&first, &second], outcome);
}

#[test]
fn a_number_is_shown_as_all_servers_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let pool = pool(1) + &format!("overflow_number = \"{NUMBER}\"\n");
    let first = server(&redis, 1, &pool).unwrap();
    let second = server(&redis, 2, &pool).unwrap();
    let mut pings = || -> Result<()> {
        let shown = |number: &str| -> Result<Value> {
            http::get(second.api, &format!("/v1/numbers/{number}"))?.json()
        };
        let lent = ping(&first, &json!({ "pool": "pool" }))?;
        ensure!(lent["number_status"] == "leased", "{lent:#}");
        let shared = ping(&first, &json!({ "pool": "pool" }))?;
        ensure!(shared["number_status"] == "shared", "{shared:#}");
        let (number, overflow) = (text(&lent["number"])?, text(&shared["number"])?);
        let its = shown(&number)?;
        ensure!(its["session"] == lent["session_id"], "{its:#}");
        ensure!(its["leased_until"].is_string() && its["history"] == json!([]), "{its:#}");
        ensure!(shown(&overflow)?["sharing"] == 1, "{:#}", shown(&overflow)?);

        let path = format!("/v1/sessions/{}:release", text(&lent["session_id"])?);
        ensure!(http::post(first.api, &path, "")?.status < 300);
        let visitor = json!({ "pool": "pool", "visitor_id": "v1" });
        ensure!(http::post(second.api, "/v1/sessions", &visitor.to_string())?.status == 201);
        ensure!(shown(&overflow)?["sharing"] == 2, "{:#}", shown(&overflow)?);

        // What it knows itself: it has lent that number to nobody.
        redis.kill()?;
        let own = shown(&number)?;
        ensure!(own["session"].is_null(), "{own:#}");
        Ok(())
    };
    let outcome = pings();
    check(&[&first, &second], outcome);
}

#[test]
fn pings_go_on_while_the_master_of_a_cluster_that_has_their_pool_dies() {
    let mut cluster = Cluster::start().unwrap();
    let pool = pool(64);
    let seeds: Vec<_> = cluster.seeds().iter().map(|it| format!("redis://{it}")).collect();
    let seeds = seeds.join("\",\"");
    let start = |node| server_with(seeds.trim_start_matches("redis://"), node, &pool, &[]);
    let (first, second) = (start(1).unwrap(), start(2).unwrap());
    let mut pings = || -> Result<()> {
        let (mut lent, mut opened) = (BTreeSet::new(), vec![]);
        let began = Instant::now();
        for turn in 0.. {
            ensure!(began.elapsed() < Duration::from_secs(30), "{} had a number", opened.len());
            if opened.len() == 30 {
                break;
            }
            if turn == 10 {
                let slot = KeySpace::new("default").slot_of_pool(&"pool".into());
                let master = cluster.master_of(slot)?;
                cluster.nodes[master].kill()?;
            }
            let stage = if turn % 2 == 0 { &first } else { &second };
            let session = ping(stage, &json!({ "pool": "pool" }))?;
            if session["number_status"] == "leased" {
                ensure!(lent.insert(text(&session["number"])?), "{session:#} of {lent:?}");
                opened.push(session);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        for stage in [&first, &second] {
            store_is(stage, "open", Duration::from_secs(15))?;
        }
        for (nth, session) in opened.iter().enumerate() {
            let stage = if nth % 3 == 0 { &first } else { &second };
            let (call_id, number) = (format!("call-{nth}"), text(&session["number"])?);
            call(stage, &number, &call_id, &[])?;
            is_of(stage, &call_id, "pool_lease", session)?;
        }
        Ok(())
    };
    let outcome = pings();
    check(&[&first, &second], outcome);
}

/// Calls that were matched without the store.
pub(super) fn lookups_without(stage: &Stage) -> Result<f64> {
    let counted = api::series(stage.api)?;
    let name = r#"tollbridge_session_store_local_total{what="lookup"}"#;
    Ok(counted.get(name).copied().unwrap_or_default())
}

/// The call was the session's, and was found to be by this.
pub(super) fn is_of(stage: &Stage, call_id: &str, method: &str, session: &Value) -> Result<()> {
    let found = detail(stage, call_id)?;
    ensure!(found["match_method"] == method, "{call_id}: {found:#}");
    ensure!(found["session_id"] == session["session_id"], "{call_id}: {found:#}");
    Ok(())
}

pub(super) fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"))
}
