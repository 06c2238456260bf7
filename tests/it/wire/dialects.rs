//! Pings as the systems of other platforms send them: what is answered stands in `dialects/`, one file for
//! each request with its answer, and the call that follows finds its session and its price.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::peer::{SDP, with_body};
use super::program::Program;
use super::{Call, Setup, Stage, play_with};
use crate::support::{http, wait_for};

const RINGBA: &str = "5d1c0f6a9e8b4b7f8a2c3d4e5f607182";
const DOORS: &str = r#"
[[publishers]]
id = "bright"
payouts = [{ campaign = "bids", amount = "33.20", dedupe = { policy = "never_pay_duplicates" } }]

[[campaigns]]
id = "bids"
publisher = "bright"
numbers = ["+18005550250-+18005550259"]
callers = { repeat_after_s = 0, duplicates = { mark_on = "talked", talk_s = 60 } }
routing = { tiers = [{ targets = [{ target = "alone" }] }] }

[[dialects]]
id = "ringba"
dialect = "ringba"
key = "5d1c0f6a9e8b4b7f8a2c3d4e5f607182"
publisher = "bright"
campaign = "bids"
number = "+18005550250"

[[dialects]]
id = "retreaver"
dialect = "retreaver"
key = "7fc40342-f0a0-4e8f-bf09-b3887eedcb41"
publisher = "bright"
campaign = "bids"
pool = "bids"
session_ttl_s = 300

[[dialects]]
id = "trackdrive"
dialect = "trackdrive"
key = "my_endpoint"
token = "a token of sixteen or more"
publisher = "bright"
campaign = "bids"
number = "+18005550251"
parameters = { age = "lead.age" }

[[dialects]]
id = "callgrid"
dialect = "callgrid"
key = "cm97s8hmv000ijt06r4djmije"
publisher = "bright"
campaign = "bids"
sip_user = "digits"

[[pools]]
id = "bids"
campaign = "bids"
publisher = "bright"
numbers = ["+16145550121", "+16145550122"]
"#;
const SET: [&str; 3] = [
    "account.sip_host=sip.example.com",
    r#"targets.alone.conversion={ seconds = 90, revenue = "41.50" }"#,
    r#"targets.alone.filters={ all = [{ tag = "geo.state", op = "in", value = ["OH", "PA"] }] }"#,
];
const CALLER: &str = "+16145550188";
const FROM: &str = "P-Asserted-Identity: <sip:+16145550188@127.0.0.1>";
pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "application/xml";

#[test]
fn every_form_of_every_platform_is_answered_as_recorded() {
    let ringba = |rest: &str| format!("/v1/production/{RINGBA}{rest}");
    let ping = |rest: &str| format!("/api/v1/inbound_webhooks/ping/my_endpoint{rest}");
    let post = |rest: &str| format!("/api/v1/inbound_webhooks/post/my_endpoint{rest}");
    let grid = |rest: &str| format!("/api/bid/cm97s8hmv000ijt06r4djmije{rest}");
    let requests = [
        (
            "ringba-json",
            "POST",
            ringba(".json"),
            JSON,
            r#"{"CID": "16145550188", "exposeCallerId": "yes", "sipOk": "yes", "zipcode": "43215", "State": "OH", "SubID": "fb-oh-3"}"#,
        ),
        (
            "ringba-json-again",
            "POST",
            ringba(".json"),
            JSON,
            r#"{"CID": "16145550188", "exposeCallerId": "yes", "sipOk": "yes", "zipcode": "43215", "State": "OH", "SubID": "fb-oh-3"}"#,
        ),
        ("ringba-query", "GET", ringba(".json?CID=%2B16145550101&State=OH"), "", ""),
        ("ringba-form", "POST", ringba(".json"), FORM, "CID=6145550102&State=PA"),
        (
            "ringba-xml",
            "POST",
            ringba(".xml"),
            XML,
            "<bid_request><CID>16145550103</CID><State>OH</State></bid_request>",
        ),
        ("ringba-xml-query", "GET", ringba(".xml?CID=16145550104&State=KY"), "", ""),
        ("ringba-no-caller", "POST", ringba(".json"), JSON, r#"{"State": "OH"}"#),
        ("ringba-bad-caller", "GET", ringba(".json?CID=anonymous"), "", ""),
        ("ringba-bad-json", "POST", ringba(".json"), JSON, r#"{"CID": "#),
        ("ringba-bad-xml", "POST", ringba(".xml"), XML, "<bid_request><CID>1</bid_request>"),
        (
            "ringba-unknown",
            "GET",
            String::from("/v1/production/nobody.json?CID=16145550188"),
            "",
            "",
        ),
        (
            "retreaver-json",
            "POST",
            String::from("/rtbs.json"),
            JSON,
            r#"{"key": "7fc40342-f0a0-4e8f-bf09-b3887eedcb41", "publisher_id": "pub", "caller_number": "+16145550105", "caller_zip": 43215, "age": 25, "state": "OH"}"#,
        ),
        (
            "retreaver-form-again",
            "POST",
            String::from("/rtbs.json"),
            FORM,
            "key=7fc40342-f0a0-4e8f-bf09-b3887eedcb41&publisher_id=pub&caller_number=%2B16145550105&caller_zip=43215&age=25&state=OH",
        ),
        (
            "retreaver-static",
            "POST",
            String::from("/rtbs.json"),
            JSON,
            r#"{"key": "7fc40342-f0a0-4e8f-bf09-b3887eedcb41", "publisher_id": "pub", "caller_number": "+16145550106", "inbound_number": "+18005550252", "state": "PA"}"#,
        ),
        (
            "retreaver-no-target",
            "POST",
            String::from("/rtbs.json"),
            JSON,
            r#"{"key": "7fc40342-f0a0-4e8f-bf09-b3887eedcb41", "publisher_id": "pub", "caller_number": "+16145550107", "state": "KY"}"#,
        ),
        (
            "retreaver-unknown",
            "POST",
            String::from("/rtbs.json"),
            JSON,
            r#"{"key": "someone else's", "caller_number": "+16145550107"}"#,
        ),
        (
            "trackdrive-ping-json",
            "POST",
            ping(""),
            JSON,
            r#"{"auth_token": "a token of sixteen or more", "trackdrive_number": "+18005550259", "traffic_source_id": "1063", "caller_id": "+16145550108", "age": 41, "state": "OH"}"#,
        ),
        (
            "trackdrive-ping-query",
            "GET",
            ping("?auth_token=a+token+of+sixteen+or+more&caller_id=6145550109&state=OH"),
            "",
            "",
        ),
        (
            "trackdrive-no-token",
            "POST",
            ping(""),
            JSON,
            r#"{"caller_id": "+16145550108", "state": "OH"}"#,
        ),
        (
            "trackdrive-no-buyer",
            "POST",
            ping(""),
            FORM,
            "auth_token=a+token+of+sixteen+or+more&caller_id=6145550110&state=KY",
        ),
        (
            "trackdrive-post-only",
            "POST",
            post(""),
            JSON,
            r#"{"auth_token": "a token of sixteen or more", "caller_id": "+16145550111", "state": "PA"}"#,
        ),
        (
            "trackdrive-post-unknown",
            "POST",
            post(""),
            JSON,
            r#"{"auth_token": "a token of sixteen or more", "ping_id": "01954f2e7d1e70008000000000000003", "caller_id": "+16145550111"}"#,
        ),
        (
            "callgrid-json",
            "POST",
            grid(""),
            JSON,
            r#"{"CallerId": "6145550112", "InboundStateCode": "OH", "InboundZipCode": "43215", "CallQualityScore": "95"}"#,
        ),
        ("callgrid-query", "GET", grid("?CallerId=16145550113&InboundStateCode=PA"), "", ""),
        (
            "callgrid-pstn",
            "GET",
            grid("?CallerId=16145550114&InboundStateCode=PA&pstn=true"),
            "",
            "",
        ),
        ("callgrid-bad-caller", "POST", grid(""), FORM, "CallerId=nobody&InboundStateCode=OH"),
        ("callgrid-no-target", "GET", grid("?CallerId=16145550115&InboundStateCode=KY"), "", ""),
        ("callgrid-unknown", "GET", String::from("/api/bid/nobody?CallerId=16145550113"), "", ""),
    ];
    play_with(Setup { set: &SET, more: DOORS, ..Setup::default() }, |stage| {
        for (name, method, path, media_type, body) in &requests {
            let asked = (*method, path.clone(), *media_type, body.to_string());
            is_as_recorded(stage, name, &asked, None)?;
        }
        stage.is_clean()
    });
}

#[test]
fn a_call_to_what_was_answered_is_the_ping_s_and_paid_as_promised() {
    play_with(Setup { set: &SET, more: DOORS, ..Setup::default() }, |stage| {
        let ringba = format!("/v1/production/{RINGBA}.json");
        let ask = json!({ "CID": CALLER, "State": "OH" });
        let by_ringba = bid(stage, &ringba, &ask)?;
        let ask = json!({ "key": "7fc40342-f0a0-4e8f-bf09-b3887eedcb41", "caller_number": CALLER });
        let by_retreaver = bid(stage, "/rtbs.json", &ask)?;
        let ask = json!({ "auth_token": "a token of sixteen or more", "caller_id": CALLER });
        let pinged = bid(stage, "/api/v1/inbound_webhooks/ping/my_endpoint", &ask)?;
        let ask = json!({
            "auth_token": "a token of sixteen or more", "caller_id": CALLER,
            "ping_id": pinged["try_all_buyers_ping_id"],
        });
        let posted = bid(stage, "/api/v1/inbound_webhooks/post/my_endpoint", &ask)?;
        ensure!(posted["ping_id"] == pinged["buyers"][0]["ping_id"], "{posted:#}");
        let grid = "/api/bid/cm97s8hmv000ijt06r4djmije";
        let by_callgrid = bid(stage, grid, &json!({ "CallerId": CALLER, "State": "PA" }))?;
        let confirm =
            json!({ "key": "7fc40342-f0a0-4e8f-bf09-b3887eedcb41", "status": "confirmed" });
        let path = format!("/rtbs/{}.json", text(&by_retreaver["uuid"])?);
        let api = stage.api;
        let put = |body: &Value| {
            let headers = [("Content-Type", JSON)];
            http::ask(api, ("PUT", &path), &body.to_string(), &headers)?.json::<Value>()
        };
        ensure!(put(&confirm)?["status"] == "confirmed", "{:#}", put(&confirm)?);

        // What is paid today is less; what was promised outlives a crash.
        stage.reload_with("33.20", "11.00")?;
        stage.restart(Program::kill)?;

        let number = text(&by_ringba["phoneNumber"])?;
        let no_plus = text(&posted["forwarding_number"])?;
        for (call_id, dialled, method, payout) in [
            // As those write it whose systems call the id of a bid.
            ("ringba-sip", text(&by_ringba["bidId"])?, "address", "33.20"),
            ("ringba-again", number.clone(), "caller_lease", "11.00"),
            ("retreaver-sip", text(&by_retreaver["uuid"])?, "address", "33.20"),
            ("retreaver", text(&by_retreaver["inbound_number"])?, "caller_lease", "11.00"),
            ("trackdrive", format!("+{no_plus}"), "caller_lease", "33.20"),
            ("callgrid", user(&by_callgrid["sipAddress"])?, "address", "33.20"),
        ] {
            call(stage, &dialled, call_id, &[FROM])?;
            let found = detail(stage, call_id)?;
            ensure!(found["match_method"] == method, "{call_id}: {found:#}");
            ensure!(owed(stage, &found)? == payout, "{call_id}: {found:#}");
        }
        ensure!(number == "+18005550250", "{number}");
        ensure!(put(&confirm)?["status"] == "no-target", "a call has come of it");

        // Whoever else calls is not whom the price was for.
        let ask = json!({ "CID": "+16145550177", "State": "OH" });
        let other = bid(stage, &ringba, &ask)?;
        ensure!(other["bidAmount"] == 11.0, "{other:#}");
        call(stage, &user(&other["sipAddress"])?, "mismatch", &[FROM])?;
        let found = detail(stage, "mismatch")?;
        let explained = explanation(stage, &found)?.to_string();
        ensure!(explained.contains("match.caller_mismatch"), "{explained}");
        stage.is_clean()
    });
}

#[test]
fn a_stranger_s_call_uses_up_no_promise() {
    play_with(Setup { set: &SET, more: DOORS, ..Setup::default() }, |stage| {
        let path = format!("/v1/production/{RINGBA}.json");
        let bid = bid(stage, &path, &json!({ "CID": CALLER, "State": "OH" }))?;
        let address = user(&bid["sipAddress"])?;
        stage.reload_with("33.20", "11.00")?;

        call(stage, &address, "stranger", &["P-Asserted-Identity: <sip:+16145550177@127.0.0.1>"])?;
        let found = detail(stage, "stranger")?;
        ensure!(found["match_method"] == "address", "{found:#}");
        ensure!(owed(stage, &found)? == "11.00", "{found:#}");
        let explained = explanation(stage, &found)?.to_string();
        ensure!(explained.contains("match.caller_mismatch"), "{explained}");
        let shown = format!("/v1/pings/png_{}", &address["bid_".len()..]);
        let ping: Value = http::get(stage.api, &shown)?.json()?;
        ensure!(ping["status"] == "live" && ping["consumed_at"].is_null(), "{ping:#}");

        stage.restart(Program::kill)?;
        call(stage, &address, "named", &[FROM])?;
        let found = detail(stage, "named")?;
        ensure!(owed(stage, &found)? == "33.20", "{found:#}");
        let ping: Value = http::get(stage.api, &shown)?.json()?;
        ensure!(ping["status"] == "consumed", "{ping:#}");
        stage.is_clean()
    });
}

#[test]
fn the_same_ping_is_answered_the_same_by_the_next_process_too() {
    play_with(Setup { set: &SET, more: DOORS, ..Setup::default() }, |stage| {
        let path = format!("/v1/production/{RINGBA}.json");
        let ask = json!({ "CID": CALLER, "State": "OH", "SubID": "a" });
        let first = bid(stage, &path, &ask)?;
        stage.restart(Program::kill)?;
        let again = bid(stage, &path, &ask)?;
        ensure!(again["bidId"] == first["bidId"], "{again:#}");
        ensure!(again["bidExpireEpoch"] == first["bidExpireEpoch"], "{again:#}");
        let codes = again["warnings"].as_array().context("no warnings")?.iter();
        ensure!(codes.clone().any(|it| it["code"] == 230), "{again:#}");
        let other = bid(stage, &path, &json!({ "CID": CALLER, "State": "OH", "SubID": "b" }))?;
        ensure!(other["bidId"] != first["bidId"], "{other:#}");
        stage.is_clean()
    });
}

#[test]
fn quotas_and_caps_are_told_in_the_platform_s_words_and_no_number_is_in_the_log() {
    let quota = ["publishers.bright.quota={ per_second = 1, burst = 2 }"];
    let set = [&SET[..], &quota].concat();
    play_with(Setup { set: &set, more: DOORS, ..Setup::default() }, |stage| {
        let path = format!("/v1/production/{RINGBA}.json");
        let mut reasons = vec![];
        for n in 0..6 {
            let caller = format!("+1614555020{n}");
            let told = told(stage, &path, &json!({ "CID": caller, "State": "OH" }))?;
            reasons.extend(told["rejectReason"].as_str().map(str::to_owned));
        }
        ensure!(reasons.iter().any(|it| it == "Rate limited (Code: 1024)"), "{reasons:?}");
        let log = stage.log();
        ensure!(!log.contains("161455502") && !log.contains(RINGBA), "{log}");
        stage.is_clean()
    });
}

/// Method, path, type of the body or nothing, and body.
pub(super) type Asked = (&'static str, String, &'static str, String);

/// What is answered stands in the file of this name. `id`: what of the question an earlier answer has made up.
pub(super) fn is_as_recorded(
    stage: &Stage,
    name: &str,
    asked: &Asked,
    id: Option<&str>,
) -> Result<()> {
    let (method, path, media_type, body) = asked;
    let headers = [("Content-Type", *media_type)];
    let headers = if media_type.is_empty() { &headers[..0] } else { &headers[..] };
    let reply = http::ask(stage.api, (method, path), body, headers)?;
    let asked = [format!("{method} {path}"), media_type.to_string(), body.clone()];
    let asked: Vec<_> = asked.iter().filter(|line| !line.is_empty()).cloned().collect();
    let media_type = reply.header("content-type").unwrap_or_default();
    let told = match serde_json::from_str::<Value>(&reply.body) {
        Ok(json) => serde_json::to_string_pretty(&json)?,
        Err(_) => reply.body.replace("><", ">\n<"),
    };
    let asked = asked.join("\n");
    let asked = id.map_or_else(|| asked.clone(), |id| asked.replace(id, "{id}"));
    let told = without_chance(&told)?;
    let text = format!("{asked}\n\n{} {media_type}\n{told}\n", reply.status);
    insta::with_settings!({
        snapshot_path => "dialects",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
    Ok(())
}

/// An answer that is a bid.
fn bid(stage: &Stage, path: &str, body: &Value) -> Result<Value> {
    let told = told(stage, path, body)?;
    ensure!(told.get("reason_code").is_none() && told.get("reasonCode").is_none(), "{told:#}");
    Ok(told)
}

fn told(stage: &Stage, path: &str, body: &Value) -> Result<Value> {
    let headers = [("Content-Type", JSON)];
    let reply = http::ask(stage.api, ("POST", path), &body.to_string(), &headers)?;
    ensure!(reply.status == 200, "{reply:?}");
    reply.json()
}

/// Ids and times, which are others each time, as what they are.
fn without_chance(text: &str) -> Result<String> {
    let patterns = [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "{uuid}"),
        (r"[0-9a-f]{32}", "{id}"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "{time}"),
        (r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d [AP]M", "{american time}"),
        (r"\b0\d{14}\b", "{digits}"),
        (r"\b1\d{12}\b", "{ms}"),
        // A second may have passed since the first of two.
        (r"(?i)(expireInSeconds|expiresInSeconds)(\W+)(59|60)", "$1$2{60}"),
    ];
    let mut text = text.to_owned();
    for (pattern, name) in patterns {
        text = regex::Regex::new(pattern)?.replace_all(&text, name).into_owned();
    }
    Ok(text)
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"))
}

/// The user part of an address.
fn user(address: &Value) -> Result<String> {
    let address = text(address)?;
    Ok(address.split_once('@').context("no address")?.0.to_owned())
}

/// What the publisher would be owed for a call.
fn owed(stage: &Stage, call: &Value) -> Result<String> {
    let explained = explanation(stage, call)?;
    let found = find(&explained, "payout").and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("{explained:#}"))
}

/// The first field of that name, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields
            .get(name)
            .filter(|it| it.is_string())
            .or_else(|| fields.values().find_map(|it| find(it, name))),
        Value::Array(items) => items.iter().find_map(|it| find(it, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A call that is answered and ended by its caller.
fn call(stage: &Stage, user: &str, call_id: &str, fields: &[&str]) -> Result<()> {
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    caller.send(with_body(&caller, &stage.invite_to(user), call_id, fields, SDP))?;
    Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)
}

/// The record of a call, once it is over.
pub(super) fn detail(stage: &Stage, call_id: &str) -> Result<Value> {
    let call = wait_for("the record", Duration::from_secs(5), || {
        let page: Value = http::get(stage.api, "/v1/calls?limit=200")?.json()?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| call["state"] != "open"))
    })?;
    let id = call["call_id"].as_str().context("no call_id")?;
    http::get(stage.api, &format!("/v1/calls/{id}"))?.json()
}

pub(super) fn explanation(stage: &Stage, call: &Value) -> Result<Value> {
    let id = call["call_id"].as_str().context("no call_id")?;
    wait_for("the explanation", Duration::from_secs(5), || {
        let reply = http::get(stage.api, &format!("/v1/calls/{id}/explain"))?;
        if reply.status == 200 { reply.json().map(Some) } else { Ok(None) }
    })
}
