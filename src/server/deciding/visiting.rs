//! Visitors of pages.

use crate::id::SessionId;
use crate::routing::ping::{
    Lent, Moved, NewIds, PingRefusals, Session, Touched, Visit, VisitUpdate, Visiting,
};
use crate::time::Wall;

use super::offering::{OfferedRoom, Unopened, or_ask};
use super::{Deciding, Opened, State};

impl Deciding {
    /// Opens a visitor's session or brings it back. The answer may be given once its facts are durable.
    /// `room` is what came of the question for it, if there was one.
    ///
    /// # Errors
    /// It is refused, or room has to be had first.
    pub fn visit(
        &self,
        visiting: Visiting,
        ids: NewIds,
        now: Wall,
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Visit, Option<Opened>), Unopened> {
        let opened = self.open_of_visit(visiting, ids, now, room, lent);
        self.give_back_of(room, opened.as_ref().err());
        opened
    }

    fn open_of_visit(
        &self,
        visiting: Visiting,
        ids: NewIds,
        now: Wall,
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Visit, Option<Opened>), Unopened> {
        let snapshot = self.snapshot.load();
        let is_known = visiting.key().is_some_and(|key| {
            let desk = &mut self.state.lock().desk;
            desk.expire(now);
            desk.visitor(&key).is_some()
        });
        if !is_known {
            self.lend_first(&visiting.checked, lent)?;
        }
        let mut state = self.state.lock();
        let State { ledger, desk, .. } = &mut *state;
        let (mut counted, mut ask) = (vec![], None);
        let visit =
            desk.visit_lent(&snapshot, visiting, (ids, lent), now, |publisher, campaign| {
                let requests = snapshot.of_ping(publisher, campaign, now);
                let ping = self.count_ping(ledger, &requests, room, ids.ping, now);
                counted = or_ask(ping, &mut ask)?;
                Ok(())
            });
        let opened = visit.as_ref().ok().filter(|visit| !visit.accepted.repeated);
        let session = opened.and_then(|it| desk.session(it.accepted.session)).cloned();
        drop(state);
        if let Some(asked) = ask {
            return Err(Unopened::Ask(asked));
        }
        let visit = visit.map_err(PingRefusals::from)?;
        if let Some(shared) = self.sessions.get()
            && visit.accepted.repeated
        {
            shared.untold(visit.accepted.session);
        }
        if let Some(session) = &session {
            self.delivery_expected(&session.publisher, now);
        }
        Ok((visit, session.map(|session| Opened { session, counted })))
    }

    /// A visitor's sign of life; `None`: its session is over.
    pub fn touch(
        &self,
        session: SessionId,
        update: &VisitUpdate,
        now: Wall,
    ) -> Result<Option<Touched>, PingRefusals> {
        let snapshot = self.snapshot.load();
        let touched = self.state.lock().desk.touch(&snapshot, session, update, now)?;
        if let (Some(shared), Some(_)) = (self.sessions.get(), &touched) {
            shared.untold(session);
        }
        Ok(touched)
    }

    /// A visitor's page was closed; `None`: its session is over.
    pub fn let_go(&self, session: SessionId, now: Wall) -> Option<Moved> {
        let snapshot = self.snapshot.load();
        let moved = self.state.lock().desk.release(&snapshot, session, now);
        if let (Some(shared), Some(_)) = (self.sessions.get(), &moved) {
            shared.untold(session);
        }
        moved
    }

    /// A live session.
    pub fn session(&self, session: SessionId) -> Option<Session> {
        self.state.lock().desk.session(session).cloned()
    }
}
