//! Caps, concurrency and credit: what a call asks for, and limits that cannot be meant.

use super::*;
use crate::routing::decision::{PlannedAttempt, Terms};
use crate::routing::hold::Counts;
use crate::routing::performance::Scope;
use crate::routing::snapshot::{CallScope, Cap, Mode, PaceRate, Pacing};

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
