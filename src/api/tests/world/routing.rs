//! What is decided, and by which configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::api::{
    CapResets, Configuration, Credit, Deposit, DepositError, Deposited, Hearing, InForce, Metered,
    Metering, Reload, ResetError, ResetRequest, Resetting, Routing, SipField, SipInvite,
    SipPreview, WasReset,
};
use crate::cdr::store::{Answer, Decisions, StoreError};
use crate::id::{BuyerId, TargetId, TrunkId};
use crate::money::Money;
use crate::routing::attribution::SessionKey;
use crate::routing::circuit::{Cause, Condition, Trip, WaySeen};
use crate::routing::counterfactual::besides;
use crate::routing::dial::Way;
use crate::routing::effective::Effective;
use crate::routing::hold::{Bucket, Reset};
use crate::routing::meter::NotResettable;
use crate::routing::replay::DecisionRecord;
use crate::routing::scorer::{Question, questions};
use crate::routing::simulate::{Assumed, Assuming, LiveSession};
use crate::routing::{Known, Rotation, RouteRequest, RoutingSnapshot, Usage, decide};
use crate::time::Wall;

use super::{OUTDATED, START, World};

impl Routing for World {
    fn now(&self) -> Wall {
        START
    }

    fn in_force(&self) -> Arc<RoutingSnapshot> {
        Arc::clone(&self.snapshot)
    }

    fn revision(&self, revision: u64) -> Answer<'_, Option<Arc<RoutingSnapshot>>> {
        Box::pin(async move {
            self.check_store()?;
            if revision == OUTDATED {
                let (what, detail) = ("revision 5 of the configuration".into(), "it is old".into());
                return Err(StoreError::Outdated { what, detail });
            }
            Ok((revision == 418).then(|| Arc::clone(&self.snapshot)))
        })
    }

    fn simulate(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> DecisionRecord {
        let nothing_used = BTreeMap::<_, Usage>::new();
        let usage = Assuming { usage: &nothing_used, assumed };
        let known = Known { sessions: &assumed.sessions, calls: &[] };
        let decision = decide(snapshot, request, known, &usage, &mut Rotation::default());
        let besides = besides(snapshot, request, &decision, &usage);
        DecisionRecord { besides, ..DecisionRecord::new(request, known, &decision) }
    }

    fn preview(&self, record: &DecisionRecord) -> Option<SipPreview> {
        let first = record.decision.plan.first()?;
        let field = SipField { name: "Max-Forwards".into(), value: "69".into() };
        let invite = SipInvite {
            transport: "udp",
            to: "192.0.2.20:5060".into(),
            start_line: format!("INVITE {} SIP/2.0", first.uri),
            headers: vec![field],
            body: "v=0\r\n".into(),
        };
        let (target, invite) = (first.target.clone(), Some(invite));
        Some(SipPreview { target, delivery: "bridge", invite, reason: None })
    }

    fn effective_trunk(&self, _: &TrunkId) -> Option<Vec<Effective>> {
        None
    }

    fn live_session(&self, _: SessionKey) -> Option<LiveSession> {
        None
    }

    fn questions(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> Vec<Question> {
        let nothing_used = BTreeMap::<_, Usage>::new();
        let usage = Assuming { usage: &nothing_used, assumed };
        questions(snapshot, request, Known::default(), &usage, &Rotation::default())
    }

    fn ask(&self, questions: Vec<Question>) -> Hearing<'_> {
        assert!(questions.is_empty());
        Box::pin(async { vec![] })
    }

    fn ways(&self) -> Vec<(Way, WaySeen)> {
        let trip = Trip { cause: Cause::Slow, seen: 2, of: 60 };
        let seen = WaySeen {
            condition: Condition::Open(trip),
            attempts: 60,
            answered: 40,
            failed: 3,
            week_attempts: 4_000,
            week_answered: 2_600,
            p50_ms: Some(900),
            p99_ms: Some(6_400),
        };
        self.snapshot.ways().into_iter().map(|way| (way.clone(), seen)).collect()
    }

    fn conditions(&self) -> BTreeMap<TargetId, Condition> {
        let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
        [("tgt_cool".into(), Condition::Open(trip))].into()
    }

    fn meters(&self) -> Metering<'_> {
        let nothing_used = BTreeMap::<Bucket, Usage>::new();
        let meters = self.snapshot.meters(&nothing_used, START).into_values().collect();
        let hold_store = self.state.lock().hold_store;
        Box::pin(async move { Metered { meters, hold_store } })
    }

    fn set_ready(&self, concurrency: &SmolStr, _count: u32) -> bool {
        self.snapshot.concurrency().any(|it| it.key == *concurrency)
    }

    fn decisions(&self) -> &dyn Decisions {
        self
    }
}

/// Their keys are their places, from one on.
impl Decisions for World {
    fn decisions(&self, after: u64, limit: u32) -> Answer<'_, Vec<(u64, Bytes)>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let by_key = (1..).zip(state.decisions.values().cloned());
            let rest = by_key.skip_while(|(key, _)| *key <= after);
            // One at a time, as if there were many.
            Ok(rest.take(limit.min(1) as usize).collect())
        })
    }

    fn before_last(&self, count: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            self.check_store()?;
            let skipped = self.state.lock().decisions.len().saturating_sub(count as usize);
            Ok(skipped as u64)
        })
    }
}

impl Configuration for World {
    fn reload(&self) -> Reload<'_> {
        let (faults, hold_store) = {
            let state = self.state.lock();
            (state.faults.clone(), state.hold_store)
        };
        Box::pin(async move {
            if faults.is_empty() {
                let closed = Metered { meters: Vec::new(), hold_store };
                Ok(InForce { revision: 2, closed })
            } else {
                Err(faults)
            }
        })
    }
}

/// As much as it is asked for, once.
impl Credit for World {
    fn deposit(&self, buyer: BuyerId, amount: Money, key: SmolStr) -> Deposit<'_> {
        Box::pin(async move {
            match (buyer.as_str(), key.as_str()) {
                ("buy_idle", "again") => Ok(Deposited { deposited: amount, repeated: true }),
                ("buy_idle", "other") => Err(DepositError::Conflict),
                ("buy_idle", "vast") => Err(DepositError::TooMuch(Money(10_000_000))),
                ("buy_idle", _) => Ok(Deposited { deposited: amount, repeated: false }),
                _ => Err(DepositError::NoCredit),
            }
        })
    }
}

/// Each cap that there is, once for each key.
impl CapResets for World {
    fn reset(&self, request: ResetRequest) -> Resetting<'_> {
        Box::pin(async move {
            let ResetRequest { cap, by, why, key } = request;
            if cap == "target/tgt_idle/connected/hourly" {
                return Err(ResetError::Unavailable(String::from("the store is away")));
            }
            let (bucket, counts, ends_at) =
                self.snapshot.resettable(&cap, START).map_err(|why| match why {
                    NotResettable::Unknown => ResetError::Unknown,
                    other @ (NotResettable::Live
                    | NotResettable::Owed
                    | NotResettable::OtherTime) => ResetError::NotResettable(other),
                })?;
            let repeated = key.as_deref() == Some("again");
            let parts = vec![];
            let reset = Reset { bucket, ends_at, at: START, by, why, key, amount: 3, parts };
            Ok(WasReset { reset, counts, repeated })
        })
    }
}
