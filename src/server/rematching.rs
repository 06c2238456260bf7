//! Looks again at calls that were matched without the store that servers share, once it is back: whose they
//! were at the instant of their INVITE (spec/data §3.5).
//!
//! Owns: when that is, and what is asked. Does not own: which session a call is of, which is routing's; what
//! becomes of its record, which is `cdr`'s; what of the past the store remembers.
//!
//! Invariants: each call that is over is looked at once, and what came of it is a fact, whatever that is. So a
//! crash at any moment costs nothing and does nothing twice: what was not written down is looked at again by the
//! next process, and a second fact of a call changes nothing. No call waits for any of it, and none is moved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::watch;

use crate::api::PastSessions;
use crate::cdr::fact::{Fact, Rematch, Rematched};
use crate::cdr::journal::file::Appender;
use crate::cdr::journal::{Durability, Pressure};
use crate::cdr::record::CallRecord;
use crate::cdr::store::degraded::DegradedCalls;
use crate::cdr::store::{CallStore, StoreError};
use crate::id::CallId;
use crate::routing::RoutingSnapshot;
use crate::routing::attribution::{Again, again, owner_then, request_again};
use crate::routing::replay::DecisionRecord;
use crate::time::Wall;

use super::accounting::{Past, stamp};
use super::deciding::Deciding;
use super::metrics as names;
use super::redis::StoreFault;
use super::revisions::Revisions;
use super::sessions::SharedSessions;
use super::upkeep::Rounds;

/// How often is looked for calls.
const EVERY: Duration = Duration::from_secs(1);
/// Calls that are looked at in a round. The journal has taken what came of all of them before the next.
const AT_ONCE: u32 = 200;
/// A call of longer ago is left as it is: what is said of its number now may be of others.
const BACK: Duration = Duration::from_secs(86_400);

/// What looking again works with.
pub(super) struct Rematching {
    pub(super) deciding: Arc<Deciding>,
    pub(super) shared: Arc<SharedSessions>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) degraded: Arc<dyn DegradedCalls>,
    pub(super) calls: Arc<dyn CallStore>,
    pub(super) past: Past,
    pub(super) appender: Appender,
}

/// Why a call is looked at later.
#[derive(Debug, thiserror::Error)]
enum Later {
    #[error("ask the store of sessions: {0}")]
    Shared(#[from] StoreFault),
    #[error("read the call records: {0}")]
    Book(#[from] StoreError),
}

impl Rematching {
    /// Until the process ends.
    pub(super) async fn run(self, ended: watch::Receiver<bool>) {
        let mut ending = ended.clone();
        let mut rounds = Rounds::new(EVERY, ended);
        // What is on its way from the journal to the book.
        let mut told = BTreeSet::new();
        while rounds.next().await {
            let looked = tokio::select! {
                looked = self.look(&mut told) => looked,
                _ = ending.changed() => return,
            };
            if let Err(later) = looked {
                tracing::warn!(%later, "calls of without the store wait to be looked at again");
            }
        }
    }

    async fn look(&self, told: &mut BTreeSet<CallId>) -> Result<(), Later> {
        if self.appender.pressure() != Pressure::None {
            return Ok(());
        }
        let calls = self.degraded.degraded(AT_ONCE).await?;
        told.retain(|call| calls.contains(call));
        for call in calls.into_iter().filter(|call| !told.contains(call)).collect::<Vec<_>>() {
            let Some(found) = self.look_at(call, stamp().wall()).await? else { continue };
            let outcome = found.outcome;
            let fact = Fact::of_call(call, stamp(), found);
            if self.appender.append(fact, Durability::Durable).is_err() {
                // The journal takes none now: the call is still there.
                return Ok(());
            }
            told.insert(call);
            counter!(names::SESSION_STORE_REMATCHED, "outcome" => outcome.name()).increment(1);
        }
        Ok(())
    }

    /// `None`: nobody can say yet.
    async fn look_at(&self, call: CallId, now: Wall) -> Result<Option<Rematched>, Later> {
        let at = Wall(i64::try_from(call.minted_at_ms()).unwrap_or(i64::MAX));
        if (at + BACK).0 < now.0 {
            return Ok(Some(Rematched::unchanged(Rematch::TooLate)));
        }
        if !self.shared.is_settled() {
            return Ok(None);
        }
        let unreadable = Ok(Some(Rematched::unchanged(Rematch::Unreadable)));
        let Some(record) = readable(self.calls.find(call).await)? else { return unreadable };
        let Some(decided) = self.decided(&record).await? else { return unreadable };
        let Some(snapshot) = self.snapshot(decided.decision.revision).await? else {
            return unreadable;
        };
        let was = decided.decision.attribution.as_ref();
        let owner = was.and_then(|was| Some((was, owner_then(&snapshot, was)?)));
        let Some((was, owner)) = owner else { return unreadable };
        let request = request_again(&decided.request, &record.dialed);
        let mut then = self.shared.lookup_then(&snapshot, &request, &owner).await?;
        let mut here = vec![];
        for id in then.lacking() {
            here.extend(readable(self.past.past(*id).await)?);
        }
        then.know(here);
        let then = then.afterwards(&snapshot, &request, &owner);
        Ok(Some(match again(&snapshot, &owner, &request, was, &then) {
            Again::Same => Rematched::unchanged(Rematch::Same),
            Again::SessionGone => Rematched::unchanged(Rematch::SessionGone),
            Again::Forgotten => Rematched::unchanged(Rematch::Forgotten),
            Again::Found(found) => Rematched {
                outcome: Rematch::Found,
                session: found.session,
                match_method: found.method.name().into(),
                confidence_pct: found.confidence.0,
            },
        }))
    }

    /// What the call was decided on; `None`: that is not on record.
    async fn decided(&self, record: &CallRecord) -> Result<Option<DecisionRecord>, StoreError> {
        let Some(explain_ref) = record.explain_ref else { return Ok(None) };
        let explained = self.calls.explain(explain_ref).await;
        let Some(bytes) = readable(explained)? else { return Ok(None) };
        let decided = DecisionRecord::from_bytes(&bytes).inspect_err(|error| {
            tracing::error!(call_id = %record.call, %error, "failed to read a routing decision");
        });
        Ok(decided.ok())
    }

    async fn snapshot(&self, revision: u64) -> Result<Option<Arc<RoutingSnapshot>>, StoreError> {
        let in_force = self.deciding.snapshot();
        if in_force.revision() == revision {
            return Ok(Some(in_force));
        }
        readable(self.revisions.snapshot(revision).await)
    }
}

/// What is damaged is as if it were not there: nobody waits for it.
fn readable<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(error @ (StoreError::Damaged { .. } | StoreError::Outdated { .. })) => {
            tracing::error!(%error, "failed to read what a call was decided on");
            Ok(None)
        }
        found => found,
    }
}
