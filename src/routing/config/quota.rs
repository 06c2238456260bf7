//! How many pings a publisher may send.

use serde::{Deserialize, Serialize};

use super::Percent;

/// Each server counts for itself. What is absent has no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaConfig {
    /// Pings a second in the long run, 1 to 100,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Pings that may come at once after a quiet time, 1 to 1,000,000. Absent: as many as in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Pings of a day, which begins at midnight UTC, and anew when the server starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u32>,
    /// Absent: the share does not depend on what becomes of the pings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryConfig>,
}

/// What share of its quota a publisher has whose pings seldom become calls.
///
/// In every hour, `d` is how many sessions had their first call in the `window_h` full hours before it, whenever
/// they were opened, over how many were opened in those hours: it may be more than one. A session that was
/// opened and given up because it could not be written down counts among them. With fewer than `min_pings` sessions, or if `d` is `wanted` or more, the
/// publisher has its whole quota; else `d / wanted` of it, and no less than `least`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Such as `"5%"`; more than nothing.
    pub wanted: Percent,
    #[serde(default = "DeliveryConfig::least")]
    pub least: Percent,
    /// 1 to 24.
    #[serde(default = "DeliveryConfig::window_h")]
    pub window_h: u32,
    #[serde(default = "DeliveryConfig::min_pings")]
    pub min_pings: u32,
}

impl DeliveryConfig {
    fn least() -> Percent {
        Percent(100_000)
    }

    fn window_h() -> u32 {
        6
    }

    fn min_pings() -> u32 {
        200
    }
}
