//! Who sends callers.

use std::collections::BTreeMap;

use crate::money::Money;
use crate::routing::config::{PayScope, PublisherConfig, QuotaConfig, RoutingConfig};
use crate::routing::snapshot::{Payout, Publisher};

use super::{Compiler, named};

impl Compiler<'_> {
    pub(super) fn publishers(&mut self, configs: &[PublisherConfig]) -> Vec<Publisher> {
        let mut publishers = vec![];
        for (p, config) in configs.iter().enumerate() {
            let mut payouts = BTreeMap::new();
            for (n, payout) in config.payouts.iter().enumerate() {
                let path = format!("publishers[{p}].payouts[{n}]");
                self.campaign(&format!("{path}.campaign"), payout.campaign.as_str());
                if payout.amount.0 < 0 {
                    self.fault(&path, "amount", payout.amount, "is negative", "write 0.00 or more");
                }
                let scopes = [PayScope::Publisher, PayScope::Campaign, PayScope::Account];
                self.pay_duplicates(&path, &payout.dedupe, &scopes);
                self.no_more_than(&path, "amount", payout.amount, Money::OF_A_CALL_MAX);
                let terms = Payout {
                    amount: payout.amount,
                    seconds: payout.seconds,
                    dedupe: payout.dedupe,
                };
                if payouts.insert(payout.campaign.clone(), terms).is_some() {
                    self.fault(
                        &path,
                        "campaign",
                        &payout.campaign,
                        "has a payout already",
                        "keep one payout per campaign",
                    );
                }
            }
            let (path, owner) = (format!("publishers[{p}]"), format!("publisher/{}", config.id));
            let limits = (&config.caps[..], config.concurrency.as_ref(), None);
            let limits = self.limits(&path, &owner, limits);
            if !config.quota.is_inherited() {
                self.quota(&path, &config.quota);
            }
            publishers.push(Publisher {
                id: config.id.clone(),
                name: named(&config.name, config.id.as_str()),
                paused: config.paused,
                payouts,
                price: self.price(&path, config.price.as_ref()),
                caps: limits.caps,
                concurrency: limits.concurrency,
                quota: (*config.quota != QuotaConfig::default()).then(|| (*config.quota).clone()),
                strict_pings: *config.strict_pings,
                quota_from: config.quota.from(),
                strict_pings_from: config.strict_pings.from(),
            });
        }
        publishers
    }

    /// That some call of its campaign can last until a payout is due.
    pub(super) fn payouts_can_be_due(&mut self, config: &RoutingConfig) {
        let targets_of = self.targets_of_payouts(config);
        for (p, publisher) in config.publishers.iter().enumerate() {
            for (n, payout) in publisher.payouts.iter().enumerate() {
                let Some((campaign, targets)) = targets_of.get(&payout.campaign) else { continue };
                let overflows = self.overflows_of(config, campaign);
                let all = targets.iter().map(|(_, target)| *target).chain(overflows);
                let lengths = all.map(|target| *target.max_duration_s);
                let (Some(seconds), Some(longest)) = (payout.seconds, lengths.max()) else {
                    continue;
                };
                if seconds > longest {
                    let (path, id) = (format!("publishers[{p}].payouts[{n}]"), &payout.campaign);
                    let problem = format!(
                        "is never reached: no call of campaign `{id}` lasts longer than {longest} s"
                    );
                    let remedy = format!(
                        "write {longest} or less, or raise max_duration_s of a target of it"
                    );
                    self.contradiction(&format!("{path}.seconds"), seconds, &problem, &remedy);
                }
            }
        }
    }
}
