//! Where targets are: the hosts of their URIs as addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::sip::call::plan::Destination;
use crate::sip::dialog::transport_of;
use crate::sip::message::Uri;

/// Resolved once and swapped for a new one when a name has moved. Looked up on the call path, so
/// nothing here waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Names only; an address in a URI needs no look-up.
    by_name: BTreeMap<String, IpAddr>,
    /// All that are to be known.
    names: BTreeSet<String>,
    targets: BTreeSet<IpAddr>,
}

impl Addresses {
    /// `by_name` holds what could be resolved of `names`.
    pub fn new(
        snapshot: &RoutingSnapshot,
        names: BTreeSet<String>,
        by_name: BTreeMap<String, IpAddr>,
    ) -> Self {
        let literals = uris(snapshot).filter_map(|uri| Uri::parse(uri.as_bytes()).ok()?.host_ip());
        let targets = literals.chain(by_name.values().copied()).collect();
        Self { by_name, names, targets }
    }

    /// The last known addresses of these names.
    pub fn known(&self, names: &BTreeSet<String>) -> BTreeMap<String, IpAddr> {
        let known = |name: &String| Some((name.clone(), *self.by_name.get(name)?));
        names.iter().filter_map(known).collect()
    }

    pub fn is_target(&self, ip: IpAddr) -> bool {
        self.targets.contains(&ip.to_canonical())
    }

    /// The names that are to be known.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// The address of a host name that was asked for.
    pub fn of_name(&self, name: &str) -> Option<IpAddr> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// Where a Request-URI leads, but not who must be there; `None` if its name is not known.
    pub fn resolve(&self, uri: &str) -> Option<Destination> {
        let uri = Uri::parse(uri.as_bytes()).ok()?;
        let ip = match uri.host_ip() {
            Some(ip) => ip,
            None => *self.by_name.get(&name_of(&uri)?)?,
        };
        let transport = transport_of(&uri);
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        Some(Destination { transport, peer: SocketAddr::new(ip, port), tls: None })
    }
}

/// The host names of all targets.
pub fn names(snapshot: &RoutingSnapshot) -> BTreeSet<String> {
    uris(snapshot)
        .filter_map(|uri| {
            let uri = Uri::parse(uri.as_bytes()).ok()?;
            if uri.host_ip().is_some() { None } else { name_of(&uri) }
        })
        .collect()
}

/// A URI of every target; which number is dialled does not change its host.
fn uris(snapshot: &RoutingSnapshot) -> impl Iterator<Item = String> {
    let any = PhoneNumber::from_digits(18_005_550_100);
    snapshot.targets().iter().filter_map(move |target| Some(target.dial.uri(any?)))
}

/// Asks the system's resolver. What it does not know is missing from the result.
pub async fn look_up(names: &BTreeSet<String>) -> BTreeMap<String, IpAddr> {
    let mut found = BTreeMap::new();
    for name in names {
        match tokio::net::lookup_host((name.as_str(), 5060)).await {
            Ok(mut addresses) => {
                found.extend(addresses.next().map(|address| (name.clone(), address.ip())));
            }
            Err(error) => tracing::warn!(%name, %error, "a target's name could not be resolved"),
        }
    }
    found
}

fn name_of(uri: &Uri<'_>) -> Option<String> {
    std::str::from_utf8(uri.host()).ok().map(str::to_ascii_lowercase)
}
