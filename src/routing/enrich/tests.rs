use serde_json::json;

use super::*;
use crate::routing::RoutingSnapshot;
use crate::routing::config::RoutingConfig;

const CONFIG: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    [[enrichers]]
    id = "lineinfo"
    url = "https://lookup.example/v1"
    send_caller = true
    send_tags = ["sub_id"]
    tells = { line_type = "/carrier/type", "lead.age" = "/age", ported = "/ported" }
    cost = "0.004"
    [[enrichers]]
    id = "hashed"
    url = "http://127.0.0.1:9/"
    key_env = "KEY"
    tells = { litigator = "/litigator" }
    [[verticals]]
    id = "v"
    unknown = "refuse"
    tags = [{ name = "lead.age", type = "integer", min = 18 }]
    [[targets]]
    id = "t"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:a" }
    filters.all = [{ tag = "line_type", op = "eq", value = "mobile" }]
    [[campaigns]]
    id = "c"
    publisher = "p"
    vertical = "v"
    enrich = ["lineinfo", "hashed"]
    numbers = ["+18005550100"]
    routing = { tiers = [{ targets = [{ target = "t" }] }] }
"#;

const CALLER: &str = "+16145550188";

#[test]
fn an_enricher_is_told_the_number_only_if_it_is_to_be_and_of_the_tags_those_that_are_named() {
    let snapshot = compiled(CONFIG);
    let [lineinfo, hashed] = &snapshot.campaign(&"c".into()).unwrap().enrich[..] else {
        panic!("there are two")
    };
    let (campaign, publisher) = ("c".into(), "p".into());
    let tags = [("sub_id".into(), "7".into()), ("email".into(), "a@example.com".into())];
    let about = Announced {
        session: SessionId::from_bytes([2; 16]),
        at: Wall(1_773_759_852_318),
        campaign: &campaign,
        publisher: &publisher,
        caller: CALLER.parse().unwrap(),
        tags: &tags,
    };

    let told = serde_json::to_value(lineinfo.inquiry(&about)).unwrap();
    let hash = serde_json::to_value(hashed.inquiry(&about)).unwrap();

    assert_eq!(
        told,
        json!({
            "session": "ses_02020202020202020202020202020202",
            "at": "2026-03-17T15:04:12.318Z",
            "campaign": "c",
            "publisher": "p",
            "caller": CALLER,
            "tags": { "sub_id": "7" },
        })
    );
    // HMAC-SHA-256, key `pepper-pepper-16`, of the number.
    assert_eq!(
        hash["caller_hash"],
        "e77aea4ee6384b3575cee0f788a289c744bc3b7a9b82b3cacb7bb65cfec75bd2"
    );
    assert!(!hash.to_string().contains("6145550188") && hash["caller"].is_null(), "{hash}");
    assert_eq!(hash["tags"], json!({}));
}

#[test]
fn what_is_no_text_number_or_truth_is_refused_and_what_is_not_there_tells_nothing() {
    let snapshot = compiled(CONFIG);
    let campaign = snapshot.campaign(&"c".into()).unwrap();
    let long = "x".repeat(257);
    for (answer, tags, refused) in [
        (
            json!({ "carrier": { "type": " mobile " }, "age": 44, "ported": false }),
            &[("lead.age", "44"), ("line_type", "mobile"), ("ported", "false")][..],
            &[][..],
        ),
        (json!({ "carrier": { "type": null }, "age": "" }), &[], &[]),
        (json!(null), &[], &[]),
        (json!(["mobile"]), &[], &[]),
        (json!({ "carrier": { "type": ["mobile"] }, "ported": {} }), &[], &["line_type", "ported"]),
        (json!({ "carrier": { "type": long }, "ported": "a\nb" }), &[], &["line_type", "ported"]),
        // As the vertical says what an age is.
        (json!({ "age": 17, "ported": 1 }), &[("ported", "1")], &["lead.age"]),
        (json!({ "age": "old" }), &[], &["lead.age"]),
    ] {
        let read = campaign.enrich[0].read(&answer);
        let kept = campaign.keeps(&read.tags);

        let have: Vec<_> = kept.tags.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let left_out = [read.refused, kept.refused].concat();
        let mut left_out: Vec<_> = left_out.iter().map(SmolStr::as_str).collect();
        left_out.sort_unstable();
        assert_eq!((&have[..], &left_out[..]), (tags, refused), "{answer}");
    }
}

#[test]
fn the_form_of_a_number_tells_what_it_can_and_nothing_of_the_line() {
    let snapshot = compiled(CONFIG);
    let told = |number: &str| -> Vec<String> {
        let tags = snapshot.embedded(number.parse().unwrap());
        tags.iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!(
        told(CALLER),
        [
            "geo.country=US",
            "geo.npa=614",
            "geo.state=OH",
            "geo.time_zone=America/New_York",
            "line_type=unknown"
        ]
    );
    for (number, line_type) in [
        ("+18885550188", "toll_free"),
        ("+19005550188", "premium"),
        ("+16149765018", "premium"),
        ("+15335550188", "personal"),
        ("+442079460163", "unknown"),
    ] {
        assert_eq!(told(number).last().unwrap(), &format!("line_type={line_type}"), "{number}");
    }
}

#[test]
fn a_session_that_no_target_takes_is_not_worth_a_question_and_what_an_enricher_may_tell_is_open() {
    let ohio = CONFIG.replace(
        "filters.all = [",
        "filters.all = [{ tag = \"geo.state\", op = \"eq\", value = \"OH\" }, ",
    );
    let snapshot = compiled(&ohio);
    let (campaign, publisher) = ("c".into(), "p".into());
    for (state, expected) in [("OH", true), ("KY", false)] {
        let tags = [("geo.state".into(), state.into())];
        let about = Announced {
            session: SessionId::from_bytes([2; 16]),
            at: Wall(0),
            campaign: &campaign,
            publisher: &publisher,
            caller: CALLER.parse().unwrap(),
            tags: &tags,
        };
        assert_eq!(snapshot.may_be_taken(&about, Wall(1_000)), expected, "{state}");
    }
}

#[test]
fn every_fault_of_enrichers_is_found_and_no_key_is_repeated() {
    let config = r#"
        publishers = [{ id = "p" }]
        [[enrichers]]
        id = "embedded"
        url = "ftp://a/"
        send_caller = true
        tells = {}
        deadline_ms = 5
        concurrency = 0
        cost = "-1.00"
        [[enrichers]]
        id = "b"
        url = "http://a/"
        tls = { verify = false }
        key_env = "SHORT"
        token_env = "NOT_THERE"
        tells = { "geo.state" = "/s", x = "y" }
        cost_per_day = "5.00"
        [[enrichers]]
        id = "c"
        url = "http://a/"
        tells = { x = "/y" }
        [[campaigns]]
        id = "c"
        publisher = "p"
        enrich = ["b", "d", "c", "b"]
        routing = { tiers = [] }
    "#;
    let mut config: RoutingConfig = toml::from_str(config).unwrap();
    config.keys = [("SHORT".into(), SecretKey::new("secret"))].into();

    let faults = RoutingSnapshot::compile(config, 1).unwrap_err();

    let told: Vec<_> = faults.iter().map(|it| format!("{} = {}", it.path, it.value)).collect();
    for expected in [
        "enrichers[0].id = embedded",
        "enrichers[0].url = ftp://a/",
        "enrichers[0].deadline_ms = 5",
        "enrichers[0].concurrency = 0",
        "enrichers[0].cost = -1.00",
        "enrichers[0].tells = {}",
        "enrichers[1].tls = of b",
        "enrichers[1].cost = 0.00",
        "enrichers[1].tells = geo.state",
        "enrichers[1].tells.x = y",
        "enrichers[1].token_env = NOT_THERE",
        "enrichers[1].key_env = 6 characters",
        "enrichers[2] = c",
        "campaigns[0].enrich[1] = d",
        "campaigns[0].enrich[2] = c",
        "campaigns[0].enrich[3] = b",
    ] {
        assert!(told.iter().any(|it| it == expected), "{expected}: {told:#?}");
    }
    assert!(!faults.iter().any(|it| it.to_string().contains("secret")), "{faults:?}");
}

fn compiled(config: &str) -> RoutingSnapshot {
    let mut config: RoutingConfig = toml::from_str(config).unwrap();
    config.keys = [("KEY".into(), SecretKey::new("pepper-pepper-16"))].into();
    RoutingSnapshot::compile(config, 1).unwrap_or_else(|faults| panic!("{faults:#?}"))
}
