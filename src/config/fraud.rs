//! `[fraud]`: when calls and sessions look like fraud, and how much each thing adds to a score.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::check::Ranges;
use super::fault::Finding;
use super::settings::seconds;

/// `[fraud]`. Nothing here refuses a call: scores are for whoever reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FraudSettings {
    /// Whether calls and sessions are scored. Default true.
    pub enabled: bool,
    /// In which half of what happened is forgotten, seconds. Default 600.
    #[serde(rename = "half_life_s", with = "seconds")]
    pub half_life: Duration,
    /// Calls of one caller of late that are not suspicious. Default 5.
    pub caller_calls: u32,
    /// Calls from one prefix (a number without its last four digits); 0 is any number. Default 60.
    pub prefix_calls: u32,
    /// Calls over one trunk; 0 is any number. Default 0.
    pub trunk_calls: u32,
    /// Sessions that name one caller. Default 10.
    pub caller_pings: u32,
    /// Different numbers of ours that one caller may dial in `numbers_window_s`, up to 63. Default 4.
    pub caller_numbers: u32,
    /// The same of all callers of one prefix. Default 30.
    pub prefix_numbers: u32,
    /// Seconds. Default 3600.
    #[serde(rename = "numbers_window_s", with = "seconds")]
    pub numbers_window: Duration,
    /// A number is dialled no sooner after a page showed it, milliseconds. Default 3000.
    pub too_soon_ms: u32,
    /// An answered call that its caller ends sooner is short, milliseconds. Default 6000.
    pub short_ms: u32,
    /// How wide a bin of the histograms of talk times is, seconds. Default 5.
    pub bin_s: u32,
    /// Days of UTC that they look back, today included. Default 7.
    pub days: u32,
    /// Calls around the threshold, before a publisher or a target is suspected. Default 50.
    pub min_calls: u32,
    /// Standard deviations that a bin has to be above both its neighbours. Default 4.
    pub deviations: u32,
    /// Callers, prefixes and trunks that are known at most, all together. Default 100000.
    pub keys_max: u32,
    /// Points of reasons that are to add something else than they do by themselves, 0 (never) to 100, by
    /// their codes, such as `velocity.caller`. Default: none.
    pub points: BTreeMap<SmolStr, u8>,
}

impl Default for FraudSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            half_life: Duration::from_secs(600),
            caller_calls: 5,
            prefix_calls: 60,
            trunk_calls: 0,
            caller_pings: 10,
            caller_numbers: 4,
            prefix_numbers: 30,
            numbers_window: Duration::from_secs(3_600),
            too_soon_ms: 3_000,
            short_ms: 6_000,
            bin_s: 5,
            days: 7,
            min_calls: 50,
            deviations: 4,
            keys_max: 100_000,
            points: BTreeMap::new(),
        }
    }
}

impl FraudSettings {
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        let mut ranges = Ranges(findings);
        ranges.check_s("fraud.half_life_s", self.half_life, 1..=86_400);
        ranges.check_s("fraud.numbers_window_s", self.numbers_window, 1..=86_400);
        for (path, value, range, unit) in [
            ("fraud.caller_calls", self.caller_calls, 1..=1_000_000, "calls"),
            ("fraud.prefix_calls", self.prefix_calls, 0..=1_000_000, "calls"),
            ("fraud.trunk_calls", self.trunk_calls, 0..=1_000_000, "calls"),
            ("fraud.caller_pings", self.caller_pings, 1..=1_000_000, "sessions"),
            ("fraud.caller_numbers", self.caller_numbers, 1..=63, "numbers"),
            ("fraud.prefix_numbers", self.prefix_numbers, 1..=63, "numbers"),
            ("fraud.too_soon_ms", self.too_soon_ms, 0..=600_000, "milliseconds"),
            ("fraud.short_ms", self.short_ms, 0..=600_000, "milliseconds"),
            ("fraud.bin_s", self.bin_s, 1..=600, "seconds"),
            ("fraud.days", self.days, 1..=400, "days"),
            ("fraud.min_calls", self.min_calls, 1..=1_000_000, "calls"),
            ("fraud.deviations", self.deviations, 1..=100, "standard deviations"),
            ("fraud.keys_max", self.keys_max, 1_000..=10_000_000, "callers, prefixes and trunks"),
        ] {
            let (low, high): (u32, u32) = range.into_inner();
            ranges.check(path, value.into(), low.into()..=high.into(), unit);
        }
        for (code, points) in &self.points {
            ranges.check(&format!("fraud.points.{code}"), u64::from(*points), 0..=100, "points");
        }
    }
}
