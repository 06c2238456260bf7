//! Calls that are only thought of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Routing;
use super::error::{Code, Place, Problem};
use super::explain::Explanation;
use super::openapi::faults;
use super::preview::{LatencyEstimate, SipPreview};
use super::request::{JsonBody, escape};
use super::router::Api;
use crate::id::{TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::attribution::SessionKey;
use crate::routing::decision::Terms;
use crate::routing::dial::Way;
use crate::routing::scorer::{Heard, millionths_of};
use crate::routing::simulate::{
    AskedCall, Assumed, AssumedSession, Dialed, Latency, LiveSession, distribution_while, unmatched,
};
use crate::routing::{RouteRequest, RoutingSnapshot, Tags};
use crate::suggest::suggestion;
use crate::time::Wall;

const COUNT_MAX: u32 = 10_000;
/// Calls are shared out for so long at most.
const SHARED_FOR: Duration = Duration::from_secs(5);

/// A call to be thought of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Simulation {
    /// The number that is called. Just one of this, `pool` and `address` stands here; none if a session
    /// is called at its own number or address.
    #[serde(default)]
    #[schema(example = "+18005550100")]
    dialed: Option<String>,
    /// A pool of whose numbers one is called.
    #[serde(default)]
    #[schema(example = json!(null))]
    pool: Option<String>,
    /// The user part of an address that names a live session, such as `bid_…` or `ses_…`.
    #[serde(default)]
    #[schema(example = json!(null))]
    address: Option<String>,
    /// The session behind the call. Absent: whichever live one the call matches.
    #[serde(default)]
    #[schema(example = json!(null))]
    session: Option<SimulatedSession>,
    /// Absent: the caller is anonymous.
    #[serde(default)]
    #[schema(example = "+16145550163")]
    caller: Option<String>,
    /// The trunk it comes from, for the trunk's caps.
    #[serde(default)]
    #[schema(example = "trk_a")]
    trunk: String,
    /// When it comes, RFC 3339; absent: now.
    #[serde(default)]
    #[schema(example = "2026-03-17T15:04:12Z")]
    at: Option<String>,
    /// What the trunk says of it.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// The configuration; absent: the one in force.
    #[serde(default)]
    #[schema(example = 418)]
    revision: Option<u64>,
    /// What is to be taken for true.
    #[serde(default)]
    assume: Assumptions,
    /// Whether scorers elsewhere are asked, as they are about a call that comes: what they are told of
    /// it, and no longer than it waits. Absent: nobody is asked, and the order is that of a call whose
    /// scorers do not answer in time.
    #[serde(default)]
    ask_scorers: bool,
    /// How many such calls are shared out, 1 to 10,000; absent: 1.
    #[serde(default)]
    #[schema(example = 100)]
    count: Option<u32>,
    /// Names the calls; the same seed gives the same answer.
    #[serde(default)]
    seed: u64,
}

/// A live session, by its `id` alone, whose visitor calls; or one that is only assumed, and then goes before
/// those that are live.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct SimulatedSession {
    /// Of a live one. It is called at its number if it has one, else at its address; its caller calls unless
    /// another is named.
    #[schema(example = "ses_01954f2e7d1e70008000000000000002")]
    id: Option<String>,
    /// Of one that is assumed, whose it is; absent: that of the number that is called. If neither number
    /// nor pool is called, the call is to the session's address, and both have to be there.
    #[schema(example = json!(null))]
    campaign: Option<String>,
    /// The same.
    #[schema(example = json!(null))]
    publisher: Option<String>,
    /// What its ping said.
    #[schema(example = json!({ "geo.state": "OH" }))]
    tags: BTreeMap<String, String>,
    /// What enrichers told of its caller.
    enriched: BTreeMap<String, String>,
    /// How long ago it was opened, seconds.
    #[schema(example = 14)]
    age_s: u32,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct Assumptions {
    /// How much of a cap is used, in calls, micros or milliseconds as it counts, by its key such as
    /// `target/tgt_summit/connected/daily`, or `target/tgt_summit/concurrency`.
    caps_used: BTreeMap<String, u64>,
    /// Targets that probes do not find.
    targets_down: BTreeSet<String>,
    /// Buyers whose targets take no call.
    buyers_paused: BTreeSet<String>,
    /// How much more buyers may owe, by buyer: credit and deposits together.
    #[schema(value_type = BTreeMap<String, String>, example = json!({ "buy_summit": "100.00" }))]
    credit: BTreeMap<String, Money>,
    /// How many agents are ready, by the key of a concurrency such as `target/tgt_summit/concurrency`.
    #[schema(example = json!({ "target/tgt_summit/concurrency": 3 }))]
    ready_agents: BTreeMap<String, u32>,
    /// What scorers elsewhere say of targets, by scorer and target. Whoever stands here is not asked.
    #[schema(example = json!({ "learned": { "tgt_summit": 0.31 } }))]
    scores: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What would be decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Simulated {
    /// Of the first call.
    decision: Explanation,
    /// Why nothing counts that the assumed session says: it is not that of the call. Null: it is, or none is
    /// assumed.
    #[schema(example = json!(null))]
    session_unmatched: Option<String>,
    /// What the first target of the plan would bring if the call converts; null: there is none.
    money: Option<SimulatedMoney>,
    /// What would be sent to it; null: there is none, or `revision` is not the one in force.
    sip_preview: Option<SipPreview>,
    /// How long the caller would wait there; null: there is none.
    latency_estimate: Option<LatencyEstimate>,
    /// How many of the calls are shared out: fewer than `count` if that takes longer than five seconds.
    #[schema(example = 100)]
    calls: u32,
    /// How many of them would be offered to each target first.
    #[schema(value_type = BTreeMap<String, u32>, example = json!({ "tgt_summit": 70, "tgt_cool": 30 }))]
    first: BTreeMap<SmolStr, u32>,
    /// What came of each scorer elsewhere that such a call is asked about. All of the calls are shared
    /// out by what was said of the first.
    scorers: Vec<SimulatedScorer>,
    /// How many would be refused, by reason code.
    #[schema(value_type = BTreeMap<String, u32>, example = json!({}))]
    refused: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SimulatedScorer {
    #[schema(value_type = String, example = "learned")]
    scorer: SmolStr,
    /// `scored`; `late`: it had not answered when its time was over; `failed`; `no_room`: calls are
    /// being asked about that are too many already; `assumed`; `not_asked`.
    #[schema(value_type = String, example = "scored")]
    outcome: &'static str,
    /// Why it failed.
    #[schema(example = json!(null))]
    why: Option<String>,
    /// What it said of targets.
    #[schema(value_type = BTreeMap<String, f64>, example = json!({ "tgt_summit": 0.31 }))]
    scores: BTreeMap<SmolStr, f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SimulatedMoney {
    #[schema(value_type = String, example = "42.00")]
    revenue: Money,
    #[schema(value_type = String, example = "24.00")]
    payout: Money,
    #[schema(value_type = String, example = "18.00")]
    margin: Money,
}

faults!(
    SimulateFaults: BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge,
    BodyMediaType, BodyEncoding, SimulationRefused, RevisionNotFound, RevisionOutdated, StoreUnavailable,
    StoreDamaged
);

/// Think of a call
///
/// Decides about a call that does not exist, by the function that decides about those that do, on what
/// is used and held at this moment and on what is assumed. Nothing is reserved, counted or recorded.
/// Scorers elsewhere are asked only if `ask_scorers` says so.
#[utoipa::path(
    post,
    path = "/v1/simulate/call",
    operation_id = "simulate_call",
    tag = "calls",
    request_body = Simulation,
    responses((status = 200, description = "What would be decided", body = Simulated), SimulateFaults),
)]
pub(super) async fn call(
    State(api): State<Arc<Api>>,
    JsonBody(body): JsonBody<Simulation>,
) -> Result<Json<Simulated>, Problem> {
    let routing = &api.services.routing;
    let snapshot = api.snapshot(body.revision).await?;
    let (request, mut assumed, count) = body.read(&snapshot, routing.as_ref())?;
    let paused: BTreeSet<_> =
        body.assume.buyers_paused.iter().map(|id| id.as_str().into()).collect();
    let snapshot = match paused.is_empty() {
        true => snapshot,
        false => Arc::new(snapshot.without_buyers(&paused)),
    };
    let questions = routing.questions(&snapshot, &request, &assumed);
    let (left, mut heard) = assumed.left_to_ask(questions, body.ask_scorers);
    heard.extend(routing.ask(left).await);
    assumed.heed(&heard);
    let (routing, seed) = (Arc::clone(routing), body.seed);
    let simulated = tokio::task::spawn_blocking(move || {
        let record = routing.simulate(&snapshot, &request, &assumed);
        let give_up = Instant::now() + SHARED_FOR;
        let in_time = || Instant::now() < give_up;
        let shares = distribution_while(&snapshot, &record, count, seed, in_time);
        let money = record.decision.plan.first().and_then(|first| first.terms).map(Into::into);
        let first = shares.first.into_iter().map(|(TargetId(target), calls)| (target, calls));
        let refused =
            shares.refused.into_iter().map(|(reason, calls)| (Reason::code(reason), calls));
        let sip_preview = routing.preview(&record);
        let seen =
            |way: &Way| routing.ways().into_iter().find(|(it, _)| it == way).map(|(_, it)| it);
        let latency = Latency::of(&snapshot, &record.decision, seen);
        Simulated {
            money,
            sip_preview,
            latency_estimate: latency.map(Into::into),
            calls: shares.calls,
            scorers: heard.into_iter().map(Into::into).collect(),
            first: first.collect(),
            refused: refused.collect(),
            session_unmatched: unmatched(&request, &assumed.sessions, &record.decision),
            decision: Explanation::new(record, None, Some(&snapshot)),
        }
    });
    Ok(Json(simulated.await.map_err(|_| Code::InternalError)?))
}

impl Simulation {
    fn read(
        &self,
        snapshot: &RoutingSnapshot,
        routing: &dyn Routing,
    ) -> Result<(RouteRequest, Assumed, u32), Problem> {
        let mut faults = vec![];
        let mut number = |field: &str, text: &str| {
            let parsed = PhoneNumber::from_text(text);
            parsed.map_err(|error| faults.push((format!("/{field}"), error.to_string()))).ok()
        };
        let dialed = self.dialed.as_ref().map(|dialed| number("dialed", dialed));
        let caller = self.caller.as_ref().and_then(|caller| number("caller", caller));
        let at = match &self.at {
            None => Some(routing.now()),
            Some(text) => text
                .parse::<jiff::Timestamp>()
                .map(|at| Wall(at.as_millisecond()))
                .map_err(|error| faults.push((String::from("/at"), error.to_string())))
                .ok(),
        };
        let count = self.count.unwrap_or(1);
        if !(1..=COUNT_MAX).contains(&count) {
            faults.push((String::from("/count"), format!("must be 1 to {COUNT_MAX}")));
        }
        let live = self.live(routing, &mut faults);
        let mut assumed = self.assume.read(snapshot, &mut faults);
        let ways = [&self.dialed, &self.pool, &self.address];
        let dialed = match (ways.iter().filter(|way| way.is_some()).count(), dialed, &live) {
            (0, _, Some(live)) => Some(live.dialed.clone()),
            (0, _, None) if self.session.as_ref().is_some_and(|it| it.id.is_none()) => {
                Some(Dialed::Assumed)
            }
            (1, Some(number), _) => number.map(Dialed::Number),
            (1, None, live) => match &self.pool {
                Some(pool) => Some(Dialed::Pool(pool.as_str().into())),
                None => live.as_ref().map(|live| live.named.clone()),
            },
            (0, _, None) => {
                let what = "has to be there, or `pool`, `address` or `session`";
                faults.push((String::from("/dialed"), String::from(what)));
                None
            }
            _ => {
                let what = "of `dialed`, `pool` and `address` just one can be called";
                faults.push((String::from("/dialed"), String::from(what)));
                None
            }
        };
        let asked = dialed.zip(at).map(|(dialed, at)| AskedCall {
            dialed,
            caller: caller.or_else(|| live.and_then(|it| it.caller)),
            trunk: TrunkId::new(&self.trunk),
            at,
            tags: tags(&self.tags),
            session: self.session.as_ref().filter(|it| it.id.is_none()).map(Into::into),
            seed: self.seed,
        });
        let refused = |faults: Vec<(String, String)>| {
            let problem = Problem::from(Code::SimulationRefused);
            faults.into_iter().fold(problem, |problem, (pointer, detail)| {
                problem.with(Place::Body(pointer), "malformed", detail)
            })
        };
        let Some(asked) = asked.filter(|_| faults.is_empty()) else { return Err(refused(faults)) };
        let (request, sessions) = asked
            .request(snapshot)
            .map_err(|it| refused(vec![(format!("/{}", it.field), it.problem)]))?;
        assumed.sessions = sessions;
        Ok((request, assumed, count))
    }

    /// The live session that is named, if one is. What is wrong with the name is added to `faults`.
    fn live(
        &self,
        routing: &dyn Routing,
        faults: &mut Vec<(String, String)>,
    ) -> Option<LiveSession> {
        let id = self.session.as_ref().and_then(|session| session.id.as_ref());
        let (place, key) = match (id, &self.address) {
            (None, None) => return None,
            (Some(id), _) => {
                if self.session.as_ref().is_some_and(SimulatedSession::says_more) {
                    let what = "is a live one, of which nothing else is assumed";
                    faults.push((String::from("/session/id"), String::from(what)));
                }
                ("/session/id", SessionKey::from_user(id.as_bytes()))
            }
            (None, Some(address)) => {
                if self.session.is_some() {
                    let what = "names a session, and another cannot be assumed behind it";
                    faults.push((String::from("/address"), String::from(what)));
                }
                ("/address", SessionKey::from_user(address.as_bytes()))
            }
        };
        let live = key.and_then(|key| routing.live_session(key));
        if live.is_none() {
            faults.push((String::from(place), String::from("names no session that is live here")));
        }
        live
    }
}

impl SimulatedSession {
    fn says_more(&self) -> bool {
        let Self { id: _, campaign, publisher, tags, enriched, age_s } = self;
        let says = campaign.is_some() || publisher.is_some() || *age_s > 0;
        says || !tags.is_empty() || !enriched.is_empty()
    }
}

impl From<&SimulatedSession> for AssumedSession {
    fn from(session: &SimulatedSession) -> Self {
        let SimulatedSession { id: _, campaign, publisher, tags: said, enriched, age_s } = session;
        Self {
            campaign: campaign.as_deref().map(Into::into),
            publisher: publisher.as_deref().map(Into::into),
            tags: tags(said),
            enriched: tags(enriched),
            age_ms: age_s.saturating_mul(1_000),
        }
    }
}

fn tags(said: &BTreeMap<String, String>) -> Tags {
    said.iter().map(|(tag, value)| (tag.into(), value.into())).collect()
}

impl Assumptions {
    /// All but the buyers. What is wrong with them is added to `faults`.
    fn read(&self, snapshot: &RoutingSnapshot, faults: &mut Vec<(String, String)>) -> Assumed {
        for target in &self.targets_down {
            if snapshot.target(&target.as_str().into()).is_none() {
                let detail = format!("no target is called `{target}`");
                faults.push((String::from("/assume/targets_down"), detail));
            }
        }
        let known: BTreeSet<&str> = snapshot.cap_keys().collect();
        let of_caps = self.caps_used.keys().map(|cap| ("caps_used", cap));
        let of_agents = self.ready_agents.keys().map(|cap| ("ready_agents", cap));
        for (field, cap) in of_caps.chain(of_agents) {
            let is_meant = field == "caps_used" || cap.ends_with("/concurrency");
            if !is_meant || !known.contains(cap.as_str()) {
                let detail = match known.is_empty() {
                    true => String::from("nothing is capped"),
                    false => suggestion(cap, known.iter().copied()),
                };
                let what = if field == "caps_used" { "cap" } else { "concurrency" };
                faults.push((
                    format!("/assume/{field}/{}", escape(cap)),
                    format!("no {what} is called so: {detail}"),
                ));
            }
        }
        for buyer in &self.buyers_paused {
            if !snapshot.buyers().iter().any(|it| it.id.as_str() == buyer) {
                let detail = format!("no buyer is called `{buyer}`");
                faults.push((String::from("/assume/buyers_paused"), detail));
            }
        }
        let mut used: BTreeMap<SmolStr, u64> =
            self.caps_used.iter().map(|(cap, used)| (cap.into(), *used)).collect();
        for (buyer, left) in &self.credit {
            match snapshot.credit_left(&buyer.as_str().into(), *left) {
                Some(of_buyer) => used.extend(of_buyer),
                None => faults.push((
                    format!("/assume/credit/{}", escape(buyer)),
                    String::from("no buyer with a limit of credit is called so"),
                )),
            }
        }
        Assumed {
            used,
            down: self.targets_down.iter().map(|id| id.as_str().into()).collect(),
            scores: self.scores(snapshot, faults),
            ready: self.ready_agents.iter().map(|(key, count)| (key.into(), *count)).collect(),
            sessions: vec![],
        }
    }

    /// What is wrong with them is added to `faults`.
    fn scores(
        &self,
        snapshot: &RoutingSnapshot,
        faults: &mut Vec<(String, String)>,
    ) -> BTreeMap<SmolStr, BTreeMap<TargetId, i64>> {
        let asked: BTreeSet<&str> = snapshot.asked_scorers().map(SmolStr::as_str).collect();
        let mut scores = BTreeMap::<SmolStr, BTreeMap<TargetId, i64>>::new();
        for (scorer, of_targets) in &self.scores {
            let place = format!("/assume/scores/{}", escape(scorer));
            if !asked.contains(scorer.as_str()) {
                let detail = match asked.is_empty() {
                    true => String::from("no tier asks a scorer elsewhere"),
                    false => suggestion(scorer, asked.iter().copied()),
                };
                faults.push((
                    place.clone(),
                    format!("no scorer that is asked is called so: {detail}"),
                ));
            }
            let said = scores.entry(scorer.into()).or_default();
            for (target, score) in of_targets {
                let id = TargetId::new(target);
                let place = format!("{place}/{}", escape(target));
                if snapshot.target(&id).is_none() {
                    faults.push((place.clone(), format!("no target is called `{target}`")));
                }
                match millionths_of(*score) {
                    Some(score) => drop(said.insert(id, score)),
                    None => faults.push((place, String::from("must be a number up to a billion"))),
                }
            }
        }
        scores
    }
}

impl From<Heard> for SimulatedScorer {
    fn from(heard: Heard) -> Self {
        let Heard { scorer, outcome, scores } = heard;
        let scores = scores.into_iter().map(|it| (it.target.0, it.score as f64 / 1e6));
        Self {
            scorer,
            outcome: outcome.name(),
            why: outcome.why().map(str::to_owned),
            scores: scores.collect(),
        }
    }
}

impl From<Terms> for SimulatedMoney {
    fn from(terms: Terms) -> Self {
        let Terms { revenue, payout, .. } = terms;
        Self { revenue, payout, margin: Money(revenue.0.saturating_sub(payout.0)) }
    }
}
