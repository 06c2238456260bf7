//! What becomes of facts in the book, over restarts and failures.

mod desk;
mod orphans;

use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::*;
use crate::cdr::conversion::ConversionState;
use crate::cdr::fact::{
    AtEnd, AttemptStarted, Bucket, CapReset, Checkpoint, Dialogs, Fact, Farewell, Farewells,
    HandedOver, HoldPlaced, HoldSettled, Means, PingAccepted, Rematch, Rematched, ResetPart,
    SessionConsumed, SessionTouched,
};
use crate::cdr::journal::Durability;
use crate::cdr::journal::file::{Hooks, Journal, Settings as JournalSettings};
use crate::cdr::record::Flags;
use crate::cdr::store::degraded::DegradedCalls;
use crate::cdr::store::sqlite::SqliteStore;
use crate::cdr::store::{
    Answer, CallStore, CapUsage, CountedCalls, EarlierCall, StoredSession, TriedTarget, TriedWay,
};
use crate::cdr::testing::{START_MS, Script, call_id, ping, stamp};
use crate::id::{HoldId, SessionId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::Wall;

use desk::Desk;

#[tokio::test]
async fn a_call_that_ended_is_in_the_book_with_its_money_and_its_reasons() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let script = talk(1);

    desk.append(&journal, &mut projection, script.facts()).await;

    let stored = desk.store.find(call_id(1)).await.unwrap().unwrap();
    assert_eq!((stored.talk_ms, stored.revenue), (Some(119_000), Money(20_000_000)));
    assert_eq!(stored.attempts, script.record().attempts);
    let explain = desk.store.explain(stored.explain_ref.unwrap()).await.unwrap();
    assert_eq!(explain.unwrap(), b"{\"steps\":[]}"[..]);
    assert_eq!(projection.live().count(), 0);
}

#[tokio::test]
async fn a_call_that_is_up_is_live_and_becomes_a_row_only_when_it_ends() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let script = Script::of(1).dial(1).answer_at(1_000);

    desk.append(&journal, &mut projection, script.facts()).await;

    let live = projection.live().list(&CallFilter::default(), 10);
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].conversion, ConversionState::Pending);
    assert_eq!(desk.store.find(call_id(1)).await.unwrap(), None);
}

/// I11, and I3: whatever is read twice counts once.
#[tokio::test]
async fn a_restart_reads_again_and_counts_once() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let mut facts = talk(1).facts();
    facts.insert(4, used(1));
    desk.append(&journal, &mut projection, facts).await;
    let young = Script::of(2).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, young.facts()).await;
    drop((projection, journal));

    for _ in 0..3 {
        let (journal, mut projection, opening) = desk.start().await;
        assert_eq!(desk.rows().await.first().map(|row| row.rev), talk(1).record().rev.into());
        assert_eq!(opening.usage.iter().map(|usage| usage.used).collect::<Vec<_>>(), [1]);
        assert_eq!(opening.gaps, []);
        desk.append(&journal, &mut projection, vec![]).await;
    }

    assert_eq!(desk.rows().await.len(), 2);
}

#[tokio::test]
async fn a_long_call_is_kept_over_a_restart_without_reading_all_of_it() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let long = Script::of(1).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, long.facts()).await;
    for n in 1..=50 {
        let facts = Script::of(n * 10_000).dial(1).answer_at(10).end_at(2_000).facts();
        desk.append(&journal, &mut projection, facts).await;
    }

    let progress = desk.store.progress().await.unwrap().unwrap();
    let parked = desk.store.open_calls().await.unwrap();

    assert_eq!(progress.replay_after, progress.offset);
    assert_eq!(parked.iter().map(|record| record.call).collect::<Vec<_>>(), [call_id(1)]);
    let end = long.end_at(600_000).facts().split_off(4);
    desk.append(&journal, &mut projection, end).await;
    assert_eq!(desk.store.open_calls().await.unwrap(), []);
    let row = desk.store.find(call_id(1)).await.unwrap().unwrap();
    assert_eq!(row.talk_ms, Some(599_000));
}

#[tokio::test]
async fn a_call_that_goes_on_gets_a_partial_row_now_and_then() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let script = Script::of(1).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, script.facts()).await;

    let mut revisions = Vec::new();
    for minute in [10_u32, 16, 20, 32] {
        let at = stamp(START_MS + i64::from(minute) * 60_000);
        let live = vec![(call_id(1), minute * 60_000 - 1_000)];
        let checkpoint = Fact::of_node(at, Checkpoint { live });
        desk.append(&journal, &mut projection, vec![checkpoint]).await;
        revisions.push(desk.store.find(call_id(1)).await.unwrap().map(|row| row.rev));
    }

    let opened = script.record().rev;
    assert_eq!(revisions, [None, Some(opened + 1), Some(opened + 1), Some(opened + 2)]);
}

#[tokio::test]
async fn what_the_book_did_not_take_is_written_later_and_once() {
    let desk = Desk::new().await;
    desk.book.failures.store(2, Ordering::Relaxed);
    let (journal, mut projection, _) = desk.start().await;
    let mut facts = talk(1).facts();
    facts.insert(4, used(1));
    let last = journal.appender().append_all(facts, Durability::Durable).unwrap();

    let live = projection.live();
    for _ in 0..2 {
        assert!(projection.step().await.is_err());
        // It is up no more, and known all the same.
        assert_eq!((live.count(), live.closing().len()), (0, 1));
        assert_eq!(live.closing()[0].call, call_id(1));
        assert_eq!(live.find(call_id(1)).unwrap().state, CallState::Closed);
    }
    while projection.offset() < last {
        assert!(projection.step().await.unwrap());
    }

    assert_eq!((live.closing(), live.find(call_id(1))), (vec![], None));
    assert_eq!(desk.rows().await.len(), 1);
    assert_eq!(desk.store.usage().await.unwrap()[0].used, 1);
}

/// Whose the `n`-th call was, said a quarter of an hour later.
fn rematched(n: u64, outcome: Rematch) -> Fact {
    let found = Rematched {
        outcome,
        session: Some(SessionId::from_bytes([7; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
    };
    Fact::of_call(call_id(n), stamp(START_MS + 900_000), found)
}

fn degraded(n: u64) -> Script {
    Script::degraded(n).dial(1).answer_at(1_000).end_at(120_000)
}

#[tokio::test]
async fn a_call_that_is_looked_at_again_has_one_more_revision_whatever_is_said_twice() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    for n in 1..=3 {
        desk.append(&journal, &mut projection, degraded(n).facts()).await;
    }
    desk.append(&journal, &mut projection, talk(4).facts()).await;
    let waiting = desk.store.degraded(9).await.unwrap();
    assert_eq!(waiting, [1, 2, 3].map(call_id));
    let before = desk.rows().await;

    let facts = vec![rematched(1, Rematch::Found), rematched(2, Rematch::Same)];
    desk.append(&journal, &mut projection, facts).await;
    let after = desk.rows().await;
    assert_eq!(desk.store.degraded(9).await.unwrap(), [call_id(3)]);
    let twice = vec![rematched(1, Rematch::Found), rematched(1, Rematch::Found)];
    desk.append(&journal, &mut projection, twice).await;

    assert_eq!(desk.rows().await, after);
    let revisions: Vec<_> = after.iter().zip(&before).map(|(it, was)| it.rev - was.rev).collect();
    assert_eq!(revisions, [0, 0, 0, 1], "the latest call is the first");
    let row = &after[3];
    assert_eq!((row.session, &*row.match_method), (Some(ping(7, 0).session), "pool_lease"));
    assert_eq!((row.revenue, row.payout, row.talk_ms), {
        let was = &before[3];
        (was.revenue, was.payout, was.talk_ms)
    });
    assert_eq!(desk.store.usage().await.unwrap(), vec![]);
}

#[tokio::test]
async fn what_was_found_of_a_call_outlives_a_kill_and_a_book_that_is_locked_or_lost() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    desk.append(&journal, &mut projection, degraded(1).facts()).await;
    let before = desk.rows().await[0].rev;

    // The fact is on disk, and nobody has read it.
    journal.appender().append_all([rematched(1, Rematch::Found)], Durability::Durable).unwrap();
    drop((projection, journal));
    let (journal, mut projection, _) = desk.start().await;
    let record = desk.rows().await[0].clone();
    assert_eq!((record.rev, desk.store.degraded(9).await.unwrap()), (before + 1, vec![]));

    desk.append(&journal, &mut projection, degraded(2).facts()).await;
    desk.book.failures.store(2, Ordering::Relaxed);
    let last =
        journal.appender().append_all([rematched(2, Rematch::Found)], Durability::Durable).unwrap();
    for _ in 0..2 {
        assert!(projection.step().await.is_err());
    }
    while projection.offset() < last {
        assert!(projection.step().await.unwrap());
    }
    let rows = desk.rows().await;
    assert_eq!(rows.iter().map(|row| row.rev).collect::<Vec<_>>(), [before + 1; 2]);

    drop((projection, journal));
    let other = desk.with_another_book().await;
    let (_journal, _projection, _) = other.start().await;
    assert_eq!(other.rows().await, rows, "the journal alone says so");
    assert_eq!(other.store.degraded(9).await.unwrap(), vec![]);
}

#[tokio::test]
async fn sessions_and_what_became_of_them_survive_a_restart() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let at = stamp(START_MS);
    let (live, used_up, expired) = (ping(1, 60_000), ping(2, 60_000), ping(3, -1));
    let session = used_up.session;
    let facts = vec![
        Fact::of_node(at, live.clone()),
        Fact::of_node(at, used_up.clone()),
        Fact::of_node(at, expired),
        Fact::of_call(call_id(1), at, SessionConsumed { session }),
    ];
    desk.append(&journal, &mut projection, facts).await;
    drop((projection, journal));

    let (_journal, _projection, opening) = desk.start().await;

    let sessions: Vec<_> =
        opening.sessions.into_iter().map(|session| (session.ping, session.consumed_at)).collect();
    assert_eq!(sessions, [(live, None), (used_up, Some(Wall(START_MS)))]);
}

#[tokio::test]
async fn what_signs_of_life_said_of_numbers_and_callers_survives_a_restart() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let at = stamp(START_MS);
    let number = |digits| PhoneNumber::from_digits(digits);
    let (first, second) = (number(16_145_550_101), number(16_145_550_102));
    let shown = |n| PingAccepted { number: first, ..ping(n, 60_000) };
    let touched = |n, number, has_lost_number, caller| SessionTouched {
        session: ping(n, 0).session,
        expires_at_ms: START_MS + 70_000,
        number,
        tags: vec![],
        has_lost_number,
        caller,
    };
    let caller = number(16_145_550_188);
    let opened = (1..=4).map(|n| Fact::of_node(at, shown(n))).collect();
    desk.append(&journal, &mut projection, opened).await;
    let said = [
        touched(1, None, false, caller),
        touched(2, second, false, None),
        touched(3, second, false, caller),
        touched(3, None, true, None),
        touched(4, None, true, None),
        touched(4, second, false, None),
    ];
    let facts = said.into_iter().map(|it| Fact::of_node(at, it)).collect();
    desk.append(&journal, &mut projection, facts).await;
    drop((projection, journal));

    let (_journal, _projection, opening) = desk.start().await;

    let sessions: Vec<_> =
        opening.sessions.into_iter().map(|it| (it.ping.number, it.ping.caller)).collect();
    assert_eq!(sessions, [(first, caller), (second, None), (None, caller), (second, None)]);
}

#[tokio::test]
async fn that_a_cap_began_anew_is_known_after_a_restart_with_what_was_used_by_then() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let at = stamp(START_MS);
    let bucket =
        Bucket { cap: "target/a".into(), window: "d:2026-03-17".into(), amount: 3, at_end: None };
    let reset = |window: &str, ends_at_ms| CapReset {
        cap: bucket.cap.clone(),
        window: window.into(),
        ends_at_ms: Some(ends_at_ms),
        amount: 3,
        parts: vec![ResetPart { node: None, slice: None, level: 3 }],
        by: "ops".into(),
        why: "calls of a test".into(),
        key: Some("k".into()),
    };
    let settled = HoldSettled { hold: HoldId::from_bytes([7; 16]), buckets: vec![bucket.clone()] };
    let (current, over) =
        (reset("d:2026-03-17", START_MS + 1), reset("d:2026-03-10", START_MS - 7 * 86_400_000));
    let facts = vec![
        Fact::of_node(at, settled),
        Fact::of_node(at, current.clone()),
        Fact::of_node(at, over),
    ];
    desk.append(&journal, &mut projection, facts).await;
    drop((projection, journal));

    let (_journal, _projection, opening) = desk.start().await;

    assert_eq!(opening.resets, [(current, Wall(START_MS))]);
    let used: Vec<_> = opening.usage.iter().map(|it| (it.window.as_str(), it.used)).collect();
    assert_eq!(used, [("d:2026-03-17", 3)]);
}

#[tokio::test]
async fn a_row_is_replaced_by_a_higher_revision_only() {
    let desk = Desk::new().await;
    let newer = Arc::new(talk(1).record());
    let older = Arc::new(Script::of(1).dial(1).answer_at(1_000).record());
    let write = |record: &Arc<CallRecord>| {
        let calls = vec![Arc::clone(record)];
        desk.store.write(Arc::new(Batch { calls, ..Batch::default() }))
    };

    write(&newer).await.unwrap();
    write(&older).await.unwrap();

    assert_eq!(desk.rows().await, [(*newer).clone()]);
}

#[tokio::test]
async fn what_must_never_happen_is_counted() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let call = talk(1);
    desk.append(&journal, &mut projection, call.facts()).await;
    assert_eq!(projection.take_violations(), Violations::default());

    // It ends once more.
    let end = call.facts().pop().unwrap();
    desk.append(&journal, &mut projection, vec![end]).await;
    let found = projection.take_violations();
    assert_eq!(found, Violations { calls_unbegun: 1, ..Violations::default() });

    let twice = Script::of(2).dial(1).answer_at(1_000).convert_at(61_000).convert_at(62_000);
    desk.append(&journal, &mut projection, twice.facts()).await;
    let found = projection.take_violations();
    assert_eq!(found, Violations { converted_again: 1, ..Violations::default() });

    projection.absorb(&twice.entries()[..1]);
    let found = projection.take_violations();
    assert_eq!(found, Violations { facts_again: 1, ..Violations::default() });
}

#[test]
fn a_record_whose_times_do_not_add_up_is_found() {
    let sound = talk(1).record();
    assert!(times_add_up(&sound));
    let talk_ms = sound.talk_ms.unwrap();
    for wrong in [
        CallRecord { talk_ms: Some(talk_ms + 1), ..sound.clone() },
        CallRecord { talk_ms: None, ..sound.clone() },
        CallRecord { answered_ms: None, ..sound.clone() },
        CallRecord { ended_ms: Some(0), ..sound.clone() },
    ] {
        assert!(!times_add_up(&wrong), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_carrier_s_tariff_is_charged_on_closed_calls() {
    let desk = Desk::new().await;
    let tariff = Tariff { rate: "0.006".parse().unwrap(), ..Tariff::default() };
    let settings = Settings { tariff: Some(tariff), ..Settings::new(1) };
    let (journal, mut projection, _) = desk.start_with(settings).await;

    desk.append(&journal, &mut projection, talk(1).facts()).await;

    let row = desk.store.find(call_id(1)).await.unwrap().unwrap();
    assert_eq!((row.billed_s, row.cost), (Some(119), Some(Money(11_900))));
}

#[tokio::test]
async fn an_end_without_its_beginning_still_makes_a_row() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;

    let tail = talk(1).facts().split_off(3);
    desk.append(&journal, &mut projection, tail).await;

    let [row] = &desk.rows().await[..] else { panic!("not one row") };
    assert!(row.flags.contains(Flags::INCOMPLETE));
    assert_eq!(row.talk_ms, Some(119_000));
}

/// The book adds up what each record says.
#[tokio::test]
async fn attempts_are_counted_by_target_and_day_as_their_records_have_it() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    const DAY_MS: u64 = 86_400_000;
    let elsewhere = |leg| AttemptStarted {
        leg,
        target: "tgt_cool".into(),
        buyer: "buy_cool".into(),
        uri: "sip:192.0.2.20".into(),
        terms: None,
        way: None,
        dial: 0,
    };
    let busy = |n| Script::of(n).dial(1).fail_at(900, 486, Reason::AttemptBusy);
    let scripts = [
        talk(1),
        busy(2)
            .then(1_000, elsewhere(2))
            .fail_at(2_000, 480, Reason::AttemptRejected)
            .end_at(2_100),
        // The target sends the call on, and answers there.
        busy(3).dial(2).answer_at(3_000).end_at(4_000),
        talk(DAY_MS).abandon_at(130_000),
        Script::of(5).end_at(100),
        Script::of(6).dial(1).then(500, HandedOver { leg: 1, by: Means::Redirect, status: None }),
        // It is up.
        Script::of(7).dial(1).answer_at(1_000),
    ];
    for script in &scripts {
        desk.append(&journal, &mut projection, script.facts()).await;
    }

    let (since, until) = (Wall(START_MS), Wall(i64::MAX));
    let counted = desk.store.counted(since, until, vec![]).await.unwrap();
    let told: Vec<_> = counted
        .iter()
        .map(|it| (it.target.as_str(), it.day, [it.dialed, it.connected, it.converted]))
        .collect();
    let day = START_MS / 86_400_000;
    assert_eq!(
        told,
        [
            ("tgt_cool", day, [1, 0, 0]),
            ("tgt_summit", day, [3, 2, 1]),
            ("tgt_summit", day + 1, [1, 1, 1]),
        ]
    );
    let first_day = Wall(START_MS + 1_000);
    let of_first_day = desk.store.counted(since, first_day, vec![]).await.unwrap();
    assert_eq!(of_first_day[..], counted[..2]);
    let but = vec![scripts[0].record().call, scripts[1].record().call];
    let of_others = desk.store.counted(since, first_day, but).await.unwrap();
    let of_others: Vec<_> = of_others
        .iter()
        .map(|it| (it.target.as_str(), [it.dialed, it.connected, it.converted]))
        .collect();
    assert_eq!(of_others, [("tgt_summit", [1, 1, 0])]);
    let times: Vec<_> = counted.iter().map(|it| [it.won_ms, it.lost_ms]).collect();
    assert_eq!(times, [[0, 0], [90_000, 1_000], [90_000, 0]]);
    let mut added_ms = BTreeMap::<_, [u64; 2]>::new();
    let mut added = BTreeMap::<_, [u32; 3]>::new();
    for it in scripts[..6].iter().flat_map(|script| CountedCalls::of(&script.record())) {
        let sum_ms = added_ms.entry((it.target.clone(), it.day)).or_default();
        *sum_ms = [sum_ms[0] + it.won_ms, sum_ms[1] + it.lost_ms];
        let sum = added.entry((it.target, it.day)).or_default();
        for (sum, more) in sum.iter_mut().zip([it.dialed, it.connected, it.converted]) {
            *sum += more;
        }
    }
    let added: Vec<_> =
        added.iter().map(|((target, day), sum)| (target.as_str(), *day, *sum)).collect();
    assert_eq!(added, told);
    assert_eq!(added_ms.into_values().collect::<Vec<_>>(), times);
}

/// A call that converted: answered after 1 s, up for 119 s.
fn talk(n: u64) -> Script {
    Script::of(n).dial(1).answer_at(1_000).end_at(120_000)
}

fn used(n: u64) -> Fact {
    let hold = HoldId::of(call_id(n), 1, "target/tgt_summit");
    let bucket = |cap: &str, window: &str| Bucket {
        cap: cap.into(),
        window: window.into(),
        amount: 1,
        at_end: None,
    };
    let buckets = vec![
        bucket("target/tgt_summit/connected", "d:2026-03-17"),
        bucket("target/tgt_summit/concurrency", ""),
    ];
    Fact::of_call(call_id(n), stamp(START_MS), HoldSettled { hold, buckets })
}

#[test]
fn live_calls_are_listed_newest_first_and_filtered() {
    let live = Live::default();
    for n in 1..=5 {
        let record = Arc::new(Script::of(n).record());
        let slot = Slot { record, parked: false, written: stamp(START_MS) };
        live.calls.lock().insert(call_id(n), slot);
    }
    let filter = CallFilter {
        since: Some(Wall(START_MS + 2)),
        trunk: Some("trk_a".into()),
        ..CallFilter::default()
    };

    let listed: Vec<_> = live.list(&filter, 2).iter().map(|record| record.call).collect();

    assert_eq!(listed, [call_id(5), call_id(4)]);
    assert_eq!(live.list(&CallFilter { state: Some(CallState::Closed), ..filter }, 2), []);
    assert!(live.find(call_id(3)).is_some());
}
