//! What a vertical takes of a ping, and what is wrong with one.

use super::*;
use crate::routing::{ConfigFault, RoutingConfig, RoutingSnapshot};

const AUTO: &str = r#"
    [[verticals]]
    id = "auto"
    unknown = "refuse"
    tags = [
        { name = "lead.insured", type = "enum", values = ["Yes", "No"], required = true },
        { name = "lead.age", type = "integer", min = 18, max = 99, aliases = ["age", "lead.years"] },
        { name = "lead.born", type = "date", max = "2010-12-31" },
        { name = "lead.carrier", type = "text", min = 2, max = 6, pattern = "^[a-z]+$" },
        { name = "lead.income", type = "money", min = 0, pii = true },
        { name = "geo.state", type = "state", required = true },
    ]
"#;

#[test]
fn what_a_ping_says_is_kept_in_one_form() {
    let vertical = vertical(AUTO);
    let kept = vertical.kept(tags(&[
        ("lead.insured", "yes"),
        ("lead.years", "041"),
        ("lead.born", "1985-02-03"),
        ("lead.income", "$1200"),
        ("geo.state", "Ohio"),
        ("geo.zip", "43215-1234"),
        ("sip_ok", "yes"),
        ("sub_id", "FB-1"),
    ]));
    let expected = [
        ("lead.insured", "Yes"),
        ("lead.age", "41"),
        ("lead.born", "1985-02-03"),
        ("lead.income", "1200.00"),
        ("geo.state", "OH"),
        ("geo.zip", "43215"),
        ("sip_ok", "true"),
        ("sub_id", "FB-1"),
    ];
    assert_eq!(kept, Ok(tags(&expected)));
    assert_eq!(vertical.kept(tags(&expected)), Ok(tags(&expected)), "what is kept stays as it is");
}

#[test]
fn everything_that_is_wrong_is_told_with_the_name_that_was_sent() {
    let told = |sent: &[(&str, &str)]| -> Vec<(String, TagFaultKind, String)> {
        let faults = vertical(AUTO).kept(tags(sent)).unwrap_err();
        faults.into_iter().map(|it| (it.tag.into(), it.kind, it.detail)).collect()
    };
    use TagFaultKind::{Malformed, Mismatch, Missing, Unknown};
    let fault = |tag: &str, kind, detail: &str| (tag.to_owned(), kind, detail.to_owned());

    assert_eq!(
        told(&[
            ("age", "17"),
            ("lead.born", "2011-01-01"),
            ("lead.carrier", "x"),
            ("lead.insured", "perhaps"),
            ("lead.agee", "3"),
            ("lead.income", "much"),
        ]),
        [
            fault("age", Malformed, "must be at least 18"),
            fault("lead.agee", Unknown, "is no tag of `auto`; did you mean `lead.age`?"),
            fault("lead.born", Malformed, "must be at most 2010-12-31"),
            fault("lead.carrier", Malformed, "must have at least 2 characters"),
            fault("lead.income", Malformed, "must be an amount such as 1200.00"),
            fault("lead.insured", Malformed, "must be one of Yes, No"),
            fault("geo.state", Missing, "`auto` asks for it"),
        ]
    );
    let sound = [("lead.insured", "no"), ("geo.state", "OH")];
    let with = |tag, value| told(&[sound[0], sound[1], (tag, value)]).remove(0);
    assert_eq!(with("lead.age", "100").2, "must be at most 99");
    assert_eq!(with("lead.carrier", "UPPER").2, "must be like the regular expression ^[a-z]+$");
    assert_eq!(with("lead.carrier", "seventh").2, "must have at most 6 characters");
    assert_eq!(
        told(&[sound[0], sound[1], ("age", "41"), ("lead.age", "42")]),
        [fault("lead.age", Mismatch, "says something else than another name of `lead.age`")]
    );
    assert!(
        vertical(AUTO).kept(tags(&[sound[0], sound[1], ("age", "41"), ("lead.age", "41")])).is_ok()
    );
}

#[test]
fn tags_that_nobody_described_are_kept_dropped_or_refused() {
    let sent = tags(&[("utm", "x"), ("lead.insured", "no"), ("geo.state", "OH")]);
    let with = |policy: &str| vertical(&AUTO.replace("\"refuse\"", policy)).kept(sent.clone());
    assert_eq!(with("\"keep\"").unwrap().get("utm").map(SmolStr::as_str), Some("x"));
    assert_eq!(with("\"drop\"").unwrap().get("utm"), None);
    assert_eq!(with("\"refuse\"").unwrap_err()[0].tag, "utm");
    // Left out, it is as "keep".
    let default = vertical(&AUTO.replace("unknown = \"refuse\"", "")).kept(sent.clone()).unwrap();
    assert!(default.contains_key("utm"));
}

#[test]
fn a_vertical_that_cannot_be_meant_is_a_fault_with_its_remedy() {
    for (tag, says) in [
        ("{ name = '', type = 'text' }", "name = : names no tag; write a tag such as lead.age"),
        (
            "{ name = 'a', type = 'enum' }",
            "values = []: are missing, of which an enum is one; write",
        ),
        (
            "{ name = 'a', type = 'text', values = ['x'] }",
            "values = x: has no meaning for the type `text`; leave it out; it is of enum",
        ),
        (
            "{ name = 'a', type = 'enum', values = ['x', 'X'] }",
            "values[1] = X: stands in the list already, in some case; keep",
        ),
        (
            "{ name = 'a', type = 'enum', values = [' x'] }",
            "values[0] =  x: is empty, or has blanks around it; write",
        ),
        (
            "{ name = 'a', type = 'integer', min = 2, max = 1 }",
            "max = 1: is less than min; write the lower one as min",
        ),
        ("{ name = 'a', type = 'date', min = 2 }", "min = 2: is no date; write one such as"),
        (
            "{ name = 'a', type = 'number', max = 'x' }",
            "max = x: is no number; write a decimal number",
        ),
        ("{ name = 'a', type = 'zip', min = 1 }", "min = 1: has no meaning for the type `zip`"),
        (
            "{ name = 'a', type = 'zip', pattern = 'x' }",
            "pattern = x: has no meaning for the type `zip`",
        ),
        (
            "{ name = 'a', type = 'text', pattern = '(' }",
            "pattern = (: is no regular expression: unclosed group; correct",
        ),
        (
            "{ name = 'geo.state', type = 'text' }",
            "type = text: is not what `geo.state` says everywhere; write \"state\"",
        ),
        (
            "{ name = 'a', type = 'text', aliases = ['sub_id'] }",
            "aliases[0] = sub_id: is a tag that every vertical has; choose",
        ),
        (
            "{ name = 'a', type = 'text', aliases = ['a'] }",
            "aliases[0] = a: is a name already, at verticals[0].tags[0].name; keep",
        ),
    ] {
        let faults = compiled(&format!("[[verticals]]\nid = 'v'\ntags = [{tag}]")).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let fault = faults[0].to_string();
        assert!(
            fault.strip_prefix("verticals[0].tags[0].").is_some_and(|it| it.starts_with(says)),
            "{fault}"
        );
    }
}

#[test]
fn a_filter_asks_for_tags_of_its_vertical_in_the_way_they_are_kept() {
    for (rule, says) in [
        ("tag = 'lead.insured', op = 'eq', value = 'Yes'", ""),
        ("tag = 'lead.insured', op = 'eq', value = 'yes', ignore_case = true", ""),
        ("tag = 'lead.age', op = 'between', value = [50, 80]", ""),
        ("tag = 'lead.born', op = 'lt', value = '1990-01-01'", ""),
        ("tag = 'geo.zip', op = 'in_set', value = 'zips'", ""),
        ("tag = 'header.x-campaign', op = 'eq', value = 'a'", ""),
        (
            "tag = 'lead.insred', op = 'required'",
            "tag = lead.insred: is no tag of `auto`, the vertical of the campaign cmp; did you mean `lead.insured`?",
        ),
        (
            "tag = 'age', op = 'gt', value = 5",
            "tag = age: is no tag of `auto`, the vertical of the campaign cmp; write `lead.age`, of which it is another name",
        ),
        (
            "tag = 'lead.insured', op = 'gt', value = 1",
            "op = gt: cannot compare it: `lead.insured` is of the type enum in `auto`; use `eq` or `in`",
        ),
        (
            "tag = 'lead.age', op = 'contains', value = 1",
            "op = contains: cannot compare it: `lead.age` is of the type integer in `auto`; use `eq`, `in` or `between`",
        ),
        (
            "tag = 'lead.insured', op = 'in', value = ['No', 'maybe']",
            "value = maybe: is never said: `lead.insured` is of the type enum in `auto`; it must be one of Yes, No",
        ),
        (
            "tag = 'geo.state', op = 'eq', value = 'Ohio'",
            "value = Ohio: is kept in another form, so that no call could pass; write OH",
        ),
        (
            "tag = 'lead.age', op = 'lt', value = '2026-01-01'",
            "value = 2026-01-01: is no number, and `lead.age` is of the type integer in `auto`; write a decimal number",
        ),
        (
            "tag = 'lead.born', op = 'lt', value = 3",
            "value = 3: is no date, and `lead.born` is of the type date in `auto`; write one such as \"2026-03-17\"",
        ),
        (
            "tag = 'geo.state', op = 'in_set', value = 'zips'",
            "value = zips: is a set of the kind zip, and `geo.state` is of the type state in `auto`; name a set of that kind",
        ),
    ] {
        let told = match compiled(&format!("{AUTO}\n{}", business(rule))) {
            Ok(_) => String::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        let says = if says.is_empty() {
            String::new()
        } else {
            format!("targets[0].filters.all[0].{says}")
        };
        assert_eq!(told, says, "{rule}");
    }
    let record = "tag = 'line_type', op = 'eq', value = 'mobile'";
    assert!(compiled(&format!("{AUTO}\n{}", business(record))).is_ok(), "lines' records tell it");
    // A campaign without a vertical asks for what it likes.
    let free = business("tag = 'whatever', op = 'required'").replace("vertical = 'auto'", "");
    assert!(compiled(&free).is_ok());
    let faults = compiled(&format!(
        "{AUTO}\n{}",
        free.replace("id = 'cmp'", "id = 'cmp'\nvertical = 'autos'")
    ));
    assert_eq!(
        faults.unwrap_err()[0].to_string(),
        "campaigns[0].vertical = autos: names no vertical of this configuration; did you mean `auto`?"
    );
}

#[test]
fn a_place_that_is_missed_by_a_letter_is_told_where_nothing_describes_the_tags() {
    let free = |rule: &str| business(rule).replace("vertical = 'auto'", "");
    for (tag, meant) in [
        ("geo.stat", Some("geo.state")),
        ("geo.State", Some("geo.state")),
        ("GEO.ZIP", Some("geo.zip")),
        ("geo.zipp", Some("geo.zip")),
        ("geo.npa-nxx", Some("geo.npa_nxx")),
        ("geo.contry", Some("geo.country")),
        ("Geo.time_zone", Some("geo.time_zone")),
        ("geo.state", None),
        ("geo.city", None),
        ("geo.dma", None),
        ("geo.county", None),
        ("geo.zip4", None),
        ("geo.ip", None),
        ("geo_state", None),
        ("sub_ids", None),
    ] {
        let rule = format!("tag = '{tag}', op = 'required'");
        let told = compiled(&free(&rule))
            .err()
            .map(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        let says = meant.map(|meant| {
            format!(
                "targets[0].filters.all[0].tag = {tag}: is no tag that the server makes, and no \
                 vertical describes it; write `{meant}`; if publishers say it, describe it in a \
                 vertical"
            )
        });
        assert_eq!(told, says, "{tag}");
    }
    let described = "
        [[verticals]]
        id = 'legal'
        tags = [{ name = 'geo.states', type = 'text' }]
    ";
    let free = free("tag = 'geo.states', op = 'required'");
    assert!(compiled(&free).is_err());
    assert!(compiled(&format!("{described}\n{free}")).is_ok(), "it says what that is");
}

#[test]
fn a_place_that_is_missed_by_a_letter_is_told_wherever_tags_are_named() {
    let named = "
        [[filter_sets]]
        id = 'nobody_has_it'
        all = [[{ tag = 'a', op = 'required' }, { tag = 'geo.stte', op = 'required' }]]
        [[scorers]]
        id = 'asked'
        kind = 'http'
        url = 'http://192.0.2.9/'
        features = ['geo.state', 'geo.nap', 'target.payuot', 'lead.age']
        [[enrichers]]
        id = 'lines'
        url = 'http://192.0.2.9/'
        send_caller = true
        send_tags = ['geo.contry', 'geo.city']
        tells = { line_type = '/type' }
    ";
    let text = format!("{AUTO}\n{named}\n{}", business("tag = 'geo.state', op = 'required'"));
    let faults = compiled(&text).unwrap_err();
    let told: Vec<_> = faults.iter().map(|it| (it.path.as_str(), it.value.as_str())).collect();
    assert_eq!(
        told,
        [
            ("scorers[0].features[1]", "geo.nap"),
            ("scorers[0].features[2]", "target.payuot"),
            ("enrichers[0].send_tags[0]", "geo.contry"),
            ("filter_sets[0].all[0][1].tag", "geo.stte"),
        ]
    );
}

#[test]
fn what_says_who_somebody_is_is_not_explained() {
    let rule = "tag = 'lead.income', op = 'gt', value = 5000";
    let snapshot = compiled(&format!("{AUTO}\n{}", business(rule))).unwrap();
    let filters = &snapshot.target(&"tgt".into()).unwrap().filters;
    assert!(filters.groups[0].rules[0].is_private);
    let rule = "tag = 'lead.age', op = 'gt', value = 50";
    let snapshot = compiled(&format!("{AUTO}\n{}", business(rule))).unwrap();
    assert!(!snapshot.target(&"tgt".into()).unwrap().filters.groups[0].rules[0].is_private);
}

/// One target with one rule, in a campaign of the vertical.
fn business(rule: &str) -> String {
    format!(
        "
        [[sets]]
        id = 'zips'
        kind = 'zip'
        values = ['43215']
        [[publishers]]
        id = 'pub'
        [[buyers]]
        id = 'buy'
        [[targets]]
        id = 'tgt'
        buyer = 'buy'
        dial = {{ kind = 'sip', uri = 'sip:192.0.2.1' }}
        filters.all = [{{ {rule} }}]
        [[campaigns]]
        id = 'cmp'
        publisher = 'pub'
        vertical = 'auto'
        routing = {{ tiers = [{{ targets = [{{ target = 'tgt' }}] }}] }}
        "
    )
}

fn vertical(text: &str) -> Vertical {
    let text = format!("{text}\n{}", business("tag = 'geo.state', op = 'required'"));
    let snapshot = compiled(&text).unwrap();
    let campaign = snapshot.campaign(&"cmp".into()).unwrap();
    Vertical::clone(campaign.vertical.as_ref().unwrap())
}

fn compiled(text: &str) -> Result<RoutingSnapshot, Vec<ConfigFault>> {
    RoutingSnapshot::compile(toml::from_str::<RoutingConfig>(text).unwrap(), 1)
}

fn tags(of: &[(&str, &str)]) -> Tags {
    of.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}
