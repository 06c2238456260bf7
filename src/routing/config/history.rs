//! How much is remembered of callers.

use serde::{Deserialize, Serialize};

/// What bounds the memory of earlier calls. How far back they are remembered say the rules that look
/// at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Callers, 1,000 to 20,000,000; of more those are forgotten who have not called for longest.
    pub callers_max: u32,
    /// The last calls of each, 2 to 1,000.
    pub calls_max: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { callers_max: 1_000_000, calls_max: 32 }
    }
}

impl HistoryConfig {
    pub(super) fn is_built_in(&self) -> bool {
        *self == Self::default()
    }
}
