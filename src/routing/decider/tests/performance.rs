//! Targets put in order by what a call is expected to bring.

use super::selection::recorded;
use super::*;
use crate::routing::performance::{Concerned, Performance, Tallies, Tally};
use crate::routing::simulate::distribution;

const TIER: &str = r#"
    publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "10.00" }] }]
    buyers = [{ id = "b" }, { id = "b2" }]
    [[targets]]
    id = "dear"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:a" }
    conversion = { seconds = 60, revenue = "60.00" }
    [[targets]]
    id = "good"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:b" }
    conversion = { seconds = 60, revenue = "40.00" }
    [[targets]]
    id = "new"
    buyer = "b2"
    dial = { kind = "sip", uri = "sip:c" }
    conversion = { seconds = 60, revenue = "12.00" }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    [campaigns.routing]
    distribution = { by = "performance", RULES }
    tiers = [{ targets = [{ target = "dear" }, { target = "good" }, { target = "new" }] }]
"#;

/// `dear` converts one call of twenty, `good` one of four; of `new` nothing is known.
struct Known3(Performance);

impl UsageReader for Known3 {
    fn usage(&self, _: &Bucket) -> Usage {
        Usage::default()
    }

    fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        self.0.tallies(concerned, since)
    }
}

fn known() -> Known3 {
    let mut book = Performance::default();
    for (target, dialed, connected, converted) in [("dear", 400, 200, 20), ("good", 400, 300, 100)]
    {
        let concerned = Concerned {
            campaign: "c".into(),
            publisher: "p".into(),
            target: target.into(),
            buyer: "b".into(),
        };
        let tally = Tally { dialed, connected, converted, ..Tally::default() };
        book.restore(&concerned, OPEN.0 / 86_400_000, tally);
    }
    Known3(book)
}

#[test]
fn the_target_of_which_most_is_expected_goes_first_and_the_explanation_says_why() {
    let rules = rules("exploration_pct = 0");
    let request = request("+18005550100");
    let decision = decide_on(&rules, &request);
    assert_snapshot!(decision.explain_first(1).join("\n"), @r"
    campaign c, publisher p; no session
    good: dialled as number 1; expected 7.43: connects 74.6 % ± 2.1, converts 33.2 % ± 2.7, by 400 calls of target, publisher and campaign
    dear: number 2 in the plan; expected 2.75: connects 50.2 % ± 2.5, converts 11.0 % ± 2.1, by 400 calls of target, publisher and campaign; the call was over before its turn (selection.not_reached)
    new: number 3 in the plan; expected 0.36: connects 60.0 % ± 14.8, converts 30.0 % ± 13.8, by default, for want of calls; the call was over before its turn (selection.not_reached)
    ");
    assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None);
}

#[test]
fn what_happened_before_the_days_looked_back_at_does_not_count() {
    let rules = rules("exploration_pct = 0, lookback_days = 2");
    let later = |days: i64| {
        let at = Wall(OPEN.0 + days * 86_400_000);
        let decision = decide_on(&rules, &RouteRequest { at, ..request("+18005550100") });
        decision.readings.performance[0].tallies[0].dialed
    };
    assert_eq!([later(0), later(1), later(2)], [400, 400, 0]);
}

#[test]
fn a_weighted_order_shares_by_what_is_expected() {
    let rules = rules("exploration_pct = 0, order = \"weighted\", default_calls = 0");
    let request = request("+18005550100");
    let record = recorded(&request, &decide_on(&rules, &request));
    let shares = distribution(&rules, &record, 5_000, 3).first;
    // Expected are 2.50, 7.50 and 0.36.
    let share = |target: &str| shares[&TargetId::new(target)];
    assert!((1_100..1_300).contains(&share("dear")), "{shares:?}");
    assert!((3_500..3_750).contains(&share("good")), "{shares:?}");
    assert!((120..230).contains(&share("new")), "{shares:?}");
}

/// One call of twenty goes to `new`, until the day's money for that is used up.
#[test]
fn a_new_target_is_explored_by_a_share_of_the_calls_for_so_much_money_a_day() {
    let explored = |daily: &str, days: i64| {
        let rules = rules(daily);
        let usage = known();
        let mut rotation = Rotation::default();
        let mut spent = 0;
        for n in 0..2_000 {
            let call = CallId::of_simulation(11, n);
            let at = Wall(OPEN.0 + i64::from(n) * days * 86_400_000 / 2_000);
            let request = RouteRequest { call, at, ..request("+18005550100") };
            let known = Known::default();
            let decision = decide(&rules, &request, known, &usage, &mut rotation);
            assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None, "{n}");
            spent += u32::from(decision.plan[0].target.as_str() == "new");
        }
        spent
    };
    let unlimited = explored("exploration_daily = \"1000000.00\"", 1);
    assert!((80..120).contains(&unlimited), "{unlimited}");
    // Each costs the difference of 7.43 and 0.36.
    assert_eq!(explored("exploration_daily = \"36.00\"", 1), 2 * 5, "on either side of midnight");
    assert_eq!(explored("exploration_pct = 0", 1), 0);
}

#[test]
fn a_target_is_new_until_it_has_had_the_calls_desired() {
    let rules = rules("exploration_pct = 100, desired_calls = 400");
    let usage = known();
    let mut firsts = BTreeMap::<_, u32>::new();
    for n in 0..50 {
        let request = RouteRequest { call: CallId::of_simulation(2, n), ..request("+18005550100") };
        let known = Known::default();
        let decision = decide(&rules, &request, known, &usage, &mut Rotation::default());
        *firsts.entry(decision.plan[0].target.clone()).or_default() += 1;
    }
    assert_eq!(firsts, [("new".into(), 50)].into());
}

#[test]
fn bonuses_lift_who_is_new_and_who_is_behind() {
    let first = |rules_: &str| {
        let request = request("+18005550100");
        let decision = decide_on(&rules(rules_), &request);
        decision.plan[0].target.to_string()
    };
    // 0.36 and ten times as much again is less than 7.43.
    assert_eq!(first("exploration_pct = 0, new_bonus_pct = 1000"), "good");
    let lifted = "exploration_pct = 0, new_bonus_pct = 1000, default_connect_pct = 100, \
                  default_convert_pct = 100";
    assert_eq!(first(lifted), "new");
    assert_eq!(first("exploration_pct = 0, desired_calls = 0, behind_bonus_pct = 250"), "dear");
}

#[test]
fn tiers_by_performance_hold_no_shares_and_their_numbers_have_bounds() {
    let faults = |rules: &str| {
        let config = toml::from_str(&config(rules)).unwrap();
        let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
        faults.iter().map(|fault| fault.path.clone()).collect::<Vec<_>>()
    };
    let path = |field: &str| format!("campaigns[0].routing.distribution.{field}");
    assert_eq!(
        faults("min_calls = 0, lookback_days = 91, exploration_pct = 101, track_by = []"),
        [path("min_calls"), path("lookback_days"), path("exploration_pct"), path("track_by")]
    );
    assert_eq!(faults("exploration_daily = \"-1.00\""), [path("exploration_daily")]);
    assert_eq!(
        faults("min_calls = 5 }\n    hold_share_s = 60 #"),
        ["campaigns[0].routing.tiers[0].hold_share_s"]
    );
}

fn decide_on(rules: &RoutingSnapshot, request: &RouteRequest) -> Decision {
    decide(rules, request, Known::default(), &known(), &mut Rotation::default())
}

fn rules(rules: &str) -> RoutingSnapshot {
    snapshot(&config(rules))
}

fn config(rules: &str) -> String {
    TIER.replace("RULES", rules)
}
