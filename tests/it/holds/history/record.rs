//! What clients asked for and were told, with the times of both; and whether that may be
//! (spec/data §7.2).
//!
//! A hold has room from some instant of its placing on to some instant of its end. Whatever those
//! instants are, it has it from the answer to its placing until its end begins: if limits are passed
//! by that alone, no order of what happened explains the history. And if they are not, one does: each
//! is placed when it was answered, and ends when that began.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tollbridge::id::HoldId;
use tollbridge::routing::hold::{Bucket, BucketRequest, LIVE};

/// All that clients did.
pub(super) struct History {
    began: Instant,
    operations: Mutex<Vec<Operation>>,
}

/// One thing a client did. Times are since the history began.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) edge: usize,
    /// Of calls of one kind.
    pub(super) kind: usize,
    pub(super) hold: HoldId,
    pub(super) begun: Duration,
    pub(super) done: Duration,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Granted(Vec<BucketRequest>),
    Denied(Vec<BucketRequest>),
    /// So much of it is used for good, the rest is free.
    Ended {
        came_to: Vec<(Bucket, u64)>,
        /// All of it was given back before that was said.
        late: bool,
    },
}

/// The leases of an edge may have been over while its calls went on: others may have got their lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lapse {
    pub(super) edge: usize,
    /// What it knew from then on it could not tell.
    pub(super) since: Duration,
    /// From then on its leases may have been over.
    pub(super) from: Duration,
    /// The store has forgotten what it held, and not only its lines are free.
    pub(super) is_lost: bool,
}

/// Calls that are named at most where a limit was passed.
const NAMED_MAX: usize = 8;
/// How long before it is cut off an edge may have known what it has not told.
const UNTOLD: Duration = Duration::from_secs(1);

/// What is said of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) limit: u64,
    /// The most that calls had at once.
    pub(super) most: u64,
    /// What calls had whose leases lapsed while they were up, or came to that had given it back.
    pub(super) late: u64,
    /// What calls came to, by edge.
    pub(super) used: BTreeMap<usize, u64>,
    /// Which calls had more than the limit at once, for people.
    pub(super) why: Option<String>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), operations: Mutex::default() }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn note(&self, operation: Operation) {
        self.operations.lock().push(operation);
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().clone()
    }
}

/// Where room is kept, whatever slice of a rolling window is asked for.
pub(super) fn stored(bucket: &Bucket) -> Bucket {
    bucket.stored().0.into_owned()
}

/// More, and less, at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at: Duration,
    /// What gives room comes first.
    change: i64,
    hold: HoldId,
}

/// Says of each bucket how full it was, by what was certainly had. `lease` is how long the room of a
/// call stays taken that is never heard of again.
pub(super) fn judge(
    operations: &[Operation],
    lapses: &[Lapse],
    lease: Duration,
) -> BTreeMap<Bucket, Verdict> {
    let ends: BTreeMap<HoldId, &Operation> = operations
        .iter()
        .filter(|it| matches!(it.what, What::Ended { .. }))
        .map(|it| (it.hold, it))
        .collect();
    let mut verdicts: BTreeMap<Bucket, Verdict> = BTreeMap::new();
    let mut steps: BTreeMap<Bucket, Vec<Step>> = BTreeMap::new();
    for granted in operations {
        let What::Granted(requests) = &granted.what else { continue };
        let end = ends.get(&granted.hold);
        let lapsed = lapses.iter().find(|lapse| {
            lapse.edge == granted.edge
                && granted.done <= lapse.from
                && end.is_none_or(|end| end.begun + UNTOLD > lapse.since)
        });
        for request in requests {
            let bucket = stored(&request.bucket);
            let lapsed = lapsed.filter(|lapse| lapse.is_lost || bucket.window == LIVE);
            let verdict = verdicts.entry(bucket.clone()).or_default();
            verdict.limit = request.limit;
            let used = end.map_or(0, |end| used(end, &bucket));
            if end.is_some() {
                *verdict.used.entry(granted.edge).or_default() += used;
            }
            let steps = steps.entry(bucket).or_default();
            let mut step = |at, change| steps.push(Step { at, change, hold: granted.hold });
            step(granted.done, signed(request.amount));
            match (lapsed, end) {
                // What it came to was known, and told too late.
                (Some(lapse), Some(end)) if end.begun <= lapse.from => {
                    verdict.late += used;
                    step(end.begun, signed(used) - signed(request.amount));
                    step(lapse.from, -signed(used));
                }
                // From then on it is late, whatever it comes to.
                (Some(lapse), _) => {
                    verdict.late += request.amount;
                    step(lapse.from, -signed(request.amount));
                }
                (None, Some(end)) if matches!(end.what, What::Ended { late: true, .. }) => {
                    verdict.late += used;
                    step(end.begun, -signed(request.amount));
                }
                (None, Some(end)) => step(end.begun, signed(used) - signed(request.amount)),
                (None, None) => step(granted.begun + lease, -signed(request.amount)),
            }
        }
    }
    for (bucket, mut steps) in steps {
        steps.sort_unstable();
        let verdict = verdicts.entry(bucket).or_default();
        let (mut has, mut calls) = (0_i64, BTreeMap::<HoldId, i64>::new());
        for Step { at, change, hold } in steps {
            has += change;
            *calls.entry(hold).or_default() += change;
            verdict.most = verdict.most.max(u64::try_from(has).unwrap_or(0));
            if verdict.most > verdict.limit && verdict.why.is_none() {
                calls.retain(|_, amount| *amount > 0);
                let mut why = format!("at {at:?}, {has} of {}:", verdict.limit);
                for (hold, amount) in calls.iter().take(NAMED_MAX) {
                    let _written = write!(why, " {}+{amount}", hold.0);
                }
                verdict.why = Some(why);
            }
        }
    }
    verdicts
}

/// How many were told that there was no room when there was, whatever the order of what happened. Only
/// where what is given back is free at once.
pub(super) fn needless_denials(operations: &[Operation]) -> usize {
    let mut steps: BTreeMap<Bucket, Vec<Step>> = BTreeMap::new();
    let mut granted: BTreeMap<HoldId, &[BucketRequest]> = BTreeMap::new();
    for operation in operations {
        if let What::Granted(requests) = &operation.what {
            granted.insert(operation.hold, requests);
            for request in requests {
                let change = signed(request.amount);
                let step = Step { at: operation.begun, change, hold: operation.hold };
                steps.entry(stored(&request.bucket)).or_default().push(step);
            }
        }
    }
    for operation in operations.iter().filter(|it| matches!(it.what, What::Ended { .. })) {
        for request in granted.get(&operation.hold).copied().unwrap_or_default() {
            let bucket = stored(&request.bucket);
            let change = signed(used(operation, &bucket)) - signed(request.amount);
            let step = Step { at: operation.done, change, hold: operation.hold };
            steps.entry(bucket).or_default().push(step);
        }
    }
    // What may have been had, from each instant on.
    let full: BTreeMap<Bucket, Vec<(Duration, i64)>> = steps
        .into_iter()
        .map(|(bucket, mut steps)| {
            // What takes room comes first here.
            steps.sort_unstable_by_key(|step| (step.at, -step.change));
            let sum = |has: &mut i64, step: Step| {
                *has += step.change;
                Some((step.at, *has))
            };
            (bucket, steps.into_iter().scan(0, sum).collect())
        })
        .collect();
    let is_full = |request: &BucketRequest, denied: &Operation| {
        let Some(full) = full.get(&stored(&request.bucket)) else { return request.limit == 0 };
        // An end in the very instant in which this began may have come after.
        let first = full.partition_point(|(at, _)| *at < denied.begun).saturating_sub(1);
        let within = full[first..].iter().take_while(|(at, _)| *at <= denied.done);
        within.map(|(_, has)| *has).any(|has| has + signed(request.amount) > signed(request.limit))
    };
    let needless = operations.iter().filter(|denied| match &denied.what {
        What::Denied(requests) => !requests.iter().any(|request| is_full(request, denied)),
        What::Granted(_) | What::Ended { .. } => false,
    });
    needless.count()
}

fn used(end: &Operation, bucket: &Bucket) -> u64 {
    let What::Ended { came_to, .. } = &end.what else { return 0 };
    came_to.iter().filter(|(known, _)| stored(known) == *bucket).map(|(_, amount)| amount).sum()
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tollbridge::routing::hold::Counts;

    use super::*;

    const LEASE: Duration = Duration::from_millis(100);

    #[test]
    fn two_calls_on_one_place_are_found_only_where_they_had_it_at_once() {
        let one_after_the_other = [granted(1, 0, 1), ended(1, 5, 9, 0), granted(2, 3, 6)];
        assert_eq!(most(&one_after_the_other), 1);
        let at_once = [granted(1, 0, 1), ended(1, 6, 9, 0), granted(2, 3, 5)];
        assert_eq!(most(&at_once), 2);
        let verdict = judge(&at_once, &[], LEASE).remove(&bucket()).unwrap();
        assert!(verdict.why.is_some_and(|why| why.contains("2 of 1")));
    }

    #[test]
    fn what_a_call_came_to_stays_used_and_a_lost_call_has_room_for_a_lease() {
        assert_eq!(most(&[granted(1, 0, 1), ended(1, 2, 3, 1), granted(2, 9, 10)]), 2);
        assert_eq!(most(&[granted(1, 0, 1), granted(2, 99, 99)]), 2);
        assert_eq!(most(&[granted(1, 0, 1), granted(2, 99, 101)]), 1);
    }

    #[test]
    fn a_call_whose_lease_lapsed_is_late_and_one_that_came_after_is_not() {
        let lapse = Lapse { edge: 0, since: ms(10), from: ms(20), is_lost: false };
        let operations = [granted(1, 0, 1), ended(1, 60, 60, 1), granted(2, 30, 31)];
        let verdict = judge(&operations, &[lapse], LEASE).remove(&bucket()).unwrap();
        assert_eq!((verdict.most, verdict.late, verdict.used[&0]), (1, 1, 1));
        let untold = [granted(1, 0, 1), ended(1, 12, 13, 1), granted(2, 30, 31)];
        let verdict = judge(&untold, &[lapse], LEASE).remove(&bucket()).unwrap();
        assert_eq!((verdict.most, verdict.late, verdict.used[&0]), (1, 1, 1));
        let asked_before = [granted(1, 0, 40), granted(2, 30, 31)];
        let verdict = judge(&asked_before, &[lapse], LEASE).remove(&bucket()).unwrap();
        assert_eq!((verdict.most, verdict.late), (2, 0));
    }

    #[test]
    fn only_lines_are_free_when_leases_lapse_unless_all_is_forgotten() {
        let cap = Bucket { cap: "target/a/connected".into(), window: "total".into() };
        let of_cap = |mut operation: Operation| {
            if let What::Granted(requests) = &mut operation.what {
                requests.iter_mut().for_each(|it| it.bucket = cap.clone());
            }
            if let What::Ended { came_to, .. } = &mut operation.what {
                came_to.iter_mut().for_each(|it| it.0 = cap.clone());
            }
            operation
        };
        let operations = [granted(1, 0, 1), ended(1, 60, 60, 1), granted(2, 30, 31)].map(of_cap);
        for (is_lost, expected) in [(false, (2, 0)), (true, (1, 1))] {
            let lapse = Lapse { edge: 0, since: ms(10), from: ms(20), is_lost };
            let verdict = judge(&operations, &[lapse], LEASE).remove(&cap).unwrap();
            assert_eq!((verdict.most, verdict.late), expected);
        }
    }

    #[test]
    fn what_a_call_came_to_that_had_given_back_its_room_is_late() {
        let late = operation(1, 2, 3, ended_with(1, true));
        let verdict = judge(&[granted(1, 0, 1), late, granted(2, 9, 10)], &[], LEASE);
        let verdict = &verdict[&bucket()];
        assert_eq!((verdict.most, verdict.late, verdict.used[&0]), (1, 1, 1));
    }

    #[test]
    fn a_denial_is_needless_where_there_was_room_all_the_time() {
        let with = |operation| [granted(1, 5, 6), ended(1, 8, 9, 0), operation];
        for (begun, done, needless) in [(0, 4, 1), (3, 5, 0), (6, 7, 0), (8, 9, 0), (10, 12, 1)] {
            assert_eq!(needless_denials(&with(denied(begun, done))), needless, "{begun} to {done}");
        }
    }

    fn most(operations: &[Operation]) -> u64 {
        judge(operations, &[], LEASE)[&bucket()].most
    }

    fn bucket() -> Bucket {
        Bucket { cap: "target/a/concurrency".into(), window: "live".into() }
    }

    fn request() -> BucketRequest {
        let (bucket, counts) = (bucket(), Counts::Live);
        BucketRequest { bucket, counts, limit: 1, amount: 1, ends_at: None, leeway: None }
    }

    fn granted(hold: u8, begun: u64, done: u64) -> Operation {
        operation(hold, begun, done, What::Granted(vec![request()]))
    }

    fn denied(begun: u64, done: u64) -> Operation {
        operation(9, begun, done, What::Denied(vec![request()]))
    }

    fn ended(hold: u8, begun: u64, done: u64, used: u64) -> Operation {
        operation(hold, begun, done, ended_with(used, false))
    }

    fn ended_with(used: u64, late: bool) -> What {
        What::Ended { came_to: vec![(bucket(), used)], late }
    }

    fn operation(hold: u8, begun: u64, done: u64, what: What) -> Operation {
        let hold = HoldId::from_bytes([hold; 16]);
        Operation { edge: 0, kind: 0, hold, begun: ms(begun), done: ms(done), what }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
