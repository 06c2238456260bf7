//! From a decision to the plan of its call: what is agreed with trunk and targets, and where those are.

use std::sync::Arc;

use crate::id::TargetId;
use crate::routing::{Decision, PlannedAttempt, RouteRequest, Tags};
use crate::sip::call::plan::Plan;
use crate::sip::flow::Transport;
use crate::sip::policy::Targets;
use crate::sip::trunk::Trunk;

use super::addresses::{Addresses, Place};
use super::clock::Clock;
use super::dialing::{Dialing, handover};
use super::legs::TargetLegs;
use super::standing::{self, Standing};
use super::tls::TlsParties;
use super::translate;

/// All that a plan is made from, beside the decision.
pub(super) struct Planning<'a> {
    pub(super) targets: &'a Targets,
    pub(super) addresses: &'a Addresses,
    pub(super) standing: &'a Standing,
    pub(super) legs: &'a TargetLegs,
    pub(super) tls: &'a TlsParties,
    pub(super) dialing: &'a Dialing,
    pub(super) clock: &'a Clock,
}

impl Planning<'_> {
    /// Each planned attempt goes one way; `tags` are the session's. `bridges_instead` is told of targets
    /// whose calls are not handed to the carrier, as they should be.
    pub(super) fn plan(
        &self,
        trunk: Option<&Trunk>,
        request: &RouteRequest,
        decision: &Decision,
        tags: &Tags,
        bridges_instead: impl Fn(&TargetId),
    ) -> Box<Plan> {
        let Self { targets, addresses, standing, legs, tls, dialing, clock } = *self;
        let of = |planned: &PlannedAttempt| targets.of(planned.target.as_str(), planned.dial);
        let wants = |planned: &PlannedAttempt| of(planned).is_some_and(|it| it.wants_variables);
        let wanted = !targets.is_empty() && decision.plan.iter().any(wants);
        let variables = wanted.then(|| translate::variables(request, decision, tags));
        let rules = |planned: &PlannedAttempt| dialing.rules(&planned.target, planned.dial);
        let rules_of_all = decision.plan.iter().filter_map(rules);
        let known = rules_of_all.flat_map(|rules| rules.host_names());
        let known = known.filter_map(|name| Some((name.clone(), addresses.of_name(name)?)));
        let known = known.collect();
        translate::plan(
            decision,
            |planned| {
                let (mut first, mut further) = match addresses.find(&planned.uri)? {
                    Place::Here(destination) => (destination, None),
                    Place::There(locations) => {
                        let draw = decision.call.draw(planned.target.as_str());
                        standing::places(&standing.order(locations, draw, clock.mono()))?
                    }
                };
                let long = of(planned).and_then(|it| it.long_over_tcp);
                for place in further.iter_mut().flatten().chain([&mut first]) {
                    match (place.transport, long) {
                        (Transport::Tls, _) => {
                            place.tls = tls.target(&planned.target, planned.dial);
                        }
                        (Transport::Udp, Some(true)) => {
                            let port = place.peer.port();
                            place.tcp_port.get_or_insert(port);
                        }
                        (Transport::Udp, Some(false)) => place.tcp_port = None,
                        (Transport::Udp, None) | (Transport::Tcp, _) => {}
                    }
                }
                Some((first, further))
            },
            |planned| legs.of(&planned.target, planned.dial),
            |planned| translate::manner(planned, targets, trunk),
            |planned| {
                let rules = rules(planned);
                let limits = || of(planned)?.limits.as_ref();
                let mut told = trunk.and_then(|it| {
                    let counted = !planned.holds.is_empty() || limits().is_some();
                    handover(it, rules.map(Arc::as_ref), &planned.uri, counted)
                });
                if planned.is_counted_at_end() && told.take().is_some() {
                    bridges_instead(&planned.target);
                }
                (rules.cloned(), told)
            },
            variables,
            known,
        )
    }
}
