//! Reading and compiling a large configuration, deciding on it, and taking room for a call.
//!
//! `cargo bench --bench routing`. The configuration has 10,000 targets, 1,000 campaigns, 100,000
//! numbers and a set of 42,000 ZIP codes, by which every target filters. Decisions are timed one by
//! one, so that the slowest of a thousand is no better than their P99. Allocations are counted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use divan::{AllocProfiler, Bencher, black_box};
use tollbridge::config::{Config, Format};
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::config::{FilterValue, NamedOr, NumberConfig, TierTargetConfig};
use tollbridge::routing::hold::{Bucket, BucketRequest, HoldLedger, LedgerLimits};
use tollbridge::routing::{
    Decision, Known, Rotation, RouteRequest, RoutingConfig, RoutingSnapshot, Usage, decide,
};
use tollbridge::time::{Mono, Wall};

const TARGETS: usize = 10_000;
const CAMPAIGNS: usize = 1_000;
const NUMBERS: usize = 100_000;
const ZIPS: usize = 42_000;

/// One of each kind, to be multiplied. The first campaign has all targets, the second a hundred, every
/// other one ten.
const SEED: &str = r#"
    publishers = [{ id = "pub" }]
    buyers = [{ id = "buy" }]

    [[sets]]
    id = "zips"
    kind = "zip"

    [[verticals]]
    id = "auto"
    tags = [{ name = "lead.age", type = "integer" }]

    [[targets]]
    id = "tgt"
    buyer = "buy"
    dial = { kind = "sip", uri = "sip:192.0.2.1" }
    caps = [{ metric = "connected", window = "daily", limit = 80 }]
    concurrency = { limit = 8 }
    conversion = { seconds = 90, revenue = "41.50" }
    schedule = { time_zone = "America/New_York", always_open = true }
    filters.all = [
        { tag = "geo.zip", op = "in_set", value = "zips" },
        { tag = "geo.state", op = "in", value = ["OH", "PA", "MI", "IN"] },
        { tag = "lead.age", op = "between", value = [50, 80] },
    ]

    [[campaigns]]
    id = "cmp"
    publisher = "pub"
    vertical = "auto"
    routing = { tiers = [{ targets = [] }] }
"#;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

static CONFIG: LazyLock<RoutingConfig> = LazyLock::new(|| {
    let mut config: RoutingConfig = toml::from_str(SEED).expect("the seed is well written");
    config.sets[0].values =
        Some(FilterValue::Many((0..ZIPS).map(|n| format!("{:05}", n * 2).into()).collect()));
    let target = config.targets.remove(0);
    config.targets.extend((0..TARGETS).map(|n| {
        let mut target = target.clone();
        target.id = format!("tgt_{n}").as_str().into();
        target
    }));
    let campaign = config.campaigns.remove(0);
    let numbers = NUMBERS / CAMPAIGNS;
    config.campaigns.extend((0..CAMPAIGNS).map(|c| {
        let mut campaign = campaign.clone();
        campaign.id = format!("cmp_{c}").as_str().into();
        let digits = |n: usize| 18_005_000_000 + 2 * (c * numbers + n);
        let number = |n| NumberConfig { number: format!("+{}", digits(n)), publisher: None };
        campaign.numbers = (0..numbers).map(number).collect();
        let members = match c {
            0 => 0..TARGETS,
            1 => 0..100,
            _ => c * 10..c * 10 + 10,
        };
        let member =
            |n| TierTargetConfig { target: format!("tgt_{n}").as_str().into(), weight: 100 };
        let NamedOr::Written(plan) = &mut campaign.routing else {
            unreachable!("the plan of the bench is written with its campaign")
        };
        plan.tiers[0].targets = members.map(member).collect();
        campaign
    }));
    config
});

static SNAPSHOT: LazyLock<RoutingSnapshot> = LazyLock::new(|| {
    RoutingSnapshot::compile(CONFIG.clone(), 1).expect("the configuration is sound")
});

/// As many targets as a file has them, each on lines of its own.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let (before, rest) = SEED.split_once("[[targets]]").expect("the seed has a target");
    let (target, behind) = rest.split_once("[[campaigns]]").expect("and a campaign behind it");
    let target = |n| format!("[[targets]]{}", target.replace("\"tgt\"", &format!("\"tgt_{n}\"")));
    let targets: String = (0..TARGETS).map(target).collect();
    let listen = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n";
    // What stands at the top of the seed is of no table, so it goes before all.
    format!("{before}{targets}[[campaigns]]{behind}{listen}")
});

/// A call for the campaign whose number it is.
fn request(dialed: &str, zip: &str) -> RouteRequest {
    let tags = [("geo.zip", zip), ("lead.age", "63")];
    RouteRequest {
        call: CallId::from_bytes([1; 16]),
        at: Wall(1_773_759_852_318),
        dialed: dialed.parse().expect("a number"),
        // The state is that of its area code.
        caller: "+16145550163".parse().ok(),
        trunk: "trk".into(),
        named: None,
        tags: tags.map(|(name, value)| (name.into(), value.into())).into(),
        announced: false,
    }
}

fn decided(request: &RouteRequest, rotation: &mut Rotation) -> Decision {
    let nothing_used: BTreeMap<Bucket, Usage> = BTreeMap::new();
    decide(&SNAPSHOT, black_box(request), Known::default(), &nothing_used, rotation)
}

#[divan::bench(sample_count = 20)]
fn compile_10000_targets_1000_campaigns_100000_numbers(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| CONFIG.clone())
        .bench_local_values(|config| RoutingSnapshot::compile(config, 1).map(|it| it.revision()));
}

/// As `check`, a start and a reload read it.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn read_10000_targets(bencher: Bencher<'_, '_>) {
    let text = TEXT.as_str();
    bencher.bench_local(|| {
        let text = black_box(text);
        let config = Config::parse("bench.toml", text, Format::Toml, std::iter::empty(), &[]);
        let routing = config.and_then(|it| it.routing::<RoutingConfig>().whole());
        routing.expect("the text is well written").targets.len()
    });
}

#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn decide_among_10_targets(bencher: Bencher<'_, '_>) {
    let (request, mut rotation) = (request("+18005000400", "43216"), Rotation::default());
    assert!(!decided(&request, &mut rotation).plan.is_empty());
    bencher.bench_local(|| decided(&request, &mut rotation));
}

#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn decide_among_100_targets(bencher: Bencher<'_, '_>) {
    let (request, mut rotation) = (request("+18005000200", "43216"), Rotation::default());
    assert!(!decided(&request, &mut rotation).plan.is_empty());
    bencher.bench_local(|| decided(&request, &mut rotation));
}

#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn decide_among_10000_targets_of_which_all_can(bencher: Bencher<'_, '_>) {
    let (request, mut rotation) = (request("+18005000000", "43216"), Rotation::default());
    assert!(!decided(&request, &mut rotation).plan.is_empty());
    bencher.bench_local(|| decided(&request, &mut rotation));
}

#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn decide_among_10000_targets_of_which_none_can(bencher: Bencher<'_, '_>) {
    let (request, mut rotation) = (request("+18005000000", "43215"), Rotation::default());
    assert!(decided(&request, &mut rotation).plan.is_empty());
    bencher.bench_local(|| decided(&request, &mut rotation));
}

/// The hold of a call, with ten thousand others live: taken and given back.
#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn hold_and_release_among_10000(bencher: Bencher<'_, '_>) {
    let (request, mut rotation) = (request("+18005000400", "43216"), Rotation::default());
    let holds = decided(&request, &mut rotation).plan.remove(0).holds;
    assert_eq!(holds.len(), 2);
    let mut ledger = HoldLedger::new(LedgerLimits::default());
    for n in 0..10_000_u32 {
        let other = BucketRequest {
            bucket: Bucket { cap: format!("other/{}", n % 500).into(), ..holds[0].bucket.clone() },
            ..holds[0].clone()
        };
        let hold = HoldId::of(CallId::of_simulation(1, n), 1, "other");
        ledger.reserve(hold, &[other], Mono(1)).expect("there is room");
    }
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        let hold = HoldId::of(CallId::of_simulation(2, number), 1, "target");
        let placed = ledger.reserve(black_box(hold), black_box(&holds), Mono(2)).is_ok();
        placed && ledger.release(hold)
    });
}
