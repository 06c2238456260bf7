//! Visitors of pages, and what counts a ping.

use crate::id::{CallId, HoldId, SessionId};
use crate::routing::hold::{Bucket, BucketRequest, Counts, HoldLedger};
use crate::routing::ping::{
    Moved, NewIds, PingRefusal, PingRefusals, Session, Touched, Visit, VisitRequest, VisitUpdate,
};
use crate::time::Wall;

use super::{Deciding, Opened, State, capped};

impl Deciding {
    /// Opens a visitor's session or brings it back. The answer may be given once its facts are durable.
    pub fn visit(
        &self,
        visit: &VisitRequest,
        ids: NewIds,
        now: Wall,
    ) -> Result<(Visit, Option<Opened>), PingRefusals> {
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        let State { ledger, desk, .. } = &mut *state;
        let mut counted = vec![];
        let visit = desk.visit(&snapshot, visit, ids, now, |publisher, campaign| {
            let requests = snapshot.of_ping(publisher, campaign, now);
            counted = self.count_ping(ledger, &requests, ids, now)?;
            Ok(())
        })?;
        if visit.accepted.repeated {
            return Ok((visit, None));
        }
        let session = desk.session(visit.accepted.session).cloned();
        drop(state);
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
        self.state.lock().desk.touch(&snapshot, session, update, now)
    }

    /// A visitor's page was closed; `None`: its session is over.
    pub fn let_go(&self, session: SessionId, now: Wall) -> Option<Moved> {
        let snapshot = self.snapshot.load();
        self.state.lock().desk.release(&snapshot, session, now)
    }

    /// A live session.
    pub fn session(&self, session: SessionId) -> Option<Session> {
        self.state.lock().desk.session(session).cloned()
    }

    /// Counts a ping in the caps that count pings, if all have room.
    pub(super) fn count_ping(
        &self,
        ledger: &mut HoldLedger,
        requests: &[BucketRequest],
        ids: NewIds,
        now: Wall,
    ) -> Result<Vec<Bucket>, PingRefusal> {
        if requests.is_empty() {
            return Ok(vec![]);
        }
        ledger.check_room(requests).map_err(|denied| capped(&denied))?;
        let counted = ledger.count(requests, now);
        let hold = HoldId::of(CallId(ids.ping.0), 0, "pinged");
        self.tell_counted(hold, Counts::Pinged, requests, &counted);
        Ok(counted)
    }
}
