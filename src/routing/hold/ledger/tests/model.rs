//! The ledger against a model that keeps a list of all that happened and adds it up each time.

use super::*;

const MINUTE_MS: i64 = 60_000;
const START_MS: i64 = 1_773_759_852_318;
const GAP_MS: u64 = 5_000;
/// What may be used of the paced cap, of which each call counts with 40 %.
const PACE: Pace = Pace { by_now: 5, rate_ppm: 400_000, z_milli: 2_327, calls: None };

/// One cap of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Strict,
    Soft,
    Paced,
    RollingAttempts,
    RollingAnswers,
    RollingMoney,
    Spacing,
    Live,
    Talking,
}

const KINDS: [Kind; 9] = [
    Kind::Strict,
    Kind::Soft,
    Kind::Paced,
    Kind::RollingAttempts,
    Kind::RollingAnswers,
    Kind::RollingMoney,
    Kind::Spacing,
    Kind::Live,
    Kind::Talking,
];

impl Kind {
    fn limit(self) -> u64 {
        match self {
            Self::Strict | Self::Soft | Self::RollingAttempts | Self::RollingAnswers => 3,
            Self::Paced => 6,
            Self::RollingMoney => 100,
            Self::Spacing => GAP_MS,
            Self::Live => 5,
            Self::Talking => 4,
        }
    }

    fn counts(self) -> Counts {
        match self {
            Self::Strict | Self::Soft | Self::Paced | Self::RollingAnswers => Counts::Connected,
            Self::RollingAttempts => Counts::Attempted,
            Self::RollingMoney => Counts::Revenue,
            Self::Spacing => Counts::Spacing,
            Self::Live => Counts::Live,
            Self::Talking => Counts::Talking,
        }
    }

    fn request(self, at_ms: i64) -> BucketRequest {
        let (name, limit) = (format!("{self:?}"), self.limit());
        let plain = BucketRequest { counts: self.counts(), ..cap(&name, limit) };
        let ends_at = None;
        match self {
            Self::Strict => BucketRequest { ends_at, ..plain },
            Self::Soft => BucketRequest { leeway: Some(Leeway::Soft), ends_at, ..plain },
            Self::Paced => BucketRequest { leeway: Some(Leeway::Paced(PACE)), ends_at, ..plain },
            Self::RollingAttempts | Self::RollingAnswers | Self::RollingMoney => {
                let amount = if self == Self::RollingMoney { 30 } else { 1 };
                BucketRequest { counts: self.counts(), amount, ..rolling(&name, limit, at_ms) }
            }
            Self::Spacing => spaced(&name, GAP_MS, at_ms as u64),
            Self::Live | Self::Talking => {
                let bucket = Bucket { cap: name.into(), window: "live".into() };
                BucketRequest { bucket, counts: self.counts(), ..live(limit) }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Reserve {
        kinds: Vec<Kind>,
        leg: u32,
    },
    /// The call is answered.
    Answer(u32),
    /// The call is over, and so much is owed.
    End {
        leg: u32,
        owed: u64,
    },
    Release(u32),
    Wait {
        ms: i64,
    },
    /// The process dies with all that is held.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let leg = 0_u32..60;
    prop_oneof![
        8 => (prop::sample::subsequence(&KINDS[..], 1..4), leg.clone())
            .prop_map(|(kinds, leg)| Event::Reserve { kinds, leg }),
        5 => leg.clone().prop_map(Event::Answer),
        3 => (leg.clone(), 0_u64..=30).prop_map(|(leg, owed)| Event::End { leg, owed }),
        2 => leg.prop_map(Event::Release),
        4 => (1_i64..9_000).prop_map(|ms| Event::Wait { ms }),
        1 => Just(Event::Crash),
    ]
}

#[derive(Default)]
struct Model {
    /// What each call that is up has asked for, and if it was answered.
    up: BTreeMap<u32, (Vec<Kind>, bool)>,
    ended: BTreeSet<u32>,
    /// When, what, and how much was used.
    used: Vec<(i64, Kind, u64)>,
    /// The same, as it would be found after a crash.
    book: Vec<(Bucket, u64)>,
}

impl Model {
    fn usage(&self, kind: Kind, now_ms: i64) -> Usage {
        let of_kind = self.used.iter().filter(|(_, of, _)| *of == kind);
        let up = self.up.values().filter(|(kinds, _)| kinds.contains(&kind));
        let amount = kind.request(0).amount;
        let waiting = up.clone().filter(|(_, answered)| !answered).count() as u64;
        let all = up.count() as u64;
        let second = |ms: i64| ms.div_euclid(1_000) * 1_000;
        match kind {
            Kind::Strict | Kind::Paced => {
                Usage { used: of_kind.map(|(.., n)| n).sum(), held: waiting }
            }
            Kind::Soft => Usage { used: of_kind.map(|(.., n)| n).sum(), held: 0 },
            Kind::RollingAttempts | Kind::RollingAnswers | Kind::RollingMoney => {
                let within = of_kind
                    .filter(|(at, ..)| second(*at) + 1_000 > second(now_ms) - MINUTE_MS)
                    .map(|(.., n)| n)
                    .sum();
                let held = match kind {
                    Kind::RollingAttempts => 0,
                    Kind::RollingMoney => all * amount,
                    Kind::RollingAnswers
                    | Kind::Strict
                    | Kind::Soft
                    | Kind::Paced
                    | Kind::Spacing
                    | Kind::Live
                    | Kind::Talking => waiting,
                };
                Usage { used: within, held }
            }
            Kind::Spacing => {
                Usage { used: of_kind.map(|(at, ..)| *at as u64).max().unwrap_or(0), held: 0 }
            }
            Kind::Live => Usage { used: 0, held: all },
            Kind::Talking => Usage { used: all - waiting, held: waiting },
        }
    }

    fn admits(&self, kind: Kind, now_ms: i64) -> bool {
        let Usage { used, held } = self.usage(kind, now_ms);
        match kind {
            Kind::Soft => used < kind.limit(),
            Kind::Spacing => used == 0 || now_ms as u64 - used >= GAP_MS,
            Kind::Paced => {
                let (n, p) = ((held + 1) as f64, 0.4);
                let bound = used as f64 + n * p + 2.327 * (n * p * (1.0 - p)).sqrt();
                // Rounded up to millionths; no count of calls comes that near.
                assert!((bound - 5.0).abs() > 0.000_01);
                bound <= 5.0 || used + held < 5
            }
            Kind::Strict
            | Kind::RollingAttempts
            | Kind::RollingAnswers
            | Kind::RollingMoney
            | Kind::Live
            | Kind::Talking => used + held + kind.request(0).amount <= kind.limit(),
        }
    }

    fn count(&mut self, kinds: &[Kind], event: Counts, now_ms: i64, amount: u64) {
        for kind in kinds {
            let request = kind.request(now_ms);
            if *kind != Kind::Talking && request.is_due(event) {
                self.used.push((now_ms, *kind, amount));
                let mut bucket = request.bucket;
                if *kind == Kind::Spacing {
                    bucket.window = format_smolstr!("gap/{now_ms}");
                }
                self.book.push((bucket, amount));
            }
        }
    }
}

proptest! {
    /// I5, I6 and I7 with caps of all kinds, over any history with crashes.
    #[test]
    fn the_ledger_says_what_a_list_of_all_that_happened_says(
        events in prop::collection::vec(event(), 1..250),
    ) {
        let (mut ledger, mut model) = (ledger(), Model::default());
        let mut at = START_MS;
        let mono = |at: i64| Mono(((at - START_MS) * 1_000_000) as u64);
        for event in events {
            let now = mono(at);
            match event {
                Event::Reserve { kinds, leg } => {
                    if model.up.contains_key(&leg) || model.ended.contains(&leg) {
                        continue;
                    }
                    let requests: Vec<_> = kinds.iter().map(|kind| kind.request(at)).collect();
                    let admits = kinds.iter().all(|kind| model.admits(*kind, at));
                    let granted = ledger.reserve(hold(leg), &requests, now);
                    prop_assert_eq!(granted.is_ok(), admits, "{:?}", granted);
                    if admits {
                        ledger.settle(hold(leg), Counts::Attempted, now, Wall(at));
                        model.count(&kinds, Counts::Attempted, at, 1);
                        model.up.insert(leg, (kinds, false));
                    }
                }
                Event::Answer(leg) => {
                    let settled = ledger.settle(hold(leg), Counts::Connected, now, Wall(at));
                    let up = model.up.get_mut(&leg).filter(|(_, answered)| !answered);
                    let Some((kinds, answered)) = up else {
                        prop_assert_eq!(settled, Settled::default());
                        continue;
                    };
                    *answered = true;
                    let kinds = kinds.clone();
                    model.count(&kinds, Counts::Connected, at, 1);
                }
                Event::End { leg, owed } => {
                    let Some((kinds, _)) = model.up.remove(&leg) else { continue };
                    model.ended.insert(leg);
                    let money = kinds.contains(&Kind::RollingMoney);
                    let bucket = Kind::RollingMoney.request(at).bucket;
                    let came_to = money.then_some((bucket, owed as i64));
                    let came_to: Vec<_> = came_to.into_iter().collect();
                    prop_assert!(ledger.conclude(hold(leg), Juncture::Ended, &came_to, now));
                    model.count(&kinds, Counts::Revenue, at, owed);
                }
                Event::Release(leg) => {
                    let known = model.up.remove(&leg).is_some();
                    prop_assert_eq!(ledger.release(hold(leg)), known);
                    if known {
                        model.ended.insert(leg);
                    }
                }
                Event::Wait { ms } => {
                    at += ms;
                    for leg in model.up.keys() {
                        prop_assert!(ledger.renew(hold(*leg), mono(at)));
                    }
                    ledger.tend(None, usize::MAX, Wall(at));
                }
                Event::Crash => {
                    ledger = self::ledger();
                    model.ended.extend(std::mem::take(&mut model.up).into_keys());
                    let mut used: BTreeMap<Bucket, u64> = BTreeMap::new();
                    for (bucket, amount) in &model.book {
                        *used.entry(bucket.clone()).or_default() += amount;
                    }
                    for (bucket, used) in used {
                        ledger.restore(bucket, used, None);
                    }
                }
            }
            for kind in KINDS {
                let usage = ledger.usage(&kind.request(at).bucket);
                let is_forgotten = kind == Kind::Spacing && usage.used == 0;
                if !is_forgotten {
                    prop_assert_eq!(usage, model.usage(kind, at), "{:?} at {}", kind, at);
                }
                let Usage { used, held } = model.usage(kind, at);
                let may_pass = matches!(kind, Kind::Soft | Kind::Paced | Kind::Spacing);
                prop_assert!(may_pass || used + held <= kind.limit());
            }
            prop_assert_eq!(ledger.live(), model.up.len());
        }
        // Not only by slices: no minute has more, wherever it begins.
        for kind in [Kind::RollingAttempts, Kind::RollingAnswers, Kind::RollingMoney] {
            let events = || model.used.iter().filter(|(_, of, _)| *of == kind);
            for (end, ..) in events() {
                let minute = end - MINUTE_MS..=*end;
                let sum: u64 = events().filter(|(at, ..)| minute.contains(at)).map(|it| it.2).sum();
                prop_assert!(sum <= kind.limit(), "{:?}: {} in a minute", kind, sum);
            }
        }
        let attempts: Vec<_> =
            model.used.iter().filter(|it| it.1 == Kind::Spacing).map(|it| it.0).collect();
        for pair in attempts.windows(2) {
            prop_assert!(pair[1] - pair[0] >= GAP_MS as i64);
        }
    }
}
