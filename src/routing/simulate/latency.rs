//! How long the caller of a call that is only thought of would wait, as far as anything is known of that.

use smol_str::{SmolStr, ToSmolStr};

use crate::id::TargetId;
use crate::routing::circuit::WaySeen;
use crate::routing::decision::Decision;
use crate::routing::dial::Way;
use crate::routing::snapshot::RoutingSnapshot;

/// Of the first way to the first target of a plan: what it lasted until calls over that way rang, and how
/// long this call would be given. All in milliseconds from the INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    pub target: TargetId,
    /// Absent: it is not watched, as that of a target which has no other and names no trunk.
    pub way: Option<SmolStr>,
    /// Within this half of the calls rang that did, an eighth too high at most; absent: none did in the
    /// window, or nobody looked.
    pub p50_ms: Option<u32>,
    /// The same of 99 of a hundred.
    pub p99_ms: Option<u32>,
    /// How far back that looks, seconds; absent: the way is not watched.
    pub window_s: Option<u32>,
    /// With no response at all by then, another way is gone, or the next target called…
    pub first_response_ms: u32,
    /// …if it does not ring by then too…
    pub max_pdd_ms: u32,
    /// …and if it is not answered by then the next target is called.
    pub ring_timeout_ms: u32,
    /// What all attempts of the call have together.
    pub ring_budget_ms: u32,
}

impl Latency {
    /// `seen` is what calls have shown of a way. `None`: nobody would be called.
    pub fn of(
        snapshot: &RoutingSnapshot,
        decision: &Decision,
        seen: impl FnOnce(&Way) -> Option<WaySeen>,
    ) -> Option<Self> {
        let first = decision.plan.first()?;
        let way = first.way.as_ref();
        let seen = way.and_then(seen).unwrap_or_default();
        Some(Self {
            target: first.target.clone(),
            way: way.map(ToSmolStr::to_smolstr),
            p50_ms: seen.p50_ms,
            p99_ms: seen.p99_ms,
            window_s: way.and_then(|way| snapshot.way_circuit(way)).map(|rules| rules.window_s),
            first_response_ms: first.first_response_ms,
            max_pdd_ms: first.max_pdd_ms,
            ring_timeout_ms: first.ring_timeout_ms,
            ring_budget_ms: decision.rules.total_ring_budget_ms,
        })
    }
}
