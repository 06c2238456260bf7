//! Decisions by every distribution: the same in every process, and with a reason for each candidate.

use fastrand::Rng;

use super::*;

/// Every distribution, shares that are held, prices, and a model.
const ALL_WAYS: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    scorers = [{ id = "m", kind = "logistic", file = "m.csv" }]
    [[targets]]
    id = "small"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:a" }
    concurrency = { limit = 1 }
    conversion = { seconds = 60, revenue = "42.00" }
    [[targets]]
    id = "ohio"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:b" }
    filters = { all = [{ tag = "geo.state", op = "eq", value = "OH" }] }
    conversion = { seconds = 60, revenue = "30.00" }
    [[targets]]
    id = "cheap"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:c" }
    conversion = { seconds = 60, revenue = "8.00" }
    [[targets]]
    id = "shut"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:d" }
    schedule = { time_zone = "UTC", hours = [{ day = "mon", open = "08:00", close = "09:00" }] }
"#;

const WAYS: [&str; 6] = [
    r#"distribution = "smooth", hold_share_s = 5"#,
    r#"distribution = "random", hold_share_s = 5"#,
    r#"distribution = { by = "performance", min_calls = 5, exploration_pct = 10 }"#,
    r#"distribution = { by = "performance", order = "weighted", exploration_daily = "9.00" }"#,
    r#"distribution = { by = "scorer", scorer = "m" }"#,
    r#"distribution = { by = "scorer", scorer = "m", order = "weighted", times = "margin" }"#,
];

/// One campaign for each of [`WAYS`].
fn all_ways() -> RoutingSnapshot {
    let mut text = String::from(ALL_WAYS);
    for (n, way) in WAYS.iter().enumerate() {
        let price = ["", r#"price = { min_revenue = "5.00", soft_min_revenue = "20.00" }"#][n % 2];
        text += &format!(
            r#"
            [[campaigns]]
            id = "c{n}"
            publisher = "p"
            numbers = ["+1800555010{n}"]
            max_attempts = 2
            {price}
            routing = {{ {way}, tiers = [
                {{ tier = 1, targets = [{{ target = "small", weight = 50 }}, {{ target = "ohio" }},
                    {{ target = "shut", weight = 300 }}] }},
                {{ tier = 2, targets = [{{ target = "cheap" }}] }},
            ] }}
            "#
        );
    }
    let mut config: RoutingConfig = toml::from_str(&text).unwrap();
    let model = "intercept,, -1\ntarget.id, ohio, 0.5\ngeo.state, OH, 0.25\ncall.hour, *, 0.01\n";
    config.texts = [("m.csv".into(), Ok(model.to_owned()))].into();
    RoutingSnapshot::compile(config, 1).unwrap()
}

/// Decides about calls that a seed makes, and hands each decision with its record to `look`.
fn decide_all(seed: u64, calls: u32, mut look: impl FnMut(&RoutingSnapshot, &Decided)) {
    let deciding = Deciding::new(all_ways());
    let mut rng = Rng::with_seed(seed);
    let mut at = 1_773_748_800_000;
    for n in 0..calls {
        at += rng.i64(0..3_000);
        let tags = [("geo.state".into(), ["OH", "KY"][rng.usize(0..2)].into())].into();
        let request = RouteRequest {
            call: CallId::of_simulation(seed, n),
            at: Wall(at),
            dialed: PhoneNumber::from_digits(18_005_550_100 + rng.u64(0..6)).unwrap(),
            caller: None,
            trunk: "t".into(),
            named: None,
            tags,
            announced: false,
        };
        let decided = deciding.decide(&request, NOW, &[], None, None);
        look(&deciding.snapshot(), &decided);
        let Some(planned) = decided.decision.plan.first() else { continue };
        let now = Mono(u64::try_from(at).unwrap() * 1_000_000);
        deciding.call_dialed(request.call, planned);
        let (call, terms) = (request.call, planned.terms);
        let held = deciding.wanted(call, 1, planned, terms, None, request.at);
        if let Some((hold, holds)) = &held {
            deciding.reserve(*hold, holds, now).expect("what was decided fits");
        }
        if rng.bool() {
            deciding.call_answered(request.call, planned, (now, request.at));
        }
        if rng.bool() {
            deciding.call_converted(request.call, (now, request.at));
        }
        deciding.call_over(request.call, None);
        if let Some((hold, _)) = held.filter(|_| rng.bool()) {
            deciding.release(hold);
        }
        deciding.sweep(now, request.at);
    }
}

#[test]
fn no_candidate_of_any_decision_is_without_a_place_or_a_reason() {
    let seed = fastrand::u64(..);
    let mut firsts = BTreeMap::<_, u32>::new();
    decide_all(seed, 3_000, |snapshot, Decided { decision, record, .. }| {
        for dialed in [0, decision.plan.len()] {
            let outcomes = decision.outcomes_of_first(dialed);
            assert_eq!(outcomes.len(), 4, "seed {seed}: {outcomes:?}");
            assert!(outcomes.iter().all(|it| it.dialed == it.reason.is_none()), "seed {seed}");
        }
        let campaign = decision.attribution.as_ref().unwrap().campaign.clone();
        let first = decision.plan.first().map(|planned| planned.target.clone());
        *firsts.entry((campaign, first)).or_default() += 1;
        let record = DecisionRecord::from_bytes(record).unwrap();
        assert_eq!(replay(snapshot, &record).difference, None, "seed {seed}");
    });
    assert!(firsts.len() > 12, "{firsts:?}");
}

/// Set where the test below runs itself in another process.
const CHILD: &str = "TOLLBRIDGE_TEST_DECIDES";

/// Addresses, and whatever else differs from process to process, must not be seen in a decision.
#[test]
#[expect(clippy::print_stdout, reason = "it is what one process tells the other")]
fn another_process_makes_the_same_records_of_the_same_calls() {
    let mut records = vec![];
    decide_all(20_261_122, 2_000, |_, decided| records.extend_from_slice(&decided.record));
    let day = busy_day(20_261_122, 4_000, |deciding, _, request, _, scores| {
        let decided = deciding.decide(request, NOW, scores, None, None);
        records.extend_from_slice(&decided.record);
        decided
    });
    assert!(day.scored > 0 && day.explored > 0 && day.ill > 0, "{day:?}");
    let told = format!("records {} {:016x}", records.len(), fingerprint(&records));
    if std::env::var_os(CHILD).is_some() {
        println!("{told}");
        return;
    }
    let test = std::env::current_exe().unwrap();
    let name =
        "server::deciding::tests::ways::another_process_makes_the_same_records_of_the_same_calls";
    let mut child = std::process::Command::new(test);
    child.args([name, "--exact", "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(output.contains(&told), "{told} is not in {output}");
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
