//! What is done about the store while calls go on: telling it, renewing leases, keeping tokens, and
//! getting it back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::watch;

use crate::id::HoldId;
use crate::server::clock;
use crate::server::deciding::STALE_AFTER;
use crate::server::redis::StoreFault;
use crate::time::{Mono, Wall};

use super::super::redis::TakenOver;
use super::super::store::{Change, HoldStore, NotGranted, Told};
use super::spare::Wanted;
use super::{Everything, Group, OwnHolds, SharedHolds, State};

/// How often is looked what is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A store that is away is tried for so long at a time.
const TRIED_FOR: Duration = Duration::from_millis(500);
/// How often the nodes are asked who keeps our keys.
const FIND_EVERY: Duration = Duration::from_secs(15);
/// The longest time between two looks whether the store was emptied, or is back.
const WATCHED_EVERY_MAX: Duration = Duration::from_millis(500);
/// A connection may end in that moment: then it is tried once more.
const ENDED_AT_MOST: usize = 2;
const TOKENS_EVERY: Duration = Duration::from_secs(1);
/// How long before a window may begin that the store cannot be asked about tokens of it are taken: there
/// may be many, and few at a time.
const AHEAD: Duration = Duration::from_secs(120);
/// How soon a server remembers what another has used.
const OTHERS_EVERY: Duration = Duration::from_millis(500);
/// How soon a server gives credit for what another took.
const DEPOSITS_EVERY: Duration = Duration::from_secs(1);
/// How soon what was said to one server of how many calls can be taken holds at the others: each tells
/// and hears so often.
const READY_EVERY: Duration = Duration::from_millis(500);
/// Changes told at once while calls go on.
const TOLD_AT_ONCE: usize = 200;
/// Holds that are told at once to a store that has forgotten them.
const KEPT_AT_ONCE: usize = 200;
/// Deposits read at a time, while calls wait.
const DEPOSITS_AT_ONCE: usize = 1_000;
/// Tokens reserved between two looks at the rest.
const TOKENS_AT_ONCE: usize = 50;
/// How long the start of a server waits for the store.
const START_MAX: Duration = Duration::from_secs(5);

/// When what is due next.
struct Due {
    probe: Mono,
    find: Mono,
    renew: Mono,
    tokens: Mono,
    deposits: Mono,
    ready: Mono,
    others: Mono,
}

impl SharedHolds {
    /// Connects, and waits for the store to be open; not forever: it may be away.
    pub async fn begin(&self, own: &dyn OwnHolds) {
        let give_up = clock::mono() + START_MAX;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut why = None;
        while self.state() != State::Open && clock::mono() < give_up {
            look.tick().await;
            why = self.recover(own).await.err();
        }
        if let Some(fault) = why.filter(|_| self.state() != State::Open) {
            tracing::error!(
                %fault,
                "the store of holds is not there: caps are open as far as on_store_down says"
            );
        }
    }

    /// Sees to everything until the process ends.
    pub async fn run(self: Arc<Self>, own: Arc<dyn OwnHolds>, mut ended: watch::Receiver<bool>) {
        let teller = Arc::clone(&self);
        let telling = tokio::spawn(async move { teller.keep_telling().await });
        let watcher = Arc::clone(&self);
        let watching = tokio::spawn(async move { watcher.keep_watching().await });
        let now = clock::mono();
        let find = now + FIND_EVERY;
        let mut due = Due {
            probe: now,
            find,
            renew: now,
            tokens: now,
            deposits: now,
            ready: now,
            others: now,
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look(&*own, &mut due).await,
                _ = ended.changed() => break,
            }
        }
        {
            // What is being told is told to its end: cut off it would not be told, and not be queued.
            let _nothing_is_told = self.telling.lock().await;
            telling.abort();
            watching.abort();
        }
        self.tell_the_rest(&*own).await;
    }

    /// What the store has not heard, before this node leaves it.
    async fn tell_the_rest(&self, own: &dyn OwnHolds) {
        let tokens: Vec<_> = {
            let inner = self.inner.lock();
            inner.spare.tokens().map(|(hold, _)| Change::Release { hold }).collect()
        };
        self.push(tokens);
        for _ in 0..ENDED_AT_MOST {
            if self.state() != State::Open {
                let _told = self.recover(own).await;
            }
            while self.state() == State::Open && self.tell_some().await {}
            self.tell_claimed_if_open().await;
            if self.state() == State::Open
                && let Err(fault) = self.tell_resets().await
            {
                self.failed(&fault);
            }
            if self.state() == State::Open {
                if let Err(fault) = self.store.leave().await {
                    tracing::debug!(%fault, "the store was not told of the end");
                }
                return;
            }
        }
        tracing::error!("the store was not told the last that was used here: the next start does");
    }

    async fn look(&self, own: &dyn OwnHolds, due: &mut Due) {
        let now = clock::mono();
        if self.state() != State::Open {
            if due.probe <= now {
                // It may come back empty, and is then opened soon.
                due.probe = now + jittered(watched_every(self.store.open_after()), now);
                let _told = self.recover(own).await;
            }
            return;
        }
        if due.find <= now || self.inner.lock().faults >= 2 {
            due.find = now + FIND_EVERY;
            match self.store.is_current().await {
                Ok(true) => self.answered(&[]),
                Ok(false) => self.failed(&StoreFault::Elsewhere(String::from("the cluster says"))),
                Err(fault) => self.failed(&fault),
            }
        }
        if due.renew <= now {
            due.renew = now + self.lease * 2 / 9;
            self.renew(own).await;
            self.inner.lock().near.forget_old(now);
        }
        if due.tokens <= now {
            due.tokens = now + TOKENS_EVERY;
            self.follow_windows(own);
            if self.look_at_kept(now).await {
                self.tend_tokens(now).await;
            }
        }
        if due.ready <= now {
            due.ready = now + READY_EVERY;
            let (since, kept) = (Wall(clock::wall().0 - ms(STALE_AFTER)), 2 * STALE_AFTER);
            match self.store.ready(&own.ready(), since, kept).await {
                Ok(words) => own.heard_ready(words),
                Err(fault) => self.failed(&fault),
            }
        }
        if due.others <= now {
            due.others = now + OTHERS_EVERY;
            if let Err(fault) = self.look_at_others().await {
                self.failed(&fault);
            }
        }
        if due.deposits <= now {
            due.deposits = now + DEPOSITS_EVERY;
            self.tell_claimed_if_open().await;
            if let Err(fault) = self.look_at_deposits(own).await {
                self.failed(&fault);
            }
            if let Err(fault) = self.look_at_resets(own).await {
                self.failed(&fault);
            }
        }
    }

    /// Sees to it that an emptied store hears of this node before it is opened without it, also where
    /// nothing is asked of it.
    async fn keep_watching(&self) {
        let mut look = tokio::time::interval(watched_every(self.store.open_after()));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.state() == State::Open
                && let Err(fault) = self.store.still_knows().await
            {
                self.failed(&fault);
            }
        }
    }

    async fn keep_telling(&self) {
        let mut again = tokio::time::interval(LOOK_EVERY);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.waiting.notified().await;
            while self.state() == State::Open && self.tell_some().await {}
            // The disk may take longer.
            if self.state() == State::Open && !self.inner.lock().queue.is_empty() {
                again.tick().await;
                self.waiting.notify_one();
            }
        }
    }

    /// Waits for the disk if what is told next counts something. Whether that is there.
    async fn is_written(&self) -> bool {
        let queued = {
            let inner = self.inner.lock();
            if !inner.counts_unwritten(TOLD_AT_ONCE) {
                return true;
            }
            inner.queued
        };
        let written = self.unwritten.until_written().await;
        if let Err(fault) = &written {
            tracing::warn!(%fault, "the store of holds is not told what counts");
        } else {
            let mut inner = self.inner.lock();
            inner.written = inner.written.max(queued);
        }
        written.is_ok()
    }

    /// Tells some of what the store is to know. Whether more may be told.
    async fn tell_some(&self) -> bool {
        if !self.is_written().await {
            return false;
        }
        let _telling = self.telling.lock().await;
        let (groups, is_rest) = {
            let mut inner = self.inner.lock();
            (inner.take(TOLD_AT_ONCE), !inner.queue.is_empty())
        };
        if groups.is_empty() {
            return is_rest;
        }
        let changes: Vec<_> = groups.iter().flat_map(|group| &group.changes).cloned().collect();
        match self.store.tell(&changes, self.lease).await {
            Ok(told) => {
                self.noted(&told);
                true
            }
            Err(fault) => {
                self.inner.lock().put_back(groups);
                self.failed(&fault);
                true
            }
        }
    }

    /// Gets the store back: connects, tells it what it does not know, and opens it.
    async fn recover(&self, own: &dyn OwnHolds) -> Result<(), StoreFault> {
        let _telling = self.telling.lock().await;
        let caught_up = self.catch_up(own).await;
        if let Err(fault) = &caught_up {
            self.metrics.fault(fault);
            tracing::debug!(%fault, "the store of holds is not back yet");
            let mut inner = self.inner.lock();
            inner.state = State::Away;
            drop(inner);
            self.store.disconnect();
            self.metrics.state(State::Away);
        }
        caught_up
    }

    async fn catch_up(&self, own: &dyn OwnHolds) -> Result<(), StoreFault> {
        let started = clock::mono();
        let server = self.store.connect().await?;
        let gate = self.store.announce(self.lease).await?;
        let is_new = {
            let mut inner = self.inner.lock();
            inner.state = State::Recovering;
            inner.told.as_ref() != Some(&gate)
        };
        self.metrics.state(State::Recovering);
        if is_new {
            tracing::info!(%server, "telling the store what is held and used here");
            let told = self.tell_everything(own, &gate).await;
            told.inspect_err(|_| self.inner.lock().told = None)?;
        }
        self.renew_leases(own, started).await?;
        let give_up = started + TRIED_FOR;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.tick().await;
        while !self.store.join(self.lease).await? {
            // Others have to tell it as well.
            if clock::mono() >= give_up {
                return Err(StoreFault::Away(String::from("not all servers have told it all")));
            }
            look.tick().await;
        }
        self.store.still_knows().await?;
        self.tell_claimed().await?;
        self.tell_resets().await?;
        self.look_at_deposits(own).await?;
        self.look_at_resets(own).await?;
        loop {
            let queued = {
                let mut inner = self.inner.lock();
                // What is told now is anybody's.
                inner.spare.nothing_freed();
                if inner.told.as_ref() != Some(&gate) {
                    // It has been emptied since, or more was to be told than is kept.
                    return Err(StoreFault::NotOpen);
                }
                // What else there is can be told as it is while calls go on.
                if !inner.queue.iter().any(Group::keeps) {
                    inner.state = State::Open;
                    inner.faults = 0;
                    break;
                }
                inner.queued
            };
            self.unwritten.until_written().await?;
            let groups = self.inner.lock().take_before(queued);
            let changes: Vec<_> = groups.iter().flat_map(|group| &group.changes).cloned().collect();
            // At once: what one call gave back another may have got.
            match self.store.tell(&changes, self.lease).await {
                Ok(told) => self.noted(&told),
                Err(fault) => {
                    self.inner.lock().put_back(groups);
                    return Err(fault);
                }
            }
        }
        self.waiting.notify_one();
        self.metrics.state(State::Open);
        tracing::info!(%server, "the store of holds is open");
        Ok(())
    }

    /// What this node holds and has used, to a server that may have forgotten some of it.
    async fn tell_everything(&self, own: &dyn OwnHolds, gate: &SmolStr) -> Result<(), StoreFault> {
        let mut all = None;
        own.everything(&mut |Everything { mut held, used }| {
            let mut inner = self.inner.lock();
            // The rest is in what is told now.
            inner.queue.clear();
            inner.spare.nothing_freed();
            inner.generation += 1;
            inner.told = Some(gate.clone());
            held.extend(inner.spare.tokens().map(|(token, request)| (token, vec![request])));
            all = Some((
                inner.ended.iter().map(|(hold, _)| *hold).collect::<Vec<_>>(),
                held,
                used,
                inner.claims.clone(),
            ));
        });
        let (ended, held, used, claims) = all.unwrap_or_default();
        self.unwritten.until_written().await?;
        // A replica may not have heard of the latest ends. Room is given back first.
        let is_first = !self.inner.lock().taken_over;
        let (taken, told) = if is_first { (held, vec![]) } else { (vec![], held) };
        let release = ended.into_iter().map(|hold| Change::Release { hold });
        let keep = |(hold, requests)| Change::Keep { hold, requests };
        let changes: Vec<_> = release.chain(told.into_iter().map(keep)).collect();
        for some in changes.chunks(KEPT_AT_ONCE) {
            self.noted(&self.store.tell(some, self.lease).await?);
        }
        // One that is taken meanwhile is told of by itself; once more does no harm.
        let mut deposits = own.deposits(None, DEPOSITS_AT_ONCE);
        while let Some(last) = deposits.last() {
            let next = own.deposits(Some(last), DEPOSITS_AT_ONCE);
            self.store.know_deposits(&deposits).await?;
            deposits = next;
        }
        self.store.begin_deposits().await?;
        for (deposit, serial) in &claims {
            self.store.keep_claim(deposit, *serial).await?;
        }
        self.tell_known_resets(own).await?;
        let of_others = self.tell_of_others().await?;
        let raised = match is_first {
            true => {
                let done = self.store.take_over(&taken, &used, self.lease).await?;
                self.inner.lock().taken_over = true;
                let TakenOver { raised, overshoots, overdrawn } = done;
                self.metrics.told(&Told { overshoots, overdrawn, ..Told::default() });
                raised
            }
            false => self.store.restore(&used).await?,
        };
        if raised + of_others > 0 {
            tracing::warn!(
                buckets = raised + of_others,
                "the store had forgotten some of what was used"
            );
        }
        Ok(())
    }

    async fn renew(&self, own: &dyn OwnHolds) {
        if let Err(fault) = self.renew_leases(own, clock::mono()).await {
            self.failed(&fault);
        }
    }

    async fn renew_leases(&self, own: &dyn OwnHolds, started: Mono) -> Result<(), StoreFault> {
        let mut holds = own.live();
        let tokens: Vec<HoldId> = {
            let inner = self.inner.lock();
            inner.spare.tokens().map(|(token, _)| token).collect()
        };
        holds.extend(&tokens);
        let lost = self.store.renew(&holds, self.lease).await?;
        let mut inner = self.inner.lock();
        // What ended calls gave back was not renewed with the rest: others may have got it. Nor is it
        // ours what calls give back whose room was lost.
        inner.spare.nothing_freed();
        if lost.is_empty() {
            inner.renewed_at = started;
        }
        lost.iter().for_each(|hold| inner.spare.forget(*hold));
        drop(inner);
        // The store may have kept what a token took for a call that it is not told of.
        let gone: BTreeSet<_> = lost.iter().collect();
        for hold in tokens.into_iter().filter(|token| gone.contains(token)) {
            self.push(vec![Change::Release { hold }]);
        }
        for (hold, requests) in own.held_by(&lost) {
            self.push(vec![Change::Keep { hold, requests }]);
        }
        Ok(())
    }

    /// A window may end while the store is away, and calls count in the next one then. Room of our own is
    /// given for half a lease after the last word of the store: tokens are worth having of the windows that
    /// begin until then. They come one after the other, with each look at the tokens.
    fn follow_windows(&self, own: &dyn OwnHolds) {
        let wall = clock::wall();
        let by = Wall(wall.0.saturating_add(ms(self.lease / 2 + AHEAD)));
        let (ending, asked_at) = self.inner.lock().spare.ending(by);
        if ending.is_empty() {
            return;
        }
        let following = own.following(&ending, wall);
        let mut inner = self.inner.lock();
        for (request, asked_at) in following.into_iter().zip(asked_at) {
            if let Some(request) = request {
                inner.spare.follow(request, asked_at);
            }
        }
    }

    /// Sees how full the buckets are that tokens are worth having of, where no call has lately: others may
    /// need the room. Whether the store answered.
    async fn look_at_kept(&self, now: Mono) -> bool {
        let wall = clock::wall();
        let buckets: Vec<_> = {
            let inner = self.inner.lock();
            let old = inner.spare.buckets().map(|(bucket, counts)| (bucket.at(wall), counts));
            old.filter(|(bucket, _)| !inner.near.is_fresh(bucket, now)).collect()
        };
        self.look_at(&buckets).await
    }

    /// Reserves tokens, and gives back those that are too many.
    async fn tend_tokens(&self, now: Mono) {
        let wanted = {
            let mut inner = self.inner.lock();
            let super::Inner { spare, near, .. } = &mut *inner;
            spare.tend(|bucket| near.last(bucket), self.store.nodes(), now)
        };
        let mut reserved = 0;
        for wanted in wanted {
            match wanted {
                Wanted::Fewer(tokens) => {
                    self.push(tokens.into_iter().map(|hold| Change::Release { hold }).collect());
                }
                Wanted::More(more, request) => {
                    for _ in 0..more {
                        if reserved >= TOKENS_AT_ONCE || self.state() != State::Open {
                            return;
                        }
                        reserved += 1;
                        let token = self.token();
                        let asked = std::slice::from_ref(&request);
                        match self.store.reserve(token, asked, self.lease).await {
                            Ok(granted) => {
                                self.answered(&granted.seen);
                                let mut inner = self.inner.lock();
                                inner.spare.add(&request.bucket, token, request.amount);
                            }
                            Err(NotGranted::Fault(fault)) => {
                                self.failed(&fault);
                                self.push(vec![Change::Release { hold: token }]);
                                return;
                            }
                            Err(NotGranted::NotOpen) => return self.forgotten(),
                            Err(NotGranted::Full { .. } | NotGranted::Ended) => break,
                        }
                    }
                }
            }
        }
        self.metrics.tokens(self.inner.lock().spare.tokens().count());
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// So often that the time until an emptied store is opened is enough to find out and say so, also where
/// one look fails.
fn watched_every(open_after: Duration) -> Duration {
    (open_after / 4).clamp(LOOK_EVERY, WATCHED_EVERY_MAX)
}

/// Three to five quarters of it, so that many servers do not all come at once.
fn jittered(period: Duration, now: Mono) -> Duration {
    let percent = 75 + u32::try_from(now.0 / 1_000 % 50).unwrap_or(0);
    period * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_comes_back_empty_is_tried_before_others_open_it() {
        for open_after_ms in [200, 300, 2_000, 60_000] {
            let open_after = Duration::from_millis(open_after_ms);
            for now_ms in 0..50 {
                let every = jittered(watched_every(open_after), Mono(now_ms * 1_000)) + LOOK_EVERY;
                assert!(every < open_after, "{every:?} of {open_after:?}");
            }
        }
    }
}
