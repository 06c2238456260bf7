//! What came to pass, so that it can be told that it did.

use std::ops::Add;

use serde::Serialize;

use crate::reason::Reason;
use crate::sip::call::report::Report;

use super::audit::Audit;

/// Counts over one world or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub calls: u64,
    /// In and out of the edge.
    pub messages: u64,
    pub answered: u64,
    pub refused: u64,
    pub cancelled: u64,
    pub failed_over: u64,
    pub confirmed: u64,
    /// Answered, and the ACK never came.
    pub never_confirmed: u64,
    /// Answers of targets that were not bridged.
    pub late_answers: u64,
    /// Of a parallel tier, another was faster.
    pub answered_elsewhere: u64,
    /// Times the edge was killed and started again.
    pub crashes: u64,
}

impl Tally {
    /// What became of a call, as far as one process has seen it.
    pub(crate) fn note(&mut self, audit: &Audit) {
        let final_status = audit.caller_final();
        self.answered += u64::from(final_status == Some(200));
        self.cancelled += u64::from(final_status == Some(487));
        self.refused += u64::from(final_status.is_some_and(|status| status > 200 && status != 487));
        for report in &audit.reports {
            match report {
                Report::AttemptStarted { attempt: 2 } => self.failed_over += 1,
                Report::Confirmed => self.confirmed += 1,
                Report::Ended { reason: Reason::AckMissing, .. } => self.never_confirmed += 1,
                Report::AttemptFailed { reason: Reason::AnsweredElsewhere, .. } => {
                    self.answered_elsewhere += 1;
                }
                _ => {}
            }
        }
        self.late_answers += audit.late_answers();
    }

    /// What happened too seldom to prove anything: a simulation in which nothing happens is none.
    /// For runs of thousands of calls with all faults.
    pub fn gaps(&self) -> Vec<String> {
        let Self { calls, answered, refused, cancelled, failed_over, .. } = *self;
        let Self { never_confirmed, late_answers, answered_elsewhere, crashes, .. } = *self;
        [
            ("answered", answered, 4),
            ("refused", refused, 20),
            ("cancelled", cancelled, 20),
            ("failed over", failed_over, 20),
            ("never confirmed", never_confirmed, 1000),
            ("late answers", late_answers, 200),
            ("answered elsewhere", answered_elsewhere, 50),
            ("crashes", crashes, 200),
        ]
        .into_iter()
        .filter(|(_, count, of)| count * of <= calls)
        .map(|(what, count, _)| format!("only {count} of {calls} calls: {what}"))
        .collect()
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            messages: self.messages + other.messages,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            cancelled: self.cancelled + other.cancelled,
            failed_over: self.failed_over + other.failed_over,
            confirmed: self.confirmed + other.confirmed,
            never_confirmed: self.never_confirmed + other.never_confirmed,
            late_answers: self.late_answers + other.late_answers,
            answered_elsewhere: self.answered_elsewhere + other.answered_elsewhere,
            crashes: self.crashes + other.crashes,
        }
    }
}
