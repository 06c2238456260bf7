//! Pools that have no number left, or will have none at times: measured, and told to people.

use std::collections::BTreeSet;

use metrics::gauge;

use crate::id::PoolId;
use crate::routing::ping::PoolState;
use crate::routing::snapshot::Pool;

use super::deciding::Deciding;
use super::{clock, metrics as names};

/// Which pools people have been told of.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    told: BTreeSet<PoolId>,
    /// That they have too few numbers.
    told_short: BTreeSet<PoolId>,
}

impl Shortages {
    /// Looks at every pool. One that is empty is told once, until a number is free again; one that has fewer
    /// numbers than it should once, until it has enough, also if it was told empty before that was known.
    pub(super) fn look(&mut self, deciding: &Deciding) {
        let snapshot = deciding.snapshot();
        let states = deciding.pools(clock::wall());
        for told in [&mut self.told, &mut self.told_short] {
            told.retain(|id| snapshot.pool(id).is_some());
        }
        for (pool, state) in snapshot.pools().iter().zip(states) {
            publish(pool, &state);
            let (is_empty, is_short) = (state.numbers.free == 0, state.missing() > 0);
            let is_new = |told: &mut BTreeSet<PoolId>, is_so: bool| match is_so {
                true => told.insert(pool.id.clone()),
                false => {
                    told.remove(&pool.id);
                    false
                }
            };
            let is_newly_empty = is_new(&mut self.told, is_empty);
            let is_newly_short = is_new(&mut self.told_short, is_short);
            match (is_newly_empty, is_newly_short) {
                (true, _) => tell(pool, &state, EMPTY),
                (false, true) => tell(pool, &state, SHORT),
                (false, false) => {}
            }
        }
    }
}

fn publish(pool: &Pool, state: &PoolState) {
    let PoolState { numbers, sharing, demand } = state;
    let id = pool.id.to_string();
    let by_state =
        [("free", numbers.free), ("leased", numbers.leased), ("resting", numbers.quarantined)];
    for (word, count) in by_state {
        gauge!(names::POOL_NUMBERS, "pool" => id.clone(), "state" => word).set(count as f64);
    }
    gauge!(names::POOL_NEEDED, "pool" => id.clone()).set(demand.suggested_size as f64);
    gauge!(names::POOL_MISSES, "pool" => id.clone()).set(demand.missed as f64);
    let missing = state.missing();
    gauge!(names::POOL_MISSING, "pool" => id.clone()).set(missing as f64);
    if let Some(cost) = pool.cost_of(missing) {
        gauge!(names::POOL_MISSING_COST, "pool" => id.clone()).set(cost.0 as f64);
    }
    gauge!(names::POOL_SHARING, "pool" => id).set(*sharing as f64);
}

const EMPTY: &str = "a pool has no number left: sessions are shown its overflow number, or none";
const SHORT: &str = "a pool has fewer numbers than it needs: it will have none left at times";

fn tell(pool: &Pool, state: &PoolState, what: &str) {
    let missing = state.missing();
    let cost = pool.cost_of(missing).map(|cost| cost.to_string());
    tracing::warn!(
        pool.id = %pool.id,
        numbers = pool.numbers.len(),
        missed_24h = state.demand.missed,
        missing,
        monthly_cost_of_missing = cost.as_deref().unwrap_or("unknown"),
        "{what}"
    );
}
