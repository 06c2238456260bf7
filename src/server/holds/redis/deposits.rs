//! Deposits in Redis: one key of a buyer deposits once, whichever node is asked.
//!
//! A node claims a deposit before its journal has it, and says so when it has. What a node has taken
//! of a buyer in all is its part of a bucket, as what it has used of a cap is. A claim whose node has
//! died is settled by its next process, which knows what the journal has; until then nobody else takes
//! the deposit, or it might count twice.

use std::sync::atomic::Ordering;

use redis::from_redis_value;
use smol_str::{SmolStr, format_smolstr};

use crate::id::BuyerId;
use crate::routing::hold::Bucket;
use crate::server::redis::{StoreFault, fault, unread};
use crate::time::Wall;

use super::scripts::Script;
use super::{RESTORED_AT_ONCE, RedisStore};

/// A deposit, by its buyer and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    pub buyer: BuyerId,
    pub key: SmolStr,
    /// Micros.
    pub amount: u64,
    /// From then on its key is as good as new.
    pub forgotten_at: Wall,
}

/// Whether a node may take a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else does.
    Ours,
    /// One of so many micros was taken with this key; of the buyer all servers have `all`.
    Taken { amount: u64, all: u64 },
    /// Another node has claimed it, and has not said yet what became of it.
    Elsewhere,
}

impl Deposit {
    /// Where it is kept what its buyer has deposited in all.
    pub fn of_buyer(buyer: &BuyerId) -> Bucket {
        Bucket { cap: format_smolstr!("buyer/{buyer}/deposits"), window: "total".into() }
    }
}

impl RedisStore {
    /// Asks for a deposit that this node has not taken. Each claim of this process has a higher
    /// `serial` than those before.
    ///
    /// # Errors
    /// The store could not be asked or did not answer: it may be claimed. Or it does not know what the
    /// nodes have taken: it is not.
    pub async fn claim(&self, deposit: &Deposit, serial: u64) -> Result<Claim, StoreFault> {
        let live = self.live()?;
        let Deposit { amount, forgotten_at, .. } = deposit;
        let (serial, amount) = (serial.to_string(), amount.to_string());
        let arguments = [serial, self.gate()?, amount, forgotten_at.0.to_string()];
        let (keys, arguments) = self.of_deposit("claim", Some(deposit), arguments);
        let has_replica = live.replicas.load(Ordering::Relaxed) > 0;
        let wait = has_replica.then_some(self.settings.replica_timeout);
        let limit = self.settings.timeout + wait.unwrap_or_default();
        let value = self.run(&live, Script::Deposit, &keys, &arguments, limit, wait).await?;
        let told: Vec<i64> = from_redis_value(value).map_err(|error| fault(&error.into()))?;
        match told[..] {
            [1] => Ok(Claim::Ours),
            [2, all, amount] => {
                let [amount, all] = [amount, all].map(|it| u64::try_from(it).unwrap_or(0));
                Ok(Claim::Taken { amount, all })
            }
            [3] => Ok(Claim::Elsewhere),
            [4] => Err(StoreFault::NotOpen),
            _ => Err(unread()),
        }
    }

    /// The journal of this node has it, and `all` micros of its buyer. Returns what all nodes have.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn took(&self, deposit: &Deposit, all: u64) -> Result<u64, StoreFault> {
        let Deposit { amount, forgotten_at, .. } = deposit;
        let arguments = [amount.to_string(), forgotten_at.0.to_string(), all.to_string()];
        let told = self.tell_of_deposits("took", Some(deposit), arguments).await?;
        Ok(u64::try_from(told).unwrap_or(0))
    }

    /// The store had said that this node may take it; it may have forgotten.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn keep_claim(&self, deposit: &Deposit, serial: u64) -> Result<(), StoreFault> {
        let Deposit { amount, forgotten_at, .. } = deposit;
        let arguments = [serial.to_string(), amount.to_string(), forgotten_at.0.to_string()];
        self.tell_of_deposits("keep", Some(deposit), arguments).await.map(drop)
    }

    /// It was claimed, and nothing came of that. A claim of it with another serial stays.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn drop_claim(&self, deposit: &Deposit, serial: u64) -> Result<(), StoreFault> {
        self.tell_of_deposits("drop", Some(deposit), [serial.to_string()]).await.map(drop)
    }

    /// Tells a server that may have forgotten them of deposits that this node has taken.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn know_deposits(&self, taken: &[Deposit]) -> Result<(), StoreFault> {
        for some in taken.chunks(RESTORED_AT_ONCE) {
            let told = some.iter().flat_map(|deposit| {
                let Deposit { buyer, key, amount, forgotten_at } = deposit;
                let name = self.keys.deposit(buyer, key);
                [name, amount.to_string(), forgotten_at.0.to_string()]
            });
            self.tell_of_deposits("know", None, told).await?;
        }
        Ok(())
    }

    /// Tells a server that knows all of them that nothing will come of what this node's former
    /// processes have claimed besides.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn begin_deposits(&self) -> Result<(), StoreFault> {
        self.tell_of_deposits("begin", None, []).await.map(drop)
    }

    async fn tell_of_deposits(
        &self,
        what: &str,
        deposit: Option<&Deposit>,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<i64, StoreFault> {
        let (keys, arguments) = self.of_deposit(what, deposit, arguments);
        let told: Vec<i64> = self.upkeep(Script::Deposit, &keys, &arguments).await?;
        told.first().copied().ok_or_else(unread)
    }

    /// Keys and arguments as `deposit.lua` has them.
    fn of_deposit(
        &self,
        what: &str,
        deposit: Option<&Deposit>,
        arguments: impl IntoIterator<Item = String>,
    ) -> (Vec<String>, Vec<String>) {
        let Self { keys, settings, .. } = self;
        let mut named = vec![keys.gate(), keys.claims(&settings.node)];
        if let Some(Deposit { buyer, key, .. }) = deposit {
            named.push(keys.deposit(buyer, key));
            named.push(keys.bucket(&Deposit::of_buyer(buyer)));
        }
        let who = [what.to_owned(), settings.node.to_string(), settings.process.to_string()];
        (named, who.into_iter().chain(arguments).collect())
    }
}
