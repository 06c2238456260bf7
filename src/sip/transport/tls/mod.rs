//! What TLS connections are made with: our certificates, whom we trust, and who must be there.
//!
//! Owns reading the files that say so ([`TlsSettings::load`]), the choice of our certificate by the
//! name a client asks for, and the proof that a server is who its URI names: the name *before* it
//! was resolved (RFC 5922 §7.2, RFC 6066 §3). Does not own connections, which take what they need
//! at their handshake and keep it: new settings touch none that is open.
//!
//! ```text
//! TlsSpec (paths) ─ load ─► TlsSettings ─┬─► server: chain by SNI, client certificates
//!                                        └─► peers[TlsPeer]: names, roots, pins, certificate
//! ```

#[cfg(test)]
#[path = "../../../../tests/it/support/authority.rs"]
pub(crate) mod authority;
mod certificate;
mod client;
mod files;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use smol_str::SmolStr;

use crate::sip::flow::TlsPeer;

pub use certificate::Pin;
pub(in crate::sip::transport) use certificate::names_of;
use client::PeerConfig;
use files::Files;
pub use files::Stamp;

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// What we show to clients, the first where no other has the name they ask for. Without any,
    /// no connection is accepted.
    pub certificates: Vec<CertificateFiles>,
    pub version_min: TlsVersion,
    /// Names such as `TLS13_AES_128_GCM_SHA256`; empty: all that are safe.
    pub cipher_suites: Vec<SmolStr>,
    pub client_auth: ClientAuth,
    /// Who vouches for clients; without it the system's authorities do.
    pub client_ca: Option<FileSpec>,
    /// By numbers, among which there may be gaps.
    pub peers: BTreeMap<TlsPeer, PeerSpec>,
}

/// A certificate chain, the leaf first, and the key of the leaf; both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub chain: FileSpec,
    pub key: FileSpec,
}

/// A file, and where the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    pub path: PathBuf,
    /// Such as `sip.tls.certificates[0].key_file`.
    pub field: String,
}

/// Who has to be at the other end of a connection we open, and what we show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    /// Where the configuration speaks of it, such as `targets[2].dial.uri`.
    pub field: String,
    /// Its certificate has to have one of these: host names or addresses. Without any, the address
    /// that was connected to. The first is sent as SNI if it is a host name.
    pub names: Vec<SmolStr>,
    /// Whether the name is sent.
    pub sni: bool,
    /// Whether chain and name are checked.
    pub verify: bool,
    /// Authorities besides those of the system.
    pub extra_ca: Option<FileSpec>,
    /// With any, the key of its certificate has to be one of these, whatever else is checked.
    pub pins: Vec<Pin>,
    /// What we show if it asks.
    pub client_certificate: Option<CertificateFiles>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// Whether clients are asked for a certificate. One that is shown has to be good in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

/// A file or name that cannot be used. Configuration is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct TlsFault {
    pub field: String,
    pub value: String,
    /// Completes "`value` …".
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Loaded and checked; what handshakes are made with.
#[derive(Debug, Default)]
pub struct TlsSettings {
    server: Option<Arc<ServerConfig>>,
    peers: BTreeMap<TlsPeer, PeerConfig>,
    /// For a flow that names no peer.
    anyone: Option<PeerConfig>,
    certificates: Vec<OwnCertificate>,
}

/// One of our certificates, for whoever watches over its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub file: PathBuf,
    /// Its first host name; empty if it has none.
    pub name: String,
    /// Since 1970.
    pub not_after: Duration,
}

impl TlsSpec {
    /// Nothing is accepted, and whoever is called is checked by its address.
    pub fn nothing() -> Self {
        Self {
            certificates: Vec::new(),
            version_min: TlsVersion::default(),
            cipher_suites: Vec::new(),
            client_auth: ClientAuth::None,
            client_ca: None,
            peers: BTreeMap::new(),
        }
    }

    /// What all its files look like from outside; another value tells that one has changed.
    pub fn stamp(&self) -> Stamp {
        let of_peers = self.peers.values().flat_map(PeerSpec::files);
        let certificates = self.certificates.iter().flat_map(CertificateFiles::paths);
        let client_ca = self.client_ca.iter().map(|file| file.path.clone());
        Stamp::of(certificates.chain(client_ca).chain(of_peers))
    }
}

impl CertificateFiles {
    fn paths(&self) -> [PathBuf; 2] {
        [self.chain.path.clone(), self.key.path.clone()]
    }
}

impl PeerSpec {
    /// Whether anybody could be there and we would not know.
    pub fn is_unverified(&self) -> bool {
        !self.verify && self.pins.is_empty()
    }

    /// As [`TlsSpec::stamp`].
    pub fn stamp(&self) -> Stamp {
        Stamp::of(self.files())
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let shown = self.client_certificate.iter().flat_map(CertificateFiles::paths);
        self.extra_ca.iter().map(|file| file.path.clone()).chain(shown)
    }
}

impl TlsSettings {
    /// Reads every file.
    ///
    /// # Errors
    /// All that is wrong with them. A chain whose key is another's is wrong, too.
    pub fn load(spec: &TlsSpec) -> Result<Self, Vec<TlsFault>> {
        let mut files = Files::default();
        let provider = Arc::new(provider(&spec.cipher_suites, &mut files));
        let server = server::config(spec, &provider, &mut files);
        let peers = spec
            .peers
            .iter()
            .map(|(number, peer)| {
                let config = client::config(peer, spec.version_min, &provider, &mut files)?;
                Some((*number, config))
            })
            .collect::<Option<BTreeMap<_, _>>>();
        // Its roots are read only when they are needed: most processes never do.
        let anyone = PeerConfig::by_address(spec.version_min, &provider);
        let (certificates, faults) = files.finish();
        match (faults.is_empty(), peers) {
            (true, Some(peers)) => Ok(Self { server, peers, anyone, certificates }),
            _ => Err(faults),
        }
    }

    /// The same with other numbers for the peers; `number` gives no two the same.
    #[must_use]
    pub fn renumbered(mut self, number: impl Fn(TlsPeer) -> TlsPeer) -> Self {
        let peers = self.peers.into_iter().map(|(peer, config)| (number(peer), config));
        self.peers = peers.collect();
        self
    }

    /// These, and for peers that are not among them what there was before: calls to them go on.
    pub(in crate::sip::transport) fn following(mut self, before: &Self) -> Self {
        for (peer, config) in &before.peers {
            self.peers.entry(*peer).or_insert_with(|| config.clone());
        }
        self
    }

    /// Our certificates, also those we show as a client.
    pub fn certificates(&self) -> &[OwnCertificate] {
        &self.certificates
    }

    /// The server's side of a handshake; `None` if we have no certificate.
    pub(in crate::sip::transport) fn accept(&self) -> Option<ServerConnection> {
        ServerConnection::new(Arc::clone(self.server.as_ref()?)).ok()
    }

    /// The client's side of one with `peer`, who is to be reached at `address`. The flag says
    /// whether we will know who is there.
    pub(in crate::sip::transport) fn connect(
        &self,
        peer: Option<TlsPeer>,
        address: std::net::IpAddr,
    ) -> Option<(ClientConnection, bool)> {
        let peer = match peer {
            Some(peer) => self.peers.get(&peer)?,
            None => self.anyone.as_ref()?,
        };
        peer.connect(address)
    }
}

/// What connections to one peer are made with that nobody else here speaks with.
///
/// # Errors
/// All that is wrong with its files and names.
pub fn client_config(peer: &PeerSpec) -> Result<Arc<ClientConfig>, Vec<TlsFault>> {
    let mut files = Files::default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = client::config(peer, TlsVersion::default(), &provider, &mut files);
    let (_, faults) = files.finish();
    config.map(PeerConfig::into_config).ok_or(faults)
}

/// What a client has to be made with that will speak to nobody over TLS: it trusts nobody.
pub fn no_client_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(TlsVersion::default().and_newer())
        .expect("the provider has cipher suites for both versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// Cryptography by ring: small, and quick to build.
fn provider(cipher_suites: &[SmolStr], files: &mut Files) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if cipher_suites.is_empty() {
        return provider;
    }
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    for (position, wanted) in cipher_suites.iter().enumerate() {
        if !known.iter().any(|known| known == wanted) {
            files.fault(TlsFault {
                field: format!("sip.tls.cipher_suites[{position}]"),
                value: wanted.to_string(),
                problem: format!("is none of {}", known.join(", ")),
                remedy: "use one of them, or leave the list out",
            });
        }
    }
    provider.cipher_suites.retain(|suite| cipher_suites.iter().any(|it| *it == name(suite)));
    provider
}

impl TlsVersion {
    /// This one and what came after.
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static V1_2: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::V1_2 => &V1_2,
            Self::V1_3 => &V1_2[..1],
        }
    }
}
