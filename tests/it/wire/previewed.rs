//! What a call that is only thought of would send, beside what a real one sends.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::decisions::tollbridge;
use super::peer::{Heard, with_body};
use super::{Call, NUMBER, Stage, play};
use crate::support::http;

/// What the caller of a thought offers.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                     m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
                     a=rtpmap:101 telephone-event/8000\r\n";

const CALLER: &str = "+16145550188";

#[test]
fn what_a_call_would_send_is_what_its_target_gets() {
    let told = r#"targets.alone.sip={ headers = { pass = ["X-Lead"],
        add = { "X-Call" = "{call.campaign};{call.did};{tag.header.x-lead}" } },
        identity = { caller = ["pai", "from"], diversion = "dialed" } }"#;
    let set = [
        r#"trunks.loopback.inbound.headers_capture=["X-Lead"]"#,
        r#"targets.alone.dialog={ session_timer = { se_s = 1800, min_se_s = 90 }, 100rel = "supported" }"#,
        told,
    ];
    play(&set, |stage| {
        let asked = json!({
            "dialed": NUMBER, "caller": CALLER, "trunk": "loopback", "tags": { "header.x-lead": "4711" },
        });
        let shown = thought(stage, &asked)?;
        let preview = &shown["sip_preview"];
        ensure!(preview["target"] == "alone" && preview["delivery"] == "bridge", "{preview:#}");
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let fields = ["x-lead: 4711"];
        caller.send(with_body(&caller, &stage.invite(), "real", &fields, OFFER))?;
        let call = Call::answered(&mut caller, &mut target)?;
        let (expected, invite) = (of_real(&call.offered), &preview["invite"]);
        ensure!(of_thought(invite)? == expected, "{invite:#}\n{expected:#?}");
        ensure!(invite["to"] == target.local.to_string() && invite["transport"] == "udp");
        let added = (String::from("X-Call"), format!("alone;{NUMBER};4711"));
        ensure!(expected.1.contains(&added), "{expected:#?}");
        call.end(&mut caller, &mut target)?;

        // Nobody knows who calls.
        let asked = json!({ "dialed": NUMBER, "trunk": "loopback" });
        let shown = thought(stage, &asked)?;
        let withheld = ["From: <sip:anonymous@anonymous.invalid>;tag=w"];
        caller.send(with_body(&caller, &stage.invite(), "withheld", &withheld, OFFER))?;
        let call = Call::answered(&mut caller, &mut target)?;
        let (expected, invite) = (of_real(&call.offered), &shown["sip_preview"]["invite"]);
        ensure!(of_thought(invite)? == expected, "{invite:#}\n{expected:#?}");
        call.end(&mut caller, &mut target)?;

        // What is agreed with the target changes, and not what was thought of before.
        let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
        stage.reload_with(alone, &format!("{alone}max_duration_s = 77\n"))?;
        let now = thought(stage, &json!({ "dialed": NUMBER }))?;
        ensure!(now["sip_preview"]["invite"].is_object(), "{now:#}");
        let before = thought(stage, &json!({ "dialed": NUMBER, "revision": 1 }))?;
        ensure!(before["first"] == json!({ "alone": 1 }), "{before:#}");
        ensure!(before["sip_preview"].is_null(), "{before:#}");
        stage.is_clean()
    });
}

#[test]
fn what_a_call_would_send_follows_a_reload() {
    play(&[], |stage| {
        let says = |stage: &Stage| -> Result<Option<String>> {
            let shown = thought(stage, &json!({ "dialed": NUMBER }))?;
            let (_, fields, _) = of_thought(&shown["sip_preview"]["invite"])?;
            Ok(fields.into_iter().find(|(name, _)| name == "X-New").map(|(_, value)| value))
        };
        ensure!(says(stage)?.is_none());
        let alone = "id = \"alone\"\nname = \"5070 alone\"\n";
        let told = format!("{alone}sip = {{ headers = {{ add = {{ \"X-New\" = \"1\" }} }} }}\n");
        stage.reload_with(alone, &told)?;
        ensure!(says(stage)?.as_deref() == Some("1"));
        Ok(())
    });
}

#[test]
fn a_target_that_we_do_not_call_is_sent_nothing() {
    let handed = ["trunks.loopback.dialog.redirect_ok=true", "targets.alone.sip.delivery=redirect"];
    let barred = ["targets.alone.sip.destinations={ deny = [\"+1800\"] }"];
    for (set, trunk, delivery, reason) in [
        (&handed[..], "loopback", "redirect", Value::Null),
        (&barred[..], "loopback", "bridge", json!("attempt.destination_barred")),
        (&barred[..], "", "bridge", json!("attempt.destination_barred")),
    ] {
        play(set, |stage| {
            let shown = thought(stage, &json!({ "dialed": NUMBER, "trunk": trunk }))?;
            let expected = json!({
                "target": "alone", "delivery": delivery, "invite": null, "reason": reason,
            });
            ensure!(shown["sip_preview"] == expected, "{:#}", shown["sip_preview"]);
            Ok(())
        });
    }
}

#[test]
fn the_command_line_shows_it_without_a_server() {
    play(&[], |stage| {
        let told =
            tollbridge(stage, &["simulate", "--dialed", NUMBER, "--caller", CALLER, "--sip"])?;
        let head = "alone would be sent to 127.0.0.1:5070 over udp:\n\nINVITE sip:+18005550150@127.0.0.1:5070 SIP/2.0\n";
        ensure!(told.contains(head), "{told}");
        ensure!(told.contains(&format!("From: <sip:{CALLER}@127.0.0.1:5060>;tag=")), "{told}");
        let told = tollbridge(stage, &["simulate", "--dialed", NUMBER, "--json"])?;
        let told: Value = serde_json::from_str(&told)?;
        let invite = &told["sip_preview"]["invite"];
        ensure!(invite["to"] == "127.0.0.1:5070", "{told:#}");
        let estimate = &told["latency_estimate"];
        ensure!(
            estimate["pdd_p50_ms"].is_null() && estimate["ring_timeout_ms"] == 30_000,
            "{told:#}"
        );
        let named = [
            "simulate",
            "--dialed",
            NUMBER,
            "--sip",
            "--set",
            "targets.alone.dial.uri=sip:queue.buyer.example",
        ];
        let told = tollbridge(stage, &named)?;
        ensure!(told.contains("alone would be sent no INVITE: attempt.unresolved"), "{told}");
        Ok(())
    });
}

/// Start line, fields and body of an INVITE, but for what is drawn anew for each.
type Written = (String, Vec<(String, String)>, String);

fn of_real(heard: &Heard) -> Written {
    let (head, body) = heard.text.split_once("\r\n\r\n").unwrap_or_default();
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    without_draws(start, fields.collect(), body)
}

fn of_thought(invite: &Value) -> Result<Written> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = invite["headers"].as_array().context("no fields")?.iter();
    let fields = fields.map(|field| (text(&field["name"]), text(&field["value"]))).collect();
    Ok(without_draws(text(&invite["start_line"]), fields, &text(&invite["body"])))
}

fn without_draws(start: String, mut fields: Vec<(String, String)>, body: &str) -> Written {
    for (name, value) in &mut fields {
        let drawn = match name.as_str() {
            "Via" => "branch=",
            "From" => "tag=",
            "Call-ID" => "tb",
            // As long as the number of the session is.
            "Content-Length" => "",
            _ => continue,
        };
        value.truncate(value.find(drawn).map_or(0, |at| at + drawn.len()));
    }
    let origin = |line: &str| {
        let mut words = line.split(' ').collect::<Vec<_>>();
        if line.starts_with("o=") && words.len() == 6 {
            words[1] = "N";
        }
        words.join(" ")
    };
    (start, fields, body.split("\r\n").map(origin).collect::<Vec<_>>().join("\n"))
}

fn thought(stage: &Stage, asked: &Value) -> Result<Value> {
    let reply = http::post(stage.api, "/v1/simulate/call", &asked.to_string())?;
    ensure!(reply.status == 200, "{asked}: {} {}", reply.status, reply.body);
    reply.json()
}
