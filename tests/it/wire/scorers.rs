//! Scorers that are asked over TLS, and for the sake of an answer (spec/domain §2.5).

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::decisions::tollbridge;
use super::peer::{SDP, response, with_body};
use super::ranking::{answer, explained, may_ask, question};
use super::tls::{loaded, provider};
use super::{NUMBER, Setup, Stage, play_with};
use crate::support::authority::{Authority, Issued};
use crate::support::{api, http, wait_for};

#[test]
fn a_scorer_over_tls_is_known_by_its_authority_and_sees_a_certificate_that_a_reload_renews() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let scorer = Scorer::new(&authority);
    let shown = authority.issue(&["first.example"]);
    let of_client = format!("client_cert = {:?}, client_key = {:?}", shown.chain, shown.key);
    scorer.play(&authority.file, &of_client, |stage| {
        let mut calls = 0;
        let mut asks = |stage: &Stage, shown: &Issued| {
            let expected = CertificateDer::from_pem_file(&shown.chain)?;
            wait_for("the scorer to be asked and heard", Duration::from_secs(10), || {
                calls += 1;
                refused(stage, calls)?;
                let is_scored = explained(stage)?[0].contains("m scores 0.90");
                let saw = scorer.saw.try_iter().last();
                Ok((is_scored && saw.is_some_and(|it| it == expected)).then_some(()))
            })
        };
        asks(stage, &shown)?;

        let renewed = authority.issue(&["second.example"]);
        fs::copy(&renewed.chain, &shown.chain)?;
        fs::copy(&renewed.key, &shown.key)?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
        asks(stage, &renewed)?;

        fs::write(&shown.key, "no key")?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 422, "{}: {}", reply.status, reply.body);
        ensure!(reply.body.contains("scorers[0].tls.client_key"), "{}", reply.body);
        asks(stage, &renewed)?;
        stage.is_clean()
    });
}

#[test]
fn a_scorer_that_another_authority_vouches_for_is_told_nothing_and_calls_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let theirs = Authority::new(folder.path(), "theirs");
    let scorer = Scorer::new(&theirs);
    scorer.play(&ours.file, "", |stage| {
        for call in 0..3 {
            refused(stage, call)?;
            let told = explained(stage)?;
            ensure!(told[0].ends_with(": dialled as number 1; no score of m in time"), "{told:?}");
        }
        ensure!(scorer.saw.try_recv().is_err(), "it was asked");
        let thought = simulated(stage, r#"{ "dialed": "+18005550150", "ask_scorers": true }"#)?;
        let (outcome, why) = (&thought["scorers"][0]["outcome"], &thought["scorers"][0]["why"]);
        // A busy machine may not even come to the refusal in time.
        let refused =
            outcome == "failed" && why.as_str().is_some_and(|it| it.contains("UnknownIssuer"));
        ensure!(refused || outcome == "late", "{thought}");
        let scored = api::metrics(stage.api)?.into_keys().find(|it| it.contains("\"scored\""));
        ensure!(scored.is_none(), "{scored:?}");
        stage.is_clean()
    });
}

#[test]
fn a_call_that_is_thought_of_asks_the_scorers_that_a_call_asks_and_goes_where_it_goes() {
    let scorer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = scorer.local_addr().expect("it is bound").port();
    let (heard, hears) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in scorer.incoming().flatten() {
            let mut stream = stream;
            let asked = question(&mut stream);
            answer(&mut stream, r#"{ "scores": { "alone": 0.2, "single": 0.9 } }"#);
            let _ = heard.send(asked);
        }
    });
    let plain = format!("http://127.0.0.1:{port}/score");
    play_asking(port, &plain, "", |stage| {
        let asked = |asks: Value| -> Result<Value> { simulated(stage, &asks.to_string()) };
        // Nobody is asked unprompted, nor if what it says is assumed.
        let call = json!({ "dialed": "+18005550150", "caller": "+16145550188" });
        let thought = asked(call.clone())?;
        let none = json!([{ "scorer": "m", "outcome": "not_asked", "why": null, "scores": {} }]);
        ensure!(thought["scorers"] == none, "{thought}");
        ensure!(
            lines(&thought)[0] == "alone: number 1 in the plan; no score of m in time",
            "{thought}"
        );
        let said = json!({ "m": { "alone": 0.8, "single": -0.25 } });
        let mut assumes = call.clone();
        assumes["ask_scorers"] = json!(true);
        assumes["assume"] = json!({ "scores": said });
        let thought = asked(assumes)?;
        ensure!(thought["scorers"][0]["outcome"] == "assumed", "{thought}");
        ensure!(thought["scorers"][0]["scores"] == said["m"], "{thought}");
        ensure!(lines(&thought)[0] == "alone: number 1 in the plan; m scores 0.80", "{thought}");
        ensure!(hears.try_recv().is_err(), "it was asked");

        // Until a machine is quick enough.
        let mut asks = call;
        asks["ask_scorers"] = json!(true);
        let thought = wait_for("the scorer to be heard", Duration::from_secs(10), || {
            let thought = asked(asks.clone())?;
            Ok((thought["scorers"][0]["outcome"] == "scored").then_some(thought))
        })?;
        let scores = json!({ "alone": 0.2, "single": 0.9 });
        ensure!(thought["scorers"][0]["scores"] == scores, "{thought}");
        ensure!(thought["first"] == json!({ "single": 1 }), "{thought}");
        let of_thought = hears.try_iter().last().context("it was asked")?;

        let told = wait_for("a call to be scored", Duration::from_secs(10), || {
            refused(stage, 0)?;
            let told = explained(stage)?;
            Ok(told[0].contains("m scores").then_some(told))
        })?;
        let of_call = hears.try_iter().last().context("it was asked")?;
        ensure!(without_names(&of_thought)? == without_names(&of_call)?, "{of_thought}\n{of_call}");
        let of_target = |line: &str| -> Vec<String> {
            line.split("; ").take(2).map(|it| it.replace(" in the plan", "")).collect()
        };
        let scores_of = |lines: &[String]| -> Vec<String> {
            lines.iter().take(2).filter_map(|line| of_target(line).pop()).collect()
        };
        ensure!(scores_of(&lines(&thought)) == ["m scores 0.90", "m scores 0.20"], "{thought}");
        ensure!(scores_of(&lines(&thought)) == scores_of(&told), "{thought} {told:?}");

        let may_ask = may_ask(&[port], "127.0.0.1");
        let mut simulate = vec!["simulate", "--dialed", NUMBER, "--set", ROUTING];
        simulate.extend(may_ask.iter().flat_map(|it| ["--set", it]));
        let sees = tollbridge(stage, &[&simulate[..], &["--score", "m:single=0.1"]].concat())?;
        ensure!(sees.contains("scorer m: assumed"), "{sees}");
        let sees = wait_for("the scorer to be heard", Duration::from_secs(10), || {
            let sees = tollbridge(stage, &[&simulate[..], &["--ask-scorers"]].concat())?;
            Ok(sees.contains("scorer m: scored").then_some(sees))
        })?;
        ensure!(sees.contains("single: number 1 in the plan; m scores 0.90"), "{sees}");
        stage.is_clean()
    });
}

#[test]
fn a_call_that_is_thought_of_waits_no_longer_than_a_call() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = silent.local_addr().expect("it is bound").port();
    play_asking(port, &format!("http://127.0.0.1:{port}/score"), "", |stage| {
        let thought = simulated(stage, r#"{ "dialed": "+18005550150", "ask_scorers": true }"#)?;
        ensure!(thought["scorers"][0]["outcome"] == "late", "{thought}");
        ensure!(
            lines(&thought)[0] == "alone: number 1 in the plan; no score of m in time",
            "{thought}"
        );
        ensure!(thought["first"] == json!({ "alone": 1 }), "{thought}");
        drop(silent);
        stage.is_clean()
    });
}

const ROUTING: &str = r#"campaigns.alone.routing={ distribution = { by = "scorer", scorer = "m" },
    tiers = [{ targets = [{ target = "alone" }, { target = "single" }] }] }"#;

/// What `POST /v1/simulate/call` answers.
fn simulated(stage: &Stage, body: &str) -> Result<Value> {
    let reply = http::post(stage.api, "/v1/simulate/call", body)?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
    Ok(serde_json::from_str(&reply.body)?)
}

/// What it says of targets.
fn lines(thought: &Value) -> Vec<String> {
    let lines = thought["decision"]["text"].as_array().into_iter().flatten().skip(1);
    lines.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A question but for the name and the instant of its call, and the trunk.
fn without_names(question: &str) -> Result<Value> {
    let mut question: Value = serde_json::from_str(question)?;
    for name in ["call", "at", "trunk"] {
        ensure!(question[name].take().is_string(), "{question}");
    }
    Ok(question)
}

/// Speaks TLS, wants a certificate, and prefers the second target.
struct Scorer {
    port: u16,
    /// The certificate that a question came with.
    saw: Receiver<CertificateDer<'static>>,
}

impl Scorer {
    /// It shows a certificate of this authority, and wants one.
    fn new(authority: &Authority) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let config = Arc::new(config(authority).expect("the files were just made"));
        let (heard, saw) = mpsc::channel();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, heard) = (Arc::clone(&config), heard.clone());
                std::thread::spawn(move || serve(config, socket, &heard));
            }
        });
        Self { port, saw }
    }

    /// Plays with two targets at one address, in the order that it says.
    fn play(&self, trusts: &Path, shows: &str, part: impl FnOnce(&mut Stage) -> Result<()>) {
        let tls = format!("tls = {{ extra_ca = {trusts:?}, {shows} }}\n");
        play_asking(self.port, &format!("https://127.0.0.1:{}/score", self.port), &tls, part);
    }
}

/// Plays with two targets at one address, in the order that a scorer at this URL says.
fn play_asking(port: u16, url: &str, more: &str, part: impl FnOnce(&mut Stage) -> Result<()>) {
    let scorer = format!(
        "[[scorers]]\nid = \"m\"\nkind = \"http\"\nurl = \"{url}\"\ndeadline_ms = 200\n{more}"
    );
    let [http, ports, here] = &may_ask(&[port], "127.0.0.1");
    let set = [http, ports, here, ROUTING];
    play_with(Setup { set: &set, more: &scorer, ..Setup::default() }, part);
}

fn config(authority: &Authority) -> Result<ServerConfig> {
    let (chain, key) = loaded(&authority.issue(&["127.0.0.1"]))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file)?)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = builder.with_client_cert_verifier(clients.build()?);
    Ok(builder.with_single_cert(chain, key)?)
}

/// One question a connection.
fn serve(config: Arc<ServerConfig>, socket: TcpStream, heard: &Sender<CertificateDer<'static>>) {
    let Ok(session) = ServerConnection::new(config) else { return };
    let mut stream = StreamOwned::new(session, socket);
    let asked = question(&mut stream);
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first).cloned();
    if let Some(shown) = shown.filter(|_| asked.contains("\"candidates\"")) {
        let _ = heard.send(shown.into_owned());
        answer(&mut stream, r#"{ "scores": { "alone": 0.2, "single": 0.9 } }"#);
        stream.conn.send_close_notify();
        let _ = stream.conn.complete_io(&mut stream.sock);
    }
}

/// A call that both targets refuse, and that is on record.
fn refused(stage: &Stage, number: usize) -> Result<()> {
    let known = api::calls(stage.api)?.len();
    let (mut caller, mut target) = (stage.udp()?, stage.target()?);
    let name = format!("asked-{number}");
    caller.send(with_body(&caller, &stage.invite(), &name, &[], SDP))?;
    for _ in 0..2 {
        let invite = target.expect("INVITE").context("at the target")?;
        target.send(response(&target, &invite, "486 Busy Here", &[], ""))?;
        target.expect("ACK")?;
    }
    caller.expect("486 INVITE")?;
    wait_for("the call to be on record", Duration::from_secs(5), || {
        let calls = api::calls(stage.api)?;
        Ok((calls.len() > known && calls.iter().all(api::Call::is_over)).then_some(()))
    })
}
