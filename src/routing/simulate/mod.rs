//! Decisions for the sake of an answer: the same function, with nothing taken, used up or written.

mod asked;
mod latency;

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::id::{CallId, TargetId};
use crate::reason::Reason;
use crate::time::Wall;

use super::circuit::Condition;
use super::decider::{Known, decide};
use super::decision::Decision;
use super::dial::{Unreached, Way};
use super::geo::LineRecord;
use super::history::prior::PriorCalls;
use super::hold::Bucket;
use super::performance::rate::Lately;
use super::performance::{Concerned, Scope, Tallies};
use super::replay::{DecisionRecord, Recorded};
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::scorer::{Heard, Outcome, Question};
use super::selection::{Rotation, ScoreReading};
use super::snapshot::RoutingSnapshot;

pub use asked::{AskedCall, AssumedSession, Dialed, LiveSession, Unthinkable};
pub use latency::Latency;

/// What is to be taken for true whatever is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// How much of a cap is used in the window of the call, by the key of the cap, such as
    /// `target/tgt_summit/connected/daily`. In the unit of the cap: calls, micros, milliseconds.
    pub used: BTreeMap<SmolStr, u64>,
    /// Targets that are not there.
    pub down: BTreeSet<TargetId>,
    /// What scorers elsewhere say of targets, in millionths. Whoever is named here says nothing else.
    pub scores: BTreeMap<SmolStr, BTreeMap<TargetId, i64>>,
    /// How many calls at once can be taken, as whoever takes them says, by the key of the concurrency.
    pub ready: BTreeMap<SmolStr, u32>,
    /// Sessions that are not there. They are looked at before those that are.
    pub sessions: Vec<SessionReading>,
}

impl Assumed {
    /// What is left to be asked, nothing unless scorers `may` be asked, and what came of those that
    /// are not.
    pub fn left_to_ask(&self, questions: Vec<Question>, may: bool) -> (Vec<Question>, Vec<Heard>) {
        let (mut left, mut heard) = (vec![], vec![]);
        for question in questions {
            let scorer = question.scorer.id.clone();
            let Some(assumed) = self.scores.get(&scorer) else {
                match may {
                    true => left.push(question),
                    false => {
                        let outcome = Outcome::NotAsked;
                        heard.push(Heard { scorer, outcome, scores: vec![] });
                    }
                }
                continue;
            };
            let said = |(target, score): (&TargetId, &i64)| ScoreReading {
                scorer: scorer.clone(),
                target: target.clone(),
                score: *score,
            };
            let scores = assumed.iter().map(said).collect();
            heard.push(Heard { scorer, outcome: Outcome::Assumed, scores });
        }
        (left, heard)
    }

    /// From now on it is assumed what was heard.
    pub fn heed(&mut self, heard: &[Heard]) {
        for reading in heard.iter().flat_map(|it| &it.scores) {
            let of_scorer = self.scores.entry(reading.scorer.clone()).or_default();
            of_scorer.insert(reading.target.clone(), reading.score);
        }
    }
}

/// What is to be known of sessions that are assumed and do not belong to the call as it was decided about:
/// nothing they say counts then. `None`: one does, or none is assumed.
pub fn unmatched(
    request: &RouteRequest,
    sessions: &[SessionReading],
    decision: &Decision,
) -> Option<String> {
    let found = decision.attribution.as_ref().and_then(|it| it.session);
    if sessions.is_empty() || sessions.iter().any(|it| Some(it.session) == found) {
        return None;
    }
    let said =
        "the session that is assumed is not that of the call, and what it says does not count";
    let is_nobody = request.caller.is_none() && request.named.is_none();
    let remedy = if is_nobody { ": say who calls, it is matched by its caller" } else { "" };
    Some(format!("{said}{remedy}"))
}

/// Where many calls like one would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many there are.
    pub calls: u32,
    /// How many would be offered to a target first.
    pub first: BTreeMap<TargetId, u32>,
    pub refused: BTreeMap<Reason, u32>,
}

/// Usage as it is, where nothing is assumed of it.
pub struct Assuming<'a, U: ?Sized> {
    pub usage: &'a U,
    pub assumed: &'a Assumed,
}

impl<U: UsageReader + ?Sized> UsageReader for Assuming<'_, U> {
    fn usage(&self, bucket: &Bucket) -> Usage {
        match self.assumed.used.get(&bucket.cap) {
            Some(used) if bucket.window == "live" => Usage { used: 0, held: *used },
            Some(used) => Usage { used: *used, held: 0 },
            None => self.usage.usage(bucket),
        }
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        match self.assumed.used.contains_key(&bucket.cap) {
            true => 0,
            false => self.usage.awaited(bucket),
        }
    }

    fn withheld(&self, bucket: &Bucket) -> bool {
        self.usage.withheld(bucket)
    }

    fn condition(&self, target: &TargetId) -> Condition {
        if self.assumed.down.contains(target) {
            return Condition::Down;
        }
        self.usage.condition(target)
    }

    fn way(&self, way: &Way) -> Condition {
        self.usage.way(way)
    }

    fn unreached(&self, target: &TargetId, place: u8, uri: &str) -> Option<Unreached> {
        self.usage.unreached(target, place, uri)
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        self.assumed.ready.get(concurrency).copied().or_else(|| self.usage.ready(concurrency))
    }

    fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        self.usage.tallies(concerned, since)
    }

    fn lately(&self, scope: &Scope, at: Wall) -> Lately {
        self.usage.lately(scope, at)
    }

    fn lists(&self, list: &str, found: Option<bool>) -> bool {
        self.usage.lists(list, found)
    }

    fn prior(&self) -> Option<PriorCalls> {
        self.usage.prior()
    }

    fn line(&self, found: Option<Option<LineRecord>>) -> Option<LineRecord> {
        self.usage.line(found)
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        match self.assumed.scores.get(scorer) {
            Some(scores) => scores.get(target).copied(),
            None => self.usage.score(scorer, target),
        }
    }
}

/// Decides about `count` calls like the recorded one, each after the other, on what it was decided
/// on; none takes room from the next. `seed` names the calls, and so draws where something is drawn.
pub fn distribution(
    snapshot: &RoutingSnapshot,
    record: &DecisionRecord,
    count: u32,
    seed: u64,
) -> Distribution {
    distribution_while(snapshot, record, count, seed, || true)
}

/// The same for as long as `may_go_on`, and of one call at least.
pub fn distribution_while(
    snapshot: &RoutingSnapshot,
    record: &DecisionRecord,
    count: u32,
    seed: u64,
    mut may_go_on: impl FnMut() -> bool,
) -> Distribution {
    let readings = &record.decision.readings;
    let recorded = Recorded::of(readings);
    let mut rotation = match &record.decision.attribution {
        Some(it) => Rotation::from_readings(&it.campaign, readings),
        None => Rotation::default(),
    };
    let known = Known { sessions: &record.sessions, calls: &record.calls };
    let mut distribution = Distribution::default();
    for number in 0..count {
        if number > 0 && !may_go_on() {
            break;
        }
        distribution.calls += 1;
        let call = CallId::of_simulation(seed, number);
        let request = RouteRequest { call, ..record.request.clone() };
        let decision = decide(snapshot, &request, known, &recorded, &mut rotation);
        match (decision.plan.into_iter().next(), decision.refused) {
            (Some(first), _) => *distribution.first.entry(first.target).or_default() += 1,
            (None, Some(reason)) => *distribution.refused.entry(reason).or_default() += 1,
            (None, None) => unreachable!("a decision without a plan has a reason"),
        }
    }
    distribution
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Tags;
    use crate::routing::config::RoutingConfig;
    use crate::routing::replay::record_bytes;
    use crate::routing::scorer::questions;

    const CONFIG: &str = r#"
        publishers = [{ id = "p" }]
        buyers = [{ id = "b" }]
        targets = [
            { id = "most", buyer = "b", dial = { kind = "sip", uri = "sip:a" },
              caps = [{ metric = "connected", window = "daily", limit = 10 }],
              concurrency = { limit = 2 } },
            { id = "some", buyer = "b", dial = { kind = "sip", uri = "sip:b" } },
        ]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [
            { target = "most", weight = 70 }, { target = "some", weight = 30 },
        ] }] }
    "#;

    #[test]
    fn a_hundred_calls_are_shared_as_the_weights_say() {
        let (snapshot, record) = recorded(&Assumed::default());
        let distribution = distribution(&snapshot, &record, 100, 1);
        assert_eq!(distribution.first, [("most".into(), 70), ("some".into(), 30)].into());
        assert_eq!(distribution.refused, BTreeMap::new());
    }

    #[test]
    fn calls_are_shared_out_for_as_long_as_there_is_time() {
        let (snapshot, record) = recorded(&Assumed::default());
        let mut left = 19;
        let some = distribution_while(&snapshot, &record, 100, 1, || {
            left -= 1;
            left >= 0
        });
        assert_eq!(some.first, [("most".into(), 14), ("some".into(), 6)].into());
        assert_eq!(some.calls, 20);
        assert_eq!(distribution_while(&snapshot, &record, 100, 1, || false).calls, 1);
    }

    #[test]
    fn what_is_assumed_goes_before_what_is() {
        for (cap, used) in [("target/most/connected/daily", 10), ("target/most/concurrency", 2)] {
            let assumed = Assumed { used: [(cap.into(), used)].into(), ..Assumed::default() };
            let (snapshot, record) = recorded(&assumed);
            let shares = distribution(&snapshot, &record, 10, 1).first;
            assert_eq!(shares, [("some".into(), 10)].into(), "{cap}");
        }
        let down: BTreeSet<TargetId> = ["most".into()].into();
        let (snapshot, record) = recorded(&Assumed { down, ..Assumed::default() });
        assert_eq!(distribution(&snapshot, &record, 10, 1).first, [("some".into(), 10)].into());
    }

    #[test]
    fn whoever_is_assumed_to_have_said_something_is_not_asked_and_says_nothing_else() {
        let config = CONFIG.replace(
            "routing = {",
            r#"routing = { distribution = { by = "scorer", scorer = "m" }, "#,
        ) + r#"[[scorers]]
            id = "m"
            kind = "http"
            url = "http://127.0.0.1:9/"
        "#;
        let first = |assumed: &Assumed| {
            let (snapshot, record) = recorded_on(&config, assumed);
            let mut first = distribution(&snapshot, &record, 10, 1).first;
            first.pop_first().filter(|_| first.is_empty())
        };
        let (snapshot, record) = recorded_on(&config, &Assumed::default());
        let mut assumed = Assumed::default();
        let asked = |assumed: &Assumed, may| {
            let usage = Assuming { usage: &BTreeMap::<Bucket, Usage>::new(), assumed };
            let known = Known::default();
            let rotation = Rotation::default();
            let questions = questions(&snapshot, &record.request, known, &usage, &rotation);
            let (left, heard) = assumed.left_to_ask(questions, may);
            (left.len(), heard)
        };
        assert_eq!(asked(&assumed, true), (1, vec![]));
        let none = Heard { scorer: "m".into(), outcome: Outcome::NotAsked, scores: vec![] };
        assert_eq!(asked(&assumed, false), (0, vec![none]));

        assumed.scores = [("m".into(), [("some".into(), 310_000)].into())].into();
        let said = ScoreReading { scorer: "m".into(), target: "some".into(), score: 310_000 };
        let heard = Heard { scorer: "m".into(), outcome: Outcome::Assumed, scores: vec![said] };
        for may in [true, false] {
            assert_eq!(asked(&assumed, may), (0, vec![heard.clone()]));
        }
        assert_eq!(first(&assumed), None, "of one target nothing is known");
        let of_both = [("most".into(), 300_000), ("some".into(), 310_000)];
        assumed.scores.insert("m".into(), of_both.into());
        assert_eq!(first(&assumed), Some(("some".into(), 10)));
    }

    fn recorded(assumed: &Assumed) -> (RoutingSnapshot, DecisionRecord) {
        recorded_on(CONFIG, assumed)
    }

    fn recorded_on(config: &str, assumed: &Assumed) -> (RoutingSnapshot, DecisionRecord) {
        let config: RoutingConfig = toml::from_str(config).unwrap();
        let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
        let request = RouteRequest {
            call: CallId::of_simulation(0, 0),
            at: Wall(1_773_759_852_318),
            dialed: "+18005550100".parse().unwrap(),
            caller: None,
            trunk: "t".into(),
            named: None,
            tags: Tags::new(),
            announced: false,
        };
        let unused = BTreeMap::<Bucket, Usage>::new();
        let usage = Assuming { usage: &unused, assumed };
        let decision =
            decide(&snapshot, &request, Known::default(), &usage, &mut Rotation::default());
        let bytes = record_bytes(&request, Known::default(), &decision);
        (snapshot, DecisionRecord::from_bytes(&bytes).unwrap())
    }
}
