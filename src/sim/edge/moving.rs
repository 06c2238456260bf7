//! What must hold of windows that move along with time, and of the time between attempts: reckoned a
//! second time, from instants.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::market::Limit;
use crate::routing::hold::Bucket;
use crate::time::Wall;

/// The window of spacing; of one attempt it is `gap/1773759852318`.
const GAP: &str = "gap";

/// A slice of a window that moves along, such as `rolling:60/29562664`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    window_ms: i64,
    slice_ms: i64,
    begins_at: i64,
}

/// What is used in slices, by the name of its cap and of the window.
#[derive(Debug, Default)]
pub(super) struct Slices<'a> {
    used: BTreeMap<(&'a str, &'a str), Vec<(Slice, i64)>>,
}

/// When something happened that is counted at once, in milliseconds, by the cap.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// In windows that move along, with how long they are.
    counted: BTreeMap<SmolStr, (i64, Vec<i64>)>,
    attempts: BTreeMap<SmolStr, Vec<i64>>,
}

/// The name of a window without its slice or its instant.
pub(super) fn stored(window: &str) -> &str {
    match window.split_once('/') {
        Some((name, _)) if name == GAP || moves_along(name) => name,
        _ => window,
    }
}

pub(super) fn moves_along(window: &str) -> bool {
    window.starts_with("rolling:")
}

pub(super) fn is_spacing(window: &str) -> bool {
    stored(window) == GAP
}

impl Slice {
    fn read(window: &str) -> Option<Self> {
        let (seconds, number) = window.strip_prefix("rolling:")?.split_once('/')?;
        let window_ms = seconds.parse::<i64>().ok()? * 1_000;
        // A sixtieth of the window, and no less than a second.
        let slice_ms = ((window_ms + 59) / 60).max(1_000);
        Some(Self { window_ms, slice_ms, begins_at: number.parse::<i64>().ok()? * slice_ms })
    }

    /// Whether some of it lies in the window that ends then.
    fn counts_at(self, end_ms: i64) -> bool {
        self.begins_at + self.slice_ms > end_ms - self.window_ms
    }
}

impl<'a> Slices<'a> {
    pub(super) fn of_ledger(parts: &'a [(Bucket, u64, Option<Wall>)]) -> Self {
        let mut slices = Self::default();
        for (bucket, used, _) in parts {
            slices.add(&bucket.cap, &bucket.window, i64::try_from(*used).unwrap_or(i64::MAX));
        }
        slices
    }

    pub(super) fn of_book(used: &'a BTreeMap<(SmolStr, SmolStr), i64>) -> Self {
        let mut slices = Self::default();
        for ((cap, window), used) in used {
            slices.add(cap, window, *used);
        }
        slices
    }

    fn add(&mut self, cap: &'a str, window: &'a str, amount: i64) {
        if let Some(slice) = Slice::read(window) {
            self.used.entry((cap, stored(window))).or_default().push((slice, amount));
        }
    }

    /// So much is used of a cap in its window that ends then.
    pub(super) fn used_at(&self, cap: &str, window: &str, end_ms: i64) -> i64 {
        let slices = self.used.get(&(cap, stored(window))).into_iter().flatten();
        slices.filter(|(slice, _)| slice.counts_at(end_ms)).map(|(_, used)| used).sum()
    }

    /// I5: no window that ends with any slice has more than its limit, and `late` calls more.
    pub(super) fn hold(&self, limits: &BTreeMap<SmolStr, Limit>, late: u64) -> Result<(), String> {
        for ((cap, window), slices) in &self.used {
            let limit = limits.get(*cap).copied().unwrap_or_default();
            let most = i64::try_from(limit.max + late * limit.of_a_call).unwrap_or(i64::MAX);
            for (last, _) in slices {
                let end_ms = last.begins_at;
                let of_window = slices
                    .iter()
                    .filter(|(slice, _)| slice.begins_at <= end_ms && slice.counts_at(end_ms));
                let used: i64 = of_window.map(|(_, used)| used).sum();
                if used > most {
                    return Err(format!(
                        "I5: {cap} in {window} up to {end_ms}: {used} used of {}",
                        limit.max
                    ));
                }
            }
        }
        Ok(())
    }

    /// What one has, the other has too, as far as its newest slice looks back.
    pub(super) fn are_in(&self, other: &Slices<'_>) -> Result<(), String> {
        for ((cap, window), slices) in &self.used {
            let Some(known) = other.used.get(&(*cap, *window)) else { continue };
            let newest = known.iter().map(|(slice, _)| slice.begins_at).max().unwrap_or(i64::MAX);
            for (slice, used) in slices.iter().filter(|(slice, _)| slice.counts_at(newest)) {
                let same = known.iter().find(|(other, _)| other == slice).map(|(_, used)| *used);
                if *used != 0 && same != Some(*used) {
                    return Err(format!(
                        "I5: {cap} in {window} at {}: one counts {used}, the other {same:?}",
                        slice.begins_at
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Events {
    /// Something was counted in this window at this time.
    pub(super) fn add(&mut self, cap: &SmolStr, window: &str, at_ms: i64) {
        if let Some(slice) = Slice::read(window) {
            let (_, events) =
                self.counted.entry(cap.clone()).or_insert((slice.window_ms, Vec::new()));
            events.push(at_ms);
        }
        let attempt = window.strip_prefix(GAP).and_then(|rest| rest.strip_prefix('/'));
        if let Some(at_ms) = attempt.and_then(|at| at.parse().ok()) {
            self.attempts.entry(cap.clone()).or_default().push(at_ms);
        }
    }

    pub(super) fn last_attempt(&self, cap: &str) -> Option<i64> {
        self.attempts.get(cap).and_then(|attempts| attempts.iter().max().copied())
    }

    /// I5: in no span as long as the window there are more than its limit, and `late` more.
    pub(super) fn are_few(
        &mut self,
        limits: &BTreeMap<SmolStr, Limit>,
        late: u64,
    ) -> Result<(), String> {
        for (cap, (window_ms, events)) in &mut self.counted {
            events.sort_unstable();
            let limit = limits.get(cap).copied().unwrap_or_default().max;
            let more = usize::try_from(limit + late).unwrap_or(usize::MAX);
            let too_many = |(first, last): (&i64, &i64)| last - first < *window_ms;
            if events.iter().zip(events.iter().skip(more)).any(too_many) {
                return Err(format!("I5: {cap}: more than {limit} in {window_ms} ms: {events:?}"));
            }
        }
        Ok(())
    }

    /// I5: attempts are as far apart as they have to be.
    pub(super) fn are_apart(&mut self, gaps: &BTreeMap<SmolStr, u64>) -> Result<(), String> {
        for (cap, attempts) in &mut self.attempts {
            attempts.sort_unstable();
            let gap_ms = gaps.get(cap).copied().unwrap_or(u64::MAX);
            let too_near = |pair: &&[i64]| pair[0].abs_diff(pair[1]) < gap_ms;
            if let Some(pair) = attempts.windows(2).find(too_near) {
                return Err(format!("I5: {cap}: {pair:?} are less than {gap_ms} ms apart"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_limit_in_a_window_that_ends_anywhere_is_seen() {
        let limits = BTreeMap::from([("a".into(), Limit { max: 3, of_a_call: 1 })]);
        let of = |used: &[(i64, i64)]| {
            let windows: Vec<_> =
                used.iter().map(|(slice, used)| (format!("rolling:60/{slice}"), *used)).collect();
            let mut slices = Slices::default();
            windows.iter().for_each(|(window, used)| slices.add("a", window, *used));
            (slices.hold(&limits, 0).is_ok(), slices.hold(&limits, 1).is_ok())
        };
        assert_eq!(of(&[(100, 2), (161, 2), (200, 1)]), (true, true), "the first has left");
        assert_eq!(of(&[(100, 2), (160, 2), (200, 1)]), (false, true), "some of it has not");
    }

    #[test]
    fn what_lies_nearer_than_it_may_is_seen() {
        let limits = BTreeMap::from([("a".into(), Limit { max: 2, of_a_call: 1 })]);
        let gaps = BTreeMap::from([("s".into(), 5_000)]);
        let of = |events: [i64; 3], attempts: [i64; 2]| {
            let mut all = Events::default();
            events.iter().for_each(|at| all.add(&"a".into(), "rolling:60/7", *at));
            attempts.iter().for_each(|at| all.add(&"s".into(), &format!("gap/{at}"), 0));
            (all.are_few(&limits, 0).is_ok(), all.are_apart(&gaps).is_ok())
        };
        assert_eq!(of([1_000, 61_000, 30_000], [5_000, 10_000]), (true, true));
        assert_eq!(of([1_001, 61_000, 30_000], [5_001, 10_000]), (false, false));
    }
}
