//! Sessions and numbers that are shared with other servers: what the desk of this one knows of them,
//! and tells.

use std::sync::Arc;

use crate::id::{PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::history::Caller;
use crate::routing::ping::{Checked, Desk, Lent, Session};
use crate::routing::pool::{AskedHour, Lease};
use crate::routing::request::SessionReading;
use crate::routing::snapshot::Pool;
use crate::routing::{RouteRequest, RoutingSnapshot};
use crate::server::clock;
use crate::server::sessions::shared::{CallsOfSome, OwnSessions};
use crate::server::sessions::{Looked, SharedSessions};
use crate::time::Wall;

use super::{Deciding, Lending, Unopened};

impl Deciding {
    /// Sessions are looked for in this store from now on, and numbers are lent there. Said once, before
    /// any call.
    pub fn share_sessions(&self, shared: Arc<SharedSessions>) {
        self.state.lock().desk.share_numbers();
        let _said_before = self.sessions.set(shared);
    }

    pub(in crate::server) fn sessions(&self) -> Option<&Arc<SharedSessions>> {
        self.sessions.get()
    }

    /// Every session a call may belong to: those at the desk, or those the store knows and the desk's
    /// that it was not told of. Where it does not answer, those at the desk and what was read lately.
    pub(super) fn sessions_of(
        &self,
        desk: &Desk,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        looked: Option<&Looked>,
    ) -> Vec<SessionReading> {
        let own = desk.candidates(snapshot, request);
        let (Some(Looked { readings, is_all, .. }), Some(shared)) = (looked, self.sessions.get())
        else {
            return own;
        };
        let (mut first, mut more) = (readings.clone(), own);
        if *is_all {
            more.retain(|it| shared.is_untold(it.session));
        } else {
            std::mem::swap(&mut first, &mut more);
            more.retain(|it| request.at < it.expires_at);
        }
        for reading in more {
            let has_number = |it: &SessionReading| {
                it.number == Some(request.dialed) && it.former.is_none() && it.sharing.is_none()
            };
            let is_known = first.iter().any(|it| it.session == reading.session);
            let is_in_doubt = has_number(&reading) && first.iter().any(has_number);
            if !is_known && !is_in_doubt {
                first.push(reading);
            }
        }
        first
    }

    /// Whether a number has to be lent elsewhere before a session is opened.
    pub(super) fn lend_first(&self, checked: &Checked, lent: Option<Lent>) -> Result<(), Unopened> {
        match (self.sessions.get(), checked.pool(), lent) {
            (Some(_), Some(pool), None) => {
                Err(Unopened::Lend(Lending { pool: pool.clone(), ttl: checked.ttl() }))
            }
            (None, ..) | (_, None, _) | (.., Some(_)) => Ok(()),
        }
    }

    /// The store says that a call was the first of the session.
    pub(in crate::server) fn was_first(&self, publisher: &PublisherId, at: Wall) {
        self.delivered(publisher, at);
    }

    /// The pool that a number is lent from.
    pub(in crate::server) fn pool_of(&self, number: PhoneNumber) -> Option<Pool> {
        self.snapshot.load().number(number).and_then(|owner| owner.pool.cloned())
    }
}

impl OwnSessions for Deciding {
    fn in_force(&self) -> Arc<RoutingSnapshot> {
        self.snapshot()
    }

    fn opened(&self, session: SessionId) -> Option<Session> {
        self.session(session)
    }

    fn opened_after(&self, session: Option<SessionId>, most: usize) -> Vec<Session> {
        self.state.lock().desk.after(session, most).into_iter().cloned().collect()
    }

    fn lent(&self, numbers: &[PhoneNumber]) -> Vec<(Lease, Wall)> {
        self.state.lock().desk.lent_of(numbers)
    }

    fn had(&self, number: PhoneNumber, session: SessionId) -> Option<(Lease, Wall)> {
        self.state.lock().desk.had(number, session)
    }

    fn lent_to(&self, session: SessionId) -> Option<(Lease, Wall)> {
        self.state.lock().desk.lent_to(session)
    }

    fn asked(&self, pool: &PoolId, now: Wall) -> Vec<AskedHour> {
        self.state.lock().desk.asked(pool, now)
    }

    fn lost(&self, lease: Lease) {
        self.state.lock().desk.lost(lease, clock::wall());
    }

    fn calls_after(&self, caller: Option<&Caller>, most: usize) -> Option<CallsOfSome> {
        self.state.lock().history.after(caller, most)
    }

    fn follow(&self, session: Session) -> Session {
        self.state.lock().desk.follow(session, clock::wall())
    }

    fn agree(&self, session: Session) -> Session {
        self.state.lock().desk.agree(session, clock::wall())
    }
}
