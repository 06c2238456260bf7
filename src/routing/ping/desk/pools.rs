//! How full pools are, and who has their numbers.

use std::collections::BTreeSet;

use crate::id::PoolId;
use crate::phone::PhoneNumber;
use crate::routing::pool::{AskedHour, Demand, Hold, Lease, PastLease, PoolReading};
use crate::routing::snapshot::Pool;
use crate::time::Wall;

use super::Desk;

/// How a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    pub numbers: PoolReading,
    /// Live sessions that are shown its overflow number.
    pub sharing: usize,
    /// Of the last 24 hours.
    pub demand: Demand,
}

/// To whom a number is and was lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberState {
    pub lease: Option<Lease>,
    /// Those of the last week, eight at most, the newest last.
    pub past: Vec<PastLease>,
    /// Live sessions that are shown it since their pool had none left.
    pub sharing: usize,
}

impl PoolState {
    /// How many numbers it would need more; zero before it was ever asked.
    pub fn missing(&self) -> u64 {
        let PoolReading { free, leased, quarantined } = self.numbers;
        let size = u64::try_from(free + leased + quarantined).unwrap_or(u64::MAX);
        self.demand.suggested_size.saturating_sub(size)
    }
}

impl Desk {
    /// How full a pool is.
    pub fn pool(&self, pool: &PoolId) -> PoolReading {
        self.leases.reading(pool)
    }

    /// How full a pool is, and how it was asked for.
    pub fn pool_state(&mut self, pool: &Pool, now: Wall) -> PoolState {
        let asked = self.asked(&pool.id, now);
        self.pool_state_of(pool, None, &asked, now)
    }

    /// The same where others lend its numbers too: `numbers` as all of them have it, as far as that is known,
    /// and what all of them were asked for.
    pub fn pool_state_of(
        &self,
        pool: &Pool,
        numbers: Option<PoolReading>,
        asked: &[AskedHour],
        now: Wall,
    ) -> PoolState {
        let numbers = numbers.unwrap_or_else(|| self.leases.reading(&pool.id));
        let sharing = pool.overflow.map_or(0, |did| self.sharing(did));
        let demand = Demand::of(asked, numbers.free, Hold::of(pool), now);
        PoolState { numbers, sharing, demand }
    }

    /// What a pool was asked for here in the hours of the last 24.
    pub fn asked(&mut self, pool: &PoolId, now: Wall) -> Vec<AskedHour> {
        self.leases.asked(pool, now)
    }

    /// Who has a pool number, and who had it before.
    pub fn number_state(&self, did: PhoneNumber, now: Wall) -> NumberState {
        let (lease, past) = (self.leases.holder(did, now), self.leases.history(did, now));
        NumberState { lease, past, sharing: self.sharing(did) }
    }

    /// How many live sessions are shown this number since their pool had none left.
    fn sharing(&self, did: PhoneNumber) -> usize {
        self.by_shared.get(&did).map_or(0, BTreeSet::len)
    }
}
