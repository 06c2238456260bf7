//! The whole edge in a world without clock, sockets or luck: carriers and targets that behave as
//! badly as they do in life, a network that loses, repeats and reorders, and an audit of every
//! message (spec/sip §6.1). A world is made from one number and always runs the same way.
//!
//! ```text
//! party ── network ─► endpoint ── network ─► party
//!            routing, holds and journal ◄─┘ └─► audit
//! ```
//!
//! Owns: the parties, the network, virtual time, the rules that are watched, and making a failure
//! short. Does not own any rule of SIP, routing or money: what is watched here is written a second
//! time, by another reader and writer of messages.
//!
//! Invariant: what a world does follows from its [`Course`] alone.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a party and its audit look at what concerns them, not at every method there is"
)]

mod audit;
mod edge;
mod faults;
mod habits;
mod ladder;
mod mind;
mod moves;
mod net;
mod party;
mod sabotage;
mod shrink;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod world;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub use faults::{Fault, Faults, UnknownFault};
pub use sabotage::{Sabotage, UnknownSabotage};
pub use tally::Tally;

use world::{Life, World};

/// Few enough that a failing world is quickly run again, enough that calls meet in the tables.
const CALLS_PER_MINUTE: usize = 10;

/// Everything a world follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    pub seed: u64,
    /// How long new calls come, in minutes of virtual time; ten a minute.
    pub minutes: u32,
    pub faults: Faults,
    /// Only these calls, by number from 0, each with the luck that it has when all are there.
    pub only: Option<Vec<usize>>,
    /// A rule that is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Default for Course {
    /// One minute with all faults.
    fn default() -> Self {
        Self { seed: 1, minutes: 1, faults: Faults::ALL, only: None, sabotage: None }
    }
}

impl Course {
    /// The numbers of its calls are below this.
    fn calls(&self) -> usize {
        usize::try_from(self.minutes).unwrap_or(usize::MAX).saturating_mul(CALLS_PER_MINUTE)
    }

    fn has(&self, call: usize) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&call))
    }
}

/// The arguments that run this course again.
impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, minutes, faults, only, sabotage } = self;
        write!(f, "--seed {seed} --minutes {minutes} --faults {faults}")?;
        if let Some(only) = only {
            let numbers: Vec<_> = only.iter().map(usize::to_string).collect();
            write!(f, " --only {}", numbers.join(","))?;
        }
        if let Some(sabotage) = sabotage {
            write!(f, " --break {sabotage}")?;
        }
        Ok(())
    }
}

/// What many worlds came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Worlds that lived to their end.
    pub worlds: u64,
    pub tally: Tally,
    /// Of every byte that passed the endpoints, and when: equal for equal courses.
    pub digest: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The course in which it was found.
    pub found: Course,
    /// The shortest course that shows it.
    pub course: Course,
    /// The rule, in words.
    pub rule: String,
    /// What the call that broke it came to, line by line; empty if no one call did.
    pub ladder: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, course, rule, ladder } = self;
        writeln!(f, "seed {} breaks a rule: {rule}", found.seed)?;
        writeln!(f, "  tollbridge sim {course}")?;
        f.write_str(ladder)
    }
}

/// Lives the worlds of these seeds, which are otherwise as `course`, on `threads` threads.
///
/// # Errors
/// The violation with the lowest seed of those found before all threads had stopped, made as short
/// as it can be.
pub fn run(course: &Course, seeds: Range<u64>, threads: usize) -> Result<Summary, Box<Violation>> {
    let next = AtomicU64::new(seeds.start);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let work = || live(course, &next, seeds.end);
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Part>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });

    let mut summary = Summary { worlds: 0, tally: Tally::default(), digest: 0 };
    let mut failures = vec![];
    for (part, failure) in parts {
        summary.worlds += part.worlds;
        summary.tally = summary.tally + part.tally;
        // In whichever order the worlds were lived.
        summary.digest = summary.digest.wrapping_add(part.digest);
        failures.extend(failure);
    }
    match failures.into_iter().min_by_key(|(found, _)| found.seed) {
        None => Ok(summary),
        Some((found, breach)) => {
            let (course, breach) = shrink::shrink(found.clone(), breach);
            let (rule, ladder) = (breach.what, breach.ladder);
            Err(Box::new(Violation { found, course, rule, ladder }))
        }
    }
}

type Part = (Summary, Option<(Course, world::Breach)>);

/// Lives worlds until there are none left or one fails.
fn live(course: &Course, next: &AtomicU64, end: u64) -> Part {
    let mut summary = Summary { worlds: 0, tally: Tally::default(), digest: 0 };
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return (summary, None);
        }
        let course = Course { seed, ..course.clone() };
        match World::new(course.clone()).live() {
            Ok(Life { tally, digest }) => {
                summary.worlds += 1;
                summary.tally = summary.tally + tally;
                summary.digest = summary.digest.wrapping_add(digest);
            }
            Err(breach) => {
                next.store(end, Ordering::Relaxed);
                return (summary, Some((course, breach)));
            }
        }
    }
}
