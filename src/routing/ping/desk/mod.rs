//! Takes pings and finds their sessions again.

mod past;
mod visits;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use serde::Serialize;
use smol_str::SmolStr;

use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::config::PingFilter;
use crate::routing::pool::{Demand, Hold, Lease, Leases, PastLease, PoolReading};
use crate::routing::quote::Promise;
use crate::routing::request::{FormerLease, RouteRequest, SessionReading, Tags};
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::routing::vertical::Vertical;
use crate::routing::worth::worthless;
use crate::time::Wall;

use past::PastSessions;
pub use visits::{Moved, SignOfLife, Touched, Visit, Visiting, VisitorKey, ends_when_closed};

use super::request::{PingRefusal, PingRefusals, PingRequest, RefusalCode};

/// Sessions that are read of those that share a number.
const SHARING_READ_MAX: usize = 8;
/// How long a session lives that names neither a time nor a pool.
const DEFAULT_TTL: Duration = Duration::from_secs(1_800);

/// Sessions and the numbers lent to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desk {
    limits: DeskLimits,
    sessions: BTreeMap<SessionId, Session>,
    by_ping: BTreeMap<PingId, SessionId>,
    /// Oldest first.
    by_caller: BTreeMap<(CampaignId, PhoneNumber), Vec<SessionId>>,
    by_visitor: BTreeMap<VisitorKey, SessionId>,
    by_alias: BTreeMap<u64, SessionId>,
    /// Sessions that were shown a pool's overflow number.
    by_shared: BTreeMap<PhoneNumber, BTreeSet<SessionId>>,
    expiries: BTreeSet<(Wall, SessionId)>,
    leases: Leases,
    past: PastSessions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskLimits {
    /// Live sessions at most; further pings are refused with [`RefusalCode::Full`].
    pub sessions_max: usize,
    /// Sessions found by one caller's number in one campaign; of more, the newest are found.
    pub per_caller_max: usize,
    /// Callers who are known by a session that is over.
    pub earlier_callers_max: usize,
}

/// Ids for what a ping creates, minted by whoever owns chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewIds {
    pub ping: PingId,
    pub session: SessionId,
}

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub ping: PingId,
    pub session: SessionId,
    pub number: Option<PhoneNumber>,
    pub number_status: NumberStatus,
    pub expires_at: Wall,
    /// What is promised for the session's first call; absent: nothing was asked.
    pub promise: Option<Promise>,
    /// The same request came before, or the same visitor; no new session was made.
    pub repeated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberStatus {
    NotAsked,
    Leased,
    /// The pool has no free number; the one that is shown is shown to others too.
    Shared,
    /// The pool has no free number; the call is then recognised by its caller, if at all.
    Exhausted,
}

/// What a ping opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub session: SessionId,
    pub ping: PingId,
    pub publisher: PublisherId,
    pub campaign: CampaignId,
    pub caller: Option<PhoneNumber>,
    pub pool: Option<PoolId>,
    pub number: Option<PhoneNumber>,
    pub tags: Tags,
    /// What its ping said in fields that are not known here. Nothing goes by it.
    pub extra: Tags,
    pub request_id: Option<SmolStr>,
    pub kind: SessionKind,
    /// By which the visitor is known again.
    pub visitor: Option<SmolStr>,
    pub created_at: Wall,
    pub expires_at: Wall,
    /// When a call was first attributed to it.
    pub consumed_at: Option<Wall>,
    /// What its publisher was promised for a call, as it was told.
    pub promise: Option<Promise>,
    /// What enrichers answered, in the order in which they did.
    pub enriched: Vec<EnrichedBy>,
}

/// What an enricher answered of a session's caller, if only that it knows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichedBy {
    pub enricher: SmolStr,
    pub tags: Tags,
}

/// What opened a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionKind {
    #[default]
    Ping,
    PageView,
    Form,
}

/// How a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    pub numbers: PoolReading,
    /// Live sessions that are shown its overflow number.
    pub sharing: usize,
    /// Of the last 24 hours.
    pub demand: Demand,
}

/// To whom a number is and was lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberState {
    pub lease: Option<Lease>,
    /// Those of the last week, eight at most, the newest last.
    pub past: Vec<PastLease>,
    /// Live sessions that are shown it since their pool had none left.
    pub sharing: usize,
}

impl PoolState {
    /// How many numbers it would need more; zero before it was ever asked.
    pub fn missing(&self) -> u64 {
        let PoolReading { free, leased, quarantined } = self.numbers;
        let size = u64::try_from(free + leased + quarantined).unwrap_or(u64::MAX);
        self.demand.suggested_size.saturating_sub(size)
    }
}

/// The number that a session was lent elsewhere, if one was left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent(pub Option<Lease>);

/// Whether a call was the first of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consumed {
    First,
    Again,
    /// No such session is live.
    Unknown,
}

/// A ping that passed all checks, with its names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    publisher: PublisherId,
    campaign: CampaignId,
    caller: Option<PhoneNumber>,
    pool: Option<PoolId>,
    /// A static number, for this caller alone.
    number: Option<PhoneNumber>,
    /// Shown when the pool has none left.
    overflow: Option<PhoneNumber>,
    tags: Tags,
    extra: Tags,
    ttl: Duration,
    promise: Option<Promise>,
}

impl Checked {
    /// # Errors
    /// All that is wrong with the ping.
    pub fn of(snapshot: &RoutingSnapshot, ping: &PingRequest) -> Result<Self, PingRefusals> {
        check(snapshot, ping, PingRequest::to_tags)
    }

    /// # Errors
    /// No target would take a call of it, and its campaign wants none of those.
    pub fn is_worth_it(&self, snapshot: &RoutingSnapshot, now: Wall) -> Result<(), PingRefusals> {
        let campaign = snapshot.campaign(&self.campaign);
        let Some(campaign) = campaign.filter(|it| it.ping_filter == PingFilter::On) else {
            return Ok(());
        };
        let said = (self.caller, &self.tags);
        match worthless(snapshot, campaign, said, now, now + self.ttl) {
            None => Ok(()),
            Some(found) => Err(PingRefusals::worthless(&self.campaign, &found)),
        }
    }

    pub fn campaign(&self) -> &CampaignId {
        &self.campaign
    }

    pub fn publisher(&self) -> &PublisherId {
        &self.publisher
    }

    /// The static number at which the call will come in.
    pub fn number(&self) -> Option<PhoneNumber> {
        self.number
    }

    /// How long the session will live.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Its publisher is promised this for the session's first call.
    #[must_use]
    pub fn promising(self, promise: Promise) -> Self {
        Self { promise: Some(promise), ..self }
    }

    /// The session that it will open, as a call of it would find it.
    pub fn announcing(&self, ids: NewIds, now: Wall) -> SessionReading {
        SessionReading {
            session: ids.session,
            ping: ids.ping,
            publisher: self.publisher.clone(),
            campaign: self.campaign.clone(),
            number: self.number,
            caller: self.caller,
            created_at: now,
            expires_at: now + self.ttl,
            tags: self.tags.clone(),
            former: None,
            sharing: None,
            promise: self.promise,
            enriched: Tags::new(),
        }
    }

    /// The pool a number is wanted of, if one is.
    pub fn pool(&self) -> Option<&PoolId> {
        self.pool.as_ref()
    }
}

impl Default for DeskLimits {
    fn default() -> Self {
        Self { sessions_max: 500_000, per_caller_max: 8, earlier_callers_max: 250_000 }
    }
}

impl Desk {
    pub fn new(limits: DeskLimits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            by_ping: BTreeMap::new(),
            by_caller: BTreeMap::new(),
            by_visitor: BTreeMap::new(),
            by_alias: BTreeMap::new(),
            by_shared: BTreeMap::new(),
            expiries: BTreeSet::new(),
            leases: Leases::default(),
            past: PastSessions::new(limits.earlier_callers_max),
        }
    }

    /// Takes over the pools of a configuration.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        self.leases.configure(snapshot);
        self.past.configure(snapshot);
    }

    /// Opens a session. The answer must not be given before the session is recorded.
    pub fn accept(
        &mut self,
        snapshot: &RoutingSnapshot,
        ping: PingRequest,
        ids: NewIds,
        now: Wall,
    ) -> Result<Accepted, PingRefusals> {
        let checked = Checked::of(snapshot, &ping)?;
        checked.is_worth_it(snapshot, now)?;
        Ok(self.accept_if(checked, ping.request_id, ids, now, |_, _| Ok(()))?)
    }

    /// Opens a session for a ping that passed all checks, if `has_room` for one of its publisher and
    /// campaign.
    pub fn accept_if(
        &mut self,
        checked: Checked,
        request_id: Option<SmolStr>,
        ids: NewIds,
        now: Wall,
        has_room: impl FnOnce(&PublisherId, &CampaignId) -> Result<(), PingRefusal>,
    ) -> Result<Accepted, PingRefusal> {
        self.accept_lent(checked, request_id, ids, now, None, has_room)
    }

    /// The same for one that was lent its number elsewhere.
    pub fn accept_lent(
        &mut self,
        checked: Checked,
        request_id: Option<SmolStr>,
        ids: NewIds,
        now: Wall,
        lent: Option<Lent>,
        has_room: impl FnOnce(&PublisherId, &CampaignId) -> Result<(), PingRefusal>,
    ) -> Result<Accepted, PingRefusal> {
        self.expire(now);
        self.open(checked, request_id, (SessionKind::Ping, None), (ids, lent), now, has_room)
    }

    fn open(
        &mut self,
        checked: Checked,
        request_id: Option<SmolStr>,
        (kind, visitor): (SessionKind, Option<SmolStr>),
        (ids, lent): (NewIds, Option<Lent>),
        now: Wall,
        has_room: impl FnOnce(&PublisherId, &CampaignId) -> Result<(), PingRefusal>,
    ) -> Result<Accepted, PingRefusal> {
        self.is_full()?;
        has_room(&checked.publisher, &checked.campaign)?;
        let until = now + checked.ttl;
        let lease = checked.pool.as_ref().and_then(|pool| match lent {
            None => self.leases.lease(pool, ids.session, checked.ttl, now),
            Some(Lent(lease)) => {
                self.leases.lent(pool, ids.session, lease, until, now);
                lease
            }
        });
        let session = Session {
            session: ids.session,
            ping: ids.ping,
            publisher: checked.publisher,
            campaign: checked.campaign,
            caller: checked.caller,
            pool: checked.pool,
            number: lease.map(|lease| lease.number).or(checked.number).or(checked.overflow),
            tags: checked.tags,
            extra: checked.extra,
            request_id,
            kind,
            visitor,
            created_at: now,
            expires_at: until,
            consumed_at: None,
            promise: checked.promise,
            enriched: vec![],
        };
        let accepted = self.answer(&session, false);
        self.insert(session);
        Ok(accepted)
    }

    fn is_full(&self) -> Result<(), PingRefusal> {
        if self.sessions.len() < self.limits.sessions_max {
            return Ok(());
        }
        let detail = "as many sessions are live as may be; try again later";
        Err(PingRefusal::new("ping", RefusalCode::Full, detail))
    }

    /// What a ping would be told of a number, if it came now. `elsewhere`: where numbers are lent elsewhere,
    /// whether one is left there.
    ///
    /// # Errors
    /// No more sessions may be opened.
    pub fn would_open(
        &self,
        checked: &Checked,
        elsewhere: Option<bool>,
        now: Wall,
    ) -> Result<NumberStatus, PingRefusal> {
        self.is_full()?;
        let Some(pool) = &checked.pool else {
            let asked = checked.number.map(|_| NumberStatus::Leased);
            return Ok(asked.unwrap_or(NumberStatus::NotAsked));
        };
        Ok(match elsewhere.unwrap_or_else(|| self.leases.has_any(pool, now)) {
            true => NumberStatus::Leased,
            false if checked.overflow.is_some() => NumberStatus::Shared,
            false => NumberStatus::Exhausted,
        })
    }

    /// The answer to a ping that was priced before, while its promise lives: one of the same publisher,
    /// campaign and caller that said the same. `None`: it is the first, or names no caller.
    pub fn quoted(&self, checked: &Checked, now: Wall) -> Option<Accepted> {
        let Checked { publisher, campaign, caller, pool, number, tags, .. } = checked;
        let known = self.by_caller.get(&(campaign.clone(), (*caller)?))?;
        let sessions = known.iter().rev().filter_map(|id| self.sessions.get(id));
        let is_it = |it: &&Session| {
            let place = if pool.is_some() { it.pool == *pool } else { it.number == *number };
            let is_open = it.consumed_at.is_none() && it.expires_at > now;
            let is_promised = it.promise.is_some_and(|promise| promise.is_live(now));
            is_open && is_promised && place && it.publisher == *publisher && it.tags == *tags
        };
        sessions.into_iter().find(is_it).map(|session| self.answer(session, true))
    }

    /// Puts back a session from before a restart, live or over (then its number may rest, and its
    /// caller be known by it); sessions have to come in the order in which they were opened. One that
    /// is known already stays as it is.
    pub fn restore(&mut self, session: Session, now: Wall) {
        if self.sessions.contains_key(&session.session) {
            return;
        }
        if let Some(number) = session.number {
            let expires_at = session.expires_at;
            let lease = Lease { number, session: session.session, expires_at };
            self.leases.restore(lease, session.created_at);
        }
        if now < session.expires_at { self.insert(session) } else { self.past.add(session) }
    }

    /// From now on numbers are lent elsewhere ([`Lent`]), for this desk and for others.
    pub fn share_numbers(&mut self) {
        self.leases.share();
    }

    /// Lends the session a number of the pool until `now + ttl`, or prolongs or shortens the lease it
    /// has. `None` when there is none to lend.
    pub fn lend(
        &mut self,
        pool: &PoolId,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Option<Lease> {
        self.leases.lease(pool, session, ttl, now)
    }

    /// Lets the lease that the session has of a number, if it has it, end at `until`.
    pub fn lease_ends(&mut self, session: SessionId, number: PhoneNumber, until: Wall, now: Wall) {
        if self.leases.owner(number) == Some(session) {
            self.leases.prolong(number, until, now);
        }
    }

    /// Takes over a session as it is now; what is known of it is forgotten. Its number is its own if
    /// it was lent that here.
    pub fn put(&mut self, session: Session, now: Wall) {
        self.expire(now);
        if let Some(known) = self.remove(session.session) {
            self.expiries.remove(&(known.expires_at, known.session));
        }
        self.insert(session);
    }

    /// A session that was changed elsewhere, as it is now. One that was not opened here is not kept
    /// here.
    pub fn follow(&mut self, session: &Session, now: Wall) {
        self.expire(now);
        let id = session.session;
        if !self.sessions.contains_key(&id) {
            return;
        }
        if let Some(pool) = &session.pool {
            let own = session.number.filter(|did| self.leases.knows(*did));
            let lease =
                own.map(|number| Lease { number, session: id, expires_at: session.expires_at });
            self.leases.lent(pool, id, lease, session.expires_at, now);
        }
        self.put(session.clone(), now);
    }

    /// Another session has the number that this one was lent.
    pub fn lost(&mut self, lease: Lease, now: Wall) {
        if self.leases.owner(lease.number) == Some(lease.session) {
            self.leases.release(lease.session, now);
        }
    }

    /// Live sessions behind this one, or from the first, at most `most`.
    pub fn after(&self, session: Option<SessionId>, most: usize) -> Vec<&Session> {
        let from = session.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).take(most).map(|(_, it)| it).collect()
    }

    /// Who of the sessions here has numbers of the pool, and since when.
    pub fn lent_of(&self, pool: &PoolId) -> Vec<(Lease, Wall)> {
        let mut leases = self.leases.of_pool(pool);
        leases.retain(|(lease, _)| self.sessions.contains_key(&lease.session));
        leases
    }

    /// The live session that a visitor has.
    pub fn visitor(&self, visitor: &VisitorKey) -> Option<&Session> {
        self.by_visitor.get(visitor).and_then(|session| self.sessions.get(session))
    }

    /// The session that has this pool number.
    pub fn by_number(&self, did: PhoneNumber, now: Wall) -> Option<SessionReading> {
        let lease = self.leases.holder(did, now)?;
        let session = self.sessions.get(&lease.session)?;
        // While a call is on the number its lease outlives the time it was lent for.
        let expires_at = session.expires_at.max(Wall(now.0.saturating_add(1)));
        Some(SessionReading { expires_at, ..self.read(session) })
    }

    /// Live sessions of the campaign that named this caller, newest first.
    pub fn by_caller(
        &self,
        campaign: &CampaignId,
        caller: PhoneNumber,
        now: Wall,
    ) -> Vec<SessionReading> {
        let Some(sessions) = self.by_caller.get(&(campaign.clone(), caller)) else {
            return vec![];
        };
        sessions
            .iter()
            .rev()
            .filter_map(|id| self.sessions.get(id))
            .filter(|session| now < session.expires_at)
            .map(|session| self.read(session))
            .collect()
    }

    /// Every session a call may belong to, for [`decide`](crate::routing::decide).
    pub fn candidates(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Vec<SessionReading> {
        let (dialed, now) = (request.dialed, request.at);
        let Some(owner) = snapshot.number(dialed) else { return vec![] };
        let (campaign, publisher) = (&owner.campaign.id, &owner.publisher.id);
        let mut found: Vec<_> = self.by_number(dialed, now).into_iter().collect();
        let mut add = |reading: SessionReading| {
            if found.iter().all(|known| known.session != reading.session) {
                found.push(reading);
            }
        };
        let named = request.named.map(|named| named.key).into_iter();
        for key in named.chain(snapshot.named_by_trunk(request)) {
            self.by_key(key).map(|it| self.read(it)).into_iter().for_each(&mut add);
        }
        if owner.pool.is_some() {
            self.former(dialed, now).into_iter().for_each(&mut add);
        }
        if let Some(sharing) = self.by_shared.get(&dialed) {
            let newest = sharing.iter().rev().take(SHARING_READ_MAX);
            newest.filter_map(|id| self.session(*id)).map(|it| self.read(it)).for_each(&mut add);
        }
        if let Some(caller) = request.caller {
            self.by_caller(campaign, caller, now).into_iter().for_each(&mut add);
            if self.past.knows_callers_of(campaign) {
                let earlier = self.earlier(campaign, publisher, caller);
                earlier.map(|it| self.read(it)).into_iter().for_each(add);
            }
        }
        found
    }

    /// The session that an id names, if it is live.
    pub fn by_key(&self, key: SessionKey) -> Option<&Session> {
        match key {
            SessionKey::Ping(ping) => self.by_ping(ping),
            SessionKey::Session(session) => self.session(session),
            SessionKey::Alias(alias) => self.session(*self.by_alias.get(&alias)?),
        }
    }

    /// What attribution wants to know of a session.
    fn read(&self, session: &Session) -> SessionReading {
        let (number, former) = self.number_of(session);
        let sharing = number.filter(|_| former.is_none()).and_then(|it| self.by_shared.get(&it));
        SessionReading {
            session: session.session,
            ping: session.ping,
            publisher: session.publisher.clone(),
            campaign: session.campaign.clone(),
            number,
            caller: session.caller,
            created_at: session.created_at,
            expires_at: session.expires_at,
            tags: session.tags.clone(),
            former,
            sharing: sharing.map(|all| u32::try_from(all.len()).unwrap_or(u32::MAX)),
            promise: session.promise_now(),
            enriched: session.enriched_tags(),
        }
    }

    /// The number the session has, or has had and lost; `None`: it has had it too long ago.
    fn number_of(&self, session: &Session) -> (Option<PhoneNumber>, Option<FormerLease>) {
        let lent = session.number.filter(|did| session.pool.is_some() && self.leases.knows(*did));
        let Some(did) = lent else { return (session.number, None) };
        if self.leases.owner(did) == Some(session.session) {
            return (lent, None);
        }
        let ended = self.leases.ended(did, session.session);
        (lent.filter(|_| ended.is_some()), ended)
    }

    /// The last session that had the number and has it no more.
    fn former(&self, did: PhoneNumber, now: Wall) -> Option<SessionReading> {
        let past = self.leases.former(did, now)?;
        let is_it = |session: &&Session| session.session == past.session;
        let session =
            self.session(past.session).or_else(|| self.past.of_number(did).filter(is_it))?;
        Some(SessionReading { former: Some(past.ended), ..self.read(session) })
    }

    /// The last session of the publisher's caller that is over, or about to be noticed to be.
    fn earlier(
        &self,
        campaign: &CampaignId,
        publisher: &PublisherId,
        caller: PhoneNumber,
    ) -> Option<&Session> {
        let known = self.by_caller.get(&(campaign.clone(), caller)).into_iter().flatten().rev();
        let mut sessions = known.filter_map(|session| self.session(*session));
        let last = sessions.find(|session| session.publisher == *publisher);
        last.or_else(|| self.past.of_caller(campaign, publisher, caller))
    }

    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    pub fn by_ping(&self, ping: PingId) -> Option<&Session> {
        self.by_ping.get(&ping).and_then(|session| self.sessions.get(session))
    }

    /// A call was attributed to the session. It stays live: the same caller may call again.
    pub fn consume(&mut self, session: SessionId, now: Wall) -> Consumed {
        match self.sessions.get_mut(&session) {
            None => Consumed::Unknown,
            Some(Session { consumed_at: Some(_), .. }) => Consumed::Again,
            Some(unused) => {
                unused.consumed_at = Some(now);
                Consumed::First
            }
        }
    }

    /// Adds what an enricher answered of a live session. `None`: it is over, or this enricher has answered
    /// before.
    pub fn enrich(&mut self, session: SessionId, by: EnrichedBy) -> Option<&Session> {
        let session = self.sessions.get_mut(&session)?;
        if session.enriched.iter().any(|known| known.enricher == by.enricher) {
            return None;
        }
        session.enriched.push(by);
        Some(session)
    }

    /// Forgets a session that nobody was told of, so that no call is taken for one of it.
    pub fn abandon(&mut self, session: SessionId, now: Wall) {
        let Some(session) = self.remove(session) else { return };
        self.expiries.remove(&(session.expires_at, session.session));
        self.leases.take_back(session.session, now);
    }

    /// A call on a pool number has begun: the number stays with its session until
    /// [`Desk::call_ended`]. False if the number belongs to no pool.
    pub fn call_started(&mut self, did: PhoneNumber, now: Wall) -> bool {
        self.leases.pin(did, now)
    }

    /// The end of a call for which [`Desk::call_started`] was true.
    pub fn call_ended(&mut self, did: PhoneNumber, now: Wall) {
        if let Some(lease) = self.leases.unpin(did, now) {
            self.prolong(lease.session, lease.expires_at);
        }
    }

    /// Forgets sessions whose time is over and frees their numbers; says how many.
    pub fn expire(&mut self, now: Wall) -> usize {
        self.leases.expire(now);
        self.past.forget(now);
        let mut expired = 0;
        while let Some(&(at, id)) = self.expiries.first() {
            if now < at {
                break;
            }
            self.expiries.pop_first();
            let held = self.sessions.get(&id).and_then(|session| session.number);
            match held.and_then(|did| self.leases.holder(did, now)) {
                // A call on the number keeps the session; its end sets the new expiry.
                Some(lease) if lease.session == id => {}
                _ => {
                    if let Some(over) = self.remove(id) {
                        self.past.add(over);
                    }
                    expired += 1;
                }
            }
        }
        expired
    }

    /// When [`Desk::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Wall> {
        let session = self.expiries.first().map(|(at, _)| *at);
        session.into_iter().chain(self.leases.deadline()).min()
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How full a pool is.
    pub fn pool(&self, pool: &PoolId) -> PoolReading {
        self.leases.reading(pool)
    }

    /// How full a pool is, and how it was asked for.
    pub fn pool_state(&self, pool: &Pool, now: Wall) -> PoolState {
        let hold = Hold { lease: pool.session_ttl, rest: pool.quarantine };
        PoolState {
            numbers: self.leases.reading(&pool.id),
            sharing: pool.overflow.map_or(0, |did| self.sharing(did)),
            demand: self.leases.demand(&pool.id, hold, now),
        }
    }

    /// Who has a pool number, and who had it before.
    pub fn number_state(&self, did: PhoneNumber, now: Wall) -> NumberState {
        let (lease, past) = (self.leases.holder(did, now), self.leases.history(did, now));
        NumberState { lease, past, sharing: self.sharing(did) }
    }

    /// How many live sessions are shown this number since their pool had none left.
    fn sharing(&self, did: PhoneNumber) -> usize {
        self.by_shared.get(&did).map_or(0, BTreeSet::len)
    }

    fn answer(&self, session: &Session, repeated: bool) -> Accepted {
        Accepted {
            ping: session.ping,
            session: session.session,
            number: session.number,
            number_status: match (&session.pool, session.number) {
                (None, None) => NumberStatus::NotAsked,
                (Some(_), Some(_)) if self.shared_number(session).is_some() => NumberStatus::Shared,
                (Some(_) | None, Some(_)) => NumberStatus::Leased,
                (Some(_), None) => NumberStatus::Exhausted,
            },
            expires_at: session.expires_at,
            promise: session.promise,
            repeated,
        }
    }

    fn insert(&mut self, session: Session) {
        let id = session.session;
        self.by_ping.insert(session.ping, id);
        self.by_alias.entry(SessionKey::alias_of(session.ping)).or_insert(id);
        if let Some(shared) = self.shared_number(&session) {
            self.by_shared.entry(shared).or_default().insert(id);
        }
        if let Some(visitor) = session.visitor_key() {
            self.by_visitor.insert(visitor, id);
        }
        self.expiries.insert((session.expires_at, id));
        if let Some(caller) = session.caller {
            let sessions = self.by_caller.entry((session.campaign.clone(), caller)).or_default();
            sessions.push(id);
            if sessions.len() > self.limits.per_caller_max {
                sessions.remove(0);
            }
        }
        self.sessions.insert(id, session);
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.by_ping.remove(&session.ping);
        let alias = SessionKey::alias_of(session.ping);
        if self.by_alias.get(&alias) == Some(&id) {
            self.by_alias.remove(&alias);
        }
        self.share_no_more(id, session.number);
        if let Some(visitor) = session.visitor_key()
            && self.by_visitor.get(&visitor) == Some(&id)
        {
            self.by_visitor.remove(&visitor);
        }
        if let Some(caller) = session.caller {
            let key = (session.campaign.clone(), caller);
            if let Some(sessions) = self.by_caller.get_mut(&key) {
                sessions.retain(|other| *other != id);
                if sessions.is_empty() {
                    self.by_caller.remove(&key);
                }
            }
        }
        Some(session)
    }

    /// The session is not shown this number any more, if it shared it.
    fn share_no_more(&mut self, id: SessionId, number: Option<PhoneNumber>) {
        let Some(number) = number else { return };
        if let Some(sharing) = self.by_shared.get_mut(&number) {
            sharing.remove(&id);
            if sharing.is_empty() {
                self.by_shared.remove(&number);
            }
        }
    }

    /// What it was shown in place of a number of its own.
    fn shared_number(&self, session: &Session) -> Option<PhoneNumber> {
        session.number.filter(|did| session.pool.is_some() && !self.leases.knows(*did))
    }

    fn prolong(&mut self, id: SessionId, expires_at: Wall) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.expiries.remove(&(session.expires_at, id));
            session.expires_at = session.expires_at.max(expires_at);
            self.expiries.insert((session.expires_at, id));
        }
    }
}

impl Session {
    /// What was promised, and whether it was for a call that came.
    pub fn promise_now(&self) -> Option<Promise> {
        self.promise.map(|promise| Promise { spent: self.consumed_at.is_some(), ..promise })
    }

    /// The session as a call of it would find it, with nothing promised yet.
    pub fn announced(&self) -> SessionReading {
        SessionReading {
            session: self.session,
            ping: self.ping,
            publisher: self.publisher.clone(),
            campaign: self.campaign.clone(),
            number: self.number,
            caller: self.caller,
            created_at: self.created_at,
            expires_at: self.expires_at,
            tags: self.tags.clone(),
            former: None,
            sharing: None,
            promise: None,
            enriched: self.enriched_tags(),
        }
    }

    /// All that enrichers told; where two told the same tag, what the first did.
    pub fn enriched_tags(&self) -> Tags {
        let mut told = Tags::new();
        for (tag, value) in self.enriched.iter().flat_map(|by| &by.tags) {
            told.entry(tag.clone()).or_insert_with(|| value.clone());
        }
        told
    }

    /// By which its visitor is known, if it has one.
    pub fn visitor_key(&self) -> Option<VisitorKey> {
        let visitor = self.visitor.clone()?;
        Some((self.publisher.clone(), self.campaign.clone(), self.pool.clone(), visitor))
    }
}

/// Whose a ping is that names its publisher, a pool or a campaign; `None`: nobody's who is known.
pub fn publisher_of(
    snapshot: &RoutingSnapshot,
    (publisher, pool, campaign): (Option<&PublisherId>, Option<&PoolId>, Option<&CampaignId>),
) -> Option<PublisherId> {
    let of_pool = || pool.and_then(|id| snapshot.pool(id)).map(|pool| &pool.publisher);
    let of_campaign =
        || campaign.and_then(|id| snapshot.campaign(id)).and_then(|it| it.publisher.as_ref());
    publisher.or_else(of_pool).or_else(of_campaign).cloned()
}

/// Resolves the names of a ping and checks that they fit together.
fn check(
    snapshot: &RoutingSnapshot,
    ping: &PingRequest,
    to_tags: impl FnOnce(&PingRequest, Option<&Vertical>) -> Result<Tags, PingRefusals>,
) -> Result<Checked, PingRefusals> {
    ping.check()?;
    let caller = ping.caller()?;
    let pool = match &ping.pool {
        Some(id) => Some(snapshot.pool(id).ok_or_else(|| unknown("pool", id.as_str()))?),
        None => None,
    };
    let campaign = match (&ping.campaign, pool) {
        (Some(id), _) => id,
        (None, Some(pool)) => &pool.campaign,
        (None, None) => {
            let detail = "name the campaign the call will be for";
            return Err(PingRefusal::new("campaign", RefusalCode::Missing, detail).into());
        }
    };
    let campaign =
        snapshot.campaign(campaign).ok_or_else(|| unknown("campaign", campaign.as_str()))?;
    let publisher = ping
        .publisher
        .as_ref()
        .or_else(|| pool.map(|pool| &pool.publisher))
        .or(campaign.publisher.as_ref())
        .ok_or_else(|| {
            let detail = "the campaign has no publisher of its own; name one";
            PingRefusal::new("publisher", RefusalCode::Missing, detail)
        })?;
    let publisher =
        snapshot.publisher(publisher).ok_or_else(|| unknown("publisher", publisher.as_str()))?;
    if let Some(pool) = pool {
        for (field, fits) in [
            ("campaign", pool.campaign == campaign.id),
            ("publisher", pool.publisher == publisher.id),
        ] {
            if !fits {
                let detail = format!("the pool `{}` belongs to another {field}", pool.id);
                return Err(PingRefusal::new(field, RefusalCode::Mismatch, detail).into());
            }
        }
    }
    for (field, paused) in [("campaign", campaign.paused), ("publisher", publisher.paused)] {
        if paused {
            return Err(PingRefusal::new(
                field,
                RefusalCode::Paused,
                format!("the {field} is paused"),
            )
            .into());
        }
    }
    let extra = ping.to_extra(ping.strict.unwrap_or(publisher.strict_pings))?;
    let number = ping.number()?;
    if let Some(number) = number {
        let fits = snapshot.number(number).is_some_and(|owner| {
            let is_its = owner.campaign.id == campaign.id && owner.publisher.id == publisher.id;
            is_its && owner.pool.is_none()
        });
        if !fits {
            let detail = "is no static number of this campaign and publisher";
            return Err(PingRefusal::new("number", RefusalCode::Mismatch, detail).into());
        }
    }
    let ttl = match (ping.ttl_s, pool) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, Some(pool)) => pool.session_ttl,
        (None, None) => DEFAULT_TTL,
    };
    Ok(Checked {
        publisher: publisher.id.clone(),
        campaign: campaign.id.clone(),
        caller,
        overflow: pool.and_then(|pool| pool.overflow),
        pool: pool.map(|pool| pool.id.clone()),
        number,
        tags: to_tags(ping, campaign.vertical.as_deref())?,
        extra,
        ttl,
        promise: None,
    })
}

fn unknown(field: &str, name: &str) -> PingRefusal {
    let shown = &name[..name.floor_char_boundary(64)];
    PingRefusal::new(field, RefusalCode::Unknown, format!("there is no {field} `{shown}`"))
}

#[cfg(test)]
mod tests;
