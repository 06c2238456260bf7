//! What a trunk, a target or a scorer says about TLS, in one form.

use std::path::PathBuf;

use smol_str::SmolStr;

use crate::routing::config::PeerTlsConfig;
use crate::sip::transport::{CertificateFiles, FileSpec, PeerSpec, Pin, TlsFault};
use crate::sip::trunk::profile::OutboundTls;

/// As it stands in the configuration.
pub(in crate::server) struct Said<'a> {
    /// Where it stands.
    pub(in crate::server) field: &'a str,
    pub(in crate::server) verify: bool,
    pub(in crate::server) sni: bool,
    pub(in crate::server) extra_ca: Option<PathBuf>,
    pub(in crate::server) pins: &'a [SmolStr],
    pub(in crate::server) client_cert: Option<PathBuf>,
    pub(in crate::server) client_key: Option<PathBuf>,
}

impl<'a> Said<'a> {
    pub(in crate::server) fn of(field: &'a str, config: &'a PeerTlsConfig) -> Self {
        let PeerTlsConfig { verify, extra_ca, pins, client_cert, client_key } = config;
        Self {
            field,
            verify: *verify,
            sni: true,
            extra_ca: extra_ca.clone(),
            pins,
            client_cert: client_cert.clone(),
            client_key: client_key.clone(),
        }
    }

    pub(in crate::server) fn of_trunk(field: &'a str, tls: &'a OutboundTls) -> Self {
        let path = |name: &SmolStr| PathBuf::from(name.as_str());
        Self {
            field,
            verify: tls.verify.unwrap_or(true),
            sni: tls.sni.unwrap_or(true),
            extra_ca: tls.extra_ca.as_ref().map(path),
            pins: &tls.pins,
            client_cert: tls.client_cert.as_ref().map(path),
            client_key: tls.client_key.as_ref().map(path),
        }
    }

    /// Whoever has one of these names. Without any, who has the name that is asked for.
    pub(in crate::server) fn peer(
        &self,
        names: Vec<SmolStr>,
        faults: &mut Vec<TlsFault>,
    ) -> PeerSpec {
        let field = self.field;
        let file = |path: &Option<PathBuf>, name: &str| {
            path.clone().map(|path| FileSpec { path, field: format!("{field}.{name}") })
        };
        let pins = self.pins(faults);
        let pair = (file(&self.client_cert, "client_cert"), file(&self.client_key, "client_key"));
        let client_certificate = match pair {
            (Some(chain), Some(key)) => Some(CertificateFiles { chain, key }),
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                faults.push(TlsFault {
                    field: alone.field,
                    value: alone.path.display().to_string(),
                    problem: String::from("stands alone"),
                    remedy: "name both client_cert and client_key, or neither",
                });
                None
            }
        };
        PeerSpec {
            field: field.to_owned(),
            names,
            sni: self.sni,
            verify: self.verify,
            extra_ca: file(&self.extra_ca, "extra_ca"),
            pins,
            client_certificate,
        }
    }

    fn pins(&self, faults: &mut Vec<TlsFault>) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (position, text) in self.pins.iter().enumerate() {
            match text.parse() {
                Ok(pin) => pins.push(pin),
                Err(error) => faults.push(TlsFault {
                    field: format!("{}.pins[{position}]", self.field),
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
