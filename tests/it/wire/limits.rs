//! Limits on calls, as calls meet them: kept apart, in groups, on credit; over a crash too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{Line, SDP, with_body};
use super::program::Program;
use super::{Call, Setup, Stage, play, play_with};
use crate::support::{api, http, wait_for};

#[test]
fn attempts_are_kept_apart_also_over_a_crash() {
    play(&["targets.alone.min_gap_s=3600"], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        first.end(&mut caller, &mut target)?;
        is_refused(stage, &mut other, "too-soon", "486 INVITE")?;

        stage.restart(Program::kill)?;

        is_refused(stage, &mut other, "too-soon-after-a-crash", "486 INVITE")?;
        stage.is_clean()
    });
}

#[test]
fn what_a_rolling_window_has_counted_survives_a_crash() {
    let cap =
        r#"targets.alone.caps=[{ metric = "connected", window = "rolling:86400", limit = 1 }]"#;
    play(&[cap], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        first.end(&mut caller, &mut target)?;

        stage.restart(Program::kill)?;

        is_refused(stage, &mut other, "full-after-a-crash", "486 INVITE")?;
        let caps = http::get(stage.api, "/v1/caps")?.json::<Value>()?;
        let key = "target/alone/connected/rolling:86400";
        let cap = caps["items"].as_array().and_then(|it| it.iter().find(|it| it["cap"] == key));
        let used = cap.map(|cap| (&cap["used"], &cap["held"], &cap["limit"]));
        ensure!(used == Some((&json!("1"), &json!("0"), &json!("1"))), "{caps}");
        stage.is_clean()
    });
}

#[test]
fn a_buyer_that_pays_in_advance_gets_calls_once_it_has_deposited_and_never_more_than_that() {
    let credit = [
        r#"buyers.tests.credit={ limit = "0.00" }"#,
        r#"targets.alone.conversion={ seconds = 3600, revenue = "12.50" }"#,
    ];
    play(&credit, |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        is_refused(stage, &mut other, "nothing-deposited", "480 INVITE")?;
        let told = |repeated: bool| {
            json!({
                "buyer": "tests", "amount": "20.00", "deposited": "20.00", "repeated": repeated,
            })
        };
        let first = deposit(stage, "20.00")?.json::<Value>()?;
        ensure!(first == told(false), "{first}");
        for crash in [false, true] {
            if crash {
                stage.restart(Program::kill)?;
            }
            let again = deposit(stage, "20.00")?.json::<Value>()?;
            ensure!(again == told(true), "{again}");
            let other = deposit(stage, "20.01")?;
            ensure!(other.status == 409, "{}: {}", other.status, other.body);
        }
        let call = Call::up(stage, &mut caller, &mut target, "paid-for", &[])?;
        is_refused(stage, &mut other, "beside", "480 INVITE")?;
        call.end(&mut caller, &mut target)?;
        Ok(())
    });
}

#[test]
fn a_buyer_that_has_no_target_yet_may_deposit() {
    let more = "[[buyers]]\nid = \"later\"\ncredit = { limit = \"5.00\" }\n\
                [[buyers]]\nid = \"unlimited\"\n";
    play_with(Setup { more, ..Setup::default() }, |stage| {
        let first = deposit_to(stage, "later", "one", "7.50")?;
        ensure!(first.status == 201, "{first:?}");
        for buyer in ["unlimited", "nobody"] {
            let refused = deposit_to(stage, buyer, "one", "7.50")?;
            ensure!(refused.status == 404, "{refused:?}");
        }
        stage.restart(Program::kill)?;
        let second = deposit_to(stage, "later", "two", "1.00")?.json::<Value>()?;
        ensure!(second["deposited"] == "8.50", "{second}");
        let repeated = deposit_to(stage, "later", "one", "7.50")?.json::<Value>()?;
        ensure!(repeated["repeated"] == true, "{repeated}");
        let limit = api::caps(stage.api)?.get("buyer/later/credit").map(|cap| cap.limit);
        ensure!(limit == Some(13_500_000), "{limit:?}");
        Ok(())
    });
}

#[test]
fn no_deposit_is_so_large_that_the_book_cannot_add_it_up() {
    play(&[r#"buyers.tests.credit={ limit = "0.00" }"#], |stage| {
        for key in ["vast", "vast-too"] {
            let refused = deposit_of(stage, key, "9000000000000.00")?;
            ensure!(refused.status == 422, "{refused:?}");
        }
        let most = deposit_of(stage, "most", "1000000000.00")?;
        ensure!(most.status == 201, "{most:?}");
        let over = deposit_of(stage, "over", "0.01")?;
        ensure!(over.status == 422 && over.body.contains("too_large"), "{over:?}");

        stage.restart(Program::kill)?;

        let again = deposit_of(stage, "most", "1000000000.00")?.json::<Value>()?;
        ensure!(again["deposited"] == "1000000000.00", "{again}");
        stage.is_clean()
    });
}

#[test]
fn calls_that_came_and_pings_are_counted_also_over_a_crash() {
    let caps = r#"campaigns.alone.caps=[
        { metric = "offered", window = "total", limit = 2 },
        { metric = "pinged", window = "total", limit = 1 },
    ]"#;
    play(&[caps], |stage| {
        let ping = |stage: &Stage, request_id: &str| {
            let body = json!({
                "campaign": "alone", "request_id": request_id, "sip_ok": true,
            });
            http::post(stage.api, "/v1/pings", &body.to_string())
        };
        let first = ping(stage, "first")?;
        ensure!(first.status == 202, "{first:?}");
        for call_id in ["first", "second"] {
            stage.is_well(call_id)?;
        }

        stage.restart(Program::kill)?;

        let mut other = stage.udp()?;
        is_refused(stage, &mut other, "third-after-a-crash", "480 INVITE")?;
        let second = ping(stage, "second")?;
        ensure!(second.body.contains("capped"), "{second:?}");
        stage.is_clean()
    });
}

/// Facts wait for company for a second, in the memory of the process.
#[test]
fn a_call_that_came_is_counted_if_its_server_dies_as_the_invite_leaves() {
    let cap = r#"campaigns.alone.caps=[{ metric = "offered", window = "total", limit = 1 }]"#;
    play(&[cap, "journal.linger_ms=1000"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "first", &[], SDP))?;
        target.expect("INVITE")?;
        stage.restart(Program::kill)?;
        is_refused(stage, &mut stage.udp()?, "second", "480 INVITE")?;
        stage.is_clean()
    });
}

#[test]
fn what_limits_the_account_limits_every_call_and_survives_a_crash() {
    let account = [
        "account.id=harbor",
        "account.name=Harbor Calls",
        "account.currency=EUR",
        "account.time_zone=America/New_York",
        r#"account.caps=[{ metric = "connected", window = "yearly", limit = 2 }]"#,
        "account.concurrency={ limit = 1 }",
    ];
    play(&account, |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        let first = Call::up(stage, &mut caller, &mut target, "first", &[])?;
        is_refused(stage, &mut other, "beside", "486 INVITE")?;
        first.end(&mut caller, &mut target)?;
        stage.is_well("second")?;

        stage.restart(Program::kill)?;

        is_refused(stage, &mut other, "third-after-a-crash", "480 INVITE")?;
        let told = http::get(stage.api, "/v1/account")?.json::<Value>()?;
        let expected = json!({
            "id": "harbor", "name": "Harbor Calls", "currency": "EUR",
            "time_zone": "America/New_York", "config_rev": 1,
        });
        ensure!(told == expected, "{told}");
        let caps = http::get(stage.api, "/v1/caps")?.json::<Value>()?;
        let key = "account/harbor/connected/yearly";
        let cap = caps["items"].as_array().and_then(|it| it.iter().find(|it| it["cap"] == key));
        let cap = cap.map(|cap| (&cap["used"], &cap["held"], &cap["limit"]));
        ensure!(cap == Some((&json!("2"), &json!("0"), &json!("2"))), "{caps}");
        ensure!(caps["currency"] == "EUR", "{caps}");
        stage.is_clean()
    });
}

#[test]
fn a_limit_that_is_lowered_below_what_is_used_closes_the_cap_at_once_and_says_so() {
    let cap = |limit| {
        format!("caps = [{{ metric = \"connected\", window = \"total\", limit = {limit} }}]\n")
    };
    let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
    let key = "target/alone/connected/total";
    play(&[], |stage| {
        let (mut caller, mut target, mut other) = (stage.udp()?, stage.target()?, stage.udp()?);
        ensure!(reload(stage, alone, &format!("{alone}{}", cap(3)))? == json!([]));
        stage.is_well("over-by-then")?;
        let up = Call::up(stage, &mut caller, &mut target, "up", &[])?;

        let closed = reload(stage, &cap(3), &cap(1))?;

        let told = closed.as_array().map_or(&[][..], Vec::as_slice);
        let told: Vec<_> = told
            .iter()
            .map(|it| [&it["cap"], &it["used"], &it["held"], &it["limit"]].map(Value::as_str))
            .collect();
        ensure!(told == [[Some(key), Some("2"), Some("0"), Some("1")]], "{closed}");
        let said = stage.log();
        let line = said.lines().find(|line| line.contains("the cap is closed"));
        ensure!(line.is_some_and(|line| line.contains(key)), "{said}");
        is_refused(stage, &mut other, "lowered", "486 INVITE")?;
        ensure!(reload(stage, &cap(1), &cap(2))? == json!([]), "full, as any cap is in the end");
        is_refused(stage, &mut other, "full", "486 INVITE")?;
        ensure!(reload(stage, &cap(2), &cap(3))? == json!([]));
        up.end(&mut caller, &mut target)?;
        stage.is_well("raised")
    });
}

#[test]
fn a_limit_that_was_lowered_while_no_server_ran_is_told_at_the_start() {
    let cap = |limit| {
        format!("caps = [{{ metric = \"connected\", window = \"total\", limit = {limit} }}]\n")
    };
    let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
    play(&[], |stage| {
        stage.rewrite(alone, &format!("{alone}{}", cap(9)))?;
        for (call_id, end) in [("one", Program::stop as fn(_) -> _), ("two", Program::kill)] {
            stage.restart(end)?;
            stage.is_well(call_id)?;
            ensure!(!stage.log().contains("the cap is closed"), "{}", stage.log());
        }

        stage.rewrite(&cap(9), &cap(1))?;
        stage.restart(Program::kill)?;

        let line = wait_for("the warning", Duration::from_secs(5), || {
            let said = stage.log();
            Ok(said.lines().find(|line| line.contains("the cap is closed")).map(str::to_owned))
        })?;
        for part in ["target/alone/connected/total", "used=2", "held=0", "limit=1"] {
            ensure!(line.contains(part), "{part}: {line}");
        }
        is_refused(stage, &mut stage.udp()?, "lowered", "486 INVITE")?;
        stage.is_clean()
    });
}

/// Puts `to` in the place of `from` in the configuration. Returns the caps that were closed by that.
pub(super) fn reload(stage: &Stage, from: &str, to: &str) -> Result<Value> {
    Ok(stage.reload_with(from, to)?["closed"].clone())
}

fn deposit(stage: &Stage, amount: &str) -> Result<http::Reply> {
    deposit_of(stage, "invoice-17", amount)
}

pub(super) fn deposit_of(stage: &Stage, key: &str, amount: &str) -> Result<http::Reply> {
    deposit_to(stage, "tests", key, amount)
}

fn deposit_to(stage: &Stage, buyer: &str, key: &str, amount: &str) -> Result<http::Reply> {
    let body = json!({ "amount": amount }).to_string();
    let keyed = [("Idempotency-Key", key)];
    http::post_with(stage.api, &format!("/v1/buyers/{buyer}/deposits"), &body, &keyed)
}

#[test]
fn targets_are_closed_when_their_buyer_is_unless_they_say_otherwise() {
    // An hour of another day than those that this one may be in New York, and the next.
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).weekday();
    let other = days[(usize::from(today.to_monday_zero_offset().unsigned_abs()) + 3) % 7];
    let closed = &format!(
        r#"buyers.tests.schedule={{
            hours = [{{ day = "{other}", open = "03:00", close = "04:00" }}] }}"#
    );
    let open = "targets.alone.schedule={ always_open = true }";
    play(&[closed], |stage| {
        is_refused(stage, &mut stage.udp()?, "closed", "480 INVITE")?;
        let call = wait_for("it to be on record", Duration::from_secs(5), || {
            Ok(api::calls(stage.api)?.into_iter().find(api::Call::is_over))
        })?;
        let explained = http::get(stage.api, &format!("/v1/calls/{}/explain", call.call_id))?;
        let told = explained.json::<Value>()?.to_string();
        ensure!(told.contains(r#""reason":"schedule.clos"#), "{told}");
        ensure!(told.contains(r#""subject":"buyer""#), "whose schedule it is: {told}");
        let effective = http::get(stage.api, "/v1/targets/alone/effective")?.json::<Value>()?;
        let settings = effective["settings"].as_array().context("there are settings")?;
        let schedule = settings.iter().find(|it| it["setting"] == "schedule");
        ensure!(schedule.is_some_and(|it| it["from"] == "buyer"), "{effective}");
        Ok(())
    });
    play(&[closed, open], |stage| stage.is_well("open"));
}

pub(super) fn is_refused(stage: &Stage, line: &mut Line, call_id: &str, with: &str) -> Result<()> {
    line.send(with_body(line, &stage.invite(), call_id, &[], SDP))?;
    line.expect(with).map(drop)
}
