//! Lending numbers: those of the store, and those that are set apart for this server.
//!
//! Invariants: a number that is set apart is lent here once, whatever the store says of it before it has heard;
//! nobody else is lent one for as long as it may be lent here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::{PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::ping::Session;
use crate::routing::pool::Lease;
use crate::routing::snapshot::Pool;
use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::time::{Mono, Wall};

use super::super::metrics::Local;
use super::super::redis::Registered;
use super::super::store::SessionStore;
use super::{OwnSessions, SharedSessions};

/// Numbers that nobody else is lent.
#[derive(Default)]
pub(super) struct Apart {
    numbers: VecDeque<PhoneNumber>,
    /// That were lent, though the store may say that they are set apart.
    used: BTreeMap<PhoneNumber, Used>,
    renewed_at: Mono,
    /// There are fewer than there should be.
    is_short: bool,
}

/// A number that was set apart, and lent.
struct Used {
    session: SessionId,
    /// Since when the store knows; what it said before is not true any more.
    heard_at: Option<Mono>,
}

impl Apart {
    pub(super) fn heard(&mut self, number: PhoneNumber, session: SessionId) {
        if let Some(used) = self.used.get_mut(&number).filter(|used| used.session == session) {
            used.heard_at.get_or_insert_with(clock::mono);
        }
    }

    /// The store has said, later than `asked_at`, which numbers are set apart.
    fn renew(&mut self, numbers: &[PhoneNumber], asked_at: Mono) {
        self.used.retain(|_, used| used.heard_at.is_none_or(|at| at >= asked_at));
        let is_unused = |it: &&PhoneNumber| !self.used.contains_key(it);
        self.numbers = numbers.iter().filter(is_unused).copied().collect();
        self.renewed_at = asked_at;
    }
}

impl SharedSessions {
    /// Lends a number, of the store or of our own. `None`: none is left.
    pub(in crate::server) async fn lend(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Option<Lease> {
        let started = clock::mono();
        match self.store.lend(pool, session, ttl, now).await {
            Ok(lease) => {
                let lease = match lease {
                    Some(lease) => Some(lease),
                    // That it has it is said again once it is at the desk.
                    None => self.lend_apart(pool, session, ttl, now).await.unwrap_or_else(Some),
                };
                self.metrics.lent(clock::mono().since(started));
                lease
            }
            Err(fault) => {
                self.metrics.fault(&fault);
                if fault.may_have_happened() {
                    self.inner.lock().unasked(&pool.id, session);
                }
                let lease = self.take_apart(&pool.id, session, now + ttl);
                self.metrics.local(if lease.is_some() { Local::Number } else { Local::NoNumber });
                lease
            }
        }
    }

    /// The store has none left but those set apart for this server. It lends none of these itself: they are
    /// lent here, and what was lent here and there would be lent twice.
    ///
    /// # Errors
    /// The store may not have heard of this lease.
    pub(super) async fn lend_apart(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Result<Option<Lease>, Lease> {
        let Some(lease) = self.take_apart(&pool.id, session, now + ttl) else { return Ok(None) };
        match self.store.register(pool, &[(lease, now)], now).await {
            Ok(registered) => {
                self.heard(&pool.id, lease.number, session);
                Ok(Some(lease).filter(|_| registered.contains(&Registered::Done)))
            }
            Err(fault) => {
                self.metrics.fault(&fault);
                Err(lease)
            }
        }
    }

    /// A number that nobody else is lent. Half a lease is left for saying that it was lent; what is said later
    /// costs the number a longer rest.
    fn take_apart(&self, pool: &PoolId, session: SessionId, expires_at: Wall) -> Option<Lease> {
        let mut inner = self.inner.lock();
        let apart = inner.apart.get_mut(pool)?;
        let lent_for = self.store.apart_for().saturating_sub(self.lease / 2);
        if clock::mono().since(apart.renewed_at) >= lent_for {
            return None;
        }
        let number = apart.numbers.pop_front()?;
        apart.used.insert(number, Used { session, heard_at: None });
        Some(Lease { number, session, expires_at })
    }

    /// The store knows by now who has, or had, the number; or nobody has.
    pub(super) fn heard(&self, pool: &PoolId, number: PhoneNumber, session: SessionId) {
        if let Some(apart) = self.inner.lock().apart.get_mut(pool) {
            apart.heard(number, session);
        }
    }

    /// A session that is not opened was lent this number, or may have been lent one.
    pub(in crate::server) fn not_used(
        &self,
        pool: PoolId,
        session: SessionId,
        number: Option<PhoneNumber>,
    ) {
        let mut inner = self.inner.lock();
        inner.untold.remove(&session);
        if let Some((apart, number)) = inner.apart.get_mut(&pool).zip(number) {
            apart.heard(number, session);
        }
        inner.unasked(&pool, session);
    }

    /// Sessions are at the desk: the store may not have heard of the numbers that they were lent out of
    /// those set apart. Said no sooner: what the desk does not know is not told.
    pub(super) fn lent_here(&self, sessions: &[Session]) {
        for session in sessions {
            let is_ours = {
                let inner = self.inner.lock();
                let apart = session.pool.as_ref().and_then(|pool| inner.apart.get(pool));
                let used = apart.zip(session.number).and_then(|(apart, did)| apart.used.get(&did));
                used.is_some_and(|it| it.session == session.session && it.heard_at.is_none())
            };
            if is_ours {
                self.untold(session.session);
            }
        }
    }

    pub(super) fn is_short(&self) -> bool {
        self.inner.lock().apart.values().any(|apart| apart.is_short)
    }

    pub(super) async fn set_apart(
        &self,
        own: &dyn OwnSessions,
        pool: &Pool,
    ) -> Result<(), StoreFault> {
        self.tell_leases(own, pool, &self.over_apart(own, pool)).await?;
        let (count, started) = (apart_of(pool), clock::mono());
        let numbers = self.store.set_apart(pool, count, clock::wall()).await?;
        let mut inner = self.inner.lock();
        let apart = inner.apart.entry(pool.id.clone()).or_default();
        apart.renew(&numbers, started);
        apart.is_short = apart.numbers.len() < count;
        let all = inner.apart.values().map(|apart| apart.numbers.len()).sum();
        drop(inner);
        self.metrics.apart(all);
        Ok(())
    }

    /// Leases of numbers set apart that were over before the store could hear of them: of sessions that are it
    /// hears one by one.
    fn over_apart(&self, own: &dyn OwnSessions, pool: &Pool) -> Vec<(Lease, Wall)> {
        let used: Vec<(PhoneNumber, SessionId)> = {
            let inner = self.inner.lock();
            let used = inner.apart.get(&pool.id).into_iter().flat_map(|apart| &apart.used);
            let unheard = used.filter(|(_, used)| used.heard_at.is_none());
            unheard.map(|(number, used)| (*number, used.session)).collect()
        };
        let had = |(number, session)| match own.opened(session) {
            Some(_) => None,
            None => own.had(number, session),
        };
        used.into_iter().filter_map(had).collect()
    }
}

/// How many numbers are set apart: two of a hundred, two at least, and never more than an eighth.
fn apart_of(pool: &Pool) -> usize {
    let all = pool.numbers.len();
    (all / 50).max(2).min(all / 8)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AT, Desk, MOMENT, session, shared, snapshot};
    use super::*;

    #[tokio::test]
    async fn a_number_of_our_own_is_told_of_once_its_session_is_at_the_desk() {
        let (shared, snapshot) = (shared(), snapshot());
        let number = "+18005550201".parse().unwrap();
        let apart = Apart {
            numbers: [number].into(),
            used: BTreeMap::new(),
            renewed_at: clock::mono(),
            is_short: false,
        };
        shared.inner.lock().apart.insert("pool".into(), apart);
        let pool = snapshot.pool(&"pool".into()).unwrap();
        let id = SessionId::from_bytes([7; 16]);
        let lease = shared.lend(pool, id, MOMENT, AT).await.unwrap();
        assert_eq!(lease, Lease { number, session: id, expires_at: AT + MOMENT });

        // What is due is told at that moment.
        assert!(shared.inner.lock().unasked.is_empty(), "the store was not asked");
        shared.tell_some(&Desk::of(snapshot)).await.unwrap();
        let opened = session(id, number);
        shared.lent_here(std::slice::from_ref(&opened));

        assert!(shared.is_untold_alone(id));
        let of_the_store = SessionId::from_bytes([8; 16]);
        shared.lent_here(&[session(of_the_store, "+18005550202".parse().unwrap())]);
        assert!(!shared.is_untold_alone(of_the_store), "the store has lent it");
    }

    /// A lease and an outage of that length are a moment each here.
    #[tokio::test]
    async fn numbers_set_apart_are_lent_for_as_long_as_they_are_and_not_for_half_a_lease() {
        let (shared, snapshot) = (shared(), snapshot());
        let number = "+18005550201".parse().unwrap();
        let pool = snapshot.pool(&"pool".into()).unwrap();
        for (ago_ms, is_lent) in [(1_500, true), (3_600, false)] {
            let apart = Apart {
                numbers: [number].into(),
                used: BTreeMap::new(),
                renewed_at: Mono(clock::mono().0 - ago_ms * 1_000_000),
                is_short: false,
            };
            shared.inner.lock().apart.insert("pool".into(), apart);
            let lent = shared.lend(pool, SessionId::from_bytes([7; 16]), MOMENT, AT).await;
            assert_eq!(lent.is_some(), is_lent, "{ago_ms} ms ago");
        }
    }

    /// What the store said of numbers before it heard that one was lent is not true any more.
    #[test]
    fn a_number_set_apart_is_not_lent_again_by_an_answer_from_before() {
        let numbers = ["+18005550201", "+18005550202"].map(|it| it.parse().unwrap());
        let id = SessionId::from_bytes([7; 16]);
        let mut apart = Apart::default();
        apart.renew(&numbers, clock::mono());
        let lent = apart.numbers.pop_front().unwrap();
        apart.used.insert(lent, Used { session: id, heard_at: None });
        let asked_before = clock::mono();
        apart.renew(&numbers, asked_before);
        assert_eq!(apart.numbers, [numbers[1]], "the store has not heard");

        apart.heard(lent, SessionId::from_bytes([8; 16]));
        apart.renew(&numbers, clock::mono());
        assert_eq!(apart.numbers, [numbers[1]], "that was another's");
        apart.heard(lent, id);
        apart.renew(&numbers, asked_before);
        assert_eq!(apart.numbers, [numbers[1]], "it was asked before it heard");
        // It was taken back, and is set apart again.
        apart.renew(&numbers, clock::mono() + MOMENT);
        assert_eq!(apart.numbers, numbers);
        assert!(apart.used.is_empty());
    }

    #[tokio::test]
    async fn leases_that_were_over_unheard_are_told_and_no_others() {
        let (shared, snapshot) = (shared(), snapshot());
        let pool = snapshot.pool(&"pool".into()).unwrap().clone();
        let mut desk = Desk::of(snapshot);
        let [over, live, unopened, heard] = [1, 2, 3, 4].map(|nth: u8| {
            (format!("+1800555020{nth}").parse().unwrap(), SessionId::from_bytes([nth; 16]))
        });
        let lease = |(number, session)| (Lease { number, session, expires_at: AT }, AT);
        desk.opened.push(session(live.1, live.0));
        desk.over = [over, live, heard].map(lease).into();
        let used = [over, live, unopened, heard].map(|it| {
            let heard_at = (it == heard).then(clock::mono);
            (it.0, Used { session: it.1, heard_at })
        });
        let apart = Apart { used: used.into(), ..Apart::default() };
        shared.inner.lock().apart.insert("pool".into(), apart);
        assert_eq!(shared.over_apart(&desk, &pool), [lease(over)]);
    }
}
