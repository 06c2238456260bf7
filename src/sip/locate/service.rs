//! What of a URI decides where it leads.

use smol_str::SmolStr;

use crate::sip::flow::Transport;
use crate::sip::message::{Scheme, Uri};

use super::records::lower;

/// The parts of a URI that RFC 3263 §4 looks at. URIs that agree in them lead to the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// In lower case, without a dot at its end.
    pub host: SmolStr,
    /// Absent: DNS says, or it is the usual one.
    pub port: Option<u16>,
    /// Absent: DNS says.
    pub transport: Option<Transport>,
    /// A `sips:` URI, which leads over TLS whatever DNS says.
    pub secure: bool,
}

impl Service {
    /// `None` for a URI whose host is an address, or that has none: no name has to be looked up.
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return None,
        };
        if uri.host_ip().is_some() || uri.host().is_empty() {
            return None;
        }
        let transport = match uri.params().get(b"transport").flatten() {
            Some(_) if secure => Some(Transport::Tls),
            Some(name) if name.eq_ignore_ascii_case(b"tls") => Some(Transport::Tls),
            Some(name) if name.eq_ignore_ascii_case(b"tcp") => Some(Transport::Tcp),
            Some(_) => Some(Transport::Udp),
            None => None,
        };
        let host = lower(std::str::from_utf8(uri.host()).ok()?);
        Some(Self { host, port: uri.port(), transport, secure })
    }

    /// A host of which only the addresses matter.
    pub fn host(name: &str) -> Self {
        let port = Some(Transport::Udp.default_port());
        Self { host: lower(name), port, transport: Some(Transport::Udp), secure: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_what_was_said_of_port_and_transport_is_a_service() {
        let of = |text: &str| Service::of(&Uri::parse(text.as_bytes()).unwrap());
        let service = |host: &str, port, transport, secure| {
            Some(Service { host: host.into(), port, transport, secure })
        };

        assert_eq!(of("sip:1@SBC.example.com"), service("sbc.example.com", None, None, false));
        assert_eq!(of("sip:a.example:5070"), service("a.example", Some(5070), None, false));
        assert_eq!(
            of("sip:a.example;transport=TCP"),
            service("a.example", None, Some(Transport::Tcp), false)
        );
        assert_eq!(of("sips:a.example"), service("a.example", None, None, true));
        assert_eq!(
            of("sips:a.example;transport=tcp"),
            service("a.example", None, Some(Transport::Tls), true)
        );
        assert_eq!(of("sip:192.0.2.1"), None);
        assert_eq!(of("tel:+18005550100"), None);
    }
}
