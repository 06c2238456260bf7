//! `[redis]`: where several servers keep the holds they share (spec/data §1.7, §3.4).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::check::Ranges;
use super::fault::Finding;
use super::secret::Secret;
use super::settings::{milliseconds, seconds};

/// Longest name of a tenant.
const TENANT_CHARS_MAX: usize = 40;

/// `[redis]`: the store that servers share caps and concurrency through. Without `urls` there is none,
/// and every server has its limits to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// Servers that are asked for the one that has our keys, such as `redis://10.0.0.5:6379`; of a
    /// cluster some of its nodes. Default: none.
    pub urls: Vec<RedisUrl>,
    /// Of an ACL. Default: that of Redis.
    pub username: Option<String>,
    /// Default: none.
    pub password: Option<Secret>,
    /// In the name of every key; servers with the same share limits. Default `default`.
    pub tenant: SmolStr,
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
    /// How long a server that is gone keeps what it held, seconds. Holds are renewed four times as
    /// often. Default 90.
    #[serde(rename = "lease_s", with = "seconds")]
    pub lease: Duration,
    /// How long the servers have to tell a store that was emptied what they know, milliseconds,
    /// before caps count on it again. Default 2000.
    #[serde(rename = "open_after_ms", with = "milliseconds")]
    pub open_after: Duration,
}

/// Where a server of the store listens: `redis://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    pub host: String,
    pub port: u16,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            username: None,
            password: None,
            tenant: SmolStr::new_static("default"),
            call_timeout: Duration::from_millis(15),
            timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_millis(250),
            replica_timeout: Duration::from_millis(20),
            lease: Duration::from_secs(90),
            open_after: Duration::from_secs(2),
        }
    }
}

impl RedisSettings {
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        let mut ranges = Ranges(findings);
        ranges.check_ms("redis.call_timeout_ms", self.call_timeout, 1..=2_000);
        ranges.check_ms("redis.timeout_ms", self.timeout, 5..=10_000);
        ranges.check_ms("redis.connect_timeout_ms", self.connect_timeout, 10..=10_000);
        ranges.check_ms("redis.replica_timeout_ms", self.replica_timeout, 1..=2_000);
        ranges.check_s("redis.lease_s", self.lease, 4..=600);
        ranges.check_ms("redis.open_after_ms", self.open_after, 0..=60_000);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let chars = self.tenant.chars().count();
        if !self.tenant.chars().all(is_name) || !(1..=TENANT_CHARS_MAX).contains(&chars) {
            findings.push(Finding {
                path: String::from("redis.tenant"),
                value: self.tenant.to_string(),
                problem: String::from("is no name for keys"),
                remedy: format!(
                    "use 1 to {TENANT_CHARS_MAX} letters, digits, dots, dashes and underscores"
                ),
            });
        }
        if self.username.is_some() && self.password.is_none() {
            findings.push(Finding {
                path: String::from("redis.username"),
                value: self.username.clone().unwrap_or_default(),
                problem: String::from("has no password"),
                remedy: String::from("add redis.password, or leave the name out"),
            });
        }
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let says = |what: &str| format!("\"{text}\" {what}; write redis://HOST:PORT");
        if text.starts_with("rediss://") {
            return Err(says("asks for TLS, which is not spoken with Redis"));
        }
        let place = text.strip_prefix("redis://").ok_or_else(|| says("is no address of Redis"))?;
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
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "redis://[{}]:{}", self.host, self.port),
            false => write!(f, "redis://{}:{}", self.host, self.port),
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
        let read = |text: &str| text.parse::<RedisUrl>().map(|url| (url.host, url.port));
        assert_eq!(read("redis://10.0.0.5:7000"), Ok(("10.0.0.5".into(), 7000)));
        assert_eq!(read("redis://store.example/"), Ok(("store.example".into(), 6379)));
        assert_eq!(read("redis://[::1]:7000"), Ok(("::1".into(), 7000)));
        for (wrong, says) in [
            ("10.0.0.5:7000", "is no address of Redis"),
            ("rediss://10.0.0.5", "TLS"),
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
            tenant: "a{b}".into(),
            username: Some("edge".into()),
            lease: Duration::from_secs(1),
            ..RedisSettings::default()
        };
        let mut findings = Vec::new();
        settings.check(&mut findings);
        let paths: Vec<_> = findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["redis.lease_s", "redis.tenant", "redis.username"]);
    }
}
