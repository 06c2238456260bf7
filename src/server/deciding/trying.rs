//! Pings that are only thought of.

use std::sync::Arc;

use crate::reason::Reason;
use crate::routing::counterfactual::besides;
use crate::routing::ping::{Checked, NewIds, NumberStatus, PingRefusals, PingRequest};
use crate::routing::quote::Offer;
use crate::routing::replay::DecisionRecord;
use crate::routing::{Known, RoutingSnapshot, SessionReading};
use crate::time::{Mono, Wall};

use super::quoting::Foreseen;
use super::{Deciding, Read, State, capped};

/// What would come of a ping.
#[derive(Debug)]
pub struct Tried {
    /// What it would be told of a number.
    pub opened: Result<NumberStatus, PingRefusals>,
    /// Present if it names what there is.
    pub thought: Option<Thought>,
    /// The configuration it was thought of on.
    pub snapshot: Arc<RoutingSnapshot>,
}

/// The call that a ping announces, as if it came at once.
#[derive(Debug)]
pub struct Thought {
    pub session: SessionReading,
    /// What would be decided. Absent: its campaign has no number at all.
    pub decision: Option<DecisionRecord>,
    /// What its publisher would earn, or why nothing.
    pub offer: Result<Offer, Reason>,
}

impl Deciding {
    /// What would come of a ping, and of its call, as far as is known here. Takes, counts and remembers
    /// nothing; neither a store nor a scorer elsewhere is asked.
    pub fn try_out(&self, request: &PingRequest, ids: NewIds, (now, at): (Mono, Wall)) -> Tried {
        let snapshot = self.snapshot();
        let checked = match Checked::of(&snapshot, request) {
            Ok(checked) => checked,
            Err(refused) => return Tried { opened: Err(refused), thought: None, snapshot },
        };
        let mut state = self.state.lock();
        state.desk.expire(at);
        let opened = self.would_open(&snapshot, &state, &checked, at);
        let thought = Some(self.think(&snapshot, &state, &checked, ids, (now, at)));
        drop(state);
        Tried { opened, thought, snapshot }
    }

    fn would_open(
        &self,
        snapshot: &RoutingSnapshot,
        state: &State,
        checked: &Checked,
        at: Wall,
    ) -> Result<NumberStatus, PingRefusals> {
        checked.is_worth_it(snapshot, at)?;
        let requests = snapshot.of_ping(checked.publisher(), checked.campaign(), at);
        state.ledger.has_room(&requests).map_err(|denied| capped(&denied))?;
        let elsewhere = self.sessions.get().zip(checked.pool());
        let elsewhere = elsewhere.and_then(|(shared, pool)| shared.reading(pool));
        let is_left = elsewhere.map(|reading| reading.free > 0);
        Ok(state.desk.would_open(checked, is_left, at)?)
    }

    fn think(
        &self,
        snapshot: &RoutingSnapshot,
        state: &State,
        checked: &Checked,
        ids: NewIds,
        (now, at): (Mono, Wall),
    ) -> Thought {
        let session = checked.announcing(ids, at);
        let of_pool = || checked.pool().and_then(|pool| snapshot.pool(pool)?.numbers.first());
        let stand_in = || snapshot.stand_in(checked.campaign(), checked.publisher());
        let dialed = checked.number().or_else(stand_in).or_else(|| of_pool().copied());
        let look =
            |request: &_, decision: &_, read: &Read<'_>| besides(snapshot, request, decision, read);
        let foreseen = self.foresee(snapshot, state, &session, dialed, (now, at), look);
        let Foreseen { request, calls, quoted, besides } = match foreseen {
            Ok(foreseen) => foreseen,
            Err(reason) => return Thought { session, decision: None, offer: Err(reason) },
        };
        let known = Known { sessions: std::slice::from_ref(&session), calls: &calls };
        let record = DecisionRecord::new(&request, known, &quoted.decision);
        let decision = Some(DecisionRecord { besides, ..record });
        Thought { session, decision, offer: quoted.offer }
    }
}
