//! Calls with talk times of all lengths, one after the other, under a cap on conversions or on answers:
//! decided, held, answered, converted and ended as calls are, with their records, in virtual time.

use crate::cdr::fact::{Fact, FactBody, HoldPlaced};
use crate::cdr::testing::{START_MS, Script, call_id};
use crate::routing::UsageReader;
use crate::routing::performance::{Concerned, Tally};
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
    metric: &'static str,
    every_ms: u64,
    /// They come in the last so many minutes of each hour.
    minutes: u64,
    /// So many are answered, in percent; the others are given up within 30 s.
    answers_pct: u8,
    /// Of those that are answered so many convert, in percent.
    converts_pct: u8,
    /// For so many days before, calls came every minute and converted in that part.
    days_before: i64,
    /// From this hour on another part of them converts.
    then: Option<(u64, u8)>,
    /// How long those talk that convert.
    talk_ms: std::ops::Range<u64>,
    /// How long the others do at most.
    lost_ms: u64,
    hours: u64,
}

/// All are answered, and come at all times; those that do not convert leave at any time before.
const SHIFT: Shift = Shift {
    metric: "converted",
    every_ms: 9_000,
    minutes: 60,
    answers_pct: 100,
    converts_pct: 30,
    days_before: 0,
    then: None,
    talk_ms: CONVERTS_MS + 1_000..1_200_000,
    lost_ms: CONVERTS_MS,
    hours: 50,
};

#[test]
#[expect(clippy::print_stdout, reason = "how often it is passed is a figure to look at")]
fn a_paced_cap_on_conversions_is_filled_and_passed_no_more_often_than_is_said() {
    for (limit, rate, over_pct) in [(12, 30, 10), (40, 50, 5)] {
        let rules = format!(
            "limit = {limit}, mode = 'paced', assumed_rate = '{rate}%', max_over_prob = '{over_pct}%'"
        );
        let shift = Shift { converts_pct: rate, ..SHIFT };

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

/// Nobody has told it how many convert. They come evenly, or all in the last minutes of the window, when
/// many are up at once and may use up what is left.
#[test]
#[expect(clippy::print_stdout, reason = "how often it is passed is a figure to look at")]
fn a_cap_paced_by_its_calls_of_late_is_filled_and_passed_no_more_often_than_is_said() {
    let at_once = || Shift { every_ms: 1_000, minutes: 10, ..SHIFT };
    for (limit, over_pct, shift) in [
        (12, 10, SHIFT),
        (40, 5, Shift { converts_pct: 50, ..SHIFT }),
        (12, 10, at_once()),
        (40, 5, Shift { converts_pct: 50, ..at_once() }),
        // They hang up sooner, so that nearly all that are up convert.
        (40, 5, Shift { lost_ms: 20_000, ..at_once() }),
        (40, 5, Shift { answers_pct: 40, ..at_once() }),
        (40, 5, Shift { metric: "connected", answers_pct: 60, ..at_once() }),
    ] {
        let rules = format!(
            "limit = {limit}, mode = 'paced', assumed_rate = 'live', max_over_prob = '{over_pct}%'"
        );

        let played = shift.play(&rules);

        let over = played.used.iter().filter(|used| **used > limit).count();
        let learned = &played.used[5..];
        let (in_all, most) = (learned.iter().sum::<u64>(), played.used.iter().max());
        let all = learned.len() as u64 * limit;
        println!(
            "{over} of {} over {limit}, at most {most:?}, {in_all} of {all}",
            played.used.len()
        );
        let said = played.used.len() as f64 * over_pct as f64 / 100.0;
        assert!(over as f64 <= said, "{over} of {said}: {:?}", played.used);
        assert!(in_all * 100 >= all * 88, "{:?}", played.used);
    }
}

/// A day later it goes by the new rate, whatever the days before say.
#[test]
#[expect(clippy::print_stdout, reason = "how often it is passed is a figure to look at")]
fn a_cap_paced_by_its_calls_of_late_is_passed_for_a_day_at_most_when_more_come_to_convert() {
    // From the noon of the second day on, and the third begins twelve hours later.
    let shift = Shift {
        converts_pct: 20,
        days_before: 10,
        then: Some((20, 60)),
        every_ms: 1_000,
        minutes: 10,
        hours: 82,
        ..SHIFT
    };
    let played =
        shift.play("limit = 40, mode = 'paced', assumed_rate = 'live', max_over_prob = '5%'");

    let over = |used: &[u64]| used.iter().filter(|used| **used > 40).count();
    let [before, changed, after] = [&played.used[..20], &played.used[20..32], &played.used[33..]];
    println!("{before:?} {changed:?} {after:?}");
    assert!(over(before) <= 1, "{before:?}");
    assert!(changed.iter().all(|used| *used <= 60), "{changed:?}");
    assert!(over(after) <= 2, "{after:?}");
    assert!(after.iter().sum::<u64>() * 100 >= after.len() as u64 * 40 * 88, "{after:?}");
}

#[test]
fn a_strict_cap_on_conversions_is_never_passed_and_is_filled_though_calls_talk_on() {
    let talk_ms = CONVERTS_MS + 1..1_800_000;
    let shift = Shift { every_ms: 20_000, talk_ms, hours: 6, ..SHIFT };
    assert_eq!(shift.play("limit = 8").used, [8; 6]);
}

/// It lags by those that have yet to convert, and not by those that talk on.
#[test]
fn a_soft_cap_on_conversions_is_passed_by_the_calls_that_had_yet_to_convert() {
    let talk_ms = 1_200_000..1_200_001;
    let shift = Shift { every_ms: 10_000, converts_pct: 100, talk_ms, hours: 3, ..SHIFT };
    let not_yet = CONVERTS_MS / 10_000;

    let played = shift.play("limit = 20, mode = 'soft'");

    assert!(played.used.iter().all(|used| (20..=20 + not_yet).contains(used)), "{:?}", played.used);
    assert!(played.used.iter().any(|used| *used > 20), "{:?}", played.used);
}

impl Shift {
    fn play(&self, rules: &str) -> Played {
        let deciding = Deciding::new(one_cap(
            "UTC",
            &format!("metric = '{}', window = 'hourly', {rules}", self.metric),
        ));
        deciding.restore_performance((1..=self.days_before).map(|ago| self.day_before(ago)));
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
                tell(&deciding, &mut outcomes, call, &fact, now);
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
                comes_ms = self.next_ms(at_ms);
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

    /// What is on record of a day so many days ago.
    fn day_before(&self, ago: i64) -> (Concerned, i64, Tally) {
        let concerned = Concerned {
            campaign: "c".into(),
            publisher: "p".into(),
            target: "tgt_summit".into(),
            buyer: "b".into(),
        };
        let connected = 1_440;
        let converted = connected * u32::from(self.converts_pct) / 100;
        let lost = u64::from(connected - converted);
        let (won_ms, lost_ms) = (u64::from(converted) * CONVERTS_MS, lost * self.lost_ms / 2);
        let tally = Tally { dialed: connected, connected, converted, won_ms, lost_ms };
        (concerned, day_of(Wall(START_MS)) - ago, tally)
    }

    /// When the call comes after the one at `at_ms`.
    fn next_ms(&self, at_ms: u64) -> u64 {
        let next = at_ms + self.every_ms;
        let since_hour = (next - FIRST_HOUR_MS) % HOUR_MS;
        next + (HOUR_MS - self.minutes * 60_000).saturating_sub(since_hour)
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
        let Decided { decision, scope, record, .. } =
            deciding.decide(&request, now, &[], None, None);
        if (at_ms / self.every_ms).is_multiple_of(50) {
            let record = DecisionRecord::from_bytes(&record).unwrap();
            assert_eq!(replay(&deciding.snapshot(), &record).difference, None);
        }
        let planned = decision.plan.first()?;
        let (terms, scope) = (planned.terms, scope.as_deref());
        let wanted = deciding.wanted(request.call, 1, planned, terms, scope, request.at);
        let (hold, holds) = wanted.expect("its target has a cap");
        deciding.reserve(hold, &holds, now).expect("what was decided fits");
        let buckets = holds.iter().map(translate::bucket).collect();
        let placed = HoldPlaced { hold, target: planned.target.clone(), buckets };
        let dialed = Script::of(at_ms).then(0, placed).dial(1);
        deciding.call_dialed(request.call, planned);
        let hour = (at_ms - FIRST_HOUR_MS) / HOUR_MS;
        let later = self.then.filter(|(from, _)| hour >= *from);
        let converts_pct = later.map_or(self.converts_pct, |(_, pct)| pct);
        let is_answered = rng.u8(0..100) < self.answers_pct;
        let script = match (is_answered, rng.u8(0..100) < converts_pct) {
            (false, _) => dialed.abandon_at(rng.u64(100..30_000)),
            (true, true) => {
                let talk_ms = rng.u64(self.talk_ms.clone());
                dialed.answer_at(1_000).convert_at(CONVERTS_MS).end_at(1_000 + talk_ms)
            }
            (true, false) => dialed.answer_at(1_000).end_at(rng.u64(1_001..self.lost_ms)),
        };
        let mut facts = script.facts();
        outcomes.follow(request.call, facts.remove(0));
        facts.reverse();
        let (planned, answered) = (planned.clone(), None);
        Some((
            Up { hold, planned, answered, facts },
            holds.into_iter().map(|it| it.bucket).collect(),
        ))
    }
}

struct Up {
    hold: HoldId,
    planned: PlannedAttempt,
    answered: Option<Wall>,
    /// The next is the last.
    facts: Vec<Fact>,
}

/// As the bridge does.
fn tell(deciding: &Deciding, outcomes: &mut Outcomes, up: &mut Up, fact: &Fact, now: Mono) {
    let (hold, call, at) = (up.hold, fact.call.unwrap(), fact.at.wall());
    if matches!(fact.body, FactBody::Ended(_)) {
        let talk =
            up.answered.map(|answered| Duration::from_millis((at.0 - answered.0).cast_unsigned()));
        deciding.call_over(call, talk);
        for (hold, counts) in outcomes.end(fact) {
            assert!(deciding.conclude(hold, Juncture::Ended, &translate::used(&counts), now));
        }
        deciding.release(hold);
        return;
    }
    outcomes.note(fact);
    if matches!(fact.body, FactBody::Answered(_)) {
        up.answered = Some(at);
        deciding.call_answered(call, &up.planned, (now, at));
        deciding.settle(hold, Counts::Connected, now, at);
    }
    if matches!(fact.body, FactBody::Converted(_)) {
        deciding.call_converted(call, (now, at));
        for (hold, counts) in outcomes.so_far(call) {
            deciding.come_to(hold, Juncture::Converted, &translate::used(&counts), now);
        }
    }
}

fn ms_of(fact: &Fact) -> u64 {
    u64::try_from(fact.at.wall_ms - START_MS).unwrap()
}
