//! What a call has to bring: floors and margins (spec/domain §1F, features 43 and 44).

use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::money::Money;
use crate::reason::Reason;
use crate::time::Wall;

use super::config::{HourlyFloorConfig, MarginConfig};
use super::decision::Finding;
use super::hold::Stake;
use super::schedule::Schedule;
use super::snapshot::{Campaign, Publisher};

/// What a campaign or a publisher asks for; absent: it says nothing of that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceRules {
    pub min_revenue: Option<Money>,
    /// The first that is open goes before `min_revenue`.
    pub hourly: Option<Vec<HourlyFloor>>,
    pub soft_min_revenue: Option<Money>,
    pub min_margin: Option<MarginConfig>,
    pub allow_loss: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HourlyFloor {
    pub during: Arc<Schedule>,
    pub min_revenue: Money,
    /// The same, as it is written.
    pub(super) written: HourlyFloorConfig,
}

/// What one call has to bring. No less than the publisher is paid, and no later, unless that is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prices {
    min_revenue: Option<Money>,
    soft_min_revenue: Option<Money>,
    min_margin: Option<MarginConfig>,
    allow_loss: bool,
    /// Somebody has said something of it.
    pub(super) is_asked: bool,
}

impl Prices {
    /// Field by field what the publisher says, else what the campaign does.
    pub(super) fn of(publisher: &Publisher, campaign: &Campaign, at: Wall) -> Self {
        let both = [publisher.price.as_ref(), campaign.price.as_ref()];
        let is_asked = both != [None, None];
        let both = || both.into_iter().flatten();
        let hourly = both().find_map(|rules| rules.hourly.as_ref());
        let hourly = hourly.into_iter().flatten().find(|floor| floor.during.check(at).is_ok());
        let always = || both().find_map(|rules| rules.min_revenue);
        let allowed = publisher.price.as_ref().and_then(|rules| rules.allow_loss);
        Self {
            is_asked,
            min_revenue: hourly.map(|floor| floor.min_revenue).or_else(always),
            soft_min_revenue: both().find_map(|rules| rules.soft_min_revenue),
            min_margin: both().find_map(|rules| rules.min_margin),
            allow_loss: allowed.unwrap_or(campaign.allow_loss),
        }
    }

    /// Whether a target brings enough to be offered the call at all.
    pub(super) fn check(&self, stake: &Stake) -> Result<(), (Reason, Finding)> {
        let Stake { revenue, seconds, payout, payout_seconds, .. } = *stake;
        if let Some(least) = self.min_revenue.filter(|least| revenue < *least) {
            return Err((Reason::PriceBelowFloor, of_revenue(revenue, least)));
        }
        let margin = revenue - payout;
        let have = || format_smolstr!("a revenue of {revenue} and a payout of {payout}");
        if !self.allow_loss && margin < Money::ZERO {
            let want = "no loss".into();
            return Err((Reason::PriceLoss, finding(have(), want)));
        }
        if self.is_paid_too_soon(stake) {
            let have = format_smolstr!(
                "a revenue after {seconds} s and a payout after {payout_seconds} s"
            );
            return Err((Reason::PriceLoss, finding(have, "no payout before the revenue".into())));
        }
        if let Some(least) = self.min_margin.filter(|least| !leaves(margin, revenue, *least)) {
            let want = format_smolstr!("a margin of at least {least}");
            return Err((Reason::PriceMarginBelowMin, finding(have(), want)));
        }
        Ok(())
    }

    /// Nobody pays for a call that ends when the publisher is owed for it and the buyer does not owe yet.
    fn is_paid_too_soon(&self, stake: &Stake) -> bool {
        !self.allow_loss && stake.payout > Money::ZERO && stake.payout_seconds < stake.seconds
    }

    /// The same with a floor lower by so much.
    pub(super) fn lowered(self, by: Money) -> Self {
        Self { min_revenue: self.min_revenue.map(|least| least - by), ..self }
    }

    /// By how much, if nothing else is wrong with what a target brings.
    pub(super) fn is_floor_alone_too_high(&self, stake: &Stake) -> Option<Money> {
        let by = self.min_revenue? - stake.revenue;
        let is_enough = self.lowered(by).check(stake).is_ok() && by > Money::ZERO;
        is_enough.then_some(by)
    }

    /// The least that a target has to pay more to be offered the call; with `soft`, to be offered it
    /// like others. `None`: nothing is enough.
    pub(super) fn short_of(&self, stake: &Stake, soft: bool) -> Option<Money> {
        let Stake { revenue, payout, .. } = *stake;
        if self.is_paid_too_soon(stake) {
            return None;
        }
        let of_margin = match self.min_margin {
            None => Money(i64::MIN),
            Some(MarginConfig::Amount(least)) => payout + least,
            Some(MarginConfig::Percent(percent)) => {
                let whole = i128::from(100 * Money::UNIT);
                let left = whole - i128::from(percent.0);
                if left <= 0 {
                    return None;
                }
                let owed = i128::from(payout.0) * whole;
                let least = owed.div_euclid(left) + i128::from(owed.rem_euclid(left) > 0);
                Money(i64::try_from(least).ok()?.max(i64::from(percent.0 > 0)))
            }
        };
        let others = [
            self.min_revenue,
            self.soft_min_revenue.filter(|_| soft),
            (!self.allow_loss).then_some(payout),
        ];
        let least = others.into_iter().flatten().fold(of_margin, Money::max);
        (least > revenue).then(|| least - revenue)
    }

    /// Whether a target brings so little that it is only tried for want of others.
    pub(super) fn is_spare(&self, stake: &Stake) -> Option<Finding> {
        let least = self.soft_min_revenue.filter(|least| stake.revenue < *least)?;
        Some(of_revenue(stake.revenue, least))
    }
}

fn leaves(margin: Money, revenue: Money, least: MarginConfig) -> bool {
    match least {
        MarginConfig::Amount(least) => margin >= least,
        MarginConfig::Percent(percent) => {
            // Of no revenue no part is left.
            let part = i128::from(revenue.0) * i128::from(percent.0);
            let whole = i128::from(100 * Money::UNIT);
            i128::from(margin.0) * whole >= part && (revenue.0 > 0 || percent.0 <= 0)
        }
    }
}

fn of_revenue(revenue: Money, least: Money) -> Finding {
    finding(format_smolstr!("a revenue of {revenue}"), format_smolstr!("at least {least}"))
}

fn finding(have: SmolStr, want: SmolStr) -> Finding {
    Finding { have: Some(have.to_smolstr()), want: Some(want), ..Finding::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_what_is_left_of_the_revenue() {
        let is_left = |revenue: &str, payout: &str, least: &str| {
            let (revenue, payout): (Money, Money) =
                (revenue.parse().unwrap(), payout.parse().unwrap());
            leaves(revenue - payout, revenue, least.parse().unwrap())
        };
        assert!(is_left("40.00", "32.00", "20%"));
        assert!(!is_left("40.00", "32.000001", "20%"));
        assert!(is_left("40.00", "35.00", "5.00"));
        assert!(!is_left("40.00", "35.01", "5.00"));
        assert!(!is_left("0.00", "0.00", "1%"), "no part of nothing");
        assert!(is_left("0.00", "0.00", "0%") && is_left("0.00", "0.00", "0.00"));
        assert!(is_left("10.00", "11.00", "-10%"), "a loss of a tenth is allowed");
    }

    #[test]
    fn what_a_target_is_short_of_is_the_least_that_lets_it_pass() {
        let money = |text: &str| text.parse::<Money>().unwrap();
        for (rules, revenue, payout, short) in [
            ("min_revenue = '40.00'", "35.00", "0.00", Some("5.00")),
            ("allow_loss = false", "20.00", "24.00", Some("4.00")),
            ("min_margin = '5.00'", "20.00", "24.00", Some("9.00")),
            ("min_margin = '20%'", "20.00", "24.00", Some("10.00")),
            ("min_margin = '70%'", "20.00", "10.00", Some("13.333334")),
            ("min_margin = '1%'", "0.00", "0.00", Some("0.000001")),
            ("min_revenue = '21.00'\nmin_margin = '20%'", "20.00", "24.00", Some("10.00")),
            ("min_margin = '20%'", "30.00", "24.00", None),
            ("min_margin = '100%'", "30.00", "24.00", None),
        ] {
            let config: crate::routing::config::PriceConfig = toml::from_str(rules).unwrap();
            let prices = Prices {
                min_revenue: config.min_revenue,
                soft_min_revenue: None,
                min_margin: config.min_margin,
                allow_loss: config.allow_loss.unwrap_or(true),
                is_asked: true,
            };
            let (revenue, payout) = (money(revenue), money(payout));
            let (seconds, payout_seconds) = (90, 90);
            let stake = |revenue| Stake { revenue, seconds, payout, payout_seconds, talk_ms: 0 };
            let found = prices.short_of(&stake(revenue), false);
            assert_eq!(found, short.map(money), "{rules}");
            if let Some(short) = found {
                assert_eq!(prices.check(&stake(revenue + short)).map_err(|it| it.0), Ok(()));
                assert!(prices.check(&stake(revenue + short - Money(1))).is_err(), "{rules}");
                let late = Stake { seconds: 91, ..stake(revenue) };
                let is_loss = !prices.allow_loss && payout > Money::ZERO;
                let short = (!is_loss).then_some(short);
                assert_eq!(prices.short_of(&late, false), short, "{rules}: no sum is enough");
            }
        }
    }
}
