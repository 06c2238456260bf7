//! Publishers who send more than they may.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const QUOTAS: &str = r#"
[defaults.quota]
per_day = 3

[[publishers]]
id = "fast"
quota = { per_second = 1, burst = 2 }
"#;

#[test]
fn who_sends_more_than_its_quota_is_told_when_to_come_again_and_others_are_not_held_up() {
    play_with(Setup { more: QUOTAS, ..Setup::default() }, |stage| {
        // The server's day is the machine's: all of this has to fall into one.
        wait_for("midnight (UTC) to be past", Duration::from_secs(70), || {
            let second = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 86_400;
            Ok((second < 86_400 - 60).then_some(()))
        })?;
        for n in 0..5 {
            let reply = ping(stage, "tests")?;
            if n < 3 {
                ensure!(reply.status == 202, "{reply:?}");
                continue;
            }
            ensure!(reply.status == 429 && reply.body.contains("ping.over_quota"), "{reply:?}");
            ensure!(reply.body.contains("more than 3 pings a day"), "{reply:?}");
            ensure!(reply.head.contains("application/problem+json"), "{reply:?}");
            let wait: u64 = reply.header("retry-after").context("no Retry-After")?.parse()?;
            ensure!((1..=86_400).contains(&wait), "{reply:?}");
        }
        let visit = json!({ "publisher": "tests", "campaign": "alone", "want": "nothing" });
        let visit = http::post(stage.api, "/v1/sessions", &visit.to_string())?;
        ensure!(visit.status == 429 && visit.body.contains("ping.over_quota"), "{visit:?}");

        // All of a batch come at once.
        let one = json!({ "publisher": "fast", "campaign": "alone", "sip_ok": true });
        let batch = json!(vec![one; 100]).to_string();
        let batch = http::post(stage.api, "/v1/pings:batch", &batch)?.json::<Value>()?;
        let accepted = batch["accepted"].as_u64().context("no count")?;
        ensure!((2..100).contains(&accepted), "{accepted}");
        ensure!(batch["items"][0]["status"] == 202, "{batch:#}");
        ensure!(batch["items"][99]["status"] == 429, "{batch:#}");
        ensure!(batch["items"][99]["retry_after_s"] == 1, "{batch:#}");

        let refused = r#"tollbridge_pings_over_quota_total{publisher="tests",quota="per_day"}"#;
        let series = api::series(stage.api)?;
        ensure!(series.get(refused) == Some(&3.0), "{series:?}");
        stage.is_clean()
    });
}

fn ping(stage: &Stage, publisher: &str) -> Result<http::Reply> {
    let ping = json!({ "publisher": publisher, "campaign": "alone", "sip_ok": true });
    http::post(stage.api, "/v1/pings", &ping.to_string())
}
