//! The REST API of the built server, with calls and pings behind what it shows (spec/data 2 and 9).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{http, wait_for};
use crate::wire::peer::{Line, SDP, request, response, with_body};
use crate::wire::program::Program;
use crate::wire::{Call, Setup, Stage, play, play_with};

/// The caller of every call here that does not say otherwise.
const CALLER: &str = "+16145550188";
/// Goes to one target.
const NUMBER: &str = "+18005550150";
/// Goes to a target with another behind it.
const HUNTED: &str = "+18005550100";
/// Lent to visitors.
const POOL: &str = r#"
[[pools]]
id = "pool"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550101", "+16145550102"]
"#;

/// An answer with its headers, in small letters.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }

    /// A problem document with this status and code.
    fn is_problem(&self, status: u16, code: &str) -> Result<()> {
        let problem = self.json()?;
        ensure!(self.status == status, "{self:?}");
        ensure!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        ensure!(problem["status"] == status && problem["code"] == code, "{problem:#}");
        ensure!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem:#}");
        Ok(())
    }
}

/// Sends these bytes and reads the answer. The connection stays open for writing unless `ends`.
fn raw(to: SocketAddr, bytes: &str, ends: bool) -> Result<Answer> {
    let patience = Duration::from_secs(30);
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(bytes.as_bytes())?;
    if ends {
        stream.shutdown(Shutdown::Write)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// A request with these headers; the answer ends with the connection.
fn ask(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n");
    raw(to, &(head + body), false)
}

const KEY: &str = "Authorization: Bearer dev\r\n";
const JSON: &str = "Authorization: Bearer dev\r\nContent-Type: application/json\r\n";

fn get(stage: &Stage, path: &str) -> Result<Value> {
    let answer = ask(stage.api, "GET", path, KEY, "")?;
    ensure!(answer.status == 200, "GET {path}: {answer:?}");
    answer.json()
}

fn ping(stage: &Stage, body: &Value) -> Result<Answer> {
    ask(stage.api, "POST", "/v1/pings", JSON, &body.to_string())
}

/// A ping that must be taken.
fn accepted(stage: &Stage, body: &Value) -> Result<Value> {
    let answer = ping(stage, body)?;
    ensure!(answer.status == 202, "{answer:?}");
    answer.json()
}

/// The record of the call with the carrier's Call-ID, once it is over.
fn record(stage: &Stage, call_id: &str) -> Result<Value> {
    wait_for("the record", Duration::from_secs(5), || {
        let page = get(stage, "/v1/calls?limit=200")?;
        let calls = page["calls"].as_array().cloned().unwrap_or_default();
        let found = calls.into_iter().find(|call| call["sip_call_id"] == call_id);
        Ok(found.filter(|call| call["state"] != "open"))
    })
}

/// The same with everything that is known of it.
fn detail(stage: &Stage, call_id: &str) -> Result<Value> {
    let id = id_of(&record(stage, call_id)?)?;
    get(stage, &format!("/v1/calls/{id}"))
}

fn id_of(call: &Value) -> Result<String> {
    Ok(call["call_id"].as_str().context("no call_id")?.to_owned())
}

/// A call that is answered and ended by its caller.
fn call(stage: &Stage, number: &str, call_id: &str) -> Result<()> {
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    caller.send(with_body(&caller, &stage.invite_to(number), call_id, &[], SDP))?;
    Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)
}

/// A call that gets this final response without an answer.
fn refused(stage: &Stage, number: &str, call_id: &str, status: u16) -> Result<()> {
    let mut caller = stage.udp()?;
    caller.send(with_body(&caller, &stage.invite_to(number), call_id, &[], SDP))?;
    let heard = caller.expect(&format!("{status} INVITE"))?;
    confirm(&mut caller, stage, number, call_id, heard.header("To").unwrap_or_default())
}

fn confirm(line: &mut Line, stage: &Stage, number: &str, call_id: &str, to: &str) -> Result<()> {
    let ack = stage.invite_to(number).replace("INVITE", "ACK");
    line.send(request(line, &ack, call_id, &[&format!("To: {to}")]))
}

#[test]
fn without_a_key_nothing_is_told_but_health() {
    play(&[], |stage| {
        for path in ["/v1/calls", "/v1/calls/live", "/v1/calls/x", "/metrics", "/openapi.json", "/"]
        {
            let answer = ask(stage.api, "GET", path, "", "")?;
            answer.is_problem(401, "auth.key_missing").context(path)?;
            ensure!(answer.head.contains("www-authenticate: "), "{answer:?}");
            for wrong in ["Authorization: Bearer wrong\r\n", "X-Api-Key: dev2\r\n"] {
                let answer = ask(stage.api, "GET", path, wrong, "")?;
                answer.is_problem(401, "auth.key_unknown").context(path)?;
            }
        }
        ask(stage.api, "POST", "/v1/pings", "", "{}")?.is_problem(401, "auth.key_missing")?;
        for path in ["/healthz", "/readyz"] {
            ensure!(ask(stage.api, "GET", path, "", "")?.status == 200, "{path}");
        }
        let answer = ask(stage.api, "GET", "/v1/calls", "X-Api-Key: dev\r\n", "")?;
        ensure!(answer.status == 200, "{answer:?}");
        ask(stage.api, "GET", "/v2", KEY, "")?.is_problem(404, "route.not_found")?;
        ask(stage.api, "PUT", "/v1/pings", KEY, "")?.is_problem(405, "route.method_not_allowed")
    });
}

#[test]
fn what_became_of_a_ping_is_told_when_its_session_is_over() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        let said = json!({ "pool": "pool", "ttl_s": 2, "tags": { "utm_source": "search" } });
        // A call to a number of a pool keeps that with its session for minutes: this one has none.
        let mut without = json!({ "campaign": "alone", "caller_id": CALLER, "ttl_s": 4 });
        without["tags"] = said["tags"].clone();
        let used = accepted(stage, &without)?;
        call(stage, NUMBER, "used")?;
        let unused = accepted(stage, &said)?;
        let path = |ping: &Value| format!("/v1/pings/{}", ping["ping_id"].as_str().unwrap_or(""));
        ensure!(get(stage, &path(&unused))?["status"] == "live");

        for (ping, status) in [(&unused, "expired"), (&used, "consumed")] {
            let over = wait_for("the session to be over", Duration::from_secs(10), || {
                let session = http::get(
                    stage.api,
                    &format!("/v1/sessions/{}", ping["session_id"].as_str().unwrap_or("")),
                )?;
                let shown = get(stage, &path(ping))?;
                Ok((session.status == 404 && shown["status"] == status).then_some(shown))
            })?;
            ensure!(over["number"] == ping["number"], "{over:#}");
            ensure!(over["tags"]["utm_source"] == "search", "{over:#}");
            ensure!(over["consumed_at"].is_null() == (status == "expired"), "{over:#}");
        }
        ask(stage.api, "GET", "/v1/pings/png_01954f2e7d1e70008000000000000003", KEY, "")?
            .is_problem(404, "ping.not_found")
    });
}

#[test]
fn a_call_to_a_lent_number_is_that_of_the_visitor() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        let ping = accepted(stage, &json!({ "pool": "pool", "tags": { "utm_source": "search" } }))?;
        ensure!(ping["number_status"] == "leased", "{ping:#}");
        let number = ping["number"].as_str().context("no number")?;
        ensure!(["+16145550101", "+16145550102"].contains(&number), "{number}");
        call(stage, number, "lent")?;
        let found = detail(stage, "lent")?;
        ensure!(found["match_method"] == "pool_lease", "{found:#}");
        ensure!(found["confidence"] == 0.99, "{found:#}");
        ensure!(found["session_id"] == ping["session_id"], "{found:#}");
        ensure!(found["did"] == number && found["caller"] == CALLER, "{found:#}");
        ensure!(found["campaign"] == "alone" && found["publisher"] == "tests", "{found:#}");
        let id = ping["ping_id"].as_str().context("no ping_id")?;
        let session = get(stage, &format!("/v1/pings/{id}"))?;
        ensure!(session["status"] == "consumed" && session["number"] == number, "{session:#}");

        // Both numbers lent, the next visitor gets none.
        accepted(stage, &json!({ "pool": "pool" }))?;
        let third = accepted(stage, &json!({ "pool": "pool" }))?;
        ensure!(third["number_status"] == "exhausted" && third["number"].is_null(), "{third:#}");
        Ok(())
    });
}

#[test]
fn a_call_to_a_static_number_is_matched_by_its_caller_or_by_the_number_alone() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        call(stage, NUMBER, "unannounced")?;
        let found = detail(stage, "unannounced")?;
        ensure!(found["match_method"] == "static_mapping", "{found:#}");
        ensure!(found["confidence"] == 0.0 && found["session_id"].is_null(), "{found:#}");

        let other = json!({ "campaign": "failover", "caller_id": CALLER });
        accepted(stage, &other)?;
        let ping =
            accepted(stage, &json!({ "campaign": "alone", "caller_id": "1 (614) 555-0188" }))?;
        ensure!(ping["number_status"] == "not_asked", "{ping:#}");
        call(stage, NUMBER, "announced")?;
        let found = detail(stage, "announced")?;
        ensure!(found["match_method"] == "caller_ping", "{found:#}");
        ensure!(found["confidence"] == 0.9, "{found:#}");
        ensure!(found["session_id"] == ping["session_id"], "{found:#}");
        Ok(())
    });
}

#[test]
fn a_ping_that_is_wrong_is_told_where() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        for (body, status, code, pointer) in [
            (json!({ "campaign": "alone" }), 422, "ping.refused", "/caller_id"),
            (json!({ "campaign": "nope", "caller_id": CALLER }), 422, "ping.refused", "/campaign"),
            (json!({ "pool": "nope" }), 422, "ping.refused", "/pool"),
            (json!({ "pool": "pool", "publisher": "x" }), 422, "ping.refused", "/publisher"),
            (json!({ "pool": "pool", "caller_id": "12" }), 422, "ping.refused", "/caller_id"),
            (json!({ "pool": "pool", "ttl_s": 0 }), 422, "ping.refused", "/ttl_s"),
            (json!({ "pool": "pool", "ttl_s": "x" }), 400, "body.mistyped", "/ttl_s"),
            (
                json!({ "pool": "pool", "colour": 1, "strict": true }),
                400,
                "body.mistyped",
                "/colour",
            ),
            (
                json!({ "pool": "pool", "tags": { "a": "x".repeat(300) } }),
                422,
                "ping.refused",
                "/tags/a",
            ),
            (json!([1]), 400, "body.mistyped", ""),
        ] {
            let answer = ping(stage, &body)?;
            answer.is_problem(status, code).with_context(|| body.to_string())?;
            let problem = answer.json()?;
            ensure!(problem["errors"][0]["pointer"] == pointer, "{body} got {problem:#}");
        }
        Ok(())
    });
}

/// What pings for `alone` may say, and the ZIP codes of a city in a file.
const TRADE: &str = r#"
[[verticals]]
id = "auto"
unknown = "refuse"
tags = [
  { name = "lead.insured", type = "enum", values = ["yes", "no"], required = true },
  { name = "lead.age", type = "integer", min = 18, aliases = ["age"] },
  { name = "lead.income", type = "money", pii = true },
]
[[sets]]
id = "columbus"
kind = "zip"
"#;

#[test]
fn every_tag_that_a_vertical_does_not_take_is_told_at_once() {
    let set = ["campaigns.alone.vertical=auto", "sets.columbus.values=[\"43215\"]"];
    play_with(Setup { more: TRADE, set: &set, ..Setup::default() }, |stage| {
        let body = json!({
            "campaign": "alone", "caller_id": CALLER, "state": "Ohoi", "zip": "4321",
            "lead": { "income": "much" }, "tags": { "age": 17, "utm": "x", "list": [1] },
        });
        let answer = ping(stage, &body)?;
        answer.is_problem(422, "ping.refused")?;
        let problem = answer.json()?;
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let told: BTreeSet<_> = errors
            .iter()
            .filter_map(|error| Some((error["pointer"].as_str()?, error["code"].as_str()?)))
            .collect();
        let expected = [
            ("/lead/income", "malformed"),
            ("/lead/insured", "missing"),
            ("/state", "malformed"),
            ("/tags/age", "malformed"),
            ("/tags/list", "malformed"),
            ("/tags/utm", "unknown"),
            ("/zip", "malformed"),
        ];
        ensure!(told == BTreeSet::from(expected), "{problem:#}");
        ensure!(!answer.body.contains("much"), "what was sent is not repeated: {problem:#}");

        let body = json!({
            "campaign": "alone", "caller_id": CALLER, "state": "ohio", "zip": "43215-1234",
            "lead": { "insured": "Yes" }, "tags": { "age": 41 },
        });
        let taken = accepted(stage, &body)?;
        let id = taken["ping_id"].as_str().context("no ping_id")?;
        let tags = json!({
            "geo.state": "OH", "geo.zip": "43215", "geo.zip3": "432", "lead.age": "41",
            "lead.insured": "yes",
        });
        ensure!(get(stage, &format!("/v1/pings/{id}"))?["tags"] == tags);
        Ok(())
    });
}

#[test]
fn a_call_is_routed_by_a_set_of_zip_codes_and_by_where_its_number_is() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# Columbus\n43085\n43201-43240").unwrap();
    let set = [
        "campaigns.alone.vertical=auto",
        &format!("sets.columbus.file={}", file.path().display()),
        "targets.alone.filters.all=[{ tag = \"geo.state\", op = \"eq\", value = \"OH\" }, \
         { tag = \"geo.zip\", op = \"in_set\", value = \"columbus\" }]",
    ];
    play_with(Setup { more: TRADE, set: &set, ..Setup::default() }, |stage| {
        let filter = |stage: &Stage, call_id: &str, tag: &str| -> Result<Value> {
            let id = id_of(&record(stage, call_id)?)?;
            let shown = get(stage, &format!("/v1/calls/{id}/explain"))?;
            let steps = shown["steps"].as_array().context("no steps")?;
            steps.iter().find(|it| it["subject"] == tag).cloned().context("no such step")
        };
        refused(stage, NUMBER, "unannounced", 480)?;
        let state = filter(stage, "unannounced", "geo.state")?;
        ensure!(state["verdict"] == "passed" && state["basis"] == "npa", "{state:#}");
        ensure!(state["confidence"] == 0.5, "{state:#}");
        let zip = filter(stage, "unannounced", "geo.zip")?;
        ensure!(zip["reason"] == "filter.missing_tag" && zip["basis"].is_null(), "{zip:#}");

        let ping = |zip: &str| {
            let lead = json!({ "insured": "no" });
            json!({ "campaign": "alone", "caller_id": CALLER, "zip": zip, "lead": lead })
        };
        accepted(stage, &ping("10001"))?;
        refused(stage, NUMBER, "elsewhere", 480)?;
        let zip = filter(stage, "elsewhere", "geo.zip")?;
        ensure!(zip["reason"] == "filter.mismatch" && zip["have"] == "10001", "{zip:#}");
        ensure!(zip["basis"] == "declared" && zip["want"] == "in_set columbus", "{zip:#}");

        accepted(stage, &ping("43215-1234"))?;
        call(stage, NUMBER, "columbus")?;

        // A reload reads the file too; with a fault in it all stays as it was.
        let rewrite = |text: &str| std::fs::write(file.path(), text);
        rewrite("43085\n4321\n")?;
        let answer = ask(stage.api, "POST", "/v1/config:reload", KEY, "")?;
        answer.is_problem(422, "config.refused")?;
        ensure!(answer.body.contains("line 2: `4321` is no ZIP code"), "{answer:?}");
        call(stage, NUMBER, "columbus-still")?;
        rewrite("43085\n")?;
        let answer = ask(stage.api, "POST", "/v1/config:reload", KEY, "")?;
        ensure!(answer.status == 200, "{answer:?}");
        refused(stage, NUMBER, "columbus-no-more", 480)
    });
}

#[test]
fn a_call_is_routed_by_the_record_of_its_line_and_what_a_ping_says_goes_before_it() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "number,state,line_type\n6145550,OH,voip\n+16145550188,KY,mobile").unwrap();
    let set = [
        &*format!("geo.line_records={}", file.path().display()),
        "targets.alone.filters.all=[\
         { tag = \"geo.state\", op = \"eq\", value = \"KY\", min_basis = \"line_record\" }, \
         { tag = \"line_type\", op = \"eq\", value = \"mobile\" }]",
    ];
    play(&set, |stage| {
        let steps = |stage: &Stage, call_id: &str| -> Result<Vec<[String; 3]>> {
            let id = id_of(&record(stage, call_id)?)?;
            let shown = get(stage, &format!("/v1/calls/{id}/explain"))?;
            let replayed = get(stage, &format!("/v1/calls/{id}/replay"))?;
            ensure!(replayed["same"] == true, "{replayed:#}");
            let steps = shown["steps"].as_array().context("no steps")?.iter();
            let of_tags = steps.filter(|it| it["check"] == "filter");
            let of = |it: &Value, field: &str| it[field].as_str().unwrap_or("-").to_owned();
            let texts =
                of_tags.map(|it| ["subject", "verdict", "basis"].map(|field| of(it, field)));
            Ok(texts.collect())
        };
        let passed = |tag: &str| [tag, "passed", "line_record"].map(str::to_owned);
        call(stage, NUMBER, "on-record")?;
        let found = steps(stage, "on-record")?;
        ensure!(found == [passed("geo.state"), passed("line_type")], "{found:?}");

        // A publisher that knows the place from elsewhere is believed rather than the record.
        let told =
            json!({ "campaign": "alone", "caller_id": CALLER, "tags": { "geo.state": "OH" } });
        accepted(stage, &told)?;
        refused(stage, NUMBER, "told", 480)?;
        let found = steps(stage, "told")?;
        ensure!(found == [["geo.state", "refused", "ping"].map(str::to_owned)], "{found:?}");

        // A reload reads the records too; with a fault in them all stays as it was.
        std::fs::write(file.path(), "number,state\n6145550188,Kentucky\n")?;
        let answer = ask(stage.api, "POST", "/v1/config:reload", KEY, "")?;
        answer.is_problem(422, "config.refused")?;
        ensure!(answer.body.contains("line 2 has something in the column `state`"), "{answer:?}");
        ensure!(!answer.body.contains("6145550188"), "{answer:?}");
        std::fs::write(file.path(), "number,state\n6145550188,OH\n")?;
        let answer = ask(stage.api, "POST", "/v1/config:reload", KEY, "")?;
        ensure!(answer.status == 200, "{answer:?}");
        // What was decided by the records of before is made again by what was found in them.
        let found = steps(stage, "on-record")?;
        ensure!(found == [passed("geo.state"), passed("line_type")], "{found:?}");
        Ok(())
    });
}

#[test]
fn the_same_request_twice_is_one_session() {
    play_with(Setup { more: POOL, ..Setup::default() }, |stage| {
        let body = json!({ "request_id": "click-1", "pool": "pool" });
        let (first, again) = (ping(stage, &body)?, ping(stage, &body)?);
        ensure!((first.status, again.status) == (202, 202), "{first:?}\n{again:?}");
        ensure!(first.json()? == again.json()?, "{first:?}\n{again:?}");
        // Pages may read the field, which every answer says.
        ensure!(!first.head.contains("idempotent-replayed:"), "{first:?}");
        ensure!(again.head.contains("idempotent-replayed: true"), "{again:?}");
        let other = json!({ "request_id": "click-1", "pool": "pool", "state": "OH" });
        ping(stage, &other)?.is_problem(422, "idempotency.mismatch")
    });
}

#[test]
fn sessions_and_used_caps_outlive_the_process() {
    let cap = "targets.alone.caps=[{ metric = \"connected\", window = \"total\", limit = 3 }]";
    play_with(Setup { more: POOL, set: &[cap], ..Setup::default() }, |stage| {
        let ping = accepted(stage, &json!({ "request_id": "keep", "pool": "pool" }))?;
        let number = ping["number"].as_str().context("no number")?.to_owned();
        let path = format!("/v1/pings/{}", ping["ping_id"].as_str().context("no ping_id")?);
        let ends: [fn(Program) -> Result<()>; 2] = [Program::stop, Program::kill];
        for (n, end) in ends.into_iter().enumerate() {
            let id = format!("before{n}");
            call(stage, &number, &id)?;
            record(stage, &id)?;
            stage.restart(end)?;
            let session = get(stage, &path)?;
            ensure!(session["number"] == *number, "{session:#}");
            let again = accepted(stage, &json!({ "request_id": "keep", "pool": "pool" }))?;
            ensure!(again["session_id"] == ping["session_id"], "{again:#}");
            ensure!(record(stage, &id)?["state"] == "closed", "the record is gone");
        }
        call(stage, &number, "third")?;
        let found = detail(stage, "third")?;
        ensure!(found["session_id"] == ping["session_id"], "{found:#}");
        ensure!(found["match_method"] == "pool_lease", "{found:#}");

        // Two connected before, one since: the cap is used up.
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite_to(&number), "fourth", &[], SDP))?;
        let heard = caller.hear(Duration::from_secs(3))?.context("no final")?;
        ensure!(heard.status().is_some_and(|status| status >= 400), "{}", heard.text);
        let to = heard.header("To").unwrap_or_default();
        confirm(&mut caller, stage, &number, "fourth", to)?;
        let id = id_of(&record(stage, "fourth")?)?;
        let explained = get(stage, &format!("/v1/calls/{id}/explain"))?;
        ensure!(explained["candidates"][0]["reason"] == "cap.full", "{explained:#}");
        Ok(())
    });
}

#[test]
fn calls_come_in_pages_newest_first_and_a_cursor_is_for_its_list_alone() {
    play(&[], |stage| {
        let mut ids = vec![];
        for n in 0..5 {
            let id = format!("page{n}");
            refused(stage, "+18005550300", &id, 404)?;
            ids.push(id_of(&record(stage, &id)?)?);
        }
        ids.reverse();
        let (mut found, mut path) = (vec![], String::from("/v1/calls?limit=2"));
        let mut sizes = vec![];
        loop {
            let page = get(stage, &path)?;
            let calls = page["calls"].as_array().context("no calls")?;
            sizes.push(calls.len());
            for call in calls {
                found.push(id_of(call)?);
            }
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/calls?limit=2&cursor={next}");
        }
        ensure!(found == ids, "{found:?} is not {ids:?}");
        ensure!(sizes == [2, 2, 1], "{sizes:?}");

        let first = get(stage, "/v1/calls?limit=2")?;
        let cursor = first["next"].as_str().context("no cursor")?;
        for (query, code, parameter) in [
            (format!("cursor={cursor}&trunk=loopback"), "query.cursor_invalid", "cursor"),
            (format!("cursor={cursor}0"), "query.cursor_invalid", "cursor"),
            (String::from("limit=0"), "query.malformed", "limit"),
            (String::from("limit=201"), "query.malformed", "limit"),
            (String::from("limit=2&limit=2"), "query.repeated", "limit"),
            (String::from("state=done"), "query.malformed", "state"),
            (String::from("reason=nothing"), "query.malformed", "reason"),
            (String::from("since=yesterday"), "query.malformed", "since"),
            (String::from("colour=red"), "query.unknown", "colour"),
        ] {
            let answer = ask(stage.api, "GET", &format!("/v1/calls?{query}"), KEY, "")?;
            answer.is_problem(400, code).with_context(|| query.clone())?;
            ensure!(answer.json()?["errors"][0]["parameter"] == parameter, "{query}: {answer:?}");
        }
        let none = get(stage, "/v1/calls?outcome=converted")?;
        ensure!(none["calls"] == json!([]) && none["next"].is_null(), "{none:#}");
        let all = get(stage, "/v1/calls?outcome=refused&did=%2B18005550300")?;
        ensure!(all["calls"].as_array().is_some_and(|calls| calls.len() == 5), "{all:#}");
        let reason = all["calls"][0]["end_reason"].as_str().context("it says why")?;
        let (mut found, mut cursor) = (0, String::new());
        loop {
            let page = get(stage, &format!("/v1/calls?reason={reason}&limit=2{cursor}"))?;
            let calls = page["calls"].as_array().context("a page has calls")?;
            ensure!(calls.iter().all(|call| call["end_reason"] == reason), "{page:#}");
            found += calls.len();
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        ensure!(found == 5, "{found} calls ended with {reason}");
        let none = get(stage, "/v1/calls?reason=cap.full")?;
        ensure!(none["calls"] == json!([]), "{none:#}");
        Ok(())
    });
}

#[test]
fn a_call_explains_itself() {
    play(&[], |stage| {
        call(stage, HUNTED, "explained")?;
        let found = detail(stage, "explained")?;
        ensure!(found["attempts"].as_array().is_some_and(|it| it.len() == 1), "{found:#}");
        let events = found["timeline"].as_array().context("no timeline")?;
        let events: Vec<_> = events.iter().filter_map(|it| it["event"].as_str()).collect();
        let place = |event: &str| events.iter().position(|it| *it == event);
        let places =
            ["call.admitted", "route.decided", "attempt.started", "call.answered", "call.ended"]
                .map(place);
        ensure!(places[0] == Some(0) && places.is_sorted(), "{events:?}");
        ensure!(places.iter().all(Option::is_some), "{events:?}");
        refused(stage, "+18005550300", "unknown-number", 404)?;
        for id in ["explained", "unknown-number"] {
            let path = format!("/v1/calls/{}/explain", id_of(&record(stage, id)?)?);
            let explained = get(stage, &path)?;
            let candidates = explained["candidates"].as_array().context("no candidates")?;
            for candidate in candidates {
                let is_dialed = candidate["dialed"] == true;
                ensure!(is_dialed == candidate["reason"].is_null(), "{explained:#}");
            }
            let targets: Vec<_> =
                candidates.iter().filter_map(|it| it["target"].as_str()).collect();
            let expected: &[&str] = if id == "explained" { &["first", "second"] } else { &[] };
            ensure!(targets == expected, "{explained:#}");
            ensure!(explained["text"].as_array().is_some_and(|it| !it.is_empty()), "{explained:#}");
        }
        for path in [
            "/v1/calls/cal_01954f2e7d1e70008000000000000001",
            "/v1/calls/cal_01954f2e7d1e70008000000000000001/explain",
        ] {
            ask(stage.api, "GET", path, KEY, "")?.is_problem(404, "call.not_found")?;
        }
        ask(stage.api, "GET", "/v1/calls/7", KEY, "")?.is_problem(400, "path.malformed")
    });
}

#[test]
fn a_live_call_is_seen_and_can_be_ended_on_both_sides() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let up = Call::up(stage, &mut caller, &mut target, "operated", &[])?;
        ensure!(up.offered.kind() == "INVITE", "{}", up.offered.text);
        let live = wait_for("the call to be live", Duration::from_secs(3), || {
            let page = get(stage, "/v1/calls/live")?;
            Ok(page["calls"].as_array().and_then(|calls| calls.first().cloned()))
        })?;
        ensure!(live["state"] == "open" && live["sip_call_id"] == "operated", "{live:#}");
        let path = format!("/v1/calls/{}", id_of(&live)?);
        ensure!(get(stage, &path)?["state"] == "open", "a live call is not shown");

        let hangup = format!("{path}/hangup");
        let answer = ask(stage.api, "POST", &hangup, KEY, "")?;
        ensure!(answer.status == 202, "{answer:?}");
        for line in [&mut caller, &mut target] {
            let bye = line.expect("BYE")?;
            line.send(response(line, &bye, "200 OK", &[], ""))?;
        }
        let found = detail(stage, "operated")?;
        ensure!(found["end_reason"] == "end.operator", "{found:#}");
        ensure!(found["end_party"] == "system" && found["answered_at"].is_string(), "{found:#}");
        wait_for("the call to be gone", Duration::from_secs(3), || {
            let page = get(stage, "/v1/calls/live")?;
            Ok((page["calls"] == json!([])).then_some(()))
        })?;
        ask(stage.api, "POST", &hangup, KEY, "")?.is_problem(404, "call.not_live")?;
        stage.is_clean()
    });
}

/// Those of spec/data §8.2 there are.
const METRICS: [&str; 22] = [
    "calls_total",
    "calls_active",
    "attempts_total",
    "call_setup_seconds",
    "talk_seconds",
    "call_end_total",
    "sip_messages_total",
    "sip_transactions_active",
    "sip_retransmissions_total",
    "sip_parse_errors_total",
    "sip_dropped_total",
    "route_decision_seconds",
    "route_no_match_total",
    "cap_overshoot_total",
    "holds_active",
    "pings_total",
    "ping_ack_seconds",
    "journal_commit_seconds",
    "journal_batch_records",
    "fact_gap_total",
    "api_requests_total",
    "build_info",
];

#[test]
fn metrics_have_the_names_of_the_specification_and_no_caller_is_told() {
    play(&[], |stage| {
        accepted(stage, &json!({ "campaign": "alone", "caller_id": CALLER }))?;
        call(stage, NUMBER, "measured")?;
        refused(stage, "+18005550300", "unmeasured", 404)?;
        let mut line = stage.udp()?;
        line.send(request(&line, "OPTIONS  sip:a SIP/2.0", "odd", &[]))?;

        // Shards count into the metrics once a second, the routing state every five.
        let mut missing = vec![];
        let metrics = wait_for("the metrics", Duration::from_secs(8), || {
            let text = http::get(stage.api, "/metrics")?.body;
            let lacks = |name: &&&str| !text.contains(&format!("\ntollbridge_{name}"));
            missing = METRICS.iter().filter(lacks).copied().collect();
            Ok(missing.is_empty().then_some(text))
        });
        let metrics = metrics.with_context(|| format!("missing: {missing:?}"))?;
        for text in [&metrics, &stage.log()] {
            ensure!(!text.contains(&CALLER[1..]), "the caller's number is in:\n{text}");
        }
        for line in metrics.lines().filter(|line| line.starts_with("tollbridge_")) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let kind = name.trim_end_matches("_bucket").trim_end_matches("_sum");
            let kind = kind.trim_end_matches("_count");
            ensure!(metrics.contains(&format!("# TYPE {kind} ")), "no type of {name}");
        }
        Ok(())
    });
}

/// With a name for each of its parameters.
fn path_of(template: &str) -> String {
    let names = ["{id}", "{number}", "{grid}", "{uri}", "{uuid}"];
    names.iter().fold(template.to_owned(), |path, name| path.replace(name, "x"))
}

#[test]
fn the_openapi_document_lists_every_route() {
    play(&[], |stage| {
        let document = get(stage, "/openapi.json")?;
        ensure!(document["openapi"].as_str().is_some_and(|it| it.starts_with("3.1")), "no 3.1");
        let paths = document["paths"].as_object().context("no paths")?;
        let mut listed = BTreeSet::new();
        for (path, operations) in paths {
            for method in operations.as_object().context("no operations")?.keys() {
                listed.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let expected = [
            "GET /api/bid/{grid}",
            "GET /api/v1/inbound_webhooks/ping/{uri}",
            "GET /api/v1/inbound_webhooks/post/{uri}",
            "GET /healthz",
            "GET /metrics",
            "GET /openapi.json",
            "GET /readyz",
            "GET /v1/account",
            "GET /v1/calls",
            "GET /v1/calls/live",
            "GET /v1/calls/{id}",
            "GET /v1/calls/{id}/explain",
            "GET /v1/calls/{id}/replay",
            "GET /v1/campaigns/{id}/effective",
            "GET /v1/caps",
            "GET /v1/consumers",
            "GET /v1/dead-letters",
            "GET /v1/dead-letters/{id}",
            "GET /v1/dni.js",
            "GET /v1/enrichers",
            "GET /v1/fraud/publishers",
            "GET /v1/fraud/targets",
            "GET /v1/numbers/{number}",
            "GET /v1/numbers/{number}/effective",
            "GET /v1/p",
            "GET /v1/pings/{id}",
            "GET /v1/pools",
            "GET /v1/pools/{id}/effective",
            "GET /v1/production/{id}",
            "GET /v1/publishers/{id}/effective",
            "GET /v1/rollups",
            "GET /v1/sessions/{id}",
            "GET /v1/targets",
            "GET /v1/targets/{id}/effective",
            "GET /v1/trunks/{id}/effective",
            "GET /v1/ways",
            "PATCH /rtbs/{uuid}",
            "POST /api/bid/{grid}",
            "POST /api/v1/inbound_webhooks/ping/{uri}",
            "POST /api/v1/inbound_webhooks/post/{uri}",
            "POST /rtbs.json",
            "POST /v1/buyers/{id}/deposits",
            "POST /v1/calls/{id}/hangup",
            "POST /v1/caps/{id}/reset",
            "POST /v1/config:diff",
            "POST /v1/config:reload",
            "POST /v1/dead-letters:discard",
            "POST /v1/dead-letters:replay",
            "POST /v1/pings",
            "POST /v1/pings:batch",
            "POST /v1/production/{id}",
            "POST /v1/sessions",
            "POST /v1/sessions/{id}:heartbeat",
            "POST /v1/sessions/{id}:release",
            "POST /v1/simulate/call",
            "PUT /rtbs/{uuid}",
            "PUT /v1/buyers/{id}/ready_agents",
            "PUT /v1/targets/{id}/ready_agents",
        ];
        ensure!(listed == BTreeSet::from(expected.map(str::to_owned)), "{listed:?}");
        for route in listed {
            let (method, path) = route.split_once(' ').context("no path")?;
            let answer = ask(stage.api, method, &path_of(path), KEY, "")?;
            ensure!(!answer.body.contains("route.not_found"), "{route}: {answer:?}");
            ensure!(answer.status != 405, "{route}: {answer:?}");
        }
        Ok(())
    });
}

#[test]
fn a_body_that_is_late_broken_or_too_large_is_refused() {
    play(&[], |stage| {
        let head = |length: usize| {
            format!(
                "POST /v1/pings HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{JSON}\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        raw(stage.api, &(head(100) + "{\"pool\""), false)?.is_problem(408, "body.timeout")?;
        raw(stage.api, &(head(7) + "{\"pool\""), false)?.is_problem(400, "body.syntax")?;
        raw(stage.api, &(head(3) + "\u{ff}\u{fe}"), false)?.is_problem(400, "body.syntax")?;
        raw(stage.api, &(head(70_000) + &" ".repeat(70_000)), false)?
            .is_problem(413, "body.too_large")?;
        let text = JSON.replace("application/json", "text/plain");
        ask(stage.api, "POST", "/v1/pings", &text, "{}")?.is_problem(415, "body.media_type")?;
        ensure!(raw(stage.api, "NONSENSE\r\n\r\n", false)?.status == 400, "nonsense");
        ensure!(get(stage, "/v1/calls")?["calls"] == json!([]), "it should still answer");
        Ok(())
    });
}

#[test]
fn a_body_that_breaks_off_is_refused() {
    play(&[], |stage| {
        let head =
            format!("POST /v1/pings HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 100\r\n\r\n");
        raw(stage.api, &(head + "{\"pool\""), true)?.is_problem(400, "body.incomplete")
    });
}
