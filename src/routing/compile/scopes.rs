//! The limits of buyers, of groups of targets, and of those whose calls are counted together.

use smol_str::{SmolStr, format_smolstr};

use super::Compiler;
use super::caps::Clock;
use super::modes::scope_of_pair;
use crate::routing::config::{
    CapConfig, ConcurrencyConfig, PairConfig, RoutingConfig, TargetConfig,
};
use crate::routing::hold::Counts;
use crate::routing::snapshot::{Cap, Concurrency, Gap, Pair};

/// What one owner allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) caps: Vec<Cap>,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) gap: Option<Gap>,
}

/// What those allow that several targets share.
pub(super) struct Shared {
    /// In the order of the buyers.
    buyers: Vec<Limits>,
    groups: Vec<Limits>,
    pub(super) pairs: Vec<Pair>,
    /// Of each target the groups, and the pairs that its calls may be of.
    groups_of: Vec<Vec<usize>>,
    pairs_of: Vec<Vec<usize>>,
}

impl Shared {
    /// Adds to a target's own limits those of its buyer and groups.
    pub(super) fn extend(&self, target: usize, buyer: Option<usize>, own: &mut Owned) {
        let groups = self.groups_of[target].iter().map(|group| &self.groups[*group]);
        for limits in buyer.map(|buyer| &self.buyers[buyer]).into_iter().chain(groups) {
            own.caps.extend(limits.caps.iter().cloned());
            own.gaps.extend(limits.gap.clone());
            own.concurrency.extend(limits.concurrency.clone());
        }
        own.pairs.clone_from(&self.pairs_of[target]);
    }
}

impl Shared {
    /// What a buyer may owe.
    pub(super) fn credit(&self, buyer: usize) -> Option<&Cap> {
        self.buyers[buyer].caps.iter().find(|cap| cap.counts == Counts::Credit)
    }
}

/// All that a target's calls are limited by.
pub(super) struct Owned {
    pub(super) caps: Vec<Cap>,
    pub(super) gaps: Vec<Gap>,
    pub(super) concurrency: Vec<Concurrency>,
    pub(super) pairs: Vec<usize>,
}

impl Compiler<'_> {
    pub(super) fn shared(&mut self, config: &RoutingConfig) -> Shared {
        let mut buyers = vec![];
        for (b, buyer) in config.buyers.iter().enumerate() {
            let (path, owner) = (format!("buyers[{b}]"), format!("buyer/{}", buyer.id));
            let limits = (&buyer.caps[..], buyer.concurrency.as_ref(), buyer.min_gap_s);
            let mut limits = self.limits(&path, &owner, limits);
            let credit = buyer.credit.as_ref().map(|it| self.credit(&path, &owner, it));
            limits.caps.extend(credit);
            buyers.push(limits);
        }
        let mut groups = vec![];
        let mut groups_of = vec![vec![]; config.targets.len()];
        let ids = config.groups.iter().map(|it| it.id.as_str()).collect();
        super::index("groups", ids, &mut self.faults);
        for (g, group) in config.groups.iter().enumerate() {
            let (path, owner) = (format!("groups[{g}]"), format!("group/{}", group.id));
            let limits = (&group.caps[..], group.concurrency.as_ref(), group.min_gap_s);
            groups.push(self.limits(&path, &owner, limits));
            if group.targets.is_empty() {
                self.fault(&path, "targets", "[]", "is empty", "add a target");
            }
            for (n, id) in group.targets.iter().enumerate() {
                let path = format!("{path}.targets[{n}]");
                match self.target_index.get(id.as_str()).copied() {
                    None => self.dangling(&path, "target", id.as_str()),
                    Some(target) if groups_of[target].contains(&g) => {
                        let problem = "is in the group already";
                        self.fault_at(&path, id, problem, "keep one of the two");
                    }
                    Some(target) => groups_of[target].push(g),
                }
            }
        }
        let (pairs, pairs_of) = self.pairs(config);
        Shared { buyers, groups, pairs, groups_of, pairs_of }
    }

    pub(super) fn limits(
        &mut self,
        path: &str,
        owner: &str,
        (caps, concurrency, min_gap_s): (&[CapConfig], Option<&ConcurrencyConfig>, Option<u32>),
    ) -> Limits {
        Limits {
            caps: self.caps(path, owner, caps, &Clock::OF_ACCOUNT),
            concurrency: self.concurrency(path, owner, concurrency, &Clock::OF_ACCOUNT),
            gap: self.gap(path, owner, min_gap_s),
        }
    }

    /// Of a target alone.
    pub(super) fn own_limits(
        &mut self,
        path: &str,
        config: &TargetConfig,
        clock: &Clock<'_>,
    ) -> Owned {
        let owner = format!("target/{}", config.id);
        let concurrency = self.concurrency(path, &owner, config.concurrency.as_ref(), clock);
        let gap = self.gap(path, &owner, config.min_gap_s);
        Owned {
            caps: self.target_caps(path, config, clock),
            gaps: gap.map(|gap| Gap { label: None, ..gap }).into_iter().collect(),
            concurrency: concurrency
                .map(|concurrency| Concurrency { label: None, ..concurrency })
                .into_iter()
                .collect(),
            pairs: vec![],
        }
    }

    fn gap(&mut self, path: &str, owner: &str, min_gap_s: Option<u32>) -> Option<Gap> {
        let seconds = min_gap_s?;
        self.within(path, "min_gap_s", seconds, 1..=86_400);
        let key = format_smolstr!("{owner}/spacing");
        Some(Gap { min_ms: u64::from(seconds) * 1_000, label: Some(key.clone()), key })
    }

    /// The pairs, and of each target those its calls may be of.
    fn pairs(&mut self, config: &RoutingConfig) -> (Vec<Pair>, Vec<Vec<usize>>) {
        let mut pairs = vec![];
        let mut pairs_of = vec![vec![]; config.targets.len()];
        let mut owners: Vec<SmolStr> = vec![];
        for (p, pair) in config.pairs.iter().enumerate() {
            let path = format!("pairs[{p}]");
            let owner = self.pair_owner(&path, pair);
            if let Some(first) = owners.iter().position(|known| *known == owner) {
                let problem = format!("names the same as pairs[{first}]");
                self.fault_at(&path, &owner, &problem, "put the caps of both into one");
            }
            if pair.caps.is_empty() {
                self.fault(&path, "caps", "[]", "is empty", "add a cap");
            }
            let is_of = |target: &TargetConfig| {
                pair.buyer.as_ref().is_none_or(|buyer| *buyer == target.buyer)
                    && pair.target.as_ref().is_none_or(|id| *id == target.id)
            };
            let mut of_any = false;
            for (t, _) in config.targets.iter().enumerate().filter(|(_, it)| is_of(it)) {
                pairs_of[t].push(p);
                of_any = true;
            }
            if let (false, Some(buyer), Some(target)) = (of_any, &pair.buyer, &pair.target)
                && self.target_index.contains_key(target.as_str())
                && self.buyer_index.contains_key(buyer.as_str())
            {
                let problem = format!("is no target of {buyer}");
                self.fault(&path, "target", target, &problem, "leave out one of the two");
            }
            let counted = (owner.as_str(), scope_of_pair(pair));
            let caps = self.caps_on(&path, counted, &pair.caps, &Clock::OF_ACCOUNT);
            let (publisher, campaign) = (pair.publisher.clone(), pair.campaign.clone());
            pairs.push(Pair { publisher, campaign, caps });
            owners.push(owner);
        }
        (pairs, pairs_of)
    }

    /// Such as `pair/publisher.pub_a+target.tgt_b`.
    fn pair_owner(&mut self, path: &str, pair: &PairConfig) -> SmolStr {
        let named = [
            ("publisher", pair.publisher.as_ref().map(|id| id.as_str()), &self.publisher_index),
            ("campaign", pair.campaign.as_ref().map(|id| id.as_str()), &self.campaign_index),
            ("buyer", pair.buyer.as_ref().map(|id| id.as_str()), &self.buyer_index),
            ("target", pair.target.as_ref().map(|id| id.as_str()), &self.target_index),
        ];
        let named: Vec<_> = named
            .into_iter()
            .filter_map(|(kind, id, index)| Some((kind, id?, index.contains_key(id?))))
            .collect();
        for (kind, id, is_known) in &named {
            if !is_known {
                self.dangling(&format!("{path}.{kind}"), kind, id);
            }
        }
        let names: Vec<_> = named.iter().map(|(kind, id, _)| format!("{kind}.{id}")).collect();
        let names = names.join("+");
        if named.len() < 2 {
            let remedy = "name two or more of publisher, campaign, buyer and target";
            self.fault_at(path, &names, "is no pair", remedy);
        }
        format_smolstr!("pair/{names}")
    }
}
