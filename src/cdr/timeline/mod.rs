//! Folds the facts of one call into its record. Any prefix of the facts gives a valid record of
//! what was known by then (spec/data §1.3).
//!
//! ```text
//! Open ──ended──► Closed            Open ──orphan closed──► OrphanClosed ──late end──► Closed
//! ```
//!
//! What is found out later of a call's session changes its record once more, and leaves its state.

mod ending;
#[cfg(test)]
mod tests;

use super::conversion::{ConversionState, Standing, judge};
use super::due::CapDue;
use super::fact::{
    AddressFailed, Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Bucket,
    Decided, Fact, FactBody, HandedOver, Means, Party, Referred, Rematch, Rematched, Stamp,
    Transferred,
};
use super::journal::{Entry, Lsn};
use super::record::{
    Attempt, AttemptResult, CallRecord, CallState, Denial, FirstMatch, Flags, Handover, LeftAddress,
};
use crate::id::{HoldId, TargetId};
use crate::reason::Reason;

pub use ending::orphan_talk_ms;

use ending::{close_orphan, end, end_early};

/// How far the wall clock may have moved against the boot clock before the record is flagged.
const SKEW_MAX_MS: i64 = 2_000;

/// What a fact did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Known before, or of no consequence here.
    Nothing,
    Changed,
    /// The call is over, as of this fact.
    Closed,
}

/// Folds the next fact of its call into `record`. Facts that were applied before, and facts that
/// come after the end, change nothing.
pub fn apply(record: &mut CallRecord, entry: &Entry) -> Applied {
    fold(record, entry.lsn, &entry.fact)
}

/// Folds a fact that has yet to be written: it comes after all that are known.
pub fn foresee(record: &mut CallRecord, fact: &Fact) -> Applied {
    let lsn = Lsn { seq: record.last.seq.saturating_add(1), ..record.last };
    fold(record, lsn, fact)
}

fn fold(record: &mut CallRecord, lsn: Lsn, fact: &Fact) -> Applied {
    if lsn <= record.last {
        return Applied::Nothing;
    }
    record.last = lsn;
    let (at, body) = (fact.at, &fact.body);
    match record.state {
        CallState::Open => {}
        CallState::OrphanClosed if matches!(body, FactBody::Ended(_)) => {}
        CallState::OrphanClosed | CallState::Closed => {
            let FactBody::Rematched(found) = body else { return Applied::Nothing };
            return rematch(record, found, at);
        }
    }
    let bears_on_billing = match body {
        FactBody::Admitted(admitted) => admit(record, admitted, at),
        FactBody::Decided(decided) => decide(record, decided, at, lsn),
        FactBody::AttemptStarted(started) => start_attempt(record, started, at),
        FactBody::AttemptFailed(failed) if !record.knows(failed.leg) => {
            return deny(record, failed, at);
        }
        FactBody::AttemptFailed(failed) => fail_attempt(record, failed, at),
        FactBody::AddressFailed(failed) => return leave_address(record, failed, at),
        FactBody::Answered(answered) => answer(record, answered, at),
        FactBody::HandedOver(told) => hand_over(record, told, at),
        FactBody::Referred(referred) => refer(record, referred),
        FactBody::Transferred(moved) => transfer(record, moved, at),
        FactBody::Converted(_) => convert(record, at),
        FactBody::EndedEarly(early) => end_early(record, early, at),
        FactBody::Ended(ended) => end(record, ended, at),
        FactBody::OrphanClosed(closed) => close_orphan(record, closed),
        FactBody::AttemptProgress(progress) => return ring(record, progress, at),
        FactBody::Taken(_) => {
            let now_ms = offset_ms(record, at);
            record.taken_ms.get_or_insert(now_ms);
            return Applied::Changed;
        }
        FactBody::Farewells(farewells) => {
            record.farewells = Some(farewells.clone());
            return Applied::Changed;
        }
        FactBody::Confirmed(confirmed) => {
            let now_ms = offset_ms(record, at);
            record.confirmed_ms.get_or_insert(now_ms);
            record.codec = record.codec.take().or_else(|| confirmed.codec.clone());
            return Applied::Changed;
        }
        FactBody::HoldPlaced(placed) => {
            return reserve(record, placed.hold, &placed.target, &placed.buckets);
        }
        FactBody::HoldSettled(_)
        | FactBody::HoldReleased(_)
        | FactBody::Checkpoint(_)
        | FactBody::PingAccepted(_)
        | FactBody::SessionTouched(_)
        | FactBody::SessionReleased(_)
        | FactBody::SessionEnriched(_)
        | FactBody::SessionConsumed(_)
        | FactBody::Rematched(_)
        | FactBody::Deposited(_)
        | FactBody::CapReset(_)
        | FactBody::NodeStarted(_) => return Applied::Nothing,
    };
    match (bears_on_billing, record.state) {
        (false, _) => Applied::Nothing,
        (true, CallState::Open) => {
            record.rev += 1;
            Applied::Changed
        }
        (true, CallState::Closed | CallState::OrphanClosed) => {
            record.rev += 1;
            Applied::Closed
        }
    }
}

fn admit(record: &mut CallRecord, admitted: &Admitted, at: Stamp) -> bool {
    if record.trunk.is_some() {
        return false;
    }
    record.flags.clear(Flags::INCOMPLETE);
    record.admitted = at;
    record.trunk = Some(admitted.trunk.clone());
    record.sip_call_id = admitted.sip_call_id.clone();
    record.dialed = admitted.dialed.clone();
    record.did = admitted.did;
    record.caller = admitted.caller;
    record.source = admitted.source.clone();
    record.captured = admitted.captured.clone();
    record.carrier_call_id = admitted.carrier_call_id.clone();
    true
}

fn decide(record: &mut CallRecord, decided: &Decided, at: Stamp, lsn: Lsn) -> bool {
    record.config_rev = Some(decided.config_rev);
    record.campaign = decided.campaign.clone();
    record.publisher = decided.publisher.clone();
    record.session = decided.session;
    record.match_method = decided.match_method.clone();
    record.confidence_pct = decided.confidence_pct;
    record.refused = decided.refused;
    record.decided_no_route = decided.no_route;
    record.explain_ref = Some(lsn.key());
    if decided.degraded {
        record.flags.set(Flags::MATCH_DEGRADED);
    }
    record.decided_ms = Some(offset_ms(record, at));
    true
}

/// Whose the call was became known after its end. It is said once, and nothing else changes with it.
fn rematch(record: &mut CallRecord, found: &Rematched, at: Stamp) -> Applied {
    let is_due = record.flags.contains(Flags::MATCH_DEGRADED) && record.first_match.is_none();
    if found.outcome != Rematch::Found || !is_due {
        return Applied::Nothing;
    }
    let Rematched { session, match_method, confidence_pct, outcome: _ } = found.clone();
    record.first_match = Some(FirstMatch {
        session: std::mem::replace(&mut record.session, session),
        method: std::mem::replace(&mut record.match_method, match_method),
        confidence_pct: std::mem::replace(&mut record.confidence_pct, confidence_pct),
        until: at.wall(),
    });
    record.flags.set(Flags::REMATCHED);
    record.rev += 1;
    Applied::Changed
}

fn start_attempt(record: &mut CallRecord, started: &AttemptStarted, at: Stamp) -> bool {
    if record.attempts.iter().any(|attempt| attempt.leg == started.leg) {
        return false;
    }
    record.attempts.push(Attempt {
        leg: started.leg,
        target: started.target.clone(),
        buyer: started.buyer.clone(),
        uri: started.uri.clone(),
        terms: started.terms.clone(),
        started_ms: offset_ms(record, at),
        ringing_ms: None,
        settled_ms: None,
        result: AttemptResult::Pending,
        status: None,
        q850: None,
        reason: None,
        left: Vec::new(),
        talk_ms: None,
        way: started.way.clone(),
        dial: started.dial,
    });
    true
}

fn reserve(
    record: &mut CallRecord,
    hold: HoldId,
    target: &TargetId,
    buckets: &[Bucket],
) -> Applied {
    let known = record.dues.len();
    let dues = buckets.iter().filter_map(|bucket| CapDue::new(hold, target, bucket));
    record.dues.extend(dues);
    if record.dues.len() > known { Applied::Changed } else { Applied::Nothing }
}

fn ring(record: &mut CallRecord, progress: &AttemptProgress, at: Stamp) -> Applied {
    let now_ms = offset_ms(record, at);
    match pending(record, progress.leg) {
        Some(attempt) if attempt.ringing_ms.is_none() => {
            attempt.ringing_ms = Some(now_ms);
            Applied::Changed
        }
        Some(_) | None => Applied::Nothing,
    }
}

fn fail_attempt(record: &mut CallRecord, failed: &AttemptFailed, at: Stamp) -> bool {
    let now_ms = offset_ms(record, at);
    let Some(attempt) = pending(record, failed.leg) else { return false };
    attempt.result = if failed.reason == Reason::CallerAbandoned {
        AttemptResult::Abandoned
    } else {
        AttemptResult::Failed
    };
    attempt.settled_ms = Some(now_ms);
    attempt.status = Some(failed.status);
    attempt.q850 = failed.q850;
    attempt.reason = Some(failed.reason);
    record.handover.take_if(|it| it.leg == failed.leg);
    true
}

/// It failed without having begun: there was no room for it.
fn deny(record: &mut CallRecord, failed: &AttemptFailed, at: Stamp) -> Applied {
    let AttemptFailed { leg, reason, target, shortage, way, .. } = failed.clone();
    // Of a call whose beginning is missing nobody knows whether it began.
    let is_whole = !record.flags.contains(Flags::INCOMPLETE);
    let Some(target) = target.filter(|_| is_whole) else { return Applied::Nothing };
    let at_ms = offset_ms(record, at);
    record.denied.push(Denial { leg, target, at_ms, reason, shortage, way });
    Applied::Changed
}

fn leave_address(record: &mut CallRecord, failed: &AddressFailed, at: Stamp) -> Applied {
    let at_ms = offset_ms(record, at);
    let Some(attempt) = pending(record, failed.leg) else { return Applied::Nothing };
    let AddressFailed { address, status, reason, .. } = failed.clone();
    attempt.left.push(LeftAddress { address, at_ms, status, reason });
    Applied::Changed
}

/// The first answer counts; others are ended by whoever got them.
fn answer(record: &mut CallRecord, answered: &Answered, at: Stamp) -> bool {
    if record.answered_ms.is_some() {
        return false;
    }
    note_skew(record, at);
    let now_ms = offset_ms(record, at);
    let leg = answered.leg;
    record.dialogs = answered.dialogs;
    record.codec = answered.codec.clone();
    record.answered_leg = Some(leg);
    record.answered_ms = Some(now_ms);
    record.answered_boot_ns = at.boot_ns;
    if let Some(attempt) = pending(record, leg) {
        attempt.result = AttemptResult::Answered;
        attempt.settled_ms = Some(now_ms);
        attempt.status = Some(200);
    }
    let terms = record.attempt().and_then(|attempt| attempt.terms.as_ref());
    match terms.map(|terms| terms.currency.clone()) {
        Some(currency) => record.currency = currency,
        None => record.flags.set(Flags::UNRATED),
    }
    settle_money(record);
    true
}

/// Should nothing more be heard, the call may be up at the carrier.
fn refer(record: &mut CallRecord, referred: &Referred) -> bool {
    let Some(attempt) = pending(record, referred.leg) else { return false };
    let target = attempt.target.clone();
    if let Some(hold) = referred.hold {
        reserve(record, hold, &target, &referred.buckets);
    }
    record.handover = Some(Handover { leg: referred.leg, by: Means::Refer, status: None });
    true
}

/// What we know of the call ends here.
fn hand_over(record: &mut CallRecord, told: &HandedOver, at: Stamp) -> bool {
    let now_ms = offset_ms(record, at);
    let Some(attempt) = pending(record, told.leg) else { return false };
    attempt.result = AttemptResult::HandedOver;
    attempt.settled_ms = Some(now_ms);
    attempt.status = told.status;
    record.handover = Some(Handover { leg: told.leg, by: told.by, status: told.status });
    true
}

/// The attempt was answered, and took the place of the one that was answered before.
fn transfer(record: &mut CallRecord, moved: &Transferred, at: Stamp) -> bool {
    let now_ms = offset_ms(record, at);
    let Some(attempt) = pending(record, moved.leg) else { return false };
    attempt.result = AttemptResult::Answered;
    attempt.settled_ms = Some(now_ms);
    attempt.status = Some(200);
    record.dialogs = moved.dialogs.or(record.dialogs);
    true
}

fn convert(record: &mut CallRecord, at: Stamp) -> bool {
    if record.answered_ms.is_none() || record.converted_ms.is_some() {
        return false;
    }
    record.converted_ms = Some(offset_ms(record, at));
    settle_money(record);
    true
}

fn settle_money(record: &mut CallRecord) {
    let ended = record.state != CallState::Open;
    let standing = Standing {
        talk_ms: record.talk_ms.or_else(|| record.answered_ms.map(|_| record.alive_ms())),
        converted: record.converted_ms.is_some(),
        ended,
    };
    // An answer that the caller never took is worth nothing. That it did is said by its ACK or its
    // BYE; of a call whose process died the ACK may have come to nobody. One who was answered before
    // the target takes its answer when it is connected to it, and not before.
    let ended_as_taken =
        !ended || record.end_party == Some(Party::Caller) || record.flags.contains(Flags::ORPHAN);
    let taken = record.confirmed_ms.is_some() || (record.taken_ms.is_none() && ended_as_taken);
    let terms = match record.answered_leg.filter(|_| taken) {
        Some(_) => record.attempt().and_then(|attempt| attempt.terms.as_ref()),
        None => None,
    };
    let threshold_ms = terms.map(|terms| u64::from(terms.seconds) * 1_000);
    let earned = judge(terms, standing);
    record.conversion = earned.state;
    record.revenue = earned.revenue;
    record.payout = earned.payout;
    if ended && earned.state == ConversionState::Settled {
        let crossed = record.answered_ms.zip(threshold_ms).map(|(at, after)| at + after);
        record.converted_ms = record.converted_ms.or(crossed);
    }
}

fn pending(record: &mut CallRecord, leg: u16) -> Option<&mut Attempt> {
    let is_meant =
        |attempt: &&mut Attempt| attempt.leg == leg && attempt.result == AttemptResult::Pending;
    record.attempts.iter_mut().find(is_meant)
}

/// Milliseconds of boot time since admission.
fn offset_ms(record: &CallRecord, at: Stamp) -> u64 {
    at.boot().ms_since(record.admitted.boot())
}

fn note_skew(record: &mut CallRecord, at: Stamp) {
    let by_wall = at.wall_ms.saturating_sub(record.admitted.wall_ms);
    let by_boot = i64::try_from(offset_ms(record, at)).unwrap_or(i64::MAX);
    if by_wall.saturating_sub(by_boot).saturating_abs() > SKEW_MAX_MS {
        record.flags.set(Flags::CLOCK_SKEW);
    }
}
