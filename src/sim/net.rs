//! A network that delays, loses, repeats and reorders, and the agenda of a world whose time is a
//! number.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Mono;
use fastrand::Rng;

use super::faults::{Fault, Faults};

/// What a network does to each message, by chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Every message takes between these; a wide span reorders.
    pub(crate) delay_ms: (u64, u64),
    /// Of a thousand messages, how many are lost.
    pub(crate) lost: u32,
    /// Of a thousand messages, how many arrive twice.
    pub(crate) repeated: u32,
    /// Of a thousand messages, how many are overtaken by all that follow within half a second.
    pub(crate) late: u32,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { delay_ms: (1, 1), lost: 0, repeated: 0, late: 0 };

    /// From a cable to a storm, as far as these faults allow.
    pub(crate) fn of_the_day(rng: &mut Rng, faults: Faults) -> Self {
        let day = match rng.u8(..6) {
            0 => Self::FAIR,
            1 => Self { delay_ms: (5, 60), ..Self::FAIR },
            2 => Self { delay_ms: (10, 30), lost: 10, repeated: 10, late: 10 },
            3 => Self { delay_ms: (0, 200), lost: 20, repeated: 50, late: 50 },
            4 => Self { delay_ms: (20, 400), lost: 100, repeated: 100, late: 100 },
            _ => Self { delay_ms: (0, 50), lost: 300, repeated: 20, late: 20 },
        };
        let (_, most) = day.delay_ms;
        let unless = |fault, count| if faults.has(fault) { count } else { 0 };
        Self {
            delay_ms: match (faults.has(Fault::Delay), faults.has(Fault::Reorder)) {
                (false, false) => Self::FAIR.delay_ms,
                (false, true) => (0, 5),
                (true, false) => (most, most),
                (true, true) => day.delay_ms,
            },
            lost: unless(Fault::Loss, day.lost),
            repeated: unless(Fault::Dup, day.repeated),
            late: unless(Fault::Reorder, day.late),
        }
    }

    /// How long each copy of a message takes that arrives: none, one or two.
    pub(crate) fn carry(&self, rng: &mut Rng) -> impl Iterator<Item = Duration> + use<> {
        let mut delay = || {
            let (least, most) = self.delay_ms;
            let late = if rng.u32(..1000) < self.late { rng.u64(100..500) } else { 0 };
            Duration::from_micros(rng.u64(least * 1000..=most * 1000) + late * 1000)
        };
        let (first, second) = (delay(), delay());
        let lost = rng.u32(..1000) < self.lost;
        let repeated = rng.u32(..1000) < self.repeated;
        [(!lost).then_some(first), repeated.then_some(second)].into_iter().flatten()
    }
}

/// What happens when; what is due at the same time happens in the order it was noted.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    entries: BTreeMap<(Mono, u64), T>,
    noted: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { entries: BTreeMap::new(), noted: 0 }
    }

    pub(crate) fn note(&mut self, at: Mono, what: T) {
        self.noted += 1;
        self.entries.insert((at, self.noted), what);
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.entries.pop_first().map(|(_, what)| what)
    }
}
