//! The address a target is dialled at, as far as it is known before the call.

use crate::phone::PhoneNumber;

use super::config::DialConfig;

/// A SIP URI with, perhaps, a place for the dialled number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTemplate {
    Fixed(String),
    /// The dialled number in E.164 goes between the two.
    Number {
        before: String,
        after: String,
    },
}

impl DialTemplate {
    /// `Err` is what is wrong with the URI, and what to write.
    pub(super) fn compile(config: &DialConfig) -> Result<Self, (&'static str, &'static str)> {
        const REMEDY: &str = "write a SIP URI such as sip:queue@192.0.2.10:5060";
        let uri = config.uri.as_str();
        let scheme = ["sip:", "sips:"].into_iter().find(|scheme| {
            uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let Some(scheme) = scheme else { return Err(("is no SIP URI", REMEDY)) };
        let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
        if !uri.bytes().all(allowed) {
            return Err(("holds a character that a SIP URI cannot hold", REMEDY));
        }
        let rest = &uri[scheme.len()..];
        // Neither parameters nor headers may hold a bare `@` (RFC 3261 §25.1).
        let (user, host) = match rest.split_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let end = host.find([';', '?']).unwrap_or(host.len());
        if host[..end].is_empty() || host[..end].starts_with(':') || user == Some("") {
            return Err(("has no host or an empty user part", REMEDY));
        }
        let only_in_user = "write it once, before the `@`";
        if host.contains("{number}") {
            return Err(("has `{number}` outside the user part", only_in_user));
        }
        let Some(user) = user else {
            return Ok(Self::Number { before: scheme.to_owned(), after: format!("@{host}") });
        };
        match user.split_once("{number}") {
            Some((_, after)) if after.contains("{number}") => {
                Err(("has `{number}` more than once", only_in_user))
            }
            Some((before, after)) => Ok(Self::Number {
                before: format!("{scheme}{before}"),
                after: format!("{after}@{host}"),
            }),
            None if user.contains(['{', '}']) => {
                Err(("has braces that are not `{number}`", "write `{number}` or nothing"))
            }
            None => Ok(Self::Fixed(uri.to_owned())),
        }
    }

    pub fn uri(&self, dialed: PhoneNumber) -> String {
        match self {
            Self::Fixed(uri) => uri.clone(),
            Self::Number { before, after } => format!("{before}+{}{after}", dialed.digits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::config::{DialKind, PeerTlsConfig};

    #[test]
    fn the_dialled_number_goes_where_the_template_says() {
        let cases = [
            ("sip:127.0.0.1:5070", "sip:+18005550100@127.0.0.1:5070"),
            ("sip:[::1]:5070;transport=tcp", "sip:+18005550100@[::1]:5070;transport=tcp"),
            ("sips:q-{number}@buyer.example", "sips:q-+18005550100@buyer.example"),
            (
                "sip:dispatch@buyer.example;transport=tls",
                "sip:dispatch@buyer.example;transport=tls",
            ),
        ];
        for (template, uri) in cases {
            let dialed = "+18005550100".parse().unwrap();
            assert_eq!(compile(template).unwrap().uri(dialed), uri);
        }
    }

    #[test]
    fn what_is_no_sip_uri_is_refused() {
        for uri in [
            "",
            "tel:+18005550100",
            "sip:",
            "sip:user@",
            "sip:@host",
            "sip::5060",
            "sip:a b@host",
            "sip:user@{number}.example",
            "sip:{number}{number}@host",
            "sip:{did}@host",
        ] {
            assert!(compile(uri).is_err(), "{uri}");
        }
    }

    fn compile(uri: &str) -> Result<DialTemplate, (&'static str, &'static str)> {
        DialTemplate::compile(&DialConfig {
            kind: DialKind::Sip,
            uri: uri.to_owned(),
            tls: PeerTlsConfig::default(),
        })
    }
}
