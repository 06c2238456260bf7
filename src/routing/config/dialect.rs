//! Publishers whose systems speak as another platform's do.

use std::collections::BTreeMap;

use serde::Deserialize;
use smol_str::SmolStr;

use crate::id::{CampaignId, PoolId, PublisherId};
use crate::phone::PhoneNumber;

use super::SecretKey;

/// What the pings of one publisher for one campaign mean that come as a platform has them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialectConfig {
    /// Its name in logs.
    pub id: SmolStr,
    pub dialect: Dialect,
    /// By which its pings are known: the RTB id (Ringba), the postback key (Retreaver), the last part of
    /// the address (TrackDrive), the grid id (CallGrid). Who knows it may send pings; 16 characters or
    /// more. This or `key_env`.
    #[serde(default)]
    pub key: Option<SecretKey>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub key_env: Option<SmolStr>,
    /// TrackDrive alone: the `auth_token` its pings have to show besides. With one, `key` may be shorter.
    #[serde(default)]
    pub token: Option<SecretKey>,
    pub publisher: PublisherId,
    pub campaign: CampaignId,
    /// Lends each ping the number that it is answered with. Excludes `number`.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// The static number that all pings are answered with: a call of the caller who was named is the
    /// ping's. Absent, as `pool`: they are answered with a SIP address alone.
    #[serde(default)]
    pub number: Option<PhoneNumber>,
    /// What parameters become, in place of a tag of their own name: a tag, or `zip`, `state`, `sub_id` or
    /// `source_type`. Their case does not matter.
    #[serde(default)]
    pub parameters: BTreeMap<SmolStr, SmolStr>,
    /// How long a price holds, 5 to 3,600 s.
    #[serde(default = "quote_ttl_s")]
    pub quote_ttl_s: u32,
    /// How long a call is matched to its ping. Absent: as the pool says, or half an hour.
    #[serde(default)]
    pub session_ttl_s: Option<u32>,
    /// How the SIP addresses begin that pings are answered with.
    #[serde(default)]
    pub sip_user: SipUser,
}

/// Whose form of priced pings it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Ringba,
    Retreaver,
    Trackdrive,
    Callgrid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SipUser {
    /// `bid_` and 32 digits of base 16.
    #[default]
    Id,
    /// 15 digits, for those who take every user part for a number.
    Digits,
}

impl Dialect {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringba => "ringba",
            Self::Retreaver => "retreaver",
            Self::Trackdrive => "trackdrive",
            Self::Callgrid => "callgrid",
        }
    }
}

fn quote_ttl_s() -> u32 {
    60
}
