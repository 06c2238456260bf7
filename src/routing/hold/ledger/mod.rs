//! The in-process ledger of holds.
//!
//! A hold asks for room in several buckets and gets all or nothing. Each bucket of a hold then
//! ends once: settled (the counted event happened), used up by what the call came to, released, or
//! expired. What a call came to counts once for each [`Juncture`], however often, how late and in
//! whatever order it is said: beyond [`LedgerLimits::remembered_max`] ended holds the oldest are
//! forgotten.

mod tally;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use crate::id::HoldId;
use crate::routing::request::{Usage, UsageReader};
use crate::time::{Mono, Wall};

use super::juncture::Heard;
use super::{Bucket, BucketRequest, Counts, GAP, Juncture, LIVE, Reset, ResetPart, Resets};
pub(super) use tally::KEPT_AFTER_END_MS;
use tally::Tally;

/// Reservations of one process. Not shared: whoever owns it serialises access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldLedger {
    limits: LedgerLimits,
    buckets: BTreeMap<Bucket, Tally>,
    live: BTreeMap<HoldId, Hold>,
    expiries: BTreeSet<(Mono, HoldId)>,
    /// What is held for calls that a crash left up, by bucket.
    awaited: BTreeMap<Bucket, u64>,
    ended: Remembered,
    resets: Resets,
    counters: LedgerCounters,
}

/// How long what is used in a window is known after its end.
pub const KEPT_AFTER_END: Duration = Duration::from_millis(KEPT_AFTER_END_MS.unsigned_abs());
/// Buckets at most, where nobody says what caps there are.
pub const BUCKETS_MAX: usize = 200_000;

/// What bounds the ledger's memory and the life of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// How long a hold lives without [`HoldLedger::renew`]. At least four times the interval of
    /// renewal.
    pub lease: Duration,
    /// Live holds at most; further ones are refused with [`Refused::LedgerFull`].
    pub holds_max: usize,
    /// Buckets at most; a hold that needs a further one is refused with [`Refused::LedgerFull`].
    pub buckets_max: usize,
    /// Ended holds remembered, so that a late or repeated message about one changes nothing;
    /// beyond that the oldest is forgotten.
    pub remembered_max: usize,
}

/// A hold that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When it expires unless renewed.
    pub expires_at: Mono,
    /// It had been granted before; nothing changed.
    pub repeated: bool,
}

/// Why a hold was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Full(#[from] Denied),
    /// The hold was granted once and has ended; its id must not be used again.
    #[error("the hold has ended already")]
    Ended,
    /// See [`LedgerLimits`].
    #[error("the ledger holds as much as it may")]
    LedgerFull,
}

/// The first bucket without room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} in {}: {used} used and {held} held of {limit}", bucket.cap, bucket.window)]
pub struct Denied {
    pub bucket: Bucket,
    pub counts: Counts,
    pub used: u64,
    pub held: u64,
    pub limit: u64,
}

/// What [`HoldLedger::settle`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The buckets in which held became used, of rolling windows with the slice and of spacing with
    /// the instant; empty if none counts this event or it was settled before.
    pub buckets: Vec<Bucket>,
    /// The hold had expired; what had been given back was counted all the same.
    pub late: bool,
}

/// What happened since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounters {
    pub placed: u64,
    pub denied: u64,
    pub released: u64,
    pub expired: u64,
    pub late_settles: u64,
    /// Settles and outcomes of more than was held that took `used + held` over the limit of their time
    /// (spec/data I5).
    pub overshoots: u64,
    /// Those of them that took a buyer beyond its credit (I9).
    pub overdrawn: u64,
    /// Buckets of which less was used than had been counted: of a call that was found to have been over
    /// before it converted.
    pub taken_back: u64,
    /// Buckets in which something was held though no hold was live, by [`HoldLedger::tend`] (I6).
    pub leaked: u64,
    /// Holds that were asked for again after their end (I7).
    pub reused: u64,
}

/// A bucket as it stands, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketReading {
    pub bucket: Bucket,
    pub usage: Usage,
    /// How much of what is held is held for calls that a crash left up.
    pub awaited: u64,
    pub ends_at: Option<Wall>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hold {
    requests: Vec<BucketRequest>,
    expires_at: Mono,
    /// Of a call that a crash left up.
    awaited: bool,
    /// Its call was answered: what counts from then on is used.
    talks: bool,
    heard: Heard,
}

/// Ended holds, the oldest forgotten first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Remembered {
    holds: BTreeMap<HoldId, Ended>,
    order: VecDeque<HoldId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ended {
    /// What it held until its end; what was settled is not among it.
    requests: Vec<BucketRequest>,
    /// Its lease was over: what happens to it yet counts.
    expired: bool,
    heard: Heard,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(90),
            holds_max: 200_000,
            buckets_max: BUCKETS_MAX,
            remembered_max: 20_000,
        }
    }
}

impl HoldLedger {
    pub fn new(limits: LedgerLimits) -> Self {
        Self {
            limits,
            buckets: BTreeMap::new(),
            live: BTreeMap::new(),
            expiries: BTreeSet::new(),
            awaited: BTreeMap::new(),
            ended: Remembered::default(),
            resets: Resets::default(),
            counters: LedgerCounters::default(),
        }
    }

    /// Takes room in all buckets or in none. A hold granted before is answered the same again.
    pub fn reserve(
        &mut self,
        hold: HoldId,
        requests: &[BucketRequest],
        now: Mono,
    ) -> Result<Placed, Refused> {
        self.expire(now);
        if let Some(known) = self.live.get(&hold) {
            return Ok(Placed { expires_at: known.expires_at, repeated: true });
        }
        if self.ended.holds.contains_key(&hold) {
            self.counters.reused += 1;
            return Err(Refused::Ended);
        }
        self.check_room(requests)?;
        if self.is_full(requests) {
            return Err(Refused::LedgerFull);
        }
        let expires_at = now + self.limits.lease;
        self.note(hold, requests.to_vec(), expires_at, false);
        Ok(Placed { expires_at, repeated: false })
    }

    /// The event happened at `at`: what the hold keeps for it becomes used. Once per bucket. A hold
    /// that is unknown or released settles nothing.
    pub fn settle(&mut self, hold: HoldId, event: Counts, now: Mono, at: Wall) -> Settled {
        self.expire(now);
        if event.is_concurrency() {
            return Settled::default();
        }
        if event == Counts::Connected {
            self.talk(hold);
        }
        if let Some(live) = self.live.get_mut(&hold) {
            let due = take_counting(&mut live.requests, event);
            let awaited = live.awaited;
            for request in &due {
                let (bucket, _) = request.bucket.stored();
                let tally = self.buckets.entry(bucket.into_owned()).or_default();
                tally.give_back(hold, request.held());
                tally.count(request, at);
                if awaited {
                    self.await_less(&request.bucket, request.held());
                }
            }
            return Settled::of(&due, at, false);
        }
        let Some(ended) = self.ended.holds.get_mut(&hold).filter(|ended| ended.expired) else {
            return Settled::default();
        };
        let due = take_counting(&mut ended.requests, event);
        for request in &due {
            let (bucket, _) = request.bucket.stored();
            let tally = self.buckets.entry(bucket.into_owned()).or_default();
            tally.count(request, at);
            self.counters.late_settles += 1;
            let is_over = request.counts != Counts::Spacing && request.leeway.is_none() && {
                let Usage { used, held } = tally.usage_at(&request.bucket.at(at));
                used.saturating_add(held) > request.limit
            };
            self.counters.overshoots += u64::from(is_over);
            self.counters.overdrawn += u64::from(is_over && request.counts == Counts::Credit);
        }
        Settled::of(&due, at, !due.is_empty())
    }

    /// What happens at `at` is used at once, in all buckets. It does happen: whoever lets it has asked
    /// for room before, in [`HoldLedger::check_room`] or on what was read in the same moment. So it
    /// counts however many buckets there are; those of things that are counted at once are no more
    /// than the configuration has caps. Returns them, of rolling windows with the slice.
    pub fn count(&mut self, requests: &[BucketRequest], at: Wall) -> Vec<Bucket> {
        for request in requests {
            let (bucket, _) = request.bucket.stored();
            self.buckets.entry(bucket.into_owned()).or_default().count(request, at);
        }
        Settled::of(requests, at, false).buckets
    }

    /// It has become known what the call of a hold comes to: so much more of each bucket is used, out of
    /// what the hold keeps there if it still does, and counts also if it does not. A negative amount
    /// takes back what was counted before. False if that had been said already: nothing changed.
    pub fn come_to(
        &mut self,
        hold: HoldId,
        juncture: Juncture,
        came_to: &[(Bucket, i64)],
        now: Mono,
    ) -> bool {
        self.expire(now);
        if !self.hear(hold, juncture, !came_to.is_empty()) {
            return false;
        }
        for (bucket, amount) in came_to {
            self.use_up(hold, bucket, *amount);
        }
        true
    }

    /// The same, and the call is over: nothing is held any more. False if the hold was not live.
    pub fn conclude(
        &mut self,
        hold: HoldId,
        juncture: Juncture,
        came_to: &[(Bucket, i64)],
        now: Mono,
    ) -> bool {
        self.come_to(hold, juncture, came_to, now);
        let was_live = self.release(hold);
        if let Some(ended) = self.ended.holds.get_mut(&hold) {
            ended.expired = false;
        }
        was_live
    }

    /// Whether this was said of the hold, as far back as ended ones are remembered.
    pub fn has_heard(&self, hold: HoldId, juncture: Juncture) -> bool {
        let live = self.live.get(&hold).map(|live| live.heard);
        let heard = live.or_else(|| self.ended.holds.get(&hold).map(|ended| ended.heard));
        heard.is_some_and(|heard| heard.has(juncture))
    }

    /// Whether it is news. A hold that is not known is from then on, if something `counts`.
    fn hear(&mut self, hold: HoldId, juncture: Juncture, counts: bool) -> bool {
        if let Some(live) = self.live.get_mut(&hold) {
            return live.heard.hear(juncture);
        }
        if counts && !self.ended.holds.contains_key(&hold) {
            self.remember(hold, Ended::default());
        }
        self.ended.holds.get_mut(&hold).is_some_and(|ended| ended.heard.hear(juncture))
    }

    /// So much of a bucket is used by the call of this hold, or less than was.
    fn use_up(&mut self, hold: HoldId, bucket: &Bucket, amount: i64) {
        let (stored, slice) = bucket.stored();
        let tally = self.buckets.entry(stored.clone().into_owned()).or_default();
        let (is_live, mut beyond, mut taken) = (self.live.contains_key(&hold), 0, 0);
        let requests: &mut [BucketRequest] = match self.live.get_mut(&hold) {
            Some(live) => &mut live.requests[..],
            None => self.ended.holds.get_mut(&hold).map_or(&mut [], |it| &mut it.requests[..]),
        };
        let mut of_bucket = requests.iter_mut().filter(|it| it.bucket.stored().0 == stored);
        let first = of_bucket.next();
        let ends_at = first.as_ref().and_then(|request| request.ends_at);
        let strict = first.as_ref().filter(|request| request.leeway.is_none());
        let limit = strict.map_or(u64::MAX, |request| request.limit);
        let is_owed = first.as_ref().is_some_and(|request| request.counts == Counts::Credit);
        if let Ok(used) = u64::try_from(amount) {
            for request in first.into_iter().chain(of_bucket).filter(|_| is_live) {
                let out_of_it = request.held().min(used - taken);
                tally.give_back(hold, out_of_it);
                request.amount -= out_of_it;
                taken += out_of_it;
            }
            beyond = used - taken;
        }
        tally.add(amount, slice, ends_at);
        self.counters.late_settles += u64::from(!is_live);
        self.counters.taken_back += u64::from(amount < 0);
        let Usage { used, held } = tally.usage_at(bucket);
        let is_over = beyond > 0 && used.saturating_add(held) > limit;
        self.counters.overshoots += u64::from(is_over);
        self.counters.overdrawn += u64::from(is_over && is_owed);
        if self.live.get(&hold).is_some_and(|live| live.awaited) {
            self.await_less(bucket, taken);
        }
    }

    /// Keeps room for a call that a crash left up, until its end is known or cannot come any more.
    /// It had been granted before, so no limit is asked.
    pub fn adopt(&mut self, hold: HoldId, held: Vec<BucketRequest>, until: Mono) {
        for request in &held {
            let (bucket, _) = request.bucket.stored();
            *self.awaited.entry(bucket.into_owned()).or_default() += request.held();
        }
        self.note(hold, held, until, true);
    }

    /// Notes room that was granted elsewhere, where the limits were asked. Once per hold.
    pub fn grant(&mut self, hold: HoldId, held: Vec<BucketRequest>, now: Mono) {
        if !self.live.contains_key(&hold) {
            self.expire(now);
            self.note(hold, held, now + self.limits.lease, false);
        }
    }

    fn note(&mut self, hold: HoldId, held: Vec<BucketRequest>, until: Mono, awaited: bool) {
        for request in &held {
            self.take(hold, request);
        }
        let heard = Heard::default();
        let live = Hold { requests: held, expires_at: until, awaited, talks: false, heard };
        self.live.insert(hold, live);
        self.expiries.insert((until, hold));
        self.counters.placed += 1;
    }

    /// All live holds, each with what it still holds.
    pub fn held(&self) -> impl Iterator<Item = (HoldId, &[BucketRequest])> {
        self.live.iter().map(|(hold, live)| (*hold, &live.requests[..]))
    }

    /// What a hold holds, or held until its end, as far back as ended ones are remembered.
    pub fn known_of(&self, hold: HoldId) -> &[BucketRequest] {
        let ended = || self.ended.holds.get(&hold).map(|ended| &ended.requests[..]);
        let live = self.live.get(&hold).map(|live| &live.requests[..]);
        live.or_else(ended).unwrap_or_default()
    }

    /// What a live hold still holds; nothing of one that is not live.
    pub fn held_by(&self, hold: HoldId) -> &[BucketRequest] {
        self.live.get(&hold).map(|live| &live.requests[..]).unwrap_or_default()
    }

    /// Buckets in which a live hold waits for `event`.
    pub fn waiting_for(&self, hold: HoldId, event: Counts) -> Vec<BucketRequest> {
        let requests = self.live.get(&hold).map(|live| &live.requests).into_iter().flatten();
        let counts = |request: &&BucketRequest| request.counts == event;
        requests.filter(counts).cloned().collect()
    }

    /// Gives back what is still held. False if the hold was not live: then nothing changed.
    pub fn release(&mut self, hold: HoldId) -> bool {
        let Some(Hold { requests, heard, .. }) = self.end(hold) else { return false };
        self.remember(hold, Ended { requests, expired: false, heard });
        self.counters.released += 1;
        true
    }

    /// Prolongs the hold by a lease from `now`. False if it is not live.
    pub fn renew(&mut self, hold: HoldId, now: Mono) -> bool {
        self.expire(now);
        let Some(live) = self.live.get_mut(&hold) else { return false };
        let expires_at = now + self.limits.lease;
        self.expiries.remove(&(live.expires_at, hold));
        self.expiries.insert((expires_at, hold));
        live.expires_at = expires_at;
        true
    }

    /// For so long nobody could renew anything: all holds last longer by that. Not those for calls that a
    /// crash left up, which are not renewed.
    pub fn prolong(&mut self, by: Duration) {
        for (hold, live) in self.live.iter_mut().filter(|(_, live)| !live.awaited) {
            self.expiries.remove(&(live.expires_at, *hold));
            live.expires_at = live.expires_at + by;
            self.expiries.insert((live.expires_at, *hold));
        }
    }

    /// Gives back what is held by holds whose lease is over; says how many there were. Every
    /// other method that is given the time does this first.
    pub fn expire(&mut self, now: Mono) -> usize {
        let mut expired = 0;
        while let Some(&(expires_at, hold)) = self.expiries.first() {
            if now < expires_at {
                break;
            }
            if let Some(Hold { requests, heard, .. }) = self.end(hold) {
                self.remember(hold, Ended { requests, expired: true, heard });
            }
            self.counters.expired += 1;
            expired += 1;
        }
        expired
    }

    /// When [`HoldLedger::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Mono> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Buckets at most from now on; those that are more stay.
    pub fn limit_buckets(&mut self, most: usize) {
        self.limits.buckets_max = most;
    }

    /// Sees to so many buckets behind this one, or from the first: forgets windows that have been over
    /// for [`KEPT_AFTER_END`] and in which nothing is held any more, as until then a clock that was ahead
    /// may be set back; and notes what is held though no hold is live. Returns the last it has seen to,
    /// if there are more behind it: there may be a million, and calls wait meanwhile.
    pub fn tend(&mut self, after: Option<&Bucket>, most: usize, now: Wall) -> Option<Bucket> {
        if after.is_none() {
            self.resets.forget(now);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut seen, mut last, mut over) = (0, None, vec![]);
        let is_idle = self.live.is_empty();
        for (bucket, tally) in self.buckets.range((from, Bound::Unbounded)).take(most) {
            (seen, last) = (seen + 1, Some(bucket));
            if tally.is_over(now) {
                over.push(bucket.clone());
            }
            if is_idle {
                let Usage { used, held } = tally.usage(bucket);
                let is_taken = held > 0 || bucket.window == LIVE && used > 0;
                self.counters.leaked += u64::from(is_taken);
            }
        }
        let last = last.filter(|_| seen == most).cloned();
        for bucket in &over {
            self.buckets.remove(bucket);
        }
        last
    }

    /// Sets what a bucket had used before this process started. Never lowers it. Of a rolling window
    /// it is what one slice had, and of spacing when one attempt was.
    pub fn restore(&mut self, bucket: Bucket, used: u64, ends_at: Option<Wall>) {
        if let Some(at) = bucket.window.strip_prefix(GAP).and_then(|rest| rest.strip_prefix('/')) {
            let at = at.parse().unwrap_or(0);
            let bucket = Bucket { window: SmolStr::new_static(GAP), ..bucket };
            return self.restore(bucket, at, ends_at);
        }
        let (stored, slice) = bucket.stored();
        let tally = self.buckets.entry(stored.into_owned()).or_default();
        tally.restore(used, slice, ends_at);
    }

    /// A cap begins anew: of what this process has used only what goes beyond its parts of the reset
    /// counts. Twice is once.
    pub fn reset(&mut self, reset: &Reset) {
        for part in reset.parts.iter().filter(|part| part.node.is_none()) {
            let tally = self.buckets.entry(reset.bucket.clone()).or_default();
            tally.reset(part.slice, part.level);
            tally.ends_at = tally.ends_at.max(reset.ends_at);
        }
        self.resets.note(reset);
    }

    /// The parts of a reset that is made now: all that this process has used of the bucket.
    pub fn parts(&self, bucket: &Bucket) -> Vec<ResetPart> {
        let stored = bucket.stored().0;
        let Some(tally) = self.buckets.get(stored.as_ref()) else { return vec![] };
        let parts = tally.parts(&stored).into_iter();
        let part = |(part, level, _): (Bucket, u64, _)| {
            let slice = part.stored().1.map(|(_, slice)| slice);
            ResetPart { node: None, slice, level }
        };
        parts.map(part).collect()
    }

    /// Caps that began anew in windows that may be current.
    pub fn resets(&self) -> &Resets {
        &self.resets
    }

    /// What has been used, as [`HoldLedger::restore`] takes it: of rolling windows slice by slice. Not
    /// what only live calls use, but what resets have made count no more.
    pub fn used(&self) -> Vec<(Bucket, u64, Option<Wall>)> {
        let mut used = vec![];
        for (bucket, tally) in self.buckets.iter().filter(|(bucket, _)| bucket.window != LIVE) {
            used.extend(tally.parts(bucket));
        }
        used
    }

    /// Live holds.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Those of them for calls that a crash left up.
    pub fn awaited(&self) -> usize {
        self.live.values().filter(|live| live.awaited).count()
    }

    /// What of that which a bucket holds is held for calls that a crash left up.
    pub fn awaited_in(&self, bucket: &Bucket) -> u64 {
        self.awaited.get(bucket.stored().0.as_ref()).copied().unwrap_or(0)
    }

    pub fn counters(&self) -> LedgerCounters {
        self.counters
    }

    /// Every bucket that is known.
    pub fn readings(&self) -> impl Iterator<Item = BucketReading> {
        self.buckets.iter().map(|(bucket, tally)| BucketReading {
            bucket: bucket.clone(),
            usage: tally.usage(bucket),
            awaited: self.awaited_in(bucket),
            ends_at: tally.ends_at,
        })
    }

    /// Whether all buckets have room now.
    ///
    /// # Errors
    /// The first that has none.
    pub fn check_room(&mut self, requests: &[BucketRequest]) -> Result<(), Denied> {
        self.has_room(requests).inspect_err(|_| self.counters.denied += 1)
    }

    /// The same for the sake of an answer.
    ///
    /// # Errors
    /// As [`HoldLedger::check_room`].
    pub fn has_room(&self, requests: &[BucketRequest]) -> Result<(), Denied> {
        for request in requests {
            let usage = self.usage(&request.bucket);
            let asked: u64 = requests
                .iter()
                .filter(|other| other.bucket == request.bucket)
                .map(|other| other.amount)
                .sum();
            if !request.admits(usage, asked) {
                return Err(Denied {
                    bucket: request.bucket.clone(),
                    counts: request.counts,
                    used: usage.used,
                    held: usage.held,
                    limit: request.limit,
                });
            }
        }
        Ok(())
    }

    /// Whether a hold on these would be more than there is memory for.
    fn is_full(&self, requests: &[BucketRequest]) -> bool {
        let is_new =
            |it: &&BucketRequest| !self.buckets.contains_key(it.bucket.stored().0.as_ref());
        let room = self.limits.buckets_max.saturating_sub(self.buckets.len());
        self.live.len() >= self.limits.holds_max
            || requests.len() > room && requests.iter().filter(is_new).count() > room
    }

    fn take(&mut self, hold: HoldId, request: &BucketRequest) {
        let (bucket, slice) = request.bucket.stored();
        let tally = self.buckets.entry(bucket.into_owned()).or_default();
        tally.take(hold, request, slice);
    }

    /// The call of a live hold was answered: what counts from then on is used, until it is over.
    fn talk(&mut self, hold: HoldId) {
        let Some(live) = self.live.get_mut(&hold).filter(|live| !live.talks) else { return };
        live.talks = true;
        for request in live.requests.iter().filter(|it| it.counts == Counts::Talking) {
            if let Some(tally) = self.buckets.get_mut(&request.bucket) {
                tally.give_back(hold, request.amount);
                tally.add(signed(request.amount), None, None);
            }
        }
    }

    /// Removes a live hold and what it holds.
    fn end(&mut self, hold: HoldId) -> Option<Hold> {
        let ended = self.live.remove(&hold)?;
        self.expiries.remove(&(ended.expires_at, hold));
        for request in &ended.requests {
            let (bucket, _) = request.bucket.stored();
            if let Some(tally) = self.buckets.get_mut(bucket.as_ref()) {
                if request.counts == Counts::Talking && ended.talks {
                    tally.add(-signed(request.amount), None, None);
                } else {
                    tally.give_back(hold, request.held());
                }
                if tally.is_idle() {
                    self.buckets.remove(bucket.as_ref());
                }
            }
        }
        if ended.awaited {
            for request in &ended.requests {
                self.await_less(&request.bucket, request.held());
            }
        }
        Some(ended)
    }

    /// So much that was held for a call that a crash left up is held no more.
    fn await_less(&mut self, bucket: &Bucket, amount: u64) {
        let (bucket, _) = bucket.stored();
        if let Some(awaited) = self.awaited.get_mut(bucket.as_ref()) {
            *awaited = awaited.saturating_sub(amount);
            if *awaited == 0 {
                self.awaited.remove(bucket.as_ref());
            }
        }
    }

    fn remember(&mut self, hold: HoldId, mut ended: Ended) {
        ended.requests.retain(|request| !request.counts.is_concurrency());
        self.ended.holds.insert(hold, ended);
        self.ended.order.push_back(hold);
        while self.ended.order.len() > self.limits.remembered_max {
            if let Some(oldest) = self.ended.order.pop_front() {
                self.ended.holds.remove(&oldest);
            }
        }
    }
}

impl UsageReader for HoldLedger {
    fn usage(&self, bucket: &Bucket) -> Usage {
        let (stored, _) = bucket.stored();
        let tally = self.buckets.get(stored.as_ref());
        tally.map(|tally| tally.usage_at(bucket)).unwrap_or_default()
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        self.awaited_in(bucket)
    }

    fn latest_reset(&self, bucket: &Bucket) -> Option<Reset> {
        self.resets.of(bucket).cloned()
    }
}

impl Settled {
    fn of(requests: &[BucketRequest], at: Wall, late: bool) -> Self {
        let bucket = |request: &BucketRequest| match request.counts {
            Counts::Spacing => {
                let window = format_smolstr!("{GAP}/{}", request.amount);
                Bucket { cap: request.bucket.cap.clone(), window }
            }
            Counts::Live
            | Counts::Talking
            | Counts::Attempted
            | Counts::Connected
            | Counts::Converted
            | Counts::Revenue
            | Counts::Payout
            | Counts::Talk
            | Counts::Offered
            | Counts::Pinged
            | Counts::Credit => request.bucket.at(at),
        };
        Self { buckets: requests.iter().map(bucket).collect(), late }
    }
}

/// Takes out the requests that `event` settles for good.
fn take_counting(requests: &mut Vec<BucketRequest>, event: Counts) -> Vec<BucketRequest> {
    let is_due =
        |request: &BucketRequest| request.counts != Counts::Talking && request.is_due(event);
    let (due, rest) = std::mem::take(requests).into_iter().partition(is_due);
    *requests = rest;
    due
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
