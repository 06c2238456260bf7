//! What Redis lends compared with what the desk of a process would lend, step by step, through thousands
//! of random moments; and what no store may ever do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tollbridge::id::SessionId;
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::ping::Session;
use tollbridge::routing::request::SessionReading;
use tollbridge::server::sessions::SessionStore;
use tollbridge::time::Wall;

use super::in_process::InProcess;
use super::stores::{self, AT, call, id, pool, request, session};
use crate::support::redis::Redis;

const STEPS: u32 = 2_500;
const SESSIONS: u32 = 8;
const REST: i64 = 30_000;

/// To whom a number was lent last, and until when.
struct Lent {
    session: SessionId,
    /// Its visitor's last sign of life.
    seen: Wall,
    until: Wall,
    /// It was shown to nobody, or taken from somebody who shows no sign of life: it need not rest.
    at_once: bool,
}

/// `TOLLBRIDGE_SESSIONS_SEED` repeats one.
#[tokio::test]
async fn redis_lends_as_a_desk_does_and_never_a_number_to_two() -> Result<()> {
    let seed = std::env::var("TOLLBRIDGE_SESSIONS_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let config = stores::snapshot()?;
    let shared = stores::open(stores::settings(vec![redis.address()], "1"), &config).await?;
    let desk = InProcess::new(&config);
    let mut rng = Rng::with_seed(seed);
    let mut now = AT;
    let mut lent = BTreeMap::<PhoneNumber, Lent>::new();
    let mut calls = BTreeMap::<PhoneNumber, Vec<u8>>::new();
    for step in 0..STEPS {
        let why = || format!("seed {seed}, step {step}");
        now = Wall(now.0 + rng.i64(0..25) * 1_000 + rng.i64(0..3));
        let name = ["plain", "taking", "overflowing"][rng.usize(0..3)];
        let from = pool(&config, name);
        let who = id(rng.u32(0..SESSIONS) + 100 * u32::from(name.len() as u8));
        let number = *rng.choice(&from.numbers).context("numbers")?;
        match rng.u32(0..10) {
            0..5 => {
                let ttl = Duration::from_secs(rng.u64(1..120));
                let theirs = desk.lend(from, who, ttl, now).await?;
                let ours = shared.lend(from, who, ttl, now).await?;
                assert_eq!(ours, theirs, "{}", why());
                let Some(lease) = ours else { continue };
                if let Some(before) = lent.get(&lease.number) {
                    let is_its = before.session == who;
                    let rested = before.until.0 + REST <= now.0;
                    let idle = Duration::from_millis(u64::try_from(now.0 - before.seen.0)?);
                    let is_taken = from.taken_after.is_some_and(|after| after <= idle);
                    ensure!(is_its || rested || before.at_once || is_taken, "{}", why());
                }
                let until = lease.expires_at;
                lent.insert(lease.number, Lent { session: who, seen: now, until, at_once: false });
                let opened = Session {
                    session: who,
                    ping: tollbridge::id::PingId(who.0),
                    pool: Some(name.into()),
                    number: Some(lease.number),
                    expires_at: until,
                    ..session(1, now)
                };
                desk.put(&config, &opened, now).await?;
                shared.put(&config, &opened, now).await?;
            }
            5 => {
                let ttl = Duration::from_secs(rng.u64(0..20));
                desk.shorten(from, who, ttl, now).await?;
                shared.shorten(from, who, ttl, now).await?;
                for its in lent.values_mut().filter(|it| it.session == who && now < it.until) {
                    its.until = now + ttl;
                }
            }
            6 => {
                let gone = Session {
                    session: who,
                    ping: tollbridge::id::PingId(who.0),
                    pool: Some(name.into()),
                    ..session(1, now)
                };
                let live =
                    desk.find(tollbridge::routing::attribution::SessionKey::Session(who), now);
                if live.await?.is_none() {
                    continue;
                }
                desk.abandon(&config, &gone, now).await?;
                shared.abandon(&config, &gone, now).await?;
                lent.values_mut().filter(|it| it.session == who).for_each(|it| it.at_once = true);
            }
            7 | 8 => {
                let up = calls.entry(number).or_default();
                let other = rng.u8(..);
                if up.len() > 1 || up.contains(&other) {
                    continue;
                }
                up.push(other);
                desk.pin(from, number, call(other), now).await?;
                shared.pin(from, number, call(other), now).await?;
            }
            _ => {
                let Some(over) = calls.get_mut(&number).and_then(Vec::pop) else { continue };
                let theirs = desk.unpin(from, number, call(over), now).await?;
                let ours = shared.unpin(from, number, call(over), now).await?;
                assert_eq!(ours, theirs, "{}", why());
                if let (Some(lease), Some(its)) = (ours, lent.get_mut(&number)) {
                    its.until = its.until.max(lease.expires_at);
                }
            }
        }
        let dialed = request(number, None, now);
        let theirs = of_number(desk.lookup(&config, &dialed).await?, number);
        let ours = of_number(shared.lookup(&config, &dialed).await?, number);
        assert_eq!(ours, theirs, "{}", why());
    }
    Ok(())
}

/// Whose call it is. Who had the number before is the contract's matter: here sessions are also abandoned long
/// after they were opened, which no server does, and after which each knows what it likes.
fn of_number(found: Vec<SessionReading>, number: PhoneNumber) -> Vec<SessionId> {
    let its = found.into_iter().filter(|it| it.number == Some(number) && it.former.is_none());
    its.map(|it| it.session).collect()
}
