//! The way to the servers that keep our keys: found through any node that answers, and looked for
//! again when they are not there any more.
//!
//! Who keeps a slot is asked of every node that is known, and the newest view of the cluster counts: a
//! node that was cut off has an old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError,
    ToRedisArgs, Value, from_redis_value,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use smol_str::SmolStr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::StoreFault;
use super::script::Script;
use super::slots::SLOTS;
use crate::config::Secret;

/// Connections for calls. A server answers one only after a replica has what is on it.
const LANES: usize = 4;
/// Nodes that are asked which of them has our keys.
const NODES_MAX: usize = 32;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// How servers are reached.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    pub seeds: Vec<Address>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// To open a connection and greet.
    pub connect_timeout: Duration,
    /// Absent: nothing is encrypted.
    pub tls: Option<LinkTls>,
}

/// How it is known that a server is one of ours.
#[derive(Clone, Debug)]
pub struct LinkTls {
    pub config: Arc<ClientConfig>,
    /// A name that the certificates of all of them have. Absent: each has that of its host.
    pub name: Option<SmolStr>,
}

/// Knows the nodes.
#[derive(Debug)]
pub(in crate::server) struct Link {
    settings: ArcSwap<LinkSettings>,
    known: Mutex<BTreeSet<Address>>,
}

/// A server that keeps keys of ours, and knows the scripts `S`.
pub(in crate::server) struct Live<S> {
    pub(in crate::server) address: Address,
    /// Names the server's process.
    pub(in crate::server) run: SmolStr,
    /// Connected when it was looked at.
    pub(in crate::server) replicas: AtomicUsize,
    lanes: Vec<Lane>,
    upkeep: Lane,
    next: AtomicUsize,
    hashes: BTreeMap<S, String>,
}

/// Who keeps which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Topology {
    /// Of all that have slots.
    pub(in crate::server) owners: Vec<Address>,
    /// The owner of each slot by its place; absent: nobody has it.
    by_slot: Vec<Option<u8>>,
}

/// An open connection. Dropping it closes it, whatever is still on its way.
pub(in crate::server) struct Lane {
    connection: MultiplexedConnection,
    driving: AbortHandle,
}

/// What a node says of itself and of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct View {
    run: SmolStr,
    is_master: bool,
    replicas: usize,
    /// Of a replica.
    master: Option<Address>,
    /// Absent: it is in no cluster.
    cluster: Option<ClusterView>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ClusterView {
    masters: Vec<Master>,
    nodes: Vec<Address>,
}

/// Who has slots, and since which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    epoch: u64,
    address: Address,
    slots: Vec<RangeInclusive<u16>>,
    is_myself: bool,
    has_failed: bool,
}

impl Link {
    pub(in crate::server) fn new(settings: LinkSettings) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), known: Mutex::default() }
    }

    /// From now on connections are opened with this; those that are open stay.
    pub(in crate::server) fn secure(&self, tls: Option<LinkTls>) {
        let before = self.settings.load();
        self.settings.store(Arc::new(LinkSettings { tls, ..LinkSettings::clone(&before) }));
    }

    /// A connection on which a server says what has changed of what was read over it.
    pub(in crate::server) async fn follow(
        &self,
        owner: &Address,
        hears: Arc<dyn AsyncPushSender>,
    ) -> Result<Lane, StoreFault> {
        let settings = self.settings.load_full();
        let lane = open_hearing(owner, &settings, Some(hears)).await?;
        let track = redis::cmd("CLIENT").arg("TRACKING").arg("ON").take();
        send(&mut lane.connection(), &track, settings.connect_timeout).await?;
        Ok(lane)
    }

    /// Finds the server that keeps the slot and connects to it.
    pub(in crate::server) async fn connect<S: Script>(
        &self,
        slot: u16,
    ) -> Result<Live<S>, StoreFault> {
        let owner = self.find(slot).await?;
        let live = self.connect_to(owner, Some(slot)).await?;
        Ok(live)
    }

    /// Connects to a server, which is to be a master, and to have the slot if one is named.
    pub(in crate::server) async fn connect_to<S: Script>(
        &self,
        owner: Address,
        slot: Option<u16>,
    ) -> Result<Live<S>, StoreFault> {
        let settings = self.settings.load_full();
        let (upkeep, view) = look(owner.clone(), Arc::clone(&settings)).await?;
        let owns_it = |it: &ClusterView| slot.is_none_or(|slot| it.owns(slot));
        if !(view.is_master && view.cluster.as_ref().is_none_or(owns_it)) {
            return Err(StoreFault::Elsewhere(format!("{owner} does not keep them any more")));
        }
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            lanes.push(open(&owner, &settings).await?);
        }
        let mut hashes = BTreeMap::new();
        for &script in S::ALL {
            let load = redis::cmd("SCRIPT").arg("LOAD").arg(script.body()).take();
            let hash = send(&mut upkeep.connection(), &load, settings.connect_timeout).await?;
            hashes.insert(script, from_redis_value(hash).map_err(|it| fault(&it.into()))?);
        }
        Ok(Live {
            address: owner,
            run: view.run,
            replicas: AtomicUsize::new(view.replicas),
            lanes,
            upkeep,
            next: AtomicUsize::default(),
            hashes,
        })
    }

    /// Who keeps the slot, by those who answer.
    pub(in crate::server) async fn find(&self, slot: u16) -> Result<Address, StoreFault> {
        let topology = self.topology().await?;
        let nobody = || StoreFault::Elsewhere(String::from("no node has our keys"));
        topology.owner(slot).cloned().ok_or_else(nobody)
    }

    /// Who keeps what, by those who answer.
    pub(in crate::server) async fn topology(&self) -> Result<Topology, StoreFault> {
        let settings = self.settings.load_full();
        let mut known: BTreeSet<Address> = settings.seeds.iter().cloned().collect();
        known.extend(self.known.lock().iter().cloned());
        let mut looks = JoinSet::new();
        for address in known.into_iter().take(NODES_MAX) {
            let settings = Arc::clone(&settings);
            looks.spawn(async move { (address.clone(), look(address, settings).await) });
        }
        let (mut views, mut why) = (Vec::new(), None);
        while let Some(looked) = looks.join_next().await {
            match looked {
                Ok((address, Ok((_, view)))) => views.push((address, view)),
                Ok((address, Err(fault))) => why = Some(format!("{address}: {fault}")),
                Err(_) => {}
            }
        }
        let of_cluster = || views.iter().filter_map(|(_, view)| view.cluster.as_ref());
        let nodes = of_cluster().flat_map(|view| view.nodes.iter().cloned());
        self.known.lock().extend(nodes.take(NODES_MAX));
        let topology = Topology::of(of_cluster().flat_map(|view| &view.masters));
        if !topology.owners.is_empty() {
            return Ok(topology);
        }
        let master = views.iter().find(|(_, view)| view.is_master && view.cluster.is_none());
        let told = views.iter().find_map(|(_, view)| view.master.clone());
        let alone = master.map(|(address, _)| address.clone()).or(told);
        let nobody = || why.unwrap_or_else(|| String::from("no node has our keys"));
        alone.map(Topology::alone).ok_or_else(|| {
            if views.is_empty() {
                StoreFault::Away(nobody())
            } else {
                StoreFault::Elsewhere(nobody())
            }
        })
    }
}

impl Topology {
    /// One server has all.
    fn alone(owner: Address) -> Self {
        Self { owners: vec![owner], by_slot: vec![Some(0); usize::from(SLOTS)] }
    }

    fn of<'a>(masters: impl Iterator<Item = &'a Master>) -> Self {
        let mut masters: Vec<_> = masters.filter(|it| !it.has_failed).collect();
        // Later ones write over earlier ones.
        masters.sort_by_key(|it| (it.epoch, &it.address));
        let (mut owners, mut by_slot) = (Vec::<Address>::new(), vec![None; usize::from(SLOTS)]);
        for Master { address, slots, .. } in masters {
            let known = owners.iter().position(|it| it == address);
            let place = known.unwrap_or_else(|| {
                owners.push(address.clone());
                owners.len() - 1
            });
            for slot in slots.iter().cloned().flatten().filter(|slot| *slot < SLOTS) {
                by_slot[usize::from(slot)] = u8::try_from(place).ok();
            }
        }
        Self { owners, by_slot }
    }

    pub(in crate::server) fn owner(&self, slot: u16) -> Option<&Address> {
        self.owners.get(self.place(slot)?)
    }

    /// The place of a slot's owner among all.
    pub(in crate::server) fn place(&self, slot: u16) -> Option<usize> {
        self.by_slot.get(usize::from(slot)).copied().flatten().map(usize::from)
    }
}

impl<S: Script> Live<S> {
    /// A connection for a call.
    pub(in crate::server) fn lane(&self) -> MultiplexedConnection {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.lanes[next % self.lanes.len()].connection()
    }

    pub(in crate::server) fn upkeep(&self) -> MultiplexedConnection {
        self.upkeep.connection()
    }

    /// What the server knows the script by.
    pub(in crate::server) fn hash(&self, script: S) -> &str {
        &self.hashes[&script]
    }

    /// Runs a script by its hash, or by its text on a server that does not know it. It names
    /// `nowhere` as its last key. With `wait` the answer counts only once a replica has what it did.
    pub(in crate::server) async fn run(
        &self,
        lane: &mut MultiplexedConnection,
        script: S,
        (keys, nowhere): (&[String], String),
        arguments: &[impl ToRedisArgs + Sync],
        limit: Duration,
        wait: Option<Duration>,
    ) -> Result<Value, StoreFault> {
        let eval = |command: &str, script: &str| {
            let mut eval = redis::cmd(command);
            eval.arg(script).arg(keys.len() + 1).arg(keys).arg(&nowhere).arg(arguments);
            eval
        };
        match once(lane, eval("EVALSHA", self.hash(script)), limit, wait).await {
            Err(StoreFault::Refused(why)) if why.starts_with("NOSCRIPT") => {
                once(lane, eval("EVAL", script.body()), limit, wait).await
            }
            known => known,
        }
    }

    /// How many replicas are connected now.
    pub(in crate::server) async fn count_replicas(
        &self,
        limit: Duration,
    ) -> Result<usize, StoreFault> {
        let told = send(&mut self.upkeep(), &info("replication"), limit).await?;
        let replicas = field(&text(told)?, "connected_slaves").parse().unwrap_or(0);
        self.replicas.store(replicas, Ordering::Relaxed);
        Ok(replicas)
    }
}

async fn once(
    lane: &mut MultiplexedConnection,
    eval: Cmd,
    limit: Duration,
    wait: Option<Duration>,
) -> Result<Value, StoreFault> {
    let Some(wait) = wait else { return send(lane, &eval, limit).await };
    let mut both = redis::pipe();
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    both.add_command(eval).cmd("WAIT").arg(1).arg(wait_ms);
    let answers = send_all(lane, &both, limit).await?;
    let mut answers = answers.into_iter();
    let value = answers.next().unwrap_or_else(|| Err(unread()))?;
    let replicas = answers.next().unwrap_or_else(|| Err(unread()))?;
    let is_there = matches!(replicas, Value::Int(replicas) if replicas > 0);
    is_there.then_some(value).ok_or(StoreFault::Unconfirmed)
}

/// Somebody else than Redis answers, or another one than ours.
pub(in crate::server) fn unread() -> StoreFault {
    StoreFault::Refused(String::from("an answer nobody can read"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Lane {
    async fn on<S>(
        stream: S,
        greeting: &RedisConnectionInfo,
        hears: Option<Arc<dyn AsyncPushSender>>,
    ) -> Result<Self, StoreFault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Each question has a limit of its own.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        if let Some(hears) = hears {
            config = config.set_push_sender(hears);
        }
        // Who greets needs somebody who reads.
        let opened = MultiplexedConnection::new_with_config(greeting, stream, config).await;
        let (connection, driver) = opened.map_err(|error| fault(&error))?;
        let driving = tokio::spawn(driver).abort_handle();
        Ok(Self { connection, driving })
    }

    pub(in crate::server) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

pub(in crate::server) async fn open(
    address: &Address,
    settings: &LinkSettings,
) -> Result<Lane, StoreFault> {
    open_hearing(address, settings, None).await
}

/// With `hears` the server may say something unasked, which is heard before any answer behind it.
async fn open_hearing(
    address: &Address,
    settings: &LinkSettings,
    hears: Option<Arc<dyn AsyncPushSender>>,
) -> Result<Lane, StoreFault> {
    let mut greeting = RedisConnectionInfo::default().set_skip_set_lib_name();
    if hears.is_some() {
        greeting = greeting.set_protocol(ProtocolVersion::RESP3);
    }
    if let Some(username) = &settings.username {
        greeting = greeting.set_username(username);
    }
    if let Some(password) = &settings.password {
        greeting = greeting.set_password(password.reveal());
    }
    let opened = timeout(settings.connect_timeout, async {
        let stream = TcpStream::connect((&*address.host, address.port)).await?;
        // Small writes are not to be gathered.
        stream.set_nodelay(true)?;
        let Some(tls) = &settings.tls else {
            return Ok(Lane::on(stream, &greeting, hears).await);
        };
        let name = tls.name.as_deref().unwrap_or(&address.host).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await?;
        Ok(Lane::on(stream, &greeting, hears).await)
    });
    let opened: io::Result<Result<Lane, StoreFault>> =
        opened.await.map_err(|_| StoreFault::Timeout)?;
    opened.map_err(|error| StoreFault::Away(error.to_string()))?
}

/// Who keeps each of the slots, by the first seed that knows: of a cluster its masters, else the one
/// master.
pub(in crate::server) async fn owners(
    settings: &LinkSettings,
    slots: &[u16],
) -> Result<Vec<Address>, StoreFault> {
    let mut why = String::from("no server is named");
    for seed in &settings.seeds {
        let view = match look(seed.clone(), Arc::new(settings.clone())).await {
            Ok((_, view)) => view,
            Err(fault) => {
                why = format!("{seed}: {fault}");
                continue;
            }
        };
        let topology = match view.cluster {
            Some(cluster) => Some(Topology::of(cluster.masters.iter())),
            None if view.is_master => Some(Topology::alone(seed.clone())),
            None => view.master.map(Topology::alone),
        };
        let Some(topology) = topology else {
            why = format!("{seed}: it is no master, and knows none");
            continue;
        };
        let owners: Option<Vec<_>> =
            slots.iter().map(|slot| topology.owner(*slot).cloned()).collect();
        match owners {
            Some(owners) => return Ok(owners),
            None => why = format!("{seed}: slots have no master"),
        }
    }
    Err(StoreFault::Away(why))
}

async fn look(address: Address, settings: Arc<LinkSettings>) -> Result<(Lane, View), StoreFault> {
    let lane = open(&address, &settings).await?;
    let mut connection = lane.connection();
    let limit = settings.connect_timeout;
    let server = text(send(&mut connection, &info("server"), limit).await?)?;
    let replication = text(send(&mut connection, &info("replication"), limit).await?)?;
    let mut view = View {
        run: field(&server, "run_id").into(),
        is_master: field(&replication, "role") == "master",
        replicas: field(&replication, "connected_slaves").parse().unwrap_or(0),
        master: None,
        cluster: None,
    };
    if let Ok(port) = field(&replication, "master_port").parse() {
        let host = field(&replication, "master_host").to_owned();
        view.master = Some(Address { host, port });
    }
    if field(&server, "redis_mode") == "cluster" {
        let nodes = redis::cmd("CLUSTER").arg("NODES").take();
        let nodes = text(send(&mut connection, &nodes, limit).await?)?;
        view.cluster = Some(ClusterView::read(&nodes, &address));
    }
    Ok((lane, view))
}

impl ClusterView {
    /// Of the answer to `CLUSTER NODES`, that `from` gave.
    fn read(text: &str, from: &Address) -> Self {
        let mut view = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[_, place, flags, _, _, _, epoch, _, ref slots @ ..] = &words[..] else {
                continue;
            };
            let flags: Vec<&str> = flags.split(',').collect();
            let place = place.split('@').next().and_then(|place| place.rsplit_once(':'));
            let Some((host, Ok(port))) = place.map(|(host, port)| (host, port.parse())) else {
                continue;
            };
            if flags.contains(&"noaddr") || port == 0 {
                continue;
            }
            // A node that nobody has met yet does not know its own address.
            let host = if host.is_empty() { &from.host } else { host }.to_owned();
            let address = Address { host, port };
            let slots: Vec<_> = slots.iter().filter_map(|range| read_range(range)).collect();
            if flags.contains(&"master") && !slots.is_empty() {
                view.masters.push(Master {
                    epoch: epoch.parse().unwrap_or(0),
                    address: address.clone(),
                    slots,
                    is_myself: flags.contains(&"myself"),
                    has_failed: flags.contains(&"fail"),
                });
            }
            view.nodes.push(address);
        }
        view
    }

    /// Whether the node that was asked has the slot.
    fn owns(&self, slot: u16) -> bool {
        let own = self.masters.iter().filter(|it| it.is_myself);
        own.flat_map(|it| &it.slots).any(|range| range.contains(&slot))
    }
}

/// Slots as `0-5460` or `7`. `[7->-…]` is one on its way.
fn read_range(range: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Sends a command, and waits no longer than `limit`.
pub(in crate::server) async fn send(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    limit: Duration,
) -> Result<Value, StoreFault> {
    let sent = timeout(limit, connection.send_packed_command(command)).await;
    let value = sent.map_err(|_| StoreFault::Timeout)?.map_err(|error| fault(&error))?;
    value.extract_error().map_err(|error| fault(&error))
}

/// Sends several commands at once. Each has its own answer or error.
pub(in crate::server) async fn send_all(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
    limit: Duration,
) -> Result<Vec<Result<Value, StoreFault>>, StoreFault> {
    let count = commands.len();
    let sent = timeout(limit, connection.send_packed_commands(commands, 0, count)).await;
    let values = sent.map_err(|_| StoreFault::Timeout)?.map_err(|error| fault(&error))?;
    let read = |value: Value| value.extract_error().map_err(|error| fault(&error));
    Ok(values.into_iter().map(read).collect())
}

pub(in crate::server) fn fault(error: &RedisError) -> StoreFault {
    if error.is_timeout() {
        return StoreFault::Timeout;
    }
    match error.code() {
        Some("MOVED" | "ASK" | "READONLY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN") => {
            StoreFault::Elsewhere(error.to_string())
        }
        // It is there, and does nothing for anybody until it is done with something else.
        Some("LOADING" | "BUSY") => StoreFault::Away(error.to_string()),
        Some(code) => StoreFault::Refused(format!("{code} {}", error.detail().unwrap_or_default())),
        None if error.is_io_error() || error.is_connection_dropped() => {
            StoreFault::Away(error.to_string())
        }
        None => StoreFault::Refused(error.to_string()),
    }
}

fn info(section: &str) -> Cmd {
    redis::cmd("INFO").arg(section).take()
}

fn text(value: Value) -> Result<String, StoreFault> {
    from_redis_value(value).map_err(|error| fault(&error.into()))
}

/// The value behind `name:` in an answer to `INFO`; empty if it has none.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    text.lines().find_map(value).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_says_whether_it_is_to_be_looked_for() {
        let kind_of = |answer: &str| {
            let value = redis::parse_redis_value(answer.as_bytes());
            let error = value.and_then(Value::extract_error).unwrap_err();
            match fault(&error) {
                StoreFault::Elsewhere(_) => "elsewhere",
                StoreFault::Away(_) => "away",
                StoreFault::Refused(_) => "refused",
                StoreFault::Timeout
                | StoreFault::Unreached
                | StoreFault::NotOpen
                | StoreFault::Unconfirmed => "neither",
            }
        };
        for (answer, kind) in [
            ("-MOVED 3999 127.0.0.1:6381", "elsewhere"),
            ("-ASK 3999 127.0.0.1:6381", "elsewhere"),
            ("-TRYAGAIN Multiple keys request during rehashing of slot", "elsewhere"),
            ("-CLUSTERDOWN The cluster is down", "elsewhere"),
            ("-CLUSTERDOWN Hash slot not served", "elsewhere"),
            ("-READONLY You can't write against a read only replica.", "elsewhere"),
            ("-MASTERDOWN Link with MASTER is down", "elsewhere"),
            ("-LOADING Redis is loading the dataset in memory", "away"),
            ("-BUSY Redis is busy running a script.", "away"),
            ("-OOM command not allowed when used memory > 'maxmemory'.", "refused"),
            ("-NOREPLICAS Not enough good replicas to write.", "refused"),
            ("-NOPERM this user has no permissions to run the 'evalsha' command", "refused"),
            ("-ERR Error running script", "refused"),
        ] {
            assert_eq!(kind_of(&format!("{answer}\r\n")), kind, "{answer}");
        }
    }

    const NODES: &str = "\
a1 10.0.0.1:7000@17000,host-a myself,slave d4 0 1 4 connected
b2 10.0.0.2:7000@17000 master,fail - 0 1 2 disconnected 0-5460
c3 10.0.0.3:7000@17000 master - 0 1 3 connected 5461 5470-10922 [77->-d4]
d4 10.0.0.4:7000@17000 master - 0 1 5 connected 10923-16383
e5 :0@0 master,noaddr - 0 1 0 disconnected
";

    #[test]
    fn the_owner_of_a_slot_is_read_with_its_epoch() {
        let from = Address { host: "10.0.0.1".into(), port: 7000 };
        let at = |host: &str| Address { host: host.into(), port: 7000 };

        let view = ClusterView::read(NODES, &from);
        let topology = Topology::of(view.masters.iter());

        assert_eq!(topology.owner(12_000), Some(&at("10.0.0.4")));
        assert_eq!(topology.owner(5_461), Some(&at("10.0.0.3")));
        assert_eq!(topology.owner(5_465), None);
        assert_eq!(topology.owner(100), None, "it has failed");
        assert_eq!(view.nodes.len(), 4);
        assert!(!view.owns(12_000));
    }

    #[test]
    fn of_two_views_the_newest_counts() {
        let from = Address { host: "10.0.0.4".into(), port: 7000 };
        let old = "d4 10.0.0.4:7000@17000 myself,master - 0 1 2 connected 0-100\n";
        let new = "f6 10.0.0.6:7000@17000 master - 0 1 7 connected 50-100\n";

        for views in [[old, new], [new, old]] {
            let views = views.map(|text| ClusterView::read(text, &from));
            let topology = Topology::of(views.iter().flat_map(|it| &it.masters));
            let at = |slot| topology.owner(slot).map(|it| &*it.host);
            assert_eq!((at(49), at(50), at(101)), (Some("10.0.0.4"), Some("10.0.0.6"), None));
        }
    }

    #[test]
    fn a_node_alone_is_where_it_was_asked() {
        let from = Address { host: "127.0.0.1".into(), port: 7000 };
        let view =
            ClusterView::read("a1 :7000@17000 myself,master - 0 0 1 connected 0-16383\n", &from);
        assert_eq!(Topology::of(view.masters.iter()).owner(7), Some(&from));
        assert!(view.owns(7));
    }
}
