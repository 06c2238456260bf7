//! What is said of sessions by servers that may have lost them: emptied under connections that live on, which
//! says nothing to anybody.

use std::time::Duration;

use anyhow::{Result, ensure};
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::ping::{Consumed, Session};
use tollbridge::server::redis::{Address, StoreFault};
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::{Gated, KeySpace, RedisSessions, RedisSessionsSettings};

use super::stores::{self, at, caller, id, naming, number, request, session};
use crate::support::redis::{Cluster, Redis};

/// The servers' time to tell an emptied store what they know.
const OPEN_AFTER: Duration = Duration::from_millis(700);

/// Two servers of a store, which has been open for long.
struct Two {
    config: RoutingSnapshot,
    first: RedisSessions,
    second: RedisSessions,
}

impl Two {
    async fn at(seeds: Vec<Address>, kept_max: usize) -> Result<Self> {
        let config = stores::snapshot()?;
        let settings = |node: &str| RedisSessionsSettings {
            open_after: OPEN_AFTER,
            kept_max,
            ..stores::settings(seeds.clone(), node)
        };
        let first = stores::open(settings("1"), &config).await?;
        let second = stores::open(settings("2"), &config).await?;
        tokio::time::sleep(OPEN_AFTER).await;
        Ok(Self { config, first, second })
    }

    async fn opened(&self, nth: u32) -> Result<Session> {
        let opened = Session { caller: Some(caller(nth.into())), ..session(nth, at(0)) };
        self.first.put(&self.config, &opened, at(0)).await?;
        Ok(opened)
    }

    /// What the second says of the session.
    async fn told(&self, session: &Session) -> Result<Option<Session>, StoreFault> {
        self.second.find(SessionKey::Session(session.session), at(1)).await
    }

    /// Whether the second says of a call to the session's address that there are no others.
    async fn are_all(&self, session: &Session) -> Result<bool> {
        let call = naming(SessionKey::Session(session.session), at(1));
        Ok(self.second.lookup(&self.config, &call).await?.are_all)
    }
}

fn key(nth: u32) -> SessionKey {
    SessionKey::Session(id(nth))
}

#[tokio::test]
async fn nothing_is_over_by_the_word_of_a_server_that_was_emptied() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    for kept_max in [0, 10_000] {
        redis.ask(&["flushall"])?;
        let two = Two::at(vec![redis.address()], kept_max).await?;
        let Two { config, first, second } = &two;
        let opened = two.opened(1).await?;
        assert_eq!(two.told(&opened).await.as_ref(), Ok(&Some(opened.clone())));
        assert_eq!(second.find(key(9), at(1)).await, Ok(None), "it never was");
        assert_eq!(second.consume(id(9), at(1)).await, Ok(Consumed::Unknown));
        assert!(two.are_all(&opened).await?);
        assert!(!second.is_in_doubt());

        redis.ask(&["flushall"])?;
        if kept_max > 0 {
            // Whoever follows it hears of it unasked.
            while !first.is_in_doubt() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(two.told(&opened).await, Err(StoreFault::NotOpen), "{kept_max}");
        assert!(second.is_in_doubt(), "its gate is to be looked at");
        for nth in [1, 9] {
            assert_eq!(second.find(key(nth), at(1)).await, Err(StoreFault::NotOpen));
            assert_eq!(second.find_now(key(nth), at(1)).await, Err(StoreFault::NotOpen));
            assert_eq!(second.consume(id(nth), at(1)).await, Err(StoreFault::NotOpen));
            // Whoever tells it has to know that it is not there.
            assert_eq!(second.told_of(key(nth), at(1)).await, Ok(None));
        }
        assert!(!two.are_all(&opened).await?);
        let call = request(number("+18005550100"), Some(caller(1)), at(1));
        assert!(
            !second.lookup(config, &call).await?.are_all,
            "it may be of a session that is lost"
        );
        let owner = config.number(call.dialed).expect("it is configured");
        let then = second.candidates_then(config, &call, &owner).await;
        assert_eq!(then.err(), Some(StoreFault::NotOpen));

        assert!(second.is_in_doubt());
        // It is there again, and the first has yet to hear of it.
        let Gated { has_lost, closed_for } = second.keep_gates().await?;
        assert!(has_lost && closed_for > OPEN_AFTER / 2, "{closed_for:?}");
        assert_eq!(second.find(key(1), at(1)).await, Err(StoreFault::NotOpen));
        assert!(!second.is_in_doubt(), "that is known");
        assert!(!second.keep_gates().await?.has_lost);
        assert!(first.keep_gates().await?.has_lost);
        first.restore(config, std::slice::from_ref(&opened), at(1)).await?;
        assert_eq!(two.told(&opened).await.as_ref(), Ok(&Some(opened.clone())));
        assert!(!two.are_all(&opened).await?, "others may have some to tell");

        tokio::time::sleep(OPEN_AFTER).await;
        assert_eq!(second.find(key(9), at(1)).await, Ok(None));
        assert_eq!(second.find_now(key(9), at(1)).await, Ok(None));
        assert!(two.are_all(&opened).await?);
        assert!(second.candidates_then(config, &call, &owner).await.is_ok());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cluster_each_master_says_what_is_over_of_its_own() -> Result<()> {
    let cluster = Cluster::start()?;
    let two = Two::at(cluster.seeds(), 10_000).await?;
    let mut opened = vec![];
    for nth in 1..=12 {
        opened.push(two.opened(nth).await?);
    }
    let emptied = cluster.master_of(KeySpace::new("contract").slot_of_pool(&"plain".into()))?;
    cluster.nodes[emptied].ask(&["flushall"])?;

    let mut lost = 0;
    for session in &opened {
        let told = two.told(session).await;
        match &told {
            Ok(Some(_)) => ensure!(two.are_all(session).await? || lost > 0, "{session:?}"),
            Err(StoreFault::NotOpen) => lost += 1,
            Ok(None) | Err(_) => anyhow::bail!("{told:?} of {session:?}"),
        }
    }
    ensure!(lost > 0 && lost < opened.len(), "{lost} are lost");
    ensure!(two.second.keep_gates().await?.has_lost);
    // What the others do not know never was.
    let mut never_were = 0;
    for nth in 101..=124 {
        match two.second.find(key(nth), at(1)).await {
            Ok(None) => never_were += 1,
            told => ensure!(told == Err(StoreFault::NotOpen), "{told:?}"),
        }
    }
    ensure!(never_were > 0 && never_were < 24, "{never_were} never were");
    Ok(())
}

/// Each question is asked once, and nothing besides.
#[tokio::test]
async fn that_a_server_has_lost_nothing_is_known_without_asking() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let two = Two::at(vec![redis.address()], 10_000).await?;
    let reads = || -> Result<[u64; 2]> {
        let told = redis.ask(&["info", "commandstats"])?;
        let of = |name: &str| {
            let name = format!("cmdstat_{name}:calls=");
            let count = told.lines().find_map(|line| line.strip_prefix(&name)?.split(',').next());
            count.map_or(Ok(0), str::parse)
        };
        Ok([of("get")?, of("hget")?])
    };
    assert_eq!(two.second.find(key(9), at(1)).await, Ok(None));
    let [sessions, gates] = reads()?;
    for nth in 10..30 {
        assert_eq!(two.second.find(key(nth), at(1)).await, Ok(None));
    }
    assert_eq!(reads()?, [sessions + 20, gates]);
    Ok(())
}
