//! The eight orders, and what becomes of doubt.

use proptest::prelude::*;

use super::*;
use crate::id::CallId;
use crate::phone::PhoneNumber;
use crate::routing::config::RoutingConfig;
use crate::routing::request::{FormerLease, Tags};
use crate::time::Wall;

pub(super) const POOL: &str = "+16145550101";
pub(super) const STATIC: &str = "+18005550100";
pub(super) const CALLER: &str = "+16145550188";
pub(super) const NOW: Wall = Wall(100_000_000);

#[test]
fn each_order_has_its_method_and_its_confidence() {
    let lent = SessionReading { number: number(POOL), ..session(1) };
    let over = SessionReading { expires_at: ago(60), created_at: ago(600), ..session(1) };
    let rested = SessionReading { former: rests(60, 900), ..lent.clone() };
    let rested = SessionReading { expires_at: ago(60), ..rested };
    let by_caller = SessionReading { caller: number(CALLER), ..session(1) };
    let key = SessionKey::Session(session(1).session);
    let to = |dialed| request(dialed, Some(CALLER));
    let named = RouteRequest { named: Some(Named { key, is_all: false }), ..to(STATIC) };
    let publisher = PublisherId::new("pub");
    let header = TrunkWord { publisher: Some(&publisher), key: Some(key) };
    let none = TrunkWord::default();
    let over_of_caller = SessionReading { caller: number(CALLER), ..over };
    for (call, trunk, session, method, hundredths) in [
        (named, none, session(1), Method::Address, 100),
        (to(STATIC), header, session(1), Method::Header, 100),
        (
            to(STATIC),
            none,
            SessionReading { number: number(STATIC), ..by_caller.clone() },
            Method::CallerLease,
            99,
        ),
        (
            to(POOL),
            none,
            SessionReading { caller: number(CALLER), ..lent.clone() },
            Method::CallerLease,
            99,
        ),
        (to(POOL), none, lent, Method::PoolLease, 99),
        (to(STATIC), none, by_caller.clone(), Method::CallerPing, 90),
        (to(POOL), none, rested, Method::Quarantine, 70),
        (to(STATIC), none, over_of_caller.clone(), Method::EarlierSession, 50),
        (to(POOL), none, over_of_caller, Method::EarlierSession, 50),
    ] {
        let (attribution, used) = attributed("", &call, trunk, std::slice::from_ref(&session));
        assert_eq!(
            (attribution.method, attribution.confidence, used),
            (method, Confidence(hundredths), Some(session.clone()))
        );
        let candidate = Candidate {
            session: session.session,
            verdict: CandidateVerdict::Used,
            method: Some(method),
            confidence: Some(Confidence(hundredths)),
        };
        assert_eq!(attribution.candidates, [candidate]);
    }
    let (attribution, used) = attributed("", &to(STATIC), none, &[]);
    assert_eq!(
        (attribution.method, attribution.confidence),
        (Method::StaticMapping, Confidence(0))
    );
    assert_eq!(used, None);
}

#[test]
fn a_live_lease_of_the_dialled_pool_number_is_all_that_is_said_of_the_call() {
    let lent = SessionReading { number: number(POOL), ..session(1) };
    let (attribution, used) = plain(POOL, Some(CALLER), std::slice::from_ref(&lent));
    assert_eq!(used, Some(lent.clone()));
    assert_eq!(
        attribution,
        Attribution {
            campaign: "cmp".into(),
            publisher: "pub".into(),
            pool: Some("pool".into()),
            method: Method::PoolLease,
            confidence: Confidence(99),
            session: Some(lent.session),
            ping: Some(lent.ping),
            age_ms: Some(90_000),
            ambiguous: false,
            candidates: vec![Candidate {
                session: lent.session,
                verdict: CandidateVerdict::Used,
                method: Some(Method::PoolLease),
                confidence: Some(Confidence(99)),
            }],
            race: false,
        }
    );
}

#[test]
fn an_anonymous_caller_matches_nothing_that_needs_one() {
    let over = SessionReading { expires_at: ago(1), ..session(2) };
    let lent = SessionReading { number: number(STATIC), ..session(3) };
    let (attribution, used) = plain(STATIC, None, &[session(1), over, lent]);
    assert_eq!((attribution.method, used), (Method::StaticMapping, None));
    assert!(attribution.candidates.iter().all(|it| it.method.is_none()));
}

#[test]
fn of_two_that_match_the_newest_is_used_and_the_doubt_is_noted() {
    let pinged = |n, seconds| SessionReading {
        caller: number(CALLER),
        created_at: ago(seconds),
        ..session(n)
    };
    let sessions = [pinged(1, 50), pinged(2, 30), pinged(3, 40)];

    let (attribution, used) = plain(STATIC, Some(CALLER), &sessions);

    assert_eq!(used.as_ref(), Some(&sessions[1]));
    assert!(attribution.ambiguous);
    let outranked = CandidateVerdict::Outranked;
    assert_eq!(
        verdicts(&attribution),
        [(2, CandidateVerdict::Used), (3, outranked), (1, outranked)]
    );
}

#[test]
fn of_n_that_are_shown_one_number_each_is_believed_by_a_part_of_n() {
    let shown = |n, sharing| SessionReading {
        number: number(STATIC),
        sharing: Some(sharing),
        created_at: ago(90 - i64::from(n)),
        ..session(n)
    };
    let (alone, used) = plain(STATIC, None, &[shown(1, 1)]);
    assert_eq!((alone.method, alone.confidence), (Method::SharedNumber, Confidence(99)));
    assert_eq!(used, Some(shown(1, 1)));

    let (of_three, used) = plain(STATIC, None, &[shown(1, 3), shown(2, 3), shown(3, 3)]);
    assert_eq!((of_three.method, of_three.confidence), (Method::SharedNumber, Confidence(33)));
    assert_eq!((used, of_three.ambiguous), (Some(shown(3, 3)), true));

    let named = SessionReading { caller: number(CALLER), ..shown(2, 3) };
    let (attribution, used) =
        plain(STATIC, Some(CALLER), &[shown(1, 3), named.clone(), shown(3, 3)]);
    assert_eq!((attribution.method, used), (Method::CallerLease, Some(named)));
}

#[test]
fn who_lost_the_number_is_found_by_it_no_more() {
    let lost = SessionReading { number: number(POOL), former: rests(30, 0), ..session(1) };
    let (attribution, used) = plain(POOL, None, std::slice::from_ref(&lost));
    assert_eq!((attribution.method, used), (Method::StaticMapping, None));
    // Its caller who dials it just after it was lent anew still is.
    let lent = SessionReading { number: number(POOL), created_at: ago(30), ..session(2) };
    let lost = SessionReading { caller: number(CALLER), ..lost };
    let (attribution, used) = plain(POOL, Some(CALLER), &[lost.clone(), lent]);
    assert_eq!((attribution.method, used), (Method::FormerLease, Some(lost)));
}

#[test]
fn the_higher_order_goes_before_the_newer_session() {
    let lease = SessionReading { number: number(STATIC), caller: number(CALLER), ..session(1) };
    let newer = SessionReading { caller: number(CALLER), created_at: ago(1), ..session(2) };
    let (attribution, used) = plain(STATIC, Some(CALLER), &[newer, lease.clone()]);
    assert_eq!((used, attribution.ambiguous), (Some(lease), true));
}

#[test]
fn what_is_expired_or_of_another_campaign_is_not_used() {
    let old = SessionReading {
        caller: number(CALLER),
        created_at: Wall(NOW.0 - 31 * 86_400_000),
        expires_at: NOW,
        ..session(1)
    };
    let elsewhere =
        SessionReading { caller: number(CALLER), campaign: "other".into(), ..session(2) };
    let (attribution, used) = plain(STATIC, Some(CALLER), &[old, elsewhere]);
    assert_eq!((used, attribution.ambiguous), (None, false));
    assert_eq!(
        verdicts(&attribution),
        [(2, CandidateVerdict::OtherCampaign), (1, CandidateVerdict::Expired)]
    );
}

#[test]
fn a_session_of_another_publisher_is_not_the_call_s_whatever_speaks_for_it() {
    let other = |dialed| SessionReading {
        caller: number(CALLER),
        number: number(dialed),
        publisher: "someone".into(),
        ..session(1)
    };
    let key = SessionKey::Session(session(1).session);
    let named = Some(Named { key, is_all: false });
    let header = TrunkWord { publisher: None, key: Some(key) };
    let over = |session| SessionReading { expires_at: ago(1), ..session };
    let rested = SessionReading { former: rests(60, 900), ..over(other(POOL)) };
    let none = TrunkWord::default();
    for (dialed, named, trunk, session) in [
        (STATIC, named, none, other(STATIC)),
        (STATIC, None, header, other(STATIC)),
        (STATIC, None, none, other(STATIC)),
        (POOL, None, none, other(POOL)),
        (POOL, None, none, rested),
        (STATIC, None, none, over(other(STATIC))),
    ] {
        let call = RouteRequest { named, ..request(dialed, Some(CALLER)) };
        let (attribution, used) = attributed("", &call, trunk, &[session]);
        assert_eq!((attribution.method, used), (Method::StaticMapping, None));
        assert_eq!((attribution.publisher.as_str(), attribution.ambiguous), ("pub", false));
        assert_eq!(verdicts(&attribution), [(1, CandidateVerdict::OtherPublisher)]);
    }

    // Nor does it outrank one that is.
    let own = SessionReading { caller: number(CALLER), created_at: ago(95), ..session(2) };
    let (attribution, used) = plain(STATIC, Some(CALLER), &[other(STATIC), own.clone()]);
    assert_eq!((used, attribution.ambiguous), (Some(own), false));
}

#[test]
fn a_publisher_s_trunk_names_none_but_its_own_sessions() {
    let publisher = PublisherId::new("someone");
    let key = SessionKey::Ping(session(1).ping);
    let trunk = TrunkWord { publisher: Some(&publisher), key: Some(key) };
    let named =
        RouteRequest { named: Some(Named { key, is_all: false }), ..request(STATIC, Some(CALLER)) };
    for call in [request(STATIC, Some(CALLER)), named] {
        let (attribution, used) = attributed("", &call, trunk, &[session(1)]);
        assert_eq!(used, None);
        assert_eq!(verdicts(&attribution), [(1, CandidateVerdict::OtherPublisher)]);
    }
}

#[test]
fn a_match_below_the_minimum_is_not_used_and_is_told() {
    let pinged = SessionReading { caller: number(CALLER), ..session(1) };
    let setting = "min_match_confidence = 0.95";

    let (attribution, used) =
        attributed(setting, &request(STATIC, Some(CALLER)), TrunkWord::default(), &[pinged]);

    assert_eq!((attribution.method, used), (Method::StaticMapping, None));
    let below = attribution.below_minimum().unwrap();
    assert_eq!((below.session, below.method), (session(1).session, Some(Method::CallerPing)));
}

#[test]
fn a_match_that_is_not_sure_enough_does_not_hide_a_surer_one_of_a_lower_order() {
    let setting = "min_match_confidence = 0.5";
    let shown = |n| SessionReading { number: number(STATIC), sharing: Some(3), ..session(n) };
    let earlier = SessionReading { caller: number(CALLER), expires_at: ago(3_600), ..session(2) };
    let sessions = [shown(1), earlier.clone(), shown(3)];
    let (attribution, used) =
        attributed(setting, &request(STATIC, Some(CALLER)), TrunkWord::default(), &sessions);
    assert_eq!((attribution.method, used), (Method::EarlierSession, Some(earlier)));
    let below = CandidateVerdict::BelowMinimum;
    assert_eq!(verdicts(&attribution), [(3, below), (1, below), (2, CandidateVerdict::Used)]);

    // Who has the number now is not its former caller.
    let former = SessionReading {
        number: number(POOL),
        caller: number(CALLER),
        expires_at: ago(1_000),
        former: rests(1_000, 900),
        ..session(1)
    };
    let lent = SessionReading { number: number(POOL), created_at: ago(30), ..session(2) };
    let call = request(POOL, Some(CALLER));
    let setting = "min_match_confidence = 0.95";
    let (attribution, used) = attributed(setting, &call, TrunkWord::default(), &[former, lent]);
    assert_eq!((attribution.method, used), (Method::StaticMapping, None));
}

#[test]
fn a_number_that_was_lent_again_a_moment_ago_is_still_its_former_caller_s() {
    let former = SessionReading {
        number: number(POOL),
        caller: number(CALLER),
        created_at: ago(2_000),
        expires_at: ago(1_000),
        former: rests(1_000, 900),
        ..session(1)
    };
    let now_of =
        |seconds| SessionReading { number: number(POOL), created_at: ago(seconds), ..session(2) };
    let told = |caller, seconds| {
        let (attribution, used) = plain(POOL, caller, &[now_of(seconds), former.clone()]);
        (used.map(|it| it.session), attribution.method, attribution.race)
    };
    let (old, new) = (Some(session(1).session), Some(session(2).session));
    assert_eq!(told(Some(CALLER), 59), (old, Method::FormerLease, false));
    assert_eq!(told(Some("+16145550199"), 59), (new, Method::PoolLease, true));
    assert_eq!(told(None, 59), (new, Method::PoolLease, true));
    assert_eq!(told(Some(CALLER), 60), (new, Method::PoolLease, false));
}

#[test]
fn a_visitor_who_left_a_day_ago_has_no_part_in_a_race() {
    let former = SessionReading {
        number: number(POOL),
        caller: number(CALLER),
        expires_at: ago(86_401),
        former: rests(86_401, 900),
        ..session(1)
    };
    let lent = SessionReading { number: number(POOL), created_at: ago(5), ..session(2) };
    let (attribution, used) = plain(POOL, Some(CALLER), &[former, lent.clone()]);
    assert_eq!((used, attribution.race), (Some(lent), false));
}

#[test]
fn a_call_that_dials_a_session_alone_is_the_session_s_publisher_s() {
    let snapshot = snapshot("");
    let session = SessionReading { publisher: "someone".into(), ..session(1) };
    let key = SessionKey::Ping(session.ping);
    let named =
        |is_all| RouteRequest { named: Some(Named { key, is_all }), ..request(STATIC, None) };
    let of = |request: &RouteRequest| {
        owner(&snapshot, request, std::slice::from_ref(&session)).unwrap().publisher.id.clone()
    };
    assert_eq!(of(&named(true)), "someone".into());
    assert_eq!(of(&named(false)), "pub".into());
}

proptest! {
    /// Any sessions, in any order: the same is found, and it is the surest of those that match.
    #[test]
    fn what_is_found_does_not_depend_on_the_order_of_the_candidates(
        seeds in prop::collection::vec((0_u8..8, 0_u8..3, 0_i64..90, 0_u8..4), 0..8),
        shift in 0_usize..8,
        dialed in prop::sample::select(vec![POOL, STATIC]),
        caller in prop::sample::select(vec![None, Some(CALLER)]),
        named in prop::option::of(0_u8..8),
    ) {
        let sessions: Vec<_> = (1_u8..).zip(seeds).map(|(n, seed)| any_session(n, seed)).collect();
        let named = named.map(|n| Named {
            key: SessionKey::Ping(PingId::from_bytes([n; 16])),
            is_all: false,
        });
        let call = RouteRequest { named, ..request(dialed, caller) };
        let setting = "min_match_confidence = 0.0";
        let (first, used) = attributed(setting, &call, TrunkWord::default(), &sessions);

        let mut other = sessions.clone();
        other.rotate_left(shift.min(sessions.len()));
        let turned = attributed(setting, &call, TrunkWord::default(), &other);
        other.reverse();
        let reversed = attributed(setting, &call, TrunkWord::default(), &other);

        prop_assert_eq!(&turned, &(first.clone(), used.clone()));
        prop_assert_eq!(&reversed, &(first.clone(), used.clone()));
        let best = first.candidates.iter().filter_map(|it| it.method).min();
        prop_assert_eq!(best.unwrap_or(Method::StaticMapping), first.method);
        prop_assert_eq!(used.map(|it| it.session), first.session);
        prop_assert_eq!(first.candidates.len(), sessions.len());
        prop_assert_eq!(first.publisher.as_str(), "pub");
    }
}

fn any_session(n: u8, (kind, campaign, age, caller): (u8, u8, i64, u8)) -> SessionReading {
    let live = SessionReading { created_at: ago(age), ..session(n) };
    let live = SessionReading {
        campaign: if campaign == 0 { "other".into() } else { "cmp".into() },
        caller: number(if caller == 0 { "+16145550199" } else { CALLER }).filter(|_| caller < 3),
        publisher: if campaign == 2 && age % 4 == 0 { "someone".into() } else { "pub".into() },
        ..live
    };
    let over = SessionReading { expires_at: ago(age / 2), ..live.clone() };
    match kind {
        0 | 1 => live,
        2 | 3 => SessionReading { number: number(POOL), ..live },
        4 => SessionReading { number: number(STATIC), ..live },
        5 | 6 => SessionReading { number: number(POOL), former: rests(age / 2, 30), ..over },
        _ => over,
    }
}

fn verdicts(attribution: &Attribution) -> Vec<(u8, CandidateVerdict)> {
    attribution.candidates.iter().map(|it| (it.session.as_bytes()[0], it.verdict)).collect()
}

fn plain(
    dialed: &str,
    caller: Option<&str>,
    sessions: &[SessionReading],
) -> (Attribution, Option<SessionReading>) {
    attributed("", &request(dialed, caller), TrunkWord::default(), sessions)
}

/// `setting` of the campaign; by default it is content with anything.
fn attributed(
    setting: &str,
    request: &RouteRequest,
    trunk: TrunkWord<'_>,
    sessions: &[SessionReading],
) -> (Attribution, Option<SessionReading>) {
    let setting = if setting.is_empty() { "min_match_confidence = 0.1" } else { setting };
    let snapshot = snapshot(setting);
    let owner = snapshot.number(request.dialed).unwrap();
    let (attribution, used) = attribute(&owner, trunk, request, sessions);
    (attribution, used.cloned())
}

pub(super) fn snapshot(campaign_setting: &str) -> RoutingSnapshot {
    let config: RoutingConfig = toml::from_str(&format!(
        r#"
        publishers = [{{ id = "pub" }}, {{ id = "someone" }}]
        buyers = [{{ id = "buy" }}]
        targets = [{{ id = "t", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }} }}]
        [[pools]]
        id = "pool"
        campaign = "cmp"
        publisher = "pub"
        numbers = ["{POOL}"]
        [[campaigns]]
        id = "cmp"
        publisher = "pub"
        numbers = ["{STATIC}"]
        routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
        {campaign_setting}
        "#
    ))
    .unwrap();
    RoutingSnapshot::compile(config, 1).unwrap()
}

pub(super) fn request(dialed: &str, caller: Option<&str>) -> RouteRequest {
    RouteRequest {
        call: CallId::from_bytes([9; 16]),
        at: NOW,
        dialed: dialed.parse().unwrap(),
        caller: caller.and_then(number),
        trunk: "trk".into(),
        tags: Tags::new(),
        named: None,
        announced: false,
    }
}

pub(super) fn session(n: u8) -> SessionReading {
    SessionReading {
        session: SessionId::from_bytes([n; 16]),
        ping: PingId::from_bytes([n; 16]),
        publisher: "pub".into(),
        campaign: "cmp".into(),
        number: None,
        caller: None,
        created_at: ago(90),
        expires_at: Wall(NOW.0 + 60_000),
        tags: Tags::new(),
        former: None,
        sharing: None,
        promise: None,
        enriched: Tags::new(),
    }
}

/// A lease that ended so many seconds ago, after which the number rests for so many.
pub(super) fn rests(ended: i64, rest: u64) -> Option<FormerLease> {
    let rests_until = ago(ended) + Duration::from_secs(rest);
    Some(FormerLease { ended_at: ago(ended), rests_until })
}

pub(super) fn ago(seconds: i64) -> Wall {
    Wall(NOW.0 - seconds * 1_000)
}

pub(super) fn number(text: &str) -> Option<PhoneNumber> {
    text.parse().ok()
}
