//! The side that is called: which certificate is shown, and whose is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::certificate::names_of;
use super::files::Files;
use super::{ClientAuth, TlsFault, TlsSpec};

/// `None` without a certificate, or together with a fault.
pub(super) fn config(
    spec: &TlsSpec,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
) -> Option<Arc<ServerConfig>> {
    let mut keys = Vec::new();
    for pair in &spec.certificates {
        keys.extend(files.certified_key(pair, provider).map(Arc::new));
    }
    let verifier = verifier(spec, provider, files)?;
    if keys.is_empty() {
        return None;
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(spec.version_min.and_newer());
    match builder {
        Ok(builder) => {
            let builder = builder.with_client_cert_verifier(verifier);
            Some(Arc::new(builder.with_cert_resolver(Arc::new(ByName::new(keys)))))
        }
        Err(_) => {
            files.fault(no_common_suite(spec));
            None
        }
    }
}

/// What the list of cipher suites leaves does not fit the versions.
pub(super) fn no_common_suite(spec: &TlsSpec) -> TlsFault {
    let suites: Vec<&str> = spec.cipher_suites.iter().map(|it| it.as_str()).collect();
    TlsFault {
        field: String::from("sip.tls.cipher_suites"),
        value: suites.join(", "),
        problem: String::from("has none for the versions that sip.tls.min_version leaves"),
        remedy: "add one that begins with TLS13_, or leave the list out",
    }
}

fn verifier(
    spec: &TlsSpec,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
) -> Option<Arc<dyn ClientCertVerifier>> {
    if spec.client_auth == ClientAuth::None {
        return Some(Arc::new(NoClientAuth));
    }
    let roots = match &spec.client_ca {
        Some(file) => files.roots_in(file)?,
        None => files.roots(None)?,
    };
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match spec.client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::None | ClientAuth::Required => builder,
    };
    match builder.build() {
        Ok(verifier) => Some(verifier),
        Err(error) => {
            files.fault(TlsFault {
                field: String::from("sip.tls.client_ca_file"),
                value: spec.client_ca.as_ref().map_or_else(
                    || String::from("the system's authorities"),
                    |file| file.path.display().to_string(),
                ),
                problem: format!("cannot vouch for clients: {error}"),
                remedy: "name a PEM file with the authorities that do",
            });
            None
        }
    }
}

/// Certificates by the name that is asked for (RFC 6066 §3).
#[derive(Debug)]
struct ByName {
    /// In small letters; `*.example.com` stands for one label in place of the star. Several of one
    /// name have keys of different kinds.
    by_name: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(keys: Vec<Arc<CertifiedKey>>) -> Self {
        let mut by_name = BTreeMap::<_, Vec<_>>::new();
        for key in &keys {
            for name in key.cert.first().map(names_of).unwrap_or_default() {
                by_name.entry(name).or_default().push(Arc::clone(key));
            }
        }
        Self { by_name, default: keys }
    }

    fn of(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wild = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(&name).or_else(wild)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.of(name));
        let schemes = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        named.unwrap_or(&self.default).iter().find(fits).cloned()
    }
}
