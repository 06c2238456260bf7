//! In which order targets are tried, as calls meet it (spec/domain §2.5).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::peer::{SDP, request, response, with_body};
use super::program::Program;
use super::{Call, Setup, Stage, play, play_with};
use crate::support::{api, http, wait_for};

/// Nothing is thought of it beforehand, so what is expected is what happened.
const BY_PERFORMANCE: &str = r#"campaigns.alone.routing={
    distribution = { by = "performance", min_calls = 1, exploration_pct = 0, default_calls = 0 },
    tiers = [{ targets = [{ target = "alone" }] }] }"#;

#[test]
fn how_calls_went_is_counted_and_known_after_a_crash() {
    play(&[BY_PERFORMANCE], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        ensure!(expected(stage)?.ends_with("by default, for want of calls"));
        caller.send(with_body(&caller, &stage.invite(), "busy", &[], SDP))?;
        let invite = target.expect("INVITE")?;
        target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
        caller.expect("486 INVITE")?;
        Call::up(stage, &mut caller, &mut target, "good", &[])?.end(&mut caller, &mut target)?;

        let two = "connects 50.0 % ± 28.9, converts 0.0 % ± 0.0, by 2 calls of target, publisher \
                   and campaign";
        let told = expected(stage)?;
        ensure!(told.contains(two), "{told}");

        // One was on record, one was not.
        Call::up(stage, &mut caller, &mut target, "cut-off", &[])?;
        stage.restart(Program::kill)?;
        let told = expected(stage)?;
        ensure!(told.contains("connects 66.7 %") && told.contains("by 3 calls"), "{told}");
        stage.is_clean()
    });
}

/// What is thought of both beforehand is that 18 calls of a hundred convert: to try the worse one
/// costs 16.20.
#[test]
fn what_it_has_cost_today_to_learn_about_targets_is_known_after_a_crash() {
    let routing = r#"campaigns.alone.routing={
        distribution = { by = "performance", exploration_pct = 100, exploration_daily = "20.00" },
        tiers = [{ targets = [{ target = "alone" }, { target = "single" }] }] }"#;
    let worth = |target: &str, revenue: &str| {
        format!(r#"targets.{target}.conversion={{ seconds = 3600, revenue = "{revenue}" }}"#)
    };
    let (better, worse) = (worth("alone", "100.00"), worth("single", "10.00"));
    play(&[routing, &better, &worse], |stage| {
        let mut calls = 0;
        let mut first = |stage: &Stage| -> Result<String> {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            let name = format!("call-{calls}");
            Call::up(stage, &mut caller, &mut target, &name, &[])?.end(&mut caller, &mut target)?;
            calls += 1;
            wait_for("the call to be on record", Duration::from_secs(5), || {
                let known = api::calls(stage.api)?;
                let are_over = known.len() == calls && known.iter().all(api::Call::is_over);
                let newest = known.first().filter(|_| are_over);
                Ok(newest.and_then(|call| Some(call.attempts.first()?.target.clone())))
            })
        };
        let mut tries = 0;
        while first(stage)? != "single" {
            tries += 1;
            ensure!(tries < 40, "a call of two should be for learning");
        }
        for crash in [false, true] {
            if crash {
                stage.restart(Program::kill)?;
            }
            for _ in 0..12 {
                ensure!(first(stage)? == "alone", "a second time costs too much, crash: {crash}");
            }
        }
        stage.is_clean()
    });
}

#[test]
fn a_tier_that_goes_by_performance_from_a_reload_on_knows_the_calls_of_before() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "before", &[])?.end(&mut caller, &mut target)?;
        stage.has_a_record()?;
        let plain = "routing = { tiers = [{ tier = 1, targets = [{ target = \"alone\" }] }] }";
        let ranked = BY_PERFORMANCE.replace("campaigns.alone.routing=", "routing = ");
        stage.reload_with(plain, &ranked)?;

        let told = expected(stage)?;
        ensure!(told.contains("connects 100.0 %") && told.contains("by 1 call of"), "{told}");
        stage.is_clean()
    });
}

/// What it does with a connection.
type Manner = fn(TcpStream);

#[test]
fn a_scorer_that_answers_in_time_orders_the_tier_and_is_not_told_who_calls() {
    let (heard, hears) = mpsc::channel();
    let scorer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = scorer.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for stream in scorer.incoming().flatten() {
            let mut stream = stream;
            let question = question(&mut stream);
            answer(&mut stream, r#"{ "scores": { "alone": 0.2, "single": 0.9, "other": 1 } }"#);
            let _ = heard.send(question);
        }
    });
    play_asking(port, 200, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "scored", &[])?.end(&mut caller, &mut target)?;

        let told = explained(stage)?;
        ensure!(told[0] == "single: dialled as number 1; m scores 0.90", "{told:?}");
        ensure!(told[1].starts_with("alone: number 2 in the plan; m scores 0.20"), "{told:?}");
        let question: Value = serde_json::from_str(&hears.recv_timeout(Duration::from_secs(5))?)?;
        ensure!(question["candidates"][1]["target"] == "single", "{question}");
        ensure!(question["campaign"] == "alone", "{question}");
        ensure!(!question.to_string().contains("+1614"), "{question}");
        let replayed = replayed(stage)?;
        ensure!(replayed["same"] == true, "{replayed}");
        stage.is_clean()
    });
}

/// Silence, refusal, nonsense, a trickle, a flood, and nobody: the call goes on after its deadline.
#[test]
fn whatever_a_scorer_does_a_call_waits_no_longer_than_its_deadline() {
    let manners: [Manner; 6] = [
        |stream| {
            std::thread::sleep(Duration::from_secs(20));
            drop(stream);
        },
        drop,
        |mut stream| {
            question(&mut stream);
            answer(&mut stream, r#"{ "scores": "all of them" }"#);
        },
        |mut stream| {
            question(&mut stream);
            for byte in
                b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{ \"scores\": {".iter().cycle()
            {
                std::thread::sleep(Duration::from_millis(20));
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
            }
        },
        |mut stream| {
            question(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
        },
        |mut stream| {
            question(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        },
    ];
    let mut ports = vec![closed_port()];
    for manner in manners {
        let scorer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        ports.push(scorer.local_addr().expect("it is bound").port());
        std::thread::spawn(move || {
            for stream in scorer.incoming().flatten() {
                std::thread::spawn(move || manner(stream));
            }
        });
    }
    for (number, port) in ports.into_iter().enumerate() {
        play_asking(port, 50, |stage| {
            let (mut caller, mut target) = (stage.udp()?, stage.target()?);
            let began = Instant::now();
            caller.send(with_body(&caller, &stage.invite(), "unscored", &[], SDP))?;
            let invite = target.expect("INVITE")?;
            // Far below the 20 s of silence, with room for a busy machine.
            ensure!(began.elapsed() < Duration::from_secs(2), "manner {number} holds it up");
            target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
            target.expect("ACK")?;
            let invite = target.expect("INVITE")?;
            target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
            target.expect("ACK")?;
            caller.expect("486 INVITE")?;

            let told = explained(stage)?;
            ensure!(told[0] == "alone: dialled as number 1; no score of m in time", "{told:?}");
            let replayed = replayed(stage)?;
            ensure!(replayed["same"] == true, "{replayed}");
            stage.is_clean()
        });
    }
}

#[test]
fn what_one_scorer_said_counts_whoever_else_says_nothing() {
    let scorer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port_of = |it: &TcpListener| it.local_addr().expect("it is bound").port();
    let (port, silent_port) = (port_of(&scorer), port_of(&silent));
    std::thread::spawn(move || {
        for stream in scorer.incoming().flatten() {
            let mut stream = stream;
            question(&mut stream);
            answer(&mut stream, r#"{ "scores": { "alone": 0.2, "single": 0.9 } }"#);
        }
    });
    let scorers: String = [("m", port), ("n", silent_port)]
        .map(|(id, port)| {
            format!(
                "[[scorers]]\nid = \"{id}\"\nkind = \"http\"\ndeadline_ms = 200\n\
                 url = \"http://127.0.0.1:{port}/score\"\n"
            )
        })
        .concat();
    let routing = r#"campaigns.alone.routing={ tiers = [
        { tier = 1, distribution = { by = "scorer", scorer = "m" },
          targets = [{ target = "alone" }, { target = "single" }] },
        { tier = 2, distribution = { by = "scorer", scorer = "n" },
          targets = [{ target = "first" }, { target = "second" }] }] }"#;
    let [http, ports, here] = &may_ask(&[port, silent_port], "127.0.0.1");
    let set = [http, ports, here, routing];
    play_with(Setup { set: &set, more: &scorers, ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "one", &[])?.end(&mut caller, &mut target)?;

        let told = explained(stage)?;
        ensure!(told[0] == "single: dialled as number 1; m scores 0.90", "{told:?}");
        ensure!(told.iter().any(|line| line.contains("no score of n in time")), "{told:?}");
        drop(silent);
        stage.is_clean()
    });
}

#[test]
fn a_caller_who_gives_up_while_a_scorer_is_asked_is_let_go() {
    let scorer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = scorer.local_addr().expect("it is bound").port();
    play_asking(port, 200, |stage| {
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite(), "gone", &[], SDP))?;
        std::thread::sleep(Duration::from_millis(30));
        let cancel = stage.invite().replace("INVITE", "CANCEL");
        caller.send(request(&caller, &cancel, "gone", &[]))?;
        caller.expect("200 CANCEL")?;
        caller.expect("487 INVITE")?;
        // Its time comes, and nothing is left to be decided.
        std::thread::sleep(Duration::from_millis(300));
        stage.is_alive(&mut caller, "alive")?;
        stage.is_clean()
    });
}

/// Plays with two targets at one address, in the order that a scorer at this port says.
fn play_asking(port: u16, deadline_ms: u32, part: impl FnOnce(&mut Stage) -> Result<()>) {
    let scorer = format!(
        "[[scorers]]\nid = \"m\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/score\"\n\
         deadline_ms = {deadline_ms}\n"
    );
    let routing = r#"campaigns.alone.routing={ distribution = { by = "scorer", scorer = "m" },
        tiers = [{ targets = [{ target = "alone" }, { target = "single" }] }] }"#;
    let [http, ports, here] = &may_ask(&[port], "127.0.0.1");
    let set = [http, ports, here, routing];
    play_with(Setup { set: &set, more: &scorer, ..Setup::default() }, part);
}

/// That scorers and enrichers may be asked at these ports, in clear text, if they are there.
pub(super) fn may_ask(ports: &[u16], there: &str) -> [String; 3] {
    [
        String::from("egress.allow_http=true"),
        format!("egress.ports={ports:?}"),
        format!("egress.allow_cidrs=[\"{there}\"]"),
    ]
}

fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The body of a request; empty if there is none.
pub(super) fn question(stream: &mut impl Read) -> String {
    let mut request = String::new();
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        request.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").and_then(|it| it.trim().parse::<usize>().ok())
        });
        if length.is_some_and(|length| body.len() >= length) {
            return body.to_owned();
        }
    }
    String::new()
}

pub(super) fn answer(stream: &mut impl Write, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let _ = stream.flush();
}

/// What is said of each target of the last call.
pub(super) fn explained(stage: &Stage) -> Result<Vec<String>> {
    let call = last_call(stage)?;
    let reply = http::get(stage.api, &format!("/v1/calls/{call}/explain"))?;
    let told: Value = serde_json::from_str(&reply.body)?;
    let lines = told["text"].as_array().into_iter().flatten().skip(1);
    Ok(lines.filter_map(Value::as_str).map(str::to_owned).collect())
}

pub(super) fn replayed(stage: &Stage) -> Result<Value> {
    let call = last_call(stage)?;
    let reply = http::get(stage.api, &format!("/v1/calls/{call}/replay"))?;
    Ok(serde_json::from_str(&reply.body)?)
}

pub(super) fn last_call(stage: &Stage) -> Result<String> {
    wait_for("the call to be on record", Duration::from_secs(5), || {
        let over = api::calls(stage.api)?.into_iter().find(api::Call::is_over);
        Ok(over.map(|call| call.call_id))
    })
}

/// What is said for the target of a call that is only thought of.
fn expected(stage: &Stage) -> Result<String> {
    let reply = http::post(stage.api, "/v1/simulate/call", r#"{ "dialed": "+18005550150" }"#)?;
    let thought: Value = serde_json::from_str(&reply.body)?;
    let lines = thought["decision"]["text"].as_array().into_iter().flatten();
    let of_target = |line: &&str| line.starts_with("alone: number 1");
    Ok(lines.filter_map(Value::as_str).find(of_target).unwrap_or(&reply.body).to_owned())
}
