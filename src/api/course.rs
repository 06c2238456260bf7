//! What a call came to with its plan, read from its record.

use crate::cdr::record::{Attempt, AttemptResult, CallRecord, Denial};
use crate::reason::Reason;
use crate::routing::Usage;
use crate::routing::course::{Course, Shortage, Turn, TurnEnd};

/// By target, not by count: a target may have several attempts, or none though it was its turn.
pub(super) fn course(record: &CallRecord) -> Course {
    let attempted = record.attempts.iter().map(attempted);
    let none = record.denied.iter().map(|it| denied(record, it));
    let course: Course = attempted.chain(none).collect();
    course.ended_as(record.no_route())
}

fn attempted(attempt: &Attempt) -> Turn {
    let end = match (attempt.result, attempt.reason) {
        (AttemptResult::HandedOver, _) => TurnEnd::HandedOver,
        // Found out before any INVITE left, unless it had left for another address of the target.
        (
            AttemptResult::Failed,
            Some(reason @ (Reason::AttemptBarred | Reason::AttemptUnresolved)),
        ) if attempt.left.is_empty() => TurnEnd::Denied { reason, shortage: None },
        (
            AttemptResult::Pending
            | AttemptResult::Answered
            | AttemptResult::Failed
            | AttemptResult::Abandoned
            | AttemptResult::EndedEarly,
            _,
        ) => TurnEnd::Dialed,
    };
    Turn { target: attempt.target.clone(), end }
}

fn denied(record: &CallRecord, denial: &Denial) -> Turn {
    let shortage = denial.shortage.as_ref().map(|short| Shortage {
        cap: short.cap.clone(),
        limit: short.limit,
        usage: Usage { used: short.used, held: short.held },
        at: record.wall(denial.at_ms),
    });
    let end = TurnEnd::Denied { reason: denial.reason, shortage };
    Turn { target: denial.target.clone(), end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fact::{AddressFailed, HandedOver, Means};
    use crate::cdr::testing::Script;

    #[test]
    fn each_target_whose_turn_it_was_is_told_by_what_came_of_it() {
        let script = Script::new().deny_at(10, 1, "full", Reason::CapFull).dial(2);
        let record = script.fail_at(900, 302, Reason::AttemptRedirected).dial(3).record();

        let course = course(&record);

        let shortage = Shortage {
            cap: "target/full/attempted/total".into(),
            limit: 1,
            usage: Usage { used: 1, held: 0 },
            at: record.wall(10),
        };
        let denied = TurnEnd::Denied { reason: Reason::CapFull, shortage: Some(shortage) };
        assert_eq!(course.of(&"full".into()), Some(&denied));
        assert_eq!(course.of(&"tgt_summit".into()), Some(&TurnEnd::Dialed));
        assert_eq!(course.of(&"tgt_cool".into()), None);
    }

    #[test]
    fn a_target_without_an_address_or_that_may_not_be_called_was_not_dialled() {
        let summit = "tgt_summit".into();
        for reason in [Reason::AttemptBarred, Reason::AttemptUnresolved] {
            let record = Script::new().dial(1).fail_at(9, reason.status(), reason).record();
            let denied = TurnEnd::Denied { reason, shortage: None };
            assert_eq!(course(&record).of(&summit), Some(&denied));
        }
        // The next of its addresses could not be reached; the first was.
        let reason = Reason::AttemptNoResponse;
        let left =
            AddressFailed { leg: 1, address: "udp:192.0.2.7:5060".into(), status: None, reason };
        let script = Script::new().dial(1).then(2_000, left);
        let record = script.fail_at(2_001, 500, Reason::AttemptUnresolved).record();
        assert_eq!(course(&record).of(&summit), Some(&TurnEnd::Dialed));
    }

    #[test]
    fn a_target_that_the_carrier_was_told_of_was_handed_over() {
        let told = HandedOver { leg: 1, by: Means::Redirect, status: None };
        let record = Script::new().dial(1).then(9, told).record();
        assert_eq!(course(&record).of(&"tgt_summit".into()), Some(&TurnEnd::HandedOver));
    }
}
