//! What holds for targets, campaigns, publishers, pools and numbers, and who said so.
//!
//! One rule for all: what is written nearest to where it holds goes first. A target goes before its buyer, a
//! tier before its plan, a number before its campaign, a publisher's price before its campaign's, each of
//! them before `[defaults]`, and that before what is built in. See [`Source`].

mod campaign;
mod publisher;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};

use crate::id::{TargetId, TrunkId};

use super::config::{CircuitConfig, Source, TargetConfig};
use super::duplicate::Dedupe;
use super::schedule::zone_name;
use super::snapshot::{RoutingSnapshot, Target, Trunk};

/// The value of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// As it is written, such as `ring_timeout_s`, or `tiers.1.distribution` of one of several.
    pub setting: SmolStr,
    /// As it is written; null: none.
    pub value: Value,
    pub from: Source,
}

/// Where a target's settings came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetSources {
    ring_timeout_s: Source,
    first_response_ms: Source,
    max_pdd_ms: Source,
    next_way_on: Source,
    ring_timeout_covers_progress: Source,
    max_duration_s: Source,
    pub(super) tables: InheritedTables,
}

/// Where its tables came from, and the zone of its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InheritedTables {
    pub(super) schedule: Source,
    pub(super) time_zone: Source,
    pub(super) dedupe: Source,
    pub(super) circuit: Source,
}

/// The same of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CampaignSources {
    pub(super) advance_on: Source,
    pub(super) max_attempts: Source,
    pub(super) total_ring_budget_s: Source,
    pub(super) min_match_confidence: Source,
    pub(super) callers: Source,
    pub(super) ping_filter: Source,
    pub(super) allow_loss: Source,
}

/// The same of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TierSources {
    pub(super) distribution: Source,
    pub(super) hold_share_s: Source,
}

/// And of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolSources {
    pub(super) session_ttl_s: Source,
    pub(super) quarantine_s: Source,
    pub(super) heartbeat_s: Source,
    pub(super) closed_browser_delay_s: Source,
}

impl Effective {
    fn of<S: Into<SmolStr>>((setting, value, from): (S, Value, Source)) -> Self {
        Self { setting: setting.into(), value, from }
    }
}

impl TargetSources {
    pub(super) fn of(config: &TargetConfig, tables: InheritedTables) -> Self {
        Self {
            ring_timeout_s: config.ring_timeout_s.from(),
            first_response_ms: config.first_response_ms.from(),
            max_pdd_ms: config.max_pdd_ms.from(),
            next_way_on: config.next_way_on.from(),
            ring_timeout_covers_progress: config.ring_timeout_covers_progress.from(),
            max_duration_s: config.max_duration_s.from(),
            tables,
        }
    }
}

impl TargetSources {
    /// Whose schedule it is, where it is not the target's own.
    pub(super) fn speaks_for(&self) -> Option<SmolStr> {
        let from = self.tables.schedule;
        (from != Source::Own).then(|| SmolStr::new_static(from.name()))
    }
}

impl RoutingSnapshot {
    /// `None`: there is no such target.
    pub fn effective_target(&self, id: &TargetId) -> Option<Vec<Effective>> {
        let target = self.target(id)?;
        let trunks = target.dials.iter().filter_map(|dial| dial.trunk.as_ref());
        let trunks: BTreeSet<_> = trunks.collect();
        let of_trunks = trunks.into_iter().flat_map(|id| {
            let said = self.trunks.get(id).into_iter().flat_map(Trunk::codes);
            said.map(move |(setting, codes)| {
                Effective::of((format_smolstr!("dial.{id}.{setting}"), codes, Source::Trunk))
            })
        });
        Some(target.effective(self.time_zone()).into_iter().chain(of_trunks).collect())
    }

    /// What routing goes by. `None`: there is no such trunk.
    pub fn effective_trunk(&self, id: &TrunkId) -> Option<Vec<Effective>> {
        let trunk = self.trunks.get(id)?;
        let circuit =
            Effective::of(("circuit", circuit(trunk.circuit.as_deref()), trunk.circuit_from));
        let codes = trunk.codes().map(|(setting, codes)| (setting, codes, Source::Own));
        Some([circuit].into_iter().chain(codes.map(Effective::of)).collect())
    }
}

impl Target {
    fn effective(&self, time_zone: &str) -> Vec<Effective> {
        let from = &self.from;
        let own_zone = self.schedule.as_ref().map(|schedule| zone_name(schedule.zone()));
        [
            ("ring_timeout_s", json!(self.ring_timeout_ms / 1_000), from.ring_timeout_s),
            ("first_response_ms", json!(self.first_response_ms), from.first_response_ms),
            ("max_pdd_ms", json!(self.max_pdd_ms), from.max_pdd_ms),
            ("next_way_on", json!(self.next_way_on), from.next_way_on),
            (
                "ring_timeout_covers_progress",
                json!(self.ring_timeout_covers_progress),
                from.ring_timeout_covers_progress,
            ),
            ("max_duration_s", json!(self.max_duration_ms / 1_000), from.max_duration_s),
            ("schedule", json!(self.written_schedule.as_deref()), from.tables.schedule),
            ("time_zone", json!(own_zone.unwrap_or(time_zone)), from.tables.time_zone),
            ("dedupe", self.dedupe.as_ref().map_or(Value::Null, written), from.tables.dedupe),
            ("circuit", circuit(self.circuit.as_deref()), from.tables.circuit),
        ]
        .map(Effective::of)
        .into()
    }
}

impl Trunk {
    /// The lists of final responses that it says itself.
    fn codes(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let said = [("next_way_on", &self.next_way_on), ("advance_on", &self.advance_on)];
        said.into_iter().filter_map(|(setting, codes)| Some((setting, json!(codes.as_ref()?))))
    }
}

/// Absent: it is switched off.
fn circuit(rules: Option<&CircuitConfig>) -> Value {
    rules.map_or_else(|| json!({ "enabled": false }), |rules| json!(rules))
}

fn written(dedupe: &Dedupe) -> Value {
    let Dedupe { after, by, window, campaigns } = dedupe;
    json!({ "after": after, "by": by, "window_s": window, "campaigns": campaigns })
}

#[cfg(test)]
mod tests;
