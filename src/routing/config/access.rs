//! By which keys publishers and their pages send pings.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::SecretKey;

/// A key of a publisher: opens pings and sessions, its own alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherKeyConfig {
    /// Name of the key in logs; one of each in a publisher.
    pub id: SmolStr,
    /// At least 16 characters. This or `key_env`.
    #[serde(default)]
    pub key: Option<SecretKey>,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub key_env: Option<SmolStr>,
}

/// Which web pages may open sessions, and with which key. Whoever reads such a page reads the key:
/// it opens nothing but page views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserConfig {
    /// Public; 16 characters or more, so that it is nobody's else by accident.
    pub site_key: SmolStr,
    /// Such as `https://www.example.com`, as browsers write it in `Origin`.
    pub origins: Vec<SmolStr>,
}
