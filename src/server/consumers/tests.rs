use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::watch;

use super::feed::Feed;
use super::runner::{Means, Runner, Turn};
use super::standing::ConsumerStanding;
use super::{Consumers, Post};
use crate::cdr::consumer::letter::{Letter, LetterFilter, LetterState, Word};
use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Recall, Work};
use crate::cdr::fact::{Fact, FactBody, PingAccepted, Stamp};
use crate::cdr::journal::file::{Hooks, Journal, Settings as JournalSettings};
use crate::cdr::journal::{Durability, Entry, Lsn};
use crate::cdr::projection::{Projection, Settings};
use crate::cdr::record::CallState;
use crate::cdr::rollup::{
    Counts, Resolution, Rolled, RollupKey, RollupQuery, Rollups, Sums, of_call,
};
use crate::cdr::store::consumers::{
    Advance, Commit, Committed, ConsumerBook, Letters, RollupStore,
};
use crate::cdr::store::sqlite::SqliteStore;
use crate::cdr::store::{Answer, Book, CallFilter, CallStore, Progress};
use crate::cdr::testing::{START_MS, Script, call_id, stamp};
use crate::id::{PingId, SessionId};
use crate::reason::Reason;
use crate::sip::ids::IdSource;
use crate::time::Wall;

/// I11, for whoever starts again.
#[tokio::test]
async fn a_consumer_that_starts_again_goes_on_where_it_was_and_counts_once() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    let mut runner = desk.rollups();
    assert_eq!(drive(&mut runner).await, Turn::Idle);
    desk.append(talk(2)).await;

    for _ in 0..3 {
        let mut runner = desk.rollups();
        assert_eq!(drive(&mut runner).await, Turn::Idle);
    }
    desk.restart().await;
    let mut runner = desk.rollups();
    assert_eq!(drive(&mut runner).await, Turn::Idle);

    let sum = desk.sum(Resolution::Day).await;
    assert_eq!((sum.calls, sum.talk_ms, sum.revenue_micros), (2, 238_000, 40_000_000));
}

/// I11, whatever is written twice.
#[tokio::test]
async fn effects_of_a_step_that_was_made_before_are_not_written() {
    let desk = Desk::new().await;
    let lsn = |seq| Lsn { epoch: 1, seq };
    let step = |from: Option<Lsn>, to: Lsn| Commit {
        consumer: "rollups".into(),
        advance: Some(Advance { from, to: Progress { offset: to, replay_after: to } }),
        effects: one_ping(),
        letter: None,
        at: Wall(START_MS),
    };

    let mut committed = Vec::new();
    for (from, to) in [
        (None, lsn(5)),
        (None, lsn(5)),
        (Some(lsn(4)), lsn(9)),
        (Some(lsn(5)), lsn(9)),
        (Some(lsn(5)), lsn(9)),
    ] {
        committed.push(desk.store.commit(step(from, to)).await.unwrap());
    }

    let (written, stale) = (Committed::Written, Committed::Stale);
    assert_eq!(committed, [written, stale, stale, written, stale]);
    assert_eq!(desk.sum(Resolution::Minute).await.pings, 2);
    assert_eq!(desk.store.position("rollups").await.unwrap().map(|it| it.offset), Some(lsn(9)));
}

#[tokio::test]
async fn facts_that_came_before_the_consumer_are_read_from_disk_with_the_records_of_their_calls() {
    let mut desk = Desk::new().await;
    for n in 1..=300 {
        desk.append(talk(n)).await;
    }
    desk.restart().await;

    let mut runner = desk.rollups();
    assert_eq!(drive(&mut runner).await, Turn::Idle);

    assert_eq!(desk.sum(Resolution::Hour).await.calls, 300);
}

#[tokio::test]
async fn a_fact_that_fails_for_good_is_set_aside_and_the_others_go_on() {
    let mut desk = Desk::new().await;
    for n in 1..=40 {
        desk.append(talk(n)).await;
    }
    let ends_17 = |entry: &Entry| {
        let is_it = entry.fact.call == Some(call_id(17));
        let detail = String::from("no such thing");
        (is_it && ends(entry)).then_some(Fault::Permanent { class: "unknown_thing", detail })
    };

    let mut runner = desk.counting(ends_17, false);
    assert_eq!(drive(&mut runner).await, Turn::Idle);

    assert_eq!(desk.sum(Resolution::Day).await.pings, 40 * 5 - 1);
    let [letter] = &desk.letters().await[..] else { panic!("one fact failed") };
    let told = (letter.state, letter.tries, letter.class.as_str(), letter.next_at);
    assert_eq!(told, (LetterState::Dead, 1, "unknown_thing", None));
    let fact = letter.fact.open().unwrap();
    assert_eq!((fact.call, ends_a(&fact.body)), (Some(call_id(17)), true));
    assert_eq!((letter.first_at, letter.word.clone()), (Wall(START_MS), None));
}

#[tokio::test]
async fn a_dead_letter_has_its_effects_once_somebody_has_it_tried_again() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    desk.append(talk(2)).await;
    let is_broken = Arc::new(Mutex::new(true));
    let broken = Arc::clone(&is_broken);
    let fails = move |entry: &Entry| {
        let detail = String::from("broken");
        (*broken.lock() && ends(entry)).then_some(Fault::Permanent { class: "broken", detail })
    };
    let mut runner = desk.counting(fails, false);
    drive(&mut runner).await;
    assert_eq!(desk.letters().await.len(), 2);

    // Still broken: it is dead again, and says so.
    let class = |class: &str| LetterFilter { class: Some(class.into()), ..LetterFilter::default() };
    assert_eq!(desk.replay(class("other")).await, 0);
    assert_eq!(desk.replay(class("broken")).await, 2);
    drive(&mut runner).await;
    assert!(desk.letters().await.iter().all(|it| it.state == LetterState::Dead));

    *is_broken.lock() = false;
    let first = desk.letters().await.iter().map(|it| it.id).min();
    let one = LetterFilter { first, last: first, ..LetterFilter::default() };
    assert_eq!(desk.replay(one.clone()).await, 1);
    drive(&mut runner).await;

    let states: Vec<_> = desk.letters().await.iter().map(|it| it.state).collect();
    assert_eq!(states, [LetterState::Dead, LetterState::Done]);
    assert_eq!(desk.sum(Resolution::Day).await.pings, 9);
    // What is done cannot be done again, nor given up.
    assert_eq!(desk.replay(one.clone()).await, 0);
    assert_eq!(desk.discard(one).await, 0);
}

#[tokio::test]
async fn a_fact_that_fails_for_the_time_being_is_tried_eight_times_and_the_next_ones_do_not_wait() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    let tries = Arc::new(AtomicU32::new(0));
    let tried = Arc::clone(&tries);
    let fails = move |entry: &Entry| {
        let is_it = entry.fact.call == Some(call_id(1)) && ends(entry);
        let detail = String::from("later perhaps");
        is_it.then(|| tried.fetch_add(1, Ordering::Relaxed));
        is_it.then_some(Fault::Transient { class: "not_yet", detail })
    };
    let mut runner = desk.counting(fails, false);
    drive(&mut runner).await;
    desk.append(talk(2)).await;
    drive(&mut runner).await;
    assert_eq!(desk.sum(Resolution::Day).await.pings, 9);
    // The portion, its second half, that one's, and the fact alone.
    let before = tries.load(Ordering::Relaxed);

    let mut waits = Vec::new();
    while let Some(due) = desk.letters().await[0].next_at {
        waits.push(due.0 - desk.now.load(Ordering::Relaxed));
        desk.now.store(due.0 - 1, Ordering::Relaxed);
        drive(&mut runner).await;
        assert_eq!(desk.letters().await[0].next_at, Some(due), "it is tried before its time");
        desk.now.store(due.0, Ordering::Relaxed);
        drive(&mut runner).await;
    }

    assert_eq!(waits.len(), 7);
    assert!(waits[0] >= 500 && waits[6] > 150_000 && waits[6] <= 300_000, "{waits:?}");
    assert_eq!(tries.load(Ordering::Relaxed) - before, 7);
    let [letter] = &desk.letters().await[..] else { panic!("one fact failed") };
    assert_eq!((letter.state, letter.tries), (LetterState::Dead, 8));
}

#[tokio::test]
async fn a_consumer_that_panics_is_made_anew_and_the_fact_is_set_aside() {
    let mut desk = Desk::new().await;
    for n in 1..=8 {
        desk.append(talk(n)).await;
    }
    let fails = |entry: &Entry| {
        assert!(entry.fact.call != Some(call_id(5)) || !ends(entry), "it is the fifth");
        None
    };

    let mut runner = desk.counting(fails, false);
    assert_eq!(drive(&mut runner).await, Turn::Idle);

    assert_eq!(desk.sum(Resolution::Day).await.pings, 8 * 5 - 1);
    let [letter] = &desk.letters().await[..] else { panic!("one fact failed") };
    assert_eq!((letter.class.as_str(), letter.state), ("panic", LetterState::Retrying));
    assert_eq!(letter.error, "it is the fifth");
}

#[tokio::test]
async fn a_strict_consumer_waits_in_front_of_a_fact_that_fails_until_somebody_gives_it_up() {
    let mut desk = Desk::new().await;
    for n in 1..=3 {
        desk.append(talk(n)).await;
    }
    let fails = |entry: &Entry| {
        let detail = String::from("no such thing");
        let is_it = entry.fact.call == Some(call_id(2)) && ends(entry);
        is_it.then_some(Fault::Permanent { class: "unknown_thing", detail })
    };
    let mut runner = desk.counting(fails, true);
    assert!(matches!(drive(&mut runner).await, Turn::Wait(_)));
    assert_eq!(desk.sum(Resolution::Day).await.pings, 9);

    // One that starts again waits there, too.
    let mut runner = desk.counting(fails, true);
    assert!(matches!(drive(&mut runner).await, Turn::Wait(_)));
    assert_eq!(desk.replay(LetterFilter { first: Some(0), ..LetterFilter::default() }).await, 1);
    assert!(matches!(drive(&mut runner).await, Turn::Wait(_)));
    assert_eq!(desk.sum(Resolution::Day).await.pings, 9);

    let all = LetterFilter { consumer: Some("counting".into()), ..LetterFilter::default() };
    assert_eq!(desk.discard(all).await, 1);
    assert_eq!(drive(&mut runner).await, Turn::Idle);

    assert_eq!(desk.sum(Resolution::Day).await.pings, 14);
    let [letter] = &desk.letters().await[..] else { panic!("one fact failed") };
    let word = Word { by: "ops".into(), at: Wall(START_MS), reason: Some("by hand".into()) };
    assert_eq!((letter.state, letter.word.as_ref()), (LetterState::Discarded, Some(&word)));
}

#[tokio::test]
async fn a_strict_consumer_takes_a_fact_that_is_repaired_in_its_place() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    desk.append(talk(2)).await;
    let left = Arc::new(AtomicU32::new(6));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (failures, seen) = (Arc::clone(&left), Arc::clone(&order));
    let fails = move |entry: &Entry| {
        if entry.fact.call == Some(call_id(1)) && ends(entry) {
            let before = failures.load(Ordering::Relaxed);
            failures.store(before.saturating_sub(1), Ordering::Relaxed);
            if before > 0 {
                let detail = String::from("later perhaps");
                return Some(Fault::Transient { class: "not_yet", detail });
            }
        }
        seen.lock().push(entry.lsn.seq);
        None
    };
    let mut runner = desk.counting(fails, true);
    while let Turn::Wait(wait) = drive(&mut runner).await {
        let ms = i64::try_from(wait.as_millis()).unwrap();
        desk.now.fetch_add(ms, Ordering::Relaxed);
    }

    assert_eq!(desk.sum(Resolution::Day).await.pings, 10);
    assert_eq!(desk.letters().await[0].state, LetterState::Done);
    let order = order.lock();
    let last_ten: Vec<_> = order.iter().rev().take(6).rev().copied().collect();
    assert!(last_ten.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn an_outage_is_nobody_s_fault_and_everything_waits() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    let is_away = Arc::new(Mutex::new(true));
    let away = Arc::clone(&is_away);
    let fails = move |_: &Entry| away.lock().then(|| Fault::Outage(String::from("away")));
    let mut runner = desk.counting(fails, false);

    let waits = [drive(&mut runner).await, drive(&mut runner).await];
    assert_eq!(waits, [1, 2].map(|s| Turn::Wait(Duration::from_secs(s))));
    assert_eq!(desk.letters().await, []);

    *is_away.lock() = false;
    assert_eq!(drive(&mut runner).await, Turn::Idle);
    assert_eq!(desk.sum(Resolution::Day).await.pings, 5);
}

#[tokio::test]
async fn what_a_consumer_has_to_recall_is_given_to_it_again_and_has_no_effects() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    desk.append(talk(2)).await;
    let recalled = Arc::new(Mutex::new(Vec::new()));
    let mut runner = desk.run("recalling", false, || {
        let recalled = Arc::clone(&recalled);
        Box::new(Recalling { from: Lsn { epoch: 1, seq: 7 }, recalled })
    });
    drive(&mut runner).await;
    assert_eq!(*recalled.lock(), Vec::<u64>::new());

    let recalled = Arc::new(Mutex::new(Vec::new()));
    let again = Arc::clone(&recalled);
    let mut runner = desk.run("recalling", false, move || {
        let recalled = Arc::clone(&again);
        Box::new(Recalling { from: Lsn { epoch: 1, seq: 7 }, recalled })
    });
    drive(&mut runner).await;

    assert_eq!(*recalled.lock(), [8, 9, 10]);
    assert_eq!(desk.sum(Resolution::Day).await.pings, 10);
}

#[tokio::test]
async fn where_recalling_begins_never_goes_back() {
    let mut desk = Desk::new().await;
    let mut seen = Vec::new();
    for (call, from) in (1..).zip([4, 3, 4]) {
        desk.append(talk(call)).await;
        let recalled = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&recalled);
        let mut runner = desk.run("recalling", false, move || {
            Box::new(Recalling { from: Lsn { epoch: 1, seq: from }, recalled: Arc::clone(&kept) })
        });
        drive(&mut runner).await;
        seen.push(recalled.lock().clone());
    }

    // A call is five facts. The second said that it begins after 3, which had been given up.
    assert_eq!(seen, [vec![], vec![5], vec![5, 6, 7, 8, 9, 10]]);
}

#[tokio::test]
async fn all_facts_are_worked_from_before_the_end() {
    let mut desk = Desk::new().await;
    desk.append(talk(1)).await;
    let runner = desk.rollups();
    let (_ending, ended) = watch::channel(true);
    desk.projection.take();
    drop(desk.consumers.take());

    runner.run(ended).await;

    assert_eq!(desk.sum(Resolution::Day).await.calls, 1);
}

#[derive(Clone, Debug)]
enum Happening {
    Talk {
        ms: u64,
    },
    Abandoned,
    Refused,
    /// It goes on over the next crash, and may end later.
    CutOff {
        ends: bool,
    },
    Ping {
        lent: bool,
    },
    Crash,
    Consumed,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..300_000_u64).prop_map(|ms| Happening::Talk { ms }),
        2 => Just(Happening::Abandoned),
        1 => Just(Happening::Refused),
        2 => any::<bool>().prop_map(|ends| Happening::CutOff { ends }),
        2 => any::<bool>().prop_map(|lent| Happening::Ping { lent }),
        1 => Just(Happening::Crash),
        2 => Just(Happening::Consumed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However calls end, whenever the process dies, and however far the consumer is behind.
    #[test]
    fn sums_of_rollups_are_the_sums_over_records(
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut desk = Desk::new().await;
            let (mut cut_off, mut pings) = (Vec::new(), 0);
            for (happening, n) in happenings.into_iter().zip(1_u64..) {
                // A minute and a bit apart, so that buckets differ.
                let script = Script::of(n * 61_007);
                match happening {
                    Happening::Talk { ms } => {
                        let script = script.dial(1).fail_at(90, 486, Reason::AttemptBusy);
                        let script = script.dial(2).answer_at(1_000);
                        desk.append(script.end_at(1_000 + ms).facts()).await;
                    }
                    Happening::Abandoned => desk.append(script.dial(1).abandon_at(900).facts()).await,
                    Happening::Refused => desk.append(script.abandon_at(10).facts()).await,
                    Happening::CutOff { ends } => {
                        let script = script.dial(1).answer_at(1_000);
                        desk.append(script.facts()).await;
                        if ends {
                            let facts = script.end_at(181_000).facts();
                            cut_off.push(facts[facts.len() - 1..].to_vec());
                        }
                    }
                    Happening::Ping { lent } => {
                        pings += 1;
                        desk.append(vec![ping(n, lent)]).await;
                    }
                    Happening::Crash => {
                        desk.restart().await;
                        for end in std::mem::take(&mut cut_off) {
                            desk.append(end).await;
                        }
                    }
                    Happening::Consumed => {
                        drive(&mut desk.rollups()).await;
                    }
                }
            }
            desk.restart().await;
            drive(&mut desk.rollups()).await;

            let records = desk.store.list(CallFilter::default(), None, 200).await.unwrap();
            assert!(records.iter().all(|record| record.state != CallState::Open));
            let mut expected = Counts { pings, ..Counts::default() };
            let mut sums = Sums::new();
            for (key, counts) in records.iter().flat_map(of_call) {
                expected.add(&counts);
                sums.entry(key).or_default().add(&counts);
            }
            for resolution in Resolution::ALL {
                let sum = desk.sum(resolution).await;
                let lent = (sum.numbers, sum.pool_misses);
                assert_eq!(lent.0 + lent.1, pings);
                let (numbers, pool_misses) = lent;
                assert_eq!(sum, Counts { numbers, pool_misses, ..expected });
            }
            let by_minute: Sums = desk.all(Resolution::Minute).await.into_iter()
                .filter(|(_, counts)| counts.calls != 0 || counts.attempts != 0)
                .map(|(key, counts)| (key, Counts { pings: 0, numbers: 0, pool_misses: 0, ..counts }))
                .collect();
            assert_eq!(by_minute, sums);
        });
    }
}

/// Does what there is to do, and returns what is next.
async fn drive(runner: &mut Runner) -> Turn {
    loop {
        let turn = runner.turn().await;
        if turn != Turn::Worked {
            return turn;
        }
    }
}

/// A call that converted: five facts.
fn talk(n: u64) -> Vec<Fact> {
    Script::of(n).dial(1).answer_at(1_000).end_at(120_000).facts()
}

fn ends(entry: &Entry) -> bool {
    ends_a(&entry.fact.body)
}

fn ends_a(body: &FactBody) -> bool {
    matches!(body, FactBody::Ended(_))
}

fn ping(n: u64, is_lent: bool) -> Fact {
    let ping = PingAccepted {
        ping: PingId::from_bytes(u128::from(n).to_be_bytes()),
        session: SessionId::from_bytes(u128::from(n).to_be_bytes()),
        publisher: "pub_brightpath".into(),
        campaign: "cmp_hvac".into(),
        caller: None,
        pool: Some("pool_hvac".into()),
        number: if is_lent { "+16145550101".parse().ok() } else { None },
        tags: vec![],
        expires_at_ms: START_MS + 60_000,
        request_id: None,
        visitor: None,
        opener: None,
        reply: None,
        promise: None,
        extra: vec![],
    };
    Fact::of_node(stamp(START_MS + i64::try_from(n).unwrap() * 61_007), ping)
}

fn one_ping() -> Effects {
    let counts = Counts { pings: 1, ..Counts::default() };
    let sums = [(RollupKey::default(), counts)].into();
    Effects { rolled: Rolled { sums, corrected: vec![] }, ..Effects::default() }
}

/// Counts facts as pings, but for those it fails at.
struct Counting<F>(F);

impl<F: Fn(&Entry) -> Option<Fault> + Send + Sync> Consumer for Counting<F> {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(async move {
            let mut effects = Effects::default();
            for entry in facts.iter() {
                match (self.0)(entry) {
                    Some(fault) => return Err(fault),
                    None => {
                        for (key, counts) in one_ping().rolled.sums {
                            effects.rolled.sums.entry(key).or_default().add(&counts);
                        }
                    }
                }
            }
            Ok(effects)
        })
    }
}

/// Counts facts as pings, and wants some of them again.
struct Recalling {
    from: Lsn,
    recalled: Arc<Mutex<Vec<u64>>>,
}

impl Consumer for Recalling {
    fn recall<'a>(&'a mut self, facts: &'a Facts) -> Recall<'a> {
        self.recalled.lock().extend(facts.iter().map(|entry| entry.lsn.seq));
        Box::pin(std::future::ready(Ok(())))
    }

    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        let pings = i64::try_from(facts.len()).unwrap();
        let mut effects = one_ping();
        effects.rolled.sums.insert(RollupKey::default(), Counts { pings, ..Counts::default() });
        Box::pin(std::future::ready(Ok(effects)))
    }

    fn recall_after(&self) -> Option<Lsn> {
        Some(self.from)
    }
}

/// A journal, the book behind it, and consumers behind that.
struct Desk {
    dir: TempDir,
    store: Arc<SqliteStore>,
    journal: Option<Journal>,
    projection: Option<Projection>,
    consumers: Option<Consumers>,
    feed: Arc<Feed>,
    word: watch::Sender<u64>,
    /// Milliseconds of the wall clock.
    now: Arc<AtomicI64>,
}

impl Desk {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("book.db")).await.unwrap());
        let (journal, projection, consumers) = open(&dir, &store).await;
        Self {
            dir,
            store,
            feed: Arc::clone(&consumers.feed),
            journal: Some(journal),
            projection: Some(projection),
            consumers: Some(consumers),
            word: watch::Sender::new(0),
            now: Arc::new(AtomicI64::new(START_MS)),
        }
    }

    /// The process dies, and another starts.
    async fn restart(&mut self) {
        self.projection.take();
        self.journal.take();
        let (journal, mut projection, consumers) = open(&self.dir, &self.store).await;
        let last = journal.appender().append_all([], Durability::Durable).unwrap();
        while projection.offset().seq < last.seq {
            assert!(projection.step().await.unwrap());
        }
        self.feed = Arc::clone(&consumers.feed);
        self.journal = Some(journal);
        self.projection = Some(projection);
        self.consumers = Some(consumers);
    }

    /// Appends, and has the book written.
    async fn append(&mut self, facts: Vec<Fact>) {
        let (journal, projection) =
            (self.journal.as_ref().unwrap(), self.projection.as_mut().unwrap());
        let last = journal.appender().append_all(facts, Durability::Durable).unwrap();
        while projection.offset().seq < last.seq {
            assert!(projection.step().await.unwrap());
        }
    }

    fn rollups(&self) -> Runner {
        self.run(Rollups::NAME, false, || Box::new(Rollups))
    }

    fn counting<F>(&self, fails: F, ordered_strict: bool) -> Runner
    where
        F: Fn(&Entry) -> Option<Fault> + Clone + Send + Sync + 'static,
    {
        self.run("counting", ordered_strict, move || Box::new(Counting(fails.clone())))
    }

    fn run(
        &self,
        name: &'static str,
        ordered_strict: bool,
        make: impl Fn() -> Box<dyn Consumer> + Send + Sync,
    ) -> Runner {
        let made: Arc<Mutex<Vec<Box<dyn Consumer>>>> =
            Arc::new(Mutex::new((0..64).map(|_| make()).collect()));
        let open = move || -> Answer<'static, Box<dyn Consumer>> {
            let consumer = made.lock().pop().expect("it is made anew a few times only");
            Box::pin(std::future::ready(Ok(consumer)))
        };
        let post = Post {
            name: name.into(),
            portion: 20_000,
            reads_records: true,
            ordered_strict,
            pace: Duration::ZERO,
            open: Box::new(open),
        };
        let now = Arc::clone(&self.now);
        let clock = move || Stamp { wall_ms: now.load(Ordering::Relaxed), boot_ns: 0 };
        let means = Means {
            feed: Arc::clone(&self.feed),
            book: Arc::clone(&self.store) as Arc<dyn ConsumerBook>,
            clock: Arc::new(clock),
            word: self.word.subscribe(),
        };
        let mark = self.journal.as_ref().unwrap().follower_mark(Lsn::default());
        let standing = ConsumerStanding::new(name.into());
        Runner::new(post, means, mark, standing, IdSource::new(7, 0))
    }

    async fn all(&self, resolution: Resolution) -> Vec<(RollupKey, Counts)> {
        let query = RollupQuery {
            resolution,
            from: Wall(0),
            to: Wall(i64::MAX - 60_000),
            campaign: None,
            publisher: None,
            buyer: None,
            target: None,
            by: [true; 4],
            by_time: true,
        };
        self.store.rollups(query, 10_000).await.unwrap()
    }

    async fn sum(&self, resolution: Resolution) -> Counts {
        let rows = self.all(resolution).await;
        let keys: BTreeSet<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), rows.len());
        rows.iter().fold(Counts::default(), |mut sum, (_, counts)| {
            sum.add(counts);
            sum
        })
    }

    async fn letters(&self) -> Vec<Letter> {
        self.store.list_letters(LetterFilter::default(), None, 100).await.unwrap()
    }

    async fn replay(&self, filter: LetterFilter) -> u64 {
        let now = Wall(self.now.load(Ordering::Relaxed));
        let count = self.store.replay_letters(filter, "ops".into(), now).await.unwrap();
        self.word.send_modify(|words| *words += 1);
        count
    }

    async fn discard(&self, filter: LetterFilter) -> u64 {
        let at = Wall(self.now.load(Ordering::Relaxed));
        let word = Word { by: "ops".into(), at, reason: Some("by hand".into()) };
        let count = self.store.discard_letters(filter, word).await.unwrap();
        self.word.send_modify(|words| *words += 1);
        count
    }
}

async fn open(dir: &TempDir, store: &Arc<SqliteStore>) -> (Journal, Projection, Consumers) {
    let now = stamp(START_MS);
    let progress = store.progress().await.unwrap();
    let settings = JournalSettings {
        linger: Duration::ZERO,
        pace: Duration::ZERO,
        segment_bytes: 1 << 16,
        emergency_bytes: 4096,
        tail_delay: Duration::ZERO,
        resume: progress.map(|progress| progress.offset),
        ..JournalSettings::default()
    };
    let hooks = Hooks::silent(Arc::new(move || now));
    let (journal, _) = Journal::open(&dir.path().join("journal"), 1, settings, hooks).unwrap();
    let book = Arc::clone(store) as Arc<dyn Book>;
    let opened = Projection::open(book, &journal, Settings::new(1), now).await;
    let (mut projection, _) = opened.unwrap();
    let consumers = Consumers::new(&journal, projection.offset(), now);
    projection.pass_on(Box::new(consumers.outlet()));
    (journal, projection, consumers)
}
