//! The ladder: from what is measured to what is given up (spec/data §2.7). Pure.
//!
//! A level is left later than it is come to: what is measured has to be better for as long, or by as
//! much, as says that it will not be back at once.

use std::fmt;
use std::time::Duration;

use crate::cdr::journal::Pressure;
use crate::config::PressureSettings;
use crate::server::deciding::Filled;
use crate::time::Mono;

/// How long strain has to last before it is told, and calm before it is taken for that.
const LASTING: Duration = Duration::from_secs(5);

/// What is given up; each level gives up what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Level {
    #[default]
    Calm,
    /// Signs of life that say nothing else: their sessions live on, but a crash costs them what was not written
    /// down. All other facts are of use to somebody else as well.
    Strained,
    /// Pings of publishers beyond their share.
    Rationed,
    /// All pings.
    PingsRefused,
    /// New calls. Those that are up go on.
    CallsRefused,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Readings {
    /// 99 of 100 commits of the last second took no longer; absent: there was none.
    pub(super) commit: Option<Duration>,
    /// Of the cores that the process may use.
    pub(super) cpu_percent: u32,
    /// Facts on disk that are not in the book.
    pub(super) behind: u64,
    /// Live sessions.
    pub(super) sessions: Filled,
    /// Answers that are given again.
    pub(super) answers: Filled,
    pub(super) disk: Pressure,
}

/// Why there is pressure, with what was measured and what may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Commits { took: Duration, limit: Duration },
    Cpu { percent: u32, limit: u32 },
    Behind { facts: u64, limit: u64 },
    Sessions(Filled),
    Answers(Filled),
    Disk(Pressure),
}

#[derive(Clone, Debug)]
pub(super) struct Ladder {
    rules: PressureSettings,
    commits: Lasting,
    cpu: Lasting,
    behind: Level,
    sessions: Level,
    answers: Level,
    level: Level,
    causes: Vec<Cause>,
}

/// Something that is so once it was so for [`LASTING`] on end, and no more once it was otherwise for as
/// long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lasting {
    is_so: bool,
    /// Since when everything says the contrary.
    contrary_since: Option<Mono>,
}

impl Level {
    /// 0 to 4.
    pub(in crate::server) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Calm,
            1 => Self::Strained,
            2 => Self::Rationed,
            3 => Self::PingsRefused,
            _ => Self::CallsRefused,
        }
    }
}

impl Ladder {
    pub(super) fn new(rules: PressureSettings) -> Self {
        let (commits, cpu) = (Lasting::default(), Lasting::default());
        let (behind, sessions, answers) = (Level::Calm, Level::Calm, Level::Calm);
        let (level, causes) = (Level::Calm, vec![]);
        Self { rules, commits, cpu, behind, sessions, answers, level, causes }
    }

    /// Takes in what was measured. Returns the level of before, if it is another now.
    pub(super) fn handle(&mut self, readings: Readings, now: Mono) -> Option<Level> {
        let Readings { commit, cpu_percent, behind, sessions, answers, disk } = readings;
        let (limit, percent) = (self.rules.commit, self.rules.cpu_percent);
        let mut causes = vec![];
        let took = commit.unwrap_or_default();
        if self.commits.handle(took > limit, took <= limit * 2 / 3, now) {
            causes.push((Level::Strained, Cause::Commits { took, limit }));
        }
        if self.cpu.handle(cpu_percent > percent, cpu_percent + 10 <= percent, now) {
            causes.push((Level::Strained, Cause::Cpu { percent: cpu_percent, limit: percent }));
        }
        self.behind = self.how_far_behind(behind);
        let limit = self.rules.facts_behind_max;
        causes.push((self.behind, Cause::Behind { facts: behind, limit }));
        self.sessions = how_full(sessions, self.sessions);
        causes.push((self.sessions, Cause::Sessions(sessions)));
        self.answers = how_full(answers, self.answers);
        causes.push((self.answers, Cause::Answers(answers)));
        // Whether it has room again the journal says late enough.
        let by_disk = match disk {
            Pressure::None => Level::Calm,
            Pressure::Low => Level::PingsRefused,
            Pressure::Reserve | Pressure::Failing => Level::CallsRefused,
        };
        causes.push((by_disk, Cause::Disk(disk)));
        causes.retain(|(level, _)| *level > Level::Calm);
        causes.sort_by_key(|(level, _)| std::cmp::Reverse(*level));

        let before = self.level;
        self.level = causes.first().map_or(Level::Calm, |(level, _)| *level);
        self.causes = causes.into_iter().map(|(_, cause)| cause).collect();
        (before != self.level).then_some(before)
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// What has led to the level and to those below, the gravest first.
    pub(super) fn causes(&self) -> &[Cause] {
        &self.causes
    }

    fn how_far_behind(&self, facts: u64) -> Level {
        let is_above = |percent: u64| {
            u128::from(facts) * 100 > u128::from(self.rules.facts_behind_max) * u128::from(percent)
        };
        let (refused, rationed) = (Level::PingsRefused, Level::Rationed);
        if is_above(90) || (self.behind >= refused && is_above(80)) {
            refused
        } else if is_above(70) || (self.behind >= rationed && is_above(60)) {
            rationed
        } else {
            Level::Calm
        }
    }
}

/// What is full refuses or forgets by itself: it is told before that.
fn how_full(filled: Filled, before: Level) -> Level {
    let is_above = |percent: usize| filled.now as u128 * 100 > filled.max as u128 * percent as u128;
    let is_strain = is_above(80) || (before == Level::Strained && is_above(70));
    if is_strain { Level::Strained } else { Level::Calm }
}

impl Lasting {
    fn handle(&mut self, is_bad: bool, is_good: bool, now: Mono) -> bool {
        let is_contrary = if self.is_so { is_good } else { is_bad };
        if !is_contrary {
            self.contrary_since = None;
        } else if now.since(*self.contrary_since.get_or_insert(now)) >= LASTING {
            *self = Self { is_so: !self.is_so, contrary_since: None };
        }
        self.is_so
    }
}

/// For people to read.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commits { took, limit } => write!(
                f,
                "commits of the journal took up to {} ms lately (99 of 100); more than {} ms is strain",
                took.as_millis(),
                limit.as_millis()
            ),
            Self::Cpu { percent, limit } => {
                write!(
                    f,
                    "the process uses {percent} % of its cores; more than {limit} % is strain"
                )
            }
            Self::Behind { facts, limit } => {
                write!(f, "call records are {facts} facts behind the journal, of {limit} at most")
            }
            Self::Sessions(Filled { now, max }) => {
                write!(f, "{now} sessions are live, and more than {max} (sessions.max) are refused")
            }
            Self::Answers(Filled { now, max }) => write!(
                f,
                "{now} answers are kept to be given again, and of more than {max} \
                 (sessions.answers_max) the oldest are forgotten"
            ),
            Self::Disk(Pressure::Failing) => write!(f, "the journal cannot be written"),
            Self::Disk(Pressure::Reserve) => write!(f, "the journal's disk is full"),
            Self::Disk(Pressure::Low | Pressure::None) => write!(f, "the journal's disk runs low"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn slow_commits_are_told_after_five_seconds_and_until_they_were_fast_for_as_long() {
        let mut ladder = ladder();
        let slow = Readings { commit: Some(31 * MS), ..Readings::default() };
        let middling = Readings { commit: Some(25 * MS), ..Readings::default() };
        let fast = Readings { commit: Some(20 * MS), ..Readings::default() };

        assert_eq!(levels(&mut ladder, 0, &[slow; 5]), [0; 5]);
        assert_eq!(levels(&mut ladder, 5, &[middling, slow, slow]), [0; 3], "it was not on end");
        assert_eq!(levels(&mut ladder, 8, &[slow; 4]), [0, 0, 0, 1]);
        assert_eq!(ladder.causes(), [Cause::Commits { took: 31 * MS, limit: 30 * MS }]);
        assert_eq!(levels(&mut ladder, 12, &[middling; 20]), [1; 20]);
        assert_eq!(levels(&mut ladder, 32, &[fast; 6]), [1, 1, 1, 1, 1, 0]);
        assert_eq!(levels(&mut ladder, 38, &[Readings::default(); 2]), [0; 2]);
    }

    #[test]
    fn a_busy_process_is_told_after_five_seconds() {
        let mut ladder = ladder();
        let at = |cpu_percent| Readings { cpu_percent, ..Readings::default() };
        assert_eq!(levels(&mut ladder, 0, &[at(86); 6]), [0, 0, 0, 0, 0, 1]);
        assert_eq!(levels(&mut ladder, 6, &[at(76); 9]), [1; 9]);
        assert_eq!(levels(&mut ladder, 15, &[at(75); 6]), [1, 1, 1, 1, 1, 0]);
        assert_eq!(levels(&mut ladder, 21, &[at(85); 9]), [0; 9]);
    }

    #[test]
    fn call_records_that_fall_behind_ration_pings_and_then_refuse_them() {
        let mut ladder = ladder();
        let at = |behind| Readings { behind, ..Readings::default() };
        let steps = [700, 701, 900, 901, 801, 800, 601, 600, 700, 2_000, 0].map(at);
        assert_eq!(levels(&mut ladder, 0, &steps), [0, 2, 2, 3, 3, 2, 2, 0, 0, 3, 0]);
    }

    #[test]
    fn what_is_about_to_be_full_is_told_and_costs_nobody_a_ping() {
        let mut ladder = ladder();
        let at = |now| Readings { sessions: Filled { now, max: 100 }, ..Readings::default() };
        let steps = [80, 81, 100, 71, 70, 80, 81].map(at);
        assert_eq!(levels(&mut ladder, 0, &steps), [0, 1, 1, 1, 0, 0, 1]);
        assert_eq!(ladder.causes(), [Cause::Sessions(Filled { now: 81, max: 100 })]);
        let answers = Filled { now: 9, max: 10 };
        let both = Readings { answers, ..at(81) };
        assert_eq!(levels(&mut ladder, 7, &[both]), [1]);
        assert_eq!(ladder.causes()[1], Cause::Answers(answers));
        assert_eq!(levels(&mut ladder, 8, &[Readings::default()]), [0]);
    }

    #[test]
    fn a_disk_that_runs_low_costs_pings_and_a_full_one_calls_at_once() {
        let mut ladder = ladder();
        let at = |disk| Readings { disk, ..Readings::default() };
        use Pressure::{Failing, Low, None, Reserve};
        let steps = [None, Low, Reserve, Failing, Low, None].map(at);
        assert_eq!(levels(&mut ladder, 0, &steps), [0, 3, 4, 4, 3, 0]);
    }

    #[test]
    fn a_change_is_told_once_and_all_causes_the_gravest_first() {
        let mut ladder = ladder();
        let readings = Readings { behind: 750, disk: Pressure::Low, ..Readings::default() };
        assert_eq!(ladder.handle(readings, Mono(0)), Some(Level::Calm));
        assert_eq!(ladder.handle(readings, Mono(1)), None);
        let expected = [Cause::Disk(Pressure::Low), Cause::Behind { facts: 750, limit: 1_000 }];
        assert_eq!(ladder.causes(), expected);
        assert_eq!(ladder.handle(Readings::default(), Mono(2)), Some(Level::PingsRefused));
    }

    proptest! {
        /// Whatever came before, what is measured now bounds the level from below, but for strain, which
        /// has to last; and after enough calm nothing is given up.
        #[test]
        fn the_level_follows_what_is_measured(
            steps in prop::collection::vec((0_u64..60, 0_u32..120, 0_u64..1_500, 0_u8..4), 1..60),
        ) {
            let mut ladder = ladder();
            let mut now = 0;
            for (commit, cpu_percent, behind, disk) in steps {
                let disk = match disk {
                    0 => Pressure::None,
                    1 => Pressure::Low,
                    2 => Pressure::Reserve,
                    _ => Pressure::Failing,
                };
                let commit = Some(Duration::from_millis(commit));
                let readings = Readings { commit, cpu_percent, behind, disk, ..Readings::default() };
                ladder.handle(readings, seconds(now));
                now += 1;
                let level = ladder.level();
                prop_assert!(disk < Pressure::Low || level >= Level::PingsRefused);
                prop_assert!(behind <= 700 || level >= Level::Rationed);
                prop_assert!(behind <= 900 || level >= Level::PingsRefused);
                prop_assert_eq!(level == Level::CallsRefused, disk >= Pressure::Reserve);
                prop_assert_eq!(level == Level::Calm, ladder.causes().is_empty());
            }
            for _ in 0..=6 {
                ladder.handle(Readings::default(), seconds(now));
                now += 1;
            }
            prop_assert_eq!(ladder.level(), Level::Calm);
        }
    }

    /// Takes in one reading a second, and returns the levels.
    fn levels<const N: usize>(ladder: &mut Ladder, from: u64, readings: &[Readings; N]) -> [u8; N] {
        let mut now = from;
        readings.map(|readings| {
            ladder.handle(readings, seconds(now));
            now += 1;
            assert_eq!(Level::of_number(ladder.level().number()), ladder.level());
            ladder.level().number()
        })
    }

    fn ladder() -> Ladder {
        Ladder::new(PressureSettings { facts_behind_max: 1_000, ..PressureSettings::default() })
    }

    fn seconds(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }
}
