//! How rules compare, and what is wrong with them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::routing::config::{FiltersConfig, SetKind};
use crate::routing::geo::Geo;
use crate::routing::request::Tags;
use crate::routing::set::{Sets, ValueSet};

/// The tag `t` of every rule here.
const TAG: &str = "t";

#[test]
fn each_operator_compares_as_it_says() {
    let cases = [
        (r#"op = "eq", value = "OH""#, "OH", "oh"),
        (r#"op = "eq", value = true"#, "true", "false"),
        (r#"op = "ne", value = "OH""#, "oh", "OH"),
        (r#"op = "in", value = ["OH", "PA"]"#, "PA", "MI"),
        (r#"op = "not_in", value = ["OH", "PA"]"#, "MI", "PA"),
        (r#"op = "contains", value = "red""#, "tired", "bed"),
        (r#"op = "begins_with", value = "43""#, "43215", "14321"),
        (r#"op = "ends_with", value = "-3""#, "fb-oh-3", "fb-oh-31"),
        (r#"op = "gt", value = 9"#, "10", "9"),
        (r#"op = "ge", value = 9"#, "9.000000", "8.999999"),
        (r#"op = "lt", value = 9.5"#, "-1", "9.50"),
        (r#"op = "le", value = 9.5"#, "9.50", "9.500001"),
        (r#"op = "between", value = [50, 80]"#, "80", "80.000001"),
        (r#"op = "gt", value = 1"#, "2", "two"),
        (r#"op = "gt", value = 1"#, "2", "2026-03-17"),
        (r#"op = "lt", value = "2026-03-17""#, "2026-03-16", "2026-03-17"),
        (r#"op = "between", value = ["2026-01-01", "2026-12-31"]"#, "2026-12-31", "2027-01-01"),
        (r#"op = "match", value = "fb-*-?""#, "fb-oh-3", "fb-oh-31"),
        (r#"op = "regex", value = "^(FB|GG)-\\d+$""#, "FB-31", "fb-31"),
        (r#"op = "regex", value = "oh""#, "fb-oh-3", "fb-OH-3"),
        (r#"op = "required""#, "", ""),
        (r#"op = "in_set", value = "zips""#, "43215", "43216"),
    ];
    for (rule, holds, fails) in cases {
        let filter = compile(rule).unwrap();
        assert_eq!(answer(&filter, &tag(holds)), Answer::Yes, "{rule} {holds}");
        assert_eq!(answer(&filter, &Tags::new()), Answer::Missing, "{rule}");
        if !rule.contains("required") {
            assert_eq!(answer(&filter, &tag(fails)), Answer::No, "{rule} {fails}");
        }
    }
}

#[test]
fn not_turns_a_comparison_round_but_not_a_tag_that_cannot_be_compared() {
    for (rule, holds, fails) in [
        (r#"op = "eq", value = "OH", not = true"#, "PA", "OH"),
        (r#"op = "ne", value = "OH", not = true"#, "OH", "PA"),
        (r#"op = "match", value = "fb-*", not = true"#, "gg-1", "fb-1"),
        (r#"op = "in_set", value = "zips", not = true"#, "43216", "43215"),
        (r#"op = "gt", value = 5, not = true"#, "5", "6"),
        (r#"op = "gt", value = 5, not = true"#, "5", "six"),
        (r#"op = "gt", value = 5, not = true"#, "5", "2026-03-17"),
    ] {
        let filter = compile(rule).unwrap();
        assert_eq!(answer(&filter, &tag(holds)), Answer::Yes, "{rule} {holds}");
        assert_eq!(answer(&filter, &tag(fails)), Answer::No, "{rule} {fails}");
        assert_eq!(answer(&filter, &Tags::new()), Answer::Missing, "{rule}");
    }
    let absent = compile(r#"op = "required", not = true"#).unwrap();
    assert_eq!(answer(&absent, &Tags::new()), Answer::Yes);
    assert_eq!(answer(&absent, &tag("")), Answer::No);
}

#[test]
fn text_compares_in_any_case_only_if_that_is_said() {
    for (rule, holds) in [
        (r#"op = "eq", value = "Ohio""#, "oHIO"),
        (r#"op = "in", value = ["Ohio", "Élan"]"#, "ÉLAN"),
        (r#"op = "contains", value = "HI""#, "Ohio"),
        (r#"op = "begins_with", value = "OH""#, "Ohio"),
        (r#"op = "ends_with", value = "IO""#, "Ohio"),
        (r#"op = "match", value = "O*O""#, "Ohio"),
        (r#"op = "regex", value = "^O\\W?H""#, "ohio"),
    ] {
        assert_eq!(answer(&compile(rule).unwrap(), &tag(holds)), Answer::No, "{rule}");
        let filter = compile(&format!("{rule}, ignore_case = true")).unwrap();
        assert_eq!(answer(&filter, &tag(holds)), Answer::Yes, "{rule}");
    }
}

#[test]
fn a_missing_tag_passes_only_where_on_missing_says_so() {
    let check = |rest: &str| {
        answer(&compile(&format!(r#"op = "eq", value = "OH"{rest}"#)).unwrap(), &Tags::new())
    };
    assert_eq!(check(r#", on_missing = "pass""#), Answer::Yes);
    assert_eq!(check(r#", on_missing = "pass", not = true"#), Answer::Yes);
    assert_eq!(check(r#", on_missing = "fail""#), Answer::Missing);
}

proptest! {
    #[test]
    fn of_a_rule_and_its_negation_one_holds_or_the_tag_is_missing(
        op in 0..RULES.len(),
        value in "[a-c0-9.]{0,3}",
        is_there: bool,
    ) {
        let rule = RULES[op];
        let tags = if is_there { tag(&value) } else { Tags::new() };
        let plain = answer(&compile(rule).unwrap(), &tags);
        let negated = answer(&compile(&format!("{rule}, not = true")).unwrap(), &tags);
        if !is_there {
            prop_assert_eq!((plain, negated), (Answer::Missing, Answer::Missing));
        } else if rule.contains("\"gt\"") && value.parse::<crate::money::Money>().is_err() {
            prop_assert_eq!((plain, negated), (Answer::No, Answer::No));
        } else {
            prop_assert!((plain == Answer::Yes) != (negated == Answer::Yes));
        }
    }
}

const RULES: [&str; 9] = [
    r#"op = "eq", value = "a""#,
    r#"op = "ne", value = "a""#,
    r#"op = "in", value = ["a", "1"]"#,
    r#"op = "not_in", value = ["a", "1"]"#,
    r#"op = "contains", value = "b""#,
    r#"op = "begins_with", value = "b""#,
    r#"op = "match", value = "*a?""#,
    r#"op = "regex", value = "[ab]{2}""#,
    r#"op = "gt", value = 5"#,
];

/// Rules of every kind, which may meet.
const MEETING: [&str; 24] = [
    r#"op = "eq", value = "OH""#,
    r#"op = "eq", value = "oh", ignore_case = true"#,
    r#"op = "eq", value = "Σ", ignore_case = true"#,
    r#"op = "in", value = ["OH", "İ", "7"]"#,
    r#"op = "in", value = ["oh", "ς", "i̇"], ignore_case = true"#,
    r#"op = "ne", value = "OH""#,
    r#"op = "not_in", value = ["OH", "7"]"#,
    r#"op = "contains", value = "o", ignore_case = true"#,
    r#"op = "begins_with", value = "O""#,
    r#"op = "begins_with", value = "o", ignore_case = true"#,
    r#"op = "begins_with", value = "P""#,
    r#"op = "ends_with", value = "h""#,
    r#"op = "ends_with", value = "H""#,
    r#"op = "regex", value = "σ""#,
    r#"op = "match", value = "?H""#,
    r#"op = "regex", value = "^[0-9]+$""#,
    r#"op = "regex", value = "σ", ignore_case = true"#,
    r#"op = "gt", value = 5"#,
    r#"op = "ge", value = 7"#,
    r#"op = "lt", value = 7"#,
    r#"op = "le", value = 5"#,
    r#"op = "between", value = [5, 7]"#,
    r#"op = "lt", value = "2026-03-17""#,
    r#"op = "in_set", value = "zips""#,
];
/// `required` takes no `on_missing`.
const REQUIRED: &str = r#"op = "required""#;

fn rules_that_meet() -> impl Strategy<Value = String> {
    let compared = (prop::sample::select(&MEETING[..]), any::<bool>(), any::<bool>());
    let compared = compared.prop_map(|(rule, not, passes)| {
        let missing = if passes { ", on_missing = \"pass\"" } else { "" };
        format!("{{ {}, not = {not}{missing} }}", with_tag(rule))
    });
    let required =
        any::<bool>().prop_map(|not| format!("{{ {}, not = {not} }}", with_tag(REQUIRED)));
    let rule = prop_oneof![9 => compared, 1 => required];
    prop::collection::vec(rule, 1..3).prop_map(|rules| match &rules[..] {
        [only] => only.clone(),
        rules => format!("[{}]", rules.join(", ")),
    })
}

const VALUES: [&str; 19] = [
    "OH",
    "oh",
    "Oh",
    "oH",
    "PA",
    "",
    "Σ",
    "σ",
    "ς",
    "İ",
    "i̇",
    "i",
    "4.999999",
    "5",
    "6",
    "7",
    "8",
    "2026-03-16",
    "43215",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_call_passes_entries_that_exclude_each_other(
        one in rules_that_meet(), other in rules_that_meet(),
    ) {
        let both = filters(&format!("all = [{one}, {other}]"));
        if both.contradictions().next().is_some() {
            for tags in VALUES.iter().map(|value| tag(value)).chain([Tags::new()]) {
                let geo = Geo::built_in();
                let facts = Facts::new(&tags, None, &geo);
                let passes = both.groups.iter().all(|group| group.check(&facts).is_ok());
                prop_assert!(!passes, "{} and {}: {:?}", one, other, tags);
            }
        }
    }
}

#[test]
fn a_rule_that_cannot_be_meant_is_a_fault_with_field_value_and_remedy() {
    for (rule, says) in [
        (r#"tag = "", op = "eq", value = "OH""#, "tag = : names no tag; write a tag such as"),
        (r#"op = "eq""#, "value = : is missing, which `eq` compares with; add it"),
        (r#"op = "eq", value = ["OH"]"#, "value = OH: is a list; write one value, or use"),
        (r#"op = "in", value = "OH""#, "value = OH: is no list of values; write a list such as"),
        (r#"op = "in", value = []"#, "value = : is an empty list; write a list such as"),
        (r#"op = "gt", value = "many""#, "value = many: is neither a number nor a date; write a"),
        (
            r#"op = "gt", value = [1, 2]"#,
            "value = 1, 2: is a list; write one value, or use the op `b",
        ),
        (r#"op = "between", value = [1]"#, "value = 1: is not two numbers or dates; write a list"),
        (r#"op = "between", value = [2, 1]"#, "value = 2, 1: does not go from less to more; write"),
        (r#"op = "between", value = [1, "2026-03-17"]"#, "does not go from less to more"),
        (
            r#"op = "regex", value = "(a""#,
            "value = (a: is no regular expression: unclosed group; c",
        ),
        (r#"op = "regex", value = "(?=a)""#, "look-around and back-references are not known"),
        (r#"op = "regex", value = "\\w{900}""#, "is too large a regular expression; repeat less"),
        (r#"op = "required", value = 1"#, "value = 1: is not compared with anything by `required`"),
        (r#"op = "required", on_missing = "pass""#, "on_missing = pass: has no meaning for `requ"),
        (
            r#"op = "gt", value = 1, ignore_case = true"#,
            "ignore_case = true: has no meaning for `gt`",
        ),
        (r#"op = "in_set", value = "zips", ignore_case = true"#, "say it of the set"),
        (
            r#"op = "in_set", value = "zisp""#,
            "names no set of this configuration; did you mean `zips`?",
        ),
    ] {
        let faults = faults(&format!("all = [[{{ {} }}]]", with_tag(rule)));
        assert_eq!(faults.len(), 1, "{rule}");
        assert!(faults[0].starts_with("f.all[0][0].") && faults[0].contains(says), "{faults:?}");
    }
    assert_eq!(
        faults("all = [[]]"),
        [
            "f.all[0] = []: is a list of no rules, so that no call could pass; add a rule, or leave it out"
        ]
    );
}

#[test]
fn a_group_holds_by_one_rule_and_else_names_the_one_that_came_closest() {
    let filters = filters(
        r#"all = [
            { tag = "a", op = "eq", value = 1 },
            [{ tag = "b", op = "eq", value = 1 }, { tag = "c", op = "eq", value = 1 }],
        ]"#,
    );
    let [first, second] = &filters.groups[..] else { panic!("{filters:?}") };
    let tags = |tags: &[(&str, &str)]| -> Tags {
        tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };

    let geo = Geo::built_in();
    let (a, c) = (tags(&[("a", "1")]), tags(&[("b", "2"), ("c", "1")]));
    assert_eq!(first.check(&Facts::new(&a, None, &geo)).unwrap().tag, "a");
    assert_eq!(second.check(&Facts::new(&c, None, &geo)).unwrap().tag, "c");
    let told = |group: &Group, has: &[(&str, &str)]| {
        let tags = tags(has);
        let facts = Facts::new(&tags, None, &geo);
        let miss = group.check(&facts).unwrap_err();
        (miss.reason, miss.filter.tag.to_string(), miss.want.to_string())
    };
    let either = "one of: b eq 1; c eq 1".to_owned();
    assert_eq!(told(first, &[]), (Reason::FilterMissingTag, "a".into(), "eq 1".into()));
    assert_eq!(told(second, &[]), (Reason::FilterMissingTag, "b".into(), either.clone()));
    assert_eq!(told(second, &[("c", "2")]), (Reason::FilterMismatch, "c".into(), either));
}

#[test]
fn entries_that_exclude_each_other_are_found_and_no_others() {
    let rule = |rule: &str| match rule.starts_with('[') {
        true => rule.replace('{', "{ tag = 't', "),
        false if rule.contains("tag =") => format!("{{ {rule} }}"),
        false => format!("{{ tag = 't', {rule} }}"),
    };
    let eq = "op = 'eq', value = 'OH'";
    for (one, other, is_never) in [
        (eq, "op = 'eq', value = 'PA'", true),
        (eq, "op = 'in', value = ['PA', 'KY']", true),
        (eq, "op = 'in', value = ['PA', 'OH']", false),
        (eq, "op = 'eq', value = 'PA', tag = 'u'", false),
        (eq, "op = 'ne', value = 'OH'", true),
        (eq, "op = 'ne', value = 'PA'", false),
        (eq, "op = 'not_in', value = ['OH', 'PA']", true),
        (eq, "op = 'begins_with', value = 'K'", true),
        (eq, "op = 'regex', value = '^(OH|KY)$'", false),
        (eq, "op = 'regex', value = '^(PA|KY)$'", true),
        (eq, "op = 'gt', value = 5", true),
        (eq, "op = 'eq', value = 'oh'", true),
        (eq, "op = 'eq', value = 'oh', ignore_case = true", false),
        ("op = 'eq', value = 'oh', ignore_case = true", "op = 'eq', value = 'PA'", true),
        (
            "op = 'eq', value = 'Oh', ignore_case = true",
            "op = 'in', value = ['oH'], ignore_case = true",
            false,
        ),
        (
            "op = 'eq', value = 'oh', ignore_case = true",
            "op = 'match', value = 'P*', ignore_case = true",
            true,
        ),
        // Letters of another case would be.
        ("op = 'eq', value = 'oh', ignore_case = true", "op = 'regex', value = '^O'", false),
        (eq, "op = 'required'", false),
        (eq, "op = 'required', not = true", true),
        ("op = 'required'", "op = 'required', not = true", true),
        ("op = 'eq', value = 'OH', on_missing = 'pass'", "op = 'eq', value = 'PA'", true),
        (
            "op = 'eq', value = 'OH', on_missing = 'pass'",
            "op = 'eq', value = 'PA', on_missing = 'pass'",
            false,
        ),
        ("op = 'eq', value = 'OH', on_missing = 'pass'", "op = 'required', not = true", false),
        ("op = 'eq', value = '43215'", "op = 'in_set', value = 'zips'", false),
        ("op = 'eq', value = '43216'", "op = 'in_set', value = 'zips'", true),
        ("op = 'gt', value = 80", "op = 'lt', value = 50", true),
        ("op = 'gt', value = 50", "op = 'le', value = 50", true),
        ("op = 'ge', value = 50", "op = 'le', value = 50", false),
        ("op = 'between', value = [50, 80]", "op = 'ge', value = 80", false),
        ("op = 'between', value = [50, 80]", "op = 'gt', value = 80", true),
        ("op = 'between', value = [50, 80]", "op = 'gt', value = 80, not = true", false),
        ("op = 'gt', value = 80", "op = 'ge', value = 50, not = true", true),
        ("op = 'gt', value = 80, not = true", "op = 'le', value = 80, not = true", true),
        ("op = 'ge', value = 80, not = true", "op = 'le', value = 50, not = true", false),
        ("op = 'between', value = [50, 80], not = true", "op = 'between', value = [60, 70]", false),
        ("op = 'eq', value = 81", "op = 'between', value = [50, 80]", true),
        ("op = 'contains', value = 'a'", "op = 'contains', value = 'a', not = true", true),
        ("op = 'contains', value = 'a'", "op = 'contains', value = 'b', not = true", false),
        ("op = 'in_set', value = 'zips'", "op = 'in_set', value = 'zips', not = true", true),
        (
            "op = 'regex', value = 'a'",
            "op = 'regex', value = 'a', not = true, ignore_case = true",
            false,
        ),
        ("op = 'begins_with', value = 'a'", "op = 'begins_with', value = 'b'", true),
        ("op = 'begins_with', value = 'a'", "op = 'begins_with', value = 'ab'", false),
        (
            "op = 'begins_with', value = 'a'",
            "op = 'begins_with', value = 'A', ignore_case = true",
            false,
        ),
        ("op = 'ends_with', value = 'a'", "op = 'ends_with', value = 'b'", true),
        ("op = 'ends_with', value = 'a'", "op = 'ends_with', value = 'b', not = true", false),
        ("op = 'eq', value = 'oh', ignore_case = true", "op = 'ge', value = 7", true),
        ("op = 'gt', value = 1", "op = 'lt', value = '2026-03-17'", true),
        (
            "[{ op = 'eq', value = 'OH' }, { op = 'eq', value = 'PA' }]",
            "op = 'eq', value = 'KY'",
            true,
        ),
        (
            "[{ op = 'eq', value = 'OH' }, { op = 'eq', value = 'KY' }]",
            "op = 'eq', value = 'KY'",
            false,
        ),
    ] {
        for (one, other) in [(one, other), (other, one)] {
            let beside = "{ tag = 'a', op = 'eq', value = 'b' }";
            let text = format!("all = [{beside}, {}, {beside}, {}]", rule(one), rule(other));
            let never = filters(&text).contradictions().collect::<Vec<_>>();
            assert_eq!(
                never,
                is_never.then_some((1, 3)).into_iter().collect::<Vec<_>>(),
                "{one} and {other}"
            );
        }
    }
}

#[test]
fn a_rule_may_demand_how_surely_a_place_is_known() {
    let geo = Geo::built_in();
    let (declared, nothing) = ([("geo.state".into(), "OH".into())].into(), Tags::new());
    let columbus = "+16145550163".parse().ok();
    let exchange_of_pierre = "+16052235016".parse().ok();
    for (demand, by_ping, by_npa, by_exchange) in [
        ("", Answer::Yes, Answer::Yes, Answer::No),
        (", min_basis = \"npa_nxx\"", Answer::Yes, Answer::Unsure, Answer::No),
        (", min_basis = \"declared\"", Answer::Yes, Answer::Unsure, Answer::Unsure),
        (", min_confidence = 0.5", Answer::Yes, Answer::Yes, Answer::No),
        (", min_confidence = 0.55", Answer::Yes, Answer::Unsure, Answer::No),
        (", min_confidence = 0.61, not = true", Answer::No, Answer::Unsure, Answer::Unsure),
    ] {
        let rule = format!(r#"tag = "geo.state", op = "eq", value = "OH"{demand}"#);
        let filter = compile(&rule).unwrap();
        assert_eq!(filter.check(&Facts::new(&declared, columbus, &geo)), by_ping, "{demand}");
        assert_eq!(filter.check(&Facts::new(&nothing, columbus, &geo)), by_npa, "{demand}");
        let facts = Facts::new(&nothing, exchange_of_pierre, &geo);
        assert_eq!(filter.check(&facts), by_exchange, "{demand}");
        assert_eq!(filter.check(&Facts::new(&nothing, None, &geo)), Answer::Missing, "{demand}");
    }
}

#[test]
fn rules_with_the_same_regular_expression_share_it() {
    let sets = sets();
    let mut patterns = Patterns::new();
    for _ in 0..3 {
        let text = r#"all = [
            { tag = "a", op = "regex", value = "^a+$" },
            { tag = "b", op = "regex", value = "^a+$" },
            { tag = "b", op = "regex", value = "^a+$", ignore_case = true },
        ]"#;
        compiled(text, Lookups { sets: &sets, patterns: &mut patterns }, &mut vec![]);
    }
    assert_eq!(patterns.len(), 2);
}

#[test]
fn a_rule_is_told_in_words() {
    let values: Vec<_> = (430..442).map(|n| format!("\"{n}\"")).collect();
    for (rule, words) in [
        (
            format!(r#"op = "in", value = [{}]"#, values.join(",")),
            "in 430, 431, 432, 433, 434, 435, 436, 437 and 4 more",
        ),
        (
            r#"op = "eq", value = "OH", not = true, ignore_case = true, on_missing = "pass""#
                .into(),
            "not eq OH in any case, or missing",
        ),
        (r#"op = "required""#.into(), "required"),
        (
            r#"tag = "geo.zip3", op = "begins_with", value = 43, min_basis = "npa_nxx", min_confidence = 0.6"#
                .into(),
            "begins_with 43, known by npa_nxx or better, 0.60 sure",
        ),
    ] {
        assert_eq!(compile(&rule).unwrap().want, words);
    }
}

fn compile(rule: &str) -> Result<Filter, Flaw> {
    let table: toml::Table = toml::from_str(&format!("rule = {{ {} }}", with_tag(rule))).unwrap();
    let mut known = Lookups { sets: &sets(), patterns: &mut Patterns::new() };
    Filter::compile(&table["rule"].clone().try_into().unwrap(), &mut known)
}

fn answer(filter: &Filter, tags: &Tags) -> Answer {
    filter.check(&Facts::new(tags, None, &Geo::built_in()))
}

fn with_tag(rule: &str) -> String {
    if rule.starts_with("tag") { rule.to_owned() } else { format!("tag = \"{TAG}\", {rule}") }
}

fn faults(text: &str) -> Vec<String> {
    let mut faults = vec![];
    let known = Lookups { sets: &sets(), patterns: &mut Patterns::new() };
    compiled(text, known, &mut faults);
    faults.iter().map(ToString::to_string).collect()
}

fn filters(text: &str) -> Filters {
    let mut faults = vec![];
    let known = Lookups { sets: &sets(), patterns: &mut Patterns::new() };
    let filters = compiled(text, known, &mut faults);
    assert_eq!(faults, []);
    filters
}

fn compiled(text: &str, known: Lookups<'_>, faults: &mut Vec<ConfigFault>) -> Filters {
    let Lookups { sets, patterns } = known;
    let config: FiltersConfig = toml::from_str(text).unwrap();
    let groups = config.all.iter().enumerate().map(|(n, entry)| {
        let known = Lookups { sets, patterns: &mut *patterns };
        Group::compile(entry, &format!("f.all[{n}]"), known, faults)
    });
    Filters { groups: groups.collect() }
}

fn sets() -> Sets {
    let mut zips = ValueSet::new(SetKind::Zip, false);
    zips.add("43215").unwrap();
    [("zips".into(), Arc::new(zips))].into()
}

fn tag(value: &str) -> Tags {
    [(TAG.into(), value.into())].into()
}
