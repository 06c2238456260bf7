//! What the API asks of routing: decisions made again, and decisions for the sake of an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{Hearing, Metered, Metering, Routing, SipPreview};
use crate::cdr::store::{Answer, Decisions};
use crate::id::{TargetId, TrunkId};
use crate::routing::attribution::SessionKey;
use crate::routing::circuit::{Condition, WaySeen};
use crate::routing::dial::Way;
use crate::routing::effective::Effective;
use crate::routing::replay::DecisionRecord;
use crate::routing::scorer::Question;
use crate::routing::simulate::{Assumed, LiveSession};
use crate::routing::{RouteRequest, RoutingSnapshot};
use crate::time::Wall;

use super::clock;
use super::deciding::Deciding;
use super::holds::State;
use super::preview::Previews;
use super::revisions::Revisions;
use super::scoring::Scoring;
use super::sources::Sources;
use super::translate::effective_trunk;

/// Answers without taking or writing anything.
pub(super) struct Questions {
    pub(super) deciding: Arc<Deciding>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) decisions: Arc<dyn Decisions>,
    pub(super) scoring: Scoring,
    pub(super) sources: Arc<Sources>,
    pub(super) previews: Previews,
}

impl Routing for Questions {
    fn now(&self) -> Wall {
        clock::wall()
    }

    fn in_force(&self) -> Arc<RoutingSnapshot> {
        self.deciding.snapshot()
    }

    fn revision(&self, revision: u64) -> Answer<'_, Option<Arc<RoutingSnapshot>>> {
        Box::pin(async move {
            let in_force = self.deciding.snapshot();
            if in_force.revision() == revision {
                return Ok(Some(in_force));
            }
            self.revisions.snapshot(revision).await
        })
    }

    fn simulate(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> DecisionRecord {
        self.deciding.simulate(snapshot, request, assumed, clock::mono())
    }

    fn preview(&self, record: &DecisionRecord) -> Option<SipPreview> {
        let is_in_force = self.in_force().revision() == record.decision.revision;
        is_in_force.then(|| self.previews.of(record)).flatten()
    }

    fn questions(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> Vec<Question> {
        self.deciding.questions_of(snapshot, request, assumed, clock::mono())
    }

    fn effective_trunk(&self, id: &TrunkId) -> Option<Vec<Effective>> {
        effective_trunk(&self.sources.trunks(), &self.in_force(), id)
    }

    fn live_session(&self, key: SessionKey) -> Option<LiveSession> {
        self.deciding.live_session(key)
    }

    fn ask(&self, questions: Vec<Question>) -> Hearing<'_> {
        Box::pin(self.scoring.hear(questions))
    }

    fn conditions(&self) -> BTreeMap<TargetId, Condition> {
        self.deciding.conditions(clock::mono())
    }

    fn ways(&self) -> Vec<(Way, WaySeen)> {
        self.deciding.ways(clock::mono())
    }

    fn meters(&self) -> Metering<'_> {
        Box::pin(async {
            let (meters, store) = self.deciding.meters_of_all(clock::wall()).await;
            let hold_store = store.map(State::name);
            Metered { meters: meters.into_values().collect(), hold_store }
        })
    }

    fn set_ready(&self, concurrency: &SmolStr, count: u32) -> bool {
        self.deciding.set_ready(concurrency, count, clock::wall())
    }

    fn decisions(&self) -> &dyn Decisions {
        self.decisions.as_ref()
    }
}
