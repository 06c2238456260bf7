//! Visitors of pages: their sessions on their way to the disk.

use crate::api::{Arrival, PingError, Visitors};
use crate::cdr::fact::{Fact, SessionReleased, SessionTouched};
use crate::cdr::journal::Durability;
use crate::id::SessionId;
use crate::routing::ping::{Moved, NewIds, Session, Touched, Visit, VisitRequest, VisitUpdate};
use crate::time::Wall;

use super::accounting::stamp;
use super::clock;
use super::control::Control;
use super::intake::{facts, unavailable};

impl Control {
    async fn take_visit(&self, visit: &VisitRequest) -> Result<Visit, PingError> {
        self.takes_work()?;
        let now = clock::wall();
        let (ping, session) = self.ids.next(now);
        let (visit, opened) = self.deciding.visit(visit, NewIds { ping, session }, now)?;
        let mut facts: Vec<Fact> =
            opened.into_iter().flat_map(|opened| facts(opened, stamp())).collect();
        facts.extend(visit.moved.clone().map(touched));
        if let Err(reason) = self.written(facts).await {
            if !visit.accepted.repeated {
                self.deciding.abandon(visit.accepted.session, clock::wall());
            }
            return Err(unavailable(&reason));
        }
        Ok(visit)
    }

    /// Not waited for: what is lost with a crash is a second of a session's life.
    fn note(&self, fact: Fact) -> Result<(), PingError> {
        let appended = self.appender.append(fact, Durability::Buffered);
        appended.map(|_| ()).map_err(|error| unavailable(&error.to_string()))
    }
}

impl Visitors for Control {
    fn visit(&self, visit: VisitRequest) -> Arrival<'_> {
        Box::pin(async move { self.take_visit(&visit).await })
    }

    fn touch(
        &self,
        session: SessionId,
        update: &VisitUpdate,
    ) -> Result<Option<Touched>, PingError> {
        let found = self.deciding.touch(session, update, clock::wall())?;
        if let Some(moved) = found.as_ref().and_then(|touched| touched.moved.clone()) {
            self.note(touched(moved))?;
        }
        Ok(found)
    }

    fn release(&self, session: SessionId) -> Result<Option<Wall>, PingError> {
        let Some(moved) = self.deciding.let_go(session, clock::wall()) else { return Ok(None) };
        let Moved { session, expires_at, .. } = moved;
        self.note(Fact::of_node(
            stamp(),
            SessionReleased { session, expires_at_ms: expires_at.0 },
        ))?;
        Ok(Some(expires_at))
    }

    fn session(&self, session: SessionId) -> Option<Session> {
        self.deciding.session(session)
    }
}

fn touched(moved: Moved) -> Fact {
    let Moved { session, expires_at, number, tags } = moved;
    let tags = tags.into_iter().flatten().collect();
    Fact::of_node(stamp(), SessionTouched { session, expires_at_ms: expires_at.0, number, tags })
}
