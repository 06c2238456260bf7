//! Caps that an operator has begin anew within their window.
//!
//! What had been used is not taken back: each part of it gets a level, and only what goes beyond its
//! level counts. Levels do not fall, unless what lies below them is taken back, and parts are told with
//! theirs. So whoever hears of a reset twice, or of two at once, comes to the same; and one who has
//! forgotten what was used is no freer for knowing its level. What is held stays held.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::Bucket;
use super::ledger::KEPT_AFTER_END_MS;
use crate::rolling::Rolling;
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

impl Resets {
    pub fn of(&self, bucket: &Bucket) -> Option<&Reset> {
        self.latest.get(bucket.stored().0.as_ref())
    }

    /// The latest of a cap that was asked for with this key, in whatever window: one that was sent again
    /// may come after the next has begun.
    pub fn by_key(&self, cap: &str, key: &str) -> Option<&Reset> {
        let is_it = |it: &&Reset| it.bucket.cap == cap && it.key.as_deref() == Some(key);
        self.latest.values().filter(is_it).max_by_key(|reset| reset.at)
    }

    pub fn all(&self) -> impl Iterator<Item = &Reset> {
        self.latest.values()
    }

    /// Notes one. Of two the later one stays, with the levels of both.
    pub(super) fn note(&mut self, reset: &Reset) {
        let Some(known) = self.latest.get_mut(&reset.bucket) else {
            let mut reset = reset.clone();
            reset.forget_slices(reset.at);
            self.latest.insert(reset.bucket.clone(), reset);
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
        known.forget_slices(known.at);
    }

    pub(super) fn forget(&mut self, now: Wall) {
        self.latest.retain(|_, reset| {
            reset.ends_at.is_none_or(|ends| now.0 < ends.0.saturating_add(KEPT_AFTER_END_MS))
        });
        self.latest.values_mut().for_each(|reset| reset.forget_slices(now));
    }
}

impl Reset {
    /// What was used in slices that have left a rolling window at `now` counts for nothing, with or without
    /// a level.
    fn forget_slices(&mut self, now: Wall) {
        let Some((rolling, _)) = Rolling::read(&self.bucket.window) else { return };
        let first = rolling.first_slice(rolling.slice(now));
        self.parts.retain(|part| part.slice.is_none_or(|slice| slice >= first));
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
    fn a_reset_is_known_by_its_key_after_its_window_too() {
        let mut resets = Resets::default();
        let keyed = |window: &str, at, key: &str| {
            let bucket = Bucket { window: window.into(), ..reset(0, &[]).bucket };
            Reset { bucket, key: Some(key.into()), ..reset(at, &[]) }
        };
        let first = keyed("d:1", 10, "k1");
        resets.note(&first);
        resets.note(&keyed("d:2", 20, "k2"));
        let cap = first.bucket.cap.as_str();
        assert_eq!(resets.by_key(cap, "k1"), Some(&first));
        assert_eq!(resets.by_key(cap, "k3"), None);
        assert_eq!(resets.by_key("target/b/connected/daily", "k1"), None);
    }

    #[test]
    fn levels_of_slices_that_have_left_a_rolling_window_are_forgotten() {
        let rolling = Rolling { seconds: 60 };
        let bucket = Bucket { window: rolling.name(), ..reset(0, &[]).bucket };
        let mut resets = Resets::default();
        let slices = |resets: &Resets| -> Vec<Option<i64>> {
            resets.all().flat_map(|reset| &reset.parts).map(|part| part.slice).collect()
        };
        // Whoever has the cap begin anew every second tells of all that is in the window.
        for at_s in 100..400 {
            let at = Wall(at_s * 1_000);
            let all = rolling.first_slice(rolling.slice(at))..=rolling.slice(at);
            let part = |slice| ResetPart { node: None, slice: Some(slice), level: 1 };
            let (bucket, parts) = (bucket.clone(), all.clone().map(part).collect());
            resets.note(&Reset { bucket, parts, ends_at: None, ..reset(at.0, &[]) });
            assert_eq!(slices(&resets), all.map(Some).collect::<Vec<_>>(), "{at_s} s");
        }
        resets.forget(Wall(430_000));
        assert_eq!(slices(&resets).first(), Some(&Some(370)));
        resets.forget(Wall(500_000));
        assert_eq!(slices(&resets), []);
        assert_eq!(resets.all().count(), 1, "that it began anew is known");
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
