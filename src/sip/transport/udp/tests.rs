use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use tokio::time::timeout;

use super::super::bind::BindCause;
use super::*;
use socket2::SockRef;

#[tokio::test]
async fn datagrams_arrive_whole_in_order_and_with_their_source() {
    let (alice, bob) = (bind(V4), bind(V4));
    let texts: Vec<_> = (0..100).map(|n| Bytes::from(format!("datagram {n}"))).collect();

    send_all(&alice, &bob, texts.clone()).await;

    assert_eq!(receive(&bob, 100).await, from(&alice, texts));
    assert_eq!(alice.stats().datagrams_out.value(), 100);
    assert_eq!(bob.stats().datagrams_in.value(), 100);
    assert_eq!(alice.stats().bytes_out.value(), bob.stats().bytes_in.value());
}

#[tokio::test]
async fn one_system_call_each_way_carries_a_whole_batch() {
    let (alice, bob) = (bind(V4), bind(V4));

    send_all(&alice, &bob, vec![Bytes::from_static(b"x"); RecvBatch::DATAGRAMS_MAX - 1]).await;
    receive(&bob, RecvBatch::DATAGRAMS_MAX - 1).await;

    assert_eq!(alice.stats().send_calls.value(), 1);
    assert_eq!(bob.stats().receive_calls.value(), 1);
}

#[tokio::test]
async fn a_socket_that_was_emptied_waits_and_wakes_again() {
    let (alice, bob) = (bind(V4), bind(V4));
    for n in 0..3 {
        let text = Bytes::from(format!("round {n}"));
        send_all(&alice, &bob, vec![text.clone()]).await;
        assert_eq!(receive(&bob, 1).await, from(&alice, vec![text]));

        let mut batch = RecvBatch::new();
        let error = bob.try_recv_batch(&mut batch).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn a_datagram_of_20_kb_and_the_largest_possible_one_pass() {
    let (alice, bob) = (bind(V4), bind(V4));
    let texts: Vec<_> = [20_000, 65_507].map(|len| Bytes::from(vec![b'x'; len])).into();

    send_all(&alice, &bob, texts.clone()).await;

    assert_eq!(receive(&bob, 2).await, from(&alice, texts));
}

#[tokio::test]
async fn one_batch_serves_sockets_of_both_families() {
    let mut batch = RecvBatch::new();
    for loopback in [V6, V4, V6] {
        let (alice, bob) = (bind(loopback), bind(loopback));
        let text = Bytes::from_static(b"\r\n\r\n");
        send_all(&alice, &bob, vec![text.clone()]).await;
        assert_eq!(receive_into(&mut batch, &bob, 1).await, from(&alice, vec![text]));
    }
}

#[tokio::test]
async fn an_ipv6_listener_leaves_the_port_to_ipv4() {
    let v6 = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let port = v6.local_addr().port();
    let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port).into(), UdpOptions::default());
    assert!(v4.is_ok());
}

#[tokio::test]
async fn a_datagram_that_cannot_be_sent_does_not_hold_up_the_others() {
    let (alice, bob) = (bind(V4), bind(V4));
    let too_long = Bytes::from(vec![0; 65_508]);
    let text = Bytes::from_static(b"x");
    let mut queue = SendQueue::new();
    queue.push(too_long.clone(), bob.local_addr()).unwrap();
    queue.push(text.clone(), bob.local_addr()).unwrap();
    queue.push(text.clone(), V6).unwrap();
    queue.push(text.clone(), bob.local_addr()).unwrap();

    flush(&alice, &mut queue).await;

    let failure = |peer, fault, datagram| SendFailure { peer, fault, datagram: Some(datagram) };
    let expected = [
        failure(bob.local_addr(), SendFault::TooLong, too_long),
        failure(V6, SendFault::WrongAddress, text.clone()),
    ];
    assert_eq!(queue.take_failures(), expected);
    assert_eq!(queue.take_failures(), []);
    assert_eq!(alice.stats().send_failed.value(), 2);
    assert_eq!(receive(&bob, 2).await, from(&alice, vec![text.clone(), text]));
}

#[tokio::test]
async fn a_closed_port_is_reported_and_costs_nobody_a_datagram() {
    for loopback in [V4, V6] {
        let (alice, bob) = (bind(loopback), bind(loopback));
        let (_reserved, nobody) = closed_port(loopback);
        let text = Bytes::from_static(b"x");
        let mut queue = SendQueue::new();
        for n in 0..6 {
            let peer = if n % 2 == 0 { nobody } else { bob.local_addr() };
            queue.push(text.clone(), peer).unwrap();
        }

        flush(&alice, &mut queue).await;

        assert_eq!(receive(&bob, 3).await, from(&alice, vec![text; 3]));
        let mut failures = queue.take_failures();
        let mut batch = RecvBatch::new();
        while failures.len() < 3 {
            assert_eq!(arrived(&alice, &mut batch).await, 0);
            failures.extend_from_slice(batch.unreachable());
        }
        let refused = SendFailure { peer: nobody, fault: SendFault::Refused, datagram: None };
        assert_eq!(failures, vec![refused; 3]);
        assert_eq!(alice.stats().send_failed.value(), 0);
        let error = alice.try_recv_batch(&mut batch).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn what_the_kernel_cannot_take_stays_queued_in_order() {
    let (alice, bob) = (bind(V4), bind(V4));
    SockRef::from(&alice.io).set_send_buffer_size(1).unwrap();
    let texts: Vec<_> = (0..200).map(|n| Bytes::from(format!("{n} {}", "x".repeat(500)))).collect();

    send_all(&alice, &bob, texts.clone()).await;

    assert_eq!(receive(&bob, 200).await, from(&alice, texts));
}

#[tokio::test]
async fn a_full_queue_takes_no_more() {
    let mut queue = SendQueue::with_capacity(2);
    assert_eq!(queue.push(Bytes::new(), V4), Ok(()));
    assert_eq!(queue.push(Bytes::new(), V4), Ok(()));
    assert_eq!(queue.push(Bytes::new(), V4), Err(QueueFull));
    assert_eq!(queue.len(), 2);
}

#[tokio::test]
async fn datagrams_the_kernel_dropped_are_counted() {
    for loopback in [V4, V6] {
        let options = UdpOptions { receive_buffer_bytes: 4096, ..UdpOptions::default() };
        let (alice, bob) = (bind(loopback), UdpSocket::bind(loopback, options).unwrap());
        assert_eq!(bob.kernel_drops().unwrap(), 0);

        send_all(&alice, &bob, vec![Bytes::from(vec![b'x'; 1000]); 100]).await;

        let mut batch = RecvBatch::new();
        let mut received = 0;
        while received + bob.kernel_drops().unwrap() < 100 {
            received += arrived(&bob, &mut batch).await as u64;
        }
        assert!(received < 100);
        assert_eq!(received + bob.kernel_drops().unwrap(), 100);
    }
}

#[tokio::test]
async fn an_address_in_use_is_explained() {
    let first = bind(V4);
    let error = UdpSocket::bind(first.local_addr(), UdpOptions::default()).unwrap_err();

    let port = first.local_addr().port();
    assert_eq!(
        error.to_string(),
        format!(
            "listen on udp 127.0.0.1:{port}: the port is in use; find its owner with \
             `ss -ulnp sport = :{port}`, then stop it or choose another port"
        ),
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_explained() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 7], 0));
    let error = UdpSocket::bind(elsewhere, UdpOptions::default()).unwrap_err();
    assert!(matches!(error.cause, BindCause::NotLocal), "{error}");
}

#[tokio::test]
async fn sockets_that_ask_for_it_share_a_port() {
    let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let first = UdpSocket::bind(V4, options).unwrap();
    assert!(UdpSocket::bind(first.local_addr(), options).is_ok());
}

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(10);

/// A port that nobody else can take and that refuses us: its socket hears one peer only.
fn closed_port(loopback: SocketAddr) -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind(loopback).unwrap();
    socket.connect((loopback.ip(), 9)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn bind(address: SocketAddr) -> UdpSocket {
    UdpSocket::bind(address, UdpOptions::default()).unwrap()
}

async fn send_all(from: &UdpSocket, to: &UdpSocket, texts: Vec<Bytes>) {
    let mut queue = SendQueue::new();
    for text in texts {
        queue.push(text, to.local_addr()).unwrap();
    }
    flush(from, &mut queue).await;
}

async fn flush(socket: &UdpSocket, queue: &mut SendQueue) {
    loop {
        socket.try_send_batch(queue);
        if queue.is_empty() {
            return;
        }
        timeout(PATIENCE, socket.writable()).await.unwrap().unwrap();
    }
}

async fn receive(socket: &UdpSocket, count: usize) -> Vec<(Bytes, SocketAddr)> {
    receive_into(&mut RecvBatch::new(), socket, count).await
}

async fn receive_into(
    batch: &mut RecvBatch,
    socket: &UdpSocket,
    count: usize,
) -> Vec<(Bytes, SocketAddr)> {
    let mut received = vec![];
    while received.len() < count {
        arrived(socket, batch).await;
        received.extend(batch.iter().map(|(text, peer)| (Bytes::copy_from_slice(text), peer)));
    }
    received
}

async fn arrived(socket: &UdpSocket, batch: &mut RecvBatch) -> usize {
    timeout(PATIENCE, async {
        loop {
            socket.readable().await.unwrap();
            match socket.try_recv_batch(batch) {
                Ok(count) => return count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    })
    .await
    .unwrap()
}

fn from(socket: &UdpSocket, texts: Vec<Bytes>) -> Vec<(Bytes, SocketAddr)> {
    texts.into_iter().map(|text| (text, socket.local_addr())).collect()
}
