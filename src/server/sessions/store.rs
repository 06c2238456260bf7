//! What a store of sessions does, whoever keeps it.

use std::future::Future;
use std::time::Duration;

use crate::id::{CallId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::history::{Caller, PastCall};
use crate::routing::ping::{Consumed, Session, VisitorKey};
use crate::routing::pool::Lease;
use crate::routing::request::SessionReading;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::routing::{RouteRequest, attribution};
use crate::server::redis::StoreFault;
use crate::time::Wall;

/// The sessions a call may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    pub readings: Vec<SessionReading>,
    /// Of those that were told there are no others. Else the store may have lost some.
    pub are_all: bool,
}

/// Sessions of several servers and the numbers lent to them, kept where all of them can see them.
///
/// A session has the digits of its ping. Whatever is said twice, or after its answer was lost, has
/// happened once.
pub trait SessionStore: Send + Sync {
    /// Lends a number of the pool until `now + ttl`, or prolongs or shortens the lease that the session
    /// has. `None`: none is left.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer: a number may have been lent.
    fn lend(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> impl Future<Output = Result<Option<Lease>, StoreFault>> + Send;

    /// Lets the lease that the session has, if it has one, end at `now + ttl`, or some time behind the last
    /// call on its number: says which it is then.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    fn shorten(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
    ) -> impl Future<Output = Result<Option<Lease>, StoreFault>> + Send;

    /// A call is on a number of the pool, which changes hands no more until [`SessionStore::unpin`], or
    /// until nobody says so any more. Said again from time to time.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`].
    fn pin(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// The call has ended. Its session, and the lease of the number, go on for some time. Returns the
    /// lease as it now is.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`].
    fn unpin(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> impl Future<Output = Result<Option<Lease>, StoreFault>> + Send;

    /// Calls find the session, as it is now, from here on.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`].
    fn put(
        &self,
        snapshot: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// A call was attributed to the session.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`], or the store does not know the session, and may have lost it.
    fn consume(
        &self,
        session: SessionId,
        now: Wall,
    ) -> impl Future<Output = Result<Consumed, StoreFault>> + Send;

    /// Nobody was told of the session nor of its number: it never was.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`].
    fn abandon(
        &self,
        snapshot: &RoutingSnapshot,
        session: &Session,
        now: Wall,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// Every session a call may belong to.
    ///
    /// # Errors
    /// The store could not be asked, or not all of it answered.
    fn lookup(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> impl Future<Output = Result<Candidates, StoreFault>> + Send;

    /// Earlier calls of callers are known as they are now from here on. Of one caller the last are kept, as
    /// many as the configuration says.
    ///
    /// # Errors
    /// As [`SessionStore::shorten`].
    fn put_calls(
        &self,
        snapshot: &RoutingSnapshot,
        calls: &[(Caller, PastCall)],
    ) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// The earlier calls of a caller, the latest first.
    ///
    /// # Errors
    /// As [`SessionStore::lookup`].
    fn calls(
        &self,
        caller: &Caller,
    ) -> impl Future<Output = Result<Vec<PastCall>, StoreFault>> + Send;

    /// The live session that an id names.
    ///
    /// # Errors
    /// As [`SessionStore::lookup`], or the store does not know it, and may have lost it.
    fn find(
        &self,
        key: SessionKey,
        now: Wall,
    ) -> impl Future<Output = Result<Option<Session>, StoreFault>> + Send;

    /// The live session that a visitor has.
    ///
    /// # Errors
    /// As [`SessionStore::lookup`].
    fn visitor(
        &self,
        visitor: &VisitorKey,
        now: Wall,
    ) -> impl Future<Output = Result<Option<Session>, StoreFault>> + Send;
}

/// For how long a session is kept that is over: calls may still be matched to it, or be up.
pub(super) fn outlives(snapshot: &RoutingSnapshot, session: &Session) -> Duration {
    /// The longest call, and then some.
    const OF_POOL: Duration = Duration::from_secs(5 * 3_600);
    const OF_OTHERS: Duration = Duration::from_secs(15 * 60);

    let knows_callers = snapshot.content_with_earlier().any(|it| *it == session.campaign);
    if session.caller.is_some() && knows_callers {
        return attribution::EARLIER_MAX;
    }
    let Some(pool) = session.pool.as_ref() else { return OF_OTHERS };
    let rests = snapshot.pool(pool).map_or(Duration::ZERO, |pool| pool.quarantine);
    OF_POOL.max(rests)
}
