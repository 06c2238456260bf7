//! How a call ends in its record: by a party, by the caller's failure, or because its process died.

use crate::cdr::fact::{Ended, EndedEarly, OrphanClosed, OrphanPolicy, Party, Stamp};
use crate::cdr::record::{Attempt, AttemptResult, CallRecord, CallState, Flags};
use crate::reason::Reason;

use super::{note_skew, offset_ms, pending, settle_money};

pub(super) fn end(record: &mut CallRecord, ended: &Ended, at: Stamp) -> bool {
    let is_orphan = record.state == CallState::OrphanClosed;
    if is_orphan {
        record.flags.set(Flags::ORPHAN_CORRECTED);
        record.flags.clear(Flags::END_INFERRED);
    }
    note_skew(record, at);
    if ended.status >= 300 {
        take_back_answer(record, ended.reason);
    }
    let early_talk_ms = settle_for_early_end(record);
    let by_boot = at.boot_ns.checked_sub(record.answered_boot_ns).map(|ns| ns / 1_000_000);
    // An orphan's true end may be told after the machine restarted: its boot clock tells nothing.
    let talk_ms = match by_boot {
        Some(talk_ms) if !is_orphan || !record.flags.contains(Flags::CLOCK_SKEW) => talk_ms,
        Some(_) | None => wall_talk_ms(record, at),
    };
    let talk_ms = match ended.talk_ms.filter(|_| record.answered_ms.is_some()) {
        _ if early_talk_ms.is_some() => early_talk_ms.unwrap_or(0),
        Some(proven_ms) => {
            record.flags.set(Flags::END_INFERRED);
            take_back_conversion(record, proven_ms.min(talk_ms));
            proven_ms.min(talk_ms)
        }
        None => talk_ms,
    };
    close(record, talk_ms, offset_ms(record, at));
    record.state = CallState::Closed;
    record.end_party = Some(ended.party);
    record.end_reason = Some(ended.reason);
    record.status = Some(ended.status);
    record.q850 = ended.q850;
    give_up_pending(record, ended.reason, ended.status);
    settle_money(record);
    true
}

/// The target is gone, and the call goes on: whoever answers next is the one that counts.
pub(super) fn end_early(record: &mut CallRecord, early: &EndedEarly, at: Stamp) -> bool {
    if record.answered_leg != Some(early.leg) || record.converted_ms.is_some() {
        return false;
    }
    let now_ms = offset_ms(record, at);
    let answered_ms = forget_answer(record);
    record.farewells = None;
    // The caller was answered before whoever is next, and takes that one's answer when it hears it.
    record.taken_ms = record.taken_ms.or(answered_ms);
    record.confirmed_ms = None;
    if let Some(attempt) = record.attempts.iter_mut().find(|it| it.leg == early.leg) {
        attempt.result = AttemptResult::EndedEarly;
        attempt.reason = Some(Reason::TargetHungUp);
        attempt.q850 = early.q850;
        attempt.talk_ms = answered_ms.map(|answered_ms| now_ms.saturating_sub(answered_ms));
    }
    settle_money(record);
    true
}

/// Nobody else took the call: it was connected to the target that hung up early, and so long.
fn settle_for_early_end(record: &mut CallRecord) -> Option<u64> {
    if record.answered_leg.is_some() || record.handover.is_some() {
        return None;
    }
    let is_early = |it: &&Attempt| it.result == AttemptResult::EndedEarly;
    let early = record.attempts.iter().rev().find(is_early)?;
    record.answered_leg = Some(early.leg);
    record.answered_ms = early.settled_ms;
    early.talk_ms
}

/// The target answered, and the caller was told of a failure: to nobody who pays was it connected
/// (spec/sip §3, bug 12).
fn take_back_answer(record: &mut CallRecord, reason: Reason) {
    let Some(leg) = record.answered_leg else { return };
    forget_answer(record);
    record.converted_ms = None;
    if let Some(attempt) = record.attempts.iter_mut().find(|attempt| attempt.leg == leg) {
        attempt.result = AttemptResult::Abandoned;
        attempt.reason = Some(reason);
    }
}

/// When it was, in milliseconds since admission.
fn forget_answer(record: &mut CallRecord) -> Option<u64> {
    record.answered_leg = None;
    record.answered_boot_ns = 0;
    record.alive_ms = 0;
    record.dialogs = None;
    record.codec = None;
    record.flags.clear(Flags::UNRATED);
    record.answered_ms.take()
}

/// A call that was counted as up at its threshold turns out to have been over.
fn take_back_conversion(record: &mut CallRecord, talk_ms: u64) {
    let ended_ms = record.answered_ms.map(|from| from.saturating_add(talk_ms));
    record.converted_ms = record.converted_ms.filter(|at| ended_ms.is_some_and(|end| *at <= end));
}

pub(super) fn close_orphan(record: &mut CallRecord, closed: &OrphanClosed) -> bool {
    let last_known_ms =
        [record.decided_ms, record.confirmed_ms]
            .into_iter()
            .chain(record.attempts.iter().flat_map(|attempt| {
                [Some(attempt.started_ms), attempt.ringing_ms, attempt.settled_ms]
            }))
            .flatten()
            .max();
    let early_talk_ms = settle_for_early_end(record);
    let farewells = record.farewells.take();
    close(record, early_talk_ms.unwrap_or(closed.talk_ms), last_known_ms.unwrap_or(0));
    // Each process says them again, until one hears the end.
    record.farewells = farewells;
    record.state = CallState::OrphanClosed;
    record.flags.set(Flags::ORPHAN);
    if record.answered_ms.is_some() {
        record.flags.set(Flags::END_INFERRED);
    }
    record.end_party = Some(Party::System);
    let is_handed_over = record.handover.is_some() && record.answered_ms.is_none();
    let reason = if is_handed_over { Reason::HandedOver } else { Reason::NodeRestart };
    record.end_reason = Some(reason);
    record.status = Some(if record.answered_ms.is_some() { 200 } else { 500 });
    if let Some(leg) = record.handover.map(|it| it.leg)
        && let Some(attempt) = pending(record, leg)
    {
        attempt.result = AttemptResult::HandedOver;
    }
    give_up_pending(record, Reason::NodeRestart, 500);
    settle_money(record);
    true
}

/// How long an answered call talked by the wall clock, and at least as long as it was known alive.
fn wall_talk_ms(record: &CallRecord, at: Stamp) -> u64 {
    let answered_at = record.wall(record.answered_ms.unwrap_or(0)).0;
    let talked = at.wall_ms.saturating_sub(answered_at);
    u64::try_from(talked).unwrap_or(0).max(record.alive_ms())
}

/// How long an orphan counts as talked under `policy`, in milliseconds; `now` is the restart.
pub fn orphan_talk_ms(record: &CallRecord, policy: OrphanPolicy, now: Stamp) -> u64 {
    if record.answered_ms.is_none() {
        return 0;
    }
    match policy {
        OrphanPolicy::Zero => 0,
        OrphanPolicy::Checkpoint => record.alive_ms(),
        OrphanPolicy::UntilRestart => wall_talk_ms(record, now),
    }
}

/// Sets the end so that it is the answer plus the talk, by construction (I4).
fn close(record: &mut CallRecord, talk_ms: u64, ended_unanswered_ms: u64) {
    record.farewells = None;
    record.talk_ms = record.answered_ms.map(|_| talk_ms);
    record.ended_ms = Some(match record.answered_ms {
        Some(answered_ms) => answered_ms.saturating_add(talk_ms),
        None => ended_unanswered_ms,
    });
}

fn give_up_pending(record: &mut CallRecord, reason: Reason, status: u16) {
    let ended_ms = record.ended_ms;
    for attempt in &mut record.attempts {
        if attempt.result == AttemptResult::Pending {
            attempt.result = AttemptResult::Abandoned;
            attempt.settled_ms = ended_ms;
            attempt.status = Some(status);
            attempt.reason = Some(reason);
        }
    }
}
