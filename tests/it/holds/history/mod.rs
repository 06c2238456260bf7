//! What becomes of limits when clients, servers and networks fail (spec/data §0.4, §7.3).
//!
//! Several edges, each as a server has it (decisions' ledger, the store it shares), make calls of five
//! kinds at once: some are counted, some come to nothing, some say everything twice or in the wrong
//! order, some sleep. Meanwhile something fails. An observer looks at the buckets all the time, and at
//! the end everything must add up. Each cell of the table prints a line:
//!
//! ```text
//! redis      partition  concurrency seed 1234  calls  812 denied 1203 used 0 of 5 overshoot 0 leaked 0
//! ```
//!
//! `TOLLBRIDGE_HOLD_SECONDS` makes each of them longer, `TOLLBRIDGE_HOLD_SEED` repeats one, and
//! `TOLLBRIDGE_HOLD_FAULT` (`Load`) leaves out all other faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tokio::task::JoinSet;
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::Usage;
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts};
use tollbridge::server::clock;
use tollbridge::server::holds::redis::{Address, KeySpace, RedisStore, RedisStoreSettings};
use tollbridge::server::holds::{HoldStore, State};
use tollbridge::time::Wall;

use super::edge::Edge;
use super::stores;
use crate::support::redis::{Cluster, Redis};

/// Edges that share a store.
const EDGES: usize = 3;
/// Calls at once, of each kind at each edge.
const CALLS: usize = 3;
/// Long enough to sit out every fault but the death of an edge.
const LEASE: Duration = Duration::from_secs(8);
/// What happens, on the wall.
const AT: Wall = Wall(1_795_000_000_000);

/// What is limited, and how calls use it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Strict,
    Conversion,
    Revenue,
    Concurrency,
    Prepaid,
}

const KINDS: [Kind; 5] =
    [Kind::Strict, Kind::Conversion, Kind::Revenue, Kind::Concurrency, Kind::Prepaid];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillEdge,
    KillStore,
    Partition,
    Pause,
    ClockJump,
    Duplicate,
    Reorder,
    /// Somebody else's script keeps the server busy.
    Busy,
    /// The server starts again with what it had written down, which takes a while.
    Load,
    /// A replica is made master, and nobody dies.
    Failover,
    /// The slot of all keys goes to another node of the cluster.
    MoveSlot,
}

impl Kind {
    fn request(self, account: &str, rng: &mut Rng) -> BucketRequest {
        let (counts, limit, amount) = match self {
            Self::Strict => (Counts::Connected, 60, 1),
            Self::Conversion => (Counts::Converted, 60, 1),
            Self::Revenue => (Counts::Revenue, 700_000_000, 12_500_000),
            Self::Concurrency => (Counts::Live, 5, 1),
            Self::Prepaid => (Counts::Credit, 700_000_000, rng.u64(1_000_000..20_000_000)),
        };
        let window = if self == Self::Concurrency { "live" } else { "total" };
        let bucket = Bucket { cap: format!("{account}/{self:?}").into(), window: window.into() };
        BucketRequest { bucket, counts, limit, amount, ends_at: None, leeway: None }
    }
}

/// What keeps the holds.
enum Keeper {
    InProcess,
    Redis(Redis),
    /// A server and its replica.
    Pair(Redis, Redis),
    Cluster(Cluster),
}

impl Keeper {
    fn name(&self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Redis(_) => "redis",
            Self::Pair(..) => "pair",
            Self::Cluster(_) => "cluster",
        }
    }

    fn seeds(&self) -> Vec<Address> {
        match self {
            Self::InProcess => vec![],
            Self::Redis(redis) => vec![redis.address()],
            Self::Pair(redis, replica) => vec![redis.address(), replica.address()],
            Self::Cluster(cluster) => cluster.seeds(),
        }
    }

    /// The process with the keys of a slot.
    fn server(&mut self, slot: u16) -> Result<Option<&mut Redis>> {
        match self {
            Self::InProcess => Ok(None),
            Self::Redis(redis) | Self::Pair(redis, _) => Ok(Some(redis)),
            Self::Cluster(cluster) => {
                let place = cluster.master_of(slot)?;
                Ok(cluster.nodes.get_mut(place))
            }
        }
    }

    /// A replica takes over from its master, which lives on as a replica.
    fn fail_over(&mut self, slot: u16) -> Result<()> {
        match self {
            Self::InProcess | Self::Redis(_) => Ok(()),
            Self::Pair(redis, replica) => {
                redis.hand_over_to(replica)?;
                std::mem::swap(redis, replica);
                Ok(())
            }
            Self::Cluster(cluster) => cluster.fail_over(slot),
        }
    }
}

/// What calls of one kind did.
#[derive(Default)]
struct Tally {
    placed: AtomicU64,
    denied: AtomicU64,
    /// Counted at edges that live, and at those that were killed.
    counted: [AtomicU64; 2],
    /// What calls have that were told they may, and what those came to that are over.
    had: AtomicU64,
    /// The most that was had at once, or seen used and held.
    most: AtomicU64,
}

impl Tally {
    /// No more than is had: it is said after room was got, and before it is given back.
    fn has(&self, amount: u64) {
        let had = self.had.fetch_add(amount, Ordering::SeqCst) + amount;
        self.most.fetch_max(had, Ordering::SeqCst);
    }
}

struct World {
    account: String,
    fault: Fault,
    edges: Vec<Edge>,
    tallies: [Tally; 5],
    over: AtomicBool,
}

/// One call after the other, until all is over.
async fn calls(world: Arc<World>, edge: usize, kind: Kind, worker: u64, seed: u64) {
    let mut rng = Rng::with_seed(seed ^ worker.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (edge, tally) = (&world.edges[edge], &world.tallies[kind as usize]);
    for number in 0_u64.. {
        if world.over.load(Ordering::SeqCst) || edge.is_dead() {
            return;
        }
        let call = CallId(uuid_of(worker, number));
        let hold = HoldId::of(call, 1, "target/t");
        let request = kind.request(&world.account, &mut rng);
        if !edge.place(hold, &request).await {
            tally.denied.fetch_add(1, Ordering::SeqCst);
            nap(&mut rng, 5..40).await;
            continue;
        }
        if edge.is_dead() {
            return;
        }
        tally.placed.fetch_add(1, Ordering::SeqCst);
        tally.has(request.amount);
        nap(&mut rng, 1..25).await;
        match world.fault {
            Fault::Pause if rng.u8(0..20) == 0 => nap(&mut rng, 1_000..1_001).await,
            // Some are up before it and after.
            Fault::KillEdge
            | Fault::KillStore
            | Fault::Partition
            | Fault::Busy
            | Fault::Load
            | Fault::Failover
            | Fault::MoveSlot
                if rng.u8(0..8) == 0 =>
            {
                nap(&mut rng, 200..3_500).await;
            }
            Fault::KillEdge
            | Fault::KillStore
            | Fault::Partition
            | Fault::Pause
            | Fault::ClockJump
            | Fault::Duplicate
            | Fault::Reorder
            | Fault::Busy
            | Fault::Load
            | Fault::Failover
            | Fault::MoveSlot => {}
        }
        if edge.is_dead() {
            // Whoever was up at a dead edge is never heard of again.
            return;
        }
        tally.had.fetch_sub(request.amount, Ordering::SeqCst);
        let came_to = end(&world, edge, kind, hold, &request, &mut rng);
        tally.has(came_to);
        let place = usize::from(edge.is_dead());
        tally.counted[place].fetch_add(came_to, Ordering::SeqCst);
    }
}

/// The call is over. Returns how much of its request was counted.
fn end(
    world: &World,
    edge: &Edge,
    kind: Kind,
    hold: HoldId,
    request: &BucketRequest,
    rng: &mut Rng,
) -> u64 {
    let (now, deciding) = (clock::mono(), &edge.deciding);
    let days = if world.fault == Fault::ClockJump { rng.i64(-2..=2) } else { 0 };
    let at = Wall(AT.0 + days * 86_400_000);
    let counts = rng.u8(0..8) == 0;
    let times = if world.fault == Fault::Duplicate { 2 } else { 1 };
    let came_to = match kind {
        Kind::Strict if world.fault == Fault::Reorder && rng.bool() => {
            // Given back first: then there is nothing left to be counted.
            deciding.release(hold);
            deciding.settle(hold, Counts::Connected, now, at);
            0
        }
        Kind::Strict if counts => {
            for _ in 0..times {
                deciding.settle(hold, Counts::Connected, now, at);
            }
            1
        }
        Kind::Strict | Kind::Concurrency => 0,
        Kind::Conversion | Kind::Revenue | Kind::Prepaid if counts => {
            let is_metered = kind == Kind::Prepaid;
            let came_to = if is_metered { rng.u64(1..=request.amount) } else { request.amount };
            let amount = i64::try_from(came_to).unwrap();
            deciding.conclude(hold, &[(request.bucket.clone(), amount)], now);
            came_to
        }
        Kind::Conversion | Kind::Revenue | Kind::Prepaid => {
            deciding.conclude(hold, &[], now);
            0
        }
    };
    for _ in 0..times {
        deciding.release(hold);
    }
    came_to
}

/// Looks at the buckets for as long as calls are made.
async fn observe(world: Arc<World>, observer: Option<Arc<RedisStore>>) {
    let mut rng = Rng::new();
    let buckets = KINDS.map(|kind| {
        let request = kind.request(&world.account, &mut rng);
        (request.bucket, request.counts)
    });
    while !world.over.load(Ordering::SeqCst) {
        // A store that has lost something may count what one edge gave back and another got, until
        // both have told it.
        let is_told = are_open(&world);
        let usages = look(&world, observer.as_deref(), &buckets).await;
        let usages = if is_told && are_open(&world) { usages } else { vec![] };
        for (kind, usage) in KINDS.into_iter().zip(usages) {
            let tally = &world.tallies[kind as usize];
            tally.most.fetch_max(usage.used + usage.held, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

/// Nothing if the store is away.
async fn look(
    world: &World,
    observer: Option<&RedisStore>,
    buckets: &[(Bucket, Counts)],
) -> Vec<Usage> {
    use tollbridge::routing::UsageReader;
    let Some(observer) = observer else {
        let ledger = &world.edges[0].deciding;
        return ledger.ledger(|it| buckets.iter().map(|(bucket, _)| it.usage(bucket)).collect());
    };
    match observer.usage(buckets).await {
        Ok(usages) => usages,
        Err(_) => {
            let _still_away = observer.connect().await;
            vec![]
        }
    }
}

/// Plays one fault to calls of all kinds, and prints a line for each.
async fn play(keeper: &mut Keeper, fault: Fault, number: u8) -> Result<()> {
    let seed = std::env::var("TOLLBRIDGE_HOLD_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let seconds = std::env::var("TOLLBRIDGE_HOLD_SECONDS").ok().and_then(|it| it.parse().ok());
    let run = seconds.map_or(Duration::from_millis(1_200), Duration::from_secs);
    let account = format!("{fault:?}{number}");
    let settings = |node: &str| {
        let settings = stores::settings(keeper.seeds(), &account, node);
        RedisStoreSettings {
            call_timeout: Duration::from_millis(150),
            timeout: Duration::from_millis(300),
            replica_timeout: Duration::from_millis(500),
            open_after: Duration::from_millis(300),
            ..settings
        }
    };
    let is_shared = !keeper.seeds().is_empty();
    let mut edges = vec![];
    for edge in 0..if is_shared { EDGES } else { 1 } {
        let own = is_shared.then(|| settings(&edge.to_string()));
        edges.push(Edge::start(own, number * 16 + u8::try_from(edge)?, LEASE).await?);
    }
    let observer = is_shared.then(|| Arc::new(RedisStore::new(settings("observer"))));
    if let Some(observer) = &observer {
        observer.connect().await?;
    }
    let slot = KeySpace::new(&account).slot();
    let world = Arc::new(World {
        account,
        fault,
        edges,
        tallies: Default::default(),
        over: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    let count = world.edges.len() * KINDS.len() * CALLS * if is_shared { 1 } else { EDGES };
    for worker in 0..count {
        let (edge, kind) = (worker % world.edges.len(), KINDS[worker % KINDS.len()]);
        let worker = u64::from(number) << 32 | u64::try_from(worker)?;
        workers.spawn(calls(Arc::clone(&world), edge, kind, worker, seed));
    }
    let observing = tokio::spawn(observe(Arc::clone(&world), observer.clone()));

    tokio::time::sleep(run / 2).await;
    strike(keeper, &world, fault, slot).await?;
    tokio::time::sleep(run / 2).await;
    world.over.store(true, Ordering::SeqCst);
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    observing.await?;
    settle_down(&world).await?;
    judge(keeper, &world, observer.as_deref(), seed).await
}

async fn strike(keeper: &mut Keeper, world: &World, fault: Fault, slot: u16) -> Result<()> {
    match fault {
        Fault::KillEdge => {
            if let Some(edge) = world.edges.get(2) {
                edge.dead.store(true, Ordering::SeqCst);
                if let Some(running) = &edge.running {
                    running.abort();
                }
            }
        }
        Fault::KillStore => {
            let is_cluster = matches!(keeper, Keeper::Cluster(_));
            if let Some(server) = keeper.server(slot)? {
                server.kill()?;
                // In a cluster its replica takes over; it comes back as one.
                tokio::time::sleep(Duration::from_millis(if is_cluster { 3_000 } else { 400 }))
                    .await;
                server.restart()?;
            }
            all_open(world).await?;
        }
        Fault::Partition => {
            let is_cluster = matches!(keeper, Keeper::Cluster(_));
            if let Some(server) = keeper.server(slot)? {
                server.signal("STOP")?;
                // In a cluster another is made master meanwhile.
                tokio::time::sleep(Duration::from_millis(if is_cluster { 3_000 } else { 800 }))
                    .await;
                server.signal("CONT")?;
            }
            all_open(world).await?;
        }
        Fault::Busy => {
            if let Some(server) = keeper.server(slot)? {
                let script = tokio::task::block_in_place(|| server.keep_busy())?;
                tokio::time::sleep(Duration::from_millis(800)).await;
                tokio::task::block_in_place(|| drop(script));
            }
            all_open(world).await?;
        }
        Fault::Load => {
            if let Some(server) = keeper.server(slot)? {
                server.load_again().await?;
            }
            all_open(world).await?;
        }
        Fault::Failover => {
            keeper.fail_over(slot)?;
            all_open(world).await?;
        }
        Fault::MoveSlot => {
            if let Keeper::Cluster(cluster) = keeper {
                cluster.move_slot(slot).await?;
            }
            all_open(world).await?;
        }
        Fault::Pause | Fault::ClockJump | Fault::Duplicate | Fault::Reorder => {}
    }
    Ok(())
}

/// All edges use the store again.
async fn all_open(world: &World) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(15);
    while !are_open(world) {
        ensure!(Instant::now() < give_up, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn are_open(world: &World) -> bool {
    world.edges.iter().all(|edge| {
        edge.is_dead() || edge.shared.as_ref().is_none_or(|it| it.state() == State::Open)
    })
}

/// Edges end as they should, but for those that were killed.
async fn settle_down(world: &World) -> Result<()> {
    all_open(world).await?;
    for edge in world.edges.iter().filter(|edge| !edge.is_dead()) {
        edge.end().await?;
    }
    Ok(())
}

async fn judge(
    keeper: &Keeper,
    world: &World,
    observer: Option<&RedisStore>,
    seed: u64,
) -> Result<()> {
    let mut rng = Rng::with_seed(1);
    let requests = KINDS.map(|kind| kind.request(&world.account, &mut rng));
    let buckets = requests.each_ref().map(|it| (it.bucket.clone(), it.counts));
    // What a killed edge held is held until its leases are over.
    let give_up = Instant::now() + LEASE + Duration::from_secs(5);
    let usages = loop {
        let usages = look(world, observer, &buckets).await;
        let is_free = usages.len() == KINDS.len() && usages.iter().all(|usage| usage.held == 0);
        if is_free || Instant::now() > give_up {
            break usages;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(usages.len() == KINDS.len(), "the store does not answer");
    let mut wrong = vec![];
    for ((kind, request), usage) in KINDS.into_iter().zip(&requests).zip(usages) {
        let tally = &world.tallies[kind as usize];
        let [placed, denied, most] =
            [&tally.placed, &tally.denied, &tally.most].map(|it| it.load(Ordering::SeqCst));
        let [alive, dead] = tally.counted.each_ref().map(|it| it.load(Ordering::SeqCst));
        let overshoot = most.max(usage.used).saturating_sub(request.limit);
        let line = format!(
            "{:<10} {:<10} {:<11} seed {seed:<20} calls {placed:>5} denied {denied:>5} used {} of {} \
             overshoot {overshoot} leaked {}",
            keeper.name(),
            format!("{:?}", world.fault),
            format!("{kind:?}"),
            usage.used,
            request.limit,
            usage.held,
        );
        println!("{line}");
        // What a killed edge had counted may have died with it.
        let is_exact = (alive..=alive + dead).contains(&usage.used)
            || world.fault == Fault::KillEdge && usage.used <= alive + dead;
        if overshoot > 0 || usage.held > 0 || !is_exact || placed == 0 {
            wrong.push(format!("{line}: calls came to {alive} and {dead} at killed edges"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn uuid_of(worker: u64, number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u64_pair(worker, number)
}

async fn nap(rng: &mut Rng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.u64(ms))).await;
}

const CLIENT_FAULTS: [Fault; 4] =
    [Fault::Pause, Fault::ClockJump, Fault::Duplicate, Fault::Reorder];
const STORE_FAULTS: [Fault; 4] = [Fault::KillEdge, Fault::KillStore, Fault::Partition, Fault::Busy];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_in_a_process_whatever_its_calls_do() -> Result<()> {
    play_all(&mut Keeper::InProcess, 0, &[&CLIENT_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_redis_whatever_fails() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut keeper = Keeper::Redis(Redis::alone(folder.path())?);
    play_all(&mut keeper, 0, &[&CLIENT_FAULTS, &STORE_FAULTS, &[Fault::Load]]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_when_a_server_and_its_replica_change_places() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let replica = Redis::replica_of(&redis, folder.path())?;
    redis.wait_for_replica()?;
    let mut keeper = Keeper::Pair(redis, replica);
    play_all(&mut keeper, 0, &[&[Fault::Failover, Fault::Failover]]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_a_cluster_whatever_fails() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 0, &[&CLIENT_FAULTS, &STORE_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_when_the_keys_move_to_another_node() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 1, &[&[Fault::Failover, Fault::MoveSlot, Fault::MoveSlot]]).await
}

async fn play_all(keeper: &mut Keeper, first: u8, faults: &[&[Fault]]) -> Result<()> {
    let only = std::env::var("TOLLBRIDGE_HOLD_FAULT").ok();
    for (number, fault) in (first..).zip(faults.iter().copied().flatten()) {
        if only.as_ref().is_some_and(|only| *only != format!("{fault:?}")) {
            continue;
        }
        play(keeper, *fault, number).await.with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}
