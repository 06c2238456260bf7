//! What scorers and enrichers are asked with: a client for each way to speak TLS.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::config::Config;
use crate::routing::RoutingConfig;
use crate::routing::config::PeerTlsConfig;
use crate::sip::transport::{PeerSpec, Stamp, TlsFault, client_config};

use super::super::egress::{Egress, EgressClient};
use super::super::tls::Said;
use super::StartError;

/// How scorers and enrichers of a configuration are known that are asked over TLS. No file has been read.
#[derive(Clone, Debug, Default)]
pub struct ScorerPeers {
    peers: BTreeMap<PeerTlsConfig, PeerSpec>,
    /// Those that anybody could pretend to be, such as `scorer learned`.
    unverified: Vec<String>,
}

/// What they are asked with; the files have been read. A client keeps connections for its next
/// questions.
pub struct Clients {
    plain: EgressClient,
    by_tls: BTreeMap<PeerTlsConfig, Client>,
}

struct Client {
    /// Of the files, before they were read.
    stamp: Stamp,
    http: EgressClient,
}

impl ScorerPeers {
    /// Reads `scorers[].tls` and `enrichers[].tls`.
    ///
    /// # Errors
    /// All that is wrong with what stands there.
    pub fn compile(config: &Config, routing: &RoutingConfig) -> Result<Self, StartError> {
        let (mut peers, mut unverified, mut faults) = (BTreeMap::new(), vec![], vec![]);
        let scorers = routing.scorers.iter().enumerate();
        let scorers = scorers.map(|(n, it)| (("scorer", n), &it.id, it.speaks_tls(), &it.tls));
        let enrichers = routing.enrichers.iter().enumerate();
        let enrichers =
            enrichers.map(|(n, it)| (("enricher", n), &it.id, it.speaks_tls(), &it.tls));
        let asked = scorers.chain(enrichers).filter(|(_, _, is_tls, _)| *is_tls == Some(true));
        for ((kind, position), id, _, tls) in asked {
            let field = format!("{kind}s[{position}].tls");
            let peer = Said::of(&field, tls).peer(vec![], &mut faults);
            if peer.is_unverified() {
                unverified.push(format!("{kind} {id}"));
            }
            peers.entry(tls.clone()).or_insert(peer);
        }
        told(config, faults).map_or(Ok(Self { peers, unverified }), Err)
    }

    /// Tells whom nobody will check.
    pub fn unverified(&self) -> impl Iterator<Item = String> {
        self.unverified.iter().map(|who| {
            format!(
                "TLS to {who} is NOT VERIFIED: anybody on the way can read what it is \
                 told, and answer for it; set tls.verify = true, or pin its key"
            )
        })
    }

    /// Reads all files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(&self, config: &Config) -> Result<Clients, StartError> {
        let egress = Arc::new(Egress::new(&config.settings.egress));
        let (mut by_tls, mut faults) = (BTreeMap::new(), vec![]);
        for (tls, peer) in &self.peers {
            let stamp = peer.stamp();
            match client_config(peer) {
                Ok(loaded) => {
                    let http = egress.client(Some(Arc::unwrap_or_clone(loaded)));
                    by_tls.insert(tls.clone(), Client { stamp, http });
                }
                Err(wrong) => faults.extend(wrong),
            }
        }
        let clients = Clients { plain: egress.client(None), by_tls };
        told(config, faults).map_or(Ok(clients), Err)
    }
}

impl Clients {
    /// The client for whoever has these settings; `None`: no configuration of this process had
    /// them.
    pub(super) fn of(&self, tls: Option<&PeerTlsConfig>) -> Option<EgressClient> {
        match tls {
            None => Some(self.plain.clone()),
            Some(tls) => self.by_tls.get(tls).map(|client| client.http.clone()),
        }
    }

    /// How many ways to speak TLS there are.
    #[cfg(test)]
    pub(super) fn ways(&self) -> usize {
        self.by_tls.len()
    }

    /// These in the place of `before`, from which is taken what is as it was, with its connections.
    /// What is in use no more stays for calls that are being decided, and for revisions of before.
    pub(super) fn following(mut self, before: &Self) -> Self {
        self.plain = before.plain.clone();
        for (tls, old) in &before.by_tls {
            let keep = || Client { stamp: old.stamp.clone(), http: old.http.clone() };
            match self.by_tls.entry(tls.clone()) {
                Entry::Occupied(mut new) if new.get().stamp == old.stamp => {
                    new.insert(keep());
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(keep());
                }
            }
        }
        self
    }
}

fn told(config: &Config, faults: Vec<TlsFault>) -> Option<StartError> {
    let told = |it: TlsFault| (it.field, it.value, it.problem, it.remedy.to_owned());
    (!faults.is_empty()).then(|| config.faults(faults.into_iter().map(told)).into())
}
