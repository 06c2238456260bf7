//! TLS: from the configuration to what the transport takes.

mod force;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use metrics::gauge;
use smol_str::{SmolStr, ToSmolStr};

use crate::config::{self, Config, ListenTransport, Settings};
use crate::id::TargetId;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::routing::config::PeerTlsConfig;
use crate::routing::dial::Dial;
use crate::routing::snapshot::Target;
use crate::sip::dialog::transport_of;
use crate::sip::flow::{ListenerId, TlsPeer, Transport};
use crate::sip::message::Uri;
use crate::sip::transport::{
    CertificateFiles, ClientAuth, FileSpec, PeerCheck, PeerSpec, Stamp, Stranger, TlsFault,
    TlsSettings, TlsSpec, TlsVersion,
};
use crate::sip::trunk::profile::{CarrierTransport, OutboundTls};
use crate::sip::trunk::{TrunkIndex, Trunks};

use super::sources::Sources;
use super::{StartError, metrics as names};

pub(super) use force::TlsInForce;
pub(super) use peer::Said;

/// What the configuration says about TLS.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    spec: TlsSpec,
    parties: TlsParties,
    settings: config::TlsSettings,
    /// Every peer there has been since the start, in the order of their numbers.
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    spec: PeerSpec,
    /// Absent for a target.
    trunk: Option<TrunkIndex>,
}

/// Who is behind a [`TlsPeer`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsParties {
    trunks: BTreeMap<TlsPeer, TrunkIndex>,
    peers: BTreeMap<TrunkIndex, TlsPeer>,
    /// Of each way to a target over TLS, by its place in the configuration.
    targets: BTreeMap<(TargetId, u8), TlsPeer>,
    /// Who was a trunk under an earlier configuration, and is none by that number now.
    former: BTreeSet<TlsPeer>,
}

impl TlsParties {
    /// Who has to be there when this target is called over TLS in this of its ways.
    pub fn target(&self, id: &TargetId, way: u8) -> Option<TlsPeer> {
        self.targets.get(&(id.clone(), way)).copied()
    }

    pub fn trunk(&self, peer: TlsPeer) -> Option<TrunkIndex> {
        self.trunks.get(&peer).copied()
    }

    /// Whether it was a trunk when its connection was made, and is none any more: it takes no new
    /// calls, and its old ones go on.
    pub fn knew(&self, peer: TlsPeer) -> bool {
        self.former.contains(&peer)
    }

    /// What a trunk is called on the connections it opens.
    pub fn peer_of(&self, trunk: TrunkIndex) -> Option<TlsPeer> {
        self.peers.get(&trunk).copied()
    }
}

impl TlsPlan {
    /// # Errors
    /// All faults of what stands in the configuration; no file is read.
    pub fn new(
        config: &Config,
        trunks: &Trunks,
        routing: &RoutingSnapshot,
    ) -> Result<Self, StartError> {
        let settings = config.settings.sip.tls.clone();
        let mut draft = Draft { listens: listens(&config.settings), ..Draft::default() };
        draft.trunks(trunks, &settings);
        draft.targets(routing, trunks);
        if !draft.faults.is_empty() {
            let faults = draft.faults.into_iter();
            let faults = faults.map(|it| (it.field, it.value, it.problem, it.remedy.to_owned()));
            return Err(config.faults(faults).into());
        }
        let spec = TlsSpec {
            certificates: certificates(&settings),
            version_min: match settings.min_version {
                config::MinVersion::V1_2 => TlsVersion::V1_2,
                config::MinVersion::V1_3 => TlsVersion::V1_3,
            },
            cipher_suites: settings.cipher_suites.clone(),
            client_auth: match settings.client_auth {
                config::ClientAuth::None => ClientAuth::None,
                config::ClientAuth::Optional => ClientAuth::Optional,
                config::ClientAuth::Required => ClientAuth::Required,
            },
            client_ca: settings
                .client_ca_file
                .clone()
                .map(|path| FileSpec { path, field: String::from("sip.tls.client_ca_file") }),
            peers: (0..).map(TlsPeer).zip(draft.peers).collect(),
        };
        let parties = draft.parties;
        let known = spec.peers.iter().map(|(peer, spec)| {
            let trunk = parties.trunk(*peer);
            Known { spec: spec.clone(), trunk }
        });
        let known = known.collect();
        Ok(Self { spec, parties, settings, known })
    }

    /// This plan in a process that had `before`, and the numbers its peers have there: a peer that is
    /// as it was keeps its number and with it its connections, all others get new ones. `place` tells
    /// the index of a trunk there. `None` once there have been more peers than can be numbered.
    pub(super) fn following(
        self,
        before: &Self,
        place: impl Fn(TrunkIndex) -> TrunkIndex,
    ) -> Option<(Self, BTreeMap<TlsPeer, TlsPeer>)> {
        let mut known = before.known.clone();
        let (mut numbers, mut peers) = (BTreeMap::new(), BTreeMap::new());
        for (number, spec) in self.spec.peers {
            let trunk = self.parties.trunk(number).map(&place);
            let same = |it: &Known| it.trunk == trunk && is_alike(&it.spec, &spec);
            let index = known.iter().position(same).unwrap_or(known.len());
            if index == known.len() {
                known.push(Known { spec: spec.clone(), trunk });
            }
            let peer = TlsPeer(u16::try_from(index).ok()?);
            numbers.insert(number, peer);
            peers.insert(peer, spec);
        }
        let TlsParties { peers: peer_of, targets, .. } = self.parties;
        let peer_of: BTreeMap<_, _> =
            peer_of.into_iter().map(|(trunk, peer)| (place(trunk), numbers[&peer])).collect();
        let targets = targets.into_iter().map(|(id, peer)| (id, numbers[&peer])).collect();
        // A connection that was made before is still the trunk's if its names are.
        let (mut trunks, mut former) = (BTreeMap::new(), BTreeSet::new());
        for (peer, it) in (0..).map(TlsPeer).zip(&known) {
            let Some(trunk) = it.trunk else { continue };
            let names = peer_of.get(&trunk).map(|now| &peers[now].names);
            if names == Some(&it.spec.names) {
                trunks.insert(peer, trunk);
            } else {
                former.insert(peer);
            }
        }
        let parties = TlsParties { trunks, peers: peer_of, targets, former };
        let spec = TlsSpec { peers, ..self.spec };
        Some((Self { spec, parties, known, ..self }, numbers))
    }

    pub fn parties(&self) -> &TlsParties {
        &self.parties
    }

    /// Reads all files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(&self, config: &Config) -> Result<TlsFiles, StartError> {
        TlsFiles::load(&self.spec).map_err(|faults| {
            let told = |it: TlsFault| (it.field, it.value, it.problem, it.remedy.to_owned());
            config.faults(faults.into_iter().map(told)).into()
        })
    }

    /// Tells loudly, once, whom nobody will check.
    pub fn warn_of_unverified(&self) {
        let unverified = self.spec.peers.values().filter(|peer| peer.is_unverified());
        gauge!(names::TLS_UNVERIFIED_PEERS).set(unverified.clone().count() as f64);
        for peer in unverified {
            tracing::warn!(
                peer = peer.names.first().map_or("its address", SmolStr::as_str),
                configured = peer.field,
                "TLS to this peer is NOT VERIFIED: anybody on the way can read and change its calls; \
                 set verify = true, or pin its key"
            );
        }
    }
}

/// What the files of a plan held when they were read.
#[derive(Debug)]
pub struct TlsFiles {
    /// Taken before they were read: one that changed meanwhile has another now.
    stamp: Stamp,
    settings: TlsSettings,
}

impl TlsFiles {
    fn load(spec: &TlsSpec) -> Result<Self, Vec<TlsFault>> {
        let stamp = spec.stamp();
        Ok(Self { stamp, settings: TlsSettings::load(spec)? })
    }
}

/// The plan while it is made.
#[derive(Default)]
struct Draft {
    /// Whether there is a TLS listener.
    listens: bool,
    peers: Vec<PeerSpec>,
    parties: TlsParties,
    faults: Vec<TlsFault>,
}

impl Draft {
    /// A trunk is called when a connection of its is gone in the middle of a call.
    fn trunks(&mut self, trunks: &Trunks, settings: &config::TlsSettings) {
        if !self.listens {
            return;
        }
        for (index, trunk) in trunks.iter() {
            let inbound = &trunk.profile.inbound;
            let position = index.0;
            if !inbound.tls_san.is_empty()
                && inbound.transports.contains(&CarrierTransport::Tls)
                && settings.client_auth == config::ClientAuth::None
            {
                self.faults.push(TlsFault {
                    field: format!("trunks[{position}].inbound.tls_san"),
                    value: inbound.tls_san.join(", "),
                    problem: String::from("are never seen, since no client is asked for them"),
                    remedy: "set sip.tls.client_auth to \"optional\" or \"required\"",
                });
            }
            let none = OutboundTls::default();
            let tls = trunk.profile.outbound.tls.as_ref().unwrap_or(&none);
            let names = inbound.tls_san.iter().map(|name| domain(name)).collect();
            let field = format!("trunks[{position}].outbound.tls");
            let peer = self.add(names, &Said::of_trunk(&field, tls));
            self.parties.trunks.insert(peer, index);
            self.parties.peers.insert(index, peer);
        }
    }

    fn targets(&mut self, routing: &RoutingSnapshot, trunks: &Trunks) {
        for (position, target) in routing.targets().iter().enumerate() {
            for (dial, place) in target.dials.iter().zip(0..) {
                let field = match target.dials.len() {
                    1 => format!("targets[{position}].dial"),
                    _ => format!("targets[{position}].dial[{place}]"),
                };
                if let Some(peer) = self.dial(&field, target, dial, trunks) {
                    self.parties.targets.insert((target.id.clone(), place), peer);
                }
            }
        }
    }

    /// Who has to be there in one of a target's ways; `None`: it does not lead over TLS.
    fn dial(
        &mut self,
        field: &str,
        target: &Target,
        dial: &Dial,
        trunks: &Trunks,
    ) -> Option<TlsPeer> {
        let any = PhoneNumber::from_digits(18_005_550_100).expect("a number of eleven digits");
        let dialed = dial.template.uri(any);
        let uri = Uri::parse(dialed.as_bytes()).ok()?;
        if transport_of(&uri) != Transport::Tls {
            if dial.tls != PeerTlsConfig::default() {
                self.faults.push(TlsFault {
                    field: format!("{field}.tls"),
                    value: format!("of {}", target.id),
                    problem: String::from("has no effect, since dial.uri does not ask for TLS"),
                    remedy: "add ;transport=tls to the URI, or remove it",
                });
            }
            return None;
        }
        if !self.listens {
            self.faults.push(TlsFault {
                field: format!("{field}.uri"),
                value: dialed.clone(),
                problem: String::from("leads over TLS, which no listener speaks"),
                remedy: "add one to sip.listen, such as \"tls:127.0.0.1:5061\"",
            });
        }
        let name = match uri.host_ip() {
            Some(ip) => ip.to_smolstr(),
            None => String::from_utf8_lossy(uri.host()).to_ascii_lowercase().into(),
        };
        // What is said of the trunk holds where the way says nothing itself.
        let trunk = dial.trunk.as_ref().filter(|_| dial.tls == PeerTlsConfig::default());
        let trunk = trunk.and_then(|id| trunks.iter().find(|(_, trunk)| trunk.id == *id));
        let of_trunk =
            trunk.and_then(|(index, it)| Some((index, it.profile.outbound.tls.as_ref()?)));
        Some(match of_trunk {
            Some((index, tls)) => {
                let field = format!("trunks[{}].outbound.tls", index.0);
                self.add(vec![name], &Said::of_trunk(&field, tls))
            }
            None => self.add(vec![name], &Said::of(&format!("{field}.tls"), &dial.tls)),
        })
    }

    /// Targets that are alike in everything share their connections.
    fn add(&mut self, names: Vec<SmolStr>, said: &Said<'_>) -> TlsPeer {
        let peer = said.peer(names, &mut self.faults);
        // A trunk is a peer of its own.
        let trunks = self.parties.trunks.len();
        let alike = self.peers.iter().skip(trunks).position(|known| is_alike(known, &peer));
        let index = alike.map_or_else(
            || {
                self.peers.push(peer);
                self.peers.len() - 1
            },
            |position| trunks + position,
        );
        TlsPeer(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

fn is_alike(one: &PeerSpec, other: &PeerSpec) -> bool {
    let path = |file: &FileSpec| file.path.clone();
    let files = |peer: &PeerSpec| {
        let shown = peer.client_certificate.as_ref();
        (peer.extra_ca.as_ref().map(path), shown.map(|it| (path(&it.chain), path(&it.key))))
    };
    (&one.names, one.sni, one.verify, &one.pins)
        == (&other.names, other.sni, other.verify, &other.pins)
        && files(one) == files(other)
}

/// The host of a `sip:` URI; a host name as it is.
fn domain(name: &str) -> SmolStr {
    let host = name.strip_prefix("sip:").or_else(|| name.strip_prefix("sips:")).unwrap_or(name);
    host.into()
}

fn listens(settings: &Settings) -> bool {
    settings.sip.listen.iter().any(|it| it.transport == ListenTransport::Tls)
}

fn certificates(settings: &config::TlsSettings) -> Vec<CertificateFiles> {
    let files = settings.certificates.iter().enumerate().map(|(position, pair)| {
        let file = |path: &PathBuf, name: &str| FileSpec {
            path: path.clone(),
            field: format!("sip.tls.certificates[{position}].{name}"),
        };
        CertificateFiles {
            chain: file(&pair.chain_file, "chain_file"),
            key: file(&pair.key_file, "key_file"),
        }
    });
    files.collect()
}

/// Who an accepted TLS connection is from.
pub(super) fn peer_check(sources: Arc<Sources>) -> PeerCheck {
    Arc::new(move |listener: ListenerId, ip: IpAddr, names: &[String]| {
        sources.tls_peer(listener, ip, names).ok_or(Stranger)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;
    use crate::server::compile;
    use crate::sip::trunk::Carriers;

    #[test]
    fn a_target_has_to_be_who_its_uri_names_and_alike_targets_share_a_peer() {
        let plan = plan(
            "[[targets]]\nid = \"a\"\nbuyer = \"b\"\n\
             dial = { kind = \"sip\", uri = \"sip:Buyer.example:5071;transport=tls\" }\n\
             [[targets]]\nid = \"b\"\nbuyer = \"b\"\n\
             dial = { kind = \"sip\", uri = \"sips:desk@buyer.example\" }\n\
             [[targets]]\nid = \"c\"\nbuyer = \"b\"\n\
             dial = { kind = \"sip\", uri = \"sips:[::1]\", tls = { verify = false } }\n\
             [[targets]]\nid = \"d\"\nbuyer = \"b\"\n\
             dial = { kind = \"sip\", uri = \"sip:buyer.example\" }\n",
        )
        .unwrap();

        // The first peer is the trunk.
        let peers: Vec<_> =
            plan.spec.peers.values().map(|it| (it.names.join(" "), it.verify)).collect();
        assert_eq!(
            peers,
            [
                (String::from("carrier.example"), true),
                (String::from("buyer.example"), true),
                (String::from("::1"), false)
            ]
        );
        let target = |id: &str| plan.parties().target(&id.into(), 0);
        assert_eq!(target("a"), Some(TlsPeer(1)));
        assert_eq!(target("b"), Some(TlsPeer(1)));
        assert_eq!(target("c"), Some(TlsPeer(2)));
        assert_eq!(target("d"), None);
        assert_eq!(plan.parties().trunk(TlsPeer(0)), Some(TrunkIndex(0)));
        assert_eq!(plan.parties().trunk(TlsPeer(1)), None);
    }

    #[test]
    fn who_is_as_before_keeps_its_number_and_who_is_not_gets_one_that_nobody_had() {
        let target = |id: &str, host: &str| {
            format!(
                "[[targets]]\nid = \"{id}\"\nbuyer = \"b\"\n\
                 dial = {{ kind = \"sip\", uri = \"sips:{host}.example\" }}\n"
            )
        };
        let (a, b, c) = (target("a", "one"), target("b", "two"), target("c", "three"));
        let first = plan(&format!("{a}{b}")).unwrap();
        let same = |trunk: TrunkIndex| trunk;

        let moved = target("a", "other");
        let second = plan(&format!("{c}{moved}{b}")).unwrap().following(&first, same).unwrap().0;
        let of = |plan: &TlsPlan, id: &str| plan.parties().target(&id.into(), 0).map(|it| it.0);
        assert_eq!((of(&first, "a"), of(&first, "b")), (Some(1), Some(2)));
        assert_eq!(of(&second, "b"), Some(2));
        assert_eq!((of(&second, "c"), of(&second, "a")), (Some(3), Some(4)));
        let needed: Vec<u16> = second.spec.peers.keys().map(|peer| peer.0).collect();
        assert_eq!(needed, [0, 2, 3, 4], "nobody asks for the files of the others");

        let third = plan(&format!("{a}{b}")).unwrap().following(&second, same).unwrap().0;
        assert_eq!((of(&third, "a"), of(&third, "c")), (Some(1), None), "as at the start");
        assert_eq!(third.parties().peer_of(TrunkIndex(0)), Some(TlsPeer(0)));
    }

    #[test]
    fn a_connection_stays_its_trunks_as_long_as_the_trunk_has_the_names() {
        let trunk = |more: &str| {
            compiled(
                &format!(
                    "[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\n[sip.tls]\n\
                     certificates = [{{ chain_file = \"a\", key_file = \"b\" }}]\n{more}"
                ),
                &[String::from("sip.tls.client_auth=optional")],
            )
            .unwrap()
        };
        let named = |id: &str, name: &str, more: &str| {
            format!("[[trunks]]\nid = \"{id}\"\ninbound = {{ tls_san = [\"{name}\"] }}\n{more}")
        };
        let before = trunk(&named("t", "a.example", ""));
        // Another trunk stands before it, and its place in the process is what it was.
        let place = |TrunkIndex(index)| TrunkIndex(1 - index);
        let follow = |name: &str, more: &str| {
            let text = named("new", "new.example", "") + &named("t", name, more);
            trunk(&text).following(&before, place).unwrap().0
        };
        let (old, t) = (TlsPeer(0), TrunkIndex(0));

        let same = follow("a.example", "");
        assert_eq!((same.parties().peer_of(t), same.parties().trunk(old)), (Some(old), Some(t)));
        let new = same.parties().peer_of(TrunkIndex(1)).unwrap();
        assert_eq!((new, same.parties().trunk(new)), (TlsPeer(1), Some(TrunkIndex(1))));

        let called_otherwise = follow("a.example", "outbound = { tls = { verify = false } }\n");
        let now = called_otherwise.parties().peer_of(t);
        assert_eq!((now, called_otherwise.parties().trunk(old)), (Some(TlsPeer(2)), Some(t)));

        assert!(!called_otherwise.parties().knew(old));

        let other_names = follow("b.example", "");
        assert_eq!(other_names.parties().trunk(old), None);
        assert!(other_names.parties().knew(old), "its calls go on");
        let gone = trunk(&named("new", "new.example", "")).following(&before, |_| TrunkIndex(1));
        let gone = gone.unwrap().0;
        assert_eq!((gone.parties().trunk(old), gone.parties().knew(old)), (None, true));
        assert!(!gone.parties().knew(TlsPeer(1)), "that is the new one");
    }

    #[test]
    fn what_cannot_have_an_effect_is_refused() {
        let target = |dial: &str| {
            format!("[[targets]]\nid = \"a\"\nbuyer = \"b\"\ndial = {{ kind = \"sip\", {dial} }}\n")
        };
        let cases = [
            (target("uri = \"sip:a.example\", tls = { verify = false }"), "targets[0].dial.tls"),
            (
                target("uri = \"sips:a.example\", tls = { client_cert = \"a.pem\" }"),
                "targets[0].dial.tls.client_cert",
            ),
            (
                target("uri = \"sips:a.example\", tls = { pins = [\"abc\"] }"),
                "targets[0].dial.tls.pins[0]",
            ),
        ];
        for (text, field) in cases {
            let fault = plan(&text).unwrap_err().to_string();
            assert!(fault.contains(field), "{fault}");
        }
        let unasked = plan_of("", "client_auth=none").unwrap_err().to_string();
        assert!(unasked.contains("trunks[0].inbound.tls_san = sip:carrier.example"), "{unasked}");
    }

    #[test]
    fn without_a_tls_listener_no_target_can_be_called_over_tls() {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[buyers]]\nid = \"b\"\n\
                    [[targets]]\nid = \"a\"\nbuyer = \"b\"\n\
                    dial = { kind = \"sip\", uri = \"sips:a.example\" }\n";
        let fault = compiled(text, &[]).unwrap_err().to_string();
        assert!(fault.contains("targets[0].dial.uri = sips:+18005550100@a.example"), "{fault}");
        assert!(fault.contains("add one to sip.listen"), "{fault}");
    }

    fn plan(targets: &str) -> Result<TlsPlan, StartError> {
        plan_of(targets, "client_auth=optional")
    }

    /// With a TLS listener and a trunk that is known by its certificate.
    fn plan_of(targets: &str, client_auth: &str) -> Result<TlsPlan, StartError> {
        let text = format!(
            "[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\n[sip.tls]\n\
             certificates = [{{ chain_file = \"a\", key_file = \"b\" }}]\n\
             [[trunks]]\nid = \"t\"\ninbound = {{ tls_san = [\"sip:carrier.example\"] }}\n\
             [[buyers]]\nid = \"b\"\n{targets}"
        );
        compiled(&text, &[format!("sip.tls.{client_auth}")])
    }

    fn compiled(text: &str, sets: &[String]) -> Result<TlsPlan, StartError> {
        let none = std::iter::empty();
        let config = Config::parse("test.toml", text, Format::Toml, none, sets).unwrap();
        let trunks = compile::trunks(&config, &Carriers::built_in()).unwrap();
        let routing = compile::routing(&config, config.routing().whole().unwrap(), 1).unwrap();
        TlsPlan::new(&config, &trunks, &routing)
    }
}
