//! What targets have to bring.

use super::selection::recorded;
use super::*;
use crate::routing::history::{Connected, PastCall};

/// A payout of 24.00; revenues of 42.00, 35.00 and nothing.
const WITH_REVENUE: [&str; 3] = ["tgt_summit", "tgt_cool", "tgt_last"];

#[test]
fn targets_that_bring_too_little_are_refused_with_what_they_bring() {
    let all = |rules: &str| planned("", rules);
    assert_eq!(all(""), WITH_REVENUE);
    assert_eq!(all("min_revenue = \"35.00\""), ["tgt_summit", "tgt_cool"]);
    assert_eq!(all("min_revenue = \"35.01\""), ["tgt_summit"]);
    assert_eq!(all("min_margin = \"15.00\""), ["tgt_summit"]);
    assert_eq!(all("min_margin = \"40%\""), ["tgt_summit"]);
    assert_eq!(all("min_margin = \"31%\""), ["tgt_summit", "tgt_cool"]);
    assert_eq!(all("allow_loss = true"), WITH_REVENUE);

    let (rules, request) = (rules("", "min_revenue = \"35.01\", min_margin = \"43%\""), call(OPEN));
    let decision =
        decide(&rules, &request, Known::default(), &nothing_used(), &mut Rotation::default());
    assert_snapshot!(decision.explain_first(0).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: not dialled; too little is left of what the target pays (price.margin_below_min): a revenue of 42.00 and a payout of 24.00, a margin of at least 43%
    tgt_cool: not dialled; the target pays too little (price.below_floor): a revenue of 35.00, at least 35.01
    tgt_last: not dialled; the target pays too little (price.below_floor): a revenue of 0.00, at least 35.01
    refused with 480; no target of the campaign can take the call (selection.none_eligible)
    no route: no target wants such a call (none_match)
    ");
    assert_eq!(replay(&rules, &recorded(&request, &decision)).difference, None);
}

/// Spec/data I10.
#[test]
fn a_payout_that_is_more_than_the_revenue_is_a_fault_unless_losses_are_allowed() {
    let low = CONFIG.replace("revenue = \"35.00\"", "revenue = \"23.99\"");
    let told = |config: &str| match RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1) {
        Ok(_) => vec![],
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    };
    let fault = "publishers[0].payouts[0].amount = 24.00: is more than target `tgt_cool` of campaign \
                 `cmp_hvac` brings, 23.99; write 23.99 or less, raise targets[1].conversion.revenue, or \
                 write `allow_loss = true` in `price` of the publisher or the campaign";
    let all = |config: &str, allow: bool| format!("{config}\n[defaults]\nallow_loss = {allow}\n");
    let (yes, no) = ("allow_loss = true", "allow_loss = false");
    for (config, is_fault) in [
        (low.clone(), true),
        (all(&low, false), true),
        (all(&low, true), false),
        (priced(&low, "", yes), false),
        (priced(&low, yes, no), false),
        (priced(&low, no, yes), true),
        (priced(&all(&low, true), "", no), true),
        (priced(&all(&low, false), "", yes), false),
        // Who is not called, and who is refused for a floor, loses nothing.
        (low.replace("id = \"tgt_cool\"", "id = \"tgt_cool\"\npaused = true"), false),
        (priced(&low, "", "min_revenue = \"23.99\""), true),
        (priced(&low, "", "min_revenue = \"24.00\""), false),
        (CONFIG.replace("revenue = \"35.00\"", "revenue = \"24.00\""), false),
    ] {
        assert_eq!(told(&config), if is_fault { vec![fault] } else { vec![] }, "{config}");
    }
}

#[test]
fn a_payout_that_is_due_before_the_revenue_is_a_fault_unless_losses_are_allowed() {
    let due = |seconds: u32, allow: &str| {
        let amount = format!("amount = \"24.00\", seconds = {seconds}");
        let config = priced(&CONFIG.replace("amount = \"24.00\"", &amount), "", allow);
        // Nobody owes anything for a call that the last one takes.
        let config = config.replace("{ target = \"tgt_last\" }", "{ target = \"tgt_cool\" }");
        match RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1) {
            Ok(_) => None,
            Err(faults) => faults.into_iter().find(|it| it.path.contains("payouts[0].seconds")),
        }
    };
    let fault = due(89, "").unwrap();
    let says = "is due before target `tgt_cool` of campaign `cmp_hvac` owes anything, 90 s after the \
                answer, so that nobody pays for a call that ends in between";
    assert_eq!((fault.value.as_str(), fault.problem.as_str()), ("89", says));
    assert!(fault.remedy.starts_with("leave it out, write 90 or more, or write `allow_loss"));
    assert_eq!((due(90, ""), due(89, "allow_loss = true")), (None, None));
}

#[test]
fn a_loss_that_only_the_call_makes_is_refused_unless_losses_are_allowed() {
    // The first buyer does not owe for a duplicate, of which the publisher is paid for all.
    let owed = "revenue = \"42.00\"";
    let config = CONFIG
        .replace(owed, &format!("{owed}, dedupe = {{ policy = \"never_pay_duplicates\" }}"))
        .replace("id = \"cmp_hvac\"", "id = \"cmp_hvac\"\n    callers = { duplicates = {} }");
    assert_ne!(config, CONFIG);
    let past = talked_before();
    let plan = |allow: &str, calls: &[PastCall]| {
        let rules = snapshot(&priced(&config, "", allow));
        let known = Known { sessions: &[], calls };
        let request = RouteRequest { caller: "+16145550163".parse().ok(), ..call(OPEN) };
        let decision = decide(&rules, &request, known, &nothing_used(), &mut Rotation::default());
        let reasons: Vec<_> = decision.steps.iter().filter_map(|step| step.reason).collect();
        (targets_of(&decision).join(" "), reasons)
    };
    let all = WITH_REVENUE.join(" ");
    assert_eq!(plan("", &[]), (all.clone(), vec![]));
    let calls = std::slice::from_ref(&past);
    assert_eq!(plan("", calls), ("tgt_cool tgt_last".to_owned(), vec![Reason::PriceLoss]));
    assert_eq!(plan("allow_loss = true", calls), (all, vec![]));
}

#[test]
fn what_a_publisher_asks_for_goes_before_what_its_campaign_does_field_by_field() {
    let asked = |publisher: &str, campaign: &str| planned(publisher, campaign);
    assert_eq!(asked("min_revenue = \"0.00\"", "min_revenue = \"40.00\""), WITH_REVENUE);
    assert_eq!(asked("min_revenue = \"40.00\"", "min_revenue = \"0.00\""), ["tgt_summit"]);
    let (publisher, campaign) = ("min_revenue = \"1.00\"", "min_margin = \"15.00\"");
    assert_eq!(asked(publisher, campaign), ["tgt_summit"]);
}

#[test]
fn a_floor_may_hold_for_some_hours() {
    let evening = r#"min_revenue = "40.00", hourly = [{ min_revenue = "30.00", during = {
        time_zone = "America/New_York", hours = [{ day = "tue", open = "18:00", close = "19:00" }]
    } }]"#;
    let rules = rules("", evening);
    let plan_at = |hours: i64| {
        let request = call(Wall(OPEN.0 + hours * 3_600_000));
        let decision =
            decide(&rules, &request, Known::default(), &nothing_used(), &mut Rotation::default());
        targets_of(&decision).join(" ")
    };
    assert_eq!([plan_at(0), plan_at(7)], ["tgt_summit", "tgt_summit tgt_cool"]);
}

#[test]
fn below_a_soft_floor_a_target_is_tried_only_for_want_of_others() {
    let soft = "soft_min_revenue = \"40.00\"";
    assert_eq!(planned("", soft), ["tgt_summit"]);
    let decision = decide_with(&priced(CONFIG, "", soft), &call(OPEN), &nothing_used());
    let reasons: Vec<_> = decision.outcomes_of_first(1).into_iter().map(|it| it.reason).collect();
    let spare = Some(Reason::PriceBelowSoftFloor);
    assert_eq!(reasons, [None, spare, spare]);

    let elsewhere = RouteRequest { tags: zip("999"), ..call(OPEN) };
    let rules = rules("", soft);
    let decision =
        decide(&rules, &elsewhere, Known::default(), &nothing_used(), &mut Rotation::default());
    assert_eq!(targets_of(&decision), ["tgt_cool", "tgt_last"]);
    assert_eq!(decision.refused, None);
    assert_eq!(replay(&rules, &recorded(&elsewhere, &decision)).difference, None);
}

#[test]
fn contradictory_floors_are_refused_together() {
    let rules = "min_revenue = \"-1.00\", soft_min_revenue = \"-2.00\", min_margin = \"101%\"";
    let config = toml::from_str(&priced(CONFIG, "", rules)).unwrap();
    let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_snapshot!(told.join("\n"), @r"
    campaigns[0].price.min_revenue = -1.00: is negative; write 0.00 or more
    campaigns[0].price.soft_min_revenue = -2.00: is negative; write 0.00 or more
    campaigns[0].price.soft_min_revenue = -2.00: is no more than `min_revenue`, -1.00, which refuses them; write more, or leave it out
    campaigns[0].price.min_margin = 101%: is more than the whole revenue; write 100% or less
    ");
}

fn planned(publisher: &str, campaign: &str) -> Vec<String> {
    let config = priced(CONFIG, publisher, campaign);
    let decision = decide_with(&config, &call(OPEN), &nothing_used());
    targets_of(&decision).into_iter().map(str::to_owned).collect()
}

fn rules(publisher: &str, campaign: &str) -> RoutingSnapshot {
    snapshot(&priced(CONFIG, publisher, campaign))
}

fn priced(config: &str, publisher: &str, campaign: &str) -> String {
    let of_publisher = format!("{{ id = \"pub_bright\", price = {{ {publisher} }},");
    let of_campaign = format!("id = \"cmp_hvac\"\n    price = {{ {campaign} }}");
    config
        .replace("{ id = \"pub_bright\",", &of_publisher)
        .replace("id = \"cmp_hvac\"", &of_campaign)
}

fn call(at: Wall) -> RouteRequest {
    RouteRequest { at, ..request("+18005550100") }
}

fn talked_before() -> PastCall {
    let at = Wall(OPEN.0 - 3_600_000);
    PastCall {
        call: CallId::from_bytes([1; 16]),
        at,
        dialed: "+18005550100".parse().unwrap(),
        campaign: "cmp_hvac".into(),
        publisher: "pub_bright".into(),
        connected: Some(Connected { target: "tgt_cool".into(), buyer: "buy_cool".into(), at }),
        converted_at: None,
        talk_ms: Some(9_000),
        charges: false,
        pays_after_ms: None,
        left: vec![],
    }
}
