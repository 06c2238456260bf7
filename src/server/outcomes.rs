//! What live calls come to: records of those whose end says how much their caps count, folded from
//! the same facts as in the book.

use std::collections::BTreeMap;

use crate::cdr::due::CapCount;
use crate::cdr::fact::Fact;
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::record::CallRecord;
use crate::cdr::timeline;
use crate::id::{CallId, HoldId};

/// Of one shard. Calls without such caps are not in it.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    records: BTreeMap<CallId, CallRecord>,
}

impl Outcomes {
    /// Facts of a call are folded from its first one on.
    pub(super) fn follow(&mut self, call: CallId, admitted: Fact) {
        let first = Entry { lsn: Lsn::default(), fact: admitted };
        let mut record = CallRecord::begin(call, &first);
        timeline::foresee(&mut record, &first.fact);
        self.records.insert(call, record);
    }

    /// A fact is about to be written.
    pub(super) fn note(&mut self, fact: &Fact) {
        if self.records.is_empty() {
            return;
        }
        if let Some(record) = fact.call.and_then(|call| self.records.get_mut(&call)) {
            timeline::foresee(record, fact);
        }
    }

    /// Whether the end of the call says if it counts as connected for this hold.
    pub(super) fn has_connection_due(&self, call: CallId, hold: HoldId) -> bool {
        self.records.get(&call).is_some_and(|record| record.has_connection_due(hold))
    }

    /// What the call has come to so far, by its holds: of those of targets that are gone it is all.
    pub(super) fn so_far(&mut self, call: CallId) -> Vec<(HoldId, Vec<CapCount>)> {
        self.records.get_mut(&call).map(CallRecord::conclude).unwrap_or_default()
    }

    /// The call is over by this fact: what its holds came to. Nothing of one that is not followed.
    pub(super) fn end(&mut self, ended: &Fact) -> Vec<(HoldId, Vec<CapCount>)> {
        let Some(mut record) = ended.call.and_then(|call| self.records.remove(&call)) else {
            return Vec::new();
        };
        timeline::foresee(&mut record, ended);
        record.conclude()
    }
}
