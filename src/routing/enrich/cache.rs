//! What an enricher said of callers, for as long as that holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::phone::PhoneNumber;
use crate::routing::request::Tags;
use crate::time::Mono;

/// What is known of callers. Of too many, those are forgotten that were asked about first.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    by_caller: BTreeMap<PhoneNumber, (Mono, Arc<Tags>)>,
    /// In the order in which they were asked about; one that was asked about again stands here twice.
    order: VecDeque<(Mono, PhoneNumber)>,
}

impl Cache {
    /// What still holds of a caller.
    pub fn get(&self, caller: PhoneNumber, now: Mono) -> Option<Arc<Tags>> {
        let (until, known) = self.by_caller.get(&caller)?;
        (now < *until).then(|| Arc::clone(known))
    }

    /// Keeps what was said, of `callers_max` callers at most, and forgets what holds no more.
    pub fn keep(
        &mut self,
        caller: PhoneNumber,
        said: Arc<Tags>,
        until: Mono,
        now: Mono,
        callers_max: usize,
    ) {
        self.by_caller.insert(caller, (until, said));
        self.order.push_back((until, caller));
        while let Some(&(until, caller)) = self.order.front() {
            let is_of_before =
                self.by_caller.get(&caller).is_none_or(|(latest, _)| *latest != until);
            let is_too_much = self.by_caller.len() > callers_max
                || self.order.len() > callers_max.saturating_mul(2);
            if now < until && !is_of_before && !is_too_much {
                break;
            }
            self.order.pop_front();
            if !is_of_before {
                self.by_caller.remove(&caller);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.by_caller.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_caller.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(n: u64) -> PhoneNumber {
        PhoneNumber::from_digits(16_145_550_000 + n).unwrap()
    }

    fn said(text: &str) -> Arc<Tags> {
        Arc::new([("line_type".into(), text.into())].into())
    }

    #[test]
    fn an_answer_holds_for_its_time() {
        let mut cache = Cache::default();
        cache.keep(caller(1), said("mobile"), Mono(100), Mono(0), 9);
        assert_eq!(cache.get(caller(1), Mono(99)), Some(said("mobile")));
        assert_eq!(cache.get(caller(1), Mono(100)), None);
        assert_eq!(cache.get(caller(2), Mono(0)), None);

        cache.keep(caller(2), said("landline"), Mono(300), Mono(200), 9);
        assert_eq!(cache.len(), 1, "what holds no more is forgotten");
    }

    #[test]
    fn of_too_many_the_first_are_forgotten_and_one_asked_about_again_is_not_the_first() {
        let mut cache = Cache::default();
        cache.keep(caller(1), said("a"), Mono(100), Mono(0), 2);
        cache.keep(caller(2), said("b"), Mono(101), Mono(1), 2);
        cache.keep(caller(1), said("c"), Mono(102), Mono(2), 2);
        cache.keep(caller(3), said("d"), Mono(103), Mono(3), 2);

        assert_eq!(cache.get(caller(1), Mono(4)), Some(said("c")));
        assert_eq!(cache.get(caller(2), Mono(4)), None);
        assert_eq!(cache.get(caller(3), Mono(4)), Some(said("d")));
        for n in 0..1_000 {
            cache.keep(caller(9), said("e"), Mono(200 + n), Mono(4), 2);
        }
        assert!(cache.order.len() <= 4 && cache.len() <= 2);
    }
}
