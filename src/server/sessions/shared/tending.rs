//! What is done about the store while calls and pings go on: finding its servers, telling them what they
//! do not know, and setting numbers apart.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::id::{CallId, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::history::{Caller, PastCall};
use crate::routing::pool::Lease;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::time::{Mono, Wall};

use super::super::redis::Registered;
use super::super::store::SessionStore;
use super::{OwnSessions, Retelling, SharedSessions, State, pool_of};

/// How often is looked what is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Servers that are away are tried so often, give or take a quarter.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A pool that is new to its server is closed for so long at least: by then every node has tried it twice,
/// and said what it has lent.
pub const OPEN_AFTER_MIN: Duration = Duration::from_secs(2);
/// How often the nodes are asked who keeps what.
const FIND_EVERY: Duration = Duration::from_secs(15);
/// How soon more numbers are set apart where there were too few: a pool that was closed opens.
const SHORT_EVERY: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// Told at once while calls go on.
const TOLD_AT_ONCE: usize = 200;
/// Of what waits to be told, so much that cannot be told is passed by at once: the rest may be others'.
const PASSED_BY_MAX: usize = 16;
/// How often as many calls of callers are told before something else is seen to.
const CALL_ROUNDS_MAX: usize = 20;
/// How long the start of a server waits for the store.
const START_MAX: Duration = Duration::from_secs(5);

/// When what is due next.
pub(super) struct Due {
    probe: Mono,
    find: Mono,
    watch: Mono,
    renew: Mono,
    short: Mono,
    count: Mono,
    follow: Mono,
}

impl From<Mono> for Due {
    fn from(now: Mono) -> Self {
        let find = now + FIND_EVERY;
        Self { probe: now, find, watch: now, renew: now, short: now, count: now, follow: now }
    }
}

impl SharedSessions {
    /// Connects and tells what was known before; does not wait for ever: the store may be away.
    pub async fn begin(&self, own: &dyn OwnSessions) {
        let give_up = clock::mono() + START_MAX;
        let mut look = tokio::time::interval(LOOK_EVERY);
        while clock::mono() < give_up {
            look.tick().await;
            if self.recover(own).await.is_ok() && self.state() == State::Open {
                let opens_at = self.inner.lock().opens_at;
                while clock::mono() < opens_at {
                    look.tick().await;
                }
                let _set_apart = self.renew(own).await;
                return;
            }
        }
        tracing::error!(
            "the store of sessions is not there: calls find what was opened here alone"
        );
    }

    /// Sees to everything until the process ends.
    pub async fn run(self: Arc<Self>, own: Arc<dyn OwnSessions>, mut ended: watch::Receiver<bool>) {
        let mut due = Due::from(clock::mono());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look(&*own, &mut due).await,
                _ = ended.changed() => break,
            }
        }
        self.leave(&*own).await;
    }

    pub(super) async fn look(&self, own: &dyn OwnSessions, due: &mut Due) {
        let now = clock::mono();
        let is_well = self.store.is_well() && self.state() == State::Open;
        if !is_well && due.probe <= now || due.find <= now {
            due.probe = now + jittered(PROBE_EVERY, now);
            due.find = now + FIND_EVERY;
            let _told = self.recover(own).await;
        }
        // What one server does not hear others may, though some are away.
        if !self.store.is_of_use() {
            return;
        }
        if due.follow <= now {
            due.follow = now + PROBE_EVERY;
            // While nobody calls it would not be noticed that one has gone.
            self.store.probe().await;
            self.store.follow().await;
        }
        if due.watch <= now || self.store.is_in_doubt() {
            due.watch = now + self.store.open_after() / 4;
            self.noted(self.remind(own).await);
        }
        self.noted(self.tell_some(own).await);
        if self.state() == State::Open {
            // More was to be told than can be remembered one by one.
            self.noted(self.tell_all(own).await);
        }
        self.noted(self.tell_calls(own).await);
        if due.renew <= now || self.is_short() && due.short <= now {
            due.renew = now + self.lease * 2 / 9;
            due.short = now + SHORT_EVERY;
            self.noted(self.renew(own).await);
        }
        if due.count <= now {
            due.count = now + COUNT_EVERY;
            self.noted(self.count(own).await);
        }
    }

    fn noted(&self, done: Result<(), StoreFault>) {
        if let Err(fault) = done {
            self.metrics.fault(&fault);
            tracing::debug!(%fault, "the store of sessions could not be told");
        }
    }

    /// Finds the servers, and tells those that are new.
    async fn recover(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let new = match self.store.connect().await {
            Ok(new) => new,
            Err(fault) => {
                self.enter(State::Away);
                return Err(fault);
            }
        };
        if !self.store.is_well() {
            self.enter(State::Away);
        }
        if !new.is_empty() {
            let mut inner = self.inner.lock();
            // They may have forgotten some of it.
            inner.is_forgotten();
            inner.revision = None;
            inner.retold = Some(None);
        }
        {
            let mut inner = self.inner.lock();
            if inner.are_missed && self.store.is_well() {
                inner.is_forgotten();
            }
        }
        let reminded = self.remind(own).await;
        self.tell_all(own).await.and(reminded)?;
        if self.store.is_well() {
            self.enter(State::Open);
        }
        Ok(())
    }

    fn enter(&self, state: State) {
        let mut inner = self.inner.lock();
        if inner.state != state {
            match state {
                State::Open => tracing::info!("the store of sessions is open"),
                State::Recovering => {}
                State::Away => tracing::error!(
                    "the store of sessions is away: calls find what this server knows itself"
                ),
            }
            inner.state = state;
            inner.told_since = clock::mono();
        }
        self.metrics.state(state);
    }

    /// Sees which servers have lost what they had, tells those that have forgotten a pool what was lent of it
    /// here, and all of them what pools there are.
    async fn remind(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let snapshot = own.in_force();
        let gated = self.store.keep_gates().await?;
        if !gated.closed_for.is_zero() {
            let mut inner = self.inner.lock();
            inner.opens_at = inner.opens_at.max(clock::mono() + gated.closed_for);
        }
        let is_told = |it: &Arc<RoutingSnapshot>| Arc::ptr_eq(it, &snapshot);
        let all_told = self.inner.lock().revision.as_ref().is_some_and(is_told);
        let pools: Vec<&Pool> = match all_told {
            // Which pool has a number may be forgotten elsewhere.
            true if !gated.has_lost => self.store.forgotten(snapshot.pools()).await?,
            true | false => snapshot.pools().iter().collect(),
        };
        if gated.has_lost || all_told && !pools.is_empty() {
            // It was emptied, and nobody has lost a connection by that.
            let mut inner = self.inner.lock();
            inner.is_forgotten();
            inner.retold = Some(None);
        }
        let (mut told, mut away) = (Ok(()), Ok(()));
        for pool in pools {
            // Others may be at a server that is there.
            match self.remind_of(own, pool).await {
                // Once it is back it is new, and told all.
                Err(fault) if fault.is_away() => away = Err(fault),
                reminded => told = told.and(reminded),
            }
        }
        told?;
        self.inner.lock().revision = Some(snapshot);
        away
    }

    async fn remind_of(&self, own: &dyn OwnSessions, pool: &Pool) -> Result<(), StoreFault> {
        let closed_for = self.store.announce(pool, clock::wall()).await?;
        {
            let mut inner = self.inner.lock();
            inner.opens_at = inner.opens_at.max(clock::mono() + closed_for);
        }
        self.take_back_unasked(pool).await?;
        for numbers in pool.numbers.chunks(TOLD_AT_ONCE) {
            self.tell_leases(own, pool, &own.lent(numbers)).await?;
        }
        self.set_apart(own, pool).await
    }

    /// Says who has numbers of the pool, or had.
    pub(super) async fn tell_leases(
        &self,
        own: &dyn OwnSessions,
        pool: &Pool,
        leases: &[(Lease, Wall)],
    ) -> Result<(), StoreFault> {
        let registered = self.store.register(pool, leases, clock::wall()).await?;
        for ((lease, _), registered) in leases.iter().zip(registered) {
            self.heard(&pool.id, lease.number, lease.session);
            match registered {
                Registered::Done | Registered::Unknown => {}
                Registered::Won => self.metrics.conflict(),
                Registered::Lost => {
                    self.metrics.conflict();
                    own.lost(*lease);
                }
            }
        }
        Ok(())
    }

    /// Tells of all sessions here, if the store may know none of them. Whoever is away hears them when
    /// it is back; what else ends it goes on from there.
    pub(super) async fn tell_all(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let (snapshot, mut away) = (own.in_force(), Ok(()));
        loop {
            let Some(telling) = self.inner.lock().all_untold else { return away };
            let sessions = own.opened_after(telling.behind, TOLD_AT_ONCE);
            let next = sessions.last().map(|it| Retelling { behind: Some(it.session), ..telling });
            let sessions = self.seen(sessions);
            match self.store.restore(&snapshot, &sessions, clock::wall()).await {
                Err(fault) if fault.is_away() => away = Err(fault),
                told => told?,
            }
            let mut inner = self.inner.lock();
            inner.are_missed |= away.is_err();
            // More may have been forgotten meanwhile.
            if inner.all_untold == Some(telling) {
                inner.all_untold = next;
            }
        }
    }

    /// Tells some of what the store has not heard.
    pub(super) async fn tell_some(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let snapshot = own.in_force();
        self.tell_written();
        // What one server does not hear others may.
        let told = [
            self.take_back_all_unasked(&snapshot).await,
            self.tell_gone(&snapshot).await,
            self.tell_unpinned(&snapshot).await,
            self.tell_used().await,
            // Before what was answered of them, and before others may ask for their like.
            self.tell_untold(own, &snapshot).await,
            self.tell_words().await,
        ];
        told.into_iter().collect()
    }

    /// Tells of sessions one by one, each time of those behind the last.
    async fn tell_untold(
        &self,
        own: &dyn OwnSessions,
        snapshot: &RoutingSnapshot,
    ) -> Result<(), StoreFault> {
        let untold: Vec<(SessionId, u64)> = {
            let inner = self.inner.lock();
            let behind = inner.untold_behind.map_or(Bound::Unbounded, Bound::Excluded);
            let some = inner.untold.range((behind, Bound::Unbounded));
            some.map(|(id, nth)| (*id, *nth)).take(TOLD_AT_ONCE).collect()
        };
        let (mut passed_by, are_last) = (PassedBy::default(), untold.len() < TOLD_AT_ONCE);
        for (id, nth) in untold {
            self.inner.lock().untold_behind = Some(id);
            if self.is_unseen(id) {
                continue;
            }
            match self.tell_session(own, snapshot, id).await {
                Ok(()) => self.inner.lock().told(id, nth),
                Err(fault) => passed_by.another(fault)?,
            }
        }
        if are_last {
            self.inner.lock().untold_behind = None;
        }
        passed_by.finish()
    }

    async fn tell_session(
        &self,
        own: &dyn OwnSessions,
        snapshot: &RoutingSnapshot,
        id: SessionId,
    ) -> Result<(), StoreFault> {
        let Some(session) = own.opened(id) else { return Ok(()) };
        // Others may have had signs of its life, of which this server did not hear.
        let session = match self.store.told_of(SessionKey::Session(id), clock::wall()).await? {
            Some(told) => own.agree(told),
            None => session,
        };
        if let Some(pool) = pool_of(snapshot, &session) {
            // Of two numbers that it may have the store would keep the wrong one.
            if self.inner.lock().is_unasked(&pool.id, id) {
                self.take_back_unasked(pool).await?;
            }
            self.tell_leases(own, pool, own.lent_to(id).as_slice()).await?;
        }
        self.store.put(snapshot, &session, clock::wall()).await
    }

    /// Tells of some calls of callers: those of this moment first, then what it may have forgotten.
    async fn tell_calls(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let snapshot = own.in_force();
        for _ in 0..CALL_ROUNDS_MAX {
            let some: Vec<(CallId, (Caller, PastCall))> = {
                let inner = self.inner.lock();
                let calls = inner.calls.iter().take(TOLD_AT_ONCE);
                calls.map(|(id, known)| (*id, known.clone())).collect()
            };
            if some.is_empty() {
                break;
            }
            let calls: Vec<_> = some.iter().map(|(_, known)| known.clone()).collect();
            self.store.put_calls(&snapshot, &calls).await?;
            let mut inner = self.inner.lock();
            for (id, told) in some {
                // More may have become of it meanwhile.
                if inner.calls.get(&id) == Some(&told) {
                    inner.calls.remove(&id);
                }
            }
        }
        let Some(behind) = self.inner.lock().retold.clone() else { return Ok(()) };
        let next = own.calls_after(behind.as_ref(), TOLD_AT_ONCE);
        if let Some((calls, _)) = &next {
            self.store.put_calls(&snapshot, calls).await?;
        }
        let mut inner = self.inner.lock();
        if inner.retold.as_ref() == Some(&behind) {
            inner.retold = next.map(|(_, last)| Some(last));
        }
        Ok(())
    }

    async fn take_back_all_unasked(&self, snapshot: &RoutingSnapshot) -> Result<(), StoreFault> {
        let pools: Vec<PoolId> = {
            let mut inner = self.inner.lock();
            inner.unasked.retain(|pool, _| snapshot.pool(pool).is_some());
            inner.unasked.keys().cloned().collect()
        };
        let mut passed_by = PassedBy::default();
        for pool in pools.iter().filter_map(|pool| snapshot.pool(pool)) {
            if let Err(fault) = self.take_back_unasked(pool).await {
                passed_by.another(fault)?;
            }
        }
        passed_by.finish()
    }

    /// Its numbers are all at one server.
    async fn take_back_unasked(&self, pool: &Pool) -> Result<(), StoreFault> {
        loop {
            let next = {
                let mut inner = self.inner.lock();
                // Said again meanwhile, it is taken back again.
                let next = inner.unasked.get_mut(&pool.id).and_then(BTreeSet::pop_first);
                if next.is_none() {
                    inner.unasked.remove(&pool.id);
                }
                next
            };
            let Some(session) = next else { return Ok(()) };
            if let Err(fault) = self.store.take_back(pool, session, clock::wall()).await {
                self.inner.lock().unasked(&pool.id, session);
                return Err(fault);
            }
        }
    }

    async fn tell_gone(&self, snapshot: &RoutingSnapshot) -> Result<(), StoreFault> {
        let (mut passed_by, all) = (PassedBy::default(), self.inner.lock().gone.len());
        for _ in 0..all {
            let next = self.inner.lock().gone.pop_front();
            let Some(session) = next else { break };
            if let Err(fault) = self.store.abandon(snapshot, &session, clock::wall()).await {
                self.inner.lock().gone.push_back(session);
                passed_by.another(fault)?;
            }
        }
        passed_by.finish()
    }

    async fn tell_unpinned(&self, snapshot: &RoutingSnapshot) -> Result<(), StoreFault> {
        let (mut passed_by, all) = (PassedBy::default(), self.inner.lock().unpinned.len());
        for _ in 0..all {
            let next = self.inner.lock().unpinned.pop_front();
            let Some((number, call, pool)) = next else { break };
            let Some(its) = pool_by_now(snapshot, number, &pool) else { continue };
            if let Err(fault) = self.store.unpin(its, number, call, clock::wall()).await {
                self.inner.lock().unpinned.push_back((number, call, pool));
                passed_by.another(fault)?;
            }
        }
        passed_by.finish()
    }

    async fn tell_used(&self) -> Result<(), StoreFault> {
        let (mut passed_by, all) = (PassedBy::default(), self.inner.lock().used.len());
        for _ in 0..all {
            let next = self.inner.lock().used.pop_front();
            let Some((session, at, tell)) = next else { break };
            match self.store.consume(session, at).await {
                // Nobody is left to hear it when the process ends.
                Ok(consumed) => drop(tell.send(consumed)),
                Err(fault) => {
                    self.inner.lock().used.push_back((session, at, tell));
                    passed_by.another(fault)?;
                }
            }
        }
        passed_by.finish()
    }

    /// Renews what is said of calls on numbers, and numbers that are set apart.
    async fn renew(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let snapshot = own.in_force();
        let pins: Vec<(PhoneNumber, CallId, PoolId)> = {
            let inner = self.inner.lock();
            let pins = inner.pins.iter();
            pins.map(|((number, call), pool)| (*number, *call, pool.clone())).collect()
        };
        let mut renewed = Ok(());
        for some in pins.chunks(TOLD_AT_ONCE) {
            let some = some.iter().filter_map(|(number, call, pool)| {
                Some((pool_by_now(&snapshot, *number, pool)?, *number, *call))
            });
            renewed = renewed.and(self.store.renew_pins(some, clock::wall()).await);
        }
        let mut passed_by = PassedBy::default();
        for pool in snapshot.pools() {
            match self.set_apart(own, pool).await {
                // It was not waited for.
                Err(fault) if fault.is_away() => renewed = renewed.and(Err(fault)),
                Err(fault) => passed_by.another(fault)?,
                Ok(()) => {}
            }
        }
        renewed?;
        passed_by.finish()
    }

    async fn count(&self, own: &dyn OwnSessions) -> Result<(), StoreFault> {
        let snapshot = own.in_force();
        let mut all = Ok(());
        let counted = self.store.count_each(snapshot.pools(), clock::wall()).await;
        {
            let mut inner = self.inner.lock();
            inner.counted.retain(|pool, _| snapshot.pool(pool).is_some());
            inner.asked.retain(|pool, _| snapshot.pool(pool).is_some());
            for (pool, counted) in snapshot.pools().iter().zip(counted) {
                match counted {
                    Ok(counted) => drop(inner.counted.insert(pool.id.clone(), counted)),
                    // What was counted last is known of it.
                    Err(fault) => all = all.and(Err(fault)),
                }
            }
        }
        let wall = clock::wall();
        let pools = snapshot.pools().iter().map(|pool| (pool, own.asked(&pool.id, wall)));
        let asked = self.store.asked_each(&pools.collect::<Vec<_>>(), wall).await;
        let mut inner = self.inner.lock();
        for (pool, asked) in snapshot.pools().iter().zip(asked) {
            match asked {
                Ok(elsewhere) => drop(inner.asked.insert(pool.id.clone(), elsewhere)),
                Err(fault) => all = all.and(Err(fault)),
            }
        }
        all
    }

    /// Tells the last, and gives back what is set apart.
    async fn leave(&self, own: &dyn OwnSessions) {
        let told = self.tell_some(own).await;
        let told = told.and(self.tell_calls(own).await);
        let snapshot = own.in_force();
        let mut left = told;
        for pool in snapshot.pools() {
            if left.is_ok() {
                left = self.store.set_apart(pool, 0, clock::wall()).await.map(drop);
            }
        }
        if let Err(fault) = left {
            tracing::warn!(%fault, "the store of sessions was not told the last: the next start does");
        }
    }
}

/// What could not be told just now.
#[derive(Default)]
struct PassedBy {
    times: usize,
    first: Option<StoreFault>,
}

impl PassedBy {
    /// # Errors
    /// It is enough.
    fn another(&mut self, fault: StoreFault) -> Result<(), StoreFault> {
        self.times += 1;
        if self.times >= PASSED_BY_MAX {
            return Err(fault);
        }
        self.first.get_or_insert(fault);
        Ok(())
    }

    /// # Errors
    /// Not everything was told.
    fn finish(self) -> Result<(), StoreFault> {
        self.first.map_or(Ok(()), Err)
    }
}

/// The pool that has a number by now, which was of this one.
fn pool_by_now<'a>(
    snapshot: &'a RoutingSnapshot,
    number: PhoneNumber,
    pool: &PoolId,
) -> Option<&'a Pool> {
    snapshot.number(number).and_then(|owner| owner.pool).or_else(|| snapshot.pool(pool))
}

/// Three to five quarters of it, so that many servers do not all come at once.
fn jittered(period: Duration, now: Mono) -> Duration {
    let percent = 75 + u32::try_from(now.0 / 1_000 % 50).unwrap_or(0);
    period * percent / 100
}
