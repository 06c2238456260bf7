//! Numbers lent to sessions (spec/domain §2.3).
//!
//! `free → leased → quarantined → free`. A call on a number keeps it from changing hands. Among
//! the free numbers the one unused for longest is lent, so that late callers of its previous
//! session are least likely to be taken for the new one's.
//!
//! Invariants: a number is lent to one session at a time; a session has at most one number of a
//! pool; a number is not lent again before its quarantine is over, unless its pool takes numbers
//! away from visitors who show no sign of life.

mod demand;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use smallvec::SmallVec;

use crate::id::{PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::request::FormerLease;
use super::snapshot::RoutingSnapshot;

use demand::Hours;
use waiting::Waiting;

pub use demand::{AskedHour, Demand, Hold};

/// How long a number stays with its session after a call on it has ended.
pub const AFTER_CALL: Duration = Duration::from_secs(300);
/// Leases that are over and remembered of a number.
pub const HISTORY_MAX: usize = 8;
/// For how long.
const HISTORY: Duration = Duration::from_secs(7 * 24 * 3_600);

/// All pools' numbers and who has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    numbers: BTreeMap<PhoneNumber, Number>,
    shelves: BTreeMap<PoolId, Shelf>,
    by_session: BTreeMap<(SessionId, PoolId), PhoneNumber>,
    /// Numbers by who had them last and has them no more; no more than there are numbers.
    left: BTreeMap<SessionId, SmallVec<[PhoneNumber; 1]>>,
    /// When a lease or a quarantine ends; numbers with a call on them are not in it.
    deadlines: BTreeSet<(Wall, PhoneNumber)>,
    /// Others lend these numbers as well: what is free here need not be.
    is_shared: bool,
}

/// A number that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub number: PhoneNumber,
    pub session: SessionId,
    pub expires_at: Wall,
}

/// A lease that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastLease {
    pub session: SessionId,
    pub began_at: Wall,
    pub ended: FormerLease,
}

/// Numbers of a pool by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReading {
    pub free: usize,
    pub leased: usize,
    pub quarantined: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Number {
    /// The pool it was last lent from.
    pool: PoolId,
    /// The pool it goes to when it comes free; absent: it left the configuration and is forgotten.
    home: Option<PoolId>,
    state: State,
    /// Calls on the number right now.
    calls: u32,
    quarantine: Duration,
    /// Whose it was when the last call on it ended, and until when it stays theirs for that.
    kept: Option<(SessionId, Wall)>,
    /// The newest last.
    history: VecDeque<PastLease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free { since: Wall },
    Leased { session: SessionId, began_at: Wall, seen_at: Wall, expires_at: Wall },
    Quarantined { until: Wall },
}

/// A pool's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shelf {
    /// Since when unused, and the number; without those with a call on them.
    free: BTreeSet<(Wall, PhoneNumber)>,
    /// Numbers that are lent and have no call on them, by the last sign of life; only where they may be
    /// taken away.
    seen: BTreeSet<(Wall, PhoneNumber)>,
    /// A visitor who shows no sign of life for so long may lose the number to another.
    taken_after: Option<Duration>,
    count: PoolReading,
    waiting: Waiting,
    hours: Hours,
}

impl Leases {
    /// Takes over the pools of a configuration. Numbers keep their state; a number that is gone
    /// from the configuration stays with its session to the end.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        for number in self.numbers.values_mut() {
            number.home = None;
        }
        for shelf in self.shelves.values_mut() {
            shelf.taken_after = None;
        }
        for pool in snapshot.pools() {
            let shelf = self.shelves.entry(pool.id.clone()).or_default();
            shelf.taken_after = pool.taken_after;
            shelf.waiting.rest = pool.quarantine;
            for &did in &pool.numbers {
                let number = self.numbers.entry(did).or_insert_with(|| {
                    shelf.count.free += 1;
                    Number {
                        pool: pool.id.clone(),
                        home: None,
                        state: State::Free { since: Wall(0) },
                        calls: 0,
                        quarantine: pool.quarantine,
                        kept: None,
                        history: VecDeque::new(),
                    }
                });
                number.home = Some(pool.id.clone());
                number.quarantine = pool.quarantine;
            }
        }
        let all: Vec<_> = self.numbers.iter().map(|(did, number)| (*did, number.state)).collect();
        for (did, state) in all {
            self.enter(did, state);
        }
        let (shelves, is_known) = (&mut self.shelves, |id: &PoolId| snapshot.pool(id).is_some());
        shelves.retain(|id, shelf| is_known(id) || shelf.count != PoolReading::default());
    }

    /// From now on numbers are lent elsewhere, and said here ([`Leases::lent`]).
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// Lends `session` a number of the pool until `now + ttl`, or prolongs or shortens the lease it has, which
    /// lasts for [`AFTER_CALL`] behind a call all the same. `None` when there is none to lend.
    pub fn lease(
        &mut self,
        pool: &PoolId,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Option<Lease> {
        self.expire(now);
        let expires_at = now + ttl;
        let owned = self.by_session.get(&(session, pool.clone())).copied();
        let kept = owned.and_then(|did| self.kept_until(did, session));
        let expires_at = kept.map_or(expires_at, |kept| expires_at.max(kept));
        let did = match owned {
            Some(did) => did,
            None if self.is_shared => return None,
            None => {
                let shelf = self.shelves.get_mut(pool)?;
                let found = shelf.next(now);
                let outcome = found.map(|(_, taken)| taken);
                if shelf.waiting.has(session, now) {
                    shelf.hours.asked_again(now, outcome, shelf.free.len());
                } else {
                    shelf.hours.asked(now, outcome, shelf.free.len());
                }
                let Some((did, _)) = found else {
                    shelf.waiting.turned_away(session, expires_at);
                    shelf.note(now);
                    return None;
                };
                did
            }
        };
        self.give(did, session, now, expires_at);
        self.note(pool, now);
        Some(Lease { number: did, session, expires_at })
    }

    /// Whether a session that has none could be lent a number of the pool now.
    pub fn has_any(&self, pool: &PoolId, now: Wall) -> bool {
        self.shelves.get(pool).is_some_and(|shelf| shelf.next(now).is_some())
    }

    /// Elsewhere the session was lent this number of the pool, or none was left for it.
    pub fn lent(
        &mut self,
        pool: &PoolId,
        session: SessionId,
        lease: Option<Lease>,
        expires_at: Wall,
        now: Wall,
    ) {
        self.expire(now);
        let owned = self.by_session.get(&(session, pool.clone())).copied();
        if let Some(lease) = lease.filter(|it| owned == Some(it.number)) {
            return self.give(lease.number, session, now, lease.expires_at);
        }
        if owned.is_some() {
            self.release(session, now);
        }
        let known = lease.filter(|it| self.numbers.contains_key(&it.number));
        if let Some(shelf) = self.shelves.get_mut(pool) {
            let outcome = lease.map(|_| false);
            if shelf.waiting.has(session, now) {
                shelf.hours.asked_again(now, outcome, shelf.free.len());
            } else {
                shelf.hours.asked(now, outcome, shelf.free.len());
            }
            if lease.is_none() {
                shelf.waiting.turned_away(session, expires_at);
            }
        }
        if let Some(Lease { number, session, expires_at }) = known {
            self.give(number, session, now, expires_at);
        }
        self.note(pool, now);
    }

    /// Who has these numbers, whichever pool lent them, and since when; of those that rest, who had them last.
    pub fn among(&self, numbers: &[PhoneNumber]) -> Vec<(Lease, Wall)> {
        let its = numbers.iter().filter_map(|did| Some((*did, self.numbers.get(did)?)));
        its.filter_map(|(did, number)| match number.state {
            State::Leased { .. } => self.lease_of(did),
            State::Quarantined { .. } => number.history.back().map(|past| past.lease_of(did)),
            State::Free { .. } => None,
        })
        .collect()
    }

    /// The lease of the number that the session has or had last, if that is remembered, and since when.
    pub fn had(&self, did: PhoneNumber, session: SessionId) -> Option<(Lease, Wall)> {
        let has = self.lease_of(did).filter(|(lease, _)| lease.session == session);
        has.or_else(|| {
            let history = self.numbers.get(&did)?.history.iter().rev();
            history.filter(|past| past.session == session).map(|past| past.lease_of(did)).next()
        })
    }

    /// The number that the session has, and since when.
    pub fn of(&self, session: SessionId) -> Option<(Lease, Wall)> {
        self.owned_by(session).first().and_then(|did| self.lease_of(*did))
    }

    fn lease_of(&self, did: PhoneNumber) -> Option<(Lease, Wall)> {
        match self.state(did)? {
            State::Leased { session, began_at, expires_at, .. } => {
                Some((Lease { number: did, session, expires_at }, began_at))
            }
            State::Free { .. } | State::Quarantined { .. } => None,
        }
    }

    /// Lets the lease of a number end at `until`, but for [`AFTER_CALL`]; that is a sign of life of whoever has
    /// it. Returns the lease as it now is.
    pub fn prolong(&mut self, did: PhoneNumber, until: Wall, now: Wall) -> Option<Lease> {
        let State::Leased { session, began_at, .. } = self.state(did)? else { return None };
        let expires_at = self.kept_until(did, session).map_or(until, |kept| until.max(kept));
        self.enter(did, State::Leased { session, began_at, seen_at: now, expires_at });
        Some(Lease { number: did, session, expires_at })
    }

    /// Puts back a lease from before a restart that began at `since`; leases have to come in the order
    /// in which they began, so whoever had the number then has lost it. False if it is no number of a
    /// pool: nothing changed.
    pub fn restore(&mut self, lease: Lease, since: Wall) -> bool {
        self.expire(since);
        let Some(number) = self.numbers.get(&lease.number) else { return false };
        if let Some(shelf) = self.shelves.get_mut(&number.pool) {
            let is_taken = matches!(number.state, State::Leased { .. });
            shelf.hours.asked(since, Some(is_taken), shelf.free.len());
        }
        let pool = number.pool.clone();
        self.give(lease.number, lease.session, since, lease.expires_at);
        self.note(&pool, since);
        true
    }

    /// Who has the number, if its lease is live.
    pub fn holder(&self, did: PhoneNumber, now: Wall) -> Option<Lease> {
        let number = self.numbers.get(&did)?;
        match number.state {
            State::Leased { session, expires_at, .. } if now < expires_at || number.calls > 0 => {
                Some(Lease { number: did, session, expires_at })
            }
            State::Leased { .. } | State::Free { .. } | State::Quarantined { .. } => None,
        }
    }

    /// To whom the number was lent, and from whom it was not taken yet.
    pub fn owner(&self, did: PhoneNumber) -> Option<SessionId> {
        match self.numbers.get(&did)?.state {
            State::Leased { session, .. } => Some(session),
            State::Free { .. } | State::Quarantined { .. } => None,
        }
    }

    /// How the session's lease of the number ended, if that is remembered.
    pub fn ended(&self, did: PhoneNumber, session: SessionId) -> Option<FormerLease> {
        let history = self.numbers.get(&did)?.history.iter().rev();
        history.filter(|past| past.session == session).map(|past| past.ended).next()
    }

    /// The leases of a number that are over, the newest last.
    pub fn history(&self, did: PhoneNumber, now: Wall) -> Vec<PastLease> {
        let Some(number) = self.numbers.get(&did) else { return vec![] };
        let over = match number.state {
            // Nobody has looked since it ended.
            State::Leased { session, began_at, expires_at, .. }
                if now >= expires_at && number.calls == 0 =>
            {
                Some(PastLease::new(session, began_at, expires_at, number.quarantine))
            }
            State::Leased { .. } | State::Free { .. } | State::Quarantined { .. } => None,
        };
        let all = number.history.iter().copied().chain(over);
        let mut past: Vec<_> = all.filter(|past| past.is_remembered(now)).collect();
        past.drain(..past.len().saturating_sub(HISTORY_MAX));
        past
    }

    /// The numbers of which the session's lease is the last that is over.
    pub fn left_by(&self, session: SessionId) -> &[PhoneNumber] {
        self.left.get(&session).map_or(&[], |numbers| numbers)
    }

    /// Who had the number last and has it no more.
    pub fn former(&self, did: PhoneNumber, now: Wall) -> Option<PastLease> {
        self.history(did, now).pop()
    }

    /// A call has begun on the number: it changes hands no more until the call has ended. False
    /// if the number belongs to no pool; then [`Leases::unpin`] must not be called.
    pub fn pin(&mut self, did: PhoneNumber, now: Wall) -> bool {
        // A lease that is over is not brought back by a call that came too late for it.
        self.expire(now);
        let Some(number) = self.numbers.get_mut(&did) else { return false };
        number.calls += 1;
        let state = number.state;
        self.enter(did, state);
        true
    }

    /// A call on the number has ended. A lease lasts at least 300 s longer. Returns the lease as
    /// it now is.
    pub fn unpin(&mut self, did: PhoneNumber, now: Wall) -> Option<Lease> {
        let number = self.numbers.get_mut(&did)?;
        number.calls = number.calls.saturating_sub(1);
        let (state, lease) = match number.state {
            State::Leased { session, began_at, expires_at, .. } => {
                number.kept = Some((session, now + AFTER_CALL));
                let expires_at = expires_at.max(now + AFTER_CALL);
                let lease = Lease { number: did, session, expires_at };
                (State::Leased { session, began_at, seen_at: now, expires_at }, Some(lease))
            }
            State::Free { .. } => (State::Free { since: now }, None),
            resting @ State::Quarantined { .. } => (resting, None),
        };
        self.enter(did, state);
        lease
    }

    /// Until when the number stays the session's at least, for a call on it has ended lately.
    fn kept_until(&self, did: PhoneNumber, session: SessionId) -> Option<Wall> {
        let (called, until) = self.numbers.get(&did)?.kept?;
        (called == session).then_some(until)
    }

    /// The session needs its numbers no more: they go into quarantine, or stay leased while a
    /// call is on them.
    pub fn release(&mut self, session: SessionId, now: Wall) {
        self.shelves.values_mut().for_each(|shelf| shelf.waiting.leave(session, now));
        for did in self.owned_by(session) {
            let Some(State::Leased { began_at, seen_at, .. }) = self.state(did) else { continue };
            self.enter(did, State::Leased { session, began_at, seen_at, expires_at: now });
        }
        self.expire(now);
    }

    /// The session's numbers were never shown to anybody: they are free, and nobody had them.
    pub fn take_back(&mut self, session: SessionId, now: Wall) {
        self.shelves.values_mut().for_each(|shelf| shelf.waiting.remove(session));
        for did in self.owned_by(session) {
            self.enter(did, State::Free { since: now });
        }
    }

    /// Moves on every number whose lease or quarantine is over; says how many.
    pub fn expire(&mut self, now: Wall) -> usize {
        let mut moved = 0;
        while let Some(&(at, did)) = self.deadlines.first() {
            if now < at {
                break;
            }
            self.deadlines.pop_first();
            moved += 1;
            let Some(number) = self.numbers.get_mut(&did) else { continue };
            let (quarantine, pool) = (number.quarantine, number.pool.clone());
            let next = match number.state {
                State::Leased { session, began_at, .. } => {
                    self.end(did, session, began_at, at, quarantine);
                    State::Quarantined { until: at + quarantine }
                }
                State::Quarantined { until } => {
                    State::Free { since: Wall(until.0 - duration_ms(quarantine)) }
                }
                free @ State::Free { .. } => free,
            };
            self.enter(did, next);
            self.note(&pool, at);
        }
        moved
    }

    /// When [`Leases::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Wall> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether the number is one of a pool, or was when it was lent.
    pub fn knows(&self, did: PhoneNumber) -> bool {
        self.numbers.contains_key(&did)
    }

    /// How full a pool is.
    pub fn reading(&self, pool: &PoolId) -> PoolReading {
        self.shelves.get(pool).map(|shelf| shelf.count).unwrap_or_default()
    }

    /// What a pool was asked for in the hours of the last 24, of this server.
    pub fn asked(&mut self, pool: &PoolId, now: Wall) -> Vec<AskedHour> {
        self.expire(now);
        let Some(shelf) = self.shelves.get_mut(pool) else { return vec![] };
        shelf.note(now);
        shelf.hours.of_day(now)
    }

    /// Other numbers of the pool are wanted than before.
    fn note(&mut self, pool: &PoolId, now: Wall) {
        if let Some(shelf) = self.shelves.get_mut(pool) {
            shelf.note(now);
        }
    }

    fn owned_by(&self, session: SessionId) -> Vec<PhoneNumber> {
        let from = (session, PoolId::default());
        let owned = self.by_session.range(from..).take_while(|((owner, _), _)| *owner == session);
        owned.map(|(_, did)| *did).collect()
    }

    fn state(&self, did: PhoneNumber) -> Option<State> {
        self.numbers.get(&did).map(|number| number.state)
    }

    fn give(&mut self, did: PhoneNumber, session: SessionId, now: Wall, expires_at: Wall) {
        let began_at = match self.state(did) {
            Some(State::Leased { session: owner, began_at, .. }) if owner == session => began_at,
            Some(State::Leased { session: owner, began_at, expires_at: until, .. }) => {
                self.end(did, owner, began_at, now, Duration::ZERO);
                if let Some(waiting) = self.waiting_for(did) {
                    waiting.lost(owner, until);
                }
                now
            }
            Some(State::Free { .. } | State::Quarantined { .. }) | None => now,
        };
        if let Some(waiting) = self.waiting_for(did) {
            waiting.remove(session);
        }
        self.enter(did, State::Leased { session, began_at, seen_at: now, expires_at });
    }

    /// Who waits for a number of the pool this one is of.
    fn waiting_for(&mut self, did: PhoneNumber) -> Option<&mut Waiting> {
        let pool = &self.numbers.get(&did)?.pool;
        self.shelves.get_mut(pool).map(|shelf| &mut shelf.waiting)
    }

    /// Remembers a lease that is over.
    fn end(
        &mut self,
        did: PhoneNumber,
        session: SessionId,
        began_at: Wall,
        ended_at: Wall,
        rests: Duration,
    ) {
        let Some(number) = self.numbers.get_mut(&did) else { return };
        if let Some(before) = number.history.back().map(|past| past.session) {
            leave_no_more(&mut self.left, before, did);
        }
        self.left.entry(session).or_default().push(did);
        if number.history.len() >= HISTORY_MAX {
            number.history.pop_front();
        }
        number.history.push_back(PastLease::new(session, began_at, ended_at, rests));
        if let Some(shelf) = self.shelves.get_mut(&number.pool) {
            let held_ms = u64::try_from(ended_at.0.saturating_sub(began_at.0)).unwrap_or(0);
            shelf.hours.ended(ended_at, held_ms);
        }
    }

    /// The only place where a number changes its state, and everything that finds it by that.
    fn enter(&mut self, did: PhoneNumber, next: State) {
        let Some(number) = self.numbers.get_mut(&did) else { return };
        let shelf = self.shelves.entry(number.pool.clone()).or_default();
        *shelf.count.of(number.state) -= 1;
        match number.state {
            State::Free { since } => {
                shelf.free.remove(&(since, did));
            }
            State::Leased { session, seen_at, expires_at, .. } => {
                shelf.seen.remove(&(seen_at, did));
                self.deadlines.remove(&(expires_at, did));
                self.by_session.remove(&(session, number.pool.clone()));
            }
            State::Quarantined { until } => {
                self.deadlines.remove(&(until, did));
            }
        }
        number.state = next;
        let is_idle = number.calls == 0;
        if is_idle && matches!(next, State::Free { .. }) {
            let Some(home) = number.home.clone() else {
                if let Some(last) = number.history.back().map(|past| past.session) {
                    leave_no_more(&mut self.left, last, did);
                }
                self.numbers.remove(&did);
                return;
            };
            number.pool = home;
        }
        let shelf = self.shelves.entry(number.pool.clone()).or_default();
        *shelf.count.of(next) += 1;
        match next {
            State::Free { since } => {
                if is_idle {
                    shelf.free.insert((since, did));
                }
            }
            State::Leased { session, seen_at, expires_at, .. } => {
                self.by_session.insert((session, number.pool.clone()), did);
                if is_idle {
                    self.deadlines.insert((expires_at, did));
                    if shelf.taken_after.is_some() {
                        shelf.seen.insert((seen_at, did));
                    }
                }
            }
            State::Quarantined { until } => {
                if is_idle {
                    self.deadlines.insert((until, did));
                }
            }
        }
    }
}

impl Shelf {
    /// Notes how many of its numbers are wanted from now on.
    fn note(&mut self, now: Wall) {
        self.waiting.settle(now);
        let wanted = self.count.leased + self.count.quarantined + self.waiting.wanted();
        self.hours.wanted(now, u64::try_from(wanted).unwrap_or(u64::MAX));
    }

    /// The number to be lent next, and whether it is taken from a visitor for that.
    fn next(&self, now: Wall) -> Option<(PhoneNumber, bool)> {
        let free = self.free.first().map(|(_, did)| (*did, false));
        free.or_else(|| {
            let (seen_at, did) = self.seen.first()?;
            (*seen_at + self.taken_after? <= now).then_some((*did, true))
        })
    }
}

impl PastLease {
    fn new(session: SessionId, began_at: Wall, ended_at: Wall, rests: Duration) -> Self {
        let ended = FormerLease { ended_at, rests_until: ended_at + rests };
        Self { session, began_at, ended }
    }

    /// As whoever lent the number has it, and since when it was lent.
    fn lease_of(&self, number: PhoneNumber) -> (Lease, Wall) {
        let Self { session, began_at, ended } = *self;
        (Lease { number, session, expires_at: ended.ended_at }, began_at)
    }

    /// Whether it is still told to whoever asks.
    pub fn is_remembered(&self, now: Wall) -> bool {
        now.0 <= (self.ended.ended_at + HISTORY).0
    }
}

impl PoolReading {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Free { .. } => &mut self.free,
            State::Leased { .. } => &mut self.leased,
            State::Quarantined { .. } => &mut self.quarantined,
        }
    }
}

/// Another session had the number since, or it is forgotten.
fn leave_no_more(
    left: &mut BTreeMap<SessionId, SmallVec<[PhoneNumber; 1]>>,
    session: SessionId,
    did: PhoneNumber,
) {
    let Some(numbers) = left.get_mut(&session) else { return };
    numbers.retain(|its| *its != did);
    if numbers.is_empty() {
        left.remove(&session);
    }
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
