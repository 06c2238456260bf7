//! When a target is taken out for how its calls go.

use serde::{Deserialize, Serialize};

/// What opens a target's circuit: it is then tried only for want of any other, and later by a few
/// calls, until those go well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitConfig {
    pub enabled: bool,
    /// How far back attempts are looked at, 60 to 86,400 s.
    pub window_s: u32,
    /// Attempts (or answered calls, for what concerns those) before a share of them means
    /// anything, 5 to 10,000.
    pub min_attempts: u32,
    /// Opens when more than one attempt in a hundred takes longer than this to ring or be answered
    /// (its P99), 100 to 60,000 ms.
    pub max_pdd_ms: u32,
    /// Opens when so many of a hundred attempts meet silence, an address that is none, or a
    /// response of 500 to 599.
    pub max_failed_percent: u32,
    /// Opens when the share of attempts that are answered falls by so much of a hundred below that
    /// of the last seven days, and chance does not explain it (three standard deviations).
    pub max_answer_drop_percent: u32,
    /// An answered call that the target ends within so many seconds is short, 1 to 600.
    pub short_call_s: u32,
    /// Opens when so many of a hundred answered calls are short. Absent: never for that.
    pub max_short_percent: Option<u32>,
    /// How long it stays open, 1 to 86,400 s; twice as long each time it opens again, up to 32
    /// times.
    pub cool_down_s: u32,
    /// How many calls of a hundred it then gets on trial, 1 to 100.
    pub trial_percent: u32,
    /// How many attempts on trial decide, 1 to 1,000.
    pub trial_attempts: u32,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window_s: 900,
            min_attempts: 50,
            max_pdd_ms: 6_000,
            max_failed_percent: 50,
            max_answer_drop_percent: 30,
            short_call_s: 9,
            max_short_percent: None,
            cool_down_s: 120,
            trial_percent: 5,
            trial_attempts: 5,
        }
    }
}
