//! Caps that an operator has begin anew within their window.
//!
//! What had been used is not taken back: each part of it gets a level, and only what goes beyond its
//! level counts. Levels do not fall, unless what lies below them is taken back, and parts are told with
//! theirs. So whoever hears of a reset twice, or of two at once, comes to the same; and one who has
//! forgotten what was used is no freer for knowing its level. What is held stays held.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::Bucket;
use crate::time::Wall;

/// A cap began anew in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// As it is stored: of a rolling window without a slice.
    pub bucket: Bucket,
    /// When the window is over; absent: never.
    pub ends_at: Option<Wall>,
    pub at: Wall,
    /// The name of the key that asked for it.
    pub by: SmolStr,
    pub why: SmolStr,
    /// By which the same request is known again; absent: by nothing.
    pub key: Option<SmolStr>,
    /// What had counted until then and does not any more, in the unit of the cap.
    pub amount: u64,
    pub parts: Vec<ResetPart>,
}

/// What one server had used, or used in one slice of a rolling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetPart {
    /// Absent: this server.
    pub node: Option<SmolStr>,
    /// Absent: the window does not roll.
    pub slice: Option<i64>,
    /// Up to here nothing counts.
    pub level: u64,
}

/// The latest of each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    latest: BTreeMap<Bucket, Reset>,
}

/// How long one is known after the end of its window: a clock that was ahead is set back.
const KEPT_AFTER_END_MS: i64 = 2 * 3_600_000;

impl Resets {
    pub fn of(&self, bucket: &Bucket) -> Option<&Reset> {
        self.latest.get(bucket.stored().0.as_ref())
    }

    pub fn all(&self) -> impl Iterator<Item = &Reset> {
        self.latest.values()
    }

    /// Notes one. Of two the later one stays, with the levels of both.
    pub(super) fn note(&mut self, reset: &Reset) {
        let Some(known) = self.latest.get_mut(&reset.bucket) else {
            self.latest.insert(reset.bucket.clone(), reset.clone());
            return;
        };
        let mut levels: BTreeMap<_, u64> = BTreeMap::new();
        for ResetPart { node, slice, level } in known.parts.iter().chain(&reset.parts) {
            let known = levels.entry((node.clone(), *slice)).or_default();
            *known = (*level).max(*known);
        }
        let levels = levels.into_iter();
        let parts = levels.map(|((node, slice), level)| ResetPart { node, slice, level }).collect();
        if (known.at, &known.key) < (reset.at, &reset.key) {
            *known = reset.clone();
        }
        known.parts = parts;
    }

    pub(super) fn forget(&mut self, now: Wall) {
        self.latest.retain(|_, reset| {
            reset.ends_at.is_none_or(|ends| now.0 < ends.0.saturating_add(KEPT_AFTER_END_MS))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_resets_the_later_is_known_with_the_levels_of_both_in_whatever_order_they_come() {
        let first = reset(10, &[(Some("2"), 7), (None, 5)]);
        let second = reset(20, &[(None, 3), (Some("3"), 1)]);
        for order in [[&first, &second], [&second, &first], [&second, &second]] {
            let mut resets = Resets::default();
            order.iter().for_each(|reset| resets.note(reset));
            resets.note(&first);

            let known = resets.of(&second.bucket).unwrap();

            let both = reset(20, &[(None, 5), (Some("2"), 7), (Some("3"), 1)]);
            assert_eq!(*known, both);
        }
    }

    #[test]
    fn a_reset_is_forgotten_some_time_after_its_window() {
        let mut resets = Resets::default();
        let reset = reset(10, &[]);
        resets.note(&reset);
        let ends = reset.ends_at.unwrap();
        resets.forget(Wall(ends.0 + KEPT_AFTER_END_MS - 1));
        assert!(resets.of(&reset.bucket).is_some());
        resets.forget(Wall(ends.0 + KEPT_AFTER_END_MS));
        assert_eq!(resets, Resets::default());
        resets.note(&Reset { ends_at: None, ..reset });
        resets.forget(Wall(i64::MAX));
        assert_eq!(resets.all().count(), 1);
    }

    fn reset(at: i64, parts: &[(Option<&str>, u64)]) -> Reset {
        let part = |(node, level): &(Option<&str>, u64)| ResetPart {
            node: node.map(SmolStr::new),
            slice: None,
            level: *level,
        };
        Reset {
            bucket: Bucket { cap: "target/a/connected/daily".into(), window: "d:1".into() },
            ends_at: Some(Wall(1_000)),
            at: Wall(at),
            by: "ops".into(),
            why: "test calls".into(),
            key: None,
            amount: 5,
            parts: parts.iter().map(part).collect(),
        }
    }
}
