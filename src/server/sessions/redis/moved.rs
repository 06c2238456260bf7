//! Numbers that go from one pool to another, each with whoever has it (spec/domain §2.3).
//!
//! For each number it is kept which pool it was put into last. A pool that is told of one which another has takes
//! over what that knows of it: who has it and until when, the calls on it, who had it, until when it rests. No script
//! may touch keys of both, so it goes in steps: there it is lent to nobody any more, here is written down what is
//! known there, there it is forgotten, unless it is not any more what it was, and last it is found here. What is
//! broken off is done again by whoever announces the pool next, and in between the number is lent by neither.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::PoolId;
use crate::phone::PhoneNumber;
use crate::routing::snapshot::Pool;
use crate::server::redis::{StoreFault, unread};
use crate::time::Wall;

use super::numbers::STOCKED_AT_ONCE;
use super::scripts::Script;
use super::servers::{Asked, For};
use super::{RedisSessions, all_done, read};

/// Keys that say which pools have numbers.
const GROUPS: u64 = 256;
/// Of them are asked for at once.
const GROUPS_AT_ONCE: usize = 16;
/// How often is looked again at numbers that change while they are moved.
const LOOKS_MAX: usize = 8;

impl RedisSessions {
    /// The pools that numbers were put into last, of those that ever were.
    pub(super) async fn pools_of(
        &self,
        numbers: &BTreeSet<PhoneNumber>,
    ) -> Result<BTreeMap<PhoneNumber, Option<PoolId>>, StoreFault> {
        let groups: Vec<_> = self.grouped(numbers.iter().copied()).into_iter().collect();
        let mut pools = BTreeMap::new();
        for some in groups.chunks(GROUPS_AT_ONCE) {
            let ask = |(key, numbers): &(String, Vec<PhoneNumber>)| {
                let digits: Vec<u64> = numbers.iter().map(|it| it.digits()).collect();
                Asked::plain(key, redis::cmd("HMGET").arg(key).arg(digits).take())
            };
            let asked: Vec<_> = some.iter().map(ask).collect();
            for ((_, numbers), answer) in some.iter().zip(self.ask(&asked, For::Upkeep).await) {
                let told: Vec<Option<String>> = read(answer?)?;
                let told = told.into_iter().map(|pool| pool.map(|it| PoolId::new(&it)));
                pools.extend(numbers.iter().copied().zip(told));
            }
        }
        Ok(pools)
    }

    /// From now on the numbers are found in this pool.
    pub(super) async fn point_at(
        &self,
        pool: &Pool,
        pools: &BTreeMap<PhoneNumber, Option<PoolId>>,
    ) -> Result<(), StoreFault> {
        let others = pools.iter().filter(|(_, known)| known.as_ref() != Some(&pool.id));
        let groups: Vec<_> = self.grouped(others.map(|(number, _)| *number)).into_iter().collect();
        for some in groups.chunks(GROUPS_AT_ONCE) {
            let point = |(key, numbers): &(String, Vec<PhoneNumber>)| {
                let mut point = redis::cmd("HSET");
                point.arg(key);
                for number in numbers {
                    point.arg(number.digits()).arg(pool.id.as_str());
                }
                Asked::plain(key, point)
            };
            let asked: Vec<_> = some.iter().map(point).collect();
            all_done(self.ask(&asked, For::Upkeep).await)?;
        }
        Ok(())
    }

    fn grouped(
        &self,
        numbers: impl Iterator<Item = PhoneNumber>,
    ) -> BTreeMap<String, Vec<PhoneNumber>> {
        let mut groups: BTreeMap<String, Vec<PhoneNumber>> = BTreeMap::new();
        for number in numbers {
            let key = self.keys.pools_of(number.digits() % GROUPS);
            groups.entry(key).or_default().push(number);
        }
        groups
    }

    /// Takes over those that other pools have. Returns them.
    pub(super) async fn take_over(
        &self,
        pool: &Pool,
        pools: &BTreeMap<PhoneNumber, Option<PoolId>>,
        now: Wall,
    ) -> Result<BTreeSet<PhoneNumber>, StoreFault> {
        let mut by_former: BTreeMap<&PoolId, Vec<PhoneNumber>> = BTreeMap::new();
        for (number, former) in pools {
            if let Some(former) = former.as_ref().filter(|it| **it != pool.id) {
                by_former.entry(former).or_default().push(*number);
            }
        }
        for (former, numbers) in &by_former {
            for some in numbers.chunks(STOCKED_AT_ONCE) {
                self.take_over_from(former, pool, some, now).await?;
            }
        }
        Ok(by_former.into_values().flatten().collect())
    }

    async fn take_over_from(
        &self,
        former: &PoolId,
        pool: &Pool,
        numbers: &[PhoneNumber],
        now: Wall,
    ) -> Result<(), StoreFault> {
        let mut left: Vec<String> = numbers.iter().map(|it| it.digits().to_string()).collect();
        for _ in 0..LOOKS_MAX {
            let looked: Vec<String> = {
                let numbers = left.iter().map(String::as_str);
                let arguments = std::iter::once("look").chain(numbers);
                self.of_former(former, pool, now, arguments).await?
            };
            let known = || left.iter().zip(&looked).flat_map(|(did, known)| [&**did, &**known]);
            let moved = std::iter::once("move").chain(known());
            self.of_pool::<i64>(Script::Stock, pool, now, moved).await?;
            let forgotten: Vec<i64> = {
                let arguments = std::iter::once("forget").chain(known());
                self.of_former(former, pool, now, arguments).await?
            };
            let mut are_forgotten = forgotten.into_iter();
            left.retain(|_| are_forgotten.next() != Some(1));
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(StoreFault::NotOpen)
    }

    async fn of_former<'a, T: redis::FromRedisValue>(
        &self,
        former: &PoolId,
        pool: &Pool,
        now: Wall,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<T, StoreFault> {
        let asked = [self.asked_of_pool_of(Script::Leave, former, pool, now, arguments)];
        let answer = self.ask(&asked, For::Upkeep).await.pop();
        read(answer.unwrap_or_else(|| Err(unread()))?)
    }
}
