//! Which addresses are probed (spec/sip C6): those of the targets that are to be, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::TargetId;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::sip::call::plan::Destination;
use crate::sip::endpoint::ProbeTarget;
use crate::sip::flow::Transport;
use crate::sip::message::{Scheme, Uri};
use crate::sip::policy::Targets;

use super::addresses::{Addresses, Place, destination};
use super::deciding::Deciding;
use super::standing::{Address, Standing};
use super::tls::TlsParties;

/// Whom to probe, worked out again when something it follows from was swapped for another.
#[derive(Default)]
pub(super) struct Probing {
    known: Option<Known>,
    probed: Vec<ProbeTarget>,
}

/// What it follows from whom to probe.
pub(super) struct Known {
    pub(super) snapshot: Arc<RoutingSnapshot>,
    pub(super) addresses: Arc<Addresses>,
    pub(super) targets: Arc<Targets>,
    pub(super) tls: Arc<TlsParties>,
}

impl Known {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
            && Arc::ptr_eq(&self.addresses, &other.addresses)
            && Arc::ptr_eq(&self.targets, &other.targets)
            && Arc::ptr_eq(&self.tls, &other.tls)
    }
}

impl Probing {
    /// Has the targets watched that are probed now, and returns whom to probe from now on if these
    /// are others than before.
    pub(super) fn follow(
        &mut self,
        known: Known,
        standing: &Standing,
        deciding: &Deciding,
    ) -> Option<Vec<ProbeTarget>> {
        if self.known.as_ref().is_some_and(|before| before.is(&known)) {
            return None;
        }
        let Known { snapshot, addresses, targets, tls } = &known;
        let wants_none = targets.all().all(|target| target.probe.is_none());
        let (probed, places) = if wants_none {
            Default::default()
        } else {
            self::targets(snapshot, addresses, targets, tls)
        };
        self.known = Some(known);
        // A target may be new at an address that is probed already.
        standing.watch(places);
        deciding.set_down(standing.down());
        if probed == self.probed {
            return None;
        }
        self.probed.clone_from(&probed);
        Some(probed)
    }
}

/// Whom to probe, and where each target is that is probed. Where several targets are at one
/// address, the rules of the first hold.
fn targets(
    snapshot: &RoutingSnapshot,
    addresses: &Addresses,
    settings: &Targets,
    tls: &TlsParties,
) -> (Vec<ProbeTarget>, BTreeMap<TargetId, Vec<Address>>) {
    let mut probed: BTreeMap<Address, ProbeTarget> = BTreeMap::new();
    let mut places = BTreeMap::new();
    let Some(any) = PhoneNumber::from_digits(18_005_550_100) else { return Default::default() };
    for target in snapshot.targets() {
        let (mut at, mut is_watched) = (Vec::new(), true);
        for (dial, number) in target.dials.iter().zip(0..) {
            let Some(rules) = settings.of(target.id.as_str(), number).and_then(|it| it.probe)
            else {
                // In a way that nobody looks after it may be there.
                is_watched = false;
                continue;
            };
            let dialed = dial.template.uri(any);
            let Some(uri) = host_uri(&dialed) else { continue };
            let found: Vec<Destination> = match addresses.find(&dialed) {
                None => Vec::new(),
                Some(Place::Here(destination)) => vec![destination],
                Some(Place::There(locations)) => locations.iter().map(destination).collect(),
            };
            for mut place in found {
                if place.transport == Transport::Tls {
                    place.tls = tls.target(&target.id, number);
                }
                let address = (place.transport, place.peer);
                at.push(address);
                let uri = uri.clone();
                probed.entry(address).or_insert(ProbeTarget { at: place, uri, rules });
            }
        }
        if !at.is_empty() && is_watched {
            places.insert(target.id.clone(), at);
        }
    }
    (probed.into_values().collect(), places)
}

/// A target's URI without its user: the question is for the host (RFC 3261 §11.1).
fn host_uri(uri: &str) -> Option<Bytes> {
    let parsed = Uri::parse(uri.as_bytes()).ok()?;
    let scheme = if parsed.scheme() == Scheme::Sips { "sips:" } else { "sip:" };
    let host = String::from_utf8_lossy(parsed.host());
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(Bytes::from(format!("{scheme}{host}{port}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Format};
    use crate::server::compile::compile;
    use crate::sip::locate::HealthRules;

    #[test]
    fn a_target_at_an_address_that_is_probed_already_is_watched_like_the_first() {
        let nobody = RoutingSnapshot::clone(&known(&[]).snapshot);
        let (standing, deciding) = (Standing::new(RULES), Deciding::new(nobody));
        let mut probing = Probing::default();
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).into()).collect::<BTreeSet<TargetId>>();

        let probed = probing.follow(known(&["a"]), &standing, &deciding).unwrap();
        let [ProbeTarget { at, .. }] = &probed[..] else { panic!("{probed:?}") };
        standing.probed((at.transport, at.peer), false);
        assert_eq!(standing.down(), ids(&["a"]));

        let others = probing.follow(known(&["a", "b"]), &standing, &deciding);
        assert_eq!(others, None, "the address is probed already");
        assert_eq!(standing.down(), ids(&["a", "b"]));
        assert_eq!(*deciding.down(), ids(&["a", "b"]));

        assert_eq!(probing.follow(known(&["b"]), &standing, &deciding), None);
        assert_eq!(standing.down(), ids(&["b"]));
        assert_eq!(probing.follow(known(&[]), &standing, &deciding), Some(vec![]));
        assert_eq!(standing.down(), ids(&[]));
    }

    const RULES: HealthRules =
        HealthRules { penalty: Duration::from_secs(30), penalty_max: Duration::from_secs(300) };

    /// Targets of these ids, all at one address, which is to be probed.
    fn known(ids: &[&str]) -> Known {
        let target = |id: &&str| {
            format!(
                "[[targets]]\nid = \"{id}\"\nbuyer = \"b\"\n\
                 dial = {{ kind = \"sip\", uri = \"sip:{id}@192.0.2.1\" }}\n\
                 sip = {{ probe = {{ interval_s = 10 }} }}\n"
            )
        };
        let text =
            format!("[[buyers]]\nid = \"b\"\n{}", ids.iter().map(target).collect::<String>());
        let config = Config::parse("test.toml", &text, Format::Toml, std::iter::empty(), &[]);
        let compiled = compile(&config.unwrap(), 1).unwrap();
        Known {
            snapshot: Arc::new(compiled.routing),
            addresses: Arc::default(),
            targets: Arc::new(compiled.targets),
            tls: Arc::default(),
        }
    }

    #[test]
    fn the_question_is_for_the_host_and_not_for_a_user_of_it() {
        let of = |uri| host_uri(uri).map(|uri| String::from_utf8_lossy(&uri).into_owned());

        assert_eq!(of("sip:+18005550100@b.example;x=y").as_deref(), Some("sip:b.example"));
        assert_eq!(of("sips:q@[2001:db8::1]:5071").as_deref(), Some("sips:[2001:db8::1]:5071"));
        assert_eq!(of("nonsense"), None);
    }
}
