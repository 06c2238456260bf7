//! Refused targets, and what would have had to be otherwise.

use super::*;
use crate::id::{CallId, PingId, SessionId};
use crate::routing::config::RoutingConfig;
use crate::routing::course::{Shortage, Turn, TurnEnd};
use crate::routing::history::Connected;
use crate::routing::quote::Promise;
use crate::routing::replay::record_bytes;
use crate::routing::request::Tags;
use crate::routing::simulate::{Assumed, Assuming};

/// Tuesday 2026-03-17, 11:04 in New York.
const OPEN: Wall = Wall(1_773_759_852_318);

#[test]
fn a_full_cap_would_have_had_to_be_higher() {
    let rules = target(r#"caps = [{ metric = "connected", window = "daily", limit = 80 }]"#);
    let full = [(bucket("target/t/connected/daily", "d:2026-03-17"), used(79, 3))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/connected/daily +3"]);

    let rules = target("concurrency = { limit = 2 }");
    let full = [(bucket("target/t/concurrency", "live"), used(0, 2))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/concurrency +1"]);
}

#[test]
fn a_limit_of_the_hour_that_is_full_would_have_had_to_be_higher_at_that_hour() {
    let rules =
        target("concurrency = { limit = 9, exceptions = [{ date = '2026-03-17', limit = 2 }] }");
    let full = [(bucket("target/t/concurrency", "live"), used(0, 2))];
    let raised = "cap target/t/concurrency at this hour +1";
    assert_eq!(told(&rules, &call(), &full, &[]), [raised]);
}

/// Whatever the limit, no more calls are taken at once than agents are ready.
#[test]
fn of_agents_who_are_too_few_more_would_have_had_to_be_ready() {
    let told = |ready: u32, live: u64| {
        let (snapshot, usage) = (with_places(3), BTreeMap::from([(lines(), used(0, live))]));
        let decision = decide_with_ready(&snapshot, &usage, Some(ready));
        assert!(decision.plan.is_empty(), "nothing stands against it");
        let record = DecisionRecord::new(&call(), Known::default(), &decision);
        let all = counterfactuals(&snapshot, &record, &Course::default());
        all.iter().map(Counterfactual::changes_in_words).collect::<Vec<_>>().join(", ")
    };
    let one_more = "1 agent more ready for target/t/concurrency";
    assert_eq!([told(1, 1), told(0, 0)], [one_more; 2], "a limit of four would not do");
    assert_eq!(
        told(1, 3),
        "3 agents more ready for target/t/concurrency and cap target/t/concurrency +1"
    );
    assert_eq!(told(3, 3), format!("cap target/t/concurrency +1 and {one_more}"));
    assert_eq!(told(5, 3), "cap target/t/concurrency +1");
}

#[test]
fn a_planned_target_that_found_too_few_agents_needs_more_of_them() {
    let met = |snapshot: &RoutingSnapshot, ready: Option<u32>, limit: u64| {
        let decision = decide_with_ready(snapshot, &BTreeMap::new(), ready);
        let (cap, usage, at) = (lines().cap, used(0, limit), Wall(OPEN.0 + 30_000));
        let shortage = Some(Shortage { cap, limit, usage, at });
        let end = TurnEnd::Denied { reason: Reason::ConcurrencyFull, shortage };
        let course: Course = [Turn { target: "t".into(), end }].into_iter().collect();
        let line = decision.explain(&course)[1].clone();
        let record = DecisionRecord::new(&call(), Known::default(), &decision);
        let all = counterfactuals(snapshot, &record, &course);
        let told = all.iter().map(Counterfactual::changes_in_words).collect::<Vec<_>>();
        (told.join(", "), line.rsplit_once(" has ").unwrap().1.to_owned())
    };
    let three = with_places(3);
    let one_more = "1 agent more ready for target/t/concurrency";
    let higher = "cap target/t/concurrency +1";
    for (ready, limit, wanted, has) in [
        (Some(2), 2, one_more.to_owned(), "2 live, at most 2 ready to take a call"),
        // One has gone since the call was decided.
        (Some(2), 1, one_more.to_owned(), "1 live, at most 1 ready to take a call"),
        (Some(3), 3, format!("{one_more} and {higher}"), "3 live, at most 3 ready to take a call"),
        (Some(5), 3, higher.to_owned(), "3 live, at most 3"),
        (None, 3, higher.to_owned(), "3 live, at most 3"),
    ] {
        assert_eq!(met(&three, ready, limit), (wanted, has.to_owned()), "{ready:?} {limit}");
    }
    let at_this_hour = compiled(&target(
        "concurrency = { limit = 9, exceptions = [{ date = '2026-03-17', limit = 2 }] }",
    ));
    assert_eq!(met(&at_this_hour, None, 2).0, "cap target/t/concurrency at this hour +1");
}

fn with_places(limit: u32) -> RoutingSnapshot {
    compiled(&target(&format!("concurrency = {{ limit = {limit} }}")))
}

fn compiled(config: &str) -> RoutingSnapshot {
    RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1).unwrap()
}

fn lines() -> Bucket {
    bucket("target/t/concurrency", "live")
}

fn decide_with_ready(
    snapshot: &RoutingSnapshot,
    usage: &BTreeMap<Bucket, Usage>,
    ready: Option<u32>,
) -> Decision {
    let ready = ready.map(|ready| (lines().cap, ready)).into_iter().collect();
    let usage = Assuming { usage, assumed: &Assumed { ready, ..Assumed::default() } };
    decide(snapshot, &call(), Known::default(), &usage, &mut Rotation::default())
}

#[test]
fn a_cap_on_money_would_have_had_to_be_higher_by_what_the_call_may_cost() {
    let rules = target(
        r#"conversion = { seconds = 60, revenue = "42.00" }
           caps = [{ metric = "revenue", window = "total", limit = "100.00" }]"#,
    );
    let full = [(bucket("target/t/revenue/total", "total"), used(84_000_000, 0))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/revenue/total +26.00"]);
}

#[test]
fn a_limit_that_is_too_low_for_any_call_would_have_had_to_be_at_least_what_lets_this_one_in() {
    let rules = target("conversion = { seconds = 60, revenue = '42.00' }").replace(
        r#"buyers = [{ id = "b" }]"#,
        r#"buyers = [{ id = "b", credit = { limit = "0.00" } }]"#,
    );
    assert_eq!(told(&rules, &call(), &[], &[]), ["cap buyer/b/credit at least 42.00"]);
    let deposited = [
        (bucket("buyer/b/deposits", "total"), used(30_000_000, 0)),
        (bucket("buyer/b/credit", "total"), used(10_000_000, 5_000_000)),
    ];
    assert_eq!(told(&rules, &call(), &deposited, &[]), ["cap buyer/b/credit at least 57.00"]);

    let none_at_night =
        target("concurrency = { limit = 5, exceptions = [{ date = '2026-03-17', limit = 0 }] }");
    let told = told(&none_at_night, &call(), &[], &[]);
    assert_eq!(told, ["cap target/t/concurrency at this hour at least 1"]);
}

/// First it stops every call, and then this one for what it is worth.
#[test]
fn a_limit_that_is_met_twice_is_told_once_and_is_enough() {
    let paying = "conversion = { seconds = 60, revenue = '20.00' }";
    let of = |owner: &str, limit: &str| {
        let caps =
            format!("caps = [{{ metric = 'revenue', window = 'total', limit = '{limit}' }}]");
        match owner {
            "publisher/p" => {
                let publishers = format!("[{{ id = 'p', {caps} }}]");
                target(paying).replace(r#"[{ id = "p" }]"#, &publishers)
            }
            "account/default" => target(&format!("{paying}\n[account]\n{caps}")),
            _ => target(&format!("{paying}\n[[numbers]]\nnumber = '+18005550100'\n{caps}")),
        }
    };
    // A limit below one call is refused where it would stop all calls there are.
    let below_one = ("10.00", 10_000_000, "at least 30.00", "29.999999", "30.00");
    let full = ("40.00", 40_000_000, "+20.00", "59.999999", "60.00");
    let number = "number/+18005550100";
    for (owner, cases) in [
        ("publisher/p", vec![full]),
        ("account/default", vec![full]),
        (number, vec![below_one, full]),
    ] {
        for (limit, used_, change, too_low, enough) in cases {
            let cap = format!("{owner}/revenue/total");
            let full = [(bucket(&cap, "total"), used(used_, 0))];
            let told = told(&of(owner, limit), &call(), &full, &[]);
            assert_eq!(told, [format!("cap {cap} {change}")]);
            for (limit, is_called) in [(too_low, false), (enough, true)] {
                let (snapshot, full) =
                    (compiled(&of(owner, limit)), full.iter().cloned().collect());
                let plan = decide_with_ready(&snapshot, &full, None).plan;
                assert_eq!(!plan.is_empty(), is_called, "{cap} of {limit}");
            }
        }
    }
}

#[test]
fn a_limit_that_nobody_looked_at_is_named_unless_it_is_read_for_the_answer() {
    let rules = target(
        r#"conversion = { seconds = 60, revenue = "38.00" }
           filters = { all = [{ tag = "plan", op = "eq", value = "PPO" }] }"#,
    )
    .replace(r#"[{ id = "b" }]"#, r#"[{ id = "b", credit = { limit = "300.00" } }]"#);
    let snapshot = compiled(&rules);
    let told = |owed: u64, is_read: bool| {
        let usage = BTreeMap::from([(bucket("buyer/b/credit", "total"), used(owed, 0))]);
        let known = Known::default();
        let decision = decide(&snapshot, &call(), known, &usage, &mut Rotation::default());
        let mut record = DecisionRecord::new(&call(), known, &decision);
        if is_read {
            record.besides = besides(&snapshot, &call(), &decision, &usage);
        }
        let all = counterfactuals(&snapshot, &record, &Course::default());
        all.iter().map(Counterfactual::in_words).collect::<Vec<_>>().join(", ")
    };
    for (owed, read) in [
        (262_000_000, "plan PPO"),
        (266_000_000, "plan PPO and cap buyer/b/credit +4.00"),
        (0, "plan PPO"),
    ] {
        assert_eq!(told(owed, true), read);
        assert_eq!(told(owed, false), "plan PPO, and there was room in buyer/b/credit");
    }
}

#[test]
fn of_a_target_s_limits_those_behind_the_one_that_is_full_were_not_looked_at() {
    let cap = |metric: &str| format!("{{ metric = '{metric}', window = 'total', limit = 5 }}");
    let caps = ["attempted", "connected", "converted"].map(cap).join(", ");
    let rules = target(&format!(
        "caps = [{caps}]\nmin_gap_s = 9\nconcurrency = {{ limit = 1 }}\nconversion = {{ seconds = 1, revenue = '1.00' }}"
    ));
    let snapshot = compiled(&rules);
    let usage = BTreeMap::from([(bucket("target/t/connected/total", "total"), used(5, 0))]);
    let decision = decide_with_ready(&snapshot, &usage, None);
    let record = DecisionRecord::new(&call(), Known::default(), &decision);
    let all = counterfactuals(&snapshot, &record, &Course::default());
    assert_eq!(
        all[0].in_words(),
        "cap target/t/connected/total +1, and there was room in target/t/converted/total, \
         target/t/spacing and target/t/concurrency"
    );
}

#[test]
fn a_paced_cap_lets_the_call_in_once_more_of_its_window_has_passed() {
    let cap = "caps = [{ metric = 'attempted', window = 'daily', limit = 24, mode = 'paced' }]";
    let rules = target(cap);
    // Sixteen may be used by 16:00 UTC, and it is 15:04.
    let full = [(bucket("target/t/attempted/daily", "d:2026-03-17"), used(16, 0))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["56 minutes later"]);
    let all_used = [(bucket("target/t/attempted/daily", "d:2026-03-17"), used(24, 0))];
    // Of 39 there would be 25 by now.
    assert_eq!(told(&rules, &call(), &all_used, &[]), ["cap target/t/attempted/daily at least 39"]);
}

#[test]
fn a_cap_of_the_account_would_have_had_to_be_higher() {
    let cap = "caps = [{ metric = 'connected', window = 'total', limit = 5 }]";
    let rules = target(&format!("[account]\n{cap}"));
    let full = [(bucket("account/default/connected/total", "total"), used(4, 1))];
    let told = told(&rules, &call(), &full, &[]);
    assert_eq!(told, ["cap account/default/connected/total +1"]);
}

#[test]
fn of_a_cap_whose_use_elsewhere_is_not_known_nobody_says_that_a_higher_one_would_do() {
    let cap = "caps = [{ metric = 'offered', window = 'total', limit = 5 }]";
    let rules = target(&format!("[account]\n{cap}"));
    let snapshot = RoutingSnapshot::compile(toml::from_str(&rules).unwrap(), 1).unwrap();
    let key = "account/default/offered/total";
    let told = |usage: Usage| {
        let here = [(bucket(key, "total"), usage)].into();
        let usage = KnownHere(here);
        let decision =
            decide(&snapshot, &call(), Known::default(), &usage, &mut Rotation::default());
        assert_eq!(decision.refused, Some(Reason::CapFullHere));
        let record = DecisionRecord::new(&call(), Known::default(), &decision);
        let others = counterfactuals(&snapshot, &record, &Course::default());
        others.iter().map(Counterfactual::changes_in_words).collect::<Vec<_>>()
    };
    let known = format!("room left in the cap {key} by other servers, and known here");
    assert_eq!(told(used(3, 0)), [known]);
    assert_eq!(told(used(5, 0)), Vec::<String>::new(), "it may be full by far more");
}

/// What this server has taken, and nothing of what others have.
struct KnownHere(BTreeMap<Bucket, Usage>);

impl UsageReader for KnownHere {
    fn usage(&self, bucket: &Bucket) -> Usage {
        self.0.usage(bucket)
    }

    fn withheld(&self, _: &Bucket) -> bool {
        true
    }
}

#[test]
fn a_cap_of_the_number_would_have_had_to_be_higher() {
    let cap = "caps = [{ metric = 'connected', window = 'total', limit = 5 }]";
    let rules = target(&format!("[[numbers]]\nnumber = '+18005550100'\n{cap}"));
    let full = [(bucket("number/+18005550100/connected/total", "total"), used(4, 2))];
    let told = told(&rules, &call(), &full, &[]);
    assert_eq!(told, ["cap number/+18005550100/connected/total +2"]);
}

#[test]
fn a_cap_that_counts_calls_as_they_come_would_have_had_to_be_higher() {
    let cap = "caps = [{ metric = 'offered', window = 'daily', limit = 1 }]";
    for (rules, key) in [
        (target(&format!("[[numbers]]\nnumber = '+18005550100'\n{cap}")), "number/+18005550100"),
        (target("").replace("{ id = \"p\" }", &format!("{{ id = \"p\", {cap} }}")), "publisher/p"),
        (target(&format!("[account]\n{cap}")), "account/default"),
    ] {
        let key = format!("{key}/offered/daily");
        let full = [(bucket(&key, "d:2026-03-17"), used(3, 0))];
        assert_eq!(told(&rules, &call(), &full, &[]), [format!("cap {key} +3")]);
    }
}

#[test]
fn a_promised_payout_that_finds_no_room_would_have_had_to_fit() {
    let rules = target("conversion = { seconds = 60, revenue = '42.00' }").replace(
        r#"publishers = [{ id = "p" }]"#,
        r#"publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "24.00" }], caps = [
            { metric = "payout", window = "total", limit = "100.00", on_full = "stop_paying" },
        ] }]"#,
    );
    let snapshot = RoutingSnapshot::compile(toml::from_str(&rules).unwrap(), 1).unwrap();
    let until = Wall(OPEN.0 + 60_000);
    let session = SessionReading {
        session: SessionId::from_bytes([1; 16]),
        ping: PingId::from_bytes([1; 16]),
        publisher: "p".into(),
        campaign: "c".into(),
        number: None,
        caller: call().caller,
        created_at: Wall(OPEN.0 - 1_000),
        expires_at: until,
        tags: Tags::new(),
        former: None,
        sharing: None,
        promise: Some(Promise {
            payout: Money(24_000_000),
            payout_seconds: 60,
            until,
            no_duplicates: false,
            spent: false,
        }),
        enriched: Tags::new(),
    };
    let known = Known { sessions: &[session], calls: &[] };
    let full: BTreeMap<_, _> =
        [(bucket("publisher/p/payout/total", "total"), used(90_000_000, 0))].into();

    let decision = decide(&snapshot, &call(), known, &full, &mut Rotation::default());

    assert_eq!(decision.refused, Some(Reason::PayoutCapped));
    let record = DecisionRecord::new(&call(), known, &decision);
    let others = counterfactuals(&snapshot, &record, &Course::default());
    let told: Vec<_> = others.iter().map(Counterfactual::changes_in_words).collect();
    assert_eq!(told, ["cap publisher/p/payout/total +14.00"]);
}

#[test]
fn a_soft_or_a_paced_cap_would_have_had_to_be_higher_by_what_lets_the_call_in() {
    let cap = |rules: &str| target(&format!("caps = [{{ metric = 'converted', {rules} }}]"));
    let soft = cap("window = 'daily', limit = 9, mode = 'soft'");
    let full = [(bucket("target/t/converted/daily", "d:2026-03-17"), used(11, 5))];
    assert_eq!(told(&soft, &call(), &full, &[]), ["cap target/t/converted/daily +3"]);

    // At the end of the window, where all may be used.
    let last = RouteRequest { at: Wall(1_773_791_999_999), ..call() };
    let paced = cap("window = 'daily', limit = 9, mode = 'paced', assumed_rate = '50%'");
    // 4 + 10 * 0.5 + 2.13 * √2.5 is 12.4.
    let full = [(bucket("target/t/converted/daily", "d:2026-03-17"), used(4, 9))];
    assert_eq!(told(&paced, &last, &full, &[]), ["cap target/t/converted/daily +4"]);
}

#[test]
fn a_target_that_pays_too_little_would_have_been_called_for_more_or_with_a_lower_floor() {
    for (price, told_is) in [
        ("min_revenue = '45.00'", "a floor 5.00 lower"),
        (
            "hourly = [{ min_revenue = '41.50', during = { time_zone = 'America/New_York', \
             hours = [{ day = 'tue', open = '09:00', close = '20:00' }] } }]",
            "a floor 1.50 lower",
        ),
        ("min_margin = '20.00'", "a revenue 4.00 higher"),
        ("min_margin = '50%'", "a revenue 8.00 higher"),
        ("min_revenue = '41.00', min_margin = '20.00'", "a revenue 4.00 higher"),
    ] {
        let paying = "conversion = { seconds = 60, revenue = '40.00' }";
        let config = target(paying)
            .replace(
                "{ id = \"p\" }",
                "{ id = \"p\", payouts = [{ campaign = \"c\", amount = '24.00' }] }",
            )
            .replace("id = \"c\"", &format!("id = \"c\"\nprice = {{ {price} }}"))
            .replace("{ target = \"t\" }", "{ target = \"t\" }, { target = \"away\" }");
        // A floor that no target meets at all is refused.
        let away = "[[targets]]\nid = 'away'\nbuyer = 'b'\npaused = true\n\
                    dial = { kind = 'sip', uri = 'sip:b' }\n\
                    conversion = { seconds = 60, revenue = '45.00' }";
        let config = format!("{config}\n{away}");
        assert_eq!(told(&config, &call(), &[], &[]), [told_is], "{price}");
    }
    // What pays nothing cannot pay more.
    let price = "id = \"c\"\nprice = { min_margin = '1.00' }";
    let config = target("").replace("id = \"c\"", price);
    assert_eq!(told(&config, &call(), &[], &[]), [""; 0]);
}

#[test]
fn calls_that_are_to_be_apart_would_have_had_to_come_later() {
    let rules = target("min_gap_s = 90");
    let last = u64::try_from(OPEN.0 - 10_000).unwrap();
    let full = [(bucket("target/t/spacing", "gap"), used(last, 0))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["2 minutes later"]);
}

#[test]
fn a_closed_target_would_have_been_open_a_little_earlier_or_later() {
    let hours = |open, close| {
        target(&format!(
            r#"schedule = {{ time_zone = "America/New_York", hours = [
                {{ day = "tue", open = "{open}", close = "{close}" }} ] }}"#
        ))
    };
    assert_eq!(told(&hours("07:00", "11:00"), &call(), &[], &[]), ["5 minutes earlier"]);
    assert_eq!(told(&hours("12:30", "13:00"), &call(), &[], &[]), ["1 h 26 min later"]);
}

#[test]
fn a_tag_would_have_had_another_value() {
    let rule = |rule: &str| target(&format!("filters = {{ all = [{{ {rule} }}] }}"));
    for (rules, told_) in [
        (r#"tag = "plan", op = "in", value = ["PPO", "HMO"]"#, "plan HMO"),
        (r#"tag = "age", op = "between", value = [50, 80]"#, "age 50"),
        (r#"tag = "age", op = "gt", value = 64"#, "age 65"),
        (r#"tag = "age", op = "lt", value = 65"#, "age 64"),
        (r#"tag = "zip", op = "match", value = "43*""#, "zip 43"),
    ] {
        assert_eq!(told(&rule(rules), &call(), &[], &[]), [told_], "{rules}");
    }
    // No value can be named.
    let rules = rule(r#"tag = "x", op = "regex", value = "^[a-z]+[0-9]$""#);
    assert_eq!(told(&rules, &call(), &[], &[]), Vec::<String>::new());
}

#[test]
fn a_caller_who_had_called_would_have_had_to_be_new() {
    let rules = target(r#"dedupe = { after = "connected" }"#);
    let past = PastCall {
        call: CallId::of_simulation(1, 1),
        at: Wall(OPEN.0 - 60_000),
        dialed: call().dialed,
        campaign: "c".into(),
        publisher: "p".into(),
        connected: Some(Connected { target: "t".into(), buyer: "b".into(), at: OPEN }),
        converted_at: None,
        talk_ms: Some(1),
        charges: false,
        pays_after_ms: None,
        left: vec![],
    };
    assert_eq!(told(&rules, &call(), &[], &[past]), ["the caller's first call"]);
}

#[test]
fn all_that_stands_against_a_call_is_told_together() {
    let rules = target(
        r#"filters = { all = [{ tag = "plan", op = "eq", value = "HMO" }] }
           schedule = { time_zone = "UTC", hours = [
               { day = "tue", open = "15:10", close = "16:00" } ] }"#,
    );
    let told = told(&rules, &call(), &[], &[]);
    assert_eq!(told, ["6 minutes later and plan HMO"]);
}

#[test]
fn what_an_operator_has_switched_off_has_no_otherwise() {
    assert!(told(&target("paused = true"), &call(), &[], &[]).is_empty());
}

#[test]
fn a_target_that_was_not_there_has_no_otherwise() {
    assert_eq!(told_of_two("").1, []);
}

#[test]
fn a_target_that_was_not_there_takes_nobody_s_place() {
    let full = r#"caps = [{ metric = "connected", window = "total", limit = 5 }]"#;
    let (plan, told) = told_of_two(full);
    assert_eq!(plan, ["t"], "it is tried for want of another");
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["u: would have been called if: cap target/u/connected/total +1"]);
}

/// The plan, and what is told, where one target is called at most: `t`, which is not there, or
/// else `u`, of which these are the rules.
fn told_of_two(rules: &str) -> (Vec<String>, Vec<Counterfactual>) {
    let two = "{ tier = 1, targets = [{ target = \"t\" }] }, \
               { tier = 2, targets = [{ target = \"u\" }] }";
    let config = target("")
        .replace(r#"{ targets = [{ target = "t" }] }"#, two)
        .replace("numbers =", "max_attempts = 1\n            numbers =")
        + &format!(
            r#"
        [[targets]]
        id = "u"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:b" }}
        {rules}
        "#
        );
    let snapshot = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
    let usage = [(bucket("target/u/connected/total", "total"), used(5, 0))];
    let usage: BTreeMap<_, _> = usage.into();
    let assumed = Assumed { down: ["t".into()].into(), ..Assumed::default() };
    let usage = Assuming { usage: &usage, assumed: &assumed };
    let (request, known) = (call(), Known::default());
    let decision = decide(&snapshot, &request, known, &usage, &mut Rotation::default());
    let record = DecisionRecord::new(&request, known, &decision);
    let plan = decision.plan.iter().map(|planned| planned.target.to_string()).collect();
    (plan, counterfactuals(&snapshot, &record, &Course::default()))
}

#[test]
fn a_publisher_s_cap_would_have_had_to_be_higher() {
    let rules = target("").replace(
        r#"[{ id = "p" }]"#,
        r#"[{ id = "p", caps = [{ metric = "attempted", window = "total", limit = 5 }] }]"#,
    );
    let full = [(bucket("publisher/p/attempted/total", "total"), used(7, 0))];
    assert_eq!(told(&rules, &call(), &full, &[]), ["cap publisher/p/attempted/total +3"]);
}

#[test]
fn a_planned_target_that_found_no_room_needs_more_in_what_it_met() {
    let met = |rules: &str, limit, usage| {
        let config: RoutingConfig = toml::from_str(&target(rules)).unwrap();
        let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
        let (request, known, nothing) = (call(), Known::default(), BTreeMap::new());
        let decision = decide(&snapshot, &request, known, &nothing, &mut Rotation::default());
        let cap = decision.plan[0].holds[0].bucket.cap.clone();
        let shortage = Some(Shortage { cap, limit, usage, at: Wall(OPEN.0 + 30_000) });
        let end = TurnEnd::Denied { reason: Reason::CapFull, shortage };
        let course: Course = [Turn { target: "t".into(), end }].into_iter().collect();
        let record = DecisionRecord::new(&request, known, &decision);
        let all = counterfactuals(&snapshot, &record, &course);
        let line = decision.explain(&course)[1].clone();
        (all.iter().map(Counterfactual::changes_in_words).collect::<Vec<_>>(), line)
    };

    let cap = r#"caps = [{ metric = "connected", window = "total", limit = 5 }]"#;
    let (told, line) = met(cap, 5, used(4, 1));
    assert_eq!(told, ["cap target/t/connected/total +1"]);
    let why = "t: number 1 in the plan; the cap has no room for the call (cap.full): \
               target/t/connected/total has 4 used, 1 held, at most 5";
    assert_eq!(line, why);
    // As the limit was when its turn came, which may be lower than when the call was decided.
    assert_eq!(met(cap, 3, used(4, 1)).0, ["cap target/t/connected/total +3"]);
    assert_eq!(
        met("concurrency = { limit = 2 }", 2, used(0, 2)).0,
        ["cap target/t/concurrency +1"]
    );

    // Another attempt was made 20 s after the call was decided, 10 s before its turn.
    let last = used(u64::try_from(OPEN.0).unwrap() + 20_000, 0);
    let (told, line) = met("min_gap_s = 60", 60_000, last);
    assert_eq!(told, ["1 minute later"]);
    let apart = "target/t/spacing: 10000 ms after the last, at least 60000 ms apart";
    assert!(line.ends_with(apart), "{line}");
}

/// What is told of the only target.
fn told(
    rules: &str,
    request: &RouteRequest,
    usage: &[(Bucket, Usage)],
    calls: &[PastCall],
) -> Vec<String> {
    let config: RoutingConfig = toml::from_str(rules).unwrap();
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    let usage: BTreeMap<_, _> = usage.iter().cloned().collect();
    let known = Known { sessions: &[], calls };
    let decision = decide(&snapshot, request, known, &usage, &mut Rotation::default());
    assert!(decision.plan.is_empty(), "nothing stands against it");
    let record = DecisionRecord::from_bytes(&record_bytes(request, known, &decision)).unwrap();
    counterfactuals(&snapshot, &record, &Course::default())
        .iter()
        .map(Counterfactual::changes_in_words)
        .collect()
}

fn target(rules: &str) -> String {
    format!(
        r#"
        publishers = [{{ id = "p" }}]
        buyers = [{{ id = "b" }}]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
        [[targets]]
        id = "t"
        buyer = "b"
        dial = {{ kind = "sip", uri = "sip:a" }}
        {rules}
        "#
    )
}

fn bucket(cap: &str, window: &str) -> Bucket {
    Bucket { cap: cap.into(), window: window.into() }
}

fn used(used: u64, held: u64) -> Usage {
    Usage { used, held }
}

fn call() -> RouteRequest {
    RouteRequest {
        call: CallId::of_simulation(1, 0),
        at: OPEN,
        dialed: "+18005550100".parse().unwrap(),
        caller: "+16145550163".parse().ok(),
        trunk: "trk".into(),
        named: None,
        tags: Tags::new(),
        announced: false,
    }
}
