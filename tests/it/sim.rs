//! Worlds in CI: thousands of seeds through the simulator of the library, and the command that
//! anybody can run.
//!
//! `TOLLBRIDGE_SIM_SEEDS` asks for more worlds, `TOLLBRIDGE_SIM_SEED` for those from that seed on.

use std::process::{Command, Output};

use tollbridge::sim::{Course, run};

/// Worlds in CI, of ten calls each.
const SEEDS: u64 = 2_000;

#[test]
fn no_call_breaks_a_rule_whatever_its_parties_and_the_network_do() {
    let seeds = number_from_env("TOLLBRIDGE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number_from_env("TOLLBRIDGE_SIM_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("sim: {seeds} worlds, TOLLBRIDGE_SIM_SEED={first}");

    let summary = run(&Course::default(), first..first + seeds, threads)
        .unwrap_or_else(|violation| panic!("{violation}"));

    eprintln!("sim: {summary:?}");
    assert_eq!(summary.worlds, seeds);
    if seeds >= SEEDS {
        assert_eq!(summary.tally.gaps(), Vec::<String>::new());
    }
}

#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let seeds = ["sim", "--seed", "5", "--count", "20", "--json"];

    let (one, other) = (tollbridge(&seeds), tollbridge(&seeds));
    let line = String::from_utf8(one.stdout).unwrap();

    assert!(one.status.success(), "{line}");
    assert_eq!(line, String::from_utf8(other.stdout).unwrap());
    let summary: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&summary["worlds"], &summary["calls"]), (&20.into(), &200.into()));
    let here = run(&Course::default(), 5..25, 2).unwrap();
    assert_eq!(summary["digest"], format!("{:016x}", here.digest));
}

#[test]
fn a_broken_rule_fails_the_command_and_shows_the_ladder_of_one_call() {
    let line = ["sim", "--seed", "1", "--count", "20", "--break", "lost-ack"];

    let told = tollbridge(&line);
    let text = String::from_utf8(told.stderr).unwrap();

    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(text.contains("a final response got no ACK"), "{text}");
    assert!(text.contains("--faults none --only "), "{text}");
    assert!(text.contains("◄── to "), "{text}");
}

#[test]
fn a_fault_that_is_none_is_named_with_those_there_are() {
    let told = tollbridge(&["sim", "--faults", "loss,fire"]);
    let text = String::from_utf8(told.stderr).unwrap();

    assert_eq!(told.status.code(), Some(2), "{text}");
    assert!(text.contains("`fire` is no fault; there are loss"), "{text}");
}

fn tollbridge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollbridge")).args(arguments).output().unwrap()
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
