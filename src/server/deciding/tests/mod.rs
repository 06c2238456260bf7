//! One configuration, one ledger, one desk: what is decided, and what would be.

mod edges;
mod paced;
mod thought;
mod ways;

use fastrand::Rng;
use smol_str::{SmolStr, ToSmolStr};

use super::*;
use crate::id::CallId;
use crate::id::SessionId;
use crate::money::Money;
use crate::reason::{NoPayout, Reason};
use crate::routing::PlannedAttempt;
use crate::routing::attribution::{Method, Named, SessionKey};
use crate::routing::circuit::{AttemptEnd, Attempted};
use crate::routing::config::RoutingConfig;
use crate::routing::decision::{Check, Step, Terms, Verdict};
use crate::routing::hold::{BucketRequest, Counts, Juncture, Leeway, NoRoom};
use crate::routing::ping::PingRequest;
use crate::routing::replay::replay;
use crate::routing::scorer::{Heard, Outcome};
use crate::server::holds::shared::OwnHolds as _;

const NOW: Mono = Mono(1);

/// A call of which nothing is known, to the number of the one campaign.
fn plain_call(call: CallId, at: Wall) -> RouteRequest {
    RouteRequest {
        call,
        at,
        dialed: "+18005550100".parse().unwrap(),
        caller: None,
        trunk: "trk".into(),
        named: None,
        tags: Tags::default(),
        announced: false,
    }
}

/// The target of [`Script`](crate::cdr::testing::Script), with one cap, by the clock of a zone.
fn one_cap(zone: &str, cap: &str) -> RoutingSnapshot {
    let config = format!(
        "account = {{ time_zone = '{zone}' }}
         publishers = [{{ id = 'p' }}]
         buyers = [{{ id = 'b' }}]
         [[targets]]
         id = 'tgt_summit'
         buyer = 'b'
         dial = {{ kind = 'sip', uri = 'sip:a' }}
         conversion = {{ seconds = 90, revenue = '42.00' }}
         caps = [{{ {cap} }}]
         [[campaigns]]
         id = 'c'
         publisher = 'p'
         numbers = ['+18005550100']
         routing = {{ tiers = [{{ tier = 1, targets = [{{ target = 'tgt_summit' }}] }}] }}"
    );
    RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap()
}

/// It has no record that would say what it came to.
#[test]
fn a_call_that_was_planned_before_a_cap_on_money_came_takes_no_room_of_it() {
    let config = toml::from_str(CONFIG).unwrap();
    let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
    let request = plain_call(CallId::from_bytes([9; 16]), Wall(1_785_000_000_000));
    let mut decided = deciding.decide(&request, NOW, &[], None, None);
    let planned = &mut decided.decision.plan[0];
    let counted = |planned: &PlannedAttempt, leg| {
        let room = deciding.wanted(request.call, leg, planned, planned.terms, None, request.at);
        let holds = room.map(|(_, holds)| holds).unwrap_or_default();
        holds.iter().map(|hold| hold.counts).collect::<Vec<_>>()
    };

    assert_eq!(counted(planned, 1), [Counts::Connected, Counts::Talk]);
    planned.holds.retain(|hold| hold.counts == Counts::Connected);
    assert_eq!(counted(planned, 2), [Counts::Connected]);
}

#[test]
fn a_deposit_is_known_by_its_buyer_and_its_key() {
    let config = CONFIG.replace(
        "buyers = [{ id = \"b\", name = \"B\" }]",
        "buyers = [{ id = \"b\", credit = { limit = \"0.00\" } },
                   { id = \"d\", credit = { limit = \"0.00\" } }, { id = \"none\" }]",
    );
    // `d` has no target.
    let config: RoutingConfig = toml::from_str(&config).unwrap();
    let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
    let (now, month) = (Wall(1_773_759_852_318), 30 * 24 * 3_600_000);
    assert_eq!(deciding.deposit(&"b".into(), &"one".into(), 20, now), 20);
    assert_eq!(deciding.deposit(&"b".into(), &"two".into(), 5, Wall(now.0 + 1)), 25);
    assert_eq!(deciding.deposit(&"d".into(), &"two".into(), 7, now), 7);
    let known = |all, this| Some(DepositsKnown { all, this });
    for (buyer, key, after_ms, expected) in [
        ("b", "one", 0, known(25, Some(20))),
        ("b", "two", 0, known(25, Some(5))),
        ("b", "three", 0, known(25, None)),
        ("d", "one", 0, known(7, None)),
        ("d", "two", 0, known(7, Some(7))),
        ("none", "one", 0, None),
        ("b", "one", month, known(25, None)),
        ("b", "two", month, known(25, Some(5))),
    ] {
        let at = Wall(now.0 + after_ms);
        let told = deciding.deposited(&buyer.into(), &key.into(), at);
        assert_eq!(told, expected, "{buyer} {key} {after_ms}");
    }
}

#[test]
fn deposits_are_read_some_at_a_time_and_each_once_whatever_comes_between() {
    let deciding =
        Deciding::new(RoutingSnapshot::compile(toml::from_str(CONFIG).unwrap(), 1).unwrap());
    let now = Wall(1_773_759_852_318);
    for (buyer, key) in [("b", "4"), ("a", "9"), ("b", "2"), ("c", "1"), ("b", "3")] {
        deciding.deposit(&buyer.into(), &key.into(), 5, now);
    }
    let (mut read, mut last) = (vec![], None);
    loop {
        let some = deciding.deposits(last.as_ref(), 2);
        assert!(some.len() <= 2);
        let Some(it) = some.last() else { break };
        last = Some(it.clone());
        read.extend(some.iter().map(|it| format!("{} {}", it.buyer, it.key)));
        // Before and behind where the reader is.
        deciding.deposit(&"a".into(), &"1".into(), 5, now);
        deciding.deposit(&"b".into(), &"5".into(), 5, now);
    }
    assert_eq!(read, ["a 9", "b 2", "b 3", "b 4", "b 5", "c 1"]);
}

/// The configuration may be another than the one that the room was asked for with.
#[test]
fn room_that_a_ping_was_given_is_given_back_whatever_it_is_refused_for() {
    let deciding =
        Deciding::new(RoutingSnapshot::compile(toml::from_str(CONFIG).unwrap(), 1).unwrap());
    let (now, at) = (Mono(1), Wall(1_773_759_852_318));
    let requests = vec![BucketRequest {
        bucket: Bucket { cap: "campaign/c/pinged/total".into(), window: "total".into() },
        counts: Counts::Pinged,
        limit: 9,
        amount: 1,
        ends_at: None,
        leeway: None,
    }];
    let ping = |campaign: &str| PingRequest {
        campaign: Some(campaign.into()),
        sip_ok: Some(true),
        ..PingRequest::default()
    };
    for (nth, campaign, is_taken) in [(1, "none", false), (2, "c", true)] {
        for priced in [false, true] {
            let id = [nth * 2 + u8::from(priced); 16];
            let hold = HoldId::of(CallId::from_bytes(id), 0, "room");
            deciding.reserve(hold, &requests, now).unwrap();
            let room = OfferedRoom { hold, requests: requests.clone(), denied: None };
            let (ping, room) = (ping(campaign), Some(&room));
            let ids = NewIds { ping: PingId::from_bytes(id), session: SessionId::from_bytes(id) };
            let mut vetting = Vetting::of(&ping);
            let opened = match priced {
                false => deciding.accept_ping(&mut vetting, ids, at, room, None).is_ok(),
                true => {
                    let life = Duration::from_secs(60);
                    deciding.accept_priced(&mut vetting, life, ids, (now, at), room, None).is_ok()
                }
            };
            assert_eq!(opened, is_taken && !priced, "{campaign} {priced}");
            assert!(!deciding.release(hold), "{campaign} {priced}: it was still held");
        }
    }
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
    account = { time_zone = "America/Chicago", concurrency = { limit = 27 }, caps = [
        { metric = "offered", window = "minute", limit = 85 },
        { metric = "converted", window = "rolling:300", limit = 90 },
    ] }
    pools = [{
        id = "pool", campaign = "c", publisher = "p", quarantine_s = 10, session_ttl_s = 20,
        numbers = ["+18005550111", "+18005550112"], overflow_number = "+18005550110",
        take_idle_after_s = 60,
    }, {
        id = "of_q", campaign = "c", publisher = "q", numbers = ["+18005550113", "+18005550114"],
    }]
    trunks = [{ id = "t", publisher = "p", session_header = "X-Ping-Id" }, { id = "u" }]
    [[publishers]]
    id = "p"
    payouts = [{ campaign = "c", amount = "24.00" }, { campaign = "f", amount = "24.00" }]
    concurrency = { limit = 26 }
    caps = [
        { metric = "payout", window = "hourly", limit = "250.00", on_full = "stop_paying" },
        { metric = "offered", window = "rolling:600", limit = 350 },
    ]
    [[publishers]]
    id = "q"
    [[buyers]]
    id = "b"
    dedupe = { after = "connected", window_s = 60 }
    credit = { limit = "9000.00" }
    concurrency = { limit = 25, count_from = "answer" }
    [[groups]]
    id = "g"
    targets = ["daytime", "ohio"]
    min_gap_s = 1
    [[pairs]]
    publisher = "p"
    target = "any"
    caps = [{ metric = "attempted", window = "rolling:60", limit = 40, mode = "soft" }]
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
    caps = [
        { metric = "revenue", window = "daily", limit = "30000.00" },
        { metric = "converted", window = "hourly", limit = 30, mode = "paced", assumed_rate = "50%" },
    ]
    conversion = { seconds = 60, revenue = "42.00" }
    [[targets]]
    id = "any"
    buyer = "b"
    dial = [
        { kind = "sip", uri = "sip:c", trunk = "t", priority = 1 },
        { kind = "sip", uri = "sip:d", trunk = "u", priority = 2 },
    ]
    dedupe = { after = "off" }
    concurrency = { limit = 30 }
    caps = [
        { metric = "connected", window = "hourly", limit = 700, mode = "paced", assumed_rate = "live" },
    ]
    [[buyers]]
    id = "other"
    concurrency = { limit = 40 }
    [[targets]]
    id = "pays"
    buyer = "other"
    dial = { kind = "sip", uri = "sip:e" }
    conversion = { seconds = 60, revenue = "42.00" }
    [[targets]]
    id = "spare"
    buyer = "other"
    dial = { kind = "sip", uri = "sip:f" }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100-+18005550109"]
    caps = [
        { metric = "converted", window = "hourly", limit = 500, mode = "paced", assumed_rate = "live",
          max_over_prob = "10%" },
    ]
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
    [[campaigns]]
    id = "e"
    publisher = "p"
    numbers = ["+18005550121-+18005550123"]
    routing = { distribution = { by = "scorer", scorer = "m" }, tiers = [
        { tier = 1, ring = "parallel",
          targets = [{ target = "daytime" }, { target = "ohio" }, { target = "any" }] },
    ] }
    [campaigns.no_route]
    no_capacity = { overflow = "spare" }
    none_match = { overflow = "spare" }
    all_closed = { overflow = "spare" }
    [[campaigns]]
    id = "f"
    publisher = "p"
    numbers = ["+18005550124"]
    min_match_confidence = 0.5
    routing = { tiers = [{ tier = 1, targets = [{ target = "pays" }] }] }
    [[caller_lists]]
    id = "blocked"
    kind = "block"
    callers = ["+16145550007", "+16145550008"]
    [[scorers]]
    id = "m"
    kind = "http"
    url = "http://127.0.0.1:9/score"
"#;

/// What would be decided about each call is what is, and what is decided again.
#[test]
fn what_is_simulated_is_what_happens() {
    let seed = fastrand::u64(..);
    let mut weighed = 0;
    let day = busy_day(seed, 100_000, |deciding, n, request, questions, scores| {
        let snapshot = deciding.snapshot();
        let mut assumed = Assumed::default();
        let thought = deciding.questions_of(&snapshot, request, &assumed, NOW);
        assert_eq!(asked(&thought), asked(questions), "seed {seed}, call {n}");
        let (left, none) = assumed.left_to_ask(thought, true);
        assert_eq!((left.len(), none), (questions.len(), vec![]));
        let scores = scores.to_vec();
        let heard = Heard { scorer: "m".into(), outcome: Outcome::Scored, scores: scores.clone() };
        assumed.heed(&[heard]);
        let simulated = deciding.simulate(&snapshot, request, &assumed, NOW).decision;
        let decided = deciding.decide(request, NOW, &scores, None, None);
        assert_eq!(simulated, decided.decision, "seed {seed}, call {n}");
        if n % 10 == 0 {
            let record = DecisionRecord::from_bytes(&decided.record).unwrap();
            let again = replay(&snapshot, &record);
            assert_eq!(again.difference, None, "seed {seed}, call {n}");
        }
        weighed += u32::from(has_each_candidate_once(&decided.decision));
        decided
    });
    let Day { targets, methods, reasons, explored, held, unpaid, scored, ill, promised, by_rate } =
        day;
    assert_eq!(targets.len(), 5, "every target had calls");
    assert!(weighed > 10_000, "{weighed} were not refused before there were candidates");
    assert!(explored > 30 && held > 1_000, "{explored} and {held}");
    assert_eq!(methods.len(), 10, "calls were matched in every way: {methods:?}");
    for reason in [
        Reason::CapFull,
        Reason::CapSpacing,
        Reason::ConcurrencyFull,
        Reason::AccountCapped,
        Reason::PublisherCapped,
        Reason::NoCredit,
        Reason::BlockedCaller,
    ] {
        assert!(reasons.contains(&reason), "{reason:?} among {reasons:?}, seed {seed}");
    }
    assert!(unpaid > 0, "some calls went on unpaid, seed {seed}");
    assert!(scored > 100, "{scored} scores, seed {seed}");
    assert!(ill > 100, "{ill} went another way than the first, seed {seed}");
    assert!(promised > 0, "{promised} calls of pings that were promised a payout, seed {seed}");
    assert!(by_rate > 1_000, "{by_rate} holds by what calls of late came to, seed {seed}");
}

/// Each target of the campaign has its place or one reason, whether or not all that were planned are
/// called, and so has the overflow if it was looked at. `false`: the call was refused before.
fn has_each_candidate_once(decision: &Decision) -> bool {
    let stopped = |step: &Step| step.target.is_none() && step.verdict == Verdict::Refused;
    if decision.steps.iter().any(stopped) {
        assert!(decision.plan.is_empty() && decision.refused.is_some(), "{decision:?}");
        return false;
    }
    let campaign = &decision.attribution.as_ref().expect("else it was refused").campaign;
    let candidates: &[&str] =
        if campaign.as_str() == "f" { &["pays"] } else { &["any", "daytime", "ohio"] };
    for dialed in [0, decision.plan.len()] {
        let outcomes = decision.outcomes_of_first(dialed);
        assert!(outcomes.iter().all(|it| it.dialed == it.reason.is_none()), "{outcomes:?}");
        let mut told: Vec<_> = outcomes.iter().map(|it| it.target.as_str()).collect();
        told.sort_unstable();
        let with_overflow: Vec<_> = candidates.iter().copied().chain(["spare"]).collect();
        assert!(told == candidates || told == with_overflow, "{decision:?}");
    }
    true
}

/// What happened on a busy day.
#[derive(Debug, Default)]
struct Day {
    targets: BTreeSet<TargetId>,
    methods: BTreeSet<Method>,
    reasons: BTreeSet<Reason>,
    /// Decisions that explored, that kept a share for a target that was away, that left a way for last, and
    /// that were about a call whose ping was promised a payout.
    explored: u32,
    held: u32,
    ill: u32,
    promised: u32,
    /// Holds under caps that took less than all for what comes to count, by what calls of late did.
    by_rate: u32,
    unpaid: usize,
    scored: usize,
}

/// Whether not all that hold room under this cap are taken to come to count, as calls of late did not.
fn is_by_rate(request: &BucketRequest) -> bool {
    match &request.leeway {
        Some(Leeway::Paced(pace)) => pace.calls.is_some() && !pace.is_certain(),
        Some(Leeway::Soft) | None => false,
    }
}

/// Calls and pings of a busy day, one after the other, the same for the same seed. `each` decides about a
/// call, of which scorers were asked this and have said that.
fn busy_day(
    seed: u64,
    calls: u32,
    mut each: impl FnMut(&Deciding, u32, &RouteRequest, &[Question], &[ScoreReading]) -> Decided,
) -> Day {
    let config: RoutingConfig = toml::from_str(BUSY).unwrap();
    let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
    let mut rng = Rng::with_seed(seed);
    let mut day = Day::default();
    let (mut live, mut pings, mut at) = (vec![], vec![], 1_773_748_800_000);
    for n in 0..calls {
        at += rng.i64(0..1_500);
        // Now and then it is quiet for as long as a number stays with its visitor after a call.
        at += if rng.u8(..) == 0 { rng.i64(290_000..340_000) } else { 0 };
        if rng.u8(0..4) == 0 {
            pings.push(ping(&deciding, &mut rng, Wall(at)));
        }
        let named = (!pings.is_empty() && rng.u8(0..8) == 0)
            .then(|| pings[pings.len() - 1 - rng.usize(0..pings.len().min(30))]);
        let (named, announced) = named.unzip();
        let any_caller = 16_145_550_000 + rng.u64(0..300);
        let its_caller = announced.filter(|_| rng.bool());
        let by_header = rng.bool();
        let header = named.filter(|_| by_header).map(|ping| ping.to_smolstr());
        let header = header.map(|ping| (SmolStr::new_static("header.x-ping-id"), ping));
        let request = RouteRequest {
            call: CallId::of_simulation(seed, n),
            at: Wall(at),
            dialed: PhoneNumber::from_digits(18_005_550_098 + rng.u64(0..27)).unwrap(),
            caller: its_caller.or_else(|| PhoneNumber::from_digits(any_caller)),
            trunk: ["t", "u", "v"][rng.usize(0..20).saturating_sub(17)].into(),
            named: named
                .filter(|_| !by_header)
                .map(|ping| Named { key: SessionKey::Ping(ping), is_all: rng.bool() }),
            tags: match rng.u8(0..3) {
                0 => Tags::new(),
                n => [("geo.state".into(), ["OH", "KY"][usize::from(n) - 1].into())].into(),
            },
            announced: false,
        };
        let request =
            RouteRequest { tags: request.tags.into_iter().chain(header).collect(), ..request };
        let questions = deciding.questions(&request, NOW, None);
        let scores: Vec<_> = questions.iter().flat_map(|it| scores_of(it, &mut rng)).collect();
        day.scored += scores.len();
        let Decided { decision, pinned, scope, .. } =
            each(&deciding, n, &request, &questions, &scores);
        day.explored += u32::from(decision.readings.explored.is_some());
        day.held += u32::from(decision.readings.absent.iter().any(|it| it.since.is_some()));
        day.ill += u32::from(decision.steps.iter().any(|step| step.check == Check::Way));
        let mut terms = decision.plan.iter().filter_map(|it| it.terms);
        day.promised += u32::from(terms.any(|terms| terms.promised));
        day.methods.extend(decision.attribution.as_ref().map(|it| it.method));
        if let Some(number) = pinned {
            deciding.call_ended(number, Wall(at));
        }

        let now = Mono(u64::try_from(at).unwrap() * 1_000_000);
        if let Some(planned) = decision.plan.first() {
            day.targets.insert(planned.target.clone());
            if let Some(way) = &planned.way {
                let end = if rng.u8(0..3) == 0 { AttemptEnd::Answered } else { AttemptEnd::Failed };
                deciding.way_attempted(way, Attempted { end, pdd_ms: Some(900) }, NOW);
            }
            let scope = scope.as_deref();
            let (call, terms) = (request.call, planned.terms);
            let wanted = deciding.wanted(call, 1, planned, terms, scope, request.at);
            let (hold, holds) = wanted.expect("every target has caps");
            deciding.reserve(hold, &holds, now).expect("what was decided fits");
            deciding.call_dialed(request.call, planned);
            deciding.settle(hold, Counts::Attempted, now, request.at);
            let by_rate = holds.iter().filter(|it| is_by_rate(it)).count();
            day.by_rate += u32::try_from(by_rate).unwrap();
            if rng.bool() {
                deciding.settle(hold, Counts::Connected, now, request.at);
                deciding.call_answered(request.call, planned, (now, request.at));
            }
            live.push((request.call, hold, holds));
        }
        day.reasons.extend(decision.steps.iter().filter_map(|step| step.reason));
        day.unpaid += decision.plan.iter().filter_map(|it| it.terms?.no_payout).count();
        while live.len() > 28 || (!live.is_empty() && rng.u8(0..4) == 0) {
            let (call, hold, holds) = live.swap_remove(rng.usize(..live.len()));
            if rng.u8(0..3) == 0 {
                deciding.call_converted(call, (now, request.at));
            }
            let due = holds.iter().filter(|it| it.counts.is_known_at_end() && rng.bool());
            let came_to = due.map(|it| (it.bucket.at(request.at), it.amount.cast_signed()));
            deciding.conclude(hold, Juncture::Ended, &came_to.collect::<Vec<_>>(), now);
            deciding.call_over(call, Some(Duration::from_secs(90)));
        }
        if n % 1_000 == 0 {
            deciding.renew(live.iter().map(|(_, hold, _)| *hold), now);
            deciding.sweep(now, request.at);
        }
    }
    day
}

/// What is asked, as it is sent.
fn asked(questions: &[Question]) -> Vec<String> {
    questions.iter().map(|question| serde_json::to_string(question).unwrap()).collect()
}

/// Of some targets only.
fn scores_of(question: &Question, rng: &mut Rng) -> Vec<ScoreReading> {
    let said = question.candidates.iter().filter(|_| rng.u8(0..3) > 0);
    let said: Vec<_> = said.map(|it| it.target.clone()).collect();
    let reading = |target| {
        let scorer = question.scorer.id.clone();
        ScoreReading { scorer, target, score: rng.i64(-1_000_000..1_000_000) }
    };
    said.into_iter().map(reading).collect()
}

/// A session of a visitor, or of a caller.
fn ping(deciding: &Deciding, rng: &mut Rng, at: Wall) -> (PingId, PhoneNumber) {
    let bytes: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
    let ids = NewIds { ping: PingId::from_bytes(bytes), session: SessionId::from_bytes(bytes) };
    let caller = PhoneNumber::from_digits(16_145_550_000 + rng.u64(0..300)).unwrap();
    let ping = PingRequest {
        campaign: Some("c".into()),
        pool: rng.bool().then(|| "pool".into()),
        caller_id: Some(caller.to_e164()),
        ttl_s: Some(rng.u32(1..60)),
        ..PingRequest::default()
    };
    let own = || Some(format!("+1800555010{}", at.0 % 10));
    let number = if ping.pool.is_none() && at.0 % 2 == 0 { own() } else { None };
    let (life, asks) = (Duration::from_secs(60), rng.u8(0..3) == 0);
    // Whoever takes calls of this campaign pays for them.
    let priced = PingRequest {
        campaign: Some("f".into()),
        pool: None,
        state: Some("OH".into()),
        sip_ok: Some(true),
        ..ping.clone()
    };
    let mut priced = Vetting::of(&priced);
    let is_priced =
        asks && deciding.accept_priced(&mut priced, life, ids, (NOW, at), None, None).is_ok();
    if !is_priced {
        let ping = PingRequest { number, ..ping };
        deciding.accept_ping(&mut Vetting::of(&ping), ids, at, None, None).unwrap();
    }
    (ids.ping, caller)
}

/// By many threads, through all that is between them and the ledger.
#[test]
fn of_a_thousand_calls_at_once_on_a_limit_of_one_exactly_one_is_let_in() {
    let cap = |cap: &str| CONFIG.replace("limit = 9 }", &format!("limit = 9 }},\n{cap}"));
    let paid = |credit: &str| {
        CONFIG.replace(r#"name = "B" }"#, &format!(r#"name = "B", {credit} }}"#)).replace(
            "ring_timeout_s",
            "conversion = { seconds = 1, revenue = '9.00' }\nring_timeout_s",
        )
    };
    for config in [
        cap("{ metric = 'attempted', window = 'total', limit = 1 }"),
        cap("{ metric = 'converted', window = 'rolling:60', limit = 1 }"),
        CONFIG.replace("ring_timeout_s", "concurrency = { limit = 1 }\nring_timeout_s"),
        CONFIG.replace("ring_timeout_s", "min_gap_s = 60\nring_timeout_s"),
        paid("credit = { limit = '17.99' }"),
    ] {
        let snapshot = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
        let (deciding, at) = (Deciding::new(snapshot), Wall(1_785_000_000_000));
        let call = |n| plain_call(CallId::of_simulation(1, n), at);
        let plan = deciding.decide(&call(1_000), NOW, &[], None, None).decision.plan;
        let granted = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|threads| {
            for thread in 0..8 {
                let (deciding, plan, granted) = (&deciding, &plan, &granted);
                threads.spawn(move || {
                    for n in thread * 125..(thread + 1) * 125 {
                        let call = CallId::of_simulation(1, n);
                        let held = take(deciding, call, &plan[0], None, at);
                        granted.fetch_add(
                            u32::from(held.is_ok()),
                            std::sync::atomic::Ordering::Relaxed,
                        );
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 1, "{config}");
    }
}

#[test]
fn an_attempt_goes_on_unpaid_when_another_has_taken_the_last_of_the_publisher_s_payout() {
    let config = CONFIG
        .replace(
            r#"{ id = "p", name = "P" }"#,
            r#"{ id = "p", payouts = [{ campaign = "c", amount = "6.00" }], caps = [
                { metric = "payout", window = "total", limit = "11.99", on_full = "stop_paying" }] }"#,
        )
        .replace("ring_timeout_s", "conversion = { seconds = 1, revenue = '9.00' }\nring_timeout_s");
    let snapshot = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
    let (deciding, at) = (Deciding::new(snapshot), Wall(1_785_000_000_000));
    let decided = (0..5).map(|n| {
        let call = CallId::of_simulation(1, n);
        let (dialed, trunk) = ("+18005550100".parse().unwrap(), "trk".into());
        let (caller, tags, named) = (None, Tags::default(), None);
        let request =
            RouteRequest { call, at, dialed, caller, trunk, tags, named, announced: false };
        (call, deciding.decide(&request, NOW, &[], None, None))
    });
    let decided: Vec<_> = decided.collect();
    let mut paid = 0;
    for (call, Decided { decision, scope, .. }) in &decided {
        let planned = &decision.plan[0];
        assert_eq!(planned.terms.unwrap().payout.to_string(), "6.00", "all were to be paid for");
        let (holds, unpaid_terms) = take(&deciding, *call, planned, scope.as_deref(), at).unwrap();
        paid += usize::from(holds.iter().any(|hold| hold.counts == Counts::Payout));
        let payout = unpaid_terms.map(|terms| (terms.payout, terms.no_payout));
        let unpaid = (Money::ZERO, Some(NoPayout::PublisherCap));
        assert_eq!(payout, (paid == 0 || holds.len() < 3).then_some(unpaid));
    }
    assert_eq!(paid, 1);
}

/// Room for an attempt as it is taken for a call: unpaid, where only the payout has none.
fn take(
    deciding: &Deciding,
    call: CallId,
    planned: &PlannedAttempt,
    scope: Option<&CallScope>,
    at: Wall,
) -> Result<(Vec<BucketRequest>, Option<Terms>), NoRoom> {
    let (mut unpaid, mut asked) = (None, vec![]);
    loop {
        let terms = unpaid.or(planned.terms);
        let wanted = deciding.wanted(call, 1, planned, terms, scope, at);
        let (hold, holds) = wanted.expect("it has a cap");
        assert!(!asked.contains(&hold), "of a hold that found no room nothing is known");
        asked.push(hold);
        let Err(no_room) = deciding.reserve(hold, &holds, NOW) else { return Ok((holds, unpaid)) };
        let terms = planned.terms.filter(|_| unpaid.is_none());
        unpaid = terms.and_then(|terms| deciding.unpaid_instead(terms, scope, &no_room));
        if unpaid.is_none() {
            return Err(no_room);
        }
    }
}
