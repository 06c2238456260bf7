//! The only place that knows the words of two domains: decisions become plans of a call, reports
//! of a call become facts. Dull and exhaustive on purpose.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::cdr::due::{CapCount, CapDue, HeldBack};
use crate::cdr::fact;
use crate::cdr::store::{CapUsage, CountedCalls, EarlierCall, TriedTarget, TriedWay};
use crate::id::{CampaignId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::attribution::{Named, SessionKey};
use crate::routing::circuit::Before;
use crate::routing::config::Source;
use crate::routing::decision::PlannedDial;
use crate::routing::effective::Effective;
use crate::routing::history::{Connected, Left, PastCall};
use crate::routing::hold::{self, BucketRequest, Denied};
use crate::routing::performance::{Concerned, Tally, day_of};
use crate::routing::quote::Promise;
use crate::routing::selection::Explored;
use crate::routing::{self, Decision, PlannedAttempt, RouteRequest, RoutingSnapshot, Tags};
use crate::sip::call::plan::{Attempt, Destination, FailedAs, Failover, Handover, Manner, Plan};
use crate::sip::call::report::{Means, Party};
use crate::sip::endpoint::Admission;
use crate::sip::flow::Flow;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::orphan::Farewell;
use crate::sip::policy::{ProgressRules, Targets, Variables};
use crate::sip::target::TargetRules;
use crate::sip::trunk::{Said, Trunk, Trunks};
use crate::time::Wall;

/// What a publisher was promised, as it is written down.
pub(super) fn promised(promise: Promise) -> fact::Promised {
    let Promise { payout, payout_seconds, until, no_duplicates, spent: _ } = promise;
    fact::Promised { payout, payout_seconds, until_ms: until.0, no_duplicates }
}

/// And as it was. Whether it was used its session knows.
pub(super) fn promise(promised: fact::Promised) -> Promise {
    let fact::Promised { payout, payout_seconds, until_ms, no_duplicates } = promised;
    Promise { payout, payout_seconds, until: Wall(until_ms), no_duplicates, spent: false }
}

/// What is written of a trunk, and by whom, and what routing goes by; `None`: there is no such trunk.
pub fn effective_trunk(
    trunks: &Trunks,
    routing: &RoutingSnapshot,
    id: &TrunkId,
) -> Option<Vec<Effective>> {
    let of = |said: &Said| {
        let Said { field, value, is_own } = said.clone();
        let from = if is_own { Source::Own } else { Source::Carrier };
        Effective { setting: field, value, from }
    };
    let trunk = trunks.by_id(id)?;
    let of_routing = routing.effective_trunk(id).into_iter().flatten();
    Some(trunk.said.iter().map(of).chain(of_routing).collect())
}

/// A plan is never empty; a decision without targets is a refusal and has none.
pub(super) fn plan(
    decision: &Decision,
    resolve: impl Fn(&PlannedAttempt) -> Option<(Destination, Option<Vec<Destination>>)>,
    dialog: impl Fn(&PlannedAttempt) -> LegPolicy,
    manner: impl Fn(&PlannedAttempt) -> Manner,
    agreed: impl Fn(&PlannedAttempt) -> (Option<Arc<TargetRules>>, Option<Box<Handover>>),
    variables: Option<Box<Variables>>,
    known: Vec<(SmolStr, IpAddr)>,
) -> Box<Plan> {
    let ms = |ms: u32| Duration::from_millis(u64::from(ms));
    let attempt = |planned: &PlannedAttempt| {
        let (rules, handover) = agreed(planned);
        let (destination, further) = resolve(planned).unzip();
        Attempt {
            uri: Bytes::copy_from_slice(planned.uri.as_bytes()),
            destination,
            further: further.flatten(),
            ring_timeout: ms(planned.ring_timeout_ms),
            first_response: ms(planned.first_response_ms),
            max_pdd: ms(planned.max_pdd_ms),
            max_duration: ms(planned.max_duration_ms),
            recovers_within: ms(decision.rules.recovers_within_ms(planned)),
            dialog: dialog(planned),
            manner: manner(planned),
            rules,
            handover,
        }
    };
    let before = [None].into_iter().chain(decision.plan.iter().map(Some));
    let attempts = decision.plan.iter().zip(before).map(|(planned, before)| {
        let mut attempt = attempt(planned);
        if before.is_some_and(|before| is_another_way(before, planned)) {
            attempt.manner.instead = true;
            // Whoever was to call the target itself has not reached it.
            attempt.handover = None;
        }
        attempt
    });
    let attempts = attempts.collect();
    Box::new(Plan {
        attempts,
        advance_on: decision.rules.advance_on.clone(),
        ring_budget: ms(decision.rules.total_ring_budget_ms),
        variables,
        known,
        redirects: 0,
        recoveries: decision.rules.recovery.map_or(0, |recovery| recovery.max),
        failed: match decision.no_route {
            None => {
                FailedAs { tried: decision.rules.none_answered, denied: decision.rules.no_capacity }
            }
            // Whoever is called in place of the campaign's targets changes nothing of why.
            Some(_) => FailedAs { tried: decision.status, denied: decision.status },
        },
    })
}

/// Each way to a planned target as an attempt of its own.
pub(super) fn each_way(plan: Vec<PlannedAttempt>) -> Vec<PlannedAttempt> {
    if plan.iter().all(|planned| planned.further.is_empty()) {
        return plan;
    }
    let mut ways = Vec::with_capacity(plan.len() * 2);
    let mut targets = plan.into_iter().peekable();
    while let Some(mut first) = targets.next() {
        let further = mem::take(&mut first.further);
        // All ways to a target that rings beside others do.
        let beside = first.beside || targets.peek().is_some_and(|next| next.beside);
        let is_beside = first.beside;
        let further = further.into_iter().map(|other| {
            let PlannedDial { dial, uri, way, failover } = other;
            PlannedAttempt { dial, uri, way, failover, ..first.clone() }
        });
        let begun = ways.len();
        let all = [first.clone()].into_iter().chain(further);
        ways.extend(all.map(|it| PlannedAttempt { beside, ..it }));
        ways[begun].beside = is_beside;
    }
    ways
}

/// Whether an attempt goes to the target of the one before it another way; a place that the target has
/// named is none.
pub(super) fn is_another_way(before: &PlannedAttempt, planned: &PlannedAttempt) -> bool {
    before.target == planned.target && before.dial != planned.dial
}

/// What of an attempt is not plain: what the target's settings and the caller's trunk say.
pub(super) fn manner(planned: &PlannedAttempt, targets: &Targets, trunk: Option<&Trunk>) -> Manner {
    let mut manner = Manner {
        leaves_progress: planned.ring_timeout_covers_progress,
        beside: planned.beside,
        ..Manner::default()
    };
    let target = targets.of(planned.target.as_str(), planned.dial);
    let destinations =
        [target.map(|target| &target.destinations), trunk.map(|trunk| &trunk.destinations)];
    manner.destinations = destinations.map(|it| it.filter(|it| !it.is_open()).cloned());
    manner.failover = planned.failover.as_ref().map(|codes| {
        let routing::dial::Failover { next_way_on, advance_on } = codes.clone();
        Box::new(Failover { next_way_on, advance_on })
    });
    manner.barred = !manner.permits(planned.uri.as_bytes());
    if let Some(target) = target {
        manner.policy.clone_from(&target.policy);
    }
    let of_trunk = trunk.map(|trunk| trunk.profile.inbound.progress).unwrap_or_default();
    let of_target = target.map(|target| target.progress).unwrap_or_default();
    manner.progress = ProgressRules::new(&of_target, &of_trunk);
    manner
}

/// What templates may say of a call besides what its INVITE holds. `tags` are the session's; what
/// the trunk said goes before them.
pub(super) fn variables(
    request: &RouteRequest,
    decision: &Decision,
    tags: &Tags,
) -> Box<Variables> {
    let attribution = decision.attribution.as_ref();
    let mut variables = Variables::new();
    for (name, value) in tags.iter().chain(&request.tags) {
        variables.insert(format_smolstr!("tag.{name}"), value.clone());
    }
    let named = [
        ("call.id", Some(request.call.to_smolstr())),
        ("call.trunk", Some(request.trunk.to_smolstr())),
        ("call.did", Some(request.dialed.to_e164().into())),
        ("call.campaign", attribution.map(|it| it.campaign.to_smolstr())),
        ("call.publisher", attribution.map(|it| it.publisher.to_smolstr())),
        ("call.session", attribution.and_then(|it| it.session).map(|it| it.to_smolstr())),
    ];
    for (name, value) in named {
        variables.extend(value.map(|value| (SmolStr::new_static(name), value)));
    }
    Box::new(variables)
}

pub(super) fn route_request(
    admission: &Admission,
    number: PhoneNumber,
    named: Option<Named>,
    trunk: TrunkId,
) -> RouteRequest {
    RouteRequest {
        call: admission.id,
        at: admission.wall,
        dialed: number,
        caller: admission.caller.number,
        trunk,
        tags: admission
            .captured
            .as_ref()
            .map(|captured| captured.tags.iter().cloned().collect())
            .unwrap_or_default(),
        named,
        announced: false,
    }
}

/// The session that the address of a call names.
pub(super) fn named(admission: &Admission) -> Option<Named> {
    let key = SessionKey::from_user(&admission.dialed)?;
    Some(Named { key, is_all: admission.number.is_err() })
}

/// `did` is the number it dialled, or is said to have.
pub(super) fn admitted(
    admission: &Admission,
    trunk: TrunkId,
    did: Option<PhoneNumber>,
) -> fact::Admitted {
    let captured = admission.captured.as_deref();
    fact::Admitted {
        trunk,
        sip_call_id: text(&admission.sip_call_id),
        dialed: text(&admission.dialed),
        did,
        caller: admission.caller.number,
        source: source(admission.flow),
        captured: captured.map(|it| it.tags.clone()).unwrap_or_default(),
        carrier_call_id: captured.and_then(|it| it.carrier_call_id.clone()),
    }
}

/// An earlier call as routing remembers it, and its caller.
pub(super) fn past_call(earlier: EarlierCall) -> (Option<PhoneNumber>, PastCall) {
    let EarlierCall { call, at, caller, dialed, campaign, publisher, answered, left, .. } = earlier;
    let left = left.into_iter().map(|(target, buyer, at, talk_ms)| Left {
        with: Connected { target, buyer, at },
        talk_ms,
    });
    let past = PastCall {
        call,
        at,
        dialed,
        campaign,
        publisher,
        connected: answered.map(|(target, buyer, at)| Connected { target, buyer, at }),
        converted_at: earlier.converted_at,
        talk_ms: earlier.talk_ms,
        charges: earlier.charges,
        pays_after_ms: earlier.pays_after_ms,
        left: left.collect(),
    };
    (caller, past)
}

/// How calls of a day went, as routing counts them.
pub(super) fn counted(counted: CountedCalls) -> (Concerned, i64, Tally) {
    let CountedCalls { campaign, publisher, target, buyer, day, .. } = counted;
    let CountedCalls { dialed, connected, converted, won_ms, lost_ms, .. } = counted;
    let concerned = Concerned { campaign, publisher, target, buyer };
    (concerned, day, Tally { dialed, connected, converted, won_ms, lost_ms })
}

/// How attempts at a target went, as its circuit looks back at them.
pub(super) fn tried(tried: TriedTarget) -> (TargetId, Before) {
    let TriedTarget { target, days_ago, attempts, answered } = tried;
    (target, Before { days_ago, attempts, answered })
}

/// The same of a way to targets.
pub(super) fn tried_way(tried: TriedWay) -> (SmolStr, Before) {
    let TriedWay { way, days_ago, attempts, answered } = tried;
    (way, Before { days_ago, attempts, answered })
}

/// What windows begin with that count what exploration costs, such as `explored:20535`.
pub(super) const EXPLORED: &str = "explored:";

/// What it costs a campaign on a day that a call is used to learn about a target.
pub(super) fn explored(campaign: &CampaignId, at: Wall, cost: Money) -> fact::Bucket {
    fact::Bucket {
        cap: format_smolstr!("campaign/{campaign}/exploration"),
        window: format_smolstr!("{EXPLORED}{}", day_of(at)),
        amount: cost.0,
        at_end: None,
    }
}

/// What it had cost so far.
pub(super) fn explored_before(usage: &CapUsage) -> Option<(CampaignId, Explored)> {
    let campaign = usage.cap.strip_prefix("campaign/")?.strip_suffix("/exploration")?;
    let day = usage.window.strip_prefix(EXPLORED)?.parse().ok()?;
    Some((campaign.into(), Explored { day, spent: Money(usage.used) }))
}

/// `record` is the decision as CBOR; `degraded`: it was made without the sessions of other servers.
pub(super) fn decided(decision: &Decision, record: Bytes, degraded: bool) -> fact::Decided {
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
        no_route: decision.no_route,
        degraded,
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
        way: planned.way.as_ref().map(ToSmolStr::to_smolstr),
        dial: planned.dial,
        terms: planned.terms.map(|terms| fact::Terms {
            seconds: terms.seconds,
            revenue: terms.revenue,
            payout_seconds: terms.payout_seconds,
            payout: terms.payout,
            no_payout: terms.no_payout,
            currency: currency.clone(),
        }),
    }
}

pub(super) fn address_failed(
    leg: u8,
    at: Destination,
    status: Option<u16>,
    reason: Reason,
) -> fact::AddressFailed {
    let address = format_smolstr!("{}:{}", at.transport.name(), at.peer);
    fact::AddressFailed { leg: u16::from(leg), address, status, reason }
}

pub(super) fn shortage(full: Denied) -> fact::Shortage {
    let Denied { bucket, used, held, limit, .. } = full;
    fact::Shortage { cap: bucket.cap, limit, used, held }
}

pub(super) fn bucket(request: &BucketRequest) -> fact::Bucket {
    fact::Bucket {
        cap: request.bucket.cap.clone(),
        window: match request.counts {
            hold::Counts::Live | hold::Counts::Talking => SmolStr::default(),
            hold::Counts::Attempted
            | hold::Counts::Connected
            | hold::Counts::Converted
            | hold::Counts::Revenue
            | hold::Counts::Payout
            | hold::Counts::Talk
            | hold::Counts::Spacing
            | hold::Counts::Offered
            | hold::Counts::Pinged
            | hold::Counts::Credit => request.bucket.window.clone(),
        },
        amount: i64::try_from(request.amount).unwrap_or(i64::MAX),
        at_end: match request.counts {
            hold::Counts::Live
            | hold::Counts::Talking
            | hold::Counts::Attempted
            | hold::Counts::Connected
            | hold::Counts::Spacing
            | hold::Counts::Offered
            | hold::Counts::Pinged => None,
            hold::Counts::Converted => Some(fact::AtEnd::Converted),
            hold::Counts::Revenue | hold::Counts::Credit => Some(fact::AtEnd::Revenue),
            hold::Counts::Payout => Some(fact::AtEnd::Payout),
            hold::Counts::Talk => Some(fact::AtEnd::Talk),
        },
    }
}

/// One call or ping that counts.
pub(super) fn one_more(bucket: hold::Bucket) -> fact::Bucket {
    fact::Bucket { cap: bucket.cap, window: bucket.window, amount: 1, at_end: None }
}

/// Room that is used if the carrier takes the call to the target on our word.
pub(super) fn connection(request: &BucketRequest) -> fact::Bucket {
    fact::Bucket { at_end: Some(fact::AtEnd::HandedOver), ..bucket(request) }
}

/// What a call that a crash left up may still come to, and its places.
pub(super) fn awaited(held: &HeldBack) -> Vec<BucketRequest> {
    let request = |(due, amount): &(CapDue, u64)| BucketRequest {
        bucket: hold::Bucket {
            cap: due.cap.clone(),
            window: match due.at_end {
                None => SmolStr::new_static(hold::LIVE),
                Some(_) => due.window.clone(),
            },
        },
        counts: match due.at_end {
            None => hold::Counts::Live,
            Some(fact::AtEnd::HandedOver) => hold::Counts::Connected,
            Some(fact::AtEnd::Converted) => hold::Counts::Converted,
            Some(fact::AtEnd::Revenue) => hold::Counts::Revenue,
            Some(fact::AtEnd::Payout) => hold::Counts::Payout,
            Some(fact::AtEnd::Talk) => hold::Counts::Talk,
        },
        // It was within the limit when it was granted.
        limit: u64::MAX,
        amount: *amount,
        ends_at: None,
        leeway: None,
    };
    held.dues.iter().map(request).collect()
}

/// What became used, in routing's words.
pub(super) fn used(counted: &[CapCount]) -> Vec<(hold::Bucket, i64)> {
    let used = |it: &CapCount| {
        (hold::Bucket { cap: it.cap.clone(), window: it.window.clone() }, it.amount)
    };
    counted.iter().map(used).collect()
}

pub(super) fn party(party: Party) -> fact::Party {
    match party {
        Party::Caller => fact::Party::Caller,
        Party::Target => fact::Party::Target,
        Party::System => fact::Party::System,
    }
}

pub(super) fn means(means: Means) -> fact::Means {
    match means {
        Means::Refer => fact::Means::Refer,
        Means::Redirect => fact::Means::Redirect,
    }
}

pub(super) fn farewell(farewell: &Farewell) -> fact::Farewell {
    let Farewell { transport, peer, bye } = farewell;
    fact::Farewell { to: format_smolstr!("{}:{peer}", transport.name()), message: bye.clone() }
}

/// `udp:192.0.2.7:5060`
fn source(flow: Flow) -> SmolStr {
    format_smolstr!("{}:{}", flow.transport.name(), flow.peer)
}

fn text(bytes: &[u8]) -> SmolStr {
    SmolStr::from(String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CallId;
    use crate::time::Wall;

    #[test]
    fn a_call_of_before_is_remembered_with_all_that_became_of_it() {
        let caller = "+16145550188".parse().ok();
        let earlier = EarlierCall {
            call: CallId::from_bytes([7; 16]),
            at: Wall(1_000),
            caller,
            dialed: "+18005550100".parse().unwrap(),
            campaign: "c".into(),
            publisher: "p".into(),
            answered: Some(("t".into(), "b".into(), Wall(2_000))),
            converted_at: Some(Wall(62_000)),
            talk_ms: Some(70_000),
            charges: true,
            pays_after_ms: Some(60_000),
            left: vec![("s".into(), "c".into(), Wall(1_500), 300)],
        };
        let past = PastCall {
            call: earlier.call,
            at: Wall(1_000),
            dialed: earlier.dialed,
            campaign: "c".into(),
            publisher: "p".into(),
            connected: Some(Connected { target: "t".into(), buyer: "b".into(), at: Wall(2_000) }),
            converted_at: Some(Wall(62_000)),
            talk_ms: Some(70_000),
            charges: true,
            pays_after_ms: Some(60_000),
            left: vec![Left {
                with: Connected { target: "s".into(), buyer: "c".into(), at: Wall(1_500) },
                talk_ms: 300,
            }],
        };
        assert_eq!(past_call(earlier), (caller, past));
    }

    #[test]
    fn each_way_is_an_attempt_and_all_of_a_target_ring_beside_others_or_none() {
        let further =
            |dial: u8| PlannedDial { dial, uri: format!("sip:{dial}"), way: None, failover: None };
        let target = |name: &str, beside, ways: u8| PlannedAttempt {
            target: name.into(),
            buyer: "b".into(),
            tier: 1,
            uri: String::from("sip:0"),
            ring_timeout_ms: 0,
            first_response_ms: 0,
            max_duration_ms: 0,
            terms: None,
            holds: vec![],
            ring_timeout_covers_progress: false,
            beside,
            max_pdd_ms: 0,
            dial: 0,
            way: None,
            further: (1..ways).map(further).collect(),
            failover: None,
        };
        let plan = vec![target("a", false, 3), target("b", true, 2), target("c", false, 1)];

        let ways = each_way(plan);

        let told = ways.iter().map(|it| (it.target.as_str(), it.dial, it.beside));
        let expected = [
            ("a", 0, false),
            ("a", 1, true),
            ("a", 2, true),
            ("b", 0, true),
            ("b", 1, true),
            ("c", 0, false),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert!(ways.iter().all(|it| it.further.is_empty()));
        let instead = ways.windows(2).map(|it| is_another_way(&it[0], &it[1]));
        assert_eq!(instead.collect::<Vec<_>>(), [true, true, false, true, false]);
    }
}
