use super::*;
use crate::routing::config::RoutingConfig;

const SECOND: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

#[test]
fn it_opens_when_half_of_enough_attempts_fail() {
    let mut target = Watched::new(CircuitConfig { min_attempts: 20, ..rules() });
    for n in 0..19 {
        assert_eq!(target.attempt(n, if n % 2 == 0 { FAILED } else { ANSWERED }), None, "{n}");
    }
    let trip = Trip { cause: Cause::Failed, seen: 10, of: 20 };
    assert_eq!(target.attempt(19, ANSWERED), Some(Turn::Opened(trip, secs(120))));
    assert_eq!(target.condition(138), Condition::Open(trip));
    assert_eq!(target.condition(139), Condition::OnTrial(trip, 5));
}

#[test]
fn what_went_badly_long_ago_does_not_count() {
    let mut target = Watched::new(CircuitConfig { min_attempts: 20, ..rules() });
    for n in 0..19 {
        target.attempt(n, FAILED);
    }
    assert_eq!(target.attempt(900 + 120, FAILED), None, "the window is over");
    assert_eq!(target.condition(900 + 120), Condition::Well);
}

#[test]
fn it_opens_when_more_than_one_in_a_hundred_rings_too_late() {
    let slow = Attempted { pdd_ms: Some(6_001), ..ANSWERED };
    let (mut one, mut two) = (Watched::new(rules()), Watched::new(rules()));
    for n in 0..200 {
        let ringing = Attempted { pdd_ms: Some(6_000), ..ANSWERED };
        // Each hundredth is exactly at the limit of P99.
        let is_late = n == 150 || n == 199;
        assert_eq!(one.attempt(n, if is_late { slow } else { ringing }), None, "{n}");
    }
    let opened = (0..60).find_map(|n| two.attempt(n, if n == 55 { slow } else { ANSWERED }));
    let trip = Trip { cause: Cause::Slow, seen: 1, of: 56 };
    assert_eq!(opened, Some(Turn::Opened(trip, secs(120))));
}

#[test]
fn it_opens_when_far_fewer_are_answered_than_in_the_week_before() {
    let mut target = Watched::new(rules());
    for day in 0..3 {
        for n in 0..200 {
            let end = if n % 2 == 0 { ANSWERED } else { UNANSWERED };
            assert_eq!(target.attempt(day * DAY_S + n * 60, end), None, "the share is 50 %");
        }
    }
    let opened = (0..100).find_map(|n| {
        let end = if n % 5 == 0 { ANSWERED } else { UNANSWERED };
        target.attempt(3 * DAY_S + n, end).map(|turn| (n, turn))
    });
    let (after, turn) = opened.expect("a share of 20 % is seen");
    assert!(matches!(turn, Turn::Opened(Trip { cause: Cause::Unanswered, .. }, _)), "{turn:?}");
    assert!((49..80).contains(&after), "{after}: no sooner than that chance is ruled out");
}

#[test]
fn what_was_before_this_process_counts_until_it_is_a_week_old() {
    let opens = |days_ago, on_day: u64| {
        let mut target = Watched::new(rules());
        let before = Before { days_ago, attempts: 400, answered: 400 };
        // The machine has just started: its clock is younger than what it is told of.
        target.circuits.restore(&"t".into(), &target.rules, before, at(10));
        (0..60).any(|n| target.attempt(on_day * DAY_S + 10 + n, UNANSWERED).is_some())
    };
    assert_eq!([opens(0, 0), opens(6, 0), opens(7, 0)], [true, true, false]);
    assert_eq!([opens(0, 6), opens(5, 1), opens(6, 1)], [true, true, false]);
}

#[test]
fn a_target_that_was_never_better_stays_in() {
    let mut target = Watched::new(rules());
    for n in 0..3_000 {
        let end = if n % 10 == 0 { ANSWERED } else { UNANSWERED };
        assert_eq!(target.attempt(n * 30, end), None, "{n}");
    }
}

#[test]
fn short_calls_count_where_that_is_asked_for() {
    let asked = CircuitConfig { min_attempts: 10, max_short_percent: Some(40), ..rules() };
    let mut target = Watched::new(asked);
    let mut turn = None;
    for n in 0..10 {
        let (talk, by_target) = if n < 4 { (9, true) } else { (9, false) };
        turn = target.talk(n, talk, by_target);
    }
    let trip = Trip { cause: Cause::Short, seen: 4, of: 10 };
    assert_eq!(turn, Some(Turn::Opened(trip, secs(120))), "those the caller ended do not count");
    let mut unasked = Watched::new(CircuitConfig { min_attempts: 10, ..rules() });
    assert!((0..100).all(|n| unasked.talk(n, 1, true).is_none()));
}

#[test]
fn it_closes_when_the_attempts_on_trial_go_well() {
    let mut target = Watched::failing();
    assert_eq!(target.attempt(100, ANSWERED), None, "what was under way when it opened");
    for n in 0..4 {
        assert_eq!(target.attempt(1_000 + n, ANSWERED), None);
        assert!(matches!(target.condition(1_000 + n), Condition::OnTrial(..)));
    }
    assert_eq!(target.attempt(1_004, ANSWERED), Some(Turn::Closed));
    assert_eq!(target.condition(1_004), Condition::Well);
    assert_eq!(target.attempt(1_005, FAILED), None, "what was before is forgotten");
}

#[test]
fn it_opens_twice_as_long_each_time_the_trial_fails() {
    let mut target = Watched::failing();
    let mut at = 1_000;
    for (round, cool_down) in [240, 480, 960, 1_920, 3_840, 3_840].into_iter().enumerate() {
        let ends = [FAILED, ANSWERED, FAILED, ANSWERED, FAILED];
        let turns = ends.into_iter().enumerate().map(|(n, end)| target.attempt(at + n as u64, end));
        let trip = Trip { cause: Cause::Failed, seen: 3, of: 5 };
        assert_eq!(turns.last(), Some(Some(Turn::Opened(trip, secs(cool_down)))), "{round}");
        at += 4 + cool_down;
        assert_eq!(target.condition(at - 1), Condition::Open(trip));
    }
}

#[test]
fn a_trial_blames_no_target_for_what_chance_explains() {
    let verdict_of = |answered_before, answered| {
        let before = Tally { attempts: 1_000, answered: answered_before, ..Tally::default() };
        let trial = Tally { attempts: 5, answered, ..Tally::default() };
        verdict(&trial, &before, Cause::Unanswered, &rules()).unwrap().is_ok()
    };
    assert!(!verdict_of(500, 0), "none of five, where half were answered");
    assert!(verdict_of(500, 2));
    assert!(verdict_of(100, 0), "none of five, where one in ten was");
}

#[test]
fn a_trial_is_the_stated_share_of_calls() {
    let trip = Trip { cause: Cause::Failed, seen: 1, of: 1 };
    let takes = |percent| {
        let condition = Condition::OnTrial(trip, percent);
        let calls = (0..10_000).map(|n| CallId::of_simulation(1, n));
        calls.filter(|call| condition.takes(*call, "t")).count()
    };
    assert!((400..600).contains(&takes(5)), "{}", takes(5));
    assert_eq!(takes(100), 10_000);
}

#[test]
fn a_configuration_changes_the_rules_and_forgets_who_is_gone() {
    let mut target = Watched::failing();
    target.circuits.configure(&snapshot("circuit = { trial_percent = 50 }"));
    assert!(matches!(target.condition(1_000), Condition::OnTrial(_, 50)));
    target.circuits.configure(&snapshot("circuit = { enabled = false }"));
    assert_eq!(target.condition(1_000), Condition::Well);
    assert_eq!(target.circuits.tripped(at(1_000)).count(), 0);
}

#[test]
fn short_calls_that_are_asked_for_no_more_keep_nobody_out() {
    let asked = CircuitConfig { min_attempts: 10, max_short_percent: Some(40), ..rules() };
    let mut target = Watched::new(asked);
    assert!((0..10).any(|n| target.talk(n, 1, true).is_some()));

    target.circuits.configure(&snapshot("circuit = { max_short_percent = 41 }"));
    assert!(matches!(target.condition(10), Condition::Open(_)));
    target.circuits.configure(&snapshot("circuit = { trial_percent = 50 }"));
    assert_eq!(target.condition(10), Condition::Well);
    assert_eq!(target.circuits.tripped(at(10)).count(), 0);
}

fn snapshot(circuit: &str) -> RoutingSnapshot {
    let config: RoutingConfig = toml::from_str(&format!(
        r#"buyers = [{{ id = "b" }}]
        targets = [{{ id = "t", buyer = "b", dial = {{ kind = "sip", uri = "sip:a" }}, {circuit} }}]"#
    ))
    .unwrap();
    RoutingSnapshot::compile(config, 1).unwrap()
}

const ANSWERED: Attempted = Attempted { end: AttemptEnd::Answered, pdd_ms: Some(900) };
const UNANSWERED: Attempted = Attempted { end: AttemptEnd::Unanswered, pdd_ms: Some(900) };
const FAILED: Attempted = Attempted { end: AttemptEnd::Failed, pdd_ms: None };

struct Watched {
    circuits: Circuits,
    rules: Arc<CircuitConfig>,
}

impl Watched {
    fn new(rules: CircuitConfig) -> Self {
        Self { circuits: Circuits::default(), rules: Arc::new(rules) }
    }

    /// Open from 19 s to 139 s.
    fn failing() -> Self {
        let mut target = Self::new(CircuitConfig { min_attempts: 20, ..rules() });
        let turn = (0..20).fold(None, |_, n| target.attempt(n, FAILED));
        assert!(matches!(turn, Some(Turn::Opened(..))));
        target
    }

    fn attempt(&mut self, at_s: u64, attempted: Attempted) -> Option<Turn> {
        self.circuits.attempted(&"t".into(), &self.rules, attempted, at(at_s))
    }

    fn talk(&mut self, at_s: u64, talk_s: u64, by_target: bool) -> Option<Turn> {
        self.circuits.talked(&"t".into(), &self.rules, secs(talk_s), by_target, at(at_s))
    }

    fn condition(&self, at_s: u64) -> Condition {
        self.circuits.condition(&"t".into(), at(at_s))
    }
}

fn rules() -> CircuitConfig {
    CircuitConfig::default()
}

fn at(seconds: u64) -> Mono {
    Mono(seconds * SECOND)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
