//! Calls over the edges of windows: decided, held and counted.

use super::*;
use crate::routing::{Usage, UsageReader};

/// What the wall shows in New York, to the second.
fn new_york(at: &str) -> Wall {
    let zone = crate::routing::schedule::bundled_zone("America/New_York").unwrap();
    let zoned = at.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap();
    Wall(zoned.timestamp().as_millisecond())
}

#[test]
fn a_call_counts_in_the_window_of_its_attempt_though_it_is_answered_and_converts_in_the_next() {
    for (metric, limit) in [("connected", "1"), ("converted", "1"), ("revenue", "'42.00'")] {
        let day = Day::with(&format!("metric = '{metric}', window = 'daily', limit = {limit}"));
        let over_midnight = day.call(new_york("2026-03-17T23:59:50")).expect("there is room");
        assert!(day.call(new_york("2026-03-17T23:59:55")).is_none(), "{metric}: it has the room");

        over_midnight.answer(&day, new_york("2026-03-18T00:00:05"));
        over_midnight.convert(&day, new_york("2026-03-18T00:01:35"));

        let used = |bucket: &Bucket| day.deciding.ledger(|ledger| ledger.usage(bucket));
        let [request] = &over_midnight.holds[..] else { panic!("one cap") };
        let (before, amount) = (request.bucket.clone(), request.amount);
        assert_eq!(before.window, "d:2026-03-17");
        assert_eq!(used(&before), Usage { used: amount, held: 0 }, "{metric}");
        let after = Bucket { window: "d:2026-03-18".into(), ..before };
        assert_eq!(used(&after), Usage::default(), "{metric}");
        // The new day has all of its own.
        assert!(day.call(new_york("2026-03-18T00:02:00")).is_some(), "{metric}");
        assert!(day.call(new_york("2026-03-18T00:02:01")).is_none(), "{metric}");
        assert!(day.call(new_york("2026-03-17T23:59:59")).is_none(), "{metric}: that one is full");
    }
}

#[test]
fn a_call_counts_in_a_rolling_window_from_when_it_is_answered_or_converts() {
    for (metric, from) in [("connected", "00:00:30"), ("converted", "00:01:30")] {
        let day = Day::with(&format!("metric = '{metric}', window = 'rolling:600', limit = 1"));
        let at = |clock: &str| new_york(&format!("2026-03-18T{clock}"));
        let call = day.call(at("00:00:00")).expect("there is room");
        call.answer(&day, at("00:00:30"));
        call.convert(&day, at("00:01:30"));

        // Ten minutes after that, to the slice of ten seconds.
        let counted = at(from).0;
        assert!(day.call(Wall(counted + 600_000 - 1)).is_none(), "{metric}");
        assert!(day.call(Wall(counted + 620_000)).is_some(), "{metric}");
    }
}

#[test]
fn an_hour_that_the_clock_shows_twice_has_its_limit_twice_and_a_day_of_any_length_once() {
    let day = Day::with("metric = 'attempted', window = 'hourly', limit = 1");
    // The first half past one on the day the clock is put back, and 60 minutes later.
    let first = new_york("2026-11-01T01:30:00");
    let taken = |minutes: i64| day.call(Wall(first.0 + minutes * 60_000)).is_some();
    assert_eq!([0, 20, 60, 80, 90].map(taken), [true, false, true, false, true]);

    for (date, hours) in [("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-02", 24)] {
        let day = Day::with("metric = 'attempted', window = 'daily', limit = 2");
        let midnight = new_york(&format!("{date}T00:00:00"));
        let taken = |hour: i64| day.call(Wall(midnight.0 + hour * 3_600_000)).is_some();
        let first = (0..hours).filter(|hour| taken(*hour)).collect::<Vec<_>>();
        assert_eq!(first, [0, 1], "{date}");
        assert!(taken(hours) && taken(hours) && !taken(hours), "{date}: the next day");
    }
}

#[test]
fn a_cap_that_comes_with_a_reload_begins_at_zero_and_one_that_was_there_keeps_what_it_has() {
    let cap = |window: &str, limit| {
        format!("metric = 'attempted', window = '{window}', limit = {limit}, time_zone = 'UTC'")
    };
    let day = Day::with(&cap("daily", 9));
    let at = new_york("2026-03-17T12:00:00");
    assert!((0..3).all(|_| day.call(at).is_some()));

    let both = format!("{}}}, {{{}", cap("daily", 4), cap("weekly", 2));
    day.deciding.configure(one_cap("UTC", &both));

    let used = || {
        let meters = day.deciding.meters(at);
        ["daily", "weekly"].map(|it| meters[&*format!("target/tgt_summit/attempted/{it}")].used)
    };
    assert_eq!(used(), [3, 0]);
    assert!(day.call(at).is_some() && day.call(at).is_none(), "the one that was there is full");
    assert_eq!(used(), [4, 1]);
}

/// Each minute is a window of its own, of which two hours are known.
#[test]
fn caps_by_the_minute_are_as_many_as_there_are_and_are_forgotten() {
    const TARGETS: usize = 1_700;
    const MINUTES: i64 = 125;
    let target = |n| {
        format!(
            "[[targets]]
             id = 't{n}'
             buyer = 'b'
             dial = {{ kind = 'sip', uri = 'sip:a' }}
             caps = [{{ metric = 'attempted', window = 'minute', limit = 1 }}]\n"
        )
    };
    let targets: String = (0..TARGETS).map(target).collect();
    let config = format!("publishers = [{{ id = 'p' }}]\nbuyers = [{{ id = 'b' }}]\n{targets}");
    let snapshot = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
    let caps: Vec<SmolStr> = snapshot.caps().map(|cap| cap.key.clone()).collect();
    let deciding = Deciding::new(snapshot);
    let minute_at = |minute: i64| Wall(1_785_000_000_000 + minute * 60_000);
    let known = || deciding.ledger(|ledger| ledger.readings().count());
    for minute in 0..MINUTES {
        for (n, cap) in caps.iter().enumerate() {
            let request = BucketRequest {
                bucket: Bucket { cap: cap.clone(), window: format!("i:{minute}").into() },
                counts: Counts::Attempted,
                limit: 1,
                amount: 1,
                ends_at: Some(minute_at(minute + 1)),
                leeway: None,
            };
            let hold = HoldId::of(CallId::of_simulation(n as u64, minute as u32), 1, "t");
            let placed = deciding.reserve(hold, &[request], NOW);
            assert_eq!(placed, Ok(()), "target {n} in minute {minute}");
            deciding.settle(hold, Counts::Attempted, NOW, minute_at(minute));
            deciding.release(hold);
        }
        deciding.sweep(NOW, minute_at(minute));
    }
    assert!(known() > 200_000, "{} are known", known());
    assert!(known() <= TARGETS * 122, "{} are known", known());
    deciding.sweep(NOW, minute_at(MINUTES + 121));
    assert_eq!(known(), 0);
}

/// One target with one cap, by the clock of New York.
struct Day {
    deciding: Deciding,
    calls: std::cell::Cell<u32>,
}

struct Up {
    hold: HoldId,
    holds: Vec<BucketRequest>,
}

impl Day {
    fn with(cap: &str) -> Self {
        let snapshot = one_cap("America/New_York", cap);
        Self { deciding: Deciding::new(snapshot), calls: std::cell::Cell::new(0) }
    }

    /// A call is decided, and its attempt gets its room; `None`: there is none.
    fn call(&self, at: Wall) -> Option<Up> {
        let n = self.calls.replace(self.calls.get() + 1);
        let request = plain_call(CallId::of_simulation(7, n), at);
        let decided = self.deciding.decide(&request, NOW, &[], None, None);
        let planned = decided.decision.plan.first()?;
        let scope = decided.scope.as_deref();
        let wanted = self.deciding.wanted(request.call, 1, planned, planned.terms, scope, at);
        let (hold, holds) = wanted.expect("it has a cap");
        self.deciding.reserve(hold, &holds, NOW).expect("what was decided fits");
        self.deciding.settle(hold, Counts::Attempted, NOW, at);
        Some(Up { hold, holds })
    }
}

impl Up {
    fn answer(&self, day: &Day, at: Wall) {
        day.deciding.settle(self.hold, Counts::Connected, NOW, at);
    }

    /// As its record would say.
    fn convert(&self, day: &Day, at: Wall) {
        let outcomes = self.holds.iter().filter(|it| it.counts.is_known_at_end());
        let came_to: Vec<_> =
            outcomes.map(|it| (it.bucket.at(at), it.amount.cast_signed())).collect();
        day.deciding.come_to(self.hold, Juncture::Converted, &came_to, NOW);
    }
}
