//! What targets and buyers say of how many calls they can take at once.

use std::collections::BTreeMap;
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
        self.said.rcu(|before| {
            let mut said = BTreeMap::clone(before);
            said.retain(|_, said| said.is_fresh(at));
            said.insert(key.clone(), Said { count, at });
            said
        });
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
            if is_new(&self.said.load()) {
                self.say(&concurrency, count, at);
            }
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

impl Said {
    /// A clock that was set back makes nothing fresh.
    fn is_fresh(self, now: Wall) -> bool {
        now.0.abs_diff(self.at.0) < u64::try_from(STALE_AFTER.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
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
}
