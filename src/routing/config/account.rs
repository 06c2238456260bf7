//! Whom the server works for.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::AccountId;
use crate::money::Currency;
use crate::phone::PhoneNumber;

use super::{CapConfig, ConcurrencyConfig, Source};

/// All calls of the server are the account's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountConfig {
    /// Servers with the same id share the limits that are kept in Redis. It cannot change while the
    /// server runs.
    pub id: AccountId,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Of all amounts. It cannot change while the server runs.
    pub currency: Currency,
    /// Of caps, concurrency and schedules that say no other, such as `America/New_York`. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The host, and port if it is not 5060, at which calls to sessions' own addresses come in, as
    /// publishers are told it. Absent: they are told none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_host: Option<SmolStr>,
    /// The static number that a call to a session's own address counts as having dialled while nobody can say
    /// whose session it is, because the store that servers share does not answer. Absent: such a call goes
    /// nowhere, unless its trunk says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in_number: Option<PhoneNumber>,
    /// On all calls together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<CapConfig>,
    /// Of all calls. Absent: as many at once as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyConfig>,
}

impl AccountConfig {
    /// Who says the zone of whoever says none.
    pub(in crate::routing) fn zone_from(&self) -> Source {
        if self.time_zone.is_some() { Source::Account } else { Source::BuiltIn }
    }
}
