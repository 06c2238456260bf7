//! Takes pings and finds their sessions again.

mod answering;
mod checked;
mod past;
mod pools;
mod reading;
mod session;
mod tags;
mod visits;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use smallvec::SmallVec;
use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::pool::{Lease, Leases};
use crate::routing::snapshot::RoutingSnapshot;
use crate::time::Wall;

pub use answering::{Accepted, NumberStatus};
pub use checked::{Checked, publisher_of};
use checked::{DEFAULT_TTL, check, unknown};
use past::PastSessions;
pub use pools::{NumberState, PoolState};
pub use session::{EnrichedBy, Session, SessionKind};
pub use tags::KeptTags;
pub use visits::{
    Moved, Shows, SignOfLife, Touched, Visit, Visiting, VisitorKey, ends_when_closed,
};

use super::request::{PingRefusal, PingRefusals, PingRequest, RefusalCode};

/// Sessions and the numbers lent to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desk {
    limits: DeskLimits,
    /// Each in a piece of its own: as they come in the order of their ids, half of each node stays empty.
    sessions: BTreeMap<SessionId, Box<Session>>,
    /// Oldest first.
    by_caller: BTreeSet<(CallerKey, SessionId)>,
    by_visitor: BTreeMap<VisitorKey, SessionId>,
    /// By the alias of the ping, and so by the ping.
    by_alias: BTreeSet<(u64, SessionId)>,
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

/// The number that a session was lent elsewhere, if one was left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent(pub Option<Lease>);

/// A caller of a campaign, in as many bytes as the number alone: its 15 digits leave 14 bits for what tells
/// nearly all campaigns apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CallerKey(u64);

impl CallerKey {
    const CAMPAIGN_BITS: u32 = 14;

    fn new(campaign: &CampaignId, caller: PhoneNumber) -> Self {
        let campaign = u64::from(crc32c::crc32c(campaign.0.as_bytes()));
        Self((caller.digits() << Self::CAMPAIGN_BITS) | (campaign % (1 << Self::CAMPAIGN_BITS)))
    }
}

/// Whether a call was the first of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consumed {
    First,
    Again,
    /// No such session is live.
    Unknown,
}

impl Default for DeskLimits {
    fn default() -> Self {
        Self { sessions_max: 2_000_000, per_caller_max: 8, earlier_callers_max: 250_000 }
    }
}

impl Desk {
    pub fn new(limits: DeskLimits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            by_caller: BTreeSet::new(),
            by_visitor: BTreeMap::new(),
            by_alias: BTreeSet::new(),
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
            tags: checked.tags.into(),
            extra: checked.extra.into(),
            request_id,
            kind,
            visitor,
            created_at: now,
            expires_at: until,
            consumed_at: None,
            promise: checked.promise.map(Box::new),
            enriched: ThinVec::new(),
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
        if now < session.expires_at { self.insert(session) } else { self.is_over(session) }
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

    /// Lets the lease that the session has of a number, if it has it, end at `until`, or some time behind the
    /// last call on it. Returns it as it now is.
    pub fn lease_ends(
        &mut self,
        session: SessionId,
        number: PhoneNumber,
        until: Wall,
        now: Wall,
    ) -> Option<Lease> {
        let is_its = self.leases.owner(number) == Some(session);
        is_its.then(|| self.leases.prolong(number, until, now))?
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

    /// A session that was changed elsewhere, with what has become of it here since it was read there: that is
    /// what it is now. One that was not opened here is not kept here.
    pub fn follow(&mut self, session: Session, now: Wall) -> Session {
        self.expire(now);
        let id = session.session;
        let Some(known) = self.sessions.get(&id) else { return session };
        let session = session.with(known);
        if let Some(pool) = &session.pool {
            let own = session.number.filter(|did| self.leases.knows(*did));
            let lease =
                own.map(|number| Lease { number, session: id, expires_at: session.expires_at });
            self.leases.lent(pool, id, lease, session.expires_at, now);
        }
        self.put(session.clone(), now);
        session
    }

    /// A session as others know it, with what has become of it here: it is where the later sign of life was.
    pub fn agree(&mut self, session: Session, now: Wall) -> Session {
        let Some(known) = self.session(session.session) else { return session };
        if session.expires_at > known.expires_at {
            return self.follow(session, now);
        }
        let session = known.clone().with(&session);
        self.put(session.clone(), now);
        session
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
        self.sessions.range((from, Bound::Unbounded)).take(most).map(|(_, it)| &**it).collect()
    }

    /// Who of the sessions here has these numbers, and since when; of those that rest, who had
    /// them last.
    pub fn lent_of(&self, numbers: &[PhoneNumber]) -> Vec<(Lease, Wall)> {
        let mut leases = self.leases.among(numbers);
        let is_over = |lease: &Lease| self.leases.owner(lease.number) != Some(lease.session);
        leases.retain(|(it, _)| self.sessions.contains_key(&it.session) || is_over(it));
        leases
    }

    /// The lease of a number that a session here has or had, and since when.
    pub fn had(&self, number: PhoneNumber, session: SessionId) -> Option<(Lease, Wall)> {
        self.leases.had(number, session)
    }

    /// The number of a pool that a live session has, and since when.
    pub fn lent_to(&self, session: SessionId) -> Option<(Lease, Wall)> {
        self.sessions.get(&session)?;
        self.leases.of(session)
    }

    /// The live session that a visitor has.
    pub fn visitor(&self, visitor: &VisitorKey) -> Option<&Session> {
        self.by_visitor.get(visitor).and_then(|session| self.session(*session))
    }

    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session).map(|it| &**it)
    }

    pub fn by_ping(&self, ping: PingId) -> Option<&Session> {
        self.of_alias(SessionKey::alias_of(ping)).find(|session| session.ping == ping)
    }

    /// Live sessions whose pings have this alias, the earliest first.
    fn of_alias(&self, alias: u64) -> impl Iterator<Item = &Session> {
        let all = self.by_alias.range((alias, SessionId::MIN)..=(alias, SessionId::MAX));
        all.filter_map(|(_, session)| self.session(*session))
    }

    /// Live sessions of the campaign that named this caller, the oldest first.
    fn of_caller(
        &self,
        campaign: &CampaignId,
        caller: PhoneNumber,
    ) -> impl DoubleEndedIterator<Item = &Session> {
        let key = CallerKey::new(campaign, caller);
        let all = self.by_caller.range((key, SessionId::MIN)..=(key, SessionId::MAX));
        let sessions = all.filter_map(|(_, session)| self.session(*session));
        sessions.filter(move |it| it.campaign == *campaign && it.caller == Some(caller))
    }

    /// A call was attributed to the session and uses it up. It stays live: the same caller may call again.
    pub fn consume(&mut self, session: SessionId, now: Wall) -> Consumed {
        match self.sessions.get_mut(&session).map(|it| &mut **it) {
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
                        self.is_over(over);
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

    /// Live sessions at most.
    pub fn sessions_max(&self) -> usize {
        self.limits.sessions_max
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn insert(&mut self, session: Session) {
        let id = session.session;
        self.by_alias.insert((SessionKey::alias_of(session.ping), id));
        if let Some(shared) = self.shared_number(&session) {
            self.by_shared.entry(shared).or_default().insert(id);
        }
        if let Some(visitor) = session.visitor_key() {
            let known = self.by_visitor.get(&visitor).and_then(|known| self.session(*known));
            if known.is_none_or(|known| known.created_at <= session.created_at) {
                self.by_visitor.insert(visitor, id);
            }
        }
        self.expiries.insert((session.expires_at, id));
        let of_caller = session.caller.map(|caller| (session.campaign.clone(), caller));
        self.sessions.insert(id, Box::new(session));
        if let Some((campaign, caller)) = of_caller {
            self.calls(&campaign, caller, id);
        }
    }

    /// The session is one of this caller of the campaign.
    fn calls(&mut self, campaign: &CampaignId, caller: PhoneNumber, id: SessionId) {
        let key = CallerKey::new(campaign, caller);
        self.by_caller.insert((key, id));
        let oldest = self.of_caller(campaign, caller).nth_back(self.limits.per_caller_max);
        if let Some(oldest) = oldest.map(|it| it.session) {
            self.by_caller.remove(&(key, oldest));
        }
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = *self.sessions.remove(&id)?;
        self.by_alias.remove(&(SessionKey::alias_of(session.ping), id));
        self.share_no_more(id, session.number);
        if let Some(visitor) = session.visitor_key()
            && self.by_visitor.get(&visitor) == Some(&id)
        {
            self.by_visitor.remove(&visitor);
        }
        if let Some(caller) = session.caller {
            self.by_caller.remove(&(CallerKey::new(&session.campaign, caller), id));
        }
        Some(session)
    }

    /// Remembers a session for calls to the numbers that nobody has had since: it may have come to another
    /// number meanwhile, and others to its own.
    fn is_over(&mut self, session: Session) {
        let id = session.session;
        let has = session.number.filter(|did| self.leases.owner(*did) == Some(id));
        let numbers = self.leases.left_by(id).iter().copied().chain(has);
        let numbers: SmallVec<[PhoneNumber; 1]> = numbers.collect();
        self.past.add(session, &numbers);
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

#[cfg(test)]
mod tests;
