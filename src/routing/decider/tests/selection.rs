//! In which order targets are tried, and whose share is held.

use super::*;
use crate::routing::simulate::{Assumed, Assuming, distribution};

const TIERS: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    targets = [
        { id = "most", buyer = "b", dial = { kind = "sip", uri = "sip:a" }, concurrency = { limit = 1 } },
        { id = "some", buyer = "b", dial = { kind = "sip", uri = "sip:b" } },
        { id = "next", buyer = "b", dial = { kind = "sip", uri = "sip:c" } },
    ]
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    [campaigns.routing]
    [[campaigns.routing.tiers]]
    targets = [{ target = "most", weight = 70 }, { target = "some", weight = 30 }]
    [[campaigns.routing.tiers]]
    tier = 2
    targets = [{ target = "next" }]
"#;

#[test]
fn a_random_tier_shares_by_weight_and_is_replayed_the_same() {
    let (rules, config) = rules("distribution = \"random\"", "");
    let request = request("+18005550100");
    let decision = decide_with(&config, &request, &nothing_used());
    assert_eq!(decision.readings.rotation, [reading(2, "next", 0)], "only the smooth tier rotates");

    let record = recorded(&request, &decision);
    assert_eq!(replay(&rules, &record).difference, None);
    let shares = distribution(&rules, &record, 10_000, 7).first;
    // 45.8 is the standard deviation of 7,000.
    let most = shares[&TargetId::new("most")];
    assert!((6_850..=7_150).contains(&most), "{shares:?}");
    assert_eq!(most + shares[&TargetId::new("some")], 10_000);
    assert_eq!(distribution(&rules, &record, 10_000, 7).first, shares, "the seed says all");
    assert_ne!(distribution(&rules, &record, 10_000, 8).first, shares);
}

#[test]
fn of_targets_with_the_same_turn_the_first_by_its_id_goes_first_however_they_are_listed() {
    let rotated = |targets: &str| {
        let listed = "{ target = \"most\", weight = 70 }, { target = \"some\", weight = 30 }";
        let config = TIERS.replace(listed, targets);
        let end = config.find("    [[campaigns.routing.tiers]]\n    tier = 2").unwrap();
        let decision = decide_with(&config[..end], &request("+18005550100"), &nothing_used());
        targets_of(&decision).join(" ")
    };
    let [most, next, some] = ["most", "next", "some"].map(|id| format!("{{ target = \"{id}\" }}"));
    for listed in [[&some, &next, &most], [&next, &some, &most], [&most, &next, &some]] {
        let listed = listed.map(String::as_str).join(", ");
        assert_eq!(rotated(&listed), "most next some", "{listed}");
    }
}

#[test]
fn each_attempt_reserves_what_is_its_own_beside_one_that_is_refused_at_its_last_limit() {
    let concurrency = "concurrency = { limit = 1 }";
    let cap = "caps = [{ metric = \"attempted\", window = \"daily\", limit = 9 }]";
    let config = TIERS.replace(concurrency, &format!("{concurrency}, {cap}"));
    let of_some = "dial = { kind = \"sip\", uri = \"sip:b\" }";
    let config = config.replace(of_some, &format!("{of_some}, {cap}, {concurrency}"));
    let held = |usage: &BTreeMap<Bucket, Usage>| {
        let plan = decide_with(&config, &request("+18005550100"), usage).plan;
        let caps = plan.iter().map(|attempt| {
            let caps: Vec<_> = attempt.holds.iter().map(|it| it.bucket.cap.to_string()).collect();
            (attempt.target.to_string(), caps.join(" "))
        });
        caps.collect::<Vec<_>>()
    };
    let own = |id: &str| {
        let caps = format!("target/{id}/attempted/daily target/{id}/concurrency");
        (id.to_owned(), caps)
    };
    let next = (String::from("next"), String::new());

    assert_eq!(held(&nothing_used()), [own("most"), own("some"), next.clone()]);
    let busy = BTreeMap::from([(live("most"), Usage { used: 0, held: 1 })]);
    assert_eq!(held(&busy), [own("some"), next]);
}

#[test]
fn a_tier_goes_before_its_campaign_and_the_campaign_before_what_is_built_in() {
    let random = "distribution = \"random\"\nhold_share_s = 60";
    for (campaign, tier, rotates, holds) in [
        ("", "", true, false),
        (random, "", false, true),
        (random, "distribution = { by = \"smooth\" }", true, true),
        (random, "hold_share_s = 0", false, false),
        ("", random, false, true),
    ] {
        let (_, config) = rules(tier, campaign);
        let busy = BTreeMap::from([(live("most"), Usage { used: 0, held: 1 })]);
        let readings = decide_with(&config, &request("+18005550100"), &busy).readings;
        let of_first = readings.rotation.iter().any(|reading| reading.tier == 1);
        let told = (campaign, tier);
        assert_eq!((of_first, !readings.absent.is_empty()), (rotates, holds), "{told:?}");
    }
}

/// `most` can take no call from the first on; seven of ten calls are its.
#[test]
fn the_share_of_who_is_away_goes_to_the_next_tier_until_it_has_been_held_for_long_enough() {
    let (rules, _) = rules("hold_share_s = 600", "");
    let busy = BTreeMap::from([(live("most"), Usage { used: 0, held: 1 })]);
    let mut rotation = Rotation::default();
    let mut plan_at = |seconds: i64, usage: &BTreeMap<Bucket, Usage>| {
        let request =
            RouteRequest { at: Wall(OPEN.0 + seconds * 1_000), ..request("+18005550100") };
        let decision = decide(&rules, &request, Known::default(), usage, &mut rotation);
        assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None);
        targets_of(&decision).join(" ")
    };
    let held: Vec<_> = (0..10).map(|n| plan_at(n * 66, &busy)).collect();
    let (to_next, to_some) = ("next some", "some next");
    assert_eq!(
        held,
        [to_next, to_some, to_next, to_next, to_next, to_some, to_next, to_next, to_some, to_next]
    );
    assert_eq!((0..10).map(|_| plan_at(600, &busy)).collect::<Vec<_>>(), [to_some; 10]);

    // It is back for a call, and from then on its share is held again.
    plan_at(700, &nothing_used());
    assert!((0..10).any(|_| plan_at(701, &busy) == to_next));
}

#[test]
fn targets_that_are_all_ill_or_pay_too_little_share_calls_as_the_well_do() {
    let soft = "price = { soft_min_revenue = \"1.00\" }\n    [campaigns.routing]";
    let unpaid = TIERS.replace("[campaigns.routing]\n", &format!("{soft}\n"));
    let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
    for (rules, of_first) in [
        (snapshot(TIERS), Condition::Open(trip)),
        (
            snapshot(&TIERS.replace("tier = 2\n", "tier = 2\n    hold_share_s = 600\n")),
            Condition::Down,
        ),
        (snapshot(&unpaid), Condition::Well),
    ] {
        let mut rotation = Rotation::default();
        let mut plans = BTreeMap::<_, u32>::new();
        for nth in 0..100 {
            let request =
                RouteRequest { call: CallId::of_simulation(3, nth), ..request("+18005550100") };
            let ill = All(of_first);
            let decision = decide(&rules, &request, Known::default(), &ill, &mut rotation);
            assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None);
            *plans.entry(targets_of(&decision).join(" ")).or_default() += 1;
        }
        let told = plans.iter().map(|(plan, calls)| (plan.as_str(), *calls));
        assert_eq!(told.collect::<Vec<_>>(), [("most some next", 70), ("some most next", 30)]);
    }
}

/// Of all targets the same is thought, and nothing is used.
struct All(Condition);

impl UsageReader for All {
    fn usage(&self, _bucket: &Bucket) -> Usage {
        Usage::default()
    }

    fn condition(&self, _target: &TargetId) -> Condition {
        self.0
    }
}

/// `most` pays too little; it is called for want of others, also when it is on trial.
#[test]
fn below_a_soft_floor_no_call_is_a_trial_while_there_are_others() {
    let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
    let on_trial = Ill("most", Condition::OnTrial(trip, 100));
    let (rules, config) = paying("");
    let request = request("+18005550100");
    let decision = decide(&rules, &request, Known::default(), &on_trial, &mut Rotation::default());
    assert_snapshot!(decision.explain_first(2).join("\n"), @r"
    campaign c, publisher p; no session
    some: dialled as number 1
    next: dialled as number 2
    most: not dialled; the target pays little, and others pay more (price.below_soft_floor): a revenue of 0.50, at least 1.00
    ");
    assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None);

    let paused = ["some", "next"].iter().fold(config, |config, id| {
        config.replace(&format!("id = \"{id}\","), &format!("id = \"{id}\", paused = true,"))
    });
    let rules = snapshot(&paused);
    let decision = decide(&rules, &request, Known::default(), &on_trial, &mut Rotation::default());
    assert_eq!(targets_of(&decision), ["most"]);
}

/// Who is ill and pays too little is called behind all that are one of these, and says which of the two
/// it is for.
#[test]
fn below_a_soft_floor_the_ill_come_behind_all_others() {
    let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
    let (rules, config) = paying("");
    let only = |ids: &[&str]| {
        let away = ["some", "next"].into_iter().filter(|id| !ids.contains(id));
        snapshot(&away.fold(config.clone(), |config, id| {
            config.replace(&format!("id = \"{id}\","), &format!("id = \"{id}\", paused = true,"))
        }))
    };
    let told = |rules: &RoutingSnapshot, usage: &dyn UsageReader| {
        let request = request("+18005550100");
        let decision = decide(rules, &request, Known::default(), usage, &mut Rotation::default());
        assert_eq!(replay(rules, &recorded(&request, &decision)).difference, None);
        let outcomes = decision.outcomes_of_first(3).into_iter();
        let of_most = outcomes.filter(|it| it.target.as_str() == "most").map(|it| it.reason);
        let plan = targets_of(&decision).join(" ");
        (plan, of_most.collect::<Vec<_>>())
    };
    let ill = Ill("most", Condition::Open(trip));
    let (price, health) = (Reason::PriceBelowSoftFloor, Reason::TargetCircuitOpen);

    let told_of = |plan: &str, reason| (plan.to_owned(), vec![reason]);
    assert_eq!(told(&rules, &ill), told_of("some next", Some(price)));
    assert_eq!(told(&only(&["next"]), &All(Condition::Down)), told_of("next", Some(price)));
    assert_eq!(told(&only(&[]), &ill), told_of("most", None));
    // All pay too little, and the others are well.
    let all_little = snapshot(&config.replace("revenue = \"9.00\"", "revenue = \"0.50\""));
    assert_eq!(told(&all_little, &ill), told_of("some next", Some(health)));
}

/// When it is there `most` has no call of the tier, so none is kept for it when it is not.
#[test]
fn below_a_soft_floor_no_share_is_held() {
    let (rules, _) = paying("hold_share_s = 600");
    let busy = BTreeMap::from([(live("most"), Usage { used: 0, held: 1 })]);
    let down = Ill("most", Condition::Down);
    let all: [&dyn UsageReader; 3] = [&nothing_used(), &busy, &down];
    for usage in all {
        let mut rotation = Rotation::default();
        for _ in 0..10 {
            let request = request("+18005550100");
            let decision = decide(&rules, &request, Known::default(), usage, &mut rotation);
            assert_eq!(targets_of(&decision), ["some", "next"]);
            assert_eq!(decision.readings.absent, []);
        }
    }
}

/// `most` brings 0.50, the others 9.00, and from 1.00 on a target is like others. With these settings of the
/// first tier.
fn paying(tier: &str) -> (RoutingSnapshot, String) {
    let (_, config) = rules(tier, "");
    let soft = "price = { soft_min_revenue = \"1.00\" }\n    [campaigns.routing]\n";
    let config = [("most", "0.50"), ("some", "9.00"), ("next", "9.00")].into_iter().fold(
        config.replace("[campaigns.routing]\n", soft),
        |config, (id, revenue)| {
            let pays = format!("conversion = {{ seconds = 90, revenue = \"{revenue}\" }}");
            config.replace(&format!("id = \"{id}\","), &format!("id = \"{id}\", {pays},"))
        },
    );
    (snapshot(&config), config)
}

#[test]
fn a_held_share_goes_to_the_others_for_want_of_another_tier() {
    let (rules, _) = rules("hold_share_s = 600", "");
    let assumed = Assumed { down: ["next".into()].into(), ..Assumed::default() };
    let busy = BTreeMap::from([(live("most"), Usage { used: 0, held: 1 })]);
    let usage = Assuming { usage: &busy, assumed: &assumed };
    let request = request("+18005550100");
    let decision = decide(&rules, &request, Known::default(), &usage, &mut Rotation::default());
    assert_snapshot!(decision.explain_first(1).join("\n"), @r"
    campaign c, publisher p; no session
    tier 1: the turn of most, whose share is held
    most: not dialled; the target has as many calls as it takes (concurrency.full): 1 live, at most 1
    some: dialled as number 1
    next: not dialled; no address of the target answers probes (target.down)
    ");
}

#[test]
fn what_a_call_is_like_makes_no_target_absent() {
    let (_, config) = rules("hold_share_s = 600", "");
    let filter = "filters = { all = [{ tag = \"plan\", op = \"eq\", value = \"HMO\" }] }";
    let config = config.replace("concurrency = { limit = 1 }", filter);
    for _ in 0..10 {
        let decision = decide_with(&config, &request("+18005550100"), &nothing_used());
        assert_eq!(targets_of(&decision), ["some", "next"]);
    }
}

fn reading(tier: i32, target: &str, owed: i64) -> crate::routing::selection::RotationReading {
    crate::routing::selection::RotationReading { tier, target: target.into(), owed }
}

pub(super) fn recorded(request: &RouteRequest, decision: &Decision) -> DecisionRecord {
    DecisionRecord::new(request, Known::default(), decision)
}

/// With these settings of the first tier and of the campaign's plan.
fn rules(tier: &str, campaign: &str) -> (RoutingSnapshot, String) {
    let config = TIERS
        .replace("[campaigns.routing]\n", &format!("[campaigns.routing]\n{campaign}\n"))
        .replace(
            "    targets = [{ target = \"most\"",
            &format!("{tier}\n targets = [{{ target = \"most\""),
        );
    (snapshot(&config), config)
}
