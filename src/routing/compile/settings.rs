//! Settings that hold where nothing nearer says another.

use std::ops::RangeInclusive;

use super::Compiler;
use crate::routing::config::{RoutingConfig, Setting};

pub(super) const RING_TIMEOUT_S: RangeInclusive<u32> = 1..=300;
pub(super) const FIRST_RESPONSE_MS: RangeInclusive<u32> = 100..=32_000;
pub(super) const MAX_PDD_MS: RangeInclusive<u32> = 500..=120_000;
pub(super) const MAX_DURATION_S: RangeInclusive<u32> = 1..=86_400;
/// Final responses of SIP that are no answer.
pub(super) const FAILURES: RangeInclusive<u32> = 300..=699;
pub(super) const MAX_ATTEMPTS: RangeInclusive<u32> = 1..=20;
pub(super) const TOTAL_RING_BUDGET_S: RangeInclusive<u32> = 1..=600;
pub(super) const SESSION_TTL_S: RangeInclusive<u32> = 1..=super::WEEK_S;
pub(super) const TAKE_IDLE_AFTER_S: RangeInclusive<u32> = 60..=super::WEEK_S;
pub(super) const QUARANTINE_S: RangeInclusive<u32> = 0..=super::WEEK_S;
pub(super) const HEARTBEAT_S: RangeInclusive<u32> = 5..=3_600;
pub(super) const CLOSED_BROWSER_DELAY_S: RangeInclusive<u32> = 0..=super::WEEK_S;

impl Compiler<'_> {
    /// What is inherited is a fault where it is written.
    pub(super) fn setting<T: Copy + Into<u32>>(
        &mut self,
        path: &str,
        field: &str,
        setting: &Setting<T>,
        range: RangeInclusive<u32>,
    ) {
        if !setting.is_inherited() {
            self.within(path, field, (**setting).into(), range);
        }
    }

    /// Final responses that lead on, where they are written.
    pub(super) fn codes(&mut self, path: &str, field: &str, codes: Option<&[u16]>) {
        for (n, code) in codes.unwrap_or_default().iter().enumerate() {
            let place = format!("{field}[{n}]");
            self.within(path, &place, (*code).into(), FAILURES);
            if codes.is_some_and(|codes| codes[..n].contains(code)) {
                self.fault(path, &place, code, "is listed twice", "leave it out here");
            }
        }
    }

    pub(super) fn shared_settings(&mut self, config: &RoutingConfig) {
        let of_buyers = config.buyers.iter().enumerate().map(|(b, it)| {
            let settings =
                [it.ring_timeout_s, it.first_response_ms, it.max_pdd_ms, it.max_duration_s];
            (format!("buyers[{b}]"), settings)
        });
        let all = &config.defaults;
        let of_all =
            [all.ring_timeout_s, all.first_response_ms, all.max_pdd_ms, all.max_duration_s];
        for (b, buyer) in config.buyers.iter().enumerate() {
            self.codes(&format!("buyers[{b}]"), "next_way_on", buyer.next_way_on.as_deref());
        }
        for (path, settings) in of_buyers.chain([(String::from("defaults"), of_all)]) {
            let fields = [
                ("ring_timeout_s", RING_TIMEOUT_S),
                ("first_response_ms", FIRST_RESPONSE_MS),
                ("max_pdd_ms", MAX_PDD_MS),
                ("max_duration_s", MAX_DURATION_S),
            ];
            for ((field, range), value) in fields.into_iter().zip(settings) {
                if let Some(value) = value {
                    self.within(&path, field, value, range);
                }
            }
        }
        let path = "defaults";
        for (field, value, range) in [
            ("max_attempts", all.max_attempts.map(u32::from), MAX_ATTEMPTS),
            ("total_ring_budget_s", all.total_ring_budget_s, TOTAL_RING_BUDGET_S),
            ("session_ttl_s", all.session_ttl_s, SESSION_TTL_S),
            ("quarantine_s", all.quarantine_s, QUARANTINE_S),
            ("heartbeat_s", all.heartbeat_s, HEARTBEAT_S),
            ("closed_browser_delay_s", all.closed_browser_delay_s, CLOSED_BROWSER_DELAY_S),
        ] {
            if let Some(value) = value {
                self.within(path, field, value, range);
            }
        }
        self.codes(path, "advance_on", all.advance_on.as_deref());
        self.codes(path, "next_way_on", all.next_way_on.as_deref());
        if let Some(dedupe) = &all.dedupe {
            self.dedupe(path, dedupe);
        }
        if let Some(circuit) = &all.circuit {
            self.circuit(path, circuit);
        }
        if let Some(quota) = &all.quota {
            self.quota(path, quota);
        }
        if let Some(callers) = &all.callers {
            self.callers(path, callers);
        }
    }
}
