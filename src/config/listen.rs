//! Where the process listens for SIP and what it tells peers about that.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// A `sip.listen` entry: `udp:127.0.0.1:5060`, `tcp:[::1]:5060`, `tls:127.0.0.1:5061`. Port 0 takes any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddress {
    pub transport: ListenTransport,
    pub address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenTransport {
    Udp,
    Tcp,
    Tls,
}

/// A `sip.advertise` value: a name or address with an optional port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// IPv6 in brackets.
    pub host: SmolStr,
    pub port: Option<u16>,
}

/// A listening address and what is written about it in Via and Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: ListenAddress,
    pub advertised: Advertised,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// IPv6 in brackets.
    pub host: SmolStr,
    /// 0 if the listener takes any free port.
    pub port: u16,
}

/// Why a text is no listening address or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    #[error(
        "is not TRANSPORT:ADDRESS:PORT, such as udp:127.0.0.1:5060, tcp:[::1]:5060 or tls:127.0.0.1:5061"
    )]
    Listen,
    #[error("is not HOST or HOST:PORT, such as sip.example.com, 192.0.2.7:5060 or [2001:db8::7]")]
    Host,
}

impl FromStr for ListenAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (transport, address) = text.split_once(':').ok_or(ParseAddressError::Listen)?;
        let transport = match transport {
            "udp" => ListenTransport::Udp,
            "tcp" => ListenTransport::Tcp,
            "tls" => ListenTransport::Tls,
            _ => return Err(ParseAddressError::Listen),
        };
        let address = address.parse().map_err(|_| ParseAddressError::Listen)?;
        Ok(Self { transport, address })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            ListenTransport::Udp => "udp",
            ListenTransport::Tcp => "tcp",
            ListenTransport::Tls => "tls",
        };
        write!(f, "{transport}:{}", self.address)
    }
}

impl FromStr for HostPort {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bracket = text.rfind(']').map_or(0, |position| position + 1);
        let colon = text[bracket..].find(':').map(|position| bracket + position);
        let (host, port) = match colon {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => return Err(ParseAddressError::Host),
        };
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let in_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
                !host.is_empty() && host.bytes().all(in_name)
            }
        };
        if !is_host {
            return Err(ParseAddressError::Host);
        }
        Ok(Self { host: SmolStr::new(host), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(ListenAddress);
as_text!(HostPort);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_survives_the_round_trip() {
        for text in ["udp:127.0.0.1:5060", "tcp:[::1]:5060", "tls:[::1]:5061", "udp:0.0.0.0:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.1:5060", "ws:127.0.0.1:5061", "udp:localhost:5060", "udp:::1"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ParseAddressError::Listen), "{text}");
        }
    }

    #[test]
    fn a_host_may_carry_a_port() {
        for text in ["sip.example.com", "192.0.2.7:5060", "[2001:db8::7]", "[2001:db8::7]:5070"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["", "a b", "host:0", "host:99999", "2001:db8::7", "[x]", "h\r\nRoute"] {
            assert_eq!(text.parse::<HostPort>(), Err(ParseAddressError::Host), "{text}");
        }
    }
}
