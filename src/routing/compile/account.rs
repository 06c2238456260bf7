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
        Account {
            id: config.id.clone(),
            name: named(&config.name, config.id.as_str()),
            currency: config.currency.clone(),
            caps: limits.caps,
            concurrency: limits.concurrency,
            zone_from: config.zone_from(),
        }
    }
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
