//! How many pings publishers may send.

use crate::routing::config::QuotaConfig;

use super::Compiler;

impl Compiler<'_> {
    /// What is inherited is a fault where it is written.
    pub(super) fn quota(&mut self, path: &str, quota: &QuotaConfig) {
        let path = format!("{path}.quota");
        for (field, value, most) in [
            ("per_second", quota.per_second, 100_000),
            ("burst", quota.burst, 1_000_000),
            ("per_day", quota.per_day, u32::MAX),
        ] {
            if let Some(value) = value {
                self.within(&path, field, value, 1..=most);
            }
        }
        if let (Some(burst), None) = (quota.burst, quota.per_second) {
            let problem = "is the burst of no rate";
            self.fault(&path, "burst", burst, problem, "write per_second too, or leave it out");
        }
        let Some(delivery) = &quota.delivery else { return };
        let path = format!("{path}.delivery");
        self.within(&path, "window_h", delivery.window_h, 1..=24);
        self.within(&path, "min_pings", delivery.min_pings, 1..=u32::MAX);
        for (field, share) in [("wanted", delivery.wanted), ("least", delivery.least)] {
            if share.0 == 0 {
                self.fault(&path, field, share, "is nothing", "write more than 0%");
            }
        }
        if quota.per_second.is_none() && quota.per_day.is_none() {
            let (problem, remedy) =
                ("has a share of no quota", "write per_second or per_day too, or leave it out");
            self.fault(&path, "wanted", delivery.wanted, problem, remedy);
        }
    }
}
