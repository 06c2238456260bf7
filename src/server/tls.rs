//! TLS: from the configuration to what the transport takes, and the watch over its files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use smol_str::{SmolStr, ToSmolStr};
use tokio::sync::watch;

use crate::config::{self, Config, ListenTransport, Settings};
use crate::id::TargetId;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::routing::config::DialTlsConfig;
use crate::sip::dialog::transport_of;
use crate::sip::flow::{ListenerId, TlsPeer, Transport};
use crate::sip::message::Uri;
use crate::sip::transport::{
    CertificateFiles, ClientAuth, FileSpec, OwnCertificate, PeerCheck, PeerSpec, Pin, Stranger,
    Tcp, TlsFault, TlsSettings, TlsSpec, TlsVersion,
};
use crate::sip::trunk::profile::{CarrierTransport, OutboundTls};
use crate::sip::trunk::{TrunkIndex, Trunks};

use super::sources::Sources;
use super::{Rounds, StartError, clock, metrics as names};

/// What the configuration says about TLS.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    spec: TlsSpec,
    parties: TlsParties,
    settings: config::TlsSettings,
    /// There is a TLS listener.
    listens: bool,
}

/// Who is behind a [`TlsPeer`].
#[derive(Clone, Debug, Default)]
pub struct TlsParties {
    /// So many peers are trunks, in their order.
    trunks: u16,
    targets: BTreeMap<TargetId, TlsPeer>,
}

impl TlsParties {
    /// Who has to be there when this target is called over TLS.
    pub fn target(&self, id: &TargetId) -> Option<TlsPeer> {
        self.targets.get(id).copied()
    }

    pub fn trunk(&self, peer: TlsPeer) -> Option<TrunkIndex> {
        (peer.0 < self.trunks).then_some(TrunkIndex(peer.0))
    }

    /// What a trunk is called on the connections it opens.
    pub fn peer_of(&self, trunk: TrunkIndex) -> Option<TlsPeer> {
        (trunk.0 < self.trunks).then_some(TlsPeer(trunk.0))
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
        draft.targets(routing);
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
            peers: draft.peers,
        };
        let listens = listens(&config.settings);
        Ok(Self { spec, parties: draft.parties, settings, listens })
    }

    /// Whether nothing that TLS is spoken by differs: peers are known by their places.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let speaks = |plan: &Self| plan.listens || !plan.parties.targets.is_empty();
        let peers = |plan: &Self| format!("{:?} {:?}", plan.spec, plan.parties);
        (!speaks(self) && !speaks(other)) || peers(self) == peers(other)
    }

    pub fn parties(&self) -> &TlsParties {
        &self.parties
    }

    /// Reads all files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(&self, config: &Config) -> Result<TlsSettings, StartError> {
        TlsSettings::load(&self.spec).map_err(|faults| {
            let told = |it: TlsFault| (it.field, it.value, it.problem, it.remedy.to_owned());
            config.faults(faults.into_iter().map(told)).into()
        })
    }

    /// Tells loudly, once, whom nobody will check.
    pub fn warn_of_unverified(&self) {
        let unverified = self.spec.peers.iter().filter(|peer| peer.is_unverified());
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

/// The plan while it is made.
#[derive(Default)]
struct Draft {
    /// Whether there is a TLS listener.
    listens: bool,
    peers: Vec<PeerSpec>,
    parties: TlsParties,
    faults: Vec<TlsFault>,
}

/// What a trunk or target says about TLS, in one form.
struct Said<'a> {
    field: &'a str,
    verify: bool,
    sni: bool,
    extra_ca: Option<PathBuf>,
    pins: &'a [SmolStr],
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
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
            let path = |name: &SmolStr| PathBuf::from(name.as_str());
            let names = inbound.tls_san.iter().map(|name| domain(name)).collect();
            self.add(
                names,
                &Said {
                    field: &format!("trunks[{position}].outbound.tls"),
                    verify: tls.verify.unwrap_or(true),
                    sni: tls.sni.unwrap_or(true),
                    extra_ca: tls.extra_ca.as_ref().map(path),
                    pins: &tls.pins,
                    client_cert: tls.client_cert.as_ref().map(path),
                    client_key: tls.client_key.as_ref().map(path),
                },
            );
            self.parties.trunks += 1;
        }
    }

    fn targets(&mut self, routing: &RoutingSnapshot) {
        let any = PhoneNumber::from_digits(18_005_550_100).expect("a number of eleven digits");
        for (position, target) in routing.targets().iter().enumerate() {
            let uri = target.dial.uri(any);
            let Ok(uri) = Uri::parse(uri.as_bytes()) else { continue };
            let field = format!("targets[{position}].dial");
            if transport_of(&uri) != Transport::Tls {
                if target.tls != DialTlsConfig::default() {
                    self.faults.push(TlsFault {
                        field: format!("{field}.tls"),
                        value: format!("of {}", target.id),
                        problem: String::from("has no effect, since dial.uri does not ask for TLS"),
                        remedy: "add ;transport=tls to the URI, or remove it",
                    });
                }
                continue;
            }
            if !self.listens {
                self.faults.push(TlsFault {
                    field: format!("{field}.uri"),
                    value: target.dial.uri(any),
                    problem: String::from("leads over TLS, which no listener speaks"),
                    remedy: "add one to sip.listen, such as \"tls:127.0.0.1:5061\"",
                });
            }
            let name = match uri.host_ip() {
                Some(ip) => ip.to_smolstr(),
                None => String::from_utf8_lossy(uri.host()).to_ascii_lowercase().into(),
            };
            let peer = self.add(
                vec![name],
                &Said {
                    field: &format!("{field}.tls"),
                    verify: target.tls.verify,
                    sni: true,
                    extra_ca: target.tls.extra_ca.clone(),
                    pins: &target.tls.pins,
                    client_cert: target.tls.client_cert.clone(),
                    client_key: target.tls.client_key.clone(),
                },
            );
            self.parties.targets.insert(target.id.clone(), peer);
        }
    }

    /// Targets that are alike in everything share their connections.
    fn add(&mut self, names: Vec<SmolStr>, said: &Said<'_>) -> TlsPeer {
        let field = said.field;
        let at = |name: &str| format!("{field}.{name}");
        let file = |path: &Option<PathBuf>, name| {
            path.clone().map(|path| FileSpec { path, field: at(name) })
        };
        let pins = self.pins(said);
        let pair = (file(&said.client_cert, "client_cert"), file(&said.client_key, "client_key"));
        let client_certificate = match pair {
            (Some(chain), Some(key)) => Some(CertificateFiles { chain, key }),
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                self.faults.push(TlsFault {
                    field: alone.field,
                    value: alone.path.display().to_string(),
                    problem: String::from("stands alone"),
                    remedy: "name both client_cert and client_key, or neither",
                });
                None
            }
        };
        let peer = PeerSpec {
            field: field.to_owned(),
            names,
            sni: said.sni,
            verify: said.verify,
            extra_ca: file(&said.extra_ca, "extra_ca"),
            pins,
            client_certificate,
        };
        // A trunk is a peer of its own.
        let trunks = usize::from(self.parties.trunks);
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

    fn pins(&mut self, said: &Said<'_>) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (position, text) in said.pins.iter().enumerate() {
            match text.parse() {
                Ok(pin) => pins.push(pin),
                Err(error) => self.faults.push(TlsFault {
                    field: format!("{}.pins[{position}]", said.field),
                    value: text.to_string(),
                    problem: format!("{error}"),
                    remedy: "take it from: openssl x509 -noout -pubkey -in FILE | \
                             openssl pkey -pubin -outform der | sha256sum",
                }),
            }
        }
        pins
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

const DAY: Duration = Duration::from_secs(86_400);

/// Reads files again when they change, and says when a certificate is about to end. What cannot be
/// used changes nothing.
pub(super) async fn watch(
    plan: TlsPlan,
    tcp: Arc<Tcp>,
    mut certificates: Vec<OwnCertificate>,
    ended: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::new(plan.settings.reload, ended);
    let warning = DAY * plan.settings.expiry_warning_days;
    let mut stamp = plan.spec.stamp();
    let mut warned_at = None;
    let (read_again, refused) = reload_counters();
    while rounds.next().await {
        // Taken before the files are read: one that changes meanwhile is seen in the next round.
        let current = plan.spec.stamp();
        if current != stamp {
            stamp = current;
            let spec = plan.spec.clone();
            match tokio::task::spawn_blocking(move || TlsSettings::load(&spec)).await {
                Ok(Ok(settings)) => {
                    certificates = settings.certificates().to_vec();
                    tcp.set_tls(settings);
                    warned_at = None;
                    read_again.increment(1);
                    tracing::info!("TLS files changed; new connections use them");
                }
                Ok(Err(faults)) => {
                    refused.increment(1);
                    for fault in faults {
                        tracing::error!(%fault, "a changed TLS file cannot be used; the old ones stay");
                    }
                }
                Err(_) => tracing::error!("reading TLS files panicked; the old ones stay"),
            }
        }
        let now = clock::mono();
        let is_due = warned_at.is_none_or(|at| now.since(at) >= DAY);
        for certificate in &certificates {
            let left = seconds_left(certificate);
            let file = certificate.file.display().to_string();
            gauge!(names::TLS_EXPIRY, "certificate" => file.clone()).set(left);
            if is_due && left < warning.as_secs_f64() {
                tracing::warn!(
                    name = certificate.name,
                    file,
                    days_left = (left / DAY.as_secs_f64()).floor(),
                    "a TLS certificate ends soon; put a new one in its place"
                );
            }
        }
        if is_due {
            warned_at = Some(now);
        }
    }
}

fn reload_counters() -> (metrics::Counter, metrics::Counter) {
    let count = |result: &'static str| counter!(names::TLS_RELOADS, "result" => result);
    (count("ok"), count("refused"))
}

/// Negative once it has ended.
fn seconds_left(certificate: &OwnCertificate) -> f64 {
    certificate.not_after.as_secs_f64() - clock::wall().0 as f64 / 1000.0
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
            plan.spec.peers.iter().map(|it| (it.names.join(" "), it.verify)).collect();
        assert_eq!(
            peers,
            [
                (String::from("carrier.example"), true),
                (String::from("buyer.example"), true),
                (String::from("::1"), false)
            ]
        );
        let target = |id: &str| plan.parties().target(&id.into());
        assert_eq!(target("a"), Some(TlsPeer(1)));
        assert_eq!(target("b"), Some(TlsPeer(1)));
        assert_eq!(target("c"), Some(TlsPeer(2)));
        assert_eq!(target("d"), None);
        assert_eq!(plan.parties().trunk(TlsPeer(0)), Some(TrunkIndex(0)));
        assert_eq!(plan.parties().trunk(TlsPeer(1)), None);
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
        let routing = compile::routing(&config, config.routing().unwrap(), 1).unwrap();
        TlsPlan::new(&config, &trunks, &routing)
    }
}
