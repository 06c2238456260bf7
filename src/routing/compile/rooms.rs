//! Caps into which not one of the calls fits that they are on.

use std::collections::BTreeMap;

use crate::id::BuyerId;
use crate::money::Money;
use crate::routing::config::{CapConfig, CapLimit, CapMode, Metric, RoutingConfig, TargetConfig};

use super::Compiler;

/// The least that one call comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    /// `None`: nothing, or it is not known.
    revenue: Option<Money>,
    minutes: Option<u32>,
}

impl Least {
    /// Of calls at any of these.
    fn at<'c>(targets: impl Iterator<Item = &'c TargetConfig> + Clone) -> Self {
        let revenue =
            |it: &TargetConfig| it.conversion.as_ref().map_or(Money::ZERO, |it| it.revenue);
        Self {
            revenue: targets.clone().map(revenue).min().filter(|it| *it > Money::ZERO),
            minutes: targets.map(|it| (*it.max_duration_s).div_ceil(60)).min(),
        }
    }
}

impl Compiler<'_> {
    /// That one call has room in the caps on revenue and minutes of a buyer, a publisher, a campaign and the account. Those of a
    /// target are held to its own terms.
    pub(super) fn shared_caps_leave_room(&mut self, config: &RoutingConfig) {
        let at_any = Least::at(config.targets.iter());
        self.leave_room("account", &config.account.caps, at_any);
        let mut of_buyers: BTreeMap<&BuyerId, Vec<&TargetConfig>> = BTreeMap::new();
        for target in &config.targets {
            of_buyers.entry(&target.buyer).or_default().push(target);
        }
        for (b, buyer) in config.buyers.iter().enumerate() {
            let targets = of_buyers.get(&buyer.id).into_iter().flatten().copied();
            self.leave_room(&format!("buyers[{b}]"), &buyer.caps, Least::at(targets));
        }
        for (p, publisher) in config.publishers.iter().enumerate() {
            self.leave_room(&format!("publishers[{p}]"), &publisher.caps, at_any);
        }
        for (c, campaign) in config.campaigns.iter().enumerate() {
            self.leave_room(&format!("campaigns[{c}]"), &campaign.caps, at_any);
        }
    }

    fn leave_room(&mut self, path: &str, caps: &[CapConfig], least: Least) {
        for (c, cap) in caps.iter().enumerate().filter(|(_, it)| it.mode != CapMode::Soft) {
            let path = format!("{path}.caps[{c}]");
            match (cap.metric, cap.limit) {
                (Metric::Minutes, CapLimit::Count(limit)) => {
                    if let Some(least) = least.minutes.filter(|it| (1..*it).contains(&limit)) {
                        let problem = format!(
                            "is less than the longest call at any target takes, {least} minutes"
                        );
                        let remedy = format!("write {least} or more, or a lower max_duration_s");
                        self.contradiction(&format!("{path}.limit"), limit, &problem, &remedy);
                    }
                }
                (Metric::Revenue, CapLimit::Money(limit)) => {
                    let least = least.revenue.filter(|it| Money::ZERO < limit && limit < *it);
                    if let Some(least) = least {
                        let problem = format!("is less than one call at any target earns, {least}");
                        let remedy = format!("write {least} or more");
                        self.contradiction(&format!("{path}.limit"), limit, &problem, &remedy);
                    }
                }
                (
                    Metric::Pinged
                    | Metric::Offered
                    | Metric::Attempted
                    | Metric::Connected
                    | Metric::Converted
                    | Metric::Revenue
                    | Metric::Payout
                    | Metric::Minutes,
                    CapLimit::Count(_) | CapLimit::Money(_),
                ) => {}
            }
        }
    }
}
