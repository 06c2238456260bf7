//! The life of one connection: connect, read and write side by side, end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use nix::libc;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::tls::names_of;
use super::event::{CloseCause, TcpEvent};
use super::framing::{Frame, Framer};
use super::liveness::{Due, Liveness};
use super::options::{PeerCheck, Stranger};
use super::outbox;
use super::registry::Connection;
use super::stream::Stream;
use super::{Phase, Shared, reached};
use crate::sip::flow::Transport;

/// Serves an accepted connection until it ends.
pub(super) async fn serve_accepted(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    tcp: TcpStream,
    peer_check: Option<PeerCheck>,
    mut phase: watch::Receiver<Phase>,
) {
    let secured = async {
        match peer_check {
            Some(check) => {
                timeout(shared.options.message_timeout, secure(&shared, &connection, tcp, &check))
                    .await
                    .unwrap_or(Err(CloseCause::MessageTimeout))
            }
            None => Ok(Stream::Plain(tcp)),
        }
    };
    let secured = select! {
        secured = secured => secured,
        () = connection.outbox.overflow() => Err(CloseCause::Slow),
        () = reached(&mut phase, Phase::Ended) => Err(CloseCause::Shutdown),
    };
    let cause = match secured {
        Ok(stream) => serve(&shared, &connection, &stream, &mut phase).await,
        Err(cause) => {
            shared.stats.tls_accept_failed.add(1);
            cause
        }
    };
    finish(&shared, &connection, cause, &mut phase).await;
}

/// Opens a connection from the address of its listener and serves it until it ends.
pub(super) async fn serve_opened(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    local: Option<SocketAddr>,
    mut phase: watch::Receiver<Phase>,
) {
    let opened = select! {
        opened = timeout(shared.options.connect_timeout, open(&shared, &connection, local))
            => opened.unwrap_or(Err(CloseCause::ConnectTimeout)),
        () = connection.outbox.overflow() => Err(CloseCause::Slow),
        () = reached(&mut phase, Phase::Ended) => Err(CloseCause::Shutdown),
    };
    let cause = match opened {
        Ok(stream) => {
            shared.stats.connected.add(1);
            serve(&shared, &connection, &stream, &mut phase).await
        }
        Err(cause) => {
            shared.stats.connect_failed.add(1);
            cause
        }
    };
    finish(&shared, &connection, cause, &mut phase).await;
}

/// The server's side of a TLS handshake, and who it was with.
async fn secure(
    shared: &Shared,
    connection: &Connection,
    tcp: TcpStream,
    check: &PeerCheck,
) -> Result<Stream, CloseCause> {
    let id = connection.id.0;
    let session = shared.tls.load().accept().ok_or(CloseCause::Handshake)?;
    let stream = Stream::handshake(tcp, session.into()).await.map_err(|error| {
        tracing::debug!(connection = id, %error, "the TLS handshake of a client failed");
        CloseCause::Handshake
    })?;
    let names = stream.peer_certificate().map(|it| names_of(&it)).unwrap_or_default();
    let peer = check(connection.listener, connection.peer.ip(), &names).map_err(|Stranger| {
        tracing::debug!(connection = id, "a TLS client is nobody we deal with");
        shared.stats.refused_source.add(1);
        stream.say_goodbye();
        CloseCause::Handshake
    })?;
    if let Some(peer) = peer {
        connection.tls.get_or_init(|| peer);
    }
    shared.stats.tls_accepted.add(1);
    Ok(stream)
}

/// A connection from the address of its listener, with TLS if the flow says so.
async fn open(
    shared: &Shared,
    connection: &Connection,
    local: Option<SocketAddr>,
) -> Result<Stream, CloseCause> {
    let peer = connection.peer;
    let tcp = connect(shared, peer, local).await?;
    if connection.transport != Transport::Tls {
        return Ok(Stream::Plain(tcp));
    }
    let secured = async {
        let settings = shared.tls.load_full();
        let expected = connection.tls.get().copied();
        let (session, is_verified) =
            settings.connect(expected, peer.ip()).ok_or(io::ErrorKind::NotFound)?;
        Ok::<_, io::Error>((Stream::handshake(tcp, session.into()).await?, is_verified))
    };
    match secured.await {
        Ok((stream, is_verified)) => {
            shared.stats.tls_connected.add(1);
            shared.stats.tls_unverified.add(u64::from(!is_verified));
            Ok(stream)
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "the TLS handshake with a server failed");
            shared.stats.tls_connect_failed.add(1);
            Err(CloseCause::Handshake)
        }
    }
}

async fn connect(
    shared: &Shared,
    peer: SocketAddr,
    local: Option<SocketAddr>,
) -> Result<TcpStream, CloseCause> {
    let _turn = shared.connecting.acquire().await.expect("the semaphore is never closed");
    let attempt = async {
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(mut local) = local.filter(|local| !local.ip().is_unspecified()) {
            local.set_port(0);
            socket.bind(local)?;
        }
        socket.connect(peer).await
    };
    attempt.await.map_err(|error: io::Error| match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => CloseCause::ConnectRefused,
        Some(libc::ETIMEDOUT) => CloseCause::ConnectTimeout,
        Some(_) | None => CloseCause::Unreachable,
    })
}

async fn serve(
    shared: &Shared,
    connection: &Connection,
    stream: &Stream,
    phase: &mut watch::Receiver<Phase>,
) -> CloseCause {
    let cause = read_and_write(shared, connection, stream, phase).await;
    stream.say_goodbye();
    cause
}

async fn read_and_write(
    shared: &Shared,
    connection: &Connection,
    stream: &Stream,
    phase: &mut watch::Receiver<Phase>,
) -> CloseCause {
    if let Err(error) = prepare(stream.tcp(), shared) {
        tracing::debug!(%error, "connection was gone before it could be served");
        return CloseCause::Reset;
    }
    let mut write = pin!(write(shared, connection, stream));
    let cause = select! {
        cause = read(shared, connection, stream) => cause,
        cause = &mut write => return cause,
        () = connection.outbox.overflow() => return CloseCause::Slow,
        () = reached(phase, Phase::Draining) => CloseCause::Shutdown,
    };
    // On the way out, what is queued may still leave for a while.
    let until_ended = cause == CloseCause::Shutdown;
    let patience = if until_ended { Duration::MAX } else { shared.options.linger };
    let goodbye = async {
        select! {
            () = last_words(connection, stream, cause) => {}
            _ = &mut write => {}
        }
    };
    select! {
        _ = timeout(patience, goodbye) => {}
        () = connection.outbox.overflow() => {}
        () = reached(phase, Phase::Ended) => {}
    }
    cause
}

/// Waits until nothing more is to be written.
async fn last_words(connection: &Connection, stream: &Stream, cause: CloseCause) {
    if cause == CloseCause::Framing {
        // A refusal is still to come. Reading on keeps the kernel from resetting the connection,
        // which could cost the peer that refusal.
        discard(stream.tcp()).await;
    }
    connection.outbox.close();
    connection.outbox.empty().await;
}

async fn discard(stream: &TcpStream) {
    let mut bytes = [0; 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Tells the shards what became of it.
async fn finish(
    shared: &Shared,
    connection: &Connection,
    cause: CloseCause,
    phase: &mut watch::Receiver<Phase>,
) {
    let Connection { id, peer, .. } = *connection;
    shared.registry.lock().remove(connection);
    shared.stats.open.subtract(1);
    shared.stats.count_closed(cause);
    tracing::debug!(connection = id.0, %cause, "connection ended");

    let unsent = connection.outbox.close_and_take();
    shared.stats.send_failed.add(unsent.len() as u64);
    let tell = async {
        for message in unsent {
            let flow = connection.flow();
            shared.sink.deliver(TcpEvent::SendFailed { flow, message, cause }).await;
        }
        if connection.was_unheard() && cause != CloseCause::Shutdown {
            shared.sink.deliver(TcpEvent::Unheard { flow: connection.flow(), cause }).await;
        }
        shared.sink.deliver(TcpEvent::Closed { connection: id, peer, cause }).await;
    };
    select! {
        biased;
        () = tell => {}
        // A shard that has stopped listening does not hold up the end.
        () = reached(phase, Phase::Ended) => {}
    }
}

fn prepare(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it, a peer that vanished costs us a quarter of an hour of retransmissions.
    SockRef::from(stream).set_tcp_user_timeout(Some(shared.options.write_timeout))
}

async fn read(shared: &Shared, connection: &Connection, stream: &Stream) -> CloseCause {
    let mut framer = Framer::new(shared.options.framing);
    let mut liveness = Liveness::new(shared.options, Instant::now());
    loop {
        match next_bytes(stream, &mut framer, &liveness, connection).await {
            Ok(Arrived::Bytes(count)) => shared.stats.bytes_in.add(count as u64),
            Ok(Arrived::End) => return CloseCause::Peer,
            Ok(Arrived::Nothing(Due::Ping)) => {
                liveness.pinged(Instant::now());
                shared.stats.pings_out.add(1);
                connection.outbox.push_keepalive(Bytes::from_static(b"\r\n\r\n"));
                continue;
            }
            Ok(Arrived::Nothing(Due::Close(cause))) => return cause,
            Err(_) => return CloseCause::Reset,
        }
        match deliver_frames(shared, connection, &mut framer).await {
            Ok(any) => {
                connection.has_heard.fetch_or(any, Ordering::Relaxed);
                liveness.heard(Instant::now(), any, framer.is_inside_message());
            }
            Err(cause) => return cause,
        }
        framer.release();
    }
}

enum Arrived {
    Bytes(usize),
    End,
    /// Nothing, for so long that this is due.
    Nothing(Due),
}

async fn next_bytes(
    stream: &Stream,
    framer: &mut Framer,
    liveness: &Liveness,
    connection: &Connection,
) -> io::Result<Arrived> {
    loop {
        match liveness.next(connection.outbox.last_message_at()) {
            None => stream.readable().await?,
            Some((at, due)) => match timeout_at(at, stream.readable()).await {
                Ok(ready) => ready?,
                // A message sent meanwhile may have put it off.
                Err(_) => match liveness.next(connection.outbox.last_message_at()) {
                    Some((later, _)) if later > at => continue,
                    _ => return Ok(Arrived::Nothing(due)),
                },
            },
        }
        let buffer = framer.buffer();
        buffer.reserve(READ_BYTES);
        match stream.try_read_buf(buffer) {
            Ok(0) => return Ok(Arrived::End),
            Ok(count) => return Ok(Arrived::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Room made before a read: several messages, and little enough to allocate and free each time.
const READ_BYTES: usize = 8 * 1024;

/// Hands on what is whole and answers pings; whether there was anything.
async fn deliver_frames(
    shared: &Shared,
    connection: &Connection,
    framer: &mut Framer,
) -> Result<bool, CloseCause> {
    let flow = connection.flow();
    let (mut any, mut pings) = (false, 0);
    let result = loop {
        match framer.next_frame() {
            Ok(Some(Frame::Message(message))) => {
                shared.stats.messages_in.add(1);
                shared.sink.deliver(TcpEvent::Message { flow, message }).await;
            }
            Ok(Some(Frame::Ping)) => pings += 1,
            Ok(Some(Frame::Pong)) => {}
            Ok(None) => break Ok(any),
            Err(fault) => {
                let answerable = fault.head().is_some();
                tracing::debug!(connection = connection.id.0, %fault, "stream cannot be framed");
                shared.sink.deliver(TcpEvent::Unframed { flow, fault }).await;
                let cause = if answerable { CloseCause::Framing } else { CloseCause::NotSip };
                break Err(cause);
            }
        }
        any = true;
    };
    if pings > 0 {
        shared.stats.pings_in.add(pings as u64);
        let pongs = (2 * pings).min(PONGS.len());
        connection.outbox.push_keepalive(Bytes::from_static(&PONGS[..pongs]));
    }
    result
}

/// As many as one read may ask for; more are a flood, and one answer shows that we live.
static PONGS: &[u8] = b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

/// Writes what is queued as long as the peer takes it.
async fn write(shared: &Shared, connection: &Connection, stream: &Stream) -> CloseCause {
    loop {
        let front = connection.outbox.front().await;
        match stream.try_write_vectored(&outbox::slices(&front)) {
            Ok(count) => {
                let written = connection.outbox.consume(count);
                connection.has_told.fetch_or(written.messages > 0, Ordering::Relaxed);
                shared.stats.messages_out.add(written.messages);
                shared.stats.bytes_out.add(written.bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match timeout(shared.options.write_timeout, stream.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return CloseCause::Reset,
                    Err(_) => return CloseCause::Slow,
                }
            }
            Err(_) => return CloseCause::Reset,
        }
    }
}
