//! What a field is when it is not written (spec/domain §2.3, §2.5, §2.11).

use super::Setting;
use crate::routing::dial::Failover;

pub(super) fn ring_timeout_s() -> Setting<u32> {
    Setting::built_in(30)
}

pub(super) fn first_response_ms() -> Setting<u32> {
    Setting::built_in(1_500)
}

pub(super) fn max_pdd_ms() -> Setting<u32> {
    Setting::built_in(8_000)
}

pub(super) fn max_duration_s() -> Setting<u32> {
    Setting::built_in(14_400)
}

pub(super) fn advance_on() -> Setting<Vec<u16>> {
    Setting::built_in(vec![403, 404, 408, 480, 486, 500, 502, 503, 504, 600, 603])
}

pub(super) fn next_way_on() -> Setting<Vec<u16>> {
    Setting::built_in(Failover::NEXT_WAY_ON.to_vec())
}

pub(super) fn max_attempts() -> Setting<u16> {
    Setting::built_in(3)
}

pub(super) fn total_ring_budget_s() -> Setting<u32> {
    Setting::built_in(60)
}

pub(super) fn tier() -> i32 {
    1
}

pub(super) fn weight() -> u32 {
    100
}

pub(super) fn session_ttl_s() -> Setting<u32> {
    Setting::built_in(1_800)
}

pub(super) fn quarantine_s() -> Setting<u32> {
    Setting::built_in(900)
}

pub(super) fn heartbeat_s() -> Setting<u32> {
    Setting::built_in(60)
}

pub(super) fn closed_browser_delay_s() -> Setting<u32> {
    Setting::built_in(300)
}
