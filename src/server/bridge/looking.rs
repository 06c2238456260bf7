//! The sessions of calls, where servers share them.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::id::{CallId, PublisherId, SessionId, TrunkId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::RouteRequest;
use crate::routing::attribution::{Named, SessionKey};
use crate::routing::ping::{Consumed, Session};
use crate::server::sessions::shared::Asked;
use crate::server::sessions::{Looked, SharedSessions, State};
use crate::sip::endpoint::{Admission, CallKey};
use crate::time::{Mono, Wall};

use super::super::clock;
use super::super::deciding::{Deciding, Used};
use super::super::mailbox::{Mail, Mailbox};
use super::super::translate;

/// After how long a store that did not answer is asked again; then after twice that, and so on.
const PAUSE: Duration = Duration::from_millis(5);

/// Where sessions are looked for.
pub(in crate::server) struct Sessions {
    pub(in crate::server) deciding: Arc<Deciding>,
    pub(in crate::server) shared: Arc<SharedSessions>,
    /// How long a call waits to hear which session its address names.
    pub(in crate::server) names_within: Duration,
    /// Where questions wait for their answers.
    pub(in crate::server) runtime: Handle,
    /// Of this shard.
    pub(in crate::server) mailbox: Mailbox,
}

/// What is looked for.
#[derive(Clone)]
pub(super) enum Sought {
    /// What was dialled is known.
    Call(RouteRequest),
    /// The session that the call's address names tells what it dialled.
    Named(Named, TrunkId),
}

/// What was found for a call, or why it goes nowhere.
#[derive(Debug)]
pub struct Found {
    pub(super) key: CallKey,
    pub(super) call: CallId,
    pub(super) found: Result<(RouteRequest, Looked), Reason>,
}

/// A call was the first of its session.
#[derive(Debug)]
pub struct First {
    pub(super) call: CallId,
    pub(super) session: SessionId,
}

impl Found {
    /// The call that was asked for.
    pub fn whose(&self) -> (CallKey, CallId) {
        (self.key, self.call)
    }
}

impl Sessions {
    /// Until when what is looked for may be found.
    pub(super) fn look(&self, admission: &Admission, sought: Sought, now: Mono) -> Mono {
        let (deciding, shared) = (Arc::clone(&self.deciding), Arc::clone(&self.shared));
        let (mailbox, admission) = (self.mailbox.clone(), admission.clone());
        let for_answer = shared.answers_within();
        let within = match &sought {
            Sought::Call(_) => for_answer,
            Sought::Named(..) => self.names_within.max(for_answer),
        };
        self.runtime.spawn(async move {
            let found = match sought {
                Sought::Call(request) => {
                    let looked = shared.lookup(&deciding.snapshot(), &request).await;
                    Ok((request, looked))
                }
                Sought::Named(named, trunk) => {
                    // Then there is time to look for the rest.
                    let until = now + (within - for_answer);
                    let found = named_by(&shared, named.key, until).await;
                    match dialed_by(&deciding, &shared, &admission, named, trunk, &found) {
                        Ok((request, is_sure)) => {
                            let looked = shared.lookup(&deciding.snapshot(), &request).await;
                            Ok((request, looked.besides(found, is_sure)))
                        }
                        Err(reason) => Err(reason),
                    }
                }
            };
            let (key, call) = (admission.call, admission.id);
            mailbox.deliver(Mail::Found(Box::new(Found { key, call, found }))).await;
        });
        now + within
    }

    /// What is known without the store.
    pub(super) fn without(
        &self,
        admission: &Admission,
        sought: Sought,
    ) -> Result<(RouteRequest, Looked), Reason> {
        let (deciding, shared) = (&self.deciding, &self.shared);
        let request = match sought {
            Sought::Call(request) => request,
            Sought::Named(named, trunk) => {
                let found = shared.remembered(named.key, admission.wall);
                dialed_by(deciding, shared, admission, named, trunk, &found)?.0
            }
        };
        let looked = shared.without(&deciding.snapshot(), &request);
        Ok((request, looked))
    }

    /// A call was attributed to a session of the publisher.
    pub(super) fn used(
        &self,
        call: CallId,
        Used { session, is_first_here }: Used,
        publisher: PublisherId,
        at: Wall,
    ) {
        let (deciding, shared) = (Arc::clone(&self.deciding), Arc::clone(&self.shared));
        let mailbox = self.mailbox.clone();
        shared.spent(session, at);
        self.runtime.spawn(async move {
            let told = shared.consume(session, at).await;
            let is_first = match told {
                Some(consumed @ (Consumed::First | Consumed::Again)) => consumed == Consumed::First,
                // It has yet to be told of the session, and hears of the use with it.
                Some(Consumed::Unknown) => is_first_here,
                None if is_first_here => {
                    shared.untold(session);
                    true
                }
                None => shared.consume_later(session, at).await == Some(Consumed::First),
            };
            if is_first {
                deciding.was_first(&publisher, at);
                mailbox.deliver(Mail::First(First { call, session })).await;
            }
        });
    }

    /// A call is on a pool number.
    pub(super) fn pin(&self, call: CallId, number: PhoneNumber, at: Wall) {
        let Some(pool) = self.deciding.pool_of(number) else { return };
        let shared = Arc::clone(&self.shared);
        shared.pinned(&pool.id, number, call);
        self.runtime.spawn(async move { shared.pin(&pool, number, call, at).await });
    }
}

/// The session that the address of a call names. A store that does not answer may do so in a moment.
async fn named_by(shared: &SharedSessions, key: SessionKey, until: Mono) -> Asked<Session> {
    let mut pause = PAUSE;
    loop {
        let asked = shared.find_for_call(key, clock::wall()).await;
        let is_late = clock::mono() + pause >= until || shared.state() == State::Away;
        if asked != Asked::Away || is_late {
            return asked;
        }
        sleep_until(Instant::now() + pause).await;
        pause *= 2;
    }
}

/// What a call to the address of a session has dialled, by what was found of the session, and whether that is
/// sure. Where nobody can say whose session it is, the call goes by the number that its trunk, or else the
/// account, has for that.
fn dialed_by(
    deciding: &Deciding,
    shared: &SharedSessions,
    admission: &Admission,
    named: Named,
    trunk: TrunkId,
    found: &Asked<Session>,
) -> Result<(RouteRequest, bool), Reason> {
    let stand_in = |key| match found {
        Asked::Told(session) => deciding.stand_in_of(session),
        Asked::Unknown | Asked::Away => deciding.stand_in(key),
    };
    let (number, known) = dialed(admission, Some(named), stand_in);
    let is_told = match found {
        Asked::Told(_) => true,
        // It may have yet to be told.
        Asked::Unknown => shared.is_whole(),
        Asked::Away => false,
    };
    let snapshot = deciding.snapshot();
    let is_known = |number: &PhoneNumber| known.is_some() || snapshot.number(*number).is_some();
    let otherwise = || snapshot.stand_in_over(&trunk).filter(|_| !is_told);
    match number {
        Ok(number) if is_known(&number) => {
            Ok((translate::route_request(admission, number, known, trunk), true))
        }
        number => match otherwise() {
            Some(number) => Ok((translate::route_request(admission, number, None, trunk), false)),
            None => number.map(|it| (translate::route_request(admission, it, known, trunk), true)),
        },
    }
}

/// The number a call has dialled, and the session that its address names. `stand_in`: the number that a
/// call to a session's own address counts as having dialled.
pub(super) fn dialed(
    admission: &Admission,
    named: Option<Named>,
    stand_in: impl FnOnce(SessionKey) -> Option<PhoneNumber>,
) -> (Result<PhoneNumber, Reason>, Option<Named>) {
    match (admission.number, named) {
        // The same digits may be a number with what its trunk has dialled before it, and no alias.
        (Ok(number), Some(Named { key: key @ SessionKey::Alias(_), .. })) => {
            let stand_in = stand_in(key);
            let named = stand_in.map(|_| Named { key, is_all: true });
            (Ok(stand_in.unwrap_or(number)), named)
        }
        (Ok(number), _) => (Ok(number), named),
        (Err(_), None) => (Err(Reason::NumberMalformed), None),
        (Err(_), Some(Named { key, .. })) => (stand_in(key).ok_or(Reason::SessionUnknown), named),
    }
}
