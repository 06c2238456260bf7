//! What the parts of the server are given of the settings of the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smol_str::{SmolStr, ToSmolStr};

use crate::config::{ApiSettings, Config, ListenTransport, RedisSettings, Settings, SipSettings};
use crate::id::CallId;
use crate::routing::RoutingSnapshot;
use crate::routing::ping::DeskLimits;
use crate::sip::admission::Caps;
use crate::sip::call::CallLimits;
use crate::sip::endpoint::{self, Listener};
use crate::sip::flow::Transport;
use crate::sip::ids::IdSource;
use crate::sip::locate::{HealthRules, Speaks};
use crate::sip::message::Limits;
use crate::sip::transaction::Timers;
use crate::sip::transport::{
    CertificateFiles, FileSpec, FramingLimits, Keepalive, PeerSpec, Steering, TcpOptions, TlsFault,
    client_config,
};

use super::deciding::Deciding;
use super::error::StartError;
use super::holds::SharedHolds;
use super::holds::redis::{RedisStore, RedisStoreSettings};
use super::machine;
use super::redis::{Address, LinkSettings, LinkTls};
use super::serving::ConnectionLimits;
use super::sessions::SharedSessions;
use super::sessions::redis::{RedisSessions, RedisSessionsSettings, TimeOfNumbers};
use super::sessions::shared::OPEN_AFTER_MIN;

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn connections(api: &ApiSettings) -> ConnectionLimits {
    let count = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
    ConnectionLimits {
        most: count(api.connections_max),
        of_source_most: count(api.connections_per_source_max),
    }
}

pub(super) fn endpoint_settings(
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

pub(super) fn tcp_options(settings: &Settings) -> TcpOptions {
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
pub(super) fn shards_of(settings: &Settings) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = match settings.sip.shards {
        0 => u16::try_from(cores).unwrap_or(Steering::SHARDS_MAX),
        shards => shards,
    };
    wanted.clamp(1, Steering::SHARDS_MAX)
}

pub(super) fn health_rules(settings: &Settings) -> HealthRules {
    let health = &settings.sip.health;
    HealthRules { penalty: health.penalty, penalty_max: health.penalty_max }
}

/// What we can send over.
pub(super) fn speaks(settings: &Settings) -> Speaks {
    let listeners = settings.sip.listen.iter();
    Speaks::new(listeners.map(|it| (transport(it.transport), it.address)))
}

pub(super) fn transport(configured: ListenTransport) -> Transport {
    match configured {
        ListenTransport::Udp => Transport::Udp,
        ListenTransport::Tcp => Transport::Tcp,
        ListenTransport::Tls => Transport::Tls,
    }
}

/// Holds that other servers have a say in, if the configuration names where they are. `tls` is
/// [`tls_of_holds`].
pub(super) fn shared_holds(
    settings: &Settings,
    tls: Option<LinkTls>,
    seed: u128,
) -> Option<Arc<SharedHolds>> {
    let redis = &settings.redis;
    if redis.urls.is_empty() {
        return None;
    }
    let process = CallId::from_bytes(seed.rotate_left(32).to_be_bytes());
    let store = RedisStore::new(RedisStoreSettings {
        link: link(redis, tls),
        account: settings.account.id.as_str().into(),
        node: settings.node.id.to_smolstr(),
        process: process.to_smolstr(),
        call_timeout: redis.call_timeout,
        timeout: redis.timeout,
        replica_timeout: redis.replica_timeout,
        open_after: redis.open_after,
        call_max: settings.sip.max_call,
        slow: redis.slow,
    });
    Some(Arc::new(SharedHolds::new(store, redis.lease, process)))
}

/// Sessions that are shared with other servers; `None`: they are not.
pub(super) fn shared_sessions(
    settings: &Settings,
    tls: Option<LinkTls>,
) -> Option<Arc<SharedSessions>> {
    let redis = &settings.redis;
    if redis.urls.is_empty() || !redis.sessions {
        return None;
    }
    let store = RedisSessions::new(RedisSessionsSettings {
        link: link(redis, tls),
        account: settings.account.id.as_str().into(),
        node: settings.node.id.to_smolstr(),
        call_timeout: redis.call_timeout,
        timeout: redis.timeout,
        lease: redis.lease,
        apart_for: redis.apart_for,
        open_after: redis.open_after.max(OPEN_AFTER_MIN),
        time: TimeOfNumbers::Server,
        kept_max: usize::try_from(redis.cache_max).unwrap_or(usize::MAX),
    });
    Some(Arc::new(SharedSessions::new(store, redis.lease)))
}

fn link(redis: &RedisSettings, tls: Option<LinkTls>) -> LinkSettings {
    let seeds = redis.urls.iter().map(|url| Address { host: url.host.clone(), port: url.port });
    LinkSettings {
        seeds: seeds.collect(),
        username: redis.username.clone(),
        password: redis.password.clone(),
        connect_timeout: redis.connect_timeout,
        tls,
    }
}

/// How the servers are known that keep shared holds; `None`: by nothing.
///
/// # Errors
/// All that is wrong with the files that say so.
pub(super) fn tls_of_holds(config: &Config) -> Result<Option<LinkTls>, StartError> {
    let redis = &config.settings.redis;
    let files = RedisFiles {
        field: SmolStr::new_static("redis"),
        is_tls: redis.is_tls(),
        tls_name: redis.tls_name.as_ref(),
        extra_ca: redis.extra_ca.as_ref(),
        client_cert: redis.client_cert.as_ref(),
        client_key: redis.client_key.as_ref(),
    };
    tls_to_redis(config, &files)
}

/// What a table of the configuration says of TLS to Redis.
pub(super) struct RedisFiles<'a> {
    /// The table, such as `redis`.
    pub(super) field: SmolStr,
    pub(super) is_tls: bool,
    pub(super) tls_name: Option<&'a SmolStr>,
    pub(super) extra_ca: Option<&'a PathBuf>,
    pub(super) client_cert: Option<&'a PathBuf>,
    pub(super) client_key: Option<&'a PathBuf>,
}

/// How servers of Redis are known; `None`: by nothing.
///
/// # Errors
/// All that is wrong with the files that say so.
pub(super) fn tls_to_redis(
    config: &Config,
    redis: &RedisFiles<'_>,
) -> Result<Option<LinkTls>, StartError> {
    if !redis.is_tls {
        return Ok(None);
    }
    let file = |path: Option<&PathBuf>, name: &str| {
        path.cloned().map(|path| FileSpec { path, field: format!("{}.{name}", redis.field) })
    };
    let shown = file(redis.client_cert, "client_cert").zip(file(redis.client_key, "client_key"));
    let peer = PeerSpec {
        field: format!("{}.tls_name", redis.field),
        names: redis.tls_name.into_iter().cloned().collect(),
        sni: true,
        verify: true,
        extra_ca: file(redis.extra_ca, "extra_ca"),
        pins: vec![],
        client_certificate: shown.map(|(chain, key)| CertificateFiles { chain, key }),
    };
    let loaded = client_config(&peer).map_err(|faults| {
        let told = |it: TlsFault| (it.field, it.value, it.problem, it.remedy.to_owned());
        config.faults(faults.into_iter().map(told))
    })?;
    Ok(Some(LinkTls { config: loaded, name: redis.tls_name.cloned() }))
}

/// The routing state of the process, with as much room as it is to have.
pub(super) fn deciding(settings: &Settings, snapshot: RoutingSnapshot) -> Deciding {
    let sessions = &settings.sessions;
    let count = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
    let limits = DeskLimits { sessions_max: count(sessions.max), ..DeskLimits::default() };
    Deciding::with_room_for(snapshot, limits, count(sessions.answers_max))
}

/// Bytes of memory above which no more calls are taken; `None` if nobody knows.
pub(super) fn memory_max(settings: &Settings) -> Option<u64> {
    match settings.sip.overload.memory_max_mib {
        0 => machine::memory_given().map(|given| given - given / 10),
        mib => Some(mib.saturating_mul(1 << 20)),
    }
}
