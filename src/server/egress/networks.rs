//! Addresses that are nobody's on the internet, or lead elsewhere than they say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What an address is that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Of a bounded set, as metrics have it.
    pub(super) name: &'static str,
    /// What says so.
    by: &'static str,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.by)
    }
}

/// As the registry of special-purpose addresses has them (RFC 6890), and what is above them.
const V4: [(Ipv4Net, Class); 17] = [
    v4([0, 0, 0, 0], 8, "this_network", "RFC 791"),
    v4([10, 0, 0, 0], 8, "private", "RFC 1918"),
    v4([100, 64, 0, 0], 10, "carrier_nat", "RFC 6598"),
    v4([127, 0, 0, 0], 8, "loopback", "RFC 1122"),
    // What a machine in a cloud is told about itself is at a public address too.
    v4([168, 63, 129, 16], 32, "metadata", "Azure's wire server"),
    v4([169, 254, 169, 254], 32, "metadata", "link-local, RFC 3927"),
    v4([169, 254, 0, 0], 16, "link_local", "RFC 3927"),
    v4([172, 16, 0, 0], 12, "private", "RFC 1918"),
    v4([192, 0, 0, 0], 24, "protocol", "RFC 6890"),
    v4([192, 0, 2, 0], 24, "documentation", "RFC 5737"),
    v4([192, 88, 99, 0], 24, "relay_6to4", "RFC 7526"),
    v4([192, 168, 0, 0], 16, "private", "RFC 1918"),
    v4([198, 18, 0, 0], 15, "benchmark", "RFC 2544"),
    v4([198, 51, 100, 0], 24, "documentation", "RFC 5737"),
    v4([203, 0, 113, 0], 24, "documentation", "RFC 5737"),
    v4([224, 0, 0, 0], 4, "multicast", "RFC 5771"),
    v4([240, 0, 0, 0], 4, "reserved", "RFC 1112"),
];

/// The same, within [`GLOBAL`] and without.
const V6: [(Ipv6Net, Class); 15] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "this_network", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "compatible_v4", "RFC 4291"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local_nat64", "RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard", "RFC 6666"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "teredo", "RFC 4380"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol", "RFC 2928"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation", "RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "relay_6to4", "RFC 7526"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment_routing", "RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link_local", "RFC 4291"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "private", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast", "RFC 4291"),
];

/// All that is given to anybody; the rest of IPv6 is not.
const GLOBAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Where a network of IPv6 alone has the IPv4 internet (RFC 6052).
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

const fn v4(a: [u8; 4], bits: u8, name: &'static str, by: &'static str) -> (Ipv4Net, Class) {
    (Ipv4Net::new_assert(Ipv4Addr::new(a[0], a[1], a[2], a[3]), bits), Class { name, by })
}

const fn v6(a: [u16; 8], bits: u8, name: &'static str, by: &'static str) -> (Ipv6Net, Class) {
    let address = Ipv6Addr::new(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    (Ipv6Net::new_assert(address, bits), Class { name, by })
}

/// What an address is; `None`: it is somebody's on the internet. One of IPv4 that is written as one of IPv6
/// is what it is.
pub(super) fn class_of(address: IpAddr) -> Option<Class> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, class)| *class)
        }
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            class_of(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            let known = V6.iter().find(|(network, _)| network.contains(&address));
            let known = known.map(|(_, class)| *class);
            let unassigned = Class { name: "unassigned", by: "RFC 4291" };
            known.or_else(|| (!GLOBAL.contains(&address)).then_some(unassigned))
        }
    }
}
