//! `[sip.overload]`: what is refused before it can do harm (spec/sip O1, O3, S5, S13).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Ranges;
use super::settings::milliseconds;

/// `[sip.overload]`: when new calls are refused with 503 though the server could take them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverloadSettings {
    /// A signalling thread that has not been done with its work for so long refuses new calls,
    /// milliseconds. Default 150.
    #[serde(rename = "refuse_after_ms", with = "milliseconds")]
    pub refuse_after: Duration,
    /// After so long it drops unread what belongs to no call, milliseconds. Default 400.
    #[serde(rename = "brake_after_ms", with = "milliseconds")]
    pub brake_after: Duration,
    /// Memory of the process above which it refuses new calls, MiB; 0 is nine tenths of what the
    /// control group or the machine has. Default 0.
    pub memory_max_mib: u64,
    /// Calls whose caller has not confirmed the answer. Default 10000.
    pub half_open_max: u32,
    /// The same from one address. Default 5000.
    pub half_open_per_source_max: u32,
    /// SIP transactions in memory. Default 1000000.
    pub transactions_max: u32,
}

impl Default for OverloadSettings {
    fn default() -> Self {
        Self {
            refuse_after: Duration::from_millis(150),
            brake_after: Duration::from_millis(400),
            memory_max_mib: 0,
            half_open_max: 10_000,
            half_open_per_source_max: 5_000,
            transactions_max: 1_000_000,
        }
    }
}

impl OverloadSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        let refuse_after = u64::try_from(self.refuse_after.as_millis()).unwrap_or(u64::MAX);
        ranges.check_ms("sip.overload.refuse_after_ms", self.refuse_after, 10..=10_000);
        let after = refuse_after.min(60_000)..=60_000;
        ranges.check_ms("sip.overload.brake_after_ms", self.brake_after, after);
        let half_open = u64::from(self.half_open_max);
        ranges.check("sip.overload.half_open_max", half_open, 1..=10_000_000, "calls");
        ranges.check(
            "sip.overload.half_open_per_source_max",
            u64::from(self.half_open_per_source_max),
            1..=half_open.max(1),
            "calls",
        );
        let transactions = u64::from(self.transactions_max);
        ranges.check("sip.overload.transactions_max", transactions, 100..=1 << 30, "transactions");
    }
}
