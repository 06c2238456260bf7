//! One bucket of the ledger.

use std::collections::BTreeMap;

use crate::id::HoldId;
use crate::rolling::Rolling;
use crate::routing::hold::{Bucket, BucketRequest, Counts};
use crate::routing::request::Usage;
use crate::time::Wall;

/// How long what is used in a window is known after its end, and what is used in a slice after it has left
/// its window: a clock that was ahead is set back.
pub(in crate::routing::hold) const KEPT_AFTER_END_MS: i64 = 2 * 3_600_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Of a rolling window the sum of `slices`, whether they count still or not.
    used: u64,
    /// Sum of `leases`.
    held: u64,
    leases: BTreeMap<HoldId, u64>,
    /// What is used in each slice of a rolling window, as far back as one may ask whose clock is set back.
    slices: BTreeMap<i64, u64>,
    /// Of that which is used so much counts no more; of a rolling window by slices.
    level: u64,
    levels: BTreeMap<i64, u64>,
    pub(super) ends_at: Option<Wall>,
}

impl Tally {
    /// Of a rolling window as of the latest slice that is known. `bucket` is what it is stored under.
    pub(super) fn usage(&self, bucket: &Bucket) -> Usage {
        match (Rolling::read(&bucket.window), self.slices.last_key_value()) {
            (Some((rolling, _)), Some((last, _))) => {
                Usage { used: self.used_since(rolling.first_slice(*last)), held: self.held }
            }
            _ => Usage { used: self.used.saturating_sub(self.level), held: self.held },
        }
    }

    fn used_since(&self, first: i64) -> u64 {
        let slices = self.slices.range(first..);
        slices.map(|(slice, used)| used.saturating_sub(self.level_of(*slice))).sum()
    }

    /// In the window that `bucket` names.
    pub(super) fn usage_at(&self, bucket: &Bucket) -> Usage {
        let (held, (_, slice)) = (self.held, bucket.stored());
        let Some((rolling, last)) = slice.filter(|_| !self.slices.is_empty()) else {
            return Usage { used: self.used.saturating_sub(self.level), held };
        };
        // What was counted by a clock that has been set back since counts too.
        Usage { used: self.used_since(rolling.first_slice(last)), held }
    }

    fn level_of(&self, slice: i64) -> u64 {
        self.levels.get(&slice).copied().unwrap_or(0)
    }

    /// What had been used up to this level counts no more; of a rolling window in this slice.
    pub(super) fn reset(&mut self, slice: Option<i64>, level: u64) {
        let known = match slice {
            Some(slice) => self.levels.entry(slice).or_default(),
            None => &mut self.level,
        };
        *known = level.max(*known);
    }

    #[cfg(test)]
    pub(super) fn leases(&self) -> impl Iterator<Item = (&HoldId, &u64)> {
        self.leases.iter()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.used == 0 && self.held == 0 && self.level == 0 && self.levels.is_empty()
    }

    /// Whether it may be forgotten.
    pub(super) fn is_over(&self, now: Wall) -> bool {
        self.held == 0
            && match self.ends_at {
                Some(ends_at) => ends_at.0.saturating_add(KEPT_AFTER_END_MS) <= now.0,
                // A level may be known before what was used is.
                None => self.is_idle(),
            }
    }

    pub(super) fn take(
        &mut self,
        hold: HoldId,
        request: &BucketRequest,
        slice: Option<(Rolling, i64)>,
    ) {
        self.ends_at = request.ends_at.max(self.ends_at.filter(|_| slice.is_some()));
        if request.counts == Counts::Spacing {
            self.used = self.used.max(request.amount);
        }
        if let Some((rolling, slice)) = slice {
            self.forget_before(rolling, slice);
        }
        let held = request.held();
        if held > 0 {
            self.held += held;
            *self.leases.entry(hold).or_default() += held;
        }
    }

    /// Gives back at most what `hold` has here.
    pub(super) fn give_back(&mut self, hold: HoldId, amount: u64) {
        if let Some(lease) = self.leases.get_mut(&hold) {
            let returned = amount.min(*lease);
            *lease -= returned;
            self.held -= returned;
            if *lease == 0 {
                self.leases.remove(&hold);
            }
        }
    }

    /// The counted event happened.
    pub(super) fn count(&mut self, request: &BucketRequest, at: Wall) {
        if request.counts == Counts::Spacing {
            self.used = self.used.max(request.amount);
            self.ends_at = request.ends_at;
            return;
        }
        let (_, slice) = request.bucket.stored();
        let slice = slice.map(|(rolling, _)| (rolling, rolling.slice(at)));
        let amount = i64::try_from(request.amount).unwrap_or(i64::MAX);
        self.add(amount, slice, request.ends_at);
    }

    /// So much more is used, or less; in this slice of a rolling window. `ends_at` is when the window
    /// is over, if that is known.
    pub(super) fn add(
        &mut self,
        amount: i64,
        slice: Option<(Rolling, i64)>,
        ends_at: Option<Wall>,
    ) {
        let Some((rolling, slice)) = slice else {
            self.used = self.used.saturating_add_signed(amount);
            if amount < 0 {
                // What is taken back had not counted: what comes next does.
                self.level = self.level.min(self.used);
            }
            self.ends_at = ends_at.or(self.ends_at);
            return;
        };
        self.forget_before(rolling, slice);
        let used = self.slices.entry(slice).or_default();
        let before = *used;
        *used = before.saturating_add_signed(amount);
        if let (true, Some(level)) = (amount < 0, self.levels.get_mut(&slice)) {
            *level = (*level).min(*used);
        }
        self.used = self.used.saturating_add(*used).saturating_sub(before);
        self.ends_at = self.ends_at.max(Some(rolling.forgets_at(slice)));
    }

    /// What is used, of a rolling window slice by slice, with when it may be forgotten.
    pub(super) fn parts(&self, bucket: &Bucket) -> Vec<(Bucket, u64, Option<Wall>)> {
        let Some((rolling, _)) = Rolling::read(&bucket.window) else {
            let used = (self.used > 0).then(|| (bucket.clone(), self.used, self.ends_at));
            return used.into_iter().collect();
        };
        let slices = self.slices.iter().filter(|(_, used)| **used > 0).map(|(slice, used)| {
            let (cap, window) = (bucket.cap.clone(), rolling.name_at(*slice));
            (Bucket { cap, window }, *used, Some(rolling.forgets_at(*slice)))
        });
        slices.collect()
    }

    pub(super) fn restore(
        &mut self,
        used: u64,
        slice: Option<(Rolling, i64)>,
        ends_at: Option<Wall>,
    ) {
        let Some((rolling, slice)) = slice else {
            self.used = self.used.max(used);
            self.ends_at = ends_at;
            return;
        };
        let known = self.slices.entry(slice).or_default();
        let more = used.saturating_sub(*known);
        *known += more;
        self.used += more;
        self.ends_at = self.ends_at.max(Some(rolling.forgets_at(slice)));
    }

    /// Forgets what left the window that ends with slice `last` two hours before: a clock may have been set
    /// ahead, and be set back.
    fn forget_before(&mut self, rolling: Rolling, last: i64) {
        let first = rolling.first_slice(last) - KEPT_AFTER_END_MS / rolling.slice_ms() - 1;
        while let Some((&slice, &used)) = self.slices.first_key_value()
            && slice < first
        {
            self.used -= used;
            self.slices.pop_first();
        }
        while self.levels.first_key_value().is_some_and(|(slice, _)| *slice < first) {
            self.levels.pop_first();
        }
    }
}
