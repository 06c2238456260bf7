//! What Redis lends compared with what the desk of a process would lend, step by step, through thousands
//! of random moments; and what no store may ever do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tollbridge::id::{PingId, SessionId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::ping::Session;
use tollbridge::routing::pool::{AFTER_CALL, Lease};
use tollbridge::routing::snapshot::Pool;
use tollbridge::server::sessions::SessionStore;
use tollbridge::server::sessions::redis::{RedisSessions, RedisSessionsSettings};
use tollbridge::time::Wall;

use super::in_process::InProcess;
use super::stores::{self, AT, call, id, pool, request};
use crate::support::redis::Redis;

const RUNS: u64 = 4;
const STEPS: u32 = 600;
const POOLS: [&str; 3] = ["plain", "taking", "overflowing"];
/// Visitors of a pool.
const VISITORS: u32 = 8;
const REST: i64 = 30_000;

/// `TOLLBRIDGE_SESSIONS_SEED` repeats one, and goes on with those behind it; `TOLLBRIDGE_SESSIONS_RUNS` says how
/// many.
#[tokio::test]
async fn redis_lends_as_a_desk_does_and_never_a_number_to_two() -> Result<()> {
    let said = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let first = said("TOLLBRIDGE_SESSIONS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let runs = said("TOLLBRIDGE_SESSIONS_RUNS").unwrap_or(RUNS);
    let folder = tempfile::tempdir()?;
    let redis = Redis::alone(folder.path())?;
    let config = stores::snapshot()?;
    for seed in (0..runs).map(|nth| first.wrapping_add(nth)) {
        redis.ask(&["flushall"])?;
        let mut model = Model::of(&config, &redis, seed).await?;
        for step in 0..STEPS {
            let why = || format!("seed {seed}, step {step}");
            model.step().await.with_context(why)?;
        }
    }
    Ok(())
}

/// Visitors and calls, at both stores.
struct Model<'a> {
    config: &'a RoutingSnapshot,
    desk: InProcess,
    shared: RedisSessions,
    rng: Rng,
    now: Wall,
    /// Sessions that were opened.
    opened: u32,
    /// The last one of each visitor, as its server knows it.
    visitors: BTreeMap<(&'a str, u32), Session>,
    lent: BTreeMap<PhoneNumber, Lent>,
    calls: BTreeMap<PhoneNumber, Vec<u8>>,
}

/// To whom a number was lent last, and until when. One that was shown to nobody was not lent.
#[derive(Debug)]
struct Lent {
    session: SessionId,
    /// Its visitor's last sign of life.
    seen: Wall,
    until: Wall,
    /// A call that came once it was over does not bring it back.
    is_over: bool,
}

impl<'a> Model<'a> {
    async fn of(config: &'a RoutingSnapshot, redis: &Redis, seed: u64) -> Result<Self> {
        // Longer than any call.
        let lease = Duration::from_secs(30 * 86_400);
        let settings = stores::settings(vec![redis.address()], "1");
        let settings = RedisSessionsSettings { lease, ..settings };
        Ok(Self {
            config,
            desk: InProcess::new(config),
            shared: stores::open(settings, config).await?,
            rng: Rng::with_seed(seed),
            now: AT,
            opened: 0,
            visitors: BTreeMap::new(),
            lent: BTreeMap::new(),
            calls: BTreeMap::new(),
        })
    }

    async fn step(&mut self) -> Result<()> {
        self.now = Wall(self.now.0 + self.rng.i64(0..25) * 1_000 + self.rng.i64(0..3));
        let name = POOLS[self.rng.usize(0..POOLS.len())];
        let visitor = (name, self.rng.u32(0..VISITORS));
        let from = pool(self.config, name);
        let number = *self.rng.choice(&from.numbers).context("numbers")?;
        match self.rng.u32(0..10) {
            0..5 => self.comes(visitor).await?,
            5 => self.closes(visitor).await?,
            6 => self.cannot_be_opened(name).await?,
            7 | 8 => self.calls(from, number).await?,
            _ => self.hangs_up(from, number).await?,
        }
        let numbers = self.config.pools().iter().flat_map(|pool| &pool.numbers);
        for number in numbers {
            self.agree_about(*number).await?;
        }
        Ok(())
    }

    /// Opens the visitor's session, or lets it live on.
    async fn comes(&mut self, visitor: (&'a str, u32)) -> Result<()> {
        let ttl = Duration::from_secs(self.rng.u64(1..120));
        let session = match self.live(visitor).await? {
            Some(session) => self.lend(session, ttl).await?,
            None => {
                let new = self.new_session(visitor.0);
                self.lend(new, ttl).await?
            }
        };
        self.put(&session).await?;
        self.visitors.insert(visitor, session);
        Ok(())
    }

    /// The page is closed. The store may hear of its number only.
    async fn closes(&mut self, visitor: (&'a str, u32)) -> Result<()> {
        let ttl = Duration::from_secs(self.rng.u64(0..20));
        let Some(mut session) = self.live(visitor).await? else { return Ok(()) };
        let (from, who, now) = (pool(self.config, visitor.0), session.session, self.now);
        let here = self.desk.shorten(from, who, ttl, now).await?;
        let there = self.shared.shorten(from, who, ttl, now).await?;
        ensure!(here == there, "{here:?} here, {there:?} there");
        let until = here.map_or(now + ttl, |lease| lease.expires_at);
        for its in self.lent.values_mut().filter(|it| it.session == who) {
            (its.seen, its.until) = (now, until);
        }
        if self.rng.bool() {
            session.expires_at = now + ttl;
            self.put(&session).await?;
        }
        Ok(())
    }

    /// A session is opened, and a moment later never was. Somebody may have called its number meanwhile.
    async fn cannot_be_opened(&mut self, name: &'a str) -> Result<()> {
        let new = self.new_session(name);
        let session = self.lend(new, Duration::from_secs(60)).await?;
        self.put(&session).await?;
        let from = pool(self.config, name);
        let its = session.number.filter(|number| from.numbers.contains(number));
        if let Some(number) = its.filter(|_| self.rng.bool()) {
            self.calls(from, number).await?;
        }
        self.now = Wall(self.now.0 + self.rng.i64(0..15_000));
        self.desk.abandon(self.config, &session, self.now).await?;
        self.shared.abandon(self.config, &session, self.now).await?;
        self.lent.retain(|_, it| it.session != session.session);
        Ok(())
    }

    async fn calls(&mut self, from: &Pool, number: PhoneNumber) -> Result<()> {
        let (up, other) = (self.calls.entry(number).or_default(), self.rng.u8(..));
        if up.len() > 1 || up.contains(&other) {
            return Ok(());
        }
        if let Some(its) = self.lent.get_mut(&number).filter(|_| up.is_empty()) {
            its.is_over |= its.until <= self.now;
        }
        up.push(other);
        self.desk.pin(from, number, call(other), self.now).await?;
        self.shared.pin(from, number, call(other), self.now).await?;
        Ok(())
    }

    async fn hangs_up(&mut self, from: &Pool, number: PhoneNumber) -> Result<()> {
        let is_held = self.lent.get(&number).is_some_and(|it| self.holds(number, it.session));
        let Some(over) = self.calls.get_mut(&number).and_then(Vec::pop) else { return Ok(()) };
        let theirs = self.desk.unpin(from, number, call(over), self.now).await?;
        let ours = self.shared.unpin(from, number, call(over), self.now).await?;
        ensure!(ours == theirs, "{ours:?} is left of a lease, not {theirs:?}");
        ensure!(ours.is_some() == is_held, "{ours:?} is left of a lease");
        if let Some((lease, its)) = ours.zip(self.lent.get_mut(&number)) {
            ensure!(lease.session == its.session, "{lease:?} of {its:?}");
            let until = its.until.max(self.now + AFTER_CALL);
            ensure!(lease.expires_at == until, "{lease:?} of {its:?}");
            (its.seen, its.until) = (self.now, until);
        }
        Ok(())
    }

    /// The last session of a visitor, if that is live.
    async fn live(&self, visitor: (&'a str, u32)) -> Result<Option<Session>> {
        let Some(known) = self.visitors.get(&visitor) else { return Ok(None) };
        let key = SessionKey::Session(known.session);
        // A desk keeps one that is over while a call is on its number.
        let theirs = self.desk.find(key, self.now).await?.filter(|it| self.now < it.expires_at);
        let ours = self.shared.find(key, self.now).await?;
        ensure!(ours == theirs, "{ours:#?} is live, not {theirs:#?}");
        Ok(ours)
    }

    fn new_session(&mut self, name: &str) -> Session {
        self.opened += 1;
        let session = id(self.opened);
        let ping = PingId(session.0);
        Session { session, ping, pool: Some(name.into()), ..stores::session(self.opened, self.now) }
    }

    /// Asks both for a number for it.
    async fn lend(&mut self, session: Session, ttl: Duration) -> Result<Session> {
        let name = session.pool.as_ref().context("it has a pool")?;
        let (from, who, now) = (pool(self.config, name.as_str()), session.session, self.now);
        let theirs = self.desk.lend(from, who, ttl, now).await?;
        let ours = self.shared.lend(from, who, ttl, now).await?;
        ensure!(ours == theirs, "{ours:?} was lent, not {theirs:?}");
        self.may_be(from, who, ours)?;
        if let Some(Lease { number, expires_at: until, .. }) = ours {
            self.lent.retain(|_, it| it.session != who);
            self.lent.insert(number, Lent { session: who, seen: now, until, is_over: false });
        }
        let number = ours.map(|lease| lease.number).or(session.number).or(from.overflow);
        Ok(Session { number, expires_at: now + ttl, ..session })
    }

    /// Whether a session may have been lent that number.
    fn may_be(&self, from: &Pool, who: SessionId, lease: Option<Lease>) -> Result<()> {
        let is_its = |number: &PhoneNumber| self.holds(*number, who);
        if let Some(own) = from.numbers.iter().copied().find(is_its) {
            ensure!(lease.map(|it| it.number) == Some(own), "{own:?} is its, not {lease:?}");
            return Ok(());
        }
        let idle = self.idlest(from);
        let free: Vec<_> = from.numbers.iter().filter(|it| self.is_free(**it)).collect();
        match lease {
            None => ensure!(free.is_empty() && idle.is_none(), "{free:?} or {idle:?} was there"),
            Some(Lease { number, .. }) if free.is_empty() => {
                ensure!(idle == Some(number), "{number:?} was taken away, not {idle:?}");
            }
            Some(Lease { number, .. }) => {
                ensure!(free.contains(&&number), "{number:?} of {free:?}")
            }
        }
        Ok(())
    }

    fn has_call(&self, number: PhoneNumber) -> bool {
        self.calls.get(&number).is_some_and(|up| !up.is_empty())
    }

    fn holds(&self, number: PhoneNumber, who: SessionId) -> bool {
        let its = self.lent.get(&number).filter(|it| it.session == who);
        its.is_some_and(|it| self.now < it.until || self.has_call(number) && !it.is_over)
    }

    /// Nobody has had it for as long as it rests.
    fn is_free(&self, number: PhoneNumber) -> bool {
        let rested = self.lent.get(&number).is_none_or(|it| it.until.0 + REST <= self.now.0);
        rested && !self.has_call(number)
    }

    /// Whose visitor has shown no sign of life for longest, if that is long enough.
    fn idlest(&self, from: &Pool) -> Option<PhoneNumber> {
        let after = from.taken_after?;
        let lent = from.numbers.iter().filter_map(|number| Some((*number, self.lent.get(number)?)));
        let live = lent.filter(|(number, it)| self.now < it.until && !self.has_call(*number));
        let (number, its) = live.min_by_key(|(number, it)| (it.seen, *number))?;
        (its.seen + after <= self.now).then_some(number)
    }

    async fn put(&self, session: &Session) -> Result<()> {
        self.desk.put(self.config, session, self.now).await?;
        self.shared.put(self.config, session, self.now).await?;
        Ok(())
    }

    /// Whose calls to the number are, whose they were, and who has had it.
    async fn agree_about(&self, number: PhoneNumber) -> Result<()> {
        let dialed = request(number, None, self.now);
        let theirs = self.desk.lookup(self.config, &dialed).await?.readings;
        let ours = self.shared.lookup(self.config, &dialed).await?.readings;
        ensure!(ours == theirs, "{number:?} leads to {ours:#?}, not to {theirs:#?}");
        let theirs = self.desk.number_state(number, self.now);
        let ours = self.shared.number_state(self.config, number, self.now).await?;
        ensure!(ours == theirs, "{number:?} is {ours:#?}, not {theirs:#?}");
        Ok(())
    }
}
