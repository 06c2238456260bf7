//! Trunks that send from the same addresses and are told apart by who proves to call (spec/sip C1).
//!
//! Who has not proven anything yet is challenged as the first of them would, so all have to ask
//! alike; and a name belongs to one of them.

use super::source::{Shared, Sources};
use super::{TrunkConfig, TrunkFault, TrunkIndex, Trunks};
use crate::sip::flow::Flow;
use crate::sip::message::Request;

impl Trunks {
    /// Whose an INVITE is that came from where `trunk` sends from: of those that share the place,
    /// the one whose user it names. Whether it is that user has to be proven.
    pub fn claimed(&self, trunk: TrunkIndex, flow: Flow, request: &Request) -> TrunkIndex {
        if self.get(trunk).is_none_or(|trunk| trunk.users.is_none()) {
            // Those that ask for no proof share no place.
            return trunk;
        }
        let (listener, transport) = (flow.listener, flow.transport);
        let sharers = self.sources.sharers(listener, transport, flow.peer.ip(), trunk);
        let names = |it: &&TrunkIndex| {
            let users = self.get(**it).and_then(|trunk| trunk.users.as_ref());
            users.is_some_and(|users| users.is_named_in(request))
        };
        sharers.iter().find(names).copied().unwrap_or(trunk)
    }
}

/// What is wrong with trunks that share a network.
pub(super) fn faults(sources: &Sources, configs: &[TrunkConfig]) -> Vec<TrunkFault> {
    let mut faults = Vec::new();
    for Shared { trunks, .. } in sources.shared() {
        for (at, second) in trunks.iter().enumerate() {
            for first in &trunks[..at] {
                for fault in between(*first, *second, configs) {
                    // They may share more than one network.
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
        }
    }
    faults
}

fn between(first: TrunkIndex, second: TrunkIndex, configs: &[TrunkConfig]) -> Vec<TrunkFault> {
    let config = |index: TrunkIndex| configs.get(usize::from(index.0));
    let digest = |index| config(index).and_then(|it| it.digest.as_ref());
    let (Some(one), Some(other)) = (digest(first), digest(second)) else { return Vec::new() };
    let id = config(first).map(|it| it.id.as_str()).unwrap_or_default();
    let at = |field: &str| format!("trunks[{}].digest.{field}", second.0);
    let mut faults = Vec::new();
    if one.realm != other.realm {
        faults.push(TrunkFault {
            path: at("realm"),
            value: other.realm.to_string(),
            problem: format!("is not that of trunk `{id}`, which sends from the same network"),
            remedy: format!("write {}", one.realm),
        });
    }
    if one.algorithms != other.algorithms {
        faults.push(TrunkFault {
            path: at("algorithms"),
            value: format!("{:?}", other.algorithms).to_lowercase(),
            problem: format!("are not those of trunk `{id}`, which sends from the same network"),
            remedy: String::from("write the same algorithms in the same order"),
        });
    }
    for (position, user) in other.users.iter().enumerate() {
        if one.users.iter().any(|it| it.username == user.username) {
            faults.push(TrunkFault {
                path: at(&format!("users[{position}].username")),
                value: user.username.to_string(),
                problem: format!("is a user of trunk `{id}` too, from the same network"),
                remedy: String::from("give each trunk users of its own"),
            });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sip::flow::{ListenerId, Transport};
    use crate::sip::trunk::{Carriers, TrunkListener};

    #[test]
    fn trunks_that_ask_for_a_proof_may_share_a_network() {
        let before = compile(&[trunk("a", "alice"), trunk("b", "bob")]).unwrap();
        let after = compile(&[trunk("c", "carol"), trunk("b", "bob")]).unwrap().following(&before);

        let (listener, udp, ip) = (ListenerId(0), Transport::Udp, [192, 0, 2, 7].into());
        let sharers = |trunks: &Trunks, asks: u16| {
            assert_eq!(trunks.identify(listener, udp, ip), Some(TrunkIndex(asks)));
            trunks.sources.sharers(listener, udp, ip, TrunkIndex(asks)).to_vec()
        };
        assert_eq!(sharers(&before, 0), [TrunkIndex(0), TrunkIndex(1)]);
        assert_eq!(sharers(&after, 2), [TrunkIndex(2), TrunkIndex(1)], "a is gone, c is new");
    }

    #[test]
    fn who_shares_a_network_asks_alike_and_has_names_of_its_own() {
        let mut other = trunk("b", "alice");
        other["digest"]["realm"] = json!("other");
        other["digest"]["algorithms"] = json!(["md5"]);

        let faults = compile(&[trunk("a", "alice"), other]).unwrap_err();

        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "trunks[1].digest.realm",
                "trunks[1].digest.algorithms",
                "trunks[1].digest.users[0].username"
            ]
        );
    }

    #[test]
    fn a_trunk_that_asks_for_nothing_shares_with_nobody() {
        let mut open = trunk("b", "bob");
        open["inbound"]["auth"] = json!("none");

        let faults = compile(&[trunk("a", "alice"), open]).unwrap_err();

        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].path, "trunks[1].inbound.cidrs");
    }

    fn trunk(id: &str, user: &str) -> serde_json::Value {
        json!({
            "id": id,
            "inbound": { "cidrs": ["192.0.2.0/24"], "auth": "digest", "transports": ["udp"] },
            "digest": { "realm": "edge", "users": [{ "username": user, "password": "secret" }] }
        })
    }

    fn compile(trunks: &[serde_json::Value]) -> Result<Trunks, Vec<TrunkFault>> {
        let configs: Vec<TrunkConfig> =
            trunks.iter().map(|it| serde_json::from_value(it.clone()).unwrap()).collect();
        let listener = TrunkListener {
            id: ListenerId(0),
            transport: Transport::Udp,
            name: "udp:203.0.113.1:5060".into(),
        };
        Trunks::compile(&configs, &[listener], &Carriers::built_in())
    }
}
