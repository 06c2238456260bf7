//! What was written down: calls, dead letters, sums, scores, and what became of sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::api::{Enrichers, PastSessions, Standings};
use crate::cdr::consumer::Standing;
use crate::cdr::consumer::letter::{Letter, LetterCount, LetterFilter, LetterState, Word};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::Lookup;
use crate::cdr::fraud::duration::Side;
use crate::cdr::fraud::{Found, FraudReason, FraudSums, Scored};
use crate::cdr::journal::Lsn;
use crate::cdr::record::CallRecord;
use crate::cdr::rollup::{Counts, Resolution, RollupKey, RollupQuery};
use crate::cdr::store::consumers::{Letters, RollupStore};
use crate::cdr::store::enrichments::Enrichments;
use crate::cdr::store::fraud::Scores;
use crate::cdr::store::{Answer, CallFilter, CallStore};
use crate::id::{CallId, SessionId};
use crate::money::Money;
use crate::routing::enrich;
use crate::routing::enrich::breaker::Condition::Resting;
use crate::routing::enrich::budget::Spent;
use crate::routing::ping::Session;
use crate::time::Wall;

use super::{START, World};

impl CallStore for World {
    fn list(
        &self,
        filter: CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(async move {
            self.check_store()?;
            let mut state = self.state.lock();
            let matching = state.stored.values().rev().filter(|record| filter.matches(record));
            let after = matching.filter(|record| after.is_none_or(|after| record.call < after));
            let page = after.take(limit).cloned().collect();
            state.asked.push(filter);
            Ok(page)
        })
    }

    fn find(&self, call: CallId) -> Answer<'_, Option<CallRecord>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().stored.get(&call).cloned())
        })
    }

    fn explain(&self, explain_ref: u64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().decisions.get(&explain_ref).cloned())
        })
    }
}

impl Letters for World {
    fn list_letters(
        &self,
        filter: LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<Letter>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let letters = state.letters.iter().rev().filter(|letter| meant(&filter, letter));
            let letters = letters.filter(|letter| before.is_none_or(|before| letter.id < before));
            Ok(letters.take(limit).cloned().collect())
        })
    }

    fn find_letter(&self, id: u64) -> Answer<'_, Option<Letter>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().letters.iter().find(|letter| letter.id == id).cloned())
        })
    }

    fn replay_letters(&self, filter: LetterFilter, by: SmolStr, at: Wall) -> Answer<'_, u64> {
        let word = Word { by, at, reason: None };
        Box::pin(std::future::ready(Ok(self.say(&filter, LetterState::Retrying, &word))))
    }

    fn discard_letters(&self, filter: LetterFilter, word: Word) -> Answer<'_, u64> {
        Box::pin(std::future::ready(Ok(self.say(&filter, LetterState::Discarded, &word))))
    }
}

impl World {
    fn say(&self, filter: &LetterFilter, becomes: LetterState, word: &Word) -> u64 {
        let mut state = self.state.lock();
        let letters = state.letters.iter_mut().filter(|letter| meant(filter, letter));
        letters.map(|letter| (letter.state, letter.word) = (becomes, Some(word.clone()))).count()
            as u64
    }
}

fn meant(filter: &LetterFilter, letter: &Letter) -> bool {
    filter.first.is_none_or(|first| letter.id >= first)
        && filter.last.is_none_or(|last| letter.id <= last)
        && filter.state.is_none_or(|state| letter.state == state)
        && filter.consumer.as_ref().is_none_or(|it| letter.consumer == *it)
        && filter.class.as_ref().is_none_or(|it| letter.class == *it)
}

impl Standings for World {
    fn standings(&self) -> Vec<Standing> {
        let position = Lsn { epoch: 3, seq: 104_112 };
        let standing = |consumer: &str| Standing {
            consumer: consumer.into(),
            position,
            at: Some(START),
            lag_facts: 0,
            waits_for: None,
            letters: LetterCount::default(),
        };
        let waits_for = Some(String::from("the store does not answer"));
        let letters = LetterCount { retrying: 1, dead: 2, next_due: None };
        let late =
            Standing { lag_facts: 17, at: None, waits_for, letters, ..standing("ship:audit") };
        vec![standing("rollups"), late]
    }
}

impl RollupStore for World {
    fn rollups(&self, query: RollupQuery, limit: usize) -> Answer<'_, Vec<(RollupKey, Counts)>> {
        Box::pin(async move {
            self.check_store()?;
            let rows = if query.resolution == Resolution::Minute { limit } else { 1 };
            self.state.lock().summed.push(query);
            let key = RollupKey {
                minute: START.0 / 60_000,
                campaign: "cmp_hvac".into(),
                ..RollupKey::default()
            };
            let counts = Counts { calls: 3, revenue_micros: 41_500_000, ..Counts::default() };
            Ok(vec![(key, counts); rows])
        })
    }
}

impl Enrichments for World {
    fn of_session(&self, session: SessionId) -> Answer<'_, Vec<Enrichment>> {
        Box::pin(async move {
            self.check_store()?;
            let derived = Enrichment {
                session,
                source: "embedded".into(),
                at: START,
                lookup: Lookup::Derived,
                tags: vec![("geo.state".into(), "OH".into())],
                cost: Money::ZERO,
            };
            let told = Enrichment {
                source: "lineinfo".into(),
                at: Wall(START.0 + 40),
                lookup: Lookup::Told,
                tags: vec![("line_type".into(), "mobile".into())],
                cost: Money(4_000),
                ..derived.clone()
            };
            Ok(vec![derived, told])
        })
    }
}

impl Enrichers for World {
    fn standings(&self) -> Answer<'_, Vec<enrich::Standing>> {
        Box::pin(async {
            self.check_store()?;
            let standing = |enricher| enrich::Standing {
                enricher,
                condition: Resting(Duration::from_millis(12_001)),
                spent: Spent { day: 20_529, asked: 7, cost: Money(28_000) },
                cached: 5,
                outcomes: [("told", 6), ("cached", 9)].into(),
            };
            Ok(self.snapshot.enrichers().into_iter().map(standing).collect())
        })
    }
}

impl PastSessions for World {
    fn past(&self, _: SessionId) -> Answer<'_, Option<Session>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(None)
        })
    }
}

/// Every stored call is suspected alike.
impl Scores for World {
    fn of_calls(&self, calls: Vec<CallId>) -> Answer<'_, Vec<(CallId, Scored)>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let stored = calls.into_iter().filter(|call| state.stored.contains_key(call));
            let scored = |call| (call, Self::scored(FraudReason::VelocityCaller));
            Ok(stored.map(scored).collect())
        })
    }

    fn of_session(&self, _session: SessionId) -> Answer<'_, Option<Scored>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(Some(Self::scored(FraudReason::VelocityPings)))
        })
    }

    fn sums(&self, side: Side, from: i64, to: i64) -> Answer<'_, BTreeMap<SmolStr, FraudSums>> {
        Box::pin(async move {
            self.check_store()?;
            let mut sums = FraudSums { calls: 50, high: 3, ..FraudSums::default() };
            sums.by_reason = [(FraudReason::VelocityCaller, 5)].into();
            // The first bin says which days were asked for.
            sums.bins[0] = u64::try_from(to - from).unwrap() + 1;
            sums.bins[side.suspect()] = 60;
            let (own, none) = (SmolStr::new_static("pub_bright"), SmolStr::default());
            Ok([(own, sums), (none, FraudSums::default())].into())
        })
    }
}

impl World {
    fn scored(reason: FraudReason) -> Scored {
        let found = Found {
            reason,
            points: reason.points(),
            have: Some("11.4".into()),
            want: Some("10".into()),
        };
        Scored { score: reason.points(), reasons: vec![found] }
    }
}
