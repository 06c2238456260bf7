//! Pings on their way to the disk.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::api::{
    Foretold, Intake, Intakes, PingError, PingIntake, Sent, Told, Trial, TrialCall, Unconfirmed,
};
use crate::cdr::fact::{Fact, HoldSettled, Opener, PingAccepted, Reply, Stamp};
use crate::cdr::journal::{Durability, Pressure};
use crate::id::{HoldId, PingId, PublisherId, SessionId};
use crate::routing::RoutingSnapshot;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::{
    Accepted, Claim, Fingerprint, Identity, Kept, NewIds, PingRequest, Reference, RequestKey,
    Session, SessionKind, publisher_of,
};
use crate::time::{Mono, Wall};

use super::accounting::stamp;
use super::answering::{Claimed, Standing};
use super::control::Control;
use super::deciding::{Opened, Thought, Tried, Unopened, Unpriced, Vetting};
use super::metrics::{PING_ACK, PINGS};
use super::pressure::{Entered, Level};
use super::sessions::{Opening, Priced, Pricing};
use super::{clock, translate};

/// What a publisher whose ping could not be journaled is asked to wait.
const RETRY_AFTER_S: u32 = 5;

type Answer = Result<Accepted, PingError>;

/// What the pings of one request come to.
#[derive(Default)]
struct Taken<'a> {
    claimed: Vec<Claimed<'a>>,
    /// That others must not price meanwhile.
    pricing: Vec<Pricing<'a>>,
    /// That are on their way to the disk, and others have yet to see.
    opened: Vec<Opening<'a>>,
}

impl Control {
    /// Opens a session for each ping, and waits once for the journal to have them all.
    async fn take_pings(&self, sent: Vec<Sent>) -> Vec<Answer> {
        let mut taken = Taken::default();
        let mut answers: Vec<Answer> = Vec::with_capacity(sent.len());
        for sent in sent {
            answers.push(self.take(sent, &mut taken).await);
        }
        if answers.iter().all(Result::is_err) {
            return answers;
        }
        if let Err(reason) = self.written(&mut taken.claimed, &mut taken.opened).await {
            taken.pricing.iter_mut().for_each(Pricing::failed);
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                // It may be sent again, and must not be taken for one that is on disk.
                *answer = Err(unavailable(&reason));
            }
        }
        answers
    }

    /// Answers a ping that came before, or opens a session for it.
    async fn take<'a>(&'a self, sent: Sent, taken: &mut Taken<'a>) -> Answer {
        self.takes_work()?;
        let Sent { ping, key, price } = sent;
        let (now, mut vetting) = (clock::wall(), Vetting::of(&ping));
        let whose = (ping.publisher.as_ref(), ping.pool.as_ref(), ping.campaign.as_ref());
        let publisher = publisher_of(&self.deciding.snapshot(), whose).unwrap_or_default();
        self.admit(&publisher, now)?;
        let Some(reference) = key.or_else(|| ping.request_id.clone().map(Reference::Own)) else {
            return self.open(&mut vetting, price, None, taken, now).await;
        };
        let key = RequestKey::of(&publisher, &reference);
        let identity = Identity { key, fingerprint: Fingerprint::of(&ping) };
        let again = |kept: &Kept| Ok(Accepted { repeated: true, ..kept.accepted.clone() });
        // One that will be refused unless it was answered before is looked for: it is not worth a claim that
        // all servers see. Where there are no others a claim costs nothing.
        let refusal = match self.deciding.sessions() {
            Some(_) => vetting.look(&self.deciding.snapshot(), now).err(),
            None => None,
        };
        let standing = match refusal {
            None => self.deciding.claim(identity, now).await,
            Some(_) => self.deciding.look_for(identity, now).await,
        };
        match standing {
            Standing::First(claimed) => match refusal {
                None => self.open(&mut vetting, price, Some(claimed), taken, now).await,
                Some(refusal) => Err(refusal.counted().into()),
            },
            Standing::Answered(kept) => again(&kept),
            Standing::Other => Err(PingError::OtherBody(reference)),
            Standing::Unknown => Err(not_back()),
            // It may be one of this very request, which is answered as a whole.
            Standing::InProgress => match taken.claimed.iter().find(|it| it.identity.key == key) {
                Some(first) if first.identity != identity => Err(PingError::OtherBody(reference)),
                Some(first) => first.answer().map_or(Err(PingError::InProgress(reference)), again),
                None => Err(PingError::InProgress(reference)),
            },
        }
    }

    async fn open<'a>(
        &'a self,
        vetting: &mut Vetting<'_>,
        price: Option<Duration>,
        mut claimed: Option<Claimed<'a>>,
        taken: &mut Taken<'a>,
        now: Wall,
    ) -> Answer {
        let mut pricing = None;
        if price.is_some() && claimed.is_none() {
            match self.priced_before(vetting, now).await? {
                Priced::Here(here) => pricing = here,
                Priced::Again(accepted) => return Ok(accepted),
            }
        }
        let (ping, session) = self.ids.next(now);
        let (ids, mut room) = (NewIds { ping, session }, None);
        let (mut lending, mut opening) = (self.lending(session), self.opening(session));
        let (accepted, opened, counting) = loop {
            let lent = lending.lent();
            let counting = self.deciding.counting();
            let opened = match price {
                None => self
                    .deciding
                    .accept_ping(vetting, ids, now, room.as_ref(), lent)
                    .map_err(Unpriced::from),
                Some(life) => {
                    let now = (clock::mono(), now);
                    self.deciding.accept_priced(vetting, life, ids, now, room.as_ref(), lent)
                }
            };
            let counting = counting.filter(|_| opened.is_ok());
            match opened {
                Ok((accepted, opened)) => break (accepted, opened, counting),
                Err(Unpriced::NoBid(reason)) => return Err(PingError::NoBid(reason)),
                Err(Unpriced::Unopened(Unopened::Refused(refusals))) => return Err(refusals.into()),
                Err(Unpriced::Unopened(Unopened::Ask(asked))) => {
                    room = Some(self.deciding.ask_for_room(asked).await);
                }
                Err(Unpriced::Unopened(Unopened::Lend(wanted))) => lending.lend(wanted, now).await,
            }
        };
        // One that was priced before has the session, and the number, that it had.
        if opened.is_some() {
            lending.opened();
        }
        if let Some(claimed) = &mut claimed {
            claimed.answered(Kept { accepted: accepted.clone(), visit: None }, now);
        }
        let reply = claimed.as_ref().and_then(Claimed::reply);
        if let Some(opened) = opened {
            let facts = facts(opened, reply, stamp());
            let sent = self.send_off(Some(&mut opening), facts, claimed.as_mut());
            sent.map_err(|reason| unavailable(&reason))?;
            taken.opened.push(opening);
        }
        drop(counting);
        // Also one that was opened before may be on its way to the disk.
        if let Some(pricing) = &mut pricing {
            pricing.on_its_way(self.appender.end());
        }
        taken.pricing.extend(pricing);
        taken.claimed.extend(claimed);
        Ok(accepted)
    }

    /// Whether pings are taken at all.
    pub(super) fn takes_work(&self) -> Result<(), PingError> {
        self.writes()?;
        if self.is_draining() {
            return Err(unavailable("the server is being taken out of service"));
        }
        Ok(())
    }

    /// Whether there is room for what pings and visitors say to be written down.
    pub(super) fn writes(&self) -> Result<(), PingError> {
        if self.appender.pressure() >= Pressure::Low {
            return Err(unavailable("the journal's disk has no room for pings"));
        }
        if self.pressures.level() >= Level::PingsRefused {
            return Err(unavailable(&self.pressures.causes().join("; ")));
        }
        Ok(())
    }

    /// Whether one more of the publisher's pings is taken.
    pub(super) fn admit(&self, publisher: &PublisherId, now: Wall) -> Result<(), PingError> {
        let at = clock::mono();
        self.deciding.admit(publisher, at, now)?;
        // All whom nobody knows are one.
        let nobody = PublisherId::default();
        let known = self.deciding.snapshot().publisher(publisher).map(|_| publisher);
        Ok(self.pressures.admit(known.unwrap_or(&nobody), at)?)
    }

    /// What would come of a ping. While none is taken it is not even thought of.
    ///
    /// # Errors
    /// Too many are thought of, of its publisher or at a time.
    fn foretell(&self, sent: Sent) -> Result<Trial, PingError> {
        let Sent { ping, key, .. } = sent;
        let ping = PingRequest { test: false, ..ping };
        let (now, at) = (clock::mono(), clock::wall());
        let snapshot = self.deciding.snapshot();
        if let Err(refused) = self.takes_work() {
            return Ok(Trial { answer: Err(refused), thought: None, snapshot });
        }
        let whose = (ping.publisher.as_ref(), ping.pool.as_ref(), ping.campaign.as_ref());
        let publisher = publisher_of(&snapshot, whose).unwrap_or_default();
        self.deciding.admit_trial(&publisher, now, at)?;
        let _entered = self.enter()?;
        let (id, session) = self.ids.next(at);
        let Tried { opened, thought, snapshot } =
            self.deciding.try_out(&ping, NewIds { ping: id, session }, (now, at));
        let known = self.known(&snapshot, &ping, key, (now, at)).transpose();
        let answer = known.unwrap_or_else(|| Ok(Foretold::Opened(opened?)));
        let thought = thought.map(|Thought { session, decision, offer }| TrialCall {
            session,
            decision,
            offer,
        });
        Ok(Trial { answer, thought, snapshot })
    }

    /// What a ping would be answered without being looked at closely.
    fn known(
        &self,
        snapshot: &RoutingSnapshot,
        ping: &PingRequest,
        key: Option<Reference>,
        (now, at): (Mono, Wall),
    ) -> Result<Option<Foretold>, PingError> {
        let whose = (ping.publisher.as_ref(), ping.pool.as_ref(), ping.campaign.as_ref());
        let publisher = publisher_of(snapshot, whose).unwrap_or_default();
        self.deciding.would_admit(&publisher, now, at)?;
        let Some(reference) = key.or_else(|| ping.request_id.clone().map(Reference::Own)) else {
            return Ok(None);
        };
        let key = RequestKey::of(&publisher, &reference);
        let identity = Identity { key, fingerprint: Fingerprint::of(ping) };
        match self.deciding.answers().lock().look(identity, at) {
            Claim::First => Ok(None),
            Claim::Answered(kept) => Ok(Some(Foretold::Replayed(kept.accepted))),
            Claim::InProgress => Err(PingError::InProgress(reference)),
            Claim::Other => Err(PingError::OtherBody(reference)),
        }
    }

    /// Lets a request with pings in, unless as many are being answered as can be.
    pub(super) fn enter(&self) -> Result<Entered<'_>, PingError> {
        self.pressures.enter(clock::mono()).ok_or_else(full)
    }

    /// Puts what was just done on its way to the disk, before anybody else can find it: whoever does, and
    /// waits for the journal, waits for this. From now on nothing but the disk can keep `opened` from
    /// staying, and `claimed` from being given again; else they are as if they had never come.
    pub(super) fn send_off(
        &self,
        opened: Option<&mut Opening<'_>>,
        facts: Vec<Fact>,
        claimed: Option<&mut Claimed<'_>>,
    ) -> Result<(), String> {
        match self.appender.append_all(facts, Durability::Durable) {
            Ok(up_to) => {
                if let Some(opened) = opened {
                    opened.on_its_way(up_to);
                }
                if let Some(claimed) = claimed {
                    claimed.on_its_way(up_to);
                }
                Ok(())
            }
            Err(error) => {
                if let Some(opened) = opened {
                    self.deciding.abandon(opened.session(), clock::wall());
                }
                Err(error.to_string())
            }
        }
    }

    /// Returns when all that was done is on the disk, and others see what was opened and how it was answered.
    /// They do not before it is there: whoever saw it would answer by it. Waits with nothing written too: that
    /// whoever asked first has gone away does not say that its answer is on disk.
    pub(super) async fn written(
        &self,
        claimed: &mut [Claimed<'_>],
        opened: &mut [Opening<'_>],
    ) -> Result<(), String> {
        let sessions: Vec<SessionId> = opened.iter().map(Opening::session).collect();
        if let Err(error) = self.appender.wait(self.appender.end()).await {
            claimed.iter_mut().for_each(Claimed::failed);
            sessions.iter().for_each(|session| self.deciding.abandon(*session, clock::wall()));
            opened.iter_mut().for_each(Opening::is_over);
            return Err(error.to_string());
        }
        self.show(&sessions).await;
        opened.iter_mut().for_each(Opening::is_over);
        Claimed::tell(claimed).await;
        Ok(())
    }
}

impl PingIntake for Control {
    fn accept(&self, ping: Sent) -> Intake<'_> {
        Box::pin(async move {
            let started = clock::mono();
            let answer = match self.enter() {
                Ok(mut entered) => {
                    let answer = self.take_pings(vec![ping]).await.pop();
                    let answer = answer.expect("each ping is answered");
                    // What is refused takes no time, and says nothing about those that are not.
                    if answer.is_ok() {
                        entered.is_telling();
                    }
                    answer
                }
                Err(refused) => Err(refused),
            };
            histogram!(PING_ACK).record(clock::mono().since(started));
            count(&answer);
            answer
        })
    }

    fn accept_all(&self, pings: Vec<Sent>) -> Intakes<'_> {
        Box::pin(async move {
            let started = clock::mono();
            let answers = match self.enter() {
                Ok(_entered) => self.take_pings(pings).await,
                Err(_) => pings.iter().map(|_| Err(full())).collect(),
            };
            histogram!(PING_ACK).record(clock::mono().since(started));
            answers.iter().for_each(count);
            answers
        })
    }

    fn try_out(&self, ping: Sent) -> Result<Trial, PingError> {
        self.foretell(ping)
    }

    fn find(&self, ping: PingId) -> Told<'_, Result<Option<Session>, PingError>> {
        Box::pin(async move {
            let here = || self.deciding.session_of(ping);
            self.found(SessionKey::Ping(ping), here).await
        })
    }

    fn confirm(&self, ping: PingId) -> Told<'_, Result<Session, Unconfirmed>> {
        Box::pin(async move {
            let here = || self.deciding.session_of(ping);
            let found = self.found(SessionKey::Ping(ping), here).await;
            let session = found.map_err(|_| Unconfirmed::Away)?.ok_or(Unconfirmed::Over)?;
            let confirmed = self.deciding.confirm(session, (clock::mono(), clock::wall()));
            confirmed.map_err(|why| why.map_or(Unconfirmed::Over, Unconfirmed::NoBid))
        })
    }
}

fn count(answer: &Answer) {
    let result = match answer {
        Ok(accepted) if accepted.repeated => "repeated",
        Ok(_) => "accepted",
        Err(PingError::Refused(_)) => "refused",
        Err(PingError::NoBid(_)) => "no_bid",
        Err(PingError::OverQuota(_)) => "over_quota",
        Err(PingError::OverShare(_)) => "over_share",
        Err(PingError::InProgress(_) | PingError::OtherBody(_)) => "conflict",
        Err(PingError::TooOften) => "too_often",
        Err(PingError::StoreAway | PingError::Unavailable { .. }) => "unavailable",
    };
    counter!(PINGS, "result" => result).increment(1);
}

/// That a session was opened, and what counts it. `reply`: what is known of the request, if it may come
/// again.
pub(super) fn facts(opened: Opened, reply: Option<Reply>, now: Stamp) -> Vec<Fact> {
    let Opened { session, counted } = opened;
    let hold = HoldId::of_ping(session.ping);
    let mut facts = vec![Fact::of_node(now, accepted(session, reply))];
    if !counted.is_empty() {
        let buckets = counted.into_iter().map(translate::one_more).collect();
        facts.push(Fact::of_node(now, HoldSettled { hold, buckets }));
    }
    facts
}

fn accepted(session: Session, reply: Option<Reply>) -> PingAccepted {
    PingAccepted {
        ping: session.ping,
        session: session.session,
        publisher: session.publisher,
        campaign: session.campaign,
        caller: session.caller,
        pool: session.pool,
        number: session.number,
        tags: session.tags.to_pairs().collect(),
        expires_at_ms: session.expires_at.0,
        request_id: session.request_id,
        visitor: session.visitor,
        opener: match session.kind {
            SessionKind::Ping => None,
            SessionKind::PageView => Some(Opener::PageView),
            SessionKind::Form => Some(Opener::Form),
        },
        reply,
        promise: session.promise.map(|promise| translate::promised(*promise)),
        extra: session.extra.to_pairs().collect(),
    }
}

pub(super) fn unavailable(reason: &str) -> PingError {
    PingError::Unavailable { reason: reason.to_owned(), retry_after_s: RETRY_AFTER_S }
}

/// It may have been answered before the start.
pub(super) fn not_back() -> PingError {
    let reason = String::from("answers of before the start are still being read");
    PingError::Unavailable { reason, retry_after_s: 1 }
}

/// As many requests with pings are being answered as can be at a time.
fn full() -> PingError {
    let reason = String::from("more pings come than can be answered at a time");
    PingError::Unavailable { reason, retry_after_s: 1 }
}
