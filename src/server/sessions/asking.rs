//! What pings and visitors ask of the store, where there is one, and of the desk of this server.

use std::sync::Arc;

use crate::api::PingError;
use crate::id::{PoolId, SessionId};
use crate::routing::RoutingSnapshot;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    Accepted, Lent, NumberStatus, Session, Touched, Visit, VisitUpdate, Visiting,
};
use crate::server::clock;
use crate::server::control::Control;
use crate::server::deciding::{Deciding, Lending};
use crate::time::Wall;

use super::SharedSessions;
use super::shared::Asked;

/// The number of a session that is about to be opened. If that comes to nothing, however it ends, the
/// number is free again.
pub(in crate::server) struct Borrowing<'a> {
    deciding: &'a Arc<Deciding>,
    session: SessionId,
    /// Present once a number was asked for.
    pool: Option<PoolId>,
    /// What the store has said.
    lent: Option<Lent>,
    is_opened: bool,
}

impl Borrowing<'_> {
    /// What the store has said.
    pub(in crate::server) fn lent(&self) -> Option<Lent> {
        self.lent
    }

    pub(in crate::server) async fn lend(&mut self, wanted: Lending, now: Wall) {
        let snapshot = self.deciding.snapshot();
        self.pool = Some(wanted.pool.clone());
        let mut lease = None;
        if let (Some(shared), Some(pool)) = (self.deciding.sessions(), snapshot.pool(&wanted.pool))
        {
            lease = shared.lend(pool, self.session, wanted.ttl, now).await;
        }
        self.lent = Some(Lent(lease));
    }

    /// The session has it.
    pub(in crate::server) fn opened(mut self) {
        self.is_opened = true;
    }
}

impl Drop for Borrowing<'_> {
    fn drop(&mut self) {
        if let (Some(shared), Some(pool), false) =
            (self.deciding.sessions(), self.pool.take(), self.is_opened)
        {
            let number = self.lent.and_then(|Lent(lease)| lease).map(|lease| lease.number);
            shared.not_used(pool, self.session, number);
        }
    }
}

impl Control {
    pub(in crate::server) fn lending(&self, session: SessionId) -> Borrowing<'_> {
        Borrowing { deciding: &self.deciding, session, pool: None, lent: None, is_opened: false }
    }

    /// Sessions were opened: others see them when this returns, if they can.
    pub(in crate::server) async fn show(&self, opened: &[SessionId]) {
        let Some(shared) = self.deciding.sessions() else { return };
        let sessions: Vec<Session> =
            opened.iter().filter_map(|id| self.deciding.session(*id)).collect();
        if !sessions.is_empty() {
            shared.opened(&self.deciding.snapshot(), &sessions, clock::wall()).await;
        }
    }

    /// A live session, wherever it was opened.
    ///
    /// # Errors
    /// It is not here, and the store does not say whether it is elsewhere.
    pub(in crate::server) async fn found(
        &self,
        key: SessionKey,
        here: impl FnOnce() -> Option<Session>,
    ) -> Result<Option<Session>, PingError> {
        let now = clock::wall();
        // The desk notices by and by that one is over.
        let here = || here().filter(|it| now < it.expires_at);
        let Some(shared) = self.deciding.sessions() else { return Ok(here()) };
        match shared.find(key, now).await {
            Asked::Told(session) => Ok(Some(session)),
            Asked::Unknown => or_untold(shared, here().filter(|it| shared.is_untold(it.session))),
            Asked::Away => here().map(Some).ok_or(PingError::StoreAway),
        }
    }

    /// The session that a visitor has, wherever it was opened.
    pub(in crate::server) async fn brought_back(
        &self,
        visiting: &Visiting,
        now: Wall,
    ) -> Option<Visit> {
        let shared = self.deciding.sessions()?;
        let Asked::Told((session, touched)) =
            shared.bring_back(&*self.deciding, visiting, now).await
        else {
            return None;
        };
        let snapshot = self.deciding.snapshot();
        let accepted = accepted_again(&snapshot, &session);
        Some(visiting.clone().answer_again(accepted, touched))
    }

    /// A sign of life of a session, wherever it was opened; `None`: it is over.
    ///
    /// # Errors
    /// What is new cannot be taken, or as [`Control::found`].
    pub(in crate::server) async fn touch_anywhere(
        &self,
        session: SessionId,
        update: &VisitUpdate,
        now: Wall,
    ) -> Result<Option<Touched>, PingError> {
        let Some(shared) = self.deciding.sessions() else {
            return Ok(self.deciding.touch(session, update, now)?);
        };
        match shared.touch(&*self.deciding, session, update, now).await? {
            Asked::Told(touched) => Ok(Some(touched)),
            Asked::Unknown if !shared.is_untold(session) => or_untold(shared, None),
            Asked::Unknown => or_untold(shared, self.deciding.touch(session, update, now)?),
            Asked::Away => {
                let touched = self.deciding.touch(session, update, now)?;
                touched.map(Some).ok_or(PingError::StoreAway)
            }
        }
    }

    /// The page of a session was closed, wherever it was opened: until when it lives; `None`: it is
    /// over.
    ///
    /// # Errors
    /// As [`Control::found`].
    pub(in crate::server) async fn release_anywhere(
        &self,
        session: SessionId,
        now: Wall,
    ) -> Result<Option<Wall>, PingError> {
        let let_go = || self.deciding.let_go(session, now).map(|moved| moved.expires_at);
        let Some(shared) = self.deciding.sessions() else { return Ok(let_go()) };
        match shared.release(&*self.deciding, session, now).await {
            Asked::Told(until) => Ok(Some(until)),
            Asked::Unknown if !shared.is_untold(session) => or_untold(shared, None),
            Asked::Unknown => or_untold(shared, let_go()),
            Asked::Away => let_go().map(Some).ok_or(PingError::StoreAway),
        }
    }
}

/// What nobody knows is over, but for what others may have yet to tell a store that has forgotten it.
fn or_untold<T>(shared: &SharedSessions, found: Option<T>) -> Result<Option<T>, PingError> {
    if found.is_none() && !shared.is_whole() {
        return Err(PingError::StoreAway);
    }
    Ok(found)
}

/// What the ping of a session is answered that comes again, wherever it was opened.
pub(super) fn accepted_again(snapshot: &RoutingSnapshot, session: &Session) -> Accepted {
    let pool = session.pool.as_ref().and_then(|pool| snapshot.pool(pool));
    let is_overflow = pool.is_some_and(|pool| pool.overflow == session.number);
    Accepted {
        ping: session.ping,
        session: session.session,
        number: session.number,
        number_status: match (&session.pool, session.number) {
            (None, None) => NumberStatus::NotAsked,
            (Some(_), None) => NumberStatus::Exhausted,
            (Some(_), Some(_)) if is_overflow => NumberStatus::Shared,
            (Some(_) | None, Some(_)) => NumberStatus::Leased,
        },
        expires_at: session.expires_at,
        promise: session.promise.as_deref().copied(),
        repeated: true,
    }
}
