//! Invariants that the projection finds broken (spec/data §0.4). It sees every fact once, and every record
//! when its call is over.

use crate::cdr::record::{CallRecord, CallState};

/// How often each was, since that was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// I3: a call was answered, or ended, that had not begun or was over.
    pub calls_unbegun: u64,
    /// I4: a record that is over says how long its call talked, but not when it was answered, or the
    /// other way round; or its times do not add up.
    pub times_unlike: u64,
    /// I10: a call converted that had.
    pub converted_again: u64,
    /// I11: a fact came that had been taken, or lies before one that had.
    pub facts_again: u64,
}

impl Violations {
    /// Each with the name of its invariant.
    pub fn by_name(self) -> [(&'static str, u64); 4] {
        let Self { calls_unbegun, times_unlike, converted_again, facts_again } = self;
        [
            ("I3", calls_unbegun),
            ("I4", times_unlike),
            ("I10", converted_again),
            ("I11", facts_again),
        ]
    }
}

/// I4, of a record that is over.
pub(super) fn times_add_up(record: &CallRecord) -> bool {
    let talked = match (record.answered_ms, record.ended_ms, record.talk_ms, record.state) {
        (Some(from), Some(to), Some(talk), CallState::Closed) => to.checked_sub(from) == Some(talk),
        _ => true,
    };
    record.answered_ms.is_some() == record.talk_ms.is_some() && talked
}
