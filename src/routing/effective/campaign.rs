//! Campaigns: their own settings, how their tiers share calls, and what calls of a publisher come to.

use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};

use crate::id::{CampaignId, PublisherId};
use crate::money::Money;
use crate::routing::config::{DistributionConfig, Otherwise, ScoredConfig, Source};
use crate::routing::price::PriceRules;
use crate::routing::selection::Distribution;
use crate::routing::snapshot::{Campaign, Publisher, RoutingSnapshot, Target};

use super::Effective;

impl RoutingSnapshot {
    /// `publisher`: whose calls the prices and terms are of; absent: the campaign's own. If it has none,
    /// there are only floors. `None`: there is no such campaign, or no such publisher.
    pub fn effective_campaign(
        &self,
        id: &CampaignId,
        publisher: Option<&PublisherId>,
    ) -> Option<Vec<Effective>> {
        let campaign = self.campaign(id)?;
        let publisher = match publisher.or(campaign.publisher.as_ref()) {
            Some(id) => Some(self.publisher(id)?),
            None => None,
        };
        let mut settings = campaign.effective(self);
        settings.extend(campaign.effective_tiers());
        settings.extend(campaign.effective_price(publisher.and_then(|it| it.price.as_ref())));
        let members = campaign.tiers.iter().flat_map(|tier| &tier.members);
        let targets = members.map(|member| &self.targets[member.target]);
        settings.extend(
            publisher.into_iter().flat_map(|it| targets.clone().flat_map(|to| terms(it, id, to))),
        );
        Some(settings)
    }
}

impl Campaign {
    fn effective(&self, snapshot: &RoutingSnapshot) -> Vec<Effective> {
        let from = &self.from;
        let (time_zone, zone_from) = (json!(snapshot.time_zone()), snapshot.account.zone_from);
        let ring_budget_s = self.total_ring_budget_ms / 1_000;
        [
            ("advance_on", json!(self.advance_on), from.advance_on),
            ("max_attempts", json!(self.max_attempts), from.max_attempts),
            ("total_ring_budget_s", json!(ring_budget_s), from.total_ring_budget_s),
            ("min_match_confidence", json!(self.min_match_confidence), from.min_match_confidence),
            ("callers", json!(self.callers), from.callers),
            ("time_zone", time_zone, zone_from),
            ("ping_filter", json!(self.ping_filter), from.ping_filter),
        ]
        .map(Effective::of)
        .into()
    }

    fn effective_tiers(&self) -> impl Iterator<Item = Effective> + '_ {
        self.tiers.iter().flat_map(|tier| {
            let name = |setting: &str| format_smolstr!("tiers.{}.{setting}", tier.tier);
            let distribution = json!(tier.distribution.written());
            let hold_share_s = json!(tier.hold_share_ms / 1_000);
            [
                (name("distribution"), distribution, tier.from.distribution),
                (name("hold_share_s"), hold_share_s, tier.from.hold_share_s),
            ]
            .map(Effective::of)
        })
    }

    /// What calls of a publisher have to bring, if it says `of_publisher` itself.
    fn effective_price(&self, of_publisher: Option<&PriceRules>) -> [Effective; 5] {
        let of_campaign = self.price.as_ref();
        let nearest =
            |setting: &str, field: &dyn Fn(&PriceRules) -> Option<Value>, else_: Value| {
                let by = [(Source::Publisher, of_publisher), (Source::Own, of_campaign)];
                let said = by.into_iter().find_map(|(from, rules)| Some((field(rules?)?, from)));
                let (value, from) = said.unwrap_or((else_, Source::BuiltIn));
                Effective::of((format_smolstr!("price.{setting}"), value, from))
            };
        let hourly = |rules: &PriceRules| {
            let floors = rules.hourly.as_ref()?.iter();
            Some(floors.map(|floor| json!(floor.written)).collect())
        };
        let margin = |rules: &PriceRules| rules.min_margin.map(|it| json!(it));
        let none = Value::Null;
        let by_publisher = of_publisher.and_then(|rules| rules.allow_loss);
        let (allow_loss, loss_from) = match by_publisher {
            Some(allowed) => (allowed, Source::Publisher),
            None => (self.allow_loss, self.from.allow_loss),
        };
        let allow_loss = (SmolStr::new_static("price.allow_loss"), json!(allow_loss), loss_from);
        [
            nearest("min_revenue", &|it| it.min_revenue.map(|it| json!(it)), none.clone()),
            nearest("hourly", &hourly, none.clone()),
            nearest(
                "soft_min_revenue",
                &|it| it.soft_min_revenue.map(|it| json!(it)),
                none.clone(),
            ),
            nearest("min_margin", &margin, none),
            Effective::of(allow_loss),
        ]
    }
}

/// What a converted call comes to at a target: what its buyer owes, and its publisher is owed.
fn terms(publisher: &Publisher, campaign: &CampaignId, target: &Target) -> [Effective; 4] {
    let name = |setting: &str| format_smolstr!("terms.{}.{setting}", target.id);
    let of_target = target.conversion;
    let of_publisher = publisher.payouts.get(campaign);
    let money = |amount: Option<Money>| json!(amount.unwrap_or_default());
    let said = |is_said: bool, from| if is_said { from } else { Source::BuiltIn };
    let by_target = said(of_target.is_some(), Source::Target);
    let own_seconds = of_publisher.and_then(|it| it.seconds);
    let (payout_seconds, seconds_from) = match own_seconds {
        Some(seconds) => (Some(seconds), Source::Publisher),
        None => (of_target.map(|it| it.seconds), by_target),
    };
    // Without a conversion of its own the target's call counts with the payout.
    let (seconds, from) = match of_target {
        Some(conversion) => (Some(conversion.seconds), Source::Target),
        None => (own_seconds, said(own_seconds.is_some(), Source::Publisher)),
    };
    let payout = (money(of_publisher.map(|it| it.amount)), of_publisher.is_some());
    [
        (name("revenue"), money(of_target.map(|it| it.revenue)), by_target),
        (name("seconds"), json!(seconds), from),
        (name("payout"), payout.0, said(payout.1, Source::Publisher)),
        (name("payout_seconds"), json!(payout_seconds), seconds_from),
    ]
    .map(Effective::of)
}

impl Distribution {
    /// As it would be written.
    fn written(&self) -> DistributionConfig {
        match self {
            Self::Smooth => DistributionConfig::Smooth,
            Self::Random => DistributionConfig::Random,
            Self::Performance(rules) => DistributionConfig::Performance((**rules).clone()),
            Self::Scored(rules) => DistributionConfig::Scorer(ScoredConfig {
                scorer: SmolStr::clone(&rules.scorer.id),
                order: rules.order,
                times: rules.times,
                otherwise: match *rules.otherwise {
                    Self::Random => Otherwise::Random,
                    Self::Smooth | Self::Performance(_) | Self::Scored(_) => Otherwise::Smooth,
                },
            }),
        }
    }
}
