//! The holds of this node in a store that others share: who is asked for room, what the store is told
//! and when, and what is done while it is away (spec/data §3.5).
//!
//! Owns: whether the store is there ([`State`]), the changes it has not been told yet, what it last
//! said of buckets ([`near`]) and of what others have used ([`others`]), and this node's own room ([`spare`]). Does not own: what this node's
//! calls hold and have used, which is in routing's ledger; that is told to a store which has forgotten
//! it.
//!
//! Invariants: a call gets room either from the store or out of room the store counts as held by this
//! node; changes are told in their order, and those that belong together at once, what counts only when
//! it is on disk ([`unwritten`]); the store is used
//! again only when it knows everything, and from then on nothing that was freed meanwhile is given
//! away here.

mod deposits;
mod health;
mod near;
mod others;
mod resets;
mod spare;
mod tending;
mod unwritten;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::id::{CallId, HoldId};
use crate::reason::Reason;
use crate::routing::Usage;
use crate::routing::config::OnStoreDown;
use crate::routing::hold::{Bucket, BucketRequest, Counts, Juncture, NoRoom, Reset};
use crate::routing::request::ReadyWord;
use crate::time::{Mono, Wall};

use super::metrics::StoreMetrics;
use super::redis::{Deposit, RedisStore};
use super::store::{Cause, Change, Counted, Granted, HoldStore, NotGranted, Told};
use crate::cdr::journal::file::Appender;
use crate::config::QUESTIONS_MAX;
use crate::server::clock;
use crate::server::redis::{LinkTls, StoreFault};

use deposits::Claimed;
use health::Health;
use near::Near;
use others::Others;
use spare::Spare;
use unwritten::Unwritten;

pub(in crate::server) use unwritten::Counting;

/// Faults in a row after which the store is taken to be away.
const FAULTS_MAX: u32 = 3;
/// Changes that wait for the store at most. It is then told all there is, as if it had forgotten.
const QUEUE_MAX: usize = 200_000;

/// Buckets looked at by one script.
const LOOKED_AT_ONCE: usize = 50;

/// Ends of holds that a server is told again which may have missed them, at most. Those that are
/// older than a lease are over by themselves.
const ENDED_MAX: usize = 200_000;

/// What a ledger of this node's own holds tells a store that has forgotten them.
pub trait OwnHolds: Send + Sync {
    /// Notes room that the store granted, unless `is_valid` says it is too late. Whether it was.
    fn granted(
        &self,
        hold: HoldId,
        requests: &[BucketRequest],
        is_valid: &dyn Fn() -> bool,
    ) -> bool;

    /// All live holds with what they hold, and what has been used of every bucket. While `told` runs
    /// nothing changes.
    fn everything(&self, told: &mut dyn FnMut(Everything));

    /// Deposits whose keys are known, behind one of them or from the first, at most `most`: there may
    /// be a million, and calls wait meanwhile. Empty behind the last.
    fn deposits(&self, after: Option<&Deposit>, most: usize) -> Vec<Deposit>;

    /// What each of these asks for in the window that comes next, or in that of `at` if it is over by then;
    /// `None`: there is none.
    fn following(&self, ending: &[BucketRequest], at: Wall) -> Vec<Option<BucketRequest>>;

    /// The live holds.
    fn live(&self) -> Vec<HoldId>;

    /// What live ones of `holds` hold.
    fn held_by(&self, holds: &[HoldId]) -> Vec<(HoldId, Vec<BucketRequest>)>;

    /// Caps that began anew in windows that may be current.
    fn resets(&self) -> Vec<Reset>;

    /// Another server was asked to have a cap begin anew.
    fn learn_reset(&self, reset: &Reset);

    /// Where it is kept what those who have credit have deposited.
    fn credits(&self) -> BTreeSet<Bucket>;

    /// What counts still of what was said of how many calls can be taken.
    fn ready(&self) -> Vec<ReadyWord>;

    /// What was said of that to any node.
    fn heard_ready(&self, words: Vec<ReadyWord>);
}

/// See [`OwnHolds::everything`].
pub struct Everything {
    pub held: Vec<(HoldId, Vec<BucketRequest>)>,
    pub used: Vec<super::redis::Known>,
}

/// Holds in a shared store.
pub struct SharedHolds {
    store: RedisStore,
    lease: Duration,
    /// Makes the ids of tokens.
    process: CallId,
    tokens: AtomicU64,
    /// Makes claims of the same deposit told apart.
    claims: AtomicU64,
    inner: Mutex<Inner>,
    /// There is something to tell.
    waiting: Notify,
    /// Taken by whoever tells the store.
    telling: tokio::sync::Mutex<()>,
    unwritten: Unwritten,
    metrics: StoreMetrics,
}

struct Inner {
    state: State,
    /// In a row.
    faults: u32,
    health: Health,
    /// Grows when what the store knows may not be what was told to it.
    generation: u64,
    /// What former processes of this node held is given back, or is ours.
    taken_over: bool,
    /// The gate that everything was told behind.
    told: Option<smol_str::SmolStr>,
    /// The leases of all holds last at least a lease from here.
    renewed_at: Mono,
    queue: VecDeque<Group>,
    /// How many have ever been queued.
    queued: u64,
    /// What the first so many of them count is on disk.
    written: u64,
    /// Holds that ended, and when; the latest last.
    ended: VecDeque<(HoldId, Mono)>,
    /// Deposits that are being written down, and the serials of their claims.
    claims: Vec<(Deposit, u64)>,
    /// Deposits that the store is to be told of.
    claimed: VecDeque<Claimed>,
    /// Caps that began anew, of which the store is to be told.
    resets: VecDeque<Reset>,
    /// The version of what the store has told of others.
    resets_known: smol_str::SmolStr,
    /// Buckets that began anew a moment ago.
    begun_anew: Vec<(Bucket, Mono)>,
    near: Near,
    others: Others,
    spare: Spare,
}

/// What the store is to be told at once.
struct Group {
    /// Of all that were ever queued.
    number: u64,
    changes: Vec<Change>,
}

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is asked.
    Open,
    /// It is there, and is told what it does not know.
    Recovering,
    /// It is tried now and then.
    Away,
}

impl State {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovering => "recovering",
            Self::Away => "away",
        }
    }
}

impl SharedHolds {
    /// Nothing is connected yet. `process` is unlike that of any other process.
    pub fn new(store: RedisStore, lease: Duration, process: CallId) -> Self {
        Self {
            store,
            lease,
            process,
            tokens: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                state: State::Away,
                faults: 0,
                health: Health::default(),
                generation: 0,
                taken_over: false,
                told: None,
                renewed_at: Mono(0),
                queue: VecDeque::new(),
                queued: 0,
                written: 0,
                ended: VecDeque::new(),
                claims: vec![],
                claimed: VecDeque::new(),
                resets: VecDeque::new(),
                resets_known: smol_str::SmolStr::default(),
                begun_anew: vec![],
                near: Near::default(),
                others: Others::default(),
                spare: Spare::default(),
            }),
            waiting: Notify::new(),
            telling: tokio::sync::Mutex::new(()),
            unwritten: Unwritten::default(),
            metrics: StoreMetrics::register(),
        }
    }

    /// What counts is told once its fact is on disk here. Said before anything is counted.
    pub fn follow(&self, journal: Appender) {
        self.unwritten.follow(journal);
    }

    /// Something is counted from here on whose fact is in the journal when this is dropped.
    pub(in crate::server) fn counting(&self) -> Counting {
        self.unwritten.begin()
    }

    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// How the store is known from the next connection on, and what it is shown.
    pub fn secure(&self, tls: Option<LinkTls>) {
        self.store.secure(tls);
    }

    /// How full a bucket probably is; `own` is what this node has used and holds.
    pub(in crate::server) fn usage(&self, bucket: &Bucket, own: Usage, now: Mono) -> Usage {
        let inner = self.inner.lock();
        inner.near.usage(bucket, own, inner.spare.in_tokens(bucket), now)
    }

    /// Asks how full buckets are, which is what is known of them then. Whether the store answered.
    pub(in crate::server) async fn look_at(&self, buckets: &[(Bucket, Counts)]) -> bool {
        if self.state() != State::Open {
            return false;
        }
        for some in buckets.chunks(LOOKED_AT_ONCE) {
            match self.store.usage(some).await {
                Ok(usages) => {
                    let seen = some.iter().map(|(bucket, _)| bucket.clone()).zip(usages);
                    self.answered(&seen.collect::<Vec<_>>());
                }
                Err(fault) => {
                    self.failed(&fault);
                    return false;
                }
            }
        }
        true
    }

    /// Takes room for a hold, of the store or of our own. `own` hears of it before this returns.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::server) async fn place(
        &self,
        own: &dyn OwnHolds,
        hold: HoldId,
        requests: &[BucketRequest],
        on_store_down: &(dyn Fn(&Bucket) -> OnStoreDown + Sync),
    ) -> Result<(), NoRoom> {
        let mut may_be_placed = false;
        let placed = self.place_once(own, hold, requests, on_store_down, &mut may_be_placed).await;
        if placed.is_err() && may_be_placed {
            // Or it may yet be: what was sent may come late.
            self.push(vec![Change::Release { hold }]);
        }
        placed
    }

    /// `may_be_placed`: the store has or may have the hold, and this node does not know it.
    async fn place_once(
        &self,
        own: &dyn OwnHolds,
        hold: HoldId,
        requests: &[BucketRequest],
        on_store_down: &(dyn Fn(&Bucket) -> OnStoreDown + Sync),
        may_be_placed: &mut bool,
    ) -> Result<(), NoRoom> {
        for asked in 1..=QUESTIONS_MAX {
            let Some(generation) = self.asking(requests) else { break };
            let started = clock::mono();
            let answer = self.store.reserve(hold, requests, self.lease).await;
            self.timed(requests, &answer, clock::mono().since(started));
            match answer {
                Ok(granted) => {
                    self.answered(&granted.seen);
                    // Read late, by a process that was stopped: others may have got the room since.
                    let is_late = || started + self.lease / 2 <= clock::mono();
                    let is_valid = || !is_late() && self.inner.lock().generation == generation;
                    if own.granted(hold, requests, &is_valid) {
                        return Ok(());
                    }
                    *may_be_placed = true;
                    if is_late() {
                        break;
                    }
                }
                Err(NotGranted::Full { denied, seen }) => {
                    self.answered(&seen);
                    if asked == QUESTIONS_MAX {
                        return Err(denied.into());
                    }
                    let tokens = self.inner.lock().spare.give_up(&denied.bucket);
                    if tokens.is_empty() || !self.give_back(tokens).await {
                        return Err(denied.into());
                    }
                }
                Err(NotGranted::Ended) => return Err(Reason::DecisionFailed.into()),
                Err(NotGranted::NotOpen) => {
                    self.forgotten();
                    break;
                }
                Err(NotGranted::Fault(fault)) => {
                    *may_be_placed = true;
                    self.failed(&fault);
                    if fault != StoreFault::Timeout {
                        break;
                    }
                }
            }
        }
        let taken = self.take(own, hold, requests, on_store_down);
        self.metrics.local(taken.is_ok());
        taken.map_err(NoRoom::from)
    }

    /// The counted event happened.
    pub(in crate::server) fn counted(&self, hold: HoldId, event: Counts, counted: Vec<Counted>) {
        self.push(vec![Change::Count { hold, cause: Cause::Event(event), counted }]);
    }

    /// It has become known what a call comes to; `known` is what its hold holds, or held until its end.
    pub(in crate::server) fn came_to(
        &self,
        hold: HoldId,
        juncture: Juncture,
        came_to: &[(Bucket, i64)],
        known: &[BucketRequest],
    ) {
        self.push(vec![outcome(hold, juncture, came_to, known)]);
    }

    /// The same, and the call is over; `kept` is what was held for it until now.
    pub(in crate::server) fn concluded(
        &self,
        hold: HoldId,
        juncture: Juncture,
        came_to: &[(Bucket, i64)],
        known: &[BucketRequest],
        kept: &[BucketRequest],
    ) {
        let counted = (!came_to.is_empty()).then(|| outcome(hold, juncture, came_to, known));
        let changes = counted.into_iter().chain([Change::Release { hold }]).collect();
        let used = |bucket: &Bucket| {
            let used = came_to.iter().filter(|(known, _)| known.stored().0 == bucket.stored().0);
            used.map(|(_, amount)| u64::try_from(*amount).unwrap_or(0)).sum::<u64>()
        };
        let freed = kept.iter().map(|it| (&it.bucket, it.held().saturating_sub(used(&it.bucket))));
        self.ended(changes, freed);
    }

    /// What is still held is given back.
    pub(in crate::server) fn released(&self, hold: HoldId, kept: &[BucketRequest]) {
        let freed = kept.iter().map(|it| (&it.bucket, it.held()));
        self.ended(vec![Change::Release { hold }], freed);
    }

    /// Room is kept for a call that a crash left up.
    pub(in crate::server) fn adopted(&self, hold: HoldId, requests: Vec<BucketRequest>) {
        self.push(vec![Change::Keep { hold, requests }]);
    }

    fn push(&self, changes: Vec<Change>) {
        self.ended(changes, std::iter::empty());
    }

    /// Queues changes. While the store does not hear of them it counts as held what they free.
    fn ended<'a>(&self, changes: Vec<Change>, freed: impl Iterator<Item = (&'a Bucket, u64)>) {
        let mut inner = self.inner.lock();
        inner.queue(changes, clock::mono(), self.lease);
        if inner.state == State::Open {
            self.waiting.notify_one();
        } else {
            freed.for_each(|(bucket, amount)| inner.spare.free(&bucket.stored().0, amount));
        }
    }

    /// Whether the store is to be asked for this, and as of which generation.
    fn asking(&self, requests: &[BucketRequest]) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.spare.asked(requests, clock::mono());
        (inner.state == State::Open).then_some(inner.generation)
    }

    /// Takes room of our own.
    fn take(
        &self,
        own: &dyn OwnHolds,
        hold: HoldId,
        requests: &[BucketRequest],
        on_store_down: &(dyn Fn(&Bucket) -> OnStoreDown + Sync),
    ) -> Result<(), Reason> {
        let down = |request: &&BucketRequest| on_store_down(&request.bucket);
        if requests.iter().any(|it| down(&it) == OnStoreDown::Closed) {
            return Err(Reason::CapFullHere);
        }
        // Spacing and soft caps hold nothing that could be passed by more than the calls in flight.
        let strict = requests.iter().filter(|it| it.held() > 0 && down(it) == OnStoreDown::Escrow);
        let asked: Vec<&BucketRequest> = strict.collect();
        let now = clock::mono();
        let taken = || {
            let mut inner = self.inner.lock();
            // Half a lease is left for what becomes of the calls.
            if !asked.is_empty() && inner.renewed_at + self.lease / 2 <= now {
                return false;
            }
            let Inner { spare, near, .. } = &mut *inner;
            let taken = spare.take(asked.iter().copied(), |bucket| near.last(bucket));
            let Ok(mut changes) = taken else { return false };
            changes.push(Change::Keep { hold, requests: requests.to_vec() });
            inner.queue(changes, now, self.lease);
            if inner.state == State::Open {
                self.waiting.notify_one();
            }
            true
        };
        own.granted(hold, requests, &taken).then_some(()).ok_or(Reason::CapFullHere)
    }

    /// A call has waited for this answer.
    fn timed(
        &self,
        requests: &[BucketRequest],
        answer: &Result<Granted, NotGranted>,
        took: Duration,
    ) {
        self.metrics.asked(took, answer);
        let is_late = matches!(answer, Err(NotGranted::Fault(StoreFault::Timeout)));
        // A replica is waited for as well.
        let is_slow = took > self.store.slow() && !requests.iter().any(|it| it.counts.is_money());
        let mut inner = self.inner.lock();
        let is_ill = inner.health.is_ill(is_late || is_slow, clock::mono());
        if is_ill && inner.state == State::Open {
            tracing::error!(
                "the store of holds is slow: calls get room of this server's own for now"
            );
            inner.state = State::Away;
            inner.health = Health::default();
            self.metrics.state(State::Away);
        }
    }

    /// The store has answered.
    fn answered(&self, seen: &[(Bucket, Usage)]) {
        let mut inner = self.inner.lock();
        inner.faults = 0;
        inner.near.note(seen, clock::mono());
    }

    /// What the store did of what it was told.
    fn noted(&self, told: &[Told]) {
        for told in told {
            self.metrics.told(told);
            self.answered(&told.seen);
        }
    }

    fn failed(&self, fault: &StoreFault) {
        self.metrics.fault(fault);
        if *fault == StoreFault::NotOpen {
            return self.forgotten();
        }
        let mut inner = self.inner.lock();
        inner.faults += 1;
        let is_gone = match fault {
            StoreFault::Away(_)
            | StoreFault::Unreached
            | StoreFault::Elsewhere(_)
            | StoreFault::NotOpen => true,
            StoreFault::Timeout | StoreFault::Refused(_) | StoreFault::Unconfirmed => {
                inner.faults >= FAULTS_MAX
            }
        };
        if is_gone && inner.state != State::Away {
            tracing::error!(%fault, "the store of holds is away: calls get room of this server's own");
            inner.state = State::Away;
            self.metrics.state(State::Away);
        }
    }

    /// The server does not know what it was told.
    fn forgotten(&self) {
        let mut inner = self.inner.lock();
        inner.forget();
        self.metrics.state(inner.state);
    }

    /// Tells the store at once. Whether it was told.
    async fn give_back(&self, tokens: Vec<HoldId>) -> bool {
        let changes: Vec<_> = tokens.into_iter().map(|hold| Change::Release { hold }).collect();
        match self.store.tell(&changes, self.lease).await {
            Ok(_) => true,
            Err(fault) => {
                self.failed(&fault);
                self.push(changes);
                false
            }
        }
    }

    fn token(&self) -> HoldId {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        HoldId::of(self.process, 0, &format!("token/{number}"))
    }
}

/// What a hold has come to.
fn outcome(
    hold: HoldId,
    juncture: Juncture,
    came_to: &[(Bucket, i64)],
    known: &[BucketRequest],
) -> Change {
    let counted = came_to.iter().map(|(bucket, amount)| {
        let request = known.iter().find(|it| it.bucket.stored().0 == bucket.stored().0);
        match request {
            Some(request) => {
                Counted { bucket: bucket.clone(), amount: *amount, ..Counted::all_of(request) }
            }
            None => Counted::of(bucket.clone(), Counts::Converted, *amount),
        }
    });
    Change::Count { hold, cause: Cause::Course(juncture), counted: counted.collect() }
}

impl Inner {
    fn queue(&mut self, changes: Vec<Change>, now: Mono, lease: Duration) {
        if self.queue.len() >= QUEUE_MAX {
            self.queue.clear();
            self.forget();
        }
        for change in &changes {
            if let Change::Release { hold } = change {
                self.ended.push_back((*hold, now));
            }
        }
        let is_over = |(_, at): &(HoldId, Mono)| *at + lease <= now;
        while self.ended.len() > ENDED_MAX || self.ended.front().is_some_and(is_over) {
            self.ended.pop_front();
        }
        self.queue.push_back(Group { number: self.queued, changes });
        self.queued += 1;
    }

    /// Whether one of the first `most` groups counts what may not be on disk.
    fn counts_unwritten(&self, most: usize) -> bool {
        self.queue.iter().take(most).any(|group| self.is_unwritten(group))
    }

    fn is_unwritten(&self, group: &Group) -> bool {
        group.number >= self.written && group.counts()
    }

    /// As many groups, of all that come first and may be told, as have no more changes than `most`; one
    /// at least.
    fn take(&mut self, most: usize) -> Vec<Group> {
        let mut count = 0;
        let may_be_told = |group: &&Group| {
            count += group.changes.len();
            (count <= most || count == group.changes.len()) && !self.is_unwritten(group)
        };
        let some = self.queue.iter().take_while(may_be_told).count();
        self.queue.drain(..some).collect()
    }

    /// All that were queued before this one, which are written.
    fn take_before(&mut self, number: u64) -> Vec<Group> {
        self.written = self.written.max(number);
        let some = self.queue.partition_point(|group| group.number < number);
        self.queue.drain(..some).collect()
    }

    /// They could not be told. Twice is once.
    fn put_back(&mut self, groups: Vec<Group>) {
        groups.into_iter().rev().for_each(|group| self.queue.push_front(group));
    }

    fn forget(&mut self) {
        self.told = None;
        self.generation += 1;
        self.state = State::Away;
    }
}

impl Group {
    fn counts(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Count { .. }))
    }

    /// Whether it takes room that another may have given back.
    fn keeps(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Keep { .. }))
    }
}
