//! Races and rude peers that have cost other servers money, each as one small scene: what passes
//! the endpoint, line by line. The audit watches these too.

use std::time::Duration;

use crate::sip::message::Method;

use crate::sim::habits::{Habits, OnCancel, Reply};
use crate::sim::mind::Scene;
use crate::sim::net::Weather;

use super::scenes::{MS, caller, play, rings, scene};

#[test]
fn a_cancel_right_behind_its_invite_is_not_lost_and_no_target_rings() {
    let caller = Habits { cancel: Some(MS), ..caller() };

    let lines = play(Scene { caller, decided: Some(100 * MS), ..scene([rings(100 * MS)]) });

    assert_eq!(
        lines,
        [
            "caller: INVITE",
            "-> caller: 100 INVITE",
            "caller: CANCEL",
            "-> caller: 200 CANCEL",
            "-> caller: 487 INVITE",
            "caller: ACK",
        ]
    );
}

#[test]
fn a_cancel_that_crosses_the_refusal_gets_200_with_a_tag() {
    let target = Habits { steps: vec![(100 * MS, 486)], ..Habits::default() };
    // The refusal is on its way to the caller when the caller cancels.
    let caller = Habits { cancel: Some(Duration::from_micros(113_500)), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert_eq!(
        lines[3..],
        [
            "target 1: 486 INVITE",
            "-> target 1: ACK",
            "-> caller: 486 INVITE",
            "caller: CANCEL",
            "-> caller: 200 CANCEL",
            "caller: ACK",
        ]
    );
}

#[test]
fn a_bye_while_it_rings_ends_the_call_like_a_cancel() {
    let caller = Habits { bye_when_ringing: Some(500 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([rings(9_000 * MS)]) });

    assert_eq!(
        lines[5..],
        [
            "caller: BYE",
            "-> caller: 200 BYE",
            "-> caller: 487 INVITE",
            "-> target 1: CANCEL",
            "caller: ACK",
            "target 1: 200 CANCEL",
            "target 1: 487 INVITE",
            "-> target 1: ACK",
        ]
    );
}

#[test]
fn a_bye_in_the_moment_of_the_answer_ends_both_legs() {
    // The answer is on its way to disk when the BYE arrives.
    let target = Habits { steps: vec![(10 * MS, 180), (31 * MS, 200)], ..rings(MS) };
    let caller = Habits { bye_when_ringing: Some(20 * MS), ..caller() };

    let lines = play(Scene { caller, durable: None, ..scene([target]) });

    assert_eq!(
        lines[5..],
        [
            "target 1: 200 INVITE",
            "-> target 1: ACK",
            "caller: BYE",
            "-> caller: 200 BYE",
            "-> caller: 200 INVITE",
            "-> target 1: BYE",
            "caller: ACK",
            "-> caller: BYE",
            "target 1: 200 BYE",
            "caller: 200 BYE",
        ]
    );
}

#[test]
fn a_hold_that_nobody_decides_is_answered_in_time() {
    let lines = play(Scene { held: None, ..scene([rings(MS)]) });

    assert_eq!(
        lines,
        ["caller: INVITE", "-> caller: 100 INVITE", "-> caller: 503 INVITE", "caller: ACK"]
    );
}

#[test]
fn a_target_that_heeds_no_cancel_is_forgotten_all_the_same() {
    let lines = give_up_on(Habits { on_cancel: OnCancel::Acknowledge, ..rings(60_000 * MS) });

    assert_eq!(
        lines[5..],
        [
            "caller: CANCEL",
            "-> caller: 200 CANCEL",
            "-> target 1: CANCEL",
            "-> caller: 487 INVITE",
            "target 1: 200 CANCEL",
            "caller: ACK",
        ]
    );
}

#[test]
fn an_answer_to_the_cancel_itself_is_acknowledged_and_ended() {
    let lines =
        give_up_on(Habits { on_cancel: OnCancel::Answer(Duration::ZERO), ..rings(60_000 * MS) });

    assert_eq!(
        lines[5..],
        [
            "caller: CANCEL",
            "-> caller: 200 CANCEL",
            "-> target 1: CANCEL",
            "-> caller: 487 INVITE",
            "target 1: 200 INVITE",
            "-> target 1: ACK",
            "-> target 1: BYE",
            "target 1: 200 CANCEL",
            "caller: ACK",
            "target 1: 200 BYE",
        ]
    );
}

#[test]
fn a_bye_during_a_reinvite_ends_that_too() {
    let target = Habits { on_reinvite: Reply::With(vec![(MS, 100)]), ..rings(MS) };
    let caller =
        Habits { says: vec![(500 * MS, Method::Invite)], talk: Some(700 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert_eq!(
        lines[9..],
        [
            "caller: INVITE",
            "-> caller: 100 INVITE",
            "-> target 1: INVITE",
            "target 1: 100 INVITE",
            "caller: BYE",
            "-> caller: 200 BYE",
            "-> caller: 487 INVITE",
            "-> target 1: CANCEL",
            "-> target 1: BYE",
            "caller: ACK",
            "target 1: 481 CANCEL",
            "target 1: 200 BYE",
        ]
    );
}

#[test]
fn a_reinvite_answered_after_the_end_is_acknowledged_on_the_route_of_its_dialog() {
    let on_reinvite = Reply::With(vec![(1_000 * MS, 200)]);
    let target = Habits { on_reinvite, proxies: 2, ..rings(MS) };
    let caller =
        Habits { says: vec![(500 * MS, Method::Invite)], talk: Some(700 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert_eq!(lines[lines.len() - 2..], ["target 1: 200 INVITE", "-> target 1: ACK"]);
}

#[test]
fn a_request_nobody_answers_gets_no_408() {
    let target = Habits { on_request: Reply::Silence, ..rings(MS) };
    let caller = Habits { says: vec![(500 * MS, Method::Info)], ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert!(lines.contains(&String::from("-> target 1: INFO")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("408")), "{lines:?}");
}

#[test]
fn every_repeat_of_an_answer_is_acknowledged_also_during_a_reinvite() {
    let on_reinvite = Reply::With(vec![(4_000 * MS, 200)]);
    let target = Habits { repeats_answer: 5, on_reinvite, ..rings(MS) };
    let caller =
        Habits { says: vec![(200 * MS, Method::Invite)], talk: Some(6_000 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    let count = |what: &str| lines.iter().filter(|line| *line == what).count();
    assert_eq!(count("target 1: 200 INVITE"), 1 + 5 + 1);
    assert_eq!(count("-> target 1: ACK"), 1 + 5 + 1);
}

#[test]
fn a_network_that_doubles_everything_changes_nothing() {
    let weather = Weather { repeated: 1_000, ..Weather::FAIR };
    let target = Habits { second_answer: Some(50 * MS), ..rings(200 * MS) };
    let caller = Habits { talk: Some(3_000 * MS), ..caller() };

    let lines = play(Scene { caller, weather, ..scene([target]) });

    let count = |what: &str| lines.iter().filter(|line| *line == what).count();
    assert_eq!(count("-> target 1: INVITE"), 1);
    assert_eq!(count("-> target 1: BYE"), 2, "one for each of two answers");
    assert_eq!(count("-> caller: 200 BYE"), 2, "the repeated BYE gets its response again");
}

#[test]
fn a_tag_that_changes_between_ringing_and_answer_is_the_dialog_s() {
    let target = Habits { changes_tag: true, ..rings(200 * MS) };
    let caller = Habits { talk: Some(1_000 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert_eq!(lines[lines.len() - 2..], ["-> target 1: BYE", "target 1: 200 BYE"]);
}

/// Deadlines are looked at every few milliseconds. What arrives after a deadline and before that
/// look must find its transaction.
#[test]
fn a_response_right_after_a_deadline_finds_its_transaction() {
    let on_bye = Reply::With(vec![(Duration::from_micros(498_100), 100), (900 * MS, 200)]);
    let target = Habits { on_bye, ..rings(MS) };
    let caller = Habits { talk: Some(1_000 * MS), ..caller() };

    let lines = play(Scene { caller, ..scene([target]) });

    assert_eq!(
        lines[9..],
        [
            "caller: BYE",
            "-> caller: 200 BYE",
            "-> target 1: BYE",
            "target 1: 100 BYE",
            "-> target 1: BYE",
            "target 1: 100 BYE",
            "target 1: 200 BYE",
        ]
    );
}

#[test]
fn the_answer_to_a_late_offer_is_not_owed_beyond_the_call() {
    let caller = Habits { late_offer: true, ack: None, ..caller() };
    let target = Habits { talk: None, ..rings(MS) };

    let lines = play(Scene { caller, ..scene([target]) });

    let acknowledged = lines.iter().position(|line| line == "-> target 1: ACK").unwrap();
    assert_eq!(lines[acknowledged + 1], "-> target 1: BYE");
}

#[test]
fn of_two_that_answer_at_once_one_has_the_call_and_the_other_a_bye() {
    let answers = |at| Habits { steps: vec![(MS, 180), (at, 200)], ..Habits::default() };
    let caller = Habits { talk: Some(500 * MS), ..caller() };
    let targets = [answers(100 * MS), answers(101 * MS)];

    let lines = play(Scene { caller, together: true, ..scene(targets) });

    let acks = |target: &str| lines.iter().filter(|it| **it == format!("-> {target}: ACK")).count();
    assert!(acks("target 1") == 1 && acks("target 2") == 1, "{lines:#?}");
    let first_bye = lines.iter().find(|line| line.ends_with(": BYE")).map(String::as_str);
    assert_eq!(first_bye, Some("-> target 2: BYE"), "{lines:#?}");
    assert!(lines.contains(&String::from("-> target 2: CANCEL")), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| **line == "-> caller: 200 INVITE").count(), 1);
}

/// The caller gives up after two seconds of ringing.
fn give_up_on(target: Habits) -> Vec<String> {
    let caller = Habits { cancel: Some(2_000 * MS), ..caller() };
    play(Scene { caller, ..scene([target]) })
}
