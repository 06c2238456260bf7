//! Calls whose process died before their end was known.

use super::*;

#[tokio::test]
async fn calls_of_a_process_that_died_are_closed_once_by_their_last_checkpoint() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    // One old enough to be parked, one young, one that never was answered.
    let parked = Script::of(1).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, parked.facts()).await;
    let young = Script::of(70_000).dial(1).answer_at(1_000);
    let ringing = Script::of(80_000).dial(1).ring_at(500);
    desk.append(&journal, &mut projection, young.facts()).await;
    desk.append(&journal, &mut projection, ringing.facts()).await;
    let live = vec![(call_id(1), 100_000), (call_id(70_000), 30_000)];
    let checkpoint = Fact::of_node(stamp(START_MS + 101_000), Checkpoint { live });
    desk.append(&journal, &mut projection, vec![checkpoint]).await;
    drop((projection, journal));

    let (journal, mut projection, opening) = desk.start().await;
    assert_eq!(opening.orphans, 3);
    desk.append(&journal, &mut projection, vec![]).await;
    drop((projection, journal));
    let (_journal, projection, opening) = desk.start().await;

    assert_eq!(opening.orphans, 0);
    assert_eq!(projection.live().count(), 0);
    let rows = desk.rows().await;
    let talked: Vec<_> = rows.iter().map(|row| (row.call, row.talk_ms)).collect();
    let expected =
        [(call_id(80_000), None), (call_id(70_000), Some(30_000)), (call_id(1), Some(100_000))];
    assert_eq!(talked, expected);
    assert!(rows.iter().all(|row| row.state == CallState::OrphanClosed));
    assert!(rows.iter().all(|row| row.flags.contains(Flags::ORPHAN)));
    assert_eq!(rows[2].revenue, Money(20_000_000));
}

#[tokio::test]
async fn the_true_end_of_an_orphan_corrects_its_row() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let script = Script::of(1).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, script.facts()).await;
    drop((projection, journal));
    let (journal, mut projection, _) = desk.start().await;
    desk.append(&journal, &mut projection, vec![]).await;

    let end = script.end_at(181_000).facts().split_off(4);
    desk.append(&journal, &mut projection, end).await;

    let [row] = &desk.rows().await[..] else { panic!("not one row") };
    assert_eq!((row.state, row.talk_ms), (CallState::Closed, Some(180_000)));
    assert!(row.flags.contains(Flags::ORPHAN_CORRECTED));
}

/// I5 over a crash: what was counted and what is held are never more than what was held before it.
#[tokio::test]
async fn what_a_call_may_yet_come_to_is_held_over_restarts_until_its_true_end_is_known() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let revenue = reserved(AtEnd::Revenue, 20_000_000);
    let talk = reserved(AtEnd::Talk, 600_000);
    let hold = HoldId::of(call_id(1), 1, "target/tgt_summit");
    let placed =
        HoldPlaced { hold, target: "tgt_summit".into(), buckets: vec![revenue, talk.clone()] };
    let script = Script::of(1).then(8, placed).dial(1).answer_at(1_000);
    desk.append(&journal, &mut projection, script.facts()).await;
    let live = vec![(call_id(1), 30_000)];
    let checkpoint = Fact::of_node(stamp(START_MS + 31_000), Checkpoint { live });
    desk.append(&journal, &mut projection, vec![checkpoint]).await;
    drop((projection, journal));

    for _ in 0..2 {
        let (journal, mut projection, opening) = desk.start().await;
        assert_eq!(used_of(&opening.usage), [("Talk", 30_000)], "as closed by its checkpoint");
        let [held] = &opening.held_back[..] else { panic!("one call is held for") };
        let rest: Vec<_> = held.dues.iter().map(|(due, rest)| (due.at_end, *rest)).collect();
        assert_eq!(
            (held.hold, rest),
            (hold, vec![(Some(AtEnd::Revenue), 20_000_000), (Some(AtEnd::Talk), 570_000)])
        );
        assert_eq!(held.until, Wall(START_MS + 1 + 4 * 3_600_000));
        desk.append(&journal, &mut projection, vec![]).await;
        assert_eq!(projection.take_corrections(), []);
        assert_eq!(used_of(&desk.store.usage().await.unwrap()), [("Talk", 30_000)]);
    }

    let (journal, mut projection, _) = desk.start().await;
    let end = script.end_at(181_000).facts().split_off(5);
    desk.append(&journal, &mut projection, end).await;

    let [correction] = &projection.take_corrections()[..] else { panic!("one call is corrected") };
    let counts: Vec<_> = correction.counts.iter().map(|it| (&it.cap[..], it.amount)).collect();
    assert_eq!((correction.hold, counts), (hold, vec![("Revenue", 20_000_000), ("Talk", 150_000)]));
    let usage = desk.store.usage().await.unwrap();
    let used = used_of(&usage);
    assert_eq!(used, [("Revenue", 20_000_000), ("Talk", 180_000)]);
    drop((projection, journal));
    let (_, _, opening) = desk.start().await;
    assert_eq!(opening.held_back, []);
    assert_eq!(used_of(&opening.usage), used);
}

/// I6 over a crash.
#[tokio::test]
async fn the_places_of_calls_are_held_over_restarts_until_their_true_end_is_known() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let hold = |n| HoldId::of(call_id(n), 1, "target/tgt_summit");
    let line = Bucket { cap: "line".into(), window: "".into(), amount: 1, at_end: None };
    let placed = |n, bucket: &Bucket| {
        let buckets = vec![bucket.clone()];
        Script::of(n)
            .then(8, HoldPlaced { hold: hold(n), target: "tgt_summit".into(), buckets })
            .dial(1)
    };
    let up = placed(1, &line).answer_at(1_000);
    let over = placed(2, &line).answer_at(1_000).end_at(2_000);
    let day = Bucket { window: "d:2026-03-17".into(), ..line.clone() };
    let of_a_cap = placed(3, &day).answer_at(1_000);
    for script in [&up, &over, &of_a_cap, &placed(4, &line)] {
        desk.append(&journal, &mut projection, script.facts()).await;
    }
    drop((projection, journal));

    for _ in 0..2 {
        let (journal, mut projection, opening) = desk.start().await;
        let held = opening.held_back.iter();
        let held: Vec<_> = held.map(|it| (it.hold, it.dues[0].1, it.until.0 - START_MS)).collect();
        assert_eq!(held, [(hold(1), 1, 4 * 3_600_000 + 1), (hold(4), 1, 8 + 4 + 212_000)]);
        desk.append(&journal, &mut projection, vec![]).await;
        assert_eq!(projection.take_corrections(), []);
    }

    let (journal, mut projection, _) = desk.start().await;
    desk.append(&journal, &mut projection, up.end_at(181_000).facts().split_off(5)).await;
    let corrections = projection.take_corrections();
    assert_eq!(corrections, [Correction { hold: hold(1), counts: vec![] }]);
    drop((projection, journal));
    let (_, _, opening) = desk.start().await;
    let held: Vec<_> = opening.held_back.iter().map(|it| it.hold).collect();
    assert_eq!(held, [hold(4)]);
    assert_eq!(used_of(&opening.usage), [], "places are never used");
}

#[tokio::test]
async fn what_calls_that_were_left_up_come_to_is_added_to_what_the_book_has() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let up = |n| {
        let hold = HoldId::of(call_id(n), 1, "target/tgt_summit");
        let buckets = vec![reserved(AtEnd::Talk, 600_000)];
        let placed = HoldPlaced { hold, target: "tgt_summit".into(), buckets };
        Script::of(n).then(8, placed).dial(1).answer_at(1_000)
    };
    desk.append(&journal, &mut projection, up(1).end_at(21_000).facts()).await;
    desk.append(&journal, &mut projection, up(2).facts()).await;
    desk.append(&journal, &mut projection, up(3).facts()).await;
    let live = vec![(call_id(2), 30_000), (call_id(3), 40_000)];
    let checkpoint = Fact::of_node(stamp(START_MS + 41_000), Checkpoint { live });
    desk.append(&journal, &mut projection, vec![checkpoint]).await;
    drop((projection, journal));

    let (_, _, opening) = desk.start().await;

    assert_eq!(used_of(&opening.usage), [("Talk", 20_000 + 30_000 + 40_000)]);
}

/// Its checkpoint came before it, so each start reads it from its admission on.
#[tokio::test]
async fn nothing_is_held_for_a_call_whose_true_end_is_read_again() {
    let desk = Desk::new().await;
    let (journal, mut projection, _) = desk.start().await;
    let hold = HoldId::of(call_id(1), 1, "target/tgt_summit");
    let buckets = vec![reserved(AtEnd::Revenue, 20_000_000)];
    let placed = HoldPlaced { hold, target: "tgt_summit".into(), buckets };
    let script = Script::of(1).then(8, placed).dial(1).answer_at(1_000);
    let checkpoint = Fact::of_node(stamp(START_MS), Checkpoint { live: Vec::new() });
    desk.append(&journal, &mut projection, vec![checkpoint]).await;
    desk.append(&journal, &mut projection, script.facts()).await;
    drop((projection, journal));
    let (journal, mut projection, opening) = desk.start().await;
    assert_eq!(opening.held_back.len(), 1);
    desk.append(&journal, &mut projection, script.end_at(181_000).facts().split_off(5)).await;
    drop((projection, journal));

    let (_, _, opening) = desk.start().await;

    assert_eq!(opening.held_back, []);
    assert_eq!(used_of(&opening.usage), [("Revenue", 20_000_000)]);
}

fn reserved(at_end: AtEnd, amount: i64) -> Bucket {
    Bucket {
        cap: format!("{at_end:?}").into(),
        window: "total".into(),
        amount,
        at_end: Some(at_end),
    }
}

fn used_of(usage: &[CapUsage]) -> Vec<(&str, i64)> {
    usage.iter().map(|usage| (&usage.cap[..], usage.used)).collect()
}

/// spec/sip O8.
#[tokio::test]
async fn the_true_end_of_an_orphan_is_awaited_over_further_restarts() {
    let desk = Desk::new().await;
    let (journal, mut projection, opening) = desk.start().await;
    assert_eq!(opening.awaited, []);
    let bye = Farewell { to: "udp:192.0.2.7:5060".into(), message: "BYE".into() };
    let farewells = Farewells { caller: bye.clone(), target: bye };
    let script = Script::of(1).dial(1).answer_at(1_000).then(1_000, farewells.clone());
    desk.append(&journal, &mut projection, script.facts()).await;
    desk.append(&journal, &mut projection, talk(2).facts()).await;
    drop((projection, journal));
    let dialogs = Dialogs { caller: 1_000, target: 1_001 };

    for closed in [1, 0, 0] {
        let (journal, mut projection, opening) = desk.start().await;
        let awaited = [Awaited { call: call_id(1), dialogs, talk_ms: 0 }];
        assert_eq!((opening.orphans, &opening.awaited[..]), (closed, &awaited[..]));
        let said: Vec<_> = opening.farewells.into_iter().map(|it| it.farewells).collect();
        assert_eq!(said, std::slice::from_ref(&farewells), "each process says it again");
        // Takes the closing fact; nothing else is there to make the step return.
        if closed > 0 {
            assert!(projection.step().await.unwrap());
        }
        drop((projection, journal));
    }
    let (journal, mut projection, _) = desk.start().await;
    let end = script.end_at(181_000).facts().split_off(5);
    desk.append(&journal, &mut projection, end.clone()).await;
    desk.append(&journal, &mut projection, end).await;

    let row = desk.store.find(call_id(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.talk_ms), (CallState::Closed, Some(180_000)));
    assert!(row.flags.contains(Flags::ORPHAN_CORRECTED));
    drop((projection, journal));
    let opening = desk.start().await.2;
    assert_eq!((opening.awaited.len(), opening.farewells.len()), (0, 0));
}
