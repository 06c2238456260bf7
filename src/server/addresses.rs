//! Where targets are: the hosts of their URIs as addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::sip::call::plan::Destination;
use crate::sip::dialog::transport_of;
use crate::sip::locate::directory::Located;
use crate::sip::locate::{Location, Service};
use crate::sip::message::Uri;
use crate::sip::trunk::Trunks;

use super::dialing::Dialing;

/// What is known of all names that matter. Swapped for another one when a name has moved; looked up
/// on the call path, so nothing here waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    located: Located,
    /// Of targets and of whoever else we call.
    ips: BTreeSet<IpAddr>,
}

/// What of a configuration leads somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub services: BTreeSet<Service>,
    /// Addresses in URIs of targets; they need no look-up.
    pub literals: BTreeSet<IpAddr>,
}

/// Where a URI leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// To the address it names.
    Here(Destination),
    /// To what its name stands for; at least one.
    There(&'a Arc<[Location]>),
}

impl Wanted {
    /// Hosts of targets, of what targets may send their calls on to, and of registrars.
    pub fn of(snapshot: &RoutingSnapshot, dialing: &Dialing, trunks: &Trunks) -> Self {
        let mut wanted = Self::default();
        for uri in uris(snapshot) {
            let Ok(uri) = Uri::parse(uri.as_bytes()) else { continue };
            wanted.services.extend(Service::of(&uri));
            wanted.literals.extend(uri.host_ip());
        }
        wanted.services.extend(dialing.host_names().iter().map(|name| Service::host(name)));
        let registers = trunks.iter().filter_map(|(_, trunk)| trunk.register.as_ref());
        let servers = registers.flat_map(|register| &register.servers);
        wanted
            .services
            .extend(servers.filter_map(|server| Service::of(&Uri::parse(server.as_bytes()).ok()?)));
        wanted
    }
}

impl Addresses {
    pub fn new(literals: &BTreeSet<IpAddr>, located: Located) -> Self {
        let known = located.values().flat_map(|it| it.iter()).map(|it| it.peer.ip());
        let ips = literals.iter().copied().chain(known).collect();
        Self { located, ips }
    }

    pub fn is_target(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip.to_canonical())
    }

    /// An address of a host name that was asked for.
    pub fn of_name(&self, name: &str) -> Option<IpAddr> {
        Some(self.located.get(&Service::host(name))?.first()?.peer.ip())
    }

    /// Where a Request-URI leads; `None` if its name is not known.
    pub fn find(&self, uri: &str) -> Option<Place<'_>> {
        let uri = Uri::parse(uri.as_bytes()).ok()?;
        let Some(ip) = uri.host_ip() else {
            return self.located.get(&Service::of(&uri)?).map(Place::There);
        };
        let transport = transport_of(&uri);
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        let peer = SocketAddr::new(ip, port);
        Some(Place::Here(Destination { transport, peer, tls: None, tcp_port: None }))
    }

    /// The first of all places a URI leads to, but not who must be there.
    pub fn resolve(&self, uri: &str) -> Option<Destination> {
        match self.find(uri)? {
            Place::Here(destination) => Some(destination),
            Place::There(locations) => locations.first().map(destination),
        }
    }
}

/// A location as a place to send to, but not who must be there.
pub(super) fn destination(location: &Location) -> Destination {
    let Location { transport, peer, tcp_port, .. } = *location;
    Destination { transport, peer, tls: None, tcp_port }
}

/// A URI of every way to every target; which number is dialled does not change its host.
fn uris(snapshot: &RoutingSnapshot) -> impl Iterator<Item = String> {
    let any = PhoneNumber::from_digits(18_005_550_100);
    let dials = snapshot.targets().iter().flat_map(|target| &target.dials);
    dials.filter_map(move |dial| Some(dial.template.uri(any?)))
}
