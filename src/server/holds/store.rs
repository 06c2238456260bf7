//! What a store of holds does, whoever keeps it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::id::HoldId;
use crate::routing::Usage;
use crate::routing::hold::{
    Bucket, BucketRequest, Counts, Denied, GAP, Juncture, Reset, ResetPart,
};
use crate::server::redis::StoreFault;
use crate::time::Wall;

/// Holds of several nodes, kept where all of them can see them.
///
/// Whatever is said twice, or after its answer was lost, has happened once. A hold's changes are told
/// in their order.
pub trait HoldStore: Send + Sync {
    /// Takes room in all buckets or in none, for as long as `lease`.
    ///
    /// # Errors
    /// Why there is none. After [`StoreFault`] the room may have been taken: release the hold.
    fn reserve(
        &self,
        hold: HoldId,
        requests: &[BucketRequest],
        lease: Duration,
    ) -> impl Future<Output = Result<Granted, NotGranted>> + Send;

    /// Tells what has become of holds, all of it at once. The answers are in the order of `changes`.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    fn tell(
        &self,
        changes: &[Change],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Told>, StoreFault>> + Send;

    /// Prolongs leases. Returns the holds that are not held any more, though nobody ended them.
    ///
    /// # Errors
    /// As [`HoldStore::tell`].
    fn renew(
        &self,
        holds: &[HoldId],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<HoldId>, StoreFault>> + Send;

    /// What each node has used of a bucket, and of each slice of a rolling one, whether it counts or not.
    ///
    /// # Errors
    /// As [`HoldStore::tell`].
    fn parts(
        &self,
        bucket: &Bucket,
    ) -> impl Future<Output = Result<Vec<ResetPart>, StoreFault>> + Send;

    /// A cap begins anew in a window: of what was used nothing counts up to the levels of the parts.
    ///
    /// # Errors
    /// As [`HoldStore::tell`].
    fn reset(&self, reset: &Reset) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// How full buckets are.
    ///
    /// # Errors
    /// As [`HoldStore::tell`].
    fn usage(
        &self,
        buckets: &[(Bucket, Counts)],
    ) -> impl Future<Output = Result<Vec<Usage>, StoreFault>> + Send;
}

/// A hold was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// It had been placed before; nothing changed.
    pub repeated: bool,
    /// Each bucket as it is now.
    pub seen: Vec<(Bucket, Usage)>,
}

/// Why a hold was not placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    #[error("{denied}")]
    Full {
        denied: Denied,
        /// Each bucket as it is now.
        seen: Vec<(Bucket, Usage)>,
    },
    /// The hold has ended; its id must not be used again.
    #[error("the hold has ended already")]
    Ended,
    /// The server is new to the nodes, and does not know yet what they have used.
    #[error("the store is being told what has been used")]
    NotOpen,
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// What has become of a hold that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// So much has become used, out of what is held if it still is. Once per cause.
    Count { hold: HoldId, cause: Cause, counted: Vec<Counted> },
    /// What is still held is given back. The hold has ended.
    Release { hold: HoldId },
    /// Exactly this is held from now on, whatever the limits: it had been granted.
    Keep { hold: HoldId, requests: Vec<BucketRequest> },
}

/// Why something has become used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The counted event happened.
    Event(Counts),
    /// It has become known what the call comes to.
    Course(Juncture),
}

/// A change of what a bucket has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub bucket: Bucket,
    pub counts: Counts,
    /// Negative if more had been counted than it came to.
    pub amount: i64,
    /// What must not be passed; absent: as the hold says, if it is known and strict.
    pub limit: Option<u64>,
    pub ends_at: Option<Wall>,
}

/// What a [`Change`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `false`: it had been done, or there was nothing to do.
    pub done: bool,
    /// What had been given back, its lease being over, was counted all the same.
    pub late: bool,
    /// Buckets that are over their limit by it, as it came late or to more than was held.
    pub overshoots: u32,
    /// Those of them that are a buyer's credit.
    pub overdrawn: u32,
    /// Buckets of a [`Change::Count`] or [`Change::Keep`] as they are now.
    pub seen: Vec<(Bucket, Usage)>,
}

impl Change {
    pub fn hold(&self) -> HoldId {
        match self {
            Self::Count { hold, .. } | Self::Release { hold } | Self::Keep { hold, .. } => *hold,
        }
    }

    /// Whether it is of what is used as it comes, and never held.
    pub fn counts_at_once(&self) -> bool {
        let Self::Count { cause, .. } = self else { return false };
        matches!(cause, Cause::Event(Counts::Offered | Counts::Pinged))
    }
}

impl Counted {
    /// All that was asked for.
    pub fn all_of(request: &BucketRequest) -> Self {
        let is_strict = request.leeway.is_none() && request.counts != Counts::Spacing;
        Self {
            bucket: request.bucket.clone(),
            counts: request.counts,
            amount: i64::try_from(request.amount).unwrap_or(i64::MAX),
            limit: is_strict.then_some(request.limit),
            ends_at: request.ends_at,
        }
    }

    /// So much of `counts`, of which nothing else is known. Spacing is known by its window.
    pub fn of(bucket: Bucket, counts: Counts, amount: i64) -> Self {
        match bucket.window.strip_prefix(GAP).and_then(|rest| rest.strip_prefix('/')) {
            None => Self { bucket, counts, amount, limit: None, ends_at: None },
            Some(at) => Self {
                amount: at.parse().unwrap_or(0),
                bucket: Bucket { window: GAP.into(), cap: bucket.cap },
                counts: Counts::Spacing,
                limit: None,
                ends_at: None,
            },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(counts) => write!(f, "{}", *counts as u8),
            Self::Course(juncture) => write!(f, "j{}", *juncture as u8),
        }
    }
}
