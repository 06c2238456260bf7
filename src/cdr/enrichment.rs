//! What is on record of how sessions were enriched: who was asked about their callers, what came of it,
//! and what it cost.

use smol_str::SmolStr;

use super::fact::{Lookup, SessionEnriched};
use crate::id::SessionId;
use crate::money::Money;
use crate::time::Wall;

/// What one source came to for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrichment {
    pub session: SessionId,
    /// One of `enrichers`, or what is built in.
    pub source: SmolStr,
    pub at: Wall,
    pub lookup: Lookup,
    pub tags: Vec<(SmolStr, SmolStr)>,
    pub cost: Money,
}

impl Enrichment {
    pub fn of(fact: &SessionEnriched, at: Wall) -> Self {
        let SessionEnriched { session, source, lookup, tags, cost } = fact.clone();
        Self { session, source, at, lookup, tags, cost }
    }

    /// How long after the session's first call this came, for which it could not be waited; `None`: before
    /// it, or nobody has to be waited for.
    pub fn late_ms(&self, first_call: Option<Wall>) -> Option<u64> {
        if self.lookup == Lookup::Derived {
            return None;
        }
        let late = self.at.0.checked_sub(first_call?.0)?;
        u64::try_from(late).ok().filter(|late| *late > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_after_the_first_call_was_late_for_it() {
        let enrichment = Enrichment {
            session: SessionId::from_bytes([1; 16]),
            source: "lineinfo".into(),
            at: Wall(1_000),
            lookup: Lookup::Told,
            tags: vec![],
            cost: Money::ZERO,
        };
        let late = |first_call: Option<i64>| enrichment.late_ms(first_call.map(Wall));
        assert_eq!((late(None), late(Some(1_000)), late(Some(1_001))), (None, None, None));
        assert_eq!(late(Some(960)), Some(40));
    }
}
