//! What came to pass, so that it can be told that it did.

use std::ops::Add;

use serde::Serialize;

use crate::reason::Reason;
use crate::sip::call::report::{Means, Report};

use super::audit::{Audit, Seen};

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
    /// Addresses that were given up, their targets going on at another.
    pub addresses_left: u64,
    /// Answered at another address than the first.
    pub answered_there: u64,
    /// Ways that were given up, their targets being called another way.
    pub ways_left: u64,
    /// Redirections of targets that were followed.
    pub redirections: u64,
    /// 3xx that named what may not be named.
    pub forbidden: u64,
    /// Calls answered by a target at a place that another had named.
    pub answered_where_named: u64,
    /// Callers that were answered 302.
    pub moved: u64,
    /// Callers that were answered in order to be referred.
    pub taken: u64,
    /// REFERs that the carrier refused, and that were bridged.
    pub refer_refused: u64,
    /// REFERs after which the carrier told that the target had refused.
    pub refer_failed: u64,
    /// Calls that were referred, with an outcome that was told.
    pub outcome_known: u64,
    /// The same without.
    pub outcome_unknown: u64,
    /// NOTIFYs that came before the response to their REFER.
    pub notified_first: u64,
    /// Callers that were answered first and connected to a target later.
    pub connected_later: u64,
    /// Targets that hung up at once, and were followed by the next.
    pub ended_early: u64,
    /// Calls that another target answered after that.
    pub recovered: u64,
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
        let (mut was_taken, mut was_recovering) = (false, false);
        for report in &audit.reports {
            match report {
                Report::AttemptStarted { attempt: 2 } => self.failed_over += 1,
                Report::Confirmed => self.confirmed += 1,
                Report::Ended { reason: Reason::AckMissing, .. } => self.never_confirmed += 1,
                Report::AttemptFailed { reason: Reason::AnsweredElsewhere, .. } => {
                    self.answered_elsewhere += 1;
                }
                Report::AddressFailed { .. } => self.addresses_left += 1,
                Report::WayFailed { .. } => self.ways_left += 1,
                Report::Extended { .. } => self.redirections += 1,
                Report::HandedOver { by: Means::Redirect, .. } => self.moved += 1,
                Report::Taken => {
                    self.taken += 1;
                    was_taken = true;
                }
                Report::EndedEarly { .. } => was_recovering = true,
                Report::Answered { attempt } => {
                    self.connected_later += u64::from(was_taken);
                    self.recovered += u64::from(was_recovering);
                    self.answered_there += u64::from(audit.addresses_of(*attempt).0 > 1);
                    self.answered_where_named += u64::from(audit.is_named(*attempt));
                }
                _ => {}
            }
        }
        self.late_answers += audit.late_answers();
        self.forbidden += audit.forbidden();
        let Seen { refused, failed, known, unknown, overtaken, early } = audit.seen();
        self.refer_refused += refused;
        self.refer_failed += failed;
        self.outcome_known += known;
        self.outcome_unknown += unknown;
        self.notified_first += overtaken;
        self.ended_early += early;
    }

    /// What happened too seldom to prove anything: a simulation in which nothing happens is none.
    /// For runs of thousands of calls with all faults.
    pub fn gaps(&self) -> Vec<String> {
        [
            ("answered", self.answered, 4),
            ("refused", self.refused, 20),
            ("cancelled", self.cancelled, 20),
            ("failed over", self.failed_over, 20),
            ("never confirmed", self.never_confirmed, 1000),
            ("late answers", self.late_answers, 200),
            ("answered elsewhere", self.answered_elsewhere, 50),
            ("addresses left", self.addresses_left, 50),
            ("answered at another address", self.answered_there, 200),
            ("ways left", self.ways_left, 200),
            ("redirections followed", self.redirections, 400),
            ("redirections to forbidden places", self.forbidden, 200),
            ("answered at a place that was named", self.answered_where_named, 2000),
            ("moved by 302", self.moved, 100),
            ("taken to be referred", self.taken, 50),
            ("refused REFER", self.refer_refused, 500),
            ("failed after REFER", self.refer_failed, 500),
            ("REFER with a known outcome", self.outcome_known, 500),
            ("REFER with an unknown outcome", self.outcome_unknown, 500),
            ("NOTIFY before the response", self.notified_first, 2000),
            ("connected after REFER", self.connected_later, 1000),
            ("hung up on at once", self.ended_early, 200),
            ("answered by the next after that", self.recovered, 1000),
            ("crashes", self.crashes, 200),
        ]
        .into_iter()
        .filter(|(_, count, of)| count * of <= self.calls)
        .map(|(what, count, _)| format!("only {count} of {} calls: {what}", self.calls))
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
            addresses_left: self.addresses_left + other.addresses_left,
            answered_there: self.answered_there + other.answered_there,
            ways_left: self.ways_left + other.ways_left,
            redirections: self.redirections + other.redirections,
            forbidden: self.forbidden + other.forbidden,
            answered_where_named: self.answered_where_named + other.answered_where_named,
            moved: self.moved + other.moved,
            taken: self.taken + other.taken,
            refer_refused: self.refer_refused + other.refer_refused,
            refer_failed: self.refer_failed + other.refer_failed,
            outcome_known: self.outcome_known + other.outcome_known,
            outcome_unknown: self.outcome_unknown + other.outcome_unknown,
            notified_first: self.notified_first + other.notified_first,
            connected_later: self.connected_later + other.connected_later,
            ended_early: self.ended_early + other.ended_early,
            recovered: self.recovered + other.recovered,
            crashes: self.crashes + other.crashes,
        }
    }
}
