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
mod answering;
pub mod bridge;
mod changes;
pub mod clock;
mod compile;
mod consumers;
pub mod control;
pub mod deciding;
pub mod dialing;
mod egress;
mod enriching;
mod error;
mod fraud;
pub mod holds;
mod hosts;
mod http;
pub mod ids;
mod intake;
pub mod legs;
mod limits;
mod machine;
pub mod mailbox;
pub mod metrics;
mod orphans;
mod outcomes;
mod overload;
mod pace;
mod planning;
mod pressure;
mod preview;
mod probing;
mod questions;
mod reach;
pub mod redis;
pub mod rehearsal;
mod reload;
mod rematching;
mod resetting;
mod resolver;
mod revisions;
mod scoring;
mod seats;
pub mod serving;
pub mod sessions;
mod settings;
mod shippers;
mod shortage;
pub mod signaling;
mod sockets;
pub mod sources;
mod standing;
pub mod tls;
mod translate;
mod upkeep;
mod visitors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::api::Services;
use crate::config::Config;
use crate::routing::meter;
use crate::sip::endpoint::Endpoint;
use crate::sip::flow::Transport;
use crate::sip::ids::IdSource;
use crate::sip::transport::{Steering, Tcp, TcpSink};

use accounting::Accounting;
use addresses::Wanted;
use bridge::{Bridge, DurableMark, Parts, Rooms, Sessions};
use clock::Clock;
use control::Control;
use holds::State;
use holds::shared::OwnHolds;
use limits::{TargetLimits, TrunkLimits};
use mailbox::{Mail, Mailbox};
use metrics::{CallMetrics, ShardMetrics};
use orphans::OpenOrphans;
use overload::{Backlog, MemoryFlag};
use pressure::Pressures;
use preview::Previews;
use questions::Questions;
use reach::Reach;
use reload::{Agreed, Running};
use rematching::Rematching;
use resolver::Resolver;
use revisions::Revisions;
use scoring::Scoring;
use serving::ConnectionLimits;
use sessions::shared::OwnSessions;
use settings::{
    connections, deciding, endpoint_settings, health_rules, memory_max, shards_of, shared_holds,
    shared_sessions, speaks, tcp_options, transport,
};
use signaling::Shard;
use sources::Sources;
use standing::Standing;
use tls::TlsInForce;
use upkeep::{Rounds, sweep, until_done, upkeep, watch_memory};

pub use compile::{Compiled, Loaded, compile, compile_and_load, whole};
pub use error::{Faults, StartError};
pub use http::http_client;
pub use preview::{latency_estimate, sip_preview};
pub use reload::Reloader;
pub use scoring::ask_scorers;
pub use translate::effective_trunk;

/// Messages of TCP connections that wait for a shard; a connection with more stops reading.
const TCP_EVENTS: usize = 1024;

/// What the book did not tell of the calls of before is asked again so much later.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long requests to the API may go on once all calls are over.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// Connections to the REST service that have been opened and not taken yet: one that finds no room waits for
/// its client to try again, a second later. The pages of many visitors come at once.
const API_BACKLOG: u32 = 1024;

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
        let (compiled, loaded) = compile_and_load(&config, 1)?;
        let Compiled { routing: snapshot, document, trunks, legs, targets, dialing, tls, .. } =
            compiled;
        let (warnings, tls_files) = (compiled.warnings, loaded.tls);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
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
        let deciding = Arc::new(deciding(&settings, snapshot));
        let (of_ways, rated) = (Arc::clone(&addresses), Arc::clone(&standing));
        deciding.reaches(Reach { addresses: of_ways, standing: rated });
        let seed = ids::seed().map_err(StartError::Random)?;
        let sessions_tls = loaded.holds.clone();
        let shared = shared_holds(&settings, loaded.holds, seed);
        if let Some(shared) = &shared {
            deciding.share(Arc::clone(shared));
        }
        let sessions = shared_sessions(&settings, sessions_tls);
        if let Some(sessions) = &sessions {
            deciding.share_sessions(Arc::clone(sessions));
        }
        let sources = Arc::new(Sources::new(
            Arc::clone(&trunks),
            Arc::clone(&addresses),
            settings.sip.listen.iter().map(|it| transport(it.transport)).collect(),
            Arc::clone(&parties),
        ));

        let shard_count = shards_of(&settings);
        let boxes: Vec<_> = (0..shard_count).map(|_| Mailbox::new()).collect();
        let mailboxes: Vec<Mailbox> = boxes.iter().map(|(mailbox, _)| mailbox.clone()).collect();
        let durable = Arc::new(DurableMark::default());
        let pressures = Arc::new(Pressures::new(&settings.pressure));
        let (mark, told) = (Arc::clone(&durable), Arc::clone(&pressures));
        let mut accounting =
            Accounting::open(&settings, &deciding, mark, mailboxes.clone(), told).await?;
        let revisions = Arc::new(Revisions::new(accounting.revisions()));
        let number = revisions.number(document).await;
        let revision = number.map_err(|cause| StartError::store(&settings, cause))?;
        deciding.number(revision);

        if let Some(shared) = &shared {
            shared.follow(accounting.appender());
            shared.begin(&*deciding).await;
            let own: Arc<dyn OwnHolds> = Arc::clone(&deciding) as Arc<dyn OwnHolds>;
            tasks.spawn(Arc::clone(shared).run(own, ended.clone()));
        }
        if let Some(sessions) = &sessions {
            sessions.follow(accounting.appender());
            sessions.begin(&*deciding).await;
            let own: Arc<dyn OwnSessions> = Arc::clone(&deciding) as Arc<dyn OwnSessions>;
            tasks.spawn(Arc::clone(sessions).run(own, ended.clone()));
        }

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
        let agreed = Arc::new(ArcSwap::from_pointee(Agreed {
            trunks: Arc::clone(&trunks),
            legs: Arc::clone(&legs),
            dialing: Arc::clone(&dialing),
            targets: Arc::clone(&targets),
            target_limits: Arc::clone(&target_limits),
            tls: Arc::clone(&parties),
        }));
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
            currency: settings.account.currency.as_str().into(),
            checkpoint_every: settings.journal.checkpoint_interval,
            live: Arc::clone(&live),
            tls: Arc::clone(&parties),
            target_limits: Arc::clone(&target_limits),
            targets,
            limits: Arc::clone(&limits),
            orphans: Arc::new(OpenOrphans::new(&awaited)),
        };
        let (api, api_address) = bind_api(settings.api.listen)?;
        let sockets = sockets::bind(&settings, shard_count, &tcp, &sources)?;
        let sip_addresses = sockets.addresses.clone();
        let endpoint_settings =
            endpoint_settings(&settings, &sip_addresses, usize::from(shard_count), seed);
        let buffers = sockets.by_shard.iter().flat_map(|(_, sockets)| sockets);
        let granted = buffers.map(|(_, socket)| socket.receive_buffer_bytes()).min();
        let sockets_max = u64::from(settings.sip.tcp.connections_max)
            + u64::from(settings.api.connections_max)
            + u64::from(shard_count) * settings.sip.listen.len() as u64;
        let asked = settings.sip.receive_buffer_bytes;
        for complaint in machine::complaints(sockets_max, asked, granted) {
            tracing::warn!("{complaint}");
        }
        let previews = Previews {
            agreed: Arc::clone(&agreed),
            addresses,
            standing: Arc::clone(&standing),
            endpoint: endpoint_settings.clone(),
            clock: Clock::Machine,
        };
        let scoring = Scoring::new(loaded.scorers);
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
            let metrics = CallMetrics::register();
            let mut bridge = Bridge::new(parts.clone(), mailbox.waiting(), metrics, now);
            if let Some(shared) = &shared {
                bridge.share(Rooms {
                    deciding: Arc::clone(&deciding),
                    shared: Arc::clone(shared),
                    within: settings.redis.answers_within(),
                    runtime: Handle::current(),
                    mailbox: mailbox.clone(),
                });
            }
            if let Some(sessions) = &sessions {
                bridge.share_sessions(Sessions {
                    deciding: Arc::clone(&deciding),
                    shared: Arc::clone(sessions),
                    names_within: settings.redis.names_within(),
                    runtime: Handle::current(),
                    mailbox: mailbox.clone(),
                });
            }
            bridge.ask_scorers(scoring.telling(mailbox.clone()));
            let shard = Shard {
                index,
                endpoint,
                bridge,
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

        let mut posts = consumers::posts();
        if settings.fraud.enabled {
            posts.push(fraud::post(fraud::Means {
                deciding: Arc::clone(&deciding),
                book: accounting.fraud(),
                rules: fraud::rules(&config)?,
                seed: seed.rotate_left(32),
            }));
        }
        let (enriching, enrichers) = enriching::posts(enriching::Means {
            deciding: Arc::clone(&deciding),
            appender: accounting.appender(),
            scoring: scoring.clone(),
            spending: accounting.spending(),
            ended: ended.clone(),
        });
        posts.extend(enriching);
        let (ready, epoch) = (shippers::load(&config)?, accounting.epoch());
        posts.extend(shippers::posts(&config, ready, epoch, seed)?);
        accounting.consume(&settings, posts, seed, &ended);
        let control = Arc::new(Control::new(
            Arc::clone(&deciding),
            accounting.appender(),
            accounting.live(),
            mailboxes.clone(),
            seed,
            prometheus.clone(),
            Arc::clone(&pressures),
        ));
        let counted = Arc::clone(&deciding);
        tasks.spawn(async move {
            // They may have been lowered while no server ran.
            let (now, store) = counted.meters_of_all(clock::wall()).await;
            reload::tell_closed(&meter::passed(&now), store.map(State::name));
        });
        let (past, told) = (accounting.past(), Arc::clone(&deciding));
        let rounds = Rounds::new(TELL_AGAIN_AFTER, ended.clone());
        tasks.spawn(async move {
            let lacking =
                "the answers of before could not be read: requests that may have one wait";
            until_done(rounds, lacking, || past.bring_back_answers(&told)).await;
        });
        let (past, told) = (accounting.past(), Arc::clone(&deciding));
        let rounds = Rounds::new(TELL_AGAIN_AFTER, ended.clone());
        tasks.spawn(async move {
            let lacking =
                "the calls of before could not be read: what is told of callers may lack some";
            until_done(rounds, lacking, || past.tell_rest(&told)).await;
        });
        if let Some(sessions) = sessions {
            let rematching = Rematching {
                deciding: Arc::clone(&deciding),
                shared: sessions,
                revisions: Arc::clone(&revisions),
                degraded: accounting.degraded(),
                calls: accounting.store(),
                past: accounting.past(),
                appender: accounting.appender(),
            };
            tasks.spawn(rematching.run(ended.clone()));
        }
        let reloader = Arc::new(Reloader {
            deciding: Arc::clone(&deciding),
            past: accounting.past(),
            revisions: Arc::clone(&revisions),
            resolver,
            sources: Arc::clone(&sources),
            limits,
            tls: Arc::clone(&tls),
            scoring: scoring.clone(),
            shards: mailboxes.clone(),
            agreed,
            running: tokio::sync::Mutex::new(Running { config, revision }),
        });
        let questions = Arc::new(Questions {
            deciding: Arc::clone(&deciding),
            revisions,
            decisions: accounting.decisions(),
            scoring,
            sources,
            previews,
        });
        let services =
            control.services(&settings, &accounting, enrichers, Arc::clone(&reloader), questions);
        serve_api(api, services, connections(&settings.api), ended.clone(), &mut tasks);
        tasks.spawn(sweep(Arc::clone(&deciding), standing, ended.clone()));
        let (appender, gauges) = (accounting.appender(), accounting.gauges());
        tasks.spawn(pressure::watch(
            pressures,
            Arc::clone(&deciding),
            appender,
            gauges,
            ended.clone(),
        ));
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

/// Before anything is at work: whoever finds the port taken has nothing to take back.
fn bind_api(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(wanted)?;
        let listener = socket.listen(API_BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|cause| StartError::Api { address: wanted, cause })
}

fn serve_api(
    listener: TcpListener,
    services: Services,
    limits: ConnectionLimits,
    mut ended: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    let router = crate::api::router(services);
    tasks.spawn(async move {
        let end = async move {
            // An error says that nobody is left to end us, which is an end too.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        serving::serve(listener, router, limits, end).await;
    });
}
