//! The shell: every socket, file, clock, queue and task, and the only place where the domains meet.
//!
//! Owns: building the process from its configuration, the shards ([`signaling`]), the routing state
//! ([`deciding`]), the way from the journal to the book ([`accounting`]), and the end of it all.
//! Does not own: any rule of SIP, routing or money.
//!
//! ```text
//! shard 0 ─┐ admit, hold, report     ┌─► journal ─► accounting ─► SQLite
//! shard 1 ─┼─► bridge ─► deciding    │
//!   …      ┘      └──── facts ───────┘        control ◄── api
//! ```

pub mod accounting;
pub mod addresses;
pub mod bridge;
pub mod clock;
mod compile;
pub mod control;
pub mod deciding;
pub mod dialing;
mod error;
mod hosts;
pub mod ids;
pub mod legs;
mod limits;
mod machine;
pub mod metrics;
mod orphans;
mod outcomes;
mod overload;
mod pace;
mod probing;
pub mod rehearsal;
mod reload;
mod resolver;
pub mod signaling;
pub mod sources;
mod standing;
pub mod tls;
mod translate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::api::Services;
use crate::config::{Config, ListenTransport, Settings, SipSettings};
use crate::sip::admission::Caps;
use crate::sip::call::CallLimits;
use crate::sip::endpoint::{self, Endpoint, Listener};
use crate::sip::flow::{ListenerId, Transport};
use crate::sip::ids::IdSource;
use crate::sip::locate::{HealthRules, Speaks};
use crate::sip::message::Limits;
use crate::sip::transaction::Timers;
use crate::sip::transport::{
    FramingLimits, Keepalive, Steering, Tcp, TcpOptions, TcpSink, TcpStats, UdpOptions, UdpSocket,
};

use accounting::Accounting;
use addresses::Wanted;
use bridge::{Bridge, DurableMark, Parts};
use clock::Clock;
use control::Control;
use deciding::{Deciding, RENEW_EVERY};
use limits::{TargetLimits, TrunkLimits};
use metrics::{CallMetrics, ShardMetrics};
use orphans::OpenOrphans;
use overload::{Backlog, MemoryFlag};
use reload::Running;
use resolver::Resolver;
use signaling::{Mail, Mailbox, Shard};
use sources::Sources;
use standing::Standing;
use tls::TlsInForce;

pub use compile::{Compiled, compile};
pub use error::{Faults, StartError};
pub use reload::Reloader;

/// Messages of TCP connections that wait for a shard; a connection with more stops reading.
const TCP_EVENTS: usize = 1024;

/// How long requests to the API may go on once all calls are over.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// How often the memory in use is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// How often counts that nobody pushes are read, and the metrics' samples are condensed.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    sip_addresses: Vec<(Transport, SocketAddr)>,
    api_address: SocketAddr,
    shards: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
    live: Arc<AtomicUsize>,
    tcp: Arc<Tcp>,
    accounting: Accounting,
    control: Arc<Control>,
    reloader: Arc<Reloader>,
    /// Set when the process is to end.
    ending: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Binds everything, recovers the journal, and runs.
    ///
    /// # Errors
    /// A sentence for people: what could not be had, and what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let settings = config.settings.clone();
        let prometheus = metrics::install();
        let Compiled { routing: snapshot, trunks, legs, targets, dialing, tls, tls_files } =
            compile(&config, 1)?;
        let parties = Arc::new(tls.parties().clone());
        let (trunks, legs) = (Arc::new(trunks), Arc::new(legs));
        let (targets, dialing) = (Arc::new(targets), Arc::new(dialing));
        let (ending, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let resolver = Arc::new(Resolver::new(&settings.sip.dns, speaks(&settings)));
        tasks.spawn(Arc::clone(&resolver).run(ended.clone()));
        let wanted = Wanted::of(&snapshot, &dialing, &trunks);
        resolver.prepare(&wanted).await;
        resolver.configure(wanted);
        let addresses = resolver.addresses();
        let standing = Arc::new(Standing::new(health_rules(&settings)));
        let deciding = Arc::new(Deciding::new(snapshot));
        let sources = Arc::new(Sources::new(
            Arc::clone(&trunks),
            Arc::clone(&addresses),
            settings.sip.listen.iter().map(|it| transport(it.transport)).collect(),
            Arc::clone(&parties),
        ));
        let seed = ids::seed().map_err(StartError::Random)?;

        let shard_count = shards_of(&settings);
        let boxes: Vec<_> = (0..shard_count).map(|_| Mailbox::new()).collect();
        let mailboxes: Vec<Mailbox> = boxes.iter().map(|(mailbox, _)| mailbox.clone()).collect();
        let durable = Arc::new(DurableMark::default());
        let mut accounting =
            Accounting::open(&settings, &deciding, Arc::clone(&durable), mailboxes.clone()).await?;

        let awaited = accounting.awaited();
        let longest = settings.sip.max_call;
        let adopted = Arc::new(orphans::dialogs(&awaited, clock::mono(), longest));

        let steering = Steering::new(shard_count, seed as u64);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shard_count).map(|_| mpsc::channel(TCP_EVENTS)).unzip();
        let admits = Arc::clone(&sources);
        let tcp = Arc::new(Tcp::new(
            tcp_options(&settings),
            Arc::new(move |listener, ip| admits.admits(listener, ip)),
            TcpSink::new(steering, senders),
        ));
        let tls = Arc::new(TlsInForce::new(Arc::clone(&tcp), tls, tls_files));

        let live = Arc::new(AtomicUsize::new(0));
        let limits = Arc::new(TrunkLimits::new(&trunks));
        let target_limits = Arc::new(TargetLimits::new(&targets));
        let parts = Parts {
            deciding: Arc::clone(&deciding),
            addresses: Arc::clone(&addresses),
            standing: Arc::clone(&standing),
            trunks: Arc::clone(&trunks),
            legs,
            dialing: Arc::clone(&dialing),
            appender: accounting.appender(),
            clock: Clock::Machine,
            durable,
            currency: settings.cdr.currency.clone(),
            checkpoint_every: settings.journal.checkpoint_interval,
            live: Arc::clone(&live),
            tls: Arc::clone(&parties),
            target_limits: Arc::clone(&target_limits),
            targets,
            limits: Arc::clone(&limits),
            orphans: Arc::new(OpenOrphans::new(&awaited)),
        };
        let sockets = bind(&settings, shard_count, &tcp, &sources)?;
        let sip_addresses = sockets.addresses.clone();
        let endpoint_settings =
            endpoint_settings(&settings, &sip_addresses, usize::from(shard_count), seed);
        let buffers = sockets.by_shard.iter().flat_map(|(_, sockets)| sockets);
        let granted = buffers.map(|(_, socket)| socket.receive_buffer_bytes()).min();
        let sockets_max = u64::from(settings.sip.tcp.connections_max)
            + u64::from(shard_count) * settings.sip.listen.len() as u64;
        let asked = settings.sip.receive_buffer_bytes;
        for complaint in machine::complaints(sockets_max, asked, granted) {
            tracing::warn!("{complaint}");
        }
        let memory = Arc::new(MemoryFlag::default());
        let idle_shards = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        let shards = boxes.into_iter().zip(receivers).zip(sockets.by_shard).enumerate();
        for (index, (((mailbox, mail), tcp_events), (runtime, sockets))) in shards {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let now = clock::mono();
            let ids = IdSource::new(seed, u8::try_from(index).unwrap_or(u8::MAX));
            let mut endpoint_settings = endpoint_settings.clone();
            endpoint_settings.registers = index == 0;
            let mut endpoint = Endpoint::new(endpoint_settings, Arc::clone(&trunks), ids, now);
            endpoint.adopt(Arc::clone(&adopted));
            if settings.cdr.orphan_bye {
                endpoint.write_farewells();
            }
            let shard = Shard {
                index,
                endpoint,
                bridge: Bridge::new(parts.clone(), mailbox.waiting(), CallMetrics::register(), now),
                sockets,
                tcp: Arc::clone(&tcp),
                tcp_events,
                mail,
                shards: mailboxes.clone(),
                steering,
                sources: Arc::clone(&sources),
                metrics: ShardMetrics::register(),
                gather: Duration::from_micros(u64::from(settings.sip.gather_us)),
                backlog: Backlog::new(
                    settings.sip.overload.refuse_after,
                    settings.sip.overload.brake_after,
                ),
                memory: Arc::clone(&memory),
                idle_shards: Arc::clone(&idle_shards),
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || runtime.block_on(shard.run()))
                .map_err(StartError::Thread)?;
            threads.push(thread);
        }

        let farewells = orphans::farewells(&accounting.partings(), &trunks, &parties);
        if !farewells.is_empty() {
            tracing::info!(
                dialogs = farewells.len(),
                "ending the dialogs that a crash had left up"
            );
        }
        for (flow, bye) in farewells {
            // Where its answer will be read.
            let shard = usize::from(steering.shard_of(&bye));
            mailboxes[shard].deliver(Mail::Farewell { flow, bye }).await;
        }

        let control = Arc::new(Control::new(
            Arc::clone(&deciding),
            accounting.appender(),
            accounting.live(),
            mailboxes.clone(),
            seed,
            prometheus.clone(),
        ));
        let reloader = Arc::new(Reloader {
            deciding: Arc::clone(&deciding),
            resolver,
            sources,
            limits,
            tls: Arc::clone(&tls),
            shards: mailboxes.clone(),
            running: tokio::sync::Mutex::new(Running {
                config,
                revision: 1,
                trunks,
                target_limits,
            }),
        });
        let services = control.services(&settings, &accounting, Arc::clone(&reloader));
        let api_address = serve_api(&settings, services, ended.clone(), &mut tasks).await?;
        tasks.spawn(sweep(Arc::clone(&deciding), standing, ended.clone()));
        tasks.spawn(watch_memory(memory, memory_max(&settings), ended.clone()));
        tasks.spawn(tls.watch(ended.clone()));
        let tcp_stats = Arc::clone(tcp.stats());
        let upkeep =
            upkeep(prometheus, Arc::clone(&deciding), accounting.gauges(), tcp_stats, ended);
        tasks.spawn(upkeep);
        Ok(Self {
            sip_addresses,
            api_address,
            shards: mailboxes,
            threads,
            live,
            tcp,
            accounting,
            control,
            reloader,
            ending,
            tasks,
        })
    }

    /// Where SIP is listened on, in the order of the configuration.
    pub fn sip_addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.sip_addresses
    }

    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Calls admitted and not yet over.
    pub fn live_calls(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Reads the configuration again when asked to.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Takes no new calls, gives those that are up `grace` to end, ends the rest, and writes
    /// everything down.
    pub async fn drain_and_stop(mut self, grace: Duration) {
        self.control.drain();
        for shard in &self.shards {
            shard.deliver(Mail::Drain).await;
        }
        let patience = tokio::time::Instant::now() + grace;
        let mut look = tokio::time::interval(Duration::from_millis(50));
        while self.live_calls() > 0 && tokio::time::Instant::now() < patience {
            look.tick().await;
        }
        for shard in &self.shards {
            shard.deliver(Mail::Stop).await;
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a shard ended by panic");
        }
        self.tcp.shutdown(Duration::from_secs(1)).await;
        self.ending.send_replace(true);
        // A client that never finishes its request must not keep the process.
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_REQUESTS, finished).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.accounting.close().await;
    }
}

/// UDP sockets by shard, each set in the runtime that will poll it.
struct Sockets {
    addresses: Vec<(Transport, SocketAddr)>,
    by_shard: Vec<ShardSockets>,
}

fn bind(
    settings: &Settings,
    shards: u16,
    tcp: &Tcp,
    sources: &Arc<Sources>,
) -> Result<Sockets, StartError> {
    let mut by_shard = Vec::new();
    let bound = bind_all(settings, shards, tcp, sources, &mut by_shard);
    if bound.is_err() {
        for (runtime, sockets) in by_shard.drain(..) {
            drop(sockets);
            // Dropping it would block, which is not allowed here.
            tokio::runtime::Runtime::shutdown_background(runtime);
        }
    }
    bound.map(|addresses| Sockets { addresses, by_shard })
}

type ShardSockets = (tokio::runtime::Runtime, Vec<(ListenerId, UdpSocket)>);

fn bind_all(
    settings: &Settings,
    shards: u16,
    tcp: &Tcp,
    sources: &Arc<Sources>,
    by_shard: &mut Vec<ShardSockets>,
) -> Result<Vec<(Transport, SocketAddr)>, StartError> {
    for _ in 0..shards {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        by_shard.push((runtime, Vec::new()));
    }
    let mut addresses = Vec::new();
    for (position, listener) in settings.sip.listeners().iter().enumerate() {
        let id = ListenerId(u16::try_from(position).unwrap_or(u16::MAX));
        let wanted = listener.address.address;
        match listener.address.transport {
            ListenTransport::Udp => {
                // Port 0 is the system's choice, made once; the other shards share it.
                let mut address = wanted;
                if shards > 1 && wanted.port() != 0 {
                    // The shards share the port, and so could a second server, unnoticed.
                    let alone = UdpOptions { reuse_port: false, ..UdpOptions::default() };
                    drop(UdpSocket::bind(wanted, alone)?);
                }
                for (runtime, sockets) in by_shard.iter_mut() {
                    let _inside = runtime.enter();
                    let options = UdpOptions {
                        receive_buffer_bytes: settings.sip.receive_buffer_bytes,
                        send_buffer_bytes: settings.sip.receive_buffer_bytes,
                        reuse_port: shards > 1,
                    };
                    let socket = UdpSocket::bind(address, options)?;
                    address = socket.local_addr();
                    sockets.push((id, socket));
                }
                addresses.push((Transport::Udp, address));
            }
            ListenTransport::Tcp => {
                addresses.push((Transport::Tcp, tcp.listen(id, wanted)?));
            }
            ListenTransport::Tls => {
                let check = tls::peer_check(Arc::clone(sources));
                addresses.push((Transport::Tls, tcp.listen_tls(id, wanted, check)?));
            }
        }
    }
    Ok(addresses)
}

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn endpoint_settings(
    settings: &Settings,
    addresses: &[(Transport, SocketAddr)],
    shards: usize,
    seed: u128,
) -> endpoint::Settings {
    let sip = &settings.sip;
    let listeners = sip
        .listeners()
        .iter()
        .zip(addresses)
        .map(|(listener, (transport, local))| {
            let told = &listener.advertised;
            let port = if told.port == 0 { local.port() } else { told.port };
            let address = told.host.trim_matches(['[', ']']).parse().unwrap_or_else(|_| local.ip());
            Listener {
                transport: *transport,
                local: *local,
                advertised: Bytes::from(format!("{}:{port}", told.host)),
                address,
            }
        })
        .collect();
    endpoint::Settings {
        timers: Timers {
            t1_ms: whole_ms(sip.t1),
            t2_ms: whole_ms(sip.t2),
            t4_ms: whole_ms(sip.t4),
            reliable: false,
        },
        trying_after: sip.trying_after,
        limits: Limits {
            message_bytes_max: bound(sip.message_bytes_max),
            header_bytes_max: bound(sip.header_bytes_max),
            headers_max: bound(sip.headers_max),
            ..Limits::default()
        },
        udp_request_bytes_max: sip.udp_request_bytes_max,
        listeners,
        call: CallLimits {
            decision: settings.decision.deadline,
            answer_wait: settings.journal.answer_wait,
            max_call: sip.max_call,
        },
        caps: caps(sip, shards),
        probe_interval: sip.probe_interval,
        user_agent: sip.user_agent.clone().map(Bytes::from),
        registers: false,
        // Sent to every target, so nothing of the seed may be read out of it.
        loop_token: Bytes::from(format!("{:016x}", IdSource::new(!seed, u8::MAX).random())),
    }
}

/// What each of `shards` endpoints may have open: its share.
fn caps(sip: &SipSettings, shards: usize) -> Caps {
    let share = |all: u32| usize::try_from(all).unwrap_or(usize::MAX).div_ceil(shards);
    let shares = u32::try_from(shards).unwrap_or(u32::MAX);
    Caps {
        calls_max: share(sip.calls_max),
        half_open_max: share(sip.overload.half_open_max),
        half_open_per_source_max: sip.overload.half_open_per_source_max.div_ceil(shares),
        transactions_max: share(sip.overload.transactions_max),
        shares,
    }
}

fn bound(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

fn tcp_options(settings: &Settings) -> TcpOptions {
    let (sip, tcp) = (&settings.sip, &settings.sip.tcp);
    TcpOptions {
        framing: FramingLimits {
            body_bytes_max: sip.message_bytes_max,
            ..FramingLimits::default()
        },
        message_timeout: tcp.header_timeout,
        idle_timeout: tcp.idle,
        keepalive: tcp.keepalive.map(|interval| Keepalive { interval, pong_timeout: None }),
        connect_timeout: tcp.connect_timeout,
        queue_bytes_max: tcp.write_queue_bytes,
        connections_max: usize::try_from(tcp.connections_max).unwrap_or(usize::MAX),
        connections_per_source_max: usize::try_from(tcp.connections_per_source_max)
            .unwrap_or(usize::MAX),
        ..TcpOptions::default()
    }
}

/// One per core, unless the configuration says otherwise.
fn shards_of(settings: &Settings) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = match settings.sip.shards {
        0 => u16::try_from(cores).unwrap_or(Steering::SHARDS_MAX),
        shards => shards,
    };
    wanted.clamp(1, Steering::SHARDS_MAX)
}

fn health_rules(settings: &Settings) -> HealthRules {
    let health = &settings.sip.health;
    HealthRules { penalty: health.penalty, penalty_max: health.penalty_max }
}

/// What we can send over.
fn speaks(settings: &Settings) -> Speaks {
    let listeners = settings.sip.listen.iter();
    Speaks::new(listeners.map(|it| (transport(it.transport), it.address)))
}

fn transport(configured: ListenTransport) -> Transport {
    match configured {
        ListenTransport::Udp => Transport::Udp,
        ListenTransport::Tcp => Transport::Tcp,
        ListenTransport::Tls => Transport::Tls,
    }
}

async fn serve_api(
    settings: &Settings,
    services: Services,
    mut ended: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, StartError> {
    let wanted = settings.api.listen;
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|cause| StartError::Api { address: wanted, cause })?;
    let address =
        listener.local_addr().map_err(|cause| StartError::Api { address: wanted, cause })?;
    let router = crate::api::router(services);
    tasks.spawn(async move {
        let end = async move {
            // An error says that nobody is left to end us, which is an end too.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
            tracing::error!(%error, "the REST service ended");
        }
    });
    Ok(address)
}

/// Clears away expired holds and sessions, and what was thought of addresses long ago.
async fn sweep(deciding: Arc<Deciding>, standing: Arc<Standing>, ended: watch::Receiver<bool>) {
    let mut rounds = Rounds::new(RENEW_EVERY, ended);
    while rounds.next().await {
        deciding.sweep(clock::mono(), clock::wall());
        standing.sweep(clock::mono());
    }
}

/// Bytes of memory above which no more calls are taken; `None` if nobody knows.
fn memory_max(settings: &Settings) -> Option<u64> {
    match settings.sip.overload.memory_max_mib {
        0 => machine::memory_given().map(|given| given - given / 10),
        mib => Some(mib.saturating_mul(1 << 20)),
    }
}

/// Has new calls refused while the process uses more memory than it should.
async fn watch_memory(memory: Arc<MemoryFlag>, max: Option<u64>, ended: watch::Receiver<bool>) {
    let mut rounds = Rounds::new(MEMORY_EVERY, ended);
    while rounds.next().await {
        let Some(used) = machine::memory_used() else { return };
        ::metrics::gauge!(metrics::MEMORY).set(used as f64);
        let Some(max) = max else { continue };
        let was_short = memory.is_short();
        match (was_short, memory.set(used, max)) {
            (false, true) => tracing::error!(used, max, "memory is used up: calls are refused"),
            (true, false) => tracing::info!(used, "memory has become free: calls are taken again"),
            (false, false) | (true, true) => {}
        }
    }
}

async fn upkeep(
    prometheus: metrics::Prometheus,
    deciding: Arc<Deciding>,
    gauges: accounting::Gauges,
    tcp: Arc<TcpStats>,
    ended: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::new(UPKEEP_EVERY, ended);
    while rounds.next().await {
        prometheus.condense();
        metrics::routing(&deciding);
        gauges.publish();
        metrics::tls(&tcp);
    }
}

/// A task's turns, until the process ends.
struct Rounds {
    tick: tokio::time::Interval,
    ended: watch::Receiver<bool>,
}

impl Rounds {
    fn new(period: Duration, ended: watch::Receiver<bool>) -> Self {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { tick, ended }
    }

    /// `false` once the process ends.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.tick.tick() => true,
            _ = self.ended.changed() => false,
        }
    }
}
