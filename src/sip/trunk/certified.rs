//! From the names in a TLS peer's certificate to its trunk (spec/sip T13, C1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;

use super::TrunkIndex;
use crate::sip::flow::ListenerId;

/// Trunks that are known over TLS by their certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certified {
    by_name: BTreeMap<(ListenerId, SmolStr), Vec<Claim>>,
}

/// A name that a trunk shows on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSource {
    pub trunk: TrunkIndex,
    pub listener: ListenerId,
    /// In small letters: a host name, or a URI.
    pub name: SmolStr,
    /// From where it may be shown; empty: from anywhere.
    pub networks: Vec<IpNet>,
}

/// Two trunks show the same name from the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedName {
    pub first: TrunkIndex,
    pub second: TrunkIndex,
    pub listener: ListenerId,
    pub name: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    trunk: TrunkIndex,
    networks: Vec<IpNet>,
}

impl Certified {
    /// # Errors
    /// Every name that two trunks show from networks that overlap.
    pub fn compile(sources: Vec<NamedSource>) -> Result<Self, Vec<SharedName>> {
        let mut by_name = BTreeMap::<_, Vec<Claim>>::new();
        let mut shared = Vec::new();
        for NamedSource { trunk, listener, name, networks } in sources {
            let claim = Claim { trunk, networks };
            let known = by_name.entry((listener, name.clone())).or_default();
            if let Some(other) = known.iter().find(|it| it.trunk != trunk && it.overlaps(&claim)) {
                shared.push(SharedName { first: other.trunk, second: trunk, listener, name });
            }
            known.push(claim);
        }
        if shared.is_empty() { Ok(Self { by_name }) } else { Err(shared) }
    }

    /// The same of trunks that have other places.
    pub(super) fn moved(mut self, place: impl Fn(TrunkIndex) -> TrunkIndex) -> Self {
        for claim in self.by_name.values_mut().flatten() {
            claim.trunk = place(claim.trunk);
        }
        self
    }

    /// The trunk whose certificate has these names and which may be at `ip`. `None` if there is
    /// none, or if the names are those of several.
    pub fn identify<'n>(
        &self,
        listener: ListenerId,
        ip: IpAddr,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<TrunkIndex> {
        let ip = ip.to_canonical();
        let claims =
            names.into_iter().filter_map(|name| self.by_name.get(&(listener, name.into())));
        let here = claims.flatten().filter(|claim| claim.is_at(ip)).map(|claim| claim.trunk);
        let trunks: BTreeSet<TrunkIndex> = here.collect();
        if trunks.len() == 1 { trunks.first().copied() } else { None }
    }

    /// Whether some name would do at `ip`.
    pub fn may_be_at(&self, listener: ListenerId, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let of_listener = self.by_name.iter().filter(|((known, _), _)| *known == listener);
        of_listener.flat_map(|(_, claims)| claims).any(|claim| claim.is_at(ip))
    }
}

impl Claim {
    fn is_at(&self, ip: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&ip))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meets = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        self.networks.is_empty()
            || other.networks.is_empty()
            || self.networks.iter().any(|a| other.networks.iter().any(|b| meets(a, b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_is_known_by_a_name_of_its_certificate_from_its_networks() {
        let certified = Certified::compile(vec![
            source(0, "a.example", &["192.0.2.0/24"]),
            source(1, "b.example", &[]),
            source(1, "sip:b.example", &[]),
        ]);
        let certified = certified.unwrap();
        let find = |ip: &str, names: &[&str]| {
            let found =
                certified.identify(ListenerId(0), ip.parse().unwrap(), names.iter().copied());
            found.map(|trunk| trunk.0)
        };

        assert_eq!(find("192.0.2.7", &["a.example"]), Some(0));
        assert_eq!(find("::ffff:192.0.2.7", &["a.example"]), Some(0));
        assert_eq!(find("198.51.100.7", &["a.example"]), None);
        assert_eq!(find("198.51.100.7", &["b.example", "sip:b.example"]), Some(1));
        assert_eq!(find("192.0.2.7", &["c.example"]), None);
        assert_eq!(find("192.0.2.7", &[]), None);
        assert_eq!(
            certified.identify(
                ListenerId(1),
                "192.0.2.7".parse().unwrap(),
                ["a.example", "b.example"]
            ),
            None
        );
    }

    #[test]
    fn a_certificate_with_the_names_of_two_trunks_is_nobodys() {
        let certified =
            Certified::compile(vec![source(0, "a.example", &[]), source(1, "b.example", &[])]);

        let both = ["a.example", "b.example"];
        let ip = "192.0.2.7".parse().unwrap();
        assert_eq!(certified.unwrap().identify(ListenerId(0), ip, both), None);
    }

    #[test]
    fn a_name_of_two_trunks_is_an_error_unless_their_networks_differ() {
        let shared = |first: &[&str], second: &[&str]| {
            let compiled = Certified::compile(vec![
                source(0, "a.example", first),
                source(1, "a.example", second),
            ]);
            compiled.is_err()
        };

        assert!(shared(&[], &[]));
        assert!(shared(&["192.0.2.0/24"], &[]));
        assert!(shared(&["192.0.2.0/24"], &["192.0.2.128/25"]));
        assert!(!shared(&["192.0.2.0/25"], &["192.0.2.128/25"]));
    }

    fn source(trunk: u16, name: &str, networks: &[&str]) -> NamedSource {
        NamedSource {
            trunk: TrunkIndex(trunk),
            listener: ListenerId(0),
            name: name.into(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        }
    }
}
