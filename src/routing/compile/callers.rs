//! What callers have to be, and what their earlier calls mean.

use std::collections::BTreeSet;

use super::Compiler;
use crate::routing::config::{
    CallersConfig, CampaignConfig, ConversionConfig, DedupeAfter, DedupeBy, DedupeConfig,
    DuplicateRoute, HistoryConfig, MarkOn, PayDuplicates, PayPolicy, PayScope, PublisherConfig,
    RoutingConfig, Span, TargetConfig, Unattested,
};
use crate::routing::duplicate::Dedupe;
use crate::routing::history::{HistoryLimits, LooksBack};

const REPEAT_S_MAX: u32 = 3_600;

impl Compiler<'_> {
    pub(super) fn callers(&mut self, path: &str, config: &CallersConfig) -> CallersConfig {
        let path = format!("{path}.callers");
        self.within(&path, "repeat_after_s", config.repeat_after_s, 0..=REPEAT_S_MAX);
        if config.unattested == Unattested::Refuse && config.min_attestation.is_none() {
            let problem = "is said without `min_attestation`";
            let remedy = "add min_attestation = \"A\", \"B\" or \"C\"";
            self.fault(&path, "unattested", "refuse", problem, remedy);
        }
        if let Some(duplicates) = &config.duplicates {
            let path = format!("{path}.duplicates");
            self.window(&path, duplicates.window_s);
            if duplicates.strict && duplicates.route == DuplicateRoute::Normal {
                let problem = "leaves no way out of none";
                let remedy = "add route = \"original\" or \"different\", or leave it out";
                self.fault(&path, "strict", true, problem, remedy);
            }
            let (talk_s, talked) = (duplicates.talk_s, duplicates.mark_on == MarkOn::Talked);
            match (talked, talk_s) {
                (true, 0) => {
                    let problem = "is no length of talk";
                    let remedy = "write how many seconds mark a duplicate";
                    self.fault(&path, "talk_s", talk_s, problem, remedy);
                }
                (false, 1..) => {
                    let problem = "is read only with mark_on = \"talked\"";
                    self.fault(&path, "talk_s", talk_s, problem, "say so, or leave it out");
                }
                (true, 1..) | (false, 0) => {}
            }
        }
        config.clone()
    }

    /// The rule of a target, where it has none that of its buyer, else that of all.
    pub(super) fn target_dedupe(
        &mut self,
        path: &str,
        config: &TargetConfig,
        of_buyer: Option<&DedupeConfig>,
        of_all: Option<&DedupeConfig>,
    ) -> Option<Dedupe> {
        if let Some(own) = &config.dedupe {
            self.dedupe(path, own);
        }
        let (rule, by) = match (&config.dedupe, of_buyer, of_all) {
            (Some(own), _, _) => (own, DedupeBy::Target),
            (None, Some(of_buyer), _) => (of_buyer, DedupeBy::Buyer),
            (None, None, Some(of_all)) => (of_all, DedupeBy::Target),
            (None, None, None) => return None,
        };
        (rule.after != DedupeAfter::Off).then(|| Dedupe {
            after: rule.after,
            by: rule.by.unwrap_or(by),
            window: rule.window_s,
            campaigns: rule.campaigns,
        })
    }

    /// That a call can be a duplicate where one is not to be paid for.
    pub(super) fn unpaid_duplicates(&mut self, config: &RoutingConfig) {
        let marks = |it: &CampaignConfig| it.callers.duplicates.is_some();
        let problem = "is asked for, and nothing marks a call as a duplicate";
        for (p, publisher) in config.publishers.iter().enumerate() {
            let PublisherConfig { payouts, .. } = publisher;
            for (n, payout) in payouts.iter().enumerate() {
                let campaign = config.campaigns.iter().find(|it| it.id == payout.campaign);
                if payout.dedupe.policy == PayPolicy::NeverPayDuplicates
                    && campaign.is_some_and(|campaign| !marks(campaign))
                {
                    let path = format!("publishers[{p}].payouts[{n}]");
                    let remedy =
                        format!("give campaign `{}` a table callers.duplicates", payout.campaign);
                    let never = PayPolicy::NeverPayDuplicates.name();
                    self.fault(&path, "dedupe.policy", never, problem, &remedy);
                }
            }
        }
        let marking = config.campaigns.iter().filter(|it| marks(it)).filter_map(|it| {
            let named = |id| self.plans.place(id).map(|place| &config.plans[place]);
            it.routing.written().or_else(|| it.routing.name().and_then(named))
        });
        let members = marking.flat_map(|plan| &plan.tiers).flat_map(|tier| &tier.targets);
        let marked: BTreeSet<_> = members.map(|member| &member.target).collect();
        for (t, target) in config.targets.iter().enumerate() {
            let never = |it: &ConversionConfig| it.dedupe.policy == PayPolicy::NeverPayDuplicates;
            if target.conversion.as_ref().is_some_and(never) && !marked.contains(&target.id) {
                let path = format!("targets[{t}].conversion");
                let remedy = "give a campaign of the target a table callers.duplicates";
                let never = PayPolicy::NeverPayDuplicates.name();
                self.fault(&path, "dedupe.policy", never, problem, remedy);
            }
        }
    }

    /// That each word of a policy means something.
    pub(super) fn pay_duplicates(
        &mut self,
        path: &str,
        config: &PayDuplicates,
        scopes: &[PayScope],
    ) {
        let path = format!("{path}.dedupe");
        if let Some(scope) = config.scope.filter(|it| !scopes.contains(it)) {
            let known: Vec<_> = scopes.iter().map(|it| it.name()).collect();
            let remedy = format!("write one of {}", known.join(", "));
            self.fault(&path, "scope", scope.name(), "means nothing here", &remedy);
        }
        match (config.policy, config.window_s) {
            (PayPolicy::OncePer, window) => self.window(&path, window.unwrap_or_default()),
            (PayPolicy::PayAll | PayPolicy::NeverPayDuplicates, Some(window)) => {
                let problem = "is read only with policy = \"once_per\"";
                self.fault(&path, "window_s", window, problem, "say so, or leave it out");
            }
            (PayPolicy::PayAll | PayPolicy::NeverPayDuplicates, None) => {}
        }
        if config.policy == PayPolicy::PayAll
            && let Some(scope) = config.scope
        {
            let problem = "is said of a policy that pays for all";
            self.fault(&path, "scope", scope.name(), problem, "leave it out");
        }
    }

    /// That a rule that is switched off says no more.
    pub(super) fn dedupe(&mut self, path: &str, config: &DedupeConfig) {
        let path = format!("{path}.dedupe");
        self.window(&path, config.window_s);
        let off = DedupeConfig { after: DedupeAfter::Off, ..DedupeConfig::default() };
        if config.after == DedupeAfter::Off && *config != off {
            let problem = "switches the rule off, so that the other fields mean nothing";
            self.fault(&path, "after", "off", problem, "leave them out, or write when it holds");
        }
    }

    pub(super) fn window(&mut self, path: &str, window: Span) {
        if window == Span::Seconds(0) {
            let remedy = "write the seconds to look back, or \"forever\"";
            self.fault(path, "window_s", 0, "looks back at nothing", remedy);
        }
    }
}

impl Compiler<'_> {
    /// How much is remembered.
    pub(super) fn history_limits(&mut self, config: HistoryConfig) -> HistoryLimits {
        let HistoryConfig { callers_max, calls_max, .. } = config;
        self.within("history", "callers_max", callers_max, 1_000..=20_000_000);
        self.within("history", "calls_max", calls_max, 2..=1_000);
        config.into()
    }
}

/// Who looks at earlier calls, and how far back.
pub(super) fn history(config: &RoutingConfig) -> LooksBack {
    let repeat_s = config.campaigns.iter().map(|it| it.callers.repeat_after_s).max();
    let duplicates = config.campaigns.iter().filter_map(|it| it.callers.duplicates.as_ref());
    let of_buyers = config.buyers.iter().filter_map(|it| it.dedupe.as_ref());
    let of_targets = config.targets.iter().filter_map(|it| it.dedupe.as_ref());
    let dedupes = of_buyers
        .chain(of_targets)
        .chain(&config.defaults.dedupe)
        .filter(|it| it.after != DedupeAfter::Off);
    let payouts = config.publishers.iter().flat_map(|it| &it.payouts).map(|it| it.dedupe);
    let owed = config.targets.iter().filter_map(|it| Some(it.conversion.as_ref()?.dedupe));
    let once = payouts.chain(owed).filter(|it| it.policy == PayPolicy::OncePer);
    let rules = (duplicates.map(|it| it.window_s))
        .chain(dedupes.map(|it| it.window_s))
        .chain(once.map(|it| it.window_s.unwrap_or_default()))
        .max();
    let repeat_s = repeat_s.unwrap_or(0);
    LooksBack { repeat_s, rules, prior: config.history.into() }
}
