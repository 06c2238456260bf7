//! Where a target is called: in one way, or in several of which the next is tried when one fails.

use std::fmt;
use std::path::PathBuf;
use std::slice;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use crate::id::TrunkId;

use super::built_in;

/// A table, or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DialsConfig {
    One(Box<DialConfig>),
    Several(Vec<DialConfig>),
}

impl DialsConfig {
    /// Each way and where it stands below its target, such as `dial` or `dial[1]`.
    pub fn iter(&self) -> impl Iterator<Item = (String, &DialConfig)> {
        let (all, is_list) = match self {
            Self::One(dial) => (slice::from_ref(&**dial), false),
            Self::Several(dials) => (&dials[..], true),
        };
        all.iter().enumerate().map(move |(position, dial)| {
            let path = if is_list { format!("dial[{position}]") } else { String::from("dial") };
            (path, dial)
        })
    }
}

impl<'de> Deserialize<'de> for DialsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = DialsConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DialsConfig, A::Error> {
                let dial = DialConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(DialsConfig::One(Box::new(dial)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<DialsConfig, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(DialsConfig::Several)
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// One way to a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialConfig {
    pub kind: DialKind,
    /// A SIP URI. `{number}` in the user part becomes the dialled number in E.164; a URI without a
    /// user part gets the dialled number as its user part.
    pub uri: String,
    /// The trunk whose carrier is called there: its `outbound` table, its `dialog` and its credentials
    /// hold for the call, where the target has none of its own. Absent: those of the target alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<TrunkId>,
    /// Ways of a lower one are tried first, 0 to 65,535. Absent: its place in the list, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Its share of the calls that are tried first in one of the ways of its priority, 0 to 1,000; 0:
    /// after the others.
    #[serde(default = "built_in::weight")]
    pub weight: u32,
    /// How the target proves who it is, if the URI leads over TLS.
    #[serde(default)]
    pub tls: PeerTlsConfig,
}

/// What a TLS connection to a target or a scorer takes. Its certificate always has to name the host
/// of the URI, unless `verify` is off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerTlsConfig {
    /// Whether chain and name are checked. Default: yes.
    pub verify: bool,
    /// PEM file of authorities besides those of the system.
    pub extra_ca: Option<PathBuf>,
    /// SHA-256 of public keys, hexadecimal, of which its certificate has to have one.
    pub pins: Vec<SmolStr>,
    /// PEM files of the chain we show and of its key; both or neither.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Default for PeerTlsConfig {
    fn default() -> Self {
        let (extra_ca, client_cert, client_key) = (None, None, None);
        Self { verify: true, extra_ca, pins: Vec::new(), client_cert, client_key }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialKind {
    Sip,
}
