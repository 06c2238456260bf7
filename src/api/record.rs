//! A call as the API shows it, made from its [`CallRecord`].

use std::collections::BTreeMap;

use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::fraud::Fraud;
use super::openapi::word_or_null;
use crate::cdr::conversion::ConversionState;
use crate::cdr::fact::{Means, Party};
use crate::cdr::fraud::Scored;
use crate::cdr::record::{
    Attempt, AttemptResult, CallRecord, CallState, Denial, FirstMatch, Flags, Outcome,
};
use crate::id::{BuyerId, CallId, CampaignId, PublisherId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::{NoPayout, NoRoute, Reason};
use crate::routing::attribution::Method;
use crate::routing::config::Confidence;

/// A call. Times are RFC 3339 in UTC with milliseconds; null where a thing has not happened or is
/// not known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallSummary {
    #[schema(value_type = String, example = "cal_01954f2e7d1e70008000000000000001")]
    call_id: CallId,
    /// Revision of this record; a higher one replaces a lower one.
    #[schema(example = 7)]
    rev: u32,
    /// `open`, `closed`, or `orphan_closed`: the server restarted during the call.
    #[schema(value_type = String, example = "closed")]
    state: CallState,
    /// `in_progress`, `converted`, `connected` (answered, not converted), `no_answer`, `refused`
    /// (no target was tried) or `handed_over` (the carrier was told whom to call).
    #[schema(value_type = String, example = "converted")]
    outcome: Outcome,
    #[schema(value_type = Option<String>, example = "cmp_hvac")]
    campaign: Option<CampaignId>,
    #[schema(value_type = Option<String>, example = "pub_brightpath")]
    publisher: Option<PublisherId>,
    /// The trunk the call came in on.
    #[schema(value_type = Option<String>, example = "trk_a")]
    trunk: Option<TrunkId>,
    /// The carrier's Call-ID, for comparison with its records.
    #[schema(value_type = String, example = "a84b4c76e66710@carrier.example")]
    sip_call_id: SmolStr,
    /// The carrier's own id of the call, where the trunk says which header holds it.
    #[schema(value_type = Option<String>, example = json!(null))]
    carrier_call_id: Option<SmolStr>,
    /// What was dialled: the user part of the Request-URI as it stood.
    #[schema(value_type = String, example = "+16145550104")]
    dialed: SmolStr,
    /// The dialled number in E.164.
    #[schema(value_type = Option<String>, example = "+16145550104")]
    did: Option<PhoneNumber>,
    /// In E.164; null: anonymous.
    #[schema(value_type = Option<String>, example = "+16145550163")]
    caller: Option<PhoneNumber>,
    /// When the INVITE was admitted.
    #[schema(example = "2026-03-17T15:04:12.318Z")]
    started_at: String,
    #[schema(example = "2026-03-17T15:04:16.442Z")]
    answered_at: Option<String>,
    #[schema(example = "2026-03-17T15:09:05.910Z")]
    ended_at: Option<String>,
    /// From admission to the answer, or to the end if there was none.
    #[schema(example = 4124)]
    setup_ms: Option<u64>,
    /// From the INVITE to the first ringing, of the attempt named in `target`.
    #[schema(example = 544)]
    pdd_ms: Option<u64>,
    /// From the first ringing to the answer or end of that attempt.
    #[schema(example = 3571)]
    ring_ms: Option<u64>,
    /// From the answer to the end.
    #[schema(example = 289_468)]
    talk_ms: Option<u64>,
    /// What was spoken when the call was answered, as the target's answer says; null: it does not.
    #[schema(value_type = Option<String>, example = "PCMU/8000")]
    codec: Option<SmolStr>,
    /// `caller`, `target` or `system`.
    #[schema(value_type = Option<String>, example = "caller")]
    end_party: Option<Party>,
    /// Why the call ended, as a reason code.
    #[schema(value_type = Option<String>, example = "end.caller_hung_up")]
    end_reason: Option<Reason>,
    /// Final status towards the caller.
    #[schema(example = 200)]
    sip_status: Option<u16>,
    /// The target that answered, else the last one tried.
    #[schema(value_type = Option<String>, example = "tgt_summit")]
    target: Option<TargetId>,
    #[schema(value_type = Option<String>, example = "buy_summit")]
    buyer: Option<BuyerId>,
    attempts: Vec<CallAttempt>,
    /// Targets whose turn it was, and that were not called for want of room.
    denied: Vec<CallDenial>,
    /// Null unless the carrier was told whom to call: then what is known of the call ends there.
    handover: Option<CallHandover>,
    /// When this server answered the caller before any target did.
    #[schema(example = "2026-03-17T15:04:12.402Z")]
    taken_at: Option<String>,
    money: CallMoney,
    /// `none`, `pending`, `reached` (long enough, still up) or `settled` (the money is due).
    #[schema(value_type = String, example = "settled")]
    conversion: ConversionState,
    /// The ping session the call was matched to.
    #[schema(value_type = Option<String>, example = "ses_01954f2e7d1e70008000000000000002")]
    session_id: Option<SessionId>,
    #[schema(schema_with = methods)]
    match_method: Option<SmolStr>,
    /// What the call was matched to at first, without the store that servers share. It was routed, and money is
    /// owed, as of that. Null: that stands.
    first_match: Option<CallFirstMatch>,
    /// Revision of the configuration the call was decided with.
    #[schema(example = 418)]
    config_rev: Option<u64>,
    /// What is odd about the record: `clock_skew`, `orphan`, `orphan_corrected`, `unrated`,
    /// `incomplete`, `end_inferred` (nobody said that the call was over: it ends with the last proof
    /// that it was up), `match_degraded` (the store that servers share did not say which sessions there
    /// were), `rematched` (that became known later; see `first_match`).
    #[schema(value_type = Vec<String>, example = json!([]))]
    flags: Flags,
    /// How much it looks like fraud, 0 to 100; null while it is up, for half a second or so after it, and
    /// where nothing is scored.
    #[schema(example = 40)]
    pub(super) fraud_score: Option<u8>,
}

fn methods() -> Object {
    let told =
        "By what the call is known to be of its campaign and session; null before the decision.";
    word_or_null(Method::ALL, &Method::PoolLease, told)
}

/// What a call was matched to before it became known whose it was.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallFirstMatch {
    /// Null: no session was found.
    #[schema(value_type = Option<String>, example = json!(null))]
    session_id: Option<SessionId>,
    #[schema(schema_with = first_methods)]
    match_method: Option<SmolStr>,
    /// How sure that seemed, 0 to 1.
    #[schema(value_type = f64, example = 0.0)]
    confidence: Confidence,
    /// Until when it stood.
    #[schema(example = "2026-03-17T15:21:40.007Z")]
    until: String,
}

impl From<&FirstMatch> for CallFirstMatch {
    fn from(first: &FirstMatch) -> Self {
        Self {
            session_id: first.session,
            match_method: known(&first.method),
            confidence: Confidence(first.confidence_pct),
            until: first.until.to_rfc3339(),
        }
    }
}

fn first_methods() -> Object {
    let told = "By what it was thought to be of its campaign and session.";
    word_or_null(Method::ALL, &Method::StaticMapping, told)
}

/// The carrier was told whom to call.
#[derive(Debug, Serialize, ToSchema)]
struct CallHandover {
    /// `refer` or `redirect`.
    #[schema(value_type = String, example = "refer")]
    by: Means,
    /// Whether the carrier told what became of the call.
    #[schema(example = true)]
    outcome_known: bool,
    /// What the target answered, if it did.
    #[schema(example = 200)]
    sip_status: Option<u16>,
}

/// One target that was tried.
#[derive(Debug, Serialize, ToSchema)]
struct CallAttempt {
    /// Counts from 1.
    #[schema(example = 1)]
    n: u16,
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    #[schema(value_type = String, example = "buy_summit")]
    buyer: BuyerId,
    /// Where the INVITE went.
    #[schema(value_type = String, example = "sip:summit@in.summit.example")]
    dest: SmolStr,
    /// The trunk whose carrier was called there; null: nobody's.
    #[schema(value_type = Option<String>, example = "trk_b")]
    trunk: Option<TrunkId>,
    #[schema(example = "2026-03-17T15:04:12.327Z")]
    started_at: String,
    /// `pending`, `answered`, `failed`, `handed_over`, or `abandoned`: the call ended while it was
    /// tried.
    #[schema(value_type = String, example = "answered")]
    result: AttemptResult,
    /// Final SIP status; one that stands for it where the target sent none.
    #[schema(example = 200)]
    sip: Option<u16>,
    #[schema(example = 16)]
    q850: Option<u16>,
    /// Why it failed, as a reason code.
    #[schema(value_type = Option<String>, example = "attempt.busy")]
    reason: Option<Reason>,
    #[schema(example = 3571)]
    ring_ms: Option<u64>,
    #[schema(example = 544)]
    pdd_ms: Option<u64>,
}

/// One target that was to be tried, and was not: when its turn came there was no room for it.
#[derive(Debug, Serialize, ToSchema)]
struct CallDenial {
    /// Counts with those of `attempts`.
    #[schema(example = 1)]
    n: u16,
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    #[schema(example = "2026-03-17T15:04:12.327Z")]
    at: String,
    /// Why, as a reason code.
    #[schema(value_type = String, example = "cap.full")]
    reason: Reason,
    /// Key of the cap or concurrency without room; null: it is none of these, or not known.
    #[schema(value_type = Option<String>, example = "target/tgt_summit/connected/daily")]
    cap: Option<SmolStr>,
    /// The trunk whose carrier would have been called there; null: nobody's.
    #[schema(value_type = Option<String>, example = "trk_b")]
    trunk: Option<TrunkId>,
}

/// What the call earned and cost so far. Amounts are decimal texts.
#[derive(Debug, Serialize, ToSchema)]
struct CallMoney {
    /// ISO 4217; null before terms apply.
    #[schema(value_type = Option<String>, example = "USD")]
    currency: Option<SmolStr>,
    /// From the buyer.
    #[schema(value_type = String, example = "41.50")]
    revenue: Money,
    /// To the publisher.
    #[schema(value_type = String, example = "33.20")]
    payout: Money,
    /// Why the publisher is owed nothing though the call may be worth it: `publisher_cap`: its cap
    /// was full, and stops payouts; `duplicate`: the caller had called before, and it is not paid for that.
    /// Null: nothing stood against it.
    #[schema(value_type = Option<String>, example = json!(null))]
    no_payout_reason: Option<NoPayout>,
    /// To the carrier; null without a tariff.
    #[schema(value_type = Option<String>, example = "0.0294")]
    cost: Option<Money>,
    /// What is left of the revenue after payout and known cost.
    #[schema(value_type = String, example = "8.2706")]
    margin: Money,
}

/// A call with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallDetail {
    #[serde(flatten)]
    summary: CallSummary,
    /// Transport and address the INVITE came from.
    #[schema(value_type = String, example = "udp:198.51.100.7:5060")]
    source: SmolStr,
    /// What the trunk wanted kept of the INVITE, by the name of its tag.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"header.x-lead": "7"}))]
    captured: BTreeMap<SmolStr, SmolStr>,
    /// How sure the match to the session is, 0 to 1.
    #[schema(value_type = f64, example = 0.99)]
    confidence: Confidence,
    /// Why routing refused the call, as a reason code.
    #[schema(value_type = Option<String>, example = json!(null))]
    refused: Option<Reason>,
    /// Why the call got to nobody: `none_match`, `all_closed`, `no_capacity` or `none_answered`; null: it
    /// did, it is not over, or it ended for another cause.
    #[schema(value_type = Option<String>, example = json!(null))]
    no_route: Option<NoRoute>,
    /// Q.850 cause of the end.
    #[schema(example = 16)]
    q850: Option<u16>,
    #[schema(example = "2026-03-17T15:04:12.325Z")]
    decided_at: Option<String>,
    /// When the caller's ACK came.
    #[schema(example = "2026-03-17T15:04:16.489Z")]
    confirmed_at: Option<String>,
    #[schema(example = "2026-03-17T15:05:46.442Z")]
    converted_at: Option<String>,
    /// Seconds the carrier charges for; null without a tariff.
    #[schema(example = 294)]
    billed_s: Option<u64>,
    /// How much it looks like fraud, and why; null as `fraud_score` is.
    fraud: Option<Fraud>,
    /// What happened, in order.
    timeline: Vec<CallEvent>,
}

/// Something that happened to a call.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CallEvent {
    #[schema(example = "2026-03-17T15:04:12.871Z")]
    at: String,
    /// `call.admitted`, `route.decided`, `attempt.denied`, `attempt.started`, `attempt.ringing`, `attempt.failed`,
    /// `attempt.address_failed`, `attempt.abandoned`, `attempt.handed_over`, `attempt.ended_early`,
    /// `call.taken`, `call.answered`, `call.confirmed`, `call.transferred`, `conversion.reached`,
    /// `call.ended`, `call.orphan_closed` or `call.rematched`.
    #[schema(value_type = String, example = "attempt.ringing")]
    event: &'static str,
    /// For people.
    #[schema(example = "tgt_summit rings")]
    detail: String,
}

impl From<&CallRecord> for CallSummary {
    fn from(record: &CallRecord) -> Self {
        let wall = |offset: Option<u64>| offset.map(|ms| record.wall(ms).to_rfc3339());
        let attempt = record.attempt();
        Self {
            call_id: record.call,
            rev: record.rev,
            state: record.state,
            outcome: record.outcome(),
            campaign: record.campaign.clone(),
            publisher: record.publisher.clone(),
            trunk: record.trunk.clone(),
            sip_call_id: record.sip_call_id.clone(),
            carrier_call_id: record.carrier_call_id.clone(),
            dialed: record.dialed.clone(),
            did: record.did,
            caller: record.caller,
            started_at: record.started_at().to_rfc3339(),
            answered_at: wall(record.answered_ms),
            ended_at: wall(record.ended_ms),
            setup_ms: record.setup_ms(),
            pdd_ms: attempt.and_then(Attempt::pdd_ms),
            ring_ms: attempt.and_then(Attempt::ring_ms),
            talk_ms: record.talk_ms,
            codec: record.codec.clone(),
            end_party: record.end_party,
            end_reason: record.end_reason,
            sip_status: record.status,
            target: attempt.map(|it| it.target.clone()),
            buyer: attempt.map(|it| it.buyer.clone()),
            attempts: record.attempts.iter().map(|it| CallAttempt::new(record, it)).collect(),
            denied: record.denied.iter().map(|it| CallDenial::new(record, it)).collect(),
            handover: record.handover.map(|it| CallHandover {
                by: it.by,
                outcome_known: it.outcome_known(),
                sip_status: it.status,
            }),
            taken_at: wall(record.taken_ms),
            money: CallMoney::new(record),
            conversion: record.conversion,
            session_id: record.session,
            match_method: known(&record.match_method),
            first_match: record.first_match.as_ref().map(Into::into),
            config_rev: record.config_rev,
            flags: record.flags,
            fraud_score: None,
        }
    }
}

impl CallDetail {
    /// The same, with its score.
    pub(super) fn scored(mut self, scored: Option<Scored>) -> Self {
        self.summary.fraud_score = scored.as_ref().map(|scored| scored.score);
        self.fraud = scored.map(Fraud::from);
        self
    }
}

impl From<&CallRecord> for CallDetail {
    fn from(record: &CallRecord) -> Self {
        let wall = |offset: Option<u64>| offset.map(|ms| record.wall(ms).to_rfc3339());
        Self {
            summary: record.into(),
            source: record.source.clone(),
            captured: record.captured.iter().cloned().collect(),
            confidence: Confidence(record.confidence_pct),
            refused: record.refused,
            no_route: record.no_route(),
            q850: record.q850,
            decided_at: wall(record.decided_ms),
            confirmed_at: wall(record.confirmed_ms),
            converted_at: wall(record.converted_ms),
            billed_s: record.billed_s,
            fraud: None,
            timeline: timeline(record),
        }
    }
}

impl CallAttempt {
    fn new(record: &CallRecord, attempt: &Attempt) -> Self {
        Self {
            n: attempt.leg,
            target: attempt.target.clone(),
            buyer: attempt.buyer.clone(),
            dest: attempt.uri.clone(),
            trunk: attempt.trunk(),
            started_at: record.wall(attempt.started_ms).to_rfc3339(),
            result: attempt.result,
            sip: attempt.status,
            q850: attempt.q850,
            reason: attempt.reason,
            ring_ms: attempt.ring_ms(),
            pdd_ms: attempt.pdd_ms(),
        }
    }
}

impl CallDenial {
    fn new(record: &CallRecord, denial: &Denial) -> Self {
        Self {
            n: denial.leg,
            target: denial.target.clone(),
            at: record.wall(denial.at_ms).to_rfc3339(),
            reason: denial.reason,
            cap: denial.shortage.as_ref().map(|it| it.cap.clone()),
            trunk: denial.trunk(),
        }
    }
}

impl CallMoney {
    fn new(record: &CallRecord) -> Self {
        let cost = record.cost.unwrap_or(Money::ZERO);
        Self {
            currency: known(&record.currency),
            revenue: record.revenue,
            payout: record.payout,
            no_payout_reason: record.no_payout(),
            cost: record.cost,
            margin: record.revenue - record.payout - cost,
        }
    }
}

fn known(text: &SmolStr) -> Option<SmolStr> {
    (!text.is_empty()).then(|| text.clone())
}

fn timeline(record: &CallRecord) -> Vec<CallEvent> {
    let mut moments = moments(record);
    // What happened in the same millisecond stays in the order it must have happened. The end is a
    // sum of two times without their fractions, so it may seem a millisecond early; it is last, but for what
    // was found out later.
    let part = |event: &str| match event {
        "call.ended" | "call.orphan_closed" => 1,
        "call.rematched" => 2,
        _ => 0,
    };
    moments.sort_by_key(|(offset_ms, event, _)| (part(event), *offset_ms));
    moments
        .into_iter()
        .map(|(ms, event, detail)| CallEvent { at: record.wall(ms).to_rfc3339(), event, detail })
        .collect()
}

/// Milliseconds since admission, name and detail of everything the record tells.
fn moments(record: &CallRecord) -> Vec<(u64, &'static str, String)> {
    let trunk = record.trunk.as_ref().map_or("an unknown trunk", TrunkId::as_str);
    let mut moments = vec![(0, "call.admitted", format!("on {trunk}"))];
    if let Some(at) = record.decided_ms {
        let detail = match (record.refused, &record.campaign) {
            (Some(reason), _) => cause(reason),
            (None, Some(campaign)) => format!("campaign {campaign}"),
            (None, None) => String::from("no campaign"),
        };
        moments.push((at, "route.decided", detail));
    }
    moments.extend(record.denied.iter().map(|denial| {
        let Denial { leg, target, reason, .. } = denial;
        let cap = denial.shortage.as_ref().map(|it| format!(": {}", it.cap)).unwrap_or_default();
        let detail = format!("number {leg} to {target}: {}{cap}", cause(*reason));
        (denial.at_ms, "attempt.denied", detail)
    }));
    for attempt in &record.attempts {
        let is_other = record.answered_leg.is_some_and(|leg| leg != attempt.leg);
        attempt_moments(attempt, is_other, &mut moments);
        if let Some((settled_ms, talk_ms)) = attempt.settled_ms.zip(attempt.talk_ms) {
            let target = &attempt.target;
            if is_other || record.answered_leg.is_none() {
                moments.push((settled_ms, "call.answered", format!("by {target}")));
            }
            let seconds = format!("{}.{:03} s", talk_ms / 1_000, talk_ms % 1_000);
            let detail = format!("{target} hung up after {seconds}");
            moments.push((settled_ms + talk_ms, "attempt.ended_early", detail));
        }
    }
    let taken_ms =
        record.taken_ms.filter(|_| record.attempts.iter().all(|it| it.talk_ms.is_none()));
    let answered_by = record.attempt().map_or("the target", |it| it.target.as_str());
    for (at, event, detail) in [
        (record.answered_ms, "call.answered", format!("by {answered_by}")),
        (record.confirmed_ms, "call.confirmed", String::from("the caller's ACK came")),
        (taken_ms, "call.taken", String::from("answered by this server")),
        (record.converted_ms, "conversion.reached", format!("revenue {}", record.revenue)),
    ] {
        moments.extend(at.map(|at| (at, event, detail)));
    }
    if let Some(at) = record.ended_ms {
        let event = match record.state {
            CallState::Open | CallState::Closed => "call.ended",
            CallState::OrphanClosed => "call.orphan_closed",
        };
        let status = record.status.map_or_else(String::new, |status| format!("{status}; "));
        let why = record.end_reason.map_or_else(|| String::from("no reason known"), cause);
        moments.push((at, event, format!("{status}{why}")));
    }
    if let Some(first) = &record.first_match {
        let at = first.until.0.saturating_sub(record.started_at().0);
        let detail = rematched(record, first);
        moments.push((u64::try_from(at).unwrap_or(0), "call.rematched", detail));
    }
    moments
}

/// Such as `session ses_… by pool_lease (0.99); at first no session`.
pub(super) fn rematched(record: &CallRecord, first: &FirstMatch) -> String {
    let words = |session: Option<SessionId>, method: &str, sure: u8| match session {
        Some(session) => format!("session {session} by {method} ({})", Confidence(sure)),
        None => String::from("no session"),
    };
    let now = words(record.session, &record.match_method, record.confidence_pct);
    let before = words(first.session, &first.method, first.confidence_pct);
    format!("{now}; at first {before}")
}

/// `is_transfer`: another attempt was answered, so if this one was, it took its place.
fn attempt_moments(
    attempt: &Attempt,
    is_transfer: bool,
    moments: &mut Vec<(u64, &'static str, String)>,
) {
    let target = &attempt.target;
    let started = format!("number {} to {target}", attempt.leg);
    moments.push((attempt.started_ms, "attempt.started", started));
    moments.extend(attempt.ringing_ms.map(|at| (at, "attempt.ringing", format!("{target} rings"))));
    for left in &attempt.left {
        let status = left.status.map_or_else(String::new, |status| format!(" {status};"));
        let detail = format!("{target} at {}:{status} {}", left.address, cause(left.reason));
        moments.push((left.at_ms, "attempt.address_failed", detail));
    }
    let event = match attempt.result {
        AttemptResult::Failed => "attempt.failed",
        AttemptResult::Abandoned => "attempt.abandoned",
        AttemptResult::HandedOver => "attempt.handed_over",
        AttemptResult::Answered if is_transfer => "call.transferred",
        // The answer is told as the call's.
        AttemptResult::Answered | AttemptResult::Pending | AttemptResult::EndedEarly => return,
    };
    let status = attempt.status.map_or_else(String::new, |status| format!(" {status};"));
    let why = match (attempt.result, attempt.reason) {
        (AttemptResult::HandedOver, None) => cause(Reason::HandedOver),
        (AttemptResult::Answered, None) => format!("to {}", attempt.uri),
        (_, Some(reason)) => cause(reason),
        (_, None) => String::from("the call ended"),
    };
    moments.extend(attempt.settled_ms.map(|at| (at, event, format!("{target}:{status} {why}"))));
}

fn cause(reason: Reason) -> String {
    format!("{} ({})", reason.text(), reason.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fact::{HandedOver, Taken, Transferred};
    use crate::cdr::testing::Script;

    #[test]
    fn a_transfer_is_told_with_where_it_led() {
        let script = Script::new().then(100, Taken {}).dial(1).answer_at(1_000).dial(2);
        let script = script.then(30_000, Transferred { leg: 2, dialogs: None }).end_at(40_000);

        let told = told(&script.record());

        assert_eq!(told.iter().filter(|(event, _)| *event == "call.answered").count(), 1);
        assert!(told.contains(&("call.taken", String::from("answered by this server"))));
        let transferred = String::from("tgt_summit: 200; to sip:+18005550101@192.0.2.9");
        assert_eq!(told[told.len() - 2], ("call.transferred", transferred));
    }

    #[test]
    fn an_attempt_that_was_handed_over_says_so() {
        for (status, answered) in [(Some(200), " 200;"), (None, "")] {
            let over = HandedOver { leg: 1, by: Means::Refer, status };
            let record = Script::new().dial(1).then(900, over).end_at(1_000).record();

            let told = told(&record);

            let why = "the carrier was told whom to call (end.handed_over)";
            let expected = ("attempt.handed_over", format!("tgt_summit:{answered} {why}"));
            assert_eq!(told[told.len() - 2], expected);
        }
    }

    #[test]
    fn a_target_that_had_no_room_is_told_as_that_and_as_no_attempt() {
        let script = Script::new().deny_at(8, 1, "tgt_full", Reason::CapFull).dial(2);
        let record = script.answer_at(1_000).end_at(40_000).record();

        let events: Vec<_> = told(&record).into_iter().take(4).collect();

        let denied = "number 1 to tgt_full: the cap has no room for the call (cap.full): \
                      target/tgt_full/attempted/total";
        assert_eq!(events[2], ("attempt.denied", String::from(denied)));
        assert_eq!(events[3], ("attempt.started", String::from("number 2 to tgt_summit")));
        let summary = serde_json::to_value(CallSummary::from(&record)).unwrap();
        assert_eq!(summary["attempts"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            summary["denied"],
            serde_json::json!([{
                "n": 1, "target": "tgt_full", "at": "2026-03-17T15:04:12.327Z",
                "reason": "cap.full", "cap": "target/tgt_full/attempted/total", "trunk": null,
            }])
        );
    }

    fn told(record: &CallRecord) -> Vec<(&'static str, String)> {
        timeline(record).into_iter().map(|it| (it.event, it.detail)).collect()
    }
}
