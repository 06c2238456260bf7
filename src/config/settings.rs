//! The settings of the process, each with its unit and its default.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::account::AccountSettings;
use super::consumers::{ConsumerSettings, RollupSettings};
use super::dns::{DnsSettings, HealthSettings};
use super::egress::EgressSettings;
use super::fraud::FraudSettings;
use super::listen::{Advertised, HostPort, ListenAddress, ListenTransport, Listener};
use super::overload::OverloadSettings;
use super::pressure::PressureSettings;
use super::redis::RedisSettings;
use super::secret::Secret;
use super::sessions::SessionSettings;
use super::shippers::ShipperSettings;
use super::tls::TlsSettings;

/// Everything about the process that is not routing: addresses, paths, times, limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub node: NodeSettings,
    pub sip: SipSettings,
    pub api: ApiSettings,
    pub store: StoreSettings,
    pub sessions: SessionSettings,
    pub redis: RedisSettings,
    pub journal: JournalSettings,
    pub decision: DecisionSettings,
    pub cdr: CdrSettings,
    pub log: LogSettings,
    pub account: AccountSettings,
    pub consumers: ConsumerSettings,
    pub rollups: RollupSettings,
    pub pressure: PressureSettings,
    pub egress: EgressSettings,
    pub shippers: Vec<ShipperSettings>,
    pub fraud: FraudSettings,
}

/// `[node]`: which process of a fleet this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// Number in the names of journal files; unique in a fleet. Default 1.
    pub id: u32,
    /// Name in logs and health answers. Default `tollbridge`.
    pub name: String,
}

/// `[sip]`: the signalling side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipSettings {
    /// Default UDP and TCP on 127.0.0.1:5060 and [::1]:5060.
    pub listen: Vec<ListenAddress>,
    /// What peers are told in Via and Contact instead of a listener's own address. Default: the
    /// address itself.
    pub advertise: BTreeMap<ListenAddress, HostPort>,
    /// Signalling threads; 0 is one per core. Default 0.
    pub shards: u16,
    /// Round-trip estimate T1, RFC 3261 §17.1.1.1, milliseconds. Default 500.
    #[serde(rename = "t1_ms", with = "milliseconds")]
    pub t1: Duration,
    /// Longest interval T2 of non-INVITE retransmissions, milliseconds. Default 4000.
    #[serde(rename = "t2_ms", with = "milliseconds")]
    pub t2: Duration,
    /// Longest life T4 of a message in the network, milliseconds. Default 5000.
    #[serde(rename = "t4_ms", with = "milliseconds")]
    pub t4: Duration,
    /// How long an INVITE may go unanswered before it gets 100 (Trying), milliseconds; at most 200,
    /// RFC 3261 §17.2.1. A target that rings sooner saves the message. Default 100.
    #[serde(rename = "trying_after_ms", with = "milliseconds")]
    pub trying_after: Duration,
    /// Kernel receive buffer of each UDP socket, bytes. Default 4 MiB.
    pub receive_buffer_bytes: usize,
    /// Longest a message may wait for others to be read with it, microseconds; only while more
    /// than 1,500 a second come to a shard. More saves CPU, 0 reads each at once. Default 1500.
    pub gather_us: u32,
    /// Longest message read, bytes. Default 65535.
    pub message_bytes_max: usize,
    /// Longest request that is sent as a datagram to a peer that takes TCP too, bytes: what the
    /// path takes in one piece, less 200. Default 1300.
    pub udp_request_bytes_max: usize,
    /// Longest single header field, bytes. Default 16384.
    pub header_bytes_max: usize,
    /// Most header fields of one message. Default 256.
    pub headers_max: usize,
    /// Value of User-Agent and Server. Default: neither is sent.
    pub user_agent: Option<String>,
    /// Live calls above which new ones are refused with 503. Default 20000.
    pub calls_max: u32,
    /// In-dialog OPTIONS to find dead peers, seconds between them; `None` (0) sends none.
    /// Default 300.
    #[serde(rename = "probe_interval_s", with = "optional_seconds")]
    pub probe_interval: Option<Duration>,
    /// Longest answered call, seconds; a target may allow less. Default 14400.
    #[serde(rename = "max_call_s", with = "seconds")]
    pub max_call: Duration,
    /// Folder of carrier files that replace or join the built-in ones. Default: none.
    pub carrier_dir: Option<PathBuf>,
    pub overload: OverloadSettings,
    pub dns: DnsSettings,
    pub health: HealthSettings,
    pub tcp: TcpSettings,
    pub tls: TlsSettings,
}

/// `[sip.tcp]`: limits of stream connections, TLS included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpSettings {
    /// Opening a connection, milliseconds. Default 2000.
    #[serde(rename = "connect_timeout_ms", with = "milliseconds")]
    pub connect_timeout: Duration,
    /// From the first byte of a message to the end of its headers, milliseconds. Default 10000.
    #[serde(rename = "header_timeout_ms", with = "milliseconds")]
    pub header_timeout: Duration,
    /// A connection without a byte for so long is closed, seconds; `None` (0) never. Default 900.
    #[serde(rename = "idle_s", with = "optional_seconds")]
    pub idle: Option<Duration>,
    /// Double-CRLF pings on idle connections, RFC 5626 §3.5.1, seconds between them; `None` (0)
    /// sends none. Default 0.
    #[serde(rename = "keepalive_s", with = "optional_seconds")]
    pub keepalive: Option<Duration>,
    /// Open connections in all. Default 4096.
    pub connections_max: u32,
    /// Open connections from one address. Default 256.
    pub connections_per_source_max: u32,
    /// Bytes waiting for a slow reader before it is closed. Default 262144.
    pub write_queue_bytes: usize,
}

/// `[api]`: the REST service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Open connections. One more takes the place of the one that has been without a request for longest.
    /// Default 8192.
    pub connections_max: u32,
    /// Open connections from one address, the same. Default 2048.
    pub connections_per_source_max: u32,
    /// Who may call it. Default: nobody; health needs no key.
    pub keys: Vec<ApiKey>,
}

/// One `api.keys` entry: `Authorization: Bearer KEY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the holder in logs; unique.
    pub id: SmolStr,
    pub key: Secret,
}

/// `[store]`: where the embedded stores are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Folder of journal and database, made when missing; a relative path starts at the working
    /// directory. Default `./data`.
    pub dir: PathBuf,
}

/// `[journal]`: the fact journal (spec/data §1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSettings {
    /// How long a commit waits for company, milliseconds. Default 2.
    #[serde(rename = "linger_ms", with = "milliseconds")]
    pub linger: Duration,
    /// Size at which a segment is closed, bytes. Default 64 MiB.
    pub segment_bytes: u64,
    /// Age at which a segment is closed, seconds. Default 60.
    #[serde(rename = "segment_age_s", with = "seconds")]
    pub segment_age: Duration,
    /// Free space under which no more pings are taken, bytes. Default 2 GiB.
    pub low_water_bytes: u64,
    /// Free space under which no more calls are taken, bytes. Default 256 MiB.
    pub reserve_water_bytes: u64,
    /// Between two records of all live calls, seconds: what a crash may cost each. Default 30.
    #[serde(rename = "checkpoint_interval_s", with = "seconds")]
    pub checkpoint_interval: Duration,
    /// How long a 200 waits for its answer to be on disk before it is relayed anyway,
    /// milliseconds. Default 20.
    #[serde(rename = "answer_wait_ms", with = "milliseconds")]
    pub answer_wait: Duration,
}

/// `[decision]`: finding the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionSettings {
    /// After this the caller is refused with 503, milliseconds. Default 3000.
    #[serde(rename = "deadline_ms", with = "milliseconds")]
    pub deadline: Duration,
}

/// `[cdr]`: call records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrSettings {
    /// Default `checkpoint`.
    pub orphan_bill: OrphanBill,
    /// Whether the next process sends BYE to both ends of calls that were up. Default false.
    pub orphan_bye: bool,
}

/// What a call that was up when the process died is billed (spec/data §1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanBill {
    /// Up to its last checkpoint.
    #[default]
    Checkpoint,
    /// Nothing.
    Zero,
    /// Up to the restart.
    UntilRestart,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Default `text`.
    pub format: LogFormat,
    /// Level, or levels by module such as `info,tollbridge::sip=debug`. Default `info`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { id: 1, name: String::from("tollbridge") }
    }
}

impl Default for SipSettings {
    fn default() -> Self {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 5060));
        let listen = |transport, address| ListenAddress { transport, address };
        Self {
            listen: vec![
                listen(ListenTransport::Udp, v4),
                listen(ListenTransport::Tcp, v4),
                listen(ListenTransport::Udp, v6),
                listen(ListenTransport::Tcp, v6),
            ],
            advertise: BTreeMap::new(),
            shards: 0,
            t1: Duration::from_millis(500),
            t2: Duration::from_millis(4000),
            t4: Duration::from_millis(5000),
            receive_buffer_bytes: 4 << 20,
            trying_after: Duration::from_millis(100),
            gather_us: 1500,
            message_bytes_max: 65_535,
            udp_request_bytes_max: 1300,
            header_bytes_max: 16 << 10,
            headers_max: 256,
            user_agent: None,
            calls_max: 20_000,
            probe_interval: Some(Duration::from_secs(300)),
            max_call: Duration::from_secs(14_400),
            carrier_dir: None,
            overload: OverloadSettings::default(),
            dns: DnsSettings::default(),
            health: HealthSettings::default(),
            tcp: TcpSettings::default(),
            tls: TlsSettings::default(),
        }
    }
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            header_timeout: Duration::from_secs(10),
            idle: Some(Duration::from_secs(900)),
            keepalive: None,
            connections_max: 4096,
            connections_per_source_max: 256,
            write_queue_bytes: 256 << 10,
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            connections_max: 8192,
            connections_per_source_max: 2048,
            keys: Vec::new(),
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { dir: PathBuf::from("./data") }
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(2),
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(60),
            low_water_bytes: 2 << 30,
            reserve_water_bytes: 256 << 20,
            checkpoint_interval: Duration::from_secs(30),
            answer_wait: Duration::from_millis(20),
        }
    }
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(3) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: String::from("info") }
    }
}

impl SipSettings {
    /// The listeners in the order of the file, which is the order of their ids, each with what
    /// peers are told.
    pub fn listeners(&self) -> Vec<Listener> {
        let listener = |address: &ListenAddress| {
            let told = self.advertise.get(address);
            let host = match (told, address.address.ip()) {
                (Some(told), _) => told.host.clone(),
                (None, IpAddr::V4(ip)) => format_smolstr!("{ip}"),
                (None, IpAddr::V6(ip)) => format_smolstr!("[{ip}]"),
            };
            let port = told.and_then(|told| told.port);
            let port = port.unwrap_or_else(|| address.address.port());
            Listener { address: *address, advertised: Advertised { host, port } }
        };
        self.listen.iter().map(listener).collect()
    }
}

/// A duration written as a whole number of milliseconds.
pub(super) mod milliseconds {
    use super::{Deserialize, Duration};

    pub(in crate::config) fn serialize<S: serde::Serializer>(
        d: &Duration,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Duration, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A duration written as a whole number of seconds.
pub(super) mod seconds {
    use super::{Deserialize, Duration};

    pub(in crate::config) fn serialize<S: serde::Serializer>(
        d: &Duration,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_u64(d.as_secs())
    }

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Duration, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// Like [`seconds`], where 0 switches the thing off.
mod optional_seconds {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.map_or(0, |duration| duration.as_secs()))
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        let seconds = u64::deserialize(deserializer)?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }
}
