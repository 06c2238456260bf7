//! `[redis]`: where several servers keep the holds and sessions they share (spec/data §1.7, §3.4).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::check::Ranges;
use super::fault::Finding;
use super::secret::Secret;
use super::settings::{milliseconds, seconds};

/// `[redis]`: the store that servers share caps and concurrency through. Without `urls` there is none,
/// and every server has its limits to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// Servers that are asked for the one that has our keys, such as `redis://10.0.0.5:6379`, or with
    /// TLS `rediss://10.0.0.5:6379`; of a cluster some of its nodes. Default: none.
    pub urls: Vec<RedisUrl>,
    /// Of an ACL. Default: that of Redis.
    pub username: Option<String>,
    /// Default: none.
    pub password: Option<Secret>,
    /// A name that the certificates of all servers have. Default: each has the host it is asked at.
    pub tls_name: Option<SmolStr>,
    /// PEM file of authorities that vouch for the servers, besides those of the system. Default: none.
    pub extra_ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to the servers, with its chain. Default: none.
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
    /// How long a call waits for a hold, milliseconds. Default 15.
    #[serde(rename = "call_timeout_ms", with = "milliseconds")]
    pub call_timeout: Duration,
    /// The same for what no call waits for, milliseconds. Default 100.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// Opening a connection, milliseconds. Default 250.
    #[serde(rename = "connect_timeout_ms", with = "milliseconds")]
    pub connect_timeout: Duration,
    /// How long a hold on money waits for a replica to have it, milliseconds; where there is one.
    /// Default 20.
    #[serde(rename = "replica_timeout_ms", with = "milliseconds")]
    pub replica_timeout: Duration,
    /// How long a server that is gone keeps its places among live calls, seconds; what its calls hold of caps
    /// is kept for `sip.max_call_s` longer. Holds are renewed four times as often. Default 90.
    #[serde(rename = "lease_s", with = "seconds")]
    pub lease: Duration,
    /// An answer about a hold that takes longer is slow, milliseconds. Where more than one in a hundred within
    /// a second is slow or not there in time, and three at least, calls do without the store. Default 50.
    #[serde(rename = "slow_ms", with = "milliseconds")]
    pub slow: Duration,
    /// How long numbers that are set apart for a server, which lends them while the store is away, are nobody
    /// else's after it was last heard of, seconds; no less than the lease. Default 600.
    #[serde(rename = "apart_for_s", with = "seconds")]
    pub apart_for: Duration,
    /// How long the servers have to tell a store that was emptied what they know, milliseconds,
    /// before caps count on it again. Default 2000.
    #[serde(rename = "open_after_ms", with = "milliseconds")]
    pub open_after: Duration,
    /// Whether sessions and the numbers of pools are shared as well: a ping at one server is known to
    /// calls at all of them. Else each server has its own, and pools of its own. Default true.
    pub sessions: bool,
    /// Sessions, numbers and lists of callers' sessions that were read there and are kept until they change.
    /// Default 20000.
    pub cache_max: u32,
}

/// How often a call asks for room: again when an answer was late, the server has changed, or room of our
/// own was in the way.
pub const QUESTIONS_MAX: u32 = 3;
/// What an answer needs besides to get to its call.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// Where a server of the store listens: `redis://HOST:PORT`, or `rediss://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            username: None,
            password: None,
            tls_name: None,
            extra_ca: None,
            client_cert: None,
            client_key: None,
            call_timeout: Duration::from_millis(15),
            slow: Duration::from_millis(50),
            timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_millis(250),
            replica_timeout: Duration::from_millis(20),
            lease: Duration::from_secs(90),
            apart_for: Duration::from_secs(600),
            open_after: Duration::from_secs(2),
            sessions: true,
            cache_max: 20_000,
        }
    }
}

impl RedisSettings {
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        let mut ranges = Ranges(findings);
        ranges.check_ms("redis.call_timeout_ms", self.call_timeout, 1..=2_000);
        ranges.check_ms("redis.slow_ms", self.slow, 1..=2_000);
        ranges.check_ms("redis.timeout_ms", self.timeout, 5..=10_000);
        ranges.check_ms("redis.connect_timeout_ms", self.connect_timeout, 10..=10_000);
        ranges.check_ms("redis.replica_timeout_ms", self.replica_timeout, 1..=2_000);
        ranges.check_s("redis.lease_s", self.lease, 4..=600);
        let lease = self.lease.as_secs().max(4);
        ranges.check_s("redis.apart_for_s", self.apart_for, lease..=86_400);
        ranges.check_ms("redis.open_after_ms", self.open_after, 100..=60_000);
        ranges.check("redis.cache_max", self.cache_max.into(), 0..=1_000_000, "answers");
        if self.username.is_some() && self.password.is_none() {
            findings.push(Finding {
                path: String::from("redis.username"),
                value: self.username.clone().unwrap_or_default(),
                problem: String::from("has no password"),
                remedy: String::from("add redis.password, or leave the name out"),
            });
        }
        self.check_tls(findings);
    }

    /// How long a call waits at most for what the store says of its room.
    pub fn answers_within(&self) -> Duration {
        QUESTIONS_MAX * (self.call_timeout + self.replica_timeout + self.timeout) + ON_THE_WAY
    }

    /// How long a call waits at most for the store to say which session its address names, and what else is
    /// known of it: it has nothing else to go by.
    pub fn names_within(&self) -> Duration {
        QUESTIONS_MAX * self.call_timeout + ON_THE_WAY
    }

    /// A call that waits for the store is decided in time, whatever the store does.
    pub(super) fn check_beside(&self, decision: Duration, findings: &mut Vec<Finding>) {
        // Its sessions are looked for first.
        let sessions = if self.sessions { self.names_within() } else { Duration::ZERO };
        let within = self.answers_within() + sessions;
        if !self.urls.is_empty() && within >= decision {
            findings.push(Finding {
                path: String::from("redis.call_timeout_ms"),
                value: self.call_timeout.as_millis().to_string(),
                problem: format!(
                    "with replica_timeout_ms and timeout_ms a call may wait for the store for {} ms, and \
                     decision.deadline_ms is {}",
                    within.as_millis(),
                    decision.as_millis()
                ),
                remedy: String::from("lower one of the three, or raise decision.deadline_ms"),
            });
        }
    }

    /// Whether the servers are spoken to with TLS.
    pub fn is_tls(&self) -> bool {
        self.urls.first().is_some_and(|url| url.tls)
    }

    fn check_tls(&self, findings: &mut Vec<Finding>) {
        let mut wrong = |field: &str, value: String, problem: &str, remedy: &str| {
            let (problem, remedy) = (problem.to_owned(), remedy.to_owned());
            findings.push(Finding { path: format!("redis.{field}"), value, problem, remedy });
        };
        if let Some(place) = self.urls.iter().position(|url| url.tls != self.is_tls()) {
            wrong(
                &format!("urls[{place}]"),
                self.urls[place].to_string(),
                "differs from the first in whether it has TLS",
                "write rediss:// for all, or for none",
            );
        }
        let shown = |file: &Option<PathBuf>| file.as_ref().map(|it| it.display().to_string());
        let of_tls = [
            ("tls_name", self.tls_name.as_ref().map(SmolStr::to_string)),
            ("extra_ca", shown(&self.extra_ca)),
            ("client_cert", shown(&self.client_cert)),
            ("client_key", shown(&self.client_key)),
        ];
        for (field, value) in of_tls.into_iter().filter(|_| !self.is_tls()) {
            if let Some(value) = value {
                let remedy = "write rediss:// in redis.urls, or leave it out";
                wrong(field, value, "has no effect without TLS", remedy);
            }
        }
        match (shown(&self.client_cert), shown(&self.client_key)) {
            (Some(value), None) => {
                wrong("client_cert", value, "has no key", "add redis.client_key");
            }
            (None, Some(value)) => {
                wrong("client_key", value, "has no certificate", "add redis.client_cert");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let says = |what: &str| {
            format!("\"{text}\" {what}; write redis://HOST:PORT or rediss://HOST:PORT")
        };
        let with_tls = text.strip_prefix("rediss://");
        let tls = with_tls.is_some();
        let place = with_tls.or_else(|| text.strip_prefix("redis://"));
        let place = place.ok_or_else(|| says("is no address of Redis"))?;
        if place.contains('@') {
            return Err(says("holds a password, which belongs in redis.password"));
        }
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains('/') {
            return Err(says("names a database, of which a cluster has one"));
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port),
            _ => (place, "6379"),
        };
        let host = host.trim_matches(['[', ']']);
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| says("has no port"))?;
        if host.is_empty() {
            return Err(says("names no host"));
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let read = |text: &str| text.parse::<RedisUrl>().map(|it| (it.host, it.port, it.tls));
        assert_eq!(read("redis://10.0.0.5:7000"), Ok(("10.0.0.5".into(), 7000, false)));
        assert_eq!(read("redis://store.example/"), Ok(("store.example".into(), 6379, false)));
        assert_eq!(read("rediss://[::1]:7000"), Ok(("::1".into(), 7000, true)));
        let url: RedisUrl = "rediss://[::1]:7000/".parse().unwrap();
        assert_eq!(url.to_string(), "rediss://[::1]:7000");
        for (wrong, says) in [
            ("10.0.0.5:7000", "is no address of Redis"),
            ("redis://u:p@10.0.0.5", "redis.password"),
            ("redis://10.0.0.5:7000/2", "names a database"),
            ("redis://10.0.0.5:port", "has no port"),
            ("redis://:7000", "names no host"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let settings = RedisSettings {
            username: Some("edge".into()),
            lease: Duration::from_secs(1),
            ..RedisSettings::default()
        };
        let mut findings = Vec::new();
        settings.check(&mut findings);
        let paths: Vec<_> = findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["redis.lease_s", "redis.username"]);

        let urls = ["redis://10.0.0.5", "rediss://10.0.0.6"];
        let settings = RedisSettings {
            urls: urls.map(|url| url.parse().unwrap()).into(),
            extra_ca: Some("ca.pem".into()),
            client_key: Some("key.pem".into()),
            ..RedisSettings::default()
        };
        let mut findings = Vec::new();
        settings.check(&mut findings);
        let told = findings.iter().map(|it| format!("{} {}", it.path, it.problem));
        let expected = [
            "redis.urls[1] differs from the first in whether it has TLS",
            "redis.extra_ca has no effect without TLS",
            "redis.client_key has no effect without TLS",
            "redis.client_key has no certificate",
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
