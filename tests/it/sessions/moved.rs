//! Numbers that a configuration moves from one pool to another while sessions have them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::ping::Session;
use tollbridge::server::redis::Address;
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::{
    Counted, RedisSessions, RedisSessionsSettings, Registered,
};

use super::stores::{self, CONFIG, at, call, id, number, pool, request, session};
use crate::support::redis::{Cluster, Redis};

const MINUTE: Duration = Duration::from_secs(60);
const FRESH: &str = r#"
[[pools]]
id = "fresh"
campaign = "c"
publisher = "p"
numbers = ["+18005550201"]
session_ttl_s = 60
quarantine_s = 30
"#;

/// The first number of `plain` goes to a pool that was not there, the second to one that has others.
fn afterwards() -> Result<RoutingSnapshot> {
    let less = CONFIG
        .replace(r#"["+18005550201", "+18005550202", "+18005550203"]"#, r#"["+18005550203"]"#)
        .replace(r#"["+18005550301", "+18005550302"]"#, r#"["+18005550301", "+18005550202"]"#);
    let config = toml::from_str(&(less + FRESH))?;
    RoutingSnapshot::compile(config, 1).map_err(|faults| anyhow!("{faults:?}"))
}

async fn server(seeds: &[Address], node: &str) -> Result<RedisSessions> {
    let store = RedisSessions::new(stores::settings(seeds.to_vec(), node));
    store.connect().await?;
    store.keep_gates().await?;
    Ok(store)
}

async fn announce(store: &RedisSessions, config: &RoutingSnapshot, seconds: i64) -> Result<()> {
    for pool in config.pools() {
        store.announce(pool, at(seconds)).await?;
    }
    Ok(())
}

async fn has(
    store: &RedisSessions,
    config: &RoutingSnapshot,
    from: &str,
    nth: u32,
    seconds: i64,
) -> Result<Option<PhoneNumber>> {
    let lease = store.lend(pool(config, from), id(nth), MINUTE, at(seconds)).await?;
    Ok(lease.map(|it| it.number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_moved_stays_with_its_session_and_rests_before_it_is_lent_again()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    moves(&[redis.address()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_goes_from_one_master_of_a_cluster_to_another_with_whoever_has_it() -> Result<()> {
    let cluster = Cluster::start()?;
    moves(&cluster.seeds()).await
}

async fn moves(seeds: &[Address]) -> Result<()> {
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let (first, second) = (server(seeds, "1").await?, server(seeds, "2").await?);
    let third = server(seeds, "3").await?;
    announce(&first, &before, 0).await?;
    let [held, left] = ["+18005550201", "+18005550202"].map(number);
    assert_eq!(has(&first, &before, "plain", 1, 0).await?, Some(held));
    assert_eq!(has(&first, &before, "plain", 2, 0).await?, Some(left));
    let opened = Session { pool: Some("plain".into()), number: Some(held), ..session(1, at(0)) };
    first.put(&before, &opened, at(0)).await?;
    first.shorten(pool(&before, "plain"), id(2), Duration::ZERO, at(5)).await?;
    first.pin(pool(&before, "plain"), held, call(1), at(10)).await?;

    // Two servers at once, as after a reload of all.
    let (told, again) = tokio::join!(announce(&second, &after, 20), announce(&third, &after, 20));
    told.and(again)?;

    let fresh = pool(&after, "fresh");
    for (store, config) in [(&first, &before), (&second, &after)] {
        assert_eq!(has(store, config, "plain", 3, 21).await?, Some(number("+18005550203")));
        assert_eq!(has(store, config, "plain", 4, 21).await?, None, "it has no more");
    }
    assert_eq!(has(&second, &after, "fresh", 5, 21).await?, None, "its session has it");
    let counted = Counted { free: 0, lent: 1, apart: 0, resting: 0 };
    assert_eq!(second.count(std::slice::from_ref(fresh), at(21)).await?, [counted]);
    let found = second.lookup(&after, &request(held, None, at(22))).await?.readings;
    assert_eq!(found.iter().map(|it| it.session).collect::<Vec<_>>(), [id(1)]);

    // The call goes on past the lease, and what it is prolonged by counts.
    assert_eq!(has(&second, &after, "fresh", 5, 100).await?, None, "a call is on it");
    let lease = second.unpin(fresh, held, call(1), at(110)).await?.context("its lease")?;
    assert_eq!((lease.session, lease.expires_at), (id(1), at(410)));
    let lease = second.shorten(fresh, id(1), MINUTE * 6, at(120)).await?.context("its own")?;
    assert_eq!((lease.number, lease.expires_at), (held, at(480)));
    assert_eq!(second.shorten(fresh, id(2), MINUTE, at(120)).await?, None, "it has none");
    assert_eq!(has(&second, &after, "fresh", 5, 509).await?, None, "it rests");
    assert_eq!(has(&second, &after, "fresh", 5, 510).await?, Some(held));
    let state = second.number_state(&after, held, at(511)).await?;
    assert_eq!(state.past.iter().map(|it| it.session).collect::<Vec<_>>(), [id(1)]);
    Ok(())
}

#[tokio::test]
async fn a_number_that_rests_or_is_free_is_so_in_the_pool_to_which_it_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let store = server(&[redis.address()], "1").await?;
    announce(&store, &before, 0).await?;
    let [free, left] = ["+18005550201", "+18005550202"].map(number);
    // The first is set apart, and given back: nobody has had it.
    assert_eq!(store.set_apart(pool(&before, "plain"), 1, at(0)).await?, [free]);
    assert_eq!(has(&store, &before, "plain", 2, 0).await?, Some(left));
    store.set_apart(pool(&before, "plain"), 0, at(1)).await?;
    store.shorten(pool(&before, "plain"), id(2), Duration::ZERO, at(5)).await?;

    announce(&store, &after, 20).await?;
    assert_eq!(has(&store, &after, "fresh", 3, 20).await?, Some(free));
    assert_eq!(has(&store, &after, "taking", 4, 20).await?, Some(number("+18005550301")));
    assert_eq!(has(&store, &after, "taking", 5, 34).await?, None, "it rests");
    assert_eq!(has(&store, &after, "taking", 5, 35).await?, Some(left));

    // And back, each with its session.
    announce(&store, &before, 40).await?;
    assert_eq!(has(&store, &before, "plain", 6, 41).await?, Some(number("+18005550203")));
    assert_eq!(has(&store, &before, "plain", 7, 41).await?, None);
    for (nth, its) in [(3, free), (5, left)] {
        let lease = store.shorten(pool(&before, "plain"), id(nth), MINUTE, at(42)).await?;
        assert_eq!(lease.map(|it| it.number), Some(its), "{nth}");
    }
    Ok(())
}

/// What it may have been lent for, unheard, and then a rest.
#[tokio::test]
async fn a_number_that_is_moved_while_it_is_set_apart_rests_as_long_as_it_may_be_lent() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let store = RedisSessions::new(RedisSessionsSettings {
        apart_for: MINUTE,
        ..stores::settings(vec![redis.address()], "1")
    });
    store.connect().await?;
    announce(&store, &before, 0).await?;
    assert_eq!(store.set_apart(pool(&before, "plain"), 1, at(0)).await?.len(), 1);

    announce(&store, &after, 10).await?;
    assert_eq!(store.set_apart(pool(&before, "plain"), 1, at(11)).await?, [number("+18005550203")]);
    // It is set apart for a minute, lent for one more, and rests for half of one.
    assert_eq!(has(&store, &after, "fresh", 1, 149).await?, None);
    assert_eq!(has(&store, &after, "fresh", 1, 150).await?, Some(number("+18005550201")));
    Ok(())
}

/// Whoever moved it was killed in between: it is in both, or in neither.
#[tokio::test]
async fn a_move_that_was_broken_off_is_done_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let store = server(&[redis.address()], "1").await?;
    announce(&store, &before, 0).await?;
    let [held, left] = ["+18005550201", "+18005550202"].map(number);
    assert_eq!(has(&store, &before, "plain", 1, 0).await?, Some(held));
    assert_eq!(redis.ask(&["srem", "np:{contract/plain}:stock", "18005550202"])?, "1");
    assert_eq!(redis.ask(&["zrem", "np:{contract/plain}:free", "18005550202"])?, "1");
    announce(&store, &after, 10).await?;
    assert_eq!(has(&store, &after, "taking", 2, 10).await?, Some(left), "nobody has had it");

    // Its session had it prolonged where it was, before that was forgotten there.
    let [here, there] =
        ["fresh", "plain"].map(|it| format!("np:{{contract/{it}}}:did:18005550201"));
    assert_eq!(redis.ask(&["copy", &here, &there])?, "1");
    redis.ask(&["hset", &there, "exp", &at(200).0.to_string()])?;
    let group = format!("nu:{{contract/{:02x}}}", held.digits() % 256);
    assert_eq!(redis.ask(&["hget", &group, "18005550201"])?, "fresh");
    redis.ask(&["hset", &group, "18005550201", "plain"])?;
    announce(&store, &after, 20).await?;
    assert_eq!(redis.ask(&["exists", &there])?, "0");
    assert_eq!(redis.ask(&["hget", &group, "18005550201"])?, "fresh");
    assert_eq!(has(&store, &after, "fresh", 4, 229).await?, None);
    assert_eq!(has(&store, &after, "fresh", 4, 230).await?, Some(held));
    Ok(())
}

/// What was acknowledged counts, in whichever pool the number was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_prolonged_while_its_number_is_moved_is_as_long_as_was_said() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let (first, second) =
        (server(&[redis.address()], "1").await?, server(&[redis.address()], "2").await?);
    announce(&first, &before, 0).await?;
    let plain = pool(&before, "plain");
    let held = has(&first, &before, "plain", 1, 0).await?.context("a number")?;
    let (mut lasts, mut until) = (MINUTE, at(60));
    for round in 0..40 {
        let prolong = async {
            loop {
                lasts += Duration::from_secs(1);
                let Some(lease) = first.shorten(plain, id(1), lasts, at(1)).await? else {
                    return Ok::<_, anyhow::Error>(());
                };
                until = lease.expires_at;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (told, prolonged) = tokio::join!(announce(&second, &after, 1), prolong);
        told.and(prolonged)?;
        let state = second.number_state(&after, held, at(1)).await?;
        let lease = state.lease.context("its lease")?;
        ensure!(lease.expires_at == until, "round {round}: {lease:?}, and not until {until:?}");
        announce(&first, &before, 1).await?;
    }
    Ok(())
}

/// A store that has lost which pool had the number hears from whoever has lent it.
#[tokio::test]
async fn a_number_that_was_moved_is_told_of_by_whoever_lent_it_from_its_former_pool() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let (before, after) = (stores::snapshot()?, afterwards()?);
    let store = server(&[redis.address()], "1").await?;
    announce(&store, &before, 0).await?;
    let lease = store.lend(pool(&before, "plain"), id(1), MINUTE, at(0)).await?;
    let lease = lease.context("a number")?;
    redis.ask(&["flushall"])?;
    announce(&store, &after, 10).await?;
    let registered = store.register(pool(&after, "fresh"), &[(lease, at(0))], at(10)).await?;
    assert_eq!(registered, [Registered::Done]);
    assert_eq!(has(&store, &after, "fresh", 2, 11).await?, None);
    Ok(())
}

/// As many questions as there are groups, whatever numbers there are.
#[tokio::test]
async fn a_large_pool_is_announced_with_few_questions_and_lends_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let config = stores::snapshot()?;
    let store = server(&[redis.address()], "1").await?;
    let mut large = pool(&config, "plain").clone();
    let nth = |nth: u64| PhoneNumber::from_digits(18_005_600_000 + nth).context("a number");
    large.numbers = (0..5_000).map(nth).collect::<Result<_>>()?;
    let calls = |name: &str| -> Result<u64> {
        let told = redis.ask(&["info", "commandstats"])?;
        let line = format!("cmdstat_{name}:calls=");
        let count = told.lines().find_map(|it| it.strip_prefix(&line)?.split(',').next());
        Ok(count.map_or(Ok(0), str::parse)?)
    };
    for (turn, (asked, told)) in [("first", (256, 256)), ("again", (512, 256))] {
        store.announce(&large, at(0)).await?;
        // One more is the gate.
        ensure!(calls("hmget")? <= asked + 4, "{turn}: {}", calls("hmget")?);
        ensure!(calls("evalsha")? <= 20, "{turn}: {}", calls("evalsha")?);
        ensure!(calls("hset")? >= told, "{turn}");
    }
    let counted = Counted { free: 5_000, lent: 0, apart: 0, resting: 0 };
    assert_eq!(store.count(std::slice::from_ref(&large), at(1)).await?, [counted]);
    Ok(())
}
