//! Calls that no target of their campaign takes: their class, and what is done with them.

use super::*;
use crate::reason::NoRoute;
use crate::routing::counterfactual::counterfactuals;
use crate::routing::course::Course;

/// One target for Ohio, which takes one call, one that is open at night, and one that is nobody's.
const RULES: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    [[targets]]
    id = "ohio"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:ohio" }
    concurrency = { limit = 1 }
    filters = { all = [{ tag = "geo.state", op = "eq", value = "OH" }] }
    [[targets]]
    id = "nights"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:nights" }
    filters = { all = [{ tag = "geo.state", op = "eq", value = "KY" }] }
    [targets.schedule]
    time_zone = "America/New_York"
    hours = [{ day = "tue", open = "20:00", close = "23:00" }]
    [[targets]]
    id = "spare"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:spare" }
    concurrency = { limit = 2 }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    max_attempts = 1
    routing = { tiers = [{ tier = 3, targets = [{ target = "ohio" }, { target = "nights" }] }] }
    [campaigns.no_route]
"#;
/// Nine in the evening.
const NIGHT: Wall = Wall(OPEN.0 + 10 * 3_600_000);

#[test]
fn a_call_that_goes_nowhere_is_classed_by_its_nearest_target_and_answered_as_the_campaign_says() {
    let rules = "none_match = { status = 404 }\nall_closed = { status = 410 }";
    let one_live = [(live("ohio"), Usage { used: 0, held: 1 })].into();
    for (state, at, usage, class, status) in [
        ("OH", OPEN, &one_live, NoRoute::NoCapacity, None),
        ("KY", OPEN, &nothing_used(), NoRoute::AllClosed, Some(410)),
        ("PA", OPEN, &nothing_used(), NoRoute::NoneMatch, Some(404)),
        ("PA", NIGHT, &nothing_used(), NoRoute::NoneMatch, Some(404)),
    ] {
        let decision = decided(rules, &call(state, at), usage);

        assert_eq!(decision.no_route, Some(class), "{state}");
        assert_eq!((decision.status, decision.plan.len()), (status, 0), "{state}");
        let told = status.unwrap_or_else(|| decision.refused.unwrap().status());
        let text = decision.explain_plan();
        let line = format!("refused with {told}; ");
        assert!(text.iter().any(|it| it.starts_with(&line)), "{text:?}");
        let line = format!("no route: {} ({})", class.text(), class.name());
        assert_eq!(text.last(), Some(&line));
    }
}

/// Nobody wants Kentucky but `nights`, which is closed, or drained, or both.
#[test]
fn a_drained_target_is_as_if_it_was_not_there() {
    let drained = |rules: &str, target: &str| {
        let place = format!("{{ target = \"{target}\" }}");
        assert!(rules.contains(&place));
        rules.replace(&place, &format!("{{ target = \"{target}\", weight = 0 }}"))
    };
    let class = |rules: &str, state: &str, at: Wall| {
        decide_with(rules, &call(state, at), &nothing_used()).no_route
    };
    let rules = drained(RULES, "nights");
    for at in [OPEN, NIGHT] {
        assert_eq!(class(&rules, "KY", at), Some(NoRoute::NoneMatch));
        assert_eq!(class(&rules, "PA", at), Some(NoRoute::NoneMatch));
    }
    assert_eq!(class(&drained(RULES, "ohio"), "KY", OPEN), Some(NoRoute::AllClosed));
    assert_eq!(class(&drained(RULES, "ohio"), "OH", OPEN), Some(NoRoute::NoneMatch));
}

#[test]
fn a_call_that_is_refused_before_its_targets_has_a_class_only_for_want_of_room() {
    let capped = RULES.replace(
        "max_attempts = 1",
        "max_attempts = 1\ncaps = [{ metric = 'offered', window = 'total', limit = 1 }]",
    ) + "no_capacity = { status = 404, overflow = 'spare' }";
    let offered = Bucket { cap: "campaign/c/offered/total".into(), window: "total".into() };
    let usage = [(offered, Usage { used: 1, held: 0 })].into();

    let full = decide_with(&capped, &call("OH", OPEN), &usage);

    assert_eq!(full.refused, Some(Reason::CampaignCapped));
    assert_eq!((full.no_route, full.status), (Some(NoRoute::NoCapacity), Some(404)));
    let paused = RULES.replace("max_attempts = 1", "paused = true");
    let paused = decide_with(&paused, &call("OH", OPEN), &nothing_used());
    assert_eq!((paused.refused, paused.no_route), (Some(Reason::CampaignPaused), None));
}

#[test]
fn an_overflow_is_called_for_want_of_the_campaign_s_own_targets() {
    let rules = "all_closed = { status = 410, overflow = 'spare' }";

    let decision = decided(rules, &call("KY", OPEN), &nothing_used());

    assert_eq!(planned(&decision), [("spare", 4)]);
    assert_eq!(decision.plan[0].holds.len(), 1, "its own room is taken");
    assert_eq!((decision.refused, decision.no_route), (None, Some(NoRoute::AllClosed)));
    assert_snapshot!(decision.explain_plan().join("\n"), @r"
    campaign c, publisher p; no session
    ohio: not dialled; the call's tags are not what the target wants (filter.mismatch): geo.state is KY, wanted eq OH
    nights: not dialled; the target is closed at this hour (schedule.closed): it is Tue 11:04 America/New_York, opens Tue 20:00
    spare: number 1 in the plan; overflow, as every target that wants such a call is closed
    ");
    // Another class has none.
    let night = decided(rules, &call("PA", NIGHT), &nothing_used());
    assert_eq!((planned(&night), night.no_route), (vec![], Some(NoRoute::NoneMatch)));
}

#[test]
fn an_overflow_without_room_leaves_the_call_as_it_was() {
    let rules = "all_closed = { status = 410, overflow = 'spare' }";
    let usage = [(live("spare"), Usage { used: 0, held: 2 })].into();

    let decision = decided(rules, &call("KY", OPEN), &usage);

    assert_eq!(planned(&decision), []);
    assert_eq!((decision.no_route, decision.status), (Some(NoRoute::AllClosed), Some(410)));
    let spare = decision.outcomes(&Course::default()).into_iter().last().unwrap();
    assert_eq!((spare.target.as_str(), spare.reason), ("spare", Some(Reason::ConcurrencyFull)));
}

/// Also where the plan is as long as it may be.
#[test]
fn where_none_answers_the_overflow_comes_behind_all_others_and_changes_no_class() {
    let rules =
        "none_answered = { status = 404, overflow = 'spare' }\nno_capacity = { status = 480 }";

    let decision = decided(rules, &call("OH", OPEN), &nothing_used());

    assert_eq!(planned(&decision), [("ohio", 3), ("spare", 4)]);
    assert_eq!((decision.no_route, decision.status), (None, None));
    let HuntRules { none_answered, no_capacity, .. } = decision.rules;
    assert_eq!((none_answered, no_capacity), (Some(404), Some(480)));
    // Nobody is called in place of nobody.
    assert_eq!(planned(&decided(rules, &call("KY", OPEN), &nothing_used())), []);
}

#[test]
fn an_overflow_takes_nothing_from_what_would_have_had_to_be_otherwise() {
    let request = call("KY", NIGHT);
    let rules = format!("{RULES}no_capacity = {{ overflow = 'spare' }}");
    let one = "id = \"nights\"\n    concurrency = { limit = 1 }";
    let rules = rules.replacen("id = \"nights\"", one, 1);
    let usage = [(live("nights"), Usage { used: 0, held: 1 })].into();
    let snapshot = snapshot(&rules);

    let decision = decide_with(&rules, &request, &usage);

    assert_eq!(planned(&decision), [("spare", 4)]);
    let record = DecisionRecord::new(&request, Known::default(), &decision);
    let others = counterfactuals(&snapshot, &record, &Course::default());
    let told: Vec<_> = others.iter().map(ToString::to_string).collect();
    let nights = "nights: would have been called if: cap target/nights/concurrency +1";
    assert!(told.contains(&nights.to_owned()), "{told:?}");
}

fn decided(actions: &str, request: &RouteRequest, usage: &BTreeMap<Bucket, Usage>) -> Decision {
    let rules = format!("{RULES}{actions}");
    let decision = decide_with(&rules, request, usage);
    let record = DecisionRecord::new(request, Known::default(), &decision);
    assert_eq!(replay(&snapshot(&rules), &record).difference, None);
    decision
}

fn planned(decision: &Decision) -> Vec<(&str, i32)> {
    decision.plan.iter().map(|it| (it.target.as_str(), it.tier)).collect()
}

fn call(state: &str, at: Wall) -> RouteRequest {
    RouteRequest {
        at,
        tags: [("geo.state".into(), state.into())].into(),
        ..request("+18005550100")
    }
}

fn live(target: &str) -> Bucket {
    Bucket { cap: format!("target/{target}/concurrency").into(), window: "live".into() }
}
