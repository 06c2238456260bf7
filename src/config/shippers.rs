//! `[[shippers]]`: to whom facts are told as events (spec/data §2.4).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::check::Ranges;
use super::fault::Finding;
use super::redis::RedisUrl;
use super::secret::Secret;
use super::settings::{milliseconds, seconds};

/// A key of a hash shorter than this could be guessed, and with it all numbers.
const KEY_CHARS_MIN: usize = 16;

/// Most shippers.
const SHIPPERS_MAX: usize = 8;

/// One of `[[shippers]]`: where events go, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipperSettings {
    /// Tells it from the others, here and for whoever reads: 1 to 40 letters, digits, dots, dashes and
    /// underscores. Changing it ships everything again that the journal has.
    pub id: SmolStr,
    /// How events are written: `protobuf` or `json`. Default `protobuf`.
    #[serde(default)]
    pub form: EventForm,
    /// What is told of callers' numbers.
    pub callers: CallersTold,
    /// Names of tags of pings that are told, and of fields of theirs that are not known here; `*` is all.
    /// Default: none.
    #[serde(default)]
    pub tags: Vec<SmolStr>,
    /// To streams in Redis.
    #[serde(default)]
    pub redis: Option<StreamSettings>,
    /// To topics in Kafka.
    #[serde(default)]
    pub kafka: Option<KafkaSettings>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventForm {
    #[default]
    Protobuf,
    Json,
}

/// `callers`: what is told of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallersTold {
    /// `hash`, `number` or `nothing`.
    pub tell: CallerForm,
    /// Of hashes: 16 characters or more. Who has it can tell every number.
    #[serde(default)]
    pub key: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerForm {
    /// HMAC-SHA-256 of the number in E.164.
    Hash,
    /// The number in E.164.
    Number,
    Nothing,
}

/// `shippers.redis`: 64 streams that consumer groups read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// Servers that are asked for those that have the streams, as in `redis.urls`.
    pub urls: Vec<RedisUrl>,
    /// Of an ACL. Default: that of Redis.
    #[serde(default)]
    pub username: Option<String>,
    /// Default: none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A name that the certificates of all servers have. Default: each has the host it is asked at.
    #[serde(default)]
    pub tls_name: Option<SmolStr>,
    /// PEM file of authorities that vouch for the servers, besides those of the system. Default: none.
    #[serde(default)]
    pub extra_ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to the servers, with its chain. Default: none.
    #[serde(default)]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    /// What the streams' names begin with: `q` is `q:{p00}` to `q:{p63}`. Default `q`.
    #[serde(default = "default_prefix")]
    pub prefix: SmolStr,
    /// Opening a connection, milliseconds. Default 1000.
    #[serde(rename = "connect_timeout_ms", with = "milliseconds", default = "default_connect")]
    pub connect_timeout: Duration,
    /// How long the answer to one batch may take, milliseconds. Default 5000.
    #[serde(rename = "timeout_ms", with = "milliseconds", default = "default_timeout")]
    pub timeout: Duration,
    /// Entries stay at least this long after they came, seconds, and until every group has
    /// acknowledged them. Default 3600.
    #[serde(rename = "keep_s", with = "seconds", default = "default_keep")]
    pub keep: Duration,
    /// What Redis acknowledged so lately is offered again after something went wrong, seconds: it may
    /// have lost it. Default 60.
    #[serde(rename = "repeat_s", with = "seconds", default = "default_repeat")]
    pub repeat: Duration,
    /// A stream with so many entries takes no more until groups have acknowledged some. Default 50000.
    #[serde(default = "default_entries_max")]
    pub entries_max: u64,
}

/// `shippers.kafka`: topics of a cluster. Needs a build with the feature `kafka`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Some of the cluster, each `HOST:PORT`.
    pub brokers: Vec<SmolStr>,
    /// Of calls and deposits. Default `edge.facts`.
    #[serde(default = "default_facts_topic")]
    pub facts_topic: SmolStr,
    /// Of pings and sessions. Default `edge.pings`.
    #[serde(default = "default_pings_topic")]
    pub pings_topic: SmolStr,
    /// Partitions of each topic that are written to; it has to have them. Default 48.
    #[serde(default = "default_partitions")]
    pub partitions: u16,
    /// How long a message waits for company, milliseconds. Default 5.
    #[serde(rename = "linger_ms", with = "milliseconds", default = "default_linger")]
    pub linger: Duration,
    /// How long a message is tried before it counts as not delivered, seconds. Default 120.
    #[serde(rename = "delivery_timeout_s", with = "seconds", default = "default_delivery")]
    pub delivery_timeout: Duration,
    /// Most messages in memory that are not delivered. Default 10000.
    #[serde(default = "default_queue")]
    pub queue_messages_max: u32,
    /// Default: none, brokers are spoken to in clear.
    #[serde(default)]
    pub tls: Option<KafkaTls>,
    /// Default: none.
    #[serde(default)]
    pub sasl: Option<KafkaSasl>,
}

/// `shippers.kafka.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaTls {
    /// PEM file of authorities that vouch for the brokers. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to the brokers, with its chain. Default: none.
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
}

/// `shippers.kafka.sasl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

fn default_prefix() -> SmolStr {
    SmolStr::new_static("q")
}

fn default_connect() -> Duration {
    Duration::from_secs(1)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_keep() -> Duration {
    Duration::from_secs(3_600)
}

fn default_repeat() -> Duration {
    Duration::from_secs(60)
}

fn default_entries_max() -> u64 {
    50_000
}

fn default_facts_topic() -> SmolStr {
    SmolStr::new_static("edge.facts")
}

fn default_pings_topic() -> SmolStr {
    SmolStr::new_static("edge.pings")
}

fn default_partitions() -> u16 {
    48
}

fn default_linger() -> Duration {
    Duration::from_millis(5)
}

fn default_delivery() -> Duration {
    Duration::from_secs(120)
}

fn default_queue() -> u32 {
    10_000
}

impl SaslMechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl StreamSettings {
    /// Whether the servers are spoken to with TLS.
    pub fn is_tls(&self) -> bool {
        self.urls.first().is_some_and(|url| url.tls)
    }
}

/// What is wrong with all of them.
pub(super) fn check(shippers: &[ShipperSettings], findings: &mut Vec<Finding>) {
    if shippers.len() > SHIPPERS_MAX {
        let mut checked = Checked { path: String::from("shippers"), findings };
        let remedy = format!("keep {SHIPPERS_MAX} or fewer");
        checked.wrong("", shippers.len().to_string(), "are too many", &remedy);
    }
    let (mut ids, mut streams) = (BTreeSet::new(), BTreeSet::new());
    for (place, shipper) in shippers.iter().enumerate() {
        let mut checked = Checked { path: format!("shippers[{place}]"), findings };
        if !ids.insert(&shipper.id) {
            let id = shipper.id.to_string();
            checked.wrong("id", id, "is listed twice", "give each shipper its own id");
        }
        shipper.check(&mut checked);
        for url in shipper.redis.iter().flat_map(|redis| &redis.urls) {
            let prefix = shipper.redis.as_ref().map(|redis| &redis.prefix);
            if !streams.insert((url.to_string(), prefix)) {
                let says = "is shipped to by another shipper, under the same prefix";
                let remedy = "give each its own redis.prefix, or remove one";
                checked.wrong("redis.urls", url.to_string(), says, remedy);
            }
        }
    }
}

/// Where faults are collected of what is at `path`.
struct Checked<'a> {
    path: String,
    findings: &'a mut Vec<Finding>,
}

impl Checked<'_> {
    fn wrong(&mut self, field: &str, value: String, problem: &str, remedy: &str) {
        let separator = if field.is_empty() { "" } else { "." };
        self.findings.push(Finding {
            path: format!("{}{separator}{field}", self.path),
            value,
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn range(&mut self, field: &str, value: u64, range: std::ops::RangeInclusive<u64>, unit: &str) {
        let path = format!("{}.{field}", self.path);
        Ranges(self.findings).check(&path, value, range, unit);
    }

    /// A certificate and its key come together.
    fn pair(&mut self, table: &str, cert: Option<&PathBuf>, key: Option<&PathBuf>) {
        match (cert, key) {
            (Some(cert), None) => {
                let (field, shown) = (format!("{table}.client_cert"), cert.display().to_string());
                self.wrong(&field, shown, "has no key", &format!("add {table}.client_key"));
            }
            (None, Some(key)) => {
                let (field, shown) = (format!("{table}.client_key"), key.display().to_string());
                self.wrong(
                    &field,
                    shown,
                    "has no certificate",
                    &format!("add {table}.client_cert"),
                );
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl ShipperSettings {
    fn check(&self, checked: &mut Checked<'_>) {
        if !is_name(&self.id) {
            let remedy = "write 1 to 40 letters, digits, dots, dashes and underscores";
            checked.wrong("id", self.id.to_string(), "is no name for a shipper", remedy);
        }
        self.callers.check(checked);
        match (&self.redis, &self.kafka) {
            (Some(redis), None) => redis.check(checked),
            (None, Some(kafka)) => kafka.check(checked),
            (None, None) => {
                let remedy = "add a table redis or kafka that says where events go";
                checked.wrong("", self.id.to_string(), "ships nowhere", remedy);
            }
            (Some(_), Some(_)) => {
                let remedy = "write two shippers, one with redis and one with kafka";
                checked.wrong("", self.id.to_string(), "ships to two places", remedy);
            }
        }
    }
}

impl CallersTold {
    fn check(&self, checked: &mut Checked<'_>) {
        let chars = self.key.as_ref().map(|key| key.reveal().chars().count());
        let shown = || format!("{} characters", chars.unwrap_or(0));
        match (self.tell, chars) {
            (CallerForm::Hash, None) => {
                let remedy = format!(
                    "add a key of {KEY_CHARS_MIN} random characters or more, or tell = \"nothing\""
                );
                let says = "lacks the key that hashes are made with";
                checked.wrong("callers", String::from("hash"), says, &remedy);
            }
            (CallerForm::Hash, Some(chars)) if chars < KEY_CHARS_MIN => {
                let remedy = format!("use {KEY_CHARS_MIN} random characters or more");
                checked.wrong(
                    "callers.key",
                    shown(),
                    "is so short that it can be guessed",
                    &remedy,
                );
            }
            (CallerForm::Hash, Some(_)) | (_, None) => {}
            (CallerForm::Number | CallerForm::Nothing, Some(_)) => {
                let remedy = "leave it out, or write tell = \"hash\"";
                checked.wrong("callers.key", shown(), "has no effect without hashes", remedy);
            }
        }
    }
}

impl StreamSettings {
    fn check(&self, checked: &mut Checked<'_>) {
        if self.urls.is_empty() {
            let remedy = "list at least one, such as \"redis://10.0.0.5:6379\"";
            checked.wrong("redis.urls", String::from("[]"), "names no server", remedy);
        }
        if !is_name(&self.prefix) {
            let remedy = "write 1 to 40 letters, digits, dots, dashes and underscores";
            checked.wrong(
                "redis.prefix",
                self.prefix.to_string(),
                "is no name for streams",
                remedy,
            );
        }
        if let (Some(username), None) = (&self.username, &self.password) {
            let remedy = "add redis.password, or leave the name out";
            checked.wrong("redis.username", username.clone(), "has no password", remedy);
        }
        if let Some(other) = self.urls.iter().find(|url| url.tls != self.is_tls()) {
            let says = "differs from the first in whether it has TLS";
            let remedy = "write rediss:// for all, or for none";
            checked.wrong("redis.urls", other.to_string(), says, remedy);
        }
        let shown = |file: &Option<PathBuf>| file.as_ref().map(|it| it.display().to_string());
        let of_tls = [
            ("redis.tls_name", self.tls_name.as_ref().map(SmolStr::to_string)),
            ("redis.extra_ca", shown(&self.extra_ca)),
            ("redis.client_cert", shown(&self.client_cert)),
            ("redis.client_key", shown(&self.client_key)),
        ];
        for (field, value) in of_tls.into_iter().filter(|_| !self.is_tls()) {
            if let Some(value) = value {
                let remedy = "write rediss:// in redis.urls, or leave it out";
                checked.wrong(field, value, "has no effect without TLS", remedy);
            }
        }
        checked.pair("redis", self.client_cert.as_ref(), self.client_key.as_ref());
        let connect = u64::try_from(self.connect_timeout.as_millis()).unwrap_or(u64::MAX);
        checked.range("redis.connect_timeout_ms", connect, 10..=60_000, "milliseconds");
        let timeout = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        checked.range("redis.timeout_ms", timeout, 100..=60_000, "milliseconds");
        checked.range("redis.keep_s", self.keep.as_secs(), 0..=30 * 86_400, "seconds");
        checked.range("redis.repeat_s", self.repeat.as_secs(), 0..=300, "seconds");
        checked.range("redis.entries_max", self.entries_max, 100..=100_000_000, "entries");
    }
}

impl KafkaSettings {
    fn check(&self, checked: &mut Checked<'_>) {
        if !cfg!(feature = "kafka") {
            let remedy = "build with `cargo build --release --features kafka`, or ship to redis";
            checked.wrong("kafka", shown(&self.brokers), "needs a build with Kafka", remedy);
        }
        if self.brokers.is_empty() {
            let remedy = "list some of the cluster, such as \"10.0.0.5:9092\"";
            checked.wrong("kafka.brokers", String::from("[]"), "names no broker", remedy);
        }
        for broker in &self.brokers {
            let place = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = place.and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) || broker.contains("://") || broker.contains(',') {
                let remedy = "write HOST:PORT, such as \"10.0.0.5:9092\"";
                checked.wrong(
                    "kafka.brokers",
                    broker.to_string(),
                    "is no address of a broker",
                    remedy,
                );
            }
        }
        for (field, topic) in
            [("kafka.facts_topic", &self.facts_topic), ("kafka.pings_topic", &self.pings_topic)]
        {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let fits = (1..=249).contains(&topic.len()) && topic.chars().all(fits);
            if !fits || matches!(topic.as_str(), "." | "..") {
                let remedy = "write 1 to 249 letters, digits, dots, dashes and underscores";
                checked.wrong(field, topic.to_string(), "is no name of a topic", remedy);
            }
        }
        if let Some(tls) = &self.tls {
            checked.pair("kafka.tls", tls.client_cert.as_ref(), tls.client_key.as_ref());
        }
        if let Some(sasl) = &self.sasl {
            if sasl.username.is_empty() {
                let remedy = "write the name the brokers know this server by";
                checked.wrong("kafka.sasl.username", String::new(), "is empty", remedy);
            }
            if sasl.password.reveal().is_empty() {
                let (value, remedy) = (String::new(), "write the password of that name");
                checked.wrong("kafka.sasl.password", value, "is empty", remedy);
            }
            if sasl.mechanism == SaslMechanism::Plain && self.tls.is_none() {
                let says = "would send the password in clear";
                let remedy = "add kafka.tls, or use SCRAM-SHA-512";
                let value = sasl.mechanism.name().to_owned();
                checked.wrong("kafka.sasl.mechanism", value, says, remedy);
            }
        }
        checked.range("kafka.partitions", self.partitions.into(), 1..=1_024, "partitions");
        let linger = u64::try_from(self.linger.as_millis()).unwrap_or(u64::MAX);
        checked.range("kafka.linger_ms", linger, 0..=1_000, "milliseconds");
        let delivery = self.delivery_timeout.as_secs();
        checked.range("kafka.delivery_timeout_s", delivery, 2..=900, "seconds");
        let messages = self.queue_messages_max.into();
        checked.range("kafka.queue_messages_max", messages, 1..=1_000_000, "messages");
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=40).contains(&text.len()) && text.chars().all(fits)
}

fn shown(texts: &[SmolStr]) -> String {
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path, value, problem.
    fn told(json: serde_json::Value) -> Vec<String> {
        let shippers: Vec<ShipperSettings> = serde_json::from_value(json).unwrap();
        let mut findings = Vec::new();
        check(&shippers, &mut findings);
        let shown = |it: Finding| format!("{} {}: {}", it.path, it.value, it.problem);
        findings.into_iter().map(shown).collect()
    }

    #[test]
    fn a_shipper_needs_a_name_a_place_and_a_word_about_callers() {
        let nothing = serde_json::json!({ "tell": "nothing" });
        let redis = |url: &str| serde_json::json!({ "urls": [url] });
        let (here, there) = (redis("redis://10.0.0.5"), redis("redis://10.0.0.6"));

        assert_eq!(told(serde_json::json!([])), [""; 0]);
        let well = serde_json::json!([
            { "id": "a", "callers": nothing, "redis": here },
            { "id": "b", "callers": { "tell": "hash", "key": "0123456789abcdef" }, "redis": there },
        ]);
        assert_eq!(told(well), [""; 0]);
        let wrong = serde_json::json!([
            { "id": "a b", "callers": nothing },
            { "id": "c", "callers": { "tell": "hash" }, "redis": here },
            { "id": "c", "callers": { "tell": "hash", "key": "short" }, "redis": here },
            { "id": "d", "callers": { "tell": "number", "key": "0123456789abcdef" }, "redis": there },
        ]);
        assert_eq!(
            told(wrong),
            [
                "shippers[0].id a b: is no name for a shipper",
                "shippers[0] a b: ships nowhere",
                "shippers[1].callers hash: lacks the key that hashes are made with",
                "shippers[2].id c: is listed twice",
                "shippers[2].callers.key 5 characters: is so short that it can be guessed",
                "shippers[2].redis.urls redis://10.0.0.5:6379: is shipped to by another shipper, \
                 under the same prefix",
                "shippers[3].callers.key 16 characters: has no effect without hashes",
            ]
        );
        let missing: Result<ShipperSettings, _> =
            serde_json::from_value(serde_json::json!({ "id": "a", "redis": here }));
        assert!(missing.unwrap_err().to_string().contains("missing field `callers`"));
    }

    #[test]
    fn all_that_is_wrong_with_streams_is_said_at_once() {
        let wrong = serde_json::json!([{
            "id": "a",
            "callers": { "tell": "nothing" },
            "redis": {
                "urls": ["redis://10.0.0.5", "rediss://10.0.0.6"],
                "username": "edge",
                "prefix": "a{b}",
                "extra_ca": "ca.pem",
                "client_key": "key.pem",
                "timeout_ms": 1,
                "keep_s": 9_999_999,
                "entries_max": 1,
            },
        }]);
        assert_eq!(
            told(wrong),
            [
                "shippers[0].redis.prefix a{b}: is no name for streams",
                "shippers[0].redis.username edge: has no password",
                "shippers[0].redis.urls rediss://10.0.0.6:6379: differs from the first in whether it \
                 has TLS",
                "shippers[0].redis.extra_ca ca.pem: has no effect without TLS",
                "shippers[0].redis.client_key key.pem: has no effect without TLS",
                "shippers[0].redis.client_key key.pem: has no certificate",
                "shippers[0].redis.timeout_ms 1: is out of range",
                "shippers[0].redis.keep_s 9999999: is out of range",
                "shippers[0].redis.entries_max 1: is out of range",
            ]
        );
    }

    #[test]
    fn all_that_is_wrong_with_kafka_is_said_at_once() {
        let kafka = |kafka: serde_json::Value| {
            let shipper =
                serde_json::json!({ "id": "a", "callers": { "tell": "nothing" }, "kafka": kafka });
            let mut told = told(serde_json::json!([shipper]));
            let without = "shippers[0].kafka 10.0.0.5:9092: needs a build with Kafka";
            let is_built_in = cfg!(feature = "kafka");
            assert_eq!(told.first().is_some_and(|it| it == without), !is_built_in, "{told:?}");
            told.retain(|it| it != without);
            told
        };
        let brokers = ["10.0.0.5:9092"];
        assert_eq!(kafka(serde_json::json!({ "brokers": brokers })), [""; 0]);
        let mechanism = "SCRAM-SHA-512";
        let sasl = serde_json::json!({ "mechanism": mechanism, "username": "a", "password": "b" });
        assert_eq!(kafka(serde_json::json!({ "brokers": brokers, "sasl": sasl })), [""; 0]);

        let wrong = serde_json::json!({
            "brokers": brokers,
            "facts_topic": "edge/facts",
            "pings_topic": "..",
            "partitions": 0,
            "delivery_timeout_s": 1,
            "tls": { "client_cert": "edge.pem" },
            "sasl": { "mechanism": "PLAIN", "username": "", "password": "" },
        });
        assert_eq!(
            kafka(wrong),
            [
                "shippers[0].kafka.facts_topic edge/facts: is no name of a topic",
                "shippers[0].kafka.pings_topic ..: is no name of a topic",
                "shippers[0].kafka.tls.client_cert edge.pem: has no key",
                "shippers[0].kafka.sasl.username : is empty",
                "shippers[0].kafka.sasl.password : is empty",
                "shippers[0].kafka.partitions 0: is out of range",
                "shippers[0].kafka.delivery_timeout_s 1: is out of range",
            ]
        );
        let plain = serde_json::json!({ "mechanism": "PLAIN", "username": "a", "password": "b" });
        assert_eq!(
            kafka(serde_json::json!({ "brokers": brokers, "sasl": plain })),
            ["shippers[0].kafka.sasl.mechanism PLAIN: would send the password in clear"]
        );
        for broker in ["kafka://10.0.0.5:9092", "10.0.0.5", ":9092", "10.0.0.5:0"] {
            let problems = told(serde_json::json!([{
                "id": "a", "callers": { "tell": "nothing" }, "kafka": { "brokers": [broker] },
            }]));
            let says = format!("shippers[0].kafka.brokers {broker}: is no address of a broker");
            assert!(problems.contains(&says), "{problems:?}");
        }
    }
}
