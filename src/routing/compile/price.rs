//! Floors and margins of campaigns and publishers.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::CampaignId;
use crate::money::Money;
use crate::routing::config::{
    CampaignConfig, MarginConfig, NoRouteConfig, PayoutConfig, PriceConfig, RoutingConfig,
    RoutingPlanConfig, TargetConfig,
};
use crate::routing::price::{HourlyFloor, PriceRules};

use super::Compiler;

/// A campaign, and the targets that its plan names, with their places.
type Members<'c> = (&'c CampaignConfig, Vec<(usize, &'c TargetConfig)>);

impl Compiler<'_> {
    pub(super) fn price(&mut self, path: &str, config: Option<&PriceConfig>) -> Option<PriceRules> {
        let config = config?;
        let path = format!("{path}.price");
        let floors =
            [("min_revenue", config.min_revenue), ("soft_min_revenue", config.soft_min_revenue)];
        for (field, floor) in floors {
            if let Some(floor) = floor.filter(|floor| floor.0 < 0) {
                self.fault(&path, field, floor, "is negative", "write 0.00 or more");
            }
        }
        if let (Some(least), Some(soft)) = (config.min_revenue, config.soft_min_revenue)
            && soft <= least
        {
            let problem = format!("is no more than `min_revenue`, {least}, which refuses them");
            let remedy = "write more, or leave it out";
            self.fault(&path, "soft_min_revenue", soft, &problem, remedy);
        }
        if let Some(MarginConfig::Percent(percent)) = config.min_margin
            && percent.0 > 100_000_000
        {
            let margin = MarginConfig::Percent(percent);
            let problem = "is more than the whole revenue";
            self.fault(&path, "min_margin", margin, problem, "write 100% or less");
        }
        let hourly = config.hourly.as_ref().map(|floors| {
            let floors = floors.iter().enumerate().filter_map(|(place, floor)| {
                let path = format!("{path}.hourly[{place}]");
                if floor.min_revenue.0 < 0 {
                    let remedy = "write 0.00 or more";
                    self.fault(&path, "min_revenue", floor.min_revenue, "is negative", remedy);
                }
                let during = format!("{path}.during");
                let during = self.schedule(&during, &floor.during)?;
                Some(HourlyFloor { during, min_revenue: floor.min_revenue, written: floor.clone() })
            });
            floors.collect()
        });
        Some(PriceRules {
            min_revenue: config.min_revenue,
            hourly,
            soft_min_revenue: config.soft_min_revenue,
            min_margin: config.min_margin,
            allow_loss: config.allow_loss,
        })
    }

    /// That no payout is more than what a target of its campaign brings, nor due sooner, where no loss is
    /// allowed. Targets that a floor refuses bring nothing to be paid for.
    pub(super) fn losses(&mut self, config: &RoutingConfig) {
        let mut faults = vec![];
        let targets_of = self.targets_of_payouts(config);
        for (p, publisher) in config.publishers.iter().enumerate() {
            for (n, payout) in publisher.payouts.iter().enumerate() {
                let Some((campaign, targets)) = targets_of.get(&payout.campaign) else { continue };
                let prices = [publisher.price.as_ref(), campaign.price.as_ref()];
                let says = || prices.into_iter().flatten();
                let allowed = says().find_map(|price| price.allow_loss);
                if allowed.or(config.defaults.allow_loss).unwrap_or(false) {
                    continue;
                }
                let is_at_all_hours = says().all(|price| price.hourly.is_none());
                let floor = says().find_map(|price| price.min_revenue);
                let floor = floor.filter(|_| is_at_all_hours).unwrap_or(Money::ZERO);
                let path = format!("publishers[{p}].payouts[{n}]");
                let taken = targets.iter().copied().filter(|(_, it)| !it.paused);
                let taken = taken.filter(|(_, it)| brings(it) >= floor);
                faults.extend(loss(&path, payout, taken));
            }
        }
        for (path, value, problem, remedy) in faults {
            self.fault_at(&path, value, &problem, &remedy);
        }
    }

    /// That a floor which holds at all hours lets some target take calls. One of a publisher goes before
    /// that of a campaign.
    pub(super) fn floors_can_be_met(&mut self, config: &RoutingConfig) {
        let said = |price: &Option<PriceConfig>| {
            price.as_ref().is_some_and(|it| it.min_revenue.is_some() || it.hourly.is_some())
        };
        let by_hour =
            |price: &Option<PriceConfig>| price.as_ref().is_some_and(|it| it.hourly.is_some());
        let mut floors = vec![];
        if !config.campaigns.iter().any(|it| by_hour(&it.price)) {
            let at_any = config.targets.iter().map(brings).max();
            floors.extend(config.publishers.iter().enumerate().map(|(p, publisher)| {
                (format!("publishers[{p}].price"), &publisher.price, at_any)
            }));
        }
        if !config.publishers.iter().any(|it| said(&it.price)) {
            // Who is not known may bring more.
            let known = config.campaigns.iter().enumerate().filter(|(_, it)| {
                self.plan_of(config, it).is_some_and(|plan| {
                    let mut members = plan.tiers.iter().flat_map(|tier| &tier.targets);
                    members.all(|it| self.target_index.contains_key(it.target.as_str()))
                })
            });
            floors.extend(known.map(|(c, campaign)| {
                let targets = self.targets_of(config, campaign).into_iter().map(|(_, it)| it);
                let all = targets.chain(self.overflows_of(config, campaign));
                let most = all.map(brings).max();
                (format!("campaigns[{c}].price"), &campaign.price, most)
            }));
        }
        for (path, price, most) in floors {
            let floor = price.as_ref().filter(|it| it.hourly.is_none());
            let Some(floor) = floor.and_then(|it| it.min_revenue) else { continue };
            if let Some(most) = most.filter(|most| *most < floor) {
                let problem =
                    format!("is more than any target brings, {most}, so that none is called");
                let remedy = "write less, or raise conversion.revenue of a target";
                self.contradiction(&format!("{path}.min_revenue"), floor, &problem, remedy);
            }
        }
    }

    /// Each campaign of which something is paid out, with its targets.
    pub(super) fn targets_of_payouts<'c>(
        &self,
        config: &'c RoutingConfig,
    ) -> BTreeMap<&'c CampaignId, Members<'c>> {
        let payouts = config.publishers.iter().flat_map(|it| &it.payouts);
        let campaigns: BTreeSet<_> = payouts.map(|it| &it.campaign).collect();
        let of = |id: &'c CampaignId| {
            let campaign = &config.campaigns[*self.campaign_index.get(id.as_str())?];
            Some((id, (campaign, self.targets_of(config, campaign))))
        };
        campaigns.into_iter().filter_map(of).collect()
    }

    /// Those that get its calls when no target of its plan does.
    pub(super) fn overflows_of<'c>(
        &self,
        config: &'c RoutingConfig,
        campaign: &'c CampaignConfig,
    ) -> impl Iterator<Item = &'c TargetConfig> {
        let NoRouteConfig { none_match, all_closed, no_capacity, none_answered } =
            &campaign.no_route;
        let actions = [none_match, all_closed, no_capacity, none_answered];
        actions.into_iter().filter_map(|action| {
            let id = action.overflow.as_ref()?.as_str();
            Some(&config.targets[*self.target_index.get(id)?])
        })
    }

    /// Those that the plan of the campaign names, with their places.
    fn targets_of<'c>(
        &self,
        config: &'c RoutingConfig,
        campaign: &'c CampaignConfig,
    ) -> Vec<(usize, &'c TargetConfig)> {
        let plan = self.plan_of(config, campaign);
        let members = plan.into_iter().flat_map(|plan| &plan.tiers).flat_map(|tier| &tier.targets);
        let places = members.filter_map(|it| self.target_index.get(it.target.as_str()).copied());
        let places: BTreeSet<usize> = places.collect();
        places.into_iter().map(|place| (place, &config.targets[place])).collect()
    }

    fn plan_of<'c>(
        &self,
        config: &'c RoutingConfig,
        campaign: &'c CampaignConfig,
    ) -> Option<&'c RoutingPlanConfig> {
        let named = |id| self.plans.place(id).map(|place| &config.plans[place]);
        campaign.routing.written().or_else(|| campaign.routing.name().and_then(named))
    }
}

fn brings(target: &TargetConfig) -> Money {
    target.conversion.as_ref().map(|it| it.revenue).unwrap_or_default()
}

/// What is lost with a payout, as a fault: at the target that brings least, else at the one that owes
/// last.
fn loss<'c>(
    path: &str,
    payout: &PayoutConfig,
    targets: impl Iterator<Item = (usize, &'c TargetConfig)>,
) -> Option<(String, String, String, String)> {
    // Where neither says when something is due, nothing is.
    let targets: Vec<_> = targets
        .filter(|(_, it)| payout.seconds.is_some() || it.conversion.is_some())
        .filter(|_| payout.amount > Money::ZERO)
        .collect();
    let allow = "or write `allow_loss = true` in `price` of the publisher or the campaign";
    let least = targets.iter().min_by_key(|(_, it)| brings(it))?;
    let (t, target) = *least;
    if brings(target) < payout.amount {
        let (id, revenue, campaign) = (&target.id, brings(target), &payout.campaign);
        let problem =
            format!("is more than target `{id}` of campaign `{campaign}` brings, {revenue}");
        let remedy =
            format!("write {revenue} or less, raise targets[{t}].conversion.revenue, {allow}");
        return Some((format!("{path}.amount"), payout.amount.to_string(), problem, remedy));
    }
    let due = |it: &TargetConfig| it.conversion.as_ref().map(|it| it.seconds).unwrap_or(0);
    let (_, target) = *targets.iter().max_by_key(|(_, it)| due(it))?;
    let (seconds, last) = (payout.seconds?, due(target));
    if seconds >= last {
        return None;
    }
    let problem = format!(
        "is due before target `{}` of campaign `{}` owes anything, {last} s after the answer, so that \
         nobody pays for a call that ends in between",
        target.id, payout.campaign
    );
    let remedy = format!("leave it out, write {last} or more, {allow}");
    Some((format!("{path}.seconds"), seconds.to_string(), problem, remedy))
}
