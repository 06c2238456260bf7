//! Who is asked about callers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use url::Url;

use crate::money::Money;

use super::PeerTlsConfig;

/// Whom sessions of the campaigns that name it are told to, and what its answers become. A question is
/// a POST of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnricherConfig {
    pub id: SmolStr,
    /// An `http:` or `https:` URL. Nobody is followed elsewhere.
    pub url: String,
    /// Of an `https:` URL: whom it takes for the enricher, and what it shows.
    #[serde(default)]
    pub tls: PeerTlsConfig,
    /// Whether it is told the caller's number. Otherwise it is told an HMAC-SHA-256 of it.
    #[serde(default)]
    pub send_caller: bool,
    /// The environment variable that holds the key of that hash, 16 characters or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<SmolStr>,
    /// The environment variable that holds what it is shown as `Authorization: Bearer`. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<SmolStr>,
    /// Tags of the session that it is told. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub send_tags: Vec<SmolStr>,
    /// Which tag is found where in its answer, as a JSON pointer (RFC 6901).
    pub tells: BTreeMap<SmolStr, SmolStr>,
    /// How long it may take, 10 to 10,000 ms. Default 500.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u32,
    /// Questions at the same time, 1 to 256. Default 16.
    #[serde(default = "concurrency")]
    pub concurrency: u32,
    /// For how long what it says of a caller holds, 0 (not at all) to 2,592,000 s. Default a day.
    #[serde(default = "cache_s")]
    pub cache_s: u32,
    /// Callers of whom that is known at most, 1 to 1,000,000. Default 100,000.
    #[serde(default = "cache_max")]
    pub cache_max: u32,
    /// What a question costs. Default nothing.
    #[serde(default)]
    pub cost: Money,
    /// Questions in a day of UTC, of this server. Absent: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u32>,
    /// What they may cost in a day of UTC. Absent: as much as they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_day: Option<Money>,
    /// After so many failures in a row it is not asked for a while, 1 to 1,000. Default 5.
    #[serde(default = "failures_max")]
    pub failures_max: u32,
    /// How long, 1 to 3,600 s. Default 30. Then one question tells whether it is well again.
    #[serde(default = "rest_s")]
    pub rest_s: u32,
}

impl EnricherConfig {
    /// Whether it is asked over TLS; `None`: `url` is no URL to ask at.
    pub fn speaks_tls(&self) -> Option<bool> {
        match Url::parse(&self.url).ok()?.scheme() {
            "http" => Some(false),
            "https" => Some(true),
            _ => None,
        }
    }
}

fn deadline_ms() -> u32 {
    500
}

fn concurrency() -> u32 {
    16
}

fn cache_s() -> u32 {
    86_400
}

fn cache_max() -> u32 {
    100_000
}

fn failures_max() -> u32 {
    5
}

fn rest_s() -> u32 {
    30
}
