//! Edges with their clients, and who looks on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use parking_lot::Mutex;
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::Usage;
use tollbridge::routing::UsageReader;
use tollbridge::routing::hold::{Bucket, Counts};
use tollbridge::server::holds::HoldStore;
use tollbridge::server::holds::redis::RedisStore;
use tollbridge::time::Wall;

use super::super::edge::Edge;
use super::super::machine::Machine;
use super::super::ways::Ways;
use super::Fault;
use super::kind::{Ending, Kind};
use super::record::{History, Lapse, Operation, What, stored};

/// An edge, and the machine it is on.
pub(super) struct Node {
    pub(super) edge: Edge,
    pub(super) machine: Machine,
    /// To the servers of the store.
    pub(super) ways: Option<Ways>,
    /// How far its wall clock is ahead, milliseconds.
    pub(super) ahead: AtomicI64,
    /// Lines that calls got here.
    pub(super) lines: AtomicU64,
}

pub(super) struct World {
    pub(super) account: String,
    pub(super) fault: Fault,
    /// See [`Fault::loses`].
    pub(super) store_loses: bool,
    pub(super) nodes: Vec<Node>,
    pub(super) history: History,
    pub(super) lapses: Mutex<Vec<Lapse>>,
    /// What clocks that are not ahead show when it begins: half an hour to midnight, which is the end
    /// of an hour as well.
    pub(super) begins: Wall,
    /// What anything was asked of: the most that was seen used and held.
    pub(super) seen: Mutex<BTreeMap<Bucket, Seen>>,
    pub(super) over: AtomicBool,
}

/// A bucket as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) counts: Counts,
    /// As one may ask for it.
    pub(super) named: Bucket,
    pub(super) most: u64,
}

impl World {
    /// What the clock of a node shows.
    pub(super) fn wall(&self, node: usize) -> Wall {
        let elapsed = i64::try_from(self.history.now().as_millis()).unwrap_or(i64::MAX);
        Wall(self.begins.0 + elapsed + self.nodes[node].ahead.load(Ordering::SeqCst))
    }

    /// All nodes that live use the store.
    pub(super) fn are_open(&self) -> bool {
        self.nodes.iter().all(|node| node.edge.is_dead() || node.edge.is_open())
    }

    pub(super) async fn until_open(&self) -> Result<()> {
        until("the store to come back", || self.are_open()).await
    }

    /// Calls get lines at these nodes, from now on.
    pub(super) async fn until_lines_are_given(&self, nodes: &[usize]) -> Result<()> {
        let given = || {
            nodes.iter().map(|it| self.nodes[*it].lines.load(Ordering::SeqCst)).collect::<Vec<_>>()
        };
        let before = given();
        let have_more = || given().iter().zip(&before).all(|(now, before)| now > before);
        until("calls to get lines", have_more).await
    }

    /// Nothing if the store is away.
    pub(super) async fn look(
        &self,
        observer: Option<&RedisStore>,
        buckets: &[(Bucket, Counts)],
    ) -> Vec<Usage> {
        let Some(observer) = observer else {
            let ledger = &self.nodes[0].edge.deciding;
            let usage =
                |it: &dyn UsageReader| buckets.iter().map(|(bucket, _)| it.usage(bucket)).collect();
            return ledger.ledger(|it| usage(it));
        };
        match observer.usage(buckets).await {
            Ok(usages) => usages,
            Err(_) => {
                let _still_away = observer.connect().await;
                vec![]
            }
        }
    }

    /// As they can be asked for.
    pub(super) fn buckets(&self) -> Vec<(Bucket, Counts)> {
        self.seen.lock().values().map(|it| (it.named.clone(), it.counts)).collect()
    }
}

/// Waits, but not for ever.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        ensure!(Instant::now() < give_up, "waited 20 s for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One call after the other, until all is over.
pub(super) async fn calls(world: Arc<World>, node: usize, kind: Kind, worker: u64, seed: u64) {
    let mut rng = Rng::with_seed(seed ^ worker.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let Node { edge, lines, .. } = &world.nodes[node];
    for number in 0_u64.. {
        if world.over.load(Ordering::SeqCst) || edge.is_dead() {
            return;
        }
        let call = CallId(uuid::Uuid::from_u64_pair(worker, number));
        let hold = HoldId::of(call, 1, "target/t");
        let stake = kind.stake(&mut rng);
        let requests = kind.requests(&world.account, world.wall(node), stake);
        {
            let mut seen = world.seen.lock();
            for request in &requests {
                let (counts, named) = (request.counts, request.bucket.clone());
                let seen = seen.entry(stored(&request.bucket));
                seen.or_insert_with(|| Seen { kind, counts, named, most: 0 });
            }
        }
        let note = |begun, what| {
            let done = world.history.now();
            let operation = Operation { edge: node, kind: kind as usize, hold, begun, done, what };
            world.history.note(operation);
        };
        let begun = world.history.now();
        if !edge.place_in(hold, &requests).await {
            note(begun, What::Denied(requests));
            nap(&mut rng, 5..40).await;
            continue;
        }
        note(begun, What::Granted(requests.clone()));
        if kind == Kind::Concurrency {
            lines.fetch_add(1, Ordering::SeqCst);
        }
        nap(&mut rng, 1..25).await;
        // Some are up before it and after.
        if world.fault.lasts() && rng.u8(0..8) == 0 {
            nap(&mut rng, 200..3_500).await;
        }
        let ending = Ending {
            is_said_twice: world.fault == Fault::Duplicate,
            is_said_in_the_wrong_order: world.fault == Fault::Reorder
                && kind != Kind::Concurrency
                && rng.bool(),
        };
        let came_to = kind.came_to(&requests, ending, world.fault.odds(), &mut rng);
        let begun = world.history.now();
        kind.end(&edge.deciding, hold, &came_to, world.wall(node), ending);
        note(begun, What::Ended { came_to, late: ending.is_said_in_the_wrong_order });
    }
}

/// Looks at the buckets for as long as calls are made.
pub(super) async fn observe(world: Arc<World>, observer: Option<Arc<RedisStore>>) {
    while !world.over.load(Ordering::SeqCst) {
        let buckets = world.buckets();
        let is_whole = || !world.store_loses || world.are_open();
        let was_whole = is_whole();
        let usages = world.look(observer.as_deref(), &buckets).await;
        if was_whole && is_whole() {
            let mut seen = world.seen.lock();
            for ((bucket, _), usage) in buckets.iter().zip(usages) {
                if let Some(seen) = seen.get_mut(&stored(bucket)) {
                    seen.most = seen.most.max(usage.used + usage.held);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

async fn nap(rng: &mut Rng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.u64(ms))).await;
}
