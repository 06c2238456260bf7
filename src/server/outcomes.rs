//! What live calls come to: records of those whose end says how much their caps count, folded from
//! the same facts as in the book.

use std::collections::BTreeMap;

use crate::cdr::due::CapCount;
use crate::cdr::fact::{Checkpoint, Fact, Stamp};
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
    /// Facts of this call are folded from now on. False if they were already.
    pub(super) fn follow(&mut self, call: CallId, admitted: Stamp) -> bool {
        let is_new = !self.records.contains_key(&call);
        if is_new {
            // Of no call, so it says nothing but when.
            let nothing = Fact::of_node(admitted, Checkpoint { live: Vec::new() });
            let first = Entry { lsn: Lsn::default(), fact: nothing };
            self.records.insert(call, CallRecord::begin(call, &first));
        }
        is_new
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

    /// The call is over by this fact: what its holds came to.
    pub(super) fn end(&mut self, ended: &Fact) -> Vec<(HoldId, Vec<CapCount>)> {
        let Some(mut record) = ended.call.and_then(|call| self.records.remove(&call)) else {
            return Vec::new();
        };
        timeline::foresee(&mut record, ended);
        record.conclude()
    }
}
