//! What a desk accepts, finds again, and forgets.

use super::*;
use crate::id::CallId;
use crate::routing::attribution::Named;
use crate::routing::config::RoutingConfig;
use crate::routing::ping::visit::VisitUpdate;
use crate::routing::request::{FormerLease, RouteRequest, SessionReading, Tags};

#[test]
fn a_ping_is_found_by_its_caller_until_it_expires() {
    let (snapshot, mut desk) = desk();
    let accepted = desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();

    let found = |desk: &Desk, s| desk.by_caller(&"cmp".into(), caller(), at(s));
    assert_eq!(found(&desk, 59)[0].session, accepted.session);
    assert!(found(&desk, 60).is_empty());
    assert_eq!(accepted.number_status, NumberStatus::NotAsked);

    assert_eq!(desk.expire(at(60)), 1);
    assert!(desk.is_empty());
    assert!(desk.by_ping(accepted.ping).is_none());
}

#[test]
fn the_newest_ping_of_a_caller_comes_first_and_eight_are_found() {
    let (snapshot, mut desk) = desk();
    for n in 1..=10 {
        desk.accept(&snapshot, by_caller(), ids(n), at(0)).unwrap();
    }
    let found: Vec<_> = desk
        .by_caller(&"cmp".into(), caller(), at(1))
        .into_iter()
        .map(|reading| reading.session)
        .collect();
    assert_eq!(found, (3..=10).rev().map(|n| ids(n).session).collect::<Vec<_>>());
}

#[test]
fn callers_of_two_campaigns_are_kept_apart_though_their_keys_are_one() {
    let (snapshot, mut desk) = desk();
    let key = |campaign: &CampaignId| CallerKey::new(campaign, caller());
    let ours = CampaignId::from("cmp");
    let names = (0..).map(|nth: u32| CampaignId::from(&*format!("cmp{nth}")));
    let theirs = names.into_iter().find(|it| key(it) == key(&ours)).expect("there is one");
    for n in 1..=10 {
        desk.accept(&snapshot, by_caller(), ids(n), at(0)).unwrap();
        let NewIds { ping, session } = ids(100 + n);
        let campaign = theirs.clone();
        let opened = desk.session(ids(n).session).unwrap().clone();
        desk.put(Session { ping, session, campaign, ..opened }, at(0));
    }
    let found = |desk: &Desk, campaign: &CampaignId| -> Vec<SessionId> {
        let readings = desk.by_caller(campaign, caller(), at(1));
        readings.into_iter().map(|reading| reading.session).collect()
    };
    let of =
        |ids_of: fn(u8) -> NewIds| (3..=10).rev().map(|n| ids_of(n).session).collect::<Vec<_>>();
    assert_eq!(found(&desk, &ours), of(ids));
    assert_eq!(found(&desk, &theirs), of(|n| ids(100 + n)));

    desk.abandon(ids(10).session, at(1));
    assert_eq!(found(&desk, &ours)[0], ids(9).session);
    assert_eq!(found(&desk, &theirs)[0], ids(110).session);
}

/// Allocators hand out 256 bytes, and then 320. There may be millions.
#[test]
fn a_session_takes_no_more_than_256_bytes() {
    assert!(size_of::<Session>() <= 256, "{}", size_of::<Session>());
}

#[test]
fn a_pool_ping_is_lent_a_number_and_found_by_it() {
    let (snapshot, mut desk) = desk();
    let accepted = desk.accept(&snapshot, by_pool(), ids(1), at(0)).unwrap();

    let number = accepted.number.unwrap();
    assert_eq!(accepted.number_status, NumberStatus::Leased);
    assert_eq!(desk.by_number(number, at(1)).unwrap().session, accepted.session);
    assert!(desk.by_number(number, at(1_800)).is_none());
    assert_eq!(
        desk.candidates(&snapshot, &call_to(number, None, 1)),
        [desk.by_number(number, at(1)).unwrap()]
    );
}

#[test]
fn an_exhausted_pool_still_takes_the_ping() {
    let (snapshot, mut desk) = desk();
    for n in 1..=2 {
        desk.accept(&snapshot, by_pool(), ids(n), at(0)).unwrap();
    }
    let third = desk.accept(&snapshot, by_pool(), ids(3), at(0)).unwrap();
    assert_eq!((third.number, third.number_status), (None, NumberStatus::Exhausted));
}

#[test]
fn who_finds_no_free_number_is_shown_the_one_for_all() {
    let (snapshot, mut desk) = desk_of("", "overflow_number = \"+16145550140\"");
    for n in 1..=2 {
        desk.accept(&snapshot, by_pool(), ids(n), at(0)).unwrap();
    }
    let overflow = "+16145550140".parse().unwrap();
    for n in 3..=4 {
        let shared = desk.accept(&snapshot, by_pool(), ids(n), at(0)).unwrap();
        assert_eq!((shared.number, shared.number_status), (Some(overflow), NumberStatus::Shared));
    }
    let found = desk.candidates(&snapshot, &call_to(overflow, None, 1));
    let found: Vec<_> = found.iter().map(|it| (it.session, it.sharing)).collect();
    assert_eq!(found, [(ids(4).session, Some(2)), (ids(3).session, Some(2))]);

    desk.expire(at(1_800));
    assert_eq!(desk.number_state(overflow, at(1_800)).sharing, 0);
    assert!(desk.candidates(&snapshot, &call_to(overflow, None, 1_800)).is_empty());
}

#[test]
fn who_lost_a_number_to_another_is_read_as_one_who_had_it() {
    let (snapshot, mut desk) = desk_of("", "take_idle_after_s = 60");
    let lent: Vec<_> = (1..=3)
        .map(|n| desk.accept(&snapshot, by_pool(), ids(n), at(i64::from(n) * 40)).unwrap())
        .collect();
    assert_eq!(lent[2].number, lent[0].number, "the first one was idle for longest");
    let number = lent[0].number.unwrap();
    let found = desk.candidates(&snapshot, &call_to(number, None, 121));
    let found: Vec<_> = found.iter().map(|it| (it.session, it.former)).collect();
    let ended = FormerLease { ended_at: at(120), rests_until: at(120) };
    assert_eq!(found, [(ids(3).session, None), (ids(1).session, Some(ended))]);

    // A restart comes to the same.
    let mut after = Desk::new(DeskLimits::default());
    after.configure(&snapshot);
    for n in 1..=3 {
        after.restore(desk.session(ids(n).session).unwrap().clone(), at(121));
    }
    assert_eq!(after.candidates(&snapshot, &call_to(number, None, 121)).len(), 2);
    assert_eq!(after.by_number(number, at(121)).unwrap().session, ids(3).session);
}

#[test]
fn the_last_that_had_a_number_is_known_though_one_who_lost_it_lives_longer() {
    let (snapshot, mut desk) = desk_of("", "take_idle_after_s = 60");
    let number = desk.accept(&snapshot, by_pool(), ids(1), at(0)).unwrap().number.unwrap();
    desk.accept(&snapshot, by_pool(), ids(2), at(40)).unwrap();
    let brief = PingRequest { ttl_s: Some(10), ..by_pool() };
    assert_eq!(desk.accept(&snapshot, brief, ids(3), at(60)).unwrap().number, Some(number));
    let last = |desk: &Desk, s| {
        let found = desk.candidates(&snapshot, &call_to(number, None, s));
        found.iter().map(|it| (it.session, it.number, it.former)).collect::<Vec<_>>()
    };
    let ended = FormerLease { ended_at: at(70), rests_until: at(970) };
    let third = (ids(3).session, Some(number), Some(ended));

    desk.expire(at(70));
    assert_eq!(last(&desk, 71), [third]);
    // The first lives half an hour, and had the number before.
    desk.expire(at(1_800));
    assert_eq!(last(&desk, 1_801), [third]);
}

#[test]
fn who_has_come_to_another_number_is_known_by_the_one_that_was_taken() {
    let (snapshot, mut desk) = desk_of("", "take_idle_after_s = 60");
    let mut come = |n: u8, s| desk.accept(&snapshot, by_pool(), ids(n), at(s)).unwrap().number;
    let (first, second) = (come(1, 0), come(2, 10));
    assert_eq!(come(3, 60), first, "it was idle for longest");
    // Its visitor is there again, and gets that of another who is not.
    let (number, session) = (first.unwrap(), ids(1).session);
    let touched = desk.touch(&snapshot, session, &VisitUpdate::default(), at(75)).unwrap();
    assert_eq!(touched.unwrap().number, second);

    let found = desk.candidates(&snapshot, &call_to(number, None, 76));
    let held = found.iter().map(|it| (it.session, it.number, it.former.is_some()));
    let known = [(ids(3).session, Some(number), false), (session, Some(number), true)];
    assert_eq!(held.collect::<Vec<_>>(), known);
}

#[test]
fn a_session_nobody_was_told_of_hides_no_other() {
    let (snapshot, mut desk) = desk();
    let of_caller = PingRequest { caller_id: by_caller().caller_id, ..by_pool() };
    let lent = desk.accept(&snapshot, of_caller.clone(), ids(1), at(0)).unwrap();
    let number = lent.number.unwrap();
    desk.accept(&snapshot, by_pool(), ids(2), at(0)).unwrap();
    // Both numbers have rested; the first is lent again, to one that could not be written down.
    desk.expire(at(2_700));
    let untold = desk.accept(&snapshot, of_caller, ids(3), at(2_700)).unwrap();
    assert_eq!(untold.number, Some(number));
    let deadline = desk.deadline();
    desk.abandon(untold.session, at(2_701));

    assert!(desk.is_empty() && desk.deadline() != deadline, "nothing of it is left");
    let found = desk.candidates(&snapshot, &call_to(number, Some(caller()), 2_702));
    assert_eq!(found.iter().map(|it| it.session).collect::<Vec<_>>(), [lent.session]);
    assert_eq!(desk.number_state(number, at(2_702)).past.len(), 1);
    assert_eq!(desk.pool(&"pool".into()).free, 2);
}

#[test]
fn a_session_is_found_by_digits_that_are_no_number() {
    let (snapshot, mut desk) = desk();
    let accepted = desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();
    let alias = SessionKey::Alias(SessionKey::alias_of(accepted.ping));
    assert_eq!(desk.by_key(alias).map(|it| it.session), Some(accepted.session));
    desk.expire(at(60));
    assert_eq!(desk.by_key(alias), None);
}

#[test]
fn a_restored_session_is_as_it_was_before_the_restart() {
    let (snapshot, mut before) = desk();
    let ping = PingRequest { request_id: Some("r1".into()), ..by_pool() };
    let first = before.accept(&snapshot, ping, ids(1), at(0)).unwrap();

    let (_, mut after) = desk();
    after.restore(before.session(first.session).unwrap().clone(), at(1));

    assert_eq!(after, before);
}

#[test]
fn a_full_desk_refuses_and_keeps_what_it_accepted() {
    let (snapshot, _) = desk();
    let mut desk = Desk::new(DeskLimits { sessions_max: 1, ..DeskLimits::default() });
    desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();

    let refusal = desk.accept(&snapshot, by_caller(), ids(2), at(0)).unwrap_err();

    assert_eq!(refusal.first().code, RefusalCode::Full);
    assert!(desk.session(ids(1).session).is_some());
    assert!(desk.accept(&snapshot, by_caller(), ids(2), at(60)).is_ok());
}

#[test]
fn a_call_keeps_its_session_and_five_minutes_more() {
    let (snapshot, mut desk) = desk();
    let accepted = desk.accept(&snapshot, by_pool(), ids(1), at(0)).unwrap();
    let number = accepted.number.unwrap();

    assert!(desk.call_started(number, at(1_000)));
    desk.expire(at(5_000));
    let during = desk.by_number(number, at(5_000)).unwrap();
    assert_eq!(during.session, accepted.session);
    assert!(at(5_000) < during.expires_at);
    desk.call_ended(number, at(5_000));

    assert!(desk.by_number(number, at(5_299)).is_some());
    assert_eq!(desk.expire(at(5_300)), 1);
    assert!(desk.by_number(number, at(5_300)).is_none());
}

#[test]
fn only_the_first_call_of_a_session_is_its_first() {
    let (snapshot, mut desk) = desk();
    let session = desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap().session;
    assert_eq!(desk.consume(session, at(1)), Consumed::First);
    assert_eq!(desk.consume(session, at(2)), Consumed::Again);
    assert_eq!(desk.consume(ids(9).session, at(2)), Consumed::Unknown);
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_field() {
    let (snapshot, mut desk) = desk();
    let cases = [
        (PingRequest { campaign: None, ..by_caller() }, "campaign", RefusalCode::Missing),
        (
            PingRequest { campaign: Some("nope".into()), ..by_caller() },
            "campaign",
            RefusalCode::Unknown,
        ),
        (PingRequest { pool: Some("nope".into()), ..by_caller() }, "pool", RefusalCode::Unknown),
        (
            PingRequest { publisher: Some("other".into()), ..by_pool() },
            "publisher",
            RefusalCode::Mismatch,
        ),
        (
            PingRequest { campaign: Some("paused".into()), ..by_caller() },
            "campaign",
            RefusalCode::Paused,
        ),
        (PingRequest { ttl_s: Some(0), ..by_caller() }, "ttl_s", RefusalCode::Malformed),
        (PingRequest { test: true, ..by_caller() }, "test", RefusalCode::Unsupported),
    ];
    for (ping, field, code) in cases {
        let refusal = desk.accept(&snapshot, ping.clone(), ids(1), at(0)).unwrap_err();
        assert_eq!((refusal.first().field.as_str(), refusal.first().code), (field, code));
    }
    assert!(desk.is_empty());
}

#[test]
fn a_number_that_rests_leads_to_its_last_visitor_also_after_a_restart() {
    let (snapshot, mut before) = desk();
    let first = before.accept(&snapshot, by_pool(), ids(1), at(0)).unwrap();
    let number = first.number.unwrap();
    let session = before.session(first.session).unwrap().clone();
    before.expire(at(1_800));
    let (_, mut after) = desk();
    after.restore(session, at(1_900));

    for desk in [&before, &after] {
        let found = desk.candidates(&snapshot, &call_to(number, None, 1_900));
        let former = FormerLease { ended_at: at(1_800), rests_until: at(2_700) };
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].session, found[0].former), (first.session, Some(former)));
    }
    // Whether or not anybody has looked since it ended.
    let (_, mut unswept) = desk();
    unswept.accept(&snapshot, by_pool(), ids(1), at(0)).unwrap();
    let found = unswept.candidates(&snapshot, &call_to(number, None, 1_900));
    assert_eq!(found[0].former.map(|it| it.ended_at), Some(at(1_800)));
}

#[test]
fn numbers_that_changed_hands_before_a_restart_are_with_the_last_after_it() {
    let (snapshot, mut before) = desk();
    for n in [1, 2] {
        before.accept(&snapshot, by_pool(), ids(n), at(0)).unwrap();
    }
    let sessions: Vec<_> =
        [1, 2].map(|n| before.session(ids(n).session).unwrap().clone()).into_iter().collect();
    before.expire(at(2_700));
    let third = before.accept(&snapshot, by_pool(), ids(3), at(2_800)).unwrap();
    let number = third.number.unwrap();
    let (_, mut after) = desk();
    for session in sessions.into_iter().chain(before.session(third.session).cloned()) {
        after.restore(session, at(2_810));
    }

    for desk in [&before, &after] {
        let found = desk.candidates(&snapshot, &call_to(number, None, 2_820));
        let held: Vec<_> = found.iter().map(|it| (it.session, it.former.is_some())).collect();
        let former = sessions_of(&found, number, third.session);
        assert_eq!(held, [(third.session, false), (former, true)]);
    }
}

#[test]
fn a_caller_is_known_by_an_earlier_session_where_the_campaign_asks_for_it() {
    let (snapshot, mut desk) = desk_with("min_match_confidence = 0.5");
    let (plain, mut other) = self::desk();
    for (snapshot, desk) in [(&snapshot, &mut desk), (&plain, &mut other)] {
        desk.accept(snapshot, by_caller(), ids(1), at(0)).unwrap();
        desk.expire(at(3_600));
    }
    let request = call_to("+18005550100".parse().unwrap(), Some(caller()), 3_600);

    let found = desk.candidates(&snapshot, &request);
    assert_eq!(found.iter().map(|it| it.session).collect::<Vec<_>>(), [ids(1).session]);
    assert_eq!(other.candidates(&plain, &request), []);

    desk.expire(at(30 * 86_400 + 1));
    assert_eq!(desk.candidates(&snapshot, &request), []);
}

#[test]
fn an_earlier_session_is_known_beside_a_newer_one_with_another_publisher() {
    let (snapshot, mut desk) = desk_with("min_match_confidence = 0.5");
    let of_other = PingRequest { publisher: Some("other".into()), ..by_caller() };
    desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();
    desk.accept(&snapshot, of_other, ids(2), at(1)).unwrap();
    let request = |s| call_to("+18005550100".parse().unwrap(), "+16145550188".parse().ok(), s);
    let found = |desk: &Desk, s| {
        let found = desk.candidates(&snapshot, &request(s));
        found.iter().map(|it| it.session).collect::<Vec<_>>()
    };

    assert_eq!(found(&desk, 70), [ids(1).session], "nobody has noticed yet that it is over");
    desk.expire(at(70));
    assert_eq!(found(&desk, 70), [ids(1).session]);
}

#[test]
fn earlier_callers_are_bounded_and_the_oldest_go_first() {
    let (snapshot, _) = desk_with("min_match_confidence = 0.5");
    let mut desk = Desk::new(DeskLimits { earlier_callers_max: 2, ..DeskLimits::default() });
    desk.configure(&snapshot);
    let callers = ["+16145550181", "+16145550182", "+16145550183"];
    for (n, caller) in (1..).zip(callers) {
        let ping = PingRequest { caller_id: Some(caller.into()), ..by_caller() };
        desk.accept(&snapshot, ping, ids(n), at(i64::from(n))).unwrap();
    }
    desk.expire(at(3_600));

    let known = callers.map(|caller| {
        let request = call_to("+18005550100".parse().unwrap(), caller.parse().ok(), 3_600);
        desk.candidates(&snapshot, &request).len()
    });

    assert_eq!(known, [0, 1, 1]);
}

#[test]
fn a_session_that_the_call_names_is_found_whatever_it_dials() {
    let (snapshot, mut desk) = desk();
    let ping = PingRequest { sip_ok: Some(true), caller_id: None, ..by_caller() };
    let accepted = desk.accept(&snapshot, ping, ids(1), at(0)).unwrap();
    let key = SessionKey::Ping(accepted.ping);
    let request = RouteRequest {
        named: Some(Named { key, is_all: true }),
        ..call_to("+18005550100".parse().unwrap(), None, 1)
    };

    let found = desk.candidates(&snapshot, &request);

    assert_eq!(found.iter().map(|it| it.session).collect::<Vec<_>>(), [accepted.session]);
}

#[test]
fn a_static_number_may_be_lent_to_one_caller_of_many() {
    let (snapshot, mut desk) = desk();
    let ping = PingRequest { number: Some("+18005550100".into()), ..by_caller() };
    let accepted = desk.accept(&snapshot, ping.clone(), ids(1), at(0)).unwrap();
    assert_eq!(accepted.number, "+18005550100".parse().ok());
    assert_eq!(accepted.number_status, NumberStatus::Leased);

    for (wrong, field, code) in [
        (PingRequest { caller_id: None, ..ping.clone() }, "caller_id", RefusalCode::Missing),
        (
            PingRequest { pool: Some("pool".into()), ..ping.clone() },
            "number",
            RefusalCode::Mismatch,
        ),
        (
            PingRequest { number: Some("+16145550101".into()), ..ping.clone() },
            "number",
            RefusalCode::Mismatch,
        ),
        (
            PingRequest { publisher: Some("other".into()), ..ping.clone() },
            "number",
            RefusalCode::Mismatch,
        ),
        (PingRequest { number: Some("five".into()), ..ping }, "number", RefusalCode::Malformed),
    ] {
        let refusal = desk.accept(&snapshot, wrong, ids(2), at(0)).unwrap_err();
        assert_eq!((refusal.first().field.as_str(), refusal.first().code), (field, code));
    }
}

/// The one that is not `but`.
fn sessions_of(found: &[SessionReading], number: PhoneNumber, but: SessionId) -> SessionId {
    let others = found.iter().filter(|it| it.session != but && it.number == Some(number));
    others.map(|it| it.session).next().unwrap()
}

fn call_to(dialed: PhoneNumber, caller: Option<PhoneNumber>, s: i64) -> RouteRequest {
    RouteRequest {
        call: CallId::from_bytes([9; 16]),
        at: at(s),
        dialed,
        caller,
        trunk: "trk".into(),
        tags: Tags::new(),
        named: None,
        announced: false,
    }
}

pub(super) fn desk() -> (RoutingSnapshot, Desk) {
    desk_with("")
}

/// `setting` is one of the campaign.
fn desk_with(setting: &str) -> (RoutingSnapshot, Desk) {
    desk_of(setting, "")
}

#[test]
fn what_became_of_a_session_here_while_it_was_changed_elsewhere_is_not_lost() {
    let (snapshot, mut desk) = desk_of("", "");
    desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();
    let read = desk.session(ids(1).session).unwrap().clone();
    let by = |name: &str, value: &str| EnrichedBy {
        enricher: name.into(),
        tags: [("line".into(), value.into())].into(),
    };
    desk.enrich(read.session, by("here", "mobile")).unwrap();
    desk.consume(read.session, at(3));

    let mut changed = Session { expires_at: at(90), consumed_at: Some(at(5)), ..read.clone() };
    changed.tags.insert("color", "red");
    changed.enriched = [by("elsewhere", "landline")].into();
    let now = desk.follow(changed.clone(), at(10));

    let expected = Session {
        consumed_at: Some(at(3)),
        enriched: [by("elsewhere", "landline"), by("here", "mobile")].into(),
        ..changed
    };
    assert_eq!(now, expected);
    assert_eq!(desk.session(read.session), Some(&expected));

    let mut stale = read;
    stale.tags.insert("size", "9");
    let now = desk.follow(stale, at(11));
    let told: Vec<_> = now.tags.iter().collect();
    assert!(told.contains(&("color", "red")) && told.contains(&("size", "9")), "{told:?}");
    assert_eq!(now.consumed_at, Some(at(3)));
}

#[test]
fn of_a_session_here_and_elsewhere_the_one_with_the_later_sign_of_life_is_what_it_is() {
    let (snapshot, mut desk) = desk();
    desk.accept(&snapshot, by_caller(), ids(1), at(0)).unwrap();
    let read = desk.session(ids(1).session).unwrap().clone();
    let told = |session: &Session| {
        let tag = |name: &str| session.tags.get(name).unwrap_or_default().to_owned();
        (tag("color"), tag("size"), session.expires_at)
    };

    // It was elsewhere.
    let mut elsewhere = Session { expires_at: at(90), ..read.clone() };
    elsewhere.tags.insert("color", "red");
    let now = desk.agree(elsewhere.clone(), at(10));
    assert_eq!(told(&now), ("red".into(), "".into(), at(90)));

    // It was here, and of the same tag the later word counts.
    let mut here = Session { expires_at: at(95), ..now };
    here.tags.insert("color", "blue");
    desk.put(here, at(11));
    elsewhere.tags.insert("size", "9");
    let now = desk.agree(Session { consumed_at: Some(at(5)), ..elsewhere }, at(12));
    assert_eq!(told(&now), ("blue".into(), "9".into(), at(95)));
    assert_eq!(now.consumed_at, Some(at(5)));
    assert_eq!(desk.session(read.session), Some(&now));

    // One that was opened elsewhere is not kept here.
    let foreign = Session { session: ids(2).session, ping: ids(2).ping, ..read };
    assert_eq!(desk.agree(foreign.clone(), at(13)), foreign);
    assert_eq!(desk.session(foreign.session), None);
}

/// `of_pool` is one of the pool.
pub(super) fn desk_of(setting: &str, of_pool: &str) -> (RoutingSnapshot, Desk) {
    let config: RoutingConfig = toml::from_str(
        &r#"
        publishers = [{ id = "pub" }, { id = "other" }]
        buyers = [{ id = "buy" }]
        pools = [{ id = "pool", campaign = "cmp", publisher = "pub", numbers = [
            "+16145550101", "+16145550102",
        ], OF_POOL }]
        [[targets]]
        id = "tgt"
        buyer = "buy"
        dial = { kind = "sip", uri = "sip:127.0.0.1" }
        [[campaigns]]
        id = "cmp"
        publisher = "pub"
        numbers = ["+18005550100"]
        SETTING
        routing = { tiers = [{ targets = [{ target = "tgt" }] }] }
        [[campaigns]]
        id = "paused"
        publisher = "pub"
        paused = true
        routing = { tiers = [{ targets = [{ target = "tgt" }] }] }
        "#
        .replace("SETTING", setting)
        .replace("OF_POOL", of_pool),
    )
    .unwrap();
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    let mut desk = Desk::new(DeskLimits::default());
    desk.configure(&snapshot);
    (snapshot, desk)
}

fn by_caller() -> PingRequest {
    PingRequest {
        campaign: Some("cmp".into()),
        caller_id: Some("+16145550188".into()),
        ttl_s: Some(60),
        ..PingRequest::default()
    }
}

fn by_pool() -> PingRequest {
    PingRequest { pool: Some("pool".into()), ..PingRequest::default() }
}

fn caller() -> PhoneNumber {
    "+16145550188".parse().unwrap()
}

pub(super) fn ids(n: u8) -> NewIds {
    NewIds { ping: PingId::from_bytes([n; 16]), session: SessionId::from_bytes([n; 16]) }
}

pub(super) fn at(seconds: i64) -> Wall {
    Wall(seconds * 1_000)
}
