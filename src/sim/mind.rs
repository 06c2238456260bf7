//! Those who decide, hold and write for the edge, where they are not the real ones: drawn by
//! chance, late and silent too, or as a scene has them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::reason::Reason;
use crate::sip::call::plan::{
    Attempt, Destination, FailedAs, Failover, Handover, Manner, Plan, Referral, Refusal,
};
use crate::sip::flow::Transport;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::policy::config::{EarlyMedia, EmptyProgress, PassOrDrop, ProgressPolicy};
use crate::sip::policy::{ProgressRules, TargetConfig, TargetPolicy, Targets};
use crate::sip::target::{RedirectConfig, TargetConfig as DeliveryConfig, TargetRules};
use crate::sip::trunk::Carriers;
use crate::sip::trunk::profile::Support;

use super::habits::{ms, one_in};
use super::moves::{EDGE, LISTED, LISTED_NAME, NAMED};
use super::stage::NOWHERE;

/// What targets refuse with that lead on in some plans.
const FAILURES: [u16; 9] = [300, 302, 404, 408, 480, 486, 500, 503, 600];

/// What comes, and after how long; `None`: never.
pub(crate) type Answer<T> = Option<(Duration, T)>;

/// The routing decision on a call.
pub(crate) fn decision(call: usize, rng: &mut Rng) -> Answer<Result<Box<Plan>, Refusal>> {
    let after = match rng.u8(..30) {
        0 => None,
        1 => Some(ms(rng, 2_500, 4_000)),
        2..6 => Some(Duration::ZERO),
        _ => Some(ms(rng, 0, 300)),
    };
    let outcome = match rng.u8(..25) {
        0 => Err(Refusal::from(Reason::NoneEligible)),
        _ => Ok(Box::new(plan(call, rng))),
    };
    after.map(|after| (after, outcome))
}

/// Whether an attempt may be made.
pub(crate) fn hold(rng: &mut Rng) -> Answer<Result<(), Reason>> {
    let after = match rng.u8(..40) {
        0 => None,
        1..4 => Some(ms(rng, 0, 2_000)),
        _ => Some(ms(rng, 0, 20)),
    };
    let outcome = match rng.u8(..12) {
        0 => Err(Reason::ConcurrencyFull),
        _ => Ok(()),
    };
    after.map(|after| (after, outcome))
}

/// That the answer is on disk.
pub(crate) fn durable(rng: &mut Rng) -> Answer<()> {
    match rng.u8(..10) {
        0 => Some((ms(rng, 20, 500), ())),
        1 => None,
        _ => Some((ms(rng, 0, 15), ())),
    }
}

/// Names a target so that its INVITE tells of which call and attempt it is.
pub(crate) fn target_uri(call: usize, attempt: usize) -> Bytes {
    Bytes::from(target_uri_text(call, attempt))
}

pub(crate) fn target_uri_text(call: usize, attempt: usize) -> String {
    format!("sip:target-{call}-{attempt}@198.51.100.7")
}

fn plan(call: usize, rng: &mut Rng) -> Plan {
    let together = one_in(rng, 4);
    let recoveries = if one_in(rng, 3) { rng.u8(1..3) } else { 0 };
    // The carrier of this call has calls handed over to it.
    let by_carrier = (!together && one_in(rng, 6)).then(|| rng.bool());
    let attempts: SmallVec<[Attempt; 2]> = (1..=rng.usize(1..5))
        .map(|attempt| {
            let host = |n: u8| SocketAddr::from(([198, 51, 100, n], 5060));
            let address = match rng.u8(..20) {
                0 => None,
                1 => Some(NOWHERE),
                _ => Some(host(rng.u8(1..10))),
            };
            // The next one last.
            let mut further = match rng.u8(..8) {
                0 => vec![to(host(11))],
                1 => vec![to(host(11)), to(NOWHERE), to(host(12))],
                _ => vec![],
            };
            further.retain(|it| Some(it.peer) != address);
            let is_way = attempt > 1 && one_in(rng, 4);
            Attempt {
                uri: target_uri(call, attempt),
                destination: address.map(to),
                further: (!further.is_empty()).then_some(further),
                ring_timeout: ms(rng, 500, 20_000),
                first_response: ms(rng, 300, 3_000),
                max_pdd: ms(rng, 1_000, 10_000),
                max_duration: ms(rng, 1_000, 60_000),
                recovers_within: if recoveries > 0 { ms(rng, 500, 20_000) } else { Duration::ZERO },
                dialog: LegPolicy {
                    reliable: rng.bool().then_some(Support::Supported),
                    ..LegPolicy::default()
                },
                manner: Manner { instead: is_way, ..manner(rng, attempt > 1 && together) },
                rules: one_in(rng, 2).then(|| rules(rng.usize(..RULES.len()))),
                handover: handover(rng, by_carrier).filter(|_| !is_way),
            }
        })
        .collect();
    let advance_on = FAILURES.into_iter().filter(|_| rng.bool()).collect();
    let ring_budget = ms(rng, 2_000, 40_000);
    let known = vec![(LISTED_NAME.into(), NAMED)];
    let (variables, redirects, failed) = (None, 0, FailedAs::default());
    Plan { attempts, advance_on, ring_budget, variables, known, redirects, recoveries, failed }
}

/// How many redirections are followed, and what the target may name besides its own host.
pub(crate) const RULES: [(u8, &[&str]); 4] =
    [(0, &[LISTED]), (1, &[LISTED, LISTED_NAME]), (3, &[LISTED_NAME, EDGE]), (10, &[LISTED, EDGE])];

fn rules(number: usize) -> Arc<TargetRules> {
    static ALL: OnceLock<Vec<Arc<TargetRules>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let compiled = RULES.map(|(max, hosts)| {
            let hosts = hosts.iter().copied().map(SmolStr::new).collect();
            let redirect = RedirectConfig { max, hosts };
            let config = DeliveryConfig { redirect, ..DeliveryConfig::default() };
            let rules = TargetRules::compile("t", &config);
            Arc::new(rules.expect("the simulated target's rules have no faults"))
        });
        compiled.to_vec()
    });
    all[number].clone()
}

/// By 302 or by REFER, for most targets of a call whose carrier takes that.
fn handover(rng: &mut Rng, by_carrier: Option<bool>) -> Option<Box<Handover>> {
    let by_302 = by_carrier?;
    if one_in(rng, 5) {
        return None;
    }
    Some(Box::new(if by_302 {
        Handover::Redirect { counted: rng.bool() }
    } else {
        Handover::Refer(Referral {
            refer_to: Bytes::from(format!("sip:+1800555010{}@carrier.example", rng.u8(..10))),
            referred_by: rng.bool(),
            first_notify: ms(rng, 500, 5_000),
            final_notify: ms(rng, 1_000, 20_000),
        })
    }))
}

fn to(peer: SocketAddr) -> Destination {
    Destination { transport: Transport::Udp, peer, tls: None, tcp_port: None }
}

/// What final statuses mean; mostly the usual.
fn failover(rng: &mut Rng) -> Option<Box<Failover>> {
    one_in(rng, 4).then(|| {
        let mut some = || FAILURES.into_iter().filter(|_| rng.bool()).collect();
        let (next_way_on, advance_on) = (some(), some());
        Box::new(Failover { next_way_on, advance_on: rng.bool().then_some(advance_on) })
    })
}

/// How a target is spoken to; most are plain.
fn manner(rng: &mut Rng, beside: bool) -> Manner {
    static POLICY: OnceLock<Arc<TargetPolicy>> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        let serde_json::Value::Object(sip) = serde_json::json!({
            "headers": { "pass": ["X-Pass"], "add": { "X-Caller": "{caller.number}" } },
            "identity": { "caller": ["pai", "rpid", "from"], "diversion": "pass" },
        }) else {
            unreachable!("a table")
        };
        let config = TargetConfig { id: "t", buyer: "b", sip: &sip, trunks: vec![] };
        let targets = Targets::compile([config], &Carriers::built_in(), 48);
        let targets = targets.expect("the simulated target has no faults");
        let policy = targets.get("t").and_then(|target| target.policy.clone());
        policy.expect("the simulated target has a policy")
    });
    let progress: ProgressPolicy = match rng.u8(..8) {
        0 => ProgressPolicy { early_media: Some(EarlyMedia::Ringing), ..Default::default() },
        1 => ProgressPolicy {
            empty_progress: Some(EmptyProgress::Drop),
            ringing_after_media: Some(PassOrDrop::Drop),
            other: Some(PassOrDrop::Drop),
            ..Default::default()
        },
        _ => ProgressPolicy::default(),
    };
    Manner {
        policy: one_in(rng, 4).then(|| policy.clone()),
        progress: ProgressRules::new(&progress, &ProgressPolicy::default()),
        barred: one_in(rng, 40),
        destinations: [None, None],
        leaves_progress: rng.bool(),
        beside,
        named: false,
        instead: false,
        failover: failover(rng),
    }
}

/// One call that is planned from beginning to end.
#[cfg(test)]
pub(crate) struct Scene {
    pub(crate) caller: super::habits::Habits,
    /// One attempt each.
    pub(crate) targets: Vec<super::habits::Habits>,
    /// From the question to its answer; `None`: never.
    pub(crate) decided: Option<Duration>,
    pub(crate) held: Option<Duration>,
    pub(crate) durable: Option<Duration>,
    pub(crate) weather: super::net::Weather,
    /// All targets ring at once.
    pub(crate) together: bool,
    /// All targets are addresses of one.
    pub(crate) one_name: bool,
}

#[cfg(test)]
impl Scene {
    /// What the target of an attempt is like at the `nth` of its addresses.
    pub(crate) fn habits(&self, attempt: usize, nth: usize) -> super::habits::Habits {
        let at = if self.one_name { nth } else { attempt };
        self.targets.get(at).cloned().unwrap_or_default()
    }

    /// Patient, so that the parties decide what happens.
    pub(crate) fn plan(&self, call: usize) -> Plan {
        let count = self.targets.len();
        let host = |n: usize| {
            let n = u8::try_from(n).expect("a scene has few targets");
            to(SocketAddr::from(([198, 51, 100, n], 5060)))
        };
        let further = 8..7 + count;
        let attempt = |number: usize| Attempt {
            uri: target_uri(call, number),
            destination: Some(host(7)),
            further: self.one_name.then(|| further.clone().rev().map(host).collect()),
            ring_timeout: Duration::from_secs(30),
            first_response: Duration::from_secs(4),
            max_pdd: Duration::from_secs(8),
            max_duration: Duration::from_secs(100),
            recovers_within: Duration::ZERO,
            dialog: LegPolicy::default(),
            manner: Manner { beside: self.together && number > 1, ..Manner::default() },
            rules: None,
            handover: None,
        };
        Plan {
            attempts: (1..=if self.one_name { 1 } else { count }).map(attempt).collect(),
            advance_on: Arc::from([486, 503]),
            ring_budget: Duration::from_secs(60),
            variables: None,
            known: vec![],
            redirects: 0,
            recoveries: 0,
            failed: FailedAs::default(),
        }
    }
}
