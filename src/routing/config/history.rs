//! How much is remembered of callers.

use serde::{Deserialize, Serialize};

use super::Span;

/// What bounds the memory of earlier calls, and how far back the facts look that every decision has. Rules
/// may look further back, each as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Callers, 1,000 to 20,000,000; of more those are forgotten who have not called for longest.
    pub callers_max: u32,
    /// The last calls of each, 2 to 1,000.
    pub calls_max: u32,
    /// How far back calls to the same number are counted; 0: they are not. Default 30 days.
    pub number_s: Span,
    /// The same of calls of the same campaign.
    pub campaign_s: Span,
    /// The same of calls that each buyer answered.
    pub buyer_s: Span,
    /// The same of targets.
    pub target_s: Span,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let month = Span::default();
        Self {
            callers_max: 1_000_000,
            calls_max: 32,
            number_s: month,
            campaign_s: month,
            buyer_s: month,
            target_s: month,
        }
    }
}

impl HistoryConfig {
    pub(super) fn is_built_in(&self) -> bool {
        *self == Self::default()
    }
}
