//! From a packet's source address to its trunk, before the packet is read (S1, C1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::TrunkIndex;
use crate::sip::flow::{ListenerId, Transport};

/// For each listener and transport, which trunk every address belongs to; a look-up is one binary
/// search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// By listener id, then UDP, TCP, TLS.
    tables: Vec<[Table; 3]>,
    /// Networks of several trunks whose callers prove whose they are. The table names the first.
    shared: Vec<Shared>,
}

/// A network that several trunks send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub listener: ListenerId,
    pub transport: Transport,
    pub network: IpNet,
    /// At least two.
    pub trunks: Vec<TrunkIndex>,
}

/// A network a trunk sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub trunk: TrunkIndex,
    pub listener: ListenerId,
    pub transport: Transport,
    pub network: IpNet,
    /// The trunk's callers prove whose they are, so others of that kind may send from there too.
    pub proves: bool,
}

/// Two trunks claim the same network on the same listener, so no packet tells whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    pub first: TrunkIndex,
    pub second: TrunkIndex,
    pub listener: ListenerId,
    pub network: IpNet,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    v4: Steps,
    v6: Steps,
}

/// A function of the address that changes only at `starts`: from `starts[i]` on, up to the next
/// start, addresses belong to `owners[i]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Steps {
    starts: Vec<u128>,
    owners: Vec<Option<TrunkIndex>>,
}

impl Sources {
    /// The longest prefix wins where networks nest.
    ///
    /// # Errors
    /// Every network that two trunks claim on one listener and transport, unless both ask for a
    /// proof.
    pub fn compile(sources: &[Source]) -> Result<Self, Vec<Ambiguity>> {
        let mut claims = BTreeMap::new();
        let mut ambiguities = Vec::new();
        let mut shared = BTreeMap::<_, Vec<TrunkIndex>>::new();
        for source in sources {
            let network = unmapped(source.network);
            let key = (source.listener, source.transport, network);
            let (first, proves) = *claims.entry(key).or_insert((source.trunk, source.proves));
            if first == source.trunk {
                continue;
            }
            if proves && source.proves {
                let trunks = shared.entry(key).or_insert_with(|| vec![first]);
                if !trunks.contains(&source.trunk) {
                    trunks.push(source.trunk);
                }
            } else {
                let (second, listener) = (source.trunk, source.listener);
                ambiguities.push(Ambiguity { first, second, listener, network });
            }
        }
        if !ambiguities.is_empty() {
            return Err(ambiguities);
        }

        let mut grouped = BTreeMap::<_, Vec<(IpNet, TrunkIndex)>>::new();
        for ((listener, transport, network), (trunk, _)) in claims {
            grouped.entry((listener, transport)).or_default().push((network, trunk));
        }
        let listeners = grouped.keys().map(|(listener, _)| usize::from(listener.0) + 1).max();
        let mut tables = vec![<[Table; 3]>::default(); listeners.unwrap_or(0)];
        for ((listener, transport), networks) in grouped {
            let (v4, v6): (Vec<_>, Vec<_>) =
                networks.into_iter().partition(|(network, _)| network.addr().is_ipv4());
            tables[usize::from(listener.0)][position(transport)] =
                Table { v4: Steps::of(&v4), v6: Steps::of(&v6) };
        }
        let shared = shared.into_iter().map(|((listener, transport, network), trunks)| Shared {
            listener,
            transport,
            network,
            trunks,
        });
        Ok(Self { tables, shared: shared.collect() })
    }

    /// Networks that several trunks send from.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Whose a message may be that was taken for one of `trunk`: those that share its network.
    /// Empty if it can only be of that one.
    pub fn sharers(
        &self,
        listener: ListenerId,
        transport: Transport,
        ip: IpAddr,
        trunk: TrunkIndex,
    ) -> &[TrunkIndex] {
        let ip = ip.to_canonical();
        let is_here = |it: &&Shared| {
            it.listener == listener
                && it.transport == transport
                && it.network.contains(&ip)
                && it.trunks.contains(&trunk)
        };
        let here = self.shared.iter().filter(is_here);
        let nearest = here.max_by_key(|it| it.network.prefix_len());
        nearest.map_or(&[], |it| &it.trunks)
    }

    /// The trunk that sends from `ip`, which may be an IPv4 address in IPv6 form (RFC 4291
    /// §2.5.5.2), to `listener`. `None` is a stranger.
    pub fn identify(
        &self,
        listener: ListenerId,
        transport: Transport,
        ip: IpAddr,
    ) -> Option<TrunkIndex> {
        let table = &self.tables.get(usize::from(listener.0))?[position(transport)];
        let ip = ip.to_canonical();
        let steps = if ip.is_ipv4() { &table.v4 } else { &table.v6 };
        steps.at(number(ip))
    }
}

impl Steps {
    /// `networks` are all of one family.
    fn of(networks: &[(IpNet, TrunkIndex)]) -> Self {
        let bounds = |network: &IpNet| (number(network.network()), number(network.broadcast()));
        let starts: BTreeSet<u128> = networks
            .iter()
            .map(|(network, _)| bounds(network))
            .flat_map(|(first, last)| [Some(first), last.checked_add(1)])
            .flatten()
            .collect();
        let mut steps = Self::default();
        for start in starts {
            let owner = networks
                .iter()
                .filter(|(network, _)| {
                    let (first, last) = bounds(network);
                    (first..=last).contains(&start)
                })
                .max_by_key(|(network, _)| network.prefix_len())
                .map(|(_, trunk)| *trunk);
            if steps.owners.last() != Some(&owner) {
                steps.starts.push(start);
                steps.owners.push(owner);
            }
        }
        steps
    }

    fn at(&self, address: u128) -> Option<TrunkIndex> {
        let step = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
        self.owners[step]
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn position(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    }
}

/// `::ffff:192.0.2.0/120` is `192.0.2.0/24`: packets are looked up in the IPv4 form.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network.trunc() };
    v6.network()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96))
        .and_then(|(v4, prefix)| IpNet::new(v4.into(), prefix).ok())
        .unwrap_or_else(|| network.trunc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let sources = compile(&[(0, "10.0.0.0/8"), (1, "10.1.0.0/16"), (2, "10.1.2.3/32")]);

        assert_eq!(find(&sources, "10.0.0.0"), Some(0));
        assert_eq!(find(&sources, "10.0.255.255"), Some(0));
        assert_eq!(find(&sources, "10.1.0.0"), Some(1));
        assert_eq!(find(&sources, "10.1.2.2"), Some(1));
        assert_eq!(find(&sources, "10.1.2.3"), Some(2));
        assert_eq!(find(&sources, "10.1.2.4"), Some(1));
        assert_eq!(find(&sources, "10.2.0.0"), Some(0));
        assert_eq!(find(&sources, "10.255.255.255"), Some(0));
        assert_eq!(find(&sources, "11.0.0.0"), None);
        assert_eq!(find(&sources, "9.255.255.255"), None);
    }

    #[test]
    fn the_last_address_of_a_family_is_found() {
        let sources = compile(&[(0, "255.255.255.255/32"), (1, "ff00::/8"), (2, "::/0")]);

        assert_eq!(find(&sources, "255.255.255.255"), Some(0));
        assert_eq!(find(&sources, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(1));
        assert_eq!(find(&sources, "::"), Some(2));
        assert_eq!(find(&sources, "10.0.0.1"), None);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
        let sources = compile(&[(0, "192.0.2.0/24"), (1, "::ffff:198.51.100.0/120")]);

        assert_eq!(find(&sources, "::ffff:192.0.2.7"), Some(0));
        assert_eq!(find(&sources, "198.51.100.7"), Some(1));
        assert_eq!(find(&sources, "::ffff:198.51.100.7"), Some(1));
    }

    #[test]
    fn a_trunk_is_known_only_on_its_listener_and_transport() {
        let listener = ListenerId(3);
        let network = "192.0.2.0/24".parse().unwrap();
        let source = Source {
            trunk: TrunkIndex(5),
            listener,
            transport: Transport::Tcp,
            network,
            proves: false,
        };
        let sources = Sources::compile(&[source]).unwrap();
        let ip = "192.0.2.1".parse().unwrap();

        assert_eq!(sources.identify(listener, Transport::Tcp, ip), Some(TrunkIndex(5)));
        assert_eq!(sources.identify(listener, Transport::Udp, ip), None);
        assert_eq!(sources.identify(ListenerId(2), Transport::Tcp, ip), None);
        assert_eq!(sources.identify(ListenerId(4), Transport::Tcp, ip), None);
    }

    #[test]
    fn a_network_of_two_trunks_is_an_error_and_of_one_trunk_twice_is_not() {
        let ambiguous = Sources::compile(&[source(0, "192.0.2.0/24"), source(1, "192.0.2.9/24")]);
        let mapped =
            Sources::compile(&[source(0, "192.0.2.1/32"), source(1, "::ffff:192.0.2.1/128")]);

        let ambiguity = |network: &str| Ambiguity {
            first: TrunkIndex(0),
            second: TrunkIndex(1),
            listener: ListenerId(0),
            network: network.parse().unwrap(),
        };
        assert_eq!(ambiguous, Err(vec![ambiguity("192.0.2.0/24")]));
        assert_eq!(mapped, Err(vec![ambiguity("192.0.2.1/32")]));
        assert!(Sources::compile(&[source(0, "192.0.2.0/24"), source(0, "192.0.2.0/24")]).is_ok());
    }

    #[test]
    fn without_trunks_everyone_is_a_stranger() {
        assert_eq!(find(&Sources::default(), "127.0.0.1"), None);
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_look_at_every_network(
            networks in prop::collection::vec((any::<u16>(), any::<u32>(), 20..=32_u8), 0..12),
            ips in prop::collection::vec(any::<u32>(), 16),
        ) {
            // A few high bits only, so that networks nest and addresses hit them.
            let near = |bits: u32| bits & 0x0000_0fff | 0x0a00_0000;
            let networks: BTreeMap<IpNet, TrunkIndex> = networks
                .into_iter()
                .map(|(trunk, bits, prefix)| (v4(near(bits), prefix), TrunkIndex(trunk)))
                .collect();
            let (listener, transport) = (ListenerId(0), Transport::Udp);
            let source = |(network, trunk): (&IpNet, &TrunkIndex)| Source {
                trunk: *trunk,
                listener,
                transport,
                network: *network,
                proves: false,
            };
            let sources =
                Sources::compile(&networks.iter().map(source).collect::<Vec<_>>()).unwrap();

            for bits in ips {
                let ip = IpAddr::V4(near(bits).into());
                let longest = networks
                    .iter()
                    .filter(|(network, _)| network.contains(&ip))
                    .max_by_key(|(network, _)| network.prefix_len())
                    .map(|(_, trunk)| *trunk);
                prop_assert_eq!(sources.identify(listener, transport, ip), longest);
            }
        }
    }

    fn v4(bits: u32, prefix: u8) -> IpNet {
        IpNet::new(IpAddr::V4(bits.into()), prefix).unwrap().trunc()
    }

    fn compile(networks: &[(u16, &str)]) -> Sources {
        let sources: Vec<_> =
            networks.iter().map(|(trunk, network)| source(*trunk, network)).collect();
        Sources::compile(&sources).unwrap()
    }

    fn source(trunk: u16, network: &str) -> Source {
        Source {
            trunk: TrunkIndex(trunk),
            listener: ListenerId(0),
            transport: Transport::Udp,
            network: network.parse().unwrap(),
            proves: false,
        }
    }

    fn find(sources: &Sources, ip: &str) -> Option<u16> {
        let ip = ip.parse().unwrap();
        sources.identify(ListenerId(0), Transport::Udp, ip).map(|trunk| trunk.0)
    }
}
