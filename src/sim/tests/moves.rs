//! Targets at several addresses, and calls that go elsewhere, each as one small scene.

use crate::sim::habits::{Habits, Reply};
use crate::sim::mind::Scene;
use crate::sim::moves::{Elsewhere, Notify, Referral};
use crate::sim::{Course, Tally, run};

use super::scenes::{MS, caller, play, play_in, rings, scene};

#[test]
fn a_target_is_called_at_its_next_address_when_one_has_no_room() {
    let lines = at_one([refuses(503), rings(100 * MS)], 500);

    assert_eq!(
        lines[2..8],
        [
            "-> target 1: INVITE",
            "target 1: 503 INVITE",
            "-> target 1: ACK",
            "-> target 2: INVITE",
            "target 2: 180 INVITE",
            "-> caller: 180 INVITE",
        ]
    );
    assert_eq!(lines[lines.len() - 2..], ["-> target 2: BYE", "target 2: 200 BYE"]);
}

#[test]
fn an_address_that_answers_too_late_is_told_so_at_once_and_the_next_one_keeps_the_call() {
    // Four seconds are waited for a first response; the answer comes while the other rings.
    let late = Habits { steps: vec![(5_000 * MS, 200)], ..Habits::default() };

    let lines = at_one([late, rings(3_000 * MS)], 500);

    let at = lines.iter().position(|line| line == "target 1: 200 INVITE").unwrap();
    assert_eq!(lines[at + 1..at + 3], ["-> target 1: ACK", "-> target 1: BYE"], "{lines:#?}");
    assert!(lines[at..].contains(&String::from("target 2: 200 INVITE")), "{lines:#?}");
}

#[test]
fn an_address_that_rings_is_not_left_for_another() {
    let lines = at_one([rings(10_000 * MS), rings(MS)], 500);

    assert!(!lines.iter().any(|line| line.contains("target 2")), "{lines:#?}");
}

#[test]
fn a_3xx_leads_to_the_place_it_names_and_not_to_itself() {
    let elsewhere = vec![(Elsewhere::Itself, Some(9)), (Elsewhere::SameHost(1), None)];
    let moved = Habits { elsewhere, ..refuses(302) };

    let lines = play(Scene { caller: hangs_up(500), ..scene([moved, rings(MS)]) });

    let invites: Vec<_> = lines.iter().filter(|line| line.ends_with(": INVITE")).collect();
    assert_eq!(
        invites,
        ["caller: INVITE", "-> target 1: INVITE", "-> target 2: INVITE"],
        "{lines:#?}"
    );
    assert!(lines.contains(&String::from("target 2: 200 INVITE")), "{lines:#?}");
}

/// Markets whose carrier takes REFER, from the first on.
const REFERRING: [usize; 3] = [8, 9, 12];

#[test]
fn who_hangs_up_before_it_is_connected_pays_nothing() {
    let referral = Referral { answers: vec![(MS, 405)], ..Referral::default() };
    let worlds = REFERRING.iter().flat_map(|market| (0..20).map(move |seed| (*market, seed)));
    let connected = worlds.filter(|(market, seed)| {
        let caller =
            Habits { referral: referral.clone(), on_reinvite: Reply::Silence, ..hangs_up(7_000) };
        let target = Habits { talk: None, ..rings(100 * MS) };
        let lines = play_in(*market, *seed, Scene { caller, ..scene([target]) });
        lines.contains(&String::from("-> caller: INVITE"))
    });
    assert!(connected.count() > 5, "the caller was to be connected");
}

#[test]
fn a_carrier_that_says_what_came_of_a_refer_is_believed() {
    for (status, failed) in [(200, false), (180, false), (503, true), (486, true)] {
        let notify = Notify { status: Some(status), over: true, event: "refer" };
        let referral = Referral {
            answers: vec![(MS, 202)],
            notifies: vec![(500 * MS, notify)],
            ..Referral::default()
        };
        let mut tried = 0;
        for seed in 0..20 {
            let caller = Habits { referral: referral.clone(), ..hangs_up(9_000) };
            let targets = [rings(MS), rings(MS), rings(MS)];
            let lines = play_in(REFERRING[0], seed, Scene { caller, ..scene(targets) });
            let referred = lines.iter().position(|line| line == "-> caller: REFER");
            let after = referred.map_or(&[][..], |at| &lines[at..]);
            let calls = after.iter().any(|line| line.starts_with("-> target"));

            assert!(failed || !calls, "{status}: {lines:#?}");
            tried += usize::from(referred.is_some());
        }
        assert!(tried > 3, "{status}: {tried} calls were referred");
    }
}

/// Without this a run in which nothing happened would prove everything.
#[test]
fn what_never_happened_is_missed() {
    let nothing = Tally { calls: 1_000, ..Tally::default() };
    let gaps = nothing.gaps();
    for habit in ["addresses", "redirections", "302", "REFER", "NOTIFY"] {
        assert!(gaps.iter().any(|gap| gap.contains(habit)), "{habit}: {gaps:?}");
    }
}

#[test]
fn every_habit_is_met_within_a_few_hundred_worlds() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);

    let summary =
        run(&Course::default(), 1..301, threads).unwrap_or_else(|violation| panic!("{violation}"));

    assert_eq!(summary.tally.gaps(), Vec::<String>::new(), "{:?}", summary.tally);
}

fn refuses(status: u16) -> Habits {
    Habits { steps: vec![(MS, status)], ..Habits::default() }
}

fn hangs_up(ms: u32) -> Habits {
    Habits { talk: Some(ms * MS), ..caller() }
}

/// What passes when these are the addresses of one target and the caller talks for a while.
fn at_one<const N: usize>(addresses: [Habits; N], talk: u32) -> Vec<String> {
    play(Scene { caller: hangs_up(talk), one_name: true, ..scene(addresses) })
}
