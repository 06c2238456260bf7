//! Whether a publisher is paid for a call that it may send whatever its caps on payouts say.

use crate::money::Money;
use crate::reason::NoPayout;

use super::decision::{Finding, Readings, Terms, UsageReading};
use super::hold::Stake;
use super::limits::{Bound, Windows};
use super::request::{Usage, UsageReader};
use super::shortage::FullLimit;
use super::snapshot::Publisher;

/// The terms without a payout if a cap of the publisher's that stops paying has no room for it, and
/// what was found then.
pub(super) fn settle<U: UsageReader + ?Sized>(
    terms: Option<Terms>,
    publisher: &Publisher,
    windows: &mut Windows<'_>,
    usage: &U,
    readings: &mut Readings,
) -> (Option<Terms>, Option<Finding>) {
    let Some(owed) = terms.filter(|terms| terms.payout > Money::ZERO) else {
        return (terms, None);
    };
    let stake = Stake::new(terms, 0);
    for cap in publisher.caps.iter().filter(|cap| cap.stops_paying) {
        let need = cap.need(cap.counts.room(&stake), windows, usage, readings);
        let Some(request) = need.map(|need| need.request) else { continue };
        let found = usage.usage(&request.bucket);
        if found != Usage::default() {
            let bucket = request.bucket.clone();
            readings.usage.push(UsageReading { bucket, usage: found, awaited: None });
        }
        if !request.admits(found, request.amount) {
            let full = FullLimit::new(request, found, Bound::Limit);
            let finding = Finding::full(Some(&cap.label), full);
            return (Some(owed.unpaid(NoPayout::PublisherCap)), Some(finding));
        }
    }
    (terms, None)
}
