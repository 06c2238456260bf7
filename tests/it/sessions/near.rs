//! What a server keeps of the store, until somebody changes it there: one suite, on Redis alone and on a cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::ping::Session;
use tollbridge::routing::{RouteRequest, RoutingSnapshot};
use tollbridge::server::redis::Address;
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::{RedisSessions, RedisSessionsSettings};

use super::stores::{self, at, call, caller, id, naming, pool, request, session};
use crate::support::redis::{Cluster, Redis};

const MINUTE: Duration = Duration::from_secs(60);

/// One who changes things, one who keeps what it reads, and one who keeps nothing.
struct Three {
    config: RoutingSnapshot,
    writer: RedisSessions,
    keeper: RedisSessions,
    judge: RedisSessions,
}

impl Three {
    async fn at(seeds: Vec<Address>) -> Result<Self> {
        let config = stores::snapshot()?;
        let named = |node: &str| stores::settings(seeds.clone(), node);
        let writer = stores::open(named("1"), &config).await?;
        let keeper = stores::open(named("2"), &config).await?;
        let judge = RedisSessionsSettings { kept_max: 0, ..named("3") };
        let judge = stores::open(judge, &config).await?;
        Ok(Self { config, writer, keeper, judge })
    }

    /// A session of a caller, that has a number.
    async fn opened(&self, nth: u32) -> Result<Session> {
        let plain = pool(&self.config, "plain");
        let lease = self.writer.lend(plain, id(nth), MINUTE, at(0)).await?.context("a number")?;
        let opened = Session {
            caller: Some(caller(1)),
            pool: Some("plain".into()),
            number: Some(lease.number),
            ..session(nth, at(0))
        };
        self.writer.put(&self.config, &opened, at(0)).await?;
        Ok(opened)
    }

    /// What is kept is what is there.
    async fn agree(&self, request: &RouteRequest, what: &str) -> Result<()> {
        let kept = self.keeper.lookup(&self.config, request).await?.readings;
        let there = self.judge.lookup(&self.config, request).await?.readings;
        ensure!(kept == there, "{what}: {kept:#?} is kept of {there:#?}");
        Ok(())
    }
}

/// Commands by which sessions and numbers are read, so far.
fn reads(nodes: &[&Redis]) -> Result<u64> {
    let mut sum = 0;
    for node in nodes {
        let told = node.ask(&["info", "commandstats"])?;
        for name in ["cmdstat_get:calls=", "cmdstat_hgetall:calls="] {
            let count = told.lines().find_map(|line| line.strip_prefix(name)?.split(',').next());
            sum += count.map_or(Ok(0), str::parse::<u64>)?;
        }
    }
    Ok(sum)
}

/// Closes the connections on which servers say what has changed.
fn lose(nodes: &[&Redis]) -> Result<()> {
    for node in nodes {
        let clients = node.ask(&["client", "list"])?;
        for line in clients.lines().filter(|line| line.contains(" flags=t ")) {
            let id = line.strip_prefix("id=").and_then(|rest| rest.split(' ').next());
            node.ask(&["client", "kill", "id", id.context("an id")?])?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_redis_alone_is_what_is_there() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    keep(&[&redis], vec![redis.address()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_a_cluster_is_what_is_there() -> Result<()> {
    let cluster = Cluster::start()?;
    let nodes: Vec<&Redis> = cluster.nodes.iter().collect();
    keep(&nodes, cluster.seeds()).await
}

async fn keep(nodes: &[&Redis], seeds: Vec<Address>) -> Result<()> {
    let three = &Three::at(seeds).await?;
    what_another_server_changes_is_not_read_as_it_was(three).await?;
    what_nobody_changes_is_not_asked_for_again(three, nodes).await?;
    nothing_is_fresh_once_nobody_says_what_changes(three, nodes).await?;
    a_server_that_was_emptied_has_nothing(three, nodes).await?;
    what_was_read_is_known_while_nobody_answers(three, nodes).await
}

async fn what_another_server_changes_is_not_read_as_it_was(three: &Three) -> Result<()> {
    let Three { config, writer, keeper, .. } = three;
    let opened = three.opened(1).await?;
    let plain = pool(config, "plain");
    let number = opened.number.context("a number")?;
    let by_number = request(number, Some(caller(1)), at(2));
    let anonymous = request(number, None, at(2));
    let by_name = naming(SessionKey::Ping(opened.ping), at(2));
    let asked = [by_number.clone(), anonymous, by_name];
    for turn in 0..100_u32 {
        let change = turn % 5;
        match change {
            0 => {
                let tags = [("turn".into(), turn.to_string().into())].into();
                writer.put(config, &Session { tags, ..opened.clone() }, at(1)).await?;
            }
            1 => drop(writer.lend(plain, id(1), MINUTE * (1 + turn), at(1)).await?),
            2 => {
                let nth = 100 + turn;
                let more = Session { caller: Some(caller(1)), ..session(nth, at(1)) };
                writer.put(config, &more, at(1)).await?;
            }
            3 => writer.pin(plain, number, call(1), at(1)).await?,
            _ => drop(writer.unpin(plain, number, call(1), at(1)).await?),
        }
        // At once, and when it is kept.
        for when in ["at once", "again"] {
            for request in &asked {
                three.agree(request, &format!("turn {turn} {when}")).await?;
            }
        }
    }
    // A number that changes hands without any rest.
    for nth in 2..20 {
        let last = id(nth - 1);
        writer.take_back(plain, last, at(1)).await?;
        let mut held = vec![];
        for other in [nth, 1_000 + nth, 2_000 + nth] {
            let lease = writer.lend(plain, id(other), MINUTE, at(1)).await?.context("a number")?;
            let its = Session {
                pool: Some("plain".into()),
                number: Some(lease.number),
                ..session(other, at(1))
            };
            writer.put(config, &its, at(1)).await?;
            three.agree(&request(lease.number, Some(caller(2)), at(2)), "lent").await?;
            held.push(other);
        }
        for other in held.into_iter().filter(|other| *other != nth) {
            writer.take_back(plain, id(other), at(1)).await?;
        }
        for number in &plain.numbers {
            three.agree(&request(*number, None, at(2)), "free").await?;
        }
    }
    // And what this server itself does it knows at once.
    let (key, used) = (SessionKey::Session(id(1)), at(3));
    ensure!(keeper.find(key, used).await?.context("it lives")?.consumed_at.is_none());
    keeper.consume(id(1), used).await?;
    ensure!(keeper.find(key, used).await?.context("it lives")?.consumed_at == Some(used));
    three.agree(&by_number, "used").await
}

async fn what_nobody_changes_is_not_asked_for_again(three: &Three, nodes: &[&Redis]) -> Result<()> {
    let Three { config, keeper, .. } = three;
    let key = SessionKey::Session(id(1));
    let call = naming(key, at(2));
    keeper.lookup(config, &call).await?;
    keeper.find(key, at(2)).await?;
    let before = reads(nodes)?;
    for _ in 0..50 {
        ensure!(keeper.find(key, at(2)).await?.is_some());
    }
    ensure!(reads(nodes)? == before, "it is known by its name");
    for _ in 0..50 {
        ensure!(!keeper.lookup(config, &call).await?.readings.is_empty());
    }
    // A question on the way says that nothing has changed.
    let asked = reads(nodes)? - before;
    ensure!(asked <= 50, "{asked} questions for 50 calls");
    Ok(())
}

async fn nothing_is_fresh_once_nobody_says_what_changes(
    three: &Three,
    nodes: &[&Redis],
) -> Result<()> {
    let Three { config, writer, keeper, .. } = three;
    let key = SessionKey::Session(id(1));
    let known = keeper.find(key, at(2)).await?.context("it lives")?;
    lose(nodes)?;
    let tags = [("turn".into(), "lost".into())].into();
    writer.put(config, &Session { tags, ..known.clone() }, at(2)).await?;
    three.agree(&naming(key, at(2)), "lost").await?;
    let found = keeper.find(key, at(2)).await?.context("it lives")?;
    ensure!(found.tags != known.tags, "it was read on a connection that is gone");
    // Nothing is kept for an answer until somebody says again what changes.
    let before = reads(nodes)?;
    for _ in 0..10 {
        keeper.find(key, at(2)).await?;
    }
    ensure!(reads(nodes)? - before == 10, "{} questions", reads(nodes)? - before);
    keeper.follow().await;
    keeper.find(key, at(2)).await?;
    let before = reads(nodes)?;
    keeper.find(key, at(2)).await?;
    ensure!(reads(nodes)? == before, "it is kept again");
    Ok(())
}

async fn a_server_that_was_emptied_has_nothing(three: &Three, nodes: &[&Redis]) -> Result<()> {
    let Three { config, keeper, judge, .. } = three;
    let key = SessionKey::Session(id(1));
    ensure!(!keeper.lookup(config, &naming(key, at(2))).await?.readings.is_empty());
    for node in nodes {
        node.ask(&["flushall"])?;
    }
    ensure!(keeper.lookup(config, &naming(key, at(2))).await?.readings.is_empty());
    for store in [keeper, judge] {
        ensure!(store.keep_gates().await?.has_lost);
    }
    ensure!(keeper.find(key, at(2)).await?.is_none());
    Ok(())
}

async fn what_was_read_is_known_while_nobody_answers(
    three: &Three,
    nodes: &[&Redis],
) -> Result<()> {
    let Three { config, writer, keeper, judge } = three;
    for pool in config.pools() {
        writer.announce(pool, at(0)).await?;
    }
    let opened = three.opened(1).await?;
    let call = request(opened.number.context("a number")?, Some(caller(1)), at(2));
    let there = keeper.lookup(config, &call).await?.readings;
    ensure!(!there.is_empty());
    for node in nodes {
        node.signal("STOP")?;
    }
    let asked = Instant::now();
    let (before, nothing) =
        (keeper.candidates_before(config, &call), judge.candidates_before(config, &call));
    let took = asked.elapsed();
    let named = keeper.remembered(SessionKey::Session(id(1)), at(2));
    for node in nodes {
        node.signal("CONT")?;
    }
    ensure!(before == there && nothing.is_empty(), "{before:#?} of {there:#?}, {nothing:#?}");
    ensure!(named.as_ref() == Some(&opened), "{named:#?}");
    ensure!(took < Duration::from_secs(1), "nobody is asked");
    // What a call used is used, whoever could not be told.
    keeper.used(id(1), at(3));
    let named = keeper.remembered(SessionKey::Session(id(1)), at(4)).context("it is known")?;
    ensure!(named.consumed_at == Some(at(3)), "{named:#?}");
    Ok(())
}
