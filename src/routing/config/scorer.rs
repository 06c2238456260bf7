//! Models that rank targets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use url::Url;

use super::{PeerTlsConfig, Ranking};

/// What says how well a call suits a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerConfig {
    pub id: SmolStr,
    pub kind: ScorerKind,
    /// Of a `logistic` or a `table`: where its weights or scores stand. A relative path starts at the
    /// working directory.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Of `http`: whom to POST to, an `http:` or `https:` URL.
    #[serde(default)]
    pub url: Option<String>,
    /// Of `http` with an `https:` URL: whom it takes for the scorer, and what it shows.
    #[serde(default)]
    pub tls: PeerTlsConfig,
    /// Of `http`: how long a call waits for the scores, 1 to 200 ms; default 20.
    #[serde(default)]
    pub deadline_ms: Option<u32>,
    /// Of `http`: the tags that it is told. Default: `geo.state` and `geo.npa`.
    #[serde(default)]
    pub features: Option<Vec<SmolStr>>,
}

impl ScorerConfig {
    /// Whether it is asked over TLS; `None`: `url` is no URL to ask at.
    pub fn speaks_tls(&self) -> Option<bool> {
        let url = Url::parse(self.url.as_deref()?).ok()?;
        match url.scheme() {
            "http" => Some(false),
            "https" => Some(true),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorerKind {
    Logistic,
    Table,
    Http,
}

/// A tier whose targets a scorer ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoredConfig {
    /// One of `scorers`.
    pub scorer: SmolStr,
    #[serde(default)]
    pub order: Ranking,
    /// What a score is multiplied with before targets are compared.
    #[serde(default)]
    pub times: ScoreTimes,
    /// What orders the tier when the scorer does not answer in time.
    #[serde(default)]
    pub otherwise: Otherwise,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreTimes {
    #[default]
    Nothing,
    Revenue,
    /// Revenue less payout.
    Margin,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    #[default]
    Smooth,
    Random,
}
