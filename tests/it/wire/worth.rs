//! Pings of which no target would take a call.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Setup, Stage, play_with};
use crate::support::{api, http};

const OHIO: &str = r#"
[[targets]]
id = "ohio"
buyer = "tests"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
filters = { all = [{ tag = "geo.state", op = "eq", value = "OH" }] }

[[campaigns]]
id = "ohio"
publisher = "tests"
ping_filter = "on"
routing = { tiers = [{ targets = [{ target = "ohio" }] }] }

[[pools]]
id = "ohio"
campaign = "ohio"
publisher = "tests"
numbers = ["+16145550101"]
"#;

#[test]
fn a_worthless_ping_is_refused_with_what_each_target_wanted_and_takes_no_number() {
    play_with(Setup { more: OHIO, ..Setup::default() }, |stage| {
        let refused = ping(stage, &json!({ "pool": "ohio", "state": "KY" }))?;
        ensure!(refused.status == 422, "{refused:?}");
        let problem = refused.json::<Value>()?;
        ensure!(problem["code"] == "ping.worthless", "{problem:#}");
        let error = &problem["errors"][1];
        ensure!(error["pointer"] == "/state", "{problem:#}");
        ensure!(error["code"] == "filter.mismatch", "{problem:#}");
        let detail = error["detail"].as_str().context("no detail")?;
        ensure!(detail.contains("`ohio`") && detail.contains("have KY; want eq OH"), "{detail}");

        // The one number is still there for a ping that may come to something.
        for state in [json!({ "state": "OH" }), json!({})] {
            let mut body = json!({ "pool": "ohio", "ttl_s": 60 });
            body.as_object_mut()
                .context("an object")?
                .extend(state.as_object().context("an object")?.clone());
            let taken = ping(stage, &body)?;
            ensure!(taken.status == 202, "{taken:?}");
        }
        let pools = http::get(stage.api, "/v1/pools")?.json::<Value>()?;
        ensure!(pools["items"][0]["last_24h"]["asked"] == 2, "{pools:#}");
        let series = api::series(stage.api)?;
        let filtered =
            r#"tollbridge_pings_filtered_total{campaign="ohio",reason="filter.mismatch"}"#;
        ensure!(series.get(filtered) == Some(&1.0), "{series:?}");
        let effective = http::get(stage.api, "/v1/campaigns/ohio/effective")?.json::<Value>()?;
        ensure!(effective.to_string().contains("ping_filter"), "{effective:#}");
        stage.is_clean()
    });
}

fn ping(stage: &Stage, body: &Value) -> Result<http::Reply> {
    http::post(stage.api, "/v1/pings", &body.to_string())
}
