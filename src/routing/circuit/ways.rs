//! How calls go over each way to targets: a trunk, or a host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::routing::config::CircuitConfig;
use crate::routing::dial::Way;
use crate::routing::snapshot::RoutingSnapshot;
use crate::time::Mono;

use super::delays::Delays;
use super::tally::Tally;
use super::{Attempted, Before, Circuits, Condition, Turn};

/// The circuits of all ways that were gone, and how soon it rang. There are no more of them than the
/// configuration names.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    circuits: Circuits<Way>,
    delays: BTreeMap<Way, Delays>,
}

/// What calls of the last while have shown of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaySeen {
    pub condition: Condition,
    pub attempts: u32,
    pub answered: u32,
    /// Silence, no address, or 5xx.
    pub failed: u32,
    /// In the last seven days, as far as a drop is told by.
    pub week_attempts: u32,
    pub week_answered: u32,
    /// Post-dial delay in milliseconds, an eighth too high at most; absent: it has rung nowhere.
    pub p50_ms: Option<u32>,
    pub p99_ms: Option<u32>,
}

impl Ways {
    /// Rules that have changed hold from now on; ways that are gone are forgotten, and how soon it rang
    /// where that is counted over another window from now on.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        let known = snapshot.ways();
        let rules = |way: &Way| known.contains(way).then(|| snapshot.way_circuit(way)).flatten();
        self.delays.retain(|way, _| {
            let before = self.circuits.rules(way).map(|rules| rules.window_s);
            before.is_some() && before == rules(way).map(|rules| rules.window_s)
        });
        self.circuits.follow(rules);
    }

    /// What a decision at `now` reads.
    pub fn condition(&self, way: &Way, now: Mono) -> Condition {
        self.circuits.condition(way, now)
    }

    /// An attempt is over, or was answered. `rules` are the way's.
    pub fn attempted(
        &mut self,
        way: &Way,
        rules: &Arc<CircuitConfig>,
        attempted: Attempted,
        now: Mono,
    ) -> Option<Turn> {
        if let Some(pdd_ms) = attempted.pdd_ms {
            let delays = match self.delays.get_mut(way) {
                Some(delays) => delays,
                None => self.delays.entry(way.clone()).or_default(),
            };
            delays.add(pdd_ms, now, window(rules));
        }
        self.circuits.attempted(way, rules, attempted, now)
    }

    /// An answered call is over. `by_target`: the target hung up, after so long a talk.
    pub fn talked(
        &mut self,
        way: &Way,
        rules: &Arc<CircuitConfig>,
        talk: Duration,
        by_target: bool,
        now: Mono,
    ) -> Option<Turn> {
        self.circuits.talked(way, rules, talk, by_target, now)
    }

    /// Puts back what was before this process; what lies a week back is left out.
    pub fn restore(&mut self, way: &Way, rules: &Arc<CircuitConfig>, before: Before, now: Mono) {
        self.circuits.restore(way, rules, before, now);
    }

    /// Those that are not closed.
    pub fn tripped(&self, now: Mono) -> impl Iterator<Item = (&Way, Condition)> {
        self.circuits.tripped(now)
    }

    /// `rules` are the way's.
    pub fn seen(&mut self, way: &Way, rules: &CircuitConfig, now: Mono) -> WaySeen {
        let condition = self.circuits.condition(way, now);
        let (seen, before) = self.circuits.seen(way, now).unwrap_or_default();
        let Tally { attempts, answered, failed, .. } = seen;
        let (week_attempts, week_answered) = (before.attempts, before.answered);
        let mut percentile =
            |percent| self.delays.get_mut(way)?.percentile(percent, now, window(rules));
        let (p50_ms, p99_ms) = (percentile(50), percentile(99));
        WaySeen {
            condition,
            attempts,
            answered,
            failed,
            week_attempts,
            week_answered,
            p50_ms,
            p99_ms,
        }
    }
}

fn window(rules: &CircuitConfig) -> Duration {
    Duration::from_secs(rules.window_s.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{AttemptEnd, Cause, Trip};
    use super::*;

    #[test]
    fn a_way_is_left_when_its_p99_is_too_long_and_then_tried_by_a_few() {
        let mut watched = Watched::default();
        for n in 0..49 {
            assert_eq!(watched.attempt(n, AttemptEnd::Answered, Some(900)), None);
        }
        let turn = watched.attempt(49, AttemptEnd::Answered, Some(6_001));
        let trip = Trip { cause: Cause::Slow, seen: 1, of: 50 };
        assert_eq!(turn, Some(Turn::Opened(trip, Duration::from_secs(120))));
        assert_eq!(watched.condition(49 + 119), Condition::Open(trip));
        assert_eq!(watched.condition(49 + 120), Condition::OnTrial(trip, 5));

        let seen = watched.ways.seen(&way(), &watched.rules, at(60));
        assert_eq!((seen.attempts, seen.answered, seen.failed), (50, 50, 0));
        assert!(seen.p50_ms.is_some_and(|ms| (900..990).contains(&ms)), "{seen:?}");
        let p99 = seen.p99_ms.expect("it has rung");
        assert!((6_001..6_800).contains(&p99), "{seen:?}");

        for n in 0..5 {
            let turn = watched.attempt(200 + n, AttemptEnd::Answered, Some(500));
            assert_eq!(turn, (n == 4).then_some(Turn::Closed));
        }
        assert_eq!(watched.condition(205), Condition::Well);
    }

    #[test]
    fn a_way_is_left_when_fewer_are_answered_than_in_its_own_week() {
        let mut watched = Watched::default();
        let before = Before { days_ago: 2, attempts: 1_000, answered: 600 };
        watched.ways.restore(&way(), &watched.rules, before, at(10));
        let opened = (0..100).find_map(|n| {
            let end = if n % 5 == 0 { AttemptEnd::Answered } else { AttemptEnd::Unanswered };
            watched.attempt(20 + n, end, Some(900)).map(|turn| (n, turn))
        });
        let (after, turn) = opened.expect("20 % where 60 % were answered");
        assert!(matches!(turn, Turn::Opened(Trip { cause: Cause::Unanswered, .. }, _)));
        assert!((49..60).contains(&after), "{after}: not before there are fifty");
    }

    #[test]
    fn a_configuration_without_a_way_forgets_it() {
        let mut watched = Watched::default();
        for n in 0..60 {
            watched.attempt(n, AttemptEnd::Failed, None);
        }
        assert!(matches!(watched.condition(60), Condition::Open(_)));
        watched.ways.configure(&snapshot("[{ kind = \"sip\", uri = \"sip:a\", trunk = \"trk\" }]"));
        assert!(matches!(watched.condition(60), Condition::Open(_)), "it is there still");
        watched.ways.configure(&snapshot("{ kind = \"sip\", uri = \"sip:a\" }"));
        assert_eq!(watched.condition(60), Condition::Well);
        assert_eq!(watched.ways.tripped(at(60)).count(), 0);
    }

    #[test]
    fn how_soon_it_rings_is_seen_anew_after_the_window_has_changed() {
        let p99 = |watched: &mut Watched, at_s| {
            watched.ways.seen(&way(), &Arc::clone(&watched.rules), at(at_s)).p99_ms
        };
        let longer = "[{ kind = \"sip\", uri = \"sip:a\", trunk = \"trk\" }]";
        for (window_s, is_kept) in [(900, true), (86_400, false), (60, false)] {
            let mut watched = Watched::default();
            watched.attempt(100_000, AttemptEnd::Answered, Some(900));
            assert!(p99(&mut watched, 100_000).is_some_and(|ms| ms < 1_000));

            watched.rules = Arc::new(CircuitConfig { window_s, ..CircuitConfig::default() });
            let rules = format!("circuit = {{ window_s = {window_s} }}");
            watched.ways.configure(&snapshot_with(longer, &rules));

            assert_eq!(p99(&mut watched, 100_001).is_some(), is_kept, "{window_s} s");
            watched.attempt(100_002, AttemptEnd::Answered, Some(5_000));
            assert!(p99(&mut watched, 100_002).is_some_and(|ms| ms >= 5_000), "{window_s} s");
        }
    }

    proptest! {
        /// Whatever comes, fewer attempts than are asked for say nothing, and one that is left comes
        /// back on trial when it has rested.
        #[test]
        fn a_way_is_never_left_early_nor_for_good(
            attempts in prop::collection::vec((0_u8..3, prop::option::of(1_u32..20_000)), 1..120),
        ) {
            let mut watched = Watched::default();
            let mut left = None;
            for (n, (end, pdd_ms)) in (0_u64..).zip(&attempts) {
                let end = [AttemptEnd::Answered, AttemptEnd::Unanswered, AttemptEnd::Failed]
                    [usize::from(*end)];
                if let Some(Turn::Opened(..)) = watched.attempt(n, end, *pdd_ms) {
                    prop_assert!(n >= 49, "left after {}", n + 1);
                    left.get_or_insert(n);
                }
            }
            if let Some(n) = left {
                let on_trial = matches!(watched.condition(n + 120 * 32), Condition::OnTrial(_, 5));
                prop_assert!(on_trial, "{:?}", watched.condition(n + 120 * 32));
            }
        }
    }

    #[derive(Default)]
    struct Watched {
        ways: Ways,
        rules: Arc<CircuitConfig>,
    }

    impl Watched {
        fn attempt(&mut self, at_s: u64, end: AttemptEnd, pdd_ms: Option<u32>) -> Option<Turn> {
            self.ways.attempted(&way(), &self.rules, Attempted { end, pdd_ms }, at(at_s))
        }

        fn condition(&self, at_s: u64) -> Condition {
            self.ways.condition(&way(), at(at_s))
        }
    }

    fn way() -> Way {
        Way::Trunk("trk".into())
    }

    fn snapshot(dial: &str) -> RoutingSnapshot {
        snapshot_with(dial, "")
    }

    /// `rules`: what else is said of the trunk.
    fn snapshot_with(dial: &str, rules: &str) -> RoutingSnapshot {
        let rules = if rules.is_empty() { String::new() } else { format!(", {rules}") };
        let text = format!(
            "buyers = [{{ id = \"b\" }}]\ntrunks = [{{ id = \"trk\"{rules} }}]\n\
             [[targets]]\nid = \"t\"\nbuyer = \"b\"\ndial = {dial}\n"
        );
        RoutingSnapshot::compile(toml::from_str(&text).unwrap(), 1).unwrap()
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }
}
