//! Sessions in Redis (spec/data §3.2): a server, or the servers of a cluster, and their replicas.
//!
//! Owns: the keys ([`keys`]), the scripts beside this file, which server has what ([`servers`]), what was
//! read there ([`near`]). Does not own: the way to servers (see [`redis`](crate::server::redis)), when the store is asked, and what
//! is done without it (see [`sessions`](super)).
//!
//! Invariants: every script touches keys of one slot, and runs only where all of them are; numbers go
//! by the time of the server that has their pool; none is lent there before all nodes have had the time
//! to say what they have lent.

mod answers;
mod calls;
mod gates;
mod kept;
mod keys;
mod lookup;
mod moved;
mod near;
mod numbers;
mod scripts;
mod servers;
mod then;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::{FromRedisValue, Value, from_redis_value};
use smol_str::SmolStr;

use crate::id::{CallId, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::RouteRequest;
use crate::routing::attribution::SessionKey;
use crate::routing::history::{Caller, PastCall};
use crate::routing::ping::{Consumed, Session, VisitorKey};
use crate::routing::pool::Lease;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::server::redis::{Address, Link, LinkSettings, LinkTls, StoreFault, fault, unread};
use crate::time::Wall;

use super::store::{Candidates, SessionStore, outlives};

use gates::Gates;
use kept::{Written, digits, head};
use near::{Followed, Near};
use scripts::Script;
use servers::{Asked, For, Servers};

pub use gates::Gated;
pub use keys::KeySpace;
pub use numbers::{Counted, Registered};
pub use then::Then;

/// Sessions that are found by one caller's number in one campaign; of more, the newest are found.
const PER_CALLER_MAX: isize = 8;
/// Sessions that are read of those that share a number.
const SHARING_READ_MAX: usize = 8;

/// Sessions of an account, as one node sees them.
pub struct RedisSessions {
    keys: KeySpace,
    settings: RedisSessionsSettings,
    link: Link,
    servers: ArcSwap<Servers>,
    /// What was told of a pool was told behind this one: a server that is new to it has another.
    gates: Mutex<BTreeMap<PoolId, SmolStr>>,
    gates_of_servers: Gates,
    near: Arc<Near>,
}

#[derive(Clone, Debug)]
pub struct RedisSessionsSettings {
    pub link: LinkSettings,
    /// Whose sessions they are; in the name of every key.
    pub account: SmolStr,
    /// This node; of all that share the store only this one is called so.
    pub node: SmolStr,
    /// For what a call waits for.
    pub call_timeout: Duration,
    /// For what none does.
    pub timeout: Duration,
    /// How long the node of a call is believed that the call is up.
    pub lease: Duration,
    /// How long numbers that are set apart for a node are nobody else's, since it was last heard of.
    pub apart_for: Duration,
    /// How long the nodes have to find out that a server may have forgotten what they have lent.
    pub open_after: Duration,
    pub time: TimeOfNumbers,
    /// Answers that are kept until they change, at most.
    pub kept_max: usize,
}

/// By whose time numbers are lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOfNumbers {
    /// That of the server which has the pool, for all nodes.
    Server,
    /// What whoever asks says, as in a rehearsal.
    Caller,
}

impl RedisSessions {
    /// Nothing is connected yet.
    pub fn new(settings: RedisSessionsSettings) -> Self {
        Self {
            keys: KeySpace::new(&settings.account),
            link: Link::new(settings.link.clone()),
            near: Arc::new(Near::new(settings.kept_max)),
            settings,
            servers: ArcSwap::default(),
            gates: Mutex::default(),
            gates_of_servers: Gates::default(),
        }
    }

    /// Finds the servers, and connects to those that are new or had gone. Returns these.
    ///
    /// # Errors
    /// None can be asked who they are.
    pub async fn connect(&self) -> Result<Vec<Address>, StoreFault> {
        let (servers, new) = self.servers.load_full().connect(&self.link, &self.keys).await?;
        self.servers.store(Arc::new(servers));
        self.probe().await;
        if !new.is_empty() {
            self.follow().await;
        }
        Ok(new)
    }

    /// Asks every server whether it is there: what it answers says how it is.
    pub async fn probe(&self) {
        let servers = self.servers.load_full();
        servers.ask(&servers.probes(), For::Upkeep, self.settings.timeout).await;
    }

    /// Sees to it that servers say what has changed of what was read there. Said again from time to time: a
    /// connection may be gone, or never have come about.
    pub async fn follow(&self) {
        if self.settings.kept_max > 0 {
            let servers = self.servers.load_full();
            servers.follow(&self.link, &self.near, self.settings.timeout).await;
        }
    }

    /// Whether all servers answer, and keep what they are asked for.
    pub fn is_well(&self) -> bool {
        self.servers.load().are_well()
    }

    /// How long numbers that are set apart for this node are nobody else's.
    pub fn apart_for(&self) -> Duration {
        self.settings.apart_for
    }

    /// Whether some servers answer.
    pub fn is_of_use(&self) -> bool {
        self.servers.load().are_of_use()
    }

    /// How servers are known from now on, and what they are shown; what is connected stays.
    pub fn secure(&self, tls: Option<LinkTls>) {
        self.link.secure(tls);
    }

    /// How long a call waits for its sessions.
    pub fn call_timeout(&self) -> Duration {
        self.settings.call_timeout
    }

    /// How long the nodes have to find out that a server may have forgotten what they have lent.
    pub fn open_after(&self) -> Duration {
        self.settings.open_after
    }

    async fn ask(&self, asked: &[Asked], who: For) -> Vec<Result<Value, StoreFault>> {
        let limit = match who {
            For::Call | For::Keeping => self.settings.call_timeout,
            For::Upkeep => self.settings.timeout,
        };
        let answers = self.servers.load_full().ask(asked, who, limit).await;
        // Whoever asks here again hears of it.
        asked.iter().filter_map(Asked::changes).for_each(|key| self.near.changed(key));
        answers
    }

    /// What keys are, as they were at some moment from here on. One that is fresh is so still when the server
    /// has said something else afterwards: each is asked for one thing at least.
    async fn see(&self, asked: &[Asked], limit: Duration) -> Vec<Result<Value, StoreFault>> {
        let servers = self.servers.load_full();
        let (mut heard, mut asks, mut known) = (BTreeSet::new(), vec![], vec![]);
        for (nth, question) in asked.iter().enumerate() {
            match servers.followed(question) {
                Some((place, by)) if self.is_fresh(question, &by) => {
                    known.push((nth, place));
                }
                followed => {
                    heard.extend(followed.map(|(place, _)| place));
                    asks.push(nth);
                }
            }
        }
        known.retain(|(nth, place)| {
            let is_first = heard.insert(*place);
            asks.extend(is_first.then_some(*nth));
            !is_first
        });
        let mut answers = vec![Err(unread()); asked.len()];
        self.ask_and_keep(&servers, asked, asks, limit, &mut answers).await;
        let mut again = vec![];
        for (nth, _) in known {
            let Some(question) = asked.get(nth) else { continue };
            match servers.followed(question).and_then(|(_, by)| self.fresh(question, &by)) {
                Some(value) => {
                    if question.counts() {
                        self.near.metrics.hit();
                    }
                    answers[nth] = Ok(value);
                }
                None => again.push(nth),
            }
        }
        if !again.is_empty() {
            self.ask_and_keep(&servers, asked, again, limit, &mut answers).await;
        }
        answers
    }

    fn is_fresh(&self, asked: &Asked, by: &Arc<Followed>) -> bool {
        asked.kept_as().is_some_and(|key| self.near.is_fresh(key, by))
    }

    fn fresh(&self, asked: &Asked, by: &Arc<Followed>) -> Option<Value> {
        self.near.fresh(asked.kept_as()?, by)
    }

    async fn ask_and_keep(
        &self,
        servers: &Servers,
        asked: &[Asked],
        at: Vec<usize>,
        limit: Duration,
        answers: &mut [Result<Value, StoreFault>],
    ) {
        let questions = || at.iter().filter_map(|nth| asked.get(*nth));
        let followed = |it: &Asked| servers.followed(it).map(|(_, by)| by);
        let by: Vec<_> =
            questions().map(|it| followed(it).unwrap_or_else(Followed::nobody)).collect();
        let keys = questions().filter_map(Asked::kept_as).map(str::to_owned).collect();
        if self.settings.kept_max > 0 {
            questions().filter(|it| it.counts()).for_each(|_| self.near.metrics.missed());
        }
        let reading = self.near.reading(keys);
        let told = servers.ask_at(asked, at.clone(), For::Keeping, limit).await;
        for ((nth, by), answer) in at.into_iter().zip(by).zip(told) {
            let key = asked.get(nth).and_then(Asked::kept_as);
            if let (Some(key), Ok(value)) = (key, &answer) {
                reading.read(key, value, &by);
            }
            answers[nth] = answer;
        }
    }

    /// A call was attributed to a session: what is kept of it says so from now on.
    pub fn used(&self, session: SessionId, at: Wall) {
        let key = self.keys.session(SessionKey::Session(session));
        self.near.correct(&key, |kept| {
            if let Value::BulkString(kept) = kept {
                kept::use_first(kept, session, at);
            }
        });
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<T, StoreFault> {
        let asked = [Asked::script(script, keys, arguments)];
        let answer = self.ask(&asked, For::Upkeep).await.pop();
        read(answer.unwrap_or_else(|| Err(unread()))?)
    }

    /// The live session that the address of a call names: the call waits for it.
    ///
    /// # Errors
    /// As [`SessionStore::find`].
    pub async fn find_for_call(
        &self,
        key: SessionKey,
        now: Wall,
    ) -> Result<Option<Session>, StoreFault> {
        self.named(key, now, self.settings.call_timeout).await
    }

    /// The live session that an id names, as it is: whoever changes it has to know all of it.
    ///
    /// # Errors
    /// As [`SessionStore::find`].
    pub async fn find_now(
        &self,
        key: SessionKey,
        now: Wall,
    ) -> Result<Option<Session>, StoreFault> {
        let found = self.told_of(key, now).await?;
        if found.is_none() {
            self.never_was(key).await?;
        }
        Ok(found)
    }

    /// What its server was told of a session, if that is live. It may have lost it since.
    ///
    /// # Errors
    /// As [`SessionStore::lookup`].
    pub async fn told_of(&self, key: SessionKey, now: Wall) -> Result<Option<Session>, StoreFault> {
        let answer = self.ask(&[self.get(key)], For::Upkeep).await.pop();
        live(answer.unwrap_or_else(|| Err(unread()))?, key, now)
    }

    /// As it was read here, if nobody has said that it has changed.
    async fn named(
        &self,
        key: SessionKey,
        now: Wall,
        limit: Duration,
    ) -> Result<Option<Session>, StoreFault> {
        let get = self.get(key);
        let followed = self.servers.load().followed(&get);
        if let Some(known) = followed.and_then(|(_, by)| self.fresh(&get, &by)) {
            self.near.metrics.hit();
            return live(known, key, now);
        }
        let (mut answers, is_sure) = self.see_surely(vec![get], limit).await;
        match live(answers.pop().unwrap_or_else(|| Err(unread()))?, key, now)? {
            None if !is_sure => Err(StoreFault::NotOpen),
            found => Ok(found),
        }
    }

    /// The session that an id names, as it was when it was last read here: while the servers do not answer.
    pub fn remembered(&self, key: SessionKey, now: Wall) -> Option<Session> {
        let kept = self.near.lately(self.get(key).kept_as()?)?;
        live(kept, key, now).ok().flatten()
    }

    /// Says what happened to a session.
    async fn mark(&self, session: SessionId, now: Wall, what: &[&str]) -> Result<i64, StoreFault> {
        let key = self.keys.session(SessionKey::Session(session));
        let mut arguments = vec![head(session), digits(now).into_bytes()];
        arguments.extend(what.iter().map(|it| it.as_bytes().to_vec()));
        self.run(Script::Mark, vec![key], arguments).await
    }

    /// What is to be done for a session to be found as it is. `keep`: what is known of it is as good.
    fn putting(
        &self,
        snapshot: &RoutingSnapshot,
        session: &Session,
        now: Wall,
        keep: bool,
    ) -> Vec<Asked> {
        let after = outlives(snapshot, session);
        let lasts_ms = session.expires_at.0.saturating_sub(now.0).max(1) + ms(after);
        let Written { ends, used, rest } = kept::write(session);
        let how = if keep { "keep" } else { "set" };
        let arguments = vec![
            head(session.session),
            ends.into_bytes(),
            used.into_bytes(),
            rest,
            digits(now).into_bytes(),
            ms(after).to_string().into_bytes(),
            how.as_bytes().to_vec(),
        ];
        let key = self.keys.session(SessionKey::Session(session.session));
        let mut asked = vec![Asked::script(Script::Put, vec![key], arguments)];
        let id = session.session.as_bytes();
        if let Some(caller) = session.caller {
            let key = self.keys.caller(&session.campaign, caller);
            let add = redis::cmd("ZADD").arg(&key).arg(session.created_at.0).arg(id).take();
            let trim =
                redis::cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(-1 - PER_CALLER_MAX).take();
            asked.extend([add, trim].map(|command| Asked::plain(&key, command)));
            asked.extend(lasting(&key, lasts_ms));
        }
        if let Some(visitor) = session.visitor_key() {
            let key = self.keys.visitor(&visitor);
            let [began, ends, now] =
                [session.created_at, session.expires_at, now].map(|at| digits(at).into_bytes());
            let arguments = vec![began, ends, id.to_vec(), now, lasts_ms.to_string().into_bytes()];
            asked.push(Asked::script(Script::Name, vec![key], arguments));
        }
        if let Some(overflow) = overflow_of(snapshot, session) {
            let key = self.keys.sharing(overflow);
            if session.number == Some(overflow) {
                let add = redis::cmd("ZADD").arg(&key).arg(session.expires_at.0).arg(id).take();
                let trim = redis::cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(now.0).take();
                asked.extend([add, trim].map(|command| Asked::plain(&key, command)));
                asked.extend(lasting(&key, lasts_ms));
            } else {
                let remove = redis::cmd("ZREM").arg(&key).arg(id).take();
                asked.push(Asked::plain(&key, remove));
            }
        }
        asked
    }

    /// Tells of sessions that are known here, to servers that may have forgotten them or know better.
    ///
    /// # Errors
    /// Not all of them could be told.
    pub async fn restore(
        &self,
        snapshot: &RoutingSnapshot,
        sessions: &[Session],
        now: Wall,
    ) -> Result<(), StoreFault> {
        let putting = sessions.iter().flat_map(|it| self.putting(snapshot, it, now, true));
        let asked: Vec<_> = putting.collect();
        all_done(self.ask(&asked, For::Upkeep).await)
    }
}

impl SessionStore for RedisSessions {
    async fn lend(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        self.lend_number(pool, session, ttl, now, false).await
    }

    async fn shorten(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        self.lend_number(pool, session, ttl, now, true).await
    }

    async fn pin(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> Result<(), StoreFault> {
        self.pin_number(pool, number, call, now).await
    }

    async fn unpin(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        let lease = self.unpin_number(pool, number, call, now).await?;
        if let Some(lease) = &lease {
            let ends = digits(lease.expires_at);
            self.mark(lease.session, now, &["prolong", &ends]).await?;
        }
        Ok(lease)
    }

    async fn put(
        &self,
        snapshot: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> Result<(), StoreFault> {
        let asked = self.putting(snapshot, session, now, false);
        all_done(self.ask(&asked, For::Upkeep).await)
    }

    async fn consume(&self, session: SessionId, now: Wall) -> Result<Consumed, StoreFault> {
        match self.mark(session, now, &["use"]).await? {
            0 => Ok(Consumed::First),
            1 => Ok(Consumed::Again),
            _ => {
                self.never_was(SessionKey::Session(session)).await?;
                Ok(Consumed::Unknown)
            }
        }
    }

    async fn abandon(
        &self,
        snapshot: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> Result<(), StoreFault> {
        if let Some(pool) = session.pool.as_ref().and_then(|pool| snapshot.pool(pool)) {
            self.take_back(pool, session.session, now).await?;
        }
        let id = session.session.as_bytes();
        let mut asked = vec![];
        if let Some(caller) = session.caller {
            let key = self.keys.caller(&session.campaign, caller);
            asked.push(Asked::plain(&key, redis::cmd("ZREM").arg(&key).arg(id).take()));
        }
        if let Some(overflow) = overflow_of(snapshot, session) {
            let key = self.keys.sharing(overflow);
            asked.push(Asked::plain(&key, redis::cmd("ZREM").arg(&key).arg(id).take()));
        }
        if let Some(visitor) = session.visitor_key() {
            let key = self.keys.visitor(&visitor);
            asked.push(Asked::script(Script::Unname, vec![key], vec![id.to_vec()]));
        }
        all_done(self.ask(&asked, For::Upkeep).await)?;
        self.mark(session.session, now, &["drop"]).await.map(drop)
    }

    async fn lookup(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Result<Candidates, StoreFault> {
        let limit = self.settings.call_timeout;
        let read = tokio::time::timeout(limit, self.candidates(snapshot, request)).await;
        read.unwrap_or(Err(StoreFault::Timeout))
    }

    async fn put_calls(
        &self,
        snapshot: &RoutingSnapshot,
        calls: &[(Caller, PastCall)],
    ) -> Result<(), StoreFault> {
        self.tell_calls(snapshot, calls).await
    }

    async fn calls(&self, caller: &Caller) -> Result<Vec<PastCall>, StoreFault> {
        let limit = self.settings.call_timeout;
        let read = tokio::time::timeout(limit, self.calls_of(caller)).await;
        read.unwrap_or(Err(StoreFault::Timeout))
    }

    async fn find(&self, key: SessionKey, now: Wall) -> Result<Option<Session>, StoreFault> {
        self.named(key, now, self.settings.timeout).await
    }

    async fn visitor(
        &self,
        visitor: &VisitorKey,
        now: Wall,
    ) -> Result<Option<Session>, StoreFault> {
        let key = self.keys.visitor(visitor);
        let get = redis::cmd("GET").arg(&key).take();
        let answer = self.ask(&[Asked::plain(&key, get)], For::Upkeep).await.pop();
        let named: Option<Vec<u8>> = read(answer.unwrap_or_else(|| Err(unread()))?)?;
        // Behind the instants when it began and when it ends.
        let id = named.as_ref().and_then(|named| named.last_chunk().copied());
        let Some(id) = id.map(SessionId::from_bytes) else { return Ok(None) };
        let found = self.told_of(SessionKey::Session(id), now).await?;
        Ok(found.filter(|it| it.visitor_key().as_ref() == Some(visitor)))
    }
}

/// The session that was asked for, if it is live and not another that has the same key.
fn live(kept: Value, key: SessionKey, now: Wall) -> Result<Option<Session>, StoreFault> {
    let kept: Option<Vec<u8>> = read(kept)?;
    let session = kept.as_deref().and_then(kept::read);
    let is_it = |it: &Session| match key {
        SessionKey::Ping(ping) => it.ping == ping,
        SessionKey::Session(session) => it.session == session,
        SessionKey::Alias(_) => true,
    };
    Ok(session.filter(|it| is_it(it) && now < it.expires_at))
}

/// What all share who find no number left, of a session that asked for one.
fn overflow_of(snapshot: &RoutingSnapshot, session: &Session) -> Option<PhoneNumber> {
    session.pool.as_ref().and_then(|pool| snapshot.pool(pool))?.overflow
}

/// A key lasts at least so long.
fn lasting(key: &str, lasts_ms: i64) -> [Asked; 2] {
    ["NX", "GT"]
        .map(|how| Asked::plain(key, redis::cmd("PEXPIRE").arg(key).arg(lasts_ms).arg(how).take()))
}

/// # Errors
/// Not all was done: by a server that is there, or else by one that is away.
fn all_done(answers: Vec<Result<Value, StoreFault>>) -> Result<(), StoreFault> {
    let mut faults: Vec<StoreFault> = answers.into_iter().filter_map(Result::err).collect();
    faults.sort_by_key(StoreFault::is_away);
    faults.into_iter().next().map_or(Ok(()), Err)
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreFault> {
    from_redis_value(value).map_err(|error| fault(&error.into()))
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
