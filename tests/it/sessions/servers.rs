//! Numbers in Redis beyond the contract: nodes that race, crash and contradict each other, and servers
//! that are new, emptied or replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::ping::{
    Accepted, Claim, Fingerprint, Identity, KEPT_MS, Kept, NumberStatus, RequestKey, Session,
    SessionKind,
};
use tollbridge::routing::pool::{AskedHour, Lease};
use tollbridge::server::clock;
use tollbridge::server::redis::StoreFault;
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::{
    Counted, KeySpace, RedisSessions, RedisSessionsSettings, Registered, TimeOfNumbers,
};

use super::stores::{self, AT, at, call, id, number, pool, request, session};
use crate::support::redis::{Cluster, Redis};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_lend_at_once_each_has_numbers_of_its_own() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let nodes = [node(&redis, "1", &config).await?, node(&redis, "2", &config).await?];
    let nodes = nodes.map(Arc::new);
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..40 {
        let node = Arc::clone(&nodes[usize::from(nth % 2 == 0)]);
        let plain = pool(&config, "plain").clone();
        tasks.spawn(async move { node.lend(&plain, id(nth), MINUTE, at(0)).await });
    }
    let mut lent = BTreeMap::<PhoneNumber, u32>::new();
    while let Some(lease) = tasks.join_next().await {
        if let Some(lease) = lease?? {
            *lent.entry(lease.number).or_default() += 1;
        }
    }
    assert_eq!(lent.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    Ok(())
}

#[tokio::test]
async fn a_request_is_answered_by_one_node_and_has_that_answer_at_all() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (one, other) = (node(&redis, "1", &config).await?, node(&redis, "11", &config).await?);
    let identity =
        |body| Identity { key: RequestKey([7; 16]), fingerprint: Fingerprint([body; 16]) };
    assert_eq!(one.claim(identity(1), 1).await?, Claim::First);
    assert_eq!(other.claim(identity(1), 1).await?, Claim::InProgress);
    assert_eq!(other.claim(identity(2), 2).await?, Claim::InProgress);
    // It has started again, and does not wait for itself.
    assert_eq!(one.claim(identity(1), 2).await?, Claim::First);
    one.leave(&[(identity(1).key, 1)]).await?;
    other.leave(&[(identity(1).key, 2)]).await?;
    assert_eq!(other.claim(identity(1), 3).await?, Claim::InProgress, "the second claim stands");
    one.leave(&[(identity(1).key, 2)]).await?;
    assert_eq!(other.claim(identity(2), 4).await?, Claim::First);

    let kept = |nth: u32| Kept { accepted: accepted(&session(nth, at(0))), visit: None };
    other.keep(&[(identity(2), kept(1), at(0))], at(0)).await?;
    // It was cut off meanwhile, and comes too late.
    one.keep(&[(identity(1), kept(2), at(1))], at(1)).await?;
    other.leave(&[(identity(2).key, 4)]).await?;

    for node in [&one, &other] {
        assert_eq!(node.claim(identity(2), 5).await?, Claim::Answered(kept(1)));
        assert_eq!(node.claim(identity(1), 6).await?, Claim::Other);
    }
    let lasts: i64 = redis.ask(&["pttl", &one_key(&redis)?])?.trim().parse()?;
    assert!((KEPT_MS - 60_000..=KEPT_MS).contains(&lasts), "{lasts}");
    // One that is a day old is nobody's any more.
    let old = Identity { key: RequestKey([8; 16]), fingerprint: Fingerprint([1; 16]) };
    one.keep(&[(old, kept(3), tollbridge::time::Wall(AT.0 - KEPT_MS))], at(0)).await?;
    assert_eq!(one.claim(old, 7).await?, Claim::First);
    Ok(())
}

/// The one request that is known.
fn one_key(redis: &Redis) -> Result<String> {
    let keys = redis.ask(&["keys", "rq:*"])?;
    let key = keys.split_whitespace().find(|word| word.starts_with("rq:"));
    key.map(str::to_owned).context("no request is known")
}

fn accepted(session: &Session) -> Accepted {
    Accepted {
        ping: session.ping,
        session: session.session,
        number: None,
        number_status: NumberStatus::NotAsked,
        expires_at: session.expires_at,
        promise: None,
        repeated: false,
    }
}

#[tokio::test]
async fn a_call_whose_node_has_crashed_keeps_its_number_no_longer_than_a_lease() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let settings =
        RedisSessionsSettings { lease: MINUTE, ..stores::settings(vec![redis.address()], "1") };
    let store = stores::open(settings, &config).await?;
    let plain = pool(&config, "plain");
    let lease = store.lend(plain, id(1), MINUTE, at(0)).await?.context("a number")?;
    for nth in 2..=3 {
        store.lend(plain, id(nth), MINUTE * 60, at(0)).await?.context("a number")?;
    }
    store.pin(plain, lease.number, call(1), at(30)).await?;
    store.renew_pins([(plain, lease.number, call(1))], at(60)).await?;

    assert_eq!(store.lend(plain, id(4), MINUTE, at(149)).await?, None);
    let next = store.lend(plain, id(4), MINUTE, at(150)).await?.context("a number")?;

    assert_eq!(next.number, lease.number, "a minute of lease and half a minute of rest are over");
    assert_eq!(store.unpin(plain, lease.number, call(1), at(151)).await?, None, "it is too late");
    Ok(())
}

#[tokio::test]
async fn what_is_set_apart_for_a_node_is_lent_by_nobody_else() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (first, second) = (node(&redis, "1", &config).await?, node(&redis, "2", &config).await?);
    let plain = pool(&config, "plain");
    let apart = first.set_apart(plain, 2, at(0)).await?;
    assert_eq!(apart.len(), 2);
    let counted = Counted { free: 1, lent: 0, apart: 2, resting: 0 };
    assert_eq!(first.count(std::slice::from_ref(plain), at(0)).await?, [counted]);

    let lease = second.lend(plain, id(1), MINUTE, at(0)).await?.context("the third")?;
    assert!(!apart.contains(&lease.number));
    assert_eq!(second.lend(plain, id(2), MINUTE, at(0)).await?, None);
    // It may have lent its own, and has yet to say so.
    assert_eq!(first.lend(plain, id(3), MINUTE, at(0)).await?, None);
    // What it lent while it could not ask.
    let [lent, over] = apart[..] else { panic!("{apart:?}") };
    let lease = Lease { number: lent, session: id(4), expires_at: at(90) };
    assert_eq!(first.register(plain, &[(lease, at(1))], at(30)).await?, [Registered::Done]);
    assert_eq!(second.lookup(&config, &request(lent, None, at(31))).await?.readings, []);
    let put = Session { pool: Some("plain".into()), number: Some(lent), ..session(4, at(1)) };
    first.put(&config, &put, at(31)).await?;
    let found = second.lookup(&config, &request(lent, None, at(31))).await?.readings;
    assert_eq!(found.len(), 1);
    // What it lent, and nobody has any more: only who has it apart can have lent it.
    let lease = Lease { number: over, session: id(5), expires_at: at(20) };
    for node in [&second, &first, &first] {
        assert_eq!(node.register(plain, &[(lease, at(2))], at(31)).await?, [Registered::Done]);
    }
    let state = second.number_state(&config, over, at(31)).await?;
    let past: Vec<_> = state.past.iter().map(|it| (it.session, it.ended.rests_until)).collect();
    assert_eq!(past, [(id(5), at(50))]);
    assert_eq!(first.set_apart(plain, 2, at(31)).await?, []);
    let counted = Counted { free: 0, lent: 2, apart: 0, resting: 1 };
    assert_eq!(first.count(std::slice::from_ref(plain), at(31)).await?, [counted]);
    Ok(())
}

#[tokio::test]
async fn what_a_pool_is_asked_for_is_known_to_all_nodes_for_a_day() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (first, second) = (node(&redis, "1", &config).await?, node(&redis, "2", &config).await?);
    let plain = pool(&config, "plain");
    let hour = AT.0.div_euclid(3_600_000);
    let of_first = AskedHour { hour, asked: 5, missed: 2, ..AskedHour::default() };
    let earlier = AskedHour {
        hour: hour - 1,
        asked: 7,
        taken: 1,
        ended: 3,
        held_ms: 90_000,
        wanted: 11,
        ..AskedHour::default()
    };
    first.lend(plain, id(1), MINUTE, at(0)).await?.context("one of three")?;
    first.lend(plain, id(2), MINUTE, at(0)).await?.context("one of two")?;
    let fewest = |hour, free| AskedHour { hour, min_free: Some(free), ..AskedHour::default() };

    // What a node tells again takes the place of what it has told.
    assert_eq!(first.asked(plain, &[earlier], at(0)).await?, [fewest(hour, 1)]);
    assert_eq!(first.asked(plain, &[earlier, of_first], at(1)).await?, [fewest(hour, 1)]);
    second.lend(plain, id(3), MINUTE, at(1)).await?.context("the last")?;
    let told = sorted(second.asked(plain, &[], at(1)).await?);
    assert_eq!(told, sorted(vec![earlier, of_first, fewest(hour, 0)]));

    // A node that has gone is forgotten with the last of its hours.
    assert_eq!(second.asked(plain, &[], at(23 * 3_600)).await?.len(), 3);
    assert_eq!(second.asked(plain, &[], at(25 * 3_600)).await?, []);
    Ok(())
}

fn sorted(mut hours: Vec<AskedHour>) -> Vec<AskedHour> {
    hours.sort_by_key(|it| (it.hour, it.min_free));
    hours
}

/// It was lent one by the store, which could not say so, and one that was set apart or another's.
#[tokio::test]
async fn a_session_that_has_come_to_another_number_takes_none_from_anybody() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (first, second) = (node(&redis, "1", &config).await?, node(&redis, "2", &config).await?);
    let plain = pool(&config, "plain");
    let apart = first.set_apart(plain, 1, at(0)).await?;
    let others = second.lend(plain, id(1), MINUTE, at(0)).await?.context("a number")?;
    second.lend(plain, id(2), MINUTE, at(0)).await?.context("a number")?;

    for number in [apart[0], others.number] {
        let told = Lease { number, session: id(2), expires_at: at(60) };
        assert_eq!(first.register(plain, &[(told, at(5))], at(5)).await?, [Registered::Lost]);
    }

    assert_eq!(first.set_apart(plain, 1, at(6)).await?, apart);
    let its = second.number_state(&config, others.number, at(6)).await?;
    assert_eq!(its.lease.map(|lease| lease.session), Some(id(1)));
    assert_eq!(its.past, []);
    let again = second.lend(plain, id(1), MINUTE, at(6)).await?.context("its own")?;
    assert_eq!(again.number, others.number);
    Ok(())
}

#[tokio::test]
async fn what_a_dead_node_had_set_apart_rests_as_long_as_it_may_be_lent() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    // Much longer than that of a call.
    let settings = RedisSessionsSettings {
        lease: Duration::from_secs(4),
        apart_for: MINUTE,
        ..stores::settings(vec![redis.address()], "1")
    };
    let dead = stores::open(settings, &config).await?;
    let other = node(&redis, "2", &config).await?;
    let small = pool(&config, "overflowing");
    assert_eq!(dead.set_apart(small, 1, at(0)).await?.len(), 1);
    // Its lease, then that of a session, then a rest.
    for seconds in [1, 60, 120, 149] {
        assert_eq!(other.lend(small, id(1), MINUTE, at(seconds)).await?, None, "after {seconds} s");
    }
    assert!(other.lend(small, id(1), MINUTE, at(150)).await?.is_some());

    let back = node(&redis, "3", &config).await?;
    let plain = pool(&config, "plain");
    assert_eq!(back.set_apart(plain, 3, at(0)).await?.len(), 3);
    assert_eq!(back.set_apart(plain, 0, at(1)).await?, []);
    assert!(other.lend(plain, id(2), MINUTE, at(1)).await?.is_some(), "it was given back");
    Ok(())
}

#[tokio::test]
async fn an_emptied_server_lends_nothing_before_all_could_say_what_they_have_lent() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let settings = |node| RedisSessionsSettings {
        open_after: Duration::from_secs(2),
        ..stores::settings(vec![redis.address()], node)
    };
    let first = stores::open(settings("1"), &config).await?;
    let second = stores::open(settings("2"), &config).await?;
    let small = pool(&config, "overflowing");
    assert_eq!(first.lend(small, id(1), MINUTE, at(1)).await, Err(StoreFault::NotOpen));
    let lease = first.lend(small, id(1), MINUTE, at(2)).await?.context("a number")?;
    assert_eq!(second.forgotten(config.pools()).await?.len(), 0);

    redis.ask(&["flushall"])?;
    assert_eq!(second.forgotten(config.pools()).await?.len(), 3);
    second.announce(small, at(3)).await?;
    assert_eq!(second.lend(small, id(2), MINUTE, at(4)).await, Err(StoreFault::NotOpen));
    // The first has a gate that is gone.
    assert_eq!(first.lend(small, id(3), MINUTE, at(6)).await, Err(StoreFault::NotOpen));
    assert_eq!(first.forgotten(config.pools()).await?.len(), 3);
    first.announce(small, at(4)).await?;
    assert_eq!(first.register(small, &[(lease, at(2))], at(4)).await?, [Registered::Done]);

    assert_eq!(second.lend(small, id(2), MINUTE, at(6)).await?, None, "the first has lent it");
    let kept = first.lend(small, id(1), MINUTE, at(6)).await?.context("its own")?;
    assert_eq!(kept.number, lease.number);
    Ok(())
}

#[tokio::test]
async fn of_two_sessions_that_have_one_number_the_later_keeps_it() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let store = node(&redis, "1", &config).await?;
    let plain = pool(&config, "plain");
    let lease = store.lend(plain, id(1), MINUTE, at(10)).await?.context("a number")?;
    let of = |nth, until| Lease { session: id(nth), expires_at: at(until), ..lease };

    let told = [(of(2, 90), at(5)), (of(3, 90), at(20)), (of(3, 95), at(20)), (of(4, 15), at(1))];
    let registered = store.register(plain, &told, at(21)).await?;

    use Registered::{Done, Lost, Won};
    assert_eq!(registered, [Lost, Won, Done, Done]);
    for nth in [1, 3] {
        let opened = Session {
            pool: Some("plain".into()),
            number: Some(lease.number),
            ..session(nth, at(10))
        };
        store.put(&config, &opened, at(21)).await?;
    }
    let found = store.lookup(&config, &request(lease.number, None, at(22))).await?.readings;
    let told: Vec<_> = found.iter().map(|it| (it.session, it.former.is_some())).collect();
    assert_eq!(told, [(id(3), false), (id(1), true)]);
    let foreign = Lease { number: number("+18005550301"), ..lease };
    let registered = store.register(plain, &[(foreign, at(20))], at(21)).await?;
    assert_eq!(registered, [Registered::Unknown]);
    Ok(())
}

#[tokio::test]
async fn numbers_come_and_go_with_the_configuration() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let store = node(&redis, "1", &config).await?;
    let plain = pool(&config, "plain");
    let lease = store.lend(plain, id(1), MINUTE, at(0)).await?.context("a number")?;
    let others: Vec<_> = plain.numbers.iter().copied().filter(|it| *it != lease.number).collect();
    let mut less = plain.clone();
    less.numbers = vec![others[0], number("+18005550209")];
    store.announce(&less, at(1)).await?;

    // One has gone, one is lent, and one may have been lent before.
    let counted = Counted { free: 1, lent: 1, apart: 0, resting: 1 };
    assert_eq!(store.count(std::slice::from_ref(&less), at(1)).await?, [counted]);
    let kept = store.lend(&less, id(1), MINUTE, at(2)).await?.context("its own")?;
    assert_eq!(kept.number, lease.number, "it keeps what it was lent");
    // Its number is nobody's once it has rested.
    let counted = Counted { free: 2, lent: 0, apart: 0, resting: 0 };
    assert_eq!(store.count(std::slice::from_ref(&less), at(200)).await?, [counted]);
    Ok(())
}

#[tokio::test]
async fn numbers_go_by_the_time_of_the_server_whatever_clock_a_node_has() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let settings = RedisSessionsSettings {
        time: TimeOfNumbers::Server,
        ..stores::settings(vec![redis.address()], "1")
    };
    let store = stores::open(settings, &config).await?;
    let small = pool(&config, "overflowing");
    let lease = store.lend(small, id(1), MINUTE, AT).await?.context("a number")?;
    let left = lease.expires_at.0 - clock::wall().0;
    ensure!((50_000..70_000).contains(&left), "{left} ms are left");
    assert_eq!(store.lend(small, id(2), MINUTE, at(1_000)).await?, None, "it only seems late");
    Ok(())
}

#[tokio::test]
async fn scripts_are_said_again_to_a_server_that_has_forgotten_them() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let store = node(&redis, "1", &config).await?;
    redis.ask(&["script", "flush"])?;
    assert!(store.lend(pool(&config, "plain"), id(1), MINUTE, at(0)).await?.is_some());
    store.put(&config, &session(1, at(0)), at(0)).await?;
    assert!(store.find(SessionKey::Session(id(1)), at(1)).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_told_again_keeps_what_others_have_done_with_it() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (first, second) = (node(&redis, "1", &config).await?, node(&redis, "2", &config).await?);
    let opened = session(1, at(0));
    first.put(&config, &opened, at(0)).await?;
    let longer = Session {
        expires_at: at(100),
        tags: [("zip".into(), "43215".into())].into(),
        ..opened.clone()
    };
    second.put(&config, &longer, at(5)).await?;
    second.consume(id(1), at(6)).await?;

    first.restore(&config, &[opened.clone(), session(2, at(0))], at(7)).await?;

    let key = SessionKey::Session(id(1));
    let found = second.find(key, at(8)).await?;
    let expected = Session { consumed_at: Some(at(6)), ..longer };
    assert_eq!(found, Some(expected));
    assert!(second.find(SessionKey::Session(id(2)), at(8)).await?.is_some());
    // A server that was emptied is told.
    redis.ask(&["flushall"])?;
    first.restore(&config, std::slice::from_ref(&opened), at(9)).await?;
    assert_eq!(second.find(key, at(10)).await?, Some(opened));
    Ok(())
}

/// The visitor came to the second while neither could ask the store.
#[tokio::test]
async fn a_visitor_keeps_its_newer_session_whichever_server_tells_last() -> Result<()> {
    let (_folder, redis, config) = alone()?;
    let (first, second) = (node(&redis, "1", &config).await?, node(&redis, "2", &config).await?);
    let of_visitor = |nth: u32, at| Session {
        visitor: Some("v".into()),
        kind: SessionKind::PageView,
        pool: Some("plain".into()),
        number: pool(&config, "plain").numbers.get(nth as usize).copied(),
        ..session(nth, at)
    };
    let (older, newer) = (of_visitor(1, at(0)), of_visitor(2, at(20)));
    let key = older.visitor_key().context("it has one")?;

    for told_last in [(&first, &older), (&second, &newer)] {
        redis.ask(&["flushall"])?;
        second.restore(&config, std::slice::from_ref(&newer), at(30)).await?;
        first.restore(&config, std::slice::from_ref(&older), at(30)).await?;
        let (node, session) = told_last;
        node.restore(&config, std::slice::from_ref(session), at(31)).await?;

        for node in [&first, &second] {
            assert_eq!(node.visitor(&key, at(32)).await?.as_ref(), Some(&newer));
        }
    }
    // The other is its again if there is no newer one.
    second.abandon(&config, &newer, at(33)).await?;
    assert_eq!(first.visitor(&key, at(34)).await?, None);
    first.put(&config, &older, at(35)).await?;
    assert_eq!(second.visitor(&key, at(36)).await?.as_ref(), Some(&older));
    Ok(())
}

/// Masters die under load, one after the other. What was acknowledged is never lent to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_is_lent_to_two_while_masters_fail() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let config = stores::snapshot()?;
    let plain = pool(&config, "plain");
    let settings = |node| RedisSessionsSettings {
        open_after: Duration::from_secs(1),
        call_timeout: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        time: TimeOfNumbers::Server,
        ..stores::settings(cluster.seeds(), node)
    };
    let nodes = [Node::new(settings("1"), &config), Node::new(settings("2"), &config)];
    let mut nodes = nodes;
    let mut owners = BTreeMap::<PhoneNumber, u32>::new();
    let (began, mut nth, mut rounds_after) = (Instant::now(), 0, 0);
    let mut has_failed = false;
    while rounds_after < 12 {
        ensure!(began.elapsed() < Duration::from_secs(60), "the cluster is not back");
        for node in &mut nodes {
            nth += 1;
            let Some(lease) = node.lend(&config, nth).await else { continue };
            let before = owners.insert(lease.number, nth);
            ensure!(before.is_none(), "{before:?} and {nth} have the same number");
            rounds_after += u32::from(has_failed);
        }
        if owners.len() == 1 && !has_failed {
            let slot = KeySpace::new("contract").slot_of_pool(&plain.id);
            let master = cluster.master_of(slot)?;
            cluster.nodes[master].kill()?;
            has_failed = true;
        }
        rounds_after += u32::from(owners.len() == plain.numbers.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(owners.len() == plain.numbers.len(), "all numbers were lent in the end: {owners:?}");
    Ok(())
}

/// What a server does that shares numbers: it tells what it has lent before it lends again.
struct Node {
    store: RedisSessions,
    leases: Vec<(Lease, tollbridge::time::Wall)>,
    is_open: bool,
}

impl Node {
    fn new(settings: RedisSessionsSettings, _: &RoutingSnapshot) -> Self {
        Self { store: RedisSessions::new(settings), leases: vec![], is_open: false }
    }

    async fn lend(&mut self, config: &RoutingSnapshot, nth: u32) -> Option<Lease> {
        let plain = pool(config, "plain");
        let now = clock::wall();
        if !self.is_open || !self.store.is_well() {
            self.store.connect().await.ok()?;
            self.store.announce(plain, now).await.ok()?;
            self.store.register(plain, &self.leases, now).await.ok()?;
            self.is_open = true;
        }
        match self.store.lend(plain, id(nth), MINUTE * 60, now).await {
            Ok(lease) => {
                self.leases.extend(lease.map(|it| (it, now)));
                lease
            }
            Err(fault) => {
                self.is_open = fault == StoreFault::Timeout;
                None
            }
        }
    }
}

fn alone() -> Result<(tempfile::TempDir, Redis, RoutingSnapshot)> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    Ok((folder, redis, stores::snapshot()?))
}

async fn node(redis: &Redis, name: &str, config: &RoutingSnapshot) -> Result<RedisSessions> {
    stores::open(stores::settings(vec![redis.address()], name), config).await
}
