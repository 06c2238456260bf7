//! Asks DNS what the directory of names wants to know, and shows the shards what it found.
//!
//! Look-ups run here and nowhere else: a shard reads what was found last and never waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use smol_str::{SmolStr, ToSmolStr};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::DnsSettings;
use crate::sip::locate::{
    Answer, Directory, Kind, Naptr, Question, Records, Service, Speaks, Srv, TtlRules,
};

use super::addresses::{Addresses, Wanted};
use super::hosts::HostsFile;
use super::{clock, metrics as names};

/// Questions that wait for their answers at a time.
const ASKED_MAX: usize = 32;

/// How long changes gather before the shards are shown them.
const GATHER: Duration = Duration::from_millis(20);

/// How long a start or a new configuration waits for names; those not found by then follow.
const LOOK_UP_MAX: Duration = Duration::from_secs(4);

/// The names of the configuration in force, and where they lead.
pub(super) struct Resolver {
    client: Client,
    state: Mutex<State>,
    addresses: Arc<ArcSwap<Addresses>>,
    /// There are new questions.
    wake: Notify,
    /// There are new answers.
    progress: Notify,
}

struct State {
    directory: Directory,
    wanted: Wanted,
    /// Services that were said to be nowhere.
    lost: BTreeSet<Service>,
}

impl Resolver {
    pub(super) fn new(settings: &DnsSettings, speaks: Speaks) -> Self {
        let rules = TtlRules {
            min: settings.ttl_min,
            max: settings.ttl_max,
            negative_max: settings.negative_ttl_max,
            stale_max: settings.stale_max,
            questions_max: usize::try_from(settings.questions_max).unwrap_or(usize::MAX),
        };
        let directory = Directory::new(rules, speaks);
        let state = State { directory, wanted: Wanted::default(), lost: BTreeSet::new() };
        Self {
            client: Client::new(settings),
            state: Mutex::new(state),
            addresses: Arc::default(),
            wake: Notify::new(),
            progress: Notify::new(),
        }
    }

    /// What is known, as the shards read it.
    pub(super) fn addresses(&self) -> Arc<ArcSwap<Addresses>> {
        Arc::clone(&self.addresses)
    }

    /// Looks up what is not known yet of a configuration that is to come in force, while the one
    /// that is goes on. Returns when all is known, or has been waited for long enough.
    pub(super) async fn prepare(&self, coming: &Wanted) {
        // Whoever edits both files, edits the hosts first.
        self.client.hosts.forget().await;
        {
            let mut state = self.state.lock();
            let both = state.wanted.services.union(&coming.services).cloned();
            let both: BTreeSet<Service> = both.collect();
            state.directory.want(both, clock::mono());
        }
        self.wake.notify_one();
        let settled = async {
            loop {
                let progress = self.progress.notified();
                if self.state.lock().directory.is_settled() {
                    return;
                }
                progress.await;
            }
        };
        if tokio::time::timeout(LOOK_UP_MAX, settled).await.is_err() {
            tracing::warn!(
                "names are still being looked up; calls to them fail until they are found"
            );
        }
    }

    /// These are wanted from now on, and no others.
    pub(super) fn configure(&self, wanted: Wanted) {
        {
            let mut state = self.state.lock();
            state.directory.want(wanted.services.iter().cloned(), clock::mono());
            state.wanted = wanted;
        }
        self.publish();
        self.wake.notify_one();
    }

    /// Asks and asks again, until the process ends.
    pub(super) async fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        let mut asked: JoinSet<(Question, Answer)> = JoinSet::new();
        let mut publish_at = None;
        loop {
            let now = clock::mono();
            let room = ASKED_MAX - asked.len();
            let (questions, deadline) = {
                let directory = &mut self.state.lock().directory;
                let questions = directory.ask(room, now);
                (questions, directory.deadline())
            };
            for question in questions {
                let this = Arc::clone(&self);
                asked.spawn(async move {
                    let answer = this.client.ask(&question).await;
                    (question, answer)
                });
            }
            let next = deadline.filter(|_| asked.len() < ASKED_MAX);
            let next = next.map(|at| tokio::time::Instant::now() + at.since(now));
            let next = [next, publish_at].into_iter().flatten().min();
            tokio::select! {
                Some(done) = asked.join_next() => {
                    // A look-up that panicked is made again when its question is due once more.
                    if let Ok((question, answer)) = done && self.take(&question, answer) {
                        publish_at.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
                    }
                }
                () = self.wake.notified() => {}
                () = sleep_until(next) => {}
                _ = ended.changed() => return,
            }
            if publish_at.is_some_and(|at| at <= tokio::time::Instant::now()) {
                publish_at = None;
                self.publish();
            }
        }
    }

    /// Returns whether something is elsewhere now.
    fn take(&self, question: &Question, answer: Answer) -> bool {
        let result = match &answer {
            Answer::Found { .. } => "found",
            Answer::Nothing { .. } => "nothing",
            Answer::Failed => "failed",
        };
        counter!(names::DNS_LOOKUPS, "result" => result).increment(1);
        let directory = &mut self.state.lock().directory;
        let changed = directory.answered(question, answer, clock::mono());
        gauge!(names::DNS_UNANSWERED).set(directory.unanswered() as f64);
        self.progress.notify_waiters();
        changed
    }

    fn publish(&self) {
        let mut state = self.state.lock();
        let State { directory, wanted, lost } = &mut *state;
        let known = Addresses::new(&wanted.literals, directory.located());
        self.addresses.store(Arc::new(known));
        let now_lost: BTreeSet<Service> = directory.lost().cloned().collect();
        gauge!(names::DNS_LOST).set(now_lost.len() as f64);
        for service in now_lost.difference(lost) {
            tracing::warn!(name = %service.host, "a name leads nowhere; calls to it fail");
        }
        for service in lost.difference(&now_lost) {
            tracing::info!(name = %service.host, "a name leads somewhere again, or is not needed");
        }
        *lost = now_lost;
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Asks one question at a time: the hosts file first, then the resolvers.
struct Client {
    hosts: HostsFile,
    /// An error: the system names no resolver.
    resolver: Result<TokioResolver, NetError>,
    /// That there is none was said.
    told: AtomicBool,
    /// Whatever the resolvers do, it is over then.
    patience: Duration,
}

impl Client {
    fn new(settings: &DnsSettings) -> Self {
        let builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let config = ResolverConfig::from_name_servers(
                settings.servers.iter().map(|server| name_server(*server)).collect(),
            );
            let provider = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(config, provider))
        };
        let resolver = builder.and_then(|mut builder| {
            let attempts = usize::from(settings.attempts);
            set_options(builder.options_mut(), settings.timeout, attempts);
            builder.build()
        });
        let patience = settings.timeout * (u32::from(settings.attempts) + 1) * 2;
        let hosts = HostsFile::new("/etc/hosts");
        Self { hosts, resolver, told: AtomicBool::new(false), patience }
    }

    async fn ask(&self, question: &Question) -> Answer {
        if let Some(answer) = self.hosts.answer(question, clock::mono()).await {
            return answer;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "the system names no resolver: names lead nowhere unless sip.dns.servers \
                         names one"
                    );
                }
                return Answer::Failed;
            }
        };
        let Ok(mut name) = Name::from_ascii(&question.name) else { return Answer::Failed };
        let kind = record_type(question.kind);
        if !matches!(question.kind, Kind::A | Kind::Aaaa) {
            // Search domains are for names of hosts.
            name.set_fqdn(true);
        }
        match tokio::time::timeout(self.patience, resolver.lookup(name, kind)).await {
            Ok(Ok(found)) => read(question.kind, found.answers()),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none))))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                let ttl = none.negative_ttl.map(|s| Duration::from_secs(u64::from(s)));
                Answer::Nothing { ttl }
            }
            Ok(Err(error)) => {
                tracing::debug!(name = %question.name, ?kind, %error, "a name was not looked up");
                Answer::Failed
            }
            Err(_) => Answer::Failed,
        }
    }
}

fn name_server(address: std::net::SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    server.connections = server.connections.into_iter().map(at_port).collect();
    server
}

/// The directory remembers what was found; the resolver only asks.
fn set_options(options: &mut ResolverOpts, timeout: Duration, attempts: usize) {
    options.timeout = timeout;
    options.attempts = attempts.saturating_sub(1);
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Answers are dealt again by weight.
    options.num_concurrent_reqs = 1;
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    }
}

/// The records of the kind that was asked for; an answer may hold others beside them.
pub(super) fn read(kind: Kind, answers: &[Record]) -> Answer {
    let mut records = kind.none();
    let mut ttl = None;
    for record in answers {
        let taken = match (&mut records, &record.data) {
            (Records::Naptr(all), RData::NAPTR(naptr)) => {
                all.push(Naptr {
                    order: naptr.order,
                    preference: naptr.preference,
                    flags: text(&naptr.flags),
                    services: text(&naptr.services),
                    replacement: naptr.replacement.to_ascii().to_smolstr(),
                });
                true
            }
            (Records::Srv(all), RData::SRV(srv)) => {
                all.push(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii().to_smolstr(),
                });
                true
            }
            (Records::Addresses(all), RData::A(a)) => {
                all.push(a.0.into());
                true
            }
            (Records::Addresses(all), RData::AAAA(aaaa)) => {
                all.push(aaaa.0.into());
                true
            }
            _ => false,
        };
        if taken {
            ttl = Some(ttl.map_or(record.ttl, |least: u32| least.min(record.ttl)));
        }
    }
    match ttl {
        Some(ttl) => Answer::Found { records, ttl: Duration::from_secs(u64::from(ttl)) },
        None => Answer::Nothing { ttl: None },
    }
}

fn text(bytes: &[u8]) -> SmolStr {
    String::from_utf8_lossy(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::sip::flow::Transport;

    #[tokio::test]
    async fn a_new_configuration_is_looked_up_in_the_hosts_file_as_it_is_by_then() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("hosts");
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Nobody answers what the file does not know.
        let settings = DnsSettings {
            servers: vec![here],
            timeout: Duration::from_millis(10),
            attempts: 1,
            ..DnsSettings::default()
        };
        let mut resolver = Resolver::new(&settings, Speaks::new([(Transport::Udp, here)]));
        resolver.client.hosts = HostsFile::new(&path);
        let resolver = Arc::new(resolver);
        let (_running, ended) = watch::channel(false);
        tokio::spawn(Arc::clone(&resolver).run(ended));
        let look_up = async |names: &[&str]| {
            let services = names.iter().map(|name| Service::host(name)).collect();
            let wanted = Wanted { services, ..Wanted::default() };
            resolver.prepare(&wanted).await;
            resolver.configure(wanted);
            let known = resolver.addresses.load();
            names.iter().map(|name| known.of_name(name)).collect::<Vec<_>>()
        };
        let at = |last| Some(IpAddr::from([192, 0, 2, last]));

        std::fs::write(&path, "192.0.2.1 old.example\n").unwrap();
        assert_eq!(look_up(&["old.example"]).await, [at(1)]);
        std::fs::write(&path, "192.0.2.1 old.example\n192.0.2.2 new.example\n").unwrap();
        assert_eq!(look_up(&["old.example", "new.example"]).await, [at(1), at(2)]);
    }
}
