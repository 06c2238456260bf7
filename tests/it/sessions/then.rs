//! What Redis says of sessions and numbers at an instant that is over.

use std::time::Duration;

use anyhow::{Context, Result};
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::attribution::{Afterwards, Named, SessionKey};
use tollbridge::routing::ping::Session;
use tollbridge::routing::{RouteRequest, SessionReading};
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::RedisSessions;

use super::stores::{self, at, caller, id, number, pool, request, session};
use crate::support::redis::Redis;

const MINUTE: Duration = Duration::from_secs(60);

async fn alone() -> Result<(tempfile::TempDir, Redis, RoutingSnapshot, RedisSessions)> {
    let folder = tempfile::tempdir()?;
    let (redis, config) = (Redis::alone(folder.path())?, stores::snapshot()?);
    let store = stores::open(stores::settings(vec![redis.address()], "1"), &config).await?;
    Ok((folder, redis, config, store))
}

async fn then(
    store: &RedisSessions,
    config: &RoutingSnapshot,
    request: &RouteRequest,
) -> Result<Afterwards> {
    let owner = config.number(request.dialed).context("nobody's number")?;
    let then = store.candidates_then(config, request, &owner).await?;
    Ok(then.afterwards(config, request, &owner))
}

/// Sessions by their numbers, which of them have the number that was dialled, and which had it.
fn told(found: &Afterwards) -> Vec<(u32, bool, bool)> {
    let of = |it: &SessionReading| {
        let nth = it.session.as_bytes().first_chunk().map(|it| u32::from_be_bytes(*it));
        (nth.unwrap_or_default(), it.number.is_some(), it.former.is_some())
    };
    found.sessions.iter().map(of).collect()
}

#[tokio::test]
async fn a_number_is_of_who_had_it_then_whoever_has_it_now() -> Result<()> {
    let (_folder, redis, config, store) = alone().await?;
    let overflowing = pool(&config, "overflowing");
    let lend = async |nth: u32, since: i64| -> Result<Session> {
        let lease = store.lend(overflowing, id(nth), MINUTE, at(since)).await?;
        let lease = lease.context("a number")?;
        let number = Some(lease.number);
        let pool = Some("overflowing".into());
        let session = Session { number, pool, ..session(nth, at(since)) };
        store.put(&config, &session, at(since)).await?;
        Ok(session)
    };
    let first = lend(1, 10).await?;
    lend(2, 200).await?;
    let dialed = first.number.context("a number")?;
    let ask = async |seconds| then(&store, &config, &request(dialed, None, at(seconds))).await;
    for (seconds, expected) in [
        (9, vec![]),
        (10, vec![(1, true, false)]),
        (69, vec![(1, true, false)]),
        // It rests, or has rested.
        (80, vec![(1, true, true)]),
        (199, vec![(1, true, true)]),
        (210, vec![(2, true, false), (1, true, true)]),
    ] {
        let found = ask(seconds).await?;
        assert_eq!(told(&found), expected, "{seconds}");
        assert!(!found.lacks_some && !found.has_forgotten, "{seconds}");
    }

    // The first has come to another number since, and is not known at all in the end.
    let moved = Session { number: Some(number("+18005550201")), ..first };
    store.put(&config, &moved, at(210)).await?;
    assert_eq!(told(&ask(30).await?), [(1, true, false)]);
    store.abandon(&config, &moved, at(210)).await?;
    let lacking = ask(30).await?;
    assert_eq!((told(&lacking), lacking.lacks_some), (vec![], true));
    let owner = config.number(dialed).context("an owner")?;
    let asked = request(dialed, None, at(30));
    let mut supplied = store.candidates_then(&config, &asked, &owner).await?;
    assert_eq!(supplied.lacking(), [id(1)]);
    supplied.know([moved]);
    let supplied = supplied.afterwards(&config, &asked, &owner);
    assert_eq!((told(&supplied), supplied.lacks_some), (vec![(1, true, false)], false));

    // What was before that this server does not know.
    redis.ask(&["flushall"])?;
    assert!(store.keep_gates().await?.has_lost);
    store.announce(overflowing, at(300)).await?;
    assert!(ask(299).await?.has_forgotten);
    assert!(!ask(300).await?.has_forgotten);
    Ok(())
}

#[tokio::test]
async fn a_caller_is_known_by_sessions_that_had_begun_by_then() -> Result<()> {
    let (_folder, _redis, config, store) = alone().await?;
    let who = caller(1);
    let put = async |nth: u32, since: i64| {
        let session = Session { caller: Some(who), ..session(nth, at(since)) };
        store.put(&config, &session, at(since)).await
    };
    put(1, 0).await?;
    put(2, 40).await?;
    let ask = async |seconds| {
        let asked = request(number("+18005550100"), Some(who), at(seconds));
        then(&store, &config, &asked).await
    };
    let live = |found: &Afterwards| -> Vec<u32> { told(found).iter().map(|it| it.0).collect() };
    assert_eq!(live(&ask(-1).await?), [0; 0]);
    assert_eq!(live(&ask(39).await?), [1]);
    assert_eq!(live(&ask(59).await?), [2, 1]);
    assert_eq!(live(&ask(60).await?), [2]);
    assert_eq!(live(&ask(100).await?), [0; 0]);

    // By its address it is found as long as it was live, and not before it was.
    let key = SessionKey::Session(id(2));
    let named = async |seconds| {
        let asked = request(number("+18005550101"), None, at(seconds));
        let named = Some(Named { key, is_all: false });
        then(&store, &config, &RouteRequest { named, ..asked }).await
    };
    for (seconds, expected) in [(39, vec![]), (40, vec![2]), (99, vec![2]), (100, vec![])] {
        assert_eq!(live(&named(seconds).await?), expected, "{seconds}");
    }

    for nth in 3..=9 {
        put(nth, i64::from(100 + nth)).await?;
    }
    let found = ask(59).await?;
    assert_eq!((live(&found), found.has_forgotten), (vec![2], false), "of two only one is left");
    put(10, 110).await?;
    assert!(ask(59).await?.has_forgotten);
    assert!(!ask(110).await?.has_forgotten);
    Ok(())
}
