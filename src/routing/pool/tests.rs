use proptest::prelude::*;

use super::*;
use crate::routing::config::RoutingConfig;

const TTL: Duration = Duration::from_secs(100);

#[test]
fn a_session_keeps_its_number() {
    let mut leases = leases(3);
    let first = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    let again = leases.lease(&pool(), session(1), TTL, at(50)).unwrap();
    assert_eq!(again, Lease { expires_at: at(150), ..first });
    assert_eq!(leases.reading(&pool()), PoolReading { free: 2, leased: 1, quarantined: 0 });
}

#[test]
fn who_has_a_number_is_found_by_it_and_by_the_session() {
    let mut leases = leases(3);
    let first = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    let second = leases.lease(&pool(), session(2), TTL, at(7)).unwrap();
    let all = [first.number, second.number];
    assert_eq!(leases.among(&all), [(first, at(0)), (second, at(7))]);
    assert_eq!(leases.among(&all[1..]), [(second, at(7))]);
    assert_eq!(leases.of(session(2)), Some((second, at(7))));
    leases.release(session(2), at(8));
    assert_eq!(leases.of(session(2)), None);
    let over = (Lease { expires_at: at(8), ..second }, at(7));
    assert_eq!(leases.among(&all), [(first, at(0)), over], "it rests");
    assert_eq!(leases.had(first.number, session(1)), Some((first, at(0))));
    assert_eq!(leases.had(second.number, session(2)), Some(over));
    assert_eq!(leases.had(second.number, session(1)), None);
    leases.expire(at(1_000));
    assert_eq!(leases.among(&all), [], "they are free");
    assert_eq!(leases.had(second.number, session(2)), Some(over));
}

#[test]
fn a_number_rests_before_it_is_lent_again_and_the_longest_unused_goes_first() {
    let mut leases = leases(2);
    let a = leases.lease(&pool(), session(1), TTL, at(0)).unwrap().number;
    let b = leases.lease(&pool(), session(2), TTL, at(10)).unwrap().number;

    assert_eq!(leases.lease(&pool(), session(3), TTL, at(159)), None);
    // `a` has been free since 100 and rests until 160, `b` until 170.
    leases.expire(at(170));
    assert_eq!(leases.lease(&pool(), session(3), TTL, at(170)).unwrap().number, a);
    assert_eq!(leases.lease(&pool(), session(4), TTL, at(170)).unwrap().number, b);
}

#[test]
fn a_call_keeps_the_number_from_changing_hands() {
    let mut leases = leases(1);
    let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();

    assert!(leases.pin(lent.number, at(1)));
    leases.expire(at(1_000));
    assert_eq!(leases.holder(lent.number, at(1_000)), Some(lent));
    let after = leases.unpin(lent.number, at(1_000)).unwrap();

    assert_eq!(after.expires_at, at(1_300));
    leases.expire(at(1_300));
    assert_eq!(leases.holder(lent.number, at(1_300)), None);
}

#[test]
fn a_released_number_goes_into_quarantine() {
    let mut leases = leases(1);
    let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    leases.release(session(1), at(20));
    assert_eq!(leases.holder(lent.number, at(20)), None);
    assert_eq!(leases.lease(&pool(), session(2), TTL, at(79)), None);
    assert!(leases.lease(&pool(), session(2), TTL, at(80)).is_some());
}

#[test]
fn a_number_that_left_the_configuration_stays_with_its_session() {
    let mut leases = leases(2);
    let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    leases.configure(&snapshot(0));
    assert_eq!(leases.holder(lent.number, at(1)), Some(lent));
    leases.expire(at(160));
    leases.expire(at(160));
    // Only the number every configuration here has is left.
    assert_eq!(leases.numbers.len(), 1);
}

#[test]
fn a_number_that_goes_to_another_pool_is_lent_there_when_its_session_has_left_it_and_it_has_rested()
{
    let mut leases = leases(1);
    let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    let text = pool_text(1, "").replace("id = \"pool\"", "id = \"other\"");
    leases.configure(&compiled(&text));
    let other = PoolId::new("other");
    assert_eq!(leases.among(&[lent.number]), [(lent, at(0))]);
    assert_eq!(leases.of(session(1)), Some((lent, at(0))));

    assert_eq!(leases.lease(&other, session(2), TTL, at(1)), None);
    let prolonged = leases.lease(&pool(), session(1), TTL, at(50)).unwrap();
    assert_eq!(prolonged, Lease { expires_at: at(150), ..lent });
    assert_eq!(leases.lease(&other, session(2), TTL, at(209)), None, "it rests");
    let next = leases.lease(&other, session(2), TTL, at(210));
    assert_eq!(next.map(|it| it.number), Some(lent.number));
}

#[test]
fn a_call_that_comes_after_the_end_of_a_lease_does_not_bring_it_back() {
    let mut leases = leases(1);
    let lent = leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    // Nobody has looked at the lease since it ended.
    assert!(leases.pin(lent.number, at(100)));
    assert_eq!(leases.holder(lent.number, at(100)), None);
    assert_eq!(leases.unpin(lent.number, at(120)), None);
    assert!(leases.lease(&pool(), session(2), TTL, at(159)).is_none());
    assert!(leases.lease(&pool(), session(2), TTL, at(160)).is_some());
}

#[test]
fn a_visitor_without_a_sign_of_life_loses_the_number_only_when_none_is_free() {
    let mut leases = Leases::default();
    leases.configure(&pool_with(2, "take_idle_after_s = 60"));
    let lend = |leases: &mut Leases, who, s| leases.lease(&pool(), session(who), TTL, at(s));
    let first = lend(&mut leases, 1, 0).unwrap().number;
    let second = lend(&mut leases, 2, 10).unwrap().number;
    assert_ne!(first, second);
    assert_eq!(lend(&mut leases, 3, 59), None, "both were seen within a minute");
    // The first one shows a sign of life; then the second is the idlest.
    lend(&mut leases, 1, 65).unwrap();
    assert_eq!(lend(&mut leases, 3, 69), None);
    assert_eq!(lend(&mut leases, 3, 70).unwrap().number, second);

    assert_eq!(leases.owner(second), Some(session(3)));
    let ended = FormerLease { ended_at: at(70), rests_until: at(70) };
    assert_eq!(leases.ended(second, session(2)), Some(ended));
    // A call keeps the number with its visitor.
    assert!(leases.pin(first, at(80)));
    assert_eq!(lend(&mut leases, 4, 129), None);
    assert_eq!(lend(&mut leases, 4, 130).unwrap().number, second);

    let hold = Hold { lease: TTL, rest: Duration::from_secs(60) };
    let demand = demand_of(&leases, hold, at(130));
    assert_eq!((demand.asked, demand.missed, demand.taken, demand.min_free), (4, 2, 2, 0));
}

#[test]
fn a_session_that_waits_for_a_number_is_counted_once_while_it_lives() {
    let mut leases = leases(1);
    let counted = |leases: &Leases, s| {
        let hold = Hold { lease: TTL, rest: Duration::from_secs(60) };
        let demand = demand_of(leases, hold, at(s));
        (demand.asked, demand.missed)
    };
    leases.lease(&pool(), session(1), TTL, at(0)).unwrap();
    for s in 1..60 {
        assert_eq!(leases.lease(&pool(), session(2), TTL, at(s)), None);
    }
    assert_eq!(counted(&leases, 60), (2, 1));

    // It gets the number at last, and keeps it.
    assert!(leases.lease(&pool(), session(2), Duration::from_secs(200), at(158)).is_none());
    assert!(leases.lease(&pool(), session(2), TTL, at(160)).is_some());
    assert!(leases.lease(&pool(), session(2), TTL, at(200)).is_some());
    assert_eq!(counted(&leases, 200), (2, 1));

    // A session that came to its end without a sign of life wants one anew.
    assert!(leases.lease(&pool(), session(3), TTL, at(201)).is_none());
    assert!(leases.lease(&pool(), session(3), TTL, at(301)).is_none());
    assert_eq!(counted(&leases, 301), (4, 3));
}

#[test]
fn a_session_whose_number_was_taken_is_not_counted_again() {
    let mut leases = Leases::default();
    leases.configure(&pool_with(1, "take_idle_after_s = 60"));
    let ttl = Duration::from_secs(1_000);
    for round in 0..3 {
        assert!(leases.lease(&pool(), session(1), ttl, at(round * 120)).is_some());
        assert!(leases.lease(&pool(), session(2), ttl, at(round * 120 + 60)).is_some());
    }

    let hold = Hold { lease: TTL, rest: Duration::from_secs(60) };
    let demand = demand_of(&leases, hold, at(300));

    assert_eq!((demand.asked, demand.missed, demand.taken), (2, 0, 5));
}

#[test]
fn of_a_number_eight_leases_are_remembered_for_a_week() {
    let mut leases = leases(1);
    for n in 0..10 {
        leases.lease(&pool(), session(n), TTL, at(i64::from(n) * 160)).unwrap();
    }
    let did = "+16145550100".parse().unwrap();
    let of = |leases: &Leases, s| -> Vec<_> {
        leases.history(did, at(s)).iter().map(|past| past.session).collect()
    };
    assert_eq!(of(&leases, 1_539), (1..9).map(session).collect::<Vec<_>>());
    assert_eq!(of(&leases, 1_540), (2..10).map(session).collect::<Vec<_>>(), "it has ended unseen");
    let week = 7 * 24 * 3_600;
    assert_eq!(of(&leases, 1_540 + week), [session(9)]);
}

#[test]
fn after_a_burst_the_size_that_is_suggested_is_what_the_burst_needed() {
    let mut leases = leases(1_000);
    let ttl = Duration::from_secs(180);
    // By the hour's rate alone they need 114 numbers.
    for n in 0..1_290 {
        let (who, now) = (visitor(n), Wall(i64::from(n) * 3_000 / 1_290));
        assert_eq!(leases.lease(&pool(), who, ttl, now).is_some(), n < 1_000);
    }

    let demand = demand_of(&leases, Hold { lease: ttl, rest: Duration::from_secs(60) }, at(3));

    assert_eq!((demand.missed, demand.peak_at_once, demand.suggested_size), (290, 1_290, 1_290));
}

#[test]
fn who_is_turned_away_in_an_hour_that_has_just_begun_is_missing_a_number() {
    let mut leases = leases(3);
    for n in 0..10 {
        assert_eq!(leases.lease(&pool(), visitor(n), TTL, at(3_600)).is_some(), n < 3);
    }
    let hold = Hold { lease: TTL, rest: Duration::from_secs(60) };
    let suggested = |leases: &Leases, s| {
        let demand = demand_of(leases, hold, at(s));
        (demand.missed, demand.peak_at_once, demand.suggested_size)
    };
    assert_eq!(suggested(&leases, 3_600), (7, 10, 10));

    // Those turned away would have left their numbers to rest, as those did who had one.
    assert!(leases.lease(&pool(), visitor(10), TTL, at(3_759)).is_none());
    assert_eq!(suggested(&leases, 3_759), (8, 11, 11));
    assert!(leases.lease(&pool(), visitor(11), TTL, at(3_760)).is_some());
    assert_eq!(suggested(&leases, 3_760), (8, 11, 11));
    let wanted = |hour| {
        let hours = leases.clone().asked(&pool(), at(7_300));
        hours.iter().find(|it| it.hour == hour).map(|it| it.wanted)
    };
    assert_eq!((wanted(1), wanted(2)), (Some(11), None), "all were over before the next hour");
}

#[test]
fn who_was_never_answered_wants_no_number_and_who_is_released_leaves_one_to_rest() {
    let mut leases = leases(1);
    for n in 0..4 {
        leases.lease(&pool(), visitor(n), TTL, at(0));
    }
    leases.take_back(visitor(1), at(1));
    leases.release(visitor(2), at(1));
    let wanted = |leases: &mut Leases, s| {
        leases.asked(&pool(), at(s));
        leases.shelves[&pool()].waiting.wanted()
    };
    assert_eq!(wanted(&mut leases, 60), 2, "one waits, one would rest");
    assert_eq!(wanted(&mut leases, 61), 1);
    assert_eq!(wanted(&mut leases, 100), 1, "it would rest");
    assert_eq!(wanted(&mut leases, 160), 0);
}

#[test]
fn whose_number_was_taken_for_want_of_a_sign_of_life_wants_none_until_it_asks() {
    let mut leases = Leases::default();
    leases.configure(&pool_with(1, "take_idle_after_s = 60"));
    let ttl = Duration::from_secs(1_000);
    let hold = Hold { lease: TTL, rest: Duration::from_secs(60) };
    assert!(leases.lease(&pool(), visitor(1), ttl, at(0)).is_some());
    assert!(leases.lease(&pool(), visitor(2), ttl, at(60)).is_some());
    assert_eq!(demand_of(&leases, hold, at(60)).peak_at_once, 1);
    assert!(leases.lease(&pool(), visitor(1), ttl, at(61)).is_none());
    assert_eq!(demand_of(&leases, hold, at(61)).peak_at_once, 2);
}

/// What visitors do to a pool of so many numbers, and who found none left.
fn replayed(steps: &[(u8, u32, i64)], numbers: usize) -> (Leases, Vec<usize>, i64) {
    let (mut leases, mut missed, mut now) = (leases(numbers), vec![], 0);
    for (nth, &(step, who, wait)) in steps.iter().enumerate() {
        now += wait;
        if step == 0 {
            leases.release(visitor(who), at(now));
        } else if leases.lease(&pool(), visitor(who), TTL * u32::from(step), at(now)).is_none() {
            missed.push(nth);
        }
    }
    (leases, missed, now)
}

proptest! {
    #[test]
    fn a_pool_of_the_size_that_is_suggested_would_have_had_a_number_for_everybody(
        steps in prop::collection::vec((0_u8..4, 0_u32..40, prop_oneof![0_i64..3, 0_i64..400]), 1..300),
        numbers in 1_usize..12,
    ) {
        let (leases, missed, now) = replayed(&steps, numbers);
        let hold = Hold { lease: Duration::from_secs(1), rest: Duration::ZERO };
        // All of it within a day.
        prop_assume!(now < 23 * 3_600);
        let demand = demand_of(&leases, hold, at(now));
        let needed = usize::try_from(demand.peak_at_once).unwrap();
        prop_assert!(missed.is_empty() || needed > numbers);
        prop_assert_eq!(replayed(&steps, needed.max(1)).1, Vec::<usize>::new());
        if needed > 1 {
            prop_assert_ne!(replayed(&steps, needed - 1).1, Vec::<usize>::new(), "it is not too many");
        }
    }

    #[test]
    fn two_sessions_never_have_one_number_and_none_is_lent_before_it_rested(
        steps in prop::collection::vec((0_u8..6, 0_u8..5, 0_i64..60), 1..200),
    ) {
        let mut leases = leases(3);
        let mut now = 0;
        let mut last_lent: BTreeMap<PhoneNumber, (SessionId, Wall)> = BTreeMap::new();
        let mut pinned = vec![];
        for (step, who, wait) in steps {
            now += wait;
            match step {
                0..=2 => {
                    if let Some(lease) = leases.lease(&pool(), session(who), TTL, at(now)) {
                        if let Some((owner, end)) = last_lent.get(&lease.number)
                            && *owner != lease.session
                        {
                            prop_assert!(*end + Duration::from_secs(60) <= at(now));
                        }
                        prop_assert!(!pinned.contains(&lease.number)
                            || last_lent[&lease.number].0 == lease.session);
                        last_lent.insert(lease.number, (lease.session, lease.expires_at));
                    }
                }
                3 => {
                    leases.release(session(who), at(now));
                    for (owner, end) in last_lent.values_mut() {
                        if *owner == session(who) {
                            *end = (*end).min(at(now));
                        }
                    }
                }
                4 => {
                    let owned = last_lent.iter().find(|(_, (owner, _))| *owner == session(who));
                    if let Some((did, _)) = owned {
                        leases.pin(*did, at(now));
                        pinned.push(*did);
                    }
                }
                _ => {
                    if let Some(did) = pinned.pop()
                        && let Some(lease) = leases.unpin(did, at(now))
                    {
                        last_lent.insert(did, (lease.session, lease.expires_at));
                    }
                }
            }
            let mut owners = BTreeSet::new();
            for did in leases.numbers.keys() {
                if let Some(lease) = leases.holder(*did, at(now)) {
                    prop_assert!(owners.insert(lease.session));
                }
            }
            let reading = leases.reading(&pool());
            prop_assert_eq!(reading.free + reading.leased + reading.quarantined, 3);
        }
    }
}

fn leases(numbers: usize) -> Leases {
    let mut leases = Leases::default();
    leases.configure(&snapshot(numbers.saturating_sub(1)));
    leases
}

/// A pool of one number and `more`.
fn snapshot(more: usize) -> RoutingSnapshot {
    pool_with(more + 1, "")
}

fn pool_with(numbers: usize, setting: &str) -> RoutingSnapshot {
    compiled(&pool_text(numbers, setting))
}

fn compiled(text: &str) -> RoutingSnapshot {
    let config: RoutingConfig = toml::from_str(text).unwrap();
    RoutingSnapshot::compile(config, 1).unwrap()
}

fn pool_text(numbers: usize, setting: &str) -> String {
    let numbers: Vec<_> = (0..numbers).map(|n| format!("\"+1614555{:04}\"", 100 + n)).collect();
    format!(
        r#"
        publishers = [{{ id = "pub" }}]
        buyers = [{{ id = "buy" }}]
        targets = [{{ id = "t", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }} }}]
        pools = [{{
            id = "pool", campaign = "cmp", publisher = "pub", quarantine_s = 60, numbers = [{}],
            {setting}
        }}]
        [[campaigns]]
        id = "cmp"
        routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
        "#,
        numbers.join(",")
    )
}

fn pool() -> PoolId {
    PoolId::new("pool")
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn visitor(n: u32) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn at(seconds: i64) -> Wall {
    Wall(seconds * 1_000)
}

fn demand_of(leases: &Leases, hold: Hold, now: Wall) -> Demand {
    let asked = leases.clone().asked(&pool(), now);
    Demand::of(&asked, leases.reading(&pool()).free, hold, now)
}
