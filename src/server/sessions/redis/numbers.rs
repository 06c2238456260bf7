//! Numbers of pools in Redis, as the scripts have them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::Value;
use smol_str::{SmolStr, format_smolstr};

use crate::id::{CallId, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::ping::NumberState;
use crate::routing::pool::{AFTER_CALL, AskedHour, HISTORY_MAX, Lease, PastLease};
use crate::routing::request::FormerLease;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::server::redis::{StoreFault, unread};
use crate::time::Wall;

use super::scripts::Script;
use super::servers::{Asked, For};
use super::{RedisSessions, TimeOfNumbers, all_done, ms, read};

/// Numbers that one script is told of.
pub(super) const STOCKED_AT_ONCE: usize = 500;

/// What became of a lease that a node had to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The pool does not have the number.
    Unknown,
    Done,
    /// Another session had the number, and has lost it.
    Won,
    /// Another session has the number.
    Lost,
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub free: usize,
    pub lent: usize,
    /// For a node that cannot ask.
    pub apart: usize,
    pub resting: usize,
}

/// Who has a number, and who had it.
#[derive(Debug, Default)]
pub(super) struct NumberRead {
    pub(super) holder: Option<SessionId>,
    /// Until when, but for the calls that are on it.
    ends: Option<Wall>,
    /// The newest last.
    pub(super) past: Vec<PastLease>,
}

impl NumberRead {
    /// How the session's lease ended, if that is remembered.
    pub(super) fn ended(&self, session: SessionId) -> Option<FormerLease> {
        let its = self.past.iter().rev().find(|past| past.session == session);
        its.map(|past| past.ended)
    }

    /// Of the fields of a number.
    pub(super) fn of(fields: &BTreeMap<String, String>, rests: Duration, now: Wall) -> Self {
        let (latest, mut past) = leases(fields, rests);
        let mut holder = None;
        if let Some((lease, ends)) = latest {
            if now < lease.ended.ended_at {
                holder = Some((lease.session, ends));
            } else {
                // Nobody has looked since.
                past.push(lease);
                past.drain(..past.len().saturating_sub(HISTORY_MAX));
            }
        }
        let (holder, ends) = holder.unzip();
        Self { holder, ends, past }
    }

    /// Who had it at an instant that is over, and who had had it then; `None`: it was lent too often since.
    pub(super) fn then(
        fields: &BTreeMap<String, String>,
        rests: Duration,
        at: Wall,
    ) -> Option<Self> {
        let (latest, mut past) = leases(fields, rests);
        let may_lack_some = past.len() >= HISTORY_MAX;
        past.extend(latest.map(|(lease, _)| lease));
        if may_lack_some && past.iter().all(|it| at < it.began_at) {
            return None;
        }
        let had = past.iter().filter(|it| it.began_at <= at && at < it.ended.ended_at);
        let holder = had.max_by_key(|it| it.began_at).map(|it| it.session);
        past.retain(|it| it.ended.ended_at <= at);
        past.sort_by_key(|it| it.ended.ended_at);
        Some(Self { holder, ends: None, past })
    }
}

/// The lease that a number has, as if it ended with the calls that are on it, and until when it has it but for
/// these; and those of before, in the order in which they ended.
fn leases(
    fields: &BTreeMap<String, String>,
    rests: Duration,
) -> (Option<(PastLease, Wall)>, Vec<PastLease>) {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let at = |name: &str| field(name).parse().ok().map(Wall);
    let mut past: Vec<_> = field("past").split_terminator(';').filter_map(read_past).collect();
    // A node may tell late of one that it had lent.
    past.sort_by_key(|it| it.ended.ended_at);
    let calls = fields.iter().filter(|(name, _)| name.starts_with("p:"));
    let pinned = calls.filter_map(|(_, until)| until.parse().ok().map(Wall)).max();
    let lent = session_of(field("sid")).zip(at("began")).zip(at("exp"));
    let latest = lent.filter(|_| field("st") == "L").map(|((session, began_at), ends)| {
        let ended_at = pinned.map_or(ends, |until| until.max(ends));
        let ended = FormerLease { ended_at, rests_until: ended_at + rests };
        (PastLease { session, began_at, ended }, ends)
    });
    (latest, past)
}

/// `SESSION,BEGAN,ENDED,RESTS UNTIL`, instants in milliseconds.
fn read_past(text: &str) -> Option<PastLease> {
    let mut fields = text.split(',');
    let session = session_of(fields.next()?)?;
    let mut at = || fields.next()?.parse().ok().map(Wall);
    let (began_at, ended_at, rests_until) = (at()?, at()?, at()?);
    Some(PastLease { session, began_at, ended: FormerLease { ended_at, rests_until } })
}

/// `HOUR,ASKED,MISSED,TAKEN,ENDED,HELD MS,WANTED;…`, the newest first. The fewest that were free are counted where
/// they are lent.
fn written(hours: &[AskedHour]) -> String {
    let mut hours = hours.to_vec();
    hours.sort_unstable_by_key(|hour| Reverse(hour.hour));
    let mut text = String::new();
    for AskedHour { hour, asked, missed, taken, min_free: _, ended, held_ms, wanted } in hours {
        text += &format!("{hour},{asked},{missed},{taken},{ended},{held_ms},{wanted};");
    }
    text
}

fn read_hours(text: &str) -> Vec<AskedHour> {
    text.split_terminator(';').filter_map(read_hour).collect()
}

fn read_hour(text: &str) -> Option<AskedHour> {
    let (hour, counts) = text.split_once(',')?;
    let mut counts = counts.split(',').map(str::parse);
    let mut count = || counts.next()?.ok();
    let (asked, missed, taken) = (count()?, count()?, count()?);
    let (ended, held_ms, wanted) = (count()?, count()?, count()?);
    Some(AskedHour {
        hour: hour.parse().ok()?,
        asked,
        missed,
        taken,
        min_free: None,
        ended,
        held_ms,
        wanted,
    })
}

fn fewest(hour: &str, free: &str) -> Option<AskedHour> {
    let (hour, min_free) = (hour.parse().ok()?, free.parse().ok()?);
    Some(AskedHour { hour, min_free: Some(min_free), ..AskedHour::default() })
}

/// A session as scripts name it.
fn name(session: SessionId) -> String {
    session.to_string()
}

fn session_of(name: &str) -> Option<SessionId> {
    name.parse().ok()
}

fn number_of(did: &str) -> Option<PhoneNumber> {
    PhoneNumber::from_digits(did.parse().ok()?)
}

impl RedisSessions {
    pub(super) async fn lend_number(
        &self,
        pool: &Pool,
        session: SessionId,
        ttl: Duration,
        now: Wall,
        only_its_own: bool,
    ) -> Result<Option<Lease>, StoreFault> {
        // One that has a number keeps it, whatever is known of the pool.
        let gate = self.gates.lock().get(&pool.id).cloned().unwrap_or_default();
        let only = if only_its_own { "1" } else { "0" };
        let (ttl, open) = (ms(ttl).to_string(), ms(self.settings.open_after).to_string());
        let arguments = [&name(session), &ttl, gate.as_str(), &open, only];
        let told: Vec<Value> = self.of_pool(Script::Lend, pool, now, arguments).await?;
        let mut told = told.into_iter();
        let mut next = || told.next().ok_or_else(unread);
        match read::<i64>(next()?)? {
            0 => Ok(None),
            1 => {
                let did: String = read(next()?)?;
                let ends: String = read(next()?)?;
                let number = number_of(&did).ok_or_else(unread)?;
                let expires_at = ends.parse().map(Wall).map_err(|_| unread())?;
                Ok(Some(Lease { number, session, expires_at }))
            }
            _ => Err(StoreFault::NotOpen),
        }
    }

    /// The session's number was shown to nobody.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn take_back(
        &self,
        pool: &Pool,
        session: SessionId,
        now: Wall,
    ) -> Result<(), StoreFault> {
        let arguments = [&*name(session)];
        self.of_pool::<i64>(Script::TakeBack, pool, now, arguments).await.map(drop)
    }

    pub(super) async fn pin_number(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> Result<(), StoreFault> {
        let lease = ms(self.settings.lease).to_string();
        let arguments = [&*number.digits().to_string(), &call.to_string(), &lease];
        self.of_pool::<i64>(Script::Pin, pool, now, arguments).await.map(drop)
    }

    pub(super) async fn unpin_number(
        &self,
        pool: &Pool,
        number: PhoneNumber,
        call: CallId,
        now: Wall,
    ) -> Result<Option<Lease>, StoreFault> {
        let after = ms(AFTER_CALL).to_string();
        let arguments = [&*number.digits().to_string(), &call.to_string(), &after];
        let told: Vec<String> = self.of_pool(Script::Unpin, pool, now, arguments).await?;
        let [session, ends] = &told[..] else { return Ok(None) };
        let lease = session_of(session).zip(ends.parse().ok().map(Wall));
        let (session, expires_at) = lease.ok_or_else(unread)?;
        Ok(Some(Lease { number, session, expires_at }))
    }

    /// Tells the server which numbers the pool has, and that this node is about to tell it what it has
    /// lent. Until then it lends none to this node. Returns for how long it lends none to anybody.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn announce(&self, pool: &Pool, now: Wall) -> Result<Duration, StoreFault> {
        let keys = self.keys.pool(&pool.id);
        let run = self.servers.load_full().run(keys.slot())?.to_owned();
        let told: Vec<String> = self.of_pool(Script::Announce, pool, now, [&*run]).await?;
        let [since, open_for] = &told[..] else { return Err(unread()) };
        let open_for = Duration::from_millis(open_for.parse().map_err(|_| unread())?);
        let members = redis::cmd("SMEMBERS").arg(keys.stock()).take();
        let asked = [Asked::plain(&keys.stock(), members)];
        let answer = self.ask(&asked, For::Upkeep).await.pop();
        let known: Vec<String> = read(answer.unwrap_or_else(|| Err(unread()))?)?;
        let known: BTreeSet<PhoneNumber> = known.iter().filter_map(|did| number_of(did)).collect();
        let all: BTreeSet<PhoneNumber> = pool.numbers.iter().copied().collect();
        let pools = self.pools_of(&all).await?;
        let moved = self.take_over(pool, &pools, now).await?;
        let how = if known.is_empty() { "first" } else { "add" };
        let new = &(&all - &known) - &moved;
        for (how, numbers) in [(how, new), ("drop", &known - &all)] {
            let numbers: Vec<String> = numbers.iter().map(|it| it.digits().to_string()).collect();
            for some in numbers.chunks(STOCKED_AT_ONCE) {
                let arguments = std::iter::once(how).chain(some.iter().map(String::as_str));
                self.of_pool::<i64>(Script::Stock, pool, now, arguments).await?;
            }
        }
        // Last: what was broken off before is done again.
        self.point_at(pool, &pools).await?;
        self.gates.lock().insert(pool.id.clone(), format_smolstr!("{run}/{since}"));
        Ok(self.settings.open_after.saturating_sub(open_for))
    }

    /// Pools whose servers may not know any more what this node has told them.
    ///
    /// # Errors
    /// Not all of them answer.
    pub async fn forgotten<'a>(&self, pools: &'a [Pool]) -> Result<Vec<&'a Pool>, StoreFault> {
        let servers = self.servers.load_full();
        let asked: Vec<_> = pools
            .iter()
            .map(|pool| {
                let gate = self.keys.pool(&pool.id).gate();
                let look = redis::cmd("HMGET").arg(&gate).arg("run").arg("since").take();
                Asked::plain(&gate, look)
            })
            .collect();
        let mut forgotten = vec![];
        for (pool, answer) in pools.iter().zip(self.ask(&asked, For::Upkeep).await) {
            // Of a server that is away nothing can be said.
            let Ok(answer) = answer else { continue };
            let told: Vec<Option<String>> = read(answer)?;
            let run = servers.run(self.keys.pool(&pool.id).slot())?;
            let gate = match &told[..] {
                [Some(of), Some(since)] if of == run => Some(format_smolstr!("{of}/{since}")),
                _ => None,
            };
            let known: Option<SmolStr> = self.gates.lock().get(&pool.id).cloned();
            if gate.is_none() || gate != known {
                forgotten.push(pool);
            }
        }
        Ok(forgotten)
    }

    /// Says what this node has lent of a pool, since when, or had lent: then its number rests. The answers are
    /// in the order of the leases.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn register(
        &self,
        pool: &Pool,
        leases: &[(Lease, Wall)],
        now: Wall,
    ) -> Result<Vec<Registered>, StoreFault> {
        let asked: Vec<_> = leases
            .iter()
            .map(|(Lease { number, session, expires_at }, began_at)| {
                let (began, ends) = (began_at.0.to_string(), expires_at.0.to_string());
                let (did, node) = (number.digits().to_string(), &*self.settings.node);
                let arguments = [&*did, &name(*session), &began, &ends, node];
                self.asked_of_pool(Script::Register, pool, now, arguments)
            })
            .collect();
        let mut done = vec![];
        for answer in self.ask(&asked, For::Upkeep).await {
            done.push(match read::<i64>(answer?)? {
                1 => Registered::Done,
                2 => Registered::Won,
                3 => Registered::Lost,
                _ => Registered::Unknown,
            });
        }
        Ok(done)
    }

    /// Sets numbers apart that this node may lend while it cannot ask, and renews its right to those
    /// that it has. Returns them.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer.
    pub async fn set_apart(
        &self,
        pool: &Pool,
        count: usize,
        now: Wall,
    ) -> Result<Vec<PhoneNumber>, StoreFault> {
        let gate = self.gates.lock().get(&pool.id).cloned().unwrap_or_default();
        let arguments = [
            &*self.settings.node,
            &count.to_string(),
            &ms(self.settings.apart_for).to_string(),
            &ms(pool.session_ttl).to_string(),
            &gate,
            &ms(self.settings.open_after).to_string(),
        ];
        let told: Vec<String> = self.of_pool(Script::Spare, pool, now, arguments).await?;
        Ok(told.iter().filter_map(|did| number_of(did)).collect())
    }

    /// How full pools are, in their order.
    ///
    /// # Errors
    /// Not all of them answer.
    pub async fn count(&self, pools: &[Pool], now: Wall) -> Result<Vec<Counted>, StoreFault> {
        self.count_each(pools, now).await.into_iter().collect()
    }

    /// The same of each, of those whose servers answer.
    pub async fn count_each(&self, pools: &[Pool], now: Wall) -> Vec<Result<Counted, StoreFault>> {
        let count = |pool| self.asked_of_pool(Script::Count, pool, now, []);
        let asked: Vec<_> = pools.iter().map(count).collect();
        let counted = |answer: Result<Value, StoreFault>| {
            let (free, lent, apart, resting) = read(answer?)?;
            Ok(Counted { free, lent, apart, resting })
        };
        self.ask(&asked, For::Upkeep).await.into_iter().map(counted).collect()
    }

    /// Says what a pool was asked for at this node, and returns the same of all others, with the fewest
    /// numbers that were free in each hour at all of them.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn asked(
        &self,
        pool: &Pool,
        own: &[AskedHour],
        now: Wall,
    ) -> Result<Vec<AskedHour>, StoreFault> {
        let told = self.asked_each(&[(pool, own.to_vec())], now).await.pop();
        told.unwrap_or_else(|| Err(unread()))
    }

    /// The same of each, of those whose servers answer.
    pub async fn asked_each(
        &self,
        pools: &[(&Pool, Vec<AskedHour>)],
        now: Wall,
    ) -> Vec<Result<Vec<AskedHour>, StoreFault>> {
        let ask = |(pool, own): &(&Pool, Vec<AskedHour>)| {
            self.asked_of_pool(Script::Asked, pool, now, [&*self.settings.node, &*written(own)])
        };
        let asked: Vec<_> = pools.iter().map(ask).collect();
        let told = |answer: Result<Value, StoreFault>| {
            let told: Vec<(String, String)> = read(answer?)?;
            let hours = told.iter().flat_map(|(name, value)| match name.strip_prefix("free/") {
                Some(hour) => fewest(hour, value).into_iter().collect(),
                None => read_hours(value),
            });
            Ok(hours.collect())
        };
        self.ask(&asked, For::Upkeep).await.into_iter().map(told).collect()
    }

    /// To whom a number is and was lent, and how many are shown it for want of another.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer.
    pub async fn number_state(
        &self,
        snapshot: &RoutingSnapshot,
        number: PhoneNumber,
        now: Wall,
    ) -> Result<NumberState, StoreFault> {
        let mut state = NumberState::default();
        if let Some(pool) = snapshot.number(number).and_then(|owner| owner.pool) {
            let key = self.keys.pool(&pool.id).number(number);
            let all = redis::cmd("HGETALL").arg(&key).take();
            let answer = self.ask(&[Asked::plain(&key, all)], For::Upkeep).await.pop();
            let fields = read(answer.unwrap_or_else(|| Err(unread()))?)?;
            let NumberRead { holder, ends, past } = NumberRead::of(&fields, pool.quarantine, now);
            let lease = |(session, expires_at)| Lease { number, session, expires_at };
            state.lease = holder.zip(ends).map(lease);
            state.past = past;
            state.past.retain(|past| past.is_remembered(now));
        } else if snapshot.pools().iter().any(|pool| pool.overflow == Some(number)) {
            let key = self.keys.sharing(number);
            let count =
                redis::cmd("ZCOUNT").arg(&key).arg(format!("({}", now.0)).arg("+inf").take();
            let answer = self.ask(&[Asked::plain(&key, count)], For::Upkeep).await.pop();
            state.sharing = read(answer.unwrap_or_else(|| Err(unread()))?)?;
        }
        Ok(state)
    }

    /// Renews what is said of calls on numbers.
    ///
    /// # Errors
    /// Not all of it could be told.
    pub async fn renew_pins<'a>(
        &self,
        pins: impl IntoIterator<Item = (&'a Pool, PhoneNumber, CallId)>,
        now: Wall,
    ) -> Result<(), StoreFault> {
        let lease = ms(self.settings.lease).to_string();
        let asked = pins.into_iter().map(|(pool, number, call)| {
            let arguments = [&*number.digits().to_string(), &call.to_string(), &lease];
            self.asked_of_pool(Script::Pin, pool, now, arguments)
        });
        let asked: Vec<_> = asked.collect();
        all_done(self.ask(&asked, For::Upkeep).await)
    }

    pub(super) async fn of_pool<'a, T: redis::FromRedisValue>(
        &self,
        script: Script,
        pool: &Pool,
        now: Wall,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<T, StoreFault> {
        let asked = [self.asked_of_pool(script, pool, now, arguments)];
        let answer = self.ask(&asked, For::Upkeep).await.pop();
        read(answer.unwrap_or_else(|| Err(unread()))?)
    }

    /// Keys and arguments as `numbers.lua` has them.
    fn asked_of_pool<'a>(
        &self,
        script: Script,
        pool: &Pool,
        now: Wall,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Asked {
        self.asked_of_pool_of(script, &pool.id, pool, now, arguments)
    }

    /// The same of another pool, by the rules of this one.
    pub(super) fn asked_of_pool_of<'a>(
        &self,
        script: Script,
        which: &PoolId,
        pool: &Pool,
        now: Wall,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Asked {
        let keys = self.keys.pool(which);
        let now = match self.settings.time {
            TimeOfNumbers::Server => String::new(),
            TimeOfNumbers::Caller => now.0.to_string(),
        };
        let taken_after = pool.taken_after.map_or(-1, ms);
        let all = [keys.numbers(), now, ms(pool.quarantine).to_string(), taken_after.to_string()];
        let all = all.into_iter().map(String::into_bytes);
        let arguments = all.chain(arguments.into_iter().map(|it| it.as_bytes().to_vec()));
        Asked::script(script, keys.all(), arguments.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTS: Duration = Duration::from_millis(50);

    fn id(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    fn fields(told: &[(&str, String)]) -> BTreeMap<String, String> {
        told.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// Leases of so many sessions behind each other, from 1000 on, each for 80 and a rest of 20.
    fn past(count: u8) -> String {
        let one = |n: u8| {
            let began = 1_000 + 100 * i64::from(n);
            format!("{},{began},{},{};", name(id(n)), began + 80, began + 100)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_number_knows_who_had_it_at_an_instant_that_is_over() {
        let lent = [
            ("st", "L".to_owned()),
            ("sid", name(id(9))),
            ("began", "1300".to_owned()),
            ("exp", "1400".to_owned()),
            ("past", past(3)),
            ("p:call", "1500".to_owned()),
        ];
        let then = |at: i64| {
            let NumberRead { holder, past, .. } =
                NumberRead::then(&fields(&lent), RESTS, Wall(at)).unwrap();
            (holder, past.last().map(|it| it.session))
        };
        assert_eq!(then(999), (None, None));
        assert_eq!(then(1_000), (Some(id(0)), None));
        assert_eq!(then(1_079), (Some(id(0)), None));
        assert_eq!(then(1_080), (None, Some(id(0))));
        assert_eq!(then(1_150), (Some(id(1)), Some(id(0))));
        // With the call that is on it.
        assert_eq!(then(1_499), (Some(id(9)), Some(id(2))));
        assert_eq!(then(1_500), (None, Some(id(9))));
    }

    #[test]
    fn who_had_a_number_before_all_that_is_remembered_is_not_known() {
        let then = |count: u8, at: i64| {
            let told = [("st", "F".to_owned()), ("past", past(count))];
            NumberRead::then(&fields(&told), RESTS, Wall(at)).map(|it| it.holder)
        };
        assert_eq!(then(7, 999), Some(None));
        assert_eq!(then(8, 999), None);
        assert_eq!(then(8, 1_000), Some(Some(id(0))));
        assert_eq!(NumberRead::then(&fields(&[]), RESTS, Wall(0)).map(|it| it.holder), Some(None));
    }

    /// It was lent anew by a server that did not know, and the later one has kept it.
    #[test]
    fn of_two_that_had_a_number_at_once_the_later_one_had_it() {
        let past = format!("{},1000,1900,1900;{},1200,1400,1450;", name(id(1)), name(id(2)));
        let told = fields(&[("st", "F".to_owned()), ("past", past)]);
        let then = |at: i64| NumberRead::then(&told, RESTS, Wall(at)).and_then(|it| it.holder);
        assert_eq!([1_100, 1_300, 1_500].map(then), [Some(id(1)), Some(id(2)), Some(id(1))]);
        let over = NumberRead::then(&told, RESTS, Wall(2_000)).unwrap();
        assert_eq!(over.past.last().map(|it| it.session), Some(id(1)), "the last that had it");
    }
}
