//! Pools: numbers that are lent.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{BrowserConfig, Setting, built_in};
use crate::id::{CampaignId, PoolId, PublisherId};
use crate::money::Money;
use crate::phone::PhoneNumber;

/// Numbers lent to sessions of one campaign and publisher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    pub id: PoolId,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    /// `+16145550101`, or a range, `+16145550101-+16145550199`.
    pub numbers: Vec<SmolStr>,
    /// How long a session keeps its number without a sign of life, 1 to 604,800 s.
    #[serde(default = "built_in::session_ttl_s", skip_serializing_if = "Setting::is_inherited")]
    pub session_ttl_s: Setting<u32>,
    /// How long a returned number rests before it is lent again, at most 604,800 s.
    #[serde(default = "built_in::quarantine_s", skip_serializing_if = "Setting::is_inherited")]
    pub quarantine_s: Setting<u32>,
    /// When no number is free, a session that showed no sign of life for so long, 60 to 604,800 s,
    /// loses its number to the one that asks, unless a call is on it; the number does not rest then.
    /// Absent: nobody loses a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_idle_after_s: Option<u32>,
    /// What all are shown for whom no number is left: a call there may be of any of them. It is a
    /// static number of the campaign. Absent: they are shown none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow_number: Option<PhoneNumber>,
    /// What one number costs in a month; what more of them would cost is told with how many are
    /// missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_cost: Option<Money>,
    /// How often a page that shows a number gives a sign of life, 5 to 3,600 s.
    #[serde(default = "built_in::heartbeat_s", skip_serializing_if = "Setting::is_inherited")]
    pub heartbeat_s: Setting<u32>,
    /// How long a session keeps its number once its page was closed, at most 604,800 s; then the number
    /// rests.
    #[serde(
        default = "built_in::closed_browser_delay_s",
        skip_serializing_if = "Setting::is_inherited"
    )]
    pub closed_browser_delay_s: Setting<u32>,
    /// Web pages that may open sessions of this pool alone. Absent: those of the publisher.
    #[serde(default, skip_serializing)]
    pub browser: Option<BrowserConfig>,
}
