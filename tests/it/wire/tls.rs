//! Calls over TLS through the running server (spec/sip T7, T8, T11 to T14, B11).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::guard::{config, write};
use super::peer::{Line, SDP, request, response, with_body};
use super::{Call, STRANGERS, Setup, Stage, play_with};
use crate::support::authority::{Authority, Issued};
use crate::support::{api, http, ports, wait_for};

#[test]
fn a_call_from_tls_is_ended_from_either_side_on_its_connection() {
    World::new().play(&[], |stage, world| {
        let (mut caller, mut target) = (world.caller(stage)?, stage.target()?);
        // Nothing listens there: only on the connection can a request arrive.
        let contact = format!("Contact: <sip:127.0.0.1:{};transport=tls>", stage.spare_port);
        let fields = [contact.as_str()];

        let invite = with_body(&caller, &stage.invite(), "first", &fields, SDP);
        caller.send(invite)?;
        let mut call = Call::answered(&mut caller, &mut target)?;
        let ours = format!("sip:{};transport=tls", stage.tls);
        ensure!(call.caller.target == ours, "our Contact is {}", call.caller.target);
        ensure!(call.target.target == format!("sip:{}", stage.sip), "{}", call.target.target);
        // The ACK is behind us when this is answered.
        caller.send(call.caller.next(&caller, "OPTIONS"))?;
        caller.expect("200 OPTIONS")?;
        // A re-INVITE from each side changes neither Contact.
        target.send(call.target.next_with(&target, "INVITE", &[&contact_of(&target)], SDP))?;
        let offered = caller.expect("INVITE").context("at the caller")?;
        ensure!(offered.header("Contact") == Some(&format!("<{ours}>")), "{}", offered.text);
        caller.send(response(&caller, &offered, "200 OK", &[], SDP))?;
        target.expect("200 INVITE")?;
        target.send(call.target.ack(&target))?;
        caller.expect("ACK")?;
        // As above: until that ACK is there, an INVITE from the other side meets glare.
        target.send(call.target.next(&target, "OPTIONS"))?;
        target.expect("200 OPTIONS")?;
        caller.send(call.caller.next_with(&caller, "INVITE", &fields, SDP))?;
        let offered = target.expect("INVITE").context("at the target")?;
        target.send(response(&target, &offered, "200 OK", &[], SDP))?;
        target.expect("ACK")?;
        let answered = caller.expect("200 INVITE")?;
        ensure!(answered.header("Contact") == Some(&format!("<{ours}>")), "{}", answered.text);
        caller.send(call.caller.ack(&caller))?;
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let bye = caller.expect("BYE").context("at the caller")?;
        let via = bye.header("Via").unwrap_or_default();
        ensure!(via.starts_with(&format!("SIP/2.0/TLS {}", stage.tls)), "{via}");
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        let second = Call::up(stage, &mut caller, &mut target, "second", &fields)?;
        second.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn a_call_to_tls_is_ended_from_either_side_on_its_connection() {
    World::new().play(&[TO_TLS], |stage, world| {
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite(), "first", &[], SDP))?;
        let mut target = world.called()?;
        let mut call = Call::answered(&mut caller, &mut target)?;
        let ours = format!("<sip:{};transport=tls>", stage.tls);
        ensure!(call.offered.header("Contact") == Some(&ours), "{}", call.offered.text);
        let via = call.offered.header("Via").unwrap_or_default();
        ensure!(via.starts_with(&format!("SIP/2.0/TLS {}", stage.tls)), "{via}");
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        let second = Call::up(stage, &mut caller, &mut target, "second", &[])?;
        second.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn a_leg_of_sips_uris_is_told_sips_uris() {
    World::new().play(&[TO_SIPS], |stage, world| {
        let mut caller = world.caller(stage)?;
        let start = stage.invite().replace("sip:", "sips:");
        let contact = format!("Contact: <sips:{}>", caller.local);
        let fields = [contact.as_str()];
        caller.send(with_body(&caller, &start, "secure", &fields, SDP))?;
        let mut target = world.called()?;
        let offered = target.expect("INVITE").context("at the target")?;
        let ours = format!("<sips:{}>", stage.tls);
        ensure!(offered.start().starts_with("INVITE sips:"), "{}", offered.text);
        ensure!(offered.header("Contact") == Some(&ours), "{}", offered.text);
        let answer = response(&target, &offered, "200 OK", &[], SDP);
        let answer = answer.replace(&target.contact(), &format!("<sips:{}>", target.local));
        target.send(&answer)?;
        target.expect("ACK")?;
        let answered = caller.expect("200 INVITE")?;
        ensure!(answered.header("Contact") == Some(&ours), "{}", answered.text);
        let mut call = Call {
            caller: super::peer::Dialog::of_caller(&answered)?,
            target: super::peer::Dialog::of_target(&offered, &answer)?,
            offered,
        };
        caller.send(call.caller.ack(&caller))?;
        caller.send(call.caller.next_with(&caller, "INVITE", &fields, SDP))?;
        let again = target.expect("INVITE").context("a second time")?;
        ensure!(again.header("Contact") == Some(&ours), "{}", again.text);
        target.send(response(&target, &again, "200 OK", &[], SDP))?;
        target.expect("ACK")?;
        let answered = caller.expect("200 INVITE")?;
        ensure!(answered.header("Contact") == Some(&ours), "{}", answered.text);
        caller.send(call.caller.ack(&caller))?;
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn when_its_tls_connection_is_gone_a_call_is_ended_at_the_contact_by_whom_it_was_made() {
    let world = World::new();
    let trusts =
        format!("trunks.loopback.outbound.tls.extra_ca={}", world.authority.file.display());
    world.play(&[&trusts], |stage, world| {
        let (mut caller, mut target) = (world.caller(stage)?, stage.target()?);
        let contact = format!("Contact: <sip:127.0.0.1:{};transport=tls>", world.port);
        let mut call = Call::up(stage, &mut caller, &mut target, "reopened", &[&contact])?;
        // The ACK is behind us when this is answered.
        caller.send(call.caller.next(&caller, "OPTIONS"))?;
        caller.expect("200 OPTIONS")?;
        drop(caller);
        target.expect_silence(Duration::from_millis(100)).context("the call should go on")?;
        target.send(call.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let mut caller = world.called()?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;
        stage.is_clean()
    });
}

#[test]
fn a_target_that_cannot_prove_its_name_is_passed_over_at_once() {
    let world = World::new();
    let wrong = world.authority.issue(&["somebody.else"]);
    let first = format!("targets.first.dial.uri=sip:127.0.0.1:{};transport=tls", world.port);
    let trusts = format!("targets.first.dial.tls.extra_ca={}", world.authority.file.display());
    world.play(&[&first, &trusts], |stage, world| {
        let mut caller = stage.udp()?;
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, stage.spare_port))?;
        let mut second = Line::udp(socket, stage.sip)?;
        let began = Instant::now();
        let start = stage.invite_to("+18005550100");
        caller.send(with_body(&caller, &start, "failover", &[], SDP))?;
        ensure!(world.called_as(&wrong).is_err(), "the server trusts somebody else");
        let offered = second.expect("INVITE").context("at the second target")?;
        ensure!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        second.send(response(&second, &offered, "486 Busy Here", &[], ""))?;
        second.expect("ACK")?;
        let refused = caller.expect("486 INVITE")?;
        let ack = format!("To: {}", refused.header("To").unwrap_or_default());
        caller.send(request(&caller, &start.replace("INVITE", "ACK"), "failover", &[&ack]))?;
        stage.is_clean()
    });
}

#[test]
fn a_trunk_is_known_by_its_certificate_and_by_nothing_else() {
    let world = World::new();
    let known = world.authority.issue(&["sip:carrier.example"]);
    let unknown = world.authority.issue(&["else.example"]);
    let vouches = format!("sip.tls.client_ca_file={}", world.authority.file.display());
    let set = [
        "sip.tls.client_auth=required",
        &vouches,
        "trunks.loopback.inbound.tls_san=[\"carrier.example\"]",
        "targets.first.dial.uri=sip:192.0.2.1",
        "targets.second.dial.uri=sip:192.0.2.1",
        "targets.alone.dial.uri=sip:192.0.2.1",
        "targets.single.dial.uri=sip:192.0.2.1",
    ];
    world.play(&set, |stage, world| {
        let mut line = world.line(stage.tls, Some(&known))?;
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        line.send(request(&line, &start, "known", &[]))?;
        line.expect("200 OPTIONS")?;

        for shown in [Some(&unknown), None] {
            // In TLS 1.3 the client is refused only after it has done its part.
            let Ok(mut line) = world.line(stage.tls, shown) else { continue };
            let _ = line.send(request(&line, &start, "unknown", &[]));
            line.expect_end()?;
        }
        Ok(())
    });
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_a_bad_one_never() {
    World::new().play(&["sip.tls.reload_s=1"], |stage, world| {
        let mut before = world.caller(stage)?;
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        let ends = |before: f64| {
            let left = api::metrics(stage.api)?;
            let left = left.get("tollbridge_sip_tls_certificate_expiry_seconds").copied();
            Ok(left.filter(|left| *left < before))
        };
        let patience = Duration::from_secs(5);
        let first = wait_for("the certificate's end", patience, || ends(f64::INFINITY))?;
        ensure!(first > 0.0, "{first}");

        // Half of a pair is no pair.
        let renewed = world.authority.issue_until(&["localhost", "127.0.0.1"], 2090);
        fs::copy(&renewed.key, &world.shown.key)?;
        wait_for("the refusal", patience, || {
            let refused = stage.log().contains("cannot be used; the old ones stay");
            Ok(refused.then_some(()))
        })?;
        let mut meanwhile = world.caller(stage)?;
        meanwhile.send(request(&meanwhile, &start, "meanwhile", &[]))?;
        meanwhile.expect("200 OPTIONS")?;

        fs::copy(&renewed.chain, &world.shown.chain)?;
        wait_for("the new certificate", patience, || ends(first - 86_400.0))?;
        let shown = world.certificate(stage.tls)?;
        ensure!(shown == CertificateDer::from_pem_file(&renewed.chain)?, "the old one is shown");
        before.send(request(&before, &start, "before", &[]))?;
        before.expect("200 OPTIONS").map(drop)
    });
}

#[test]
fn whom_tls_is_spoken_with_and_how_changes_without_a_restart_and_calls_go_on() {
    let world = World::new();
    let vouches = format!("sip.tls.client_ca_file={}", world.authority.file.display());
    world.play(&[TO_TLS, "sip.tls.client_auth=optional", &vouches], |stage, world| {
        let text = config(stage)?;
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite(), "before", &[], SDP))?;
        let mut target = world.called()?;
        let mut before = Call::answered(&mut caller, &mut target)?;

        // From now on another key is wanted of it, and a trunk is known by its certificate.
        let dial = "dial = { kind = \"sip\", uri = \"sip:127.0.0.1:5070\"";
        let at = text.find("id = \"alone\"").context("a target")?;
        let (others, alone) = text.split_at(at);
        let pin = "0".repeat(64);
        let with = |tls: &str| alone.replacen(dial, &format!("{dial}, tls = {{ {tls} }}"), 1);
        let (pinned, unverified) = (with(&format!("pins = [\"{pin}\"]")), with("verify = false"));
        let named = "[[trunks]]\nid = \"named\"\n\
                     inbound = { tls_san = [\"sip:carrier.example\"], transports = [\"tls\"] }\n";
        let others = others.replacen("[[trunks]]", &format!("{named}\n[[trunks]]"), 1);
        reload(stage, &format!("{others}{pinned}"))?;

        let known = world.authority.issue(&["sip:carrier.example"]);
        let mut carrier = world.line(stage.tls, Some(&known))?;
        carrier.send(with_body(&carrier, &stage.invite(), "pinned", &[], SDP))?;
        ensure!(world.called().is_err(), "a key that is not wanted was believed");
        confirm(stage, &mut carrier, "500 INVITE", "pinned")?;
        let record = wait_for("its record", Duration::from_secs(3), || {
            let calls: serde_json::Value = http::get(stage.api, "/v1/calls?trunk=named")?.json()?;
            Ok(calls["calls"].get(0).cloned())
        })?;
        ensure!(record["sip_call_id"] == "pinned", "{record:#}");
        // What is up is ended on the connection that it was made on.
        target.send(before.target.next(&target, "BYE"))?;
        target.expect("200 BYE")?;
        let bye = caller.expect("BYE")?;
        caller.send(response(&caller, &bye, "200 OK", &[], ""))?;

        // Where less is asked of it, it is called on another connection.
        reload(stage, &format!("{others}{unverified}"))?;
        caller.send(with_body(&caller, &stage.invite(), "unverified", &[], SDP))?;
        let mut other = world.called()?;
        Call::answered(&mut caller, &mut other)?.end(&mut caller, &mut other)?;

        // As at the start, it is called on the connection of the start.
        reload(stage, &text)?;
        Call::up(stage, &mut caller, &mut target, "after", &[])?.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn a_trunk_of_a_certificate_that_is_taken_out_ends_the_calls_it_has_and_begins_none() {
    let world = World::new();
    let vouches = format!("sip.tls.client_ca_file={}", world.authority.file.display());
    // At the address of this machine's parties there is no trunk, nor any other target.
    let elsewhere = format!("targets.alone.dial.uri=sip:127.0.0.2:{}", world.port);
    let more = ["sip.tls.client_auth=optional", &vouches, &elsewhere];
    let set: Vec<&str> = STRANGERS.into_iter().chain(more).collect();
    world.play(&set, |stage, world| {
        let without = config(stage)?;
        let with = |name: &str| {
            let inbound = format!("{{ tls_san = [\"sip:{name}\"], transports = [\"tls\"] }}");
            format!("{without}\n[[trunks]]\nid = \"named\"\ninbound = {inbound}\n")
        };
        let known = world.authority.issue(&["sip:carrier.example"]);
        reload(stage, &with("carrier.example"))?;
        let mut carrier = world.line(stage.tls, Some(&known))?;
        let socket = std::net::UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), world.port))?;
        let mut target = Line::udp(socket, stage.sip)?;
        for (id, after) in [("removed", without.clone()), ("renamed", with("else.example"))] {
            reload(stage, &with("carrier.example"))?;
            let mut up = Call::up(stage, &mut carrier, &mut target, id, &[])?;
            let early = format!("{id}-early");
            carrier.send(with_body(&carrier, &stage.invite(), &early, &[], SDP))?;
            let offered = target.expect("INVITE")?;
            target.send(response(&target, &offered, "180 Ringing", &[], ""))?;
            carrier.expect("180 INVITE")?;

            reload(stage, &after)?;
            let cancel = stage.invite().replace("INVITE", "CANCEL");
            carrier.send(request(&carrier, &cancel, &early, &[]))?;
            carrier.expect("200 CANCEL").context(id)?;
            let cancel = target.expect("CANCEL")?;
            target.send(response(&target, &cancel, "200 OK", &[], ""))?;
            target.send(response(&target, &offered, "487 Request Terminated", &[], ""))?;
            target.expect("ACK")?;
            confirm(stage, &mut carrier, "487 INVITE", &early)?;

            let fresh = format!("{id}-fresh");
            carrier.send(with_body(&carrier, &stage.invite(), &fresh, &[], SDP))?;
            confirm(stage, &mut carrier, "403 INVITE", &fresh)?;
            // In TLS 1.3 the client is refused only after it has done its part.
            if let Ok(mut again) = world.line(stage.tls, Some(&known)) {
                again.expect_end()?;
            }
            carrier.send(up.caller.next(&carrier, "OPTIONS"))?;
            carrier.expect("200 OPTIONS").context(id)?;
            up.end(&mut carrier, &mut target)?;
        }
        stage.is_clean()
    });
}

#[test]
fn what_is_not_tls_is_closed_and_the_server_goes_on() {
    World::new().play(&[], |stage, world| {
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        for junk in ["OPTIONS", "GET / HTTP/1.1\r\n\r\n", "\0\0\0\0\0\0\0\0"] {
            let mut line = Line::tcp(stage.tls)?;
            let message = request(&line, &start, "plain", &[]);
            line.send(if junk == "OPTIONS" { &message } else { junk })?;
            let ended = line.hear(Duration::from_secs(5))?;
            ensure!(ended.is_none(), "{:?}", ended.map(|heard| heard.text));
        }
        let mut line = world.caller(stage)?;
        line.send("\r\n\r\n")?;
        line.expect_bytes(b"\r\n")?;
        line.send(request(&line, &start, "after", &[]))?;
        line.expect("200 OPTIONS")?;
        stage.is_well("well")
    });
}

/// Puts this configuration in force.
fn reload(stage: &Stage, text: &str) -> Result<()> {
    write(stage, text)?;
    let reply = http::post(stage.api, "/v1/config:reload", "")?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    Ok(())
}

/// The caller hears that its INVITE failed, and says so.
fn confirm(stage: &Stage, caller: &mut Line, kind: &str, call_id: &str) -> Result<()> {
    let refused = caller.expect(kind)?;
    let to = format!("To: {}", refused.header("To").unwrap_or_default());
    let ack = stage.invite().replace("INVITE", "ACK");
    caller.send(request(caller, &ack, call_id, &[&to]))
}

/// Sends the calls of the campaign with one target to the TLS listener of the test.
const TO_TLS: &str = "to tls";
const TO_SIPS: &str = "to sips";

/// An authority, what the server shows, and where a target or caller listens.
struct World {
    authority: Authority,
    shown: Issued,
    listener: TcpListener,
    port: u16,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let shown = authority.issue(&["127.0.0.1", "sip.tollbridge.example"]);
        let port = ports::block(1).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        Self { authority, shown, listener, port, _folder: folder }
    }

    fn play(&self, set: &[&str], part: impl FnOnce(&mut Stage, &Self) -> Result<()>) {
        let Issued { chain, key } = &self.shown;
        let shown =
            format!("sip.tls.certificates=[{{chain_file = {chain:?}, key_file = {key:?}}}]");
        let trusts = format!("targets.alone.dial.tls.extra_ca={}", self.authority.file.display());
        let uri = |uri: String| vec![format!("targets.alone.dial.uri={uri}"), trusts.clone()];
        let set: Vec<String> = set
            .iter()
            .flat_map(|set| match *set {
                TO_TLS => uri(format!("sip:127.0.0.1:{};transport=tls", self.port)),
                TO_SIPS => uri(format!("sips:127.0.0.1:{}", self.port)),
                set => vec![set.to_owned()],
            })
            .collect();
        let set: Vec<&str> = set.iter().map(String::as_str).chain([shown.as_str()]).collect();
        let setup = Setup { set: &set, tls: true, ..Setup::default() };
        play_with(setup, |stage| part(stage, self));
    }

    /// A connection to the server.
    fn caller(&self, stage: &Stage) -> Result<Line> {
        self.line(stage.tls, None)
    }

    fn line(&self, server: SocketAddr, shown: Option<&Issued>) -> Result<Line> {
        let session = self.client(shown)?;
        Line::tcp(server)?.secured(|socket| {
            let mut stream = StreamOwned::new(session, socket);
            stream.conn.complete_io(&mut stream.sock)?;
            Ok(stream)
        })
    }

    /// What the server shows now.
    fn certificate(&self, server: SocketAddr) -> Result<CertificateDer<'static>> {
        let mut session = self.client(None)?;
        session.complete_io(&mut std::net::TcpStream::connect(server)?)?;
        let shown = session.peer_certificates().and_then(<[_]>::first);
        shown.cloned().context("no certificate")
    }

    fn client(&self, shown: Option<&Issued>) -> Result<ClientConnection> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.file)?)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match shown {
            Some(issued) => {
                let (chain, key) = loaded(issued)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(ClientConnection::new(Arc::new(config), name)?)
    }

    /// A connection the server opens, to one who proves to be at 127.0.0.1.
    fn called(&self) -> Result<Line> {
        self.called_as(&self.authority.issue(&["target", "127.0.0.1"]))
    }

    fn called_as(&self, issued: &Issued) -> Result<Line> {
        let (chain, key) = loaded(issued)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let session = ServerConnection::new(Arc::new(config))?;
        let mut line = Line::accepted(&self.listener, self.listener.local_addr()?)?;
        // What it is reached at, as opposed to the port of this connection.
        line.local = self.listener.local_addr()?;
        line.secured(|socket| {
            let mut stream = StreamOwned::new(session, socket);
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock)?;
            }
            Ok(stream)
        })
    }
}

fn contact_of(line: &Line) -> String {
    format!("Contact: {}", line.contact())
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn loaded(
    issued: &Issued,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(&issued.chain)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&issued.key)?))
}
