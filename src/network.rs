//! Networks of addresses, as configurations and files of carriers write them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

/// A network, or one address: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.7`. No bits are set behind its
/// prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Network(pub IpNet);

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNetworkError {
    #[error("is no network such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7")]
    NotANetwork,
    #[error("has bits set behind its prefix; the network is {0}")]
    HostBits(IpNet),
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| ParseNetworkError::NotANetwork)?;
        if network == network.trunc() {
            Ok(Self(network))
        } else {
            Err(ParseNetworkError::HostBits(network.trunc()))
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
