//! Limits that a decision did not come to look at.

use crate::money::Money;
use crate::routing::decision::{Decision, Readings, UsageReading};
use crate::routing::hold::{Counts, Stake};
use crate::routing::limits::Need;
use crate::routing::request::{RouteRequest, UsageReader};
use crate::routing::snapshot::{CallScope, RoutingSnapshot};

use super::refused;

/// A call that counts in whatever counts calls, money and talk.
const ANY: Stake =
    Stake { revenue: Money(1), seconds: 0, payout: Money(1), payout_seconds: 0, talk_ms: 1 };

/// How full the limits are that stand between the call and the targets it is not to be offered to, those that
/// are empty too. A decision stops at the first check that fails, and has not read the rest.
pub fn besides<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    decision: &Decision,
    usage: &U,
) -> Readings {
    let mut readings = Readings::default();
    let Some(attribution) = &decision.attribution else { return readings };
    let limits = snapshot.call_limits(&CallScope {
        campaign: attribution.campaign.clone(),
        publisher: attribution.publisher.clone(),
        trunk: request.trunk.clone(),
        number: request.dialed,
    });
    let mut windows = snapshot.windows(request.at);
    let mut needs = vec![];
    for target in refused(snapshot, decision) {
        target.needs(&limits, &ANY, &mut windows, usage, &mut readings, &mut needs);
        readings.read(needs.drain(..), usage);
    }
    let offered = limits.caps().filter(|cap| cap.counts == Counts::Offered);
    for cap in offered {
        needs.extend(cap.need(1, &mut windows, usage, &mut readings));
    }
    let withheld = needs.iter().map(|need| &need.request.bucket);
    readings.withheld.extend(withheld.filter(|bucket| usage.withheld(bucket)).cloned());
    readings.read(needs.drain(..), usage);
    readings
}

impl Readings {
    fn read<'a, U: UsageReader + ?Sized>(
        &mut self,
        needs: impl Iterator<Item = Need<'a>>,
        usage: &U,
    ) {
        self.usage.extend(needs.map(|Need { request, .. }| {
            let awaited = Some(usage.awaited(&request.bucket)).filter(|awaited| *awaited > 0);
            let (bucket, usage) = (request.bucket.clone(), usage.usage(&request.bucket));
            UsageReading { bucket, usage, awaited }
        }));
    }

    /// What was read of limits besides.
    pub(super) fn add(&mut self, besides: &Self) {
        self.usage.extend_from_slice(&besides.usage);
        self.ready.extend_from_slice(&besides.ready);
        self.rates.extend_from_slice(&besides.rates);
        self.withheld.extend_from_slice(&besides.withheld);
    }
}
