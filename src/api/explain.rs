//! Why a call went where it went, read from what was written when it was decided.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use smol_str::SmolStr;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::course::course;
use super::error::{Code, Problem};
use super::openapi::{faults, word_of, word_or_null};
use super::record::rematched;
use super::request::Id;
use super::router::Api;
use super::shortage::ExplainedShortage;
use crate::cdr::record::{CallRecord, Flags};
use crate::id::{
    BuyerId, CallId, CampaignId, PingId, PoolId, PublisherId, SessionId, TargetId, TrunkId,
};
use crate::money::Money;
use crate::reason::{NoPayout, NoRoute, Reason};
use crate::routing::attribution::{Attribution, Candidate, CandidateVerdict, Method};
use crate::routing::config::Confidence;
use crate::routing::counterfactual::{Change, Counterfactual, counterfactuals};
use crate::routing::course::{Course, TurnEnd};
use crate::routing::decision::{Check, Outcome, PlannedAttempt, PlannedDial, Verdict};
use crate::routing::dial::Way;
use crate::routing::geo::Basis;
use crate::routing::history::prior::{PriorCall, PriorCalls, PriorToBuyer, PriorToTarget};
use crate::routing::replay::DecisionRecord;
use crate::routing::shortage::FullLimit;
use crate::routing::{RoutingSnapshot, Step};

/// The decision about a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    #[schema(value_type = String, example = "cal_01954f2e7d1e70008000000000000001")]
    call_id: CallId,
    #[schema(example = "2026-03-17T15:04:12.325Z")]
    decided_at: String,
    /// Revision of the configuration it was made with.
    #[schema(example = 418)]
    config_rev: u64,
    /// Why no target was tried, as a reason code; null if there was a plan.
    #[schema(value_type = Option<String>, example = json!(null))]
    refused: Option<Reason>,
    /// Why the call gets to nobody, of four classes: `none_match`, no target wants such a call;
    /// `all_closed`, each that wants it takes calls at another hour or when it is switched on;
    /// `no_capacity`, at least one would take it, had it room; `none_answered`, targets were called. Null:
    /// it gets to somebody, is not over, or ended for another cause.
    #[schema(value_type = Option<String>, example = json!(null))]
    no_route: Option<NoRoute>,
    /// Whose call it is, as it was decided; null: the dialled number belongs to no campaign.
    attribution: Option<ExplainedAttribution>,
    /// What became known later of the session of a call that was matched without the store that servers share;
    /// null: nothing, and `attribution` stands.
    rematched: Option<ExplainedRematch>,
    /// What was known of the caller's earlier calls; null: nothing is kept of them, or of a caller without
    /// a number, or the call was stopped before.
    prior_calls: Option<ExplainedPriorCalls>,
    /// Every target of the campaign, and what became of it.
    candidates: Vec<ExplainedCandidate>,
    /// The targets to be tried, in order.
    plan: Vec<ExplainedAttempt>,
    /// Every check, in order.
    steps: Vec<ExplainedStep>,
    /// For each target that was not called, with what it would have been; only what was found by
    /// deciding again. Null: the configuration it was decided on is not on record.
    would_have_been_called: Option<Vec<ExplainedCounterfactual>>,
    /// All of it in words, a line each.
    #[schema(example = json!(["campaign cmp_hvac, publisher pub_brightpath; no session"]))]
    text: Vec<String>,
    /// SHA-256 of what the decision was made from and of its result, in hexadecimal.
    #[schema(example = "3f1c1f8c1d3c2d6f0a2d5f8f0e1c6b7a4d9e8c7b6a5f4e3d2c1b0a9f8e7d6c5b")]
    digest: String,
}

/// Whose a call was that had been matched without the store that servers share. It was routed as `attribution`
/// says, and money is owed as of that.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedRematch {
    /// When it became known.
    #[schema(example = "2026-03-17T15:21:40.007Z")]
    at: String,
    /// Null: it was of no session.
    #[schema(value_type = Option<String>, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: Option<SessionId>,
    /// By what, as the attribution's.
    #[schema(value_type = String, example = "pool_lease")]
    method: SmolStr,
    /// How sure the match is, 0 to 1.
    #[schema(value_type = f64, example = 0.99)]
    confidence: Confidence,
}

/// A caller's earlier calls, as far back as each fact looks (`[history]`). Whether one makes the call a
/// duplicate is for rules to say.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedPriorCalls {
    /// To the dialled number.
    #[schema(example = 2)]
    number: u32,
    /// To the campaign.
    #[schema(example = 3)]
    campaign: u32,
    /// Calls that each buyer answered, but for those who answered none.
    buyers: Vec<ExplainedPriorBuyer>,
    targets: Vec<ExplainedPriorTarget>,
    /// The last that somebody answered.
    last_connected: Option<ExplainedPriorCall>,
    /// The last that its buyer came to owe for.
    last_converted: Option<ExplainedPriorCall>,
    /// There may be others: not all that is on record was at hand.
    partial: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedPriorBuyer {
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    #[schema(example = 1)]
    calls: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedPriorTarget {
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    #[schema(example = 1)]
    calls: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedPriorCall {
    #[schema(value_type = String, example = "cal_01954f2e7d1e70008000000000000009")]
    call_id: CallId,
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    /// When it was answered, or owed for.
    #[schema(example = "2026-03-14T15:04:12.325Z")]
    at: String,
}

/// A target that would have been in the plan if all of `changes` had been so, and there was room in all of
/// `room_in`.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedCounterfactual {
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    changes: Vec<ExplainedChange>,
    /// Keys of caps, concurrency and spacing that nobody looked at when the call was decided, as an earlier
    /// check had failed. A simulation looks at those of its instant.
    #[schema(value_type = Vec<String>, example = json!([]))]
    room_in: Vec<SmolStr>,
    /// Both for people.
    #[schema(example = "cap target/tgt_summit/connected/daily +1")]
    text: String,
}

/// One thing that would have been otherwise.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ExplainedChange {
    /// `cap_raised`: the limit of `cap` was higher by `by`; `cap_at_least`: it was at least `limit`, as
    /// it is too low for a single call, or for the pace at which it was used; `agents_ready`: so many more as
    /// `by` says were ready to take a call of those that `cap` counts; `called_at`: the call came `later_by_s`
    /// later; `tag`: `tag` had `value`; `first_call`: the caller had not called before; `listed`, `unlisted`:
    /// the caller was on `list`, or was not; `floor_lowered`: the least that a target has to bring was lower by
    /// `by`; `revenue_raised`: the target paid more by `by`; `room_known`: it was known what other servers had
    /// taken of `cap`, and there was room.
    #[schema(value_type = String, example = "cap_raised")]
    change: &'static str,
    /// Key of a cap or of concurrency.
    #[schema(value_type = Option<String>, example = "target/tgt_summit/connected/daily")]
    cap: Option<SmolStr>,
    /// In calls, micros or milliseconds, as the cap counts; of money in micros.
    #[schema(example = 1)]
    by: Option<u64>,
    /// In the same unit.
    #[schema(example = json!(null))]
    limit: Option<u64>,
    /// Of `cap_raised` and `cap_at_least`: it is the limit that the hour or the day has in place of the one
    /// there is else; null: it is that one.
    #[schema(example = json!(null))]
    of_hour: Option<bool>,
    /// Seconds; earlier, if negative.
    #[schema(example = json!(null))]
    later_by_s: Option<i64>,
    /// The name of a tag.
    #[schema(value_type = Option<String>, example = json!(null))]
    tag: Option<SmolStr>,
    /// A value that would do.
    #[schema(value_type = Option<String>, example = json!(null))]
    value: Option<SmolStr>,
    /// The name of a list of callers.
    #[schema(value_type = Option<String>, example = json!(null))]
    list: Option<SmolStr>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedAttribution {
    #[schema(value_type = String, example = "cmp_hvac")]
    campaign: CampaignId,
    #[schema(value_type = String, example = "pub_brightpath")]
    publisher: PublisherId,
    /// Null: a static number.
    #[schema(value_type = Option<String>, example = "pool_hvac")]
    pool: Option<PoolId>,
    #[schema(schema_with = methods)]
    method: Method,
    /// How sure the match is, 0 to 1.
    #[schema(value_type = f64, example = 0.99)]
    confidence: Confidence,
    #[schema(value_type = Option<String>, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: Option<SessionId>,
    #[schema(value_type = Option<String>, example = "png_01954f2e7d1e70008000000000000003")]
    ping_id: Option<PingId>,
    /// Age of the session at the decision.
    #[schema(example = 14_216)]
    age_ms: Option<u64>,
    /// More than one live session matched.
    ambiguous: bool,
    /// The number was lent again less than a minute before: it may be its former visitor's call.
    attribution_race: bool,
    /// The sessions that were considered.
    sessions: Vec<ExplainedSession>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedSession {
    #[schema(value_type = String, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: SessionId,
    #[schema(schema_with = verdicts_on_sessions)]
    verdict: CandidateVerdict,
    #[schema(schema_with = methods_or_none)]
    method: Option<Method>,
    /// How sure that is, 0 to 1.
    #[schema(value_type = Option<f64>, example = 0.99)]
    confidence: Option<Confidence>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedCandidate {
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    /// Place in the plan, from 1; null: it got none.
    #[schema(example = 1)]
    rank: Option<u16>,
    /// An INVITE was sent to it, or the carrier was told to call it.
    dialed: bool,
    /// Why it was not dialled, as a reason code; null if it was.
    #[schema(value_type = Option<String>, example = json!(null))]
    reason: Option<Reason>,
    /// The reason more closely, where there are several of its kind: `cap.<metric>.<window>` for
    /// `cap.full`, `filter.<tag>` for `filter.mismatch` and `filter.basis_below`; else the same.
    #[schema(value_type = Option<String>, example = json!(null))]
    code: Option<SmolStr>,
    /// The reason for people.
    #[schema(value_type = Option<String>, example = json!(null))]
    reason_text: Option<&'static str>,
    /// What had no room, when the call was decided or when its turn came; null: that is not why, or not
    /// known.
    shortage: Option<ExplainedShortage>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedAttempt {
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    #[schema(example = 1)]
    tier: i32,
    #[schema(example = "sip:summit@in.summit.example")]
    dest: String,
    /// The trunk whose carrier is called there; null: nobody's.
    #[schema(value_type = Option<String>, example = "trk_b")]
    trunk: Option<TrunkId>,
    /// The other ways to the target, in the order in which they are tried when one fails.
    further: Vec<ExplainedDial>,
    #[schema(example = 30_000)]
    ring_timeout_ms: u32,
    #[schema(example = 14_400_000)]
    max_duration_ms: u32,
    /// What is owed if the call converts; null: nothing.
    terms: Option<ExplainedTerms>,
}

/// Another way to a planned target.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedDial {
    #[schema(example = "sip:summit@sbc.carrier.example")]
    dest: String,
    /// The trunk whose carrier is called there; null: nobody's.
    #[schema(value_type = Option<String>, example = "trk_a")]
    trunk: Option<TrunkId>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExplainedTerms {
    /// The buyer owes `revenue` when the call is still up so many seconds after the answer.
    #[schema(example = 90)]
    seconds: u32,
    #[schema(value_type = String, example = "41.50")]
    revenue: Money,
    /// The publisher is owed `payout` when the call is still up so many seconds after the answer.
    #[schema(example = 90)]
    payout_seconds: u32,
    #[schema(value_type = String, example = "33.20")]
    payout: Money,
    /// Why the payout is nothing; null: it is what was agreed.
    #[schema(value_type = Option<String>, example = json!(null))]
    no_payout_reason: Option<NoPayout>,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedStep {
    /// Null: the check was about the call.
    #[schema(value_type = Option<String>, example = "tgt_coolbreeze")]
    target: Option<TargetId>,
    #[schema(schema_with = checks)]
    check: Check,
    /// Which of several, such as a tag or a cap.
    #[schema(value_type = Option<String>, example = "geo.state")]
    subject: Option<SmolStr>,
    #[schema(schema_with = verdicts)]
    verdict: Verdict,
    #[schema(value_type = Option<String>, example = "filter.mismatch")]
    reason: Option<Reason>,
    /// The same more closely, as for a candidate.
    #[schema(value_type = Option<String>, example = "filter.geo.state")]
    code: Option<SmolStr>,
    /// What was found.
    #[schema(value_type = Option<String>, example = "KY")]
    have: Option<SmolStr>,
    /// What was asked for.
    #[schema(value_type = Option<String>, example = "in OH, PA")]
    want: Option<SmolStr>,
    #[schema(schema_with = bases)]
    basis: Option<Basis>,
    /// How sure that is, 0 to 1.
    #[schema(value_type = Option<f64>, example = 0.5)]
    confidence: Option<Confidence>,
    /// The limit that had no room; null: it is about none, or there was room.
    limit: Option<ExplainedShortage>,
}

fn methods() -> Object {
    word_of(
        Method::ALL,
        &Method::PoolLease,
        "By what the call is known to be of this campaign and session.",
    )
}

fn methods_or_none() -> Object {
    let told = "By what it matched, as the attribution's; null: it did not.";
    word_or_null(Method::ALL, &Method::PoolLease, told)
}

fn verdicts_on_sessions() -> Object {
    word_of(CandidateVerdict::ALL, &CandidateVerdict::Used, "What came of it.")
}

fn checks() -> Object {
    word_of(Check::ALL, &Check::Filter, "What was checked.")
}

fn verdicts() -> Object {
    word_of(
        Verdict::ALL,
        &Verdict::Refused,
        "What came of it; `planned`: the target has a place in the plan.",
    )
}

fn bases() -> Object {
    let told = "How what was found is known: `declared` by the caller or the trunk, told by a `ping`, `enriched` \
                by an enricher, on record of the line (`line_record`), or by the caller's number, `npa_nxx` or \
                `npa`. Null where that is no question.";
    word_or_null(Basis::ALL, &Basis::Npa, told)
}

faults!(ExplainFaults: PathMalformed, CallNotFound, DecisionNotFound, StoreUnavailable, StoreDamaged);

/// Why a call went where it went
///
/// Shows the routing decision with every target that was considered and every check that was
/// made, as they were written down when the call was decided, and what became of each target: by the
/// record of the call, so that of a call that is up it is what happened so far.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}/explain",
    operation_id = "explain_call",
    tag = "calls",
    params(("id" = String, Path, description = "Id of the call",
        example = "cal_01954f2e7d1e70008000000000000001")),
    responses((status = 200, description = "The decision", body = Explanation), ExplainFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Id(id): Id<CallId>,
) -> Result<Json<Explanation>, Problem> {
    let call = api.record(id).await?;
    let record = api.decision_of(&call).await?;
    let course = course(&call);
    let revision = record.decision.revision;
    let snapshot = api.services.routing.revision(revision).await.unwrap_or_else(|error| {
        tracing::error!(revision, %error, "a configuration of before cannot be read");
        None
    });
    // What would have been takes many decisions.
    let explain = move || {
        Explanation::new(record, Some(&course), snapshot.as_deref()).with_what_came_later(&call)
    };
    let explained = tokio::task::spawn_blocking(explain).await;
    Ok(Json(explained.map_err(|_| Code::InternalError)?))
}

impl Api {
    /// The configuration of a revision; absent: the one in force.
    pub(super) async fn snapshot(
        &self,
        revision: Option<u64>,
    ) -> Result<Arc<RoutingSnapshot>, Problem> {
        let routing = &self.services.routing;
        match revision {
            None => Ok(routing.in_force()),
            Some(revision) => {
                Ok(routing.revision(revision).await?.ok_or(Code::RevisionNotFound)?)
            }
        }
    }

    /// The decision about a call.
    pub(super) async fn decision(&self, id: CallId) -> Result<DecisionRecord, Problem> {
        let call = self.record(id).await?;
        self.decision_of(&call).await
    }

    async fn decision_of(&self, call: &CallRecord) -> Result<DecisionRecord, Problem> {
        let explain_ref = call.explain_ref.ok_or(Code::DecisionNotFound)?;
        let stored = self.services.calls.explain(explain_ref).await?.ok_or_else(|| {
            // It is on its way from the journal to the store.
            Problem::from(Code::DecisionNotFound).retry_after(1)
        })?;
        let record = DecisionRecord::from_bytes(&stored).map_err(|e| {
            tracing::error!(call_id = %call.call, error = %e, "reading a routing decision failed");
            Problem::from(Code::StoreDamaged)
        })?;
        Ok(record)
    }
}

impl Explanation {
    /// `course`: what the call came to with its plan, absent if nobody acts on it; `snapshot`: what it
    /// was decided on, if that is known.
    pub(super) fn new(
        record: DecisionRecord,
        course: Option<&Course>,
        snapshot: Option<&RoutingSnapshot>,
    ) -> Self {
        let is_tried = course.is_some();
        let nobody = Course::default();
        let (mut text, course) = match course {
            Some(course) => (record.decision.explain(course), course),
            None => (record.decision.explain_plan(), &nobody),
        };
        let others = snapshot.map(|snapshot| counterfactuals(snapshot, &record, course));
        text.extend(others.iter().flatten().map(ToString::to_string));
        let decision = record.decision;
        Self {
            call_id: decision.call,
            would_have_been_called: others
                .map(|others| others.into_iter().map(Into::into).collect()),
            decided_at: decision.at.to_rfc3339(),
            config_rev: decision.revision,
            refused: decision.refused,
            no_route: decision.got_to_nobody(course),
            candidates: decision
                .outcomes(course)
                .into_iter()
                // Nobody has failed to reach what nobody tries.
                .map(|it| match is_tried || it.rank.is_none() {
                    true => it,
                    false => Outcome { reason: None, code: None, ..it },
                })
                .map(|it| ExplainedCandidate::new(it, course))
                .collect(),
            text,
            prior_calls: decision.readings.prior.map(Into::into),
            attribution: decision.attribution.map(Into::into),
            rematched: None,
            plan: decision.plan.into_iter().map(Into::into).collect(),
            steps: decision.steps.into_iter().map(Into::into).collect(),
            digest: record.digest.to_string(),
        }
    }

    /// The same with what became known of the call's session after the decision.
    fn with_what_came_later(mut self, call: &CallRecord) -> Self {
        if call.flags.contains(Flags::MATCH_DEGRADED) {
            let told = "matched without the store that servers share, by what this one knew itself";
            self.text.push(told.to_owned());
        }
        if let Some(first) = &call.first_match {
            let at = first.until.to_rfc3339();
            let found = rematched(call, first);
            self.text
                .push(format!("looked at again at {at}: {found}; routed and paid as at first"));
            self.rematched = Some(ExplainedRematch {
                at,
                session_id: call.session,
                method: call.match_method.clone(),
                confidence: Confidence(call.confidence_pct),
            });
        }
        self
    }
}

impl From<PriorCalls> for ExplainedPriorCalls {
    fn from(prior: PriorCalls) -> Self {
        let buyers = prior.to_buyers.into_iter();
        let targets = prior.to_targets.into_iter();
        let last = |PriorCall { call, target, buyer, at }| ExplainedPriorCall {
            call_id: call,
            target,
            buyer,
            at: at.to_rfc3339(),
        };
        Self {
            number: prior.to_number,
            campaign: prior.to_campaign,
            buyers: buyers
                .map(|PriorToBuyer { buyer, calls }| ExplainedPriorBuyer { buyer, calls })
                .collect(),
            targets: targets
                .map(|PriorToTarget { target, calls }| ExplainedPriorTarget { target, calls })
                .collect(),
            last_connected: prior.last_connected.map(last),
            last_converted: prior.last_converted.map(last),
            partial: prior.is_partial,
        }
    }
}

impl From<Counterfactual> for ExplainedCounterfactual {
    fn from(counterfactual: Counterfactual) -> Self {
        let text = counterfactual.in_words();
        let Counterfactual { target, changes, unread } = counterfactual;
        let changes = changes.into_iter().map(Into::into).collect();
        Self { target, changes, room_in: unread, text }
    }
}

impl From<Change> for ExplainedChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Raised { cap, by, hour, .. } => {
                let of_hour = hour.then_some(true);
                let (cap, by) = (Some(cap), Some(by));
                Self { change: "cap_raised", cap, by, of_hour, ..Self::default() }
            }
            Change::AtLeast { cap, limit, hour, .. } => {
                let of_hour = hour.then_some(true);
                let (cap, limit) = (Some(cap), Some(limit));
                Self { change: "cap_at_least", cap, limit, of_hour, ..Self::default() }
            }
            Change::Ready { concurrency, by } => {
                let (cap, by) = (Some(concurrency), Some(by.into()));
                Self { change: "agents_ready", cap, by, ..Self::default() }
            }
            Change::Shifted { by_ms } => {
                let later_by_s = Some(by_ms / 1_000);
                Self { change: "called_at", later_by_s, ..Self::default() }
            }
            Change::Tagged { tag, value } => {
                Self { change: "tag", tag: Some(tag), value: Some(value), ..Self::default() }
            }
            Change::Unknown => Self { change: "first_call", ..Self::default() },
            Change::Listed { list, on } => {
                let change = if on { "listed" } else { "unlisted" };
                Self { change, list: Some(list), ..Self::default() }
            }
            Change::FloorLowered { by } => Self::of_money("floor_lowered", by),
            Change::PaidMore { by } => Self::of_money("revenue_raised", by),
            Change::RoomKnown { cap } => {
                Self { change: "room_known", cap: Some(cap), ..Self::default() }
            }
        }
    }
}

impl ExplainedChange {
    fn of_money(change: &'static str, by: Money) -> Self {
        Self { change, by: u64::try_from(by.0).ok(), ..Self::default() }
    }
}

impl From<Attribution> for ExplainedAttribution {
    fn from(attribution: Attribution) -> Self {
        Self {
            campaign: attribution.campaign,
            publisher: attribution.publisher,
            pool: attribution.pool,
            method: attribution.method,
            confidence: attribution.confidence,
            session_id: attribution.session,
            ping_id: attribution.ping,
            age_ms: attribution.age_ms,
            ambiguous: attribution.ambiguous,
            attribution_race: attribution.race,
            sessions: attribution.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Candidate> for ExplainedSession {
    fn from(candidate: Candidate) -> Self {
        Self {
            session_id: candidate.session,
            verdict: candidate.verdict,
            method: candidate.method,
            confidence: candidate.confidence,
        }
    }
}

impl ExplainedCandidate {
    fn new(outcome: Outcome, course: &Course) -> Self {
        let of_course = match course.of(&outcome.target) {
            Some(TurnEnd::Denied { shortage, .. }) => shortage.clone().map(Into::into),
            Some(TurnEnd::Dialed | TurnEnd::HandedOver) | None => None,
        };
        Self {
            reason_text: outcome.reason.map(|reason| {
                let full = outcome.full.as_deref();
                full.and_then(FullLimit::text).unwrap_or_else(|| reason.text())
            }),
            shortage: outcome.full.map(|full| (*full).into()).or(of_course),
            target: outcome.target,
            rank: outcome.rank,
            dialed: outcome.dialed,
            reason: outcome.reason,
            code: outcome.code,
        }
    }
}

impl From<PlannedAttempt> for ExplainedAttempt {
    fn from(planned: PlannedAttempt) -> Self {
        let trunk = planned.trunk().cloned();
        Self {
            trunk,
            target: planned.target,
            buyer: planned.buyer,
            tier: planned.tier,
            further: planned.further.into_iter().map(Into::into).collect(),
            dest: planned.uri,
            ring_timeout_ms: planned.ring_timeout_ms,
            max_duration_ms: planned.max_duration_ms,
            terms: planned.terms.map(|terms| ExplainedTerms {
                seconds: terms.seconds,
                revenue: terms.revenue,
                payout_seconds: terms.payout_seconds,
                payout: terms.payout,
                no_payout_reason: terms.no_payout,
            }),
        }
    }
}

impl From<PlannedDial> for ExplainedDial {
    fn from(planned: PlannedDial) -> Self {
        let trunk = planned.way.as_ref().and_then(Way::trunk).cloned();
        Self { dest: planned.uri, trunk }
    }
}

impl From<Step> for ExplainedStep {
    fn from(step: Step) -> Self {
        let (ground, code) = (step.known_by(), step.code());
        let (have, want) = step.words();
        Self {
            code,
            limit: step.full.map(|full| (*full).into()),
            basis: ground.map(|it| it.basis),
            confidence: ground.map(|it| it.confidence),
            target: step.target,
            check: step.check,
            subject: step.subject,
            verdict: step.verdict,
            reason: step.reason,
            have,
            want,
        }
    }
}
