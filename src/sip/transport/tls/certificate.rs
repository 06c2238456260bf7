//! What a certificate says: whose it is, until when, with which key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The SHA-256 of a certificate's public key with its algorithm (SubjectPublicKeyInfo, RFC 7469
/// §2.4), written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256 in 64 hexadecimal digits")]
pub struct ParsePinError;

/// What we want to know of a certificate.
pub(super) struct About {
    pub(super) names: Vec<String>,
    /// Since 1970.
    pub(super) not_after: Duration,
}

pub(super) fn about(certificate: &CertificateDer<'_>) -> Option<About> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(About { names: names(&certificate), not_after })
}

/// The names in a certificate's subjectAltName (RFC 5922 §7.1) in small letters: host names as
/// they are, URIs in full and, of `sip:` and `sips:` ones without a user part, the host as well.
pub(in crate::sip::transport) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    Certificate::from_der(certificate).map_or_else(|_| Vec::new(), |it| names(&it))
}

fn names(certificate: &Certificate) -> Vec<String> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(found)))) = found else { return Vec::new() };
    let mut names = Vec::new();
    for name in &found {
        if let GeneralName::DnsName(name) = name {
            names.push(name.as_str().to_ascii_lowercase());
        }
        if let GeneralName::UniformResourceIdentifier(uri) = name {
            let uri = uri.as_str().to_ascii_lowercase();
            names.extend(sip_domain(&uri).map(str::to_owned));
            names.push(uri);
        }
    }
    names
}

/// `example.com` of `sip:example.com`; a URI with a user part is nobody's domain.
fn sip_domain(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:"))?;
    (!rest.is_empty() && !rest.contains(['@', ';', '?', ':'])).then_some(rest)
}

/// The authorities this machine trusts; none if it has no list of them.
pub(super) fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of this system could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}

impl Pin {
    /// Of the key in this certificate; `None` if it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let key = certificate.tbs_certificate().subject_public_key_info().to_der().ok()?;
        Some(Self(Sha256::digest(key).into()))
    }
}

impl FromStr for Pin {
    type Err = ParsePinError;

    fn from_str(text: &str) -> Result<Self, ParsePinError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParsePinError);
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(ParsePinError);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).map_err(|_| ParsePinError)?;
        }
        Ok(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uri_without_a_user_part_names_a_domain() {
        assert_eq!(sip_domain("sip:carrier.example"), Some("carrier.example"));
        assert_eq!(sip_domain("sips:carrier.example"), Some("carrier.example"));
        for uri in ["sip:alice@carrier.example", "https://carrier.example", "sip:", "sip:a;b"] {
            assert_eq!(sip_domain(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_pin_is_64_digits() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Pin>().unwrap().to_string(), text);
        for text in ["", "0123", &"x".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(text.parse::<Pin>(), Err(ParsePinError), "{text}");
        }
    }
}
