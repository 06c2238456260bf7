use proptest::prelude::*;

use super::*;
use crate::cdr::fact::{
    Checkpoint, Confirmed, Dialogs, Ended, EndedEarly, Fact, HoldReleased, OrphanClosed,
    OrphanPolicy, Shortage, Taken,
};
use crate::cdr::record::Outcome;
use crate::cdr::rollup;
use crate::cdr::store::{CountedCalls, TriedTarget};
use crate::cdr::testing::{START_MS, Script, call_id, stamp};
use crate::id::{HoldId, SessionId};
use crate::money::Money;

#[test]
fn a_target_that_hangs_up_early_owes_nothing_and_the_next_one_counts() {
    let gone = Script::new().dial(1).answer_at(1_000).then(1_100, Confirmed::default());
    let gone = gone.then(6_000, EndedEarly { leg: 1, q850: Some(16) });
    let open = gone.record();
    assert_eq!((open.answered_leg, open.answered_ms, open.dialogs), (None, None, None));
    let early = &open.attempts[0];
    assert_eq!((early.result, early.talk_ms), (AttemptResult::EndedEarly, Some(5_000)));
    assert_eq!(early.reason, Some(Reason::TargetHungUp));

    let next = gone.dial(2).answer_at(9_000).then(9_300, Confirmed::default());
    let converted = next.clone().convert_at(99_000).end_at(100_000).record();
    assert_eq!((converted.answered_leg, converted.answered_ms), (Some(2), Some(9_000)));
    assert_eq!((converted.talk_ms, converted.ended_ms), (Some(91_000), Some(100_000)));
    assert_eq!((converted.outcome(), converted.revenue), (Outcome::Converted, Money(20_000_000)));
    // The threshold counts from the second answer.
    let short = next.end_at(98_000).record();
    assert_eq!((short.outcome(), short.revenue), (Outcome::Connected, Money::ZERO));
}

#[test]
fn a_call_that_nobody_takes_after_an_early_end_was_connected_to_that_one() {
    let gone = Script::new().dial(1).answer_at(1_000).then(1_100, Confirmed::default());
    let gone = gone.then(6_000, EndedEarly { leg: 1, q850: None }).dial(2);
    for record in [
        gone.clone().fail_at(8_000, 486, Reason::AttemptBusy).end_at(8_000).record(),
        gone.orphan(0).record(),
    ] {
        assert_eq!((record.outcome(), record.answered_leg), (Outcome::Connected, Some(1)));
        assert_eq!((record.talk_ms, record.ended_ms), (Some(5_000), Some(6_000)));
        assert_eq!(record.revenue, Money::ZERO);
    }
}

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
    let confirmed = talk().then(2_000, Confirmed::default()).then(181_000, by_target()).record();
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
fn a_target_without_room_is_on_record_and_counts_nowhere() {
    let denied = Script::new().deny_at(9, 1, "tgt_full", Reason::CapFull);
    let nobody = denied.clone().abandon_at(20).record();
    let called = denied.dial(2).fail_at(900, 486, Reason::AttemptBusy).abandon_at(901).record();

    let cap = "target/tgt_full/attempted/total".into();
    let denial = Denial {
        leg: 1,
        target: "tgt_full".into(),
        at_ms: 9,
        reason: Reason::CapFull,
        shortage: Some(Shortage { cap, limit: 1, used: 1, held: 0 }),
        way: None,
    };
    assert_eq!(nobody.denied, std::slice::from_ref(&denial));
    assert_eq!((nobody.attempts.len(), nobody.outcome()), (0, Outcome::Refused));
    assert_eq!(called.denied, [denial]);
    assert_eq!((called.attempts.len(), called.outcome()), (1, Outcome::NoAnswer));
    let dialed: Vec<_> = CountedCalls::of(&called).into_iter().map(|it| it.target).collect();
    assert_eq!(dialed, ["tgt_summit".into()]);
    let tried = TriedTarget::of(&called, called.started_at());
    let tried: Vec<_> = tried.into_iter().map(|it| (it.target, it.attempts)).collect();
    assert_eq!(tried, [("tgt_summit".into(), 1)]);
    let attempts: Vec<_> =
        rollup::of_call(&called).into_iter().map(|it| (it.0.target, it.1.attempts)).collect();
    assert_eq!(attempts, [("tgt_summit".into(), 1)]);
}

#[test]
fn a_failure_of_which_the_beginning_is_missing_is_not_taken_for_one_without_room() {
    let whole = Script::new().dial(1).fail_at(900, 486, Reason::AttemptBusy);
    let last = whole.entries().last().unwrap();
    let mut record = CallRecord::begin(call_id(1), last);

    assert_eq!(apply(&mut record, last), Applied::Nothing);
    assert_eq!(record.denied, []);
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

fn rematched(outcome: Rematch) -> Rematched {
    Rematched {
        outcome,
        session: Some(SessionId::from_bytes([7; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
    }
}

#[test]
fn whose_a_call_was_changes_nothing_else_of_it_and_once() {
    let script = Script::degraded(1).dial(1).answer_at(1_000).end_at(120_000);
    let before = script.record();
    let script = script.then(900_000, rematched(Rematch::Found));

    let record = script.record();

    let first = FirstMatch {
        session: None,
        method: "static".into(),
        confidence_pct: 60,
        until: stamp(START_MS + 1 + 900_000).wall(),
    };
    let mut expected = CallRecord {
        rev: before.rev + 1,
        last: Lsn { epoch: 1, seq: before.last.seq + 1 },
        session: Some(SessionId::from_bytes([7; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
        first_match: Some(first),
        ..before
    };
    expected.flags.set(Flags::REMATCHED);
    assert_eq!(record, expected);

    let again = Rematched { confidence_pct: 50, ..rematched(Rematch::Found) };
    let again = script.then(901_000, again).record();
    assert_eq!(CallRecord { last: record.last, ..again }, record);
}

#[test]
fn a_call_that_was_rightly_matched_or_is_up_stays_as_it_is() {
    let over = Script::degraded(1).dial(1).answer_at(1_000).end_at(120_000);
    for outcome in Rematch::ALL.into_iter().filter(|it| *it != Rematch::Found) {
        let (before, last) = (over.record(), over.clone().then(900_000, rematched(outcome)));
        assert_eq!(CallRecord { last: before.last, ..last.record() }, before, "{outcome:?}");
    }
    let up = Script::degraded(1).dial(1).answer_at(1_000);
    let plain = Script::of(1).end_at(9);
    for script in [up, plain] {
        let (before, told) = (script.record(), script.then(900, rematched(Rematch::Found)));
        assert_eq!(CallRecord { last: before.last, ..told.record() }, before);
    }
}

#[test]
fn a_call_whose_process_died_is_matched_again_and_gets_its_end_all_the_same() {
    let orphan = Script::degraded(1).dial(1).answer_at(1_000).orphan(30_000);
    let record = orphan.then(60_000, rematched(Rematch::Found)).end_at(90_000).record();
    assert_eq!((record.state, record.talk_ms), (CallState::Closed, Some(89_000)));
    assert_eq!(record.match_method, "pool_lease");
}
