//! The only reader of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

/// Where a shard has the time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    Machine,
    /// Set by a simulation.
    Set(Arc<SetClock>),
}

/// A clock that goes when it is told to.
#[derive(Debug, Default)]
pub struct SetClock {
    mono: AtomicU64,
    wall: AtomicI64,
}

impl Clock {
    pub fn mono(&self) -> Mono {
        match self {
            Self::Machine => mono(),
            Self::Set(clock) => Mono(clock.mono.load(Ordering::Relaxed)),
        }
    }

    pub fn wall(&self) -> Wall {
        match self {
            Self::Machine => wall(),
            Self::Set(clock) => Wall(clock.wall.load(Ordering::Relaxed)),
        }
    }
}

impl SetClock {
    pub fn set(&self, mono: Mono, wall: Wall) {
        self.mono.store(mono.0, Ordering::Relaxed);
        self.wall.store(wall.0, Ordering::Relaxed);
    }
}
