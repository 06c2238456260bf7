//! Decisions over a small business: two campaigns, three targets in two tiers.

mod callers;
mod limits;
mod lists;
mod named;
mod no_route;
mod performance;
mod price;
mod scored;
mod selection;
mod sessions;
mod ways;

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::*;
use crate::id::{CallId, PingId, SessionId, TargetId};
use crate::routing::circuit::{Cause, Trip};
use crate::routing::config::RoutingConfig;
use crate::routing::decision::{Step, Verdict};
use crate::routing::hold::{Bucket, HoldLedger, LedgerLimits};
use crate::routing::replay::{DecisionRecord, RecordError, record_bytes, replay};
use crate::routing::request::{Tags, Usage};
use crate::time::{Mono, Wall};

const CONFIG: &str = r#"
    publishers = [
        { id = "pub_bright", payouts = [{ campaign = "cmp_hvac", amount = "24.00" }] },
        { id = "pub_late", paused = true },
    ]
    buyers = [{ id = "buy_summit" }, { id = "buy_cool" }]

    [[targets]]
    id = "tgt_summit"
    buyer = "buy_summit"
    dial = { kind = "sip", uri = "sip:dispatch@192.0.2.10" }
    ring_timeout_s = 20
    concurrency = { limit = 2 }
    caps = [{ metric = "connected", window = "daily", limit = 80 }]
    conversion = { seconds = 60, revenue = "42.00" }
    filters = { all = [{ tag = "geo.zip3", op = "in", value = ["430", "432"] }] }
    [targets.schedule]
    time_zone = "America/New_York"
    hours = [{ day = "tue", open = "07:00", close = "20:00" }]

    [[targets]]
    id = "tgt_cool"
    buyer = "buy_cool"
    dial = { kind = "sip", uri = "sip:192.0.2.20" }
    concurrency = { limit = 1 }
    conversion = { seconds = 90, revenue = "35.00" }

    [[targets]]
    id = "tgt_last"
    buyer = "buy_cool"
    dial = { kind = "sip", uri = "sip:192.0.2.30" }

    [[campaigns]]
    id = "cmp_hvac"
    publisher = "pub_bright"
    numbers = ["+18005550100", { number = "+18005550101", publisher = "pub_late" }]
    max_attempts = 3
    advance_on = [480, 486]
    [[campaigns.routing.tiers]]
    tier = 1
    targets = [{ target = "tgt_summit", weight = 70 }, { target = "tgt_cool", weight = 30 }]
    [[campaigns.routing.tiers]]
    tier = 2
    targets = [{ target = "tgt_last" }]

    [[campaigns]]
    id = "cmp_single"
    publisher = "pub_bright"
    numbers = ["+18005550198"]
    [[campaigns.routing.tiers]]
    targets = [{ target = "tgt_cool" }]
"#;

/// Tuesday 2026-03-17, 11:04 in New York.
const OPEN: Wall = Wall(1_773_759_852_318);

#[test]
fn a_call_goes_through_the_tiers_with_uri_terms_and_holds() {
    let decision = decide_with(CONFIG, &request("+18005550100"), &nothing_used());

    let plan: Vec<_> = decision.plan.iter().map(|a| (a.target.as_str(), a.uri.as_str())).collect();
    assert_eq!(
        plan,
        [
            ("tgt_summit", "sip:dispatch@192.0.2.10"),
            ("tgt_cool", "sip:+18005550100@192.0.2.20"),
            ("tgt_last", "sip:+18005550100@192.0.2.30"),
        ]
    );
    let money = |amount: &str| amount.parse().unwrap();
    assert_eq!(
        decision.plan[1].terms,
        Some(Terms {
            seconds: 90,
            revenue: money("35.00"),
            payout_seconds: 90,
            payout: money("24.00"),
            no_payout: None,
            promised: false,
        })
    );
    assert_eq!(decision.plan[2].terms, None);
    assert_eq!(decision.plan[0].holds.len(), 2);
    assert_eq!(decision.plan[0].ring_timeout_ms, 20_000);
    assert_eq!(*decision.rules.advance_on, [480, 486]);
    assert_eq!(decision.refused, None);
}

#[test]
fn tags_of_the_call_go_before_those_of_its_session() {
    let session = SessionReading {
        session: SessionId::from_bytes([1; 16]),
        ping: PingId::from_bytes([1; 16]),
        publisher: "pub_bright".into(),
        campaign: "cmp_hvac".into(),
        number: None,
        caller: "+16145550188".parse().ok(),
        created_at: OPEN,
        expires_at: Wall(i64::MAX),
        tags: [("geo.zip3".into(), "999".into())].into(),
        former: None,
        sharing: None,
        promise: None,
        enriched: Tags::new(),
    };
    let snapshot = snapshot(CONFIG);
    let mut request = RouteRequest { caller: session.caller, ..request("+18005550100") };
    let first = |request: &RouteRequest| {
        let mut rotation = Rotation::default();
        let sessions = std::slice::from_ref(&session);
        decide(&snapshot, request, Known { sessions, calls: &[] }, &nothing_used(), &mut rotation)
            .plan[0]
            .target
            .clone()
    };
    assert_eq!(first(&request).as_str(), "tgt_summit");
    request.tags.clear();
    assert_eq!(first(&request).as_str(), "tgt_cool");
}

#[test]
fn what_stops_the_call_stops_it_before_any_target() {
    for (from, to, dialed, reason) in [
        ("", "", "+18005550222", Reason::NumberUnknown),
        ("max_attempts = 3", "paused = true", "+18005550100", Reason::CampaignPaused),
        ("", "", "+18005550101", Reason::PublisherPaused),
    ] {
        let decision = decide_with(&CONFIG.replace(from, to), &request(dialed), &nothing_used());
        assert_eq!(decision.refused, Some(reason));
        assert_eq!(decision.plan, []);
        let last = decision.steps.last().unwrap();
        assert_eq!((last.reason, last.target.as_ref()), (Some(reason), None));
    }
}

#[test]
fn the_reason_all_targets_share_is_that_of_the_call() {
    let busy = BTreeMap::from([(live("tgt_cool"), Usage { used: 0, held: 1 })]);
    let decision = decide_with(CONFIG, &request("+18005550198"), &busy);
    assert_eq!(decision.refused, Some(Reason::ConcurrencyFull));

    let paused = CONFIG.replace("id = \"tgt_last\"", "id = \"tgt_last\"\npaused = true");
    let mut request = request("+18005550100");
    request.tags.clear();
    let decision = decide_with(&paused, &request, &busy);
    assert_eq!(decision.refused, Some(Reason::NoneEligible));
}

#[test]
fn targets_of_a_parallel_tier_ring_beside_one_another() {
    let config = CONFIG.replace("    tier = 1\n", "    tier = 1\n    ring = \"parallel\"\n");
    let request = request("+18005550100");
    let decision = decide(
        &snapshot(&config),
        &request,
        Known::default(),
        &nothing_used(),
        &mut Rotation::default(),
    );
    let beside: Vec<_> =
        decision.plan.iter().map(|it| (it.target.as_str(), it.tier, it.beside)).collect();
    assert_eq!(beside, [("tgt_summit", 1, false), ("tgt_cool", 1, true), ("tgt_last", 2, false)]);
}

#[test]
fn a_plan_is_no_longer_than_the_campaign_allows() {
    let text = CONFIG.replace("max_attempts = 3", "max_attempts = 1");
    let decision = decide_with(&text, &request("+18005550100"), &nothing_used());
    assert_eq!(decision.plan.len(), 1);
    let reasons: Vec<_> = decision.outcomes_of_first(1).into_iter().map(|o| o.reason).collect();
    assert_eq!(reasons, [None, Some(Reason::TooManyCandidates), Some(Reason::TooManyCandidates)]);
}

#[test]
fn every_candidate_that_is_not_dialled_has_exactly_one_reason() {
    let full = BTreeMap::from([(live("tgt_summit"), Usage { used: 0, held: 2 })]);
    for (usage, tags) in [
        (nothing_used(), zip("432")),
        (full, zip("432")),
        (nothing_used(), zip("999")),
        (nothing_used(), Tags::new()),
    ] {
        let request = RouteRequest { tags, ..request("+18005550100") };
        let decision = decide_with(CONFIG, &request, &usage);
        for dialed in 0..=4 {
            let outcomes = decision.outcomes_of_first(dialed);
            assert_eq!(outcomes.len(), 3);
            assert!(outcomes.iter().all(|o| o.dialed == o.reason.is_none()));
            let called = outcomes.iter().filter(|o| o.dialed).count();
            assert_eq!(called, dialed.min(decision.plan.len()));
        }
    }
}

#[test]
fn the_explanation_names_the_fact_behind_each_reason() {
    let mut request = request("+18005550100");
    let decision = decide_with(CONFIG, &request, &nothing_used());
    assert_snapshot!(decision.explain_first(1).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: dialled as number 1
    tgt_cool: number 2 in the plan; the call was over before its turn (selection.not_reached)
    tgt_last: number 3 in the plan; the call was over before its turn (selection.not_reached)
    ");

    request.tags = zip("999");
    let busy = BTreeMap::from([(live("tgt_cool"), Usage { used: 0, held: 1 })]);
    assert_snapshot!(decide_with(CONFIG, &request, &busy).explain_first(1).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: not dialled; the call's tags are not what the target wants (filter.mismatch): geo.zip3 is 999, wanted in 430, 432
    tgt_cool: not dialled; the target has as many calls as it takes (concurrency.full): 1 live, at most 1
    tgt_last: dialled as number 1
    ");

    request.tags.clear();
    assert_snapshot!(decide_with(CONFIG, &request, &busy).explain_first(1).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: not dialled; a tag the target asks for is missing (filter.missing_tag): geo.zip3 is absent, wanted in 430, 432
    tgt_cool: not dialled; the target has as many calls as it takes (concurrency.full): 1 live, at most 1
    tgt_last: dialled as number 1
    ");

    request.at = Wall(OPEN.0 + 12 * 3_600_000);
    let capped = CONFIG.replace("id = \"tgt_last\"", "id = \"tgt_last\"\npaused = true");
    assert_snapshot!(decide_with(&capped, &request, &busy).explain_first(0).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: not dialled; the target is closed at this hour (schedule.closed): it is Tue 23:04 America/New_York, opens Tue 07:00 on 2026-03-24
    tgt_cool: not dialled; the target has as many calls as it takes (concurrency.full): 1 live, at most 1
    tgt_last: not dialled; the target is paused (target.paused)
    refused with 480; no target of the campaign can take the call (selection.none_eligible)
    no route: no target had room (no_capacity)
    ");

    request.at = OPEN;
    request.tags = zip("432");
    let day =
        Bucket { cap: "target/tgt_summit/connected/daily".into(), window: "d:2026-03-17".into() };
    let used = BTreeMap::from([(day, Usage { used: 77, held: 3 })]);
    assert_snapshot!(decide_with(CONFIG, &request, &used).explain_first(1).join("\n"), @r"
    campaign cmp_hvac, publisher pub_bright; no session
    tgt_summit: not dialled; the cap has no room for the call (cap.full): connected/daily has 77 used, 3 held, at most 80
    tgt_cool: dialled as number 1
    tgt_last: number 2 in the plan; the call was over before its turn (selection.not_reached)
    ");

    let unknown = RouteRequest { dialed: "+18005550222".parse().unwrap(), ..request };
    assert_snapshot!(decide_with(CONFIG, &unknown, &used).explain_first(0).join("\n"), @r"
    the dialled number belongs to no campaign
    refused with 404; the dialled number belongs to no campaign (gate.number_unknown)
    ");
}

#[test]
fn a_decision_survives_being_stored_and_is_replayed_the_same() {
    let snapshot = snapshot(CONFIG);
    let mut ledger = HoldLedger::new(LedgerLimits::default());
    let mut rotation = Rotation::default();
    for leg in 1..=5 {
        let request = request("+18005550100");
        let decision = decide(&snapshot, &request, Known::default(), &ledger, &mut rotation);
        if let Some(first) = decision.plan.first() {
            let hold = first.hold_id(request.call, leg, first.terms);
            ledger.reserve(hold, &first.holds, Mono(0)).unwrap();
        }
        let record =
            DecisionRecord::from_bytes(&record_bytes(&request, Known::default(), &decision))
                .unwrap();
        assert_eq!((&record.request, &record.decision), (&request, &decision));
        let again = replay(&snapshot, &record);
        assert_eq!((again.difference, again.decision), (None, decision));
    }
}

#[test]
fn an_altered_record_is_found_out() {
    let request = request("+18005550100");
    let decision = decide_with(CONFIG, &request, &nothing_used());
    let stored = record_bytes(&request, Known::default(), &decision);

    let mut altered = stored.clone();
    let at = altered.windows(8).position(|it| it == b"tgt_cool").unwrap();
    altered[at + 4] = b'p';

    assert!(DecisionRecord::from_bytes(&stored).is_ok());
    let refused = DecisionRecord::from_bytes(&altered);
    assert!(matches!(refused, Err(RecordError::Altered)));
}

#[test]
fn a_replay_shows_the_first_step_that_differs() {
    let request = request("+18005550100");
    let decision = decide_with(CONFIG, &request, &nothing_used());
    let record =
        DecisionRecord::from_bytes(&record_bytes(&request, Known::default(), &decision)).unwrap();

    let tightened = CONFIG.replace("\"430\", \"432\"", "\"430\"");
    let changed = RoutingSnapshot::compile(toml::from_str(&tightened).unwrap(), 2).unwrap();
    let difference = replay(&changed, &record).difference.unwrap();
    assert_eq!(difference.at, "steps[4]");
    assert!(difference.recomputed.unwrap().contains("FilterMismatch"));
}

#[test]
fn over_many_calls_each_target_gets_its_share() {
    let snapshot = snapshot(CONFIG);
    let mut rotation = Rotation::default();
    let mut firsts: BTreeMap<_, u32> = BTreeMap::new();
    for _ in 0..1_000 {
        let request = request("+18005550100");
        let decision =
            decide(&snapshot, &request, Known::default(), &nothing_used(), &mut rotation);
        *firsts.entry(decision.plan[0].target.clone()).or_default() += 1;
    }
    assert_eq!(firsts, [("tgt_cool".into(), 300), ("tgt_summit".into(), 700)].into());
}

#[test]
fn a_money_cap_refuses_with_what_is_used_held_and_asked() {
    let capped = CONFIG.replace(
        "id = \"tgt_cool\"\n",
        "id = \"tgt_cool\"\ncaps = [{ metric = \"revenue\", window = \"daily\", limit = \"600.00\" }]\n",
    );
    let cap = "target/tgt_cool/revenue/daily";
    let day = Bucket { cap: cap.into(), window: "d:2026-03-17".into() };
    let usage = |used, held| BTreeMap::from([(day.clone(), Usage { used, held })]);
    let request = request("+18005550198");

    let last = decide_with(&capped, &request, &usage(530_000_000, 35_000_000));
    assert_eq!(targets_of(&last), ["tgt_cool"], "35.00 of 35.00 that are left");
    assert_eq!(last.plan[0].holds[0].amount, 35_000_000);

    let full = decide_with(&capped, &request, &usage(530_000_001, 35_000_000));
    assert_eq!(full.refused, Some(Reason::CapFull));
    assert_snapshot!(full.explain_first(0).join("\n"), @r"
    campaign cmp_single, publisher pub_bright; no session
    tgt_cool: not dialled; the cap has no room for the call (cap.full): revenue/daily has 530.000001 used, 35.00 held, at most 600.00 with 35.00 more
    refused with 486; the cap has no room for the call (cap.full)
    no route: no target had room (no_capacity)
    ");
    let record =
        DecisionRecord::from_bytes(&record_bytes(&request, Known::default(), &full)).unwrap();
    assert_eq!(replay(&snapshot(&capped), &record).difference, None);
}

#[test]
fn caps_of_campaign_publisher_buyer_and_trunk_refuse_as_those_of_targets_do() {
    let minutes = |of: &str| (format!("{of}/minutes/total"), "total");
    let cap = "caps = [{ metric = \"minutes\", window = \"total\", limit = 600 }]";
    for (owner, from, to) in [
        ("campaign/cmp_single", "id = \"cmp_single\"\n", format!("id = \"cmp_single\"\n{cap}\n")),
        (
            "publisher/pub_bright",
            "{ id = \"pub_bright\",",
            format!("{{ id = \"pub_bright\", {cap},"),
        ),
        ("buyer/buy_cool", "{ id = \"buy_cool\" }", format!("{{ id = \"buy_cool\", {cap} }}")),
        ("trunk/trk", "[[campaigns]]", format!("[[trunks]]\nid = \"trk\"\n{cap}\n[[campaigns]]")),
    ] {
        let config = CONFIG.replacen(from, &to, 1);
        let (cap, window) = minutes(owner);
        let used = Usage { used: 360 * 60_000 + 1, held: 0 };
        let usage =
            BTreeMap::from([(Bucket { cap: cap.clone().into(), window: window.into() }, used)]);

        assert_eq!(decide_with(&config, &request("+18005550198"), &nothing_used()).refused, None);
        let decision = decide_with(&config, &request("+18005550198"), &usage);

        assert_eq!(decision.refused, Some(Reason::CapFull), "{owner}");
        let step = decision.steps.last().unwrap();
        let have = "360:01 min used, 0:00 min held";
        let want = "at most 600:00 min with 240:00 min more";
        assert_eq!(step.subject.as_deref(), Some(cap.as_str()));
        assert_eq!(step.words(), (Some(have.into()), Some(want.into())));
    }
}

/// Nothing is used, and these targets are nowhere.
struct Down(&'static [&'static str]);

impl UsageReader for Down {
    fn usage(&self, _bucket: &Bucket) -> Usage {
        Usage::default()
    }

    fn condition(&self, target: &TargetId) -> Condition {
        if self.0.contains(&target.as_str()) { Condition::Down } else { Condition::Well }
    }
}

#[test]
fn a_target_that_probes_find_nowhere_is_passed_over_with_its_reason() {
    let snapshot = snapshot(CONFIG);
    let down = Down(&["tgt_cool"]);

    let request = request("+18005550100");
    let decision = decide(&snapshot, &request, Known::default(), &down, &mut Rotation::default());

    assert_eq!(targets_of(&decision), ["tgt_summit", "tgt_last"]);
    let outcome =
        decision.outcomes_of_first(2).into_iter().find(|it| it.target.as_str() == "tgt_cool");
    let outcome = outcome.expect("it is accounted for");
    assert_eq!((outcome.rank, outcome.reason), (None, Some(Reason::TargetDown)));
    let record = record_bytes(&request, Known::default(), &decision);
    let record = DecisionRecord::from_bytes(&record).unwrap();
    assert_eq!(replay(&snapshot, &record).difference, None, "it was read, so it is known again");
}

#[test]
fn a_target_on_trial_gets_its_share_and_one_that_rests_none() {
    let snapshot = snapshot(CONFIG);
    let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
    let first_with = |condition| {
        let mut firsts = BTreeMap::<_, u32>::new();
        for number in 0..400 {
            let request =
                RouteRequest { call: CallId::of_simulation(3, number), ..request("+18005550100") };
            let ill = Ill("tgt_summit", condition);
            let (known, mut rotation) = (Known::default(), Rotation::default());
            let decision = decide(&snapshot, &request, known, &ill, &mut rotation);
            let record = DecisionRecord::new(&request, known, &decision);
            assert_eq!(replay(&snapshot, &record).difference, None);
            let step = decision.steps.iter().find(|it| it.check == Check::Health).unwrap();
            assert_eq!(step.have.as_deref(), Some(condition.to_string().as_str()));
            assert_eq!(
                step.reason,
                (step.verdict == Verdict::Refused).then(|| condition.reason().unwrap())
            );
            *firsts.entry(decision.plan[0].target.to_string()).or_default() += 1;
        }
        firsts
    };

    let on_trial = first_with(Condition::OnTrial(trip, 25));
    assert!((70..130).contains(&on_trial["tgt_summit"]), "{on_trial:?}");
    assert_eq!(first_with(Condition::Open(trip)).get("tgt_summit"), None);
}

/// Of one target something is thought.
struct Ill(&'static str, Condition);

impl UsageReader for Ill {
    fn usage(&self, _bucket: &Bucket) -> Usage {
        Usage::default()
    }

    fn condition(&self, target: &TargetId) -> Condition {
        if self.0 == target.as_str() { self.1 } else { Condition::Well }
    }
}

#[test]
fn targets_that_are_nowhere_are_tried_where_there_is_no_other() {
    let snapshot = snapshot(CONFIG);
    let down = Down(&["tgt_summit", "tgt_cool", "tgt_last"]);

    let request = request("+18005550100");
    let decision = decide(&snapshot, &request, Known::default(), &down, &mut Rotation::default());

    assert_eq!(targets_of(&decision), ["tgt_summit", "tgt_cool", "tgt_last"]);
    assert_eq!(decision.refused, None);
    let record = record_bytes(&request, Known::default(), &decision);
    let record = DecisionRecord::from_bytes(&record).unwrap();
    assert_eq!(replay(&snapshot, &record).difference, None);
}

fn targets_of(decision: &Decision) -> Vec<&str> {
    decision.plan.iter().map(|planned| planned.target.as_str()).collect()
}

fn decide_with(config: &str, request: &RouteRequest, usage: &BTreeMap<Bucket, Usage>) -> Decision {
    decide(&snapshot(config), request, Known::default(), usage, &mut Rotation::default())
}

fn snapshot(config: &str) -> RoutingSnapshot {
    let config: RoutingConfig = toml::from_str(config).unwrap();
    RoutingSnapshot::compile(config, 1).unwrap()
}

fn request(dialed: &str) -> RouteRequest {
    RouteRequest {
        call: CallId::from_bytes([9; 16]),
        at: OPEN,
        dialed: dialed.parse().unwrap(),
        caller: None,
        trunk: "trk".into(),
        named: None,
        tags: zip("432"),
        announced: false,
    }
}

fn zip(zip3: &str) -> Tags {
    [("geo.zip3".into(), zip3.into())].into()
}

fn live(target: &str) -> Bucket {
    Bucket { cap: format!("target/{target}/concurrency").into(), window: "live".into() }
}

fn nothing_used() -> BTreeMap<Bucket, Usage> {
    BTreeMap::new()
}
