//! What a decision is made from. All of it are values, so that a decision can be made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{CallId, CampaignId, PingId, PublisherId, SessionId, TrunkId};
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::hold::Bucket;

/// What is known about a call, such as `geo.state` = `OH`.
pub type Tags = BTreeMap<SmolStr, SmolStr>;

/// A call that asks where to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    pub call: CallId,
    /// When the call was admitted.
    pub at: Wall,
    pub dialed: PhoneNumber,
    /// Absent: the caller is anonymous.
    #[serde(default)]
    pub caller: Option<PhoneNumber>,
    pub trunk: TrunkId,
    /// What the trunk said about the call. Goes before what a session says.
    #[serde(default)]
    pub tags: Tags,
}

/// A session that may be the one behind the call, as it was read at the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReading {
    pub session: SessionId,
    pub ping: PingId,
    pub publisher: PublisherId,
    pub campaign: CampaignId,
    /// The pool number lent to it.
    #[serde(default)]
    pub number: Option<PhoneNumber>,
    #[serde(default)]
    pub caller: Option<PhoneNumber>,
    pub created_at: Wall,
    /// Not live any more from this instant on.
    pub expires_at: Wall,
    #[serde(default)]
    pub tags: Tags,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Counted events.
    pub used: u64,
    /// Held by calls in flight that may still count, or by live calls.
    pub held: u64,
}

/// Where usage is read: the ledger, or what was recorded.
pub trait UsageReader {
    /// Zero for a bucket nothing was ever placed in.
    fn usage(&self, bucket: &Bucket) -> Usage;
}

impl UsageReader for BTreeMap<Bucket, Usage> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        self.get(bucket).copied().unwrap_or_default()
    }
}
