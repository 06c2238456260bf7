//! Numbers, whose they are and what they may lead to.

use super::*;

#[test]
fn an_overflow_number_is_the_pool_s_own_or_one_of_its_campaign() {
    let faults = |setting: &str| {
        let config: RoutingConfig = toml::from_str(&format!(
            r#"
            publishers = [{{ id = "pub" }}, {{ id = "other" }}]
            buyers = [{{ id = "buy" }}]
            targets = [{{ id = "t", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }} }}]
            [[pools]]
            id = "pool"
            campaign = "cmp"
            publisher = "pub"
            numbers = ["+16145550101"]
            {setting}
            [[campaigns]]
            id = "cmp"
            numbers = [
                {{ number = "+18005550100", publisher = "pub" }},
                {{ number = "+18005550101", publisher = "other" }},
            ]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            "#
        ))
        .unwrap();
        let faults = RoutingSnapshot::compile(config, 1).err().unwrap_or_default();
        faults.into_iter().map(|it| (it.path, it.problem)).collect::<Vec<_>>()
    };
    for fine in ["+16145550140", "+18005550100"] {
        assert_eq!(faults(&format!("overflow_number = \"{fine}\"")), [], "{fine}");
    }
    for (setting, field, problem) in [
        ("overflow_number = \"+18005550101\"", "overflow_number", "another campaign or publisher"),
        ("overflow_number = \"+16145550101\"", "overflow_number", "is lent by a pool"),
        ("take_idle_after_s = 59", "take_idle_after_s", "out of range"),
        ("number_cost = \"-1.00\"", "number_cost", "is negative"),
    ] {
        let found = faults(setting);
        assert_eq!(found[0].0, format!("pools[0].{field}"));
        assert!(found.len() == 1 && found[0].1.contains(problem), "{found:?}");
    }
}

#[test]
fn a_number_leads_to_its_campaign_publisher_and_pool() {
    let snapshot = RoutingSnapshot::compile(config(SOUND), 7).unwrap();
    let owner = |number: &str| {
        snapshot.number(number.parse().unwrap()).map(|owner| {
            let pool = owner.pool.map(|pool| pool.id.to_string());
            (owner.campaign.id.as_str(), owner.publisher.id.as_str(), pool)
        })
    };
    assert_eq!(owner("+18005550100"), Some(("cmp", "pub_a", None)));
    assert_eq!(owner("+18005550149"), Some(("cmp", "pub_a", None)));
    assert_eq!(owner("+18005550199"), Some(("cmp", "pub_b", None)));
    assert_eq!(owner("+16145550101"), Some(("cmp", "pub_b", Some("pool".into()))));
    assert_eq!(owner("+18005550099"), None);
    assert_eq!(owner("+18005550150"), None);
    assert_eq!(owner("+16145550100"), None);
    assert_eq!(snapshot.revision(), 7);
}

#[test]
fn a_number_inside_a_long_range_is_found_behind_a_short_one() {
    let text = SOUND.replace(
        "\"+18005550100-+18005550149\",",
        "\"+18005550100-+18005550149\", \"+18005550110\", \"+18005550120\",",
    );
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["campaigns[0].numbers[1]", "campaigns[0].numbers[2]"]);
}

#[test]
fn calls_whose_session_nobody_can_tell_go_by_a_static_number_of_their_trunk_s_publisher() {
    let with = |account: &str, own: &str, of_a: &str| {
        let text = format!(
            "account = {{ {account} }}\ntrunks = [{{ id = 'own', {own} }}, \
             {{ id = 'of_a', publisher = 'pub_a', {of_a} }}, {{ id = 'other' }}]\n{SOUND}"
        );
        RoutingSnapshot::compile(config(&text), 1)
    };
    let number = |digits: &str| format!("stand_in_number = '+1800555{digits}'");
    let snapshot = with(&number("0199"), &number("0101"), "").unwrap();
    let over = |trunk: &str| snapshot.stand_in_over(&trunk.into()).map(PhoneNumber::to_e164);
    assert_eq!(over("own").as_deref(), Some("+18005550101"));
    assert_eq!(over("other").as_deref(), Some("+18005550199"), "what the account says");
    assert_eq!(over("of_a"), None, "it is a number of `pub_b`");

    let told = |account: &str, of_a: &str| -> Vec<String> {
        let faults = with(account, "", of_a).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told("", &number("0149")), [""; 0]);
    assert_eq!(
        told("stand_in_number = '+16145550101'", &number("0199")),
        [
            "trunks[1].stand_in_number = +18005550199: is not a number of the trunk's publisher; name \
             one of the publisher's own, or leave it out",
            "account.stand_in_number = +16145550101: is no static number of a campaign; add it to \
             `numbers` of one, or name another",
        ]
    );
}

#[test]
fn limits_of_numbers_that_cannot_be_meant_are_faults() {
    let cap = "caps = [{ metric = 'offered', window = 'daily', limit = 5 }]";
    let told = |numbers: &[(&str, &str)]| -> Vec<String> {
        let numbers = numbers.iter();
        let numbers = numbers.map(|(n, more)| format!("[[numbers]]\nnumber = '{n}'\n{more}\n"));
        let text = SOUND.to_owned() + &numbers.collect::<String>();
        let faults = RoutingSnapshot::compile(config(&text), 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    let sound = [("+18005550100-+18005550149", cap), ("+18005550199", cap), ("+16145550101", cap)];
    assert_eq!(told(&sound), [""; 0]);
    for (numbers, says) in [
        (
            vec![("+18005550100", "")],
            "numbers[0] = +18005550100: limits nothing; add `caps` or `concurrency`, or leave it out",
        ),
        (
            vec![("+18005550149-+18005550150", cap)],
            "numbers[0].number = +18005550149-+18005550150: is dialled by no call: no campaign and no \
             pool has all of it; write it among `numbers` of one, or correct it",
        ),
        (
            vec![("+18005550100-+18005550120", cap), ("+18005550120", cap)],
            "numbers[1].number = +18005550120: has limits already in numbers[0]; put the limits of \
             both into one",
        ),
        (
            vec![("800", cap)],
            "numbers[0].number = 800: has 3 digits; E.164 allows 7 to 15; write +18005550100 or \
             +18005550100-+18005550149",
        ),
        (
            vec![("+18005550100", "caps = [{ metric = 'pinged', window = 'daily', limit = 5 }]")],
            "numbers[0].caps[0].metric = pinged: is counted only of the account, publishers and \
             campaigns; write attempted, or put the cap there",
        ),
    ] {
        assert_eq!(told(&numbers), [says]);
    }
    // A wide range between narrow ones, of which each is at fault by the one before it in the file.
    let among = [
        ("+18005550120", cap),
        ("+18005550100-+18005550149", cap),
        ("+18005550140", cap),
        ("+18005550101", cap),
    ];
    let already = |n: usize, number: &str, first: usize| {
        format!(
            "numbers[{n}].number = {number}: has limits already in numbers[{first}]; put the limits \
             of both into one"
        )
    };
    let mut found = told(&among);
    found.sort();
    let expected = [
        already(1, "+18005550100-+18005550149", 0),
        already(2, "+18005550140", 1),
        already(3, "+18005550101", 1),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_number_that_belongs_to_no_publisher_is_a_fault() {
    let text = SOUND.replace("    publisher = \"pub_a\"\n", "");
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    assert_eq!(faults[0].path, "campaigns[0].numbers[0]");
    assert_eq!(faults[0].problem, "belongs to no publisher");
}
