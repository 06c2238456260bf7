//! The sessions of this server in a store that others share: when the store is asked, what it has yet to
//! be told, and what is done without it (spec/data §3.5).
//!
//! Owns: numbers that are set apart for this server ([`apart`]), calls on numbers, what was read lately. Does not
//! own: the sessions that were opened here, which are at the desk and in the journal; they are told to a
//! store that has forgotten them.
//!
//! Invariants: no call and no ping is refused because the store does not answer; a number is lent by the
//! store, or out of those that nobody else is lent; no session and no answer is told that is not on disk here
//! ([`unseen`]).

mod again;
mod answers;
mod apart;
mod tending;
mod unseen;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cdr::journal::file::Appender;
use crate::id::{CallId, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::history::{Caller, PastCall};
use crate::routing::ping::{
    Consumed, NumberState, PingRefusals, Session, Shows, SignOfLife, Touched, VisitUpdate,
    Visiting, ends_when_closed,
};
use crate::routing::pool::{AskedHour, Lease, PoolReading};
use crate::routing::request::SessionReading;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::routing::{RouteRequest, Tags};
use crate::server::clock;
use crate::server::redis::{LinkTls, StoreFault};
use crate::time::{Mono, Wall};

use super::metrics::{Local, StoreMetrics};
use super::redis::{Counted, RedisSessions};
use super::store::{Candidates, SessionStore};

use answers::Word;
pub(in crate::server) use answers::next_claim;
use apart::Apart;
pub use tending::OPEN_AFTER_MIN;
use unseen::Awaited;

/// Sessions that the store is to be told of one by one; of more, all are told.
const UNTOLD_MAX: usize = 100_000;
/// Uses that the store is to be told of, at most: of more, it does not hear.
const USED_MAX: usize = 100_000;
/// Sessions that never were, and that the store knows, at most.
const GONE_MAX: usize = 100_000;
/// Calls that the store is to be told of one by one; of more, all are told.
const CALLS_MAX: usize = 100_000;
/// Says of a call that it was matched without the store.
const DEGRADED: &str = "match.degraded";

/// What the desk of this server tells a store that has forgotten it.
pub trait OwnSessions: Send + Sync {
    fn in_force(&self) -> Arc<RoutingSnapshot>;

    /// A live session that was opened here.
    fn opened(&self, session: SessionId) -> Option<Session>;

    /// Live sessions behind this one, or from the first, at most `most`: there may be half a million, and
    /// calls wait meanwhile.
    fn opened_after(&self, session: Option<SessionId>, most: usize) -> Vec<Session>;

    /// Who of the sessions here has these numbers, and since when; of those that rest, who had them last.
    fn lent(&self, numbers: &[PhoneNumber]) -> Vec<(Lease, Wall)>;

    /// The lease of a number that a session here has or had, and since when.
    fn had(&self, number: PhoneNumber, session: SessionId) -> Option<(Lease, Wall)>;

    /// The number of a pool that a session here has, and since when.
    fn lent_to(&self, session: SessionId) -> Option<(Lease, Wall)>;

    /// What a pool was asked for here in the hours of the last 24.
    fn asked(&self, pool: &PoolId, now: Wall) -> Vec<AskedHour>;

    /// Another session has the number.
    fn lost(&self, lease: Lease);

    /// A session was changed to this elsewhere. If it was opened here, more may have become of it meanwhile:
    /// says how it is now.
    fn follow(&self, session: Session) -> Session;

    /// A session as the store has it. If it was opened here, more may have become of it, here or elsewhere: says
    /// how it is now.
    fn agree(&self, session: Session) -> Session;

    /// Earlier calls that came to this server, of callers behind this one or from the first, and the last of
    /// these: no more callers than have so many calls; `None`: there are no more.
    fn calls_after(&self, caller: Option<&Caller>, most: usize) -> Option<CallsOfSome>;
}

/// Earlier calls of some callers, and the last of these.
pub type CallsOfSome = (Vec<(Caller, PastCall)>, Caller);

/// Sessions in a shared store.
pub struct SharedSessions {
    store: RedisSessions,
    lease: Duration,
    journal: OnceLock<Appender>,
    inner: Mutex<Inner>,
    metrics: StoreMetrics,
}

struct Inner {
    state: State,
    /// When it came to be open last, or may have forgotten what it was told.
    told_since: Mono,
    /// Of the configuration whose pools were told.
    revision: Option<Arc<RoutingSnapshot>>,
    /// All pools lend from then on.
    opens_at: Mono,
    apart: BTreeMap<PoolId, Apart>,
    /// Calls on numbers.
    pins: BTreeMap<(PhoneNumber, CallId), PoolId>,
    /// Calls that have left their numbers, which the store has not heard.
    unpinned: VecDeque<(PhoneNumber, CallId, PoolId)>,
    /// Sessions of this server of which the store does not know all, and which change that was: of one that
    /// changes while it is told more is to be told.
    untold: BTreeMap<SessionId, u64>,
    /// Changes so far.
    changes: u64,
    /// Those behind this one are told next; absent: from the first.
    untold_behind: Option<SessionId>,
    /// Of which it may know nothing at all.
    all_untold: Option<Retelling>,
    /// How often that came to be so.
    retellings: u64,
    /// Some were told while a server was away that should have heard of them.
    are_missed: bool,
    /// Sessions of this server that others do not see yet.
    unseen: BTreeMap<SessionId, Awaited>,
    /// Sessions that never were.
    gone: VecDeque<Session>,
    /// Sessions that may have been lent a number which they do not have.
    unasked: BTreeMap<PoolId, BTreeSet<SessionId>>,
    /// Sessions that were opened elsewhere and used here, when, and who waits to hear if that was the first
    /// time; of which the store has not heard.
    used: VecDeque<(SessionId, Wall, oneshot::Sender<Consumed>)>,
    /// Of requests that may be sent again; what the store has not heard.
    words: VecDeque<Word>,
    counted: BTreeMap<PoolId, Counted>,
    /// What pools were asked for at other servers, as these last said it, and how few numbers were free.
    asked: BTreeMap<PoolId, Vec<AskedHour>>,
    /// Calls of this server of which the store does not know all.
    calls: BTreeMap<CallId, (Caller, PastCall)>,
    /// It may know nothing of earlier ones: of callers behind this one it has yet to be told.
    retold: Option<Option<Caller>>,
}

/// Sessions that the store is being told of. Unless it was, they are told later.
struct Showing<'a> {
    shared: &'a SharedSessions,
    sessions: &'a [Session],
    are_shown: bool,
}

impl Showing<'_> {
    fn are_shown(mut self) {
        self.are_shown = true;
    }
}

impl Drop for Showing<'_> {
    fn drop(&mut self) {
        if !self.are_shown {
            self.sessions.iter().for_each(|it| self.shared.untold(it.session));
        }
    }
}

/// All sessions of this server are being told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Retelling {
    nth: u64,
    /// Of those behind this one the store has yet to be told; absent: of all.
    behind: Option<SessionId>,
}

impl Inner {
    /// The store may know none of the sessions here.
    fn is_forgotten(&mut self) {
        self.told_since = clock::mono();
        self.retellings += 1;
        self.are_missed = false;
        self.all_untold = Some(Retelling { nth: self.retellings, behind: None });
    }

    /// The session has changed.
    fn untold(&mut self, session: SessionId) {
        if self.untold.len() >= UNTOLD_MAX {
            self.untold.clear();
            self.is_forgotten();
        }
        self.changes += 1;
        self.untold.insert(session, self.changes);
    }

    /// The store knows this change of the session; more may have become of it since.
    fn told(&mut self, session: SessionId, change: u64) {
        if self.untold.get(&session) == Some(&change) {
            self.untold.remove(&session);
        }
    }

    /// The session may have been lent a number of the pool that it does not have.
    fn unasked(&mut self, pool: &PoolId, session: SessionId) {
        if self.unasked.values().map(BTreeSet::len).sum::<usize>() < GONE_MAX {
            self.unasked.entry(pool.clone()).or_default().insert(session);
        }
    }

    fn is_unasked(&self, pool: &PoolId, session: SessionId) -> bool {
        self.unasked.get(pool).is_some_and(|sessions| sessions.contains(&session))
    }
}

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All of its servers answer.
    Open,
    /// They are there, and some are told what they do not know.
    Recovering,
    /// Some do not answer.
    Away,
}

impl State {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovering => "recovering",
            Self::Away => "away",
        }
    }
}

/// The sessions a call may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub readings: Vec<SessionReading>,
    /// The store has said so: there are no others but those it was not told of. Else it did not answer, or may
    /// have lost some, and these are what was read lately as well.
    pub is_all: bool,
    /// The caller's earlier calls, as all servers know them; absent: the store did not say.
    pub calls: Option<Vec<PastCall>>,
}

impl Looked {
    /// What a call carries that is matched without the store.
    pub fn mark(&self, tags: &mut Tags) {
        if !self.is_all {
            tags.insert(DEGRADED.into(), "true".into());
        }
    }

    /// With what the store has said, though it may have lost some.
    fn after(mut self, mut told: Vec<SessionReading>) -> Self {
        self.readings.retain(|it| told.iter().all(|known| known.session != it.session));
        told.append(&mut self.readings);
        Self { readings: told, ..self }
    }

    /// With the session that the call's address was found to name. `is_sure`: the call goes by what it has
    /// dialled.
    pub(in crate::server) fn besides(mut self, found: Asked<Session>, is_sure: bool) -> Self {
        if let Asked::Told(session) = found
            && self.readings.iter().all(|it| it.session != session.session)
            && !self.is_all
        {
            self.readings.push(session.reading(session.number, None, None));
        }
        self.is_all &= is_sure;
        self
    }
}

/// What came of a question about one session.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Asked<T> {
    Told(T),
    /// The store knows no such session.
    Unknown,
    /// It does not answer, or does not know it and may have lost it.
    Away,
}

impl SharedSessions {
    /// Nothing is connected yet. `lease`: how long others wait for this server once it is silent.
    pub fn new(store: RedisSessions, lease: Duration) -> Self {
        Self {
            store,
            lease,
            journal: OnceLock::new(),
            inner: Mutex::new(Inner {
                state: State::Away,
                told_since: Mono(0),
                revision: None,
                opens_at: Mono(0),
                apart: BTreeMap::new(),
                pins: BTreeMap::new(),
                unpinned: VecDeque::new(),
                untold: BTreeMap::new(),
                changes: 0,
                untold_behind: None,
                all_untold: Some(Retelling::default()),
                retellings: 0,
                are_missed: false,
                unseen: BTreeMap::new(),
                gone: VecDeque::new(),
                unasked: BTreeMap::new(),
                used: VecDeque::new(),
                words: VecDeque::new(),
                counted: BTreeMap::new(),
                asked: BTreeMap::new(),
                calls: BTreeMap::new(),
                retold: None,
            }),
            metrics: StoreMetrics::register(),
        }
    }

    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// How the store is known from the next connection on, and what it is shown.
    pub fn secure(&self, tls: Option<LinkTls>) {
        self.store.secure(tls);
    }

    /// How full a pool is at all servers, as it was last seen.
    pub(in crate::server) fn reading(&self, pool: &PoolId) -> Option<PoolReading> {
        let inner = self.inner.lock();
        let Counted { free, lent, apart, resting } = *inner.counted.get(pool)?;
        Some(PoolReading { free: free + apart, leased: lent, quarantined: resting })
    }

    /// What a pool was asked for at all servers. `own` is what it was here, of which the fewest free are a
    /// guess: others lend the same numbers.
    pub(in crate::server) fn asked(&self, pool: &PoolId, own: Vec<AskedHour>) -> Vec<AskedHour> {
        let inner = self.inner.lock();
        let Some(elsewhere) = inner.asked.get(pool) else { return own };
        let own = own.into_iter().map(|hour| AskedHour { min_free: None, ..hour });
        own.chain(elsewhere.iter().copied()).collect()
    }

    /// To whom a number is and was lent, by any server. `None`: the store does not answer.
    pub(in crate::server) async fn number(
        &self,
        snapshot: &RoutingSnapshot,
        number: PhoneNumber,
        now: Wall,
    ) -> Option<NumberState> {
        let state = self.store.number_state(snapshot, number, now).await;
        state.inspect_err(|fault| self.metrics.fault(fault)).ok()
    }

    /// How long a call waits for its sessions.
    pub(in crate::server) fn answers_within(&self) -> Duration {
        self.store.call_timeout()
    }

    /// Whether the store may not know a session that was opened here.
    pub(in crate::server) fn is_untold(&self, session: SessionId) -> bool {
        let inner = self.inner.lock();
        inner.all_untold.is_some() || inner.untold.contains_key(&session)
    }

    /// Every session a call may belong to.
    pub(in crate::server) async fn lookup(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Looked {
        let started = clock::mono();
        // At the same time: a call waits for the longer of the two.
        let (found, calls) =
            tokio::join!(self.store.lookup(snapshot, request), self.calls_of(snapshot, request));
        match found {
            Ok(Candidates { readings, are_all: true }) => {
                self.metrics.looked_up(clock::mono().since(started));
                Looked { readings, is_all: true, calls }
            }
            // It may have lost some.
            Ok(Candidates { readings, are_all: false }) => {
                self.metrics.fault(&StoreFault::NotOpen);
                let before = self.store.candidates_before(snapshot, request);
                Looked { readings: before, is_all: false, calls }.after(readings)
            }
            Err(fault) => {
                self.metrics.fault(&fault);
                Looked { calls, ..self.without(snapshot, request) }
            }
        }
    }

    /// What all servers know of the caller's earlier calls.
    async fn calls_of(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Option<Vec<PastCall>> {
        let caller = snapshot.caller_of(request)?;
        let calls = self.store.calls(&caller).await;
        calls.inspect_err(|fault| self.metrics.fault(fault)).ok()
    }

    /// What is known now of a call that came to this server.
    pub(in crate::server) fn called(&self, caller: Caller, call: PastCall) {
        let mut inner = self.inner.lock();
        if inner.calls.len() >= CALLS_MAX && !inner.calls.contains_key(&call.call) {
            inner.calls.clear();
            inner.retold = Some(None);
        }
        inner.calls.insert(call.call, (caller, call));
    }

    /// What is known of a call's sessions when the store does not answer in time.
    pub(in crate::server) fn without(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Looked {
        self.metrics.local(Local::Lookup);
        let readings = self.store.candidates_before(snapshot, request);
        Looked { readings, is_all: false, calls: None }
    }

    /// The session that an id names, as it was read lately: what is known when the store does not answer.
    pub(in crate::server) fn remembered(&self, key: SessionKey, now: Wall) -> Asked<Session> {
        self.store.remembered(key, now).map_or(Asked::Away, Asked::Told)
    }

    /// Sessions were opened here. Returns when others see them, or the store does not answer.
    pub(in crate::server) async fn opened(
        &self,
        snapshot: &RoutingSnapshot,
        sessions: &[Session],
        now: Wall,
    ) {
        self.lent_here(sessions);
        // Whoever waits for it may go away.
        let showing = Showing { shared: self, sessions, are_shown: false };
        match self.store.restore(snapshot, sessions, now).await {
            Ok(()) => showing.are_shown(),
            Err(fault) => self.metrics.fault(&fault),
        }
    }

    /// A session could not be written down, and nobody was told of it.
    pub(in crate::server) fn gone(&self, session: Session) {
        let mut inner = self.inner.lock();
        inner.untold.remove(&session.session);
        if let Some((pool, number)) = session.pool.as_ref().zip(session.number)
            && let Some(apart) = inner.apart.get_mut(pool)
        {
            apart.heard(number, session.session);
        }
        if inner.gone.len() < GONE_MAX {
            inner.gone.push_back(session);
        }
    }

    /// A session of this server has changed, and the store has not heard.
    pub(in crate::server) fn untold(&self, session: SessionId) {
        self.inner.lock().untold(session);
    }

    /// Whether the store knows all that it was told: all of it answers, and it is not new.
    pub(in crate::server) fn is_whole(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Open && inner.opens_at <= clock::mono()
    }

    /// The live session that the address of a call names.
    pub(in crate::server) async fn find_for_call(
        &self,
        key: SessionKey,
        now: Wall,
    ) -> Asked<Session> {
        match self.told(self.store.find_for_call(key, now).await) {
            Asked::Away => self.remembered(key, now),
            told @ (Asked::Told(_) | Asked::Unknown) => told,
        }
    }

    /// The live session that an id names.
    pub(in crate::server) async fn find(&self, key: SessionKey, now: Wall) -> Asked<Session> {
        self.told(self.store.find(key, now).await)
    }

    fn told(&self, found: Result<Option<Session>, StoreFault>) -> Asked<Session> {
        match found {
            Ok(Some(session)) => Asked::Told(session),
            Ok(None) => Asked::Unknown,
            Err(fault) => {
                self.metrics.fault(&fault);
                Asked::Away
            }
        }
    }

    /// A sign of life of a session, whichever server opened it.
    ///
    /// # Errors
    /// What is new cannot be taken; then the session is as before.
    pub(in crate::server) async fn touch(
        &self,
        own: &dyn OwnSessions,
        id: SessionId,
        update: &VisitUpdate,
        now: Wall,
    ) -> Result<Asked<Touched>, PingRefusals> {
        let snapshot = own.in_force();
        let session = match self.told(self.store.find_now(SessionKey::Session(id), now).await) {
            Asked::Told(session) => session,
            Asked::Unknown => return Ok(Asked::Unknown),
            Asked::Away => return Ok(Asked::Away),
        };
        let sign = SignOfLife::of(&snapshot, &session, update, now)?;
        let (_, touched) = self.live_on(own, &snapshot, session, sign, now).await;
        Ok(Asked::Told(touched))
    }

    /// A visitor is there again who has a session, whichever server opened it.
    pub(in crate::server) async fn bring_back(
        &self,
        own: &dyn OwnSessions,
        visiting: &Visiting,
        now: Wall,
    ) -> Asked<(Session, Touched)> {
        let Some(key) = visiting.key() else { return Asked::Unknown };
        let snapshot = own.in_force();
        match self.told(self.store.visitor(&key, now).await) {
            Asked::Told(session) => {
                let sign = visiting.sign_of_life(&snapshot, now);
                Asked::Told(self.live_on(own, &snapshot, session, sign, now).await)
            }
            Asked::Unknown => Asked::Unknown,
            Asked::Away => Asked::Away,
        }
    }

    async fn live_on(
        &self,
        own: &dyn OwnSessions,
        snapshot: &RoutingSnapshot,
        mut session: Session,
        sign: SignOfLife,
        now: Wall,
    ) -> (Session, Touched) {
        let ttl = span(now, sign.until.max(session.expires_at));
        let from = session.pool.as_ref().and_then(|pool| snapshot.pool(pool));
        let kept = match pool_of(snapshot, &session) {
            // Its number has gone there with it.
            Some(pool) if Some(&pool.id) != session.pool.as_ref() => {
                self.store.shorten(pool, session.session, ttl, now).await
            }
            Some(_) | None => Ok(None),
        };
        let shows = match (kept.inspect_err(|fault| self.metrics.fault(fault)), from) {
            (Ok(Some(lease)), _) => Shows::Number(lease.number),
            (Ok(None), Some(pool)) => self.shown(pool, session.session, ttl, now).await,
            (Ok(None), None) | (Err(_), _) => Shows::AsBefore,
        };
        let touched = sign.apply(&mut session, shows);
        let session = self.write(own, snapshot, session, now).await;
        (session, touched)
    }

    /// What a session of the pool shows that lives on for so long. One that has a number keeps it where nobody
    /// can be asked.
    async fn shown(&self, pool: &Pool, session: SessionId, ttl: Duration, now: Wall) -> Shows {
        let lent = self.store.lend(pool, session, ttl, now).await;
        let lent = match lent.inspect_err(|fault| self.metrics.fault(fault)) {
            Ok(None) => self.lend_apart(pool, session, ttl, now).await.inspect_err(|lease| {
                // It may be a session of another server, and nobody here would say it later. If the store
                // has heard, the session finds it there next time.
                self.heard(&pool.id, lease.number, session);
            }),
            Ok(lent) => Ok(lent),
            Err(_) => return Shows::AsBefore,
        };
        match lent {
            Ok(Some(lease)) => Shows::Number(lease.number),
            Ok(None) => Shows::without_lease(pool.overflow),
            Err(_) => Shows::AsBefore,
        }
    }

    /// The page of a session was closed, whichever server opened it: says until when it lives now.
    pub(in crate::server) async fn release(
        &self,
        own: &dyn OwnSessions,
        id: SessionId,
        now: Wall,
    ) -> Asked<Wall> {
        let snapshot = own.in_force();
        let mut session = match self.told(self.store.find_now(SessionKey::Session(id), now).await) {
            Asked::Told(session) => session,
            Asked::Unknown => return Asked::Unknown,
            Asked::Away => return Asked::Away,
        };
        let mut until = ends_when_closed(&snapshot, &session, now);
        if let Some(pool) = pool_of(&snapshot, &session) {
            match self.store.shorten(pool, id, span(now, until), now).await {
                Ok(lease) => until = lease.map_or(until, |lease| until.max(lease.expires_at)),
                Err(fault) => self.metrics.fault(&fault),
            }
        }
        session.expires_at = until;
        self.write(own, &snapshot, session, now).await;
        Asked::Told(until)
    }

    async fn write(
        &self,
        own: &dyn OwnSessions,
        snapshot: &RoutingSnapshot,
        session: Session,
        now: Wall,
    ) -> Session {
        let session = own.follow(session);
        if let Err(fault) = self.store.put(snapshot, &session, now).await {
            self.metrics.fault(&fault);
            self.untold(session.session);
        }
        session
    }

    /// A call was attributed to the session. `None`: the store does not answer.
    pub(in crate::server) async fn consume(
        &self,
        session: SessionId,
        now: Wall,
    ) -> Option<Consumed> {
        let consumed = self.store.consume(session, now).await;
        consumed.inspect_err(|fault| self.metrics.fault(fault)).ok()
    }

    /// The same of a session that was opened elsewhere, once the store answers: whoever waits hears what it
    /// has said. `None`: the process ends, or more is told than can be kept.
    pub(in crate::server) async fn consume_later(
        &self,
        session: SessionId,
        at: Wall,
    ) -> Option<Consumed> {
        let (tell, told) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if inner.used.len() >= USED_MAX {
                return None;
            }
            inner.used.push_back((session, at, tell));
        }
        told.await.ok()
    }

    /// A call is of this session: what was promised for its first one is not for another, whether or not the
    /// store is there to say so.
    pub(in crate::server) fn spent(&self, session: SessionId, at: Wall) {
        self.store.used(session, at);
    }

    /// A call is on a number of the pool, until [`SharedSessions::unpin`].
    pub(in crate::server) fn pinned(&self, pool: &PoolId, number: PhoneNumber, call: CallId) {
        self.inner.lock().pins.insert((number, call), pool.clone());
    }

    /// Tells of a call on a number.
    pub(in crate::server) async fn pin(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) {
        if let Err(fault) = self.store.pin(pool, number, call, now).await {
            // It is said again with the next renewal.
            self.metrics.fault(&fault);
        }
    }

    /// A call has left its number.
    pub(in crate::server) fn unpin(&self, number: PhoneNumber, call: CallId) {
        let mut inner = self.inner.lock();
        // One that is not told of ends when nobody renews it.
        if let Some(pool) = inner.pins.remove(&(number, call))
            && inner.unpinned.len() < GONE_MAX
        {
            inner.unpinned.push_back((number, call, pool));
        }
    }
}

/// The pool that has the session's number by now: it may have come there from the one that has lent it.
fn pool_of<'a>(snapshot: &'a RoutingSnapshot, session: &Session) -> Option<&'a Pool> {
    let lent_from = session.pool.as_ref()?;
    let number = session.number.and_then(|number| snapshot.number(number));
    number.and_then(|owner| owner.pool).or_else(|| snapshot.pool(lent_from))
}

fn span(from: Wall, until: Wall) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(from.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
