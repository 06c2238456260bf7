//! The whole SIP core in a world without clock, sockets or luck: carriers and targets that behave
//! as badly as they do in life, a network that loses, repeats and reorders, and an audit of every
//! message (spec/sip §6.1). A world is made from one number and always runs the same way.
//!
//! ```text
//! party ── network ─► endpoint ── network ─► party
//!            routing, holds and journal ◄─┘ └─► audit
//! ```
//!
//! `TOLLBRIDGE_SIM_CALLS` asks for more calls, `TOLLBRIDGE_SIM_SEED` for the worlds from that
//! seed on; a failure prints the seed of its world and the ladder of its call.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a party and its audit look at what concerns them, not at every method there is"
)]

mod audit;
mod carriers;
mod habits;
mod net;
mod party;
mod races;
mod text;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use tollbridge::sip::trunk::Trunks;

use world::{CALLS_PER_WORLD, Tally, World};

/// Calls in CI.
const CALLS: u64 = 20_000;

#[test]
fn no_call_breaks_a_rule_whatever_its_parties_and_the_network_do() {
    let calls = number_from_env("TOLLBRIDGE_SIM_CALLS").unwrap_or(CALLS);
    let seed = number_from_env("TOLLBRIDGE_SIM_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let worlds = calls.div_ceil(CALLS_PER_WORLD as u64);
    eprintln!("sim: {calls} calls, TOLLBRIDGE_SIM_SEED={seed}");
    let trunks = world::trunks();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let work = || live(seed, worlds, &next, trunks.clone());
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    let failed = tallies.iter().filter_map(|(_, failure)| failure.as_ref()).min();
    if let Some((seed, failure)) = failed {
        panic!("TOLLBRIDGE_SIM_SEED={seed} TOLLBRIDGE_SIM_CALLS=1: {failure}");
    }
    let tally = tallies.into_iter().fold(Tally::default(), |sum, (tally, _)| sum + tally);
    eprintln!("sim: {tally:?}");
    if calls >= CALLS {
        tally.covers_what_it_should();
    }
}

type Failure = (u64, String);

/// Runs worlds until there are none left or one fails.
fn live(
    seed: u64,
    worlds: u64,
    next: &AtomicU64,
    trunks: std::sync::Arc<Trunks>,
) -> (Tally, Option<Failure>) {
    let mut tally = Tally::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= worlds {
            return (tally, None);
        }
        let seed = seed.wrapping_add(number);
        match World::new(seed, trunks.clone()).live() {
            Ok(one) => tally = tally + one,
            Err(failure) => {
                next.store(worlds, Ordering::Relaxed);
                return (tally, Some((seed, failure)));
            }
        }
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
