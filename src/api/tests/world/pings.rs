//! Pings and page visits at a real desk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{
    Arrival, Arrived, Foretold, Intake, Intakes, PingError, PingIntake, Pools, Sent, Told, Trial,
    TrialCall, Unconfirmed, Visitors,
};
use crate::id::{PingId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::hold::Bucket;
use crate::routing::ping::{
    Accepted, Checked, Claim, Fingerprint, Identity, Kept, KeptVisit, NewIds, NumberState,
    PingRefusals, PingRequest, PoolState, Reference, RequestKey, Session, Touched, Visit,
    VisitRequest, VisitUpdate,
};
use crate::routing::quote::{Quoted, announced, quote};
use crate::routing::replay::DecisionRecord;
use crate::routing::{Known, Rotation, Usage};
use crate::time::Wall;

use super::{Broken, START, World};

impl Pools for World {
    fn pools(&self) -> Vec<PoolState> {
        let mut desk = self.desk.lock();
        self.snapshot.pools().iter().map(|pool| desk.pool_state(pool, START)).collect()
    }

    fn number(&self, number: PhoneNumber) -> Told<'_, NumberState> {
        let state = self.desk.lock().number_state(number, START);
        Box::pin(async { state })
    }
}

impl World {
    fn ids(&self) -> NewIds {
        let mut state = self.state.lock();
        state.pings = state.pings.wrapping_add(1);
        let n = state.pings;
        NewIds { ping: PingId::from_bytes([n; 16]), session: SessionId::from_bytes([n; 16]) }
    }

    /// What is known of a request of the one publisher there is, or what `open` makes of it.
    fn answered(
        &self,
        reference: Option<Reference>,
        request: &impl serde::Serialize,
        open: impl FnOnce() -> Result<Kept, PingError>,
    ) -> Result<(Kept, bool), PingError> {
        let Some(reference) = reference else { return Ok((open()?, false)) };
        let key = RequestKey::of(&"pub_bright".into(), &reference);
        let identity = Identity { key, fingerprint: Fingerprint::of(request) };
        let claim = self.answers.lock().claim(identity, START);
        match claim {
            Claim::Answered(kept) => Ok((kept, true)),
            Claim::Other => Err(PingError::OtherBody(reference)),
            Claim::InProgress => Err(PingError::InProgress(reference)),
            Claim::First => match open() {
                Ok(kept) => {
                    self.answers.lock().keep(identity, kept.clone(), START);
                    Ok((kept, false))
                }
                Err(error) => {
                    self.answers.lock().release(key);
                    Err(error)
                }
            },
        }
    }
}

impl Visitors for World {
    fn visit(&self, visit: VisitRequest, key: Option<Reference>) -> Arrival<'_> {
        Box::pin(async move {
            let open = || {
                let ids = self.ids();
                let opened =
                    self.desk.lock().visit(&self.snapshot, &visit, ids, START, |_, _| Ok(()))?;
                let Visit { accepted, visitor, heartbeat_s, left_out, .. } = opened;
                let visit = Some(Box::new(KeptVisit { visitor, heartbeat_s, left_out }));
                Ok(Kept { accepted, visit })
            };
            let (Kept { accepted, visit: kept }, replayed) = self.answered(key, &visit, open)?;
            let KeptVisit { visitor, heartbeat_s, left_out } = *kept.unwrap();
            let visit = Visit { accepted, visitor, heartbeat_s, left_out, moved: None };
            Ok(Arrived { visit, replayed })
        })
    }

    fn touch(
        &self,
        session: SessionId,
        update: VisitUpdate,
    ) -> Told<'_, Result<Option<Touched>, PingError>> {
        let later = Wall(START.0 + 60_000);
        let touched = self.desk.lock().touch(&self.snapshot, session, &update, later);
        Box::pin(async { Ok(touched?) })
    }

    fn release(&self, session: SessionId) -> Told<'_, Result<Option<Wall>, PingError>> {
        let later = Wall(START.0 + 60_000);
        let moved = self.desk.lock().release(&self.snapshot, session, later);
        Box::pin(async { Ok(moved.map(|moved| moved.expires_at)) })
    }

    fn session(&self, session: SessionId) -> Told<'_, Result<Option<Session>, PingError>> {
        let session = self.desk.lock().session(session).cloned();
        Box::pin(async { Ok(session) })
    }
}

impl PingIntake for World {
    fn accept(&self, sent: Sent) -> Intake<'_> {
        Box::pin(async move {
            let broken = self.state.lock().broken;
            let Sent { ping, key, price } = sent;
            let key = key.or_else(|| ping.request_id.clone().map(Reference::Own));
            let open = || {
                let accepted = match price {
                    None => {
                        self.desk.lock().accept(&self.snapshot, ping.clone(), self.ids(), START)?
                    }
                    Some(life) => self.priced(&ping, life)?,
                };
                Ok(Kept { accepted, visit: None })
            };
            match broken {
                Some(Broken::Stuck) => std::future::pending().await,
                Some(Broken::Journal) => Err(PingError::Unavailable {
                    reason: "the journal's disk is nearly full".into(),
                    retry_after_s: 30,
                }),
                Some(Broken::Database | Broken::Row | Broken::Metrics | Broken::Behind) | None => {
                    let (kept, repeated) = self.answered(key, &ping, open)?;
                    let repeated = repeated || kept.accepted.repeated;
                    Ok(Accepted { repeated, ..kept.accepted })
                }
            }
        })
    }

    fn accept_all(&self, pings: Vec<Sent>) -> Intakes<'_> {
        Box::pin(async move {
            let mut answers = vec![];
            for ping in pings {
                answers.push(self.accept(ping).await);
            }
            answers
        })
    }

    fn try_out(&self, sent: Sent) -> Result<Trial, PingError> {
        let snapshot = Arc::clone(&self.snapshot);
        let ping = PingRequest { test: false, ..sent.ping };
        let checked = match Checked::of(&snapshot, &ping) {
            Ok(checked) => checked,
            Err(refused) => {
                return Ok(Trial { answer: Err(refused.into()), thought: None, snapshot });
            }
        };
        let opened = self.desk.lock().would_open(&checked, None, START);
        let opened = opened.map(Foretold::Opened).map_err(|it| PingRefusals::from(it).into());
        let nobody = [9; 16];
        let ids =
            NewIds { ping: PingId::from_bytes(nobody), session: SessionId::from_bytes(nobody) };
        let session = checked.announcing(ids, START);
        let stand_in = snapshot.stand_in(&session.campaign, &session.publisher);
        let dialed = stand_in.expect("campaigns of the world have numbers");
        let (call, unused) = (announced(&session, dialed, START), BTreeMap::<Bucket, Usage>::new());
        let Quoted { decision, offer } =
            quote(&snapshot, &call, &session, &[], &unused, &Rotation::default());
        let known = Known { sessions: std::slice::from_ref(&session), calls: &[] };
        let decision = Some(DecisionRecord::new(&call, known, &decision));
        Ok(Trial {
            answer: opened,
            thought: Some(TrialCall { session, decision, offer }),
            snapshot,
        })
    }

    fn find(&self, ping: PingId) -> Told<'_, Result<Option<Session>, PingError>> {
        let session = self.desk.lock().by_ping(ping).cloned();
        Box::pin(async { Ok(session) })
    }

    fn confirm(&self, ping: PingId) -> Told<'_, Result<Session, Unconfirmed>> {
        let session = self.desk.lock().by_ping(ping).cloned().ok_or(Unconfirmed::Over);
        Box::pin(async { session })
    }
}

impl World {
    /// On what the configuration says alone.
    fn priced(&self, ping: &PingRequest, life: Duration) -> Result<Accepted, PingError> {
        let checked = Checked::of(&self.snapshot, ping)?;
        let mut desk = self.desk.lock();
        if let Some(again) = desk.quoted(&checked, START) {
            return Ok(again);
        }
        let ids = self.ids();
        let session = checked.announcing(ids, START);
        let stand_in = self.snapshot.stand_in(&session.campaign, &session.publisher);
        let dialed = stand_in.expect("campaigns of the world have numbers");
        let (call, unused) = (announced(&session, dialed, START), BTreeMap::<Bucket, Usage>::new());
        let rotation = Rotation::default();
        let offer = quote(&self.snapshot, &call, &session, &[], &unused, &rotation)
            .offer
            .map_err(PingError::NoBid)?;
        let checked = checked.promising(offer.promised(START, life));
        Ok(desk.accept_if(checked, None, ids, START, |_, _| Ok(())).map_err(PingRefusals::from)?)
    }
}
