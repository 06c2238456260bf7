use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::steer::Steering;
use super::*;

#[tokio::test]
async fn messages_pass_in_both_directions_and_answers_take_the_same_connection() {
    for loopback in [V4, V6] {
        let (mut alice, mut bob) = (Node::new(loopback), Node::new(loopback));

        let opened = alice.tcp.send(&alice.flow_to(&bob), message("1", 0)).unwrap();
        let (flow, received) = bob.message().await;
        assert_eq!(received, message("1", 0));
        assert_eq!((flow.listener, flow.transport), (ListenerId(0), Transport::Tcp));
        bob.tcp.send(&flow, message("2", 70)).unwrap();

        let (flow, received) = alice.message().await;
        assert_eq!(received, message("2", 70));
        assert_eq!(flow, Flow { connection: Some(opened), ..alice.flow_to(&bob) });
        assert_eq!(alice.tcp.stats().open.value(), 1);
        assert_eq!(bob.tcp.stats().accepted.value(), 1);
    }
}

#[tokio::test]
async fn messages_to_one_peer_share_a_connection_and_keep_their_order() {
    let (alice, mut bob) = (Node::new(V4), Node::new(V4));

    for n in 0..500 {
        alice.tcp.send(&alice.flow_to(&bob), message(&n.to_string(), n)).unwrap();
    }

    for n in 0..500 {
        assert_eq!(bob.message().await.1, message(&n.to_string(), n));
    }
    assert_eq!(bob.tcp.stats().accepted.value(), 1);
    assert_eq!(bob.tcp.stats().messages_in.value(), 500);
    assert_eq!(alice.tcp.stats().messages_out.value(), 500);
}

#[tokio::test]
async fn a_flow_whose_connection_is_gone_is_opened_again() {
    let (mut alice, mut bob) = (Node::new(V4), Node::new(V4));
    let first = alice.tcp.send(&alice.flow_to(&bob), message("1", 0)).unwrap();
    let port = bob.address;
    bob.message().await;
    bob.tcp.shutdown(PATIENCE).await;
    let flow = Flow { connection: Some(first), ..alice.flow_to(&bob) };
    // It never said a word.
    let cause = CloseCause::Peer;
    assert_eq!(alice.event().await, TcpEvent::Unheard { flow, cause });
    let closed = TcpEvent::Closed { connection: first, peer: port, cause };
    assert_eq!(alice.event().await, closed);

    let mut bob = Node::new(port);
    let second = alice.tcp.send(&flow, message("2", 0)).unwrap();

    assert_ne!(first, second);
    assert_eq!(bob.message().await.1, message("2", 0));
}

#[tokio::test]
async fn a_peer_that_refuses_connections_fails_every_message_queued_for_it() {
    let mut alice = Node::new(V4);
    let (_reserved, nobody) = closed_port();
    let flow = alice.flow(nobody);

    let connection = alice.tcp.send(&flow, message("1", 0)).unwrap();
    alice.tcp.send(&flow, message("2", 0)).unwrap();

    let cause = CloseCause::ConnectRefused;
    let flow = Flow { connection: Some(connection), ..flow };
    for call in ["1", "2"] {
        let failed = TcpEvent::SendFailed { flow, message: message(call, 0), cause };
        assert_eq!(alice.event().await, failed);
    }
    assert_eq!(alice.event().await, TcpEvent::Closed { connection, peer: nobody, cause });
    assert_eq!(alice.tcp.stats().open.value(), 0);
    assert_eq!(alice.tcp.stats().connect_failed.value(), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up_in_time() {
    let (full, _waiting) = full_listener();
    let peer = full.local_addr().unwrap().as_socket().unwrap();
    let mut alice = Node::with(V4, TcpOptions { connect_timeout: SOON, ..TcpOptions::default() });

    let connection = alice.tcp.send(&alice.flow(peer), message("1", 0)).unwrap();

    let cause = CloseCause::ConnectTimeout;
    let flow = Flow { connection: Some(connection), ..alice.flow(peer) };
    let failed = TcpEvent::SendFailed { flow, message: message("1", 0), cause };
    assert_eq!(alice.event().await, failed);
}

#[tokio::test]
async fn a_slow_reader_is_closed_while_another_connection_goes_on() {
    let (mut alice, mut bob) = (Node::new(V4), Node::new(V4));
    let slow = TcpListener::bind(V4).await.unwrap();
    let slow_flow = alice.flow(slow.local_addr().unwrap());
    let connection = alice.tcp.send(&slow_flow, message("1", 0)).unwrap();
    let (_unread, _) = slow.accept().await.unwrap();

    let mut sent = 1;
    let refused = loop {
        alice.tcp.send(&alice.flow_to(&bob), message("other", 0)).unwrap();
        assert_eq!(bob.message().await.1, message("other", 0));
        match alice.tcp.send(&slow_flow, message(&sent.to_string(), 30_000)) {
            Ok(same) => assert_eq!(same, connection),
            Err(refused) => break refused,
        }
        sent += 1;
    };

    assert_eq!(refused, SendError::Slow);
    let mut failed = 0;
    loop {
        match alice.event().await {
            TcpEvent::SendFailed { flow, cause, .. } => {
                assert_eq!((flow.connection, cause), (Some(connection), CloseCause::Slow));
                failed += 1;
            }
            TcpEvent::Closed { connection: closed, cause, .. } => {
                assert_eq!((closed, cause), (connection, CloseCause::Slow));
                break;
            }
            // Its peer has not read a word yet, let alone said one.
            TcpEvent::Unheard { .. } => {}
            event @ (TcpEvent::Message { .. } | TcpEvent::Unframed { .. }) => panic!("{event:?}"),
        }
    }
    assert!((1..=9).contains(&failed), "256 KiB hold at most 8 messages and a part: {failed}");
    assert_eq!(alice.tcp.stats().closed(CloseCause::Slow), 1);
    alice.tcp.send(&alice.flow_to(&bob), message("other", 0)).unwrap();
    assert_eq!(bob.message().await.1, message("other", 0));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_long_is_slow_even_with_little_queued() {
    let options = TcpOptions { write_timeout: SOON, queue_bytes_max: 1 << 30, ..quick() };
    let mut alice = Node::with(V4, options);
    let slow = TcpListener::bind(V4).await.unwrap();
    let flow = alice.flow(slow.local_addr().unwrap());
    for _ in 0..400 {
        alice.tcp.send(&flow, message("1", 30_000)).unwrap();
    }

    assert!(matches!(alice.event().await, TcpEvent::SendFailed { cause: CloseCause::Slow, .. }));
}

#[tokio::test]
async fn a_source_that_is_not_known_is_closed_before_it_is_read() {
    let strict = Node::checked(V4, TcpOptions::default(), Arc::new(|_, _| false));

    assert_eq!(refusal_by(&strict).await, io::ErrorKind::ConnectionReset);
    assert_eq!(strict.tcp.stats().refused_source.value(), 1);
    assert_eq!(strict.tcp.stats().accepted.value(), 0);
}

#[tokio::test]
async fn a_source_has_only_so_many_connections_until_one_ends() {
    let options = TcpOptions { connections_per_source_max: 1, ..TcpOptions::default() };
    let mut node = Node::with(V4, options);
    let first = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(refusal_by(&node).await, io::ErrorKind::ConnectionReset);
    assert_eq!(node.tcp.stats().refused_source_limit.value(), 1);

    drop(first);
    assert!(matches!(node.event().await, TcpEvent::Closed { cause: CloseCause::Peer, .. }));

    let mut third = TcpStream::connect(node.address).await.unwrap();
    third.write_all(&message("3", 0)).await.unwrap();
    assert_eq!(node.message().await.1, message("3", 0));
}

#[tokio::test]
async fn there_are_only_so_many_connections_in_total() {
    let options = TcpOptions { connections_max: 1, ..TcpOptions::default() };
    let node = Node::with(V4, options);
    let bob = Node::new(V4);
    node.tcp.send(&node.flow_to(&bob), message("1", 0)).unwrap();

    let refused = node.tcp.send(&node.flow(V4), message("2", 0));

    assert_eq!(refused, Err(SendError::TooManyConnections));
    assert_eq!(refusal_by(&node).await, io::ErrorKind::ConnectionReset);
    assert_eq!(node.tcp.stats().refused_total_limit.value(), 2);
}

#[tokio::test]
async fn a_ping_is_answered_by_a_pong() {
    let node = Node::new(V4);
    let mut peer = TcpStream::connect(node.address).await.unwrap();

    peer.write_all(b"\r\n\r\n").await.unwrap();

    let mut pong = [0; 2];
    patient(peer.read_exact(&mut pong)).await.unwrap();
    assert_eq!(pong, *b"\r\n");
    assert_eq!(node.tcp.stats().pings_in.value(), 1);
}

#[tokio::test]
async fn a_quiet_connection_is_pinged_and_closed_if_no_pong_comes() {
    let keepalive = Some(Keepalive { interval: SOON, pong_timeout: Some(SOON) });
    let mut node = Node::with(V4, TcpOptions { keepalive, ..TcpOptions::default() });
    let mut peer = TcpStream::connect(node.address).await.unwrap();
    let mut ping = [0; 4];
    for _ in 0..2 {
        patient(peer.read_exact(&mut ping)).await.unwrap();
        assert_eq!(ping, *b"\r\n\r\n");
        peer.write_all(b"\r\n").await.unwrap();
    }

    let event = node.event().await;

    assert!(matches!(event, TcpEvent::Closed { cause: CloseCause::PongTimeout, .. }), "{event:?}");
    assert!(node.tcp.stats().pings_out.value() >= 3);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_said_is_closed() {
    let options = TcpOptions { idle_timeout: Some(SOON), keepalive: None, ..quick() };
    let mut node = Node::with(V4, options);
    let mut peer = TcpStream::connect(node.address).await.unwrap();

    assert_eq!(patient(peer.read(&mut [0])).await.unwrap(), 0);
    assert!(matches!(node.event().await, TcpEvent::Closed { cause: CloseCause::Idle, .. }));
}

#[tokio::test]
async fn a_message_that_drips_in_is_cut_off() {
    let mut node = Node::with(V4, TcpOptions { message_timeout: SOON, ..quick() });
    let mut peer = TcpStream::connect(node.address).await.unwrap();
    let drip = async {
        let text = message("1", 0);
        for byte in text.iter().cycle() {
            if peer.write_u8(*byte).await.is_err() {
                break;
            }
            timeout(SOON / 20, std::future::pending::<()>()).await.unwrap_err();
        }
    };

    let event = select! {
        event = node.event() => event,
        () = drip => panic!("the peer is told by the event first"),
    };

    assert!(matches!(event, TcpEvent::Closed { cause: CloseCause::MessageTimeout, .. }));
}

#[tokio::test]
async fn a_request_without_content_length_can_be_refused_before_the_end() {
    let mut node = Node::with(V4, quick());
    let mut peer = TcpStream::connect(node.address).await.unwrap();
    let head = Bytes::from_static(b"BYE sip:x SIP/2.0\r\nCall-ID: 1\r\n\r\n");
    peer.write_all(&[&head[..], &vec![b'x'; 100_000]].concat()).await.unwrap();

    let event = node.event().await;
    let TcpEvent::Unframed { flow, fault } = event else { panic!("{event:?}") };
    assert_eq!(fault, FramingError::MissingContentLength { head });
    let refusal = Bytes::from_static(b"SIP/2.0 400 Missing Content-Length\r\n\r\n");
    node.tcp.send(&flow, refusal.clone()).unwrap();

    let mut answer = vec![];
    patient(peer.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, refusal);
    assert!(matches!(node.event().await, TcpEvent::Closed { cause: CloseCause::Framing, .. }));
}

#[tokio::test]
async fn a_web_browser_is_turned_away() {
    let mut node = Node::new(V4);
    let mut peer = TcpStream::connect(node.address).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

    assert_eq!(patient(peer.read(&mut [0])).await.unwrap(), 0);
    let event = node.event().await;
    let not_sip = matches!(event, TcpEvent::Unframed { fault: FramingError::NotSip, .. });
    assert!(not_sip, "{event:?}");
    assert!(matches!(node.event().await, TcpEvent::Closed { cause: CloseCause::NotSip, .. }));
}

#[tokio::test]
async fn a_shard_that_is_behind_slows_its_peer_down_and_loses_nothing() {
    let (alice, mut bob) = (Node::new(V4), Node::new(V4));
    let capacity = INBOX * 3;
    for n in 0..capacity {
        alice.tcp.send(&alice.flow_to(&bob), message(&n.to_string(), 0)).unwrap();
    }

    for n in 0..capacity {
        assert_eq!(bob.message().await.1, message(&n.to_string(), 0));
    }
}

#[tokio::test]
async fn each_message_goes_to_the_shard_of_its_call() {
    let steering = Steering::new(4, 1);
    let (senders, mut inboxes): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(INBOX)).unzip();
    let node =
        Tcp::new(TcpOptions::default(), Arc::new(|_, _| true), TcpSink::new(steering, senders));
    let address = node.listen(ListenerId(3), V4).unwrap();
    let mut peer = TcpStream::connect(address).await.unwrap();

    for shard in 0..4 {
        peer.write_all(&message(&format!("tb{shard:02x}-x"), 0)).await.unwrap();
    }
    for (shard, inbox) in inboxes.iter_mut().enumerate() {
        let event = patient(inbox.recv()).await.unwrap();
        let TcpEvent::Message { flow, message: text } = event else { panic!("{event:?}") };
        assert_eq!(flow.listener, ListenerId(3));
        assert_eq!(text, message(&format!("tb{shard:02x}-x"), 0));
    }
    drop(peer);
    for inbox in &mut inboxes {
        let event = patient(inbox.recv()).await.unwrap();
        assert!(matches!(event, TcpEvent::Closed { cause: CloseCause::Peer, .. }));
    }
}

#[tokio::test]
async fn shutdown_lets_what_is_queued_leave_and_then_closes_everything() {
    let (mut alice, mut bob) = (Node::new(V4), Node::new(V4));
    for n in 0..100 {
        alice.tcp.send(&alice.flow_to(&bob), message(&n.to_string(), 1000)).unwrap();
    }

    alice.tcp.shutdown(PATIENCE).await;

    for n in 0..100 {
        assert_eq!(bob.message().await.1, message(&n.to_string(), 1000));
    }
    assert_eq!(alice.tcp.send(&alice.flow_to(&bob), message("x", 0)), Err(SendError::Shutdown));
    assert!(matches!(alice.event().await, TcpEvent::Closed { cause: CloseCause::Shutdown, .. }));
    assert_eq!(alice.tcp.stats().open.value(), 0);
    assert!(TcpStream::connect(alice.address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_shards_or_peers_for_ever() {
    let alice = Node::new(V4);
    let silent = TcpListener::bind(V4).await.unwrap();
    let flow = alice.flow(silent.local_addr().unwrap());
    while alice.tcp.send(&flow, message("1", 30_000)).is_ok() {
        tokio::task::yield_now().await;
    }
    let (full, _waiting) = full_listener();
    let unreachable = full.local_addr().unwrap().as_socket().unwrap();
    for n in 0..2 * INBOX {
        alice.tcp.send(&alice.flow(unreachable), message(&n.to_string(), 0)).unwrap();
    }

    patient(alice.tcp.shutdown(SOON)).await;

    assert_eq!(alice.tcp.stats().open.value(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_explained() {
    let node = Node::new(V4);
    let error = node.tcp.listen(ListenerId(1), node.address).unwrap_err();
    let port = node.address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "listen on tcp 127.0.0.1:{port}: the port is in use; find its owner with \
             `ss -tlnp sport = :{port}`, then stop it or choose another port"
        ),
    );
}

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const INBOX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(100);

/// A transport with one listener and one shard.
struct Node {
    tcp: Tcp,
    address: SocketAddr,
    inbox: mpsc::Receiver<TcpEvent>,
}

impl Node {
    fn new(address: SocketAddr) -> Self {
        Self::with(address, TcpOptions::default())
    }

    fn with(address: SocketAddr, options: TcpOptions) -> Self {
        Self::checked(address, options, Arc::new(|_, _| true))
    }

    fn checked(address: SocketAddr, options: TcpOptions, check: SourceCheck) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX);
        let tcp = Tcp::new(options, check, TcpSink::new(Steering::new(1, 0), vec![sender]));
        let address = tcp.listen(ListenerId(0), address).unwrap();
        Self { tcp, address, inbox }
    }

    fn flow(&self, peer: SocketAddr) -> Flow {
        Flow::new(ListenerId(0), Transport::Tcp, peer)
    }

    fn flow_to(&self, other: &Self) -> Flow {
        self.flow(other.address)
    }

    async fn event(&mut self) -> TcpEvent {
        patient(self.inbox.recv()).await.unwrap()
    }

    async fn message(&mut self) -> (Flow, Bytes) {
        let event = self.event().await;
        let TcpEvent::Message { flow, message } = event else { panic!("{event:?}") };
        (flow, message)
    }
}

/// How a connection that is not let in ends: while it is made or when it is first read.
async fn refusal_by(node: &Node) -> io::ErrorKind {
    let attempt = async { TcpStream::connect(node.address).await?.read_u8().await };
    patient(attempt).await.unwrap_err().kind()
}

fn quick() -> TcpOptions {
    TcpOptions { linger: SOON, ..TcpOptions::default() }
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
}

fn message(call_id: &str, body: usize) -> Bytes {
    let head = format!(
        "INVITE sip:edge.test SIP/2.0\r\nCall-ID: {call_id}\r\nContent-Length: {body}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'v'; body]].concat().into()
}

/// A port that nobody else can take and at which nobody listens.
fn closed_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&V4.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A listener whose backlog is full, so that the kernel ignores further SYNs.
fn full_listener() -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&V4.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        socket
    });
    let waiting = waiting.collect();
    (listener, waiting)
}
