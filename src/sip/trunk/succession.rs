//! From one configuration's trunks to the next, while calls go on (spec/sip O7).

use std::collections::BTreeMap;

use super::source::Source;
use super::{Sources, Trunk, TrunkIndex, Trunks};
use crate::id::TrunkId;

impl Trunks {
    /// These trunks in the service of a process that had `before`: each keeps the index that its id
    /// had, and new ones come after them. A network that was a trunk's may still speak within its
    /// calls, see [`Trunks::knew`].
    pub fn following(self, before: &Self) -> Self {
        let mut trunks: Vec<Trunk> = before.trunks.clone();
        // Whoever is gone keeps its place for the calls it has, and registers no more.
        trunks.iter_mut().for_each(|trunk| trunk.register = None);
        let place_of: BTreeMap<TrunkId, usize> =
            trunks.iter().enumerate().map(|(place, trunk)| (trunk.id.clone(), place)).collect();
        let mut places = Vec::with_capacity(self.trunks.len());
        for trunk in self.trunks {
            match place_of.get(&trunk.id) {
                Some(&place) => {
                    trunks[place] = trunk;
                    places.push(place);
                }
                None => {
                    places.push(trunks.len());
                    trunks.push(trunk);
                }
            }
        }
        let index = |place: usize| TrunkIndex(u16::try_from(place).unwrap_or(u16::MAX));
        let networks = self
            .networks
            .into_iter()
            .map(|source| Source { trunk: index(places[usize::from(source.trunk.0)]), ..source });
        let networks: Vec<Source> = networks.collect();
        let mut left: Vec<Source> = before.left.iter().chain(&before.networks).cloned().collect();
        // Which trunk it was of does not matter any more, only that it was one's.
        left.iter_mut().for_each(|source| {
            (source.trunk, source.proves) = (TrunkIndex(0), false);
        });
        left.sort_by_key(|source| (source.listener, source.transport, source.network));
        left.dedup();
        Self {
            certified: self.certified.moved(|trunk| index(places[usize::from(trunk.0)])),
            sources: Sources::compile(&networks)
                .expect("the trunks were compiled without conflict"),
            former: Sources::compile(&left).expect("all networks are of one trunk"),
            trunks,
            networks,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sip::flow::{ListenerId, Transport};
    use crate::sip::trunk::{Carriers, TrunkListener};

    #[test]
    fn a_trunk_keeps_its_index_whatever_comes_and_goes_before_it() {
        let before = compile(json!([trunk("a", "192.0.2.1/32"), trunk("b", "192.0.2.2/32")]));

        let after = compile(json!([trunk("c", "192.0.2.3/32"), trunk("b", "192.0.2.4/32")]));
        let after = after.following(&before);

        assert_eq!(find(&after, "192.0.2.3"), Some("c".into()));
        assert_eq!(find(&after, "192.0.2.4"), Some("b".into()));
        let index = |ip: &str| identify(&after, ip);
        assert_eq!((index("192.0.2.4"), index("192.0.2.3")), (Some(1), Some(2)));
        for gone in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(index(gone), None, "{gone}");
            assert!(knew(&after, gone), "its calls go on: {gone}");
        }
        assert!(!knew(&after, "192.0.2.9"));

        let again = compile(json!([trunk("a", "192.0.2.1/32")])).following(&after);
        assert_eq!((identify(&again, "192.0.2.1"), identify(&again, "192.0.2.4")), (Some(0), None));
        assert!(knew(&again, "192.0.2.2") && knew(&again, "192.0.2.3"));
    }

    fn trunk(id: &str, network: &str) -> Value {
        json!({ "id": id, "inbound": { "cidrs": [network] } })
    }

    fn compile(trunks: Value) -> Trunks {
        let listeners = [TrunkListener {
            id: ListenerId(0),
            transport: Transport::Udp,
            name: "udp:203.0.113.1:5060".into(),
        }];
        let configs: Vec<_> = serde_json::from_value(trunks).unwrap();
        Trunks::compile(&configs, &listeners, &Carriers::built_in()).unwrap()
    }

    fn identify(trunks: &Trunks, ip: &str) -> Option<u16> {
        let found = trunks.identify(ListenerId(0), Transport::Udp, ip.parse().unwrap());
        found.map(|index| index.0)
    }

    fn find(trunks: &Trunks, ip: &str) -> Option<TrunkId> {
        let index = TrunkIndex(identify(trunks, ip)?);
        Some(trunks.get(index)?.id.clone())
    }

    fn knew(trunks: &Trunks, ip: &str) -> bool {
        trunks.knew(ListenerId(0), Transport::Udp, ip.parse().unwrap())
    }
}
