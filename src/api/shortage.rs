//! A limit without room, as explanations show it.

use serde::Serialize;
use smol_str::{SmolStr, ToSmolStr as _};
use utoipa::ToSchema;

use crate::routing::Usage;
use crate::routing::config::Percent;
use crate::routing::course::Shortage;
use crate::routing::shortage::FullLimit;
use crate::time::Wall;

/// A limit that had no room, as it stood when it was met. Amounts are numbers of calls, micros or
/// milliseconds, as it counts; of spacing `used` is the instant of the last attempt, in milliseconds
/// since 1970.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplainedShortage {
    /// Key of a cap or of concurrency.
    #[schema(value_type = String, example = "target/tgt_summit/connected/daily")]
    cap: SmolStr,
    /// What it counts: the metric of a cap, `concurrency`, `spacing` or `credit`; null: not known.
    #[schema(value_type = Option<String>, example = "connected")]
    metric: Option<&'static str>,
    /// The window of a cap, as it is written; null: it has none.
    #[schema(value_type = Option<String>, example = "daily")]
    window: Option<SmolStr>,
    #[schema(example = 80)]
    limit: u64,
    /// Committed: what has happened and counts.
    #[schema(example = 77)]
    used: u64,
    /// Reserved: by calls in flight that may still count, or by live calls.
    #[schema(example = 3)]
    held: u64,
    /// Of concurrency, the calls that are up as it counts them; else null.
    #[schema(example = json!(null))]
    live: Option<u64>,
    /// Of concurrency that is counted from the answer, the calls that ring; else null, or 0.
    #[schema(example = json!(null))]
    reserved: Option<u64>,
    /// Of a paced cap with `assumed_rate`: which part of the calls that held room was taken to come to
    /// count; null: all.
    #[schema(value_type = Option<String>, example = json!(null))]
    rate: Option<SmolStr>,
    /// Where that is `live`: from how many calls it was, of those that the cap counts; else null.
    #[schema(example = json!(null))]
    rate_calls: Option<u32>,
    /// When all of it is free again; null: not by the time alone, or bit by bit.
    #[schema(example = "2026-03-18T04:00:00.000Z")]
    resets_at: Option<String>,
}

impl From<FullLimit> for ExplainedShortage {
    fn from(full: FullLimit) -> Self {
        let (live, reserved) = full.live().unzip();
        Self {
            metric: Some(full.metric()),
            window: full.window(),
            live,
            reserved,
            rate: full.rate_ppm().map(|ppm| Percent(ppm).to_smolstr()),
            rate_calls: full.rate_calls(),
            resets_at: full.resets_at().map(Wall::to_rfc3339),
            limit: full.request.limit,
            used: full.usage.used,
            held: full.usage.held,
            cap: full.request.bucket.cap,
        }
    }
}

/// Of a limit that the plan knows nothing of.
impl From<Shortage> for ExplainedShortage {
    fn from(shortage: Shortage) -> Self {
        let Shortage { cap, limit, usage: Usage { used, held }, .. } = shortage;
        Self {
            cap,
            metric: None,
            window: None,
            limit,
            used,
            held,
            live: None,
            reserved: None,
            rate: None,
            rate_calls: None,
            resets_at: None,
        }
    }
}
