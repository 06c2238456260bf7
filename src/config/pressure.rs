//! `[pressure]`: when the server gives up what, calls last (spec/data §2.7).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Ranges;
use super::settings::milliseconds;

/// `[pressure]`: what the server takes for pressure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PressureSettings {
    /// Level 1: for 5 s, one commit of the journal in a hundred took longer in each second,
    /// milliseconds. Default 30.
    #[serde(rename = "commit_ms", with = "milliseconds")]
    pub commit: Duration,
    /// Level 1: the process uses more of its cores for 5 s, percent. Default 85.
    pub cpu_percent: u32,
    /// Facts that are on disk and not in the call records: above 70 % of it level 2, above 90 %
    /// level 3. Default 1000000.
    pub facts_behind_max: u64,
    /// Requests with pings that are answered at a time; how many of them the server can bear it finds
    /// out. Default 4096.
    pub pings_at_once_max: u32,
}

impl Default for PressureSettings {
    fn default() -> Self {
        Self {
            commit: Duration::from_millis(30),
            cpu_percent: 85,
            facts_behind_max: 1_000_000,
            pings_at_once_max: 4_096,
        }
    }
}

impl PressureSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        ranges.check_ms("pressure.commit_ms", self.commit, 1..=10_000);
        ranges.check("pressure.cpu_percent", u64::from(self.cpu_percent), 20..=100, "percent");
        let behind = self.facts_behind_max;
        ranges.check("pressure.facts_behind_max", behind, 100..=1_000_000_000, "facts");
        let at_once = u64::from(self.pings_at_once_max);
        ranges.check("pressure.pings_at_once_max", at_once, 16..=100_000, "requests");
    }
}
