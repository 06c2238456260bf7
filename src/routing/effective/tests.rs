//! Who is heard, and what calls and pings meet of it.

use super::*;
use crate::routing::config::{DefaultsConfig, RoutingConfig};

const CONFIG: &str = r#"
    publishers = [{ id = "p" }]
    [account]
    time_zone = "America/Chicago"
    [defaults]
    ring_timeout_s = 20
    max_duration_s = 600
    dedupe = { after = "converted" }
    max_attempts = 5
    callers = { repeat_after_s = 2 }
    quarantine_s = 60
    [[buyers]]
    id = "b"
    max_duration_s = 900
    ring_timeout_covers_progress = true
    next_way_on = [408, 480]
    [[buyers]]
    id = "plain"
    [[targets]]
    id = "own"
    buyer = "b"
    ring_timeout_s = 9
    schedule = { time_zone = "America/Denver", always_open = true }
    dial = { kind = "sip", uri = "sip:a" }
    [[targets]]
    id = "plain"
    buyer = "plain"
    dial = { kind = "sip", uri = "sip:b" }
    [[pools]]
    id = "pool"
    campaign = "c"
    publisher = "p"
    numbers = ["+16145550101"]
    session_ttl_s = 70
    [[campaigns]]
    id = "c"
    publisher = "p"
    min_match_confidence = 0.5
    routing = { tiers = [{ targets = [{ target = "own" }, { target = "plain" }] }] }
"#;

#[test]
fn the_nearest_who_says_a_value_is_heard_and_named() {
    let snapshot = compiled(CONFIG);
    let (own, buyer, defaults, built_in) =
        (Source::Own, Source::Buyer, Source::Defaults, Source::BuiltIn);
    let by_default = json!({
        "after": "converted", "by": "target", "window_s": 2_592_000, "campaigns": "same",
    });
    assert_eq!(
        found(&snapshot.effective_target(&"own".into()).unwrap(), &["circuit", "schedule"]),
        [
            ("ring_timeout_s", json!(9), own),
            ("first_response_ms", json!(1_500), built_in),
            ("max_pdd_ms", json!(8_000), built_in),
            ("next_way_on", json!([408, 480]), buyer),
            ("ring_timeout_covers_progress", json!(true), buyer),
            ("max_duration_s", json!(900), buyer),
            ("time_zone", json!("America/Denver"), own),
            ("dedupe", by_default.clone(), defaults),
        ]
    );
    assert_eq!(
        found(&snapshot.effective_target(&"plain".into()).unwrap(), &["circuit", "schedule"]),
        [
            ("ring_timeout_s", json!(20), defaults),
            ("first_response_ms", json!(1_500), built_in),
            ("max_pdd_ms", json!(8_000), built_in),
            ("next_way_on", json!([408, 500, 502, 503, 504]), built_in),
            ("ring_timeout_covers_progress", json!(false), built_in),
            ("max_duration_s", json!(600), defaults),
            ("time_zone", json!("America/Chicago"), Source::Account),
            ("dedupe", by_default, defaults),
        ]
    );
    let campaign = snapshot.effective_campaign(&"c".into(), None).unwrap();
    let campaign = found(&campaign, &["advance_on"]);
    let callers = &campaign[3];
    assert_eq!(
        (callers.0, &callers.1["repeat_after_s"], callers.2),
        ("callers", &json!(2), defaults)
    );
    let of_account = ("time_zone", json!("America/Chicago"), Source::Account);
    assert_eq!(campaign[4], of_account);
    assert_eq!(
        campaign[..3],
        [
            ("max_attempts", json!(5), defaults),
            ("total_ring_budget_s", json!(60), built_in),
            ("min_match_confidence", json!(0.5), own),
        ]
    );
    assert_eq!(snapshot.effective_target(&"nobody".into()), None);
    // And they are what calls and pings meet.
    let target = snapshot.target(&"own".into()).unwrap();
    assert_eq!((target.ring_timeout_ms, target.max_duration_ms), (9_000, 900_000));
    let pool = &snapshot.pools()[0];
    assert_eq!((pool.session_ttl.as_secs(), pool.quarantine.as_secs()), (70, 60));
    assert!(snapshot.history().is_some(), "a default rule looks back, too");
}

/// With a plan that says something of all its tiers, prices of both sides, and terms.
#[test]
fn what_a_campaign_s_tiers_plan_and_publisher_say_is_told_with_who_says_it() {
    let text = CONFIG
        .replace(
            r#"publishers = [{ id = "p" }]"#,
            r#"publishers = [
                { id = "p", payouts = [{ campaign = "c", amount = "24.00" }],
                  price = { min_revenue = "30.00" } },
                { id = "q", quota = { per_second = 9 },
                  payouts = [{ campaign = "c", amount = "20.00", seconds = 45 }] },
            ]"#,
        )
        .replace("[defaults]", "[defaults]\nquota = { per_day = 5000 }")
        .replace(
            "dial = { kind = \"sip\", uri = \"sip:a\" }",
            "dial = { kind = \"sip\", uri = \"sip:a\" }\n\
             conversion = { seconds = 90, revenue = \"42.00\" }",
        )
        .replace(
            "routing = { tiers = [{ targets = [{ target = \"own\" }, { target = \"plain\" }] }] }",
            "price = { min_revenue = \"10.00\", min_margin = \"5%\", allow_loss = true }\n\
             routing = { hold_share_s = 60, distribution = \"random\", tiers = [\n\
                 { tier = 1, distribution = \"smooth\", targets = [{ target = \"own\" }] },\n\
                 { tier = 2, hold_share_s = 0, targets = [{ target = \"plain\" }] }] }",
        );
    let snapshot = compiled(&text);
    let campaign = |publisher: Option<&str>| {
        let settings = snapshot.effective_campaign(&"c".into(), publisher.map(Into::into).as_ref());
        settings.unwrap().into_iter().filter(|it| it.setting.contains('.')).collect::<Vec<_>>()
    };
    let (own, plan, of_publisher, target, built_in) =
        (Source::Own, Source::Plan, Source::Publisher, Source::Target, Source::BuiltIn);
    let tiers = [
        ("tiers.1.distribution", json!({ "by": "smooth" }), own),
        ("tiers.1.hold_share_s", json!(60), plan),
        ("tiers.2.distribution", json!({ "by": "random" }), plan),
        ("tiers.2.hold_share_s", json!(0), own),
    ];
    let of_p = campaign(None);
    assert_eq!(found(&of_p, &[])[..4], tiers);
    assert_eq!(
        found(&of_p, &[])[4..],
        [
            ("price.min_revenue", json!("30.00"), of_publisher),
            ("price.hourly", Value::Null, built_in),
            ("price.soft_min_revenue", Value::Null, built_in),
            ("price.min_margin", json!("5%"), own),
            ("price.allow_loss", json!(true), own),
            ("terms.own.revenue", json!("42.00"), target),
            ("terms.own.seconds", json!(90), target),
            ("terms.own.payout", json!("24.00"), of_publisher),
            ("terms.own.payout_seconds", json!(90), target),
            ("terms.plain.revenue", json!("0.00"), built_in),
            ("terms.plain.seconds", Value::Null, built_in),
            ("terms.plain.payout", json!("24.00"), of_publisher),
            ("terms.plain.payout_seconds", Value::Null, built_in),
        ]
    );
    // And they are what calls of that publisher meet.
    let of_q = campaign(Some("q"));
    let of_q = found(&of_q, &[]);
    assert_eq!(of_q[4], ("price.min_revenue", json!("10.00"), own));
    let both = ["terms.own.seconds", "terms.own.payout_seconds", "terms.plain.seconds"];
    let seconds: Vec<_> = of_q.iter().filter(|it| both.contains(&it.0)).collect();
    assert_eq!(
        seconds,
        [
            &("terms.own.seconds", json!(90), target),
            &("terms.own.payout_seconds", json!(45), of_publisher),
            &("terms.plain.seconds", json!(45), of_publisher),
        ]
    );
    let tier = &snapshot.campaign(&"c".into()).unwrap().tiers;
    assert_eq!((tier[0].hold_share_ms, tier[1].hold_share_ms), (60_000, 0));

    let quota = |id: &str| {
        let settings = snapshot.effective_publisher(&id.into()).unwrap();
        (settings[0].value["per_day"].clone(), settings[0].from)
    };
    assert_eq!(quota("p"), (json!(5_000), Source::Defaults));
    assert_eq!(quota("q"), (Value::Null, own));
    let payouts = snapshot.effective_publisher(&"q".into()).unwrap();
    let payout = json!({ "amount": "20.00", "seconds": 45, "dedupe": { "policy": "pay_all" } });
    assert_eq!(found(&payouts, &["quota", "strict_pings"]), [("payouts.c", payout, own)]);
    assert_eq!(snapshot.effective_publisher(&"nobody".into()), None);
    assert_eq!(snapshot.effective_campaign(&"c".into(), Some(&"nobody".into())), None);
}

#[test]
fn a_number_is_whose_its_entry_its_campaign_or_its_pool_says() {
    let text = CONFIG
        .replace("publishers = [{ id = \"p\" }]", "publishers = [{ id = \"p\" }, { id = \"q\" }]")
        .replace(
            "min_match_confidence",
            "numbers = [\"+18005550100\", { number = \"+18005550101\", publisher = \"q\" }]\n\
             min_match_confidence",
        );
    let snapshot = compiled(&text);
    let of = |number: &str| snapshot.effective_number(number.parse().unwrap());
    let (own, pool) = (Source::Own, Source::Pool);
    for (number, publisher, from) in
        [("+18005550100", "p", Source::Campaign), ("+18005550101", "q", own)]
    {
        let settings = of(number).unwrap();
        assert_eq!(
            found(&settings, &[]),
            [
                ("campaign", json!("c"), own),
                ("publisher", json!(publisher), from),
                ("pool", Value::Null, own),
            ]
        );
    }
    let lent = of("+16145550101").unwrap();
    assert_eq!(lent[1..], {
        let of_pool = snapshot.effective_pool(&"pool".into()).unwrap();
        let whose = [("publisher", json!("p"), pool), ("pool", json!("pool"), pool)];
        whose.map(Effective::of).into_iter().chain(of_pool).collect::<Vec<_>>()
    });
    assert_eq!(
        found(&lent, &["campaign", "publisher", "pool", "take_idle_after_s", "number_cost"]),
        [
            ("session_ttl_s", json!(70), own),
            ("quarantine_s", json!(60), Source::Defaults),
            ("heartbeat_s", json!(60), Source::BuiltIn),
            ("closed_browser_delay_s", json!(300), Source::BuiltIn),
            ("overflow_number", Value::Null, Source::BuiltIn),
        ]
    );
    assert_eq!(of("+18005550199"), None);
}

/// Without those that are left out.
fn found<'a>(settings: &'a [Effective], left_out: &[&str]) -> Vec<(&'a str, Value, Source)> {
    let settings = settings.iter().filter(|it| !left_out.contains(&it.setting.as_str()));
    settings.map(|it| (it.setting.as_str(), it.value.clone(), it.from)).collect()
}

#[test]
fn all_that_may_be_written_in_defaults_is_told_with_them_as_its_source() {
    let text = r#"
        [defaults]
        ring_timeout_s = 21
        first_response_ms = 2100
        max_pdd_ms = 2200
        next_way_on = [408]
        ring_timeout_covers_progress = true
        max_duration_s = 2300
        schedule = { time_zone = "America/Denver", always_open = true }
        dedupe = { after = "converted", by = "target" }
        circuit = { trial_percent = 7 }
        advance_on = [486]
        max_attempts = 4
        total_ring_budget_s = 44
        min_match_confidence = 0.4
        callers = { repeat_after_s = 3 }
        session_ttl_s = 2400
        quarantine_s = 250
        heartbeat_s = 26
        closed_browser_delay_s = 27
        quota = { per_second = 5 }
        strict_pings = true
        ping_filter = "on"
        allow_loss = true
        [[publishers]]
        id = "p"
        [[buyers]]
        id = "b"
        [[targets]]
        id = "t"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:a" }
        [[pools]]
        id = "pool"
        campaign = "c"
        publisher = "p"
        numbers = ["+16145550101"]
        [[campaigns]]
        id = "c"
        publisher = "p"
        routing = { tiers = [{ targets = [{ target = "t" }] }] }
    "#;
    let config: RoutingConfig = toml::from_str(text).unwrap();
    // Without `..`: a setting that is new has to be written above, and told.
    let DefaultsConfig {
        ring_timeout_s,
        first_response_ms,
        max_pdd_ms,
        next_way_on,
        ring_timeout_covers_progress,
        max_duration_s,
        schedule,
        dedupe,
        circuit,
        advance_on,
        max_attempts,
        total_ring_budget_s,
        min_match_confidence,
        callers,
        session_ttl_s,
        quarantine_s,
        heartbeat_s,
        closed_browser_delay_s,
        quota,
        strict_pings,
        ping_filter,
        allow_loss,
    } = &config.defaults;
    let written = [
        ("ring_timeout_s", json!(ring_timeout_s)),
        ("first_response_ms", json!(first_response_ms)),
        ("max_pdd_ms", json!(max_pdd_ms)),
        ("next_way_on", json!(next_way_on)),
        ("ring_timeout_covers_progress", json!(ring_timeout_covers_progress)),
        ("max_duration_s", json!(max_duration_s)),
        ("schedule", json!(schedule)),
        ("dedupe", json!(dedupe)),
        ("circuit", json!(circuit)),
        ("advance_on", json!(advance_on)),
        ("max_attempts", json!(max_attempts)),
        ("total_ring_budget_s", json!(total_ring_budget_s)),
        ("min_match_confidence", json!(min_match_confidence)),
        ("callers", json!(callers)),
        ("session_ttl_s", json!(session_ttl_s)),
        ("quarantine_s", json!(quarantine_s)),
        ("heartbeat_s", json!(heartbeat_s)),
        ("closed_browser_delay_s", json!(closed_browser_delay_s)),
        ("quota", json!(quota)),
        ("strict_pings", json!(strict_pings)),
        ("ping_filter", json!(ping_filter)),
        ("price.allow_loss", json!(allow_loss)),
    ];

    let snapshot = RoutingSnapshot::compile(config.clone(), 1).unwrap();
    let told: Vec<_> = [
        snapshot.effective_target(&"t".into()),
        snapshot.effective_campaign(&"c".into(), None),
        snapshot.effective_pool(&"pool".into()),
        snapshot.effective_publisher(&"p".into()),
    ]
    .into_iter()
    .flat_map(Option::unwrap)
    .collect();

    for (setting, value) in written {
        assert_ne!(value, Value::Null, "{setting} is written");
        let found = told.iter().find(|it| it.setting == setting);
        let found = found.unwrap_or_else(|| panic!("{setting} is told nowhere"));
        assert_eq!(found.from, Source::Defaults, "{setting}");
        // Of tables the fields that are written nowhere are told, too.
        if let Some(fields) = value.as_object() {
            let all = fields.iter().all(|(field, it)| found.value[field] == *it);
            assert!(all, "{setting} is {}", found.value);
        } else {
            assert_eq!(found.value, value, "{setting}");
        }
    }
}

#[test]
fn floors_by_the_hour_are_told_with_their_hours() {
    let floor = r#"{ min_revenue = "12.00", during = { time_zone = "UTC", always_open = true } }"#;
    let price = format!("price = {{ hourly = [{floor}] }}\n    routing = {{ tiers");
    let snapshot = compiled(&CONFIG.replace("routing = { tiers", &price));

    let told = snapshot.effective_campaign(&"c".into(), None).unwrap();

    let told = told.iter().find(|it| it.setting == "price.hourly").unwrap();
    assert_eq!((&told.value[0]["min_revenue"], told.from), (&json!("12.00"), Source::Own));
    assert_eq!(told.value[0]["during"]["time_zone"], "UTC");
    assert_eq!(told.value[0]["during"]["always_open"], true);
}

#[test]
fn a_table_is_that_of_the_nearest_who_writes_one() {
    let text = CONFIG.replace("[defaults]", "[defaults]\ncircuit = { trial_percent = 7 }").replace(
        "max_duration_s = 900",
        "max_duration_s = 900\ncircuit = { trial_percent = 50 }\n\
             dedupe = { after = \"connected\" }",
    );
    let own = text.replace(
        "ring_timeout_s = 9",
        "ring_timeout_s = 9\ncircuit = { trial_percent = 60 }\n\
         dedupe = { after = \"off\" }",
    );
    for (text, target, percent, after, from) in [
        (&own, "own", 60, None, Source::Own),
        (&text, "own", 50, Some("connected"), Source::Buyer),
        (&text, "plain", 7, Some("converted"), Source::Defaults),
    ] {
        let snapshot = compiled(text);
        let settings = snapshot.effective_target(&target.into()).unwrap();
        let setting = |name| settings.iter().find(|it| it.setting == name).unwrap();
        let (circuit, dedupe) = (setting("circuit"), setting("dedupe"));
        assert_eq!((&circuit.value["trial_percent"], circuit.from), (&json!(percent), from));
        assert_eq!((dedupe.value["after"].as_str(), dedupe.from), (after, from));
        // And it is what calls meet.
        let target = snapshot.target(&target.into()).unwrap();
        assert_eq!(target.circuit.as_ref().map(|it| it.trial_percent), Some(percent));
    }
}

#[test]
fn a_schedule_is_that_of_the_nearest_who_says_one() {
    let nights = "[[schedules]]\nid = \"nights\"\ntime_zone = \"Asia/Tokyo\"\nalways_open = true";
    let by_default = CONFIG.replace("[defaults]", "[defaults]\nschedule = \"nights\"") + nights;
    let of_buyer = by_default.replace(
        "id = \"plain\"\n    [[targets]]",
        "id = \"plain\"\n        schedule = { hours = [\n             {day = \"mon\", open = \"03:00\", close = \"03:01\" }] }\n        [[targets]]",
    );
    let own = json!({ "time_zone": "America/Denver", "always_open": true, "hours": [],
        "holidays": [], "stop_before_close_s": 0 });
    let hours = json!([{ "day": "mon", "open": "03:00", "close": "03:01", "breaks": [] }]);
    let buyers = json!({ "always_open": false, "hours": hours, "holidays": [],
        "stop_before_close_s": 0 });
    let (chicago, tokyo) = ("America/Chicago", "Asia/Tokyo");
    for (text, target, value, from, zone, zone_from) in [
        (CONFIG, "plain", Value::Null, Source::BuiltIn, chicago, Source::Account),
        (&by_default, "plain", json!("nights"), Source::Defaults, tokyo, Source::Schedule),
        (&of_buyer, "plain", buyers, Source::Buyer, chicago, Source::Account),
        (&of_buyer, "own", own, Source::Own, "America/Denver", Source::Own),
    ] {
        let snapshot = compiled(text);
        let settings = snapshot.effective_target(&target.into()).unwrap();
        let setting = |name| settings.iter().find(|it| it.setting == name).unwrap();
        let (schedule, time_zone) = (setting("schedule"), setting("time_zone"));
        assert_eq!((&schedule.value, schedule.from), (&value, from), "{target}");
        assert_eq!((&time_zone.value, time_zone.from), (&json!(zone), zone_from), "{target}");
        // And it is what calls meet.
        let is_closed = |target: &Target| {
            target.schedule.as_ref().is_some_and(|it| it.check(crate::time::Wall(0)).is_err())
        };
        let target = snapshot.target(&target.into()).unwrap();
        assert_eq!(is_closed(target), from == Source::Buyer);
        let document = crate::routing::revision::pack(&toml::from_str(text).unwrap());
        assert_eq!(crate::routing::revision::compile(&document, 1).unwrap(), snapshot);
    }
}

#[test]
fn a_configuration_that_is_kept_comes_to_the_same() {
    let config: RoutingConfig = toml::from_str(CONFIG).unwrap();
    let document = crate::routing::revision::pack(&config);
    let kept = crate::routing::revision::compile(&document, 1).unwrap();
    assert_eq!(kept, compiled(CONFIG));
}

#[test]
fn what_is_wrong_is_a_fault_where_it_is_written_and_there_alone() {
    for (sound, faulty, path) in [
        ("ring_timeout_s = 20", "ring_timeout_s = 301", "defaults.ring_timeout_s"),
        ("max_attempts = 5", "max_attempts = 21", "defaults.max_attempts"),
        ("quarantine_s = 60", "quarantine_s = 604801", "defaults.quarantine_s"),
        ("repeat_after_s = 2", "repeat_after_s = 3601", "defaults.callers.repeat_after_s"),
        (
            "after = \"converted\"",
            "after = \"converted\", window_s = 0",
            "defaults.dedupe.window_s",
        ),
        ("max_attempts = 5", "advance_on = [200]", "defaults.advance_on[0]"),
        ("max_attempts = 5", "next_way_on = [503, 700]", "defaults.next_way_on[1]"),
        ("max_duration_s = 900", "max_duration_s = 0", "buyers[0].max_duration_s"),
        ("[408, 480]", "[408, 408]", "buyers[0].next_way_on[1]"),
        ("ring_timeout_s = 9", "next_way_on = [200]", "targets[0].next_way_on[0]"),
        (
            "[[buyers]]",
            "[[trunks]]\nid = \"t\"\nadvance_on = [299]\n[[buyers]]",
            "trunks[0].advance_on[0]",
        ),
        (
            "[[buyers]]",
            "[[trunks]]\nid = \"t\"\nnext_way_on = [1]\n[[buyers]]",
            "trunks[0].next_way_on[0]",
        ),
        ("ring_timeout_s = 9", "ring_timeout_s = 0", "targets[0].ring_timeout_s"),
        ("max_attempts = 5", "schedule = \"nights\"", "defaults.schedule"),
        (
            "max_duration_s = 900",
            "schedule = { time_zone = \"Mars/Olympus\", always_open = true }",
            "buyers[0].schedule.time_zone",
        ),
    ] {
        let config = toml::from_str(&CONFIG.replacen(sound, faulty, 1)).unwrap();
        let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, [path]);
    }
}

fn compiled(text: &str) -> RoutingSnapshot {
    RoutingSnapshot::compile(toml::from_str(text).unwrap(), 1).unwrap()
}
