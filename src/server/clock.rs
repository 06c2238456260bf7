//! The only reader of time.

use nix::time::{ClockId, clock_gettime};

use crate::time::{Mono, Wall};

/// Now, on the clock that durations are measured with: `CLOCK_BOOTTIME` counts suspend and is not
/// stepped (spec/data §1.3).
pub fn mono() -> Mono {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    let nanos = now.tv_sec().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec());
    Mono(u64::try_from(nanos).unwrap_or(0))
}

/// Now, on the wall.
pub fn wall() -> Wall {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has CLOCK_REALTIME");
    Wall(now.tv_sec().saturating_mul(1000).saturating_add(now.tv_nsec() / 1_000_000))
}
