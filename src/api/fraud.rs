//! What looks like fraud, of one call and of all calls of publishers and targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::error::Problem;
use super::openapi::faults;
use super::query::{Parameters, instant, malformed, parameter};
use super::router::Api;
use crate::cdr::fraud::duration::{Side, Spike, SpikeRules};
use crate::cdr::fraud::{Found, FraudReason, FraudSums, Scored, day_of};

const DAYS_BACK: i64 = 6;

/// How much something looks like fraud, and why. Nothing is refused for it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Fraud {
    /// 0 to 100: the sum of the points, 100 at most.
    #[schema(example = 40)]
    score: u8,
    /// Those that add the most first.
    reasons: Vec<FraudFound>,
}

/// Something that speaks for fraud.
#[derive(Debug, Serialize, ToSchema)]
struct FraudFound {
    #[schema(value_type = String, example = "velocity.caller")]
    reason: FraudReason,
    #[schema(example = 30)]
    points: u8,
    /// What that means.
    #[schema(example = "the caller calls more often of late than people do")]
    text: &'static str,
    /// What was found; null: there is no more to say.
    #[schema(value_type = Option<String>, example = "7.2")]
    have: Option<SmolStr>,
    /// What would not have been suspicious.
    #[schema(value_type = Option<String>, example = "5")]
    want: Option<SmolStr>,
}

/// What calls of publishers looked like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublisherFrauds {
    items: Vec<PublisherFraud>,
}

/// What calls of one publisher looked like.
#[derive(Debug, Serialize, ToSchema)]
struct PublisherFraud {
    /// Null: calls that are nobody's.
    #[schema(value_type = Option<String>, example = "pub_brightpath")]
    publisher: Option<SmolStr>,
    /// Calls that were scored.
    #[schema(example = 812)]
    calls: u64,
    /// Of those with a score of 50 or more.
    #[schema(example = 9)]
    high: u64,
    /// Calls by what spoke for fraud; shares of all of them.
    reasons: Vec<FraudShare>,
    /// When its callers hung up, around the payout.
    durations: FraudDurations,
}

/// How many calls something spoke against.
#[derive(Debug, Serialize, ToSchema)]
struct FraudShare {
    #[schema(value_type = String, example = "velocity.caller")]
    reason: FraudReason,
    #[schema(example = 12)]
    calls: u64,
    /// In per cent of all calls, rounded down.
    #[schema(example = 1)]
    percent: u64,
}

/// What calls of targets looked like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetFrauds {
    items: Vec<TargetFraud>,
}

/// What calls of one target looked like.
#[derive(Debug, Serialize, ToSchema)]
struct TargetFraud {
    #[schema(value_type = String, example = "tgt_summit")]
    target: SmolStr,
    /// When it hung up, around the instant from which on its buyer owes.
    durations: FraudDurations,
}

/// When calls ended around the instant from which on they are worth money.
#[derive(Debug, Serialize, ToSchema)]
struct FraudDurations {
    /// Calls by `fraud.bin_s` seconds, the earliest first; the first half ended before that instant.
    #[schema(value_type = Vec<u64>, example = json!([3, 2, 4, 3, 2, 3, 41, 3, 2, 2, 1, 2]))]
    bins: Vec<u64>,
    /// In all of them.
    #[schema(example = 68)]
    calls: u64,
    /// In the bin that is watched: just past the payout for a publisher, just short of owing for a target.
    #[schema(example = 41)]
    here: u64,
    /// In the fuller one of its neighbours.
    #[schema(example = 3)]
    beside: u64,
    /// Whether that is more than chance makes of so many calls.
    #[schema(example = true)]
    suspicious: bool,
}

faults!(ReportFaults: QueryUnknown, QueryRepeated, QueryMalformed, StoreUnavailable);

/// Show what calls of publishers look like
///
/// By whole days of UTC on which calls were admitted; without any asked for, of the last seven. A call counts
/// once it is over and scored, half a second or so later. Nothing is refused for a score.
#[utoipa::path(
    get,
    path = "/v1/fraud/publishers",
    operation_id = "list_publisher_fraud",
    tag = "calls",
    params(Days),
    responses((status = 200, description = "The publishers", body = PublisherFrauds), ReportFaults),
)]
pub(super) async fn publishers(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<Json<PublisherFrauds>, Problem> {
    let sums = api.fraud_of(Side::Publisher, &uri).await?;
    let spikes = &api.services.spikes;
    let items = sums.into_iter().map(|(publisher, sums)| PublisherFraud {
        publisher: (!publisher.is_empty()).then_some(publisher),
        calls: sums.calls,
        high: sums.high,
        durations: FraudDurations::new(Side::Publisher, &sums, spikes),
        reasons: shares(&sums),
    });
    Ok(Json(PublisherFrauds { items: items.collect() }))
}

/// Show when targets hang up
///
/// Around the instant from which on their buyers owe for a call. By days as for publishers.
#[utoipa::path(
    get,
    path = "/v1/fraud/targets",
    operation_id = "list_target_fraud",
    tag = "calls",
    params(Days),
    responses((status = 200, description = "The targets", body = TargetFrauds), ReportFaults),
)]
pub(super) async fn targets(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<Json<TargetFrauds>, Problem> {
    let sums = api.fraud_of(Side::Target, &uri).await?;
    let items = sums.into_iter().map(|(target, sums)| TargetFraud {
        durations: FraudDurations::new(Side::Target, &sums, &api.services.spikes),
        target,
    });
    Ok(Json(TargetFrauds { items: items.collect() }))
}

impl Api {
    async fn fraud_of(
        &self,
        side: Side,
        uri: &Uri,
    ) -> Result<BTreeMap<SmolStr, FraudSums>, Problem> {
        let mut given = Parameters::read(uri)?;
        let from = given.take_with("from", instant)?;
        let to = given.take_with("to", instant)?;
        given.finish()?;
        let to = day_of(to.unwrap_or_else(|| self.services.routing.now()));
        let from = from.map_or(to - DAYS_BACK, day_of);
        if to < from {
            return Err(malformed("to", "must not be before `from`"));
        }
        Ok(self.services.scores.sums(side, from, to).await?)
    }
}

impl From<Scored> for Fraud {
    fn from(scored: Scored) -> Self {
        let found = |Found { reason, points, have, want }: Found| FraudFound {
            reason,
            points,
            text: reason.text(),
            have,
            want,
        };
        Self { score: scored.score, reasons: scored.reasons.into_iter().map(found).collect() }
    }
}

impl FraudDurations {
    fn new(side: Side, sums: &FraudSums, rules: &SpikeRules) -> Self {
        let Spike { calls, here, beside, is_suspicious } = side.spike(&sums.bins, rules);
        Self { bins: sums.bins.to_vec(), calls, here, beside, suspicious: is_suspicious }
    }
}

fn shares(sums: &FraudSums) -> Vec<FraudShare> {
    let share = |(reason, calls): (&FraudReason, &u64)| FraudShare {
        reason: *reason,
        calls: *calls,
        percent: calls.saturating_mul(100) / sums.calls.max(1),
    };
    sums.by_reason.iter().map(share).collect()
}

/// Which days.
pub(super) struct Days;

impl utoipa::IntoParams for Days {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = |name: &str, example: &str, description: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
            parameter(name, description, schema)
        };
        vec![
            text("from", "2026-03-11T00:00:00Z", "The first day; left out: six before the last"),
            text("to", "2026-03-17T00:00:00Z", "The last day, which counts too; left out: today"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fraud::duration::SIDE;

    #[test]
    fn shares_are_of_all_calls_and_the_watched_bin_is_told() {
        let mut sums = FraudSums { calls: 300, high: 2, ..FraudSums::default() };
        sums.by_reason = [(FraudReason::ShortCall, 7)].into();
        (sums.bins[SIDE], sums.bins[SIDE - 1]) = (90, 10);
        let rules = SpikeRules { min_calls: 50, deviations: 4 };

        let told = shares(&sums);
        let durations = FraudDurations::new(Side::Publisher, &sums, &rules);

        assert_eq!((told[0].calls, told[0].percent), (7, 2));
        assert_eq!((durations.calls, durations.here, durations.beside), (100, 90, 10));
        assert!(durations.suspicious);
        assert!(!FraudDurations::new(Side::Target, &sums, &rules).suspicious);
    }
}
