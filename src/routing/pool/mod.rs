//! Numbers lent to sessions (spec/domain §2.3).
//!
//! `free → leased → quarantined → free`. A call on a number keeps it from changing hands. Among
//! the free numbers the one unused for longest is lent, so that late callers of its previous
//! session are least likely to be taken for the new one's.
//!
//! Invariants: a number is lent to one session at a time; a session has at most one number of a
//! pool; a number is not lent again before its quarantine is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::request::FormerLease;
use super::snapshot::RoutingSnapshot;

/// How long a number stays with its session after a call on it has ended.
const AFTER_CALL: Duration = Duration::from_secs(300);

/// All pools' numbers and who has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    numbers: BTreeMap<PhoneNumber, Number>,
    /// Per pool: since when unused, and the number.
    free: BTreeMap<PoolId, BTreeSet<(Wall, PhoneNumber)>>,
    by_session: BTreeMap<(SessionId, PoolId), PhoneNumber>,
    /// When a lease or a quarantine ends; numbers with a call on them are not in it.
    deadlines: BTreeSet<(Wall, PhoneNumber)>,
}

/// A number that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub number: PhoneNumber,
    pub session: SessionId,
    pub expires_at: Wall,
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
    /// The last lease of it that is over.
    former: Option<(SessionId, FormerLease)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free { since: Wall },
    Leased { session: SessionId, expires_at: Wall },
    Quarantined { until: Wall },
}

impl Leases {
    /// Takes over the pools of a configuration. Numbers keep their state; a number that is gone
    /// from the configuration stays with its session to the end.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        for number in self.numbers.values_mut() {
            number.home = None;
        }
        for pool in snapshot.pools() {
            for &did in &pool.numbers {
                let number = self.numbers.entry(did).or_insert_with(|| Number {
                    pool: pool.id.clone(),
                    home: None,
                    state: State::Free { since: Wall(0) },
                    calls: 0,
                    quarantine: pool.quarantine,
                    former: None,
                });
                number.home = Some(pool.id.clone());
                number.quarantine = pool.quarantine;
            }
        }
        self.free.clear();
        let idle: Vec<_> = self
            .numbers
            .iter()
            .filter(|(_, number)| number.calls == 0)
            .filter_map(|(did, number)| match number.state {
                State::Free { since } => Some((*did, since)),
                State::Leased { .. } | State::Quarantined { .. } => None,
            })
            .collect();
        for (did, since) in idle {
            self.set_free(did, since);
        }
    }

    /// Lends `session` a number of the pool until `now + ttl`, or prolongs the one it has. `None`
    /// when no number is free.
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
        let did = match owned {
            Some(did) => did,
            None => self.free.get_mut(pool)?.pop_first()?.1,
        };
        self.give(did, session, expires_at);
        Some(Lease { number: did, session, expires_at })
    }

    /// Puts back a lease from before a restart that began at `since`; leases have to come in the order
    /// in which they began. False if the number is somebody else's then: nothing changed.
    pub fn restore(&mut self, lease: Lease, since: Wall) -> bool {
        self.expire(since);
        let Some(number) = self.numbers.get(&lease.number) else { return false };
        match number.state {
            State::Free { since } => {
                if let Some(free) = self.free.get_mut(&number.pool) {
                    free.remove(&(since, lease.number));
                }
            }
            // It rested for less then.
            State::Quarantined { until } => {
                self.deadlines.remove(&(until, lease.number));
            }
            State::Leased { .. } => return false,
        }
        self.give(lease.number, lease.session, lease.expires_at);
        true
    }

    /// Who has the number, if its lease is live.
    pub fn holder(&self, did: PhoneNumber, now: Wall) -> Option<Lease> {
        let number = self.numbers.get(&did)?;
        match number.state {
            State::Leased { session, expires_at } if now < expires_at || number.calls > 0 => {
                Some(Lease { number: did, session, expires_at })
            }
            State::Leased { .. } | State::Free { .. } | State::Quarantined { .. } => None,
        }
    }

    /// Who had the number last and has it no more.
    pub fn former(&self, did: PhoneNumber, now: Wall) -> Option<(SessionId, FormerLease)> {
        let number = self.numbers.get(&did)?;
        match number.state {
            // Nobody has looked since it ended.
            State::Leased { session, expires_at } if now >= expires_at && number.calls == 0 => {
                Some((session, number.ends(expires_at)))
            }
            State::Leased { .. } | State::Free { .. } | State::Quarantined { .. } => number.former,
        }
    }

    /// A call has begun on the number: it changes hands no more until the call has ended. False
    /// if the number belongs to no pool; then [`Leases::unpin`] must not be called.
    pub fn pin(&mut self, did: PhoneNumber) -> bool {
        let Some(number) = self.numbers.get_mut(&did) else { return false };
        number.calls += 1;
        match number.state {
            State::Leased { expires_at, .. } => {
                self.deadlines.remove(&(expires_at, did));
            }
            State::Quarantined { until } => {
                self.deadlines.remove(&(until, did));
            }
            State::Free { since } => {
                if let Some(free) = self.free.get_mut(&number.pool) {
                    free.remove(&(since, did));
                }
            }
        }
        true
    }

    /// A call on the number has ended. A lease lasts at least 300 s longer. Returns the lease as
    /// it now is.
    pub fn unpin(&mut self, did: PhoneNumber, now: Wall) -> Option<Lease> {
        let number = self.numbers.get_mut(&did)?;
        number.calls = number.calls.saturating_sub(1);
        if let State::Leased { expires_at, .. } = &mut number.state {
            *expires_at = (*expires_at).max(now + AFTER_CALL);
        }
        if let State::Free { since } = &mut number.state {
            *since = now;
        }
        let (state, idle) = (number.state, number.calls == 0);
        match state {
            State::Leased { session, expires_at } => {
                if idle {
                    self.deadlines.insert((expires_at, did));
                }
                Some(Lease { number: did, session, expires_at })
            }
            State::Quarantined { until } => {
                if idle {
                    self.deadlines.insert((until, did));
                }
                None
            }
            State::Free { since } => {
                if idle {
                    self.set_free(did, since);
                }
                None
            }
        }
    }

    /// The session needs its numbers no more: they go into quarantine, or stay leased while a
    /// call is on them.
    pub fn release(&mut self, session: SessionId, now: Wall) {
        let from = (session, PoolId::default());
        let owned: Vec<_> = self
            .by_session
            .range(from..)
            .take_while(|((owner, _), _)| *owner == session)
            .map(|(_, did)| *did)
            .collect();
        for did in owned {
            let Some(number) = self.numbers.get_mut(&did) else { continue };
            let State::Leased { expires_at, .. } = &mut number.state else { continue };
            let before = std::mem::replace(expires_at, now);
            if number.calls == 0 {
                self.deadlines.remove(&(before, did));
                self.deadlines.insert((now, did));
            }
        }
        self.expire(now);
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
            match number.state {
                State::Leased { session, .. } => {
                    let former = number.ends(at);
                    let until = former.rests_until;
                    number.former = Some((session, former));
                    number.state = State::Quarantined { until };
                    self.by_session.remove(&(session, number.pool.clone()));
                    self.deadlines.insert((until, did));
                }
                State::Quarantined { until } => {
                    let rested_since = Wall(until.0 - duration_ms(number.quarantine));
                    number.state = State::Free { since: rested_since };
                    self.set_free(did, rested_since);
                }
                State::Free { .. } => {}
            }
        }
        moved
    }

    /// When [`Leases::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Wall> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How full a pool is.
    pub fn reading(&self, pool: &PoolId) -> PoolReading {
        let mut reading = PoolReading::default();
        for number in self.numbers.values().filter(|number| number.pool == *pool) {
            match number.state {
                State::Free { .. } => reading.free += 1,
                State::Leased { .. } => reading.leased += 1,
                State::Quarantined { .. } => reading.quarantined += 1,
            }
        }
        reading
    }

    fn give(&mut self, did: PhoneNumber, session: SessionId, expires_at: Wall) {
        let Some(number) = self.numbers.get_mut(&did) else { return };
        if let State::Leased { expires_at: before, .. } = number.state {
            self.deadlines.remove(&(before, did));
        }
        number.state = State::Leased { session, expires_at };
        self.by_session.insert((session, number.pool.clone()), did);
        if number.calls == 0 {
            self.deadlines.insert((expires_at, did));
        }
    }

    fn set_free(&mut self, did: PhoneNumber, since: Wall) {
        let Some(number) = self.numbers.get_mut(&did) else { return };
        match number.home.clone() {
            Some(home) => {
                number.pool = home.clone();
                self.free.entry(home).or_default().insert((since, did));
            }
            None => {
                self.numbers.remove(&did);
            }
        }
    }
}

impl Number {
    fn ends(&self, ended_at: Wall) -> FormerLease {
        FormerLease { ended_at, rests_until: ended_at + self.quarantine }
    }
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing::config::RoutingConfig;

    const TTL: Duration = Duration::from_secs(100);

    #[test]
    fn a_session_keeps_its_number() {
        let mut leases = leases(3);
        let first = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
        let again = leases.lease(&pool(), session(1), TTL, at(50)).unwrap();
        assert_eq!(again, Lease { expires_at: at(150), ..first });
        assert_eq!(leases.reading(&pool()), PoolReading { free: 2, leased: 1, quarantined: 0 });
    }

    #[test]
    fn a_number_rests_before_it_is_lent_again_and_the_longest_unused_goes_first() {
        let mut leases = leases(2);
        let a = leases.lease(&pool(), session(1), TTL, at(0)).unwrap().number;
        let b = leases.lease(&pool(), session(2), TTL, at(10)).unwrap().number;

        assert_eq!(leases.lease(&pool(), session(3), TTL, at(159)), None);
        // `a` has been free since 100 and rests until 160, `b` until 170.
        leases.expire(at(170));
        assert_eq!(leases.lease(&pool(), session(3), TTL, at(170)).unwrap().number, a);
        assert_eq!(leases.lease(&pool(), session(4), TTL, at(170)).unwrap().number, b);
    }

    #[test]
    fn a_call_keeps_the_number_from_changing_hands() {
        let mut leases = leases(1);
        let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();

        assert!(leases.pin(lent.number));
        leases.expire(at(1_000));
        assert_eq!(leases.holder(lent.number, at(1_000)), Some(lent));
        let after = leases.unpin(lent.number, at(1_000)).unwrap();

        assert_eq!(after.expires_at, at(1_300));
        leases.expire(at(1_300));
        assert_eq!(leases.holder(lent.number, at(1_300)), None);
    }

    #[test]
    fn a_released_number_goes_into_quarantine() {
        let mut leases = leases(1);
        let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
        leases.release(session(1), at(20));
        assert_eq!(leases.holder(lent.number, at(20)), None);
        assert_eq!(leases.lease(&pool(), session(2), TTL, at(79)), None);
        assert!(leases.lease(&pool(), session(2), TTL, at(80)).is_some());
    }

    #[test]
    fn a_number_that_left_the_configuration_stays_with_its_session() {
        let mut leases = leases(2);
        let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
        leases.configure(&snapshot(0));
        assert_eq!(leases.holder(lent.number, at(1)), Some(lent));
        leases.expire(at(160));
        leases.expire(at(160));
        // Only the number every configuration here has is left.
        assert_eq!(leases.numbers.len(), 1);
    }

    proptest! {
        #[test]
        fn two_sessions_never_have_one_number_and_none_is_lent_before_it_rested(
            steps in prop::collection::vec((0_u8..6, 0_u8..5, 0_i64..60), 1..200),
        ) {
            let mut leases = leases(3);
            let mut now = 0;
            let mut last_lent: BTreeMap<PhoneNumber, (SessionId, Wall)> = BTreeMap::new();
            let mut pinned = vec![];
            for (step, who, wait) in steps {
                now += wait;
                match step {
                    0..=2 => {
                        if let Some(lease) = leases.lease(&pool(), session(who), TTL, at(now)) {
                            if let Some((owner, end)) = last_lent.get(&lease.number)
                                && *owner != lease.session
                            {
                                prop_assert!(*end + Duration::from_secs(60) <= at(now));
                            }
                            prop_assert!(!pinned.contains(&lease.number)
                                || last_lent[&lease.number].0 == lease.session);
                            last_lent.insert(lease.number, (lease.session, lease.expires_at));
                        }
                    }
                    3 => {
                        leases.release(session(who), at(now));
                        for (owner, end) in last_lent.values_mut() {
                            if *owner == session(who) {
                                *end = (*end).min(at(now));
                            }
                        }
                    }
                    4 => {
                        let owned = last_lent.iter().find(|(_, (owner, _))| *owner == session(who));
                        if let Some((did, _)) = owned {
                            leases.pin(*did);
                            pinned.push(*did);
                        }
                    }
                    _ => {
                        if let Some(did) = pinned.pop()
                            && let Some(lease) = leases.unpin(did, at(now))
                        {
                            last_lent.insert(did, (lease.session, lease.expires_at));
                        }
                    }
                }
                let mut owners = BTreeSet::new();
                for did in leases.numbers.keys() {
                    if let Some(lease) = leases.holder(*did, at(now)) {
                        prop_assert!(owners.insert(lease.session));
                    }
                }
                let reading = leases.reading(&pool());
                prop_assert_eq!(reading.free + reading.leased + reading.quarantined, 3);
            }
        }
    }

    fn leases(numbers: usize) -> Leases {
        let mut leases = Leases::default();
        leases.configure(&snapshot(numbers.saturating_sub(1)));
        leases
    }

    /// A pool of one number and `more`.
    fn snapshot(more: usize) -> RoutingSnapshot {
        let numbers: Vec<_> = (0..=more).map(|n| format!("\"+161455501{n:02}\"")).collect();
        let config: RoutingConfig = toml::from_str(&format!(
            r#"
            publishers = [{{ id = "pub" }}]
            buyers = [{{ id = "buy" }}]
            targets = [{{ id = "t", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }} }}]
            pools = [{{
                id = "pool", campaign = "cmp", publisher = "pub", quarantine_s = 60,
                numbers = [{}],
            }}]
            [[campaigns]]
            id = "cmp"
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            "#,
            numbers.join(",")
        ))
        .unwrap();
        RoutingSnapshot::compile(config, 1).unwrap()
    }

    fn pool() -> PoolId {
        PoolId::new("pool")
    }

    fn session(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    fn at(seconds: i64) -> Wall {
        Wall(seconds * 1_000)
    }
}
