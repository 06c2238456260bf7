//! Whom the server works for.

use jiff::tz::TimeZone;

use crate::routing::config::{AccountConfig, ConfigFault};
use crate::routing::schedule::bundled_zone;
use crate::routing::snapshot::Account;

use super::{Compiler, named};

impl Compiler<'_> {
    pub(super) fn account(&mut self, config: &AccountConfig) -> Account {
        let owner = format!("account/{}", config.id);
        let limits = (&config.caps[..], config.concurrency.as_ref(), None);
        let limits = self.limits("account", &owner, limits);
        if let Some(host) = &config.sip_host
            && !is_host(host)
        {
            let remedy =
                "write a name or an address, and a port if it is not 5060: sip.example.com";
            self.fault("account", "sip_host", host, "is no host of a SIP address", remedy);
        }
        Account {
            id: config.id.clone(),
            name: named(&config.name, config.id.as_str()),
            currency: config.currency.clone(),
            sip_host: config.sip_host.clone(),
            stand_in: config.stand_in_number,
            caps: limits.caps,
            concurrency: limits.concurrency,
            zone_from: config.zone_from(),
        }
    }
}

/// What may stand behind the `@` of a SIP URI.
fn is_host(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_rest = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return is_rest && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    !host.is_empty() && host.bytes().all(is_of_name) && port.is_none_or(is_port)
}

/// That of whoever says no other.
pub(super) fn zone(config: &AccountConfig, faults: &mut Vec<ConfigFault>) -> TimeZone {
    let Some(name) = &config.time_zone else { return TimeZone::UTC };
    bundled_zone(name).unwrap_or_else(|| {
        faults.push(ConfigFault {
            path: String::from("account.time_zone"),
            value: name.clone(),
            problem: String::from("is no known time zone"),
            remedy: String::from("write an IANA name such as America/New_York"),
        });
        TimeZone::UTC
    })
}
