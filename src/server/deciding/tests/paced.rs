//! Calls with talk times of all lengths, one after the other, under a cap on conversions: decided,
//! held, answered, converted and ended as calls are, with their records, in virtual time.

use crate::cdr::fact::{Fact, FactBody, HoldPlaced};
use crate::cdr::testing::{START_MS, Script, call_id};
use crate::routing::UsageReader;
use crate::server::outcomes::Outcomes;
use crate::server::translate;

use super::*;

/// 16:00 UTC, in milliseconds since [`START_MS`].
const FIRST_HOUR_MS: u64 = 3_347_682;
const HOUR_MS: u64 = 3_600_000;
/// How often leases are renewed and windows looked at.
const UPKEEP_MS: u64 = 20_000;
/// When calls of [`Script`] convert.
const CONVERTS_MS: u64 = 91_000;

/// What came to be used of the cap, by window.
struct Played {
    used: Vec<u64>,
    limit: u64,
}

/// Calls that come, and what becomes of them.
struct Shift {
    every_ms: u64,
    /// Of those that are answered so many convert, in percent.
    converts_pct: u8,
    /// How long they talk.
    talk_ms: std::ops::Range<u64>,
    hours: u64,
}

#[test]
#[expect(clippy::print_stdout, reason = "how often it is passed is a figure to look at")]
fn a_paced_cap_on_conversions_is_filled_and_passed_no_more_often_than_is_said() {
    for (limit, rate, over_pct) in [(12, 30, 10), (40, 50, 5)] {
        let rules = format!(
            "limit = {limit}, mode = 'paced', assumed_rate = '{rate}%', max_over_prob = '{over_pct}%'"
        );
        let talk_ms = CONVERTS_MS + 1_000..1_200_000;
        let shift = Shift { every_ms: 9_000, converts_pct: rate, talk_ms, hours: 50 };

        let played = shift.play(&rules);

        let windows = played.used.len();
        let over = played.used.iter().filter(|used| **used > played.limit).count();
        let most = played.used.iter().max();
        let in_all: u64 = played.used.iter().sum();
        println!("{over} of {windows} windows over {limit}, at most {most:?}, {in_all} in all");
        assert_eq!(windows, 50);
        // Three standard deviations more than is said, in so few windows.
        let said = windows as f64 * f64::from(over_pct) / 100.0;
        assert!(over as f64 <= said + 3.0 * said.sqrt(), "{over} of {said}: {:?}", played.used);
        assert!(in_all * 10 >= windows as u64 * played.limit * 9, "{:?}", played.used);
    }
}

#[test]
fn a_strict_cap_on_conversions_is_never_passed_and_is_filled_though_calls_talk_on() {
    let shift =
        Shift { every_ms: 20_000, converts_pct: 30, talk_ms: CONVERTS_MS + 1..1_800_000, hours: 6 };
    assert_eq!(shift.play("limit = 8").used, [8; 6]);
}

/// It lags by those that have yet to convert, and not by those that talk on.
#[test]
fn a_soft_cap_on_conversions_is_passed_by_the_calls_that_had_yet_to_convert() {
    let shift =
        Shift { every_ms: 10_000, converts_pct: 100, talk_ms: 1_200_000..1_200_001, hours: 3 };
    let not_yet = CONVERTS_MS / 10_000;

    let played = shift.play("limit = 20, mode = 'soft'");

    assert!(played.used.iter().all(|used| (20..=20 + not_yet).contains(used)), "{:?}", played.used);
    assert!(played.used.iter().any(|used| *used > 20), "{:?}", played.used);
}

impl Shift {
    fn play(&self, rules: &str) -> Played {
        let deciding = Deciding::new(one_cap(
            "UTC",
            &format!("metric = 'converted', window = 'hourly', {rules}"),
        ));
        let (mut rng, mut outcomes) = (Rng::with_seed(0x5E_A50), Outcomes::default());
        // What happens next to each call, by when.
        let mut due: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut up: BTreeMap<u64, Up> = BTreeMap::new();
        let mut used: BTreeMap<Bucket, u64> = BTreeMap::new();
        let mut at_ms = FIRST_HOUR_MS;
        let ends_ms = FIRST_HOUR_MS + self.hours * HOUR_MS;
        let (mut comes_ms, mut upkeep_ms) = (at_ms, at_ms);
        while at_ms < ends_ms || !up.is_empty() {
            let now = Mono(at_ms * 1_000_000);
            let wall = Wall(START_MS + at_ms.cast_signed());
            while let Some(&(_, n)) = due.first().filter(|(at, _)| *at <= at_ms) {
                due.pop_first();
                let call = up.get_mut(&n).unwrap();
                let fact = call.facts.pop().unwrap();
                tell(&deciding, &mut outcomes, call.hold, &fact, now);
                match call.facts.last().map(ms_of) {
                    Some(next) => {
                        due.insert((next, n));
                    }
                    None => {
                        up.remove(&n);
                    }
                }
            }
            if at_ms >= upkeep_ms {
                upkeep_ms += UPKEEP_MS;
                deciding.renew(up.values().map(|call| call.hold), now);
                for (bucket, used) in &mut used {
                    *used = deciding.ledger(|ledger| ledger.usage(bucket).used).max(*used);
                }
                deciding.sweep(now, wall);
            }
            if at_ms >= comes_ms && at_ms < ends_ms {
                comes_ms += self.every_ms;
                if let Some((call, buckets)) = self.call(&deciding, &mut outcomes, at_ms, &mut rng)
                {
                    due.insert((ms_of(call.facts.last().unwrap()), at_ms));
                    up.insert(at_ms, call);
                    for bucket in buckets {
                        used.entry(bucket).or_default();
                    }
                }
            }
            let next = due.first().map_or(u64::MAX, |(at, _)| *at).min(upkeep_ms);
            at_ms = if comes_ms < ends_ms { next.min(comes_ms) } else { next };
        }
        assert_eq!(deciding.ledger(HoldLedger::live), 0);
        let limit = deciding.snapshot().caps().next().unwrap().limit;
        Played { used: used.into_values().collect(), limit }
    }

    /// A call comes, and is answered if it gets room; then what is yet to happen to it, the last first,
    /// and what counts it.
    fn call(
        &self,
        deciding: &Deciding,
        outcomes: &mut Outcomes,
        at_ms: u64,
        rng: &mut Rng,
    ) -> Option<(Up, Vec<Bucket>)> {
        let request = plain_call(call_id(at_ms), Wall(START_MS + at_ms.cast_signed()));
        let now = Mono(at_ms * 1_000_000);
        let Decided { decision, scope, .. } = deciding.decide(&request, now, &[], None, None);
        let planned = decision.plan.first()?;
        let (terms, scope) = (planned.terms, scope.as_deref());
        let wanted = deciding.wanted(request.call, 1, planned, terms, scope, request.at);
        let (hold, holds) = wanted.expect("its target has a cap");
        deciding.reserve(hold, &holds, now).expect("what was decided fits");
        let buckets = holds.iter().map(translate::bucket).collect();
        let placed = HoldPlaced { hold, target: planned.target.clone(), buckets };
        let answered = Script::of(at_ms).then(0, placed).dial(1).answer_at(1_000);
        let script = match rng.u8(0..100) < self.converts_pct {
            true => answered.convert_at(CONVERTS_MS).end_at(1_000 + rng.u64(self.talk_ms.clone())),
            false => answered.end_at(rng.u64(1_001..CONVERTS_MS)),
        };
        let mut facts = script.facts();
        outcomes.follow(request.call, facts.remove(0));
        facts.reverse();
        Some((Up { hold, facts }, holds.into_iter().map(|it| it.bucket).collect()))
    }
}

struct Up {
    hold: HoldId,
    /// The next is the last.
    facts: Vec<Fact>,
}

/// As the bridge does.
fn tell(deciding: &Deciding, outcomes: &mut Outcomes, hold: HoldId, fact: &Fact, now: Mono) {
    if matches!(fact.body, FactBody::Ended(_)) {
        for (hold, counts) in outcomes.end(fact) {
            assert!(deciding.conclude(hold, Juncture::Ended, &translate::used(&counts), now));
        }
        return;
    }
    outcomes.note(fact);
    if matches!(fact.body, FactBody::Answered(_)) {
        deciding.settle(hold, Counts::Connected, now, fact.at.wall());
    }
    if matches!(fact.body, FactBody::Converted(_)) {
        for (hold, counts) in outcomes.so_far(fact.call.unwrap()) {
            deciding.come_to(hold, Juncture::Converted, &translate::used(&counts), now);
        }
    }
}

fn ms_of(fact: &Fact) -> u64 {
    u64::try_from(fact.at.wall_ms - START_MS).unwrap()
}
