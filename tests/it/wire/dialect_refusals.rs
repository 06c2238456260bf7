//! What each platform's publishers are told when a ping comes to nothing, and what follows one that does not:
//! recorded beside the other answers in `dialects/`.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::dialects::{Asked, FORM, JSON, is_as_recorded};
use super::{Setup, play_with};
use crate::support::{http, wait_for};

const CALLER: &str = "+16145550188";
const FROM: &str = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
const PLATFORMS: [&str; 4] = ["ringba", "retreaver", "trackdrive", "callgrid"];
const TOKEN: &str = "a token of sixteen or more";

/// For each reason a publisher and a campaign, at which every platform has a door.
const REASONS: &str = r#"
[[publishers]]
id = "open"
payouts = [{ campaign = "open", amount = "33.20" }]
[[campaigns]]
id = "open"
publisher = "open"
numbers = ["+18005550260"]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[publishers]]
id = "paused"
payouts = [{ campaign = "paused", amount = "33.20" }]
[[campaigns]]
id = "paused"
publisher = "paused"
paused = true
numbers = ["+18005550261"]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[publishers]]
id = "capped"
payouts = [{ campaign = "capped", amount = "33.20" }]
[[campaigns]]
id = "capped"
publisher = "capped"
numbers = ["+18005550262"]
caps = [{ metric = "pinged", window = "total", limit = 1 }]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[publishers]]
id = "full"
payouts = [{ campaign = "full", amount = "33.20" }]
[[campaigns]]
id = "full"
publisher = "full"
numbers = ["+18005550263"]
routing = { tiers = [{ targets = [{ target = "single" }] }] }

[[publishers]]
id = "duplicate"
payouts = [{ campaign = "duplicate", amount = "33.20", dedupe = { policy = "never_pay_duplicates" } }]
[[campaigns]]
id = "duplicate"
publisher = "duplicate"
numbers = ["+18005550264"]
callers = { repeat_after_s = 0, duplicates = { mark_on = "connected" } }
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[publishers]]
id = "quota"
payouts = [{ campaign = "quota", amount = "33.20" }]
quota = { per_day = 1 }
[[campaigns]]
id = "quota"
publisher = "quota"
numbers = ["+18005550265"]
routing = { tiers = [{ targets = [{ target = "alone" }] }] }
"#;
const NUMBERS: [(&str, u32); 6] =
    [("open", 60), ("paused", 61), ("capped", 62), ("full", 63), ("duplicate", 64), ("quota", 65)];
const SET: [&str; 3] = [
    r#"targets.alone.conversion={ seconds = 90, revenue = "41.50" }"#,
    r#"targets.single.conversion={ seconds = 90, revenue = "41.50" }"#,
    r#"targets.single.caps=[{ metric = "connected", window = "total", limit = 1 }]"#,
];

fn config() -> Result<String> {
    let mut config = REASONS.to_owned();
    for (reason, number) in NUMBERS {
        for platform in PLATFORMS {
            write!(
                config,
                "[[dialects]]\nid = \"{platform}-{reason}\"\ndialect = \"{platform}\"\nkey = \
                 \"{}\"\npublisher = \"{reason}\"\ncampaign = \"{reason}\"\nnumber = \
                 \"+180055502{number}\"\n",
                key(reason)
            )?;
            if platform == "trackdrive" {
                writeln!(config, "token = \"{TOKEN}\"")?;
            }
        }
    }
    Ok(config)
}

fn key(reason: &str) -> String {
    format!("the-key-of-what-is-{reason}")
}

/// As the platform's publishers ask.
fn ping(platform: &str, reason: &str, caller: &str) -> Result<Asked> {
    let key = key(reason);
    let (path, body) = match platform {
        "ringba" => (format!("/v1/production/{key}.json"), json!({ "CID": caller })),
        "retreaver" => ("/rtbs.json".to_owned(), json!({ "key": key, "caller_number": caller })),
        "trackdrive" => (
            format!("/api/v1/inbound_webhooks/ping/{key}"),
            json!({ "auth_token": TOKEN, "caller_id": caller }),
        ),
        "callgrid" => (format!("/api/bid/{key}"), json!({ "CallerId": caller })),
        _ => anyhow::bail!("{platform}"),
    };
    Ok(("POST", path, JSON, body.to_string()))
}

#[test]
fn what_comes_to_nothing_is_answered_as_recorded_in_the_words_of_every_platform() {
    let more = config().unwrap();
    play_with(Setup { set: &SET, more: &more, ..Setup::default() }, |stage| {
        // The one call that is paid, the one that its target takes, and the one ping that may be.
        for (number, call_id) in [("+18005550264", "paid"), ("+18005550263", "taken")] {
            super::call(stage, number, call_id, &[FROM])?;
            super::detail(stage, call_id)?;
        }
        for reason in ["capped", "quota"] {
            let (method, path, media_type, body) = ping("ringba", reason, "+16145550100")?;
            let headers = [("Content-Type", media_type)];
            let first: Value = http::ask(stage.api, (method, &path), &body, &headers)?.json()?;
            ensure!(first.get("reasonCode").is_none(), "{reason}: {first:#}");
        }
        for reason in ["paused", "capped", "full", "duplicate", "quota"] {
            for platform in PLATFORMS {
                let asked = ping(platform, reason, CALLER)?;
                is_as_recorded(stage, &format!("{platform}-{reason}"), &asked, None)?;
            }
        }
        stage.is_clean()
    });
}

#[test]
fn what_follows_a_bid_is_answered_as_recorded() {
    let more = config().unwrap();
    play_with(Setup { set: &SET, more: &more, ..Setup::default() }, |stage| {
        let bid = |asked: &Asked| -> Result<Value> {
            let headers = [("Content-Type", asked.2)];
            http::ask(stage.api, (asked.0, &asked.1), &asked.3, &headers)?.json()
        };
        let reserved = bid(&ping("retreaver", "open", CALLER)?)?;
        let uuid = reserved["uuid"].as_str().context("no uuid")?;
        let confirm = |uuid: &str| -> Asked {
            let body = json!({ "key": key("open"), "status": "confirmed" });
            ("PUT", format!("/rtbs/{uuid}.json"), JSON, body.to_string())
        };
        is_as_recorded(stage, "retreaver-confirmed", &confirm(uuid), Some(uuid))?;
        let nobodys = "01954f2e-7d1e-7000-8000-000000000003";
        is_as_recorded(stage, "retreaver-confirm-unknown", &confirm(nobodys), None)?;

        let path = |what: &str| format!("/api/v1/inbound_webhooks/{what}/{}", key("open"));
        let form = format!("auth_token={}&caller_id=6145550101", TOKEN.replace(' ', "+"));
        is_as_recorded(stage, "trackdrive-form", &("POST", path("ping"), FORM, form), None)?;
        let pinged = bid(&ping("trackdrive", "open", "+16145550102")?)?;
        let post = json!({
            "auth_token": TOKEN, "caller_id": "+16145550102",
            "ping_id": pinged["try_all_buyers_ping_id"],
        });
        let post: Asked = ("POST", path("post"), JSON, post.to_string());
        is_as_recorded(stage, "trackdrive-post", &post, pinged["try_all_buyers_ping_id"].as_str())?;

        super::call(stage, "+18005550260", "its-call", &[FROM])?;
        wait_for("the price to be spent", std::time::Duration::from_secs(5), || {
            Ok((bid(&confirm(uuid))?["status"] == "no-target").then_some(()))
        })?;
        is_as_recorded(stage, "retreaver-confirm-too-late", &confirm(uuid), Some(uuid))?;
        stage.is_clean()
    });
}
