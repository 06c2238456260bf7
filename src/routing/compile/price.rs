//! Floors and margins of campaigns and publishers.

use crate::routing::config::{MarginConfig, PriceConfig};
use crate::routing::price::{HourlyFloor, PriceRules};

use super::Compiler;

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
                Some(HourlyFloor { during, min_revenue: floor.min_revenue })
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
}
