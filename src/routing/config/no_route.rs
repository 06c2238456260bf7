//! What becomes of calls that get to nobody, as it is written.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::TargetId;

/// What is done with a call that no target takes, for each of the four causes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoRouteConfig {
    /// No target wants such a call: filters, lists, duplicates, price.
    #[serde(skip_serializing_if = "NoRouteActionConfig::is_nothing")]
    pub none_match: NoRouteActionConfig,
    /// None matches now, and at least one is closed, switched off or resting.
    #[serde(skip_serializing_if = "NoRouteActionConfig::is_nothing")]
    pub all_closed: NoRouteActionConfig,
    /// At least one would take the call, had it room.
    #[serde(skip_serializing_if = "NoRouteActionConfig::is_nothing")]
    pub no_capacity: NoRouteActionConfig,
    /// Targets were called, and none answered.
    #[serde(skip_serializing_if = "NoRouteActionConfig::is_nothing")]
    pub none_answered: NoRouteActionConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoRouteActionConfig {
    /// SIP final response, 400 to 699 but 401 and 407. Absent: that of the reason, or of the last target.
    /// What the carrier's file says of the reason or of the target's response goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A target that is called then, if it can take the call itself. None of the campaign's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<TargetId>,
    /// Read to be refused by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce: Option<SmolStr>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<SmolStr>,
}

impl NoRouteConfig {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl NoRouteActionConfig {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
