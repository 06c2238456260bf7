//! The desk of a process as a store that others could ask.

use std::time::Duration;

use parking_lot::Mutex;
use tollbridge::id::{CallId, SessionId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::RouteRequest;
use tollbridge::routing::attribution::SessionKey;
use tollbridge::routing::history::{Caller, CallerHistory, PastCall};
use tollbridge::routing::ping::{Consumed, Desk, DeskLimits, NumberState, Session, VisitorKey};
use tollbridge::routing::pool::Lease;
use tollbridge::routing::snapshot::{Pool, RoutingSnapshot};
use tollbridge::server::redis::StoreFault;
use tollbridge::server::sessions::{Candidates, SessionStore};
use tollbridge::time::Wall;

pub(super) struct InProcess {
    desk: Mutex<Desk>,
    history: Mutex<CallerHistory>,
}

impl InProcess {
    pub(super) fn new(snapshot: &RoutingSnapshot) -> Self {
        let mut desk = Desk::new(DeskLimits::default());
        desk.configure(snapshot);
        let history = Mutex::new(CallerHistory::new(snapshot.history_limits()));
        Self { desk: Mutex::new(desk), history }
    }

    /// To whom a number is and was lent.
    pub(super) fn number_state(&self, number: PhoneNumber, now: Wall) -> NumberState {
        self.at(now).number_state(number, now)
    }

    /// What is over is over, also if nobody asks.
    fn at(&self, now: Wall) -> parking_lot::MutexGuard<'_, Desk> {
        let mut desk = self.desk.lock();
        desk.expire(now);
        desk
    }
}

impl SessionStore for InProcess {
    async fn lend(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        Ok(self.at(now).lend(&pool.id, session, ttl, now))
    }

    async fn shorten(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        let mut desk = self.at(now);
        let mut numbers = pool.numbers.iter();
        Ok(numbers.find_map(|number| desk.lease_ends(session, *number, now + ttl, now)))
    }

    async fn pin(
        &self,
        _: &Pool,
        number: PhoneNumber,
        _: CallId,
        now: Wall,
    ) -> Result<(), StoreFault> {
        self.at(now).call_started(number, now);
        Ok(())
    }

    async fn unpin(
        &self,
        _: &Pool,
        number: PhoneNumber,
        _: CallId,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        let mut desk = self.at(now);
        desk.call_ended(number, now);
        Ok(desk.number_state(number, now).lease)
    }

    async fn put(
        &self,
        _: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> Result<(), StoreFault> {
        self.at(now).put(session.clone(), now);
        Ok(())
    }

    async fn consume(&self, session: SessionId, now: Wall) -> Result<Consumed, StoreFault> {
        Ok(self.at(now).consume(session, now))
    }

    async fn abandon(
        &self,
        _: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> Result<(), StoreFault> {
        self.at(now).abandon(session.session, now);
        Ok(())
    }

    async fn lookup(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Result<Candidates, StoreFault> {
        let readings = self.at(request.at).candidates(snapshot, request);
        Ok(Candidates { readings, are_all: true })
    }

    async fn put_calls(
        &self,
        _: &RoutingSnapshot,
        calls: &[(Caller, PastCall)],
    ) -> Result<(), StoreFault> {
        let mut history = self.history.lock();
        for (caller, call) in calls {
            history.begin(caller, call.clone());
            history.restore(caller, call.clone());
        }
        Ok(())
    }

    async fn calls(&self, caller: &Caller) -> Result<Vec<PastCall>, StoreFault> {
        Ok(self.history.lock().calls(caller, None))
    }

    async fn find(&self, key: SessionKey, now: Wall) -> Result<Option<Session>, StoreFault> {
        Ok(self.at(now).by_key(key).cloned())
    }

    async fn visitor(
        &self,
        visitor: &VisitorKey,
        now: Wall,
    ) -> Result<Option<Session>, StoreFault> {
        Ok(self.at(now).visitor(visitor).cloned())
    }
}
