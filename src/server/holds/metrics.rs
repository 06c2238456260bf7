//! What is counted of the store.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::server::metrics::{
    CAP_OVERSHOOT, STORE_FAULTS, STORE_LATE, STORE_LOCAL, STORE_OTHERS, STORE_RESERVE, STORE_STATE,
    STORE_TOKENS, VIOLATIONS,
};
use crate::server::redis::StoreFault;

use super::shared::State;
use super::store::{Granted, NotGranted, Told};

pub(super) struct StoreMetrics {
    granted: Histogram,
    denied: Histogram,
    state: Gauge,
    tokens: Gauge,
    others: Gauge,
    late: Counter,
    overshoots: Counter,
}

impl StoreMetrics {
    pub(super) fn register() -> Self {
        Self {
            granted: histogram!(STORE_RESERVE, "outcome" => "granted"),
            denied: histogram!(STORE_RESERVE, "outcome" => "denied"),
            state: gauge!(STORE_STATE),
            tokens: gauge!(STORE_TOKENS),
            others: gauge!(STORE_OTHERS),
            late: counter!(STORE_LATE),
            overshoots: counter!(CAP_OVERSHOOT),
        }
    }

    pub(super) fn asked(&self, took: Duration, answer: &Result<Granted, NotGranted>) {
        match answer {
            Ok(_) => self.granted.record(took),
            Err(NotGranted::Full { .. }) => self.denied.record(took),
            Err(NotGranted::Ended | NotGranted::NotOpen | NotGranted::Fault(_)) => {}
        }
    }

    pub(super) fn fault(&self, fault: &StoreFault) {
        counter!(STORE_FAULTS, "kind" => fault.kind()).increment(1);
    }

    /// A call asked for room of our own.
    pub(super) fn local(&self, got_it: bool) {
        let outcome = if got_it { "granted" } else { "denied" };
        counter!(STORE_LOCAL, "outcome" => outcome).increment(1);
    }

    pub(super) fn told(&self, told: &Told) {
        let Told { late, overshoots, overdrawn, .. } = *told;
        self.late.increment(u64::from(late));
        if overshoots > 0 {
            self.overshoots.increment(overshoots.into());
            counter!(VIOLATIONS, "inv" => "I5").increment(overshoots.into());
            tracing::error!(overshoots, "late settlements took caps over their limits");
        }
        if overdrawn > 0 {
            counter!(VIOLATIONS, "inv" => "I9").increment(overdrawn.into());
            tracing::error!(overdrawn, "buyers were taken beyond their credit");
        }
    }

    pub(super) fn state(&self, state: State) {
        self.state.set(match state {
            State::Open => 0.0,
            State::Recovering => 1.0,
            State::Away => 2.0,
        });
    }

    pub(super) fn others(&self, parts: usize) {
        self.others.set(parts as f64);
    }

    pub(super) fn tokens(&self, tokens: usize) {
        self.tokens.set(tokens as f64);
    }
}
