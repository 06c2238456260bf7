//! Visitors of pages: their sessions on their way to the disk.

use crate::api::{Arrival, Arrived, PingError, Told, Visitors};
use crate::cdr::fact::{Fact, SessionReleased, SessionTouched};
use crate::cdr::journal::Durability;
use crate::id::SessionId;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    Fingerprint, Identity, Kept, KeptVisit, Moved, NewIds, Reference, RequestKey, Session, Touched,
    Visit, VisitRequest, VisitUpdate, Visiting, publisher_of,
};
use crate::time::Wall;

use super::accounting::stamp;
use super::answering::{Claimed, Standing};
use super::clock;
use super::control::Control;
use super::deciding::Unopened;
use super::intake::{facts, unavailable};

impl Control {
    /// Answers a visit that came before, or opens its session. One of a visitor who has a session brings
    /// that back however often it comes, and needs no key for it.
    async fn take_visit(
        &self,
        visit: &VisitRequest,
        key: Option<Reference>,
    ) -> Result<Arrived, PingError> {
        let _entered = self.enter()?;
        self.takes_work()?;
        let now = clock::wall();
        let whose = (visit.publisher.as_ref(), visit.pool.as_ref(), visit.campaign.as_ref());
        let publisher = publisher_of(&self.deciding.snapshot(), whose).unwrap_or_default();
        self.admit(&publisher, now)?;
        let identity = |reference: &Reference| {
            let key = RequestKey::of(&publisher, reference);
            Identity { key, fingerprint: Fingerprint::of(visit) }
        };
        let mut claimed = match key {
            None => None,
            Some(reference) => match self.deciding.claim(identity(&reference), now).await {
                Standing::First(claimed) => Some(claimed),
                Standing::Answered(kept) => {
                    self.written(vec![], None, &mut [], &mut vec![])
                        .await
                        .map_err(|reason| unavailable(&reason))?;
                    return arrived_before(kept).ok_or(PingError::OtherBody(reference));
                }
                Standing::InProgress => return Err(PingError::InProgress(reference)),
                Standing::Other => return Err(PingError::OtherBody(reference)),
            },
        };
        let visiting = Visiting::of(&self.deciding.snapshot(), visit)?;
        if let Some(visit) = self.brought_back(&visiting, now).await {
            let facts: Vec<Fact> = visit.moved.clone().map(touched).into_iter().collect();
            let written = self.written(facts, None, claimed.as_mut_slice(), &mut vec![]).await;
            written.map_err(|reason| unavailable(&reason))?;
            return Ok(Arrived { visit, replayed: false });
        }
        let (ping, session) = self.ids.next(now);
        let (ids, mut room) = (NewIds { ping, session }, None);
        let mut lending = self.lending(session);
        let counting = self.deciding.counting();
        let (visit, opened) = loop {
            let lent = lending.lent();
            match self.deciding.visit(visiting.clone(), ids, now, room.as_ref(), lent) {
                Ok(opened) => break opened,
                Err(Unopened::Refused(refusals)) => return Err(refusals.into()),
                Err(Unopened::Ask(asked)) => room = Some(self.deciding.ask_for_room(asked).await),
                Err(Unopened::Lend(wanted)) => lending.lend(wanted, now).await,
            }
        };
        lending.opened();
        if let (Some(claimed), Some(_)) = (&mut claimed, &opened) {
            let (visitor, left_out) = (visit.visitor.clone(), visit.left_out.clone());
            let kept = Box::new(KeptVisit { visitor, heartbeat_s: visit.heartbeat_s, left_out });
            claimed.answered(Kept { accepted: visit.accepted.clone(), visit: Some(kept) }, now);
        }
        let reply = claimed.as_ref().and_then(Claimed::reply);
        if let Some(opened) = &opened {
            self.show(&[opened.session.session]).await;
        }
        let opened = opened.into_iter();
        let mut facts: Vec<Fact> =
            opened.flat_map(|opened| facts(opened, reply.clone(), stamp())).collect();
        facts.extend(visit.moved.clone().map(touched));
        let written = self.written(facts, counting, claimed.as_mut_slice(), &mut vec![]).await;
        if let Err(reason) = written {
            if !visit.accepted.repeated {
                self.deciding.abandon(visit.accepted.session, clock::wall());
            }
            return Err(unavailable(&reason));
        }
        Ok(Arrived { visit, replayed: false })
    }

    /// Not waited for: what is lost with a crash is a second of a session's life.
    fn note(&self, fact: Fact) -> Result<(), PingError> {
        let appended = self.appender.append(fact, Durability::Buffered);
        appended.map(|_| ()).map_err(|error| unavailable(&error.to_string()))
    }
}

impl Visitors for Control {
    fn visit(&self, visit: VisitRequest, key: Option<Reference>) -> Arrival<'_> {
        Box::pin(async move { self.take_visit(&visit, key).await })
    }

    fn touch(
        &self,
        session: SessionId,
        update: VisitUpdate,
    ) -> Told<'_, Result<Option<Touched>, PingError>> {
        Box::pin(async move {
            let found = self.touch_anywhere(session, &update, clock::wall()).await?;
            if let Some(moved) = found.as_ref().and_then(|touched| touched.moved.clone()) {
                self.note(touched(moved))?;
            }
            Ok(found)
        })
    }

    fn release(&self, session: SessionId) -> Told<'_, Result<Option<Wall>, PingError>> {
        Box::pin(async move {
            let released = self.release_anywhere(session, clock::wall()).await;
            let Some(expires_at) = released else { return Ok(None) };
            self.note(Fact::of_node(
                stamp(),
                SessionReleased { session, expires_at_ms: expires_at.0 },
            ))?;
            Ok(Some(expires_at))
        })
    }

    fn session(&self, session: SessionId) -> Told<'_, Option<Session>> {
        Box::pin(async move {
            let here = || self.deciding.session(session);
            self.found(SessionKey::Session(session), here).await
        })
    }
}

/// `None`: the answer was one to something else.
fn arrived_before(kept: Kept) -> Option<Arrived> {
    let Kept { accepted, visit } = kept;
    let KeptVisit { visitor, heartbeat_s, left_out } = *visit?;
    let visit = Visit { accepted, visitor, heartbeat_s, left_out, moved: None };
    Some(Arrived { visit, replayed: true })
}

fn touched(moved: Moved) -> Fact {
    let Moved { session, expires_at, number, tags } = moved;
    let tags = tags.into_iter().flatten().collect();
    Fact::of_node(stamp(), SessionTouched { session, expires_at_ms: expires_at.0, number, tags })
}
