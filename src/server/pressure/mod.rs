//! What the server gives up under pressure, pings first and live calls never (spec/data §2.7).
//!
//! Owns: how much pressure there is ([`ladder`]), how many requests with pings are answered at a time
//! ([`limiter`]), and what is measured for both. Does not own: which pings of whom are within their
//! share, which is routing's, and the refusal of calls, which goes by the journal itself, at once.

mod ladder;
mod limiter;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cdr::journal::file::Appender;
use crate::config::PressureSettings;
use crate::id::PublisherId;
use crate::routing::ping::{OverShare, Shares};
use crate::time::Mono;

use super::accounting::Gauges;
use super::deciding::Deciding;
use super::upkeep::Rounds;
use super::{clock, machine, metrics as names};

use ladder::{Cause, Ladder, Readings};
use limiter::Limiter;

pub(super) use ladder::Level;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

/// Commits of one second that are looked at; a journal does not do more.
const COMMITS_MAX: usize = 1_024;

/// How much pressure there is, and what that means for pings.
pub(super) struct Pressures {
    ladder: Mutex<Ladder>,
    /// The ladder's.
    level: AtomicU8,
    shares: Mutex<Shares>,
    limiter: Mutex<Limiter>,
    commits: Mutex<VecDeque<(Mono, Duration)>>,
}

/// A request with pings that is being answered.
pub(super) struct Entered<'a> {
    limiter: &'a Mutex<Limiter>,
    at: Mono,
    /// Whether how long it takes says how long pings take.
    is_telling: bool,
}

/// How fast facts come and go, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    /// Facts that came to the disk.
    written: u64,
    /// Facts that came into the book.
    booked: u64,
    /// Pings that were taken.
    pings: u64,
}

impl Pressures {
    pub(super) fn new(settings: &PressureSettings) -> Self {
        Self {
            ladder: Mutex::new(Ladder::new(settings.clone())),
            level: AtomicU8::new(Level::Calm.number()),
            shares: Mutex::default(),
            limiter: Mutex::new(Limiter::new(settings.pings_at_once_max)),
            commits: Mutex::default(),
        }
    }

    pub(super) fn level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Relaxed))
    }

    /// Why it is that level, the gravest first, a sentence each.
    pub(super) fn causes(&self) -> Vec<String> {
        self.ladder.lock().causes().iter().map(ToString::to_string).collect()
    }

    /// The journal made a commit that took so long.
    pub(super) fn committed(&self, took: Duration, now: Mono) {
        let mut commits = self.commits.lock();
        if commits.len() == COMMITS_MAX {
            commits.pop_front();
        }
        commits.push_back((now, took));
    }

    /// Lets a request with pings in; `None`: as many are being answered as can be.
    pub(super) fn enter(&self, now: Mono) -> Option<Entered<'_>> {
        let limiter = &self.limiter;
        let is_let_in = limiter.lock().enter();
        // Whoever was not let in must not leave.
        is_let_in.then(|| Entered { limiter, at: now, is_telling: false })
    }

    /// A ping of the publisher came.
    ///
    /// # Errors
    /// There is pressure, and it has had its share.
    pub(super) fn admit(&self, publisher: &PublisherId, now: Mono) -> Result<(), OverShare> {
        self.shares.lock().handle(publisher, now).inspect_err(|_| {
            counter!(names::PINGS_OVER_SHARE, "publisher" => publisher.to_string()).increment(1);
        })
    }

    /// How much pressure there is now.
    fn look(&self, readings: Readings, rates: Rates, now: Mono) {
        let (before, level, is_told) = {
            let mut ladder = self.ladder.lock();
            let before = ladder.handle(readings, now);
            // The journal itself says what its disk costs.
            (before, ladder.level(), matches!(ladder.causes().first(), Some(Cause::Disk(_))))
        };
        self.level.store(level.number(), Ordering::Relaxed);
        self.shares.lock().set_room((level >= Level::Rationed).then(|| rates.room()));
        if let Some(before) = before.filter(|_| !is_told) {
            tell(before, level, &self.causes());
        }
    }

    /// 99 of 100 commits of the last second took no longer.
    fn slowest_commit(&self, now: Mono) -> Option<Duration> {
        let mut commits = self.commits.lock();
        while commits.pop_front_if(|(at, _)| now.since(*at) >= SECOND).is_some() {}
        let mut took: Vec<_> = commits.iter().map(|(_, took)| *took).collect();
        drop(commits);
        took.sort_unstable();
        let rank = (took.len() * 99).div_ceil(100);
        took.get(rank.checked_sub(1)?).copied()
    }

    fn publish(&self) {
        gauge!(names::PRESSURE).set(f64::from(self.level().number()));
        let limiter = self.limiter.lock();
        gauge!(names::PINGS_IN_PROGRESS).set(f64::from(limiter.in_progress()));
        gauge!(names::PINGS_IN_PROGRESS_MAX).set(f64::from(limiter.limit()));
    }
}

impl Entered<'_> {
    /// How long it takes says how long pings take.
    pub(super) fn is_telling(&mut self) {
        self.is_telling = true;
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let took = self.is_telling.then(|| clock::mono().since(self.at));
        self.limiter.lock().leave(took);
    }
}

impl Rates {
    /// Pings a second with which the book catches up by a tenth of what it does, calls going first.
    fn room(self) -> u64 {
        let of_others = self.written.saturating_sub(self.pings);
        (self.booked * 9 / 10).saturating_sub(of_others)
    }
}

fn tell(before: Level, level: Level, causes: &[String]) {
    let (number, why) = (level.number(), causes.join("; "));
    match level {
        Level::Calm => tracing::info!("there is no pressure any more: all pings are taken"),
        _ if level < before => {
            tracing::info!(level = number, why, "there is less pressure");
        }
        Level::Strained => tracing::warn!(level = number, why, "the server is strained"),
        Level::Rationed => {
            tracing::warn!(level = number, why, "publishers are held to their share of pings");
        }
        Level::PingsRefused => tracing::error!(level = number, why, "pings are refused"),
        Level::CallsRefused => {
            tracing::error!(level = number, why, "pings and new calls are refused");
        }
    }
}

/// Counts as they stood when they were looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    at: Mono,
    written: u64,
    booked: u64,
    pings: u64,
    cpu: Duration,
}

impl Counts {
    fn rates_since(self, before: Self) -> Rates {
        let passed_ms = self.at.since(before.at).as_millis().max(1) as u64;
        let rate = |now: u64, before: u64| now.saturating_sub(before) * 1_000 / passed_ms;
        Rates {
            written: rate(self.written, before.written),
            booked: rate(self.booked, before.booked),
            pings: rate(self.pings, before.pings),
        }
    }

    fn cpu_percent_since(self, before: Self, cores: u32) -> u32 {
        let passed = self.at.since(before.at).as_micros().max(1) * u128::from(cores.max(1));
        let used = self.cpu.saturating_sub(before.cpu).as_micros();
        u32::try_from(used * 100 / passed).unwrap_or(u32::MAX)
    }
}

/// Looks at everything, twice a second. Rates are of the last four looks.
pub(super) async fn watch(
    pressures: Arc<Pressures>,
    deciding: Arc<Deciding>,
    appender: Appender,
    gauges: Gauges,
    ended: watch::Receiver<bool>,
) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    let mut rounds = Rounds::new(LOOK_EVERY, ended);
    let mut past: VecDeque<Counts> = VecDeque::new();
    while rounds.next().await {
        let now = clock::mono();
        let counts = Counts {
            at: now,
            written: appender.durable().seq,
            booked: gauges.booked().seq,
            pings: pressures.shares.lock().taken(),
            cpu: machine::cpu_used(),
        };
        let (last, first) = (past.back().copied(), past.front().copied());
        let (sessions, answers) = deciding.filled();
        let readings = Readings {
            commit: pressures.slowest_commit(now),
            cpu_percent: last.map_or(0, |last| counts.cpu_percent_since(last, cores)),
            behind: counts.written.saturating_sub(counts.booked),
            sessions,
            answers,
            disk: appender.pressure(),
        };
        let rates = first.map_or_else(Rates::default, |first| counts.rates_since(first));
        pressures.look(readings, rates, now);
        pressures.publish();
        past.push_back(counts);
        if past.len() > 4 {
            past.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_book_catches_up_while_calls_are_written_first() {
        let rates = |written, booked, pings| Rates { written, booked, pings }.room();
        assert_eq!(rates(1_000, 1_000, 1_000), 900);
        assert_eq!(rates(1_000, 1_000, 400), 300, "600 are of calls");
        assert_eq!(rates(1_000, 500, 400), 0);
        assert_eq!(rates(0, 0, 0), 0);
    }

    #[test]
    fn rates_and_the_use_of_cores_are_of_the_time_between() {
        let counts = |ms: u64, count, cpu| Counts {
            at: Mono(ms * 1_000_000),
            written: count,
            booked: count / 2,
            pings: count / 4,
            cpu,
        };
        let (before, after) = (counts(1_000, 0, 100 * MS), counts(3_000, 4_000, 3_100 * MS));
        let expected = Rates { written: 2_000, booked: 1_000, pings: 500 };
        assert_eq!(after.rates_since(before), expected);
        assert_eq!(after.cpu_percent_since(before, 2), 75);
        assert_eq!(before.cpu_percent_since(after, 2), 0);
    }

    #[test]
    fn the_slowest_commit_of_a_second_is_the_one_in_a_hundred() {
        let pressures = Pressures::new(&PressureSettings::default());
        assert_eq!(pressures.slowest_commit(Mono(0)), None);
        for n in 1..=200_u32 {
            pressures.committed(n * MS, Mono(u64::from(n)));
        }
        assert_eq!(pressures.slowest_commit(Mono(1_000)), Some(198 * MS));
        assert_eq!(pressures.slowest_commit(Mono(1_000_000_199)), Some(200 * MS));
        assert_eq!(pressures.slowest_commit(Mono(1_000_000_200)), None);
    }

    #[test]
    fn a_level_rations_pings_and_its_end_takes_all_again() {
        let pressures =
            Pressures::new(&PressureSettings { facts_behind_max: 100, ..Default::default() });
        let behind = |behind| Readings { behind, ..Readings::default() };
        let taken = |second: u64| {
            let now = Mono(second * 1_000_000_000);
            (0..50).filter(|_| pressures.admit(&"pub".into(), now).is_ok()).count()
        };
        assert_eq!(taken(1), 50);

        pressures.look(behind(71), Rates { written: 50, booked: 10, pings: 50 }, Mono(0));
        assert_eq!((pressures.level(), taken(2)), (Level::Rationed, 9));
        assert_eq!(pressures.causes().len(), 1);
        pressures.look(behind(10), Rates::default(), Mono(0));
        assert_eq!((pressures.level(), taken(3)), (Level::Calm, 50));
        assert!(pressures.causes().is_empty());
    }

    #[test]
    fn who_leaves_makes_room_however_it_leaves() {
        let settings = PressureSettings { pings_at_once_max: 16, ..PressureSettings::default() };
        let pressures = Pressures::new(&settings);
        let entered: Vec<_> = (0..16).map_while(|_| pressures.enter(Mono(0))).collect();
        assert_eq!(entered.len(), 16);
        assert!(pressures.enter(Mono(0)).is_none());
        drop(entered);
        assert!(pressures.enter(Mono(0)).is_some());
    }
}
