//! `[sip.dns]` and `[sip.health]`: where names lead, and what is thought of addresses that fail.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Ranges;
use super::settings::{milliseconds, seconds};

/// `[sip.dns]`: how names of targets are looked up (RFC 3263).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSettings {
    /// Resolvers that are asked. Default: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one question may take, milliseconds. Default 2000.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// How often a question is sent before it counts as not answered. Default 2.
    pub attempts: u8,
    /// Shortest and longest time an answer is used, whatever it says itself, seconds. Default 5 and
    /// 3600.
    #[serde(rename = "ttl_min_s", with = "seconds")]
    pub ttl_min: Duration,
    #[serde(rename = "ttl_max_s", with = "seconds")]
    pub ttl_max: Duration,
    /// The longest a name is taken not to exist, seconds. Default 60.
    #[serde(rename = "negative_ttl_max_s", with = "seconds")]
    pub negative_ttl_max: Duration,
    /// How long an answer stays in use beyond its time while no resolver gives another, seconds.
    /// Default 86400.
    #[serde(rename = "stale_max_s", with = "seconds")]
    pub stale_max: Duration,
    /// Most names and kinds of records that are remembered. Default 65536.
    pub questions_max: u32,
}

/// `[sip.health]`: how long an address that failed is tried after all others (spec/sip T17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// After the first failure, seconds; it doubles with each further one. Default 30.
    #[serde(rename = "penalty_s", with = "seconds")]
    pub penalty: Duration,
    /// At most, seconds. Default 300.
    #[serde(rename = "penalty_max_s", with = "seconds")]
    pub penalty_max: Duration,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_millis(2000),
            attempts: 2,
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(3600),
            negative_ttl_max: Duration::from_secs(60),
            stale_max: Duration::from_secs(86_400),
            questions_max: 65_536,
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { penalty: Duration::from_secs(30), penalty_max: Duration::from_secs(300) }
    }
}

impl DnsSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        ranges.check_ms("sip.dns.timeout_ms", self.timeout, 50..=30_000);
        ranges.check("sip.dns.attempts", u64::from(self.attempts), 1..=10, "times");
        ranges.check_s("sip.dns.ttl_min_s", self.ttl_min, 1..=3600);
        let most = self.ttl_min.as_secs().min(604_800)..=604_800;
        ranges.check_s("sip.dns.ttl_max_s", self.ttl_max, most);
        ranges.check_s("sip.dns.negative_ttl_max_s", self.negative_ttl_max, 1..=3600);
        ranges.check_s("sip.dns.stale_max_s", self.stale_max, 0..=604_800);
        let questions = u64::from(self.questions_max);
        ranges.check("sip.dns.questions_max", questions, 64..=1 << 22, "questions");
    }
}

impl HealthSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        ranges.check_s("sip.health.penalty_s", self.penalty, 1..=3600);
        let most = self.penalty.as_secs().min(86_400)..=86_400;
        ranges.check_s("sip.health.penalty_max_s", self.penalty_max, most);
    }
}
