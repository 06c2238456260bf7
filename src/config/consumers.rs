//! `[consumers]` and `[rollups]`: what works from the journal's facts behind the book.

use serde::{Deserialize, Serialize};

use super::check::Ranges;

/// `[consumers]`: what all of them have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerSettings {
    /// Most bytes of journal, older than a day, that are kept for a consumer which has not read them;
    /// beyond, the oldest facts are lost to it. Default 4 GiB.
    pub backlog_bytes_max: u64,
}

/// `[rollups]`: how long sums by minute, hour and day are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollupSettings {
    /// Sums by the minute, days. Default 3.
    pub minute_days: u32,
    /// Sums by the hour, days. Default 92.
    pub hour_days: u32,
    /// Sums by the day, days. Default 1830.
    pub day_days: u32,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { backlog_bytes_max: 4 << 30 }
    }
}

impl Default for RollupSettings {
    fn default() -> Self {
        Self { minute_days: 3, hour_days: 92, day_days: 1_830 }
    }
}

impl ConsumerSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        let bytes = self.backlog_bytes_max;
        ranges.check("consumers.backlog_bytes_max", bytes, 0..=1 << 50, "bytes");
    }
}

impl RollupSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        for (path, days) in [
            ("rollups.minute_days", self.minute_days),
            ("rollups.hour_days", self.hour_days),
            ("rollups.day_days", self.day_days),
        ] {
            ranges.check(path, u64::from(days), 1..=36_500, "days");
        }
    }
}
