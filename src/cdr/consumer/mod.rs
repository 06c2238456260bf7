//! What works from the facts behind the projection: at its own pace, each from its own offset, which
//! is written in one transaction with what the facts came to (spec/data §2.4, §2.5).
//!
//! Owns: what a consumer is, what it is given and what it may answer, when a fact that failed is
//! tried again ([`retry`]), and what becomes of one that fails for good ([`letter`]). Does not own:
//! where facts are read from and effects are written to (the server runs consumers, the store
//! writes).
//!
//! ```text
//! journal ─► projection ─► Facts ─► Consumer ─► Effects ┐
//!                            ▲                          ├─► one transaction ─► store
//!                            └── offset ◄───────────────┘
//! ```
//!
//! Invariants: I11, a fact has its effects once, from wherever reading begins again. A fact that
//! fails is set aside and keeps no other waiting, unless the consumer keeps strictly to the order.

pub mod letter;
pub mod retry;

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use smol_str::SmolStr;

use super::enrichment::Enrichment;
use super::fact::{FactBody, Rematch};
use super::fraud::FraudEffects;
use super::journal::{Entry, Lsn};
use super::record::CallRecord;
use super::rollup::Rolled;
use crate::id::CallId;
use crate::time::Wall;

use letter::LetterCount;

/// Works from facts.
pub trait Consumer: Send {
    /// Takes in facts that have had their effects, to know again what it knew of them, or to make sure of
    /// effects elsewhere. They are given in order, before any to work from. After an error this value is
    /// used no more.
    fn recall<'a>(&'a mut self, _facts: &'a Facts) -> Recall<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Says what facts come to, which are given in order. After an error nothing of them has an
    /// effect, and this value is used no more.
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a>;

    /// Where recalling has to begin so that nothing is missed; absent: nothing has to be recalled. What
    /// came before an earlier answer is not given any more.
    fn recall_after(&self) -> Option<Lsn> {
        None
    }
}

/// What [`Consumer::recall`] returns.
pub type Recall<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

/// What [`Consumer::work`] returns.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<Effects, Fault>> + Send + 'a>>;

/// What facts come to: written together with the offset, or not at all. Nothing of it is an answer,
/// too: then only the offset is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    pub rolled: Rolled,
    /// What was found out about callers without a fact that says so.
    pub enriched: Vec<Enrichment>,
    pub fraud: FraudEffects,
}

/// Why facts have no effects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is wrong with the facts: all of them wait, however long.
    #[error("{0}")]
    Outage(String),
    /// With a fact. It is tried again, a number of times.
    #[error("{class}: {detail}")]
    Transient { class: &'static str, detail: String },
    /// With a fact, and for good.
    #[error("{class}: {detail}")]
    Permanent { class: &'static str, detail: String },
}

/// Facts in order, and the records of the calls that end in them or are told more of.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    parts: Vec<(Arc<[Entry]>, Range<usize>)>,
    records: BTreeMap<CallId, Arc<CallRecord>>,
}

impl Facts {
    /// Of `entries` those in `range`, with the records of all calls that end in them.
    pub fn new(
        entries: Arc<[Entry]>,
        range: Range<usize>,
        records: impl IntoIterator<Item = Arc<CallRecord>>,
    ) -> Self {
        let mut facts = Self::default();
        facts.push(entries, range, records);
        facts
    }

    /// Appends what follows.
    pub fn push(
        &mut self,
        entries: Arc<[Entry]>,
        range: Range<usize>,
        records: impl IntoIterator<Item = Arc<CallRecord>>,
    ) {
        self.parts.push((entries, range));
        self.add_records(records);
    }

    pub fn add_records(&mut self, records: impl IntoIterator<Item = Arc<CallRecord>>) {
        self.records.extend(records.into_iter().map(|record| (record.call, record)));
    }

    /// Those up to `until`.
    #[must_use]
    pub fn until(mut self, until: Lsn) -> Self {
        for (entries, range) in &mut self.parts {
            let end = entries.partition_point(|entry| entry.lsn <= until);
            range.end = range.end.min(end).max(range.start);
        }
        self
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.parts.iter().flat_map(|(entries, range)| &entries[range.clone()])
    }

    pub fn last(&self) -> Option<&Entry> {
        self.iter().next_back()
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|(_, range)| range.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of a call that a fact in here ends, or of which one tells something new after its end; as it
    /// became by that fact or a later one.
    pub fn record(&self, call: CallId) -> Option<&Arc<CallRecord>> {
        self.records.get(&call)
    }

    /// Calls whose records are others with a fact in here, and are not in here.
    pub fn without_record(&self) -> Vec<CallId> {
        let renewed = self.iter().filter(|entry| renews_a_record(&entry.fact.body));
        let calls = renewed.filter_map(|entry| entry.fact.call);
        calls.filter(|call| !self.records.contains_key(call)).collect()
    }
}

/// Where a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub consumer: SmolStr,
    /// The last fact it is done with.
    pub position: Lsn,
    /// When that happened; absent: it has read nothing in this process.
    pub at: Option<Wall>,
    /// Facts it has not read.
    pub lag_facts: u64,
    /// Absent: it is at work.
    pub waits_for: Option<String>,
    pub letters: LetterCount,
}

/// Whether the record of a call that is over is another with this fact.
pub fn renews_a_record(body: &FactBody) -> bool {
    ends_a_call(body) || matches!(body, FactBody::Rematched(it) if it.outcome == Rematch::Found)
}

/// Whether the record of a call is whole with this fact.
pub fn ends_a_call(body: &FactBody) -> bool {
    matches!(body, FactBody::Ended(_) | FactBody::OrphanClosed(_))
}
