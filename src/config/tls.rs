//! `[sip.tls]`: what TLS connections show and ask for.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::fault::Finding;
use super::listen::{ListenAddress, ListenTransport};
use super::settings::seconds;

/// `[sip.tls]`. Targets and trunks say on their own whom they trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Shown by TLS listeners, each to clients that ask for a name in it, the first to all others.
    pub certificates: Vec<CertificateSettings>,
    /// Oldest version spoken, to clients and to servers. Default `1.2`.
    pub min_version: MinVersion,
    /// Names such as `TLS13_AES_128_GCM_SHA256`. Default: all that are safe.
    pub cipher_suites: Vec<SmolStr>,
    /// Whether clients have to show a certificate. Default `none`.
    pub client_auth: ClientAuth,
    /// PEM file of the authorities that vouch for clients. Default: those of the system.
    pub client_ca_file: Option<PathBuf>,
    /// How often all files are looked at; those that changed are read again. Seconds, default 5.
    #[serde(rename = "reload_s", with = "seconds")]
    pub reload: Duration,
    /// A certificate that ends sooner is warned about. Days, default 14.
    pub expiry_warning_days: u32,
}

/// One `sip.tls.certificates` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSettings {
    /// PEM file: the certificate, then those that lead to its authority.
    pub chain_file: PathBuf,
    /// PEM file: the private key of the first.
    pub key_file: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One is asked for. Without it a client is known by its address.
    Optional,
    /// Without one the handshake fails.
    Required,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            min_version: MinVersion::default(),
            cipher_suites: Vec::new(),
            client_auth: ClientAuth::default(),
            client_ca_file: None,
            reload: Duration::from_secs(5),
            expiry_warning_days: 14,
        }
    }
}

impl TlsSettings {
    /// What does not fit the listeners.
    pub(super) fn check(&self, listen: &[ListenAddress], findings: &mut Vec<Finding>) {
        let listener = listen.iter().position(|it| it.transport == ListenTransport::Tls);
        if let Some(position) = listener
            && self.certificates.is_empty()
        {
            findings.push(Finding {
                path: format!("sip.listen[{position}]"),
                value: listen[position].to_string(),
                problem: String::from("needs a certificate to show"),
                remedy: String::from(
                    "add [sip.tls] certificates = [{ chain_file = \"…\", key_file = \"…\" }]",
                ),
            });
        }
        if let Some(file) = self.client_ca_file.as_ref()
            && self.client_auth == ClientAuth::None
        {
            findings.push(Finding {
                path: String::from("sip.tls.client_ca_file"),
                value: file.display().to_string(),
                problem: String::from("has no effect while client_auth is \"none\""),
                remedy: String::from("set client_auth to \"optional\" or \"required\""),
            });
        }
    }
}
