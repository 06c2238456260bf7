//! What a decision is made from. All of it are values, so that a decision can be made again.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{CallId, CampaignId, PingId, PublisherId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::attribution::Named;
use super::circuit::Condition;
use super::dial::{Unreached, Way};
use super::geo::LineRecord;
use super::history::prior::PriorCalls;
use super::hold::{Bucket, Reset};
use super::performance::rate::Lately;
use super::performance::{Concerned, Scope, Tallies};
use super::quote::Promise;

/// What is known about a call, such as `geo.state` = `OH`.
pub type Tags = BTreeMap<SmolStr, SmolStr>;

/// A call that asks where to go.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RouteRequest {
    #[n(0)]
    pub call: CallId,
    /// When the call was admitted.
    #[n(1)]
    pub at: Wall,
    #[n(2)]
    pub dialed: PhoneNumber,
    /// Absent: the caller is anonymous.
    #[n(3)]
    pub caller: Option<PhoneNumber>,
    #[n(4)]
    pub trunk: TrunkId,
    /// What the trunk said about the call. Goes before what a session says.
    #[cbor(n(5), with = "codec::tag_map")]
    pub tags: Tags,
    /// The session that its address names; absent: it has a number alone, as nearly all have.
    #[n(6)]
    pub named: Option<Named>,
    /// A ping announces it: it has not come yet.
    #[cbor(n(7), default)]
    pub announced: bool,
}

/// A session that may be the one behind the call, as it was read at the decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionReading {
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub ping: PingId,
    #[n(2)]
    pub publisher: PublisherId,
    #[n(3)]
    pub campaign: CampaignId,
    /// The pool number lent to it.
    #[n(4)]
    pub number: Option<PhoneNumber>,
    #[n(5)]
    pub caller: Option<PhoneNumber>,
    #[n(6)]
    pub created_at: Wall,
    /// Not live any more from this instant on.
    #[n(7)]
    pub expires_at: Wall,
    #[cbor(n(8), with = "codec::tag_map")]
    pub tags: Tags,
    /// It had the number, and has it no more; absent: it still has, or never had one.
    #[n(9)]
    pub former: Option<FormerLease>,
    /// The number is shown to so many live sessions, this one among them; absent: to this alone.
    #[n(10)]
    pub sharing: Option<u32>,
    /// What its publisher was promised for a call; absent: nothing.
    #[n(11)]
    pub promise: Option<Promise>,
    /// What enrichers told of its caller by then.
    #[cbor(n(12), with = "codec::tag_map", default)]
    pub enriched: Tags,
}

impl SessionReading {
    /// What is known of its caller: what its ping said goes before what enrichers told.
    pub fn into_known(self) -> Tags {
        let mut known = self.enriched;
        known.extend(self.tags);
        known
    }
}

/// A lease that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FormerLease {
    #[n(0)]
    pub ended_at: Wall,
    /// The number is lent to nobody before this.
    #[n(1)]
    pub rests_until: Wall,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    /// Counted events.
    #[n(0)]
    pub used: u64,
    /// Held by calls in flight that may still count, or by live calls.
    #[n(1)]
    pub held: u64,
}

/// What was said of how many calls at once can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyWord {
    /// By its key, such as `target/tgt_summit/concurrency`.
    pub concurrency: SmolStr,
    pub count: u32,
    /// When it was said.
    pub at: Wall,
}

/// Where usage is read: the ledger, or what was recorded.
pub trait UsageReader {
    /// Zero for a bucket nothing was ever placed in.
    fn usage(&self, bucket: &Bucket) -> Usage;

    /// What of that which is held in the bucket is held for calls that a crash left up.
    fn awaited(&self, _bucket: &Bucket) -> u64 {
        0
    }

    /// How the cap began anew last in the window of the bucket; `None`: it has not.
    fn latest_reset(&self, _bucket: &Bucket) -> Option<Reset> {
        None
    }

    /// Whether nobody could say if others have taken what seems to be left in the bucket.
    fn withheld(&self, _bucket: &Bucket) -> bool {
        false
    }

    /// What is thought of the target.
    fn condition(&self, _target: &TargetId) -> Condition {
        Condition::Well
    }

    /// What is thought of a way to targets.
    fn way(&self, _way: &Way) -> Condition {
        Condition::Well
    }

    /// Whether nobody would be found at `uri`, the way at this place of a target; `None`: somebody may
    /// well be.
    fn unreached(&self, _target: &TargetId, _place: u8, _uri: &str) -> Option<Unreached> {
        None
    }

    /// How many calls at once can be taken under this concurrency, as whoever takes them has said of
    /// late; `None`: they say nothing.
    fn ready(&self, _concurrency: &str) -> Option<u32> {
        None
    }

    /// How calls of those concerned went on the day `since` of UTC and later.
    fn tallies(&self, _concerned: &Concerned, _since: i64) -> Tallies {
        Tallies::default()
    }

    /// How calls of a scope went by `at`.
    fn lately(&self, _scope: &Scope, _at: Wall) -> Lately {
        Lately::default()
    }

    /// Whether the caller is on a list. `found` is what the list says itself; absent: what is on it is
    /// not known any more.
    fn lists(&self, _list: &str, found: Option<bool>) -> bool {
        found.unwrap_or(false)
    }

    /// What is known of the caller's earlier calls; `None`: nothing is kept of them.
    fn prior(&self) -> Option<PriorCalls> {
        None
    }

    /// What is on record of the caller's line. `found` is what the records say; absent: what is in them is
    /// not known any more.
    fn line(&self, found: Option<Option<LineRecord>>) -> Option<LineRecord> {
        found.flatten()
    }

    /// What the limit of a cap or of concurrency is raised to where it is lower; `None`: it is as it is.
    /// Only a world that is thought of says otherwise.
    fn at_least(&self, _cap: &str) -> Option<u64> {
        None
    }

    /// By how much the limit of a concurrency is higher than it is written. Only a world that is thought of
    /// says that it is.
    fn raised(&self, _concurrency: &str) -> u64 {
        0
    }

    /// What a scorer that was asked said of a target, in millionths; `None`: nothing in time.
    fn score(&self, _scorer: &str, _target: &TargetId) -> Option<i64> {
        None
    }

    /// How much less than it has to a call may bring, in a thought-of world.
    fn floor_lower(&self) -> Money {
        Money::ZERO
    }

    /// How much more than it does a target pays, in a thought-of world.
    fn pays_more(&self, _target: &TargetId) -> Money {
        Money::ZERO
    }
}

impl UsageReader for BTreeMap<Bucket, Usage> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        self.get(bucket).copied().unwrap_or_default()
    }
}
