//! Targets to which there are several ways: in which order they are tried, and why.

use super::*;
use crate::routing::circuit::{Cause, Trip};
use crate::routing::dial::{Failover, Unreached, Way};

const TRIP: Trip = Trip { cause: Cause::Slow, seen: 2, of: 60 };

#[test]
fn a_way_over_which_calls_go_badly_is_tried_last_and_said_to_be() {
    let decision = decided(&Thought(&["trunk/trk_a"], Condition::Open(TRIP)));

    assert_eq!(uris(&decision), ["sip:+18005550100@b.example", "sip:+18005550100@a.example"]);
    let step = decision.steps.iter().find(|it| it.check == Check::Way).unwrap();
    assert_eq!(step.subject.as_deref(), Some("trunk/trk_a"));
    assert_eq!((step.verdict, step.reason), (Verdict::Passed, Some(Reason::WayCircuitOpen)));
    let told = decision.explain_plan();
    let line = told.iter().find(|line| line.starts_with("tgt: number 1")).unwrap();
    let why = "trunk/trk_a left for last, circuit open: 2 of 60 attempts rang too late";
    assert!(line.contains(why), "{told:?}");
}

#[test]
fn the_last_way_of_a_target_is_never_taken_away() {
    let both = Thought(&["trunk/trk_a", "b.example"], Condition::Open(TRIP));
    let decision = decided(&both);

    assert_eq!(uris(&decision), ["sip:+18005550100@a.example", "sip:+18005550100@b.example"]);
    let steps = decision.steps.iter().filter(|it| it.check == Check::Way);
    let reasons: Vec<_> = steps.map(|step| step.reason).collect();
    assert_eq!(reasons, [None, None], "none is left for another");
}

#[test]
fn a_way_on_trial_is_tried_first_by_as_many_calls_as_that_takes() {
    let thought = Thought(&["trunk/trk_a"], Condition::OnTrial(TRIP, 5));
    let first = |n| {
        let request = RouteRequest { call: CallId::of_simulation(4, n), ..request("+18005550100") };
        let decision = of(&request, &thought);
        uris(&decision)[0].ends_with("a.example")
    };
    let tries = (0..2_000).filter(|n| first(*n)).count();
    assert!((70..130).contains(&tries), "5 % of 2,000: {tries}");
}

#[test]
fn a_target_with_one_way_is_called_there_whatever_is_thought_of_it() {
    let config = CONFIG.replace(", { kind = \"sip\", uri = \"sip:b.example\" }", "");
    let thought = Thought(&["trunk/trk_a"], Condition::Open(TRIP));
    let request = request("+18005550100");
    let mut rotation = Rotation::default();
    let decision = decide(&snapshot(&config), &request, Known::default(), &thought, &mut rotation);
    assert_eq!(uris(&decision), ["sip:+18005550100@a.example"]);
    assert!(decision.readings.ways.is_empty() && decision.plan[0].trunk().is_some());
}

#[test]
fn a_way_on_which_nobody_would_be_found_is_tried_last_and_said_to_be() {
    let step = |decision: &Decision| {
        let of_ways = decision.steps.iter().filter(|it| it.check == Check::Way);
        let told = |it: &Step| (it.subject.clone().unwrap(), it.reason, it.have.clone().unwrap());
        of_ways.map(told).collect::<Vec<_>>()
    };
    let nobody = |places: &'static [u8], addresses| Nobody(places, Unreached { addresses });
    let way = |name: &str, reason, have: &str| (name.into(), reason, have.into());
    let left = Some(Reason::WayUnreached);

    let decision = of(&request("+18005550100"), &nobody(&[0], 2));
    assert_eq!(uris(&decision), ["sip:+18005550100@b.example", "sip:+18005550100@a.example"]);
    let have = "both of its addresses failed of late";
    assert_eq!(step(&decision), [way("trunk/trk_a", left, have)]);
    let told = decision.explain_plan();
    let line = told.iter().find(|line| line.starts_with("tgt: number 1")).unwrap();
    assert!(line.contains(&format!("trunk/trk_a left for last, {have}")), "{told:?}");

    let all = of(&request("+18005550100"), &nobody(&[0, 1], 0));
    assert_eq!(uris(&all), ["sip:+18005550100@a.example", "sip:+18005550100@b.example"]);
    let have = "no address of it is known";
    let expected = [way("trunk/trk_a", None, have), way("b.example", None, have)];
    assert_eq!(step(&all), expected, "none is left for another");

    let none = of(&request("+18005550100"), &nobody(&[], 1));
    assert_eq!(step(&none), []);
    assert!(none.readings.unreached.is_empty());
}

#[test]
fn what_codes_lead_to_is_said_by_the_trunk_then_by_the_target() {
    let failover = |next_way_on: &[u16], advance_on: Option<&[u16]>| {
        let (next_way_on, advance_on) = (next_way_on.into(), advance_on.map(Into::into));
        Some(Failover { next_way_on, advance_on })
    };
    let of_trunk = "trk_a\", next_way_on = [480], advance_on = [603]";
    let of_target = "id = \"tgt\"\n    next_way_on = [503]";
    for (trunk, target, expected) in [
        ("trk_a\"", "id = \"tgt\"", [None, None]),
        (of_trunk, "id = \"tgt\"", [failover(&[480], Some(&[603])), None]),
        ("trk_a\"", of_target, [failover(&[503], None), failover(&[503], None)]),
        (of_trunk, of_target, [failover(&[480], Some(&[603])), failover(&[503], None)]),
    ] {
        let config = CONFIG.replacen("{ id = \"trk_a\"", &format!("{{ id = \"{trunk}"), 1);
        let config = config.replacen("id = \"tgt\"", target, 1);
        let (request, mut rotation) = (request("+18005550100"), Rotation::default());
        let thought = Thought(&[], Condition::Well);
        let snapshot = snapshot(&config);
        let decision = decide(&snapshot, &request, Known::default(), &thought, &mut rotation);
        let kept = DecisionRecord::new(&request, Known::default(), &decision);
        assert_eq!(replay(&snapshot, &kept).difference, None);
        let [planned] = &decision.plan[..] else { panic!("one target") };
        assert_eq!([&planned.failover, &planned.further[0].failover], expected.each_ref());
    }
}

const CONFIG: &str = r#"
    publishers = [{ id = "pub" }]
    buyers = [{ id = "buy" }]
    trunks = [{ id = "trk" }, { id = "trk_a" }]
    [[targets]]
    id = "tgt"
    buyer = "buy"
    dial = [{ kind = "sip", uri = "sip:a.example", trunk = "trk_a" }, { kind = "sip", uri = "sip:b.example" }]
    [[campaigns]]
    id = "cmp"
    publisher = "pub"
    numbers = ["+18005550100"]
    routing = { tiers = [{ targets = [{ target = "tgt" }] }] }
"#;

/// Of these ways this is thought.
struct Thought(&'static [&'static str], Condition);

impl UsageReader for Thought {
    fn usage(&self, _bucket: &Bucket) -> Usage {
        Usage::default()
    }

    fn way(&self, way: &Way) -> Condition {
        if self.0.contains(&way.to_string().as_str()) { self.1 } else { Condition::Well }
    }
}

/// Nobody is found on the ways at these places.
struct Nobody(&'static [u8], Unreached);

impl UsageReader for Nobody {
    fn usage(&self, _bucket: &Bucket) -> Usage {
        Usage::default()
    }

    fn unreached(&self, target: &TargetId, place: u8, uri: &str) -> Option<Unreached> {
        assert_eq!((target.as_str(), uri.starts_with("sip:+18005550100@")), ("tgt", true));
        self.0.contains(&place).then_some(self.1)
    }
}

fn decided(thought: &Thought) -> Decision {
    of(&request("+18005550100"), thought)
}

/// Made again it is the same.
fn of(request: &RouteRequest, thought: &dyn UsageReader) -> Decision {
    let snapshot = snapshot(CONFIG);
    let mut rotation = Rotation::default();
    let decision = decide(&snapshot, request, Known::default(), thought, &mut rotation);
    let record = DecisionRecord::new(request, Known::default(), &decision);
    assert_eq!(replay(&snapshot, &record).difference, None);
    decision
}

fn uris(decision: &Decision) -> Vec<&str> {
    let [planned] = &decision.plan[..] else { panic!("one target: {:?}", decision.plan) };
    let further = planned.further.iter().map(|it| it.uri.as_str());
    [planned.uri.as_str()].into_iter().chain(further).collect()
}
