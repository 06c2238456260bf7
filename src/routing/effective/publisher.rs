//! Publishers, and the pools and numbers by which their callers come.

use serde_json::json;
use smol_str::format_smolstr;

use crate::id::{PoolId, PublisherId};
use crate::phone::PhoneNumber;
use crate::routing::config::Source;
use crate::routing::snapshot::{Pool, Publisher, RoutingSnapshot};

use super::Effective;

impl RoutingSnapshot {
    /// `None`: there is no such publisher.
    pub fn effective_publisher(&self, id: &PublisherId) -> Option<Vec<Effective>> {
        self.publisher(id).map(Publisher::effective)
    }

    /// `None`: there is no such pool.
    pub fn effective_pool(&self, id: &PoolId) -> Option<Vec<Effective>> {
        self.pool(id).map(Pool::effective)
    }

    /// Whose a number is, and by what. `None`: it belongs to no campaign.
    pub fn effective_number(&self, number: PhoneNumber) -> Option<Vec<Effective>> {
        let range = self.range(number)?;
        let pool = range.pool.map(|pool| &self.pools[pool]);
        let from_pool = if pool.is_some() { Source::Pool } else { Source::Own };
        let settings = [
            ("campaign", json!(self.campaigns[range.campaign].id), from_pool),
            ("publisher", json!(self.publishers[range.publisher].id), range.publisher_from),
            ("pool", json!(pool.map(|pool| &pool.id)), from_pool),
        ];
        let of_pool = pool.into_iter().flat_map(Pool::effective);
        Some(settings.map(Effective::of).into_iter().chain(of_pool).collect())
    }
}

impl Publisher {
    fn effective(&self) -> Vec<Effective> {
        let settings = [
            ("quota", json!(self.quota), self.quota_from),
            ("strict_pings", json!(self.strict_pings), self.strict_pings_from),
        ];
        let payouts = self.payouts.iter().map(|(campaign, payout)| {
            let value = json!({
                "amount": payout.amount,
                // Null: when the call converts for the buyer.
                "seconds": payout.seconds,
                "dedupe": payout.dedupe,
            });
            Effective::of((format_smolstr!("payouts.{campaign}"), value, Source::Own))
        });
        settings.map(Effective::of).into_iter().chain(payouts).collect()
    }
}

impl Pool {
    fn effective(&self) -> Vec<Effective> {
        let from = &self.from;
        let seconds = |duration: std::time::Duration| json!(duration.as_secs());
        let own = |is_said: bool| if is_said { Source::Own } else { Source::BuiltIn };
        let taken = self.taken_after.map(|it| it.as_secs());
        [
            ("session_ttl_s", seconds(self.session_ttl), from.session_ttl_s),
            ("quarantine_s", seconds(self.quarantine), from.quarantine_s),
            ("heartbeat_s", json!(self.heartbeat_s), from.heartbeat_s),
            (
                "closed_browser_delay_s",
                seconds(self.closed_browser_delay),
                from.closed_browser_delay_s,
            ),
            ("take_idle_after_s", json!(taken), own(taken.is_some())),
            ("overflow_number", json!(self.overflow), own(self.overflow.is_some())),
            ("number_cost", json!(self.number_cost), own(self.number_cost.is_some())),
        ]
        .map(Effective::of)
        .into()
    }
}
