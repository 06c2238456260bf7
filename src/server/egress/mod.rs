//! Whom the server asks over HTTP: nobody that `[egress]` does not let it (spec/data §5.4).
//!
//! Owns the rules, where a URL and an address are held to them, and the clients that ask. Does not own: who
//! is asked what.
//!
//! Invariants: a URL is judged when a configuration is compiled, and again when it is asked; whatever a name
//! leads to is judged each time it is looked up, and a connection is made to nothing else, so that a name
//! that leads elsewhere the second time leads nowhere; nobody is followed to another URL, and no proxy is
//! asked.
//!
//! ```text
//! url ──► judged ──► an address: judged ───────────────────────► connected to
//!                └─► a name ──► looked up ──► each address judged ──┘
//! ```

mod names;
mod networks;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use metrics::counter;
use rustls::ClientConfig;
use url::{Host, Url};

use crate::config::{Config, EgressSettings};
use crate::routing::RoutingConfig;

use super::error::StartError;
use super::http::http_builder;
use super::metrics::EGRESS_REFUSED;
use names::{LookUp, Names, System};
use networks::class_of;

/// `[egress]`, as URLs and addresses are held to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Egress {
    allows_http: bool,
    ports: BTreeSet<u16>,
    allowed: Vec<IpNet>,
    source: Option<IpAddr>,
}

/// Why somebody is not asked, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub(super) struct Refused {
    problem: String,
    remedy: String,
}

/// Asks those that may be asked. Clones share connections.
#[derive(Clone)]
pub(super) struct EgressClient {
    http: reqwest::Client,
    egress: Arc<Egress>,
}

/// Holds all URLs of the configuration to its `[egress]`.
///
/// # Errors
/// Each that may not be asked.
pub(super) fn check(config: &Config, routing: &RoutingConfig) -> Result<(), StartError> {
    let egress = Egress::new(&config.settings.egress);
    let refused = routing.urls().filter_map(|(field, url)| {
        // What is no URL at all has been said so.
        let read = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let Refused { problem, remedy } = egress.judge(&read).err()?;
        Some((field, shown(url, &read), problem, remedy))
    });
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() { Ok(()) } else { Err(config.faults(refused).into()) }
}

impl Egress {
    pub(super) fn new(settings: &EgressSettings) -> Self {
        Self {
            allows_http: settings.allow_http,
            ports: settings.ports.iter().copied().collect(),
            allowed: settings.allow_cidrs.iter().map(|network| network.0).collect(),
            source: settings.source_address,
        }
    }

    /// What asks so. Without `tls` it can only speak plain HTTP.
    pub(super) fn client(self: &Arc<Self>, tls: Option<ClientConfig>) -> EgressClient {
        self.client_by(tls, System)
    }

    fn client_by(self: &Arc<Self>, tls: Option<ClientConfig>, system: impl LookUp) -> EgressClient {
        let names = Names::new(Arc::clone(self), system);
        let builder = http_builder(tls).dns_resolver(Arc::new(names)).local_address(self.source);
        let http = builder.build();
        let http =
            http.expect("a client that is given how to speak TLS needs nothing of the machine");
        EgressClient { http, egress: Arc::clone(self) }
    }

    /// Whether this may be asked. Where a name leads is judged when it is looked up.
    fn judge(&self, url: &Url) -> Result<(), Refused> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused {
                problem: String::from("names a user or a password, which logs would show"),
                remedy: String::from("leave out what stands before the @"),
            });
        }
        if url.scheme() != "https" && !self.allows_http {
            return Err(Refused {
                problem: String::from("would be asked in clear text"),
                remedy: String::from("write https://, or set egress.allow_http = true"),
            });
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if !self.ports.contains(&port) {
            let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
            return Err(Refused {
                problem: format!("asks at port {port}, and egress.ports has {}", ports.join(", ")),
                remedy: format!("use one of them, or add {port}"),
            });
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.judge_address(address.into()),
            Some(Host::Ipv6(address)) => self.judge_address(address.into()),
            // Whatever a resolver says, it is this machine (RFC 6761).
            Some(Host::Domain(name)) if is_localhost(name) => {
                let here = self.judge_address(Ipv4Addr::LOCALHOST.into());
                here.or_else(|refused| {
                    self.judge_address(Ipv6Addr::LOCALHOST.into()).map_err(|_| refused)
                })
            }
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Refused {
                problem: String::from("names nobody"),
                remedy: String::from("write it as https://host/path"),
            }),
        }
    }

    fn judge_address(&self, address: IpAddr) -> Result<(), Refused> {
        let plain = address.to_canonical();
        let is_allowed = |it: &IpNet| it.contains(&plain) || it.contains(&address);
        if let Some(class) = class_of(address)
            && !self.allowed.iter().any(is_allowed)
        {
            counter!(EGRESS_REFUSED, "class" => class.name).increment(1);
            return Err(Refused {
                problem: format!("leads to {address}, which is not public: {class}"),
                remedy: format!(
                    "name another, or add \"{}\" to egress.allow_cidrs if it is meant",
                    IpNet::from(plain)
                ),
            });
        }
        match self.source.filter(|source| source.is_ipv4() != address.is_ipv4()) {
            None => Ok(()),
            Some(source) => Err(Refused {
                problem: format!("leads to {address}, which {source} cannot reach"),
                remedy: String::from("name an address of the family of egress.source_address"),
            }),
        }
    }
}

impl EgressClient {
    /// # Errors
    /// It may not be asked: the URL is of a configuration that was held to other rules.
    pub(super) fn post(&self, url: &str) -> Result<reqwest::RequestBuilder, Refused> {
        let url = Url::parse(url).map_err(|error| Refused {
            problem: format!("is no URL: {error}"),
            remedy: String::from("write it as https://host/path"),
        })?;
        self.egress.judge(&url)?;
        Ok(self.http.post(url))
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// As it was written, but for a password.
fn shown(written: &str, url: &Url) -> String {
    if url.username().is_empty() && url.password().is_none() {
        return written.to_owned();
    }
    let mut url = url.clone();
    // What has a host can have both.
    let _replaced = url.set_username("***").and_then(|()| url.set_password(None));
    url.to_string()
}
