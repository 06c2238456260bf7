//! What is counted of the store.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::server::metrics::{
    SESSION_CACHE_CHANGES, SESSION_CACHE_DROPS, SESSION_CACHE_READS, SESSION_STORE_APART,
    SESSION_STORE_CONFLICTS, SESSION_STORE_FAULTS, SESSION_STORE_LEND, SESSION_STORE_LOCAL,
    SESSION_STORE_LOOKUP, SESSION_STORE_STATE,
};
use crate::server::redis::StoreFault;

use super::shared::State;

pub(super) struct StoreMetrics {
    lookup: Histogram,
    lend: Histogram,
    state: Gauge,
    apart: Gauge,
    conflicts: Counter,
}

/// What is kept of the store.
#[derive(Debug)]
pub(super) struct CacheMetrics {
    hits: Counter,
    misses: Counter,
    changes: Counter,
}

/// Why nothing counts any more that was kept of a server of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The connection on which it says what changes is lost.
    ConnectionLost,
    Emptied,
}

/// What this server did by itself, for the store did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    Lookup,
    Number,
    NoNumber,
}

impl CacheMetrics {
    pub(super) fn register() -> Self {
        let reads = |result: &'static str| counter!(SESSION_CACHE_READS, "result" => result);
        Self { hits: reads("hit"), misses: reads("miss"), changes: counter!(SESSION_CACHE_CHANGES) }
    }

    pub(super) fn hit(&self) {
        self.hits.increment(1);
    }

    pub(super) fn missed(&self) {
        self.misses.increment(1);
    }

    pub(super) fn changed(&self) {
        self.changes.increment(1);
    }
}

impl Dropped {
    pub(super) fn count(self) {
        let reason = match self {
            Self::ConnectionLost => "connection_lost",
            Self::Emptied => "emptied",
        };
        counter!(SESSION_CACHE_DROPS, "reason" => reason).increment(1);
    }
}

impl StoreMetrics {
    pub(super) fn register() -> Self {
        Self {
            lookup: histogram!(SESSION_STORE_LOOKUP),
            lend: histogram!(SESSION_STORE_LEND),
            state: gauge!(SESSION_STORE_STATE),
            apart: gauge!(SESSION_STORE_APART),
            conflicts: counter!(SESSION_STORE_CONFLICTS),
        }
    }

    pub(super) fn looked_up(&self, took: Duration) {
        self.lookup.record(took);
    }

    pub(super) fn lent(&self, took: Duration) {
        self.lend.record(took);
    }

    pub(super) fn fault(&self, fault: &StoreFault) {
        counter!(SESSION_STORE_FAULTS, "kind" => fault.kind()).increment(1);
    }

    pub(super) fn local(&self, what: Local) {
        let what = match what {
            Local::Lookup => "lookup",
            Local::Number => "number",
            Local::NoNumber => "no_number",
        };
        counter!(SESSION_STORE_LOCAL, "what" => what).increment(1);
    }

    pub(super) fn conflict(&self) {
        self.conflicts.increment(1);
    }

    pub(super) fn state(&self, state: State) {
        self.state.set(match state {
            State::Open => 0.0,
            State::Recovering => 1.0,
            State::Away => 2.0,
        });
    }

    pub(super) fn apart(&self, numbers: usize) {
        self.apart.set(numbers as f64);
    }
}
