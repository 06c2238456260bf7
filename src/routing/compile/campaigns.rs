//! What is advertised.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::routing::config::{CallersConfig, CampaignConfig, Source};
use crate::routing::decision::Recovery;
use crate::routing::effective::CampaignSources;
use crate::routing::list::ListRules;
use crate::routing::snapshot::Campaign;
use crate::suggest::suggestion;

use super::{Compiler, ms, named, settings};

impl Compiler<'_> {
    /// `all_loss`: whether losses are allowed where nothing nearer says it.
    pub(super) fn campaigns(
        &mut self,
        configs: &[CampaignConfig],
        all_loss: Option<bool>,
    ) -> Vec<Campaign> {
        let mut campaigns = vec![];
        for (c, config) in configs.iter().enumerate() {
            let path = format!("campaigns[{c}]");
            if let Some(publisher) = &config.publisher {
                self.publisher(&format!("{path}.publisher"), publisher.as_str());
            }
            let vertical = config.vertical.as_ref().and_then(|id| {
                let known = self.verticals.get(id).cloned();
                if known.is_none() {
                    let known = self.verticals.keys().map(SmolStr::as_str);
                    let remedy = match self.verticals.is_empty() {
                        true => String::from("add it to `verticals`"),
                        false => suggestion(id, known),
                    };
                    let problem = "names no vertical of this configuration";
                    self.fault(&path, "vertical", id, problem, &remedy);
                }
                known
            });
            self.setting(&path, "max_attempts", &config.max_attempts, settings::MAX_ATTEMPTS);
            let budget = &config.total_ring_budget_s;
            self.setting(&path, "total_ring_budget_s", budget, settings::TOTAL_RING_BUDGET_S);
            let own = (!config.advance_on.is_inherited()).then_some(config.advance_on.as_slice());
            self.codes(&path, "advance_on", own);
            for (n, number) in config.numbers.iter().enumerate() {
                self.static_number(&format!("{path}.numbers[{n}]"), c, number, config);
            }
            let owner = format!("campaign/{}", config.id);
            let limits = (&config.caps[..], config.concurrency.as_ref(), None);
            let limits = self.limits(&path, &owner, limits);
            let tiers = self.routing(&format!("{path}.routing"), &config.routing);
            let own_loss = config.price.as_ref().and_then(|price| price.allow_loss);
            campaigns.push(Campaign {
                id: config.id.clone(),
                name: named(&config.name, config.id.as_str()),
                publisher: config.publisher.clone(),
                vertical,
                paused: config.paused,
                no_route: self.no_route(&path, &config.no_route, &tiers),
                tiers,
                advance_on: config.advance_on.as_slice().into(),
                max_attempts: *config.max_attempts,
                total_ring_budget_ms: ms(*config.total_ring_budget_s),
                recovery: config.recovery.map(|recovery| {
                    self.within(&path, "recovery.within_s", recovery.within_s, 1..=60);
                    self.within(&path, "recovery.max", recovery.max.into(), 1..=5);
                    Recovery { within_ms: ms(recovery.within_s), max: recovery.max }
                }),
                min_match_confidence: *config.min_match_confidence,
                caps: limits.caps,
                concurrency: limits.concurrency,
                callers: match config.callers.is_inherited() {
                    true => CallersConfig::clone(&config.callers),
                    false => self.callers(&path, &config.callers),
                },
                from: CampaignSources {
                    advance_on: config.advance_on.from(),
                    max_attempts: config.max_attempts.from(),
                    total_ring_budget_s: config.total_ring_budget_s.from(),
                    min_match_confidence: config.min_match_confidence.from(),
                    callers: config.callers.from(),
                    ping_filter: config.ping_filter.from(),
                    allow_loss: Source::of(own_loss.is_some(), false, all_loss.is_some()),
                },
                ping_filter: *config.ping_filter,
                lists: ListRules::default(),
                stand_ins: BTreeMap::new(),
                price: self.price(&path, config.price.as_ref()),
                allow_loss: own_loss.or(all_loss).unwrap_or(false),
                enrich: self.enrich(&path, &config.enrich),
            });
        }
        campaigns
    }
}
