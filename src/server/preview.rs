//! What a call that is only thought of would send to the first target of its plan: planned and played by
//! what plans and plays calls.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::api::{LatencyEstimate, SipField, SipInvite, SipPreview};
use crate::config::Config;
use crate::reason::Reason;
use crate::routing::replay::DecisionRecord;
use crate::routing::simulate::Latency;
use crate::routing::{RoutingSnapshot, Tags};
use crate::sip::call::plan::{Attempt, Handover};
use crate::sip::endpoint::{self, Foreseen, Thought, foresee};
use crate::sip::flow::Transport;
use crate::sip::ids::IdSource;
use crate::sip::trunk::{Caller, Trunks};

use super::Compiled;
use super::addresses::Addresses;
use super::clock::Clock;
use super::planning::Planning;
use super::reload::Agreed;
use super::settings::{endpoint_settings, health_rules, transport};
use super::standing::Standing;
use super::translate;

/// What previews of a running server are made from.
pub(super) struct Previews {
    pub(super) agreed: Arc<ArcSwap<Agreed>>,
    pub(super) addresses: Arc<ArcSwap<Addresses>>,
    pub(super) standing: Arc<Standing>,
    pub(super) endpoint: endpoint::Settings,
    pub(super) clock: Clock,
}

impl Previews {
    /// `None`: the call would get to nobody. `record` is of the configuration in force.
    pub(super) fn of(&self, record: &DecisionRecord) -> Option<SipPreview> {
        let Self { agreed, addresses, standing, endpoint, clock } = self;
        let (agreed, addresses) = (agreed.load(), addresses.load());
        let Agreed { trunks, legs, dialing, targets, tls, .. } = &**agreed;
        let planning =
            Planning { targets, addresses: &addresses, standing, legs, tls, dialing, clock };
        preview(&planning, trunks, endpoint, record)
    }
}

/// The same of a configuration that no server runs on: names are not looked up, and ports are those of the
/// configuration. `None`: the call would get to nobody.
pub fn sip_preview(
    config: &Config,
    compiled: &Compiled,
    record: &DecisionRecord,
) -> Option<SipPreview> {
    let (settings, Compiled { trunks, legs, targets, dialing, tls, .. }) =
        (&config.settings, compiled);
    let listen: Vec<(Transport, SocketAddr)> =
        settings.sip.listen.iter().map(|it| (transport(it.transport), it.address)).collect();
    let planning = Planning {
        targets,
        addresses: &Addresses::default(),
        standing: &Standing::new(health_rules(settings)),
        legs,
        tls: tls.parties(),
        dialing,
        clock: &Clock::Machine,
    };
    let endpoint = endpoint_settings(settings, &listen, 1, 0);
    preview(&planning, &Arc::new(trunks.clone()), &endpoint, record)
}

/// How long its caller would wait, as far as the configuration says so.
pub fn latency_estimate(
    snapshot: &RoutingSnapshot,
    record: &DecisionRecord,
) -> Option<LatencyEstimate> {
    Latency::of(snapshot, &record.decision, |_| None).map(Into::into)
}

fn preview(
    planning: &Planning<'_>,
    trunks: &Arc<Trunks>,
    endpoint: &endpoint::Settings,
    record: &DecisionRecord,
) -> Option<SipPreview> {
    let (request, mut decision) = (&record.request, record.decision.clone());
    decision.plan.truncate(1);
    let target = decision.plan.first()?.target.clone();
    decision.plan = translate::each_way(decision.plan);
    let session = decision.attribution.as_ref().and_then(|it| it.session);
    let session = record.sessions.iter().find(|it| Some(it.session) == session);
    let tags = session.map(|it| it.clone().into_known()).unwrap_or_default();
    let trunk = trunks.iter().find(|(_, trunk)| trunk.id == request.trunk);
    let plan = planning.plan(trunk.map(|(_, trunk)| trunk), request, &decision, &tags, |_| {});
    let delivery = plan.attempts.first().map_or("bridge", delivery);
    if delivery != "bridge" {
        return Some(SipPreview { target, delivery, invite: None, reason: None });
    }
    let (number, at) = (request.caller, request.at);
    let thought = Thought {
        trunk: trunk.map(|(index, _)| index),
        dialed: request.dialed,
        caller: Caller { number, withheld: number.is_none() },
        fields: fields(&request.tags),
        at,
        plan,
    };
    let ids = IdSource::new(request.call.0.as_u128(), 0);
    let (invite, reason) = match foresee(endpoint.clone(), Arc::clone(trunks), ids, thought) {
        Ok(foreseen) => (Some(invite(&foreseen)), None),
        Err(reason) => (None, Some(Reason::code(reason))),
    };
    Some(SipPreview { target, delivery, invite, reason })
}

fn delivery(attempt: &Attempt) -> &'static str {
    match attempt.handover.as_deref() {
        None => "bridge",
        Some(Handover::Redirect { .. }) => "redirect",
        Some(Handover::Refer(_)) => "refer",
    }
}

/// What the trunk keeps of INVITEs stands in them.
fn fields(tags: &Tags) -> Vec<(SmolStr, SmolStr)> {
    let field = |(tag, value): (&SmolStr, &SmolStr)| {
        Some((tag.strip_prefix("header.")?.into(), value.clone()))
    };
    tags.iter().filter_map(field).collect()
}

/// What the endpoint wrote, line by line.
fn invite(foreseen: &Foreseen) -> SipInvite {
    let text = String::from_utf8_lossy(&foreseen.invite);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let start_line = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some(SipField { name: name.to_owned(), value: value.to_owned() })
    };
    SipInvite {
        transport: foreseen.flow.transport.name(),
        to: foreseen.flow.peer.to_string(),
        start_line,
        headers: lines.filter_map(field).collect(),
        body: body.to_owned(),
    }
}
