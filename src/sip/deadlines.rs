//! When to look at what next: a hierarchical timing wheel.
//!
//! Machines name their deadline and never start or cancel a timer. Whoever owns a machine arms the
//! wheel when the machine's deadline comes before the one already armed; an entry that fires too
//! early finds a later deadline and is armed again. So there is about one entry per machine, and
//! nothing is ever searched for or removed.

use crate::time::Mono;

/// Nanoseconds of one tick as a power of two: 2²² ns, about 4.2 ms.
const TICK_SHIFT: u32 = 22;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Five levels of 64 slots reach 52 days; later deadlines wait in the last slot they fit.
const LEVELS: usize = 5;

#[derive(Debug)]
pub struct Deadlines<K> {
    /// Everything up to and including this tick has fired.
    elapsed: u64,
    levels: [Level<K>; LEVELS],
    due: Vec<K>,
}

#[derive(Debug)]
struct Level<K> {
    occupied: u64,
    slots: Vec<Vec<Entry<K>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    tick: u64,
    key: K,
}

struct Expiration {
    level: usize,
    slot: usize,
    tick: u64,
}

impl<K: Copy> Deadlines<K> {
    pub fn new(now: Mono) -> Self {
        let level = || Level { occupied: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() };
        Self {
            elapsed: now.0 >> TICK_SHIFT,
            levels: std::array::from_fn(|_| level()),
            due: Vec::new(),
        }
    }

    /// Asks for `key` at `deadline`, up to one tick later, never earlier.
    pub fn arm(&mut self, deadline: Mono, key: K) {
        let tick = deadline.0.saturating_add((1 << TICK_SHIFT) - 1) >> TICK_SHIFT;
        self.insert(Entry { tick, key });
    }

    /// How many deadlines are armed. Looks into every slot: for a look now and then.
    pub fn armed(&self) -> usize {
        let slots = self.levels.iter().flat_map(|level| &level.slots);
        self.due.len() + slots.map(Vec::len).sum::<usize>()
    }

    /// The next time [`Deadlines::pop`] may have something; `None` when nothing is armed.
    pub fn next(&self) -> Option<Mono> {
        if !self.due.is_empty() {
            return Some(Mono(self.elapsed << TICK_SHIFT));
        }
        self.next_expiration().map(|at| Mono(at.tick << TICK_SHIFT))
    }

    /// Takes one key whose deadline has come.
    pub fn pop(&mut self, now: Mono) -> Option<K> {
        let now_tick = now.0 >> TICK_SHIFT;
        while self.due.is_empty() {
            let at = self.next_expiration().filter(|at| at.tick <= now_tick);
            let Some(Expiration { level, slot, tick }) = at else {
                self.elapsed = self.elapsed.max(now_tick);
                return None;
            };
            self.elapsed = self.elapsed.max(tick);
            self.levels[level].occupied &= !(1 << slot);
            let mut entries = std::mem::take(&mut self.levels[level].slots[slot]);
            for entry in entries.drain(..) {
                if entry.tick <= self.elapsed {
                    self.due.push(entry.key);
                } else {
                    self.insert(entry);
                }
            }
            // Gives the slot its buffer back, unless an entry came around to the same slot.
            if self.levels[level].slots[slot].is_empty() {
                self.levels[level].slots[slot] = entries;
            }
        }
        self.due.pop()
    }

    fn insert(&mut self, entry: Entry<K>) {
        if entry.tick <= self.elapsed {
            self.due.push(entry.key);
            return;
        }
        let reach = 1_u64 << (SLOT_BITS * LEVELS as u32);
        let tick = entry.tick.min(self.elapsed.saturating_add(reach - 1));
        let differs = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (((63 - differs.leading_zeros()) / SLOT_BITS) as usize).min(LEVELS - 1);
        let slot = (tick >> (level as u32 * SLOT_BITS)) as usize & (SLOTS - 1);
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].push(entry);
    }

    /// The occupied slot that comes first: levels are ordered, so the lowest occupied one holds it.
    fn next_expiration(&self) -> Option<Expiration> {
        for (level, Level { occupied, .. }) in self.levels.iter().enumerate() {
            if *occupied == 0 {
                continue;
            }
            let shift = level as u32 * SLOT_BITS;
            let here = (self.elapsed >> shift) as u32 & (SLOTS as u32 - 1);
            let ahead = occupied.rotate_right(here).trailing_zeros();
            let slot = (here + ahead) as usize & (SLOTS - 1);
            let lap = 1_u64 << (shift + SLOT_BITS);
            let start = self.elapsed & !(lap - 1);
            let mut tick = start + ((slot as u64) << shift);
            if tick < self.elapsed && ahead > 0 {
                tick += lap;
            }
            return Some(Expiration { level, slot, tick: tick.max(self.elapsed) });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1 << TICK_SHIFT;

    #[test]
    fn what_is_due_comes_in_time_and_not_before() {
        let mut deadlines = Deadlines::new(Mono(0));
        deadlines.arm(Mono(0) + Duration::from_millis(500), 'a');
        deadlines.arm(Mono(0) + Duration::from_secs(32), 'b');

        assert_eq!(deadlines.pop(Mono(0) + Duration::from_millis(499)), None);
        assert_eq!(deadlines.pop(Mono(0) + Duration::from_millis(505)), Some('a'));
        assert_eq!(deadlines.pop(Mono(0) + Duration::from_millis(31_999)), None);
        assert_eq!(deadlines.pop(Mono(0) + Duration::from_millis(32_005)), Some('b'));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut deadlines = Deadlines::new(Mono(9 * TICK));
        deadlines.arm(Mono(0), 'a');

        assert_eq!(deadlines.next(), Some(Mono(9 * TICK)));
        assert_eq!(deadlines.pop(Mono(9 * TICK)), Some('a'));
    }

    proptest! {
        /// Against a sorted list: each key fires once, at the first look after its deadline.
        #[test]
        fn agrees_with_a_sorted_list(
            start in 0_u64..1 << 40,
            spans in prop::collection::vec(0_u64..1 << 46, 1..60),
        ) {
            let mut wheel = Deadlines::new(Mono(start));
            for (key, span) in spans.iter().enumerate() {
                wheel.arm(Mono(start + span), key);
            }
            let mut left: Vec<usize> = (0..spans.len()).collect();
            while let Some(now) = wheel.next() {
                while let Some(key) = wheel.pop(now) {
                    let deadline = start + spans[key];
                    prop_assert!(now.0 + TICK > deadline && now.0 >= (deadline >> TICK_SHIFT) << TICK_SHIFT);
                    prop_assert!(now.0 < deadline + 2 * TICK);
                    left.retain(|k| *k != key);
                }
            }
            prop_assert_eq!(left, Vec::<usize>::new());
        }
    }
}
