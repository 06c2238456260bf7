//! Visitors of pages: their sessions on their way to the disk.

use metrics::counter;

use crate::api::{Arrival, Arrived, PingError, Told, Visitors};
use crate::cdr::fact::{Fact, SessionReleased, SessionTouched};
use crate::cdr::journal::Durability;
use crate::id::SessionId;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    Fingerprint, Identity, Kept, KeptVisit, Moved, NewIds, Reference, RequestKey, Session, Shows,
    Touched, Visit, VisitRequest, VisitUpdate, Visiting, publisher_of,
};
use crate::time::Wall;

use super::accounting::stamp;
use super::answering::{Claimed, Standing};
use super::clock;
use super::control::Control;
use super::deciding::Unopened;
use super::intake::{facts, not_back, unavailable};
use super::metrics::SIGNS_LEFT_OUT;
use super::pressure::Level;

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
                    self.written(&mut [], &mut []).await.map_err(|reason| unavailable(&reason))?;
                    return arrived_before(kept).ok_or(PingError::OtherBody(reference));
                }
                Standing::InProgress => return Err(PingError::InProgress(reference)),
                Standing::Other => return Err(PingError::OtherBody(reference)),
                Standing::Unknown => return Err(not_back()),
            },
        };
        let visiting = Visiting::of(&self.deciding.snapshot(), visit)?;
        if let Some(visit) = self.brought_back(&visiting, now).await {
            let facts: Vec<Fact> = visit.moved.clone().map(touched).into_iter().collect();
            let sent = self.send_off(None, facts, claimed.as_mut());
            sent.map_err(|reason| unavailable(&reason))?;
            let written = self.written(claimed.as_mut_slice(), &mut []).await;
            written.map_err(|reason| unavailable(&reason))?;
            return Ok(Arrived { visit, replayed: false });
        }
        let (ping, session) = self.ids.next(now);
        let (ids, mut room) = (NewIds { ping, session }, None);
        let (mut lending, opening) = (self.lending(session), self.opening(session));
        let (visit, opened, counting) = loop {
            let lent = lending.lent();
            let counting = self.deciding.counting();
            let opened = self.deciding.visit(visiting.clone(), ids, now, room.as_ref(), lent);
            let counting = counting.filter(|_| opened.is_ok());
            match opened {
                Ok((visit, opened)) => break (visit, opened, counting),
                Err(Unopened::Refused(refusals)) => return Err(refusals.into()),
                Err(Unopened::Ask(asked)) => room = Some(self.deciding.ask_for_room(asked).await),
                Err(Unopened::Lend(wanted)) => lending.lend(wanted, now).await,
            }
        };
        // Another visit of the visitor may have opened one meanwhile, with a number of its own.
        if opened.is_some() {
            lending.opened();
        }
        if let (Some(claimed), Some(_)) = (&mut claimed, &opened) {
            let (visitor, left_out) = (visit.visitor.clone(), visit.left_out.clone());
            let kept = Box::new(KeptVisit { visitor, heartbeat_s: visit.heartbeat_s, left_out });
            claimed.answered(Kept { accepted: visit.accepted.clone(), visit: Some(kept) }, now);
        }
        let reply = claimed.as_ref().and_then(Claimed::reply);
        let mut opening = opened.is_some().then_some(opening);
        let opened = opened.into_iter();
        let mut facts: Vec<Fact> =
            opened.flat_map(|opened| facts(opened, reply.clone(), stamp())).collect();
        facts.extend(visit.moved.clone().map(touched));
        let sent = self.send_off(opening.as_mut(), facts, claimed.as_mut());
        drop(counting);
        sent.map_err(|reason| unavailable(&reason))?;
        let written = self.written(claimed.as_mut_slice(), opening.as_mut_slice()).await;
        written.map_err(|reason| unavailable(&reason))?;
        Ok(Arrived { visit, replayed: false })
    }

    /// Whether it may be written down what a page that is there says now of its session. Otherwise the
    /// session lives on all the same, and only a crash would cost it that. Also while no new one is opened
    /// here, for the server is about to end.
    fn may_note(&self, session: SessionId) -> Result<(), PingError> {
        self.writes()?;
        match self.changes.lock().take(session, clock::mono()) {
            true => Ok(()),
            false => Err(PingError::TooOften),
        }
    }

    /// Not waited for: what is lost with a crash, or has no room in the journal, is a moment of a session's
    /// life.
    fn note(&self, fact: Fact) {
        if let Err(refused) = self.appender.append(fact, Durability::Buffered) {
            tracing::debug!(error = %refused.error, "a sign of life was not written down");
        }
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
            let _entered = self.enter()?;
            let may_note = self.may_note(session);
            if !update.tags.is_empty() {
                // What is new has to be written down, and is said again by whoever is refused.
                may_note.clone()?;
            }
            // A page says where it is each time.
            let update = if may_note.is_ok() { update } else { VisitUpdate::default() };
            let found = self.touch_anywhere(session, &update, clock::wall()).await?;
            let moved = found.as_ref().and_then(|touched| touched.moved.clone());
            if let Some(moved) = moved.filter(|_| may_note.is_ok()) {
                if moved.is_sign_of_life() && self.pressures.level() >= Level::Strained {
                    counter!(SIGNS_LEFT_OUT).increment(1);
                } else {
                    self.note(touched(moved));
                }
            }
            Ok(found)
        })
    }

    fn release(&self, session: SessionId) -> Told<'_, Result<Option<Wall>, PingError>> {
        Box::pin(async move {
            let _entered = self.enter()?;
            let released = self.release_anywhere(session, clock::wall()).await?;
            let Some(expires_at) = released else { return Ok(None) };
            if self.may_note(session).is_ok() {
                let expires_at_ms = expires_at.0;
                self.note(Fact::of_node(stamp(), SessionReleased { session, expires_at_ms }));
            }
            Ok(Some(expires_at))
        })
    }

    fn session(&self, session: SessionId) -> Told<'_, Result<Option<Session>, PingError>> {
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
    let Moved { session, expires_at, shows, caller, tags } = moved;
    let (number, has_lost_number) = match shows {
        Shows::AsBefore => (None, false),
        Shows::Number(number) => (Some(number), false),
        Shows::Nothing => (None, true),
    };
    let (expires_at_ms, tags) = (expires_at.0, tags.into_iter().flatten().collect());
    let touched = SessionTouched { session, expires_at_ms, number, tags, has_lost_number, caller };
    Fact::of_node(stamp(), touched)
}
