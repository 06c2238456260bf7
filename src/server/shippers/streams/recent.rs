//! Where recalling begins: how far Redis had come by what it cannot have lost any more.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cdr::consumer::Facts;
use crate::cdr::journal::Lsn;
use crate::time::Mono;

/// Places that are known within the time that is recalled.
const MARKS: u32 = 256;

/// What was acknowledged lately. Time is that of the acknowledgement, not of the fact: whoever is behind
/// ships what happened in an hour within a minute.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// All up to here was acknowledged long enough ago, or by another connection; never falls.
    begin: Option<Lsn>,
    /// When all up to a place had been acknowledged. Apart by the time that is recalled over [`MARKS`],
    /// and no older than it.
    marks: VecDeque<(Mono, Lsn)>,
}

impl Recent {
    /// All of `facts` was acknowledged by `now`; what was longer than `repeat` ago is certain.
    pub(super) fn acknowledged(&mut self, facts: &Facts, now: Mono, repeat: Duration) {
        let Some((first, last)) = facts.iter().next().zip(facts.last()) else { return };
        let before = Lsn { seq: first.lsn.seq.saturating_sub(1), ..first.lsn };
        self.acknowledged_to(before, last.lsn, now, repeat);
    }

    fn acknowledged_to(&mut self, before: Lsn, last: Lsn, now: Mono, repeat: Duration) {
        self.begin.get_or_insert(before);
        while let Some((_, to)) = self.marks.pop_front_if(|(at, _)| now.since(*at) >= repeat) {
            self.begin = self.begin.max(Some(to));
        }
        // Without a mark of its own a place is certain with the next one.
        if self.marks.back().is_none_or(|(at, _)| now.since(*at) >= repeat / MARKS) {
            self.marks.push_back((now, last));
        }
    }

    /// Everything that may have been lost comes after this.
    pub(super) fn begin(&self) -> Option<Lsn> {
        self.begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT: Duration = Duration::from_secs(60);

    fn at(seq: u64) -> Lsn {
        Lsn { epoch: 1, seq }
    }

    fn ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn what_was_acknowledged_lately_is_recalled_whenever_it_happened() {
        let mut recent = Recent::default();
        assert_eq!(recent.begin(), None);
        // An hour's backlog in three seconds.
        for portion in 0..100 {
            let before = 1_000 + portion * 2_000;
            recent.acknowledged_to(at(before), at(before + 2_000), ms(portion * 30), REPEAT);
            assert_eq!(recent.begin(), Some(at(1_000)));
        }

        recent.acknowledged_to(at(201_000), at(201_001), ms(59_999), REPEAT);
        assert_eq!(recent.begin(), Some(at(1_000)));
        recent.acknowledged_to(at(201_001), at(201_002), ms(60_000), REPEAT);
        assert_eq!(recent.begin(), Some(at(3_000)));
        recent.acknowledged_to(at(201_002), at(201_003), ms(119_998), REPEAT);
        let begin = recent.begin().unwrap();
        assert!((190_000..=201_000).contains(&begin.seq), "{begin:?}");
        recent.acknowledged_to(at(201_003), at(201_004), ms(500_000), REPEAT);
        assert_eq!(recent.begin(), Some(at(201_003)));
    }

    #[test]
    fn where_recalling_begins_goes_on_with_time_and_few_places_are_kept() {
        let (mut recent, mut stood) = (Recent::default(), at(0));
        for n in 0..200_000 {
            // Two hundred a second.
            recent.acknowledged_to(at(n), at(n + 1), ms(n * 5), REPEAT);
            let begin = recent.begin().unwrap();
            assert!(begin >= stood, "{begin:?} after {stood:?}");
            assert!(recent.marks.len() <= 257, "{} marks", recent.marks.len());
            let late = n.saturating_sub(begin.seq);
            assert!(late <= 12_000 + 100, "at {n} it is {late} back");
            assert!(late >= 12_000 - 1 || n < 12_200, "at {n} it is only {late} back");
            stood = begin;
        }
    }
}
