//! The side that calls: who must be there, and what we show it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::certificate::{self, Pin, names_of};
use super::files::Files;
use super::{PeerSpec, TlsFault, TlsVersion};

/// How connections to one peer are made.
#[derive(Clone, Debug)]
pub(super) struct PeerConfig {
    config: Arc<ClientConfig>,
    /// Who is asked for; without it the address.
    name: Option<ServerName<'static>>,
    is_verified: bool,
}

/// `None` together with a fault.
pub(super) fn config(
    spec: &PeerSpec,
    version_min: TlsVersion,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
) -> Option<PeerConfig> {
    let mut names = Vec::new();
    for name in &spec.names {
        match ServerName::try_from(name.to_string()) {
            Ok(name) => names.push(name),
            Err(_) => files.fault(TlsFault {
                field: spec.field.clone(),
                value: name.to_string(),
                problem: String::from("is no name a certificate could have"),
                remedy: "write a host name or an address there",
            }),
        }
    }
    let trust = match spec.verify {
        true => Trust::Roots(files.roots(spec.extra_ca.as_ref())?),
        false => Trust::Anybody,
    };
    let shown = match &spec.client_certificate {
        Some(pair) => Some(files.certified_key(pair, provider)?),
        None => None,
    };
    let verifier = PeerVerifier {
        trust,
        names: names.clone(),
        pins: spec.pins.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let name = names.into_iter().next();
    let mut config = client_config(verifier, version_min, provider, shown)?;
    config.enable_sni = spec.sni;
    Some(PeerConfig { config: Arc::new(config), name, is_verified: !spec.is_unverified() })
}

/// `None` if there is no cipher suite for the versions, which the server's side reports.
fn client_config(
    verifier: PeerVerifier,
    version_min: TlsVersion,
    provider: &Arc<CryptoProvider>,
    shown: Option<rustls::sign::CertifiedKey>,
) -> Option<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(version_min.and_newer())
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match shown {
        Some(key) => builder.with_client_cert_resolver(Arc::new(
            rustls::sign::SingleCertAndKey::from(Arc::new(key)),
        )),
        None => builder.with_no_client_auth(),
    };
    // One session for each of a few addresses.
    config.resumption = Resumption::in_memory_sessions(8);
    Some(config)
}

impl PeerConfig {
    /// For peers we know nothing of: their certificate has to name the address they are at.
    pub(super) fn by_address(
        version_min: TlsVersion,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Self> {
        let verifier = PeerVerifier {
            trust: Trust::System(OnceLock::new()),
            names: Vec::new(),
            pins: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
        };
        let config = client_config(verifier, version_min, provider, None)?;
        Some(Self { config: Arc::new(config), name: None, is_verified: true })
    }

    pub(super) fn into_config(self) -> Arc<ClientConfig> {
        self.config
    }

    pub(super) fn connect(&self, address: IpAddr) -> Option<(ClientConnection, bool)> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(address));
        let connection = ClientConnection::new(Arc::clone(&self.config), name).ok()?;
        Some((connection, self.is_verified))
    }
}

/// Checks pin, chain and name, in this order.
#[derive(Debug)]
struct PeerVerifier {
    trust: Trust,
    names: Vec<ServerName<'static>>,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    Roots(Arc<RootCertStore>),
    /// Read when first needed.
    System(OnceLock<Arc<RootCertStore>>),
    /// Neither chain nor name is looked at.
    Anybody,
}

impl PeerVerifier {
    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        let pinned = |pin| self.pins.contains(&pin);
        self.pins.is_empty() || Pin::of(certificate).is_some_and(pinned)
    }

    /// RFC 5922 §7.2; a `sip:` URI in the certificate names its host as a DNS name does.
    fn is_named(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        asked: &ServerName<'_>,
    ) -> Result<(), Error> {
        let asked = [asked.to_owned()];
        let names = if self.names.is_empty() { &asked[..] } else { &self.names[..] };
        let mut last = Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in names {
            match verify_server_name(parsed, name) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        let uris = names_of(certificate);
        let is_uri = |name: &ServerName<'_>| {
            let name = name.to_str().to_ascii_lowercase();
            uris.iter().any(|uri| uri.strip_prefix("sip:") == Some(name.as_str()))
        };
        if names.iter().any(is_uri) { Ok(()) } else { Err(last) }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.is_pinned(end_entity) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let roots = match &self.trust {
            Trust::Roots(roots) => roots,
            Trust::System(roots) => roots.get_or_init(certificate::system_roots),
            Trust::Anybody => return Ok(ServerCertVerified::assertion()),
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, all)?;
        self.is_named(end_entity, &parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
