//! Single faults of a store that a server shares, in the order that makes them matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use smol_str::{SmolStr, format_smolstr};
use tollbridge::cdr::fact::{Fact, NodeStarted, Stamp};
use tollbridge::cdr::journal::Durability;
use tollbridge::cdr::journal::file::disk::RealDisk;
use tollbridge::cdr::journal::file::{Hooks, Journal, Settings};
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts, GAP};
use tollbridge::server::clock;
use tollbridge::server::holds::redis::{Claim, Deposit, RedisStore, RedisStoreSettings};
use tollbridge::server::holds::{Change, HoldStore, State};
use tollbridge::server::redis::{Address, StoreFault};
use tollbridge::time::{Mono, Wall};

use super::edge::Edge;
use super::machine::Machine;
use super::stores;
use super::until;
use super::ways::Ways;
use crate::support::redis::Redis;
use crate::support::relay::{Relay, What};

/// No test waits for it to be over.
const LEASE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_placed_after_its_call_was_told_there_is_no_room_is_taken_back() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let relay = Relay::to(redis.address()).await?;
    let settings = settings(relay.address(), "edge", Duration::from_millis(150));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    let other = other(&redis).await?;
    other.reserve(hold(1), &[place(1)], LEASE).await?;

    // The first question is late, and the second is answered.
    relay.hold_back(What::Question, &name(hold(2)));
    assert!(!edge.place(hold(2), &place(1)).await, "there is no room");
    other.tell(&[Change::Release { hold: hold(1) }], LEASE).await?;
    relay.let_go();

    is_empty_for_good(&redis, &other).await?;
    assert!(edge.place(hold(3), &place(1)).await, "there is room");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_was_granted_by_a_store_that_has_forgotten_us_since_is_taken_back() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let relay = Relay::to(redis.address()).await?;
    let settings = settings(relay.address(), "edge", Duration::from_secs(5));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    let other = other(&redis).await?;

    relay.hold_back(What::Answer, &name(hold(1)));
    let (shared, request) = (&edge, place(1));
    let asked = shared.place(hold(1), &request);
    let meanwhile = async {
        relay.has_caught_it().await?;
        // As if made master: the other node has not spoken yet.
        redis.ask(&["hset", "gate:{servers}:caps", "run", "the one before"])?;
        assert!(!edge.place(hold(2), &request).await, "it is not open");
        assert!(edge.shared.as_ref().is_some_and(|it| it.state() != State::Open));
        relay.let_go();
        Ok::<_, anyhow::Error>(())
    };
    let (placed, done) = tokio::join!(asked, meanwhile);
    done?;
    assert!(!placed, "who knows what the store knows");

    stores::join(&other, LEASE).await?;
    until(PATIENCE, "the store", || Ok(is_open(&edge))).await?;
    is_empty_for_good(&redis, &other).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_read_when_its_lease_may_be_over_gives_no_room() -> Result<()> {
    let (folder, lease) = (tempfile::tempdir()?, Duration::from_secs(2));
    let redis = Redis::alone(folder.path())?;
    let relay = Relay::to(redis.address()).await?;
    let settings = settings(relay.address(), "edge", Duration::from_secs(20));
    let edge = Edge::start(Some(settings), 1, lease).await?;
    let (other, request) = (other(&redis).await?, place(1));

    // As to a server that is stopped after it asked.
    relay.hold_back(What::Answer, &name(hold(1)));
    let meanwhile = async {
        relay.has_caught_it().await?;
        until_granted(&other, hold(2)).await?;
        relay.let_go();
        Ok::<_, anyhow::Error>(())
    };
    let (placed, done) = tokio::join!(edge.place(hold(1), &request), meanwhile);
    done?;

    assert!(!placed, "it is another's");
    let usage = other.usage(&[(request.bucket, Counts::Connected)]).await?;
    assert_eq!((usage[0].used, usage[0].held), (0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_back_while_leases_lapsed_is_not_given_to_calls_here() -> Result<()> {
    let (folder, lease) = (tempfile::tempdir()?, Duration::from_secs(2));
    let redis = Redis::alone(folder.path())?;
    let ways = Ways::to(&[redis.address()]).await?;
    let quickly = Duration::from_millis(100);
    let settings =
        RedisStoreSettings { timeout: quickly, ..settings(ways.begin[0].clone(), "edge", quickly) };
    let edge = Edge::start(Some(settings), 1, lease).await?;
    let (other, line) = (other(&redis).await?, place(1));
    assert!(edge.place(hold(1), &line).await);

    ways.cut_all();
    until(PATIENCE, "the edge to see it", || Ok(!is_open(&edge))).await?;
    edge.deciding.release(hold(1));
    until_granted(&other, hold(2)).await?;
    // Nodes that have not told keep it from being open to the edge, which is connected again.
    redis.ask(&["hset", "gate:{servers}:caps", "open", "0"])?;
    redis.ask(&["zadd", "nodes:{servers}:leases", "9999999999999", "silent"])?;
    ways.mend();

    let give_up = Instant::now() + Duration::from_secs(3);
    for number in 3_u8.. {
        assert!(!edge.place(hold(number), &line).await, "it is another's");
        if Instant::now() > give_up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_get_room_of_the_server_s_own_while_the_store_runs_a_script_of_somebody_else()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let settings = settings(redis.address(), "edge", Duration::from_secs(5));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    let other = other(&redis).await?;
    assert!(edge.place(hold(1), &place(200)).await);
    until(PATIENCE, "tokens", || Ok(redis.ask(&["hget", PLACE, "held"])? == "6")).await?;

    let script = redis.keep_busy()?;
    let told = other.usage(&[]).await;
    assert!(matches!(&told, Err(StoreFault::Away(why)) if why.contains("BUSY")), "{told:?}");
    let mut placed = vec![];
    for number in 2..8 {
        placed.push(edge.place(hold(number), &place(200)).await);
    }
    drop(script);

    assert_eq!(placed, [true, true, true, true, true, false], "as many as it had room for");
    until(PATIENCE, "the store", || Ok(is_open(&edge))).await?;
    for number in 1..8 {
        edge.deciding.release(hold(number));
    }
    edge.ending.send_replace(true);
    is_empty_for_good(&redis, &other).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_of_a_server_s_own_is_given_no_further_than_a_limit_that_was_lowered_since()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let other = other(&redis).await?;
    let settings = settings(redis.address(), "edge", Duration::from_secs(5));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    for number in 101..=110 {
        other.reserve(hold(number), &[place(40)], LEASE).await?;
    }
    assert!(edge.place(hold(1), &place(40)).await);
    until(PATIENCE, "five tokens", || Ok(redis.ask(&["hget", PLACE, "held"])? == "16")).await?;

    let script = redis.keep_busy()?;
    let mut placed = vec![];
    for (number, limit) in (2..).zip([11, 12, 12, 40]) {
        placed.push(edge.place(hold(number), &place(limit)).await);
    }
    drop(script);

    assert_eq!(placed, [false, true, false, true], "there are ten of another server");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_hears_at_once_of_servers_that_ask_nothing_of_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let open_after = Duration::from_secs(2);
    let settings = |node| RedisStoreSettings {
        open_after,
        ..settings(redis.address(), node, Duration::from_secs(2))
    };
    let quiet = Edge::start(Some(settings("quiet")), 1, LEASE).await?;
    let busy = Edge::start(Some(settings("busy")), 2, LEASE).await?;
    let ten = deposit("ten");
    assert!(quiet.place(hold(1), &place(5)).await);
    let claimed = quiet.deciding.claim_deposit(&ten).await;
    assert_eq!(claimed, Ok(Claim::Ours));
    let all = quiet.deciding.deposit(&ten.buyer, &ten.key, ten.amount, clock::wall());
    quiet.deciding.share_deposit(ten.clone(), Some(all)).await;
    // One that is still being written down.
    assert_eq!(quiet.deciding.claim_deposit(&deposit("five")).await, Ok(Claim::Ours));

    let emptied = Instant::now();
    redis.ask(&["flushall"])?;
    // Nobody asks anything but this deposit, of which it is not known who has it.
    let claimed = busy.deciding.claim_deposit(&ten).await;
    assert_eq!(claimed, Err(StoreFault::NotOpen));
    until(PATIENCE, "the quiet one to tell", || {
        let joined = redis.ask(&["smembers", "nodes:{servers}:joined"])?;
        Ok(joined.contains("quiet") && joined.contains("busy"))
    })
    .await?;
    assert!(emptied.elapsed() < open_after, "it was opened without one");
    until(PATIENCE, "the store", || Ok(is_open(&busy) && is_open(&quiet))).await?;
    let claimed = busy.deciding.claim_deposit(&ten).await;
    assert_eq!(claimed, Ok(Claim::Taken { amount: 10, all: 10 }));
    assert_eq!(busy.deciding.claim_deposit(&deposit("five")).await, Ok(Claim::Elsewhere));
    // What the quiet one keeps in tokens it gives back when there is little left.
    let (mut placed, give_up) = (0, Instant::now() + Duration::from_secs(5));
    for number in 2_u8.. {
        placed += u32::from(busy.place(hold(number), &place(5)).await);
        if placed == 4 || Instant::now() > give_up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(placed, 4);
    assert!(!busy.place(hold(255), &place(5)).await, "one is held by the quiet one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_is_not_opened_without_a_server_that_another_knows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut redis = Redis::alone(folder.path())?;
    let ways = Ways::to(&[redis.address()]).await?;
    let (quickly, line) = (Duration::from_millis(200), place(1));
    let settings = |address, node| RedisStoreSettings {
        open_after: Duration::from_millis(100),
        timeout: quickly,
        ..settings(address, node, quickly)
    };
    let far = Edge::start(Some(settings(ways.begin[0].clone(), "far")), 1, LEASE).await?;
    let near = Edge::start(Some(settings(redis.address(), "near")), 2, LEASE).await?;
    assert!(far.place(hold(1), &line).await);

    // The one that holds the only place there is finds out much later than the other.
    ways.cut_all();
    redis.restart()?;
    until(PATIENCE, "the near one to tell", || {
        Ok(redis.ask(&["smembers", "nodes:{servers}:joined"])?.contains("near"))
    })
    .await?;
    let give_up = Instant::now() + Duration::from_secs(1);
    for number in 2_u8.. {
        assert!(!near.place(hold(number), &line).await, "it is another's");
        if Instant::now() > give_up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!is_open(&near), "it was opened without one");

    ways.mend();
    until(PATIENCE, "the store", || Ok(is_open(&near) && is_open(&far))).await?;
    assert!(!near.place(hold(251), &line).await, "it is another's");
    far.deciding.release(hold(1));
    let other = other(&redis).await?;
    is_empty_for_good(&redis, &other).await?;
    assert!(near.place(hold(252), &line).await, "there is room");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_waits_for_a_server_that_is_gone_as_long_as_a_lease() -> Result<()> {
    let (folder, lease) = (tempfile::tempdir()?, Duration::from_secs(2));
    let redis = Redis::alone(folder.path())?;
    let gone = RedisStore::new(stores::settings(vec![redis.address()], "servers", "gone"));
    gone.connect().await?;
    stores::join(&gone, lease).await?;
    let settings = RedisStoreSettings {
        open_after: Duration::from_millis(100),
        ..settings(redis.address(), "edge", Duration::from_secs(1))
    };
    let edge = Edge::start(Some(settings), 1, lease).await?;

    let emptied = Instant::now();
    redis.ask(&["flushall"])?;
    until(PATIENCE, "the edge to see it", || Ok(!is_open(&edge))).await?;
    until(PATIENCE, "the store", || Ok(is_open(&edge))).await?;
    let took = emptied.elapsed();
    assert!(took >= lease, "{took:?}");
    assert!(edge.place(hold(1), &place(1)).await, "there is room");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_is_told_by_others_what_a_server_that_is_gone_had_used() -> Result<()> {
    let (folder, lease) = (tempfile::tempdir()?, Duration::from_secs(2));
    let redis = Redis::alone(folder.path())?;
    let settings = |node| RedisStoreSettings {
        open_after: Duration::from_millis(100),
        ..settings(redis.address(), node, Duration::from_secs(2))
    };
    let machine = Machine::start()?;
    let gone = machine.run(Edge::start(Some(settings("gone")), 1, lease)).await??;
    let edge = Edge::start(Some(settings("edge")), 2, lease).await?;
    let now = clock::wall();
    let window = |window: SmolStr| {
        let bucket = Bucket { cap: "target/t/connected".into(), window };
        BucketRequest { bucket, ends_at: Some(Wall(now.0 + 3_600_000)), ..place(5) }
    };
    let gap = BucketRequest {
        bucket: Bucket { cap: "target/t/spacing".into(), window: GAP.into() },
        counts: Counts::Spacing,
        limit: 1,
        amount: u64::try_from(now.0)?,
        ends_at: None,
        leeway: None,
    };
    let asked = [
        place(5),
        window("d:1".into()),
        window(format_smolstr!("rolling:3600/{}", now.0 / 60_000)),
        gap.clone(),
    ];
    for number in 1..=3 {
        assert!(gone.place_in(hold(number), &asked[..3]).await);
        gone.deciding.settle(hold(number), Counts::Connected, clock::mono(), now);
        gone.deciding.release(hold(number));
    }
    assert!(gone.place(hold(4), &gap).await);
    gone.deciding.settle(hold(4), Counts::Attempted, clock::mono(), now);
    gone.deciding.release(hold(4));
    let remembered = || edge.shared.as_ref().map_or(0, |it| it.remembered_of_others());
    let look = || {
        let asked = asked.each_ref().map(|it| (it.bucket.clone(), it.counts));
        let other = RedisStore::new(stores::settings(vec![redis.address()], "servers", "looks"));
        async move {
            other.connect().await?;
            anyhow::Ok(other.usage(&asked).await?)
        }
    };
    until(PATIENCE, "it to be seen", || Ok(remembered() == 4)).await?;
    let before = look().await?;
    assert_eq!(before[..3].iter().map(|it| it.used).collect::<Vec<_>>(), [3, 3, 3]);
    machine.kill();

    // Twice: what it was told it remembers.
    for _ in 0..2 {
        redis.ask(&["flushall"])?;
        until(PATIENCE, "the edge to see it", || Ok(!is_open(&edge))).await?;
        until(PATIENCE, "the store", || Ok(is_open(&edge))).await?;
        assert_eq!(look().await?, before);
        until(PATIENCE, "it to be seen", || Ok(remembered() == 4)).await?;
    }

    for (number, is_room) in [(5, true), (6, true), (7, false)] {
        assert_eq!(edge.place_in(hold(number), &asked[..3]).await, is_room, "call {number}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_sight_of_a_store_tells_it_all_if_it_was_emptied_meanwhile() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let edge = Edge::start(Some(settings(redis.address(), "edge", LEASE)), 1, LEASE).await?;
    let ten = deposit("ten");
    let all = edge.deciding.deposit(&ten.buyer, &ten.key, ten.amount, clock::wall());
    edge.deciding.share_deposit(ten.clone(), Some(all)).await;

    // It is the same process, and finds no more than that its connections are closed.
    redis.ask(&["flushall"])?;
    redis.ask(&["client", "kill", "type", "normal"])?;
    until(PATIENCE, "it to tell", || {
        Ok(redis.ask(&["smembers", "nodes:{servers}:joined"])?.contains("edge"))
    })
    .await?;
    until(PATIENCE, "the store", || Ok(is_open(&edge))).await?;
    let other = other(&redis).await?;
    assert_eq!(other.claim(&ten, 1).await, Ok(Claim::Taken { amount: 10, all: 10 }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counts_is_told_when_it_is_on_disk_also_to_a_store_that_was_emptied() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let settings = settings(redis.address(), "edge", Duration::from_secs(2));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    let disk = Arc::new(RealDisk);
    fn at() -> Stamp {
        Stamp::new(Wall(0), Mono(0))
    }
    let hooks = Hooks::silent(Arc::new(at));
    let (journal, mut steps, _) =
        Journal::stepped(disk, &folder.path().join("journal"), 1, Settings::default(), hooks)?;
    edge.shared.as_ref().context("it shares")?.follow(journal.appender());
    assert!(edge.place(hold(1), &place(5)).await);
    assert!(edge.place(hold(2), &place(5)).await);

    let counts = |number| {
        let fact = Fact::of_node(at(), NodeStarted { version: "1".into() });
        journal.appender().append(fact, Durability::Durable)?;
        edge.deciding.settle(hold(number), Counts::Connected, clock::mono(), Wall(0));
        anyhow::Ok(())
    };
    let used = || redis.ask(&["hget", PLACE, "used"]);
    let stays = async |expected: &str| {
        let give_up = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < give_up {
            ensure!(used()? == expected, "{} used, and not {expected:?}", used()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    counts(1)?;
    stays("").await?;
    steps.turn();
    until(PATIENCE, "it to be told", || Ok(used()? == "1")).await?;

    counts(2)?;
    redis.ask(&["flushall"])?;
    stays("").await?;
    steps.turn();
    until(PATIENCE, "it to be told", || Ok(used()? == "2")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_told_when_a_server_ends_is_not_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let relay = Relay::to(redis.address()).await?;
    let settings = settings(relay.address(), "edge", Duration::from_secs(5));
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    assert!(edge.place(hold(1), &place(5)).await);

    relay.hold_back(What::Question, &name(hold(1)));
    edge.deciding.settle(hold(1), Counts::Connected, clock::mono(), Wall(0));
    relay.has_caught_it().await?;
    edge.ending.send_replace(true);
    relay.lose();
    edge.end().await?;

    let usage = other(&redis).await?.usage(&[(place(5).bucket, Counts::Connected)]).await?;
    assert_eq!((usage[0].used, usage[0].held), (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_slow_now_and_then_is_done_without() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let relay = Relay::to(redis.address()).await?;
    let settings = RedisStoreSettings {
        slow: Duration::from_millis(100),
        ..settings(relay.address(), "edge", Duration::from_secs(5))
    };
    let edge = Edge::start(Some(settings), 1, LEASE).await?;
    assert!(edge.place(hold(1), &place(200)).await);
    assert!(is_open(&edge));

    // No answer is late, and no two in a row are slow.
    relay.slow_down(Duration::from_millis(150));
    let mut placed = 0;
    while is_open(&edge) {
        placed += 1;
        ensure!(placed < 100, "it goes on asking");
        ensure!(edge.place(hold(placed + 1), &place(200)).await, "call {placed} got no room");
    }
    ensure!(placed >= 3, "{placed} answers made it give up");

    relay.slow_down(Duration::ZERO);
    until(PATIENCE, "the store", || Ok(is_open(&edge))).await
}

const PLACE: &str = "cap:{servers}:target/t/connected:total";

/// Nothing is held, and that stays so.
async fn is_empty_for_good(redis: &Redis, store: &RedisStore) -> Result<()> {
    let is_empty = || Ok(matches!(&*redis.ask(&["hget", PLACE, "held"])?, "" | "0"));
    until(PATIENCE, "nothing to be held", is_empty).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let usage = store.usage(&[(place(1).bucket, Counts::Connected)]).await?;
    ensure!(usage[0].held == 0, "{} leaked", usage[0].held);
    Ok(())
}

/// The one place there is goes to this hold, once it is free.
async fn until_granted(store: &RedisStore, hold: HoldId) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(10);
    while store.reserve(hold, &[place(1)], LEASE).await.is_err() {
        ensure!(Instant::now() < give_up, "nobody gives the place back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn is_open(edge: &Edge) -> bool {
    edge.shared.as_ref().is_some_and(|it| it.state() == State::Open)
}

async fn other(redis: &Redis) -> Result<RedisStore> {
    let store = RedisStore::new(stores::settings(vec![redis.address()], "servers", "other"));
    store.connect().await?;
    stores::join(&store, LEASE).await?;
    Ok(store)
}

fn settings(address: Address, node: &str, call_timeout: Duration) -> RedisStoreSettings {
    RedisStoreSettings { call_timeout, ..stores::settings(vec![address], "servers", node) }
}

fn deposit(key: &str) -> Deposit {
    let forgotten_at = Wall(clock::wall().0 + 86_400_000);
    Deposit { buyer: "buy_a".into(), key: key.into(), amount: 10, forgotten_at }
}

fn hold(number: u8) -> HoldId {
    HoldId::of(CallId::from_bytes([number; 16]), 1, "target/t")
}

/// As the scripts are told.
fn name(hold: HoldId) -> String {
    hold.0.as_simple().to_string()
}

fn place(limit: u64) -> BucketRequest {
    let bucket = Bucket { cap: "target/t/connected".into(), window: "total".into() };
    let counts = Counts::Connected;
    BucketRequest { bucket, counts, limit, amount: 1, ends_at: None, leeway: None }
}
