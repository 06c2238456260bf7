//! What has a name so that several can name it: compiled once, shared, and meant as if it were written
//! where it is named.

use std::sync::Arc;

use super::*;
use crate::routing::config::Source;
use crate::routing::counterfactual::{Counterfactual, counterfactuals};
use crate::routing::course::Course;
use crate::routing::revision;
use crate::routing::snapshot::Mode;

const NAMED: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    schedules = [
        { id = "weekdays", time_zone = "America/New_York", hours = [
            { day = "tue", open = "07:00", close = "20:00" },
        ] },
        { id = "always", always_open = true },
    ]

    [[filter_sets]]
    id = "ohio"
    all = [
        { tag = "geo.state", op = "in", value = ["OH", "PA"] },
        [{ tag = "age", op = "ge", value = 50 }, { tag = "owner", op = "eq", value = "yes" }],
    ]

    [[plans]]
    id = "both"
    distribution = "smooth"
    tiers = [{ targets = [{ target = "one", weight = 50 }, { target = "two", weight = 50 }] }]

    [[targets]]
    id = "one"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:192.0.2.1" }
    schedule = "weekdays"
    filters.all = [{ set = "ohio" }, { tag = "sub", op = "required" }]
    caps = [{ metric = "connected", window = "daily", limit = 9, mode = "paced" }]

    [[targets]]
    id = "two"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:192.0.2.2" }
    schedule = "weekdays"
    filters.all = [{ tag = "sub", op = "required" }, { set = "ohio" }]

    [[targets]]
    id = "three"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:192.0.2.3" }
    schedule = "always"

    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = "both"

    [[campaigns]]
    id = "d"
    publisher = "p"
    numbers = ["+18005550198"]
    routing = "both"
"#;

const WEEKDAYS: &str = r#"{ time_zone = "America/New_York", hours = [
    { day = "tue", open = "07:00", close = "20:00" },
] }"#;
const OHIO: &str = r#"{ tag = "geo.state", op = "in", value = ["OH", "PA"] },
    [{ tag = "age", op = "ge", value = 50 }, { tag = "owner", op = "eq", value = "yes" }]"#;
const BOTH: &str = r#"{ distribution = "smooth", tiers = [
    { targets = [{ target = "one", weight = 50 }, { target = "two", weight = 50 }] },
] }"#;

#[test]
fn what_several_name_is_compiled_once_and_shared() {
    let snapshot = snapshot(NAMED);
    let target = |id: &str| snapshot.target(&id.into()).unwrap();
    let (one, two) = (target("one"), target("two"));
    let weekdays = one.schedule.as_ref().unwrap();
    assert!(Arc::ptr_eq(weekdays, two.schedule.as_ref().unwrap()));
    let Mode::Paced(pacing) = &one.caps[0].mode else { panic!("{:?}", one.caps) };
    assert!(Arc::ptr_eq(weekdays, pacing.schedule.as_ref().unwrap()));
    for entry in 0..2 {
        let (one, two) = (&one.filters.groups[entry], &two.filters.groups[entry + 1]);
        assert!(Arc::ptr_eq(&one.rules, &two.rules));
    }
    let campaign = |id: &str| snapshot.campaign(&id.into()).unwrap();
    assert!(Arc::ptr_eq(&campaign("c").tiers, &campaign("d").tiers));
}

#[test]
fn what_is_named_is_meant_as_if_it_were_written_there() {
    let written = NAMED
        .replace("schedule = \"weekdays\"", &format!("schedule = {WEEKDAYS}"))
        .replace("{ set = \"ohio\" }", OHIO)
        .replace("routing = \"both\"", &format!("routing = {BOTH}"));
    let (named, written) = (snapshot(NAMED), snapshot(&written));
    let (mut by_name, mut by_text) = (Rotation::default(), Rotation::default());
    for call in 0..40_u8 {
        let ohio = if call % 3 == 0 { "KY" } else { "OH" };
        let age = if call % 5 == 0 { "40" } else { "60" };
        let request = RouteRequest {
            call: CallId::from_bytes([call; 16]),
            // Every third of an hour, from open to closed.
            at: Wall(OPEN.0 + i64::from(call) * 1_200_000),
            tags: [("geo.state", ohio), ("age", age), ("sub", "x")]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            ..request(if call % 2 == 0 { "+18005550100" } else { "+18005550198" })
        };
        let decide = |snapshot: &RoutingSnapshot, rotation: &mut Rotation| {
            decide(snapshot, &request, Known::default(), &nothing_used(), rotation)
        };
        let of_name = decide(&named, &mut by_name);
        let mut of_text = decide(&written, &mut by_text);
        same_again(&named, &request, &of_name);
        // Only a refusal says where the rule stands.
        for (step, named) in of_text.steps.iter_mut().zip(&of_name.steps) {
            if step.check == Check::Filter && step.verdict == Verdict::Refused {
                let want = step.want.take().unwrap();
                let said = named.want.as_ref().unwrap();
                assert!(said.starts_with(want.as_str()) && said.ends_with("filter set ohio)"));
                step.want.clone_from(&named.want);
            }
        }
        assert_eq!(of_name, of_text, "call {call}");
    }
}

#[test]
fn a_refusal_names_the_set_and_its_entry() {
    let snapshot = snapshot(NAMED);
    let request = |tags: &[(&str, &str)]| RouteRequest {
        tags: tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..request("+18005550100")
    };
    let kentucky = request(&[("geo.state", "KY"), ("age", "60"), ("sub", "x")]);
    let young = request(&[("geo.state", "OH"), ("age", "40"), ("sub", "x")]);
    for (request, told, change) in [
        (
            &kentucky,
            "one: not dialled; the call's tags are not what the target wants (filter.mismatch): \
             geo.state is KY, wanted in OH, PA (entry 1 of the filter set ohio)",
            "geo.state OH",
        ),
        (
            &young,
            "one: not dialled; the call's tags are not what the target wants (filter.mismatch): \
             age is 40, wanted one of: age ge 50; owner eq yes (entry 2 of the filter set ohio)",
            "age 50",
        ),
    ] {
        let known = Known::default();
        let decision = decide(&snapshot, request, known, &nothing_used(), &mut Rotation::default());
        let explained = decision.explain_first(0);
        let line = explained.iter().find(|line| line.starts_with("one:"));
        assert_eq!(line.map(String::as_str), Some(told), "{explained:#?}");
        let record = DecisionRecord::from_bytes(&record_bytes(request, known, &decision)).unwrap();
        let changes: Vec<_> = counterfactuals(&snapshot, &record, &Course::default())
            .iter()
            .map(Counterfactual::changes_in_words)
            .collect();
        assert_eq!(changes, [change, change]);
    }
}

#[test]
fn campaigns_of_one_plan_take_turns_each_for_itself() {
    let snapshot = snapshot(NAMED);
    let tags: Tags = [("geo.state", "OH"), ("age", "60"), ("sub", "x")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    let mut rotation = Rotation::default();
    let mut first = |dialed: &str| {
        let request = RouteRequest { tags: tags.clone(), ..request(dialed) };
        let used = nothing_used();
        let decision = decide(&snapshot, &request, Known::default(), &used, &mut rotation);
        decision.plan[0].target.to_string()
    };
    let (c, d) = ("+18005550100", "+18005550198");
    assert_eq!([c, d, c, d].map(&mut first), ["one", "one", "two", "two"]);
}

#[test]
fn the_zone_of_a_named_schedule_is_that_of_its_targets() {
    let snapshot = snapshot(&format!("{NAMED}\n[account]\ntime_zone = \"America/Chicago\""));
    let zone = |id: &str| {
        let settings = snapshot.effective_target(&id.into()).unwrap();
        let zone = settings.into_iter().find(|it| it.setting == "time_zone").unwrap();
        (zone.value.as_str().unwrap().to_owned(), zone.from)
    };
    assert_eq!(zone("one"), ("America/New_York".into(), Source::Schedule));
    assert_eq!(zone("three"), ("America/Chicago".into(), Source::Account));
}

#[test]
fn what_is_kept_has_its_names() {
    let config: RoutingConfig = toml::from_str(NAMED).unwrap();
    let kept = revision::compile(&revision::pack(&config), 1).unwrap();
    assert_eq!(kept, snapshot(NAMED));
}

#[test]
fn a_tag_that_is_not_shown_of_one_target_is_shown_of_another_with_the_same_set() {
    let text = NAMED
        .replace("target = \"two\", weight = 50", "target = \"two\", weight = 0")
        .replacen("id = \"c\"", "id = \"c\"\nvertical = \"auto\"", 1)
        .replacen(
            "routing = \"both\"",
            "routing = { tiers = [{ targets = [{ target = \"one\" }] }] }",
            1,
        );
    let vertical = r#"
        [[verticals]]
        id = "auto"
        tags = [
            { name = "age", type = "integer", pii = true },
            { name = "owner", type = "enum", values = ["yes", "no"] },
            { name = "sub", type = "text" },
        ]
    "#;
    let snapshot = snapshot(&format!("{text}\n{vertical}"));
    let groups = |id: &str| &snapshot.target(&id.into()).unwrap().filters.groups;
    let (one, two) = (groups("one"), groups("two"));
    assert!(one[1].rules[0].is_private && !two[2].rules[0].is_private);
    assert!(Arc::ptr_eq(&one[0].rules, &two[1].rules), "of which there is nothing to hide");
}

#[test]
fn what_cannot_be_meant_is_a_fault_with_its_remedy() {
    let vertical =
        "verticals = [{ id = \"auto\", tags = [{ name = \"age\", type = \"date\" }] }]\n";
    for (right, wrong, fault) in [
        (
            "schedule = \"weekdays\"",
            "schedule = \"weekday\"",
            "targets[0].schedule = weekday: names no schedule of this configuration; \
             did you mean `weekdays`?",
        ),
        (
            "id = \"always\"",
            "id = \"weekdays\"",
            "schedules[1].id = weekdays: is the name of schedules[0] already; give each its own name",
        ),
        ("{ id = \"always\", ", "{ ", "schedules[1].id = : is empty; write a name of your choice"),
        (
            "open = \"07:00\"",
            "open = \"7 am\"",
            "schedules[0].hours[0].open = 7 am: is no time of day; write it as HH:MM, 00:00 to 24:00",
        ),
        (
            "schedule = \"always\"",
            "schedule = { id = \"own\", always_open = true }",
            "targets[2].schedule.id = own: is the name of what nobody else can name; \
             leave it out, or write all of it to `schedules` and its name here",
        ),
        (
            "{ id = \"p\" }",
            "{ id = \"p\", price = { hourly = [{ min_revenue = \"1.00\", during = \"x\" }] } }",
            "publishers[0].price.hourly[0].during = x: names no schedule of this configuration; \
             there are always, weekdays",
        ),
        (
            "{ set = \"ohio\" }",
            "{ set = \"ohoi\" }",
            "targets[0].filters.all[0].set = ohoi: names no filter set of this configuration; \
             did you mean `ohio`?",
        ),
        (
            "{ tag = \"geo.state\", op = \"in\", value = [\"OH\", \"PA\"] }",
            "{ set = \"ohio\" }",
            "filter_sets[0].all[0].set = ohio: is named by another set; \
             write out the entries of that one",
        ),
        (
            "op = \"ge\", value = 50",
            "op = \"ge\", value = \"old\"",
            "filter_sets[0].all[1][0].value = old: is neither a number nor a date; \
             write a decimal number, or a date such as \"2026-03-17\"",
        ),
        (
            "routing = \"both\"",
            "routing = \"bot\"",
            "campaigns[0].routing = bot: names no plan of this configuration; did you mean `both`?",
        ),
        (
            "target = \"one\", weight = 50",
            "target = \"nobody\", weight = 50",
            "plans[0].tiers[0].targets[0].target = nobody: names no target of this configuration; \
             add the target, or correct the name",
        ),
        (
            "id = \"c\"\n",
            "id = \"c\"\nvertical = \"auto\"\n",
            "filter_sets[0].all[1][0].value = 50: is no date, and `age` is of the type date in \
             `auto`; write one such as \"2026-03-17\"",
        ),
    ] {
        assert!(NAMED.contains(right), "{right}");
        let text = format!("{vertical}{}", NAMED.replacen(right, wrong, 1));
        let told = RoutingSnapshot::compile(toml::from_str(&text).unwrap(), 1).unwrap_err();
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert!(told.contains(&String::from(fault)), "{fault}: {told:#?}");
        let once = told.iter().filter(|it| *it == fault).count();
        assert_eq!(once, 1, "it is told where it stands, and not where it is named: {told:#?}");
    }
    for (entry, fault) in [
        ("{ set = \"ohio\", tag = \"age\" }", "`set` names all that a filter set says"),
        ("{ not = true, set = \"ohio\" }", "unknown field `set`"),
        ("[{ set = \"ohio\" }]", "unknown field `set`"),
        ("7", "a rule, a list of rules of which one must hold, or { set = \"name\" }"),
    ] {
        let text = NAMED.replacen("{ set = \"ohio\" }", entry, 1);
        let told = toml::from_str::<RoutingConfig>(&text).unwrap_err().to_string();
        assert!(told.contains(fault), "{told}");
    }
}

fn same_again(snapshot: &RoutingSnapshot, request: &RouteRequest, decision: &Decision) {
    let bytes = record_bytes(request, Known::default(), decision);
    let record = DecisionRecord::from_bytes(&bytes).unwrap();
    assert_eq!(replay(snapshot, &record).difference, None);
}
