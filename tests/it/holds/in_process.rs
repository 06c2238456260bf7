//! The ledger of one process as a store.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tollbridge::id::HoldId;
use tollbridge::routing::hold::{
    Bucket, BucketRequest, Counts, HoldLedger, LedgerLimits, Refused, Reset, ResetPart,
};
use tollbridge::routing::{Usage, UsageReader};
use tollbridge::server::holds::{Cause, Change, Granted, HoldStore, NotGranted, Told};
use tollbridge::server::redis::StoreFault;
use tollbridge::time::{Mono, Wall};

use super::edge::Edge;

/// When everything happens, on the wall.
pub(super) static AT: LazyLock<Wall> = LazyLock::new(tollbridge::server::clock::wall);

/// Longer than any lease.
const ASLEEP: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_process_that_was_stopped_for_longer_than_a_lease_keeps_the_room_of_its_calls()
-> anyhow::Result<()> {
    let deciding = Edge::start(None, 1, Duration::ZERO).await?.deciding;
    let bucket = Bucket { cap: "target/t/concurrency".into(), window: "live".into() };
    let line = BucketRequest {
        bucket,
        counts: Counts::Live,
        limit: 1,
        amount: 1,
        ends_at: None,
        leeway: None,
    };
    let (line, hold) = ([line], |number| HoldId::from_bytes([number; 16]));
    let asleep = Mono(1) + ASLEEP;
    assert!(deciding.reserve(hold(1), &line, asleep).is_ok());

    let awake = asleep + ASLEEP;
    assert!(deciding.reserve(hold(2), &line, awake).is_err(), "its call is up");
    deciding.sweep(awake, *AT);
    // Who has seen to its holds all the time, and renewed none, has none left.
    for seconds in 1..=20 {
        deciding.sweep(awake + Duration::from_secs(seconds * 20), *AT);
    }
    assert!(deciding.reserve(hold(3), &line, awake + Duration::from_secs(401)).is_ok());
    Ok(())
}

pub(super) struct InProcess {
    state: Mutex<State>,
    started: Instant,
}

struct State {
    ledger: HoldLedger,
}

impl InProcess {
    pub(super) fn new(lease: Duration) -> Self {
        let ledger = HoldLedger::new(LedgerLimits { lease, ..LedgerLimits::default() });
        Self { state: Mutex::new(State { ledger }), started: Instant::now() }
    }

    fn now(&self) -> Mono {
        Mono(1) + self.started.elapsed()
    }
}

impl State {
    fn seen(&self, buckets: impl IntoIterator<Item = Bucket>) -> Vec<(Bucket, Usage)> {
        let seen = buckets.into_iter().map(|bucket| {
            let usage = self.ledger.usage(&bucket);
            (bucket, usage)
        });
        seen.collect()
    }
}

impl HoldStore for InProcess {
    async fn reserve(
        &self,
        hold: HoldId,
        requests: &[BucketRequest],
        _: Duration,
    ) -> Result<Granted, NotGranted> {
        let now = self.now();
        let mut state = self.state.lock();
        let reserved = state.ledger.reserve(hold, requests, now);
        let seen = state.seen(requests.iter().map(|it| it.bucket.clone()));
        match reserved {
            Ok(placed) => Ok(Granted { repeated: placed.repeated, seen }),
            Err(Refused::Full(denied)) => Err(NotGranted::Full { denied, seen }),
            Err(Refused::Ended) => Err(NotGranted::Ended),
            Err(Refused::LedgerFull) => Err(StoreFault::Refused("full".into()).into()),
        }
    }

    async fn tell(&self, changes: &[Change], lease: Duration) -> Result<Vec<Told>, StoreFault> {
        let now = self.now();
        let mut state = self.state.lock();
        let told = changes.iter().map(|change| {
            let before = state.ledger.counters();
            let (done, seen) = match change {
                Change::Count { hold, cause: Cause::Event(event), counted } => {
                    let settled = state.ledger.settle(*hold, *event, now, *AT);
                    let buckets = counted.iter().map(|it| it.bucket.clone());
                    (!settled.buckets.is_empty(), state.seen(buckets))
                }
                Change::Count { hold, cause: Cause::Course(juncture), counted } => {
                    let came_to: Vec<_> =
                        counted.iter().map(|it| (it.bucket.clone(), it.amount)).collect();
                    let is_news = state.ledger.come_to(*hold, *juncture, &came_to, now);
                    (is_news, state.seen(came_to.into_iter().map(|(bucket, _)| bucket)))
                }
                Change::Release { hold } => (state.ledger.release(*hold), vec![]),
                Change::Keep { hold, requests } => {
                    let held = requests.clone();
                    state.ledger.adopt(*hold, held, now + lease);
                    (true, state.seen(requests.iter().map(|it| it.bucket.clone())))
                }
            };
            let after = state.ledger.counters();
            Told {
                done,
                late: after.late_settles > before.late_settles,
                overshoots: u32::try_from(after.overshoots - before.overshoots).unwrap_or(u32::MAX),
                overdrawn: u32::try_from(after.overdrawn - before.overdrawn).unwrap_or(u32::MAX),
                seen,
            }
        });
        Ok(told.collect())
    }

    async fn renew(&self, holds: &[HoldId], _: Duration) -> Result<Vec<HoldId>, StoreFault> {
        let now = self.now();
        let mut state = self.state.lock();
        state.ledger.expire(now);
        Ok(holds.iter().filter(|hold| !state.ledger.renew(**hold, now)).copied().collect())
    }

    async fn parts(&self, bucket: &Bucket) -> Result<Vec<ResetPart>, StoreFault> {
        Ok(self.state.lock().ledger.parts(bucket))
    }

    async fn reset(&self, reset: &Reset) -> Result<(), StoreFault> {
        self.state.lock().ledger.reset(reset);
        Ok(())
    }

    async fn usage(&self, buckets: &[(Bucket, Counts)]) -> Result<Vec<Usage>, StoreFault> {
        let now = self.now();
        let mut state = self.state.lock();
        state.ledger.expire(now);
        Ok(buckets.iter().map(|(bucket, _)| state.ledger.usage(bucket)).collect())
    }
}
