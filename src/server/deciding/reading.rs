//! What decisions read of the state of the process.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::TargetId;
use crate::routing::circuit::{Circuits, Condition, Ways};
use crate::routing::dial::{Unreached, Way};
use crate::routing::history::prior::PriorCalls;
use crate::routing::hold::{Bucket, HoldLedger, Reset};
use crate::routing::performance::rate::Lately;
use crate::routing::performance::{Concerned, Performance, Scope, Tallies};
use crate::routing::selection::ScoreReading;
use crate::routing::{Usage, UsageReader};
use crate::server::clock;
use crate::server::holds::SharedHolds;
use crate::server::reach::Reach;
use crate::time::{Mono, Wall};

use super::Deciding;
use super::offering::OfferedRoom;
use super::ready::Ready;

/// What a decision reads besides the configuration.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) ledger: &'a HoldLedger,
    pub(super) down: &'a BTreeSet<TargetId>,
    pub(super) circuits: &'a Circuits,
    pub(super) ways: &'a Ways,
    pub(super) performance: &'a Performance,
    pub(super) scores: &'a [ScoreReading],
    pub(super) now: Mono,
    pub(super) ready: &'a Ready,
    pub(super) reach: Option<&'a Reach>,
    pub(super) at: Wall,
    pub(super) shared: Option<&'a SharedHolds>,
    /// Room that was asked for before.
    pub(super) room: Option<&'a OfferedRoom>,
    /// The store is asked next: what others hold is for it to say.
    pub(super) asks: bool,
    /// What is known of the caller's earlier calls.
    pub(super) prior: Option<&'a PriorCalls>,
}

/// What has been counted of calls.
pub(super) struct Counted<'a> {
    pub(super) ledger: &'a HoldLedger,
    pub(super) circuits: &'a Circuits,
    pub(super) ways: &'a Ways,
    pub(super) performance: &'a Performance,
}

impl<'a> Read<'a> {
    /// Nobody has said anything about the call at hand.
    pub(super) fn of(
        deciding: &'a Deciding,
        Counted { ledger, circuits, ways, performance }: Counted<'a>,
        down: &'a BTreeSet<TargetId>,
        (now, at): (Mono, Wall),
    ) -> Self {
        let (ready, shared) = (&deciding.ready, deciding.shared.get().map(Arc::as_ref));
        let reach = deciding.reach.get();
        Self {
            ledger,
            down,
            circuits,
            ways,
            performance,
            scores: &[],
            now,
            ready,
            reach,
            at,
            shared,
            room: None,
            asks: false,
            prior: None,
        }
    }
}

/// What limits depend on when an attempt is to begin.
pub(super) struct AtAttempt<'a> {
    pub(super) deciding: &'a Deciding,
    pub(super) at: Wall,
}

impl UsageReader for Read<'_> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        let own = self.ledger.usage(bucket);
        let all = self.shared.map_or(own, |shared| shared.usage(bucket, own, self.now));
        let all = match self.asks {
            // Of a rolling window what was used may be over as well.
            true if bucket.stored().1.is_some() => own,
            true => Usage { held: own.held, ..all },
            false => all,
        };
        self.room.map_or(all, |room| room.as_read(bucket, all))
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        self.ledger.awaited_in(bucket)
    }

    fn withheld(&self, bucket: &Bucket) -> bool {
        self.room.is_some_and(|room| room.withholds(bucket))
    }

    fn condition(&self, target: &TargetId) -> Condition {
        if !self.down.is_empty() && self.down.contains(target) {
            return Condition::Down;
        }
        self.circuits.condition(target, self.now)
    }

    fn way(&self, way: &Way) -> Condition {
        self.ways.condition(way, self.now)
    }

    fn unreached(&self, _target: &TargetId, _place: u8, uri: &str) -> Option<Unreached> {
        self.reach?.unreached(uri, self.now)
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        self.ready.of(concurrency, self.at)
    }

    fn prior(&self) -> Option<PriorCalls> {
        self.prior.cloned()
    }

    fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        self.performance.tallies(concerned, since)
    }

    fn lately(&self, scope: &Scope, at: Wall) -> Lately {
        self.performance.lately(scope, at)
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        let of_both = |it: &&ScoreReading| it.scorer == scorer && it.target == *target;
        self.scores.iter().find(of_both).map(|it| it.score)
    }
}

impl UsageReader for AtAttempt<'_> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        let own = self.deciding.ledger(|ledger| ledger.usage(bucket));
        let shared = self.deciding.shared();
        shared.map_or(own, |shared| shared.usage(bucket, own, clock::mono()))
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        self.deciding.ledger(|ledger| ledger.awaited_in(bucket))
    }

    fn latest_reset(&self, bucket: &Bucket) -> Option<Reset> {
        self.deciding.ledger(|ledger| ledger.resets().of(bucket).cloned())
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        self.deciding.ready.of(concurrency, self.at)
    }

    fn lately(&self, scope: &Scope, at: Wall) -> Lately {
        self.deciding.state.lock().performance.lately(scope, at)
    }
}
