//! Targets put in order by models.

use super::selection::recorded;
use super::*;
use crate::routing::attribution::SessionKey;
use crate::routing::scorer::questions;

const TIER: &str = r#"
    publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "10.00" }] }]
    buyers = [{ id = "b" }]
    targets = [
        { id = "one", buyer = "b", dial = { kind = "sip", uri = "sip:a" },
          conversion = { seconds = 60, revenue = "60.00" } },
        { id = "two", buyer = "b", dial = { kind = "sip", uri = "sip:b" },
          conversion = { seconds = 60, revenue = "15.00" } },
    ]
    scorers = [SCORER]
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    [campaigns.routing]
    distribution = { by = "scorer", scorer = "m", USE }
    tiers = [{ targets = [{ target = "one" }, { target = "two" }] }]
"#;

const LOGISTIC: &str = r#"{ id = "m", kind = "logistic", file = "m.csv" }"#;
const WEIGHTS: &str = "\
    # Made by hand.\n\
    intercept,, -1\n\
    target.id, two, 0.5\n\
    geo.zip3, 432, -0.25\n\
    call.hour, 15, 0.125\n";

#[test]
fn a_model_from_a_file_orders_the_tier_and_the_explanation_has_its_scores() {
    let rules = rules(LOGISTIC, "", WEIGHTS);
    let decision = decide_on(&rules, &Nothing);
    assert_snapshot!(decision.explain_first(1).join("\n"), @r"
    campaign c, publisher p; no session
    two: dialled as number 1; m scores 0.348646
    one: number 2 in the plan; m scores 0.245086; the call was over before its turn (selection.not_reached)
    ");
    let record = recorded(&request("+18005550100"), &decision);
    assert_eq!(replay(&rules, &record).difference, None);
}

#[test]
fn a_score_may_be_taken_times_what_the_target_brings() {
    let first = |times: &str| {
        let rules = rules(LOGISTIC, &format!("times = \"{times}\""), WEIGHTS);
        decide_on(&rules, &Nothing).plan[0].target.to_string()
    };
    assert_eq!([first("nothing"), first("revenue"), first("margin")], ["two", "one", "one"]);
}

#[test]
fn scores_of_one_who_was_asked_are_kept_with_the_decision() {
    let rules = rules(ASKED, "", "");
    let decision = decide_on(&rules, &Scores(&[("one", 300_000), ("two", 310_000)]));
    assert_eq!(targets_of(&decision), ["two", "one"]);
    assert_eq!(decision.readings.scores.len(), 2);
    let record = recorded(&request("+18005550100"), &decision);
    assert_eq!(replay(&rules, &record).difference, None);
}

#[test]
fn a_scorer_is_told_of_the_publisher_whose_session_a_call_dials() {
    let config = TIER.replace("SCORER", ASKED).replace("USE", "");
    let config = config.replace("publishers = [", "publishers = [{ id = \"q\" }, ");
    let rules = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
    let ping = PingId::from_bytes([1; 16]);
    let session = SessionReading {
        session: SessionId::from_bytes([1; 16]),
        ping,
        publisher: "q".into(),
        campaign: "c".into(),
        number: None,
        caller: None,
        created_at: OPEN,
        expires_at: Wall(i64::MAX),
        tags: Tags::new(),
        former: None,
        sharing: None,
        promise: None,
        enriched: Tags::new(),
    };
    // `q` has no number, so that of `p` stands in.
    let named = Some(Named { key: SessionKey::Ping(ping), is_all: true });
    let request = RouteRequest { named, ..request("+18005550100") };

    let known = Known { sessions: &[session], calls: &[] };
    let asked = questions(&rules, &request, known, &Nothing, &Rotation::default());

    assert_eq!(asked[0].publisher, "q".into());
    assert_eq!(asked[0].candidates[0].payout, Money::ZERO, "nothing is owed to `q`");
}

#[test]
fn nobody_is_asked_about_a_call_of_which_there_is_nothing_to_rank() {
    let asked = |from: &str, to: &str| {
        let config = TIER.replace("SCORER", ASKED).replace("USE", "");
        assert!(config.contains(from));
        let config = toml::from_str(&config.replace(from, to)).unwrap();
        let rules = RoutingSnapshot::compile(config, 1).unwrap();
        let (request, rotation) = (request("+18005550100"), Rotation::default());
        let asked = questions(&rules, &request, Known::default(), &Nothing, &rotation);
        (asked.len(), decide_on(&rules, &Nothing).explain_first(1).join("\n"))
    };
    assert_eq!(asked("[[campaigns]]", "[[campaigns]]").0, 1);
    for (from, to) in [
        ("id = \"c\"\n", "id = \"c\"\npaused = true\n"),
        ("publisher = \"p\"", "publisher = \"p\"\ncallers = { anonymous = \"refuse\" }"),
        ("id = \"p\",", "id = \"p\", paused = true,"),
    ] {
        assert_eq!(asked(from, to).0, 0, "{to}");
    }
    let (count, told) = asked("{ id = \"two\",", "{ id = \"two\", paused = true,");
    assert_eq!(count, 0);
    assert!(told.contains("one: dialled as number 1; the only one, so m is not asked"), "{told}");
}

#[test]
fn for_want_of_a_score_shares_order_the_tier() {
    for scores in [&[][..], &[("two", 310_000)]] {
        let rules = rules(ASKED, "", "");
        let decision = decide_on(&rules, &Scores(scores));
        assert_eq!(targets_of(&decision), ["one", "two"]);
        let lines = decision.explain_first(1);
        assert_eq!(lines[1], "one: dialled as number 1; no score of m in time");
        let record = recorded(&request("+18005550100"), &decision);
        assert_eq!(replay(&rules, &record).difference, None);
    }
}

#[test]
fn what_is_wrong_with_a_scorer_is_told_with_its_line() {
    let faults = |scorer: &str, text: &str| {
        let faults = compile(scorer, "", text).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let told = faults(LOGISTIC, "intercept,, -1\n\ngeo.state, OH\n");
    assert!(told.contains("scorers[0].file = m.csv: line 3: `geo.state, OH` is not"), "{told}");
    let told = faults(LOGISTIC, "# nothing\n");
    assert!(told.contains("holds nothing"), "{told}");
    let told = faults(r#"{ id = "n", kind = "table" }"#, "");
    assert!(told.contains("scorers[0] = n: is a model without numbers"), "{told}");
    assert!(told.contains("distribution.scorer = m: names no scorer"), "{told}");
    let told = faults(
        r#"{ id = "m", kind = "http", url = "ftp://models", deadline_ms = 900, file = "m.csv" }"#,
        "",
    );
    for part in
        ["url = ftp://models: is no http or https URL", "deadline_ms = 900", "file = m.csv: has no"]
    {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_is_said_of_tls_needs_a_scorer_that_is_asked_over_it() {
    let faults = |scorer: &str| {
        let faults = compile(scorer, "", "").unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let told = faults(
        r#"{ id = "m", kind = "http", url = "http://models/", tls = { extra_ca = "ca.pem" } }"#,
    );
    let fault = "scorers[0].tls = of m: has no effect, since the URL does not ask for TLS";
    assert!(told.contains(fault), "{told}");
    let told = faults(r#"{ id = "m", kind = "table", file = "m.csv", tls = { verify = false } }"#);
    assert!(told.contains("scorers[0].tls = of m: has no meaning for this kind"), "{told}");
    let asked = r#"{ id = "m", kind = "http", url = "https://models/", tls = { verify = false } }"#;
    assert!(compile(asked, "", "").is_ok());
}

const ASKED: &str = r#"{ id = "m", kind = "http", url = "http://127.0.0.1:9/score" }"#;

struct Nothing;

impl UsageReader for Nothing {
    fn usage(&self, _: &Bucket) -> Usage {
        Usage::default()
    }
}

struct Scores<'a>(&'a [(&'a str, i64)]);

impl UsageReader for Scores<'_> {
    fn usage(&self, _: &Bucket) -> Usage {
        Usage::default()
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        assert_eq!(scorer, "m");
        self.0.iter().find(|(of, _)| *of == target.as_str()).map(|(_, score)| *score)
    }
}

fn decide_on(rules: &RoutingSnapshot, usage: &impl UsageReader) -> Decision {
    let request = request("+18005550100");
    decide(rules, &request, Known::default(), usage, &mut Rotation::default())
}

fn rules(scorer: &str, how: &str, text: &str) -> RoutingSnapshot {
    compile(scorer, how, text).unwrap()
}

fn compile(
    scorer: &str,
    how: &str,
    text: &str,
) -> Result<RoutingSnapshot, Vec<crate::routing::ConfigFault>> {
    let config = TIER.replace("SCORER", scorer).replace("USE", how);
    let mut config: RoutingConfig = toml::from_str(&config).unwrap();
    let files: Vec<_> = config.files().map(|file| file.to_owned()).collect();
    config.texts = files.into_iter().map(|file| (file, Ok(text.to_owned()))).collect();
    RoutingSnapshot::compile(config, 1)
}
