//! Who may take the calls of campaigns, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::routing::config::{NamedOr, RoutingPlanConfig};
use crate::routing::snapshot::{Tier, TierMember};

use super::Compiler;

impl Compiler<'_> {
    pub(super) fn routing(
        &mut self,
        path: &str,
        config: &NamedOr<RoutingPlanConfig>,
    ) -> Arc<[Tier]> {
        match config {
            NamedOr::Named(id) => self.plan(path, id).unwrap_or_default(),
            NamedOr::Written(plan) => {
                self.is_nameless(path, &plan.id, "plans");
                self.tiers(path, plan).into()
            }
        }
    }

    pub(super) fn tiers(&mut self, path: &str, plan: &RoutingPlanConfig) -> Vec<Tier> {
        let configs = &plan.tiers;
        if configs.is_empty() {
            self.fault(path, "tiers", "[]", "leads nowhere", "add a tier with a target");
        }
        self.plan_selection(path, plan);
        let mut tiers: BTreeMap<i32, Tier> = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (t, config) in configs.iter().enumerate() {
            let path = format!("{path}.tiers[{t}]");
            if config.targets.is_empty() {
                self.fault(&path, "targets", "[]", "is empty", "add a target");
            }
            if tiers.contains_key(&config.tier) {
                let remedy = "put the targets of one tier into one list";
                self.fault(&path, "tier", config.tier, "stands in the plan twice", remedy);
            }
            let entry = tiers.entry(config.tier);
            let tier = entry.or_insert_with(|| self.tier_selection(&path, config, plan));
            for (n, member) in config.targets.iter().enumerate() {
                let path = format!("{path}.targets[{n}]");
                self.within(&path, "weight", member.weight, 0..=1_000);
                let id = member.target.as_str();
                let Some(&target) = self.target_index.get(id) else {
                    self.dangling(&format!("{path}.target"), "target", id);
                    continue;
                };
                if let Some(first) = seen.insert(target, path.clone()) {
                    let problem = format!("stands in the plan already, at {first}");
                    self.fault(&path, "target", id, &problem, "keep one of the two");
                }
                tier.members.push(TierMember { target, weight: member.weight, rank: 0 });
            }
            let ids = config.targets.iter().map(|member| member.target.as_str());
            rank(&mut tier.members, ids);
        }
        tiers.into_values().collect()
    }
}

/// Says of each member which place it has by its id. If an id leads nowhere, they are not in step;
/// then there is a fault.
fn rank<'a>(members: &mut [TierMember], ids: impl Iterator<Item = &'a str>) {
    let mut by_id: Vec<_> = ids.zip(members).collect();
    by_id.sort_unstable_by_key(|(id, _)| *id);
    for (rank, (_, member)) in by_id.into_iter().enumerate() {
        member.rank = rank;
    }
}
