//! Settings each of which could be meant, and not both.

use super::*;

#[test]
fn terms_that_no_call_lasts_long_enough_for_are_faults() {
    let told = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(SOUND.to_owned(), |text, (sound, changed)| {
            assert!(text.contains(sound), "{sound}");
            text.replace(sound, changed)
        });
        let faults = RoutingSnapshot::compile(config(&text), 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let conversion = |seconds, max_duration_s| {
        let lasts = format!("id = \"tgt_a\"\nmax_duration_s = {max_duration_s}\n");
        let converts = format!("start = \"on_answer\", seconds = {seconds}");
        told(&[("id = \"tgt_a\"\n", &lasts), ("start = \"on_answer\", seconds = 60", &converts)])
    };
    // It is hung up when it has lasted so long.
    assert_eq!(conversion(600, 600), Vec::<String>::new());
    assert_eq!(
        conversion(601, 600),
        ["targets[0].conversion.seconds = 601: is never reached: no call lasts longer than \
             max_duration_s, 600; write 600 or less, or raise max_duration_s"]
    );
    assert_eq!(
        told(&[("seconds = 60, revenue", "seconds = 14401, revenue")]).len(),
        1,
        "what is built in holds, too"
    );
    let of_buyer = ("[{ id = \"buy\" }]", "[{ id = \"buy\", max_duration_s = 59 }]");
    assert_eq!(told(&[of_buyer]).len(), 2, "and what the buyer says, also of the payout");

    let payout = |seconds: u32, more: &[(&str, &str)]| {
        let due = format!("\"24.00\", seconds = {seconds}");
        told(&[&[("\"24.00\", seconds = 60", due.as_str())][..], more].concat())
    };
    let first = ("id = \"tgt_a\"\n", "id = \"tgt_a\"\nmax_duration_s = 600\n");
    let second = ("id = \"tgt_b\"\n", "id = \"tgt_b\"\nmax_duration_s = 700\n");
    assert_eq!(payout(700, &[first, second]), Vec::<String>::new());
    assert_eq!(
        payout(701, &[first, second]),
        [
            "publishers[0].payouts[0].seconds = 701: is never reached: no call of campaign `cmp` lasts \
             longer than 700 s; write 700 or less, or raise max_duration_s of a target of it"
        ]
    );
    let third = "[[targets]]\nid = \"tgt_c\"\nbuyer = \"buy\"\n\
                 dial = { kind = \"sip\", uri = \"sip:127.0.0.1:5090\" }\n[[campaigns]]\n";
    let overflow =
        "publisher = \"pub_a\"\nno_route = { all_closed = { overflow = \"tgt_c\" } }\n    numbers";
    let overflow = [
        first,
        second,
        ("[[campaigns]]\n", third),
        ("publisher = \"pub_a\"\n    numbers", overflow),
    ];
    assert_eq!(payout(701, &overflow), Vec::<String>::new(), "calls may get there");
    assert_eq!(payout(14_401, &overflow).len(), 1);
}

#[test]
fn a_cap_of_all_calls_into_which_not_one_fits_is_a_fault() {
    let cap = |owner: &str, cap: &str| {
        let caps = format!("caps = [{{ window = 'daily', {cap} }}]");
        let terms = "buyer = \"buy\"\nconversion = { seconds = 60, revenue = \"41.00\" }\n";
        // The second target earns something, too.
        let (first, second) = SOUND.split_once("id = \"tgt_b\"\n").unwrap();
        let text =
            format!("{first}id = \"tgt_b\"\n{}", second.replacen("buyer = \"buy\"\n", terms, 1));
        let text = match owner {
            "account" => format!("account = {{ {caps} }}\n{text}"),
            owner => {
                let id = format!("id = \"{owner}\"");
                let sep = if owner == "cmp" { "\n" } else { ", " };
                assert!(text.contains(&id));
                text.replacen(&id, &format!("{id}{sep}{caps}"), 1)
            }
        };
        let faults = RoutingSnapshot::compile(config(&text), 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for owner in ["account", "buy", "pub_a", "cmp"] {
        for (sound, wrong, says) in [
            (
                "metric = 'revenue', limit = '41.00'",
                "metric = 'revenue', limit = '40.99'",
                "limit = 40.99: is less than one call at any target earns, 41.00; write 41.00 or more",
            ),
            (
                "metric = 'minutes', limit = 240",
                "metric = 'minutes', limit = 239",
                "limit = 239: is less than the longest call at any target takes, 240 minutes; write \
                 240 or more, or a lower max_duration_s",
            ),
        ] {
            assert_eq!(cap(owner, sound), Vec::<String>::new(), "{owner}");
            assert_eq!(
                cap(owner, &format!("{wrong}, mode = 'soft'")),
                Vec::<String>::new(),
                "{owner}"
            );
            let faults = cap(owner, wrong);
            assert!(faults.len() == 1 && faults[0].ends_with(says), "{owner}: {faults:?}");
        }
    }
}

#[test]
fn entries_of_a_target_s_filters_that_exclude_each_other_are_a_fault_where_they_stand() {
    let told = |filters: &str, sets: &str| {
        let text = SOUND.replace("id = \"tgt_a\"\n", &format!("id = \"tgt_a\"\n{filters}\n"));
        let faults = RoutingSnapshot::compile(config(&format!("{text}\n{sets}")), 1).err();
        faults.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let state = |op: &str| format!("{{ tag = 'geo.state', {op} }}");
    let all = |entries: &[String]| format!("filters = {{ all = [{}] }}", entries.join(", "));
    let [ohio, penn] = ["op = 'eq', value = 'OH'", "op = 'eq', value = 'PA'"].map(state);
    let age = String::from("{ tag = 'age', op = 'gt', value = 50 }");
    assert_eq!(told(&all(&[ohio.clone(), age.clone()]), ""), Vec::<String>::new());
    let either = format!("[{ohio}, {penn}]");
    assert_eq!(told(&all(&[either]), ""), Vec::<String>::new(), "one of them has to hold");
    let says = |second: &str, value: &str, first: &str| {
        format!(
            "{second} = geo.state {value}: lets nobody through whom {first}, geo.state eq OH, so \
             that no call could pass; leave one of them out, or make one list of both, of which one \
             has to hold"
        )
    };
    assert_eq!(
        told(&all(&[ohio.clone(), age.clone(), penn.clone()]), ""),
        [says("targets[0].filters.all[2]", "eq PA", "all[0] lets through")]
    );
    // What a set says stands elsewhere.
    let set = format!("[[filter_sets]]\nid = 'penn'\nall = [{age}, {penn}]");
    let named = String::from("{ set = 'penn' }");
    assert_eq!(
        told(&all(&[ohio.clone(), named]), &set),
        [says(
            "targets[0].filters.all[1]",
            "eq PA (entry 2 of the filter set penn)",
            "all[0] lets through"
        )]
    );
    let set = format!("[[filter_sets]]\nid = 'both'\nall = [{ohio}, {penn}]");
    let faults = told(&all(&[String::from("{ set = 'both' }")]), &set);
    assert_eq!(faults.len(), 1, "once: {faults:?}");
    assert!(faults[0].starts_with("filter_sets[0].all[1] = geo.state eq PA"), "{faults:?}");
    // An entry that is at fault itself excludes nobody.
    let faulty = String::from("{ tag = 'geo.state', op = 'eq', value = ['OH'] }");
    assert_eq!(told(&all(&[ohio, faulty]), "").len(), 1);
}

#[test]
fn a_floor_above_what_any_target_brings_is_a_fault() {
    let told = |of_campaign: &str, of_publisher: &str| {
        let price = |text: &str| match text {
            "" => String::new(),
            text => format!("price = {{ {text} }}"),
        };
        let text = SOUND
            .replace("id = \"cmp\"\n", &format!("id = \"cmp\"\n{}\n", price(of_campaign)))
            .replace(
                "{ id = \"pub_b\" }",
                &format!("{{ id = \"pub_b\", {} }}", price(of_publisher)),
            )
            .replace(", }", " }");
        let faults = RoutingSnapshot::compile(config(&text), 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none = Vec::<String>::new();
    let [least, more] = ["42.00", "42.01"].map(|it| format!("min_revenue = \"{it}\""));
    let says = "price.min_revenue = 42.01: is more than any target brings, 42.00, so that none is \
                called; write less, or raise conversion.revenue of a target";
    assert_eq!(told(&least, ""), none);
    assert_eq!(told("", &least), none);
    assert_eq!(told(&more, ""), [format!("campaigns[0].{says}")]);
    assert_eq!(told("", &more), [format!("publishers[1].{says}")]);
    assert_eq!(told(&more, &least), none, "the publisher's goes before it");
    let by_hour = "hourly = [{ min_revenue = \"1.00\", during = { always_open = true } }]";
    assert_eq!(told(&format!("{more}, {by_hour}"), ""), none, "at some hours");
    assert_eq!(told(by_hour, &more), none);
    // A call that no target takes may get to one that brings more.
    let overflow = "no_route = { none_match = { overflow = \"tgt_c\" } }";
    let third = "[[targets]]\nid = \"tgt_c\"\nbuyer = \"buy\"\n\
                 dial = { kind = \"sip\", uri = \"sip:127.0.0.1:5090\" }\n\
                 conversion = { seconds = 60, revenue = \"50.00\" }\n";
    let text = SOUND.replace("id = \"cmp\"\n", &format!("id = \"cmp\"\nprice = {{ {more} }}\n"));
    let with = |first: &str| {
        let text = text.replace("id = \"cmp\"\n", &format!("id = \"cmp\"\n{first}\n"));
        RoutingSnapshot::compile(config(&format!("{text}\n{third}")), 1).err().unwrap_or_default()
    };
    assert_eq!(with(overflow), []);
    assert_eq!(with("").len(), 1);
}
