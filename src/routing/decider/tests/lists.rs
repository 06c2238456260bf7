//! Callers who are on lists (spec/domain §2.4).

use super::*;
use crate::routing::config::{ConfigFault, SecretKey};
use crate::routing::counterfactual::counterfactuals;
use crate::routing::course::Course;
use crate::routing::revision;

const LISTED: &str = "+16145550188";
const OTHER: &str = "+16145550199";
/// SHA-256 of the first.
const SHA: &str = "39e49c2313b7c931f2a6f1f906160047f346a8655049f8fe6752d19b44de3036";
/// HMAC-SHA-256 of the first with the key `pepper`.
const HMAC: &str = "6d378ad46d36264c01750da0adaab462e0d7a0915aa48b3184288f25ecaf1ba4";

#[test]
fn a_list_keeps_its_callers_from_whoever_names_it() {
    let block = r#"{ id = "l", kind = "block", callers = ["+16145550188"] }"#;
    let litigator =
        r#"{ id = "l", kind = "block", category = "litigator", callers = [16145550188] }"#;
    let suppress = r#"{ id = "l", kind = "suppress", callers = ["+1 (614) 555-0188"] }"#;
    let accept = r#"{ id = "l", kind = "accept", callers = ["+16145550188"] }"#;
    let all = vec!["a", "b", "c"];
    let of_call = |refused| (vec![], Some(refused));
    let to = |targets: &[&'static str]| (targets.to_vec(), None);
    let blocked = Reason::BlockedCaller;
    for (list, named_by, listed, other, nobody) in [
        (block, "", of_call(blocked), to(&all), to(&all)),
        (litigator, "", of_call(Reason::Litigator), to(&all), to(&all)),
        (suppress, "", to(&all), to(&all), to(&all)),
        (suppress, "campaign", of_call(Reason::SuppressionList), to(&all), to(&all)),
        (suppress, "buyer", to(&["c"]), to(&all), to(&all)),
        (suppress, "target", to(&["b", "c"]), to(&all), to(&all)),
        (
            accept,
            "campaign",
            to(&all),
            of_call(Reason::SuppressionList),
            of_call(Reason::SuppressionList),
        ),
        (accept, "buyer", to(&all), to(&["c"]), to(&["c"])),
        (accept, "target", to(&all), to(&["b", "c"]), to(&["b", "c"])),
    ] {
        let snapshot = snapshot(&config(list, named_by));
        for (caller, outcome) in
            [(LISTED.parse().ok(), &listed), (OTHER.parse().ok(), &other), (None, &nobody)]
        {
            let request = RouteRequest { caller, ..request("+18005550100") };
            let decision = decided(&snapshot, &request);
            let took = (targets_of(&decision), decision.refused);
            assert_eq!(took, (outcome.0.clone(), outcome.1), "{list} {named_by} {caller:?}");
            is_replayed_without_the_list(list, named_by, &request, &decision);
        }
    }
}

#[test]
fn a_caller_is_looked_for_in_each_list_as_it_names_callers() {
    let numbers = r#"{ id = "n", kind = "block", callers = ["+16145550199"] }"#;
    let hashes = format!(r#"{{ id = "h", kind = "block", hash = "sha256", callers = ["{SHA}"] }}"#);
    for lists in [format!("{numbers}, {hashes}"), format!("{hashes}, {numbers}")] {
        let snapshot = snapshot(&config(&lists, ""));
        for (caller, refused) in [
            (LISTED, Some(Reason::BlockedCaller)),
            (OTHER, Some(Reason::BlockedCaller)),
            ("+16145550100", None),
        ] {
            let request = RouteRequest { caller: caller.parse().ok(), ..request("+18005550100") };
            assert_eq!(decided(&snapshot, &request).refused, refused, "{caller} on {lists}");
        }
    }
}

#[test]
fn a_refusal_names_the_list_and_what_would_have_been() {
    let suppress = r#"{ id = "customers", kind = "suppress", callers = ["+16145550188"] }"#;
    let snapshot = snapshot(&config(suppress, "target").replace("\"l\"", "\"customers\""));
    let request = RouteRequest { caller: LISTED.parse().ok(), ..request("+18005550100") };
    let decision = decided(&snapshot, &request);
    let said = decision.explain_first(2).join("\n");
    let why = "a: not dialled; a list of callers leaves the caller out (suppression.list): customers \
               has listed, not listed";
    assert!(said.contains(why), "{said}");
    let record = DecisionRecord::new(&request, Known::default(), &decision);
    let otherwise: Vec<_> = counterfactuals(&snapshot, &record, &Course::default())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(otherwise, ["a: would have been called if: the caller not on the list customers"]);
}

#[test]
fn an_entry_ends_after_its_last_day() {
    let list = r#"{ id = "l", kind = "block", callers = ["+16145550188,2026-03-17"] }"#;
    let snapshot = snapshot(&config(list, ""));
    let midnight =
        Wall("2026-03-18T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let refused = |at| {
        let request = RouteRequest { caller: LISTED.parse().ok(), at, ..request("+18005550100") };
        decided(&snapshot, &request).refused
    };
    assert_eq!(refused(Wall(midnight.0 - 1)), Some(Reason::BlockedCaller));
    assert_eq!(refused(midnight), None);
}

#[test]
fn a_file_of_hashes_is_read_with_its_key() {
    let list =
        r#"{ id = "l", kind = "block", file = "l.txt", hash = "hmac-sha256", key_env = "K" }"#;
    let text = config(list, "");
    let mut config: RoutingConfig = toml::from_str(&text).unwrap();
    let hashed =
        "# customers\n\n00DB6C2B5D33F96A4E44FE5E9A3F76AB7E25CEBE4D0BBA41EF2A9CDF5A3B7E51\nHASH\n";
    config.texts = [("l.txt".into(), Ok(hashed.replace("HASH", HMAC)))].into();
    config.keys = [("K".into(), SecretKey::new("pepper"))].into();
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    assert_eq!(snapshot.lists().sizes().collect::<Vec<_>>(), [(&"l".into(), 2)]);
    let request = RouteRequest { caller: LISTED.parse().ok(), ..request("+18005550100") };
    assert_eq!(decided(&snapshot, &request).refused, Some(Reason::BlockedCaller));
}

#[test]
fn what_is_wrong_with_a_list_is_told_without_its_callers() {
    let none = "";
    for (list, named_by, path, problem) in [
        (r#"{ id = "l", kind = "block" }"#, none, "", "is a list of nobody"),
        (
            r#"{ id = "l", kind = "block", callers = ["614-555"] }"#,
            none,
            ".callers[0]",
            "is no telephone number",
        ),
        (
            r#"{ id = "l", kind = "block", callers = ["+16145550188,soon"] }"#,
            none,
            ".callers[0]",
            "has no date such as 2026-12-31 after its comma",
        ),
        (
            r#"{ id = "l", kind = "block", hash = "sha256", callers = ["+16145550188"] }"#,
            none,
            ".callers[0]",
            "is no hash of 64 hexadecimal digits",
        ),
        (
            r#"{ id = "l", kind = "block", hash = "hmac-sha256", callers = [] }"#,
            none,
            ".hash",
            "needs a key",
        ),
        (
            r#"{ id = "l", kind = "block", hash = "sha256", key_env = "K", callers = [] }"#,
            none,
            ".key_env",
            "is not set in the environment, or empty",
        ),
        (
            r#"{ id = "l", kind = "block", key_env = "K", callers = [] }"#,
            none,
            ".key_env",
            "has no use without `hash`",
        ),
        (
            r#"{ id = "l", kind = "block", form = "digits", callers = [] }"#,
            none,
            ".form",
            "is said of numbers that are not hashed",
        ),
        (
            r#"{ id = "l", kind = "suppress", category = "litigator", callers = [] }"#,
            none,
            ".category",
            "is said of a list that blocks nobody",
        ),
        (
            r#"{ id = "l", kind = "accept", callers = [] }"#,
            none,
            "",
            "accepts nobody, as it is empty",
        ),
        (
            r#"{ id = "l", kind = "block", file = "l.txt" }"#,
            none,
            ".file",
            "line 2 is no telephone number",
        ),
        (
            r#"{ id = "l", kind = "block", file = "gone.txt", callers = [] }"#,
            none,
            ".file",
            "stands beside `callers`",
        ),
    ] {
        let faults = faults(list, named_by);
        let path = format!("caller_lists[0]{path}");
        let found = faults.iter().find(|fault| fault.path == path);
        assert_eq!(found.map(|fault| fault.problem.as_str()), Some(problem), "{list}: {faults:?}");
        let told = faults.iter().map(ToString::to_string).collect::<String>();
        assert!(!told.contains("614"), "{told}");
    }
    let block = r#"{ id = "l", kind = "block", callers = [] }"#;
    for (named_by, path) in
        [("campaign", "campaigns[0].callers.lists[0]"), ("buyer", "buyers[0].lists[0]")]
    {
        let faults = faults(block, named_by);
        assert_eq!(faults[0].path, path);
        assert_eq!(faults[0].problem, "is a list that holds for every call");
    }
    let unknown = faults(&block.replace("\"l\"", "\"lst\""), "target");
    assert_eq!(
        unknown[0].to_string(),
        "targets[0].lists[0] = l: names no list of callers; did you mean `lst`?"
    );
}

/// A configuration that is kept has no callers, and the record says who was found.
fn is_replayed_without_the_list(
    list: &str,
    named_by: &str,
    request: &RouteRequest,
    decision: &Decision,
) {
    let config: RoutingConfig = toml::from_str(&config(list, named_by)).unwrap();
    let document = revision::pack(&config);
    let text = String::from_utf8_lossy(&lz4_flex::decompress_size_prepended(&document).unwrap())
        .into_owned();
    assert!(!text.contains("6145550188") && !text.contains("555-0188"), "{text}");
    let kept = revision::compile(&document, 1).unwrap();
    let record = DecisionRecord::new(request, Known::default(), decision);
    assert_eq!(replay(&kept, &record).difference, None);
    // Another list is another configuration.
    let other = list.replace("188", "187");
    let other: RoutingConfig = toml::from_str(&self::config(&other, named_by)).unwrap();
    assert_ne!(revision::pack(&other), document);
}

fn faults(list: &str, named_by: &str) -> Vec<ConfigFault> {
    let mut config: RoutingConfig = toml::from_str(&config(list, named_by)).unwrap();
    let text = "+16145550188\n614-555\n";
    config.texts = [("l.txt".into(), Ok(text.into()))].into();
    RoutingSnapshot::compile(config, 1).unwrap_err()
}

fn decided(snapshot: &RoutingSnapshot, request: &RouteRequest) -> Decision {
    decide(snapshot, request, Known::default(), &nothing_used(), &mut Rotation::default())
}

/// `list` is named by the campaign, by the buyer of `a` and `b`, by the target `a`, or by nobody.
fn config(list: &str, named_by: &str) -> String {
    let names = |whom| if named_by == whom { "lists = [\"l\"]" } else { "" };
    format!(
        r#"
        caller_lists = [{list}]
        publishers = [{{ id = "p" }}]
        [[buyers]]
        id = "one"
        {}
        [[buyers]]
        id = "two"
        [[targets]]
        id = "a"
        buyer = "one"
        dial = {{ kind = "sip", uri = "sip:a" }}
        {}
        [[targets]]
        id = "b"
        buyer = "one"
        dial = {{ kind = "sip", uri = "sip:b" }}
        [[targets]]
        id = "c"
        buyer = "two"
        dial = {{ kind = "sip", uri = "sip:c" }}
        [[campaigns]]
        id = "cmp"
        publisher = "p"
        numbers = ["+18005550100"]
        callers = {{ {} }}
        routing = {{ tiers = [
            {{ tier = 1, targets = [{{ target = "a" }}] }},
            {{ tier = 2, targets = [{{ target = "b" }}] }},
            {{ tier = 3, targets = [{{ target = "c" }}] }},
        ] }}
        "#,
        names("buyer"),
        names("target"),
        names("campaign"),
    )
}
