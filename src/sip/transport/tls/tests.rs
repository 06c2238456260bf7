//! Handshakes between two transports, and between a transport and bare rustls.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::steer::Steering;
use super::super::tcp::{
    CloseCause, PeerCheck, SendError, Stranger, Tcp, TcpEvent, TcpOptions, TcpSink,
};
use super::authority::{Authority, Issued};
use super::*;
use crate::sip::flow::{Flow, ListenerId, Transport};

#[tokio::test]
async fn messages_pass_in_both_directions_and_answers_take_the_same_connection() {
    for version_min in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let world = World::new();
        let mut server = world.server(&TlsSpec { version_min, ..world.shows("carrier.example") });
        let mut client = world.client(peer("carrier.example", &world));

        let opened = client.tcp.send(&client.flow_to(&server), message("1", 0)).unwrap();
        let (flow, received) = server.message().await;
        assert_eq!(received, message("1", 0));
        assert_eq!((flow.transport, flow.tls), (Transport::Tls, None));
        server.tcp.send(&flow, message("2", 50_000)).unwrap();

        let (flow, received) = client.message().await;
        assert_eq!(received, message("2", 50_000));
        assert_eq!(flow, Flow { connection: Some(opened), ..client.flow_to(&server) });
        assert_eq!(client.tcp.stats().tls_connected.value(), 1);
        assert_eq!(server.tcp.stats().tls_accepted.value(), 1);
    }
}

#[tokio::test]
async fn many_messages_keep_their_order() {
    let world = World::new();
    let mut server = world.server(&world.shows("carrier.example"));
    let client = world.client(peer("carrier.example", &world));
    for n in 0..300 {
        client.tcp.send(&client.flow_to(&server), message(&n.to_string(), 7 * n)).unwrap();
        // Slow enough for the bound of the queue, fast enough to fill records.
        if n % 50 == 49 {
            for n in n - 49..=n {
                assert_eq!(server.message().await.1, message(&n.to_string(), 7 * n));
            }
        }
    }
    assert_eq!(server.tcp.stats().accepted.value(), 1);
}

#[tokio::test]
async fn an_old_version_is_refused() {
    let world = World::new();
    let server =
        world.server(&TlsSpec { version_min: TlsVersion::V1_3, ..world.shows("carrier.example") });

    let old = world.rustls_with("carrier.example", &server, &[&rustls::version::TLS12]).await;
    let new = world.rustls_with("carrier.example", &server, &[&rustls::version::TLS13]).await;

    assert!(old.is_err());
    assert_eq!(new.unwrap(), ["carrier.example"]);
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let world = World::new();
    let mut spec = world.shows("first.example");
    spec.certificates.push(files(&world.authority.issue(&["second.example", "other.example"])));
    spec.certificates.push(files(&world.authority.issue(&["*.pstn.example"])));
    let server = world.server(&spec);
    let cases = [
        ("first.example", vec!["first.example"]),
        ("second.example", vec!["second.example", "other.example"]),
        ("OTHER.example", vec!["second.example", "other.example"]),
        ("tenant.pstn.example", vec!["*.pstn.example"]),
    ];
    for (name, names) in cases {
        assert_eq!(world.rustls(name, &server).await.unwrap(), names, "{name}");
    }
    // Whoever asks for none of them gets the first, and may not like it.
    for name in ["third.example", "a.b.pstn.example"] {
        assert!(world.rustls(name, &server).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_server_has_to_be_who_the_name_says_before_it_was_resolved() {
    let world = World::new();
    let shown: &[&[&str]] = &[
        &["pstn.carrier.example"],
        &["*.carrier.example"],
        &["sip:pstn.carrier.example"],
        &["carrier.example"],
        &["pstn.carrier.example.org"],
        &["sip:alice@pstn.carrier.example"],
        &["127.0.0.1"],
    ];
    let expected = [true, true, true, false, false, false, false];
    for (shown, is_good) in shown.iter().zip(expected) {
        let server = world.server(&world.shows_all(shown));
        let client = world.client(peer("pstn.carrier.example", &world));
        assert_eq!(connects(client, server).await, is_good, "{shown:?}");
    }
}

#[tokio::test]
async fn an_address_in_the_uri_has_to_be_in_the_certificate_and_is_not_sent_as_a_name() {
    let world = World::new();

    let named = world.server(&world.shows("carrier.example"));
    assert!(!connects(world.client(peer("127.0.0.1", &world)), named).await);
    let addressed = world.server(&world.shows("127.0.0.1"));
    assert!(connects(world.client(peer("127.0.0.1", &world)), addressed).await);
    let addressed = world.server(&world.shows("127.0.0.1"));
    let anywhere = PeerSpec { names: vec![], ..peer("", &world) };
    assert!(connects(world.client(anywhere), addressed).await);
    // By default one is shown that has another name; with SNI it would be refused.
    let (_, hello) = world.hello_of(peer("127.0.0.1", &world)).await;
    assert!(!hello.windows(9).any(|bytes| bytes == b"127.0.0.1"));
    let (_, hello) = world.hello_of(peer("carrier.example", &world)).await;
    assert!(hello.windows(15).any(|bytes| bytes == b"carrier.example"));
    let silent = PeerSpec { sni: false, ..peer("carrier.example", &world) };
    let (_, hello) = world.hello_of(silent).await;
    assert!(!hello.windows(15).any(|bytes| bytes == b"carrier.example"));
}

#[tokio::test]
async fn an_authority_nobody_named_is_not_believed() {
    let world = World::new();
    let server = world.server(&world.shows("carrier.example"));
    let unknown = PeerSpec { extra_ca: None, ..peer("carrier.example", &world) };
    assert!(!connects(world.client(unknown), server).await);

    let server = world.server(&world.shows("carrier.example"));
    let other = Authority::new(world.folder.path(), "other authority");
    let wrong = PeerSpec { extra_ca: Some(file(&other.file)), ..peer("carrier.example", &world) };
    assert!(!connects(world.client(wrong), server).await);

    let server = world.server(&world.shows("carrier.example"));
    assert!(connects(world.client(peer("carrier.example", &world)), server).await);
}

#[tokio::test]
async fn a_pin_holds_besides_the_chain_and_without_it() {
    let world = World::new();
    let issued = world.authority.issue(&["carrier.example"]);
    let shows = TlsSpec { certificates: vec![files(&issued)], ..TlsSpec::nothing() };
    let right: Pin = key_digest(&issued).parse().unwrap();
    let wrong: Pin = "0".repeat(64).parse().unwrap();
    let pinned = |pins: &[Pin], verify| PeerSpec {
        pins: pins.to_vec(),
        verify,
        ..peer("carrier.example", &world)
    };
    let cases = [
        (vec![right], true, true),
        (vec![wrong, right], true, true),
        (vec![wrong], true, false),
        (vec![right], false, true),
        (vec![wrong], false, false),
    ];
    for (pins, verify, is_good) in cases {
        let client = world.client(pinned(&pins, verify));
        assert_eq!(connects(client, world.server(&shows)).await, is_good, "{pins:?} {verify}");
    }
    // A pin is a check, so a peer with one is not unverified.
    assert!(!pinned(&[right], false).is_unverified());
}

#[tokio::test]
async fn a_peer_that_is_not_verified_is_counted() {
    let world = World::new();
    let server = world.server(&world.shows("other.example"));
    let spec = PeerSpec { verify: false, extra_ca: None, ..peer("carrier.example", &world) };
    assert!(spec.is_unverified());
    let client = world.client(spec);
    let stats = Arc::clone(client.tcp.stats());

    assert!(connects(client, server).await);

    assert_eq!(stats.tls_unverified.value(), 1);
}

#[tokio::test]
async fn clients_show_a_certificate_if_they_may_and_have_to() {
    let world = World::new();
    let stranger = Authority::new(world.folder.path(), "strange authority");
    let ours = files(&world.authority.issue(&["client.example"]));
    let theirs = files(&stranger.issue(&["client2.example"]));
    let (none, optional, required) = (ClientAuth::None, ClientAuth::Optional, ClientAuth::Required);
    let cases = [
        (none, None, true),
        (none, Some(&ours), true),
        (none, Some(&theirs), true),
        (optional, None, true),
        (optional, Some(&ours), true),
        (optional, Some(&theirs), false),
        (required, None, false),
        (required, Some(&ours), true),
        (required, Some(&theirs), false),
    ];
    for version_min in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for (client_auth, shown, is_good) in &cases {
            let mut server = world.server(&TlsSpec {
                client_auth: *client_auth,
                client_ca: (*client_auth != none).then(|| file(&world.authority.file)),
                version_min,
                ..world.shows("carrier.example")
            });
            let client = world.client(PeerSpec {
                client_certificate: shown.cloned(),
                ..peer("carrier.example", &world)
            });
            client.tcp.send(&client.flow_to(&server), message("1", 0)).unwrap();
            let arrived = matches!(server.event().await, TcpEvent::Message { .. });
            assert_eq!(arrived, *is_good, "{client_auth:?} {:?}", shown.map(|it| &it.chain));
        }
    }
}

#[tokio::test]
async fn a_client_is_known_by_the_names_in_its_certificate() {
    let world = World::new();
    let check: PeerCheck = Arc::new(|listener, ip, names| {
        assert_eq!((listener, ip), (ListenerId(0), Ipv4Addr::LOCALHOST.into()));
        match names {
            [] => Ok(None),
            [host, domain, uri] if host == "client.example" => {
                assert_eq!((domain.as_str(), uri.as_str()), ("trunk.example", "sip:trunk.example"));
                Ok(Some(TlsPeer(7)))
            }
            _ => Err(Stranger),
        }
    });
    let spec = TlsSpec {
        client_auth: ClientAuth::Optional,
        client_ca: Some(file(&world.authority.file)),
        ..world.shows("carrier.example")
    };
    let known = world.authority.issue(&["Client.example", "sip:trunk.example"]);
    let unknown = world.authority.issue(&["else.example"]);
    for (shown, expected) in
        [(None, Some(None)), (Some(known), Some(Some(TlsPeer(7)))), (Some(unknown), None)]
    {
        let mut server = Node::new(&spec, Some(Arc::clone(&check)), TcpOptions::default());
        let client = world.client(PeerSpec {
            client_certificate: shown.as_ref().map(files),
            ..peer("carrier.example", &world)
        });
        client.tcp.send(&client.flow_to(&server), message("1", 0)).unwrap();
        let found = match server.event().await {
            TcpEvent::Message { flow, .. } => Some(flow.tls),
            TcpEvent::Unframed { .. }
            | TcpEvent::SendFailed { .. }
            | TcpEvent::Unheard { .. }
            | TcpEvent::Closed { .. } => None,
        };
        assert_eq!(found, expected);
        assert_eq!(server.tcp.stats().refused_source.value(), u64::from(expected.is_none()));
    }
}

#[tokio::test]
async fn a_client_that_is_refused_after_its_handshake_learns_that_nothing_was_taken() {
    let world = World::new();
    let spec = TlsSpec {
        client_auth: ClientAuth::Required,
        client_ca: Some(file(&world.authority.file)),
        ..world.shows("carrier.example")
    };
    let server = world.server(&spec);
    let mut client = world.client(peer("carrier.example", &world));
    let flow = client.flow_to(&server);
    let connection = client.tcp.send(&flow, message("1", 0)).unwrap();

    let event = client.event().await;

    let told = Flow { connection: Some(connection), ..flow };
    let was_told = match &event {
        TcpEvent::Unheard { flow, .. } | TcpEvent::SendFailed { flow, .. } => *flow == told,
        TcpEvent::Message { .. } | TcpEvent::Unframed { .. } | TcpEvent::Closed { .. } => false,
    };
    assert!(was_told, "{event:?}");
}

#[tokio::test]
async fn peers_that_share_an_address_do_not_share_a_connection() {
    let world = World::new();
    let mut server = world.server(&world.shows_all(&["a.example", "b.example"]));
    let spec = TlsSpec {
        peers: numbered([peer("a.example", &world), peer("b.example", &world)]),
        ..TlsSpec::nothing()
    };
    let client = Node::new(&spec, None, TcpOptions::default());
    let flow = client.flow_to(&server);
    let other = Flow { tls: Some(TlsPeer(1)), ..flow };

    let first = client.tcp.send(&flow, message("1", 0)).unwrap();
    let again = client.tcp.send(&flow, message("2", 0)).unwrap();
    let second = client.tcp.send(&other, message("3", 0)).unwrap();

    assert_eq!(first, again);
    assert_ne!(first, second);
    for _ in 0..3 {
        server.message().await;
    }
    assert_eq!(server.tcp.stats().accepted.value(), 2);
    // In its dialog a request takes the connection the dialog lives on, whatever else is open.
    let kept = Flow { connection: Some(first), ..other };
    assert_eq!(client.tcp.send(&kept, message("4", 0)), Ok(first));
}

#[tokio::test]
async fn new_settings_are_for_new_handshakes_and_leave_open_connections_alone() {
    let world = World::new();
    let mut server = world.server(&world.shows("carrier.example"));
    let mut client = world.client(peer("carrier.example", &world));
    client.tcp.send(&client.flow_to(&server), message("1", 0)).unwrap();
    let (flow, _) = server.message().await;

    server.tcp.set_tls(load(&world.shows("renewed.example")));

    assert_eq!(world.rustls("renewed.example", &server).await.unwrap(), ["renewed.example"]);
    server.tcp.send(&flow, message("2", 0)).unwrap();
    assert_eq!(client.message().await.1, message("2", 0));
    client.tcp.send(&client.flow_to(&server), message("3", 0)).unwrap();
    let third = loop {
        // The connection above has come and gone.
        if let TcpEvent::Message { message, .. } = server.event().await {
            break message;
        }
    };
    assert_eq!(third, message("3", 0));
    assert_eq!(client.tcp.stats().connected.value(), 1);
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_another_is_not_held_up() {
    let world = World::new();
    let server = world.server(&world.shows("carrier.example"));
    let mut slow = world.rustls_stream("carrier.example", &server).await;
    let other = world.client(peer("carrier.example", &world));
    other.tcp.send(&other.flow_to(&server), message("other", 0)).unwrap();
    slow.write_all(&message("slow", 0)).unwrap();
    let mut server = server;
    let (mut slow_flow, mut other_flow) = (None, None);
    while slow_flow.is_none() || other_flow.is_none() {
        let (flow, received) = server.message().await;
        let is_slow = received == message("slow", 0);
        *(if is_slow { &mut slow_flow } else { &mut other_flow }) = Some(flow);
    }
    let (slow_flow, other_flow) = (slow_flow.unwrap(), other_flow.unwrap());

    while server.tcp.send(&slow_flow, message("1", 30_000)).is_ok() {
        tokio::task::yield_now().await;
    }

    let mut lost = 0;
    loop {
        match server.event().await {
            TcpEvent::SendFailed { flow, cause, .. } => {
                assert_eq!((flow, cause), (slow_flow, CloseCause::Slow));
                lost += 1;
            }
            TcpEvent::Closed { cause, .. } => break assert_eq!(cause, CloseCause::Slow),
            event @ (TcpEvent::Message { .. }
            | TcpEvent::Unframed { .. }
            | TcpEvent::Unheard { .. }) => panic!("{event:?}"),
        }
    }
    assert!((1..=9).contains(&lost), "256 KiB hold at most 8 messages and a part: {lost}");
    let mut other = other;
    server.tcp.send(&other_flow, message("2", 0)).unwrap();
    assert_eq!(other.message().await.1, message("2", 0));
}

#[tokio::test]
async fn what_is_not_tls_is_closed_and_harms_nobody() {
    let world = World::new();
    let mut server = world.server(&world.shows("carrier.example"));
    let request = message("1", 0);
    let junk: [&[u8]; 4] =
        [&request, b"GET / HTTP/1.1\r\n\r\n", &[0; 64], b"\x16\x03\x01\xff\xff\x01\0\0\x01\0"];
    for bytes in junk {
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut peer, bytes).await.unwrap();
        if bytes.len() == 10 {
            // The beginning of a record that never ends.
            drop(peer);
        }
        let event = server.event().await;
        let closed = matches!(event, TcpEvent::Closed { cause: CloseCause::Handshake, .. });
        assert!(closed, "{event:?}");
    }
    assert_eq!(server.tcp.stats().tls_accept_failed.value(), 4);

    let mut client = world.client(peer("carrier.example", &world));
    client.tcp.send(&client.flow_to(&server), message("2", 0)).unwrap();
    let (flow, _) = server.message().await;
    server.tcp.send(&flow, message("3", 0)).unwrap();
    client.message().await;
}

#[tokio::test]
async fn a_handshake_that_goes_nowhere_is_given_up() {
    let world = World::new();
    let options = TcpOptions { message_timeout: SOON, ..TcpOptions::default() };
    let mut server = Node::new(&world.shows("carrier.example"), Some(anybody()), options);
    let _silent = TcpStream::connect(server.address).await.unwrap();

    let event = server.event().await;

    let given_up = matches!(event, TcpEvent::Closed { cause: CloseCause::MessageTimeout, .. });
    assert!(given_up, "{event:?}");

    let mute = TcpListener::bind(LOCAL).await.unwrap();
    let options = TcpOptions { connect_timeout: SOON, ..TcpOptions::default() };
    let spec = TlsSpec { peers: numbered([peer("carrier.example", &world)]), ..TlsSpec::nothing() };
    let mut client = Node::new(&spec, None, options);
    client.tcp.send(&client.flow(mute.local_addr().unwrap()), message("1", 0)).unwrap();
    let event = client.event().await;
    let failed = matches!(event, TcpEvent::SendFailed { cause: CloseCause::ConnectTimeout, .. });
    assert!(failed, "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_and_the_end_is_told() {
    let world = World::new();
    let server = world.server(&world.shows("carrier.example"));
    let mut stream = world.rustls_stream("carrier.example", &server).await;
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\r\n");

    timeout(PATIENCE, server.tcp.shutdown(SOON)).await.unwrap();

    // Without close_notify this would be an error.
    assert_eq!(stream.read(&mut pong).unwrap(), 0);
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_field() {
    let world = World::new();
    let (one, other) =
        (world.authority.issue(&["one.example"]), world.authority.issue(&["other.example"]));
    let mut mixed = files(&one);
    mixed.key = FileSpec { field: "key".into(), path: other.key };
    let mut missing = files(&one);
    missing.chain = FileSpec { field: "chain".into(), path: "/no/such/file".into() };
    let mut swapped = files(&one);
    swapped.chain = FileSpec { field: "chain".into(), path: one.key };
    let shows = |certificate: &CertificateFiles| TlsSpec {
        certificates: vec![certificate.clone()],
        ..TlsSpec::nothing()
    };
    let suites = |name: &str| TlsSpec {
        cipher_suites: vec![name.into()],
        version_min: TlsVersion::V1_3,
        ..shows(&files(&world.authority.issue(&["three.example"])))
    };
    let cases = [
        (shows(&mixed), "key", "is not the key of the first certificate in"),
        (shows(&missing), "chain", "cannot be read: No such file"),
        (shows(&swapped), "chain", "holds no certificate"),
        (suites("NULL"), "sip.tls.cipher_suites[0]", "is none of TLS13_AES_256_GCM_SHA384"),
        (
            suites("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            "sip.tls.cipher_suites",
            "has none for the versions",
        ),
    ];
    for (spec, field, problem) in cases {
        let faults = TlsSettings::load(&spec).unwrap_err();
        assert_eq!(faults[0].field, field, "{faults:?}");
        assert!(faults[0].problem.contains(problem), "{faults:?}");
    }
    let good = TlsSettings::load(&suites("TLS13_AES_128_GCM_SHA256")).unwrap();
    assert_eq!(good.certificates()[0].name, "three.example");
}

#[test]
fn a_file_that_changes_changes_the_stamp() {
    let world = World::new();
    let spec = world.shows("carrier.example");
    let before = spec.stamp();
    assert_eq!(spec.stamp(), before);

    world.authority.issue(&["carrier.example"]);

    assert_ne!(spec.stamp(), before);
}

#[test]
fn the_end_of_a_certificate_is_known() {
    let world = World::new();
    let issued = world.authority.issue_until(&["carrier.example"], 2040);
    let spec = TlsSpec { certificates: vec![files(&issued)], ..TlsSpec::nothing() };

    let settings = load(&spec);

    let certificate = &settings.certificates()[0];
    assert_eq!(certificate.name, "carrier.example");
    assert_eq!(certificate.not_after, Duration::from_secs(2_208_988_800));
}

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(100);

/// An authority, and a folder for its certificates.
struct World {
    authority: Authority,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { authority: Authority::new(folder.path(), "authority"), folder }
    }

    /// A server with a certificate of one name.
    fn shows(&self, name: &str) -> TlsSpec {
        self.shows_all(&[name])
    }

    fn shows_all(&self, names: &[&str]) -> TlsSpec {
        let certificates = vec![files(&self.authority.issue(names))];
        TlsSpec { certificates, ..TlsSpec::nothing() }
    }

    fn server(&self, spec: &TlsSpec) -> Node {
        Node::new(spec, Some(anybody()), TcpOptions::default())
    }

    /// Calls one peer.
    fn client(&self, peer: PeerSpec) -> Node {
        let spec = TlsSpec { peers: numbered([peer]), ..TlsSpec::nothing() };
        Node::new(&spec, None, TcpOptions::default())
    }

    /// The names a server shows to a client that asks for `name`, if their handshake succeeds.
    async fn rustls(&self, name: &str, server: &Node) -> Result<Vec<String>, std::io::Error> {
        self.rustls_with(name, server, rustls::ALL_VERSIONS).await
    }

    async fn rustls_with(
        &self,
        name: &str,
        server: &Node,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Vec<String>, std::io::Error> {
        let mut stream = self.connection(name, server.address, versions);
        tokio::task::spawn_blocking(move || {
            stream.conn.complete_io(&mut stream.sock)?;
            Ok(names_of(&stream.conn.peer_certificates().unwrap()[0]))
        })
        .await
        .unwrap()
    }

    async fn rustls_stream(&self, name: &str, server: &Node) -> Stream {
        let mut stream = self.connection(name, server.address, rustls::ALL_VERSIONS);
        let handshake = move || {
            stream.conn.complete_io(&mut stream.sock).unwrap();
            stream
        };
        tokio::task::spawn_blocking(handshake).await.unwrap()
    }

    fn connection(
        &self,
        name: &str,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Stream {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(session, std::net::TcpStream::connect(address).unwrap())
    }

    /// The first bytes that are sent to a peer.
    async fn hello_of(&self, peer: PeerSpec) -> (Node, Vec<u8>) {
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let client = self.client(peer);
        client.tcp.send(&client.flow(listener.local_addr().unwrap()), message("1", 0)).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 2048];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut hello);
        let count = timeout(PATIENCE, read).await.unwrap().unwrap();
        hello.truncate(count);
        (client, hello)
    }
}

type Stream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A transport with one TLS listener and one shard.
struct Node {
    tcp: Tcp,
    address: SocketAddr,
    inbox: mpsc::Receiver<TcpEvent>,
}

impl Node {
    fn new(spec: &TlsSpec, check: Option<PeerCheck>, options: TcpOptions) -> Self {
        let (sender, inbox) = mpsc::channel(512);
        let sink = TcpSink::new(Steering::new(1, 0), vec![sender]);
        let tcp = Tcp::new(options, Arc::new(|_, _| true), sink);
        tcp.set_tls(load(spec));
        let check = check.unwrap_or_else(anybody);
        let address = tcp.listen_tls(ListenerId(0), LOCAL, check).unwrap();
        Self { tcp, address, inbox }
    }

    /// To its first peer.
    fn flow(&self, peer: SocketAddr) -> Flow {
        Flow { tls: Some(TlsPeer(0)), ..Flow::new(ListenerId(0), Transport::Tls, peer) }
    }

    fn flow_to(&self, other: &Self) -> Flow {
        self.flow(other.address)
    }

    async fn event(&mut self) -> TcpEvent {
        timeout(PATIENCE, self.inbox.recv()).await.unwrap().unwrap()
    }

    async fn message(&mut self) -> (Flow, Bytes) {
        let event = self.event().await;
        let TcpEvent::Message { flow, message } = event else { panic!("{event:?}") };
        (flow, message)
    }
}

/// Whether a message arrives. If not, its sender is told.
async fn connects(mut client: Node, mut server: Node) -> bool {
    let sent: Result<_, SendError> = client.tcp.send(&client.flow_to(&server), message("1", 0));
    sent.unwrap();
    match server.event().await {
        TcpEvent::Message { .. } => true,
        TcpEvent::Closed { cause, .. } => {
            assert_eq!(cause, CloseCause::Handshake);
            let event = client.event().await;
            let TcpEvent::SendFailed { cause, flow, .. } = event else { panic!("{event:?}") };
            assert_eq!((cause, flow.tls), (CloseCause::Handshake, Some(TlsPeer(0))));
            assert_eq!(client.tcp.stats().tls_connect_failed.value(), 1);
            false
        }
        event @ (TcpEvent::Unframed { .. }
        | TcpEvent::SendFailed { .. }
        | TcpEvent::Unheard { .. }) => panic!("{event:?}"),
    }
}

fn anybody() -> PeerCheck {
    Arc::new(|_, _, _| Ok(None))
}

/// One that is verified by `name` and the world's authority.
fn numbered(peers: impl IntoIterator<Item = PeerSpec>) -> BTreeMap<TlsPeer, PeerSpec> {
    (0..).map(TlsPeer).zip(peers).collect()
}

fn peer(name: &str, world: &World) -> PeerSpec {
    PeerSpec {
        field: String::from("peer"),
        names: vec![name.into()],
        sni: true,
        verify: true,
        extra_ca: Some(file(&world.authority.file)),
        pins: vec![],
        client_certificate: None,
    }
}

fn load(spec: &TlsSpec) -> TlsSettings {
    TlsSettings::load(spec).unwrap()
}

fn files(issued: &Issued) -> CertificateFiles {
    CertificateFiles { chain: file(&issued.chain), key: file(&issued.key) }
}

fn file(path: &std::path::Path) -> FileSpec {
    FileSpec { path: path.to_owned(), field: String::from("file") }
}

/// From the private key, and not from the certificate.
fn key_digest(issued: &Issued) -> String {
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(&issued.key).unwrap()).unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    Sha256::digest(public).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message(call_id: &str, body: usize) -> Bytes {
    let head = format!(
        "INVITE sip:edge.test SIP/2.0\r\nCall-ID: {call_id}\r\nContent-Length: {body}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'v'; body]].concat().into()
}
