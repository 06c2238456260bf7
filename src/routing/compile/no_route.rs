//! What becomes of calls that get to nobody.

use crate::reason::NoRoute;
use crate::routing::config::{NoRouteActionConfig, NoRouteConfig};
use crate::routing::snapshot::{NoRouteAction, NoRouteActions, Tier};

use super::Compiler;

impl Compiler<'_> {
    pub(super) fn no_route(
        &mut self,
        path: &str,
        config: &NoRouteConfig,
        tiers: &[Tier],
    ) -> NoRouteActions {
        let NoRouteConfig { none_match, all_closed, no_capacity, none_answered } = config;
        let mut action = |class: NoRoute, config| {
            self.no_route_action(&format!("{path}.no_route.{}", class.name()), config, tiers)
        };
        NoRouteActions {
            none_match: action(NoRoute::NoneMatch, none_match),
            all_closed: action(NoRoute::AllClosed, all_closed),
            no_capacity: action(NoRoute::NoCapacity, no_capacity),
            none_answered: action(NoRoute::NoneAnswered, none_answered),
        }
    }

    fn no_route_action(
        &mut self,
        path: &str,
        config: &NoRouteActionConfig,
        tiers: &[Tier],
    ) -> NoRouteAction {
        let NoRouteActionConfig { status, overflow, announce, voicemail } = config;
        if let Some(status) = *status {
            self.within(path, "status", status.into(), 400..=699);
            if matches!(status, 401 | 407) {
                let problem = "would ask the carrier for credentials it has nobody to send to";
                self.fault(path, "status", status, problem, "write 403 or 480");
            }
        }
        for (field, said) in [("announce", announce), ("voicemail", voicemail)] {
            if let Some(said) = said {
                let problem = "is not done: this server plays and records nothing";
                let remedy = "leave it out, or name a target that does it as `overflow`";
                self.fault(path, field, said, problem, remedy);
            }
        }
        let overflow = overflow.as_ref().and_then(|id| {
            let Some(&target) = self.target_index.get(id.as_str()) else {
                self.dangling(&format!("{path}.overflow"), "target", id.as_str());
                return None;
            };
            let mut members = tiers.iter().flat_map(|tier| &tier.members);
            if members.any(|member| member.target == target) {
                let problem = "is one of the campaign's own targets, and would be tried before";
                self.fault(path, "overflow", id, problem, "name another target");
            }
            Some(target)
        });
        NoRouteAction { status: *status, overflow }
    }
}
