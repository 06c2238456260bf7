//! What targets and buyers say of how many calls they can take at once.

use std::collections::BTreeMap;
use std::time::Duration;

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::time::Wall;

/// What was said longer ago counts for nothing (spec/domain §2.7).
pub(super) const STALE_AFTER: Duration = Duration::from_secs(120);

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
}
