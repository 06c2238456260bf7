//! Scorers that are asked over TLS (spec/domain §2.5).

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

use super::peer::{SDP, response, with_body};
use super::ranking::{answer, explained, question};
use super::tls::{loaded, provider};
use super::{Setup, Stage, play_with};
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
        let scored = api::metrics(stage.api)?.into_keys().find(|it| it.contains("\"scored\""));
        ensure!(scored.is_none(), "{scored:?}");
        stage.is_clean()
    });
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
        let scorer = format!(
            "[[scorers]]\nid = \"m\"\nkind = \"http\"\nurl = \"https://127.0.0.1:{}/score\"\n\
             deadline_ms = 200\ntls = {{ extra_ca = {trusts:?}, {shows} }}\n",
            self.port
        );
        let routing = r#"campaigns.alone.routing={ distribution = { by = "scorer", scorer = "m" },
            tiers = [{ targets = [{ target = "alone" }, { target = "single" }] }] }"#;
        play_with(Setup { set: &[routing], more: &scorer, ..Setup::default() }, part);
    }
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
