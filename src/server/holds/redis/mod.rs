//! Holds in Redis (spec/data §1.7): a server, or the servers of a cluster, and their replicas.
//!
//! Owns: the keys ([`keys`]) and the scripts beside this file. Does not own: the way to the server
//! (see [`redis`](crate::server::redis)), when the store is asked, and what is done without it (see
//! [`holds`](super)).
//!
//! Invariants: every script touches keys of one slot, and runs only where all of them are; time is the
//! server's; nothing is placed before all nodes have told a server that is new to them what they know
//! (see `announce.lua`, `join.lua`).

mod deposits;
mod keys;
mod others;
mod ready;
mod resets;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::{Value, from_redis_value};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::id::HoldId;
use crate::routing::Usage;
use crate::routing::config::{Period, Step};
use crate::routing::hold::{Bucket, BucketRequest, Counts, Denied, GAP, Leeway, Reset, ResetPart};
use crate::server::redis::{Address, Link, LinkSettings, LinkTls, Live, StoreFault, fault, unread};
use crate::time::Wall;

use super::store::{Change, Counted, Granted, HoldStore, NotGranted, Told};

use keys::hold_name;
use scripts::Script;

pub use deposits::{Claim, Deposit};
pub use keys::KeySpace;
pub use others::{Changed, OthersPart, OthersUse};
pub use resets::KnownResets;

/// How long a window's bucket outlives it, milliseconds.
const AFTER_WINDOW_MS: i64 = 48 * 3_600_000;
/// Leases renewed by one script.
const RENEWED_AT_ONCE: usize = 500;
/// Buckets told by one script.
const RESTORED_AT_ONCE: usize = 200;
/// Holds and buckets that are taken over by one script.
const TAKEN_OVER_AT_ONCE: usize = 4_000;
/// So many times longer than other scripts may it take, which no call waits for.
const TAKING_OVER: u32 = 10;

/// Holds of an account, as one node sees them.
pub struct RedisStore {
    keys: KeySpace,
    settings: RedisStoreSettings,
    link: Link,
    live: ArcSwapOption<Live<Script>>,
    /// What was told was told behind this one: a server that was emptied has another.
    gate: ArcSwapOption<String>,
    /// Nodes that lived when the server was last asked.
    living: ArcSwap<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct RedisStoreSettings {
    pub link: LinkSettings,
    /// Whose holds they are; in the name of every key.
    pub account: SmolStr,
    /// This node; of all that share the store only this one is called so.
    pub node: SmolStr,
    /// This process. The next one of the node has another.
    pub process: SmolStr,
    /// For what a call waits for.
    pub call_timeout: Duration,
    /// For what none does.
    pub timeout: Duration,
    /// How long a replica may take to have a hold on money.
    pub replica_timeout: Duration,
    /// How long the nodes have to find out that the server has forgotten everything.
    pub open_after: Duration,
    /// What a hold has of caps is kept for so long when its lease is over: its call may come to it yet. Places
    /// among live calls are not. Zero: it is not kept either.
    pub call_max: Duration,
    /// An answer that a call waits for is slow when it takes longer.
    pub slow: Duration,
}

/// How much a node has used of a bucket, by its own book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of a rolling window one slice; of spacing the instant is `used`.
    pub bucket: Bucket,
    pub used: u64,
    pub ends_at: Option<Wall>,
}

/// What became of it that a process took over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Buckets of which the store knew less use.
    pub raised: u64,
    /// Buckets that are over their limit by what is held for calls that were left up.
    pub overshoots: u32,
    /// Those of them that are a buyer's credit.
    pub overdrawn: u32,
}

impl RedisStore {
    /// Nothing is connected yet.
    pub fn new(settings: RedisStoreSettings) -> Self {
        let keys = KeySpace::new(&settings.account);
        let link = Link::new(settings.link.clone());
        let (live, gate) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Self { keys, link, settings, live, gate, living: ArcSwap::default() }
    }

    /// Finds the server anew.
    ///
    /// # Errors
    /// None was found, or it did not answer. What was connected is no more.
    pub async fn connect(&self) -> Result<Address, StoreFault> {
        self.live.store(None);
        self.gate.store(None);
        let live = self.link.connect(self.keys.slot()).await?;
        let address = live.address.clone();
        self.live.store(Some(Arc::new(live)));
        Ok(address)
    }

    /// How servers are known from now on, and what they are shown; what is connected stays.
    pub fn secure(&self, tls: Option<LinkTls>) {
        self.link.secure(tls);
    }

    /// Uses nothing until it is connected again.
    pub fn disconnect(&self) {
        self.live.store(None);
    }

    /// Whether the server that is connected is still the one to ask, by those who can be asked.
    ///
    /// # Errors
    /// Nobody can be asked, or the server itself does not answer.
    pub async fn is_current(&self) -> Result<bool, StoreFault> {
        let live = self.live()?;
        live.count_replicas(self.settings.timeout).await?;
        Ok(self.link.find(self.keys.slot()).await? == live.address)
    }

    /// Tells the server what this node has used, where it knows less.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn restore(&self, known: &[Known]) -> Result<u64, StoreFault> {
        let mut raised = 0;
        for some in known.chunks(RESTORED_AT_ONCE) {
            let first = some.first().map(|it| self.keys.bucket(&it.bucket));
            let mut arguments = vec![self.settings.node.to_string()];
            some.iter().for_each(|known| self.known(known, &mut arguments));
            let keys: Vec<_> = first.into_iter().collect();
            raised += self.upkeep::<u64>(Script::Restore, &keys, &arguments).await?;
        }
        Ok(raised)
    }

    /// This process is the node from now on: `held` is what it holds for calls that a former one left up,
    /// all else those held is given back, and `used` is what they had used. At once, but for a node that
    /// knows of very much: then room is given back last.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn take_over(
        &self,
        held: &[(HoldId, Vec<BucketRequest>)],
        used: &[Known],
        lease: Duration,
    ) -> Result<TakenOver, StoreFault> {
        let (mut held, mut used, mut raised) = (held, used, 0);
        if held.len() + used.len() > TAKEN_OVER_AT_ONCE {
            raised = self.restore(used).await?;
            for some in held.chunks(RESTORED_AT_ONCE) {
                let keep = |(hold, requests): &(HoldId, Vec<BucketRequest>)| Change::Keep {
                    hold: *hold,
                    requests: requests.clone(),
                };
                let changes: Vec<_> = some.iter().map(keep).collect();
                self.tell(&changes, lease).await?;
            }
            (held, used) = (&[], &[]);
        }
        let Self { keys, settings, .. } = self;
        let mut arguments =
            vec![keys.holds(), settings.node.to_string(), settings.process.to_string(), ms(lease)];
        arguments.push(held.len().to_string());
        for (hold, requests) in held {
            arguments.push(hold_name(*hold).to_string());
            self.entries(requests, &mut arguments);
        }
        used.iter().for_each(|known| self.known(known, &mut arguments));
        let (live, limit) = (self.live()?, settings.timeout * TAKING_OVER);
        let value =
            self.run(&live, Script::TakeOver, &[keys.leases()], &arguments, limit, None).await?;
        let (buckets, overshoots, overdrawn): (u64, u32, u32) =
            from_redis_value(value).map_err(|error| fault(&error.into()))?;
        raised += buckets;
        Ok(TakenOver { raised, overshoots, overdrawn })
    }

    /// This node is there: nobody opens the store without what it knows, nor without what those know that
    /// lived when it was last seen to be open, for a lease at most. Returns the gate it is to tell that
    /// behind, unless it has told this one.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn announce(&self, lease: Duration) -> Result<SmolStr, StoreFault> {
        let run = self.live()?.run.clone();
        let Self { keys, settings, .. } = self;
        let mut arguments = vec![
            settings.node.to_string(),
            settings.process.to_string(),
            run.to_string(),
            ms(lease),
            ms(settings.call_max),
        ];
        arguments.extend(self.living.load().iter().cloned());
        let keys = [keys.gate(), keys.nodes(), keys.joined(), keys.processes()];
        let since: String = self.upkeep(Script::Announce, &keys, &arguments).await?;
        let gate = format_smolstr!("{run}/{since}");
        self.gate.store(Some(Arc::new(gate.to_string())));
        Ok(gate)
    }

    /// Everything this node knows has been told since it was announced. Returns whether caps are open:
    /// all nodes have.
    ///
    /// # Errors
    /// The store could not be told, did not answer, or was emptied meanwhile.
    pub async fn join(&self, lease: Duration) -> Result<bool, StoreFault> {
        let Self { keys, settings, .. } = self;
        let arguments =
            [settings.node.to_string(), self.gate()?, ms(lease), ms(settings.open_after)];
        let keys = [keys.gate(), keys.nodes(), keys.joined()];
        match self.upkeep::<i64>(Script::Join, &keys, &arguments).await? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StoreFault::NotOpen),
        }
    }

    /// Sees whether the server still knows what it was told, and who lives.
    ///
    /// # Errors
    /// It does not ([`StoreFault::NotOpen`]), or did not answer.
    pub async fn still_knows(&self) -> Result<(), StoreFault> {
        let (keys, arguments) = ([self.keys.gate(), self.keys.nodes()], [self.gate()?]);
        let told: Vec<String> = self.upkeep(Script::Gate, &keys, &arguments).await?;
        let [_is_open, living @ ..] = &told[..] else { return Err(StoreFault::NotOpen) };
        self.living.store(Arc::new(living.to_vec()));
        Ok(())
    }

    /// How many nodes, this one among them, lived when the server was last asked.
    pub fn nodes(&self) -> u64 {
        u64::try_from(self.living.load().len()).unwrap_or(u64::MAX).max(1)
    }

    /// How long the nodes have to find out that the server has forgotten everything.
    pub fn open_after(&self) -> Duration {
        self.settings.open_after
    }

    /// See [`RedisStoreSettings::slow`].
    pub fn slow(&self) -> Duration {
        self.settings.slow
    }

    /// Nobody need wait for this node any more.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn leave(&self) -> Result<(), StoreFault> {
        let Self { keys, settings, .. } = self;
        let arguments = [settings.node.to_string(), settings.process.to_string()];
        let keys = [keys.nodes(), keys.joined(), keys.processes()];
        self.upkeep::<i64>(Script::Leave, &keys, &arguments).await.map(drop)
    }

    fn live(&self) -> Result<Arc<Live<Script>>, StoreFault> {
        self.live.load_full().ok_or_else(not_connected)
    }

    fn gate(&self) -> Result<String, StoreFault> {
        self.gate.load().as_ref().map(|gate| gate.to_string()).ok_or_else(not_connected)
    }

    async fn upkeep<T: redis::FromRedisValue>(
        &self,
        script: Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreFault> {
        let live = self.live()?;
        let timeout = self.settings.timeout;
        let value = self.run(&live, script, keys, arguments, timeout, None).await?;
        from_redis_value(value).map_err(|error| fault(&error.into()))
    }

    async fn run(
        &self,
        live: &Live<Script>,
        script: Script,
        keys: &[String],
        arguments: &[String],
        limit: Duration,
        wait: Option<Duration>,
    ) -> Result<Value, StoreFault> {
        let mut lane = if script == Script::Reserve { live.lane() } else { live.upkeep() };
        live.run(&mut lane, script, (keys, self.keys.nowhere()), arguments, limit, wait).await
    }

    /// See `restore.lua`.
    fn known(&self, known: &Known, arguments: &mut Vec<String>) {
        let Known { bucket, used, ends_at } = known;
        arguments.push(self.keys.bucket(bucket));
        arguments.push(match bucket.stored().1 {
            Some((_, slice)) => slice.to_string(),
            None if bucket.window == GAP => String::from("g"),
            None => String::from("u"),
        });
        arguments.push(used.to_string());
        let unknown = || -forgotten_after_ms(&bucket.window);
        arguments.push(ends_at.map_or_else(unknown, expires_ms).to_string());
    }

    fn entries(&self, requests: &[BucketRequest], arguments: &mut Vec<String>) {
        arguments.push(requests.len().to_string());
        for request in requests {
            self.entry(&Counted::all_of(request), Some(request), arguments);
        }
    }

    /// See `common.lua`.
    fn entry(
        &self,
        counted: &Counted,
        request: Option<&BucketRequest>,
        arguments: &mut Vec<String>,
    ) {
        let Counted { bucket, counts, amount, limit, ends_at } = counted;
        let held = request.map_or(0, BucketRequest::held);
        let limit = request.map(|it| it.limit).or(*limit);
        let (mode, pace) = match request.and_then(|it| it.leeway) {
            None => (0, None),
            Some(Leeway::Soft) => (1, None),
            Some(Leeway::Paced(pace)) => (2, Some(pace)),
        };
        let pace = pace.map_or([0, 0, 0], |it| [it.by_now, it.rate_ppm.into(), it.z_milli.into()]);
        let rolling = bucket.stored().1;
        let slices = rolling.map(|(rolling, slice)| [slice, rolling.first_slice(slice)]);
        // What is used in a slice counts for longer than the window of whoever asked.
        let forgotten = rolling.map(|(rolling, slice)| rolling.forgets_at(slice));
        let ends_at = (*ends_at).max(forgotten);
        arguments.extend([
            self.keys.bucket(bucket),
            (*counts as u8).to_string(),
            amount.to_string(),
            held.to_string(),
            limit.map_or_else(|| String::from("-1"), |limit| limit.to_string()),
            ends_at.map_or(0, expires_ms).to_string(),
            mode.to_string(),
        ]);
        arguments.extend(pace.map(|it| it.to_string()));
        arguments.extend(slices.unwrap_or([-1, -1]).map(|it| it.to_string()));
    }

    fn write(&self, change: &Change, arguments: &mut Vec<String>) {
        let name = |hold: &HoldId| hold_name(*hold).to_string();
        match change {
            Change::Count { hold, cause, counted } => {
                arguments.extend(["C".into(), name(hold), cause.to_string()]);
                arguments.push(counted.len().to_string());
                counted.iter().for_each(|it| self.entry(it, None, arguments));
            }
            Change::Release { hold } => arguments.extend(["R".into(), name(hold)]),
            Change::Keep { hold, requests } => {
                arguments.extend(["K".into(), name(hold)]);
                self.entries(requests, arguments);
            }
        }
    }
}

impl HoldStore for RedisStore {
    async fn reserve(
        &self,
        hold: HoldId,
        requests: &[BucketRequest],
        lease: Duration,
    ) -> Result<Granted, NotGranted> {
        let live = self.live()?;
        let mut keys = vec![self.keys.leases(), self.keys.gate(), self.keys.hold(hold)];
        keys.extend(requests.iter().map(|it| self.keys.bucket(&it.bucket)));
        let mut arguments =
            vec![hold_name(hold).to_string(), self.keys.holds(), self.gate()?, ms(lease)];
        arguments.push(format!("{}/{}", self.settings.node, self.settings.process));
        self.entries(requests, &mut arguments);
        let is_money = requests.iter().any(|it| it.counts.is_money());
        let has_replica = live.replicas.load(Ordering::Relaxed) > 0;
        let wait = (is_money && has_replica).then_some(self.settings.replica_timeout);
        let limit = self.settings.call_timeout + wait.unwrap_or_default();
        let value = self.run(&live, Script::Reserve, &keys, &arguments, limit, wait).await?;
        let told: Vec<i64> = from_redis_value(value).map_err(|error| fault(&error.into()))?;
        let seen = |from: usize| {
            let usages = told.get(from..).unwrap_or_default();
            let usages = usages.chunks_exact(2).map(|pair| usage(pair[0], pair[1]));
            requests.iter().map(|it| it.bucket.clone()).zip(usages).collect::<Vec<_>>()
        };
        match (told.first(), told.get(1)) {
            (Some(code @ (1 | 2)), _) => Ok(Granted { repeated: *code == 2, seen: seen(2) }),
            (Some(0), Some(place)) => {
                let place = usize::try_from(*place).unwrap_or(0).saturating_sub(1);
                let seen = seen(2);
                let first = requests.get(place).zip(seen.get(place));
                let Some((request, (bucket, usage))) = first else { return Err(unread().into()) };
                let denied = Denied {
                    bucket: bucket.clone(),
                    counts: request.counts,
                    used: usage.used,
                    held: usage.held,
                    limit: request.limit,
                };
                Err(NotGranted::Full { denied, seen })
            }
            (Some(3), _) => Err(NotGranted::Ended),
            (Some(4), _) => Err(NotGranted::NotOpen),
            (Some(_) | None, _) => Err(unread().into()),
        }
    }

    async fn tell(&self, changes: &[Change], lease: Duration) -> Result<Vec<Told>, StoreFault> {
        if changes.is_empty() {
            return Ok(vec![]);
        }
        let RedisStoreSettings { node, process, .. } = &self.settings;
        let mut arguments =
            vec![self.keys.holds(), node.to_string(), ms(lease), process.to_string()];
        for change in changes {
            self.write(change, &mut arguments);
        }
        let keys = [self.keys.leases()];
        let told: Vec<Vec<i64>> = self.upkeep(Script::Change, &keys, &arguments).await?;
        if told.len() != changes.len() {
            return Err(unread());
        }
        Ok(changes.iter().zip(told).map(|(change, told)| read_told(change, &told)).collect())
    }

    async fn renew(&self, holds: &[HoldId], lease: Duration) -> Result<Vec<HoldId>, StoreFault> {
        let Self { keys, settings, .. } = self;
        let keys = [keys.leases(), keys.nodes(), keys.processes()];
        let mut lost = Vec::new();
        // A node without holds is alive as well.
        let batches = holds.chunks(RENEWED_AT_ONCE).chain(holds.is_empty().then_some(holds));
        for some in batches {
            let mut arguments = vec![
                self.keys.holds(),
                settings.node.to_string(),
                settings.process.to_string(),
                ms(lease),
            ];
            arguments.extend(some.iter().map(|hold| hold_name(*hold).to_string()));
            let told: Vec<i64> = self.upkeep(Script::Renew, &keys, &arguments).await?;
            let [is_other, places @ ..] = &told[..] else { return Err(unread()) };
            if *is_other == 1 {
                tracing::error!(
                    node.id = %settings.node,
                    "another process is this node: give each server that shares a store its own node.id"
                );
            }
            let places = places.iter().filter_map(|place| usize::try_from(*place).ok());
            lost.extend(places.filter_map(|place| some.get(place.checked_sub(1)?).copied()));
        }
        Ok(lost)
    }

    async fn parts(&self, bucket: &Bucket) -> Result<Vec<ResetPart>, StoreFault> {
        self.parts_of(bucket).await
    }

    async fn reset(&self, reset: &Reset) -> Result<(), StoreFault> {
        self.begin_anew(reset).await
    }

    async fn usage(&self, buckets: &[(Bucket, Counts)]) -> Result<Vec<Usage>, StoreFault> {
        let mut arguments = vec![self.keys.holds()];
        for (bucket, counts) in buckets {
            let first = bucket.stored().1.map(|(rolling, slice)| rolling.first_slice(slice));
            arguments.push(self.keys.bucket(bucket));
            arguments.push((*counts as u8).to_string());
            arguments.push(first.unwrap_or(-1).to_string());
        }
        let told: Vec<i64> = self.upkeep(Script::Look, &[self.keys.leases()], &arguments).await?;
        Ok(told.chunks_exact(2).map(|pair| usage(pair[0], pair[1])).collect())
    }
}

fn read_told(change: &Change, told: &[i64]) -> Told {
    let buckets: Vec<_> = match change {
        Change::Count { counted, .. } => counted.iter().map(|it| it.bucket.clone()).collect(),
        Change::Keep { requests, .. } => requests.iter().map(|it| it.bucket.clone()).collect(),
        Change::Release { .. } => vec![],
    };
    let usages = told.get(4..).unwrap_or_default().chunks_exact(2);
    let count = |place: usize| told.get(place).and_then(|it| u32::try_from(*it).ok()).unwrap_or(0);
    Told {
        done: told.first() == Some(&1),
        late: told.get(1) == Some(&1) && !change.counts_at_once(),
        overshoots: count(2),
        overdrawn: count(3),
        seen: buckets.into_iter().zip(usages.map(|pair| usage(pair[0], pair[1]))).collect(),
    }
}

fn usage(used: i64, held: i64) -> Usage {
    let whole = |amount| u64::try_from(amount).unwrap_or(0);
    Usage { used: whole(used), held: whole(held) }
}

fn not_connected() -> StoreFault {
    StoreFault::Away(String::from("not connected"))
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_smolstr().to_string()
}

fn expires_ms(ends_at: Wall) -> i64 {
    ends_at.0.saturating_add(AFTER_WINDOW_MS)
}

/// After how long a window is over for sure, by its name, of which the book does not say when it
/// ends. Zero: never.
fn forgotten_after_ms(window: &str) -> i64 {
    let (kind, rest) = window.split_once(':').unwrap_or_default();
    let days = match kind {
        "i" | "h" => 3,
        "d" => 5,
        "w" => 12,
        "m" => 35,
        "y" => 370,
        "e" => {
            let step = rest.split_once('/').and_then(|(step, _)| Step::read(step));
            step.map_or(0, |step| step.seconds() / 86_400 + 4)
        }
        "p" => Period::read_span(rest).map_or(0, |period| {
            period.from.date().until(period.to.date()).map_or(0, |it| i64::from(it.get_days()) + 4)
        }),
        _ => 0,
    };
    days * 86_400_000
}

#[cfg(test)]
mod tests {
    use super::super::store::Cause;
    use super::*;
    use crate::id::CallId;

    #[test]
    fn a_window_of_which_nobody_knows_the_end_is_forgotten_when_it_is_over_for_sure() {
        for (window, days) in [
            ("total", 0),
            ("gap", 0),
            ("rolling:3600/29562664", 0),
            ("h:2026-11-22T01-05:00", 3),
            ("e:12h/2026-11-22T12:00", 4),
            ("e:14d/2026-01-05", 18),
            ("p:2026-11-23/2027-01-04T18:00", 46),
        ] {
            assert_eq!(forgotten_after_ms(window), days * 86_400_000, "{window}");
        }
    }

    #[test]
    fn only_what_had_been_held_can_be_settled_late() {
        for (event, is_late) in
            [(Counts::Connected, true), (Counts::Offered, false), (Counts::Pinged, false)]
        {
            let (hold, cause) =
                (HoldId::of(CallId::from_bytes([7; 16]), 1, "a"), Cause::Event(event));
            let told = read_told(&Change::Count { hold, cause, counted: vec![] }, &[1, 1, 0, 0]);
            assert_eq!((told.done, told.late), (true, is_late), "{event:?}");
        }
    }
}
