//! What simulated edges are configured with: campaigns, buyers and caps, so tight that calls meet
//! at them. A few configurations, compiled once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};

use crate::config::{Config, Format};
use crate::money::Money;
use crate::routing::hold::Stake;
use crate::server::rehearsal::Blueprint;
use crate::sim::habits::one_in;
use crate::sim::mind::RULES;
use crate::sim::moves::{LISTED_NAME, NAMED};
use crate::sim::stage::NOWHERE;
use crate::sip::flow::Transport;
use crate::sip::locate::directory::Located;
use crate::sip::locate::{Location, Service};
use crate::sip::message::Uri;

/// How many there are.
const MARKETS: usize = 14;

/// From this one on the carrier has calls handed over to it.
const HANDING: usize = 8;

/// Numbers of campaigns, of none, and one that is too long to be one.
const NUMBERS: [&str; 6] = [
    "+18005550100",
    "+18005550101",
    "+18005550102",
    "+18005550103",
    "+18005550999",
    "+180055501001234567",
];

pub(crate) struct Market {
    pub(crate) blueprint: Blueprint,
    /// Of every cap and concurrency, by its name.
    pub(crate) limits: BTreeMap<SmolStr, Limit>,
    /// The least time between attempts in milliseconds, by the name of the spacing.
    pub(crate) gaps: BTreeMap<SmolStr, u64>,
}

/// In the unit of the cap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    pub(crate) max: u64,
    /// The most that one call adds.
    pub(crate) of_a_call: u64,
}

/// The most that calls come to in any of them.
const STAKE: Stake = Stake {
    revenue: Money(20_000_000),
    seconds: 0,
    payout: Money(12_000_000),
    payout_seconds: 0,
    talk_ms: 60_000,
};

/// One of them, by any number.
pub(crate) fn market(number: usize) -> &'static Market {
    static ALL: [OnceLock<Market>; MARKETS] = [const { OnceLock::new() }; MARKETS];
    ALL[number % MARKETS].get_or_init(|| Market::new(number % MARKETS))
}

/// What a caller dials: mostly what is advertised.
pub(crate) fn number(rng: &mut Rng) -> &'static str {
    let known = if one_in(rng, 20) { NUMBERS.len() } else { 4 };
    NUMBERS[rng.usize(..known)]
}

impl Market {
    fn new(number: usize) -> Self {
        let (value, located) = configuration(number);
        let text = value.to_string();
        let config = Config::parse("market", &text, Format::Json, std::iter::empty(), &[])
            .unwrap_or_else(|faults| panic!("market {number}: {faults}"));
        let blueprint = Blueprint::new(&config, located)
            .unwrap_or_else(|faults| panic!("market {number}: {faults}"));
        let snapshot = blueprint.snapshot();
        let caps = snapshot.caps().map(|cap| {
            let limit = Limit { max: cap.limit, of_a_call: cap.counts.room(&STAKE) };
            (cap.key.clone(), limit)
        });
        let concurrency = snapshot
            .concurrency()
            .map(|it| (it.key.clone(), Limit { max: it.limit, of_a_call: 1 }));
        let limits = caps.chain(concurrency).collect();
        Self { blueprint, limits, gaps: gaps(&value) }
    }
}

fn configuration(number: usize) -> (Value, Located) {
    let rng = &mut Rng::with_seed(number as u64);
    let targets: Vec<_> = (1..=9).map(|n| target(n, rng)).collect();
    let mut campaigns = vec![];
    for (n, number) in NUMBERS.iter().enumerate().take(4) {
        let ring = if n == 1 || one_in(rng, 4) { "parallel" } else { "serial" };
        let mut left: Vec<u64> = (1..=9).collect();
        rng.shuffle(&mut left);
        let tiers: Vec<_> = (1..=rng.i32(1..4))
            .map(|tier| {
                let targets: Vec<_> = (0..rng.u8(1..4))
                    .filter_map(|_| left.pop())
                    .map(|n| json!({ "target": format!("tgt_{n}"), "weight": rng.u32(1..100) }))
                    .collect();
                json!({ "tier": tier, "ring": ring, "targets": targets })
            })
            .collect();
        let codes = [300, 302, 404, 408, 480, 486, 500, 503, 600];
        let advance_on: Vec<_> = codes.into_iter().filter(|_| rng.bool()).collect();
        campaigns.push(json!({
            "id": format!("cmp_{n}"), "publisher": "pub", "numbers": [number],
            "routing": { "tiers": tiers }, "advance_on": advance_on,
            "max_attempts": rng.u8(1..5), "total_ring_budget_s": rng.u8(2..40),
        }));
    }
    let payouts: Vec<_> = (0..4)
        .map(|n| json!({ "campaign": format!("cmp_{n}"), "model": "fixed", "amount": "12.00" }))
        .collect();
    let mut market = json!({
        "node": { "id": 1, "name": "sim" },
        "sip": {
            "listen": ["udp:203.0.113.1:5060"], "shards": 1, "probe_interval_s": 10,
            "max_call_s": 60, "trying_after_ms": number % 2 * 100,
        },
        "journal": {
            "segment_bytes": 1 << 20, "segment_age_s": rng.u8(5..30), "checkpoint_interval_s": 5,
            "low_water_bytes": 1 << 20, "reserve_water_bytes": 1 << 20,
        },
        "cdr": { "orphan_bye": number % 2 == 1 },
        "trunks": [{
            "id": "sim", "carrier": "loopback",
            "inbound": { "cidrs": ["192.0.2.0/24"], "headers": { "pass": ["X-Pass"] } },
            "dialog": { "100rel": if number < 6 { "supported" } else { "no" } },
        }],
        "publishers": [{ "id": "pub", "payouts": payouts }],
        "buyers": [{ "id": "buyer" }],
        "targets": targets,
        "campaigns": campaigns,
    });
    // A call that counts in a cap on money is bridged, whatever its carrier takes.
    let may_spend = number < HANDING || number == HANDING + 5;
    if number % 2 == 1 && may_spend {
        spend(&mut market, number);
    }
    recover(&mut market, number);
    move_along(&mut market, number, may_spend);
    if number >= HANDING {
        hand_over(&mut market, number);
    }
    let located = spread(&mut market, number);
    (market, located)
}

/// Some campaigns go on after a target that hangs up at once. Drawn apart, as all that follows.
fn recover(market: &mut Value, number: usize) {
    let rng = &mut Rng::with_seed(1_000 + number as u64);
    for campaign in market["campaigns"].as_array_mut().into_iter().flatten() {
        if one_in(rng, 2) {
            campaign["recovery"] = json!({ "within_s": rng.u8(1..30), "max": rng.u8(1..4) });
        }
    }
}

/// The carrier is told whom to call, by 302 or by REFER. Drawn apart, as all that follows.
fn hand_over(market: &mut Value, number: usize) {
    let rng = &mut Rng::with_seed(2_000 + number as u64);
    let trunk = &mut market["trunks"][0];
    let deliveries = ["refer", "refer", "redirect", "bridge", "refer", "refer"];
    trunk["delivery"] = json!(deliveries[number - HANDING]);
    trunk["dialog"]["redirect_ok"] = json!(true);
    trunk["dialog"]["refer"] = json!({
        "send": true, "referred_by": number % 2 == 1,
        "first_notify_ms": rng.u32(500..5_000), "final_notify_s": rng.u32(1..20),
    });
    if number == HANDING {
        trunk["dialog"]["refer"]["target_template"] = json!("sip:{number}@carrier.example");
    }
    for target in market["targets"].as_array_mut().into_iter().flatten() {
        // Some say it themselves.
        let of_its_own = ["bridge", "refer", "redirect"][rng.usize(..3)];
        if one_in(rng, if number == HANDING + 3 { 1 } else { 5 }) {
            target["sip"]["delivery"] = json!(of_its_own);
        }
    }
}

/// Targets behind names that stand for several addresses, and what targets may name in a 3xx.
fn spread(market: &mut Value, number: usize) -> Located {
    let rng = &mut Rng::with_seed(3_000 + number as u64);
    let mut located = Located::new();
    let mut locate = |uri: &str, locations: Vec<Location>| {
        let service = Uri::parse(uri.as_bytes()).ok().as_ref().and_then(Service::of);
        located.insert(service.expect("a name"), locations.into());
    };
    for (n, target) in (1..=9).zip(market["targets"].as_array_mut().into_iter().flatten()) {
        let (max, hosts) = RULES[rng.usize(..RULES.len())];
        if rng.bool() {
            target["sip"]["redirect"] = json!({ "max": max, "hosts": hosts });
        }
        let (count, is_ranked) = (rng.u8(2..5), rng.bool());
        let mut location = |entry: u8| Location {
            transport: Transport::Udp,
            peer: match entry {
                0 => SocketAddr::from(([198, 51, 100, n], 5060)),
                _ if one_in(rng, 4) => NOWHERE,
                _ => SocketAddr::from(([198, 51, 100, 10 * entry + n], 5060)),
            },
            rank: if is_ranked { entry.into() } else { 0 },
            entry: entry.into(),
            weight: rng.u16(..100),
            tcp_port: None,
        };
        let mut locations: Vec<_> = (0..count).map(&mut location).collect();
        let nobody = locations.iter().rposition(|it| it.peer == NOWHERE);
        // No address stands twice in what DNS says.
        let mut at = 0..;
        locations.retain(|it| at.next() == nobody || it.peer != NOWHERE);
        if n != 9 && !one_in(rng, 3) {
            let uri = |user: &str| format!("sip:{user}@tgt{n}.example:5060");
            target["dial"]["uri"] = json!(uri("{number}"));
            locate(&uri("x"), locations);
        }
    }
    located.insert(
        Service::host(LISTED_NAME),
        Arc::new([Location {
            transport: Transport::Udp,
            peer: SocketAddr::new(NAMED, 5060),
            rank: 0,
            entry: 0,
            weight: 0,
            tcp_port: None,
        }]),
    );
    located
}

/// Caps on money and minutes, for whoever may have some. Drawn apart, so that the rest of a market is
/// the same without them.
fn spend(market: &mut Value, number: usize) {
    let rng = &mut Rng::with_seed(1_000 + number as u64);
    let amount = |rng: &mut Rng, of_a_call: u32| format!("{}.00", of_a_call * rng.u32(1..8));
    let mut cap = |metric: &str| {
        let limit = match metric {
            "revenue" => json!(amount(rng, 20)),
            "payout" => json!(amount(rng, 12)),
            _ => json!(rng.u8(1..6)),
        };
        let window = ["minute", "hourly", "daily", "total"][rng.usize(..4)];
        one_in(rng, 3).then(|| json!({ "metric": metric, "window": window, "limit": limit }))
    };
    for target in market["targets"].as_array_mut().into_iter().flatten() {
        let converts = target.get("conversion").is_some();
        let metrics = ["payout", "minutes"].into_iter().chain(converts.then_some("revenue"));
        let caps = metrics.filter_map(&mut cap).collect::<Vec<_>>();
        target["caps"].as_array_mut().into_iter().for_each(|known| known.extend(caps.clone()));
    }
    for section in ["buyers", "publishers", "campaigns", "trunks"] {
        for owner in market[section].as_array_mut().into_iter().flatten() {
            let metrics = ["revenue", "payout", "minutes", "converted", "connected"];
            owner["caps"] = metrics.into_iter().filter_map(&mut cap).collect();
        }
    }
}

/// Windows that move along with time, and time between attempts. Drawn apart, as all of these.
fn move_along(market: &mut Value, number: usize, may_spend: bool) {
    let rng = &mut Rng::with_seed(4_000 + number as u64);
    let metrics = ["attempted", "connected", "converted", "minutes"];
    let metrics = &metrics[..if may_spend { 4 } else { 2 }];
    for target in market["targets"].as_array_mut().into_iter().flatten() {
        let (metric, limit) = (metrics[rng.usize(..metrics.len())], rng.u32(1..6));
        let window = format!("rolling:{}", [60, 90, 150][rng.usize(..3)]);
        let cap = json!({ "metric": metric, "window": window, "limit": limit });
        let gap_s = rng.u32(1..15);
        if one_in(rng, 3) {
            target["caps"].as_array_mut().into_iter().for_each(|caps| caps.push(cap.clone()));
        }
        if one_in(rng, 4) {
            target["min_gap_s"] = json!(gap_s);
        }
    }
    if number == 5 {
        market["buyers"][0]["min_gap_s"] = json!(1);
    }
}

/// What the configuration says of time between attempts.
fn gaps(market: &Value) -> BTreeMap<SmolStr, u64> {
    let of = |section: &'static str, whose: &'static str| {
        let owners = market[section].as_array().into_iter().flatten();
        owners.filter_map(move |owner| {
            let key = format_smolstr!("{whose}/{}/spacing", owner["id"].as_str()?);
            Some((key, owner["min_gap_s"].as_u64()? * 1_000))
        })
    };
    of("targets", "target").chain(of("buyers", "buyer")).collect()
}

fn target(n: u8, rng: &mut Rng) -> Value {
    let host = if n == 9 { NOWHERE.ip().to_string() } else { format!("198.51.100.{n}") };
    let (ring_timeout_s, first_response_ms) = (rng.u8(1..20), rng.u32(300..3_000));
    let (covers_progress, max_duration_s) = (rng.bool(), u32::from(rng.u8(1..60)));
    let mut target = json!({
        "id": format!("tgt_{n}"), "buyer": "buyer",
        "dial": { "kind": "sip", "uri": format!("sip:{{number}}@{host}:5060") },
        "ring_timeout_s": ring_timeout_s, "first_response_ms": first_response_ms,
        "ring_timeout_covers_progress": covers_progress, "max_duration_s": max_duration_s,
    });
    let mut caps = vec![];
    for metric in ["attempted", "connected", "converted"] {
        if one_in(rng, 3) {
            let window = ["minute", "hourly", "daily", "total"][rng.usize(..4)];
            caps.push(json!({ "metric": metric, "window": window, "limit": rng.u32(1..8) }));
        }
    }
    target["caps"] = caps.into();
    if rng.bool() {
        target["concurrency"] = json!({ "limit": rng.u32(1..4) });
    }
    if one_in(rng, 4) {
        target["sip"] = json!({
            "headers": { "pass": ["X-Pass"], "add": { "X-Caller": "{caller.number}" } },
            "identity": { "caller": ["pai", "rpid", "from"], "diversion": "pass" },
        });
    }
    if rng.bool() {
        target["dialog"] = json!({ "100rel": "supported" });
    }
    if one_in(rng, 3) {
        target["dialog"]["session_timer"] = json!({ "se_s": 90 });
    }
    if !one_in(rng, 4) {
        target["conversion"] = json!({
            "on": "call_length", "start": "on_answer", "seconds": rng.u32(1..6).min(max_duration_s),
            "revenue": "20.00",
        });
    }
    target
}
