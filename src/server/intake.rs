//! Pings on their way to the disk.

use metrics::{counter, histogram};

use crate::api::{Intake, Intakes, PingError, PingIntake};
use crate::cdr::fact::{Fact, HoldSettled, Opener, PingAccepted, Stamp};
use crate::cdr::journal::{Durability, Pressure};
use crate::id::{HoldId, PingId};
use crate::routing::ping::{Accepted, NewIds, PingRequest, Session, SessionKind};

use super::accounting::stamp;
use super::control::Control;
use super::deciding::Opened;
use super::metrics::{PING_ACK, PINGS};
use super::{clock, translate};

/// What a publisher whose ping could not be journaled is asked to wait.
const RETRY_AFTER_S: u32 = 5;

type Answer = Result<Accepted, PingError>;

impl Control {
    /// Opens a session for each ping, and waits once for the journal to have them all.
    async fn take_pings(&self, requests: Vec<PingRequest>) -> Vec<Answer> {
        let mut facts = Vec::with_capacity(requests.len());
        let mut answers: Vec<Answer> =
            requests.into_iter().map(|ping| self.open(ping, &mut facts)).collect();
        if answers.iter().all(Result::is_err) {
            return answers;
        }
        if let Err(reason) = self.written(facts).await {
            for answer in &mut answers {
                let Ok(accepted) = answer else { continue };
                // It may be sent again, and must not be taken for one that is on disk.
                if !accepted.repeated {
                    self.deciding.abandon(accepted.session, clock::wall());
                }
                *answer = Err(unavailable(&reason));
            }
        }
        answers
    }

    /// Adds the facts of a new session to `facts`.
    fn open(&self, request: PingRequest, facts: &mut Vec<Fact>) -> Answer {
        self.takes_work()?;
        let now = clock::wall();
        let (ping, session) = self.ids.next(now);
        let (accepted, opened) =
            self.deciding.accept_ping(request, NewIds { ping, session }, now)?;
        facts.extend(opened.into_iter().flat_map(|opened| self::facts(opened, stamp())));
        Ok(accepted)
    }

    /// Whether pings are taken at all.
    pub(super) fn takes_work(&self) -> Result<(), PingError> {
        if self.appender.pressure() >= Pressure::Low {
            return Err(unavailable("the journal's disk has no room for pings"));
        }
        if self.is_draining() {
            return Err(unavailable("the server is being taken out of service"));
        }
        Ok(())
    }

    /// Waits with nothing to write too: the first of a repeated request may not be on disk yet.
    pub(super) async fn written(&self, facts: Vec<Fact>) -> Result<(), String> {
        let appended = self.appender.append_all(facts, Durability::Durable);
        let lsn = appended.map_err(|error| error.to_string())?;
        self.appender.wait(lsn).await.map_err(|error| error.to_string())
    }
}

impl PingIntake for Control {
    fn accept(&self, ping: PingRequest) -> Intake<'_> {
        Box::pin(async move {
            let started = clock::mono();
            let answer = self.take_pings(vec![ping]).await.pop();
            let answer = answer.expect("each ping is answered");
            histogram!(PING_ACK).record(clock::mono().since(started));
            count(&answer);
            answer
        })
    }

    fn accept_all(&self, pings: Vec<PingRequest>) -> Intakes<'_> {
        Box::pin(async move {
            let started = clock::mono();
            let answers = self.take_pings(pings).await;
            histogram!(PING_ACK).record(clock::mono().since(started));
            answers.iter().for_each(count);
            answers
        })
    }

    fn find(&self, ping: PingId) -> Option<Session> {
        self.deciding.session_of(ping)
    }
}

fn count(answer: &Answer) {
    let result = match answer {
        Ok(accepted) if accepted.repeated => "repeated",
        Ok(_) => "accepted",
        Err(PingError::Refused(_)) => "refused",
        Err(PingError::Unavailable { .. }) => "unavailable",
    };
    counter!(PINGS, "result" => result).increment(1);
}

/// That a session was opened, and what counts it.
pub(super) fn facts(opened: Opened, now: Stamp) -> Vec<Fact> {
    let Opened { session, counted } = opened;
    let hold = HoldId::of_ping(session.ping);
    let mut facts = vec![Fact::of_node(now, accepted(session))];
    if !counted.is_empty() {
        let buckets = counted.into_iter().map(translate::one_more).collect();
        facts.push(Fact::of_node(now, HoldSettled { hold, buckets }));
    }
    facts
}

fn accepted(session: Session) -> PingAccepted {
    PingAccepted {
        ping: session.ping,
        session: session.session,
        publisher: session.publisher,
        campaign: session.campaign,
        caller: session.caller,
        pool: session.pool,
        number: session.number,
        tags: session.tags.into_iter().collect(),
        expires_at_ms: session.expires_at.0,
        request_id: session.request_id,
        visitor: session.visitor,
        opener: match session.kind {
            SessionKind::Ping => None,
            SessionKind::PageView => Some(Opener::PageView),
            SessionKind::Form => Some(Opener::Form),
        },
    }
}

pub(super) fn unavailable(reason: &str) -> PingError {
    PingError::Unavailable { reason: reason.to_owned(), retry_after_s: RETRY_AFTER_S }
}
