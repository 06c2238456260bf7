//! What other servers have used, as the store has it: all of them remember it for each other, so that a
//! store which has lost it knows it again also while they are down.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use smol_str::SmolStr;

use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::super::redis::{Changed, OthersUse};
use super::SharedHolds;

/// Parts that are remembered at most. Of further buckets none are.
const PARTS_MAX: usize = 500_000;
/// Buckets that are told at a time.
const TOLD_AT_ONCE: usize = 200;
/// Buckets whose windows are over that are named at a time.
const OVER_AT_ONCE: usize = 200;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// The latest change that is known.
    serial: u64,
    buckets: BTreeMap<SmolStr, OthersUse>,
    /// Those whose windows end, by when.
    ends: BTreeSet<(Wall, SmolStr)>,
    parts: usize,
    /// Those whose windows are over: nobody need be told of them.
    over: Vec<SmolStr>,
    is_full: bool,
}

impl Others {
    /// What was changed is looked for from the beginning; what is known stays.
    pub(super) fn begin_anew(&mut self) {
        self.serial = 0;
    }

    fn note(&mut self, changed: Changed, now: Wall) {
        self.serial = changed.serial;
        for bucket in changed.buckets {
            self.forget(&bucket.bucket);
            let is_over = bucket.ends_at().is_some_and(|at| at <= now);
            if is_over {
                self.over.push(bucket.bucket);
                continue;
            }
            if self.parts + bucket.parts.len() > PARTS_MAX {
                if !self.is_full {
                    tracing::error!(
                        parts = self.parts,
                        "more is used by other servers than is remembered here"
                    );
                }
                self.is_full = true;
                continue;
            }
            self.parts += bucket.parts.len();
            self.ends.extend(bucket.ends_at().map(|at| (at, bucket.bucket.clone())));
            self.buckets.insert(bucket.bucket.clone(), bucket);
        }
    }

    fn forget(&mut self, bucket: &str) {
        if let Some(known) = self.buckets.remove(bucket) {
            self.parts -= known.parts.len();
            if let Some(at) = known.ends_at() {
                self.ends.remove(&(at, known.bucket));
            }
        }
    }

    /// Forgets what is over. Returns some of all that is.
    fn over(&mut self, now: Wall) -> Vec<SmolStr> {
        while self.ends.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, bucket)) = self.ends.pop_first()
        {
            self.forget(&bucket);
            self.over.push(bucket);
        }
        self.is_full &= self.parts >= PARTS_MAX;
        let some = self.over.len().min(OVER_AT_ONCE);
        self.over.drain(..some).collect()
    }

    /// Those behind this one.
    fn after(&self, last: Option<&str>) -> Vec<OthersUse> {
        let first = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.buckets.range::<str, _>((first, Bound::Unbounded));
        rest.take(TOLD_AT_ONCE).map(|(_, known)| known.clone()).collect()
    }
}

impl SharedHolds {
    /// Sees what others have used since it was last looked.
    pub(super) async fn look_at_others(&self) -> Result<(), StoreFault> {
        loop {
            let (serial, over) = {
                let mut inner = self.inner.lock();
                let over = inner.others.over(clock::wall());
                (inner.others.serial, over)
            };
            let changed = self.store.changed(serial, &over).await?;
            let is_rest = changed.is_rest;
            let parts = {
                let mut inner = self.inner.lock();
                inner.others.note(changed, clock::wall());
                inner.others.parts
            };
            self.metrics.others(parts);
            if !is_rest {
                return Ok(());
            }
        }
    }

    /// Tells a store that may have forgotten it what others had used. Returns of how many buckets it knew less.
    pub(super) async fn tell_of_others(&self) -> Result<u64, StoreFault> {
        let (mut raised, mut last) = (0, None);
        loop {
            let some = self.inner.lock().others.after(last.as_deref());
            let Some(end) = some.last() else { break };
            last = Some(end.bucket.clone());
            raised += self.store.restore_others(&some).await?;
        }
        self.inner.lock().others.begin_anew();
        Ok(raised)
    }

    /// How many parts of what others have used are remembered here.
    pub fn remembered_of_others(&self) -> usize {
        self.inner.lock().others.parts
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::redis::OthersPart;
    use super::*;

    #[test]
    fn what_others_used_is_remembered_as_it_is_now_until_its_window_is_over() {
        let mut others = Others::default();
        others.note(changed(7, &[used("a", 3, 2), used("b", 9, 1)]), Wall(0));
        others.note(changed(8, &[used("a", 3, 1)]), Wall(0));

        assert_eq!(others.after(None), [used("a", 3, 1), used("b", 9, 1)]);
        assert_eq!(others.after(Some("a")), [used("b", 9, 1)]);
        assert_eq!((others.serial, others.parts, others.ends.len()), (8, 2, 2));
        assert_eq!(others.over(Wall(3)), ["a"]);
        assert_eq!(others.after(None), [used("b", 9, 1)]);
        others.note(changed(9, &[used("a", 3, 2)]), Wall(3));
        assert_eq!((others.over(Wall(0)), others.parts), (vec![SmolStr::from("a")], 1));
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let mut others = Others::default();
        let mut many = used("many", 9, 1);
        many.parts = vec![many.parts[0].clone(); PARTS_MAX];
        others.note(changed(1, &[many, used("one more", 9, 1)]), Wall(0));
        assert_eq!((others.parts, others.is_full), (PARTS_MAX, true));

        others.note(changed(2, &[used("many", 9, 1)]), Wall(0));
        others.note(changed(3, &[used("one more", 9, 1)]), Wall(0));
        assert_eq!(others.after(None), [used("many", 9, 1), used("one more", 9, 1)]);
    }

    fn changed(serial: u64, buckets: &[OthersUse]) -> Changed {
        Changed { serial, is_rest: false, buckets: buckets.to_vec() }
    }

    fn used(bucket: &str, ends_at: i64, used: u64) -> OthersUse {
        let part = OthersPart { node: "far".into(), kind: "u".into(), used };
        let expires_at = Some(Wall(ends_at + 48 * 3_600_000));
        OthersUse { bucket: bucket.into(), expires_at, parts: vec![part] }
    }
}
