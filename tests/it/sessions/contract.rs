//! What every store of sessions does. One suite: each test names a rule, and is run on the desk of one
//! process, on Redis alone, and on a cluster. Each has a store of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tollbridge::id::SessionId;
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::history::{Caller, Connected, PastCall};
use tollbridge::routing::ping::{Consumed, Session, SessionKind};
use tollbridge::routing::pool::Lease;
use tollbridge::routing::request::SessionReading;
use tollbridge::routing::{RouteRequest, RoutingSnapshot};
use tollbridge::server::sessions::SessionStore;
use tollbridge::time::Wall;

use super::in_process::InProcess;
use super::stores::{self, at, call, caller, id, naming, number, pool, request, session};
use crate::support::redis::{Cluster, Redis};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_desk_of_a_process_keeps_the_contract() -> Result<()> {
    keep(async |snapshot| Ok(InProcess::new(snapshot))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_alone_keeps_the_contract() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    keep(async |snapshot| {
        redis.ask(&["flushall"])?;
        stores::open(stores::settings(vec![redis.address()], "1"), snapshot).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_contract() -> Result<()> {
    let cluster = Cluster::start()?;
    keep(async |snapshot| {
        cluster.nodes.iter().try_for_each(|node| node.ask(&["flushall"]).map(drop))?;
        stores::open(stores::settings(cluster.seeds(), "1"), snapshot).await
    })
    .await
}

/// All rules, each on a store that knows nothing.
async fn keep<S: SessionStore + 'static>(
    store: impl AsyncFn(&RoutingSnapshot) -> Result<S>,
) -> Result<()> {
    let config = &stores::snapshot()?;
    a_number_is_lent_once_rests_and_is_lent_again(&store(config).await?, config).await?;
    the_number_unused_for_longest_is_lent(&store(config).await?, config).await?;
    a_session_keeps_its_number_and_may_leave_it_earlier(&store(config).await?, config).await?;
    who_shows_no_sign_of_life_loses_the_number(&store(config).await?, config).await?;
    a_call_keeps_a_number_and_its_end_prolongs_it(&store(config).await?, config).await?;
    one_of_many_gets_the_last_number(Arc::new(store(config).await?), config).await?;
    a_session_is_found_by_its_number(&store(config).await?, config).await?;
    a_session_is_found_by_all_its_names(&store(config).await?, config).await?;
    a_session_is_found_by_its_caller(&store(config).await?, config).await?;
    of_many_sessions_of_a_caller_the_newest_are_found(&store(config).await?, config).await?;
    an_earlier_session_is_known_where_that_is_enough(&store(config).await?, config).await?;
    those_who_share_a_number_are_found_together(&store(config).await?, config).await?;
    a_session_is_as_it_was_put_last(&store(config).await?, config).await?;
    a_visitor_has_one_session(&store(config).await?, config).await?;
    one_call_is_the_first_of_a_session(Arc::new(store(config).await?), config).await?;
    an_abandoned_session_never_was(&store(config).await?, config).await?;
    the_calls_of_a_caller_are_known_as_they_were_told_last(&store(config).await?, config).await
}

async fn the_calls_of_a_caller_are_known_as_they_were_told_last(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let (alice, anybody) = (Caller::Number(caller(1)), Caller::AnonymousOf("campaign".into()));
    assert_eq!(store.calls(&alice).await?, []);
    let past = |nth: u8, at: Wall| PastCall {
        call: call(nth),
        at,
        dialed: number("+18005550100"),
        campaign: "campaign".into(),
        publisher: "publisher".into(),
        connected: None,
        converted_at: None,
        talk_ms: None,
        charges: false,
        pays_after_ms: None,
        left: vec![],
    };
    let first = (alice.clone(), past(1, at(1)));
    store.put_calls(config, &[first.clone(), (anybody.clone(), past(3, at(3)))]).await?;
    store.put_calls(config, &[(alice.clone(), past(2, at(2)))]).await?;
    let connected = Connected { target: "t".into(), buyer: "b".into(), at: at(4) };
    let over = PastCall {
        connected: Some(connected),
        converted_at: Some(at(64)),
        talk_ms: Some(90_000),
        charges: true,
        pays_after_ms: Some(60_000),
        ..first.1
    };
    for _ in 0..2 {
        store.put_calls(config, &[(alice.clone(), over.clone())]).await?;
        assert_eq!(store.calls(&alice).await?, [past(2, at(2)), over.clone()]);
    }
    assert_eq!(store.calls(&anybody).await?, [past(3, at(3))]);
    // Of many the last are kept.
    let most = config.history_limits().calls_max;
    for nth in 0..u8::try_from(most)? {
        let later = past(100 + nth, at(100 + i64::from(nth)));
        store.put_calls(config, &[(alice.clone(), later)]).await?;
    }
    let kept = store.calls(&alice).await?;
    assert_eq!(kept.len(), most);
    assert!(kept.iter().all(|it| it.call != call(2)), "{kept:?}");
    Ok(())
}

async fn a_number_is_lent_once_rests_and_is_lent_again(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let plain = pool(config, "plain");
    let mut lent = vec![];
    for nth in 1..=3 {
        let lease = store.lend(plain, id(nth), MINUTE, at(0)).await?.context("a number")?;
        assert_eq!((lease.session, lease.expires_at), (id(nth), at(60)));
        lent.push(lease.number);
    }
    lent.sort_unstable();
    assert_eq!(lent, plain.numbers);
    assert_eq!(store.lend(plain, id(4), MINUTE, at(59)).await?, None);
    assert_eq!(store.lend(plain, id(4), MINUTE, at(89)).await?, None, "it rests");
    let again = store.lend(plain, id(4), MINUTE, at(90)).await?.context("a number")?;
    assert!(lent.contains(&again.number));
    Ok(())
}

async fn the_number_unused_for_longest_is_lent(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let plain = pool(config, "plain");
    let mut lent = vec![];
    for nth in 1..=3 {
        let ttl = Duration::from_secs(30 - u64::from(nth));
        lent.push(store.lend(plain, id(nth), ttl, at(0)).await?.context("a number")?.number);
    }
    for nth in 4..=6 {
        let lease = store.lend(plain, id(nth), MINUTE, at(100)).await?.context("a number")?;
        assert_eq!(Some(lease.number), lent.pop(), "the last that was lent ended first");
    }
    Ok(())
}

async fn a_session_keeps_its_number_and_may_leave_it_earlier(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let plain = pool(config, "plain");
    let first = store.lend(plain, id(1), MINUTE, at(0)).await?.context("a number")?;
    let again = store.lend(plain, id(1), MINUTE, at(50)).await?.context("a number")?;
    assert_eq!((again.number, again.expires_at), (first.number, at(110)));
    for nth in 2..=3 {
        store.lend(plain, id(nth), MINUTE * 5, at(50)).await?.context("a number")?;
    }
    let left = store.shorten(plain, id(1), Duration::from_secs(10), at(50)).await?;
    assert_eq!(left, Some(Lease { expires_at: at(60), ..first }));
    // It has none to shorten, and is lent none.
    assert_eq!(store.shorten(plain, id(4), Duration::from_secs(10), at(50)).await?, None);
    assert_eq!(store.lend(plain, id(4), MINUTE, at(89)).await?, None);
    let next = store.lend(plain, id(4), MINUTE, at(90)).await?.context("a number")?;
    assert_eq!(next.number, first.number);
    Ok(())
}

async fn who_shows_no_sign_of_life_loses_the_number(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let taking = pool(config, "taking");
    let idle = store.lend(taking, id(1), MINUTE * 5, at(0)).await?.context("a number")?;
    store.lend(taking, id(2), MINUTE * 5, at(1)).await?.context("a number")?;
    assert_eq!(store.lend(taking, id(3), MINUTE, at(59)).await?, None);
    let taken = store.lend(taking, id(3), MINUTE, at(60)).await?.context("a number")?;
    assert_eq!(taken.number, idle.number);
    // A call on the number, and a sign of life, keep it.
    store.lend(taking, id(2), MINUTE * 5, at(61)).await?;
    store.pin(taking, taken.number, call(1), at(61)).await?;
    assert_eq!(store.lend(taking, id(4), MINUTE, at(120)).await?, None);
    Ok(())
}

async fn a_call_keeps_a_number_and_its_end_prolongs_it(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let plain = pool(config, "plain");
    let lease = store.lend(plain, id(1), MINUTE, at(0)).await?.context("a number")?;
    let opened =
        Session { pool: Some("plain".into()), number: Some(lease.number), ..session(1, at(0)) };
    store.put(config, &opened, at(0)).await?;
    for nth in 2..=3 {
        store.lend(plain, id(nth), MINUTE * 60, at(0)).await?.context("a number")?;
    }
    for nth in 1..=2 {
        store.pin(plain, lease.number, call(nth), at(30)).await?;
    }
    assert_eq!(store.lend(plain, id(4), MINUTE, at(600)).await?, None, "calls are up");
    let dialed = request(lease.number, None, at(600));
    assert_eq!(its(&store.lookup(config, &dialed).await?.readings), [id(1)]);
    store.unpin(plain, lease.number, call(1), at(600)).await?;
    let left = store.unpin(plain, lease.number, call(2), at(700)).await?.context("a lease")?;
    assert_eq!((left.session, left.expires_at), (id(1), at(1_000)));
    // Its page is closed, which does not take the number from who was just called.
    let kept = store.shorten(plain, id(1), Duration::from_secs(10), at(701)).await?;
    assert_eq!(kept, Some(left));
    let found = store.find(SessionKey::Session(id(1)), at(999)).await?.context("it lives")?;
    assert_eq!(found.expires_at, at(1_000));
    assert_eq!(store.lend(plain, id(4), MINUTE, at(1_029)).await?, None);
    let next = store.lend(plain, id(4), MINUTE, at(1_030)).await?.context("a number")?;
    assert_eq!(next.number, lease.number);
    Ok(())
}

async fn one_of_many_gets_the_last_number<S: SessionStore + 'static>(
    store: Arc<S>,
    config: &RoutingSnapshot,
) -> Result<()> {
    let overflowing = pool(config, "overflowing");
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..200 {
        let (store, overflowing) = (Arc::clone(&store), overflowing.clone());
        tasks.spawn(async move { store.lend(&overflowing, id(nth), MINUTE, at(0)).await });
    }
    let mut lent = 0;
    while let Some(answer) = tasks.join_next().await {
        lent += u32::from(answer??.is_some());
    }
    assert_eq!(lent, 1);
    Ok(())
}

async fn a_session_is_found_by_its_number(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let plain = pool(config, "plain");
    let did = lent_and_put(store, config, "plain", 1).await?;
    let dialed = |seconds| request(did, None, at(seconds));
    let found = store.lookup(config, &dialed(59)).await?.readings;
    assert_eq!(its(&found), [id(1)]);
    assert_eq!((found[0].number, found[0].former), (Some(did), None));
    assert_eq!(&*found[0].tags["nth"], "1");
    // Its number rests: it is the last that had it.
    let resting = store.lookup(config, &dialed(89)).await?.readings;
    let former = resting.first().and_then(|it| it.former).context("it had the number")?;
    assert_eq!((former.ended_at, former.rests_until), (at(60), at(90)));
    // It is somebody else's.
    for nth in 2..=4 {
        let lease = store.lend(plain, id(nth), MINUTE, at(100)).await?.context("a number")?;
        let next = Session {
            pool: Some("plain".into()),
            number: Some(lease.number),
            ..session(nth, at(100))
        };
        store.put(config, &next, at(100)).await?;
    }
    let both = store.lookup(config, &dialed(101)).await?.readings;
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!((both[0].former.is_some(), both[1].former.is_some()), (false, true));
    assert_eq!(both[1].session, id(1));
    Ok(())
}

async fn a_session_is_found_by_all_its_names(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let opened = session(1, at(0));
    store.put(config, &opened, at(0)).await?;
    let keys = [
        SessionKey::Ping(opened.ping),
        SessionKey::Session(opened.session),
        SessionKey::Alias(SessionKey::alias_of(opened.ping)),
    ];
    assert_eq!(store.find(SessionKey::Session(id(2)), at(1)).await?, None);
    for key in keys {
        assert_eq!(
            its(&store.lookup(config, &naming(key, at(1))).await?.readings),
            [id(1)],
            "{key}"
        );
        assert_eq!(store.find(key, at(59)).await?.as_ref(), Some(&opened), "{key}");
    }
    for key in keys {
        assert_eq!(store.find(key, at(60)).await?, None, "it is over");
        assert_eq!(its(&store.lookup(config, &naming(key, at(60))).await?.readings), [], "{key}");
    }
    Ok(())
}

async fn a_session_is_found_by_its_caller(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    for (nth, by) in [(1, 1), (2, 1), (3, 2)] {
        let opened = Session { caller: Some(caller(by)), ..session(nth, at(nth.into())) };
        store.put(config, &opened, at(nth.into())).await?;
    }
    let dialed = |by, seconds| request(number("+18005550100"), by, at(seconds));
    assert_eq!(
        its(&store.lookup(config, &dialed(Some(caller(1)), 5)).await?.readings),
        [id(2), id(1)]
    );
    assert_eq!(its(&store.lookup(config, &dialed(Some(caller(2)), 5)).await?.readings), [id(3)]);
    assert_eq!(its(&store.lookup(config, &dialed(None, 5)).await?.readings), []);
    assert_eq!(its(&store.lookup(config, &dialed(Some(caller(1)), 61)).await?.readings), [id(2)]);
    // Of another campaign.
    let elsewhere = request(number("+18005550102"), Some(caller(1)), at(5));
    assert_eq!(its(&store.lookup(config, &elsewhere).await?.readings), []);
    Ok(())
}

async fn of_many_sessions_of_a_caller_the_newest_are_found(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    for nth in 1..=10 {
        let opened = Session { caller: Some(caller(1)), ..session(nth, at(nth.into())) };
        store.put(config, &opened, at(nth.into())).await?;
    }
    let dialed = request(number("+18005550100"), Some(caller(1)), at(20));
    let newest: Vec<SessionId> = (3..=10).rev().map(id).collect();
    assert_eq!(its(&store.lookup(config, &dialed).await?.readings), newest);
    Ok(())
}

async fn an_earlier_session_is_known_where_that_is_enough(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    for (nth, campaign) in [(1, "content"), (2, "content"), (3, "c")] {
        let opened = Session {
            caller: Some(caller(1)),
            campaign: campaign.into(),
            ..session(nth, at(nth.into()))
        };
        store.put(config, &opened, at(nth.into())).await?;
    }
    let later = 20 * 86_400;
    let content = request(number("+18005550102"), Some(caller(1)), at(later));
    assert_eq!(its(&store.lookup(config, &content).await?.readings), [id(2)], "the last one alone");
    let strict = request(number("+18005550100"), Some(caller(1)), at(later));
    assert_eq!(its(&store.lookup(config, &strict).await?.readings), []);
    Ok(())
}

async fn those_who_share_a_number_are_found_together(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let overflow = number("+18005550101");
    for nth in 1..=10 {
        let shared = Session {
            pool: Some("overflowing".into()),
            number: Some(overflow),
            ..session(nth, at(nth.into()))
        };
        store.put(config, &shared, at(nth.into())).await?;
    }
    let found = store.lookup(config, &request(overflow, None, at(20))).await?.readings;
    let newest: Vec<SessionId> = (3..=10).rev().map(id).collect();
    assert_eq!(its(&found), newest);
    assert!(found.iter().all(|it| it.sharing == Some(10)), "{found:?}");
    // One has come to a number of its own.
    let own = Session {
        pool: Some("overflowing".into()),
        number: Some(number("+18005550401")),
        ..session(10, at(10))
    };
    store.put(config, &own, at(20)).await?;
    let found = store.lookup(config, &request(overflow, None, at(20))).await?.readings;
    assert!(found.iter().all(|it| it.session != id(10) && it.sharing == Some(9)), "{found:?}");
    let over = store.lookup(config, &request(overflow, None, at(80))).await?.readings;
    assert_eq!(its(&over), []);
    Ok(())
}

async fn a_session_is_as_it_was_put_last(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let opened = session(1, at(0));
    store.put(config, &opened, at(0)).await?;
    assert_eq!(store.consume(id(1), at(5)).await?, Consumed::First);
    let longer = Session {
        expires_at: at(100),
        consumed_at: Some(at(5)),
        tags: [("zip".into(), "43215".into())].into(),
        ..opened
    };
    store.put(config, &longer, at(10)).await?;
    let key = SessionKey::Session(id(1));
    assert_eq!(store.find(key, at(99)).await?.as_ref(), Some(&longer));
    let shorter = Session { expires_at: at(50), ..longer };
    store.put(config, &shorter, at(20)).await?;
    assert_eq!(store.find(key, at(50)).await?, None);
    Ok(())
}

async fn a_visitor_has_one_session(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let opened = Session {
        visitor: Some("v".into()),
        kind: SessionKind::PageView,
        pool: Some("plain".into()),
        ..session(1, at(0))
    };
    store.put(config, &opened, at(0)).await?;
    let key = opened.visitor_key().context("it has one")?;
    assert_eq!(store.visitor(&key, at(59)).await?.as_ref(), Some(&opened));
    assert_eq!(store.visitor(&key, at(60)).await?, None);
    let (publisher, campaign, _, visitor) = key.clone();
    assert_eq!(store.visitor(&(publisher, campaign, None, visitor), at(1)).await?, None);

    // Of two, whoever told of each last, it is the newer one.
    let newer = Session {
        session: id(2),
        ping: session(2, at(10)).ping,
        created_at: at(10),
        expires_at: at(30),
        ..opened.clone()
    };
    store.put(config, &newer, at(10)).await?;
    store.put(config, &opened, at(11)).await?;
    assert_eq!(store.visitor(&key, at(12)).await?.as_ref(), Some(&newer));
    let longer = Session { expires_at: at(40), ..newer };
    store.put(config, &longer, at(13)).await?;
    assert_eq!(store.visitor(&key, at(39)).await?.as_ref(), Some(&longer));
    // Until that is over.
    store.put(config, &opened, at(41)).await?;
    assert_eq!(store.visitor(&key, at(42)).await?.as_ref(), Some(&opened));
    Ok(())
}

async fn one_call_is_the_first_of_a_session<S: SessionStore + 'static>(
    store: Arc<S>,
    config: &RoutingSnapshot,
) -> Result<()> {
    store.put(config, &session(1, at(0)), at(0)).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.consume(id(1), at(5)).await });
    }
    let (mut first, mut again) = (0, 0);
    while let Some(answer) = tasks.join_next().await {
        match answer?? {
            Consumed::First => first += 1,
            Consumed::Again => again += 1,
            Consumed::Unknown => {}
        }
    }
    assert_eq!((first, again), (1, 99));
    assert_eq!(store.consume(id(1), at(60)).await?, Consumed::Unknown);
    assert_eq!(store.consume(id(2), at(5)).await?, Consumed::Unknown);
    Ok(())
}

async fn an_abandoned_session_never_was(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
) -> Result<()> {
    let did = lent_and_put(store, config, "overflowing", 1).await?;
    let opened = Session {
        caller: Some(caller(1)),
        visitor: Some("v".into()),
        pool: Some("overflowing".into()),
        number: Some(did),
        ..session(1, at(0))
    };
    store.put(config, &opened, at(0)).await?;
    store.abandon(config, &opened, at(1)).await?;
    for dialed in [did, number("+18005550100")] {
        let call = RouteRequest { caller: Some(caller(1)), ..request(dialed, None, at(2)) };
        assert_eq!(its(&store.lookup(config, &call).await?.readings), []);
    }
    assert_eq!(store.find(SessionKey::Ping(opened.ping), at(2)).await?, None);
    let key = opened.visitor_key().context("it has one")?;
    assert_eq!(store.visitor(&key, at(2)).await?, None);
    let next = store.lend(pool(config, "overflowing"), id(2), MINUTE, at(2)).await?;
    ensure!(next.is_some_and(|it| it.number == did), "its number need not rest");

    // The visitor has come again meanwhile.
    store.put(config, &opened, at(3)).await?;
    let later = Session { number: None, ..Session { created_at: at(4), ..opened.clone() } };
    let later = Session { session: id(3), ping: session(3, at(4)).ping, ..later };
    store.put(config, &later, at(4)).await?;
    store.abandon(config, &opened, at(5)).await?;
    assert_eq!(store.visitor(&key, at(6)).await?.map(|it| it.session), Some(id(3)));
    Ok(())
}

async fn lent_and_put(
    store: &impl SessionStore,
    config: &RoutingSnapshot,
    from: &str,
    nth: u32,
) -> Result<PhoneNumber> {
    let lease = store.lend(pool(config, from), id(nth), MINUTE, at(0)).await?;
    let number = lease.context("a number")?.number;
    let opened = Session { pool: Some(from.into()), number: Some(number), ..session(nth, at(0)) };
    store.put(config, &opened, at(0)).await?;
    Ok(number)
}

fn its(found: &[SessionReading]) -> Vec<SessionId> {
    found.iter().map(|it| it.session).collect()
}
