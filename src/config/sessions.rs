//! `[sessions]`: how many sessions, and answers to what opened them, are kept in memory.

use serde::{Deserialize, Serialize};

use super::check::Ranges;

/// `[sessions]`: what pings and visitors open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Live sessions, some 0.9 kB each, above which no more are opened (429 `ping.full`). Default 2000000.
    pub max: u32,
    /// Answers that are given again to the same request, some 200 bytes each: those of the last 24 hours, and
    /// of more than this the newest. Default 1000000.
    pub answers_max: u32,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { max: 2_000_000, answers_max: 1_000_000 }
    }
}

impl SessionSettings {
    pub(super) fn check(&self, ranges: &mut Ranges<'_>) {
        ranges.check("sessions.max", u64::from(self.max), 1..=100_000_000, "sessions");
        let answers = u64::from(self.answers_max);
        ranges.check("sessions.answers_max", answers, 1..=100_000_000, "answers");
    }
}
