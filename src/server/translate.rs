//! The only place that knows the words of two domains: decisions become plans of a call, reports
//! of a call become facts. Dull and exhaustive on purpose.

use std::time::Duration;

use bytes::Bytes;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::cdr::fact;
use crate::id::{TargetId, TrunkId};
use crate::routing::hold::{self, BucketRequest};
use crate::routing::{Decision, PlannedAttempt, RouteRequest, Tags};
use crate::sip::call::plan::{Attempt, Destination, Plan};
use crate::sip::call::report::Party;
use crate::sip::endpoint::Admission;
use crate::sip::flow::Flow;
use crate::sip::leg::policy::LegPolicy;

/// A plan is never empty; a decision without targets is a refusal and has none.
pub(super) fn plan(
    decision: &Decision,
    resolve: impl Fn(&PlannedAttempt) -> Option<Destination>,
    dialog: impl Fn(&TargetId) -> LegPolicy,
) -> Box<Plan> {
    let ms = |ms: u32| Duration::from_millis(u64::from(ms));
    let attempt = |planned: &PlannedAttempt| Attempt {
        uri: Bytes::copy_from_slice(planned.uri.as_bytes()),
        destination: resolve(planned),
        ring_timeout: ms(planned.ring_timeout_ms),
        first_response: ms(planned.first_response_ms),
        max_duration: ms(planned.max_duration_ms),
        dialog: dialog(&planned.target),
    };
    Box::new(Plan {
        attempts: decision.plan.iter().map(attempt).collect(),
        advance_on: decision.rules.advance_on.clone(),
        ring_budget: ms(decision.rules.total_ring_budget_ms),
    })
}

pub(super) fn route_request(
    admission: &Admission,
    number: crate::phone::PhoneNumber,
    trunk: TrunkId,
) -> RouteRequest {
    RouteRequest {
        call: admission.id,
        at: admission.wall,
        dialed: number,
        caller: admission.caller.number,
        trunk,
        tags: Tags::new(),
    }
}

pub(super) fn admitted(admission: &Admission, trunk: TrunkId) -> fact::Admitted {
    fact::Admitted {
        trunk,
        sip_call_id: text(&admission.sip_call_id),
        dialed: text(&admission.dialed),
        did: admission.number.ok(),
        caller: admission.caller.number,
        source: source(admission.flow),
    }
}

/// `record` is the decision as JSON.
pub(super) fn decided(decision: &Decision, record: Bytes) -> fact::Decided {
    let attribution = decision.attribution.as_ref();
    fact::Decided {
        config_rev: decision.revision,
        campaign: attribution.map(|it| it.campaign.clone()),
        publisher: attribution.map(|it| it.publisher.clone()),
        session: attribution.and_then(|it| it.session),
        match_method: attribution.map_or_else(SmolStr::default, |it| it.method.name().into()),
        confidence_pct: attribution.map_or(0, |it| it.confidence.0),
        record,
        refused: decision.refused,
    }
}

pub(super) fn attempt_started(
    leg: u8,
    planned: &PlannedAttempt,
    currency: &SmolStr,
) -> fact::AttemptStarted {
    fact::AttemptStarted {
        leg: u16::from(leg),
        target: planned.target.clone(),
        buyer: planned.buyer.clone(),
        uri: planned.uri.to_smolstr(),
        terms: planned.terms.map(|terms| fact::Terms {
            seconds: terms.seconds,
            revenue: terms.revenue,
            payout_seconds: terms.payout_seconds,
            payout: terms.payout,
            currency: currency.clone(),
        }),
    }
}

pub(super) fn bucket(request: &BucketRequest) -> fact::Bucket {
    fact::Bucket {
        cap: request.bucket.cap.clone(),
        window: match request.counts {
            hold::Counts::Live => SmolStr::default(),
            hold::Counts::Attempted | hold::Counts::Connected | hold::Counts::Converted => {
                request.bucket.window.clone()
            }
        },
        amount: i64::try_from(request.amount).unwrap_or(i64::MAX),
    }
}

pub(super) fn party(party: Party) -> fact::Party {
    match party {
        Party::Caller => fact::Party::Caller,
        Party::Target => fact::Party::Target,
        Party::System => fact::Party::System,
    }
}

/// `udp:192.0.2.7:5060`
fn source(flow: Flow) -> SmolStr {
    format_smolstr!("{}:{}", flow.transport.name(), flow.peer)
}

fn text(bytes: &[u8]) -> SmolStr {
    SmolStr::from(String::from_utf8_lossy(bytes))
}
