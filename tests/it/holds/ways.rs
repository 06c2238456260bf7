//! Ways to servers that can be cut: those of one edge to all of them, or those of the servers of a
//! cluster to each other.
//!
//! What is on a way that is cut arrives when it is mended, as it would with TCP. Nothing is closed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollbridge::server::redis::Address;

/// Ways to servers, which are named by their places.
pub(crate) struct Ways {
    /// Where they begin, in the order of the servers.
    pub(crate) begin: Vec<Address>,
    cut: watch::Sender<BTreeSet<usize>>,
    accepting: Vec<JoinHandle<()>>,
}

impl Ways {
    /// Ways of one client. Wherever a server names another one, it names the way to it.
    pub(crate) async fn to(servers: &[Address]) -> Result<Self> {
        let mut listeners = vec![];
        for _ in servers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await?);
        }
        Self::from(listeners, servers, true)
    }

    /// Ways of servers to each other's ports, from ports that they announce; the one at `place` comes
    /// from [`Ways::source`].
    pub(crate) async fn between(announced: &[u16], ports: &[u16]) -> Result<Self> {
        let mut listeners = vec![];
        for port in announced {
            listeners.push(TcpListener::bind(("127.0.0.1", *port)).await?);
        }
        let servers: Vec<_> = ports.iter().map(|port| at(*port)).collect();
        Self::from(listeners, &servers, false)
    }

    /// Where the connections of the server at `place` come from.
    pub(crate) fn source(place: usize) -> String {
        format!("127.0.1.{}", place + 1)
    }

    fn from(listeners: Vec<TcpListener>, servers: &[Address], of_clients: bool) -> Result<Self> {
        let cut = watch::Sender::new(BTreeSet::new());
        let ports = listeners.iter().map(|it| Ok(it.local_addr()?.port()));
        let begin: Vec<_> = ports.map(|port| port.map(at)).collect::<Result<_>>()?;
        let names: Names = if of_clients {
            servers.iter().zip(&begin).map(|(server, way)| (name(server), name(way))).collect()
        } else {
            vec![]
        };
        let names = Arc::new(names);
        let accepting = listeners.into_iter().zip(servers).enumerate().map(|(place, it)| {
            let (listener, server) = (it.0, it.1.clone());
            tokio::spawn(accept(listener, server, place, cut.subscribe(), Arc::clone(&names)))
        });
        Ok(Self { begin, accepting: accepting.collect(), cut })
    }

    /// To these servers, and between them and all others.
    pub(crate) fn cut(&self, places: impl IntoIterator<Item = usize>) {
        self.cut.send_replace(places.into_iter().collect());
    }

    pub(crate) fn cut_all(&self) {
        self.cut(0..self.begin.len());
    }

    pub(crate) fn mend(&self) {
        self.cut([]);
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// What is said on a way instead of what.
type Names = Vec<(Vec<u8>, Vec<u8>)>;

/// As `CLUSTER NODES` names it, with as many bytes whichever it is.
fn name(address: &Address) -> Vec<u8> {
    format!("{}:{}@", address.host, address.port).into_bytes()
}

fn at(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

/// Where a way leads from and to.
#[derive(Clone, Copy)]
struct Ends {
    from: Option<usize>,
    to: usize,
}

impl Ends {
    fn are_apart(self, cut: &BTreeSet<usize>) -> bool {
        cut.contains(&self.to) != self.from.is_some_and(|from| cut.contains(&from))
    }
}

async fn accept(
    listener: TcpListener,
    server: Address,
    to: usize,
    cut: watch::Receiver<BTreeSet<usize>>,
    names: Arc<Names>,
) {
    while let Ok((client, peer)) = listener.accept().await {
        let from = match peer.ip() {
            IpAddr::V4(ip) if ip.octets()[2] == 1 => Some(usize::from(ip.octets()[3]) - 1),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let (ends, cut, names) = (Ends { from, to }, cut.clone(), Arc::clone(&names));
        let server = server.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((&*server.host, server.port)).await else { return };
            for side in [&client, &server] {
                let _as_fast_as_it_is = side.set_nodelay(true);
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass(from_server, to_client, ends, cut.clone(), names));
            pass(from_client, to_server, ends, cut, Arc::default()).await;
        });
    }
}

/// Until one of both sides closes.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    ends: Ends,
    mut cut: watch::Receiver<BTreeSet<usize>>,
    names: Arc<Names>,
) {
    let (mut buffer, mut said) = (vec![0; 65_536], vec![]);
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        said.extend_from_slice(&buffer[..length]);
        // No name goes over the end of a line.
        let whole = if names.is_empty() { Some(said.len()) } else { ends_of_lines(&said) };
        let Some(whole) = whole else { continue };
        let mut line: Vec<u8> = said.drain(..whole).collect();
        for (known, instead) in names.iter() {
            replace(&mut line, known, instead);
        }
        if cut.wait_for(|cut| !ends.are_apart(cut)).await.is_err() {
            return;
        }
        if to.write_all(&line).await.is_err() {
            return;
        }
    }
}

fn ends_of_lines(said: &[u8]) -> Option<usize> {
    said.iter().rposition(|byte| *byte == b'\n').map(|place| place + 1)
}

fn replace(line: &mut [u8], known: &[u8], instead: &[u8]) {
    for place in 0..line.len().saturating_sub(known.len() - 1) {
        if line[place..].starts_with(known) {
            line[place..place + known.len()].copy_from_slice(instead);
        }
    }
}
