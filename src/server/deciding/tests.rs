//! One configuration, one ledger, one desk: what is decided, and what would be.

use fastrand::Rng;
use smol_str::{SmolStr, ToSmolStr};

use super::*;
use crate::id::SessionId;
use crate::routing::attribution::{Named, SessionKey};
use crate::routing::config::RoutingConfig;
use crate::routing::hold::Counts;
use crate::routing::replay::replay;

const NOW: Mono = Mono(1);

/// It has no record that would say what it came to.
#[test]
fn a_call_that_was_planned_before_a_cap_on_money_came_takes_no_room_of_it() {
    let config = toml::from_str(CONFIG).unwrap();
    let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
    let request = RouteRequest {
        call: CallId::from_bytes([9; 16]),
        at: Wall(1_785_000_000_000),
        dialed: "+18005550100".parse().unwrap(),
        caller: None,
        trunk: "trk".into(),
        named: None,
        tags: Tags::default(),
    };
    let mut decided = deciding.decide(&request, NOW);
    let planned = &mut decided.decision.plan[0];
    let counted = |planned: &PlannedAttempt, leg| {
        let room = deciding.wanted(request.call, leg, planned, None, request.at);
        let holds = room.map(|(_, holds)| holds).unwrap_or_default();
        holds.iter().map(|hold| hold.counts).collect::<Vec<_>>()
    };

    assert_eq!(counted(planned, 1), [Counts::Connected, Counts::Talk]);
    planned.holds.retain(|hold| hold.counts == Counts::Connected);
    assert_eq!(counted(planned, 2), [Counts::Connected]);
}

const CONFIG: &str = r#"
    publishers = [{ id = "p", name = "P" }]
    buyers = [{ id = "b", name = "B" }]
    [[targets]]
    id = "t"
    name = "T"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:192.0.2.1" }
    ring_timeout_s = 6
    first_response_ms = 2000
    caps = [
      { metric = "connected", window = "total", limit = 9 },
      { metric = "minutes", window = "total", limit = 6000 },
    ]
    [[campaigns]]
    id = "c"
    name = "C"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = { tiers = [{ tier = 1, targets = [{ target = "t" }] }] }
"#;

const BUSY: &str = r#"
    publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "24.00" }] }]
    buyers = [{ id = "b", dedupe = { after = "connected", window_s = 60 } }]
    pools = [{
        id = "pool", campaign = "c", publisher = "p", quarantine_s = 10, session_ttl_s = 20,
        numbers = ["+18005550111", "+18005550112"],
    }]
    trunks = [{ id = "t", publisher = "p", session_header = "X-Ping-Id" }, { id = "u" }]
    [[targets]]
    id = "daytime"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:a" }
    concurrency = { limit = 3 }
    caps = [{ metric = "connected", window = "hourly", limit = 40 }]
    schedule = { time_zone = "America/New_York", hours = [
        { day = "tue", open = "08:00", close = "20:00" },
    ] }
    [[targets]]
    id = "ohio"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:b" }
    filters = { all = [{ tag = "geo.state", op = "in", value = ["OH", "PA"] }] }
    caps = [{ metric = "revenue", window = "daily", limit = "900.00" }]
    conversion = { seconds = 60, revenue = "42.00" }
    [[targets]]
    id = "any"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:c" }
    dedupe = { after = "off" }
    concurrency = { limit = 30 }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100-+18005550109"]
    min_match_confidence = 0.5
    callers = { repeat_after_s = 1, duplicates = { window_s = 600, route = "original" } }
    routing = { hold_share_s = 30, tiers = [
        { tier = 1, targets = [{ target = "daytime", weight = 70 }, { target = "ohio", weight = 30 }] },
        { tier = 2, targets = [{ target = "any" }] },
    ] }
    [[campaigns]]
    id = "d"
    publisher = "p"
    numbers = ["+18005550115-+18005550119"]
    routing = { distribution = "random", tiers = [
        { tier = 1, targets = [{ target = "daytime", weight = 70 }, { target = "ohio", weight = 30 }],
          distribution = { by = "performance", min_calls = 5, exploration_pct = 20,
                           exploration_daily = "90.00", desired_calls = 100_000 } },
        { tier = 2, targets = [{ target = "any" }] },
    ] }
"#;

/// Calls and pings of a busy day, one after the other: what would be decided about each call is what
/// is, and what is decided again.
#[test]
fn what_is_simulated_is_what_happens() {
    let config: RoutingConfig = toml::from_str(BUSY).unwrap();
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    let deciding = Deciding::new(snapshot.clone());
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let (mut live, mut targets, mut at) = (vec![], BTreeSet::new(), 1_773_748_800_000);
    let (mut explored, mut held) = (0, 0);
    let (mut pings, mut methods) = (vec![], BTreeSet::new());
    for n in 0..100_000 {
        at += rng.i64(0..1_500);
        // Now and then it is quiet for as long as a number stays with its visitor after a call.
        at += if rng.u8(..) == 0 { rng.i64(290_000..340_000) } else { 0 };
        if rng.u8(0..4) == 0 {
            pings.push(ping(&deciding, &mut rng, Wall(at)));
        }
        let named = (!pings.is_empty() && rng.u8(0..8) == 0)
            .then(|| pings[pings.len() - 1 - rng.usize(0..pings.len().min(30))]);
        let by_header = rng.bool();
        let header = named.filter(|_| by_header).map(|ping| ping.to_smolstr());
        let header = header.map(|ping| (SmolStr::new_static("header.x-ping-id"), ping));
        let request = RouteRequest {
            call: CallId::of_simulation(seed, n),
            at: Wall(at),
            dialed: PhoneNumber::from_digits(18_005_550_098 + rng.u64(0..23)).unwrap(),
            caller: PhoneNumber::from_digits(16_145_550_000 + rng.u64(0..300)),
            trunk: ["t", "u", "v"][rng.usize(0..20).saturating_sub(17)].into(),
            named: named
                .filter(|_| !by_header)
                .map(|ping| Named { key: SessionKey::Ping(ping), is_all: rng.bool() }),
            tags: match rng.u8(0..3) {
                0 => Tags::new(),
                n => [("geo.state".into(), ["OH", "KY"][usize::from(n) - 1].into())].into(),
            },
        };
        let request =
            RouteRequest { tags: request.tags.into_iter().chain(header).collect(), ..request };
        let simulated =
            deciding.simulate(&deciding.snapshot(), &request, &Assumed::default(), NOW).decision;
        let Decided { decision, record, pinned, .. } = deciding.decide(&request, NOW);
        assert_eq!(simulated, decision, "seed {seed}, call {n}");
        if n % 10 == 0 {
            let record = DecisionRecord::from_bytes(&record).unwrap();
            let again = replay(&deciding.snapshot(), &record);
            assert_eq!(again.difference, None, "seed {seed}, call {n}");
        }
        explored += u32::from(decision.readings.explored.is_some());
        held += u32::from(decision.readings.absent.iter().any(|it| it.since.is_some()));
        methods.extend(decision.attribution.as_ref().map(|it| it.method));
        if let Some(number) = pinned {
            deciding.call_ended(number, Wall(at));
        }

        let now = Mono(u64::try_from(at).unwrap() * 1_000_000);
        if let Some(planned) = decision.plan.first() {
            targets.insert(planned.target.clone());
            deciding.call_dialed(request.call, planned);
            let wanted = deciding.wanted(request.call, 1, planned, None, request.at);
            let (hold, requests) = wanted.expect("every target has caps");
            deciding.reserve(hold, &requests, now).unwrap();
            if rng.bool() {
                deciding.settle(hold, Counts::Connected, now, request.at);
                deciding.call_answered(request.call, planned, request.at);
            }
            live.push((request.call, hold));
        }
        while live.len() > 28 || (!live.is_empty() && rng.u8(0..4) == 0) {
            let (call, hold) = live.swap_remove(rng.usize(..live.len()));
            if rng.u8(0..3) == 0 {
                deciding.call_converted(call, request.at);
            }
            deciding.conclude(hold, &[], now);
            deciding.call_over(call, Some(Duration::from_secs(90)));
        }
        if n % 1_000 == 0 {
            deciding.renew(live.iter().map(|(_, hold)| *hold), now);
            deciding.sweep(now, request.at);
        }
    }
    assert_eq!(targets.len(), 3, "every target had calls");
    assert!(explored > 1_000 && held > 1_000, "{explored} and {held}");
    assert_eq!(methods.len(), 9, "calls were matched in every way: {methods:?}");
}

/// A session of a visitor, or of a caller.
fn ping(deciding: &Deciding, rng: &mut Rng, at: Wall) -> PingId {
    let bytes: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
    let ids = NewIds { ping: PingId::from_bytes(bytes), session: SessionId::from_bytes(bytes) };
    let ping = PingRequest {
        campaign: Some("c".into()),
        pool: rng.bool().then(|| "pool".into()),
        caller_id: Some(format!("+16145550{:03}", rng.u16(0..300))),
        ttl_s: Some(rng.u32(1..60)),
        ..PingRequest::default()
    };
    let own = || Some(format!("+1800555010{}", at.0 % 10));
    let number = if ping.pool.is_none() && at.0 % 2 == 0 { own() } else { None };
    deciding.accept_ping(PingRequest { number, ..ping }, ids, at).unwrap();
    ids.ping
}
