//! The life of one connection: connect, read and write side by side, end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::libc;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::event::{CloseCause, TcpEvent};
use super::framing::{Frame, Framer};
use super::liveness::{Due, Liveness};
use super::outbox;
use super::registry::Connection;
use super::{Phase, Shared, reached};

/// Serves an accepted connection until it ends.
pub(super) async fn serve_accepted(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    stream: TcpStream,
    mut phase: watch::Receiver<Phase>,
) {
    let cause = serve(&shared, &connection, &stream, &mut phase).await;
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
        opened = timeout(shared.options.connect_timeout, connect(&shared, connection.peer, local))
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
    stream: &TcpStream,
    phase: &mut watch::Receiver<Phase>,
) -> CloseCause {
    if let Err(error) = prepare(stream, shared) {
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
async fn last_words(connection: &Connection, stream: &TcpStream, cause: CloseCause) {
    if cause == CloseCause::Framing {
        // A refusal is still to come. Reading on keeps the kernel from resetting the connection,
        // which could cost the peer that refusal.
        discard(stream).await;
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

async fn read(shared: &Shared, connection: &Connection, stream: &TcpStream) -> CloseCause {
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
            Ok(any) => liveness.heard(Instant::now(), any, framer.is_inside_message()),
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
    stream: &TcpStream,
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
async fn write(shared: &Shared, connection: &Connection, stream: &TcpStream) -> CloseCause {
    loop {
        let front = connection.outbox.front().await;
        match stream.try_write_vectored(&outbox::slices(&front)) {
            Ok(count) => {
                let written = connection.outbox.consume(count);
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
