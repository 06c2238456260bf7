//! What the store last said of buckets, for decisions, which do not ask it.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::format_smolstr;

use crate::routing::Usage;
use crate::routing::hold::{Bucket, LIVE};
use crate::time::Mono;

/// How long what others hold is believed. A decision that believes wrongly either way costs a round
/// trip: the store is asked when the attempt starts.
const BELIEVED: Duration = Duration::from_millis(500);
/// Buckets nobody asks about are forgotten after.
const KEPT: Duration = Duration::from_secs(600);
/// Buckets at most; no more are remembered until some are forgotten.
const BUCKETS_MAX: usize = 200_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Near {
    buckets: BTreeMap<Bucket, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    usage: Usage,
    at: Mono,
}

impl Near {
    pub(super) fn note(&mut self, seen: &[(Bucket, Usage)], now: Mono) {
        for (bucket, usage) in seen {
            let seen = Seen { usage: *usage, at: now };
            if let Some(known) = self.buckets.get_mut(bucket) {
                *known = seen;
            } else if self.buckets.len() < BUCKETS_MAX {
                self.buckets.insert(bucket.clone(), seen);
            }
        }
    }

    /// As it was when last seen, however long ago; a rolling window as whichever slice it ended with then.
    pub(super) fn last(&self, bucket: &Bucket) -> Option<Usage> {
        let (stored, slice) = bucket.stored();
        if slice.is_none() {
            return self.buckets.get(bucket).map(|seen| seen.usage);
        }
        let window = format_smolstr!("{}/", stored.window);
        let from = Bucket { cap: bucket.cap.clone(), window: window.clone() };
        let is_it = |known: &Bucket| known.cap == bucket.cap && known.window.starts_with(&*window);
        let known = self.buckets.range(from..).take_while(|(known, _)| is_it(known));
        known.max_by_key(|(_, seen)| seen.at).map(|(_, seen)| seen.usage)
    }

    /// Whether what was seen of it is believed.
    pub(super) fn is_fresh(&self, bucket: &Bucket, now: Mono) -> bool {
        self.buckets.get(bucket).is_some_and(|seen| now < seen.at + BELIEVED)
    }

    /// How full a bucket probably is. `own` is what this node has used and holds, `spare` what it
    /// keeps there for when the store is away.
    pub(super) fn usage(&self, bucket: &Bucket, own: Usage, spare: u64, now: Mono) -> Usage {
        let Some(seen) = self.buckets.get(bucket) else { return own };
        if bucket.window == LIVE {
            // Who talks is used here, and held there.
            let is_old = seen.at + BELIEVED <= now;
            let others = if is_old { 0 } else { seen.usage.held.saturating_sub(spare) };
            return Usage { used: own.used, held: own.held.max(others.saturating_sub(own.used)) };
        }
        // What is used is not given back; what others held may have been.
        let used = own.used.max(seen.usage.used);
        if seen.at + BELIEVED <= now {
            return Usage { used, held: own.held };
        }
        Usage { used, held: own.held.max(seen.usage.held.saturating_sub(spare)) }
    }

    /// It began anew: nothing that was seen of it is true any more.
    pub(super) fn forget(&mut self, bucket: &Bucket) {
        self.buckets.retain(|known, _| *known.stored().0 != *bucket);
    }

    pub(super) fn forget_old(&mut self, now: Mono) {
        self.buckets.retain(|_, seen| now < seen.at + KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_remembered_and_what_others_hold_only_for_a_moment() {
        let bucket = Bucket { cap: "target/a/connected/daily".into(), window: "d:1".into() };
        let own = Usage { used: 2, held: 1 };
        let mut near = Near::default();
        assert_eq!(near.usage(&bucket, own, 0, Mono(0)), own);

        near.note(&[(bucket.clone(), Usage { used: 7, held: 4 })], Mono(0));

        let later = Mono(0) + BELIEVED;
        assert_eq!(near.usage(&bucket, own, 0, Mono(0)), Usage { used: 7, held: 4 });
        assert_eq!(near.usage(&bucket, own, 2, Mono(0)), Usage { used: 7, held: 2 });
        assert_eq!(near.usage(&bucket, own, 0, later), Usage { used: 7, held: 1 });
        assert_eq!(near.last(&bucket), Some(Usage { used: 7, held: 4 }));
        near.forget_old(Mono(0) + KEPT);
        assert_eq!(near, Near::default());
    }

    #[test]
    fn nothing_is_remembered_of_a_bucket_that_began_anew() {
        let bucket =
            |window: &str| Bucket { cap: "target/a/connected".into(), window: window.into() };
        let mut near = Near::default();
        for window in ["rolling:3600/7", "rolling:3600/8", "d:1"] {
            near.note(&[(bucket(window), Usage { used: 7, held: 4 })], Mono(0));
        }

        near.forget(&bucket("rolling:3600"));

        assert_eq!(near.last(&bucket("rolling:3600/8")), None);
        assert!(near.last(&bucket("d:1")).is_some());
    }

    #[test]
    fn a_rolling_window_was_last_seen_as_it_ended_then() {
        let bucket = |window: &str| Bucket { cap: "target/a/c".into(), window: window.into() };
        let mut near = Near::default();
        for (used, window) in
            [(3, "rolling:3600/99"), (2, "rolling:3600/100"), (9, "rolling:36000/7")]
        {
            near.note(&[(bucket(window), Usage { used, held: 0 })], Mono(used));
        }

        assert_eq!(near.last(&bucket("rolling:3600/101")), Some(Usage { used: 3, held: 0 }));
        assert_eq!(near.last(&bucket("rolling:60/101")), None);
        let (then, bucket) = (Mono(3) + BELIEVED, bucket("rolling:3600/99"));
        assert!(near.is_fresh(&bucket, Mono(3)) && !near.is_fresh(&bucket, then));
    }

    #[test]
    fn calls_that_talk_are_not_counted_twice() {
        let bucket = Bucket { cap: "target/a/concurrency".into(), window: LIVE.into() };
        let own = Usage { used: 2, held: 1 };
        let mut near = Near::default();
        near.note(&[(bucket.clone(), Usage { used: 0, held: 5 })], Mono(0));

        assert_eq!(near.usage(&bucket, own, 0, Mono(0)), Usage { used: 2, held: 3 });
        assert_eq!(near.usage(&bucket, own, 0, Mono(0) + BELIEVED), own);
    }
}
