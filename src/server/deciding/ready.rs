//! What targets and buyers say of how many calls they can take at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::routing::request::ReadyWord;
use crate::time::Wall;

/// What was said longer ago counts for nothing (spec/domain §2.7).
pub(in crate::server) const STALE_AFTER: Duration = Duration::from_secs(120);

/// By the key of the concurrency it is about, such as `target/tgt_summit/concurrency`.
#[derive(Default)]
pub(super) struct Ready {
    said: ArcSwap<BTreeMap<SmolStr, Said>>,
}

#[derive(Clone, Copy)]
struct Said {
    count: u32,
    at: Wall,
}

impl Ready {
    /// What is too old is forgotten.
    pub(super) fn say(&self, key: &SmolStr, count: u32, at: Wall) {
        self.said.rcu(|before| with(before, key, Said { count, at }));
    }

    /// What counts still, so that others hear of it.
    pub(super) fn words(&self, now: Wall) -> Vec<ReadyWord> {
        let said = self.said.load();
        let fresh = said.iter().filter(|(_, said)| said.is_fresh(now));
        let word = |(key, Said { count, at }): (&SmolStr, &Said)| ReadyWord {
            concurrency: key.clone(),
            count: *count,
            at: *at,
        };
        fresh.map(word).collect()
    }

    /// What was said here or elsewhere; the latest word counts.
    pub(super) fn hear(&self, words: Vec<ReadyWord>) {
        for ReadyWord { concurrency, count, at } in words {
            let is_new = |it: &BTreeMap<SmolStr, Said>| {
                it.get(&concurrency).is_none_or(|known| known.at < at)
            };
            // Most are known already.
            if !is_new(&self.said.load()) {
                continue;
            }
            self.said.rcu(|before| {
                // A later word may have come since.
                if is_new(before) {
                    Arc::new(with(before, &concurrency, Said { count, at }))
                } else {
                    Arc::clone(before)
                }
            });
        }
    }

    pub(super) fn of(&self, key: &str, at: Wall) -> Option<u32> {
        let said = self.said.load();
        if said.is_empty() {
            return None;
        }
        said.get(key).filter(|said| said.is_fresh(at)).map(|said| said.count)
    }
}

fn with(before: &BTreeMap<SmolStr, Said>, key: &SmolStr, new: Said) -> BTreeMap<SmolStr, Said> {
    let mut said = before.clone();
    said.retain(|_, said| said.is_fresh(new.at));
    said.insert(key.clone(), new);
    said
}

impl Said {
    /// A clock that was set back makes nothing fresh.
    fn is_fresh(self, now: Wall) -> bool {
        now.0.abs_diff(self.at.0) < u64::try_from(STALE_AFTER.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn what_was_said_two_minutes_ago_counts_for_nothing() {
        let (ready, key) = (Ready::default(), SmolStr::new_static("target/t/concurrency"));
        assert_eq!(ready.of(&key, Wall(0)), None);
        ready.say(&key, 3, Wall(1_000));
        assert_eq!(ready.of(&key, Wall(120_999)), Some(3));
        assert_eq!(ready.of(&key, Wall(121_000)), None);
        ready.say(&key, 0, Wall(2_000));
        assert_eq!(ready.of(&key, Wall(2_000)), Some(0));
        assert_eq!(ready.of("buyer/b/concurrency", Wall(2_000)), None);
    }

    #[test]
    fn the_latest_word_counts_wherever_it_was_said() {
        let (ready, key) = (Ready::default(), SmolStr::new_static("target/t/concurrency"));
        let word = |count, at| ReadyWord { concurrency: key.clone(), count, at: Wall(at) };
        ready.say(&key, 3, Wall(1_000));
        ready.hear(vec![word(5, 999)]);
        assert_eq!(ready.of(&key, Wall(1_000)), Some(3));
        ready.hear(vec![word(5, 1_001)]);
        assert_eq!(ready.words(Wall(2_000)), [word(5, 1_001)]);
        assert_eq!(ready.words(Wall(121_001)), []);
    }

    #[test]
    fn of_words_that_come_at_once_no_older_one_goes_before_a_later_one() {
        let (ready, key) = (Ready::default(), SmolStr::new_static("target/t/concurrency"));
        let word = |at: u32| ReadyWord { concurrency: key.clone(), count: at, at: Wall(at.into()) };
        let (latest, is_done) = (AtomicU32::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    let next = latest.load(Ordering::Acquire) + 1;
                    ready.hear((next.saturating_sub(1)..=next).map(word).collect());
                }
            });
            for at in 1..=20_000 {
                ready.hear(vec![word(at)]);
                let known = ready.of(&key, Wall(at.into()));
                assert!(known >= Some(at), "{known:?} is older than {at}");
                latest.store(at, Ordering::Release);
            }
            is_done.store(true, Ordering::Release);
        });
    }
}
