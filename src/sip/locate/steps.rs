//! The steps of RFC 3263 §4: which transport, which port, which addresses.
//!
//! Written as one walk over what is known so far: it asks for what it needs, and is made again when
//! an answer has come. TLS is only spoken where the URI asks for it, because somebody has to say
//! whom to trust; so of a `sip:` URI without a transport UDP and TCP are what DNS may choose from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use smol_str::{SmolStr, format_smolstr};

use crate::sip::flow::Transport;

use super::records::{Kind, Naptr, Question, Records, Srv, lower};
use super::service::Service;

/// One place where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub transport: Transport,
    pub peer: SocketAddr,
    /// Tried before all of a higher one.
    pub rank: u16,
    /// Locations of one rank and entry are addresses of one host: they share its weight.
    pub entry: u16,
    pub weight: u16,
    /// Where the same host takes TCP, if it is called over UDP and DNS says so (RFC 3261 §18.1.1).
    pub tcp_port: Option<u16>,
}

/// What we can send: pairs of transport and whether it is IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speaks(Vec<(Transport, bool)>);

/// Most locations of one service.
const LOCATIONS_MAX: usize = 64;

impl Speaks {
    /// Of each listener its transport and address.
    pub fn new(listeners: impl IntoIterator<Item = (Transport, SocketAddr)>) -> Self {
        Self(listeners.into_iter().map(|(transport, local)| (transport, local.is_ipv4())).collect())
    }

    fn transport(&self, transport: Transport) -> bool {
        self.0.iter().any(|(spoken, _)| *spoken == transport)
    }

    fn family(&self, transport: Transport, is_v4: bool) -> bool {
        self.0.contains(&(transport, is_v4))
    }

    /// Addresses in the order in which families are tried: IPv4 is what SIP is best tested over.
    fn kinds(&self, transport: Transport) -> impl Iterator<Item = Kind> {
        [(Kind::A, true), (Kind::Aaaa, false)]
            .into_iter()
            .filter(move |(_, is_v4)| self.family(transport, *is_v4))
            .map(|(kind, _)| kind)
    }
}

/// What became of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// In no order of preference but by rank.
    pub locations: Vec<Location>,
    /// Something was asked that nobody has answered yet.
    pub pending: bool,
}

/// Walks from a service to its locations. `known` gives what is known: `None` until the question
/// has been answered for the first time.
pub fn walk<'a>(
    service: &Service,
    speaks: &Speaks,
    known: impl FnMut(&Question) -> Option<&'a Records>,
) -> Walk {
    let mut walker = Walker { speaks, known, walk: Walk::default() };
    walker.locate(service);
    walker.walk.locations.truncate(LOCATIONS_MAX);
    walker.walk
}

struct Walker<'s, F> {
    speaks: &'s Speaks,
    known: F,
    walk: Walk,
}

/// A transport and the name of its SRV records.
type Way = (Transport, SmolStr);

impl<'a, F: FnMut(&Question) -> Option<&'a Records>> Walker<'_, F> {
    fn locate(&mut self, service: &Service) {
        let usual = match service.transport {
            Some(transport) => transport,
            None if service.secure => Transport::Tls,
            None => Transport::Udp,
        };
        if let Some(port) = service.port {
            // §4.2: with a port there is nothing that SRV records could say.
            self.host(&service.host, usual, port);
            return;
        }
        let ways = match service.transport {
            Some(transport) => vec![(transport, srv_name(transport, &service.host))],
            None => match self.ways(service) {
                Some(ways) => ways,
                None => return,
            },
        };
        if !self.services(&ways) && !self.walk.pending {
            self.host(&service.host, usual, usual.default_port());
        }
    }

    /// The transports that the name has to offer and we speak, the preferred first. `None`: that
    /// is not known yet.
    fn ways(&mut self, service: &Service) -> Option<Vec<Way>> {
        let naptr = self.ask(&service.host, Kind::Naptr)?;
        let Records::Naptr(naptr) = naptr else { return Some(Vec::new()) };
        let offered = self.offered(naptr, service.secure);
        if !offered.is_empty() {
            return Some(offered);
        }
        let usual: &[Transport] =
            if service.secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] };
        let spoken = usual.iter().filter(|transport| self.speaks.transport(**transport));
        Some(spoken.map(|transport| (*transport, srv_name(*transport, &service.host))).collect())
    }

    fn offered(&self, naptr: &[Naptr], secure: bool) -> Vec<Way> {
        let mut offered: Vec<_> = naptr
            .iter()
            .filter(|record| record.flags.eq_ignore_ascii_case("s"))
            .filter_map(|record| Some((record, transport_of(&record.services)?)))
            .filter(|(_, transport)| (*transport == Transport::Tls) == secure)
            .filter(|(_, transport)| self.speaks.transport(*transport))
            .collect();
        offered.sort_by_key(|(record, _)| (record.order, record.preference));
        offered
            .into_iter()
            .map(|(record, transport)| (transport, lower(&record.replacement)))
            .collect()
    }

    /// The locations of the first way that has any; `false` if none has SRV records.
    fn services(&mut self, ways: &[Way]) -> bool {
        for (transport, name) in ways {
            let Some(Records::Srv(records)) = self.ask(name, Kind::Srv) else { continue };
            // While a better one may still turn up there is nothing to say.
            if self.walk.pending {
                continue;
            }
            let Some(records) = present(records) else { return true };
            if records.is_empty() {
                continue;
            }
            let tcp =
                if *transport == Transport::Udp { self.over_tcp(ways) } else { BTreeMap::new() };
            self.srv(*transport, &records, &tcp);
            return true;
        }
        false
    }

    fn srv(&mut self, transport: Transport, records: &[Srv], tcp: &BTreeMap<IpAddr, u16>) {
        let mut ranks: Vec<u16> = records.iter().map(|record| record.priority).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for (entry, record) in records.iter().enumerate() {
            let rank = ranks.binary_search(&record.priority).unwrap_or_default();
            for ip in self.addresses(&record.target, transport) {
                self.walk.locations.push(Location {
                    transport,
                    peer: SocketAddr::new(ip, record.port),
                    rank: narrow(rank),
                    entry: narrow(entry),
                    weight: record.weight,
                    tcp_port: tcp.get(&ip).copied(),
                });
            }
        }
        self.walk.locations.sort_by_key(|location| (location.rank, location.entry));
    }

    /// The addresses that take TCP, with their ports.
    fn over_tcp(&mut self, ways: &[Way]) -> BTreeMap<IpAddr, u16> {
        let mut found = BTreeMap::new();
        let tcp = ways.iter().find(|(transport, _)| *transport == Transport::Tcp);
        let Some((transport, name)) = tcp else { return found };
        let Some(Records::Srv(records)) = self.ask(name, Kind::Srv) else { return found };
        for record in present(records).unwrap_or_default() {
            for ip in self.addresses(&record.target, *transport) {
                found.insert(ip, record.port);
            }
        }
        found
    }

    /// A host without SRV records: its addresses are as good as each other.
    fn host(&mut self, name: &str, transport: Transport, port: u16) {
        let addresses = self.addresses(name, transport);
        let locations = addresses.into_iter().map(|ip| Location {
            transport,
            peer: SocketAddr::new(ip, port),
            rank: 0,
            entry: 0,
            weight: 0,
            tcp_port: None,
        });
        self.walk.locations.extend(locations);
    }

    /// The addresses of a host that we can send to, IPv4 first.
    fn addresses(&mut self, name: &str, transport: Transport) -> Vec<IpAddr> {
        let kinds: Vec<Kind> = self.speaks.kinds(transport).collect();
        let mut found = Vec::new();
        for kind in kinds {
            if let Some(Records::Addresses(addresses)) = self.ask(name, kind) {
                found.extend(addresses);
            }
        }
        found
    }

    fn ask(&mut self, name: &str, kind: Kind) -> Option<&'a Records> {
        let known = (self.known)(&Question::new(name, kind));
        self.walk.pending |= known.is_none();
        known
    }
}

/// The records that name a host. `None` if the only one says that there is no such service
/// (RFC 2782, Target `.`).
fn present(records: &[Srv]) -> Option<Vec<Srv>> {
    let is_absent = |record: &&Srv| record.target.is_empty() || record.target == ".";
    if records.len() == 1 && records.iter().any(|record| is_absent(&record)) {
        return None;
    }
    Some(records.iter().filter(|record| !is_absent(record)).cloned().collect())
}

fn srv_name(transport: Transport, host: &str) -> SmolStr {
    match transport {
        Transport::Udp => format_smolstr!("_sip._udp.{host}"),
        Transport::Tcp => format_smolstr!("_sip._tcp.{host}"),
        Transport::Tls => format_smolstr!("_sips._tcp.{host}"),
    }
}

/// The transport of a service field (RFC 3263 §4.1).
fn transport_of(services: &str) -> Option<Transport> {
    let is = |name| services.eq_ignore_ascii_case(name);
    if is("SIP+D2U") {
        Some(Transport::Udp)
    } else if is("SIP+D2T") {
        Some(Transport::Tcp)
    } else if is("SIPS+D2T") {
        Some(Transport::Tls)
    } else {
        None
    }
}

fn narrow(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Zone, zone};
    use super::*;
    use crate::sip::message::Uri;

    #[test]
    fn naptr_chooses_the_transport_and_names_its_srv_records() {
        let zone = zone(
            "
            b.example naptr 100 50 s SIP+D2U _u.b.example
            b.example naptr 90 50 s SIP+D2T _t.b.example
            b.example naptr 50 50 s SIPS+D2T _s.b.example
            _t.b.example srv 0 0 5070 h.example
            h.example a 192.0.2.1",
        );

        // TLS is left to those who ask for it.
        assert_eq!(located(&zone, "sip:b.example"), ["tcp:192.0.2.1:5070 rank 0 weight 0"]);
    }

    #[test]
    fn of_one_order_the_preference_decides_and_one_without_srv_records_is_passed_over() {
        let zone = zone(
            "
            b.example naptr 10 20 s SIP+D2T _t.b.example
            b.example naptr 10 10 s SIP+D2U _u.b.example
            _t.b.example srv 0 0 5070 h.example
            h.example a 192.0.2.1",
        );

        assert_eq!(located(&zone, "sip:b.example"), ["tcp:192.0.2.1:5070 rank 0 weight 0"]);
    }

    #[test]
    fn without_naptr_the_srv_records_of_each_transport_are_tried_udp_first() {
        let zone = zone(
            "
            _sip._udp.b.example srv 10 60 5062 one.example
            _sip._udp.b.example srv 10 40 5063 two.example
            _sip._udp.b.example srv 20 0 5064 three.example
            _sip._tcp.b.example srv 0 0 5065 two.example
            one.example a 192.0.2.1
            two.example a 192.0.2.2
            two.example aaaa 2001:db8::2
            three.example a 192.0.2.3",
        );

        assert_eq!(
            located(&zone, "sip:b.example"),
            [
                "udp:192.0.2.2:5063 rank 0 weight 40 tcp 5065",
                "udp:[2001:db8::2]:5063 rank 0 weight 40 tcp 5065",
                "udp:192.0.2.1:5062 rank 0 weight 60",
                "udp:192.0.2.3:5064 rank 1 weight 0",
            ]
        );
    }

    #[test]
    fn a_transport_that_was_asked_for_has_srv_records_of_its_own() {
        let zone = zone(
            "
            _sip._tcp.b.example srv 0 0 5065 one.example
            _sips._tcp.b.example srv 0 0 5067 one.example
            one.example a 192.0.2.1",
        );

        assert_eq!(
            located(&zone, "sip:b.example;transport=tcp"),
            ["tcp:192.0.2.1:5065 rank 0 weight 0"]
        );
        for tls in ["sip:b.example;transport=tls", "sips:b.example"] {
            assert_eq!(located(&zone, tls), ["tls:192.0.2.1:5067 rank 0 weight 0"], "{tls}");
        }
    }

    #[test]
    fn a_port_leaves_nothing_to_srv_records() {
        let zone = zone(
            "
            _sip._udp.b.example srv 0 0 5099 one.example
            b.example a 192.0.2.1
            one.example a 192.0.2.9",
        );

        assert_eq!(located(&zone, "sip:b.example:5080"), ["udp:192.0.2.1:5080 rank 0 weight 0"]);
        assert_eq!(located(&zone, "sips:b.example:5081"), ["tls:192.0.2.1:5081 rank 0 weight 0"]);
    }

    #[test]
    fn a_name_without_srv_records_is_a_host_at_the_usual_port() {
        let zone =
            zone("b.example a 192.0.2.1\n b.example a 192.0.2.2\n b.example aaaa 2001:db8::1");

        assert_eq!(
            located(&zone, "sip:b.example"),
            [
                "udp:192.0.2.1:5060 rank 0 weight 0",
                "udp:192.0.2.2:5060 rank 0 weight 0",
                "udp:[2001:db8::1]:5060 rank 0 weight 0",
            ]
        );
        assert_eq!(located(&zone, "sips:b.example")[0], "tls:192.0.2.1:5061 rank 0 weight 0");
    }

    #[test]
    fn a_service_that_is_decidedly_not_there_is_not_looked_for_at_the_host() {
        let zone = zone("_sip._udp.b.example srv 0 0 0 .\n b.example a 192.0.2.1");

        assert_eq!(located(&zone, "sip:b.example"), Vec::<String>::new());
    }

    #[test]
    fn a_record_of_another_application_is_not_followed() {
        let zone = zone(
            "
            b.example naptr 10 10 u E2U+sip _x.b.example
            b.example naptr 10 10 s SIP+D2S _c.b.example
            _c.b.example srv 0 0 5070 h.example
            h.example a 192.0.2.7
            b.example a 192.0.2.1",
        );

        assert_eq!(located(&zone, "sip:b.example"), ["udp:192.0.2.1:5060 rank 0 weight 0"]);
    }

    #[test]
    fn what_we_do_not_speak_is_neither_asked_for_nor_chosen() {
        let zone = zone(
            "
            b.example naptr 10 10 s SIP+D2T _t.b.example
            b.example naptr 20 10 s SIP+D2U _u.b.example
            _u.b.example srv 0 0 5062 h.example
            h.example a 192.0.2.1
            h.example aaaa 2001:db8::1",
        );
        let speaks = Speaks::new([(Transport::Udp, SocketAddr::from(([192, 0, 2, 9], 5060)))]);

        let (found, asked) = zone.walk("sip:b.example", &speaks);

        assert_eq!(found, ["udp:192.0.2.1:5062 rank 0 weight 0"]);
        assert!(!asked.iter().any(|question| question.kind == Kind::Aaaa), "{asked:?}");
    }

    #[test]
    fn nothing_is_said_before_the_preferred_way_is_known() {
        let zone = zone(
            "
            _sip._udp.b.example unknown
            _sip._tcp.b.example srv 0 0 5065 one.example
            one.example a 192.0.2.1",
        );
        let service = Service::of(&Uri::parse(b"sip:b.example").unwrap()).unwrap();

        let walk = walk(&service, &Speaks::all(), |question| zone.known(question));

        assert_eq!(walk, Walk { locations: vec![], pending: true });
    }

    fn located(zone: &Zone, uri: &str) -> Vec<String> {
        zone.walk(uri, &Speaks::all()).0
    }
}
