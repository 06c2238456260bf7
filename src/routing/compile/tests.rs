//! What is resolved, and every fault that is found.

use std::collections::BTreeMap;

use super::*;
use crate::id::{CampaignId, PublisherId};
use crate::routing::decision::{PlannedAttempt, Terms};
use crate::routing::facts::Facts;
use crate::routing::hold::{Bucket, Counts};
use crate::routing::performance::Scope;
use crate::routing::request::Usage;
use crate::routing::snapshot::{CallScope, Cap, Mode, PaceRate, Pacing};
use crate::time::Wall;

const UNUSED: BTreeMap<Bucket, Usage> = BTreeMap::new();
/// 2026-11-22T03:16:30Z: still the 21st in New York.
const EVENING: Wall = Wall(1_795_317_390_000);

const SOUND: &str = r#"
    publishers = [
        { id = "pub_a", payouts = [{ campaign = "cmp", amount = "24.00", seconds = 60 }],
          price = { allow_loss = true } },
        { id = "pub_b" },
    ]
    buyers = [{ id = "buy" }]

    [[targets]]
    id = "tgt_a"
    buyer = "buy"
    dial = { kind = "sip", uri = "sip:127.0.0.1:5070" }
    caps = [{ metric = "connected", window = "daily", limit = 80 }]
    concurrency = { limit = 8, count_from = "invite" }
    schedule = { time_zone = "America/New_York", always_open = true }
    conversion = { on = "call_length", start = "on_answer", seconds = 60, revenue = "42.00" }

    [[targets]]
    id = "tgt_b"
    buyer = "buy"
    dial = { kind = "sip", uri = "sip:127.0.0.1:5080" }

    [[campaigns]]
    id = "cmp"
    publisher = "pub_a"
    numbers = [
        "+18005550100-+18005550149",
        { number = "+18005550199", publisher = "pub_b" },
    ]
    [[campaigns.routing.tiers]]
    tier = 2
    targets = [{ target = "tgt_b" }]
    [[campaigns.routing.tiers]]
    tier = -1
    targets = [{ target = "tgt_a", weight = 70 }]

    [[pools]]
    id = "pool"
    campaign = "cmp"
    publisher = "pub_b"
    numbers = ["+16145550101"]
"#;

const DIAL: &str = "dial = { kind = \"sip\", uri = \"sip:127.0.0.1:5070\" }";

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
fn tiers_stand_in_their_order_and_payouts_by_campaign() {
    let snapshot = RoutingSnapshot::compile(config(SOUND), 1).unwrap();
    let campaign = snapshot.campaign(&CampaignId::new("cmp")).unwrap();
    assert_eq!(campaign.tiers.iter().map(|tier| tier.tier).collect::<Vec<_>>(), [-1, 2]);
    let publisher = snapshot.publisher(&PublisherId::new("pub_a")).unwrap();
    let payout = publisher.payouts[&campaign.id];
    assert_eq!((payout.amount.to_string(), payout.seconds), ("24.00".into(), Some(60)));
}

#[test]
fn a_target_asks_for_room_in_the_windows_of_its_zone() {
    let snapshot = RoutingSnapshot::compile(config(SOUND), 1).unwrap();
    let holds = snapshot.holds(&attempt("tgt_a"), attempt("tgt_a").terms, None, EVENING, &UNUSED);
    let buckets: Vec<_> =
        holds.iter().map(|h| (h.bucket.cap.as_str(), h.bucket.window.as_str(), h.limit)).collect();
    assert_eq!(
        buckets,
        [
            ("target/tgt_a/connected/daily", "d:2026-11-21", 80),
            ("target/tgt_a/concurrency", "live", 8),
        ]
    );
}

#[test]
fn every_fault_is_found_with_its_place_and_a_remedy() {
    let cases = [
        ("id = \"pub_b\" }", "id = \"pub_a\" }", "publishers[1].id"),
        (
            "campaign = \"cmp\", amount",
            "campaign = \"cmq\", amount",
            "publishers[0].payouts[0].campaign",
        ),
        ("\"24.00\"", "\"-24.00\"", "publishers[0].payouts[0].amount"),
        (
            "buyers = [{ id = \"buy\" }]",
            "buyers = [{ id = \"\" }, { id = \"buy\" }]",
            "buyers[0].id",
        ),
        ("sip:127.0.0.1:5070", "http://x", "targets[0].dial.uri"),
        (DIAL, "dial = []", "targets[0].dial"),
        (
            DIAL,
            "dial = [{ kind = \"sip\", uri = \"sip:a\" }, { kind = \"sip\", uri = \"http:b\" }]",
            "targets[0].dial[1].uri",
        ),
        (
            DIAL,
            "dial = [{ kind = \"sip\", uri = \"sip:a\", trunk = \"nobody\" }]",
            "targets[0].dial[0].trunk",
        ),
        (
            DIAL,
            "dial = { kind = \"sip\", uri = \"sip:a\", weight = 1001 }",
            "targets[0].dial.weight",
        ),
        ("limit = 80", "limit = 0", "targets[0].caps[0].limit"),
        ("limit = 8,", "limit = 0,", "targets[0].concurrency.limit"),
        ("America/New_York", "New York", "targets[0].schedule.time_zone"),
        ("buyers = [", "history = { callers_max = 999 }\nbuyers = [", "history.callers_max"),
        ("buyers = [", "history = { calls_max = 1 }\nbuyers = [", "history.calls_max"),
        ("buyers = [", "account = { time_zone = \"Mars\" }\nbuyers = [", "account.time_zone"),
        (
            "buyers = [",
            "account = { caps = [{ metric = \"minutes\", window = \"daily\", limit = 0 }] }\nbuyers = [",
            "account.caps[0].limit",
        ),
        (
            "buyers = [",
            "account = { concurrency = { limit = 0 } }\nbuyers = [",
            "account.concurrency.limit",
        ),
        ("\"42.00\"", "\"-1\"", "targets[0].conversion.revenue"),
        ("id = \"tgt_b\"", "id = \"tgt_b\"\nring_timeout_s = 0", "targets[1].ring_timeout_s"),
        ("id = \"cmp\"\n", "id = \"cmp\"\nmax_attempts = 0\n", "campaigns[0].max_attempts"),
        ("id = \"cmp\"\n", "id = \"cmp\"\nadvance_on = [200]\n", "campaigns[0].advance_on[0]"),
        ("publisher = \"pub_a\"", "publisher = \"pub_c\"", "campaigns[0].publisher"),
        ("-+18005550149", "-+18005550099", "campaigns[0].numbers[0]"),
        ("-+18005550149", "-+28005550149", "campaigns[0].numbers[0]"),
        ("\"+18005550199\"", "\"+18005550149\"", "campaigns[0].numbers[1]"),
        ("[\"+16145550101\"]", "[\"+18005550123\"]", "pools[0].numbers[0]"),
        ("[\"+16145550101\"]", "[]", "pools[0].numbers"),
        ("weight = 70", "weight = 1001", "campaigns[0].routing.tiers[1].targets[0].weight"),
        (
            "[{ target = \"tgt_b\" }]",
            "[{ target = \"tgt_c\" }]",
            "campaigns[0].routing.tiers[0].targets[0].target",
        ),
        (
            "[{ target = \"tgt_b\" }]",
            "[{ target = \"tgt_a\" }]",
            "campaigns[0].routing.tiers[1].targets[0].target",
        ),
        ("[{ target = \"tgt_b\" }]", "[]", "campaigns[0].routing.tiers[0].targets"),
        ("tier = 2", "tier = -1", "campaigns[0].routing.tiers[1].tier"),
    ];
    for (sound, faulty, path) in cases {
        assert!(SOUND.contains(sound), "{sound}");
        let faults = RoutingSnapshot::compile(config(&SOUND.replacen(sound, faulty, 1)), 1);
        let faults = faults.expect_err(faulty);
        assert!(faults.iter().any(|fault| fault.path == path), "{path}: {faults:?}");
        assert!(faults.iter().all(|fault| !fault.remedy.is_empty()));
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = SOUND
        .replace("limit = 80", "limit = 0")
        .replace("America/New_York", "Mars")
        .replace("id = \"pool\"\n    campaign = \"cmp\"", "id = \"pool\"\n    campaign = \"x\"");
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "targets[0].schedule.time_zone = Mars: is no known time zone; write an IANA name such as America/New_York",
            "targets[0].caps[0].limit = 0: is out of range; write 1 or more, or leave it out for no limit",
            "pools[0].campaign = x: names no campaign of this configuration; add the campaign, or correct the name",
        ]
    );
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

#[test]
fn a_call_asks_for_the_most_it_may_come_to_wherever_it_counts() {
    let text = SOUND
        .replace("{ id = \"buy\" }", "{ id = \"buy\", caps = [REVENUE] }")
        .replace("{ id = \"pub_b\" }", "{ id = \"pub_b\", caps = [PAYOUT] }")
        .replace("id = \"cmp\"\n", "id = \"cmp\"\ncaps = [MINUTES]\n")
        + "[[trunks]]\nid = \"trk\"\nmax_cps = 5\ncaps = [CONVERTED]";
    let text = text
        .replace("REVENUE", "{ metric = 'revenue', window = 'daily', limit = '6000.00' }")
        .replace("PAYOUT", "{ metric = 'payout', window = 'monthly', limit = '150.00' }")
        .replace("CONVERTED", "{ metric = 'converted', window = 'total', limit = 9 }")
        .replace(
            "MINUTES",
            "{ metric = 'minutes', window = 'daily', limit = 600, time_zone = 'America/New_York' }",
        );
    let snapshot = RoutingSnapshot::compile(config(&text), 1).unwrap();
    let scope = CallScope {
        campaign: "cmp".into(),
        publisher: "pub_b".into(),
        trunk: "trk".into(),
        number: "+18005550149".parse().unwrap(),
    };

    let holds =
        snapshot.holds(&attempt("tgt_b"), attempt("tgt_b").terms, Some(&scope), EVENING, &UNUSED);

    let asked: Vec<_> = holds
        .iter()
        .map(|it| {
            (it.bucket.cap.as_str(), it.bucket.window.as_str(), it.counts, it.limit, it.amount)
        })
        .collect();
    assert_eq!(
        asked,
        [
            ("buyer/buy/revenue/daily", "d:2026-11-22", Counts::Revenue, 6_000_000_000, 42_000_000),
            ("campaign/cmp/minutes/daily", "d:2026-11-21", Counts::Talk, 36_000_000, 90_000),
            (
                "publisher/pub_b/payout/monthly",
                "m:2026-11",
                Counts::Payout,
                150_000_000,
                24_000_000
            ),
            ("trunk/trk/converted/total", "total", Counts::Converted, 9, 1),
        ]
    );
    let holds = snapshot.holds(&attempt("tgt_b"), None, Some(&scope), EVENING, &UNUSED);
    assert!(holds.iter().all(|it| matches!(it.counts, Counts::Talk | Counts::Converted)));
    assert!(snapshot.caps_calls());
}

#[test]
fn amounts_that_could_not_be_added_up_are_faults_all_of_them_at_once() {
    let text = SOUND
        .replace("\"24.00\"", "\"9000.01\"")
        .replace("\"42.00\"", "\"9000000000000.00\"")
        .replace("{ id = \"buy\" }", "{ id = \"buy\", credit = { limit = \"2000000000.00\" } }");
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let fault = |field: &str, value: &str, max: &str| {
        format!("{field} = {value}: is more than is reckoned with, {max}; write {max} or less")
    };
    assert_eq!(
        told,
        [
            fault("publishers[0].payouts[0].amount", "9000.01", "9000.00"),
            fault("buyers[0].credit.limit", "2000000000.00", "1000000000.00"),
            fault("targets[0].conversion.revenue", "9000000000000.00", "9000.00"),
        ]
    );
    let calls = 1_000_000_000_i64;
    assert!(crate::money::Money::OF_A_CALL_MAX.0.checked_mul(calls).is_some());
}

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
fn a_cap_that_cannot_be_meant_is_a_fault_with_its_remedy() {
    let cases = [
        (
            "'revenue'",
            "6000",
            "limit = 6000: is no amount of money; write it in quotes, as \"6000.00\"",
        ),
        ("'revenue'", "'0.00'", "limit = 0.00: is out of range"),
        (
            "'payout'",
            "'1000000000.01'",
            "limit = 1000000000.01: is more than is reckoned with, 1000000000.00; write \
             1000000000.00 or less",
        ),
        ("'revenue'", "'41.99'", "limit = 41.99: is less than one call earns, 42.00; write 42.00"),
        (
            "'minutes'",
            "'9.50'",
            "limit = 9.50: is an amount of money; write a whole number of minutes",
        ),
        ("'converted'", "'9.50'", "write a whole number of calls"),
        ("'minutes'", "0", "limit = 0: is out of range"),
        ("'minutes'", "239", "limit = 239: is less than the longest call takes, 240 minutes"),
        ("'minutes'", "240, time_zone = 'Mars'", "time_zone = Mars: is no known time zone"),
    ];
    for (metric, limit, says) in cases {
        let cap = format!("{{ metric = {metric}, window = \"daily\", limit = {limit} }}");
        let text =
            SOUND.replace("{ metric = \"connected\", window = \"daily\", limit = 80 }", &cap);
        let faults = RoutingSnapshot::compile(config(&text), 1).expect_err(&cap);
        let fault = faults[0].to_string();
        assert!(fault.starts_with("targets[0].caps[0].") && fault.contains(says), "{fault}");
    }
    let text = SOUND.replace(
        "\"connected\", window = \"daily\", limit = 80",
        "\"revenue\", window = \"daily\", limit = \"80.00\"",
    );
    let text = text.replace("    conversion = { on = \"call_length\", start = \"on_answer\", seconds = 60, revenue = \"42.00\" }\n", "");
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    assert_eq!(faults[0].problem, "is not counted for a target without `conversion`");
}

#[test]
fn a_set_that_cannot_be_meant_is_a_fault_that_names_file_and_line() {
    let texts = [
        ("zips.txt", Ok("# Columbus\r\n43215\n\n  43216-43219\n2134\n43215x # no\n".to_owned())),
        ("many.txt", Ok("x\n".repeat(12))),
        ("none.txt", Err("No such file or directory (os error 2)".to_owned())),
        ("empty.txt", Ok("# nothing\n".to_owned())),
    ];
    let texts: BTreeMap<_, _> = texts.into_iter().map(|(name, text)| (name.into(), text)).collect();
    let told = |sets: &str| -> Vec<String> {
        let mut config =
            config(&SOUND.replacen("publishers", &format!("sets = [{sets}]\npublishers"), 1));
        config.texts = texts.clone();
        let faults = RoutingSnapshot::compile(config, 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    for (set, says) in [
        (
            "{ id = 's', kind = 'zip' }",
            "sets[0] = s: is a set of nothing; write `values`, or name a `file`",
        ),
        (
            "{ id = 's', kind = 'zip', values = ['43215'], file = 'zips.txt' }",
            "sets[0].file = zips.txt: stands beside `values`; keep one of the two",
        ),
        (
            "{ id = 's', kind = 'zip', values = [2134] }",
            "sets[0].values[0] = 2134: is no ZIP code of five digits; write one such as \"43215\", in quotes, or a range such as \"43000-43299\"",
        ),
        (
            "{ id = 's', kind = 'text', values = [] }",
            "sets[0] = s: is empty, so that nothing is in it; add a value",
        ),
        (
            "{ id = 's', kind = 'text', file = 'empty.txt' }",
            "sets[0] = s: is empty, so that nothing is in it; add a value",
        ),
        (
            "{ id = 's', kind = 'npa', values = ['614'], ignore_case = true }",
            "sets[0].ignore_case = true: has no meaning for the kind `npa`; leave it out",
        ),
        (
            "{ id = 's', kind = 'text', file = 'none.txt' }",
            "sets[0].file = none.txt: cannot be read: No such file or directory (os error 2); name a text file; a relative path starts at the working directory",
        ),
        (
            "{ id = 's', kind = 'text', file = 'x' }",
            "sets[0].file = x: was not read; hand over its text",
        ),
        (
            "{ id = 's', kind = 'text', values = 'a' }, { id = 's', kind = 'text', values = 'b' }",
            "sets[1].id = s: is the name of sets[0] already; give each its own name",
        ),
    ] {
        assert_eq!(told(set), [says], "{set}");
    }
    let faults = told("{ id = 's', kind = 'zip', file = 'zips.txt' }");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("sets[0].file = zips.txt: line 5: `2134` is no ZIP code"));
    assert!(faults[1].contains("line 6: `43215x # no`"));
    let faults = told("{ id = 's', kind = 'npa', file = 'many.txt' }");
    assert_eq!(faults.len(), 11);
    assert_eq!(faults[10], "sets[0].file = many.txt: has 2 more such lines; correct them too");
}

#[test]
fn a_filter_names_a_set_of_a_file() {
    let text = SOUND
        .replacen("publishers", "sets = [{ id = 's', kind = 'zip', file = 'f' }]\npublishers", 1)
        .replace(
            "id = \"tgt_b\"",
            "id = \"tgt_b\"\nfilters.all = [{ tag = 'geo.zip', op = 'in_set', value = 's' }]",
        );
    let mut config = config(&text);
    assert_eq!(config.files().collect::<Vec<_>>(), [std::path::Path::new("f")]);
    config.texts.insert("f".into(), Ok("43215\n".into()));
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    let filters = &snapshot.target(&"tgt_b".into()).unwrap().filters;
    let check = |zip: &str| {
        let tags = [("geo.zip".into(), zip.into())].into();
        filters.groups[0].check(&Facts::new(&tags, None, &snapshot.geo)).is_ok()
    };
    assert!(check("43215") && !check("43216"));
}

#[test]
fn a_file_of_places_that_cannot_be_meant_is_a_fault_that_names_the_line() {
    let told = |text: &str| -> Vec<String> {
        let mut config =
            config(&SOUND.replacen("publishers", "geo.file = 'geo.csv'\npublishers", 1));
        config.texts.insert("geo.csv".into(), Ok(text.to_owned()));
        let faults = RoutingSnapshot::compile(config, 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told("# ours\nprefix,state,time_zone\n614,OH,America/New_York\n"), [""; 0]);
    let faults = told("prefix,state,time_zone\n614,OH,Ohio\n\n61,OH,America/New_York\n");
    assert_eq!(
        faults,
        [
            "geo.file = geo.csv: line 2: `614,OH,Ohio` says `Ohio`, which is no known time zone; write an IANA name such as America/New_York, or nothing",
            "geo.file = geo.csv: line 4: `61,OH,America/New_York` begins with no prefix; write an area code such as 614, or with its exchange, such as 614555",
        ]
    );
    // One fault, not one for each line.
    assert_eq!(told("614,OH,America/New_York\n740,OH,America/New_York\n").len(), 1);
    assert_eq!(
        told("# nothing\n"),
        ["geo.file = geo.csv: is empty; begin with prefix,state,time_zone, or leave the file out"]
    );
}

/// With everything a call may come to.
fn attempt(target: &str) -> PlannedAttempt {
    let money = |amount: &str| amount.parse().unwrap();
    PlannedAttempt {
        target: target.into(),
        buyer: "buy".into(),
        tier: 1,
        uri: String::new(),
        ring_timeout_ms: 0,
        first_response_ms: 0,
        max_pdd_ms: 0,
        max_duration_ms: 90_000,
        terms: Some(Terms {
            seconds: 60,
            revenue: money("42.00"),
            payout_seconds: 60,
            payout: money("24.00"),
            no_payout: None,
            promised: false,
        }),
        holds: vec![],
        ring_timeout_covers_progress: false,
        beside: false,
        dial: 0,
        way: None,
        further: vec![],
        failover: None,
    }
}

fn config(text: &str) -> RoutingConfig {
    toml::from_str(text).unwrap()
}

#[test]
fn a_mode_that_cannot_be_meant_is_a_fault_with_its_remedy() {
    for (cap, says) in [
        ("mode = 'soft', assumed_rate = '30%'", "assumed_rate = 30%: is only of a paced cap"),
        ("max_over_prob = '1%'", "max_over_prob = 1%: is only of a paced cap"),
        (
            "mode = 'paced', assumed_rate = '0.5%'",
            "assumed_rate = 0.5%: lets in more calls than can be reckoned with; write the share of \
             calls that come to count, 1% at least, such as \"30%\"",
        ),
        ("mode = 'paced', max_over_prob = '1%'", "max_over_prob = 1%: says nothing by itself"),
        (
            "mode = 'paced', assumed_rate = '30%', max_over_prob = '3%'",
            "max_over_prob = 3%: is none of those there are; write one of 0.1%, 0.5%, 1%, 2%, 5%, 10%",
        ),
    ] {
        let text = SOUND.replace("limit = 80", &format!("limit = 80, {cap}"));
        assert_fault(&text, &format!("targets[0].caps[0].{says}"));
    }
    let live = "mode = 'paced', assumed_rate = 'live'";
    for (section, whose) in [
        ("[[groups]]\nid = 'g'\ntargets = ['tgt_a']\n", "groups[0]"),
        ("[[numbers]]\nnumber = '+18005550100'\n", "numbers[0]"),
        ("[[pairs]]\npublisher = 'pub_a'\ntarget = 'tgt_a'\n", "pairs[0]"),
    ] {
        let cap =
            format!("caps = [{{ metric = 'converted', window = 'daily', limit = 9, {live} }}]");
        let says = format!(
            "{whose}.caps[0].assumed_rate = live: is not known of these: how calls went is counted of \
             targets, buyers, campaigns, publishers, the account, and targets for a campaign, of one \
             publisher or of all; write the share of calls that come to count, such as \"30%\""
        );
        assert_fault(&format!("{SOUND}\n{section}{cap}"), &says);
    }
    let text = SOUND
        .replace("limit = 80", &format!("limit = 80, {live}"))
        .replace("\"connected\"", "\"attempted\"");
    assert_fault(
        &text,
        "targets[0].caps[0].assumed_rate = live: is only of calls that may come to be connected or \
         converted; leave it out",
    );
    for window in ["total", "rolling:3600"] {
        let text = SOUND.replace("\"daily\", limit = 80", "\"WINDOW\", limit = 80, mode = 'paced'");
        let says = "targets[0].caps[0].mode = paced: needs a window that begins and ends";
        assert_fault(&text.replace("WINDOW", window), says);
    }
    let text = SOUND
        .replace("limit = 80", "limit = 80, mode = 'paced', assumed_rate = '30%'")
        .replace("\"connected\"", "\"attempted\"");
    assert_fault(
        &text,
        "targets[0].caps[0].assumed_rate = 30%: is only of calls that may come to be",
    );
}

/// And for as long as there is such a cap, how calls went is counted.
#[test]
fn a_cap_paced_by_its_calls_of_late_goes_by_those_it_counts() {
    let cap = "{ metric = \"converted\", window = \"daily\", limit = 9, mode = \"paced\", \
               assumed_rate = \"live\" }";
    let of_pair = |named: &str| format!("{SOUND}\n[[pairs]]\n{named}\ncaps = [{cap}]");
    let (target, campaign, publisher) = ("tgt_a", "cmp", "pub_b");
    let of_campaign = Scope::TargetCampaign(target.into(), campaign.into());
    let of_both = Scope::TargetPublisherCampaign(target.into(), publisher.into(), campaign.into());
    for (text, scope) in [
        (
            SOUND.replace("{ metric = \"connected\", window = \"daily\", limit = 80 }", cap),
            Scope::Target(target.into()),
        ),
        (
            SOUND.replace("{ id = \"buy\" }", &format!("{{ id = \"buy\", caps = [{cap}] }}")),
            Scope::Buyer("buy".into()),
        ),
        (
            SOUND.replace("{ id = \"pub_b\" }", &format!("{{ id = \"pub_b\", caps = [{cap}] }}")),
            Scope::Publisher(publisher.into()),
        ),
        (
            SOUND.replace("id = \"cmp\"\n", &format!("id = \"cmp\"\ncaps = [{cap}]\n")),
            Scope::Campaign(campaign.into()),
        ),
        (format!("{SOUND}\n[account]\ncaps = [{cap}]"), Scope::All),
        (of_pair("target = 'tgt_a'\ncampaign = 'cmp'"), of_campaign),
        (of_pair("target = 'tgt_a'\nbuyer = 'buy'"), Scope::Target(target.into())),
        (of_pair("target = 'tgt_a'\ncampaign = 'cmp'\npublisher = 'pub_b'"), of_both),
    ] {
        let snapshot = RoutingSnapshot::compile(config(&text), 1).unwrap();
        let live = |cap: &Cap| match &cap.mode {
            Mode::Paced(Pacing { rate: PaceRate::Live(live), .. }) => Some(live.scope.clone()),
            Mode::Paced(_) | Mode::Strict | Mode::Soft => None,
        };
        let scopes: Vec<_> = snapshot.caps().filter_map(live).collect();
        assert!(!scopes.is_empty() && scopes.iter().all(|it| *it == scope), "{scopes:?} {scope:?}");
        assert_eq!(snapshot.performance_days(), Some(14));
    }
    let snapshot = RoutingSnapshot::compile(config(SOUND), 1).unwrap();
    assert_eq!(snapshot.performance_days(), None);
}

#[test]
fn what_cannot_be_done_with_a_call_that_gets_to_nobody_is_a_fault_with_its_remedy() {
    for (action, says) in [
        ("status = 200", "status = 200: is out of range; write 400 to 699"),
        (
            "status = 407",
            "status = 407: would ask the carrier for credentials it has nobody to send to; write 403 or 480",
        ),
        (
            "overflow = 'tgt_a'",
            "overflow = tgt_a: is one of the campaign's own targets, and would be tried before; name another target",
        ),
        (
            "overflow = 'tgt_c'",
            "overflow = tgt_c: names no target of this configuration; add the target, or correct the name",
        ),
        (
            "announce = 'closed.wav'",
            "announce = closed.wav: is not done: this server plays and records nothing; leave it out, or name a target that does it as `overflow`",
        ),
        (
            "voicemail = 'box@example.com'",
            "voicemail = box@example.com: is not done: this server plays and records nothing; leave it out, or name a target that does it as `overflow`",
        ),
    ] {
        let own = format!("id = \"cmp\"\n    no_route = {{ all_closed = {{ {action} }} }}");
        let text = SOUND.replacen("id = \"cmp\"", &own, 1);
        assert_fault(&text, &format!("campaigns[0].no_route.all_closed.{says}"));
    }
}

#[test]
fn a_group_or_a_pair_that_cannot_be_meant_is_a_fault_with_its_remedy() {
    let cap = "caps = [{ metric = 'connected', window = 'daily', limit = 1 }]";
    for (section, says) in [
        ("[[groups]]\nid = 'g'\ntargets = []", "groups[0].targets = []: is empty"),
        ("[[groups]]\nid = 'g'\ntargets = ['x']", "groups[0].targets[0] = x: names no target"),
        (
            "[[groups]]\nid = 'g'\ntargets = ['tgt_a', 'tgt_a']",
            "groups[0].targets[1] = tgt_a: is in the group already",
        ),
        (
            "groups = [{ id = 'g', targets = ['tgt_a'] }, { id = 'g', targets = ['tgt_b'] }]",
            "groups[1].id = g: is the name of groups[0] already",
        ),
        (
            "[[groups]]\nid = 'g'\ntargets = ['tgt_a']\nmin_gap_s = 0",
            "groups[0].min_gap_s = 0: is out of range; write 1 to 86400",
        ),
        ("[[pairs]]\nbuyer = 'buy'\nCAP", "pairs[0] = buyer.buy: is no pair; name two or more"),
        (
            "[[pairs]]\nbuyer = 'x'\ntarget = 'tgt_a'\nCAP",
            "pairs[0].buyer = x: names no buyer of this configuration",
        ),
        ("[[pairs]]\nbuyer = 'buy'\ntarget = 'tgt_a'\ncaps = []", "pairs[0].caps = []: is empty"),
        (
            "[[pairs]]\nbuyer = 'buy'\ntarget = 'tgt_a'\nCAP\n\
             [[pairs]]\nbuyer = 'buy'\ntarget = 'tgt_a'\nCAP",
            "pairs[1] = pair/buyer.buy+target.tgt_a: names the same as pairs[0]",
        ),
        (
            "[[buyers]]\nid = 'other'\n[[pairs]]\nbuyer = 'other'\ntarget = 'tgt_a'\nCAP",
            "pairs[0].target = tgt_a: is no target of other; leave out one of the two",
        ),
    ] {
        let sound = SOUND.replace("buyers = [{ id = \"buy\" }]", "");
        let buyer = "[[buyers]]\nid = 'buy'\n";
        let section = section.replace("CAP", cap);
        let text = match section.starts_with("groups =") {
            true => format!("{section}\n{sound}\n{buyer}"),
            false => format!("{sound}\n{buyer}{section}"),
        };
        assert_fault(&text, says);
    }
}

#[test]
fn concurrency_by_hours_that_cannot_be_meant_is_a_fault_with_its_remedy() {
    let week = vec![[-1; 24]; 7];
    let mut negative = week.clone();
    negative[6][23] = -2;
    for (rules, says) in [
        ("matrix = [[1]]".into(), "matrix = 1 days with [1] hours: is no week"),
        (format!("matrix = {negative:?}"), "matrix[6][23] = -2: is out of range"),
        (
            "exceptions = [{ date = '2026-02-29', limit = 1 }]".into(),
            "exceptions[0].date = 2026-02-29: is no date",
        ),
        (
            "exceptions = [{ date = '2026-12-25', limit = 1 }, { date = '2026-12-25', limit = 2 }]"
                .into(),
            "exceptions[1].date = 2026-12-25: has a limit already",
        ),
        ("time_zone = 'Mars'".into(), "time_zone = Mars: is no known time zone"),
    ] {
        let text = SOUND.replace("limit = 8,", &format!("limit = 8, {rules},"));
        assert_fault(&text, &format!("targets[0].concurrency.{says}"));
    }
}

#[test]
fn a_cap_that_counts_where_nothing_can_be_counted_is_a_fault_with_its_remedy() {
    for (cap, says) in [
        (
            "metric = 'offered', limit = 5",
            "metric = offered: is counted only of the account, publishers, campaigns, trunks and numbers",
        ),
        (
            "metric = 'pinged', limit = 5",
            "metric = pinged: is counted only of the account, publishers and campaigns",
        ),
        (
            "metric = 'connected', limit = 5, on_full = 'stop_paying'",
            "on_full = stop_paying: is only of a publisher's caps; leave it out",
        ),
    ] {
        let cap = format!("{{ window = 'daily', {cap} }}");
        let text =
            SOUND.replace("{ metric = \"connected\", window = \"daily\", limit = 80 }", &cap);
        assert_fault(&text, &format!("targets[0].caps[0].{says}"));
    }
    let publisher = |cap: &str| {
        let caps = format!("{{ id = \"pub_b\", caps = [{{ window = 'daily', limit = 5, {cap} }}]");
        SOUND.replace("{ id = \"pub_b\"", &caps)
    };
    assert_fault(
        &publisher("metric = 'connected', on_full = 'stop_paying'"),
        "publishers[1].caps[0].on_full = stop_paying: is only of caps on payout or converted",
    );
    for fits in
        ["metric = 'pinged'", "metric = 'offered'", "metric = 'converted', on_full = 'stop_paying'"]
    {
        RoutingSnapshot::compile(config(&publisher(fits)), 1).expect(fits);
    }
    assert_fault(
        &SOUND.replace("{ id = \"buy\"", "{ id = \"buy\", credit = { limit = '-1.00' }"),
        "buyers[0].credit.limit = -1.00: is negative; write 0.00 or more",
    );
}

fn assert_fault(text: &str, says: &str) {
    let faults = RoutingSnapshot::compile(config(text), 1).expect_err(says);
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains(says)), "{says}: {faults:?}");
}
