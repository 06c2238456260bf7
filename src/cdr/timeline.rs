//! Folds the facts of one call into its record. Any prefix of the facts gives a valid record of
//! what was known by then (spec/data §1.3).
//!
//! ```text
//! Open ──ended──► Closed            Open ──orphan closed──► OrphanClosed ──late end──► Closed
//! ```

use super::conversion::{ConversionState, Standing, judge};
use super::due::CapDue;
use super::fact::{
    AddressFailed, Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Bucket,
    Decided, Ended, Fact, FactBody, HandedOver, Means, OrphanClosed, OrphanPolicy, Party, Referred,
    Stamp, Transferred,
};
use super::journal::{Entry, Lsn};
use super::record::{Attempt, AttemptResult, CallRecord, CallState, Flags, Handover, LeftAddress};
use crate::id::{HoldId, TargetId};
use crate::reason::Reason;

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
        CallState::OrphanClosed | CallState::Closed => return Applied::Nothing,
    }
    let bears_on_billing = match body {
        FactBody::Admitted(admitted) => admit(record, admitted, at),
        FactBody::Decided(decided) => decide(record, decided, at, lsn),
        FactBody::AttemptStarted(started) => start_attempt(record, started, at),
        FactBody::AttemptFailed(failed) => fail_attempt(record, failed, at),
        FactBody::AddressFailed(failed) => return leave_address(record, failed, at),
        FactBody::Answered(answered) => answer(record, answered, at),
        FactBody::HandedOver(told) => hand_over(record, told, at),
        FactBody::Referred(referred) => refer(record, referred),
        FactBody::Transferred(moved) => transfer(record, moved, at),
        FactBody::Converted(_) => convert(record, at),
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
        | FactBody::SessionConsumed(_)
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
    record.explain_ref = Some(lsn.key());
    record.decided_ms = Some(offset_ms(record, at));
    true
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

fn end(record: &mut CallRecord, ended: &Ended, at: Stamp) -> bool {
    let is_orphan = record.state == CallState::OrphanClosed;
    if is_orphan {
        record.flags.set(Flags::ORPHAN_CORRECTED);
        record.flags.clear(Flags::END_INFERRED);
    }
    note_skew(record, at);
    if ended.status >= 300 {
        take_back_answer(record, ended.reason);
    }
    let by_boot = at.boot_ns.checked_sub(record.answered_boot_ns).map(|ns| ns / 1_000_000);
    // An orphan's true end may be told after the machine restarted: its boot clock tells nothing.
    let talk_ms = match by_boot {
        Some(talk_ms) if !is_orphan || !record.flags.contains(Flags::CLOCK_SKEW) => talk_ms,
        Some(_) | None => wall_talk_ms(record, at),
    };
    let talk_ms = match ended.talk_ms.filter(|_| record.answered_ms.is_some()) {
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

/// The target answered, and the caller was told of a failure: to nobody who pays was it connected
/// (spec/sip §3, bug 12).
fn take_back_answer(record: &mut CallRecord, reason: Reason) {
    let Some(leg) = record.answered_leg.take() else { return };
    record.answered_ms = None;
    record.answered_boot_ns = 0;
    record.alive_ms = 0;
    record.converted_ms = None;
    record.dialogs = None;
    record.codec = None;
    record.flags.clear(Flags::UNRATED);
    if let Some(attempt) = record.attempts.iter_mut().find(|attempt| attempt.leg == leg) {
        attempt.result = AttemptResult::Abandoned;
        attempt.reason = Some(reason);
    }
}

/// A call that was counted as up at its threshold turns out to have been over.
fn take_back_conversion(record: &mut CallRecord, talk_ms: u64) {
    let ended_ms = record.answered_ms.map(|from| from.saturating_add(talk_ms));
    record.converted_ms = record.converted_ms.filter(|at| ended_ms.is_some_and(|end| *at <= end));
}

fn close_orphan(record: &mut CallRecord, closed: &OrphanClosed) -> bool {
    let last_known_ms =
        [record.decided_ms, record.confirmed_ms]
            .into_iter()
            .chain(record.attempts.iter().flat_map(|attempt| {
                [Some(attempt.started_ms), attempt.ringing_ms, attempt.settled_ms]
            }))
            .flatten()
            .max();
    close(record, closed.talk_ms, last_known_ms.unwrap_or(0));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cdr::fact::{Checkpoint, Confirmed, Dialogs, Fact, HoldReleased, Taken};
    use crate::cdr::record::Outcome;
    use crate::cdr::testing::{Script, call_id};
    use crate::id::HoldId;
    use crate::money::Money;

    #[test]
    fn a_converted_call_has_all_its_times_and_its_money() {
        let record = Script::new().dial(1).ring_at(544).answer_at(4_124).end_at(293_592).record();

        assert_eq!(record.state, CallState::Closed);
        assert_eq!(record.outcome(), Outcome::Converted);
        assert_eq!(record.conversion, ConversionState::Settled);
        assert_eq!((record.revenue, record.payout), (Money(20_000_000), Money(10_000_000)));
        assert_eq!(record.setup_ms(), Some(4_124));
        assert_eq!(record.talk_ms, Some(289_468));
        assert_eq!(record.codec.as_deref(), Some("PCMU/8000"));
        assert_eq!(record.ended_ms, Some(293_592));
        assert_eq!(record.converted_ms, Some(4_124 + 90_000));
        let attempt = record.attempt().unwrap();
        assert_eq!((attempt.pdd_ms(), attempt.ring_ms()), (Some(537), Some(3_580)));
        assert_eq!(attempt.result, AttemptResult::Answered);
        assert_eq!(record.flags, Flags::default());
    }

    #[test]
    fn nobody_pays_for_an_answer_that_the_caller_never_took() {
        let talk = || Script::new().dial(1).answer_at(1_000);
        let by = |party, reason| Ended { party, reason, status: 200, q850: None, talk_ms: None };
        let by_target = || by(Party::Target, Reason::TargetHungUp);

        let never_taken = talk().then(181_000, by(Party::System, Reason::MaxDuration)).record();
        let of_target = talk().then(181_000, by_target()).record();
        let confirmed =
            talk().then(2_000, Confirmed::default()).then(181_000, by_target()).record();
        // Its ACK was lost; its BYE says that it had the answer.
        let of_caller = talk().end_at(181_000).record();

        assert_eq!((never_taken.revenue, never_taken.payout), (Money::ZERO, Money::ZERO));
        assert_eq!(of_target.revenue, Money::ZERO);
        assert_eq!(confirmed.revenue, Money(20_000_000));
        assert_eq!(of_caller.revenue, Money(20_000_000));
        assert_eq!(never_taken.conversion, ConversionState::None);
    }

    #[test]
    fn a_caller_that_never_heard_the_answer_was_not_connected() {
        let by = |party, reason, status| Ended { party, reason, status, q850: None, talk_ms: None };
        for ended in [
            by(Party::System, Reason::PrackMissing, 500),
            by(Party::Caller, Reason::CallerHungUp, 487),
            by(Party::Target, Reason::TargetHungUp, 500),
        ] {
            let record =
                Script::new().dial(1).ring_at(500).answer_at(1_000).then(181_000, ended).record();

            assert_eq!(record.outcome(), Outcome::NoAnswer);
            assert_eq!((record.answered_ms, record.answered_leg), (None, None));
            assert_eq!((record.talk_ms, record.ended_ms), (None, Some(181_000)));
            assert_eq!((record.conversion, record.revenue), (ConversionState::None, Money::ZERO));
            assert_eq!((record.payout, record.codec.as_deref()), (Money::ZERO, None));
            let attempt = &record.attempts[0];
            assert_eq!(attempt.result, AttemptResult::Abandoned);
            assert_eq!((attempt.status, attempt.settled_ms), (Some(200), Some(1_000)), "it did");
            assert_eq!(attempt.reason, record.end_reason);
        }
    }

    #[test]
    fn a_call_that_hunts_and_is_abandoned_tells_what_became_of_each_attempt() {
        let script = Script::new().dial(1).fail_at(30_000, 408, Reason::AttemptNoAnswer);
        let script = script.dial(2).fail_at(30_210, 503, Reason::AttemptCarrierFailed).dial(3);
        let record = script.abandon_at(53_217).record();

        assert_eq!(record.outcome(), Outcome::NoAnswer);
        assert_eq!((record.talk_ms, record.ended_ms), (None, Some(53_217)));
        let results: Vec<_> =
            record.attempts.iter().map(|attempt| (attempt.result, attempt.status)).collect();
        let expected = [
            (AttemptResult::Failed, Some(408)),
            (AttemptResult::Failed, Some(503)),
            (AttemptResult::Abandoned, Some(487)),
        ];
        assert_eq!(results, expected);
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_duration_and_sets_the_flag() {
        let steady = Script::new().dial(1).answer_at(1_000).end_at(61_000).record();
        let script = Script::new().dial(1).answer_at(1_000).step_wall(3_600_000).end_at(61_000);
        let stepped = script.record();

        assert_eq!(stepped.talk_ms, steady.talk_ms);
        assert!(!steady.flags.contains(Flags::CLOCK_SKEW));
        assert!(stepped.flags.contains(Flags::CLOCK_SKEW));
    }

    #[test]
    fn only_the_first_answer_and_the_first_end_count() {
        let script = Script::new().dial(1).dial(2).answer_at(1_000);
        let record = script.clone().end_at(5_000).answer_at(6_000).end_at(9_000).record();

        assert_eq!(record.talk_ms, Some(4_000));
        assert_eq!(record.rev, script.end_at(5_000).record().rev);
    }

    #[test]
    fn applying_the_same_facts_again_changes_nothing() {
        let script = Script::new().dial(1).ring_at(100).answer_at(1_000).end_at(5_000);
        let mut record = script.record();
        let before = record.clone();

        for entry in script.entries() {
            assert_eq!(apply(&mut record, entry), Applied::Nothing);
        }

        assert_eq!(record, before);
    }

    #[test]
    fn an_orphan_talks_as_long_as_the_policy_says() {
        let mut record = Script::new().dial(1).answer_at(1_000).record();
        record.seen_alive(60_000);
        let restart = Stamp { wall_ms: record.wall(301_000).0, boot_ns: 5 };

        let talk_ms = |policy| orphan_talk_ms(&record, policy, restart);

        assert_eq!(talk_ms(OrphanPolicy::Checkpoint), 60_000);
        assert_eq!(talk_ms(OrphanPolicy::Zero), 0);
        assert_eq!(talk_ms(OrphanPolicy::UntilRestart), 300_000);
    }

    #[test]
    fn an_orphan_that_converted_was_alive_that_long() {
        let mut record = Script::new().dial(1).answer_at(1_000).convert_at(91_000).record();
        record.seen_alive(60_000);
        let closed = OrphanClosed {
            talk_ms: orphan_talk_ms(&record, OrphanPolicy::Checkpoint, Stamp::default()),
            policy: OrphanPolicy::Checkpoint,
        };

        assert!(close_orphan(&mut record, &closed));

        assert_eq!(record.talk_ms, Some(90_000));
        assert_eq!(record.ended_ms, Some(91_000));
        assert_eq!(record.outcome(), Outcome::Converted);
        assert_eq!(record.end_reason, Some(Reason::NodeRestart));
    }

    #[test]
    fn what_is_spoken_is_what_the_answer_says_or_else_the_ack() {
        let answered = |codec| Answered { leg: 1, dialogs: None, codec };
        let spoken = |answered, confirmed| {
            let script = Script::new().dial(1).then(1_000, answered);
            script.then(1_200, Confirmed { codec: confirmed }).end_at(5_000).record().codec
        };

        let alaw = || Some("PCMA/8000".into());
        assert_eq!(spoken(answered(None), alaw()), alaw());
        assert_eq!(spoken(answered(alaw()), Some("PCMU/8000".into())), alaw());
    }

    #[test]
    fn a_call_that_was_handed_over_earns_nothing_here_and_says_what_is_known() {
        for status in [Some(200), None] {
            let told = HandedOver { leg: 1, by: Means::Refer, status };
            let record = Script::new().dial(1).then(900, told).end_at(1_000).record();

            assert_eq!(record.outcome(), Outcome::HandedOver);
            let handover = record.handover.unwrap();
            assert_eq!((handover.outcome_known(), handover.status), (status.is_some(), status));
            assert_eq!(record.attempts[0].result, AttemptResult::HandedOver);
            assert_eq!(record.attempts[0].settled_ms, Some(900));
            assert_eq!((record.talk_ms, record.revenue), (None, Money::ZERO));
        }
    }

    #[test]
    fn a_crash_after_the_carrier_took_the_refer_leaves_an_outcome_that_is_not_known() {
        let referred = || {
            let referred = Referred { leg: 1, hold: None, buckets: Vec::new() };
            Script::new().dial(1).then(800, referred)
        };
        let record = referred().orphan(0).record();

        assert_eq!(record.outcome(), Outcome::HandedOver);
        assert_eq!(record.handover.map(|it| it.outcome_known()), Some(false));
        assert_eq!(record.end_reason, Some(Reason::HandedOver));
        assert_eq!(record.attempts[0].result, AttemptResult::HandedOver);
        assert_eq!((record.talk_ms, record.revenue), (None, Money::ZERO));

        let failed = referred().fail_at(900, 503, Reason::AttemptCarrierFailed);
        assert_eq!(failed.clone().orphan(0).record().handover, None, "it has come back");
        let bridged = failed.dial(2).answer_at(2_000).end_at(121_000).record();
        assert_eq!(bridged.outcome(), Outcome::Converted);
    }

    #[test]
    fn a_caller_that_was_answered_first_owes_nothing_until_it_is_connected() {
        let script = || Script::new().then(100, Taken {}).dial(1).answer_at(1_000);

        let refused = script().end_at(121_000).record();
        assert_eq!((refused.conversion, refused.revenue), (ConversionState::None, Money::ZERO));
        assert_eq!(refused.payout, Money::ZERO);
        let connected = script().then(1_200, Confirmed::default()).end_at(121_000).record();
        assert_eq!(connected.conversion, ConversionState::Settled);
    }

    #[test]
    fn a_replacement_of_the_target_is_an_attempt_and_the_money_stays_with_the_first() {
        let script = Script::new().dial(1).answer_at(1_000).dial(2);
        let dialogs = Some(Dialogs { caller: 1_000, target: 77 });
        let moved = Transferred { leg: 2, dialogs };
        let record = script.then(30_000, moved).end_at(121_000).record();

        assert_eq!(record.dialogs, dialogs, "a BYE after a crash comes from the new one");
        assert_eq!(record.attempts[1].result, AttemptResult::Answered);
        assert_eq!((record.answered_leg, record.talk_ms), (Some(1), Some(120_000)));
        assert_eq!(record.conversion, ConversionState::Settled);
    }

    #[test]
    fn a_late_end_corrects_an_orphan() {
        let script = Script::new().dial(1).answer_at(1_000).orphan(30_000);
        let orphan = script.record();
        let corrected = script.end_at(121_000).record();

        assert_eq!((orphan.state, orphan.talk_ms), (CallState::OrphanClosed, Some(30_000)));
        assert_eq!((corrected.state, corrected.talk_ms), (CallState::Closed, Some(120_000)));
        assert!(corrected.flags.contains(Flags::ORPHAN_CORRECTED));
        assert_eq!(corrected.conversion, ConversionState::Settled);
        assert!(corrected.rev > orphan.rev);
    }

    #[test]
    fn a_call_whose_party_was_found_gone_ends_when_that_was_last_heard() {
        let script = Script::new().dial(1).answer_at(1_000).then(1_200, Confirmed::default());
        let lost = script.clone().lose_at(333_000, 240_000).record();
        let early = script.convert_at(91_000).lose_at(333_000, 12_000).record();

        assert_eq!((lost.talk_ms, lost.ended_ms), (Some(240_000), Some(241_000)));
        assert!(lost.flags.contains(Flags::END_INFERRED));
        assert_eq!(lost.conversion, ConversionState::Settled);
        assert_eq!(early.talk_ms, Some(12_000));
        assert_eq!((early.conversion, early.converted_ms), (ConversionState::None, None));
        assert_eq!((early.revenue, early.payout), (Money::ZERO, Money::ZERO));
    }

    #[test]
    fn the_end_of_an_orphan_is_inferred_until_its_true_end_is_told() {
        let script = Script::new().dial(1).answer_at(1_000).orphan(30_000);

        assert!(script.record().flags.contains(Flags::END_INFERRED));
        assert!(!script.end_at(121_000).record().flags.contains(Flags::END_INFERRED));
    }

    #[test]
    fn facts_that_do_not_bear_on_billing_raise_no_revision() {
        let script = Script::new().dial(1).ring_at(100);
        let hold = HoldId::of(call_id(1), 1, "x");
        let more = script.clone().then(150, HoldReleased { hold });
        let more = more.then(160, Checkpoint { live: vec![] });

        assert_eq!(more.record().rev, script.record().rev);
    }

    #[test]
    fn a_call_whose_admission_is_lost_is_flagged_and_still_counts() {
        let entries = Script::new().dial(1).answer_at(1_000).end_at(100_000).entries().to_vec();
        let mut record = CallRecord::begin(call_id(1), &entries[3]);

        for entry in &entries[3..] {
            apply(&mut record, entry);
        }

        assert!(record.flags.contains(Flags::INCOMPLETE));
        assert_eq!(record.talk_ms, Some(99_000));
    }

    proptest! {
        /// I4, for every prefix of every order of facts, also of absurd ones.
        #[test]
        fn any_prefix_gives_a_record_that_adds_up(
            steps in proptest::collection::vec((0_usize..9, 0_u64..100_000), 0..20),
        ) {
            let mut script = Script::new();
            let mut at = 0;
            for (step, after_ms) in steps {
                at += after_ms;
                script = match step {
                    0 | 1 => script.dial(u16::try_from(at % 4).unwrap()),
                    2 => script.ring_at(at),
                    3 => script.fail_at(at, 486, Reason::AttemptBusy),
                    4 => script.answer_at(at),
                    5 => script.convert_at(at),
                    6 => script.end_at(at),
                    7 => script.lose_at(at, after_ms),
                    _ => script.orphan(at),
                };
                let record = script.record();
                prop_assert_eq!(
                    record.talk_ms.is_some(),
                    record.answered_ms.is_some() && record.state != CallState::Open
                );
                if let (Some(answered), Some(talk)) = (record.answered_ms, record.talk_ms) {
                    prop_assert_eq!(record.ended_ms, Some(answered + talk));
                }
                prop_assert!(record.payout <= record.revenue);
                let mut bytes = Vec::new();
                minicbor::encode(&record, &mut bytes).unwrap();
                prop_assert_eq!(minicbor::decode::<CallRecord>(&bytes).unwrap(), record);
            }
        }
    }

    #[test]
    fn a_fact_of_another_kind_of_thing_is_of_no_consequence() {
        let mut record = Script::new().record();
        let at = Stamp::default();
        let entry = Entry {
            lsn: Lsn { epoch: 1, seq: 99 },
            fact: Fact::of_node(at, Checkpoint { live: vec![] }),
        };

        assert_eq!(apply(&mut record, &entry), Applied::Nothing);
    }
}
