//! Who calls, and has called before.

use super::*;
use crate::reason::NoPayout;
use crate::routing::config::Span;
use crate::routing::history::{Connected, Left, PastCall};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Two targets of one buyer, one of another.
fn business(of_campaign: &str, of_summit: &str) -> RoutingSnapshot {
    snapshot(&format!(
        r#"
        publishers = [{{ id = "pub", payouts = [{{ campaign = "cmp", amount = "24.00" }}] }}]
        buyers = [{{ id = "buy_summit" }}, {{ id = "buy_cool" }}]
        targets = [
            {{ id = "summit_1", buyer = "buy_summit", dial = {{ kind = "sip", uri = "sip:a" }}{of_summit} }},
            {{ id = "summit_2", buyer = "buy_summit", dial = {{ kind = "sip", uri = "sip:b" }} }},
            {{ id = "cool", buyer = "buy_cool", dial = {{ kind = "sip", uri = "sip:c" }} }},
        ]
        [[campaigns]]
        id = "cmp"
        publisher = "pub"
        numbers = ["+18005550100", "+18005550101"]
        routing = {{ tiers = [
            {{ tier = 1, targets = [{{ target = "summit_1" }}] }},
            {{ tier = 2, targets = [{{ target = "summit_2" }}] }},
            {{ tier = 3, targets = [{{ target = "cool" }}] }},
        ] }}
        {of_campaign}
        "#
    ))
}

#[test]
fn a_caller_who_calls_again_at_once_is_refused() {
    let rules = business("callers = { repeat_after_s = 2 }", "");
    let past = |ago_ms| PastCall { at: Wall(OPEN.0 - ago_ms), ..nobody_answered(1) };

    let again = decided(&rules, &[past(1_999)]);
    assert_eq!(again.refused, Some(Reason::RepeatTooSoon));
    assert_eq!(facts(&again), ("called 1999 ms ago", "no sooner than 2 s"));
    assert_eq!(decided(&rules, &[past(2_000)]).refused, None);

    let elsewhere = PastCall { dialed: "+18005550101".parse().unwrap(), ..past(500) };
    assert_eq!(decided(&rules, &[elsewhere]).refused, None, "that was another number");
}

#[test]
fn two_callers_without_a_number_are_not_one_who_dials_again() {
    let as_one = r#"anonymous = "as_one", repeat_after_s = 2"#;
    let rules = business(&format!("callers = {{ {as_one}, duplicates = {{}} }}"), "");
    let past = talked_to("summit_1", "buy_summit", 500);
    let anonymous = RouteRequest { caller: None, ..call() };

    let decision = decide_of(&rules, &anonymous, std::slice::from_ref(&past));

    assert_eq!(decision.refused, None);
    let steps = || decision.steps.iter();
    assert!(steps().all(|step| step.subject.as_deref() != Some("repeat")), "it was not looked at");
    assert!(steps().any(|step| step.check == Check::Duplicate), "else they are one");
    let shown = decide_of(&rules, &call(), &[past]);
    assert_eq!(shown.refused, Some(Reason::RepeatTooSoon));
}

#[test]
fn a_caller_whom_the_campaign_does_not_want_has_come_all_the_same() {
    let cap = r#"caps = [{ metric = "offered", window = "daily", limit = 2 }]"#;
    let rules = business(&format!("{cap}\n        callers = {{ repeat_after_s = 2 }}"), "");
    let before = PastCall { at: Wall(OPEN.0 - 1_000), ..nobody_answered(1) };

    let again = decided(&rules, &[before]);

    assert_eq!(again.refused, Some(Reason::RepeatTooSoon));
    let counted: Vec<_> = again.offered.iter().map(|it| it.bucket.cap.to_string()).collect();
    assert_eq!(counted, ["campaign/cmp/offered/daily"]);
    let paused = business(&format!("{cap}\n        paused = true"), "");
    assert_eq!(decided(&paused, &[]).offered, []);
}

#[test]
fn a_call_is_refused_whose_carrier_is_not_sure_enough() {
    let least_b = r#"callers = { min_attestation = "B" }"#;
    let all_attested = r#"callers = { min_attestation = "B", unattested = "refuse" }"#;
    for (rules, verstat, refused) in [
        (least_b, Some("TN-Validation-Passed-A"), false),
        (least_b, Some("TN-Validation-Passed-B"), false),
        (least_b, Some("TN-Validation-Passed-C"), true),
        (least_b, Some("TN-Validation-Failed"), true),
        (least_b, None, false),
        (all_attested, None, true),
    ] {
        let mut request = call();
        request.tags = verstat.map(|it| ("caller.verstat".into(), it.into())).into_iter().collect();
        let decision = decide_of(&business(rules, ""), &request, &[]);
        let reason = refused.then_some(Reason::AttestationBelow);
        assert_eq!(decision.refused, reason, "{rules} {verstat:?}");
    }
}

#[test]
fn an_anonymous_caller_is_refused_where_numbers_have_to_be_shown() {
    let anonymous = RouteRequest { caller: None, ..call() };
    let refuse = business(r#"callers = { anonymous = "refuse" }"#, "");
    assert_eq!(decide_of(&refuse, &anonymous, &[]).refused, Some(Reason::AnonymousCaller));
    assert_eq!(decide_of(&refuse, &call(), &[]).refused, None);
    assert_eq!(decide_of(&business("", ""), &anonymous, &[]).refused, None);
}

#[test]
fn a_publisher_whose_cap_is_full_is_refused_before_any_target() {
    let rules = CONFIG.replace(
        r#"{ id = "pub_bright", payouts"#,
        r#"{ id = "pub_bright", caps = [{ metric = "connected", window = "daily", limit = 5 }], payouts"#,
    );
    let bucket = Bucket {
        cap: "publisher/pub_bright/connected/daily".into(),
        window: "d:2026-03-17".into(),
    };
    let decision = decide_with(
        &rules,
        &request("+18005550100"),
        &[(bucket, Usage { used: 3, held: 2 })].into(),
    );
    assert_eq!(decision.refused, Some(Reason::PublisherCapped));
    let words = decision.steps.last().unwrap().words();
    assert_eq!(words, (Some("3 used, 2 held".into()), Some("less than 5".into())));
    assert!(decision.steps.iter().all(|step| step.target.is_none()));
}

#[test]
fn a_target_does_not_take_a_caller_again_within_its_window() {
    let rule = |rule: &str| business("", &format!(", dedupe = {{ {rule} }}"));
    let connected = talked_to("summit_1", "buy_summit", 10 * DAY_MS);
    let converted = PastCall { converted_at: Some(connected.at), ..connected.clone() };
    let to_other = talked_to("summit_2", "buy_summit", 10 * DAY_MS);
    let of_other_campaign = PastCall { campaign: "other".into(), ..connected.clone() };
    for (rules, past, reason) in [
        (r#"after = "connected""#, &connected, Some(Reason::DedupeTargetConnected)),
        (
            r#"after = "connected", window_s = 864000"#,
            &connected,
            Some(Reason::DedupeTargetConnected),
        ),
        (r#"after = "connected", window_s = 863999"#, &connected, None),
        (r#"after = "connected""#, &to_other, None),
        (r#"after = "connected", by = "buyer""#, &to_other, Some(Reason::DedupeBuyerConnected)),
        (r#"after = "converted""#, &connected, None),
        (
            r#"after = "converted", window_s = "forever""#,
            &converted,
            Some(Reason::DedupeTargetConverted),
        ),
        (r#"after = "connected""#, &of_other_campaign, None),
        (
            r#"after = "connected", campaigns = "all""#,
            &of_other_campaign,
            Some(Reason::DedupeTargetConnected),
        ),
    ] {
        let decision = decided(&rule(rules), std::slice::from_ref(past));
        let of_summit =
            decision.outcomes_of_first(3).into_iter().find(|it| it.target.as_str() == "summit_1");
        assert_eq!(of_summit.unwrap().reason, reason, "{rules}");
        let others = &targets_of(&decision)[usize::from(reason.is_none())..];
        assert_eq!(others, ["summit_2", "cool"], "{rules}");
    }
}

#[test]
fn a_target_that_hung_up_at_once_has_had_the_caller_all_the_same() {
    let first = Connected { target: "summit_1".into(), buyer: "buy_summit".into(), at: OPEN };
    let left = vec![Left { with: first, talk_ms: 4_000 }];
    let went_on = PastCall { left, ..talked_to("cool", "buy_cool", DAY_MS) };
    let hunting = PastCall { connected: None, talk_ms: None, ..went_on.clone() };
    let rule = |rule: &str| business("", &format!(", dedupe = {{ {rule} }}"));
    for past in [&went_on, &hunting] {
        let decision = decided(&rule(r#"after = "connected""#), std::slice::from_ref(past));
        assert_eq!(targets_of(&decision), ["summit_2", "cool"]);
        let marks = business("callers = { duplicates = {} }", "");
        let decision = decided(&marks, std::slice::from_ref(past));
        assert!(decision.steps.iter().any(|step| step.check == Check::Duplicate));
    }
    // For what it came to then others owe.
    let converted = PastCall { converted_at: Some(OPEN), charges: true, ..went_on };
    let decision = decided(&rule(r#"after = "converted""#), std::slice::from_ref(&converted));
    assert_eq!(targets_of(&decision), ["summit_1", "summit_2", "cool"]);
    let once = |scope: &str| {
        let dedupe = format!("policy = 'once_per', scope = '{scope}'");
        let owes = "conversion = { seconds = 0, revenue = '42.00', dedupe";
        let rules =
            business("price = { allow_loss = true }", &format!(", {owes} = {{ {dedupe} }} }}"));
        let decision = decided(&rules, std::slice::from_ref(&converted));
        decision.plan[0].terms.unwrap().revenue
    };
    assert_eq!(once("target"), Money(42_000_000));
    assert_eq!(once("account"), Money::ZERO);
}

#[test]
fn a_target_s_rule_goes_before_that_of_its_buyer() {
    let of_buyer = |of_target: &str| {
        let text = format!(
            r#"
            publishers = [{{ id = "pub" }}]
            buyers = [{{ id = "buy", dedupe = {{ after = "connected" }} }}]
            targets = [
                {{ id = "t1", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }}{of_target} }},
                {{ id = "t2", buyer = "buy", dial = {{ kind = "sip", uri = "sip:b" }} }},
            ]
            [[campaigns]]
            id = "cmp"
            publisher = "pub"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "t1" }}, {{ target = "t2" }}] }}] }}
            "#
        );
        decided(&snapshot(&text), &[talked_to("t2", "buy", DAY_MS)])
    };
    assert_eq!(of_buyer("").refused, Some(Reason::DedupeBuyerConnected));
    assert_eq!(targets_of(&of_buyer(r#", dedupe = { after = "off" }"#)), ["t1"]);
    assert_eq!(targets_of(&of_buyer(r#", dedupe = { after = "connected" }"#)), ["t1"]);
}

#[test]
fn a_duplicate_goes_where_the_campaign_says() {
    let past = [talked_to("summit_2", "buy_summit", DAY_MS)];
    for (rule, strict, plan) in [
        ("normal", false, vec!["summit_1", "summit_2", "cool"]),
        ("original", false, vec!["summit_2", "summit_1", "cool"]),
        ("original", true, vec!["summit_2"]),
        ("different", false, vec!["summit_1", "cool", "summit_2"]),
        ("different", true, vec!["summit_1", "cool"]),
    ] {
        let rules =
            format!(r#"callers = {{ duplicates = {{ route = "{rule}", strict = {strict} }} }}"#);
        let decision = decided(&business(&rules, ""), &past);
        assert_eq!(targets_of(&decision), plan, "{rule} {strict}");
        let reasons: Vec<_> =
            decision.outcomes_of_first(3).into_iter().filter_map(|it| it.reason).collect();
        let refused = match (rule, strict) {
            ("original", true) => vec![Reason::DuplicateElsewhere; 2],
            ("different", true) => vec![Reason::DuplicateAgain],
            _ => vec![],
        };
        assert_eq!(reasons, refused, "{rule} {strict}");
    }
}

#[test]
fn the_original_target_does_not_ring_beside_others() {
    // All of one tier, at the same time.
    let text = CONFIG.replace("tier = 1\n", "tier = 1\n    ring = \"parallel\"\n").replace(
        "max_attempts = 3",
        "max_attempts = 3\n    callers = { duplicates = { route = \"original\" } }",
    );
    let decision = decide_of(
        &snapshot(&text),
        &RouteRequest { caller: call().caller, ..request("+18005550100") },
        &[PastCall {
            campaign: "cmp_hvac".into(),
            publisher: "pub_bright".into(),
            ..talked_to("tgt_cool", "buy_cool", DAY_MS)
        }],
    );
    let plan: Vec<_> = decision.plan.iter().map(|it| (it.target.as_str(), it.beside)).collect();
    assert_eq!(plan, [("tgt_cool", false), ("tgt_summit", false), ("tgt_last", false)]);
}

#[test]
fn what_marks_a_duplicate_is_how_far_the_earlier_call_came() {
    let incoming = nobody_answered(DAY_MS);
    let talked = talked_to("cool", "buy_cool", DAY_MS);
    let converted = PastCall { converted_at: Some(talked.at), ..talked.clone() };
    let still_up = PastCall { talk_ms: None, ..talked_to("cool", "buy_cool", MINUTE_MS) };
    for (rule, past, is_duplicate) in [
        ("", &incoming, false),
        ("", &talked, true),
        (r#"mark_on = "incoming""#, &incoming, true),
        (r#"mark_on = "talked", talk_s = 90"#, &talked, true),
        (r#"mark_on = "talked", talk_s = 91"#, &talked, false),
        (r#"mark_on = "talked", talk_s = 60"#, &still_up, true),
        (r#"mark_on = "talked", talk_s = 61"#, &still_up, false),
        (r#"mark_on = "converted""#, &talked, false),
        (r#"mark_on = "converted""#, &converted, true),
        ("window_s = 86399", &talked, false),
        ("window_s = 86400", &talked, true),
    ] {
        let rules = business(&format!("callers = {{ duplicates = {{ {rule} }} }}"), "");
        let decision = decided(&rules, std::slice::from_ref(past));
        let marked = decision.steps.iter().any(|step| step.check == Check::Duplicate);
        assert_eq!(marked, is_duplicate, "{rule}");
    }
}

#[test]
fn a_call_is_a_duplicate_of_those_within_the_stated_bounds() {
    let talked = talked_to("cool", "buy_cool", DAY_MS);
    let other_number = PastCall { dialed: "+18005550101".parse().unwrap(), ..talked.clone() };
    let other_campaign = PastCall { campaign: "other".into(), ..other_number.clone() };
    let other_publisher = PastCall { publisher: "other".into(), ..other_campaign.clone() };
    for (within, marks) in [
        ("number", [true, false, false, false]),
        ("campaign", [true, true, false, false]),
        ("publisher", [true, true, true, false]),
        ("account", [true, true, true, true]),
    ] {
        let rules = format!(r#"callers = {{ duplicates = {{ within = "{within}" }} }}"#);
        let rules = business(&rules, "");
        let past = [&talked, &other_number, &other_campaign, &other_publisher];
        let marked = past.map(|past| {
            let decision = decided(&rules, std::slice::from_ref(past));
            decision.steps.iter().any(|step| step.check == Check::Duplicate)
        });
        assert_eq!(marked, marks, "{within}");
    }
}

#[test]
fn for_a_duplicate_only_those_pay_who_pay_for_duplicates() {
    let rules = |payout: &str, revenue: &str| {
        let text = format!(
            r#"
            buyers = [{{ id = "buy" }}]
            [[publishers]]
            id = "pub"
            payouts = [{{ campaign = "cmp", amount = "24.00", dedupe = {{ {payout} }} }}]
            [[targets]]
            id = "t"
            buyer = "buy"
            dial = {{ kind = "sip", uri = "sip:a" }}
            conversion = {{ seconds = 60, revenue = "42.00", dedupe = {{ {revenue} }} }}
            [[campaigns]]
            id = "cmp"
            publisher = "pub"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            callers = {{ duplicates = {{}} }}
            price = {{ allow_loss = true }}
            "#
        );
        snapshot(&text)
    };
    let owed = |rules: &RoutingSnapshot, past: &[PastCall]| {
        let terms = decided(rules, past).plan[0].terms.unwrap();
        (terms.revenue.to_string(), terms.payout.to_string())
    };
    let past = [talked_to("t", "buy", DAY_MS)];
    let both = |revenue: &str, payout: &str| (revenue.to_owned(), payout.to_owned());
    let (never, all) = ("policy = 'never_pay_duplicates'", "policy = 'pay_all'");
    assert_eq!(owed(&rules(never, never), &[]), both("42.00", "24.00"));
    assert_eq!(owed(&rules(never, never), &past), both("0.00", "0.00"));
    assert_eq!(owed(&rules(never, all), &past), both("42.00", "0.00"));
    assert_eq!(owed(&rules(all, all), &past), both("42.00", "24.00"));
    let unpaid = decided(&rules(never, all), &past);
    assert_eq!(unpaid.plan[0].terms.unwrap().no_payout, Some(NoPayout::Duplicate));
    let line = "no payout (duplicate): it is a duplicate, duplicates are not paid for";
    assert!(unpaid.explain_first(0).contains(&line.to_owned()), "{:?}", unpaid.explain_first(0));

    // Not what the campaign's rule says, but whose calls count for the money alone.
    let of_account = "policy = 'never_pay_duplicates', scope = 'account'";
    let of_publisher = "policy = 'never_pay_duplicates', scope = 'publisher'";
    let elsewhere =
        [PastCall { campaign: "other".into(), publisher: "other".into(), ..past[0].clone() }];
    assert_eq!(owed(&rules(never, never), &elsewhere), both("42.00", "24.00"));
    assert_eq!(owed(&rules(of_account, all), &elsewhere), both("42.00", "0.00"));
    assert_eq!(owed(&rules(of_publisher, of_account), &elsewhere), both("0.00", "24.00"));
}

#[test]
fn a_caller_is_paid_for_once_in_a_window_by_calls_that_were_paid_for() {
    let rules = |payout: &str, revenue: &str| {
        snapshot(&format!(
            r#"
            buyers = [{{ id = "buy" }}]
            [[publishers]]
            id = "pub"
            payouts = [{{ campaign = "cmp", amount = "24.00", dedupe = {{ {payout} }} }}]
            [[targets]]
            id = "t"
            buyer = "buy"
            dial = {{ kind = "sip", uri = "sip:a" }}
            conversion = {{ seconds = 60, revenue = "42.00", dedupe = {{ {revenue} }} }}
            [[campaigns]]
            id = "cmp"
            publisher = "pub"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            price = {{ allow_loss = true }}
            "#
        ))
    };
    let owed = |payout: &str, revenue: &str, past: &[PastCall]| {
        let terms = decided(&rules(payout, revenue), past).plan[0].terms.unwrap();
        format!("{} {}", terms.revenue, terms.payout)
    };
    let (week, all) = ("policy = 'once_per', window_s = 604800", "policy = 'pay_all'");
    // Answered at the same instant as it came, and paid for after a minute.
    let paid = |ago_ms| PastCall {
        pays_after_ms: Some(60_000),
        charges: true,
        converted_at: Some(Wall(OPEN.0 - ago_ms + 60_000)),
        ..talked_to("t", "buy", ago_ms)
    };
    let unpaid = |ago_ms| PastCall { pays_after_ms: None, charges: false, ..paid(ago_ms) };
    assert_eq!(owed(week, week, &[]), "42.00 24.00");
    assert_eq!(owed(week, all, &[paid(DAY_MS)]), "42.00 0.00");
    assert_eq!(owed(all, week, &[paid(DAY_MS)]), "0.00 24.00");
    // The window goes on from the money, not from calls that brought none.
    assert_eq!(owed(week, week, &[unpaid(DAY_MS), paid(8 * DAY_MS)]), "42.00 24.00");
    assert_eq!(owed(week, week, &[unpaid(DAY_MS), paid(7 * DAY_MS + 60_000)]), "0.00 0.00");
    assert_eq!(owed(week, week, &[paid(7 * DAY_MS + 60_001)]), "42.00 24.00");
    let short = PastCall { talk_ms: Some(59_999), converted_at: None, ..paid(DAY_MS) };
    assert_eq!(owed(week, week, &[short]), "42.00 24.00", "it was not long enough for either");
    let still_up = PastCall { talk_ms: None, ..paid(60_000) };
    assert_eq!(owed(week, all, &[still_up]), "42.00 0.00", "it is paid for while it is up");
    // Whose calls count: by default the campaign's for a payout, the buyer's for what it owes.
    let other_campaign = PastCall { campaign: "other".into(), ..paid(DAY_MS) };
    let of = std::slice::from_ref(&other_campaign);
    assert_eq!(owed(week, all, of), "42.00 24.00");
    assert_eq!(owed(&format!("{week}, scope = 'publisher'"), all, of), "42.00 0.00");
    assert_eq!(owed(all, week, of), "0.00 24.00");
    assert_eq!(owed(all, &format!("{week}, scope = 'campaign'"), of), "42.00 24.00");
    let connected =
        Some(Connected { target: "u".into(), buyer: "b".into(), at: other_campaign.at });
    let other_buyer = PastCall { connected, ..paid(DAY_MS) };
    let of = std::slice::from_ref(&other_buyer);
    assert_eq!(owed(all, week, of), "42.00 24.00");
    assert_eq!(owed(all, &format!("{week}, scope = 'account'"), of), "0.00 24.00");
    let ever = "policy = 'once_per', window_s = 'forever'";
    assert_eq!(owed(ever, all, &[paid(900 * DAY_MS)]), "42.00 0.00");

    let decision = decided(&rules(week, all), &[paid(DAY_MS)]);
    let words = decision.explain_first(0);
    let said = "was paid for 23 h ago, a caller is paid for once per 7 days";
    assert!(words.iter().any(|line| line.ends_with(said)), "{words:?}");
    let past = [paid(DAY_MS)];
    let known = Known { sessions: &[], calls: &past };
    let record = record_bytes(&call(), known, &decision);
    let record = DecisionRecord::from_bytes(&record).unwrap();
    assert_eq!(record.calls, past);
    assert_eq!(replay(&rules(week, all), &record).difference, None);
}

#[test]
fn a_decision_about_a_caller_with_a_past_is_made_again_the_same() {
    let rules = business(
        r#"callers = { repeat_after_s = 2, duplicates = { route = "original" } }"#,
        r#", dedupe = { after = "connected" }"#,
    );
    let past = [
        talked_to("summit_2", "buy_summit", DAY_MS),
        talked_to("summit_1", "buy_summit", 2 * DAY_MS),
    ];
    let decision = decided(&rules, &past);
    assert_eq!(targets_of(&decision), ["summit_2", "cool"]);
    let known = Known { sessions: &[], calls: &past };

    let record = DecisionRecord::from_bytes(&record_bytes(&call(), known, &decision)).unwrap();

    assert_eq!(record.calls, past);
    assert_eq!(replay(&rules, &record).difference, None);
    let mut without = record.clone();
    without.calls.clear();
    assert!(replay(&rules, &without).difference.is_some(), "the past is what it was made from");
}

#[test]
fn how_far_back_is_read_is_what_the_rules_look_at() {
    let history = |of_campaign: &str, of_summit: &str| {
        business(of_campaign, of_summit).looks_back().of_rules().map(|span| span.to_string())
    };
    assert_eq!(history("callers = { repeat_after_s = 0 }", ""), None);
    assert_eq!(history("", "").as_deref(), Some("2 s"), "who calls again at once is refused");
    assert_eq!(history("callers = { repeat_after_s = 3 }", "").as_deref(), Some("3 s"));
    let dedupe = r#", dedupe = { after = "connected", window_s = 7200 }"#;
    assert_eq!(history("callers = { repeat_after_s = 2 }", dedupe).as_deref(), Some("7200 s"));
    let duplicates = r#"callers = { duplicates = { window_s = "forever" } }"#;
    assert_eq!(history(duplicates, dedupe).as_deref(), Some("ever"));
}

#[test]
fn calls_are_remembered_for_what_is_told_of_them_and_read_for_rules_alone() {
    let of = |text: &str| snapshot(&format!("{CONFIG}\n{text}"));
    let begins = |s: i64| Some(Some(Wall(OPEN.0 - s * 1_000)));
    let usual = of("");
    assert_eq!(usual.history(), Some(Span::Seconds(30 * 86_400)));
    assert_eq!(usual.looks_back().reads_from(OPEN), begins(2), "the facts are no rule");
    let none = "[history]\nnumber_s = 0\ncampaign_s = 0\nbuyer_s = 0\ntarget_s = 0\n\
                [defaults]\ncallers = { repeat_after_s = 0 }";
    assert_eq!((of(none).history(), of(none).looks_back().reads_from(OPEN)), (None, None));
    let long = of("[defaults]\ndedupe = { after = \"converted\", window_s = 600 }");
    // A call may be owed for up to a day after it came.
    assert_eq!(long.looks_back().reads_from(OPEN), begins(600 + 86_400));
    let ever = of("[defaults]\ndedupe = { after = \"converted\", window_s = \"forever\" }");
    assert_eq!(ever.looks_back().reads_from(OPEN), Some(None));
    assert_eq!(ever.history(), Some(Span::Forever));
}

#[test]
fn as_much_is_remembered_as_is_configured() {
    let limits = |history: &str| snapshot(&format!("{CONFIG}\n{history}")).history_limits();
    let said = limits("[history]\ncallers_max = 5000\ncalls_max = 3");
    assert_eq!((said.callers_max, said.calls_max), (5_000, 3));
    let built_in = limits("");
    assert_eq!((built_in.callers_max, built_in.calls_max), (1_000_000, 32));
}

#[test]
fn a_rule_about_callers_that_cannot_be_meant_is_a_fault() {
    let base = r#"
        publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "1.00"PAYOUT }] }]
        buyers = [{ id = "b"BUYER }]
        targets = [{ id = "t", buyer = "b", dial = { kind = "sip", uri = "sip:a" }TARGET }]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [{ target = "t" }] }] }
        callers = { CALLERS }
    "#;
    for (place, rule, path) in [
        ("CALLERS", "repeat_after_s = 3601", "campaigns[0].callers.repeat_after_s"),
        ("CALLERS", r#"unattested = "refuse""#, "campaigns[0].callers.unattested"),
        (
            "CALLERS",
            r#"duplicates = { mark_on = "talked" }"#,
            "campaigns[0].callers.duplicates.talk_s",
        ),
        ("CALLERS", "duplicates = { talk_s = 9 }", "campaigns[0].callers.duplicates.talk_s"),
        ("CALLERS", "duplicates = { window_s = 0 }", "campaigns[0].callers.duplicates.window_s"),
        ("CALLERS", "duplicates = { strict = true }", "campaigns[0].callers.duplicates.strict"),
        (
            "PAYOUT",
            r#", dedupe = { policy = "never_pay_duplicates" }"#,
            "publishers[0].payouts[0].dedupe.policy",
        ),
        (
            "PAYOUT",
            r#", dedupe = { policy = "once_per", scope = "buyer" }"#,
            "publishers[0].payouts[0].dedupe.scope",
        ),
        (
            "PAYOUT",
            r#", dedupe = { policy = "once_per", window_s = 0 }"#,
            "publishers[0].payouts[0].dedupe.window_s",
        ),
        (
            "PAYOUT",
            r#", dedupe = { policy = "pay_all", window_s = 9 }"#,
            "publishers[0].payouts[0].dedupe.window_s",
        ),
        (
            "PAYOUT",
            r#", dedupe = { policy = "pay_all", scope = "campaign" }"#,
            "publishers[0].payouts[0].dedupe.scope",
        ),
        (
            "BUYER",
            r#", dedupe = { after = "connected", window_s = 0 }"#,
            "buyers[0].dedupe.window_s",
        ),
        ("BUYER", r#", dedupe = { after = "off", by = "buyer" }"#, "buyers[0].dedupe.after"),
        (
            "TARGET",
            r#", conversion = { seconds = 1, revenue = "1.00", dedupe = { policy = "never_pay_duplicates" } }"#,
            "targets[0].conversion.dedupe.policy",
        ),
        (
            "TARGET",
            r#", conversion = { seconds = 1, revenue = "1.00", dedupe = { policy = "once_per", scope = "publisher" } }"#,
            "targets[0].conversion.dedupe.scope",
        ),
    ] {
        let text = base.replace(place, rule);
        let text = ["PAYOUT", "BUYER", "CALLERS", "TARGET"]
            .iter()
            .fold(text, |it, gap| it.replace(gap, ""));
        let faults = RoutingSnapshot::compile(toml::from_str(&text).unwrap(), 1).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, [path], "{rule}");
        assert!(faults.iter().all(|fault| !fault.remedy.is_empty()), "{rule}");
    }
}

fn decided(rules: &RoutingSnapshot, calls: &[PastCall]) -> Decision {
    decide_of(rules, &call(), calls)
}

fn decide_of(rules: &RoutingSnapshot, request: &RouteRequest, calls: &[PastCall]) -> Decision {
    let known = Known { sessions: &[], calls };
    decide(rules, request, known, &nothing_used(), &mut Rotation::default())
}

/// Of the step that refused the call.
fn facts(decision: &Decision) -> (&str, &str) {
    let step = decision.steps.last().unwrap();
    (step.have.as_deref().unwrap(), step.want.as_deref().unwrap())
}

fn call() -> RouteRequest {
    RouteRequest {
        caller: "+16145550163".parse().ok(),
        tags: Tags::new(),
        ..request("+18005550100")
    }
}

fn nobody_answered(ago_ms: i64) -> PastCall {
    PastCall {
        call: CallId::from_bytes([1; 16]),
        at: Wall(OPEN.0 - ago_ms),
        dialed: "+18005550100".parse().unwrap(),
        campaign: "cmp".into(),
        publisher: "pub".into(),
        connected: None,
        converted_at: None,
        talk_ms: None,
        charges: false,
        pays_after_ms: None,
        left: vec![],
    }
}

/// For 90 s.
fn talked_to(target: &str, buyer: &str, ago_ms: i64) -> PastCall {
    let past = nobody_answered(ago_ms);
    let connected = Connected { target: target.into(), buyer: buyer.into(), at: past.at };
    PastCall { connected: Some(connected), talk_ms: Some(90_000), ..past }
}
