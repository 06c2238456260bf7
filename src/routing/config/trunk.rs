//! What of a `[[trunks]]` entry concerns routing. The rest is read elsewhere.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{PublisherId, TrunkId};
use crate::phone::PhoneNumber;

use super::{CapConfig, CircuitConfig};

/// Whose calls come over a trunk, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrunkConfig {
    pub id: TrunkId,
    /// On all its calls together.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// The publisher whose own trunk it is; absent: a carrier's. Its calls can be those of sessions
    /// of this publisher alone.
    #[serde(default)]
    pub publisher: Option<PublisherId>,
    /// The header of its INVITEs that names the call's session, such as `X-Ping-Id` or
    /// `User-to-User`.
    #[serde(default)]
    pub session_header: Option<SmolStr>,
    /// As that of the account, for its own calls. Absent: what the account says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in_number: Option<PhoneNumber>,
    /// When targets are called another way first for how calls over it go. Absent: as `[defaults]` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitConfig>,
    /// SIP final responses (300 to 699) after which a target that is called over it is called at its next
    /// address, or another way. Absent: as the target says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_way_on: Option<Vec<u16>>,
    /// Those after which the next target is tried. Absent: as the campaign says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance_on: Option<Vec<u16>>,
}
