//! SIP over TCP and TLS: listeners, connections in both directions, one bounded queue for each.
//!
//! Runs on the tokio runtime it was made in; [`Tcp::send`] may be called from any thread and never
//! waits. Each connection is one task that
//! reads and writes side by side, so that neither a peer that does not
//! read nor a shard that is behind holds up anything else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::bind::BindError;
use super::stats::TcpStats;
use super::tls::TlsSettings;
use crate::sip::flow::{ConnectionId, Flow, ListenerId, Transport};

mod connection;
mod event;
mod framing;
mod liveness;
mod options;
mod outbox;
mod registry;
mod stream;
#[cfg(test)]
mod tests;

pub use event::{CloseCause, TcpEvent, TcpSink};
pub use framing::{Frame, Framer, FramingError, FramingLimits};
pub use options::{Keepalive, PeerCheck, SourceCheck, Stranger, TcpOptions};
use outbox::PushError;
use registry::{Origin, OverLimit, Registry};

/// All TCP and TLS listeners and connections of the process. Clones share them. They live on when the last
/// clone is dropped; [`Tcp::shutdown`] ends them.
#[derive(Clone)]
pub struct Tcp {
    shared: Arc<Shared>,
}

/// Why a message was not accepted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the peer does not read what we write; its connection is closed")]
    Slow,
    #[error("there are as many connections as may be")]
    TooManyConnections,
    #[error("we are shutting down")]
    Shutdown,
}

impl Tcp {
    /// Called inside the runtime that is to do the work, which has I/O and time enabled. Dropping
    /// that runtime ends everything without a word. `source_check` decides on accepted
    /// connections only.
    pub fn new(options: TcpOptions, source_check: SourceCheck, sink: TcpSink) -> Self {
        let shared = Shared {
            options,
            source_check,
            sink,
            stats: Arc::default(),
            runtime: Handle::current(),
            registry: Mutex::default(),
            connecting: Semaphore::new(options.connecting_max),
            phase: watch::Sender::new(Phase::Running),
            tls: ArcSwap::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a listener and gives the address bound; port 0 takes a free one. `listener` is what
    /// flows and the source check will say. An IPv6 listener takes IPv6 only.
    pub fn listen(
        &self,
        listener: ListenerId,
        address: SocketAddr,
    ) -> Result<SocketAddr, BindError> {
        self.listen_as(listener, address, Transport::Tcp, None)
    }

    /// The same for TLS, with what [`Tcp::set_tls`] was given last. `peer_check` decides when the
    /// handshake is done.
    pub fn listen_tls(
        &self,
        listener: ListenerId,
        address: SocketAddr,
        peer_check: PeerCheck,
    ) -> Result<SocketAddr, BindError> {
        self.listen_as(listener, address, Transport::Tls, Some(peer_check))
    }

    /// How TLS connections are made from now on; those that are open keep what they have, and a
    /// peer that is not named any more is called as before.
    pub fn set_tls(&self, settings: TlsSettings) {
        let before = self.shared.tls.load();
        self.shared.tls.store(Arc::new(settings.following(&before)));
    }

    fn listen_as(
        &self,
        listener: ListenerId,
        address: SocketAddr,
        transport: Transport,
        peer_check: Option<PeerCheck>,
    ) -> Result<SocketAddr, BindError> {
        let shared = &self.shared;
        let (socket, bound) = open(&shared.runtime, address)
            .map_err(|error| BindError::new(address, transport, error))?;
        shared.registry.lock().add_listener(listener, bound);
        let phase = shared.phase.subscribe();
        let listening = Listening { listener, transport, peer_check };
        shared.runtime.spawn(accept(Arc::clone(shared), listening, socket, phase));
        Ok(bound)
    }

    /// Queues a message: on the flow's connection if it is open, else on an open connection of
    /// the same listener to the same peer, else on one that is opened now, from the listener's
    /// address. Gives the connection chosen. What goes wrong later comes as
    /// [`TcpEvent::SendFailed`].
    pub fn send(&self, flow: &Flow, message: Bytes) -> Result<ConnectionId, SendError> {
        let shared = &self.shared;
        let mut registry = shared.registry.lock();
        if *shared.phase.borrow() != Phase::Running {
            return Err(SendError::Shutdown);
        }
        let mut message = message;
        for connection in registry.leading_to(flow) {
            match connection.outbox.push(message) {
                Ok(()) => return Ok(connection.id),
                Err(PushError::Full) => return Err(SendError::Slow),
                Err(PushError::Closed(back)) => message = back,
            }
        }
        let local = registry.listener_address(flow.listener);
        let connection = registry.add(flow, Origin::Opened, &shared.options).map_err(|_| {
            shared.stats.refused_total_limit.add(1);
            SendError::TooManyConnections
        })?;
        drop(registry);
        shared.stats.open.add(1);
        let id = connection.id;
        match connection.outbox.push(message) {
            Ok(()) => {}
            Err(PushError::Full | PushError::Closed(_)) => return Err(SendError::Slow),
        }
        let phase = shared.phase.subscribe();
        shared.runtime.spawn(connection::serve_opened(
            Arc::clone(shared),
            connection,
            local,
            phase,
        ));
        Ok(id)
    }

    pub fn stats(&self) -> &Arc<TcpStats> {
        &self.shared.stats
    }

    /// Stops accepting and reading, lets what is queued leave for at most `grace`, then closes
    /// everything. When it returns, no task of this transport runs any more.
    pub async fn shutdown(&self, grace: Duration) {
        let phase = &self.shared.phase;
        phase.send_replace(Phase::Draining);
        // Every task holds a receiver until it is done.
        if tokio::time::timeout(grace, phase.closed()).await.is_err() {
            phase.send_replace(Phase::Ended);
            phase.closed().await;
        }
    }
}

struct Shared {
    options: TcpOptions,
    source_check: SourceCheck,
    sink: TcpSink,
    stats: Arc<TcpStats>,
    /// Tasks run here, whichever thread calls `send`.
    runtime: Handle,
    registry: Mutex<Registry>,
    /// Turns at connecting.
    connecting: Semaphore,
    phase: watch::Sender<Phase>,
    tls: ArcSwap<TlsSettings>,
}

/// What accepted connections are.
#[derive(Clone)]
struct Listening {
    listener: ListenerId,
    transport: Transport,
    /// With TLS.
    peer_check: Option<PeerCheck>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Nothing new begins; what is queued may leave.
    Draining,
    Ended,
}

async fn reached(current: &mut watch::Receiver<Phase>, phase: Phase) {
    // The sender lives as long as the tasks that wait here.
    let _ = current.wait_for(|current| *current >= phase).await;
}

fn open(runtime: &Handle, address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Lets a restart bind while connections of the last run are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let _inside = runtime.enter();
    let listener = TcpListener::from_std(socket.into())?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Connections the kernel completes while we are busy.
const BACKLOG: i32 = 1024;

async fn accept(
    shared: Arc<Shared>,
    listening: Listening,
    socket: TcpListener,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        let accepted = select! {
            accepted = socket.accept() => accepted,
            () = reached(&mut phase, Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(&shared, &listening, stream, peer),
            Err(error) if is_about_one_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again shortly");
                sleep_until(Instant::now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

/// When the process is out of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn is_about_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

fn admit(shared: &Arc<Shared>, listening: &Listening, stream: TcpStream, peer: SocketAddr) {
    let stats = &shared.stats;
    let Listening { listener, transport, .. } = *listening;
    let refusal = if (shared.source_check)(listener, peer.ip()) {
        let flow = Flow::new(listener, transport, peer);
        let added = shared.registry.lock().add(&flow, Origin::Accepted, &shared.options);
        match added {
            Ok(connection) => {
                stats.accepted.add(1);
                stats.open.add(1);
                let phase = shared.phase.subscribe();
                shared.runtime.spawn(connection::serve_accepted(
                    Arc::clone(shared),
                    connection,
                    stream,
                    listening.peer_check.clone(),
                    phase,
                ));
                return;
            }
            Err(OverLimit::Source) => &stats.refused_source_limit,
            Err(OverLimit::Total) => &stats.refused_total_limit,
        }
    } else {
        &stats.refused_source
    };
    refusal.add(1);
    // Reset, so that a flood of refused connections leaves no TIME_WAIT behind. If it fails the
    // connection is closed all the same.
    let _ = stream.set_zero_linger();
}
