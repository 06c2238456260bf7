//! What becomes of limits when clients, servers and networks fail (spec/data §0.4, §1.7, §7.3).
//!
//! Several edges, each as a server has it (decisions' ledger, the store it shares) and on a machine of
//! its own, make calls of five kinds at once: some are counted, some come to nothing, some say
//! everything twice or in the wrong order. Meanwhile something fails. Clients write down what they asked
//! for and what they were told ([`record`]), and an observer looks at the buckets all the time. At the
//! end everything must add up, and what is left of each limit must be there for further calls. Each
//! cell of the table prints a line, which names the window that is fullest:
//!
//! ```text
//! redis      Partition     Strict      seed 1234  calls  812 denied 1203 used 50 of 50 late 0 overshoot 0 leaked 0
//! ```
//!
//! What must hold of windows when a clock jumps: an hour and a day are the owner's, by name, and
//! whatever a clock shows, what was used in one stays used in it and its limit is its own. What was used
//! in a rolling window counts until a clock shows that it has left it.
//!
//! What must hold when a call gives back its room and says afterwards what it came to: that counts, once
//! and late. So does what is said twice.
//!
//! What must hold when an edge was stopped or cut off for longer than its leases last: others may get
//! the lines of its calls, which go on, late; what else they hold stays held for as long as a call may
//! last. It gives no call room by a lease that is over. If an edge is gone and the store then loses all it
//! knows, what the edge held is lost, and no more of what it had used than it told in the last second.
//!
//! `TOLLBRIDGE_HOLD_SECONDS` makes each of them longer, `TOLLBRIDGE_HOLD_SEED` repeats one, and
//! `TOLLBRIDGE_HOLD_FAULT` (`Load`) leaves out all other faults.

mod keeper;
mod kind;
mod record;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tokio::task::{JoinHandle, block_in_place};
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts};
use tollbridge::server::clock;
use tollbridge::server::holds::redis::{KeySpace, RedisStore, RedisStoreSettings};
use tollbridge::time::Wall;

use super::edge::Edge;
use super::machine::Machine;
use super::stores;
use super::ways::Ways;
use crate::support::cells;
use crate::support::redis::{Cluster, Redis};

use keeper::Keeper;
use kind::KINDS;
use record::{History, Lapse, What, stored};
use world::{Node, World, calls, observe, until};

/// Edges that share a store.
const EDGES: usize = 3;
/// Calls at once, of each kind at each edge.
const CALLS: usize = 3;
/// How long an edge is stopped or cut off that stays so for long.
const LONG: Duration = Duration::from_secs(5);
/// How long edges take to see what others have used, and more.
const SEEN: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A whole edge is stopped for five seconds.
    Pause,
    /// The same, and its leases are over meanwhile.
    Oversleep,
    /// Wall clocks go ahead over the end of an hour and a day, and back.
    ClockJump,
    Duplicate,
    Reorder,
    /// A whole edge is gone, with its connections.
    KillEdge,
    KillStore,
    /// A whole edge is gone, and then the store loses all it knows.
    LostWhileDown,
    /// One edge is cut off from all servers of the store.
    Partition,
    /// The same, until its leases are over.
    LongPartition,
    /// The server with the keys is cut off from the other servers of its cluster; one edge reaches
    /// only it, and the others reach all but it.
    IsolatedMaster,
    /// The server stops for everybody, and goes on.
    Frozen,
    /// Somebody else's script keeps the server busy.
    Busy,
    /// The server starts again with what it had written down, which takes a while.
    Load,
    /// A replica is made master, and nobody dies.
    Failover,
    /// The slot of all keys goes to another node of the cluster.
    MoveSlot,
}

impl Fault {
    /// Long enough to sit out every fault but those that are about it.
    fn lease(self) -> Duration {
        Duration::from_secs(match self {
            Self::Oversleep | Self::LongPartition | Self::KillEdge | Self::LostWhileDown => 4,
            Self::IsolatedMaster => 60,
            Self::Pause
            | Self::ClockJump
            | Self::Duplicate
            | Self::Reorder
            | Self::KillStore
            | Self::Partition
            | Self::Frozen
            | Self::Busy
            | Self::Load
            | Self::Failover
            | Self::MoveSlot => 20,
        })
    }

    /// Whether calls are to be up from before it until after it.
    fn lasts(self) -> bool {
        match self {
            Self::ClockJump | Self::Duplicate | Self::Reorder => false,
            Self::Pause
            | Self::Oversleep
            | Self::KillEdge
            | Self::KillStore
            | Self::LostWhileDown
            | Self::Partition
            | Self::LongPartition
            | Self::IsolatedMaster
            | Self::Frozen
            | Self::Busy
            | Self::Load
            | Self::Failover
            | Self::MoveSlot => true,
        }
    }

    /// What an edge holds that is gone is kept for as long.
    fn call_max(self) -> Duration {
        let is_back = matches!(self, Self::Oversleep | Self::LongPartition);
        if is_back { 2 * LONG } else { Duration::from_secs(1) }
    }

    /// One call in so many is counted: limits are to be met during the fault, and not used up before.
    fn odds(self) -> u8 {
        if self.lasts() && self != Self::LostWhileDown { 32 } else { 8 }
    }

    /// Whether the store may lose what it was told, and so count what one edge gave back and another got,
    /// until both have told it.
    fn loses(self, keeper: &Keeper) -> bool {
        match self {
            Self::KillStore | Self::LostWhileDown | Self::IsolatedMaster | Self::Load => true,
            // A cluster hands over in order.
            Self::Failover => matches!(keeper, Keeper::Pair(..)),
            Self::Pause
            | Self::Oversleep
            | Self::ClockJump
            | Self::Duplicate
            | Self::Reorder
            | Self::KillEdge
            | Self::Partition
            | Self::LongPartition
            | Self::Frozen
            | Self::Busy
            | Self::MoveSlot => false,
        }
    }
}

/// Plays one fault to calls of all kinds, and prints a line for each.
async fn play(keeper: &mut Keeper, fault: Fault, number: u8) -> Result<()> {
    let seed = std::env::var("TOLLBRIDGE_HOLD_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let seconds = std::env::var("TOLLBRIDGE_HOLD_SECONDS").ok().and_then(|it| it.parse().ok());
    let run = seconds.map_or(Duration::from_millis(1_200), Duration::from_secs);
    let (world, observer) = begin(keeper, fault, number).await?;
    let mut workers: Vec<JoinHandle<()>> = vec![];
    let at_once = if observer.is_some() { CALLS } else { CALLS * EDGES };
    for (place, node) in world.nodes.iter().enumerate() {
        for (kind, copy) in KINDS.into_iter().flat_map(|kind| (0..at_once).map(move |n| (kind, n)))
        {
            let own = place << 16 | (kind as usize) << 8 | copy;
            let worker = u64::from(number) << 32 | u64::try_from(own)?;
            workers.push(node.machine.run(calls(Arc::clone(&world), place, kind, worker, seed)));
        }
    }
    let observing = tokio::spawn(observe(Arc::clone(&world), observer.clone()));

    tokio::time::sleep(run / 2).await;
    strike(keeper, &world, fault).await?;
    tokio::time::sleep(run / 2).await;
    world.over.store(true, Ordering::SeqCst);
    for worker in workers {
        let ended = worker.await;
        // Those at a killed edge are gone with it.
        ended.or_else(|gone| if gone.is_cancelled() { Ok(()) } else { Err(gone) })?;
    }
    observing.await?;
    world.until_open().await?;
    for node in world.nodes.iter().filter(|node| !node.edge.is_dead()) {
        node.edge.end().await?;
    }
    judge(keeper, &world, observer.as_deref(), seed).await?;
    fill_up(keeper, &world, number).await
}

async fn begin(
    keeper: &Keeper,
    fault: Fault,
    number: u8,
) -> Result<(Arc<World>, Option<Arc<RedisStore>>)> {
    let (servers, account) = (keeper.servers(), format!("{fault:?}{number}"));
    let mut nodes = vec![];
    for place in 0..if servers.is_empty() { 1 } else { EDGES } {
        let ways = if servers.is_empty() { None } else { Some(Ways::to(&servers).await?) };
        let own = ways.as_ref().map(|ways| {
            let seeds = ways.begin.clone();
            settings(fault, stores::settings(seeds, &account, &place.to_string()))
        });
        let machine = Machine::start()?;
        let edge = Edge::start(own, number * 16 + u8::try_from(place)?, fault.lease());
        let edge = machine.run(edge).await??;
        let (ahead, lines) = (AtomicI64::new(0), AtomicU64::new(0));
        nodes.push(Node { edge, machine, ways, ahead, lines });
    }
    let observer = (!servers.is_empty())
        .then(|| RedisStore::new(settings(fault, stores::settings(servers, &account, "observer"))));
    if let Some(observer) = &observer {
        observer.connect().await?;
    }
    const DAY_MS: i64 = 86_400_000;
    let midnight = (clock::wall().0.div_euclid(DAY_MS) + 1) * DAY_MS;
    let world = Arc::new(World {
        account,
        fault,
        store_loses: fault.loses(keeper),
        nodes,
        history: History::new(),
        lapses: Default::default(),
        begins: Wall(midnight - DAY_MS / 48),
        seen: Default::default(),
        over: AtomicBool::new(false),
    });
    Ok((world, observer.map(Arc::new)))
}

fn settings(fault: Fault, settings: RedisStoreSettings) -> RedisStoreSettings {
    let mut settings = RedisStoreSettings {
        call_timeout: Duration::from_millis(150),
        timeout: Duration::from_millis(300),
        replica_timeout: Duration::from_millis(500),
        open_after: Duration::from_millis(300),
        call_max: fault.call_max(),
        ..settings
    };
    settings.link.connect_timeout = Duration::from_millis(500);
    settings
}

async fn strike(keeper: &mut Keeper, world: &World, fault: Fault) -> Result<()> {
    let slot = KeySpace::new(&world.account).slot();
    // In a cluster another is made master meanwhile.
    let meanwhile = |alone| Duration::from_millis(if keeper.is_cluster() { 3_000 } else { alone });
    // Of three edges the second; or the only one.
    let (place, others) = match world.nodes.len() {
        1 => (0, vec![]),
        _ => (1, vec![0, 2]),
    };
    let struck = &world.nodes[place];
    match fault {
        Fault::Duplicate | Fault::Reorder => return Ok(()),
        Fault::Pause => struck.machine.pause(LONG).await?,
        Fault::Oversleep => {
            lapse(world, place);
            struck.machine.pause(LONG).await?;
            world.until_open().await?;
        }
        Fault::ClockJump => jump(world).await?,
        Fault::KillEdge => {
            struck.edge.dead.store(true, Ordering::SeqCst);
            struck.machine.kill();
            return world.until_lines_are_given(&others).await;
        }
        Fault::LostWhileDown => {
            // Its calls come to their ends, which the others see.
            struck.edge.dead.store(true, Ordering::SeqCst);
            tokio::time::sleep(SEEN).await;
            lapse(world, place);
            struck.machine.kill();
            let is_cluster = keeper.is_cluster();
            if let Some(server) = keeper.server(slot)? {
                if is_cluster {
                    server.ask(&["flushall"])?;
                } else {
                    server.kill()?;
                    server.restart()?;
                }
            }
            let are_closed = || others.iter().all(|it| !world.nodes[*it].edge.is_open());
            until("the edges to see it", are_closed).await?;
            world.until_open().await?;
            return world.until_lines_are_given(&others).await;
        }
        Fault::KillStore => {
            let meanwhile = meanwhile(400);
            if let Some(server) = keeper.server(slot)? {
                server.kill()?;
                // It comes back as a replica, or empty.
                tokio::time::sleep(meanwhile).await;
                server.restart()?;
            }
        }
        Fault::Frozen => {
            let meanwhile = meanwhile(800);
            if let Some(server) = keeper.server(slot)? {
                server.signal("STOP")?;
                tokio::time::sleep(meanwhile).await;
                server.signal("CONT")?;
            }
        }
        Fault::Partition | Fault::LongPartition => {
            let ways = struck.ways.as_ref().context("there is no way to cut")?;
            ways.cut_all();
            let lapse = (fault == Fault::LongPartition).then(|| lapse(world, place));
            until("the edge to see it is cut off", || !struck.edge.is_open()).await?;
            world.until_lines_are_given(&others).await?;
            if let Some(lapse) = lapse {
                tokio::time::sleep(LONG).await;
                gave_nothing_since(world, lapse)?;
            }
            ways.mend();
        }
        Fault::IsolatedMaster => isolate(keeper, world, slot).await?,
        Fault::Busy => {
            if let Some(server) = keeper.server(slot)? {
                let script = block_in_place(|| server.keep_busy())?;
                tokio::time::sleep(Duration::from_millis(800)).await;
                block_in_place(|| drop(script));
            }
        }
        Fault::Load => {
            if let Some(server) = keeper.server(slot)? {
                server.load_again().await?;
            }
        }
        Fault::Failover => keeper.fail_over(slot)?,
        Fault::MoveSlot => {
            if let Keeper::Cluster(cluster) = keeper {
                cluster.move_slot(slot).await?;
            }
        }
    }
    world.until_open().await?;
    let all: Vec<usize> = (0..world.nodes.len()).collect();
    world.until_lines_are_given(&all).await
}

/// From now on the leases of a node are not renewed. Half of one is left for what becomes of calls.
fn lapse(world: &World, edge: usize) -> Lapse {
    let since = world.history.now();
    let is_lost = world.fault == Fault::LostWhileDown;
    let lapse = Lapse { edge, since, from: since + world.fault.lease() / 2, is_lost };
    world.lapses.lock().push(lapse);
    lapse
}

/// Who cannot renew leases gives no room by them.
fn gave_nothing_since(world: &World, lapse: Lapse) -> Result<()> {
    let operations = world.history.operations();
    let mut after = operations.iter().filter(|it| {
        it.edge == lapse.edge && it.begun > lapse.from && matches!(it.what, What::Granted(_))
    });
    ensure!(after.next().is_none(), "a call got room at an edge that is cut off");
    let asked = operations.iter().any(|it| it.edge == lapse.edge && it.begun > lapse.from);
    ensure!(asked, "nobody asked for room at the edge that is cut off");
    Ok(())
}

/// One clock after the other goes an hour ahead, over the end of the hour and of the day, then all of
/// them back, and half an hour behind. What is over by a clock is cleared away, as it always is. A rolling
/// window of a minute, which is full before, gives room to clocks that are ahead, and none to those that are
/// set back.
async fn jump(world: &World) -> Result<()> {
    const HOUR_MS: i64 = 3_600_000;
    let (mut minute, mut let_in) = (Minute { world, calls: 0 }, 0);
    while let_in < Minute::LIMIT {
        ensure!(minute.calls < 50, "a minute with less room than its limit");
        let_in += u64::from(minute.call(0).await);
    }
    for ahead in [HOUR_MS, 0, HOUR_MS, 0, -HOUR_MS / 2, 0] {
        for (place, node) in world.nodes.iter().enumerate() {
            node.ahead.store(ahead, Ordering::SeqCst);
            node.edge.deciding.sweep(clock::mono(), world.wall(place));
            let is_let_in = minute.call(place).await;
            ensure!(ahead > 0 || !is_let_in, "a minute was full, and is not for a clock set back");
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }
    Ok(())
}

/// A cap on the calls of a minute, which is longer than clocks jump about.
struct Minute<'a> {
    world: &'a World,
    calls: u64,
}

impl Minute<'_> {
    const LIMIT: u64 = 3;

    /// Whether a call that counts is let in.
    async fn call(&mut self, place: usize) -> bool {
        let edge = &self.world.nodes[place].edge;
        self.calls += 1;
        let call = CallId(uuid::Uuid::from_u64_pair(u64::MAX - 99, self.calls));
        let (hold, at) = (HoldId::of(call, 1, "target/t"), self.world.wall(place));
        let window = format!("rolling:60/{}", at.0.div_euclid(1_000)).into();
        let request = BucketRequest {
            bucket: Bucket { cap: format!("{}/minute", self.world.account).into(), window },
            counts: Counts::Connected,
            limit: Self::LIMIT,
            amount: 1,
            ends_at: Some(Wall(at.0 + 62_000)),
            leeway: None,
        };
        let is_let_in = edge.place(hold, &request).await;
        if is_let_in {
            edge.deciding.settle(hold, Counts::Connected, clock::mono(), at);
            edge.deciding.release(hold);
        }
        is_let_in
    }
}

async fn isolate(keeper: &mut Keeper, world: &World, slot: u16) -> Result<()> {
    let isolated = keeper.isolate(slot)?;
    let replica = keeper.replica(isolated)?;
    let since = world.history.now();
    for (place, node) in world.nodes.iter().enumerate() {
        let ways = node.ways.as_ref().context("there is no way to cut")?;
        if place == 0 {
            ways.cut((0..ways.begin.len()).filter(|server| *server != isolated));
        } else {
            ways.cut([isolated]);
        }
    }
    block_in_place(|| keeper.is_divided(isolated, replica))?;
    let mut operations = world.history.operations().into_iter();
    let was_given = operations
        .any(|it| it.edge == 0 && it.begun > since && matches!(it.what, What::Granted(_)));
    ensure!(was_given, "the isolated master gave nobody any room");
    let is_stuck = || world.nodes.iter().all(|node| !node.edge.is_open());
    until("all edges to see that not all is told", is_stuck).await?;
    // The replica that is master waits for what the edge has to tell that it does not hear of.
    tokio::time::sleep(Duration::from_millis(800)).await;
    ensure!(is_stuck(), "the new master was opened without an edge that lives");
    keeper.join(isolated)?;
    world.nodes.iter().filter_map(|node| node.ways.as_ref()).for_each(Ways::mend);
    Ok(())
}

async fn judge(
    keeper: &Keeper,
    world: &World,
    observer: Option<&RedisStore>,
    seed: u64,
) -> Result<()> {
    let operations = world.history.operations();
    let lapses = world.lapses.lock().clone();
    let mut verdicts = record::judge(&operations, &lapses, world.fault.lease());
    let buckets = world.buckets();
    // What a killed edge held is held until its leases are over, and no call can be up.
    let give_up =
        Instant::now() + world.fault.lease() + world.fault.call_max() + Duration::from_secs(10);
    let usages = loop {
        let usages = world.look(observer, &buckets).await;
        let is_free = usages.len() == buckets.len() && usages.iter().all(|usage| usage.held == 0);
        if is_free || Instant::now() > give_up {
            break usages;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(usages.len() == buckets.len(), "the store does not answer");
    let usages: BTreeMap<_, _> =
        buckets.iter().map(|(bucket, _)| stored(bucket)).zip(usages).collect();
    let seen = world.seen.lock().clone();
    let (mut wrong, mut all_denied, mut all_dead) = (vec![], 0, 0);
    for kind in KINDS {
        let count = |is_it: fn(&What) -> bool| {
            operations.iter().filter(|it| it.kind == kind as usize && is_it(&it.what)).count()
        };
        let placed = count(|it| matches!(it, What::Granted(_)));
        let denied = count(|it| matches!(it, What::Denied(_)));
        let (mut late, mut overshoot, mut leaked, mut fullest) = (0, 0, 0, (0, 0));
        for (bucket, seen) in seen.iter().filter(|(_, seen)| seen.kind == kind) {
            let verdict = verdicts.remove(bucket).unwrap_or_default();
            let usage = usages.get(bucket).copied().unwrap_or_default();
            let limit = verdict.limit;
            // What is late may be on top of it, in the store, but not of what was granted by it.
            let by_store = seen.most.max(usage.used).saturating_sub(limit + verdict.late);
            overshoot = overshoot.max(by_store).max(verdict.most.saturating_sub(limit));
            late += verdict.late;
            leaked += usage.held;
            if limit > 0 && usage.used * 1_000 / limit >= fullest.0 * 1_000 / fullest.1.max(1) {
                fullest = (usage.used, limit);
            }
            // What a killed edge had counted may have died with it, unless others had seen it.
            let (dead, alive): (Vec<_>, Vec<_>) =
                verdict.used.iter().partition(|(edge, _)| world.nodes[**edge].edge.is_dead());
            let [dead, alive] = [dead, alive].map(|it| it.into_iter().map(|it| it.1).sum::<u64>());
            all_dead += dead;
            let is_seen = world.fault == Fault::LostWhileDown;
            let of_dead = if is_seen { dead.saturating_sub(verdict.late) } else { 0 };
            let least = alive + of_dead;
            if !(least..=alive + dead).contains(&usage.used) {
                let used = usage.used;
                wrong.push(format!(
                    "{bucket:?}: {used} used; calls came to {alive}, {dead} at the dead"
                ));
            }
            wrong.extend(verdict.why.map(|why| format!("{bucket:?}: {why}")));
        }
        let line = format!(
            "{:<10} {:<14} {:<11} seed {seed:<20} calls {placed:>5} denied {denied:>5} used {} of {} \
             late {late} overshoot {overshoot} leaked {leaked}",
            keeper.name(),
            format!("{:?}", world.fault),
            format!("{kind:?}"),
            fullest.0,
            fullest.1,
        );
        cells::tell(&line)?;
        all_denied += denied;
        if overshoot > 0 || leaked > 0 || placed == 0 {
            wrong.push(line);
        }
    }
    // Limits that nobody meets prove nothing. Each was filled to its last place, too.
    if all_denied == 0 {
        wrong.push(String::from("nobody was denied anything"));
    }
    if world.fault == Fault::LostWhileDown && all_dead == 0 {
        wrong.push(String::from("the edge that was killed had used nothing"));
    }
    if observer.is_none() {
        let needless = record::needless_denials(&operations);
        if needless > 0 {
            wrong.push(format!("{needless} calls got no room though there was some"));
        }
    }
    ensure!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n"));
    Ok(())
}

/// What is left of each limit is there for further calls, to the last one, and not for one more.
async fn fill_up(keeper: &Keeper, world: &World, number: u8) -> Result<()> {
    let (servers, account) = (keeper.servers(), &world.account);
    let fresh = if servers.is_empty() {
        None
    } else {
        let settings = settings(world.fault, stores::settings(servers, account, "fresh"));
        Some(Edge::start(Some(settings), number * 16 + 15, Duration::from_secs(60)).await?)
    };
    let edge = fresh.as_ref().unwrap_or(&world.nodes[0].edge);
    for kind in KINDS {
        let amount = kind.stake(&mut Rng::with_seed(1));
        let requests = kind.requests(account, world.wall(0), amount);
        let of_requests: Vec<_> =
            requests.iter().map(|it| (it.bucket.clone(), it.counts)).collect();
        let usages = match &edge.shared {
            None => world.look(None, &of_requests).await,
            Some(_) => {
                let settings =
                    settings(world.fault, stores::settings(keeper.servers(), account, "looks"));
                let store = RedisStore::new(settings);
                store.connect().await?;
                world.look(Some(&store), &of_requests).await
            }
        };
        ensure!(usages.len() == requests.len(), "the store does not answer");
        let left = requests.iter().zip(&usages);
        let left =
            left.map(|(it, usage)| it.limit.saturating_sub(usage.used + usage.held) / amount);
        let left = left.min().unwrap_or(0);
        let holds = (0..=left).map(|n| {
            let call = CallId(uuid::Uuid::from_u64_pair(u64::MAX - kind as u64, n));
            HoldId::of(call, 1, "target/t")
        });
        let holds: Vec<HoldId> = holds.collect();
        for (place, hold) in (0_u64..).zip(&holds) {
            let is_granted = is_placed(edge, *hold, &requests).await;
            ensure!(is_granted == (place < left), "{kind:?}: call {place} of {left}: {is_granted}");
        }
        for hold in holds {
            edge.deciding.release(hold);
        }
    }
    match fresh {
        Some(edge) => edge.end().await,
        None => Ok(()),
    }
}

/// One whose answer is late gets room of the edge's own, if there is any; so it is asked again.
async fn is_placed(edge: &Edge, hold: HoldId, requests: &[BucketRequest]) -> bool {
    for _ in 0..3 {
        if edge.place_in(hold, requests).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

const CLIENT_FAULTS: [Fault; 4] =
    [Fault::Pause, Fault::ClockJump, Fault::Duplicate, Fault::Reorder];
const EDGE_FAULTS: [Fault; 5] = [
    Fault::Oversleep,
    Fault::KillEdge,
    Fault::Partition,
    Fault::LongPartition,
    Fault::LostWhileDown,
];
const STORE_FAULTS: [Fault; 3] = [Fault::KillStore, Fault::Frozen, Fault::Busy];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_in_a_process_whatever_its_calls_do() -> Result<()> {
    play_all(&mut Keeper::InProcess, 0, &[&CLIENT_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_redis_whatever_its_calls_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut keeper = Keeper::Redis(Redis::alone(folder.path())?);
    play_all(&mut keeper, 0, &[&CLIENT_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_redis_whatever_happens_to_its_edges() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut keeper = Keeper::Redis(Redis::alone(folder.path())?);
    play_all(&mut keeper, 0, &[&EDGE_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_redis_whatever_happens_to_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut keeper = Keeper::Redis(Redis::alone(folder.path())?);
    play_all(&mut keeper, 0, &[&STORE_FAULTS, &[Fault::Load]]).await
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
async fn no_limit_is_passed_on_a_cluster_whatever_its_calls_do() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 0, &[&CLIENT_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_a_cluster_whatever_happens_to_its_edges() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 0, &[&EDGE_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_on_a_cluster_whatever_happens_to_it() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 0, &[&STORE_FAULTS]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_when_the_keys_move_to_another_node() -> Result<()> {
    let mut keeper = Keeper::Cluster(Cluster::start()?);
    play_all(&mut keeper, 1, &[&[Fault::Failover, Fault::MoveSlot, Fault::MoveSlot]]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_where_one_edge_alone_reaches_a_master_that_was_replaced() -> Result<()>
{
    play_all(&mut Keeper::divisible().await?, 0, &[&[Fault::IsolatedMaster]]).await
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
